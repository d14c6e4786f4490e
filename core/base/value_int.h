/* What the value_*.c files share: 128-bit arithmetic and the calendar. */
#ifndef ICE_BASE_VALUE_INT_H
#define ICE_BASE_VALUE_INT_H

#include <locale.h>

#include "base/value.h"

typedef unsigned __int128 ice_u128;

#define ICE_US_PER_DAY INT64_C(86400000000)
enum { ICE_MAX_SCALE = 38 };

/* 10^n, 0 <= n <= 38. */
extern const ice_i128 ice__pow10[ICE_MAX_SCALE + 1];

static inline ice_u128 ice__abs128(ice_i128 v) { return v < 0 ? -(ice_u128)v : (ice_u128)v; }

/* Decimal digits of v, no padding; `out` holds 40 bytes. Returns their number; no NUL. */
size_t ice__u128_digits(ice_u128 v, char out[40]);
/* Shortest text that reads back as the same double (float where `single`), as PostgreSQL prints it. */
size_t ice__double_text(double d, bool single, char out[40]);
/* The "C" locale: numbers look the same whatever the host program has set. */
locale_t ice__c_locale(void);

static inline int64_t ice__floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }
static inline int64_t ice__floor_mod(int64_t a, int64_t b) { return a % b + (a % b < 0 ? b : 0); }

/* Proleptic Gregorian calendar; year 0 is 1 BC. */
typedef struct ice__civil {
    int64_t year;
    int month, day;
} ice__civil;
ice__civil ice__civil_of_days(int64_t days);
int64_t ice__days_of_civil(ice__civil c);

/* A value with the text's own type, for casts: each returns ICE_OK, ICE_BAD_VALUE (grammar) or ICE_DATETIME
 * (a field out of range). */
ice_code ice__parse_date(ice_str s, int64_t *days);
ice_code ice__parse_time(ice_str s, int64_t *us);
ice_code ice__parse_timestamp(ice_str s, int64_t *us);

#endif
