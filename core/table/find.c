/* Looking up rows by key, and reading rows by their place. */
#include "table/table_int.h"

#include <stdlib.h>

enum { KEY_MAX = 32 };

/* ---- in the files ---- */

typedef struct probe {
    ice_published *s;
    const ice_tabledef *def;
    const ice_keys *keys;
    size_t number;
    const ice_key *key, *primary;
    const ice_value *values;
    int64_t start; /* 0: any */
    uint64_t hash;
    int (*fn)(void *, const ice__hit *);
    void *arg;
} probe;

/* Can the file hold the key, by its bounds? */
static bool may_hold(const probe *p, const ice__file *f)
{
    if (p->start && f->has_start && (p->start < f->min_start || p->start > f->max_start))
        return false;
    for (size_t i = 0; i < p->key->ncols; i++) {
        const ice_column *c = &p->def->cols[p->key->cols[i]];
        const ice_value *v = &p->values[i];
        ice_value lower, upper;
        if (v->null || v->kind != c->type.kind || !ice__file_bounds(f, c->field_id, c->type, &lower, &upper))
            continue;
        if (ice_value_cmp(v, &lower) < 0 || ice_value_cmp(v, &upper) > 0)
            return false;
    }
    return true;
}

static ice_code values_at(const ice__file *f, const ice__values *values, const ice_tabledef *def, const ice_key *k,
                          uint32_t pos, ice_value *out, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < k->ncols && rc == ICE_OK; i++)
        rc = ice__values_at(f, values, pos, &def->cols[k->cols[i]], 1, &out[i], err);
    return rc;
}

static ice_code start_at(const ice__file *f, const ice__values *values, uint32_t pos, int64_t *out, ice_error *err)
{
    ice_value v;
    ice_code rc = ice__values_at(f, values, pos, ice__system_column(ICE_FIELD_ROW_START), 1, &v, err);
    *out = rc != ICE_OK || v.null ? 0 : v.i;
    return rc;
}

int64_t ice__file_start(const ice__file *f, const ice_chunkfile *c, uint32_t pos)
{
    ice_vec vec;
    ice_value v;
    if (f->fixed_start || !ice_chunkfile_column(c, ICE_FIELD_ROW_START, &vec))
        return f->fixed_start ? f->min_start : 0;
    ice_vec_get(&vec, pos, &v);
    return v.null ? 0 : v.i;
}

static bool values_equal(const ice_value *x, const ice_value *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!ice_value_eq(&x[i], &y[i]))
            return false;
    return true;
}

/* The budget is for what is kept decoded: of other tables' files nothing stays in the process's memory. */
static void shed(ice_published *s, const ice_keyindex *index, const ice__values *values)
{
    if (ice__published_resident(s))
        return;
    ice_keyindex_shed(index);
    ice__values_shed(values);
}

/* Candidates of one file from number *done on: same hash, not deleted, then compared by value. Sets *stop. */
static ice_code probe_file(const probe *p, uint32_t file, size_t *done, bool *stop, ice_error *err)
{
    ice__file *f = &p->s->files[file];
    ice_value key[KEY_MAX], primary[KEY_MAX];
    ice_keyindex *index;
    ice__values values;
    const ice_keypair *pairs;
    const ice_dv *dv;
    size_t n;
    ice_code rc;
    ICE_TRY(ice__file_key(p->s, f, p->def, p->keys, p->number, &index, &values, err));
    ICE_TRY(ice__file_dv(p->s, f, &dv, err));
    ICE_TRY(ice_keyindex_find(index, p->hash, &pairs, &n, err));
    for (size_t i = *done; i < n && !*stop; i++, *done = i) {
        uint32_t pos = pairs[i].position;
        ice__hit hit = {.file = file, .pos = pos, .primary = primary};
        if (pos >= f->entry.file.record_count || (dv && ice_dv_contains(dv, pos)))
            continue;
        ICE_TRY(values_at(f, &values, p->def, p->key, pos, key, err));
        ICE_TRY(start_at(f, &values, pos, &hit.start, err));
        if (!values_equal(key, p->values, p->key->ncols) || (p->start && hit.start && p->start != hit.start))
            continue;
        ICE_TRY(values_at(f, &values, p->def, p->primary, pos, primary, err));
        *stop = p->fn(p->arg, &hit) != 0;
    }
    shed(p->s, index, &values);
out:
    return rc;
}

