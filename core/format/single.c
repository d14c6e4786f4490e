/* Appendix D: single values as JSON and as bytes. */
#include "format/format_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Days <-> civil date, counting in 400-year eras that begin on 1 March, so that the leap day is a year's
 * last. */
ice__civil ice__fmt_civil(int64_t days)
{
    int64_t z = days + 719468, era = ice__floor_div(z, 146097);
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int mp = (int)((5 * doy + 2) / 153);
    int month = mp < 10 ? mp + 3 : mp - 9;
    return (ice__civil){era * 400 + yoe + (month <= 2), month, (int)(doy - (153 * mp + 2) / 5 + 1)};
}

int64_t ice__fmt_days(int64_t year, int month, int day)
{
    int64_t y = year - (month <= 2), era = ice__floor_div(y, 400), yoe = y - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

size_t ice__decimal_bytes(ice_i128 v, uint8_t out[16])
{
    uint8_t full[16];
    for (int i = 15; i >= 0; i--, v >>= 8)
        full[i] = (uint8_t)v;
    int from = 0;
    while (from < 15 &&
           ((full[from] == 0 && full[from + 1] < 0x80) || (full[from] == 0xff && full[from + 1] >= 0x80)))
        from++;
    memcpy(out, full + from, (size_t)(16 - from));
    return (size_t)(16 - from);
}

bool ice__decimal_of_bytes(ice_str bytes, ice_i128 *out)
{
    if (bytes.len == 0 || bytes.len > 16)
        return false;
    unsigned __int128 v = (uint8_t)bytes.ptr[0] & 0x80 ? ~(unsigned __int128)0 : 0;
    for (size_t i = 0; i < bytes.len; i++)
        v = v << 8 | (uint8_t)bytes.ptr[i];
    *out = (ice_i128)v;
    return true;
}

/* ---- to JSON ---- */

static void put_date(ice_buf *b, int64_t days)
{
    ice__civil c = ice__fmt_civil(days);
    const char *sign = c.year < 0 ? "-" : c.year > 9999 ? "+" : "";
    ice_buf_printf(b, "%s%04lld-%02d-%02d", sign, (long long)(c.year < 0 ? -c.year : c.year), c.month, c.day);
}

static void put_time(ice_buf *b, int64_t us)
{
    int64_t s = us / 1000000;
    ice_buf_printf(b, "%02d:%02d:%02d.%06d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60),
                   (int)(us % 1000000));
}

static void put_decimal(ice_buf *b, ice_i128 v, unsigned scale)
{
    char digits[48];
    size_t n = 0;
    unsigned __int128 u = v < 0 ? -(unsigned __int128)v : (unsigned __int128)v;
    do {
        digits[n++] = (char)('0' + (int)(u % 10));
        u /= 10;
    } while (u && n < sizeof digits);
    while (n <= scale && n < sizeof digits)
        digits[n++] = '0';
    if (v < 0)
        ice_buf_put_u8(b, '-');
    while (n-- > 0) {
        ice_buf_put_u8(b, (uint8_t)digits[n]);
        if (n == scale && scale)
            ice_buf_put_u8(b, '.');
    }
}

static void put_double(ice_buf *b, double d)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    char *comma = strchr(text, ','); /* a process may have set a locale */
    if (comma)
        *comma = '.';
    ice_buf_puts(b, text);
    if (!strpbrk(text, ".e"))
        ice_buf_puts(b, ".0");
}

static void put_hex(ice_buf *b, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ice_buf_printf(b, "%02x", ((const uint8_t *)p)[i]);
}

