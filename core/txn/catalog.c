/* What introspection and upkeep ask: tables, definitions, snapshots, status, flush and compaction by hand. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "txn/collect.h"

static ice_code open_view(ice_session *s, ice__stview **v, ice_error *err)
{
    ice_code rc = ice__session_need(s, err);
    return rc == ICE_OK ? ice__stview_open(s, 0, v, err) : rc;
}

static int by_text(const void *a, const void *b)
{
    return ice_str_cmp(*(const ice_str *)a, *(const ice_str *)b);
}

/* Has the transaction made it a view, or was it one? */
static bool tx_is_view(const ice__stview *v, const ice__txtable *t)
{
    const ice__entry *e = ice__registry_find_uuid(v->reg, t->uuid);
    return t->state ? ice_tabledef_is_view(t->state->def) : e && e->view;
}

/* Names of the tables, or else the views, at hand, this transaction's own too, sorted. */
static ice_code names_of(ice_session *s, const ice__stview *v, bool views, ice_arena *a, ice_str **names, size_t *n,
                         ice_error *err)
{
    ice_str *out = ice_arena_array(a, v->reg->n + s->tx.ntables + 1, sizeof *out);
    *n = 0;
    *names = out;
    if (!out)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < v->reg->n; i++)
        if (v->reg->entries[i]->view == views && !ice__tx_find(&s->tx, v->reg->entries[i]->uuid))
            out[(*n)++] = ice_arena_str(a, ice_str_c(v->reg->entries[i]->name));
    for (size_t i = 0; i < s->tx.ntables; i++)
        if (!s->tx.tables[i].dropped && tx_is_view(v, &s->tx.tables[i]) == views)
            out[(*n)++] = ice_arena_str(a, ice_str_c(s->tx.tables[i].name));
    qsort(out, *n, sizeof *out, by_text);
    return ICE_OK;
}

ice_code ice__view_names(ice_session *s, const ice__stview *v, ice_arena *a, ice_str **names, size_t *n, ice_error *err)
{
    return names_of(s, v, true, a, names, n, err);
}

ice_code ice_session_tables(ice_session *s, bool views, ice_arena *a, ice_str **names, size_t *n, ice_error *err)
{
    ice__stview *v = NULL;
    *n = 0;
    *names = NULL;
    ice_code rc = open_view(s, &v, err);
    if (rc == ICE_NOT_FOUND) /* no warehouse yet: no tables */
        return ICE_OK;
    if (rc == ICE_OK)
        rc = names_of(s, v, views, a, names, n, err);
    ice__stview_unref(v);
    return rc;
}

ice_code ice__run_show_tables(ice_session *s, const ice__stview *v, bool views, ice_cursor *c, ice_error *err)
{
    ice_str *names;
    size_t n;
    ice_code rc =
        ice__cursor_column(c, ICE_STR("name"), (ice_type){.kind = ICE_T_STRING}, ICE_STR("VARCHAR"), err);
    if (rc == ICE_OK)
        rc = names_of(s, v, views, c->arena, &names, &n, err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++)
        rc = ice__cursor_row(c, &(ice_value){.kind = ICE_T_STRING, .s = names[i]}, err);
    return rc;
}

/* ---- definitions ---- */

static json_t *text_or_null(ice_str s)
{
    return s.ptr ? json_stringn(s.ptr, s.len) : json_null();
}

static json_t *column_names(const ice_tabledef *def, const int32_t *ids, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        int at = def ? ice_tabledef_find_id(def, ids[i]) : -1;
        json_array_append_new(list, at < 0 ? json_null() : text_or_null(def->cols[at].name));
    }
    return list;
}

static json_t *column_json(const ice_column *c)
{
    char type[32];
    ice_type_text(c->type, type);
    return json_pack("{s:i, s:o, s:s, s:o, s:b, s:b, s:o, s:o, s:I, s:o, s:o}", "id", (int)c->field_id,
                     "name", text_or_null(c->name), "type", type, "sql_type", text_or_null(c->sql_type),
                     "not_null", (int)c->not_null, "identity", (int)c->identity, "default",
                     text_or_null(c->default_sql), "generated", text_or_null(c->generated_sql), "max_length",
                     (json_int_t)c->max_length, "collation", text_or_null(c->collation), "comment",
                     text_or_null(c->comment));
}

