/* A batch of new row versions: locks, unique keys, constraints, the overlay. */
#include <stdlib.h>

#include "txn/write.h"

#define MANY_ROWS 512 /* of one table in a transaction: the whole table is locked instead of rows */

bool ice__engine_unique(const ice_tabledef *def, const ice_constraint *c)
{
    if (c->kind != ICE_CON_UNIQUE && c->kind != ICE_CON_PRIMARY)
        return false;
    for (size_t i = 0; i < c->ncols; i++)
        if (!ice_column_bytewise(&def->cols[ice_tabledef_find_id(def, c->field_ids[i])]))
            return true;
    return c->where_sql.ptr || c->expr_sql.ptr;
}

void ice__put_compared(ice_buf *b, const ice_column *c)
{
    bool json = ice_column_jsonb(c);
    ice_buf_puts(b, json ? "ice_json_key(" : "");
    ice_buf_put_ident(b, c->name);
    ice_buf_puts(b, json ? ")" : "");
}

ice_code ice__batch_open(ice__batch *b, ice_session *s, ice__stview *v, ice_str table, ice_error *err)
{
    *b = (ice__batch){.s = s, .v = v};
    ice_code rc = ice__stview_target(v, table, &b->view, err);
    if (rc != ICE_OK)
        return rc;
    b->def = b->view->state->def;
    b->keys = &b->view->state->keys;
    for (size_t i = 0; i < b->def->ncons; i++)
        b->engine_uniques |= ice__engine_unique(b->def, &b->def->cons[i]);
    return ICE_OK;
}

void ice__batch_close(ice__batch *b)
{
    ice__view_release(&b->latest);
}

ice_code ice__batch_add(ice__batch *b, ice__write_row **out, ice_error *err)
{
    if (!ICE_ROOM(b->s->scratch, b->rows, b->n, b->cap))
        return ice_fail_nomem(err);
    *out = &b->rows[b->n++];
    memset(*out, 0, sizeof **out);
    return ICE_OK;
}

/* The shared lock of the table, or with many rows the exclusive one. The definition seen by the statement is
 * the one in force after the lock: else the statement starts again. */
ice_code ice__batch_lock_table(ice__batch *b, ice_error *err)
{
    ice__txtable *had = ice__tx_find(&b->s->tx, b->def->uuid);
    bool many = b->n > MANY_ROWS || (had && had->rows + b->n > 4 * MANY_ROWS);
    ice_code rc = ice__tx_table(b->s, b->def->uuid, b->def->name, many, &b->t, err);
    if (rc != ICE_OK)
        return rc;
    b->t->rows += b->n;
    if (had || b->t->state)
        return ICE_OK;
    ice__registry *reg = NULL;
    ice_tabstate *now = NULL;
    int64_t at;
    if ((rc = ice__wh_catchup(b->s->wh, err)) != ICE_OK)
        return rc;
    ice__wh_view(b->s->wh, &reg, &at);
    rc = ice__tx_state(b->s, b->t, reg, &now, err);
    if (rc == ICE_OK && now->def->schema_id != b->def->schema_id)
        rc = ice_fail(err, ICE_CONFLICT, "table \"%.*s\" was altered meanwhile", ICE_PRI(b->def->name));
    ice__registry_unref(reg);
    return rc;
}

bool ice__unindexed(const ice_key *k, const ice_value *row)
{
    bool has_null = false;
    (void)ice_key_hash_row(k, row, &has_null);
    return has_null && !k->nulls_not_distinct;
}

static bool key_changed(const ice_key *k, const ice__write_row *w)
{
    if (!w->before)
        return true;
    for (size_t c = 0; c < k->ncols; c++)
        if (!ice_value_eq(&w->before[k->cols[c]], &w->values[k->cols[c]]))
            return true;
    return false;
}

