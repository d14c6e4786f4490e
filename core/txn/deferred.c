/* What waits for the end of the transaction, or SET CONSTRAINTS ALL IMMEDIATE: deferrable unique keys,
 * foreign keys. Keys were locked when they were set, so the transaction's own rows are the only ones that can
 * clash. */
#include "txn/write.h"

/* Each deferrable key of a row of the transaction is that of no other row. */
static ice_code check_row_keys(ice_view *v, const ice_value *row, ice_arena *a, ice_error *err)
{
    for (size_t k = 0; k < v->state->keys.n; k++) {
        const ice_key *key = &v->state->keys.keys[k];
        ice_value values[32];
        ice_row *rows;
        size_t n = 0;
        if (!key->deferrable || key->ncols > 32 || ice__unindexed(key, row))
            continue;
        for (size_t c = 0; c < key->ncols; c++)
            values[c] = row[key->cols[c]];
        ice_code rc = ice_view_find_some(v, k, values, 2, a, &rows, &n, err);
        if (rc == ICE_OK && n > 1)
            rc = ice__unique_fail(v->state->def, key->con, key, row, err);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

typedef struct row_check {
    ice_view view;
    ice_arena *arena;
} row_check;

static ice_code check_row(void *arg, const ice_value *row, ice_error *err)
{
    row_check *k = arg;
    return check_row_keys(&k->view, row, k->arena, err);
}

static ice_code check_table(ice_session *s, ice__txtable *t, ice_arena *a, ice_error *err)
{
    row_check k = {.arena = a};
    bool any = false;
    ice_code rc;
    ICE_TRY(ice__latest_view(s, t, &k.view, err));
    const ice_tabledef *def = k.view.state->def;
    for (size_t i = 0; i < k.view.state->keys.n; i++)
        any |= k.view.state->keys.keys[i].deferrable;
    if (any)
        rc = ice_tail_each(t->overlay, ICE_TIME_MAX - 1, ICE_TAIL_VISIBLE, def->cols, def->ncols, check_row,
                           &k, err);
out:
    ice__view_release(&k.view);
    return rc;
}

ice_code ice__check_deferred(ice_session *s, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_arena *a = s->tx.unchecked ? ice_arena_create() : NULL;
    if (s->tx.unchecked && !a)
        return ice_fail_nomem(err);
    for (size_t i = 0; a && rc == ICE_OK && i < s->tx.ntables; i++) {
        ice__txtable *t = &s->tx.tables[i];
        if (t->overlay && !t->dropped)
            rc = check_table(s, t, a, err);
        if (rc == ICE_OK && t->bulk && !t->dropped)
            rc = ice__bulk_check_deferred(s, t, err);
    }
    ice_arena_free(a);
    if (rc != ICE_OK)
        return rc;
    s->tx.unchecked = false;
    return ice__check_foreign_keys(s, err);
}
