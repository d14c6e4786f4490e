/* Pruning: which files of a cold table can hold rows that a statement asks for.
 *
 * A statement is planned once with a probe in the table's place: a source without rows that records, for each
 * scan DuckDB binds to it, the predicates its optimizer offers. That plan is thrown away, and the files are
 * judged by what was recorded: by the partition values and the column statistics in the manifests, then by
 * the key indexes where a unique key is given.
 *
 * A file is left out only when every scan of the probe has a filter that none of its rows can meet. Whatever
 * is not known keeps it: a predicate that is no comparison of a plain column with constants, a bound that is
 * missing, a scan that was not offered any filter, a plan that DuckDB still holds on to. */
#include "table/table_int.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { MANY_FILES = 8, LOOKUPS_MAX = 64, KEY_MAX = 32 };

typedef struct scan_filters {
    size_t n;
    ice_filter *filters;
} scan_filters;

struct ice_probe {
    atomic_int refs;
    pthread_mutex_t lock; /* of what is recorded */
    ice_arena *arena;
    ice_column *cols;
    size_t ncols;
    uint64_t rows;
    size_t nscans, cap;
    scan_filters *scans;
    bool failed;             /* something could not be recorded */
    bool complete;           /* nobody can record any more */
    bool *current, *history; /* files to read; NULL: all of them */
};

/* ---- recording ---- */

typedef struct probe_source {
    ice_source base;
    ice_probe *probe;
} probe_source;

void ice_probe_unref(ice_probe *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&p->lock);
    ice_arena_free(p->arena);
    free(p->scans);
    free(p);
}

static void probe_columns(ice_source *src, const ice_column **cols, size_t *n)
{
    *cols = ((probe_source *)src)->probe->cols;
    *n = ((probe_source *)src)->probe->ncols;
}

static uint64_t probe_cardinality(ice_source *src)
{
    return ((probe_source *)src)->probe->rows;
}

static ice_code probe_open(ice_source *src, const ice_filter *filters, size_t nfilters, const int *projection,
                           size_t nprojection, void **state, uint64_t *max_threads, ice_error *err)
{
    (void)filters, (void)nfilters, (void)projection, (void)nprojection, (void)err;
    *state = src;
    *max_threads = 1;
    return ICE_OK;
}

static ice_code probe_next(ice_source *src, void *state, void **worker, ice_batch *out, ice_error *err)
{
    (void)src, (void)state, (void)worker, (void)err;
    *out = (ice_batch){0};
    return ICE_OK;
}

static void probe_close(ice_source *src, void *state)
{
    (void)src, (void)state;
}

static bool copy_filter(ice_probe *p, const ice_filter *f, ice_filter *out)
{
    ice_value *values = ICE_NEW_N(p->arena, ice_value, f->nvalues + 1);
    *out = *f;
    out->values = values;
    for (size_t i = 0; values && i < f->nvalues; i++)
        if (ice_value_copy(p->arena, &f->values[i], &values[i], NULL) != ICE_OK)
            return false;
    return values != NULL;
}

static bool record(ice_probe *p, const ice_filter *filters, size_t n)
{
    if (!ICE_HEAP_ROOM(p->scans, p->nscans, p->cap))
        return false;
    scan_filters *s = &p->scans[p->nscans];
    *s = (scan_filters){.n = n, .filters = ICE_NEW_N(p->arena, ice_filter, n + 1)};
    for (size_t i = 0; s->filters && i < n; i++)
        if (!copy_filter(p, &filters[i], &s->filters[i]))
            return false;
    p->nscans++;
    return s->filters != NULL;
}

static void probe_planned(ice_source *src, const ice_filter *filters, size_t n)
{
    ice_probe *p = ((probe_source *)src)->probe;
    pthread_mutex_lock(&p->lock);
    p->failed |= !record(p, filters, n);
    pthread_mutex_unlock(&p->lock);
}

static void probe_release(ice_source *src)
{
    ice_probe *p = ((probe_source *)src)->probe;
    pthread_mutex_lock(&p->lock);
    p->complete = true;
    pthread_mutex_unlock(&p->lock);
    ice_probe_unref(p);
    free(src);
}

