/* Keeping up: applying durable records of the log to the tails, and following published snapshots. */
#include <stdlib.h>

#include "txn/txn_int.h"

static bool is_dropped(const ice_warehouse *wh, ice_uuid id)
{
    for (size_t i = 0; i < wh->ndropped; i++)
        if (ice_uuid_eq(wh->dropped[i].uuid, id))
            return true;
    return false;
}

bool ice__wh_dropped(ice_warehouse *wh, ice_uuid id, int64_t *at)
{
    bool dropped = false;
    pthread_mutex_lock(&wh->apply);
    for (size_t i = 0; i < wh->ndropped && !dropped; i++)
        if ((dropped = ice_uuid_eq(wh->dropped[i].uuid, id)))
            *at = wh->dropped[i].at;
    pthread_mutex_unlock(&wh->apply);
    return dropped;
}

/* ---- the catalog ---- */

ice_uuid ice__entry_uuid(const ice_catalog_entry *e)
{
    ice_uuid id;
    if (ice_location_uuid(e->metadata_location, &id))
        return id;
    ice_str at = e->metadata_location;
    uint64_t name = ice_hash64(e->name.ptr, e->name.len, 1);
    uint64_t h[2] = {ice_hash64(at.ptr, at.len, name), ice_hash64(at.ptr, at.len, ~name)};
    memcpy(id.b, h, 16);
    return id;
}

static bool is_history_name(ice_str name)
{
    ice_str suffix = ICE_STR("__history");
    return name.len > suffix.len && memcmp(name.ptr + name.len - suffix.len, suffix.ptr, suffix.len) == 0;
}

bool ice__is_dropped_name(ice_str name, int64_t *at)
{
    ice_str mark = ICE_STR(ICE_DROPPED_MARK);
    size_t digits = 0;
    *at = 0;
    while (digits < 16 && digits < name.len && name.ptr[name.len - 1 - digits] >= '0' &&
           name.ptr[name.len - 1 - digits] <= '9')
        digits++;
    if (digits < 16 || name.len <= mark.len + 16 ||
        memcmp(name.ptr + name.len - 16 - mark.len, mark.ptr, mark.len) != 0)
        return false;
    for (size_t i = name.len - 16; i < name.len; i++)
        *at = *at * 10 + (name.ptr[i] - '0');
    return true;
}

/* Views of other programs say nothing to us. */
static bool is_listed(const ice_catalog_entry *e)
{
    ice_uuid id;
    return !ice__is_hidden_name(e->name) && (!e->view || ice_location_uuid(e->metadata_location, &id));
}

bool ice__is_hidden_name(ice_str name)
{
    int64_t at;
    return is_history_name(name) || ice__is_dropped_name(name, &at);
}

ice_code ice__wh_list_catalog(ice_warehouse *wh, ice__registry *reg, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_catalog_entry *list_ = NULL;
    size_t n = 0;
    ice_code rc = a ? ice_catalog_list(wh->catalog, a, &list_, &n, err) : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        if (!is_listed(&list_[i]))
            continue;
        ice__entry *e = ice__entry_create(ice__entry_uuid(&list_[i]), list_[i].name, list_[i].name,
                                          list_[i].metadata_location, NULL);
        if (e) {
            e->view = list_[i].view;
            e->flushed = list_[i].flushed;
        }
        rc = e ? ice__registry_put(reg, e, err) : ice_fail_nomem(err);
    }
    ice_arena_free(a);
    return rc;
}

/* ---- tables that cannot be read ---- */

/* Is it the table's fault? A file that is not there may have been collected since the catalog was read. */
static bool is_damage(const ice_warehouse *wh, ice_code rc)
{
    if (rc == ICE_NOT_FOUND)
        return wh->starting_over;
    return rc != ICE_OK && rc != ICE_NOMEM && rc != ICE_CANCELED && rc != ICE_MISUSE && rc != ICE_INTERNAL;
}

