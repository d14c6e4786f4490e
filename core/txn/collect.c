/* A collection, step by step. What makes each step safe:
 *
 *   1  The flusher's lease: nobody moves a catalog pointer, and nobody writes files for one.
 *   2  The publish count is raised: who reads by this count or a later one reads by the catalog as it is now.
 *   3  With the staging lock alone, so that no process is in the middle of metadata of its own: the listing.
 *   4  Then, not before: tables whose exclusive lock is held. A transaction that lets go of it afterwards has
 * its record in the log, or its files are nobody's. 5  Then, not before: the log from what is published to
 * its end, durable or not. The outcome of a commit may be unknown; what its record names is reachable. 6  The
 * catalog's tables, history and dropped ones too; metadata that processes guard. 7  Unreachable files go once
 * everybody reads by a catalog in which they were unreachable already: now, or the next time. Between the
 * times they are in "collection.json", which is only a memory: without it they wait again.
 *
 * Whatever is unclear, a root that cannot be read above all, ends the collection with nothing deleted. */
#include "txn/collect.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIST_WAIT_US = 10 * 1000 * 1000, PIN_POLL_US = 20 * 1000, MAX_REPLACED = 65536 };
static const uint64_t ledger_max = (uint64_t)64 << 20;

typedef struct run {
    ice_warehouse *wh;
    const ice__collect_options *o;
    ice_locker *locker; /* of this collection alone: its locks are not the session's */
    ice_arena *arena;
    ice_collection *c;
    uint64_t count; /* publish count of now */
    uint64_t reads; /* oldest that anybody reads by */
    uint64_t from, end;
    json_t *ledger; /* object: key of a held file, publish count since when it is unreachable */
    ice__collected *out;
} run;

/* ---- files that this process replaced ---- */

void ice__replaced(void *arg, ice_str location)
{
    ice_warehouse *wh = arg;
    pthread_mutex_lock(&wh->flusher_mutex);
    if (wh->nreplaced < MAX_REPLACED) {
        ice__replaced_file *grown = realloc(wh->replaced, (wh->nreplaced + 1) * sizeof *grown);
        char *copy = grown ? strndup(location.ptr, location.len) : NULL;
        if (grown)
            wh->replaced = grown;
        if (copy)
            wh->replaced[wh->nreplaced++] = (ice__replaced_file){copy, ice_clock_us()};
    }
    pthread_mutex_unlock(&wh->flusher_mutex);
}

/* Takes those out that are old enough. */
static ice_code take_replaced(run *r, ice_error *err)
{
    ice_warehouse *wh = r->wh;
    int64_t before = ice_clock_us() - r->o->replaced_grace_us;
    size_t kept = 0, n = 0;
    ice_code rc = ICE_OK;
    pthread_mutex_lock(&wh->flusher_mutex);
    ice__replaced_file *taken = calloc(wh->nreplaced + 1, sizeof *taken);
    for (size_t i = 0; taken && i < wh->nreplaced; i++)
        if (wh->replaced[i].at <= before && !r->o->dry_run)
            taken[n++] = wh->replaced[i];
        else
            wh->replaced[kept++] = wh->replaced[i];
    wh->nreplaced = taken ? kept : wh->nreplaced;
    pthread_mutex_unlock(&wh->flusher_mutex);
    if (!taken)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        if (rc == ICE_OK)
            rc = ice_collection_replaced(r->c, ice_str_c(taken[i].location), err);
        free(taken[i].location);
    }
    free(taken);
    return rc;
}

/* ---- the ledger ---- */

static ice_code ledger_key(run *r, ice_str *key, ice_error *err)
{
    char *text = ice_arena_printf(r->arena, ".django-iceberg/%s/collection.json", r->wh->config.ns);
    *key = ice_str_c(text);
    return text ? ICE_OK : ice_fail_nomem(err);
}

static void read_last(run *r, const json_t *j)
{
    r->out->last_us = json_integer_value(json_object_get(j, "at"));
    r->out->last_files = (uint64_t)json_integer_value(json_object_get(j, "files"));
    r->out->last_bytes = (uint64_t)json_integer_value(json_object_get(j, "bytes"));
}

