/* SELECT ... FOR UPDATE, at the top level or in brackets: the rows that the query would return are found and
 * locked, looked at again, and then read. */
#include <stdlib.h>

#include "txn/txn_int.h"

/* A table of a query that locks rows. Those of which it locks none have keys, too: a row of a join that is
 * passed over must not come back by an outer one. */
typedef struct target {
    size_t rel;  /* of the query's relations */
    bool locked; /* its rows are */
    const ice_tabledef *def;
    const ice_key *pk;
    ice_view *view;
    size_t first; /* column of a candidate in which its key begins */
    ice_value **kept;
} target;

/* One query that locks rows. A candidate is a row of it, as the keys of the targets' rows, in the query's
 * order. */
typedef struct locking {
    ice_session *s;
    const ice_select *sel;
    const ice_value *params;
    size_t nparams;
    int64_t wanted; /* candidates: LIMIT and OFFSET together; -1 all */
    size_t ntargets, nkeys;
    target *targets;
    size_t nkept; /* candidates whose rows are locked */
    bool partial; /* there are others */
} locking;

/* OF names relations by their names in the statement; without it they are all of the query's own FROM. */
static bool is_locked(const ice_select *sel, size_t rel)
{
    for (size_t i = 0; i < sel->nof; i++)
        if (ice_str_eq(sel->of[i], sel->rel_aliases[rel]))
            return true;
    return sel->nof == 0;
}

static ice_code check_of(const ice_select *sel, ice_error *err)
{
    for (size_t i = 0; i < sel->nof; i++) {
        bool known = false;
        for (size_t r = 0; r < sel->nrels; r++)
            known |= ice_str_eq(sel->of[i], sel->rel_aliases[r]);
        if (!known)
            return ice_fail(err, ICE_SYNTAX,
                            "relation \"%.*s\" in FOR UPDATE clause not found in FROM clause",
                            ICE_PRI(sel->of[i]));
    }
    return ICE_OK;
}

/* A LIMIT or OFFSET; false: it is not known, or none. */
static bool bound(const locking *l, int64_t n, int64_t *out)
{
    if (n == ICE_SQL_LIMIT_EXPR || n == -1)
        return false;
    const ice_value *v = n <= -2 ? &l->params[-2 - n] : NULL;
    if (v && (v->null || (v->kind != ICE_T_LONG && v->kind != ICE_T_INT)))
        return false;
    *out = v ? v->i : n;
    return *out >= 0;
}

static int64_t wanted_rows(const locking *l)
{
    int64_t limit, offset, sum;
    if (!bound(l, l->sel->limit, &limit) || !bound(l, l->sel->offset, &offset) ||
        __builtin_add_overflow(limit, offset, &sum))
        return -1;
    return sum;
}

/* The table of a relation; *view NULL where it has no keys to ask for: a view, or the past. */
static ice_code find_view(ice__stview *v, ice_str table, bool locked, ice_view **view, ice_error *err)
{
    if (locked)
        return ice__stview_target(v, table, view, err);
    ice_code rc = ice__stview_relation(v, table, view, err);
    if (rc == ICE_OK && (ice_tabledef_is_view((*view)->state->def) || (*view)->mode != ICE_VIEW_CURRENT))
        *view = NULL;
    return rc;
}

