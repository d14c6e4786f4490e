/* Where the columns of a Parquet file lie: of its footer, what a checksum of single columns needs. */
#ifndef ICE_FORMAT_PARQUET_H
#define ICE_FORMAT_PARQUET_H

#include "base/arena.h"

/* Bytes at the end of a file: the footer's length u32, "PAR1". */
enum { ICE_PARQUET_END = 8 };

/* The pages of one column in one row group. */
typedef struct ice_parquet_chunk {
    uint32_t leaf; /* index of its column */
    uint64_t at, len;
} ice_parquet_chunk;
typedef struct ice_parquet_layout {
    size_t nleaves, nchunks;
    int32_t *ids;              /* field ids of the columns; 0: none */
    ice_parquet_chunk *chunks; /* by place; none overlaps another */
} ice_parquet_layout;

/* `end`: the file's last ICE_PARQUET_END bytes. ICE_CORRUPT where the footer would not fit a file of so many bytes. */
ice_code ice_parquet_footer_size(const uint8_t *end, uint64_t file_size, uint64_t *out, ice_error *err) ICE_MUST;
/* `footer`: the bytes before those. Chunks that overlap, or lie outside what is before the footer, are ICE_CORRUPT. */
ice_code ice_parquet_layout_read(ice_str footer, uint64_t file_size, ice_arena *a, ice_parquet_layout *out,
                                 ice_error *err) ICE_MUST;

#endif
