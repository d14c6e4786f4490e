/* Compaction of a partitioned table: rows move to files of their partition value.
 *
 * A flush writes what it has as one file, and so does the bulk path: such files are not in the table's spec,
 * their rows are loose. Compaction takes loose files and counts their rows by partition value. A value gets a
 * file of its own while the table has at most FEW_VALUES of them, else from VALUE_ROWS rows on, and
 * VALUES_MAX values at most in one compaction: what is left stays loose, in files sorted by value, so that
 * many small tenants do not become many small files. These settled files carry the loose sort order and are
 * left alone until more rows come to them. Files of one value are merged as those of a table without
 * partitions are.
 *
 * All chosen rows are sorted once into a file of our own, by value, and each output is a range of it: one
 * pass over the inputs, whatever the number of values, and no more in memory than DuckDB's sort takes. */
#include "table/flush_int.h"

#include <stdlib.h>

enum { FEW_VALUES = 64, VALUE_ROWS = 4096, VALUES_MAX = 4096 };
enum { LOOSE_FILES = 8, LOOSE_ROWS = 40960, SETTLED_ROWS = 81920 };

typedef struct tuple {
    size_t n;
    ice_value *values;
    int64_t incoming; /* loose rows that come to it */
} tuple;

typedef struct range {
    int64_t rank, first, count; /* rank -1: loose */
} range;

typedef struct placing {
    ice__edit *e;
    ice_published *s;
    ice_arena *a;
    const ice_tabledef *def;
    const ice__warm *warm;
    const ice_compact_options *o;
    ice__part *parts;
    size_t nparts;
    int32_t spec_id, loose_order;
    bool *chosen;
    size_t nchosen;
    int64_t nloose, loose_rows; /* of the chosen ones */
    tuple *tuples;              /* that get files, sorted */
    size_t ntuples;
    ice_column *cols; /* of the files written */
    size_t ncols;
    uint64_t rows;
    int64_t bytes; /* of the chosen files */
    ice_str temp, temp_path;
    range *ranges;
    size_t nranges;
} placing;

/* ---- tuples ---- */

static int by_values(const void *x, const void *y)
{
    const tuple *a = x, *b = y;
    for (size_t i = 0; i < a->n; i++) {
        int c = ice__order_cmp(&a->values[i], &b->values[i]);
        if (c)
            return c;
    }
    return 0;
}

static tuple *find_tuple(const placing *p, const tuple *t)
{
    return p->ntuples ? bsearch(t, p->tuples, p->ntuples, sizeof *t, by_values) : NULL;
}

static tuple tuple_of(const placing *p, size_t file)
{
    const ice_data_file *f = &p->s->files[file].entry.file;
    return (tuple){.n = p->nparts, .values = f->partition};
}

static bool is_placed(const placing *p, size_t file)
{
    const ice__file *f = &p->s->files[file];
    return f->spec_id == p->spec_id && f->entry.file.npartition == p->nparts;
}

/* ---- which files: loose ones ---- */

static bool is_settled(const placing *p, size_t file)
{
    const ice__file *f = &p->s->files[file];
    return f->entry.file.npartition == 0 && f->entry.file.sort_order_id == p->loose_order;
}

static void take(placing *p, size_t file)
{
    p->nchosen += !p->chosen[file];
    p->chosen[file] = true;
}

static void take_loose(placing *p, size_t file)
{
    if (!p->chosen[file]) {
        p->nloose++;
        p->loose_rows += p->s->files[file].entry.file.record_count;
    }
    take(p, file);
}

/* Unless asked to, not for a few rows; and in the background not all of a large table at once. */
static void choose_new(placing *p)
{
    int64_t files = 0, rows = 0;
    for (size_t i = 0; i < p->s->nfiles; i++)
        if (!is_placed(p, i) && !is_settled(p, i)) {
            files++;
            rows += p->s->files[i].entry.file.record_count;
        }
    if (!p->o->thorough && files < LOOSE_FILES && rows < LOOSE_ROWS)
        return;
    for (size_t i = p->s->nfiles; i-- > 0;)
        if (!is_placed(p, i) && !is_settled(p, i) && (p->o->thorough || p->loose_rows < 2 * ice__target_rows))
            take_loose(p, i);
}

static ice_code choose_settled(placing *p, ice_error *err)
{
    size_t *small = ICE_NEW_N(p->a, size_t, p->s->nfiles + 1), n = 0;
    if (!small)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < p->s->nfiles; i++)
        if (!is_placed(p, i) && is_settled(p, i)) {
            if (ice__many_deleted(&p->s->files[i], p->o))
                take_loose(p, i);
            else if (ice__is_small(&p->s->files[i]))
                small[n++] = i;
        }
    n = ice__choose_tier(p->s, small, n, p->o, SETTLED_ROWS, p->loose_rows);
    for (size_t i = 0; i < n; i++)
        take_loose(p, small[i]);
    return ICE_OK;
}

