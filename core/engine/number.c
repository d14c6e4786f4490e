/* round(float, digits) as PostgreSQL's of numeric: ice_round(number, digits), both as text.
 *
 * A float becomes a numeric of 15 significant digits, which is rounded half away from zero: 0.285 to 0.29, though
 * the float is a little less. So it is done on the digits. */
#include "engine/function.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DIGITS = 15, MAX_PLACES = 2000 };

/* The digits of a positive number: "d" * 10 ** exponent, with a point after the first. */
typedef struct decimal {
    char d[DIGITS + 1];
    int exponent;
} decimal;

static decimal decimal_of(double x)
{
    decimal n = {.exponent = 0};
    char text[DIGITS + 16]; /* d.dddddddddddddde+ddd */
    snprintf(text, sizeof text, "%.*e", DIGITS - 1, x);
    n.d[0] = text[0];
    memcpy(n.d + 1, text + 2, DIGITS - 1);
    n.exponent = atoi(text + DIGITS + 2);
    return n;
}

/* Leaves the first `kept` digits, 0 to 14, and makes the others zero. */
static void round_at(decimal *n, int kept)
{
    bool up = n->d[kept] >= '5';
    memset(n->d + kept, '0', (size_t)(DIGITS - kept));
    while (up && kept > 0 && n->d[kept - 1] == '9')
        n->d[--kept] = '0';
    if (up && kept > 0) {
        n->d[kept - 1]++;
    } else if (up) {
        n->d[0] = '1';
        n->exponent++;
    }
}

double ice__round_float(double x, long places)
{
    if (!isfinite(x) || x == 0)
        return x + 0.0;
    decimal n = decimal_of(fabs(x));
    places = places > MAX_PLACES ? MAX_PLACES : places < -MAX_PLACES ? -MAX_PLACES : places;
    long kept = n.exponent + places + 1;
    if (kept < 0)
        return 0.0;
    if (kept < DIGITS)
        round_at(&n, (int)kept);
    char text[DIGITS + 16];
    snprintf(text, sizeof text, "%c.%.*se%d", n.d[0], DIGITS - 1, n.d + 1, n.exponent);
    return copysign(strtod(text, NULL), n.d[0] == '0' ? 1.0 : x); /* no negative zero */
}

static ice_code read_number(ice_str text, char *copy, size_t room, ice_error *err)
{
    if (text.len >= room)
        return ice_fail(err, ICE_RANGE, "a number of %zu characters cannot be rounded", text.len);
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return ICE_OK;
}

static ice_code round_row(const ice_str *texts, double *out, ice_error *err)
{
    char number[64], places[32];
    ice_code rc;
    ICE_TRY(read_number(texts[0], number, sizeof number, err));
    ICE_TRY(read_number(texts[1], places, sizeof places, err));
    *out = ice__round_float(strtod(number, NULL), strtol(places, NULL, 10));
out:
    return rc;
}

static void on_round(duck_exec info, duck_context ctx, duck_error *slot)
{
    ice_error err = {0};
    ice__call c = {.nargs = 0};
    ice_str texts[ICE__MAX_ARGS];
    (void)ctx;
    ice_code rc = ice__call_open(info, 2, &c, &err);
    for (size_t i = 0; rc == ICE_OK && i < c.count; i++) {
        bool null;
        if ((rc = ice__call_row(&c, i, texts, &null, &err)) == ICE_OK && !null)
            rc = round_row(texts, (double *)c.data + i, &err);
    }
    if (rc != ICE_OK)
        ice__call_fail(&err, slot);
}

const ice__function ice__number_functions[] = {
    {"ice_round", 2, ICE_T_DOUBLE, on_round, NULL, NULL},
};
