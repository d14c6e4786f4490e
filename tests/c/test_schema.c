#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "schema/tabledef.h"

static ice_arena *arena;
static ice_error err;

static ice_column column(const char *name, const char *sql_type)
{
    ice_column c = {.name = ice_str_c(name)};

    assert_int_equal(ice_column_set_sql_type(&c, arena, ice_str_c(sql_type), &err), ICE_OK);
    return c;
}

static void add(ice_tabledef *d, ice_column c) { assert_int_equal(ice_tabledef_add_column(d, &c, &err), ICE_OK); }

static const char *json_of(const ice_tabledef *d)
{
    ice_buf b = {0};
    ice_str s;

    assert_int_equal(ice_tabledef_to_json(d, &b, &err), ICE_OK);
    s = ice_arena_str(arena, ice_buf_str(&b));
    ice_buf_free(&b);
    return s.ptr;
}

/* A table that uses every member. */
static ice_tabledef *book(void)
{
    ice_tabledef *d = ice_tabledef_create(ICE_STR("library_book"));
    ice_column id = column("id", "bigint"), title = column("title", "VARCHAR(200)"), price = column("price", "numeric(10,2)");
    ice_column blob = column("cover \"art\"", "bytea"), full = column("full", "text"), at = column("at", "timestamptz");
    int32_t one[] = {1}, two[] = {2}, pair[] = {2, 3};
    uint8_t down[] = {0, 1};
    ice_constraint pk = {.kind = ICE_CON_PRIMARY, .name = ICE_STR("book_pkey"), .ncols = 1, .field_ids = one};
    ice_constraint check = {.kind = ICE_CON_CHECK, .name = ICE_STR("price_ok"), .check_sql = ICE_STR("\"price\" >= 0 AND price <> 7")};
    ice_constraint unique = {.kind = ICE_CON_UNIQUE, .name = ICE_STR("title_uniq"), .ncols = 1, .field_ids = two, .is_index = true,
                             .nulls_not_distinct = true, .where_sql = ICE_STR("\"price\" > 0"), .ninclude = 1, .include_ids = one};
    ice_constraint fk = {.kind = ICE_CON_FOREIGN, .name = ICE_STR("book_self"), .ncols = 1, .field_ids = two, .ref_field_ids = one,
                         .ref_table = ice_uuid_random(), .on_delete = ICE_FK_SET_NULL, .deferrable = true, .initially_deferred = true};
    ice_index index = {.name = ICE_STR("book_idx"), .ncols = 2, .field_ids = pair, .descending = down, .kind = ICE_STR("partition"),
                       .params = ICE_STR("bucket[16]")};

    id.not_null = id.identity = true;
    title.collation = ICE_STR("C");
    title.comment = ICE_STR("a \\ \"quoted\"\n\x01 é");
    price.has_initial = true;
    price.initial = (ice_value){.kind = ICE_T_DECIMAL, .dec = -1250, .scale = 2};
    price.default_sql = ICE_STR("0");
    blob.has_initial = true;
    blob.initial = (ice_value){.kind = ICE_T_BINARY, .s = {"\0\xFF", 2}};
    full.generated_sql = ICE_STR("\"title\" || 'title'");
    at.has_initial = true;
    at.initial = ICE_NULL;
    add(d, id);
    add(d, title);
    add(d, price);
    add(d, blob);
    add(d, full);
    add(d, at);
    add(d, column("small", "int2"));
    assert_int_equal(ice_tabledef_add_constraint(d, &pk, &err), ICE_OK);
    assert_int_equal(ice_tabledef_add_constraint(d, &check, &err), ICE_OK);
    assert_int_equal(ice_tabledef_add_constraint(d, &unique, &err), ICE_OK);
    assert_int_equal(ice_tabledef_add_constraint(d, &fk, &err), ICE_OK);
    assert_int_equal(ice_tabledef_add_index(d, &index, &err), ICE_OK);
    return d;
}

