/* Chunk source of a view: decoded files in runs of 2048 rows, then the tail, then the overlay.
 *
 * Workers take runs by an atomic counter; the batches of tail and overlay, which are few, under a mutex, so
 * that each has a place in the source's order. A scan that is offered EQ or IN filters on all columns of a
 * key produces the rows of a look-up instead. Everything files need (chunks, deletion vectors) is opened when
 * the source is made: a callback of the engine must not wait for the engine. */
#include "table/table_int.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { LOOKUPS_MAX = 1024, KEY_MAX = 32 };

typedef struct hot_file {
    ice__file *file;
    uint32_t index, rows;
    uint64_t first_run;
    const ice_dv *dv;
    ice_vec *vecs; /* of the source's columns */
    ice_vec_const *mem;
} hot_file;

typedef struct hot_source {
    ice_source base;
    ice_arena *arena;
    ice_view v; /* with references of its own */
    ice_tail_which which;
    bool files_in;
    ice_column *cols;
    size_t ncols;
    ice__dead *ended_by_tail, *ended_by_overlay;
    hot_file *files;
    uint32_t *places; /* of a data file in `files`, by its index in the published state */
    size_t nfiles;
    uint64_t nruns, claimed;
    ice__plan plan; /* of the statement whose first arm this is: what it reads is proved when the scan begins */
} hot_source;

typedef struct hot_scan {
    hot_source *s;
    ice_arena *arena;
    int *projection;
    size_t n;
    ice_column *cols; /* projected ones, without the "no column" places */
    size_t ncols;
    bool lookup;
    ice_row *rows;
    size_t nrows;
    _Atomic uint64_t next;
    pthread_mutex_t lock; /* of tail, overlay, batches */
    ice_tail_scan *tail, *overlay;
    uint64_t batches;
} hot_scan;

typedef struct hot_worker {
    ice_arena *arena;
    ice_vec *vecs;
    ice__fill *fills; /* made on first use: look-ups and promotions */
    void *tail, *overlay;
    uint64_t order;
    uint8_t ended[ICE_BATCH_ROWS / 8];
    uint32_t sel[ICE_BATCH_ROWS];
} hot_worker;

/* ---- what the source says ---- */

static void hot_columns(ice_source *src, const ice_column **cols, size_t *n)
{
    hot_source *s = (hot_source *)src;
    *cols = s->cols;
    *n = s->ncols;
}

static uint64_t hot_cardinality(ice_source *src)
{
    hot_source *s = (hot_source *)src;
    ice_tail_counts counts;
    ice_tail_counts_get(s->v.state->tail, &counts);
    uint64_t n = counts.live + (s->files_in ? s->v.state->published->rows : 0) + s->claimed;
    if (s->v.overlay) {
        ice_tail_counts_get(s->v.overlay, &counts);
        n += counts.live;
    }
    return n;
}

void ice__source_claim_rows(ice_source *src, uint64_t rows)
{
    ((hot_source *)src)->claimed = rows;
}

ice_code ice__source_prove(ice_source *src, const ice__plan *plan, ice_error *err)
{
    hot_source *s = (hot_source *)src;
    ice__branch *to = ICE_NEW_N(s->arena, ice__branch, plan->nbranches + 1);
    for (size_t i = 0; to && i < plan->nbranches; i++) {
        to[i] = plan->branches[i];
        to[i].files = ICE_NEW_N(s->arena, uint32_t, to[i].nfiles + 1);
        if (!to[i].files)
            return ice_fail_nomem(err);
        memcpy(to[i].files, plan->branches[i].files, to[i].nfiles * sizeof *to[i].files);
    }
    if (!to)
        return ice_fail_nomem(err);
    s->plan = *plan;
    s->plan.branches = to;
    return ICE_OK;
}

static uint64_t hot_order(ice_source *src, void *worker)
{
    (void)src;
    return worker ? ((hot_worker *)worker)->order : 0;
}

/* ---- look-ups ---- */

typedef struct lookup {
    hot_scan *scan;
    const ice_filter *filters[KEY_MAX]; /* for each column of the key */
    ice_value values[KEY_MAX];
    size_t key, cap;
    uint64_t budget; /* rows left until a scan is cheaper */
} lookup;

static const ice_filter *filter_of(const hot_source *s, const ice_filter *filters, size_t n, int32_t field_id)
{
    const ice_filter *best = NULL;
    for (size_t i = 0; i < n; i++) {
        bool fits = filters[i].op == ICE_F_EQ || (filters[i].op == ICE_F_IN && filters[i].nvalues > 0);
        if (fits && s->cols[filters[i].column].field_id == field_id &&
            (!best || filters[i].nvalues < best->nvalues))
            best = &filters[i];
    }
    return best;
}

