/* Reading everything a published state refers to, and verifying it: `iceberg_check`. A problem is told and
 * the check goes on; only what keeps it from going on is an error. */
#include "table/flush_int.h"

#include <stdio.h>

typedef struct checker {
    ice_env *env;
    ice_published *s, *history; /* NULL: none */
    ice_keys keys;
    ice_arena *a;
    void (*report)(void *, const char *);
    void *arg;
} checker;

static void __attribute__((format(printf, 2, 3))) tell(checker *c, const char *fmt, ...)
{
    ice_error line = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(line.message, sizeof line.message, fmt, args);
    va_end(args);
    ice_error_prefix(&line, "table %.*s", ICE_PRI(c->s->def->name));
    c->report(c->arg, line.message);
}

/* What stops the whole check; anything else is a problem of the file at hand. */
static bool stops(ice_code rc)
{
    return rc == ICE_NOMEM || rc == ICE_CANCELED || rc == ICE_MISUSE || rc == ICE_INTERNAL;
}

static ice_code tolerate(checker *c, ice_code rc, const ice_error *err)
{
    if (rc == ICE_OK || stops(rc))
        return rc;
    tell(c, "%s", err->message);
    return ICE_OK;
}

/* Runs a query of one row of numbers. */
static ice_code ask(checker *c, ice__name *names, size_t nnames, ice_str sql, int64_t *out, size_t n,
                    ice_error *err)
{
    ice_engine_conn *conn = NULL;
    ice_result *r = NULL;
    size_t rows = 0;
    ice_code rc;
    ICE_TRY(ice__engine_acquire(c->env, names, nnames, &conn, err));
    ICE_TRY(ice_engine_run(conn, sql, NULL, 0, &r, err));
    ICE_TRY(ice_result_next(r, &rows, err));
    for (size_t i = 0; i < n; i++) {
        ice_value v = ICE_NULL;
        if (rows)
            ice_result_value(r, i, 0, &v);
        out[i] = v.null ? 0 : v.kind == ICE_T_DECIMAL ? (int64_t)v.dec : v.i;
    }
out:
    ice_result_close(r);
    if (conn)
        ice__engine_release(c->env, conn);
    return rc;
}

/* ---- one file ---- */

static bool has_bounds(const ice__file *f, const ice_column *c, ice_value *lower, ice_value *upper)
{
    return c->type.kind != ICE_T_FLOAT && c->type.kind != ICE_T_DOUBLE &&
           ice__file_bounds(f, c->field_id, c->type, lower, upper);
}

static void put_bound_check(const ice__file *f, const ice_column *c, ice_buf *b)
{
    ice_value lower, upper;
    const ice_file_column *m = ice_data_file_column(&f->entry.file, c->field_id);
    ice_buf_puts(b, ", ");
    if (m && m->nulls >= 0) {
        ice_buf_puts(b, "abs(count(*) FILTER (WHERE ");
        ice_buf_put_ident(b, c->name);
        ice_buf_printf(b, " IS NULL) - %lld)", (long long)m->nulls);
    } else {
        ice_buf_puts(b, "0");
    }
    if (!has_bounds(f, c, &lower, &upper))
        return;
    ice_buf_puts(b, " + count(*) FILTER (WHERE ");
    ice_buf_put_ident(b, c->name);
    ice_buf_puts(b, " < ");
    ice_value_literal(&lower, c->type, b);
    ice_buf_puts(b, " OR ");
    ice_buf_put_ident(b, c->name);
    ice_buf_puts(b, " > ");
    ice_value_literal(&upper, c->type, b);
    ice_buf_puts(b, ")");
}

