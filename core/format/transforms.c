#include "format/transforms.h"

#include <math.h>
#include <stdio.h>

#include "format/format_int.h"

static const struct {
    const char *name;
    ice_transform_kind kind;
    bool has_param;
} transform_names[] = {
    {"identity", ICE_TR_IDENTITY, false}, {"bucket", ICE_TR_BUCKET, true},
    {"truncate", ICE_TR_TRUNCATE, true},  {"year", ICE_TR_YEAR, false},
    {"month", ICE_TR_MONTH, false},       {"day", ICE_TR_DAY, false},
    {"hour", ICE_TR_HOUR, false},         {"void", ICE_TR_VOID, false},
};
#define TRANSFORMS (sizeof transform_names / sizeof *transform_names)

/* The number in "[16]"; 0 where it is none or not positive. */
static int32_t parse_param(ice_str s)
{
    int64_t v = 0;
    if (s.len < 3 || s.len > 12 || s.ptr[0] != '[' || s.ptr[s.len - 1] != ']')
        return 0;
    for (size_t i = 1; i + 1 < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return 0;
        v = v * 10 + (s.ptr[i] - '0');
    }
    return v <= INT32_MAX ? (int32_t)v : 0;
}

ice_code ice_transform_parse(ice_str text, ice_transform *out, ice_error *err)
{
    size_t name = 0;
    while (name < text.len && text.ptr[name] != '[')
        name++;
    ice_str rest = {text.ptr + name, text.len - name};
    *out = (ice_transform){ICE_TR_UNKNOWN, 0};
    for (size_t i = 0; i < TRANSFORMS; i++) {
        if (!ice_str_eqc((ice_str){text.ptr, name}, transform_names[i].name))
            continue;
        int32_t param = transform_names[i].has_param ? parse_param(rest) : 0;
        if (transform_names[i].has_param ? param == 0 : rest.len != 0)
            return ice_fail(err, ICE_BAD_VALUE, "partition transform \"%.*s\": bad parameter", ICE_PRI(text));
        *out = (ice_transform){(uint8_t)transform_names[i].kind, param};
        return ICE_OK;
    }
    if (text.len == 0)
        return ice_fail(err, ICE_BAD_VALUE, "an empty partition transform");
    return ICE_OK;
}

void ice_transform_text(ice_transform t, char out[32])
{
    out[0] = 0;
    for (size_t i = 0; i < TRANSFORMS; i++)
        if (transform_names[i].kind == (ice_transform_kind)t.kind) {
            if (transform_names[i].has_param)
                snprintf(out, 32, "%s[%d]", transform_names[i].name, t.param);
            else
                snprintf(out, 32, "%s", transform_names[i].name);
        }
}

static bool is_timestamp(ice_type t)
{
    return t.kind == ICE_T_TIMESTAMP || t.kind == ICE_T_TIMESTAMPTZ;
}

static bool takes(ice_transform t, ice_type s)
{
    switch (t.kind) {
    case ICE_TR_IDENTITY:
    case ICE_TR_VOID: return s.kind != ICE_T_NONE;
    case ICE_TR_BUCKET:
        return s.kind != ICE_T_NONE && s.kind != ICE_T_BOOL && s.kind != ICE_T_FLOAT &&
               s.kind != ICE_T_DOUBLE;
    case ICE_TR_TRUNCATE:
        return s.kind == ICE_T_INT || s.kind == ICE_T_LONG || s.kind == ICE_T_DECIMAL ||
               s.kind == ICE_T_STRING || s.kind == ICE_T_BINARY;
    case ICE_TR_YEAR:
    case ICE_TR_MONTH:
    case ICE_TR_DAY: return s.kind == ICE_T_DATE || is_timestamp(s);
    case ICE_TR_HOUR: return is_timestamp(s);
    default: return false;
    }
}

ice_code ice_transform_type(ice_transform t, ice_type source, ice_type *out, ice_error *err)
{
    char text[32], type[32];
    if (!takes(t, source)) {
        ice_transform_text(t, text);
        ice_type_text(source, type);
        return ice_fail(err, ICE_UNSUPPORTED, "partition transform %s does not apply to %s",
                        text[0] ? text : "of an unknown name", type);
    }
    *out = source;
    if (t.kind == ICE_TR_DAY)
        *out = (ice_type){.kind = ICE_T_DATE};
    else if (t.kind == ICE_TR_BUCKET || t.kind == ICE_TR_YEAR || t.kind == ICE_TR_MONTH ||
             t.kind == ICE_TR_HOUR)
        *out = (ice_type){.kind = ICE_T_INT};
    return ICE_OK;
}

bool ice_transform_monotonic(ice_transform t)
{
    return t.kind == ICE_TR_IDENTITY || t.kind == ICE_TR_TRUNCATE ||
           (t.kind >= ICE_TR_YEAR && t.kind <= ICE_TR_HOUR);
}

/* ---- bucket ---- */