/* One that is missing or damaged says nothing. */
static ice_code read_ledger(run *r, ice_error *err)
{
    ice_buf text = {0};
    uint64_t size = 0;
    ice_error unread;
    ice_str key;
    ice_code rc;
    ICE_TRY(ledger_key(r, &key, err));
    ice_store *s = r->wh->store;
    if (s->m->size(s, key, &size, &unread) == ICE_OK && size <= ledger_max &&
        s->m->get(s, key, &text, &unread) == ICE_OK) {
        json_t *j = json_loadb(text.data, text.len, 0, NULL);
        r->ledger = json_incref(json_object_get(j, "held"));
        read_last(r, j);
        json_decref(j);
    }
    if (!json_is_object(r->ledger)) {
        json_decref(r->ledger);
        r->ledger = json_object();
    }
    if (!r->ledger)
        rc = ice_fail_nomem(err);
out:
    ice_buf_free(&text);
    return rc;
}

static ice_code write_ledger(run *r, json_t *held, ice_error *err)
{
    ice_str key;
    char *text = NULL;
    ice_code rc;
    ICE_TRY(ledger_key(r, &key, err));
    json_t *j =
        json_pack("{s:I, s:I, s:I, s:O}", "at", (json_int_t)r->out->last_us, "files",
                  (json_int_t)r->out->last_files, "bytes", (json_int_t)r->out->last_bytes, "held", held);
    text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(j);
    if (!text)
        return ice_fail_nomem(err);
    ICE_TRY(r->wh->store->m->put(r->wh->store, key, ice_str_c(text), err));
out:
    free(text);
    return rc;
}

/* Since when the file is unreachable; now, where it was not yet. */
static uint64_t unreachable_since(const run *r, ice_str key)
{
    const json_t *since = json_object_get(r->ledger, key.ptr);
    uint64_t count = json_is_integer(since) ? (uint64_t)json_integer_value(since) : r->count;
    return count < r->count ? count : r->count;
}

static bool held(void *arg, ice_str key)
{
    const run *r = arg;
    return r->reads < unreachable_since(r, key);
}

typedef struct holding {
    run *r;
    json_t *held;
} holding;

/* Every unreachable file is remembered, so that it need not wait anew when its grace is over. */
static void remember(void *arg, ice_str key, uint64_t bytes, ice_file_kind kind)
{
    holding *h = arg;
    if (kind == ICE_FILE_CACHE)
        return;
    json_object_set_new(h->held, key.ptr, json_integer((json_int_t)unreachable_since(h->r, key)));
    h->r->out->held_files++;
    h->r->out->held_bytes += bytes;
}

static void forget(void *arg, ice_str key, uint64_t bytes, ice_file_kind kind)
{
    holding *h = arg;
    if (kind == ICE_FILE_CACHE)
        return;
    json_object_del(h->held, key.ptr);
    h->r->out->held_files--;
    h->r->out->held_bytes -= bytes;
}

/* ---- roots ---- */

static ice_code keep_key(void *arg, ice_str key, ice_error *err)
{
    return ice_collection_keep(arg, key, err);
}

static ice_code log_roots(run *r, ice_error *err)
{
    ice_log_cursor *cursor = NULL;
    ice_log_record rec;
    bool found = true;
    ice_code rc;
    ICE_TRY(ice_log_cursor_open(r->wh->log, r->from, &cursor, err));
    while (found) {
        ICE_TRY(ice_log_read(cursor, r->end, &rec, &found, err));
        if (found)
            ICE_TRY(ice__record_files(rec.body, keep_key, r->c, err));
    }
out:
    ice_log_cursor_close(cursor);
    return rc;
}

static ice_code catalog_roots(run *r, ice_error *err)
{
    ice_catalog_entry *list = NULL;
    size_t n = 0;
    ice_code rc;
    ICE_TRY(ice_catalog_list(r->wh->catalog, r->arena, &list, &n, err));
    for (size_t i = 0; i < n; i++) {
        rc = list[i].view ? ice_collection_view(r->c, list[i].metadata_location, err)
                          : ice_collection_root(r->c, list[i].metadata_location, err);
        if (rc != ICE_OK) {
            ice_error_prefix(err, "collecting nothing: table %.*s", ICE_PRI(list[i].name));
            return rc;
        }
    }
out:
    return rc;
}

/* ---- steps ---- */

static ice_code tables_in_use(run *r, ice_error *err)
{
    const ice_uuid *tables;
    size_t n = ice_collection_tables(r->c, &tables);
    for (size_t i = 0; i < n; i++) {
        size_t mark = ice_lock_mark(r->locker);
        ice_code rc =
            ice_lock(r->locker, ice__lock_table(tables[i]), ICE_LOCK_SHARED, 0, NULL, NULL, NULL, err);
        if (rc == ICE_LOCK_TIMEOUT || rc == ICE_DEADLOCK)
            ice_collection_in_use(r->c, tables[i]);
        else if (rc != ICE_OK)
            return rc;
        ice_unlock_to(r->locker, mark);
    }
    return ICE_OK;
}

