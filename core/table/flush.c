/* Flush: the log's range (F, P] of every table becomes one Iceberg snapshot for it and one for its history.
 *
 * States of a flush, for all its tables together:
 *
 *   writing     new Parquet, Puffin, manifest and metadata files, each durable before the next refers to it.
 *               Nobody can see them. A failure leaves orphans and changes nothing.
 *   publishing  one catalog transaction moves all pointers, expecting the ones this flush began from.
 *   published   the catalog refers to the new files.
 *
 * Invariants:
 *   F1  a version with start <= P < end is in exactly one data file and in no deletion vector; one with
 *       F < end <= P is in exactly one history file (numbers 4, 5, 7 of the system's invariants).
 *   F2  a query writes as many rows as its sources promise, or nothing is published.
 *   F3  flushed-commit-time and flushed-position change only together with the files they speak of.
 *   F4  nothing is deleted here, whatever the outcome (number 6); but a file without rows that no metadata
 * names. */
#include "table/flush_int.h"

enum { SMALL_ROWS = 40960 /* a row group */, MANY_FILES = 8 };

typedef struct job {
    ice_env *env;
    ice_flush_table *t;
    const ice_flush_options *o;
    ice_arena *a;
    ice_tabstate *state; /* t's */
    ice_view view;
    ice__dead *dead; /* rows of the base that the tail ended at P */
    uint64_t nfresh, nended;
    ice__edit e;
    ice_str expected, location, history_expected, history_location;
} job;

static ice_code table_edit(job *j, ice_published *from, const ice_tabledef *def, ice_error *err)
{
    ice_schema schema;
    ice_code rc;
    ICE_TRY(ice_schema_of_table(def, j->a, &schema, err));
    if (from) {
        ICE_TRY(ice__edit_begin(&j->e, j->env, from, j->a, err));
        ICE_TRY(ice__edit_schema(&j->e, &schema, err));
    } else {
        ICE_TRY(ice__edit_create(&j->e, j->env, def, false, &schema, j->a, err));
    }
    ICE_TRY(ice__edit_partitions(&j->e, def, err));
out:
    return rc;
}

static ice_code put_definition(job *j, ice_error *err)
{
    ice_buf json = {0};
    ice_code rc;
    ICE_TRY(ice_tabledef_to_json(j->state->def, &json, err));
    ICE_TRY(ice__edit_text(&j->e, ICE_PROP_TABLE, ice_buf_str(&json), err));
out:
    ice_buf_free(&json);
    return rc;
}

/* ---- data ---- */

/* Has compaction put rows into files of their partition value? One file again would undo it. */
static bool is_partitioned(const ice_published *s)
{
    for (size_t i = 0; s && i < s->nfiles; i++)
        if (s->files[i].entry.file.npartition && !s->files[i].fixed_start)
            return true;
    return false;
}

/* Rewriting a table whole costs its size, appending costs its readers a file and a vector. */
static bool worth_rewriting(const job *j)
{
    const ice_published *s = j->state->published;
    ice_tail_counts counts;
    uint64_t bytes = 0;
    ice_tail_counts_get(j->state->tail, &counts);
    for (size_t i = 0; s && i < s->nfiles; i++)
        bytes += (uint64_t)s->files[i].entry.file.size;
    if (j->t->keep_files || bytes + counts.bytes / 4 >= j->o->rewrite_bytes || is_partitioned(s))
        return false;
    /* Bytes alone mislead: a million rows may well pack into one of them each. */
    bool small = bytes < j->o->rewrite_bytes / 16 && (!s || s->rows < SMALL_ROWS);
    bool many = s && s->nfiles >= MANY_FILES && s->rows < MANY_FILES * SMALL_ROWS;
    return many || small || (j->nfresh + j->nended) * 8 >= (s ? s->rows : 0);
}

/* Whether a new table will be kept decoded its first readers decide; its rows are at hand decoded now. */
static ice__warm warm_of(const job *j)
{
    ice_published *s = j->state->published;
    ice_tail_counts counts;
    ice_tail_counts_get(j->state->tail, &counts);
    return (ice__warm){j->state->def, &j->state->keys,
                       s ? ice__published_resident(s) : counts.bytes <= j->env->memory_budget};
}