/* The key with the fewest combinations of the filters' values; false: none is covered by them. */
static bool choose_key(hot_source *s, const ice_filter *filters, size_t n, lookup *out)
{
    const ice_keys *keys = &s->v.state->keys;
    size_t least = LOOKUPS_MAX + 1;
    for (size_t k = 0; k < keys->n; k++) {
        const ice_filter *chosen[KEY_MAX];
        size_t ncols = keys->keys[k].ncols, product = ncols <= KEY_MAX ? 1 : 0;
        for (size_t i = 0; product && i < ncols; i++) {
            chosen[i] = filter_of(s, filters, n, s->v.state->def->cols[keys->keys[k].cols[i]].field_id);
            product = chosen[i] && chosen[i]->nvalues <= LOOKUPS_MAX ? product * chosen[i]->nvalues : 0;
            product = product > LOOKUPS_MAX ? 0 : product;
        }
        if (product && product < least) {
            least = product;
            out->key = k;
            memcpy(out->filters, chosen, ncols * sizeof *chosen);
        }
    }
    return least <= LOOKUPS_MAX;
}

static ice_code add_found(lookup *l, const ice_row *rows, size_t n, ice_error *err)
{
    hot_scan *scan = l->scan;
    if (scan->nrows + n > l->cap) {
        size_t cap = 2 * (scan->nrows + n);
        ice_row *grown = ICE_NEW_N(scan->arena, ice_row, cap);
        if (!grown)
            return ice_fail_nomem(err);
        if (scan->nrows)
            memcpy(grown, scan->rows, scan->nrows * sizeof *grown);
        scan->rows = grown;
        l->cap = cap;
    }
    if (n)
        memcpy(scan->rows + scan->nrows, rows, n * sizeof *rows);
    scan->nrows += n;
    return ICE_OK;
}

static bool value_before(const ice_filter *f, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (ice_value_eq(&f->values[i], &f->values[at]))
            return true;
    return false;
}

/* A row looked up costs about what 64 scanned in order do. */
static uint64_t worthwhile(const hot_source *s)
{
    return 256 + (s->files_in ? s->v.state->published->rows : 0) / 64;
}

static ice_code find_one(lookup *l, ice_error *err)
{
    hot_source *s = l->scan->s;
    ice_row *rows;
    size_t n;
    uint64_t about = 0;
    ice_code rc;
    if (s->files_in)
        ICE_TRY(ice__base_estimate(s->v.state->published, s->v.state->def, &s->v.state->keys, l->key,
                                   l->values, &about, err));
    if (about > l->budget)
        return ice_fail(err, ICE_RANGE, "too many rows for a look-up");
    l->budget -= about;
    ICE_TRY(ice__view_find(&s->v, l->key, l->values, s->files_in, SIZE_MAX, l->scan->arena, &rows, &n, err));
    ICE_TRY(add_found(l, rows, n, err));
out:
    return rc;
}

/* All combinations of the columns' values, each once. */
static ice_code look_up(lookup *l, size_t column, ice_error *err)
{
    hot_source *s = l->scan->s;
    const ice_filter *f = column < s->v.state->keys.keys[l->key].ncols ? l->filters[column] : NULL;
    ice_code rc = ICE_OK;
    if (!f)
        return find_one(l, err);
    for (size_t i = 0; i < f->nvalues && rc == ICE_OK; i++) {
        if (value_before(f, i))
            continue;
        l->values[column] = f->values[i];
        rc = look_up(l, column + 1, err);
    }
    return rc;
}

/* A look-up that fails is no failure of the scan: it reads everything then. */
static void try_lookup(hot_scan *scan, const ice_filter *filters, size_t n)
{
    hot_source *s = scan->s;
    lookup l = {.scan = scan, .budget = worthwhile(s)};
    if (s->which != ICE_TAIL_VISIBLE || !ice__view_is_present(&s->v) || !choose_key(s, filters, n, &l))
        return;
    ice__engine_forbid(true);
    scan->lookup = look_up(&l, 0, NULL) == ICE_OK;
    ice__engine_forbid(false);
}

/* ---- scans ---- */

