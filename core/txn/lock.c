/* SELECT ... FOR UPDATE: the rows it would return are found and locked, looked at again, and then read. */
#include <stdlib.h>

#include "txn/txn_int.h"

/* The tables of the statement to lock: those that OF names by their name in the statement, else all of its
 * top-level FROM. */
static bool locks(const ice_select *sel, size_t rel)
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

static ice_code keys_sql(const ice_stmt *st, const ice_tabledef *def, const ice_keys *keys, ice_str alias,
                         ice_buf *sql, ice_error *err)
{
    const ice_select *sel = &st->select;
    if (!sel->from_sql.ptr)
        return ice_fail(err, ICE_UNSUPPORTED,
                        "FOR UPDATE is not allowed with GROUP BY, DISTINCT, aggregates or set operations");
    if (sel->with_sql.ptr)
        ice_buf_printf(sql, "%.*s ", ICE_PRI(sel->with_sql));
    ice_buf_puts(sql, "SELECT ");
    for (size_t i = 0; i < keys->keys[0].ncols; i++) {
        ice_buf_put_ident(sql, alias);
        ice_buf_puts(sql, ".");
        ice_buf_put_ident(sql, def->cols[keys->keys[0].cols[i]].name);
        ice_buf_puts(sql, ", ");
    }
    ice_buf_put_ident(sql, alias);
    ice_buf_printf(sql, ".\"_row_start\" %.*s", ICE_PRI(sel->from_sql));
    if (sel->order_sql.ptr && sel->simple)
        ice_buf_printf(sql, " %.*s", ICE_PRI(sel->order_sql));
    return ice_buf_check(sql, err);
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

typedef struct locking {
    ice_session *s;
    const ice_stmt *st;
    int64_t limit; /* SKIP LOCKED: how many rows are wanted; -1 all */
    size_t nkept;
    ice_value **kept;
} locking;

static ice_code lock_rows(locking *l, const ice_tabledef *def, const ice_key *pk, const ice__rowset *rows,
                          ice_error *err)
{
    const ice_select *sel = &l->st->select;
    if (!(l->kept = ice_arena_array(l->s->scratch, rows->n + 1, sizeof *l->kept)))
        return ice_fail_nomem(err);
    for (size_t r = 0; r < rows->n && (l->limit < 0 || (int64_t)l->nkept < l->limit); r++) {
        uint64_t name = ice__lock_row(def->uuid, ice_key_hash(rows->rows[r], pk->ncols));
        ice_code rc = ice__tx_lock(l->s, name, sel->lock_shared ? ICE_LOCK_SHARED : ICE_LOCK_EXCLUSIVE,
                                   sel->nowait || sel->skip_locked, NULL, err);
        if (rc == ICE_LOCK_TIMEOUT && sel->skip_locked)
            continue;
        if (rc != ICE_OK)
            return rc;
        ice_value *key = ice_arena_array(l->s->scratch, pk->ncols, sizeof *key);
        for (size_t i = 0; key && i < pk->ncols; i++)
            if (ice_value_copy(l->s->scratch, &rows->rows[r][i], &key[i], err) != ICE_OK)
                key = NULL;
        if (!key)
            return ice_fail_nomem(err);
        l->kept[l->nkept++] = key;
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

/* Primary keys of the rows of a simple select, in its order. *ok false: no key fits. */
static ice_code keys_by_look_up(locking *l, ice_view *view, const ice_value *params, ice__rowset *out,
                                bool *ok, ice_error *err)
{
    const ice_select *sel = &l->st->select;
    const ice_tabledef *def = view->state->def;
    const ice_key *pk = &view->state->keys.keys[0];
    row_sort order = {.n = sel->norder, .desc = sel->order_desc};
    ice__rows found = {0};
    ice_value key[32];
    *ok = false;
    if (!l->s->fast_path || !sel->simple || sel->norder > 8 || pk->ncols > 32)
        return ICE_OK;
    for (size_t i = 0; i < sel->norder; i++)
        if ((order.cols[i] = ice_tabledef_find(def, sel->order_cols[i])) < 0 ||
            def->cols[order.cols[i]].collation.ptr)
            return ICE_OK;
    ice_code rc = ice__fast_rows(l->s, view, sel->conds, sel->nconds, params, &found, ok, err);
    if (rc != ICE_OK || !*ok)
        return rc;
    if (order.n && found.n > 1)
        qsort_r(found.values, found.n, sizeof *found.values, row_order, &order);
    *out = (ice__rowset){.arena = ice_arena_create(), .ncols = pk->ncols};
    if (!out->arena)
        return ice_fail_nomem(err);
    for (size_t r = 0; rc == ICE_OK && r < found.n; r++) {
        for (size_t i = 0; i < pk->ncols; i++)
            key[i] = found.values[r][pk->cols[i]];
        rc = ice__rowset_add(out, key, err);
    }
    return rc;
}

static ice_code keys_by_engine(locking *l, ice__stview *v, ice_view *view, ice_str alias,
                               const ice_value *params, size_t n, ice__rowset *out, ice_error *err)
{
    ice_buf sql = {0};
    ice_code rc = keys_sql(l->st, view->state->def, &view->state->keys, alias, &sql, err);
    v->with_start = true;
    if (rc == ICE_OK)
        rc = ice__collect(l->s, v, ice_buf_str(&sql), params, n, out, err);
    v->with_start = false;
    ice_buf_free(&sql);
    return rc;
}

/* Locks the rows of one table that the query reads. */
static ice_code lock_table(locking *l, ice__stview *v, ice_str name, ice_str alias, const ice_value *params,
                           size_t n, ice_str *only, ice_error *err)
{
    ice_view *view = NULL;
    ice__rowset rows = {0};
    ice__txtable *t;
    bool found = false;
    ice_code rc;
    ICE_TRY(ice__stview_target(v, name, &view, err));
    const ice_tabledef *def = view->state->def;
    const ice_key *pk = &view->state->keys.keys[0];
    ICE_TRY(ice__tx_table(l->s, def->uuid, def->name, false, &t, err));
    ICE_TRY(keys_by_look_up(l, view, params, &rows, &found, err));
    if (!found)
        ICE_TRY(keys_by_engine(l, v, view, alias, params, n, &rows, err));
    l->nkept = 0;
    ICE_TRY(lock_rows(l, def, pk, &rows, err));
    if (l->st->select.skip_locked)
        ICE_TRY(only_rows(l->s->scratch, def, pk, l->kept, l->nkept, only, err));
out:
    ice_arena_free(rows.arena);
    return rc;
}

ice_code ice__run_select_lock(ice_session *s, ice_prepared *p, const ice_value *params, size_t n,
                              ice__stview **v, ice_cursor *c, ice_error *err)
{
    const ice_stmt *st = &p->stmt;
    const ice_select *sel = &st->select;
    ice_str locked = ICE_STR_NONE;
    locking l = {
        .s = s, .st = st, .limit = st->select.skip_locked && st->select.simple ? st->select.limit : -1};
    ice_code rc;
    ice_str only = ICE_STR_NONE;
    ICE_TRY(check_of(sel, err));
    if (l.limit <= -2)
        l.limit = l.limit == ICE_SQL_LIMIT_EXPR || params[-2 - l.limit].null ? -1 : params[-2 - l.limit].i;
    /* Rows are read on a view in which every one of them was locked before the view was taken: so the
     * statement looks again, with its locks, until it meets no row that it had not locked. */
    for (bool again = true; again;) {
        size_t mark = ice_lock_mark(s->locker);
        ice__stview *fresh = NULL;
        for (size_t i = 0; i < sel->nrels; i++)
            if (locks(sel, i)) {
                ICE_TRY(lock_table(&l, *v, sel->rel_tables[i], sel->rel_aliases[i], params, n, &only, err));
                locked = sel->rel_tables[i];
            }
        if (ice_lock_mark(s->locker) == mark)
            break;
        ICE_TRY(ice__stview_open(s, 0, &fresh, err));
        again = fresh->at != (*v)->at;
        ice__stview_unref(*v);
        *v = fresh;
    }
    if (only.ptr) {
        (*v)->only_table = locked;
        (*v)->only_where = only;
    }
    bool done = false;
    if (s->fast_path && !only.ptr)
        ICE_TRY(ice__fast_select(s, p, params, n, *v, c, &done, err));
    if (!done)
        rc = ice__run_select(s, p, sel->text, params, n, *v, c, err);
out:
    return rc;
}
