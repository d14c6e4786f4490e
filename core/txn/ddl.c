/* Schema changes. Each makes a new definition under the table's exclusive lock, kept private to the
 * transaction until its record is in the log; no file is touched. A change of type that Iceberg does not
 * promote is a new field whose values are written anew. */
#include <stdlib.h>

#include "txn/txn_int.h"

/* A table being changed, with a definition to edit. */
typedef struct ddl {
    ice_session *s;
    ice__stview *v;
    ice__txtable *t;
    ice_tabstate *now;
    ice_tabledef *def; /* clone with the next schema id, NULL after it was handed on */
} ddl;

static ice_code ddl_open(ddl *d, ice_session *s, ice__stview *v, ice_str table, ice_error *err)
{
    ice_view *view = NULL;
    ice__registry *reg = NULL;
    int64_t at;
    *d = (ddl){.s = s, .v = v};
    ice_code rc = ice__stview_need(v, table, &view, err);
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

/* Makes the edited definition the transaction's, and starts the next edit from it. */
static ice_code ddl_put(ddl *d, bool more, ice_error *err)
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

static void ddl_close(ddl *d)
{
    if (d->now)
        ice_tabstate_unref(d->now);
    ice_tabledef_free(d->def);
}

/* ---- checking what is there ---- */

/* Fails with `code` when the query, run with the transaction's own changes, yields a row. */
static ice_code expect_none(ice_session *s, const ice_buf *sql, ice_code code, const ice_tabledef *def,
                            ice_str con, const char *what, ice_error *err)
{
    ice__stview *v = NULL;
    ice__rowset rows = {0};
    ice_code rc;
    ICE_TRY(ice_buf_check(sql, err));
    ICE_TRY(ice__stview_open(s, 0, &v, err));
    ICE_TRY(ice__collect(s, v, ice_buf_str(sql), NULL, 0, &rows, err));
    if (rows.n > 0) {
        rc = ice_fail(err, code, "%s \"%.*s\" of relation \"%.*s\" is violated by some row", what,
                      ICE_PRI(con), ICE_PRI(def->name));
        ice_error_object(err, def->name.ptr, con.ptr);
    }
out:
    ice__stview_unref(v);
    ice_arena_free(rows.arena);
    return rc;
}

static void put_columns(ice_buf *b, const ice_tabledef *def, const int32_t *ids, size_t n, const char *prefix)
{
    for (size_t i = 0; i < n; i++) {
        int at = ice_tabledef_find_id(def, ids[i]);
        ice_buf_printf(b, "%s%s", i ? ", " : "", prefix);
        ice_buf_put_ident(b, def->cols[at].name);
    }
}

static ice_code check_unique(ice_session *s, const ice_tabledef *def, const ice_constraint *con,
                             ice_error *err)
{
    ice_buf sql = {0}, cols = {0};
    if (con->expr_sql.ptr)
        ice_buf_put_str(&cols, con->expr_sql);
    else
        put_columns(&cols, def, con->field_ids, con->ncols, "");
    ice_buf_puts(&sql, "SELECT 1 FROM ");
    ice_buf_put_ident(&sql, def->name);
    ice_buf_printf(&sql, " WHERE (%.*s)", ICE_PRI(con->where_sql.ptr ? con->where_sql : ICE_STR("TRUE")));
    for (size_t i = 0; i < con->ncols && !con->nulls_not_distinct && !con->expr_sql.ptr; i++) {
        ice_buf_puts(&sql, " AND ");
        put_columns(&sql, def, &con->field_ids[i], 1, "");
        ice_buf_puts(&sql, " IS NOT NULL");
    }
    ice_buf_printf(&sql, " GROUP BY %.*s HAVING count(*) > 1 LIMIT 1", (int)cols.len, cols.data);
    ice_code rc = expect_none(s, &sql, ICE_UNIQUE, def, con->name, "unique constraint", err);
    ice_buf_free(&sql);
    ice_buf_free(&cols);
    return rc;
}

static ice_code check_check(ice_session *s, const ice_tabledef *def, const ice_constraint *con,
                            ice_error *err)
{
    ice_buf sql = {0};
    ice_buf_puts(&sql, "SELECT 1 FROM ");
    ice_buf_put_ident(&sql, def->name);
    ice_buf_printf(&sql, " WHERE (%.*s) IS FALSE LIMIT 1", ICE_PRI(con->check_sql));
    ice_code rc = expect_none(s, &sql, ICE_CHECK, def, con->name, "check constraint", err);
    ice_buf_free(&sql);
    return rc;
}

static ice_code check_foreign(ice_session *s, const ice_tabledef *def, const ice_constraint *con,
                              const ice_tabledef *parent, ice_error *err)
{
    ice_buf sql = {0};
    ice_buf_puts(&sql, "SELECT 1 FROM ");
    ice_buf_put_ident(&sql, def->name);
    ice_buf_puts(&sql, " AS c WHERE ");
    for (size_t i = 0; i < con->ncols; i++) {
        ice_buf_puts(&sql, i ? " AND " : "");
        put_columns(&sql, def, &con->field_ids[i], 1, "c.");
        ice_buf_puts(&sql, " IS NOT NULL");
    }
    ice_buf_puts(&sql, " AND NOT EXISTS (SELECT 1 FROM ");
    ice_buf_put_ident(&sql, parent->name);
    ice_buf_puts(&sql, " AS p WHERE ");
    for (size_t i = 0; i < con->ncols; i++) {
        ice_buf_puts(&sql, i ? " AND " : "");
        put_columns(&sql, parent, &con->ref_field_ids[i], 1, "p.");
        ice_buf_puts(&sql, " = ");
        put_columns(&sql, def, &con->field_ids[i], 1, "c.");
    }
    ice_buf_puts(&sql, ") LIMIT 1");
    ice_code rc = expect_none(s, &sql, ICE_FOREIGN_KEY, def, con->name, "foreign key constraint", err);
    ice_buf_free(&sql);
    return rc;
}

static ice_code check_not_null(ice_session *s, const ice_tabledef *def, ice_str column, ice_error *err)
{
    ice_buf sql = {0};
    ice_buf_puts(&sql, "SELECT 1 FROM ");
    ice_buf_put_ident(&sql, def->name);
    ice_buf_puts(&sql, " WHERE ");
    ice_buf_put_ident(&sql, column);
    ice_buf_puts(&sql, " IS NULL LIMIT 1");
    ice_code rc = expect_none(s, &sql, ICE_NOT_NULL, def, column, "not-null constraint on column", err);
    ice_buf_free(&sql);
    return rc;
}

/* Rows of a table that was not just created: is there anything to check? */
static ice_code has_rows(ice_session *s, ice_str table, bool *any, ice_error *err)
{
    ice__stview *v = NULL;
    ice_view *view = NULL;
    uint64_t n = 0;
    ice_code rc = ice__stview_open(s, 0, &v, err);
    if (rc == ICE_OK)
        rc = ice__stview_need(v, table, &view, err);
    if (rc == ICE_OK)
        rc = ice_view_count(view, &n, err);
    ice__stview_unref(v);
    *any = n > 0;
    return rc;
}

/* ---- constraints ---- */

static ice_code resolve_cols(const ice_tabledef *def, const ice_str *names, size_t n, ice_arena *a,
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
static ice_code resolve_parent(ddl *d, const ice_conspec *spec, const ice_tabledef *self, ice_constraint *con,
                               const ice_tabledef **parent, ice_error *err)
{
    ice_view *view = NULL;
    ice_code rc;
    *parent = self;
    if (!ice_str_eq(spec->ref_table, self->name)) {
        ice__stview *fresh = NULL; /* the statement's own view may be older than what this transaction made */
        if ((rc = ice__stview_open(d->s, 0, &fresh, err)) != ICE_OK)
            return rc;
        rc = ice__stview_need(fresh, spec->ref_table, &view, err);
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
        rc = resolve_cols(*parent, spec->ref_cols, spec->nref, d->s->scratch, &con->ref_field_ids, err);
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
        if ((u->kind != ICE_CON_PRIMARY && u->kind != ICE_CON_UNIQUE) || u->where_sql.ptr ||
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

static int count_one(void *arg, const ice_tombstone *ts)
{
    (void)ts;
    *(bool *)arg = true;
    return 1;
}

/* What a transaction changed, and what is in files, is known by the primary key: it changes only where there
 * is nothing yet. */
static ice_code key_may_change(ddl *d, ice_error *err)
{
    bool any = false;
    ice_code rc = has_rows(d->s, d->now->def->name, &any, err);
    /* Rows that were in files are dead by tombstones, which know the old key, until a flush has taken them.
     */
    ice_tail_counts counts;
    ice_tail_counts_get(d->now->tail, &counts);
    any |= counts.tombstones > 0 || (d->now->published && ice_published_rows(d->now->published) > 0);
    if (rc == ICE_OK && !any && d->t->overlay)
        ice_tail_tombstones(d->t->overlay, 0, ICE_TIME_MAX - 1, count_one, &any);
    if (rc == ICE_OK && any)
        rc = ice_fail(err, ICE_UNSUPPORTED,
                      "the primary key of \"%.*s\" cannot change while the table has rows, or had some that "
                      "no flush has taken yet: make a new table",
                      ICE_PRI(d->now->def->name));
    return rc;
}

/* A key is declared: the hidden one goes. */
static ice_code drop_hidden_key(ddl *d, ice_error *err)
{
    if (!d->t || ice_tabledef_find(d->def, ICE_STR("_row_key")) < 0)
        return ICE_OK;
    ice_code rc = key_may_change(d, err);
    return rc == ICE_OK ? ice_tabledef_drop_column(d->def, ICE_STR("_row_key"), err) : rc;
}

/* Adds a constraint to the definition being edited. `check`: the table has rows that must meet it. */
static ice_code add_constraint(ddl *d, const ice_conspec *spec, bool check, ice_error *err)
{
    ice_tabledef *def = d->def;
    ice_constraint con = spec->con;
    const ice_tabledef *parent = NULL;
    ice_code rc;
    con.ncols = spec->ncols;
    con.ninclude = spec->ninclude;
    ICE_TRY(resolve_cols(def, spec->cols, spec->ncols, d->s->scratch, &con.field_ids, err));
    ICE_TRY(resolve_cols(def, spec->include, spec->ninclude, d->s->scratch, &con.include_ids, err));
    if (con.kind == ICE_CON_PRIMARY)
        ICE_TRY(drop_hidden_key(d, err));
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
        ICE_TRY(check_unique(d->s, def, &con, err));
    if (check && con.kind == ICE_CON_CHECK)
        ICE_TRY(check_check(d->s, def, &con, err));
    if (check && con.kind == ICE_CON_FOREIGN)
        ICE_TRY(check_foreign(d->s, def, &con, parent, err));
    if (con.kind == ICE_CON_PRIMARY)
        set_not_null(def, &con);
    rc = ice_tabledef_add_constraint(def, &con, err);
out:
    if (parent && parent != def)
        ice_tabledef_free((ice_tabledef *)parent);
    return rc;
}

/* ---- CREATE TABLE, DROP TABLE ---- */

/* A table without a primary key gets a hidden one. */
static ice_code hidden_key(ice_tabledef *def, ice_error *err)
{
    if (ice_tabledef_primary(def))
        return ICE_OK;
    ice_column col = {.name = ICE_STR("_row_key"),
                      .type = {.kind = ICE_T_LONG},
                      .sql_type = ICE_STR("bigint"),
                      .not_null = true,
                      .identity = true};
    ice_code rc = ice_tabledef_add_column(def, &col, err);
    int32_t id = def->last_field_id;
    ice_constraint con = {
        .kind = ICE_CON_PRIMARY, .name = ICE_STR("_row_key_pkey"), .ncols = 1, .field_ids = &id};
    return rc == ICE_OK ? ice_tabledef_add_constraint(def, &con, err) : rc;
}

static ice_code create_table(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err)
{
    ice_view *there = NULL;
    ddl d = {.s = s, .v = v};
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
        ICE_TRY(ice_tabledef_add_column(d.def, &st->create.cols[i].column, err));
    for (size_t i = 0; i < st->create.ncons; i++)
        ICE_TRY(add_constraint(&d, &st->create.cons[i], false, err));
    ICE_TRY(hidden_key(d.def, err));
    ICE_TRY(ice__tx_table(s, d.def->uuid, d.def->name, true, &d.t, err));
    d.t->created = true;
    ICE_TRY(ddl_put(&d, false, err));
out:
    ddl_close(&d);
    return rc;
}

/* Foreign keys of other tables that refer to this one go with CASCADE, else forbid. */
static ice_code drop_referrers(ice_session *s, ice__stview *v, ice_uuid parent, ice_str name, bool cascade,
                               const ice_str *also, size_t nalso, ice_error *err);

static ice_code drop_table(ice_session *s, ice__stview *v, ice_str name, const ice_stmt *st, ice_error *err)
{
    ice_view *there = NULL;
    ddl d = {0};
    ice_code rc = ice__stview_table(v, name, &there, err);
    if (rc != ICE_OK)
        return rc;
    if (!there)
        return st->drop.if_exists
                   ? ICE_OK
                   : ice_fail(err, ICE_NO_TABLE, "table \"%.*s\" does not exist", ICE_PRI(name));
    if ((rc = ddl_open(&d, s, v, name, err)) == ICE_OK)
        rc = drop_referrers(s, v, d.t->uuid, name, st->drop.cascade, st->drop.names, st->drop.n, err);
    if (rc == ICE_OK)
        ice__tx_find(&s->tx, d.now->def->uuid)->dropped = true;
    ddl_close(&d);
    return rc;
}

static bool in_list(ice_str name, const ice_str *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ice_str_eq(name, names[i]))
            return true;
    return false;
}

static ice_code drop_referrers(ice_session *s, ice__stview *v, ice_uuid parent, ice_str name, bool cascade,
                               const ice_str *also, size_t nalso, ice_error *err)
{
    size_t n = 0;
    ice_str *tables = NULL;
    ice_arena *a = ice_arena_create();
    ice_code rc = a ? ice_session_tables(s, a, &tables, &n, err) : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        ice__stview *fresh = NULL;
        ice_view *child = NULL;
        if (ice_str_eq(tables[i], name) || in_list(tables[i], also, nalso))
            continue;
        if ((rc = ice__stview_open(s, 0, &fresh, err)) != ICE_OK)
            break;
        rc = ice__stview_table(fresh, tables[i], &child, err);
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
            ddl d;
            if ((rc = ddl_open(&d, s, fresh, tables[i], err)) == ICE_OK &&
                (rc = ice_tabledef_drop_constraint(d.def, con_name, err)) == ICE_OK)
                rc = ddl_put(&d, false, err);
            ddl_close(&d);
            i--; /* there may be another */
        }
        ice__stview_unref(fresh);
    }
    (void)v;
    ice_arena_free(a);
    return rc;
}

/* ---- ALTER TABLE ---- */

/* After a column or constraint went: was it the primary key, or part of it? */
static ice_code still_keyed(ddl *d, ice_error *err)
{
    if (ice_tabledef_primary(d->def))
        return ICE_OK;
    ice_code rc = key_may_change(d, err);
    return rc == ICE_OK ? hidden_key(d->def, err) : rc;
}

/* Rows written anew by "UPDATE t SET column = expr", as a statement of this transaction. */
static ice_code rewrite(ddl *d, ice_str column, ice_str expr, ice_error *err)
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
    rc = ice__run_update(d->s, p, NULL, 0, v, &c, err);
out:
    ice__stview_unref(v);
    ice_arena_free(c.arena);
    ice_buf_free(&sql);
    return rc;
}

/* The value that rows older than the column have: a constant default at once; another expression is written
 * into the rows. */
static ice_code add_column(ddl *d, const ice_alter *al, ice_error *err)
{
    ice_column col = al->col.column;
    ice_error ignored;
    ice_value v;
    ice_str expr = col.default_sql;
    bool any = false;
    ice_code rc;
    if (al->if_not_exists && ice_tabledef_find(d->def, col.name) >= 0)
        return ICE_OK;
    if ((rc = has_rows(d->s, d->now->def->name, &any, err)) != ICE_OK)
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
        if ((rc = ddl_put(d, true, err)) != ICE_OK)
            return rc;
        rc = rewrite(d, col.name,
                     col.identity            ? ICE_STR("row_number() OVER ()")
                     : col.generated_sql.ptr ? ICE_STR("DEFAULT")
                                             : expr,
                     err);
        int at = ice_tabledef_find(d->def, col.name);
        d->def->cols[at].not_null = not_null;
    }
    if (rc == ICE_OK && any && al->ncons) /* they are checked by queries, which must see the column */
        rc = ddl_put(d, true, err);
    for (size_t i = 0; rc == ICE_OK && i < al->ncons; i++)
        rc = add_constraint(d, &al->cons[i], any, err);
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

static ice_code alter_type(ddl *d, const ice_alter *al, ice_error *err)
{
    int at = ice_tabledef_find(d->def, al->name);
    const ice_column *want = &al->col.column;
    ice_buf expr = {0}, duck = {0};
    bool any = false;
    ice_code rc;
    ice_column *col = &d->def->cols[at];
    if (!al->expr.ptr && widens(col, want)) {
        ice_value v;
        if (col->has_initial) {
            ice_code cast = ice_value_cast(d->def->arena, &col->initial, want->type, &v, err);
            if (cast != ICE_OK)
                return cast;
            col->initial = v;
        }
        copy_type(col, want);
        col->sql_type = ice_arena_str(d->def->arena, want->sql_type);
        return ICE_OK;
    }
    if ((rc = has_rows(d->s, d->now->def->name, &any, err)) != ICE_OK)
        return rc;
    if (in_primary(d->def, col->field_id) && (rc = key_may_change(d, err)) != ICE_OK)
        return rc;
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
        ICE_TRY(ddl_put(d, true, err));
        ice_duck_type(want, &duck);
        if (al->expr.ptr) {
            ice_buf_put_str(&expr, al->expr);
        } else {
            ice_buf_puts(&expr, "CAST(");
            ice_buf_put_ident(&expr, al->name);
            ice_buf_printf(&expr, " AS %.*s)", (int)duck.len, duck.data);
        }
        ICE_TRY(ice_buf_check(&expr, err));
        ICE_TRY(rewrite(d, fresh.name, ice_buf_str(&expr), err));
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
out:
    ice_buf_free(&expr);
    ice_buf_free(&duck);
    return rc;
}

/* Going on is said to the sequence that is; going back is another sequence, so that it is undone with the
 * transaction and known to every process with the definition. */
static ice_code restart(ddl *d, ice_column *col, int64_t at, ice_error *err)
{
    uint64_t name = ice__sequence_name(d->def, col);
    int64_t next;
    ice_code rc = ice_log_sequence_peek(d->s->wh->log, name, &next, err);
    if (rc != ICE_OK || next == at)
        return rc;
    if (next < at)
        return ice_log_sequence_bump(d->s->wh->log, name, at - 1, err);
    col->restarts++;
    col->restart_at = at;
    return ICE_OK;
}

static ice_code alter_column(ddl *d, const ice_alter *al, ice_error *err)
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
        if ((rc = has_rows(d->s, d->now->def->name, &any, err)) == ICE_OK && any)
            rc = check_not_null(d->s, d->now->def,
                                ice_tabledef_find(d->now->def, al->name) >= 0 ? al->name : col->name, err);
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

static ice_code rename_table(ddl *d, ice_str to, ice_error *err)
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

static ice_code rename_constraint(ddl *d, const ice_alter *al, ice_error *err)
{
    for (size_t i = 0; i < d->def->ncons; i++)
        if (ice_str_eq(d->def->cons[i].name, al->name)) {
            d->def->cons[i].name = ice_arena_str(d->def->arena, al->new_name);
            return ICE_OK;
        }
    return ice_fail(err, ICE_NO_OBJECT, "constraint \"%.*s\" of relation \"%.*s\" does not exist",
                    ICE_PRI(al->name), ICE_PRI(d->def->name));
}

static ice_code alter_one(ddl *d, const ice_alter *al, ice_error *err)
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
        rc = ice_tabledef_drop_column(d->def, al->name, err);
        return rc == ICE_OK ? still_keyed(d, err) : rc;
    case ICE_A_ADD_CONSTRAINT:
        if ((rc = has_rows(d->s, d->now->def->name, &any, err)) != ICE_OK)
            return rc;
        return add_constraint(d, &al->cons[0], any, err);
    case ICE_A_DROP_CONSTRAINT:
        if (al->if_exists && !ice_tabledef_constraint(d->def, al->name))
            return ICE_OK;
        rc = ice_tabledef_drop_constraint(d->def, al->name, err);
        return rc == ICE_OK ? still_keyed(d, err) : rc;
    case ICE_A_RENAME_CONSTRAINT:
        return rename_constraint(d, al, err);
    default:
        return alter_column(d, al, err);
    }
}

