#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/misc.h"
#include "base/value.h"

static ice_arena *arena;

static ice_value vi(int64_t i) { return (ice_value){.kind = ICE_T_LONG, .i = i}; }
static ice_value vd(double d) { return (ice_value){.kind = ICE_T_DOUBLE, .d = d}; }
static ice_value vs(const char *c) { return (ice_value){.kind = ICE_T_STRING, .s = ice_str_c(c)}; }
static ice_value vdec(ice_i128 v, uint8_t scale) { return (ice_value){.kind = ICE_T_DECIMAL, .dec = v, .scale = scale}; }
static ice_value vt(ice_kind kind, int64_t i) { return (ice_value){.kind = (uint8_t)kind, .i = i}; }

static ice_type type_of(const char *text)
{
    ice_type t;

    assert_int_equal(ice_type_parse(ice_str_c(text), &t, NULL), ICE_OK);
    return t;
}

static const char *text_of(ice_value v)
{
    ice_buf b = {0};
    ice_str s;

    ice_value_text(&v, &b);
    s = ice_arena_str(arena, (ice_str){b.data ? b.data : "", b.len});
    ice_buf_free(&b);
    return s.ptr;
}

/* Text of the value cast to a type, or the name of the error. */
static const char *cast(ice_value v, const char *type)
{
    ice_error err = {0};
    ice_value out;
    ice_code rc = ice_value_cast(arena, &v, type_of(type), &out, &err);

    if (rc != ICE_OK) {
        assert_int_equal(rc, err.code);
        assert_true(strlen(err.message) > 0);
        return ice_code_name(rc);
    }
    assert_int_equal(out.kind, type_of(type).kind);
    return text_of(out);
}

#define CAST(v, type, expected) assert_string_equal(cast(v, type), expected)

/* ---- errors ---- */

static void test_errors_name_code_and_reason(void **state)
{
    ice_error err = {0};

    assert_int_equal(ice_fail(&err, ICE_UNIQUE, "key (%d) exists", 5), ICE_UNIQUE);
    ice_error_object(&err, "book", "book_pkey");
    ice_error_prefix(&err, "table %s", "book");
    assert_string_equal(err.message, "table book: key (5) exists");
    assert_string_equal(err.table, "book");
    assert_string_equal(err.constraint, "book_pkey");
    assert_string_equal(ice_code_sqlstate(err.code), "23505");
    assert_string_equal(ice_code_exception(err.code), "IntegrityError");
    /* The next failure starts afresh, and may quote the last. */
    assert_int_equal(ice_fail(&err, ICE_IO, "again: %s", err.message), ICE_IO);
    assert_string_equal(err.message, "again: table book: key (5) exists");
    assert_string_equal(err.table, "");
    assert_int_equal(ice_fail(NULL, ICE_IO, "nobody listens"), ICE_IO);
    assert_string_equal(ice_code_name((ice_code)9999), "INTERNAL");
}

static void test_errno_becomes_a_code(void **state)
{
    ice_error err = {0};

    assert_int_equal(ice_fail_errno(&err, ENOENT, "opening %s", "x"), ICE_NOT_FOUND);
    assert_string_equal(err.message, "opening x: No such file or directory");
    assert_int_equal(ice_fail_errno(&err, ENOSPC, "writing"), ICE_DISK_FULL);
    assert_int_equal(ice_fail_errno(&err, EEXIST, "writing"), ICE_EXISTS);
    assert_int_equal(ice_fail_errno(&err, EACCES, "writing"), ICE_IO);
}

static void test_a_long_message_is_cut_between_characters(void **state)
{
    ice_error err = {0};
    char text[3000];

    for (int i = 0; i < 4; i++) {
        memset(text, 'a', sizeof text);
        for (size_t k = (size_t)i; k + 2 < sizeof text; k += 2)
            memcpy(text + k, "é", 2);
        text[sizeof text - 1] = '\0';
        ice_fail(&err, ICE_IO, "%s", text);
        assert_true(strlen(err.message) >= 1020);
        assert_true(ice_utf8_valid(ice_str_c(err.message)));
        ice_error_prefix(&err, "%s", "prefix");
        assert_true(ice_utf8_valid(ice_str_c(err.message)));
    }
}

/* ---- strings ---- */