/* An index that is made again has the same candidates in the same order. */
static ice_code probe_mended(const probe *p, uint32_t file, bool *stop, ice_error *err)
{
    ice_error why = {0};
    size_t done = 0;
    ice_code rc = probe_file(p, file, &done, stop, &why);
    if (rc == ICE_CACHE && ice__file_lost(p->s, &p->s->files[file], &why))
        return probe_file(p, file, &done, stop, err);
    if (rc != ICE_OK && err)
        *err = why;
    return rc;
}

ice_code ice__base_find(ice_published *s, const ice_tabledef *def, const ice_keys *keys, size_t key,
                        const ice_value *values, int64_t start, int (*fn)(void *, const ice__hit *),
                        void *arg, ice_error *err)
{
    probe p = {.s = s,
               .def = def,
               .keys = keys,
               .number = key,
               .key = &keys->keys[key],
               .primary = &keys->keys[0],
               .values = values,
               .start = start,
               .fn = fn,
               .arg = arg};
    bool stop = false;
    ice_code rc = ICE_OK;
    if (p.key->ncols > KEY_MAX || p.primary->ncols > KEY_MAX)
        return ice_fail(err, ICE_UNSUPPORTED, "table %.*s: a key of more than %d columns", ICE_PRI(def->name),
                        KEY_MAX);
    p.hash = ice_key_hash(values, p.key->ncols);
    for (size_t i = 0; i < s->nfiles && !stop && rc == ICE_OK; i++)
        if (may_hold(&p, &s->files[i]))
            rc = probe_mended(&p, (uint32_t)i, &stop, err);
    return rc;
}

ice_code ice__base_estimate(ice_published *s, const ice_tabledef *def, const ice_keys *keys, size_t key,
                            const ice_value *values, uint64_t *out, ice_error *err)
{
    probe p = {.s = s, .def = def, .keys = keys, .number = key, .key = &keys->keys[key], .values = values};
    uint64_t hash = ice_key_hash(values, p.key->ncols);
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < s->nfiles && rc == ICE_OK; i++) {
        ice_keyindex *index = NULL;
        ice__values unused;
        const ice_keypair *pairs;
        if (!may_hold(&p, &s->files[i]))
            continue;
        size_t n = 1;
        rc = ice__file_key(s, &s->files[i], def, keys, key, &index, &unused, err);
        if (rc == ICE_OK && (rc = ice_keyindex_find(index, hash, &pairs, &n, err)) == ICE_OK)
            shed(s, index, &unused);
        if (rc == ICE_CACHE && ice__file_lost(s, &s->files[i], err))
            rc = ICE_OK;
        *out += n;
    }
    return rc;
}

/* ---- in a view ---- */

typedef struct finding {
    ice_view *v;
    ice_arena *arena;
    bool unique;
    ice_where where;
    ice_row *rows;
    size_t n, cap, max;
    bool nomem;
} finding;

/* True: no more are wanted. */
static int add_row(finding *f, const ice_row *r)
{
    if (!ICE_ROOM(f->arena, f->rows, f->n, f->cap))
        return f->nomem = true;
    f->rows[f->n++] = *r;
    return f->unique || f->n >= f->max;
}

static bool overlay_has_ended(const ice_view *v, const ice_value *primary)
{
    int64_t end;
    return v->overlay && v->mode == ICE_VIEW_CURRENT &&
           ice_tail_ended(v->overlay, primary, v->overlay_at, &end);
}