static ice_code alter_table(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err)
{
    ddl d;
    ice_view *there = NULL;
    ice_code rc = ice__stview_table(v, st->alter.table, &there, err);
    if (rc != ICE_OK || (!there && st->alter.if_exists))
        return rc;
    rc = ddl_open(&d, s, v, st->alter.table, err);
    for (size_t i = 0; rc == ICE_OK && i < st->alter.n; i++) {
        rc = alter_one(&d, &st->alter.actions[i], err);
        if (rc == ICE_OK)
            rc = ddl_put(&d, i + 1 < st->alter.n, err);
    }
    ddl_close(&d);
    return rc;
}

/* ---- indexes, comments ---- */

static ice_code run_check(ddl *d, const ice_buf *sql, const ice_value *param, bool *any, ice_error *err)
{
    ice__stview *v = NULL;
    ice__rowset rows = {0};
    ice_code rc;
    ICE_TRY(ice_buf_check(sql, err));
    ICE_TRY(ice__stview_open(d->s, 0, &v, err));
    ICE_TRY(ice__collect(d->s, v, ice_buf_str(sql), param, param ? 1 : 0, &rows, err));
    *any = rows.n > 0;
out:
    ice__stview_unref(v);
    ice_arena_free(rows.arena);
    return rc;
}

