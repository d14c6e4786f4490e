/* One table, kept twice: as files and a tail, and as a plain list of row versions that every answer is
 * compared with.
 *
 * Columns (field ids 1..5): id long primary key, name string, grp int with an index, price double, and, once
 * evolved, extra long with initial default 7; evolving also renames name to label and promotes grp to long.
 */
#ifndef TESTS_TABLE_WORLD_H
#define TESTS_TABLE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "duck_library.h"
#include "table/table_int.h"

#define MAX_VERSIONS 20000
#define MAX_FILES 32

typedef struct version {
    int64_t id;
    char name[24]; /* "": NULL */
    int64_t grp;
    double price;
    int64_t extra;
    int64_t start, end; /* end ICE_TIME_MAX: live */
    ice_row_op end_op;
    int file, pos; /* file -1: in none */
    bool in_history;
} version;

typedef struct wfile {
    ice_data_file df;
    int32_t spec_id;
    int64_t sequence, snapshot_id;
    ice_dv *dv;
    bool history;
} wfile;

typedef struct world {
    char dir[64], cache[96];
    ice_store *store;
    ice_host *host;
    ice_engine *engine;
    ice_engine_conn *own, *user; /* of table/'s work; of the test's queries */
    pthread_mutex_t own_busy;
    ice_env env;
    ice_arena *arena;
    ice_error err;
    ice_tabledef *def;
    ice_metadata *meta[2]; /* the table's, the history's */
    int meta_version[2];
    ice_str location[2];
    ice_tabstate *state;
    int64_t now;
    version *v;
    size_t n;
    wfile files[MAX_FILES];
    size_t nfiles;
    /* the running query's view */
    ice_view view;
    bool with_start;
    ice_probe *probe; /* finished; NULL: every file is read */
    bool probing;     /* the query only records what it asks for, in `probe` */
    unsigned seed;
} world;

#define OK(call) w_check(w, (call), __FILE__, __LINE__)
static inline void w_check(world *w, ice_code rc, const char *file, int line)
{
    if (rc != ICE_OK)
        fail_msg("%s:%d: %s: %s", file, line, ice_code_name(rc), w->err.message);
}

/* ---- environment ---- */

static inline ice_code w_acquire(void *arg, ice_engine_conn **out, ice_error *err)
{
    world *w = arg;
    (void)err;
    pthread_mutex_lock(&w->own_busy);
    *out = w->own;
    return ICE_OK;
}

static inline void w_release(void *arg, ice_engine_conn *c)
{
    (void)c;
    pthread_mutex_unlock(&((world *)arg)->own_busy);
}

static inline ice_code w_resolve(void *arg, ice_str name, unsigned seq, ice_arena *a, ice_source **source,
                                 ice_str *subquery, ice_error *err)
{
    world *w = arg;
    (void)seq;
    if (ice_str_eqc(name, "t") && w->probing)
        return ice_view_probe(&w->view, w->with_start, source, &w->probe, err);
    if (ice_str_eqc(name, "t"))
        return ice_view_open(&w->view, 7, w->with_start, w->probe, a, source, subquery, err);
    if (name.len > 8 && memcmp(name.ptr, "__ice_7_", 8) == 0)
        return ice_view_subsource(&w->view, name, w->probe, source, err);
    return ICE_OK;
}

static inline ice_column w_column(int32_t id, const char *name, ice_kind kind)
{
    return (ice_column){
        .field_id = id, .name = ice_str_c(name), .type = {.kind = (uint8_t)kind}, .sql_type = ICE_STR("x")};
}

