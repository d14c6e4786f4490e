/* A chunk source whose rows a callback gives, batch after batch, on their way into a file. */
#include <stdlib.h>

#include "table/table_int.h"

/* Strings are handed on as pointers: those of so many batches stay, which is more than a row group. */
enum { KEPT_BATCHES = 48 };

typedef struct stream_source {
    ice_source base;
    ice_arena *arena;
    const ice_column *cols;
    size_t ncols;
    ice_stream_next next;
    void *arg;
    ice_value *rows;
    ice__fill *fills;
    ice_vec *vecs; /* of all columns, and the projected ones */
    ice_arena *kept[KEPT_BATCHES];
    size_t batch;
    bool over;
} stream_source;

typedef struct stream_scan {
    size_t n;
    int *projection;
    ice_vec *vecs;
} stream_scan;

static void stream_columns(ice_source *src, const ice_column **cols, size_t *n)
{
    *cols = ((stream_source *)src)->cols;
    *n = ((stream_source *)src)->ncols;
}

static uint64_t stream_cardinality(ice_source *src)
{
    (void)src;
    return 1000000;
}

static void stream_close(ice_source *src, void *state)
{
    stream_scan *scan = state;
    (void)src;
    if (scan) {
        free(scan->projection);
        free(scan->vecs);
    }
    free(scan);
}

static ice_code stream_open(ice_source *src, const ice_filter *filters, size_t nfilters,
                            const int *projection, size_t n, void **state, uint64_t *max_threads,
                            ice_error *err)
{
    stream_scan *scan = calloc(1, sizeof *scan);
    (void)filters, (void)nfilters;
    if (scan) {
        scan->n = n;
        scan->projection = calloc(n + 1, sizeof *scan->projection);
        scan->vecs = calloc(n + 1, sizeof *scan->vecs);
    }
    if (!scan || !scan->projection || !scan->vecs) {
        stream_close(src, scan);
        return ice_fail_nomem(err);
    }
    memcpy(scan->projection, projection, n * sizeof *projection);
    *state = scan;
    *max_threads = 1;
    return ICE_OK;
}

static ice_code fill_rows(stream_source *s, size_t n, ice_error *err)
{
    (void)err;
    for (size_t c = 0; c < s->ncols; c++) {
        ice__fill *f = &s->fills[c];
        memset(f->validity, 0, ICE_BATCH_ROWS / 8);
        for (size_t i = 0; i < n; i++)
            ice__fill_set(f, i, &s->rows[i * s->ncols + c]);
        ice__fill_vec(f, &s->vecs[c]);
    }
    return ICE_OK;
}

static ice_code stream_next(ice_source *src, void *state, void **worker, ice_batch *out, ice_error *err)
{
    static const uint8_t zero[16];
    stream_source *s = (stream_source *)src;
    stream_scan *scan = state;
    size_t n = 0;
    ice_code rc = ICE_OK;
    (void)worker;
    *out = (ice_batch){.vecs = scan->vecs, .nvecs = scan->n};
    if (s->over)
        return ICE_OK;
    ice_arena **a = &s->kept[s->batch++ % KEPT_BATCHES];
    if (*a)
        ice_arena_reset(*a);
    else if (!(*a = ice_arena_create()))
        return ice_fail_nomem(err);
    rc = s->next(s->arg, *a, s->rows, &n, err);
    s->over = rc != ICE_OK || n == 0;
    if (rc == ICE_OK)
        rc = fill_rows(s, n, err);
    for (size_t i = 0; i < scan->n; i++)
        scan->vecs[i] = scan->projection[i] >= 0
                            ? s->vecs[scan->projection[i]]
                            : (ice_vec){.type = {.kind = ICE_T_BOOL}, .constant = true, .data = zero};
    out->count = n;
    return rc;
}

static void stream_close_worker(ice_source *src, void *worker)
{
    (void)src, (void)worker;
}

static void stream_release(ice_source *src)
{
    stream_source *s = (stream_source *)src;
    for (size_t i = 0; i < KEPT_BATCHES; i++)
        ice_arena_free(s->kept[i]);
    ice_arena_free(s->arena);
    free(s);
}

static const ice_source_methods stream_methods = {
    .columns = stream_columns,
    .cardinality = stream_cardinality,
    .open = stream_open,
    .next = stream_next,
    .close = stream_close,
    .close_worker = stream_close_worker,
    .release = stream_release,
};

ice_code ice_stream_source_create(const ice_column *cols, size_t ncols, ice_stream_next next, void *arg,
                                  ice_source **out, ice_error *err)
{
    stream_source *s = calloc(1, sizeof *s);
    ice_code rc = ICE_OK;
    if (!s || !(s->arena = ice_arena_create())) {
        free(s);
        return ice_fail_nomem(err);
    }
    s->base.m = &stream_methods;
    s->cols = cols;
    s->ncols = ncols;
    s->next = next;
    s->arg = arg;
    s->rows = ICE_NEW_N(s->arena, ice_value, ncols * ICE_BATCH_ROWS + 1);
    s->fills = ICE_NEW_N(s->arena, ice__fill, ncols + 1);
    s->vecs = ICE_NEW_N(s->arena, ice_vec, ncols + 1);
    if (!s->rows || !s->fills || !s->vecs)
        rc = ice_fail_nomem(err);
    for (size_t i = 0; i < ncols && rc == ICE_OK; i++)
        rc = ice__fill_init(&s->fills[i], s->arena, cols[i].type, ICE_BATCH_ROWS, err);
    if (rc != ICE_OK)
        stream_release(&s->base);
    else
        *out = &s->base;
    return rc;
}