static ice_code find_targets(locking *l, ice__stview *v, ice_error *err)
{
    const ice_select *sel = l->sel;
    ice__txtable *t;
    if (!(l->targets = ICE_NEW_N(l->s->scratch, target, sel->nrels + 1)))
        return ice_fail_nomem(err);
    l->ntargets = l->nkeys = 0;
    for (size_t i = 0; i < sel->nrels; i++) {
        target *g = &l->targets[l->ntargets];
        g->locked = is_locked(sel, i);
        ice_code rc = find_view(v, sel->rel_tables[i], g->locked, &g->view, err);
        if (rc != ICE_OK)
            return rc;
        if (!g->view)
            continue;
        g->rel = i;
        g->def = g->view->state->def;
        g->pk = &g->view->state->keys.keys[0];
        g->first = l->nkeys;
        l->nkeys += g->pk->ncols;
        l->ntargets++;
        if (g->locked && (rc = ice__tx_table(l->s, g->def->uuid, g->def->name, false, &t, err)) != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* Condition "primary key is one of these rows". */
static ice_code only_rows(ice_arena *a, const ice_tabledef *def, const ice_key *pk, ice_value **rows,
                          size_t n, ice_str *out, ice_error *err)
{
    ice_buf b = {0};
    ice_buf_puts(&b, "(");
    for (size_t i = 0; i < pk->ncols; i++) {
        ice_buf_puts(&b, i ? ", " : "");
        ice_buf_put_ident(&b, def->cols[pk->cols[i]].name);
    }
    ice_buf_puts(&b, n ? ") IN (" : ") IS NULL");
    for (size_t r = 0; r < n; r++) {
        ice_buf_puts(&b, r ? ", (" : "(");
        for (size_t i = 0; i < pk->ncols; i++) {
            ice_buf_puts(&b, i ? ", " : "");
            ice_value_literal(&rows[r][i], def->cols[pk->cols[i]].type, &b);
        }
        ice_buf_puts(&b, ")");
    }
    ice_buf_puts(&b, n ? ")" : " AND FALSE");
    ice_code rc = ice_buf_check(&b, err);
    if (rc == ICE_OK)
        *out = ice_arena_str(a, ice_buf_str(&b));
    ice_buf_free(&b);
    return rc;
}

/* ---- locking ---- */

static ice_code keep_key(locking *l, target *g, const ice_value *key, ice_error *err)
{
    ice_value *copy = g->kept[l->nkept] = ICE_NEW_N(l->s->scratch, ice_value, g->pk->ncols);
    ice_code rc = copy ? ICE_OK : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < g->pk->ncols; i++)
        rc = ice_value_copy(l->s->scratch, &key[i], &copy[i], err);
    return rc;
}

/* One row of a candidate; a relation of an outer join may have none. *ok false: it is locked, and passed
 * over. */
static ice_code lock_row(locking *l, const target *g, const ice_value *key, bool *ok, ice_error *err)
{
    const ice_select *sel = l->sel;
    *ok = true;
    if (!g->locked || key[0].null)
        return ICE_OK;
    uint64_t name = ice__lock_row(g->def->uuid, ice_key_hash(key, g->pk->ncols));
    ice_code rc = ice__tx_lock(l->s, name, sel->lock_shared ? ICE_LOCK_SHARED : ICE_LOCK_EXCLUSIVE,
                               sel->nowait || sel->skip_locked, NULL, err);
    *ok = rc == ICE_OK;
    return rc == ICE_LOCK_TIMEOUT && sel->skip_locked ? ICE_OK : rc;
}

static ice_code lock_candidates(locking *l, const ice__rowset *rows, ice_error *err)
{
    ice_code rc = ICE_OK;
    l->nkept = 0;
    l->partial = false;
    for (size_t i = 0; i < l->ntargets; i++)
        if (!(l->targets[i].kept = ICE_NEW_N(l->s->scratch, ice_value *, rows->n + 1)))
            return ice_fail_nomem(err);
    for (size_t r = 0; r < rows->n; r++) {
        bool ok = true;
        if (l->wanted >= 0 && (int64_t)l->nkept >= l->wanted) {
            l->partial = true;
            return ICE_OK;
        }
        for (size_t i = 0; i < l->ntargets && ok; i++) {
            target *g = &l->targets[i];
            if ((rc = lock_row(l, g, rows->rows[r] + g->first, &ok, err)) != ICE_OK ||
                (rc = keep_key(l, g, rows->rows[r] + g->first, err)) != ICE_OK)
                return rc;
        }
        l->nkept += ok;
        l->partial |= !ok;
    }
    return ICE_OK;
}

/* ---- which rows: found by a key, or by the engine ---- */

typedef struct row_sort {
    size_t n;
    int cols[8];
    const bool *desc;
} row_sort;

static int row_order(const void *a, const void *b, void *arg)
{
    const row_sort *o = arg;
    const ice_value *x = *(ice_value *const *)a, *y = *(ice_value *const *)b;
    for (size_t i = 0; i < o->n; i++) {
        const ice_value *u = &x[o->cols[i]], *v = &y[o->cols[i]];
        int cmp = ice__order_cmp(u, v);
        if (cmp)
            return o->desc[i] ? -cmp : cmp;
    }
    return 0;
}

/* Keys of a query of one relation that a key finds, in its order. *ok false: no key fits. */
static ice_code keys_by_look_up(locking *l, ice__rowset *out, bool *ok, ice_error *err)
{
    const ice_select *sel = l->sel;
    const target *g = &l->targets[0];
    row_sort order = {.n = sel->norder, .desc = sel->order_desc};
    ice__rows found = {0};
    ice_value key[32];
    *ok = false;
    if (!l->s->fast_path || !sel->simple || sel->norder > 8 || l->ntargets != 1 || g->pk->ncols > 32)
        return ICE_OK;
    for (size_t i = 0; i < sel->norder; i++)
        if ((order.cols[i] = ice_tabledef_find(g->def, sel->order_cols[i])) < 0 ||
            g->def->cols[order.cols[i]].collation.ptr)
            return ICE_OK;
    ice_code rc = ice__fast_rows(l->s, g->view, sel->conds, sel->nconds, l->params, &found, ok, err);
    if (rc != ICE_OK || !*ok)
        return rc;
    if (order.n && found.n > 1)
        qsort_r(found.values, found.n, sizeof *found.values, row_order, &order);
    *out = (ice__rowset){.arena = ice_arena_create(), .ncols = g->pk->ncols};
    if (!out->arena)
        return ice_fail_nomem(err);
    for (size_t r = 0; rc == ICE_OK && r < found.n; r++) {
        for (size_t i = 0; i < g->pk->ncols; i++)
            key[i] = found.values[r][g->pk->cols[i]];
        rc = ice__rowset_add(out, key, err);
    }
    return rc;
}

/* The query with its candidates' keys behind what it selects, which ORDER BY may name. */
static ice_code keys_sql(const locking *l, int64_t limit, ice_buf *sql, ice_error *err)
{
    const ice_select *sel = l->sel;
    if (!sel->from_sql.ptr)
        return ice_fail(err, ICE_UNSUPPORTED,
                        "FOR UPDATE is not allowed with GROUP BY, DISTINCT, aggregates or set operations");
    if (sel->with_sql.ptr)
        ice_buf_printf(sql, "%.*s ", ICE_PRI(sel->with_sql));
    ice_buf_put_str(sql, sel->list_sql);
    for (size_t i = 0; i < l->ntargets; i++)
        for (size_t k = 0; k < l->targets[i].pk->ncols; k++) {
            ice_buf_puts(sql, ", ");
            ice_buf_put_ident(sql, sel->rel_aliases[l->targets[i].rel]);
            ice_buf_puts(sql, ".");
            ice_buf_put_ident(sql, l->targets[i].def->cols[l->targets[i].pk->cols[k]].name);
        }
    ice_buf_printf(sql, " %.*s", ICE_PRI(sel->from_sql));
    if (sel->order_sql.ptr)
        ice_buf_printf(sql, " %.*s", ICE_PRI(sel->order_sql));
    if (limit >= 0)
        ice_buf_printf(sql, " LIMIT %lld", (long long)limit);
    return ice_buf_check(sql, err);
}

/* Only the keys, as values of their columns. */
static ice_code cut_keys(const locking *l, ice__rowset *rows, ice_error *err)
{
    ice_code rc = ICE_OK;
    size_t skip = rows->ncols - l->nkeys;
    for (size_t r = 0; r < rows->n; r++) {
        rows->rows[r] += skip;
        for (size_t i = 0; i < l->ntargets; i++)
            for (size_t k = 0; k < l->targets[i].pk->ncols && rc == ICE_OK; k++) {
                const target *g = &l->targets[i];
                ice_value *v = &rows->rows[r][g->first + k];
                rc = ice_value_cast(rows->arena, v, g->def->cols[g->pk->cols[k]].type, v, err);
            }
    }
    return rc;
}

static ice_code keys_by_engine(locking *l, ice__stview *v, int64_t limit, ice__rowset *out, ice_error *err)
{
    ice_buf sql = {0};
    ice_code rc = keys_sql(l, limit, &sql, err);
    v->with_start = true; /* hidden keys are seen too */
    if (rc == ICE_OK)
        rc = ice__collect(l->s, v, ice_buf_str(&sql), l->params, l->nparams, out, err);
    v->with_start = false;
    if (rc == ICE_OK)
        rc = cut_keys(l, out, err);
    ice_buf_free(&sql);
    return rc;
}

#define SPARE 64 /* candidates asked for beyond those that are wanted, as others may have locked some */

/* Finds candidates and locks their rows, as many as are wanted; those that are locked already don't count. */
static ice_code lock_query(locking *l, ice__stview *v, ice_error *err)
{
    bool found = false, more = true;
    ice_code rc = find_targets(l, v, err);
    if (rc != ICE_OK || !l->ntargets)
        return rc;
    l->wanted = wanted_rows(l);
    int64_t ask = l->wanted < 0 || l->wanted > INT32_MAX ? -1 : l->wanted + (l->sel->skip_locked ? SPARE : 1);
    for (; rc == ICE_OK && more; ask = ask > INT32_MAX ? -1 : ask * 16) {
        ice__rowset rows = {0};
        rc = keys_by_look_up(l, &rows, &found, err);
        if (rc == ICE_OK && !found)
            rc = keys_by_engine(l, v, ask, &rows, err);
        if (rc == ICE_OK)
            rc = lock_candidates(l, &rows, err);
        more = !found && ask >= 0 && (int64_t)rows.n == ask && (int64_t)l->nkept < l->wanted;
        ice_arena_free(rows.arena);
    }
    return rc;
}

/* ---- statements ---- */

/* What a query shows of its targets from now on: of a subquery always what was locked for it, as what is
 * around it may be read on a later view. */
static ice_code tell_kept(locking *l, bool always, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < l->ntargets; i++) {
        const target *g = &l->targets[i];
        ice_str *where = &l->s->kept[l->sel->first_kept + g->rel];
        *where = ICE_STR_NONE;
        if (always || l->partial)
            rc = only_rows(l->s->scratch, g->def, g->pk, g->kept, l->nkept, where, err);
    }
    return rc;
}

static ice_code lock_all(ice_session *s, const ice_stmt *st, const ice_value *params, size_t n,
                         ice__stview *v, ice_error *err)
{
    bool own = st->kind == ICE_S_SELECT_LOCK && st->select.lock;
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < st->nlocks + own; i++) {
        bool nested = i < st->nlocks;
        locking l = {.s = s, .sel = nested ? &st->locks[i] : &st->select, .params = params, .nparams = n};
        rc = check_of(l.sel, err);
        if (rc == ICE_OK && (rc = lock_query(&l, v, err)) == ICE_OK)
            rc = tell_kept(&l, nested, err);
        if (nested && (rc == ICE_NO_COLUMN || rc == ICE_NO_TABLE))
            ice_error_prefix(err, "in a subquery with FOR UPDATE, which can't refer to the query around it");
    }
    return rc;
}

