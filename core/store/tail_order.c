/* Versions in the order of a column.
 *
 * A list only gets longer: a version that is not visible at a reader's time is passed over by the reader. Where
 * the list has to grow, what nobody will see again is left out. Readers have the list as it was when they asked:
 * behind its end, it may be added to under them; it moves, or changes before its end, only as a new one. */
#include "store/tail_int.h"

#include <stdlib.h>

enum { FEW = 64 };

struct ice__order_list {
    atomic_int refs; /* the tail's, and each reader's */
    size_t cap;
    ice_ref refs_of[];
};

static void list_unref(ice__order_list *l)
{
    if (l && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
        free(l);
}

static ice__order_list *list_create(size_t cap)
{
    ice__order_list *l = ice__chunk_alloc(sizeof *l + cap * sizeof(ice_ref));
    if (!l)
        return NULL;
    atomic_init(&l->refs, 1);
    l->cap = cap;
    return l;
}

void ice__tail_free_orders(ice_tail *t)
{
    for (ice__order *o = t->orders, *next; o; o = next) {
        next = o->next;
        list_unref(o->list);
        free(o);
    }
    pthread_mutex_destroy(&t->order_lock);
}

void ice_tail_order_release(ice_tail_order *o)
{
    list_unref(o->owner);
    *o = (ice_tail_order){0};
}

/* ---- comparing ---- */

static int compare(const ice_value *a, const ice_value *b)
{
    return a->null || b->null ? a->null - b->null : ice_value_cmp(a, b);
}

static int by_column(const void *x, const void *y, void *col)
{
    ice_value a, b;
    ice_ref_value(*(const ice_ref *)x, col, &a);
    ice_ref_value(*(const ice_ref *)y, col, &b);
    return compare(&a, &b);
}

/* How many of the first n are not behind `v`. */
static size_t not_behind(const ice_ref *refs, size_t n, const ice_value *v, const ice_column *col)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        ice_value at;
        ice_ref_value(refs[mid], col, &at);
        if (compare(&at, v) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* ---- what is new ---- */

/* Versions since the order was last brought up to date; *mark is where they end. The writer publishes under the
 * lock, so the counts hold while it is held. */
static ice_code take_new(ice_tail *t, const ice__order *o, ice_ref **out, size_t *n, ice__order_mark *mark,
                         ice_error *err)
{
    size_t rows = 0, count = 0;
    *mark = o->mark;
    pthread_rwlock_rdlock(&t->lock);
    for (uint32_t i = o->mark.chunk; i < t->nchunks; i++)
        rows += t->chunks[i]->nrows - (i == o->mark.chunk ? o->mark.row : 0);
    *out = rows ? ice__chunk_alloc(rows * sizeof **out) : NULL;
    for (uint32_t i = o->mark.chunk; *out && i < t->nchunks; i++) {
        ice__chunk *c = t->chunks[i];
        for (uint32_t row = i == o->mark.chunk ? o->mark.row : 0; row < c->nrows; row++)
            if (ice__start(c, row) != ICE_TIME_MAX)
                (*out)[count++] = (ice_ref){c, row};
        *mark = (ice__order_mark){i, c->nrows};
    }
    pthread_rwlock_unlock(&t->lock);
    *n = count;
    return *out || !rows ? ICE_OK : ice_fail_nomem(err);
}

static void sort_new(ice_ref *refs, size_t n, const ice_column *col)
{
    for (size_t i = 1; i < n; i++)
        if (by_column(&refs[i - 1], &refs[i], (void *)col) > 0) {
            qsort_r(refs, n, sizeof *refs, by_column, (void *)col);
            return;
        }
}

/* ---- putting it in ---- */

static bool over(ice_ref r, int64_t at, bool settled)
{
    return ice_ref_start(r) == ICE_TIME_MAX || (settled && ice_ref_end(r) <= at);
}

/* A longer list, without the versions that are over. */
static ice_code grow(ice_tail *t, ice__order *o, size_t more, int64_t at, bool settled, ice_error *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->n; i++)
        kept += !over(o->list->refs_of[i], at, settled);
    ice__order_list *l = list_create(2 * (kept + more) + FEW);
    if (!l)
        return ice_fail_nomem(err);
    kept = 0;
    for (size_t i = 0; i < o->n; i++)
        if (!over(o->list->refs_of[i], at, settled))
            l->refs_of[kept++] = o->list->refs_of[i];
    if (kept < o->n && settled && at > o->floor)
        o->floor = at;
    atomic_fetch_add_explicit(&t->order_bytes, (l->cap - (o->list ? o->list->cap : 0)) * sizeof(ice_ref),
                              memory_order_relaxed);
    list_unref(o->list);
    o->list = l;
    o->n = kept;
    return ICE_OK;
}

/* Its own copy, where readers have the list. */
static ice_code own(ice__order *o, ice_error *err)
{
    if (atomic_load_explicit(&o->list->refs, memory_order_acquire) == 1)
        return ICE_OK;
    ice__order_list *l = list_create(o->list->cap);
    if (!l)
        return ice_fail_nomem(err);
    memcpy(l->refs_of, o->list->refs_of, o->n * sizeof(ice_ref));
    list_unref(o->list);
    o->list = l;
    return ICE_OK;
}

/* From the end, so that each version moves once. */
static void merge(ice__order *o, const ice_ref *more, size_t n, const ice_column *col)
{
    ice_ref *all = o->list->refs_of;
    size_t end = o->n;
    for (size_t k = n; k-- > 0;) {
        ice_value v;
        ice_ref_value(more[k], col, &v);
        size_t at = not_behind(all, end, &v, col);
        memmove(all + at + k + 1, all + at, (end - at) * sizeof *all);
        all[at + k] = more[k];
        end = at;
    }
    o->n += n;
}

static ice_code update(ice_tail *t, ice__order *o, const ice_column *col, int64_t at, bool settled, ice_error *err)
{
    ice_ref *more = NULL;
    size_t n;
    ice__order_mark mark;
    ice_code rc;
    ICE_TRY(take_new(t, o, &more, &n, &mark, err));
    if (n) {
        sort_new(more, n, col);
        if (!o->list || o->n + n > o->list->cap)
            ICE_TRY(grow(t, o, n, at, settled, err));
        if (o->n && by_column(&o->list->refs_of[o->n - 1], &more[0], (void *)col) > 0)
            ICE_TRY(own(o, err));
        merge(o, more, n, col);
    }
    o->mark = mark;
out:
    free(more);
    return rc;
}

static ice__order *order_of(ice_tail *t, int32_t field_id)
{
    ice__order *o = t->orders;
    while (o && o->field_id != field_id)
        o = o->next;
    if (!o && (o = ice__chunk_alloc(sizeof *o)) != NULL) {
        *o = (ice__order){.next = t->orders, .field_id = field_id, .floor = INT64_MIN};
        t->orders = o;
    }
    return o;
}

ice_code ice_tail_order_get(ice_tail *t, const ice_column *col, int64_t at, bool settled, ice_tail_order *out,
                            bool *has, ice_error *err)
{
    ice_code rc = ICE_OK;
    *out = (ice_tail_order){0};
    *has = true;
    if (!atomic_load_explicit(&t->versions, memory_order_relaxed))
        return ICE_OK;
    pthread_mutex_lock(&t->order_lock);
    ice__order *o = order_of(t, col->field_id);
    rc = o ? update(t, o, col, at, settled, err) : ice_fail_nomem(err);
    if (rc == ICE_OK && at < o->floor) {
        *has = false;
    } else if (rc == ICE_OK && o->list) {
        atomic_fetch_add_explicit(&o->list->refs, 1, memory_order_relaxed);
        *out = (ice_tail_order){.refs = o->list->refs_of, .n = o->n, .owner = o->list};
    }
    pthread_mutex_unlock(&t->order_lock);
    return rc;
}
