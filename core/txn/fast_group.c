/* The fast path: COUNT, SUM, MIN and MAX of plain columns over the rows that were found, with GROUP BY or
 * without. */
#include <stdlib.h>

#include "txn/fast_int.h"

/* ---- binding ---- */

/* Sums of doubles depend on the order they are made in, so they are the engine's; so is what has an order of
 * its own. */
static bool agg_type(ice__fagg *a, const ice_column *col)
{
    switch (a->agg) {
    case ICE_AGG_COUNT_STAR:
    case ICE_AGG_COUNT:
        a->type = (ice_type){.kind = ICE_T_LONG};
        return true;
    case ICE_AGG_SUM:
        if (col->type.kind == ICE_T_DECIMAL)
            a->type = (ice_type){.kind = ICE_T_DECIMAL, .precision = 38, .scale = col->type.scale};
        else
            a->duck_type = "HUGEINT";
        return col->type.kind == ICE_T_DECIMAL || col->type.kind == ICE_T_INT || col->type.kind == ICE_T_LONG;
    default:
        a->type = col->type;
        return (col->type.kind >= ICE_T_INT && col->type.kind <= ICE_T_TIMESTAMPTZ &&
                col->type.kind != ICE_T_FLOAT && col->type.kind != ICE_T_DOUBLE);
    }
}

static bool bind_aggs(ice__fast *f, const ice_select *sel)
{
    for (size_t i = 0; i < f->nout; i++) {
        ice__fagg *a = &f->aggs[f->naggs];
        const ice_column *col = NULL;
        if (!sel->aggs[i])
            continue;
        *a = (ice__fagg){.agg = (ice_agg)sel->aggs[i]};
        if (a->agg != ICE_AGG_COUNT_STAR) {
            if (!ice__fast_place(f, sel->joined ? sel->joined->col_rels[i] : 0, sel->cols[i], &a->at))
                return false;
            col = &f->rels[a->at.rel].def->cols[a->at.col];
        }
        if (!agg_type(a, col))
            return false;
        f->out[i] = (ice__fplace){.rel = (int)f->nrels, .col = (int)f->naggs++};
    }
    return true;
}

/* Is the column one of its relation's primary key, all of which is grouped by? *whole: all of it is. */
static bool in_key(const ice__fast *f, ice__fplace p, bool *whole)
{
    const ice_key *pk = &f->rels[p.rel].view->state->keys.keys[0];
    size_t found = 0;
    bool in = false;
    for (size_t c = 0; c < pk->ncols; c++) {
        bool there = false;
        for (size_t i = 0; i < f->ngroup; i++)
            there |= f->group[i].rel == p.rel && f->group[i].col == pk->cols[c];
        found += there;
        in |= pk->cols[c] == p.col;
    }
    *whole = pk->ncols && found == pk->ncols;
    return in;
}

/* Leaves out what a primary key says already. false: values that may be equal without being the same. */
static bool reduce(ice__fast *f)
{
    ice__fplace *kept = ICE_NEW_N(f->s->scratch, ice__fplace, f->ngroup + 1);
    size_t n = 0;
    for (size_t i = 0; kept && i < f->ngroup; i++) {
        const ice_column *col = &f->rels[f->group[i].rel].def->cols[f->group[i].col];
        bool whole, in = in_key(f, f->group[i], &whole);
        if (whole && !in)
            continue;
        if (col->type.kind == ICE_T_DOUBLE ||
            !ice__fast_comparable(col, &(ice_value){.kind = col->type.kind}))
            return false;
        kept[n++] = f->group[i];
    }
    f->group = kept;
    f->ngroup = n;
    return kept != NULL;
}

ice_code ice__fast_bind_groups(ice__fast *f, const ice_select *sel, bool *ok, ice_error *err)
{
    f->grouped = true;
    f->aggs = ICE_NEW_N(f->s->scratch, ice__fagg, f->nout + 1);
    f->group = ICE_NEW_N(f->s->scratch, ice__fplace, sel->ngroup + 1);
    if (!f->aggs || !f->group)
        return ice_fail_nomem(err);
    *ok = bind_aggs(f, sel);
    for (size_t i = 0; *ok && i < sel->ngroup; i++)
        *ok = ice__fast_place(f, sel->joined ? sel->joined->group_rels[i] : 0, sel->group_cols[i],
                              &f->group[i]);
    f->ngroup = sel->ngroup;
    *ok = *ok && reduce(f);
    return ICE_OK;
}