ice_code ice__lock_queries(ice_session *s, const ice_stmt *st, const ice_value *params, size_t n,
                           ice__stview **v, ice_error *err)
{
    ice_code rc = ICE_OK;
    s->nkept = 0;
    if (!(s->kept = ICE_NEW_N(s->scratch, ice_str, st->nkept + 1)))
        return ice_fail_nomem(err);
    s->nkept = st->nkept;
    /* Rows are read on a view in which every one of them was locked before the view was taken: so the
     * statement looks again, with its locks, until it meets no row that it had not locked. */
    for (bool again = true; again;) {
        size_t mark = ice_lock_mark(s->locker);
        ice__stview *fresh = NULL;
        if ((rc = lock_all(s, st, params, n, *v, err)) != ICE_OK || ice_lock_mark(s->locker) == mark)
            return rc;
        if ((rc = ice__stview_open(s, 0, &fresh, err)) != ICE_OK)
            return rc;
        again = fresh->at != (*v)->at;
        ice__stview_unref(*v);
        *v = fresh;
    }
    return rc;
}

static bool shows_all(const ice_session *s, const ice_select *sel)
{
    bool all = true;
    for (size_t i = 0; i < sel->nrels; i++)
        all &= !s->kept[sel->first_kept + i].ptr;
    return all;
}

ice_code ice__run_select_lock(ice_session *s, ice_prepared *p, const ice_value *params, size_t n,
                              ice__stview **v, ice_cursor *c, ice_error *err)
{
    const ice_select *sel = &p->stmt.select;
    bool done = false;
    ice_code rc = ice__lock_queries(s, &p->stmt, params, n, v, err);
    if (rc != ICE_OK)
        return rc;
    bool all = !sel->lock || shows_all(s, sel);
    if (s->fast_path && all && (rc = ice__fast_select(s, p, params, n, *v, c, &done, err)) != ICE_OK)
        return rc;
    return done ? ICE_OK : ice__run_select(s, p, all ? sel->text : sel->kept_text, params, n, *v, c, err);
}