static void test_utf8(void **state)
{
    const char *bad[] = {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                         "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82", "abcdefgh\xFF", "\xC3(", "\xF0\x9F\x98"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(ice_utf8_valid(ice_str_c(bad[i])));
    assert_true(ice_utf8_valid(ICE_STR("plain ascii, long enough, né €uro 😀 \xF4\x8F\xBF\xBF \xED\x9F\xBF")));
    assert_true(ice_utf8_valid(ICE_STR_NONE));
    assert_int_equal(ice_utf8_length(ICE_STR("aé€😀")), 4);
}

static void test_string_order(void **state)
{
    assert_true(ice_str_cmp(ICE_STR("a"), ICE_STR("ab")) < 0);
    assert_true(ice_str_cmp(ICE_STR("\xFF"), ICE_STR("a")) > 0);
    assert_int_equal(ice_str_cmp(ICE_STR_NONE, ICE_STR("")), 0);
    assert_true(ice_str_ieq(ICE_STR("SeLect"), ICE_STR("sElECT")));
    assert_false(ice_str_ieq(ICE_STR("@"), ICE_STR("`")));
}

static void test_buffer_and_reader(void **state)
{
    const uint64_t varints[] = {0, 1, 127, 128, 300, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX};
    ice_buf b = {0};
    ice_reader r;

    ice_buf_put_u8(&b, 7);
    ice_buf_put_u32(&b, 0x01020304);
    ice_buf_put_u64(&b, 0x0102030405060708);
    for (size_t i = 0; i < 8; i++)
        ice_buf_put_varint(&b, varints[i]);
    ice_buf_printf(&b, "%0300d|", 5);
    assert_int_equal(b.data[1], 4);
    r = ice_reader_of(ice_buf_str(&b));
    assert_int_equal(ice_read_u8(&r), 7);
    assert_int_equal(ice_read_u32(&r), 0x01020304);
    assert_true(ice_read_u64(&r) == 0x0102030405060708);
    for (size_t i = 0; i < 8; i++)
        assert_true(ice_read_varint(&r) == varints[i]);
    assert_int_equal(ice_reader_left(&r), 301);
    assert_null(ice_read_bytes(&r, 302));
    assert_true(r.failed);
    assert_int_equal(ice_read_u8(&r), 0);
    ice_buf_free(&b);
}

static void test_varints_past_64_bits_are_refused(void **state)
{
    ice_reader r = ice_reader_of((ice_str){"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02", 10});

    assert_true(ice_read_varint(&r) == 0 && r.failed);
    r = ice_reader_of((ice_str){"\x80\x80", 2});
    assert_true(ice_read_varint(&r) == 0 && r.failed);
}

static void test_quoting(void **state)
{
    ice_buf b = {0};

    ice_buf_put_ident(&b, ICE_STR("a\"b\""));
    ice_buf_put_quoted(&b, ICE_STR("'it''s"));
    ice_buf_put_quoted(&b, ICE_STR(""));
    ice_buf_put_u8(&b, 0);
    assert_string_equal(b.data, "\"a\"\"b\"\"\"'''it''''s'''");
    ice_buf_free(&b);
}

static void test_failed_allocation_sticks(void **state)
{
    ice_buf b = {0};
    ice_arena *a;

    ice_fault_arm("base.alloc", 1, false);
    ice_buf_puts(&b, "lost");
    assert_true(b.failed);
    ice_buf_puts(&b, "also lost");
    assert_int_equal(b.len, 0);
    assert_int_equal(ice_buf_check(&b, NULL), ICE_NOMEM);
    ice_fault_arm("base.alloc", 2, false);
    a = ice_arena_create();
    assert_null(ice_arena_alloc(a, 10));
    assert_non_null(ice_arena_alloc(a, 10));
    ice_fault_disarm();
    ice_arena_free(a);
    ice_buf_free(&b);
}

/* ---- arena ---- */

static void test_arena(void **state)
{
    ice_arena *a = ice_arena_create();
    char *first = ice_arena_alloc(a, 0);
    ice_str s;

    assert_non_null(first);
    for (size_t n = 1; n < 3000000; n = n * 3 + 1) {
        char *p = ice_arena_alloc(a, n);

        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i += 97)
            assert_int_equal(p[i], 0);
        memset(p, 0xAA, n);
    }
    s = ice_arena_str(a, (ice_str){"ab\0c", 4});
    assert_memory_equal(s.ptr, "ab\0c", 5);
    assert_null(ice_arena_str(a, ICE_STR_NONE).ptr);
    assert_non_null(ice_arena_str(a, ICE_STR("")).ptr);
    assert_string_equal(ice_arena_printf(a, "%d-%s", 5, "x"), "5-x");
    assert_null(ice_arena_array(a, SIZE_MAX / 2, 4));
    assert_null(ice_arena_alloc(a, SIZE_MAX - 5));
    ice_arena_reset(a);
    assert_int_equal(ice_arena_used(a), 0);
    assert_int_equal(*(char *)ice_arena_alloc(a, 100), 0);
    ice_arena_free(a);
    ice_arena_free(NULL);
}

static void test_arrays_grow_and_stay_on_no_memory(void **state)
{
    ice_arena *a = ice_arena_create();
    int32_t *mine = NULL, *heap = NULL;
    size_t cap = 0, heap_cap = 0, huge = SIZE_MAX / 4;

    for (int32_t n = 0; n < 1000; n++) {
        assert_true(ICE_ROOM(a, mine, (size_t)n, cap));
        assert_true(ICE_HEAP_ROOM(heap, (size_t)n, heap_cap));
        mine[n] = heap[n] = n;
    }
    assert_int_equal(cap, 1024);
    assert_int_equal(heap_cap, 1024);
    for (int32_t n = 0; n < 1000; n++)
        assert_true(mine[n] == n && heap[n] == n);
    assert_false(ICE_ROOM(a, mine, huge, huge));
    assert_false(ICE_HEAP_ROOM(heap, huge, huge));
    assert_true(huge == SIZE_MAX / 4 && mine[999] == 999 && heap[999] == 999);
    free(heap);
    ice_arena_free(a);
}

