/* Shapes, chunks and single values. */
#include "store/tail_int.h"

#include <stdlib.h>

/* ---- shapes ---- */

static ice__shape *shape_alloc(size_t ncols)
{
    ice__shape *s = ice__chunk_alloc(sizeof *s + ncols * sizeof *s->cols);
    if (s)
        s->ncols = ncols;
    return s;
}

ice__shape *ice__tailshape_of(const ice_column *cols, size_t ncols)
{
    ice__shape *s = shape_alloc(ncols);
    for (size_t i = 0; s && i < ncols; i++) {
        ice_type t = cols[i].type;
        uint32_t width = ice__is_string(t) ? sizeof(ice_strval) : (uint32_t)ice_type_width(t);
        s->cols[i] = (ice__shape_col){cols[i].field_id, width, t};
    }
    return s;
}

ice__shape *ice__tailshape_copy(const ice__shape *from)
{
    ice__shape *s = shape_alloc(from->ncols);
    if (s)
        memcpy(s->cols, from->cols, from->ncols * sizeof *s->cols);
    return s;
}

bool ice__tailshape_eq(const ice__shape *a, const ice__shape *b)
{
    if (a->ncols != b->ncols)
        return false;
    for (size_t i = 0; i < a->ncols; i++)
        if (a->cols[i].field_id != b->cols[i].field_id || !ice_type_eq(a->cols[i].type, b->cols[i].type))
            return false;
    return true;
}

int ice__tailshape_find(const ice__shape *s, int32_t field_id)
{
    for (size_t i = 0; i < s->ncols; i++)
        if (s->cols[i].field_id == field_id)
            return (int)i;
    return -1;
}

/* ---- heap ---- */

struct ice__heap_block {
    ice__heap_block *next;
    size_t used, cap;
    _Alignas(16) char bytes[];
};
enum { HEAP_FIRST = 256, HEAP_LAST = 64 << 10 };

void *ice__tailheap_alloc(ice__heap *h, size_t n, size_t align)
{
    ice__heap_block *b = h->head;
    size_t at = b ? (b->used + align - 1) & ~(align - 1) : 0;
    if (b && at <= b->cap && n <= b->cap - at) {
        b->used = at + n;
        return b->bytes + at;
    }
    size_t cap = b ? b->cap * 2 : HEAP_FIRST;
    if (cap < 4 * n)
        cap = 4 * n;
    if (cap > HEAP_LAST)
        cap = HEAP_LAST;
    bool alone = n > HEAP_LAST / 4; /* its own block, so that the rest of the head stays in use */
    if (alone)
        cap = n;
    if (n > SIZE_MAX / 8 || ice_fault("store.alloc") || !(b = malloc(sizeof *b + cap)))
        return NULL;
    b->cap = cap;
    b->used = n;
    h->bytes += sizeof *b + cap;
    if (alone && h->head) {
        b->next = h->head->next;
        h->head->next = b;
    } else {
        b->next = h->head;
        h->head = b;
    }
    return b->bytes;
}

