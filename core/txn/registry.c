#include <stdlib.h>

#include "txn/txn_int.h"

static char *copy_str(ice_str s)
{
    if (!s.ptr)
        return NULL;
    char *c = malloc(s.len + 1);
    if (c) {
        memcpy(c, s.ptr, s.len);
        c[s.len] = 0;
    }
    return c;
}

ice__entry *ice__entry_create(ice_uuid id, ice_str name, ice_str catalog_name, ice_str location,
                              ice_tabstate *state)
{
    ice__entry *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    atomic_init(&e->refs, 1);
    e->uuid = id;
    e->name = copy_str(name);
    e->catalog_name = copy_str(catalog_name);
    e->location = copy_str(location);
    atomic_init(&e->state, state);
    e->view = state && ice_tabledef_is_view(state->def);
    ice_uuid own;
    e->foreign = location.ptr && !ice_location_uuid(location, &own);
    if (!e->name || (catalog_name.ptr && !e->catalog_name) || (location.ptr && !e->location)) {
        atomic_store(&e->state, NULL); /* stays the caller's */
        ice__entry_unref(e);
        return NULL;
    }
    return e;
}

ice__entry *ice__entry_ref(ice__entry *e)
{
    atomic_fetch_add(&e->refs, 1);
    return e;
}

void ice__entry_unref(ice__entry *e)
{
    if (!e || atomic_fetch_sub(&e->refs, 1) != 1)
        return;
    ice_tabstate *state = atomic_load(&e->state);
    if (state)
        ice_tabstate_unref(state);
    for (size_t i = 0; i < e->nstaged; i++) {
        free(e->staged[i].key);
        free(e->staged[i].json);
    }
    free(e->staged);
    free(e->name);
    free(e->catalog_name);
    free(e->location);
    free(e->unreadable);
    free(e);
}

ice_code ice__entry_add_staged(ice__entry *e, const ice_staged_file *f, ice_error *err)
{
    ice__staged *grown = realloc(e->staged, (e->nstaged + 1) * sizeof *grown);
    if (!grown)
        return ice_fail_nomem(err);
    e->staged = grown;
    ice__staged *s = &grown[e->nstaged];
    *s = (ice__staged){.file = *f, .key = copy_str(f->key), .json = copy_str(f->data_file_json)};
    s->file.key.ptr = s->key;
    s->file.data_file_json.ptr = s->json;
    e->nstaged++;
    return s->key && s->json ? ICE_OK : ice_fail_nomem(err);
}

ice_code ice__entry_take_staged(ice__entry *e, const ice__entry *from, int64_t since, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && from && i < from->nstaged; i++)
        if (from->staged[i].file.commit_time > since)
            rc = ice__entry_add_staged(e, &from->staged[i].file, err);
    return rc;
}

ice__registry *ice__registry_ref(ice__registry *r)
{
    atomic_fetch_add(&r->refs, 1);
    return r;
}

void ice__registry_unref(ice__registry *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    ice__registry_delist(r);
    for (size_t i = 0; i < r->n; i++)
        ice__entry_unref(r->entries[i]);
    free(r->entries);
    free(r);
}

static ice__registry *with_room(ice__pins *pins, uint64_t reads, size_t cap)
{
    static _Atomic uint64_t versions;
    ice__registry *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    atomic_init(&r->refs, 1);
    r->version = atomic_fetch_add(&versions, 1) + 1;
    r->cap = cap;
    if (!(r->entries = calloc(cap, sizeof *r->entries))) {
        free(r);
        return NULL;
    }
    r->reads = reads;
    ice__registry_enlist(r, pins);
    return r;
}

ice__registry *ice__registry_create(ice__pins *pins, uint64_t reads)
{
    return with_room(pins, reads, 8);
}

ice__registry *ice__registry_copy(const ice__registry *r)
{
    ice__registry *c = with_room(r->pins, r->reads, r->n + 8);
    for (size_t i = 0; c && i < r->n; i++)
        c->entries[c->n++] = ice__entry_ref(r->entries[i]);
    return c;
}

/* First entry whose name is not less. */
static size_t lower_bound(const ice__registry *r, ice_str name)
{
    size_t lo = 0, hi = r->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (ice_str_cmp(ice_str_c(r->entries[mid]->name), name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

ice__entry *ice__registry_find(const ice__registry *r, ice_str name)
{
    size_t i = lower_bound(r, name);
    return i < r->n && ice_str_eqc(name, r->entries[i]->name) ? r->entries[i] : NULL;
}

ice__entry *ice__registry_find_uuid(const ice__registry *r, ice_uuid id)
{
    for (size_t i = 0; i < r->n; i++)
        if (ice_uuid_eq(r->entries[i]->uuid, id))
            return r->entries[i];
    return NULL;
}

void ice__registry_remove(ice__registry *r, ice_uuid id)
{
    for (size_t i = 0; i < r->n; i++)
        if (ice_uuid_eq(r->entries[i]->uuid, id)) {
            ice__entry_unref(r->entries[i]);
            memmove(r->entries + i, r->entries + i + 1, (r->n - i - 1) * sizeof *r->entries);
            r->n--;
            return;
        }
}

ice_code ice__registry_put(ice__registry *r, ice__entry *e, ice_error *err)
{
    if (r->n == r->cap) {
        ice__entry **grown = realloc(r->entries, r->cap * 2 * sizeof *grown);
        if (!grown) {
            ice__entry_unref(e);
            return ice_fail_nomem(err);
        }
        r->entries = grown;
        r->cap *= 2;
    }
    ice__registry_remove(r, e->uuid);
    size_t i = lower_bound(r, ice_str_c(e->name));
    memmove(r->entries + i + 1, r->entries + i, (r->n - i) * sizeof *r->entries);
    r->entries[i] = e;
    r->n++;
    return ICE_OK;
}
