#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/misc.h"
#include "base/value_int.h"

/* ---- failures, naming value and type ---- */

static ice_code refuse(const ice_value *v, ice_type t, ice_code code, ice_error *err)
{
    const char *why = code == ICE_RANGE      ? "is out of range for"
                      : code == ICE_DATETIME ? "has a date or time field out of range, as"
                      : code == ICE_TOO_LONG ? "has the wrong length for"
                                             : "is not a valid";
    ice_buf text = {0};
    char type[32];

    ice_type_text(t, type);
    ice_value_text(v, &text);
    ice_fail(err, code, "\"%.*s%s\" %s %s", text.len < 100 ? (int)text.len : 100, text.data ? text.data : "",
             text.len > 100 ? "..." : "", why, type);
    ice_buf_free(&text);
    return code;
}

/* ---- reading text ---- */

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static ice_str trim(ice_str s)
{
    while (s.len && is_space(s.ptr[0]))
        s = (ice_str){s.ptr + 1, s.len - 1};
    while (s.len && is_space(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

static bool take(ice_str *s, char c)
{
    if (s->len == 0 || s->ptr[0] != c)
        return false;
    *s = (ice_str){s->ptr + 1, s->len - 1};
    return true;
}

/* Between `least` and `most` digits (at most 18); false leaves `s` anywhere. */
static bool take_digits(ice_str *s, size_t least, size_t most, int64_t *out)
{
    size_t n = 0;

    for (*out = 0; n < most && n < s->len && is_digit(s->ptr[n]); n++)
        *out = *out * 10 + (s->ptr[n] - '0');
    *s = (ice_str){s->ptr + n, s->len - n};
    return n >= least;
}

static bool parse_bool(ice_str s, bool *out)
{
    static const char *const words[2][6] = {{"false", "f", "0", "no", "n", "off"},
                                            {"true", "t", "1", "yes", "y", "on"}};

    for (int i = 0; i < 12; i++)
        if (ice_str_ieq(s, ice_str_c(words[i / 6][i % 6]))) {
            *out = i >= 6;
            return true;
        }
    return false;
}

static ice_code parse_int(ice_str s, int64_t *out)
{
    bool minus = take(&s, '-');

    if (!minus)
        take(&s, '+');
    if (s.len == 0)
        return ICE_BAD_VALUE;
    *out = 0;
    for (size_t i = 0; i < s.len; i++)
        if (!is_digit(s.ptr[i]))
            return ICE_BAD_VALUE;
    for (size_t i = 0; i < s.len; i++) {
        int digit = s.ptr[i] - '0';

        if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, minus ? -digit : digit, out))
            return ICE_RANGE;
    }
    return ICE_OK;
}

/* [+-] digits [. digits] [e [+-] digits], at least one digit before the exponent. */
typedef struct numeral {
    bool minus;
    ice_str whole, fraction;
    int64_t exponent; /* within +-100,000,000, beyond which it says nothing more */
} numeral;

static ice_str take_run(ice_str *s)
{
    size_t n = 0;
    ice_str run;

    while (n < s->len && is_digit(s->ptr[n]))
        n++;
    run = (ice_str){s->ptr, n};
    *s = (ice_str){s->ptr + n, s->len - n};
    return run;
}

static bool parse_exponent(ice_str s, int64_t *out)
{
    bool minus = take(&s, '-');
    ice_str run;

    if (!minus)
        take(&s, '+');
    run = take_run(&s);
    if (run.len == 0 || s.len > 0)
        return false;
    *out = 0;
    for (size_t i = 0; i < run.len && *out < 100000000; i++)
        *out = *out * 10 + (run.ptr[i] - '0');
    *out = minus ? -*out : *out;
    return true;
}

static bool parse_numeral(ice_str s, numeral *n)
{
    *n = (numeral){.minus = take(&s, '-')};
    if (!n->minus)
        take(&s, '+');
    n->whole = take_run(&s);
    if (take(&s, '.'))
        n->fraction = take_run(&s);
    if (n->whole.len + n->fraction.len == 0)
        return false;
    if (s.len == 0)
        return true;
    if (!take(&s, 'e') && !take(&s, 'E'))
        return false;
    return parse_exponent(s, &n->exponent);
}

static bool special_number(ice_str s, double *out)
{
    bool minus = take(&s, '-');

    if (!minus)
        take(&s, '+');
    if (ice_str_ieq(s, ICE_STR("nan")))
        *out = (double)NAN;
    else if (ice_str_ieq(s, ICE_STR("infinity")) || ice_str_ieq(s, ICE_STR("inf")))
        *out = minus ? -(double)INFINITY : (double)INFINITY;
    else
        return false;
    return true;
}

static ice_code parse_double(ice_str s, bool single, double *out)
{
    char small[64], *text = small;
    numeral n;
    bool zero = true;

    if (!parse_numeral(s, &n))
        return special_number(s, out) ? ICE_OK : ICE_BAD_VALUE;
    for (size_t i = 0; i < n.whole.len + n.fraction.len && zero; i++)
        zero = (i < n.whole.len ? n.whole.ptr[i] : n.fraction.ptr[i - n.whole.len]) == '0';
    if (s.len >= sizeof small && !(text = malloc(s.len + 1)))
        return ICE_NOMEM;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    *out = single ? strtof_l(text, NULL, ice__c_locale()) : strtod_l(text, NULL, ice__c_locale());
    if (text != small)
        free(text);
    return isinf(*out) || (*out == 0 && !zero) ? ICE_RANGE : ICE_OK;
}

/* ---- decimals ---- */

static ice_code check_precision(ice_i128 v, uint8_t precision)
{
    return ice__abs128(v) < (ice_u128)ice__pow10[precision] ? ICE_OK : ICE_RANGE;
}

/* Half away from zero; a power of ten from 10 on is even, so its half is exact. */
static ice_i128 div_round(ice_i128 v, int power)
{
    ice_i128 unit = ice__pow10[power], q = v / unit, rest = v % unit;

    if (power > 0 && ice__abs128(rest) >= (ice_u128)(unit / 2))
        q += v < 0 ? -1 : 1;
    return q;
}

static ice_code rescale(ice_i128 v, int from, int to, ice_i128 *out)
{
    if (from > ICE_MAX_SCALE)
        return ICE_RANGE;
    if (to < from) {
        *out = div_round(v, from - to);
        return ICE_OK;
    }
    return __builtin_mul_overflow(v, ice__pow10[to - from], out) ? ICE_RANGE : ICE_OK;
}

/* The first digit dropped decides the rounding: half goes away from zero, whatever follows. */
static ice_code numeral_to_decimal(const numeral *n, ice_type t, ice_i128 *out)
{
    size_t count = n->whole.len + n->fraction.len;
    /* Digits of the mantissa that count, and zeros to append where it has fewer. */
    int64_t keep = (int64_t)n->whole.len + n->exponent + t.scale, i = 0;
    ice_i128 v = 0, limit = ice__pow10[t.precision];

    for (; i < keep && (i < (int64_t)count || v != 0); i++) {
        size_t k = (size_t)i;
        int digit = k >= count ? 0 : (k < n->whole.len ? n->whole.ptr[k] : n->fraction.ptr[k - n->whole.len]) - '0';

        /* Below the limit of 10^38 ten times v may overflow, so the limit is tested first. */
        if (v >= limit / 10)
            return ICE_RANGE;
        v = v * 10 + digit;
    }
    if (keep >= 0 && keep < (int64_t)count) {
        size_t k = (size_t)keep;

        v += (k < n->whole.len ? n->whole.ptr[k] : n->fraction.ptr[k - n->whole.len]) >= '5';
    }
    *out = n->minus ? -v : v;
    return check_precision(v, t.precision);
}

static ice_code text_to_decimal(ice_str s, ice_type t, ice_i128 *out)
{
    double ignored;
    numeral n;

    if (!parse_numeral(s, &n))
        return special_number(s, &ignored) ? ICE_RANGE : ICE_BAD_VALUE;
    return numeral_to_decimal(&n, t, out);
}

/* Through the shortest text, so that 0.1 becomes 0.1. */
static ice_code double_to_decimal(const ice_value *v, ice_type t, ice_i128 *out)
{
    char text[40];

    if (!isfinite(v->d))
        return ICE_RANGE;
    return text_to_decimal((ice_str){text, ice__double_text(v->d, v->kind == ICE_T_FLOAT, text)}, t, out);
}

static ice_code decimal_to_double(const ice_value *v, bool single, double *out)
{
    ice_buf text = {0};
    ice_code rc;

    /* Both operands exact: one correctly rounded division. (To float it would round twice.) */
    if (v->scale <= 22 && ice__abs128(v->dec) < (ice_u128)1 << 53 && !single) {
        *out = (double)v->dec / (double)ice__pow10[v->scale];
        return ICE_OK;
    }
    ice_value_text(v, &text);
    rc = text.failed ? ICE_NOMEM : parse_double(ice_buf_str(&text), single, out);
    ice_buf_free(&text);
    return rc;
}

/* ---- dates and times ---- */

static int days_in_month(int64_t year, int month)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return days[month - 1] + (month == 2 && leap);
}