static json_t *constraint_json(const ice_tabledef *def, const ice_constraint *c, const ice_tabledef *parent)
{
    static const char *const kinds[] = {"", "primary", "unique", "foreign", "check"};
    static const char *const actions[] = {"NO ACTION", "CASCADE", "SET NULL", "SET DEFAULT"};
    json_t *j =
        json_pack("{s:s, s:o, s:o, s:b, s:b, s:b, s:b, s:o, s:o, s:o, s:o}", "kind", kinds[c->kind], "name",
                  text_or_null(c->name), "columns", column_names(def, c->field_ids, c->ncols), "is_index",
                  (int)c->is_index, "nulls_not_distinct", (int)c->nulls_not_distinct, "deferrable",
                  (int)c->deferrable, "initially_deferred", (int)c->initially_deferred, "where",
                  text_or_null(c->where_sql), "expr", text_or_null(c->expr_sql), "check",
                  text_or_null(c->check_sql), "include", column_names(def, c->include_ids, c->ninclude));
    if (j && c->is_index)
        json_object_set_new(j, "expr_desc", json_integer(c->expr_desc));
    if (j && c->kind == ICE_CON_FOREIGN) {
        json_object_set_new(j, "ref_table", parent ? text_or_null(parent->name) : json_null());
        json_object_set_new(j, "ref_columns", column_names(parent, c->ref_field_ids, c->ncols));
        json_object_set_new(j, "on_delete", json_string(actions[c->on_delete]));
    }
    return j;
}

static json_t *index_json(const ice_tabledef *def, const ice_index *i)
{
    json_t *desc = json_array();
    for (size_t k = 0; k < i->ncols; k++)
        json_array_append_new(desc, json_boolean(i->descending && i->descending[k]));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "name", text_or_null(i->name),
                     "columns", column_names(def, i->field_ids, i->ncols), "descending", desc, "where",
                     text_or_null(i->where_sql), "expr", text_or_null(i->expr_sql), "kind",
                     text_or_null(i->kind), "params", text_or_null(i->params), "include",
                     column_names(def, i->include_ids, i->ninclude), "expr_desc", (json_int_t)i->expr_desc);
}

/* A parent's definition by uuid, through the statement's view. */
static ice_code parent_def(ice_session *s, ice__stview *v, ice_uuid id, const ice_tabledef **out,
                           ice_error *err)
{
    ice__txtable *t = ice__tx_find(&s->tx, id);
    ice__entry *e = ice__registry_find_uuid(v->reg, id);
    ice_tabstate *state = NULL;
    *out = NULL;
    ice_code rc = ICE_OK;
    if (t && !t->dropped)
        rc = ice__tx_state(s, t, v->reg, &state, err);
    else if (e && !t)
        rc = ice__wh_state(s->wh, e, &state, err);
    *out = state ? state->def : NULL;
    return rc;
}

static ice_code dump(json_t *j, ice_buf *out, ice_error *err)
{
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(j);
    if (!text)
        return ice_fail_nomem(err);
    ice_buf_puts(out, text);
    free(text);
    return ice_buf_check(out, err);
}

ice_code ice_session_table_json(ice_session *s, ice_str name, ice_buf *out, ice_error *err)
{
    ice__stview *v = NULL;
    ice_view *view = NULL;
    char uuid[37];
    ice_code rc = open_view(s, &v, err);
    if (rc != ICE_OK || (rc = ice__stview_relation(v, name, &view, err)) != ICE_OK) {
        ice__stview_unref(v);
        return rc;
    }
    const ice_tabledef *def = view->state->def;
    json_t *cols = json_array(), *cons = json_array(), *indexes = json_array();
    for (size_t i = 0; i < def->ncols; i++)
        if (!ice_str_eqc(def->cols[i].name, "_row_key"))
            json_array_append_new(cols, column_json(&def->cols[i]));
    for (size_t i = 0; i < def->ncons && rc == ICE_OK; i++) {
        const ice_tabledef *parent = NULL;
        if (ice_str_eqc(def->cons[i].name, "_row_key_pkey"))
            continue;
        if (def->cons[i].kind == ICE_CON_FOREIGN)
            rc = parent_def(s, v, def->cons[i].ref_table, &parent, err);
        json_array_append_new(cons, constraint_json(def, &def->cons[i], parent));
    }
    for (size_t i = 0; i < def->nindexes; i++)
        json_array_append_new(indexes, index_json(def, &def->indexes[i]));
    ice_uuid_text(def->uuid, uuid);
    json_t *j =
        json_pack("{s:o, s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o}", "name", text_or_null(def->name), "uuid", uuid,
                  "schema_id", (int)def->schema_id, "last_field_id", (int)def->last_field_id, "comment",
                  text_or_null(def->comment), "columns", cols, "constraints", cons, "indexes", indexes, "view",
                  text_or_null(def->view_sql));
    if (rc == ICE_OK)
        rc = dump(j, out, err);
    else
        json_decref(j);
    ice__stview_unref(v);
    return rc;
}

