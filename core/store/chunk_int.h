/* Inside store/: files written whole and mapped, and raw access to one stored value. */
#ifndef ICE_STORE_CHUNK_INT_H
#define ICE_STORE_CHUNK_INT_H

#include "store/chunk.h"

/* Sections of mapped files start at multiples of this. */
#define ICE__ALIGN 64u

static inline uint64_t ice__align(uint64_t n)
{
    return (n + ICE__ALIGN - 1) & ~(uint64_t)(ICE__ALIGN - 1);
}

/* One piece of a file; each is padded with zeros to ICE__ALIGN. */
typedef struct ice__part {
    const void *ptr;
    size_t len;
} ice__part;

/* Writes the parts one after another to a temporary file beside `path`, syncs it and renames it over `path`.
 * On failure nothing is left under either name. Fault points store.write, store.sync, store.rename. */
ice_code ice__chunk_file_write(const char *path, const ice__part *parts, size_t n, ice_error *err) ICE_MUST;

/* The same for a file whose parts are not known at once, not padded: what fails is said at the end. */
typedef struct ice__sink {
    int fd, failed; /* errno */
    char *path, *tmp, *buf;
    size_t n;
    uint64_t written;
} ice__sink;
ice_code ice__sink_open(ice__sink *s, const char *path, ice_error *err) ICE_MUST;
void ice__sink_put(ice__sink *s, const void *p, size_t n);
static inline uint64_t ice__sink_written(const ice__sink *s) { return s->written; }
/* `head` (NULL: none) over what was put first. */
ice_code ice__sink_finish(ice__sink *s, const void *head, size_t n, ice_error *err) ICE_MUST;
void ice__sink_abandon(ice__sink *s); /* after all of them, and of a zeroed one too */

/* A whole file mapped read-only. `ptr` NULL: not mapped. */
typedef struct ice__map {
    const uint8_t *ptr;
    size_t len;
} ice__map;
/* ICE_CORRUPT when the file is shorter than `min` bytes. */
ice_code ice__chunk_map_open(const char *path, size_t min, ice__map *out, ice_error *err) ICE_MUST;
void ice__chunk_map_close(ice__map *m);
void ice__chunk_map_shed(const ice__map *m);

static inline bool ice__is_string(ice_type t)
{
    return t.kind == ICE_T_STRING || t.kind == ICE_T_BINARY || t.kind == ICE_T_FIXED;
}

static inline bool ice__type_ok(ice_type t)
{
    if (t.kind == ICE_T_DECIMAL)
        return t.precision >= 1 && t.precision <= 38 && t.scale <= t.precision;
    return t.kind > ICE_T_NONE && t.kind <= ICE_T_BINARY;
}

/* One non-null fixed-width value from or to its place in a column. */
void ice__vec_fixed_get(ice_type t, const void *src, ice_value *out);
void ice__vec_fixed_put(ice_type t, const ice_value *v, void *dst);

/* malloc that a fault point (store.alloc) can fail; zeroed, aligned to ICE__ALIGN when it is at least that
 * large. */
void *ice__chunk_alloc(size_t n);
void *ice__chunk_realloc(void *p, size_t n);

#endif
