/* Filling the cache while the data is at hand: whoever writes a data file writes what its readers look up in.
 *
 * The cache is a help, not a duty: what cannot be written now is built on first need, or read from the
 * Parquet file. */
#include <stdio.h>
#include <stdlib.h>

#include "table/cache_int.h"

static ice_code forgive(ice_code rc)
{
    return rc == ICE_DISK_FULL || rc == ICE_IO || rc == ICE_CACHE ? ICE_OK : rc;
}

static ice_code warm_keys(ice_env *env, const ice__file *f, const char *stem, const ice__warm *w,
                          const ice__values *values, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < w->keys->n; i++) {
        char *path = NULL;
        if (asprintf(&path, "%s.%08x.idx", stem, ice__key_name(w->def, w->keys, i)) < 0)
            return ice_fail_nomem(err);
        rc = ice__write_index(env, f, w->def, &w->keys->keys[i], values, path, err);
        free(path);
    }
    return rc;
}

static ice_code warm_file(ice_env *env, ice_engine_conn *c, ice_str path, const char *stem, uint64_t rows,
                          const ice__warm *w, const ice_column *cols, size_t ncols, ice_error *err)
{
    ice__file f = {.entry.file.record_count = (int64_t)rows};
    ice__values values = {.cold = !w->resident};
    char *form = NULL;
    ice_code rc;
    if (asprintf(&form, "%s.%s", stem, w->resident ? "chunk" : "rows") < 0)
        return ice_fail_nomem(err);
    ICE_TRY(ice__decode_file(env, c, path, rows, cols, ncols, false, !w->resident, form, err));
    if (w->resident)
        ICE_TRY(ice_chunkfile_open(form, &values.chunk, err));
    else
        ICE_TRY(ice_rowfile_open(form, &values.rows, err));
    ICE_TRY(warm_keys(env, &f, stem, w, &values, err));
out:
    ice_chunkfile_close(values.chunk);
    ice_rowfile_close(values.rows);
    free(form);
    return rc;
}

ice_code ice__cache_warm(ice_env *env, ice_engine_conn *c, ice_str path, ice_str base, uint64_t rows,
                         const ice__warm *w, const ice_column *cols, size_t ncols, ice_error *err)
{
    ice__cached *cached = ice__cached_get(env, base);
    if (!cached)
        return ice_fail_nomem(err);
    ice__cached_use(env, cached); /* until all of it is there */
    ice_code rc = warm_file(env, c, path, cached->path, rows, w, cols, ncols, err);
    ice__cached_unref(cached);
    return forgive(rc);
}

static ice_code warm_rows(ice_published *s, ice__file *f, const ice_tabledef *def, ice_error *err)
{
    ice__cached *c;
    ice__values values;
    char *path = NULL;
    ice_code rc;
    ICE_TRY(ice__file_values(s, f, def->cols, def->ncols, &values, err));
    if (values.chunk || values.rows)
        return ICE_OK;
    ICE_TRY(ice__file_cached(s, f, &c, err));
    if (asprintf(&path, "%s.rows", c->path) < 0)
        return ice_fail_nomem(err);
    rc = ice__decode_whole(s, f, def->cols, def->ncols, true, path, err);
    free(path);
out:
    return rc;
}

ice_code ice__file_warm(ice_published *s, ice__file *f, const ice_tabledef *def, const ice_keys *keys,
                        ice_error *err)
{
    ice_keyindex *index;
    ice__values values;
    ice_code rc = warm_rows(s, f, def, err);
    for (size_t k = 0; k < keys->n && rc == ICE_OK; k++)
        rc = ice__file_key(s, f, def, keys, k, &index, &values, err);
    return forgive(rc);
}
