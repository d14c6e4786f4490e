/* The fast path: look-ups by a key on the row store and the key indexes, and the first rows in the order of a
 * key, without the engine. What it does not recognise with certainty it leaves to the engine; both give the
 * same answer (tests/python/test_fast_path.py runs every statement both ways). */
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
        return v->kind == ICE_T_STRING && !col->collation.ptr && !ice_str_eqc(col->sql_type, "jsonb") &&
               !ice_str_eqc(col->sql_type, "json") &&
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

static bool bind_cond(ice_session *s, const ice_tabledef *def, const ice_cond *c, const ice_value *params,
                      cond *out)
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
                        const cond *conds, size_t n, ice__rows *out, ice_error *err)
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

/* The values of a key that the conditions name, one set after another: one for EQ on every column, one for
 * each of an IN list. */
typedef struct key_walk {
    ice_session *s;
    const ice_tabledef *def;
    const ice_key *key;
    const cond *conds;
    size_t n, at;
    const cond *first;
} key_walk;

static void walk_start(key_walk *w, ice_session *s, const ice_view *view, size_t k, const cond *conds,
                       size_t n)
{
    const ice_key *key = &view->state->keys.keys[k];
    *w = (key_walk){.s = s, .def = view->state->def, .key = key, .conds = conds, .n = n};
    w->first = cond_for(conds, n, key->cols[0], key->ncols == 1);
}

static bool repeated(const key_walk *w)
{
    for (size_t j = 0; j < w->at; j++)
        if (ice_value_cmp(&w->first->args[j], &w->first->args[w->at]) == 0)
            return true;
    return false;
}

/* Values take the column's own type: what does not fit it equals none of its rows. */
static bool fits(key_walk *w, ice_value *values)
{
    ice_error ignored;
    for (size_t c = 0; c < w->key->ncols; c++) {
        const cond *at = c == 0 ? w->first : cond_for(w->conds, w->n, w->key->cols[c], false);
        ice_value *arg = at->n ? &at->args[c == 0 ? w->at : 0] : NULL;
        if (!arg ||
            ice_value_cast(w->s->scratch, arg, w->def->cols[w->key->cols[c]].type, &values[c], &ignored) !=
                ICE_OK ||
            ice_value_cmp(&values[c], arg) != 0)
            return false;
    }
    return true;
}

