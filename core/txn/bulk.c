/* The bulk path: see bulk.h. */
#include "txn/bulk.h"

#include <stdlib.h>

#define FILE_ROWS 2000000            /* of one staged file */
#define LARGE_BYTES ((uint64_t)128 << 20) /* of an overlay: far from what a record of the log can hold */

bool ice__bulk_worthwhile(const ice_session *s, uint64_t rows)
{
    return s->bulk_rows && rows >= s->bulk_rows;
}

/* ---- onto the path ---- */

/* Publishes what the table has in memory. It stays published: the caller has the table's exclusive lock. */
static ice_code publish_tail(ice_session *s, ice_uuid table, ice_error *err)
{
    ice__registry *reg = NULL;
    ice_tabstate *state = NULL;
    ice_tail_counts n = {0};
    size_t published;
    int64_t at;
    ice_code rc = ice__wh_catchup(s->wh, err);
    if (rc != ICE_OK)
        return rc;
    ice__wh_view(s->wh, &reg, &at);
    ice__entry *e = ice__registry_find_uuid(reg, table);
    if (e && (rc = ice__wh_state(s->wh, e, &state, err)) == ICE_OK)
        ice_tail_counts_get(state->tail, &n);
    /* The transaction is to see the table as it was at its snapshot, and that is as it is now. */
    if (rc == ICE_OK && state && s->tx.snapshot_at && ice_tabstate_changed_since(state, s->tx.snapshot_at))
        rc = ice_fail(err, ICE_CONFLICT, "table \"%s\" changed meanwhile", e->name);
    if (rc == ICE_OK && n.versions + n.tombstones > 0)
        rc = ice__flush_all(s->wh, ice_str_c(e->name), &published, err);
    ice__registry_unref(reg);
    return rc;
}

/* The newest committed state, with the transaction's own definition where it has one. */
static ice_code own_state(ice_session *s, ice__txtable *t, ice_tabstate **out, ice_error *err)
{
    ice__registry *reg = NULL;
    ice_tabstate *state = NULL;
    ice_tail_counts n;
    int64_t at;
    ice_code rc = ice__wh_catchup(s->wh, err);
    if (rc != ICE_OK)
        return rc;
    ice__wh_view(s->wh, &reg, &at);
    ice__entry *e = ice__registry_find_uuid(reg, t->uuid);
    if (!e && !t->created) {
        rc = ice_fail(err, ICE_NO_TABLE, "table \"%s\" was dropped by another transaction", t->name);
    } else if (!e) {
        *out = ice_tabstate_ref(t->state);
    } else if ((rc = ice__wh_state(s->wh, e, &state, err)) == ICE_OK) {
        ice_tail_counts_get(state->tail, &n);
        if (n.versions + n.tombstones > 0)
            rc = ice_fail(err, ICE_CONFLICT, "table \"%s\" was not published", t->name);
        else if (!t->state)
            *out = ice_tabstate_ref(state);
        else {
            ice_tabledef *def = ice_tabledef_clone(t->state->def, false);
            rc = def ? ice__state_with_def(state, def, false, out, err) : ice_fail_nomem(err);
        }
    }
    ice__registry_unref(reg);
    return rc;
}

static ice_code spill(ice_session *s, ice__txtable *t, ice_error *err);

ice_code ice__bulk_begin(ice_session *s, ice_uuid table, ice_str name, ice__txtable **out, ice_error *err)
{
    ice__txtable *t;
    ice_tabstate *state = NULL;
    ice_code rc;
    ICE_TRY(ice__tx_table(s, table, name, true, &t, err));
    if (!t->bulk) {
        ICE_TRY(publish_tail(s, table, err));
        ICE_TRY(ice__tx_lock(s, ice__lock_layout(table), ICE_LOCK_EXCLUSIVE, false, NULL, err));
        ICE_TRY(own_state(s, t, &state, err));
        if (t->state)
            ice_tabstate_unref(t->state);
        t->state = state;
        t->bulk = true;
    }
    ICE_TRY(spill(s, t, err));
    *out = t;
out:
    return rc;
}

/* ---- an overlay into files and marks ---- */

