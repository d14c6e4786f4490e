#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "duck_library.h"
#include "engine/arrow_abi.h"
#include "mem_source.h"

static ice_engine *engine;
static ice_engine_conn *conn;
static mem_source numbers; /* id 0.., grp, name */
static mem_source kinds;   /* one column of each kind */
#define ROWS 10000

/* ---- tables ---- */

static void make_numbers(void)
{
    static ice_column cols[5];
    static ice_vec vecs[5];
    static int64_t ids[ROWS];
    static int32_t grps[ROWS];
    static ice_strval names[ROWS];
    static char text[ROWS][32];
    static uint8_t valid[ROWS / 8];
    static uint16_t codes[ROWS];
    static const uint32_t offsets[] = {0, 1, 27, 29, 29}; /* three words, and NULL's */
    for (int i = 0; i < ROWS; i++) {
        ids[i] = i;
        grps[i] = i % 10;
        int n = snprintf(text[i], sizeof text[i], i % 2 ? "name %d" : "a name longer than twelve %d", i);
        names[i] = (ice_strval){text[i], (uint32_t)n};
        if (i % 3)
            valid[i / 8] |= (uint8_t)(1 << i % 8);
        codes[i] = (uint16_t)(i % 3 ? i % 3 + (i % 2 - 1) : 3);
    }
    cols[0] = mem_column(1, "id", (ice_type){.kind = ICE_T_LONG});
    cols[1] = mem_column(2, "grp", (ice_type){.kind = ICE_T_INT});
    cols[2] = mem_column(3, "name", (ice_type){.kind = ICE_T_STRING});
    cols[3] = mem_column(4, "maybe", (ice_type){.kind = ICE_T_LONG});
    vecs[0] = (ice_vec){.type = cols[0].type, .data = ids};
    vecs[1] = (ice_vec){.type = cols[1].type, .data = grps};
    vecs[2] = (ice_vec){.type = cols[2].type, .strs = names};
    vecs[3] = (ice_vec){.type = cols[3].type, .data = ids, .validity = valid};
    cols[4] = mem_column(5, "word", (ice_type){.kind = ICE_T_STRING});
    vecs[4] = (ice_vec){.type = cols[4].type, .validity = valid, .codes = codes, .words = 4, .offsets = offsets,
                        .heap = "xa word longer than twelve.yz"};
    numbers = (mem_source){.base = {&mem_methods}, .cols = cols, .ncols = 5, .vecs = vecs, .rows = ROWS, .take_eq = true};
}

static const ice_type all_types[] = {
    {.kind = ICE_T_BOOL}, {.kind = ICE_T_INT}, {.kind = ICE_T_LONG}, {.kind = ICE_T_FLOAT}, {.kind = ICE_T_DOUBLE},
    {.kind = ICE_T_DECIMAL, .precision = 4, .scale = 1}, {.kind = ICE_T_DECIMAL, .precision = 9, .scale = 2},
    {.kind = ICE_T_DECIMAL, .precision = 18, .scale = 3}, {.kind = ICE_T_DECIMAL, .precision = 38, .scale = 10},
    {.kind = ICE_T_DATE}, {.kind = ICE_T_TIME}, {.kind = ICE_T_TIMESTAMP}, {.kind = ICE_T_TIMESTAMPTZ},
    {.kind = ICE_T_STRING}, {.kind = ICE_T_UUID}, {.kind = ICE_T_BINARY},
};
#define NKINDS (sizeof all_types / sizeof *all_types)
#define KROWS 3000

static void fill_kind(ice_type t, char *data, ice_strval *strs, size_t i)
{
    int64_t v = (int64_t)i * 3 - 1000;
    size_t w = ice_type_width(t);
    double dbl = (double)v / 4;
    float flt = (float)dbl;
    ice_i128 wide = (ice_i128)v * 1000000000000000ll * 1000000000ll;
    if (t.kind == ICE_T_BOOL)
        data[i] = i % 2;
    else if (t.kind == ICE_T_FLOAT)
        memcpy(data + i * w, &flt, 4);
    else if (t.kind == ICE_T_DOUBLE)
        memcpy(data + i * w, &dbl, 8);
    else if (t.kind == ICE_T_UUID)
        for (size_t k = 0; k < 16; k++)
            data[i * 16 + k] = (char)(i * 31 + k * 77);
    else if (t.kind == ICE_T_TIME)
        memcpy(data + i * w, &(int64_t){(int64_t)i * 28000000}, 8);
    else if (w)
        memcpy(data + i * w, w == 16 ? (void *)&wide : (void *)&v, w);
    else {
        char *text = malloc(64);
        strs[i] = (ice_strval){text, (uint32_t)snprintf(text, 64, "%.*s%zu", (int)(i % 40), "................................................", i)};
    }
}

