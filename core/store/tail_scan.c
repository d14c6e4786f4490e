/* Scans: one batch for each chunk, its columns handed out where they lie. */
#include "store/tail_int.h"

#include <stdlib.h>

typedef struct scan_chunk {
    ice__chunk *chunk;
    uint32_t nrows; /* published when the scan was opened */
} scan_chunk;

struct ice_tail_scan {
    ice_tail *tail;
    int64_t at;
    ice_tail_which which;
    bool (*skip)(void *arg, ice_ref r);
    void *skip_arg;
    ice_column *cols;
    size_t ncols;
    ice_vec_const *mem; /* what rows have that lack the column */
    ice_vec *absent;
    scan_chunk *chunks;
    size_t nchunks;
    atomic_size_t next;
};

/* Scratch of one column: values made for the batch. */
typedef struct scratch {
    void *data;
    uint8_t validity[ICE_BATCH_ROWS / 8];
} scratch;

typedef struct worker {
    size_t ncols;
    ice_vec *vecs;
    int *pos; /* of the columns in `shape`; -1: not there */
    const ice__shape *shape;
    scratch **scratch;
    ice_vec_const null;
    uint32_t sel[ICE_BATCH_ROWS];
} worker;

/* ---- opening ---- */

static ice_code copy_cols(ice_tail_scan *s, const ice_column *cols, size_t n, ice_error *err)
{
    s->cols = ice__chunk_alloc((n + 1) * sizeof *s->cols);
    s->mem = ice__chunk_alloc((n + 1) * sizeof *s->mem);
    s->absent = ice__chunk_alloc((n + 1) * sizeof *s->absent);
    if (!s->cols || !s->mem || !s->absent)
        return ice_fail_nomem(err);
    if (n)
        memcpy(s->cols, cols, n * sizeof *cols);
    s->ncols = n;
    for (size_t i = 0; i < n; i++)
        ice_vec_constant(cols[i].type, cols[i].has_initial ? &cols[i].initial : NULL, &s->mem[i],
                         &s->absent[i]);
    return ICE_OK;
}

static ice_code copy_chunks(ice_tail_scan *s, ice_tail *t, ice_error *err)
{
    pthread_rwlock_rdlock(&t->lock);
    s->chunks = ice__chunk_alloc((t->nchunks + 1) * sizeof *s->chunks);
    for (uint32_t i = 0; s->chunks && i < t->nchunks; i++) {
        ice__chunk *c = t->chunks[i];
        s->chunks[s->nchunks++] = (scan_chunk){c, atomic_load_explicit(&c->nrows, memory_order_acquire)};
    }
    pthread_rwlock_unlock(&t->lock);
    return s->chunks ? ICE_OK : ice_fail_nomem(err);
}

ice_code ice_tail_scan_open(ice_tail *t, int64_t at, ice_tail_which which, const ice_column *cols,
                            size_t ncols, bool (*skip)(void *arg, ice_ref r), void *arg, ice_tail_scan **out,
                            ice_error *err)
{
    *out = NULL;
    ice_tail_scan *s = ice__chunk_alloc(sizeof *s);
    if (!s)
        return ice_fail_nomem(err);
    s->tail = ice_tail_ref(t);
    s->at = at;
    s->which = which;
    s->skip = skip;
    s->skip_arg = arg;
    ice_code rc = copy_cols(s, cols, ncols, err);
    if (!rc)
        rc = copy_chunks(s, t, err);
    if (rc)
        ice_tail_scan_close(s);
    else
        *out = s;
    return rc;
}

void ice_tail_scan_close(ice_tail_scan *s)
{
    if (!s)
        return;
    ice_tail_unref(s->tail);
    free(s->cols);
    free(s->mem);
    free(s->absent);
    free(s->chunks);
    free(s);
}

/* ---- workers ---- */

void ice_tail_scan_worker_free(void *p)
{
    worker *w = p;
    if (!w)
        return;
    for (size_t i = 0; w->scratch && i < w->ncols; i++) {
        if (w->scratch[i])
            free(w->scratch[i]->data);
        free(w->scratch[i]);
    }
    free(w->scratch);
    free(w->vecs);
    free(w->pos);
    free(w);
}

static ice_code worker_make(const ice_tail_scan *s, void **out, ice_error *err)
{
    worker *w = ice__chunk_alloc(sizeof *w);
    if (!w)
        return ice_fail_nomem(err);
    w->ncols = s->ncols;
    w->vecs = ice__chunk_alloc((s->ncols + 1) * sizeof *w->vecs);
    w->pos = ice__chunk_alloc((s->ncols + 1) * sizeof *w->pos);
    w->scratch = ice__chunk_alloc((s->ncols + 1) * sizeof(scratch *));
    if (!w->vecs || !w->pos || !w->scratch) {
        ice_tail_scan_worker_free(w);
        return ice_fail_nomem(err);
    }
    *out = w;
    return ICE_OK;
}