static bool walk_next(key_walk *w, ice_value *values)
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
    cond bound[16];
    ice_value values[16];
    key_walk w;
    *ok = false;
    if (n == 0 || n > 16 || view->mode != ICE_VIEW_CURRENT)
        return ICE_OK;
    for (size_t i = 0; i < n; i++)
        if (!bind_cond(s, def, &conds[i], params, &bound[i]))
            return ICE_OK;
    int k = choose_key(&view->state->keys, bound, n);
    if (k < 0 || view->state->keys.keys[k].ncols > 16)
        return ICE_OK;
    *ok = true;
    for (walk_start(&w, s, view, (size_t)k, bound, n); walk_next(&w, values);) {
        ice_code rc = look_up(s, view, (size_t)k, values, bound, n, out, err);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* ---- SELECT ---- */

enum { MAX_RELS = 8, MAX_CONDS = 16, MAX_ORDER = 8, SLICE = 64, MANY_JOINED = 4096 };

/* A column of one of the statement's relations, both as positions. */
typedef struct place {
    int rel, col;
} place;

/* A relation: the first is found by a key, each other by the key that its ON names, from columns of relations
 * before it. */
typedef struct rel {
    ice_view *view;
    const ice_tabledef *def;
    bool left;
    size_t key, nkey;
    place from[MAX_CONDS];
    uint8_t *wanted; /* by column position */
    size_t nneed;    /* the columns read, and where they go in a row */
    ice_column *need;
    int *need_at;
    ice_value *none; /* the row of NULLs of an outer join */
} rel;

typedef struct fast_plan {
    ice_session *s;
    const ice_value *params;
    size_t nrels, nconds, nout, norder;
    rel rels[MAX_RELS];
    cond conds[MAX_CONDS];
    int cond_rel[MAX_CONDS];
    place *out;
    const ice_str *names;
    place order[MAX_ORDER];
    bool desc[MAX_ORDER];
    int64_t limit, offset; /* limit -1: all */
    bool walked; /* rows come in the order asked for, but (`ties`) for those of one value of its first column
                  */
    bool ties;
    size_t n, cap;
    ice_value ***tuples; /* each: one row of values for each relation */
} fast_plan;

static bool bind_place(fast_plan *f, int r, ice_str column, place *out)
{
    out->rel = r;
    out->col = ice_tabledef_find(f->rels[r].def, column);
    if (out->col < 0)
        return false;
    f->rels[r].wanted[out->col] = 1;
    return true;
}

static bool bind_where(fast_plan *f, const ice_cond *conds, const int *rels, size_t n)
{
    if (n > MAX_CONDS)
        return false;
    for (size_t i = 0; i < n; i++) {
        int r = rels ? rels[i] : 0;
        if (!bind_cond(f->s, f->rels[r].def, &conds[i], f->params, &f->conds[i]))
            return false;
        f->cond_rel[i] = r;
        f->rels[r].wanted[f->conds[i].col] = 1;
    }
    f->nconds = n;
    return true;
}

static bool bind_order(fast_plan *f, const ice_str *cols, const int *rels, const bool *desc, size_t n)
{
    if (n > MAX_ORDER)
        return false;
    for (size_t i = 0; i < n; i++) {
        int r = rels ? rels[i] : 0;
        if (!bind_place(f, r, cols[i], &f->order[i]) || f->rels[r].def->cols[f->order[i].col].collation.ptr)
            return false;
        f->desc[i] = desc[i];
    }
    f->norder = n;
    return true;
}

static bool bind_output(fast_plan *f, const ice_select *sel, const ice_str *cols, const int *rels, size_t n)
{
    f->nout = sel->star ? f->rels[0].def->ncols : sel->count_star || sel->exists_one ? 0 : n;
    f->names = sel->names;
    if (!(f->out = ice_arena_array(f->s->scratch, f->nout + 1, sizeof *f->out)))
        return false;
    for (size_t i = 0; i < f->nout; i++)
        if (!bind_place(f, rels ? rels[i] : 0, sel->star ? f->rels[0].def->cols[i].name : cols[i],
                        &f->out[i]))
            return false;
    return true;
}

static ice_code add_rel(fast_plan *f, ice__stview *v, ice_str table, bool *ok, ice_error *err)
{
    rel *r = &f->rels[f->nrels];
    ice_code rc = ice__stview_table(v, table, &r->view, err);
    *ok = rc == ICE_OK && r->view && r->view->mode == ICE_VIEW_CURRENT;
    if (!*ok)
        return rc;
    r->def = r->view->state->def;
    if (!(r->wanted = ice_arena_array(f->s->scratch, r->def->ncols + 1, 1)))
        return ice_fail_nomem(err);
    f->nrels++;
    return ICE_OK;
}

/* ON of a join: equalities that make up a unique key of the relation. */
static bool bind_join(fast_plan *f, int at, const ice_join *j)
{
    rel *r = &f->rels[at];
    const ice_keys *keys = &r->view->state->keys;
    for (size_t k = 0; k < keys->n; k++) {
        size_t found = 0;
        if (!keys->keys[k].unique || keys->keys[k].ncols != j->non || j->non > MAX_CONDS)
            continue;
        for (size_t c = 0; c < j->non; c++)
            for (size_t o = 0; o < j->non; o++)
                if (ice_str_eq(r->def->cols[keys->keys[k].cols[c]].name, j->cols[o]) &&
                    bind_place(f, j->other_rels[o], j->other_cols[o], &r->from[c]) &&
                    !r->def->cols[keys->keys[k].cols[c]].collation.ptr &&
                    !f->rels[r->from[c].rel].def->cols[r->from[c].col].collation.ptr) {
                    found++;
                    break;
                }
        if (found == j->non) {
            r->key = k;
            r->nkey = j->non;
            r->left = j->left;
            return true;
        }
    }
    return false;
}

/* What is read of each relation. */
static ice_code plan_needs(fast_plan *f, ice_error *err)
{
    for (size_t i = 0; i < f->nrels; i++) {
        rel *r = &f->rels[i];
        r->need = ice_arena_array(f->s->scratch, r->def->ncols + 1, sizeof *r->need);
        r->need_at = ice_arena_array(f->s->scratch, r->def->ncols + 1, sizeof *r->need_at);
        r->none = ice_arena_array(f->s->scratch, r->def->ncols + 1, sizeof *r->none);
        if (!r->need || !r->need_at || !r->none)
            return ice_fail_nomem(err);
        for (size_t c = 0; c < r->def->ncols; c++) {
            r->none[c] = ICE_NULL;
            if (!r->wanted[c])
                continue;
            r->need[r->nneed] = r->def->cols[c];
            r->need_at[r->nneed++] = (int)c;
        }
    }
    return ICE_OK;
}

static ice_code read_rows(fast_plan *f, rel *r, const ice_row *rows, size_t n, ice_value **out,
                          ice_error *err)
{
    ice_arena *a = f->s->scratch;
    ice_value *packed = ice_arena_array(a, n * r->nneed + 1, sizeof *packed);
    ice_value *all = ice_arena_array(a, n * r->def->ncols + 1, sizeof *all);
    if (!packed || !all)
        return ice_fail_nomem(err);
    ice_code rc = r->nneed ? ice_view_rows(r->view, rows, n, r->need, r->nneed, a, packed, err) : ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        out[i] = all + i * r->def->ncols;
        for (size_t c = 0; c < r->nneed; c++)
            out[i][r->need_at[c]] = packed[i * r->nneed + c];
    }
    return rc;
}

