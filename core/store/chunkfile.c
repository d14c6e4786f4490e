/* Chunk file, all integers little-endian, every section at a multiple of 64:
 *
 *   0 "ICECHUNK" | 8 version u32 | 12 ncols u32 | 16 rows u64 | 24 file size u64 | 32 CRC u32 | zeros to 64
 *   64 one entry of 64 bytes for each column:
 *      0 field id i32 | 4 kind u8 | 5 precision u8 | 6 scale u8 | 7 0 | 8 length u32 | 12 words u32
 *      16 validity offset (0: no nulls) | 24 data offset | 32 offsets offset | 40 heap offset | 48 heap
 * length | 56 codes offset (0: no dictionary)
 *   then for each column its validity bitmap, its data or (rows + 1) u32 offsets, its string heap; with a
 *   dictionary (words + 1) offsets, the words' heap, and rows u16 codes
 *
 * The CRC is of the header and directory with the CRC field 0. */
#include "store/chunk_int.h"

#include <stdlib.h>

#define MAGIC "ICECHUNK"
#define VERSION 2u

typedef struct header {
    char magic[8];
    uint32_t version, ncols;
    uint64_t rows, size;
    uint32_t crc;
    uint8_t zeros[28];
} header;
typedef struct entry {
    int32_t field_id;
    uint8_t kind, precision, scale, zero1;
    uint32_t length, words;
    uint64_t validity, data, offsets, heap, heap_len, codes;
} entry;
_Static_assert(sizeof(header) == 64 && sizeof(entry) == 64,
               "header and directory entries are aligned blocks");

struct ice_chunkfile {
    ice__map map;
    const header *head;
    const entry *dir;
    bool loose;       /* strings, codes and booleans have not been looked at */
    uint8_t proven[]; /* for each entry: all of its pages have their checksums */
};

/* ---- writing ---- */

/* A column's sections as they grow: a file's rows are few enough to hold once. */
typedef struct colbuf {
    ice_buf validity, data, offsets, heap, codes;
    bool nulls;
    uint32_t words; /* 0: no dictionary */
} colbuf;

typedef struct writer {
    const ice_column *cols;
    size_t ncols;
    uint64_t rows;
    colbuf *bufs;
    uint8_t *head; /* header and directory */
    ice__part *parts;
} writer;

static size_t batch_row(const ice_batch *b, size_t i)
{
    return b->sel ? b->sel[i] : b->first + i;
}

static ice_code add_validity(colbuf *c, uint64_t rows, const ice_vec *v, const ice_batch *b, ice_error *err)
{
    size_t need = (size_t)((rows + b->count + 7) / 8) - c->validity.len;
    char *p = ice_buf_reserve(&c->validity, need);
    if (!p)
        return ice_fail_nomem(err);
    memset(p, 0, need);
    c->validity.len += need;
    uint8_t *bits = (uint8_t *)c->validity.data;
    size_t i = 0;
    if (!v->validity && rows % 8 == 0) {
        i = b->count / 8 * 8;
        memset(bits + rows / 8, 0xff, i / 8);
    }
    for (; i < b->count; i++) {
        if (ice_vec_valid(v, batch_row(b, i)))
            bits[(rows + i) >> 3] |= (uint8_t)(1u << ((rows + i) & 7));
        else
            c->nulls = true;
    }
    return ICE_OK;
}

static ice_code add_fixed(colbuf *c, const ice_vec *v, const ice_batch *b, ice_error *err)
{
    size_t w = ice_type_width(v->type);
    char *p = ice_buf_reserve(&c->data, b->count * w);
    if (!p)
        return ice_fail_nomem(err);
    c->data.len += b->count * w;
    if (!b->sel && !v->constant) {
        memcpy(p, (const char *)v->data + b->first * w, b->count * w);
        return ICE_OK;
    }
    for (size_t i = 0; i < b->count; i++) {
        size_t row = v->constant ? 0 : batch_row(b, i);
        if (ice_vec_valid(v, row))
            memcpy(p + i * w, (const char *)v->data + row * w, w);
        else
            memset(p + i * w, 0, w);
    }
    return ICE_OK;
}

