/* Rows of the published files that the tail, or an overlay, has ended.
 *
 * A tombstone names a primary key; the key indexes of the files say which row that is. What was found is kept
 * with its end time, so that one set serves views of different times, and grows as commits come: for each
 * file, and in it for each run of 2048 rows, a list of (row, end).
 *
 * A set of a tail only grows (commits are never taken back). One of an overlay is made anew whenever the
 * overlay has changed, for savepoints take changes back; large ones are kept for the next statement. */
#include "table/table_int.h"

#include <stdlib.h>

enum { SLOTS = 4, KEEP_OVERLAY = 64 };

typedef struct dead_entry {
    int64_t end;
    uint16_t offset;
    uint8_t op;
} dead_entry;

typedef struct dead_page {
    uint32_t n, cap;
    dead_entry *e;
} dead_page;

typedef struct dead_file {
    uint32_t npages, rows;
    dead_page **pages; /* NULL until the file has an ended row */
    uint32_t nbulk;
    ice_ended **bulk; /* what bulk statements ended, as sets of positions */
} dead_file;

struct ice__dead {
    int refs; /* atomic */
    pthread_rwlock_t lock;
    int64_t upto; /* a tail's: every tombstone up to this time is in it, */
    int64_t bulk_upto; /* and what bulk statements ended up to this one */
    bool broken;  /* an addition failed half way: not to be used again */
    size_t nfiles;
    dead_file *files;
};

typedef struct ice__dead_slot {
    ice_tail *tail; /* referenced; NULL: free */
    ice__dead *set;
    bool overlay;
    int64_t overlay_at; /* overlay: the operation number, */
    uint64_t changes;   /* at this count of changes */
    uint64_t used;
} ice__dead_slot;

/* ---- a set ---- */

static ice__dead *dead_create(const ice_published *s)
{
    ice__dead *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->files = calloc(s->nfiles ? s->nfiles : 1, sizeof *d->files);
    if (!d->files) {
        free(d);
        return NULL;
    }
    d->refs = 1;
    d->upto = d->bulk_upto = INT64_MIN;
    d->nfiles = s->nfiles;
    for (size_t i = 0; i < s->nfiles; i++) {
        d->files[i].rows = (uint32_t)s->files[i].entry.file.record_count;
        d->files[i].npages = d->files[i].rows / ICE_BATCH_ROWS + 1;
    }
    pthread_rwlock_init(&d->lock, NULL);
    return d;
}

void ice__dead_unref(ice__dead *d)
{
    if (!d || __atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < d->nfiles; i++) {
        for (uint32_t k = 0; d->files[i].pages && k < d->files[i].npages; k++)
            if (d->files[i].pages[k]) {
                free(d->files[i].pages[k]->e);
                free(d->files[i].pages[k]);
            }
        free(d->files[i].pages);
        for (uint32_t k = 0; k < d->files[i].nbulk; k++)
            ice_ended_unref(d->files[i].bulk[k]);
        free(d->files[i].bulk);
    }
    free(d->files);
    pthread_rwlock_destroy(&d->lock);
    free(d);
}

static dead_page *page_of(ice__dead *d, uint32_t file, uint32_t pos)
{
    dead_file *f = &d->files[file];
    if (!f->pages && !(f->pages = calloc(f->npages, sizeof *f->pages)))
        return NULL;
    dead_page **p = &f->pages[pos / ICE_BATCH_ROWS];
    if (!*p)
        *p = calloc(1, sizeof **p);
    return *p;
}

static ice_code dead_add(ice__dead *d, const ice__dead_row *r, ice_error *err)
{
    dead_page *p = page_of(d, r->file, r->pos);
    if (!p)
        return ice_fail_nomem(err);
    if (p->n == p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 4;
        dead_entry *e = realloc(p->e, cap * sizeof *e);
        if (!e)
            return ice_fail_nomem(err);
        p->e = e;
        p->cap = cap;
    }
    p->e[p->n++] = (dead_entry){.end = r->end, .offset = (uint16_t)(r->pos % ICE_BATCH_ROWS), .op = r->op};
    return ICE_OK;
}