/* The table's entry, without a state, tells everybody who asks why; other tables go on. */
static ice_code set_aside(ice__registry *reg, const ice__entry *from, ice_str name, ice_str catalog_name,
                          ice_str location, const ice_error *why, ice_error *err)
{
    ice__entry *e = ice__entry_create(from->uuid, name, catalog_name, location, NULL);
    if (!e || !(e->unreadable = malloc(sizeof *why))) {
        ice__entry_unref(e);
        return ice_fail_nomem(err);
    }
    *e->unreadable = *why;
    e->view = from->view;
    return ice__registry_put(reg, e, err);
}

/* Can a table that was set aside be read again? */
static bool mended(ice_warehouse *wh)
{
    bool can = false;
    for (size_t i = 0; i < wh->registry->n && !can; i++) {
        const ice__entry *e = wh->registry->entries[i];
        ice_tabstate *s = NULL;
        ice_error ignored;
        if ((can = e->unreadable && ice__wh_load(wh, e, &s, &ignored) == ICE_OK))
            ice_tabstate_unref(s);
    }
    return can;
}

/* ---- following published snapshots ---- */

/* Puts staged files committed after what `*p` holds into it. */
static ice_code stage_again(ice_warehouse *wh, const ice__entry *from, const ice_tabledef *def,
                            ice_published **p, ice_error *err)
{
    ice_staged_file *files = calloc(from->nstaged + 1, sizeof *files);
    ice_published *staged = NULL;
    size_t n = 0;
    ice_code rc = files ? ICE_OK : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < from->nstaged; i++)
        if (from->staged[i].file.commit_time > ice_published_flushed(*p))
            files[n++] = from->staged[i].file;
    if (rc == ICE_OK && n > 0 &&
        (rc = ice_published_stage(&wh->env, *p, def, files, n, &staged, err)) == ICE_OK) {
        ice_published_unref(*p);
        *p = staged;
    }
    free(files);
    return rc;
}

/* The state an entry gets when its table's pointer moved to `location`: the new snapshot, and the tail
 * without what it holds. A definition the snapshot has not seen yet (changed in the tail) stays. */
static ice_code republished(ice_warehouse *wh, const ice__entry *from, const ice_tabstate *old,
                            ice_str location, int64_t *flushed, ice_tabstate **out, ice_error *err)
{
    ice_published *p = NULL;
    ice_tail *tail = NULL;
    ice_tabledef *def = NULL;
    ice_code rc;
    ICE_TRY(ice_published_load(&wh->env, location, &p, err));
    *flushed = ice_published_flushed(p);
    ICE_TRY(ice_tail_trim(old->tail, *flushed, &tail, err));
    ICE_TRY(stage_again(wh, from, old->def, &p, err));
    if (!(def = ice_tabledef_clone(old->def, false))) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    ICE_TRY(ice_tabstate_create(def, p, tail, (ice_tabstate *)old, out, err));
    if ((rc = ice_tabstate_inherit(*out, old, *flushed, err)) != ICE_OK)
        ice_tabstate_unref(*out);
    return rc;
out:
    ice_tabledef_free(def);
    ice_published_unref(p);
    ice_tail_unref(tail);
    return rc;
}

