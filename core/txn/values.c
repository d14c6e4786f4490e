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

ice_code ice__defaults_open(ice__defaults *d, ice_session *s, const ice_tabledef *def, size_t rows, ice_error *err)
{
    *d = (ice__defaults){.s = s, .def = def, .rows = rows, .arena = ice_arena_create()};
    d->cols = d->arena ? ICE_NEW_N(d->arena, struct ice__default, def->ncols + 1) : NULL;
    return d->cols ? ICE_OK : ice_fail_nomem(err);
}

void ice__defaults_close(ice__defaults *d)
{
    for (size_t i = 0; d->cols && i < d->def->ncols; i++) {
        ice_result_close(d->cols[i].result);
        if (d->cols[i].from)
            ice__econn_release(d->cols[i].from);
    }
    ice_arena_free(d->arena);
    *d = (ice__defaults){0};
}

static ice_code start_default(ice__defaults *d, const ice_column *col, struct ice__default *at, ice_error *err)
{
    ice_error ignored;
    ice_buf sql = {0};
    ice_code rc;
    at->known = true;
    at->value = ICE_NULL;
    at->constant =
        !col->default_sql.ptr || ice_sql_constant(d->arena, col->default_sql, &at->value, &ignored) == ICE_OK;
    if (at->constant)
        return ICE_OK;
    ice_buf_printf(&sql, "SELECT (%.*s) FROM range(%zu)", ICE_PRI(col->default_sql), d->rows);
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__econn_get(d->s, NULL, &at->from, err));
    ICE_TRY(ice__econn_run(at->from, ice_buf_str(&sql), NULL, 0, &at->result, err));
out:
    ice_buf_free(&sql);
    return rc;
}

ice_code ice__defaults_next(ice__defaults *d, size_t i, ice_value *out, ice_error *err)
{
    struct ice__default *at = &d->cols[i];
    const ice_column *col = &d->def->cols[i];
    ice_value v;
    ice_code rc = at->known ? ICE_OK : start_default(d, col, at, err);
    if (rc == ICE_OK && !at->constant && at->next == at->n) {
        at->next = 0;
        rc = ice_result_next(at->result, &at->n, err);
    }
    if (rc != ICE_OK)
        return rc;
    if (at->constant)
        v = at->value;
    else
        ice_result_value(at->result, 0, at->next++, &v);
    rc = ice__coerce(d->s, col, &v, out, err);
    return rc == ICE_OK ? ice_value_copy(d->s->scratch, out, out, err) : rc;
}
