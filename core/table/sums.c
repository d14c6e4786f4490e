/* Checksums of the Parquet files that we write, kept in their manifest entries: one of each column's pages and one of
 * all other bytes (magic, bloom filters, footer), so that a statement proves what it reads and no more. The
 * engine does not tell of a changed bit in a page, it returns another value.
 *
 * A process proves a column of a file once, and again when the file's inode, size or times are others. A file whose
 * entry has no checksums (older ones, other engines') is read as it is.
 *
 * The checksum of a sequence of bytes: XXH3 of each piece of at most PIECE bytes, the former piece's result as the
 * seed. A column's chunks, and the gaps between chunks, begin pieces of their own. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/parquet.h"
#include "table/flush_int.h"

enum { PIECE = 1 << 18, MOST_KNOWN = 1 << 14, SETTLED_US = 100000 };

/* ---- bytes of a file ---- */

typedef struct parquet {
    int fd;
    struct stat st;
    const char *path;
    ice_parquet_layout layout;
    uint8_t *piece;
} parquet;

static ice_code read_bytes(parquet *p, uint64_t at, uint8_t *to, size_t n, ice_error *err)
{
    while (n) {
        ssize_t got = pread(p->fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ice_fail_errno(err, errno, "cannot read %zu bytes at %llu", n, (unsigned long long)at);
        if (got == 0)
            return ice_fail(err, ICE_CORRUPT, "it ends at byte %llu", (unsigned long long)at);
        at += (uint64_t)got, to += got, n -= (size_t)got;
    }
    return ICE_OK;
}

static ice_code add_bytes(parquet *p, uint64_t at, uint64_t n, uint64_t *sum, ice_error *err)
{
    ice_code rc = ICE_OK;
    while (n && rc == ICE_OK) {
        size_t some = n < PIECE ? (size_t)n : PIECE;
        rc = read_bytes(p, at, p->piece, some, err);
        if (rc == ICE_OK)
            *sum = ice_hash64(p->piece, some, *sum);
        at += some, n -= some;
    }
    return rc;
}

static ice_code read_layout(parquet *p, ice_arena *a, ice_error *err)
{
    uint8_t end[ICE_PARQUET_END];
    uint64_t size = (uint64_t)p->st.st_size, n;
    ice_code rc;
    if (size < sizeof end)
        return ice_fail(err, ICE_CORRUPT, "it has %llu bytes", (unsigned long long)size);
    ICE_TRY(read_bytes(p, size - sizeof end, end, sizeof end, err));
    ICE_TRY(ice_parquet_footer_size(end, size, &n, err));
    char *footer = ice_arena_alloc(a, n + 1);
    if (!footer)
        return ice_fail_nomem(err);
    ICE_TRY(read_bytes(p, size - sizeof end - n, (uint8_t *)footer, n, err));
    ICE_TRY(ice_parquet_layout_read((ice_str){footer, n}, size, a, &p->layout, err));
out:
    return rc;
}

static ice_code open_parquet(parquet *p, const char *path, ice_arena *a, ice_error *err)
{
    ice_code rc;
    *p = (parquet){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (p->fd < 0)
        return ice_fail_errno(err, errno, "cannot open it");
    if (fstat(p->fd, &p->st) != 0)
        return ice_fail_errno(err, errno, "cannot look at it");
    if (!(p->piece = malloc(PIECE)))
        return ice_fail_nomem(err);
    ICE_TRY(read_layout(p, a, err));
out:
    return rc;
}

static void close_parquet(parquet *p)
{
    if (p->fd >= 0)
        close(p->fd);
    free(p->piece);
}

/* Sums of the columns that are `wanted` (by leaf), in one pass, and of what is no column's. */
static ice_code sum_up(parquet *p, const bool *wanted, uint64_t *sums, uint64_t *rest, ice_error *err)
{
    uint64_t at = 0, size = (uint64_t)p->st.st_size;
    ice_code rc;
    *rest = 0;
    memset(sums, 0, p->layout.nleaves * sizeof *sums);
    for (size_t i = 0; i < p->layout.nchunks; i++) {
        const ice_parquet_chunk *c = &p->layout.chunks[i];
        ICE_TRY(add_bytes(p, at, c->at - at, rest, err));
        if (wanted[c->leaf])
            ICE_TRY(add_bytes(p, c->at, c->len, &sums[c->leaf], err));
        at = c->at + c->len;
    }
    rc = add_bytes(p, at, size - at, rest, err);
out:
    return rc;
}

/* ---- making ---- */

static ice_code make_sums(parquet *p, ice_arena *a, ice_data_file *f, ice_error *err)
{
    bool *wanted = ICE_NEW_N(a, bool, p->layout.nleaves + 1);
    uint64_t *sums = ICE_NEW_N(a, uint64_t, p->layout.nleaves + 1);
    ice_code rc;
    if (!wanted || !sums)
        return ice_fail_nomem(err);
    memset(wanted, true, p->layout.nleaves * sizeof *wanted);
    ICE_TRY(sum_up(p, wanted, sums, &f->rest_sum, err));
    for (size_t i = 0; i < p->layout.nleaves; i++) {
        ice_file_column *c = (ice_file_column *)ice_data_file_column(f, p->layout.ids[i]);
        if (!c)
            return ice_fail(err, ICE_INTERNAL, "it has a column of field id %d that nobody wrote", p->layout.ids[i]);
        c->sum = sums[i];
    }
    f->summed = true;
out:
    return rc;
}

ice_code ice__sums_make(ice_str path, ice_arena *a, ice_data_file *f, ice_error *err)
{
    parquet p;
    ice_code rc = open_parquet(&p, path.ptr, a, err);
    if (rc == ICE_OK)
        rc = make_sums(&p, a, f, err);
    close_parquet(&p);
    if (rc != ICE_OK)
        ice_error_prefix(err, "%.*s", ICE_PRI(path));
    return rc;
}

/* ---- what the process has proved ---- */

typedef struct known {
    struct known *next;
    uint64_t name; /* of its path */
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
    bool all; /* every column */
    size_t n, cap;
    int32_t *ids; /* of proved columns; with any of them the rest of the file is */
} known;

static struct {
    pthread_mutex_t lock;
    pthread_once_t once;
    size_t n;
    known *buckets[1024];
} proved = {.lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT};

/* A forked child has the parent's list, but not the thread that may have been changing it. */
static void forget_all(void)
{
    pthread_mutex_init(&proved.lock, NULL);
    memset(proved.buckets, 0, sizeof proved.buckets);
    proved.n = 0;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_all);
}

static uint64_t name_of(ice_str path)
{
    return ice_hash64(path.ptr, path.len, 0);
}

static known **bucket_of(uint64_t name)
{
    return &proved.buckets[name % 1024];
}

static void known_free(known *k)
{
    free(k->ids);
    free(k);
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_file(const known *k, const struct stat *st)
{
    return k->dev == st->st_dev && k->ino == st->st_ino && k->size == st->st_size &&
           same_time(k->mtime, st->st_mtim) && same_time(k->ctime, st->st_ctim);
}

/* Under the lock. What is known of the file as it was is dropped. */
static known *find_known(uint64_t name, const struct stat *st)
{
    for (known **p = bucket_of(name), *k; (k = *p) != NULL; p = &k->next) {
        if (k->name != name)
            continue;
        if (same_file(k, st))
            return k;
        *p = k->next;
        known_free(k);
        proved.n--;
        return NULL;
    }
    return NULL;
}

static bool has_id(const known *k, int32_t id)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->ids[i] == id)
            return true;
    return false;
}