static ice_code refresh_entry(ice_warehouse *wh, ice__registry *reg, const ice_catalog_entry *ce,
                              ice_error *err)
{
    ice_uuid id = ice__entry_uuid(ce);
    ice__entry *old = ice__registry_find_uuid(reg, id);
    if (old && old->location && ice_str_eqc(ce->metadata_location, old->location) &&
        ice_str_eqc(ce->name, old->catalog_name))
        return ICE_OK;
    if (old && old->unreadable)
        return ice_fail(err, ICE_NOT_FOUND, "table %s was published anew", old->name);
    ice_tabstate *state = old ? atomic_load(&old->state) : NULL, *fresh = NULL;
    int64_t flushed = 0;
    ice_str name = old && old->location == NULL ? ice_str_c(old->name) : ce->name;
    if (old && old->catalog_name && strcmp(old->name, old->catalog_name) != 0)
        name = ice_str_c(old->name); /* renamed in the tail, not published yet */
    if (state && ce->view) {
        fresh = ice_tabstate_ref(state); /* the log's definition: what is published is not newer */
    } else if (state) {
        ice_error why = {0};
        ice_code rc = republished(wh, old, state, ce->metadata_location, &flushed, &fresh, &why);
        if (is_damage(wh, rc)) {
            ice_error_prefix(&why, "table %s", old->name);
            return set_aside(reg, old, name, ce->name, ce->metadata_location, &why, err);
        }
        if (rc != ICE_OK) {
            *err = why;
            return rc;
        }
    }
    ice__entry *e = ice__entry_create(id, name, ce->name, ce->metadata_location, fresh);
    if (!e) {
        if (fresh)
            ice_tabstate_unref(fresh);
        return ice_fail_nomem(err);
    }
    e->view = ce->view;
    e->flushed = ce->flushed;
    ice_code rc = ice__entry_take_staged(e, old, flushed, err);
    if (rc != ICE_OK) {
        ice__entry_unref(e);
        return rc;
    }
    return ice__registry_put(reg, e, err);
}

/* ---- applying records ---- */

/* The registry being made by the records applied now; shared by ice__wh_catchup's end. */
static ice_code building(ice_warehouse *wh, ice_error *err)
{
    if (!wh->building && !(wh->building = ice__registry_copy(wh->registry)))
        return ice_fail_nomem(err);
    return ICE_OK;
}

static const ice__registry *newest(const ice_warehouse *wh)
{
    return wh->building ? wh->building : wh->registry;
}

static bool same_keys(const ice_tabstate *s, const ice_tabledef *def, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_keys k;
    bool same = a && ice_keys_of(def, a, &k, err) == ICE_OK && k.n == s->keys.n;
    for (size_t i = 0; same && i < k.n; i++) {
        same = k.keys[i].ncols == s->keys.keys[i].ncols && k.keys[i].unique == s->keys.keys[i].unique &&
               k.keys[i].deferrable == s->keys.keys[i].deferrable &&
               k.keys[i].nulls_not_distinct == s->keys.keys[i].nulls_not_distinct;
        for (size_t c = 0; same && c < k.keys[i].ncols; c++)
            same = def->cols[k.keys[i].cols[c]].field_id == s->def->cols[s->keys.keys[i].cols[c]].field_id;
    }
    ice_arena_free(a);
    return same;
}

ice_code ice__state_with_def(ice_tabstate *old, ice_tabledef *def, bool committed, ice_tabstate **out,
                             ice_error *err)
{
    ice_tail *tail = NULL;
    ice_code rc = ICE_OK;
    /* Readers of the old state number keys by the old definition: with other keys the tail is copied. */
    bool same = same_keys(old, def, err);
    if (same)
        tail = ice_tail_ref(old->tail);
    else
        rc = ice_tail_trim(old->tail, old->flushed, &tail, err);
    if (rc == ICE_OK && (committed || !same))
        rc = ice_tail_set_def(tail, def, err);
    ice_published *p = old->published ? ice_published_ref(old->published) : NULL;
    if (rc == ICE_OK)
        rc = ice_tabstate_create(def, p, tail, old, out, err);
    if (rc != ICE_OK) {
        ice_published_unref(p);
        ice_tail_unref(tail);
        ice_tabledef_free(def);
    } else if ((rc = ice_tabstate_inherit(*out, old, INT64_MIN, err)) != ICE_OK) {
        ice_tabstate_unref(*out);
    }
    return rc;
}

ice_code ice__state_as_of(ice_tabstate *now, int64_t at, ice_tabstate **out, ice_error *err)
{
    ice_tabledef *def;
    ice_code rc = ice_tabledef_as_of(now->def, at, &def, err);
    if (rc != ICE_OK || !def) {
        *out = ice_tabstate_ref(now);
        return rc;
    }
    ice_published *p = now->published ? ice_published_ref(now->published) : NULL;
    if ((rc = ice_tabstate_create(def, p, NULL, NULL, out, err)) != ICE_OK) {
        ice_published_unref(p);
        ice_tabledef_free(def);
    } else if ((rc = ice_tabstate_inherit(*out, now, INT64_MIN, err)) != ICE_OK) {
        ice_tabstate_unref(*out);
    }
    return rc;
}