static ice_code add_strings(colbuf *c, const ice_column *col, const ice_vec *v, const ice_batch *b,
                            ice_error *err)
{
    if (!c->offsets.len)
        ice_buf_put_u32(&c->offsets, 0);
    for (size_t i = 0; i < b->count; i++) {
        ice_value x;
        ice_vec_get(v, batch_row(b, i), &x);
        if (!x.null) {
            if (x.s.len > UINT32_MAX - c->heap.len)
                return ice_fail(err, ICE_UNSUPPORTED, "column %.*s: over 4 GiB of text in one chunk file",
                                ICE_PRI(col->name));
            ice_buf_put_str(&c->heap, x.s);
        }
        ice_buf_put_u32(&c->offsets, (uint32_t)c->heap.len);
    }
    ice_code rc = ice_buf_check(&c->heap, err);
    return rc ? rc : ice_buf_check(&c->offsets, err);
}

static ice_code add_batch(writer *w, const ice_batch *b, ice_error *err)
{
    if (b->nvecs != w->ncols)
        return ice_fail(err, ICE_MISUSE, "chunk file: batch of %zu columns, want %zu", b->nvecs, w->ncols);
    if (w->rows + b->count > UINT32_MAX)
        return ice_fail(err, ICE_UNSUPPORTED, "chunk file: over %u rows", UINT32_MAX);
    for (size_t i = 0; i < w->ncols; i++) {
        const ice_vec *v = &b->vecs[i];
        const ice_column *col = &w->cols[i];
        if (!ice_type_eq(v->type, col->type))
            return ice_fail(err, ICE_MISUSE, "chunk file: batch has another type for column %.*s",
                            ICE_PRI(col->name));
        ice_code rc = add_validity(&w->bufs[i], w->rows, v, b, err);
        if (!rc)
            rc = ice__is_string(v->type) ? add_strings(&w->bufs[i], col, v, b, err)
                                         : add_fixed(&w->bufs[i], v, b, err);
        if (rc)
            return rc;
    }
    w->rows += b->count;
    return ICE_OK;
}

/* ---- dictionaries ---- */

enum { SLOTS = 4 * ICE_WORDS_MAX };
_Static_assert((SLOTS & (SLOTS - 1)) == 0 && ICE_WORDS_MAX < UINT16_MAX, "slots are masked, codes are u16");

typedef struct wordlist {
    ice_buf offsets, heap;
    uint32_t n;
    uint16_t slots[SLOTS]; /* word + 1 */
} wordlist;

/* Number of a word, new or known; ICE_WORDS_MAX: there are too many, or no memory. */
static uint32_t word_of(wordlist *l, ice_str s)
{
    const char *heap = l->heap.data;
    const uint32_t *o = (const uint32_t *)l->offsets.data;
    size_t at = (size_t)ice_hash64(s.ptr, s.len, 0) & (SLOTS - 1);
    if (l->heap.failed || l->offsets.failed)
        return ICE_WORDS_MAX;
    for (; l->slots[at]; at = (at + 1) & (SLOTS - 1)) {
        uint32_t w = l->slots[at] - 1u;
        if (ice_str_eq((ice_str){heap + o[w], o[w + 1] - o[w]}, s))
            return w;
    }
    if (l->n + 1 >= ICE_WORDS_MAX) /* one place is kept for NULL's */
        return ICE_WORDS_MAX;
    ice_buf_put_str(&l->heap, s);
    ice_buf_put_u32(&l->offsets, (uint32_t)l->heap.len);
    l->slots[at] = (uint16_t)(l->n + 1);
    return l->n++;
}