static scratch *scratch_of(worker *w, size_t col, bool data, ice_error *err)
{
    scratch *x = w->scratch[col];
    if (!x)
        x = w->scratch[col] = ice__chunk_alloc(sizeof *x);
    if (x && data && !x->data)
        x->data = ice__chunk_alloc(ICE_BATCH_ROWS * (size_t)16);
    if (x && (x->data || !data))
        return x;
    (void)ice_fail_nomem(err);
    return NULL;
}

/* ---- which rows ---- */

static bool wanted(const ice_tail_scan *s, const ice__chunk *c, uint32_t row)
{
    int64_t start = atomic_load_explicit(&c->start[row], memory_order_relaxed);
    int64_t end = atomic_load_explicit(&c->end[row], memory_order_relaxed);
    if (s->which == ICE_TAIL_DEAD)
        return end <= s->at;
    return start <= s->at && (s->which == ICE_TAIL_ALL || end > s->at);
}

/* Fills `b` with the rows; without a selection where they are neighbours. */
static void choose(const ice_tail_scan *s, worker *w, const scan_chunk *sc, ice_batch *b)
{
    ice__chunk *c = sc->chunk;
    bool ended = atomic_load_explicit(&c->ended, memory_order_acquire) != 0;
    uint32_t n = 0;
    *b = (ice_batch){0};
    if (s->which == ICE_TAIL_DEAD && !ended)
        return;
    if (s->which != ICE_TAIL_DEAD && !ended && !s->skip &&
        atomic_load_explicit(&c->max_start, memory_order_relaxed) <= s->at) {
        b->count = sc->nrows;
        return;
    }
    for (uint32_t row = 0; row < sc->nrows; row++) {
        w->sel[n] = row;
        n += wanted(s, c, row) && !(s->skip && s->skip(s->skip_arg, (ice_ref){c, row}));
    }
    b->count = n;
    if (n && w->sel[n - 1] - w->sel[0] == n - 1)
        b->first = w->sel[0];
    else
        b->sel = w->sel;
}

static uint32_t batch_row(const ice_batch *b, size_t i)
{
    return b->sel ? b->sel[i] : b->first + (uint32_t)i;
}

/* ---- columns ---- */

static ice_code converted(worker *w, size_t col, const ice_column *want, const ice__chunk *c, size_t at,
                          const ice_batch *b, ice_vec *out, ice_error *err)
{
    ice_type from = c->shape->cols[at].type;
    scratch *x = scratch_of(w, col, true, err);
    if (!x)
        return ICE_NOMEM;
    size_t width = ice__is_string(want->type) ? sizeof(ice_strval) : ice_type_width(want->type);
    memset(x->validity, 0, sizeof x->validity);
    for (size_t i = 0; i < b->count; i++) {
        uint32_t row = batch_row(b, i);
        char *to = (char *)x->data + row * width;
        ice_value v;
        ice__chunk_get(c, at, row, &v);
        if (v.null)
            continue;
        if (!ice__vec_promote(&v, from, want->type)) {
            char a[32], z[32];
            ice_type_text(from, a);
            ice_type_text(want->type, z);
            return ice_fail(err, ICE_UNSUPPORTED, "column %.*s: a value stored as %s does not fit %s",
                            ICE_PRI(want->name), a, z);
        }
        x->validity[row >> 3] |= (uint8_t)(1u << (row & 7));
        if (ice__is_string(want->type))
            memcpy(to, &(ice_strval){v.s.ptr, (uint32_t)v.s.len}, width);
        else
            ice__vec_fixed_put(want->type, &v, to);
    }
    *out = (ice_vec){.type = want->type, .validity = x->validity, .data = x->data};
    if (ice__is_string(want->type))
        out->strs = x->data;
    return ICE_OK;
}

static ice_code row_end_vec(const ice_tail_scan *s, worker *w, size_t col, const ice__chunk *c,
                            const ice_batch *b, ice_vec *out, ice_error *err)
{
    if (!atomic_load_explicit(&c->ended, memory_order_acquire)) {
        ice_vec_constant(s->cols[col].type, NULL, &w->null, out);
        return ICE_OK;
    }
    scratch *x = scratch_of(w, col, true, err);
    if (!x)
        return ICE_NOMEM;
    int64_t *ends = x->data;
    memset(x->validity, 0, sizeof x->validity);
    for (size_t i = 0; i < b->count; i++) {
        uint32_t row = batch_row(b, i);
        ends[row] = ice__end(c, row);
        if (ends[row] <= s->at)
            x->validity[row >> 3] |= (uint8_t)(1u << (row & 7));
    }
    *out = (ice_vec){.type = s->cols[col].type, .validity = x->validity, .data = ends};
    return ICE_OK;
}