static ice_code put_state(ice_warehouse *wh, ice_uuid id, ice_str name, const ice__entry *old,
                          ice_tabstate *state, const ice_staged_file *staged, ice_error *err)
{
    ice__entry *e = ice__entry_create(id, name, ice_str_c(old ? old->catalog_name : NULL),
                                      ice_str_c(old ? old->location : NULL), state);
    if (!e) {
        ice_tabstate_unref(state);
        return ice_fail_nomem(err);
    }
    ice_code rc = ice__entry_take_staged(e, old, INT64_MIN, err);
    if (rc == ICE_OK && staged)
        rc = ice__entry_add_staged(e, staged, err);
    if (rc != ICE_OK) {
        ice__entry_unref(e);
        return rc;
    }
    return ice__registry_put(wh->building, e, err);
}

/* What was ended is known by the key: whoever changed the key had a flush take it first (ddl_key.c), and before
 * a type changes it takes all there is (ddl_retype.c). This process has not seen that yet: it starts over from
 * the catalog. */
static bool changes_early(const ice_tabstate *old, const ice_tabledef *def, bool retyped)
{
    ice_tail_counts counts;
    const ice_constraint *was = ice_tabledef_primary(old->def), *now = ice_tabledef_primary(def);
    bool same = was && now && was->ncols == now->ncols &&
                memcmp(was->field_ids, now->field_ids, now->ncols * sizeof *now->field_ids) == 0;
    ice_tail_counts_get(old->tail, &counts);
    return (!same && counts.tombstones > 0) || (retyped && counts.versions + counts.tombstones > 0);
}

/* What the record being applied says something of. *skip: it is published, or the table cannot be read. What is
 * published needs no state: a table that nobody asks for is not loaded. */
static ice_code state_to_change(ice_warehouse *wh, ice__entry *e, ice_tabstate **out, bool *skip, ice_error *err)
{
    ice_error why = {0};
    *out = atomic_load(&e->state);
    *skip = *out ? (*out)->flushed >= wh->applying : e->unreadable || e->flushed >= wh->applying;
    if (*out || *skip)
        return ICE_OK;
    ice_code rc = ice__wh_state(wh, e, out, &why);
    if (rc == ICE_OK) {
        *skip = (*out)->flushed >= wh->applying;
        return ICE_OK;
    }
    *skip = true;
    if (!is_damage(wh, rc)) {
        *err = why;
        return rc;
    }
    if ((rc = building(wh, err)) == ICE_OK)
        rc = set_aside(wh->building, e, ice_str_c(e->name), ice_str_c(e->catalog_name), ice_str_c(e->location),
                       &why, err);
    return rc;
}

static ice_code apply_def(void *arg, ice_tabledef *def, ice_error *err)
{
    ice_warehouse *wh = arg;
    ice_tabstate *state = NULL, *old_state = NULL;
    bool skip = false;
    ice_code rc = building(wh, err);
    ice__entry *old = rc == ICE_OK ? ice__registry_find_uuid(wh->building, def->uuid) : NULL;
    if (old)
        rc = state_to_change(wh, old, &old_state, &skip, err);
    /* A view's definitions are not in a snapshot of some time: their numbers tell which is newer. */
    skip |= old_state && ice_tabledef_is_view(def) && old_state->def->schema_id >= def->schema_id;
    if (rc != ICE_OK || skip) {
        ice_tabledef_free(def);
        return rc;
    }
    wh->applied_some = true;
    bool retyped = ice_tabledef_committed(def, wh->applying);
    if (old_state && changes_early(old_state, def, retyped)) {
        ice_tabledef_free(def);
        return ice_fail(err, ICE_NOT_FOUND, "table \"%.*s\" has other columns or keys since its last flush",
                        ICE_PRI(old_state->def->name));
    }
    if (old_state)
        rc = ice__state_with_def(old_state, def, true, &state, err);
    else if ((rc = ice_tabstate_create(def, NULL, NULL, NULL, &state, err)) != ICE_OK)
        ice_tabledef_free(def);
    if (rc != ICE_OK)
        return rc;
    ice__entry *hold = old ? ice__entry_ref(old) : NULL;
    rc = put_state(wh, state->def->uuid, state->def->name, hold, state, NULL, err);
    ice__entry_unref(hold);
    return rc;
}

