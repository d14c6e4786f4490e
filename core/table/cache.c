/* The decoded cache: for each data file a chunk file (its columns), and for each key an index and, where the
 * columns are not kept, a small chunk file of the key's columns. All of it can be made again from the Parquet
 * file, so whatever is missing or broken is.
 *
 *   <cache_dir>/<base>.chunk            columns
 *   <cache_dir>/<base>.<8 hex>.idx      key hash -> position
 *   <cache_dir>/<base>.<8 hex>.keys     columns of the key, of the primary key, _row_start
 *   <cache_dir>/<base>.<field>.order    positions in the order of a column, where the rows are not in it
 *
 * A process opens each file once, whatever number of published states list it. Nothing here waits for the
 * engine with a lock held: a file is looked for under its lock, built without, and looked for again. */
#include "table/table_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { MAX_RETIRED = 64 };

typedef struct cached_key {
    struct cached_key *next;
    uint32_t hash;
    ice_keyindex *index;
    ice_chunkfile *values;
} cached_key;

typedef struct cached_order {
    struct cached_order *next;
    int32_t field_id;
    ice_chunkfile *positions; /* NULL: the rows are in that order */
    const uint32_t *order;
} cached_order;

struct ice__cached {
    struct ice__cached *next;
    int refs;         /* under the registry's lock */
    char *path;       /* "<cache_dir>/<base>" */
    ice_host *host;   /* that counts it as kept decoded; NULL: it is not */
    pthread_mutex_t lock;
    ice_chunkfile *chunk;
    ice_chunkfile *retired[MAX_RETIRED]; /* had too few columns; somebody may still read them */
    size_t nretired;
    cached_key *keys;
    cached_order *orders;
};

/* What the process has open. */
static struct {
    pthread_mutex_t lock;
    pthread_once_t once;
    ice__cached *buckets[1024];
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT};

/* A forked child has the parent's list, but not the thread that may have been changing it. */
static void forget(void)
{
    pthread_mutex_init(&registry.lock, NULL);
    memset(registry.buckets, 0, sizeof registry.buckets);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget);
}

static ice__cached **bucket_of(const char *path)
{
    return &registry.buckets[ice_hash64(path, strlen(path), 0) % 1024];
}

/* By its name in the cache directory, whatever the processes call that. */
static uint64_t name_of(const ice__cached *c)
{
    const char *base = strrchr(c->path, '/') + 1;
    return ice_hash64(base, strlen(base), 0) | 1;
}

static void cached_free(ice__cached *c)
{
    ice_host_unref(c->host);
    ice_chunkfile_close(c->chunk);
    for (size_t i = 0; i < c->nretired; i++)
        ice_chunkfile_close(c->retired[i]);
    for (cached_key *k = c->keys, *next; k; k = next) {
        next = k->next;
        ice_keyindex_close(k->index);
        ice_chunkfile_close(k->values);
        free(k);
    }
    for (cached_order *o = c->orders, *next; o; o = next) {
        next = o->next;
        ice_chunkfile_close(o->positions);
        free(o);
    }
    pthread_mutex_destroy(&c->lock);
    free(c->path);
    free(c);
}

void ice__cached_unref(ice__cached *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&registry.lock);
    bool last = --c->refs == 0;
    ice__cached **p = bucket_of(c->path);
    while (last && *p && *p != c)
        p = &(*p)->next;
    if (last && *p)
        *p = c->next;
    if (last && c->host) /* before another of this name can claim it */
        ice_host_release(c->host, name_of(c));
    pthread_mutex_unlock(&registry.lock);
    if (last)
        cached_free(c);
}

