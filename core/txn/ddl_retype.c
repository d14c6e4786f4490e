/* ALTER COLUMN ... TYPE. What Iceberg promotes is only said. Else the column becomes another field, and every
 * row is written anew.
 *
 * The rows go the way of the bulk path (bulk.h), however few they are: all the table has in memory is
 * published first, so that what ends is known by its place in a file and not by its key, which may be what
 * changes; and so that whoever asks for an earlier instant finds all rows of then in files that have the old
 * field (ice__state_as_of). The definition remembers which that was, and until when. */
#include <stdio.h>

#include "txn/bulk.h"
#include "txn/ddl.h"

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
    if (ice_column_formed(to) && !ice_str_eq(from->sql_type, to->sql_type))
        return false;
    if (to->max_length && (!from->max_length || from->max_length > to->max_length))
        return false;
    bool from_range = from->min_int || from->max_int, to_range = to->min_int || to->max_int;
    return !to_range || (from_range && from->min_int >= to->min_int && from->max_int <= to->max_int);
}

/* Keys of a column whose values, or how they compare, are others now: do the rows still meet them? */
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

/* ---- what the column is of ---- */

static bool is_integer(ice_type t)
{
    return t.kind == ICE_T_INT || t.kind == ICE_T_LONG;
}

static bool comparable(ice_type a, ice_type b)
{
    return a.kind == b.kind || (is_integer(a) && is_integer(b));
}

static ice_code refuse(const ice_constraint *con, const ice_tabledef *child, const ice_alter *al,
                       ice_error *err)
{
    ice_code rc = ice_fail(
        err, ICE_DEPENDENT,
        "column \"%.*s\" cannot become %.*s: foreign key \"%.*s\" of table \"%.*s\" compares it with "
        "a column of another type; drop that first",
        ICE_PRI(al->name), ICE_PRI(al->col.column.sql_type), ICE_PRI(con->name), ICE_PRI(child->name));
    ice_error_object(err, child->name.ptr, con->name.ptr);
    return rc;
}

/* The column of the other side of a foreign key that has the field on one of its sides; NULL: it has not, or
 * the other side is not there. */
static const ice_column *other_side(const ice_constraint *con, const ice_tabledef *child,
                                    const ice_tabledef *parent, bool is_parent, int32_t field)
{
    const int32_t *here = is_parent ? con->ref_field_ids : con->field_ids;
    const int32_t *there = is_parent ? con->field_ids : con->ref_field_ids;
    const ice_tabledef *def = is_parent ? child : parent;
    for (size_t k = 0; k < con->ncols; k++) {
        int at = here[k] == field ? ice_tabledef_find_id(def, there[k]) : -1;
        if (at >= 0)
            return &def->cols[at];
    }
    return NULL;
}

/* Foreign keys between the table and another one, or itself. */
static ice_code check_between(const ice__ddl *d, const ice_tabledef *other, int32_t field,
                              const ice_alter *al, ice_error *err)
{
    for (int parent = 0; parent < 2; parent++) {
        const ice_tabledef *child = parent ? other : d->def;
        for (size_t i = 0; i < child->ncons; i++) {
            const ice_constraint *con = &child->cons[i];
            if (con->kind != ICE_CON_FOREIGN ||
                !ice_uuid_eq(con->ref_table, parent ? d->def->uuid : other->uuid))
                continue;
            const ice_column *col = other_side(con, child, parent ? d->def : other, parent, field);
            if (col && !comparable(col->type, al->col.column.type))
                return refuse(con, child, al, err);
        }
    }
    return ICE_OK;
}

static bool refers_to(const ice_constraint *con, ice_uuid table, int32_t field)
{
    for (size_t k = 0; con->kind == ICE_CON_FOREIGN && ice_uuid_eq(con->ref_table, table) && k < con->ncols;
         k++)
        if (con->ref_field_ids[k] == field)
            return true;
    return false;
}

/* Foreign keys of another table that refer to the field refer to the one that takes its place. */
static ice_code move_references(ice__ddl *d, ice__stview *v, const ice_tabledef *other, int32_t from,
                                int32_t to, ice_error *err)
{
    ice__ddl child;
    bool any = false;
    for (size_t i = 0; i < other->ncons; i++)
        any |= refers_to(&other->cons[i], d->def->uuid, from);
    if (!any)
        return ICE_OK;
    ice_code rc = ice__ddl_open(&child, d->s, v, other->name, err);
    for (size_t i = 0; rc == ICE_OK && i < child.def->ncons; i++) {
        ice_constraint *con = &child.def->cons[i];
        if (!refers_to(con, d->def->uuid, from))
            continue;
        for (size_t k = 0; k < con->ncols; k++)
            con->ref_field_ids[k] = con->ref_field_ids[k] == from ? to : con->ref_field_ids[k];
    }
    if (rc == ICE_OK)
        rc = ice__ddl_put(&child, false, err);
    ice__ddl_close(&child);
    return rc;
}

/* `to` 0: looks whether foreign keys can stay; else moves those of other tables. */
static ice_code references(ice__ddl *d, const ice_alter *al, int32_t field, int32_t to, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_str *tables = NULL;
    size_t n = 0;
    ice_code rc = a ? ice_session_tables(d->s, false, a, &tables, &n, err) : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        ice__stview *v = NULL;
        ice_view *view = NULL;
        bool itself = ice_str_eq(tables[i], d->def->name);
        if ((rc = ice__stview_open(d->s, 0, &v, err)) == ICE_OK)
            rc = ice__stview_ours(v, tables[i], &view, err);
        if (rc == ICE_OK && view && !to)
            rc = check_between(d, itself ? d->def : view->state->def, field, al, err);
        else if (rc == ICE_OK && view && !itself)
            rc = move_references(d, v, view->state->def, field, to, err);
        ice__stview_unref(v);
    }
    ice_arena_free(a);
    return rc;
}

