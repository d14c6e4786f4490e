/* Row file, all integers little-endian:
 *
 *   0 "ICEROWFL" | 8 version u32 | 12 ncols u32 | 16 rows u64 | 24 file size u64 | 32 offset of the block
 *   table u64 | 40 CRC u32 of header and directory with this field 0 | zeros to 64
 *   64 one entry of 16 bytes for each column: 0 field id i32 | 4 kind u8 | 5 precision u8 | 6 scale u8 | 7 0 |
 *      8 length u32 | 12 0
 *   then blocks of 16 rows (the last one may have fewer): where each row ends, u32, counted from the first
 *      one's begin; the rows
 *   then the block table: offset of each block, u64
 *
 * The header is written last; pages have checksums (chunk_int.h).
 *
 * A row: a bit for each column, set where it is not NULL; then those columns' values: fixed width as in
 * memory, others as their length u32 and their bytes. */
#include "store/rowfile.h"

#include <stdlib.h>

#include "store/chunk_int.h"

#define MAGIC "ICEROWFL"
#define VERSION 1u
enum { BLOCK = 16, MOST_COLUMNS = 65536 };

typedef struct header {
    char magic[8];
    uint32_t version, ncols;
    uint64_t rows, size, table;
    uint32_t crc;
    uint8_t zeros[20];
} header;
typedef struct entry {
    int32_t field_id;
    uint8_t kind, precision, scale, zero1;
    uint32_t length, zero2;
} entry;
_Static_assert(sizeof(header) == 64 && sizeof(entry) == 16, "header and entries are as they are in the file");

struct ice_rowfile {
    ice__map map;
    header head;
    const entry *dir;
};

/* ---- writing ---- */

typedef struct writer {
    ice__sink sink;
    const ice_column *cols;
    size_t ncols;
    uint64_t rows;
    size_t in_block;
    uint32_t ends[BLOCK];
    ice_buf block;   /* rows of the open block */
    ice_buf offsets; /* of the finished ones */
} writer;

static ice_code put_value(ice_buf *b, const ice_column *col, const ice_vec *v, size_t row, ice_error *err)
{
    ice_value x;
    if (!ice__is_string(v->type)) {
        size_t width = ice_type_width(v->type);
        ice_buf_put(b, (const char *)v->data + (v->constant ? 0 : row) * width, width);
        return ICE_OK;
    }
    ice_vec_get(v, row, &x);
    if (x.s.len > UINT32_MAX)
        return ice_fail(err, ICE_UNSUPPORTED, "column %.*s: over 4 GiB in one value", ICE_PRI(col->name));
    ice_buf_put_u32(b, (uint32_t)x.s.len);
    ice_buf_put_str(b, x.s);
    return ICE_OK;
}

static void end_block(writer *w)
{
    if (!w->in_block)
        return;
    ice_buf_put_u64(&w->offsets, ice__sink_written(&w->sink));
    ice__sink_put(&w->sink, w->ends, w->in_block * sizeof *w->ends);
    ice__sink_put(&w->sink, w->block.data, w->block.len);
    ice_buf_clear(&w->block);
    w->in_block = 0;
}

static ice_code add_row(writer *w, const ice_batch *b, size_t i, ice_error *err)
{
    size_t row = b->sel ? b->sel[i] : b->first + i, at = w->block.len, bits = (w->ncols + 7) / 8;
    ice_code rc = ICE_OK;
    char *p = ice_buf_reserve(&w->block, bits);
    if (!p)
        return ice_fail_nomem(err);
    memset(p, 0, bits);
    w->block.len += bits;
    for (size_t c = 0; c < w->ncols && rc == ICE_OK; c++) {
        if (!ice_vec_valid(&b->vecs[c], row))
            continue;
        rc = put_value(&w->block, &w->cols[c], &b->vecs[c], row, err);
        if (!w->block.failed)
            w->block.data[at + c / 8] |= (char)(1 << c % 8);
    }
    if (rc == ICE_OK && w->block.len > UINT32_MAX)
        rc = ice_fail(err, ICE_UNSUPPORTED, "over 4 GiB in %d rows", BLOCK);
    if (rc == ICE_OK)
        rc = ice_buf_check(&w->block, err);
    w->ends[w->in_block++] = (uint32_t)w->block.len;
    w->rows++;
    if (w->in_block == BLOCK)
        end_block(w);
    return rc;
}