static ice__cached *cached_make(char *path)
{
    ice__cached *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->path = path;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

static ice__cached *cached_get(const ice_env *env, ice_str base)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%.*s", env->cache_dir, ICE_PRI(base)) < 0)
        return NULL;
    pthread_once(&registry.once, watch_forks);
    pthread_mutex_lock(&registry.lock);
    ice__cached **bucket = bucket_of(path), *c = *bucket;
    while (c && strcmp(c->path, path) != 0)
        c = c->next;
    if (!c && (c = cached_make(path)) != NULL) {
        path = NULL;
        c->next = *bucket;
        *bucket = c;
    }
    if (c)
        c->refs++;
    pthread_mutex_unlock(&registry.lock);
    free(path);
    return c;
}

static ice_code file_cached(ice_published *s, ice__file *f, ice__cached **out, ice_error *err)
{
    pthread_mutex_lock(&s->lock);
    if (!f->cached)
        f->cached = cached_get(s->env, f->base);
    *out = f->cached;
    pthread_mutex_unlock(&s->lock);
    return *out ? ICE_OK : ice_fail_nomem(err);
}

static ice_code make_cache_dir(const ice_env *env, ice_error *err)
{
    char path[4096];
    size_t n = strlen(env->cache_dir);
    if (n >= sizeof path)
        return ice_fail(err, ICE_CONFIG, "cache directory: the path has %zu bytes", n);
    memcpy(path, env->cache_dir, n + 1);
    for (size_t i = 1; i <= n; i++)
        if (path[i] == '/' || i == n) {
            path[i] = 0;
            if (mkdir(path, 0777) != 0 && errno != EEXIST)
                return ice_fail_errno(err, errno, "cache directory %s", path);
            path[i] = i == n ? 0 : '/';
        }
    return ICE_OK;
}

/* ---- residency ---- */

/* All the snapshot's files or none, of which the process may have claimed some already. */
static bool claim_files(ice_published *s, uint64_t per_row)
{
    ice_host_file *files = calloc(s->nfiles + 1, sizeof *files);
    size_t n = 0;
    if (!files)
        return false;
    pthread_mutex_lock(&registry.lock);
    for (size_t i = 0; i < s->nfiles; i++)
        if (!s->files[i].cached->host)
            files[n++] = (ice_host_file){name_of(s->files[i].cached),
                                         per_row * (uint64_t)s->files[i].entry.file.record_count};
    bool fits = ice_host_claim(s->env->host, files, n, s->env->memory_budget);
    for (size_t i = 0; fits && i < s->nfiles; i++)
        if (!s->files[i].cached->host)
            s->files[i].cached->host = ice_host_ref(s->env->host);
    pthread_mutex_unlock(&registry.lock);
    free(files);
    return fits;
}

/* The first tables that a host's processes read get the budget; later ones that no longer fit are read from
 * their files. A table keeps its state until its last published state with these files is gone. */
bool ice__published_resident(ice_published *s)
{
    uint64_t per_row = 0, rows = 0;
    int known = __atomic_load_n(&s->resident, __ATOMIC_ACQUIRE);
    if (known >= 0)
        return known > 0;
    for (size_t i = 0; i < s->nfiles; i++)
        rows += (uint64_t)s->files[i].entry.file.record_count;
    per_row = rows ? s->estimate / rows + 1 : 0;
    for (size_t i = 0; i < s->nfiles; i++) {
        ice__cached *c;
        if (file_cached(s, &s->files[i], &c, NULL) != ICE_OK)
            return false;
    }
    pthread_mutex_lock(&s->lock);
    if (s->resident < 0)
        __atomic_store_n(&s->resident, claim_files(s, per_row), __ATOMIC_RELEASE);
    bool resident = s->resident > 0;
    pthread_mutex_unlock(&s->lock);
    return resident;
}

/* ---- decoding a Parquet file ---- */

typedef struct decode {
    ice_result *result;
    size_t ncols;
    ice__fill *fills;
    ice_vec *vecs;
    uint64_t rows, expected; /* rows so far, and the manifest's count */
    ice_str what;
} decode;