static ice_code rewrite(job *j, ice_error *err)
{
    ice_published *s = j->state->published;
    ice__warm warm = warm_of(j);
    ice__reading r = {0};
    ice_column *cols;
    ice_str order;
    size_t n;
    ice_code rc;
    ICE_TRY(ice__table_columns(j->state->def, s && s->nfiles > 0, j->a, &cols, &n, err));
    ice__reading_init(&r, j->env, cols, n, j->a);
    for (size_t i = 0; s && i < s->nfiles; i++) {
        ICE_TRY(ice__read_live(&r, s, (uint32_t)i, j->dead, j->o->upto, err));
        ice__edit_remove(&j->e, i);
    }
    ICE_TRY(ice__read_tail(&r, &j->view, ICE_TAIL_VISIBLE, err));
    ICE_TRY(ice__cluster_order(j->state->def, false, j->a, &order, err));
    ICE_TRY(ice__write_reading(&j->e, &r, ICE_STR_NONE, order, &warm, err));
out:
    ice__reading_free(&r);
    return rc;
}

static ice_code append(job *j, ice_error *err)
{
    ice__warm warm = warm_of(j);
    ice__reading r = {0};
    ice_column *cols;
    ice_str order;
    size_t n;
    ice_code rc;
    ICE_TRY(ice__table_columns(j->state->def, false, j->a, &cols, &n, err));
    ice__reading_init(&r, j->env, cols, n, j->a);
    ICE_TRY(ice__read_tail(&r, &j->view, ICE_TAIL_VISIBLE, err));
    ICE_TRY(ice__cluster_order(j->state->def, true, j->a, &order, err));
    ICE_TRY(ice__write_reading(&j->e, &r, ICE_STR_NONE, order, &warm, err));
out:
    ice__reading_free(&r);
    return rc;
}

static ice_code delete_row(void *arg, const ice__dead_row *row, ice_error *err)
{
    return ice_dv_add(arg, row->pos, err);
}

/* One vector for each file, merged with what it had; a file with no row left goes. */
static ice_code delete_rows(job *j, ice_error *err)
{
    ice_published *s = j->state->published;
    ice_code rc = ICE_OK;
    for (size_t i = 0; s && j->dead && i < s->nfiles; i++) {
        ice_dv *dv;
        if (ice__dead_in_file(j->dead, (uint32_t)i, j->o->upto) == 0)
            continue;
        ICE_TRY(ice__edit_dv(&j->e, i, &dv, err));
        ICE_TRY(ice__dead_each(j->dead, (uint32_t)i, j->o->upto, delete_row, dv, err));
        if (ice_dv_count(dv) >= (uint64_t)s->files[i].entry.file.record_count)
            ice__edit_remove(&j->e, i);
    }
out:
    return rc;
}

static ice_code count_changes(job *j, ice_error *err)
{
    const ice_published *s = j->state->published;
    ice_code rc = ice__tail_count(j->state->tail, j->o->upto, ICE_TAIL_VISIBLE, &j->nfresh, err);
    for (size_t i = 0; s && j->dead && i < s->nfiles; i++)
        j->nended += ice__dead_in_file(j->dead, (uint32_t)i, j->o->upto);
    return rc;
}

static ice_code write_data(job *j, ice_error *err)
{
    ice_code rc = ICE_OK;
    if (j->nfresh + j->nended == 0)
        return ICE_OK;
    if (worth_rewriting(j))
        return rewrite(j, err);
    ICE_TRY(append(j, err));
    ICE_TRY(delete_rows(j, err));
out:
    return rc;
}

/* ---- one table ---- */

static ice_code write_history(job *j, ice_error *err)
{
    ice__history_job h = {.env = j->env,
                          .state = j->state,
                          .view = &j->view,
                          .dead = j->dead,
                          .upto = j->o->upto,
                          .position = j->o->position,
                          .snapshots_kept = j->o->snapshots_kept,
                          .catalog_name = j->t->catalog_name};
    return ice__history_write(&h, j->a, &j->history_expected, &j->history_location, err);
}

