/* Deletion vectors: 32-bit Roaring bitmaps by the high half of the position. */
#include <stdlib.h>

#include <roaring/roaring.h>

#include "base/misc.h"
#include "format/puffin.h"

typedef struct bucket {
    uint32_t key;
    roaring_bitmap_t *bits;
} bucket;

struct ice_dv {
    bucket *buckets; /* by ascending key */
    size_t n, cap;
};

static const char dv_magic[4] = {(char)0xD1, (char)0xD3, 0x39, 0x64};

ice_dv *ice_dv_create(void)
{
    return calloc(1, sizeof(ice_dv));
}

void ice_dv_free(ice_dv *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n; i++)
        roaring_bitmap_free(d->buckets[i].bits);
    free(d->buckets);
    free(d);
}

/* Index of the first bucket whose key is not below. */
static size_t lower_bound(const ice_dv *d, uint32_t key)
{
    size_t low = 0, high = d->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (d->buckets[mid].key < key)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static const roaring_bitmap_t *find(const ice_dv *d, uint32_t key)
{
    size_t i = lower_bound(d, key);
    return i < d->n && d->buckets[i].key == key ? d->buckets[i].bits : NULL;
}

/* Takes `bits` over, also on failure. */
static bool insert(ice_dv *d, size_t at, uint32_t key, roaring_bitmap_t *bits)
{
    if (!bits)
        return false;
    if (!ICE_HEAP_ROOM(d->buckets, d->n, d->cap)) {
        roaring_bitmap_free(bits);
        return false;
    }
    memmove(d->buckets + at + 1, d->buckets + at, (d->n - at) * sizeof *d->buckets);
    d->buckets[at] = (bucket){key, bits};
    d->n++;
    return true;
}

ice_dv *ice_dv_clone(const ice_dv *d)
{
    ice_dv *copy = ice_dv_create();
    for (size_t i = 0; copy && i < d->n; i++)
        if (!insert(copy, i, d->buckets[i].key, roaring_bitmap_copy(d->buckets[i].bits))) {
            ice_dv_free(copy);
            return NULL;
        }
    return copy;
}

ice_code ice_dv_add(ice_dv *d, uint64_t position, ice_error *err)
{
    uint32_t key = (uint32_t)(position >> 32);
    size_t i = lower_bound(d, key);
    if (position > ICE_DV_MAX_POSITION)
        return ice_fail(err, ICE_RANGE, "row position %llu is beyond what a deletion vector holds",
                        (unsigned long long)position);
    if ((i == d->n || d->buckets[i].key != key) && !insert(d, i, key, roaring_bitmap_create()))
        return ice_fail_nomem(err);
    roaring_bitmap_add(d->buckets[i].bits, (uint32_t)position);
    return ICE_OK;
}

void ice_dv_remove(ice_dv *d, uint64_t position)
{
    size_t i = lower_bound(d, (uint32_t)(position >> 32));
    if (i < d->n && d->buckets[i].key == (uint32_t)(position >> 32))
        roaring_bitmap_remove(d->buckets[i].bits, (uint32_t)position);
}

bool ice_dv_contains(const ice_dv *d, uint64_t position)
{
    const roaring_bitmap_t *bits = find(d, (uint32_t)(position >> 32));
    return bits && roaring_bitmap_contains(bits, (uint32_t)position);
}

ice_code ice_dv_merge(ice_dv *d, const ice_dv *other, ice_error *err)
{
    for (size_t k = 0; k < other->n; k++) {
        const bucket *b = &other->buckets[k];
        size_t i = lower_bound(d, b->key);
        if (i < d->n && d->buckets[i].key == b->key)
            roaring_bitmap_or_inplace(d->buckets[i].bits, b->bits);
        else if (!insert(d, i, b->key, roaring_bitmap_copy(b->bits)))
            return ice_fail_nomem(err);
    }
    return ICE_OK;
}

uint64_t ice_dv_count(const ice_dv *d)
{
    uint64_t n = 0;
    for (size_t i = 0; i < d->n; i++)
        n += roaring_bitmap_get_cardinality(d->buckets[i].bits);
    return n;
}

uint64_t ice_dv_rank(const ice_dv *d, uint64_t end)
{
    uint64_t n = 0;
    for (size_t i = 0; i < d->n && (uint64_t)d->buckets[i].key << 32 < end; i++) {
        const bucket *b = &d->buckets[i];
        bool whole = (end - 1) >> 32 > b->key;
        n += whole ? roaring_bitmap_get_cardinality(b->bits)
                   : roaring_bitmap_rank(b->bits, (uint32_t)(end - 1));
    }
    return n;
}

size_t ice_dv_positions(const ice_dv *d, uint64_t from, uint64_t *out, size_t max)
{
    size_t n = 0;
    for (size_t i = lower_bound(d, (uint32_t)(from >> 32)); i < d->n && n < max; i++) {
        const bucket *b = &d->buckets[i];
        roaring_uint32_iterator_t it;
        roaring_init_iterator(b->bits, &it);
        if (b->key == from >> 32)
            roaring_move_uint32_iterator_equalorlarger(&it, (uint32_t)from);
        for (; it.has_value && n < max; roaring_advance_uint32_iterator(&it))
            out[n++] = (uint64_t)b->key << 32 | it.current_value;
    }
    return n;
}

size_t ice_dv_bytes(const ice_dv *d)
{
    size_t n = sizeof *d + d->cap * sizeof *d->buckets;
    for (size_t i = 0; i < d->n; i++)
        n += roaring_bitmap_size_in_bytes(d->buckets[i].bits);
    return n;
}

/* ---- writing ---- */

static void put_u32be(ice_buf *b, uint32_t v)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        ice_buf_put_u8(b, (uint8_t)(v >> shift));
}