/* ---- values of the loose rows ---- */

static ice_code read_chosen(placing *p, ice__reading *r, bool all, const ice_column *cols, size_t ncols,
                            ice_error *err)
{
    ice_code rc = ICE_OK;
    ice__reading_init(r, p->e->env, cols, ncols, p->a);
    for (size_t i = 0; i < p->s->nfiles; i++)
        if (p->chosen[i] && (all || !is_placed(p, i)))
            ICE_TRY(ice__read_live(r, p->s, (uint32_t)i, NULL, 0, err));
out:
    return rc;
}

static ice_code count_sql(placing *p, const ice__reading *r, ice_buf *sql, ice_error *err)
{
    ice_buf_puts(sql, "SELECT ");
    for (size_t i = 0; i < p->nparts; i++) {
        ice__put_part(&p->parts[i], "q", sql);
        ice_buf_printf(sql, " AS k%zu, ", i);
    }
    ice_buf_puts(sql, "count(*) AS n FROM (");
    ice__put_reading(r, ICE_STR_NONE, ICE_STR_NONE, sql);
    ice_buf_printf(sql, ") AS q GROUP BY ALL ORDER BY n DESC LIMIT %d", VALUES_MAX);
    return ice_buf_check(sql, err);
}

/* Values to keep: a column's own type may be told apart by DuckDB only by its width. */
static ice_code read_tuple(placing *p, ice_result *r, size_t row, ice_error *err)
{
    tuple *t = &p->tuples[p->ntuples];
    ice_value n;
    ice_code rc = ICE_OK;
    *t = (tuple){.n = p->nparts, .values = ICE_NEW_N(p->a, ice_value, p->nparts)};
    if (!t->values)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < p->nparts; i++) {
        ice_value v;
        ice_result_value(r, i, row, &v);
        if (!v.null && v.kind != p->parts[i].type.kind)
            ICE_TRY(ice_value_cast(p->a, &v, p->parts[i].type, &v, err));
        ICE_TRY(ice_value_copy(p->a, &v, &t->values[i], err));
    }
    ice_result_value(r, p->nparts, row, &n);
    t->incoming = n.i;
    p->ntuples++;
out:
    return rc;
}

static ice_code run_count(placing *p, ice__reading *r, ice_str sql, ice_error *err)
{
    ice_engine_conn *c = NULL;
    ice_result *result = NULL;
    size_t n;
    ice_code rc;
    ICE_TRY(ice__engine_acquire(p->e->env, r->names, r->nnames, &c, err));
    ICE_TRY(ice_engine_run(c, sql, NULL, 0, &result, err));
    do {
        ICE_TRY(ice_result_next(result, &n, err));
        for (size_t i = 0; i < n; i++)
            ICE_TRY(read_tuple(p, result, i, err));
    } while (n);
out:
    ice_result_close(result);
    if (c)
        ice__engine_release(p->e->env, c);
    return rc;
}

/* The tuples with enough rows, sorted; `values`: how many the table has files of already. */
static void keep_worthy(placing *p, size_t values)
{
    size_t kept = 0;
    qsort(p->tuples, p->ntuples, sizeof *p->tuples, by_values);
    for (size_t i = 0; i < p->s->nfiles; i++)
        if (is_placed(p, i)) {
            tuple t = tuple_of(p, i);
            values -= find_tuple(p, &t) != NULL;
        }
    bool few = p->ntuples + values <= FEW_VALUES;
    for (size_t i = 0; i < p->ntuples; i++)
        if (few || p->tuples[i].incoming >= VALUE_ROWS)
            p->tuples[kept++] = p->tuples[i];
    p->ntuples = kept;
}

static ice_code count_values(placing *p, ice_error *err)
{
    ice_column *cols = ICE_NEW_N(p->a, ice_column, p->nparts + 1);
    ice__reading r = {0};
    ice_buf sql = {0};
    size_t ncols = 0, placed = 0;
    ice_code rc = ICE_OK;
    if (!cols)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < p->nparts; i++) {
        size_t k = 0;
        while (k < ncols && cols[k].field_id != p->parts[i].col->field_id)
            k++;
        cols[k] = *p->parts[i].col;
        ncols += k == ncols;
    }
    ICE_TRY(read_chosen(p, &r, false, cols, ncols, err));
    if (r.rows) {
        ICE_TRY(count_sql(p, &r, &sql, err));
        ICE_TRY(run_count(p, &r, ice_buf_str(&sql), err));
    }
    for (size_t i = 0; i < p->s->nfiles; i++)
        placed += is_placed(p, i);
    keep_worthy(p, placed);
