#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/misc.h"

static unsigned char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : (unsigned char)c;
}

bool ice_str_ieq(ice_str a, ice_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (fold(a.ptr[i]) != fold(b.ptr[i]))
            return false;
    return true;
}

int ice_str_cmp(ice_str a, ice_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;

    return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* Length of the well-formed multi-byte sequence at p, or 0. The first continuation byte has a narrower
 * range after E0, ED, F0 and F4, which excludes overlong forms, surrogates and values past U+10FFFF. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char lo = 0x80, hi = 0xBF;
    size_t n;

    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        n = 2;
    else if ((p[0] & 0xF0) == 0xE0)
        n = 3;
    else if (p[0] >= 0xF0 && p[0] <= 0xF4)
        n = 4;
    else
        return 0;
    if (left < n)
        return 0;
    if (p[0] == 0xE0)
        lo = 0xA0;
    else if (p[0] == 0xED)
        hi = 0x9F;
    else if (p[0] == 0xF0)
        lo = 0x90;
    else if (p[0] == 0xF4)
        hi = 0x8F;
    if (p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

bool ice_utf8_valid(ice_str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t i = 0;

    while (i < s.len) {
        uint64_t w;

        if (s.len - i >= 8 && (memcpy(&w, p + i, 8), !(w & 0x8080808080808080u))) {
            i += 8;
        } else if (p[i] < 0x80) {
            i++;
        } else {
            size_t n = utf8_sequence(p + i, s.len - i);

            if (n == 0)
                return false;
            i += n;
        }
    }
    return true;
}

size_t ice_utf8_length(ice_str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xC0) != 0x80;
    return n;
}

void ice_buf_free(ice_buf *b)
{
    free(b->data);
    *b = (ice_buf){0};
}

void ice_buf_clear(ice_buf *b)
{
    b->len = 0;
    b->failed = false;
}

static bool buf_grow(ice_buf *b, size_t n)
{
    size_t cap = b->cap ? b->cap : 64;
    char *data;

    if (n > SIZE_MAX / 2 - b->len)
        return false;
    while (cap - b->len < n)
        cap *= 2;
    data = ice_fault("base.alloc") ? NULL : realloc(b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

char *ice_buf_reserve(ice_buf *b, size_t n)
{
    if (b->failed)
        return NULL;
    if ((!b->data || b->cap - b->len < n) && !buf_grow(b, n)) {
        b->failed = true;
        return NULL;
    }
    return b->data + b->len;
}

void ice_buf_put(ice_buf *b, const void *p, size_t n)
{
    char *to;

    if (n == 0 || !(to = ice_buf_reserve(b, n)))
        return;
    memcpy(to, p, n);
    b->len += n;
}

void ice_buf_puts(ice_buf *b, const char *c) { ice_buf_put(b, c, strlen(c)); }
void ice_buf_put_str(ice_buf *b, ice_str s) { ice_buf_put(b, s.ptr, s.len); }
void ice_buf_put_u8(ice_buf *b, uint8_t v) { ice_buf_put(b, &v, 1); }

void ice_buf_printf(ice_buf *b, const char *fmt, ...)
{
    char small[256], *to;
    va_list ap, again;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
    } else if ((size_t)n < sizeof small) {
        ice_buf_put(b, small, (size_t)n);
    } else if ((to = ice_buf_reserve(b, (size_t)n + 1))) {
        vsnprintf(to, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void ice_buf_put_u32(ice_buf *b, uint32_t v)
{
    uint8_t p[4];

    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
    ice_buf_put(b, p, sizeof p);
}

void ice_buf_put_u64(ice_buf *b, uint64_t v)
{
    uint8_t p[8];

    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
    ice_buf_put(b, p, sizeof p);
}

void ice_buf_put_varint(ice_buf *b, uint64_t v)
{
    uint8_t p[10];
    size_t n = 0;

    for (; v >= 0x80; v >>= 7)
        p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    ice_buf_put(b, p, n);
}

static void put_doubled(ice_buf *b, ice_str s, char quote)
{
    size_t from = 0;

    ice_buf_put(b, &quote, 1);
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] == quote) {
            ice_buf_put(b, s.ptr + from, i + 1 - from);
            from = i;
        }
    if (s.len > from)
        ice_buf_put(b, s.ptr + from, s.len - from);
    ice_buf_put(b, &quote, 1);
}

void ice_buf_put_ident(ice_buf *b, ice_str name) { put_doubled(b, name, '"'); }
void ice_buf_put_quoted(ice_buf *b, ice_str text) { put_doubled(b, text, '\''); }

ice_code ice_buf_check(const ice_buf *b, ice_error *err)
{
    return b->failed ? ice_fail_nomem(err) : ICE_OK;
}

const uint8_t *ice_read_bytes(ice_reader *r, size_t n)
{
    const uint8_t *p = r->p;

    if (r->failed || ice_reader_left(r) < n) {
        r->failed = true;
        return NULL;
    }
    r->p += n;
    return p;
}

uint8_t ice_read_u8(ice_reader *r)
{
    const uint8_t *p = ice_read_bytes(r, 1);

    return p ? *p : 0;
}

uint32_t ice_read_u32(ice_reader *r)
{
    const uint8_t *p = ice_read_bytes(r, 4);

    return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
}

uint64_t ice_read_u64(ice_reader *r)
{
    const uint8_t *p = ice_read_bytes(r, 8);
    uint64_t v = 0;

    for (int i = 7; p && i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

uint64_t ice_read_varint(ice_reader *r)
{
    uint64_t v = 0;

    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t c = ice_read_u8(r);

        /* The tenth byte has room for one bit. */
        if (shift == 63 && c > 1)
            break;
        v |= (uint64_t)(c & 0x7F) << shift;
        if (!(c & 0x80))
            return r->failed ? 0 : v;
    }
    r->failed = true;
    return 0;
}
