/* Visible rows in the order of a key: one stream for each file, one for the tail, one for the overlay, merged by a heap.
 *
 * A stream is a sorted list of places of which a walk has the part that its range leaves; rows that are not visible
 * are passed over when they come to the stream's head, so the heap holds visible rows only. */
#include "table/table_int.h"

#include <stdlib.h>

enum { KEY_MAX = 32 };

typedef struct stream {
    ice_where where;
    size_t low, high;      /* places that are left: [low, high) */
    ice_tail_order order;  /* OVERLAY, TAIL */
    uint32_t file;         /* BASE: */
    const uint32_t *positions; /* NULL: as they are in the file */
    ice_vec vec;           /* of the key's column */
    ice_vec *primary;
    ice_vec_const *mem;
    const ice_chunkfile *chunk;
    const ice_dv *dv;
    ice_value head;        /* the key of the row that comes next, and where it is */
    ice_row row;
} stream;

struct ice_walk {
    ice_arena *arena;
    ice_view v; /* with references of its own */
    const ice_column *col;
    const ice_key *primary;
    bool descending;
    bool clean;            /* nothing in memory ended a row of the files */
    size_t nstreams, nheap;
    stream *streams;
    stream **heap;
};

/* ---- one stream ---- */

static uint32_t position(const stream *s, size_t place)
{
    return s->positions ? s->positions[place] : (uint32_t)place;
}

static void key_at(const ice_walk *w, const stream *s, size_t place, ice_value *out)
{
    if (s->where == ICE_IN_BASE)
        ice_vec_get(&s->vec, position(s, place), out);
    else
        ice_ref_value(s->order.refs[place], w->col, out);
}