/* ---- misc ---- */

static void test_uuid(void **state)
{
    ice_uuid u = ice_uuid_random(), v;
    char text[37];

    ice_uuid_text(u, text);
    assert_int_equal(text[14], '4');
    assert_true(ice_uuid_parse(ice_str_c(text), &v) && ice_uuid_eq(u, v));
    assert_true(ice_uuid_parse(ICE_STR("0123456789ABCDEFfedcba9876543210"), &v));
    ice_uuid_text(v, text);
    assert_string_equal(text, "01234567-89ab-cdef-fedc-ba9876543210");
    assert_false(ice_uuid_parse(ICE_STR("01234567-89ab-cdef-fedc-ba987654321g"), &v));
    assert_false(ice_uuid_parse(ICE_STR("01234567x89ab-cdef-fedc-ba9876543210"), &v));
    assert_false(ice_uuid_parse(ICE_STR_NONE, &v));
}

static void test_seals_notice_every_bit(void **state)
{
    char text[] = "{\"a\":1,\"s\":\"" ICE_SEAL_BLANK "\"}";
    size_t n = strlen(text), at, other;
    assert_true(ice_seal_at_end(ice_str_c(text), ",\"s\":\"", "\"}", &at));
    assert_false(ice_seal_holds(ice_str_c(text), at));
    ice_seal(text, n, at);
    assert_true(ice_seal_holds(ice_str_c(text), at));
    for (size_t i = 0; i < n * 8; i++) {
        text[i / 8] ^= (char)(1 << i % 8);
        assert_false(ice_seal_holds((ice_str){text, n}, at));
        text[i / 8] ^= (char)(1 << i % 8);
    }
    assert_false(ice_seal_holds((ice_str){text, n - 3}, at));
    assert_false(ice_seal_holds((ice_str){text, n}, n + 1));
    assert_false(ice_seal_at_end(ice_str_c(text), ",\"t\":\"", "\"}", &other));
    assert_false(ice_seal_at_end(ICE_STR("\"}"), ",\"s\":\"", "\"}", &other));
}

static void test_hash_and_crc_are_the_known_ones(void **state)
{
    assert_true(ice_hash64("", 0, 0) == UINT64_C(0x2D06800538D394C2));
    assert_int_equal(ice_crc32(0, "123456789", 9), 0xCBF43926);
    assert_int_equal(ice_crc32(ice_crc32(0, "12345", 5), "6789", 4), 0xCBF43926);
    assert_int_equal(ice_crc32(0, NULL, 0), 0);
}

static void test_clocks(void **state)
{
    int64_t m = ice_clock_monotonic_us();

    assert_true(ice_clock_us() > INT64_C(1700000000000000));
    ice_sleep_us(2000);
    ice_sleep_us(-5);
    assert_true(ice_clock_monotonic_us() - m >= 2000);
    assert_true(ice_random64() != ice_random64());
}

static void test_fault_points_fire_at_the_kth_hit(void **state)
{
    assert_false(ice_fault("a"));
    ice_fault_arm("a", 2, false);
    assert_false(ice_fault("a"));
    assert_false(ice_fault("b"));
    assert_true(ice_fault("a"));
    assert_false(ice_fault("a"));
    assert_int_equal(ice_fault_hits(), 3);
    ice_fault_arm("*", 3, false);
    assert_false(ice_fault("a"));
    assert_false(ice_fault("b"));
    assert_true(ice_fault("c"));
    ice_fault_disarm();
    assert_false(ice_fault("c"));
    assert_int_equal(ice_fault_hits(), 3);
}

/* ---- types ---- */

static void test_type_texts(void **state)
{
    const char *texts[] = {"boolean", "int", "long", "float", "double", "decimal(9, 2)", "decimal(38, 38)", "date", "time",
                           "timestamp", "timestamptz", "string", "uuid", "fixed[16]", "binary"};
    const char *bad[] = {"", "none", "int32", "decimal", "decimal(0,0)", "decimal(39, 2)", "decimal(5, 6)", "decimal(5)",
                         "decimal(5,2", "decimal(5,2) ", "decimal(-5,2)", "fixed[]", "fixed[0]", "fixed[99999999999]", "Int"};
    ice_type t;
    char text[32];

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ice_type_text(type_of(texts[i]), text);
        assert_string_equal(text, texts[i]);
    }
    assert_true(ice_type_eq(type_of("decimal(9,2)"), type_of("decimal( 9 , 2 )")));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(ice_type_parse(ice_str_c(bad[i]), &t, NULL), ICE_BAD_VALUE);
    assert_int_equal(ice_type_width(type_of("decimal(18, 2)")), 8);
    assert_int_equal(ice_type_width(type_of("decimal(19, 2)")), 16);
    assert_int_equal(ice_type_width(type_of("string")), 0);
}

/* ---- order and hash ---- */

