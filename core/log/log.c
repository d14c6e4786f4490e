/* The serial section, appending, group sync, floor and trim. States and invariants: log_int.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/value.h"
#include "log/log_int.h"

enum {
    WRITE_AHEAD = 256 *
        1024, /* zeros written past the end: an fdatasync that need not grow the file is faster */
    LEADER_CHECK_US = 5000, /* how soon a waiter notices that the leader of a group sync died */
};

/* ---- the serial section ---- */

ice_code ice__check_usable(ice_log *log, ice_error *err)
{
    if (atomic_load(&log->shared->poison))
        return ice_fail(err, ICE_IO, "log %s: a sync failed, and nothing was written since", log->dir);
    return ICE_OK;
}

static void publish(ice_log *log, const ice__point *p)
{
    ice__ring_store(&log->shared->tail, p);
    atomic_store(&log->shared->writing, 0);
}

/* A process died rotating: the new segment has its name, so the old one has ended (L3, L4). */
static ice_code finish_rotation(ice_log *log, ice__point *tail, ice_error *err)
{
    uint64_t first, next;
    ice_code rc;

    atomic_fetch_add(&log->shared->segments, 1);
    ICE_TRY(ice__segment_find(log, tail->end, &first, &next, err));
    if (first == tail->segment)
        goto out;
    if (first != tail->end)
        return ice_fail(err, ICE_CORRUPT, "log %s: segment %016llx.log begins after the end, position %llu",
                        log->dir, (unsigned long long)first, (unsigned long long)tail->end);
    ICE_TRY(ice__sync_dir(log, err));
    tail->segment = first;
    tail->last = ICE__NO_RECORD;
out:
    return rc;
}

/* Whoever held the section died, or failed, between its first write and publishing it. */
static ice_code repair(ice_log *log, ice_error *err)
{
    ice__point tail = ice__ring_load(&log->shared->tail);
    uint64_t size;
    ice_code rc;

    ICE_TRY(finish_rotation(log, &tail, err));
    ICE_TRY(ice__file_use(log, &log->writer, tail.segment, err));
    rc = ice__segment_cut(log, log->writer.fd, tail.segment, tail.end, err);
    if (rc != ICE_OK) {
        atomic_store(&log->shared->poison, 1);
        goto out;
    }
    ICE_TRY(ice__segment_size(log, log->writer.fd, tail.segment, &size, err));
    atomic_store(&log->shared->allocated, size);
    publish(log, &tail);
out:
    return rc;
}

ice_code ice__serial_enter(ice_log *log, ice_error *err)
{
    ice_code rc;

    pthread_mutex_lock(&log->serial);
    rc = ice__byte_lock(log, ICE__BYTE_SERIAL, err);
    if (rc != ICE_OK) {
        pthread_mutex_unlock(&log->serial);
        return rc;
    }
    if (atomic_load(&log->shared->poison) && (rc = ice__void_tail(log, true, err)) != ICE_OK)
        ice_error_prefix(err, "a sync of the log failed, and it still cannot go on");
    if (rc == ICE_OK && atomic_load(&log->shared->writing))
        rc = repair(log, err);
    if (rc != ICE_OK)
        ice__serial_leave(log);
    return rc;
}

void ice__serial_leave(ice_log *log)
{
    ice__byte_unlock(log, ICE__BYTE_SERIAL);
    pthread_mutex_unlock(&log->serial);
}

void ice_log_get_state(ice_log *log, ice_log_state *out)
{
    /* Durable first: it never passes an end read later. */
    ice__point durable = ice__ring_load(&log->shared->durable);
    ice__point tail = ice__ring_load(&log->shared->tail);

    out->start = atomic_load_explicit(&log->shared->start, memory_order_relaxed);
    out->trimmed = atomic_load_explicit(&log->shared->trimmed, memory_order_relaxed);
    if (out->trimmed < out->start)
        out->trimmed = out->start;
    out->end = tail.end;
    out->last_commit = tail.commit;
    out->durable = durable.end;
    out->durable_commit = durable.commit;
    out->generation = atomic_load(&log->shared->generation);
    out->publish_count = atomic_load_explicit(&log->shared->publish_count, memory_order_acquire);
}