/* The expressions of an index mean something for this table, and always the same. */
static ice_code check_expressions(ddl *d, ice_str exprs, ice_str where, ice_error *err)
{
    ice_buf sql = {0}, text = {0};
    bool any;
    ice_code rc;
    ice_buf_printf(&sql, "SELECT %.*s FROM ", ICE_PRI(exprs.ptr ? exprs : ICE_STR("1")));
    ice_buf_put_ident(&sql, d->def->name);
    ice_buf_printf(&sql, " WHERE (%.*s) LIMIT 0", ICE_PRI(where.ptr ? where : ICE_STR("TRUE")));
    ICE_TRY(run_check(d, &sql, NULL, &any, err));
    ice_buf_printf(&text, "%.*s %.*s", ICE_PRI(exprs.ptr ? exprs : ICE_STR("")),
                   ICE_PRI(where.ptr ? where : ICE_STR("")));
    ICE_TRY(ice_buf_check(&text, err));
    ice_buf_clear(&sql);
    ice_buf_puts(&sql, "SELECT 1 FROM duckdb_functions() WHERE stability <> 'CONSISTENT' AND list_contains("
                       "regexp_extract_all(lower($1), '([a-z_0-9]+)\"?\\s*\\(', 1), function_name) LIMIT 1");
    ICE_TRY(run_check(d, &sql, &(ice_value){.kind = ICE_T_STRING, .s = ice_buf_str(&text)}, &any, err));
    if (any)
        rc = ice_fail(err, ICE_SYNTAX,
                      "functions in the expressions of an index must give the same answer every time: %.*s",
                      ICE_PRI(ice_buf_str(&text)));
out:
    ice_buf_free(&sql);
    ice_buf_free(&text);
    return rc;
}