static ice_code add_batch(writer *w, const ice_batch *b, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t c = 0; c < w->ncols; c++)
        if (b->nvecs != w->ncols || !ice_type_eq(b->vecs[c].type, w->cols[c].type))
            return ice_fail(err, ICE_MISUSE, "row file: the batch has other columns");
    for (size_t i = 0; i < b->count && rc == ICE_OK; i++)
        rc = add_row(w, b, i, err);
    return rc;
}

static uint32_t crc_of(header h, const entry *dir)
{
    h.crc = 0;
    return ice_crc32(ice_crc32(0, &h, sizeof h), dir, h.ncols * sizeof *dir);
}

static entry *directory(const writer *w)
{
    entry *dir = calloc(w->ncols + 1, sizeof *dir);
    for (size_t i = 0; dir && i < w->ncols; i++) {
        ice_type t = w->cols[i].type;
        dir[i] = (entry){.field_id = w->cols[i].field_id,
                         .kind = t.kind,
                         .precision = t.precision,
                         .scale = t.scale,
                         .length = t.length};
    }
    return dir;
}

static ice_code finish(writer *w, const entry *dir, ice_error *err)
{
    header h = {.version = VERSION, .ncols = (uint32_t)w->ncols, .rows = w->rows};
    end_block(w);
    memcpy(h.magic, MAGIC, 8);
    h.table = ice__sink_written(&w->sink);
    h.size = h.table + w->offsets.len;
    h.crc = crc_of(h, dir);
    ice_code rc = ice_buf_check(&w->offsets, err);
    if (rc == ICE_OK)
        ice__sink_put(&w->sink, w->offsets.data, w->offsets.len);
    return rc ? rc : ice__sink_finish(&w->sink, &h, sizeof h, err);
}

ice_code ice_rowfile_write(const char *path, const ice_column *cols, size_t ncols,
                           ice_code (*next)(void *arg, ice_batch *out, ice_error *err), void *arg,
                           ice_error *err)
{
    writer w = {.cols = cols, .ncols = ncols};
    entry *dir = directory(&w);
    header blank = {0};
    ice_code rc = dir ? ice__sink_open(&w.sink, path, err) : ice_fail_nomem(err);
    if (rc != ICE_OK)
        goto out;
    ice__sink_put(&w.sink, &blank, sizeof blank);
    ice__sink_put(&w.sink, dir, ncols * sizeof *dir);
    for (;;) {
        ice_batch b = {0};
        ICE_TRY(next(arg, &b, err));
        if (!b.count)
            break;
        ICE_TRY(add_batch(&w, &b, err));
    }
    ICE_TRY(finish(&w, dir, err));
out:
    if (rc != ICE_OK)
        ice_error_prefix(err, "%s", path);
    ice__sink_abandon(&w.sink);
    ice_buf_free(&w.block);
    ice_buf_free(&w.offsets);
    free(dir);
    return rc;
}

/* ---- reading ---- */

static ice_type type_of(const entry *e)
{
    return (ice_type){.kind = e->kind, .precision = e->precision, .scale = e->scale, .length = e->length};
}

static bool types_ok(const ice_rowfile *f)
{
    for (uint32_t i = 0; i < f->head.ncols; i++)
        if (!ice__type_ok(type_of(&f->dir[i])))
            return false;
    return true;
}

static uint64_t blocks_of(const header *h)
{
    return (h->rows + BLOCK - 1) / BLOCK;
}

static ice_code check(const char *path, ice_rowfile *f, ice_error *err)
{
    header *h = &f->head;
    memcpy(h, f->map.ptr, sizeof *h);
    f->dir = (const entry *)(f->map.ptr + sizeof *h);
    if (memcmp(h->magic, MAGIC, 8) || h->version != VERSION)
        return ice_fail(err, ICE_CORRUPT, "%s: not a row file of version %u", path, VERSION);
    if (h->ncols > MOST_COLUMNS || h->ncols > (f->map.len - sizeof *h) / sizeof(entry) ||
        h->rows > UINT32_MAX || h->size != f->map.len || h->table > h->size ||
        (h->size - h->table) / 8 < blocks_of(h))
        return ice_fail(err, ICE_CORRUPT, "%s: header does not fit a file of %zu bytes", path, f->map.len);
    if (h->crc != crc_of(*h, f->dir) || !types_ok(f))
        return ice_fail(err, ICE_CORRUPT, "%s: header checksum", path);
    return ICE_OK;
}