out:
    ice_buf_free(&sql);
    ice__reading_free(&r);
    return rc;
}

/* ---- which files: placed ones ---- */

typedef struct placed {
    tuple t;
    size_t file;
} placed;

static int by_tuple(const void *x, const void *y)
{
    return by_values(&((const placed *)x)->t, &((const placed *)y)->t);
}

/* Files [0, n) of one value. True: some are to be written anew, and the value is among those that get files.
 */
static bool choose_of_value(placing *p, const placed *list, size_t n, size_t *small)
{
    const tuple *known = find_tuple(p, &list[0].t);
    size_t nsmall = 0, before = p->nchosen;
    for (size_t i = 0; i < n; i++) {
        if (ice__many_deleted(&p->s->files[list[i].file], p->o))
            take(p, list[i].file);
        else if (ice__is_small(&p->s->files[list[i].file]))
            small[nsmall++] = list[i].file;
    }
    nsmall = ice__choose_tier(p->s, small, nsmall, p->o, VALUE_ROWS, known ? known->incoming : 0);
    for (size_t i = 0; i < nsmall; i++)
        take(p, small[i]);
    return p->nchosen > before && !known;
}

static ice_code choose_placed(placing *p, ice_error *err)
{
    placed *list = ICE_NEW_N(p->a, placed, p->s->nfiles + 1);
    size_t *small = ICE_NEW_N(p->a, size_t, p->s->nfiles + 1), n = 0, more = 0, to;
    if (!list || !small)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < p->s->nfiles; i++)
        if (is_placed(p, i))
            list[n++] = (placed){tuple_of(p, i), i};
    qsort(list, n, sizeof *list, by_tuple);
    for (size_t from = 0; from < n; from = to) {
        for (to = from + 1; to < n && by_tuple(&list[from], &list[to]) == 0;)
            to++;
        if (choose_of_value(p, &list[from], to - from, small))
            p->tuples[p->ntuples + more++] = list[from].t; /* behind the sorted ones */
    }
    p->ntuples += more;
    qsort(p->tuples, p->ntuples, sizeof *p->tuples, by_values);
    return ICE_OK;
}

static ice_code choose(placing *p, ice_error *err)
{
    ice_code rc = ICE_OK;
    p->chosen = ICE_NEW_N(p->a, bool, p->s->nfiles + 1);
    p->tuples = ICE_NEW_N(p->a, tuple, VALUES_MAX + p->s->nfiles + 1);
    if (!p->chosen || !p->tuples)
        return ice_fail_nomem(err);
    choose_new(p);
    ICE_TRY(choose_settled(p, err));
    if (p->nloose)
        ICE_TRY(count_values(p, err));
    ICE_TRY(choose_placed(p, err));
out:
    return rc;
}

/* ---- sorting ---- */

/* A source of the values that get files and their ranks. */
static ice_code ranks_source(placing *p, ice_source **out, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_column *cols = a ? ICE_NEW_N(a, ice_column, p->nparts + 1) : NULL;
    ice_vec *vecs = a ? ICE_NEW_N(a, ice_vec, p->nparts + 1) : NULL;
    ice_code rc = cols && vecs ? ICE_OK : ice_fail_nomem(err);
    for (size_t k = 0; k <= p->nparts && rc == ICE_OK; k++) {
        bool rank = k == p->nparts;
        ice__fill fill;
        char *name = ice_arena_printf(a, rank ? "__ice_rank" : "__ice_k%zu", k);
        cols[k] = (ice_column){.name = ice_str_c(name), .type = {.kind = ICE_T_LONG}};
        if (!rank)
            cols[k].type = p->parts[k].type;
        rc = name ? ice__fill_init(&fill, a, cols[k].type, p->ntuples, err) : ice_fail_nomem(err);
        for (size_t i = 0; i < p->ntuples && rc == ICE_OK; i++) {
            ice_value v = {.kind = ICE_T_LONG, .i = (int64_t)i};
            ice__fill_set(&fill, i, rank ? &v : &p->tuples[i].values[k]);
        }
        if (rc == ICE_OK)
            ice__fill_vec(&fill, &vecs[k]);
    }
    if (rc == ICE_OK)
        rc = ice__list_source_create(a, cols, vecs, p->nparts + 1, p->ntuples, out, err);
    if (rc != ICE_OK)
        ice_arena_free(a);
    return rc;
}