ice_code ice_log_begin(ice_log *log, ice_log_state *state, ice_error *err)
{
    ice_code rc;

    if (log->options.read_only)
        return ice_fail(err, ICE_READ_ONLY, "log %s is open for reading only", log->dir);
    ICE_TRY(ice__serial_enter(log, err));
    atomic_store(&log->in_serial, true);
    ice_log_get_state(log, state);
out:
    return rc;
}

static void leave(ice_log *log)
{
    atomic_store(&log->in_serial, false);
    ice__serial_leave(log);
}

void ice_log_abort(ice_log *log)
{
    assert(atomic_load(&log->in_serial));
    leave(log);
}

/* ---- appending; all in the serial section ---- */

static ice_code check_append(ice_log *log, const ice__point *tail, uint64_t size, uint64_t body,
                             ice_error *err)
{
    uint64_t kept = tail->end - atomic_load(&log->shared->trimmed);
    ice_code rc;

    if (body > ICE__BODY_MAX)
        return ice_fail(err, ICE_TOO_LONG, "log %s: a record of %llu bytes exceeds the limit of %u", log->dir,
                        (unsigned long long)body, ICE__BODY_MAX);
    if (kept + size > log->options.max_bytes)
        return ice_fail(err, ICE_DISK_FULL,
                        "log %s: %llu bytes are not flushed yet, the limit (log.max-bytes) is %llu", log->dir,
                        (unsigned long long)kept, (unsigned long long)log->options.max_bytes);
    ICE_TRY(ice__check_usable(log, err));
out:
    return rc;
}

static ice_code next_commit_time(ice_log *log, const ice__point *tail, int64_t *out, ice_error *err)
{
    int64_t now = ice_clock_us();
    int64_t floor = atomic_load(&log->shared->floor);
    int64_t last = tail->commit > floor ? tail->commit : floor;

    if (last >= now && last - now > log->options.max_skew_us)
        return ice_fail(err, ICE_CLOCK_SKEW,
                        "log %s: the last commit time is %lld s ahead of the clock; set the clock or raise "
                        "clock.max-skew-ms",
                        log->dir, (long long)((last - now) / 1000000));
    *out = now > last ? now : last + 1;
    return ICE_OK;
}

static ice_code sync_before_rotation(ice_log *log, uint64_t end, ice_error *err)
{
    ice_code rc;

    if (log->options.sync) {
        rc = ice_log_sync(log, end, atomic_load(&log->shared->generation), err);
        /* What is unknown is the fate of others' records: ours is not written. */
        if (rc == ICE_OUTCOME_UNKNOWN)
            return ice_fail(err, ICE_IO, "log %s: the sync before a new segment failed", log->dir);
        return rc;
    }
    rc = ice__sync_fd(log, log->writer.fd, err);
    if (rc != ICE_OK)
        atomic_store(&log->shared->poison, 1);
    return rc;
}

/* The end is durable before the successor's name exists (L4). */
static ice_code rotate(ice_log *log, ice__point *tail, ice_error *err)
{
    ice__point next = *tail;
    ice_code rc;

    ICE_TRY(sync_before_rotation(log, tail->end, err));
    next.segment = tail->end;
    next.last = ICE__NO_RECORD;
    atomic_store(&log->shared->writing, 1);
    ICE_TRY(ice__segment_create(log, tail, err));
    if (ice_fault("log.rotated"))
        return ice_fail_errno(err, EIO, "log %s: rotating", log->dir);
    ICE_TRY(ice__file_use(log, &log->writer, next.segment, err));
    atomic_store(&log->shared->allocated, sizeof(ice__segment_header));
    atomic_fetch_add(&log->shared->segments, 1);
    publish(log, &next);
    *tail = next;
out:
    return rc;
}

/* Failing to write ahead costs speed only: what runs out of space is the record's own write. */
static void write_ahead(ice_log *log, uint64_t offset, uint64_t size)
{
    static const char zeros[WRITE_AHEAD];
    uint64_t limit = log->options.segment_bytes + sizeof(ice__segment_header);
    uint64_t ahead = offset + size < limit ? limit - (offset + size) : 0;
    ssize_t n;

    if (offset + size <= atomic_load(&log->shared->allocated))
        return;
    ahead = ahead < sizeof zeros ? ahead : sizeof zeros;
    n = ahead ? pwrite(log->writer.fd, zeros, (size_t)ahead, (off_t)(offset + size)) : 0;
    atomic_store(&log->shared->allocated, offset + size + (uint64_t)(n > 0 ? n : 0));
}

