/* Publishing: flush, compaction, history, expiry, catalog changes. States and invariants 4-8 of
 * ARCHITECTURE.md.
 *
 * A flush takes the tail (F, P] of each table and publishes one Iceberg snapshot for the table and one for
 * its companion
 * `<table>__history`, all pointers in one catalog transaction. The caller (txn/) holds the flusher's lease
 * and the log; it hands in table states that hold everything up to P. Nothing here deletes a file that a
 * reader may need. */
#ifndef ICE_TABLE_FLUSH_H
#define ICE_TABLE_FLUSH_H

#include "table/table.h"

/* A dropped table's name in the catalog: this and the commit time of the drop, 16 digits, after its own. */
#define ICE_DROPPED_MARK "__dropped_"

/* What an identity column's sequence would hand out next. A column whose values were started anew is another
 * sequence: `restarts` tells them apart. */
typedef struct ice_sequence_mark {
    int32_t field_id;
    int32_t restarts;
    int64_t next;
} ice_sequence_mark;

typedef struct ice_flush_table {
    ice_tabstate *state;  /* with its tail applied to `upto`; borrowed */
    ice_str catalog_name; /* name the catalog has now; absent: not in the catalog yet */
    ice_str location;     /* metadata location the catalog had when the state was built; absent: none */
    bool keep_files; /* a bulk statement counts on positions of rows: no file is rewritten */
    bool view;    /* of a dropped one; else the definition says it */
    bool dropped; /* dropped in the log: the catalog keeps it under another name until it is forgotten */
    int64_t dropped_at; /* commit time of that */
    size_t nsequences;  /* identity columns: what their sequences would hand out next */
    ice_sequence_mark *sequences;
    /* out */
    ice_str new_location; /* in the caller's arena */
    uint64_t rows_added, rows_deleted, files_added;
} ice_flush_table;

typedef struct ice_flush_options {
    int64_t upto;           /* P: commit time */
    uint64_t position;      /* P as a log position */
    uint64_t rewrite_bytes; /* tables under this size are rewritten whole, where that is cheap */
    int snapshots_kept;     /* snapshots kept in metadata (default 100) */
    void (*progress)(void *arg, const char *table, double done);
    void *arg;
} ice_flush_options;

/* Views: the definition in the metadata file of one, and whether that file is of this definition. */
ice_code ice_view_metadata_load(const ice_env *env, ice_str location, ice_tabledef **out, ice_error *err) ICE_MUST;
bool ice_view_metadata_is_of(ice_str location, const ice_tabledef *def);

/* Publishes all tables in one step. ICE_CONFLICT when a pointer moved (the caller reloads and tries again).
 * Caches (chunk file, key indexes) for new files are written too, while the data is at hand. */
ice_code ice_flush(ice_env *env, ice_flush_table *tables, size_t n, const ice_flush_options *o, ice_arena *a,
                   ice_error *err) ICE_MUST;

typedef struct ice_compact_options {
    /* All small files, and the history's. Else what is cheap beside what it saves: small files of like size, and
     * rows of a partitioned table that are not in files of their value yet once there are many. */
    bool thorough;
    double delete_ratio; /* files of which more than this is deleted are rewritten; 0: any deletion vector */
} ice_compact_options;
#define ICE_DELETE_RATIO 0.2 /* unless something else is asked for */

/* What a compaction did to a table, or to its history. */
typedef struct ice_compacted {
    ice_str table;
    size_t files_before, files_after; /* of the table */
    size_t rewritten, written, deletion_vectors; /* files taken out, files in their place, vectors gone with them */
    int64_t rows, bytes_before, bytes_after; /* in these */
} ice_compacted;

/* Rewrites files under 64 MiB (and 2.5 million rows), where there are two or more, and files with many deleted
 * rows into files of at most 512 MiB or 5 million rows (sorted by partition values, then the cluster column,
 * then the primary key), dropping their deletion vectors; a `replace` snapshot that changes no answer:
 * _row_start, _row_id kept. Rows of a partitioned table go to files of their partition value (table/place.c
 * has the thresholds). *n 0: there was nothing to do; else what was done to the table and its history. */
ice_code ice_compact(ice_env *env, ice_published *s, ice_str catalog_name, const ice_compact_options *o,
                     ice_arena *a, ice_str *new_location, ice_compacted done[2], size_t *n,
                     ice_error *err) ICE_MUST;
/* Do the definition's partition indexes mean something? ICE_UNSUPPORTED or ICE_BAD_VALUE names the one that
 * does not. */
ice_code ice_partition_check(const ice_tabledef *def, ice_error *err) ICE_MUST;

/* Drops history rows that ended before `before`, snapshots older than it but the current one. *did false when
 * there were none. */
ice_code ice_expire(ice_env *env, ice_published *s, ice_str catalog_name, int64_t before, ice_arena *a,
                    ice_str *new_location, bool *did, ice_error *err) ICE_MUST;

/* Writes the rows a query of `c` yields (columns = def's, in order) as a staged Parquet file; *n 0 where
 * there are none. The caller sets commit_time. def's schema_id must be the table's when it is published. */
ice_code ice_staged_write(ice_env *env, ice_engine_conn *c, ice_str sql, const ice_tabledef *def,
                          ice_arena *a, ice_staged_file **out, size_t *n, ice_error *err) ICE_MUST;

/* A published state with staged files (their commit times set) beside those of `old` (NULL: none yet):
 * written as metadata that no catalog points to, at the same flushed time, so that readers and the next flush
 * start from it. The definition is `def`. */
ice_code ice_published_stage(ice_env *env, ice_published *old, const ice_tabledef *def,
                             const ice_staged_file *files, size_t n, ice_published **out,
                             ice_error *err) ICE_MUST;

/* Reads everything the snapshot refers to and verifies counts, statistics, deletion vectors, unique keys,
 * history order; each problem is told to `report`. */
ice_code ice_published_check(ice_env *env, ice_published *s, void (*report)(void *, const char *), void *arg,
                             ice_error *err) ICE_MUST;
#endif