typedef struct tomb_keys {
    ice_arena *arena;
    size_t ncols, n, cap;
    ice_value **keys;
    bool nomem;
} tomb_keys;

static int keep_key(void *arg, const ice_tombstone *ts)
{
    tomb_keys *l = arg;
    if (!ICE_HEAP_ROOM(l->keys, l->n, l->cap))
        return l->nomem = true;
    ice_value *key = ICE_NEW_N(l->arena, ice_value, l->ncols);
    for (size_t i = 0; key && i < l->ncols; i++)
        if (ice_value_copy(l->arena, &ts->key[i], &key[i], NULL) != ICE_OK)
            key = NULL;
    if (!key)
        return l->nomem = true;
    l->keys[l->n++] = key;
    return 0;
}

static int found_one(void *arg, ice_ref r)
{
    (void)r;
    return *(bool *)arg = true;
}

/* The row of a key that the overlay ended: updated where the overlay has a row of that key, else deleted. */
static ice_code mark_key(ice__txtable *t, ice_view *plain, ice_marks *m, const ice_value *key, ice_arena *a,
                         ice_error *err)
{
    bool live = false, fresh;
    ice_row *rows;
    size_t n = 0;
    ice_code rc = ice_view_find(plain, 0, key, a, &rows, &n, err);
    if (rc != ICE_OK || n == 0 || rows[0].where != ICE_IN_BASE)
        return rc;
    ice_tail_find(t->overlay, 0, key, ICE_TIME_MAX - 1, found_one, &live);
    rc = ice_marks_add(m, rows[0].file, rows[0].pos, live ? ICE_OP_UPDATE : ICE_OP_DELETE, &fresh, err);
    if (rc == ICE_OK && !live && ice_marks_staged(m, rows[0].file))
        rc = ice_marks_deleted(m, key, err);
    return rc;
}

static ice_code mark_overlay(ice_session *s, ice__txtable *t, ice_marks *m, ice_error *err)
{
    tomb_keys l = {.arena = ice_arena_create(), .ncols = t->state->keys.keys[0].ncols};
    ice_arena *a = ice_arena_create();
    ice_view plain = {.env = &s->wh->env, .state = t->state, .mode = ICE_VIEW_CURRENT};
    ice__registry *reg = NULL;
    ice_code rc = l.arena && a ? ICE_OK : ice_fail_nomem(err);
    ice__wh_view(s->wh, &reg, &plain.at);
    ice__registry_unref(reg);
    if (rc == ICE_OK)
        ice_tail_tombstones(t->overlay, 0, ICE_TIME_MAX - 1, keep_key, &l);
    if (l.nomem)
        rc = ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < l.n; i++) {
        ice_arena_reset(a);
        rc = mark_key(t, &plain, m, l.keys[i], a, err);
    }
    t->check_parents |= l.n > 0;
    free(l.keys);
    ice_arena_free(l.arena);
    ice_arena_free(a);
    return rc;
}

/* Nothing refers to the file before the record does: a transaction that fails afterwards leaves an orphan for
 * garbage collection. */
static ice_code stage_overlay(ice_session *s, ice__txtable *t, ice_arena *a, ice_staged_file **out, size_t *n,
                              ice_error *err)
{
    ice__stview *v = NULL;
    ice__econn *c = NULL;
    ice_tabstate *only = NULL; /* the overlay and nothing else */
    ice_tabledef *def = ice_tabledef_clone(t->state->def, false);
    ice_buf sql = {0};
    ice_code rc = def ? ice_tabstate_create(def, NULL, NULL, NULL, &only, err) : ice_fail_nomem(err);
    if (rc != ICE_OK) {
        ice_tabledef_free(def);
        return rc;
    }
    ICE_TRY(ice__stview_open(s, 0, &v, err));
    ICE_TRY(ice__stview_overlay(v, ICE_STR("__staging"), only, t->overlay, err));
    for (size_t i = 0; i < def->ncols; i++) {
        ice_buf_puts(&sql, i ? ", " : "SELECT ");
        ice_buf_put_ident(&sql, def->cols[i].name);
    }
    ice_buf_puts(&sql, " FROM __staging");
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__econn_get(s, v, &c, err));
    rc = ice_staged_write(&s->wh->env, c->conn, ice_buf_str(&sql), def, a, out, n, err);
    ice__econn_release(c);
