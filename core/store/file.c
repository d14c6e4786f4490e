#include "store/chunk_int.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void *ice__chunk_alloc(size_t n)
{
    if (ice_fault("store.alloc"))
        return NULL;
    if (n < ICE__ALIGN)
        return calloc(1, n ? n : 1);
    if (n > SIZE_MAX - ICE__ALIGN)
        return NULL;
    void *p = aligned_alloc(ICE__ALIGN, ice__align(n));
    if (p)
        memset(p, 0, n);
    return p;
}

void *ice__chunk_realloc(void *p, size_t n)
{
    if (ice_fault("store.alloc"))
        return NULL;
    return realloc(p, n);
}

static int write_all(int fd, const void *ptr, size_t len)
{
    const char *p = ptr;
    while (len) {
        if (ice_fault("store.write"))
            return EIO;
        size_t want = len < (1u << 30) ? len : (1u << 30);
        ssize_t n = write(fd, p, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* ---- written under another name, then renamed ---- */

enum { SINK_BYTES = 1 << 18, TRAILER = 16 };
#define PAGES_MAGIC "ICEPAGES"
_Static_assert(SINK_BYTES % ICE__PAGE == 0, "what is written at once, but the last, is whole pages");

ice_code ice__sink_open(ice__sink *s, const char *path, ice_error *err)
{
    *s = (ice__sink){.fd = -1, .path = strdup(path), .buf = malloc(SINK_BYTES), .first = malloc(ICE__PAGE)};
    if (asprintf(&s->tmp, "%s.%016llx.tmp", path, (unsigned long long)ice_random64()) < 0)
        s->tmp = NULL;
    if (!s->path || !s->buf || !s->first || !s->tmp)
        return ice_fail_nomem(err);
    s->fd = open(s->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return s->fd < 0 ? ice_fail_errno(err, errno, "cannot create %s", s->tmp) : ICE_OK;
}

/* The buffer's pages: their checksums, and their bytes. */
static void sink_drain(ice__sink *s)
{
    if (s->n && !s->sums.len) {
        s->nfirst = s->n < ICE__PAGE ? s->n : ICE__PAGE;
        memcpy(s->first, s->buf, s->nfirst);
    }
    for (size_t at = 0; at < s->n; at += ICE__PAGE)
        ice_buf_put_u64(&s->sums, ice_hash64(s->buf + at, s->n - at < ICE__PAGE ? s->n - at : ICE__PAGE, 0));
    if (s->n && !s->failed)
        s->failed = write_all(s->fd, s->buf, s->n);
    s->n = 0;
}

void ice__sink_put(ice__sink *s, const void *p, size_t n)
{
    const char *from = p;
    s->written += n;
    while (n) {
        size_t some = n < SINK_BYTES - s->n ? n : SINK_BYTES - s->n;
        memcpy(s->buf + s->n, from, some);
        s->n += some, from += some, n -= some;
        if (s->n == SINK_BYTES)
            sink_drain(s);
    }
}

static int sink_head(ice__sink *s, const void *head, size_t n)
{
    if (!head)
        return 0;
    assert(n <= s->nfirst && s->sums.len >= sizeof(uint64_t));
    memcpy(s->first, head, n);
    uint64_t sum = ice_hash64(s->first, s->nfirst, 0);
    memcpy(s->sums.data, &sum, sizeof sum);
    ssize_t done = pwrite(s->fd, head, n, 0);
    return done == (ssize_t)n ? 0 : done < 0 ? errno : EIO;
}

static int sink_sums(ice__sink *s)
{
    static const char zeros[8];
    ice_buf end = {0};
    ice_buf_put(&end, zeros, (size_t)(-s->written & 7));
    ice_buf_put_str(&end, ice_buf_str(&s->sums));
    ice_buf_puts(&end, PAGES_MAGIC);
    ice_buf_put_u64(&end, s->written);
    int e = end.failed || s->sums.failed ? ENOMEM : write_all(s->fd, end.data, end.len);
    ice_buf_free(&end);
    return e;
}

ice_code ice__sink_finish(ice__sink *s, const void *head, size_t n, ice_error *err)
{
    sink_drain(s);
    int e = s->sums.failed ? ENOMEM : s->failed ? s->failed : sink_head(s, head, n);
    if (!e)
        e = sink_sums(s);
    /* Without it a power cut could leave the final name on a file of zeros, which no header check would
     * notice. */
    if (!e)
        e = ice_fault("store.sync") ? EIO : fdatasync(s->fd) ? errno : 0;
    if (close(s->fd) && !e)
        e = errno;
    s->fd = -1;
    if (!e && (ice_fault("store.rename") ? (errno = EIO) : rename(s->tmp, s->path)))
        e = errno;
    if (e) {
        unlink(s->tmp);
        return ice_fail_errno(err, e, "cannot write %s", s->path);
    }
    free(s->tmp);
    s->tmp = NULL;
    return ICE_OK;
}

void ice__sink_abandon(ice__sink *s)
{
    if (s->tmp && s->fd >= 0) {
        close(s->fd);
        unlink(s->tmp);
    }
    free(s->tmp), free(s->path), free(s->buf), free(s->first);
    ice_buf_free(&s->sums);
    *s = (ice__sink){.fd = -1};
}

ice_code ice__chunk_file_write(const char *path, const ice__part *parts, size_t n, ice_error *err)
{
    static const char zeros[ICE__ALIGN];
    ice__sink s;
    ice_code rc;
    ICE_TRY(ice__sink_open(&s, path, err));
    for (size_t i = 0; i < n; i++) {
        ice__sink_put(&s, parts[i].ptr, parts[i].len);
        ice__sink_put(&s, zeros, (size_t)(ice__align(parts[i].len) - parts[i].len));
    }
    ICE_TRY(ice__sink_finish(&s, NULL, 0, err));
out:
    ice__sink_abandon(&s);
    return rc;
}

/* ---- mapped ---- */

static size_t pages_of(uint64_t len)
{
    return (size_t)((len + ICE__PAGE - 1) / ICE__PAGE);
}

/* Finds content and checksums in what is mapped. */
static ice_code take_apart(const char *path, size_t min, ice__map *m, ice_error *err)
{
    uint64_t len = 0;
    const uint8_t *end = m->ptr + m->mapped;
    if (m->mapped >= TRAILER)
        memcpy(&len, end - 8, sizeof len);
    if (m->mapped < TRAILER || memcmp(end - TRAILER, PAGES_MAGIC, 8) != 0 || len > m->mapped ||
        ((len + 7) & ~UINT64_C(7)) + 8 * pages_of(len) + TRAILER != m->mapped)
        return ice_fail(err, ICE_CORRUPT, "%s: its checksums do not fit a file of %zu bytes", path, m->mapped);
    for (uint64_t at = len; at & 7; at++)
        if (m->ptr[at])
            return ice_fail(err, ICE_CORRUPT, "%s: byte %llu is not zero", path, (unsigned long long)at);
    if (len < min)
        return ice_fail(err, ICE_CORRUPT, "%s: not a file of at least %zu bytes", path, min);
    m->len = (size_t)len;
    m->sums = m->ptr + ((len + 7) & ~UINT64_C(7));
    m->good = ice__chunk_alloc(pages_of(len));
    return m->good ? ICE_OK : ice_fail_nomem(err);
}

bool ice__chunk_pages_good(const ice__map *m, uint64_t at, uint64_t n)
{
    for (uint64_t page = at / ICE__PAGE; n && page <= (at + n - 1) / ICE__PAGE; page++) {
        uint64_t from = page * ICE__PAGE, sum;
        if (__atomic_load_n(&m->good[page], __ATOMIC_RELAXED))
            continue;
        memcpy(&sum, m->sums + 8 * page, sizeof sum);
        if (sum != ice_hash64(m->ptr + from, m->len - from < ICE__PAGE ? (size_t)(m->len - from) : ICE__PAGE, 0))
            return false;
        __atomic_store_n(&m->good[page], 1, __ATOMIC_RELAXED);
    }
    return true;
}

ice_code ice__chunk_map_open(const char *path, size_t min, ice__map *out, ice_error *err)
{
    *out = (ice__map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ice_fail_errno(err, errno, "cannot open %s", path);
    ice_code rc = ICE_OK;
    struct stat st;
    if (fstat(fd, &st)) {
        rc = ice_fail_errno(err, errno, "cannot stat %s", path);
    } else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < TRAILER) {
        rc = ice_fail(err, ICE_CORRUPT, "%s: not a file of at least %zu bytes", path, min);
    } else {
        void *p = ice_fault("store.map") ? (errno = ENOMEM, MAP_FAILED)
                                         : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            rc = ice_fail_errno(err, errno, "cannot map %s", path);
        else
            *out = (ice__map){.ptr = p, .mapped = (size_t)st.st_size};
    }
    close(fd);
    if (rc == ICE_OK && (rc = take_apart(path, min, out, err)) != ICE_OK)
        ice__chunk_map_close(out);
    return rc;
}

/* Advice only: where it is refused the pages stay. */
void ice__chunk_map_shed(const ice__map *m)
{
    if (m->ptr)
        madvise((void *)m->ptr, m->mapped, MADV_DONTNEED);
}

void ice__chunk_map_close(ice__map *m)
{
    if (m->ptr)
        munmap((void *)m->ptr, m->mapped);
    free(m->good);
    *m = (ice__map){0};
}
