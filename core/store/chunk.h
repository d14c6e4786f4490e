/* Column vectors, batches, and the immutable decoded column file ("chunk file") of the local cache. One
 * layout of column data in the heap, in mmapped files and on the way into DuckDB. */
#ifndef ICE_STORE_CHUNK_H
#define ICE_STORE_CHUNK_H

#include "base/value.h"
#include "schema/tabledef.h"

/* A string in the heap: `ptr` stable until the owning chunk is freed. */
typedef struct ice_strval {
    const char *ptr;
    uint32_t len;
} ice_strval;

/* n values of one column. `data`: fixed-width values (ice_type_width; DECIMAL(<=18) int64, wider __int128;
 * BOOL one byte; UUID 16 bytes big-endian); for STRING/BINARY/FIXED either `strs` (heap chunks) or `offsets`
 * (n + 1 of them) into `heap` (chunk files). With `codes`, a dictionary: row i's string is number codes[i] of
 * the `words` ones that offsets and heap hold; where the column has NULLs, theirs is the last, an empty one.
 * `validity`: bit i set = not null; NULL = all valid. `constant`: every row has the value of row 0 (a column
 * missing from an old chunk: its initial default or NULL). */
typedef struct ice_vec {
    ice_type type;
    bool constant;
    const uint8_t *validity;
    const void *data;
    const ice_strval *strs;
    const uint32_t *offsets;
    const char *heap;
    const uint16_t *codes;
    uint32_t words;
} ice_vec;

/* Words of a dictionary at most: more than a quarter of a batch are no gain for whoever groups by them. */
#define ICE_WORDS_MAX 512

static inline bool ice_vec_valid(const ice_vec *v, size_t i)
{
    if (v->constant)
        i = 0;
    return !v->validity || (v->validity[i >> 3] >> (i & 7) & 1);
}
void ice_vec_get(const ice_vec *v, size_t i, ice_value *out); /* views into the vector */
/* Bytes of a string in `offsets` and `heap`, with or without a dictionary. */
static inline ice_str ice_vec_heap_str(const ice_vec *v, size_t i)
{
    size_t at = v->codes ? v->codes[i] : i;
    return (ice_str){v->heap + v->offsets[at], v->offsets[at + 1] - v->offsets[at]};
}

/* Memory of one constant. */
typedef struct ice_vec_const {
    _Alignas(16) uint8_t bytes[16];
    ice_strval str;
    uint8_t validity;
} ice_vec_const;
/* A constant vector of `v`, a value of type `t` (NULL pointer or null: all rows null); string bytes stay the
 * caller's. `mem` lives as long as `out`. */
void ice_vec_constant(ice_type t, const ice_value *v, ice_vec_const *mem, ice_vec *out);

#define ICE_BATCH_ROWS 2048

/* What a scan hands out: rows [first, first + count) of the vectors when sel is NULL, else rows
 * sel[0..count). count <= ICE_BATCH_ROWS. */
typedef struct ice_batch {
    size_t count;
    uint32_t first;
    const uint32_t *sel;
    const ice_vec *vecs; /* one for each projected column */
    size_t nvecs;
} ice_batch;

/* ---- chunk files ---- */

typedef struct ice_chunkfile ice_chunkfile;

/* Writes columns to `path` (temporary name, then rename; a crash leaves nothing). The batches come from
 * `next`, all with the same columns; ends at count 0. Layout: header (magic, version, rows, ncols, directory
 * of {field id, type, offsets}), then each column's validity, data/offsets, heap, 64-byte aligned, and a CRC
 * of the header. A text column of few different values is kept as a dictionary. Strings over 4 GiB in one
 * column: ICE_UNSUPPORTED (callers split files at far less). */
ice_code ice_chunkfile_write(const char *path, const ice_column *cols, size_t ncols,
                             ice_code (*next)(void *arg, ice_batch *out, ice_error *err), void *arg,
                             ice_error *err) ICE_MUST;
/* Maps it read-only, after checking every offset against the file's size (hostile bytes: ICE_CORRUPT, and the
 * caller rebuilds). */
ice_code ice_chunkfile_open(const char *path, ice_chunkfile **out, ice_error *err) ICE_MUST;
/* The same, but what the columns hold is looked at only when it is read, by ice_chunkfile_value: for a few rows
 * of a large file. Its columns can't be had as vectors. */
ice_code ice_chunkfile_open_loose(const char *path, ice_chunkfile **out, ice_error *err) ICE_MUST;
void ice_chunkfile_close(ice_chunkfile *f); /* NULL is fine */
uint64_t ice_chunkfile_rows(const ice_chunkfile *f);
/* The whole column as one vector (n = rows); false when the file has no such field. */
bool ice_chunkfile_column(const ice_chunkfile *f, int32_t field_id, ice_vec *out);
bool ice_chunkfile_has(const ice_chunkfile *f, int32_t field_id);
/* Are the column's bytes as they were written? Its pages are looked at once; to ask before its vector is read. */
bool ice_chunkfile_good(ice_chunkfile *f, int32_t field_id);
/* One value, a view into the map; *out stays as it is where the file has no such field. ICE_CACHE: its bytes are not
 * as they were written. */
ice_code ice_chunkfile_value(const ice_chunkfile *f, int32_t field_id, uint64_t row, ice_value *out,
                             ice_error *err) ICE_MUST;

/* ---- key index files: (key hash, position) of one key of one data file, sorted by hash ---- */

typedef struct ice_keyindex ice_keyindex;
/* Half of a key's hash tells the rows of a file apart well enough: whoever looks up compares values. */
typedef struct ice_keypair {
    uint32_t hash; /* the upper half */
    uint32_t position;
} ice_keypair;
static inline ice_keypair ice_keypair_of(uint64_t hash, uint32_t position)
{
    return (ice_keypair){.hash = (uint32_t)(hash >> 32), .position = position};
}
/* `pairs` is sorted in place. Rows with a NULL key column are left out by the caller. */
ice_code ice_keyindex_write(const char *path, ice_keypair *pairs, size_t n, ice_error *err) ICE_MUST;
ice_code ice_keyindex_open(const char *path, ice_keyindex **out, ice_error *err) ICE_MUST;
void ice_keyindex_close(ice_keyindex *k);
/* Positions whose key may hash to `hash`: pointer into the map and count (0: none). Interpolation or binary
 * search. ICE_CACHE: what it looked at is not as it was written. */
ice_code ice_keyindex_find(const ice_keyindex *k, uint64_t hash, const ice_keypair **out, size_t *n,
                           ice_error *err) ICE_MUST;
uint64_t ice_keyindex_count(const ice_keyindex *k);

/* Lets go of the pages that reading brought into the process's memory: the page cache, which all processes
 * share, keeps them. For files of tables that are not kept decoded; others may be reading at the same time. */
void ice_keyindex_shed(const ice_keyindex *k);
void ice_chunkfile_shed(const ice_chunkfile *f);
#endif