static bool keeps(const fast_plan *f, ice_value *const *tuple, size_t r)
{
    for (size_t i = 0; i < f->nconds; i++)
        if ((size_t)f->cond_rel[i] == r && !holds(&f->conds[i], &tuple[r][f->conds[i].col]))
            return false;
    return true;
}

/* Rows of the joined relations for one row of the first. *keep false: an inner join or a condition drops it.
 */
static ice_code follow_joins(fast_plan *f, ice_value **tuple, bool *keep, ice_error *err)
{
    *keep = keeps(f, tuple, 0);
    for (size_t i = 1; i < f->nrels && *keep; i++) {
        rel *r = &f->rels[i];
        const ice_key *key = &r->view->state->keys.keys[r->key];
        ice_value values[MAX_CONDS];
        ice_error ignored;
        ice_row *rows;
        size_t n = 0;
        bool null = false;
        for (size_t c = 0; c < r->nkey && !null; c++) {
            const ice_value *from = &tuple[r->from[c].rel][r->from[c].col];
            null = from->null ||
                   ice_value_cast(f->s->scratch, from, r->def->cols[key->cols[c]].type, &values[c],
                                  &ignored) != ICE_OK ||
                   ice_value_cmp(from, &values[c]) != 0;
        }
        ice_code rc = null ? ICE_OK : ice_view_find(r->view, r->key, values, f->s->scratch, &rows, &n, err);
        tuple[i] = r->none;
        if (rc == ICE_OK && n > 0)
            rc = read_rows(f, r, rows, 1, &tuple[i], err);
        if (rc != ICE_OK)
            return rc;
        *keep = (n > 0 || r->left) && keeps(f, tuple, i);
    }
    return ICE_OK;
}

static ice_code add_tuple(fast_plan *f, ice_value **tuple, ice_error *err)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 32;
        ice_value ***grown = ice_arena_array(f->s->scratch, cap, sizeof *grown);
        if (!grown)
            return ice_fail_nomem(err);
        if (f->n)
            memcpy(grown, f->tuples, f->n * sizeof *grown);
        f->tuples = grown;
        f->cap = cap;
    }
    f->tuples[f->n++] = tuple;
    return ICE_OK;
}

/* Rows that LIMIT and OFFSET ask for. */
static uint64_t needed(const fast_plan *f)
{
    return f->limit < 0 ? UINT64_MAX : (uint64_t)f->limit + (uint64_t)f->offset;
}

static bool same_place(const fast_plan *f, uint64_t a, uint64_t b)
{
    const ice_value *x = &f->tuples[a][0][f->order[0].col], *y = &f->tuples[b][0][f->order[0].col];
    return x->null == y->null && (x->null || ice_value_cmp(x, y) == 0);
}

/* Enough rows for the LIMIT, where no order is asked for or they come in it. */
static bool enough(const fast_plan *f)
{
    uint64_t need = needed(f);
    if (f->n < need || (f->norder && !f->walked))
        return false;
    return !f->ties || need == 0 || !same_place(f, need - 1, f->n - 1);
}

