/* Constraints of a definition being made or changed. */
#include "txn/ddl.h"

ice_code ice__ddl_resolve_columns(const ice_tabledef *def, const ice_str *names, size_t n, ice_arena *a,
                                  int32_t **out, ice_error *err)
{
    int32_t *ids = ice_arena_array(a, n + 1, sizeof *ids);
    if (!ids)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        int at = ice_tabledef_find(def, names[i]);
        if (at < 0)
            return ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" of table \"%.*s\" does not exist",
                            ICE_PRI(names[i]), ICE_PRI(def->name));
        ids[i] = def->cols[at].field_id;
    }
    *out = ids;
    return ICE_OK;
}

/* The parent of a foreign key: another table of the view, or the table itself while it is made. */
static ice_code resolve_parent(ice__ddl *d, const ice_conspec *spec, const ice_tabledef *self,
                               ice_constraint *con, const ice_tabledef **parent, ice_error *err)
{
    ice_view *view = NULL;
    ice_code rc;
    *parent = self;
    if (!ice_str_eq(spec->ref_table, self->name)) {
        ice__stview *fresh = NULL; /* the statement's own view may be older than what this transaction made */
        if ((rc = ice__stview_open(d->s, 0, &fresh, err)) != ICE_OK)
            return rc;
        rc = ice__stview_target(fresh, spec->ref_table, &view, err);
        ice_tabledef *copy = rc == ICE_OK ? ice_tabledef_clone(view->state->def, false) : NULL;
        ice__stview_unref(fresh);
        if (rc != ICE_OK)
            return rc;
        if (!copy)
            return ice_fail_nomem(err);
        *parent = copy;
    }
    con->ref_table = (*parent)->uuid;
    const ice_constraint *pk = ice_tabledef_primary(*parent);
    if (spec->nref) {
        rc = ice__ddl_resolve_columns(*parent, spec->ref_cols, spec->nref, d->s->scratch, &con->ref_field_ids,
                                      err);
    } else if (pk && pk->ncols == con->ncols) {
        con->ref_field_ids = ice_arena_array(d->s->scratch, pk->ncols, sizeof(int32_t));
        rc = con->ref_field_ids ? ICE_OK : ice_fail_nomem(err);
        if (rc == ICE_OK)
            memcpy(con->ref_field_ids, pk->field_ids, pk->ncols * sizeof(int32_t));
    } else {
        rc = ice_fail(err, ICE_SYNTAX,
                      "foreign key \"%.*s\": table \"%.*s\" has no primary key of %zu columns",
                      ICE_PRI(con->name), ICE_PRI(spec->ref_table), con->ncols);
    }
    return rc;
}

static ice_code parent_is_unique(const ice_tabledef *parent, const ice_constraint *con, ice_error *err)
{
    for (size_t i = 0; i < parent->ncons; i++) {
        const ice_constraint *u = &parent->cons[i];
        size_t same = 0;
        if ((u->kind != ICE_CON_PRIMARY && u->kind != ICE_CON_UNIQUE) || u->where_sql.ptr || u->deferrable ||
            u->expr_sql.ptr || u->ncols != con->ncols)
            continue;
        for (size_t a = 0; a < con->ncols; a++)
            for (size_t b = 0; b < con->ncols; b++)
                same += u->field_ids[a] == con->ref_field_ids[b];
        if (same == con->ncols)
            return ICE_OK;
    }
    return ice_fail(
        err, ICE_SYNTAX,
        "there is no unique constraint matching the keys of foreign key \"%.*s\" in table \"%.*s\"",
        ICE_PRI(con->name), ICE_PRI(parent->name));
}

static void set_not_null(ice_tabledef *def, const ice_constraint *con)
{
    for (size_t i = 0; i < con->ncols; i++)
        def->cols[ice_tabledef_find_id(def, con->field_ids[i])].not_null = true;
}

ice_code ice__ddl_add_constraint(ice__ddl *d, const ice_conspec *spec, bool check, ice_error *err)
{
    ice_tabledef *def = d->def;
    ice_constraint con = spec->con;
    const ice_tabledef *parent = NULL;
    ice_code rc;
    con.ncols = spec->ncols;
    con.ninclude = spec->ninclude;
    ICE_TRY(ice__ddl_resolve_columns(def, spec->cols, spec->ncols, d->s->scratch, &con.field_ids, err));
    ICE_TRY(
        ice__ddl_resolve_columns(def, spec->include, spec->ninclude, d->s->scratch, &con.include_ids, err));
    if (con.kind == ICE_CON_PRIMARY && con.deferrable) {
        rc = ice_fail(err, ICE_UNSUPPORTED, "a primary key that is deferrable (\"%.*s\")", ICE_PRI(con.name));
        goto out;
    }
    if (con.kind == ICE_CON_PRIMARY)
        ICE_TRY(ice__ddl_drop_hidden_key(d, err));
    if (con.kind == ICE_CON_PRIMARY && ice_tabledef_primary(def)) {
        rc = ice_fail(err, ICE_DUP_OBJECT, "multiple primary keys for table \"%.*s\" are not allowed",
                      ICE_PRI(def->name));
        goto out;
    }
    if (con.kind == ICE_CON_FOREIGN) {
        ICE_TRY(resolve_parent(d, spec, def, &con, &parent, err));
        ICE_TRY(parent_is_unique(parent, &con, err));
    }
    if (check && (con.kind == ICE_CON_PRIMARY || con.kind == ICE_CON_UNIQUE))
        ICE_TRY(ice__check_unique(d->s, def, &con, err));
    for (size_t i = 0; check && con.kind == ICE_CON_PRIMARY && i < con.ncols; i++)
        ICE_TRY(ice__check_not_null(d->s, def, spec->cols[i], err));
    if (check && con.kind == ICE_CON_CHECK)
        ICE_TRY(ice__check_check(d->s, def, &con, err));
    if (check && con.kind == ICE_CON_FOREIGN)
        ICE_TRY(ice__check_foreign(d->s, def, &con, parent, err));
    if (con.kind == ICE_CON_PRIMARY)
        set_not_null(def, &con);
    if (con.kind == ICE_CON_PRIMARY && check)
        con.since = INT64_MAX;
    rc = ice_tabledef_add_constraint(def, &con, err);
out:
    if (parent && parent != def)
        ice_tabledef_free((ice_tabledef *)parent);
    return rc;
}