void ice__tailheap_free(ice__heap *h)
{
    for (ice__heap_block *b = h->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    *h = (ice__heap){0};
}

/* ---- chunks ---- */

/* One block: the struct, the stamps, then the columns, wide ones aligned for vector loads. */
ice__chunk *ice__chunk_create(const ice__shape *s, uint32_t cap)
{
    size_t head = ice__align(sizeof(ice__chunk) + s->ncols * sizeof(ice__chunk_col));
    size_t stamps = ice__align(cap * sizeof(int64_t)), ops = ice__align(cap),
           bits = ice__align((cap + 7) / 8);
    size_t size = head + 2 * stamps + ops;
    for (size_t i = 0; i < s->ncols; i++)
        size += bits + ice__align((uint64_t)cap * s->cols[i].width);
    uint8_t *p = ice__chunk_alloc(size);
    ice__chunk *c = (ice__chunk *)p;
    if (!c)
        return NULL;
    c->shape = s;
    c->cap = cap;
    c->bytes = size;
    c->max_start = c->max_stamp = INT64_MIN;
    c->start = (_Atomic int64_t *)(p += head);
    c->end = (_Atomic int64_t *)(p += stamps);
    c->ops = (_Atomic uint8_t *)(p += stamps);
    p += ops;
    for (size_t i = 0; i < s->ncols; i++) {
        c->cols[i].validity = memset(p, 0xff, bits);
        c->cols[i].data = p += bits;
        p += ice__align((uint64_t)cap * s->cols[i].width);
    }
    return c;
}

void ice__chunk_free(ice__chunk *c)
{
    if (!c)
        return;
    ice__tailheap_free(&c->heap);
    free(c);
}

static ice_code put_string(ice__chunk *c, ice_strval *to, ice_str s, ice_error *err)
{
    char *p = "";
    if (s.len > UINT32_MAX)
        return ice_fail(err, ICE_TOO_LONG, "a value of %zu bytes is too long", s.len);
    if (s.len) {
        p = ice__tailheap_alloc(&c->heap, s.len, 1);
        if (!p)
            return ice_fail_nomem(err);
        memcpy(p, s.ptr, s.len);
    }
    *to = (ice_strval){p, (uint32_t)s.len};
    return ICE_OK;
}

/* Readers of earlier rows may look at the same byte. */
static void put_validity(ice__chunk_col *k, uint32_t row, bool null)
{
    _Atomic uint8_t *byte = (_Atomic uint8_t *)&k->validity[row >> 3];
    uint8_t bit = (uint8_t)(1u << (row & 7));
    if (null) {
        atomic_fetch_and_explicit(byte, (uint8_t)~bit, memory_order_relaxed);
        atomic_store_explicit(&k->nulls, true, memory_order_relaxed);
    } else if (!(atomic_load_explicit(byte, memory_order_relaxed) & bit)) { /* left by a row that failed */
        atomic_fetch_or_explicit(byte, bit, memory_order_relaxed);
    }
}

ice_code ice__chunk_put(ice__chunk *c, size_t col, uint32_t row, const ice_value *v, ice_error *err)
{
    const ice__shape_col *s = &c->shape->cols[col];
    ice__chunk_col *k = &c->cols[col];
    uint8_t *to = k->data + (size_t)row * s->width;
    put_validity(k, row, v->null);
    if (v->null) {
        memset(to, 0, s->width);
        return ICE_OK;
    }
    if (ice__is_string(s->type))
        return put_string(c, (ice_strval *)to, v->s, err);
    ice__vec_fixed_put(s->type, v, to);
    return ICE_OK;
}

void ice__chunk_get(const ice__chunk *c, size_t col, uint32_t row, ice_value *out)
{
    const ice__shape_col *s = &c->shape->cols[col];
    const ice__chunk_col *k = &c->cols[col];
    const uint8_t *at = k->data + (size_t)row * s->width;
    if (atomic_load_explicit(&k->nulls, memory_order_relaxed) &&
        !(atomic_load_explicit((_Atomic uint8_t *)&k->validity[row >> 3], memory_order_relaxed) >> (row & 7) &
          1)) {
        *out = (ice_value){.kind = s->type.kind, .null = true};
    } else if (ice__is_string(s->type)) {
        const ice_strval *str = (const ice_strval *)at;
        *out = (ice_value){.kind = s->type.kind, .s = {str->ptr, str->len}};
    } else {
        ice__vec_fixed_get(s->type, at, out);
    }
}

/* ---- values as another schema version sees them ---- */

static bool promote_decimal(ice_value *v, ice_type from, ice_type to)
{
    if (from.scale != to.scale)
        return false;
    if (to.precision > 18 || from.precision <= 18)
        return true;
    return v->dec == (int64_t)v->dec;
}

bool ice__vec_promote(ice_value *v, ice_type from, ice_type to)
{
    if (v->null || from.kind == to.kind) {
        v->kind = to.kind;
        return v->null || to.kind != ICE_T_DECIMAL || promote_decimal(v, from, to);
    }
    bool ok = ice__is_string(from) && ice__is_string(to);
    if (from.kind == ICE_T_INT && to.kind == ICE_T_LONG)
        ok = true;
    if (from.kind == ICE_T_LONG && to.kind == ICE_T_INT)
        ok = v->i == (int32_t)v->i;
    if (from.kind == ICE_T_FLOAT && to.kind == ICE_T_DOUBLE)
        ok = true;
    if (from.kind == ICE_T_DOUBLE && to.kind == ICE_T_FLOAT)
        ok = v->d == (double)(float)v->d || v->d != v->d;
    if (from.kind == ICE_T_DATE && to.kind == ICE_T_TIMESTAMP)
        ok = !__builtin_mul_overflow(v->i, 86400000000ll, &v->i);
    if (ok)
        v->kind = to.kind;
    return ok;
}

static void system_value(const ice__chunk *c, uint32_t row, int32_t field_id, ice_value *out)
{
    ice_ref r = {(void *)c, row};
    int64_t end = ice_ref_end(r);
    if (field_id == ICE_FIELD_OPERATION) {
        const char *const names[] = {"", "insert", "update", "delete"};
        ice_row_op op = end == ICE_TIME_MAX ? ice_ref_op(r) : ice_ref_end_op(r);
        *out = (ice_value){.kind = ICE_T_STRING, .s = ice_str_c(names[op & 3])};
        return;
    }
    *out =
        (ice_value){.kind = ICE_T_TIMESTAMPTZ, .i = field_id == ICE_FIELD_ROW_END ? end : ice_ref_start(r)};
    out->null = field_id == ICE_FIELD_ROW_END && end == ICE_TIME_MAX;
}

void ice__chunk_row_value(const ice__chunk *c, uint32_t row, const ice_column *col, ice_value *out)
{
    if (col->field_id >= ICE_FIELD_ROW_START && col->field_id <= ICE_FIELD_OPERATION) {
        system_value(c, row, col->field_id, out);
        return;
    }
    int at = ice__tailshape_find(c->shape, col->field_id);
    if (at < 0) {
        *out = col->has_initial ? col->initial : (ice_value){.kind = col->type.kind, .null = true};
        return;
    }
    ice__chunk_get(c, (size_t)at, row, out);
    if (!ice_type_eq(c->shape->cols[at].type, col->type))
        ice__vec_promote(out, c->shape->cols[at].type, col->type);
}

/* ---- references ---- */

bool ice_ref_visible(ice_ref r, int64_t t)
{
    return ice__visible(r.chunk, r.row, t);
}
int64_t ice_ref_start(ice_ref r)
{
    return ice__start(r.chunk, r.row);
}
int64_t ice_ref_end(ice_ref r)
{
    return ice__end(r.chunk, r.row);
}
static uint8_t ref_ops(ice_ref r)
{
    return atomic_load_explicit(&((ice__chunk *)r.chunk)->ops[r.row], memory_order_relaxed);
}
ice_row_op ice_ref_op(ice_ref r)
{
    return (ice_row_op)(ref_ops(r) & 15);
}
ice_row_op ice_ref_end_op(ice_ref r)
{
    return (ice_row_op)(ref_ops(r) >> 4);
}
void ice_ref_value(ice_ref r, const ice_column *col, ice_value *out)
{
    ice__chunk_row_value(r.chunk, r.row, col, out);
}