static ice_code list_files(run *r, ice_error *err)
{
    ice_log_state st;
    ice_code rc =
        ice_lock(r->locker, ICE__STAGING_LOCK, ICE_LOCK_EXCLUSIVE, LIST_WAIT_US, NULL, NULL, NULL, err);
    if (rc != ICE_OK)
        return rc;
    ICE_TRY(ice_collection_begin(&r->wh->env, &r->c, err));
    ICE_TRY(tables_in_use(r, err));
    ice_log_get_state(r->wh->log, &st);
    r->from = st.trimmed;
    r->end = st.end;
out:
    ice_unlock_all(r->locker);
    return rc;
}

static void tell(const run *r, const char *what, double done)
{
    if (r->o->progress)
        r->o->progress(r->o->arg, what, done);
}

static ice_code find_garbage(run *r, ice_error *err)
{
    ice_code rc;
    ICE_TRY(list_files(r, err));
    tell(r, "listed", 1);
    ICE_TRY(log_roots(r, err));
    ICE_TRY(catalog_roots(r, err));
    ICE_TRY(ice_collection_guarded(r->c, err));
    ICE_TRY(take_replaced(r, err));
    ice_collection_decide(r->c, r->o->grace_us);
    tell(r, "followed", 1);
out:
    return rc;
}

static void wait_for_readers(run *r)
{
    int64_t until = ice_clock_us() + r->o->wait_us;
    while ((r->reads = ice_log_reads(r->wh->log)) < r->count && ice_clock_us() < until)
        ice_sleep_us(PIN_POLL_US);
}

static ice_code remove_garbage(run *r, ice_error *err)
{
    holding h = {r, json_object()};
    ice_code rc = h.held ? ICE_OK : ice_fail_nomem(err);
    if (rc != ICE_OK)
        return rc;
    wait_for_readers(r);
    ICE_TRY(ice_collection_hold(r->c, held, r, err));
    ice_collection_each(r->c, false, remember, &h);
    if (!r->o->dry_run) {
        ICE_TRY(ice_collection_remove(r->c, r->o->progress, r->o->arg, err));
        ice_collection_each(r->c, true, forget, &h);
        ice_collection_sums_get(r->c, &r->out->sums);
        r->out->last_us = ice_clock_us();
        r->out->last_files = r->out->last_bytes = 0;
        for (int k = 0; k < ICE_FILE_KINDS; k++) {
            r->out->last_files += r->out->sums.removed[k].files;
            r->out->last_bytes += r->out->sums.removed[k].bytes;
        }
        ICE_TRY(write_ledger(r, h.held, err));
    }
    ice_collection_sums_get(r->c, &r->out->sums);
out:
    json_decref(h.held);
    return rc;
}

static ice_code collect_with_lease(run *r, ice_error *err)
{
    ice_log_state st;
    ice_code rc;
    ICE_TRY(read_ledger(r, err));
    ice_log_published(r->wh->log);
    ice_log_get_state(r->wh->log, &st);
    r->count = st.publish_count;
    ice_log_want(r->wh->log, r->count);
    ICE_TRY(ice__wh_catchup(r->wh, err));
    ICE_TRY(find_garbage(r, err));
    ICE_TRY(remove_garbage(r, err));
out:
    return rc;
}

ice_code ice__collect_garbage(ice_warehouse *wh, ice_locker *locker, const ice__collect_options *o,
                              ice__collected *out, ice_error *err)
{
    run r = {.wh = wh, .o = o, .out = out};
    bool taken = false;
    ice_code rc;
    *out = (ice__collected){0};
    if (wh->config.read_only && !o->dry_run)
        return ice_fail(err, ICE_READ_ONLY, "the warehouse is open for reading only");
    if (!(r.arena = ice_arena_create()))
        return ice_fail_nomem(err);
    ICE_TRY(ice__take_lease(locker, true, &taken, err));
    ICE_TRY(ice_locker_open(wh->log, &r.locker, err));
    ICE_TRY(collect_with_lease(&r, err));
out:
    if (r.locker)
        ice_locker_close(r.locker);
    if (taken)
        ice__release_lease(locker);
    json_decref(r.ledger);
    ice_collection_free(r.c);
    ice_arena_free(r.arena);
    return rc;
}
