/* CREATE INDEX, DROP INDEX, ALTER INDEX. */
#include <ctype.h>
#include <stdlib.h>

#include "txn/ddl.h"

/* The names of the engine's functions whose answer changes from call to call, between spaces. Asked once. */
static ice_code changing_functions(ice_session *s, ice_str *out, ice_error *err)
{
    ice_warehouse *wh = s->wh;
    ice__rowset rows = {0};
    ice_code rc = ICE_OK;
    pthread_mutex_lock(&wh->engine_mutex);
    char *known = wh->changing;
    pthread_mutex_unlock(&wh->engine_mutex);
    *out = ice_str_c(known);
    if (known)
        return ICE_OK;
    ICE_TRY(ice__collect(
        s, NULL,
        ICE_STR("SELECT ' ' || string_agg(DISTINCT function_name, ' ') || ' ' FROM duckdb_functions() "
                "WHERE stability <> 'CONSISTENT'"),
        NULL, 0, &rows, err));
    known =
        rows.n == 1 && !rows.rows[0][0].null ? strndup(rows.rows[0][0].s.ptr, rows.rows[0][0].s.len) : NULL;
    if (!known) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    pthread_mutex_lock(&wh->engine_mutex);
    if (wh->changing)
        free(known);
    else
        wh->changing = known;
    *out = ice_str_c(wh->changing);
    pthread_mutex_unlock(&wh->engine_mutex);
out:
    ice_arena_free(rows.arena);
    return rc;
}

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* A word before a parenthesis that is one of `names`. Also in a string: there is no harm in refusing that. */
static bool calls_one_of(ice_str names, ice_str text)
{
    for (size_t i = 0; i < text.len;) {
        char word[66] = " ";
        size_t n = 1, e = i;
        for (; e < text.len && word_char((char)tolower((unsigned char)text.ptr[e])); e++)
            if (n < 64)
                word[n++] = (char)tolower((unsigned char)text.ptr[e]);
        size_t after = e + (e < text.len && text.ptr[e] == '"');
        while (after < text.len && isspace((unsigned char)text.ptr[after]))
            after++;
        word[n] = ' ';
        if (e > i && after < text.len && text.ptr[after] == '(' && memmem(names.ptr, names.len, word, n + 1))
            return true;
        i = e > i ? e : i + 1;
    }
    return false;
}

/* The expressions of an index mean something for this table, and always the same. */
static ice_code check_expressions(ice__ddl *d, ice_str exprs, ice_str where, ice_error *err)
{
    ice_buf sql = {0};
    ice__rowset rows = {0};
    ice__stview *v = NULL;
    ice_str changing;
    ice_code rc;
    ice_buf_printf(&sql, "SELECT %.*s FROM ", ICE_PRI(exprs.ptr ? exprs : ICE_STR("1")));
    ice_buf_put_ident(&sql, d->def->name);
    ice_buf_printf(&sql, " WHERE (%.*s) LIMIT 0", ICE_PRI(where.ptr ? where : ICE_STR("TRUE")));
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__stview_open(d->s, 0, &v, err));
    ICE_TRY(ice__collect(d->s, v, ice_buf_str(&sql), NULL, 0, &rows, err));
    ICE_TRY(changing_functions(d->s, &changing, err));
    if (calls_one_of(changing, exprs) || calls_one_of(changing, where))
        rc = ice_fail(
            err, ICE_SYNTAX,
            "functions in the expressions of an index must give the same answer every time: %.*s %.*s",
            ICE_PRI(exprs), ICE_PRI(where));
out:
    ice__stview_unref(v);
    ice_buf_free(&sql);
    ice_arena_free(rows.arena);
    return rc;
}

ice_code ice__ddl_create_index(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err)
{
    ice__ddl d;
    bool any = false;
    ice_index index = st->index.index;
    ice_code rc = ice__ddl_open(&d, s, v, st->index.table, err);
    if (rc != ICE_OK)
        goto out;
    for (size_t i = 0; st->index.if_not_exists && i < d.def->nindexes; i++)
        if (ice_str_eq(d.def->indexes[i].name, index.name))
            goto out;
    if (index.expr_sql.ptr || index.where_sql.ptr)
        ICE_TRY(check_expressions(&d, index.expr_sql, index.where_sql, err));
    if (st->index.unique) {
        ICE_TRY(ice__has_rows(s, d.now->def->name, &any, err));
        ICE_TRY(ice__ddl_add_constraint(&d, &st->index.con, any, err));
    } else {
        index.ncols = st->index.ncols;
        ICE_TRY(ice__ddl_resolve_columns(d.def, st->index.cols, st->index.ncols, s->scratch, &index.field_ids,
                                         err));
        index.ninclude = st->index.con.ninclude;
        ICE_TRY(ice__ddl_resolve_columns(d.def, st->index.con.include, index.ninclude, s->scratch,
                                         &index.include_ids, err));
        ICE_TRY(ice_tabledef_add_index(d.def, &index, err));
        ICE_TRY(ice_partition_check(d.def, err));
    }
    rc = ice__ddl_put(&d, false, err);
out:
    ice__ddl_close(&d);
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
    ice_code rc = ice_session_tables(s, false, a, &tables, &n, err);
    if (rc == ICE_OK)
        rc = ice__stview_open(s, 0, &v, err);
    for (size_t i = 0; rc == ICE_OK && i < n && !*found; i++) {
        ice_view *view = NULL;
        if ((rc = ice__stview_ours(v, tables[i], &view, err)) != ICE_OK || !view)
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

ice_code ice__ddl_change_index(ice_session *s, ice_str name, const ice_str *new_name, bool if_exists,
                               ice__stview *v, ice_error *err)
{
    ice__ddl d = {0};
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
        rc = ice__ddl_open(&d, s, v, table, err);
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
    rc = ice__ddl_put(&d, false, err);
out:
    ice__ddl_close(&d);
    ice_arena_free(a);
    return rc;
}
