/* ALTER COLUMN: defaults, NOT NULL, identity; rows written anew. */
#include "txn/ddl.h"
#include "txn/write.h"

void ice__ddl_follow(ice__ddl *d)
{
    d->t = ice__tx_find(&d->s->tx, d->now->def->uuid);
    ice_tabstate_ref(d->t->state);
    ice_tabstate_unref(d->now);
    d->now = d->t->state;
}

ice_code ice__ddl_rewrite_rows(ice__ddl *d, ice_str column, ice_str expr, bool files, ice_error *err)
{
    ice_buf sql = {0};
    ice_prepared *p = NULL;
    ice__stview *v = NULL;
    ice_cursor c = {.session = d->s, .arena = ice_arena_create()};
    ice_code rc;
    ice_buf_puts(&sql, "UPDATE ");
    ice_buf_put_ident(&sql, d->now->def->name);
    ice_buf_puts(&sql, " SET ");
    ice_buf_put_ident(&sql, column);
    ice_buf_printf(&sql, " = %.*s", ICE_PRI(expr));
    ICE_TRY(c.arena ? ice_buf_check(&sql, err) : ice_fail_nomem(err));
    ICE_TRY(ice_session_prepare(d->s, ice_buf_str(&sql), false, &p, err));
    ICE_TRY(ice__stview_open(d->s, 0, &v, err));
    if (files)
        ICE_TRY(ice__bulk_update(d->s, d->now->def->uuid, &p->stmt.update, NULL, 0, &c, NULL, err));
    else
        ICE_TRY(ice__run_update(d->s, p, NULL, 0, v, &c, err));
    ice__ddl_follow(d);
out:
    ice__stview_unref(v);
    ice_arena_free(c.arena);
    ice_buf_free(&sql);
    return rc;
}

/* Another sequence, so that the restart is undone with the transaction and known to every process with the definition. A transaction that
 * was rolled back may have used one of that name, and nobody else can while the table is locked: it begins anew. */
static ice_code restart(ice__ddl *d, ice_column *col, int64_t at, ice_error *err)
{
    if (ice_log_sequence_peek(d->s->wh->log, ice__sequence_name(d->def, col)) == at)
        return ICE_OK;
    col->restarts++;
    col->restart_at = at;
    return ice__sequence_restart(d->s, ice__sequence_name(d->def, col), at, err);
}

ice_code ice__ddl_alter_column(ice__ddl *d, const ice_alter *al, ice_error *err)
{
    int at = ice_tabledef_find(d->def, al->name);
    if (at < 0)
        return ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" of relation \"%.*s\" does not exist",
                        ICE_PRI(al->name), ICE_PRI(d->def->name));
    ice_column *col = &d->def->cols[at];
    bool any = false;
    ice_code rc;
    switch (al->kind) {
    case ICE_A_TYPE:
        return ice__ddl_retype(d, al, err);
    case ICE_A_SET_DEFAULT:
        col->default_sql = ice_arena_str(d->def->arena, al->expr);
        return ICE_OK;
    case ICE_A_DROP_DEFAULT:
        col->default_sql = ICE_STR_NONE;
        return ICE_OK;
    case ICE_A_SET_NOT_NULL:
        if ((rc = ice__has_rows(d->s, d->now->def->name, &any, err)) == ICE_OK && any)
            rc = ice__check_not_null(
                d->s, d->now->def, ice_tabledef_find(d->now->def, al->name) >= 0 ? al->name : col->name, err);
        col->not_null = true;
        return rc;
    case ICE_A_DROP_NOT_NULL:
        col->not_null = false;
        return ICE_OK;
    case ICE_A_ADD_IDENTITY:
        col->identity = true;
        return ICE_OK;
    case ICE_A_DROP_IDENTITY:
        col->identity = false;
        return ICE_OK;
    default: /* ICE_A_RESTART */
        return restart(d, col, al->restart, err);
    }
}

ice_code ice__restart_identity(ice_session *s, ice__stview *v, ice_str table, ice_error *err)
{
    ice__ddl d;
    ice_code rc = ice__ddl_open(&d, s, v, table, err);
    for (size_t i = 0; rc == ICE_OK && i < d.def->ncols; i++)
        if (d.def->cols[i].identity)
            rc = restart(&d, &d.def->cols[i], 1, err);
    bool changed = false;
    for (size_t i = 0; rc == ICE_OK && i < d.def->ncols; i++)
        changed |= d.def->cols[i].restarts != d.now->def->cols[i].restarts;
    if (changed)
        rc = ice__ddl_put(&d, false, err);
    ice__ddl_close(&d);
    return rc;
}
