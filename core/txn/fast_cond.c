/* Conditions of the fast path: what they say of a row, and which values of a key they name. */
#include "txn/fast_int.h"

bool ice__fast_comparable(const ice_column *col, const ice_value *v)
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
        return v->kind == ICE_T_STRING && !col->collation.ptr && !ice_str_eqc(col->sql_type, "jsonb") &&
               !ice_str_eqc(col->sql_type, "json") &&
               memcmp(col->sql_type.ptr, "char", col->sql_type.len < 4 ? col->sql_type.len : 4) != 0;
    case ICE_T_FLOAT:
        return false;
    default:
        return v->kind == col->type.kind;
    }
}

bool ice__fcond_bind(ice_session *s, const ice_tabledef *def, const ice_cond *c, const ice_value *params,
                     ice__fcond *out)
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
        if (!ice__expr_value(&c->args[i], col, params, &v) || !ice__fast_comparable(col, &v))
            return false;
        if (!v.null)
            out->args[out->n++] = v;
    }
    return true;
}

static bool one_of(const ice__fcond *c, const ice_value *v)
{
    for (size_t i = 0; i < c->n; i++)
        if (ice_value_cmp(v, &c->args[i]) == 0)
            return true;
    return false;
}

bool ice__fcond_holds(const ice__fcond *c, const ice_value *v)
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
static const ice__fcond *cond_for(const ice__fcond *conds, size_t n, int col, bool only)
{
    for (size_t i = 0; i < n; i++)
        if (conds[i].col == col && (conds[i].op == ICE_CMP_EQ || (only && conds[i].op == ICE_CMP_IN)))
            return &conds[i];
    return NULL;
}

int ice__fcond_key(const ice_keys *keys, const ice__fcond *conds, size_t n)
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

static ice_code keep_row(ice_session *s, ice__rows *out, const ice_row *row, ice_value *values,
                         ice_error *err)
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
static ice_code look_up(ice_session *s, ice_view *view, size_t key, const ice_value *values,
                        const ice__fcond *conds, size_t n, ice__rows *out, ice_error *err)
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
            ok = ice__fcond_holds(&conds[i], &row[conds[i].col]);
        if (ok)
            rc = keep_row(s, out, &rows[r], row, err);
    }
    return rc;
}

void ice__key_walk_start(ice__key_walk *w, ice_session *s, const ice_view *view, size_t k,
                         const ice__fcond *conds, size_t n)
{
    const ice_key *key = &view->state->keys.keys[k];
    *w = (ice__key_walk){.s = s, .def = view->state->def, .key = key, .conds = conds, .n = n};
    w->first = cond_for(conds, n, key->cols[0], key->ncols == 1);
}

static bool repeated(const ice__key_walk *w)
{
    for (size_t j = 0; j < w->at; j++)
        if (ice_value_cmp(&w->first->args[j], &w->first->args[w->at]) == 0)
            return true;
    return false;
}

/* Values take the column's own type: what does not fit it equals none of its rows. */
static bool fits(ice__key_walk *w, ice_value *values)
{
    ice_error ignored;
    for (size_t c = 0; c < w->key->ncols; c++) {
        const ice__fcond *at = c == 0 ? w->first : cond_for(w->conds, w->n, w->key->cols[c], false);
        ice_value *arg = at->n ? &at->args[c == 0 ? w->at : 0] : NULL;
        if (!arg ||
            ice_value_cast(w->s->scratch, arg, w->def->cols[w->key->cols[c]].type, &values[c], &ignored) !=
                ICE_OK ||
            ice_value_cmp(&values[c], arg) != 0)
            return false;
    }
    return true;
}

bool ice__key_walk_next(ice__key_walk *w, ice_value *values)
{
    for (; w->at < w->first->n; w->at++)
        if (!repeated(w) && fits(w, values)) {
            w->at++;
            return true;
        }
    return false;
}

ice_code ice__fast_rows(ice_session *s, ice_view *view, const ice_cond *conds, size_t n,
                        const ice_value *params, ice__rows *out, bool *ok, ice_error *err)
{
    const ice_tabledef *def = view->state->def;
    ice__fcond bound[ICE__FAST_CONDS];
    ice_value values[ICE__FAST_CONDS];
    ice__key_walk w;
    *ok = false;
    if (n == 0 || n > ICE__FAST_CONDS || view->mode != ICE_VIEW_CURRENT)
        return ICE_OK;
    for (size_t i = 0; i < n; i++)
        if (!ice__fcond_bind(s, def, &conds[i], params, &bound[i]))
            return ICE_OK;
    int k = ice__fcond_key(&view->state->keys, bound, n);
    if (k < 0 || view->state->keys.keys[k].ncols > ICE__FAST_CONDS)
        return ICE_OK;
    *ok = true;
    for (ice__key_walk_start(&w, s, view, (size_t)k, bound, n); ice__key_walk_next(&w, values);) {
        ice_code rc = look_up(s, view, (size_t)k, values, bound, n, out, err);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}
