/* The lock table: hash buckets of entries, one entry for each (name, slot), in shared memory.
 *
 *   buckets[hash(name)] -> entry {name, slot, mode held, mode wanted} -> entry -> ...
 *   chunk_owner[i] = slot + 1: its 64 entries are that slot's, linked or not
 *
 * A bucket is changed under its latch, by single stores (L5): linking is the store of `head`, unlinking the
 * store of one `next`. What a killed process leaves is therefore a latch to take and entries to unlink, all
 * found from its slot: `latching` and its chunks.
 *
 * Waiting is first come, first served: a request waits for holders it conflicts with and for conflicting
 * requests with an older ticket. An upgrade waits for holders only. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/log_int.h"

enum {
    SPINS = 200,          /* of a latch, before yielding */
    YIELDS = 50,          /* before asking whether its holder lives */
    WAIT_FIRST_US = 1000, /* of a lock, before asking for deadlocks and dead holders; then doubling */
    WAIT_LAST_US = 20000,
    KEPT_CHUNKS = 4,
};

uint32_t ice__bucket_of(uint64_t name)
{
    return (uint32_t)(name * 0x9E3779B97F4A7C15u >> (64 - ICE__BUCKET_BITS));
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void ice__latch(ice_log *log, uint32_t slot, uint32_t bucket)
{
    ice__bucket *b = &log->shared->buckets[bucket];

    atomic_store_explicit(&log->shared->slots[slot].latching, bucket + 1, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* who is killed between is found by `latching` */
    for (int n = 0;; n++) {
        uint32_t free = 0;

        if (atomic_compare_exchange_weak_explicit(&b->latch, &free, slot + 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return;
        if (n < SPINS) {
            relax();
        } else if (n < SPINS + YIELDS) {
            sched_yield();
        } else {
            if (free && free <= ICE__SLOTS)
                (void)ice__slot_reap(log, free - 1);
            ice_sleep_us(50);
        }
    }
}

void ice__unlatch(ice_log *log, uint32_t bucket, bool wake)
{
    ice__bucket *b = &log->shared->buckets[bucket];

    if (wake && (atomic_load_explicit(&b->wake, memory_order_relaxed) & 1)) {
        uint32_t w = atomic_load_explicit(&b->wake, memory_order_relaxed);

        atomic_store_explicit(&b->wake, (w + 2) & ~1u, memory_order_relaxed);
        atomic_store_explicit(&b->latch, 0, memory_order_release);
        ice__futex_wake(&b->wake);
        return;
    }
    atomic_store_explicit(&b->latch, 0, memory_order_release);
}

/* Tells releasers that somebody waits; the value to wait on. The bucket is latched. */
static uint32_t announce(ice__bucket *b)
{
    uint32_t w = atomic_load_explicit(&b->wake, memory_order_relaxed) | 1;

    atomic_store_explicit(&b->wake, w, memory_order_relaxed);
    return w;
}

/* ---- entries ---- */

/* The bucket is latched. False when the entry is not in it. */
static bool unlink_entry(ice_log *log, uint32_t bucket, uint32_t entry)
{
    ice__shared *s = log->shared;
    _Atomic uint32_t *at = &s->buckets[bucket].head;
    uint32_t i;

    while ((i = atomic_load_explicit(at, memory_order_relaxed)) != 0) {
        _Atomic uint32_t *next = &s->entries[i - 1].next;

        if (i - 1 == entry) {
            atomic_store_explicit(at, atomic_load_explicit(next, memory_order_relaxed), memory_order_relaxed);
            return true;
        }
        at = next;
    }
    return false;
}

static void link_entry(ice_log *log, uint32_t bucket, uint32_t entry, uint64_t name, uint32_t slot,
                       uint8_t mode, uint8_t want)
{
    ice__entry *e = &log->shared->entries[entry];
    ice__bucket *b = &log->shared->buckets[bucket];

    atomic_store_explicit(&e->name, name, memory_order_relaxed);
    atomic_store_explicit(&e->slot, (uint16_t)slot, memory_order_relaxed);
    atomic_store_explicit(&e->mode, mode, memory_order_relaxed);
    atomic_store_explicit(&e->want, want, memory_order_relaxed);
    atomic_store_explicit(&e->next, atomic_load_explicit(&b->head, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(&b->head, entry + 1, memory_order_release);
}

/* Room for `need` elements, or NULL; the old memory stays valid then. */
static void *grown(void *list, size_t *cap, size_t need, size_t size)
{
    size_t n = *cap ? *cap : 64;
    void *p;

    if (need <= *cap)
        return list;
    while (n < need)
        n *= 2;
    p = realloc(list, n * size);
    if (p)
        *cap = n;
    return p;
}

static ice_code room_for_chunk(ice_locker *l, ice_error *err)
{
    uint32_t *chunks = grown(l->chunks, &l->cap_chunks, l->n_chunks + 1, sizeof *chunks), *entries;

    if (!chunks)
        return ice_fail_nomem(err);
    l->chunks = chunks;
    entries = grown(l->free, &l->cap_free, (l->n_chunks + 1) * ICE__CHUNK, sizeof *entries);
    if (!entries)
        return ice_fail_nomem(err);
    l->free = entries;
    return ICE_OK;
}

static ice_code take_chunk(ice_locker *l, ice_error *err)
{
    ice__shared *s = l->log->shared;
    uint32_t from = l->slot * (ICE__CHUNKS / ICE__SLOTS);
    ice_code rc;

    ICE_TRY(room_for_chunk(l, err));
    for (uint32_t n = 0; n < ICE__CHUNKS; n++) {
        uint32_t i = (from + n) % ICE__CHUNKS, free = 0;

        if (atomic_load_explicit(&s->chunk_owner[i], memory_order_relaxed) != 0 ||
            !atomic_compare_exchange_strong(&s->chunk_owner[i], &free, l->slot + 1))
            continue;
        l->chunks[l->n_chunks++] = i;
        for (uint32_t k = ICE__CHUNK; k > 0; k--)
            l->free[l->n_free++] = i * ICE__CHUNK + k - 1;
        return ICE_OK;
    }
    rc = ice_fail(err, ICE_NOMEM, "log %s: the lock table is full (%d locks)", l->log->dir,
                  ICE__CHUNKS * ICE__CHUNK);
out:
    return rc;
}

/* ---- slots ---- */

static bool owns(ice_log *log, uint32_t slot)
{
    return log->own[slot / 8] >> slot % 8 & 1;
}

static void set_own(ice_log *log, uint32_t slot, bool own)
{
    uint8_t bit = (uint8_t)(1 << slot % 8);

    log->own[slot / 8] = (uint8_t)(own ? log->own[slot / 8] | bit : log->own[slot / 8] & ~bit);
}

/* OFD locks do not exclude threads that share the descriptor: `own` does. */
static bool acquire_slot(ice_log *log, uint32_t slot)
{
    bool got = false;

    pthread_mutex_lock(&log->slots);
    if (!owns(log, slot) && ice__byte_try(log, ICE__BYTE_SLOT + slot)) {
        set_own(log, slot, true);
        got = true;
    }
    pthread_mutex_unlock(&log->slots);
    return got;
}

static void release_slot(ice_log *log, uint32_t slot)
{
    pthread_mutex_lock(&log->slots);
    set_own(log, slot, false);
    ice__byte_unlock(log, ICE__BYTE_SLOT + slot);
    pthread_mutex_unlock(&log->slots);
}

static void free_chunk(ice_log *log, uint32_t slot, uint32_t chunk)
{
    for (uint32_t i = chunk * ICE__CHUNK; i < (chunk + 1) * ICE__CHUNK; i++) {
        uint32_t bucket = ice__bucket_of(atomic_load(&log->shared->entries[i].name));

        ice__latch(log, slot, bucket);
        ice__unlatch(log, bucket, unlink_entry(log, bucket, i));
    }
    atomic_store(&log->shared->chunk_owner[chunk], 0);
}

/* Undoes whatever a dead owner left, in the slot that is ours now. */
static void clean_slot(ice_log *log, uint32_t slot)
{
    ice__shared *s = log->shared;
    uint32_t latching = atomic_load(&s->slots[slot].latching), mine = slot + 1;

    if (latching && latching <= ICE__BUCKETS && atomic_load(&s->buckets[latching - 1].latch) == mine)
        ice__unlatch(log, latching - 1, true);
    atomic_store(&s->slots[slot].ticket, 0);
    for (uint32_t i = 0; i < ICE__CHUNKS; i++)
        if (atomic_load_explicit(&s->chunk_owner[i], memory_order_relaxed) == mine)
            free_chunk(log, slot, i);
    for (uint32_t i = 0; i < ICE__LEASES; i++) {
        uint32_t owner = mine;

        atomic_compare_exchange_strong(&s->leases[i].owner, &owner, 0);
    }
    atomic_store(&s->slots[slot].pin, ICE_LOG_NO_PIN);
    atomic_store(&s->slots[slot].in_use, 0);
}

/* Whoever died holding locks may have appended a record that is not durable yet, so that nobody has applied
 * it: who gets its locks must see what it changed. A failed sync poisons the log, and then nobody writes. */
static void settle(ice_log *log)
{
    uint64_t generation = atomic_load(&log->shared->generation);
    uint64_t end = ice__ring_load(&log->shared->tail).end;
    ice_error ignored;

    if (ice__ring_load(&log->shared->durable).end < end)
        (void)!ice_log_sync(log, end, generation, &ignored);
}

bool ice__slot_reap(ice_log *log, uint32_t slot)
{
    if (!acquire_slot(log, slot))
        return false;
    if (atomic_load(&log->shared->slots[slot].in_use)) {
        settle(log);
        clean_slot(log, slot);
    }
    release_slot(log, slot);
    return true;
}

/* Slots that nobody claims to use first: trying the others is a system call each. */
static bool find_slot(ice_log *log, uint32_t *out)
{
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < ICE__SLOTS; i++) {
            if (pass == 0 && atomic_load_explicit(&log->shared->slots[i].in_use, memory_order_relaxed))
                continue;
            if (acquire_slot(log, i)) {
                *out = i;
                return true;
            }
        }
    return false;
}

ice_code ice_locker_open(ice_log *log, ice_locker **out, ice_error *err)
{
    ice_locker *l = calloc(1, sizeof *l);
    ice__slot *s;

    *out = NULL;
    if (!l)
        return ice_fail_nomem(err);
    if (!find_slot(log, &l->slot)) {
        free(l);
        return ice_fail(err, ICE_NOMEM, "log %s: all %d sessions of the shared file are in use", log->dir,
                        ICE__SLOTS);
    }
    s = &log->shared->slots[l->slot];
    if (atomic_load(&s->in_use)) {
        settle(log);
        clean_slot(log, l->slot);
    }
    atomic_store(&s->pin, ICE_LOG_NO_PIN);
    atomic_store(&s->reads, ICE_LOG_NO_PIN);
    atomic_store(&s->in_use, 1);
    l->log = log;
    ice__log_ref(log);
    *out = l;
    return ICE_OK;
}

static void release_shared(ice_locker *l)
{
    ice_log *log = l->log;

    ice_unlock_all(l);
    for (size_t i = 0; i < l->n_chunks; i++)
        atomic_store(&log->shared->chunk_owner[l->chunks[i]], 0);
    l->n_chunks = 0;
    clean_slot(log, l->slot);
    release_slot(log, l->slot);
}

void ice_locker_close(ice_locker *l)
{
    if (!l)
        return;
    if (!atomic_load(&l->log->dead)) /* else the slot is the parent's */
        release_shared(l);
    ice__log_unref(l->log);
    free(l->chunks);
    free(l->free);
    free(l->held);
    free(l->search);
    free(l);
}

/* ---- locking ---- */

static bool conflict(uint8_t a, uint8_t b)
{
    return a && b && (a == ICE_LOCK_EXCLUSIVE || b == ICE_LOCK_EXCLUSIVE);
}

bool ice__blocks(ice_log *log, const ice__entry *e, uint32_t slot, uint64_t ticket, bool upgrade,
                 uint8_t want)
{
    uint32_t other = atomic_load_explicit(&e->slot, memory_order_relaxed);

    if (other == slot)
        return false;
    if (conflict(atomic_load_explicit(&e->mode, memory_order_relaxed), want))
        return true;
    return !upgrade && conflict(atomic_load_explicit(&e->want, memory_order_relaxed), want) &&
           atomic_load_explicit(&log->shared->slots[other].ticket, memory_order_relaxed) < ticket;
}

typedef struct request {
    uint64_t name;
    uint32_t bucket;
    uint8_t mode;
    uint32_t entry; /* ours, when `mine` */
    bool mine;      /* we hold or wait in it */
    uint8_t held;   /* mode held already */
    uint64_t ticket;
} request;

/* Finds our entry for the name, and whether others keep us waiting. The bucket is latched. */
static bool look(ice_locker *l, request *r)
{
    ice__shared *s = l->log->shared;
    uint32_t head = atomic_load_explicit(&s->buckets[r->bucket].head, memory_order_relaxed), i;
    bool blocked = false, alone = true;

    r->mine = false;
    r->held = 0;
    for (i = head; i; i = atomic_load_explicit(&s->entries[i - 1].next, memory_order_relaxed)) {
        ice__entry *e = &s->entries[i - 1];

        if (atomic_load_explicit(&e->name, memory_order_relaxed) != r->name)
            continue;
        if (atomic_load_explicit(&e->slot, memory_order_relaxed) == l->slot) {
            r->mine = true;
            r->entry = i - 1;
            r->held = atomic_load_explicit(&e->mode, memory_order_relaxed);
        } else {
            alone = false;
        }
    }
    if (alone)
        return false;
    for (i = head; i && !blocked; i = atomic_load_explicit(&s->entries[i - 1].next, memory_order_relaxed)) {
        ice__entry *e = &s->entries[i - 1];

        if (atomic_load_explicit(&e->name, memory_order_relaxed) == r->name)
            blocked = ice__blocks(l->log, e, l->slot, r->ticket, r->held != 0, r->mode);
    }
    return blocked;
}

static void remember(ice_locker *l, uint32_t entry, uint8_t before)
{
    l->held[l->n_held++] = (struct ice__held){entry, before};
}

/* The bucket is latched and nobody blocks. */
static void grant(ice_locker *l, const request *r)
{
    if (r->mine) {
        ice__entry *e = &l->log->shared->entries[r->entry];

        atomic_store_explicit(&e->mode, r->mode, memory_order_relaxed);
        atomic_store_explicit(&e->want, 0, memory_order_relaxed);
        remember(l, r->entry, r->held);
        return;
    }
    remember(l, l->free[--l->n_free], 0);
    link_entry(l->log, r->bucket, l->held[l->n_held - 1].entry, r->name, l->slot, r->mode, 0);
}

/* Enters the queue. The bucket is latched. */
static void enqueue(ice_locker *l, request *r)
{
    ice__shared *s = l->log->shared;

    r->ticket = atomic_fetch_add(&s->ticket, 1) + 1;
    if (!r->mine)
        r->entry = l->free[--l->n_free];
    atomic_store(&s->slots[l->slot].entry, r->entry);
    atomic_store(&s->slots[l->slot].ticket, r->ticket);
    if (r->mine)
        atomic_store(&s->entries[r->entry].want, r->mode);
    else
        link_entry(l->log, r->bucket, r->entry, r->name, l->slot, 0, r->mode);
}

static void give_up(ice_locker *l, const request *r)
{
    ice__shared *s = l->log->shared;

    ice__latch(l->log, l->slot, r->bucket);
    atomic_store(&s->entries[r->entry].want, 0);
    if (!atomic_load(&s->entries[r->entry].mode)) {
        unlink_entry(l->log, r->bucket, r->entry);
        l->free[l->n_free++] = r->entry;
    }
    atomic_store(&s->slots[l->slot].ticket, 0);
    ice__unlatch(l->log, r->bucket, true); /* who waited behind us may go on */
}

/* Looks again; true when granted, else *word is what to wait on. */
static bool retry(ice_locker *l, request *r, uint32_t *word)
{
    ice__shared *s = l->log->shared;
    bool granted;

    ice__latch(l->log, l->slot, r->bucket);
    granted = !look(l, r);
    if (granted) {
        grant(l, r);
        atomic_store(&s->slots[l->slot].ticket, 0);
    } else {
        *word = announce(&s->buckets[r->bucket]);
    }
    ice__unlatch(l->log, r->bucket, false);
    return granted;
}

typedef struct patience {
    int64_t deadline; /* monotonic; INT64_MAX for ever */
    int64_t timeout_us;
    bool (*interrupted)(void *);
    void *arg;
} patience;

static ice_code out_of_patience(const patience *p, int64_t now, ice_error *err)
{
    if (p->interrupted && p->interrupted(p->arg))
        return ice_fail(err, ICE_CANCELED, "canceled while waiting for a lock");
    if (now >= p->deadline)
        return ice_fail(err, ICE_LOCK_TIMEOUT, "could not get the lock within %lld ms",
                        (long long)(p->timeout_us / 1000));
    return ICE_OK;
}

static ice_code wait_turn(ice_locker *l, request *r, uint32_t word, const patience *p, ice_error *err)
{
    ice__bucket *b = &l->log->shared->buckets[r->bucket];
    int64_t slice = WAIT_FIRST_US, now = ice_clock_monotonic_us(), until;
    ice_code rc;

    for (;;) {
        ICE_TRY(out_of_patience(p, now, err));
        until = now + slice;
        ice__futex_wait(&b->wake, word, slice < p->deadline - now ? slice : p->deadline - now);
        if (retry(l, r, &word))
            return ICE_OK;
        now = ice_clock_monotonic_us();
        if (now < until)
            continue;
        slice = slice * 2 < WAIT_LAST_US ? slice * 2 : WAIT_LAST_US;
        if (ice__deadlock(l)) {
            rc = ice_fail(err, ICE_DEADLOCK, "deadlock detected: transactions wait for each other's locks");
            goto out;
        }
    }
out:
    give_up(l, r);
    return rc;
}

static ice_code make_room(ice_locker *l, ice_error *err)
{
    struct ice__held *held = grown(l->held, &l->cap_held, l->n_held + 1, sizeof *held);

    if (!held)
        return ice_fail_nomem(err);
    l->held = held;
    return l->n_free ? ICE_OK : take_chunk(l, err);
}

/* NOWAIT: the holder may be dead, which only asking tells. */
static bool reap_holders(ice_locker *l, const request *r)
{
    ice__shared *s = l->log->shared;
    uint16_t slots[64];
    bool reaped = false;
    size_t n = 0;

    ice__latch(l->log, l->slot, r->bucket);
    for (uint32_t i = atomic_load(&s->buckets[r->bucket].head); i && n < 64;
         i = atomic_load(&s->entries[i - 1].next))
        if (atomic_load(&s->entries[i - 1].name) == r->name &&
            atomic_load(&s->entries[i - 1].slot) != l->slot)
            slots[n++] = atomic_load(&s->entries[i - 1].slot);
    ice__unlatch(l->log, r->bucket, false);
    for (size_t i = 0; i < n; i++)
        reaped |= ice__slot_reap(l->log, slots[i]);
    return reaped;
}

ice_code ice_lock(ice_locker *l, uint64_t name, ice_lock_mode mode, int64_t timeout_us,
                  bool (*interrupted)(void *), void *arg, bool *waited, ice_error *err)
{
    request r = {.name = name, .bucket = ice__bucket_of(name), .mode = (uint8_t)mode, .ticket = UINT64_MAX};
    patience p = {INT64_MAX, timeout_us, interrupted, arg};
    uint32_t word;
    bool blocked;
    ice_code rc;

    if (waited)
        *waited = false;
again:
    ICE_TRY(make_room(l, err));
    ice__latch(l->log, l->slot, r.bucket);
    blocked = look(l, &r);
    if (r.held >= r.mode || !blocked) {
        if (r.held < r.mode)
            grant(l, &r);
        ice__unlatch(l->log, r.bucket, false);
        return ICE_OK;
    }
    if (timeout_us == 0) {
        ice__unlatch(l->log, r.bucket, false);
        if (reap_holders(l, &r))
            goto again;
        return ice_fail(err, ICE_LOCK_TIMEOUT, "the lock is held by another transaction");
    }
    enqueue(l, &r);
    word = announce(&l->log->shared->buckets[r.bucket]);
    ice__unlatch(l->log, r.bucket, false);
    if (waited)
        *waited = true;
    if (timeout_us > 0 && __builtin_add_overflow(ice_clock_monotonic_us(), timeout_us, &p.deadline))
        p.deadline = INT64_MAX;
    ICE_TRY(wait_turn(l, &r, word, &p, err));
out:
    return rc;
}

size_t ice_lock_mark(const ice_locker *l)
{
    return l->n_held;
}

static void release_last(ice_locker *l)
{
    struct ice__held h = l->held[--l->n_held];
    ice__entry *e = &l->log->shared->entries[h.entry];
    uint32_t bucket = ice__bucket_of(atomic_load_explicit(&e->name, memory_order_relaxed));

    ice__latch(l->log, l->slot, bucket);
    if (h.before) {
        atomic_store_explicit(&e->mode, h.before, memory_order_relaxed);
    } else {
        unlink_entry(l->log, bucket, h.entry);
        l->free[l->n_free++] = h.entry;
    }
    ice__unlatch(l->log, bucket, true);
}

void ice_unlock_to(ice_locker *l, size_t mark)
{
    if (atomic_load_explicit(&l->log->dead, memory_order_relaxed)) /* after fork: they are the parent's */
        l->n_held = 0;
    while (l->n_held > mark)
        release_last(l);
}

/* After a transaction of many locks others may need the entries. */
static void return_chunks(ice_locker *l)
{
    while (l->n_chunks > KEPT_CHUNKS)
        atomic_store(&l->log->shared->chunk_owner[l->chunks[--l->n_chunks]], 0);
    l->n_free = 0;
    for (size_t c = 0; c < l->n_chunks; c++)
        for (uint32_t k = ICE__CHUNK; k > 0; k--)
            l->free[l->n_free++] = l->chunks[c] * ICE__CHUNK + k - 1;
}

void ice_unlock_all(ice_locker *l)
{
    ice_unlock_to(l, 0);
    if (l->n_chunks > KEPT_CHUNKS)
        return_chunks(l);
}

/* ---- pins ---- */

ice_code ice_locker_pin(ice_locker *l, uint64_t position, ice_error *err)
{
    ice__shared *s = l->log->shared;
    ice_code rc = ICE_OK;

    atomic_store(&s->slots[l->slot].pin, position);
    if (position >= atomic_load(&s->trim_intent))
        goto out;
    /* A trim past us began, or died: after its section `start` tells. */
    ICE_TRY(ice__serial_enter(l->log, err));
    if (position < atomic_load(&s->start))
        rc = ice_fail(err, ICE_NOT_FOUND, "log %s: position %llu is forgotten, it begins at %llu",
                      l->log->dir, (unsigned long long)position, (unsigned long long)atomic_load(&s->start));
    ice__serial_leave(l->log);
out:
    if (rc != ICE_OK)
        atomic_store(&s->slots[l->slot].pin, ICE_LOG_NO_PIN);
    return rc;
}

void ice_locker_reads(ice_locker *l, uint64_t publish_count)
{
    if (!atomic_load_explicit(&l->log->dead, memory_order_relaxed)) /* after fork the slot is the parent's */
        atomic_store(&l->log->shared->slots[l->slot].reads, publish_count);
}

/* ---- leases ---- */

static ice__lease *find_lease(ice_log *log, uint64_t name)
{
    uint64_t want = name ? name : 1;

    for (uint32_t n = 0; n < ICE__LEASES; n++) {
        ice__lease *s = &log->shared->leases[(want + n) % ICE__LEASES];
        uint64_t have = atomic_load(&s->name);

        if (have == want || (have == 0 && atomic_compare_exchange_strong(&s->name, &have, want)) ||
            have == want)
            return s;
    }
    return NULL;
}

ice_code ice_lease_try(ice_locker *l, uint64_t name, bool *taken, uint64_t *epoch, ice_error *err)
{
    ice__lease *s = find_lease(l->log, name);
    uint32_t owner = 0, mine = l->slot + 1;
    uint64_t now = (uint64_t)ice_clock_us(), last;

    *taken = false;
    if (!s)
        return ice_fail(err, ICE_NOMEM, "log %s: all %d leases of the shared file are in use", l->log->dir,
                        ICE__LEASES);
    if (!atomic_compare_exchange_strong(&s->owner, &owner, mine) && owner != mine) {
        if (owner > ICE__SLOTS || !ice__slot_reap(l->log, owner - 1))
            return ICE_OK;
        owner = 0;
        if (!atomic_compare_exchange_strong(&s->owner, &owner, mine))
            return ICE_OK;
    }
    *taken = true;
    last = atomic_load(&s->epoch);
    if (owner != mine)
        atomic_store(&s->epoch, now > last ? now : last + 1);
    *epoch = atomic_load(&s->epoch);
    return ICE_OK;
}

void ice_lease_release(ice_locker *l, uint64_t name)
{
    ice__lease *s = find_lease(l->log, name);
    uint32_t mine = l->slot + 1;

    if (s)
        atomic_compare_exchange_strong(&s->owner, &mine, 0);
}