static ice_code dead_add_bulk(ice__dead *d, const struct ice_ended_in *in, ice_error *err)
{
    dead_file *f = &d->files[in->file];
    ice_ended **grown = realloc(f->bulk, (f->nbulk + 1) * sizeof *grown);
    if (!grown)
        return ice_fail_nomem(err);
    f->bulk = grown;
    grown[f->nbulk++] = ice_ended_ref(in->rows);
    return ICE_OK;
}

static const dead_page *page_at(const ice__dead *d, uint32_t file, uint32_t pos)
{
    const dead_file *f = &d->files[file];
    return f->pages ? f->pages[pos / ICE_BATCH_ROWS] : NULL;
}

enum { SOME = 256 };

/* Calls back with positions of a set in [first, end), some at a time. */
static ice_code each_position(const ice_dv *rows, uint64_t first, uint64_t end,
                              ice_code (*fn)(void *, const uint64_t *, size_t), void *arg)
{
    uint64_t at[SOME];
    ice_code rc = ICE_OK;
    size_t n;
    while (rc == ICE_OK && (n = ice_dv_positions(rows, first, at, SOME)) > 0) {
        size_t in = n;
        while (in > 0 && at[in - 1] >= end)
            in--;
        if (in)
            rc = fn(arg, at, in);
        if (in < n)
            break;
        first = at[n - 1] + 1;
    }
    return rc;
}

typedef struct masking {
    uint8_t *mask;
    uint32_t first;
    size_t n;
} masking;

static ice_code mask_some(void *arg, const uint64_t *at, size_t n)
{
    masking *m = arg;
    for (size_t i = 0; i < n; i++)
        m->mask[(at[i] - m->first) >> 3] |= (uint8_t)(1u << ((at[i] - m->first) & 7));
    m->n += n;
    return ICE_OK;
}

size_t ice__dead_mask(ice__dead *d, uint32_t file, uint32_t first, int64_t at,
                      uint8_t mask[ICE_BATCH_ROWS / 8])
{
    size_t n = 0;
    if (!d)
        return 0;
    pthread_rwlock_rdlock(&d->lock);
    const dead_page *p = page_at(d, file, first);
    for (uint32_t i = 0; p && i < p->n; i++)
        if (p->e[i].end <= at) {
            mask[p->e[i].offset >> 3] |= (uint8_t)(1u << (p->e[i].offset & 7));
            n++;
        }
    masking m = {mask, first, n};
    for (uint32_t i = 0; i < d->files[file].nbulk; i++)
        if (d->files[file].bulk[i]->end <= at)
            (void)!each_position(d->files[file].bulk[i]->rows, first, (uint64_t)first + ICE_BATCH_ROWS,
                                 mask_some, &m);
    pthread_rwlock_unlock(&d->lock);
    return m.n;
}

typedef struct telling {
    const ice_ended *e;
    uint32_t file;
    ice_code (*fn)(void *, const ice__dead_row *, ice_error *);
    void *arg;
    ice_error *err;
} telling;

static ice_code tell_some(void *arg, const uint64_t *at, size_t n)
{
    const telling *t = arg;
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < n && rc == ICE_OK; i++) {
        ice__dead_row r = {t->file, (uint32_t)at[i], t->e->end, (uint8_t)t->e->op};
        rc = t->fn(t->arg, &r, t->err);
    }
    return rc;
}