static void hot_close(ice_source *src, void *state)
{
    hot_scan *scan = state;
    (void)src;
    if (!scan)
        return;
    ice_tail_scan_close(scan->tail);
    ice_tail_scan_close(scan->overlay);
    pthread_mutex_destroy(&scan->lock);
    ice_arena_free(scan->arena);
    free(scan);
}

static ice_code project(hot_scan *scan, const int *projection, size_t n, ice_error *err)
{
    scan->projection = ICE_NEW_N(scan->arena, int, n + 1);
    scan->cols = ICE_NEW_N(scan->arena, ice_column, n + 1);
    if (!scan->projection || !scan->cols)
        return ice_fail_nomem(err);
    scan->n = n;
    for (size_t i = 0; i < n; i++) {
        scan->projection[i] = projection[i];
        if (projection[i] >= 0)
            scan->cols[scan->ncols++] = scan->s->cols[projection[i]];
    }
    return ICE_OK;
}

static ice_code open_tails(hot_scan *scan, ice_error *err)
{
    hot_source *s = scan->s;
    bool own = s->v.overlay && s->v.mode == ICE_VIEW_CURRENT;
    ice_tail_counts counts = {0};
    ice_code rc;
    if (own)
        ice_tail_counts_get(s->v.overlay, &counts);
    ICE_TRY(ice_tail_scan_open(s->v.state->tail, s->v.at, s->which, scan->cols, scan->ncols,
                               counts.tombstones ? ice__overlay_ended : NULL, &s->v, &scan->tail, err));
    if (own)
        ICE_TRY(ice_tail_scan_open(s->v.overlay, s->v.overlay_at, ICE_TAIL_VISIBLE, scan->cols, scan->ncols,
                                   NULL, NULL, &scan->overlay, err));
out:
    return rc;
}

/* UNION ALL gives each arm the same columns to read, and this is the first. */
static ice_code prove_files(hot_scan *scan, const ice_filter *filters, size_t n, ice_error *err)
{
    hot_source *s = scan->s;
    size_t ncols = scan->ncols;
    ice_column *cols = s->plan.nbranches ? ICE_NEW_N(scan->arena, ice_column, ncols + n + 1) : NULL;
    if (!s->plan.nbranches)
        return ICE_OK;
    if (!cols)
        return ice_fail_nomem(err);
    memcpy(cols, scan->cols, ncols * sizeof *cols);
    for (size_t i = 0; i < n; i++)
        cols[ncols++] = s->cols[filters[i].column];
    return ice__plan_prove(&s->plan, cols, ncols, scan->arena, err);
}

static ice_code hot_open(ice_source *src, const ice_filter *filters, size_t nfilters, const int *projection,
                         size_t nprojection, void **state, uint64_t *max_threads, ice_error *err)
{
    hot_source *s = (hot_source *)src;
    hot_scan *scan = calloc(1, sizeof *scan);
    ice_code rc = ICE_OK;
    if (!scan)
        return ice_fail_nomem(err);
    scan->s = s;
    pthread_mutex_init(&scan->lock, NULL);
    if (!(scan->arena = ice_arena_create())) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    ICE_TRY(project(scan, projection, nprojection, err));
    ICE_TRY(prove_files(scan, filters, nfilters, err));
    try_lookup(scan, filters, nfilters);
    if (!scan->lookup)
        ICE_TRY(open_tails(scan, err));
    *max_threads = scan->lookup ? 1 : s->nruns / 8 + 1;
    *state = scan;
    scan = NULL;
out:
    hot_close(src, scan);
    return rc;
}

/* ---- workers ---- */

static void hot_close_worker(ice_source *src, void *worker)
{
    hot_worker *w = worker;
    (void)src;
    if (!w)
        return;
    ice_tail_scan_worker_free(w->tail);
    ice_tail_scan_worker_free(w->overlay);
    ice_arena_free(w->arena);
    free(w);
}

static ice_code worker_of(hot_scan *scan, void **state, hot_worker **out, ice_error *err)
{
    hot_worker *w = *state;
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w)
            return ice_fail_nomem(err);
        w->arena = ice_arena_create();
        w->vecs = w->arena ? ICE_NEW_N(w->arena, ice_vec, scan->n + 1) : NULL;
        if (!w->vecs) {
            hot_close_worker(NULL, w);
            return ice_fail_nomem(err);
        }
        *state = w;
    }
    *out = w;
    return ICE_OK;
}

/* A place without a column still has a vector. */
static ice_vec no_column(void)
{
    static const uint8_t zero[16];
    return (ice_vec){.type = {.kind = ICE_T_BOOL}, .constant = true, .data = zero};
}

