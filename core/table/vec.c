/* Column vectors: filling them value by value, promotions, columns that a file has not. */
#include "table/table_int.h"

ice_code ice__fill_init(ice__fill *f, ice_arena *a, ice_type t, size_t rows, ice_error *err)
{
    size_t width = ice_type_width(t);
    *f = (ice__fill){.type = t};
    f->validity = ICE_NEW_N(a, uint8_t, (rows + 7) / 8 + 1);
    if (width)
        f->data = ice_arena_array(a, rows ? rows : 1, width);
    else
        f->strs = ICE_NEW_N(a, ice_strval, rows ? rows : 1);
    return f->validity && (f->data || f->strs) ? ICE_OK : ice_fail_nomem(err);
}

static int64_t whole(const ice_value *v)
{
    return v->kind == ICE_T_DECIMAL ? (int64_t)v->dec : v->i;
}

static double number(const ice_value *v)
{
    return v->kind == ICE_T_FLOAT || v->kind == ICE_T_DOUBLE ? v->d : (double)v->i;
}

static ice_i128 unscaled(const ice_value *v, uint8_t scale)
{
    ice_i128 d = v->kind == ICE_T_DECIMAL ? v->dec : v->i;
    uint8_t have = v->kind == ICE_T_DECIMAL ? v->scale : 0;
    for (; have < scale; have++)
        d *= 10;
    return d;
}

static void store(ice__fill *f, size_t row, const ice_value *v)
{
    size_t width = ice_type_width(f->type);
    uint8_t *to = f->data ? f->data + row * width : NULL;
    switch (f->type.kind) {
    case ICE_T_BOOL:
        *to = v->b;
        break;
    case ICE_T_INT:
    case ICE_T_DATE:
        *(int32_t *)to = (int32_t)whole(v);
        break;
    case ICE_T_FLOAT:
        *(float *)to = (float)number(v);
        break;
    case ICE_T_DOUBLE:
        *(double *)to = number(v);
        break;
    case ICE_T_DECIMAL: {
        ice_i128 d = unscaled(v, f->type.scale);
        if (width == 8)
            *(int64_t *)to = (int64_t)d;
        else
            memcpy(to, &d, sizeof d);
        break;
    }
    case ICE_T_UUID:
        memcpy(to, v->uuid, 16);
        break;
    case ICE_T_STRING:
    case ICE_T_FIXED:
    case ICE_T_BINARY:
        f->strs[row] = (ice_strval){v->s.ptr, (uint32_t)v->s.len};
        break;
    default:
        *(int64_t *)to = whole(v);
    }
}

void ice__fill_set(ice__fill *f, size_t row, const ice_value *v)
{
    uint8_t bit = (uint8_t)(1u << (row & 7));
    if (v->null) {
        f->validity[row >> 3] &= (uint8_t)~bit;
        if (f->strs)
            f->strs[row] = (ice_strval){"", 0};
        else
            memset(f->data + row * ice_type_width(f->type), 0, ice_type_width(f->type));
        return;
    }
    f->validity[row >> 3] |= bit;
    store(f, row, v);
}

void ice__fill_vec(const ice__fill *f, ice_vec *out)
{
    *out = (ice_vec){.type = f->type, .validity = f->validity, .data = f->data, .strs = f->strs};
}

void ice__file_vec(const ice__file *f, const ice_chunkfile *c, const ice_column *col, ice_vec_const *mem,
                   ice_vec *out)
{
    ice_value start = {.kind = ICE_T_TIMESTAMPTZ, .i = f->min_start};
    if (ice_chunkfile_column(c, col->field_id, out))
        return;
    if (col->field_id == ICE_FIELD_ROW_START && f->fixed_start)
        ice_vec_constant(col->type, &start, mem, out);
    else
        ice_vec_constant(col->type, col->has_initial ? &col->initial : NULL, mem, out);
}

/* The promotions of Iceberg's schema evolution between fixed-width types. */
bool ice__promote_rows(const ice_vec *in, size_t first, size_t n, ice_type t, void *out)
{
    uint8_t from = in->type.kind, to = t.kind;
    bool whole_number = from == ICE_T_INT && to == ICE_T_LONG;
    bool date = from == ICE_T_DATE && (to == ICE_T_TIMESTAMP || to == ICE_T_TIMESTAMPTZ);
    if (whole_number || date) {
        const int32_t *src = (const int32_t *)in->data + first;
        for (size_t i = 0; i < n; i++)
            ((int64_t *)out)[i] = (int64_t)src[i] * (date ? INT64_C(86400000000) : 1);
        return true;
    }
    if (from == ICE_T_FLOAT && to == ICE_T_DOUBLE) {
        const float *src = (const float *)in->data + first;
        for (size_t i = 0; i < n; i++)
            ((double *)out)[i] = src[i];
        return true;
    }
    if (from == ICE_T_DECIMAL && to == ICE_T_DECIMAL && in->type.scale == t.scale &&
        ice_type_width(in->type) == 8 && ice_type_width(t) == 16) {
        const int64_t *src = (const int64_t *)in->data + first;
        for (size_t i = 0; i < n; i++) {
            ice_i128 wide = src[i];
            memcpy((char *)out + 16 * i, &wide, sizeof wide);
        }
        return true;
    }
    return false;
}