static void make_kinds(void)
{
    static ice_column cols[NKINDS];
    static ice_vec vecs[NKINDS];
    static char names[NKINDS][8];
    for (size_t k = 0; k < NKINDS; k++) {
        size_t w = ice_type_width(all_types[k]);
        char *data = w ? malloc(KROWS * w) : NULL;
        ice_strval *strs = w ? NULL : calloc(KROWS, sizeof *strs);
        uint8_t *valid = calloc(1, KROWS / 8 + 1);
        for (size_t i = 0; i < KROWS; i++) {
            fill_kind(all_types[k], data, strs, i);
            if ((i + k) % 5)
                valid[i / 8] |= (uint8_t)(1 << i % 8);
        }
        snprintf(names[k], sizeof names[k], "c%zu", k);
        cols[k] = mem_column((int)k + 1, names[k], all_types[k]);
        vecs[k] = (ice_vec){.type = all_types[k], .data = data, .strs = strs, .validity = valid};
    }
    kinds = (mem_source){.base = {&mem_methods}, .cols = cols, .ncols = NKINDS, .vecs = vecs, .rows = KROWS};
}

static void free_kinds(void)
{
    for (size_t k = 0; k < NKINDS; k++) {
        for (size_t i = 0; kinds.vecs[k].strs && i < KROWS; i++)
            free((void *)kinds.vecs[k].strs[i].ptr);
        free((void *)kinds.vecs[k].strs);
        free((void *)kinds.vecs[k].data);
        free((void *)kinds.vecs[k].validity);
    }
}

static unsigned asked;

static ice_code resolve(void *arg, ice_str name, unsigned seq, ice_arena *a, ice_source **source, ice_str *subquery,
                        ice_error *err)
{
    (void)arg;
    assert_int_equal(seq, asked);
    asked++;
    if (ice_str_eqc(name, "numbers"))
        *source = &numbers.base;
    else if (ice_str_eqc(name, "kinds"))
        *source = &kinds.base;
    else if (ice_str_eqc(name, "evens"))
        *subquery = ice_arena_str(a, ICE_STR("SELECT * FROM numbers WHERE id % 2 = 0"));
    else if (ice_str_eqc(name, "broken"))
        return ice_fail(err, ICE_HISTORY_EXPIRED, "the history of %.*s is gone", ICE_PRI(name));
    return ICE_OK;
}

/* ---- running ---- */

static ice_result *run(const char *sql, const ice_value *params, size_t n)
{
    ice_error err = {0};
    ice_result *r = NULL;
    asked = 0;
    if (ice_engine_run(conn, ice_str_c(sql), params, n, &r, &err) != ICE_OK)
        fail_msg("%s: %s", sql, err.message);
    return r;
}

/* The whole result as text: values separated by '|', rows by newline. */
static const char *text_of(const char *sql, const ice_value *params, size_t n)
{
    static ice_buf b;
    ice_buf_clear(&b);
    ice_result *r = run(sql, params, n);
    const ice_result_column *cols;
    size_t ncols = ice_result_columns(r, &cols), count;
    ice_error err = {0};
    for (;;) {
        if (ice_result_next(r, &count, &err) != ICE_OK)
            fail_msg("%s: %s", sql, err.message);
        if (!count)
            break;
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
    }
    ice_result_close(r);
    ice_buf_put_u8(&b, 0);
    return b.data;
}
#define TEXT(sql) text_of(sql, NULL, 0)

static ice_code code_of(const char *sql, ice_error *err)
{
    ice_result *r = NULL;
    size_t n;
    asked = 0;
    memset(err, 0, sizeof *err);
    ice_code rc = ice_engine_run(conn, ice_str_c(sql), NULL, 0, &r, err);
    while (rc == ICE_OK && (rc = ice_result_next(r, &n, err)) == ICE_OK && n)
        ;
    ice_result_close(r);
    return rc;
}

static ice_value long_value(int64_t i)
{
    return (ice_value){.kind = ICE_T_LONG, .i = i};
}

/* ---- tests ---- */

