/* The fast path: the first rows in the order of a key. */
#include "txn/fast_int.h"

enum { LOOK_LEAST = 2000, LOOK_MOST = 64000 };

static bool is_lower(const ice__fcond *c)
{
    return c->op == ICE_CMP_GT || c->op == ICE_CMP_GE;
}
static bool is_upper(const ice__fcond *c)
{
    return c->op == ICE_CMP_LT || c->op == ICE_CMP_LE;
}

static bool has_range(const ice__fast *f, int col)
{
    for (size_t i = 0; i < f->nconds; i++)
        if (f->cond_rel[i] == 0 && f->conds[i].col == col &&
            (is_lower(&f->conds[i]) || is_upper(&f->conds[i])))
            return true;
    return false;
}

int ice__fast_order_key(const ice__fast *f)
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
static void bound_range(const ice__fast *f, int col, ice_walk_range *r)
{
    *r = (ice_walk_range){0};
    for (size_t i = 0; i < f->nconds; i++) {
        const ice__fcond *c = &f->conds[i];
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
static uint64_t worth_looking(const ice__fast *f)
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

/* Does every row of the first relation come out, and once? */
static bool keeps_all(const ice__fast *f)
{
    for (size_t i = 1; i < f->nrels; i++)
        if (!f->rels[i].left)
            return false;
    return f->nconds == 0 && !f->fans;
}

/* Which of the rows meet the conditions on the first relation: only the columns that takes are read. */
static ice_code sift(ice__fast *f, ice_arena *a, ice_row *rows, size_t *n, ice_error *err)
{
    ice__frel *r = &f->rels[0];
    ice_column cols[ICE__FAST_CONDS];
    size_t ncols = 0, kept = 0, of[ICE__FAST_CONDS];
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
            ok = ice__fcond_holds(&f->conds[of[c]], &values[i * ncols + c]);
        if (ok)
            rows[kept++] = rows[i];
    }
    *n = kept;
    return rc;
}

/* *done false: too many rows were looked at. */
static ice_code take_walk(ice__fast *f, ice_walk *w, ice_arena *a, bool *done, ice_error *err)
{
    bool all = keeps_all(f);
    /* Rows that are only passed over cost less than the engine's sort of them. */
    uint64_t budget = worth_looking(f) + (uint64_t)f->limit + (all ? (uint64_t)f->offset : 0), skipped = 0;
    ice_row rows[ICE__FAST_SLICE];
    bool few = true;
    ice_code rc = all && !f->ties ? ice_walk_skip(w, (uint64_t)f->offset, &budget, &skipped, err) : ICE_OK;
    f->offset -= (int64_t)skipped;
    while (rc == ICE_OK && few && !ice__fast_enough(f)) {
        uint64_t want = all && !f->ties ? ice__fast_needed(f) - f->n : ICE__FAST_SLICE;
        size_t n;
        rc =
            ice_walk_next(w, want < ICE__FAST_SLICE ? (size_t)want : ICE__FAST_SLICE, &budget, rows, &n, err);
        if (rc == ICE_OK && n == 0) {
            *done = budget > 0;
            break;
        }
        if (rc == ICE_OK)
            rc = sift(f, a, rows, &n, err);
        if (rc == ICE_OK)
            rc = ice__fast_take(f, rows, n, &few, err);
    }
    *done &= few;
    return rc;
}

ice_code ice__fast_walk(ice__fast *f, size_t k, bool *done, ice_error *err)
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
        f->ties = f->norder > 1 && (f->fans || !(key->unique && f->rels[0].def->cols[key->cols[0]].not_null));
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
