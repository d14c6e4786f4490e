/* Statements: parameters, kinds, DML, locking, tables, refusals; and the fuzz entry over fixed mutations. */
#include <stdio.h>
#include <stdlib.h>

#include "base/misc.h"
#include "../fuzz/fuzz_sql.c"
#include "sql_world.h"

/* ---- parameters ---- */

static ice_sql_text params(const char *text)
{
    ice_sql_text t;

    if (ice_sql_params(arena, ice_str_c(text), true, &t, &err) != ICE_OK)
        fail_msg("%s: %s", text, err.message);
    return t;
}

static void test_params(void **state)
{
    ice_sql_text t = params("SELECT %s, %s WHERE x LIKE '%%a%%'");

    is(t.sql, "SELECT $1, $2 WHERE x LIKE '%a%'");
    assert_int_equal(t.nparams, 2);
    assert_null(t.names);

    t = params("%(a)s %(b c)s %(a)s");
    is(t.sql, "$1 $2 $1");
    assert_int_equal(t.nparams, 2);
    is(t.names[0], "a");
    is(t.names[1], "b c");

    is(params("no placeholder").sql, "no placeholder");
    is(params("").sql, "");
    /* Never one word or number with what stands beside. */
    is(params("LIMIT%s OFFSET%s0").sql, "LIMIT $1 OFFSET $2 0");
    is(params("'%s'").sql, "'$1'");
    assert_int_equal(ice_sql_params(arena, ICE_STR("5 % 3 %s"), false, &t, &err), ICE_OK);
    is(t.sql, "5 % 3 %s");
    assert_int_equal(t.nparams, 0);
}

static void test_params_errors(void **state)
{
    static const char *const texts[] = {"5 % 3", "%", "a %d", "%(x", "%(x)", "%(x)d", "%s %(x)s", "%(x)s %s"};
    ice_sql_text t;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(ice_sql_params(arena, ice_str_c(texts[i]), true, &t, &err), ICE_SYNTAX);
    assert_non_null(strstr(err.message, "mixed"));
}

static void test_many_names(void **state)
{
    ice_buf b = {0};
    ice_sql_text t;

    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 20000; i++)
            ice_buf_printf(&b, "%%(name_%d)s,", i);
    assert_int_equal(ice_sql_params(arena, ice_buf_str(&b), true, &t, &err), ICE_OK);
    assert_int_equal(t.nparams, 20000);
    is(t.names[19999], "name_19999");
    ice_buf_free(&b);
}

/* ---- kinds ---- */