ice_code ice_rowfile_open(const char *path, ice_rowfile **out, ice_error *err)
{
    ice_rowfile *f = ice__chunk_alloc(sizeof *f);
    *out = NULL;
    if (!f)
        return ice_fail_nomem(err);
    ice_code rc = ice__chunk_map_open(path, sizeof(header), &f->map, err);
    if (rc == ICE_OK)
        rc = check(path, f, err);
    if (rc == ICE_OK)
        *out = f;
    else
        ice_rowfile_close(f);
    return rc;
}

void ice_rowfile_close(ice_rowfile *f)
{
    if (!f)
        return;
    ice__chunk_map_close(&f->map);
    free(f);
}

void ice_rowfile_shed(const ice_rowfile *f)
{
    ice__chunk_map_shed(&f->map);
}

uint64_t ice_rowfile_rows(const ice_rowfile *f)
{
    return f->head.rows;
}

bool ice_rowfile_has(const ice_rowfile *f, int32_t field_id)
{
    for (uint32_t i = 0; i < f->head.ncols; i++)
        if (f->dir[i].field_id == field_id)
            return true;
    return false;
}

/* Bytes of a row, all of them in the file. */
static bool find_row(const ice_rowfile *f, uint64_t row, const uint8_t **p, const uint8_t **end)
{
    const header *h = &f->head;
    uint64_t block = row / BLOCK, left = h->rows - block * BLOCK, at;
    size_t n = left < BLOCK ? (size_t)left : BLOCK, i = (size_t)(row % BLOCK);
    uint32_t from = 0, to;
    if (!ice__chunk_map_good(&f->map, h->table + block * 8, sizeof at))
        return false;
    memcpy(&at, f->map.ptr + h->table + block * 8, sizeof at);
    if (at > h->table || h->table - at < n * sizeof to)
        return false;
    const uint8_t *ends = f->map.ptr + at, *rows = ends + n * sizeof to;
    if (!ice__chunk_map_good(&f->map, at, n * sizeof to))
        return false;
    memcpy(&to, ends + i * sizeof to, sizeof to);
    if (i)
        memcpy(&from, ends + (i - 1) * sizeof from, sizeof from);
    if (from > to || to > (size_t)(f->map.ptr + h->table - rows))
        return false;
    *p = rows + from;
    *end = rows + to;
    return ice__chunk_map_good(&f->map, (uint64_t)(*p - f->map.ptr), to - from);
}

/* One value, not NULL; false: it overruns the row. */
static bool take_value(ice_type t, const uint8_t **p, const uint8_t *end, ice_value *out)
{
    uint32_t len = (uint32_t)ice_type_width(t);
    if (!ice__is_string(t)) {
        if ((size_t)(end - *p) < len)
            return false;
        ice__vec_fixed_get(t, *p, out);
    } else {
        if ((size_t)(end - *p) < sizeof len)
            return false;
        memcpy(&len, *p, sizeof len);
        *p += sizeof len;
        if ((size_t)(end - *p) < len)
            return false;
        *out = (ice_value){.kind = t.kind, .s = {(const char *)*p, len}};
    }
    *p += len;
    return true;
}

static ice_value *wanted(const ice_column *cols, size_t ncols, int32_t field_id, ice_value *out)
{
    for (size_t i = 0; i < ncols; i++)
        if (cols[i].field_id == field_id)
            return &out[i];
    return NULL;
}

ice_code ice_rowfile_read(const ice_rowfile *f, uint64_t row, const ice_column *cols, size_t ncols,
                          ice_value *out, ice_error *err)
{
    size_t bits = (f->head.ncols + 7) / 8, left = ncols;
    const uint8_t *p = NULL, *end = NULL;
    bool good = row < f->head.rows && find_row(f, row, &p, &end) && (size_t)(end - p) >= bits;
    const uint8_t *valid = p;
    p += good ? bits : 0;
    for (uint32_t c = 0; good && left && c < f->head.ncols; c++) {
        const entry *e = &f->dir[c];
        ice_value *to = wanted(cols, ncols, e->field_id, out), v = {.kind = e->kind, .null = true};
        if (valid[c / 8] >> c % 8 & 1)
            good = take_value(type_of(e), &p, end, &v);
        if (to)
            *to = v;
        left -= to != NULL;
    }
    return good ? ICE_OK
                : ice_fail(err, ICE_CACHE, "row %llu of a row file of the cache is damaged",
                           (unsigned long long)row);
}
