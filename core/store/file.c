#include "store/chunk_int.h"

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

enum { SINK_BYTES = 1 << 18 };

ice_code ice__sink_open(ice__sink *s, const char *path, ice_error *err)
{
    *s = (ice__sink){.fd = -1, .path = strdup(path), .buf = malloc(SINK_BYTES)};
    if (asprintf(&s->tmp, "%s.%016llx.tmp", path, (unsigned long long)ice_random64()) < 0)
        s->tmp = NULL;
    if (!s->path || !s->buf || !s->tmp)
        return ice_fail_nomem(err);
    s->fd = open(s->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return s->fd < 0 ? ice_fail_errno(err, errno, "cannot create %s", s->tmp) : ICE_OK;
}

static void sink_drain(ice__sink *s)
{
    if (s->n && !s->failed)
        s->failed = write_all(s->fd, s->buf, s->n);
    s->n = 0;
}

void ice__sink_put(ice__sink *s, const void *p, size_t n)
{
    s->written += n;
    if (n > SINK_BYTES - s->n)
        sink_drain(s);
    if (n > SINK_BYTES) {
        s->failed = s->failed ? s->failed : write_all(s->fd, p, n);
    } else if (n) {
        memcpy(s->buf + s->n, p, n);
        s->n += n;
    }
}

static int sink_head(const ice__sink *s, const void *head, size_t n)
{
    if (!head)
        return 0;
    ssize_t done = pwrite(s->fd, head, n, 0);
    return done == (ssize_t)n ? 0 : done < 0 ? errno : EIO;
}

ice_code ice__sink_finish(ice__sink *s, const void *head, size_t n, ice_error *err)
{
    sink_drain(s);
    int e = s->failed ? s->failed : sink_head(s, head, n);
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
    free(s->tmp), free(s->path), free(s->buf);
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
    } else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < min) {
        rc = ice_fail(err, ICE_CORRUPT, "%s: not a file of at least %zu bytes", path, min);
    } else {
        void *p = ice_fault("store.map") ? (errno = ENOMEM, MAP_FAILED)
                                         : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            rc = ice_fail_errno(err, errno, "cannot map %s", path);
        else
            *out = (ice__map){p, (size_t)st.st_size};
    }
    close(fd);
    return rc;
}

/* Advice only: where it is refused the pages stay. */
void ice__chunk_map_shed(const ice__map *m)
{
    if (m->ptr)
        madvise((void *)m->ptr, m->len, MADV_DONTNEED);
}

void ice__chunk_map_close(ice__map *m)
{
    if (m->ptr)
        munmap((void *)m->ptr, m->len);
    *m = (ice__map){0};
}
