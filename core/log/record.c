#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "log/log_int.h"

enum { READ_AHEAD = 64 * 1024 };

uint32_t ice__record_crc(uint64_t position, const ice__record_header *h, ice_str body)
{
    ice__record_header copy = *h;
    uint32_t crc;

    /* With the position in it, a copy of a record inside another's body, or left over from before a cut, is
     * never taken for one. */
    copy.crc = 0;
    crc = ice_crc32(0, &position, sizeof position);
    crc = ice_crc32(crc, &copy, sizeof copy);
    return ice_crc32(crc, body.ptr, body.len);
}

static ice_code grow(ice__reader *r, size_t n, ice_error *err)
{
    uint8_t *p;

    if (n <= r->cap)
        return ICE_OK;
    p = realloc(r->buf, n);
    if (!p)
        return ice_fail_nomem(err);
    r->buf = p;
    r->cap = n;
    return ICE_OK;
}

/* Fills the buffer from `position` with at least n and at most `want` bytes. */
static ice_code fill(ice__reader *r, uint64_t position, size_t n, size_t want, ice_error *err)
{
    size_t kept = 0;
    ice_code rc;

    if (position >= r->at && position < r->at + r->len) {
        kept = (size_t)(r->at + r->len - position);
        memmove(r->buf, r->buf + (position - r->at), kept);
    }
    r->at = position;
    r->len = kept;
    ICE_TRY(grow(r, want, err));
    while (r->len < n) {
        ssize_t got = ice_fault("log.read") ? (errno = EIO, -1)
                                            : pread(r->fd, r->buf + r->len, want - r->len,
                                                    (off_t)ice__offset(r->first, position + r->len));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ice_fail_errno(err, errno, "log %s: reading segment %016llx.log at position %llu",
                                  r->log->dir, (unsigned long long)r->first, (unsigned long long)position);
        if (got == 0)
            return ice_fail(err, ICE_CORRUPT, "log %s: segment %016llx.log ends within position %llu",
                            r->log->dir, (unsigned long long)r->first, (unsigned long long)position);
        r->len += (size_t)got;
    }
out:
    return rc;
}

ice_code ice__reader_bytes(ice__reader *r, uint64_t position, size_t n, uint64_t limit, const uint8_t **out,
                           ice_error *err)
{
    ice_code rc = ICE_OK;

    if (position < r->at || position + n > r->at + r->len) {
        uint64_t ahead = limit - position;
        size_t want = ahead < READ_AHEAD ? (size_t)ahead : READ_AHEAD;

        ICE_TRY(fill(r, position, n, want > n ? want : n, err));
    }
    *out = r->buf + (position - r->at);
out:
    return rc;
}

/* Says what is wrong with a header, without its body. */
static const char *judge(const ice__record_header *h, uint64_t position, uint64_t limit)
{
    if (h->magic != ICE__RECORD_MAGIC)
        return "has no record magic";
    if (h->body > ICE__BODY_MAX || ice__record_size(h->body) > limit - position)
        return "overruns the log";
    if (h->durable > position)
        return "claims a durable end after itself";
    return NULL;
}

static bool all_zero(const void *p, size_t n)
{
    const char *c = p;

    for (size_t i = 0; i < n; i++)
        if (c[i])
            return false;
    return true;
}

ice_code ice__reader_record(ice__reader *r, uint64_t position, uint64_t limit, ice__record *out,
                            ice__status *status, ice_error *err)
{
    const uint8_t *p;
    ice_code rc = ICE_OK;

    *out = (ice__record){.position = position, .end = position};
    *status = ICE__NONE;
    if (limit < position || limit - position < sizeof out->h)
        return ICE_OK;
    ICE_TRY(ice__reader_bytes(r, position, sizeof out->h, limit, &p, err));
    memcpy(&out->h, p, sizeof out->h);
    if (all_zero(&out->h, sizeof out->h))
        return ICE_OK;
    *status = ICE__BAD;
    out->why = judge(&out->h, position, limit);
    if (out->why)
        return ICE_OK;
    ICE_TRY(ice__reader_bytes(r, position, (size_t)ice__record_size(out->h.body), limit, &p, err));
    out->body = (ice_str){(const char *)p + sizeof out->h, out->h.body};
    if (ice__record_crc(position, &out->h, out->body) != out->h.crc) {
        out->why = "has a wrong checksum";
        return ICE_OK;
    }
    size_t used = sizeof out->h + out->h.body;
    if (!all_zero(p + used, (size_t)ice__record_size(out->h.body) - used)) {
        out->why = "is followed by what is no padding";
        return ICE_OK;
    }
    out->end = position + ice__record_size(out->h.body);
    *status = ICE__GOOD;
out:
    return rc;
}

void ice__reader_free(ice__reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    free(r->buf);
    r->buf = NULL;
    r->fd = -1;
}
