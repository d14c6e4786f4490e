/* Avro object container files (Avro 1.11 specification), as far as Iceberg's manifests need: codecs null and
 * deflate, every type in the schema, field ids kept.
 *
 *   "Obj\1" | metadata: map<bytes> | sync (16 bytes) | block...
 *   block: count (zigzag) | byte length (zigzag) | data, packed by the codec | sync
 *
 * A file of ours has a seal (base/misc.h) as the first metadata, ICE_AVRO_SEAL, because blocks have no
 * checksum; it is checked before anything of the file is believed. Files of other writers have none.
 *
 * The reader gives the parsed writer's schema and, for each record, a bounded ice_reader at its first byte;
 * the caller walks record and schema together with the ice_avro_* calls, picking fields by field id and
 * skipping the rest. Every count and length is checked against the bytes that are there. */
#ifndef ICE_FORMAT_AVRO_H
#define ICE_FORMAT_AVRO_H

#include "format/metadata.h"

#define ICE_AVRO_SEAL "django-iceberg.xxh3"

typedef enum ice_avro_kind {
    ICE_AVRO_NULL,
    ICE_AVRO_BOOL,
    ICE_AVRO_INT,
    ICE_AVRO_LONG,
    ICE_AVRO_FLOAT,
    ICE_AVRO_DOUBLE,
    ICE_AVRO_BYTES,
    ICE_AVRO_STRING,
    ICE_AVRO_FIXED,
    ICE_AVRO_ENUM,
    ICE_AVRO_ARRAY,
    ICE_AVRO_MAP,
    ICE_AVRO_UNION,
    ICE_AVRO_RECORD,
} ice_avro_kind;

typedef struct ice_avro_type ice_avro_type;
typedef struct ice_avro_field {
    ice_str name;
    int32_t field_id; /* -1: none */
    const ice_avro_type *type;
} ice_avro_field;

struct ice_avro_type {
    ice_avro_kind kind;
    ice_str name;    /* of record, fixed, enum */
    ice_str logical; /* logicalType; absent: none */
    bool adjust_to_utc;
    uint8_t precision, scale;
    uint32_t size;              /* FIXED: bytes; ENUM: symbols */
    const ice_avro_type *items; /* ARRAY, MAP (values) */
    size_t n;                   /* RECORD: fields, UNION: branches */
    ice_avro_field *fields;
    const ice_avro_type **branches;
    int32_t element_id; /* ARRAY; -1: none */
    uint32_t weight;    /* types in it, named ones counted each time: bounded, so that walking ends */
};

typedef struct ice_avro_reader ice_avro_reader;

/* `bytes` must outlive the reader. `what` names the file in errors. */
ice_code ice_avro_open(ice_str bytes, ice_str what, ice_avro_reader **out, ice_error *err) ICE_MUST;
void ice_avro_close(ice_avro_reader *r); /* NULL is fine */
const ice_avro_type *ice_avro_schema(const ice_avro_reader *r);
ice_str ice_avro_meta(const ice_avro_reader *r, const char *key); /* absent: not there */
/* Positions *record at the next record; false in *more at the end. The caller consumes the record exactly
 * with the calls below; views of its bytes hold until the next call that reads another block (copy what is
 * kept). */
ice_code ice_avro_next(ice_avro_reader *r, ice_reader **record, bool *more, ice_error *err) ICE_MUST;
/* ICE_CORRUPT, naming the file, when the record's reader has failed. */
ice_code ice_avro_check(const ice_avro_reader *r, ice_error *err) ICE_MUST;

/* Enters a union: reads the branch index, gives the branch's type; any other type comes back as it is. NULL
 * and a failed reader on a bad index. */
const ice_avro_type *ice_avro_enter(ice_reader *r, const ice_avro_type *t);
void ice_avro_skip(ice_reader *r, const ice_avro_type *t);
/* Each enters unions itself, sets *present to false on null, and fails the reader where the type does not
 * fit. */
int64_t ice_avro_long(ice_reader *r, const ice_avro_type *t, bool *present); /* int, long, boolean */
ice_str ice_avro_bytes(ice_reader *r, const ice_avro_type *t,
                       bool *present); /* bytes, string, fixed; a view */
/* A value of any primitive type by its logical type: date, time-micros, timestamp-micros, decimal, uuid. */
void ice_avro_value(ice_reader *r, const ice_avro_type *t, ice_value *out);
/* Items of an array or map: call until it returns false. Start with *left = 0 and *done = false. */
bool ice_avro_more(ice_reader *r, int64_t *left, bool *done);

typedef struct ice_avro_writer ice_avro_writer;

/* `schema_json` and the metadata are written as they are. `deflate`: zlib level 6, else codec null. */
ice_code ice_avro_create(ice_str schema_json, const ice_kv *meta, size_t nmeta, bool deflate,
                         ice_avro_writer **out, ice_error *err) ICE_MUST;
void ice_avro_free(ice_avro_writer *w); /* NULL is fine */
/* The buffer the next record is written to with the put calls; ice_avro_end_record closes it. */
ice_buf *ice_avro_record(ice_avro_writer *w);
ice_code ice_avro_end_record(ice_avro_writer *w, ice_error *err) ICE_MUST;
/* Whole file into `out`. */
ice_code ice_avro_finish(ice_avro_writer *w, ice_buf *out, ice_error *err) ICE_MUST;
void ice_avro_put_long(ice_buf *b, int64_t v); /* int too */
void ice_avro_put_bytes(ice_buf *b, ice_str v);

#endif
