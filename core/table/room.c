/* The cache directory's limit: the forms of the data files that were used longest ago go first, none of what
 * a process has open.
 *
 * Everything in it can be made again, so a limit is kept as well as it can be: what is in use counts and
 * stays. A file's time of modification says when it was opened last. A process says what it has open by locks
 * on bytes of the host's file, which end with it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "table/cache_int.h"

#define BEING_WRITTEN ((int64_t)3600) /* seconds for which a temporary file may be */

typedef struct kept {
    char *name;
    size_t stem; /* bytes of it that name the data file */
    uint64_t bytes;
    int64_t used; /* seconds; of all forms of the data file, the latest */
    int64_t nanos;
} kept;

typedef struct listing {
    kept *files;
    size_t n, cap;
    uint64_t bytes;
} listing;

static ice_code list_add(listing *l, const char *name, size_t stem, const struct stat *st, ice_error *err)
{
    if (!ICE_HEAP_ROOM(l->files, l->n, l->cap))
        return ice_fail_nomem(err);
    char *copy = strdup(name);
    if (!copy)
        return ice_fail_nomem(err);
    l->files[l->n++] = (kept){copy, stem, (uint64_t)st->st_size, st->st_mtim.tv_sec, st->st_mtim.tv_nsec};
    l->bytes += (uint64_t)st->st_size;
    return ICE_OK;
}

static void list_free(listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->files[i].name);
    free(l->files);
}

static ice_code list_dir(const char *dir, listing *l, ice_error *err)
{
    static const char mark[] = ".parquet.";
    DIR *d = opendir(dir);
    ice_code rc = ICE_OK;
    if (!d)
        return errno == ENOENT ? ICE_OK : ice_fail_errno(err, errno, "cache directory %s", dir);
    for (struct dirent *e; rc == ICE_OK && (e = readdir(d));) {
        const char *hit = strstr(e->d_name, mark);
        struct stat st;
        if (hit && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            rc = list_add(l, e->d_name, (size_t)(hit - e->d_name) + sizeof mark - 2, &st, err);
    }
    closedir(d);
    return rc;
}

static int by_name(const void *x, const void *y)
{
    return strcmp(((const kept *)x)->name, ((const kept *)y)->name);
}

static bool same_stem(const kept *a, const kept *b)
{
    return a->stem == b->stem && memcmp(a->name, b->name, a->stem) == 0;
}

static int by_time(const kept *a, const kept *b)
{
    if (a->used != b->used)
        return a->used < b->used ? -1 : 1;
    return (a->nanos > b->nanos) - (a->nanos < b->nanos);
}

/* Oldest first; forms of one data file together. */
static int by_use(const void *x, const void *y)
{
    int order = by_time(x, y);
    return order ? order : by_name(x, y);
}

/* Each file gets the time of the latest of its data file's. */
static void share_times(listing *l)
{
    qsort(l->files, l->n, sizeof *l->files, by_name);
    for (size_t from = 0, to; from < l->n; from = to) {
        const kept *latest = &l->files[from];
        for (to = from + 1; to < l->n && same_stem(&l->files[from], &l->files[to]); to++)
            if (by_time(latest, &l->files[to]) < 0)
                latest = &l->files[to];
        int64_t used = latest->used, nanos = latest->nanos;
        for (size_t i = from; i < to; i++) {
            l->files[i].used = used;
            l->files[i].nanos = nanos;
        }
    }
    qsort(l->files, l->n, sizeof *l->files, by_use);
}

static bool may_go(const ice_env *env, const kept *k, int64_t now)
{
    size_t n = strlen(k->name);
    bool temporary = n > 4 && strcmp(k->name + n - 4, ".tmp") == 0;
    if (temporary)
        return now - k->used > BEING_WRITTEN;
    return !ice__cached_open(env, (ice_str){k->name, k->stem}) &&
           !ice_host_uses(env->host, ice__cached_name((ice_str){k->name, k->stem}));
}

/* Who opens a file that goes now reads on in it, or makes it again. */
static void remove_oldest(const ice_env *env, listing *l)
{
    struct timespec now;
    char path[4096];
    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < l->n && l->bytes > env->cache_max; i++) {
        const kept *k = &l->files[i];
        int n = snprintf(path, sizeof path, "%s/%s", env->cache_dir, k->name);
        if (n < 0 || (size_t)n >= sizeof path || !may_go(env, k, now.tv_sec))
            continue;
        if (unlink(path) == 0)
            l->bytes -= k->bytes;
    }
}

void ice__cache_used(const char *path)
{
    utimensat(AT_FDCWD, path, NULL, 0);
}

/* Looking at every file for each one written would cost more than it is worth. */
static bool is_due(ice_env *env, const char *path)
{
    struct stat st;
    uint64_t bytes = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    uint64_t since = __atomic_add_fetch(&env->cache_written, bytes, __ATOMIC_RELAXED);
    if (env->cache_looked && since < env->cache_max / 32)
        return false;
    __atomic_store_n(&env->cache_looked, true, __ATOMIC_RELAXED);
    __atomic_store_n(&env->cache_written, 0, __ATOMIC_RELAXED);
    return true;
}

void ice__cache_wrote(ice_env *env, const char *path)
{
    listing l = {0};
    ice_error ignored;
    if (!is_due(env, path))
        return;
    if (list_dir(env->cache_dir, &l, &ignored) == ICE_OK && l.bytes > env->cache_max) {
        share_times(&l);
        remove_oldest(env, &l);
    }
    list_free(&l);
}
