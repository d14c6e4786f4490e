/* What the first opener does: finds the end of the log, and makes `shared` say it. */
#include <stdlib.h>
#include <unistd.h>

#include "log/log_int.h"

typedef struct found {
    ice__point point;
    uint64_t claimed; /* everything before it is known durable */
} found;

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- scanning ---- */

/* A valid record after `from` that claims `from` durable: then what is at `from` was lost, not torn. */
static ice_code find_claim(ice__reader *r, uint64_t from, uint64_t limit, bool *claimed, ice_error *err)
{
    static const uint32_t magic = ICE__RECORD_MAGIC;
    const uint8_t *p;
    ice__record rec;
    ice__status status;
    ice_code rc = ICE_OK;

    *claimed = false;
    for (uint64_t at = from + ICE__ALIGN; at + sizeof rec.h <= limit && !*claimed; at += ICE__ALIGN) {
        ICE_TRY(ice__reader_bytes(r, at, sizeof magic, limit, &p, err));
        if (memcmp(p, &magic, sizeof magic) != 0)
            continue;
        ICE_TRY(ice__reader_record(r, at, limit, &rec, &status, err));
        *claimed = status == ICE__GOOD && rec.h.durable > from;
    }
out:
    return rc;
}

static bool follows(const ice__record *r, const ice__point *p)
{
    return r->h.prev == (uint32_t)p->crc && r->h.commit > p->commit;
}

/* Reads from f->point, where the segment begins, to the last record that is good. */
static ice_code scan(ice__reader *r, uint64_t limit, found *f, const char **why, ice_error *err)
{
    ice__record rec;
    ice__status status;
    ice_code rc;

    *why = "is missing";
    for (;;) {
        ICE_TRY(ice__reader_record(r, f->point.end, limit, &rec, &status, err));
        if (status != ICE__GOOD || !follows(&rec, &f->point)) {
            if (status != ICE__NONE)
                *why = status == ICE__BAD ? rec.why : "does not follow the one before it";
            return ICE_OK;
        }
        f->point.last = rec.position;
        f->point.end = rec.end;
        f->point.crc = rec.h.crc;
        f->point.commit = rec.h.commit;
        f->claimed = max_u64(f->claimed, rec.h.durable);
    }
out:
    return rc;
}

static ice_code refuse(ice_log *log, const ice__point *p, const char *why, const char *proof, ice_error *err)
{
    return ice_fail(err, ICE_CORRUPT,
                    "log %s: the record at position %llu (offset %llu of %016llx.log) %s, but %s", log->dir,
                    (unsigned long long)p->end, (unsigned long long)ice__offset(p->segment, p->end),
                    (unsigned long long)p->segment, why, proof);
}

/* The end of the last segment by its bytes alone; invariant 2 decides between torn and corrupt. */
static ice_code scan_last(ice_log *log, ice__reader *r, const ice__segment_header *h, uint64_t known_durable,
                          found *f, ice_error *err)
{
    const char *why;
    uint64_t size, limit;
    bool claimed;
    ice_code rc;

    *f = (found){{h->first, h->commit, h->first, ICE__NO_RECORD, h->record_crc}, h->first};
    ICE_TRY(ice__segment_size(log, r->fd, h->first, &size, err));
    limit = h->first + size - sizeof *h;
    ICE_TRY(scan(r, limit, f, &why, err));
    ICE_TRY(find_claim(r, f->point.end, limit, &claimed, err));
    if (claimed)
        return refuse(log, &f->point, why, "a later record says that it was durable", err);
    if (known_durable > f->point.end)
        return refuse(
            log, &f->point, why,
            "the shared file says that it was durable (if these files were restored from a backup, remove "
            "the shared file)",
            err);
out:
    return rc;
}

