/* What the process has open of the cache, and which of it is kept decoded. A process opens each file once,
 * whatever number of published states list it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "table/cache_int.h"

/* What the process has open. */
static struct {
    pthread_mutex_t lock;
    pthread_once_t once;
    ice__cached *buckets[1024];
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT};

/* A forked child has the parent's list, but not the thread that may have been changing it. */
static void forget(void)
{
    pthread_mutex_init(&registry.lock, NULL);
    memset(registry.buckets, 0, sizeof registry.buckets);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget);
}

static ice__cached **bucket_of(const char *path)
{
    return &registry.buckets[ice_hash64(path, strlen(path), 0) % 1024];
}

/* By its name in the cache directory, whatever the processes call that. */
uint64_t ice__cached_name(ice_str base)
{
    return ice_hash64(base.ptr, base.len, 0) | 1;
}

static uint64_t name_of(const ice__cached *c)
{
    return ice__cached_name(ice_str_c(strrchr(c->path, '/') + 1));
}

void ice__cached_use(const ice_env *env, ice__cached *c)
{
    if (__atomic_load_n(&c->user, __ATOMIC_ACQUIRE))
        return;
    pthread_mutex_lock(&registry.lock);
    if (!c->user) {
        ice_host_use(env->host, name_of(c));
        __atomic_store_n(&c->user, ice_host_ref(env->host), __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&registry.lock);
}

bool ice__cached_open(const ice_env *env, ice_str base)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%.*s", env->cache_dir, ICE_PRI(base));
    bool open = n < 0 || (size_t)n >= sizeof path;
    pthread_mutex_lock(&registry.lock);
    for (const ice__cached *c = open ? NULL : *bucket_of(path); c && !open; c = c->next)
        open = c->user && strcmp(c->path, path) == 0;
    pthread_mutex_unlock(&registry.lock);
    return open;
}

/* What was in use until now was used now. */
static void touch(const ice__cached *c)
{
    static const char *const forms[] = {".chunk", ".rows"};
    char path[4096];
    for (size_t i = 0; i < 2; i++)
        if (snprintf(path, sizeof path, "%s%s", c->path, forms[i]) < (int)sizeof path)
            ice__cache_used(path);
}

static void cached_free(ice__cached *c)
{
    ice_host_unref(c->host);
    ice_host_unref(c->user);
    ice_chunkfile_close(c->chunk);
    ice_chunkfile_close(c->loose);
    for (size_t i = 0; i < c->nretired; i++)
        ice_chunkfile_close(c->retired[i]);
    ice_rowfile_close(c->rows);
    for (size_t i = 0; i < c->nretired_rows; i++)
        ice_rowfile_close(c->retired_rows[i]);
    ice__cached_keys_free(c->retired_keys);
    ice__cached_keys_free(c->keys);
    ice__cached_orders_free(c->orders);
    pthread_mutex_destroy(&c->lock);
    free(c->path);
    free(c);
}

void ice__cached_unref(ice__cached *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&registry.lock);
    bool last = --c->refs == 0;
    ice__cached **p = bucket_of(c->path);
    while (last && *p && *p != c)
        p = &(*p)->next;
    if (last && *p)
        *p = c->next;
    if (last && c->host) /* before another of this name can claim it */
        ice_host_release(c->host, name_of(c));
    if (last && c->user) {
        touch(c);
        ice_host_unuse(c->user, name_of(c));
    }
    pthread_mutex_unlock(&registry.lock);
    if (last)
        cached_free(c);
}

static ice__cached *cached_make(char *path)
{
    ice__cached *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->path = path;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

ice__cached *ice__cached_get(const ice_env *env, ice_str base)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%.*s", env->cache_dir, ICE_PRI(base)) < 0)
        return NULL;
    pthread_once(&registry.once, watch_forks);
    pthread_mutex_lock(&registry.lock);
    ice__cached **bucket = bucket_of(path), *c = *bucket;
    while (c && strcmp(c->path, path) != 0)
        c = c->next;
    if (!c && (c = cached_make(path)) != NULL) {
        path = NULL;
        c->next = *bucket;
        *bucket = c;
    }
    if (c)
        c->refs++;
    pthread_mutex_unlock(&registry.lock);
    free(path);
    return c;
}

/* ---- what is damaged ---- */

/* Others may be reading in it: it stays open until the data file is let go. */
static bool retire_chunk(ice__cached *c, ice_chunkfile **f)
{
    if (*f && c->nretired == ICE__MAX_RETIRED)
        return false;
    if (*f)
        c->retired[c->nretired++] = *f;
    *f = NULL;
    return true;
}