static bool row_valid(const colbuf *c, uint64_t row)
{
    return !c->nulls || ((const uint8_t *)c->validity.data)[row >> 3] >> (row & 7) & 1;
}

/* Codes of all rows; false: too many words, or no memory. */
static bool make_codes(const colbuf *c, uint64_t rows, wordlist *l, uint16_t *codes)
{
    const uint32_t *o = (const uint32_t *)c->offsets.data;
    ice_buf_put_u32(&l->offsets, 0);
    for (uint64_t i = 0; i < rows; i++) {
        uint32_t word = UINT16_MAX;
        if (row_valid(c, i) &&
            (word = word_of(l, (ice_str){c->heap.data + o[i], o[i + 1] - o[i]})) == ICE_WORDS_MAX)
            return false;
        codes[i] = (uint16_t)word;
    }
    if (c->nulls) {
        ice_buf_put_u32(&l->offsets, (uint32_t)l->heap.len);
        for (uint64_t i = 0; i < rows; i++)
            codes[i] = codes[i] == UINT16_MAX ? (uint16_t)l->n : codes[i];
        l->n++;
    }
    return !l->offsets.failed && !l->heap.failed && l->n * UINT64_C(4) <= rows;
}

static void swap(ice_buf *a, ice_buf *b)
{
    ice_buf t = *a;
    *a = *b;
    *b = t;
}

/* Turns a column of few different strings into a dictionary: whoever groups by it hashes words, not rows. */
static ice_code find_words(colbuf *c, uint64_t rows, ice_error *err)
{
    wordlist *l = ice__chunk_alloc(sizeof *l);
    uint16_t *codes = l ? (uint16_t *)(void *)ice_buf_reserve(&c->codes, rows * sizeof *codes + 1) : NULL;
    ice_code rc = codes ? ICE_OK : ice_fail_nomem(err);
    if (codes && make_codes(c, rows, l, codes)) {
        c->codes.len = rows * sizeof *codes;
        c->words = l->n;
        swap(&c->offsets, &l->offsets);
        swap(&c->heap, &l->heap);
    }
    if (l) {
        if (l->offsets.failed || l->heap.failed)
            rc = ice_fail_nomem(err);
        ice_buf_free(&l->offsets);
        ice_buf_free(&l->heap);
    }
    free(l);
    return rc;
}

/* ---- the file ---- */

/* Places one section behind the others; returns its offset. */
static uint64_t place(writer *w, size_t *nparts, uint64_t *size, const ice_buf *b)
{
    uint64_t at = *size;
    w->parts[(*nparts)++] = (ice__part){b->data, b->len};
    *size += ice__align(b->len);
    return at;
}

static ice_code layout(writer *w, size_t *nparts, ice_error *err)
{
    size_t head_len = sizeof(header) + w->ncols * sizeof(entry);
    w->head = ice__chunk_alloc(head_len);
    w->parts = ice__chunk_alloc((1 + 4 * w->ncols) * sizeof *w->parts);
    if (!w->head || !w->parts)
        return ice_fail_nomem(err);
    uint64_t size = head_len;
    w->parts[(*nparts)++] = (ice__part){w->head, head_len};
    for (size_t i = 0; i < w->ncols; i++) {
        entry *e = (entry *)(w->head + sizeof(header)) + i;
        colbuf *c = &w->bufs[i];
        ice_type t = w->cols[i].type;
        *e = (entry){.field_id = w->cols[i].field_id,
                     .kind = t.kind,
                     .precision = t.precision,
                     .scale = t.scale,
                     .length = t.length};
        if (c->nulls)
            e->validity = place(w, nparts, &size, &c->validity);
        if (!ice__is_string(t)) {
            e->data = place(w, nparts, &size, &c->data);
            continue;
        }
        if (!c->offsets.len)
            ice_buf_put_u32(&c->offsets, 0);
        if (c->offsets.failed)
            return ice_fail_nomem(err);
        ice_code rc = find_words(c, w->rows, err);
        if (rc)
            return rc;
        e->words = c->words;
        if (c->words)
            e->codes = place(w, nparts, &size, &c->codes);
        e->offsets = place(w, nparts, &size, &c->offsets);
        e->heap = place(w, nparts, &size, &c->heap);
        e->heap_len = c->heap.len;
    }
    header *h = (header *)w->head;
    *h = (header){.version = VERSION, .ncols = (uint32_t)w->ncols, .rows = w->rows, .size = size};
    memcpy(h->magic, MAGIC, 8);
    h->crc = ice_crc32(0, w->head, head_len);
    return ICE_OK;
}

