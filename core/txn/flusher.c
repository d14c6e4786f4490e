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

#include "txn/collect.h"

#define LEASE ((uint64_t)0x666c757368657273) /* name of the flusher's lease */
#define COMPACT_FILES 8     /* data files of a table that make the background flusher compact it */
#define COLLECT_FLUSHES 100 /* flushes after which it collects what they replaced */
#define REPLACED_GRACE ((int64_t)10 * 60 * 1000 * 1000) /* what other engines may still be reading, us */

ice_code ice__take_lease(ice_locker *locker, bool wait, bool *taken, ice_error *err)
{
    uint64_t epoch;
    for (;;) {
        ice_code rc = ice_lease_try(locker, LEASE, taken, &epoch, err);
        if (rc != ICE_OK || *taken || !wait)
            return rc;
        ice_sleep_us(2000);
    }
}

void ice__release_lease(ice_locker *locker)
{
    ice_lease_release(locker, LEASE);
}

/* ---- what a flush is given ---- */

typedef struct plan {
    ice_flush_table *tables;
    size_t n, cap;
} plan;

static ice_flush_table *plan_add(plan *p, ice_arena *a)
{
    if (!ICE_ROOM(a, p->tables, p->n, p->cap))
        return NULL;
    return &p->tables[p->n++];
}

/* What its identity columns' sequences would hand out next. */
static ice_code take_sequences(ice_warehouse *wh, const ice_tabstate *st, ice_flush_table *t, bool *moved,
                               ice_arena *a, ice_error *err)
{
    const ice_tabledef *def = st->def;
    *moved = false;
    t->sequences = ICE_NEW_N(a, ice_sequence_mark, def->ncols + 1);
    if (!t->sequences)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < def->ncols; i++) {
        const ice_column *col = &def->cols[i];
        if (!col->identity)
            continue;
        int64_t next = ice_log_sequence_peek(wh->log, ice__sequence_name(def, col));
        int64_t told = st->published ? ice_published_next(st->published, col->field_id, col->restarts) : 1;
        *moved |= next > told && next > 1;
        t->sequences[t->nsequences++] =
            (ice_sequence_mark){col->field_id, col->restarts, next > told ? next : told};
    }
    return ICE_OK;
}

static bool needs_flush(const ice__entry *e, const ice_tabstate *st)
{
    ice_tail_counts n;
    if (ice_tabledef_is_view(st->def))
        return !e->catalog_name || !ice_view_metadata_is_of(ice_str_c(e->location), st->def);
    ice_tail_counts_get(st->tail, &n);
    return e->nstaged || st->nended || !e->catalog_name || n.versions + n.tombstones > 0 ||
           strcmp(e->name, e->catalog_name) != 0 || !st->published ||
           ice_published_def(st->published)->schema_id != st->def->schema_id;
}

static ice_code plan_table(ice_warehouse *wh, ice__entry *e, plan *p, ice_arena *a, ice_error *err)
{
    ice_tabstate *st = atomic_load(&e->state);
    ice_flush_table t = {
        .state = st, .catalog_name = ice_str_c(e->catalog_name), .location = ice_str_c(e->location)};
    bool moved = false;
    /* A table that was never loaded has nothing in the tail (V3); a renamed one was loaded when its record
     * was applied. */
    ice_code rc = st ? take_sequences(wh, st, &t, &moved, a, err) : ICE_OK;
    if (rc != ICE_OK || !st || (!moved && !needs_flush(e, st)))
        return rc;
    ice_flush_table *to = plan_add(p, a);
    if (!to)
        return ice_fail_nomem(err);
    *to = t;
    return ICE_OK;
}

static ice_code plan_drop(const ice_catalog_entry *ce, int64_t at, plan *p, ice_arena *a, ice_error *err)
{
    ice_flush_table *t = plan_add(p, a);
    if (!t)
        return ice_fail_nomem(err);
    *t = (ice_flush_table){
        .catalog_name = ce->name, .location = ce->metadata_location, .view = ce->view, .dropped = true, .dropped_at = at};
    return ICE_OK;
}