static void put_columns(const placing *p, const char *alias, ice_buf *b)
{
    for (size_t i = 0; i < p->ncols; i++) {
        ice_buf_printf(b, "%s%s.", i ? ", " : "", alias);
        ice_buf_put_ident(b, p->cols[i].name);
    }
}

static ice_code sort_sql(placing *p, const ice__reading *r, const char *ranks, ice_buf *sql, ice_error *err)
{
    ice_str order;
    ice_code rc;
    ICE_TRY(ice__cluster_order(p->def, true, p->a, &order, err));
    ice_buf_puts(sql, "COPY (SELECT ");
    put_columns(p, "q", sql);
    ice_buf_puts(sql, ", v.\"__ice_rank\" FROM (");
    ice__put_reading(r, ICE_STR_NONE, ICE_STR_NONE, sql);
    ice_buf_printf(sql, ") AS q LEFT JOIN \"%s\" AS v ON ", ranks);
    for (size_t i = 0; i < p->nparts; i++) {
        ice_buf_puts(sql, i ? " AND " : "");
        ice__put_part(&p->parts[i], "q", sql);
        ice_buf_printf(sql, " IS NOT DISTINCT FROM v.\"__ice_k%zu\"", i);
    }
    ice_buf_printf(sql, " ORDER BY v.\"__ice_rank\" NULLS LAST, %.*s) TO ", ICE_PRI(order));
    ice_buf_put_quoted(sql, p->temp_path);
    /* Small row groups: an output reads few rows that are another's. */
    ice_buf_puts(sql, " (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 8192, USE_TMP_FILE false)");
    ICE_TRY(ice_buf_check(sql, err));
out:
    return rc;
}

static ice_code sort_rows(placing *p, ice_error *err)
{
    ice_store *store = p->e->env->store;
    ice__reading r = {0};
    ice_engine_conn *c = NULL;
    ice_source *ranks;
    ice_buf sql = {0};
    char *name;
    ice_code rc;
    ICE_TRY(ice__table_columns(p->def, true, p->a, &p->cols, &p->ncols, err));
    ICE_TRY(read_chosen(p, &r, true, p->cols, p->ncols, err));
    p->rows = r.rows;
    if (r.rows == 0)
        goto out;
    ICE_TRY(ice__data_key(p->a, p->e->dir, p->e->m->current_schema_id, &p->temp, err));
    ICE_TRY(ice_store_path(store, p->a, p->temp, &p->temp_path, err));
    ICE_TRY(store->m->make_parent(store, p->temp, err));
    ICE_TRY(ranks_source(p, &ranks, err));
    ICE_TRY(ice__reading_add(&r, ranks, &name, err));
    ICE_TRY(sort_sql(p, &r, name, &sql, err));
    ICE_TRY(ice__engine_acquire(p->e->env, r.names, r.nnames, &c, err));
    ICE_TRY(ice_engine_exec(c, ice_buf_str(&sql), err));
out:
    if (c)
        ice__engine_release(p->e->env, c);
    ice_buf_free(&sql);
    ice__reading_free(&r);
    return rc;
}

/* ---- the ranges of the sorted rows ---- */

static ice_code read_range(placing *p, ice_result *r, size_t row, ice_error *err)
{
    ice_value v[4];
    for (size_t i = 0; i < 4; i++)
        ice_result_value(r, i, row, &v[i]);
    int64_t next = p->nranges ? p->ranges[p->nranges - 1].first + p->ranges[p->nranges - 1].count : 0;
    range got = {.rank = v[0].null ? -1 : v[0].i, .first = v[1].i, .count = v[3].i};
    if (p->nranges > p->ntuples || got.first != next || v[2].i - v[1].i + 1 != got.count ||
        got.rank >= (int64_t)p->ntuples)
        return ice_fail(err, ICE_INTERNAL,
                        "%.*s: its rows are not in the order of their partitions; nothing was published",
                        ICE_PRI(p->temp));
    p->ranges[p->nranges++] = got;
    return ICE_OK;
}

