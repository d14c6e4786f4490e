/* SHA-2, as hexadecimal digits like DuckDB's md5, sha1 and sha256. */
#include "engine/function.h"

#include <nettle/nettle-meta.h>
#include <nettle/sha2.h>

static ice_code digest_row(ice__call *c, size_t row, const struct nettle_hash *hash, ice_error *err)
{
    union {
        struct sha256_ctx small;
        struct sha512_ctx large;
    } ctx;
    uint8_t sum[SHA512_DIGEST_SIZE];
    char hex[2 * SHA512_DIGEST_SIZE];
    ice_str text;
    bool null;
    ice_code rc = ice__call_row(c, row, &text, &null, err);
    if (rc != ICE_OK || null)
        return rc == ICE_OK ? ice__call_put(c, row, ICE_STR(""), err) : rc;
    hash->init(&ctx);
    hash->update(&ctx, text.len, (const uint8_t *)text.ptr);
    hash->digest(&ctx, hash->digest_size, sum);
    for (size_t i = 0; i < hash->digest_size; i++) {
        hex[2 * i] = "0123456789abcdef"[sum[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
    }
    return ice__call_put(c, row, (ice_str){hex, (size_t)2 * hash->digest_size}, err);
}

static void on_digest(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    ice_error err = {0};
    ice__call c = {.nargs = 0};
    void *hash = NULL;
    ice_code rc = ice__call_open(info, 1, &c, &err);
    if (rc == ICE_OK && ice__duck.scalar_function_exec_get_user_data(info, &hash, NULL) != DUCK_OK)
        rc = ice_fail(&err, ICE_ENGINE, "a function lost what it computes");
    for (size_t i = 0; rc == ICE_OK && i < c.count; i++)
        rc = digest_row(&c, i, hash, &err);
    if (rc != ICE_OK)
        ice__call_fail(&err, slot);
}

const ice__function ice__digest_functions[] = {
    {"sha224", 1, ICE_T_STRING, on_digest, NULL, &nettle_sha224},
    {"sha384", 1, ICE_T_STRING, on_digest, NULL, &nettle_sha384},
    {"sha512", 1, ICE_T_STRING, on_digest, NULL, &nettle_sha512},
};
