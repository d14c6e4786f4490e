/* The fast path: look-ups by a key on the row store and the key indexes, the rows that joins on keys add to
 * them, and the first rows in the order of a key, without the engine. */
#include <limits.h>
#include <stdlib.h>

#include "txn/fast_int.h"

enum { LONG_LIMIT = 20000 };

/* A comparison with NULL: no row meets it. */
static bool none_meets(const ice__fast *f)
{
    for (size_t i = 0; i < f->nconds; i++)
        if (f->conds[i].op != ICE_CMP_IS_NULL && f->conds[i].op != ICE_CMP_NOT_NULL && f->conds[i].n == 0)
            return true;
    return false;
}

/* The relation to start from, and its key: what promises the fewest rows. -1: no conditions name a key. */
static int choose_start(ice__fast *f, int *start)
{
    unsigned best = UINT_MAX, cost;
    int key = -1;
    *start = 0;
    for (int r = 0; r < (int)f->nrels; r++) {
        ice__fcond own[ICE__FAST_CONDS];
        const ice_keys *keys = &f->rels[r].view->state->keys;
        int k = ice__fcond_key(keys, own, ice__fast_conds_of(f, r, own));
        if (k < 0 || keys->keys[k].ncols > ICE__FAST_CONDS || !ice__fast_plan(f, r, &cost))
            continue;
        cost *= keys->keys[k].unique ? 1 : 10;
        if (cost < best) {
            best = cost;
            key = k;
            *start = r;
        }
    }
    return key;
}

/* Up to about this many rows of one key value, finding and sorting them all costs less than walking by until
 * enough of them are met. */
static size_t few_rows(const ice__fast *f)
{
    ice_view_cost cost;
    uint64_t few = 256;
    ice_view_cost_get(f->rels[ice__fast_start(f)].view, &cost);
    while (few < ICE__FAST_MANY && few * few < ice__fast_needed(f) * cost.rows)
        few *= 2;
    return (size_t)few;
}

/* By a key that the conditions give (`found`, or -1), or in the order of one (`order`, or -1). */
static ice_code run_either(ice__fast *f, int found, int order, bool *done, ice_error *err)
{
    bool unique = found >= 0 && f->rels[ice__fast_start(f)].view->state->keys.keys[found].unique;
    size_t most = f->nrels > 1 || f->norder || f->grouped ? ICE__FAST_MANY : SIZE_MAX;
    ice_code rc = ICE_OK;
    *done = none_meets(f);
    if (*done)
        return ICE_OK;
    if (found >= 0 && (unique || order < 0 || !f->norder))
        return ice__fast_by_key(f, (size_t)found, most, done, err);
    if (found >= 0)
        rc = ice__fast_by_key(f, (size_t)found, few_rows(f), done, err);
    if (rc == ICE_OK && !*done) {
        f->n = f->followed = 0;
        rc = ice__fast_walk(f, (size_t)order, done, err);
    }
    if (rc == ICE_OK && !*done && found >= 0) {
        f->n = f->followed = 0;
        rc = ice__fast_by_key(f, (size_t)found, most, done, err);
    }
    return rc;
}

static int tuple_order(const void *a, const void *b, void *arg)
{
    const ice__fast *f = arg;
    ice_value *const *x = *(ice_value * *const *)a, *const *y = *(ice_value * *const *)b;
    for (size_t i = 0; i < f->norder; i++) {
        const ice_value *u = &x[f->order[i].rel][f->order[i].col], *v = &y[f->order[i].rel][f->order[i].col];
        int cmp = ice__order_cmp(u, v);
        if (cmp)
            return f->desc[i] ? -cmp : cmp;
    }
    return 0;
}

/* ---- output ---- */

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

/* The rows that LIMIT and OFFSET leave. */
static void bounds(const ice__fast *f, size_t *from, size_t *to)
{
    *from = f->offset < (int64_t)f->n ? (size_t)f->offset : f->n;
    *to = f->limit < 0 || f->limit > (int64_t)(f->n - *from) ? f->n : *from + (size_t)f->limit;
}

