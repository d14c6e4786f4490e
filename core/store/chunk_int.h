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

/* Every file ends with a checksum (XXH3) of each of its pages, which are looked at when something of a page is used
 * first, so that a damaged byte is noticed and nobody reads more than he needs:
 *
 *   content | zeros to a multiple of 8 | checksum u64 of each page of the content | "ICEPAGES" | bytes of content u64 */
#define ICE__PAGE ((size_t)16384)

/* Writes the parts one after another to a temporary file beside `path`, syncs it and renames it over `path`.
 * On failure nothing is left under either name. Fault points store.write, store.sync, store.rename. */
ice_code ice__chunk_file_write(const char *path, const ice__part *parts, size_t n, ice_error *err) ICE_MUST;

/* The same for a file whose parts are not known at once, not padded: what fails is said at the end. */
typedef struct ice__sink {
    int fd, failed; /* errno */
    char *path, *tmp, *buf;
    size_t n, nfirst;
    uint64_t written;
    char *first;  /* page, as far as it has been written */
    ice_buf sums; /* of pages that have been */
} ice__sink;
ice_code ice__sink_open(ice__sink *s, const char *path, ice_error *err) ICE_MUST;
void ice__sink_put(ice__sink *s, const void *p, size_t n);
static inline uint64_t ice__sink_written(const ice__sink *s) { return s->written; }
/* `head` (NULL: none), of at most a page, over what was put first. */
ice_code ice__sink_finish(ice__sink *s, const void *head, size_t n, ice_error *err) ICE_MUST;
void ice__sink_abandon(ice__sink *s); /* after all of them, and of a zeroed one too */

/* A whole file mapped read-only. `ptr` NULL: not mapped. */
typedef struct ice__map {
    const uint8_t *ptr;
    size_t len; /* of the content */
    size_t mapped;
    const uint8_t *sums;
    uint8_t *good; /* for each page: has it had its checksum? */
} ice__map;
/* ICE_CORRUPT when the content is shorter than `min` bytes, or the end is not such a file's. */
ice_code ice__chunk_map_open(const char *path, size_t min, ice__map *out, ice_error *err) ICE_MUST;
void ice__chunk_map_close(ice__map *m);
/* Have the pages of these bytes (which are in the content) their checksums? Looked at once for each page. */
bool ice__chunk_pages_good(const ice__map *m, uint64_t at, uint64_t n);
static inline bool ice__chunk_map_good(const ice__map *m, uint64_t at, uint64_t n)
{
    uint64_t page = at / ICE__PAGE;
    return (n && (at + n - 1) / ICE__PAGE == page && __atomic_load_n(&m->good[page], __ATOMIC_RELAXED)) ||
           ice__chunk_pages_good(m, at, n);
}
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
