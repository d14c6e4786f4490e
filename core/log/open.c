/* Opening and closing: who is alone recovers, who is not joins. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/log_int.h"

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void let_go(ice_log *log)
{
    close_fd(&log->writer.fd);
    close_fd(&log->syncer.fd);
    if (log->shared)
        munmap(log->shared, sizeof *log->shared);
    log->shared = NULL;
    close_fd(&log->shared_fd);
    close_fd(&log->dir_fd); /* last: who is alone after it finds no byte locked */
}

void ice__log_ref(ice_log *log)
{
    atomic_fetch_add(&log->refs, 1);
}

void ice__log_unref(ice_log *log)
{
    if (atomic_fetch_sub(&log->refs, 1) != 1)
        return;
    let_go(log);
    if (!atomic_load(&log->dead)) { /* else other threads of the parent may have held them */
        pthread_mutex_destroy(&log->serial);
        pthread_mutex_destroy(&log->sync);
        pthread_mutex_destroy(&log->segments_mutex);
        pthread_mutex_destroy(&log->slots);
    }
    free(log->segments.first);
    free(log->dir);
    free(log);
}

void ice_log_close(ice_log *log)
{
    if (log)
        ice__log_unref(log);
}

void ice_log_after_fork(ice_log *log)
{
    if (!log)
        return;
    atomic_store(&log->dead, true);
    let_go(log);
    ice__log_unref(log);
}

static ice_log *new_log(const char *dir, const ice_log_options *o)
{
    ice_log *log = calloc(1, sizeof *log);

    if (!log)
        return NULL;
    log->options = *o;
    if (!log->options.segment_bytes)
        log->options.segment_bytes = (uint64_t)64 << 20;
    if (!log->options.max_bytes)
        log->options.max_bytes = (uint64_t)4 << 30;
    if (!log->options.max_skew_us)
        log->options.max_skew_us = (int64_t)5 * 60 * 1000000;
    atomic_init(&log->refs, 1);
    log->dir_fd = log->shared_fd = log->writer.fd = log->syncer.fd = -1;
    pthread_mutex_init(&log->serial, NULL);
    pthread_mutex_init(&log->sync, NULL);
    pthread_mutex_init(&log->segments_mutex, NULL);
    pthread_mutex_init(&log->slots, NULL);
    log->dir = strdup(dir);
    if (!log->dir) {
        ice__log_unref(log);
        return NULL;
    }
    return log;
}

/* ---- files ---- */

static ice_code sync_parent(char *path, ice_error *err)
{
    char *slash = strrchr(path, '/');
    ice_code rc = ICE_OK;
    int fd;

    if (slash && slash != path)
        *slash = '\0';
    fd = open(slash == path ? "/" : slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        rc = ice_fail_errno(err, errno, "cannot sync the directory %s", path);
    close_fd(&fd);
    if (slash && slash != path)
        *slash = '/';
    return rc;
}

static ice_code make_one(char *path, ice_error *err)
{
    if (mkdir(path, 0777) == 0)
        return sync_parent(path, err);
    if (errno == EEXIST)
        return ICE_OK;
    return ice_fail_errno(err, errno, "cannot create the directory %s", path);
}

static ice_code make_dirs(const char *dir, ice_error *err)
{
    char *path = strdup(dir);
    ice_code rc = ICE_OK;

    if (!path)
        return ice_fail_nomem(err);
    for (char *p = path + 1; *p && rc == ICE_OK; p++) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        if (access(path, F_OK) != 0)
            rc = make_one(path, err);
        *p = '/';
    }
    if (rc == ICE_OK)
        rc = make_one(path, err);
    free(path);
    return rc;
}

static ice_code open_dir(ice_log *log, ice_error *err)
{
    ice__segments all = {0};
    ice_code rc = ICE_OK;

    if (log->options.create)
        ICE_TRY(make_dirs(log->dir, err));
    log->dir_fd = open(log->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (log->dir_fd < 0)
        return ice_fail_errno(err, errno, "no log at %s", log->dir);
    if (log->options.create)
        goto out;
    ICE_TRY(ice__segments_list(log->dir_fd, log->dir, false, &all, err));
    if (all.n == 0)
        rc = ice_fail(err, ICE_NOT_FOUND, "no log in %s", log->dir);
out:
    free(all.first);
    return rc;
}

/* Opens `shared` and locks its opening byte; again when the file was replaced meanwhile. */
static ice_code open_shared(ice_log *log, ice_error *err)
{
    struct stat mine, named;
    ice_code rc;

    for (;;) {
        log->shared_fd = openat(log->dir_fd, "shared", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (log->shared_fd < 0)
            return ice_fail_errno(err, errno, "log %s: cannot open its shared file for writing", log->dir);
        ICE_TRY(ice__byte_lock(log, ICE__BYTE_OPEN, err));
        if (fstat(log->shared_fd, &mine) == 0 && fstatat(log->dir_fd, "shared", &named, 0) == 0 &&
            mine.st_ino == named.st_ino)
            return ICE_OK;
        close_fd(&log->shared_fd);
    }
out:
    return rc;
}

static ice_code hold_dir(ice_log *log, bool *alone, ice_error *err)
{
    *alone = flock(log->dir_fd, LOCK_EX | LOCK_NB) == 0;
    if (!*alone && errno != EWOULDBLOCK)
        return ice_fail_errno(err, errno, "log %s: its file system cannot lock a directory", log->dir);
    if (!*alone && flock(log->dir_fd, LOCK_SH | LOCK_NB) != 0)
        return ice_fail_errno(err, errno, "log %s: another process holds the directory for itself", log->dir);
    return ICE_OK;
}

/* ---- opening ---- */

static ice_code agree_durability(ice_log *log, ice_error *err)
{
    uint32_t mine = log->options.sync ? 1 : 2, have = 0;

    if (log->options.read_only || atomic_compare_exchange_strong(&log->shared->durability, &have, mine) ||
        have == mine)
        return ICE_OK;
    return ice_fail(err, ICE_CONFIG,
                    "log %s: durability is \"%s\" here and \"%s\" in the processes that have it open",
                    log->dir, mine == 1 ? "full" : "none", have == 1 ? "full" : "none");
}

static ice_code enter(ice_log *log, bool alone, ice_error *err)
{
    ice__known known;
    ice_code rc;

    ICE_TRY(ice__shared_map(log, alone, &known, err));
    if (alone) {
        ICE_TRY(ice__recover(log, &known, err));
        if (flock(log->dir_fd, LOCK_SH) != 0)
            return ice_fail_errno(err, errno, "log %s: cannot share the directory's lock", log->dir);
    } else if (atomic_load(&log->shared->poison)) {
        ICE_TRY(ice__void_tail(log, false, err));
    }
    ICE_TRY(agree_durability(log, err));
out:
    return rc;
}

ice_code ice_log_open(const char *dir, const ice_log_options *o, ice_log **out, ice_error *err)
{
    ice_log *log = new_log(dir, o);
    bool alone;
    ice_code rc;

    *out = NULL;
    if (!log)
        return ice_fail_nomem(err);
    ICE_TRY(open_dir(log, err));
    ICE_TRY(open_shared(log, err));
    ICE_TRY(hold_dir(log, &alone, err));
    ICE_TRY(enter(log, alone, err));
    ice__byte_unlock(log, ICE__BYTE_OPEN);
    *out = log;
    log = NULL;
out:
    ice_log_close(log);
    return rc;
}
