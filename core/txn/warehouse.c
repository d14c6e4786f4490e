/* A process's warehouse: opening, the control object, the engine, views. Keeping up with the log is in
 * follow.c. */
#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "txn/collect.h"

#define FORMAT_VERSION 1
#define IDLE_WAREHOUSES 4 /* of a process, kept open without a session */

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static ice_warehouse *list;
static unsigned generation;

unsigned ice__fork_generation(void)
{
    return generation;
}

/* The child abandons what it inherited: descriptors are closed (an open-file-description lock lives as long
 * as any copy of its descriptor), nothing else is touched; sessions open warehouses anew. */
static void after_fork_child(void)
{
    generation++;
    for (ice_warehouse *wh = list; wh; wh = wh->next) {
        if (wh->log)
            ice_log_after_fork(wh->log);
        if (wh->catalog)
            ice_catalog_after_fork(wh->catalog);
        if (wh->engine)
            ice_engine_after_fork(wh->engine);
        if (wh->host)
            ice_host_after_fork(wh->host);
    }
    list = NULL;
    pthread_mutex_init(&list_mutex, NULL);
}

static void before_fork(void)
{
    pthread_mutex_lock(&list_mutex);
}
static void after_fork_parent(void)
{
    pthread_mutex_unlock(&list_mutex);
}
static void install_atfork(void)
{
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static uint64_t default_budget(void)
{
    uint64_t quarter = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 4;
    uint64_t most = (uint64_t)4 << 30;
    return quarter < most ? quarter : most;
}

void ice_config_defaults(ice_config *c)
{
    *c = (ice_config){.ns = "default",
                      .sync = true,
                      .lock_timeout_ms = -1,
                      .memory_budget = default_budget(),
                      .cache_max = (uint64_t)10 << 30,
                      .flush_interval_ms = 60 * 1000,
                      .flush_bytes = 64 << 20,
                      .rewrite_bytes = 16 << 20,
                      .flush_backlog = 4,
                      .max_skew_ms = 5 * 60 * 1000,
                      .bulk_rows = 100 * 1000,
                      .orphans_grace_ms = (int64_t)3 * 24 * 3600 * 1000,
                      .fast_path = true,
                      .background_flush = true};
}

/* ---- the process's list ---- */

static void close_parts(ice_warehouse *wh)
{
    if (wh->cursor)
        ice_log_cursor_close(wh->cursor);
    ice__pins_close(&wh->pins);
    if (wh->log)
        ice_log_close(wh->log);
    if (wh->catalog)
        ice_catalog_close(wh->catalog);
    ice_store_close(wh->store);
    ice_host_unref(wh->host);
    wh->host = NULL;
    wh->cursor = NULL;
    wh->log = NULL;
    wh->catalog = NULL;
    wh->store = NULL;
}

static void wh_free(ice_warehouse *wh)
{
    ice__registry_unref(wh->registry);
    ice__econns_close(wh);
    if (wh->engine_conn)
        ice_engine_disconnect(wh->engine_conn);
    if (wh->engine)
        ice_engine_close(wh->engine);
    close_parts(wh);
    free((char *)wh->config.warehouse);
    free((char *)wh->config.catalog);
    free((char *)wh->config.ns);
    free((char *)wh->config.duckdb_library);
    free(wh->dir);
    free(wh->cache_dir);
    free(wh->dropped);
    free(wh->changing);
    for (size_t i = 0; i < wh->nreplaced; i++)
        free(wh->replaced[i].location);
    free(wh->replaced);
    free(wh->held);
    free(wh);
}

static ice_warehouse *wh_new(const ice_config *c)
{
    ice_warehouse *wh = calloc(1, sizeof *wh);
    if (!wh)
        return NULL;
    wh->config = *c;
    wh->config.warehouse = strdup(c->warehouse);
    wh->config.catalog = strdup(c->catalog);
    wh->config.ns = strdup(c->ns);
    wh->config.duckdb_library = strdup(c->duckdb_library ? c->duckdb_library : "");
    wh->fork_generation = generation;
    pthread_mutex_init(&wh->open_mutex, NULL);
    pthread_mutex_init(&wh->engine_mutex, NULL);
    pthread_mutex_init(&wh->engine_busy, NULL);
    pthread_mutex_init(&wh->apply, NULL);
    pthread_mutex_init(&wh->load, NULL);
    pthread_mutex_init(&wh->reg, NULL);
    pthread_mutex_init(&wh->flusher_mutex, NULL);
    pthread_cond_init(&wh->flusher_wake, NULL);
    pthread_mutex_init(&wh->pins.lock, NULL);
    pthread_mutex_init(&wh->pins.staging, NULL);
    wh->registry = ice__registry_create(&wh->pins, 0);
    if (!wh->config.warehouse || !wh->config.catalog || !wh->config.ns || !wh->config.duckdb_library ||
        !wh->registry) {
        wh_free(wh);
        return NULL;
    }
    return wh;
}

static bool same_place(const ice_config *a, const ice_config *b)
{
    return strcmp(a->warehouse, b->warehouse) == 0 && strcmp(a->catalog, b->catalog) == 0 &&
           strcmp(a->ns, b->ns) == 0 && a->read_only == b->read_only;
}

#define SHARED(bit, name, field) \
    {bit, name, offsetof(ice_config, field), sizeof((ice_config *)0)->field}
static const struct {
    unsigned bit;
    const char *name;
    size_t at, size;
} shared[] = {
    SHARED(ICE_GIVEN_DURABILITY, "durability", sync),
    SHARED(ICE_GIVEN_THREADS, "threads", threads),
    SHARED(ICE_GIVEN_MEMORY, "memory.budget", memory_budget),
    SHARED(ICE_GIVEN_CACHE, "cache.max-size", cache_max),
    SHARED(ICE_GIVEN_FLUSH_INTERVAL, "flush.interval-ms", flush_interval_ms),
    SHARED(ICE_GIVEN_FLUSH_BYTES, "flush.bytes", flush_bytes),
    SHARED(ICE_GIVEN_FLUSH_BACKGROUND, "flush.background", background_flush),
    SHARED(ICE_GIVEN_SKEW, "clock.max-skew-ms", max_skew_ms),
    SHARED(ICE_GIVEN_LOG_BYTES, "log.max-bytes", log_max_bytes),
    SHARED(ICE_GIVEN_ORPHANS, "orphans.grace-ms", orphans_grace_ms),
    SHARED(ICE_GIVEN_FLUSH_BACKLOG, "flush.backlog", flush_backlog),
    SHARED(ICE_GIVEN_REWRITE_BYTES, "flush.rewrite-bytes", rewrite_bytes),
};

/* The name of the first option among `which` that differs; NULL: none. */
static const char *differing(const ice_config *a, const ice_config *b, unsigned which)
{
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        if ((which & shared[i].bit) &&
            memcmp((const char *)a + shared[i].at, (const char *)b + shared[i].at, shared[i].size) != 0)
            return shared[i].name;
    return NULL;
}

static bool control_stat(const ice_warehouse *wh, struct stat *st)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/control.json", wh->dir);
    return n > 0 && (size_t)n < sizeof path && stat(path, st) == 0;
}

