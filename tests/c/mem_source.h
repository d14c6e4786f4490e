/* A table in memory as a chunk source of the engine, for tests and benchmarks: whole-column vectors, morsels of one
 * batch, and, where `take_eq`, equality on column 0 (whose values are 0, 1, 2, ...) answered by position. */
#ifndef TESTS_MEM_SOURCE_H
#define TESTS_MEM_SOURCE_H

#include <stdatomic.h>
#include <stdlib.h>

#include "engine/engine.h"

typedef struct mem_source {
    ice_source base;
    ice_column *cols;
    size_t ncols;
    ice_vec *vecs;
    size_t rows;
    bool take_eq, use_sel;
    long fail_at; /* the batch that fails; 0: none */
    long slow_us; /* sleep in each batch */
    atomic_long opened, closed, workers, released, batches;
    char filters[1024]; /* what the last open was offered, as text */
} mem_source;

typedef struct mem_scan {
    atomic_size_t next;
    size_t end;
    int projection[64];
    size_t nprojection;
} mem_scan;

typedef struct mem_worker {
    ice_vec vecs[64];
    uint32_t sel[ICE_BATCH_ROWS];
    uint64_t position;
} mem_worker;

static inline void mem_columns(ice_source *s, const ice_column **cols, size_t *n)
{
    *cols = ((mem_source *)s)->cols;
    *n = ((mem_source *)s)->ncols;
}

static inline uint64_t mem_cardinality(ice_source *s)
{
    return ((mem_source *)s)->rows;
}

static inline void mem_note(mem_source *m, const ice_filter *f, size_t n)
{
    static const char *const ops[] = {"=", "<", "<=", ">", ">=", " in", " is null", " not null"};
    ice_buf b = {0};
    for (size_t i = 0; i < n; i++) {
        ice_buf_printf(&b, "%s%.*s%s", i ? "; " : "", ICE_PRI(m->cols[f[i].column].name), ops[f[i].op]);
        for (size_t k = 0; k < f[i].nvalues; k++) {
            ice_buf_puts(&b, k ? "," : " ");
            ice_value_text(&f[i].values[k], &b);
        }
    }
    snprintf(m->filters, sizeof m->filters, "%.*s", (int)b.len, b.data ? b.data : "");
    ice_buf_free(&b);
}

static inline ice_code mem_open(ice_source *s, const ice_filter *f, size_t n, const int *projection, size_t nprojection,
                                void **state, uint64_t *threads, ice_error *err)
{
    mem_source *m = (mem_source *)s;
    mem_scan *scan = calloc(1, sizeof *scan);
    if (!scan)
        return ice_fail_nomem(err);
    scan->end = m->rows;
    scan->nprojection = nprojection;
    memcpy(scan->projection, projection, nprojection * sizeof *projection);
    mem_note(m, f, n);
    for (size_t i = 0; m->take_eq && i < n; i++)
        if (f[i].op == ICE_F_EQ && f[i].column == 0) {
            size_t at = f[i].values[0].i < 0 ? m->rows : (size_t)f[i].values[0].i;
            if (at >= m->rows)
                scan->end = 0;
            else if (at < atomic_load(&scan->next) || at >= scan->end)
                scan->end = 0;
            else {
                atomic_store(&scan->next, at);
                scan->end = at + 1;
            }
        }
    *threads = (scan->end - (scan->end ? atomic_load(&scan->next) : 0)) / ICE_BATCH_ROWS + 1;
    *state = scan;
    atomic_fetch_add(&m->opened, 1);
    return ICE_OK;
}

static inline ice_code mem_next(ice_source *s, void *state, void **worker, ice_batch *out, ice_error *err)
{
    mem_source *m = (mem_source *)s;
    mem_scan *scan = state;
    mem_worker *w = *worker;
    if (!w) {
        *worker = w = calloc(1, sizeof *w);
        atomic_fetch_add(&m->workers, 1);
    }
    if (atomic_fetch_add(&m->batches, 1) + 1 == m->fail_at)
        return ice_fail(err, ICE_CORRUPT, "page 7 of the table is gone");
    if (m->slow_us)
        ice_sleep_us(m->slow_us);
    size_t at = atomic_fetch_add(&scan->next, ICE_BATCH_ROWS);
    if (at >= scan->end)
        return ICE_OK;
    size_t n = scan->end - at < ICE_BATCH_ROWS ? scan->end - at : ICE_BATCH_ROWS;
    for (size_t i = 0; i < scan->nprojection; i++)
        if (scan->projection[i] >= 0)
            w->vecs[i] = m->vecs[scan->projection[i]];
    w->position = at;
    *out = (ice_batch){.count = n, .first = (uint32_t)at, .vecs = w->vecs, .nvecs = scan->nprojection};
    if (m->use_sel) {
        for (size_t i = 0; i < n; i++)
            w->sel[i] = (uint32_t)(at + i);
        out->sel = w->sel;
    }
    return ICE_OK;
}

static inline void mem_close(ice_source *s, void *state)
{
    atomic_fetch_add(&((mem_source *)s)->closed, 1);
    free(state);
}

static inline void mem_close_worker(ice_source *s, void *worker)
{
    atomic_fetch_sub(&((mem_source *)s)->workers, 1);
    free(worker);
}

static inline void mem_release(ice_source *s)
{
    atomic_fetch_add(&((mem_source *)s)->released, 1);
}

static inline uint64_t mem_order(ice_source *s, void *worker)
{
    (void)s;
    return ((mem_worker *)worker)->position / ICE_BATCH_ROWS;
}

static const ice_source_methods mem_methods = {mem_columns, mem_cardinality, mem_open,    mem_next,
                                               mem_close,   mem_close_worker, mem_release, mem_order, NULL};
static const ice_source_methods mem_methods_unordered = {mem_columns, mem_cardinality, mem_open,    mem_next,
                                                         mem_close,   mem_close_worker, mem_release, NULL, NULL};

static inline ice_column mem_column(int id, const char *name, ice_type type)
{
    return (ice_column){.field_id = id, .name = ice_str_c(name), .type = type};
}

#endif
