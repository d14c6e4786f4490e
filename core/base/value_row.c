/* Row coding: see value.h. The bound on a row's size is taken first, so that the values are written with one
 * check of the buffer. */
#include <assert.h>

#include "base/value_int.h"

enum { VARINT_MAX = 10 };

static bool is_bytes(ice_type t)
{
    return t.kind == ICE_T_STRING || t.kind == ICE_T_BINARY || t.kind == ICE_T_FIXED;
}

static size_t row_bound(const ice_type *types, const ice_value *values, size_t n)
{
    size_t bound = (n + 7) / 8 + n * 16;

    for (size_t i = 0; i < n; i++)
        if (is_bytes(types[i]) && !values[i].null && __builtin_add_overflow(bound, values[i].s.len, &bound))
            return SIZE_MAX;
    return bound;
}

static char *put_bytes(char *p, ice_str s)
{
    size_t v = s.len;

    for (; v >= 0x80; v >>= 7)
        *p++ = (char)(v | 0x80);
    *p++ = (char)v;
    if (s.len)
        memcpy(p, s.ptr, s.len);
    return p + s.len;
}

static char *put_value(char *p, ice_type t, const ice_value *v)
{
    size_t width = ice_type_width(t);
    float f;

    switch (t.kind) {
    case ICE_T_BOOL:
        *p = (char)v->b;
        break;
    case ICE_T_FLOAT:
        f = (float)v->d;
        memcpy(p, &f, sizeof f);
        break;
    case ICE_T_DOUBLE:
        memcpy(p, &v->d, sizeof v->d);
        break;
    case ICE_T_DECIMAL:
        assert(v->scale == t.scale);
        memcpy(p, &v->dec, width);
        break;
    case ICE_T_UUID:
        memcpy(p, v->uuid, sizeof v->uuid);
        break;
    case ICE_T_STRING:
    case ICE_T_BINARY:
    case ICE_T_FIXED:
        return put_bytes(p, v->s);
    default:
        memcpy(p, &v->i, width);
    }
    return p + width;
}

void ice_row_encode(const ice_type *types, const ice_value *values, size_t n, ice_buf *out)
{
    char *start = ice_buf_reserve(out, row_bound(types, values, n)), *p;

    if (!start)
        return;
    p = start + (n + 7) / 8;
    memset(start, 0, (n + 7) / 8);
    for (size_t i = 0; i < n; i++) {
        if (values[i].null)
            start[i / 8] = (char)(start[i / 8] | 1 << (i % 8));
        else
            p = put_value(p, types[i], &values[i]);
    }
    out->len += (size_t)(p - start);
}

static int64_t signed_of(const uint8_t *p, size_t width)
{
    int64_t v = 0;

    if (width == 4) {
        int32_t small;

        memcpy(&small, p, sizeof small);
        return small;
    }
    memcpy(&v, p, sizeof v);
    return v;
}

/* False where the bytes cannot be a value of the type. */
static bool get_fixed(const uint8_t *p, size_t width, ice_type t, ice_value *v)
{
    float f;

    switch (t.kind) {
    case ICE_T_BOOL:
        v->b = *p == 1;
        return *p <= 1;
    case ICE_T_FLOAT:
        memcpy(&f, p, sizeof f);
        v->d = f;
        return true;
    case ICE_T_DOUBLE:
        memcpy(&v->d, p, sizeof v->d);
        return true;
    case ICE_T_DECIMAL:
        v->scale = t.scale;
        if (width == 8)
            v->dec = signed_of(p, 8);
        else
            memcpy(&v->dec, p, 16);
        return true;
    case ICE_T_UUID:
        memcpy(v->uuid, p, sizeof v->uuid);
        return true;
    default:
        v->i = signed_of(p, width);
        return true;
    }
}

static bool get_value(ice_reader *r, ice_type t, ice_value *v)
{
    size_t width = ice_type_width(t);
    const uint8_t *p;
    uint64_t length;

    if (width > 0)
        return (p = ice_read_bytes(r, width)) && get_fixed(p, width, t, v);
    if (!is_bytes(t))
        return false;
    length = ice_read_varint(r);
    if (r->failed || !(p = ice_read_bytes(r, length)))
        return false;
    v->s = (ice_str){(const char *)p, length};
    return t.kind != ICE_T_FIXED || length == t.length;
}

ice_code ice_row_decode(ice_reader *r, const ice_type *types, size_t n, ice_value *values, ice_error *err)
{
    const uint8_t *nulls = ice_read_bytes(r, (n + 7) / 8);

    if (!nulls)
        return ice_fail(err, ICE_CORRUPT, "row of %zu columns is cut short in its null bitmap", n);
    for (size_t i = 0; i < n; i++) {
        ice_value *v = &values[i];

        *v = (ice_value){.kind = types[i].kind, .null = nulls[i / 8] >> (i % 8) & 1};
        if (!v->null && !get_value(r, types[i], v))
            return ice_fail(err, ICE_CORRUPT, "row of %zu columns: value %zu is cut short or malformed", n, i);
    }
    return ICE_OK;
}