static ice_code put_bitmap(ice_buf *out, const bucket *b, ice_error *err)
{
    roaring_bitmap_t *copy = roaring_bitmap_copy(b->bits);
    if (!copy)
        return ice_fail_nomem(err);
    roaring_bitmap_run_optimize(copy);
    size_t n = roaring_bitmap_portable_size_in_bytes(copy);
    ice_buf_put_u32(out, b->key);
    char *p = ice_buf_reserve(out, n);
    if (p)
        out->len += roaring_bitmap_portable_serialize(copy, p);
    roaring_bitmap_free(copy);
    return ice_buf_check(out, err);
}

ice_code ice_dv_encode(const ice_dv *d, ice_buf *out, ice_error *err)
{
    size_t start = out->len;
    put_u32be(out, 0); /* the length, known at the end */
    ice_buf_put(out, dv_magic, 4);
    ice_buf_put_u64(out, d->n);
    for (size_t i = 0; i < d->n; i++) {
        ice_code rc = put_bitmap(out, &d->buckets[i], err);
        if (rc != ICE_OK)
            return rc;
    }
    if (out->failed)
        return ice_fail_nomem(err);
    size_t length = out->len - start - 4;
    if (length > INT32_MAX)
        return ice_fail(err, ICE_RANGE, "a deletion vector of %zu bytes is too large", length);
    for (int i = 0; i < 4; i++)
        out->data[start + (size_t)i] = (char)(length >> (24 - 8 * i));
    put_u32be(out, ice_crc32(0, out->data + start + 4, length));
    return ice_buf_check(out, err);
}

/* ---- reading: the whole bitmap is checked, since CRoaring trusts what it is given ---- */

#define COOKIE_RUNS 12347u
#define COOKIE_NO_RUNS 12346u
#define MAX_ARRAY 4096u

static uint32_t read_u16(ice_reader *r)
{
    uint32_t low = ice_read_u8(r);
    return low | (uint32_t)ice_read_u8(r) << 8;
}

static bool check_runs(ice_reader *r, uint32_t cardinality)
{
    uint32_t n = read_u16(r), total = 0, next = 0;
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        uint32_t start = read_u16(r), last = start + read_u16(r);
        if (start < next || last > 0xffff)
            return false;
        total += last - start + 1;
        next = last + 1;
    }
    return !r->failed && total == cardinality;
}

static bool check_array(ice_reader *r, uint32_t cardinality)
{
    int64_t before = -1;
    for (uint32_t i = 0; i < cardinality && !r->failed; i++) {
        int64_t v = read_u16(r);
        if (v <= before)
            return false;
        before = v;
    }
    return !r->failed;
}

static bool check_bits(ice_reader *r, uint32_t cardinality)
{
    uint32_t total = 0;
    for (int i = 0; i < 1024 && !r->failed; i++)
        total += (uint32_t)__builtin_popcountll(ice_read_u64(r));
    return !r->failed && total == cardinality;
}