static ice_code plan_all(ice_warehouse *wh, ice__registry *reg, const ice_catalog_entry *list, size_t n,
                         plan *p, ice_arena *a, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < reg->n; i++)
        rc = plan_table(wh, reg->entries[i], p, a, err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        int64_t at;
        if (!ice__is_hidden_name(list[i].name) && ice__wh_dropped(wh, ice__entry_uuid(&list[i]), &at))
            rc = plan_drop(&list[i], at, p, a, err);
    }
    return rc;
}

/* Who has the name in the catalog, if that is another table than `e`: it has to make room. */
static const ice_catalog_entry *in_the_way(const ice_catalog_entry *list, size_t n, ice_str name,
                                           const ice__entry *e, ice_uuid *id)
{
    for (size_t i = 0; i < n; i++)
        if (ice_str_eq(list[i].name, name)) {
            *id = ice__entry_uuid(&list[i]);
            return e && ice_uuid_eq(e->uuid, *id) ? NULL : &list[i];
        }
    return NULL;
}

/* One table, and those whose names in the catalog have to become free for it: dropped, or renamed since. */
static ice_code plan_one(ice_warehouse *wh, ice__registry *reg, const ice_catalog_entry *list, size_t n,
                         ice_str only, plan *p, ice_arena *a, ice_error *err)
{
    ice_str *names = ICE_NEW_N(a, ice_str, reg->n + 2);
    size_t nnames = 1;
    ice_code rc = names ? ICE_OK : ice_fail_nomem(err);
    if (names)
        names[0] = only;
    for (size_t i = 0; rc == ICE_OK && i < nnames; i++) {
        ice__entry *e = ice__registry_find(reg, names[i]), *other;
        ice_uuid id;
        int64_t at;
        const ice_catalog_entry *ce = in_the_way(list, n, names[i], e, &id);
        if (e)
            rc = plan_table(wh, e, p, a, err);
        if (rc != ICE_OK || !ce)
            continue;
        if (ice__wh_dropped(wh, id, &at))
            rc = plan_drop(ce, at, p, a, err);
        else if ((other = ice__registry_find_uuid(reg, id)) && nnames <= reg->n &&
                 !ice_str_eqc(only, other->name))
            names[nnames++] = ice_str_c(other->name);
    }
    return rc;
}

static ice_code plan_flush(ice_warehouse *wh, ice__registry *reg, ice_str only, plan *p, ice_arena *a,
                           ice_error *err)
{
    ice_catalog_entry *list = NULL;
    size_t n = 0;
    ice_code rc = ice_catalog_list(wh->catalog, a, &list, &n, err);
    if (rc == ICE_OK)
        rc = only.ptr ? plan_one(wh, reg, list, n, only, p, a, err) : plan_all(wh, reg, list, n, p, a, err);
    return rc;
}

/* A table whose layout a bulk statement counts on, or a bulk commit has changed since it was planned, keeps its
 * files: the flush only adds to them. The locks are held until it is published. */
static ice_code lock_layouts(ice_warehouse *wh, ice_locker *locker, plan *p, ice_error *err)
{
    ice__registry *reg = NULL;
    ice_error ignored;
    int64_t at;
    for (size_t i = 0; i < p->n; i++)
        if (!p->tables[i].dropped)
            p->tables[i].keep_files = ice_lock(locker, ice__lock_layout(p->tables[i].state->def->uuid),
                                               ICE_LOCK_EXCLUSIVE, 0, NULL, NULL, NULL, &ignored) != ICE_OK;
    ice_code rc = ice__wh_catchup(wh, err);
    ice__wh_view(wh, &reg, &at);
    for (size_t i = 0; i < p->n; i++) {
        ice_tabstate *st = p->tables[i].state;
        ice__entry *now = st ? ice__registry_find_uuid(reg, st->def->uuid) : NULL;
        p->tables[i].keep_files |= now && atomic_load(&now->state) != st;
    }
    ice__registry_unref(reg);
    return rc;
}

