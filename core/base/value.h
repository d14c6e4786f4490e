/* Primitive types of the Iceberg spec ("Primitive Types") and single values of them. */
#ifndef ICE_BASE_VALUE_H
#define ICE_BASE_VALUE_H

#include "base/arena.h"

typedef enum ice_kind {
    ICE_T_NONE = 0,
    ICE_T_BOOL = 1,
    ICE_T_INT = 2,         /* 32-bit */
    ICE_T_LONG = 3,        /* 64-bit */
    ICE_T_FLOAT = 4,
    ICE_T_DOUBLE = 5,
    ICE_T_DECIMAL = 6,     /* precision 1..38, scale 0..precision */
    ICE_T_DATE = 7,        /* days since 1970-01-01 */
    ICE_T_TIME = 8,        /* microseconds since midnight */
    ICE_T_TIMESTAMP = 9,   /* microseconds since 1970-01-01T00:00 */
    ICE_T_TIMESTAMPTZ = 10,/* microseconds since 1970-01-01T00:00 UTC */
    ICE_T_STRING = 11,     /* UTF-8 */
    ICE_T_UUID = 12,
    ICE_T_FIXED = 13,      /* `length` bytes */
    ICE_T_BINARY = 14,
} ice_kind;

typedef struct ice_type {
    uint8_t kind; /* ice_kind */
    uint8_t precision, scale;
    uint32_t length;
} ice_type;

typedef __int128 ice_i128;

/* One value. `kind` says which member counts: BOOL `b`; INT LONG DATE TIME TIMESTAMP TIMESTAMPTZ
 * `i`; FLOAT DOUBLE `d`; DECIMAL `dec` (unscaled) with `scale`; STRING BINARY FIXED `s` (a view,
 * owned elsewhere); UUID `uuid` (big-endian, as printed). A null has `null` set; its kind may be NONE. */
typedef struct ice_value {
    uint8_t kind;
    bool null;
    uint8_t scale;
    union {
        bool b;
        int64_t i;
        double d;
        ice_i128 dec;
        ice_str s;
        uint8_t uuid[16];
    };
} ice_value;

#define ICE_NULL ((ice_value){.null = true})

static inline bool ice_type_eq(ice_type a, ice_type b)
{
    return a.kind == b.kind && a.precision == b.precision && a.scale == b.scale &&
           a.length == b.length;
}
/* The spec's text: "decimal(9, 2)", "timestamptz", ... `out` of at least 32 bytes. */
void ice_type_text(ice_type t, char out[32]);
ice_code ice_type_parse(ice_str text, ice_type *out, ice_error *err) ICE_MUST;
/* Bytes of a value in a column vector: BOOL 1, INT/DATE/FLOAT 4, 8 for LONG/DOUBLE/TIME/TIMESTAMP(TZ)
 * and DECIMAL up to precision 18, 16 for wider DECIMAL and UUID, 0 for STRING/BINARY/FIXED. */
size_t ice_type_width(ice_type t);

/* Total order within one kind; NULLs equal each other and come first; NaN after every number.
 * Numbers of different kinds compare by value; decimals of different scales too. */
int ice_value_cmp(const ice_value *a, const ice_value *b);
bool ice_value_eq(const ice_value *a, const ice_value *b);
/* Hash of a key of n values: equal values (ice_value_eq) hash equal, whatever integer or decimal
 * kind carries them. Stable for ever: key-index files and log records hold it. */
uint64_t ice_key_hash(const ice_value *v, size_t n);
/* Deep copy into the arena. */
ice_code ice_value_copy(ice_arena *a, const ice_value *v, ice_value *out, ice_error *err) ICE_MUST;

/* Converts to `t` exactly: integers widen or are range-checked (ICE_RANGE), decimals rescale
 * (half up beyond the scale, as PostgreSQL's numeric does; ICE_RANGE beyond the precision), numbers and text parse to
 * each other where a literal would, dates and timestamps too. Strings from other kinds are their SQL
 * text, allocated in `a`. ICE_BAD_VALUE where there is no conversion. */
ice_code ice_value_cast(ice_arena *a, const ice_value *v, ice_type t, ice_value *out,
                        ice_error *err) ICE_MUST;
/* SQL text of a value (no quotes): dates ISO 8601, decimals plain, blobs \x.., as PostgreSQL prints. */
void ice_value_text(const ice_value *v, ice_buf *out);
/* Microseconds since the epoch as ISO 8601 in UTC, "2026-01-31T09:30:00.000000+00:00", for messages; returns `out`. */
#define ICE_INSTANT_LEN 64
const char *ice_instant_text(int64_t us, char out[ICE_INSTANT_LEN]);
/* As a DuckDB literal with its type: 5::BIGINT, 'it''s', TIMESTAMPTZ '...', NULL. */
void ice_value_literal(const ice_value *v, ice_type t, ice_buf *out);

/* Compact row coding: a null bitmap (bit i set = null), then the non-null values in order, fixed
 * widths as ice_type_width and lengths of STRING/BINARY/FIXED as varints. Decoded views point into
 * the reader's bytes. */
void ice_row_encode(const ice_type *types, const ice_value *values, size_t n, ice_buf *out);
ice_code ice_row_decode(ice_reader *r, const ice_type *types, size_t n, ice_value *values,
                        ice_error *err) ICE_MUST;

#endif
