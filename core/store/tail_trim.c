#include "store/tail_int.h"

#include <stdlib.h>

/* The new tail's own copy of an old shape. */
static ice__shape *shape_in(ice_tail *to, const ice__shape *old)
{
    for (ice__shape *s = to->shapes; s; s = s->next)
        if (ice__tailshape_eq(s, old))
            return s;
    ice__shape *s = ice__tailshape_copy(old);
    if (!s)
        return NULL;
    s->next = to->shapes;
    to->shapes = s;
    return s;
}

static ice_code copy_row(ice_tail *to, ice__shape *shape, const ice__chunk *from, uint32_t row,
                         ice_error *err)
{
    ice__chunk *c;
    uint32_t at;
    ice_code rc = ice__tail_slot(to, shape, &c, &at, err);
    for (size_t i = 0; !rc && i < shape->ncols; i++) {
        ice_value v;
        ice__chunk_get(from, i, row, &v);
        rc = ice__chunk_put(c, i, at, &v, err);
    }
    if (rc)
        return rc;
    return ice__tail_publish(to, c, at, ice__start(from, row), ice__end(from, row), from->ops[row], err);
}

/* A version the snapshot holds as current, but that has ended since. */
static ice_code bury_row(ice_tail *to, const ice__chunk *from, uint32_t row, ice_error *err)
{
    const ice__index *x = to->indexes[0];
    ice_ref r = {(void *)from, row};
    ice_value *key = __builtin_alloca(x->ncols * sizeof *key);
    for (size_t i = 0; i < x->ncols; i++)
        ice__chunk_row_value(from, row, x->cols[i], &key[i]);
    return ice__tail_add_tomb(to, key, x->ncols, ice_key_hash(key, x->ncols), ice_ref_start(r),
                              ice_ref_end(r), ice_ref_end_op(r), err);
}

static ice_code trim_chunk(ice_tail *to, const ice__chunk *c, int64_t flushed, ice_error *err)
{
    ice_code rc = ICE_OK;
    if (!c->ended && c->max_start <= flushed)
        return ICE_OK;
    ice__shape *shape = shape_in(to, c->shape);
    if (!shape)
        return ice_fail_nomem(err);
    for (uint32_t row = 0; !rc && row < c->nrows; row++) {
        int64_t start = ice__start(c, row), end = ice__end(c, row);
        if (start == ICE_TIME_MAX)
            continue;
        if (start > flushed)
            rc = copy_row(to, shape, c, row, err);
        else if (end > flushed && end != ICE_TIME_MAX)
            rc = bury_row(to, c, row, err);
    }
    return rc;
}

static ice_code trim_tombs(ice_tail *to, ice_tail *t, int64_t flushed, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (ice__tomb_block *b = t->first_tombs; !rc && b; b = b->next)
        for (uint32_t i = 0; !rc && i < b->n; i++) {
            const ice__tomb *x = &b->items[i];
            if (x->end > flushed && x->end != ICE_TIME_MAX)
                rc = ice__tail_add_tomb(to, x->key, x->ncols, x->hash, x->base_start, x->end, x->op, err);
        }
    return rc;
}

ice_code ice_tail_trim(ice_tail *t, int64_t flushed, ice_tail **out, ice_error *err)
{
    ice_tail *to;
    *out = NULL;
    ice_code rc = ice_tail_create(t->def, &to, err);
    if (rc)
        return rc;
    pthread_rwlock_rdlock(&t->lock); /* keeps undo out; the caller keeps other writes out */
    for (uint32_t i = 0; !rc && i < t->nchunks; i++)
        rc = trim_chunk(to, t->chunks[i], flushed, err);
    if (!rc)
        rc = trim_tombs(to, t, flushed, err);
    pthread_rwlock_unlock(&t->lock);
    if (rc) {
        ice_tail_unref(to);
        return rc;
    }
    *out = to;
    return ICE_OK;
}
