/* The primary key of a table that has rows. Files and versions hold whole rows and know nothing of keys, but
 * what ended since the last flush is known by the key it had: the key changes once a flush has taken that
 * (under the table's exclusive lock, so no more comes). What the transaction itself ended becomes sets of
 * positions. No row is written.
 *
 * A table without a declared key has the hidden constraint "_row_key_pkey": on the hidden column "_row_key",
 * or, where its rows had another key, on that key's columns until another is declared. */
#include "txn/bulk.h"
#include "txn/ddl.h"

#define HIDDEN_COLUMN ICE_STR("_row_key")
#define HIDDEN_KEY ICE_STR("_row_key_pkey")

ice_code ice__ddl_add_hidden_key(ice_tabledef *def, ice_error *err)
{
    if (ice_tabledef_primary(def))
        return ICE_OK;
    ice_column col = {.name = HIDDEN_COLUMN,
                      .type = {.kind = ICE_T_LONG},
                      .sql_type = ICE_STR("bigint"),
                      .not_null = true,
                      .identity = true};
    ice_code rc = ice_tabledef_add_column(def, &col, err);
    int32_t id = def->last_field_id;
    ice_constraint con = {.kind = ICE_CON_PRIMARY, .name = HIDDEN_KEY, .ncols = 1, .field_ids = &id};
    return rc == ICE_OK ? ice_tabledef_add_constraint(def, &con, err) : rc;
}

static int count_one(void *arg, const ice_tombstone *ts)
{
    (void)ts;
    *(bool *)arg = true;
    return 1;
}

/* The transaction's state of the table over what a flush has just published. */
static ice_code rebase(ice__ddl *d, ice_error *err)
{
    ice__registry *reg = NULL;
    ice_tabstate *base = NULL;
    int64_t at;
    ice__wh_view(d->s->wh, &reg, &at);
    ice__entry *e = ice__registry_find_uuid(reg, d->t->uuid);
    ice_code rc =
        e ? ice__wh_state(d->s->wh, e, &base, err)
          : ice_fail(err, ICE_NO_TABLE, "table \"%s\" was dropped by another transaction", d->t->name);
    if (rc == ICE_OK && d->t->state) {
        ice_tabledef *def = ice_tabledef_clone(d->t->state->def, false);
        rc = def ? ice__tx_set_def(d->s, d->t, base, def, err) : ice_fail_nomem(err);
        base = d->t->state;
    }
    if (rc == ICE_OK) {
        ice_tabstate_unref(d->now);
        d->now = ice_tabstate_ref(base);
    }
    ice__registry_unref(reg);
    return rc;
}

ice_code ice__ddl_settle_key(ice__ddl *d, bool *rows, ice_error *err)
{
    ice_tail_counts counts;
    ice__txtable *t;
    bool ended = false;
    size_t published;
    ice_code rc = ICE_OK;
    if (d->t->overlay)
        ice_tail_tombstones(d->t->overlay, 0, ICE_TIME_MAX - 1, count_one, &ended);
    if (ended) {
        ICE_TRY(ice__bulk_begin(d->s, d->now->def->uuid, d->now->def->name, &t, err));
        ice__ddl_follow(d);
    }
    ice_tail_counts_get(d->now->tail, &counts);
    if (counts.tombstones > 0) {
        ICE_TRY(ice__flush_all(d->s->wh, ICE_STR_NONE, &published, err));
        ICE_TRY(ice__wh_catchup(d->s->wh, err));
        ICE_TRY(rebase(d, err));
    }
    rc = ice__has_rows(d->s, d->now->def->name, rows, err);
    ice_tail_counts_get(d->now->tail, &counts);
    *rows |= counts.versions > 0 || (d->now->published && ice_published_rows(d->now->published) > 0);
out:
    return rc;
}

ice_code ice__ddl_drop_hidden_key(ice__ddl *d, ice_error *err)
{
    bool rows;
    const ice_constraint *pk = ice_tabledef_primary(d->def);
    if (!d->t || !pk || !ice_str_eq(pk->name, HIDDEN_KEY))
        return ICE_OK;
    ice_code rc = ice__ddl_settle_key(d, &rows, err);
    if (rc == ICE_OK)
        rc = ice_tabledef_drop_constraint(d->def, HIDDEN_KEY, err);
    if (rc == ICE_OK && ice_tabledef_find(d->def, HIDDEN_COLUMN) >= 0)
        rc = ice_tabledef_drop_column(d->def, HIDDEN_COLUMN, err);
    return rc;
}

ice_code ice__ddl_drop_constraint(ice__ddl *d, ice_str name, ice_error *err)
{
    bool rows;
    ice_constraint kept;
    const ice_constraint *pk = ice_tabledef_primary(d->def);
    if (!pk || !ice_str_eq(pk->name, name))
        return ice_tabledef_drop_constraint(d->def, name, err);
    kept = *pk; /* its arrays stay in the definition's arena */
    kept.name = HIDDEN_KEY;
    ice_code rc = ice__ddl_settle_key(d, &rows, err);
    if (rc == ICE_OK)
        rc = ice_tabledef_drop_constraint(d->def, name, err);
    if (rc != ICE_OK)
        return rc;
    return rows ? ice_tabledef_add_constraint(d->def, &kept, err) : ice__ddl_add_hidden_key(d->def, err);
}

/* A column of the key goes: of a key of integers it becomes the hidden one. */
static ice_code drop_key_column(ice__ddl *d, int at, ice_error *err)
{
    bool rows;
    ice_column col = d->def->cols[at];
    int32_t id = col.field_id;
    ice_constraint con = {.kind = ICE_CON_PRIMARY, .name = HIDDEN_KEY, .ncols = 1, .field_ids = &id};
    bool alone = ice_tabledef_primary(d->def)->ncols == 1;
    ice_code rc = ice__ddl_settle_key(d, &rows, err);
    if (rc == ICE_OK && rows && !(alone && (col.type.kind == ICE_T_INT || col.type.kind == ICE_T_LONG)))
        rc = ice_fail(err, ICE_UNSUPPORTED,
                      "column \"%.*s\" of the primary key cannot be dropped while \"%.*s\" has rows: declare "
                      "another key first",
                      ICE_PRI(col.name), ICE_PRI(d->def->name));
    if (rc == ICE_OK)
        rc = ice_tabledef_drop_column(d->def, col.name, err);
    if (rc != ICE_OK || !rows)
        return rc == ICE_OK ? ice__ddl_add_hidden_key(d->def, err) : rc;
    col.name = HIDDEN_COLUMN;
    col.identity = col.not_null = true;
    col.default_sql = col.generated_sql = col.comment = ICE_STR_NONE;
    rc = ice_tabledef_add_column(d->def, &col, err);
    return rc == ICE_OK ? ice_tabledef_add_constraint(d->def, &con, err) : rc;
}

ice_code ice__ddl_drop_column(ice__ddl *d, ice_str name, ice_error *err)
{
    int at = ice_tabledef_find(d->def, name);
    const ice_constraint *pk = ice_tabledef_primary(d->def);
    for (size_t i = 0; at >= 0 && pk && i < pk->ncols; i++)
        if (pk->field_ids[i] == d->def->cols[at].field_id)
            return drop_key_column(d, at, err);
    return ice_tabledef_drop_column(d->def, name, err);
}