static ice_code fills_of(hot_scan *scan, hot_worker *w, ice_error *err)
{
    ice_code rc = ICE_OK;
    if (w->fills)
        return ICE_OK;
    ice__fill *fills = ICE_NEW_N(w->arena, ice__fill, scan->n + 1);
    if (!fills)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < scan->n && rc == ICE_OK; i++)
        if (scan->projection[i] >= 0)
            rc = ice__fill_init(&fills[i], w->arena, scan->s->cols[scan->projection[i]].type, ICE_BATCH_ROWS,
                                err);
    if (rc == ICE_OK)
        w->fills = fills;
    return rc;
}

/* ---- batches of files ---- */

static bool same_layout(ice_type x, ice_type y)
{
    return x.kind == y.kind && x.scale == y.scale && ice_type_width(x) == ice_type_width(y);
}

/* Rows from `first` on (a multiple of 2048) of a column of a whole file. */
static ice_vec from_row(const ice_vec *v, size_t first)
{
    ice_vec out = *v;
    if (v->constant)
        return out;
    if (v->validity)
        out.validity = v->validity + first / 8;
    if (v->data)
        out.data = (const uint8_t *)v->data + first * ice_type_width(v->type);
    if (v->strs)
        out.strs = v->strs + first;
    if (v->codes)
        out.codes = v->codes + first;
    else if (v->offsets)
        out.offsets = v->offsets + first;
    return out;
}

static ice_code run_column(hot_scan *scan, hot_worker *w, const hot_file *f, size_t at, size_t first,
                           size_t n, ice_error *err)
{
    int column = scan->projection[at];
    ice_vec *out = &w->vecs[at];
    ice_code rc;
    if (column < 0) {
        *out = no_column();
        return ICE_OK;
    }
    const ice_column *c = &scan->s->cols[column];
    if (c->field_id == ICE_FIELD_ROW_PLACE) {
        ICE_TRY(fills_of(scan, w, err));
        for (size_t i = 0; i < n; i++)
            ((int64_t *)w->fills[at].data)[i] = (int64_t)((uint64_t)f->index << 32 | (first + i));
        *out = (ice_vec){.type = c->type, .data = w->fills[at].data};
        return ICE_OK;
    }
    const ice_vec *whole = &f->vecs[column];
    *out = from_row(whole, first);
    if (!same_layout(whole->type, c->type)) {
        ICE_TRY(fills_of(scan, w, err));
        if (!w->fills[at].data || !ice__promote_rows(whole, first, n, c->type, w->fills[at].data))
            return ice_fail(err, ICE_CORRUPT,
                            "column %.*s: file %.*s has it in a type it was never promoted from",
                            ICE_PRI(c->name), ICE_PRI(f->file->key));
        out->data = w->fills[at].data;
        out->strs = NULL;
        out->offsets = NULL;
        out->codes = NULL;
    }
    out->type = c->type;
    return ICE_OK;
out:
    return rc;
}

static bool mark_vector(const ice_dv *dv, uint32_t first, uint32_t n, uint8_t *ended)
{
    uint64_t positions[64], from = first;
    bool any = false;
    size_t got;
    while (dv && (got = ice_dv_positions(dv, from, positions, 64)) > 0) {
        for (size_t i = 0; i < got; i++) {
            if (positions[i] >= first + n)
                return any;
            ended[(positions[i] - first) >> 3] |= (uint8_t)(1u << ((positions[i] - first) & 7));
            any = true;
        }
        from = positions[got - 1] + 1;
    }
    return any;
}

/* Rows of a run that are left; `sel` NULL in *out: all of them. */
static void select_rows(hot_source *s, hot_worker *w, const hot_file *f, uint32_t first, uint32_t n,
                        ice_batch *out)
{
    size_t count = 0;
    memset(w->ended, 0, sizeof w->ended);
    bool any = mark_vector(f->dv, first, n, w->ended);
    any |= ice__dead_mask(s->ended_by_tail, f->index, first, s->v.at, w->ended) > 0;
    any |= ice__dead_mask(s->ended_by_overlay, f->index, first, INT64_MAX, w->ended) > 0;
    out->first = 0;
    out->sel = NULL;
    out->count = n;
    if (!any)
        return;
    for (uint32_t i = 0; i < n; i++)
        if (!(w->ended[i >> 3] >> (i & 7) & 1))
            w->sel[count++] = i;
    out->sel = w->sel;
    out->count = count;
}

