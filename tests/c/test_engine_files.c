#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "duck_library.h"
#include "format/parquet.h"
#include "mem_source.h"

static ice_engine *engine;
static ice_engine_conn *conn;
static ice_arena *arena;
static char dir[64];
static mem_source table;
#define ROWS 100000

static ice_code resolve(void *arg, ice_str name, unsigned seq, ice_arena *a, ice_source **source, ice_str *subquery,
                        ice_error *err)
{
    (void)arg;
    (void)seq;
    (void)a;
    (void)subquery;
    (void)err;
    if (ice_str_eqc(name, "t"))
        *source = &table.base;
    return ICE_OK;
}

static const char *text_of(const char *sql)
{
    static ice_buf b;
    ice_error err = {0};
    ice_result *r;
    const ice_result_column *cols;
    size_t count;
    ice_buf_clear(&b);
    if (ice_engine_run(conn, ice_str_c(sql), NULL, 0, &r, &err) != ICE_OK)
        fail_msg("%s: %s", sql, err.message);
    size_t ncols = ice_result_columns(r, &cols);
    while (ice_result_next(r, &count, &err) == ICE_OK && count)
        for (size_t i = 0; i < count; i++)
            for (size_t k = 0; k < ncols; k++) {
                ice_value v;
                ice_result_value(r, k, i, &v);
                ice_buf_puts(&b, k ? "|" : b.len ? "\n" : "");
                if (v.null)
                    ice_buf_puts(&b, "NULL");
                else
                    ice_value_text(&v, &b);
            }
    ice_result_close(r);
    ice_buf_put_u8(&b, 0);
    return b.data;
}

static ice_str path(const char *name)
{
    return ice_str_c(ice_arena_printf(arena, "%s/%s", dir, name));
}

static ice_parquet_info write_file(const char *sql, ice_str file, const ice_column *cols, size_t ncols)
{
    ice_parquet_info info;
    ice_error err = {0};
    if (ice_parquet_write(conn, ice_str_c(sql), NULL, 0, file, cols, ncols, arena, &info, &err) != ICE_OK)
        fail_msg("%s: %s", sql, err.message);
    return info;
}

static void check_bounds(const ice_column_stats *s, const char *lower, const char *upper)
{
    ice_buf b = {0};
    assert_int_equal(s->has_bounds, lower != NULL);
    if (!lower)
        return;
    ice_value_text(&s->lower, &b);
    ice_buf_put_u8(&b, 0);
    assert_string_equal(b.data, lower);
    ice_buf_clear(&b);
    ice_value_text(&s->upper, &b);
    ice_buf_put_u8(&b, 0);
    assert_string_equal(b.data, upper);
    ice_buf_free(&b);
}

static const char *const many =
    "SELECT 2, -5::BIGINT, 'b', 1.5, DATE '2020-01-02', TIME '10:00:00.5', TIMESTAMP '2020-01-01 00:00:00.123456', "
    "TIMESTAMPTZ '2020-01-01 00:00:00.123456+00', '\\x01\\xFF'::BLOB, '12345678-1234-1234-1234-123456789012'::UUID, 2.5::DOUBLE, "
    "1.5::FLOAT, true, 12345678901234567890123456.789, NULL::VARCHAR, repeat('long ', 300) "
    "UNION ALL SELECT 1, 7, 'a\"''', -1.25, '1969-12-31', '23:59:59', '1950-01-01', '2021-01-01 00:00:00+02', 'abc', "
    "'02345678-1234-1234-1234-123456789012', 'nan', -2, false, -1, NULL, 'short'";

static size_t many_columns(ice_column *c)
{
    static const ice_type types[] = {
        {.kind = ICE_T_INT}, {.kind = ICE_T_LONG}, {.kind = ICE_T_STRING}, {.kind = ICE_T_DECIMAL, .precision = 9, .scale = 2},
        {.kind = ICE_T_DATE}, {.kind = ICE_T_TIME}, {.kind = ICE_T_TIMESTAMP}, {.kind = ICE_T_TIMESTAMPTZ}, {.kind = ICE_T_BINARY},
        {.kind = ICE_T_UUID}, {.kind = ICE_T_DOUBLE}, {.kind = ICE_T_FLOAT}, {.kind = ICE_T_BOOL},
        {.kind = ICE_T_DECIMAL, .precision = 38, .scale = 3}, {.kind = ICE_T_STRING}, {.kind = ICE_T_STRING}};
    static const char *const names[] = {"i", "lo ng", "it's \"q\"", "d", "dt", "tm", "ts", "tz", "b", "u", "db", "fl", "bo", "dw", "nu", "lg"};
    size_t n = sizeof types / sizeof *types;
    for (size_t i = 0; i < n; i++)
        c[i] = mem_column((int)i + 11, names[i], types[i]);
    return n;
}

