/* The fast path: a SELECT bound to the tables of a view, and the order in which its relations are joined. */
#include "txn/fast_int.h"

bool ice__fast_place(ice__fast *f, int r, ice_str column, ice__fplace *out)
{
    out->rel = r;
    out->col = ice_tabledef_find(f->rels[r].def, column);
    if (out->col < 0)
        return false;
    f->rels[r].wanted[out->col] = 1;
    return true;
}

static bool bind_where(ice__fast *f, const ice_cond *conds, const int *rels, size_t n)
{
    if (n > ICE__FAST_CONDS)
        return false;
    for (size_t i = 0; i < n; i++) {
        int r = rels ? rels[i] : 0;
        if (!ice__fcond_bind(f->s, f->rels[r].def, &conds[i], f->params, &f->conds[i]))
            return false;
        f->cond_rel[i] = r;
        f->rels[r].wanted[f->conds[i].col] = 1;
    }
    f->nconds = n;
    return true;
}

static bool bind_order(ice__fast *f, const ice_str *cols, const int *rels, const bool *desc, size_t n)
{
    if (n > ICE__FAST_ORDER)
        return false;
    for (size_t i = 0; i < n; i++) {
        int r = rels ? rels[i] : 0;
        if (!ice__fast_place(f, r, cols[i], &f->order[i]) || f->rels[r].def->cols[f->order[i].col].collation.ptr)
            return false;
        f->desc[i] = desc[i];
    }
    f->norder = n;
    return true;
}

static bool find_column(void *arg, const ice_arith *column, const ice_column **col, ice__fplace *at)
{
    ice__fast *f = arg;
    if (!ice__fast_place(f, column->rel, column->column, at))
        return false;
    *col = &f->rels[at->rel].def->cols[at->col];
    return true;
}

static bool bind_output(ice__fast *f, const ice_select *sel, const int *rels)
{
    f->nout = sel->star ? f->rels[0].def->ncols : sel->count_star || sel->exists_one ? 0 : sel->ncols;
    f->names = sel->names;
    f->out = ice_arena_array(f->s->scratch, f->nout + 1, sizeof *f->out);
    f->exprs = ICE_NEW_N(f->s->scratch, ice__arith *, f->nout + 1);
    if (!f->out || !f->exprs)
        return false;
    for (size_t i = 0; i < f->nout; i++) {
        bool ok;
        if (!sel->star && sel->aggs[i])
            continue;
        if (!sel->star && sel->exprs[i])
            ok = (f->exprs[i] = ice__arith_bind(f->s->scratch, sel->exprs[i], find_column, f, f->params)) !=
                 NULL;
        else
            ok = ice__fast_place(f, rels ? rels[i] : 0, sel->star ? f->rels[0].def->cols[i].name : sel->cols[i],
                            &f->out[i]);
        if (!ok)
            return false;
    }
    if (!sel->exists_one || sel->exists_param < 0)
        return true;
    const ice_value *v = &f->params[sel->exists_param];
    return !v->null && (v->kind == ICE_T_INT || v->kind == ICE_T_LONG) && v->i == (int32_t)v->i;
}

static ice_code add_rel(ice__fast *f, ice__stview *v, ice_str table, bool *ok, ice_error *err)
{
    ice__frel *r = &f->rels[f->nrels];
    ice_code rc = ice__stview_table(v, table, &r->view, err);
    *ok = rc == ICE_OK && r->view && r->view->mode == ICE_VIEW_CURRENT &&
          !ice_tabledef_is_view(r->view->state->def);
    if (!*ok)
        return rc;
    r->def = r->view->state->def;
    if (!(r->wanted = ice_arena_array(f->s->scratch, r->def->ncols + 1, 1)))
        return ice_fail_nomem(err);
    f->nrels++;
    return ICE_OK;
}

static bool joinable(const ice__fast *f, ice__fplace a, ice__fplace b)
{
    const ice_column *x = &f->rels[a.rel].def->cols[a.col], *y = &f->rels[b.rel].def->cols[b.col];
    return ice__fast_comparable(x, &(ice_value){.kind = y->type.kind}) &&
           ice__fast_comparable(y, &(ice_value){.kind = x->type.kind});
}

/* ON of a join. */
static bool bind_join(ice__fast *f, int at, const ice_join *j)
{
    f->rels[at].left = j->left;
    for (size_t i = 0; i < j->non; i++) {
        ice__fedge *e = &f->edges[f->nedges];
        if (f->nedges == ICE__FAST_EDGES || !ice__fast_place(f, at, j->cols[i], &e->mine) ||
            !ice__fast_place(f, j->other_rels[i], j->other_cols[i], &e->other) || !joinable(f, e->mine, e->other))
            return false;
        f->nedges++;
    }
    return true;
}

/* ---- the order of the joins ---- */

/* The end of an equality at relation r, and its other end, where that can be known before: an outer join's
 * rows are found from what it is joined to, never the other way. */