static void test_json_reads_back(void **state)
{
    ice_tabledef *d = book(), *again, *next;
    const char *json = json_of(d);
    int at;

    assert_int_equal(ice_tabledef_from_json(ice_str_c(json), &again, &err), ICE_OK);
    assert_string_equal(json_of(again), json);
    at = ice_tabledef_find(again, ICE_STR("price"));
    assert_true(again->cols[at].has_initial && again->cols[at].initial.dec == -1250);
    at = ice_tabledef_find(again, ICE_STR("cover \"art\""));
    assert_memory_equal(again->cols[at].initial.s.ptr, "\0\xFF", 2);
    assert_true(again->cols[ice_tabledef_find(again, ICE_STR("at"))].initial.null);
    assert_int_equal(again->indexes[0].descending[1], 1);
    next = ice_tabledef_clone(again, true);
    ice_tabledef_free(again);
    assert_int_equal(next->schema_id, 1);
    next->schema_id = 0;
    assert_string_equal(json_of(next), json);
    ice_tabledef_free(next);
    ice_tabledef_free(d);
    ice_tabledef_free(NULL);
}

static void test_views_read_back(void **state)
{
    ice_tabledef *d = ice_tabledef_create(ICE_STR("v")), *copy, *back;
    ice_uuid uses[] = {ice_uuid_random(), ice_uuid_random()};
    const char *json;
    static const char *const bad[] = {"\"uses\":[]}", "\"view\":\"x\"}", "\"view\":1,\"uses\":[]}",
                                      "\"view\":\"x\",\"uses\":[\"y\"]}", "\"view\":\"x\",\"uses\":[1]}"};

    add(d, column("a", "bigint"));
    d->view_sql = ICE_STR("SELECT \"a\"");
    d->uses = uses;
    d->nuses = 2;
    json = json_of(d);
    copy = ice_tabledef_clone(d, true);
    assert_int_equal(ice_tabledef_from_json(ice_str_c(json), &back, &err), ICE_OK);
    assert_string_equal(json_of(back), json);
    assert_true(ice_tabledef_is_view(copy) && ice_uuid_eq(copy->uses[1], uses[1]) && copy->uses != uses);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[1024];
        ice_tabledef *none;

        snprintf(text, sizeof text, "%.*s%s", (int)(strstr(json, "\"view\"") - json), json, bad[i]);
        assert_int_equal(ice_tabledef_from_json(ice_str_c(text), &none, &err), ICE_CORRUPT);
    }
    ice_tabledef_free(d);
    ice_tabledef_free(copy);
    ice_tabledef_free(back);
}

static void test_field_ids_are_never_reused(void **state)
{
    ice_tabledef *d = ice_tabledef_create(ICE_STR("t"));
    ice_column end = column("_row_end", "timestamptz");

    for (int i = 0; i < 20; i++)
        add(d, column(ice_arena_printf(arena, "c%d", i), "int"));
    assert_int_equal(ice_tabledef_drop_column(d, ICE_STR("c19"), &err), ICE_OK);
    add(d, column("c19", "int"));
    assert_int_equal(d->cols[19].field_id, 21);
    assert_int_equal(ice_tabledef_add_column(d, &end, &err), ICE_DUP_COLUMN);
    end.field_id = ICE_FIELD_ROW_END;
    add(d, end);
    assert_int_equal(d->last_field_id, 21);
    end.name = ICE_STR("other");
    assert_int_equal(ice_tabledef_add_column(d, &end, &err), ICE_DUP_COLUMN);
    ice_tabledef_free(d);
}

static void test_dropping_a_column_drops_what_uses_it(void **state)
{
    ice_tabledef *d = book();

    assert_int_equal(ice_tabledef_drop_column(d, ICE_STR("title"), &err), ICE_DEPENDENT);
    assert_int_equal(ice_tabledef_drop_column(d, ICE_STR("full"), &err), ICE_OK);
    assert_int_equal(ice_tabledef_drop_column(d, ICE_STR("price"), &err), ICE_OK);
    assert_null(ice_tabledef_constraint(d, ICE_STR("price_ok")));
    assert_null(ice_tabledef_constraint(d, ICE_STR("title_uniq")));
    assert_int_equal(d->nindexes, 0);
    assert_non_null(ice_tabledef_primary(d));
    assert_non_null(ice_tabledef_constraint(d, ICE_STR("book_self")));
    assert_int_equal(ice_tabledef_drop_column(d, ICE_STR("price"), &err), ICE_NO_COLUMN);
    ice_tabledef_free(d);
}