/* ---- snapshots ---- */

/* The unflushed tail as one entry: what a flush now would publish. */
static json_t *pending_json(const ice_view *view)
{
    ice_tail_counts n;
    ice_tail_counts_get(view->state->tail, &n);
    if (n.versions + n.tombstones == 0)
        return NULL;
    json_t *summary = json_pack("{s:I, s:I, s:I}", "versions", (json_int_t)n.versions, "live",
                                (json_int_t)n.live, "ended-base-rows", (json_int_t)n.tombstones);
    return json_pack("{s:n, s:I, s:I, s:s, s:o}", "snapshot_id", "committed_at_us", (json_int_t)view->at,
                     "commit_time", (json_int_t)view->at, "operation", "pending", "summary", summary);
}

static json_t *snapshot_json(const ice_snapshot_info *i)
{
    json_t *summary = json_object();
    for (size_t k = 0; k < i->nsummary; k++) {
        char key[256];
        snprintf(key, sizeof key, "%.*s", ICE_PRI(i->summary_keys[k]));
        json_object_set_new(summary, key, text_or_null(i->summary_values[k]));
    }
    return json_pack("{s:I, s:I, s:I, s:s%, s:o}", "snapshot_id", (json_int_t)i->snapshot_id,
                     "committed_at_us", (json_int_t)i->timestamp_ms * 1000, "commit_time",
                     (json_int_t)i->commit_time, "operation", i->operation.ptr ? i->operation.ptr : "",
                     i->operation.len, "summary", summary);
}

ice_code ice_session_snapshots_json(ice_session *s, ice_str table, ice_buf *out, ice_error *err)
{
    ice__stview *v = NULL;
    ice_view *view = NULL;
    ice_snapshot_info *list = NULL;
    size_t n = 0;
    json_t *all = json_array();
    ice_arena *a = ice_arena_create();
    ice_code rc = a && all ? open_view(s, &v, err) : ice_fail_nomem(err);
    if (rc == ICE_OK)
        rc = ice__stview_need(v, table, &view, err);
    if (rc == ICE_OK && view->state->published)
        rc = ice_published_list(view->state->published, a, &list, &n, err);
    if (rc == ICE_OK) {
        json_t *pending = pending_json(view);
        if (pending)
            json_array_append_new(all, pending);
        for (size_t i = 0; i < n; i++)
            json_array_append_new(all, snapshot_json(&list[i]));
        rc = dump(json_incref(all), out, err);
    }
    json_decref(all);
    ice_arena_free(a);
    ice__stview_unref(v);
    return rc;
}

/* ---- status, upkeep ---- */

/* An error that is told of the table at hand: the others are looked at all the same. */
static bool is_of_table(ice_code rc)
{
    return rc == ICE_CORRUPT || rc == ICE_IO || rc == ICE_NOT_FOUND || rc == ICE_UNSUPPORTED;
}

static json_t *table_status(ice_view *view, const char *name)
{
    ice_view_cost cost = {0};
    ice_tail_counts n;
    ice_view_cost_get(view, &cost);
    ice_tail_counts_get(view->state->tail, &n);
    return json_pack("{s:s, s:I, s:I, s:b, s:I, s:I, s:I, s:I}", "name", name, "rows", (json_int_t)cost.rows,
                     "files", (json_int_t)cost.files_total, "resident", (int)cost.resident,
                     "flushed_commit_time", (json_int_t)view->state->flushed, "tail_versions",
                     (json_int_t)n.versions, "tail_tombstones", (json_int_t)n.tombstones, "tail_bytes",
                     (json_int_t)n.bytes);
}

/* Tables that were dropped and are kept: what other engines can still read them by. */
static ice_code dropped_json(ice_warehouse *wh, json_t **out, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_catalog_entry *list = NULL;
    size_t n = 0;
    ice_code rc = a ? ice_catalog_list(wh->catalog, a, &list, &n, err) : ice_fail_nomem(err);
    *out = json_array();
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        int64_t at;
        if (ice__is_dropped_name(list[i].name, &at))
            json_array_append_new(*out, json_pack("{s:o, s:I, s:o}", "name", text_or_null(list[i].name),
                                                  "dropped_at", (json_int_t)at, "metadata_location",
                                                  text_or_null(list[i].metadata_location)));
    }
    ice_arena_free(a);
    return rc;
}

