/* UPDATE, DELETE: the rows to change are found by the fast path or the engine. */
#include <stdlib.h>

#include "txn/bulk.h"
#include "txn/fast_int.h"

static bool find_column(void *arg, const ice_arith *column, const ice_column **col, ice__fplace *at)
{
    const ice_tabledef *def = arg;
    *at = (ice__fplace){.col = ice_tabledef_find(def, column->column)};
    *col = at->col < 0 ? NULL : &def->cols[at->col];
    return *col;
}

/* SET column = what needs no engine: a value, or arithmetic. */
typedef struct setting {
    int at;
    ice_value value;
    ice__arith *arith;
} setting;

/* *ok false: one of them does need it, or is an error, which a statement that meets no row has as well. */
static ice_code bind_settings(ice__batch *b, const ice_update *st, const ice_value *params, setting **out, bool *ok,
                              ice_error *err)
{
    setting *s = *out = ICE_NEW_N(b->s->scratch, setting, st->nset + 1);
    if (!s)
        return ice_fail_nomem(err);
    *ok = true;
    for (size_t i = 0; i < st->nset && *ok; i++) {
        const ice_expr *e = &st->set_exprs[i];
        s[i].at = ice_tabledef_find(b->def, st->set_cols[i]);
        const ice_column *col = s[i].at < 0 ? NULL : &b->def->cols[s[i].at];
        if (!col || col->generated_sql.ptr)
            *ok = false;
        else if (e->kind == ICE_E_ARITH)
            *ok = (s[i].arith = ice__arith_bind(b->s->scratch, e->arith, find_column, (void *)b->def, params)) != NULL;
        else
            *ok = ice__expr_value(e, col, params, &s[i].value);
    }
    return ICE_OK;
}

/* New values of a row. *ok false: the engine has to compute one. */
static ice_code simple_set(ice__batch *b, const ice_update *st, const setting *s, ice_value *old, ice_value *out,
                           bool *ok, ice_error *err)
{
    ice_code rc = ICE_OK;
    memcpy(out, old, b->def->ncols * sizeof *out);
    *ok = true;
    for (size_t i = 0; rc == ICE_OK && i < st->nset; i++) {
        ice_value v = s[i].value;
        if (s[i].arith && !(*ok = ice__arith_eval(s[i].arith, &old, &v)))
            return ICE_OK;
        rc = ice__coerce(b->s, &b->def->cols[s[i].at], &v, &out[s[i].at], err);
    }
    return rc;
}

ice_code ice__add_change(ice__batch *b, ice_value *old, ice_value *values, int64_t start_, ice_error *err)
{
    ice__write_row *w;
    ice_code rc = ice__batch_add(b, &w, err);
    if (rc != ICE_OK)
        return rc;
    w->before = old;
    w->values = values;
    w->start = start_;
    return ice__key_of(b, old, &w->key, err);
}