static void test_renaming_follows_into_expressions(void **state)
{
    ice_tabledef *d = book();

    assert_int_equal(ice_tabledef_rename_column(d, ICE_STR("price"), ICE_STR("id"), &err), ICE_DUP_COLUMN);
    assert_int_equal(ice_tabledef_rename_column(d, ICE_STR("none"), ICE_STR("x"), &err), ICE_NO_COLUMN);
    assert_int_equal(ice_tabledef_rename_column(d, ICE_STR("price"), ICE_STR("co\"st"), &err), ICE_OK);
    assert_int_equal(ice_tabledef_rename_column(d, ICE_STR("title"), ICE_STR("name"), &err), ICE_OK);
    assert_true(ice_str_eqc(ice_tabledef_constraint(d, ICE_STR("price_ok"))->check_sql, "\"co\"\"st\" >= 0 AND \"co\"\"st\" <> 7"));
    assert_true(ice_str_eqc(d->cols[4].generated_sql, "\"name\" || 'title'"));
    assert_int_equal(d->cols[2].field_id, 3);
    ice_tabledef_set_name(d, ICE_STR("renamed"));
    assert_true(ice_str_eqc(d->name, "renamed"));
    ice_tabledef_free(d);
}

/* CHECK (expr) after RENAME COLUMN a TO b"c. */
static void renamed(const char *expr, const char *want)
{
    ice_tabledef *d = ice_tabledef_create(ICE_STR("t"));
    ice_constraint c = {.kind = ICE_CON_CHECK, .name = ICE_STR("k"), .check_sql = ice_str_c(expr)};

    add(d, column("a", "integer"));
    assert_int_equal(ice_tabledef_add_constraint(d, &c, &err), ICE_OK);
    assert_int_equal(ice_tabledef_rename_column(d, ICE_STR("a"), ICE_STR("b\"c"), &err), ICE_OK);
    if (!ice_str_eqc(d->cons[0].check_sql, want))
        fail_msg("%s became %.*s", expr, ICE_PRI(d->cons[0].check_sql));
    ice_tabledef_free(d);
}

static void test_renaming_within_an_expression(void **state)
{
    renamed("\"a\" > 0 AND A < 5", "\"b\"\"c\" > 0 AND \"b\"\"c\" < 5");
    renamed("\"A\" = 'a' AND a.x = t.a", "\"A\" = 'a' AND a.x = t.\"b\"\"c\"");
    renamed("a(a) + x::a + CAST(x AS a)", "a(\"b\"\"c\") + x::a + CAST(x AS a)");
    renamed("a 'x' /* a /* a */ a */ || $$a$$ || $q$a$q$ -- a", "a 'x' /* a /* a */ a */ || $$a$$ || $q$a$q$ -- a");
    renamed("E'a\\' a' || a || 'it''s a'", "E'a\\' a' || \"b\"\"c\" || 'it''s a'");
    renamed("extract(a FROM a)", "extract(a FROM \"b\"\"c\")");
    renamed("aa + a + $1", "aa + \"b\"\"c\" + $1");
    renamed("'a", "'a");
}

static void test_constraints_and_indexes_by_name(void **state)
{
    ice_tabledef *d = book();
    int32_t one[] = {1}, none[] = {99};
    ice_constraint c = {.kind = ICE_CON_UNIQUE, .name = ICE_STR("book_idx"), .ncols = 1, .field_ids = one};

    assert_int_equal(ice_tabledef_add_constraint(d, &c, &err), ICE_DUP_OBJECT);
    c.name = ICE_STR("u2");
    c.field_ids = none;
    assert_int_equal(ice_tabledef_add_constraint(d, &c, &err), ICE_NO_COLUMN);
    c.field_ids = one;
    c.kind = ICE_CON_PRIMARY;
    assert_int_equal(ice_tabledef_add_constraint(d, &c, &err), ICE_DUP_OBJECT);
    c.kind = ICE_CON_FOREIGN;
    assert_int_equal(ice_tabledef_add_constraint(d, &c, &err), ICE_BAD_VALUE);
    c = (ice_constraint){.kind = ICE_CON_UNIQUE, .name = ICE_STR("lower"), .expr_sql = ICE_STR("lower(\"title\")")};
    assert_int_equal(ice_tabledef_add_constraint(d, &c, &err), ICE_OK);
    assert_int_equal(ice_tabledef_drop_constraint(d, ICE_STR("title_uniq"), &err), ICE_NO_OBJECT);
    assert_int_equal(ice_tabledef_drop_index(d, ICE_STR("book_pkey"), &err), ICE_DEPENDENT);
    assert_int_equal(ice_tabledef_drop_index(d, ICE_STR("title_uniq"), &err), ICE_OK);
    assert_int_equal(ice_tabledef_drop_index(d, ICE_STR("book_idx"), &err), ICE_OK);
    assert_int_equal(ice_tabledef_drop_index(d, ICE_STR("book_idx"), &err), ICE_NO_OBJECT);
    assert_int_equal(ice_tabledef_drop_constraint(d, ICE_STR("book_pkey"), &err), ICE_OK);
    assert_null(ice_tabledef_primary(d));
    ice_tabledef_free(d);
}

