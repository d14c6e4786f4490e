/* The footer of a Parquet file is a struct in Thrift's compact protocol. What is read of it:
 *
 *   FileMetaData  2 schema: list of SchemaElement | 4 row groups: list of RowGroup
 *   SchemaElement 5 number of children (a leaf has none) | 9 field id
 *   RowGroup      1 columns: list of ColumnChunk, in the order of the schema's leaves
 *   ColumnChunk   3 ColumnMetaData
 *   ColumnMetaData 7 bytes of all pages | 9 place of the first data page | 11 of the dictionary page */
#include "format/parquet.h"

#include <stdlib.h>

enum { MAGIC_LEN = 4, DEEPEST = 32, MOST = 1 << 24 };
enum { T_STOP, T_TRUE, T_FALSE, T_BYTE, T_I16, T_I32, T_I64, T_DOUBLE, T_BINARY, T_LIST, T_SET, T_MAP, T_STRUCT, T_UUID };

typedef struct thrift {
    ice_reader r;
    int depth;
} thrift;

static uint64_t varint(thrift *t)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64 && !t->r.failed; shift += 7) {
        uint8_t b = ice_read_u8(&t->r);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return v;
    }
    t->r.failed = true;
    return 0;
}

static int64_t zigzag(thrift *t)
{
    uint64_t v = varint(t);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* The next field of a struct; false: it is over. */
static bool next_field(thrift *t, int *id, int *type)
{
    uint8_t b = ice_read_u8(&t->r);
    *type = b & 15;
    if (t->r.failed || *type == T_STOP)
        return false;
    int64_t to = b >> 4 ? *id + (b >> 4) : zigzag(t);
    t->r.failed |= to < 0 || to > INT16_MAX;
    *id = (int)to;
    return !t->r.failed;
}

/* Number of elements of a list, each of at least a byte. */
static uint64_t list_of(thrift *t, int *type)
{
    uint8_t b = ice_read_u8(&t->r);
    uint64_t n = b >> 4 == 15 ? varint(t) : b >> 4;
    *type = b & 15;
    t->r.failed |= n > MOST || n > ice_reader_left(&t->r);
    return t->r.failed ? 0 : n;
}

static void skip(thrift *t, int type);

static void skip_list(thrift *t)
{
    int type;
    uint64_t n = list_of(t, &type);
    for (uint64_t i = 0; i < n && !t->r.failed; i++)
        if (type == T_TRUE || type == T_FALSE)
            ice_read_u8(&t->r);
        else
            skip(t, type);
}

static void skip_struct(thrift *t)
{
    for (int id = 0, type; next_field(t, &id, &type);)
        skip(t, type);
}

static void skip(thrift *t, int type)
{
    if (++t->depth > DEEPEST)
        t->r.failed = true;
    switch (t->r.failed ? T_STOP : type) {
    case T_TRUE:
    case T_FALSE: break;
    case T_BYTE: ice_read_u8(&t->r); break;
    case T_I16:
    case T_I32:
    case T_I64: varint(t); break;
    case T_DOUBLE: ice_read_bytes(&t->r, 8); break;
    case T_BINARY: ice_read_bytes(&t->r, varint(t)); break;
    case T_LIST:
    case T_SET: skip_list(t); break;
    case T_STRUCT: skip_struct(t); break;
    case T_UUID: ice_read_bytes(&t->r, 16); break;
    default: t->r.failed = true; /* maps: Parquet has none */
    }
    t->depth--;
}

/* ---- what is read ---- */

typedef struct parsing {
    thrift t;
    ice_arena *a;
    ice_parquet_layout *out;
    size_t cap_leaves, cap_chunks;
    bool nomem;
} parsing;

static void read_element(parsing *p, bool root)
{
    int64_t field = 0, children = 0;
    for (int id = 0, type; next_field(&p->t, &id, &type);)
        if (id == 5 && type == T_I32)
            children = zigzag(&p->t);
        else if (id == 9 && type == T_I32)
            field = zigzag(&p->t);
        else
            skip(&p->t, type);
    if (p->t.r.failed || root || children > 0)
        return;
    if (!ICE_ROOM(p->a, p->out->ids, p->out->nleaves, p->cap_leaves)) {
        p->nomem = p->t.r.failed = true;
        return;
    }
    p->out->ids[p->out->nleaves++] = field > 0 && field <= INT32_MAX ? (int32_t)field : 0;
}

static void read_metadata(parsing *p, uint32_t leaf)
{
    int64_t len = -1, data = -1, words = -1;
    for (int id = 0, type; next_field(&p->t, &id, &type);)
        if (id == 7 && type == T_I64)
            len = zigzag(&p->t);
        else if (id == 9 && type == T_I64)
            data = zigzag(&p->t);
        else if (id == 11 && type == T_I64)
            words = zigzag(&p->t);
        else
            skip(&p->t, type);
    if (p->t.r.failed)
        return;
    if (!ICE_ROOM(p->a, p->out->chunks, p->out->nchunks, p->cap_chunks)) {
        p->nomem = p->t.r.failed = true;
        return;
    }
    int64_t at = words > 0 && words < data ? words : data;
    p->t.r.failed |= at < MAGIC_LEN || len < 0;
    p->out->chunks[p->out->nchunks++] = (ice_parquet_chunk){leaf, (uint64_t)at, (uint64_t)len};
}

static void read_chunk(parsing *p, uint32_t leaf)
{
    for (int id = 0, type; next_field(&p->t, &id, &type);)
        if (id == 3 && type == T_STRUCT)
            read_metadata(p, leaf);
        else
            skip(&p->t, type);
}

static void read_group(parsing *p)
{
    for (int id = 0, type, of; next_field(&p->t, &id, &type);) {
        if (id != 1 || type != T_LIST) {
            skip(&p->t, type);
            continue;
        }
        uint64_t n = list_of(&p->t, &of);
        p->t.r.failed |= of != T_STRUCT || n != p->out->nleaves;
        for (uint64_t i = 0; i < n && !p->t.r.failed; i++)
            read_chunk(p, (uint32_t)i);
    }
}

static void read_file(parsing *p)
{
    for (int id = 0, type, of; next_field(&p->t, &id, &type);) {
        if ((id != 2 && id != 4) || type != T_LIST) {
            skip(&p->t, type);
            continue;
        }
        uint64_t n = list_of(&p->t, &of);
        p->t.r.failed |= n && of != T_STRUCT;
        for (uint64_t i = 0; i < n && !p->t.r.failed; i++)
            if (id == 2)
                read_element(p, i == 0);
            else
                read_group(p);
    }
}

static int by_place(const void *x, const void *y)
{
    const ice_parquet_chunk *a = x, *b = y;
    return a->at != b->at ? (a->at < b->at ? -1 : 1) : (a->len > b->len) - (a->len < b->len);
}

ice_code ice_parquet_footer_size(const uint8_t *end, uint64_t file_size, uint64_t *out, ice_error *err)
{
    ice_reader r = ice_reader_of((ice_str){(const char *)end, ICE_PARQUET_END});
    *out = ice_read_u32(&r);
    if (memcmp(end + 4, "PAR1", MAGIC_LEN) != 0 || file_size < MAGIC_LEN + ICE_PARQUET_END ||
        *out > file_size - MAGIC_LEN - ICE_PARQUET_END)
        return ice_fail(err, ICE_CORRUPT, "its end is not that of a Parquet file of %llu bytes",
                        (unsigned long long)file_size);
    return ICE_OK;
}

ice_code ice_parquet_layout_read(ice_str footer, uint64_t file_size, ice_arena *a, ice_parquet_layout *out,
                                 ice_error *err)
{
    parsing p = {.t = {.r = ice_reader_of(footer)}, .a = a, .out = out};
    uint64_t from = MAGIC_LEN, end = file_size - footer.len - ICE_PARQUET_END;
    *out = (ice_parquet_layout){0};
    read_file(&p);
    if (p.nomem)
        return ice_fail_nomem(err);
    if (p.t.r.failed)
        return ice_fail(err, ICE_CORRUPT, "its footer is malformed");
    if (out->nchunks)
        qsort(out->chunks, out->nchunks, sizeof *out->chunks, by_place);
    for (size_t i = 0; i < out->nchunks; i++) {
        const ice_parquet_chunk *c = &out->chunks[i];
        if (c->at < from || c->at > end || c->len > end - c->at)
            return ice_fail(err, ICE_CORRUPT, "its footer places a column where none can be");
        from = c->at + c->len;
    }
    return ICE_OK;
}