/* The first of the stream's places whose key is not before `bound` (`after`: is behind it). */
static size_t first_place(const ice_walk *w, const stream *s, const ice_value *bound, bool after)
{
    size_t low = s->low, high = s->high;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        ice_value key;
        key_at(w, s, mid, &key);
        int cmp = ice__order_cmp(&key, bound);
        if (cmp < 0 || (after && cmp == 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void narrow(const ice_walk *w, stream *s, const ice_walk_range *r)
{
    if (!r || (!r->low && !r->high))
        return;
    s->high = r->high ? first_place(w, s, r->high, !r->without_high) : first_place(w, s, &ICE_NULL, false);
    if (r->low)
        s->low = first_place(w, s, r->low, r->without_low);
}

/* What ended at or before the row began was an earlier version of its key: a staged file may be newer than the tail's end of it. */
static bool ended_in_memory(const ice_walk *w, const stream *s, uint32_t pos)
{
    const ice_published *p = w->v.state->published;
    ice_value primary[KEY_MAX];
    int64_t end;
    if (ice__bulk_ended(&w->v, s->file, pos))
        return true;
    for (size_t i = 0; i < w->primary->ncols; i++)
        ice_vec_get(&s->primary[i], pos, &primary[i]);
    return (ice_tail_ended(w->v.state->tail, primary, w->v.at, &end) &&
            end > ice__file_start(&p->files[s->file], s->chunk, pos)) ||
           (w->v.overlay && ice_tail_ended(w->v.overlay, primary, w->v.overlay_at, &end));
}

static bool visible_base(ice_walk *w, stream *s, uint32_t pos)
{
    if ((s->dv && ice_dv_contains(s->dv, pos)) || (!w->clean && ended_in_memory(w, s, pos)))
        return false;
    s->row = (ice_row){.where = ICE_IN_BASE, .file = s->file, .pos = pos};
    return true;
}

static bool visible_memory(ice_walk *w, stream *s, ice_ref r)
{
    bool overlay = s->where == ICE_IN_OVERLAY;
    if (!ice_ref_visible(r, overlay ? w->v.overlay_at : w->v.at))
        return false;
    if (!overlay && w->v.overlay && ice__overlay_ended(&w->v, r))
        return false;
    s->row = (ice_row){.where = s->where, .ref = r, .start = overlay ? 0 : ice_ref_start(r)};
    return true;
}

/* Goes to the stream's next visible row. False: there is none, or the budget is used up. */
static bool advance(ice_walk *w, stream *s, uint64_t *budget)
{
    while (s->low < s->high && *budget) {
        size_t place = w->descending ? --s->high : s->low++;
        --*budget;
        bool visible = s->where == ICE_IN_BASE ? visible_base(w, s, position(s, place))
                                               : visible_memory(w, s, s->order.refs[place]);
        if (visible) {
            key_at(w, s, place, &s->head);
            return true;
        }
    }
    return false;
}

/* ---- the heap ---- */

static bool before(const ice_walk *w, const stream *a, const stream *b)
{
    int cmp = ice__order_cmp(&a->head, &b->head);
    return w->descending ? cmp > 0 : cmp < 0;
}

static void sift_down(ice_walk *w, size_t at)
{
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < w->nheap; child++)
            if (before(w, w->heap[child], w->heap[least]))
                least = child;
        if (least == at)
            return;
        stream *s = w->heap[at];
        w->heap[at] = w->heap[least];
        w->heap[least] = s;
        at = least;
    }
}

/* After the first stream's head was taken. */
static void take_head(ice_walk *w, uint64_t *budget)
{
    if (!advance(w, w->heap[0], budget))
        w->heap[0] = w->heap[--w->nheap];
    sift_down(w, 0);
}

static void make_heap(ice_walk *w, uint64_t *budget)
{
    w->heap = ICE_NEW_N(w->arena, stream *, w->nstreams + 1);
    for (size_t i = 0; w->heap && i < w->nstreams; i++)
        if (advance(w, &w->streams[i], budget))
            w->heap[w->nheap++] = &w->streams[i];
    for (size_t i = w->heap ? w->nheap / 2 : 0; i-- > 0;)
        sift_down(w, i);
}

/* Where the budget ends while a stream looks for its head, the stream is lost: the walk is over. */
static ice_code ready(ice_walk *w, uint64_t *budget, ice_error *err)
{
    if (!w->heap)
        make_heap(w, budget);
    return w->heap ? ICE_OK : ice_fail_nomem(err);
}

ice_code ice_walk_next(ice_walk *w, size_t max, uint64_t *budget, ice_row *rows, size_t *n, ice_error *err)
{
    ice_code rc;
    *n = 0;
    ICE_TRY(ready(w, budget, err));
    while (*n < max && w->nheap && *budget) {
        stream *s = w->heap[0];
        if (s->where == ICE_IN_BASE)
            s->row.start = ice__file_start(&w->v.state->published->files[s->file], s->chunk, s->row.pos);
        rows[(*n)++] = s->row;
        take_head(w, budget);
    }
out:
    return rc;
}

/* ---- passing over rows ---- */

/* How many of the first stream's places come before every other stream's head. */
static size_t run_length(const ice_walk *w)
{
    const stream *s = w->heap[0], *next = NULL;
    for (size_t i = 1; i < w->nheap && i <= 2; i++)
        if (!next || before(w, w->heap[i], next))
            next = w->heap[i];
    if (!next)
        return s->high - s->low;
    return w->descending ? s->high - first_place(w, s, &next->head, true)
                         : first_place(w, s, &next->head, false) - s->low;
}

/* Where every place is a visible row: passes over those of the run, of which the head is one more. */
static uint64_t jump(ice_walk *w, uint64_t count)
{
    stream *s = w->heap[0];
    size_t run = run_length(w);
    if (run > count - 1)
        run = (size_t)(count - 1);
    if (w->descending)
        s->high -= run;
    else
        s->low += run;
    return run;
}

ice_code ice_walk_skip(ice_walk *w, uint64_t count, uint64_t *budget, uint64_t *skipped, ice_error *err)
{
    ice_code rc;
    *skipped = 0;
    ICE_TRY(ready(w, budget, err));
    while (*skipped < count && w->nheap && *budget) {
        const stream *s = w->heap[0];
        if (s->where == ICE_IN_BASE && w->clean && !s->dv)
            *skipped += jump(w, count - *skipped);
        take_head(w, budget);
        ++*skipped;
    }
out:
    return rc;
}

/* ---- opening ---- */

void ice_walk_close(ice_walk *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->nstreams; i++)
        ice_tail_order_release(&w->streams[i].order);
    ice_tail_unref(w->v.overlay);
    ice_tabstate_unref(w->v.state);
    ice_arena_free(w->arena);
    free(w);
}

/* May values of one type be compared with those of another? Types that a column had before its present one. */
static bool comparable(ice_type a, ice_type b)
{
    bool whole = (a.kind == ICE_T_INT || a.kind == ICE_T_LONG) && (b.kind == ICE_T_INT || b.kind == ICE_T_LONG);
    bool real = (a.kind == ICE_T_FLOAT || a.kind == ICE_T_DOUBLE) && (b.kind == ICE_T_FLOAT || b.kind == ICE_T_DOUBLE);
    return whole || real || (a.kind == b.kind && a.scale == b.scale);
}

