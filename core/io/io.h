/* One object-store interface. Keys are paths relative to the store's root, '/'-separated, never absolute and
 * never with ".." (ICE_CONFIG). Local files now; S3, GCS and Azure implement the same table. */
#ifndef ICE_IO_IO_H
#define ICE_IO_IO_H

#include "base/arena.h"

typedef struct ice_store ice_store;

/* One file as a scan finds it; `temporary`: what an interrupted put left. */
typedef struct ice_store_file {
    ice_str key;
    uint64_t bytes;
    int64_t mtime_us;
    bool temporary;
} ice_store_file;

typedef struct ice_store_methods {
    /* Whole object into `out`, replacing what it holds. ICE_NOT_FOUND. */
    ice_code (*get)(ice_store *s, ice_str key, ice_buf *out, ice_error *err);
    /* Durable when it returns (file and directory fsynced). Replaces atomically: a reader sees the old or the
     * new. */
    ice_code (*put)(ice_store *s, ice_str key, ice_str body, ice_error *err);
    /* Exactly one concurrent caller wins; the others get ICE_EXISTS. Durable. ICE_OUTCOME_UNKNOWN, here and
     * in put: the object has its name, but making that durable failed. */
    ice_code (*put_if_absent)(ice_store *s, ice_str key, ice_str body, ice_error *err);
    ice_code (*size)(ice_store *s, ice_str key, uint64_t *out, ice_error *err);
    /* Makes an object another library wrote at its local path durable (fsync of file and directory). */
    ice_code (*sync)(ice_store *s, ice_str key, ice_error *err);
    /* Removing what is not there succeeds. Follows no symbolic link below the root. */
    ice_code (*remove)(ice_store *s, ice_str key, ice_error *err);
    /* Removes a directory that is empty; one that is not, or is not there, is left. */
    ice_code (*remove_dir)(ice_store *s, ice_str key, ice_error *err);
    /* Every regular file below a directory (its key), sorted, with sizes and times; into the arena. Symbolic
     * links are neither followed nor told of; a directory that is not there has no files. */
    ice_code (*scan)(ice_store *s, ice_str dir, ice_arena *a, ice_store_file **out, size_t *n, ice_error *err);
    /* Keys under a prefix, sorted, into the arena. */
    ice_code (*list)(ice_store *s, ice_str prefix, ice_arena *a, ice_str **keys, size_t *n, ice_error *err);
    /* Makes the directories above a key, durably, for another library to write it at its local path. */
    ice_code (*make_parent)(ice_store *s, ice_str key, ice_error *err);
    void (*close)(ice_store *s);
} ice_store_methods;

struct ice_store {
    const ice_store_methods *m;
    ice_str root; /* absolute local directory, no trailing slash */
};

/* `location`: an absolute path or file:// URI. ICE_CONFIG for schemes not supported yet. Creates the
 * directory when `create`; else ICE_NOT_FOUND ("no warehouse at ..."). Probes that it is writable unless
 * read_only. */
ice_code ice_store_open(const char *location, bool create, bool read_only, ice_store **out,
                        ice_error *err) ICE_MUST;
static inline void ice_store_close(ice_store *s)
{
    if (s)
        s->m->close(s);
}
/* Location of a key as written into Iceberg metadata ("file:///...") and back. A location outside the root:
 * ICE_CORRUPT (invariant 9). */
ice_code ice_store_location(const ice_store *s, ice_arena *a, ice_str key, ice_str *out,
                            ice_error *err) ICE_MUST;
ice_code ice_store_key(const ice_store *s, ice_arena *a, ice_str location, ice_str *out,
                       ice_error *err) ICE_MUST;
/* Absolute local path of a key, NUL-terminated, for DuckDB and mmap. */
ice_code ice_store_path(const ice_store *s, ice_arena *a, ice_str key, ice_str *out, ice_error *err) ICE_MUST;
#endif
