/* Row file of the local cache: the rows of a data file one after another, for whoever reads single ones of a
 * table that is not kept decoded. A row is in one place and found by its position in two steps, so that
 * reading it touches two or three pages; a file is written and read without being held in memory. */
#ifndef ICE_STORE_ROWFILE_H
#define ICE_STORE_ROWFILE_H

#include "store/chunk.h"

typedef struct ice_rowfile ice_rowfile;

/* As ice_chunkfile_write, but what it holds at a time is a batch. */
ice_code ice_rowfile_write(const char *path, const ice_column *cols, size_t ncols,
                           ice_code (*next)(void *arg, ice_batch *out, ice_error *err), void *arg,
                           ice_error *err) ICE_MUST;
/* Maps it read-only and checks its header; rows are checked when they are read. ICE_CORRUPT, and the caller
 * makes it again. */
ice_code ice_rowfile_open(const char *path, ice_rowfile **out, ice_error *err) ICE_MUST;
void ice_rowfile_close(ice_rowfile *f); /* NULL is fine */
uint64_t ice_rowfile_rows(const ice_rowfile *f);
bool ice_rowfile_has(const ice_rowfile *f, int32_t field_id);
/* Values of those of `cols` that the file has (views into the map, of the stored types); other places of
 * `out` stay as they are. ICE_CACHE: its bytes are not as they were written. */
ice_code ice_rowfile_read(const ice_rowfile *f, uint64_t row, const ice_column *cols, size_t ncols,
                          ice_value *out, ice_error *err) ICE_MUST;
/* As ice_chunkfile_shed. */
void ice_rowfile_shed(const ice_rowfile *f);
#endif