bool ice__overlay_ended(void *view, ice_ref r)
{
    const ice_view *v = view;
    const ice_key *primary = &v->state->keys.keys[0];
    ice_value key[KEY_MAX];
    for (size_t i = 0; i < primary->ncols && i < KEY_MAX; i++)
        ice_ref_value(r, &v->state->def->cols[primary->cols[i]], &key[i]);
    return overlay_has_ended(v, key);
}

static int found_in_memory(void *arg, ice_ref r)
{
    finding *f = arg;
    bool overlay = f->where == ICE_IN_OVERLAY;
    if (!overlay && f->v->overlay && ice__overlay_ended(f->v, r))
        return 0;
    ice_row row = {.where = f->where, .ref = r, .start = overlay ? 0 : ice_ref_start(r)};
    return add_row(f, &row);
}

static int found_in_file(void *arg, const ice__hit *h)
{
    finding *f = arg;
    int64_t end;
    if (ice__bulk_ended(f->v, h->file, h->pos))
        return 0;
    /* What ended at or before the row began was an earlier version: a staged file may be newer than the tail's end of it. */
    if ((ice_tail_ended(f->v->state->tail, h->primary, f->v->at, &end) && end > h->start) || overlay_has_ended(f->v, h->primary))
        return 0;
    ice_row row = {.where = ICE_IN_BASE, .file = h->file, .pos = h->pos, .start = h->start};
    return add_row(f, &row);
}

static bool has_null(const ice_value *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].null)
            return true;
    return false;
}

static void reverse(ice_row *rows, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        ice_row t = rows[i];
        rows[i] = rows[n - 1 - i];
        rows[n - 1 - i] = t;
    }
}

/* Memory gives the newest first, and before the files: a query in no order asked for shows rows as they came, as a scan does. */
static void oldest_first(ice_row *rows, size_t n)
{
    size_t base = 0;
    while (base < n && rows[n - 1 - base].where == ICE_IN_BASE)
        base++;
    if (n > 1) {
        reverse(rows, n);
        reverse(rows, base);
    }
}

ice_code ice__view_find(ice_view *v, size_t key, const ice_value *values, bool base, size_t max, ice_arena *a,
                        ice_row **rows, size_t *n, ice_error *err)
{
    ice_tabstate *s = v->state;
    const ice_key *k = &s->keys.keys[key];
    finding f = {.v = v, .arena = a, .unique = k->unique, .max = max, .where = ICE_IN_OVERLAY};
    ice_code rc = ICE_OK;
    int done = 0;
    *rows = NULL;
    *n = 0;
    if (max == 0 || (has_null(values, k->ncols) && !k->nulls_not_distinct))
        return ICE_OK;
    if (v->overlay && v->mode == ICE_VIEW_CURRENT)
        done = ice_tail_find(v->overlay, key, values, v->overlay_at, found_in_memory, &f);
    f.where = ICE_IN_TAIL;
    if (!done)
        done = ice_tail_find(s->tail, key, values, v->at, found_in_memory, &f);
    if (!done && base && s->published)
        rc = ice__base_find(s->published, s->def, &s->keys, key, values, 0, found_in_file, &f, err);
    if (f.nomem)
        rc = ice_fail_nomem(err);
    oldest_first(f.rows, f.n);
    *rows = f.rows;
    *n = f.n;
    return rc;
}

ice_code ice_view_find_some(ice_view *v, size_t key, const ice_value *values, size_t max, ice_arena *a,
                            ice_row **rows, size_t *n, ice_error *err)
{
    if (v->mode != ICE_VIEW_CURRENT || key >= v->state->keys.n)
        return ice_fail(err, ICE_MISUSE, "table %.*s: only a current view finds rows by one of its keys",
                        ICE_PRI(v->state->def->name));
    return ice__view_find(v, key, values, true, max, a, rows, n, err);
}

