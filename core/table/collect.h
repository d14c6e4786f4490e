/* Garbage collection (invariant 6): which files of a namespace nobody can reach, and their removal.
 *
 * A collection goes through its calls in this order; the caller (txn/collect.c) says what it has to hold at
 * each of them:
 *
 *   begin     lists what is there. What is not listed is never deleted.
 *   in_use    tables of which a live transaction may have files that nothing names yet.
 *   root      metadata files and single files to keep: the catalog's, and what the log names.
 *   decide    follows the roots to every file they name; what is listed and was not met is unreachable.
 *   remove    deletes the unreachable files that are ripe.
 *
 * Only files with names that our own writers make are ever unreachable ones: the others are counted, and
 * stay. */
#ifndef ICE_TABLE_COLLECT_H
#define ICE_TABLE_COLLECT_H

#include "table/table.h"

typedef enum ice_file_kind {
    ICE_FILE_DATA,
    ICE_FILE_DELETES, /* Puffin */
    ICE_FILE_MANIFEST,
    ICE_FILE_MANIFEST_LIST,
    ICE_FILE_METADATA,
    ICE_FILE_CACHE,
    ICE_FILE_TEMPORARY, /* of an interrupted write */
    ICE_FILE_OTHER,     /* not ours: stays */
    ICE_FILE_KINDS
} ice_file_kind;
extern const char *const ice_file_kind_names[ICE_FILE_KINDS];

typedef struct ice_file_sum {
    uint64_t files, bytes;
} ice_file_sum;

typedef struct ice_collection ice_collection;

/* Lists the namespace's tables and the cache. `env` is borrowed. */
ice_code ice_collection_begin(ice_env *env, ice_collection **out, ice_error *err) ICE_MUST;
void ice_collection_free(ice_collection *c); /* NULL is fine */
/* UUIDs of the tables whose directories were listed. */
size_t ice_collection_tables(const ice_collection *c, const ice_uuid **out);
/* Files of this table that nothing names stay, in this collection. */
void ice_collection_in_use(ice_collection *c, ice_uuid table);

/* A table's metadata file: it, and what it names. ICE_CORRUPT, also for a location outside the warehouse, and
 * ICE_NOT_FOUND: then nothing may be deleted. */
ice_code ice_collection_root(ice_collection *c, ice_str metadata_location, ice_error *err) ICE_MUST;
/* A view's metadata file, which names no other. */
ice_code ice_collection_view(ice_collection *c, ice_str metadata_location, ice_error *err) ICE_MUST;
/* One file, by its key. */
ice_code ice_collection_keep(ice_collection *c, ice_str key, ice_error *err) ICE_MUST;
/* Metadata files that no catalog points to and that a live process reads (guard.c): roots too. After all
 * other roots. */
ice_code ice_collection_guarded(ice_collection *c, ice_error *err) ICE_MUST;
/* Location of a metadata file or manifest list that publishing has replaced: it, and what it names, was
 * published once, so that the grace of files of unknown origin does not concern it. Missing: nothing. */
ice_code ice_collection_replaced(ice_collection *c, ice_str location, ice_error *err) ICE_MUST;

/* `grace_us`: unreachable files written less than that ago stay, but replaced ones. */
void ice_collection_decide(ice_collection *c, int64_t grace_us);
/* The unreachable files that are ripe: by grace, and by whom `held` (NULL: none) calls held back. */
ice_code ice_collection_hold(ice_collection *c, bool (*held)(void *arg, ice_str key), void *arg,
                             ice_error *err) ICE_MUST;
ice_code ice_collection_remove(ice_collection *c, void (*progress)(void *arg, const char *what, double done),
                               void *arg, ice_error *err) ICE_MUST;

/* What was found, by kind: all files; the unreachable ones; of them the ripe ones; those removed. */
typedef struct ice_collection_sums {
    ice_file_sum all[ICE_FILE_KINDS], unreachable[ICE_FILE_KINDS], ripe[ICE_FILE_KINDS],
        removed[ICE_FILE_KINDS];
} ice_collection_sums;
void ice_collection_sums_get(const ice_collection *c, ice_collection_sums *out);
/* Calls back for every unreachable file (or, `ripe`, every one to be removed); keys end in a NUL. */
void ice_collection_each(const ice_collection *c, bool ripe,
                         void (*fn)(void *arg, ice_str key, uint64_t bytes, ice_file_kind kind), void *arg);
#endif
