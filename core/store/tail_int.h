/* Inside store/: how a tail keeps its rows.
 *
 *   tail -> chunks[] -> columns, start[], end[], ops[] (at most ICE_BATCH_ROWS rows each, of one shape)
 *        -> indexes[], one for each key: hash -> versions, newest first
 *        -> tombs, blocks of tombstones, and their index
 *
 * Invariants
 * 1. A row is written whole before `nrows` is stored with release; readers load it with acquire and never
 * look past it.
 * 2. start and end change only from a value no reader's time has reached (MAX) to a commit time above every
 * reader's, or, in an overlay, under the one thread that has it. An undone row has start = end = MAX: no time
 * sees it.
 * 3. Chunks, shapes, strings, tombstones and retired indexes live as long as the tail. Index tables move as
 * they grow: they are read under the lock; nothing calls out of the tail while holding it.
 * 4. A chunk whose `ended` is 0 has only rows with end = MAX; its `max_start` is at least every start. */
#ifndef ICE_STORE_TAIL_INT_H
#define ICE_STORE_TAIL_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/chunk_int.h"
#include "store/tail.h"

/* ---- columns of one schema version ---- */

typedef struct ice__shape_col {
    int32_t field_id;
    uint32_t width; /* of a value in the column; sizeof(ice_strval) for strings */
    ice_type type;
} ice__shape_col;
typedef struct ice__shape {
    struct ice__shape *next;
    size_t ncols;
    ice__shape_col cols[];
} ice__shape;

ice__shape *ice__tailshape_of(const ice_column *cols, size_t ncols); /* NULL on no memory */
ice__shape *ice__tailshape_copy(const ice__shape *s);
bool ice__tailshape_eq(const ice__shape *a, const ice__shape *b);
int ice__tailshape_find(const ice__shape *s, int32_t field_id);

/* ---- memory that does not move ---- */

typedef struct ice__heap_block ice__heap_block;
typedef struct ice__heap {
    ice__heap_block *head;
    size_t bytes; /* allocated in all */
} ice__heap;
void *ice__tailheap_alloc(ice__heap *h, size_t n, size_t align); /* NULL on no memory */
void ice__tailheap_free(ice__heap *h);

/* ---- chunks ---- */

typedef struct ice__chunk_col {
    uint8_t *validity; /* all ones until a null comes */
    uint8_t *data;
    atomic_bool nulls;
} ice__chunk_col;
typedef struct ice__chunk {
    const ice__shape *shape;
    uint32_t cap;
    _Atomic uint32_t nrows;
    _Atomic uint32_t ended; /* rows with an end, and undone ones */
    _Atomic int64_t max_start;
    int64_t max_stamp; /* of starts and ends: what an undo may pass over */
    _Atomic int64_t *start, *end;
    _Atomic uint8_t *ops; /* what made the row | what ended it << 4 */
    ice__heap heap;
    size_t bytes;   /* of this block */
    size_t counted; /* of the heap, in the tail's `bytes` */
    ice__chunk_col cols[];
} ice__chunk;

ice__chunk *ice__chunk_create(const ice__shape *s, uint32_t cap);
void ice__chunk_free(ice__chunk *c);
/* Stores into a row not published yet. `v` is of the column's type. */
ice_code ice__chunk_put(ice__chunk *c, size_t col, uint32_t row, const ice_value *v, ice_error *err) ICE_MUST;
void ice__chunk_get(const ice__chunk *c, size_t col, uint32_t row, ice_value *out);
/* Value of a definition's column in a row of any shape. */
void ice__chunk_row_value(const ice__chunk *c, uint32_t row, const ice_column *col, ice_value *out);
/* A stored value as a column's present type, where the schema's promotions (or their way back) allow it
 * exactly. */
bool ice__vec_promote(ice_value *v, ice_type from, ice_type to);

static inline int64_t ice__start(const ice__chunk *c, uint32_t row)
{
    return atomic_load_explicit(&c->start[row], memory_order_acquire);
}
static inline int64_t ice__end(const ice__chunk *c, uint32_t row)
{
    return atomic_load_explicit(&c->end[row], memory_order_acquire);
}
static inline bool ice__visible(const ice__chunk *c, uint32_t row, int64_t at)
{
    return ice__start(c, row) <= at && at < ice__end(c, row);
}

/* ---- hash of places: open addressing, one slot for each hash with its newest place, older ones linked
 * behind ---- */

typedef struct ice__slot {
    uint64_t hash;
    void *chunk;        /* NULL: free */
    uint32_t row, next; /* next: position in links + 1, 0 at the end */
} ice__slot;
typedef struct ice__link {
    void *chunk;
    uint32_t row, next;
} ice__link;
typedef struct ice__hash {
    ice__slot *slots;
    size_t mask, used;
    ice__link *links;
    uint32_t nlinks, cap;
    size_t bytes;
} ice__hash;

