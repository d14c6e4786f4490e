#include "base/value.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "base/misc.h"
#include "base/value_int.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "hashes and rows are little-endian as stored");

#define E9 ((ice_i128)1000000000)
#define E18 (E9 * E9)
#define TEN9(x) x, (x) * 10, (x) * 100, (x) * 1000, (x) * 10000, (x) * 100000, (x) * 1000000, (x) * 10000000, \
                (x) * 100000000
const ice_i128 ice__pow10[ICE_MAX_SCALE + 1] = {
    TEN9((ice_i128)1), TEN9(E9), TEN9(E18), TEN9(E18 * E9), E18 * E18, E18 * E18 * 10, E18 * E18 * 100,
};

/* ---- types ---- */

static const char *const kind_names[] = {
    "none", "boolean",   "int",         "long",   "float", "double", "decimal", "date",
    "time", "timestamp", "timestamptz", "string", "uuid",  "fixed",  "binary",
};
enum { KIND_COUNT = sizeof kind_names / sizeof kind_names[0] };

void ice_type_text(ice_type t, char out[32])
{
    const char *name = kind_names[t.kind < KIND_COUNT ? t.kind : 0];

    if (t.kind == ICE_T_DECIMAL)
        snprintf(out, 32, "decimal(%u, %u)", t.precision, t.scale);
    else if (t.kind == ICE_T_FIXED)
        snprintf(out, 32, "fixed[%u]", t.length);
    else
        snprintf(out, 32, "%s", name);
}

/* A decimal number of up to nine digits at *i, after any spaces; -1 where there is none. */
static long scan_number(ice_str s, size_t *i)
{
    long v = -1;

    while (*i < s.len && s.ptr[*i] == ' ')
        ++*i;
    for (int n = 0; n < 9 && *i < s.len && s.ptr[*i] >= '0' && s.ptr[*i] <= '9'; n++)
        v = (v < 0 ? 0 : v * 10) + (s.ptr[(*i)++] - '0');
    while (*i < s.len && s.ptr[*i] == ' ')
        ++*i;
    return v;
}

static bool scan_char(ice_str s, size_t *i, char c)
{
    bool is = *i < s.len && s.ptr[*i] == c;

    *i += is;
    return is;
}