/* The end as the shared file of this boot has it, when the record there agrees. */
static ice_code trust_shared(ice_log *log, ice__reader *r, const ice__segment_header *h, found *f,
                             bool *trusted, ice_error *err)
{
    ice__point tail = ice__ring_load(&log->shared->tail);
    ice__record rec;
    ice__status status;
    uint64_t size;
    ice_code rc = ICE_OK;

    *trusted = false;
    *f = (found){tail, ice__ring_load(&log->shared->durable).end};
    if (h->first == tail.end) { /* perhaps of a rotation whose writer died */
        *trusted = h->record_crc == (uint32_t)tail.crc;
        f->point.segment = h->first;
        f->point.last = ICE__NO_RECORD;
        goto out;
    }
    ICE_TRY(ice__segment_size(log, r->fd, h->first, &size, err));
    if (h->first != tail.segment || tail.last == ICE__NO_RECORD || tail.last < h->first ||
        tail.end > h->first + size - sizeof *h)
        goto out;
    ICE_TRY(ice__reader_record(r, tail.last, tail.end, &rec, &status, err));
    *trusted = status == ICE__GOOD && rec.end == tail.end && rec.h.crc == (uint32_t)tail.crc;
out:
    return rc;
}

/* ---- making it so ---- */

/* Writes [from, to) once more: pages whose write-back failed once may be clean in memory and not on the disk.
 */
static ice_code rewrite(ice_log *log, int fd, uint64_t first, uint64_t from, uint64_t to, ice_error *err)
{
    ice__reader r = {.log = log, .fd = fd, .first = first};
    const uint8_t *p;
    ice_code rc = ICE_OK;

    while (from < to) {
        size_t n = to - from < 65536 ? (size_t)(to - from) : 65536;

        ICE_TRY(ice__reader_bytes(&r, from, n, to, &p, err));
        ICE_TRY(ice__write_at(log, fd, first, p, n, ice__offset(first, from), err));
        from += n;
    }
out:
    free(r.buf);
    return rc;
}

static ice_code settle(ice_log *log, const found *f, ice_error *err)
{
    const ice__point *p = &f->point;
    uint64_t size;
    ice_code rc;

    ICE_TRY(ice__file_use(log, &log->writer, p->segment, err));
    ICE_TRY(ice__segment_cut(log, log->writer.fd, p->segment, p->end, err));
    ICE_TRY(rewrite(log, log->writer.fd, p->segment, max_u64(f->claimed, p->segment), p->end, err));
    ICE_TRY(ice__sync_fd(log, log->writer.fd, err)); /* also the probe that it works here */
    ICE_TRY(ice__segment_size(log, log->writer.fd, p->segment, &size, err));
    atomic_store(&log->shared->allocated, size);
out:
    return rc;
}

static void fill_shared(ice_log *log, const ice__known *known, const ice__point *p, uint64_t start)
{
    ice__shared *s = log->shared;

    ice__ring_store(&s->tail, p);
    ice__ring_store(&s->durable, p);
    atomic_store(&s->start, start);
    atomic_store(&s->trim_intent, start);
    if (atomic_load(&s->trimmed) < start || atomic_load(&s->trimmed) > p->end)
        atomic_store(&s->trimmed, start);
    atomic_fetch_add(&s->segments, 1);
    atomic_store(&s->writing, 0);
    atomic_store(&s->durability, 0);
    if (!known->current) {
        atomic_store(&s->generation, known->generation + 1);
        atomic_store(&s->publish_count, known->any ? known->publish_count + 1 : (uint64_t)ice_clock_us());
        if (known->floor <= ice_clock_us() + log->options.max_skew_us)
            atomic_store(&s->floor, known->floor);
    }
    atomic_store(&s->ready, 1);
}

static void free_dead_slots(ice_log *log)
{
    for (uint32_t i = 0; i < ICE__SLOTS; i++)
        if (atomic_load(&log->shared->slots[i].in_use))
            (void)ice__slot_reap(log, i);
}

/* ---- the set of segments ---- */

static ice_code create_first(ice_log *log, const ice__known *known, ice__segments *all, ice_error *err)
{
    ice__point origin = {.end = log->options.first, .commit = log->options.after, .last = ICE__NO_RECORD};
    ice_code rc;

    if (!log->options.create)
        return ice_fail(err, ICE_NOT_FOUND, "no log in %s", log->dir);
    if (known->any && known->durable)
        return ice_fail(err, ICE_CORRUPT,
                        "log %s: all segments are gone, but its shared file knows of %llu bytes", log->dir,
                        (unsigned long long)known->durable);
    atomic_store(&log->shared->log_id, ice_random64() | 1);
    ICE_TRY(ice__segment_create(log, &origin, err));
    ICE_TRY(ice__segments_list(log->dir_fd, log->dir, true, all, err));
out:
    return rc;
}