static void test_kinds(void **state)
{
    static const struct {
        const char *sql;
        ice_stmt_kind kind;
    } cases[] = {
        {"SELECT 1", ICE_S_SELECT},
        {" /* a /* b */ */ select 1 ; -- end", ICE_S_SELECT},
        {"(SELECT 1) UNION (SELECT 2)", ICE_S_SELECT},
        {"VALUES (1), (2)", ICE_S_SELECT},
        {"FROM t SELECT x", ICE_S_SELECT},
        {"TABLE t", ICE_S_SELECT},
        {"WITH a AS (SELECT 1) SELECT * FROM a", ICE_S_SELECT},
        {"WITH RECURSIVE a (n) AS NOT MATERIALIZED (SELECT 1), b AS (SELECT 2) (SELECT * FROM a)",
         ICE_S_SELECT},
        {"EXPLAIN SELECT 1", ICE_S_SELECT},
        {"EXPLAIN (FORMAT JSON) SELECT 1", ICE_S_SELECT},
        {"EXPLAIN ANALYZE SELECT * FROM t FOR UPDATE", ICE_S_SELECT},
        {"SHOW TABLES", ICE_S_SHOW_TABLES}, {"SHOW VIEWS;", ICE_S_SHOW_VIEWS}, {"SHOW tables_of", ICE_S_SELECT}, {"SHOW TimeZone", ICE_S_SELECT},
        {"DESCRIBE t", ICE_S_SELECT},
        {"SELECT * FROM t FOR UPDATE", ICE_S_SELECT_LOCK},
        {"INSERT INTO t VALUES (1)", ICE_S_INSERT},
        {"UPDATE t SET a = 1", ICE_S_UPDATE},
        {"DELETE FROM t", ICE_S_DELETE},
        {"TRUNCATE t", ICE_S_TRUNCATE},
        {"BEGIN", ICE_S_BEGIN},
        {"START TRANSACTION READ ONLY", ICE_S_BEGIN},
        {"COMMIT", ICE_S_COMMIT},
        {"COMMIT WORK", ICE_S_COMMIT},
        {"END", ICE_S_COMMIT},
        {"ROLLBACK", ICE_S_ROLLBACK},
        {"ABORT", ICE_S_ROLLBACK},
        {"SET CONSTRAINTS ALL IMMEDIATE", ICE_S_SET_CONSTRAINTS},
        {"SET timezone = 'UTC'", ICE_S_SET},
        {"RESET timezone", ICE_S_SET},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (ok(cases[i].sql).kind != cases[i].kind)
            fail_msg("%s", cases[i].sql);
    assert_true(ok("EXPLAIN SELECT 1").explain);
    is(ok(" SELECT 1 /* c */ ;; ").text, "SELECT 1");
}

static void test_refused(void **state)
{
    static const char *const words[] = {
        "ATTACH 'x.db'",
        "DETACH x",
        "COPY t TO 'f'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "EXPORT DATABASE 'd'",
        "IMPORT DATABASE 'd'",
        "CALL f()",
        "PRAGMA version",
        "CREATE MATERIALIZED VIEW v AS SELECT 1",
        "CREATE MACRO m(a) AS a",
        "CREATE SCHEMA s",
        "CREATE SEQUENCE s",
        "CREATE TYPE t AS ENUM ('a')",
        "CREATE FUNCTION f() AS 1",
        "CREATE TEMP TABLE t (a int)",
        "CREATE OR REPLACE TABLE t (a int)",
        "CREATE TABLE t AS SELECT 1",
        "DROP SCHEMA v",
        "DROP SCHEMA s",
        "CHECKPOINT",
        "VACUUM",
        "ANALYZE",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "USE x",
        "MERGE INTO t USING u ON a = b WHEN MATCHED THEN DELETE",
        "LOCK TABLE t",
        "ALTER SEQUENCE s RESTART",
        "EXPLAIN UPDATE t SET a = 1",
        "INSERT OR REPLACE INTO t VALUES (1)",
        "WITH a AS (SELECT 1) MERGE INTO t USING a ON b = c WHEN MATCHED THEN DELETE",
        "WITH a AS (SELECT 1) INSERT INTO t VALUES (1)",
        "SET VARIABLE a = 1",
        "COMMIT PREPARED 'x'",
        "COMMIT AND CHAIN",
        "UPDATE t SET (a, b) = (1, 2)",
        "INSERT INTO s.t VALUES (1)",
        "SET GLOBAL threads = 1",
        "ALTER TABLE t OWNER TO me",
        "ALTER DATABASE d RENAME TO e",
        "COMMENT ON INDEX i IS 'x'",
        "CREATE INDEX ON t (a varchar_pattern_ops)",
        "SELECT * FROM t FOR UPDATE FOR SHARE",
        "SELECT DISTINCT a FROM t FOR UPDATE",
        "SELECT a FROM t GROUP BY a FOR UPDATE",
        "SELECT a FROM t UNION SELECT b FROM u FOR UPDATE",
        "SELECT 1 FOR UPDATE",
        "SELECT COUNT(*) FROM t FOR UPDATE",
        "SELECT SUM(a) AS s FROM t FOR UPDATE",
        "VALUES (1) FOR UPDATE",
        "TRUNCATE $1",
        "SAVEPOINT \"a\" $1",
    };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        ice_stmt s;
        ice_code rc = ice_sql_parse(arena, ice_str_c(words[i]), &s, &err);

        if (rc != ICE_UNSUPPORTED && !(rc == ICE_SYNTAX && strchr(words[i], '$')))
            fail_msg("%s: %s %s", words[i], ice_code_name(rc), rc ? err.message : "");
    }
    bad("ATTACH 'x'", ICE_UNSUPPORTED, "ATTACH");
    bad("CREATE MATERIALIZED VIEW v AS SELECT 1", ICE_UNSUPPORTED, "CREATE MATERIALIZED");
    bad("CREATE TABLE t (a int DEFAULT $1)", ICE_UNSUPPORTED, "a parameter in CREATE");
}