static ice_code find_ranges(placing *p, ice_error *err)
{
    ice_engine_conn *c = NULL;
    ice_result *r = NULL;
    ice_buf sql = {0};
    uint64_t total = 0;
    size_t n;
    ice_code rc;
    p->ranges = ICE_NEW_N(p->a, range, p->ntuples + 2);
    if (!p->ranges)
        return ice_fail_nomem(err);
    ice_buf_puts(
        &sql,
        "SELECT \"__ice_rank\", min(file_row_number), max(file_row_number), count(*) FROM read_parquet([");
    ice_buf_put_quoted(&sql, p->temp_path);
    ice_buf_puts(&sql, "], hive_partitioning = false) GROUP BY 1 ORDER BY 2");
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__engine_acquire(p->e->env, NULL, 0, &c, err));
    ICE_TRY(ice_engine_run(c, ice_buf_str(&sql), NULL, 0, &r, err));
    do {
        ICE_TRY(ice_result_next(r, &n, err));
        for (size_t i = 0; i < n; i++)
            ICE_TRY(read_range(p, r, i, err));
    } while (n);
    for (size_t i = 0; i < p->nranges; i++)
        total += (uint64_t)p->ranges[i].count;
    if (total != p->rows)
        rc = ice_fail(err, ICE_INTERNAL, "%.*s has %llu rows, %llu were expected; nothing was published",
                      ICE_PRI(p->temp), (unsigned long long)total, (unsigned long long)p->rows);
out:
    ice_result_close(r);
    if (c)
        ice__engine_release(p->e->env, c);
    ice_buf_free(&sql);
    return rc;
}

/* ---- writing ---- */

static ice_code write_piece(placing *p, const range *g, int64_t first, int64_t count, ice_error *err)
{
    bool loose = g->rank < 0;
    ice__output o = {.cols = p->cols,
                     .ncols = p->ncols,
                     .rows = (uint64_t)count,
                     .spec_id = loose ? 0 : p->spec_id,
                     .npartition = loose ? 0 : p->nparts,
                     .partition = loose ? NULL : p->tuples[g->rank].values,
                     .sort_order_id = loose ? p->loose_order : -1,
                     .warm = p->warm};
    ice_buf sql = {0};
    ice_code rc;
    ice_buf_puts(&sql, "SELECT ");
    put_columns(p, "f", &sql);
    ice_buf_puts(&sql, " FROM read_parquet([");
    ice_buf_put_quoted(&sql, p->temp_path);
    ice_buf_printf(
        &sql,
        "], hive_partitioning = false) AS f WHERE f.file_row_number >= %lld AND f.file_row_number < %lld",
        (long long)first, (long long)(first + count));
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__write_query(p->e, NULL, 0, ice_buf_str(&sql), &o, err));
out:
    ice_buf_free(&sql);
    return rc;
}

/* Rows of a file: as many as the limits of a file allow, by what the inputs took for a row. */
static int64_t piece_rows(const placing *p)
{
    int64_t width = p->bytes / (int64_t)(p->rows ? p->rows : 1) + 1, fit = ice__target_bytes / width;
    return fit < ice__target_rows ? fit : ice__target_rows;
}

static ice_code write_ranges(placing *p, ice_error *err)
{
    int64_t most = piece_rows(p);
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < p->nranges; i++) {
        const range *g = &p->ranges[i];
        for (int64_t at = 0; at < g->count; at += most)
            ICE_TRY(write_piece(p, g, g->first + at, g->count - at < most ? g->count - at : most, err));
    }
out:
    return rc;
}

static ice_code write_all(placing *p, ice_error *err)
{
    ice_store *store = p->e->env->store;
    ice_code rc;
    ICE_TRY(sort_rows(p, err));
    if (p->rows) {
        ICE_TRY(find_ranges(p, err));
        ICE_TRY(write_ranges(p, err));
    }
out:
    /* No metadata ever named it. */
    if (p->temp.ptr && store->m->remove(store, p->temp, rc == ICE_OK ? err : NULL) != ICE_OK && rc == ICE_OK)
        rc = ICE_IO;
    return rc;
}

ice_code ice__place(ice__edit *e, const ice__warm *warm, const ice_tabledef *def, const ice_compact_options *o,
                    bool *did, ice_error *err)
{
    placing p = {.e = e, .s = e->from, .a = e->a, .def = def, .warm = warm, .o = o};
    ice_code rc;
    ICE_TRY(ice__edit_partitions(e, def, err));
    ICE_TRY(ice__parts_of(def, e->a, &p.parts, &p.nparts, err));
    ICE_TRY(ice__edit_loose_order(e, p.parts, p.nparts, &p.loose_order, err));
    p.spec_id = e->m->default_spec_id;
    ICE_TRY(choose(&p, err));
    if (p.nchosen == 0)
        return ICE_OK;
    for (size_t i = 0; i < p.s->nfiles; i++)
        if (p.chosen[i]) {
            ice__edit_remove(e, i);
            p.bytes += p.s->files[i].entry.file.size;
        }
    ICE_TRY(write_all(&p, err));
    *did = true;
out:
    return rc;
}
