/* CREATE VIEW, DROP VIEW, and views whose tables change.
 *
 * A view is a definition without rows: its query as text, its columns as the engine gave them when it was
 * defined, and the ids of what it reads. Its names are looked up anew each time, so nothing that it reads may
 * lose its name, or the view a column: an ALTER binds the views of its table again, and they have to give
 * what they gave. */
#include "txn/ddl.h"

/* ---- what a query gives ---- */

/* Columns of a query, and what it reads. */
typedef struct bound {
    ice_arena *a; /* the session's scratch */
    size_t ncols;
    ice_column *cols;
    size_t nuses;
    ice_uuid *uses;
} bound;

static ice_code take_columns(bound *b, const ice_result *r, ice_error *err)
{
    const ice_result_column *cols;
    ice_code rc = ICE_OK;
    b->ncols = ice_result_columns(r, &cols);
    if (!(b->cols = ice_arena_array(b->a, b->ncols + 1, sizeof *b->cols)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < b->ncols && rc == ICE_OK; i++) {
        char type[48];
        b->cols[i] = (ice_column){.name = ice_arena_str(b->a, cols[i].name)};
        ice_sql_type_name(cols[i].type, type);
        rc = b->cols[i].name.ptr ? ice_column_set_sql_type(&b->cols[i], b->a, ice_str_c(type), err)
                                 : ice_fail_nomem(err);
    }
    return rc;
}

static ice_code take_uses(bound *b, const ice__stview *v, ice_error *err)
{
    if (!(b->uses = ice_arena_array(b->a, v->n + 1, sizeof *b->uses)))
        return ice_fail_nomem(err);
    for (b->nuses = 0; b->nuses < v->n; b->nuses++)
        b->uses[b->nuses] = v->tables[b->nuses]->view.state->def->uuid;
    return ICE_OK;
}

/* Asks the engine, under a view of now. */
static ice_code bind(ice_session *s, ice_str query, bound *b, ice_error *err)
{
    ice__stview *v = NULL;
    ice__econn *c = NULL;
    ice_result *r = NULL;
    ice_buf sql = {0};
    ice_code rc;
    *b = (bound){.a = s->scratch};
    ice_buf_printf(&sql, "SELECT * FROM (%.*s\n) AS v LIMIT 0", ICE_PRI(query));
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__stview_open(s, 0, &v, err));
    ICE_TRY(ice__econn_get(s, v, &c, err));
    ICE_TRY(ice__econn_run(c, ice_buf_str(&sql), NULL, 0, &r, err));
    ICE_TRY(take_columns(b, r, err));
    ICE_TRY(take_uses(b, v, err));
out:
    ice_result_close(r);
    if (c)
        ice__econn_release(c);
    ice__stview_unref(v);
    ice_buf_free(&sql);
    return rc;
}

/* ---- a view's definition ---- */

/* The query with its columns by name, so that a column its tables get later is none of it. */
static ice_code wrap(const ice_stmt *st, const bound *b, ice_tabledef *def, ice_error *err)
{
    ice_buf sql = {0};
    for (size_t i = 0; i < b->ncols; i++) {
        ice_buf_puts(&sql, i ? ", " : "SELECT ");
        ice_buf_put_ident(&sql, b->cols[i].name);
        if (i >= st->view.ncols)
            continue;
        ice_buf_puts(&sql, " AS ");
        ice_buf_put_ident(&sql, st->view.cols[i]);
    }
    ice_buf_printf(&sql, " FROM (%.*s\n) AS v", ICE_PRI(st->view.query));
    ice_code rc = ice_buf_check(&sql, err);
    if (rc == ICE_OK && !(def->view_sql = ice_arena_str(def->arena, ice_buf_str(&sql))).ptr)
        rc = ice_fail_nomem(err);
    ice_buf_free(&sql);
    return rc;
}

static ice_code fill(const ice_stmt *st, const bound *b, ice_tabledef *def, ice_error *err)
{
    ice_code rc = wrap(st, b, def, err);
    if (st->view.ncols > b->ncols)
        return ice_fail(err, ICE_SYNTAX, "CREATE VIEW specifies more column names than columns");
    def->ncols = 0;
    for (size_t i = 0; i < b->ncols && rc == ICE_OK; i++) {
        ice_column col = b->cols[i];
        col.field_id = i < (size_t)def->last_field_id ? (int32_t)i + 1 : 0;
        if (i < st->view.ncols)
            col.name = st->view.cols[i];
        rc = ice_tabledef_add_column(def, &col, err);
    }
    def->nuses = b->nuses;
    if (rc == ICE_OK && !(def->uses = ICE_NEW_N(def->arena, ice_uuid, b->nuses + 1)))
        rc = ice_fail_nomem(err);
    if (rc == ICE_OK && b->nuses)
        memcpy(def->uses, b->uses, b->nuses * sizeof *def->uses);
    return rc;
}

