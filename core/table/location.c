/* Where things are: directories and names in the object store. */
#include "table/table_int.h"

#include <stdio.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool all_hex(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (hex_digit(p[i]) < 0)
            return false;
    return true;
}

/* A table's name as part of a path: the uuid after it makes it unique. */
static ice_str path_name(ice_arena *a, ice_str name)
{
    size_t n = name.len < 100 ? name.len : 100;
    char *out = ice_arena_alloc(a, n + 1);
    for (size_t i = 0; out && i < n; i++) {
        char c = name.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        out[i] = plain ? c : '_';
    }
    return (ice_str){out, n};
}

ice_code ice__table_dir(const ice_env *env, ice_arena *a, ice_str table, ice_uuid u, bool history,
                        ice_str *key, ice_error *err)
{
    char hex[33];
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", u.b[i]);
    ice_str name = path_name(a, table);
    char *text = name.ptr ? ice_arena_printf(a, "%s/%.*s%s-%s", env->ns ? env->ns : "default", ICE_PRI(name),
                                             history ? "__history" : "", hex)
                          : NULL;
    *key = ice_str_c(text);
    return text ? ICE_OK : ice_fail_nomem(err);
}

ice_code ice__data_key(ice_arena *a, ice_str dir, int32_t schema_id, ice_str *key, ice_error *err)
{
    char *text =
        ice_arena_printf(a, "%.*s/data/%lld-s%d-%016llx.parquet", ICE_PRI(dir), (long long)ice_clock_us(),
                         (int)schema_id, (unsigned long long)ice_random64());
    *key = ice_str_c(text);
    return text ? ICE_OK : ice_fail_nomem(err);
}

ice_code ice__metadata_key(ice_arena *a, ice_str dir, const char *prefix, const char *ext, ice_str *key,
                           ice_error *err)
{
    char *text = ice_arena_printf(a, "%.*s/metadata/%s%016llx.%s", ICE_PRI(dir), prefix,
                                  (unsigned long long)ice_random64(), ext);
    *key = ice_str_c(text);
    return text ? ICE_OK : ice_fail_nomem(err);
}

ice_code ice__locate(const ice_env *env, ice_arena *a, ice_str location, ice_str *key, ice_str *path,
                     ice_error *err)
{
    ice_code rc;
    ICE_TRY(ice_store_key(env->store, a, location, key, err));
    if (path)
        ICE_TRY(ice_store_path(env->store, a, *key, path, err));
out:
    return rc;
}

ice_str ice__base_name(ice_str key)
{
    const char *slash = key.len ? memrchr(key.ptr, '/', key.len) : NULL;
    return slash ? (ice_str){slash + 1, key.len - (size_t)(slash + 1 - key.ptr)} : key;
}

/* "<digits>-s<digits>-<16 hex>.parquet" */
int32_t ice__name_schema(ice_str base)
{
    size_t i = 0;
    int64_t id = 0;
    while (i < base.len && base.ptr[i] >= '0' && base.ptr[i] <= '9')
        i++;
    if (i == 0 || i + 2 > base.len || base.ptr[i] != '-' || base.ptr[i + 1] != 's')
        return -1;
    size_t from = i += 2;
    for (; i < base.len && base.ptr[i] >= '0' && base.ptr[i] <= '9'; i++)
        if ((id = id * 10 + (base.ptr[i] - '0')) > INT32_MAX)
            return -1;
    bool named = i > from && base.len - i == 25 && base.ptr[i] == '-' && all_hex(base.ptr + i + 1, 16) &&
                 memcmp(base.ptr + i + 17, ".parquet", 8) == 0;
    return named ? (int32_t)id : -1;
}

bool ice_dir_uuid(ice_str dir, ice_uuid *out)
{
    const char *hex = dir.ptr + dir.len - 32;
    if (dir.len < 34 || hex[-1] != '-' || !all_hex(hex, 32))
        return false;
    for (int i = 0; i < 16; i++)
        out->b[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    return true;
}

bool ice_location_uuid(ice_str location, ice_uuid *out)
{
    static const char mark[] = "/metadata/";
    for (size_t i = location.len; i >= sizeof mark - 1; i--)
        if (memcmp(location.ptr + i - (sizeof mark - 1), mark, sizeof mark - 1) == 0)
            return ice_dir_uuid((ice_str){location.ptr, i - (sizeof mark - 1)}, out);
    return false;
}
