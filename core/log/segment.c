#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "log/log_int.h"

enum { NAME_LEN = 16 + 4 };

static void segment_name(uint64_t first, char out[NAME_LEN + 1])
{
    snprintf(out, NAME_LEN + 1, "%016llx.log", (unsigned long long)first);
}

/* ---- the set of segments ---- */

static bool parse_name(const char *name, uint64_t *first)
{
    uint64_t v = 0;

    if (strlen(name) != NAME_LEN || strcmp(name + 16, ".log") != 0)
        return false;
    for (int i = 0; i < 16; i++) {
        char c = name[i];

        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *first = v;
    return true;
}

static bool is_leftover(const char *name)
{
    size_t n = strlen(name);

    return n > 8 && strcmp(name + n - 8, ".log.tmp") == 0;
}

static int by_position(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static ice_code add_segment(ice__segments *s, uint64_t first, ice_error *err)
{
    if (!ICE_HEAP_ROOM(s->first, s->n, s->cap))
        return ice_fail_nomem(err);
    s->first[s->n++] = first;
    return ICE_OK;
}

static ice_code list_entries(DIR *d, int dir_fd, bool tidy, ice__segments *out, ice_error *err)
{
    struct dirent *e;
    uint64_t first;
    ice_code rc = ICE_OK;

    while ((e = readdir(d))) {
        if (parse_name(e->d_name, &first))
            ICE_TRY(add_segment(out, first, err));
        else if (tidy && is_leftover(e->d_name))
            unlinkat(dir_fd, e->d_name, 0);
    }
out:
    return rc;
}

ice_code ice__segments_list(int dir_fd, const char *dir, bool tidy, ice__segments *out, ice_error *err)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    ice_code rc;

    if (!d) {
        rc = ice_fail_errno(err, errno, "log %s: cannot list the directory", dir);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    out->n = 0;
    rc = list_entries(d, dir_fd, tidy, out, err);
    closedir(d);
    if (out->n)
        qsort(out->first, out->n, sizeof *out->first, by_position);
    return rc;
}

static ice_code refresh(ice_log *log, ice_error *err)
{
    uint64_t now = atomic_load(&log->shared->segments);
    ice_code rc = ICE_OK;

    if (log->segments.n && log->segments_seen == now)
        return ICE_OK;
    ICE_TRY(ice__segments_list(log->dir_fd, log->dir, false, &log->segments, err));
    log->segments_seen = now;
out:
    return rc;
}

static size_t segment_index(const ice__segments *s, uint64_t position)
{
    size_t lo = 0, hi = s->n; /* first segment that begins after position, then one back */

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (s->first[mid] <= position)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo ? lo - 1 : SIZE_MAX;
}

ice_code ice__segment_find(ice_log *log, uint64_t position, uint64_t *first, uint64_t *next, ice_error *err)
{
    ice_code rc;
    size_t i;

    pthread_mutex_lock(&log->segments_mutex);
    ICE_TRY(refresh(log, err));
    i = segment_index(&log->segments, position);
    if (i == SIZE_MAX) {
        rc = ice_fail(err, ICE_NOT_FOUND, "log %s: position %llu is forgotten", log->dir,
                      (unsigned long long)position);
        goto out;
    }
    *first = log->segments.first[i];
    *next = i + 1 < log->segments.n ? log->segments.first[i + 1] : UINT64_MAX;
out:
    pthread_mutex_unlock(&log->segments_mutex);
    return rc;
}

/* ---- one segment ---- */

ice_code ice__sync_fd(ice_log *log, int fd, ice_error *err)
{
    if (ice_fault("log.fsync"))
        return ice_fail_errno(err, EIO, "log %s: fdatasync", log->dir);
    if (fdatasync(fd) != 0)
        return ice_fail_errno(err, errno, "log %s: fdatasync", log->dir);
    return ICE_OK;
}

/* A name that may or may not last, and a segment that ends where it begins: nobody may append to either. */
ice_code ice__sync_dir(ice_log *log, ice_error *err)
{
    int e = 0;

    if (ice_fault("log.dirsync"))
        e = EIO;
    else if (fsync(log->dir_fd) != 0)
        e = errno;
    if (!e)
        return ICE_OK;
    atomic_store(&log->shared->poison, 1);
    return ice_fail_errno(err, e, "log %s: fsync of the directory", log->dir);
}

static ice_code move(ice_log *log, const char *from, const char *to, ice_error *err)
{
    if (ice_fault("log.rename"))
        return ice_fail_errno(err, EIO, "log %s: cannot rename %s", log->dir, from);
    if (renameat(log->dir_fd, from, log->dir_fd, to) != 0)
        return ice_fail_errno(err, errno, "log %s: cannot rename %s", log->dir, from);
    return ICE_OK;
}

ice_code ice__write_at(ice_log *log, int fd, uint64_t first, const void *p, size_t n, uint64_t offset,
                       ice_error *err)
{
    size_t done = 0;

    while (done < n) {
        ssize_t k = pwrite(fd, (const char *)p + done, n - done, (off_t)(offset + done));

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return ice_fail_errno(err, errno, "log %s: writing segment %016llx.log at byte %llu", log->dir,
                                  (unsigned long long)first, (unsigned long long)(offset + done));
        done += (size_t)k;
    }
    return ICE_OK;
}

static ice_code write_new(ice_log *log, int fd, const ice__segment_header *h, ice_error *err)
{
    ice_code rc;

    if (ice_fault("log.segment"))
        return ice_fail_errno(err, EIO, "log %s: creating segment %016llx.log", log->dir,
                              (unsigned long long)h->first);
    ICE_TRY(ice__write_at(log, fd, h->first, h, sizeof *h, 0, err));
    if (ice_fault("log.segment.fsync"))
        return ice_fail_errno(err, EIO, "log %s: fsync of a new segment", log->dir);
    if (fsync(fd) != 0)
        return ice_fail_errno(err, errno, "log %s: fsync of a new segment", log->dir);
out:
    return rc;
}

ice_code ice__segment_create(ice_log *log, const ice__point *p, ice_error *err)
{
    ice__segment_header h = {.magic = ICE__SEGMENT_MAGIC,
                             .version = ICE__SEGMENT_VERSION,
                             .log_id = atomic_load(&log->shared->log_id),
                             .first = p->end,
                             .commit = p->commit,
                             .record_crc = (uint32_t)p->crc};
    char name[NAME_LEN + 1], tmp[NAME_LEN + 5];
    ice_code rc;
    int fd;

    h.crc = ice_crc32(0, &h, offsetof(ice__segment_header, crc));
    segment_name(p->end, name);
    snprintf(tmp, sizeof tmp, "%s.tmp", name);
    fd = openat(log->dir_fd, tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return ice_fail_errno(err, errno, "log %s: cannot create %s", log->dir, tmp);
    ICE_TRY(write_new(log, fd, &h, err));
    ICE_TRY(move(log, tmp, name, err));
    ICE_TRY(ice__sync_dir(log, err));
out:
    close(fd);
    if (rc != ICE_OK)
        unlinkat(log->dir_fd, tmp, 0);
    return rc;
}

static ice_code check_header(ice_log *log, uint64_t first, const ice__segment_header *h, ice_error *err)
{
    uint64_t id = atomic_load(&log->shared->log_id);

    if (memcmp(h->magic, ICE__SEGMENT_MAGIC, 8) != 0)
        return ice_fail(err, ICE_CORRUPT, "log %s: %016llx.log is not a log segment (offset 0)", log->dir,
                        (unsigned long long)first);
    if (h->version != ICE__SEGMENT_VERSION)
        return ice_fail(err, ICE_UNSUPPORTED,
                        "log %s: %016llx.log has format version %u; this program reads version %d", log->dir,
                        (unsigned long long)first, h->version, ICE__SEGMENT_VERSION);
    if (h->crc != ice_crc32(0, h, offsetof(ice__segment_header, crc)) || h->first != first)
        return ice_fail(err, ICE_CORRUPT, "log %s: the header of %016llx.log is damaged (offset 0)", log->dir,
                        (unsigned long long)first);
    if (id && h->log_id != id)
        return ice_fail(err, ICE_CORRUPT, "log %s: %016llx.log belongs to another log", log->dir,
                        (unsigned long long)first);
    return ICE_OK;
}

ice_code ice__segment_open(ice_log *log, uint64_t first, bool write, int *fd, ice__segment_header *h,
                           ice_error *err)
{
    char name[NAME_LEN + 1];
    ssize_t n;
    ice_code rc;

    segment_name(first, name);
    *fd = openat(log->dir_fd, name, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (*fd < 0)
        return ice_fail_errno(err, errno, "log %s: cannot open %s", log->dir, name);
    n = pread(*fd, h, sizeof *h, 0);
    if (n != (ssize_t)sizeof *h)
        rc = n < 0 ? ice_fail_errno(err, errno, "log %s: cannot read %s", log->dir, name)
                   : ice_fail(err, ICE_CORRUPT, "log %s: %s has no whole header (offset %zd)", log->dir, name,
                              n);
    else
        rc = check_header(log, first, h, err);
    if (rc != ICE_OK) {
        close(*fd);
        *fd = -1;
    }
    return rc;
}

ice_code ice__segment_size(ice_log *log, int fd, uint64_t first, uint64_t *size, ice_error *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return ice_fail_errno(err, errno, "log %s: cannot stat %016llx.log", log->dir,
                              (unsigned long long)first);
    *size = (uint64_t)st.st_size;
    return ICE_OK;
}

ice_code ice__file_use(ice_log *log, ice__file *f, uint64_t first, ice_error *err)
{
    uint64_t generation = atomic_load(&log->shared->generation);
    ice__segment_header h;
    ice_code rc;

    if (f->fd >= 0 && f->first == first && f->generation == generation)
        return ICE_OK;
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    ICE_TRY(ice__segment_open(log, first, true, &f->fd, &h, err));
    f->first = first;
    f->generation = generation;
out:
    return rc;
}

/* Whether the file is zeros from `offset` to its end. */
static ice_code zeros_from(ice_log *log, int fd, uint64_t first, uint64_t offset, bool *zeros, ice_error *err)
{
    char buf[16384];

    *zeros = true;
    for (;;) {
        ssize_t n = pread(fd, buf, sizeof buf, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ice_fail_errno(err, errno, "log %s: reading segment %016llx.log at byte %llu", log->dir,
                                  (unsigned long long)first, (unsigned long long)offset);
        if (n == 0)
            return ICE_OK;
        for (ssize_t i = 0; i < n; i++)
            if (buf[i]) {
                *zeros = false;
                return ICE_OK;
            }
        offset += (uint64_t)n;
    }
}

ice_code ice__segment_cut(ice_log *log, int fd, uint64_t first, uint64_t end, ice_error *err)
{
    uint64_t offset = ice__offset(first, end);
    bool zeros;
    ice_code rc;

    ICE_TRY(zeros_from(log, fd, first, offset, &zeros, err));
    if (zeros)
        goto out;
    if (ice_fault("log.truncate"))
        return ice_fail_errno(err, EIO, "log %s: cannot cut %016llx.log at byte %llu", log->dir,
                              (unsigned long long)first, (unsigned long long)offset);
    if (ftruncate(fd, (off_t)offset) != 0)
        return ice_fail_errno(err, errno, "log %s: cannot cut %016llx.log at byte %llu", log->dir,
                              (unsigned long long)first, (unsigned long long)offset);
    ICE_TRY(ice__sync_fd(log, fd, err));
out:
    return rc;
}