static bool take_era(ice_str *s)
{
    if (s->len < 3 || !ice_str_ieq((ice_str){s->ptr + s->len - 3, 3}, ICE_STR(" BC")))
        return false;
    s->len -= 3;
    return true;
}

static ice_code take_date(ice_str *s, bool bc, int64_t *out)
{
    int64_t year, month, day;

    if (!take_digits(s, 4, 6, &year) || !take(s, '-') || !take_digits(s, 1, 2, &month) || !take(s, '-') ||
        !take_digits(s, 1, 2, &day))
        return ICE_BAD_VALUE;
    if (year == 0 || month < 1 || month > 12)
        return ICE_DATETIME;
    year = bc ? 1 - year : year;
    if (day < 1 || day > days_in_month(year, (int)month))
        return ICE_DATETIME;
    *out = ice__days_of_civil((ice__civil){year, (int)month, (int)day});
    return ICE_OK;
}

/* Digits after the point as microseconds, rounded half up as PostgreSQL does. */
static bool take_fraction(ice_str *s, int64_t *us)
{
    ice_str run = take_run(s);

    *us = 0;
    for (size_t i = 0; i < 6; i++)
        *us = *us * 10 + (i < run.len ? run.ptr[i] - '0' : 0);
    *us += run.len > 6 && run.ptr[6] >= '5';
    return run.len > 0;
}

