/* Edits. Each checks first and changes the definition last, so that a failed one leaves it as it was. */
#include "schema/tabledef_int.h"

static ice_code check_name(const char *what, ice_str name, ice_error *err)
{
    if (name.len == 0)
        return ice_fail(err, ICE_BAD_VALUE, "a %s needs a name", what);
    if (name.len > ICE_MAX_NAME)
        return ice_fail(err, ICE_TOO_LONG, "the name of a %s is %zu bytes long, more than %d", what, name.len,
                        ICE_MAX_NAME);
    if (!ice_utf8_valid(name) || memchr(name.ptr, 0, name.len))
        return ice_fail(err, ICE_BAD_VALUE, "the name of a %s is not UTF-8 text", what);
    return ICE_OK;
}

/* ---- columns ---- */

static ice_code check_reserved(const ice_column *c, ice_error *err)
{
    static const char *const names[] = {"_row_start", "_row_end", "_operation"};

    for (int i = 0; i < 3; i++)
        if (ice_str_ieq(c->name, ice_str_c(names[i])) && !ice__is_system_field(c->field_id))
            return ice_fail(err, ICE_DUP_COLUMN, "column name \"%s\" is reserved for the table's history", names[i]);
    return ICE_OK;
}

static ice_code check_column(const ice_tabledef *d, const ice_column *c, ice_error *err)
{
    ice_code rc;

    ICE_TRY(check_name("column", c->name, err));
    ICE_TRY(check_reserved(c, err));
    if (ice_tabledef_find(d, c->name) >= 0)
        return ice_fail(err, ICE_DUP_COLUMN, "column \"%.*s\" of table \"%.*s\" already exists", ICE_PRI(c->name),
                        ICE_PRI(d->name));
    if (d->ncols >= ICE_MAX_COLUMNS)
        return ice_fail(err, ICE_UNSUPPORTED, "table \"%.*s\" has %d columns, the most there may be",
                        ICE_PRI(d->name), ICE_MAX_COLUMNS);
    if (c->field_id < 0 || (c->field_id >= ICE_FIELD_ROW_START && !ice__is_system_field(c->field_id)))
        return ice_fail(err, ICE_RANGE, "column \"%.*s\": field id %d is out of range", ICE_PRI(c->name), c->field_id);
    if (c->field_id != 0 && ice_tabledef_find_id(d, c->field_id) >= 0)
        return ice_fail(err, ICE_DUP_COLUMN, "column \"%.*s\": field id %d is taken", ICE_PRI(c->name), c->field_id);
    if (c->field_id == 0 && d->last_field_id >= ICE_FIELD_ROW_START - 1)
        return ice_fail(err, ICE_RANGE, "table \"%.*s\" has used up its field ids", ICE_PRI(d->name));
out:
    return rc;
}

ice_code ice_tabledef_add_column(ice_tabledef *d, const ice_column *c, ice_error *err)
{
    ice_column copy, *cols;
    ice_code rc = check_column(d, c, err);

    if (rc != ICE_OK)
        return rc;
    cols = ice__grow(d->arena, d->cols, d->ncols, sizeof *cols);
    if (!cols || !ice__copy_column(d->arena, c, &copy))
        return ice_fail_nomem(err);
    if (copy.field_id == 0)
        copy.field_id = d->last_field_id + 1;
    if (!ice__is_system_field(copy.field_id) && copy.field_id > d->last_field_id)
        d->last_field_id = copy.field_id;
    cols[d->ncols++] = copy;
    d->cols = cols;
    return ICE_OK;
}

