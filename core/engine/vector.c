/* Our column vectors into DuckDB's. Fixed widths are copied or gathered; strings longer than 12 bytes are handed over
 * as pointers, which is why a source keeps its string bytes until it is released. */
#include "engine/engine_int.h"

static inline size_t row_of(const ice_batch *b, size_t i)
{
    return b->sel ? b->sel[i] : b->first + i;
}

/* dst[i] = (type)src[row]; a straight copy where rows are consecutive and widths agree. */
#define ICE__GATHER(dst_type, src_type)                                                                                \
    do {                                                                                                               \
        const src_type *src_ = v->data;                                                                                \
        dst_type *dst_ = dst;                                                                                          \
        if (!b->sel && sizeof(dst_type) == sizeof(src_type))                                                           \
            memcpy(dst_, src_ + b->first, b->count * sizeof(src_type));                                                \
        else if (b->sel)                                                                                               \
            for (size_t i_ = 0; i_ < b->count; i_++)                                                                   \
                dst_[i_] = (dst_type)src_[b->sel[i_]];                                                                 \
        else                                                                                                           \
            for (size_t i_ = 0; i_ < b->count; i_++)                                                                   \
                dst_[i_] = (dst_type)src_[b->first + i_];                                                              \
    } while (0)

static void fill_wide(void *dst, const ice_vec *v, const ice_batch *b)
{
    const char *src = v->data;
    if (!b->sel) {
        memcpy(dst, src + (size_t)b->first * 16, b->count * 16);
        return;
    }
    for (size_t i = 0; i < b->count; i++)
        memcpy((char *)dst + i * 16, src + (size_t)b->sel[i] * 16, 16);
}

static void fill_uuid(duck_huge *dst, const ice_vec *v, const ice_batch *b)
{
    const uint8_t *src = v->data;
    for (size_t i = 0; i < b->count; i++)
        dst[i] = ice__uuid_to_huge(src + row_of(b, i) * 16);
}

static void fill_decimal(void *dst, const ice_vec *v, const ice_batch *b)
{
    if (v->type.precision > 18)
        fill_wide(dst, v, b);
    else if (v->type.precision > 9)
        ICE__GATHER(int64_t, int64_t);
    else if (v->type.precision > 4)
        ICE__GATHER(int32_t, int64_t);
    else
        ICE__GATHER(int16_t, int64_t);
}

/* The bytes of a string of at most 12, zeros behind them, without a call: whole loads from both ends that overlap where it is shorter. */
static inline void put_short(duck_string *dst, const char *p, size_t n)
{
    uint64_t low = 0;
    uint32_t high = 0;
    if (n >= 8) {
        uint32_t last;
        memcpy(&low, p, 8);
        memcpy(&last, p + n - 4, 4);
        high = (uint32_t)((uint64_t)last >> (8 * (DUCK_INLINE - n)));
    } else if (n >= 4) {
        uint32_t first, last;
        memcpy(&first, p, 4);
        memcpy(&last, p + n - 4, 4);
        low = first | ((uint64_t)last >> (8 * (8 - n))) << 32;
    } else if (n > 0) {
        low = (uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)(uint8_t)p[n - 1] << (8 * (n - 1));
    }
    memcpy(dst->inlined, &low, 8);
    memcpy(dst->inlined + 8, &high, 4);
}

static inline void put_string(duck_string *dst, const char *p, size_t n)
{
    dst->length = (uint32_t)n;
    if (n <= DUCK_INLINE) {
        put_short(dst, p, n);
    } else {
        memcpy(dst->prefix, p, 4);
        dst->ptr = p;
    }
}

static inline void put_heap_string(duck_string *dst, const ice_vec *v, size_t row)
{
    ice_str s = ice_vec_heap_str(v, row);
    put_string(dst, s.ptr, s.len);
}

/* Entries of NULL rows may be anything in the source, so they are written as empty strings. */
static void fill_strings(duck_string *dst, const ice_vec *v, const ice_batch *b)
{
    bool all_valid = !v->validity;
    for (size_t i = 0; i < b->count; i++) {
        size_t row = row_of(b, i);
        if (!all_valid && !ice_vec_valid(v, row))
            put_string(&dst[i], NULL, 0);
        else if (v->strs)
            put_string(&dst[i], v->strs[row].ptr, v->strs[row].len);
        else
            put_heap_string(&dst[i], v, row);
    }
}