static ice_code take_time(ice_str *s, int64_t *us)
{
    int64_t hour, minute, second = 0, fraction = 0;

    if (!take_digits(s, 1, 2, &hour) || !take(s, ':') || !take_digits(s, 2, 2, &minute))
        return ICE_BAD_VALUE;
    if (take(s, ':')) {
        if (!take_digits(s, 2, 2, &second))
            return ICE_BAD_VALUE;
        if (take(s, '.') && !take_fraction(s, &fraction))
            return ICE_BAD_VALUE;
    }
    if (hour > 23 || minute > 59 || second > 59)
        return ICE_DATETIME;
    *us = ((hour * 60 + minute) * 60 + second) * 1000000 + fraction;
    return ICE_OK;
}

/* Z, +hh, +hhmm, +hh:mm, +hh:mm:ss, or nothing; microseconds east of UTC. */
static ice_code take_offset(ice_str *s, int64_t *us)
{
    int64_t hours, minutes = 0, seconds = 0;
    bool minus = false, colon;

    *us = 0;
    if (s->len == 0 || take(s, 'Z') || take(s, 'z'))
        return ICE_OK;
    if (!take(s, '+') && !(minus = take(s, '-')))
        return ICE_BAD_VALUE;
    if (!take_digits(s, 2, 2, &hours))
        return ICE_BAD_VALUE;
    colon = take(s, ':');
    if ((colon || s->len > 0) && !take_digits(s, 2, 2, &minutes))
        return ICE_BAD_VALUE;
    if (colon && take(s, ':') && !take_digits(s, 2, 2, &seconds))
        return ICE_BAD_VALUE;
    if (hours > 15 || minutes > 59 || seconds > 59)
        return ICE_DATETIME;
    *us = ((hours * 60 + minutes) * 60 + seconds) * (minus ? -1000000 : 1000000);
    return ICE_OK;
}