/* Files come and go: at some size the list starts anew. */
static void make_room(void)
{
    if (proved.n < MOST_KNOWN)
        return;
    for (size_t i = 0; i < 1024; i++)
        for (known *k = proved.buckets[i], *next; k; k = next) {
            next = k->next;
            known_free(k);
        }
    memset(proved.buckets, 0, sizeof proved.buckets);
    proved.n = 0;
}

static known *add_known(uint64_t name, const struct stat *st)
{
    make_room();
    known *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    *k = (known){.next = *bucket_of(name),
                 .name = name,
                 .dev = st->st_dev,
                 .ino = st->st_ino,
                 .size = st->st_size,
                 .mtime = st->st_mtim,
                 .ctime = st->st_ctim};
    *bucket_of(name) = k;
    proved.n++;
    return k;
}

/* A file changed within a tick of its clock after it was looked at would seem the same. */
static bool just_changed(const struct stat *st)
{
    struct timespec t = st->st_ctim;
    return ice_clock_us() - ((int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000) < SETTLED_US;
}

/* Forgetting is no failure: what is not known is proved again. */
static void remember(ice_str path, const parquet *p, const bool *wanted)
{
    uint64_t name = name_of(path);
    size_t have = 0;
    if (just_changed(&p->st))
        return;
    pthread_mutex_lock(&proved.lock);
    known *k = find_known(name, &p->st);
    if (!k)
        k = add_known(name, &p->st);
    for (size_t i = 0; k && i < p->layout.nleaves; i++) {
        bool had = has_id(k, p->layout.ids[i]);
        if (wanted[i] && !had && ICE_HEAP_ROOM(k->ids, k->n, k->cap)) {
            k->ids[k->n++] = p->layout.ids[i];
            had = true;
        }
        have += had;
    }
    if (k)
        k->all = have == p->layout.nleaves;
    pthread_mutex_unlock(&proved.lock);
}

/* Of `n` columns, is there one that the file has and that is not proved? */
static bool any_missing(ice_str path, const struct stat *st, const ice_data_file *f, const ice_column *cols, size_t n)
{
    pthread_mutex_lock(&proved.lock);
    const known *k = find_known(name_of(path), st);
    bool missing = !k;
    for (size_t i = 0; i < n && !missing && !k->all; i++)
        missing = ice_data_file_column(f, cols[i].field_id) && !has_id(k, cols[i].field_id);
    pthread_mutex_unlock(&proved.lock);
    return missing;
}

bool ice__file_proved(const ice__file *f)
{
    struct stat st;
    if (!f->entry.file.summed)
        return true;
    if (stat(f->path.ptr, &st) != 0)
        return false;
    pthread_once(&proved.once, watch_forks);
    pthread_mutex_lock(&proved.lock);
    const known *k = find_known(name_of(f->path), &st);
    bool all = k && k->all;
    pthread_mutex_unlock(&proved.lock);
    return all;
}

/* ---- proving ---- */

static ice_code compare(const parquet *p, const ice_data_file *f, const bool *wanted, const uint64_t *sums,
                        uint64_t rest, ice_error *err)
{
    const char *advice = "its bytes have changed since they were written: restore it from a backup";
    if (rest != f->rest_sum)
        return ice_fail(err, ICE_CORRUPT, "its footer does not have its checksum; %s", advice);
    for (size_t i = 0; i < p->layout.nleaves; i++) {
        const ice_file_column *c = ice_data_file_column(f, p->layout.ids[i]);
        if (wanted[i] && (!c || c->sum != sums[i]))
            return ice_fail(err, ICE_CORRUPT, "its column of field id %d does not have its checksum; %s",
                            (int)p->layout.ids[i], advice);
    }
    return ICE_OK;
}

static bool among(int32_t id, const ice_column *cols, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (cols[i].field_id == id)
            return true;
    return false;
}

/* NULL: all columns, whatever has been proved before. */
static void choose(const parquet *p, ice_str path, const ice_column *cols, size_t n, bool *wanted)
{
    pthread_mutex_lock(&proved.lock);
    const known *k = find_known(name_of(path), &p->st);
    for (size_t i = 0; i < p->layout.nleaves; i++)
        wanted[i] = !cols || (among(p->layout.ids[i], cols, n) && !(k && has_id(k, p->layout.ids[i])));
    pthread_mutex_unlock(&proved.lock);
}

static ice_code prove(parquet *p, const ice__file *f, const ice_column *cols, size_t n, ice_arena *a, ice_error *err)
{
    bool *wanted = ICE_NEW_N(a, bool, p->layout.nleaves + 1);
    uint64_t *sums = ICE_NEW_N(a, uint64_t, p->layout.nleaves + 1), rest;
    ice_code rc;
    if (!wanted || !sums)
        return ice_fail_nomem(err);
    choose(p, f->path, cols, n, wanted);
    ICE_TRY(sum_up(p, wanted, sums, &rest, err));
    ICE_TRY(compare(p, &f->entry.file, wanted, sums, rest, err));
    remember(f->path, p, wanted);
out:
    return rc;
}

ice_code ice__file_prove(const ice__file *f, const ice_column *cols, size_t n, ice_error *err)
{
    struct stat st;
    ice_arena *a;
    parquet p;
    if (!f->entry.file.summed)
        return ICE_OK;
    pthread_once(&proved.once, watch_forks);
    if (cols && stat(f->path.ptr, &st) == 0 && !any_missing(f->path, &st, &f->entry.file, cols, n))
        return ICE_OK;
    if (!(a = ice_arena_create()))
        return ice_fail_nomem(err);
    ice_code rc = open_parquet(&p, f->path.ptr, a, err);
    if (rc == ICE_OK)
        rc = prove(&p, f, cols, n, a, err);
    close_parquet(&p);
    ice_arena_free(a);
    if (rc != ICE_OK)
        ice_error_prefix(err, "%.*s", ICE_PRI(f->key));
    return rc;
}