static bool edge_to(const ice__fast *f, const ice__fedge *e, int r, const bool *placed, ice__fplace *mine,
                    ice__fplace *other)
{
    bool own = e->mine.rel == r;
    if (!own && (e->other.rel != r || f->rels[e->mine.rel].left))
        return false;
    *mine = own ? e->mine : e->other;
    *other = own ? e->other : e->mine;
    return placed[other->rel];
}

static const ice__fedge *edge_for(const ice__fast *f, int r, int col, const bool *placed, ice__fplace *from)
{
    ice__fplace mine;
    for (size_t i = 0; i < f->nedges; i++)
        if (edge_to(f, &f->edges[i], r, placed, &mine, from) && mine.col == col)
            return &f->edges[i];
    return NULL;
}

/* Every equality that now has both ends and that the key does not say is looked at. */
static void add_checks(const ice__fast *f, ice__fstep *step, const bool *placed,
                       const ice__fedge *const *used, size_t n)
{
    for (size_t i = 0; i < f->nedges; i++) {
        const ice__fedge *e = &f->edges[i];
        ice__fplace mine, other;
        bool said = false;
        for (size_t u = 0; u < n; u++)
            said |= used[u] == e;
        if (!said && edge_to(f, e, step->rel, placed, &mine, &other))
            step->checks[step->nchecks++] = (ice__fedge){.mine = mine, .other = other};
    }
}

/* All equalities of an outer join have to be known when it is followed. */
static bool outer_ready(const ice__fast *f, int r, const bool *placed)
{
    for (size_t i = 0; i < f->nedges; i++)
        if (f->edges[i].mine.rel == r && !placed[f->edges[i].other.rel])
            return false;
    return true;
}

static bool plan_step(const ice__fast *f, int r, const bool *placed, ice__fstep *step)
{
    const ice_keys *keys = &f->rels[r].view->state->keys;
    int best = -1;
    if (f->rels[r].left && !outer_ready(f, r, placed))
        return false;
    for (size_t k = 0; k < keys->n; k++) {
        const ice_key *key = &keys->keys[k];
        ice__fplace from;
        size_t found = 0;
        while (found < key->ncols && edge_for(f, r, key->cols[found], placed, &from))
            found++;
        if (found == key->ncols && found <= ICE__FAST_EDGES &&
            (best < 0 || (key->unique && !keys->keys[best].unique)))
            best = (int)k;
    }
    if (best < 0)
        return false;
    const ice_key *key = &keys->keys[best];
    const ice__fedge *used[ICE__FAST_EDGES];
    *step = (ice__fstep){.rel = r, .key = (size_t)best, .nkey = key->ncols};
    for (size_t c = 0; c < key->ncols; c++)
        used[c] = edge_for(f, r, key->cols[c], placed, &step->from[c]);
    add_checks(f, step, placed, used, key->ncols);
    return true;
}

bool ice__fast_plan(ice__fast *f, int start, unsigned *cost)
{
    bool placed[ICE__FAST_RELS] = {0};
    size_t n = 1;
    if (f->rels[start].left)
        return false;
    f->steps[0] = (ice__fstep){.rel = start};
    placed[start] = true;
    *cost = 1;
    f->fans = false;
    while (n < f->nrels) {
        ice__fstep best = {0};
        bool found = false, unique = false;
        for (int r = 0; r < (int)f->nrels && !unique; r++) {
            ice__fstep step;
            if (placed[r] || !plan_step(f, r, placed, &step))
                continue;
            unique = f->rels[r].view->state->keys.keys[step.key].unique;
            if (!found || unique)
                best = step;
            found = true;
        }
        if (!found)
            return false;
        *cost *= unique ? 1 : 10;
        f->fans |= !unique;
        placed[best.rel] = true;
        f->steps[n++] = best;
    }
    return true;
}

size_t ice__fast_conds_of(const ice__fast *f, int rel, ice__fcond *out)
{
    size_t n = 0;
    for (size_t i = 0; i < f->nconds; i++)
        if (f->cond_rel[i] == rel)
            out[n++] = f->conds[i];
    return n;
}

/* ---- binding ---- */

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

/* What is read of each relation. */
static ice_code plan_needs(ice__fast *f, ice_error *err)
{
    for (size_t i = 0; i < f->nrels; i++) {
        ice__frel *r = &f->rels[i];
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

ice_code ice__fast_bind(ice__fast *f, const ice_select *sel, ice__stview *v, bool *ok, ice_error *err)
{
    const ice_joined *j = sel->joined;
    ice_code rc = add_rel(f, v, sel->table, ok, err);
    for (size_t i = 0; j && rc == ICE_OK && *ok && i < j->njoins; i++) {
        *ok = f->nrels < ICE__FAST_RELS;
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
          bind_output(f, sel, j ? j->col_rels : NULL);
    if (*ok && sel->grouped)
        rc = ice__fast_bind_groups(f, sel, ok, err);
    return rc == ICE_OK && *ok ? plan_needs(f, err) : rc;
}