static void statistics(void **s)
{
    (void)s;
    ice_column c[16];
    size_t n = many_columns(c);
    ice_str file = path("stats.parquet");
    ice_parquet_info info = write_file(many, file, c, n);
    struct stat st;
    assert_int_equal(stat(file.ptr, &st), 0);
    assert_int_equal(info.rows, 2);
    assert_int_equal(info.bytes, st.st_size);
    assert_int_equal(info.ncols, n);
    static const char *const bounds[][2] = {
        {"1", "2"}, {"-5", "7"}, {"a\"'", "b"}, {"-1.25", "1.50"}, {"1969-12-31", "2020-01-02"}, {"10:00:00.5", "23:59:59"},
        {"1950-01-01 00:00:00", "2020-01-01 00:00:00.123456"}, {"2020-01-01 00:00:00.123456+00", "2020-12-31 22:00:00+00"}, {NULL, NULL},
        {"02345678-1234-1234-1234-123456789012", "12345678-1234-1234-1234-123456789012"}, {"2.5", "2.5"}, {"-2", "1.5"},
        {"false", "true"}, {"-1.000", "12345678901234567890123456.789"}, {NULL, NULL}, {NULL, NULL}};
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(info.cols[i].field_id, i + 11);
        assert_int_equal(info.cols[i].null_count, i == 14 ? 2 : 0);
        assert_true(info.cols[i].size_bytes > 0);
        if (c[i].type.kind != ICE_T_BINARY)
            check_bounds(&info.cols[i], bounds[i][0], bounds[i][1]);
    }
    assert_int_equal(info.cols[10].nan_count, 1);
    assert_int_equal(info.cols[11].nan_count, 0);
    assert_int_equal(info.cols[0].nan_count, -1);
    assert_true(info.cols[8].has_bounds && info.cols[8].lower.s.len == 2 && (uint8_t)info.cols[8].lower.s.ptr[1] == 0xff);
}

static void file_layout(void **s)
{
    (void)s;
    ice_column c[2] = {mem_column(7, "id", (ice_type){.kind = ICE_T_LONG}), mem_column(9, "name", (ice_type){.kind = ICE_T_STRING})};
    ice_str file = path("layout.parquet");
    ice_parquet_info info = write_file("SELECT * FROM t ORDER BY id DESC", file, c, 2);
    assert_int_equal(info.rows, ROWS);
    assert_string_equal(text_of(ice_arena_printf(arena, "SELECT max(row_group_num_rows), max(compression), string_agg(DISTINCT encodings, ',' ORDER BY "
        "encodings) FROM parquet_metadata('%s')", file.ptr)), "40960|ZSTD|DELTA_BINARY_PACKED,DELTA_LENGTH_BYTE_ARRAY");
    assert_string_equal(text_of(ice_arena_printf(arena, "SELECT name, field_id FROM parquet_schema('%s') WHERE field_id IS NOT NULL", file.ptr)),
                        "id|7\nname|9");
    assert_string_equal(text_of(ice_arena_printf(arena, "SELECT id FROM '%s' LIMIT 3", file.ptr)), "99999\n99998\n99997");
    info = write_file("SELECT * FROM t WHERE id < 0", file, c, 2);
    assert_int_equal(info.rows, 0);
    assert_false(info.cols[0].has_bounds);
    ice_value p = {.kind = ICE_T_LONG, .i = 17};
    ice_error err = {0};
    assert_int_equal(ice_parquet_write(conn, ICE_STR("SELECT * FROM t WHERE id < $1"), &p, 1, file, c, 2, arena, &info, &err), ICE_OK);
    assert_int_equal(info.rows, 17);
    check_bounds(&info.cols[0], "0", "16");
    assert_int_equal(ice_parquet_write(conn, ICE_STR("SELECT 1, 2"), NULL, 0, path("no/such/dir"), c, 2, arena, &info, &err), ICE_IO);
}

