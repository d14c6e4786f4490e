/* Publishing from a warehouse: by hand and in the background. One flusher at a time on a host holds the
 * lease; it brings its process up to date, hands the table states to table/, and tells everybody that
 * pointers moved.
 *
 * What is published at P: every table state as applied at P (V1). Tables the range did not touch are left
 * alone. Afterwards the log is trimmed to P. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "txn/txn_int.h"

#define LEASE ((uint64_t)0x666c757368657273) /* name of the flusher's lease */
#define COMPACT_FILES 8 /* data files of a table that make the background flusher compact it */

static ice_code take_lease(ice_locker *locker, bool wait, bool *taken, ice_error *err)
{
    uint64_t epoch;
    for (;;) {
        ice_code rc = ice_lease_try(locker, LEASE, taken, &epoch, err);
        if (rc != ICE_OK || *taken || !wait)
            return rc;
        ice_sleep_us(2000);
    }
}

/* ---- what a flush is given ---- */

typedef struct plan {
    ice_flush_table *tables;
    ice__entry **entries; /* NULL for a dropped one */
    size_t n, cap;
} plan;

static ice_flush_table *plan_add(plan *p, ice_arena *a)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 16;
        ice_flush_table *t = ice_arena_array(a, cap, sizeof *t);
        ice__entry **e = ice_arena_array(a, cap, sizeof *e);
        if (!t || !e)
            return NULL;
        if (p->n) {
            memcpy(t, p->tables, p->n * sizeof *t);
            memcpy(e, p->entries, p->n * sizeof *e);
        }
        p->tables = t;
        p->entries = e;
        p->cap = cap;
    }
    return &p->tables[p->n++];
}

static bool needs_flush(const ice__entry *e, const ice_tabstate *st)
{
    ice_tail_counts n;
    ice_tail_counts_get(st->tail, &n);
    return e->nstaged || !e->catalog_name || n.versions + n.tombstones > 0 ||
           strcmp(e->name, e->catalog_name) != 0 || !st->published ||
           ice_published_def(st->published)->schema_id != st->def->schema_id;
}

static ice_code plan_tables(ice__registry *reg, ice_str only, plan *p, ice_arena *a, ice_error *err)
{
    for (size_t i = 0; i < reg->n; i++) {
        ice__entry *e = reg->entries[i];
        ice_tabstate *st = atomic_load(&e->state);
        if (only.ptr && !ice_str_eqc(only, e->name))
            continue;
        /* A table that was never loaded has nothing in the tail (V3); a renamed one was loaded when its
         * record was applied. */
        if (!st || !needs_flush(e, st))
            continue;
        ice_flush_table *t = plan_add(p, a);
        if (!t)
            return ice_fail_nomem(err);
        *t = (ice_flush_table){
            .state = st, .catalog_name = ice_str_c(e->catalog_name), .location = ice_str_c(e->location)};
        p->entries[p->n - 1] = e;
    }
    return ICE_OK;
}

static ice_code plan_drops(ice_warehouse *wh, plan *p, ice_arena *a, ice_error *err)
{
    ice_catalog_entry *list = NULL;
    size_t n = 0;
    ice_code rc = ice_catalog_list(wh->catalog, a, &list, &n, err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        ice_uuid id;
        if (ice__is_history_name(list[i].name) || !ice_location_uuid(list[i].metadata_location, &id) ||
            !ice__wh_dropped(wh, id))
            continue;
        ice_flush_table *t = plan_add(p, a);
        if (!t)
            return ice_fail_nomem(err);
        *t = (ice_flush_table){
            .catalog_name = list[i].name, .location = list[i].metadata_location, .dropped = true};
        p->entries[p->n - 1] = NULL;
    }
    return rc;
}

static ice_code flush_once(ice_warehouse *wh, ice_str only, size_t *published, ice_error *err)
{
    ice__registry *reg = NULL;
    ice_arena *a = ice_arena_create();
    plan p = {0};
    ice_flush_options o = {.rewrite_bytes = 16 << 20, .snapshots_kept = 100};
    ice_code rc = a ? ice__wh_catchup(wh, err) : ice_fail_nomem(err);
    if (rc != ICE_OK)
        goto out;
    pthread_mutex_lock(&wh->apply); /* position and time belong together */
    ice__wh_view(wh, &reg, &o.upto);
    o.position = atomic_load(&wh->applied_position);
    pthread_mutex_unlock(&wh->apply);
    ICE_TRY(plan_tables(reg, only, &p, a, err));
    if (!only.ptr)
        ICE_TRY(plan_drops(wh, &p, a, err));
    if (p.n > 0) {
        ICE_TRY(ice_flush(&wh->env, p.tables, p.n, &o, a, err));
        ice_log_published(wh->log);
        ICE_TRY(ice__wh_catchup(wh, err));
    }
    if (!only.ptr)
        ICE_TRY(ice_log_trim(wh->log, o.position, err));
    *published = p.n;
    pthread_mutex_lock(&wh->flusher_mutex);
    wh->flushes += p.n > 0;
    pthread_mutex_unlock(&wh->flusher_mutex);
out:
    ice__registry_unref(reg);
    ice_arena_free(a);
    return rc;
}

ice_code ice__flush_all(ice_warehouse *wh, ice_locker *locker, ice_str table, size_t *published,
                        ice_error *err)
{
    bool taken = false;
    ice_code rc = take_lease(locker, true, &taken, err);
    if (rc != ICE_OK)
        return rc;
    for (int round = 0; round < 5; round++)
        if ((rc = flush_once(wh, table, published, err)) != ICE_CONFLICT)
            break;
    ice_lease_release(locker, LEASE);
    return rc;
}

/* ---- compaction, expiry ---- */

