/* Internals of log/.
 *
 * States of a log directory, and who moves it on:
 *
 *   closed      nobody holds flock(dir). The next opener takes it exclusively, checks `shared` against the
 *               segments, recovers, and shares it.
 *   open        every opener holds flock(dir, LOCK_SH). Appends, syncs, locks.
 *   poisoned    a fdatasync failed: shared.poison is set, nobody appends. Who next wants to write, or opens,
 *               voids what is not durable by a new segment at the durable end and raises the generation.
 * Where that fails too, it is an error, and the next one tries again.
 *
 * Invariants:
 *   L1  shared.tail is published by one store, after the record's last byte was handed to write().
 *   L2  shared.durable never passes bytes that a returned fdatasync does not cover (durability "full").
 *   L3  bytes past tail.end in the last segment are nobody's: whoever enters the serial section after a
 * writer died in it (shared.writing) cuts them before going on, so that no record returns from the dead. L4
 * a segment is durable in full before its successor's name exists; so only the last one can be torn. L5 every
 * change of the lock table is visible by one store, so that a latch can be taken from the dead. L6  liveness
 * is an open-file-description lock, never a pid: OFD locks on bytes of `shared` (below).
 *
 * Lock order: opening byte, serial mutex, serial byte, sync mutex, sync byte, segments mutex. Bucket latches
 * are held alone. */
#ifndef ICE_LOG_LOG_INT_H
#define ICE_LOG_LOG_INT_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "log/log.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are copied as little-endian structs");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "shared memory needs lock-free 64-bit atomics");

/* ---- segment files ---- */

#define ICE__SEGMENT_MAGIC "ICELOG\r\n"
#define ICE__SEGMENT_VERSION 1
#define ICE__RECORD_MAGIC 0x52454349u /* "ICER" */
#define ICE__BODY_MAX (1u << 30)
#define ICE__ALIGN 8

/*  0        8         12        16       24       32            40           44          56    60    64
 *  +--------+---------+---------+--------+--------+-------------+------------+-----------+-----+
 *  | magic  | version | zero    | log id | first  | commit time | record crc | zero      | crc |
 *  +--------+---------+---------+--------+--------+-------------+------------+-----------+-----+
 *  commit time and record crc: of the last record before the segment, 0 where there is none. */
typedef struct ice__segment_header {
    char magic[8];
    uint32_t version, zero0;
    uint64_t log_id, first;
    int64_t commit;
    uint32_t record_crc, zero1[4];
    uint32_t crc; /* of the bytes before it */
} ice__segment_header;
static_assert(sizeof(ice__segment_header) == 64, "segment header");

typedef struct ice__record_header {
    uint32_t magic, body, crc, prev;
    int64_t commit;
    uint64_t durable, txid;
} ice__record_header;
static_assert(sizeof(ice__record_header) == 40, "record header");

static inline uint64_t ice__record_size(uint64_t body)
{
    return (sizeof(ice__record_header) + body + ICE__ALIGN - 1) / ICE__ALIGN * ICE__ALIGN;
}
static inline uint64_t ice__offset(uint64_t first, uint64_t position)
{
    return position - first + sizeof(ice__segment_header);
}

/* ---- the shared file ---- */

#define ICE__SHARED_MAGIC "ICESHARE"
#define ICE__SHARED_VERSION 2
#define ICE__SLOTS 2048
#define ICE__LEASES 256
#define ICE__SEQUENCES 32768
#define ICE__BUCKET_BITS 16
#define ICE__BUCKETS (1u << ICE__BUCKET_BITS)
#define ICE__CHUNK 64 /* lock entries a slot takes at a time */
#define ICE__CHUNKS 4096
#define ICE__RING 16

