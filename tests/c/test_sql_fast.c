/* What the fast path may take, and what it must leave to the engine; and that large statements stay linear. */
#include <stdio.h>

#include "base/misc.h"
#include "sql_world.h"

static ice_select simple(const char *sql)
{
    ice_stmt s = ok(sql);

    if (!s.select.simple)
        fail_msg("not simple: %s", sql);
    return s.select;
}

/* As Django writes them. */
static void test_django_selects(void **state)
{
    ice_select s = simple("SELECT \"app_article\".\"id\", \"app_article\".\"title\" AS \"t\" FROM "
                          "\"app_article\" WHERE (\"app_article\".\"id\" = $1 AND "
                          "\"app_article\".\"x\" IN ($2, $3)) ORDER BY \"app_article\".\"id\" ASC, "
                          "\"app_article\".\"title\" DESC LIMIT 21");

    is(s.table, "app_article");
    is(s.alias, NULL);
    assert_int_equal(s.ncols, 2);
    is(s.cols[1], "title");
    is(s.names[0], "id");
    is(s.names[1], "t");
    assert_int_equal(s.nconds, 2);
    is(s.conds[0].column, "id");
    assert_int_equal(s.conds[0].op, ICE_CMP_EQ);
    assert_int_equal(s.conds[0].args[0].param, 0);
    assert_int_equal(s.conds[1].op, ICE_CMP_IN);
    assert_int_equal(s.conds[1].nargs, 2);
    assert_int_equal(s.norder, 2);
    assert_false(s.order_desc[0]);
    assert_true(s.order_desc[1]);
    assert_int_equal(s.limit, 21);

    s = simple("SELECT COUNT(*) AS \"__count\" FROM \"t\" WHERE \"t\".\"a\" >= $1");
    assert_true(s.count_star);
    is(s.names[0], "__count");
    s = simple("SELECT 1 AS \"a\" FROM \"t\" WHERE \"t\".\"id\" = $1 LIMIT 1");
    assert_true(s.exists_one && s.limit == 1);
    is(s.names[0], "a");
    s = simple("SELECT \"U0\".\"id\" FROM \"t\" \"U0\" WHERE \"U0\".\"id\" = 1 LIMIT 1");
    is(s.alias, "U0");
}

static void test_simple_forms(void **state)
{
    static const char *const sql[] = {
        "SELECT * FROM t",
        "SELECT \"t\".* FROM \"t\" LIMIT $1 OFFSET $2",
        "SELECT a FROM t AS x WHERE x.a = 1",
    };

    for (size_t i = 0; i < sizeof sql / sizeof sql[0]; i++)
        simple(sql[i]);
    assert_int_equal(simple("SELECT * FROM t LIMIT $1 OFFSET $2").offset, -3);
    simple("SELECT a FROM t ORDER BY a NULLS LAST, b DESC NULLS FIRST");
    simple("SELECT a AS b, c FROM t ORDER BY c, t.b");
    simple("SELECT a FROM t WHERE a = 1 FOR UPDATE");
}

