/* The commit log: an ordered, durable sequence of records shared by the processes of a host, in
 * segment files `<dir>/<first position, 16 hex digits>.log`, and the shared-memory file `<dir>/shared` that
 * coordinates them. Invariants 1, 2, 3 of ARCHITECTURE.md live here.
 *
 * A position is a byte offset in the whole log since its creation (uint64, never reused). A process that
 * opens the log reads records from any position at or after ice_log_start.
 *
 * Record (little-endian), 8-byte aligned:
 *   u32 magic | u32 body length | u32 crc of position, header (this field 0) and body | u32 crc of the
 * predecessor i64 commit time | u64 durable end known when written | u64 transaction id | body | padding
 *
 * Segment file: a header of 64 bytes (see log_int.h), then its records. A segment ends where the next one
 * begins: bytes past that are void. Space after the last record is zeros, written ahead.
 *
 * Serial section: an exclusive lock (robust against a dying holder) held from ice_log_begin to
 * ice_log_append/ice_log_abort. fdatasync is outside it and shared by all waiting committers (group commit).
 *
 * Threads: one ice_log may be used by many threads; a serial section is left by the thread that entered it.
 * After fork() a child calls ice_log_after_fork and reopens. Lockers and cursors keep the log's memory alive:
 * closing one after its log is fine, also in a forked child. */
#ifndef ICE_LOG_LOG_H
#define ICE_LOG_LOG_H

#include "base/misc.h"

typedef struct ice_log ice_log;

typedef struct ice_log_options {
    bool create;            /* make directory and first segment when missing */
    uint64_t first;         /* with create: a log made anew begins at this position (a multiple of 8), ... */
    int64_t after;          /* ... with commit times after this one */
    bool read_only;         /* no appends; recovery and locks still write, so the files must be writable */
    bool sync;              /* durability "full": fdatasync before acknowledging; false: only write() */
    uint64_t segment_bytes; /* 0: 64 MiB */
    uint64_t max_bytes;     /* refuse appends with ICE_DISK_FULL when start..end exceeds it; 0: 4 GiB */
    int64_t max_skew_us;    /* ICE_CLOCK_SKEW when the last commit time is further ahead; 0: 5 minutes */
} ice_log_options;

/* Opens, probing that locks and fsync work; recovers: finds the end, cuts a torn tail (invariant 2), refuses
 * corruption with its offset (ICE_CORRUPT). */
ice_code ice_log_open(const char *dir, const ice_log_options *o, ice_log **out, ice_error *err) ICE_MUST;
void ice_log_close(ice_log *log);
/* In a forked child: closes inherited descriptors and mappings without touching shared state, frees. */
void ice_log_after_fork(ice_log *log);

typedef struct ice_log_state {
    uint64_t start;         /* oldest position kept */
    uint64_t trimmed;       /* at or after it: records before it are published */
    uint64_t end;           /* end of the last appended record (maybe not durable) */
    uint64_t durable;       /* records ending at or before it are on stable storage */
    int64_t last_commit;    /* commit time of the last appended record */
    int64_t durable_commit; /* commit time of the last durable record */
    uint64_t publish_count; /* increases when a flush or compaction moved catalog pointers */
    uint64_t generation;    /* increases when records that a failed sync left behind were voided */
} ice_log_state;
/* A few loads from shared memory; no system call. */
void ice_log_get_state(ice_log *log, ice_log_state *out);

/* Enters the serial section. The caller sees every record up to state.end (reads them with ice_log_read,
 * durable or not), validates, then appends or aborts. */
ice_code ice_log_begin(ice_log *log, ice_log_state *state, ice_error *err) ICE_MUST;
/* Writes one record and leaves the serial section, also on failure. commit_time = max(clock, last + 1, as_of
 * floor + 1). `body` is not kept. The record is not durable yet. */
ice_code ice_log_append(ice_log *log, uint64_t txid, ice_str body, int64_t *commit_time, uint64_t *end,
                        ice_error *err) ICE_MUST;
void ice_log_abort(ice_log *log);
/* Returns when everything up to `end`, as it was in a generation (ice_log_begin's state), is durable; joins
 * or leads a group fdatasync. After a failed fsync: ICE_OUTCOME_UNKNOWN here. The next ice_log_begin of any
 * process voids what is not durable and goes on; while the disk fails, ICE_IO. */
ice_code ice_log_sync(ice_log *log, uint64_t end, uint64_t generation, ice_error *err) ICE_MUST;

/* as_of(t): raises the floor that later commit times must exceed to t (ICE_FUTURE when t is later than both
 * the clock and the last commit) and returns the position that must be applied and durable before reading,
 * and its generation. ICE_IO where what came before t is not settled and the disk fails. */
ice_code ice_log_floor(ice_log *log, int64_t t, uint64_t *end, uint64_t *generation, ice_error *err) ICE_MUST;