static uint32_t rotl(uint32_t x, int r)
{
    return x << r | x >> (32 - r);
}

/* Murmur3, x86, 32 bits, seed 0 (public domain algorithm by Austin Appleby). */
static int32_t murmur3(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t h = 0, k;
    for (size_t i = 0; i + 4 <= n; i += 4) {
        k = (uint32_t)p[i] | (uint32_t)p[i + 1] << 8 | (uint32_t)p[i + 2] << 16 | (uint32_t)p[i + 3] << 24;
        h ^= rotl(k * 0xcc9e2d51u, 15) * 0x1b873593u;
        h = rotl(h, 13) * 5 + 0xe6546b64u;
    }
    k = 0;
    for (size_t i = n; i > (n & ~(size_t)3); i--)
        k = k << 8 | p[i - 1];
    if (n & 3)
        h ^= rotl(k * 0xcc9e2d51u, 15) * 0x1b873593u;
    h ^= (uint32_t)n;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return (int32_t)(h ^ h >> 16);
}

static int32_t hash_long(uint64_t v)
{
    uint8_t b[8];
    for (int i = 0; i < 8; i++, v >>= 8)
        b[i] = (uint8_t)v;
    return murmur3(b, 8);
}

bool ice_bucket_hash(const ice_value *v, int32_t *out)
{
    uint8_t decimal[16];
    if (v->null)
        return false;
    switch (v->kind) {
    case ICE_T_INT:
    case ICE_T_LONG:
    case ICE_T_DATE:
    case ICE_T_TIME:
    case ICE_T_TIMESTAMP:
    case ICE_T_TIMESTAMPTZ: *out = hash_long((uint64_t)v->i); return true;
    case ICE_T_DECIMAL: *out = murmur3(decimal, ice__decimal_bytes(v->dec, decimal)); return true;
    case ICE_T_UUID: *out = murmur3(v->uuid, 16); return true;
    case ICE_T_STRING:
    case ICE_T_FIXED:
    case ICE_T_BINARY: *out = murmur3(v->s.ptr, v->s.len); return true;
    default: return false;
    }
}

/* ---- truncate and the parts of a date ---- */

static ice_code truncate_value(int32_t w, const ice_value *v, ice_value *out, ice_error *err)
{
    ice_i128 n = v->kind == ICE_T_DECIMAL ? v->dec : v->i, rest = n % w;
    n -= rest < 0 ? rest + w : rest;
    switch (v->kind) {
    case ICE_T_INT:
    case ICE_T_LONG:
        if (n < (v->kind == ICE_T_INT ? (ice_i128)INT32_MIN : (ice_i128)INT64_MIN))
            return ice_fail(err, ICE_RANGE, "truncate[%d] of %lld is out of range", w, (long long)v->i);
        out->i = (int64_t)n;
        return ICE_OK;
    case ICE_T_DECIMAL: out->dec = n; return ICE_OK;
    case ICE_T_STRING: {
        size_t i = 0;
        for (int64_t chars = 0; i < v->s.len; i++)
            if (((uint8_t)v->s.ptr[i] & 0xc0) != 0x80 && chars++ == w)
                break;
        out->s.len = i;
        return ICE_OK;
    }
    default:
        if (out->s.len > (size_t)w)
            out->s.len = (size_t)w;
        return ICE_OK;
    }
}

static int64_t date_part(ice_transform_kind kind, const ice_value *v)
{
    int64_t days = v->kind == ICE_T_DATE ? v->i : ice__floor_div(v->i, ICE__DAY_US);
    if (kind == ICE_TR_HOUR)
        return ice__floor_div(v->i, INT64_C(3600000000));
    if (kind == ICE_TR_DAY)
        return days;
    ice__civil c = ice__fmt_civil(days);
    return kind == ICE_TR_YEAR ? c.year - 1970 : (c.year - 1970) * 12 + c.month - 1;
}

ice_code ice_transform_apply(ice_transform t, const ice_value *v, ice_value *out, ice_error *err)
{
    int32_t hash = 0;
    ice_type result;
    *out = *v;
    if (v->null)
        return ICE_OK;
    ice_code rc = ice_transform_type(t, (ice_type){.kind = v->kind}, &result, err);
    if (rc != ICE_OK)
        return rc;
    switch (t.kind) {
    case ICE_TR_IDENTITY: return ICE_OK;
    case ICE_TR_VOID: *out = ICE_NULL; return ICE_OK;
    case ICE_TR_BUCKET:
        ice_bucket_hash(v, &hash);
        *out = (ice_value){.kind = ICE_T_INT, .i = (hash & INT32_MAX) % t.param};
        return ICE_OK;
    case ICE_TR_TRUNCATE: return truncate_value(t.param, v, out, err);
    default:
        *out = (ice_value){.kind = result.kind, .i = date_part((ice_transform_kind)t.kind, v)};
        return ICE_OK;
    }
}
