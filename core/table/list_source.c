/* A chunk source over rows made in advance: the deleted rows that a cold plan joins with. */
#include "table/table_int.h"

#include <stdatomic.h>
#include <stdlib.h>

typedef struct list_source {
    ice_source base;
    ice_arena *arena;
    const ice_column *cols;
    const ice_vec *vecs;
    size_t ncols;
    uint64_t rows;
} list_source;

typedef struct list_scan {
    _Atomic uint64_t next;
    size_t n;
    ice_vec vecs[];
} list_scan;

static void list_columns(ice_source *src, const ice_column **cols, size_t *n)
{
    *cols = ((list_source *)src)->cols;
    *n = ((list_source *)src)->ncols;
}

static uint64_t list_cardinality(ice_source *src)
{
    return ((list_source *)src)->rows;
}

static ice_code list_open(ice_source *src, const ice_filter *filters, size_t nfilters, const int *projection,
                          size_t nprojection, void **state, uint64_t *max_threads, ice_error *err)
{
    static const uint8_t zero[16];
    list_source *s = (list_source *)src;
    list_scan *scan = calloc(1, sizeof *scan + nprojection * sizeof scan->vecs[0]);
    (void)filters, (void)nfilters;
    if (!scan)
        return ice_fail_nomem(err);
    scan->n = nprojection;
    for (size_t i = 0; i < nprojection; i++)
        scan->vecs[i] = projection[i] >= 0
                            ? s->vecs[projection[i]]
                            : (ice_vec){.type = {.kind = ICE_T_BOOL}, .constant = true, .data = zero};
    *max_threads = s->rows / (16 * ICE_BATCH_ROWS) + 1;
    *state = scan;
    return ICE_OK;
}

static ice_code list_next(ice_source *src, void *state, void **worker, ice_batch *out, ice_error *err)
{
    list_source *s = (list_source *)src;
    list_scan *scan = state;
    uint64_t first = atomic_fetch_add(&scan->next, ICE_BATCH_ROWS);
    uint64_t left = first < s->rows ? s->rows - first : 0;
    (void)worker, (void)err;
    *out = (ice_batch){.count = left < ICE_BATCH_ROWS ? left : ICE_BATCH_ROWS,
                       .first = (uint32_t)first,
                       .vecs = scan->vecs,
                       .nvecs = scan->n};
    return ICE_OK;
}

static void list_close(ice_source *src, void *state)
{
    (void)src;
    free(state);
}

static void list_close_worker(ice_source *src, void *worker)
{
    (void)src, (void)worker;
}

static void list_release(ice_source *src)
{
    ice_arena_free(((list_source *)src)->arena);
    free(src);
}

static const ice_source_methods list_methods = {
    .columns = list_columns,
    .cardinality = list_cardinality,
    .open = list_open,
    .next = list_next,
    .close = list_close,
    .close_worker = list_close_worker,
    .release = list_release,
};

ice_code ice__list_source_create(ice_arena *a, const ice_column *cols, const ice_vec *vecs, size_t ncols,
                                 uint64_t rows, ice_source **out, ice_error *err)
{
    list_source *s = rows < UINT32_MAX - ICE_BATCH_ROWS ? calloc(1, sizeof *s) : NULL;
    if (!s)
        return ice_fail_nomem(err);
    *s = (list_source){{&list_methods}, a, cols, vecs, ncols, rows};
    *out = &s->base;
    return ICE_OK;
}