/* A warehouse without sessions is still what the settings say, and where they say. */
static bool still_good(const ice_warehouse *wh, const ice_config *c)
{
    struct stat st;
    return !differing(&wh->config, c, ~0u) && control_stat(wh, &st) && st.st_dev == wh->device &&
           st.st_ino == wh->inode;
}

/* Takes the warehouses without a session after the first `keep` out of the list; theirs is what it returns.
 */
static ice_warehouse *take_idle(size_t keep)
{
    ice_warehouse *taken = NULL;
    for (ice_warehouse **at = &list; *at;) {
        ice_warehouse *wh = *at;
        if (wh->refs > 0 || keep > 0) {
            keep -= wh->refs == 0;
            at = &wh->next;
            continue;
        }
        *at = wh->next;
        wh->next = taken;
        taken = wh;
    }
    return taken;
}

static void close_all(ice_warehouse *wh)
{
    for (ice_warehouse *next; wh; wh = next) {
        next = wh->next;
        ice__flusher_stop(wh);
        wh_free(wh);
    }
}

/* The warehouse of these settings to the head of the list; one that is no longer good goes to *stale. */
static ice_warehouse *find(const ice_config *c, ice_warehouse **stale)
{
    ice_warehouse **at = &list, *wh;
    while (*at && !same_place(&(*at)->config, c))
        at = &(*at)->next;
    if (!(wh = *at))
        return NULL;
    *at = wh->next;
    if (wh->refs == 0 && !still_good(wh, c)) {
        wh->next = NULL;
        *stale = wh;
        return NULL;
    }
    wh->next = list;
    return list = wh;
}

