/* Writing a tail and looking up its keys. See tail_int.h for the invariants. */
#include "store/tail_int.h"

#include <assert.h>
#include <stdlib.h>

enum { FIRST_ROWS = 16, FIRST_TOMBS = 8, LAST_TOMBS = 1024 };

/* ---- life ---- */

static bool lock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attr;
    if (ice_fault("store.alloc") || pthread_rwlockattr_init(&attr))
        return false;
#ifdef __GLIBC__ /* a stream of readers must not starve the writer; no reader takes the lock twice */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    bool ok = pthread_rwlock_init(lock, &attr) == 0;
    pthread_rwlockattr_destroy(&attr);
    return ok;
}

ice_code ice_tail_create(const ice_tabledef *def, ice_tail **out, ice_error *err)
{
    *out = NULL;
    ice_tail *t = ice__chunk_alloc(sizeof *t);
    if (!t)
        return ice_fail_nomem(err);
    t->refs = 1;
    t->min_start = INT64_MAX;
    t->max_start = INT64_MIN;
    if (!lock_init(&t->lock)) {
        free(t);
        return ice_fail_nomem(err);
    }
    pthread_mutex_init(&t->order_lock, NULL);
    t->arena = ice_arena_create();
    ice_code rc = t->arena ? ice__tail_define(t, def, err) : ice_fail_nomem(err);
    if (rc)
        ice_tail_unref(t);
    else
        *out = t;
    return rc;
}