ice_code ice__parse_timestamp(ice_str s, int64_t *out)
{
    int64_t days, us = 0, offset = 0;
    bool bc = take_era(&s);
    ice_code rc = take_date(&s, bc, &days);

    if (rc == ICE_OK && s.len > 0) {
        if (!take(&s, 'T') && !take(&s, 't') && !take(&s, ' '))
            return ICE_BAD_VALUE;
        rc = take_time(&s, &us);
        if (rc == ICE_OK)
            rc = take_offset(&s, &offset);
    }
    if (rc != ICE_OK)
        return rc;
    if (s.len > 0)
        return ICE_BAD_VALUE;
    if (__builtin_mul_overflow(days, ICE_US_PER_DAY, out) || __builtin_add_overflow(*out, us - offset, out))
        return ICE_DATETIME;
    return ICE_OK;
}

/* A timestamp's text is taken too, and its date as written. */
ice_code ice__parse_date(ice_str s, int64_t *days)
{
    int64_t ignored;
    ice_str rest = s;
    bool bc = take_era(&rest);
    ice_code rc = take_date(&rest, bc, days);

    return rc == ICE_OK && rest.len > 0 ? ice__parse_timestamp(s, &ignored) : rc;
}

ice_code ice__parse_time(ice_str s, int64_t *us)
{
    ice_code rc = take_time(&s, us);

    if (rc == ICE_OK && s.len > 0)
        return ICE_BAD_VALUE;
    /* 23:59:59.9999995 rounds to a day. */
    return rc == ICE_OK && *us >= ICE_US_PER_DAY ? ICE_DATETIME : rc;
}

/* ---- one function for each target ---- */

static ice_code to_bool(const ice_value *v, ice_type t, ice_value *out)
{
    bool b;

    if (v->kind != ICE_T_STRING || !parse_bool(trim(v->s), &b))
        return ICE_BAD_VALUE;
    out->b = b;
    return ICE_OK;
}

static ice_code integer_of(const ice_value *v, int64_t *out)
{
    ice_i128 whole;
    double d;

    switch (v->kind) {
    case ICE_T_INT:
    case ICE_T_LONG:
        *out = v->i;
        return ICE_OK;
    case ICE_T_STRING:
        return parse_int(trim(v->s), out);
    case ICE_T_DECIMAL:
        if (rescale(v->dec, v->scale, 0, &whole) != ICE_OK || whole != (int64_t)whole)
            return ICE_RANGE;
        *out = (int64_t)whole;
        return ICE_OK;
    case ICE_T_FLOAT:
    case ICE_T_DOUBLE:
        d = rint(v->d);
        if (!(d >= -0x1p63 && d < 0x1p63))
            return ICE_RANGE;
        *out = (int64_t)d;
        return ICE_OK;
    default:
        return ICE_BAD_VALUE;
    }
}

static ice_code to_integer(const ice_value *v, ice_type t, ice_value *out)
{
    int64_t i = 0;
    ice_code rc = integer_of(v, &i);

    out->i = i;
    if (rc == ICE_OK && t.kind == ICE_T_INT && i != (int32_t)i)
        return ICE_RANGE;
    return rc;
}