static void writer_free(writer *w)
{
    for (size_t i = 0; w->bufs && i < w->ncols; i++) {
        ice_buf_free(&w->bufs[i].validity);
        ice_buf_free(&w->bufs[i].data);
        ice_buf_free(&w->bufs[i].offsets);
        ice_buf_free(&w->bufs[i].heap);
        ice_buf_free(&w->bufs[i].codes);
    }
    free(w->bufs);
    free(w->head);
    free(w->parts);
}

ice_code ice_chunkfile_write(const char *path, const ice_column *cols, size_t ncols,
                             ice_code (*next)(void *arg, ice_batch *out, ice_error *err), void *arg,
                             ice_error *err)
{
    writer w = {.cols = cols, .ncols = ncols};
    ice_code rc = ICE_OK;
    size_t nparts = 0;
    w.bufs = ice__chunk_alloc((ncols + 1) * sizeof *w.bufs);
    if (!w.bufs)
        return ice_fail_nomem(err);
    for (;;) {
        ice_batch b = {0};
        ICE_TRY(next(arg, &b, err));
        if (!b.count)
            break;
        ICE_TRY(add_batch(&w, &b, err));
    }
    ICE_TRY(layout(&w, &nparts, err));
    ICE_TRY(ice__chunk_file_write(path, w.parts, nparts, err));
out:
    if (rc)
        ice_error_prefix(err, "%s", path);
    writer_free(&w);
    return rc;
}

/* ---- reading ---- */

static bool inside(const ice__map *m, uint64_t at, uint64_t len)
{
    return at % ICE__ALIGN == 0 && at >= sizeof(header) && at <= m->len && len <= m->len - at;
}

static ice_type entry_type(const entry *e)
{
    return (ice_type){.kind = e->kind, .precision = e->precision, .scale = e->scale, .length = e->length};
}

static bool codes_ok(const ice__map *m, const entry *e, uint64_t rows)
{
    const uint16_t *c = (const uint16_t *)(m->ptr + e->codes);
    uint16_t most = 0;
    for (uint64_t i = 0; i < rows; i++)
        most = c[i] > most ? c[i] : most;
    return most < e->words;
}

/* Offsets and codes are followed without a look later, so all of them are looked at now. */
static bool strings_ok(const ice__map *m, const entry *e, uint64_t rows)
{
    uint64_t n = e->codes ? e->words : rows;
    const uint32_t *o = (const uint32_t *)(m->ptr + e->offsets);
    bool falls = false;
    for (uint64_t i = 0; i < n; i++)
        falls |= o[i] > o[i + 1];
    return !falls && o[n] <= e->heap_len && (!e->codes || codes_ok(m, e, rows));
}

/* A bool of another byte is undefined behaviour for whoever loads it as one. */
static bool bools_ok(const uint8_t *p, uint64_t rows)
{
    uint8_t all = 0;
    for (uint64_t i = 0; i < rows; i++)
        all |= p[i];
    return all <= 1;
}