static void test_left_to_the_engine(void **state)
{
    static const char *const sql[] = {
        "SELECT DISTINCT a FROM t",
        "SELECT a FROM t, u",
        "SELECT a FROM t JOIN u ON t.a = u.a",
        "SELECT a + 1 FROM t",
        "SELECT max(a) FROM t",
        "SELECT a FROM t WHERE a = 1 OR b = 2",
        "SELECT a FROM t GROUP BY a",
        "SELECT a FROM t WHERE a LIKE 'x'",
        "SELECT u.a FROM t",
        "SELECT t.a FROM t AS x",
        "SELECT a FROM t WHERE u.a = 1",
        "SELECT a FROM t WHERE a = b",
        "SELECT a FROM t WHERE a IN (SELECT 1)",
        "SELECT a FROM t WHERE a NOT IN (1)",
        "SELECT a FROM t WHERE a = 1 + 1",
        "SELECT a FROM t WHERE a = $1::integer",
        "SELECT a FROM t WHERE a = 'x'::uuid",
        "SELECT a FROM t WHERE lower(a) = 'x'",
        "SELECT a FROM t WHERE a = 'x' COLLATE nocase",
        "SELECT a FROM t WHERE (a, b) = (1, 2)",
        "SELECT a FROM t WHERE a = 1e5",
        "SELECT a FROM t WHERE a = 1_000",
        "SELECT a FROM t WHERE a = E'x'",
        "SELECT a FROM t WHERE a = 'x'\n'y'",
        "SELECT a FROM t WHERE a IS DISTINCT FROM 1",
        "SELECT a FROM t WHERE NOT a = 1 AND NOT (a = 1 AND b = 2)",
        "SELECT a FROM t WHERE (a = 1) = TRUE",
        "SELECT a FROM t WHERE (a = 1) IS NULL",
        "SELECT a FROM t WHERE a = ANY($1)",
        "SELECT a FROM t WHERE EXISTS (SELECT 1)",
        "SELECT a FROM t ORDER BY 1",
        "SELECT a FROM t ORDER BY a NULLS FIRST",
        "SELECT a FROM t ORDER BY lower(a)",
        "SELECT a AS b, b AS a FROM t ORDER BY a",
        "SELECT a FROM t LIMIT 1 + 1",
        "SELECT a FROM t UNION SELECT b FROM u",
        "SELECT COUNT(*) FROM t LIMIT 1",
        "SELECT COUNT(*), a FROM t",
        "SELECT COUNT(a) FROM t",
        "SELECT COUNT(*) FILTER (WHERE a) FROM t",
        "SELECT 2 AS a FROM t",
        "SELECT 1, a FROM t",
        "SELECT *, a FROM t",
        "SELECT A FROM t",
        "SELECT a FROM T",
        "SELECT a FROM t TABLESAMPLE 5",
        "SELECT a FROM s.t",
        "SELECT a FROM t()",
        "SELECT a FROM t WINDOW w AS ()",
        "SELECT a::text FROM t",
        "SELECT DATE 'x' FROM t",
        "SELECT a FROM 'x'",
        "WITH t AS (SELECT 1 AS a) SELECT a FROM t",
        "SELECT a.b.c FROM a",
        "SELECT a FROM t WHERE a = 1 AND",
        "SELECT a FROM t WHERE current_date = a",
        "SELECT a FROM t WHERE a BETWEEN 1 AND 2 AND 3 = 3",
        "SELECT a FROM t QUALIFY a = 1",
        "SELECT 1 AS a FROM t ORDER BY a",
        "SELECT a FROM t WHERE a + 1 = 2",
        "SELECT a FROM t WHERE $1",
    };

    for (size_t i = 0; i < sizeof sql / sizeof sql[0]; i++)
        if (ok(sql[i]).select.simple)
            fail_msg("simple: %s", sql[i]);
}

static const ice_cond *conds(const char *where, size_t n)
{
    ice_stmt s = ok(ice_arena_printf(arena, "DELETE FROM \"t\" WHERE %s", where));

    if (!s.update.simple_where || s.update.nconds != n)
        fail_msg("%s: %zu", where, s.update.nconds);
    return s.update.conds;
}