static const hot_file *file_of_run(const hot_source *s, uint64_t run)
{
    size_t low = 0, high = s->nfiles;
    while (high - low > 1) {
        size_t mid = (low + high) / 2;
        if (s->files[mid].first_run <= run)
            low = mid;
        else
            high = mid;
    }
    return &s->files[low];
}

static ice_code next_run(hot_scan *scan, hot_worker *w, uint64_t run, ice_batch *out, ice_error *err)
{
    const hot_file *f = file_of_run(scan->s, run);
    uint32_t first = (uint32_t)(run - f->first_run) * ICE_BATCH_ROWS;
    uint32_t n = f->rows - first < ICE_BATCH_ROWS ? f->rows - first : ICE_BATCH_ROWS;
    ice_code rc = ICE_OK;
    select_rows(scan->s, w, f, first, n, out);
    for (size_t i = 0; i < scan->n && out->count && rc == ICE_OK; i++)
        rc = run_column(scan, w, f, i, first, n, err);
    out->vecs = w->vecs;
    out->nvecs = scan->n;
    w->order = run;
    return rc;
}

/* ---- batches of tail and overlay, and of look-ups ---- */

/* Puts the vectors of real columns where the projection wants them. */
static void spread(hot_scan *scan, hot_worker *w, ice_batch *b)
{
    size_t k = 0;
    for (size_t i = 0; i < scan->n; i++)
        w->vecs[i] = scan->projection[i] < 0 ? no_column() : b->vecs[k++];
    b->vecs = w->vecs;
    b->nvecs = scan->n;
}

static ice_code next_tail(hot_scan *scan, hot_worker *w, ice_batch *out, ice_error *err)
{
    ice_code rc;
    pthread_mutex_lock(&scan->lock);
    rc = ice_tail_scan_next(scan->tail, &w->tail, out, err);
    if (rc == ICE_OK && out->count == 0 && scan->overlay)
        rc = ice_tail_scan_next(scan->overlay, &w->overlay, out, err);
    w->order = scan->s->nruns + scan->batches++;
    pthread_mutex_unlock(&scan->lock);
    if (rc == ICE_OK && out->count)
        spread(scan, w, out);
    return rc;
}

static ice_code gather(hot_scan *scan, hot_worker *w, const ice_row *row, size_t at, ice_value *values,
                       ice_error *err)
{
    size_t k = 0;
    ice_code rc = ICE_OK;
    if (row->where == ICE_IN_BASE) {
        const hot_file *f = &scan->s->files[scan->s->places[row->file]];
        for (size_t i = 0; i < scan->n; i++) {
            int column = scan->projection[i];
            if (column < 0)
                continue;
            if (scan->s->cols[column].field_id == ICE_FIELD_ROW_PLACE)
                values[k++] = (ice_value){.kind = ICE_T_LONG, .i = (int64_t)((uint64_t)f->index << 32 | row->pos)};
            else
                ice_vec_get(&f->vecs[column], row->pos, &values[k++]);
        }
        k = 0;
    } else {
        rc = ice__view_peek(&scan->s->v, row, scan->cols, scan->ncols, values, err);
    }
    for (size_t i = 0; i < scan->n && rc == ICE_OK; i++)
        if (scan->projection[i] >= 0)
            ice__fill_set(&w->fills[i], at, &values[k++]);
    return rc;
}

