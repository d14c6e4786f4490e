#include "format/puffin.h"

#include <stdlib.h>

#include "format/format_int.h"

#define FOOTER_TAIL 12 /* length, flags, magic */
#define CREATED_BY "django-iceberg 0.1.0"

struct ice_puffin_writer {
    ice_buf file, footer; /* footer: the JSON of the blobs so far */
};

ice_puffin_writer *ice_puffin_create(void)
{
    ice_puffin_writer *w = calloc(1, sizeof *w);
    if (w)
        ice_buf_puts(&w->file, "PFA1");
    return w;
}

void ice_puffin_free(ice_puffin_writer *w)
{
    if (!w)
        return;
    ice_buf_free(&w->file);
    ice_buf_free(&w->footer);
    free(w);
}

static void put_blob_json(ice_buf *b, const ice_blob *m)
{
    ice_buf_puts(b, b->len ? ",{\"type\":" : "{\"type\":");
    ice__put_json_str(b, m->type);
    ice_buf_puts(b, ",\"fields\":[");
    for (size_t i = 0; i < m->nfields; i++)
        ice_buf_printf(b, "%s%d", i ? "," : "", m->fields[i]);
    ice_buf_printf(b, "],\"snapshot-id\":%lld,\"sequence-number\":%lld,\"offset\":%lld,\"length\":%lld",
                   (long long)m->snapshot_id, (long long)m->sequence_number, (long long)m->offset,
                   (long long)m->length);
    if (m->nproperties) {
        ice__put_json_key(b, "properties", false);
        ice__put_json_kv(b, m->properties, m->nproperties);
    }
    ice_buf_put_u8(b, '}');
}

ice_code ice_puffin_add_blob(ice_puffin_writer *w, ice_blob *meta, ice_str bytes, ice_error *err)
{
    meta->offset = (int64_t)w->file.len;
    meta->length = (int64_t)bytes.len;
    ice_buf_put_str(&w->file, bytes);
    put_blob_json(&w->footer, meta);
    ice_code rc = ice_buf_check(&w->file, err);
    return rc == ICE_OK ? ice_buf_check(&w->footer, err) : rc;
}

ice_code ice_puffin_add_dv(ice_puffin_writer *w, const ice_dv *d, ice_str data_file, int64_t *offset,
                           int64_t *length, ice_error *err)
{
    ice_buf blob = {0}, count = {0};
    int32_t row_position = 2147483645; /* the reserved column _pos, as the reference implementation puts */
    ice_code rc;
    ICE_TRY(ice_dv_encode(d, &blob, err));
    ice_buf_printf(&count, "%llu", (unsigned long long)ice_dv_count(d));
    ICE_TRY(ice_buf_check(&count, err));
    ice_kv properties[] = {{ICE_STR("referenced-data-file"), data_file},
                           {ICE_STR("cardinality"), ice_buf_str(&count)}};
    ice_blob meta = {.type = ICE_STR("deletion-vector-v1"),
                     .nfields = 1,
                     .fields = &row_position,
                     .snapshot_id = -1,
                     .sequence_number = -1,
                     .nproperties = 2,
                     .properties = properties};
    ICE_TRY(ice_puffin_add_blob(w, &meta, ice_buf_str(&blob), err));
    *offset = meta.offset;
    *length = meta.length;
out:
    ice_buf_free(&blob);
    ice_buf_free(&count);
    return rc;
}

ice_code ice_puffin_finish(ice_puffin_writer *w, ice_buf *out, int64_t *footer_size, ice_error *err)
{
    size_t start = w->file.len;
    ice_buf_puts(&w->file, "PFA1");
    ice_buf_puts(&w->file, "{\"blobs\":[");
    ice_buf_put_str(&w->file, ice_buf_str(&w->footer));
    ice_buf_puts(&w->file, "],\"properties\":{\"created-by\":\"" CREATED_BY "\"}}");
    size_t json = w->file.len - start - 4;
    if (json > INT32_MAX)
        return ice_fail(err, ICE_RANGE, "a Puffin footer of %zu bytes is too large", json);
    ice_buf_put_u32(&w->file, (uint32_t)json);
    ice_buf_put_u32(&w->file, 0); /* flags: the footer is not compressed */
    ice_buf_puts(&w->file, "PFA1");
    if (footer_size)
        *footer_size = (int64_t)(w->file.len - start);
    ice_buf_put_str(out, ice_buf_str(&w->file));
    ice_code rc = ice_buf_check(&w->file, err);
    return rc == ICE_OK ? ice_buf_check(out, err) : rc;
}

/* ---- reading ---- */

