/* The fast path: look-ups by a key on the row store and the key indexes, without the engine. What it does not recognise with certainty
 * it leaves to the engine; both give the same answer (tests/python/test_fast_path.py runs every statement both ways). */
#include <stdlib.h>

#include "txn/txn_int.h"

/* Is a value of this kind compared with the column as the engine would, after an exact conversion? */
static bool comparable(const ice_column *col, const ice_value *v)
{
    if (v->null)
        return true;
    switch (col->type.kind) {
    case ICE_T_INT:
    case ICE_T_LONG:
        return v->kind == ICE_T_INT || v->kind == ICE_T_LONG;
    case ICE_T_DECIMAL:
        return v->kind == ICE_T_INT || v->kind == ICE_T_LONG || v->kind == ICE_T_DECIMAL;
    case ICE_T_UUID:
        return v->kind == ICE_T_UUID;
    case ICE_T_STRING:
        return v->kind == ICE_T_STRING && !col->collation.ptr && !ice_str_eqc(col->sql_type, "jsonb") && !ice_str_eqc(col->sql_type, "json") &&
               memcmp(col->sql_type.ptr, "char", col->sql_type.len < 4 ? col->sql_type.len : 4) != 0;
    case ICE_T_FLOAT:
        return false;
    default:
        return v->kind == col->type.kind;
    }
}

/* A condition with its column and argument values in hand. */
typedef struct cond {
    int col;
    ice_cmp op;
    size_t n;
    ice_value *args; /* none of them NULL */
} cond;

static bool bind_cond(ice_session *s, const ice_tabledef *def, const ice_cond *c, const ice_value *params, cond *out)
{
    out->col = ice_tabledef_find(def, c->column);
    out->op = c->op;
    out->n = 0;
    if (out->col < 0)
        return false;
    const ice_column *col = &def->cols[out->col];
    if (c->bare && col->type.kind != ICE_T_BOOL)
        return false;
    if (!(out->args = ice_arena_array(s->scratch, c->nargs + 1, sizeof *out->args)))
        return false;
    for (size_t i = 0; i < c->nargs; i++) {
        ice_value v;
        if (!ice__expr_value(&c->args[i], col, params, &v) || !comparable(col, &v))
            return false;
        if (!v.null)
            out->args[out->n++] = v;
    }
    return true;
}

static bool one_of(const cond *c, const ice_value *v)
{
    for (size_t i = 0; i < c->n; i++)
        if (ice_value_cmp(v, &c->args[i]) == 0)
            return true;
    return false;
}

static bool holds(const cond *c, const ice_value *v)
{
    if (c->op == ICE_CMP_IS_NULL || c->op == ICE_CMP_NOT_NULL)
        return v->null == (c->op == ICE_CMP_IS_NULL);
    if (v->null || c->n == 0)
        return false;
    int cmp = ice_value_cmp(v, &c->args[0]);
    switch (c->op) {
    case ICE_CMP_EQ:
        return cmp == 0;
    case ICE_CMP_NE:
        return cmp != 0;
    case ICE_CMP_LT:
        return cmp < 0;
    case ICE_CMP_LE:
        return cmp <= 0;
    case ICE_CMP_GT:
        return cmp > 0;
    case ICE_CMP_GE:
        return cmp >= 0;
    default:
        return one_of(c, v);
    }
}

/* Condition that gives column `col` its value(s): EQ, or IN when it is the key's only column. */
static const cond *cond_for(const cond *conds, size_t n, int col, bool only)
{
    for (size_t i = 0; i < n; i++)
        if (conds[i].col == col && (conds[i].op == ICE_CMP_EQ || (only && conds[i].op == ICE_CMP_IN)))
            return &conds[i];
    return NULL;
}

static int choose_key(const ice_keys *keys, const cond *conds, size_t n)
{
    int best = -1;
    for (size_t k = 0; k < keys->n; k++) {
        const ice_key *key = &keys->keys[k];
        size_t covered = 0;
        for (size_t c = 0; c < key->ncols; c++)
            covered += cond_for(conds, n, key->cols[c], key->ncols == 1) != NULL;
        if (covered == key->ncols && (best < 0 || (key->unique && !keys->keys[best].unique)))
            best = (int)k;
    }
    return best;
}

static ice_code keep_row(ice_session *s, ice__rows *out, const ice_row *row, ice_value *values, ice_error *err)
{
    if (out->n == out->cap) {
        size_t cap = out->cap ? out->cap * 2 : 8;
        ice_row *rows = ice_arena_array(s->scratch, cap, sizeof *rows);
        ice_value **vals = ice_arena_array(s->scratch, cap, sizeof *vals);
        if (!rows || !vals)
            return ice_fail_nomem(err);
        if (out->n) {
            memcpy(rows, out->rows, out->n * sizeof *rows);
            memcpy(vals, out->values, out->n * sizeof *vals);
        }
        out->rows = rows;
        out->values = vals;
        out->cap = cap;
    }
    out->rows[out->n] = *row;
    out->values[out->n++] = values;
    return ICE_OK;
}