static ice_code to_floating(const ice_value *v, ice_type t, ice_value *out)
{
    bool single = t.kind == ICE_T_FLOAT;
    ice_code rc = ICE_OK;
    double d = 0;

    if (v->kind == ICE_T_STRING)
        rc = parse_double(trim(v->s), single, &d);
    else if (v->kind == ICE_T_DECIMAL)
        rc = decimal_to_double(v, single, &d);
    else if (v->kind == ICE_T_INT || v->kind == ICE_T_LONG)
        d = single ? (double)(float)v->i : (double)v->i;
    else if (v->kind == ICE_T_FLOAT || v->kind == ICE_T_DOUBLE)
        d = v->d;
    else
        return ICE_BAD_VALUE;
    if (single && isfinite(d)) {
        /* From here up a float rounds to infinity; converting such a double is undefined. */
        if (fabs(d) >= 0x1.ffffffp127)
            return ICE_RANGE;
        d = (double)(float)d;
    }
    out->d = d;
    return rc;
}

static ice_code to_decimal(const ice_value *v, ice_type t, ice_value *out)
{
    ice_i128 dec = 0;
    ice_code rc;

    if (v->kind == ICE_T_INT || v->kind == ICE_T_LONG)
        rc = rescale(v->i, 0, t.scale, &dec);
    else if (v->kind == ICE_T_DECIMAL)
        rc = rescale(v->dec, v->scale, t.scale, &dec);
    else if (v->kind == ICE_T_FLOAT || v->kind == ICE_T_DOUBLE)
        rc = double_to_decimal(v, t, &dec);
    else if (v->kind == ICE_T_STRING)
        rc = text_to_decimal(trim(v->s), t, &dec);
    else
        return ICE_BAD_VALUE;
    out->scale = t.scale;
    out->dec = dec;
    return rc == ICE_OK ? check_precision(dec, t.precision) : rc;
}

static ice_code to_date(const ice_value *v, ice_type t, ice_value *out)
{
    int64_t days = 0;
    ice_code rc = ICE_OK;

    if (v->kind == ICE_T_STRING)
        rc = ice__parse_date(trim(v->s), &days);
    else if (v->kind == ICE_T_TIMESTAMP || v->kind == ICE_T_TIMESTAMPTZ)
        days = ice__floor_div(v->i, ICE_US_PER_DAY);
    else
        return ICE_BAD_VALUE;
    out->i = days;
    return rc == ICE_OK && days != (int32_t)days ? ICE_DATETIME : rc;
}

static ice_code to_time(const ice_value *v, ice_type t, ice_value *out)
{
    int64_t us = 0;
    ice_code rc = ICE_OK;

    if (v->kind == ICE_T_STRING)
        rc = ice__parse_time(trim(v->s), &us);
    else if (v->kind == ICE_T_TIMESTAMP || v->kind == ICE_T_TIMESTAMPTZ)
        us = ice__floor_mod(v->i, ICE_US_PER_DAY);
    else
        return ICE_BAD_VALUE;
    out->i = us;
    return rc;
}

static ice_code to_timestamp(const ice_value *v, ice_type t, ice_value *out)
{
    int64_t us = 0;
    ice_code rc = ICE_OK;

    if (v->kind == ICE_T_STRING)
        rc = ice__parse_timestamp(trim(v->s), &us);
    else if (v->kind == ICE_T_TIMESTAMP || v->kind == ICE_T_TIMESTAMPTZ)
        us = v->i;
    else if (v->kind != ICE_T_DATE)
        return ICE_BAD_VALUE;
    else if (__builtin_mul_overflow(v->i, ICE_US_PER_DAY, &us))
        return ICE_DATETIME;
    out->i = us;
    return rc;
}

static ice_code to_string(ice_arena *a, const ice_value *v, ice_value *out)
{
    ice_buf text = {0};

    ice_value_text(v, &text);
    out->s = text.failed ? ICE_STR_NONE : ice_arena_str(a, (ice_str){text.data ? text.data : "", text.len});
    ice_buf_free(&text);
    return out->s.ptr ? ICE_OK : ICE_NOMEM;
}

