/* Files of the bulk path: written before their commit, published by a later flush.
 *
 * A staged file has no _row_start: the flush publishes it under the partition spec identity(_row_start),
 * whose value is the commit time. What a log record carries of it is JSON:
 *   {"columns": [[field id, bytes, values, nulls, nans, "lower as hex" | null, "upper as hex" | null, checksum], ...],
 *    "rest": checksum}
 * with the checksums as signed numbers; records of older versions have none.
 */
#include "table/flush_int.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- metrics as JSON ---- */

static void put_hex(ice_str s, ice_buf *b)
{
    if (!s.ptr) {
        ice_buf_puts(b, "null");
        return;
    }
    ice_buf_puts(b, "\"");
    for (size_t i = 0; i < s.len; i++)
        ice_buf_printf(b, "%02x", (unsigned char)s.ptr[i]);
    ice_buf_puts(b, "\"");
}

static ice_code metrics_to_json(const ice_data_file *f, ice_arena *a, ice_str *out, ice_error *err)
{
    ice_buf b = {0};
    ice_code rc;
    ice_buf_puts(&b, "{\"columns\":[");
    for (size_t i = 0; i < f->ncolumns; i++) {
        const ice_file_column *c = &f->columns[i];
        ice_buf_printf(&b, "%s[%d,%lld,%lld,%lld,%lld,", i ? "," : "", (int)c->field_id, (long long)c->size,
                       (long long)c->values, (long long)c->nulls, (long long)c->nans);
        put_hex(c->lower, &b);
        ice_buf_puts(&b, ",");
        put_hex(c->upper, &b);
        ice_buf_printf(&b, ",%lld]", (long long)c->sum);
    }
    ice_buf_printf(&b, "],\"rest\":%lld}", (long long)f->rest_sum);
    ICE_TRY(ice_buf_check(&b, err));
    *out = ice_arena_str(a, ice_buf_str(&b));
    if (!out->ptr)
        rc = ice_fail_nomem(err);
out:
    ice_buf_free(&b);
    return rc;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool bytes_of_hex(const json_t *v, ice_arena *a, ice_str *out)
{
    *out = ICE_STR_NONE;
    if (json_is_null(v))
        return true;
    const char *text = json_string_value(v);
    size_t n = text ? json_string_length(v) : 1;
    char *bytes = n % 2 ? NULL : ice_arena_alloc(a, n / 2 + 1);
    for (size_t i = 0; bytes && i < n; i += 2) {
        int hi = hex_digit(text[i]), lo = hex_digit(text[i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        bytes[i / 2] = (char)(hi << 4 | lo);
    }
    *out = (ice_str){bytes, n / 2};
    return bytes != NULL;
}

static bool column_of_json(const json_t *v, bool summed, ice_arena *a, ice_file_column *out)
{
    const json_t *sum = json_array_get(v, 7);
    int64_t n[5];
    if (json_array_size(v) != (summed ? 8 : 7) || (summed && !json_is_integer(sum)))
        return false;
    for (size_t i = 0; i < 5; i++) {
        if (!json_is_integer(json_array_get(v, i)))
            return false;
        n[i] = json_integer_value(json_array_get(v, i));
    }
    *out = (ice_file_column){.size = n[1],
                             .values = n[2],
                             .nulls = n[3],
                             .nans = n[4],
                             .sum = (uint64_t)json_integer_value(sum)};
    if (n[0] < 1 || n[0] > INT32_MAX)
        return false;
    out->field_id = (int32_t)n[0];
    return bytes_of_hex(json_array_get(v, 5), a, &out->lower) &&
           bytes_of_hex(json_array_get(v, 6), a, &out->upper);
}

static ice_code metrics_of_json(ice_str text, ice_arena *a, ice_data_file *f, ice_error *err)
{
    json_t *root = text.ptr ? json_loadb(text.ptr, text.len, 0, NULL) : NULL;
    const json_t *columns = json_object_get(root, "columns"), *rest = json_object_get(root, "rest");
    size_t n = json_array_size(columns);
    ice_code rc = ICE_OK;
    f->summed = json_is_integer(rest);
    f->rest_sum = (uint64_t)json_integer_value(rest);
    f->columns = ICE_NEW_N(a, ice_file_column, n + 1);
    if (!f->columns)
        rc = ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++)
        if (!column_of_json(json_array_get(columns, i), f->summed, a, &f->columns[i]) ||
            (i && f->columns[i].field_id <= f->columns[i - 1].field_id))
            rc = ice_fail(err, ICE_CORRUPT, "column %zu of its metrics is malformed", i);
    if (rc == ICE_OK && !json_is_array(columns))
        rc = ice_fail(err, ICE_CORRUPT, "its metrics are malformed");
    f->ncolumns = n;
    json_decref(root);
    return rc;
}

/* ---- publishing ---- */

static ice_code add_one(ice__edit *e, const ice_staged_file *s, ice_error *err)
{
    ice__added f = {.file = ice_data_file_init()};
    uint64_t size = 0;
    ice_code rc;
    ICE_TRY(e->env->store->m->size(e->env->store, s->key, &size, err));
    if (size != s->bytes)
        return ice_fail(err, ICE_CORRUPT, "it has %llu bytes, the log says %llu", (unsigned long long)size,
                        (unsigned long long)s->bytes);
    ICE_TRY(ice_store_location(e->env->store, e->a, s->key, &f.file.path, err));
    ICE_TRY(metrics_of_json(s->data_file_json, e->a, &f.file, err));
    ICE_TRY(ice__edit_fixed_spec(e, &f.spec_id, err));
    f.file.format = ICE_STR("parquet");
    f.file.record_count = (int64_t)s->rows;
    f.file.size = (int64_t)s->bytes;
    f.file.npartition = 1;
    f.file.partition = ICE_NEW(e->a, ice_value);
    if (!f.file.partition)
        return ice_fail_nomem(err);
    f.file.partition[0] = (ice_value){.kind = ICE_T_TIMESTAMPTZ, .i = s->commit_time};
    ICE_TRY(ice__edit_add(e, &f, err));
out:
    return rc;
}

ice_code ice__staged_add(ice__edit *e, const ice_staged_file *files, size_t n, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < n && rc == ICE_OK; i++)
        if ((rc = add_one(e, &files[i], err)) != ICE_OK)
            ice_error_prefix(err, "staged file %.*s", ICE_PRI(files[i].key));
    return rc;
}

/* ---- writing ---- */

static ice_code write_one(ice_env *env, ice_engine_conn *c, ice_str sql, ice_str dir, const ice_tabledef *def,
                          ice_arena *a, ice_staged_file *out, ice_error *err)
{
    ice_parquet_info info;
    ice_data_file f;
    ice_str path;
    ice_code rc;
    ICE_TRY(ice__data_key(a, dir, def->schema_id, &out->key, err));
    ICE_TRY(env->store->m->make_parent(env->store, out->key, err));
    ICE_TRY(ice_store_path(env->store, a, out->key, &path, err));
    ICE_TRY(ice_parquet_write(c, sql, NULL, 0, path, def->cols, def->ncols, a, &info, err));
    out->rows = info.rows;
    out->bytes = info.bytes;
    out->schema_id = def->schema_id;
    if (info.rows == 0)
        return env->store->m->remove(env->store, out->key, err);
    ICE_TRY(ice__portable_file(env, c, def->cols, def->ncols, a, &out->key, &info, err));
    out->bytes = info.bytes;
    ICE_TRY(env->store->m->sync(env->store, out->key, err));
    ICE_TRY(ice__data_file_of(env, out->key, def->cols, &info, a, &f, err));
    ICE_TRY(metrics_to_json(&f, a, &out->data_file_json, err));
out:
    return rc;
}

ice_code ice_staged_write(ice_env *env, ice_engine_conn *c, ice_str sql, const ice_tabledef *def,
                          ice_arena *a, ice_staged_file **out, size_t *n, ice_error *err)
{
    ice_str dir;
    ice_code rc;
    *n = 0;
    *out = ICE_NEW(a, ice_staged_file);
    if (!*out)
        return ice_fail_nomem(err);
    ICE_TRY(ice__table_dir(env, a, def->name, def->uuid, false, &dir, err));
    ICE_TRY(write_one(env, c, sql, dir, def, a, *out, err));
    *n = (*out)->rows > 0;
out:
    return rc;
}

/* The rows of a staged file that its transaction did not end again, as another one. */
static ice_code write_rest(ice_view *v, uint32_t file, ice__dead *dead, ice_arena *a, ice_staged_file *out,
                           ice_error *err)
{
    const ice_tabledef *def = v->state->def;
    ice_engine_conn *c = NULL;
    ice__reading r;
    ice_str dir;
    ice_code rc;
    ice__reading_init(&r, v->env, def->cols, def->ncols, a);
    ICE_TRY(ice__table_dir(v->env, a, def->name, def->uuid, false, &dir, err));
    ICE_TRY(ice__read_live(&r, v->state->published, file, dead, INT64_MAX, err));
    ICE_TRY(ice__engine_acquire(v->env, r.names, r.nnames, &c, err));
    ICE_TRY(write_one(v->env, c, ice_buf_str(&r.sql), dir, def, a, out, err));
    if (out->rows != r.rows)
        rc = ice_fail(err, ICE_INTERNAL, "%.*s: %llu rows were written, %llu were expected", ICE_PRI(out->key),
                      (unsigned long long)out->rows, (unsigned long long)r.rows);
out:
    if (c)
        ice__engine_release(v->env, c);
    ice__reading_free(&r);
    return rc;
}

static const ice_staged_file *staged_as(const ice_staging *s, const ice__file *f)
{
    for (size_t i = 0; s && i < s->n; i++)
        if (ice_str_eq(s->files[i].key, f->key))
            return &s->files[i];
    return NULL;
}

ice_code ice_staging_settle(ice_view *v, ice_arena *a, ice_staged_file **files, size_t *nfiles,
                            ice_ended ***ended, size_t *nended, ice_error *err)
{
    const ice_tabstate *s = v->state;
    const ice_published *p = s->published;
    ice__dead *by_tail = NULL, *own = NULL;
    size_t n = p ? p->nfiles : 0;
    ice_code rc = ICE_OK;
    *nfiles = *nended = 0;
    *files = ICE_NEW_N(a, ice_staged_file, n + 1);
    *ended = ICE_NEW_N(a, ice_ended *, s->nended + 1);
    if (!*files || !*ended)
        return ice_fail_nomem(err);
    ICE_TRY(ice__dead_of_view(v, &by_tail, &own, err));
    for (size_t i = n; i-- > 0;) { /* the newest are first in `p` */
        const ice_staged_file *f = staged_as(s->staging, &p->files[i]);
        uint64_t gone = f ? ice__dead_in_file(own, (uint32_t)i, INT64_MAX) : 0;
        if (!f || gone >= f->rows)
            continue;
        (*files)[*nfiles] = *f;
        if (gone)
            ICE_TRY(write_rest(v, (uint32_t)i, own, a, &(*files)[*nfiles], err));
        ++*nfiles;
    }
    for (size_t i = 0; i < s->nended; i++)
        if (s->ended[i].rows->end == ICE_ENDED_PENDING && !staged_as(s->staging, &p->files[s->ended[i].file]))
            (*ended)[(*nended)++] = s->ended[i].rows;
out:
    ice__dead_unref(by_tail);
    ice__dead_unref(own);
    return rc;
}

/* ---- before they are published ---- */

static ice_code guard(ice_env *env, ice_str location, ice_published *p, ice_arena *a, ice_error *err)
{
    ice_str key, path;
    ice_code rc;
    ICE_TRY(ice__locate(env, a, location, &key, &path, err));
    ICE_TRY(ice__guard_open(path, &p->guard, err));
out:
    return rc;
}

static ice_code stage_edit(ice__edit *e, ice_env *env, ice_published *old, const ice_tabledef *def,
                           ice_arena *a, ice_error *err)
{
    ice_schema schema;
    ice_code rc;
    ICE_TRY(ice_schema_of_table(def, a, &schema, err));
    if (old) {
        ICE_TRY(ice__edit_begin(e, env, old, a, err));
        ICE_TRY(ice__edit_schema(e, &schema, err));
    } else {
        ICE_TRY(ice__edit_create(e, env, def, false, &schema, a, err));
    }
    ICE_TRY(ice__edit_partitions(e, def, err));
out:
    return rc;
}

ice_code ice_published_stage(ice_env *env, ice_published *old, const ice_tabledef *def,
                             const ice_staged_file *files, size_t n, ice_published **out, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_buf json = {0};
    ice__edit e = {0};
    ice_str location;
    bool begun = false;
    ice_code rc;
    if (!a)
        return ice_fail_nomem(err);
    *out = NULL;
    if (env->stage_begin)
        ICE_TRY(env->stage_begin(env->arg, err));
    begun = true;
    ICE_TRY(stage_edit(&e, env, old, def, a, err));
    ICE_TRY(ice__staged_add(&e, files, n, err));
    ICE_TRY(ice_tabledef_to_json(def, &json, err));
    ICE_TRY(ice__edit_text(&e, ICE_PROP_TABLE, ice_buf_str(&json), err));
    bool pending = files[0].commit_time >= ICE_PENDING_START;
    ICE_TRY(ice__edit_finish(&e, "append", old ? old->flushed : 0,
                             (pending ? ice_clock_us() : files[0].commit_time) / 1000, 0, &location, err));
    ICE_TRY(ice_published_load(env, location, out, err));
    ICE_TRY(guard(env, location, *out, a, err));
out:
    if (begun && env->stage_end)
        env->stage_end(env->arg);
    if (rc != ICE_OK) {
        ice_published_unref(*out);
        *out = NULL;
    }
    ice__edit_free(&e);
    ice_buf_free(&json);
    ice_arena_free(a);
    return rc;
}