/* Rows that are not of the file's partition, by each field of its spec whose column the file has. */
static void put_partition_check(const ice_published *s, const ice__file *f, const ice_column *cols,
                                size_t ncols, ice_buf *b)
{
    const ice_partition_spec *spec = ice_metadata_spec(s->meta, f->spec_id);
    ice_buf_puts(b, ", 0");
    for (size_t i = 0; spec && i < spec->nfields && i < f->entry.file.npartition; i++) {
        ice__part p = {.transform = spec->fields[i].transform};
        for (size_t k = 0; k < ncols; k++)
            if (cols[k].field_id == spec->fields[i].source_id)
                p.col = &cols[k];
        if (!p.col || !ice__part_type(p.transform, p.col->type, &p.type))
            continue;
        ice_buf_puts(b, " + count(*) FILTER (WHERE ");
        ice__put_part(&p, NULL, b);
        ice_buf_puts(b, " IS DISTINCT FROM ");
        ice_value_literal(&f->entry.file.partition[i], p.type, b);
        ice_buf_puts(b, ")");
    }
}

static ice_code check_contents(checker *c, ice_published *s, ice__file *f, const ice_column *cols,
                               size_t ncols, ice_error *err)
{
    int64_t *n = ICE_NEW_N(c->a, int64_t, ncols + 2);
    ice_buf sql = {0};
    ice_code rc;
    if (!n)
        return ice_fail_nomem(err);
    if ((rc = tolerate(c, ice__file_prove(f, NULL, 0, err), err)) != ICE_OK)
        return rc;
    ice_buf_puts(&sql, "SELECT count(*)");
    for (size_t i = 0; i < ncols; i++)
        put_bound_check(f, &cols[i], &sql);
    put_partition_check(s, f, cols, ncols, &sql);
    ice_buf_puts(&sql, " FROM ");
    ice_parquet_scan_sql(&f->path, 1, cols, ncols, ice__file_evolved(s, f, cols, ncols), false, &sql);
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ask(c, NULL, 0, ice_buf_str(&sql), n, ncols + 2, err));
    if (n[ncols + 1])
        tell(c, "%.*s has %lld rows of other partitions", ICE_PRI(f->key), (long long)n[ncols + 1]);
    if (n[0] != f->entry.file.record_count)
        tell(c, "%.*s has %lld rows, its manifest says %lld", ICE_PRI(f->key), (long long)n[0],
             (long long)f->entry.file.record_count);
    for (size_t i = 0; i < ncols; i++)
        if (n[i + 1])
            tell(c, "%.*s: column \"%.*s\" has %lld values beside its statistics", ICE_PRI(f->key),
                 ICE_PRI(cols[i].name), (long long)n[i + 1]);
out:
    ice_buf_free(&sql);
    return rc;
}

/* Columns of the current schema that the file itself has. */
static ice_code file_columns(checker *c, ice_published *s, const ice__file *f, ice_column **out, size_t *n,
                             ice_error *err)
{
    ice_column *cols;
    size_t all, k = 0;
    ice_code rc;
    ICE_TRY(ice__schema_columns(ice_metadata_current_schema(s->meta), c->s->def, false, c->a, &cols, &all, err));
    for (size_t i = 0; i < all; i++)
        if (ice_data_file_column(&f->entry.file, cols[i].field_id))
            cols[k++] = cols[i];
    *out = cols;
    *n = k;
out:
    return rc;
}

static ice_code check_file(checker *c, ice_published *s, ice__file *f, ice_error *err)
{
    uint64_t size;
    const ice_dv *dv;
    ice_column *cols;
    size_t n;
    ice_code rc;
    ICE_TRY(c->env->store->m->size(c->env->store, f->key, &size, err));
    if ((int64_t)size != f->entry.file.size)
        tell(c, "%.*s has %llu bytes, its manifest says %lld", ICE_PRI(f->key), (unsigned long long)size,
             (long long)f->entry.file.size);
    ICE_TRY(file_columns(c, s, f, &cols, &n, err));
    ICE_TRY(check_contents(c, s, f, cols, n, err));
    ICE_TRY(ice__file_dv(s, f, &dv, err)); /* checks the vector's count and positions */
out:
    return rc;
}

static ice_code check_files(checker *c, ice_published *s, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; s && i < s->nfiles && rc == ICE_OK; i++)
        rc = tolerate(c, check_file(c, s, &s->files[i], err), err);
    return rc;
}

