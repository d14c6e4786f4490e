/* Partition transforms (Iceberg spec, "Partition Transforms" and Appendix B). Pure functions on single
 * values. */
#ifndef ICE_FORMAT_TRANSFORMS_H
#define ICE_FORMAT_TRANSFORMS_H

#include "base/value.h"

typedef enum ice_transform_kind {
    ICE_TR_UNKNOWN = 0, /* a name we do not know: readable, never used for pruning or writing */
    ICE_TR_IDENTITY,
    ICE_TR_BUCKET,   /* param: number of buckets */
    ICE_TR_TRUNCATE, /* param: width */
    ICE_TR_YEAR,
    ICE_TR_MONTH,
    ICE_TR_DAY,
    ICE_TR_HOUR,
    ICE_TR_VOID,
} ice_transform_kind;

typedef struct ice_transform {
    uint8_t kind; /* ice_transform_kind */
    int32_t param;
} ice_transform;

/* "identity", "bucket[16]", ... A well-formed name we do not know gives ICE_TR_UNKNOWN and ICE_OK (v3 readers
 * must go on); a known name with a bad parameter is ICE_BAD_VALUE. */
ice_code ice_transform_parse(ice_str text, ice_transform *out, ice_error *err) ICE_MUST;
/* Not for ICE_TR_UNKNOWN, whose text the partition field keeps. */
void ice_transform_text(ice_transform t, char out[32]);
/* Type of the results; ICE_UNSUPPORTED where the transform does not take `source` or is unknown. */
ice_code ice_transform_type(ice_transform t, ice_type source, ice_type *out, ice_error *err) ICE_MUST;
/* NULL in, NULL out. Results of kind STRING and BINARY are views into the argument. */
ice_code ice_transform_apply(ice_transform t, const ice_value *v, ice_value *out, ice_error *err) ICE_MUST;
/* True where a < b implies transform(a) <= transform(b), so that bounds project through it. */
bool ice_transform_monotonic(ice_transform t);
/* 32-bit Murmur3 of Appendix B, before "mod N". False for kinds that do not hash and for NULL. */
bool ice_bucket_hash(const ice_value *v, int32_t *out);

#endif
