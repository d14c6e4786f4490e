#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "log/log_int.h"

/* ---- rings ---- */

void ice__ring_store(ice__ring *r, const ice__point *p)
{
    uint64_t n = atomic_load_explicit(&r->n, memory_order_relaxed) + 1;
    _Atomic uint64_t *w = r->point[n % ICE__RING].w;

    /* Readers of the point that this slot held before notice by `n` that they were overtaken. */
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&w[0], p->end, memory_order_relaxed);
    atomic_store_explicit(&w[1], (uint64_t)p->commit, memory_order_relaxed);
    atomic_store_explicit(&w[2], p->segment, memory_order_relaxed);
    atomic_store_explicit(&w[3], p->last, memory_order_relaxed);
    atomic_store_explicit(&w[4], p->crc, memory_order_relaxed);
    atomic_store_explicit(&r->n, n, memory_order_release);
}

ice__point ice__ring_load(const ice__ring *r)
{
    for (;;) {
        uint64_t n = atomic_load_explicit(&r->n, memory_order_acquire);
        const _Atomic uint64_t *w = r->point[n % ICE__RING].w;
        ice__point p = {
            .end = atomic_load_explicit(&w[0], memory_order_relaxed),
            .commit = (int64_t)atomic_load_explicit(&w[1], memory_order_relaxed),
            .segment = atomic_load_explicit(&w[2], memory_order_relaxed),
            .last = atomic_load_explicit(&w[3], memory_order_relaxed),
            .crc = atomic_load_explicit(&w[4], memory_order_relaxed),
        };

        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&r->n, memory_order_relaxed) - n < ICE__RING - 1)
            return p;
    }
}

/* ---- OFD locks and futexes ---- */

static int byte_op(int fd, int cmd, short type, int64_t byte)
{
    struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int r;

    do
        r = fcntl(fd, cmd, &fl);
    while (r != 0 && errno == EINTR);
    return r;
}

ice_code ice__byte_lock(ice_log *log, int64_t byte, ice_error *err)
{
    if (byte_op(log->shared_fd, F_OFD_SETLKW, F_WRLCK, byte) != 0)
        return ice_fail_errno(err, errno, "log %s: cannot lock its shared file", log->dir);
    return ICE_OK;
}

bool ice__byte_try(ice_log *log, int64_t byte)
{
    return byte_op(log->shared_fd, F_OFD_SETLK, F_WRLCK, byte) == 0;
}

void ice__byte_unlock(ice_log *log, int64_t byte)
{
    byte_op(log->shared_fd, F_OFD_SETLK, F_UNLCK, byte);
}

/* Not the private kind: the word is in a file that other processes map. */
void ice__futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t timeout_us)
{
    struct timespec ts = {timeout_us / 1000000, timeout_us % 1000000 * 1000};

    syscall(SYS_futex, word, FUTEX_WAIT, value, &ts, NULL, 0);
}

void ice__futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- mapping ---- */