static void wrong_library(void **s)
{
    (void)s;
    /* The real one is loaded already in this process; a fresh one is asked for in a child. */
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        ice_engine *e;
        ice_error err = {0};
        _exit(ice_engine_open("/nowhere/duck.so", 1, 0, &e, &err) == ICE_CONFIG && strstr(err.message, "duckdb") ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void select_constants(void **s)
{
    (void)s;
    assert_string_equal(TEXT("SELECT 1, 'x', NULL, 2.50, true"), "1|x|NULL|2.50|true");
    assert_string_equal(TEXT("SELECT * FROM range(3)"), "0\n1\n2");
    assert_string_equal(TEXT("SELECT json_extract('{\"a\": [1, 2]}', '$.a[1]')"), "2");
    assert_string_equal(TEXT("SELECT timezone('Europe/Berlin', TIMESTAMPTZ '2024-07-01 10:00:00+00')"), "2024-07-01 12:00:00");
    assert_string_equal(TEXT("SELECT x FROM (VALUES ('b'), ('Ä'), ('a')) t(x) ORDER BY x COLLATE de"), "a\nÄ\nb");
    assert_string_equal(TEXT("SET TimeZone = 'UTC'"), "");
}

static void scan_values(void **s)
{
    (void)s;
    for (int sel = 0; sel < 2; sel++) {
        kinds.use_sel = sel;
        ice_error err = {0};
        ice_result *r = run("SELECT * FROM kinds", NULL, 0);
        const ice_result_column *cols;
        assert_int_equal(ice_result_columns(r, &cols), NKINDS);
        size_t count, row = 0;
        for (size_t k = 0; k < NKINDS; k++)
            assert_int_equal(cols[k].type.kind, all_types[k].kind);
        while (ice_result_next(r, &count, &err) == ICE_OK && count)
            for (size_t i = 0; i < count; i++, row++)
                for (size_t k = 0; k < NKINDS; k++) {
                    ice_value got, want = ICE_NULL;
                    if (ice_vec_valid(&kinds.vecs[k], row))
                        ice_vec_get(&kinds.vecs[k], row, &want);
                    ice_result_value(r, k, i, &got);
                    if (got.null != want.null || (!got.null && !ice_value_eq(&got, &want)))
                        fail_msg("row %zu column %zu", row, k);
                }
        assert_int_equal(row, KROWS);
        ice_result_close(r);
    }
    kinds.use_sel = false;
}

static void scan_constants(void **s)
{
    (void)s;
    ice_vec saved[NKINDS];
    memcpy(saved, kinds.vecs, sizeof saved);
    for (size_t k = 0; k < NKINDS; k++)
        kinds.vecs[k].constant = true;
    for (size_t k = 0; k < NKINDS; k++) {
        char sql[128];
        ice_value want = ICE_NULL;
        ice_buf b = {0};
        if (ice_vec_valid(&saved[k], 0)) {
            ice_vec_get(&saved[k], 0, &want);
            ice_value_text(&want, &b);
        } else {
            ice_buf_puts(&b, "NULL");
        }
        ice_buf_printf(&b, "|%d", want.null ? 0 : KROWS);
        ice_buf_put_u8(&b, 0);
        snprintf(sql, sizeof sql, "SELECT min(c%zu::VARCHAR), count(c%zu) FROM kinds", k, k);
        if (all_types[k].kind == ICE_T_FLOAT || all_types[k].kind == ICE_T_DOUBLE || all_types[k].kind == ICE_T_BINARY) {
            ice_buf_free(&b); /* printed differently */
            continue;
        }
        assert_string_equal(TEXT(sql), b.data);
        ice_buf_free(&b);
    }
    memcpy(kinds.vecs, saved, sizeof saved);
}

static void counts_and_groups(void **s)
{
    (void)s;
    assert_string_equal(TEXT("SELECT count(*) FROM numbers"), "10000");
    assert_string_equal(TEXT("SELECT count(maybe), sum(maybe) FROM numbers"), "6666|33326667");
    assert_string_equal(TEXT("SELECT grp, count(*), min(id) FROM numbers GROUP BY grp ORDER BY grp LIMIT 2"), "0|1000|0\n1|1000|1");
    assert_string_equal(TEXT("SELECT count(*) FROM evens"), "5000");
    assert_string_equal(TEXT("SELECT name FROM numbers ORDER BY id DESC LIMIT 2"), "name 9999\na name longer than twelve 9998");
    assert_string_equal(TEXT("SELECT a.id, b.name FROM numbers a JOIN evens b ON a.id = b.id + 1 WHERE a.id = 5"),
                        "5|a name longer than twelve 4");
    assert_int_equal(numbers.opened, numbers.closed);
    assert_int_equal(numbers.workers, 0);
}

/* Codes 0 to 2 are words, of the rows whose number is no multiple of three; the others are NULL. */
static void dictionaries(void **s)
{
    (void)s;
    for (int sel = 0; sel < 2; sel++) {
        numbers.use_sel = sel;
        assert_string_equal(TEXT("SELECT word, count(*), sum(id) FROM numbers GROUP BY word ORDER BY word"),
                            "a word longer than twelve.|3334|16668333\nx|1666|8328334\nyz|1666|8330000\nNULL|3334|16668333");
        assert_string_equal(TEXT("SELECT count(*) FROM numbers WHERE word = 'yz' AND id > 9000"), "166");
        assert_string_equal(TEXT("SELECT id, word FROM numbers WHERE id < 6"), "0|NULL\n1|a word longer than twelve.\n2|a word longer than twelve.\n3|NULL\n4|x\n5|yz");
        assert_string_equal(TEXT("SELECT count(*) FROM numbers a JOIN (SELECT DISTINCT word AS w FROM numbers) b ON a.word = b.w"), "6666");
    }
    numbers.use_sel = false;
}

static void order_is_kept(void **s)
{
    (void)s;
    for (int ordered = 0; ordered < 2; ordered++) {
        numbers.base.m = ordered ? &mem_methods : &mem_methods_unordered;
        ice_error err = {0};
        ice_result *r = run("SELECT id FROM numbers WHERE id % 7 <> 0", NULL, 0);
        size_t count;
        int64_t last = -1;
        while (ice_result_next(r, &count, &err) == ICE_OK && count)
            for (size_t i = 0; i < count; i++) {
                ice_value v;
                ice_result_value(r, 0, i, &v);
                assert_true(v.i > last);
                last = v.i;
            }
        assert_int_equal(last, 9999);
        ice_result_close(r);
    }
    numbers.base.m = &mem_methods;
}

static void parameters(void **s)
{
    (void)s;
    uint8_t uuid[16] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8};
    ice_value p[] = {
        {.kind = ICE_T_BOOL, .b = true}, {.kind = ICE_T_INT, .i = -7}, long_value(1ll << 40), {.kind = ICE_T_FLOAT, .d = 1.5},
        {.kind = ICE_T_DOUBLE, .d = 2.25}, {.kind = ICE_T_DECIMAL, .dec = -12345, .scale = 3}, {.kind = ICE_T_DATE, .i = 19000},
        {.kind = ICE_T_TIME, .i = 3600000001}, {.kind = ICE_T_TIMESTAMP, .i = 1600000000000001},
        {.kind = ICE_T_TIMESTAMPTZ, .i = 1600000000000001}, {.kind = ICE_T_STRING, .s = ICE_STR("it's")},
        {.kind = ICE_T_UUID}, {.kind = ICE_T_BINARY, .s = ICE_STR("a\0b")}, ICE_NULL, {.kind = ICE_T_LONG, .null = true},
        {.kind = ICE_T_DECIMAL, .null = true, .scale = 2}, {.kind = ICE_T_STRING, .s = ICE_STR("")},
    };
    memcpy(p[11].uuid, uuid, 16);
    size_t n = sizeof p / sizeof *p;
    ice_result *r = run("SELECT $1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17", p, n);
    const ice_result_column *cols;
    size_t count;
    ice_error err;
    assert_int_equal(ice_result_columns(r, &cols), n);
    assert_int_equal(ice_result_next(r, &count, &err), ICE_OK);
    assert_int_equal(count, 1);
    for (size_t i = 0; i < n; i++) {
        ice_value v;
        ice_result_value(r, i, 0, &v);
        assert_int_equal(v.null, p[i].null);
        if (!v.null) {
            assert_int_equal(v.kind, p[i].kind);
            assert_true(ice_value_eq(&v, &p[i]));
        }
    }
    ice_result_close(r);
    ice_value two[] = {long_value(41), ICE_NULL};
    /* as a literal would be */
    assert_string_equal(text_of("SELECT typeof($1)", two, 1), "INTEGER");
    assert_string_equal(text_of("SELECT typeof($1)", &p[2], 1), "BIGINT");
    ice_value most = long_value(INT32_MAX);
    r = run("SELECT i + $1 FROM (SELECT 1::INTEGER AS i)", &most, 1);
    assert_int_equal(ice_result_next(r, &count, &err), ICE_RANGE);
    ice_result_close(r);
    assert_string_equal(text_of("SELECT $1 + 1, coalesce($2, 7)", two, 2), "42|7");
    assert_string_equal(text_of("SELECT count(*) FROM numbers WHERE id < $1", two, 1), "41");
    assert_string_equal(text_of("SELECT count(*) FROM numbers WHERE id = $1", &two[1], 1), "0");
}

static void offered(const char *sql, const ice_value *p, size_t n, const char *want)
{
    strcpy(numbers.filters, "-");
    text_of(sql, p, n);
    assert_string_equal(numbers.filters, want);
}

static void filters_reach_the_source(void **s)
{
    (void)s;
    ice_value p[] = {long_value(77), long_value(80)};
    offered("SELECT * FROM numbers WHERE id = $1", p, 1, "id= 77");
    offered("SELECT * FROM numbers WHERE $1 = id", p, 1, "id= 77");
    offered("SELECT * FROM numbers WHERE id >= $1 AND id < $2", p, 2, "id>= 77; id<= 80" /* a range becomes BETWEEN */);
    offered("SELECT * FROM numbers WHERE id BETWEEN 3 AND 5", NULL, 0, "id>= 3; id<= 5");
    offered("SELECT * FROM numbers WHERE id IN (1, 5, 9)", NULL, 0, "id in 1,5,9");
    offered("SELECT * FROM numbers WHERE id = 4 OR id = 8", NULL, 0, "id in 4,8");
    offered("SELECT * FROM numbers WHERE maybe IS NULL AND grp IS NOT NULL AND name = 'x'", NULL, 0,
            "maybe is null; grp not null; name= x");
    offered("SELECT * FROM numbers WHERE grp = 5::BIGINT", NULL, 0, "grp= 5");
    offered("SELECT * FROM numbers WHERE grp = $1", p, 1, "grp= 77");
    offered("SELECT * FROM numbers WHERE id + 1 = 5 AND lower(name) = 'x'", NULL, 0, "id= 4");
    offered("SELECT * FROM evens WHERE id = 6", NULL, 0, "id= 6");
    offered("SELECT count(*) FROM numbers WHERE id = 1 AND id = 2", NULL, 0, "-");
    assert_string_equal(TEXT("SELECT id FROM numbers WHERE id = 12"), "12");
    assert_string_equal(TEXT("SELECT id FROM numbers WHERE id = 12 AND grp = 3"), "");
    assert_string_equal(TEXT("SELECT b.id FROM numbers a JOIN numbers b ON a.id = b.id WHERE a.id = 12"), "12");
}

/* Calls of one source that differ only in what was pushed into them must never be merged. */
static void copies_keep_their_filters(void **s)
{
    (void)s;
    assert_string_equal(TEXT("WITH t AS (SELECT * FROM numbers) SELECT x.id, y.id FROM t x, t y WHERE x.id = 1 AND y.id = 2"), "1|2");
    assert_string_equal(TEXT("WITH t AS (SELECT * FROM numbers) SELECT id FROM t WHERE id = 1 UNION ALL SELECT id FROM t WHERE id = 2 "
                             "UNION ALL SELECT count(*) FROM t"), "1\n2\n10000");
    assert_string_equal(TEXT("SELECT (SELECT count(*) FROM numbers WHERE id = 1), (SELECT count(*) FROM numbers)"), "1|10000");
    assert_string_equal(TEXT("SELECT id FROM numbers WHERE id = 3 UNION ALL SELECT id FROM numbers WHERE id = 4 ORDER BY 1"), "3\n4");
    assert_string_equal(TEXT("WITH t AS MATERIALIZED (SELECT * FROM numbers) SELECT a.id FROM t a JOIN t b ON a.id = b.id "
                             "WHERE a.id = 9"), "9");
    assert_string_equal(TEXT("SELECT id, (SELECT max(id) FROM numbers b WHERE b.grp = a.grp) FROM numbers a WHERE id = 5"), "5|9995");
    assert_string_equal(TEXT("SELECT id FROM numbers WHERE id = 7 AND EXISTS (SELECT 1 FROM numbers b WHERE b.id = 8)"), "7");
    assert_string_equal(TEXT("SELECT count(*) FROM numbers a LEFT JOIN numbers b ON b.id = 3 AND a.id = b.id"), "10000");
}

static void other_types(void **s)
{
    (void)s;
    assert_string_equal(TEXT("SELECT [1,2], {'a': 1}, MAP {'k': 2}, 'x'::ENUM('x','y'), '10:00:00+02'::TIMETZ, '101'::BIT"),
                        "[1, 2]|{'a': 1}|{k=2}|x|10:00:00+02|101");
    assert_string_equal(TEXT("SELECT sum(id), 3::UBIGINT, 4::UINTEGER, 5::UTINYINT, (-5)::TINYINT, INTERVAL '1 day 00:00:01' FROM numbers"),
                        "49995000|3|4|5|-5|86401000000");
    assert_string_equal(TEXT("SELECT '2020-01-01 00:00:01'::TIMESTAMP_S, '2020-01-01 00:00:01.5'::TIMESTAMP_MS, "
                             "'1969-12-31 23:59:59.9999999'::TIMESTAMP_NS"),
                        "2020-01-01 00:00:01|2020-01-01 00:00:01.5|1969-12-31 23:59:59.999999");
    ice_result *r = run("SELECT sum(id) h, [1] l, '{}'::JSON j, 1::DECIMAL(9,2) d FROM numbers", NULL, 0);
    const ice_result_column *c;
    assert_int_equal(ice_result_columns(r, &c), 4);
    assert_int_equal(c[0].type.kind, ICE_T_NONE);
    assert_true(ice_str_eqc(c[0].duck_type, "HUGEINT"));
    assert_true(ice_str_eqc(c[1].duck_type, "INTEGER[]"));
    assert_int_equal(c[2].type.kind, ICE_T_STRING);
    assert_true(ice_str_eqc(c[2].duck_type, "JSON"));
    assert_int_equal(c[3].type.precision, 9);
    assert_int_equal(c[3].type.scale, 2);
    ice_result_close(r); /* before its rows were read */
    assert_string_equal(TEXT("PIVOT (SELECT grp % 2 AS g, id FROM numbers WHERE id < 4) ON g USING count(*) ORDER BY id"), "0|1|0\n1|0|1\n2|1|0\n3|0|1");
}

static void errors_have_codes(void **s)
{
    (void)s;
    ice_error e;
    assert_int_equal(code_of("SELEC 1", &e), ICE_SYNTAX);
    assert_int_equal(code_of("SELECT 1; SELECT 2", &e), ICE_SYNTAX);
    assert_int_equal(code_of("", &e), ICE_SYNTAX);
    assert_int_equal(code_of("SELECT * FROM nowhere", &e), ICE_NO_TABLE);
    assert_int_equal(code_of("SELECT nothing FROM numbers", &e), ICE_NO_COLUMN);
    assert_int_equal(code_of("SELECT n.nothing FROM numbers n", &e), ICE_NO_COLUMN);
    assert_int_equal(code_of("SELECT no_such_function(1)", &e), ICE_SYNTAX);
    assert_int_equal(code_of("SELECT CAST(name AS INTEGER) FROM numbers", &e), ICE_BAD_VALUE);
    assert_int_equal(code_of("SELECT CAST(id * 1000000 AS INTEGER) FROM numbers", &e), ICE_RANGE);
    assert_int_equal(code_of("SELECT max(id) * 9223372036854775807 * 9223372036854775807 * 100 FROM numbers", &e), ICE_RANGE);
    assert_int_equal(code_of("SELECT '2020-13-45'::DATE", &e), ICE_DATETIME);
    assert_int_equal(code_of("SELECT id // (id - id) FROM numbers", &e), ICE_DIV_ZERO);
    assert_int_equal(code_of("SELECT rowid FROM numbers", &e), ICE_NO_COLUMN);
    assert_int_equal(code_of("SELECT * FROM broken", &e), ICE_HISTORY_EXPIRED);
    assert_string_equal(e.message, "the history of broken is gone");
    assert_int_equal(code_of("SELECT * FROM ice_scan(source := 12345)", &e), ICE_BAD_VALUE);
    numbers.fail_at = numbers.batches + 3;
    assert_int_equal(code_of("SELECT sum(id) FROM numbers", &e), ICE_CORRUPT);
    assert_string_equal(e.message, "page 7 of the table is gone");
    numbers.fail_at = 0;
    assert_string_equal(TEXT("SELECT 1"), "1");
    assert_int_equal(numbers.opened, numbers.closed);
    assert_int_equal(numbers.workers, 0);
}

static ice_code resolve_any(void *arg, ice_str name, unsigned seq, ice_arena *a, ice_source **source, ice_str *subquery,
                            ice_error *err)
{
    (void)arg;
    (void)seq;
    (void)a;
    (void)subquery;
    (void)err;
    if (ice_str_eqc(name, "numbers"))
        *source = &numbers.base;
    return ICE_OK;
}

static void *sums(void *arg)
{
    ice_engine_conn *own;
    ice_error err;
    long bad = ice_engine_connect(engine, resolve_any, NULL, &own, &err) != ICE_OK;
    for (int i = 0; !bad && i < 40; i++) {
        ice_result *r;
        size_t count;
        ice_value v, p = long_value(i * 100);
        bad |= ice_engine_run(own, ICE_STR("SELECT sum(a.id) FROM numbers a JOIN numbers b USING (id) WHERE id < $1"), &p, 1, &r, &err) != ICE_OK ||
               ice_result_next(r, &count, &err) != ICE_OK;
        if (bad)
            break;
        ice_result_value(r, 0, 0, &v);
        bad |= i ? v.dec != (ice_i128)p.i * (p.i - 1) / 2 : !v.null;
        ice_result_close(r);
    }
    ice_engine_disconnect(own);
    *(long *)arg = bad;
    return NULL;
}

static void many_threads(void **s)
{
    (void)s;
    pthread_t t[4];
    long bad[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, sums, &bad[i]);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(bad[i], 0);
    }
    assert_int_equal(numbers.opened, numbers.closed);
}

