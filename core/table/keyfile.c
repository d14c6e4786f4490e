/* Key indexes: for each key of a data file the positions of its rows by the key's hash, and where the values
 * of the key are, for whoever looks up compares them. */
#include <stdio.h>
#include <stdlib.h>

#include "table/cache_int.h"

enum { SHED_ROWS = 65536 };

uint32_t ice__key_name(const ice_tabledef *def, const ice_keys *keys, size_t key)
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

/* ---- writing ---- */

/* A key's values in the rows of a file, one row after another. */
typedef struct key_reader {
    const ice__file *file;
    const ice__values *values;
    size_t n;
    ice_column *cols;
    ice_vec *vecs; /* of columns that have been looked at */
    ice_vec_const *mem;
    ice_value *row;
} key_reader;

static ice_code reader_init(key_reader *r, const ice_tabledef *def, const ice_key *k, ice_arena *a,
                            ice_error *err)
{
    r->n = k->ncols;
    r->cols = ICE_NEW_N(a, ice_column, r->n + 1);
    r->vecs = ICE_NEW_N(a, ice_vec, r->n + 1);
    r->mem = ICE_NEW_N(a, ice_vec_const, r->n + 1);
    r->row = ICE_NEW_N(a, ice_value, r->n + 1);
    if (!r->cols || !r->vecs || !r->mem || !r->row)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < r->n; i++) {
        r->cols[i] = def->cols[k->cols[i]];
        if (!r->values->cold)
            ice__file_vec(r->file, r->values->chunk, &r->cols[i], &r->mem[i], &r->vecs[i]);
    }
    return ICE_OK;
}

static ice_code read_key(key_reader *r, uint32_t pos, ice_error *err)
{
    if (r->values->cold)
        return ice__values_at(r->file, r->values, pos, r->cols, r->n, r->row, err);
    for (size_t i = 0; i < r->n; i++)
        ice_vec_get(&r->vecs[i], pos, &r->row[i]);
    return ICE_OK;
}

/* Hashes of a file's keys and their places, row after row. */
static ice_code hash_rows(key_reader *r, bool nulls, ice_keypair *pairs, size_t *n, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (uint32_t pos = 0; rc == ICE_OK && pos < r->file->entry.file.record_count; pos++) {
        bool null = false;
        rc = read_key(r, pos, err);
        for (size_t i = 0; i < r->n; i++)
            null |= r->row[i].null;
        if (rc == ICE_OK && (!null || nulls))
            pairs[(*n)++] = ice_keypair_of(ice_key_hash(r->row, r->n), pos);
        if (pos % SHED_ROWS == SHED_ROWS - 1)
            ice__values_shed(r->values);
    }
    ice__values_shed(r->values);
    return rc;
}

ice_code ice__write_index(ice_env *env, const ice__file *f, const ice_tabledef *def, const ice_key *k,
                          const ice__values *values, const char *path, ice_error *err)
{
    size_t rows = (size_t)f->entry.file.record_count, n = 0;
    ice_arena *a = ice_arena_create();
    ice_keypair *pairs = malloc((rows + 1) * sizeof *pairs);
    key_reader r = {.file = f, .values = values};
    ice_code rc = pairs && a ? reader_init(&r, def, k, a, err) : ice_fail_nomem(err);
    if (rc == ICE_OK)
        rc = hash_rows(&r, k->nulls_not_distinct, pairs, &n, err);
    if (rc == ICE_OK)
        rc = ice_keyindex_write(path, pairs, n, err);
    if (rc == ICE_OK)
        ice__cache_wrote(env, path);
    free(pairs);
    ice_arena_free(a);
    return rc;
}

/* ---- opening ---- */

/* Rows of the key's columns alone, made where there are none. */
static ice_code own_rows(ice_published *s, ice__file *f, const ice_column *cols, size_t ncols,
                         const char *path, ice_rowfile **out, ice_error *err)
{
    uint64_t rows = (uint64_t)f->entry.file.record_count;
    ice_engine_conn *c = NULL;
    ice_column *stored;
    ice_arena *a = NULL;
    size_t n = 0;
    ice_code rc = ICE_OK;
    if ((*out = ice__open_rows(path, rows)) != NULL)
        return ICE_OK;
    if (!(a = ice_arena_create()) || !(stored = ICE_NEW_N(a, ice_column, ncols + 1))) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < ncols; i++)
        if (ice__file_has(s, f, cols[i].field_id))
            stored[n++] = cols[i];
    ICE_TRY(ice__file_prove(f, stored, n, err));
    ICE_TRY(ice__engine_acquire(s->env, NULL, 0, &c, err));
    ICE_TRY(ice__decode_file(s->env, c, f->path, rows, stored, n, ice__file_evolved(s, f, stored, n), true,
                             path, err));
    if (!(*out = ice__open_rows(path, rows)))
        rc = ice_fail(err, ICE_IO, "cache file %s: not readable right after it was written", path);
