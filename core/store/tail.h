/* Row versions of one table in memory: the *tail* (committed and newer than the published snapshot), and, by
 * the same structure, a transaction's own changes (an *overlay*, where operation numbers stand for commit
 * times).
 *
 * A version is visible at time t when start <= t < end. A change of a row that lives in the published files
 * is a *tombstone*: the key ends at a time. Values are kept in column chunks of one schema version each; hash
 * indexes on every key of the definition (primary, unique, foreign keys, plain indexes' columns). Times are
 * below ICE_TIME_MAX.
 *
 * Threads: one writer at a time (insert, end, undo, set_def), any number of readers beside it. Chunks, rows
 * and strings never move while a reference to the tail is held. Reference counted. */
#ifndef ICE_STORE_TAIL_H
#define ICE_STORE_TAIL_H

#include "store/chunk.h"

#define ICE_TIME_MAX INT64_MAX

typedef enum ice_row_op { ICE_OP_INSERT = 1, ICE_OP_UPDATE = 2, ICE_OP_DELETE = 3 } ice_row_op;

/* ---- keys of a definition ---- */

/* A key that is indexed: by column position in the definition. The first is the primary key: a table without one
 * has the hidden column "_row_key", which schema/ adds like any other. Views and other programs' tables, of which
 * no row is ever changed, have no keys (n 0, and a first one without columns). Expression and
 * conditional unique keys are not here (they are checked through the engine). */
typedef struct ice_key {
    size_t ncols;
    int *cols; /* positions in def->cols */
    bool unique;
    bool deferrable; /* and then not unique: rows of one transaction may share a value until it ends */
    const ice_constraint *con; /* NULL for a plain index */
    bool nulls_not_distinct;
} ice_key;
typedef struct ice_keys {
    size_t n;
    ice_key *keys; /* duplicates (same columns) merged; keys[0] is the primary key */
} ice_keys;
ice_code ice_keys_of(const ice_tabledef *def, ice_arena *a, ice_keys *out, ice_error *err) ICE_MUST;
/* Hash of a row's key; *has_null when a column is NULL (such a row is in no index unless nulls_not_distinct).
 */
uint64_t ice_key_hash_row(const ice_key *k, const ice_value *row, bool *has_null);

/* ---- the tail ---- */

typedef struct ice_tail ice_tail;

/* `def` is borrowed until the tail is freed or set_def replaces it (the caller keeps old ones alive as long
 * as the tail). */
ice_code ice_tail_create(const ice_tabledef *def, ice_tail **out, ice_error *err) ICE_MUST;
ice_tail *ice_tail_ref(ice_tail *t);
void ice_tail_unref(ice_tail *t); /* NULL is fine */
/* The tail holds `owner`, of what it borrows, until the last one lets go of the tail, who then calls release(owner) on its
 * thread. */
ice_code ice_tail_hold(ice_tail *t, void *owner, void (*release)(void *), ice_error *err) ICE_MUST;
/* A new schema version: later rows have its columns; indexes for new keys are built from the live rows. */
ice_code ice_tail_set_def(ice_tail *t, const ice_tabledef *def, ice_error *err) ICE_MUST;

/* A version of a row, stable while the tail is referenced. */
typedef struct ice_ref {
    void *chunk; /* NULL: none */
    uint32_t row;
} ice_ref;

/* Adds a version (values in the order of the current def's columns; copied). `op` INSERT or UPDATE. */
ice_code ice_tail_insert(ice_tail *t, const ice_value *values, int64_t start, ice_row_op op, ice_ref *out,
                         ice_error *err) ICE_MUST;
/* Ends the live version of a primary key at `end` (op UPDATE or DELETE): the tail's own, if it has one, else
 * leaves a tombstone {key, base_start}: base_start is the _row_start of the published version it ends (0
 * unknown). *was (may be NULL) is the tail version ended. */
ice_code ice_tail_end(ice_tail *t, const ice_value *key, int64_t base_start, int64_t end, ice_row_op op,
                      ice_ref *was, ice_error *err) ICE_MUST;
/* Takes back everything with start or end > mark (an overlay's savepoint). References to versions taken back
 * are never visible again. */
void ice_tail_undo(ice_tail *t, int64_t mark);

bool ice_ref_visible(ice_ref r, int64_t t);
int64_t ice_ref_start(ice_ref r);
int64_t ice_ref_end(ice_ref r);
ice_row_op ice_ref_op(ice_ref r);     /* what made the version */
ice_row_op ice_ref_end_op(ice_ref r); /* what ended it */
/* Value of column `field_id` under a definition: stored, or the column's initial default, or NULL. Views into
 * the tail. */
void ice_ref_value(ice_ref r, const ice_column *col, ice_value *out);