static inline ice_tabledef *w_def(world *w)
{
    ice_tabledef *d = ice_tabledef_create(ICE_STR("people"));
    ice_column cols[] = {w_column(1, "id", ICE_T_LONG), w_column(2, "name", ICE_T_STRING),
                         w_column(3, "grp", ICE_T_INT), w_column(4, "price", ICE_T_DOUBLE)};
    int32_t id = 1, grp = 3;
    uint8_t down = 0;
    cols[0].not_null = true;
    for (size_t i = 0; i < 4; i++)
        OK(ice_tabledef_add_column(d, &cols[i], &w->err));
    ice_constraint key = {
        .kind = ICE_CON_PRIMARY, .name = ICE_STR("people_pkey"), .ncols = 1, .field_ids = &id};
    ice_index index = {.name = ICE_STR("people_grp"),
                       .ncols = 1,
                       .field_ids = &grp,
                       .descending = &down,
                       .kind = ICE_STR("btree")};
    OK(ice_tabledef_add_constraint(d, &key, &w->err));
    OK(ice_tabledef_add_index(d, &index, &w->err));
    return d;
}

static inline world *w_open(uint64_t budget)
{
    const char *library = duck_library();
    if (!library)
        return NULL;
    world *w = calloc(1, sizeof *w);
    strcpy(w->dir, "/tmp/ice-table-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->cache, sizeof w->cache, "%s/cache/decoded", w->dir);
    pthread_mutex_init(&w->own_busy, NULL);
    OK(ice_store_open(w->dir, true, false, &w->store, &w->err));
    OK(ice_host_open(w->dir, &w->host, &w->err));
    OK(ice_engine_open(library, 2, 0, &w->engine, &w->err));
    w->env = (ice_env){.store = w->store,
                       .cache_dir = w->cache,
                       .host = w->host,
                       .memory_budget = budget,
                       .cache_max = UINT64_MAX,
                       .ns = "shop",
                       .engine_acquire = w_acquire,
                       .engine_release = w_release,
                       .arg = w};
    OK(ice_engine_connect(w->engine, ice_env_resolve, &w->env, &w->own, &w->err));
    OK(ice_engine_connect(w->engine, w_resolve, w, &w->user, &w->err));
    w->arena = ice_arena_create();
    w->v = calloc(MAX_VERSIONS, sizeof *w->v);
    w->now = INT64_C(1700000000000000);
    w->def = w_def(w);
    w->seed = 12345;
    OK(ice_tabstate_create(ice_tabledef_clone(w->def, false), NULL, NULL, NULL, &w->state, &w->err));
    return w;
}

static inline void w_close(world *w)
{
    char command[128];
    ice_tabstate_unref(w->state);
    for (size_t i = 0; i < w->nfiles; i++)
        ice_dv_free(w->files[i].dv);
    ice_engine_disconnect(w->own);
    ice_engine_disconnect(w->user);
    ice_engine_close(w->engine);
    ice_store_close(w->store);
    ice_host_unref(w->host);
    ice_tabledef_free(w->def);
    ice_arena_free(w->arena);
    snprintf(command, sizeof command, "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
    free(w->v);
    free(w);
}

static inline int w_random(world *w, int n)
{
    return (int)(rand_r(&w->seed) % (unsigned)n);
}

/* ---- changes ---- */

static inline ice_value w_value(const version *r, const ice_column *c)
{
    switch (c->field_id) {
    case 1:
        return (ice_value){.kind = ICE_T_LONG, .i = r->id};
    case 2:
        return r->name[0] ? (ice_value){.kind = ICE_T_STRING, .s = ice_str_c(r->name)} : ICE_NULL;
    case 3:
        return (ice_value){.kind = c->type.kind, .i = r->grp};
    case 4:
        return (ice_value){.kind = ICE_T_DOUBLE, .d = r->price};
    default:
        return (ice_value){.kind = ICE_T_LONG, .i = r->extra};
    }
}

static inline void w_values(world *w, const version *r, ice_value *out)
{
    for (size_t i = 0; i < w->state->def->ncols; i++)
        out[i] = w_value(r, &w->state->def->cols[i]);
}

static inline version *w_live(world *w, int64_t id)
{
    for (size_t i = w->n; i-- > 0;)
        if (w->v[i].id == id && w->v[i].end == ICE_TIME_MAX)
            return &w->v[i];
    return NULL;
}

static inline version w_row(int64_t id, int salt)
{
    version r = {.id = id,
                 .grp = (id + salt) % 10,
                 .price = (double)(id * 4 + salt) / 4,
                 .extra = 7,
                 .end = ICE_TIME_MAX,
                 .file = -1};
    if ((id + salt) % 7)
        snprintf(r.name, sizeof r.name, salt % 2 ? "n%lld.%d" : "a longer name %lld.%d", (long long)id, salt);
    return r;
}

static inline void w_insert(world *w, version r, ice_row_op op)
{
    ice_value values[8];
    assert_true(w->n < MAX_VERSIONS);
    r.start = w->now;
    w->v[w->n++] = r;
    w_values(w, &r, values);
    OK(ice_tail_insert(w->state->tail, values, w->now, op, NULL, &w->err));
}

static inline bool w_end(world *w, int64_t id, ice_row_op op)
{
    version *r = w_live(w, id);
    ice_value key = {.kind = ICE_T_LONG, .i = id};
    if (!r)
        return false;
    OK(ice_tail_end(w->state->tail, &key, w_random(w, 2) ? r->start : 0, w->now, op, NULL, &w->err));
    r->end = w->now;
    r->end_op = op;
    return true;
}

/* One transaction of a few random changes of keys 0..keys-1; a row changes once in it. */
static inline void w_commit(world *w, int changes, int keys)
{
    w->now += 1000;
    for (int i = 0; i < changes; i++) {
        int64_t id = w_random(w, keys);
        version *r = w_live(w, id);
        bool touched = false;
        for (size_t k = 0; k < w->n; k++)
            touched |= w->v[k].id == id && (w->v[k].start == w->now || w->v[k].end == w->now);
        if (touched)
            continue;
        version next = w_row(id, w_random(w, 1000));
        if (!r) {
            w_insert(w, next, ICE_OP_INSERT);
        } else if (w_random(w, 3) == 0) {
            w_end(w, id, ICE_OP_DELETE);
        } else {
            next.extra = r->extra;
            w_end(w, id, ICE_OP_UPDATE);
            w_insert(w, next, ICE_OP_UPDATE);
        }
    }
}

/* ---- publishing ---- */

static inline ice_str w_put(world *w, ice_str key, ice_buf *body)
{
    ice_str location;
    OK(w->store->m->put(w->store, key, ice_buf_str(body), &w->err));
    OK(ice_store_location(w->store, w->arena, key, &location, &w->err));
    ice_buf_free(body);
    return location;
}

static inline ice_str w_dir(world *w, bool history)
{
    ice_str dir;
    OK(ice__table_dir(&w->env, w->arena, w->def->name, w->def->uuid, history, &dir, &w->err));
    return dir;
}

static inline ice_file_column w_stats(world *w, const ice_column *c, const ice_column_stats *s, uint64_t rows)
{
    ice_file_column out = {.field_id = s->field_id,
                           .size = (int64_t)s->size_bytes,
                           .values = (int64_t)rows,
                           .nulls = s->null_count,
                           .nans = s->nan_count};
    ice_buf lower = {0}, upper = {0};
    if (s->has_bounds) {
        OK(ice_single_to_binary(&s->lower, c->type, &lower, &w->err));
        OK(ice_single_to_binary(&s->upper, c->type, &upper, &w->err));
        out.lower = ice_arena_str(w->arena, ice_buf_str(&lower));
        out.upper = ice_arena_str(w->arena, ice_buf_str(&upper));
    }
    ice_buf_free(&lower);
    ice_buf_free(&upper);
    return out;
}

static inline int by_field(const void *x, const void *y)
{
    return ((const ice_file_column *)x)->field_id - ((const ice_file_column *)y)->field_id;
}

/* Writes a query's rows as a data file of the table or its history. */
static inline wfile *w_write(world *w, bool history, ice_str sql, const ice_column *cols, size_t ncols)
{
    ice_parquet_info info;
    ice_str key, path, location;
    wfile *f = &w->files[w->nfiles++];
    assert_true(w->nfiles < MAX_FILES);
    OK(ice__data_key(w->arena, w_dir(w, history), w->state->def->schema_id, &key, &w->err));
    ice_buf dummy = {0};
    ice_buf_puts(&dummy, "x"); /* makes the directory */
    location = w_put(w, key, &dummy);
    OK(ice_store_path(w->store, w->arena, key, &path, &w->err));
    OK(ice_parquet_write(w->own, sql, NULL, 0, path, cols, ncols, w->arena, &info, &w->err));
    *f = (wfile){.df = ice_data_file_init(), .history = history};
    f->df.path = location;
    f->df.format = ICE_STR("parquet");
    f->df.record_count = (int64_t)info.rows;
    f->df.size = (int64_t)info.bytes;
    f->df.ncolumns = info.ncols;
    f->df.columns = ICE_NEW_N(w->arena, ice_file_column, info.ncols);
    for (size_t i = 0; i < info.ncols; i++)
        f->df.columns[i] = w_stats(w, &cols[i], &info.cols[i], info.rows);
    qsort(f->df.columns, info.ncols, sizeof *f->df.columns, by_field);
    return f;
}

static inline void w_literal(ice_buf *b, ice_value v, ice_type t)
{
    ice_buf_puts(b, ", ");
    ice_value_literal(&v, t, b);
}

static inline void w_version_sql(world *w, const version *r, bool history, ice_buf *b)
{
    const ice_type time = {.kind = ICE_T_TIMESTAMPTZ}, text = {.kind = ICE_T_STRING};
    ice_buf_puts(b, b->len ? ", (0" : "SELECT * EXCLUDE (zero) FROM (VALUES (0");
    for (size_t i = 0; i < w->state->def->ncols; i++)
        w_literal(b, w_value(r, &w->state->def->cols[i]), w->state->def->cols[i].type);
    w_literal(b, (ice_value){.kind = ICE_T_TIMESTAMPTZ, .i = r->start}, time);
    if (history) {
        w_literal(b, (ice_value){.kind = ICE_T_TIMESTAMPTZ, .i = r->end}, time);
        w_literal(b,
                  (ice_value){.kind = ICE_T_STRING,
                              .s = ice_str_c(r->end_op == ICE_OP_DELETE ? "delete" : "update")},
                  text);
    }
    ice_buf_puts(b, ")");
}

static inline bool w_wanted(const version *r, bool history)
{
    return history ? r->end != ICE_TIME_MAX && !r->in_history : r->end == ICE_TIME_MAX && r->file < 0;
}

/* The versions that the table (live ones) or its history (ended ones) does not have yet. */
static inline void w_new_file(world *w, bool history)
{
    static const int32_t start[] = {ICE_FIELD_ROW_START, 0},
                         all[] = {ICE_FIELD_ROW_START, ICE_FIELD_ROW_END, ICE_FIELD_OPERATION, 0};
    ice_column *cols;
    size_t ncols;
    ice_buf sql = {0};
    int pos = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (!w_wanted(&w->v[i], history))
            continue;
        w_version_sql(w, &w->v[i], history, &sql);
        if (history) {
            w->v[i].in_history = true;
        } else {
            w->v[i].file = (int)w->nfiles;
            w->v[i].pos = pos++;
        }
    }
    if (sql.len) {
        ice_buf_puts(&sql, ") AS v(zero");
        OK(ice__columns(w->state->def, history ? all : start, w->arena, &cols, &ncols, &w->err));
        for (size_t i = 0; i < ncols; i++)
            ice_buf_printf(&sql, ", c%zu", i);
        ice_buf_puts(&sql, ")");
        w_write(w, history, ice_buf_str(&sql), cols, ncols);
    }
    ice_buf_free(&sql);
}

/* Puts rows that ended meanwhile into the deletion vectors. */
static inline void w_delete_rows(world *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i].file >= 0 && w->v[i].end != ICE_TIME_MAX) {
            wfile *f = &w->files[w->v[i].file];
            if (!f->dv)
                f->dv = ice_dv_create();
            OK(ice_dv_add(f->dv, (uint64_t)w->v[i].pos, &w->err));
        }
}