/* Rows of one key value that meet all conditions. */
static ice_code look_up(ice_session *s, ice_view *view, size_t key, const ice_value *values, const cond *conds, size_t n, ice__rows *out,
                        ice_error *err)
{
    const ice_tabledef *def = view->state->def;
    ice_row *rows;
    size_t found = 0;
    ice_code rc = ice_view_find(view, key, values, s->scratch, &rows, &found, err);
    if (rc != ICE_OK || found == 0)
        return rc;
    ice_value *all = ice_arena_array(s->scratch, found * def->ncols, sizeof *all);
    if (!all)
        return ice_fail_nomem(err);
    if ((rc = ice_view_rows(view, rows, found, def->cols, def->ncols, s->scratch, all, err)) != ICE_OK)
        return rc;
    for (size_t r = 0; rc == ICE_OK && r < found; r++) {
        ice_value *row = all + r * def->ncols;
        bool ok = true;
        for (size_t i = 0; i < n && ok; i++)
            ok = holds(&conds[i], &row[conds[i].col]);
        if (ok)
            rc = keep_row(s, out, &rows[r], row, err);
    }
    return rc;
}

ice_code ice__fast_rows(ice_session *s, ice_view *view, const ice_cond *conds, size_t n, const ice_value *params, ice__rows *out, bool *ok,
                        ice_error *err)
{
    const ice_tabledef *def = view->state->def;
    cond bound[16];
    ice_value values[16];
    *ok = false;
    if (n == 0 || n > 16 || view->mode != ICE_VIEW_CURRENT)
        return ICE_OK;
    for (size_t i = 0; i < n; i++)
        if (!bind_cond(s, def, &conds[i], params, &bound[i]))
            return ICE_OK;
    int k = choose_key(&view->state->keys, bound, n);
    if (k < 0 || view->state->keys.keys[k].ncols > 16)
        return ICE_OK;
    const ice_key *key = &view->state->keys.keys[k];
    *ok = true;
    const cond *first = cond_for(bound, n, key->cols[0], key->ncols == 1);
    for (size_t i = 0; i < first->n; i++) {
        bool repeated = false, null = false;
        for (size_t j = 0; j < i && !repeated; j++)
            repeated = ice_value_cmp(&first->args[j], &first->args[i]) == 0;
        for (size_t c = 0; c < key->ncols && !repeated; c++) {
            const cond *at = c == 0 ? first : cond_for(bound, n, key->cols[c], false);
            null |= at->n == 0;
            if (at->n)
                values[c] = at->args[c == 0 ? i : 0];
        }
        if (repeated || null)
            continue;
        /* Values take the column's own type: what does not fit it equals none of its rows. */
        ice_error ignored;
        bool fits = true;
        for (size_t c = 0; c < key->ncols && fits; c++) {
            ice_value v;
            fits = ice_value_cast(s->scratch, &values[c], def->cols[key->cols[c]].type, &v, &ignored) == ICE_OK &&
                   ice_value_cmp(&v, &values[c]) == 0;
            if (fits)
                values[c] = v;
        }
        ice_code rc = fits ? look_up(s, view, (size_t)k, values, bound, n, out, err) : ICE_OK;
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* ---- SELECT ---- */

typedef struct sort_by {
    size_t n;
    int cols[8];
    bool desc[8];
} sort_by;

/* PostgreSQL's order: NULLs after everything ascending, before everything descending. */
static int row_order(const void *a, const void *b, void *arg)
{
    const sort_by *o = arg;
    const ice_value *x = *(ice_value *const *)a, *y = *(ice_value *const *)b;
    for (size_t i = 0; i < o->n; i++) {
        const ice_value *u = &x[o->cols[i]], *v = &y[o->cols[i]];
        int cmp = u->null || v->null ? u->null - v->null : ice_value_cmp(u, v);
        if (cmp)
            return o->desc[i] ? -cmp : cmp;
    }
    return 0;
}

static bool plan_order(const ice_tabledef *def, const ice_select *sel, sort_by *o)
{
    o->n = sel->norder;
    if (o->n > 8)
        return false;
    for (size_t i = 0; i < o->n; i++) {
        o->cols[i] = ice_tabledef_find(def, sel->order_cols[i]);
        o->desc[i] = sel->order_desc[i];
        if (o->cols[i] < 0 || def->cols[o->cols[i]].collation.ptr)
            return false;
    }
    return true;
}

static bool bound_count(int64_t spec, const ice_value *params, int64_t absent, int64_t *out)
{
    *out = spec;
    if (spec == absent)
        return true;
    if (spec == ICE_SQL_LIMIT_EXPR)
        return false;
    if (spec <= -2) {
        const ice_value *v = &params[-2 - spec];
        if (v->null || (v->kind != ICE_T_INT && v->kind != ICE_T_LONG) || v->i < 0)
            return false;
        *out = v->i;
    }
    return true;
}

static ice_code one_number(ice_cursor *c, const ice_select *sel, int64_t value, ice_kind kind, ice_error *err)
{
    ice_value v = {.kind = (uint8_t)kind, .i = value};
    ice_str name = sel->ncols ? sel->names[0] : ICE_STR("count_star()");
    ice_code rc = ICE_OK;
    if (c->ncols == 0)
        rc = ice__cursor_column(c, name, (ice_type){.kind = (uint8_t)kind}, kind == ICE_T_LONG ? ICE_STR("BIGINT") : ICE_STR("INTEGER"), err);
    return rc == ICE_OK ? ice__cursor_row(c, &v, err) : rc;
}

static ice_code output_columns(ice_cursor *c, const ice_tabledef *def, const ice_select *sel, int *at, ice_error *err)
{
    ice_code rc = ICE_OK;
    size_t n = sel->star ? def->ncols : sel->ncols;
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        const ice_column *col = &def->cols[at[i]];
        ice_buf duck = {0};
        ice_duck_type(col, &duck);
        rc = ice__cursor_column(c, sel->star ? col->name : sel->names[i], col->type, ice_buf_str(&duck), err);
        ice_buf_free(&duck);
    }
    return rc;
}

static ice_code output_rows(ice_session *s, ice_cursor *c, const ice_tabledef *def, const ice_select *sel, ice__rows *found, int64_t from,
                            int64_t to, bool *done, ice_error *err)
{
    ice_code rc;
    if (sel->exists_one) {
        for (int64_t i = from; i < to; i++)
            if ((rc = one_number(c, sel, 1, ICE_T_INT, err)) != ICE_OK)
                return rc;
        if (from >= to) {
            rc = one_number(c, sel, 1, ICE_T_INT, err);
            c->nrows = 0;
            return rc;
        }
        return ICE_OK;
    }
    size_t n = sel->star ? def->ncols : sel->ncols;
    int *at = ice_arena_array(s->scratch, n + 1, sizeof *at);
    ice_value *row = ice_arena_array(s->scratch, n + 1, sizeof *row);
    if (!at || !row)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        at[i] = sel->star ? (int)i : ice_tabledef_find(def, sel->cols[i]);
        if (at[i] < 0) {
            *done = false;
            return ICE_OK;
        }
    }
    if ((rc = output_columns(c, def, sel, at, err)) != ICE_OK)
        return rc;
    for (int64_t r = from; r < to && rc == ICE_OK; r++) {
        for (size_t i = 0; i < n; i++)
            row[i] = found->values[r][at[i]];
        rc = ice__cursor_row(c, row, err);
    }
    return rc;
}

