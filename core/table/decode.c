/* Parquet files as forms of the cache: read through the engine, written in batches. */
#include <stdlib.h>

#include "table/cache_int.h"

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

ice_code ice__decode_file(ice_env *env, ice_engine_conn *c, ice_str path, uint64_t rows,
                          const ice_column *cols, size_t ncols, bool evolved, bool as_rows, const char *to,
                          ice_error *err)
{
    ice_arena *a = ice_arena_create();
    decode d = {.ncols = ncols, .expected = rows, .what = path};
    ice_buf sql = {0};
    ice_code rc = a ? ICE_OK : ice_fail_nomem(err);
    if (!a)
        goto out;
    ICE_TRY(ice__cache_dir_make(env, err));
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
    rc = (as_rows ? ice_rowfile_write : ice_chunkfile_write)(to, cols, ncols, decode_next, &d, err);
    if (rc == ICE_OK)
        ice__cache_wrote(env, to);
out:
    if (rc != ICE_OK)
        ice__read_failed(err, path);
    ice_result_close(d.result);
    ice_buf_free(&sql);
    ice_arena_free(a);
    return rc;
}

bool ice__file_has(const ice_published *s, const ice__file *f, int32_t field_id)
{
    const ice_schema *schema = f->schema_id >= 0 ? ice_metadata_schema(s->meta, f->schema_id) : NULL;
    if (field_id == ICE_FIELD_ROW_START)
        return f->has_start && !f->fixed_start;
    if (schema)
        return ice_schema_field(schema, field_id) != NULL;
    if (s->def->foreign) /* its statistics may leave columns out; what is not there reads as its initial value */
        return true;
    return f->entry.file.ncolumns == 0 || ice_data_file_column(&f->entry.file, field_id);
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
        if (schema->fields[i].type.kind != ICE_T_NONE && ice__file_has(s, f, schema->fields[i].id))
            column_of_field(&schema->fields[i], &(*out)[k++]);
    for (size_t i = 0; !schema && i < ncols; i++)
        if (!ice__is_system(cols[i].field_id) && ice__file_has(s, f, cols[i].field_id))
            (*out)[k++] = cols[i];
    if (!schema && ice__file_has(s, f, ICE_FIELD_ROW_START))
        (*out)[k++] = *ice__system_column(ICE_FIELD_ROW_START);
    *n = k;
    return ICE_OK;
}

ice_code ice__decode_whole(ice_published *s, const ice__file *f, const ice_column *cols, size_t ncols,
                           bool as_rows, const char *to, ice_error *err)
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
    ICE_TRY(ice__file_prove(f, want, n, err));
    ICE_TRY(ice__engine_acquire(s->env, NULL, 0, &c, err));
    rc = ice__decode_file(s->env, c, f->path, (uint64_t)f->entry.file.record_count, want, n, evolved, as_rows,
                          to, err);
out:
    if (c)
        ice__engine_release(s->env, c);
    ice_arena_free(a);
    return rc;
}