static inline void w_add_entry(world *w, ice_manifest_writer *m, wfile *f, int64_t sequence,
                               int64_t snapshot_id)
{
    ice_manifest_entry e = {.status = ICE_ENTRY_EXISTING,
                            .snapshot_id = f->snapshot_id,
                            .sequence_number = f->sequence,
                            .file_sequence_number = f->sequence,
                            .file = f->df};
    if (!f->sequence) {
        e.status = ICE_ENTRY_ADDED;
        e.snapshot_id = e.sequence_number = e.file_sequence_number = ICE_UNSET;
        f->sequence = sequence;
        f->snapshot_id = snapshot_id;
    }
    OK(ice_manifest_writer_add(m, &e, &w->err));
}

/* A manifest of the data files of one spec; false: there are none. */
static inline bool w_manifest(world *w, bool history, int32_t spec_id, int64_t snapshot_id, int64_t sequence,
                              ice_manifest_file *out)
{
    ice_metadata *m = w->meta[history];
    ice_manifest_writer *mw;
    ice_buf bytes = {0};
    ice_str key, location;
    OK(ice_manifest_writer_create(ice_metadata_current_schema(m), ice_metadata_spec(m, spec_id), false,
                                  snapshot_id, &mw, &w->err));
    for (size_t i = 0; i < w->nfiles; i++)
        if (w->files[i].history == history && w->files[i].spec_id == spec_id)
            w_add_entry(w, mw, &w->files[i], sequence, snapshot_id);
    bool any = ice_manifest_writer_count(mw) > 0;
    if (any) {
        OK(ice__metadata_key(w->arena, w_dir(w, history), "m", "avro", &key, &w->err));
        OK(ice_store_location(w->store, w->arena, key, &location, &w->err));
        OK(ice_manifest_writer_finish(mw, location, w->arena, &bytes, out, &w->err));
        w_put(w, key, &bytes);
    }
    ice_manifest_writer_free(mw);
    return any;
}

