/* Deletion vectors and Puffin files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/misc.h"
#include "format/puffin.h"

static ice_error err;

static ice_dv *vector(const uint64_t *positions, size_t n)
{
    ice_dv *d = ice_dv_create();
    assert_non_null(d);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ice_dv_add(d, positions[i], &err), ICE_OK);
    return d;
}

static const uint64_t far[] = {7, 1, 0, 65536, 65535, UINT64_C(1) << 32, (UINT64_C(5) << 32) + 3, 1};

static void test_set(void **state)
{
    ice_dv *d = vector(far, 8);
    uint64_t got[16];
    assert_int_equal(ice_dv_count(d), 7);
    assert_true(ice_dv_contains(d, 65536) && ice_dv_contains(d, UINT64_C(1) << 32));
    assert_false(ice_dv_contains(d, 2) || ice_dv_contains(d, UINT64_C(2) << 32));
    assert_int_equal(ice_dv_positions(d, 0, got, 16), 7);
    assert_int_equal(got[0], 0);
    assert_int_equal(got[6], (UINT64_C(5) << 32) + 3);
    assert_int_equal(ice_dv_positions(d, 8, got, 2), 2);
    assert_int_equal(got[0], 65535);
    assert_int_equal(ice_dv_positions(d, got[1] + 1, got, 2), 2);
    assert_int_equal(got[0], UINT64_C(1) << 32);
    assert_int_equal(ice_dv_rank(d, 0), 0);
    assert_int_equal(ice_dv_rank(d, 7), 2);
    assert_int_equal(ice_dv_rank(d, 8), 3);
    assert_int_equal(ice_dv_rank(d, UINT64_C(1) << 32), 5);
    assert_int_equal(ice_dv_rank(d, (UINT64_C(1) << 32) + 1), 6);
    assert_int_equal(ice_dv_add(d, ICE_DV_MAX_POSITION, &err), ICE_OK);
    assert_int_equal(ice_dv_add(d, ICE_DV_MAX_POSITION + 1, &err), ICE_RANGE);
    assert_true(ice_dv_bytes(d) > 0);
    ice_dv_free(d);
}

static void test_merge(void **state)
{
    const uint64_t a[] = {1, 2}, b[] = {2, 3, UINT64_C(1) << 33};
    ice_dv *x = vector(a, 2), *y = vector(b, 3), *z = ice_dv_clone(x);
    assert_int_equal(ice_dv_merge(x, y, &err), ICE_OK);
    assert_int_equal(ice_dv_count(x), 4);
    assert_int_equal(ice_dv_count(z), 2);
    ice_dv_free(x);
    ice_dv_free(y);
    ice_dv_free(z);
}

/* Sets of every container kind: arrays, bitmaps, runs, and many containers. */
static ice_dv *pattern(int kind)
{
    ice_dv *d = ice_dv_create();
    for (uint64_t i = 0; i < 30000; i++) {
        uint64_t p = kind == 0 ? i * 1000 : kind == 1 ? i * 2 : kind == 2 ? i : (i % 7) << 32 | i * 77;
        assert_int_equal(ice_dv_add(d, p, &err), ICE_OK);
    }
    return d;
}

static void test_roundtrip(void **state)
{
    for (int kind = 0; kind < 4; kind++) {
        ice_dv *d = pattern(kind), *back;
        ice_buf blob = {0};
        uint64_t *x = calloc(30000, 8), *y = calloc(30000, 8);
        assert_int_equal(ice_dv_encode(d, &blob, &err), ICE_OK);
        assert_int_equal(ice_dv_decode(ice_buf_str(&blob), &back, &err), ICE_OK);
        assert_int_equal(ice_dv_positions(d, 0, x, 30000), 30000);
        assert_int_equal(ice_dv_positions(back, 0, y, 30000), 30000);
        assert_memory_equal(x, y, 30000 * 8);
        free(x);
        free(y);
        ice_buf_free(&blob);
        ice_dv_free(d);
        ice_dv_free(back);
    }
}

static void test_empty(void **state)
{
    ice_dv *d = ice_dv_create(), *back;
    ice_buf blob = {0};
    assert_int_equal(ice_dv_encode(d, &blob, &err), ICE_OK);
    assert_int_equal(ice_dv_decode(ice_buf_str(&blob), &back, &err), ICE_OK);
    assert_int_equal(ice_dv_count(back), 0);
    assert_int_equal(ice_dv_rank(back, 5), 0);
    ice_buf_free(&blob);
    ice_dv_free(d);
    ice_dv_free(back);
}