ice_code ice_view_find(ice_view *v, size_t key, const ice_value *values, ice_arena *a, ice_row **rows,
                       size_t *n, ice_error *err)
{
    return ice_view_find_some(v, key, values, SIZE_MAX, a, rows, n, err);
}

/* ---- rows by place ---- */

static ice_value time_value(int64_t t)
{
    return (ice_value){.kind = ICE_T_TIMESTAMPTZ, .i = t};
}

static void operation_value(ice_row_op op, ice_value *out)
{
    *out =
        (ice_value){.kind = ICE_T_STRING, .s = op == ICE_OP_DELETE ? ICE_STR("delete") : ICE_STR("update")};
}

static void peek_memory(const ice_view *v, const ice_row *row, const ice_column *cols, size_t ncols,
                        ice_value *out)
{
    int64_t end = ice_ref_end(row->ref), at = row->where == ICE_IN_OVERLAY ? v->overlay_at : v->at;
    for (size_t i = 0; i < ncols; i++) {
        out[i] = ICE_NULL;
        if (cols[i].field_id == ICE_FIELD_ROW_START)
            out[i] = row->where == ICE_IN_OVERLAY ? ICE_NULL : time_value(ice_ref_start(row->ref));
        else if (cols[i].field_id == ICE_FIELD_ROW_END && end <= at)
            out[i] = time_value(end);
        else if (cols[i].field_id == ICE_FIELD_OPERATION && end <= at)
            operation_value(ice_ref_end_op(row->ref), &out[i]);
        else if (!ice__is_system(cols[i].field_id))
            ice_ref_value(row->ref, &cols[i], &out[i]);
    }
}

ice_code ice__view_peek(ice_view *v, const ice_row *row, const ice_column *cols, size_t ncols, ice_value *out,
                        ice_error *err)
{
    ice_published *s = v->state->published;
    ice__values values = {0};
    ice_code rc;
    if (row->where != ICE_IN_BASE) {
        peek_memory(v, row, cols, ncols, out);
        return ICE_OK;
    }
    ICE_TRY(ice__file_chunk(s, &s->files[row->file], cols, ncols, &values.chunk, err));
    rc = ice__values_at(&s->files[row->file], &values, row->pos, cols, ncols, out, err);
out:
    return rc;
}

/* Values to keep: of the columns' types, strings in the arena. */
static ice_code keep_values(ice_arena *a, const ice_column *cols, size_t ncols, ice_value *values,
                            ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < ncols && rc == ICE_OK; i++) {
        ice_value v = values[i];
        if (!v.null && v.kind != cols[i].type.kind)
            rc = ice_value_cast(a, &v, cols[i].type, &v, err);
        if (rc == ICE_OK)
            rc = ice_value_copy(a, &v, &values[i], err);
    }
    return rc;
}

/* ---- rows of cold files ---- */

/* One SELECT for the rows of one file: the row's number in the file, then the columns. */
static void put_file_rows(ice_published *s, uint32_t file, const ice_row *rows, size_t nrows,
                          const ice_column *cols, size_t ncols, const ice_column *stored, size_t nstored,
                          ice_buf *sql)
{
    const ice__file *f = &s->files[file];
    const char *comma = "";
    ice_buf_printf(sql, "SELECT %u AS \"file\", \"file_row_number\"", file);
    for (size_t i = 0; i < ncols; i++) {
        ice_buf_puts(sql, ", ");
        if (cols[i].field_id == ICE_FIELD_ROW_START && (f->fixed_start || !f->has_start)) {
            ice_value start = time_value(f->min_start);
            ice_value_literal(f->fixed_start ? &start : &ICE_NULL, cols[i].type, sql);
        } else {
            ice_buf_put_ident(sql, cols[i].name);
        }
    }
    ice_buf_puts(sql, " FROM ");
    ice_parquet_scan_sql(&f->path, 1, stored, nstored, ice__file_evolved(s, f, stored, nstored), true, sql);
    ice_buf_puts(sql, " AS f WHERE \"file_row_number\" IN (");
    for (size_t i = 0; i < nrows; i++)
        if (rows[i].file == file) {
            ice_buf_printf(sql, "%s%u", comma, rows[i].pos);
            comma = ", ";
        }
    ice_buf_puts(sql, ")");
}