/* Every segment reaches its successor, and all are of one log. */
static ice_code check_segments(ice_log *log, const ice__segments *all, ice_error *err)
{
    ice_code rc = ICE_OK;

    for (size_t i = 0; i < all->n; i++) {
        ice__segment_header h;
        uint64_t size = 0;
        int fd;

        ICE_TRY(ice__segment_open(log, all->first[i], false, &fd, &h, err));
        rc = ice__segment_size(log, fd, all->first[i], &size, err);
        close(fd);
        if (rc != ICE_OK)
            goto out;
        atomic_store(&log->shared->log_id, h.log_id);
        if (i + 1 < all->n && size < ice__offset(all->first[i], all->first[i + 1]))
            return ice_fail(err, ICE_CORRUPT,
                            "log %s: %016llx.log ends at offset %llu, before the next segment begins",
                            log->dir, (unsigned long long)all->first[i], (unsigned long long)size);
    }
out:
    return rc;
}

static ice_code find_end(ice_log *log, const ice__known *known, uint64_t last, found *f, ice_error *err)
{
    ice__reader r = {.log = log, .fd = -1, .first = last};
    ice__segment_header h;
    bool trusted = false, same_log, real;
    ice_code rc;

    ICE_TRY(ice__segment_open(log, last, false, &r.fd, &h, err));
    if (known->current)
        ICE_TRY(trust_shared(log, &r, &h, f, &trusted, err));
    if (trusted)
        goto out;
    same_log = known->any && known->log_id == h.log_id;
    real = known->durability != 2; /* else "durable" was only a word */
    ICE_TRY(scan_last(log, &r, &h, same_log && real ? known->durable : 0, f, err));
out:
    ice__reader_free(&r);
    return rc;
}

ice_code ice__recover(ice_log *log, const ice__known *known, ice_error *err)
{
    ice__segments all = {0};
    found f;
    ice_code rc;

    ICE_TRY(ice__segments_list(log->dir_fd, log->dir, true, &all, err));
    if (all.n == 0)
        ICE_TRY(create_first(log, known, &all, err));
    ICE_TRY(check_segments(log, &all, err));
    if (known->current && atomic_load(&log->shared->poison)) {
        ICE_TRY(ice__void_tail(log, false, err));
        ICE_TRY(ice__segments_list(log->dir_fd, log->dir, true, &all, err));
    }
    ICE_TRY(find_end(log, known, all.first[all.n - 1], &f, err));
    ICE_TRY(settle(log, &f, err));
    free_dead_slots(log);
    fill_shared(log, known, &f.point, all.first[0]);
out:
    free(all.first);
    return rc;
}

static ice_code void_after(ice_log *log, ice_error *err)
{
    ice__shared *s = log->shared;
    ice__point durable = ice__ring_load(&s->durable);
    int64_t voided = ice__ring_load(&s->tail).commit;
    ice_code rc = ICE_OK;

    if (!atomic_load(&s->poison)) /* another one was first */
        goto out;
    ICE_TRY(ice__segment_create(log, &durable, err));
    durable.segment = durable.end;
    durable.last = ICE__NO_RECORD;
    /* Before any record of the new generation: who waits for one of the old must not take it for that. */
    atomic_store(&s->voided, durable.end);
    atomic_fetch_add(&s->generation, 1);
    if (atomic_load(&s->floor) < voided)
        atomic_store(&s->floor, voided);
    atomic_store(&s->allocated, sizeof(ice__segment_header));
    atomic_fetch_add(&s->segments, 1);
    ice__ring_store(&s->tail, &durable);
    ice__ring_store(&s->durable, &durable);
    atomic_store(&s->writing, 0);
    atomic_store(&s->poison, 0);
out:
    return rc;
}

ice_code ice__void_tail(ice_log *log, bool held, ice_error *err)
{
    ice_code rc = ICE_OK;

    if (!held)
        ICE_TRY(ice__byte_lock(log, ICE__BYTE_SERIAL, err));
    pthread_mutex_lock(&log->sync);
    rc = ice__byte_lock(log, ICE__BYTE_SYNC, err);
    if (rc == ICE_OK) {
        rc = void_after(log, err);
        ice__byte_unlock(log, ICE__BYTE_SYNC);
    }
    pthread_mutex_unlock(&log->sync);
    if (!held)
        ice__byte_unlock(log, ICE__BYTE_SERIAL);
out:
    return rc;
}