static void test_syntax_errors(void **state)
{
    bad("", ICE_SYNTAX, "empty");
    bad(" -- nothing", ICE_SYNTAX, "empty");
    bad(";", ICE_SYNTAX, "statement");
    bad("SELEC 1", ICE_SYNTAX, "offset 0, at or near \"SELEC\"");
    bad("SELECT 1; SELECT 2", ICE_SYNTAX, "more than one statement");
    bad("SELECT 1; DROP TABLE t", ICE_SYNTAX, "more than one statement");
    bad("SELECT 'abc", ICE_SYNTAX, "the string at offset 7 has no end");
    bad("SELECT \"abc", ICE_SYNTAX, "quoted identifier");
    bad("SELECT 1 /* x /* y */", ICE_SYNTAX, "the comment at offset 9");
    bad("SELECT $a$x$b$", ICE_SYNTAX, "the string");
    bad("SELECT (1", ICE_SYNTAX, "closing bracket");
    bad("SELECT (1]", ICE_SYNTAX, "closing bracket");
    bad("SELECT 1)", ICE_SYNTAX, "no closing bracket");
    bad("SELECT $0", ICE_SYNTAX, "numbered from $1");
    bad("SELECT $99999999999", ICE_SYNTAX, "too large");
    bad("INSERT t VALUES (1)", ICE_SYNTAX, "expected INTO");
    bad("INSERT INTO t (a, b) VALUES (1)", ICE_SYNTAX, "1 values for 2 columns");
    bad("INSERT INTO t VALUES (1, 2), (3)", ICE_SYNTAX, "same length");
    bad("INSERT INTO t (a) VALUES (1) foo", ICE_SYNTAX, "the end of the statement");
    bad("INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 1", ICE_SYNTAX, "target");
    bad("INSERT INTO t (a) DEFAULT VALUES", ICE_SYNTAX, "no column list");
    bad("UPDATE t SET a = 1, a = 2", ICE_SYNTAX, "assigned twice");
    bad("UPDATE t SET a = WHERE b", ICE_SYNTAX, "an expression");
    bad("UPDATE t SET a = 1 WHERE", ICE_SYNTAX, "an expression");
    bad("DELETE t", ICE_SYNTAX, "expected FROM");
    bad("UPDATE \"\" SET a = 1", ICE_SYNTAX, "empty");
    bad("UPDATE t SET a = 1 WHERE b = 1; DELETE FROM t", ICE_SYNTAX, "more than one");
    bad("SELECT * FROM t FOR x", ICE_SYNTAX, "UPDATE or SHARE");
    bad("DELETE FROM select", ICE_SYNTAX, "a table name");
}

static void test_bytes(void **state)
{
    ice_stmt s;

    assert_int_equal(ice_sql_parse(arena, (ice_str){"SELECT 1\0;", 10}, &s, &err), ICE_SYNTAX);
    assert_int_equal(ice_sql_parse(arena, ICE_STR("SELECT '\xff'"), &s, &err), ICE_SYNTAX);
    assert_int_equal(ice_sql_parse(arena, ICE_STR_NONE, &s, &err), ICE_SYNTAX);
    is(ok("DELETE FROM \"été\" WHERE \"ключ\" = 'ß'").update.table, "été");
    bad("é", ICE_SYNTAX, "at or near \"é\"");
}

static void test_nesting(void **state)
{
    ice_buf b = {0};
    ice_stmt s;

    for (int depth = 900; depth <= 200000; depth += 199100) {
        ice_buf_clear(&b);
        ice_buf_puts(&b, "DELETE FROM t WHERE ");
        for (int i = 0; i < depth; i++)
            ice_buf_puts(&b, "(");
        ice_buf_puts(&b, "a = 1");
        for (int i = 0; i < depth; i++)
            ice_buf_puts(&b, ")");
        assert_int_equal(ice_sql_parse(arena, ice_buf_str(&b), &s, &err), depth == 900 ? ICE_OK : ICE_SYNTAX);
    }
    assert_non_null(strstr(err.message, "nested deeper"));
    ice_buf_free(&b);
}

/* ---- SELECT ---- */

static void tables(const char *sql, const char *want)
{
    ice_stmt s = ok(sql);
    ice_buf b = {0};

    assert_true(s.tables_known);
    for (size_t i = 0; i < s.ntables; i++) {
        ice_buf_puts(&b, i ? " " : "");
        ice_buf_put_str(&b, s.tables[i]);
    }
    if (!ice_str_eqc(ice_buf_str(&b), want))
        fail_msg("%s: [%.*s]", sql, (int)b.len, b.data ? b.data : "");
    ice_buf_free(&b);
}

static void test_tables(void **state)
{
    tables("SELECT 1", "");
    tables("SELECT * FROM a", "a");
    tables("SELECT * FROM \"a\" INNER JOIN b ON (a.x = b.y), c d LEFT OUTER JOIN \"e\" USING (k)", "a b c e");
    tables("SELECT EXTRACT(year FROM d), substring(s FROM 2) FROM t", "t");
    tables("SELECT (SELECT max(x) FROM u) FROM t WHERE a IN (SELECT b FROM v WHERE c IS DISTINCT FROM d)",
           "u t v");
    tables("SELECT * FROM (SELECT * FROM x) y JOIN (z CROSS JOIN w) ON TRUE", "x z w");
    tables("SELECT * FROM range(5) r, unnest([1, 2]) u, t", "t");
    tables("WITH c AS (SELECT * FROM a) SELECT * FROM c JOIN b ON TRUE", "a b");
    tables("WITH c AS (SELECT * FROM c) SELECT * FROM c", "c"); /* the inner c is the table */
    tables("WITH RECURSIVE c AS (SELECT 1 UNION ALL SELECT * FROM c, d) SELECT * FROM c", "d");
    tables("SELECT * FROM (WITH c AS (SELECT * FROM a) SELECT * FROM c) x, c", "a c");
    tables("SELECT a FROM x UNION ALL SELECT b FROM y ORDER BY 1", "x y");
    tables("SELECT * FROM s.t, t AS q (a, b)", "t");
    tables("FROM t", "t");
    tables("TABLE t", "t");
    tables("SELECT * FROM t, LATERAL (SELECT * FROM u WHERE u.a = t.a) v", "t u");
    tables("SELECT * FROM (VALUES (a, b)) v (x, y), t", "t");
    tables("SELECT 'FROM x' FROM \"a\"\"b\" -- FROM c", "a\"b");
    tables("SELECT * FROM t FOR UPDATE", "t");
    tables("EXPLAIN SELECT * FROM t", "t");
}