static inline bool w_delete_manifest(world *w, int64_t snapshot_id, ice_manifest_file *out)
{
    ice_metadata *m = w->meta[0];
    ice_puffin_writer *p = ice_puffin_create();
    ice_manifest_writer *mw;
    ice_str puffin, key, location;
    ice_buf bytes = {0};
    OK(ice__metadata_key(w->arena, w_dir(w, false), "dv", "puffin", &puffin, &w->err));
    OK(ice_store_location(w->store, w->arena, puffin, &location, &w->err));
    OK(ice_manifest_writer_create(ice_metadata_current_schema(m), ice_metadata_spec(m, 0), true, snapshot_id,
                                  &mw, &w->err));
    for (size_t i = 0; i < w->nfiles; i++) {
        wfile *f = &w->files[i];
        if (!f->dv)
            continue;
        ice_manifest_entry e = {.status = ICE_ENTRY_ADDED,
                                .snapshot_id = ICE_UNSET,
                                .sequence_number = ICE_UNSET,
                                .file_sequence_number = ICE_UNSET,
                                .file = ice_data_file_init()};
        e.file.content = ICE_CONTENT_POSITION_DELETES;
        e.file.path = location;
        e.file.format = ICE_STR("puffin");
        e.file.record_count = (int64_t)ice_dv_count(f->dv);
        e.file.referenced_data_file = f->df.path;
        OK(ice_puffin_add_dv(p, f->dv, f->df.path, &e.file.content_offset, &e.file.content_size, &w->err));
        e.file.size = 1000;
        OK(ice_manifest_writer_add(mw, &e, &w->err));
    }
    bool any = ice_manifest_writer_count(mw) > 0;
    if (any) {
        OK(ice_puffin_finish(p, &bytes, NULL, &w->err));
        w_put(w, puffin, &bytes);
        OK(ice__metadata_key(w->arena, w_dir(w, false), "m", "avro", &key, &w->err));
        OK(ice_store_location(w->store, w->arena, key, &location, &w->err));
        OK(ice_manifest_writer_finish(mw, location, w->arena, &bytes, out, &w->err));
        w_put(w, key, &bytes);
    }
    ice_puffin_free(p);
    ice_manifest_writer_free(mw);
    return any;
}

