/* Key index file: header of 64 bytes, then the pairs as they are in memory.
 *
 *   0 "ICEKEYIX" | 8 version u32 | 12 CRC u32 of the header with this field 0 | 16 count u64 | zeros to 64
 *   64 {upper half of the hash u32, position u32} * count, ascending by hash, then position */
#include "store/chunk_int.h"

#include <stdlib.h>

#define MAGIC "ICEKEYIX"
#define VERSION 2u

typedef struct header {
    char magic[8];
    uint32_t version, crc;
    uint64_t count;
    uint8_t zeros[40];
} header;
_Static_assert(sizeof(header) == ICE__ALIGN, "header is one aligned block");
_Static_assert(sizeof(ice_keypair) == 8, "pairs are stored as they are");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "files hold little-endian arrays that are mapped in place");

struct ice_keyindex {
    ice__map map;
    const ice_keypair *pairs;
    size_t n;
};

/* ---- sorting ---- */

static bool pair_less(const ice_keypair *a, const ice_keypair *b)
{
    return a->hash != b->hash ? a->hash < b->hash : a->position < b->position;
}

static void insertion_sort(ice_keypair *p, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        ice_keypair x = p[i];
        size_t j = i;
        for (; j && pair_less(&x, &p[j - 1]); j--)
            p[j] = p[j - 1];
        p[j] = x;
    }
}

static int cmp_position(const void *a, const void *b)
{
    uint32_t x = ((const ice_keypair *)a)->position, y = ((const ice_keypair *)b)->position;
    return x < y ? -1 : x > y;
}

/* Radix sort in place, most significant byte first: hashes are uniform, so it is three passes for a million.
 */
static void radix_sort(ice_keypair *p, size_t n, int shift)
{
    size_t at[256] = {0}, end[256];
    if (n <= 32) {
        insertion_sort(p, n);
        return;
    }
    if (shift < 0) { /* one hash: rows of one foreign key value */
        qsort(p, n, sizeof *p, cmp_position);
        return;
    }
    for (size_t i = 0; i < n; i++)
        at[p[i].hash >> shift & 255]++;
    for (size_t b = 0, sum = 0; b < 256; b++) {
        sum += at[b];
        at[b] = sum - at[b];
        end[b] = sum;
    }
    for (size_t b = 0; b < 256; b++) {
        while (at[b] < end[b]) {
            ice_keypair x = p[at[b]];
            size_t to = x.hash >> shift & 255;
            p[at[b]] = p[at[to]];
            p[at[to]] = x;
            at[to]++;
        }
    }
    for (size_t b = 0, from = 0; b < 256; from = end[b++])
        if (end[b] - from > 1)
            radix_sort(p + from, end[b] - from, shift - 8);
}

/* ---- the file ---- */

static uint32_t header_crc(const header *h)
{
    header x = *h;
    x.crc = 0;
    return ice_crc32(0, &x, sizeof x);
}

ice_code ice_keyindex_write(const char *path, ice_keypair *pairs, size_t n, ice_error *err)
{
    header h = {.version = VERSION, .count = n};
    memcpy(h.magic, MAGIC, 8);
    h.crc = header_crc(&h);
    radix_sort(pairs, n, 24);
    ice__part parts[2] = {{&h, sizeof h}, {pairs, n * sizeof *pairs}};
    return ice__chunk_file_write(path, parts, 2, err);
}

static ice_code check(const char *path, const ice__map *m, ice_error *err)
{
    const header *h = (const header *)m->ptr;
    if (memcmp(h->magic, MAGIC, 8) || h->crc != header_crc(h))
        return ice_fail(err, ICE_CORRUPT, "%s: not a key index", path);
    if (h->version != VERSION)
        return ice_fail(err, ICE_CORRUPT, "%s: key index version %u", path, h->version);
    if (h->count > (m->len - sizeof *h) / sizeof(ice_keypair))
        return ice_fail(err, ICE_CORRUPT, "%s: %llu keys overrun the file", path,
                        (unsigned long long)h->count);
    return ICE_OK;
}

ice_code ice_keyindex_open(const char *path, ice_keyindex **out, ice_error *err)
{
    ice__map m;
    *out = NULL;
    ice_code rc = ice__chunk_map_open(path, sizeof(header), &m, err);
    if (rc)
        return rc;
    ice_keyindex *k = NULL;
    ICE_TRY(check(path, &m, err));
    k = ice__chunk_alloc(sizeof *k);
    if (!k) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    k->map = m;
    k->pairs = (const ice_keypair *)(m.ptr + sizeof(header));
    k->n = (size_t)((const header *)m.ptr)->count;
    *out = k;
    return ICE_OK;
out:
    ice__chunk_map_close(&m);
    return rc;
}

void ice_keyindex_close(ice_keyindex *k)
{
    if (!k)
        return;
    ice__chunk_map_close(&k->map);
    free(k);
}

void ice_keyindex_shed(const ice_keyindex *k)
{
    ice__chunk_map_shed(&k->map);
}

uint64_t ice_keyindex_count(const ice_keyindex *k)
{
    return k->n;
}

/* Is the pair's page as it was written? */
static bool pair_good(const ice_keyindex *k, size_t at)
{
    return ice__chunk_map_good(&k->map, sizeof(header) + at * sizeof(ice_keypair), sizeof(ice_keypair));
}

/* First pair whose hash is not below `hash`; false: a page on the way is damaged. Hashes are uniform, so a few
 * interpolations find the place; halving bounds the steps for any other bytes. */
static bool lower_bound(const ice_keyindex *k, uint32_t hash, size_t *out)
{
    const ice_keypair *p = k->pairs;
    size_t lo = 0, hi = k->n;
    uint32_t below = 0, above = UINT32_MAX; /* below <= hash <= above */
    for (int step = 0; lo < hi; step++) {
        size_t mid = lo + (hi - lo) / 2;
        if (step < 8 && hi - lo > 8 && above > below) {
            double part = (double)(hash - below) / (double)(above - below);
            mid = lo + (size_t)(part * (double)(hi - lo - 1));
            if (mid >= hi)
                mid = hi - 1;
        }
        if (!pair_good(k, mid))
            return false;
        if (p[mid].hash < hash) {
            lo = mid + 1;
            below = p[mid].hash;
        } else {
            hi = mid;
            above = p[mid].hash;
        }
    }
    *out = lo;
    return true;
}

ice_code ice_keyindex_find(const ice_keyindex *k, uint64_t hash, const ice_keypair **out, size_t *count,
                           ice_error *err)
{
    uint32_t upper = ice_keypair_of(hash, 0).hash;
    size_t at = 0, n = 0;
    bool good = lower_bound(k, upper, &at);
    while (good && at + n < k->n && (good = pair_good(k, at + n)) && k->pairs[at + n].hash == upper)
        n++;
    *out = good && n ? k->pairs + at : NULL;
    *count = good ? n : 0;
    return good ? ICE_OK : ice_fail(err, ICE_CACHE, "a key index of the cache is damaged");
}
