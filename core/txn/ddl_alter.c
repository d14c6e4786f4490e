/* ALTER TABLE: its actions one by one. */
#include "txn/ddl.h"

/* The value that rows older than the column have: a constant default at once; another expression is written
 * into the rows. */
static ice_code add_column(ice__ddl *d, const ice_alter *al, ice_error *err)
{
    ice_column col = al->col.column;
    ice_error ignored;
    ice_value v;
    ice_str expr = col.default_sql;
    bool any = false;
    ice_code rc;
    if (al->if_not_exists && ice_tabledef_find(d->def, col.name) >= 0)
        return ICE_OK;
    if ((rc = ice__check_collation(d->s, &col, err)) != ICE_OK ||
        (rc = ice__has_rows(d->s, d->now->def->name, &any, err)) != ICE_OK)
        return rc;
    bool volatile_default = false;
    if (expr.ptr) {
        volatile_default = ice_sql_constant(d->s->scratch, expr, &v, &ignored) != ICE_OK;
        if (!volatile_default && !v.null) {
            if ((rc = ice_column_coerce(&col, d->s->scratch, &v, &col.initial, err)) != ICE_OK)
                return rc;
            col.has_initial = true;
        }
    }
    bool fill = any && (volatile_default || col.generated_sql.ptr || col.identity);
    bool not_null = col.not_null;
    if (not_null && any && !col.has_initial && !fill) {
        rc = ice_fail(err, ICE_NOT_NULL,
                      "column \"%.*s\" of relation \"%.*s\" contains null values: give a default",
                      ICE_PRI(col.name), ICE_PRI(d->def->name));
        ice_error_object(err, d->def->name.ptr, col.name.ptr);
        return rc;
    }
    if (fill)
        col.not_null = false;
    if ((rc = ice_tabledef_add_column(d->def, &col, err)) != ICE_OK)
        return rc;
    if (fill) {
        if ((rc = ice__ddl_put(d, true, err)) != ICE_OK)
            return rc;
        rc = ice__ddl_rewrite_rows(d, col.name,
                                   col.identity            ? ICE_STR("row_number() OVER ()")
                                   : col.generated_sql.ptr ? ICE_STR("DEFAULT")
                                                           : expr,
                                   false, err);
        int at = ice_tabledef_find(d->def, col.name);
        d->def->cols[at].not_null = not_null;
    }
    if (rc == ICE_OK && any && al->ncons) /* they are checked by queries, which must see the column */
        rc = ice__ddl_put(d, true, err);
    for (size_t i = 0; rc == ICE_OK && i < al->ncons; i++)
        rc = ice__ddl_add_constraint(d, &al->cons[i], any, err);
    return rc;
}

static ice_code rename_table(ice__ddl *d, ice_str to, ice_error *err)
{
    ice__stview *v = NULL;
    ice_view *there = NULL;
    ice_code rc = ice__tx_lock(d->s, ice__lock_name(to), ICE_LOCK_EXCLUSIVE, false, NULL, err);
    if (rc == ICE_OK && (rc = ice__stview_open(d->s, 0, &v, err)) == ICE_OK)
        rc = ice__stview_table(v, to, &there, err);
    if (rc == ICE_OK && there)
        rc = ice_fail(err, ICE_DUP_TABLE, "table \"%.*s\" already exists", ICE_PRI(to));
    ice__stview_unref(v);
    if (rc == ICE_OK)
        ice_tabledef_set_name(d->def, to);
    return rc;
}

static ice_code rename_constraint(ice__ddl *d, const ice_alter *al, ice_error *err)
{
    for (size_t i = 0; i < d->def->ncons; i++)
        if (ice_str_eq(d->def->cons[i].name, al->name)) {
            d->def->cons[i].name = ice_arena_str(d->def->arena, al->new_name);
            return ICE_OK;
        }
    return ice_fail(err, ICE_NO_OBJECT, "constraint \"%.*s\" of relation \"%.*s\" does not exist",
                    ICE_PRI(al->name), ICE_PRI(d->def->name));
}

static ice_code alter_one(ice__ddl *d, const ice_alter *al, ice_error *err)
{
    bool any = false;
    ice_code rc;
    switch (al->kind) {
    case ICE_A_RENAME_TABLE:
        return rename_table(d, al->new_name, err);
    case ICE_A_RENAME_COLUMN:
        return ice_tabledef_rename_column(d->def, al->name, al->new_name, err);
    case ICE_A_ADD_COLUMN:
        return add_column(d, al, err);
    case ICE_A_DROP_COLUMN:
        if (al->if_exists && ice_tabledef_find(d->def, al->name) < 0)
            return ICE_OK;
        return ice__ddl_drop_column(d, al->name, err);
    case ICE_A_ADD_CONSTRAINT:
        if ((rc = ice__has_rows(d->s, d->now->def->name, &any, err)) != ICE_OK)
            return rc;
        return ice__ddl_add_constraint(d, &al->cons[0], any, err);
    case ICE_A_DROP_CONSTRAINT:
        if (al->if_exists && !ice_tabledef_constraint(d->def, al->name))
            return ICE_OK;
        return ice__ddl_drop_constraint(d, al->name, err);
    case ICE_A_RENAME_CONSTRAINT:
        return rename_constraint(d, al, err);
    default:
        return ice__ddl_alter_column(d, al, err);
    }
}

ice_code ice__ddl_alter_table(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err)
{
    ice__ddl d;
    ice_view *there = NULL;
    ice_code rc = ice__stview_table(v, st->alter.table, &there, err);
    if (rc != ICE_OK || (!there && st->alter.if_exists))
        return rc;
    bool cascade = false;
    rc = ice__ddl_open_relation(&d, s, v, st->alter.table, st->alter.view, err);
    for (size_t i = 0; rc == ICE_OK && i < st->alter.n; i++) {
        cascade |= st->alter.actions[i].cascade;
        rc = alter_one(&d, &st->alter.actions[i], err);
        if (rc == ICE_OK)
            rc = ice__ddl_put(&d, i + 1 < st->alter.n, err);
    }
    if (rc == ICE_OK)
        rc = ice__ddl_check_views_of(s, d.now->def->uuid, st->alter.table, cascade, err);
    ice__ddl_close(&d);
    return rc;
}