static ice_code next_found(hot_scan *scan, hot_worker *w, ice_batch *out, ice_error *err)
{
    uint64_t batch = atomic_fetch_add(&scan->next, 1), first = batch * ICE_BATCH_ROWS;
    size_t n = first >= scan->nrows ? 0 : scan->nrows - first;
    ice_value *values = NULL;
    ice_code rc = ICE_OK;
    n = n < ICE_BATCH_ROWS ? n : ICE_BATCH_ROWS;
    *out = (ice_batch){.count = n, .vecs = w->vecs, .nvecs = scan->n};
    w->order = batch;
    if (n == 0)
        return ICE_OK;
    ICE_TRY(fills_of(scan, w, err));
    if (!(values = calloc(scan->ncols + 1, sizeof *values)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++)
        ICE_TRY(gather(scan, w, &scan->rows[first + i], i, values, err));
    for (size_t i = 0; i < scan->n; i++)
        if (scan->projection[i] >= 0)
            ice__fill_vec(&w->fills[i], &w->vecs[i]);
        else
            w->vecs[i] = no_column();
out:
    free(values);
    return rc;
}

static ice_code hot_next(ice_source *src, void *state, void **worker, ice_batch *out, ice_error *err)
{
    hot_scan *scan = state;
    hot_worker *w = NULL;
    ice_code rc;
    (void)src;
    ICE_TRY(worker_of(scan, worker, &w, err));
    if (scan->lookup)
        return next_found(scan, w, out, err);
    for (;;) {
        uint64_t run =
            atomic_load(&scan->next) < scan->s->nruns ? atomic_fetch_add(&scan->next, 1) : UINT64_MAX;
        if (run >= scan->s->nruns)
            return next_tail(scan, w, out, err);
        ICE_TRY(next_run(scan, w, run, out, err));
        if (out->count)
            return ICE_OK;
    }
out:
    return rc;
}

/* ---- making one ---- */

static void hot_release(ice_source *src)
{
    hot_source *s = (hot_source *)src;
    ice__dead_unref(s->ended_by_tail);
    ice__dead_unref(s->ended_by_overlay);
    ice_tail_unref(s->v.overlay);
    ice_tabstate_unref(s->v.state);
    ice_arena_free(s->arena);
    free(s);
}

static const ice_source_methods hot_methods = {
    .columns = hot_columns,
    .cardinality = hot_cardinality,
    .open = hot_open,
    .next = hot_next,
    .close = hot_close,
    .close_worker = hot_close_worker,
    .release = hot_release,
    .order = hot_order,
};

static ice_code add_file(hot_source *s, uint32_t index, ice_error *err)
{
    ice_published *p = s->v.state->published;
    hot_file *h = &s->files[s->nfiles];
    ice_chunkfile *c;
    ice_code rc;
    *h = (hot_file){.file = &p->files[index], .index = index, .first_run = s->nruns};
    h->rows = (uint32_t)h->file->entry.file.record_count;
    if (h->rows == 0)
        return ICE_OK;
    h->vecs = ICE_NEW_N(s->arena, ice_vec, s->ncols + 1);
    h->mem = ICE_NEW_N(s->arena, ice_vec_const, s->ncols + 1);
    if (!h->vecs || !h->mem)
        return ice_fail_nomem(err);
    size_t stored = s->ncols - (s->ncols && s->cols[s->ncols - 1].field_id == ICE_FIELD_ROW_PLACE);
    ICE_TRY(ice__file_chunk(p, h->file, s->cols, stored, &c, err));
    ICE_TRY(ice__file_dv(p, h->file, &h->dv, err));
    for (size_t i = 0; i < s->ncols; i++)
        ice__file_vec(h->file, c, &s->cols[i], &h->mem[i], &h->vecs[i]);
    s->places[index] = (uint32_t)s->nfiles;
    s->nruns += (h->rows + ICE_BATCH_ROWS - 1) / ICE_BATCH_ROWS;
    s->nfiles++;
out:
    return rc;
}

static ice_code copy_columns(hot_source *s, const ice_column *cols, size_t n, ice_error *err)
{
    s->cols = ICE_NEW_N(s->arena, ice_column, n + 1);
    if (!s->cols)
        return ice_fail_nomem(err);
    memcpy(s->cols, cols, n * sizeof *cols);
    s->ncols = n;
    return ICE_OK;
}

ice_code ice__source_create(ice_view *v, bool base, ice_tail_which which, const ice_column *cols,
                            size_t ncols, ice_source **out, ice_error *err)
{
    ice_published *p = v->state->published;
    hot_source *s = calloc(1, sizeof *s);
    ice_code rc = ICE_OK;
    if (!s)
        return ice_fail_nomem(err);
    s->base.m = &hot_methods;
    s->v = *v;
    ice_tabstate_ref(s->v.state);
    s->v.overlay = v->overlay ? ice_tail_ref(v->overlay) : NULL;
    s->which = which;
    s->files_in = base && p;
    if (!(s->arena = ice_arena_create())) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    ICE_TRY(copy_columns(s, cols, ncols, err));
    if (s->files_in) {
        ICE_TRY(ice__dead_of_view(&s->v, &s->ended_by_tail, &s->ended_by_overlay, err));
        s->files = ICE_NEW_N(s->arena, hot_file, p->nfiles + 1);
        s->places = ICE_NEW_N(s->arena, uint32_t, p->nfiles + 1);
        rc = s->files && s->places ? ICE_OK : ice_fail_nomem(err);
        for (size_t i = 0; rc == ICE_OK && i < p->nfiles; i++)
            rc = add_file(s, (uint32_t)i, err);
    }
out:
    if (rc != ICE_OK)
        hot_release(&s->base);
    else
        *out = &s->base;
    return rc;
}