static ice_code put_quoted_value(const ice_value *v, ice_type t, ice_buf *out, ice_error *err)
{
    char uuid[37];
    int64_t day;
    ice_buf_put_u8(out, '"');
    switch (t.kind) {
    case ICE_T_DATE: put_date(out, v->i); break;
    case ICE_T_TIME: put_time(out, v->i); break;
    case ICE_T_TIMESTAMP:
    case ICE_T_TIMESTAMPTZ:
        day = ice__floor_div(v->i, ICE__DAY_US);
        put_date(out, day);
        ice_buf_put_u8(out, 'T');
        put_time(out, v->i - day * ICE__DAY_US);
        ice_buf_puts(out, t.kind == ICE_T_TIMESTAMPTZ ? "+00:00" : "");
        break;
    case ICE_T_DECIMAL: put_decimal(out, v->dec, v->scale); break;
    case ICE_T_UUID: {
        ice_uuid u;
        memcpy(u.b, v->uuid, 16);
        ice_uuid_text(u, uuid);
        ice_buf_puts(out, uuid);
    } break;
    case ICE_T_FIXED:
    case ICE_T_BINARY: put_hex(out, v->s.ptr, v->s.len); break;
    default: return ice_fail(err, ICE_UNSUPPORTED, "values of this type have no JSON form");
    }
    ice_buf_put_u8(out, '"');
    return ice_buf_check(out, err);
}

ice_code ice_single_to_json(const ice_value *v, ice_type t, ice_buf *out, ice_error *err)
{
    if (v->null) {
        ice_buf_puts(out, "null");
        return ice_buf_check(out, err);
    }
    if (v->kind != t.kind)
        return ice_fail(err, ICE_MISUSE, "a value of kind %d is no value of type kind %d", v->kind, t.kind);
    switch (t.kind) {
    case ICE_T_BOOL: ice_buf_puts(out, v->b ? "true" : "false"); break;
    case ICE_T_INT:
    case ICE_T_LONG: ice_buf_printf(out, "%lld", (long long)v->i); break;
    case ICE_T_FLOAT:
    case ICE_T_DOUBLE:
        if (!isfinite(v->d))
            return ice_fail(err, ICE_UNSUPPORTED, "JSON has no infinity and no NaN");
        put_double(out, v->d);
        break;
    case ICE_T_STRING: ice__put_json_str(out, v->s); break;
    default: return put_quoted_value(v, t, out, err);
    }
    return ice_buf_check(out, err);
}

/* ---- from JSON ---- */

/* Digits of fixed number: false unless exactly n digits are there. */
static bool digits(const char **p, const char *end, int n, int *out)
{
    *out = 0;
    for (int i = 0; i < n; i++, (*p)++) {
        if (*p == end || **p < '0' || **p > '9')
            return false;
        *out = *out * 10 + (**p - '0');
    }
    return true;
}

static bool literal(const char **p, const char *end, char c)
{
    return *p < end && *(*p)++ == c;
}

static bool scan_date(const char **p, const char *end, int64_t *days)
{
    int sign = 1, year = 0, month, day, n = 4;
    if (*p < end && (**p == '-' || **p == '+')) {
        sign = *(*p)++ == '-' ? -1 : 1;
        while (n < 6 && *p + n < end && (*p)[n] >= '0' && (*p)[n] <= '9')
            n++;
    }
    if (!digits(p, end, n, &year) || !literal(p, end, '-') || !digits(p, end, 2, &month) ||
        !literal(p, end, '-') || !digits(p, end, 2, &day) || month < 1 || month > 12 || day < 1)
        return false;
    *days = ice__fmt_days((int64_t)sign * year, month, day);
    ice__civil back = ice__fmt_civil(*days);
    return back.month == month && back.day == day;
}

/* Seconds and their fraction may be left out, as Java's ISO printer does. Nanoseconds are cut. */
static bool scan_time(const char **p, const char *end, int64_t *us)
{
    int h, m, s = 0, fraction = 0;
    if (!digits(p, end, 2, &h) || !literal(p, end, ':') || !digits(p, end, 2, &m) || h > 23 || m > 59)
        return false;
    if (*p < end && **p == ':') {
        (*p)++;
        if (!digits(p, end, 2, &s) || s > 59)
            return false;
    }
    if (*p < end && **p == '.') {
        (*p)++;
        int n = 0;
        for (; *p < end && **p >= '0' && **p <= '9'; (*p)++, n++)
            if (n < 6)
                fraction = fraction * 10 + (**p - '0');
        for (int i = n; i < 6; i++)
            fraction *= 10;
        if (n == 0 || n > 9)
            return false;
    }
    *us = ((h * 60 + m) * 60 + s) * INT64_C(1000000) + fraction;
    return true;
}