/* Bytes of `shared` whose OFD locks mean something. They lie past its end. */
#define ICE__BYTE_OPEN ((int64_t)1 << 40)
#define ICE__BYTE_SERIAL (ICE__BYTE_OPEN + 1)
#define ICE__BYTE_SYNC (ICE__BYTE_OPEN + 2)
#define ICE__BYTE_PROBE (ICE__BYTE_OPEN + 3)
#define ICE__BYTE_SLOT (ICE__BYTE_OPEN + 1024)

/* A point in the log, with what is needed to go on from there. */
typedef struct ice__point {
    uint64_t end;
    int64_t commit;   /* of the last record before `end` */
    uint64_t segment; /* first position of the segment that `end` is appended to */
    uint64_t last;    /* position of the last record in that segment, or ICE__NO_RECORD */
    uint64_t crc;     /* of the last record before `end` */
} ice__point;
#define ICE__NO_RECORD UINT64_MAX

/* A point that one writer changes and many read. The store of `n` publishes a whole point, so that a writer
 * killed at any instruction leaves either the old or the new one; a seqlock would stay odd for ever. */
typedef struct ice__ring {
    _Atomic uint64_t n;
    uint64_t pad[7];
    struct {
        _Atomic uint64_t w[5];
    } point[ICE__RING];
} ice__ring;

typedef struct ice__slot { /* one session; its fields are written by the owner of its byte */
    _Atomic uint32_t in_use;
    _Atomic uint32_t latching; /* bucket + 1 that it holds or tries to hold */
    _Atomic uint64_t ticket;   /* of its wait: 0 none; the lower came earlier */
    _Atomic uint64_t pin;
    _Atomic uint32_t entry; /* that it waits on */
    uint32_t pad0;
    _Atomic uint64_t reads; /* publish count of the oldest catalog state it reads by, or ICE_LOG_NO_PIN */
    uint32_t pad[6];
} ice__slot;
static_assert(sizeof(ice__slot) == 64, "a slot is a cache line");

typedef struct ice__lease {
    _Atomic uint64_t name;  /* 0 free */
    _Atomic uint32_t owner; /* slot + 1 */
    uint32_t pad;
    _Atomic uint64_t epoch;
} ice__lease;

typedef struct ice__sequence {
    _Atomic uint64_t name; /* 0 free */
    _Atomic int64_t next;  /* biased by INT64_MIN, so that zeroed means the lowest */
} ice__sequence;

typedef struct ice__bucket {
    _Atomic uint32_t latch; /* slot + 1 */
    _Atomic uint32_t head;  /* entry + 1 */
    _Atomic uint32_t wake;  /* futex; bit 0: somebody waits */
    uint32_t pad;
} ice__bucket;

typedef struct ice__entry {
    _Atomic uint64_t name;
    _Atomic uint32_t next; /* entry + 1 */
    _Atomic uint16_t slot;
    _Atomic uint8_t mode; /* held: 0 none, else ice_lock_mode */
    _Atomic uint8_t want; /* waited for: 0 none */
} ice__entry;
static_assert(sizeof(ice__entry) == 16, "entry");

typedef struct ice__shared {
    char magic[8];
    uint32_t version, zero;
    uint64_t size;
    char boot_id[40]; /* of the kernel whose page cache this is */
    _Atomic uint64_t log_id;
    _Atomic uint32_t ready;      /* set last when (re)built */
    _Atomic uint32_t durability; /* 0 not decided, 1 full, 2 none */
    uint64_t pad0[5];

    _Atomic uint64_t generation; /* raised when undurable records were voided */
    _Atomic uint32_t poison;
    _Atomic uint32_t writing; /* the serial section is between the first write and publishing */
    _Atomic uint64_t start;
    _Atomic uint64_t trim_intent;
    _Atomic uint64_t publish_count;
    _Atomic int64_t floor;
    _Atomic uint64_t segments;  /* changes when the set of segment files does */
    _Atomic uint64_t allocated; /* bytes of the last segment's file that are written (zeros or records) */

    _Atomic uint64_t ticket;
    _Atomic uint64_t trimmed; /* records before it are flushed, though `start` keeps whole segments */
    _Atomic uint64_t wanted;  /* publish count that a collection waits for everybody to read by */
    _Atomic uint64_t voided;  /* durable end at which the present generation began */
    uint64_t pad1[4];
    _Atomic uint32_t synced; /* futex; changes after every sync */
    uint32_t pad2[15];

    ice__ring tail, durable;
    ice__slot slots[ICE__SLOTS];
    ice__lease leases[ICE__LEASES];
    ice__sequence sequences[ICE__SEQUENCES];
    _Atomic uint32_t chunk_owner[ICE__CHUNKS]; /* slot + 1 */
    ice__bucket buckets[ICE__BUCKETS];
    ice__entry entries[ICE__CHUNKS * ICE__CHUNK];
} ice__shared;