static ice_code apply_drop(void *arg, ice_uuid id, ice_error *err)
{
    ice_warehouse *wh = arg;
    ice_code rc = building(wh, err);
    if (rc != ICE_OK)
        return rc;
    ice__entry *e = ice__registry_find_uuid(wh->building, id);
    wh->applied_some |= e != NULL;
    /* Also of a table the catalog does not have: a flush may be about to publish it. */
    if (e && !is_dropped(wh, id)) {
        ice__dropped *grown = realloc(wh->dropped, (wh->ndropped + 1) * sizeof *grown);
        if (!grown)
            return ice_fail_nomem(err);
        wh->dropped = grown;
        wh->dropped[wh->ndropped++] = (ice__dropped){id, wh->applying};
    }
    ice__registry_remove(wh->building, id);
    return ICE_OK;
}

static ice_code apply_table(void *arg, ice_uuid id, void **handle, const ice_tabledef **def,
                            const ice_keys **keys, bool *skip, ice_error *err)
{
    ice_warehouse *wh = arg;
    ice_tabstate *state = NULL;
    ice__entry *e = ice__registry_find_uuid(newest(wh), id);
    if (!e) { /* dropped later in the log, and the drop is published */
        *skip = true;
        return ICE_OK;
    }
    ice_code rc = state_to_change(wh, e, &state, skip, err);
    if (rc != ICE_OK || *skip)
        return rc;
    *handle = state;
    *def = state->def;
    *keys = &state->keys;
    wh->applied_some = true;
    return ICE_OK;
}

static ice_code apply_insert(void *arg, void *handle, const ice_value *row, ice_row_op op, ice_error *err)
{
    ice_warehouse *wh = arg;
    return ice_tail_insert(((ice_tabstate *)handle)->tail, row, wh->applying, op, NULL, err);
}

static ice_code apply_end(void *arg, void *handle, const ice_value *key, int64_t base_start, ice_row_op op,
                          ice_error *err)
{
    ice_warehouse *wh = arg;
    return ice_tail_end(((ice_tabstate *)handle)->tail, key, base_start, wh->applying, op, NULL, err);
}

/* What a bulk statement did: the table gets another state. Handles of the record go on naming the old one,
 * whose tail is the same. */
static ice_code apply_bulk(ice_warehouse *wh, const ice_tabstate *handle, const ice_bulk *b, ice_error *err)
{
    ice_tabstate *fresh = NULL;
    ice_code rc = building(wh, err);
    ice__entry *e = rc == ICE_OK ? ice__registry_find_uuid(wh->building, handle->def->uuid) : NULL;
    if (!e || !atomic_load(&e->state)) /* dropped, or set aside meanwhile */
        return rc;
    if ((rc = ice_tabstate_bulk(&wh->env, atomic_load(&e->state), b, &fresh, err)) != ICE_OK)
        return rc;
    ice__entry_ref(e);
    rc = put_state(wh, fresh->def->uuid, ice_str_c(e->name), e, fresh, b->nfiles ? b->files : NULL, err);
    ice__entry_unref(e);
    return rc;
}

static ice_code apply_staged(void *arg, void *handle, const ice_staged_file *f, ice_error *err)
{
    ice_warehouse *wh = arg;
    ice_staged_file file = *f;
    file.commit_time = wh->applying;
    return apply_bulk(wh, handle, &(ice_bulk){.nfiles = 1, .files = &file}, err);
}

/* A bulk statement counts on what was published before it, which this process may not have followed yet. *gone:
 * the record's part is published as well, or the table was dropped later on. */