out:
    ice__stview_unref(v);
    ice_tabstate_unref(only);
    ice_buf_free(&sql);
    return rc;
}

/* The transaction's state with files and marks added. */
static ice_code advance(ice_session *s, ice__txtable *t, ice_staged_file *files, size_t nfiles, ice_marks *m,
                        ice_arena *a, ice_error *err)
{
    ice_bulk b = {.nfiles = nfiles, .files = files, .pending = true};
    ice_ended **ended = NULL;
    ice_tabstate *fresh = NULL;
    for (size_t i = 0; i < nfiles; i++)
        files[i].commit_time = ICE_PENDING_START + ++s->tx.seq;
    ++s->tx.seq;
    ice_code rc = ice_marks_take(m, a, &ended, &b.nended, err);
    if (rc != ICE_OK)
        return rc;
    b.ended = ended;
    rc = ice_tabstate_bulk(&s->wh->env, t->state, &b, &fresh, err);
    for (size_t i = 0; i < b.nended; i++)
        ice_ended_unref(ended[i]);
    if (rc != ICE_OK)
        return rc;
    ice_tabstate_unref(t->state);
    t->state = fresh;
    return ICE_OK;
}

static ice_code spill(ice_session *s, ice__txtable *t, ice_error *err)
{
    ice_staged_file *files = NULL;
    ice_tail_counts counts = {0};
    ice_marks *m = NULL;
    ice_arena *a = NULL;
    size_t n = 0;
    ice_code rc = ICE_OK;
    if (!t->overlay)
        return ICE_OK;
    ice_tail_counts_get(t->overlay, &counts);
    if (counts.live + counts.tombstones > 0) {
        if (!(a = ice_arena_create()))
            return ice_fail_nomem(err);
        ICE_TRY(ice_marks_open(t->state, &m, err));
        ICE_TRY(mark_overlay(s, t, m, err));
        if (counts.live)
            ICE_TRY(stage_overlay(s, t, a, &files, &n, err));
        ICE_TRY(advance(s, t, files, n, m, a, err));
        t->check_children |= n > 0;
    }
    ice_tail_unref(t->overlay);
    t->overlay = NULL;
out:
    ice_marks_free(m);
    ice_arena_free(a);
    return rc;
}

static bool is_large(const ice_session *s, const ice__txtable *t)
{
    ice_tail_counts n;
    if (!t->overlay || t->dropped)
        return false;
    ice_tail_counts_get(t->overlay, &n);
    return ice__bulk_worthwhile(s, n.live + n.tombstones) || (s->bulk_rows && n.bytes >= LARGE_BYTES);
}

ice_code ice__bulk_spill(ice_session *s, bool all, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < s->tx.ntables && rc == ICE_OK; i++) {
        ice__txtable *t = &s->tx.tables[i];
        if (is_large(s, t) || (all && t->bulk && t->overlay && !t->dropped))
            rc = ice__bulk_begin(s, t->uuid, ice_str_c(t->name), &t, err);
    }
    return rc;
}

/* ---- a statement ---- */

static ice_code compile_checks(ice__bulk *k, ice_error *err)
{
    const ice_tabledef *def = k->def;
    k->preds = ICE_NEW_N(k->s->scratch, ice_pred *, def->ncons + 1);
    k->checks = ICE_NEW_N(k->s->scratch, const ice_constraint *, def->ncons + 1);
    if (!k->preds || !k->checks)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < def->ncons; i++) {
        ice_error ignored;
        if (def->cons[i].kind == ICE_CON_CHECK && ice_pred_compile(k->s->scratch, def->cons[i].check_sql, def,
                                                                   &k->preds[k->npreds], &ignored) == ICE_OK)
            k->checks[k->npreds++] = &def->cons[i];
    }
    return ICE_OK;
}

