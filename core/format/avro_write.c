#include <stdlib.h>
#include <zlib.h>

#include "format/avro.h"

#define BLOCK_BYTES ((size_t)64 << 10) /* a block is closed when it has this many */

struct ice_avro_writer {
    ice_buf file, block;
    int64_t count; /* records in the block */
    bool deflate;
    size_t seal; /* where it is in the file */
    uint8_t sync[16];
};

void ice_avro_put_long(ice_buf *b, int64_t v)
{
    ice_buf_put_varint(b, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

void ice_avro_put_bytes(ice_buf *b, ice_str v)
{
    ice_avro_put_long(b, (int64_t)v.len);
    ice_buf_put_str(b, v);
}

ice_code ice_avro_create(ice_str schema_json, const ice_kv *meta, size_t nmeta, bool deflate,
                         ice_avro_writer **out, ice_error *err)
{
    ice_avro_writer *w = calloc(1, sizeof *w);
    *out = w;
    if (!w)
        return ice_fail_nomem(err);
    w->deflate = deflate;
    ice_uuid u = ice_uuid_random();
    memcpy(w->sync, u.b, 16);
    ice_buf_put(&w->file, "Obj\1", 4);
    ice_avro_put_long(&w->file, (int64_t)nmeta + 3);
    /* The seal first: no damaged length before it can hide it. */
    ice_avro_put_bytes(&w->file, ICE_STR(ICE_AVRO_SEAL));
    ice_avro_put_bytes(&w->file, ICE_STR(ICE_SEAL_BLANK));
    w->seal = w->file.len - strlen(ICE_SEAL_BLANK);
    ice_avro_put_bytes(&w->file, ICE_STR("avro.schema"));
    ice_avro_put_bytes(&w->file, schema_json);
    ice_avro_put_bytes(&w->file, ICE_STR("avro.codec"));
    ice_avro_put_bytes(&w->file, deflate ? ICE_STR("deflate") : ICE_STR("null"));
    for (size_t i = 0; i < nmeta; i++) {
        ice_avro_put_bytes(&w->file, meta[i].key);
        ice_avro_put_bytes(&w->file, meta[i].value);
    }
    ice_avro_put_long(&w->file, 0);
    ice_buf_put(&w->file, w->sync, 16);
    ice_code rc = ice_buf_check(&w->file, err);
    if (rc != ICE_OK) {
        ice_avro_free(w);
        *out = NULL;
    }
    return rc;
}

void ice_avro_free(ice_avro_writer *w)
{
    if (!w)
        return;
    ice_buf_free(&w->file);
    ice_buf_free(&w->block);
    free(w);
}

ice_buf *ice_avro_record(ice_avro_writer *w)
{
    return &w->block;
}

static ice_code deflate_block(ice_avro_writer *w, ice_buf *out, ice_error *err)
{
    z_stream z = {.next_in = (Bytef *)w->block.data, .avail_in = (uInt)w->block.len};
    if (w->block.len > INT32_MAX || deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return ice_fail(err, ICE_NOMEM, "Avro block of %zu bytes: no memory to pack it", w->block.len);
    uLong room = deflateBound(&z, (uLong)w->block.len);
    z.next_out = (Bytef *)ice_buf_reserve(out, room);
    z.avail_out = (uInt)room;
    int state = z.next_out ? deflate(&z, Z_FINISH) : Z_MEM_ERROR;
    out->len += z.next_out ? room - z.avail_out : 0;
    deflateEnd(&z);
    return state == Z_STREAM_END ? ICE_OK : ice_fail_nomem(err);
}

static ice_code close_block(ice_avro_writer *w, ice_error *err)
{
    ice_buf packed = {0};
    ice_code rc;
    if (w->count == 0)
        return ICE_OK;
    ICE_TRY(ice_buf_check(&w->block, err));
    if (w->deflate)
        ICE_TRY(deflate_block(w, &packed, err));
    ice_avro_put_long(&w->file, w->count);
    ice_avro_put_bytes(&w->file, ice_buf_str(w->deflate ? &packed : &w->block));
    ice_buf_put(&w->file, w->sync, 16);
    ICE_TRY(ice_buf_check(&w->file, err));
    ice_buf_clear(&w->block);
    w->count = 0;
out:
    ice_buf_free(&packed);
    return rc;
}

ice_code ice_avro_end_record(ice_avro_writer *w, ice_error *err)
{
    w->count++;
    return w->block.len >= BLOCK_BYTES || w->block.failed ? close_block(w, err) : ICE_OK;
}

ice_code ice_avro_finish(ice_avro_writer *w, ice_buf *out, ice_error *err)
{
    ice_code rc = close_block(w, err);
    if (rc != ICE_OK)
        return rc;
    ice_seal(w->file.data, w->file.len, w->seal);
    ice_buf_put_str(out, ice_buf_str(&w->file));
    return ice_buf_check(out, err);
}
