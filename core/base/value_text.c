#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/misc.h"
#include "base/value_int.h"

static locale_t c_locale;

static void make_c_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

locale_t ice__c_locale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_c_locale);
    return c_locale;
}

/* ---- numbers ---- */

static size_t u64_digits(uint64_t v, char *out)
{
    char back[20];
    size_t n = 0;

    do
        back[n++] = (char)('0' + v % 10);
    while (v /= 10);
    for (size_t i = 0; i < n; i++)
        out[i] = back[n - 1 - i];
    return n;
}

size_t ice__u128_digits(ice_u128 v, char out[40])
{
    const uint64_t e19 = UINT64_C(10000000000000000000);
    char low[20];
    size_t n, m;

    if (v <= UINT64_MAX)
        return u64_digits((uint64_t)v, out);
    n = ice__u128_digits(v / e19, out);
    m = u64_digits((uint64_t)(v % e19), low);
    memset(out + n, '0', 19 - m);
    memcpy(out + n + 19 - m, low, m);
    return n + 19;
}

static void put_i64(ice_buf *b, int64_t v)
{
    char text[21];
    size_t n = 0;

    if (v < 0)
        text[n++] = '-';
    n += u64_digits(v < 0 ? -(uint64_t)v : (uint64_t)v, text + n);
    ice_buf_put(b, text, n);
}

static void put_decimal(ice_buf *b, ice_i128 v, uint8_t scale)
{
    char digits[40];
    size_t n = ice__u128_digits(ice__abs128(v), digits), whole = n > scale ? n - scale : 0;

    if (v < 0)
        ice_buf_put_u8(b, '-');
    if (whole == 0)
        ice_buf_put_u8(b, '0');
    ice_buf_put(b, digits, whole);
    if (scale == 0)
        return;
    ice_buf_put_u8(b, '.');
    for (size_t i = n; i < scale; i++)
        ice_buf_put_u8(b, '0');
    ice_buf_put(b, digits + whole, n - whole);
}

static bool reads_back(const char *text, double d, bool single)
{
    return single ? strtof_l(text, NULL, ice__c_locale()) == (float)d
                  : strtod_l(text, NULL, ice__c_locale()) == d;
}

/* Significant digits of d in e-notation, shortest that reads back. Up to DBL_DIG digits always survive a
 * round trip, so one try with that many and its trailing zeros cut is the shortest, but for subnormals. */
static void shortest_e(double d, bool single, char out[40])
{
    int sure = single ? FLT_DIG : DBL_DIG, most = single ? FLT_DECIMAL_DIG : DBL_DECIMAL_DIG;
    bool subnormal = fabs(d) < (single ? (double)FLT_MIN : DBL_MIN);

    for (int digits = subnormal ? 1 : sure; digits <= most; digits++) {
        snprintf(out, 40, "%.*e", digits - 1, d);
        if (reads_back(out, d, single))
            return;
    }
}

/* PostgreSQL writes an exponent below 1e-4 and from 10^DIG on. */
size_t ice__double_text(double d, bool single, char out[40])
{
    char text[40], *e;
    int exponent, digits;
    locale_t old;

    if (isnan(d) || isinf(d))
        return (size_t)snprintf(out, 40, "%s", isnan(d) ? "NaN" : d > 0 ? "Infinity" : "-Infinity");
    old = uselocale(ice__c_locale());
    shortest_e(d, single, text);
    e = strchr(text, 'e');
    exponent = atoi(e + 1);
    while (e[-1] == '0' && strchr(text, '.'))
        memmove(e - 1, e, strlen(e) + 1), e--;
    if (e[-1] == '.')
        memmove(e - 1, e, strlen(e) + 1), e--;
    digits = (int)(e - text) - (text[0] == '-');
    digits -= digits > 1;
    if (exponent < -4 || exponent >= (single ? FLT_DIG : DBL_DIG))
        snprintf(out, 40, "%s", text);
    else
        snprintf(out, 40, "%.*f", digits - 1 > exponent ? digits - 1 - exponent : 0, d);
    uselocale(old);
    return strlen(out);
}

/* ---- calendar ----
 *
 * Years are counted from 1 March, so that the leap day ends its year; 400 years are 146,097 days. */

