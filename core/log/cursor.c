#include <stdlib.h>
#include <unistd.h>

#include "log/log_int.h"

struct ice_log_cursor {
    ice__reader reader; /* fd -1: the segment of `position` is not open */
    uint64_t position;
    uint64_t segment_end;  /* UINT64_MAX: it was the last one when looked up */
    uint64_t tail_segment; /* of the log, then */
    bool chained;          /* prev and commit are of the record before position */
    uint32_t prev;
    int64_t commit;
    uint64_t generation;
    bool ahead; /* it gave a record that was not durable */
};

ice_code ice_log_cursor_open(ice_log *log, uint64_t position, ice_log_cursor **out, ice_error *err)
{
    uint64_t start = atomic_load(&log->shared->start);
    ice_log_cursor *c;

    *out = NULL;
    if (position < start)
        return ice_fail(err, ICE_NOT_FOUND, "log %s: position %llu is forgotten, it begins at %llu", log->dir,
                        (unsigned long long)position, (unsigned long long)start);
    c = calloc(1, sizeof *c);
    if (!c)
        return ice_fail_nomem(err);
    c->reader.log = log;
    c->reader.fd = -1;
    c->position = position;
    c->generation = atomic_load(&log->shared->generation);
    ice__log_ref(log);
    *out = c;
    return ICE_OK;
}

void ice_log_cursor_close(ice_log_cursor *c)
{
    if (!c)
        return;
    ice__reader_free(&c->reader);
    ice__log_unref(c->reader.log);
    free(c);
}

static ice_code corrupt(ice_log_cursor *c, const char *why, ice_error *err)
{
    return ice_fail(err, ICE_CORRUPT, "log %s: the record at position %llu (offset %llu of %016llx.log) %s",
                    c->reader.log->dir, (unsigned long long)c->position,
                    (unsigned long long)ice__offset(c->reader.first, c->position),
                    (unsigned long long)c->reader.first, why);
}

/* Opens the segment that holds c->position. */
static ice_code open_segment(ice_log_cursor *c, const ice__point *tail, ice_error *err)
{
    ice_log *log = c->reader.log;
    ice__segment_header h;
    uint64_t first, next;
    ice_code rc;
    int fd;

    ICE_TRY(ice__segment_find(log, c->position, &first, &next, err));
    ICE_TRY(ice__segment_open(log, first, false, &fd, &h, err));
    if (c->reader.fd >= 0)
        close(c->reader.fd);
    c->reader.fd = fd;
    c->reader.first = first;
    c->reader.len = 0;
    c->segment_end = next;
    c->tail_segment = tail->segment;
    if (c->chained && first == c->position && h.record_crc != c->prev)
        return corrupt(c, "begins a segment that does not follow the one before", err);
    if (first == c->position) {
        c->chained = true;
        c->prev = h.record_crc;
        c->commit = h.commit;
    }
out:
    return rc;
}

/* Rotation since the look-up may have ended the segment that was the last one. */
static ice_code follow(ice_log_cursor *c, const ice__point *tail, ice_error *err)
{
    uint64_t first;
    ice_code rc = ICE_OK;

    if (c->reader.fd < 0)
        return open_segment(c, tail, err);
    if (c->tail_segment != tail->segment) {
        ICE_TRY(ice__segment_find(c->reader.log, c->reader.first, &first, &c->segment_end, err));
        c->tail_segment = tail->segment;
    }
    if (c->position >= c->segment_end)
        ICE_TRY(open_segment(c, tail, err));
out:
    return rc;
}

static ice_code check_chain(ice_log_cursor *c, const ice__record *r, ice_error *err)
{
    if (c->chained && r->h.prev != c->prev)
        return corrupt(c, "does not follow the one before it", err);
    if (c->chained && r->h.commit <= c->commit)
        return corrupt(c, "has a commit time not after the one before it", err);
    return ICE_OK;
}

static ice_code next_record(ice_log_cursor *c, const ice__point *tail, ice__record *r, ice_error *err)
{
    ice__status status;
    uint64_t limit;
    ice_code rc;

    ICE_TRY(follow(c, tail, err));
    limit = tail->end < c->segment_end ? tail->end : c->segment_end;
    ICE_TRY(ice__reader_record(&c->reader, c->position, limit, r, &status, err));
    if (status != ICE__GOOD)
        return corrupt(c, status == ICE__NONE ? "is missing" : r->why, err);
    ICE_TRY(check_chain(c, r, err));
out:
    return rc;
}

/* Records were voided: what was read ahead may be of them, and the file of the name another one. */
static ice_code follow_generation(ice_log_cursor *c, ice_error *err)
{
    uint64_t now = atomic_load(&c->reader.log->shared->generation);

    if (now == c->generation)
        return ICE_OK;
    if (c->ahead)
        return ice_fail(err, ICE_IO, "log %s: records that were read before they were durable are void",
                        c->reader.log->dir);
    if (c->reader.fd >= 0)
        close(c->reader.fd);
    c->reader.fd = -1;
    c->reader.len = 0;
    c->generation = now;
    return ICE_OK;
}

ice_code ice_log_read(ice_log_cursor *c, uint64_t limit, ice_log_record *out, bool *found, ice_error *err)
{
    ice_log *log = c->reader.log;
    ice__point tail = ice__ring_load(&log->shared->tail);
    ice__record r;
    ice_code rc;

    *found = false;
    ICE_TRY(follow_generation(c, err)); /* after the caller's limit and the tail were read */
    if (c->position >= tail.end || c->position >= limit)
        return ICE_OK;
    ICE_TRY(next_record(c, &tail, &r, err));
    if (r.end > limit)
        return ICE_OK;
    *out = (ice_log_record){r.position, r.end, r.h.commit, r.h.txid, r.body};
    *found = true;
    c->position = r.end;
    c->chained = true;
    c->prev = r.h.crc;
    c->commit = r.h.commit;
    c->ahead |= r.end > ice__ring_load(&log->shared->durable).end;
out:
    return rc;
}