/* Room for one more; after it ice__tailhash_add cannot fail. */
ice_code ice__tailhash_reserve(ice__hash *h, ice_error *err) ICE_MUST;
void ice__tailhash_add(ice__hash *h, uint64_t hash, void *chunk, uint32_t row);
/* The newest place of a hash, .chunk NULL: none; then older ones through its `next`. */
ice__link ice__tailhash_first(const ice__hash *h, uint64_t hash);
static inline ice__link ice__tailhash_next(const ice__hash *h, ice__link l)
{
    return l.next ? h->links[l.next - 1] : (ice__link){0};
}
/* Starts the load that an add of this hash will wait for. */
static inline void ice__tailhash_prefetch(const ice__hash *h, uint64_t hash)
{
    if (h->slots)
        __builtin_prefetch(&h->slots[hash & h->mask], 1);
}
void ice__tailhash_free(ice__hash *h);

/* ---- indexes ---- */

typedef struct ice__index {
    struct ice__index *retired; /* next one in the tail's list of those no definition has any more */
    size_t ncols;
    const ice_column **cols;
    const ice__shape *shape; /* the current one, and */
    const int *pos;          /* where the key's columns are in it */
    bool nulls_not_distinct;
    ice__hash hash;
} ice__index;

/* Hash of a row's key; false when a null keeps the row out of the index. */
bool ice__tailindex_hash(const ice__index *x, const ice__chunk *c, uint32_t row, uint64_t *out);
bool ice__tailindex_matches(const ice__index *x, const ice__chunk *c, uint32_t row, const ice_value *values);

/* ---- tombstones ---- */

typedef struct ice__tomb {
    const ice_value *key;
    size_t ncols;
    uint64_t hash;
    int64_t base_start;
    _Atomic int64_t end; /* MAX: undone */
    ice_row_op op;
} ice__tomb;
typedef struct ice__tomb_block {
    struct ice__tomb_block *_Atomic next;
    uint32_t cap;
    _Atomic uint32_t n;
    ice__tomb items[];
} ice__tomb_block;

/* ---- orders ---- */

typedef struct ice__order_list ice__order_list;
/* Where the next version comes: after this row of this chunk. */
typedef struct ice__order_mark {
    uint32_t chunk, row;
} ice__order_mark;
typedef struct ice__order {
    struct ice__order *next;
    int32_t field_id;
    ice__order_mark mark;
    size_t n;
    ice__order_list *list; /* NULL: nothing yet */
    int64_t floor;         /* versions that ended at or before it may be missing */
} ice__order;
void ice__tail_free_orders(ice_tail *t);

/* ---- the tail ---- */

typedef struct ice__hold {
    struct ice__hold *next;
    void *owner;
    void (*release)(void *);
} ice__hold;

struct ice_tail {
    atomic_int refs;
    pthread_rwlock_t lock;
    const ice_tabledef *def;
    ice_arena *arena; /* keys of every definition so far, only allocated from, by the writer */
    size_t arena_bytes;
    ice_keys keys;
    ice__index **indexes; /* keys.n of them */
    ice__index *retired;
    uint64_t *hashes; /* scratch of the writer: keys.n */
    bool *indexed;
    ice__shape *shapes, *shape; /* all, and the current definition's */
    ice__chunk **chunks;
    uint32_t nchunks, cap_chunks;
    ice__tomb_block *first_tombs, *last_tombs;
    ice__heap tomb_heap;
    ice__hash tomb_hash;
    pthread_mutex_t order_lock; /* of the orders; taken before `lock` */
    ice__order *orders;
    ice__hold *holds; /* the writer's */
    _Atomic uint64_t order_bytes;
    _Atomic uint64_t versions, live, tombstones, bytes, changes;
    _Atomic int64_t min_start, max_start;
};

/* A free row of `shape` (one of the tail's). */
ice_code ice__tail_slot(ice_tail *t, ice__shape *shape, ice__chunk **c, uint32_t *row,
                        ice_error *err) ICE_MUST;
/* Makes the stored row a version: indexes it, then lets readers see it. */
ice_code ice__tail_publish(ice_tail *t, ice__chunk *c, uint32_t row, int64_t start, int64_t end, uint8_t ops,
                           ice_error *err) ICE_MUST;
ice_code ice__tail_add_tomb(ice_tail *t, const ice_value *key, size_t ncols, uint64_t hash,
                            int64_t base_start, int64_t end, ice_row_op op, ice_error *err) ICE_MUST;
/* tail_def.c: keys, shape and indexes of a definition. */
ice_code ice__tail_define(ice_tail *t, const ice_tabledef *def, ice_error *err) ICE_MUST;
void ice__tail_free_indexes(ice_tail *t);

#endif