/* ---- one process's handle ---- */

typedef struct ice__segments { /* first positions, ascending */
    uint64_t *first;
    size_t n, cap;
} ice__segments;

typedef struct ice__file { /* a segment open for writing */
    int fd;
    uint64_t first, generation; /* another generation's segment may have the same name */
} ice__file;

struct ice_log {
    atomic_int refs;
    atomic_bool dead; /* after fork: shared is unmapped */
    ice_log_options options;
    char *dir;
    int dir_fd, shared_fd;
    ice__shared *shared;

    pthread_mutex_t serial; /* held in the serial section */
    atomic_bool in_serial;
    ice__file writer;
    pthread_mutex_t sync;
    ice__file syncer;
    pthread_mutex_t segments_mutex;
    ice__segments segments;
    uint64_t segments_seen;
    pthread_mutex_t slots;
    uint8_t own[ICE__SLOTS / 8]; /* slots held by this handle, whose OFD locks it cannot see */
};

struct ice_locker {
    ice_log *log;
    uint32_t slot;
    uint32_t *chunks; /* owned */
    size_t n_chunks, cap_chunks;
    uint32_t *free; /* entries */
    size_t n_free, cap_free;
    struct ice__held {
        uint32_t entry;
        uint8_t before; /* mode held before */
    } *held;
    size_t n_held, cap_held;
    struct ice__search *search; /* memory of deadlock detection, made when first needed */
};

/* shared.c */
void ice__ring_store(ice__ring *r, const ice__point *p);
ice__point ice__ring_load(const ice__ring *r);
/* What `shared` said before it was rebuilt. After a machine crash it may be stale, never ahead of the truth.
 */
typedef struct ice__known {
    bool any;     /* there was a shared file of this version */
    bool current; /* it is what the last process of this boot left: nothing was rebuilt */
    uint64_t log_id, durable, generation, publish_count;
    int64_t floor;
    uint32_t durability;
} ice__known;
/* Maps `shared`; when `alone`, rebuilds it (zeros, `ready` unset) where it is not of this boot. */
ice_code ice__shared_map(ice_log *log, bool alone, ice__known *known, ice_error *err) ICE_MUST;
/* OFD lock on one byte of `shared`. try: false when somebody else holds it. */
ice_code ice__byte_lock(ice_log *log, int64_t byte, ice_error *err) ICE_MUST;
bool ice__byte_try(ice_log *log, int64_t byte);
void ice__byte_unlock(ice_log *log, int64_t byte);
void ice__futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t timeout_us);
void ice__futex_wake(_Atomic uint32_t *word);

/* segment.c */
ice_code ice__segments_list(int dir_fd, const char *dir, bool tidy, ice__segments *out,
                            ice_error *err) ICE_MUST;
/* Creates the segment that begins at p->end, replacing one of the same name; durable when it returns. */
ice_code ice__segment_create(ice_log *log, const ice__point *p, ice_error *err) ICE_MUST;
ice_code ice__segment_open(ice_log *log, uint64_t first, bool write, int *fd, ice__segment_header *h,
                           ice_error *err) ICE_MUST;
