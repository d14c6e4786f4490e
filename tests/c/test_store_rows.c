/* Row files: round trips, hostile bytes, failing I/O. */
#include "store_cells.h"

#include "store/rowfile.h"

static void read_row(const ice_rowfile *f, uint64_t row, ice_value *out)
{
    for (int c = 0; c < NTYPES; c++)
        out[c] = (ice_value){.kind = ICE_T_LONG, .i = 77};
    assert_int_equal(ice_rowfile_read(f, row, columns, NTYPES, out, NULL), ICE_OK);
}

static void check_rows(uint64_t rows)
{
    ice_rowfile *f;
    ice_error err = {0};
    ice_value got[NTYPES];
    assert_int_equal(ice_rowfile_open(path, &f, &err), ICE_OK);
    assert_int_equal(ice_rowfile_rows(f), rows);
    for (uint64_t r = 0; r < rows; r++) {
        read_row(f, r, got);
        for (int c = 0; c < NTYPES; c++) {
            char text[32];
            ice_value want = cell(c, r, text);
            assert_int_equal(want.null, got[c].null);
            assert_int_equal(got[c].kind, columns[c].type.kind);
            assert_true(want.null || ice_value_eq(&want, &got[c]));
        }
    }
    assert_int_equal(ice_rowfile_read(f, rows, columns, NTYPES, got, &err), ICE_CACHE);
    ice_rowfile_close(f);
}

static void round_trip(void **state)
{
    static const uint64_t sizes[][2] = {{0, 7}, {1, 7}, {15, 4}, {16, 16}, {17, 8}, {5000, 2040}, {333, 13}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(write_cells(ice_rowfile_write, sizes[i][0], sizes[i][1], NULL), ICE_OK);
        check_rows(sizes[i][0]);
        assert_int_equal(files_in_dir(), 1);
    }
}

/* Columns in another order, some of them, and one that the file has not. */
static void some_columns(void **state)
{
    ice_rowfile *f;
    assert_int_equal(write_cells(ice_rowfile_write, 100, 10, NULL), ICE_OK);
    assert_int_equal(ice_rowfile_open(path, &f, NULL), ICE_OK);
    ice_column some[3] = {columns[12], {.field_id = 9, .type = {.kind = ICE_T_LONG}}, columns[2]};
    ice_value got[3] = {0};
    char text[32];
    got[1] = (ice_value){.kind = ICE_T_LONG, .i = 77};
    assert_false(ice_rowfile_has(f, 9));
    assert_true(ice_rowfile_has(f, 10));
    for (uint64_t r = 0; r < 100; r++) {
        assert_int_equal(ice_rowfile_read(f, r, some, 3, got, NULL), ICE_OK);
        ice_value first = cell(12, r, text), last = cell(2, r, text);
        first = cell(12, r, text);
        assert_true(ice_value_eq(&got[0], &first));
        assert_true(ice_value_eq(&got[2], &last));
        assert_int_equal(got[1].i, 77);
    }
    ice_rowfile_close(f);
}

static void faults(void **state)
{
    static const char *const points[] = {"store.write", "store.sync", "store.rename"};
    for (size_t i = 0; i < 3; i++) {
        ice_error err = {0};
        unlink(path);
        ice_fault_arm(points[i], 1, false);
        assert_int_not_equal(write_cells(ice_rowfile_write, 100, 10, &err), ICE_OK);
        ice_fault_disarm();
        assert_string_not_equal(err.message, "");
        assert_int_equal(files_in_dir(), 0);
    }
}

/* Whatever the bytes: an error or values, none of them outside the file. */
static void read_all(void)
{
    ice_rowfile *f;
    ice_value got[NTYPES];
    ice_error err;
    ice_code rc = ice_rowfile_open(path, &f, &err);
    uint64_t sum = 0;
    if (rc != ICE_OK) {
        assert_int_equal(rc, ICE_CORRUPT);
        return;
    }
    for (uint64_t r = 0; r < ice_rowfile_rows(f) && r < 1000; r++) {
        for (int c = 0; c < NTYPES; c++)
            got[c] = (ice_value){.kind = ICE_T_LONG, .null = true};
        rc = ice_rowfile_read(f, r, columns, NTYPES, got, &err);
        assert_true(rc == ICE_OK || rc == ICE_CACHE);
        for (int c = 0; rc == ICE_OK && c < NTYPES; c++)
            sum += got[c].null ? 0 : ice_key_hash(&got[c], 1);
    }
    (void)sum;
    ice_rowfile_close(f);
}

static void fix_crc(char *p, size_t n)
{
    uint32_t ncols, zero = 0;
    memcpy(&ncols, p + 12, 4);
    memcpy(p + 40, &zero, 4);
    if (n < 64 || ncols > (n - 64) / 16)
        return;
    uint32_t crc = ice_crc32(0, p, 64 + ncols * 16);
    memcpy(p + 40, &crc, 4);
}

static void hostile(void **state)
{
    size_t n;
    assert_int_equal(write_cells(ice_rowfile_write, 50, 20, NULL), ICE_OK);
    char *good = slurp(&n), *bad = malloc(n);
    for (int i = 0; i < 3000; i++) {
        memcpy(bad, good, n);
        size_t len = i % 3 ? n : (size_t)rnd(n);
        for (uint64_t k = rnd(4) + (i % 3 != 0); k && len; k--) {
            size_t at = (size_t)(rnd(2) ? rnd(len) : rnd(len < 400 ? len : 400));
            bad[at] = (char)(rnd(2) ? (int)rnd(256) : bad[at] ^ (1 << rnd(8)));
        }
        if (i % 2 && len >= 64)
            fix_crc(bad, len);
        if (i % 4 > 1)
            fix_pages(bad, len);
        spill(bad, len);
        read_all();
    }
    for (size_t at = 12; at < n; at += 4) { /* every word with extreme values */
        static const uint32_t values[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
        for (size_t k = 0; k < 5; k++) {
            memcpy(bad, good, n);
            memcpy(bad + at, &values[k], 4);
            fix_crc(bad, n);
            fix_pages(bad, n);
            spill(bad, n);
            read_all();
        }
    }
    free(good);
    free(bad);
}

static bool row_noticed(void)
{
    ice_rowfile *f;
    ice_value got[NTYPES];
    bool noticed = false;
    if (ice_rowfile_open(path, &f, NULL) != ICE_OK)
        return true;
    for (uint64_t r = 0; r < ice_rowfile_rows(f) && !noticed; r++)
        noticed = ice_rowfile_read(f, r, columns, NTYPES, got, NULL) == ICE_CACHE;
    ice_rowfile_close(f);
    return noticed;
}

static void each_bit(void **state)
{
    assert_int_equal(write_cells(ice_rowfile_write, 64, 20, NULL), ICE_OK);
    flip_each_byte(row_noticed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(some_columns),
        cmocka_unit_test(faults),
        cmocka_unit_test(hostile),
        cmocka_unit_test(each_bit),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
