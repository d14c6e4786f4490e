/* Constraints of whole tables, by queries: what a bulk statement has put into files is not looked at row by
 * row. Rows that were there before keep the constraints, so the whole table is asked. */
#include <stdlib.h>

#include "txn/bulk.h"

/* The first row of a query on the newest view, in the session's scratch; *out NULL: none. */
static ice_code first_row(ice_session *s, const ice_buf *sql, ice_value **out, ice_error *err)
{
    ice__rowset rows = {0};
    ice__stview *v = NULL;
    ice_code rc;
    bool more;
    *out = NULL;
    if (sql->failed)
        return ice_fail_nomem(err);
    ICE_TRY(ice__stview_open(s, 0, &v, err));
    v->with_start = true; /* hidden keys are columns */
    ICE_TRY(ice__collect_some(s, v, ice_buf_str(sql), NULL, 0, 1, &more, &rows, err));
    if (rows.n) {
        *out = ICE_NEW_N(s->scratch, ice_value, rows.ncols + 1);
        if (!*out)
            rc = ice_fail_nomem(err);
        for (size_t i = 0; i < rows.ncols && rc == ICE_OK; i++)
            rc = ice_value_copy(s->scratch, &rows.rows[0][i], &(*out)[i], err);
    }
out:
    ice__stview_unref(v);
    ice_arena_free(rows.arena);
    return rc;
}

/* ---- unique keys ---- */

static void put_columns(const ice_tabledef *def, const ice_key *k, const char *between, const char *after,
                        ice_buf *b)
{
    for (size_t i = 0; i < k->ncols; i++) {
        ice_buf_puts(b, i ? between : "");
        ice_buf_put_ident(b, def->cols[k->cols[i]].name);
        ice_buf_puts(b, after);
    }
}

static ice_code check_key(ice_session *s, const ice_tabledef *def, const ice_key *k, ice_error *err)
{
    ice_buf sql = {0};
    ice_value *found, *row;
    ice_code rc;
    ice_buf_puts(&sql, "SELECT ");
    put_columns(def, k, ", ", "", &sql);
    ice_buf_puts(&sql, " FROM ");
    ice_buf_put_ident(&sql, def->name);
    if (!k->nulls_not_distinct) {
        ice_buf_puts(&sql, " WHERE ");
        put_columns(def, k, " AND ", " IS NOT NULL", &sql);
    }
    ice_buf_puts(&sql, " GROUP BY ");
    put_columns(def, k, ", ", "", &sql);
    ice_buf_puts(&sql, " HAVING count(*) > 1 LIMIT 1");
    ICE_TRY(first_row(s, &sql, &found, err));
    if (!found)
        goto out;
    if (!(row = ICE_NEW_N(s->scratch, ice_value, def->ncols + 1))) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < k->ncols; i++)
        row[k->cols[i]] = found[i];
    rc = ice__unique_fail(def, ice__constraint_of(def, k), k, row, err);
out:
    ice_buf_free(&sql);
    return rc;
}

/* Conditional and functional ones. ROW(..) of equal NULLs is one group: a key with a NULL in it equals none.
 */
static ice_code check_engine_unique(ice_session *s, const ice_tabledef *def, const ice_constraint *con,
                                    ice_error *err)
{
    ice_buf sql = {0};
    ice_value *found;
    ice_code rc;
    ice_buf_puts(&sql, "SELECT * FROM (SELECT ");
    for (size_t i = 0; !con->expr_sql.ptr && i < con->ncols; i++) {
        ice_buf_puts(&sql, i ? ", " : "");
        ice__put_compared(&sql, &def->cols[ice_tabledef_find_id(def, con->field_ids[i])]);
    }
    if (con->expr_sql.ptr)
        ice_buf_put_str(&sql, con->expr_sql);
    ice_buf_puts(&sql, " FROM ");
    ice_buf_put_ident(&sql, def->name);
    if (con->where_sql.ptr)
        ice_buf_printf(&sql, " WHERE %.*s", ICE_PRI(con->where_sql));
    ice_buf_puts(&sql, ")");
    if (!con->nulls_not_distinct)
        ice_buf_puts(&sql, " WHERE COLUMNS(*) IS NOT NULL");
    ice_buf_puts(&sql, " GROUP BY ALL HAVING count(*) > 1 LIMIT 1");
    ICE_TRY(first_row(s, &sql, &found, err));
    if (found)
        rc = ice__unique_fail(def, con, NULL, NULL, err);
out:
    ice_buf_free(&sql);
    return rc;
}

static bool touches(const ice_key *k, const uint8_t *set)
{
    for (size_t i = 0; set && i < k->ncols; i++)
        if (set[k->cols[i]])
            return true;
    return !set;
}

/* ---- checks that need the engine ---- */