static void test_numbers_compare_by_value(void **state)
{
    const ice_i128 e37 = (ice_i128)10000000000000000000u * 1000000000000000000;
    /* Ascending; equal ones share a row. */
    const ice_value rows[][4] = {
        {vd(-(double)INFINITY)},
        {vd(-0x1p127), vdec(-((ice_i128)1 << 126) - ((ice_i128)1 << 126), 0)},
        {vdec(-e37 * 9, 0)},
        {vi(INT64_MIN), vd(-0x1p63), vdec((ice_i128)INT64_MIN * 10, 1)},
        {vdec(-25, 1), vd(-2.5), vdec(-2500, 3)},
        {vi(-2), vd(-2.0), vdec(-2, 0), vdec(-20000, 4)},
        {vdec(-3, 1)},
        {vd(-0.25), vdec(-25, 2)},
        {vd(-5e-324)},
        {vi(0), vd(-0.0), vdec(0, 38), (ice_value){.kind = ICE_T_FLOAT, .d = 0}},
        {vd(5e-324)},
        {vdec(1, 38)},
        {vdec(1, 1)},
        {vd(0.1)}, /* a little more than a tenth */
        {vdec(5, 1), vd(0.5), (ice_value){.kind = ICE_T_FLOAT, .d = 0.5}, vdec(50, 2)},
        {vi(1), (ice_value){.kind = ICE_T_INT, .i = 1}, vdec(10, 1), vd(1)},
        {vd(9007199254740992.0), vi(9007199254740992)},
        {vi(9007199254740993), vdec((ice_i128)9007199254740993 * 1000, 3)},
        {vi(INT64_MAX), vdec(INT64_MAX, 0)},
        {vd(0x1p63), vdec((ice_i128)INT64_MAX + 1, 0)},
        {vdec(e37 * 9 + 1, 0)},
        {vd(0x1p127)},
        {vd((double)INFINITY)},
        {vd((double)NAN), vd(-(double)NAN)},
    };
    size_t n = sizeof rows / sizeof rows[0];

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            for (int k = 0; k < 16; k++) {
                const ice_value *a = &rows[i][k / 4], *b = &rows[j][k % 4];

                if (a->kind == 0 || b->kind == 0)
                    continue;
                assert_int_equal(ice_value_cmp(a, b), (i > j) - (i < j));
                assert_int_equal(ice_value_eq(a, b), i == j);
                assert_int_equal(ice_key_hash(a, 1) == ice_key_hash(b, 1), i == j);
            }
}

static void test_nulls_come_first_and_equal_each_other(void **state)
{
    ice_value null = ICE_NULL, typed = {.kind = ICE_T_STRING, .null = true}, one = vi(1);

    assert_int_equal(ice_value_cmp(&null, &typed), 0);
    assert_true(ice_value_cmp(&null, &one) < 0 && ice_value_cmp(&one, &null) > 0);
    assert_true(ice_key_hash(&null, 1) == ice_key_hash(&typed, 1));
    assert_true(ice_key_hash(&null, 1) != ice_key_hash(&(ice_value){.kind = ICE_T_LONG}, 1));
}

static void test_hash_of_a_key_depends_on_order_and_bounds(void **state)
{
    ice_value a[] = {vs("ab"), vs("c")}, b[] = {vs("a"), vs("bc")}, c[] = {vs("c"), vs("ab")};

    assert_true(ice_key_hash(a, 2) != ice_key_hash(b, 2));
    assert_true(ice_key_hash(a, 2) != ice_key_hash(c, 2));
    assert_true(ice_key_hash(a, 1) != ice_key_hash(a, 2));
}

/* Stored in files: these may never change. */
static void test_hashes_are_stable(void **state)
{
    ice_value key[] = {vi(42), vs("tenant"), vdec(12345, 2), ICE_NULL, vt(ICE_T_DATE, 19000),
                       {.kind = ICE_T_BOOL, .b = true}, {.kind = ICE_T_UUID, .uuid = {1, 2, 3}}, vd(0.1)};
    ice_value one = vi(1);

    assert_true(ice_key_hash(&one, 1) == UINT64_C(0x40ec3339838d6d11));
    assert_true(ice_key_hash(key, 8) == UINT64_C(0x230e010138938669));
}

/* ---- text ---- */