/* One chunk of the result as a batch; the last column is the row's number in the file. */
static ice_code decode_next(void *arg, ice_batch *out, ice_error *err)
{
    decode *d = arg;
    size_t n = 0;
    ice_code rc;
    ICE_TRY(ice_result_next(d->result, &n, err));
    if (n > ICE_BATCH_ROWS)
        return ice_fail(err, ICE_INTERNAL, "the engine gave %zu rows at once", n);
    for (size_t row = 0; row < n; row++) {
        ice_value v;
        ice_result_value(d->result, d->ncols, row, &v);
        if (v.null || v.i != (int64_t)(d->rows + row))
            return ice_fail(err, ICE_INTERNAL, "%.*s: rows came out of order", ICE_PRI(d->what));
    }
    for (size_t col = 0; col < d->ncols; col++) {
        for (size_t row = 0; row < n; row++) {
            ice_value v;
            ice_result_value(d->result, col, row, &v);
            ice__fill_set(&d->fills[col], row, &v);
        }
        ice__fill_vec(&d->fills[col], &d->vecs[col]);
    }
    d->rows += n;
    if (n == 0 && d->rows != d->expected)
        return ice_fail(err, ICE_CORRUPT, "%.*s has %llu rows, its manifest says %llu", ICE_PRI(d->what),
                        (unsigned long long)d->rows, (unsigned long long)d->expected);
    *out = (ice_batch){.count = n, .vecs = d->vecs, .nvecs = d->ncols};
out:
    return rc;
}

static void put_decode_sql(ice_str path, const ice_column *cols, size_t ncols, bool evolved, ice_buf *sql)
{
    ice_buf_puts(sql, "SELECT ");
    for (size_t i = 0; i < ncols; i++) {
        ice_buf_put_ident(sql, cols[i].name);
        ice_buf_puts(sql, ", ");
    }
    ice_buf_puts(sql, "\"file_row_number\" FROM ");
    ice_parquet_scan_sql(&path, 1, cols, ncols, evolved, true, sql);
    ice_buf_puts(sql, " AS f");
}

/* Decodes columns of a Parquet file into a chunk file. */
static ice_code decode_file(ice_env *env, ice_engine_conn *c, ice_str path, uint64_t rows,
                            const ice_column *cols, size_t ncols, bool evolved, const char *to,
                            ice_error *err)
{
    ice_arena *a = ice_arena_create();
    decode d = {.ncols = ncols, .expected = rows, .what = path};
    ice_buf sql = {0};
    ice_code rc = a ? ICE_OK : ice_fail_nomem(err);
    if (!a)
        goto out;
    ICE_TRY(make_cache_dir(env, err));
    d.fills = ICE_NEW_N(a, ice__fill, ncols + 1);
    d.vecs = ICE_NEW_N(a, ice_vec, ncols + 1);
    rc = d.fills && d.vecs ? ICE_OK : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < ncols; i++)
        rc = ice__fill_init(&d.fills[i], a, cols[i].type, ICE_BATCH_ROWS, err);
    if (rc != ICE_OK)
        goto out;
    put_decode_sql(path, cols, ncols, evolved, &sql);
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice_engine_run(c, ice_buf_str(&sql), NULL, 0, &d.result, err));
    ICE_TRY(ice_chunkfile_write(to, cols, ncols, decode_next, &d, err));
out:
    if (rc != ICE_OK)
        ice__read_failed(err, path);
    ice_result_close(d.result);
    ice_buf_free(&sql);
    ice_arena_free(a);
    return rc;
}

/* ---- chunk files ---- */

/* Opens a chunk file of the expected rows; NULL where it is missing or broken. */
static ice_chunkfile *open_chunk(const char *path, uint64_t rows)
{
    ice_chunkfile *c = NULL;
    if (ice_chunkfile_open(path, &c, NULL) != ICE_OK)
        return NULL;
    if (ice_chunkfile_rows(c) == rows)
        return c;
    ice_chunkfile_close(c);
    return NULL;
}