static ice_code blob_from(ice__json *j, const json_t *o, int64_t end, ice_blob *b)
{
    json_t *fields = NULL, *properties = NULL;
    ice_code rc;
    ICE_TRY(ice__json_is_object(j, o));
    ICE_TRY(ice__json_str(j, o, "type", true, &b->type));
    ICE_TRY(ice__json_array(j, o, "fields", true, &fields));
    ICE_TRY(ice__json_ints(j, fields, &b->fields, &b->nfields));
    ICE_TRY(ice__json_int(j, o, "snapshot-id", true, INT64_MIN, INT64_MAX, &b->snapshot_id));
    ICE_TRY(ice__json_int(j, o, "sequence-number", true, INT64_MIN, INT64_MAX, &b->sequence_number));
    ICE_TRY(ice__json_int(j, o, "offset", true, 4, end, &b->offset));
    ICE_TRY(ice__json_int(j, o, "length", true, 0, end - b->offset, &b->length));
    ICE_TRY(ice__json_str(j, o, "compression-codec", false, &b->codec));
    ICE_TRY(ice__json_object(j, o, "properties", false, &properties));
    ICE_TRY(ice__json_kv(j, properties, &b->properties, &b->nproperties));
out:
    return rc;
}

static ice_code footer_from(ice__json *j, const json_t *o, int64_t end, ice_blob **out, size_t *n)
{
    json_t *blobs = NULL;
    ice_code rc;
    ICE_TRY(ice__json_is_object(j, o));
    ICE_TRY(ice__json_array(j, o, "blobs", true, &blobs));
    *out = ICE_NEW_N(j->arena, ice_blob, json_array_size(blobs) + 1);
    if (!*out)
        return ice_fail_nomem(j->err);
    size_t at = ice__json_push_key(j, "blobs");
    for (size_t i = 0; i < json_array_size(blobs); i++) {
        size_t item = ice__json_push_index(j, i);
        ICE_TRY(blob_from(j, json_array_get(blobs, i), end, &(*out)[i]));
        ice__json_pop(j, item);
    }
    ice__json_pop(j, at);
    *n = json_array_size(blobs);
out:
    return rc;
}

/* Finds the JSON of the footer: it lies before the last 12 bytes and begins with the magic. */
static ice_code footer_text(ice_str file, ice_str *json, ice_error *err)
{
    size_t n = file.len;
    if (n < 8 + FOOTER_TAIL || memcmp(file.ptr, "PFA1", 4) != 0 || memcmp(file.ptr + n - 4, "PFA1", 4) != 0)
        return ice_fail(err, ICE_CORRUPT, "Puffin file of %zu bytes: no magic at its ends", n);
    ice_reader r = ice_reader_of((ice_str){file.ptr + n - FOOTER_TAIL, FOOTER_TAIL});
    uint32_t length = ice_read_u32(&r), flags = ice_read_u32(&r);
    if (flags & 1)
        return ice_fail(err, ICE_UNSUPPORTED, "Puffin file: its footer is compressed (LZ4)");
    if (length > n - 8 - FOOTER_TAIL || memcmp(file.ptr + n - FOOTER_TAIL - length - 4, "PFA1", 4) != 0)
        return ice_fail(err, ICE_CORRUPT, "Puffin file of %zu bytes: no footer of %u bytes in it", n, length);
    *json = (ice_str){file.ptr + n - FOOTER_TAIL - length, length};
    return ICE_OK;
}

ice_code ice_puffin_read(ice_str file, ice_arena *a, ice_blob **out, size_t *n, ice_error *err)
{
    ice__json j = {.arena = a, .err = err, .what = "Puffin footer"};
    ice_str text;
    json_t *o = NULL;
    ice_code rc;
    *out = NULL;
    *n = 0;
    ICE_TRY(footer_text(file, &text, err));
    ICE_TRY(ice__json_load(&j, text, &o));
    ICE_TRY(footer_from(&j, o, text.ptr - 4 - file.ptr, out, n));
out:
    json_decref(o);
    return rc;
}

ice_code ice_puffin_read_dv(ice_str file, ice_str what, int64_t offset, int64_t length, int64_t cardinality,
                            ice_dv **out, ice_error *err)
{
    *out = NULL;
    if (offset < 0 || length < 0 || (uint64_t)offset > file.len ||
        (uint64_t)length > file.len - (uint64_t)offset)
        return ice_fail(err, ICE_CORRUPT, "%.*s: no %lld bytes at %lld in a file of %zu", ICE_PRI(what),
                        (long long)length, (long long)offset, file.len);
    ice_code rc = ice_dv_decode((ice_str){file.ptr + offset, (size_t)length}, out, err);
    if (rc != ICE_OK) {
        ice_error_prefix(err, "%.*s at %lld", ICE_PRI(what), (long long)offset);
        return rc;
    }
    uint64_t count = ice_dv_count(*out);
    if (cardinality >= 0 && count != (uint64_t)cardinality) {
        ice_dv_free(*out);
        *out = NULL;
        return ice_fail(err, ICE_CORRUPT, "%.*s at %lld: %llu positions, where its entry says %lld",
                        ICE_PRI(what), (long long)offset, (unsigned long long)count, (long long)cardinality);
    }
    return ICE_OK;
}