static ice_code check_where(ice_session *s, const ice_tabledef *def, const char *format, ice_str what,
                            bool *found, ice_error *err)
{
    ice_buf sql = {0};
    ice_value *row = NULL;
    ice_buf_puts(&sql, "SELECT 1 FROM ");
    ice_buf_put_ident(&sql, def->name);
    ice_buf_puts(&sql, " WHERE ");
    ice_buf_printf(&sql, format, ICE_PRI(what));
    ice_code rc = first_row(s, &sql, &row, err);
    *found = row != NULL;
    ice_buf_free(&sql);
    return rc;
}

static ice_code check_rest(ice_session *s, const ice_tabledef *def, ice_error *err)
{
    ice_code rc = ICE_OK;
    bool generated = false, found = false;
    for (size_t i = 0; i < def->ncols; i++)
        generated |= def->cols[i].generated_sql.ptr != NULL;
    for (size_t i = 0; rc == ICE_OK && i < def->ncols; i++) {
        ice_buf name = {0};
        if (!def->cols[i].generated_sql.ptr || !def->cols[i].not_null)
            continue;
        ice_buf_put_ident(&name, def->cols[i].name);
        rc = check_where(s, def, "%.*s IS NULL LIMIT 1", ice_buf_str(&name), &found, err);
        ice_buf_free(&name);
        if (rc == ICE_OK && found)
            rc = ice__null_fail(def, &def->cols[i], err);
    }
    for (size_t i = 0; rc == ICE_OK && i < def->ncons; i++) {
        const ice_constraint *con = &def->cons[i];
        ice_pred *pred = NULL;
        ice_error ignored;
        if (con->kind != ICE_CON_CHECK ||
            (!generated && ice_pred_compile(s->scratch, con->check_sql, def, &pred, &ignored) == ICE_OK))
            continue;
        rc = check_where(s, def, "(%.*s) IS FALSE LIMIT 1", con->check_sql, &found, err);
        if (rc == ICE_OK && found)
            rc = ice__check_fail(def, con, err);
    }
    return rc;
}

ice_code ice__bulk_check(ice_session *s, const ice_tabledef *def, const ice_keys *keys, const uint8_t *set,
                         ice_error *err)
{
    ice_code rc = check_rest(s, def, err);
    for (size_t i = 0; rc == ICE_OK && i < keys->n; i++)
        if (touches(&keys->keys[i], set) && ice__key_holds_now(s, &keys->keys[i]))
            rc = check_key(s, def, &keys->keys[i], err);
    for (size_t i = 0; rc == ICE_OK && i < def->ncons; i++)
        if (ice__engine_unique(def, &def->cons[i]))
            rc = check_engine_unique(s, def, &def->cons[i], err);
    return rc;
}

ice_code ice__bulk_check_deferred(ice_session *s, const ice__txtable *t, ice_error *err)
{
    const ice_keys *keys = &t->state->keys;
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < keys->n; i++)
        if (keys->keys[i].deferrable)
            rc = check_key(s, t->state->def, &keys->keys[i], err);
    return rc;
}

/* ---- foreign keys ---- */

static void put_pairs(const ice_tabledef *child, const ice_tabledef *parent, const ice_constraint *con,
                      ice_buf *b)
{
    for (size_t i = 0; i < con->ncols; i++) {
        ice_buf_puts(b, i ? " AND p." : "p.");
        ice_buf_put_ident(b, parent->cols[ice_tabledef_find_id(parent, con->ref_field_ids[i])].name);
        ice_buf_puts(b, " = c.");
        ice_buf_put_ident(b, child->cols[ice_tabledef_find_id(child, con->field_ids[i])].name);
    }
}

static bool has_fields(const ice_tabledef *def, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ice_tabledef_find_id(def, ids[i]) < 0)
            return false;
    return true;
}

/* Children without a parent. `from_child`: the child is what was changed. */
static ice_code check_reference(ice_session *s, const ice_tabledef *child, const ice_tabledef *parent,
                                const ice_constraint *con, bool from_child, ice_error *err)
{
    ice_buf sql = {0};
    ice_value *row;
    ice_code rc;
    if (!has_fields(child, con->field_ids, con->ncols) || !has_fields(parent, con->ref_field_ids, con->ncols))
        return ICE_OK;
    ice_buf_puts(&sql, "SELECT ");
    for (size_t i = 0; i < con->ncols; i++) {
        ice_buf_puts(&sql, i ? ", c." : "c.");
        ice_buf_put_ident(&sql, child->cols[ice_tabledef_find_id(child, con->field_ids[i])].name);
    }
    ice_buf_puts(&sql, " FROM ");
    ice_buf_put_ident(&sql, child->name);
    ice_buf_puts(&sql, " AS c WHERE ");
    for (size_t i = 0; i < con->ncols; i++) {
        ice_buf_puts(&sql, "c.");
        ice_buf_put_ident(&sql, child->cols[ice_tabledef_find_id(child, con->field_ids[i])].name);
        ice_buf_puts(&sql, " IS NOT NULL AND ");
    }
    ice_buf_puts(&sql, "NOT EXISTS (SELECT 1 FROM ");
    ice_buf_put_ident(&sql, parent->name);
    ice_buf_puts(&sql, " AS p WHERE ");
    put_pairs(child, parent, con, &sql);
    ice_buf_puts(&sql, ") LIMIT 1");
    ICE_TRY(first_row(s, &sql, &row, err));
    if (row)
        rc = ice__fk_fail(child, con, parent, from_child ? con->field_ids : con->ref_field_ids,
                          from_child ? child : parent, row, from_child, err);
out:
    ice_buf_free(&sql);
    return rc;
}