ice_code ice__dead_each(ice__dead *d, uint32_t file, int64_t at,
                        ice_code (*fn)(void *, const ice__dead_row *, ice_error *), void *arg, ice_error *err)
{
    ice_code rc = ICE_OK;
    if (!d)
        return ICE_OK;
    pthread_rwlock_rdlock(&d->lock);
    const dead_file *f = &d->files[file];
    for (uint32_t k = 0; f->pages && k < f->npages && rc == ICE_OK; k++)
        for (uint32_t i = 0; f->pages[k] && i < f->pages[k]->n && rc == ICE_OK; i++) {
            const dead_entry *e = &f->pages[k]->e[i];
            ice__dead_row r = {file, k * ICE_BATCH_ROWS + e->offset, e->end, e->op};
            if (e->end <= at)
                rc = fn(arg, &r, err);
        }
    telling t = {.file = file, .fn = fn, .arg = arg, .err = err};
    for (uint32_t i = 0; i < f->nbulk && rc == ICE_OK; i++)
        if ((t.e = f->bulk[i])->end <= at)
            rc = each_position(f->bulk[i]->rows, 0, UINT64_MAX, tell_some, &t);
    pthread_rwlock_unlock(&d->lock);
    return rc;
}

const ice_ended *ice__dead_whole(ice__dead *d, uint32_t file, int64_t at)
{
    const ice_ended *one = NULL;
    if (!d)
        return NULL;
    pthread_rwlock_rdlock(&d->lock);
    const dead_file *f = &d->files[file];
    for (uint32_t i = 0; !f->pages && i < f->nbulk; i++)
        if (f->bulk[i]->end <= at) {
            if (one) {
                one = NULL;
                break;
            }
            one = f->bulk[i];
        }
    pthread_rwlock_unlock(&d->lock);
    return one;
}

uint64_t ice__dead_in_file(ice__dead *d, uint32_t file, int64_t at)
{
    uint64_t n = 0;
    if (!d)
        return 0;
    pthread_rwlock_rdlock(&d->lock);
    const dead_file *f = &d->files[file];
    for (uint32_t k = 0; f->pages && k < f->npages; k++)
        for (uint32_t i = 0; f->pages[k] && i < f->pages[k]->n; i++)
            n += f->pages[k]->e[i].end <= at;
    for (uint32_t i = 0; i < f->nbulk; i++)
        n += f->bulk[i]->end <= at ? ice_dv_count(f->bulk[i]->rows) : 0;
    pthread_rwlock_unlock(&d->lock);
    return n;
}

/* ---- resolving tombstones ---- */

typedef struct tomb {
    const ice_value *key;
    int64_t base_start, end;
    ice_row_op op;
} tomb;

typedef struct tombs {
    ice_arena *arena;
    size_t ncols, n, cap;
    tomb *list;
    bool nomem;
} tombs;

/* Copies: the files are searched after the tail's callback has returned. */
static int collect_tomb(void *arg, const ice_tombstone *t)
{
    tombs *c = arg;
    if (!ICE_HEAP_ROOM(c->list, c->n, c->cap))
        return c->nomem = true;
    ice_value *key = ICE_NEW_N(c->arena, ice_value, c->ncols);
    for (size_t i = 0; key && i < c->ncols; i++)
        if (ice_value_copy(c->arena, &t->key[i], &key[i], NULL) != ICE_OK)
            key = NULL;
    if (!key)
        return c->nomem = true;
    c->list[c->n++] = (tomb){key, t->base_start, t->end, t->op};
    return 0;
}

typedef struct found {
    const tomb *tomb;
    size_t n, cap;
    ice__dead_row *rows;
    bool nomem;
} found;

static int collect_row(void *arg, const ice__hit *h)
{
    found *f = arg;
    if (!ICE_HEAP_ROOM(f->rows, f->n, f->cap))
        return f->nomem = true;
    f->rows[f->n++] = (ice__dead_row){h->file, h->pos, f->tomb->end, (uint8_t)f->tomb->op};
    return 0;
}

/* Rows that tombstones with from < end <= to have ended. */
static ice_code resolve(ice_view *v, ice_tail *t, int64_t from, int64_t to, found *out, ice_error *err)
{
    tombs c = {.ncols = v->state->keys.keys[0].ncols};
    ice_code rc = ICE_OK;
    if (!(c.arena = ice_arena_create()))
        return ice_fail_nomem(err);
    ice_tail_tombstones(t, from, to, collect_tomb, &c);
    if (c.nomem) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < c.n; i++) {
        out->tomb = &c.list[i];
        ICE_TRY(ice__base_find(v->state->published, v->state->def, &v->state->keys, 0, c.list[i].key,
                               c.list[i].base_start, collect_row, out, err));
        if (out->nomem) {
            rc = ice_fail_nomem(err);
            goto out;
        }
    }