static void early_ends(void **s)
{
    (void)s;
    assert_string_equal(TEXT("SELECT id FROM numbers LIMIT 2"), "0\n1");
    assert_string_equal(TEXT("SELECT id FROM numbers WHERE id > 5000 UNION ALL SELECT id FROM evens LIMIT 1"), "5001");
    assert_string_equal(TEXT("SELECT count(*) FROM (SELECT id FROM numbers LIMIT 3000)"), "3000");
    assert_int_equal(numbers.opened, numbers.closed);
    assert_int_equal(numbers.workers, 0);
}

static void one_statement_at_a_time(void **s)
{
    (void)s;
    ice_error err = {0};
    ice_result *r = run("SELECT * FROM numbers", NULL, 0), *second = NULL;
    assert_int_equal(ice_engine_run(conn, ICE_STR("SELECT 1"), NULL, 0, &second, &err), ICE_MISUSE);
    long before = numbers.released;
    ice_result_close(r);
    assert_int_equal(numbers.released, before + 1);
    assert_string_equal(TEXT("SELECT 1"), "1");
}

static void many_statements(void **s)
{
    (void)s;
    char sql[64], want[16];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 300; i++) {
            snprintf(sql, sizeof sql, "SELECT %d", i);
            snprintf(want, sizeof want, "%d", i);
            assert_string_equal(TEXT(sql), want);
        }
}