/* Every table as the transaction sees it, with a definition to look into while `v` is open. */
static ice_code each_table(ice_session *s, ice__stview *v,
                           ice_code (*fn)(void *, const ice_tabledef *, ice_error *), void *arg,
                           ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < v->reg->n + s->tx.ntables; i++) {
        bool own = i >= v->reg->n;
        const ice__txtable *t = own ? &s->tx.tables[i - v->reg->n] : NULL;
        ice_view *view = NULL;
        if (own ? t->dropped : ice__tx_find(&s->tx, v->reg->entries[i]->uuid) != NULL)
            continue;
        rc = ice__stview_ours(v, ice_str_c(own ? t->name : v->reg->entries[i]->name), &view, err);
        if (rc == ICE_OK && view)
            rc = fn(arg, view->state->def, err);
    }
    return rc;
}

typedef struct reference {
    ice_session *s;
    const ice_tabledef *table;
    ice_uuid wanted;
} reference;

/* A table's definition as the transaction sees it, to look into while `v` is open; NULL: there is none. */
static ice_code definition_of(ice_session *s, ice__stview *v, ice_uuid id, const ice_tabledef **out, ice_error *err)
{
    const ice__txtable *t = ice__tx_find(&s->tx, id);
    const ice__entry *e = ice__registry_find_uuid(v->reg, id);
    ice_view *view = NULL;
    ice_code rc = ICE_OK;
    if (t ? !t->dropped : e != NULL)
        rc = ice__stview_table(v, ice_str_c(t ? t->name : e->name), &view, err);
    *out = rc == ICE_OK && view ? view->state->def : NULL;
    return rc;
}

static ice_code lock_parents(ice_session *s, ice_uuid parent, ice_error *err)
{
    return ice__tx_lock(s, ice__lock_parent(parent), ICE_LOCK_EXCLUSIVE, false, NULL, err);
}

static ice_code check_own(ice_session *s, ice__stview *v, const ice_tabledef *def, ice_error *err)
{
    for (size_t i = 0; i < def->ncons; i++) {
        const ice_constraint *con = &def->cons[i];
        const ice_tabledef *parent = NULL;
        if (con->kind != ICE_CON_FOREIGN)
            continue;
        ice_code rc = lock_parents(s, con->ref_table, err);
        if (rc == ICE_OK)
            rc = definition_of(s, v, con->ref_table, &parent, err);
        if (rc == ICE_OK && parent)
            rc = check_reference(s, def, parent, con, true, err);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

static ice_code check_referrer(void *arg, const ice_tabledef *def, ice_error *err)
{
    const reference *r = arg;
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < def->ncons; i++)
        if (def->cons[i].kind == ICE_CON_FOREIGN && ice_uuid_eq(def->cons[i].ref_table, r->wanted))
            rc = check_reference(r->s, def, r->table, &def->cons[i], false, err);
    return rc;
}

ice_code ice__bulk_foreign_keys(ice_session *s, ice_uuid table, ice_error *err)
{
    const ice__txtable *t = ice__tx_find(&s->tx, table);
    bool children = t->check_children, parents = t->check_parents;
    ice__stview *v = NULL;
    ice_view *view;
    ice_code rc = ICE_OK;
    if (!children && !parents)
        return ICE_OK;
    if (parents) /* before anything is looked at */
        ICE_TRY(lock_parents(s, table, err));
    ICE_TRY(ice__stview_open(s, 0, &v, err));
    ICE_TRY(ice__stview_need(v, ice_str_c(t->name), &view, err));
    if (children)
        ICE_TRY(check_own(s, v, view->state->def, err));
    reference r = {.s = s, .table = view->state->def, .wanted = table};
    if (parents)
        ICE_TRY(each_table(s, v, check_referrer, &r, err));
out:
    ice__stview_unref(v);
    return rc;
}
