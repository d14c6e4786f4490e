/* What a transaction ends of a table's files, as sets of positions that are being put together. */
#include <stdlib.h>

#include "table/table_int.h"

typedef struct mark {
    ice_dv *updated, *deleted; /* NULL: none */
} mark;

struct ice_marks {
    ice_tabstate *state;
    size_t nfiles;
    mark *files;
};

void ice_marks_free(ice_marks *m)
{
    if (!m)
        return;
    for (size_t i = 0; m->files && i < m->nfiles; i++) {
        ice_dv_free(m->files[i].updated);
        ice_dv_free(m->files[i].deleted);
    }
    free(m->files);
    ice_tabstate_unref(m->state);
    free(m);
}

static ice_code set_of(ice_marks *m, uint32_t file, ice_row_op op, ice_dv **out, ice_error *err)
{
    ice_dv **d = op == ICE_OP_DELETE ? &m->files[file].deleted : &m->files[file].updated;
    if (!*d && !(*d = ice_dv_create()))
        return ice_fail_nomem(err);
    *out = *d;
    return ICE_OK;
}

ice_code ice_marks_open(ice_tabstate *s, ice_marks **out, ice_error *err)
{
    ice_marks *m = calloc(1, sizeof *m);
    ice_dv *d;
    ice_code rc = ICE_OK;
    if (!m)
        return ice_fail_nomem(err);
    m->state = ice_tabstate_ref(s);
    m->nfiles = s->published ? s->published->nfiles : 0;
    if (!(m->files = calloc(m->nfiles + 1, sizeof *m->files)))
        rc = ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < s->nended; i++) {
        const ice_ended *e = s->ended[i].rows;
        if (e->end == ICE_ENDED_PENDING && (rc = set_of(m, s->ended[i].file, e->op, &d, err)) == ICE_OK)
            rc = ice_dv_merge(d, e->rows, err);
    }
    if (rc != ICE_OK) {
        ice_marks_free(m);
        m = NULL;
    }
    *out = m;
    return rc;
}

static bool has(const ice_dv *d, uint64_t pos)
{
    return d && ice_dv_contains(d, pos);
}

ice_code ice_marks_add(ice_marks *m, uint32_t file, uint64_t pos, ice_row_op op, bool *fresh, ice_error *err)
{
    ice_dv *d;
    if (file >= m->nfiles)
        return ice_fail(err, ICE_INTERNAL, "a row of file %u of %zu", file, m->nfiles);
    *fresh = !has(m->files[file].updated, pos) && !has(m->files[file].deleted, pos);
    if (!*fresh)
        return ICE_OK;
    ice_code rc = set_of(m, file, op, &d, err);
    return rc == ICE_OK ? ice_dv_add(d, pos, err) : rc;
}

bool ice_marks_staged(const ice_marks *m, uint32_t file)
{
    const ice__file *f = &m->state->published->files[file];
    return f->fixed_start && f->min_start >= ICE_PENDING_START;
}

/* ---- all rows ---- */

static ice_code all_deleted(ice_marks *m, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_dv *d;
    for (uint32_t i = 0; i < m->nfiles && rc == ICE_OK; i++)
        if (m->files[i].updated && (rc = set_of(m, i, ICE_OP_DELETE, &d, err)) == ICE_OK) {
            rc = ice_dv_merge(d, m->files[i].updated, err);
            ice_dv_free(m->files[i].updated);
            m->files[i].updated = NULL;
        }
    return rc;
}

ice_code ice_marks_add_all(ice_marks *m, ice_view *v, uint64_t *n, ice_error *err)
{
    ice_published *p = v->state->published;
    ice__dead *by_tail = NULL, *own = NULL;
    const ice_dv *dv;
    ice_dv *d;
    ice_code rc;
    ICE_TRY(ice__dead_of_view(v, &by_tail, &own, err));
    for (uint32_t i = 0; i < m->nfiles; i++) {
        uint32_t rows = (uint32_t)p->files[i].entry.file.record_count;
        ICE_TRY(ice__file_dv(p, &p->files[i], &dv, err));
        for (uint32_t first = 0; first < rows; first += ICE_BATCH_ROWS) {
            uint8_t mask[ICE_BATCH_ROWS / 8] = {0};
            ice__dead_mask(by_tail, i, first, v->at, mask);
            ice__dead_mask(own, i, first, INT64_MAX, mask);
            for (uint32_t k = 0; k < ICE_BATCH_ROWS && first + k < rows; k++) {
                if ((mask[k >> 3] >> (k & 7) & 1) || (dv && ice_dv_contains(dv, first + k)))
                    continue;
                ICE_TRY(set_of(m, i, ICE_OP_DELETE, &d, err));
                ICE_TRY(ice_dv_add(d, first + k, err));
                ++*n;
            }
        }
    }
    ICE_TRY(all_deleted(m, err));
out:
    ice__dead_unref(by_tail);
    ice__dead_unref(own);
    return rc;
}

/* ---- an update that became a delete ---- */

typedef struct reclassify {
    ice_marks *m;
    ice_error *err;
    ice_code rc;
} reclassify;

static int move_mark(void *arg, const ice__hit *h)
{
    reclassify *r = arg;
    mark *f = &r->m->files[h->file];
    ice_dv *d;
    if (!has(f->updated, h->pos))
        return 0;
    ice_dv_remove(f->updated, h->pos);
    if ((r->rc = set_of(r->m, h->file, ICE_OP_DELETE, &d, r->err)) == ICE_OK)
        r->rc = ice_dv_add(d, h->pos, r->err);
    return 1;
}

ice_code ice_marks_deleted(ice_marks *m, const ice_value *key, ice_error *err)
{
    const ice_tabstate *s = m->state;
    reclassify r = {m, err, ICE_OK};
    ice_code rc =
        s->published ? ice__base_find(s->published, s->def, &s->keys, 0, key, 0, move_mark, &r, err) : ICE_OK;
    return rc == ICE_OK ? r.rc : rc;
}

/* ---- the outcome ---- */

static ice_code take_one(ice_marks *m, size_t file, ice_row_op op, ice_dv **d, ice_ended **out, size_t *n,
                         ice_error *err)
{
    ice_dv *rows = *d;
    *d = NULL;
    if (!rows || ice_dv_count(rows) == 0) {
        ice_dv_free(rows);
        return ICE_OK;
    }
    ice_code rc =
        ice_ended_create(m->state->published->files[file].base, op, ICE_ENDED_PENDING, rows, &out[*n], err);
    *n += rc == ICE_OK;
    return rc;
}

ice_code ice_marks_take(ice_marks *m, ice_arena *a, ice_ended ***out, size_t *n, ice_error *err)
{
    ice_code rc = ICE_OK;
    *n = 0;
    *out = ICE_NEW_N(a, ice_ended *, 2 * m->nfiles + 1);
    if (!*out)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < m->nfiles && rc == ICE_OK; i++) {
        rc = take_one(m, i, ICE_OP_UPDATE, &m->files[i].updated, *out, n, err);
        if (rc == ICE_OK)
            rc = take_one(m, i, ICE_OP_DELETE, &m->files[i].deleted, *out, n, err);
    }
    for (size_t i = 0; rc != ICE_OK && i < *n; i++)
        ice_ended_unref((*out)[i]);
    return rc;
}