static ice_code create_index(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err)
{
    ddl d;
    bool any = false;
    ice_index index = st->index.index;
    ice_code rc = ddl_open(&d, s, v, st->index.table, err);
    if (rc != ICE_OK)
        goto out;
    for (size_t i = 0; st->index.if_not_exists && i < d.def->nindexes; i++)
        if (ice_str_eq(d.def->indexes[i].name, index.name))
            goto out;
    if (index.expr_sql.ptr || index.where_sql.ptr)
        ICE_TRY(check_expressions(&d, index.expr_sql, index.where_sql, err));
    if (st->index.unique) {
        ICE_TRY(has_rows(s, d.now->def->name, &any, err));
        ICE_TRY(add_constraint(&d, &st->index.con, any, err));
    } else {
        index.ncols = st->index.ncols;
        ICE_TRY(resolve_cols(d.def, st->index.cols, st->index.ncols, s->scratch, &index.field_ids, err));
        index.ninclude = st->index.con.ninclude;
        ICE_TRY(
            resolve_cols(d.def, st->index.con.include, index.ninclude, s->scratch, &index.include_ids, err));
        ICE_TRY(ice_tabledef_add_index(d.def, &index, err));
    }
    rc = ddl_put(&d, false, err);
out:
    ddl_close(&d);
    return rc;
}