static const ice_source_methods probe_methods = {
    .columns = probe_columns,
    .cardinality = probe_cardinality,
    .open = probe_open,
    .next = probe_next,
    .close = probe_close,
    .close_worker = probe_close,
    .release = probe_release,
    .planned = probe_planned,
};

bool ice_view_wants_probe(ice_view *v)
{
    const ice_published *p = v->state->published;
    return p && p->nfiles > MANY_FILES && !ice__view_is_hot(v);
}

ice_code ice_view_probe(ice_view *v, bool with_start, ice_source **source, ice_probe **out, ice_error *err)
{
    ice_probe *p = calloc(1, sizeof *p);
    probe_source *s = calloc(1, sizeof *s);
    ice_code rc = p && s && (p->arena = ice_arena_create()) ? ICE_OK : ice_fail_nomem(err);
    if (rc == ICE_OK)
        rc = ice__view_columns(v, with_start, p->arena, &p->cols, &p->ncols, err);
    if (rc != ICE_OK) {
        ice_arena_free(p ? p->arena : NULL);
        free(p);
        free(s);
        return rc;
    }
    pthread_mutex_init(&p->lock, NULL);
    atomic_init(&p->refs, 2);
    p->rows = v->state->published->rows;
    *s = (probe_source){.base.m = &probe_methods, .probe = p};
    *source = &s->base;
    *out = p;
    return ICE_OK;
}

/* ---- statistics ---- */

/* What is known of a column in a file. */
typedef struct column_range {
    bool bounds; /* every value but NaN is from lower to upper */
    ice_value lower, upper;
    bool may_null, may_value, may_nan;
} column_range;

static bool is_float(const ice_column *c)
{
    return c->type.kind == ICE_T_FLOAT || c->type.kind == ICE_T_DOUBLE;
}

/* A column that came after the file has one value in all of its rows. */
static bool is_newer(const ice_published *s, const ice__file *f, const ice_column *c)
{
    const ice_schema *schema = f->schema_id >= 0 ? ice_metadata_schema(s->meta, f->schema_id) : NULL;
    return schema && f->entry.file.ncolumns && !ice_schema_field(schema, c->field_id);
}

static column_range range_of(const ice_published *s, const ice__file *f, const ice_column *c, bool history)
{
    const ice_file_column *m = ice_data_file_column(&f->entry.file, c->field_id);
    column_range r = {.may_null = true, .may_value = true, .may_nan = is_float(c)};
    if (!m && !history && is_newer(s, f, c)) {
        bool null = !c->has_initial || c->initial.null;
        return (column_range){.bounds = !null,
                              .lower = c->initial,
                              .upper = c->initial,
                              .may_null = null,
                              .may_value = !null,
                              .may_nan = is_float(c)};
    }
    if (!m)
        return r;
    r.may_null = m->nulls != 0;
    r.may_value = m->nulls < 0 || m->nulls < f->entry.file.record_count;
    r.may_nan = is_float(c) && m->nans != 0;
    r.bounds = ice__file_bounds(f, c->field_id, c->type, &r.lower, &r.upper);
    return r;
}

/* Can a value of the range be `op` v? NaN is above all numbers, as DuckDB has it. */
static bool range_meets(const column_range *r, ice_filter_op op, const ice_value *v)
{
    if (!r->may_value)
        return false;
    if (!r->bounds || ((v->kind == ICE_T_FLOAT || v->kind == ICE_T_DOUBLE) && v->d != v->d))
        return true;
    int low = ice_value_cmp(&r->lower, v), high = ice_value_cmp(&r->upper, v);
    if (ice_fault("table.prune")) /* for the test that finds a wrong answer */
        high = -1;
    switch (op) {
    case ICE_F_LT:
        return low < 0;
    case ICE_F_LE:
        return low <= 0;
    case ICE_F_GT:
        return high > 0 || r->may_nan;
    case ICE_F_GE:
        return high >= 0 || r->may_nan;
    default:
        return low <= 0 && high >= 0;
    }
}