static void relations(const char *sql, const char *want)
{
    ice_select s = ok(sql).select;
    ice_buf b = {0};

    for (size_t i = 0; i < s.nrels; i++)
        ice_buf_printf(&b, "%s%.*s:%.*s", i ? " " : "", ICE_PRI(s.rel_tables[i]), ICE_PRI(s.rel_aliases[i]));
    if (!ice_str_eqc(ice_buf_str(&b), want))
        fail_msg("%s: [%.*s]", sql, (int)b.len, b.data ? b.data : "");
    ice_buf_free(&b);
}

static void test_relations(void **state)
{
    relations("SELECT 1", "");
    relations("SELECT * FROM \"a\" INNER JOIN \"b\" ON (\"a\".\"x\" = \"b\".\"y\") LEFT OUTER JOIN \"b\" T3 "
              "ON TRUE FOR UPDATE OF a",
              "a:a b:b b:t3");
    relations(
        "SELECT * FROM a AS x, (b JOIN c d ON TRUE), (SELECT * FROM e) f WHERE x IN (SELECT y FROM g h)",
        "a:x b:b c:d");
    relations("WITH c AS (SELECT * FROM a) SELECT * FROM c, b CROSS JOIN unnest([1]) u", "b:b");
    relations("SELECT (SELECT max(x) FROM z) FROM (a LEFT JOIN (b NATURAL JOIN c) USING (k))", "a:a b:b c:c");
}

