/* Single values, transforms and schemas. */
#include <math.h>

#include "format/schema.h"
#include "format/transforms.h"
#include "arena_world.h"

static ice_value parse_json(const char *json, ice_type t)
{
    ice_value v;
    assert_int_equal(ice_single_from_json(ice_str_c(json), t, arena, &v, &err), ICE_OK);
    return v;
}

static const ice_type T_INT = {.kind = ICE_T_INT}, T_LONG = {.kind = ICE_T_LONG},
                      T_DATE = {.kind = ICE_T_DATE}, T_TIME = {.kind = ICE_T_TIME},
                      T_TS = {.kind = ICE_T_TIMESTAMP}, T_TSTZ = {.kind = ICE_T_TIMESTAMPTZ},
                      T_STRING = {.kind = ICE_T_STRING}, T_UUID = {.kind = ICE_T_UUID},
                      T_BINARY = {.kind = ICE_T_BINARY}, T_DOUBLE = {.kind = ICE_T_DOUBLE},
                      T_FLOAT = {.kind = ICE_T_FLOAT}, T_BOOL = {.kind = ICE_T_BOOL},
                      T_DEC = {.kind = ICE_T_DECIMAL, .precision = 9, .scale = 2},
                      T_DEC38 = {.kind = ICE_T_DECIMAL, .precision = 38, .scale = 10};

/* The test values of the spec's Appendix B. */
static void test_bucket_hash(void **state)
{
    const struct {
        const char *json;
        ice_type type;
        int32_t hash;
    } cases[] = {
        {"34", T_INT, 2017239379},
        {"34", T_LONG, 2017239379},
        {"\"14.20\"", T_DEC, -500754589},
        {"\"2017-11-16\"", T_DATE, -653330422},
        {"\"22:31:08\"", T_TIME, -662762989},
        {"\"2017-11-16T22:31:08\"", T_TS, -2047944441},
        {"\"2017-11-16T22:31:08.000001\"", T_TS, -1207196810},
        {"\"2017-11-16T22:31:08.000001+00:00\"", T_TSTZ, -1207196810},
        {"\"iceberg\"", T_STRING, 1210000089},
        {"\"f79c3e09-677c-4bbd-a479-3f349cb785e7\"", T_UUID, 1488055340},
        {"\"00010203\"", T_BINARY, -188683207},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ice_value v = parse_json(cases[i].json, cases[i].type), bucket;
        ice_transform t;
        int32_t hash;
        assert_true(ice_bucket_hash(&v, &hash));
        assert_int_equal(hash, cases[i].hash);
        assert_int_equal(ice_transform_parse(ICE_STR("bucket[16]"), &t, &err), ICE_OK);
        assert_int_equal(ice_transform_apply(t, &v, &bucket, &err), ICE_OK);
        assert_int_equal(bucket.i, (hash & INT32_MAX) % 16);
    }
}

static ice_value apply(const char *transform, const char *json, ice_type type)
{
    ice_transform t;
    char text[32];
    ice_value v = parse_json(json, type), out;
    assert_int_equal(ice_transform_parse(ice_str_c(transform), &t, &err), ICE_OK);
    ice_transform_text(t, text);
    assert_string_equal(text, transform);
    assert_int_equal(ice_transform_apply(t, &v, &out, &err), ICE_OK);
    return out;
}

static void test_transforms(void **state)
{
    assert_int_equal(apply("truncate[10]", "1", T_INT).i, 0);
    assert_int_equal(apply("truncate[10]", "-1", T_LONG).i, -10);
    assert_true(apply("truncate[50]", "\"10.65\"", T_DEC).dec == 1050);
    assert_true(ice_str_eqc(apply("truncate[3]", "\"iceberg\"", T_STRING).s, "ice"));
    assert_true(ice_str_eqc(apply("truncate[2]", "\"\\u00e4\\u00f6x\"", T_STRING).s, "\xc3\xa4\xc3\xb6"));
    assert_int_equal(apply("truncate[3]", "\"0102030405\"", T_BINARY).s.len, 3);
    assert_int_equal(apply("year", "\"2017-11-16\"", T_DATE).i, 47);
    assert_int_equal(apply("month", "\"2017-11-16\"", T_DATE).i, 574);
    assert_int_equal(apply("day", "\"1969-12-31T23:59:59.999999+00:00\"", T_TSTZ).i, -1);
    assert_int_equal(apply("year", "\"1969-12-31T23:59:59.999999\"", T_TS).i, -1);
    assert_int_equal(apply("month", "\"1969-12-31\"", T_DATE).i, -1);
    assert_int_equal(apply("hour", "\"1970-01-02T01:30:00\"", T_TS).i, 25);
    assert_int_equal(apply("identity", "7", T_INT).i, 7);
    assert_true(apply("void", "7", T_INT).null);
    assert_true(apply("bucket[4]", "null", T_INT).null);
}