/* `from` replaced by `to` in a good document must be refused. */
static void refuse(const char *json, const char *from, const char *to)
{
    const char *at = strstr(json, from);
    ice_tabledef *d;
    char *text;

    assert_non_null(at);
    text = ice_arena_printf(arena, "%.*s%s%s", (int)(at - json), json, to, at + strlen(from));
    assert_int_equal(ice_tabledef_from_json(ice_str_c(text), &d, &err), ICE_CORRUPT);
    assert_int_equal(err.code, ICE_CORRUPT);
    assert_null(d);
}

/* The type of "id" and its field, and that the primary key is on it, as of a commit time. */
static void check_as_of(const ice_tabledef *d, int64_t at, int kind, int32_t field)
{
    ice_tabledef *then;

    assert_int_equal(ice_tabledef_as_of(d, at, &then, &err), ICE_OK);
    const ice_tabledef *def = then ? then : d;
    assert_int_equal(def->cols[ice_tabledef_find(def, ICE_STR("id"))].type.kind, kind);
    assert_int_equal(def->cols[ice_tabledef_find(def, ICE_STR("id"))].field_id, field);
    assert_int_equal(ice_tabledef_primary(def)->field_ids[0], field);
    ice_tabledef_free(then);
}

static void test_types_that_change(void **state)
{
    ice_tabledef *d = book(), *again, *none;
    int id = ice_tabledef_find(d, ICE_STR("id"));
    int32_t first = d->cols[id].field_id;
    ice_kind was = d->cols[id].type.kind;

    add(d, column("__new", "text"));
    assert_int_equal(ice_tabledef_retype(d, id, true, &err), ICE_OK);
    assert_int_equal(ice_tabledef_find(d, ICE_STR("__new")), -1);
    check_as_of(d, INT64_MAX - 1, was, first); /* not committed */
    assert_true(ice_tabledef_committed(d, 100));
    assert_false(ice_tabledef_committed(d, 150));
    int32_t second = d->cols[id].field_id;
    add(d, column("__new", "uuid"));
    assert_int_equal(ice_tabledef_retype(d, id, true, &err), ICE_OK);
    assert_true(ice_tabledef_committed(d, 200));
    assert_int_equal(ice_tabledef_from_json(ice_str_c(json_of(d)), &again, &err), ICE_OK);
    assert_string_equal(json_of(again), json_of(d));
    check_as_of(again, 99, was, first);
    check_as_of(again, 100, ICE_T_STRING, second);
    check_as_of(again, 199, ICE_T_STRING, second);
    check_as_of(again, 200, ICE_T_UUID, d->last_field_id);
    assert_int_equal(ice_tabledef_as_of(again, 200, &none, &err), ICE_OK);
    assert_null(none);
    refuse(json_of(d), "\"former_until\":200", "\"former_until\":-1");
    refuse(json_of(d), "\"former_until\":200", "\"former_until\":0");
    ice_tabledef_free(again);

    for (int i = 0; i < 100; i++) { /* only so many are remembered */
        add(d, column("__new", i % 2 ? "text" : "int"));
        assert_int_equal(ice_tabledef_retype(d, id, true, &err), ICE_OK);
    }
    assert_int_equal(ice_tabledef_from_json(ice_str_c(json_of(d)), &again, &err), ICE_OK);
    ice_tabledef_free(again);
    ice_tabledef_free(d);
}