/* The table that has an index (also a unique one) of this name. */
static ice_code find_index(ice_session *s, ice_str name, ice_arena *a, ice_str *table, bool *found,
                           ice_error *err)
{
    size_t n = 0;
    ice_str *tables = NULL;
    ice__stview *v = NULL;
    *found = false;
    ice_code rc = ice_session_tables(s, a, &tables, &n, err);
    if (rc == ICE_OK)
        rc = ice__stview_open(s, 0, &v, err);
    for (size_t i = 0; rc == ICE_OK && i < n && !*found; i++) {
        ice_view *view = NULL;
        if ((rc = ice__stview_table(v, tables[i], &view, err)) != ICE_OK || !view)
            continue;
        const ice_tabledef *def = view->state->def;
        for (size_t k = 0; k < def->nindexes; k++)
            *found |= ice_str_eq(def->indexes[k].name, name);
        for (size_t k = 0; k < def->ncons; k++)
            *found |= def->cons[k].is_index && ice_str_eq(def->cons[k].name, name);
        if (*found)
            *table = tables[i];
    }
    ice__stview_unref(v);
    return rc;
}

static ice_code change_index(ice_session *s, ice_str name, const ice_str *new_name, bool if_exists,
                             ice__stview *v, ice_error *err)
{
    ddl d = {0};
    bool found;
    ice_str table;
    ice_arena *a = ice_arena_create();
    ice_code rc = a ? find_index(s, name, a, &table, &found, err) : ice_fail_nomem(err);
    if (rc == ICE_OK && !found) {
        if (!if_exists)
            rc = ice_fail(err, ICE_NO_OBJECT, "index \"%.*s\" does not exist", ICE_PRI(name));
        goto out;
    }
    if (rc == ICE_OK)
        rc = ddl_open(&d, s, v, table, err);
    if (rc != ICE_OK)
        goto out;
    if (!new_name) {
        ICE_TRY(ice_tabledef_drop_index(d.def, name, err));
    } else {
        for (size_t k = 0; k < d.def->nindexes; k++)
            if (ice_str_eq(d.def->indexes[k].name, name))
                d.def->indexes[k].name = ice_arena_str(d.def->arena, *new_name);
        for (size_t k = 0; k < d.def->ncons; k++)
            if (d.def->cons[k].is_index && ice_str_eq(d.def->cons[k].name, name))
                d.def->cons[k].name = ice_arena_str(d.def->arena, *new_name);
    }
    rc = ddl_put(&d, false, err);
out:
    ddl_close(&d);
    ice_arena_free(a);
    return rc;
}