ice_code ice__fast_select(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v, ice_cursor *c, bool *done,
                          ice_error *err)
{
    const ice_select *sel = &p->stmt.select;
    ice_view *view = NULL;
    ice__rows found = {0};
    sort_by order = {0};
    int64_t limit, offset;
    uint64_t count;
    (void)n;
    *done = false;
    if (!sel->simple || p->stmt.explain || !bound_count(sel->limit, params, -1, &limit) || !bound_count(sel->offset, params, 0, &offset))
        return ICE_OK;
    ice_code rc = ice__stview_table(v, sel->table, &view, err);
    if (rc != ICE_OK || !view || view->mode != ICE_VIEW_CURRENT)
        return rc;
    const ice_tabledef *def = view->state->def;
    if (sel->count_star && sel->nconds == 0 && sel->norder == 0 && limit == -1 && offset == 0) {
        if ((rc = ice_view_count(view, &count, err)) != ICE_OK)
            return rc;
        *done = true;
        c->path = "fast";
        rc = one_number(c, sel, (int64_t)count, ICE_T_LONG, err);
        c->rowcount = 1;
        return rc;
    }
    if (!plan_order(def, sel, &order))
        return ICE_OK;
    if ((rc = ice__fast_rows(s, view, sel->conds, sel->nconds, params, &found, done, err)) != ICE_OK || !*done)
        return rc;
    c->path = "fast";
    if (sel->count_star) {
        if (limit != -1 || offset != 0) {
            *done = false;
            return ICE_OK;
        }
        rc = one_number(c, sel, (int64_t)found.n, ICE_T_LONG, err);
    } else {
        if (order.n && found.n > 1)
            qsort_r(found.values, found.n, sizeof *found.values, row_order, &order);
        int64_t from = offset < (int64_t)found.n ? offset : (int64_t)found.n;
        int64_t to = limit < 0 || limit > (int64_t)found.n - from ? (int64_t)found.n : from + limit;
        rc = output_rows(s, c, def, sel, &found, from, to, done, err);
    }
    c->rowcount = (int64_t)c->nrows;
    return rc;
}