static void test_texts(void **state)
{
    ice_i128 max38 = 0, min128 = (ice_i128)1 << 126;

    for (int i = 0; i < 38; i++)
        max38 = max38 * 10 + 9;
    min128 = -min128 - min128;
    assert_string_equal(text_of(vdec(max38, 0)), "99999999999999999999999999999999999999");
    assert_string_equal(text_of(vdec(-max38, 38)), "-0.99999999999999999999999999999999999999");
    assert_string_equal(text_of(vdec(min128, 0)), "-170141183460469231731687303715884105728");
    assert_string_equal(text_of(vdec((ice_i128)1 << 64, 0)), "18446744073709551616");
    assert_string_equal(text_of(vdec((ice_i128)1 << 64, 10)), "1844674407.3709551616");
    assert_string_equal(text_of(vdec(-5, 3)), "-0.005");
    assert_string_equal(text_of(vdec(0, 2)), "0.00");
    assert_string_equal(text_of(vi(INT64_MIN)), "-9223372036854775808");
    assert_string_equal(text_of(vd(0.1)), "0.1");
    assert_string_equal(text_of(vd(0.1 + 0.2)), "0.30000000000000004");
    assert_string_equal(text_of(vd(100000)), "100000");
    assert_string_equal(text_of(vd(123456789012345.0)), "123456789012345");
    assert_string_equal(text_of(vd(1e15)), "1e+15");
    assert_string_equal(text_of(vd(1.5e300)), "1.5e+300");
    assert_string_equal(text_of(vd(-0.0001)), "-0.0001");
    assert_string_equal(text_of(vd(0.00001)), "1e-05");
    assert_string_equal(text_of(vd(5e-324)), "5e-324");
    assert_string_equal(text_of(vd(-0.0)), "-0");
    assert_string_equal(text_of(vd(2.5)), "2.5");
    assert_string_equal(text_of(vd((double)NAN)), "NaN");
    assert_string_equal(text_of(vd(-(double)INFINITY)), "-Infinity");
    assert_string_equal(text_of((ice_value){.kind = ICE_T_FLOAT, .d = 0.1f}), "0.1");
    assert_string_equal(text_of((ice_value){.kind = ICE_T_FLOAT, .d = 16777216.0f}), "1.6777216e+07");
    assert_string_equal(text_of((ice_value){.kind = ICE_T_BINARY, .s = {"\x00\xff", 2}}), "\\x00ff");
    assert_string_equal(text_of((ice_value){.kind = ICE_T_BOOL, .b = true}), "true");
    assert_string_equal(text_of(vt(ICE_T_DATE, 0)), "1970-01-01");
    assert_string_equal(text_of(vt(ICE_T_DATE, -719162)), "0001-01-01");
    assert_string_equal(text_of(vt(ICE_T_DATE, -719163)), "0001-12-31 BC");
    assert_string_equal(text_of(vt(ICE_T_DATE, 2932897)), "10000-01-01");
    assert_string_equal(text_of(vt(ICE_T_TIME, 3723000100)), "01:02:03.0001");
    assert_string_equal(text_of(vt(ICE_T_TIMESTAMP, -1)), "1969-12-31 23:59:59.999999");
    assert_string_equal(text_of(vt(ICE_T_TIMESTAMPTZ, 951782400000000)), "2000-02-29 00:00:00+00");
    assert_string_equal(text_of(vt(ICE_T_TIMESTAMP, INT64_MIN)), "290309-12-21 19:59:05.224192 BC");
    assert_string_equal(text_of(vt(ICE_T_TIMESTAMP, INT64_MAX)), "294247-01-10 04:00:54.775807");
    assert_string_equal(text_of(ICE_NULL), "");
}

static const char *literal(ice_value v, const char *type)
{
    ice_buf b = {0};
    const char *text;

    ice_value_literal(&v, type ? type_of(type) : (ice_type){0}, &b);
    text = ice_arena_str(arena, ice_buf_str(&b)).ptr;
    ice_buf_free(&b);
    return text;
}

static void test_literals(void **state)
{
    assert_string_equal(literal(vi(5), "long"), "5::BIGINT");
    assert_string_equal(literal(vi(-5), "int"), "(-5)::INTEGER");
    assert_string_equal(literal(vs("it's"), "string"), "'it''s'");
    assert_string_equal(literal(vdec(150, 2), "decimal(9, 2)"), "'1.50'::DECIMAL(9,2)");
    assert_string_equal(literal(vt(ICE_T_TIMESTAMPTZ, 0), "timestamptz"), "'1970-01-01 00:00:00+00'::TIMESTAMPTZ");
    assert_string_equal(literal(vt(ICE_T_DATE, -719163), "date"), "'0001-12-31 (BC)'::DATE");
    assert_string_equal(literal((ice_value){.kind = ICE_T_BINARY, .s = {"\x01'", 2}}, "binary"), "'\\x01\\x27'::BLOB");
    assert_string_equal(literal((ice_value){.kind = ICE_T_BOOL, .b = true}, NULL), "TRUE");
    assert_string_equal(literal(ICE_NULL, "long"), "NULL");
    assert_string_equal(literal(vd(0.1), NULL), "'0.1'::DOUBLE");
    assert_string_equal(literal((ice_value){.kind = ICE_T_STRING, .s = {"a\0b", 3}}, "string"), "('a' || chr(0) || 'b')");
}

/* ---- casts ---- */