ice__civil ice__civil_of_days(int64_t days)
{
    const int64_t march_1_year_0 = -719468;
    int64_t z = days - march_1_year_0, era = ice__floor_div(z, 146097), in_era = z - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int month = (int)((5 * in_year + 2) / 153);
    int day = (int)(in_year - (153 * month + 2) / 5) + 1;

    month = month < 10 ? month + 3 : month - 9;
    return (ice__civil){year + era * 400 + (month <= 2), month, day};
}

int64_t ice__days_of_civil(ice__civil c)
{
    int64_t year = c.year - (c.month <= 2), era = ice__floor_div(year, 400), of_era = year - era * 400;
    int64_t month = c.month > 2 ? c.month - 3 : c.month + 9;
    int64_t in_year = (153 * month + 2) / 5 + c.day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + in_year - 719468;
}

static void put_two(char *p, int v)
{
    p[0] = (char)('0' + v / 10);
    p[1] = (char)('0' + v % 10);
}

/* Returns whether the year is one before Christ, which the caller marks in its own way. */
static bool put_date(ice_buf *b, int64_t days)
{
    ice__civil c = ice__civil_of_days(days);
    bool bc = c.year <= 0;
    char digits[20], tail[6] = {'-', 0, 0, '-', 0, 0};
    size_t n = u64_digits((uint64_t)(bc ? 1 - c.year : c.year), digits);

    for (size_t i = n; i < 4; i++)
        ice_buf_put_u8(b, '0');
    ice_buf_put(b, digits, n);
    put_two(tail + 1, c.month);
    put_two(tail + 4, c.day);
    ice_buf_put(b, tail, sizeof tail);
    return bc;
}

static void put_time(ice_buf *b, int64_t us)
{
    char text[15] = "00:00:00.000000";
    int64_t seconds = us / 1000000, fraction = us % 1000000;
    size_t n = 15;

    put_two(text, (int)(seconds / 3600 % 100));
    put_two(text + 3, (int)(seconds / 60 % 60));
    put_two(text + 6, (int)(seconds % 60));
    for (int i = 14; i > 8; i--, fraction /= 10)
        text[i] = (char)('0' + fraction % 10);
    while (text[n - 1] == '0' && n > 9)
        n--;
    ice_buf_put(b, text, n == 9 ? 8 : n);
}

/* `engine`: DuckDB's form, which has the era after the date, not PostgreSQL's at the end. */
static void put_temporal(ice_buf *b, const ice_value *v, bool engine)
{
    int64_t days;
    bool bc;

    if (v->kind == ICE_T_TIME) {
        put_time(b, v->i);
        return;
    }
    days = v->kind == ICE_T_DATE ? v->i : ice__floor_div(v->i, ICE_US_PER_DAY);
    bc = put_date(b, days);
    if (bc && engine)
        ice_buf_puts(b, " (BC)");
    if (v->kind != ICE_T_DATE) {
        ice_buf_put_u8(b, ' ');
        put_time(b, ice__floor_mod(v->i, ICE_US_PER_DAY));
    }
    if (v->kind == ICE_T_TIMESTAMPTZ)
        ice_buf_puts(b, "+00");
    if (bc && !engine)
        ice_buf_puts(b, " BC");
}

const char *ice_instant_text(int64_t us, char out[ICE_INSTANT_LEN])
{
    ice__civil date = ice__civil_of_days(ice__floor_div(us, ICE_US_PER_DAY));
    int64_t t = ice__floor_mod(us, ICE_US_PER_DAY);

    snprintf(out, ICE_INSTANT_LEN, "%04lld-%02d-%02dT%02d:%02d:%02d.%06d+00:00", (long long)date.year, date.month,
             date.day, (int)(t / 3600000000), (int)(t / 60000000 % 60), (int)(t / 1000000 % 60),
             (int)(t % 1000000));
    return out;
}

/* ---- text and literals ---- */

static void put_hex(ice_buf *b, ice_str s, bool each)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (each)
            ice_buf_puts(b, "\\x");
        ice_buf_put_u8(b, (uint8_t)hex[c >> 4]);
        ice_buf_put_u8(b, (uint8_t)hex[c & 15]);
    }
}