/* A file of an old schema: column 1 renamed and widened, 2 dropped, 3 widened, 4 and 5 added. */
static void evolved_schema(void **s)
{
    (void)s;
    ice_column old[3] = {mem_column(1, "n", (ice_type){.kind = ICE_T_INT}), mem_column(2, "gone", (ice_type){.kind = ICE_T_STRING}),
                         mem_column(3, "price", (ice_type){.kind = ICE_T_DECIMAL, .precision = 5, .scale = 2})};
    ice_column now[7] = {mem_column(3, "price", (ice_type){.kind = ICE_T_DECIMAL, .precision = 20, .scale = 2}),
                         mem_column(1, "num ber", (ice_type){.kind = ICE_T_LONG}), mem_column(4, "gone", (ice_type){.kind = ICE_T_STRING}),
                         mem_column(5, "bin", (ice_type){.kind = ICE_T_BINARY}), mem_column(6, "at", (ice_type){.kind = ICE_T_TIMESTAMPTZ}),
                         mem_column(7, "flag", (ice_type){.kind = ICE_T_BOOL}), mem_column(8, "none", (ice_type){.kind = ICE_T_UUID})};
    now[2].has_initial = now[3].has_initial = now[4].has_initial = now[5].has_initial = true;
    now[2].initial = (ice_value){.kind = ICE_T_STRING, .s = ICE_STR("it's new")};
    now[3].initial = (ice_value){.kind = ICE_T_BINARY, .s = ICE_STR("\0\xff'x")};
    now[4].initial = (ice_value){.kind = ICE_T_TIMESTAMPTZ, .i = 1577836800000001};
    now[5].initial = (ice_value){.kind = ICE_T_BOOL, .b = true};
    ice_str files[2] = {path("a.parquet"), path("k=1")};
    mkdir(files[1].ptr, 0700);
    files[1] = path("k=1/b'.parquet");
    write_file("SELECT range::INTEGER, 'x', range / 4 FROM range(4)", files[0], old, 3);
    write_file("SELECT 2000000000, 'y', 999.99", files[1], old, 3);
    ice_buf sql = {0};
    ice_buf_puts(&sql, "SELECT *, hex(bin) FROM ");
    ice_parquet_scan_sql(files, 2, now, 7, true, true, &sql);
    ice_buf_puts(&sql, " WHERE \"num ber\" > 2 AND flag ORDER BY \"__file\"");
    ice_buf_put_u8(&sql, 0);
    assert_string_equal(text_of("SET TimeZone = 'UTC'"), "");
    ice_error err = {0};
    ice_result *r;
    size_t count;
    if (ice_engine_run(conn, ice_str_c(sql.data), NULL, 0, &r, &err) != ICE_OK)
        fail_msg("%s", err.message);
    assert_int_equal(ice_result_next(r, &count, &err), ICE_OK);
    assert_int_equal(count, 2);
    static const char *const want[2][10] = {
        {"0.75", "3", "it's new", "", "2020-01-01 00:00:00.000001+00", "true", NULL, "3", "0", "00FF2778"},
        {"999.99", "2000000000", "it's new", "", "2020-01-01 00:00:00.000001+00", "true", NULL, "0", "1", "00FF2778"}};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 10; k++) {
            ice_value v;
            ice_buf b = {0};
            ice_result_value(r, k, i, &v);
            assert_int_equal(v.null, want[i][k] == NULL);
            if (v.null || k == 3)
                continue;
            ice_value_text(&v, &b);
            ice_buf_put_u8(&b, 0);
            assert_string_equal(b.data, want[i][k]);
            ice_buf_free(&b);
        }
    ice_result_close(r);
    ice_buf_clear(&sql);
    ice_buf_puts(&sql, "SELECT sum(n), count(*) FROM ");
    ice_parquet_scan_sql(files, 2, old, 3, false, false, &sql);
    ice_buf_put_u8(&sql, 0);
    assert_string_equal(text_of(sql.data), "2000000006|5");
    ice_buf_clear(&sql);
    ice_buf_puts(&sql, "SELECT file_row_number, __file FROM ");
    ice_parquet_scan_sql(files, 2, old, 3, false, true, &sql);
    ice_buf_puts(&sql, " WHERE n = 2");
    ice_buf_put_u8(&sql, 0);
    assert_string_equal(text_of(sql.data), "2|0");
    ice_buf_free(&sql);
}