static inline void w_property(world *w, ice_metadata *m, const char *key, const char *value)
{
    OK(ice_metadata_set_property(m, ice_str_c(key), ice_str_c(value), &w->err));
}

static inline void w_schema(world *w, bool history)
{
    ice_schema schema;
    ice_metadata *m = w->meta[history];
    const ice_tabledef *def = w->state->def;
    ice_str location;
    if (history)
        OK(ice_schema_of_history(def, m ? ice_metadata_current_schema(m) : NULL, w->arena, &schema, &w->err));
    else
        OK(ice_schema_of_table(def, w->arena, &schema, &w->err));
    if (m) {
        OK(ice_metadata_set_schema(m, &schema, def->last_field_id, &w->err));
        return;
    }
    OK(ice_store_location(w->store, w->arena, w_dir(w, history), &location, &w->err));
    OK(ice_metadata_create(w->arena, def->uuid, location, &schema, w->now / 1000, &w->meta[history],
                           &w->err));
}

static inline void w_properties(world *w)
{
    char number[32];
    ice_buf json = {0};
    OK(ice_tabledef_to_json(w->state->def, &json, &w->err));
    ice_buf_put_u8(&json, 0);
    w_property(w, w->meta[0], ICE_PROP_TABLE, json.data);
    ice_buf_free(&json);
    snprintf(number, sizeof number, "%lld", (long long)w->now);
    w_property(w, w->meta[0], ICE_PROP_FLUSHED, number);
    w_property(w, w->meta[0], ICE_PROP_POSITION, "4711");
    if (w->location[1].ptr)
        w_property(w, w->meta[0], ICE_PROP_HISTORY, w->location[1].ptr);
}