ice_code ice__restart_identity(ice_session *s, ice__stview *v, ice_str table, ice_error *err)
{
    ddl d;
    ice_code rc = ddl_open(&d, s, v, table, err);
    for (size_t i = 0; rc == ICE_OK && i < d.def->ncols; i++)
        if (d.def->cols[i].identity)
            rc = restart(&d, &d.def->cols[i], 1, err);
    bool changed = false;
    for (size_t i = 0; rc == ICE_OK && i < d.def->ncols; i++)
        changed |= d.def->cols[i].restarts != d.now->def->cols[i].restarts;
    if (changed)
        rc = ddl_put(&d, false, err);
    ddl_close(&d);
    return rc;
}

static ice_code comment(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err)
{
    ddl d;
    ice_code rc;
    ICE_TRY(ddl_open(&d, s, v, st->comment.table, err));
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
    rc = ddl_put(&d, false, err);
out:
    ddl_close(&d);
    return rc;
}

ice_code ice__run_ddl(ice_session *s, ice_prepared *p, ice__stview *v, ice_cursor *c, ice_error *err)
{
    const ice_stmt *st = &p->stmt;
    ice_code rc = ICE_OK;
    (void)c;
    switch (st->kind) {
    case ICE_S_CREATE_TABLE:
        return create_table(s, st, v, err);
    case ICE_S_DROP_TABLE:
        for (size_t i = 0; rc == ICE_OK && i < st->drop.n; i++)
            rc = drop_table(s, v, st->drop.names[i], st, err);
        return rc;
    case ICE_S_ALTER_TABLE:
        return alter_table(s, st, v, err);
    case ICE_S_CREATE_INDEX:
        return create_index(s, st, v, err);
    case ICE_S_DROP_INDEX:
        for (size_t i = 0; rc == ICE_OK && i < st->drop.n; i++)
            rc = change_index(s, st->drop.names[i], NULL, st->drop.if_exists, v, err);
        return rc;
    case ICE_S_RENAME_INDEX:
        return change_index(s, st->simple.name, &st->simple.new_name, st->simple.if_exists, v, err);
    case ICE_S_COMMENT:
        return comment(s, st, v, err);
    default:
        return ice_fail(err, ICE_UNSUPPORTED, "this statement is not supported");
    }
}
