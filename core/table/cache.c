/* The cache's forms of a data file: its columns where they are kept decoded, else its rows, and for each key
 * an index. All of it can be made again from the Parquet file, so whatever is missing or broken is.
 *
 *   <cache_dir>/<base>.chunk            columns
 *   <cache_dir>/<base>.<8 hex>.idx      key hash -> position
 *   <cache_dir>/<base>.rows             rows, of tables that are not kept decoded
 *   <cache_dir>/<base>.<8 hex>.keys     rows of the columns that a look-up needs, where there are no rows
 *   <cache_dir>/<base>.<field>.order    positions in the order of a column, where the rows are not in it
 *
 * Whoever makes a data file makes them too (warm.c); a reader that finds no index, or no columns, builds
 * them. Nothing here waits for the engine with a lock held: a file is looked for under its lock, built
 * without, and looked for again. */
#include <stdio.h>
#include <stdlib.h>

#include "table/cache_int.h"

/* ---- columns ---- */

ice_chunkfile *ice__open_chunk(const char *path, uint64_t rows)
{
    ice_chunkfile *c = NULL;
    if (ice_chunkfile_open(path, &c, NULL) != ICE_OK)
        return NULL;
    if (ice_chunkfile_rows(c) == rows) {
        ice__cache_used(path);
        return c;
    }
    ice_chunkfile_close(c);
    return NULL;
}

static bool chunk_suffices(const ice_published *s, const ice__file *f, const ice_chunkfile *c,
                           const ice_column *cols, size_t ncols)
{
    for (size_t i = 0; i < ncols; i++)
        if (!ice_chunkfile_has(c, cols[i].field_id) && ice__file_has(s, f, cols[i].field_id))
            return false;
    return true;
}

/* The columns, and what readers take of a chunk unasked. */
static bool chunk_good(ice_chunkfile *c, const ice_column *cols, size_t ncols)
{
    bool good = ice_chunkfile_good(c, ICE_FIELD_ROW_START);
    for (size_t i = 0; i < ncols && good; i++)
        good = ice_chunkfile_good(c, cols[i].field_id);
    return good;
}