static bool reads(const ice_tabledef *def, ice_uuid id)
{
    for (size_t i = 0; i < def->nuses; i++)
        if (ice_uuid_eq(def->uses[i], id))
            return true;
    return false;
}

/* Whoever drops or alters what it reads waits for this transaction. What changed since it was bound is bound
 * again. */
static ice_code lock_uses(ice_session *s, ice__stview *v, const bound *b, ice_error *err)
{
    ice__registry *reg = NULL;
    int64_t at;
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < b->nuses && rc == ICE_OK; i++) {
        ice__txtable *t = ice__tx_find(&s->tx, b->uses[i]);
        ice__entry *e = ice__registry_find_uuid(v->reg, b->uses[i]);
        rc = ice__tx_table(s, b->uses[i], ice_str_c(t ? t->name : e ? e->name : "?"), false, &t, err);
    }
    if (rc == ICE_OK)
        rc = ice__wh_catchup(s->wh, err);
    if (rc != ICE_OK)
        return rc;
    ice__wh_view(s->wh, &reg, &at);
    for (size_t i = 0; i < b->nuses && rc == ICE_OK; i++) {
        ice_tabstate *was = NULL, *now = NULL;
        ice__txtable *t = ice__tx_find(&s->tx, b->uses[i]);
        ice__entry *e = ice__registry_find_uuid(v->reg, b->uses[i]);
        if (t->state)
            continue;
        rc = ice__tx_state(s, t, reg, &now, err);
        if (rc == ICE_OK && e && (rc = ice__wh_state(s->wh, e, &was, err)) == ICE_OK &&
            was->def->schema_id != now->def->schema_id)
            rc = ice_fail(err, ICE_CONFLICT, "\"%s\" was altered meanwhile", t->name);
    }
    ice__registry_unref(reg);
    return rc;
}

/* What is there under the name: only a view may be replaced, by one that has its columns first. */
static ice_code check_replaced(const ice_stmt *st, const ice_tabledef *old, const ice_tabledef *def,
                               ice_error *err)
{
    if (def->ncols < old->ncols)
        return ice_fail(err, ICE_BAD_DEFINITION, "cannot drop columns from view");
    for (size_t i = 0; i < old->ncols; i++) {
        const ice_column *was = &old->cols[i], *now = &def->cols[i];
        if (!ice_str_eq(was->name, now->name))
            return ice_fail(err, ICE_BAD_DEFINITION, "cannot change name of view column \"%.*s\" to \"%.*s\"",
                            ICE_PRI(was->name), ICE_PRI(now->name));
        if (!ice_str_eq(was->sql_type, now->sql_type))
            return ice_fail(err, ICE_BAD_DEFINITION,
                            "cannot change data type of view column \"%.*s\" from %.*s to %.*s",
                            ICE_PRI(was->name), ICE_PRI(was->sql_type), ICE_PRI(now->sql_type));
    }
    return reads(def, old->uuid)
               ? ice_fail(err, ICE_BAD_DEFINITION, "view \"%.*s\" would read itself", ICE_PRI(st->view.name))
               : ICE_OK;
}

/* *old: the state of the view that is replaced, borrowed from the transaction or the registry; NULL: none. */
static ice_code find_replaced(ice_session *s, const ice_stmt *st, ice__stview *v, ice__txtable **t,
                              ice_tabstate **old, ice_error *err)
{
    ice_view *there = NULL;
    ice_code rc = ice__stview_table(v, st->view.name, &there, err);
    if (rc != ICE_OK || !there)
        return rc;
    const ice_tabledef *def = there->state->def;
    if (!st->view.replace)
        return ice_fail(err, ICE_DUP_TABLE, "relation \"%.*s\" already exists", ICE_PRI(st->view.name));
    if (!ice_tabledef_is_view(def))
        return ice_fail(err, ICE_WRONG_OBJECT, "\"%.*s\" is not a view", ICE_PRI(st->view.name));
    *old = there->state;
    return ice__tx_table(s, def->uuid, def->name, true, t, err);
}

ice_code ice__ddl_create_view(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err)
{
    ice__ddl d = {.s = s, .v = v};
    ice_tabstate *old = NULL;
    bound b;
    ice_code rc;
    ICE_TRY(ice__tx_lock(s, ice__lock_name(st->view.name), ICE_LOCK_EXCLUSIVE, false, NULL, err));
    ICE_TRY(find_replaced(s, st, v, &d.t, &old, err));
    ICE_TRY(bind(s, st->view.query, &b, err));
    ICE_TRY(lock_uses(s, v, &b, err));
    if (!(d.def = old ? ice_tabledef_clone(old->def, true) : ice_tabledef_create(st->view.name))) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    ICE_TRY(fill(st, &b, d.def, err));
    if (old) {
        ICE_TRY(check_replaced(st, old->def, d.def, err));
        d.now = ice_tabstate_ref(old);
    } else {
        ICE_TRY(ice__tx_table(s, d.def->uuid, d.def->name, true, &d.t, err));
        d.t->created = true;
    }
    ICE_TRY(ice__ddl_put(&d, false, err));
out:
    ice__ddl_close(&d);
    return rc;
}