static ice_code put_sequences(job *j, ice_error *err)
{
    ice_buf text = {0};
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < j->t->nsequences; i++) {
        const ice_sequence_mark *m = &j->t->sequences[i];
        ice_buf_printf(&text, "%s%d.%d=%lld", i ? "," : "", (int)m->field_id, (int)m->restarts,
                       (long long)m->next);
    }
    ICE_TRY(ice_buf_check(&text, err));
    if (text.len)
        ICE_TRY(ice__edit_text(&j->e, ICE_PROP_SEQUENCES, ice_buf_str(&text), err));
out:
    ice_buf_free(&text);
    return rc;
}

static ice_code write_properties(job *j, ice_error *err)
{
    ice_code rc;
    ICE_TRY(put_definition(j, err));
    ICE_TRY(ice__edit_number(&j->e, ICE_PROP_FLUSHED, (uint64_t)j->o->upto, err));
    ICE_TRY(ice__edit_number(&j->e, ICE_PROP_POSITION, j->o->position, err));
    if (j->history_location.ptr)
        ICE_TRY(ice__edit_text(&j->e, ICE_PROP_HISTORY, j->history_location, err));
    ICE_TRY(put_sequences(j, err));
out:
    return rc;
}

/* Was the state built from what the catalog has: that very metadata file, or staged files on top of it? */
static bool built_from(const ice_published *s, ice_str location)
{
    bool found = ice_str_eq(s->location, location), staged = false;
    for (size_t i = 0; i < s->meta->nmetadata_log && !found; i++)
        found = ice_str_eq(s->meta->metadata_log[i].file, location);
    for (size_t i = 0; i < s->nfiles && !staged; i++)
        staged = s->files[i].fixed_start && s->files[i].min_start > s->flushed;
    /* After many staged files the log of metadata files no longer reaches back so far. */
    return found || (staged && s->meta->nmetadata_log >= ICE__METADATA_LOG_MAX);
}

static ice_code check_staged(const job *j, const ice_published *s, ice_error *err)
{
    for (size_t i = 0; i < s->nfiles; i++)
        if (s->files[i].fixed_start && s->files[i].min_start > j->o->upto)
            return ice_fail(err, ICE_MISUSE, "table %.*s: the staged file %.*s is newer than the flush",
                            ICE_PRI(s->name), ICE_PRI(s->files[i].key));
    return ICE_OK;
}

static ice_code check_table(const job *j, ice_error *err)
{
    const ice_published *s = j->t->state->published;
    if (s && s->def->foreign)
        return ice_fail(err, ICE_UNSUPPORTED,
                        "table %.*s was made by another program, which alone writes it",
                        ICE_PRI(s->name));
    if (j->o->upto < j->t->state->flushed)
        return ice_fail(err, ICE_MISUSE, "table %.*s: flushed up to %lld already",
                        ICE_PRI(j->t->state->def->name), (long long)j->t->state->flushed);
    if (j->t->catalog_name.ptr && (!s || !j->t->location.ptr))
        return ice_fail(err, ICE_MISUSE, "table %.*s is in the catalog, but its state has no published files",
                        ICE_PRI(j->t->catalog_name));
    if (s && j->t->catalog_name.ptr && !built_from(s, j->t->location))
        return ice_fail(err, ICE_CONFLICT,
                        "table %.*s: the catalog points to %.*s, the state was built from %.*s",
                        ICE_PRI(j->t->catalog_name), ICE_PRI(j->t->location), ICE_PRI(s->location));
    return s ? check_staged(j, s, err) : ICE_OK;
}

static bool is_view(const job *j)
{
    return j->t->dropped ? j->t->view : ice_tabledef_is_view(j->t->state->def);
}

static ice_code write_view(job *j, ice_error *err)
{
    if (j->t->catalog_name.ptr)
        j->expected = j->t->location;
    ice_code rc = ice__view_metadata_write(j->env, j->t->state->def, j->a, &j->location, err);
    j->t->new_location = j->location;
    return rc;
}

