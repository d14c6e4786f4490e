/* RETURNING: plain columns as the rows come; expressions of all rows at the end, by the engine. */
#include "txn/write.h"

/* All of the expressions are plain columns of the table. */
static bool plain(const ice__returning *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (!r->exprs[i].column.ptr || r->exprs[i].kind != ICE_E_OTHER ||
            ice_tabledef_find(r->def, r->exprs[i].column) < 0)
            return false;
    return true;
}

static bool hidden(const ice_column *col)
{
    return ice_str_eqc(col->name, "_row_key");
}

/* RETURNING *: the row without a hidden key. */
static ice_code star_row(const ice__returning *r, const ice_value *row, ice_error *err)
{
    const ice_tabledef *def = r->def;
    size_t n = 0;
    ice_value *shown = ice_arena_array(r->s->scratch, def->ncols + 1, sizeof *shown);
    if (!shown)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < def->ncols; i++)
        if (!hidden(&def->cols[i]))
            shown[n++] = row[i];
    return ice__cursor_row(r->c, shown, err);
}

ice_code ice__returning_open(ice__returning *r, ice_session *s, ice_cursor *c, const ice_tabledef *def,
                             bool star, size_t n, const ice_expr *exprs, const ice_str *names, ice_error *err)
{
    ice_code rc = ICE_OK;
    *r = (ice__returning){.s = s, .c = c, .def = def, .star = star, .n = n, .exprs = exprs};
    if (star) {
        for (size_t i = 0; rc == ICE_OK && i < def->ncols; i++)
            if (!hidden(&def->cols[i]))
                rc = ice__cursor_shows(c, &def->cols[i], def->cols[i].name, err);
        return rc;
    }
    r->by_engine = !plain(r);
    if (r->by_engine)
        rc = ice__pairs_open(&r->rows, def, "n", err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++)
        rc = r->by_engine /* types of expressions are known with the first row; without one they are text */
                 ? ice__cursor_column(c, names[i], (ice_type){.kind = ICE_T_STRING}, ICE_STR("VARCHAR"), err)
                 : ice__cursor_shows(c, &def->cols[ice_tabledef_find(def, exprs[i].column)], names[i], err);
    return rc;
}

void ice__returning_close(ice__returning *r)
{
    ice__pairs_close(&r->rows);
}

ice_code ice__returning_row(ice__returning *r, const ice_value *row, ice_error *err)
{
    ice_value out[64], *values = out;
    if (r->star)
        return star_row(r, row, err);
    if (r->by_engine)
        return ice__pairs_add(&r->rows, r->rows.rows.n, row, NULL, err);
    if (r->n > 64 && !(values = ice_arena_array(r->s->scratch, r->n, sizeof *values)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < r->n; i++)
        values[i] = row[ice_tabledef_find(r->def, r->exprs[i].column)];
    return ice__cursor_row(r->c, values, err);
}

ice_code ice__returning_end(ice__returning *r, ice_error *err)
{
    ice_buf sql = {0};
    ice__rowset rows = {0};
    ice__stview *v = NULL;
    ice_code rc = ICE_OK;
    if (!r->by_engine || r->rows.rows.n == 0)
        return ICE_OK;
    ice__pairs_with(&sql);
    for (size_t i = 0; i < r->n; i++)
        ice_buf_printf(&sql, "%s%.*s", i ? ", " : "SELECT ", ICE_PRI(r->exprs[i].text));
    ice_buf_puts(&sql, " FROM ");
    ice__pairs_side(r->def, 'n', r->def->name, &sql);
    ice_buf_puts(&sql, " ORDER BY __ice_row");
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__stview_open(r->s, 0, &v, err));
    ICE_TRY(ice__collect_over(r->s, v, r->rows.cols, &r->rows.rows, ice_buf_str(&sql), NULL, 0, &rows, err));
    for (size_t k = 0; k < rows.n && rc == ICE_OK; k++) {
        for (size_t i = 0; i < r->n; i++)
            if (!rows.rows[k][i].null)
                r->c->cols[i].type.kind = rows.rows[k][i].kind;
        rc = ice__cursor_row(r->c, rows.rows[k], err);
    }
out:
    ice__stview_unref(v);
    ice_buf_free(&sql);
    ice_arena_free(rows.arena);
    return rc;
}