/* Does the Parquet file itself hold the column? */
static bool file_has(const ice_published *s, const ice__file *f, int32_t field_id)
{
    const ice_schema *schema = f->schema_id >= 0 ? ice_metadata_schema(s->meta, f->schema_id) : NULL;
    if (field_id == ICE_FIELD_ROW_START)
        return f->has_start && !f->fixed_start;
    if (schema)
        return ice_schema_field(schema, field_id) != NULL;
    return f->entry.file.ncolumns == 0 || ice_data_file_column(&f->entry.file, field_id);
}

static bool chunk_suffices(const ice_published *s, const ice__file *f, const ice_chunkfile *c,
                           const ice_column *cols, size_t ncols)
{
    ice_vec v;
    for (size_t i = 0; i < ncols; i++)
        if (!ice_chunkfile_column(c, cols[i].field_id, &v) && file_has(s, f, cols[i].field_id))
            return false;
    return true;
}

static void column_of_field(const ice_field *f, ice_column *out)
{
    *out = (ice_column){.field_id = f->id, .name = f->name, .type = f->type};
}

/* Columns to decode: all that the file's schema has or, where it is not known, of those wanted what is there.
 */
static ice_code decode_columns(const ice_published *s, const ice__file *f, const ice_column *cols,
                               size_t ncols, ice_arena *a, ice_column **out, size_t *n, bool *evolved,
                               ice_error *err)
{
    const ice_schema *schema = f->schema_id >= 0 ? ice_metadata_schema(s->meta, f->schema_id) : NULL;
    size_t k = 0;
    *out = ICE_NEW_N(a, ice_column, ncols + (schema ? schema->nfields : 0) + 2);
    if (!*out)
        return ice_fail_nomem(err);
    *evolved = schema == NULL;
    for (size_t i = 0; schema && i < schema->nfields; i++)
        if (schema->fields[i].type.kind != ICE_T_NONE && file_has(s, f, schema->fields[i].id))
            column_of_field(&schema->fields[i], &(*out)[k++]);
    for (size_t i = 0; !schema && i < ncols; i++)
        if (!ice__is_system(cols[i].field_id) && file_has(s, f, cols[i].field_id))
            (*out)[k++] = cols[i];
    if (!schema && file_has(s, f, ICE_FIELD_ROW_START))
        (*out)[k++] = *ice__system_column(ICE_FIELD_ROW_START);
    *n = k;
    return ICE_OK;
}

static ice_code build_chunk(ice_published *s, const ice__file *f, const ice_column *cols, size_t ncols,
                            const char *path, ice_error *err)
{
    ice_engine_conn *c = NULL;
    ice_column *want = NULL;
    size_t n = 0;
    bool evolved = true;
    ice_arena *a = ice_arena_create();
    ice_code rc = a ? ICE_OK : ice_fail_nomem(err);
    if (!a)
        return rc;
    ICE_TRY(decode_columns(s, f, cols, ncols, a, &want, &n, &evolved, err));
    ICE_TRY(ice__engine_acquire(s->env, NULL, 0, &c, err));
    ICE_TRY(
        decode_file(s->env, c, f->path, (uint64_t)f->entry.file.record_count, want, n, evolved, path, err));
out:
    if (c)
        ice__engine_release(s->env, c);
    ice_arena_free(a);
    return rc;
}