/* Versions visible at `t` whose key number `key` (of the current def's ice_keys) equals `values`. Calls back
 * for each; a nonzero return stops and is returned. Newest first; of the primary key (0) only the newest. No
 * lock is held during the call back, which may read the tail but not write to it. */
int ice_tail_find(ice_tail *t, size_t key, const ice_value *values, int64_t at, int (*fn)(void *, ice_ref),
                  void *arg);
/* The tombstone of a primary key that is in force at `at` (end <= at): true when there is one. */
bool ice_tail_ended(ice_tail *t, const ice_value *key, int64_t at, int64_t *end);

typedef struct ice_tombstone {
    const ice_value *key; /* primary key columns */
    uint64_t hash;
    int64_t base_start, end;
    ice_row_op op;
} ice_tombstone;
/* All tombstones with from < end <= to, oldest call first. Same rules as ice_tail_find. */
int ice_tail_tombstones(ice_tail *t, int64_t from, int64_t to, int (*fn)(void *, const ice_tombstone *),
                        void *arg);

typedef struct ice_tail_counts {
    uint64_t versions, live, tombstones, bytes;
    int64_t min_start, max_start;
    uint64_t changes; /* grows with every insert, end and undo: cache key for derived sets */
} ice_tail_counts;
void ice_tail_counts_get(ice_tail *t, ice_tail_counts *out);

/* ---- scans ---- */

typedef enum ice_tail_which {
    ICE_TAIL_VISIBLE, /* start <= at < end */
    ICE_TAIL_ALL,     /* every version with start <= at, also ended ones */
    ICE_TAIL_DEAD,    /* versions with end <= at: history */
} ice_tail_which;
typedef struct ice_tail_scan ice_tail_scan;
/* Columns by `cols` (any definition's columns, matched by field id; ICE_FIELD_ROW_START, ICE_FIELD_ROW_END
 * (NULL when live at `at`) and ICE_FIELD_OPERATION (what ended a version dead at `at`, what made one alive)
 * are served too); they and their initial values stay the caller's, valid until close. A column the stored
 * rows lack is a constant vector, one stored under a type that was promoted since is converted. `skip` (may
 * be NULL): rows for which it returns true are left out (an overlay's ended rows). */
ice_code ice_tail_scan_open(ice_tail *t, int64_t at, ice_tail_which which, const ice_column *cols,
                            size_t ncols, bool (*skip)(void *arg, ice_ref r), void *arg, ice_tail_scan **out,
                            ice_error *err) ICE_MUST;
/* Next batch, count 0 at the end. Safe to call from several threads with distinct workers (batches are handed
 * out by an atomic counter): `worker` is per-thread scratch made on first use. One worker gets rows in the
 * order of their insertion. */
ice_code ice_tail_scan_next(ice_tail_scan *s, void **worker, ice_batch *out, ice_error *err) ICE_MUST;
void ice_tail_scan_worker_free(void *worker);
void ice_tail_scan_close(ice_tail_scan *s);
/* The rows of such a scan one by one, on this thread: values of `cols` in order, views until the call back returns.
 * What it returns other than ICE_OK ends the scan and is returned. */
ice_code ice_tail_each(ice_tail *t, int64_t at, ice_tail_which which, const ice_column *cols, size_t ncols,
                       ice_code (*fn)(void *arg, const ice_value *row, ice_error *err), void *arg,
                       ice_error *err) ICE_MUST;

/* ---- order ---- */

/* Versions in the order of one column, NULLs after everything, equal values in no order: `refs` holds every
 * version visible at the time asked for, and others (ice_ref_visible tells). Stays as it is until released.
 */
typedef struct ice_tail_order {
    const ice_ref *refs;
    size_t n;
    void *owner;
} ice_tail_order;
/* Kept with the tail, and brought up to date here: cheap where the values of newer versions ascend.
 * `settled`: what ended at or before `at` stays ended (in a tail; not in an overlay) and may be left out from
 * now on. *has false: `at` is before such a time of an earlier call. Any thread. */
ice_code ice_tail_order_get(ice_tail *t, const ice_column *col, int64_t at, bool settled, ice_tail_order *out,
                            bool *has, ice_error *err) ICE_MUST;
void ice_tail_order_release(ice_tail_order *o);

/* ---- trimming ---- */

/* A new tail with what a snapshot flushed at time F does not hold: versions with start > F; a tombstone for
 * each version with start <= F < end < MAX; tombstones with end > F. The old one goes on serving its readers.
 * Runs as the writer: no other write beside it. */
ice_code ice_tail_trim(ice_tail *t, int64_t flushed, ice_tail **out, ice_error *err) ICE_MUST;
#endif
