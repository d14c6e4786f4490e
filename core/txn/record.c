#include "txn/record.h"

#include <stdlib.h>

#include "format/puffin.h"

void ice__record_begin(ice_buf *b)
{
    ice_buf_put_u8(b, ICE_RECORD_FORMAT);
}

ice_code ice__record_def(ice_buf *b, const ice_tabledef *def, ice_error *err)
{
    ice_buf json = {0};
    ice_code rc = ice_tabledef_to_json(def, &json, err);
    if (rc == ICE_OK) {
        ice_buf_put_u8(b, 'D');
        ice_buf_put(b, def->uuid.b, 16);
        ice_buf_put_varint(b, json.len);
        ice_buf_put(b, json.data, json.len);
    }
    ice_buf_free(&json);
    return rc;
}

void ice__record_drop(ice_buf *b, ice_uuid table)
{
    ice_buf_put_u8(b, 'X');
    ice_buf_put(b, table.b, 16);
}

void ice__record_table(ice_buf *b, const ice_tabledef *def)
{
    ice_buf_put_u8(b, 'T');
    ice_buf_put(b, def->uuid.b, 16);
    ice_buf_put_varint(b, (uint64_t)def->schema_id);
}

/* Puts the length of what follows `at` + 4 there. */
static void close_length(ice_buf *b, size_t at)
{
    if (b->failed)
        return;
    uint32_t n = (uint32_t)(b->len - at - 4);
    for (int i = 0; i < 4; i++)
        b->data[at + i] = (char)(n >> (8 * i));
}

void ice__record_change(ice_buf *b, const ice_change *c)
{
    ice_buf_put_u8(b, (uint8_t)c->op);
    ice_buf_put_varint(b, c->table);
    size_t at = b->len;
    ice_buf_put_u32(b, 0);
    if (c->op != 'I') {
        ice_buf_put_u64(b, (uint64_t)c->base_start);
        ice_row_encode(c->key_types, c->key, c->nkey, b);
    }
    if (c->op != 'R')
        ice_row_encode(c->types, c->row, c->ncols, b);
    close_length(b, at);
}

void ice__record_staged(ice_buf *b, size_t table, const ice_staged_file *f)
{
    ice_buf_put_u8(b, 'S');
    ice_buf_put_varint(b, table);
    size_t at = b->len;
    ice_buf_put_u32(b, 0);
    ice_buf_put_varint(b, f->key.len);
    ice_buf_put_str(b, f->key);
    ice_buf_put_varint(b, f->rows);
    ice_buf_put_varint(b, f->bytes);
    ice_buf_put_str(b, f->data_file_json);
    close_length(b, at);
}

ice_code ice__record_ended(ice_buf *b, size_t table, const ice_ended *e, ice_error *err)
{
    ice_buf_put_u8(b, 'B');
    ice_buf_put_varint(b, table);
    size_t at = b->len;
    ice_buf_put_u32(b, 0);
    ice_buf_put_u8(b, (uint8_t)e->op);
    ice_buf_put_varint(b, strlen(e->file));
    ice_buf_puts(b, e->file);
    ice_code rc = ice_dv_encode(e->rows, b, err);
    close_length(b, at);
    return rc;
}

void ice__record_sequence(ice_buf *b, uint64_t name, int64_t value)
{
    ice_buf_put_u8(b, 'Q');
    ice_buf_put_u64(b, name);
    ice_buf_put_u64(b, (uint64_t)value);
}

/* ---- reading ---- */

/* One table declared in the record being read. */
typedef struct rec_table {
    void *handle;
    bool skip;
    int32_t schema_id;
    size_t ncols, nkey;
    ice_type *types, *key_types;
    ice_value *row, *key;
} rec_table;

typedef struct rec_state {
    const ice_record_sink *sink;
    void *arg;
    ice_reader r;
    ice_arena *arena;
    rec_table *tables;
    size_t ntables, cap;
} rec_state;

static ice_code corrupt(const rec_state *s, const char *what, ice_error *err)
{
    return ice_fail(err, ICE_CORRUPT, "log record: %s (%zu bytes before its end)", what,
                    ice_reader_left(&s->r));
}

static ice_code read_uuid(rec_state *s, ice_uuid *out, ice_error *err)
{
    const uint8_t *p = ice_read_bytes(&s->r, 16);
    if (!p)
        return corrupt(s, "ends inside a table id", err);
    memcpy(out->b, p, 16);
    return ICE_OK;
}