ice_code ice__bulk_open(ice__bulk *k, ice_session *s, ice_uuid table, ice_str name, bool places,
                        ice_error *err)
{
    ice__txtable *t;
    ice_code rc;
    *k = (ice__bulk){.s = s, .table = table};
    ICE_TRY(ice__bulk_begin(s, table, name, &t, err));
    k->state = ice_tabstate_ref(t->state);
    k->def = k->state->def;
    k->keys = &k->state->keys;
    ICE_TRY(ice__stview_open(s, 0, &k->v, err));
    ICE_TRY(ice__stview_need(k->v, k->def->name, &k->view, err));
    k->view->with_place = k->v->with_start = places;
    ICE_TRY(ice_marks_open(k->state, &k->marks, err));
    ICE_TRY(compile_checks(k, err));
out:
    return rc;
}

void ice__bulk_close(ice__bulk *k)
{
    ice_result_close(k->result);
    if (k->from)
        ice__econn_release(k->from);
    ice_marks_free(k->marks);
    ice__stview_unref(k->v);
    if (k->state)
        ice_tabstate_unref(k->state);
}

ice_code ice__bulk_check_row(ice__bulk *k, const ice_value *row, ice_error *err)
{
    const ice_tabledef *def = k->def;
    for (size_t i = 0; i < def->ncols; i++)
        if (row[i].null && def->cols[i].not_null && !def->cols[i].generated_sql.ptr)
            return ice__null_fail(def, &def->cols[i], err);
    for (size_t i = 0; i < k->npreds; i++)
        if (ice_pred_eval(k->preds[i], row) == 0)
            return ice__check_fail(def, k->checks[i], err);
    return ICE_OK;
}

/* Rows for the file that is being written; called on a thread of the engine while this session waits for it.
 */
static ice_code next_rows(void *arg, ice_arena *a, ice_value *rows, size_t *n, ice_error *err)
{
    ice__bulk *k = arg;
    ice_arena *scratch = k->s->scratch;
    ice_code rc = ICE_OK;
    *n = 0;
    if (ice_fault("txn.rows"))
        return ice_fail(err, ICE_IO, "fault injected while staging rows");
    k->s->scratch = a;
    while (rc == ICE_OK && !k->over && *n < ICE_BATCH_ROWS && k->in_file < FILE_ROWS) {
        bool taken = false;
        if (k->next == k->count) {
            k->next = 0;
            rc = ice_result_next(k->result, &k->count, err);
            k->over = rc != ICE_OK || k->count == 0;
            continue;
        }
        for (size_t c = 0; c < k->ncols; c++)
            ice_result_value(k->result, c, k->next, &k->in[c]);
        k->next++;
        rc = k->row(k->arg, k, k->in, a, rows + *n * k->def->ncols, &taken, err);
        *n += taken;
        k->in_file += taken;
    }
    k->s->scratch = scratch;
    return rc;
}

/* SELECT the columns, generated ones by their expressions, FROM __stream. */
static ice_code stream_sql(const ice_tabledef *def, ice_buf *sql, ice_error *err)
{
    bool generated = false;
    for (size_t i = 0; i < def->ncols; i++) {
        const ice_column *col = &def->cols[i];
        ice_buf_puts(sql, i ? ", " : "SELECT ");
        generated |= col->generated_sql.ptr != NULL;
        if (col->generated_sql.ptr)
            ice_buf_printf(sql, "(%.*s)", ICE_PRI(col->generated_sql));
        else
            ice_buf_put_ident(sql, col->name);
    }
    ice_buf_puts(sql, generated ? " FROM (SELECT " : " FROM __stream");
    for (size_t i = 0, n = 0; generated && i < def->ncols; i++) {
        if (def->cols[i].generated_sql.ptr)
            continue;
        ice_buf_puts(sql, n++ ? ", " : "");
        ice_buf_put_ident(sql, def->cols[i].name);
    }
    if (generated) {
        ice_buf_puts(sql, " FROM __stream) AS ");
        ice_buf_put_ident(sql, def->name);
    }
    return ice_buf_check(sql, err);
}

static ice_code add_files(ice__bulk *k, const ice_staged_file *files, size_t n, ice_error *err)
{
    ice_staged_file *grown = ICE_NEW_N(k->s->scratch, ice_staged_file, k->nfiles + n + 1);
    if (!grown)
        return ice_fail_nomem(err);
    if (k->nfiles)
        memcpy(grown, k->files, k->nfiles * sizeof *grown);
    if (n)
        memcpy(grown + k->nfiles, files, n * sizeof *grown);
    k->files = grown;
    k->nfiles += n;
    return ICE_OK;
}

