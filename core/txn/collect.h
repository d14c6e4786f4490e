/* Garbage collection of a warehouse (invariant 6): who has to stand still for it, what its roots are, and
 * what is left for the next time. */
#ifndef ICE_TXN_COLLECT_H
#define ICE_TXN_COLLECT_H

#include "table/collect.h"
#include "txn/txn_int.h"

/* Held shared while metadata is written that no catalog points to; by a collection alone, while it lists. */
#define ICE__STAGING_LOCK ((uint64_t)0x73746167696e6721)

typedef struct ice__collect_options {
    int64_t grace_us;          /* of files whose origin is not known, by their time */
    int64_t replaced_grace_us; /* of files that this process has published and replaced, since then */
    int64_t wait_us;           /* for processes that still read by an older catalog */
    bool dry_run;
    void (*progress)(void *arg, const char *what, double done); /* may be NULL */
    void *arg;
} ice__collect_options;

typedef struct ice__collected {
    ice_collection_sums sums;
    uint64_t held_files, held_bytes; /* unreachable and old enough, but somebody may still read by them */
    int64_t last_us;                 /* when the last collection that removed anything ended; 0: never */
    uint64_t last_files, last_bytes;
} ice__collected;

/* `locker` takes the flusher's lease for it. */
ice_code ice__collect_garbage(ice_warehouse *wh, ice_locker *locker, const ice__collect_options *o,
                              ice__collected *out, ice_error *err) ICE_MUST;
/* ice_env's `replaced`. */
void ice__replaced(void *wh, ice_str location);
#endif