ice_code ice__wh_get(const ice_config *c, ice_warehouse **out, ice_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    ice_warehouse *stale = NULL;
    pthread_once(&once, install_atfork);
    pthread_mutex_lock(&list_mutex);
    ice_warehouse *wh = find(c, &stale);
    if (!wh && (wh = wh_new(c))) {
        wh->next = list;
        list = wh;
    }
    const char *differs = wh ? differing(&wh->config, c, c->given) : NULL;
    if (wh && !differs) {
        wh->refs++;
        wh->config.keep_open |= c->keep_open;
    }
    pthread_mutex_unlock(&list_mutex);
    close_all(stale);
    *out = differs ? NULL : wh;
    if (differs)
        return ice_fail(err, ICE_CONFIG,
                        "option '%s' differs from that of another open connection to %s (namespace %s), and the "
                        "connections of a process share it: give them one value",
                        differs, c->warehouse, c->ns);
    return wh ? ICE_OK : ice_fail_nomem(err);
}

void ice__wh_put(ice_warehouse *wh)
{
    ice_warehouse *over = NULL;
    if (wh->fork_generation != generation)
        return; /* inherited: abandoned */
    pthread_mutex_lock(&list_mutex);
    if (--wh->refs == 0) {
        ice_warehouse **at = &list;
        while (*at != wh)
            at = &(*at)->next;
        *at = wh->next;
        if (wh->config.keep_open && atomic_load(&wh->opened)) {
            wh->next = list;
            list = wh;
            over = take_idle(IDLE_WAREHOUSES);
        } else {
            wh->next = NULL;
            over = wh;
        }
    }
    pthread_mutex_unlock(&list_mutex);
    close_all(over);
}

void ice_close_idle(void)
{
    pthread_mutex_lock(&list_mutex);
    ice_warehouse *idle = take_idle(0);
    pthread_mutex_unlock(&list_mutex);
    close_all(idle);
}

/* ---- control object (invariant 10) ---- */

/* How a control object ends: with its seal, of whatever format version it is. */
#define SEAL_BEFORE ",\n  \"xxh3\": \""
#define SEAL_AFTER "\"\n}"

static ice_code control_text(const ice_warehouse *wh, ice_uuid id, ice_buf *out, ice_error *err)
{
    char uuid[37];
    ice_uuid_text(id, uuid);
    json_t *j =
        json_pack("{s:i, s:s, s:s, s:s, s:s}", "format-version", FORMAT_VERSION, "warehouse-uuid", uuid,
                  "namespace", wh->config.ns, "log", "file", "durability", wh->config.sync ? "full" : "none");
    char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    json_decref(j);
    if (!text)
        return ice_fail_nomem(err);
    ice_buf_put_str(out, (ice_str){text, strlen(text) - strlen("\n}")});
    ice_buf_puts(out, SEAL_BEFORE ICE_SEAL_BLANK SEAL_AFTER);
    free(text);
    ice_code rc = ice_buf_check(out, err);
    if (rc == ICE_OK)
        ice_seal(out->data, out->len, out->len - strlen(ICE_SEAL_BLANK SEAL_AFTER));
    return rc;
}

