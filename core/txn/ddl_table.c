/* CREATE TABLE, DROP TABLE. */
#include "txn/ddl.h"

ice_code ice__ddl_create_table(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err)
{
    ice_view *there = NULL;
    ice__ddl d = {.s = s, .v = v};
    ice_code rc;
    ICE_TRY(ice__tx_lock(s, ice__lock_name(st->create.name), ICE_LOCK_EXCLUSIVE, false, NULL, err));
    ICE_TRY(ice__stview_table(v, st->create.name, &there, err));
    if (there) {
        if (!st->create.if_not_exists)
            rc = ice_fail(err, ICE_DUP_TABLE, "table \"%.*s\" already exists", ICE_PRI(st->create.name));
        goto out;
    }
    if (!(d.def = ice_tabledef_create(st->create.name))) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < st->create.ncols; i++)
        ICE_TRY(ice__check_collation(s, &st->create.cols[i].column, err));
    for (size_t i = 0; i < st->create.ncols; i++)
        ICE_TRY(ice_tabledef_add_column(d.def, &st->create.cols[i].column, err));
    for (size_t i = 0; i < st->create.ncons; i++)
        ICE_TRY(ice__ddl_add_constraint(&d, &st->create.cons[i], false, err));
    ICE_TRY(ice__ddl_add_hidden_key(d.def, err));
    ICE_TRY(ice__tx_table(s, d.def->uuid, d.def->name, true, &d.t, err));
    d.t->created = true;
    ICE_TRY(ice__ddl_put(&d, false, err));
out:
    ice__ddl_close(&d);
    return rc;
}

static bool in_list(ice_str name, const ice_str *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ice_str_eq(name, names[i]))
            return true;
    return false;
}

/* Foreign keys of other tables that refer to this one go with CASCADE, else forbid. */
static ice_code drop_referrers(ice_session *s, ice_uuid parent, ice_str name, bool cascade,
                               const ice_str *also, size_t nalso, ice_error *err)
{
    size_t n = 0;
    ice_str *tables = NULL;
    ice_arena *a = ice_arena_create();
    ice_code rc = a ? ice_session_tables(s, false, a, &tables, &n, err) : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        ice__stview *fresh = NULL;
        ice_view *child = NULL;
        if (ice_str_eq(tables[i], name) || in_list(tables[i], also, nalso))
            continue;
        if ((rc = ice__stview_open(s, 0, &fresh, err)) != ICE_OK)
            break;
        rc = ice__stview_ours(fresh, tables[i], &child, err);
        const ice_constraint *con = NULL;
        for (size_t k = 0; rc == ICE_OK && child && k < child->state->def->ncons; k++)
            if (child->state->def->cons[k].kind == ICE_CON_FOREIGN &&
                ice_uuid_eq(child->state->def->cons[k].ref_table, parent))
                con = &child->state->def->cons[k];
        if (con && !cascade) {
            rc = ice_fail(err, ICE_DEPENDENT,
                          "cannot drop table \"%.*s\": constraint \"%.*s\" on table \"%.*s\" depends on it "
                          "(use CASCADE)",
                          ICE_PRI(name), ICE_PRI(con->name), ICE_PRI(tables[i]));
        } else if (con) {
            ice_str con_name = ice_arena_str(a, con->name);
            ice__ddl d;
            if ((rc = ice__ddl_open(&d, s, fresh, tables[i], err)) == ICE_OK &&
                (rc = ice_tabledef_drop_constraint(d.def, con_name, err)) == ICE_OK)
                rc = ice__ddl_put(&d, false, err);
            ice__ddl_close(&d);
            i--; /* there may be another */
        }
        ice__stview_unref(fresh);
    }
    ice_arena_free(a);
    return rc;
}

/* Another program's table: no foreign key refers to it, and it goes where it cannot be read, too. */
static ice_code drop_foreign(ice_session *s, ice_uuid id, ice_str name, bool cascade, ice_error *err)
{
    ice__txtable *t;
    ice_code rc = ice__tx_table(s, id, name, true, &t, err);
    if (rc == ICE_OK)
        rc = ice__ddl_drop_views_of(s, id, name, cascade, err);
    if (rc == ICE_OK)
        ice__tx_find(&s->tx, id)->dropped = true;
    return rc;
}

ice_code ice__ddl_drop_table(ice_session *s, ice__stview *v, ice_str name, const ice_stmt *st, ice_error *err)
{
    ice_view *there = NULL;
    ice__ddl d = {0};
    if (ice__stview_foreign(v, name))
        return drop_foreign(s, ice__registry_find(v->reg, name)->uuid, name, st->drop.cascade, err);
    ice_code rc = ice__stview_table(v, name, &there, err);
    if (rc != ICE_OK)
        return rc;
    if (!there)
        return st->drop.if_exists
                   ? ICE_OK
                   : ice_fail(err, ICE_NO_TABLE, "table \"%.*s\" does not exist", ICE_PRI(name));
    if ((rc = ice__ddl_open(&d, s, v, name, err)) == ICE_OK)
        rc = drop_referrers(s, d.t->uuid, name, st->drop.cascade, st->drop.names, st->drop.n, err);
    if (rc == ICE_OK)
        rc = ice__ddl_drop_views_of(s, d.now->def->uuid, name, st->drop.cascade, err);
    if (rc == ICE_OK)
        ice__tx_find(&s->tx, d.now->def->uuid)->dropped = true;
    ice__ddl_close(&d);
    return rc;
}