static void test_hostile_json_is_refused(void **state)
{
    ice_tabledef *d = book(), *out;
    const char *json = json_of(d), *bad[] = {"", "{", "[]", "null", "5", "{}", "{\"format\":1}", "\xFF"};
    char *deep = ice_arena_alloc(arena, 100001);

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(ice_tabledef_from_json(ice_str_c(bad[i]), &out, &err), ICE_CORRUPT);
    memset(deep, '[', 100000);
    assert_int_equal(ice_tabledef_from_json(ice_str_c(deep), &out, &err), ICE_CORRUPT);
    assert_int_equal(ice_tabledef_from_json((ice_str){deep, (size_t)1 << 30}, &out, &err), ICE_CORRUPT);
    refuse(json, "\"format\":1,", "");
    refuse(json, "\"format\":1,", "\"format\":1,\"format\":1,");
    refuse(json, "\"schema_id\":0", "\"schema_id\":-1");
    refuse(json, "\"schema_id\":0", "\"schema_id\":99999999999");
    refuse(json, "\"schema_id\":0", "\"schema_id\":\"0\"");
    refuse(json, "\"last_field_id\":7", "\"last_field_id\":5");
    refuse(json, "\"uuid\":\"", "\"uuid\":\"x");
    refuse(json, "\"id\":2,\"name\":\"title\"", "\"id\":1,\"name\":\"title\"");
    refuse(json, "\"name\":\"title\"", "\"name\":\"id\"");
    refuse(json, "\"name\":\"title\"", "\"name\":\"\"");
    refuse(json, "\"name\":\"title\"", "\"name\":\"a\\u0000b\"");
    refuse(json, "\"name\":\"title\"", "\"naem\":\"title\"");
    refuse(json, "\"type\":\"string\"", "\"type\":\"strnig\"");
    refuse(json, "\"max_length\":200", "\"max_length\":-200");
    refuse(json, "\"max_length\":200", "\"max_length\":1e9");
    refuse(json, "\"initial\":\"-12.50\"", "\"initial\":\"12.5x\"");
    refuse(json, "\"initial\":\"-12.50\"", "\"initial\":\"123456789.00\"");
    refuse(json, "\"min_int\":-32768", "\"min_int\":40000");
    refuse(json, "\"kind\":\"primary\"", "\"kind\":\"prime\"");
    refuse(json, "\"columns\":[1]", "\"columns\":[9]");
    refuse(json, "\"columns\":[1]", "\"columns\":[]");
    refuse(json, "\"columns\":[1]", "\"columns\":[1.5]");
    refuse(json, "\"columns\":[1]", "\"columns\":{}");
    refuse(json, "\"ref_columns\":[1]", "\"ref_columns\":[1,2]");
    refuse(json, "\"descending\":[false,true]", "\"descending\":[false]");
    refuse(json, "\"not_null\":true", "\"not_null\":1");
    assert_int_equal(ice_tabledef_from_json(ICE_STR("{\"format\":2}"), &out, &err), ICE_UNSUPPORTED);
    /* Cut anywhere. */
    for (size_t n = 0; n < strlen(json); n += 3)
        assert_int_equal(ice_tabledef_from_json((ice_str){json, n}, &out, &err), ICE_CORRUPT);
    ice_tabledef_free(d);
}

static void test_allocation_failures_are_reported(void **state)
{
    ice_tabledef *d = book(), *out;
    const char *json = json_of(d);
    long k;

    for (k = 1; k < 1000; k++) {
        ice_code rc;

        ice_fault_arm("base.alloc", k, false);
        rc = ice_tabledef_from_json(ice_str_c(json), &out, &err);
        if (ice_fault_hits() < k)
            break;
        ice_fault_disarm();
        assert_int_equal(rc, ICE_NOMEM);
        assert_null(out);
    }
    ice_fault_disarm();
    ice_tabledef_free(out);
    ice_tabledef_free(d);
}

