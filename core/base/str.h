/* String views and a growing byte buffer. */
#ifndef ICE_BASE_STR_H
#define ICE_BASE_STR_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

/* A view of bytes somebody else owns; not NUL-terminated unless said so. ptr NULL means absent. */
typedef struct ice_str {
    const char *ptr;
    size_t len;
} ice_str;

#define ICE_STR(literal) ((ice_str){(literal), sizeof(literal) - 1})
#define ICE_STR_NONE ((ice_str){NULL, 0})
/* For printf: "%.*s", ICE_PRI(s) */
#define ICE_PRI(s) (int)(s).len, (s).ptr ? (s).ptr : ""

static inline ice_str ice_str_c(const char *c) { return (ice_str){c, c ? strlen(c) : 0}; }
static inline bool ice_str_eq(ice_str a, ice_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline bool ice_str_eqc(ice_str a, const char *b) { return ice_str_eq(a, ice_str_c(b)); }
/* ASCII case folded, as SQL keywords and option names compare. */
bool ice_str_ieq(ice_str a, ice_str b);
int ice_str_cmp(ice_str a, ice_str b);
/* True where every byte sequence is well-formed UTF-8 (RFC 3629). */
bool ice_utf8_valid(ice_str s);
/* Number of code points of valid UTF-8. */
size_t ice_utf8_length(ice_str s);

/* Growing buffer. Zero-initialise; free with ice_buf_free. After a failed append the buffer is
 * `failed` and further appends do nothing, so that a writer checks once at its end. */
typedef struct ice_buf {
    char *data;
    size_t len, cap;
    bool failed;
} ice_buf;

void ice_buf_free(ice_buf *b);
void ice_buf_clear(ice_buf *b); /* len = 0, keeps the memory */
/* Room for n more bytes at data + len, or NULL. Does not change len. */
char *ice_buf_reserve(ice_buf *b, size_t n);
void ice_buf_put(ice_buf *b, const void *p, size_t n);
void ice_buf_puts(ice_buf *b, const char *c);
void ice_buf_put_str(ice_buf *b, ice_str s);
void ice_buf_printf(ice_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ice_buf_put_u8(ice_buf *b, uint8_t v);
void ice_buf_put_u32(ice_buf *b, uint32_t v); /* little-endian, as all integers of our formats */
void ice_buf_put_u64(ice_buf *b, uint64_t v);
void ice_buf_put_varint(ice_buf *b, uint64_t v); /* LEB128, at most 10 bytes */
/* A quoted SQL identifier ("a""b") and a quoted SQL string ('a''b'). */
void ice_buf_put_ident(ice_buf *b, ice_str name);
void ice_buf_put_quoted(ice_buf *b, ice_str text);
/* ICE_NOMEM where an append failed. */
ice_code ice_buf_check(const ice_buf *b, ice_error *err) ICE_MUST;
static inline ice_str ice_buf_str(const ice_buf *b) { return (ice_str){b->data, b->len}; }

/* Bounded reader over bytes from outside: after an overrun `failed` is set, values read are 0. */
typedef struct ice_reader {
    const uint8_t *p, *end;
    bool failed;
} ice_reader;

static inline ice_reader ice_reader_of(ice_str s)
{
    return (ice_reader){(const uint8_t *)s.ptr, (const uint8_t *)s.ptr + s.len, false};
}
const uint8_t *ice_read_bytes(ice_reader *r, size_t n); /* NULL on overrun */
uint8_t ice_read_u8(ice_reader *r);
uint32_t ice_read_u32(ice_reader *r);
uint64_t ice_read_u64(ice_reader *r);
uint64_t ice_read_varint(ice_reader *r);
static inline size_t ice_reader_left(const ice_reader *r) { return (size_t)(r->end - r->p); }

#endif