/* ---- all rows together ---- */

static ice_code key_columns(checker *c, const ice_key *k, ice_column **out, size_t *n, ice_str *list,
                            ice_error *err)
{
    static const int32_t system[] = {ICE_FIELD_ROW_START, ICE_FIELD_ROW_END, ICE_FIELD_OPERATION};
    ice_buf b = {0};
    ice_column *cols = ICE_NEW_N(c->a, ice_column, k->ncols + 4);
    if (!cols)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < k->ncols; i++) {
        cols[i] = c->s->def->cols[k->cols[i]];
        ice_buf_puts(&b, i ? ", " : "");
        ice_buf_put_ident(&b, cols[i].name);
    }
    for (size_t i = 0; i < 3; i++)
        cols[k->ncols + i] = *ice__system_column(system[i]);
    cols[k->ncols + 3] = *ice__row_id_column();
    *out = cols;
    *n = k->ncols + 4;
    ice_code rc = ice_buf_check(&b, err);
    if (rc == ICE_OK)
        *list = ice_arena_str(c->a, ice_buf_str(&b));
    ice_buf_free(&b);
    return rc;
}

/* A query over live rows, with `history` the ended ones too: "<select> FROM (rows) ...". */
static ice_code ask_rows(checker *c, const ice_key *k, bool history, const char *before, const char *after,
                         int64_t *out, size_t nout, ice_error *err)
{
    ice__reading r = {0};
    ice_column *cols;
    ice_buf sql = {0};
    ice_str list;
    size_t n;
    ice_code rc;
    memset(out, 0, nout * sizeof *out);
    ICE_TRY(key_columns(c, k, &cols, &n, &list, err));
    ice__reading_init(&r, c->env, cols, n, c->a);
    for (size_t i = 0; i < c->s->nfiles; i++)
        ICE_TRY(ice__read_live(&r, c->s, (uint32_t)i, NULL, 0, err));
    for (size_t i = 0; history && c->history && i < c->history->nfiles; i++)
        ICE_TRY(ice__read_live(&r, c->history, (uint32_t)i, NULL, 0, err));
    if (r.rows == 0)
        goto out;
    ice_buf_puts(&sql, before);
    ice_buf_put_str(&sql, ice_buf_str(&r.sql));
    ice_buf_puts(&sql, ") AS r(");
    for (size_t i = 0; i < n; i++) {
        ice_buf_puts(&sql, i ? ", " : "");
        ice_buf_put_ident(&sql, cols[i].name);
    }
    ice_buf_puts(&sql, ")");
    const char *mark = strstr(after, "{key}");
    ice_buf_put(&sql, after, mark ? (size_t)(mark - after) : strlen(after));
    if (mark) {
        ice_buf_put_str(&sql, list);
        ice_buf_puts(&sql, mark + 5);
    }
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ask(c, r.names, r.nnames, ice_buf_str(&sql), out, nout, err));
out:
    ice_buf_free(&sql);
    ice__reading_free(&r);
    return rc;
}

static ice_code check_unique(checker *c, const ice_key *k, bool primary, ice_error *err)
{
    int64_t n;
    ice_buf where = {0};
    ice_code rc;
    for (size_t i = 0; !primary && !k->nulls_not_distinct && i < k->ncols; i++) {
        ice_buf_puts(&where, i ? " AND " : " WHERE ");
        ice_buf_put_ident(&where, c->s->def->cols[k->cols[i]].name);
        ice_buf_puts(&where, " IS NOT NULL");
    }
    ice_buf_puts(&where, " GROUP BY {key} HAVING count(*) > 1) AS twice");
    ice_buf_put_u8(&where, 0);
    ICE_TRY(ice_buf_check(&where, err));
    ICE_TRY(ask_rows(c, k, false, "SELECT count(*) FROM (SELECT 1 FROM (", where.data, &n, 1, err));
    if (n)
        tell(c, "%lld values of the key %.*s are there more than once", (long long)n,
             ICE_PRI(k->con ? k->con->name : ICE_STR("_row_key")));
out:
    ice_buf_free(&where);
    return rc;
}