/* ---- dropping ---- */

static ice_code drop_view(ice_session *s, const ice_tabledef *def, bool cascade, ice_error *err)
{
    ice__txtable *t;
    ice_uuid id = def->uuid;
    ice_code rc = ice__tx_table(s, id, def->name, true, &t, err);
    if (rc == ICE_OK)
        rc = ice__ddl_drop_views_of(s, id, def->name, cascade, err);
    if (rc == ICE_OK)
        ice__tx_find(&s->tx, id)->dropped = true;
    return rc;
}

ice_code ice__ddl_drop_view(ice_session *s, ice__stview *v, ice_str name, const ice_stmt *st, ice_error *err)
{
    ice_view *there = NULL;
    ice_code rc = ice__stview_table(v, name, &there, err);
    if (rc != ICE_OK)
        return rc;
    if (!there)
        return st->drop.if_exists
                   ? ICE_OK
                   : ice_fail(err, ICE_NO_TABLE, "view \"%.*s\" does not exist", ICE_PRI(name));
    if (!ice_tabledef_is_view(there->state->def))
        return ice_fail(err, ICE_WRONG_OBJECT, "\"%.*s\" is not a view", ICE_PRI(name));
    return drop_view(s, there->state->def, st->drop.cascade, err);
}

/* ---- views of a table ---- */

/* The first view that reads a table, from the n-th on; *view NULL: none. */
static ice_code next_reader(ice_session *s, ice__stview *v, ice_uuid id, size_t *n, ice_view **view,
                            ice_error *err)
{
    ice_str *names;
    size_t nnames;
    ice_code rc = ice__view_names(s, v, s->scratch, &names, &nnames, err);
    for (*view = NULL; rc == ICE_OK && *n < nnames; ++*n) {
        ice_view *found = NULL;
        rc = ice__stview_table(v, names[*n], &found, err);
        if (found && reads(found->state->def, id)) {
            *view = found;
            ++*n;
            break;
        }
    }
    return rc;
}

ice_code ice__ddl_drop_views_of(ice_session *s, ice_uuid dropped, ice_str name, bool cascade, ice_error *err)
{
    ice_view *view = NULL;
    ice_code rc;
    do {
        ice__stview *v = NULL;
        size_t n = 0;
        if ((rc = ice__stview_open(s, 0, &v, err)) == ICE_OK)
            rc = next_reader(s, v, dropped, &n, &view, err);
        if (rc == ICE_OK && view)
            rc = cascade ? drop_view(s, view->state->def, true, err)
                         : ice_fail(err, ICE_DEPENDENT,
                                    "cannot drop \"%.*s\": view \"%.*s\" depends on it (use CASCADE)",
                                    ICE_PRI(name), ICE_PRI(view->state->def->name));
        ice__stview_unref(v);
    } while (rc == ICE_OK && view);
    return rc;
}

static bool gives(const ice_tabledef *def, const bound *b)
{
    bool same = def->ncols == b->ncols;
    for (size_t i = 0; same && i < b->ncols; i++)
        same = ice_str_eq(def->cols[i].name, b->cols[i].name) &&
               ice_str_eq(def->cols[i].sql_type, b->cols[i].sql_type);
    return same;
}

ice_code ice__ddl_check_views_of(ice_session *s, ice_uuid altered, ice_str name, bool cascade, ice_error *err)
{
    ice__stview *v = NULL;
    ice_view *view = NULL;
    size_t n = 0;
    ice_code rc = ice__stview_open(s, 0, &v, err);
    do {
        bound b;
        ice_error why;
        if (rc == ICE_OK)
            rc = next_reader(s, v, altered, &n, &view, err);
        if (rc != ICE_OK || !view)
            break;
        ice_code binds = bind(s, view->state->def->view_sql, &b, &why);
        if (binds == ICE_CANCELED || binds == ICE_NOMEM) {
            rc = ice_fail(err, binds, "%s", why.message);
        } else if (binds == ICE_OK && gives(view->state->def, &b)) {
            continue;
        } else if (cascade) {
            rc = drop_view(s, view->state->def, true, err);
            n = 0; /* others may have gone with it */
        } else {
            rc =
                ice_fail(err, ICE_DEPENDENT, "cannot alter \"%.*s\" so: view \"%.*s\" depends on what it was",
                         ICE_PRI(name), ICE_PRI(view->state->def->name));
        }
    } while (rc == ICE_OK);
    ice__stview_unref(v);
    return rc;
}
