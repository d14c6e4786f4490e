/* The fast path: rows by a key, and the rows of joined relations that belong to them. */
#include "txn/fast_int.h"

enum { MOST_FOLLOWED = 4 * ICE__FAST_MANY };

static ice_code read_rows(ice__fast *f, ice__frel *r, const ice_row *rows, size_t n, ice_value **out,
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

static bool keeps(const ice__fast *f, ice_value *const *tuple, int r)
{
    for (size_t i = 0; i < f->nconds; i++)
        if (f->cond_rel[i] == r && !ice__fcond_holds(&f->conds[i], &tuple[r][f->conds[i].col]))
            return false;
    return true;
}

/* ---- joined rows ---- */

/* Values of the step's key; false: no row has them. */
static bool key_values(ice__fast *f, const ice__fstep *s, ice_value *const *tuple, ice_value *values)
{
    const ice__frel *r = &f->rels[s->rel];
    const ice_key *key = &r->view->state->keys.keys[s->key];
    for (size_t c = 0; c < s->nkey; c++) {
        const ice_value *from = &tuple[s->from[c].rel][s->from[c].col];
        ice_error ignored;
        if (from->null ||
            ice_value_cast(f->s->scratch, from, r->def->cols[key->cols[c]].type, &values[c], &ignored) !=
                ICE_OK ||
            ice_value_cmp(from, &values[c]) != 0)
            return false;
    }
    return true;
}

static bool checks_hold(const ice__fstep *s, const ice_value *row, ice_value *const *tuple)
{
    for (size_t i = 0; i < s->nchecks; i++) {
        const ice_value *mine = &row[s->checks[i].mine.col];
        const ice_value *other = &tuple[s->checks[i].other.rel][s->checks[i].other.col];
        if (mine->null || other->null || ice_value_cmp(mine, other) != 0)
            return false;
    }
    return true;
}

static ice_code add_tuple(ice__fast *f, ice_value **tuple, ice_error *err)
{
    if (!ICE_ROOM(f->s->scratch, f->tuples, f->n, f->cap))
        return ice_fail_nomem(err);
    f->tuples[f->n++] = tuple;
    return ICE_OK;
}

static ice_code follow(ice__fast *f, ice_value **tuple, size_t step, ice_error *err);

/* One row in the tuple's place: the next relations, or a row of the result. */
static ice_code go_on(ice__fast *f, ice_value *const *tuple, size_t step, ice_value *row, ice_error *err)
{
    ice_value **copy = ice_arena_array(f->s->scratch, f->nrels + 1, sizeof *copy);
    int r = f->steps[step].rel;
    if (!copy)
        return ice_fail_nomem(err);
    if (tuple)
        memcpy(copy, tuple, f->nrels * sizeof *copy);
    copy[r] = row;
    if (!keeps(f, copy, r))
        return ICE_OK;
    return step + 1 < f->nrels ? follow(f, copy, step + 1, err) : add_tuple(f, copy, err);
}

/* Joined rows of one relation, and from each the next one's. As deep as there are relations. */
static ice_code follow(ice__fast *f, ice_value **tuple, size_t step, ice_error *err)
{
    const ice__fstep *s = &f->steps[step];
    ice__frel *r = &f->rels[s->rel];
    ice_value values[ICE__FAST_EDGES], **found = NULL;
    ice_row *rows;
    size_t n = 0;
    bool any = false;
    ice_code rc = ICE_OK;
    if (key_values(f, s, tuple, values))
        rc = ice_view_find(r->view, s->key, values, f->s->scratch, &rows, &n, err);
    f->followed += n + 1;
    if (rc != ICE_OK || f->followed > MOST_FOLLOWED)
        return rc;
    if (n && !(found = ICE_NEW_N(f->s->scratch, ice_value *, n)))
        return ice_fail_nomem(err);
    if (n)
        rc = read_rows(f, r, rows, n, found, err);
    for (size_t i = 0; rc == ICE_OK && i < n && !ice__fast_enough(f); i++)
        if (checks_hold(s, found[i], tuple)) {
            any = true;
            rc = go_on(f, tuple, step, found[i], err);
        }
    return rc == ICE_OK && !any && r->left ? go_on(f, tuple, step, r->none, err) : rc;
}

static bool same_place(const ice__fast *f, uint64_t a, uint64_t b)
{
    int r = f->order[0].rel;
    const ice_value *x = &f->tuples[a][r][f->order[0].col], *y = &f->tuples[b][r][f->order[0].col];
    return x->null == y->null && (x->null || ice_value_cmp(x, y) == 0);
}

bool ice__fast_enough(const ice__fast *f)
{
    uint64_t need = ice__fast_needed(f);
    if (f->n < need || (f->norder && !f->walked))
        return false;
    return !f->ties || need == 0 || !same_place(f, need - 1, f->n - 1);
}

/* As many as the LIMIT still asks for, were all of them taken. */
static size_t slice(const ice__fast *f, size_t left)
{
    uint64_t need = ice__fast_needed(f), more = need > f->n && !f->norder ? need - f->n : ICE__FAST_SLICE;
    left = left < ICE__FAST_SLICE ? left : ICE__FAST_SLICE;
    return more < left ? (size_t)more : left;
}

ice_code ice__fast_take(ice__fast *f, const ice_row *rows, size_t n, bool *done, ice_error *err)
{
    ice_value *first[ICE__FAST_SLICE];
    *done = true;
    for (size_t at = 0, part; at < n && *done && !ice__fast_enough(f); at += part) {
        part = slice(f, n - at);
        ice_code rc = read_rows(f, &f->rels[ice__fast_start(f)], rows + at, part, first, err);
        for (size_t i = 0; rc == ICE_OK && i < part && !ice__fast_enough(f); i++)
            rc = go_on(f, NULL, 0, first[i], err);
        if (rc != ICE_OK)
            return rc;
        *done = f->followed <= MOST_FOLLOWED;
    }
    return ICE_OK;
}

/* Rows of one key value, as many as it takes. *done false: more than `most`. */
static ice_code take_some(ice__fast *f, size_t k, const ice_value *values, size_t most, bool *done,
                          ice_error *err)
{
    ice_code rc = ICE_OK;
    size_t found = 0, max = ICE__FAST_SLICE, before = f->n;
    *done = true;
    do {
        ice_row *rows;
        max *= 8;
        f->n = before; /* another set of rows, not the same and more */
        rc = ice_view_find_some(f->rels[ice__fast_start(f)].view, k, values, max, f->s->scratch, &rows,
                                &found, err);
        if (rc == ICE_OK)
            rc = ice__fast_take(f, rows, found, done, err);
        *done &= found <= most;
    } while (rc == ICE_OK && *done && found == max && !ice__fast_enough(f));
    return rc;
}

ice_code ice__fast_by_key(ice__fast *f, size_t k, size_t most, bool *done, ice_error *err)
{
    ice__fcond conds[ICE__FAST_CONDS];
    size_t n = ice__fast_conds_of(f, ice__fast_start(f), conds);
    ice_view *view = f->rels[ice__fast_start(f)].view;
    ice_value values[ICE__FAST_CONDS];
    ice__key_walk w;
    ice_code rc = ICE_OK;
    *done = true;
    for (ice__key_walk_start(&w, f->s, view, k, conds, n);
         rc == ICE_OK && *done && ice__key_walk_next(&w, values) && !ice__fast_enough(f);) {
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
            rc = ice__fast_take(f, rows, found, done, err);
    }
    return rc;
}
