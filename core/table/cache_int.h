/* Inside the cache: the forms of one data file that a process has open, and how they are made. */
#ifndef ICE_TABLE_CACHE_INT_H
#define ICE_TABLE_CACHE_INT_H

#include "store/rowfile.h"
#include "table/table_int.h"

enum { ICE__MAX_RETIRED = 64 };

typedef struct ice__cached_key {
    struct ice__cached_key *next;
    uint32_t hash;
    ice_keyindex *index;
    ice_rowfile *own; /* of the key's columns, where nothing else has them; set once */
} ice__cached_key;

typedef struct ice__cached_order {
    struct ice__cached_order *next;
    int32_t field_id;
    ice_chunkfile *positions; /* NULL: the rows are in that order */
    const uint32_t *order;
} ice__cached_order;

struct ice__cached {
    struct ice__cached *next;
    int refs;       /* under the registry's lock */
    char *path;     /* "<cache_dir>/<base>" */
    ice_host *host; /* that counts it as kept decoded; NULL: it is not */
    ice_host *user; /* that knows it is in use; NULL: nothing of it has been opened */
    pthread_mutex_t lock;
    ice_chunkfile *chunk;
    ice_chunkfile *retired[ICE__MAX_RETIRED]; /* had too few columns; somebody may still read them */
    size_t nretired;
    bool lost;            /* something of it was damaged: its rows are to be written again */
    ice_rowfile *retired_rows[ICE__MAX_RETIRED];
    size_t nretired_rows;
    ice__cached_key *retired_keys;
    ice_chunkfile *loose; /* the chunk file again, for rows of a table that is not kept decoded */
    ice_rowfile *rows;
    ice__cached_key *keys;
    ice__cached_order *orders;
};

/* What the process has open of a file, borrowed until the snapshot goes. */
/* By its name: a reference, for ice__cached_unref. NULL: no memory. */
ice__cached *ice__cached_get(const ice_env *env, ice_str base);
ice_code ice__file_cached(ice_published *s, ice__file *f, ice__cached **out, ice_error *err) ICE_MUST;
/* Before a form of it is opened: nobody drops it until it is closed. */
void ice__cached_use(const ice_env *env, ice__cached *c);
/* Has this process anything of a data file open? */
bool ice__cached_open(const ice_env *env, ice_str base);
uint64_t ice__cached_name(ice_str base); /* in the host's tables */
/* The chunk file is damaged: as ice__file_lost; under the lock. */
void ice__chunk_lost(ice__cached *c, const char *path);
/* A file of the cache was opened: it is among those used last. */
void ice__cache_used(const char *path);
/* A file of the cache was written: others may have to make room. */
void ice__cache_wrote(ice_env *env, const char *path);
void ice__cached_keys_free(ice__cached_key *k);
void ice__cached_orders_free(ice__cached_order *o);
ice_code ice__cache_dir_make(const ice_env *env, ice_error *err) ICE_MUST;

/* ---- making forms out of a Parquet file ---- */

/* Decodes columns into a chunk file or, `as_rows`, a row file. */
ice_code ice__decode_file(ice_env *env, ice_engine_conn *c, ice_str path, uint64_t rows,
                          const ice_column *cols, size_t ncols, bool evolved, bool as_rows, const char *to,
                          ice_error *err) ICE_MUST;
/* The same of all columns that a file's schema has or, where it is not known, of those of `cols` that it has.
 */
ice_code ice__decode_whole(ice_published *s, const ice__file *f, const ice_column *cols, size_t ncols,
                           bool as_rows, const char *to, ice_error *err) ICE_MUST;
/* Does the Parquet file itself hold the column? */
bool ice__file_has(const ice_published *s, const ice__file *f, int32_t field_id);

/* ---- opening them ---- */

/* Of the expected rows; NULL where it is missing or broken. */
ice_chunkfile *ice__open_chunk(const char *path, uint64_t rows);
ice_rowfile *ice__open_rows(const char *path, uint64_t rows);
/* Name of a key's index, in 32 bits. */
uint32_t ice__key_name(const ice_tabledef *def, const ice_keys *keys, size_t key);
ice_code ice__write_index(ice_env *env, const ice__file *f, const ice_tabledef *def, const ice_key *k,
                          const ice__values *values, const char *path, ice_error *err) ICE_MUST;
#endif