static ice_code all_readable(const ice__registry *reg, ice_str only, ice_error *err)
{
    for (size_t i = 0; i < reg->n; i++) {
        const ice__entry *e = reg->entries[i];
        if (!e->unreadable || (only.ptr && !ice_str_eqc(only, e->name)))
            continue;
        *err = *e->unreadable;
        return err->code;
    }
    return ICE_OK;
}

static ice_code flush_once(ice_warehouse *wh, ice_locker *locker, ice_str only, size_t *published, ice_error *err)
{
    ice__registry *reg = NULL;
    ice_arena *a = ice_arena_create();
    plan p = {0};
    ice_flush_options o = {.rewrite_bytes = wh->config.rewrite_bytes, .snapshots_kept = 100};
    size_t mark = ice_lock_mark(locker);
    ice_code rc = a ? ice__wh_catchup(wh, err) : ice_fail_nomem(err);
    if (rc != ICE_OK)
        goto out;
    pthread_mutex_lock(&wh->apply); /* position and time belong together */
    ice__wh_view(wh, &reg, &o.upto);
    o.position = atomic_load(&wh->applied_position);
    pthread_mutex_unlock(&wh->apply);
    ICE_TRY(plan_flush(wh, reg, only, &p, a, err));
    if (p.n > 0) {
        ICE_TRY(lock_layouts(wh, locker, &p, err));
        ICE_TRY(ice_flush(&wh->env, p.tables, p.n, &o, a, err));
        ice_log_published(wh->log);
        ICE_TRY(ice__wh_catchup(wh, err));
    }
    *published = p.n;
    pthread_mutex_lock(&wh->flusher_mutex);
    wh->flushes += p.n > 0;
    pthread_mutex_unlock(&wh->flusher_mutex);
    /* What the log has of a table that cannot be read is nowhere else. */
    ICE_TRY(all_readable(reg, only, err));
    if (!only.ptr)
        ICE_TRY(ice_log_trim(wh->log, o.position, err));
out:
    ice_unlock_to(locker, mark);
    ice__registry_unref(reg);
    ice_arena_free(a);
    return rc;
}

/* A locker of one's own, not a session's: that may have locked layouts itself. With the lease. */
static ice_code begin_alone(ice_warehouse *wh, ice_locker **locker, ice_error *err)
{
    bool taken = false;
    ice_code rc = ice_locker_open(wh->log, locker, err);
    if (rc == ICE_OK && (rc = ice__take_lease(*locker, true, &taken, err)) != ICE_OK) {
        ice_locker_close(*locker);
        *locker = NULL;
    }
    return rc;
}

static void end_alone(ice_locker *locker)
{
    ice__release_lease(locker);
    ice_locker_close(locker);
}

ice_code ice__flush_all(ice_warehouse *wh, ice_str table, size_t *published, ice_error *err)
{
    ice_locker *locker = NULL;
    ice_code rc = begin_alone(wh, &locker, err);
    if (rc != ICE_OK)
        return rc;
    for (int round = 0; round < 5; round++)
        if ((rc = flush_once(wh, locker, table, published, err)) != ICE_CONFLICT)
            break;
    end_alone(locker);
    return rc;
}

/* ---- compaction, expiry ---- */

/* Replaces *e, a reference, by what the registry has now. *may: it is there, and all of what bulk statements did is
 * published. */
static ice_code renew_entry(ice_warehouse *wh, ice__entry **e, bool *may, ice_error *err)
{
    ice__registry *reg = NULL;
    ice_tabstate *st = NULL;
    int64_t at;
    ice__wh_view(wh, &reg, &at);
    ice__entry *now = ice__registry_find_uuid(reg, (*e)->uuid);
    ice_code rc = now ? ice__wh_state(wh, now, &st, err) : ICE_OK;
    *may = st && st->nended == 0 && now->nstaged == 0;
    if (now) {
        ice__entry_unref(*e);
        *e = ice__entry_ref(now);
    }
    ice__registry_unref(reg);
    return rc;
}