/* Last: there is no way back. */
static void restricted(void **s)
{
    (void)s;
    ice_error err = {0};
    ice_result *r = NULL;
    ice_str d = ice_str_c(dir);
    assert_int_equal(ice_engine_restrict(engine, &d, 1, &err), ICE_OK);
    assert_int_equal(ice_engine_run(conn, ICE_STR("SELECT * FROM read_csv('/etc/passwd')"), NULL, 0, &r, &err), ICE_UNSUPPORTED);
    ice_column c[2] = {mem_column(7, "id", (ice_type){.kind = ICE_T_LONG}), mem_column(9, "name", (ice_type){.kind = ICE_T_STRING})};
    assert_int_equal(write_file("SELECT * FROM t", path("again.parquet"), c, 2).rows, ROWS);
    assert_int_not_equal(ice_engine_run(conn, ICE_STR("SET enable_external_access = true"), NULL, 0, &r, &err), ICE_OK);
}

static int setup(void **s)
{
    (void)s;
    static ice_column cols[2];
    static ice_vec vecs[2];
    static int64_t ids[ROWS];
    static ice_strval names[ROWS];
    static char text[ROWS][24];
    for (int i = 0; i < ROWS; i++) {
        ids[i] = i;
        names[i] = (ice_strval){text[i], (uint32_t)snprintf(text[i], sizeof text[i], "the row number %d", i)};
    }
    cols[0] = mem_column(1, "id", (ice_type){.kind = ICE_T_LONG});
    cols[1] = mem_column(2, "name", (ice_type){.kind = ICE_T_STRING});
    vecs[0] = (ice_vec){.type = cols[0].type, .data = ids};
    vecs[1] = (ice_vec){.type = cols[1].type, .strs = names};
    table = (mem_source){.base = {&mem_methods}, .cols = cols, .ncols = 2, .vecs = vecs, .rows = ROWS};
    ice_error err = {0};
    strcpy(dir, "/tmp/ice-engine-XXXXXX");
    arena = ice_arena_create();
    if (!mkdtemp(dir) || ice_engine_open(getenv("ICE_TEST_DUCK"), 2, 0, &engine, &err) != ICE_OK ||
        ice_engine_connect(engine, resolve, NULL, &conn, &err) != ICE_OK) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    return 0;
}