/* What ended a version that is dead at the scan's time, what made one that is alive. */
static ice_code operation_vec(const ice_tail_scan *s, worker *w, size_t col, const ice__chunk *c,
                              const ice_batch *b, ice_vec *out, ice_error *err)
{
    static const ice_strval names[4] = {{"", 0}, {"insert", 6}, {"update", 6}, {"delete", 6}};
    scratch *x = scratch_of(w, col, true, err);
    if (!x)
        return ICE_NOMEM;
    ice_strval *strs = x->data;
    for (size_t i = 0; i < b->count; i++) {
        ice_ref r = {(void *)c, batch_row(b, i)};
        ice_row_op op = ice_ref_end(r) <= s->at ? ice_ref_end_op(r) : ice_ref_op(r);
        strs[r.row] = names[op & 3];
    }
    *out = (ice_vec){.type = s->cols[col].type, .data = strs, .strs = strs};
    return ICE_OK;
}

/* Bits of a chunk that still grows: the writer may set others of the same bytes meanwhile, so the reader gets
 * a copy. */
static ice_code validity_vec(worker *w, size_t col, const ice__chunk_col *k, const scan_chunk *sc,
                             ice_vec *out, ice_error *err)
{
    out->validity = k->validity;
    if (sc->nrows == sc->chunk->cap)
        return ICE_OK;
    scratch *x = scratch_of(w, col, false, err);
    if (!x)
        return ICE_NOMEM;
    for (uint32_t i = 0; i < (sc->nrows + 7) / 8; i++)
        x->validity[i] = atomic_load_explicit((_Atomic uint8_t *)&k->validity[i], memory_order_relaxed);
    out->validity = x->validity;
    return ICE_OK;
}

static ice_code column_vec(const ice_tail_scan *s, worker *w, size_t col, const scan_chunk *sc,
                           const ice_batch *b, ice_vec *out, ice_error *err)
{
    const ice_column *want = &s->cols[col];
    const ice__chunk *c = sc->chunk;
    if (want->field_id == ICE_FIELD_ROW_START) {
        *out = (ice_vec){.type = want->type, .data = (const void *)c->start};
        return ICE_OK;
    }
    if (want->field_id == ICE_FIELD_ROW_END)
        return row_end_vec(s, w, col, c, b, out, err);
    if (want->field_id == ICE_FIELD_OPERATION)
        return operation_vec(s, w, col, c, b, out, err);
    int at = w->pos[col];
    if (at < 0) {
        *out = s->absent[col];
        return ICE_OK;
    }
    if (!ice_type_eq(c->shape->cols[at].type, want->type))
        return converted(w, col, want, c, (size_t)at, b, out, err);
    const ice__chunk_col *k = &c->cols[at];
    *out = (ice_vec){.type = want->type, .data = k->data};
    if (ice__is_string(want->type))
        out->strs = (const ice_strval *)k->data;
    return atomic_load_explicit(&k->nulls, memory_order_relaxed) ? validity_vec(w, col, k, sc, out, err)
                                                                 : ICE_OK;
}

static void match_shape(const ice_tail_scan *s, worker *w, const ice__shape *shape)
{
    if (w->shape == shape)
        return;
    for (size_t i = 0; i < s->ncols; i++)
        w->pos[i] = ice__tailshape_find(shape, s->cols[i].field_id);
    w->shape = shape;
}

ice_code ice_tail_scan_next(ice_tail_scan *s, void **scan_worker, ice_batch *out, ice_error *err)
{
    *out = (ice_batch){0};
    if (!*scan_worker) {
        ice_code rc = worker_make(s, scan_worker, err);
        if (rc)
            return rc;
    }
    worker *w = *scan_worker;
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
        if (i >= s->nchunks) {
            *out = (ice_batch){0};
            return ICE_OK;
        }
        choose(s, w, &s->chunks[i], out);
        if (!out->count)
            continue;
        match_shape(s, w, s->chunks[i].chunk->shape);
        for (size_t k = 0; k < s->ncols; k++) {
            ice_code rc = column_vec(s, w, k, &s->chunks[i], out, &w->vecs[k], err);
            if (rc)
                return rc;
        }
        out->vecs = w->vecs;
        out->nvecs = s->ncols;
        return ICE_OK;
    }
}

ice_code ice_tail_each(ice_tail *t, int64_t at, ice_tail_which which, const ice_column *cols, size_t ncols,
                       ice_code (*fn)(void *arg, const ice_value *row, ice_error *err), void *arg,
                       ice_error *err)
{
    ice_tail_scan *scan = NULL;
    void *scan_worker = NULL;
    ice_batch b;
    ice_value *row = ice__chunk_alloc((ncols + 1) * sizeof *row);
    ice_code rc =
        row ? ice_tail_scan_open(t, at, which, cols, ncols, NULL, NULL, &scan, err) : ice_fail_nomem(err);
    while (rc == ICE_OK && (rc = ice_tail_scan_next(scan, &scan_worker, &b, err)) == ICE_OK && b.count > 0)
        for (size_t i = 0; i < b.count && rc == ICE_OK; i++) {
            for (size_t c = 0; c < ncols; c++)
                ice_vec_get(&b.vecs[c], batch_row(&b, i), &row[c]);
            rc = fn(arg, row, err);
        }
    ice_tail_scan_worker_free(scan_worker);
    ice_tail_scan_close(scan);
    free(row);
    return rc;
}