out:
    free(c.list);
    ice_arena_free(c.arena);
    return rc;
}

/* ---- slots ---- */

void ice__dead_slots_free(ice_published *s)
{
    for (size_t i = 0; s->slots && i < SLOTS; i++) {
        ice__dead_unref(s->slots[i].set);
        ice_tail_unref(s->slots[i].tail);
    }
    free(s->slots);
}

/* The slot of a tail, or the one longest unused, emptied. Under s->lock. */
static ice__dead_slot *slot_of(ice_published *s, ice_tail *t, bool overlay)
{
    ice__dead_slot *victim = NULL;
    if (!s->slots && !(s->slots = calloc(SLOTS, sizeof *s->slots)))
        return NULL;
    for (size_t i = 0; i < SLOTS; i++) {
        if (s->slots[i].tail == t && s->slots[i].overlay == overlay) {
            s->slots[i].used = ++s->slot_clock;
            return &s->slots[i];
        }
        if (!victim || s->slots[i].used < victim->used)
            victim = &s->slots[i];
    }
    ice__dead_unref(victim->set);
    ice_tail_unref(victim->tail);
    *victim = (ice__dead_slot){.tail = ice_tail_ref(t), .overlay = overlay, .used = ++s->slot_clock};
    return victim;
}

static ice__dead *dead_ref(ice__dead *d)
{
    __atomic_add_fetch(&d->refs, 1, __ATOMIC_RELAXED);
    return d;
}

static ice_code tail_known(ice_published *s, ice_tail *t, ice__dead **out, ice_error *err)
{
    pthread_mutex_lock(&s->lock);
    ice__dead_slot *slot = slot_of(s, t, false);
    if (slot && slot->set && slot->set->broken) {
        ice__dead_unref(slot->set);
        slot->set = NULL;
    }
    if (slot && !slot->set)
        slot->set = dead_create(s);
    *out = slot && slot->set ? dead_ref(slot->set) : NULL;
    pthread_mutex_unlock(&s->lock);
    return *out ? ICE_OK : ice_fail_nomem(err);
}

static int64_t dead_upto(ice__dead *d)
{
    pthread_rwlock_rdlock(&d->lock);
    int64_t upto = d->upto;
    pthread_rwlock_unlock(&d->lock);
    return upto;
}

/* Adds what was resolved up to `to`; another thread may have added the first part of it meanwhile. */
static ice_code tail_learn(ice__dead *d, const found *f, int64_t to, ice_error *err)
{
    ice_code rc = ICE_OK;
    pthread_rwlock_wrlock(&d->lock);
    for (size_t i = 0; i < f->n && rc == ICE_OK; i++)
        if (f->rows[i].end > d->upto)
            rc = dead_add(d, &f->rows[i], err);
    d->broken |= rc != ICE_OK;
    if (rc == ICE_OK && to > d->upto)
        d->upto = to;
    pthread_rwlock_unlock(&d->lock);
    return rc;
}

/* Adds what bulk statements ended: from the log, or `pending` in the view's own transaction. */
static ice_code learn_bulk(ice__dead *d, const ice_tabstate *s, bool pending, ice_error *err)
{
    ice_code rc = ICE_OK;
    pthread_rwlock_wrlock(&d->lock);
    int64_t from = d->bulk_upto;
    for (size_t i = 0; i < s->nended && rc == ICE_OK; i++) {
        int64_t end = s->ended[i].rows->end;
        if ((end == ICE_ENDED_PENDING) != pending || (!pending && end <= from))
            continue;
        if ((rc = dead_add_bulk(d, &s->ended[i], err)) == ICE_OK && end > d->bulk_upto)
            d->bulk_upto = end;
    }
    d->broken |= rc != ICE_OK;
    pthread_rwlock_unlock(&d->lock);
    return rc;
}