ice_code ice_session_status_json(ice_session *s, ice_buf *out, ice_error *err)
{
    ice__stview *v = NULL;
    ice_log_state st;
    char uuid[37];
    json_t *tables = json_array(), *dropped = NULL;
    ice_code rc = open_view(s, &v, err);
    if (rc == ICE_OK)
        rc = dropped_json(s->wh, &dropped, err);
    for (size_t i = 0; rc == ICE_OK && i < v->reg->n; i++) {
        ice_view *view = NULL;
        const char *name = v->reg->entries[i]->name;
        rc = ice__stview_table(v, ice_str_c(name), &view, err);
        if (rc == ICE_OK && view && !ice_tabledef_is_view(view->state->def))
            json_array_append_new(tables, table_status(view, name));
        if (is_of_table(rc)) {
            json_array_append_new(tables, json_pack("{s:s, s:s}", "name", name, "error", err->message));
            rc = ICE_OK;
        }
    }
    if (rc != ICE_OK) {
        json_decref(tables);
        json_decref(dropped);
        ice__stview_unref(v);
        return rc;
    }
    ice_warehouse *wh = s->wh;
    ice_log_get_state(wh->log, &st);
    ice_uuid_text(wh->env.warehouse, uuid);
    pthread_mutex_lock(&wh->flusher_mutex);
    json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o}", "warehouse",
                          wh->config.warehouse, "warehouse_uuid", uuid, "namespace", wh->config.ns,
                          "log_start", (json_int_t)st.start, "log_end", (json_int_t)st.end, "last_commit",
                          (json_int_t)st.last_commit, "oldest_unflushed",
                          (json_int_t)atomic_load(&wh->oldest_unflushed), "unflushed_bytes",
                          (json_int_t)atomic_load(&wh->unflushed_bytes), "flushes", (json_int_t)wh->flushes,
                          "compactions", (json_int_t)wh->compactions, "commit_waits",
                          (json_int_t)atomic_load(&wh->commit_waits), "flusher_error", wh->flusher_error,
                          "tables", tables, "dropped", dropped);
    pthread_mutex_unlock(&wh->flusher_mutex);
    ice__stview_unref(v);
    return dump(j, out, err);
}

ice_code ice_session_flush(ice_session *s, ice_str table, size_t *published, ice_error *err)
{
    *published = 0;
    ice_code rc = ice__session_need(s, err);
    return rc == ICE_OK ? ice__flush_all(s->wh, table, published, err) : rc;
}

static json_t *compacted_json(const ice_compacted *c)
{
    return json_pack("{s:s%, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "table", c->table.ptr, c->table.len,
                     "files_before", (json_int_t)c->files_before, "files_after", (json_int_t)c->files_after,
                     "rewritten", (json_int_t)c->rewritten, "written", (json_int_t)c->written,
                     "deletion_vectors", (json_int_t)c->deletion_vectors, "rows", (json_int_t)c->rows,
                     "bytes_before", (json_int_t)c->bytes_before, "bytes_after", (json_int_t)c->bytes_after);
}

ice_code ice_session_compact_json(ice_session *s, ice_str table, double delete_ratio, ice_buf *out, ice_error *err)
{
    ice_compact_options o = {.thorough = true, .delete_ratio = delete_ratio};
    ice__rewriting r = {.compact = &o, .a = ice_arena_create()};
    ice_code rc = r.a ? ice__session_need(s, err) : ice_fail_nomem(err);
    if (rc == ICE_OK)
        rc = ice__rewrite_all(s->wh, table, &r, err);
    if (rc == ICE_OK) {
        json_t *list = json_array();
        for (size_t i = 0; i < r.n; i++)
            json_array_append_new(list, compacted_json(&r.done[i]));
        rc = dump(list, out, err);
    }
    ice_arena_free(r.a);
    return rc;
}

ice_code ice_session_expire(ice_session *s, ice_str table, int64_t before, size_t *done, ice_error *err)
{
    ice__rewriting r = {.before = before};
    ice_code rc = ice__session_need(s, err);
    if (rc == ICE_OK)
        rc = ice__rewrite_all(s->wh, table, &r, err);
    *done = r.tables;
    return rc;
}

