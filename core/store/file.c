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

static int write_part(int fd, const ice__part *part)
{
    static const char zeros[ICE__ALIGN];
    int e = write_all(fd, part->ptr, part->len);
    if (e)
        return e;
    return write_all(fd, zeros, (size_t)(ice__align(part->len) - part->len));
}

static int write_synced(int fd, const ice__part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int e = write_part(fd, &parts[i]);
        if (e)
            return e;
    }
    /* Without it a power cut could leave the final name on a file of zeros, which no header check would
     * notice. */
    if (ice_fault("store.sync"))
        return EIO;
    return fdatasync(fd) ? errno : 0;
}

ice_code ice__chunk_file_write(const char *path, const ice__part *parts, size_t n, ice_error *err)
{
    char tmp[4096];
    int len = snprintf(tmp, sizeof tmp, "%s.%016llx.tmp", path, (unsigned long long)ice_random64());
    if (len < 0 || (size_t)len >= sizeof tmp)
        return ice_fail(err, ICE_CONFIG, "path too long: %.200s...", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return ice_fail_errno(err, errno, "cannot create %s", tmp);
    int e = write_synced(fd, parts, n);
    if (close(fd) && !e)
        e = errno;
    if (!e && (ice_fault("store.rename") ? (errno = EIO) : rename(tmp, path)))
        e = errno;
    if (!e)
        return ICE_OK;
    unlink(tmp);
    return ice_fail_errno(err, e, "cannot write %s", path);
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