/* ---- grouping ---- */

static int group_order(const void *a, const void *b, void *arg)
{
    const ice__fast *f = arg;
    ice_value *const *x = *(ice_value * *const *)a, *const *y = *(ice_value * *const *)b;
    for (size_t i = 0; i < f->ngroup; i++) {
        int cmp = ice__order_cmp(&x[f->group[i].rel][f->group[i].col], &y[f->group[i].rel][f->group[i].col]);
        if (cmp)
            return cmp;
    }
    return 0;
}

static ice_value begin(const ice__fagg *a)
{
    bool count = a->agg == ICE_AGG_COUNT || a->agg == ICE_AGG_COUNT_STAR;
    return count ? (ice_value){.kind = ICE_T_LONG} : ICE_NULL;
}

static bool add_to_sum(const ice__fagg *a, const ice_value *v, ice_value *sum)
{
    static const ice_i128 most = (ice_i128)1000000000000000000 * 1000000000000000000;
    ice_i128 by = v->kind == ICE_T_DECIMAL ? v->dec : v->i;
    if (sum->null)
        *sum = (ice_value){.kind = ICE_T_DECIMAL, .scale = a->type.scale};
    sum->dec += by;
    return by < most && by > -most && sum->dec < most && sum->dec > -most;
}

/* false: too large to be sure of. */
static bool accumulate(const ice__fagg *a, ice_value *const *tuple, ice_value *to)
{
    const ice_value *v = a->agg == ICE_AGG_COUNT_STAR ? NULL : &tuple[a->at.rel][a->at.col];
    if (v && v->null)
        return true;
    switch (a->agg) {
    case ICE_AGG_SUM:
        return add_to_sum(a, v, to);
    case ICE_AGG_MIN:
    case ICE_AGG_MAX:
        if (to->null || (a->agg == ICE_AGG_MIN ? ice_value_cmp(v, to) < 0 : ice_value_cmp(v, to) > 0))
            *to = *v;
        return true;
    default:
        to->i++;
        return true;
    }
}

/* Begins a group with the row of its first tuple (NULL: a group without rows). */
static ice_value *open_group(ice__fast *f, size_t at, ice_value **tuple)
{
    ice_value *row = ICE_NEW_N(f->s->scratch, ice_value, f->naggs + 1);
    if (!tuple)
        tuple = ICE_NEW_N(f->s->scratch, ice_value *, f->nrels + 1);
    if (!row || !tuple)
        return NULL;
    for (size_t i = 0; i < f->naggs; i++)
        row[i] = begin(&f->aggs[i]);
    tuple[f->nrels] = row;
    f->tuples[at] = tuple;
    return row;
}

ice_code ice__fast_group(ice__fast *f, bool *ok, ice_error *err)
{
    size_t groups = 0;
    ice_value *row = NULL;
    if (!f->n && !f->ngroup && !(f->tuples = ICE_NEW_N(f->s->scratch, ice_value **, 1)))
        return ice_fail_nomem(err);
    if (!f->n && !f->ngroup && !open_group(f, groups++, NULL))
        return ice_fail_nomem(err);
    if (f->n > 1 && f->ngroup)
        qsort_r(f->tuples, f->n, sizeof *f->tuples, group_order, f);
    for (size_t i = 0; i < f->n; i++) {
        ice_value **tuple = f->tuples[i];
        bool fresh = !row || group_order(&f->tuples[groups - 1], &tuple, f) != 0;
        if (fresh && !(row = open_group(f, groups++, tuple)))
            return ice_fail_nomem(err);
        for (size_t k = 0; k < f->naggs; k++)
            if (!(*ok = accumulate(&f->aggs[k], tuple, &row[k])))
                return ICE_OK;
    }
    f->n = groups;
    return ICE_OK;
}