/* A snapshot of the table or the history over all its files, and the metadata file that has it. */
static inline void w_snapshot(world *w, bool history)
{
    ice_metadata *m = w->meta[history];
    ice_manifest_file manifests[3];
    ice_buf bytes = {0};
    ice_str key;
    size_t n = 0;
    char number[32];
    int64_t sequence = ice_metadata_next_sequence(m);
    snprintf(number, sizeof number, "%lld", (long long)w->now);
    ice_kv summary[] = {{ICE_STR("operation"), ICE_STR("overwrite")},
                        {ice_str_c(ICE_PROP_FLUSHED), ice_str_c(number)}};
    ice_snapshot s = {.id = ice_metadata_new_snapshot_id(m),
                      .timestamp_ms = w->now / 1000,
                      .nsummary = 2,
                      .summary = summary,
                      .schema_id = -1,
                      .parent_id = ICE_UNSET};
    for (size_t i = 0; i < m->nspecs; i++)
        n += w_manifest(w, history, m->specs[i].spec_id, s.id, sequence, &manifests[n]);
    if (!history)
        n += w_delete_manifest(w, s.id, &manifests[n]);
    OK(ice_manifest_list_write(s.id, m->current_snapshot_id, sequence, m->next_row_id, manifests, n, &bytes,
                               &s.added_rows, &w->err));
    OK(ice__metadata_key(w->arena, w_dir(w, history), "snap-", "avro", &key, &w->err));
    s.manifest_list = w_put(w, key, &bytes);
    OK(ice_metadata_add_snapshot(m, &s, &w->err));
    OK(ice_metadata_to_json(m, &bytes, &w->err));
    OK(ice_metadata_location(w->arena, w_dir(w, history), w->meta_version[history]++, ice_uuid_random(), &key,
                             &w->err));
    w->location[history] = w_put(w, key, &bytes);
}

