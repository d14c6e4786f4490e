#include "engine/engine_int.h"

#include <stdio.h>

duck_huge ice__uuid_to_huge(const uint8_t uuid[16])
{
    uint64_t hi, lo;
    memcpy(&hi, uuid, 8);
    memcpy(&lo, uuid + 8, 8);
    /* The top bit is flipped so that signed comparison sorts as the bytes do. */
    return (duck_huge){.lower = __builtin_bswap64(lo), .upper = (int64_t)(__builtin_bswap64(hi) ^ (1ull << 63))};
}

void ice__huge_to_uuid(duck_huge h, uint8_t uuid[16])
{
    uint64_t hi = __builtin_bswap64((uint64_t)h.upper ^ (1ull << 63)), lo = __builtin_bswap64(h.lower);
    memcpy(uuid, &hi, 8);
    memcpy(uuid + 8, &lo, 8);
}

static duck_huge huge_of(ice_i128 v)
{
    return (duck_huge){.lower = (uint64_t)v, .upper = (int64_t)(v >> 64)};
}

static const int duck_ids[ICE__KINDS] = {
    [ICE_T_BOOL] = DUCK_T_BOOLEAN,         [ICE_T_INT] = DUCK_T_INTEGER,
    [ICE_T_LONG] = DUCK_T_BIGINT,          [ICE_T_FLOAT] = DUCK_T_FLOAT,
    [ICE_T_DOUBLE] = DUCK_T_DOUBLE,        [ICE_T_DATE] = DUCK_T_DATE,
    [ICE_T_TIME] = DUCK_T_TIME,            [ICE_T_TIMESTAMP] = DUCK_T_TIMESTAMP,
    [ICE_T_TIMESTAMPTZ] = DUCK_T_TIMESTAMPTZ, [ICE_T_STRING] = DUCK_T_VARCHAR,
    [ICE_T_UUID] = DUCK_T_UUID,            [ICE_T_FIXED] = DUCK_T_BLOB,
    [ICE_T_BINARY] = DUCK_T_BLOB,
};

static duck_type decimal_type(ice_engine *e, unsigned precision, unsigned scale)
{
    if (precision < 1 || precision > 38 || scale > precision)
        return NULL;
    duck_type *slot = &e->decimals[precision][scale];
    if (!*slot) {
        char text[32];
        int n = snprintf(text, sizeof text, "DECIMAL(%u,%u)", precision, scale);
        duck_str s = {text, (uint64_t)n};
        ice__duck.factory_create_type_from_text(e->factory, &s, slot, NULL);
    }
    return *slot;
}

duck_type ice__duck_type(ice_engine *e, ice_type t)
{
    if (t.kind >= ICE__KINDS)
        return NULL;
    pthread_mutex_lock(&e->lock);
    duck_type *slot = &e->types[t.kind], type;
    if (t.kind == ICE_T_DECIMAL) {
        type = decimal_type(e, t.precision, t.scale);
    } else {
        if (!*slot && duck_ids[t.kind])
            ice__duck.factory_create_type_from_id(e->factory, duck_ids[t.kind], NULL, NULL, 0, slot, NULL);
        type = *slot;
    }
    pthread_mutex_unlock(&e->lock);
    return type;
}

/* Digits that hold the value, so that a constant never widens the column it is compared with. */
static uint8_t decimal_width(ice_i128 v, uint8_t scale)
{
    unsigned __int128 u = v < 0 ? -(unsigned __int128)v : (unsigned __int128)v;
    uint8_t n = 0;
    for (; u; u /= 10)
        n++;
    if (n < scale)
        n = scale;
    return n ? n : 1;
}

static int create_null(ice_engine *e, const ice_value *v, duck_value *out, duck_error *de)
{
    duck_type type;
    if (v->kind == ICE_T_NONE)
        type = e->null_type;
    else
        type = ice__duck_type(e, (ice_type){.kind = v->kind, .precision = 38, .scale = v->scale});
    return ice__duck.value_create_null(e->factory, type, out, de);
}

static int create_decimal(ice_engine *e, const ice_value *v, duck_value *out, duck_error *de)
{
    duck_huge h = huge_of(v->dec);
    return ice__duck.value_create_decimal(e->factory, &h, decimal_width(v->dec, v->scale), v->scale, out, de);
}

