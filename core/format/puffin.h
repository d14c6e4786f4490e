/* Puffin files and deletion vectors (Iceberg's puffin-spec.md).
 *
 *   file:   "PFA1" | blob... | "PFA1" | footer JSON | i32 its length | 4 bytes of flags | "PFA1"
 *   blob of a deletion vector (type deletion-vector-v1):
 *           u32be length of magic and vector | D1 D3 39 64 | vector | u32be CRC-32 of magic and vector
 *   vector: u64le number of bitmaps | (u32le high half of the positions | 32-bit Roaring bitmap, portable
 * format)...
 */
#ifndef ICE_FORMAT_PUFFIN_H
#define ICE_FORMAT_PUFFIN_H

#include "format/metadata.h"

/* ---- deletion vectors: a set of row positions in one data file ---- */

typedef struct ice_dv ice_dv;

/* The largest position, the same as the reference implementation's. */
#define ICE_DV_MAX_POSITION ((uint64_t)(INT32_MAX - 1) << 32 | 0x80000000u)

/* Reading calls on one ice_dv may run in several threads at once while none changes it. */
ice_dv *ice_dv_create(void);           /* NULL on no memory */
void ice_dv_free(ice_dv *d);           /* NULL is fine */
ice_dv *ice_dv_clone(const ice_dv *d); /* NULL on no memory */
ice_code ice_dv_add(ice_dv *d, uint64_t position,
                    ice_error *err) ICE_MUST; /* ICE_RANGE beyond ICE_DV_MAX_POSITION */
void ice_dv_remove(ice_dv *d, uint64_t position);
bool ice_dv_contains(const ice_dv *d, uint64_t position);
ice_code ice_dv_merge(ice_dv *d, const ice_dv *other, ice_error *err) ICE_MUST; /* d becomes the union */
uint64_t ice_dv_count(const ice_dv *d);
/* Positions below `end`. */
uint64_t ice_dv_rank(const ice_dv *d, uint64_t end);
/* Positions in ascending order, at most `max` of them that are >= from, into out; returns how many. Call
 * again from the last + 1. */
size_t ice_dv_positions(const ice_dv *d, uint64_t from, uint64_t *out, size_t max);
size_t ice_dv_bytes(const ice_dv *d); /* memory, for budgets */

/* The blob as above. Reading checks length, magic, CRC and every container of every bitmap before use
 * (ICE_CORRUPT). */
ice_code ice_dv_encode(const ice_dv *d, ice_buf *out, ice_error *err) ICE_MUST;
ice_code ice_dv_decode(ice_str blob, ice_dv **out, ice_error *err) ICE_MUST;

/* ---- files ---- */

typedef struct ice_blob {
    ice_str type;
    size_t nfields;
    int32_t *fields;
    int64_t snapshot_id, sequence_number; /* -1 in deletion vectors */
    int64_t offset, length;
    ice_str codec; /* absent: not compressed */
    size_t nproperties;
    ice_kv *properties;
} ice_blob;

typedef struct ice_puffin_writer ice_puffin_writer;

ice_puffin_writer *ice_puffin_create(void); /* NULL on no memory */
void ice_puffin_free(ice_puffin_writer *w); /* NULL is fine */
/* Adds the vector of one data file (its path exactly as in its manifest entry); *offset and *length go into
 * the delete manifest's entry (content_offset, content_size). */
ice_code ice_puffin_add_dv(ice_puffin_writer *w, const ice_dv *d, ice_str data_file, int64_t *offset,
                           int64_t *length, ice_error *err) ICE_MUST;
/* Any other blob, uncompressed; offset and length of *meta are set here. */
ice_code ice_puffin_add_blob(ice_puffin_writer *w, ice_blob *meta, ice_str bytes, ice_error *err) ICE_MUST;
/* The file's bytes. *footer_size (may be NULL): the footer's bytes, for table statistics. */
ice_code ice_puffin_finish(ice_puffin_writer *w, ice_buf *out, int64_t *footer_size, ice_error *err) ICE_MUST;

/* Blobs of a whole file, every offset and length inside it. A compressed footer (LZ4) is ICE_UNSUPPORTED. */
ice_code ice_puffin_read(ice_str file, ice_arena *a, ice_blob **out, size_t *n, ice_error *err) ICE_MUST;
/* The vector at (offset, length) of a manifest entry. `what` names the file in errors; the count must be
 * `cardinality` (record_count of the entry), -1: not checked. */
ice_code ice_puffin_read_dv(ice_str file, ice_str what, int64_t offset, int64_t length, int64_t cardinality,
                            ice_dv **out, ice_error *err) ICE_MUST;

#endif