static void test_casts_of_integers(void **state)
{
    CAST(vi(2147483647), "int", "2147483647");
    CAST(vi(2147483648), "int", "RANGE");
    CAST(vi(7), "decimal(5, 2)", "7.00");
    CAST(vi(1000), "decimal(5, 2)", "RANGE");
    CAST(vi(INT64_MIN), "decimal(38, 19)", "-9223372036854775808.0000000000000000000");
    CAST(vi(INT64_MAX), "decimal(38, 20)", "RANGE");
    CAST(vi(1), "boolean", "BAD_VALUE");
    CAST(vi(1), "string", "1");
    CAST(vi(1), "date", "BAD_VALUE");
    CAST(((ice_value){.kind = ICE_T_BOOL, .b = true}), "int", "BAD_VALUE");
    CAST(vs(" 42 "), "int", "42");
    CAST(vs("-9223372036854775808"), "long", "-9223372036854775808");
    CAST(vs("9223372036854775808"), "long", "RANGE");
    CAST(vs("99999999999999999999x"), "long", "BAD_VALUE");
    CAST(vs("4.2"), "long", "BAD_VALUE");
    CAST(vs(""), "long", "BAD_VALUE");
    CAST(vs("-"), "long", "BAD_VALUE");
    CAST(vs("0x10"), "long", "BAD_VALUE");
    CAST(vdec(25, 1), "long", "3");
    CAST(vdec(-25, 1), "long", "-3");
    CAST(vdec(-24, 1), "long", "-2");
    CAST(vd(2.5), "long", "2");
    CAST(vd(0x1p63), "long", "RANGE");
    CAST(vd((double)NAN), "int", "RANGE");
}

static void test_casts_of_decimals(void **state)
{
    CAST(vdec(12345, 3), "decimal(9, 2)", "12.35");
    CAST(vdec(-12345, 3), "decimal(9, 2)", "-12.35");
    CAST(vdec(12344, 3), "decimal(9, 2)", "12.34");
    CAST(vdec(99995, 3), "decimal(4, 2)", "RANGE");
    CAST(vdec(99994, 3), "decimal(4, 2)", "99.99");
    CAST(vdec(1, 0), "decimal(38, 38)", "RANGE");
    CAST(vs("12.345"), "decimal(9, 2)", "12.35");
    CAST(vs("-12.345"), "decimal(9, 2)", "-12.35");
    CAST(vs("1e3"), "decimal(9, 2)", "1000.00");
    CAST(vs("1234567.895e-3"), "decimal(9, 2)", "1234.57");
    CAST(vs("5e-3"), "decimal(9, 2)", "0.01");
    CAST(vs("4.9e-3"), "decimal(9, 2)", "0.00");
    CAST(vs("9e-4"), "decimal(9, 2)", "0.00");
    CAST(vs("0e999999999999"), "decimal(9, 2)", "0.00");
    CAST(vs("1e999999999999"), "decimal(9, 2)", "RANGE");
    CAST(vs("1e-999999999999"), "decimal(9, 2)", "0.00");
    CAST(vs(".5"), "decimal(9, 2)", "0.50");
    CAST(vs("5."), "decimal(9, 2)", "5.00");
    CAST(vs("."), "decimal(9, 2)", "BAD_VALUE");
    CAST(vs("1e"), "decimal(9, 2)", "BAD_VALUE");
    CAST(vs("1.2.3"), "decimal(9, 2)", "BAD_VALUE");
    CAST(vs("NaN"), "decimal(9, 2)", "RANGE");
    CAST(vs("99999999999999999999999999999999999999"), "decimal(38, 0)", "99999999999999999999999999999999999999");
    CAST(vs("-0.99999999999999999999999999999999999999"), "decimal(38, 38)", "-0.99999999999999999999999999999999999999");
    CAST(vs("99999999999999999999999999999999999999.5"), "decimal(38, 0)", "RANGE");
    CAST(vs("100000000000000000000000000000000000000"), "decimal(38, 0)", "RANGE");
    CAST(vd(0.1), "decimal(38, 30)", "0.100000000000000000000000000000");
    CAST(vd(1e20), "decimal(38, 2)", "100000000000000000000.00");
    CAST(vd((double)NAN), "decimal(9, 2)", "RANGE");
    CAST(vd((double)INFINITY), "decimal(9, 2)", "RANGE");
}

static void test_casts_of_floats(void **state)
{
    CAST(vdec(1, 1), "double", "0.1");
    CAST(vs("1e400"), "double", "RANGE");
    CAST(vs("1e-400"), "double", "RANGE");
    CAST(vs("0e-400"), "double", "0");
    CAST(vs("inf"), "double", "Infinity");
    CAST(vs("-Infinity"), "double", "-Infinity");
    CAST(vs("nan"), "double", "NaN");
    CAST(vs("0x1p3"), "double", "BAD_VALUE");
    CAST(vs("1,5"), "double", "BAD_VALUE");
    CAST(vs("1.5 x"), "double", "BAD_VALUE");
    CAST(vd(1e39), "float", "RANGE");
    CAST(vd(0.1), "float", "0.1");
    CAST(vd((double)INFINITY), "float", "Infinity");
    CAST(vi(9007199254740993), "double", "9.007199254740992e+15");
    CAST(vdec(((ice_i128)1 << 100) + 1, 0), "double", "1.2676506002282294e+30");
    CAST(vdec(1, 38), "double", "1e-38");
}

static void test_casts_of_booleans(void **state)
{
    CAST(vs("true"), "boolean", "true");
    CAST(vs("F"), "boolean", "false");
    CAST(vs("1"), "boolean", "true");
    CAST(vs("0"), "boolean", "false");
    CAST(vs("2"), "boolean", "BAD_VALUE");
    CAST(vd(1), "boolean", "BAD_VALUE");
}

