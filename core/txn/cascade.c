/* ON DELETE CASCADE, SET NULL and SET DEFAULT: what a DELETE does to rows that refer to those it deleted.
 * Part of the statement: each action is a DELETE or UPDATE of its own on a fresh view, which may have actions
 * in turn. A row that another transaction adds meanwhile is found by the foreign key's check at commit, as an
 * error. */
#include "txn/write.h"

#define CHUNK 256      /* deleted rows that one action looks for */
#define MAX_DEPTH 1000 /* of actions' actions: rows that refer to rows of their own table */

static ice_code run_action(ice_session *s, ice_str sql, const ice_value *params, size_t n, ice_error *err)
{
    ice_prepared p = {.arena = s->scratch, .source = sql};
    ice_cursor c = {.session = s};
    ice__stview *v = NULL;
    if (s->cascades >= MAX_DEPTH)
        return ice_fail(err, ICE_UNSUPPORTED, "ON DELETE actions are nested more than %d deep", MAX_DEPTH);
    s->cascades++;
    ice_code rc = ice_sql_parse(s->scratch, sql, &p.stmt, err);
    if (rc == ICE_OK && (rc = ice__stview_open(s, 0, &v, err)) == ICE_OK)
        rc = ice__run_update(s, &p, params, n, v, &c, err);
    s->cascades--;
    ice__stview_unref(v);
    return rc;
}

static void put_set(const ice_tabledef *child, const ice_constraint *con, ice_buf *sql)
{
    if (con->on_delete == ICE_FK_CASCADE) {
        ice_buf_puts(sql, "DELETE FROM ");
        ice_buf_put_ident(sql, child->name);
        return;
    }
    ice_buf_puts(sql, "UPDATE ");
    ice_buf_put_ident(sql, child->name);
    for (size_t i = 0; i < con->ncols; i++) {
        ice_buf_puts(sql, i ? ", " : " SET ");
        ice_buf_put_ident(sql, child->cols[ice_tabledef_find_id(child, con->field_ids[i])].name);
        ice_buf_puts(sql, con->on_delete == ICE_FK_SET_NULL ? " = NULL" : " = DEFAULT");
    }
}

/* "a" IN ($1, $2, ...) for a key of one column, else "a" = $1 AND "b" = $2 for one row. */
static void put_where(const ice_tabledef *child, const ice_constraint *con, size_t nparams, ice_buf *sql)
{
    for (size_t i = 0; i < con->ncols; i++) {
        ice_buf_puts(sql, i ? " AND " : " WHERE ");
        ice_buf_put_ident(sql, child->cols[ice_tabledef_find_id(child, con->field_ids[i])].name);
        if (nparams == con->ncols)
            ice_buf_printf(sql, " = $%zu", i + 1);
    }
    if (nparams == con->ncols)
        return;
    for (size_t i = 0; i < nparams; i++)
        ice_buf_printf(sql, "%s$%zu", i ? ", " : " IN (", i + 1);
    ice_buf_puts(sql, ")");
}

/* Appends the key that a deleted row was referred to by; false where it has a NULL: nothing refers to it. */
static bool old_key(const ice_tabledef *parent, const ice_constraint *con, const ice_value *row,
                    ice_value *out)
{
    for (size_t i = 0; i < con->ncols; i++) {
        int at = ice_tabledef_find_id(parent, con->ref_field_ids[i]);
        if (at < 0 || row[at].null)
            return false;
        out[i] = row[at];
    }
    return true;
}

/* The action of one foreign key on rows from *at on, as many as one statement takes. */
static ice_code act(ice__batch *b, const ice_tabledef *child, const ice_constraint *con, size_t *at,
                    ice_error *err)
{
    ice_buf sql = {0};
    size_t n = 0;
    ice_value *params = ice_arena_array(b->s->scratch, CHUNK + con->ncols, sizeof *params);
    if (!params)
        return ice_fail_nomem(err);
    for (; *at < b->n && (n == 0 || (con->ncols == 1 && n < CHUNK)); ++*at)
        if (old_key(b->def, con, b->rows[*at].before, params + n))
            n += con->ncols;
    if (n == 0)
        return ICE_OK;
    put_set(child, con, &sql);
    put_where(child, con, n, &sql);
    ice_code rc = ice_buf_check(&sql, err);
    ice_str text = rc == ICE_OK ? ice_arena_str(b->s->scratch, ice_buf_str(&sql)) : ICE_STR_NONE;
    ice_buf_free(&sql);
    if (rc == ICE_OK)
        rc = text.ptr ? run_action(b->s, text, params, n, err) : ice_fail_nomem(err);
    return rc;
}

ice_code ice__has_actions(ice__batch *b, bool *any, ice_error *err)
{
    ice_str *tables;
    size_t ntables;
    ice_code rc = ice_session_tables(b->s, false, b->s->scratch, &tables, &ntables, err);
    *any = false;
    for (size_t i = 0; rc == ICE_OK && i < ntables && !*any; i++) {
        ice_view *child = NULL;
        rc = ice__stview_ours(b->v, tables[i], &child, err);
        for (size_t k = 0; rc == ICE_OK && child && k < child->state->def->ncons; k++) {
            const ice_constraint *con = &child->state->def->cons[k];
            *any |= con->kind == ICE_CON_FOREIGN && con->on_delete && ice_uuid_eq(con->ref_table, b->def->uuid);
        }
    }
    return rc;
}

ice_code ice__run_actions(ice__batch *b, ice_error *err)
{
    ice_str *tables;
    size_t ntables;
    ice_code rc = ice_session_tables(b->s, false, b->s->scratch, &tables, &ntables, err);
    for (size_t i = 0; rc == ICE_OK && i < ntables; i++) {
        ice_view *child = NULL;
        rc = ice__stview_ours(b->v, tables[i], &child, err);
        for (size_t k = 0; rc == ICE_OK && child && k < child->state->def->ncons; k++) {
            const ice_constraint *con = &child->state->def->cons[k];
            if (con->kind != ICE_CON_FOREIGN || !con->on_delete || !ice_uuid_eq(con->ref_table, b->def->uuid))
                continue;
            for (size_t at = 0; rc == ICE_OK && at < b->n;)
                rc = act(b, child->state->def, con, &at, err);
        }
    }
    return rc;
}