/* The open chunk file, or the one on disk, if it has the columns. */
static ice_chunkfile *find_chunk(ice_published *s, ice__file *f, ice__cached *c, const char *path,
                                 const ice_column *cols, size_t ncols)
{
    ice_chunkfile *found = NULL;
    pthread_mutex_lock(&c->lock);
    if (!c->chunk || !chunk_suffices(s, f, c->chunk, cols, ncols)) {
        ice_chunkfile *fresh = open_chunk(path, (uint64_t)f->entry.file.record_count);
        bool useful =
            fresh && chunk_suffices(s, f, fresh, cols, ncols) && (!c->chunk || c->nretired < MAX_RETIRED);
        if (useful && c->chunk)
            c->retired[c->nretired++] = c->chunk;
        if (useful)
            found = c->chunk = fresh;
        else
            ice_chunkfile_close(fresh);
    } else {
        found = c->chunk;
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

/* The usual case, for rows read one by one. */
static ice_chunkfile *open_already(ice_published *s, ice__file *f, ice__cached *c, const ice_column *cols,
                                   size_t ncols)
{
    pthread_mutex_lock(&c->lock);
    ice_chunkfile *found = c->chunk && chunk_suffices(s, f, c->chunk, cols, ncols) ? c->chunk : NULL;
    pthread_mutex_unlock(&c->lock);
    return found;
}

ice_code ice__file_chunk(ice_published *s, ice__file *f, const ice_column *cols, size_t ncols,
                         ice_chunkfile **out, ice_error *err)
{
    ice__cached *c;
    char *path = NULL;
    ice_code rc;
    ICE_TRY(file_cached(s, f, &c, err));
    if ((*out = open_already(s, f, c, cols, ncols)) != NULL)
        return ICE_OK;
    if (asprintf(&path, "%s.chunk", c->path) < 0) {
        path = NULL;
        return ice_fail_nomem(err);
    }
    *out = find_chunk(s, f, c, path, cols, ncols);
    if (!*out) {
        ICE_TRY(build_chunk(s, f, cols, ncols, path, err));
        *out = find_chunk(s, f, c, path, cols, ncols);
        if (!*out)
            rc = ice_fail(err, ICE_IO, "cache file %s: not readable right after it was written", path);
    }
out:
    free(path);
    return rc;
}

/* ---- key indexes ---- */

static uint32_t key_name(const ice_tabledef *def, const ice_keys *keys, size_t key)
{
    const ice_key *k = &keys->keys[key], *primary = &keys->keys[0];
    uint64_t h = k->nulls_not_distinct;
    for (size_t i = 0; i < k->ncols; i++)
        h = ice_hash64(&def->cols[k->cols[i]].field_id, sizeof(int32_t), h + 1);
    /* The columns of the primary key are in the values file too. */
    for (size_t i = 0; i < primary->ncols; i++)
        h = ice_hash64(&def->cols[primary->cols[i]].field_id, sizeof(int32_t), h + 2);
    return (uint32_t)(h ^ h >> 32);
}

/* The key's columns, the primary key's, _row_start: each once. */
static ice_code value_columns(const ice_tabledef *def, const ice_keys *keys, size_t key, ice_arena *a,
                              ice_column **out, size_t *n, ice_error *err)
{
    const ice_key *k = &keys->keys[key], *primary = &keys->keys[0];
    size_t count = 0;
    ice_column *cols = ICE_NEW_N(a, ice_column, k->ncols + primary->ncols + 1);
    if (!cols)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < k->ncols + primary->ncols; i++) {
        const ice_column *c = &def->cols[i < k->ncols ? k->cols[i] : primary->cols[i - k->ncols]];
        bool seen = false;
        for (size_t j = 0; j < count; j++)
            seen |= cols[j].field_id == c->field_id;
        if (!seen)
            cols[count++] = *c;
    }
    cols[count++] = *ice__system_column(ICE_FIELD_ROW_START);
    *out = cols;
    *n = count;
    return ICE_OK;
}

/* Chunk file with at least the key's columns: the table's where it is resident, else one of their own. */
static ice_code key_values(ice_published *s, ice__file *f, const ice_column *cols, size_t ncols,
                           const char *path, ice_chunkfile **own, ice_chunkfile **values, ice_error *err)
{
    uint64_t rows = (uint64_t)f->entry.file.record_count;
    ice_engine_conn *c = NULL;
    ice_column *stored = NULL;
    size_t n = 0;
    bool resident = ice__published_resident(s);
    ice_arena *a = NULL;
    ice_code rc = ICE_OK;
    *own = *values = NULL;
    if (resident)
        return ice__file_chunk(s, f, cols, ncols, values, err);
    *own = *values = open_chunk(path, rows);
    if (*own)
        return ICE_OK;
    if (!(a = ice_arena_create()) || !(stored = ICE_NEW_N(a, ice_column, ncols + 1))) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < ncols; i++)
        if (file_has(s, f, cols[i].field_id))
            stored[n++] = cols[i];
    ICE_TRY(ice__engine_acquire(s->env, NULL, 0, &c, err));
    ICE_TRY(decode_file(s->env, c, f->path, rows, stored, n, ice__file_evolved(s, f, stored, n), path, err));
    *own = *values = open_chunk(path, rows);
    if (!*own)
        rc = ice_fail(err, ICE_IO, "cache file %s: not readable right after it was written", path);
out:
    if (c)
        ice__engine_release(s->env, c);
    ice_arena_free(a);
    return rc;
}