static void test_lock(void **state)
{
    ice_stmt s =
        ok("SELECT a FROM t x WHERE a > 1 ORDER BY a LIMIT 5 OFFSET $1 FOR UPDATE OF x, \"Y\" SKIP LOCKED;");

    assert_int_equal(s.kind, ICE_S_SELECT_LOCK);
    is(s.select.text, "SELECT a FROM t x WHERE a > 1 ORDER BY a LIMIT 5 OFFSET $1");
    is(s.select.from_sql, "FROM t x WHERE a > 1");
    is(s.select.order_sql, "ORDER BY a");
    is(s.select.limit_sql, "LIMIT 5 OFFSET $1");
    assert_int_equal(s.select.limit, 5);
    assert_int_equal(s.select.offset, -2);
    assert_true(s.select.skip_locked && !s.select.nowait && !s.select.lock_shared);
    assert_int_equal(s.select.nof, 2);
    is(s.select.of[0], "x");
    is(s.select.of[1], "Y");

    s = ok("SELECT a FROM t FOR NO KEY UPDATE NOWAIT");
    assert_true(s.select.lock && s.select.nowait && !s.select.lock_shared);
    is(s.select.text, "SELECT a FROM t");
    assert_true(ok("SELECT a FROM t FOR SHARE").select.lock_shared);
    assert_true(ok("SELECT a FROM t FOR KEY SHARE").select.lock_shared);

    s = ok("SELECT a FROM t WHERE b FOR UPDATE LIMIT 3");
    is(s.select.text, "SELECT a FROM t WHERE b  LIMIT 3");
    assert_int_equal(s.select.limit, 3);
    assert_true(s.select.simple);

    s = ok("WITH c AS (SELECT 1 AS x) SELECT t.a FROM t, c WHERE t.a = c.x FOR UPDATE OF t");
    is(s.select.with_sql, "WITH c AS (SELECT 1 AS x)");
    is(s.select.from_sql, "FROM t, c WHERE t.a = c.x");
    is(s.select.text, "WITH c AS (SELECT 1 AS x) SELECT t.a FROM t, c WHERE t.a = c.x");

    s = ok("SELECT * FROM u WHERE a IN (SELECT y.a FROM t AS y, v LIMIT 2 FOR SHARE OF y) AND b > 1");
    assert_int_equal(s.kind, ICE_S_SELECT_LOCK);
    assert_true(!s.select.lock && s.nlocks == 1 && s.nkept == 2);
    is(s.text, "SELECT * FROM u WHERE a IN (SELECT y.a FROM \"__ice_kept 0 t\" AS \"y\", \"__ice_kept 1 v\" AS \"v\" LIMIT 2) "
               "AND b > 1");
    is(s.locks[0].text, "SELECT y.a FROM t AS y, v LIMIT 2");
    assert_true(s.locks[0].lock_shared && s.locks[0].limit == 2 && s.locks[0].first_kept == 0);

    /* One within another comes first, and the statement's own last. */
    s = ok("SELECT a FROM t WHERE a IN (SELECT b FROM u WHERE b = ANY(SELECT c FROM v FOR UPDATE) FOR UPDATE NOWAIT) FOR UPDATE");
    assert_true(s.nlocks == 2 && s.nkept == 3 && s.select.first_kept == 2);
    is(s.locks[0].from_sql, "FROM v");
    is(s.locks[1].text, "SELECT b FROM u WHERE b = ANY(SELECT c FROM \"__ice_kept 0 v\" AS \"v\")");
    is(s.select.kept_text, "SELECT a FROM \"__ice_kept 2 t\" AS \"t\" WHERE a IN (SELECT b FROM \"__ice_kept 1 u\" AS \"u\" WHERE b "
                           "= ANY(SELECT c FROM \"__ice_kept 0 v\" AS \"v\"))");
    s = ok("WITH q AS (SELECT a FROM t FOR UPDATE) DELETE FROM u USING q WHERE u.a = q.a");
    assert_true(s.kind == ICE_S_DELETE && s.nlocks == 1);
    is(s.update.with_sql, "WITH q AS (SELECT a FROM \"__ice_kept 0 t\" AS \"t\")");
    bad("SELECT 1 FROM (SELECT * FROM t FOR UPDATE SKIP) x", ICE_SYNTAX, "SKIP");
    bad("SELECT 1 FROM (SELECT a FROM t GROUP BY a FOR UPDATE) x", ICE_UNSUPPORTED, "GROUP BY");
    bad("CREATE VIEW w AS SELECT * FROM (SELECT * FROM t FOR UPDATE) x", ICE_UNSUPPORTED, "FOR UPDATE in");

    assert_int_equal(ok("SELECT substring(a FROM 1 FOR 2) FROM t").kind, ICE_S_SELECT);
    assert_int_equal(ok("SELECT 'FOR UPDATE', \"for\" FROM t").kind, ICE_S_SELECT);
}

static void test_limit(void **state)
{
    assert_int_equal(ok("SELECT a FROM t").select.limit, -1);
    assert_int_equal(ok("SELECT a FROM t").select.offset, 0);
    assert_int_equal(ok("SELECT a FROM t LIMIT $3").select.limit, -4);
    assert_int_equal(ok("SELECT a FROM t LIMIT ALL OFFSET 2").select.offset, 2);
    assert_int_equal(ok("SELECT a, max(b) FROM t GROUP BY a LIMIT 7").select.limit, 7);
    assert_true(ok("SELECT a FROM t LIMIT 1 + 1").select.limit == ICE_SQL_LIMIT_EXPR);
    assert_true(ok("SELECT a FROM t LIMIT -1").select.limit == ICE_SQL_LIMIT_EXPR);
    assert_true(ok("SELECT a FROM t LIMIT 99999999999999999999").select.limit == ICE_SQL_LIMIT_EXPR);
    assert_true(ok("SELECT a FROM t FETCH FIRST 3 ROWS ONLY").select.limit == ICE_SQL_LIMIT_EXPR);
    assert_int_equal(ok("SELECT a FROM t WHERE x IN (SELECT b FROM u LIMIT 1)").select.limit, -1);
}

/* ---- INSERT ---- */

static void test_insert(void **state)
{
    ice_insert in = ok("INSERT INTO \"t\" (\"a\",\"b\") VALUES ($1, DEFAULT), (-2, now()) RETURNING "
                       "\"t\".\"id\", b AS c, a + 1 AS d, f(x)")
                        .insert;

    is(in.table, "t");
    assert_int_equal(in.ncols, 2);
    assert_int_equal(in.nrows, 2);
    assert_int_equal(in.width, 2);
    assert_int_equal(in.values[0].kind, ICE_E_PARAM);
    assert_int_equal(in.values[0].param, 0);
    assert_int_equal(in.values[1].kind, ICE_E_DEFAULT);
    assert_int_equal(in.values[2].kind, ICE_E_CONST);
    assert_int_equal(in.values[2].value.i, -2);
    assert_int_equal(in.values[3].kind, ICE_E_OTHER);
    is(in.values[3].text, "now()");
    assert_true(in.returning && !in.returning_star);
    assert_int_equal(in.nreturning, 4);
    is(in.returning_exprs[0].column, "id");
    is(in.returning_names[0], "id");
    is(in.returning_exprs[1].column, "b");
    is(in.returning_names[1], "c");
    is(in.returning_exprs[2].column, NULL);
    is(in.returning_exprs[2].text, "a + 1");
    is(in.returning_names[2], "d");
    is(in.returning_names[3], NULL);

    in = ok("INSERT INTO t DEFAULT VALUES RETURNING *").insert;
    assert_true(in.default_values && in.returning_star);
    assert_int_equal(in.nrows, 1);
    in = ok("INSERT INTO t VALUES (1, 2, 3)").insert;
    assert_int_equal(in.ncols, 0);
    assert_int_equal(in.width, 3);
    assert_true(ok("INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1)").insert.nrows == 1);
    is(ok("INSERT INTO Foo (BAR) VALUES (1)").insert.cols[0], "bar");
}