static ice_code write_record(ice_log *log, const ice__record_header *h, ice_str body, uint64_t offset,
                             ice_error *err)
{
    static const char padding[ICE__ALIGN];
    uint64_t size = ice__record_size(h->body), pad = size - sizeof *h - h->body;
    struct iovec iov[3] = {{(void *)(uintptr_t)h, sizeof *h},
                           {(void *)(uintptr_t)body.ptr, body.len},
                           {(void *)(uintptr_t)padding, (size_t)pad}};
    ssize_t n;
    ice_code rc = ICE_OK;

    if (ice_fault("log.write"))
        return ice_fail_errno(err, EIO, "log %s: writing a record", log->dir);
    n = pwritev(log->writer.fd, iov, 3, (off_t)offset);
    if (n == (ssize_t)size)
        goto out;
    /* A short write: the parts one by one say why, or get through. */
    ICE_TRY(ice__write_at(log, log->writer.fd, log->writer.first, h, sizeof *h, offset, err));
    ICE_TRY(
        ice__write_at(log, log->writer.fd, log->writer.first, body.ptr, body.len, offset + sizeof *h, err));
    ICE_TRY(ice__write_at(log, log->writer.fd, log->writer.first, padding, (size_t)pad,
                          offset + sizeof *h + body.len, err));
out:
    return rc;
}

/* Without syncs nothing after the segment's begin is known to be on stable storage, whatever we acknowledge.
 */
static uint64_t durable_claim(ice_log *log, const ice__point *tail)
{
    return log->options.sync ? ice__ring_load(&log->shared->durable).end : tail->segment;
}

static ice_code append_to(ice_log *log, ice__point *tail, uint64_t txid, ice_str body, ice_error *err)
{
    ice__record_header h = {.magic = ICE__RECORD_MAGIC,
                            .body = (uint32_t)body.len,
                            .prev = (uint32_t)tail->crc,
                            .commit = tail->commit,
                            .durable = durable_claim(log, tail),
                            .txid = txid};
    uint64_t offset = ice__offset(tail->segment, tail->end), size = ice__record_size(body.len);
    ice_code rc;

    h.crc = ice__record_crc(tail->end, &h, body);
    ICE_TRY(ice__file_use(log, &log->writer, tail->segment, err));
    atomic_store(&log->shared->writing, 1);
    ICE_TRY(write_record(log, &h, body, offset, err));
    write_ahead(log, offset, size);
    if (ice_fault("log.publish"))
        return ice_fail_errno(err, EIO, "log %s: publishing a record", log->dir);
    tail->last = tail->end;
    tail->end += size;
    tail->crc = h.crc;
    if (!log->options.sync)
        ice__ring_store(&log->shared->durable, tail);
    publish(log, tail);
out:
    return rc;
}

static ice_code append(ice_log *log, uint64_t txid, ice_str body, ice__point *tail, ice_error *err)
{
    uint64_t size = ice__record_size(body.len);
    int64_t commit = 0;
    ice_code rc;

    ICE_TRY(check_append(log, tail, size, body.len, err));
    ICE_TRY(next_commit_time(log, tail, &commit, err));
    if (tail->end > tail->segment && tail->end + size - tail->segment > log->options.segment_bytes) {
        ICE_TRY(ice__file_use(log, &log->writer, tail->segment, err));
        ICE_TRY(rotate(log, tail, err));
    }
    tail->commit = commit;
    ICE_TRY(append_to(log, tail, txid, body, err));
out:
    return rc;
}

ice_code ice_log_append(ice_log *log, uint64_t txid, ice_str body, int64_t *commit_time, uint64_t *end,
                        ice_error *err)
{
    ice__point tail;
    ice_code rc;

    if (!atomic_load(&log->in_serial))
        return ice_fail(err, ICE_MISUSE, "log %s: append outside the serial section", log->dir);
    tail = ice__ring_load(&log->shared->tail);
    rc = append(log, txid, body, &tail, err);
    if (rc == ICE_OK) {
        *commit_time = tail.commit;
        *end = tail.end;
    }
    leave(log);
    return rc;
}

