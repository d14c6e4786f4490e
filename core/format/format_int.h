/* Shared inside format/: checked JSON reading, JSON text writing, calendar arithmetic. */
#ifndef ICE_FORMAT_INT_H
#define ICE_FORMAT_INT_H

#include <jansson.h>

#include "format/metadata.h"

/* How table metadata of ours ends: with its seal (base/misc.h), in a member that other readers do not know and
 * other writers leave out. */

/* ---- reading: every failure is ICE_CORRUPT and names the path of the offending value ---- */

typedef struct ice__json {
    ice_arena *arena;
    ice_error *err;
    const char *what; /* "table metadata", ... */
    char path[256];   /* "$.snapshots[3]" */
    size_t len;
} ice__json;

ice_code ice__json_load(ice__json *j, ice_str text, json_t **out) ICE_MUST;
/* Extends the path; give the result to ice__json_pop. */
size_t ice__json_push_key(ice__json *j, const char *key);
size_t ice__json_push_index(ice__json *j, size_t i);
void ice__json_pop(ice__json *j, size_t len);
ice_code ice__json_fail(ice__json *j, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
/* Where the key is absent (or null): an error if `required`, else *out is left as it is. */
ice_code ice__json_int(ice__json *j, const json_t *o, const char *key, bool required, int64_t min, int64_t max,
                       int64_t *out) ICE_MUST;
ice_code ice__json_int32(ice__json *j, const json_t *o, const char *key, bool required, int32_t *out) ICE_MUST;
ice_code ice__json_str(ice__json *j, const json_t *o, const char *key, bool required, ice_str *out) ICE_MUST;
ice_code ice__json_bool(ice__json *j, const json_t *o, const char *key, bool required, bool *out) ICE_MUST;
/* *out NULL where absent. */
ice_code ice__json_array(ice__json *j, const json_t *o, const char *key, bool required, json_t **out) ICE_MUST;
ice_code ice__json_object(ice__json *j, const json_t *o, const char *key, bool required, json_t **out) ICE_MUST;
ice_code ice__json_is_object(ice__json *j, const json_t *v) ICE_MUST;
/* Text of a value, in the arena. */
ice_code ice__json_raw(ice__json *j, const json_t *v, ice_str *out) ICE_MUST;
/* A string-to-string object. */
ice_code ice__json_kv(ice__json *j, const json_t *o, ice_kv **out, size_t *n) ICE_MUST;
/* An array of ints that fit 32 bits. */
ice_code ice__json_ints(ice__json *j, const json_t *arr, int32_t **out, size_t *n) ICE_MUST;

ice_code ice__schema_from(ice__json *j, const json_t *v, ice_schema *out) ICE_MUST;
ice_code ice__spec_fields_from(ice__json *j, const json_t *arr, ice_partition_field **out, size_t *n) ICE_MUST;
ice_code ice__single_from(ice__json *j, const json_t *v, ice_type t, ice_value *out) ICE_MUST;

/* ---- writing ---- */

void ice__put_json_str(ice_buf *b, ice_str s);
/* "key": with the comma before it, unless `first`. */
void ice__put_json_key(ice_buf *b, const char *key, bool first);
void ice__put_json_kv(ice_buf *b, const ice_kv *kv, size_t n);
void ice__put_spec_fields(ice_buf *b, const ice_partition_spec *s);

/* ---- calendar (proleptic Gregorian) ---- */

typedef struct ice__civil {
    int64_t year;
    int month, day;
} ice__civil;
ice__civil ice__fmt_civil(int64_t days);
int64_t ice__fmt_days(int64_t year, int month, int day);
static inline int64_t ice__floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}
#define ICE__DAY_US INT64_C(86400000000)

/* Minimal two's-complement big-endian bytes of a decimal's unscaled value; returns how many (1..16). */
size_t ice__decimal_bytes(ice_i128 v, uint8_t out[16]);
bool ice__decimal_of_bytes(ice_str bytes, ice_i128 *out); /* false beyond 16 bytes or without any */

/* Grows an arena array by one element: gives the new array. NULL on no memory. */
void *ice__array_add(ice_arena *a, const void *old, size_t n, size_t size);

#endif
