/* EXPLAIN: the engine's plan, and below it a line for each table and one for the path. */
#include "txn/txn_int.h"

/* Would the query itself be answered without the engine? Asked by trying. */
static ice_code goes_fast(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v,
                          bool *fast, ice_error *err)
{
    ice_cursor *trial = NULL;
    ice_code rc = ice__cursor_new(s, &trial, err);
    if (rc == ICE_OK)
        rc = ice__fast_select(s, p, params, n, v, trial, fast, err);
    ice_cursor_close(trial);
    return rc;
}

/* JSON and the like are read by programs: nothing is added. A format is named in the options, before the query. */
static bool is_text(ice_str sql)
{
    size_t end = 0;
    while (end < sql.len && sql.ptr[end] != ')' && end < 100)
        end++;
    for (size_t i = 0; i + 6 <= end; i++) {
        if (!ice_str_ieq((ice_str){sql.ptr + i, 6}, ICE_STR("format")) || !memchr(sql.ptr, '(', i))
            continue;
        for (i += 6; i < end && sql.ptr[i] == ' ';)
            i++;
        ice_str rest = {sql.ptr + i, end - i};
        return (rest.len >= 4 && ice_str_ieq((ice_str){rest.ptr, 4}, ICE_STR("text"))) ||
               (rest.len >= 7 && ice_str_ieq((ice_str){rest.ptr, 7}, ICE_STR("compact")));
    }
    return true;
}

static ice_code add_line(ice_cursor *c, const char *key, ice_str text, ice_error *err)
{
    ice_value row[2] = {{.kind = ICE_T_STRING, .s = ice_str_c(key)}, {.kind = ICE_T_STRING, .s = text}};
    return ice__cursor_row(c, row, err);
}

static ice_code add_table(ice_cursor *c, ice__sttable *t, ice_error *err)
{
    ice_view_cost cost;
    ice__econn_cost(c->econn, t, &cost);
    char *text =
        ice_arena_printf(c->arena, "%s: rows=%llu files=%llu/%llu", t->name, (unsigned long long)cost.rows,
                         (unsigned long long)cost.files_read, (unsigned long long)cost.files_total);
    return text ? add_line(c, "table", ice_str_c(text), err) : ice_fail_nomem(err);
}

/* The engine's rows become the cursor's own. */
static ice_code take_plan(ice_cursor *c, ice_error *err)
{
    size_t count;
    ice_code rc;
    c->rows = NULL;
    do {
        ICE_TRY(ice_result_next(c->result, &count, err));
        for (size_t i = 0; i < count; i++) {
            ice_value row[2];
            for (size_t k = 0; k < 2; k++)
                ice_result_value(c->result, k, i, &row[k]);
            ICE_TRY(ice__cursor_row(c, row, err));
        }
    } while (count);
out:
    return rc;
}

static ice_code keep_columns(ice_cursor *c, ice_error *err)
{
    const ice_result_column *cols = c->cols;
    size_t n = c->ncols;
    ice_code rc = ICE_OK;
    c->cols = NULL;
    c->ncols = 0;
    for (size_t i = 0; i < n && rc == ICE_OK; i++)
        rc = ice__cursor_column(c, cols[i].name, cols[i].type, cols[i].duck_type, err);
    return rc;
}

ice_code ice__run_explain(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v,
                          ice_cursor *c, bool may_be_fast, ice_error *err)
{
    const ice_stmt *st = &p->stmt;
    bool fast = false;
    ice_code rc;
    /* A locking query is explained without its locks. */
    ICE_TRY(ice__run_select(s, p, st->select.lock ? st->select.text : st->text, params, n, v, c, err));
    if (c->ncols != 2 || !is_text(st->text))
        return ICE_OK;
    if (may_be_fast)
        ICE_TRY(goes_fast(s, p, params, n, v, &fast, err));
    ICE_TRY(keep_columns(c, err));
    ICE_TRY(take_plan(c, err));
    for (size_t i = 0; i < v->n; i++)
        if (!ice_tabledef_is_view(v->tables[i]->view.state->def))
            ICE_TRY(add_table(c, v->tables[i], err));
    ICE_TRY(add_line(c, "path", fast ? ICE_STR("path=fast") : ICE_STR("path=engine"), err));
    c->rowcount = (int64_t)c->nrows;
    ice_result_close(c->result);
    c->result = NULL;
    ice__econn_release(c->econn);
    c->econn = NULL;
out:
    return rc;
}