/* ---- the rows ---- */

/* *past: the table has, or had, rows: what it has in memory is in files then. */
static ice_code into_files(ice__ddl *d, bool *rows, bool *past, ice_error *err)
{
    ice_tail_counts counts;
    ice__txtable *t;
    ice_code rc = ice__has_rows(d->s, d->now->def->name, rows, err);
    if (rc != ICE_OK)
        return rc;
    ice_tail_counts_get(d->now->tail, &counts);
    *past = *rows || d->now->published || counts.versions + counts.tombstones > 0;
    if (*past && (rc = ice__bulk_begin(d->s, d->now->def->uuid, d->now->def->name, &t, err)) == ICE_OK)
        ice__ddl_follow(d);
    return rc;
}

static ice_code fill(ice__ddl *d, const ice_alter *al, ice_str into, ice_error *err)
{
    ice_buf expr = {0}, duck = {0};
    ice_code rc;
    if (al->expr.ptr) {
        ice_buf_put_str(&expr, al->expr);
    } else {
        ice_duck_type(&al->col.column, &duck);
        ice_buf_puts(&expr, "CAST(");
        ice_buf_put_ident(&expr, al->name);
        ice_buf_printf(&expr, " AS %.*s)", (int)duck.len, duck.data);
    }
    ICE_TRY(ice_buf_check(&expr, err));
    ICE_TRY(ice__ddl_put(d, true, err));
    ICE_TRY(ice__ddl_rewrite_rows(d, into, ice_buf_str(&expr), true, err));
out:
    ice_buf_free(&expr);
    ice_buf_free(&duck);
    return rc;
}

/* An error is about the column that is altered, whose values are being written under another name. */
static ice_code name_column(ice_str column, ice_str other, ice_code rc, ice_error *err)
{
    ice_error said;
    char *at = rc != ICE_OK && err ? memmem(err->message, strlen(err->message), other.ptr, other.len) : NULL;
    if (!at)
        return rc;
    said = *err;
    snprintf(at, (size_t)(err->message + sizeof err->message - at), "%.*s%s", ICE_PRI(column),
             said.message + (at - err->message) + other.len);
    return rc;
}

static ice_code check_rows(ice__ddl *d, int at, ice_error *err)
{
    ice_code rc = check_keys(d, d->def->cols[at].field_id, err);
    if (rc == ICE_OK && d->def->cols[at].not_null)
        rc = ice__check_not_null(d->s, d->def, d->def->cols[at].name, err);
    for (size_t i = 0; rc == ICE_OK && i < d->def->ncons; i++)
        if (d->def->cons[i].kind == ICE_CON_CHECK)
            rc = ice__check_check(d->s, d->def, &d->def->cons[i], err);
    return rc;
}

/* The new field is a column of its own while rows are written, under a name nobody else can have. */
static ice_code other_field(ice__ddl *d, const ice_alter *al, int at, ice_error *err)
{
    const ice_column *want = &al->col.column;
    ice_constraint *pk;
    ice_column fresh = {.name = ICE_STR("__ice_retyped"), .type = want->type};
    int32_t field = d->def->cols[at].field_id;
    bool rows, past, in_key = false;
    ice_code rc;
    ice_column_take_type(&fresh, want);
    ICE_TRY(references(d, al, field, 0, err));
    ICE_TRY(into_files(d, &rows, &past, err));
    ICE_TRY(ice_tabledef_add_column(d->def, &fresh, err));
    if (rows)
        ICE_TRY(name_column(al->name, fresh.name, fill(d, al, fresh.name, err), err));
    ICE_TRY(ice_tabledef_retype(d->def, at, past, err));
    pk = (ice_constraint *)ice_tabledef_primary(d->def);
    for (size_t i = 0; pk && i < pk->ncols; i++)
        in_key |= pk->field_ids[i] == d->def->cols[at].field_id;
    if (in_key && past)
        pk->since = INT64_MAX;
    ICE_TRY(ice_partition_check(d->def, err));
    ICE_TRY(references(d, al, field, d->def->cols[at].field_id, err));
    d->t = ice__tx_find(&d->s->tx, d->def->uuid);
    if (rows)
        rc = check_rows(d, at, err);
out:
    return rc;
}

ice_code ice__ddl_retype(ice__ddl *d, const ice_alter *al, ice_error *err)
{
    int at = ice_tabledef_find(d->def, al->name);
    const ice_column *want = &al->col.column;
    ice_column *col = &d->def->cols[at];
    ice_code rc = ice__check_collation(d->s, want, err);
    if (rc != ICE_OK)
        return rc;
    if (al->expr.ptr || !widens(col, want))
        return other_field(d, al, at, err);
    ice_value v;
    if (col->has_initial) {
        if ((rc = ice_value_cast(d->def->arena, &col->initial, want->type, &v, err)) != ICE_OK)
            return rc;
        col->initial = v;
    }
    bool same = ice_str_eq(col->collation, want->collation);
    ice_column_take_type(col, want);
    col->sql_type = ice_arena_str(d->def->arena, want->sql_type);
    col->collation = ice_arena_str(d->def->arena, want->collation);
    return same ? ICE_OK : check_keys(d, col->field_id, err);
}