/* Rows by key look-up, with values computed here. *done false: nothing was added, the engine does it all. */
static ice_code fast_changes(ice__batch *b, const ice_update *st, const ice_value *params, bool *done,
                             ice_error *err)
{
    ice__rows found = {0};
    setting *set;
    ice_code rc;
    *done = false;
    if (!b->s->fast_path || !st->simple_where || st->from_sql.ptr || !st->nconds)
        return ICE_OK;
    if ((rc = bind_settings(b, st, params, &set, done, err)) != ICE_OK || !*done)
        return rc;
    if ((rc = ice__fast_rows(b->s, b->view, st->conds, st->nconds, params, &found, done, err)) != ICE_OK ||
        !*done)
        return rc;
    for (size_t i = 0; i < found.n; i++) {
        ice_value *values = NULL;
        int64_t start_ = found.rows[i].where == ICE_IN_OVERLAY ? 0 : found.rows[i].start;
        if (st->nset) {
            bool ok;
            if (!(values = ice_arena_array(b->s->scratch, b->def->ncols, sizeof *values)))
                return ice_fail_nomem(err);
            rc = simple_set(b, st, set, found.values[i], values, &ok, err);
            if (rc != ICE_OK)
                return rc;
            if (!ok) {
                b->n = 0;
                *done = false;
                return ICE_OK;
            }
        }
        if ((rc = ice__add_change(b, found.values[i], values, start_, err)) != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* SELECT a system column, old columns..., SET expressions... of the rows to change. */
static ice_code changes_sql(const ice_tabledef *def, const ice_update *st, const char *system, ice_buf *sql,
                            ice_error *err)
{
    ice_str name = st->alias.ptr ? st->alias : st->table;
    if (st->with_sql.ptr)
        ice_buf_printf(sql, "%.*s ", ICE_PRI(st->with_sql));
    ice_buf_puts(sql, "SELECT ");
    ice_buf_put_ident(sql, name);
    ice_buf_printf(sql, ".\"%s\"", system);
    for (size_t i = 0; i < def->ncols; i++) {
        ice_buf_puts(sql, ", ");
        ice_buf_put_ident(sql, name);
        ice_buf_puts(sql, ".");
        ice_buf_put_ident(sql, def->cols[i].name);
    }
    for (size_t i = 0; i < st->nset; i++) {
        int at = ice_tabledef_find(def, st->set_cols[i]);
        if (at < 0)
            return ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" of table \"%.*s\" does not exist",
                            ICE_PRI(st->set_cols[i]), ICE_PRI(def->name));
        if (def->cols[at].generated_sql.ptr && st->set_exprs[i].kind != ICE_E_DEFAULT)
            return ice_fail(err, ICE_SYNTAX, "column \"%.*s\" is generated: it can't be set",
                            ICE_PRI(st->set_cols[i]));
        bool dflt = st->set_exprs[i].kind == ICE_E_DEFAULT;
        ice_str d = def->cols[at].default_sql;
        ice_buf_printf(sql, ", (%.*s)", ICE_PRI(!dflt ? st->set_exprs[i].text : d.ptr ? d : ICE_STR("NULL")));
    }
    ice_buf_puts(sql, " FROM ");
    ice_buf_put_ident(sql, st->table);
    if (st->alias.ptr) {
        ice_buf_puts(sql, " AS ");
        ice_buf_put_ident(sql, st->alias);
    }
    if (st->from_sql.ptr)
        ice_buf_printf(sql, ", %.*s", ICE_PRI(st->from_sql));
    if (st->where_sql.ptr)
        ice_buf_printf(sql, " WHERE %.*s", ICE_PRI(st->where_sql));
    return ice_buf_check(sql, err);
}

static ice_code copy_row(ice__batch *b, const ice_value *from, size_t n, ice_value **out, ice_error *err)
{
    if (!(*out = ice_arena_array(b->s->scratch, n + 1, sizeof **out)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        ice_value v;
        ice_code rc = ice_value_cast(b->s->scratch, &from[i], b->def->cols[i].type, &v, err);
        if (rc == ICE_OK)
            rc = ice_value_copy(b->s->scratch, &v, &(*out)[i], err);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* Rows from which on the bulk path takes over; 0: never. Generated columns are known only once they are written,
 * too late for RETURNING; ON DELETE actions want the rows that were deleted. */
static ice_code bulk_limit(ice__batch *b, const ice_update *st, uint64_t *out, ice_error *err)
{
    bool generated = false, actions = false;
    ice_code rc = ICE_OK;
    *out = b->s->bulk_rows > 1 ? b->s->bulk_rows : 0;
    for (size_t i = 0; i < b->def->ncols; i++)
        generated |= b->def->cols[i].generated_sql.ptr != NULL;
    if (*out && !st->nset)
        rc = ice__has_actions(b, &actions, err);
    if (actions || (generated && st->nset && st->returning))
        *out = 0;
    return rc;
}

ice_code ice__engine_changes(ice__batch *b, const ice_update *st, const ice_value *params, size_t np,
                             bool *many, ice_error *err)
{
    ice_buf sql = {0};
    ice__rowset rows = {0};
    size_t n = b->def->ncols;
    uint64_t limit, count = 0;
    ice_code rc;
    *many = false;
    ICE_TRY(bulk_limit(b, st, &limit, err));
    if (limit && !st->where_sql.ptr && !st->from_sql.ptr) {
        ICE_TRY(ice_view_count(b->view, &count, err));
        if ((*many = count >= limit))
            return ICE_OK;
    }
    ICE_TRY(changes_sql(b->def, st, "_row_start", &sql, err));
    b->v->with_start = true;
    ICE_TRY(ice__collect_some(b->s, b->v, ice_buf_str(&sql), params, np, limit ? limit - 1 : 0, many, &rows, err));
    for (size_t r = 0; !*many && r < rows.n; r++) {
        ice_value *old = NULL, *values = NULL;
        ICE_TRY(copy_row(b, rows.rows[r] + 1, n, &old, err));
        for (size_t i = 0; i < st->nset; i++) {
            int at = ice_tabledef_find(b->def, st->set_cols[i]);
            ice_value v;
            if (!values) {
                if (!(values = ice_arena_array(b->s->scratch, n, sizeof *values))) {
                    rc = ice_fail_nomem(err);
                    goto out;
                }
                memcpy(values, old, n * sizeof *values);
            }
            ICE_TRY(ice__coerce(b->s, &b->def->cols[at], &rows.rows[r][1 + n + i], &v, err));
            ICE_TRY(ice_value_copy(b->s->scratch, &v, &values[at], err));
        }
        ICE_TRY(ice__add_change(b, old, values, rows.rows[r][0].null ? 0 : rows.rows[r][0].i, err));
    }
out:
    ice_buf_free(&sql);
    ice_arena_free(rows.arena);
    return rc;
}

/* UPDATE ... FROM may meet a row twice: the first match counts. */
static void drop_repeats(ice__batch *b)
{
    size_t kept = 0, nkey = b->keys->keys[0].ncols;
    for (size_t i = 0; i < b->n; i++) {
        bool again = false;
        for (size_t k = 0; k < kept && !again; k++) {
            again = true;
            for (size_t c = 0; c < nkey && again; c++)
                again = ice_value_eq(&b->rows[k].key[c], &b->rows[i].key[c]);
        }
        if (!again)
            b->rows[kept++] = b->rows[i];
    }
    b->n = kept;
}

ice_code ice__apply_changes(ice__batch *b, bool update, ice_error *err)
{
    ice_code rc;
    if (update && (rc = ice__batch_finish(b, err)) != ICE_OK)
        return rc;
    if ((rc = ice__batch_lock_table(b, err)) != ICE_OK || (rc = ice__batch_lock_rows(b, err)) != ICE_OK ||
        (rc = ice__batch_verify(b, err)) != ICE_OK || (rc = ice__batch_overlay(b, err)) != ICE_OK)
        return rc;
    for (size_t i = 0; i < b->n; i++)
        if ((rc = ice__end_version(b, b->rows[i].key, b->rows[i].start,
                                   update ? ICE_OP_UPDATE : ICE_OP_DELETE, err)) != ICE_OK)
            return rc;
    if (update && (rc = ice__batch_uniques(b, false, err)) != ICE_OK)
        return rc;
    for (size_t i = 0; update && i < b->n; i++)
        if ((rc = ice__put_row(b, &b->rows[i], ICE_OP_UPDATE, NULL, err)) != ICE_OK)
            return rc;
    return ICE_OK;
}

/* ---- the bulk path ---- */

typedef struct bulk_update {
    const ice_update *st;
    ice__returning *returning;
    size_t *set; /* positions of the columns that are set */
} bulk_update;

static bool same_key(const ice_key *k, const ice_value *x, const ice_value *y)
{
    for (size_t i = 0; i < k->ncols; i++)
        if (!ice_value_eq(&x[k->cols[i]], &y[k->cols[i]]))
            return false;
    return true;
}

static ice_code bulk_values(const bulk_update *u, ice__bulk *k, const ice_value *in, ice_arena *a, ice_value *out,
                            ice_error *err)
{
    size_t n = k->def->ncols;
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < n && rc == ICE_OK; i++) {
        ice_value v;
        rc = ice_value_cast(a, &in[1 + i], k->def->cols[i].type, &v, err);
        if (rc == ICE_OK)
            rc = ice_value_copy(a, &v, &out[i], err);
    }
    for (size_t i = 0; i < u->st->nset && rc == ICE_OK; i++) {
        ice_value v;
        rc = ice__coerce(k->s, &k->def->cols[u->set[i]], &in[1 + n + i], &v, err);
        if (rc == ICE_OK)
            rc = ice_value_copy(a, &v, &out[u->set[i]], err);
    }
    return rc;
}

/* A deleted row that the transaction had staged in place of an older one: that one was deleted. */
static ice_code mark_deleted(ice__bulk *k, const ice_value *old, ice_arena *a, ice_error *err)
{
    const ice_key *pk = &k->keys->keys[0];
    ice_value *key = ICE_NEW_N(a, ice_value, pk->ncols + 1);
    if (!key)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < pk->ncols; i++)
        key[i] = old[pk->cols[i]];
    return ice_marks_deleted(k->marks, key, err);
}

/* One row of the query: place, old values, values that are set. UPDATE ... FROM may meet a row twice: the first
 * match counts. */
static ice_code bulk_row(void *arg, ice__bulk *k, const ice_value *in, ice_arena *a, ice_value *out, bool *taken,
                         ice_error *err)
{
    const bulk_update *u = arg;
    bool update = u->st->nset > 0, fresh, moved;
    const ice_value *old = in + 1;
    ice_code rc;
    if (in[0].null)
        return ice_fail(err, ICE_INTERNAL, "a row of table \"%.*s\" is in no file", ICE_PRI(k->def->name));
    uint32_t file = (uint32_t)((uint64_t)in[0].i >> 32);
    if (update)
        ICE_TRY(bulk_values(u, k, in, a, out, err));
    moved = update && !same_key(&k->keys->keys[0], old, out);
    ice_row_op op = update && !moved ? ICE_OP_UPDATE : ICE_OP_DELETE;
    ICE_TRY(ice_marks_add(k->marks, file, (uint32_t)in[0].i, op, &fresh, err));
    if (!fresh)
        return ICE_OK;
    if (op == ICE_OP_DELETE && ice_marks_staged(k->marks, file))
        ICE_TRY(mark_deleted(k, old, a, err));
    if (update)
        ICE_TRY(ice__bulk_check_row(k, out, err));
    k->changed++;
    *taken = update;
    if (u->st->returning)
        rc = ice__returning_row(u->returning, update ? out : old, err);
out:
    return rc;
}

/* DELETE without a condition: no row is looked at. */
static ice_code bulk_delete_all(ice__bulk *k, ice_error *err)
{
    uint64_t n = 0;
    ice_code rc = ice_marks_add_all(k->marks, k->view, &n, err);
    k->changed = (int64_t)n;
    return rc;
}

static ice_code bulk_set(const ice_update *st, const ice_tabledef *def, ice_arena *a, size_t **set, uint8_t **which,
                         ice_error *err)
{
    *set = ICE_NEW_N(a, size_t, st->nset + 1);
    *which = ICE_NEW_N(a, uint8_t, def->ncols + 1);
    if (!*set || !*which)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < st->nset; i++) {
        int at = ice_tabledef_find(def, st->set_cols[i]);
        if (at < 0)
            return ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" of table \"%.*s\" does not exist",
                            ICE_PRI(st->set_cols[i]), ICE_PRI(def->name));
        (*set)[i] = (size_t)at;
        (*which)[at] = 1;
    }
    for (size_t i = 0; i < def->ncols; i++)
        (*which)[i] |= def->cols[i].generated_sql.ptr != NULL;
    return ICE_OK;
}

ice_code ice__bulk_update(ice_session *s, ice_uuid table, const ice_update *st, const ice_value *params, size_t np,
                          ice_cursor *c, ice__returning *r, ice_error *err)
{
    bulk_update u = {.st = st, .returning = r};
    ice_buf sql = {0};
    uint8_t *which;
    ice__bulk k;
    ice_code rc;
    ICE_TRY(ice__bulk_open(&k, s, table, st->table, true, err));
    ICE_TRY(bulk_set(st, k.def, s->scratch, &u.set, &which, err));
    if (!st->nset && !st->where_sql.ptr && !st->from_sql.ptr && !st->returning) {
        ICE_TRY(bulk_delete_all(&k, err));
    } else {
        ICE_TRY(changes_sql(k.def, st, ICE_ROW_PLACE, &sql, err));
        ICE_TRY(ice__bulk_run(&k, ice_buf_str(&sql), params, np, st->nset > 0, bulk_row, &u, err));
    }
    ICE_TRY(ice__bulk_finish(&k, which, err));
    c->rowcount = k.changed;
    c->path = "bulk";
out:
    ice_buf_free(&sql);
    ice__bulk_close(&k);
    return rc;
}

ice_code ice__run_update(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v,
                         ice_cursor *c, ice_error *err)
{
    const ice_update *st = &p->stmt.update;
    ice__returning returning = {0};
    ice__batch b;
    bool done = false, many = false;
    ice_code rc;
    ICE_TRY(ice__batch_open(&b, s, v, st->table, err));
    if (st->returning)
        ICE_TRY(ice__returning_open(&returning, s, c, b.def, st->returning_star, st->nreturning, st->returning_exprs,
                                    st->returning_names, err));
    ICE_TRY(fast_changes(&b, st, params, &done, err));
    if (!done)
        ICE_TRY(ice__engine_changes(&b, st, params, n, &many, err));
    if (many) {
        ICE_TRY(ice__bulk_update(s, b.def->uuid, st, params, n, c, &returning, err));
        goto returned;
    }
    if (st->from_sql.ptr)
        drop_repeats(&b);
    c->path = done ? "fast" : "engine";
    if (b.n > 0)
        ICE_TRY(ice__apply_changes(&b, st->nset > 0, err));
    if (b.n > 0 && st->nset == 0)
        ICE_TRY(ice__run_actions(&b, err));
    for (size_t i = 0; st->returning && i < b.n; i++)
        ICE_TRY(ice__returning_row(&returning, st->nset ? b.rows[i].values : b.rows[i].before, err));
    c->rowcount = (int64_t)b.n;
returned:
    ICE_TRY(ice__returning_end(&returning, err));
out:
    ice__returning_close(&returning);
    ice__batch_close(&b);
    return rc;
}