/* Versions of a row follow each other: one begins no earlier than the one before it ended, a live one is the
 * last. Those that ended before the table had its key are no versions of a row by that. */
static ice_code check_versions(checker *c, ice_error *err)
{
    const ice_constraint *pk = c->keys.keys[0].con;
    int64_t since = pk ? pk->since : 0;
    char *before = ice_arena_printf(
        c->a,
        "SELECT count(*) FILTER (WHERE epoch_us(s) > %lld OR epoch_us(e) > %lld), "
        "count(*) FILTER (WHERE e <= s), count(*) FILTER (WHERE NOT old AND (next < e OR (e IS NULL AND next "
        "IS NOT NULL))), "
        "count(*) FILTER (WHERE e IS NOT NULL AND (op IS NULL OR op NOT IN ('update', 'delete'))) FROM ("
        "SELECT \"_row_start\" AS s, \"_row_end\" AS e, \"_operation\" AS op, coalesce(epoch_us(\"_row_end\") <= %lld, "
        "false) AS old, lead(\"_row_start\") OVER w AS next FROM (",
        (long long)c->s->flushed, (long long)c->s->flushed, (long long)since);
    int64_t n[4];
    ice_code rc;
    char *after = ice_arena_printf(c->a,
                                   " WINDOW w AS (PARTITION BY {key}, coalesce(epoch_us(\"_row_end\") <= %lld, "
                                   "false) ORDER BY \"_row_start\", \"_row_end\")) AS versions",
                                   (long long)since);
    if (!before || !after)
        return ice_fail_nomem(err);
    ICE_TRY(ask_rows(c, &c->keys.keys[0], true, before, after, n, 4, err));
    if (n[0])
        tell(c, "%lld versions are newer than the flushed commit time %lld", (long long)n[0],
             (long long)c->s->flushed);
    if (n[1])
        tell(c, "%lld versions end before they begin", (long long)n[1]);
    if (n[2])
        tell(c, "%lld versions overlap the next one of their row", (long long)n[2]);
    if (n[3])
        tell(c, "%lld versions in the history do not say what ended them", (long long)n[3]);
out:
    return rc;
}

/* Row lineage: no two rows have the same id. */
static ice_code check_row_ids(checker *c, ice_error *err)
{
    int64_t n;
    ice_code rc;
    ICE_TRY(ask_rows(c, &c->keys.keys[0], false,
                     "SELECT count(\"_row_id\") - count(DISTINCT \"_row_id\") FROM (", "", &n, 1, err));
    if (n)
        tell(c, "%lld rows have a row id of others", (long long)n);
out:
    return rc;
}

ice_code ice_published_check(ice_env *env, ice_published *s, void (*report)(void *, const char *), void *arg,
                             ice_error *err)
{
    checker c = {.env = env, .s = s, .report = report, .arg = arg};
    ice_code rc = ICE_OK;
    if (!(c.a = ice_arena_create()))
        return ice_fail_nomem(err);
    ICE_TRY(tolerate(&c, ice__published_history(s, &c.history, err), err));
    ICE_TRY(check_files(&c, s, err));
    ICE_TRY(check_files(&c, c.history, err));
    if (s->def->foreign)
        goto out;
    ICE_TRY(ice_keys_of(s->def, c.a, &c.keys, err));
    for (size_t i = 0; i < c.keys.n; i++)
        if (c.keys.keys[i].unique || c.keys.keys[i].deferrable)
            ICE_TRY(tolerate(&c, check_unique(&c, &c.keys.keys[i], i == 0, err), err));
    ICE_TRY(tolerate(&c, check_versions(&c, err), err));
    ICE_TRY(tolerate(&c, check_row_ids(&c, err), err));
out:
    ice_arena_free(c.a);
    return rc;
}
