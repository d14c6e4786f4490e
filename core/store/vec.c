#include "store/chunk_int.h"

static int64_t get_i32(const void *p)
{
    int32_t x;
    memcpy(&x, p, 4);
    return x;
}
static int64_t get_i64(const void *p)
{
    int64_t x;
    memcpy(&x, p, 8);
    return x;
}

static void get_double(ice_type t, const void *src, ice_value *out)
{
    if (t.kind == ICE_T_FLOAT) {
        float f;
        memcpy(&f, src, 4);
        out->d = f;
    } else {
        memcpy(&out->d, src, 8);
    }
}

static void get_decimal(ice_type t, const void *src, ice_value *out)
{
    out->scale = t.scale;
    if (t.precision > 18)
        memcpy(&out->dec, src, 16);
    else
        out->dec = get_i64(src);
}

void ice__vec_fixed_get(ice_type t, const void *src, ice_value *out)
{
    *out = (ice_value){.kind = t.kind};
    switch (t.kind) {
    case ICE_T_BOOL:
        out->b = *(const uint8_t *)src != 0;
        break;
    case ICE_T_INT:
    case ICE_T_DATE:
        out->i = get_i32(src);
        break;
    case ICE_T_FLOAT:
    case ICE_T_DOUBLE:
        get_double(t, src, out);
        break;
    case ICE_T_DECIMAL:
        get_decimal(t, src, out);
        break;
    case ICE_T_UUID:
        memcpy(out->uuid, src, 16);
        break;
    default:
        out->i = get_i64(src);
    }
}

void ice__vec_fixed_put(ice_type t, const ice_value *v, void *dst)
{
    switch (ice_type_width(t)) {
    case 1:
        *(uint8_t *)dst = v->b;
        break;
    case 4:
        if (t.kind == ICE_T_FLOAT)
            memcpy(dst, &(float){(float)v->d}, 4);
        else
            memcpy(dst, &(int32_t){(int32_t)v->i}, 4);
        break;
    case 8:
        if (t.kind == ICE_T_DECIMAL)
            memcpy(dst, &(int64_t){(int64_t)v->dec}, 8);
        else
            memcpy(dst, &v->i, 8); /* the same bytes as v->d */
        break;
    default:
        memcpy(dst, t.kind == ICE_T_UUID ? (const void *)v->uuid : &v->dec, 16);
    }
}

void ice_vec_get(const ice_vec *v, size_t i, ice_value *out)
{
    if (v->constant)
        i = 0;
    if (!ice_vec_valid(v, i)) {
        *out = (ice_value){.kind = v->type.kind, .null = true};
        return;
    }
    if (!ice__is_string(v->type)) {
        ice__vec_fixed_get(v->type, (const uint8_t *)v->data + i * ice_type_width(v->type), out);
        return;
    }
    *out = (ice_value){.kind = v->type.kind};
    if (v->strs)
        out->s = (ice_str){v->strs[i].ptr, v->strs[i].len};
    else
        out->s = ice_vec_heap_str(v, i);
}

void ice_vec_constant(ice_type t, const ice_value *v, ice_vec_const *mem, ice_vec *out)
{
    *mem = (ice_vec_const){0};
    *out = (ice_vec){.type = t, .constant = true, .data = mem->bytes, .validity = &mem->validity};
    if (ice__is_string(t))
        out->strs = &mem->str;
    mem->str.ptr = "";
    if (!v || v->null)
        return;
    out->validity = NULL;
    if (ice__is_string(t))
        mem->str = (ice_strval){v->s.ptr ? v->s.ptr : "", (uint32_t)v->s.len};
    else
        ice__vec_fixed_put(t, v, mem->bytes);
}