/* ---- group sync ---- */

/* Holds the sync byte: one fdatasync covers everything appended until now. */
static ice_code lead(ice_log *log, uint64_t end, ice_error *err)
{
    ice__point tail = ice__ring_load(&log->shared->tail);
    ice_code rc;

    ICE_TRY(ice__check_usable(log, err));
    if (ice__ring_load(&log->shared->durable).end >= end)
        goto out;
    ICE_TRY(ice__file_use(log, &log->syncer, tail.segment, err));
    rc = ice__sync_fd(log, log->syncer.fd, err);
    if (rc == ICE_OK)
        ice__ring_store(&log->shared->durable, &tail);
    else
        atomic_store(&log->shared->poison, 1);
out:
    return rc;
}

/* *led: this thread led; otherwise somebody else does at the moment. */
static ice_code try_lead(ice_log *log, uint64_t end, bool *led, ice_error *err)
{
    ice_code rc = ICE_OK;

    *led = false;
    if (pthread_mutex_trylock(&log->sync) != 0)
        return ICE_OK;
    if (ice__byte_try(log, ICE__BYTE_SYNC)) {
        *led = true;
        rc = lead(log, end, err);
        ice__byte_unlock(log, ICE__BYTE_SYNC);
    }
    pthread_mutex_unlock(&log->sync);
    if (*led) { /* after unlocking, so that who wakes can lead */
        atomic_fetch_add(&log->shared->synced, 1);
        ice__futex_wake(&log->shared->synced);
    }
    return rc;
}

/* What a record's generation has come to; `durable` was read before. */
static bool is_durable(ice_log *log, uint64_t durable, uint64_t end, uint64_t generation, bool *lost)
{
    uint64_t now = atomic_load(&log->shared->generation);

    *lost = false;
    if (now == generation)
        return durable >= end;
    /* Voided since: what was durable then stays. Of an earlier voiding nobody knows any more. */
    *lost = now != generation + 1 || atomic_load(&log->shared->voided) < end ||
            atomic_load(&log->shared->generation) != now;
    return !*lost;
}

ice_code ice_log_sync(ice_log *log, uint64_t end, uint64_t generation, ice_error *err)
{
    bool led, lost;

    if (end > ice__ring_load(&log->shared->tail).end && atomic_load(&log->shared->generation) == generation)
        return ice_fail(err, ICE_MISUSE, "log %s: sync to %llu, past the end", log->dir,
                        (unsigned long long)end);
    for (;;) {
        uint32_t word = atomic_load(&log->shared->synced);

        if (is_durable(log, ice__ring_load(&log->shared->durable).end, end, generation, &lost))
            return ICE_OK;
        if (lost || ice__check_usable(log, err) != ICE_OK || try_lead(log, end, &led, err) != ICE_OK)
            return ice_fail(
                err, ICE_OUTCOME_UNKNOWN,
                "log %s: a sync failed before position %llu was durable: the commit may or may not last",
                log->dir, (unsigned long long)end);
        if (!led)
            ice__futex_wait(&log->shared->synced, word, LEADER_CHECK_US);
    }
}

/* ---- as_of, trim ---- */

ice_code ice_log_floor(ice_log *log, int64_t t, uint64_t *end, uint64_t *generation, ice_error *err)
{
    ice__point durable = ice__ring_load(&log->shared->durable), tail;
    ice_code rc;

    *generation = atomic_load(&log->shared->generation);
    tail = ice__ring_load(&log->shared->tail);
    *end = durable.commit >= t ? durable.end : tail.end;
    if (durable.commit >= t || (tail.commit >= t && !atomic_load(&log->shared->poison)))
        return ICE_OK; /* whatever comes, comes later */
    if (t > ice_clock_us()) {
        char text[ICE_INSTANT_LEN];
        return ice_fail(err, ICE_FUTURE, "the instant %s is in the future", ice_instant_text(t, text));
    }
    ICE_TRY(ice__serial_enter(log, err));
    if (atomic_load(&log->shared->floor) < t)
        atomic_store(&log->shared->floor, t);
    *end = ice__ring_load(&log->shared->tail).end;
    *generation = atomic_load(&log->shared->generation);
    ice__serial_leave(log);
out:
    return rc;
}