static bool has_id(const int32_t *ids, size_t n, int32_t id)
{
    for (size_t i = 0; ids && i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static bool constraint_uses(const ice_tabledef *d, const ice_constraint *c, const ice_column *col)
{
    bool to_itself = c->kind == ICE_CON_FOREIGN && ice_uuid_eq(c->ref_table, d->uuid);

    return (to_itself && has_id(c->ref_field_ids, c->ncols, col->field_id)) ||
           has_id(c->field_ids, c->ncols, col->field_id) || has_id(c->include_ids, c->ninclude, col->field_id) ||
           ice__expr_mentions(c->where_sql, col->name) || ice__expr_mentions(c->expr_sql, col->name) ||
           ice__expr_mentions(c->check_sql, col->name);
}

static bool index_uses(const ice_index *i, const ice_column *col)
{
    return has_id(i->field_ids, i->ncols, col->field_id) || has_id(i->include_ids, i->ninclude, col->field_id) ||
           ice__expr_mentions(i->where_sql, col->name) ||
           ice__expr_mentions(i->expr_sql, col->name);
}

static void remove_at(void *array, size_t *n, size_t i, size_t size)
{
    char *p = (char *)array + i * size;

    --*n;
    memmove(p, p + size, (*n - i) * size);
}

static ice_code no_column(const ice_tabledef *d, ice_str name, ice_error *err)
{
    return ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" of table \"%.*s\" does not exist", ICE_PRI(name),
                    ICE_PRI(d->name));
}

ice_code ice_tabledef_drop_column(ice_tabledef *d, ice_str name, ice_error *err)
{
    int at = ice_tabledef_find(d, name);
    ice_column col;

    if (at < 0)
        return no_column(d, name, err);
    col = d->cols[at];
    for (size_t i = 0; i < d->ncols; i++)
        if ((int)i != at && ice__expr_mentions(d->cols[i].generated_sql, col.name))
            return ice_fail(err, ICE_DEPENDENT,
                            "column \"%.*s\" of table \"%.*s\" cannot be dropped: generated column \"%.*s\" uses it",
                            ICE_PRI(name), ICE_PRI(d->name), ICE_PRI(d->cols[i].name));
    for (size_t i = d->ncons; i-- > 0;)
        if (constraint_uses(d, &d->cons[i], &col))
            remove_at(d->cons, &d->ncons, i, sizeof *d->cons);
    for (size_t i = d->nindexes; i-- > 0;)
        if (index_uses(&d->indexes[i], &col))
            remove_at(d->indexes, &d->nindexes, i, sizeof *d->indexes);
    remove_at(d->cols, &d->ncols, (size_t)at, sizeof *d->cols);
    return ICE_OK;
}

static bool rename_in_expressions(ice_tabledef *d, ice_str from, ice_str to)
{
    ice_arena *a = d->arena;
    bool ok = true;

    for (size_t i = 0; i < d->ncols; i++)
        ok = ok && ice__expr_rename(a, d->cols[i].generated_sql, from, to, &d->cols[i].generated_sql);
    for (size_t i = 0; i < d->ncons; i++) {
        ice_constraint *c = &d->cons[i];

        ok = ok && ice__expr_rename(a, c->where_sql, from, to, &c->where_sql) &&
             ice__expr_rename(a, c->expr_sql, from, to, &c->expr_sql) &&
             ice__expr_rename(a, c->check_sql, from, to, &c->check_sql);
    }
    for (size_t i = 0; i < d->nindexes; i++)
        ok = ok && ice__expr_rename(a, d->indexes[i].where_sql, from, to, &d->indexes[i].where_sql) &&
             ice__expr_rename(a, d->indexes[i].expr_sql, from, to, &d->indexes[i].expr_sql);
    return ok;
}

ice_code ice_tabledef_rename_column(ice_tabledef *d, ice_str from, ice_str to, ice_error *err)
{
    int at = ice_tabledef_find(d, from);
    ice_column renamed;
    ice_str old, name;
    ice_code rc;

    if (at < 0)
        return no_column(d, from, err);
    renamed = (ice_column){.name = to, .field_id = d->cols[at].field_id};
    ICE_TRY(check_name("column", to, err));
    ICE_TRY(check_reserved(&renamed, err));
    if (ice_tabledef_find(d, to) >= 0)
        return ice_fail(err, ICE_DUP_COLUMN, "column \"%.*s\" of table \"%.*s\" already exists", ICE_PRI(to),
                        ICE_PRI(d->name));
    old = d->cols[at].name;
    if (!ice__copy_str(d->arena, to, &name) || !rename_in_expressions(d, old, name))
        return ice_fail_nomem(err);
    d->cols[at].name = name;
out:
    return rc;
}

/* ---- constraints and indexes ---- */

static bool name_taken(const ice_tabledef *d, ice_str name)
{
    for (size_t i = 0; i < d->nindexes; i++)
        if (ice_str_eq(d->indexes[i].name, name))
            return true;
    return ice_tabledef_constraint(d, name) != NULL;
}

static ice_code check_object(const ice_tabledef *d, const char *what, ice_str name, ice_error *err)
{
    ice_code rc = check_name(what, name, err);

    if (rc != ICE_OK)
        return rc;
    if (name_taken(d, name))
        return ice_fail(err, ICE_DUP_OBJECT, "%s \"%.*s\" of table \"%.*s\" already exists", what, ICE_PRI(name),
                        ICE_PRI(d->name));
    if (d->ncons + d->nindexes >= ICE_MAX_OBJECTS)
        return ice_fail(err, ICE_UNSUPPORTED, "table \"%.*s\" has %d constraints and indexes, the most there may be",
                        ICE_PRI(d->name), ICE_MAX_OBJECTS);
    return ICE_OK;
}

static ice_code check_ids(const ice_tabledef *d, const char *what, ice_str name, const int32_t *ids, size_t n,
                          ice_error *err)
{
    if (n > ICE_MAX_KEY_COLUMNS)
        return ice_fail(err, ICE_UNSUPPORTED, "%s \"%.*s\" has %zu columns, more than %d", what, ICE_PRI(name), n,
                        ICE_MAX_KEY_COLUMNS);
    for (size_t i = 0; i < n; i++)
        if (!ids || ice_tabledef_find_id(d, ids[i]) < 0)
            return ice_fail(err, ICE_NO_COLUMN, "%s \"%.*s\": table \"%.*s\" has no column with field id %d", what,
                            ICE_PRI(name), ICE_PRI(d->name), ids ? ids[i] : 0);
    return ICE_OK;
}

static const char *shape_fault(const ice_constraint *c)
{
    switch (c->kind) {
    case ICE_CON_PRIMARY:
        return c->ncols == 0 ? "a primary key needs columns" : NULL;
    case ICE_CON_UNIQUE:
        return c->ncols == 0 && !c->expr_sql.len ? "a unique constraint needs columns or an expression" : NULL;
    case ICE_CON_FOREIGN:
        return c->ncols == 0 || !c->ref_field_ids ? "a foreign key needs columns and the columns they refer to"
                                                  : NULL;
    case ICE_CON_CHECK:
        return c->check_sql.len == 0 ? "a check constraint needs a condition" : NULL;
    default:
        return "unknown kind of constraint";
    }
}

ice_code ice_tabledef_add_constraint(ice_tabledef *d, const ice_constraint *c, ice_error *err)
{
    const char *fault = shape_fault(c);
    ice_constraint copy, *cons;
    ice_code rc;

    ICE_TRY(check_object(d, "constraint", c->name, err));
    if (fault)
        return ice_fail(err, ICE_BAD_VALUE, "constraint \"%.*s\": %s", ICE_PRI(c->name), fault);
    ICE_TRY(check_ids(d, "constraint", c->name, c->field_ids, c->ncols, err));
    ICE_TRY(check_ids(d, "constraint", c->name, c->include_ids, c->ninclude, err));
    if (c->kind == ICE_CON_PRIMARY && ice_tabledef_primary(d))
        return ice_fail(err, ICE_DUP_OBJECT, "table \"%.*s\" already has a primary key", ICE_PRI(d->name));
    cons = ice__grow(d->arena, d->cons, d->ncons, sizeof *cons);
    if (!cons || !ice__copy_constraint(d->arena, c, &copy))
        return ice_fail_nomem(err);
    cons[d->ncons++] = copy;
    d->cons = cons;
out:
    return rc;
}

ice_code ice_tabledef_drop_constraint(ice_tabledef *d, ice_str name, ice_error *err)
{
    for (size_t i = 0; i < d->ncons; i++)
        if (!d->cons[i].is_index && ice_str_eq(d->cons[i].name, name)) {
            remove_at(d->cons, &d->ncons, i, sizeof *d->cons);
            return ICE_OK;
        }
    return ice_fail(err, ICE_NO_OBJECT, "constraint \"%.*s\" of table \"%.*s\" does not exist", ICE_PRI(name),
                    ICE_PRI(d->name));
}

ice_code ice_tabledef_add_index(ice_tabledef *d, const ice_index *i, ice_error *err)
{
    ice_index copy, *indexes;
    ice_code rc;

    ICE_TRY(check_object(d, "index", i->name, err));
    if (i->ncols == 0 && i->expr_sql.len == 0)
        return ice_fail(err, ICE_BAD_VALUE, "index \"%.*s\": an index needs columns or an expression",
                        ICE_PRI(i->name));
    ICE_TRY(check_ids(d, "index", i->name, i->field_ids, i->ncols, err));
    ICE_TRY(check_ids(d, "index", i->name, i->include_ids, i->ninclude, err));
    indexes = ice__grow(d->arena, d->indexes, d->nindexes, sizeof *indexes);
    if (!indexes || !ice__copy_index(d->arena, i, &copy))
        return ice_fail_nomem(err);
    /* So that readers need no test for "all ascending". */
    if (!copy.descending && copy.ncols && !(copy.descending = ice_arena_alloc(d->arena, copy.ncols)))
        return ice_fail_nomem(err);
    indexes[d->nindexes++] = copy;
    d->indexes = indexes;
out:
    return rc;
}

ice_code ice_tabledef_drop_index(ice_tabledef *d, ice_str name, ice_error *err)
{
    const ice_constraint *con = ice_tabledef_constraint(d, name);

    for (size_t i = 0; i < d->nindexes; i++)
        if (ice_str_eq(d->indexes[i].name, name)) {
            remove_at(d->indexes, &d->nindexes, i, sizeof *d->indexes);
            return ICE_OK;
        }
    if (con && con->is_index) {
        remove_at(d->cons, &d->ncons, (size_t)(con - d->cons), sizeof *d->cons);
        return ICE_OK;
    }
    if (con)
        return ice_fail(err, ICE_DEPENDENT, "\"%.*s\" of table \"%.*s\" is a constraint, not an index", ICE_PRI(name),
                        ICE_PRI(d->name));
    return ice_fail(err, ICE_NO_OBJECT, "index \"%.*s\" of table \"%.*s\" does not exist", ICE_PRI(name),
                    ICE_PRI(d->name));
}

/* ---- types that changed ---- */

static void move_id(int32_t *ids, size_t n, int32_t from, int32_t to)
{
    for (size_t i = 0; ids && i < n; i++)
        if (ids[i] == from)
            ids[i] = to;
}

static void move_field(ice_tabledef *d, int32_t from, int32_t to)
{
    for (size_t i = 0; i < d->ncons; i++) {
        ice_constraint *c = &d->cons[i];

        move_id(c->field_ids, c->ncols, from, to);
        move_id(c->include_ids, c->ninclude, from, to);
        if (c->kind == ICE_CON_FOREIGN && ice_uuid_eq(c->ref_table, d->uuid))
            move_id(c->ref_field_ids, c->ncols, from, to);
    }
    for (size_t i = 0; i < d->nindexes; i++) {
        move_id(d->indexes[i].field_ids, d->indexes[i].ncols, from, to);
        move_id(d->indexes[i].include_ids, d->indexes[i].ninclude, from, to);
    }
}

/* The oldest of too many are forgotten. */
static void limit_formers(ice_column *c)
{
    for (unsigned i = 0; c->former; i++) {
        if (i == ICE_MAX_FORMERS)
            c->former = NULL;
        else
            c = (ice_column *)c->former;
    }
}

ice_code ice_tabledef_retype(ice_tabledef *d, int at, bool remembered, ice_error *err)
{
    ice_column *col = &d->cols[at], was;
    const ice_column *now = &d->cols[d->ncols - 1];
    ice_column *former = remembered ? ICE_NEW(d->arena, ice_column) : NULL;

    if (remembered && !former)
        return ice_fail_nomem(err);
    was = *col;
    col->field_id = now->field_id;
    ice_column_take_type(col, now);
    col->has_initial = false;
    if (former) {
        *former = was;
        col->former = former;
        col->former_until = INT64_MAX;
        limit_formers(col);
    }
    move_field(d, was.field_id, col->field_id);
    d->ncols--;
    return ICE_OK;
}

bool ice_tabledef_committed(ice_tabledef *d, int64_t commit_time)
{
    bool any = false;

    for (size_t i = 0; i < d->ncols; i++)
        for (ice_column *c = &d->cols[i]; c->former && c->former_until == INT64_MAX; c = (ice_column *)c->former) {
            c->former_until = commit_time;
            any = true;
        }
    for (size_t i = 0; i < d->ncons; i++)
        if (d->cons[i].since == INT64_MAX)
            d->cons[i].since = commit_time;
    return any;
}

static const ice_column *column_at(const ice_column *c, int64_t at)
{
    while (c->former && at < c->former_until)
        c = c->former;
    return c;
}

ice_code ice_tabledef_as_of(const ice_tabledef *d, int64_t at, ice_tabledef **out, ice_error *err)
{
    bool other = false;

    *out = NULL;
    for (size_t i = 0; i < d->ncols; i++)
        other |= column_at(&d->cols[i], at) != &d->cols[i];
    if (!other)
        return ICE_OK;
    if (!(*out = ice_tabledef_clone(d, false)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < d->ncols; i++) {
        ice_column *col = &(*out)->cols[i], was = *column_at(col, at);

        was.name = col->name;
        move_field(*out, col->field_id, was.field_id);
        *col = was;
    }
    return ICE_OK;
}