static ice_code put_rows(ice_published *s, const ice_row *rows, size_t nrows, const ice_column *cols,
                         size_t ncols, ice_arena *a, ice_buf *sql, ice_error *err)
{
    ice_column *stored = ICE_NEW_N(a, ice_column, ncols + 1);
    bool *seen = ICE_NEW_N(a, bool, s->nfiles + 1);
    if (!stored || !seen)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < nrows; i++) {
        size_t nstored = 0;
        uint32_t file = rows[i].file;
        if (seen[file])
            continue;
        seen[file] = true;
        const ice__file *f = &s->files[file];
        for (size_t k = 0; k < ncols; k++)
            if (cols[k].field_id != ICE_FIELD_ROW_START || (f->has_start && !f->fixed_start))
                stored[nstored++] = cols[k];
        ice_code rc = ice__file_prove(f, stored, nstored, err);
        if (rc != ICE_OK)
            return rc;
        ice_buf_puts(sql, sql->len ? " UNION ALL " : "");
        put_file_rows(s, file, rows, nrows, cols, ncols, stored, nstored, sql);
    }
    return ice_buf_check(sql, err);
}

/* A result row goes to every place that asked for it. */
static ice_code take_row(ice_result *r, size_t at, const ice_row *rows, size_t nrows, const ice_column *cols,
                         size_t ncols, ice_arena *a, ice_value *out, size_t *taken, ice_error *err)
{
    ice_value file, pos;
    ice_code rc = ICE_OK;
    ice_result_value(r, 0, at, &file);
    ice_result_value(r, 1, at, &pos);
    for (size_t i = 0; i < nrows && rc == ICE_OK; i++) {
        if (rows[i].file != (uint64_t)file.i || rows[i].pos != (uint64_t)pos.i)
            continue;
        for (size_t k = 0; k < ncols; k++)
            ice_result_value(r, k + 2, at, &out[i * ncols + k]);
        rc = keep_values(a, cols, ncols, &out[i * ncols], err);
        ++*taken;
    }
    return rc;
}

static ice_code read_cold(ice_view *v, const ice_row *rows, size_t nrows, const ice_column *cols, size_t ncols,
                          ice_arena *a, ice_value *out, ice_error *err)
{
    ice_env *env = v->env;
    ice_engine_conn *c = NULL;
    ice_result *r = NULL;
    ice_buf sql = {0};
    size_t n = 0, taken = 0;
    ice_code rc;
    ICE_TRY(put_rows(v->state->published, rows, nrows, cols, ncols, a, &sql, err));
    ICE_TRY(ice__engine_acquire(env, NULL, 0, &c, err));
    ICE_TRY(ice_engine_run(c, ice_buf_str(&sql), NULL, 0, &r, err));
    do {
        ICE_TRY(ice_result_next(r, &n, err));
        for (size_t i = 0; i < n; i++)
            ICE_TRY(take_row(r, i, rows, nrows, cols, ncols, a, out, &taken, err));
    } while (n);
    if (taken != nrows)
        rc = ice_fail(err, ICE_CORRUPT, "table %.*s: %zu of %zu rows are not in their data files",
                      ICE_PRI(v->state->def->name), nrows - taken, nrows);
out:
    if (rc != ICE_OK)
        ice__read_failed(err, v->state->def->name);
    ice_result_close(r);
    if (c)
        ice__engine_release(env, c);
    ice_buf_free(&sql);
    return rc;
}

