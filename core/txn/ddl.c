/* Statements that define: which of them, and a table being changed; COMMENT. */
#include "txn/ddl.h"

static ice_code find_view(ice__stview *v, ice_str name, ice_view **view, ice_error *err)
{
    ice_code rc = ice__stview_relation(v, name, view, err);
    if (rc == ICE_OK && !ice_tabledef_is_view((*view)->state->def))
        rc = ice_fail(err, ICE_WRONG_OBJECT, "\"%.*s\" is not a view", ICE_PRI(name));
    return rc;
}

ice_code ice__ddl_open(ice__ddl *d, ice_session *s, ice__stview *v, ice_str table, ice_error *err)
{
    return ice__ddl_open_relation(d, s, v, table, false, err);
}

ice_code ice__ddl_open_relation(ice__ddl *d, ice_session *s, ice__stview *v, ice_str name, bool is_view,
                                ice_error *err)
{
    ice_view *view = NULL;
    ice__registry *reg = NULL;
    int64_t at;
    *d = (ice__ddl){.s = s, .v = v};
    ice_code rc = is_view ? find_view(v, name, &view, err) : ice__stview_target(v, name, &view, err);
    if (rc == ICE_OK)
        rc = ice__tx_table(s, view->state->def->uuid, view->state->def->name, true, &d->t, err);
    if (rc == ICE_OK)
        rc = ice__wh_catchup(s->wh, err);
    if (rc != ICE_OK)
        return rc;
    ice__wh_view(s->wh, &reg, &at);
    if ((rc = ice__tx_state(s, d->t, reg, &d->now, err)) == ICE_OK) {
        d->now = ice_tabstate_ref(d->now);
        if (!(d->def = ice_tabledef_clone(d->now->def, true)))
            rc = ice_fail_nomem(err);
    }
    ice__registry_unref(reg);
    return rc;
}

ice_code ice__ddl_put(ice__ddl *d, bool more, ice_error *err)
{
    ice_tabledef *next = NULL;
    ice_tabledef *def = d->def;
    if (more && !(next = ice_tabledef_clone(def, true)))
        return ice_fail_nomem(err);
    d->def = next;
    ice_code rc = ice__tx_set_def(d->s, d->t, d->now, def, err);
    if (rc == ICE_OK) {
        ice_tabstate_unref(d->now);
        d->now = ice_tabstate_ref(d->t->state);
    }
    return rc;
}

void ice__ddl_close(ice__ddl *d)
{
    if (d->now)
        ice_tabstate_unref(d->now);
    ice_tabledef_free(d->def);
}

static ice_code comment(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err)
{
    ice__ddl d;
    ice_code rc;
    ICE_TRY(ice__ddl_open_relation(&d, s, v, st->comment.table, st->comment.view, err));
    ice_str text = ice_arena_str(d.def->arena, st->comment.text);
    if (!st->comment.column.ptr) {
        d.def->comment = text;
    } else {
        int at = ice_tabledef_find(d.def, st->comment.column);
        if (at < 0) {
            rc = ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" does not exist", ICE_PRI(st->comment.column));
            goto out;
        }
        d.def->cols[at].comment = text;
    }
    rc = ice__ddl_put(&d, false, err);
out:
    ice__ddl_close(&d);
    return rc;
}

ice_code ice__run_ddl(ice_session *s, ice_prepared *p, ice__stview *v, ice_cursor *c, ice_error *err)
{
    const ice_stmt *st = &p->stmt;
    ice_code rc = ICE_OK;
    (void)c;
    switch (st->kind) {
    case ICE_S_CREATE_TABLE:
        return ice__ddl_create_table(s, st, v, err);
    case ICE_S_DROP_TABLE:
        for (size_t i = 0; rc == ICE_OK && i < st->drop.n; i++)
            rc = ice__ddl_drop_table(s, v, st->drop.names[i], st, err);
        return rc;
    case ICE_S_CREATE_VIEW:
        return ice__ddl_create_view(s, st, v, err);
    case ICE_S_DROP_VIEW:
        for (size_t i = 0; rc == ICE_OK && i < st->drop.n; i++)
            rc = ice__ddl_drop_view(s, v, st->drop.names[i], st, err);
        return rc;
    case ICE_S_ALTER_TABLE:
        return ice__ddl_alter_table(s, st, v, err);
    case ICE_S_CREATE_INDEX:
        return ice__ddl_create_index(s, st, v, err);
    case ICE_S_DROP_INDEX:
        for (size_t i = 0; rc == ICE_OK && i < st->drop.n; i++)
            rc = ice__ddl_change_index(s, st->drop.names[i], NULL, st->drop.if_exists, v, err);
        return rc;
    case ICE_S_RENAME_INDEX:
        return ice__ddl_change_index(s, st->simple.name, &st->simple.new_name, st->simple.if_exists, v, err);
    case ICE_S_COMMENT:
        return comment(s, st, v, err);
    default:
        return ice_fail(err, ICE_UNSUPPORTED, "this statement is not supported");
    }
}