static ice_code open_file(ice_walk *w, uint32_t index, const ice_column *cols, size_t ncols, bool *has, ice_error *err)
{
    ice_published *p = w->v.state->published;
    ice__file *f = &p->files[index];
    stream *s = &w->streams[w->nstreams];
    ice_chunkfile *chunk;
    ice_code rc;
    *s = (stream){.where = ICE_IN_BASE, .file = index, .high = (size_t)f->entry.file.record_count};
    s->primary = ICE_NEW_N(w->arena, ice_vec, w->primary->ncols);
    s->mem = ICE_NEW_N(w->arena, ice_vec_const, ncols);
    if (!s->primary || !s->mem)
        return ice_fail_nomem(err);
    ICE_TRY(ice__file_chunk(p, f, cols, ncols, &chunk, err));
    ICE_TRY(ice__file_dv(p, f, &s->dv, err));
    s->chunk = chunk;
    ice__file_vec(f, chunk, &cols[0], &s->mem[0], &s->vec);
    for (size_t i = 0; i < w->primary->ncols; i++)
        ice__file_vec(f, chunk, &cols[i + 1], &s->mem[i + 1], &s->primary[i]);
    *has = comparable(s->vec.type, w->col->type);
    if (*has && s->high)
        ICE_TRY(ice__file_order(p, f, w->col->field_id, &s->vec, &s->positions, err));
    w->nstreams++;
out:
    return rc;
}

static ice_code open_files(ice_walk *w, bool *has, ice_error *err)
{
    ice_published *p = w->v.state->published;
    const ice_tabledef *def = w->v.state->def;
    size_t ncols = w->primary->ncols + 2;
    ice_column *cols = ICE_NEW_N(w->arena, ice_column, ncols);
    ice_code rc = cols ? ICE_OK : ice_fail_nomem(err);
    if (!cols)
        return rc;
    cols[0] = *w->col;
    for (size_t i = 0; i < w->primary->ncols; i++)
        cols[i + 1] = def->cols[w->primary->cols[i]];
    cols[ncols - 1] = *ice__system_column(ICE_FIELD_ROW_START);
    for (size_t i = 0; rc == ICE_OK && *has && p && i < p->nfiles; i++)
        rc = open_file(w, (uint32_t)i, cols, ncols, has, err);
    return rc;
}

static ice_code open_tail(ice_walk *w, ice_where where, bool *has, ice_error *err)
{
    stream *s = &w->streams[w->nstreams];
    bool own = where == ICE_IN_OVERLAY;
    ice_code rc;
    *s = (stream){.where = where};
    ICE_TRY(ice_tail_order_get(own ? w->v.overlay : w->v.state->tail, w->col, own ? w->v.overlay_at : w->v.at, !own,
                               &s->order, has, err));
    s->high = s->order.n;
    w->nstreams++;
out:
    return rc;
}

static bool has_tombstones(ice_tail *t)
{
    ice_tail_counts counts = {0};
    if (t)
        ice_tail_counts_get(t, &counts);
    return counts.tombstones > 0;
}

static ice_code open_streams(ice_walk *w, bool *has, ice_error *err)
{
    ice_published *p = w->v.state->published;
    ice_code rc = ICE_OK;
    w->streams = ICE_NEW_N(w->arena, stream, (p ? p->nfiles : 0) + 2);
    if (!w->streams)
        return ice_fail_nomem(err);
    if (w->v.overlay)
        ICE_TRY(open_tail(w, ICE_IN_OVERLAY, has, err));
    ICE_TRY(open_tail(w, ICE_IN_TAIL, has, err));
    if (*has)
        ICE_TRY(open_files(w, has, err));
    w->clean = !has_tombstones(w->v.state->tail) && !has_tombstones(w->v.overlay) && w->v.state->nended == 0;
out:
    return rc;
}

static bool walkable(const ice_view *v, size_t key)
{
    const ice_keys *keys = &v->state->keys;
    return keys->keys[key].ncols == 1 && keys->keys[0].ncols <= KEY_MAX &&
           (!v->state->published || ice__published_resident(v->state->published));
}

ice_code ice_view_walk(ice_view *v, size_t key, bool descending, const ice_walk_range *range, ice_walk **out,
                       ice_error *err)
{
    bool has = true;
    ice_code rc;
    *out = NULL;
    if (v->mode != ICE_VIEW_CURRENT || key >= v->state->keys.n)
        return ice_fail(err, ICE_MISUSE, "table %.*s: only a current view is walked by one of its keys",
                        ICE_PRI(v->state->def->name));
    if (!walkable(v, key))
        return ICE_OK;
    ice_walk *w = calloc(1, sizeof *w);
    if (!w)
        return ice_fail_nomem(err);
    w->v = *v;
    ice_tabstate_ref(w->v.state);
    w->v.overlay = v->overlay ? ice_tail_ref(v->overlay) : NULL;
    w->col = &v->state->def->cols[v->state->keys.keys[key].cols[0]];
    w->primary = &v->state->keys.keys[0];
    w->descending = descending;
    rc = (w->arena = ice_arena_create()) ? open_streams(w, &has, err) : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && has && i < w->nstreams; i++)
        narrow(w, &w->streams[i], range);
    if (rc == ICE_OK && has) {
        *out = w;
        w = NULL;
    }
    ice_walk_close(w);
    /* A cache that cannot be written is no reason for the caller to fail: it can scan. */
    return rc == ICE_DISK_FULL || rc == ICE_IO ? ICE_OK : rc;
}