static void test_insert_query(void **state)
{
    ice_insert in = ok("INSERT INTO t (a) SELECT x FROM u JOIN v ON u.k = v.k WHERE y ON CONFLICT (a) DO "
                       "NOTHING RETURNING a")
                        .insert;

    is(in.select_sql, "SELECT x FROM u JOIN v ON u.k = v.k WHERE y");
    assert_true(in.on_conflict && in.do_nothing && in.returning);
    assert_int_equal(in.nrows, 0);
    is(ok("INSERT INTO t (SELECT 1)").insert.select_sql, "(SELECT 1)");
    is(ok("INSERT INTO t WITH c AS (SELECT 1) SELECT * FROM c").insert.select_sql,
       "WITH c AS (SELECT 1) SELECT * FROM c");
    is(ok("WITH c AS (SELECT 1) INSERT INTO t (a) SELECT * FROM c RETURNING a").insert.select_sql,
       "WITH c AS (SELECT 1) SELECT * FROM c");
    bad("WITH c AS (SELECT 1) INSERT INTO t WITH d AS (SELECT 2) SELECT * FROM c", ICE_UNSUPPORTED,
        "WITH both");
}

static void test_conflict(void **state)
{
    ice_insert in = ok("INSERT INTO t (a, b) VALUES (1, 2) ON CONFLICT (\"a\", b) WHERE b > 0 DO UPDATE SET "
                       "b = EXCLUDED.b, "
                       "n = \"t\".n + 1, c = EXCLUDED.\"C\", d = excluded.d || 'x', e = $1 WHERE t.b < "
                       "EXCLUDED.b RETURNING *")
                        .insert;

    assert_int_equal(in.nconflict_cols, 2);
    is(in.conflict_cols[0], "a");
    is(in.conflict_where, "b > 0");
    assert_int_equal(in.nset, 5);
    assert_int_equal(in.set_exprs[0].kind, ICE_E_EXCLUDED);
    is(in.set_exprs[0].column, "b");
    is(in.set_exprs[0].text, "EXCLUDED.b");
    assert_int_equal(in.set_exprs[1].kind, ICE_E_ARITH);
    is(in.set_exprs[1].arith->left->column, "n");
    is(in.set_exprs[2].column, "C");
    assert_int_equal(in.set_exprs[3].kind, ICE_E_OTHER);
    assert_int_equal(in.set_exprs[4].kind, ICE_E_PARAM);
    is(in.set_where, "t.b < EXCLUDED.b");
    assert_true(in.returning_star);

    in = ok("INSERT INTO t VALUES (1) ON CONFLICT ON CONSTRAINT \"u\" DO UPDATE SET a = DEFAULT").insert;
    is(in.conflict_constraint, "u");
    assert_int_equal(in.set_exprs[0].kind, ICE_E_DEFAULT);
    in = ok("INSERT INTO t VALUES (1) ON CONFLICT (lower(a)) DO NOTHING").insert;
    assert_int_equal(in.nconflict_cols, 0);
    is(in.conflict_target, "lower(a)");
    in = ok("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING").insert;
    assert_true(in.do_nothing && !in.conflict_target.ptr && !in.conflict_constraint.ptr);
}

/* ---- UPDATE, DELETE, TRUNCATE ---- */