static ice_code read_def(rec_state *s, ice_error *err)
{
    ice_uuid id = {{0}};
    ice_tabledef *def = NULL;
    ice_code rc = read_uuid(s, &id, err);
    if (rc != ICE_OK)
        return rc;
    uint64_t n = ice_read_varint(&s->r);
    const uint8_t *p = s->r.failed ? NULL : ice_read_bytes(&s->r, n);
    if (!p)
        return corrupt(s, "ends inside a definition", err);
    if ((rc = ice_tabledef_from_json((ice_str){(const char *)p, n}, &def, err)) != ICE_OK)
        return rc;
    if (!ice_uuid_eq(def->uuid, id)) {
        ice_tabledef_free(def);
        return corrupt(s, "a definition is of another table", err);
    }
    return s->sink->def(s->arg, def, err);
}

static ice_code read_table(rec_state *s, ice_error *err)
{
    ice_uuid id = {{0}};
    const ice_tabledef *def = NULL;
    const ice_keys *keys = NULL;
    ice_code rc = read_uuid(s, &id, err);
    if (rc != ICE_OK)
        return rc;
    if (!ICE_HEAP_ROOM(s->tables, s->ntables, s->cap))
        return ice_fail_nomem(err);
    int32_t schema_id = (int32_t)ice_read_varint(&s->r);
    rec_table *t = &s->tables[s->ntables];
    memset(t, 0, sizeof *t);
    t->schema_id = schema_id;
    if ((rc = s->sink->table(s->arg, id, &t->handle, &def, &keys, &t->skip, err)) != ICE_OK)
        return rc;
    s->ntables++;
    if (t->skip)
        return ICE_OK;
    if (def->schema_id != schema_id)
        return corrupt(s, "rows of a definition that is not the table's", err);
    t->ncols = def->ncols;
    t->nkey = keys->keys[0].ncols;
    t->types = ICE_NEW_N(s->arena, ice_type, t->ncols);
    t->row = ICE_NEW_N(s->arena, ice_value, t->ncols);
    t->key_types = ICE_NEW_N(s->arena, ice_type, t->nkey);
    t->key = ICE_NEW_N(s->arena, ice_value, t->nkey);
    if (!t->types || !t->row || !t->key_types || !t->key)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < t->ncols; i++)
        t->types[i] = def->cols[i].type;
    for (size_t i = 0; i < t->nkey; i++)
        t->key_types[i] = def->cols[keys->keys[0].cols[i]].type;
    return ICE_OK;
}

static ice_code read_staged(rec_state *s, rec_table *t, ice_reader r, ice_error *err)
{
    ice_staged_file f = {.schema_id = t->schema_id};
    uint64_t n = ice_read_varint(&r);
    const uint8_t *key = r.failed || n > 4096 ? NULL : ice_read_bytes(&r, n);
    f.rows = ice_read_varint(&r);
    f.bytes = ice_read_varint(&r);
    if (!key || r.failed)
        return corrupt(s, "ends inside a staged file", err);
    f.key = (ice_str){(const char *)key, n};
    f.data_file_json = (ice_str){(const char *)r.p, ice_reader_left(&r)};
    return s->sink->staged(s->arg, t->handle, &f, err);
}

static ice_code read_ended(rec_state *s, rec_table *t, ice_reader r, ice_error *err)
{
    ice_dv *rows = NULL;
    uint8_t op = ice_read_u8(&r);
    uint64_t n = ice_read_varint(&r);
    const uint8_t *name = r.failed || n > 4096 ? NULL : ice_read_bytes(&r, n);
    if (!name || (op != ICE_OP_UPDATE && op != ICE_OP_DELETE))
        return corrupt(s, "ends inside a set of ended rows", err);
    ice_code rc = ice_dv_decode((ice_str){(const char *)r.p, ice_reader_left(&r)}, &rows, err);
    return rc == ICE_OK ? s->sink->ended(s->arg, t->handle, op, (ice_str){(const char *)name, n}, rows, err) : rc;
}

static ice_code read_change(rec_state *s, uint8_t op, ice_error *err)
{
    ice_code rc;
    uint64_t k = ice_read_varint(&s->r);
    if (s->r.failed || k >= s->ntables)
        return corrupt(s, "a row of an undeclared table", err);
    rec_table *t = &s->tables[k];
    uint32_t n = ice_read_u32(&s->r);
    const uint8_t *p = ice_read_bytes(&s->r, n);
    if (!p)
        return corrupt(s, "ends inside a row", err);
    if (t->skip)
        return ICE_OK;
    ice_reader r = {p, p + n, false};
    if (op == 'S')
        return read_staged(s, t, r, err);
    if (op == 'B')
        return read_ended(s, t, r, err);
    if (op != 'I') {
        int64_t base = (int64_t)ice_read_u64(&r);
        if ((rc = ice_row_decode(&r, t->key_types, t->nkey, t->key, err)) != ICE_OK)
            return rc;
        rc = s->sink->end(s->arg, t->handle, t->key, base, op == 'U' ? ICE_OP_UPDATE : ICE_OP_DELETE, err);
        if (rc != ICE_OK || op == 'R')
            return rc;
    }
    if ((rc = ice_row_decode(&r, t->types, t->ncols, t->row, err)) != ICE_OK)
        return rc;
    return s->sink->insert(s->arg, t->handle, t->row, op == 'U' ? ICE_OP_UPDATE : ICE_OP_INSERT, err);
}