out:
    if (c)
        ice__engine_release(s->env, c);
    ice_arena_free(a);
    return rc;
}

/* Where the key's values are: columns, rows, or rows of the key's own. */
static ice_code key_values(ice_published *s, ice__file *f, ice__cached *c, const ice_tabledef *def,
                           const ice_keys *keys, size_t key, ice__cached_key *k, ice__values *out,
                           ice_error *err)
{
    ice_arena *a = NULL;
    ice_rowfile *own = NULL;
    ice_column *cols;
    char *path;
    size_t n;
    ice_code rc = ICE_OK;
    *out = (ice__values){.rows = __atomic_load_n(&k->own, __ATOMIC_ACQUIRE), .cold = true};
    if (out->rows && !ice__published_resident(s))
        return ICE_OK;
    if (!(a = ice_arena_create()) || !(path = ice_arena_printf(a, "%s.%08x.keys", c->path, k->hash))) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    ICE_TRY(value_columns(def, keys, key, a, &cols, &n, err));
    ICE_TRY(ice__file_values(s, f, cols, n, out, err));
    if (out->chunk || out->rows)
        goto out;
    ICE_TRY(own_rows(s, f, cols, n, path, &own, err));
    pthread_mutex_lock(&c->lock);
    if (!k->own) {
        __atomic_store_n(&k->own, own, __ATOMIC_RELEASE);
        own = NULL;
    }
    out->rows = k->own;
    pthread_mutex_unlock(&c->lock);
out:
    ice_rowfile_close(own);
    ice_arena_free(a);
    return rc;
}

static ice_keyindex *open_index(const char *path, uint64_t rows)
{
    ice_keyindex *k = NULL;
    if (ice_keyindex_open(path, &k, NULL) != ICE_OK)
        return NULL;
    if (ice_keyindex_count(k) <= rows) {
        ice__cache_used(path);
        return k;
    }
    ice_keyindex_close(k);
    return NULL;
}

static ice_code open_key(ice_published *s, ice__file *f, ice__cached *c, const ice_tabledef *def,
                         const ice_keys *keys, size_t key, ice__cached_key *k, ice__values *values,
                         ice_error *err)
{
    char *path = NULL;
    ice_code rc;
    ice__cached_use(s->env, c);
    ICE_TRY(key_values(s, f, c, def, keys, key, k, values, err));
    if (asprintf(&path, "%s.%08x.idx", c->path, k->hash) < 0) {
        path = NULL;
        return ice_fail_nomem(err);
    }
    k->index = open_index(path, (uint64_t)f->entry.file.record_count);
    if (!k->index) {
        ICE_TRY(ice__cache_dir_make(s->env, err));
        ICE_TRY(ice__write_index(s->env, f, def, &keys->keys[key], values, path, err));
        ICE_TRY(ice_keyindex_open(path, &k->index, err));
    }
out:
    free(path);
    return rc;
}

static ice__cached_key *known_key(ice__cached *c, uint32_t hash)
{
    pthread_mutex_lock(&c->lock);
    ice__cached_key *k = c->keys;
    while (k && k->hash != hash)
        k = k->next;
    pthread_mutex_unlock(&c->lock);
    return k;
}

static ice__cached_key *publish_key(ice__cached *c, ice__cached_key *k)
{
    pthread_mutex_lock(&c->lock);
    ice__cached_key *other = c->keys;
    while (other && other->hash != k->hash)
        other = other->next;
    if (!other) {
        k->next = c->keys;
        c->keys = k;
    }
    pthread_mutex_unlock(&c->lock);
    return other;
}

void ice__cached_keys_free(ice__cached_key *k)
{
    for (ice__cached_key *next; k; k = next) {
        next = k->next;
        ice_keyindex_close(k->index);
        ice_rowfile_close(k->own);
        free(k);
    }
}

/* What another thread was faster with is dropped. */
ice_code ice__file_key(ice_published *s, ice__file *f, const ice_tabledef *def, const ice_keys *keys,
                       size_t key, ice_keyindex **index, ice__values *values, ice_error *err)
{
    ice__cached *c;
    ice_code rc;
    ICE_TRY(ice__file_cached(s, f, &c, err));
    uint32_t hash = ice__key_name(def, keys, key);
    ice__cached_key *k = known_key(c, hash);
    if (!k) {
        if (!(k = calloc(1, sizeof *k)))
            return ice_fail_nomem(err);
        k->hash = hash;
        rc = open_key(s, f, c, def, keys, key, k, values, err);
        ice__cached_key *other = rc == ICE_OK ? publish_key(c, k) : NULL;
        if (rc != ICE_OK || other)
            ice__cached_keys_free(k);
        if (rc != ICE_OK || !other) {
            *index = rc == ICE_OK ? k->index : NULL;
            return rc;
        }
        k = other;
    }
    *index = k->index;
    ICE_TRY(key_values(s, f, c, def, keys, key, k, values, err));
out:
    return rc;
}