static bool parse_decimal_type(ice_str s, ice_type *out)
{
    size_t i = sizeof "decimal(" - 1;
    long precision = scan_number(s, &i), scale;

    if (!scan_char(s, &i, ','))
        return false;
    scale = scan_number(s, &i);
    if (!scan_char(s, &i, ')') || i != s.len)
        return false;
    if (precision < 1 || precision > 38 || scale < 0 || scale > precision)
        return false;
    *out = (ice_type){.kind = ICE_T_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
    return true;
}

static bool parse_fixed_type(ice_str s, ice_type *out)
{
    size_t i = sizeof "fixed[" - 1;
    long length = scan_number(s, &i);

    if (!scan_char(s, &i, ']') || i != s.len || length < 1)
        return false;
    *out = (ice_type){.kind = ICE_T_FIXED, .length = (uint32_t)length};
    return true;
}

static bool starts_with(ice_str s, ice_str prefix)
{
    return s.len >= prefix.len && memcmp(s.ptr, prefix.ptr, prefix.len) == 0;
}

ice_code ice_type_parse(ice_str text, ice_type *out, ice_error *err)
{
    if (starts_with(text, ICE_STR("decimal(")) && parse_decimal_type(text, out))
        return ICE_OK;
    if (starts_with(text, ICE_STR("fixed[")) && parse_fixed_type(text, out))
        return ICE_OK;
    for (int kind = 1; kind < KIND_COUNT; kind++)
        if (kind != ICE_T_DECIMAL && kind != ICE_T_FIXED && ice_str_eqc(text, kind_names[kind])) {
            *out = (ice_type){.kind = (uint8_t)kind};
            return ICE_OK;
        }
    return ice_fail(err, ICE_BAD_VALUE, "\"%.*s\" is not a primitive type of Iceberg",
                    text.len < 64 ? (int)text.len : 64, text.ptr ? text.ptr : "");
}

size_t ice_type_width(ice_type t)
{
    switch (t.kind) {
    case ICE_T_BOOL:
        return 1;
    case ICE_T_INT:
    case ICE_T_DATE:
    case ICE_T_FLOAT:
        return 4;
    case ICE_T_LONG:
    case ICE_T_DOUBLE:
    case ICE_T_TIME:
    case ICE_T_TIMESTAMP:
    case ICE_T_TIMESTAMPTZ:
        return 8;
    case ICE_T_DECIMAL:
        return t.precision <= 18 ? 8 : 16;
    case ICE_T_UUID:
        return 16;
    default:
        return 0;
    }
}

/* ---- order ---- */

/* Kinds of one class compare with each other by value. */
enum value_class { C_NONE, C_BOOL, C_NUMBER, C_DATE, C_TIME, C_TIMESTAMP, C_STRING, C_UUID, C_BYTES };

static const uint8_t class_of[256] = {
    [ICE_T_BOOL] = C_BOOL,     [ICE_T_INT] = C_NUMBER,          [ICE_T_LONG] = C_NUMBER,
    [ICE_T_FLOAT] = C_NUMBER,  [ICE_T_DOUBLE] = C_NUMBER,       [ICE_T_DECIMAL] = C_NUMBER,
    [ICE_T_DATE] = C_DATE,     [ICE_T_TIME] = C_TIME,           [ICE_T_TIMESTAMP] = C_TIMESTAMP,
    [ICE_T_STRING] = C_STRING, [ICE_T_TIMESTAMPTZ] = C_TIMESTAMP, [ICE_T_UUID] = C_UUID,
    [ICE_T_FIXED] = C_BYTES,   [ICE_T_BINARY] = C_BYTES,
};

#define CMP(a, b) (((a) > (b)) - ((a) < (b)))

static bool is_integer(const ice_value *v) { return v->kind == ICE_T_INT || v->kind == ICE_T_LONG; }
static bool is_floating(const ice_value *v) { return v->kind == ICE_T_FLOAT || v->kind == ICE_T_DOUBLE; }

static int cmp_double(double a, double b)
{
    if (isnan(a) || isnan(b))
        return !!isnan(a) - !!isnan(b);
    return CMP(a, b);
}

/* An exact number as whole part and fraction of 10^-scale, both truncated toward zero. */
typedef struct exact {
    ice_i128 whole, fraction;
    uint8_t scale;
} exact;

static exact exact_of(const ice_value *v)
{
    ice_i128 unit;

    if (is_integer(v))
        return (exact){v->i, 0, 0};
    if (v->scale == 0 || v->scale > ICE_MAX_SCALE)
        return (exact){v->dec, 0, 0};
    unit = ice__pow10[v->scale];
    return (exact){v->dec / unit, v->dec % unit, v->scale};
}

static int cmp_exact(const ice_value *a, const ice_value *b)
{
    exact x = exact_of(a), y = exact_of(b);

    if (x.whole != y.whole)
        return CMP(x.whole, y.whole);
    /* A fraction is below 10^scale, so scaled up to the larger scale it stays below 10^38. */
    if (x.scale < y.scale)
        x.fraction *= ice__pow10[y.scale - x.scale];
    else
        y.fraction *= ice__pow10[x.scale - y.scale];
    return CMP(x.fraction, y.fraction);
}

/* |fraction| of x against |f| < 1, digit by digit: printf expands a double exactly. */
static int cmp_fraction_digits(exact x, double f)
{
    char text[1100], digits[40], padded[40];
    size_t n = ice__u128_digits(ice__abs128(x.fraction), digits);
    locale_t old = uselocale(ice__c_locale());
    int c;

    snprintf(text, sizeof text, "%.1074f", fabs(f));
    uselocale(old);
    memset(padded, '0', sizeof padded);
    memcpy(padded + x.scale - n, digits, n);
    c = memcmp(padded, text + 2, x.scale);
    if (c != 0)
        return CMP(c, 0);
    return text[2 + x.scale + strspn(text + 2 + x.scale, "0")] ? -1 : 0;
}

static int cmp_exact_double(const ice_value *a, double d)
{
    exact x = exact_of(a);
    double whole, f;
    int sign;

    if (isnan(d) || d >= 0x1p127)
        return -1;
    if (d < -0x1p127)
        return 1;
    f = modf(d, &whole);
    if (x.whole != (ice_i128)whole)
        return CMP(x.whole, (ice_i128)whole);
    sign = CMP(x.fraction, 0);
    if (sign != CMP(f, 0) || sign == 0)
        return CMP(sign, CMP(f, 0));
    return sign * cmp_fraction_digits(x, f);
}

static int cmp_number(const ice_value *a, const ice_value *b)
{
    if (is_integer(a) && is_integer(b))
        return CMP(a->i, b->i);
    if (is_floating(a))
        return is_floating(b) ? cmp_double(a->d, b->d) : -cmp_exact_double(b, a->d);
    if (is_floating(b))
        return cmp_exact_double(a, b->d);
    if (a->kind == b->kind && a->scale == b->scale)
        return CMP(a->dec, b->dec);
    return cmp_exact(a, b);
}

int ice_value_cmp(const ice_value *a, const ice_value *b)
{
    if (a->null || b->null)
        return b->null - a->null;
    if (class_of[a->kind] != class_of[b->kind])
        return CMP(class_of[a->kind], class_of[b->kind]);
    switch (class_of[a->kind]) {
    case C_BOOL:
        return a->b - b->b;
    case C_NUMBER:
        return cmp_number(a, b);
    case C_DATE:
    case C_TIME:
    case C_TIMESTAMP:
        return CMP(a->i, b->i);
    case C_STRING:
    case C_BYTES:
        return ice_str_cmp(a->s, b->s);
    case C_UUID:
        return memcmp(a->uuid, b->uuid, 16);
    default:
        return 0;
    }
}

bool ice_value_eq(const ice_value *a, const ice_value *b)
{
    if (a->kind == b->kind && !a->null && !b->null) {
        if (class_of[a->kind] == C_STRING)
            return ice_str_eq(a->s, b->s);
        if (is_integer(a))
            return a->i == b->i;
    }
    return ice_value_cmp(a, b) == 0;
}

/* ---- hash ----
 *
 * Each value is hashed with the hash so far, mixed with a tag, as the seed. A number takes the first of these
 * forms that holds it: 64-bit integer; unscaled 128-bit integer and scale, without trailing zeros; the bits
 * of a double. All of it is stored: never change. */

enum hash_tag { H_NULL = 1, H_INT, H_DECIMAL, H_DOUBLE, H_BOOL, H_TEMPORAL, H_BYTES, H_UUID };

static uint64_t hash_part(uint64_t h, enum hash_tag tag, const void *p, size_t n)
{
    return ice_hash64(p, n, h * UINT64_C(0x9E3779B97F4A7C15) + (uint64_t)tag);
}

static uint64_t hash_decimal(uint64_t h, ice_i128 v, uint8_t scale)
{
    uint8_t bytes[17];

    while (scale > 0 && (v == (int64_t)v ? (int64_t)v % 10 == 0 : v % 10 == 0)) {
        v = v == (int64_t)v ? (int64_t)v / 10 : v / 10;
        scale--;
    }
    if (scale == 0 && v == (int64_t)v) {
        int64_t i = (int64_t)v;

        return hash_part(h, H_INT, &i, sizeof i);
    }
    memcpy(bytes, &v, 16);
    bytes[16] = scale;
    return hash_part(h, H_DECIMAL, bytes, sizeof bytes);
}

/* m / 2^a, m odd, is m * 5^a / 10^a: the decimal it equals, if one does. */
static bool decimal_of_double(double d, ice_i128 *unscaled, uint8_t *scale)
{
    int exponent, twos;
    double mantissa = frexp(d, &exponent);
    int64_t whole;
    ice_i128 m;

    if (trunc(d) == d) {
        *unscaled = (ice_i128)d;
        *scale = 0;
        return true;
    }
    whole = (int64_t)ldexp(mantissa, DBL_MANT_DIG);
    twos = __builtin_ctzll((uint64_t)whole);
    m = whole / (INT64_C(1) << twos);
    exponent += twos - DBL_MANT_DIG;
    if (exponent < -ICE_MAX_SCALE)
        return false;
    *scale = (uint8_t)-exponent;
    for (int i = 0; i < *scale; i++)
        if (__builtin_mul_overflow(m, 5, &m))
            return false;
    *unscaled = m;
    return true;
}

static uint64_t hash_double(uint64_t h, double d)
{
    ice_i128 unscaled;
    uint8_t scale;

    if (d >= -0x1p127 && d < 0x1p127 && decimal_of_double(d, &unscaled, &scale))
        return hash_decimal(h, unscaled, scale);
    if (isnan(d))
        d = (double)NAN;
    return hash_part(h, H_DOUBLE, &d, sizeof d);
}

static uint64_t hash_value(uint64_t h, const ice_value *v)
{
    if (v->null)
        return hash_part(h, H_NULL, "", 0);
    switch (v->kind) {
    case ICE_T_INT:
    case ICE_T_LONG:
        return hash_part(h, H_INT, &v->i, sizeof v->i);
    case ICE_T_DECIMAL:
        return hash_decimal(h, v->dec, v->scale);
    case ICE_T_FLOAT:
    case ICE_T_DOUBLE:
        return hash_double(h, v->d);
    case ICE_T_DATE:
    case ICE_T_TIME:
    case ICE_T_TIMESTAMP:
    case ICE_T_TIMESTAMPTZ:
        return hash_part(h, H_TEMPORAL, &v->i, sizeof v->i);
    case ICE_T_STRING:
    case ICE_T_FIXED:
    case ICE_T_BINARY:
        return hash_part(h, H_BYTES, v->s.ptr ? v->s.ptr : "", v->s.len);
    case ICE_T_UUID:
        return hash_part(h, H_UUID, v->uuid, sizeof v->uuid);
    case ICE_T_BOOL:
        return hash_part(h, H_BOOL, &(uint8_t){v->b}, 1);
    default:
        return hash_part(h, H_NULL, "", 0);
    }
}

uint64_t ice_key_hash(const ice_value *v, size_t n)
{
    uint64_t h = 0;

    for (size_t i = 0; i < n; i++)
        h = hash_value(h, &v[i]);
    return h;
}

ice_code ice_value_copy(ice_arena *a, const ice_value *v, ice_value *out, ice_error *err)
{
    *out = *v;
    if (v->null || (class_of[v->kind] != C_STRING && class_of[v->kind] != C_BYTES) || !v->s.ptr)
        return ICE_OK;
    out->s = ice_arena_str(a, v->s);
    return out->s.ptr ? ICE_OK : ice_fail_nomem(err);
}