/* Locks what the rows set and what they replace. */
ice_code ice__batch_lock_rows(ice__batch *b, ice_error *err)
{
    if (b->t->exclusive)
        return ICE_OK;
    ice_uuid id = b->def->uuid;
    for (size_t i = 0; i < b->n; i++) {
        ice__write_row *w = &b->rows[i];
        ice_code rc = ICE_OK;
        if (w->key)
            rc = ice__tx_lock(b->s, ice__lock_row(id, ice_key_hash(w->key, b->keys->keys[0].ncols)),
                              ICE_LOCK_EXCLUSIVE, false, NULL, err);
        for (size_t k = 0; rc == ICE_OK && w->values && k < b->keys->n; k++) {
            bool has_null = false;
            const ice_key *key = &b->keys->keys[k];
            if ((!key->unique && !key->deferrable) || !key_changed(key, w))
                continue;
            uint64_t hash = ice_key_hash_row(key, w->values, &has_null);
            if (!has_null || key->nulls_not_distinct)
                rc = ice__tx_lock(b->s, ice__lock_key(id, b->def, key, hash), ICE_LOCK_EXCLUSIVE, false, NULL,
                                  err);
        }
        for (size_t k = 0; rc == ICE_OK && w->values && b->engine_uniques && k < b->def->ncons; k++)
            if (ice__engine_unique(b->def, &b->def->cons[k]))
                rc = ice__tx_lock(b->s, ice__lock_constraint(id, b->def->cons[k].name), ICE_LOCK_EXCLUSIVE,
                                  false, NULL, err);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* With the locks held: are the versions to be replaced still the newest? */
ice_code ice__batch_verify(ice__batch *b, ice_error *err)
{
    ice_code rc = ice__latest_view(b->s, b->t, &b->latest, err);
    if (rc != ICE_OK || b->latest.at == b->view->at)
        return rc;
    for (size_t i = 0; i < b->n; i++) {
        ice__write_row *w = &b->rows[i];
        ice_row *rows;
        size_t n = 0;
        if (!w->key || w->start < ICE__OVERLAY_START)
            continue;
        rc = ice_view_find(&b->latest, 0, w->key, b->s->scratch, &rows, &n, err);
        if (rc == ICE_OK && (n != 1 || rows[0].start != w->start))
            rc = ice_fail(err, ICE_CONFLICT, "a row of \"%.*s\" changed meanwhile", ICE_PRI(b->def->name));
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* The overlay exists from here on, and the latest view sees it grow. */
ice_code ice__batch_overlay(ice__batch *b, ice_error *err)
{
    ice_code rc = ice__tx_overlay(b->t, b->latest.state, err);
    if (rc == ICE_OK && !b->latest.overlay) {
        b->latest.overlay = ice_tail_ref(b->t->overlay);
        b->latest.overlay_at = ICE_TIME_MAX - 1;
    }
    return rc;
}

/* ---- unique keys ---- */

const ice_constraint *ice__constraint_of(const ice_tabledef *def, const ice_key *k)
{
    return k->con ? k->con : ice_tabledef_primary(def);
}

ice_code ice__unique_fail(const ice_tabledef *def, const ice_constraint *con, const ice_key *k,
                          const ice_value *row, ice_error *err)
{
    ice_buf text = {0};
    for (size_t i = 0; k && i < k->ncols; i++)
        ice_buf_printf(&text, "%s%.*s", i ? ", " : "Key (", ICE_PRI(def->cols[k->cols[i]].name));
    for (size_t i = 0; k && i < k->ncols; i++) {
        ice_buf_puts(&text, i ? ", " : ")=(");
        ice_value_text(&row[k->cols[i]], &text);
    }
    if (k)
        ice_buf_puts(&text, ") already exists.");
    ice_fail(err, ICE_UNIQUE, "duplicate key value violates unique constraint \"%.*s\" %.*s",
             ICE_PRI(con->name), (int)text.len, text.data ? text.data : "");
    ice_error_object(err, def->name.ptr, con->name.ptr);
    ice_buf_free(&text);
    return ICE_UNIQUE;
}

bool ice__key_holds_now(ice_session *s, const ice_key *k)
{
    bool later = !s->tx.immediate && (s->tx.deferred || (k->con && k->con->initially_deferred));
    if (k->deferrable && later)
        s->tx.unchecked = true;
    return k->unique || (k->deferrable && !later);
}

ice_code ice__find_by_key(ice__batch *b, const ice_key *k, const ice_value *row, ice_row *out, bool *found,
                          ice_error *err)
{
    ice_value values[32];
    ice_row *rows;
    size_t n = 0;
    *found = false;
    if (k->ncols > 32 || ice__unindexed(k, row))
        return ICE_OK;
    for (size_t c = 0; c < k->ncols; c++)
        values[c] = row[k->cols[c]];
    ice_code rc =
        ice_view_find(&b->latest, (size_t)(k - b->keys->keys), values, b->s->scratch, &rows, &n, err);
    if ((*found = rc == ICE_OK && n > 0))
        *out = rows[0];
    return rc;
}

size_t ice__put_key(ice__batch *b, const ice_constraint *con, ice_buf *sql, ice_error *err)
{
    ice_str *parts = NULL;
    size_t n = con->ncols;
    if (con->expr_sql.ptr && ice_sql_split_exprs(b->s->scratch, con->expr_sql, &parts, &n, err) != ICE_OK)
        return 0;
    for (size_t i = 0; i < n; i++) {
        ice_buf_puts(sql, i ? ", " : "");
        if (parts)
            ice_buf_put_str(sql, parts[i]);
        else
            ice__put_compared(sql, &b->def->cols[ice_tabledef_find_id(b->def, con->field_ids[i])]);
        ice_buf_printf(sql, " AS __k%zu", i);
    }
    return n;
}

/* "SELECT <primary key> ..." of the row that agrees with this one in a conditional or functional key, or one
 * of columns that do not compare by their bytes. */
static ice_code clash_sql(ice__batch *b, const ice_constraint *con, ice_buf *sql, ice_error *err)
{
    const ice_key *pk = &b->keys->keys[0];
    ice_str where = con->where_sql.ptr ? con->where_sql : ICE_STR("TRUE");
    for (size_t i = 0; i < pk->ncols; i++)
        ice_buf_printf(sql, "%sa.__p%zu", i ? ", " : "SELECT ", i);
    ice_buf_puts(sql, " FROM (SELECT ");
    for (size_t i = 0; i < pk->ncols; i++) {
        ice_buf_put_ident(sql, b->def->cols[pk->cols[i]].name);
        ice_buf_printf(sql, " AS __p%zu, ", i);
    }
    size_t n = ice__put_key(b, con, sql, err);
    ice_buf_puts(sql, " FROM ");
    ice_buf_put_ident(sql, b->def->name);
    ice_buf_printf(sql, " WHERE (%.*s)) AS a, (SELECT ", ICE_PRI(where));
    if (n == 0 || ice__put_key(b, con, sql, err) == 0)
        return err->code;
    ice_buf_puts(sql, " FROM (");
    ice__row_relation(b->def, sql);
    ice_buf_printf(sql, ") AS r WHERE (%.*s)) AS b WHERE ", ICE_PRI(where));
    for (size_t i = 0; i < n; i++)
        ice_buf_printf(sql, "%sa.__k%zu %s b.__k%zu", i ? " AND " : "", i,
                       con->nulls_not_distinct ? "IS NOT DISTINCT FROM" : "=", i);
    ice_buf_puts(sql, " LIMIT 1");
    return ice_buf_check(sql, err);
}

ice_code ice__find_by_engine(ice__batch *b, const ice_constraint *con, const ice_value *row, ice_row *out,
                             bool *found, ice_error *err)
{
    ice_buf sql = {0};
    ice__rowset rows = {0};
    ice__stview *v = NULL;
    ice_row *at;
    size_t n = 0;
    ice_code rc;
    *found = false;
    ICE_TRY(clash_sql(b, con, &sql, err));
    ICE_TRY(ice__stview_open(b->s, 0, &v, err));
    v->with_start = true; /* hidden keys are seen too */
    ICE_TRY(ice__collect(b->s, v, ice_buf_str(&sql), row, b->def->ncols, &rows, err));
    if (rows.n == 0)
        goto out;
    *found = true;
    for (size_t i = 0; i < rows.ncols; i++)
        ICE_TRY(ice_value_cast(b->s->scratch, &rows.rows[0][i], b->def->cols[b->keys->keys[0].cols[i]].type,
                               &rows.rows[0][i], err));
    ICE_TRY(ice_view_find(&b->latest, 0, rows.rows[0], b->s->scratch, &at, &n, err));
    if (n > 0)
        *out = at[0];
    else
        rc = ice_fail(err, ICE_CONFLICT, "a row of \"%.*s\" changed meanwhile", ICE_PRI(b->def->name));
out:
    ice__stview_unref(v);
    ice_buf_free(&sql);
    ice_arena_free(rows.arena);
    return rc;
}

/* Whether another row has the same value of some unique key; an error where `clash` is NULL. */
static ice_code look_for_clash(ice__batch *b, const ice__write_row *w, bool *clash, ice_error *err)
{
    ice_row row;
    bool found = false;
    for (size_t k = 0; k < b->keys->n; k++) {
        const ice_key *key = &b->keys->keys[k];
        if ((!key->unique && !key->deferrable) || !key_changed(key, w) || !ice__key_holds_now(b->s, key))
            continue;
        ice_code rc = ice__find_by_key(b, key, w->values, &row, &found, err);
        if (rc == ICE_OK && found && !clash)
            rc = ice__unique_fail(b->def, ice__constraint_of(b->def, key), key, w->values, err);
        if (rc != ICE_OK || found) {
            if (clash)
                *clash = found;
            return rc;
        }
    }
    for (size_t i = 0; b->engine_uniques && !found && i < b->def->ncons; i++) {
        const ice_constraint *con = &b->def->cons[i];
        if (!ice__engine_unique(b->def, con))
            continue;
        ice_code rc = ice__find_by_engine(b, con, w->values, &row, &found, err);
        if (rc == ICE_OK && found && !clash)
            rc = ice__unique_fail(b->def, con, NULL, w->values, err);
        if (rc != ICE_OK)
            return rc;
    }
    if (clash)
        *clash = found;
    return ICE_OK;
}

ice_code ice__put_row(ice__batch *b, ice__write_row *w, ice_row_op op, bool *clash, ice_error *err)
{
    ice_code rc = look_for_clash(b, w, clash, err);
    if (rc != ICE_OK || (clash && *clash))
        return rc;
    return ice_tail_insert(b->t->overlay, w->values, ++b->s->tx.seq, op, NULL, err);
}

ice_code ice__end_version(ice__batch *b, const ice_value *key, int64_t start, ice_row_op op, ice_error *err)
{
    return ice_tail_end(b->t->overlay, key, start < ICE__OVERLAY_START ? 0 : start, ++b->s->tx.seq, op, NULL,
                        err);
}

ice_code ice__key_of(ice__batch *b, const ice_value *row, ice_value **out, ice_error *err)
{
    const ice_key *pk = &b->keys->keys[0];
    if (!(*out = ice_arena_array(b->s->scratch, pk->ncols, sizeof **out)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < pk->ncols; i++)
        (*out)[i] = row[pk->cols[i]];
    return ICE_OK;
}