static int create_uuid(ice_engine *e, const ice_value *v, duck_value *out, duck_error *de)
{
    duck_huge h = ice__uuid_to_huge(v->uuid);
    return ice__duck.value_create_uuid(e->factory, &h, out, de);
}

static int create(ice_engine *e, const ice_value *v, duck_value *out, duck_error *de)
{
    const duck_api *d = &ice__duck;
    duck_factory f = e->factory;
    if (v->null)
        return create_null(e, v, out, de);
    duck_str s = {0};
    if (v->kind == ICE_T_STRING || v->kind == ICE_T_BINARY || v->kind == ICE_T_FIXED)
        s = (duck_str){v->s.len ? v->s.ptr : NULL, v->s.len};
    switch ((ice_kind)v->kind) {
    case ICE_T_BOOL: return d->value_create_bool(f, v->b, out, de);
    case ICE_T_INT: return d->value_create_int(f, (int32_t)v->i, out, de);
    case ICE_T_LONG: return d->value_create_bigint(f, v->i, out, de);
    case ICE_T_FLOAT: return d->value_create_float(f, (float)v->d, out, de);
    case ICE_T_DOUBLE: return d->value_create_double(f, v->d, out, de);
    case ICE_T_DECIMAL: return create_decimal(e, v, out, de);
    case ICE_T_DATE: return d->value_create_date(f, (int32_t)v->i, out, de);
    case ICE_T_TIME: return d->value_create_time(f, v->i, out, de);
    case ICE_T_TIMESTAMP: return d->value_create_timestamp(f, v->i, out, de);
    case ICE_T_TIMESTAMPTZ: return d->value_create_timestamp_tz(f, v->i, out, de);
    case ICE_T_STRING: return d->value_create_varchar(f, &s, out, de);
    case ICE_T_UUID: return create_uuid(e, v, out, de);
    case ICE_T_FIXED:
    case ICE_T_BINARY: return d->value_create_blob(f, &s, out, de);
    case ICE_T_NONE: break;
    }
    return DUCK_INVALID;
}

ice_code ice__value_to_duck(ice_engine *e, const ice_value *v, duck_value *out, ice_error *err)
{
    duck_error de = NULL;
    int code = create(e, v, out, &de);
    if (code == DUCK_OK)
        return ICE_OK;
    if (!de)
        return ice_fail(err, ICE_BAD_VALUE, "a value of kind %d cannot be a parameter", v->kind);
    return ice__duck_fail(NULL, code, de, err);
}

static bool get_integer(const duck_api *d, duck_value v, ice_kind kind, ice_value *out)
{
    out->kind = kind;
    return d->value_get_bigint(v, &out->i, NULL) == DUCK_OK;
}

static bool get_date(const duck_api *d, duck_value v, ice_value *out)
{
    int32_t days = 0;
    out->kind = ICE_T_DATE;
    bool ok = d->value_get_date(v, &days, NULL) == DUCK_OK;
    out->i = days;
    return ok;
}

static bool get_decimal(const duck_api *d, duck_value v, ice_value *out)
{
    duck_huge h = {0};
    uint8_t width, scale = 0;
    bool ok = d->value_get_decimal(v, &h, &width, &scale, NULL) == DUCK_OK;
    out->kind = ICE_T_DECIMAL;
    out->dec = ice__huge_to_i128(h);
    out->scale = scale;
    return ok;
}

static bool get_huge(const duck_api *d, duck_value v, ice_value *out)
{
    duck_huge h = {0};
    bool ok = d->value_get_hugeint(v, &h, NULL) == DUCK_OK;
    out->kind = ICE_T_DECIMAL;
    out->dec = ice__huge_to_i128(h);
    return ok;
}

static bool get_uuid(const duck_api *d, duck_value v, ice_value *out)
{
    duck_huge h = {0};
    bool ok = d->value_get_uuid(v, &h, NULL) == DUCK_OK;
    out->kind = ICE_T_UUID;
    ice__huge_to_uuid(h, out->uuid);
    return ok;
}