ice_tail *ice_tail_ref(ice_tail *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

static void tail_free(ice_tail *t)
{
    ice__tail_free_indexes(t);
    ice__tail_free_orders(t);
    for (uint32_t i = 0; i < t->nchunks; i++)
        ice__chunk_free(t->chunks[i]);
    free(t->chunks);
    for (ice__shape *s = t->shapes, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    for (ice__tomb_block *b = t->first_tombs, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    ice__tailheap_free(&t->tomb_heap);
    ice__tailhash_free(&t->tomb_hash);
    for (ice__hold *h = t->holds, *next; h; h = next) {
        next = h->next;
        h->release(h->owner);
        free(h);
    }
    ice_arena_free(t->arena);
    pthread_rwlock_destroy(&t->lock);
    free(t);
}

void ice_tail_unref(ice_tail *t)
{
    if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        tail_free(t);
}

ice_code ice_tail_hold(ice_tail *t, void *owner, void (*release)(void *), ice_error *err)
{
    ice__hold *h = ice__chunk_alloc(sizeof *h);
    if (!h)
        return ice_fail_nomem(err);
    *h = (ice__hold){t->holds, owner, release};
    t->holds = h;
    return ICE_OK;
}

ice_code ice_tail_set_def(ice_tail *t, const ice_tabledef *def, ice_error *err)
{
    return ice__tail_define(t, def, err);
}

/* ---- rows ---- */

static ice_code add_chunk(ice_tail *t, ice__shape *shape, ice_error *err)
{
    uint32_t cap = t->nchunks ? t->chunks[t->nchunks - 1]->cap * 2 : FIRST_ROWS;
    if (cap > ICE_BATCH_ROWS)
        cap = ICE_BATCH_ROWS;
    ice__chunk *c = ice__chunk_create(shape, cap);
    if (!c)
        return ice_fail_nomem(err);
    ice_code rc = ICE_OK;
    pthread_rwlock_wrlock(&t->lock);
    if (t->nchunks == t->cap_chunks) {
        uint32_t n = t->cap_chunks ? t->cap_chunks * 2 : 4;
        ice__chunk **p = ice__chunk_realloc(t->chunks, n * sizeof(ice__chunk *));
        if (p) {
            t->chunks = p;
            t->cap_chunks = n;
        } else {
            rc = ice_fail_nomem(err);
        }
    }
    if (!rc)
        t->chunks[t->nchunks++] = c;
    pthread_rwlock_unlock(&t->lock);
    if (rc)
        ice__chunk_free(c);
    else
        t->bytes += c->bytes;
    return rc;
}

ice_code ice__tail_slot(ice_tail *t, ice__shape *shape, ice__chunk **out, uint32_t *row, ice_error *err)
{
    ice__chunk *c = t->nchunks ? t->chunks[t->nchunks - 1] : NULL;
    if (!c || c->shape != shape || c->nrows == c->cap) {
        ice_code rc = add_chunk(t, shape, err);
        if (rc)
            return rc;
        c = t->chunks[t->nchunks - 1];
    }
    *out = c;
    *row = c->nrows;
    return ICE_OK;
}

/* Relaxed sums: one writer, and readers that want a figure. */
static void bump(_Atomic uint64_t *n, int64_t by)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + (uint64_t)by,
                          memory_order_relaxed);
}

static void count_row(ice_tail *t, ice__chunk *c, int64_t start, int64_t end)
{
    bump(&t->versions, 1);
    bump(&t->changes, 1);
    if (end == ICE_TIME_MAX)
        bump(&t->live, 1);
    if (start < atomic_load_explicit(&t->min_start, memory_order_relaxed))
        atomic_store_explicit(&t->min_start, start, memory_order_relaxed);
    if (start > atomic_load_explicit(&t->max_start, memory_order_relaxed))
        atomic_store_explicit(&t->max_start, start, memory_order_relaxed);
    bump(&t->bytes, (int64_t)(c->heap.bytes - c->counted));
    c->counted = c->heap.bytes;
}

static void stamp_row(ice__chunk *c, uint32_t row, int64_t start, int64_t end, uint8_t ops)
{
    atomic_store_explicit(&c->ops[row], ops, memory_order_relaxed);
    atomic_store_explicit(&c->start[row], start, memory_order_relaxed);
    atomic_store_explicit(&c->end[row], end, memory_order_relaxed);
    if (end != ICE_TIME_MAX)
        atomic_fetch_add_explicit(&c->ended, 1, memory_order_relaxed);
    if (start > c->max_start)
        c->max_start = start;
    if (start > c->max_stamp)
        c->max_stamp = start;
    if (end != ICE_TIME_MAX && end > c->max_stamp)
        c->max_stamp = end;
}

ice_code ice__tail_publish(ice_tail *t, ice__chunk *c, uint32_t row, int64_t start, int64_t end, uint8_t ops,
                           ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < t->keys.n; i++) {
        t->indexed[i] = ice__tailindex_hash(t->indexes[i], c, row, &t->hashes[i]);
        if (t->indexed[i])
            ice__tailhash_prefetch(&t->indexes[i]->hash, t->hashes[i]);
    }
    stamp_row(c, row, start, end, ops);
    pthread_rwlock_wrlock(&t->lock);
    for (size_t i = 0; !rc && i < t->keys.n; i++)
        if (t->indexed[i])
            rc = ice__tailhash_reserve(&t->indexes[i]->hash, err);
    for (size_t i = 0; !rc && i < t->keys.n; i++)
        if (t->indexed[i])
            ice__tailhash_add(&t->indexes[i]->hash, t->hashes[i], c, row);
    if (!rc)
        atomic_store_explicit(&c->nrows, row + 1, memory_order_release);
    pthread_rwlock_unlock(&t->lock);
    if (rc) {
        if (end != ICE_TIME_MAX)
            atomic_fetch_sub_explicit(&c->ended, 1, memory_order_relaxed);
        return rc;
    }
    count_row(t, c, start, end);
    return ICE_OK;
}

/* A value of another kind than the column's is converted, or refused with the column's name. */
static ice_code put_cast(ice__chunk *c, size_t i, uint32_t row, const ice_column *col, const ice_value *v,
                         ice_error *err)
{
    ice_value as;
    ice_arena *a = ice_arena_create();
    if (!a)
        return ice_fail_nomem(err);
    ice_code rc = ice_value_cast(a, v, col->type, &as, err);
    if (rc)
        ice_error_prefix(err, "column %.*s", ICE_PRI(col->name));
    else
        rc = ice__chunk_put(c, i, row, &as, err);
    ice_arena_free(a);
    return rc;
}

static bool stored_as_is(const ice_value *v, ice_type t)
{
    return v->null || (v->kind == t.kind && (t.kind != ICE_T_DECIMAL || v->scale == t.scale));
}