typedef struct ice_log_record {
    uint64_t position, end; /* of this record; the next begins at end */
    int64_t commit_time;
    uint64_t txid;
    ice_str body; /* valid until the next read with the same cursor or its close */
} ice_log_record;

typedef struct ice_log_cursor ice_log_cursor;
/* Reading from `position` (ICE_NOT_FOUND when it is before start). Cheap to keep open and go on later; not
 * shared between threads. */
ice_code ice_log_cursor_open(ice_log *log, uint64_t position, ice_log_cursor **out, ice_error *err) ICE_MUST;
/* The next record that ends at or before `limit`; *found false when there is none. ICE_IO once a record that
 * this cursor gave was voided: it was not durable then. */
ice_code ice_log_read(ice_log_cursor *c, uint64_t limit, ice_log_record *out, bool *found,
                      ice_error *err) ICE_MUST;
void ice_log_cursor_close(ice_log_cursor *c);

/* Forgets records before `position` (whole segments only), unless a pin is older. */
ice_code ice_log_trim(ice_log *log, uint64_t position, ice_error *err) ICE_MUST;
/* Tells all processes that catalog pointers moved. */
void ice_log_published(ice_log *log);

/* Sequences: values handed out to this host, reserved ahead in shared memory; a value is never handed out
 * twice while the shared file lives. `name` identifies the sequence (table uuid + field id); `at_least` is
 * the lowest value the caller knows unused (from data and log reservations). */
ice_code ice_log_sequence_next(ice_log *log, uint64_t name, int64_t at_least, int64_t count, int64_t *first,
                               ice_error *err) ICE_MUST;
/* The value that would come next, of a sequence not told of anything else. */
int64_t ice_log_sequence_peek(ice_log *log, uint64_t name);
/* A value set by hand: later values exceed it. */
ice_code ice_log_sequence_bump(ice_log *log, uint64_t name, int64_t used, ice_error *err) ICE_MUST;
/* The next value, whatever was handed out: for a sequence that nobody else can be asking. */
ice_code ice_log_sequence_set(ice_log *log, uint64_t name, int64_t next, ice_error *err) ICE_MUST;

/* ---- locks: row, key, table, in the same shared file ---- */

/* A locker is one session's slot. Alive while its open-file-description lock is held: the locks of a
 * process that died are taken over. One locker is used by one thread at a time. */
typedef struct ice_locker ice_locker;
#define ICE_LOG_NO_PIN UINT64_MAX
typedef enum ice_lock_mode { ICE_LOCK_SHARED = 1, ICE_LOCK_EXCLUSIVE = 2 } ice_lock_mode;

ice_code ice_locker_open(ice_log *log, ice_locker **out, ice_error *err) ICE_MUST;
void ice_locker_close(ice_locker *l); /* releases all */
/* Locks the 64-bit name, until ice_unlock_all or rollback to a mark. Re-entrant; shared upgrades to
 * exclusive when alone. timeout_us: 0 NOWAIT, < 0 for ever; ICE_LOCK_TIMEOUT. A cycle ends one side with
 * ICE_DEADLOCK. `interrupted` (may be NULL) is polled: true ends the wait with ICE_CANCELED.
 * *waited (may be NULL) tells that somebody else held it, so that the caller looks at the row again. */
ice_code ice_lock(ice_locker *l, uint64_t name, ice_lock_mode mode, int64_t timeout_us,
                  bool (*interrupted)(void *), void *arg, bool *waited, ice_error *err) ICE_MUST;
/* Locks taken so far; ice_unlock_to(mark) releases those taken since. */
size_t ice_lock_mark(const ice_locker *l);
void ice_unlock_to(ice_locker *l, size_t mark);
void ice_unlock_all(ice_locker *l);

/* Keeps ice_log_trim from forgetting records at or after `position` until the next call; ICE_LOG_NO_PIN lets
 * go. ICE_NOT_FOUND when they are forgotten already. */
ice_code ice_locker_pin(ice_locker *l, uint64_t position, ice_error *err) ICE_MUST;

/* Says that this locker's process reads by the catalog as it was at a publish count, and by nothing older;
 * ICE_LOG_NO_PIN: by nothing. Set before the catalog is read. */
void ice_locker_reads(ice_locker *l, uint64_t publish_count);
/* The oldest publish count anybody alive reads by; ICE_LOG_NO_PIN: nobody does. */
uint64_t ice_log_reads(ice_log *log);
/* A collection asks everybody who is idle to read by this count at least (never lowered), and what was asked.
 */
void ice_log_want(ice_log *log, uint64_t publish_count);
uint64_t ice_log_wanted(ice_log *log);

/* A named lease, for the flusher: taken if free or its holder died. The epoch strictly increases from taking
 * to taking (it is a clock reading where the shared file was lost). Taking one's own again keeps its epoch.
 */
ice_code ice_lease_try(ice_locker *l, uint64_t name, bool *taken, uint64_t *epoch, ice_error *err) ICE_MUST;
void ice_lease_release(ice_locker *l, uint64_t name);
#endif