static ice_code fill_data(void *dst, const ice_vec *v, const ice_batch *b, ice_error *err)
{
    switch ((ice_kind)v->type.kind) {
    case ICE_T_BOOL: ICE__GATHER(uint8_t, uint8_t); return ICE_OK;
    case ICE_T_INT:
    case ICE_T_DATE:
    case ICE_T_FLOAT: ICE__GATHER(uint32_t, uint32_t); return ICE_OK;
    case ICE_T_LONG:
    case ICE_T_DOUBLE:
    case ICE_T_TIME:
    case ICE_T_TIMESTAMP:
    case ICE_T_TIMESTAMPTZ: ICE__GATHER(uint64_t, uint64_t); return ICE_OK;
    case ICE_T_DECIMAL: fill_decimal(dst, v, b); return ICE_OK;
    case ICE_T_UUID: fill_uuid(dst, v, b); return ICE_OK;
    case ICE_T_STRING:
    case ICE_T_FIXED:
    case ICE_T_BINARY: fill_strings(dst, v, b); return ICE_OK;
    case ICE_T_NONE: break;
    }
    return ice_fail(err, ICE_INTERNAL, "a scan produced a column of kind %d", v->type.kind);
}

static void fill_validity(uint64_t *mask, const ice_vec *v, const ice_batch *b)
{
    size_t words = (b->count + 63) / 64;
    if (!b->sel && b->first % 8 == 0) {
        /* Bits past count are never read; bytes past the source's last one are not touched. */
        memset(mask, 0xff, words * 8);
        memcpy(mask, v->validity + b->first / 8, (b->count + 7) / 8);
        return;
    }
    for (size_t w = 0; w < words; w++) {
        uint64_t bits = 0;
        size_t n = b->count - w * 64 < 64 ? b->count - w * 64 : 64;
        for (size_t i = 0; i < n; i++)
            bits |= (uint64_t)ice_vec_valid(v, row_of(b, w * 64 + i)) << i;
        mask[w] = bits;
    }
}

static ice_code fill_constant(ice_engine *e, duck_vector out, const ice_vec *v, const ice_batch *b, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_value value = NULL;
    duck_type type = ice__duck_type(e, v->type);
    if (!type)
        return ice_fail(err, ICE_INTERNAL, "a scan produced a column of kind %d", v->type.kind);
    ice_vec row = *v;
    row.constant = false;
    ice_value single = {.kind = v->type.kind, .null = true};
    if (ice_vec_valid(v, 0))
        ice_vec_get(&row, 0, &single);
    if (single.null) {
        ICE_DUCK(NULL, value_create_null(e->factory, type, &value, &de_));
    } else if (v->type.kind == ICE_T_DECIMAL) {
        duck_huge h = {.lower = (uint64_t)single.dec, .upper = (int64_t)(single.dec >> 64)};
        ICE_DUCK(NULL, value_create_decimal(e->factory, &h, v->type.precision, v->type.scale, &value, &de_));
    } else {
        ICE_TRY(ice__value_to_duck(e, &single, &value, err));
    }
    ICE_DUCK(NULL, vector_make_constant(out, value, b->count, &de_));
out:
    ice__duck.value_destroy(&value);
    return rc;
}

/* A vector of the words, seen through the rows' codes: DuckDB groups by hashing the words of a batch. */
static ice_code fill_dictionary(duck_vector out, const ice_vec *v, const ice_batch *b, ice_error *err)
{
    ice_code rc = ICE_OK;
    void *data = NULL;
    uint64_t *mask = NULL;
    ice_vec words = *v;
    words.codes = NULL;
    ICE_DUCK(NULL, vector_set_size(out, v->words, &de_));
    ICE_DUCK(NULL, vector_get_data_mutable(out, &data, &de_));
    for (uint32_t i = 0; i < v->words; i++)
        put_heap_string((duck_string *)data + i, &words, i);
    if (v->validity) {
        ICE_DUCK(NULL, vector_flat_get_validity_mutable(out, &mask, &de_));
        memset(mask, 0xff, ICE_WORDS_MAX / 8);
        mask[(v->words - 1) / 64] &= ~(UINT64_C(1) << (v->words - 1) % 64);
    }
    duck_selection sel = ice__duck.create_selection_vector(b->count);
    uint32_t *at = ice__duck.selection_vector_get_data_ptr(sel);
    for (size_t i = 0; i < b->count; i++)
        at[i] = v->codes[row_of(b, i)];
    ice__duck.slice_vector(out, sel, b->count);
    ice__duck.destroy_selection_vector(sel);
out:
    return rc;
}

ice_code ice__vector_fill(ice_engine *e, duck_vector out, const ice_vec *v, const ice_batch *b, ice_error *err)
{
    ice_code rc = ICE_OK;
    if (v->constant)
        return fill_constant(e, out, v, b, err);
    if (v->codes && v->words < b->count / 2)
        return fill_dictionary(out, v, b, err);
    void *data = NULL;
    uint64_t *mask = NULL;
    ICE_DUCK(NULL, vector_set_size(out, b->count, &de_));
    ICE_DUCK(NULL, vector_get_data_mutable(out, &data, &de_));
    ICE_TRY(fill_data(data, v, b, err));
    if (v->validity) {
        ICE_DUCK(NULL, vector_flat_get_validity_mutable(out, &mask, &de_));
        fill_validity(mask, v, b);
    }
out:
    return rc;
}