static void test_conditions(void **state)
{
    const ice_cond *c = conds("\"t\".\"id\" = $4", 1);

    assert_int_equal(c->args[0].kind, ICE_E_PARAM);
    assert_int_equal(c->args[0].param, 3);
    assert_int_equal(c->args[0].cast, ICE_T_NONE);
    c = conds("5 > a AND $1 = b", 2);
    assert_int_equal(c[0].op, ICE_CMP_LT);
    is(c[0].column, "a");
    assert_int_equal(c[0].args[0].value.i, 5);
    assert_int_equal(c[1].op, ICE_CMP_EQ);
    c = conds("a <> 'x' AND b != -1.5 AND c <= TRUE AND d = NULL", 4);
    assert_int_equal(c[0].op, ICE_CMP_NE);
    is(c[0].args[0].value.s, "x");
    assert_int_equal(c[1].args[0].value.kind, ICE_T_DECIMAL);
    assert_int_equal(c[1].args[0].value.scale, 1);
    assert_true(c[3].args[0].value.null);
    c = conds("(((a IS NULL) AND ((b IS NOT NULL AND (c = 1)))))", 3);
    assert_int_equal(c[0].op, ICE_CMP_IS_NULL);
    assert_int_equal(c[1].op, ICE_CMP_NOT_NULL);
    c = conds("a BETWEEN $1 AND $2 AND b = 1", 3);
    assert_int_equal(c[0].op, ICE_CMP_GE);
    assert_int_equal(c[1].op, ICE_CMP_LE);
    assert_int_equal(c[1].args[0].param, 1);
    c = conds("\"t\".\"a\" AND NOT \"t\".\"b\" AND NOT (c = 1) AND NOT (d IS NULL) AND NOT (e)", 5);
    assert_true(c[0].bare && c[0].args[0].value.b);
    assert_true(c[1].bare && !c[1].args[0].value.b);
    assert_int_equal(c[2].op, ICE_CMP_NE);
    assert_false(c[2].bare);
    assert_int_equal(c[3].op, ICE_CMP_NOT_NULL);
    assert_true(c[4].bare && !c[4].args[0].value.b);
    c = conds("a = ($1) AND ($2) = b AND c IN (($3), 4)", 3);
    assert_int_equal(c[2].nargs, 2);
    c = conds("id = $1::uuid AND at = CAST($2 AS timestamp with time zone) AND s = $3::text", 3);
    assert_int_equal(c[0].args[0].cast, ICE_T_UUID);
    assert_int_equal(c[1].args[0].cast, ICE_T_TIMESTAMPTZ);
    assert_int_equal(c[2].args[0].cast, ICE_T_STRING);
    c = conds("a=-1", 1);
    assert_int_equal(c[0].args[0].value.i, -1);
    c = conds("`a` = 9223372036854775807", 1);
    is(c[0].column, "a");
}

static void test_not_conditions(void **state)
{
    static const char *const where[] = {"a = 1 OR b = 2",
                                        "u.a = 1",
                                        "a IN ()",
                                        "a = $1::varchar(5)",
                                        "a = $1::uuid::text",
                                        "a = $1::uuid[]",
                                        "NOT (a IN (1))",
                                        "a = (SELECT 1)",
                                        "NOT NOT a",
                                        "a = b",
                                        "a = 1 IS TRUE",
                                        "a == 1",
                                        "a <=> 1",
                                        "a = .",
                                        "1 = 1",
                                        "a = 1.",
                                        "a IS TRUE"};

    for (size_t i = 0; i < sizeof where / sizeof where[0]; i++) {
        ice_stmt s = ok(ice_arena_printf(arena, "DELETE FROM t WHERE %s", where[i]));

        if (s.update.simple_where || s.update.nconds)
            fail_msg("%s", where[i]);
        is(s.update.where_sql, where[i]);
    }
}

/* What arithmetic is taken, and that a product binds before a sum. */
static void test_arithmetic(void **state)
{
    static const char *const left[] = {"a / 2",        "a % 2",        "a || 'x'", "-a",   "a + 'x'",     "a + NULL",
                                       "f(a)",         "a + (SELECT 1)", "a + b::int", "u.a + 1", "a + TRUE", "a + 1e5"};
    const ice_arith *a = ok("UPDATE t SET a = b - c - (d + $1) * 2 * e WHERE t.id = 1").update.set_exprs[0].arith;
    ice_buf deep = {0};

    assert_int_equal(a->op, '-');
    assert_int_equal(a->left->op, '-');
    is(a->left->right->column, "c");
    assert_int_equal(a->right->op, '*');
    assert_int_equal(a->right->left->op, '*');
    is(a->right->right->column, "e");
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        ice_str sql = ice_str_c(ice_arena_printf(arena, "UPDATE t SET a = %s WHERE t.id = 1", left[i]));

        if (ok(sql.ptr).update.set_exprs[0].kind != ICE_E_OTHER)
            fail_msg("%s", left[i]);
    }
    ice_buf_puts(&deep, "UPDATE t SET a = ");
    for (int i = 0; i < 500; i++)
        ice_buf_puts(&deep, "(a + ");
    ice_buf_puts(&deep, "1");
    for (int i = 0; i < 500; i++)
        ice_buf_puts(&deep, ")");
    ice_buf_put(&deep, " WHERE t.id = 1", sizeof " WHERE t.id = 1"); /* with its end */
    assert_int_equal(ok(deep.data).update.set_exprs[0].kind, ICE_E_OTHER);
    ice_buf_free(&deep);
}