static void test_update(void **state)
{
    ice_update u =
        ok("UPDATE \"t\" AS x SET a = (SELECT max(b) FROM u WHERE u.k IN (1, 2)), c = a IS DISTINCT FROM b, "
           "d = CASE WHEN e THEN 1 ELSE 2 END FROM u, v JOIN w ON v.a = w.a WHERE x.k = u.k RETURNING x.a")
            .update;

    is(u.alias, "x");
    is(u.set_exprs[0].text, "(SELECT max(b) FROM u WHERE u.k IN (1, 2))");
    is(u.set_exprs[1].text, "a IS DISTINCT FROM b");
    is(u.set_exprs[2].text, "CASE WHEN e THEN 1 ELSE 2 END");
    is(u.from_sql, "u, v JOIN w ON v.a = w.a");
    is(u.where_sql, "x.k = u.k");
    assert_false(u.simple_where);
    is(u.returning_exprs[0].column, "a");

    u = ok("UPDATE t SET a = 'it''s', b = $$x'y$$, c = E'a\\'b', d = t.\"where\" -- note\n").update;
    is(u.set_exprs[0].value.s, "it's");
    is(u.set_exprs[1].value.s, "x'y");
    assert_int_equal(u.set_exprs[2].kind, ICE_E_OTHER);
    is(u.set_exprs[2].text, "E'a\\'b'");
    is(u.set_exprs[3].text, "t.\"where\"");
    is(u.where_sql, NULL);

    u = ok("DELETE FROM t USING u, v WHERE t.a = u.a /* x */ RETURNING *").update;
    is(u.from_sql, "u, v");
    is(u.where_sql, "t.a = u.a");
    assert_true(u.returning_star);
    is(ok("DELETE FROM t y WHERE y.a IN (SELECT 1)").update.alias, "y");
    is(ok("UPDATE t SET a=-1").update.set_exprs[0].text, "-1");
}

static void test_truncate(void **state)
{
    ice_stmt s = ok("TRUNCATE TABLE \"a\", b RESTART IDENTITY CASCADE;");

    assert_int_equal(s.drop.n, 2);
    is(s.drop.names[1], "b");
    assert_true(s.drop.restart_identity && s.drop.cascade);
}

/* ---- the rest ---- */

static void test_transactions(void **state)
{
    ice_stmt s = ok("SAVEPOINT \"s1_x2\"");

    assert_int_equal(s.kind, ICE_S_SAVEPOINT);
    is(s.simple.name, "s1_x2");
    s = ok("RELEASE SAVEPOINT a");
    assert_int_equal(s.kind, ICE_S_RELEASE);
    is(s.simple.name, "a");
    is(ok("RELEASE savepoint").simple.name, "savepoint");
    s = ok("ROLLBACK TO SAVEPOINT \"a\"");
    assert_int_equal(s.kind, ICE_S_ROLLBACK_TO);
    is(s.simple.name, "a");
    is(ok("ROLLBACK WORK TO a").simple.name, "a");
    is(ok("BEGIN ISOLATION LEVEL REPEATABLE READ").simple.value, "ISOLATION LEVEL REPEATABLE READ");
    is(ok("BEGIN").simple.value, NULL);
}