static ice_code read_op(rec_state *s, ice_error *err)
{
    uint8_t op = ice_read_u8(&s->r);
    ice_uuid id;
    ice_code rc;
    switch (op) {
    case 'D':
        return read_def(s, err);
    case 'X':
        if ((rc = read_uuid(s, &id, err)) != ICE_OK)
            return rc;
        return s->sink->drop(s->arg, id, err);
    case 'T':
        return read_table(s, err);
    case 'I':
    case 'U':
    case 'R':
    case 'S':
    case 'B':
        return read_change(s, op, err);
    case 'Q': {
        uint64_t name = ice_read_u64(&s->r);
        int64_t value = (int64_t)ice_read_u64(&s->r);
        if (s->r.failed)
            return corrupt(s, "ends inside a sequence", err);
        s->sink->sequence(s->arg, name, value);
        return ICE_OK;
    }
    default:
        return corrupt(s, "an operation that this version does not know", err);
    }
}

ice_code ice__record_read(ice_str body, const ice_record_sink *sink, void *arg, ice_error *err)
{
    rec_state s = {.sink = sink, .arg = arg, .r = ice_reader_of(body)};
    ice_code rc = ICE_OK;
    uint8_t format = ice_read_u8(&s.r);
    if (format != ICE_RECORD_FORMAT)
        return ice_fail(err, ICE_CORRUPT, "log record of format %u; this version reads format %d", format,
                        ICE_RECORD_FORMAT);
    if (!(s.arena = ice_arena_create()))
        return ice_fail_nomem(err);
    while (rc == ICE_OK && ice_reader_left(&s.r) > 0)
        rc = read_op(&s, err);
    if (rc == ICE_OK && s.r.failed)
        rc = corrupt(&s, "ends inside an operation", err);
    free(s.tables);
    ice_arena_free(s.arena);
    return rc;
}

/* ---- files alone ---- */

static ice_code staged_key(ice_reader *r, ice_str *key, ice_error *err)
{
    uint64_t n = ice_read_varint(r);
    const uint8_t *p = r->failed || n > 4096 ? NULL : ice_read_bytes(r, n);
    if (!p)
        return ice_fail(err, ICE_CORRUPT, "log record ends inside a staged file");
    *key = (ice_str){(const char *)p, n};
    return ICE_OK;
}

/* Passes over one operation; *key: the file it names, absent: none. */
static ice_code skip_op(ice_reader *r, ice_str *key, ice_error *err)
{
    uint8_t op = ice_read_u8(r);
    *key = ICE_STR_NONE;
    switch (op) {
    case 'D':
        ice_read_bytes(r, 16);
        ice_read_bytes(r, ice_read_varint(r));
        return ICE_OK;
    case 'X':
    case 'Q':
        ice_read_bytes(r, 16);
        return ICE_OK;
    case 'T':
        ice_read_bytes(r, 16);
        ice_read_varint(r);
        return ICE_OK;
    case 'I':
    case 'U':
    case 'R':
    case 'B': /* rows of a file that is published, or that an 'S' names */
    case 'S': {
        ice_read_varint(r);
        uint32_t n = ice_read_u32(r);
        const uint8_t *p = ice_read_bytes(r, n);
        ice_reader body = {p, p ? p + n : NULL, false};
        return op == 'S' && p ? staged_key(&body, key, err) : ICE_OK;
    }
    default:
        return ice_fail(err, ICE_CORRUPT, "log record: operation %u is not known to this version", op);
    }
}

ice_code ice__record_files(ice_str body, ice_code (*fn)(void *arg, ice_str key, ice_error *err), void *arg,
                           ice_error *err)
{
    ice_reader r = ice_reader_of(body);
    ice_code rc = ICE_OK;
    if (ice_read_u8(&r) != ICE_RECORD_FORMAT)
        return ice_fail(err, ICE_CORRUPT, "log record of a format that this version does not read");
    while (rc == ICE_OK && ice_reader_left(&r) > 0 && !r.failed) {
        ice_str key;
        if ((rc = skip_op(&r, &key, err)) == ICE_OK && key.ptr)
            rc = fn(arg, key, err);
    }
    if (rc == ICE_OK && r.failed)
        rc = ice_fail(err, ICE_CORRUPT, "log record ends inside an operation");
    return rc;
}