/* ---- garbage ---- */

ice_code ice_session_expire_dropped(ice_session *s, int64_t before, size_t *done, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_catalog_entry *list = NULL;
    ice_catalog_change *changes = NULL;
    bool taken = false;
    size_t n = 0, nchanges = 0;
    ice_code rc = a ? ice__session_need(s, err) : ice_fail_nomem(err);
    *done = 0;
    if (rc == ICE_OK && (rc = ice__take_lease(s->locker, true, &taken, err)) == ICE_OK)
        rc = ice_catalog_list(s->wh->catalog, a, &list, &n, err);
    if (rc == ICE_OK && !(changes = ICE_NEW_N(a, ice_catalog_change, 2 * n + 1)))
        rc = ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        int64_t at;
        if (!ice__is_dropped_name(list[i].name, &at) || at >= before)
            continue;
        char *history = ice_arena_printf(a, "%.*s__history", ICE_PRI(list[i].name));
        if (!history)
            rc = ice_fail_nomem(err);
        changes[nchanges++] = (ice_catalog_change){.op = ICE_CAT_DROP, .name = list[i].name};
        changes[nchanges++] = (ice_catalog_change){.op = ICE_CAT_DROP, .name = ice_str_c(history)};
    }
    if (rc == ICE_OK && nchanges)
        rc = ice_catalog_commit(s->wh->catalog, changes, nchanges, err);
    if (rc == ICE_OK)
        *done = nchanges / 2;
    if (taken)
        ice__release_lease(s->locker);
    ice_arena_free(a);
    return rc;
}

static json_t *pair(uint64_t files, uint64_t bytes)
{
    return json_pack("[I, I]", (json_int_t)files, (json_int_t)bytes);
}

static json_t *sums_json(const ice_file_sum *sums)
{
    json_t *j = json_object();
    for (int k = 0; k < ICE_FILE_KINDS; k++)
        if (sums[k].files)
            json_object_set_new(j, ice_file_kind_names[k], pair(sums[k].files, sums[k].bytes));
    return j;
}

ice_code ice_session_collect_json(ice_session *s, const ice_collect_request *r, ice_buf *out, ice_error *err)
{
    ice__collected c;
    ice_code rc = ice__session_need(s, err);
    if (rc != ICE_OK)
        return rc;
    ice__collect_options o = {.grace_us = r->older_than_us < 0 ? s->wh->config.orphans_grace_ms * 1000
                                                               : r->older_than_us,
                              .wait_us = r->dry_run ? 0 : 2 * 1000 * 1000,
                              .dry_run = r->dry_run,
                              .progress = r->progress,
                              .arg = r->arg};
    o.replaced_grace_us = r->replaced_now ? 0 : o.grace_us;
    if ((rc = ice__collect_garbage(s->wh, s->locker, &o, &c, err)) != ICE_OK)
        return rc;
    return dump(json_pack("{s:o, s:o, s:o, s:o, s:o, s:{s:I, s:I, s:I}}", "files", sums_json(c.sums.all),
                          "unreachable", sums_json(c.sums.unreachable), "ripe", sums_json(c.sums.ripe),
                          "removed", sums_json(c.sums.removed), "left", pair(c.held_files, c.held_bytes),
                          "last", "at_us", (json_int_t)c.last_us, "files", (json_int_t)c.last_files, "bytes",
                          (json_int_t)c.last_bytes),
                out, err);
}

ice_code ice_session_check(ice_session *s, void (*report)(void *, const char *), void *arg, ice_error *err)
{
    ice__stview *v = NULL;
    ice_code rc = open_view(s, &v, err);
    for (size_t i = 0; rc == ICE_OK && i < v->reg->n; i++) {
        /* As the catalog has it: what a large statement has put into files since is not published. */
        const char *location = v->reg->entries[i]->view ? NULL : v->reg->entries[i]->location;
        ice_published *p = NULL;
        if (location && (rc = ice_published_load(&s->wh->env, ice_str_c(location), &p, err)) == ICE_OK)
            rc = ice_published_check(&s->wh->env, p, report, arg, err);
        ice_published_unref(p);
        if (is_of_table(rc)) {
            ice_error_prefix(err, "table %s", v->reg->entries[i]->name);
            report(arg, err->message);
            rc = ICE_OK;
        }
    }
    ice__stview_unref(v);
    return rc;
}