static ice_code write_index(const ice__file *f, const ice_tabledef *def, const ice_key *k,
                            const ice_chunkfile *values, const char *path, ice_error *err)
{
    uint32_t rows = (uint32_t)f->entry.file.record_count;
    ice_keypair *pairs = malloc((rows ? rows : 1) * sizeof *pairs);
    ice_vec *vecs = calloc(k->ncols, sizeof *vecs);
    ice_vec_const *mem = calloc(k->ncols, sizeof *mem);
    ice_value *row = calloc(k->ncols, sizeof *row);
    size_t n = 0;
    ice_code rc = pairs && vecs && mem && row ? ICE_OK : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < k->ncols; i++)
        ice__file_vec(f, values, &def->cols[k->cols[i]], &mem[i], &vecs[i]);
    for (uint32_t r = 0; rc == ICE_OK && r < rows; r++) {
        bool null = false;
        for (size_t i = 0; i < k->ncols; i++) {
            ice_vec_get(&vecs[i], r, &row[i]);
            null |= row[i].null;
        }
        if (!null || k->nulls_not_distinct)
            pairs[n++] = ice_keypair_of(ice_key_hash(row, k->ncols), r);
    }
    if (rc == ICE_OK)
        rc = ice_keyindex_write(path, pairs, n, err);
    free(pairs), free(vecs), free(mem), free(row);
    return rc;
}

static ice_keyindex *open_index(const char *path, uint64_t rows)
{
    ice_keyindex *k = NULL;
    if (ice_keyindex_open(path, &k, NULL) != ICE_OK)
        return NULL;
    if (ice_keyindex_count(k) <= rows)
        return k;
    ice_keyindex_close(k);
    return NULL;
}

/* Opens or builds index and values; what another thread was faster with is dropped by the caller. */
static ice_code open_key(ice_published *s, ice__file *f, ice__cached *c, const ice_tabledef *def,
                         const ice_keys *keys, size_t key, cached_key *k, ice_chunkfile **values,
                         ice_error *err)
{
    ice_arena *a = ice_arena_create();
    char *path = a ? ice_arena_printf(a, "%s.%08x.keys", c->path, k->hash) : NULL;
    char *index = a ? ice_arena_printf(a, "%s.%08x.idx", c->path, k->hash) : NULL;
    ice_column *cols;
    size_t ncols;
    ice_code rc = index && path ? ICE_OK : ice_fail_nomem(err);
    if (rc != ICE_OK)
        goto out;
    ICE_TRY(value_columns(def, keys, key, a, &cols, &ncols, err));
    ICE_TRY(key_values(s, f, cols, ncols, path, &k->values, values, err));
    k->index = open_index(index, (uint64_t)f->entry.file.record_count);
    if (!k->index) {
        ICE_TRY(make_cache_dir(s->env, err));
        ICE_TRY(write_index(f, def, &keys->keys[key], *values, index, err));
        ICE_TRY(ice_keyindex_open(index, &k->index, err));
    }
out:
    ice_arena_free(a);
    return rc;
}