static void test_casts_of_dates_and_times(void **state)
{
    CAST(vs("2024-02-29"), "date", "2024-02-29");
    CAST(vs("2023-02-29"), "date", "DATETIME");
    CAST(vs("1900-02-29"), "date", "DATETIME");
    CAST(vs("2000-02-29"), "date", "2000-02-29");
    CAST(vs("2024-13-01"), "date", "DATETIME");
    CAST(vs("2024-1-2"), "date", "2024-01-02");
    CAST(vs("0000-01-01"), "date", "DATETIME");
    CAST(vs("0044-03-15 BC"), "date", "0044-03-15 BC");
    CAST(vs("2024-01-02T03:04:05"), "date", "2024-01-02");
    CAST(vs("20240102"), "date", "BAD_VALUE");
    CAST(vs("yesterday"), "date", "BAD_VALUE");
    CAST(vs("03:04"), "time", "03:04:00");
    CAST(vs("23:59:59.9999994"), "time", "23:59:59.999999");
    CAST(vs("23:59:59.9999995"), "time", "DATETIME");
    CAST(vs("24:00:00"), "time", "DATETIME");
    CAST(vs("03:04:05+02"), "time", "BAD_VALUE");
    CAST(vs("2024-01-02"), "timestamp", "2024-01-02 00:00:00");
    CAST(vs("2024-01-02 03:04:05.5"), "timestamp", "2024-01-02 03:04:05.5");
    CAST(vs("2024-01-02T03:04:05"), "timestamptz", "2024-01-02 03:04:05+00");
    CAST(vs("2024-01-02T03:04:05Z"), "timestamptz", "2024-01-02 03:04:05+00");
    CAST(vs("2024-01-02T03:04:05.123456+02:30"), "timestamptz", "2024-01-02 00:34:05.123456+00");
    CAST(vs("2024-01-02 03:04:05-0530"), "timestamptz", "2024-01-02 08:34:05+00");
    CAST(vs("2024-01-02 03:04:05+05"), "timestamptz", "2024-01-01 22:04:05+00");
    CAST(vs("2024-01-02 03:04:05+5"), "timestamptz", "BAD_VALUE");
    CAST(vs("2024-01-02 03:04:05+25"), "timestamptz", "DATETIME");
    CAST(vs("2024-01-02 03:04:05 x"), "timestamptz", "BAD_VALUE");
    CAST(vs("2024-01-02 25:04:05"), "timestamptz", "DATETIME");
    CAST(vs("999999-01-01"), "timestamp", "DATETIME");
    CAST(vt(ICE_T_DATE, 19000), "timestamptz", "2022-01-08 00:00:00+00");
    CAST(vt(ICE_T_TIMESTAMP, -1), "date", "1969-12-31");
    CAST(vt(ICE_T_TIMESTAMP, -1), "time", "23:59:59.999999");
    CAST(vt(ICE_T_DATE, INT32_MAX), "timestamp", "DATETIME");
    CAST(vt(ICE_T_TIME, 5), "date", "BAD_VALUE");
}

static void test_casts_of_bytes_and_uuids(void **state)
{
    CAST(vs("\\x00fF"), "binary", "\\x00ff");
    CAST(vs("plain"), "binary", "\\x706c61696e");
    CAST(vs("\\x0"), "binary", "BAD_VALUE");
    CAST(vs("\\xzz"), "binary", "BAD_VALUE");
    CAST(vs("abc"), "fixed[4]", "TOO_LONG");
    CAST(vs("0123456789abcdef0123456789abcdef"), "uuid", "01234567-89ab-cdef-0123-456789abcdef");
    CAST(vs("0123"), "uuid", "BAD_VALUE");
    CAST(vi(5), "uuid", "BAD_VALUE");
}

static void test_a_null_stays_null(void **state)
{
    ice_value null = ICE_NULL, out;

    assert_int_equal(ice_value_cast(arena, &null, type_of("date"), &out, NULL), ICE_OK);
    assert_true(out.null && out.kind == ICE_T_DATE);
}

static void test_every_calendar_day_reads_back(void **state)
{
    for (int64_t day = -800000; day < 3000000; day += 37) {
        ice_value v = vt(ICE_T_DATE, day), text = vs(text_of(v)), out;

        assert_int_equal(ice_value_cast(arena, &text, type_of("date"), &out, NULL), ICE_OK);
        assert_int_equal(out.i, day);
        if (day % 1000 == 0)
            ice_arena_reset(arena);
    }
}

static void test_doubles_read_back(void **state)
{
    for (int i = 0; i < 5000; i++) {
        uint64_t bits = ice_hash64(&i, sizeof i, 7);
        ice_value v = vd(0), text, out;

        memcpy(&v.d, &bits, sizeof bits);
        if (i % 3 == 0)
            v.d = (double)(float)(int32_t)bits / 1024;
        if (isnan(v.d))
            continue;
        text = vs(text_of(v));
        assert_int_equal(ice_value_cast(arena, &text, type_of("double"), &out, NULL), ICE_OK);
        assert_true(out.d == v.d);
    }
}