/* Everything up to now into files; the state follows. */
static inline void w_publish(world *w)
{
    ice_published *p;
    ice_tail *tail;
    ice_tabstate *next;
    w_schema(w, true);
    w_schema(w, false);
    w_delete_rows(w);
    w_new_file(w, true);
    w_new_file(w, false);
    w_snapshot(w, true);
    w_properties(w);
    w_snapshot(w, false);
    OK(ice_published_load(&w->env, w->location[0], &p, &w->err));
    OK(ice_tail_trim(w->state->tail, w->now, &tail, &w->err));
    OK(ice_tabstate_create(ice_tabledef_clone(w->state->def, false), p, tail, w->state, &next, &w->err));
    assert_null(next->older_defs);
    ice_tabstate_unref(w->state);
    w->state = next;
}

/* `rows` new rows from `first` on in one commit, staged as a file without _row_start. To be published next.
 */
static inline void w_bulk(world *w, int64_t first, int rows)
{
    ice_partition_field field = {.source_id = ICE_FIELD_ROW_START,
                                 .field_id = 0,
                                 .name = ICE_STR("_row_start"),
                                 .transform = {.kind = ICE_TR_IDENTITY}};
    ice_partition_spec spec = {.nfields = 1, .fields = &field};
    int32_t spec_id;
    ice_buf sql = {0};
    w->now += 1000;
    w_schema(w, false);
    OK(ice_metadata_add_spec(w->meta[0], &spec, false, &spec_id, &w->err));
    ice_buf_printf(&sql,
                   "SELECT i, 'bulk ' || i, CAST(i %% 10 AS INTEGER), i / 4.0 FROM range(%lld, %lld) AS r(i)",
                   (long long)first, (long long)first + rows);
    for (int i = 0; i < rows; i++) {
        version r = {.id = first + i,
                     .grp = (first + i) % 10,
                     .price = (double)(first + i) / 4,
                     .extra = 7,
                     .start = w->now,
                     .end = ICE_TIME_MAX,
                     .file = (int)w->nfiles,
                     .pos = i};
        snprintf(r.name, sizeof r.name, "bulk %lld", (long long)first + i);
        assert_true(w->n < MAX_VERSIONS);
        w->v[w->n++] = r;
    }
    wfile *f = w_write(w, false, ice_buf_str(&sql), w->state->def->cols, w->state->def->ncols);
    f->spec_id = spec_id;
    f->df.npartition = 1;
    f->df.partition = ICE_NEW(w->arena, ice_value);
    f->df.partition[0] = (ice_value){.kind = ICE_T_TIMESTAMPTZ, .i = w->now};
    ice_buf_free(&sql);
}

/* Another definition, of the same rows. */
static inline void w_set_def(world *w, ice_tabledef *d)
{
    ice_tabstate *next;
    OK(ice_tabstate_create(d, ice_published_ref(w->state->published), ice_tail_ref(w->state->tail), w->state,
                           &next, &w->err));
    OK(ice_tail_set_def(next->tail, next->def, &w->err));
    ice_tabstate_unref(w->state);
    w->state = next;
}

/* Renames name, promotes grp, adds extra: in the tail's definition only; the files stay as they are. */
static inline void w_evolve(world *w)
{
    ice_tabledef *d = ice_tabledef_clone(w->state->def, true);
    ice_column extra = w_column(5, "extra", ICE_T_LONG);
    extra.has_initial = true;
    extra.initial = (ice_value){.kind = ICE_T_LONG, .i = 7};
    OK(ice_tabledef_rename_column(d, ICE_STR("name"), ICE_STR("label"), &w->err));
    d->cols[2].type = (ice_type){.kind = ICE_T_LONG};
    OK(ice_tabledef_add_column(d, &extra, &w->err));
    w_set_def(w, d);
}

/* ---- asking ---- */

static inline ice_view w_view(world *w, ice_view_mode mode, int64_t at)
{
    return (ice_view){.env = &w->env, .state = w->state, .at = at, .mode = mode};
}

static inline int by_text(const void *x, const void *y)
{
    return strcmp(*(char *const *)x, *(char *const *)y);
}

