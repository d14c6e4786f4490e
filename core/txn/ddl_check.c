/* Do the rows of a table meet a constraint that it did not have? */
#include "txn/ddl.h"
#include "txn/write.h"

/* Fails with `code` when the query, run with the transaction's own changes, yields a row. */
static ice_code expect_none(ice_session *s, const ice_buf *sql, ice_code code, const ice_tabledef *def,
                            ice_str con, const char *what, ice_error *err)
{
    ice__stview *v = NULL;
    ice__rowset rows = {0};
    ice_code rc;
    ICE_TRY(ice_buf_check(sql, err));
    ICE_TRY(ice__stview_open(s, 0, &v, err));
    ICE_TRY(ice__collect(s, v, ice_buf_str(sql), NULL, 0, &rows, err));
    if (rows.n > 0) {
        rc = ice_fail(err, code, "%s \"%.*s\" of relation \"%.*s\" is violated by some row", what,
                      ICE_PRI(con), ICE_PRI(def->name));
        ice_error_object(err, def->name.ptr, con.ptr);
    }
out:
    ice__stview_unref(v);
    ice_arena_free(rows.arena);
    return rc;
}

static void put_columns(ice_buf *b, const ice_tabledef *def, const int32_t *ids, size_t n, const char *prefix)
{
    for (size_t i = 0; i < n; i++) {
        int at = ice_tabledef_find_id(def, ids[i]);
        ice_buf_printf(b, "%s%s", i ? ", " : "", prefix);
        ice_buf_put_ident(b, def->cols[at].name);
    }
}

ice_code ice__check_unique(ice_session *s, const ice_tabledef *def, const ice_constraint *con, ice_error *err)
{
    ice_buf sql = {0}, cols = {0};
    if (con->expr_sql.ptr)
        ice_buf_put_str(&cols, con->expr_sql);
    for (size_t i = 0; !con->expr_sql.ptr && i < con->ncols; i++) {
        ice_buf_puts(&cols, i ? ", " : "");
        ice__put_compared(&cols, &def->cols[ice_tabledef_find_id(def, con->field_ids[i])]);
    }
    ice_buf_puts(&sql, "SELECT 1 FROM ");
    ice_buf_put_ident(&sql, def->name);
    ice_buf_printf(&sql, " WHERE (%.*s)", ICE_PRI(con->where_sql.ptr ? con->where_sql : ICE_STR("TRUE")));
    for (size_t i = 0; i < con->ncols && !con->nulls_not_distinct && !con->expr_sql.ptr; i++) {
        ice_buf_puts(&sql, " AND ");
        put_columns(&sql, def, &con->field_ids[i], 1, "");
        ice_buf_puts(&sql, " IS NOT NULL");
    }
    ice_buf_printf(&sql, " GROUP BY %.*s HAVING count(*) > 1 LIMIT 1", (int)cols.len, cols.data);
    ice_code rc = expect_none(s, &sql, ICE_UNIQUE, def, con->name, "unique constraint", err);
    ice_buf_free(&sql);
    ice_buf_free(&cols);
    return rc;
}

ice_code ice__check_check(ice_session *s, const ice_tabledef *def, const ice_constraint *con, ice_error *err)
{
    ice_buf sql = {0};
    ice_buf_puts(&sql, "SELECT 1 FROM ");
    ice_buf_put_ident(&sql, def->name);
    ice_buf_printf(&sql, " WHERE (%.*s) IS FALSE LIMIT 1", ICE_PRI(con->check_sql));
    ice_code rc = expect_none(s, &sql, ICE_CHECK, def, con->name, "check constraint", err);
    ice_buf_free(&sql);
    return rc;
}

ice_code ice__check_foreign(ice_session *s, const ice_tabledef *def, const ice_constraint *con,
                            const ice_tabledef *parent, ice_error *err)
{
    ice_buf sql = {0};
    ice_buf_puts(&sql, "SELECT 1 FROM ");
    ice_buf_put_ident(&sql, def->name);
    ice_buf_puts(&sql, " AS c WHERE ");
    for (size_t i = 0; i < con->ncols; i++) {
        ice_buf_puts(&sql, i ? " AND " : "");
        put_columns(&sql, def, &con->field_ids[i], 1, "c.");
        ice_buf_puts(&sql, " IS NOT NULL");
    }
    ice_buf_puts(&sql, " AND NOT EXISTS (SELECT 1 FROM ");
    ice_buf_put_ident(&sql, parent->name);
    ice_buf_puts(&sql, " AS p WHERE ");
    for (size_t i = 0; i < con->ncols; i++) {
        ice_buf_puts(&sql, i ? " AND " : "");
        put_columns(&sql, parent, &con->ref_field_ids[i], 1, "p.");
        ice_buf_puts(&sql, " = ");
        put_columns(&sql, def, &con->field_ids[i], 1, "c.");
    }
    ice_buf_puts(&sql, ") LIMIT 1");
    ice_code rc = expect_none(s, &sql, ICE_FOREIGN_KEY, def, con->name, "foreign key constraint", err);
    ice_buf_free(&sql);
    return rc;
}

ice_code ice__check_not_null(ice_session *s, const ice_tabledef *def, ice_str column, ice_error *err)
{
    ice_buf sql = {0};
    ice_buf_puts(&sql, "SELECT 1 FROM ");
    ice_buf_put_ident(&sql, def->name);
    ice_buf_puts(&sql, " WHERE ");
    ice_buf_put_ident(&sql, column);
    ice_buf_puts(&sql, " IS NULL LIMIT 1");
    ice_code rc = expect_none(s, &sql, ICE_NOT_NULL, def, column, "not-null constraint on column", err);
    ice_buf_free(&sql);
    return rc;
}

ice_code ice__has_rows(ice_session *s, ice_str table, bool *any, ice_error *err)
{
    ice__stview *v = NULL;
    ice_view *view = NULL;
    uint64_t n = 0;
    ice_code rc = ice__stview_open(s, 0, &v, err);
    if (rc == ICE_OK)
        rc = ice__stview_need(v, table, &view, err);
    if (rc == ICE_OK)
        rc = ice_view_count(view, &n, err);
    ice__stview_unref(v);
    *any = n > 0;
    return rc;
}

ice_code ice__check_collation(ice_session *s, const ice_column *col, ice_error *err)
{
    ice_buf sql = {0};
    ice_value v;
    if (!ice_column_collated(col))
        return ICE_OK;
    if (col->type.kind != ICE_T_STRING)
        return ice_fail(err, ICE_SYNTAX, "collations are not supported by type %.*s", ICE_PRI(col->sql_type));
    ice_buf_puts(&sql, "'' COLLATE ");
    ice_buf_put_ident(&sql, col->collation);
    ice_code rc = ice_buf_check(&sql, err);
    if (rc == ICE_OK && ice__eval_sql(s, NULL, ice_buf_str(&sql), NULL, 0, &v, err) != ICE_OK)
        rc = ice_fail(err, ICE_NO_OBJECT, "collation \"%.*s\" does not exist", ICE_PRI(col->collation));
    ice_buf_free(&sql);
    return rc;
}