static ice_code compact_entry(ice_warehouse *wh, ice__entry *e, bool compact, int64_t before, size_t *done,
                              ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_tabstate *st = NULL;
    ice_str location;
    bool did = false;
    ice_code rc = a ? ice__wh_state(wh, e, &st, err) : ice_fail_nomem(err);
    if (rc == ICE_OK && st->published && e->catalog_name) {
        if (compact)
            rc = ice_compact(&wh->env, st->published, ice_str_c(e->catalog_name), a, &location, &did, err);
        else
            rc = ice_expire(&wh->env, st->published, ice_str_c(e->catalog_name), before, a, &location, &did,
                            err);
    }
    if (rc == ICE_OK && did) {
        ice_log_published(wh->log);
        rc = ice__wh_catchup(wh, err);
        (*done)++;
        pthread_mutex_lock(&wh->flusher_mutex);
        wh->compactions += compact;
        pthread_mutex_unlock(&wh->flusher_mutex);
    }
    ice_arena_free(a);
    return rc;
}

ice_code ice__compact_all(ice_warehouse *wh, ice_locker *locker, ice_str table, bool compact, int64_t before,
                          size_t *done, ice_error *err)
{
    ice__registry *reg = NULL;
    bool taken = false;
    int64_t at;
    ice_code rc = take_lease(locker, true, &taken, err);
    if (rc != ICE_OK)
        return rc;
    if ((rc = ice__wh_catchup(wh, err)) == ICE_OK) {
        ice__wh_view(wh, &reg, &at);
        for (size_t i = 0; rc == ICE_OK && i < reg->n; i++)
            if (!table.ptr || ice_str_eqc(table, reg->entries[i]->name))
                rc = compact_entry(wh, reg->entries[i], compact, before, done, err);
    }
    ice__registry_unref(reg);
    ice_lease_release(locker, LEASE);
    return rc;
}

/* Tables with many small files, after a flush. */
static ice_code compact_fragmented(ice_warehouse *wh, ice_error *err)
{
    ice__registry *reg = NULL;
    int64_t at;
    size_t done = 0;
    ice_code rc = ICE_OK;
    ice__wh_view(wh, &reg, &at);
    for (size_t i = 0; rc == ICE_OK && i < reg->n; i++) {
        ice_tabstate *st = atomic_load(&reg->entries[i]->state);
        ice_view_cost cost = {0};
        if (!st || !st->published)
            continue;
        ice_view v = {.env = &wh->env, .state = st, .at = at, .mode = ICE_VIEW_CURRENT};
        ice_view_cost_get(&v, &cost);
        if (cost.files_total >= COMPACT_FILES)
            rc = compact_entry(wh, reg->entries[i], true, 0, &done, err);
    }
    ice__registry_unref(reg);
    return rc;
}

/* ---- the background thread ---- */

static bool due(ice_warehouse *wh)
{
    int64_t oldest = atomic_load(&wh->oldest_unflushed);
    if (!oldest)
        return false;
    if (atomic_load(&wh->unflushed_bytes) >= wh->config.flush_bytes)
        return true;
    return wh->config.flush_interval_ms > 0 && ice_clock_us() - oldest >= wh->config.flush_interval_ms * 1000;
}

/* A flush nobody waits for the result of: what goes wrong is for the status to say. wait: for another
 * flusher's end. */
static void flush_round(ice_warehouse *wh, ice_locker *locker, bool wait)
{
    ice_error err = {0};
    bool taken = false;
    size_t published;
    if (take_lease(locker, wait, &taken, &err) != ICE_OK || !taken)
        return;
    ice_code rc = flush_once(wh, ICE_STR_NONE, &published, &err);
    if (rc == ICE_OK)
        rc = compact_fragmented(wh, &err);
    ice_lease_release(locker, LEASE);
    pthread_mutex_lock(&wh->flusher_mutex);
    snprintf(wh->flusher_error, sizeof wh->flusher_error, "%s",
             rc == ICE_OK || rc == ICE_CONFLICT ? "" : err.message);
    pthread_mutex_unlock(&wh->flusher_mutex);
}

void ice__flush_committed(ice_warehouse *wh, ice_locker *locker)
{
    if (wh->config.flush_interval_ms == 0)
        flush_round(wh, locker, true);
}

static void *flusher_main(void *arg)
{
    ice_warehouse *wh = arg;
    ice_locker *locker = NULL;
    ice_error err;
    if (ice_locker_open(wh->log, &locker, &err) != ICE_OK)
        return NULL;
    pthread_mutex_lock(&wh->flusher_mutex);
    while (!wh->flusher_stop) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 200 * 1000 * 1000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&wh->flusher_wake, &wh->flusher_mutex, &until);
        if (wh->flusher_stop || !due(wh))
            continue;
        pthread_mutex_unlock(&wh->flusher_mutex);
        flush_round(wh, locker, false);
        pthread_mutex_lock(&wh->flusher_mutex);
    }
    pthread_mutex_unlock(&wh->flusher_mutex);
    ice_locker_close(locker);
    return NULL;
}

void ice__flusher_start(ice_warehouse *wh)
{
    pthread_mutex_lock(&wh->flusher_mutex);
    if (!wh->flusher_running && !wh->flusher_stop)
        wh->flusher_running = pthread_create(&wh->flusher, NULL, flusher_main, wh) == 0;
    pthread_mutex_unlock(&wh->flusher_mutex);
}

void ice__flusher_stop(ice_warehouse *wh)
{
    pthread_mutex_lock(&wh->flusher_mutex);
    wh->flusher_stop = true;
    bool running = wh->flusher_running;
    pthread_cond_signal(&wh->flusher_wake);
    pthread_mutex_unlock(&wh->flusher_mutex);
    if (running)
        pthread_join(wh->flusher, NULL);
}
