/* Who waits for whom. A slot that waits has a ticket and an entry; its blockers are found in that entry's
 * bucket.
 *
 * Buckets are read one after another, so a cycle may be put together from moments that never met. It is read
 * twice: a slot whose ticket is unchanged was waiting all the time and released nothing, so edges seen in the
 * second reading between such slots held together. The side that ends is the one that came last: all members
 * agree on it. */
#include <stdlib.h>

#include "log/log_int.h"

struct ice__search {
    uint16_t queue[ICE__SLOTS]; /* breadth first, slots in order of discovery */
    uint16_t parent[ICE__SLOTS];
    uint8_t seen[ICE__SLOTS];
    uint16_t blockers[ICE__SLOTS];
    struct {
        uint16_t slot;
        uint64_t ticket;
    } path[ICE__SLOTS]; /* each waits for the next, the last for the first */
};

/* The slots that keep `slot` waiting, as of its *ticket (0: it does not wait). */
static size_t blockers_of(ice_locker *l, uint32_t slot, uint16_t *out, uint64_t *ticket)
{
    ice__shared *s = l->log->shared;
    uint64_t t = atomic_load(&s->slots[slot].ticket);
    uint32_t entry = atomic_load(&s->slots[slot].entry), bucket;
    ice__entry *own = &s->entries[entry % (ICE__CHUNKS * ICE__CHUNK)];
    uint64_t name = atomic_load(&own->name);
    uint8_t want;
    size_t n = 0;

    *ticket = t;
    if (!t)
        return 0;
    bucket = ice__bucket_of(name);
    ice__latch(l->log, l->slot, bucket);
    want = atomic_load(&own->want);
    /* Within the latch the request can neither be granted nor withdrawn, if it still is the one. */
    if (atomic_load(&s->slots[slot].ticket) == t && atomic_load(&own->slot) == slot &&
        atomic_load(&own->name) == name)
        for (uint32_t i = atomic_load(&s->buckets[bucket].head); i && n < ICE__SLOTS;
             i = atomic_load(&s->entries[i - 1].next))
            if (atomic_load(&s->entries[i - 1].name) == name &&
                ice__blocks(l->log, &s->entries[i - 1], slot, t, atomic_load(&own->mode) != 0, want))
                out[n++] = atomic_load(&s->entries[i - 1].slot);
    ice__unlatch(l->log, bucket, false);
    return n;
}

/* From the queue's end `tail`, which waits for us, back to us. */
static size_t trace(ice_locker *l, ice__search *f, uint16_t tail)
{
    size_t n = 0;

    for (uint16_t at = tail;; at = f->parent[at]) {
        f->path[n++].slot = at;
        if (at == l->slot)
            break;
    }
    for (size_t i = 0; i < n / 2; i++) {
        uint16_t t = f->path[i].slot;

        f->path[i].slot = f->path[n - 1 - i].slot;
        f->path[n - 1 - i].slot = t;
    }
    for (size_t i = 0; i < n; i++)
        f->path[i].ticket = atomic_load(&l->log->shared->slots[f->path[i].slot].ticket);
    return n;
}

/* Length of a cycle through us, 0 when there is none. */
static size_t find_cycle(ice_locker *l, ice__search *f)
{
    size_t head = 0, tail = 0;
    uint64_t ticket;

    memset(f->seen, 0, sizeof f->seen);
    f->queue[tail++] = (uint16_t)l->slot;
    f->seen[l->slot] = 1;
    while (head < tail) {
        uint16_t at = f->queue[head++];
        size_t n = blockers_of(l, at, f->blockers, &ticket);

        for (size_t i = 0; i < n; i++) {
            uint16_t b = f->blockers[i];

            if (b == l->slot)
                return trace(l, f, at);
            if (b >= ICE__SLOTS || f->seen[b])
                continue;
            f->seen[b] = 1;
            f->parent[b] = at;
            f->queue[tail++] = b;
        }
    }
    return 0;
}

/* The second reading: every edge again, by slots that waited all along. */
static bool confirm(ice_locker *l, ice__search *f, size_t n)
{
    uint64_t ticket;

    for (size_t i = 0; i < n; i++) {
        uint16_t next = f->path[(i + 1) % n].slot;
        size_t k = blockers_of(l, f->path[i].slot, f->blockers, &ticket);
        bool edge = false;

        for (size_t j = 0; j < k && !edge; j++)
            edge = f->blockers[j] == next;
        if (!edge || ticket != f->path[i].ticket)
            return false;
    }
    for (size_t i = 0; i < n; i++)
        if (atomic_load(&l->log->shared->slots[f->path[i].slot].ticket) != f->path[i].ticket)
            return false;
    return true;
}

static bool came_last(const ice__search *f, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (f->path[i].ticket > f->path[0].ticket)
            return false;
    return true;
}

bool ice__deadlock(ice_locker *l)
{
    uint64_t ticket;
    size_t n, dead = 0;

    if (!l->search)
        l->search = malloc(sizeof *l->search);
    if (!l->search) /* looked for again at the next timeout */
        return false;
    n = blockers_of(l, l->slot, l->search->queue, &ticket);
    for (size_t i = 0; i < n; i++)
        dead += ice__slot_reap(l->log, l->search->queue[i]);
    if (dead)
        return false;
    n = find_cycle(l, l->search);
    return n && came_last(l->search, n) && confirm(l, l->search, n);
}