static ice_code write_table(job *j, ice_error *err)
{
    ice__dead *overlay = NULL;
    ice_code rc;
    if (is_view(j))
        return write_view(j, err);
    ICE_TRY(check_table(j, err));
    j->state = ice_tabstate_ref(j->t->state);
    if (j->t->catalog_name.ptr)
        j->expected = j->t->location;
    j->view = (ice_view){.env = j->env, .state = j->state, .at = j->o->upto, .mode = ICE_VIEW_CURRENT};
    ICE_TRY(ice__dead_of_view(&j->view, &j->dead, &overlay, err));
    ICE_TRY(count_changes(j, err));
    ICE_TRY(table_edit(j, j->state->published, j->state->def, err));
    ICE_TRY(write_history(j, err));
    ICE_TRY(write_data(j, err));
    ICE_TRY(write_properties(j, err));
    ICE_TRY(ice__edit_finish(&j->e, NULL, j->o->upto, j->o->upto / 1000, j->o->snapshots_kept, &j->location,
                             err));
    j->t->new_location = j->location;
    j->t->rows_added = j->nfresh;
    j->t->rows_deleted = j->nended;
    j->t->files_added = j->e.nadded;
out:
    ice__edit_free(&j->e);
    ice__dead_unref(j->dead);
    if (rc != ICE_OK)
        ice_error_object(err, j->t->state ? j->t->state->def->name.ptr : NULL, NULL);
    return rc;
}

/* ---- publishing ---- */

typedef struct changes {
    ice_arena *a;
    size_t n, cap;
    ice_catalog_change *list;
} changes;

static ice_code add_change(changes *c, ice_catalog_change change, ice_error *err)
{
    if (!ICE_ROOM(c->a, c->list, c->n, c->cap))
        return ice_fail_nomem(err);
    c->list[c->n++] = change;
    return ICE_OK;
}

static bool renamed(const job *j)
{
    return j->t->catalog_name.ptr && !ice_str_eq(j->t->catalog_name, j->t->state->def->name);
}

static ice_code has_history(ice_env *env, ice_arena *a, ice_str table, bool *out, ice_error *err)
{
    ice_str name, location;
    ice_error missing;
    ice_code rc;
    ICE_TRY(ice__history_name(a, table, &name, err));
    rc = ice_catalog_load(env->catalog, a, name, &location, &missing);
    *out = rc == ICE_OK;
    if (rc == ICE_NO_TABLE)
        return ICE_OK;
    if (rc != ICE_OK && err)
        *err = missing;
out:
    return rc;
}

static ice_code rename_one(changes *c, ice_str from, ice_str to, bool history, ice_error *err)
{
    ice_code rc = ICE_OK;
    ICE_TRY(add_change(c, (ice_catalog_change){.op = ICE_CAT_RENAME, .name = from, .new_name = to}, err));
    if (!history)
        return ICE_OK;
    ICE_TRY(ice__history_name(c->a, from, &from, err));
    ICE_TRY(ice__history_name(c->a, to, &to, err));
    ICE_TRY(add_change(c, (ice_catalog_change){.op = ICE_CAT_RENAME, .name = from, .new_name = to}, err));
out:
    return rc;
}

/* It keeps its files, and other engines can read it, until it is forgotten. A view goes. */
static ice_code drop_table(changes *c, const job *j, ice_error *err)
{
    bool history;
    ice_code rc;
    if (is_view(j))
        return add_change(c, (ice_catalog_change){.op = ICE_CAT_DROP, .name = j->t->catalog_name}, err);
    ICE_TRY(has_history(j->env, c->a, j->t->catalog_name, &history, err));
    ice_str to = ice_str_c(ice_arena_printf(c->a, "%.*s" ICE_DROPPED_MARK "%016lld",
                                            ICE_PRI(j->t->catalog_name), (long long)j->t->dropped_at));
    if (!to.ptr)
        return ice_fail_nomem(err);
    ICE_TRY(rename_one(c, j->t->catalog_name, to, history, err));
out:
    return rc;
}