static ice_code follow_table(ice_warehouse *wh, ice_tabstate *handle, bool *gone, ice_error *err)
{
    ice_uuid table = handle->def->uuid;
    ice_arena *a = ice_arena_create();
    ice_catalog_entry *entries = NULL;
    size_t n = 0;
    bool found = false;
    ice_tabstate **held = realloc(wh->held, (wh->nheld + 1) * sizeof *held);
    ice_code rc = a && held ? ice_catalog_list(wh->catalog, a, &entries, &n, err) : ice_fail_nomem(err);
    wh->held = held ? held : wh->held;
    if (held)
        held[wh->nheld++] = ice_tabstate_ref(handle);
    wh->ahead = true;
    for (size_t i = 0; rc == ICE_OK && i < n && !found; i++)
        if (!ice__is_hidden_name(entries[i].name) && ice_uuid_eq(ice__entry_uuid(&entries[i]), table)) {
            rc = refresh_entry(wh, wh->building, &entries[i], err);
            found = true;
        }
    ice__entry *e = rc == ICE_OK && found ? ice__registry_find_uuid(wh->building, table) : NULL;
    ice_tabstate *now = e ? atomic_load(&e->state) : NULL; /* none: it was set aside */
    *gone = !now || now->flushed >= wh->applying;
    ice_arena_free(a);
    return rc;
}

static ice_code apply_ended(void *arg, void *handle, ice_row_op op, ice_str file, struct ice_dv *rows,
                            ice_error *err)
{
    ice_warehouse *wh = arg;
    ice_ended *e = NULL;
    ice_uuid table = ((ice_tabstate *)handle)->def->uuid;
    bool gone = false;
    ice_code rc = ice_ended_create(file, op, wh->applying, rows, &e, err);
    if (rc == ICE_OK)
        rc = building(wh, err);
    ice__entry *now = rc == ICE_OK ? ice__registry_find_uuid(wh->building, table) : NULL;
    ice_tabstate *state = now ? atomic_load(&now->state) : NULL;
    if (state && !ice_tabstate_has_file(state, file))
        rc = follow_table(wh, handle, &gone, err);
    if (rc == ICE_OK && !gone)
        rc = apply_bulk(wh, handle, &(ice_bulk){.nended = 1, .ended = &e}, err);
    ice_ended_unref(e);
    return rc;
}

static void apply_sequence(void *arg, uint64_t name, int64_t value)
{
    ice_warehouse *wh = arg;
    ice_error ignored;
    /* A sequence that cannot be raised now is raised by the values themselves when it is next asked. */
    if (ice_log_sequence_bump(wh->log, name, value, &ignored) != ICE_OK)
        return;
}

static const ice_record_sink apply_sink = {apply_def, apply_drop,   apply_table,   apply_insert,
                                           apply_end, apply_staged, apply_ended, apply_sequence};

static void share(ice_warehouse *wh, int64_t commit, uint64_t position)
{
    ice__registry *old = NULL;
    pthread_mutex_lock(&wh->reg);
    if (wh->building) {
        bool aside = false;
        for (size_t i = 0; i < wh->building->n && !aside; i++)
            aside = wh->building->entries[i]->unreadable != NULL;
        atomic_store(&wh->set_aside, aside);
        old = wh->registry;
        wh->registry = wh->building;
        wh->building = NULL;
    }
    if (commit > wh->applied)
        wh->applied = commit;
    pthread_mutex_unlock(&wh->reg);
    ice__registry_unref(old);
    atomic_store_explicit(&wh->applied_position, position, memory_order_release);
}

/* What the records applied now had come to is not to be seen. */
static void discard(ice_warehouse *wh)
{
    ice__registry_unref(wh->building);
    wh->building = NULL;
}