static void test_sql_types(void **state)
{
    static const struct {
        const char *sql, *type, *kept;
        int64_t max_length;
    } cases[] = {
        {"smallint", "int", "smallint", 0}, {"INT2", "int", "smallint", 0}, {"integer", "int", "integer", 0},
        {"int4", "int", "integer", 0}, {"Int", "int", "integer", 0}, {"bigint", "long", "bigint", 0}, {"int8", "long", "bigint", 0},
        {"real", "float", "real", 0}, {" double   precision ", "double", "double precision", 0}, {"float(24)", "float", "real", 0},
        {"float(53)", "double", "double precision", 0}, {"numeric", "decimal(38, 10)", "numeric", 0},
        {"numeric(10, 2)", "decimal(10, 2)", "numeric(10, 2)", 0}, {"DECIMAL( 5 )", "decimal(5, 0)", "numeric(5, 0)", 0},
        {"text", "string", "text", 0}, {"varchar", "string", "varchar", 0}, {"varchar (200)", "string", "varchar(200)", 200},
        {"character varying(20)", "string", "varchar(20)", 20}, {"char(32)", "string", "char(32)", 32}, {"char", "string", "char(1)", 1},
        {"bool", "boolean", "boolean", 0}, {"date", "date", "date", 0}, {"time", "time", "time", 0},
        {"time(6) without time zone", "time", "time", 0}, {"timestamp", "timestamp", "timestamp", 0},
        {"timestamp without time zone", "timestamp", "timestamp", 0},
        {"TIMESTAMP(6) WITH TIME ZONE", "timestamptz", "timestamp with time zone", 0},
        {"timestamptz", "timestamptz", "timestamp with time zone", 0}, {"uuid", "uuid", "uuid", 0}, {"bytea", "binary", "bytea", 0},
        {"json", "string", "json", 0}, {"jsonb", "string", "jsonb", 0}, {"interval", "long", "interval", 0}, {"inet", "string", "inet", 0},
        {"cidr", "string", "cidr", 0},
    };
    const char *bad[] = {"", "serial", "bigserial", "smallserial", "integer[]", "time with time zone", "numeric(39, 2)", "numeric(5, 6)",
                         "numeric(0)", "varchar(0)", "varchar(-1)", "varchar()", "varchar(5", "varchar(5,5)", "varchar(99999999999)",
                         "int(11)", "timestamp(3)", "xml", "numeric(5,2)(3)", "(5)", "float(60)", "varchar(5)x"};
    char type[32];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ice_column c = column("c", cases[i].sql);

        ice_type_text(c.type, type);
        assert_string_equal(type, cases[i].type);
        assert_true(ice_str_eqc(c.sql_type, cases[i].kept));
        assert_int_equal(c.max_length, cases[i].max_length);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ice_column c = {0};

        assert_int_equal(ice_column_set_sql_type(&c, arena, ice_str_c(bad[i]), &err), ICE_UNSUPPORTED);
        assert_null(c.sql_type.ptr);
    }
    assert_int_equal(column("c", "smallint").max_int, 32767);
}

static ice_code coerce(const char *sql_type, ice_value v, ice_value *out)
{
    ice_column c = column("c", sql_type);

    return ice_column_coerce(&c, arena, &v, out, &err);
}

static void test_values_are_held_to_the_declaration(void **state)
{
    ice_value out;

#define TEXT(literal) ((ice_value){.kind = ICE_T_STRING, .s = ICE_STR(literal)})
    assert_int_equal(coerce("smallint", (ice_value){.kind = ICE_T_LONG, .i = 32767}, &out), ICE_OK);
    assert_int_equal(coerce("smallint", (ice_value){.kind = ICE_T_LONG, .i = 32768}, &out), ICE_RANGE);
    assert_string_equal(err.message, "column \"c\": 32768 is out of range for smallint");
    assert_int_equal(coerce("integer", (ice_value){.kind = ICE_T_LONG, .i = 1l << 31}, &out), ICE_RANGE);
    assert_int_equal(coerce("varchar(3)", TEXT("é€😀"), &out), ICE_OK);
    assert_int_equal(coerce("varchar(3)", TEXT("abcd"), &out), ICE_TOO_LONG);
    assert_string_equal(err.message, "column \"c\": value too long for varchar(3): 4 characters");
    assert_int_equal(coerce("varchar(3)", TEXT("é    "), &out), ICE_OK);
    assert_true(ice_str_eqc(out.s, "é  "));
    assert_int_equal(coerce("text", TEXT("\xFF"), &out), ICE_BAD_VALUE);
    assert_int_equal(coerce("text", TEXT("a\0b"), &out), ICE_BAD_VALUE);
    assert_int_equal(coerce("numeric(4, 2)", TEXT("99.995"), &out), ICE_RANGE);
    assert_int_equal(coerce("date", TEXT("soon"), &out), ICE_BAD_VALUE);
    assert_non_null(strstr(err.message, "column \"c\": \"soon\""));
    assert_int_equal(coerce("date", ICE_NULL, &out), ICE_OK);
    assert_true(out.null);
}