static bool check_containers(ice_reader *r, const uint8_t *start, uint32_t n, const uint8_t *runs)
{
    const uint8_t *heads = ice_read_bytes(r, (size_t)n * 4);
    ice_reader offsets = ice_reader_of(ICE_STR(""));
    int64_t before = -1;
    if (!runs || n >= 4) {
        const uint8_t *p = ice_read_bytes(r, (size_t)n * 4);
        if (p)
            offsets = ice_reader_of((ice_str){(const char *)p, (size_t)n * 4});
    }
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        int64_t key = heads[4 * i] | heads[4 * i + 1] << 8;
        uint32_t cardinality = (heads[4 * i + 2] | (uint32_t)heads[4 * i + 3] << 8) + 1;
        if (key <= before)
            return false;
        before = key;
        if (ice_reader_left(&offsets) && ice_read_u32(&offsets) != (uint32_t)(r->p - start))
            return false;
        bool is_run = runs && runs[i / 8] >> (i % 8) & 1;
        if (!(is_run                     ? check_runs(r, cardinality)
              : cardinality <= MAX_ARRAY ? check_array(r, cardinality)
                                         : check_bits(r, cardinality)))
            return false;
    }
    return !r->failed;
}

/* Moves the reader over one bitmap in portable format; false where it is none. */
static bool check_bitmap(ice_reader *r)
{
    const uint8_t *start = r->p, *runs = NULL;
    uint32_t cookie = ice_read_u32(r), n;
    if ((cookie & 0xffff) == COOKIE_RUNS) {
        n = (cookie >> 16) + 1;
        runs = ice_read_bytes(r, (n + 7) / 8);
    } else if (cookie == COOKIE_NO_RUNS) {
        n = ice_read_u32(r);
    } else {
        return false;
    }
    return !r->failed && n <= 65536 && check_containers(r, start, n, runs);
}

static ice_code read_bitmaps(ice_reader *r, ice_dv *d, ice_error *err)
{
    uint64_t n = ice_read_u64(r);
    int64_t before = -1;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t key = ice_read_u32(r);
        const uint8_t *start = r->p;
        if (r->failed || (int64_t)key <= before || key > INT32_MAX - 1 || !check_bitmap(r))
            return ice_fail(err, ICE_CORRUPT, "deletion vector: bitmap %llu of %llu is damaged",
                            (unsigned long long)i, (unsigned long long)n);
        before = key;
        size_t size = (size_t)(r->p - start);
        roaring_bitmap_t *bits = roaring_bitmap_portable_deserialize_safe((const char *)start, size);
        if (!insert(d, d->n, key, bits))
            return ice_fail_nomem(err);
    }
    if (r->failed || ice_reader_left(r) > 0)
        return ice_fail(err, ICE_CORRUPT, "deletion vector: its length does not fit its bitmaps");
    return ICE_OK;
}

static uint32_t read_u32be(ice_reader *r)
{
    uint32_t v = ice_read_u32(r);
    return __builtin_bswap32(v);
}

ice_code ice_dv_decode(ice_str blob, ice_dv **out, ice_error *err)
{
    ice_reader r = ice_reader_of(blob.ptr ? blob : ICE_STR(""));
    uint32_t length = read_u32be(&r);
    const uint8_t *body = ice_read_bytes(&r, length);
    uint32_t crc = read_u32be(&r);
    *out = NULL;
    if (r.failed || ice_reader_left(&r) > 0 || length < 12 || memcmp(body, dv_magic, 4) != 0)
        return ice_fail(err, ICE_CORRUPT, "deletion vector of %zu bytes: wrong length or magic", blob.len);
    if (ice_crc32(0, body, length) != crc)
        return ice_fail(err, ICE_CORRUPT, "deletion vector of %zu bytes: its CRC is wrong", blob.len);
    ice_dv *d = ice_dv_create();
    if (!d)
        return ice_fail_nomem(err);
    r = ice_reader_of((ice_str){(const char *)body + 4, length - 4});
    ice_code rc = read_bitmaps(&r, d, err);
    if (rc == ICE_OK)
        *out = d;
    else
        ice_dv_free(d);
    return rc;
}
