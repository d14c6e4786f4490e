/* Data files from queries: Parquet through the engine, made durable, described for a manifest. */
#include "table/flush_int.h"

#include <stdlib.h>

enum { BOUND_WIDTH = 16 };

/* ---- metrics ---- */

static ice_code put_bound(const ice_value *v, ice_type t, bool upper, ice_arena *a, ice_str *out,
                          ice_error *err)
{
    ice_buf b = {0};
    ice_value cut;
    bool has = true;
    ice_code rc;
    *out = ICE_STR_NONE;
    ICE_TRY(ice_bound_truncate(v, upper, BOUND_WIDTH, a, &cut, &has, err));
    if (!has)
        return ICE_OK;
    ICE_TRY(ice_single_to_binary(&cut, t, &b, err));
    *out = ice_arena_str(a, b.data ? ice_buf_str(&b) : ICE_STR(""));
    if (!out->ptr)
        rc = ice_fail_nomem(err);
out:
    ice_buf_free(&b);
    return rc;
}

static ice_code metrics(const ice_column *c, const ice_column_stats *s, uint64_t rows, ice_arena *a,
                        ice_file_column *out, ice_error *err)
{
    ice_code rc = ICE_OK;
    *out = (ice_file_column){.field_id = s->field_id,
                             .size = (int64_t)s->size_bytes,
                             .values = (int64_t)rows,
                             .nulls = s->null_count,
                             .nans = s->nan_count};
    if (s->has_bounds) {
        ICE_TRY(put_bound(&s->lower, c->type, false, a, &out->lower, err));
        ICE_TRY(put_bound(&s->upper, c->type, true, a, &out->upper, err));
    }
    /* One bound alone prunes nothing here, and readers differ in what they make of it. */
    if (!out->upper.ptr)
        out->lower = ICE_STR_NONE;
out:
    return rc;
}

static int by_field(const void *x, const void *y)
{
    int32_t a = ((const ice_file_column *)x)->field_id, b = ((const ice_file_column *)y)->field_id;
    return (a > b) - (a < b);
}

ice_code ice__data_file_of(const ice_env *env, ice_str key, const ice_column *cols,
                           const ice_parquet_info *info, ice_arena *a, ice_data_file *out, ice_error *err)
{
    ice_str path;
    ice_code rc;
    *out = ice_data_file_init();
    ICE_TRY(ice_store_location(env->store, a, key, &out->path, err));
    out->format = ICE_STR("parquet");
    out->record_count = (int64_t)info->rows;
    out->size = (int64_t)info->bytes;
    out->ncolumns = info->ncols;
    out->columns = ICE_NEW_N(a, ice_file_column, info->ncols + 1);
    if (!out->columns)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < info->ncols; i++)
        ICE_TRY(metrics(&cols[i], &info->cols[i], info->rows, a, &out->columns[i], err));
    qsort(out->columns, info->ncols, sizeof *out->columns, by_field);
    ICE_TRY(ice_store_path(env->store, a, key, &path, err));
    ICE_TRY(ice__sums_make(path, a, out, err));
out:
    return rc;
}

/* ---- writing ---- */

void ice__put_reading(const ice__reading *r, ice_str where, ice_str order, ice_buf *b)
{
    ice_buf_puts(b, "SELECT * FROM (");
    ice_buf_put_str(b, ice_buf_str(&r->sql));
    ice_buf_puts(b, ") AS r(");
    for (size_t i = 0; i < r->ncols; i++) {
        ice_buf_puts(b, i ? ", " : "");
        ice_buf_put_ident(b, r->cols[i].name);
    }
    ice_buf_puts(b, ")");
    if (where.len) {
        ice_buf_puts(b, " WHERE ");
        ice_buf_put_str(b, where);
    }
    if (order.len) {
        ice_buf_puts(b, " ORDER BY ");
        ice_buf_put_str(b, order);
    }
}

static size_t without_lineage(const ice__output *o)
{
    size_t n = o->ncols;
    while (n > 0 && ice__is_lineage(o->cols[n - 1].field_id))
        n--;
    return n;
}

static ice_code check_count(const ice__output *o, const ice_parquet_info *info, ice_str key, ice_error *err)
{
    if (info->rows == o->rows || o->filtered)
        return ICE_OK;
    return ice_fail(err, ICE_INTERNAL,
                    "%.*s: %llu rows were written, %llu were expected; nothing was published", ICE_PRI(key),
                    (unsigned long long)info->rows, (unsigned long long)o->rows);
}

/* DuckDB's DELTA_BINARY_PACKED writes differences of 32-bit values in up to 33 bits, which Arrow refuses to
 * read (the Parquet format wants them to wrap). It takes a column that spans more than 2^31; version 1 pages
 * have no deltas. */
static bool unreadable_deltas(const ice_parquet_info *info, const ice_column *cols)
{
    for (size_t i = 0; i < info->ncols; i++) {
        const ice_column_stats *s = &info->cols[i];
        bool narrow = cols[i].type.kind == ICE_T_INT || cols[i].type.kind == ICE_T_DATE;
        if (narrow && s->has_bounds && s->upper.i - s->lower.i > INT32_MAX)
            return true;
    }
    return false;
}