static bool get_bytes(const duck_api *d, duck_value v, bool text, ice_arena *a, ice_value *out)
{
    duck_str s = {0};
    if ((text ? d->value_get_varchar(v, &s, NULL) : d->value_get_blob(v, &s, NULL)) != DUCK_OK)
        return false;
    out->kind = text ? ICE_T_STRING : ICE_T_BINARY;
    out->s = ice_arena_str(a, s.len ? (ice_str){s.ptr, s.len} : ICE_STR(""));
    return out->s.ptr != NULL;
}

static bool get_by_id(const duck_api *d, duck_value v, int id, ice_arena *a, ice_value *out)
{
    switch (id) {
    case DUCK_T_BOOLEAN: out->kind = ICE_T_BOOL; return d->value_get_bool(v, &out->b, NULL) == DUCK_OK;
    case DUCK_T_TINYINT:
    case DUCK_T_SMALLINT:
    case DUCK_T_INTEGER:
    case DUCK_T_UTINYINT:
    case DUCK_T_USMALLINT: return get_integer(d, v, ICE_T_INT, out);
    case DUCK_T_UINTEGER:
    case DUCK_T_BIGINT: return get_integer(d, v, ICE_T_LONG, out);
    case DUCK_T_UBIGINT:
    case DUCK_T_HUGEINT: return get_huge(d, v, out);
    case DUCK_T_FLOAT: out->kind = ICE_T_FLOAT; return d->value_get_double(v, &out->d, NULL) == DUCK_OK;
    case DUCK_T_DOUBLE: out->kind = ICE_T_DOUBLE; return d->value_get_double(v, &out->d, NULL) == DUCK_OK;
    case DUCK_T_DECIMAL: return get_decimal(d, v, out);
    case DUCK_T_DATE: return get_date(d, v, out);
    case DUCK_T_TIME: out->kind = ICE_T_TIME; return d->value_get_time(v, &out->i, NULL) == DUCK_OK;
    case DUCK_T_TIMESTAMP: out->kind = ICE_T_TIMESTAMP; return d->value_get_timestamp(v, &out->i, NULL) == DUCK_OK;
    case DUCK_T_TIMESTAMPTZ:
        out->kind = ICE_T_TIMESTAMPTZ;
        return d->value_get_timestamp_tz(v, &out->i, NULL) == DUCK_OK;
    case DUCK_T_UUID: return get_uuid(d, v, out);
    case DUCK_T_VARCHAR: return get_bytes(d, v, true, a, out);
    case DUCK_T_BLOB: return get_bytes(d, v, false, a, out);
    default: return false;
    }
}

bool ice__value_from_duck(ice_engine *e, duck_value v, ice_arena *a, ice_value *out)
{
    const duck_api *d = &ice__duck;
    *out = ICE_NULL;
    bool null = true;
    if (d->value_is_null(v, &null, NULL) != DUCK_OK || null)
        return null;
    duck_type type = NULL;
    int id = 0;
    bool ok = d->value_get_logical_type(v, &type, NULL) == DUCK_OK && d->logical_type_get_id(type, &id, NULL) == DUCK_OK;
    d->logical_type_destroy(&type);
    *out = (ice_value){0};
    return ok && get_by_id(d, v, id, a, out);
}

void ice_duck_type(const ice_column *c, ice_buf *out)
{
    static const char *const names[ICE__KINDS] = {
        [ICE_T_NONE] = "VARCHAR",     [ICE_T_BOOL] = "BOOLEAN",   [ICE_T_INT] = "INTEGER",
        [ICE_T_LONG] = "BIGINT",      [ICE_T_FLOAT] = "FLOAT",    [ICE_T_DOUBLE] = "DOUBLE",
        [ICE_T_DATE] = "DATE",        [ICE_T_TIME] = "TIME",      [ICE_T_TIMESTAMP] = "TIMESTAMP",
        [ICE_T_TIMESTAMPTZ] = "TIMESTAMP WITH TIME ZONE",         [ICE_T_STRING] = "VARCHAR",
        [ICE_T_UUID] = "UUID",        [ICE_T_FIXED] = "BLOB",     [ICE_T_BINARY] = "BLOB",
    };
    if (c->type.kind == ICE_T_DECIMAL)
        ice_buf_printf(out, "DECIMAL(%u,%u)", c->type.precision, c->type.scale);
    else
        ice_buf_puts(out, names[c->type.kind < ICE__KINDS ? c->type.kind : ICE_T_NONE]);
}
