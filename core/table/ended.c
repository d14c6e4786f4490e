/* What the bulk path adds to a table's state: rows of files that ended, files that were staged. */
#include <stdlib.h>

#include "table/flush_int.h"

/* ---- ended rows ---- */

ice_code ice_ended_create(ice_str file, ice_row_op op, int64_t end, ice_dv *rows, ice_ended **out,
                          ice_error *err)
{
    ice_ended *e = calloc(1, sizeof *e);
    if (!e || !rows || !(e->file = strndup(file.ptr, file.len))) {
        free(e);
        ice_dv_free(rows);
        return ice_fail_nomem(err);
    }
    e->refs = 1;
    e->end = end;
    e->op = op;
    e->rows = rows;
    *out = e;
    return ICE_OK;
}

ice_ended *ice_ended_ref(ice_ended *e)
{
    __atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED);
    return e;
}

void ice_ended_unref(ice_ended *e)
{
    if (!e || __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    ice_dv_free(e->rows);
    free(e->file);
    free(e);
}

static bool find_file(const ice_published *p, ice_str name, uint32_t *file)
{
    for (size_t i = 0; p && i < p->nfiles; i++)
        if (ice_str_eq(p->files[i].base, name)) {
            *file = (uint32_t)i;
            return true;
        }
    return false;
}

bool ice_tabstate_has_file(const ice_tabstate *s, ice_str file)
{
    uint32_t unused;
    return find_file(s->published, file, &unused);
}

static ice_code add_ended(ice_tabstate *s, ice_ended *e, ice_error *err)
{
    uint32_t file = 0;
    if (!find_file(s->published, ice_str_c(e->file), &file))
        return ice_fail(
            err, ICE_CORRUPT,
            "table %.*s: rows of the file %s ended, but its published state does not have that file",
            ICE_PRI(s->def->name), e->file);
    struct ice_ended_in *grown = realloc(s->ended, (s->nended + 1) * sizeof *grown);
    if (!grown)
        return ice_fail_nomem(err);
    s->ended = grown;
    grown[s->nended++] = (struct ice_ended_in){ice_ended_ref(e), file};
    return ICE_OK;
}

bool ice__bulk_ended(const ice_view *v, uint32_t file, uint32_t pos)
{
    const ice_tabstate *s = v->state;
    for (size_t i = 0; i < s->nended; i++) {
        const ice_ended *e = s->ended[i].rows;
        bool counts = e->end == ICE_ENDED_PENDING ? v->mode == ICE_VIEW_CURRENT : e->end <= v->at;
        if (s->ended[i].file == file && counts && ice_dv_contains(e->rows, pos))
            return true;
    }
    return false;
}

/* ---- staged files ---- */

static ice_staging *staging_ref(ice_staging *s)
{
    if (s)
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void ice__staging_unref(ice_staging *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    ice_arena_free(s->arena);
    free(s);
}

static ice_code staging_copy(ice_staging *s, const ice_staged_file *files, size_t n, ice_error *err)
{
    for (size_t i = 0; i < n; i++) {
        ice_staged_file *f = &s->files[s->n++];
        *f = files[i];
        f->key = ice_arena_str(s->arena, f->key);
        f->data_file_json = ice_arena_str(s->arena, f->data_file_json);
        if (!f->key.ptr || !f->data_file_json.ptr)
            return ice_fail_nomem(err);
    }
    return ICE_OK;
}

static ice_code staging_with(const ice_staging *old, const ice_staged_file *files, size_t n,
                             ice_staging **out, ice_error *err)
{
    size_t had = old ? old->n : 0;
    ice_staging *s = calloc(1, sizeof *s);
    ice_code rc = ICE_OK;
    if (!s)
        return ice_fail_nomem(err);
    s->refs = 1;
    s->arena = ice_arena_create();
    s->files = s->arena ? ICE_NEW_N(s->arena, ice_staged_file, had + n + 1) : NULL;
    if (!s->files)
        rc = ice_fail_nomem(err);
    if (rc == ICE_OK && had)
        rc = staging_copy(s, old->files, had, err);
    if (rc == ICE_OK)
        rc = staging_copy(s, files, n, err);
    if (rc != ICE_OK) {
        ice__staging_unref(s);
        s = NULL;
    }
    *out = s;
    return rc;
}

/* ---- states ---- */

ice_code ice_tabstate_inherit(ice_tabstate *s, const ice_tabstate *from, int64_t since, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < from->nended && rc == ICE_OK; i++)
        if (from->ended[i].rows->end == ICE_ENDED_PENDING || from->ended[i].rows->end > since)
            rc = add_ended(s, from->ended[i].rows, err);
    s->staging = staging_ref(from->staging);
    return rc;
}

static ice_code warm_files(ice_tabstate *s, const ice_bulk *b, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < s->published->nfiles && rc == ICE_OK; i++)
        for (size_t k = 0; k < b->nfiles && rc == ICE_OK; k++)
            if (ice_str_eq(s->published->files[i].key, b->files[k].key))
                rc = ice__file_warm(s->published, &s->published->files[i], s->def, &s->keys, err);
    return rc;
}

static ice_code take_bulk(ice_tabstate *s, const ice_tabstate *old, const ice_bulk *b, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < old->nended && rc == ICE_OK; i++)
        if (!b->pending || old->ended[i].rows->end != ICE_ENDED_PENDING)
            rc = add_ended(s, old->ended[i].rows, err);
    for (size_t i = 0; i < b->nended && rc == ICE_OK; i++)
        rc = add_ended(s, b->ended[i], err);
    if (rc == ICE_OK && b->pending)
        rc = staging_with(old->staging, b->files, b->nfiles, &s->staging, err);
    if (rc == ICE_OK && b->pending)
        rc = warm_files(s, b, err);
    return rc;
}

ice_code ice_tabstate_bulk(ice_env *env, ice_tabstate *old, const ice_bulk *b, ice_tabstate **out,
                           ice_error *err)
{
    ice_published *p = NULL;
    ice_tabstate *s = NULL;
    ice_tail *tail = NULL;
    ice_tabledef *def = ice_tabledef_clone(old->def, false);
    ice_code rc = def ? ICE_OK : ice_fail_nomem(err);
    if (rc == ICE_OK && b->nfiles)
        rc = ice_published_stage(env, old->published, old->def, b->files, b->nfiles, &p, err);
    else if (rc == ICE_OK)
        p = ice_published_ref(old->published);
    if (rc == ICE_OK) {
        tail = ice_tail_ref(old->tail);
        rc = ice_tabstate_create(def, p, tail, old, &s, err);
    }
    if (rc != ICE_OK) {
        ice_tabledef_free(def);
        ice_published_unref(p);
        ice_tail_unref(tail);
        return rc;
    }
    if ((rc = take_bulk(s, old, b, err)) != ICE_OK) {
        ice_tabstate_unref(s);
        return rc;
    }
    *out = s;
    return ICE_OK;
}

static int any_tombstone(void *arg, const ice_tombstone *t)
{
    (void)arg, (void)t;
    return 1;
}

bool ice_tabstate_changed_since(const ice_tabstate *s, int64_t at)
{
    ice_tail_counts n;
    ice_tail_counts_get(s->tail, &n);
    bool changed =
        s->flushed > at || (n.versions && n.max_start > at) || (s->published && s->published->staged > at);
    for (size_t i = 0; i < s->nended && !changed; i++)
        changed = s->ended[i].rows->end > at;
    return changed ||
           (n.tombstones && ice_tail_tombstones(s->tail, at, ICE_TIME_MAX - 1, any_tombstone, NULL));
}