/* ---- rows ---- */

static void test_rows_read_back(void **state)
{
    const char *names[] = {"boolean", "int", "long", "float", "double", "decimal(9, 2)", "decimal(38, 5)", "date", "time",
                           "timestamp", "timestamptz", "string", "uuid", "fixed[3]", "binary"};
    enum { N = 15 };
    ice_type types[N];
    ice_value in[N], out[N];
    ice_buf b = {0};

    for (int i = 0; i < N; i++) {
        ice_value v = vs(i == 0 ? "t" : i < 7 ? "-42.25" : i == 8 ? "01:02:03" : i < 11 ? "1969-01-02" : i == 12
                         ? "0123456789abcdef0123456789abcdef" : "abc");

        types[i] = type_of(names[i]);
        if (i == 1 || i == 2)
            v = vi(-42);
        assert_int_equal(ice_value_cast(arena, &v, types[i], &in[i], NULL), ICE_OK);
    }
    for (int round = 0; round < N + 2; round++) {
        ice_reader r;

        ice_buf_clear(&b);
        for (int i = 0; i < N; i++)
            in[i].null = i == round || round == N;
        ice_row_encode(types, in, N, &b);
        assert_int_equal(ice_buf_check(&b, NULL), ICE_OK);
        r = ice_reader_of(ice_buf_str(&b));
        assert_int_equal(ice_row_decode(&r, types, N, out, NULL), ICE_OK);
        assert_int_equal(ice_reader_left(&r), 0);
        for (int i = 0; i < N; i++)
            assert_true(ice_value_eq(&in[i], &out[i]) && in[i].null == out[i].null && out[i].kind == types[i].kind);
        /* Cut anywhere, it is corrupt, never read past its end. */
        for (size_t cut = 0; cut < b.len; cut++) {
            char *copy = malloc(cut ? cut : 1);

            memcpy(copy, b.data, cut);
            r = ice_reader_of((ice_str){copy, cut});
            assert_int_equal(ice_row_decode(&r, types, N, out, NULL), ICE_CORRUPT);
            free(copy);
        }
    }
    ice_buf_free(&b);
}

static void test_hostile_rows_are_refused(void **state)
{
    ice_type types[] = {{.kind = ICE_T_STRING}}, boolean = {.kind = ICE_T_BOOL};
    ice_reader r = ice_reader_of((ice_str){"\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01x", 12});
    ice_value v;

    assert_int_equal(ice_row_decode(&r, types, 1, &v, NULL), ICE_CORRUPT);
    r = ice_reader_of((ice_str){"\0\x02", 2});
    assert_int_equal(ice_row_decode(&r, &boolean, 1, &v, NULL), ICE_CORRUPT);
}

static void test_copies_own_their_bytes(void **state)
{
    char text[] = "text";
    ice_value v = vs(text), copy;

    assert_int_equal(ice_value_copy(arena, &v, &copy, NULL), ICE_OK);
    text[0] = 'n';
    assert_true(ice_str_eqc(copy.s, "text"));
}

static int make_arena(void **state)
{
    arena = ice_arena_create();
    return arena ? 0 : -1;
}

static int free_arena(void **state)
{
    ice_arena_free(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_name_code_and_reason),
        cmocka_unit_test(test_errno_becomes_a_code),
        cmocka_unit_test(test_a_long_message_is_cut_between_characters),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_string_order),
        cmocka_unit_test(test_buffer_and_reader),
        cmocka_unit_test(test_varints_past_64_bits_are_refused),
        cmocka_unit_test(test_quoting),
        cmocka_unit_test(test_failed_allocation_sticks),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_arrays_grow_and_stay_on_no_memory),
        cmocka_unit_test(test_uuid),
        cmocka_unit_test(test_seals_notice_every_bit),
        cmocka_unit_test(test_hash_and_crc_are_the_known_ones),
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_fault_points_fire_at_the_kth_hit),
        cmocka_unit_test(test_type_texts),
        cmocka_unit_test(test_numbers_compare_by_value),
        cmocka_unit_test(test_nulls_come_first_and_equal_each_other),
        cmocka_unit_test(test_hash_of_a_key_depends_on_order_and_bounds),
        cmocka_unit_test(test_hashes_are_stable),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_casts_of_integers),
        cmocka_unit_test(test_casts_of_decimals),
        cmocka_unit_test(test_casts_of_floats),
        cmocka_unit_test(test_casts_of_booleans),
        cmocka_unit_test(test_casts_of_dates_and_times),
        cmocka_unit_test(test_casts_of_bytes_and_uuids),
        cmocka_unit_test(test_a_null_stays_null),
        cmocka_unit_test(test_every_calendar_day_reads_back),
        cmocka_unit_test(test_doubles_read_back),
        cmocka_unit_test(test_rows_read_back),
        cmocka_unit_test(test_hostile_rows_are_refused),
        cmocka_unit_test(test_copies_own_their_bytes),
    };

    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