static bool in_files(const ice_published *s, const ice_row *row)
{
    return s && row->file < s->nfiles && row->pos < s->files[row->file].entry.file.record_count;
}

/* The file whose rows were read last, and where from. */
typedef struct cached_file {
    bool known;
    uint32_t file;
    ice__values values;
} cached_file;

/* A row of a file, from the cache; *found false: only its Parquet file has it. */
static ice_code read_cached(ice_published *s, cached_file *from, const ice_row *row, const ice_column *cols,
                            size_t ncols, ice_arena *a, ice_value *out, bool *found, ice_error *err)
{
    ice__file *f = &s->files[row->file];
    ice_code rc = ICE_OK;
    if (!from->known || from->file != row->file) {
        ice__values_shed(&from->values);
        ICE_TRY(ice__file_values(s, f, cols, ncols, &from->values, err));
        from->known = true;
        from->file = row->file;
    }
    *found = from->values.chunk || from->values.rows;
    if (!*found)
        return ICE_OK;
    rc = ice__values_at(f, &from->values, row->pos, cols, ncols, out, err);
    *found = rc != ICE_CACHE; /* what is damaged in the cache the Parquet file still has */
    if (!*found) {
        ice__file_lost(s, f, err);
        *from = (cached_file){0};
    }
    if (rc == ICE_OK)
        rc = keep_values(a, cols, ncols, out, err);
    rc = *found ? rc : ICE_OK;
out:
    return rc;
}

/* Rows that are left for the engine, and their places in `out`. */
typedef struct cold_rows {
    size_t n;
    ice_row *rows;
    size_t *at;
} cold_rows;

static ice_code read_left(ice_view *v, const cold_rows *l, const ice_column *cols, size_t ncols, ice_arena *a,
                          ice_value *out, ice_error *err)
{
    ice_value *values = ICE_NEW_N(a, ice_value, l->n * ncols + 1);
    ice_code rc = values ? ICE_OK : ice_fail_nomem(err);
    if (rc == ICE_OK)
        rc = read_cold(v, l->rows, l->n, cols, ncols, a, values, err);
    for (size_t i = 0; i < l->n && rc == ICE_OK; i++)
        memcpy(&out[l->at[i] * ncols], &values[i * ncols], ncols * sizeof *values);
    return rc;
}

ice_code ice_view_rows(ice_view *v, const ice_row *rows, size_t nrows, const ice_column *cols, size_t ncols,
                       ice_arena *a, ice_value *out, ice_error *err)
{
    ice_published *s = v->state->published;
    cached_file from = {0};
    cold_rows left = {0};
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < nrows; i++) {
        bool found = true;
        if (rows[i].where != ICE_IN_BASE) {
            peek_memory(v, &rows[i], cols, ncols, &out[i * ncols]);
            ICE_TRY(keep_values(a, cols, ncols, &out[i * ncols], err));
            continue;
        }
        if (!in_files(s, &rows[i]))
            return ice_fail(err, ICE_MISUSE, "table %.*s: a row that is in none of its files",
                            ICE_PRI(v->state->def->name));
        ICE_TRY(read_cached(s, &from, &rows[i], cols, ncols, a, &out[i * ncols], &found, err));
        if (found)
            continue;
        if (!left.n) {
            left.rows = ICE_NEW_N(a, ice_row, nrows);
            left.at = ICE_NEW_N(a, size_t, nrows);
        }
        if (!left.rows || !left.at)
            return ice_fail_nomem(err);
        left.at[left.n] = i;
        left.rows[left.n++] = rows[i];
    }
    if (left.n)
        rc = read_left(v, &left, cols, ncols, a, out, err);
out:
    ice__values_shed(&from.values);
    return rc;
}

ice_code ice_view_row(ice_view *v, const ice_row *row, const ice_column *cols, size_t ncols, ice_arena *a,
                      ice_value *out, ice_error *err)
{
    return ice_view_rows(v, row, 1, cols, ncols, a, out, err);
}