/* The open chunk file, or the one on disk, if it has the columns, undamaged. */
static ice_chunkfile *find_chunk(ice_published *s, ice__file *f, ice__cached *c, const char *path,
                                 const ice_column *cols, size_t ncols)
{
    ice_chunkfile *found = NULL;
    pthread_mutex_lock(&c->lock);
    if (!c->chunk || !chunk_suffices(s, f, c->chunk, cols, ncols)) {
        ice_chunkfile *fresh = ice__open_chunk(path, (uint64_t)f->entry.file.record_count);
        bool useful = fresh && chunk_suffices(s, f, fresh, cols, ncols) &&
                      (!c->chunk || c->nretired < ICE__MAX_RETIRED);
        if (useful && c->chunk)
            c->retired[c->nretired++] = c->chunk;
        if (useful)
            found = c->chunk = fresh;
        else
            ice_chunkfile_close(fresh);
    } else {
        found = c->chunk;
    }
    if (found && !chunk_good(found, cols, ncols)) {
        ice__chunk_lost(c, path);
        found = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

/* The usual case, for rows read one by one. */
static ice_chunkfile *open_already(ice_published *s, ice__file *f, ice__cached *c, const ice_column *cols,
                                   size_t ncols)
{
    pthread_mutex_lock(&c->lock);
    ice_chunkfile *found =
        c->chunk && chunk_suffices(s, f, c->chunk, cols, ncols) && chunk_good(c->chunk, cols, ncols) ? c->chunk : NULL;
    pthread_mutex_unlock(&c->lock);
    return found;
}

ice_code ice__file_chunk(ice_published *s, ice__file *f, const ice_column *cols, size_t ncols,
                         ice_chunkfile **out, ice_error *err)
{
    ice__cached *c;
    char *path = NULL;
    ice_code rc;
    ICE_TRY(ice__file_cached(s, f, &c, err));
    if ((*out = open_already(s, f, c, cols, ncols)) != NULL)
        return ICE_OK;
    if (asprintf(&path, "%s.chunk", c->path) < 0) {
        path = NULL;
        return ice_fail_nomem(err);
    }
    ice__cached_use(s->env, c);
    *out = find_chunk(s, f, c, path, cols, ncols);
    if (!*out) {
        ICE_TRY(ice__decode_whole(s, f, cols, ncols, false, path, err));
        *out = find_chunk(s, f, c, path, cols, ncols);
        if (!*out)
            rc = ice_fail(err, ICE_IO, "cache file %s: not readable right after it was written", path);
    }
out:
    free(path);
    return rc;
}

/* ---- rows ---- */

ice_rowfile *ice__open_rows(const char *path, uint64_t rows)
{
    ice_rowfile *f = NULL;
    if (ice_rowfile_open(path, &f, NULL) != ICE_OK)
        return NULL;
    if (ice_rowfile_rows(f) == rows) {
        ice__cache_used(path);
        return f;
    }
    ice_rowfile_close(f);
    return NULL;
}

/* Opened once: whoever writes one of them writes all the columns that the Parquet file has. */
static void find_values(ice__file *f, ice__cached *c, ice__values *out)
{
    uint64_t rows = (uint64_t)f->entry.file.record_count;
    char *path = NULL;
    pthread_mutex_lock(&c->lock);
    if (!c->rows && !c->loose && asprintf(&path, "%s.chunk", c->path) >= 0) {
        if (ice_chunkfile_open_loose(path, &c->loose, NULL) == ICE_OK &&
            ice_chunkfile_rows(c->loose) != rows) {
            ice_chunkfile_close(c->loose);
            c->loose = NULL;
        }
        if (c->loose)
            ice__cache_used(path);
        memcpy(path + strlen(c->path), ".rows", sizeof ".rows");
        c->rows = c->loose ? NULL : ice__open_rows(path, rows);
        free(path);
    }
    *out = (ice__values){.chunk = c->loose, .rows = c->rows};
    pthread_mutex_unlock(&c->lock);
}

static bool has_value(const ice__values *v, int32_t field_id)
{
    return v->chunk ? ice_chunkfile_has(v->chunk, field_id) : v->rows && ice_rowfile_has(v->rows, field_id);
}

/* A help, not a duty: without them the engine reads the rows. */
static void make_rows_again(ice_published *s, ice__file *f, const ice__cached *c, const ice_column *cols, size_t ncols)
{
    char *path = NULL;
    ice_error ignored = {0};
    if (asprintf(&path, "%s.rows", c->path) < 0)
        return;
    if (ice__decode_whole(s, f, cols, ncols, true, path, &ignored) != ICE_OK)
        ice_warn("cache file %s could not be made again: %s", path, ignored.message);
    free(path);
}

ice_code ice__file_values(ice_published *s, ice__file *f, const ice_column *cols, size_t ncols,
                          ice__values *out, ice_error *err)
{
    ice__cached *c;
    ice_code rc;
    *out = (ice__values){0};
    if (ice__published_resident(s))
        return ice__file_chunk(s, f, cols, ncols, &out->chunk, err);
    ICE_TRY(ice__file_cached(s, f, &c, err));
    ice__cached_use(s->env, c);
    find_values(f, c, out);
    if (!out->chunk && !out->rows && __atomic_exchange_n(&c->lost, false, __ATOMIC_RELAXED)) {
        make_rows_again(s, f, c, cols, ncols);
        find_values(f, c, out);
    }
    for (size_t i = 0; i < ncols; i++)
        if (!has_value(out, cols[i].field_id) && ice__file_has(s, f, cols[i].field_id))
            *out = (ice__values){0};
    out->cold = true;
out:
    return rc;
}

void ice__values_shed(const ice__values *v)
{
    if (v->cold && v->chunk)
        ice_chunkfile_shed(v->chunk);
    if (v->rows)
        ice_rowfile_shed(v->rows);
}

static void absent_value(const ice__file *f, const ice_column *col, ice_value *out)
{
    *out = col->has_initial ? col->initial : (ice_value){.kind = col->type.kind, .null = true};
    if (col->field_id == ICE_FIELD_ROW_START && f->fixed_start)
        *out = (ice_value){.kind = ICE_T_TIMESTAMPTZ, .i = f->min_start};
}

ice_code ice__values_at(const ice__file *f, const ice__values *v, uint32_t pos, const ice_column *cols,
                        size_t ncols, ice_value *out, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < ncols && rc == ICE_OK; i++) {
        absent_value(f, &cols[i], &out[i]);
        if (v->chunk)
            rc = ice_chunkfile_value(v->chunk, cols[i].field_id, pos, &out[i], err);
    }
    return rc == ICE_OK && v->rows ? ice_rowfile_read(v->rows, pos, cols, ncols, out, err) : rc;
}