static ice_code control_check(ice_warehouse *wh, ice_str text, ice_error *err)
{
    json_error_t je;
    size_t seal;
    if (ice_seal_at_end(text, SEAL_BEFORE, SEAL_AFTER, &seal) && !ice_seal_holds(text, seal))
        return ice_fail(err, ICE_CORRUPT, "%s/control.json: its checksum is not that of its bytes: restore it from a backup", wh->dir);
    json_t *j = json_loadb(text.ptr, text.len, 0, &je);
    int version = 0;
    const char *uuid = NULL, *ns = NULL, *durability = NULL;
    ice_code rc = ICE_OK;
    if (!j || json_unpack(j, "{s:i, s:s, s:s, s:s}", "format-version", &version, "warehouse-uuid", &uuid,
                          "namespace", &ns, "durability", &durability) != 0)
        rc = ice_fail(err, ICE_CORRUPT, "%s/control.json is not a control object of django-iceberg", wh->dir);
    else if (version > FORMAT_VERSION)
        rc = ice_fail(err, ICE_UNSUPPORTED,
                      "the warehouse has format version %d; this version of django-iceberg reads up to %d: "
                      "install a newer one",
                      version, FORMAT_VERSION);
    else if (!ice_uuid_parse(ice_str_c(uuid), &wh->env.warehouse) || strcmp(ns, wh->config.ns) != 0)
        rc = ice_fail(err, ICE_CORRUPT, "%s/control.json is of another namespace or has no UUID", wh->dir);
    else if (strcmp(durability, wh->config.sync ? "full" : "none") != 0)
        rc = ice_fail(err, ICE_CONFIG,
                      "the warehouse was created with durability '%s' but the settings say '%s': use the "
                      "warehouse's, or create another",
                      strcmp(durability, "none") == 0 ? "os" : durability, wh->config.sync ? "full" : "os");
    json_decref(j);
    return rc;
}

static ice_code control_open(ice_warehouse *wh, bool create, ice_error *err)
{
    ice_buf buf = {0}, mine = {0};
    char key[512];
    snprintf(key, sizeof key, ".django-iceberg/%s/control.json", wh->config.ns);
    ice_code rc = wh->store->m->get(wh->store, ice_str_c(key), &buf, err);
    if (rc == ICE_NOT_FOUND && !create) {
        rc = ice_fail(err, ICE_NOT_FOUND, "no warehouse at %s (namespace %s): run migrate to create it",
                      wh->config.warehouse, wh->config.ns);
    } else if (rc == ICE_NOT_FOUND) {
        /* The log comes first: where there is a control object, there was a log. */
        if ((rc = ice__log_create(wh, err)) == ICE_OK &&
            (rc = control_text(wh, ice_uuid_random(), &mine, err)) == ICE_OK) {
            rc = wh->store->m->put_if_absent(wh->store, ice_str_c(key), ice_buf_str(&mine), err);
            if (rc == ICE_OK || rc == ICE_EXISTS) {
                ice_buf_clear(&buf);
                rc = wh->store->m->get(wh->store, ice_str_c(key), &buf, err);
            }
        }
    }
    if (rc == ICE_OK)
        rc = control_check(wh, ice_buf_str(&buf), err);
    ice_buf_free(&buf);
    ice_buf_free(&mine);
    return rc;
}

/* ---- opening ---- */

/* Of the budget, half is for decoded columns and half for the engines of all processes. */
static uint64_t engines_memory(const ice_warehouse *wh)
{
    return wh->config.memory_budget / 2;
}

static ice_code engine_acquire(void *arg, ice_engine_conn **out, ice_error *err);
static void engine_release(void *arg, ice_engine_conn *c);

static ice_code make_dirs(ice_warehouse *wh, ice_error *err)
{
    char *dir = NULL, *cache = NULL;
    if (asprintf(&dir, "%.*s/.django-iceberg/%s", ICE_PRI(wh->store->root), wh->config.ns) < 0)
        return ice_fail_nomem(err);
    free(wh->dir);
    wh->dir = dir;
    if (asprintf(&cache, "%s/cache", dir) < 0)
        return ice_fail_nomem(err);
    free(wh->cache_dir);
    wh->cache_dir = cache;
    return ICE_OK;
}