static void json(const char *text, ice_code want)
{
    ice_column c = column("j", "jsonb");
    ice_value v = {.kind = ICE_T_STRING, .s = ice_str_c(text)}, out;

    if (ice_column_coerce(&c, arena, &v, &out, &err) != want)
        fail_msg("%s", text);
}

static void test_json_is_checked(void **state)
{
    static const char *const good[] = {"null", " true ", "\t-0.5e+10\n", "0", "\"\\u00e9\\n\\\\\"", "[]", "{}", "[ ]", "{ }",
                                       "[1, [2, {\"a\": []}], {}]", "{\"a\" : {\"b\":[null,false]}, \"\": \"é\"}",
                                       "[[[[[[[[[[1]]]]]]]]]]", "123456789012345678901234567890", "1E400"};
    static const char *const bad[] = {"", " ", "nul", "nulls", "True", "01", "1.", ".5", "+1", "-", "1e", "NaN", "Infinity", "'a'",
                                      "\"a", "\"\\x\"", "\"\\u00g0\"", "\"\\u0000\"", "\"a\nb\"", "[", "[1", "[1,", "[1,]", "[,1]", "]",
                                      "[1}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:1}", "{\"a\":1]", "1 2", "[] []",
                                      "{@!invalid json value 123 $!@#"};
    char deep[2051];

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        json(good[i], ICE_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        json(bad[i], ICE_BAD_VALUE);
    memset(deep, '[', 1025);
    memset(deep + 1025, ']', 1025);
    deep[2050] = 0;
    json(deep, ICE_BAD_VALUE);
    deep[2049] = 0;
    json(deep + 1, ICE_OK);
}

static void stored(const char *type, const char *text, const char *want)
{
    ice_column c = column("j", type);
    ice_value v = {.kind = ICE_T_STRING, .s = ice_str_c(text)}, out;

    assert_int_equal(ice_column_coerce(&c, arena, &v, &out, &err), ICE_OK);
    if (!ice_str_eqc(out.s, want))
        fail_msg("%s is stored as %.*s", text, ICE_PRI(out.s));
}

/* PostgreSQL 15's own answers. */
static void test_jsonb_is_stored_canonically(void **state)
{
    stored("jsonb", "{\"bb\":1,\"a\":1.0,\"a\":1.50, \"c\":1e2,\"d\":-0.0,\"e\":\"\\u00e9\\u0001\\u2028/\"}",
           "{\"a\": 1.50, \"c\": 100, \"d\": 0.0, \"e\": \"é\\u0001\u2028/\", \"bb\": 1}");
    stored("jsonb", " [ ] ", "[]");
    stored("jsonb", "[1, {\"a\": null}]", "[1, {\"a\": null}]");
    stored("jsonb", "\"\\ud83d\\ude00\"", "\"😀\"");
    stored("json", "{\"b\":1,\"a\":1}", "{\"b\":1,\"a\":1}");
    json("\"\\ud800\"", ICE_BAD_VALUE);
    json("\"\\udc00x\"", ICE_BAD_VALUE);
}

static int make_arena(void **state) { return (arena = ice_arena_create()) ? 0 : -1; }

static int free_arena(void **state)
{
    ice_arena_free(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_reads_back),
        cmocka_unit_test(test_views_read_back),
        cmocka_unit_test(test_types_that_change),
        cmocka_unit_test(test_field_ids_are_never_reused),
        cmocka_unit_test(test_dropping_a_column_drops_what_uses_it),
        cmocka_unit_test(test_renaming_follows_into_expressions),
        cmocka_unit_test(test_renaming_within_an_expression),
        cmocka_unit_test(test_constraints_and_indexes_by_name),
        cmocka_unit_test(test_hostile_json_is_refused),
        cmocka_unit_test(test_allocation_failures_are_reported),
        cmocka_unit_test(test_sql_types),
        cmocka_unit_test(test_values_are_held_to_the_declaration),
        cmocka_unit_test(test_json_is_checked),
        cmocka_unit_test(test_jsonb_is_stored_canonically),
    };

    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
