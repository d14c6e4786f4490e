/* ALTER COLUMN: types, whose rows may have to be written anew, defaults, NOT NULL, identity. */
#include "txn/ddl.h"

ice_code ice__ddl_rewrite_rows(ice__ddl *d, ice_str column, ice_str expr, ice_error *err)
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
    ICE_TRY(ice__run_update(d->s, p, NULL, 0, v, &c, err));
    /* The statement may have made the table another state: what follows goes on from that. */
    d->t = ice__tx_find(&d->s->tx, d->now->def->uuid);
    ice_tabstate_ref(d->t->state);
    ice_tabstate_unref(d->now);
    d->now = d->t->state;
out:
    ice__stview_unref(v);
    ice_arena_free(c.arena);
    ice_buf_free(&sql);
    return rc;
}

static bool promotes(ice_type from, ice_type to)
{
    if (ice_type_eq(from, to))
        return true;
    if (from.kind == ICE_T_INT && to.kind == ICE_T_LONG)
        return true;
    if (from.kind == ICE_T_FLOAT && to.kind == ICE_T_DOUBLE)
        return true;
    return from.kind == ICE_T_DECIMAL && to.kind == ICE_T_DECIMAL && from.scale == to.scale &&
           to.precision >= from.precision;
}

/* The new type's limits are met by the old one's values without a look at them. */
static bool widens(const ice_column *from, const ice_column *to)
{
    if (!promotes(from->type, to->type))
        return false;
    if (to->max_length && (!from->max_length || from->max_length > to->max_length))
        return false;
    bool from_range = from->min_int || from->max_int, to_range = to->min_int || to->max_int;
    return !to_range || (from_range && from->min_int >= to->min_int && from->max_int <= to->max_int);
}

static void copy_type(ice_column *to, const ice_column *from)
{
    to->type = from->type;
    to->sql_type = from->sql_type;
    to->max_length = from->max_length;
    to->min_int = from->min_int;
    to->max_int = from->max_int;
    to->collation = from->collation;
}

/* Keys, constraints and indexes that named the old field name the new one. */
static void move_field(ice_tabledef *def, int32_t from, int32_t to)
{
    for (size_t i = 0; i < def->ncons; i++) {
        ice_constraint *c = &def->cons[i];
        for (size_t k = 0; k < c->ncols; k++) {
            if (c->field_ids[k] == from)
                c->field_ids[k] = to;
            if (c->kind == ICE_CON_FOREIGN && ice_uuid_eq(c->ref_table, def->uuid) &&
                c->ref_field_ids[k] == from)
                c->ref_field_ids[k] = to;
        }
        for (size_t k = 0; k < c->ninclude; k++)
            if (c->include_ids[k] == from)
                c->include_ids[k] = to;
    }
    for (size_t i = 0; i < def->nindexes; i++) {
        for (size_t k = 0; k < def->indexes[i].ncols; k++)
            if (def->indexes[i].field_ids[k] == from)
                def->indexes[i].field_ids[k] = to;
        for (size_t k = 0; k < def->indexes[i].ninclude; k++)
            if (def->indexes[i].include_ids[k] == from)
                def->indexes[i].include_ids[k] = to;
    }
}

static bool in_primary(const ice_tabledef *def, int32_t field_id)
{
    const ice_constraint *pk = ice_tabledef_primary(def);
    for (size_t i = 0; pk && i < pk->ncols; i++)
        if (pk->field_ids[i] == field_id)
            return true;
    return false;
}

/* Keys of a column whose texts compare in another way now: do the rows still meet them? */
static ice_code check_keys(ice__ddl *d, int32_t field_id, ice_error *err)
{
    bool any = false;
    ice_code rc = ice__has_rows(d->s, d->now->def->name, &any, err);
    if (rc == ICE_OK && any)
        rc = ice__ddl_put(d, true, err);
    for (size_t i = 0; rc == ICE_OK && any && i < d->def->ncons; i++) {
        const ice_constraint *con = &d->def->cons[i];
        bool uses = con->expr_sql.ptr != NULL;
        for (size_t k = 0; k < con->ncols; k++)
            uses |= con->field_ids[k] == field_id;
        if (uses && (con->kind == ICE_CON_UNIQUE || con->kind == ICE_CON_PRIMARY))
            rc = ice__check_unique(d->s, d->def, con, err);
    }
    return rc;
}

