/* Iceberg schemas (spec Appendix C) and the single-value serializations (Appendix D).
 *
 * An ice_schema is plain data in the caller's arena; strings in it are views into that arena. */
#ifndef ICE_FORMAT_SCHEMA_H
#define ICE_FORMAT_SCHEMA_H

#include "base/value.h"
#include "schema/tabledef.h"

/* One top-level field. A type this system does not use (nested types, timestamp_ns, variant...) has kind
 * ICE_T_NONE and keeps its JSON in `type_json`, so that foreign metadata is written back unchanged. */
typedef struct ice_field {
    int32_t id;
    ice_str name;
    bool required;
    ice_type type;
    ice_str type_json; /* absent unless type.kind is NONE */
    ice_str doc;       /* absent: none */
    bool has_initial, has_write;
    ice_value initial_default, write_default;
    ice_str initial_json, write_json; /* defaults of fields of kind NONE, as their JSON */
} ice_field;

typedef struct ice_schema {
    int32_t schema_id;
    size_t nfields;
    ice_field *fields;
    size_t nidentifiers;
    int32_t *identifiers;
    int32_t highest_id; /* of all fields, nested ones too */
} ice_schema;

/* The Iceberg schema of a table's current rows: its columns, then `_row_start` (ICE_FIELD_ROW_START,
 * timestamptz, optional: a staged file may leave it out). The primary key's fields are the identifier fields.
 * write-default is set where default_sql is a constant; a NOT NULL column is `required`. */
ice_code ice_schema_of_table(const ice_tabledef *d, ice_arena *a, ice_schema *out, ice_error *err) ICE_MUST;
/* The schema of the companion history table: the same columns, all optional, then _row_start, _row_end,
 * _operation. Columns of `previous` (the history's current schema, or NULL) that `d` no longer has stay as
 * `<name>__<field id>`. */
ice_code ice_schema_of_history(const ice_tabledef *d, const ice_schema *previous, ice_arena *a,
                               ice_schema *out, ice_error *err) ICE_MUST;

/* Same fields, identifiers and defaults, whatever the schema ids. */
bool ice_schema_eq(const ice_schema *x, const ice_schema *y);
const ice_field *ice_schema_field(const ice_schema *s, int32_t id);         /* NULL: no such field */
const ice_field *ice_schema_field_named(const ice_schema *s, ice_str name); /* exact; NULL: none */

ice_code ice_schema_to_json(const ice_schema *s, ice_buf *out, ice_error *err) ICE_MUST;
ice_code ice_schema_from_json(ice_str json, ice_arena *a, ice_schema *out, ice_error *err) ICE_MUST;

/* JSON single-value serialization, as JSON text ("\"2017-11-16\""). NULL becomes null. ICE_UNSUPPORTED for
 * NaN and infinities, which JSON has not. */
ice_code ice_single_to_json(const ice_value *v, ice_type t, ice_buf *out, ice_error *err) ICE_MUST;
ice_code ice_single_from_json(ice_str json, ice_type t, ice_arena *a, ice_value *out,
                              ice_error *err) ICE_MUST;

/* Binary single-value serialization, of a non-null value of exactly the type `t` (ice_value_cast first). */
ice_code ice_single_to_binary(const ice_value *v, ice_type t, ice_buf *out, ice_error *err) ICE_MUST;
/* Strings and bytes are views of `bytes`. Accepts what a promoted column's older files hold: 4 bytes for
 * long, double and timestamp, any decimal width. Else a wrong length is ICE_CORRUPT. */
ice_code ice_single_from_binary(ice_str bytes, ice_type t, ice_value *out, ice_error *err) ICE_MUST;

/* Shortens a bound of STRING (code points) or BINARY/FIXED (bytes) to at most `width`: a lower bound by
 * cutting, an upper one by cutting and incrementing the last unit that can be. *has is false where no such
 * upper bound exists. Other kinds, and short values, come back as they are. */
ice_code ice_bound_truncate(const ice_value *v, bool upper, size_t width, ice_arena *a, ice_value *out,
                            bool *has, ice_error *err) ICE_MUST;

#endif
