/* Hash of places, and key indexes upon it. */
#include "store/tail_int.h"

#include <stdlib.h>

enum { FIRST_SLOTS = 16, FEW = 8 };

static size_t slot_of(const ice__hash *h, uint64_t hash)
{
    size_t i = hash & h->mask;
    while (h->slots[i].chunk && h->slots[i].hash != hash)
        i = (i + 1) & h->mask;
    return i;
}

static ice_code grow_slots(ice__hash *h, ice_error *err)
{
    size_t n = h->slots ? 2 * (h->mask + 1) : FIRST_SLOTS;
    ice__hash next = *h;
    next.slots = ice__chunk_alloc(n * sizeof *next.slots);
    if (!next.slots)
        return ice_fail_nomem(err);
    next.mask = n - 1;
    for (size_t i = 0; h->slots && i <= h->mask; i++)
        if (h->slots[i].chunk)
            next.slots[slot_of(&next, h->slots[i].hash)] = h->slots[i];
    next.bytes += (n - (h->slots ? n / 2 : 0)) * sizeof *next.slots;
    free(h->slots);
    *h = next;
    return ICE_OK;
}

static ice_code grow_links(ice__hash *h, ice_error *err)
{
    if (h->cap > UINT32_MAX / 2)
        return ice_fail(err, ICE_UNSUPPORTED, "too many versions in memory: flush the table");
    uint32_t cap = h->cap ? h->cap * 2 : FIRST_SLOTS;
    ice__link *p = ice__chunk_realloc(h->links, cap * sizeof *p);
    if (!p)
        return ice_fail_nomem(err);
    h->bytes += (cap - h->cap) * sizeof *p;
    h->links = p;
    h->cap = cap;
    return ICE_OK;
}

ice_code ice__tailhash_reserve(ice__hash *h, ice_error *err)
{
    ice_code rc = ICE_OK;
    if (!h->slots || h->used + 1 > (h->mask + 1) / 4 * 3)
        rc = grow_slots(h, err);
    if (!rc && h->nlinks == h->cap)
        rc = grow_links(h, err);
    return rc;
}

void ice__tailhash_add(ice__hash *h, uint64_t hash, void *chunk, uint32_t row)
{
    ice__slot *s = &h->slots[slot_of(h, hash)];
    uint32_t next = 0;
    if (s->chunk) {
        h->links[h->nlinks++] = (ice__link){s->chunk, s->row, s->next};
        next = h->nlinks;
    } else {
        h->used++;
    }
    *s = (ice__slot){hash, chunk, row, next};
}

ice__link ice__tailhash_first(const ice__hash *h, uint64_t hash)
{
    if (!h->slots)
        return (ice__link){0};
    const ice__slot *s = &h->slots[slot_of(h, hash)];
    return (ice__link){s->chunk, s->row, s->next};
}

void ice__tailhash_free(ice__hash *h)
{
    free(h->slots);
    free(h->links);
    *h = (ice__hash){0};
}

/* ---- keys of rows ---- */

static void key_value(const ice__index *x, const ice__chunk *c, uint32_t row, size_t i, ice_value *out)
{
    if (c->shape == x->shape)
        ice__chunk_get(c, (size_t)x->pos[i], row, out);
    else
        ice__chunk_row_value(c, row, x->cols[i], out);
}

bool ice__tailindex_hash(const ice__index *x, const ice__chunk *c, uint32_t row, uint64_t *out)
{
    ice_value few[FEW], *v = few;
    bool null = false;
    if (x->ncols > FEW)
        v = __builtin_alloca(x->ncols * sizeof *v);
    for (size_t i = 0; i < x->ncols; i++) {
        key_value(x, c, row, i, &v[i]);
        null |= v[i].null;
    }
    if (null && !x->nulls_not_distinct)
        return false;
    *out = ice_key_hash(v, x->ncols);
    return true;
}

bool ice__tailindex_matches(const ice__index *x, const ice__chunk *c, uint32_t row, const ice_value *values)
{
    for (size_t i = 0; i < x->ncols; i++) {
        ice_value v;
        key_value(x, c, row, i, &v);
        if (!ice_value_eq(&v, &values[i]))
            return false;
    }
    return true;
}