static void test_transform_names(void **state)
{
    ice_transform t;
    ice_type out;
    assert_int_equal(ice_transform_parse(ICE_STR("zorder[3]"), &t, &err), ICE_OK);
    assert_int_equal(t.kind, ICE_TR_UNKNOWN);
    assert_int_equal(ice_transform_type(t, T_INT, &out, &err), ICE_UNSUPPORTED);
    assert_int_equal(ice_transform_parse(ICE_STR("bucket[0]"), &t, &err), ICE_BAD_VALUE);
    assert_int_equal(ice_transform_parse(ICE_STR("bucket[99999999999]"), &t, &err), ICE_BAD_VALUE);
    assert_int_equal(ice_transform_parse(ICE_STR("year[1]"), &t, &err), ICE_BAD_VALUE);
    assert_int_equal(ice_transform_parse(ICE_STR("day"), &t, &err), ICE_OK);
    assert_int_equal(ice_transform_type(t, T_TS, &out, &err), ICE_OK);
    assert_int_equal(out.kind, ICE_T_DATE);
    assert_int_equal(ice_transform_type(t, T_STRING, &out, &err), ICE_UNSUPPORTED);
}

static void test_json_roundtrip(void **state)
{
    const struct {
        const char *json;
        ice_type type;
    } cases[] = {
        {"true", T_BOOL},
        {"-34", T_INT},
        {"-9223372036854775808", T_LONG},
        {"1.5", T_DOUBLE},
        {"0.1", T_DOUBLE},
        {"1e+300", T_DOUBLE},
        {"1.0", T_FLOAT},
        {"\"14.20\"", T_DEC},
        {"\"-0.05\"", T_DEC},
        {"\"-9999999999999999999999999999.9999999999\"", T_DEC38},
        {"\"2017-11-16\"", T_DATE},
        {"\"0001-01-01\"", T_DATE},
        {"\"22:31:08.123456\"", T_TIME},
        {"\"1583-02-28T22:31:08.123456\"", T_TS},
        {"\"2017-11-16T22:31:08.123456+00:00\"", T_TSTZ},
        {"\"i\\\"c\\\\e\\u0001\"", T_STRING},
        {"\"f79c3e09-677c-4bbd-a479-3f349cb785e7\"", T_UUID},
        {"\"000102ff\"", T_BINARY},
        {"null", T_INT},
        {"\"\"", T_BINARY},
        {"\"0a0b\"", {.kind = ICE_T_FIXED, .length = 2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ice_buf b = {0};
        ice_value v = parse_json(cases[i].json, cases[i].type);
        assert_int_equal(ice_single_to_json(&v, cases[i].type, &b, &err), ICE_OK);
        ice_buf_put_u8(&b, 0);
        assert_string_equal(b.data, cases[i].json);
        ice_buf_free(&b);
    }
}

static void test_json_rejects(void **state)
{
    const struct {
        const char *json;
        ice_type type;
    } cases[] = {
        {"2147483648", T_INT},
        {"\"x\"", T_INT},
        {"1.5", T_LONG},
        {"\"2017-02-29\"", T_DATE},
        {"\"2017-11-16 \"", T_DATE},
        {"\"2017-11-16T22:31:08\"", T_TSTZ},
        {"\"2017-11-16T22:31:08+01:00\"", T_TSTZ},
        {"\"24:00:00\"", T_TIME},
        {"\"1.234\"", T_DEC},
        {"\"10000000.00\"", T_DEC},
        {"\"1e999\"", T_DEC},
        {"\"abc\"", T_BINARY},
        {"\"zz\"", T_BINARY},
        {"\"f79c\"", T_UUID},
        {"{}", T_INT},
        {"[", T_INT},
        {"\"00\"", {.kind = ICE_T_FIXED, .length = 2}},
        {"\"\"", T_DATE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ice_value v;
        assert_int_equal(ice_single_from_json(ice_str_c(cases[i].json), cases[i].type, arena, &v, &err),
                         ICE_CORRUPT);
    }
    assert_true(parse_json("\"2E+2\"", T_DEC).dec == 20000);
    ice_value nan = {.kind = ICE_T_DOUBLE, .d = NAN};
    ice_buf b = {0};
    assert_int_equal(ice_single_to_json(&nan, T_DOUBLE, &b, &err), ICE_UNSUPPORTED);
    ice_buf_free(&b);
}

static void check_binary(const char *json, ice_type t, const char *bytes, size_t n)
{
    ice_buf b = {0};
    ice_value v = parse_json(json, t), back;
    assert_int_equal(ice_single_to_binary(&v, t, &b, &err), ICE_OK);
    assert_int_equal(b.len, n);
    if (n)
        assert_memory_equal(b.data, bytes, n);
    assert_int_equal(ice_single_from_binary(ice_buf_str(&b), t, &back, &err), ICE_OK);
    assert_true(ice_value_eq(&v, &back));
    ice_buf_free(&b);
}

static void test_binary(void **state)
{
    check_binary("true", T_BOOL, "\1", 1);
    check_binary("34", T_INT, "\x22\0\0\0", 4);
    check_binary("-1", T_LONG, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    check_binary("1.0", T_FLOAT, "\0\0\x80\x3f", 4);
    check_binary("1.0", T_DOUBLE, "\0\0\0\0\0\0\xf0\x3f", 8);
    check_binary("\"14.20\"", T_DEC, "\x05\x8c", 2);
    check_binary("\"-1.28\"", T_DEC, "\x80", 1);
    check_binary("\"1.28\"", T_DEC, "\x00\x80", 2);
    check_binary("\"0.00\"", T_DEC, "\0", 1);
    check_binary("\"\"", T_STRING, "", 0);
    check_binary("\"ice\"", T_STRING, "ice", 3);
    check_binary("\"f79c3e09-677c-4bbd-a479-3f349cb785e7\"", T_UUID,
                 "\xF7\x9C\x3E\x09\x67\x7C\x4B\xBD\xA4\x79\x3F\x34\x9C\xB7\x85\xE7", 16);
    /* Bounds of files older than a promotion. */
    ice_value v;
    assert_int_equal(ice_single_from_binary((ice_str){"\x22\0\0\0", 4}, T_LONG, &v, &err), ICE_OK);
    assert_int_equal(v.i, 34);
    assert_int_equal(ice_single_from_binary((ice_str){"\1\0\0\0", 4}, T_TS, &v, &err), ICE_OK);
    assert_int_equal(v.i, INT64_C(86400000000));
    assert_int_equal(ice_single_from_binary((ice_str){"\1\0\0", 3}, T_INT, &v, &err), ICE_CORRUPT);
    assert_int_equal(ice_single_from_binary((ice_str){"", 0}, T_DEC, &v, &err), ICE_CORRUPT);
}

static void test_bound_truncate(void **state)
{
    bool has;
    ice_value out, v = parse_json("\"abcdef\"", T_STRING);
    assert_int_equal(ice_bound_truncate(&v, false, 3, arena, &out, &has, &err), ICE_OK);
    assert_true(has && ice_str_eqc(out.s, "abc"));
    assert_int_equal(ice_bound_truncate(&v, true, 3, arena, &out, &has, &err), ICE_OK);
    assert_true(has && ice_str_eqc(out.s, "abd"));
    assert_int_equal(ice_bound_truncate(&v, true, 6, arena, &out, &has, &err), ICE_OK);
    assert_true(has && ice_str_eqc(out.s, "abcdef"));
    v = parse_json("\"a\\udbff\\udfffzz\"", T_STRING); /* U+10FFFF has no successor */
    assert_int_equal(ice_bound_truncate(&v, true, 2, arena, &out, &has, &err), ICE_OK);
    assert_true(has && ice_str_eqc(out.s, "b"));
    v = parse_json("\"\\u007fx\"", T_STRING);
    assert_int_equal(ice_bound_truncate(&v, true, 1, arena, &out, &has, &err), ICE_OK);
    assert_true(has && ice_str_eqc(out.s, "\xc2\x80"));
    v = parse_json("\"\\ud7ffx\"", T_STRING); /* the next code point is a surrogate */
    assert_int_equal(ice_bound_truncate(&v, true, 1, arena, &out, &has, &err), ICE_OK);
    assert_true(has && ice_str_eqc(out.s, "\xee\x80\x80"));
    v = parse_json("\"ffff00\"", T_BINARY);
    assert_int_equal(ice_bound_truncate(&v, true, 2, arena, &out, &has, &err), ICE_OK);
    assert_false(has);
}

/* ---- schemas ---- */

static ice_tabledef *book(void)
{
    ice_tabledef *d = ice_tabledef_create(ICE_STR("book"));
    assert_non_null(d);
    ice_column c = {.name = ICE_STR("id"), .not_null = true, .identity = true};
    assert_int_equal(ice_column_set_sql_type(&c, arena, ICE_STR("bigint"), &err), ICE_OK);
    assert_int_equal(ice_tabledef_add_column(d, &c, &err), ICE_OK);
    c = (ice_column){.name = ICE_STR("title"),
                     .default_sql = ICE_STR("'it''s'::varchar"),
                     .comment = ICE_STR("the \"title\"")};
    assert_int_equal(ice_column_set_sql_type(&c, arena, ICE_STR("varchar(200)"), &err), ICE_OK);
    assert_int_equal(ice_tabledef_add_column(d, &c, &err), ICE_OK);
    c = (ice_column){.name = ICE_STR("price"), .has_initial = true, .default_sql = ICE_STR("now()")};
    assert_int_equal(ice_column_set_sql_type(&c, arena, ICE_STR("numeric(9, 2)"), &err), ICE_OK);
    c.initial = (ice_value){.kind = ICE_T_DECIMAL, .scale = 2, .dec = 1999};
    assert_int_equal(ice_tabledef_add_column(d, &c, &err), ICE_OK);
    int32_t key = 1;
    ice_constraint pk = {
        .kind = ICE_CON_PRIMARY, .name = ICE_STR("book_pkey"), .ncols = 1, .field_ids = &key};
    assert_int_equal(ice_tabledef_add_constraint(d, &pk, &err), ICE_OK);
    return d;
}

static void test_schema_of_table(void **state)
{
    ice_tabledef *d = book();
    ice_schema s, back;
    ice_buf b = {0};
    assert_int_equal(ice_schema_of_table(d, arena, &s, &err), ICE_OK);
    assert_int_equal(s.highest_id, ICE_FIELD_ROW_START);
    assert_int_equal(ice_schema_to_json(&s, &b, &err), ICE_OK);
    ice_buf_put_u8(&b, 0);
    assert_string_equal(
        b.data,
        "{\"type\":\"struct\",\"schema-id\":0,\"identifier-field-ids\":[1],\"fields\":["
        "{\"id\":1,\"name\":\"id\",\"required\":true,\"type\":\"long\"},"
        "{\"id\":2,\"name\":\"title\",\"required\":false,\"type\":\"string\",\"doc\":\"the \\\"title\\\"\","
        "\"write-default\":\"it's\"},"
        "{\"id\":3,\"name\":\"price\",\"required\":false,\"type\":\"decimal(9, "
        "2)\",\"initial-default\":\"19.99\"},"
        "{\"id\":1000000001,\"name\":\"_row_start\",\"required\":false,\"type\":\"timestamptz\"}]}");
    assert_int_equal(ice_schema_from_json((ice_str){b.data, b.len - 1}, arena, &back, &err), ICE_OK);
    assert_true(ice_schema_eq(&s, &back));
    assert_non_null(ice_schema_field_named(&back, ICE_STR("price")));
    assert_null(ice_schema_field(&back, 99));
    ice_buf_free(&b);
    ice_tabledef_free(d);
}

static void test_constant_defaults(void **state)
{
    static const struct {
        const char *sql, *json;
    } cases[] = {
        {"'a'", "\"a\""},         {" ('a'::varchar(3)) ", "\"a\""}, {"'it''s'", "\"it's\""}, {"5", "\"5\""},
        {"'a'::text || 'b'", NULL}, {"'a' || 'b'", NULL},           {"('a') || ('b')", NULL}, {"now()", NULL},
        {"NULL", NULL},             {"'a", NULL},                   {"(1) + (2)", NULL},      {"''", "\"\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ice_tabledef *d = ice_tabledef_create(ICE_STR("t"));
        ice_column c = {.name = ICE_STR("c"), .default_sql = ice_str_c(cases[i].sql)};
        ice_schema s;
        ice_buf b = {0};
        assert_int_equal(ice_column_set_sql_type(&c, arena, ICE_STR("text"), &err), ICE_OK);
        assert_int_equal(ice_tabledef_add_column(d, &c, &err), ICE_OK);
        assert_int_equal(ice_schema_of_table(d, arena, &s, &err), ICE_OK);
        assert_int_equal(s.fields[0].has_write, cases[i].json != NULL);
        if (cases[i].json) {
            assert_int_equal(ice_single_to_json(&s.fields[0].write_default, s.fields[0].type, &b, &err), ICE_OK);
            assert_true(ice_str_eqc(ice_buf_str(&b), cases[i].json));
        }
        ice_buf_free(&b);
        ice_tabledef_free(d);
    }
}

static void test_schema_of_history(void **state)
{
    ice_tabledef *d = book();
    ice_schema first, second, third;
    assert_int_equal(ice_schema_of_history(d, NULL, arena, &first, &err), ICE_OK);
    assert_int_equal(first.nfields, 6);
    for (size_t i = 0; i < first.nfields; i++)
        assert_false(first.fields[i].required);
    assert_int_equal(ice_tabledef_drop_column(d, ICE_STR("title"), &err), ICE_OK);
    assert_int_equal(ice_schema_of_history(d, &first, arena, &second, &err), ICE_OK);
    assert_true(ice_str_eqc(ice_schema_field(&second, 2)->name, "title__2"));
    assert_int_equal(ice_schema_of_history(d, &second, arena, &third, &err), ICE_OK);
    assert_true(ice_schema_eq(&second, &third));
    ice_tabledef_free(d);
}

static void test_foreign_schema(void **state)
{
    const char *json =
        "{\"type\":\"struct\",\"schema-id\":3,\"fields\":[{\"id\":1,\"name\":\"l\",\"required\":false,"
        "\"type\":{\"type\":\"list\",\"element-id\":7,\"element\":\"int\",\"element-required\":true}},"
        "{\"id\":2,\"name\":\"n\",\"required\":false,\"type\":\"timestamp_ns\"},"
        "{\"id\":3,\"name\":\"d\",\"required\":false,\"type\":\"decimal(9, 2)\"}]}";
    ice_schema s;
    ice_buf b = {0};
    assert_int_equal(ice_schema_from_json(ice_str_c(json), arena, &s, &err), ICE_OK);
    assert_int_equal(s.highest_id, 7);
    assert_int_equal(s.fields[0].type.kind, ICE_T_NONE);
    assert_int_equal(s.fields[2].type.precision, 9);
    assert_int_equal(ice_schema_to_json(&s, &b, &err), ICE_OK);
    ice_buf_put_u8(&b, 0);
    assert_string_equal(b.data, json);
    ice_buf_free(&b);
    const char *twice =
        "{\"type\":\"struct\",\"fields\":[{\"id\":1,\"name\":\"a\",\"required\":false,\"type\":\"int\"},"
        "{\"id\":1,\"name\":\"b\",\"required\":false,\"type\":\"int\"}]}";
    assert_int_equal(ice_schema_from_json(ice_str_c(twice), arena, &s, &err), ICE_CORRUPT);
    const char *bad =
        "{\"type\":\"struct\",\"fields\":[{\"id\":1,\"name\":\"a\",\"required\":1,\"type\":\"int\"}]}";
    assert_int_equal(ice_schema_from_json(ice_str_c(bad), arena, &s, &err), ICE_CORRUPT);
    assert_string_equal(err.message, "schema: $.fields[0].required: true or false is expected");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bucket_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transforms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transform_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json_roundtrip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json_rejects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_binary, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bound_truncate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_schema_of_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_constant_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_schema_of_history, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_schema, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