static bool statistics_meet(const column_range *r, const ice_filter *f)
{
    if (f->op == ICE_F_IS_NULL)
        return r->may_null;
    if (f->op == ICE_F_NOT_NULL || f->nvalues == 0)
        return r->may_value;
    for (size_t i = 0; i < f->nvalues; i++)
        if (range_meets(r, f->op, &f->values[i]))
            return true;
    return false;
}

/* ---- partition values ---- */

/* Can a row whose transformed value is `part` be `op` v? */
static bool value_meets(ice_transform t, const ice_value *part, ice_filter_op op, const ice_value *v)
{
    ice_value at;
    bool equality = op == ICE_F_EQ || op == ICE_F_IN;
    if (ice_transform_apply(t, v, &at, NULL) != ICE_OK || at.null ||
        (!equality && !ice_transform_monotonic(t)))
        return true;
    int c = ice_value_cmp(part, &at);
    switch (op) {
    case ICE_F_LT:
    case ICE_F_LE:
        return c <= 0;
    case ICE_F_GT:
    case ICE_F_GE:
        return c >= 0;
    default:
        return c == 0;
    }
}

static bool partition_meets(const ice_partition_field *p, const ice_value *part, const ice_filter *f)
{
    bool known =
        p->transform.kind != ICE_TR_UNKNOWN && p->transform.kind != ICE_TR_VOID && !p->source_ids_json.ptr;
    if (!known)
        return true;
    if (f->op == ICE_F_IS_NULL || f->op == ICE_F_NOT_NULL)
        return part->null == (f->op == ICE_F_IS_NULL);
    if (part->null)
        return false;
    for (size_t i = 0; i < f->nvalues; i++)
        if (value_meets(p->transform, part, f->op, &f->values[i]))
            return true;
    return f->nvalues == 0;
}

static bool partitions_meet(const ice_published *s, const ice__file *file, const ice_column *c,
                            const ice_filter *f)
{
    const ice_partition_spec *spec = ice_metadata_spec(s->meta, file->spec_id);
    for (size_t i = 0; spec && i < spec->nfields && i < file->entry.file.npartition; i++)
        if (spec->fields[i].source_id == c->field_id &&
            !partition_meets(&spec->fields[i], &file->entry.file.partition[i], f))
            return false;
    return true;
}

/* ---- files ---- */

static bool scan_meets(const ice_probe *p, const scan_filters *scan, const ice_published *s,
                       const ice__file *f, bool history)
{
    for (size_t i = 0; i < scan->n; i++) {
        const ice_column *c = &p->cols[scan->filters[i].column];
        /* What a view shows of its own columns is not what files say. */
        if (ice__is_system(c->field_id))
            continue;
        column_range r = range_of(s, f, c, history);
        if (!statistics_meet(&r, &scan->filters[i]) || !partitions_meet(s, f, c, &scan->filters[i]))
            return false;
    }
    return true;
}

static ice_code judge(const ice_probe *p, const ice_published *s, bool history, bool **out, ice_error *err)
{
    *out = ICE_NEW_N(p->arena, bool, s->nfiles + 1);
    if (!*out)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < s->nfiles; i++)
        for (size_t k = 0; k < p->nscans && !(*out)[i]; k++)
            (*out)[i] = scan_meets(p, &p->scans[k], s, &s->files[i], history);
    return ICE_OK;
}

/* ---- key indexes ---- */

typedef struct key_lookup {
    ice_view *v;
    size_t key;
    const ice_filter *filters[KEY_MAX];
    ice_value values[KEY_MAX];
    ice_keyindex *index;
} key_lookup;

/* A unique key whose columns the scan compares with few values each. */
static bool covers(const ice_probe *p, const scan_filters *scan, key_lookup *l, const ice_key *key)
{
    size_t product = key->unique && key->ncols <= KEY_MAX ? 1 : 0;
    for (size_t i = 0; i < key->ncols && product; i++) {
        int32_t id = l->v->state->def->cols[key->cols[i]].field_id;
        l->filters[i] = NULL;
        for (size_t k = 0; k < scan->n; k++) {
            const ice_filter *f = &scan->filters[k];
            bool equal = f->op == ICE_F_EQ || (f->op == ICE_F_IN && f->nvalues);
            if (equal && p->cols[f->column].field_id == id)
                l->filters[i] = f;
        }
        product =
            l->filters[i] && l->filters[i]->nvalues <= LOOKUPS_MAX ? product * l->filters[i]->nvalues : 0;
    }
    return product > 0 && product <= LOOKUPS_MAX;
}