static void put_text(const ice_value *v, ice_buf *out, bool engine)
{
    char text[40];
    ice_uuid u;

    switch (v->kind) {
    case ICE_T_BOOL:
        ice_buf_puts(out, v->b ? "true" : "false");
        break;
    case ICE_T_INT:
    case ICE_T_LONG:
        put_i64(out, v->i);
        break;
    case ICE_T_FLOAT:
    case ICE_T_DOUBLE:
        ice_buf_put(out, text, ice__double_text(v->d, v->kind == ICE_T_FLOAT, text));
        break;
    case ICE_T_DECIMAL:
        put_decimal(out, v->dec, v->scale);
        break;
    case ICE_T_STRING:
        ice_buf_put_str(out, v->s);
        break;
    case ICE_T_UUID:
        memcpy(u.b, v->uuid, sizeof u.b);
        ice_uuid_text(u, text);
        ice_buf_puts(out, text);
        break;
    case ICE_T_FIXED:
    case ICE_T_BINARY:
        if (!engine)
            ice_buf_puts(out, "\\x");
        put_hex(out, v->s, engine);
        break;
    default:
        put_temporal(out, v, engine);
    }
}

void ice_value_text(const ice_value *v, ice_buf *out)
{
    if (!v->null)
        put_text(v, out, false);
}

static void put_engine_type(ice_type t, ice_buf *out)
{
    static const char *const names[] = {
        [ICE_T_BOOL] = "BOOLEAN",          [ICE_T_INT] = "INTEGER",     [ICE_T_LONG] = "BIGINT",
        [ICE_T_FLOAT] = "FLOAT",           [ICE_T_DOUBLE] = "DOUBLE",   [ICE_T_DATE] = "DATE",
        [ICE_T_TIME] = "TIME",             [ICE_T_UUID] = "UUID",       [ICE_T_TIMESTAMP] = "TIMESTAMP",
        [ICE_T_TIMESTAMPTZ] = "TIMESTAMPTZ", [ICE_T_STRING] = "VARCHAR", [ICE_T_FIXED] = "BLOB",
        [ICE_T_BINARY] = "BLOB",
    };

    if (t.kind == ICE_T_DECIMAL)
        ice_buf_printf(out, "DECIMAL(%u,%u)", t.precision, t.scale);
    else
        ice_buf_puts(out, t.kind < sizeof names / sizeof names[0] && names[t.kind] ? names[t.kind] : "VARCHAR");
}

/* The engine's query text ends at a NUL byte, so one inside a string is spelled chr(0). */
static void put_string_literal(ice_str s, ice_buf *out)
{
    const char *nul = s.len ? memchr(s.ptr, 0, s.len) : NULL;
    bool parts = nul != NULL;

    if (parts)
        ice_buf_put_u8(out, '(');
    while (nul) {
        size_t n = (size_t)(nul - s.ptr);

        ice_buf_put_quoted(out, (ice_str){s.ptr, n});
        ice_buf_puts(out, " || chr(0) || ");
        s = (ice_str){nul + 1, s.len - n - 1};
        nul = s.len ? memchr(s.ptr, 0, s.len) : NULL;
    }
    ice_buf_put_quoted(out, s);
    if (parts)
        ice_buf_put_u8(out, ')');
}

/* A cast binds tighter than a minus sign, and -2147483648 without one is out of INTEGER's range. */
static void put_literal_body(const ice_value *v, ice_buf *out)
{
    if (v->kind == ICE_T_STRING) {
        put_string_literal(v->s, out);
    } else if (v->kind == ICE_T_INT || v->kind == ICE_T_LONG) {
        ice_buf_puts(out, v->i < 0 ? "(" : "");
        put_i64(out, v->i);
        ice_buf_puts(out, v->i < 0 ? ")" : "");
    } else {
        ice_buf_put_u8(out, '\'');
        put_text(v, out, true);
        ice_buf_put_u8(out, '\'');
    }
}

void ice_value_literal(const ice_value *v, ice_type t, ice_buf *out)
{
    if (v->null) {
        ice_buf_puts(out, "NULL");
        return;
    }
    if (v->kind == ICE_T_BOOL && t.kind <= ICE_T_BOOL) {
        ice_buf_puts(out, v->b ? "TRUE" : "FALSE");
        return;
    }
    if (t.kind == ICE_T_NONE)
        t = (ice_type){.kind = v->kind, .precision = 38, .scale = v->scale};
    put_literal_body(v, out);
    if (v->kind == ICE_T_STRING && t.kind == ICE_T_STRING)
        return;
    ice_buf_puts(out, "::");
    put_engine_type(t, out);
}