/* Lines sorted and joined. */
static inline char *w_sorted(char *text)
{
    size_t n = 0, cap = 16, at = 0, len = strlen(text);
    char **lines = malloc(cap * sizeof *lines), *out = malloc(len + 2);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (n == cap)
            lines = realloc(lines, (cap *= 2) * sizeof *lines);
        lines[n++] = line;
    }
    qsort(lines, n, sizeof *lines, by_text);
    for (size_t i = 0; i < n; i++)
        at += (size_t)sprintf(out + at, "%s\n", lines[i]);
    out[at] = 0;
    free(lines);
    free(text);
    return out;
}

static inline void w_put_text(ice_buf *b, const ice_value *v)
{
    if (v->null)
        ice_buf_puts(b, "NULL");
    else if (v->kind == ICE_T_TIMESTAMPTZ)
        ice_buf_printf(b, "%lld", (long long)v->i);
    else
        ice_value_text(v, b);
}

/* A query's rows as sorted text. The query names the table "t". */
static inline char *w_query(world *w, ice_view view, bool with_start, const char *sql)
{
    const ice_result_column *cols;
    ice_buf b = {0};
    ice_result *r;
    size_t count;
    w->view = view;
    w->with_start = with_start;
    ice_code rc = ice_engine_run(w->user, ice_str_c(sql), NULL, 0, &r, &w->err);
    if (rc != ICE_OK)
        fail_msg("%s: %s: %s", sql, ice_code_name(rc), w->err.message);
    size_t ncols = ice_result_columns(r, &cols);
    for (;;) {
        OK(ice_result_next(r, &count, &w->err));
        if (!count)
            break;
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < ncols; k++) {
                ice_value v;
                ice_result_value(r, k, i, &v);
                ice_buf_puts(&b, k ? "|" : "");
                w_put_text(&b, &v);
            }
            ice_buf_puts(&b, "\n");
        }
    }
    ice_result_close(r);
    ice_buf_put_u8(&b, 0);
    return w_sorted(b.data);
}

static inline void w_put_version(world *w, const version *r, ice_buf *b)
{
    for (size_t i = 0; i < w->state->def->ncols; i++) {
        ice_value v = w_value(r, &w->state->def->cols[i]);
        ice_buf_puts(b, i ? "|" : "");
        w_put_text(b, &v);
    }
}

static inline bool w_visible(const version *r, int64_t at)
{
    return r->start <= at && at < r->end;
}

/* What the plain list says: rows visible at a time, with their start. */
static inline char *w_expect(world *w, int64_t at, bool with_start)
{
    ice_buf b = {0};
    for (size_t i = 0; i < w->n; i++)
        if (w_visible(&w->v[i], at)) {
            w_put_version(w, &w->v[i], &b);
            if (with_start)
                ice_buf_printf(&b, "|%lld", (long long)w->v[i].start);
            ice_buf_puts(&b, "\n");
        }
    ice_buf_put_u8(&b, 0);
    return w_sorted(b.data);
}

static inline char *w_expect_versions(world *w, int64_t at)
{
    ice_buf b = {0};
    for (size_t i = 0; i < w->n; i++) {
        const version *r = &w->v[i];
        if (r->start > at)
            continue;
        w_put_version(w, r, &b);
        ice_buf_printf(&b, "|%lld", (long long)r->start);
        if (r->end <= at)
            ice_buf_printf(&b, "|%lld|%s\n", (long long)r->end,
                           r->end_op == ICE_OP_DELETE ? "delete" : "update");
        else
            ice_buf_puts(&b, "|NULL|NULL\n");
    }
    ice_buf_put_u8(&b, 0);
    return w_sorted(b.data);
}

static inline void w_same(char *got, char *want, const char *what)
{
    if (strcmp(got, want) != 0) {
        size_t i = 0, from;
        while (got[i] == want[i])
            i++;
        for (from = i; from > 0 && got[from - 1] != '\n'; from--)
            ;
        fail_msg("%s: differs at byte %zu: got \"%.150s\", want \"%.150s\"", what, i, got + from,
                 want + from);
    }
    free(got);
    free(want);
}

#endif