static bool has_bulk(const ice_tabstate *s, bool pending)
{
    for (size_t i = 0; i < s->nended; i++)
        if ((s->ended[i].rows->end == ICE_ENDED_PENDING) == pending)
            return true;
    return false;
}

static ice_code dead_of_tail(ice_view *v, ice__dead **out, ice_error *err)
{
    ice_published *s = v->state->published;
    ice_tail *t = v->state->tail;
    ice_tail_counts counts;
    found f = {0};
    ice_code rc;
    ice_tail_counts_get(t, &counts);
    bool bulk = has_bulk(v->state, false);
    if (counts.tombstones == 0 && !bulk)
        return ICE_OK;
    ICE_TRY(tail_known(s, t, out, err));
    if (bulk)
        ICE_TRY(learn_bulk(*out, v->state, false, err));
    int64_t upto = dead_upto(*out);
    if (upto >= v->at)
        return ICE_OK;
    ICE_TRY(resolve(v, t, upto, v->at, &f, err));
    ICE_TRY(tail_learn(*out, &f, v->at, err));
out:
    free(f.rows);
    if (rc != ICE_OK && *out) {
        ice__dead_unref(*out);
        *out = NULL;
    }
    return rc;
}

static ice__dead *overlay_known(ice_view *v, uint64_t changes)
{
    ice_published *s = v->state->published;
    ice__dead *d = NULL;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; s->slots && i < SLOTS && !d; i++) {
        ice__dead_slot *slot = &s->slots[i];
        if (slot->tail == v->overlay && slot->overlay && slot->changes == changes && slot->set &&
            slot->overlay_at == v->overlay_at)
            d = dead_ref(slot->set);
    }
    pthread_mutex_unlock(&s->lock);
    return d;
}

static void overlay_keep(ice_view *v, uint64_t changes, ice__dead *d)
{
    ice_published *s = v->state->published;
    pthread_mutex_lock(&s->lock);
    ice__dead_slot *slot = slot_of(s, v->overlay, true);
    if (slot) {
        ice__dead_unref(slot->set);
        slot->set = dead_ref(d);
        slot->overlay_at = v->overlay_at;
        slot->changes = changes;
    }
    pthread_mutex_unlock(&s->lock);
}

static ice_code dead_of_overlay(ice_view *v, ice__dead **out, ice_error *err)
{
    ice_tail_counts counts = {0};
    found f = {0};
    ice_code rc = ICE_OK;
    bool bulk = has_bulk(v->state, true);
    if (v->overlay)
        ice_tail_counts_get(v->overlay, &counts);
    if (counts.tombstones == 0 && !bulk)
        return ICE_OK;
    if (counts.tombstones && (*out = overlay_known(v, counts.changes)))
        return ICE_OK;
    if (counts.tombstones)
        ICE_TRY(resolve(v, v->overlay, INT64_MIN, v->overlay_at, &f, err));
    if (!(*out = dead_create(v->state->published))) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < f.n; i++)
        ICE_TRY(dead_add(*out, &f.rows[i], err));
    ICE_TRY(learn_bulk(*out, v->state, true, err));
    if (counts.tombstones >= KEEP_OVERLAY)
        overlay_keep(v, counts.changes, *out);
out:
    free(f.rows);
    if (rc != ICE_OK) {
        ice__dead_unref(*out);
        *out = NULL;
    }
    return rc;
}

ice_code ice__dead_of_view(ice_view *v, ice__dead **tail, ice__dead **overlay, ice_error *err)
{
    ice_code rc;
    *tail = *overlay = NULL;
    if (!v->state->published || v->state->published->nfiles == 0)
        return ICE_OK;
    ICE_TRY(dead_of_tail(v, tail, err));
    if (v->mode == ICE_VIEW_CURRENT)
        ICE_TRY(dead_of_overlay(v, overlay, err));
out:
    if (rc != ICE_OK) {
        ice__dead_unref(*tail);
        *tail = NULL;
    }
    return rc;
}