static void *interrupter(void *arg)
{
    (void)arg;
    ice_sleep_us(50000);
    ice_engine_interrupt(conn);
    return NULL;
}

static void interrupt(void **s)
{
    (void)s;
    pthread_t t;
    ice_error e;
    pthread_create(&t, NULL, interrupter, NULL);
    int64_t start = ice_clock_monotonic_us();
    assert_int_equal(code_of("SELECT count(*) FROM range(10000000) a, range(10000) b WHERE a.range * b.range % 7 = 3", &e), ICE_CANCELED);
    assert_true(ice_clock_monotonic_us() - start < 20000000);
    pthread_join(t, NULL);
    assert_string_equal(TEXT("SELECT 1"), "1");
}

static void fork_forgets(void **s)
{
    (void)s;
    ice_result *open = run("SELECT * FROM numbers", NULL, 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        ice_engine_after_fork(engine);
        ice_result *r = NULL;
        size_t n;
        ice_error err;
        int bad = ice_engine_run(conn, ICE_STR("SELECT 1"), NULL, 0, &r, &err) != ICE_MISUSE;
        bad |= ice_result_next(open, &n, &err) != ICE_MISUSE;
        ice_result_close(open);
        ice_engine_disconnect(conn);
        ice_engine_close(engine);
        bad |= ice_engine_open(getenv("ICE_TEST_DUCK"), 2, 0, &engine, &err) != ICE_OK;
        bad = bad || ice_engine_connect(engine, resolve, NULL, &conn, &err) != ICE_OK;
        if (!bad)
            bad = strcmp(TEXT("SELECT count(*) FROM numbers"), "10000") != 0;
        _exit(bad);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ice_result_close(open);
    assert_string_equal(TEXT("SELECT 1"), "1");
}

/* ---- Arrow ---- */

static void count_release(void *arg)
{
    ++*(int *)arg;
}

static void arrow_stream(void **s)
{
    (void)s;
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    struct ArrowArray array;
    ice_error err = {0};
    int released = 0;
    int64_t rows = 0, sum = 0;
    ice_value p = long_value(9000);
    asked = 0;
    assert_int_equal(ice_engine_run_arrow(conn, ICE_STR("SELECT id, name, now() t FROM numbers WHERE id < $1"), &p, 1, &stream,
                                          count_release, &released, &err), ICE_OK);
    assert_int_equal(stream.get_schema(&stream, &schema), 0);
    assert_string_equal(schema.children[0]->format, "l");
    assert_string_equal(schema.children[1]->format, "vu");
    assert_string_equal(schema.children[2]->format, "tsu:UTC");
    schema.release(&schema);
    while (stream.get_next(&stream, &array) == 0 && array.release) {
        rows += array.length;
        for (int64_t i = 0; i < array.length; i++)
            sum += ((const int64_t *)array.children[0]->buffers[1])[i];
        array.release(&array);
    }
    assert_int_equal(rows, 9000);
    assert_int_equal(sum, 9000ll * 8999 / 2);
    stream.release(&stream);
    assert_int_equal(released, 1);
    assert_int_equal(ice_engine_run_arrow(conn, ICE_STR("SELECT to_microseconds(range * 86400000001) + INTERVAL '1 month' FROM range(5)"),
                                          NULL, 0, &stream, NULL, NULL, &err), ICE_OK);
    assert_int_equal(stream.get_schema(&stream, &schema), 0);
    assert_string_equal(schema.children[0]->format, "tDu");
    schema.release(&schema);
    assert_int_equal(stream.get_next(&stream, &array), 0);
    for (int64_t i = 0; i < 5; i++)
        assert_int_equal(((const int64_t *)array.children[0]->buffers[1])[i], (30 + i) * 86400000000 + i);
    array.release(&array);
    stream.release(&stream);
    numbers.fail_at = numbers.batches + 2;
    asked = 0;
    assert_int_equal(ice_engine_run_arrow(conn, ICE_STR("SELECT id FROM numbers"), NULL, 0, &stream, NULL, NULL, &err), ICE_OK);
    int rc;
    while ((rc = stream.get_next(&stream, &array)) == 0 && array.release)
        array.release(&array);
    assert_int_not_equal(rc, 0);
    assert_string_equal(stream.get_last_error(&stream), "page 7 of the table is gone");
    stream.release(&stream);
    numbers.fail_at = 0;
}

static int setup(void **s)
{
    (void)s;
    ice_error err = {0};
    make_numbers();
    make_kinds();
    if (ice_engine_open(getenv("ICE_TEST_DUCK"), 2, 512 << 20, &engine, &err) != ICE_OK ||
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
    free_kinds();
    return 0;
}

int main(void)
{
    const char *lib = duck_library();
    if (!lib)
        return 77;
    setenv("ICE_TEST_DUCK", lib, 1);
    const struct CMUnitTest early[] = {cmocka_unit_test(wrong_library)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(select_constants),         cmocka_unit_test(scan_values),
        cmocka_unit_test(scan_constants),           cmocka_unit_test(counts_and_groups),
        cmocka_unit_test(dictionaries),             cmocka_unit_test(order_is_kept),
        cmocka_unit_test(parameters),
        cmocka_unit_test(filters_reach_the_source), cmocka_unit_test(copies_keep_their_filters),
        cmocka_unit_test(other_types),              cmocka_unit_test(errors_have_codes),
        cmocka_unit_test(one_statement_at_a_time),  cmocka_unit_test(many_statements),
        cmocka_unit_test(interrupt),                cmocka_unit_test(fork_forgets),
        cmocka_unit_test(arrow_stream),             cmocka_unit_test(many_threads),
        cmocka_unit_test(early_ends),
    };
    return cmocka_run_group_tests(early, NULL, NULL) + cmocka_run_group_tests(tests, setup, teardown);
}
