/* Values of expressions: parameters and literals as they stand, the rest through the engine; defaults. */
#include <stdlib.h>

#include "txn/write.h"

ice_code ice__eval_sql(ice_session *s, ice__stview *v, ice_str expr, const ice_value *params, size_t n,
                       ice_value *out, ice_error *err)
{
    ice_buf sql = {0};
    ice__rowset rows = {0};
    ice_code rc;
    ice_buf_printf(&sql, "SELECT %.*s", ICE_PRI(expr));
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__collect(s, v, ice_buf_str(&sql), params, n, &rows, err));
    if (rows.n != 1)
        rc = ice_fail(err, ICE_SYNTAX, "the expression %.*s has %zu rows", ICE_PRI(expr), rows.n);
    else
        rc = ice_value_copy(s->scratch, &rows.rows[0][0], out, err);
out:
    ice_buf_free(&sql);
    ice_arena_free(rows.arena);
    return rc;
}

static bool param_matches(const ice_expr *e, const ice_column *col, const ice_value *v)
{
    return !e->cast ||
           (col && e->cast == col->type.kind && (v->null || v->kind == e->cast || v->kind == ICE_T_STRING));
}

/* A parameter or literal; false: the engine has to say. */
bool ice__expr_value(const ice_expr *e, const ice_column *col, const ice_value *params, ice_value *out)
{
    if (e->kind == ICE_E_CONST) {
        *out = e->value;
        return true;
    }
    if (e->kind != ICE_E_PARAM || !param_matches(e, col, &params[e->param]))
        return false;
    *out = params[e->param];
    return true;
}

/* A value made the column's. A time without a zone is local time of the session. */
ice_code ice__coerce(ice_session *s, const ice_column *col, const ice_value *v, ice_value *out,
                     ice_error *err)
{
    ice_value instant;
    bool local = col->type.kind == ICE_T_TIMESTAMPTZ && !v->null &&
                 (v->kind == ICE_T_TIMESTAMP || v->kind == ICE_T_DATE || v->kind == ICE_T_STRING) &&
                 strcmp(s->timezone, "UTC") != 0;
    if (!local)
        return ice_column_coerce(col, s->scratch, v, out, err);
    ice_code rc = ice__eval_sql(s, NULL, ICE_STR("CAST($1 AS TIMESTAMPTZ)"), v, 1, &instant, err);
    return rc == ICE_OK ? ice_column_coerce(col, s->scratch, &instant, out, err) : rc;
}

ice_code ice__default_value(ice_session *s, const ice_column *col, ice_value *out, ice_error *err)
{
    ice_error ignored;
    *out = ICE_NULL;
    if (!col->default_sql.ptr || ice_sql_constant(s->scratch, col->default_sql, out, &ignored) == ICE_OK)
        return ICE_OK;
    return ice__eval_sql(s, NULL, col->default_sql, NULL, 0, out, err);
}