ice_code ice_tail_insert(ice_tail *t, const ice_value *values, int64_t start, ice_row_op op, ice_ref *out,
                         ice_error *err)
{
    const ice_tabledef *def = t->def;
    ice__chunk *c;
    uint32_t row;
    assert(start < ICE_TIME_MAX);
    ice_code rc = ice__tail_slot(t, t->shape, &c, &row, err);
    for (size_t i = 0; !rc && i < def->ncols; i++) {
        if (stored_as_is(&values[i], def->cols[i].type))
            rc = ice__chunk_put(c, i, row, &values[i], err);
        else
            rc = put_cast(c, i, row, &def->cols[i], &values[i], err);
    }
    if (!rc)
        rc = ice__tail_publish(t, c, row, start, ICE_TIME_MAX, (uint8_t)op, err);
    if (out)
        *out = rc ? (ice_ref){0} : (ice_ref){c, row};
    return rc;
}

/* ---- ends ---- */

/* Only the writer calls it, so nothing moves under it. */
static ice_ref find_live(ice_tail *t, const ice_value *key, uint64_t hash)
{
    const ice__index *x = t->indexes[0];
    for (ice__link l = ice__tailhash_first(&x->hash, hash); l.chunk; l = ice__tailhash_next(&x->hash, l)) {
        ice__chunk *c = l.chunk;
        if (ice__end(c, l.row) == ICE_TIME_MAX && ice__start(c, l.row) != ICE_TIME_MAX &&
            ice__tailindex_matches(x, c, l.row, key))
            return (ice_ref){c, l.row};
    }
    return (ice_ref){0};
}

static void end_version(ice_tail *t, ice_ref r, int64_t end, ice_row_op op)
{
    ice__chunk *c = r.chunk;
    uint8_t made = atomic_load_explicit(&c->ops[r.row], memory_order_relaxed) & 15;
    atomic_store_explicit(&c->ops[r.row], (uint8_t)(made | op << 4), memory_order_relaxed);
    atomic_fetch_add_explicit(&c->ended, 1, memory_order_relaxed);
    atomic_store_explicit(&c->end[r.row], end, memory_order_release);
    if (end > c->max_stamp)
        c->max_stamp = end;
    bump(&t->live, -1);
    bump(&t->changes, 1);
}

static const ice_value *copy_key(ice_tail *t, const ice_value *key, size_t n)
{
    ice_value *v = ice__tailheap_alloc(&t->tomb_heap, n * sizeof *v, _Alignof(ice_value));
    if (!v)
        return NULL;
    memcpy(v, key, n * sizeof *v);
    for (size_t i = 0; i < n; i++) {
        bool bytes = v[i].kind == ICE_T_STRING || v[i].kind == ICE_T_BINARY || v[i].kind == ICE_T_FIXED;
        if (v[i].null || !bytes)
            continue;
        char *p = ice__tailheap_alloc(&t->tomb_heap, v[i].s.len + 1, 1);
        if (!p)
            return NULL;
        if (v[i].s.len)
            memcpy(p, v[i].s.ptr, v[i].s.len);
        v[i].s.ptr = p;
    }
    return v;
}

static ice_code tomb_room(ice_tail *t, ice_error *err)
{
    ice__tomb_block *last = t->last_tombs;
    if (last && last->n < last->cap)
        return ICE_OK;
    uint32_t cap = last ? last->cap * 2 : FIRST_TOMBS;
    if (cap > LAST_TOMBS)
        cap = LAST_TOMBS;
    size_t size = sizeof *last + cap * sizeof last->items[0];
    ice__tomb_block *b = ice__chunk_alloc(size);
    if (!b)
        return ice_fail_nomem(err);
    b->cap = cap;
    bump(&t->bytes, (int64_t)size);
    pthread_rwlock_wrlock(&t->lock);
    if (last)
        atomic_store_explicit(&last->next, b, memory_order_release);
    else
        t->first_tombs = b;
    t->last_tombs = b;
    pthread_rwlock_unlock(&t->lock);
    return ICE_OK;
}

ice_code ice__tail_add_tomb(ice_tail *t, const ice_value *key, size_t ncols, uint64_t hash,
                            int64_t base_start, int64_t end, ice_row_op op, ice_error *err)
{
    size_t before = t->tomb_heap.bytes;
    const ice_value *copy = copy_key(t, key, ncols);
    bump(&t->bytes, (int64_t)(t->tomb_heap.bytes - before));
    if (!copy)
        return ice_fail_nomem(err);
    ice_code rc = tomb_room(t, err);
    if (rc)
        return rc;
    ice__tomb_block *b = t->last_tombs;
    uint32_t at = b->n;
    b->items[at] = (ice__tomb){
        .key = copy, .ncols = ncols, .hash = hash, .base_start = base_start, .end = end, .op = op};
    pthread_rwlock_wrlock(&t->lock);
    rc = ice__tailhash_reserve(&t->tomb_hash, err);
    if (!rc) {
        ice__tailhash_add(&t->tomb_hash, hash, b, at);
        atomic_store_explicit(&b->n, at + 1, memory_order_release);
    }
    pthread_rwlock_unlock(&t->lock);
    if (rc)
        return rc;
    bump(&t->tombstones, 1);
    bump(&t->changes, 1);
    return ICE_OK;
}