static ice_code open_parts(ice_warehouse *wh, bool create, ice_error *err)
{
    const ice_config *c = &wh->config;
    ice_code rc;
    ICE_TRY(ice_store_open(c->warehouse, create, c->read_only, &wh->store, err));
    ICE_TRY(make_dirs(wh, err));
    ICE_TRY(control_open(wh, create, err));
    if (mkdir(wh->cache_dir, 0777) != 0 && errno != EEXIST) {
        rc = ice_fail_errno(err, errno, "cannot make the cache directory %s", wh->cache_dir);
        goto out;
    }
    ICE_TRY(ice_host_open(wh->dir, &wh->host, err));
    ICE_TRY(ice_catalog_open(c->catalog, "default", c->ns, create, c->read_only, &wh->catalog, err));
    ICE_TRY(ice__log_open(wh, err));
    wh->env.store = wh->store;
    wh->env.catalog = wh->catalog;
    wh->env.cache_dir = wh->cache_dir;
    wh->env.ns = c->ns;
    wh->env.host = wh->host;
    wh->env.cache_max = c->cache_max;
    wh->env.memory_budget = c->memory_budget - engines_memory(wh);
    wh->env.engine_acquire = engine_acquire;
    wh->env.engine_release = engine_release;
    wh->env.stage_begin = ice__stage_begin;
    wh->env.stage_end = ice__stage_end;
    wh->env.replaced = ice__replaced;
    wh->env.arg = wh;

    struct stat control = {0};
    (void)control_stat(wh, &control);
    wh->device = control.st_dev;
    wh->inode = control.st_ino;
    ice_log_state st;
    ice_log_get_state(wh->log, &st);
    atomic_store(&wh->publish_seen, st.publish_count);
    ice__registry_reads(wh->registry, st.publish_count);
    ICE_TRY(ice__pins_open(&wh->pins, wh->log, err));
    ICE_TRY(ice__wh_list_catalog(wh, wh->registry, err));
    ice_log_get_state(wh->log, &st);
    ICE_TRY(ice_log_cursor_open(wh->log, st.start, &wh->cursor, err));
    atomic_store(&wh->applied_position, st.start);
    atomic_store(&wh->opened, true);
out:
    return rc;
}

ice_code ice__wh_open(ice_warehouse *wh, bool create, ice_error *err)
{
    if (atomic_load_explicit(&wh->opened, memory_order_acquire))
        return ICE_OK;
    pthread_mutex_lock(&wh->open_mutex);
    ice_code rc = ICE_OK;
    if (!atomic_load(&wh->opened) && (rc = open_parts(wh, create, err)) != ICE_OK)
        close_parts(wh);
    pthread_mutex_unlock(&wh->open_mutex);
    if (rc == ICE_OK && wh->config.background_flush && !wh->config.read_only)
        ice__flusher_start(wh);
    return rc;
}

/* ---- views ---- */

void ice__wh_view(ice_warehouse *wh, ice__registry **reg, int64_t *at)
{
    pthread_mutex_lock(&wh->reg);
    *reg = ice__registry_ref(wh->registry);
    *at = wh->applied;
    pthread_mutex_unlock(&wh->reg);
}

int64_t ice__wh_applied(ice_warehouse *wh)
{
    pthread_mutex_lock(&wh->reg);
    int64_t at = wh->applied;
    pthread_mutex_unlock(&wh->reg);
    return at;
}

/* From the metadata that the catalog points to. */
ice_code ice__wh_load(ice_warehouse *wh, const ice__entry *e, ice_tabstate **out, ice_error *err)
{
    ice_published *p = NULL;
    ice_tabledef *def = NULL;
    ice_code rc;
    if (e->view)
        ICE_TRY(ice_view_metadata_load(&wh->env, ice_str_c(e->location), &def, err));
    else
        ICE_TRY(ice_published_load(&wh->env, ice_str_c(e->location), &p, err));
    if (!def && !(def = ice_tabledef_clone(ice_published_def(p), false))) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    if (def->foreign) { /* what it is here the catalog says: its files may have any name */
        def->uuid = e->uuid;
        ice_tabledef_set_name(def, ice_str_c(e->name));
    }
    if ((rc = ice_tabstate_create(def, p, NULL, NULL, out, err)) == ICE_OK)
        return ICE_OK;
out:
    ice_tabledef_free(def);
    ice_published_unref(p);
    return rc;
}