static ice_code apply_record(ice_warehouse *wh, const ice_log_record *rec, ice_error *err)
{
    wh->applying = rec->commit_time;
    wh->applied_some = false;
    ice_code rc = ice__record_read(rec->body, &apply_sink, wh, err);
    while (wh->nheld > 0)
        ice_tabstate_unref(wh->held[--wh->nheld]);
    if (rc != ICE_OK) {
        ice_error_prefix(err, "log record at %llu", (unsigned long long)rec->position);
        return rc;
    }
    if (!wh->applied_some)
        return ICE_OK;
    if (!atomic_load(&wh->oldest_unflushed))
        atomic_store(&wh->oldest_unflushed, rec->commit_time);
    atomic_fetch_add(&wh->unflushed_bytes, rec->body.len);
    return ICE_OK;
}

/* Applies the log from `position` up to `upto` and shares what it comes to: all of it, or after a failure
 * nothing. Then the tails, which are those of the registry that stays, hold rows at times that no view has:
 * nothing more is put on top of them (`torn`). A table whose published state was followed ahead of the log
 * (follow_table) has the log followed as far. */
static ice_code apply_records(ice_warehouse *wh, uint64_t position, uint64_t upto, ice_error *err)
{
    ice_log_record rec;
    int64_t commit = 0;
    bool found = true;
    ice_code rc = ICE_OK;
    while (rc == ICE_OK && found && (position < upto || wh->ahead)) {
        if (wh->ahead) {
            ice_log_state now;
            ice_log_get_state(wh->log, &now);
            upto = now.durable;
            wh->ahead = false;
        } else if ((rc = ice_log_read(wh->cursor, upto, &rec, &found, err)) == ICE_OK && found &&
                   (rc = apply_record(wh, &rec, err)) == ICE_OK) {
            commit = rec.commit_time;
            position = rec.end;
        }
    }
    wh->ahead = false;
    if (rc == ICE_OK) {
        share(wh, commit, position);
    } else {
        discard(wh);
        atomic_store(&wh->torn, true);
    }
    return rc;
}

/* Time of the oldest bulk statement that no snapshot holds; 0: none. */
static int64_t oldest_bulk(const ice__entry *e, const ice_tabstate *state)
{
    int64_t oldest = state->nended ? state->ended[0].rows->end : 0;
    if (e->nstaged && (!oldest || e->staged[0].file.commit_time < oldest))
        oldest = e->staged[0].file.commit_time;
    return oldest;
}

/* How much of what is applied no snapshot holds: the background flusher's measure. */
static void note_unflushed(ice_warehouse *wh)
{
    int64_t oldest = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < wh->registry->n; i++) {
        ice_tabstate *state = atomic_load(&wh->registry->entries[i]->state);
        ice_tail_counts counts;
        if (!state)
            continue;
        ice_tail_counts_get(state->tail, &counts);
        int64_t bulk = oldest_bulk(wh->registry->entries[i], state);
        if (bulk && (!oldest || bulk < oldest))
            oldest = bulk;
        if (counts.versions + counts.tombstones == 0)
            continue;
        bytes += counts.bytes;
        if (counts.min_start && (!oldest || counts.min_start < oldest))
            oldest = counts.min_start;
    }
    atomic_store(&wh->oldest_unflushed, oldest);
    atomic_store(&wh->unflushed_bytes, bytes);
}

/* Starts from the catalog again: the log was trimmed past what this process had read (everything before is
 * published), or a record could not be applied. What there was stays as it is until all of it is there anew.
 */
static ice_code start_over(ice_warehouse *wh, ice_error *err)
{
    ice_log_cursor *cursor = NULL;
    ice_log_state st;
    ice_log_get_state(wh->log, &st);
    uint64_t published = st.publish_count;
    ice__registry *reg = ice__registry_create(&wh->pins, published);
    ice_code rc = reg ? ice__wh_list_catalog(wh, reg, err) : ice_fail_nomem(err);
    ice_log_get_state(wh->log, &st);
    if (rc == ICE_OK)
        rc = ice_log_cursor_open(wh->log, st.start, &cursor, err);
    if (rc != ICE_OK) {
        ice__registry_unref(reg);
        return rc;
    }
    ice_log_cursor_close(wh->cursor);
    wh->cursor = cursor;
    discard(wh);
    wh->building = reg;
    wh->starting_over = true;
    rc = apply_records(wh, st.start, st.durable, err);
    wh->starting_over = false;
    if (rc == ICE_OK) {
        note_unflushed(wh);
        atomic_store(&wh->publish_seen, published);
        atomic_store(&wh->torn, false);
    }
    return rc;
}