static ice_code to_uuid(const ice_value *v, ice_type t, ice_value *out)
{
    ice_uuid u;

    if (v->kind != ICE_T_STRING || !ice_uuid_parse(trim(v->s), &u))
        return ICE_BAD_VALUE;
    memcpy(out->uuid, u.b, sizeof u.b);
    return ICE_OK;
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* PostgreSQL's hex form \x0aff; text without a backslash stands for its own bytes. */
static ice_code text_to_bytes(ice_arena *a, ice_str s, ice_str *out)
{
    char *p;

    if (s.len == 0 || !memchr(s.ptr, '\\', s.len)) {
        *out = s;
        return ICE_OK;
    }
    if (s.len % 2 != 0 || s.ptr[0] != '\\' || s.ptr[1] != 'x')
        return ICE_BAD_VALUE;
    if (!(p = ice_arena_alloc(a, s.len / 2)))
        return ICE_NOMEM;
    for (size_t i = 2; i < s.len; i += 2) {
        int hi = hex_value(s.ptr[i]), lo = hex_value(s.ptr[i + 1]);

        if (hi < 0 || lo < 0)
            return ICE_BAD_VALUE;
        p[i / 2 - 1] = (char)(hi << 4 | lo);
    }
    *out = (ice_str){p, s.len / 2 - 1};
    return ICE_OK;
}

static ice_code to_bytes(ice_arena *a, const ice_value *v, ice_type t, ice_value *out)
{
    ice_str s = ICE_STR_NONE;
    ice_code rc = ICE_OK;

    if (v->kind == ICE_T_STRING)
        rc = text_to_bytes(a, v->s, &s);
    else if (v->kind == ICE_T_BINARY || v->kind == ICE_T_FIXED)
        s = v->s;
    else
        return ICE_BAD_VALUE;
    out->s = s;
    return rc == ICE_OK && t.kind == ICE_T_FIXED && s.len != t.length ? ICE_TOO_LONG : rc;
}

static ice_code convert(ice_arena *a, const ice_value *v, ice_type t, ice_value *out)
{
    switch (t.kind) {
    case ICE_T_BOOL:
        return to_bool(v, t, out);
    case ICE_T_INT:
    case ICE_T_LONG:
        return to_integer(v, t, out);
    case ICE_T_FLOAT:
    case ICE_T_DOUBLE:
        return to_floating(v, t, out);
    case ICE_T_DECIMAL:
        return to_decimal(v, t, out);
    case ICE_T_DATE:
        return to_date(v, t, out);
    case ICE_T_TIME:
        return to_time(v, t, out);
    case ICE_T_TIMESTAMP:
    case ICE_T_TIMESTAMPTZ:
        return to_timestamp(v, t, out);
    case ICE_T_STRING:
        return to_string(a, v, out);
    case ICE_T_UUID:
        return to_uuid(v, t, out);
    case ICE_T_FIXED:
    case ICE_T_BINARY:
        return to_bytes(a, v, t, out);
    default:
        return ICE_BAD_VALUE;
    }
}

/* Same kind and nothing to check: the common case of a bound parameter. */
static bool is_same(const ice_value *v, ice_type t)
{
    if (v->kind != t.kind)
        return false;
    return t.kind == ICE_T_DECIMAL ? v->scale == t.scale && check_precision(v->dec, t.precision) == ICE_OK
                                   : t.kind != ICE_T_FIXED && t.kind != ICE_T_FLOAT && t.kind != ICE_T_INT;
}

ice_code ice_value_cast(ice_arena *a, const ice_value *v, ice_type t, ice_value *out, ice_error *err)
{
    ice_value result = {.kind = t.kind};
    ice_code rc;

    if (v->null) {
        *out = (ice_value){.kind = t.kind, .null = true};
        return ICE_OK;
    }
    if (t.kind == ICE_T_DECIMAL && (t.precision < 1 || t.precision > 38 || t.scale > t.precision))
        return ice_fail(err, ICE_INTERNAL, "decimal(%u, %u) is not a type", t.precision, t.scale);
    if (is_same(v, t)) {
        *out = *v;
        return ICE_OK;
    }
    rc = convert(a, v, t, &result);
    if (rc == ICE_NOMEM)
        return ice_fail_nomem(err);
    if (rc != ICE_OK)
        return refuse(v, t, rc, err);
    *out = result; /* last: `out` may be `v` */
    return ICE_OK;
}