static void put_plain_copy(ice_str from, ice_str to, const ice_column *cols, size_t ncols, ice_buf *b)
{
    ice_buf_puts(b, "COPY (SELECT * FROM read_parquet([");
    ice_buf_put_quoted(b, from);
    ice_buf_puts(b, "], hive_partitioning = false)) TO ");
    ice_buf_put_quoted(b, to);
    ice_buf_puts(b, " (FORMAT parquet, PARQUET_VERSION v1, COMPRESSION zstd, ROW_GROUP_SIZE 40960, "
                    "USE_TMP_FILE false, FIELD_IDS {");
    for (size_t i = 0; i < ncols; i++) {
        ice_buf_puts(b, i ? ", " : "");
        ice_buf_put_quoted(b, cols[i].name);
        ice_buf_printf(b, ": %d", (int)cols[i].field_id);
    }
    ice_buf_puts(b, "})");
}

ice_code ice__portable_file(ice_env *env, ice_engine_conn *c, const ice_column *cols, size_t ncols,
                            ice_arena *a, ice_str *key, ice_parquet_info *info, ice_error *err)
{
    ice_str from, to, fresh, old = *key;
    ice_buf sql = {0};
    ice_code rc;
    if (!unreadable_deltas(info, cols))
        return ICE_OK;
    ice_str base = ice__base_name(old);
    ICE_TRY(ice__data_key(a, (ice_str){old.ptr, old.len - base.len - strlen("/data/")},
                          ice__name_schema(base), &fresh, err));
    ICE_TRY(ice_store_path(env->store, a, old, &from, err));
    ICE_TRY(ice_store_path(env->store, a, fresh, &to, err));
    put_plain_copy(from, to, cols, ncols, &sql);
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice_engine_exec(c, ice_buf_str(&sql), err));
    ICE_TRY(env->store->m->size(env->store, fresh, &info->bytes, err));
    ICE_TRY(env->store->m->remove(env->store, old, err));
    *key = fresh;
out:
    ice_buf_free(&sql);
    return rc;
}

static ice_code write_file(ice__edit *e, ice_engine_conn *c, ice_str sql, ice_str key, const ice__output *o,
                           ice_error *err)
{
    ice_env *env = e->env;
    ice__added f = {.spec_id = o->spec_id};
    ice_parquet_info info;
    ice_code rc;
    ICE_TRY(ice_store_path(env->store, e->a, key, &f.path, err));
    if ((rc = ice_parquet_write(c, sql, NULL, 0, f.path, o->cols, o->ncols, e->a, &info, err)) != ICE_OK) {
        ice__read_failed(err, key);
        goto out;
    }
    ICE_TRY(check_count(o, &info, key, err));
    if (info.rows == 0)
        return env->store->m->remove(env->store, key, err);
    ICE_TRY(ice__portable_file(env, c, o->cols, o->ncols, e->a, &key, &info, err));
    ICE_TRY(ice_store_path(env->store, e->a, key, &f.path, err));
    ICE_TRY(env->store->m->sync(env->store, key, err));
    ICE_TRY(ice__data_file_of(env, key, o->cols, &info, e->a, &f.file, err));
    f.base = ice__base_name(key);
    f.file.npartition = o->npartition;
    f.file.partition = (ice_value *)o->partition;
    f.file.sort_order_id = o->sort_order_id;
    if (o->warm)
        ICE_TRY(ice__cache_warm(env, c, f.path, f.base, info.rows, o->warm, o->cols, without_lineage(o), err));
    ICE_TRY(ice__edit_add(e, &f, err));
out:
    return rc;
}

ice_code ice__write_query(ice__edit *e, ice__name *names, size_t nnames, ice_str sql, const ice__output *o,
                          ice_error *err)
{
    ice_env *env = e->env;
    ice_engine_conn *c = NULL;
    ice_str key;
    ice_code rc;
    ICE_TRY(ice__data_key(e->a, e->dir, e->m->current_schema_id, &key, err));
    ICE_TRY(env->store->m->make_parent(env->store, key, err));
    ICE_TRY(ice__engine_acquire(env, names, nnames, &c, err));
    rc = write_file(e, c, sql, key, o, err);
out:
    if (c)
        ice__engine_release(env, c);
    return rc;
}

ice_code ice__write_reading(ice__edit *e, ice__reading *r, ice_str where, ice_str order,
                            const ice__warm *warm, ice_error *err)
{
    ice__output o = {.cols = r->cols,
                     .ncols = r->ncols,
                     .rows = r->rows,
                     .filtered = where.len > 0,
                     .sort_order_id = -1,
                     .warm = warm};
    ice_buf sql = {0};
    ice_code rc;
    if (r->rows == 0)
        return ICE_OK;
    ice__put_reading(r, where, order, &sql);
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__write_query(e, r->names, r->nnames, ice_buf_str(&sql), &o, err));
out:
    ice_buf_free(&sql);
    return rc;
}