ice_code ice_tail_end(ice_tail *t, const ice_value *key, int64_t base_start, int64_t end, ice_row_op op,
                      ice_ref *was, ice_error *err)
{
    size_t n = t->keys.keys[0].ncols;
    uint64_t hash = ice_key_hash(key, n);
    ice_ref r = find_live(t, key, hash);
    assert(end < ICE_TIME_MAX);
    if (was)
        *was = r;
    if (!r.chunk)
        return ice__tail_add_tomb(t, key, n, hash, base_start, end, op, err);
    end_version(t, r, end, op);
    return ICE_OK;
}

/* ---- undo ---- */

static void undo_row(ice_tail *t, ice__chunk *c, uint32_t row, int64_t mark)
{
    int64_t start = c->start[row], end = c->end[row];
    if (start == ICE_TIME_MAX)
        return;
    bool ended = end != ICE_TIME_MAX, undone = start > mark;
    if (ended && end > mark) {
        atomic_store_explicit(&c->end[row], ICE_TIME_MAX, memory_order_release);
        c->ops[row] &= 15;
        bump(&t->live, 1);
        if (!undone)
            atomic_fetch_sub_explicit(&c->ended, 1, memory_order_relaxed);
    }
    if (!undone) {
        if (start > c->max_start)
            c->max_start = start;
        return;
    }
    if (!ended)
        atomic_fetch_add_explicit(&c->ended, 1, memory_order_relaxed);
    atomic_store_explicit(&c->start[row], ICE_TIME_MAX, memory_order_release);
    atomic_store_explicit(&c->end[row], ICE_TIME_MAX, memory_order_release);
    bump(&t->versions, -1);
    if (!ended || end > mark)
        bump(&t->live, -1);
}

static void undo_chunk(ice_tail *t, ice__chunk *c, int64_t mark)
{
    if (c->max_stamp <= mark)
        return;
    c->max_start = INT64_MIN;
    for (uint32_t row = 0; row < c->nrows; row++)
        undo_row(t, c, row, mark);
    c->max_stamp = mark;
}

static void undo_tombs(ice_tail *t, int64_t mark)
{
    for (ice__tomb_block *b = t->first_tombs; b; b = b->next)
        for (uint32_t i = 0; i < b->n; i++) {
            int64_t end = b->items[i].end;
            if (end <= mark || end == ICE_TIME_MAX)
                continue;
            atomic_store_explicit(&b->items[i].end, ICE_TIME_MAX, memory_order_release);
            bump(&t->tombstones, -1);
        }
}

void ice_tail_undo(ice_tail *t, int64_t mark)
{
    int64_t max = INT64_MIN;
    pthread_rwlock_wrlock(&t->lock);
    for (uint32_t i = 0; i < t->nchunks; i++) {
        undo_chunk(t, t->chunks[i], mark);
        if (t->chunks[i]->max_start > max)
            max = t->chunks[i]->max_start;
    }
    undo_tombs(t, mark);
    t->max_start = max;
    if (!t->versions)
        t->min_start = INT64_MAX;
    bump(&t->changes, 1);
    pthread_rwlock_unlock(&t->lock);
}

/* ---- look-ups ---- */

enum { FOUND = 32 };

typedef struct lookup {
    const ice__index *x;
    const ice_value *values;
    int64_t at;
    bool one;       /* the primary key: one version at a time */
    ice__link link; /* where to go on; chunk NULL: nowhere */
} lookup;

static bool start_lookup(lookup *l, ice_tail *t, size_t key)
{
    if (key >= t->keys.n)
        return false;
    l->x = t->indexes[key];
    l->one = key == 0;
    for (size_t i = 0; i < l->x->ncols; i++)
        if (l->values[i].null && !l->x->nulls_not_distinct)
            return false;
    l->link = ice__tailhash_first(&l->x->hash, ice_key_hash(l->values, l->x->ncols));
    return true;
}