static bool any_value(key_lookup *l, size_t column)
{
    const ice_key *key = &l->v->state->keys.keys[l->key];
    const ice_keypair *pairs;
    size_t n = 0;
    if (column == key->ncols) /* a damaged index leaves nothing out */
        return ice_keyindex_find(l->index, ice_key_hash(l->values, key->ncols), &pairs, &n, NULL) != ICE_OK || n > 0;
    for (size_t i = 0; i < l->filters[column]->nvalues; i++) {
        l->values[column] = l->filters[column]->values[i];
        if (any_value(l, column + 1))
            return true;
    }
    return false;
}

/* One scan only: others would want other files. */
static ice_code look_up_keys(ice_view *v, ice_probe *p, ice_error *err)
{
    ice_published *s = v->state->published;
    const ice_keys *keys = &v->state->keys;
    key_lookup l = {.v = v};
    ice__values unused;
    size_t left = 0;
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < s->nfiles; i++)
        left += p->current[i];
    if (p->nscans != 1 || left < 2)
        return ICE_OK;
    while (l.key < keys->n && !covers(p, &p->scans[0], &l, &keys->keys[l.key]))
        l.key++;
    for (size_t i = 0; i < s->nfiles && l.key < keys->n; i++)
        if (p->current[i]) {
            rc = ice__file_key(s, &s->files[i], v->state->def, keys, l.key, &l.index, &unused, err);
            if (rc == ICE_DISK_FULL || rc == ICE_IO || rc == ICE_CACHE) /* an index that cannot be made prunes nothing */
                return ICE_OK;
            if (rc != ICE_OK)
                return rc;
            p->current[i] = any_value(&l, 0);
        }
    return rc;
}

ice_code ice_probe_finish(ice_probe *p, ice_view *v, ice_error *err)
{
    ice_published *history = NULL;
    ice_code rc = ICE_OK;
    pthread_mutex_lock(&p->lock);
    bool usable = p->complete && !p->failed;
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->nscans && usable; i++)
        usable = p->scans[i].n > 0;
    if (!usable || p->nscans == 0)
        return ICE_OK;
    if (!ice__view_is_present(v))
        ICE_TRY(ice__published_history(v->state->published, &history, err));
    if (history)
        ICE_TRY(judge(p, history, true, &p->history, err));
    ICE_TRY(judge(p, v->state->published, false, &p->current, err));
    if (ice__view_is_present(v))
        ICE_TRY(look_up_keys(v, p, err));
out:
    return rc;
}

bool ice__probe_keeps(const ice_probe *p, bool history, size_t file)
{
    const bool *keep = !p ? NULL : history ? p->history : p->current;
    return !keep || keep[file];
}

static bool *any_keeps(ice_probe *const *probes, size_t n, bool history, size_t nfiles, ice_arena *a)
{
    bool *keep = ICE_NEW_N(a, bool, nfiles + 1);
    for (size_t i = 0; keep && i < nfiles; i++)
        for (size_t k = 0; k < n; k++)
            keep[i] |= ice__probe_keeps(probes[k], history, i);
    return keep;
}

ice_probe *ice__probes_together(ice_view *v, ice_probe *const *probes, size_t n, ice_arena *a)
{
    ice_probe *p = ICE_NEW(a, ice_probe);
    ice_published *history = NULL;
    if (!p ||
        (!ice__view_is_present(v) && ice__published_history(v->state->published, &history, NULL) != ICE_OK))
        return NULL;
    p->current = any_keeps(probes, n, false, v->state->published->nfiles, a);
    if (history)
        p->history = any_keeps(probes, n, true, history->nfiles, a);
    return p;
}