static bool retire_rows(ice__cached *c)
{
    if (c->rows && c->nretired_rows == ICE__MAX_RETIRED)
        return false;
    if (c->rows)
        c->retired_rows[c->nretired_rows++] = c->rows;
    c->rows = NULL;
    return true;
}

static void remove_form(const ice__cached *c, const char *form)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s.%s", c->path, form) < (int)sizeof path)
        unlink(path);
}

static void retire_keys(ice__cached *c)
{
    char form[32];
    ice__cached_key **last = &c->keys;
    for (; *last; last = &(*last)->next) {
        snprintf(form, sizeof form, "%08x.idx", (*last)->hash);
        remove_form(c, form);
        snprintf(form, sizeof form, "%08x.keys", (*last)->hash);
        remove_form(c, form);
    }
    *last = c->retired_keys;
    c->retired_keys = c->keys;
    c->keys = NULL;
}

void ice__chunk_lost(ice__cached *c, const char *path)
{
    ice_warn("cache file %s is damaged and is made again", path);
    unlink(path);
    retire_chunk(c, &c->chunk);
}

bool ice__file_lost(ice_published *s, ice__file *f, const ice_error *why)
{
    ice__cached *c;
    if (ice__file_cached(s, f, &c, NULL) != ICE_OK)
        return false;
    ice_warn("cache files %s.*: %s; they are made again", c->path, why ? why->message : "damaged");
    pthread_mutex_lock(&c->lock);
    if (c->loose)
        remove_form(c, "chunk");
    remove_form(c, "rows");
    bool done = retire_chunk(c, &c->loose) && retire_rows(c);
    retire_keys(c);
    c->lost = true;
    pthread_mutex_unlock(&c->lock);
    return done;
}

ice_code ice__file_cached(ice_published *s, ice__file *f, ice__cached **out, ice_error *err)
{
    pthread_mutex_lock(&s->lock);
    if (!f->cached)
        f->cached = ice__cached_get(s->env, f->base);
    *out = f->cached;
    pthread_mutex_unlock(&s->lock);
    return *out ? ICE_OK : ice_fail_nomem(err);
}

ice_code ice__cache_dir_make(const ice_env *env, ice_error *err)
{
    char path[4096];
    size_t n = strlen(env->cache_dir);
    if (n >= sizeof path)
        return ice_fail(err, ICE_CONFIG, "cache directory: the path has %zu bytes", n);
    memcpy(path, env->cache_dir, n + 1);
    for (size_t i = 1; i <= n; i++)
        if (path[i] == '/' || i == n) {
            path[i] = 0;
            if (mkdir(path, 0777) != 0 && errno != EEXIST)
                return ice_fail_errno(err, errno, "cache directory %s", path);
            path[i] = i == n ? 0 : '/';
        }
    return ICE_OK;
}

/* ---- residency ---- */

/* All the snapshot's files or none, of which the process may have claimed some already. */
static bool claim_files(ice_published *s, uint64_t per_row)
{
    ice_host_file *files = calloc(s->nfiles + 1, sizeof *files);
    size_t n = 0;
    if (!files)
        return false;
    pthread_mutex_lock(&registry.lock);
    for (size_t i = 0; i < s->nfiles; i++)
        if (!s->files[i].cached->host)
            files[n++] = (ice_host_file){name_of(s->files[i].cached),
                                         per_row * (uint64_t)s->files[i].entry.file.record_count};
    bool fits = ice_host_claim(s->env->host, files, n, s->env->memory_budget);
    for (size_t i = 0; fits && i < s->nfiles; i++)
        if (!s->files[i].cached->host)
            s->files[i].cached->host = ice_host_ref(s->env->host);
    pthread_mutex_unlock(&registry.lock);
    free(files);
    return fits;
}

/* The first tables that a host's processes read get the budget; later ones that no longer fit are read from
 * their files. A table keeps its state until its last published state with these files is gone. */
bool ice__published_resident(ice_published *s)
{
    uint64_t per_row = 0, rows = 0;
    int known = __atomic_load_n(&s->resident, __ATOMIC_ACQUIRE);
    if (known >= 0)
        return known > 0;
    for (size_t i = 0; i < s->nfiles; i++)
        rows += (uint64_t)s->files[i].entry.file.record_count;
    per_row = rows ? s->estimate / rows + 1 : 0;
    for (size_t i = 0; i < s->nfiles; i++) {
        ice__cached *c;
        if (ice__file_cached(s, &s->files[i], &c, NULL) != ICE_OK)
            return false;
    }
    pthread_mutex_lock(&s->lock);
    if (s->resident < 0)
        __atomic_store_n(&s->resident, claim_files(s, per_row), __ATOMIC_RELEASE);
    bool resident = s->resident > 0;
    pthread_mutex_unlock(&s->lock);
    return resident;
}