static int teardown(void **s)
{
    (void)s;
    ice_engine_disconnect(conn);
    ice_engine_close(engine);
    ice_arena_free(arena);
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

/* The values of the spec's Appendix B, and many rows at once, with NULLs. */
static void transforms(void **state)
{
    (void)state;
    assert_string_equal(text_of("SELECT ice_transform('bucket[100]', 34), ice_transform('bucket[100]', 34::BIGINT), "
                                "ice_transform('bucket[100]', 'iceberg'), "
                                "ice_transform('bucket[100]', DATE '2017-11-16'), "
                                "ice_transform('bucket[100]', 'f79c3e09-677c-4bbd-a479-3f349cb785e7'::UUID), "
                                "ice_transform('bucket[100]', '\\x00\\x01\\x02\\x03'::BLOB), ice_transform('bucket[4]', NULL::INT)"),
                        "79|79|89|26|40|41|NULL");
    assert_string_equal(text_of("SELECT ice_transform('year', DATE '1969-12-31'), ice_transform('month', TIMESTAMP '1970-03-01 00:00'), "
                                "ice_transform('day', TIMESTAMPTZ '1969-12-31 23:00+00'), "
                                "ice_transform('hour', TIMESTAMP '1970-01-02 01:59:59')"),
                        "-1|2|-1|25");
    assert_string_equal(text_of("SELECT count(*), count(h), min(h), max(h) FROM (SELECT ice_transform('bucket[16]', nullif(i % 7, 3)) AS h "
                                "FROM range(100000) AS r(i))"),
                        "100000|85714|1|12");
}

/* A copy of exactly the size, so that the sanitizer sees a read past the end. */
static ice_code layout_of(ice_str footer, uint64_t file_size, ice_parquet_layout *out)
{
    ice_arena *a = ice_arena_create();
    ice_error err = {0};
    char *copy = malloc(footer.len + 1);
    assert_true(a && copy);
    memcpy(copy, footer.ptr, footer.len);
    ice_code rc = ice_parquet_layout_read((ice_str){copy, footer.len}, file_size, a, out, &err);
    for (size_t i = 0; rc == ICE_OK && i < out->nchunks; i++) {
        assert_true(out->chunks[i].leaf < out->nleaves);
        assert_true(out->chunks[i].at + out->chunks[i].len <= file_size - footer.len - ICE_PARQUET_END);
    }
    free(copy);
    ice_arena_free(a);
    return rc;
}

/* Where the engine says the columns are; then each cut and each flipped bit: an error, or another layout within the file. */
static void footer(void **s)
{
    (void)s;
    ice_column c[2] = {mem_column(7, "id", (ice_type){.kind = ICE_T_LONG}), mem_column(9, "name", (ice_type){.kind = ICE_T_STRING})};
    ice_str file = path("footer.parquet");
    write_file("SELECT * FROM t", file, c, 2);
    FILE *f = fopen(file.ptr, "rb");
    struct stat st;
    assert_true(f && stat(file.ptr, &st) == 0);
    uint64_t size = (uint64_t)st.st_size, n;
    char *bytes = malloc(size);
    assert_int_equal(fread(bytes, 1, size, f), size);
    fclose(f);
    ice_error err = {0};
    assert_int_equal(ice_parquet_footer_size((uint8_t *)bytes + size - ICE_PARQUET_END, size, &n, &err), ICE_OK);
    char *at = bytes + size - ICE_PARQUET_END - n;
    ice_parquet_layout layout;
    ice_buf b = {0};
    assert_int_equal(ice_parquet_layout_read((ice_str){at, n}, size, arena, &layout, &err), ICE_OK);
    assert_true(layout.nleaves == 2 && layout.ids[0] == 7 && layout.ids[1] == 9);
    for (size_t i = 0; i < layout.nchunks; i++)
        ice_buf_printf(&b, "%s%u|%llu", i ? "\n" : "", layout.chunks[i].leaf, (unsigned long long)layout.chunks[i].len);
    ice_buf_put_u8(&b, 0);
    assert_string_equal(text_of(ice_arena_printf(arena, "SELECT column_id, total_compressed_size FROM parquet_metadata('%s') "
        "ORDER BY row_group_id, column_id", file.ptr)), b.data);
    ice_buf_free(&b);
    size_t refused = 0;
    for (size_t len = 0; len < n; len++) {
        ice_code rc = layout_of((ice_str){at, len}, size, &layout);
        assert_true(rc == ICE_OK || rc == ICE_CORRUPT);
        refused += rc == ICE_CORRUPT;
    }
    assert_true(refused > n / 2);
    for (size_t i = 0; i < n * 8; i++) {
        at[i / 8] ^= (char)(1 << i % 8);
        ice_code rc = layout_of((ice_str){at, n}, size, &layout);
        assert_true(rc == ICE_OK || rc == ICE_CORRUPT);
        at[i / 8] ^= (char)(1 << i % 8);
    }
    srand(7);
    for (int round = 0; round < 20000; round++) {
        size_t where[4];
        char before[4];
        for (int k = 0; k < 4; k++) {
            where[k] = (size_t)rand() % n;
            before[k] = at[where[k]];
            at[where[k]] = (char)rand();
        }
        ice_code rc = layout_of((ice_str){at, n}, size, &layout);
        assert_true(rc == ICE_OK || rc == ICE_CORRUPT);
        for (int k = 4; k-- > 0;)
            at[where[k]] = before[k];
    }
    free(bytes);
}

int main(void)
{
    const char *lib = duck_library();
    if (!lib)
        return 77;
    setenv("ICE_TEST_DUCK", lib, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics), cmocka_unit_test(transforms), cmocka_unit_test(file_layout), cmocka_unit_test(footer), cmocka_unit_test(evolved_schema),
                                       cmocka_unit_test(restricted)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