static void decode_damaged(const char *bytes, size_t n)
{
    ice_dv *d;
    uint64_t out[64];
    char *copy = malloc(n + 1);
    memcpy(copy, bytes, n);
    ice_code rc = ice_dv_decode((ice_str){copy, n}, &d, &err);
    assert_true(rc == ICE_OK || rc == ICE_CORRUPT);
    if (rc == ICE_OK) { /* the damage made another valid set */
        ice_dv *other = ice_dv_create();
        assert_int_equal(ice_dv_add(other, 3, &err), ICE_OK);
        assert_int_equal(ice_dv_merge(other, d, &err), ICE_OK);
        assert_int_equal(ice_dv_merge(d, other, &err), ICE_OK);
        (void)ice_dv_positions(d, 0, out, 64);
        ice_dv_free(other);
    }
    ice_dv_free(d);
    free(copy);
}

/* Damage behind a CRC that fits it, as an attacker would. */
static void test_damage(void **state)
{
    const uint64_t runs[] = {1,  2,     3,      4,      5,      6,      7,      8,      9,
                             10, 70000, 140000, 300000, 300001, 300002, 300003, 300004, 300005};
    ice_dv *sets[] = {vector(far, 8), vector(runs, 18)};
    for (size_t s = 0; s < 2; s++) {
        ice_buf blob = {0};
        assert_int_equal(ice_dv_encode(sets[s], &blob, &err), ICE_OK);
        for (size_t n = 0; n < blob.len; n++)
            decode_damaged(blob.data, n);
        for (size_t i = 0; i < blob.len - 4; i++)
            for (int bit = 0; bit < 8; bit++) {
                blob.data[i] ^= (char)(1 << bit);
                uint32_t crc = __builtin_bswap32(ice_crc32(0, blob.data + 4, blob.len - 8));
                memcpy(blob.data + blob.len - 4, &crc, 4);
                decode_damaged(blob.data, blob.len);
                blob.data[i] ^= (char)(1 << bit);
            }
        ice_dv *d;
        assert_int_equal(ice_dv_decode(ice_buf_str(&blob), &d, &err),
                         ICE_CORRUPT); /* the last CRC is not this content's */
        ice_buf_free(&blob);
        ice_dv_free(sets[s]);
    }
}

static void test_puffin(void **state)
{
    ice_arena *a = ice_arena_create();
    ice_puffin_writer *w = ice_puffin_create();
    ice_dv *one = vector(far, 8), *two = pattern(2), *back;
    ice_buf file = {0};
    int64_t offset[2], length[2], footer;
    ice_blob *blobs;
    size_t n;
    assert_int_equal(ice_puffin_add_dv(w, one, ICE_STR("file:///a.parquet"), &offset[0], &length[0], &err),
                     ICE_OK);
    assert_int_equal(ice_puffin_add_dv(w, two, ICE_STR("file:///b.parquet"), &offset[1], &length[1], &err),
                     ICE_OK);
    assert_int_equal(ice_puffin_finish(w, &file, &footer, &err), ICE_OK);
    assert_int_equal(ice_puffin_read(ice_buf_str(&file), a, &blobs, &n, &err), ICE_OK);
    assert_int_equal(n, 2);
    assert_int_equal(blobs[1].offset, offset[1]);
    assert_int_equal(blobs[1].length, length[1]);
    assert_int_equal(offset[1] + length[1] + footer, (int64_t)file.len);
    assert_true(ice_str_eqc(blobs[1].properties[0].value, "file:///b.parquet"));
    assert_true(ice_str_eqc(blobs[1].properties[1].value, "30000"));
    ice_str what = ICE_STR("x.puffin");
    assert_int_equal(ice_puffin_read_dv(ice_buf_str(&file), what, offset[0], length[0], 7, &back, &err),
                     ICE_OK);
    assert_true(ice_dv_contains(back, 65535));
    ice_dv_free(back);
    assert_int_equal(ice_puffin_read_dv(ice_buf_str(&file), what, offset[0], length[0], 8, &back, &err),
                     ICE_CORRUPT);
    assert_int_equal(ice_puffin_read_dv(ice_buf_str(&file), what, offset[0], length[0] + 1, 7, &back, &err),
                     ICE_CORRUPT);
    assert_int_equal(ice_puffin_read_dv(ice_buf_str(&file), what, INT64_MAX, 9, 7, &back, &err), ICE_CORRUPT);
    for (size_t i = 0; i < file.len; i++) {
        ice_code rc = ice_puffin_read((ice_str){file.data, i}, a, &blobs, &n, &err);
        assert_int_equal(rc, ICE_CORRUPT);
    }
    ice_buf_free(&file);
    ice_dv_free(one);
    ice_dv_free(two);
    ice_puffin_free(w);
    ice_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),   cmocka_unit_test(test_merge),  cmocka_unit_test(test_roundtrip),
        cmocka_unit_test(test_empty), cmocka_unit_test(test_damage), cmocka_unit_test(test_puffin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