ice_code ice__wh_state(ice_warehouse *wh, ice__entry *e, ice_tabstate **out, ice_error *err)
{
    ice_tabstate *s = atomic_load_explicit(&e->state, memory_order_acquire);
    if (s) {
        *out = s;
        return ICE_OK;
    }
    ice_code rc = ICE_OK;
    if (e->unreadable) {
        *out = NULL;
        if (err)
            *err = *e->unreadable;
        return e->unreadable->code;
    }
    pthread_mutex_lock(&wh->load);
    if (!(s = atomic_load(&e->state))) {
        rc = ice__wh_load(wh, e, &s, err);
        if (rc == ICE_OK)
            atomic_store_explicit(&e->state, s, memory_order_release);
        else
            ice_error_prefix(err, "table %s", e->name);
    }
    pthread_mutex_unlock(&wh->load);
    *out = s;
    return rc;
}

/* ---- engine ---- */

enum { ENGINE_LEAST = 64 << 20 }; /* bytes: with less it does no useful work */

static int share_of_threads(const ice_warehouse *wh, unsigned processes)
{
    long all = wh->config.threads > 0 ? wh->config.threads : sysconf(_SC_NPROCESSORS_ONLN);
    return all > (long)processes ? (int)(all / (long)processes) : 1;
}

static uint64_t share_of_memory(const ice_warehouse *wh, unsigned processes)
{
    uint64_t share = engines_memory(wh) / processes;
    return share > ENGINE_LEAST ? share : ENGINE_LEAST;
}

static ice_code open_engine(ice_warehouse *wh, ice_error *err)
{
    ice_host_add_engine(wh->host);
    unsigned n = ice_host_engines(wh->host);
    atomic_store(&wh->engine_share, n);
    return ice_engine_open(wh->config.duckdb_library, share_of_threads(wh, n), share_of_memory(wh, n), &wh->engine,
                           err);
}

/* What cannot be now is tried again with the next statement. The engine waits for its threads, which may want
 * engine_mutex. */
void ice__wh_share_engine(ice_warehouse *wh)
{
    unsigned n = ice_host_engines(wh->host);
    if (n == atomic_load_explicit(&wh->engine_share, memory_order_relaxed) || atomic_exchange(&wh->sharing, true))
        return;
    pthread_mutex_lock(&wh->engine_mutex);
    ice_engine *engine = wh->engine;
    pthread_mutex_unlock(&wh->engine_mutex);
    if (engine && ice_engine_limit(engine, share_of_threads(wh, n), share_of_memory(wh, n), NULL) == ICE_OK)
        atomic_store(&wh->engine_share, n);
    atomic_store(&wh->sharing, false);
}

ice_code ice__wh_engine(ice_warehouse *wh, ice_engine **out, ice_error *err)
{
    ice_code rc = ICE_OK;
    pthread_mutex_lock(&wh->engine_mutex);
    if (!wh->engine)
        rc = open_engine(wh, err);
    if (rc == ICE_OK && !wh->restricted) { /* SQL reads and writes no files but the warehouse's */
        rc = ice_engine_restrict(wh->engine, &wh->store->root, 1, err);
        wh->restricted = rc == ICE_OK;
    }
    *out = wh->engine;
    pthread_mutex_unlock(&wh->engine_mutex);
    return rc;
}

/* table/'s own connection: one user at a time, so that its statements need no pool. */
static ice_code engine_acquire(void *arg, ice_engine_conn **out, ice_error *err)
{
    ice_warehouse *wh = arg;
    ice_engine *engine = NULL;
    ice_code rc = ice__wh_engine(wh, &engine, err);
    if (rc != ICE_OK)
        return rc;
    pthread_mutex_lock(&wh->engine_busy);
    if (!wh->engine_conn)
        rc = ice_engine_connect(engine, ice_env_resolve, &wh->env, &wh->engine_conn, err);
    if (rc != ICE_OK) {
        pthread_mutex_unlock(&wh->engine_busy);
        return rc;
    }
    *out = wh->engine_conn;
    return ICE_OK;
}

static void engine_release(void *arg, ice_engine_conn *c)
{
    ice_warehouse *wh = arg;
    (void)c;
    pthread_mutex_unlock(&wh->engine_busy);
}