static bool scan_timestamp(ice_str s, bool zone, int64_t *out)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    int64_t days, us;
    if (!scan_date(&p, end, &days) || !literal(&p, end, 'T') || !scan_time(&p, end, &us))
        return false;
    ice_str rest = {p, (size_t)(end - p)};
    if (zone ? !(ice_str_eqc(rest, "+00:00") || ice_str_eqc(rest, "Z")) : rest.len != 0)
        return false;
    *out = days * ICE__DAY_US + us;
    return true;
}

static bool scale_up(ice_i128 *v, int by)
{
    for (; by > 0; by--)
        if (__builtin_mul_overflow(*v, (ice_i128)10, v))
            return false;
    return true;
}

/* "-14.20", "2E+20": the number must be exact at the type's scale and fit its precision. */
static bool scan_decimal(ice_str s, ice_type t, ice_i128 *out)
{
    ice_i128 v = 0, limit = 1;
    int scale = 0, ndigits = 0;
    size_t i = 0;
    bool negative = s.len && s.ptr[0] == '-', point = false;
    for (i = negative || (s.len && s.ptr[0] == '+'); i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9')
            break;
        if (++ndigits > 76 || __builtin_mul_overflow(v, (ice_i128)10, &v) ||
            __builtin_add_overflow(v, (ice_i128)(c - '0'), &v))
            return false;
        scale += point;
    }
    if (i < s.len && (s.ptr[i] == 'E' || s.ptr[i] == 'e')) {
        int sign = 1, e = 0;
        if (++i < s.len && (s.ptr[i] == '+' || s.ptr[i] == '-'))
            sign = s.ptr[i++] == '-' ? -1 : 1;
        if (i == s.len || s.len - i > 3)
            return false;
        for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++)
            e = e * 10 + (s.ptr[i] - '0');
        scale -= sign * e;
    }
    if (i != s.len || ndigits == 0)
        return false;
    for (; scale > t.scale && v % 10 == 0; scale--)
        v /= 10;
    if (scale > t.scale || (v != 0 && !scale_up(&v, t.scale - scale)) || !scale_up(&limit, t.precision) ||
        v >= limit)
        return false;
    *out = negative ? -v : v;
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool scan_hex(ice_arena *a, ice_str s, ice_type t, ice_str *out)
{
    char *p = ice_arena_alloc(a, s.len / 2 + 1);
    if (!p || s.len % 2 || (t.kind == ICE_T_FIXED && s.len / 2 != t.length))
        return false;
    for (size_t i = 0; i < s.len / 2; i++) {
        int hi = hex_digit(s.ptr[2 * i]), lo = hex_digit(s.ptr[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        p[i] = (char)(hi << 4 | lo);
    }
    *out = (ice_str){p, s.len / 2};
    return true;
}

static bool scan_text(ice__json *j, ice_str s, ice_type t, ice_value *out)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    ice_uuid u;
    switch (t.kind) {
    case ICE_T_DATE: return scan_date(&p, end, &out->i) && p == end;
    case ICE_T_TIME: return scan_time(&p, end, &out->i) && p == end;
    case ICE_T_TIMESTAMP: return scan_timestamp(s, false, &out->i);
    case ICE_T_TIMESTAMPTZ: return scan_timestamp(s, true, &out->i);
    case ICE_T_DECIMAL: out->scale = t.scale; return scan_decimal(s, t, &out->dec);
    case ICE_T_STRING: out->s = ice_arena_str(j->arena, s); return out->s.ptr != NULL;
    case ICE_T_FIXED:
    case ICE_T_BINARY: return scan_hex(j->arena, s, t, &out->s);
    case ICE_T_UUID:
        if (!ice_uuid_parse(s, &u))
            return false;
        memcpy(out->uuid, u.b, 16);
        return true;
    default: return false;
    }
}

ice_code ice__single_from(ice__json *j, const json_t *v, ice_type t, ice_value *out)
{
    char name[32];
    bool ok = false;
    *out = (ice_value){.kind = t.kind};
    if (json_is_null(v)) {
        out->null = true;
        ok = true;
    } else if (t.kind == ICE_T_BOOL && json_is_boolean(v)) {
        out->b = json_is_true(v);
        ok = true;
    } else if ((t.kind == ICE_T_INT || t.kind == ICE_T_LONG) && json_is_integer(v)) {
        out->i = json_integer_value(v);
        ok = t.kind == ICE_T_LONG || out->i == (int32_t)out->i;
    } else if ((t.kind == ICE_T_FLOAT || t.kind == ICE_T_DOUBLE) && json_is_number(v)) {
        out->d = t.kind == ICE_T_FLOAT ? (float)json_number_value(v) : json_number_value(v);
        ok = true;
    } else if (json_is_string(v)) {
        ok = scan_text(j, (ice_str){json_string_value(v), json_string_length(v)}, t, out);
    }
    if (ok)
        return ICE_OK;
    ice_type_text(t, name);
    return ice__json_fail(j, NULL, "is no value of type %s", name);
}

ice_code ice_single_from_json(ice_str json, ice_type t, ice_arena *a, ice_value *out, ice_error *err)
{
    ice__json j = {.arena = a, .err = err, .what = "default value"};
    json_t *v = NULL;
    ice_code rc = ice__json_load(&j, json, &v);
    if (rc == ICE_OK)
        rc = ice__single_from(&j, v, t, out);
    json_decref(v);
    return rc;
}

/* ---- bytes ---- */

ice_code ice_single_to_binary(const ice_value *v, ice_type t, ice_buf *out, ice_error *err)
{
    uint8_t decimal[16];
    float f;
    uint32_t u32;
    uint64_t u64;
    if (v->null || v->kind != t.kind)
        return ice_fail(err, ICE_MISUSE, "a bound of type kind %d cannot hold a value of kind %d", t.kind,
                        v->kind);
    switch (t.kind) {
    case ICE_T_BOOL: ice_buf_put_u8(out, v->b); break;
    case ICE_T_INT:
    case ICE_T_DATE: ice_buf_put_u32(out, (uint32_t)v->i); break;
    case ICE_T_LONG:
    case ICE_T_TIME:
    case ICE_T_TIMESTAMP:
    case ICE_T_TIMESTAMPTZ: ice_buf_put_u64(out, (uint64_t)v->i); break;
    case ICE_T_FLOAT:
        f = (float)v->d;
        memcpy(&u32, &f, 4);
        ice_buf_put_u32(out, u32);
        break;
    case ICE_T_DOUBLE:
        memcpy(&u64, &v->d, 8);
        ice_buf_put_u64(out, u64);
        break;
    case ICE_T_DECIMAL: ice_buf_put(out, decimal, ice__decimal_bytes(v->dec, decimal)); break;
    case ICE_T_UUID: ice_buf_put(out, v->uuid, 16); break;
    case ICE_T_STRING:
    case ICE_T_FIXED:
    case ICE_T_BINARY: ice_buf_put_str(out, v->s); break;
    default: return ice_fail(err, ICE_UNSUPPORTED, "values of type kind %d have no binary form", t.kind);
    }
    return ice_buf_check(out, err);
}

static double read_double(ice_reader *r, bool wide)
{
    float f;
    double d;
    uint32_t u32;
    uint64_t u64;
    if (!wide) {
        u32 = ice_read_u32(r);
        memcpy(&f, &u32, 4);
        return (double)f;
    }
    u64 = ice_read_u64(r);
    memcpy(&d, &u64, 8);
    return d;
}

/* Widths a bound of the type may have: see the spec's table of inferred types after promotion. */
static bool width_fits(ice_type t, size_t n)
{
    switch (t.kind) {
    case ICE_T_BOOL: return n == 1;
    case ICE_T_INT:
    case ICE_T_DATE:
    case ICE_T_FLOAT: return n == 4;
    case ICE_T_LONG:
    case ICE_T_DOUBLE:
    case ICE_T_TIMESTAMP: return n == 4 || n == 8;
    case ICE_T_TIME:
    case ICE_T_TIMESTAMPTZ: return n == 8;
    case ICE_T_DECIMAL: return n >= 1 && n <= 16;
    case ICE_T_UUID: return n == 16;
    case ICE_T_FIXED: return n <= t.length; /* a truncated bound is shorter */
    default: return true;
    }
}

ice_code ice_single_from_binary(ice_str bytes, ice_type t, ice_value *out, ice_error *err)
{
    ice_reader r = ice_reader_of(bytes);
    *out = (ice_value){.kind = t.kind};
    if (!width_fits(t, bytes.len)) {
        char name[32];
        ice_type_text(t, name);
        return ice_fail(err, ICE_CORRUPT, "a bound of %zu bytes is no value of type %s", bytes.len, name);
    }
    switch (t.kind) {
    case ICE_T_BOOL: out->b = ice_read_u8(&r) != 0; break;
    case ICE_T_INT:
    case ICE_T_DATE: out->i = (int32_t)ice_read_u32(&r); break;
    case ICE_T_LONG:
    case ICE_T_TIME:
    case ICE_T_TIMESTAMPTZ:
        out->i = bytes.len == 4 ? (int32_t)ice_read_u32(&r) : (int64_t)ice_read_u64(&r);
        break;
    case ICE_T_TIMESTAMP: /* 4 bytes: a date, promoted since */
        out->i = bytes.len == 4 ? (int32_t)ice_read_u32(&r) * ICE__DAY_US : (int64_t)ice_read_u64(&r);
        break;
    case ICE_T_FLOAT:
    case ICE_T_DOUBLE: out->d = read_double(&r, bytes.len == 8); break;
    case ICE_T_DECIMAL:
        out->scale = t.scale;
        ice__decimal_of_bytes(bytes, &out->dec);
        break;
    case ICE_T_UUID: memcpy(out->uuid, bytes.ptr, 16); break;
    case ICE_T_STRING:
    case ICE_T_FIXED:
    case ICE_T_BINARY: out->s = bytes.ptr ? bytes : ICE_STR(""); break;
    default: return ice_fail(err, ICE_UNSUPPORTED, "values of type kind %d have no binary form", t.kind);
    }
    return ICE_OK;
}

/* ---- bounds ---- */

/* Byte length of the first `width` code points of valid UTF-8. */
static size_t prefix_bytes(ice_str s, size_t width)
{
    size_t i = 0;
    for (size_t n = 0; i < s.len; i++)
        if (((uint8_t)s.ptr[i] & 0xc0) != 0x80 && n++ == width)
            break;
    return i;
}

static uint32_t decode_utf8(const uint8_t *p, size_t n)
{
    uint32_t c = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3f);
    return c;
}