/* Files are rewritten only while no bulk statement counts on the places of their rows. One that runs has the
 * layout locked: *may false. What committed ones did is published first, so that what is rewritten begins from
 * what the catalog has. */
static ice_code unstage(ice_warehouse *wh, ice_locker *locker, ice__entry **e, bool *may, ice_error *err)
{
    ice_error ignored;
    *may = false;
    if (ice_lock(locker, ice__lock_layout((*e)->uuid), ICE_LOCK_EXCLUSIVE, 0, NULL, NULL, NULL, &ignored) != ICE_OK)
        return ICE_OK;
    ice_code rc = ice__wh_catchup(wh, err);
    if (rc == ICE_OK)
        rc = renew_entry(wh, e, may, err);
    for (int round = 0; rc == ICE_OK && !*may && round < 5; round++) {
        size_t published;
        rc = flush_once(wh, locker, ice_str_c((*e)->name), &published, err);
        if (rc == ICE_OK)
            rc = renew_entry(wh, e, may, err);
    }
    return rc;
}

static ice_code compact_one(ice_warehouse *wh, ice_tabstate *st, ice_str name, ice__rewriting *r, bool *did,
                            ice_error *err)
{
    ice_compacted done[2];
    ice_str location;
    size_t n;
    ice_code rc;
    ICE_TRY(ice_compact(&wh->env, st->published, name, r->compact, r->a, &location, done, &n, err));
    *did = n > 0;
    for (size_t i = 0; i < n; i++) {
        if (!ICE_ROOM(r->a, r->done, r->n, r->cap))
            return ice_fail_nomem(err);
        r->done[r->n++] = done[i];
    }
out:
    return rc;
}

static ice_code rewrite_entry(ice_warehouse *wh, ice_locker *locker, ice__entry *e, ice__rewriting *r, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_tabstate *st = NULL;
    ice_str location;
    bool did = false, may = false;
    size_t mark = ice_lock_mark(locker);
    ice__entry_ref(e);
    ice_code rc = a ? unstage(wh, locker, &e, &may, err) : ice_fail_nomem(err);
    if (rc == ICE_OK && may)
        rc = ice__wh_state(wh, e, &st, err);
    if (rc == ICE_OK && may && st->published && e->catalog_name) {
        ice_str name = ice_str_c(e->catalog_name);
        if (r->compact)
            rc = compact_one(wh, st, name, r, &did, err);
        else
            rc = ice_expire(&wh->env, st->published, name, r->before, a, &location, &did, err);
    }
    if (rc == ICE_OK && did) {
        ice_log_published(wh->log);
        rc = ice__wh_catchup(wh, err);
        r->tables++;
        pthread_mutex_lock(&wh->flusher_mutex);
        wh->compactions += r->compact != NULL;
        pthread_mutex_unlock(&wh->flusher_mutex);
    }
    ice_unlock_to(locker, mark);
    ice_arena_free(a);
    ice__entry_unref(e);
    return rc;
}

ice_code ice__rewrite_all(ice_warehouse *wh, ice_str table, ice__rewriting *r, ice_error *err)
{
    ice__registry *reg = NULL;
    ice_locker *locker = NULL;
    int64_t at;
    ice_code rc = begin_alone(wh, &locker, err);
    if (rc != ICE_OK)
        return rc;
    if ((rc = ice__wh_catchup(wh, err)) == ICE_OK) {
        ice__wh_view(wh, &reg, &at);
        for (size_t i = 0; rc == ICE_OK && i < reg->n; i++)
            if (!table.ptr || ice_str_eqc(table, reg->entries[i]->name))
                rc = rewrite_entry(wh, locker, reg->entries[i], r, err);
    }
    ice__registry_unref(reg);
    end_alone(locker);
    return rc;
}