static ice_code alter_type(ice__ddl *d, const ice_alter *al, ice_error *err)
{
    int at = ice_tabledef_find(d->def, al->name);
    const ice_column *want = &al->col.column;
    ice_buf expr = {0}, duck = {0};
    bool any = false;
    ice_code rc;
    ice_column *col = &d->def->cols[at];
    if ((rc = ice__check_collation(d->s, want, err)) != ICE_OK)
        return rc;
    if (!al->expr.ptr && widens(col, want)) {
        ice_value v;
        if (col->has_initial) {
            ice_code cast = ice_value_cast(d->def->arena, &col->initial, want->type, &v, err);
            if (cast != ICE_OK)
                return cast;
            col->initial = v;
        }
        bool same = ice_str_eq(col->collation, want->collation);
        copy_type(col, want);
        col->sql_type = ice_arena_str(d->def->arena, want->sql_type);
        col->collation = ice_arena_str(d->def->arena, want->collation);
        return same ? ICE_OK : check_keys(d, col->field_id, err);
    }
    if ((rc = ice__has_rows(d->s, d->now->def->name, &any, err)) != ICE_OK)
        return rc;
    if (in_primary(d->def, col->field_id)) {
        if ((rc = ice__ddl_settle_key(d, &any, err)) != ICE_OK)
            return rc;
        if (any)
            return ice_fail(err, ICE_UNSUPPORTED,
                            "column \"%.*s\" of the primary key cannot become %.*s while \"%.*s\" has rows: "
                            "make it another "
                            "column, and that the key",
                            ICE_PRI(al->name), ICE_PRI(want->sql_type), ICE_PRI(d->def->name));
    }
    /* A new field beside the old one, filled, then put in its place. Definitions are edited with the column
     * under a name nobody else can have. */
    ice_column fresh = *col;
    copy_type(&fresh, want);
    fresh.field_id = 0;
    fresh.name = ICE_STR("__ice_retyped");
    fresh.not_null = fresh.has_initial = fresh.identity = false;
    fresh.default_sql = fresh.generated_sql = ICE_STR_NONE;
    ICE_TRY(ice_tabledef_add_column(d->def, &fresh, err));
    if (any) {
        ICE_TRY(ice__ddl_put(d, true, err));
        ice_duck_type(want, &duck);
        if (al->expr.ptr) {
            ice_buf_put_str(&expr, al->expr);
        } else {
            ice_buf_puts(&expr, "CAST(");
            ice_buf_put_ident(&expr, al->name);
            ice_buf_printf(&expr, " AS %.*s)", (int)duck.len, duck.data);
        }
        ICE_TRY(ice_buf_check(&expr, err));
        ICE_TRY(ice__ddl_rewrite_rows(d, fresh.name, ice_buf_str(&expr), err));
    }
    at = ice_tabledef_find(d->def, al->name);
    int new_at = ice_tabledef_find(d->def, fresh.name);
    ice_column *old = &d->def->cols[at], *now = &d->def->cols[new_at];
    int32_t old_id = old->field_id;
    ice_column merged = *old;
    copy_type(&merged, now);
    merged.field_id = now->field_id;
    merged.has_initial = false;
    move_field(d->def, old_id, merged.field_id);
    *old = merged;
    memmove(now, now + 1, (d->def->ncols - (size_t)new_at - 1) * sizeof *now);
    d->def->ncols--;
    ICE_TRY(ice_partition_check(d->def, err));
out:
    ice_buf_free(&expr);
    ice_buf_free(&duck);
    return rc;
}

/* Going on is said to the sequence that is; going back is another sequence, so that it is undone with the
 * transaction and known to every process with the definition. */
static ice_code restart(ice__ddl *d, ice_column *col, int64_t at, ice_error *err)
{
    uint64_t name = ice__sequence_name(d->def, col);
    int64_t next = ice_log_sequence_peek(d->s->wh->log, name);
    if (next == at)
        return ICE_OK;
    if (next < at)
        return ice_log_sequence_bump(d->s->wh->log, name, at - 1, err);
    col->restarts++;
    col->restart_at = at;
    return ICE_OK;
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
        return alter_type(d, al, err);
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