static cached_key *known_key(ice__cached *c, uint32_t hash)
{
    pthread_mutex_lock(&c->lock);
    cached_key *k = c->keys;
    while (k && k->hash != hash)
        k = k->next;
    pthread_mutex_unlock(&c->lock);
    return k;
}

static cached_key *publish_key(ice__cached *c, cached_key *k)
{
    pthread_mutex_lock(&c->lock);
    cached_key *other = c->keys;
    while (other && other->hash != k->hash)
        other = other->next;
    if (!other) {
        k->next = c->keys;
        c->keys = k;
    }
    pthread_mutex_unlock(&c->lock);
    return other;
}

static void key_free(cached_key *k)
{
    ice_keyindex_close(k->index);
    ice_chunkfile_close(k->values);
    free(k);
}

/* Values of a key known already: its own file, or the table's chunk file. */
static ice_code known_values(ice_published *s, ice__file *f, const ice_tabledef *def, const ice_keys *keys,
                             size_t key, cached_key *k, ice_chunkfile **values, ice_error *err)
{
    ice_column *cols;
    size_t n;
    ice_code rc;
    *values = k->values;
    if (k->values)
        return ICE_OK;
    ice__cached *c = f->cached;
    pthread_mutex_lock(&c->lock);
    *values = c->chunk;
    pthread_mutex_unlock(&c->lock);
    /* A chunk file that came back with fewer columns is rare; asking again sorts it out. */
    ice_arena *a = *values && k->index ? NULL : ice_arena_create();
    if (!a)
        return *values ? ICE_OK : ice_fail_nomem(err);
    ICE_TRY(value_columns(def, keys, key, a, &cols, &n, err));
    ICE_TRY(ice__file_chunk(s, f, cols, n, values, err));
out:
    ice_arena_free(a);
    return rc;
}

ice_code ice__file_key(ice_published *s, ice__file *f, const ice_tabledef *def, const ice_keys *keys,
                       size_t key, ice_keyindex **index, ice_chunkfile **values, ice_error *err)
{
    ice__cached *c;
    ice_code rc;
    ICE_TRY(file_cached(s, f, &c, err));
    uint32_t hash = key_name(def, keys, key);
    cached_key *k = known_key(c, hash);
    if (k) {
        ICE_TRY(known_values(s, f, def, keys, key, k, values, err));
        *index = k->index;
        return ICE_OK;
    }
    k = calloc(1, sizeof *k);
    if (!k)
        return ice_fail_nomem(err);
    k->hash = hash;
    rc = open_key(s, f, c, def, keys, key, k, values, err);
    if (rc != ICE_OK) {
        key_free(k);
        return rc;
    }
    *index = k->index;
    cached_key *other = publish_key(c, k);
    if (other) {
        key_free(k);
        *index = other->index;
        rc = known_values(s, f, def, keys, key, other, values, err);
    }
out:
    return rc;
}

/* ---- orders ---- */

static cached_order *known_order(ice__cached *c, int32_t field_id)
{
    pthread_mutex_lock(&c->lock);
    cached_order *o = c->orders;
    while (o && o->field_id != field_id)
        o = o->next;
    pthread_mutex_unlock(&c->lock);
    return o;
}

/* Adds it, unless another thread was faster. */
static cached_order *publish_order(ice__cached *c, cached_order *o)
{
    pthread_mutex_lock(&c->lock);
    cached_order *other = c->orders;
    while (other && other->field_id != o->field_id)
        other = other->next;
    if (!other) {
        o->next = c->orders;
        c->orders = o;
    }
    pthread_mutex_unlock(&c->lock);
    if (other) {
        ice_chunkfile_close(o->positions);
        free(o);
    }
    return other ? other : o;
}

