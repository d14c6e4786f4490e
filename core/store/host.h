/* What the processes of a host use of one warehouse's budget, counted once: decoded files that they map,
 * whose pages they share, and how many of them run an engine.
 *
 * A small file, mapped by all. A process that died counts no more from the next one that
 * opens the file or needs room. Where the file cannot be had (a directory that is read only, a file system
 * without open-file-description locks) a process counts for itself alone.
 *
 * Threads: any. In a forked child ice_host_after_fork, then only ice_host_unref. */
#ifndef ICE_STORE_HOST_H
#define ICE_STORE_HOST_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct ice_host ice_host;

ice_code ice_host_open(const char *dir, ice_host **out, ice_error *err) ICE_MUST;
ice_host *ice_host_ref(ice_host *h);
void ice_host_unref(ice_host *h); /* the last one lets go of everything; NULL is fine */
void ice_host_after_fork(ice_host *h);

/* A file by a hash of its name, and the bytes it takes where nobody on the host has claimed it yet. */
typedef struct ice_host_file {
    uint64_t name, bytes;
} ice_host_file;
/* All of them or none: true when they and what the host's processes have claimed take at most `budget` bytes.
 */
bool ice_host_claim(ice_host *h, const ice_host_file *files, size_t n, uint64_t budget);
void ice_host_release(ice_host *h, uint64_t name);
uint64_t ice_host_claimed(ice_host *h); /* bytes, by all */

/* This process has a file open that a limit on disk may drop: locks that end with it. Not counted: the first end
 * of use is the last. */
void ice_host_use(ice_host *h, uint64_t name);
void ice_host_unuse(ice_host *h, uint64_t name);
/* Does another process? True also where that cannot be known. */
bool ice_host_uses(const ice_host *h, uint64_t name);

/* This process runs an engine, until the host is let go. */
void ice_host_add_engine(ice_host *h);
unsigned ice_host_engines(const ice_host *h); /* at least 1; no system call */
#endif
