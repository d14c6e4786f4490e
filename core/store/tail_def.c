/* What a tail derives from a definition: keys, a shape, an index for each key. */
#include "store/tail_int.h"

#include <stdlib.h>

static void index_free(ice__index *x)
{
    if (x)
        ice__tailhash_free(&x->hash);
    free(x);
}

void ice__tail_free_indexes(ice_tail *t)
{
    for (size_t i = 0; t->indexes && i < t->keys.n; i++)
        index_free(t->indexes[i]);
    for (ice__index *x = t->retired, *next; x; x = next) {
        next = x->retired;
        index_free(x);
    }
}

static ice_code index_build(ice__index *x, ice_tail *t, ice_error *err)
{
    for (uint32_t i = 0; i < t->nchunks; i++) {
        ice__chunk *c = t->chunks[i];
        for (uint32_t row = 0; row < c->nrows; row++) {
            uint64_t hash;
            if (c->start[row] == ICE_TIME_MAX || !ice__tailindex_hash(x, c, row, &hash))
                continue;
            ice_code rc = ice__tailhash_reserve(&x->hash, err);
            if (rc)
                return rc;
            ice__tailhash_add(&x->hash, hash, c, row);
        }
    }
    return ICE_OK;
}

/* An index serves the same columns of the next definition while what they hash to stays. */
static bool index_serves(const ice__index *x, const ice__index *want)
{
    if (x->ncols != want->ncols || x->nulls_not_distinct != want->nulls_not_distinct)
        return false;
    for (size_t i = 0; i < x->ncols; i++)
        if (x->cols[i]->field_id != want->cols[i]->field_id ||
            !ice_type_eq(x->cols[i]->type, want->cols[i]->type))
            return false;
    return true;
}

typedef struct next_def {
    ice_keys keys;
    ice__shape *shape;
    bool new_shape;
    ice__index **wants; /* as the new definition asks for them */
    ice__index **olds;  /* the one of the tail that serves, or NULL: the want itself was built */
    uint64_t *hashes;
    bool *indexed;
} next_def;

static ice_code want_index(next_def *n, ice_tail *t, const ice_tabledef *def, size_t i, ice_error *err)
{
    const ice_key *k = &n->keys.keys[i];
    ice__index *x = n->wants[i] = ice__chunk_alloc(sizeof *x);
    const ice_column **cols = ICE_NEW_N(t->arena, const ice_column *, k->ncols);
    if (!x || !cols)
        return ice_fail_nomem(err);
    for (size_t j = 0; j < k->ncols; j++)
        cols[j] = &def->cols[k->cols[j]];
    *x = (ice__index){.ncols = k->ncols,
                      .cols = cols,
                      .shape = n->shape,
                      .pos = k->cols,
                      .nulls_not_distinct = k->nulls_not_distinct};
    for (size_t j = 0; j < t->keys.n; j++)
        if (t->indexes[j] && index_serves(t->indexes[j], x)) {
            n->olds[i] = t->indexes[j];
            return ICE_OK;
        }
    return index_build(x, t, err);
}

static ice_code prepare(next_def *n, ice_tail *t, const ice_tabledef *def, ice_error *err)
{
    ice_code rc = ice_keys_of(def, t->arena, &n->keys, err);
    if (rc)
        return rc;
    n->wants = ICE_NEW_N(t->arena, ice__index *, n->keys.n);
    n->olds = ICE_NEW_N(t->arena, ice__index *, n->keys.n);
    n->hashes = ICE_NEW_N(t->arena, uint64_t, n->keys.n);
    n->indexed = ICE_NEW_N(t->arena, bool, n->keys.n);
    n->shape = ice__tailshape_of(def->cols, def->ncols);
    n->new_shape = true;
    if (!n->wants || !n->olds || !n->hashes || !n->indexed || !n->shape)
        return ice_fail_nomem(err);
    if (t->shape && ice__tailshape_eq(t->shape, n->shape)) {
        free(n->shape);
        n->shape = t->shape;
        n->new_shape = false;
    }
    for (size_t i = 0; !rc && i < n->keys.n; i++)
        rc = want_index(n, t, def, i, err);
    return rc;
}

static void drop(next_def *n)
{
    for (size_t i = 0; n->wants && i < n->keys.n; i++)
        index_free(n->wants[i]);
    if (n->new_shape)
        free(n->shape);
}

/* Readers in the middle of a chain go on with an index that the definition has no more. */
static void retire_rest(ice_tail *t, const next_def *n)
{
    for (size_t i = 0; i < t->keys.n; i++) {
        ice__index *x = t->indexes[i];
        bool kept = false;
        for (size_t j = 0; j < n->keys.n; j++)
            kept |= n->wants[j] == x;
        if (kept)
            continue;
        x->retired = t->retired;
        t->retired = x;
    }
}

static void adopt(ice_tail *t, next_def *n, const ice_tabledef *def)
{
    for (size_t i = 0; i < n->keys.n; i++) {
        ice__index *x = n->wants[i], *old = n->olds[i];
        if (!old)
            continue;
        old->cols = x->cols;
        old->pos = x->pos;
        old->shape = x->shape;
        n->wants[i] = old;
        free(x);
    }
    retire_rest(t, n);
    if (n->new_shape) {
        n->shape->next = t->shapes;
        t->shapes = n->shape;
    }
    t->shape = n->shape;
    t->keys = n->keys;
    t->indexes = n->wants;
    t->hashes = n->hashes;
    t->indexed = n->indexed;
    t->arena_bytes = ice_arena_used(t->arena);
    t->def = def;
}

ice_code ice__tail_define(ice_tail *t, const ice_tabledef *def, ice_error *err)
{
    next_def n = {0};
    ice_code rc = prepare(&n, t, def, err);
    if (rc) {
        drop(&n);
        return rc;
    }
    pthread_rwlock_wrlock(&t->lock);
    adopt(t, &n, def);
    pthread_rwlock_unlock(&t->lock);
    return ICE_OK;
}