static void test_outputs(void **state)
{
    ice_select s = simple("SELECT t.a, (t.b * $1) AS x, (c) FROM t WHERE t.id = $2");

    assert_int_equal(s.ncols, 3);
    is(s.cols[0], "a");
    is(s.cols[1], NULL);
    is(s.names[1], "x");
    assert_int_equal(s.exprs[1]->op, '*');
    is(s.cols[2], "c");
    assert_null(s.exprs[2]);
    assert_int_equal(simple("SELECT $1 AS \"a\" FROM t WHERE t.id = $2 LIMIT 1").exists_param, 0);
    assert_int_equal(simple("SELECT 1 AS \"a\" FROM t WHERE t.id = $1 LIMIT 1").exists_param, -1);
    s = simple("SELECT a FROM t WHERE (t.id) IN (VALUES ($1), (2))");
    assert_int_equal(s.conds[0].op, ICE_CMP_IN);
    assert_int_equal(s.conds[0].nargs, 2);
    s = ok("SELECT \"a\".\"x\", (T2.\"y\" + 1) AS z FROM \"a\" INNER JOIN \"b\" T2 ON (\"a\".\"i\" = T2.\"i\") "
           "WHERE T2.\"j\" = $1")
            .select;
    assert_non_null(s.joined);
    assert_int_equal(s.exprs[1]->left->rel, 1);
    assert_int_equal(s.joined->cond_rels[0], 1);
}

static void test_groups(void **state)
{
    static const char *const left[] = {
        "SELECT COUNT(a) FROM t",
        "SELECT COUNT(DISTINCT a) AS n FROM t",
        "SELECT COUNT(a) FILTER (WHERE b) AS n FROM t",
        "SELECT a, COUNT(*) AS n FROM t",
        "SELECT a, COUNT(*) AS n FROM t GROUP BY a",
        "SELECT t.a, COUNT(*) AS n FROM t GROUP BY t.b",
        "SELECT t.a, COUNT(*) AS n FROM t GROUP BY 2",
        "SELECT t.a, COUNT(*) AS n FROM t GROUP BY t.a HAVING COUNT(*) > 1",
        "SELECT t.a, COUNT(*) AS n FROM t GROUP BY t.a ORDER BY n",
        "SELECT t.a FROM t GROUP BY t.a",
        "SELECT (t.a + 1) AS b, COUNT(*) AS n FROM t GROUP BY t.a",
        "SELECT AVG(a) AS n FROM t",
        "SELECT SUM(a + 1) AS n FROM t",
        "SELECT SUM(a) OVER () AS n FROM t",
    };
    ice_select s = simple("SELECT t.b, COUNT(*) AS n, MAX(t.c) AS m FROM t WHERE t.a = $1 GROUP BY t.b, t.d ORDER BY t.d");

    assert_true(s.grouped);
    assert_int_equal(s.ngroup, 2);
    is(s.group_cols[1], "d");
    assert_int_equal(s.aggs[0], ICE_AGG_NONE);
    assert_int_equal(s.aggs[1], ICE_AGG_COUNT_STAR);
    assert_int_equal(s.aggs[2], ICE_AGG_MAX);
    is(s.cols[2], "c");
    s = simple("SELECT t.a, SUM(t.b) AS s FROM t GROUP BY 1");
    is(s.group_cols[0], "a");
    assert_true(simple("SELECT COUNT(*) AS n, MIN(a) AS m FROM t WHERE b = 1").grouped);
    assert_false(simple("SELECT COUNT(*) AS n FROM t WHERE b = 1").grouped);
    s = ok("SELECT \"a\".\"x\", COUNT(\"b\".\"y\") AS \"n\" FROM \"a\" LEFT OUTER JOIN \"b\" ON (\"a\".\"i\" = "
           "\"b\".\"i\") GROUP BY \"a\".\"x\"")
            .select;
    assert_true(s.joined && s.grouped);
    assert_int_equal(s.joined->col_rels[1], 1);
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        s = ok(left[i]).select;
        if (s.simple || s.joined)
            fail_msg("%s", left[i]);
    }
}