static size_t collect(lookup *l, ice_ref *found)
{
    size_t n = 0;
    while (l->link.chunk && n < FOUND) {
        ice__chunk *c = l->link.chunk;
        uint32_t row = l->link.row;
        l->link = ice__tailhash_next(&l->x->hash, l->link);
        if (!ice__visible(c, row, l->at) || !ice__tailindex_matches(l->x, c, row, l->values))
            continue;
        found[n++] = (ice_ref){c, row};
        if (l->one)
            l->link.chunk = NULL;
    }
    return n;
}

int ice_tail_find(ice_tail *t, size_t key, const ice_value *values, int64_t at, int (*fn)(void *, ice_ref),
                  void *arg)
{
    lookup l = {.values = values, .at = at};
    ice_ref found[FOUND];
    if (!atomic_load_explicit(&t->versions, memory_order_relaxed))
        return 0;
    pthread_rwlock_rdlock(&t->lock);
    size_t n = start_lookup(&l, t, key) ? collect(&l, found) : 0;
    pthread_rwlock_unlock(&t->lock);
    for (;;) {
        for (size_t i = 0; i < n; i++) {
            int rc = fn(arg, found[i]);
            if (rc)
                return rc;
        }
        if (!l.link.chunk)
            return 0;
        pthread_rwlock_rdlock(&t->lock);
        n = collect(&l, found);
        pthread_rwlock_unlock(&t->lock);
    }
}

static bool tomb_is(const ice__tomb *b, const ice_value *key, size_t n)
{
    if (b->ncols != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!ice_value_eq(&b->key[i], &key[i]))
            return false;
    return true;
}

bool ice_tail_ended(ice_tail *t, const ice_value *key, int64_t at, int64_t *end)
{
    bool found = false;
    if (!atomic_load_explicit(&t->tombstones, memory_order_relaxed))
        return false;
    pthread_rwlock_rdlock(&t->lock);
    size_t n = t->keys.keys[0].ncols;
    const ice__hash *h = &t->tomb_hash;
    for (ice__link l = ice__tailhash_first(h, ice_key_hash(key, n)); l.chunk; l = ice__tailhash_next(h, l)) {
        const ice__tomb *b = &((ice__tomb_block *)l.chunk)->items[l.row];
        int64_t e = atomic_load_explicit(&b->end, memory_order_acquire);
        if (e > at || e == ICE_TIME_MAX || !tomb_is(b, key, n))
            continue;
        if (end && (!found || e > *end))
            *end = e;
        found = true;
    }
    pthread_rwlock_unlock(&t->lock);
    return found;
}

int ice_tail_tombstones(ice_tail *t, int64_t from, int64_t to, int (*fn)(void *, const ice_tombstone *),
                        void *arg)
{
    pthread_rwlock_rdlock(&t->lock);
    ice__tomb_block *b = t->first_tombs;
    pthread_rwlock_unlock(&t->lock);
    for (; b; b = atomic_load_explicit(&b->next, memory_order_acquire)) {
        uint32_t n = atomic_load_explicit(&b->n, memory_order_acquire);
        for (uint32_t i = 0; i < n; i++) {
            const ice__tomb *x = &b->items[i];
            int64_t end = atomic_load_explicit(&x->end, memory_order_acquire);
            if (end <= from || end > to || end == ICE_TIME_MAX)
                continue;
            ice_tombstone s = {x->key, x->hash, x->base_start, end, x->op};
            int rc = fn(arg, &s);
            if (rc)
                return rc;
        }
    }
    return 0;
}

void ice_tail_counts_get(ice_tail *t, ice_tail_counts *out)
{
    pthread_rwlock_rdlock(&t->lock);
    *out = (ice_tail_counts){.versions = t->versions,
                             .live = t->live,
                             .tombstones = t->tombstones,
                             .bytes = sizeof *t + t->arena_bytes + t->bytes + t->tomb_hash.bytes + t->order_bytes,
                             .changes = t->changes};
    for (size_t i = 0; i < t->keys.n; i++)
        out->bytes += t->indexes[i]->hash.bytes;
    if (out->versions) {
        out->min_start = t->min_start;
        out->max_start = t->max_start;
    }
    pthread_rwlock_unlock(&t->lock);
}