static void test_set(void **state)
{
    ice_stmt s = ok("SET TIME ZONE 'Europe/Berlin'");

    is(s.simple.name, "timezone");
    is(s.simple.value, "'Europe/Berlin'");
    s = ok("SET SESSION Statement_Timeout TO 5;");
    is(s.simple.name, "statement_timeout");
    is(s.simple.value, "5");
    is(ok("SET LOCAL a.B = 'x', y").simple.name, "a.b");
    is(ok("SET a TO DEFAULT").simple.value, NULL);
    is(ok("RESET ALL").simple.name, "all");
    s = ok("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    is(s.simple.name, "transaction");
    is(s.simple.value, "ISOLATION LEVEL SERIALIZABLE");
    s = ok("SET CONSTRAINTS ALL DEFERRED");
    assert_false(s.simple.immediate);
    is(s.simple.name, NULL);
    s = ok("SET CONSTRAINTS \"fk\" IMMEDIATE");
    assert_true(s.simple.immediate);
    is(s.simple.name, "fk");
}

/* ---- robustness ---- */

static const char *const corpus[] = {
    "SELECT \"a\".\"id\", \"a\".\"t\" FROM \"a\" WHERE (\"a\".\"id\" = %s AND \"a\".\"x\" IN (%s, 2)) ORDER "
    "BY \"a\".\"id\" ASC LIMIT 21",
    "WITH c AS (SELECT * FROM a), d (x) AS (SELECT [1, {'k': 2}] FROM c) SELECT * FROM c JOIN d USING (k) "
    "FOR UPDATE OF c NOWAIT",
    "WITH q AS (SELECT id FROM a AS b WHERE id = ANY(SELECT x FROM c FOR SHARE) FOR UPDATE OF b SKIP LOCKED LIMIT 2) UPDATE a "
    "SET n = q.id FROM q WHERE a.id = (SELECT [id] FROM q FOR NO KEY UPDATE NOWAIT) RETURNING *",
    "INSERT INTO \"t\" (\"a\",\"b\") VALUES (%s, -1.5), ('x''y', $$z$$) ON CONFLICT (a, lower(b)) DO UPDATE "
    "SET a = EXCLUDED.a RETURNING t.id",
    "UPDATE \"t\" SET \"a\" = %(a)s, \"n\" = (\"t\".\"n\" + %(b)s) FROM u WHERE NOT (\"t\".\"id\" BETWEEN 1 "
    "AND 2) AND \"c\"",
    "CREATE TABLE t (a bigint NOT NULL PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, b varchar(10) DEFAULT "
    "'x' CHECK (b > 'a'), "
    "c numeric(9, 2) REFERENCES u (c) DEFERRABLE, CONSTRAINT n UNIQUE NULLS NOT DISTINCT (a, b) INCLUDE (c))",
    "ALTER TABLE t ALTER COLUMN c TYPE timestamp(6) with time zone USING c::x, DROP COLUMN IF EXISTS d "
    "CASCADE, ADD x date DEFAULT DATE '2020-01-01'",
    "CREATE UNIQUE INDEX i ON t USING btree (a DESC, (lower(b)) ASC NULLS LAST) INCLUDE (c) WHERE a IS NOT "
    "NULL AND b <> 'x'",
    "COMMENT ON COLUMN t.c IS 'it''s'; -- end",
    "SET TIME ZONE 'UTC'",
    "SELECT E'\\'', x'00', 1e5, .5, $t$ $$ $t$, a->>'b' /* c /* d */ */ FROM t AS u WHERE 1 < \"x\" OR y IS "
    "NOT NULL",
    "a >= 0 AND (b IN ('x', 'y') OR NOT c) AND d BETWEEN -1.50 AND 2::numeric(9,2) OR e = DATE '2020-01-01' "
    "AND f <= CAST(1 AS bigint)",
};

/* xorshift: the same mutations in every run. */
static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static size_t mutate(char *text, size_t n, size_t cap, uint64_t *seed)
{
    static const char *const bits[] = {
        "(",  ")",     "'",      "\"",       "$1",     "$$", "--", "/*",       "*/",   ",",
        ";",  " AND ", " FROM ", " SELECT ", "%s",     "E'", "\\", "\xc3\xa9", "\xff", " NOT ",
        "::", "[",     "}",      ".",        " WITH ", "1",  "=",  " NULL ",   "`",    " FOR UPDATE"};
    size_t i = n ? next_random(seed) % n : 0, k = next_random(seed) % 4;
    const char *bit = bits[next_random(seed) % (sizeof bits / sizeof bits[0])];
    size_t len = strlen(bit);

    if (k == 0 && n > 0)
        text[i] = (char)next_random(seed);
    else if (k == 1 && n > 8) {
        size_t cut = 1 + next_random(seed) % 8;

        cut = cut > n - i ? n - i : cut;
        memmove(text + i, text + i + cut, n - i - cut);
        return n - cut;
    } else if (k == 2 && n > 0) {
        return i;
    } else if (n + len <= cap) {
        memmove(text + i + len, text + i, n - i);
        memcpy(text + i, bit, len);
        return n + len;
    }
    return n;
}

static void test_mutations(void **state)
{
    const char *rounds = getenv("ICE_FUZZ_ROUNDS");
    long n = rounds ? atol(rounds) : 20000;
    uint64_t seed = 88172645463325252u;
    char text[2048];

    for (long r = 0; r < n; r++) {
        const char *start = corpus[(size_t)r % (sizeof corpus / sizeof corpus[0])];
        size_t len = strlen(start);

        memcpy(text, start, len);
        for (uint64_t k = next_random(&seed) % 6; k > 0; k--)
            len = mutate(text, len, sizeof text, &seed);
        LLVMFuzzerTestOneInput((const uint8_t *)text, len);
    }
}

/* Every allocation fails once: an error or the same answer, never a crash. */
static void test_no_memory(void **state)
{
    for (size_t i = 0; i < sizeof corpus / sizeof corpus[0]; i++) {
        for (long k = 1;; k++) {
            ice_arena *a;
            ice_sql_text t;
            ice_stmt s;

            ice_fault_arm("base.alloc", k, false);
            a = ice_arena_create();
            if (a && ice_sql_params(a, ice_str_c(corpus[i]), true, &t, &err) == ICE_OK &&
                ice_sql_parse(a, t.sql, &s, &err) == ICE_OK)
                assert_true(s.text.len > 0);
            ice_arena_free(a);
            if (ice_fault_hits() < k)
                break;
        }
        ice_fault_disarm();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_params, setup, teardown),
        cmocka_unit_test_setup_teardown(test_params_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_syntax_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nesting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_insert, setup, teardown),
        cmocka_unit_test_setup_teardown(test_insert_query, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflict, setup, teardown),
        cmocka_unit_test_setup_teardown(test_update, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transactions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_set, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mutations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