static ice_code take_rows(fast_plan *f, const ice_row *rows, size_t n, ice_error *err)
{
    ice_value *first[SLICE];
    for (size_t at = 0; at < n && !enough(f); at += SLICE) {
        size_t part = n - at < SLICE ? n - at : SLICE;
        ice_code rc = read_rows(f, &f->rels[0], rows + at, part, first, err);
        for (size_t i = 0; rc == ICE_OK && i < part && !enough(f); i++) {
            bool keep;
            ice_value **tuple = ice_arena_array(f->s->scratch, f->nrels, sizeof *tuple);
            if (!tuple)
                return ice_fail_nomem(err);
            tuple[0] = first[i];
            rc = follow_joins(f, tuple, &keep, err);
            if (rc == ICE_OK && keep)
                rc = add_tuple(f, tuple, err);
        }
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* Rows of one key value, as many as it takes. *done false: more than `most`. */
static ice_code take_some(fast_plan *f, size_t k, const ice_value *values, size_t most, bool *done,
                          ice_error *err)
{
    ice_code rc = ICE_OK;
    size_t found = 0, max = SLICE, before = f->n;
    do {
        ice_row *rows;
        max *= 8;
        f->n = before; /* another set of rows, not the same and more */
        rc = ice_view_find_some(f->rels[0].view, k, values, max, f->s->scratch, &rows, &found, err);
        if (rc == ICE_OK)
            rc = take_rows(f, rows, found, err);
        *done = found <= most;
    } while (rc == ICE_OK && *done && found == max && !enough(f));
    return rc;
}

/* One set of key values at a time, in the order of an IN list without repeats. *done false: one of them has
 * more than `most` rows. */
static ice_code run_plan(fast_plan *f, size_t k, const cond *conds, size_t n, size_t most, bool *done,
                         ice_error *err)
{
    ice_view *view = f->rels[0].view;
    ice_value values[MAX_CONDS];
    key_walk w;
    ice_code rc = ICE_OK;
    *done = true;
    for (walk_start(&w, f->s, view, k, conds, n);
         rc == ICE_OK && *done && walk_next(&w, values) && !enough(f);) {
        ice_row *rows;
        size_t found = 0;
        if (f->limit >= 0 && !f->norder) {
            rc = take_some(f, k, values, most, done, err);
            continue;
        }
        rc = ice_view_find_some(view, k, values, most < SIZE_MAX ? most + 1 : most, f->s->scratch, &rows,
                                &found, err);
        *done = found <= most;
        if (rc == ICE_OK && *done)
            rc = take_rows(f, rows, found, err);
    }
    return rc;
}

/* ---- the first rows in the order of a key ---- */

enum { LOOK_LEAST = 2000, LOOK_MOST = 64000, LONG_LIMIT = 20000 };

static bool compares(const cond *c)
{
    return c->op != ICE_CMP_IS_NULL && c->op != ICE_CMP_NOT_NULL;
}
static bool is_lower(const cond *c)
{
    return c->op == ICE_CMP_GT || c->op == ICE_CMP_GE;
}
static bool is_upper(const cond *c)
{
    return c->op == ICE_CMP_LT || c->op == ICE_CMP_LE;
}

/* A comparison with NULL: no row meets it. */
static bool none_meets(const fast_plan *f)
{
    for (size_t i = 0; i < f->nconds; i++)
        if (compares(&f->conds[i]) && f->conds[i].n == 0)
            return true;
    return false;
}

static bool has_range(const fast_plan *f, int col)
{
    for (size_t i = 0; i < f->nconds; i++)
        if (f->cond_rel[i] == 0 && f->conds[i].col == col &&
            (is_lower(&f->conds[i]) || is_upper(&f->conds[i])))
            return true;
    return false;
}

/* The key whose order is asked for or, where none is, one that a condition bounds, else the primary key; -1:
 * none of one column. */
static int order_key(const fast_plan *f)
{
    const ice_keys *keys = &f->rels[0].view->state->keys;
    for (size_t k = 0; k < keys->n; k++) {
        int col = keys->keys[k].cols[0];
        if (keys->keys[k].ncols == 1 &&
            (f->norder ? f->order[0].rel == 0 && f->order[0].col == col : has_range(f, col)))
            return (int)k;
    }
    return f->norder == 0 && keys->keys[0].ncols == 1 ? 0 : -1;
}

/* The tightest bounds that the conditions set. */
static void bound_range(const fast_plan *f, int col, ice_walk_range *r)
{
    *r = (ice_walk_range){0};
    for (size_t i = 0; i < f->nconds; i++) {
        const cond *c = &f->conds[i];
        if (f->cond_rel[i] != 0 || c->col != col || c->n == 0)
            continue;
        if (is_lower(c) && (!r->low || ice_value_cmp(&c->args[0], r->low) >= 0)) {
            r->low = &c->args[0];
            r->without_low = c->op == ICE_CMP_GT;
        }
        if (is_upper(c) && (!r->high || ice_value_cmp(&c->args[0], r->high) <= 0)) {
            r->high = &c->args[0];
            r->without_high = c->op == ICE_CMP_LT;
        }
    }
}

/* How many rows are looked at before the engine, which scans them all, is the better choice. A row costs it
 * 40 ns, here 120, and 1 us where a condition needs a joined row. */
static uint64_t worth_looking(const fast_plan *f)
{
    ice_view_cost cost;
    ice_view_cost_get(f->rels[0].view, &cost);
    uint64_t n = cost.rows / 8;
    uint64_t most = LOOK_MOST;
    for (size_t i = 0; i < f->nconds; i++)
        if (f->cond_rel[i] > 0)
            most = LOOK_MOST / 8;
    return n < LOOK_LEAST ? LOOK_LEAST : n > most ? most : n;
}

/* Does every row of the first relation come out? */
static bool keeps_all(const fast_plan *f)
{
    for (size_t i = 1; i < f->nrels; i++)
        if (!f->rels[i].left)
            return false;
    return f->nconds == 0;
}

/* Which of the rows meet the conditions on the first relation: only the columns that takes are read. */
static ice_code sift(fast_plan *f, ice_arena *a, ice_row *rows, size_t *n, ice_error *err)
{
    rel *r = &f->rels[0];
    ice_column cols[MAX_CONDS];
    size_t ncols = 0, kept = 0, of[MAX_CONDS];
    for (size_t i = 0; i < f->nconds; i++)
        if (f->cond_rel[i] == 0) {
            of[ncols] = i;
            cols[ncols++] = r->def->cols[f->conds[i].col];
        }
    if (ncols == 0 || *n == 0)
        return ICE_OK;
    ice_arena_reset(a);
    ice_value *values = ice_arena_array(a, *n * ncols, sizeof *values);
    if (!values)
        return ice_fail_nomem(err);
    ice_code rc = ice_view_rows(r->view, rows, *n, cols, ncols, a, values, err);
    for (size_t i = 0; rc == ICE_OK && i < *n; i++) {
        bool ok = true;
        for (size_t c = 0; c < ncols && ok; c++)
            ok = holds(&f->conds[of[c]], &values[i * ncols + c]);
        if (ok)
            rows[kept++] = rows[i];
    }
    *n = kept;
    return rc;
}

/* *done false: too many rows were looked at. */
static ice_code take_walk(fast_plan *f, ice_walk *w, ice_arena *a, bool *done, ice_error *err)
{
    bool all = keeps_all(f);
    /* Rows that are only passed over cost less than the engine's sort of them. */
    uint64_t budget = worth_looking(f) + (uint64_t)f->limit + (all ? (uint64_t)f->offset : 0), skipped = 0;
    ice_row rows[SLICE];
    ice_code rc = all && !f->ties ? ice_walk_skip(w, (uint64_t)f->offset, &budget, &skipped, err) : ICE_OK;
    f->offset -= (int64_t)skipped;
    while (rc == ICE_OK && !enough(f)) {
        uint64_t want = all && !f->ties ? needed(f) - f->n : SLICE;
        size_t n;
        rc = ice_walk_next(w, want < SLICE ? (size_t)want : SLICE, &budget, rows, &n, err);
        if (rc == ICE_OK && n == 0) {
            *done = budget > 0;
            break;
        }
        if (rc == ICE_OK)
            rc = sift(f, a, rows, &n, err);
        if (rc == ICE_OK)
            rc = take_rows(f, rows, n, err);
    }
    return rc;
}

/* Walks the rows in the order of key k until the LIMIT has enough. *done false: this is not the way, nothing
 * has been taken. */
static ice_code run_walk(fast_plan *f, size_t k, bool *done, ice_error *err)
{
    const ice_key *key = &f->rels[0].view->state->keys.keys[k];
    int64_t offset = f->offset;
    ice_walk_range range;
    ice_walk *w = NULL;
    ice_arena *a = NULL;
    bound_range(f, key->cols[0], &range);
    ice_code rc = ice_view_walk(f->rels[0].view, k, f->norder && f->desc[0], &range, &w, err);
    *done = rc == ICE_OK && w;
    if (*done && !(a = ice_arena_create()))
        rc = ice_fail_nomem(err);
    if (*done && rc == ICE_OK) {
        f->walked = true;
        f->ties = f->norder > 1 && !(key->unique && f->rels[0].def->cols[key->cols[0]].not_null);
        rc = take_walk(f, w, a, done, err);
    }
    if (!*done) {
        f->walked = f->ties = false;
        f->offset = offset;
        f->n = 0;
    }
    ice_walk_close(w);
    ice_arena_free(a);
    return rc;
}

/* Up to about this many rows of one key value, finding and sorting them all costs less than walking by until
 * enough of them are met. */
static size_t few_rows(const fast_plan *f)
{
    ice_view_cost cost;
    uint64_t few = 256;
    ice_view_cost_get(f->rels[0].view, &cost);
    while (few < MANY_JOINED && few * few < needed(f) * cost.rows)
        few *= 2;
    return (size_t)few;
}

/* By a key that the conditions give (`found`, or -1), or in the order of one (`order`, or -1). */
static ice_code run_either(fast_plan *f, int found, int order, const cond *conds, size_t n, bool *done,
                           ice_error *err)
{
    bool unique = found >= 0 && f->rels[0].view->state->keys.keys[found].unique;
    size_t most = f->nrels > 1 || f->norder ? MANY_JOINED : SIZE_MAX;
    ice_code rc = ICE_OK;
    *done = none_meets(f);
    if (*done)
        return ICE_OK;
    if (found >= 0 && (unique || order < 0 || !f->norder))
        return run_plan(f, (size_t)found, conds, n, most, done, err);
    if (found >= 0)
        rc = run_plan(f, (size_t)found, conds, n, few_rows(f), done, err);
    if (rc == ICE_OK && !*done) {
        f->n = 0;
        rc = run_walk(f, (size_t)order, done, err);
    }
    if (rc == ICE_OK && !*done && found >= 0)
        rc = run_plan(f, (size_t)found, conds, n, most, done, err);
    return rc;
}

static int tuple_order(const void *a, const void *b, void *arg)
{
    const fast_plan *f = arg;
    ice_value *const *x = *(ice_value * *const *)a, *const *y = *(ice_value * *const *)b;
    for (size_t i = 0; i < f->norder; i++) {
        const ice_value *u = &x[f->order[i].rel][f->order[i].col], *v = &y[f->order[i].rel][f->order[i].col];
        int cmp = ice__order_cmp(u, v);
        if (cmp)
            return f->desc[i] ? -cmp : cmp;
    }
    return 0;
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

static ice_code number_column(ice_cursor *c, const ice_select *sel, ice_kind kind, ice_error *err)
{
    ice_str name = sel->ncols ? sel->names[0] : ICE_STR("count_star()");
    return ice__cursor_column(c, name, (ice_type){.kind = (uint8_t)kind},
                              kind == ICE_T_LONG ? ICE_STR("BIGINT") : ICE_STR("INTEGER"), err);
}

static ice_code count_result(ice_cursor *c, const ice_select *sel, uint64_t count, ice_error *err)
{
    ice_value v = {.kind = ICE_T_LONG, .i = (int64_t)count};
    ice_code rc = number_column(c, sel, ICE_T_LONG, err);
    return rc == ICE_OK ? ice__cursor_row(c, &v, err) : rc;
}

static ice_code output(fast_plan *f, const ice_select *sel, ice_cursor *c, ice_error *err)
{
    ice_value one = {.kind = ICE_T_INT, .i = 1};
    ice_code rc = sel->exists_one ? number_column(c, sel, ICE_T_INT, err) : ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < f->nout; i++) {
        const ice_column *col = &f->rels[f->out[i].rel].def->cols[f->out[i].col];
        ice_buf duck = {0};
        ice_duck_type(col, &duck);
        rc = ice__cursor_column(c, sel->star ? col->name : f->names[i], col->type, ice_buf_str(&duck), err);
        ice_buf_free(&duck);
    }
    ice_value *row = ice_arena_array(f->s->scratch, f->nout + 1, sizeof *row);
    if (!row)
        return ice_fail_nomem(err);
    int64_t from = f->offset < (int64_t)f->n ? f->offset : (int64_t)f->n;
    int64_t to = f->limit < 0 || f->limit > (int64_t)f->n - from ? (int64_t)f->n : from + f->limit;
    for (int64_t r = from; r < to && rc == ICE_OK; r++) {
        for (size_t i = 0; i < f->nout; i++)
            row[i] = f->tuples[r][f->out[i].rel][f->out[i].col];
        rc = ice__cursor_row(c, sel->exists_one ? &one : row, err);
    }
    return rc;
}

/* Binds the statement to the view. *ok false: something is not as the fast path knows it. */
static ice_code bind_plan(fast_plan *f, const ice_select *sel, ice__stview *v, bool *ok, ice_error *err)
{
    const ice_joined *j = sel->joined;
    ice_code rc = add_rel(f, v, sel->table, ok, err);
    for (size_t i = 0; j && rc == ICE_OK && *ok && i < j->njoins; i++) {
        *ok = f->nrels < MAX_RELS;
        if (*ok)
            rc = add_rel(f, v, j->joins[i].table, ok, err);
        if (rc == ICE_OK && *ok)
            *ok = bind_join(f, (int)f->nrels - 1, &j->joins[i]);
    }
    if (rc != ICE_OK || !*ok)
        return rc;
    *ok = bound_count(sel->limit, f->params, -1, &f->limit) &&
          bound_count(sel->offset, f->params, 0, &f->offset) &&
          bind_where(f, sel->conds, j ? j->cond_rels : NULL, sel->nconds) &&
          bind_order(f, sel->order_cols, j ? j->order_rels : NULL, sel->order_desc, sel->norder) &&
          bind_output(f, sel, sel->cols, j ? j->col_rels : NULL, sel->ncols);
    return *ok ? plan_needs(f, err) : ICE_OK;
}

ice_code ice__fast_select(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v,
                          ice_cursor *c, bool *done, ice_error *err)
{
    const ice_select *sel = &p->stmt.select;
    fast_plan f = {.s = s, .params = params};
    cond own[MAX_CONDS];
    size_t nown = 0;
    uint64_t count;
    (void)n;
    *done = false;
    if (!sel->simple && !sel->joined)
        return ICE_OK;
    ice_code rc = bind_plan(&f, sel, v, done, err);
    if (rc != ICE_OK || !*done)
        return rc;
    bool all = sel->count_star && sel->simple && f.nconds == 0 && f.limit == -1 && f.offset == 0;
    for (size_t i = 0; i < f.nconds; i++)
        if (f.cond_rel[i] == 0)
            own[nown++] = f.conds[i];
    int k = choose_key(&f.rels[0].view->state->keys, own, nown);
    if (k >= 0 && f.rels[0].view->state->keys.keys[k].ncols > MAX_CONDS)
        k = -1;
    int order = f.limit >= 0 && f.limit <= LONG_LIMIT && !sel->count_star ? order_key(&f) : -1;
    *done = all || ((k >= 0 || order >= 0) && !(sel->count_star && (f.limit != -1 || f.offset != 0)));
    if (!*done)
        return ICE_OK;
    c->path = "fast";
    if (all) {
        if ((rc = ice_view_count(f.rels[0].view, &count, err)) == ICE_OK)
            rc = count_result(c, sel, count, err);
    } else {
        rc = run_either(&f, k, order, own, nown, done, err);
        if (rc != ICE_OK || !*done)
            return rc;
        if (f.norder && f.n > 1)
            qsort_r(f.tuples, f.n, sizeof *f.tuples, tuple_order, &f);
        rc = sel->count_star ? count_result(c, sel, f.n, err) : output(&f, sel, c, err);
    }
    c->rowcount = (int64_t)c->nrows;
    return rc;
}