/* The column's sections are in the file. */
static bool entry_ok(const ice__map *m, const entry *e, uint64_t rows)
{
    ice_type t = entry_type(e);
    if (!ice__type_ok(t) || (e->validity && !inside(m, e->validity, (rows + 7) / 8)))
        return false;
    if (!ice__is_string(t))
        return inside(m, e->data, rows * ice_type_width(t));
    if (e->codes && (e->words > ICE_WORDS_MAX || !inside(m, e->codes, rows * 2)))
        return false;
    return inside(m, e->offsets, ((e->codes ? e->words : rows) + 1) * 4) && inside(m, e->heap, e->heap_len);
}

static bool content_ok(const ice__map *m, const entry *e, uint64_t rows)
{
    if (ice__is_string(entry_type(e)))
        return strings_ok(m, e, rows);
    return e->kind != ICE_T_BOOL || bools_ok(m->ptr + e->data, rows);
}

static bool crc_ok(const header *h, size_t len)
{
    header x = *h;
    x.crc = 0;
    uint32_t crc = ice_crc32(0, &x, sizeof x);
    return ice_crc32(crc, (const uint8_t *)h + sizeof x, len - sizeof x) == h->crc;
}

static ice_code check(const char *path, const ice__map *m, bool loose, ice_error *err)
{
    const header *h = (const header *)m->ptr;
    if (memcmp(h->magic, MAGIC, 8))
        return ice_fail(err, ICE_CORRUPT, "%s: not a chunk file", path);
    if (h->version != VERSION)
        return ice_fail(err, ICE_CORRUPT, "%s: chunk file version %u", path, h->version);
    if (h->ncols > (m->len - sizeof *h) / sizeof(entry) || h->size != m->len || h->rows > UINT32_MAX)
        return ice_fail(err, ICE_CORRUPT, "%s: header does not fit a file of %zu bytes", path, m->len);
    if (!crc_ok(h, sizeof *h + h->ncols * sizeof(entry)))
        return ice_fail(err, ICE_CORRUPT, "%s: header checksum", path);
    const entry *dir = (const entry *)(m->ptr + sizeof *h);
    for (uint32_t i = 0; i < h->ncols; i++)
        if (!entry_ok(m, &dir[i], h->rows) || (!loose && !content_ok(m, &dir[i], h->rows)))
            return ice_fail(err, ICE_CORRUPT, "%s: column %u (field id %d) overruns the file", path, i,
                            dir[i].field_id);
    return ICE_OK;
}

static ice_code open_file(const char *path, bool loose, ice_chunkfile **out, ice_error *err)
{
    ice__map m;
    *out = NULL;
    ice_code rc = ice__chunk_map_open(path, sizeof(header), &m, err);
    if (rc)
        return rc;
    ICE_TRY(check(path, &m, loose, err));
    const header *head = (const header *)m.ptr;
    ice_chunkfile *f = ice__chunk_alloc(sizeof *f + head->ncols);
    if (!f) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    f->map = m;
    f->head = head;
    f->dir = (const entry *)(m.ptr + sizeof(header));
    f->loose = loose;
    *out = f;
    return ICE_OK;
out:
    ice__chunk_map_close(&m);
    return rc;
}

ice_code ice_chunkfile_open(const char *path, ice_chunkfile **out, ice_error *err)
{
    return open_file(path, false, out, err);
}

ice_code ice_chunkfile_open_loose(const char *path, ice_chunkfile **out, ice_error *err)
{
    return open_file(path, true, out, err);
}

void ice_chunkfile_close(ice_chunkfile *f)
{
    if (!f)
        return;
    ice__chunk_map_close(&f->map);
    free(f);
}

void ice_chunkfile_shed(const ice_chunkfile *f)
{
    ice__chunk_map_shed(&f->map);
}

uint64_t ice_chunkfile_rows(const ice_chunkfile *f)
{
    return f->head->rows;
}

static const entry *find_entry(const ice_chunkfile *f, int32_t field_id)
{
    for (uint32_t i = 0; i < f->head->ncols; i++)
        if (f->dir[i].field_id == field_id)
            return &f->dir[i];
    return NULL;
}

