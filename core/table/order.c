/* The order of a file's rows by the values of one column: most files are written in the order they are asked for,
 * and for the others the positions in that order are a file of the cache.
 *
 * A value is sorted by eight bytes that order as the values do; where those do not tell two of them apart, by the values. */
#include "table/table_int.h"

#include <stdlib.h>

typedef struct placed {
    uint64_t prefix;
    uint32_t pos;
} placed;

/* ---- sorted already? ---- */

#define IS_SORTED(type)                                                                                      \
    do {                                                                                                     \
        const type *x = v->data;                                                                             \
        for (uint32_t i = 1; i < rows; i++)                                                                  \
            if (x[i] < x[i - 1])                                                                             \
                return false;                                                                                \
        return true;                                                                                         \
    } while (0)

bool ice__vec_is_sorted(const ice_vec *v, uint32_t rows)
{
    ice_value before, value;
    if (v->constant)
        return true;
    if (!v->validity && (v->type.kind == ICE_T_LONG || v->type.kind == ICE_T_TIMESTAMPTZ))
        IS_SORTED(int64_t);
    if (!v->validity && (v->type.kind == ICE_T_INT || v->type.kind == ICE_T_DATE))
        IS_SORTED(int32_t);
    for (uint32_t i = 0; i < rows; i++) {
        ice_vec_get(v, i, &value);
        if (i && ice__order_cmp(&before, &value) > 0)
            return false;
        before = value;
    }
    return true;
}

/* ---- sorting ---- */

static uint64_t first_bytes(const void *p, size_t n)
{
    uint64_t x = 0;
    for (size_t i = 0; i < 8; i++)
        x = x << 8 | (i < n ? ((const uint8_t *)p)[i] : 0);
    return x;
}

static uint64_t of_double(double d)
{
    uint64_t bits;
    if (d != d)
        return UINT64_MAX;
    d = d == 0 ? 0 : d; /* -0 too */
    memcpy(&bits, &d, 8);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

/* *exact: no two different values have it. */
static uint64_t prefix_of(const ice_value *v, ice_type t, bool *exact)
{
    const uint64_t sign = (uint64_t)1 << 63;
    *exact = true;
    switch (t.kind) {
    case ICE_T_BOOL:
        return v->b;
    case ICE_T_FLOAT:
    case ICE_T_DOUBLE:
        return of_double(v->d);
    case ICE_T_DECIMAL:
        *exact = t.precision <= 18;
        return (uint64_t)(*exact ? v->dec : v->dec >> 64) ^ sign;
    case ICE_T_UUID:
        *exact = false;
        return first_bytes(v->uuid, 16);
    case ICE_T_STRING:
    case ICE_T_BINARY:
    case ICE_T_FIXED:
        *exact = false;
        return first_bytes(v->s.ptr, v->s.len);
    default:
        return (uint64_t)v->i ^ sign;
    }
}

/* Radix sort, least byte first: stable. Bytes that all values share are passed over. */
static void radix_sort(placed *p, placed *other, size_t n)
{
    placed *from = p, *to = other;
    for (int shift = 0; shift < 64; shift += 8) {
        size_t at[256] = {0};
        for (size_t i = 0; i < n; i++)
            at[from[i].prefix >> shift & 255]++;
        if (n && at[from[0].prefix >> shift & 255] == n)
            continue;
        for (size_t b = 0, sum = 0; b < 256; b++) {
            sum += at[b];
            at[b] = sum - at[b];
        }
        for (size_t i = 0; i < n; i++)
            to[at[from[i].prefix >> shift & 255]++] = from[i];
        placed *swap = from;
        from = to;
        to = swap;
    }
    if (n && from != p)
        memcpy(p, from, n * sizeof *p);
}

static int by_value(const void *x, const void *y, void *vec)
{
    const placed *p = x, *q = y;
    ice_value a, b;
    ice_vec_get(vec, p->pos, &a);
    ice_vec_get(vec, q->pos, &b);
    int cmp = ice_value_cmp(&a, &b);
    return cmp ? cmp : p->pos < q->pos ? -1 : p->pos > q->pos;
}

static void sort_equals(placed *p, size_t n, const ice_vec *v)
{
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && p[end].prefix == p[i].prefix;)
            end++;
        if (end - i > 1)
            qsort_r(p + i, end - i, sizeof *p, by_value, (void *)v);
    }
}

static ice_code sort_positions(const ice_vec *v, uint32_t rows, uint32_t *out, ice_error *err)
{
    placed *p = malloc(rows * sizeof *p), *other = malloc(rows * sizeof *other);
    uint32_t n = 0, nulls = 0;
    bool exact = true;
    ice_code rc = p && other ? ICE_OK : ice_fail_nomem(err);
    for (uint32_t i = 0; rc == ICE_OK && i < rows; i++) {
        ice_value value;
        ice_vec_get(v, i, &value);
        if (value.null)
            out[rows - ++nulls] = i;
        else
            p[n++] = (placed){prefix_of(&value, v->type, &exact), i};
    }
    if (rc == ICE_OK) {
        radix_sort(p, other, n);
        if (!exact)
            sort_equals(p, n, v);
        for (uint32_t i = 0; i < n; i++)
            out[i] = p[i].pos;
    }
    free(p);
    free(other);
    return rc;
}

/* ---- the file ---- */

typedef struct writing {
    const uint32_t *positions;
    uint32_t rows, at;
    ice_vec vec;
} writing;

static ice_code next_positions(void *arg, ice_batch *out, ice_error *err)
{
    writing *w = arg;
    uint32_t n = w->rows - w->at < ICE_BATCH_ROWS ? w->rows - w->at : ICE_BATCH_ROWS;
    (void)err;
    w->vec = (ice_vec){.type = {.kind = ICE_T_INT}, .data = w->positions + w->at};
    *out = (ice_batch){.count = n, .vecs = &w->vec, .nvecs = 1};
    w->at += n;
    return ICE_OK;
}

ice_code ice__order_write(const ice_vec *v, uint32_t rows, int32_t field_id, const char *path, ice_error *err)
{
    uint32_t *positions = malloc((rows ? rows : 1) * sizeof *positions);
    ice_column col = {.field_id = field_id, .name = ICE_STR("position"), .type = {.kind = ICE_T_INT}};
    writing w = {.positions = positions, .rows = rows};
    ice_code rc = positions ? ICE_OK : ice_fail_nomem(err);
    if (rc == ICE_OK)
        ICE_TRY(sort_positions(v, rows, positions, err));
    if (rc == ICE_OK)
        ICE_TRY(ice_chunkfile_write(path, &col, 1, next_positions, &w, err));
out:
    free(positions);
    return rc;
}