static ice_code exists_result(const ice__fast *f, ice_cursor *c, const ice_select *sel, ice_error *err)
{
    ice_value one = {.kind = ICE_T_INT, .i = sel->exists_param < 0 ? 1 : f->params[sel->exists_param].i};
    ice_code rc = number_column(c, sel, ICE_T_INT, err);
    size_t from, to;
    bounds(f, &from, &to);
    for (size_t r = from; r < to && rc == ICE_OK; r++)
        rc = ice__cursor_row(c, &one, err);
    return rc;
}

static ice_code columns(const ice__fast *f, const ice_select *sel, ice_cursor *c, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < f->nout; i++) {
        ice_column computed = {0};
        const ice_column *col = &computed;
        if (f->exprs[i])
            computed.type = ice__arith_type(f->exprs[i]);
        else if (f->out[i].rel == (int)f->nrels)
            computed.type = f->aggs[f->out[i].col].type;
        else
            col = &f->rels[f->out[i].rel].def->cols[f->out[i].col];
        const char *said = f->out[i].rel == (int)f->nrels ? f->aggs[f->out[i].col].duck_type : NULL;
        ice_str name = sel->star ? col->name : f->names[i];
        rc = said ? ice__cursor_column(c, name, col->type, ice_str_c(said), err) : ice__cursor_shows(c, col, name, err);
    }
    return rc;
}

/* Rows of the output, all of them before the first is given out: the engine may have to compute one. */
static ice_code output(ice__fast *f, const ice_select *sel, ice_cursor *c, bool *done, ice_error *err)
{
    size_t from, to;
    bounds(f, &from, &to);
    ice_value *row, *rows = ICE_NEW_N(f->s->scratch, ice_value, (to - from) * f->nout + 1);
    if (!(row = rows))
        return ice_fail_nomem(err);
    for (size_t r = from; r < to; r++)
        for (size_t i = 0; i < f->nout; i++, row++)
            if (!f->exprs[i])
                *row = f->tuples[r][f->out[i].rel][f->out[i].col];
            else if (!(*done = ice__arith_eval(f->exprs[i], f->tuples[r], row)))
                return ICE_OK;
    ice_code rc = columns(f, sel, c, err);
    for (size_t r = 0; r < to - from && rc == ICE_OK; r++)
        rc = ice__cursor_row(c, rows + r * f->nout, err);
    return rc;
}

static ice_code result(ice__fast *f, const ice_select *sel, ice_cursor *c, bool *done, ice_error *err)
{
    ice_code rc = f->grouped ? ice__fast_group(f, done, err) : ICE_OK;
    if (rc != ICE_OK || !*done)
        return rc;
    if (f->norder && f->n > 1)
        qsort_r(f->tuples, f->n, sizeof *f->tuples, tuple_order, f);
    if (sel->count_star)
        return count_result(c, sel, f->n, err);
    return sel->exists_one ? exists_result(f, c, sel, err) : output(f, sel, c, done, err);
}

ice_code ice__fast_select(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v,
                          ice_cursor *c, bool *done, ice_error *err)
{
    const ice_select *sel = &p->stmt.select;
    ice__fast f = {.s = s, .params = params};
    uint64_t count;
    unsigned cost;
    int start;
    (void)n;
    *done = false;
    if (!sel->simple && !sel->joined)
        return ICE_OK;
    ice_code rc = ice__fast_bind(&f, sel, v, done, err);
    if (rc != ICE_OK || !*done)
        return rc;
    bool all = sel->count_star && sel->simple && f.nconds == 0 && f.limit == -1 && f.offset == 0;
    int k = choose_start(&f, &start);
    int order = f.limit >= 0 && f.limit <= LONG_LIMIT && !sel->count_star && !f.grouped ? ice__fast_order_key(&f) : -1;
    if (start != 0 && f.norder)
        order = -1; /* it is the order of another relation */
    *done = all || ((k >= 0 || order >= 0) && !(sel->count_star && (f.limit != -1 || f.offset != 0)) &&
                    ice__fast_plan(&f, start, &cost));
    if (!*done)
        return ICE_OK;
    if (all) {
        if ((rc = ice_view_count(f.rels[0].view, &count, err)) == ICE_OK)
            rc = count_result(c, sel, count, err);
    } else {
        rc = run_either(&f, k, order, done, err);
        if (rc == ICE_OK && *done)
            rc = result(&f, sel, c, done, err);
    }
    if (rc == ICE_OK && *done) {
        c->path = "fast";
        c->rowcount = (int64_t)c->nrows;
    }
    return rc;
}