/* Positions as a file has them; false: there is no such file, or it is not one of these rows. */
static bool open_positions(const char *path, uint32_t rows, cached_order *o)
{
    ice_vec v;
    o->positions = open_chunk(path, rows);
    if (!o->positions)
        return false;
    bool good = ice_chunkfile_column(o->positions, o->field_id, &v) && v.type.kind == ICE_T_INT && v.data && !v.validity;
    o->order = v.data;
    for (uint32_t i = 0; good && i < rows; i++)
        good = o->order[i] < rows;
    if (!good) {
        ice_chunkfile_close(o->positions);
        o->positions = NULL;
        o->order = NULL;
    }
    return good;
}

static ice_code make_order(const ice_env *env, const ice__cached *c, const ice_vec *v, uint32_t rows, cached_order *o,
                           ice_error *err)
{
    char *path = NULL;
    ice_code rc = ICE_OK;
    if (ice__vec_is_sorted(v, rows))
        return ICE_OK;
    if (asprintf(&path, "%s.%d.order", c->path, o->field_id) < 0)
        return ice_fail_nomem(err);
    if (!open_positions(path, rows, o)) {
        ICE_TRY(make_cache_dir(env, err));
        ICE_TRY(ice__order_write(v, rows, o->field_id, path, err));
        if (!open_positions(path, rows, o))
            rc = ice_fail(err, ICE_IO, "cache file %s: not readable right after it was written", path);
    }
out:
    free(path);
    return rc;
}

ice_code ice__file_order(ice_published *s, ice__file *f, int32_t field_id, const ice_vec *v, const uint32_t **out,
                         ice_error *err)
{
    ice__cached *c;
    ice_code rc;
    ICE_TRY(file_cached(s, f, &c, err));
    cached_order *o = known_order(c, field_id);
    if (!o) {
        if (!(o = calloc(1, sizeof *o)))
            return ice_fail_nomem(err);
        o->field_id = field_id;
        rc = make_order(s->env, c, v, (uint32_t)f->entry.file.record_count, o, err);
        if (rc != ICE_OK) {
            free(o);
            return rc;
        }
        o = publish_order(c, o);
    }
    *out = o->order;
out:
    return rc;
}

/* ---- filling the cache while the data is at hand ---- */

static ice_code warm_keys(const ice__file *f, const char *path, const ice_tabledef *def, const ice_keys *keys,
                          const ice_chunkfile *chunk, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < keys->n; i++) {
        char *index = NULL;
        if (asprintf(&index, "%s.%08x.idx", path, key_name(def, keys, i)) < 0)
            return ice_fail_nomem(err);
        rc = write_index(f, def, &keys->keys[i], chunk, index, err);
        free(index);
    }
    return rc;
}

ice_code ice__cache_warm(ice_env *env, ice_engine_conn *c, ice_str path, ice_str base, uint64_t rows,
                         const ice_tabledef *def, const ice_keys *keys, const ice_column *cols, size_t ncols,
                         ice_error *err)
{
    ice__file f = {.entry.file.record_count = (int64_t)rows};
    ice_chunkfile *chunk = NULL;
    char *stem = NULL, *name = NULL;
    ice_code rc = ICE_OK;
    if (asprintf(&stem, "%s/%.*s", env->cache_dir, ICE_PRI(base)) < 0)
        return ice_fail_nomem(err);
    if (asprintf(&name, "%s.chunk", stem) < 0) {
        name = NULL;
        rc = ice_fail_nomem(err);
        goto out;
    }
    ICE_TRY(decode_file(env, c, path, rows, cols, ncols, false, name, err));
    ICE_TRY(ice_chunkfile_open(name, &chunk, err));
    ICE_TRY(warm_keys(&f, stem, def, keys, chunk, err));
out:
    ice_chunkfile_close(chunk);
    free(name);
    free(stem);
    return rc;
}