ice_code ice__segment_size(ice_log *log, int fd, uint64_t first, uint64_t *size, ice_error *err) ICE_MUST;
/* Makes `f` the segment `first`, open for writing. In the serial section, or leading a sync. */
ice_code ice__file_use(ice_log *log, ice__file *f, uint64_t first, ice_error *err) ICE_MUST;
/* The segment that holds `position`, and where the next one begins (UINT64_MAX when it is the last). */
ice_code ice__segment_find(ice_log *log, uint64_t position, uint64_t *first, uint64_t *next,
                           ice_error *err) ICE_MUST;
/* Cuts whatever is not zeros after position `end`, and makes that durable. */
ice_code ice__segment_cut(ice_log *log, int fd, uint64_t first, uint64_t end, ice_error *err) ICE_MUST;
ice_code ice__sync_fd(ice_log *log, int fd, ice_error *err) ICE_MUST;
ice_code ice__sync_dir(ice_log *log, ice_error *err) ICE_MUST;
ice_code ice__write_at(ice_log *log, int fd, uint64_t first, const void *p, size_t n, uint64_t offset,
                       ice_error *err) ICE_MUST;

/* record.c */
typedef struct ice__reader {
    ice_log *log;
    int fd;
    uint64_t first; /* of the segment */
    uint64_t at;    /* position of buf[0] */
    uint8_t *buf;
    size_t len, cap;
} ice__reader;
typedef enum ice__status {
    ICE__GOOD,
    ICE__NONE, /* nothing there: zeros, or the limit */
    ICE__BAD,  /* `why` says it */
} ice__status;
typedef struct ice__record {
    uint64_t position, end;
    ice__record_header h;
    ice_str body; /* valid until the next read */
    const char *why;
} ice__record;
uint32_t ice__record_crc(uint64_t position, const ice__record_header *h, ice_str body);
/* Bytes [position, position + n), which the caller knows to be there; reads ahead up to `limit`. */
ice_code ice__reader_bytes(ice__reader *r, uint64_t position, size_t n, uint64_t limit, const uint8_t **out,
                           ice_error *err) ICE_MUST;
/* The record at `position` if it ends at or before `limit`, whose bytes are there. */
ice_code ice__reader_record(ice__reader *r, uint64_t position, uint64_t limit, ice__record *out,
                            ice__status *status, ice_error *err) ICE_MUST;
void ice__reader_free(ice__reader *r);

/* recover.c; the opening byte is held */
ice_code ice__recover(ice_log *log, const ice__known *known, ice_error *err) ICE_MUST;
/* After a failed fdatasync: voids what is not durable. held: in the serial section already. */
ice_code ice__void_tail(ice_log *log, bool held, ice_error *err) ICE_MUST;

/* log.c */
ice_code ice__serial_enter(ice_log *log, ice_error *err) ICE_MUST;
void ice__serial_leave(ice_log *log);
ice_code ice__check_usable(ice_log *log, ice_error *err) ICE_MUST;
void ice__log_ref(ice_log *log);
void ice__log_unref(ice_log *log);

/* lock.c */
uint32_t ice__bucket_of(uint64_t name);
void ice__latch(ice_log *log, uint32_t slot, uint32_t bucket);
void ice__unlatch(ice_log *log, uint32_t bucket, bool wake);
/* Frees everything a dead slot held; false when its owner lives. */
bool ice__slot_reap(ice_log *log, uint32_t slot);
/* Whether `e` keeps `slot` from `want`. The bucket is latched. */
bool ice__blocks(ice_log *log, const ice__entry *e, uint32_t slot, uint64_t ticket, bool upgrade,
                 uint8_t want);

/* deadlock.c */
typedef struct ice__search ice__search;
/* True when this locker, which waits, is the side of a cycle to end. Also reaps dead slots that it waits for.
 */
bool ice__deadlock(ice_locker *l);

#endif
