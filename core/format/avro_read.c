#include "format/avro.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "format/format_int.h"

#define MAX_DEPTH 64                  /* of nested types */
#define MAX_BLOCK ((size_t)256 << 20) /* bytes of an unpacked block */
#define MAX_WEIGHT 100000u            /* types in a schema, named ones counted at every use */
#define SCHEMA_MAX ((size_t)8 << 20)  /* bytes of a schema */

struct ice_avro_reader {
    ice_arena *arena;
    ice_str what;
    ice_reader file;
    const ice_avro_type *schema;
    size_t nmeta;
    ice_kv *meta;
    bool deflate;
    const uint8_t *sync;
    ice_buf unpacked;
    ice_reader block; /* of the records of the current block */
    int64_t left;     /* records left in it */
};

/* ---- primitives ---- */

static int64_t zigzag(ice_reader *r)
{
    uint64_t v = ice_read_varint(r);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static ice_str sized_bytes(ice_reader *r)
{
    int64_t n = zigzag(r);
    if (n < 0 || (uint64_t)n > ice_reader_left(r))
        r->failed = true;
    if (r->failed)
        return ICE_STR_NONE;
    const uint8_t *p = ice_read_bytes(r, (size_t)n);
    return (ice_str){(const char *)p, p ? (size_t)n : 0};
}

bool ice_avro_more(ice_reader *r, int64_t *left, bool *done)
{
    if (*done || r->failed)
        return false;
    if (*left == 0) {
        *left = zigzag(r);
        if (*left < 0) { /* a block that also gives its size in bytes */
            zigzag(r);
            *left = *left == INT64_MIN ? 0 : -*left;
        }
        /* An item of no bytes (null) cannot be bounded by what is left; nothing of ours has any. */
        if ((uint64_t)*left > ice_reader_left(r))
            r->failed = true;
        if (*left == 0 || r->failed) {
            *done = true;
            return false;
        }
    }
    --*left;
    return true;
}

const ice_avro_type *ice_avro_enter(ice_reader *r, const ice_avro_type *t)
{
    if (!t || t->kind != ICE_AVRO_UNION)
        return t;
    int64_t i = zigzag(r);
    if (r->failed || i < 0 || (uint64_t)i >= t->n) {
        r->failed = true;
        return NULL;
    }
    return t->branches[i];
}

static void skip_items(ice_reader *r, const ice_avro_type *t, int depth);

static void skip(ice_reader *r, const ice_avro_type *t, int depth)
{
    t = ice_avro_enter(r, t);
    if (!t || r->failed || depth > MAX_DEPTH) {
        r->failed = true;
        return;
    }
    switch (t->kind) {
    case ICE_AVRO_NULL: break;
    case ICE_AVRO_BOOL: ice_read_u8(r); break;
    case ICE_AVRO_INT:
    case ICE_AVRO_LONG:
    case ICE_AVRO_ENUM: zigzag(r); break;
    case ICE_AVRO_FLOAT: ice_read_bytes(r, 4); break;
    case ICE_AVRO_DOUBLE: ice_read_bytes(r, 8); break;
    case ICE_AVRO_BYTES:
    case ICE_AVRO_STRING: sized_bytes(r); break;
    case ICE_AVRO_FIXED: ice_read_bytes(r, t->size); break;
    case ICE_AVRO_RECORD:
        for (size_t i = 0; i < t->n && !r->failed; i++)
            skip(r, t->fields[i].type, depth + 1);
        break;
    default: skip_items(r, t, depth + 1); break;
    }
}

static void skip_items(ice_reader *r, const ice_avro_type *t, int depth)
{
    bool done = false;
    for (int64_t left = 0; ice_avro_more(r, &left, &done);) {
        if (t->kind == ICE_AVRO_MAP)
            sized_bytes(r);
        skip(r, t->items, depth);
    }
}

void ice_avro_skip(ice_reader *r, const ice_avro_type *t)
{
    skip(r, t, 0);
}

int64_t ice_avro_long(ice_reader *r, const ice_avro_type *t, bool *present)
{
    t = ice_avro_enter(r, t);
    *present = t && t->kind != ICE_AVRO_NULL;
    if (!*present)
        return 0;
    if (t->kind == ICE_AVRO_BOOL)
        return ice_read_u8(r) != 0;
    if (t->kind != ICE_AVRO_INT && t->kind != ICE_AVRO_LONG && t->kind != ICE_AVRO_ENUM)
        r->failed = true;
    int64_t v = zigzag(r);
    if (t->kind == ICE_AVRO_INT && v != (int32_t)v)
        r->failed = true;
    return r->failed ? 0 : v;
}

static ice_str plain_bytes(ice_reader *r, const ice_avro_type *t)
{
    if (t->kind == ICE_AVRO_FIXED) {
        const uint8_t *p = ice_read_bytes(r, t->size);
        return (ice_str){(const char *)p, p ? t->size : 0};
    }
    if (t->kind != ICE_AVRO_BYTES && t->kind != ICE_AVRO_STRING)
        r->failed = true;
    return sized_bytes(r);
}

ice_str ice_avro_bytes(ice_reader *r, const ice_avro_type *t, bool *present)
{
    t = ice_avro_enter(r, t);
    *present = t && t->kind != ICE_AVRO_NULL;
    return *present ? plain_bytes(r, t) : ICE_STR_NONE;
}

static void long_value(const ice_avro_type *t, int64_t v, ice_value *out)
{
    *out = (ice_value){.kind = t->kind == ICE_AVRO_INT ? ICE_T_INT : ICE_T_LONG, .i = v};
    if (ice_str_eqc(t->logical, "date"))
        out->kind = ICE_T_DATE;
    else if (ice_str_eqc(t->logical, "time-micros"))
        out->kind = ICE_T_TIME;
    else if (ice_str_eqc(t->logical, "timestamp-micros"))
        out->kind = t->adjust_to_utc ? ICE_T_TIMESTAMPTZ : ICE_T_TIMESTAMP;
}

static void bytes_value(ice_reader *r, const ice_avro_type *t, ice_value *out)
{
    ice_str s = plain_bytes(r, t);
    if (ice_str_eqc(t->logical, "decimal")) {
        *out = (ice_value){.kind = ICE_T_DECIMAL, .scale = t->scale};
        if (!ice__decimal_of_bytes(s, &out->dec))
            r->failed = true;
    } else if (ice_str_eqc(t->logical, "uuid") && s.len == 16) {
        *out = (ice_value){.kind = ICE_T_UUID};
        memcpy(out->uuid, s.ptr, 16);
    } else {
        *out = (ice_value){.kind = t->kind == ICE_AVRO_STRING  ? ICE_T_STRING
                                   : t->kind == ICE_AVRO_FIXED ? ICE_T_FIXED
                                                               : ICE_T_BINARY,
                           .s = s};
    }
}

void ice_avro_value(ice_reader *r, const ice_avro_type *t, ice_value *out)
{
    float f;
    bool present;
    uint32_t u32;
    uint64_t u64;
    *out = ICE_NULL;
    t = ice_avro_enter(r, t);
    if (!t || t->kind == ICE_AVRO_NULL)
        return;
    switch (t->kind) {
    case ICE_AVRO_BOOL: *out = (ice_value){.kind = ICE_T_BOOL, .b = ice_read_u8(r) != 0}; break;
    case ICE_AVRO_INT:
    case ICE_AVRO_LONG: long_value(t, ice_avro_long(r, t, &present), out); break;
    case ICE_AVRO_FLOAT:
        u32 = ice_read_u32(r);
        memcpy(&f, &u32, 4);
        *out = (ice_value){.kind = ICE_T_FLOAT, .d = (double)f};
        break;
    case ICE_AVRO_DOUBLE:
        u64 = ice_read_u64(r);
        *out = (ice_value){.kind = ICE_T_DOUBLE};
        memcpy(&out->d, &u64, 8);
        break;
    case ICE_AVRO_BYTES:
    case ICE_AVRO_STRING:
    case ICE_AVRO_FIXED: bytes_value(r, t, out); break;
    default: r->failed = true;
    }
    if (r->failed)
        *out = ICE_NULL;
}

/* ---- the schema ---- */

typedef struct schema_parser {
    ice__json j;
    const ice_avro_type **named; /* record, enum and fixed types seen so far */
    size_t nnamed;
} schema_parser;

static ice_code type_from(schema_parser *p, const json_t *v, int depth, const ice_avro_type **out);

static bool simple_kind(ice_str name, ice_avro_kind *out)
{
    static const char *const names[] = {"null",  "boolean", "int",   "long",
                                        "float", "double",  "bytes", "string"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ice_str_eqc(name, names[i])) {
            *out = (ice_avro_kind)i;
            return true;
        }
    return false;
}

/* "a.b.name" and "name" are taken for one: manifests use no namespaces. */
static ice_str short_name(ice_str s)
{
    for (size_t i = s.len; i > 0; i--)
        if (s.ptr[i - 1] == '.')
            return (ice_str){s.ptr + i, s.len - i};
    return s;
}

static ice_code named_type(schema_parser *p, ice_str name, const ice_avro_type **out)
{
    ice_avro_kind kind;
    ice_avro_type *t;
    if (simple_kind(name, &kind)) {
        *out = t = ICE_NEW(p->j.arena, ice_avro_type);
        if (!t)
            return ice_fail_nomem(p->j.err);
        t->kind = kind;
        return ICE_OK;
    }
    for (size_t i = p->nnamed; i-- > 0;)
        if (ice_str_eq(p->named[i]->name, short_name(name))) {
            *out = p->named[i];
            return ICE_OK;
        }
    return ice__json_fail(&p->j, NULL, "unknown type \"%.*s\"", ICE_PRI(name));
}

static ice_code union_from(schema_parser *p, const json_t *v, int depth, ice_avro_type *t)
{
    ice_code rc = ICE_OK;
    t->kind = ICE_AVRO_UNION;
    t->branches = ICE_NEW_N(p->j.arena, const ice_avro_type *, json_array_size(v) + 1);
    if (!t->branches)
        return ice_fail_nomem(p->j.err);
    for (size_t i = 0; i < json_array_size(v); i++) {
        size_t at = ice__json_push_index(&p->j, i);
        if (json_is_array(json_array_get(v, i)))
            return ice__json_fail(&p->j, NULL, "a union within a union");
        ICE_TRY(type_from(p, json_array_get(v, i), depth + 1, &t->branches[i]));
        ice__json_pop(&p->j, at);
    }
    t->n = json_array_size(v);
out:
    return rc;
}

static ice_code field_from(schema_parser *p, const json_t *v, int depth, ice_avro_field *f)
{
    ice_code rc;
    f->field_id = -1;
    ICE_TRY(ice__json_is_object(&p->j, v));
    ICE_TRY(ice__json_str(&p->j, v, "name", true, &f->name));
    ICE_TRY(ice__json_int32(&p->j, v, "field-id", false, &f->field_id));
    size_t at = ice__json_push_key(&p->j, "type");
    ICE_TRY(type_from(p, json_object_get(v, "type"), depth + 1, &f->type));
    ice__json_pop(&p->j, at);
out:
    return rc;
}

static ice_code record_from(schema_parser *p, const json_t *v, int depth, ice_avro_type *t)
{
    json_t *fields = NULL;
    ice_code rc;
    ICE_TRY(ice__json_array(&p->j, v, "fields", true, &fields));
    t->fields = ICE_NEW_N(p->j.arena, ice_avro_field, json_array_size(fields) + 1);
    if (!t->fields)
        return ice_fail_nomem(p->j.err);
    size_t at = ice__json_push_key(&p->j, "fields");
    for (size_t i = 0; i < json_array_size(fields); i++) {
        size_t item = ice__json_push_index(&p->j, i);
        ICE_TRY(field_from(p, json_array_get(fields, i), depth, &t->fields[i]));
        ice__json_pop(&p->j, item);
    }
    ice__json_pop(&p->j, at);
    t->n = json_array_size(fields);
out:
    return rc;
}

/* Registers a named type before its members are read, so that they may refer to it. */
static ice_code declare(schema_parser *p, const json_t *v, ice_avro_type *t)
{
    ice_code rc = ice__json_str(&p->j, v, "name", true, &t->name);
    if (rc != ICE_OK)
        return rc;
    t->name = short_name(t->name);
    if ((p->nnamed & (p->nnamed - 1)) == 0) { /* room doubles */
        const ice_avro_type **grown = ICE_NEW_N(p->j.arena, const ice_avro_type *, p->nnamed * 2 + 1);
        if (!grown)
            return ice_fail_nomem(p->j.err);
        if (p->nnamed)
            memcpy(grown, p->named, p->nnamed * sizeof *grown);
        p->named = grown;
    }
    p->named[p->nnamed++] = t;
    return ICE_OK;
}

static ice_code fixed_from(schema_parser *p, const json_t *v, ice_avro_type *t)
{
    int64_t size = 0;
    ice_code rc = declare(p, v, t);
    if (rc == ICE_OK)
        rc = ice__json_int(&p->j, v, "size", true, 0, INT32_MAX, &size);
    t->size = (uint32_t)size;
    return rc;
}

static ice_code items_from(schema_parser *p, const json_t *v, const char *key, int depth, ice_avro_type *t)
{
    t->element_id = -1;
    ice_code rc = ice__json_int32(&p->j, v, "element-id", false, &t->element_id);
    if (rc != ICE_OK)
        return rc;
    size_t at = ice__json_push_key(&p->j, key);
    rc = type_from(p, json_object_get(v, key), depth + 1, &t->items);
    if (rc == ICE_OK)
        ice__json_pop(&p->j, at);
    return rc;
}

static ice_code complex_from(schema_parser *p, const json_t *v, ice_str kind, int depth, ice_avro_type *t)
{
    ice_code rc;
    if (simple_kind(kind, &t->kind))
        return ICE_OK;
    if (ice_str_eqc(kind, "fixed")) {
        t->kind = ICE_AVRO_FIXED;
        return fixed_from(p, v, t);
    }
    if (ice_str_eqc(kind, "array") || ice_str_eqc(kind, "map")) {
        bool array = kind.len == 5;
        t->kind = array ? ICE_AVRO_ARRAY : ICE_AVRO_MAP;
        return items_from(p, v, array ? "items" : "values", depth, t);
    }
    if (ice_str_eqc(kind, "enum")) {
        t->kind = ICE_AVRO_ENUM;
        return declare(p, v, t);
    }
    if (!ice_str_eqc(kind, "record") && !ice_str_eqc(kind, "error"))
        return ice__json_fail(&p->j, "type", "\"%.*s\" is no kind of type", ICE_PRI(kind));
    t->kind = ICE_AVRO_RECORD;
    rc = declare(p, v, t);
    return rc == ICE_OK ? record_from(p, v, depth, t) : rc;
}

static ice_code attributes_from(schema_parser *p, const json_t *v, ice_avro_type *t)
{
    int64_t precision = 0, scale = 0;
    ice_code rc;
    ICE_TRY(ice__json_str(&p->j, v, "logicalType", false, &t->logical));
    ICE_TRY(ice__json_bool(&p->j, v, "adjust-to-utc", false, &t->adjust_to_utc));
    ICE_TRY(ice__json_int(&p->j, v, "precision", false, 0, INT32_MAX, &precision));
    ICE_TRY(ice__json_int(&p->j, v, "scale", false, 0, INT32_MAX, &scale));
    if (ice_str_eqc(t->logical, "decimal") && (precision < 1 || precision > 38 || scale > precision))
        return ice__json_fail(&p->j, "precision", "decimal(%lld, %lld) is no decimal", (long long)precision,
                              (long long)scale);
    t->precision = (uint8_t)precision;
    t->scale = (uint8_t)scale;
out:
    return rc;
}

/* A record used twice within one used twice within ... would take for ever to skip without reading a byte. */
static ice_code weigh(schema_parser *p, ice_avro_type *t)
{
    uint64_t w = 1 + (t->items ? t->items->weight : 0);
    for (size_t i = 0; i < t->n; i++)
        w += t->kind == ICE_AVRO_UNION ? t->branches[i]->weight : t->fields[i].type->weight;
    if (w > MAX_WEIGHT)
        return ice__json_fail(&p->j, NULL, "types are nested too often");
    t->weight = (uint32_t)w;
    return ICE_OK;
}

static ice_code type_from(schema_parser *p, const json_t *v, int depth, const ice_avro_type **out)
{
    ice_str kind = {0};
    ice_code rc;
    if (depth > MAX_DEPTH)
        return ice__json_fail(&p->j, NULL, "types are nested too deeply");
    if (json_is_string(v))
        return named_type(p, (ice_str){json_string_value(v), json_string_length(v)}, out);
    ice_avro_type *t = ICE_NEW(p->j.arena, ice_avro_type);
    if (!t)
        return ice_fail_nomem(p->j.err);
    *out = t;
    if (json_is_array(v)) {
        ICE_TRY(union_from(p, v, depth, t));
        return weigh(p, t);
    }
    ICE_TRY(ice__json_is_object(&p->j, v));
    const json_t *inner = json_object_get(v, "type");
    if (json_is_object(inner) ||
        json_is_array(inner)) /* {"type": {...}}: the attributes are the inner type's */
        return type_from(p, inner, depth + 1, out);
    ICE_TRY(ice__json_str(&p->j, v, "type", true, &kind));
    ICE_TRY(attributes_from(p, v, t));
    ICE_TRY(complex_from(p, v, kind, depth, t));
    ICE_TRY(weigh(p, t));
out:
    return rc;
}

static ice_code parse_schema(ice_avro_reader *r, ice_str text, ice_error *err)
{
    schema_parser p = {.j = {.arena = r->arena, .err = err, .what = "Avro schema"}};
    json_t *v = NULL;
    if (text.len > SCHEMA_MAX)
        return ice_fail(err, ICE_CORRUPT, "%.*s: an Avro schema of %zu bytes is too large", ICE_PRI(r->what),
                        text.len);
    ice_code rc = ice__json_load(&p.j, text, &v);
    if (rc == ICE_OK)
        rc = type_from(&p, v, 0, &r->schema);
    if (rc == ICE_CORRUPT)
        ice_error_prefix(err, "%.*s", ICE_PRI(r->what));
    json_decref(v);
    return rc;
}

/* ---- the container ---- */

static ice_code bad(const ice_avro_reader *r, ice_error *err, const char *why)
{
    size_t at = r->file.p ? (size_t)(r->file.end - r->file.p) : 0;
    return ice_fail(err, ICE_CORRUPT, "%.*s: %s (%zu bytes before the end)", ICE_PRI(r->what), why, at);
}

static ice_code read_header(ice_avro_reader *r, ice_error *err)
{
    const uint8_t *magic = ice_read_bytes(&r->file, 4);
    size_t cap = 0;
    bool done = false;
    if (!magic || memcmp(magic, "Obj\1", 4) != 0)
        return ice_fail(err, ICE_CORRUPT, "%.*s: is no Avro file", ICE_PRI(r->what));
    for (int64_t left = 0; ice_avro_more(&r->file, &left, &done);) {
        if (!ICE_ROOM(r->arena, r->meta, r->nmeta, cap))
            return ice_fail_nomem(err);
        ice_str key = sized_bytes(&r->file);
        r->meta[r->nmeta++] = (ice_kv){key, sized_bytes(&r->file)};
    }
    r->sync = ice_read_bytes(&r->file, 16);
    return r->sync ? ICE_OK : bad(r, err, "the header is cut off");
}

ice_str ice_avro_meta(const ice_avro_reader *r, const char *key)
{
    for (size_t i = 0; i < r->nmeta; i++)
        if (ice_str_eqc(r->meta[i].key, key))
            return r->meta[i].value.ptr ? r->meta[i].value : ICE_STR("");
    return ICE_STR_NONE;
}

ice_code ice_avro_open(ice_str bytes, ice_str what, ice_avro_reader **out, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_avro_reader *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return ice_fail_nomem(err);
    r->file = ice_reader_of(bytes.ptr ? bytes : ICE_STR(""));
    r->block = ice_reader_of(ICE_STR(""));
    r->arena = ice_arena_create();
    r->what = r->arena ? ice_arena_str(r->arena, what) : ICE_STR_NONE;
    if (!r->arena || !r->what.ptr)
        ICE_TRY(ice_fail_nomem(err));
    ICE_TRY(read_header(r, err));
    ice_str seal = ice_avro_meta(r, ICE_AVRO_SEAL);
    if (seal.ptr && (seal.len != strlen(ICE_SEAL_BLANK) || !ice_seal_holds(bytes, (size_t)(seal.ptr - bytes.ptr))))
        ICE_TRY(ice_fail(err, ICE_CORRUPT, "%.*s: its checksum is not that of its bytes", ICE_PRI(r->what)));
    ice_str codec = ice_avro_meta(r, "avro.codec");
    r->deflate = ice_str_eqc(codec, "deflate");
    if (codec.len && !r->deflate && !ice_str_eqc(codec, "null"))
        ICE_TRY(
            ice_fail(err, ICE_UNSUPPORTED, "%.*s: Avro codec \"%.*s\"", ICE_PRI(r->what), ICE_PRI(codec)));
    ICE_TRY(parse_schema(r, ice_avro_meta(r, "avro.schema"), err));
    *out = r;
    r = NULL;
out:
    ice_avro_close(r);
    return rc;
}

void ice_avro_close(ice_avro_reader *r)
{
    if (!r)
        return;
    ice_buf_free(&r->unpacked);
    ice_arena_free(r->arena);
    free(r);
}

const ice_avro_type *ice_avro_schema(const ice_avro_reader *r)
{
    return r->schema;
}

static ice_code inflate_block(ice_avro_reader *r, ice_str packed, ice_error *err)
{
    z_stream z = {.next_in = (Bytef *)packed.ptr, .avail_in = (uInt)packed.len};
    int state = Z_OK;
    ice_buf_clear(&r->unpacked);
    if (packed.len > MAX_BLOCK || inflateInit2(&z, -15) != Z_OK)
        return bad(r, err, "a block is too large");
    while (state == Z_OK && r->unpacked.len <= MAX_BLOCK) {
        size_t room = 128 << 10;
        z.next_out = (Bytef *)ice_buf_reserve(&r->unpacked, room);
        if (!z.next_out)
            break;
        z.avail_out = (uInt)room;
        state = inflate(&z, Z_NO_FLUSH);
        r->unpacked.len += room - z.avail_out;
        if (state == Z_OK && z.avail_in == 0 && z.avail_out > 0)
            state = Z_DATA_ERROR;
    }
    inflateEnd(&z);
    if (r->unpacked.failed)
        return ice_fail_nomem(err);
    return state == Z_STREAM_END ? ICE_OK : bad(r, err, "a block does not unpack");
}

static ice_code next_block(ice_avro_reader *r, ice_error *err)
{
    r->left = zigzag(&r->file);
    ice_str data = sized_bytes(&r->file);
    const uint8_t *sync = ice_read_bytes(&r->file, 16);
    if (!sync || r->left < 0)
        return bad(r, err, "a block is cut off");
    if (memcmp(sync, r->sync, 16) != 0)
        return bad(r, err, "the sync marker after a block is wrong");
    if (r->deflate) {
        ice_code rc = inflate_block(r, data, err);
        if (rc != ICE_OK)
            return rc;
        data = ice_buf_str(&r->unpacked);
    }
    r->block = ice_reader_of(data.ptr ? data : ICE_STR(""));
    if ((uint64_t)r->left > ice_reader_left(&r->block))
        return bad(r, err, "a block claims more records than it can hold");
    return ICE_OK;
}

ice_code ice_avro_check(const ice_avro_reader *r, ice_error *err)
{
    return r->block.failed ? bad(r, err, "a record does not match its schema") : ICE_OK;
}

ice_code ice_avro_next(ice_avro_reader *r, ice_reader **record, bool *more, ice_error *err)
{
    ice_code rc = ice_avro_check(r, err);
    *more = false;
    *record = &r->block;
    while (rc == ICE_OK && r->left == 0) {
        if (ice_reader_left(&r->block) > 0)
            return bad(r, err, "a block has bytes after its last record");
        if (ice_reader_left(&r->file) == 0)
            return ICE_OK;
        rc = next_block(r, err);
    }
    if (rc == ICE_OK) {
        r->left--;
        *more = true;
    }
    return rc;
}