static size_t encode_utf8(uint32_t c, char *p)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (n == 1) {
        p[0] = (char)c;
        return 1;
    }
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        p[i] = (char)(0x80 | (c & 0x3f));
    p[0] = (char)((0xf00 >> n & 0xf0) | c);
    return n;
}

/* Increments the last code point that has a successor and drops what follows; 0: none has. `p` has 1 byte to
 * spare. */
static size_t increment_string(char *p, size_t n)
{
    while (n > 0) {
        size_t start = n - 1;
        while (start > 0 && ((uint8_t)p[start] & 0xc0) == 0x80)
            start--;
        uint32_t c = decode_utf8((uint8_t *)p + start, n - start) + 1;
        if (c == 0xd800)
            c = 0xe000; /* surrogates are no characters */
        if (c <= 0x10ffff)
            return start + encode_utf8(c, p + start);
        n = start;
    }
    return 0;
}

static size_t increment_bytes(char *p, size_t n)
{
    while (n > 0 && (uint8_t)p[n - 1] == 0xff)
        n--;
    if (n > 0)
        p[n - 1]++;
    return n;
}

ice_code ice_bound_truncate(const ice_value *v, bool upper, size_t width, ice_arena *a, ice_value *out,
                            bool *has, ice_error *err)
{
    *out = *v;
    *has = true;
    if (v->null || (v->kind != ICE_T_STRING && v->kind != ICE_T_BINARY && v->kind != ICE_T_FIXED))
        return ICE_OK;
    bool text = v->kind == ICE_T_STRING;
    size_t n = text ? prefix_bytes(v->s, width) : v->s.len < width ? v->s.len : width;
    if (n == v->s.len)
        return ICE_OK;
    char *p = ice_arena_alloc(a, n + 4);
    if (!p)
        return ice_fail_nomem(err);
    memcpy(p, v->s.ptr, n);
    if (upper) {
        n = text ? increment_string(p, n) : increment_bytes(p, n);
        *has = n > 0;
    }
    out->s = (ice_str){p, n};
    return ICE_OK;
}