static ice_code write_file(ice__bulk *k, ice_str sql, ice_error *err)
{
    ice__stview *v = NULL;
    ice__econn *c = NULL;
    ice_staged_file *files = NULL;
    size_t n = 0;
    ice_code rc;
    k->in_file = 0;
    ICE_TRY(ice__stview_open(k->s, 0, &v, err));
    ICE_TRY(ice_stream_source_create(k->def->cols, k->def->ncols, next_rows, k, &v->stream, err));
    ICE_TRY(ice__econn_get(k->s, v, &c, err));
    ICE_TRY(ice_staged_write(&k->s->wh->env, c->conn, sql, k->def, k->s->scratch, &files, &n, err));
    if (ice_fault("txn.staged"))
        rc = ice_fail(err, ICE_IO, "fault injected behind a staged file");
    else
        rc = add_files(k, files, n, err);
out:
    if (c)
        ice__econn_release(c);
    ice__stview_unref(v);
    return rc;
}

/* Rows of which none is written. */
static ice_code drain(ice__bulk *k, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_value *none = ICE_NEW_N(k->s->scratch, ice_value, k->def->ncols * ICE_BATCH_ROWS + 1);
    ice_code rc = a && none ? ICE_OK : ice_fail_nomem(err);
    while (rc == ICE_OK && !k->over) {
        size_t n;
        ice_arena_reset(a);
        rc = next_rows(k, a, none, &n, err);
    }
    ice_arena_free(a);
    return rc;
}

ice_code ice__bulk_run(ice__bulk *k, ice_str sql, const ice_value *params, size_t n, bool writes,
                       ice__bulk_row row, void *arg, ice_error *err)
{
    const ice_result_column *cols;
    ice_buf stream = {0};
    ice_code rc;
    k->row = row;
    k->arg = arg;
    ICE_TRY(ice__pick_params(k->s->scratch, &sql, &params, &n, err));
    ICE_TRY(ice__econn_get(k->s, k->v, &k->from, err));
    ICE_TRY(ice_engine_run(k->from->conn, sql, params, n, &k->result, err));
    k->ncols = ice_result_columns(k->result, &cols);
    k->in = ICE_NEW_N(k->s->scratch, ice_value, k->ncols + 1);
    if (!k->in)
        return ice_fail_nomem(err);
    if (!writes)
        return drain(k, err);
    ICE_TRY(stream_sql(k->def, &stream, err));
    while (!k->over)
        ICE_TRY(write_file(k, ice_buf_str(&stream), err));
out:
    ice_buf_free(&stream);
    return rc;
}

/* Does a foreign key of the table have one of these columns? */
static bool sets_foreign(const ice_tabledef *def, const uint8_t *set)
{
    for (size_t i = 0; i < def->ncons; i++)
        for (size_t c = 0; def->cons[i].kind == ICE_CON_FOREIGN && c < def->cons[i].ncols; c++) {
            int at = ice_tabledef_find_id(def, def->cons[i].field_ids[c]);
            if (at >= 0 && set[at])
                return true;
        }
    return false;
}

static bool sets_key(const ice_keys *keys, const uint8_t *set)
{
    for (size_t i = 0; i < keys->n; i++)
        for (size_t c = 0; keys->keys[i].unique && c < keys->keys[i].ncols; c++)
            if (set[keys->keys[i].cols[c]])
                return true;
    return false;
}

ice_code ice__bulk_finish(ice__bulk *k, const uint8_t *set, ice_error *err)
{
    ice__txtable *t = ice__tx_find(&k->s->tx, k->table);
    bool deletes = k->nfiles == 0;
    if (k->changed == 0)
        return ICE_OK;
    ice_code rc = advance(k->s, t, k->files, k->nfiles, k->marks, k->s->scratch, err);
    if (rc != ICE_OK)
        return rc;
    t->check_children |= !deletes && (!set || sets_foreign(k->def, set));
    t->check_parents |= deletes || (set && sets_key(k->keys, set));
    return deletes ? ICE_OK : ice__bulk_check(k->s, k->def, k->keys, set, err);
}