static void test_set_expressions(void **state)
{
    ice_update u = ok("UPDATE \"t\" SET \"a\" = $1, \"n\" = (\"t\".\"n\" + $2), m = m - 3, k = $3 + k, j = "
                      "u.j + 1, i = $4::uuid, h = n * 2, "
                      "g = (n + 1) * 2, f = NULL, e = DEFAULT, d = n + $1::integer WHERE \"t\".\"id\" = $5")
                       .update;
    static const ice_expr_kind kinds[] = {ICE_E_PARAM, ICE_E_ARITH, ICE_E_ARITH, ICE_E_ARITH,
                                          ICE_E_OTHER, ICE_E_PARAM, ICE_E_ARITH, ICE_E_ARITH,
                                          ICE_E_CONST, ICE_E_DEFAULT, ICE_E_OTHER};
    const ice_arith *a;

    assert_int_equal(u.nset, 11);
    for (size_t i = 0; i < u.nset; i++)
        if (u.set_exprs[i].kind != kinds[i])
            fail_msg("%zu: %.*s", i, ICE_PRI(u.set_exprs[i].text));
    is(u.set_exprs[1].text, "(\"t\".\"n\" + $2)");
    a = u.set_exprs[1].arith;
    assert_int_equal(a->op, '+');
    is(a->left->qualifier, "t");
    is(a->left->column, "n");
    assert_int_equal(a->right->param, 1);
    a = u.set_exprs[2].arith;
    assert_int_equal(a->op, '-');
    assert_int_equal(a->right->param, -1);
    assert_int_equal(a->right->value.i, 3);
    is(u.set_exprs[3].arith->right->column, "k");
    assert_int_equal(u.set_exprs[5].cast, ICE_T_UUID);
    a = u.set_exprs[7].arith;
    assert_int_equal(a->op, '*');
    assert_int_equal(a->left->op, '+');
    assert_true(u.simple_where && u.nconds == 1);
    assert_false(ok("UPDATE t SET a = 1 FROM u WHERE t.a = 1").update.simple_where);
}

/* ---- size ---- */

static void test_bulk_insert(void **state)
{
    enum { ROWS = 10000, COLS = 20 };
    ice_buf b = {0};
    ice_sql_text t;
    ice_stmt s;
    int64_t start;

    ice_buf_puts(&b, "INSERT INTO \"t\" (\"c0\"");
    for (int c = 1; c < COLS; c++)
        ice_buf_printf(&b, ", \"c%d\"", c);
    ice_buf_puts(&b, ") VALUES ");
    for (int r = 0; r < ROWS; r++) {
        ice_buf_puts(&b, r ? ", (%s" : "(%s");
        for (int c = 1; c < COLS; c++)
            ice_buf_puts(&b, ", %s");
        ice_buf_puts(&b, ")");
    }
    ice_buf_puts(&b, " RETURNING \"t\".\"c0\"");
    start = ice_clock_monotonic_us();
    assert_int_equal(ice_sql_params(arena, ice_buf_str(&b), true, &t, &err), ICE_OK);
    print_message("placeholders: %lld us\n", (long long)(ice_clock_monotonic_us() - start));
    start = ice_clock_monotonic_us();
    assert_int_equal(ice_sql_parse(arena, t.sql, &s, &err), ICE_OK);
    start = ice_clock_monotonic_us() - start;
    print_message("%d rows of %d values: %lld us\n", ROWS, COLS, (long long)start);
    assert_int_equal(s.insert.nrows, ROWS);
    assert_int_equal(s.insert.values[ROWS * COLS - 1].param, ROWS * COLS - 1);
    assert_int_equal(s.insert.values[ROWS * COLS - 1].kind, ICE_E_PARAM);
    assert_true(start < 5000000); /* quadratic would be minutes */
    ice_buf_free(&b);
}

static void test_long_in_list(void **state)
{
    ice_buf b = {0};
    ice_stmt s;

    ice_buf_puts(&b, "SELECT a FROM t WHERE a IN ($1");
    for (int i = 2; i <= 100000; i++)
        ice_buf_printf(&b, ", $%d", i);
    ice_buf_puts(&b, ")");
    assert_int_equal(ice_sql_parse(arena, ice_buf_str(&b), &s, &err), ICE_OK);
    assert_true(s.select.simple);
    assert_int_equal(s.select.conds[0].nargs, 100000);
    ice_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_django_selects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_simple_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_to_the_engine, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conditions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_conditions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arithmetic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outputs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_set_expressions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bulk_insert, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_in_list, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