/* What other programs have dropped, or written anew: then it is another entry. */
static void forget_foreign(ice__registry *reg, const ice_catalog_entry *list, size_t n)
{
    for (size_t i = reg->n; i-- > 0;) {
        ice_uuid id = reg->entries[i]->uuid;
        bool there = !reg->entries[i]->foreign;
        for (size_t k = 0; !there && k < n; k++)
            there = !ice__is_hidden_name(list[k].name) && ice_uuid_eq(ice__entry_uuid(&list[k]), id);
        if (!there)
            ice__registry_remove(reg, id);
    }
}

/* Called under wh->apply. The catalog is read before the log's end is looked at: what a pointer holds was
 * durable when it was published, so everything up to its F is applied before it is used (V1). Tables whose
 * drop was applied before are not brought back (wh->dropped: the catalog may list them until the next flush).
 */
static ice_code refresh_locked(ice_warehouse *wh, ice_error *err)
{
    ice_log_state before, now;
    ice_arena *a = ice_arena_create();
    ice_catalog_entry *entries = NULL;
    size_t n = 0;
    ice_log_get_state(wh->log, &before);
    ice_code rc = a ? ice_catalog_list(wh->catalog, a, &entries, &n, err) : ice_fail_nomem(err);
    ice_log_get_state(wh->log, &now);
    if (rc == ICE_OK && atomic_load(&wh->applied_position) < now.durable)
        rc = apply_records(wh, atomic_load(&wh->applied_position), now.durable, err);
    if (rc == ICE_OK)
        rc = building(wh, err);
    if (rc == ICE_OK)
        forget_foreign(wh->building, entries, n);
    for (size_t i = 0; rc == ICE_OK && i < n; i++)
        if (is_listed(&entries[i]) && !is_dropped(wh, ice__entry_uuid(&entries[i])))
            rc = refresh_entry(wh, wh->building, &entries[i], err);
    if (rc == ICE_OK) {
        ice__registry_reads(wh->building, before.publish_count);
        share(wh, 0, atomic_load(&wh->applied_position));
        atomic_store(&wh->publish_seen, before.publish_count);
        note_unflushed(wh);
    } else {
        discard(wh);
    }
    ice_arena_free(a);
    return rc;
}

static ice_code catchup_locked(ice_warehouse *wh, ice_error *err)
{
    ice_log_state st;
    ice_log_get_state(wh->log, &st);
    uint64_t position = atomic_load(&wh->applied_position);
    if (atomic_load(&wh->torn) || position < st.start || (atomic_load(&wh->set_aside) && mended(wh)))
        return start_over(wh, err);
    ice_code rc = position < st.durable ? apply_records(wh, position, st.durable, err) : ICE_OK;
    if (rc == ICE_OK && st.publish_count != atomic_load(&wh->publish_seen))
        rc = refresh_locked(wh, err);
    return rc == ICE_NOT_FOUND ? start_over(wh, err) : rc;
}

ice_code ice__wh_catchup(ice_warehouse *wh, ice_error *err)
{
    ice_log_state st;
    ice_log_get_state(wh->log, &st);
    if (!atomic_load_explicit(&wh->torn, memory_order_relaxed) &&
        !atomic_load_explicit(&wh->set_aside, memory_order_relaxed) &&
        st.durable <= atomic_load_explicit(&wh->applied_position, memory_order_acquire) &&
        st.publish_count == atomic_load_explicit(&wh->publish_seen, memory_order_relaxed))
        return ICE_OK;
    pthread_mutex_lock(&wh->apply);
    ice_code rc = catchup_locked(wh, err);
    pthread_mutex_unlock(&wh->apply);
    return rc;
}