uint64_t ice_log_reads(ice_log *log)
{
    uint64_t oldest = ICE_LOG_NO_PIN;

    for (uint32_t i = 0; i < ICE__SLOTS; i++) {
        ice__slot *s = &log->shared->slots[i];

        if (atomic_load(&s->in_use) && atomic_load(&s->reads) < oldest && !ice__slot_reap(log, i)) {
            uint64_t reads = atomic_load(&s->reads);

            oldest = reads < oldest ? reads : oldest;
        }
    }
    return oldest;
}

void ice_log_want(ice_log *log, uint64_t publish_count)
{
    uint64_t have = atomic_load(&log->shared->wanted);

    while (have < publish_count && !atomic_compare_exchange_weak(&log->shared->wanted, &have, publish_count))
        ;
}

uint64_t ice_log_wanted(ice_log *log)
{
    return atomic_load_explicit(&log->shared->wanted, memory_order_relaxed);
}

static uint64_t oldest_pin(ice_log *log, uint64_t position)
{
    for (uint32_t i = 0; i < ICE__SLOTS; i++) {
        ice__slot *s = &log->shared->slots[i];

        if (atomic_load(&s->in_use) && atomic_load(&s->pin) < position && !ice__slot_reap(log, i)) {
            uint64_t pin = atomic_load(&s->pin);

            position = pin < position ? pin : position;
        }
    }
    return position;
}

/* The first segment to keep. In the serial section. */
static ice_code trim_point(ice_log *log, uint64_t position, uint64_t *keep, ice_error *err)
{
    uint64_t durable = ice__ring_load(&log->shared->durable).end;
    uint64_t next;
    ice_code rc;

    position = position < durable ? position : durable;
    if (position <= atomic_load(&log->shared->start)) {
        *keep = atomic_load(&log->shared->start);
        return ICE_OK;
    }
    /* Pins set from here on look at the intent, and wait for the section if it is past them. */
    atomic_store(&log->shared->trim_intent, position);
    position = oldest_pin(log, position);
    ICE_TRY(ice__segment_find(log, position, keep, &next, err));
    if (atomic_load(&log->shared->start) < *keep)
        atomic_store(&log->shared->start, *keep);
    atomic_store(&log->shared->trim_intent, *keep);
    if (atomic_load(&log->shared->trimmed) < position)
        atomic_store(&log->shared->trimmed, position);
out:
    return rc;
}

/* Oldest first and each durably, so that what a crash leaves is without gaps. */
static ice_code unlink_before(ice_log *log, const ice__segments *s, uint64_t keep, ice_error *err)
{
    char name[32];

    for (size_t i = 0; i < s->n && s->first[i] < keep; i++) {
        snprintf(name, sizeof name, "%016llx.log", (unsigned long long)s->first[i]);
        if (ice_fault("log.unlink"))
            return ice_fail_errno(err, EIO, "log %s: cannot remove %s", log->dir, name);
        if (unlinkat(log->dir_fd, name, 0) != 0 && errno != ENOENT)
            return ice_fail_errno(err, errno, "log %s: cannot remove %s", log->dir, name);
        if (fsync(log->dir_fd) != 0)
            return ice_fail_errno(err, errno, "log %s: fsync of the directory", log->dir);
    }
    return ICE_OK;
}

ice_code ice_log_trim(ice_log *log, uint64_t position, ice_error *err)
{
    ice__segments all = {0};
    uint64_t keep = 0;
    ice_code rc;

    if (log->options.read_only)
        return ice_fail(err, ICE_READ_ONLY, "log %s is open for reading only", log->dir);
    ICE_TRY(ice__serial_enter(log, err));
    rc = trim_point(log, position, &keep, err);
    ice__serial_leave(log);
    if (rc != ICE_OK)
        goto out;
    ICE_TRY(ice__segments_list(log->dir_fd, log->dir, false, &all, err));
    if (all.n && all.first[0] < keep) {
        ICE_TRY(unlink_before(log, &all, keep, err));
        atomic_fetch_add(&log->shared->segments, 1);
    }
out:
    free(all.first);
    return rc;
}

void ice_log_published(ice_log *log)
{
    atomic_fetch_add(&log->shared->publish_count, 1);
}