/* Empty where the system does not tell: then every first open scans. */
static void read_boot_id(char out[40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;

    memset(out, 0, 40);
    if (fd < 0)
        return;
    n = read(fd, out, 36);
    if (n != 36)
        memset(out, 0, 40);
    close(fd);
}

/* Two descriptions of one file must exclude each other, or nothing here is safe. */
static ice_code probe_locks(ice_log *log, ice_error *err)
{
    int other = openat(log->dir_fd, "shared", O_RDWR | O_CLOEXEC);
    ice_code rc = ICE_OK;

    if (other < 0)
        return ice_fail_errno(err, errno, "log %s: cannot open its shared file", log->dir);
    if (!ice__byte_try(log, ICE__BYTE_PROBE))
        rc = ice_fail(err, ICE_UNSUPPORTED, "log %s: its file system has no open-file-description locks",
                      log->dir);
    else if (byte_op(other, F_OFD_SETLK, F_WRLCK, ICE__BYTE_PROBE) == 0)
        rc = ice_fail(err, ICE_UNSUPPORTED, "log %s: locks of its file system do not exclude", log->dir);
    ice__byte_unlock(log, ICE__BYTE_PROBE);
    close(other);
    return rc;
}

static ice_code map_file(ice_log *log, ice_error *err)
{
    void *p = mmap(NULL, sizeof(ice__shared), PROT_READ | PROT_WRITE, MAP_SHARED, log->shared_fd, 0);

    if (p == MAP_FAILED)
        return ice_fail_errno(err, errno, "log %s: cannot map its shared file", log->dir);
    log->shared = p;
    return ICE_OK;
}

/* Space is allocated now: a store into a mapped hole of a full disk would be a SIGBUS. */
static ice_code make_zeros(ice_log *log, ice_error *err)
{
    int e;

    if (ice_fault("log.map"))
        return ice_fail_errno(err, EIO, "log %s: cannot size its shared file", log->dir);
    if (ftruncate(log->shared_fd, 0) != 0 || ftruncate(log->shared_fd, sizeof(ice__shared)) != 0)
        return ice_fail_errno(err, errno, "log %s: cannot size its shared file", log->dir);
    e = posix_fallocate(log->shared_fd, 0, sizeof(ice__shared));
    if (e != 0)
        return ice_fail_errno(err, e, "log %s: no space for its shared file", log->dir);
    return ICE_OK;
}

static bool header_fits(const ice__shared *s)
{
    return memcmp(s->magic, ICE__SHARED_MAGIC, 8) == 0 && s->version == ICE__SHARED_VERSION &&
           s->size == sizeof(ice__shared) && atomic_load(&s->ready);
}

static void remember(const ice__shared *s, ice__known *known)
{
    *known = (ice__known){
        .any = true,
        .log_id = atomic_load(&s->log_id),
        .durable = ice__ring_load(&s->durable).end,
        .generation = atomic_load(&s->generation),
        .publish_count = atomic_load(&s->publish_count),
        .floor = atomic_load(&s->floor),
        .durability = atomic_load(&s->durability),
    };
}

static ice_code map_alone(ice_log *log, uint64_t size, const char *boot, ice__known *known, ice_error *err)
{
    ice_code rc;

    if (size == sizeof(ice__shared)) {
        ICE_TRY(map_file(log, err));
        if (header_fits(log->shared)) {
            remember(log->shared, known);
            known->current = boot[0] && memcmp(log->shared->boot_id, boot, 40) == 0;
        }
        if (known->current)
            return ICE_OK;
        munmap(log->shared, sizeof(ice__shared));
        log->shared = NULL;
    }
    ICE_TRY(make_zeros(log, err));
    ICE_TRY(map_file(log, err));
    memcpy(log->shared->magic, ICE__SHARED_MAGIC, 8);
    log->shared->version = ICE__SHARED_VERSION;
    log->shared->size = sizeof(ice__shared);
    memcpy(log->shared->boot_id, boot, 40);
out:
    return rc;
}

static ice_code map_joined(ice_log *log, uint64_t size, const char *boot, ice_error *err)
{
    ice_code rc;

    if (size != sizeof(ice__shared))
        return ice_fail(err, ICE_CORRUPT,
                        "log %s: other processes have it open, but not through its shared file (%llu bytes): "
                        "the file was replaced, or is of another version; stop them all",
                        log->dir, (unsigned long long)size);
    ICE_TRY(map_file(log, err));
    if (!header_fits(log->shared))
        return ice_fail(err, ICE_UNSUPPORTED,
                        "log %s: processes with another version of its shared file have it open", log->dir);
    if (memcmp(log->shared->boot_id, boot, 40) != 0)
        return ice_fail(err, ICE_CONFIG,
                        "log %s: another machine has it open; its shared file needs one memory", log->dir);
out:
    return rc;
}

ice_code ice__shared_map(ice_log *log, bool alone, ice__known *known, ice_error *err)
{
    struct stat st;
    char boot[40];
    ice_code rc;

    memset(known, 0, sizeof *known);
    read_boot_id(boot);
    ICE_TRY(probe_locks(log, err));
    if (fstat(log->shared_fd, &st) != 0)
        return ice_fail_errno(err, errno, "log %s: cannot stat its shared file", log->dir);
    if (alone)
        ICE_TRY(map_alone(log, (uint64_t)st.st_size, boot, known, err));
    else
        ICE_TRY(map_joined(log, (uint64_t)st.st_size, boot, err));
out:
    return rc;
}