bool ice_chunkfile_has(const ice_chunkfile *f, int32_t field_id)
{
    return find_entry(f, field_id) != NULL;
}

static void vector_of(const ice_chunkfile *f, const entry *e, ice_vec *out)
{
    const uint8_t *base = f->map.ptr;
    *out = (ice_vec){.type = entry_type(e), .validity = e->validity ? base + e->validity : NULL};
    if (!ice__is_string(out->type)) {
        out->data = base + e->data;
        return;
    }
    out->offsets = (const uint32_t *)(base + e->offsets);
    out->heap = (const char *)base + e->heap;
    if (e->codes) {
        out->codes = (const uint16_t *)(base + e->codes);
        out->words = e->words;
    }
}

bool ice_chunkfile_column(const ice_chunkfile *f, int32_t field_id, ice_vec *out)
{
    const entry *e = f->loose ? NULL : find_entry(f, field_id);
    if (e)
        vector_of(f, e, out);
    return e != NULL;
}

static bool entry_good(const ice_chunkfile *f, const entry *e)
{
    const ice__map *m = &f->map;
    uint64_t rows = f->head->rows;
    if (e->validity && !ice__chunk_map_good(m, e->validity, (rows + 7) / 8))
        return false;
    if (!ice__is_string(entry_type(e)))
        return ice__chunk_map_good(m, e->data, rows * ice_type_width(entry_type(e)));
    return (!e->codes || ice__chunk_map_good(m, e->codes, rows * 2)) &&
           ice__chunk_map_good(m, e->offsets, ((e->codes ? e->words : rows) + 1) * 4) &&
           ice__chunk_map_good(m, e->heap, e->heap_len);
}

/* A reader of single rows asks each time. */
bool ice_chunkfile_good(ice_chunkfile *f, int32_t field_id)
{
    const entry *e = find_entry(f, field_id);
    if (!e || __atomic_load_n(&f->proven[e - f->dir], __ATOMIC_RELAXED))
        return true;
    if (!entry_good(f, e))
        return false;
    __atomic_store_n(&f->proven[e - f->dir], 1, __ATOMIC_RELAXED);
    return true;
}

/* Are the bytes of one value as they were written? What leads to a string's bytes is looked at before it is followed. */
static bool value_good(const ice_chunkfile *f, const entry *e, uint64_t row)
{
    const ice__map *m = &f->map;
    size_t width = ice__is_string(entry_type(e)) ? 0 : ice_type_width(entry_type(e));
    uint64_t at = row;
    if (e->validity && !ice__chunk_map_good(m, e->validity + row / 8, 1))
        return false;
    if (width)
        return ice__chunk_map_good(m, e->data + row * width, width);
    if (e->codes) {
        if (!ice__chunk_map_good(m, e->codes + row * 2, 2))
            return false;
        at = ((const uint16_t *)(m->ptr + e->codes))[row];
    }
    if (at >= (e->codes ? e->words : f->head->rows) || !ice__chunk_map_good(m, e->offsets + at * 4, 8))
        return false;
    const uint32_t *o = (const uint32_t *)(m->ptr + e->offsets);
    return o[at] <= o[at + 1] && o[at + 1] <= e->heap_len &&
           ice__chunk_map_good(m, e->heap + o[at], o[at + 1] - o[at]);
}

ice_code ice_chunkfile_value(const ice_chunkfile *f, int32_t field_id, uint64_t row, ice_value *out, ice_error *err)
{
    const entry *e = find_entry(f, field_id);
    ice_vec v;
    if (!e)
        return ICE_OK;
    if (row >= f->head->rows || !value_good(f, e, row))
        return ice_fail(err, ICE_CACHE, "row %llu of a chunk file of the cache is damaged", (unsigned long long)row);
    vector_of(f, e, &v);
    ice_vec_get(&v, row, out);
    return ICE_OK;
}