/* By way of names nobody has, so that tables can take each other's. */
static ice_code rename_tables(changes *c, const job *jobs, size_t n, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n; i++) {
            const job *j = &jobs[i];
            char hex[37];
            bool history;
            if (j->t->dropped || !renamed(j))
                continue;
            ice_uuid_text(j->t->state->def->uuid, hex);
            ice_str between = ice_str_c(ice_arena_printf(c->a, "__renamed_%s", hex));
            if (!between.ptr)
                return ice_fail_nomem(err);
            ICE_TRY(has_history(j->env, c->a, j->t->catalog_name, &history, err));
            ICE_TRY(rename_one(c, pass ? between : j->t->catalog_name,
                               pass ? j->t->state->def->name : between, history, err));
        }
out:
    return rc;
}

/* flushed 0: nothing is said of it. */
static ice_code point(changes *c, ice_str name, ice_str expected, ice_str location, bool view, int64_t flushed,
                      uint64_t position, ice_error *err)
{
    ice_catalog_change change = {.op = expected.ptr ? ICE_CAT_SWAP : view ? ICE_CAT_CREATE_VIEW : ICE_CAT_CREATE,
                                 .name = name,
                                 .expected = expected,
                                 .location = location,
                                 .flushed = flushed,
                                 .position = position};
    return add_change(c, change, err);
}

static ice_code point_table(changes *c, const job *j, ice_error *err)
{
    ice_str name = j->t->state->def->name, history;
    ice_code rc;
    ICE_TRY(point(c, name, j->expected, j->location, is_view(j), is_view(j) ? 0 : j->o->upto, j->o->position, err));
    if (!j->history_location.ptr)
        return ICE_OK;
    ICE_TRY(ice__history_name(c->a, name, &history, err));
    ICE_TRY(point(c, history, j->history_expected, j->history_location, false, 0, 0, err));
out:
    return rc;
}

static ice_code publish(ice_env *env, const job *jobs, size_t n, ice_arena *a, ice_error *err)
{
    changes c = {.a = a};
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < n; i++)
        if (jobs[i].t->dropped && jobs[i].t->catalog_name.ptr)
            ICE_TRY(drop_table(&c, &jobs[i], err));
    ICE_TRY(rename_tables(&c, jobs, n, err));
    for (size_t i = 0; i < n; i++)
        if (!jobs[i].t->dropped)
            ICE_TRY(point_table(&c, &jobs[i], err));
    if (ice_fault("table.publish"))
        return ice_fail(err, ICE_IO, "fault injected before publishing");
    if (c.n)
        ICE_TRY(ice_catalog_commit(env->catalog, c.list, c.n, err));
out:
    return rc;
}

ice_code ice_flush(ice_env *env, ice_flush_table *tables, size_t n, const ice_flush_options *o, ice_arena *a,
                   ice_error *err)
{
    job *jobs = ICE_NEW_N(a, job, n + 1);
    ice_code rc = ICE_OK;
    if (!jobs)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        jobs[i] = (job){.env = env, .t = &tables[i], .o = o, .a = a};
        if (!tables[i].dropped)
            ICE_TRY(write_table(&jobs[i], err));
        if (o->progress)
            o->progress(o->arg,
                        tables[i].dropped ? tables[i].catalog_name.ptr : tables[i].state->def->name.ptr,
                        (double)(i + 1) / (double)n);
    }
    ICE_TRY(publish(env, jobs, n, a, err));
out:
    for (size_t i = 0; i < n; i++)
        ice_tabstate_unref(jobs[i].state);
    return rc;
}

/* ---- pointers of one table ---- */

ice_code ice__swap_commit(ice_env *env, const ice__swap *s, ice_arena *a, ice_error *err)
{
    changes c = {.a = a};
    ice_str history;
    ice_code rc;
    ICE_TRY(point(&c, s->name, s->expected, s->location, false, s->from->flushed, s->from->position, err));
    if (s->history_location.ptr) {
        ICE_TRY(ice__history_name(a, s->name, &history, err));
        ICE_TRY(point(&c, history, s->history_expected, s->history_location, false, 0, 0, err));
    }
    ICE_TRY(ice_catalog_commit(env->catalog, c.list, c.n, err));
out:
    return rc;
}