/* Tables with many small files, after a flush. */
static ice_code compact_fragmented(ice_warehouse *wh, ice_locker *locker, ice_error *err)
{
    ice__registry *reg = NULL;
    int64_t at;
    static const ice_compact_options cheap = {.delete_ratio = ICE_DELETE_RATIO};
    ice__rewriting r = {.compact = &cheap, .a = ice_arena_create()};
    ice_code rc = r.a ? ICE_OK : ice_fail_nomem(err);
    ice__wh_view(wh, &reg, &at);
    for (size_t i = 0; rc == ICE_OK && i < reg->n; i++) {
        ice_tabstate *st = atomic_load(&reg->entries[i]->state);
        ice_view_cost cost = {0};
        if (!st || !st->published)
            continue;
        ice_view v = {.env = &wh->env, .state = st, .at = at, .mode = ICE_VIEW_CURRENT};
        ice_view_cost_get(&v, &cost);
        if (cost.files_total >= COMPACT_FILES)
            rc = rewrite_entry(wh, locker, reg->entries[i], &r, err);
    }
    ice__registry_unref(reg);
    ice_arena_free(r.a);
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

/* ---- writers that are faster than the flusher (invariant 8) ---- */

enum { PACE_STEP_US = 1000, PACE_STEPS = 100 }; /* a commit waits at least one step, at most all */

/* How long a commit waits now: a step for each hundredth that the backlog is over its limit. Not for a flusher
 * that is off, or that fails: then log.max-bytes is the end. */
static int64_t pace_us(const ice_warehouse *wh)
{
    const ice_config *c = &wh->config;
    uint64_t limit, bytes = atomic_load(&wh->unflushed_bytes);
    if (__builtin_mul_overflow(c->flush_bytes, c->flush_backlog, &limit) || limit == 0 || bytes <= limit || !c->background_flush || c->flush_interval_ms == 0 ||
        atomic_load(&wh->flush_fails))
        return 0;
    uint64_t steps = (bytes - limit) / (limit / PACE_STEPS + 1) + 1;
    return PACE_STEP_US * (int64_t)(steps < PACE_STEPS ? steps : PACE_STEPS);
}

void ice__flush_pace(ice_warehouse *wh)
{
    int64_t wait = pace_us(wh), until;
    if (wait == 0)
        return;
    atomic_fetch_add(&wh->commit_waits, 1);
    until = ice_clock_monotonic_us() + wait;
    while (pace_us(wh) > 0 && ice_clock_monotonic_us() < until)
        ice_sleep_us(PACE_STEP_US);
}

/* Without it many small flushes would leave a metadata file and a few more each. */
static ice_code collect_replaced(ice_warehouse *wh, ice_locker *locker, ice_error *err)
{
    ice__collect_options o = {.grace_us = wh->config.orphans_grace_ms * 1000,
                              .replaced_grace_us = REPLACED_GRACE};
    ice__collected done;
    wh->uncollected = 0;
    return ice__collect_garbage(wh, locker, &o, &done, err);
}

/* A collection waits for who reads by an older catalog: an idle process lets go of it. */
static void follow_collection(ice_warehouse *wh)
{
    ice_error ignored;
    if (ice_log_wanted(wh->log) > atomic_load(&wh->publish_seen))
        (void)!ice__wh_catchup(wh, &ignored);
}

/* A flush nobody waits for the result of: what goes wrong is for the status to say. wait: for another
 * flusher's end. */
static void flush_round(ice_warehouse *wh, ice_locker *locker, bool wait)
{
    ice_error err = {0};
    bool taken = false;
    size_t published;
    if (ice__take_lease(locker, wait, &taken, &err) != ICE_OK || !taken)
        return;
    ice_code rc = flush_once(wh, locker, ICE_STR_NONE, &published, &err);
    if (rc == ICE_OK)
        rc = compact_fragmented(wh, locker, &err);
    ice__release_lease(locker);
    if (rc == ICE_OK && !wait && ++wh->uncollected >= COLLECT_FLUSHES)
        rc = collect_replaced(wh, locker, &err);
    atomic_store(&wh->flush_fails, rc != ICE_OK && rc != ICE_CONFLICT);
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
        if (wh->flusher_stop)
            continue;
        pthread_mutex_unlock(&wh->flusher_mutex);
        follow_collection(wh);
        ice__wh_share_engine(wh);
        if (due(wh))
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
