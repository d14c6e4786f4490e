#include <zlib.h>

#include "format/format_int.h"

#define NEW_ARRAY(j, dst, type, n)                                                                           \
    do {                                                                                                     \
        (dst) = ICE_NEW_N((j)->arena, type, (n) + 1);                                                        \
        if (!(dst))                                                                                          \
            return ice_fail_nomem((j)->err);                                                                 \
    } while (0)

/* A list at `key`, each of whose elements goes through `one`. */
#define EACH(j, o, key, required, arr, i)                                                                    \
    rc = ice__json_array((j), (o), (key), (required), &(arr));                                               \
    if (rc != ICE_OK)                                                                                        \
        return rc;                                                                                           \
    size_t at_list = ice__json_push_key((j), (key));                                                         \
    for (size_t i = 0; i < json_array_size(arr); i++)

static ice_code transform_from(ice__json *j, const json_t *o, int32_t *source_id, ice_str *source_ids,
                               ice_str *text, ice_transform *t)
{
    json_t *ids = NULL;
    ice_error inner = {0};
    ice_code rc;
    ICE_TRY(ice__json_str(j, o, "transform", true, text));
    if ((rc = ice_transform_parse(*text, t, &inner)) != ICE_OK)
        return ice__json_fail(j, "transform", "%s", inner.message);
    ICE_TRY(ice__json_int32(j, o, "source-id", false, source_id));
    ICE_TRY(ice__json_array(j, o, "source-ids", false, &ids));
    if (ids) {
        if (json_array_size(ids) != 1 || json_object_get(o, "source-id")) {
            ICE_TRY(ice__json_raw(j, ids, source_ids));
            t->kind = ICE_TR_UNKNOWN; /* no multi-argument transform is defined yet */
        } else {
            *source_id = (int32_t)json_integer_value(json_array_get(ids, 0));
        }
    } else if (!json_object_get(o, "source-id")) {
        return ice__json_fail(j, "source-id", "is missing");
    }
out:
    return rc;
}

ice_code ice__spec_fields_from(ice__json *j, const json_t *arr, ice_partition_field **out, size_t *n)
{
    ice_code rc;
    size_t count = json_array_size(arr);
    NEW_ARRAY(j, *out, ice_partition_field, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *o = json_array_get(arr, i);
        ice_partition_field *f = &(*out)[i];
        size_t at = ice__json_push_index(j, i);
        ICE_TRY(ice__json_is_object(j, o));
        f->field_id = 1000 + (int32_t)i; /* v1 did not write it and counted so */
        ICE_TRY(ice__json_int32(j, o, "field-id", false, &f->field_id));
        ICE_TRY(ice__json_str(j, o, "name", true, &f->name));
        ICE_TRY(transform_from(j, o, &f->source_id, &f->source_ids_json, &f->transform_text, &f->transform));
        ice__json_pop(j, at);
    }
    *n = count;
    rc = ICE_OK;
out:
    return rc;
}

static ice_code spec_from(ice__json *j, const json_t *o, ice_partition_spec *s)
{
    json_t *fields = NULL;
    ice_code rc;
    ICE_TRY(ice__json_is_object(j, o));
    ICE_TRY(ice__json_int32(j, o, "spec-id", true, &s->spec_id));
    ICE_TRY(ice__json_array(j, o, "fields", true, &fields));
    size_t at = ice__json_push_key(j, "fields");
    ICE_TRY(ice__spec_fields_from(j, fields, &s->fields, &s->nfields));
    ice__json_pop(j, at);
out:
    return rc;
}

static ice_code sort_field_from(ice__json *j, const json_t *o, ice_sort_field *f)
{
    ice_str direction = {0}, nulls = {0};
    ice_code rc;
    ICE_TRY(ice__json_is_object(j, o));
    ICE_TRY(transform_from(j, o, &f->source_id, &f->source_ids_json, &f->transform_text, &f->transform));
    ICE_TRY(ice__json_str(j, o, "direction", true, &direction));
    ICE_TRY(ice__json_str(j, o, "null-order", true, &nulls));
    f->descending = ice_str_ieq(direction, ICE_STR("desc"));
    f->nulls_last = ice_str_ieq(nulls, ICE_STR("nulls-last"));
    if (!f->descending && !ice_str_ieq(direction, ICE_STR("asc")))
        return ice__json_fail(j, "direction", "\"asc\" or \"desc\" is expected");
    if (!f->nulls_last && !ice_str_ieq(nulls, ICE_STR("nulls-first")))
        return ice__json_fail(j, "null-order", "\"nulls-first\" or \"nulls-last\" is expected");
out:
    return rc;
}

static ice_code order_from(ice__json *j, const json_t *o, ice_sort_order *s)
{
    json_t *fields = NULL;
    ice_code rc;
    ICE_TRY(ice__json_is_object(j, o));
    ICE_TRY(ice__json_int32(j, o, "order-id", true, &s->order_id));
    EACH(j, o, "fields", true, fields, i)
    {
        if (i == 0)
            NEW_ARRAY(j, s->fields, ice_sort_field, json_array_size(fields));
        size_t at = ice__json_push_index(j, i);
        ICE_TRY(sort_field_from(j, json_array_get(fields, i), &s->fields[i]));
        ice__json_pop(j, at);
    }
    ice__json_pop(j, at_list);
    s->nfields = json_array_size(fields);
out:
    return rc;
}

static ice_code snapshot_from(ice__json *j, const json_t *o, int version, ice_snapshot *s)
{
    json_t *summary = NULL;
    ice_code rc;
    *s = (ice_snapshot){
        .parent_id = ICE_UNSET, .schema_id = -1, .first_row_id = ICE_UNSET, .added_rows = ICE_UNSET};
    ICE_TRY(ice__json_is_object(j, o));
    ICE_TRY(ice__json_int(j, o, "snapshot-id", true, 0, INT64_MAX, &s->id));
    ICE_TRY(ice__json_int(j, o, "parent-snapshot-id", false, INT64_MIN, INT64_MAX, &s->parent_id));
    ICE_TRY(ice__json_int(j, o, "sequence-number", version > 1, 0, INT64_MAX, &s->sequence_number));
    ICE_TRY(ice__json_int(j, o, "timestamp-ms", true, 0, INT64_MAX, &s->timestamp_ms));
    ICE_TRY(ice__json_str(j, o, "manifest-list", version > 1, &s->manifest_list));
    ICE_TRY(ice__json_object(j, o, "summary", false, &summary));
    if (summary) {
        size_t at = ice__json_push_key(j, "summary");
        ICE_TRY(ice__json_kv(j, summary, &s->summary, &s->nsummary));
        ice__json_pop(j, at);
    }
    ICE_TRY(ice__json_int32(j, o, "schema-id", false, &s->schema_id));
    ICE_TRY(ice__json_int(j, o, "first-row-id", false, 0, INT64_MAX, &s->first_row_id));
    ICE_TRY(ice__json_int(j, o, "added-rows", false, 0, INT64_MAX, &s->added_rows));
    ICE_TRY(ice__json_str(j, o, "key-id", false, &s->key_id));
    if (s->parent_id < 0)
        s->parent_id = ICE_UNSET;
out:
    return rc;
}

static ice_code schemas_from(ice__json *j, const json_t *o, ice_metadata *m)
{
    json_t *arr = NULL;
    ice_code rc;
    EACH(j, o, "schemas", m->format_version > 1, arr, i)
    {
        if (i == 0)
            NEW_ARRAY(j, m->schemas, ice_schema, json_array_size(arr));
        size_t at = ice__json_push_index(j, i);
        ICE_TRY(ice__schema_from(j, json_array_get(arr, i), &m->schemas[i]));
        ice__json_pop(j, at);
    }
    ice__json_pop(j, at_list);
    m->nschemas = json_array_size(arr);
    ICE_TRY(ice__json_int32(j, o, "current-schema-id", m->format_version > 1, &m->current_schema_id));
    if (m->nschemas)
        return ICE_OK;
    json_t *single = NULL; /* v1 */
    ICE_TRY(ice__json_object(j, o, "schema", true, &single));
    NEW_ARRAY(j, m->schemas, ice_schema, 1);
    size_t at = ice__json_push_key(j, "schema");
    ICE_TRY(ice__schema_from(j, single, &m->schemas[0]));
    ice__json_pop(j, at);
    m->nschemas = 1;
    m->current_schema_id = m->schemas[0].schema_id;
out:
    return rc;
}

static ice_code specs_from(ice__json *j, const json_t *o, ice_metadata *m)
{
    json_t *arr = NULL;
    ice_code rc;
    EACH(j, o, "partition-specs", m->format_version > 1, arr, i)
    {
        if (i == 0)
            NEW_ARRAY(j, m->specs, ice_partition_spec, json_array_size(arr));
        size_t at = ice__json_push_index(j, i);
        ICE_TRY(spec_from(j, json_array_get(arr, i), &m->specs[i]));
        ice__json_pop(j, at);
    }
    ice__json_pop(j, at_list);
    m->nspecs = json_array_size(arr);
    ICE_TRY(ice__json_int32(j, o, "default-spec-id", m->format_version > 1, &m->default_spec_id));
    if (m->nspecs == 0) { /* v1 */
        ICE_TRY(ice__json_array(j, o, "partition-spec", true, &arr));
        NEW_ARRAY(j, m->specs, ice_partition_spec, 1);
        size_t at = ice__json_push_key(j, "partition-spec");
        ICE_TRY(ice__spec_fields_from(j, arr, &m->specs[0].fields, &m->specs[0].nfields));
        ice__json_pop(j, at);
        m->nspecs = 1;
        m->default_spec_id = 0;
    }
    m->last_partition_id = 999;
    for (size_t s = 0; s < m->nspecs; s++)
        for (size_t f = 0; f < m->specs[s].nfields; f++)
            if (m->specs[s].fields[f].field_id > m->last_partition_id)
                m->last_partition_id = m->specs[s].fields[f].field_id;
    ICE_TRY(ice__json_int32(j, o, "last-partition-id", m->format_version > 1, &m->last_partition_id));
out:
    return rc;
}

static ice_code orders_from(ice__json *j, const json_t *o, ice_metadata *m)
{
    json_t *arr = NULL;
    ice_code rc;
    EACH(j, o, "sort-orders", m->format_version > 1, arr, i)
    {
        if (i == 0)
            NEW_ARRAY(j, m->orders, ice_sort_order, json_array_size(arr));
        size_t at = ice__json_push_index(j, i);
        ICE_TRY(order_from(j, json_array_get(arr, i), &m->orders[i]));
        ice__json_pop(j, at);
    }
    ice__json_pop(j, at_list);
    m->norders = json_array_size(arr);
    ICE_TRY(ice__json_int32(j, o, "default-sort-order-id", m->format_version > 1, &m->default_sort_order_id));
    if (m->norders == 0) {
        NEW_ARRAY(j, m->orders, ice_sort_order, 1);
        m->norders = 1;
        m->default_sort_order_id = 0;
    }
out:
    return rc;
}

static ice_code snapshots_from(ice__json *j, const json_t *o, ice_metadata *m)
{
    json_t *arr = NULL;
    ice_code rc;
    EACH(j, o, "snapshots", false, arr, i)
    {
        if (i == 0)
            NEW_ARRAY(j, m->snapshots, ice_snapshot, json_array_size(arr));
        size_t at = ice__json_push_index(j, i);
        ICE_TRY(snapshot_from(j, json_array_get(arr, i), m->format_version, &m->snapshots[i]));
        ice__json_pop(j, at);
    }
    ice__json_pop(j, at_list);
    m->nsnapshots = json_array_size(arr);
    ICE_TRY(ice__json_int(j, o, "current-snapshot-id", false, -1, INT64_MAX, &m->current_snapshot_id));
out:
    return rc;
}

static ice_code ref_from(ice__json *j, const json_t *o, const char *name, ice_meta_ref *r)
{
    ice_str type = {0};
    ice_code rc;
    *r = (ice_meta_ref){
        .min_snapshots_to_keep = ICE_UNSET, .max_snapshot_age_ms = ICE_UNSET, .max_ref_age_ms = ICE_UNSET};
    r->name = ice_arena_str(j->arena, ice_str_c(name));
    if (!r->name.ptr)
        return ice_fail_nomem(j->err);
    ICE_TRY(ice__json_is_object(j, o));
    ICE_TRY(ice__json_int(j, o, "snapshot-id", true, 0, INT64_MAX, &r->snapshot_id));
    ICE_TRY(ice__json_str(j, o, "type", true, &type));
    ICE_TRY(ice__json_int(j, o, "min-snapshots-to-keep", false, 1, INT32_MAX, &r->min_snapshots_to_keep));
    ICE_TRY(ice__json_int(j, o, "max-snapshot-age-ms", false, 1, INT64_MAX, &r->max_snapshot_age_ms));
    ICE_TRY(ice__json_int(j, o, "max-ref-age-ms", false, 1, INT64_MAX, &r->max_ref_age_ms));
    r->tag = ice_str_ieq(type, ICE_STR("tag"));
    if (!r->tag && !ice_str_ieq(type, ICE_STR("branch")))
        return ice__json_fail(j, "type", "\"branch\" or \"tag\" is expected");
out:
    return rc;
}

static ice_code refs_from(ice__json *j, const json_t *o, ice_metadata *m)
{
    json_t *refs = NULL, *v;
    const char *name;
    ice_code rc;
    ICE_TRY(ice__json_object(j, o, "refs", false, &refs));
    NEW_ARRAY(j, m->refs, ice_meta_ref, json_object_size(refs) + 1);
    size_t at = ice__json_push_key(j, "refs");
    bool main_seen = false;
    json_object_foreach(refs, name, v)
    {
        size_t item = ice__json_push_key(j, name);
        ICE_TRY(ref_from(j, v, name, &m->refs[m->nrefs]));
        ice__json_pop(j, item);
        if (ice_str_eqc(m->refs[m->nrefs].name, "main")) {
            main_seen = true;
            m->current_snapshot_id =
                m->current_snapshot_id >= 0 ? m->current_snapshot_id : m->refs[m->nrefs].snapshot_id;
        }
        m->nrefs++;
    }
    ice__json_pop(j, at);
    if (!main_seen && m->current_snapshot_id >= 0)
        m->refs[m->nrefs++] =
            (ice_meta_ref){ICE_STR("main"), m->current_snapshot_id, false, ICE_UNSET, ICE_UNSET, ICE_UNSET};
    return ICE_OK;
out:
    return rc;
}

static ice_code log_from(ice__json *j, const json_t *o, const char *key, bool files, ice_log_entry **out,
                         size_t *n)
{
    json_t *arr = NULL;
    ice_code rc;
    EACH(j, o, key, false, arr, i)
    {
        if (i == 0)
            NEW_ARRAY(j, *out, ice_log_entry, json_array_size(arr));
        const json_t *e = json_array_get(arr, i);
        size_t at = ice__json_push_index(j, i);
        ICE_TRY(ice__json_is_object(j, e));
        ICE_TRY(ice__json_int(j, e, "timestamp-ms", true, 0, INT64_MAX, &(*out)[i].timestamp_ms));
        if (files)
            ICE_TRY(ice__json_str(j, e, "metadata-file", true, &(*out)[i].file));
        else
            ICE_TRY(ice__json_int(j, e, "snapshot-id", true, 0, INT64_MAX, &(*out)[i].snapshot_id));
        ice__json_pop(j, at);
    }
    ice__json_pop(j, at_list);
    *n = json_array_size(arr);
out:
    return rc;
}

static ice_code statistics_from(ice__json *j, const json_t *o, const char *key, ice_statistics **out,
                                size_t *n)
{
    json_t *arr = NULL;
    ice_code rc;
    EACH(j, o, key, false, arr, i)
    {
        if (i == 0)
            NEW_ARRAY(j, *out, ice_statistics, json_array_size(arr));
        const json_t *e = json_array_get(arr, i);
        size_t at = ice__json_push_index(j, i);
        ICE_TRY(ice__json_is_object(j, e));
        ICE_TRY(ice__json_int(j, e, "snapshot-id", true, 0, INT64_MAX, &(*out)[i].snapshot_id));
        ICE_TRY(ice__json_raw(j, e, &(*out)[i].json));
        ice__json_pop(j, at);
    }
    ice__json_pop(j, at_list);
    *n = json_array_size(arr);
out:
    return rc;
}

/* What the ids refer to must be there: the rest of the system looks things up without asking again. */
static ice_code check_references(ice__json *j, const ice_metadata *m)
{
    if (!ice_metadata_current_schema(m))
        return ice__json_fail(j, "current-schema-id", "no schema has the id %d", m->current_schema_id);
    if (!ice_metadata_spec(m, m->default_spec_id))
        return ice__json_fail(j, "default-spec-id", "no partition spec has the id %d", m->default_spec_id);
    if (m->current_snapshot_id >= 0 && !ice_metadata_current_snapshot(m))
        return ice__json_fail(j, "current-snapshot-id", "no snapshot has the id %lld",
                              (long long)m->current_snapshot_id);
    for (size_t i = 0; i < m->nrefs; i++)
        if (!ice_metadata_snapshot(m, m->refs[i].snapshot_id))
            return ice__json_fail(j, "refs", "\"%.*s\" refers to a snapshot that is not there",
                                  ICE_PRI(m->refs[i].name));
    for (size_t i = 0; i < m->nsnapshots; i++)
        if (m->snapshots[i].sequence_number > m->last_sequence_number)
            return ice__json_fail(j, "snapshots",
                                  "snapshot %lld has a sequence number above last-sequence-number",
                                  (long long)m->snapshots[i].id);
    return ICE_OK;
}

static ice_code identity_from(ice__json *j, const json_t *o, ice_metadata *m)
{
    ice_str uuid = {0};
    ice_code rc;
    bool v2 = m->format_version > 1;
    ICE_TRY(ice__json_str(j, o, "table-uuid", v2, &uuid));
    m->has_uuid = uuid.ptr != NULL;
    if (m->has_uuid && !ice_uuid_parse(uuid, &m->uuid))
        return ice__json_fail(j, "table-uuid", "\"%.*s\" is no UUID", ICE_PRI(uuid));
    ICE_TRY(ice__json_str(j, o, "location", true, &m->location));
    while (m->location.len > 1 && m->location.ptr[m->location.len - 1] == '/')
        m->location.len--;
    ICE_TRY(ice__json_int(j, o, "last-sequence-number", v2, 0, INT64_MAX - 1, &m->last_sequence_number));
    ICE_TRY(ice__json_int(j, o, "last-updated-ms", true, 0, INT64_MAX, &m->last_updated_ms));
    ICE_TRY(ice__json_int32(j, o, "last-column-id", true, &m->last_column_id));
    ICE_TRY(ice__json_int(j, o, "next-row-id", m->format_version > 2, 0, INT64_MAX, &m->next_row_id));
out:
    return rc;
}

static ice_code metadata_from(ice__json *j, const json_t *o, ice_metadata *m)
{
    int64_t version = 0;
    json_t *properties = NULL, *keys = NULL;
    ice_code rc;
    ICE_TRY(ice__json_is_object(j, o));
    ICE_TRY(ice__json_int(j, o, "format-version", true, 1, INT32_MAX, &version));
    if (version > 3)
        return ice_fail(j->err, ICE_UNSUPPORTED,
                        "table metadata: format version %lld; versions 1 to 3 are read", (long long)version);
    m->format_version = (int)version;
    ICE_TRY(identity_from(j, o, m));
    ICE_TRY(schemas_from(j, o, m));
    ICE_TRY(specs_from(j, o, m));
    ICE_TRY(orders_from(j, o, m));
    ICE_TRY(ice__json_object(j, o, "properties", false, &properties));
    size_t at = ice__json_push_key(j, "properties");
    ICE_TRY(ice__json_kv(j, properties, &m->properties, &m->nproperties));
    ice__json_pop(j, at);
    ICE_TRY(snapshots_from(j, o, m));
    ICE_TRY(refs_from(j, o, m));
    ICE_TRY(log_from(j, o, "snapshot-log", false, &m->snapshot_log, &m->nsnapshot_log));
    ICE_TRY(log_from(j, o, "metadata-log", true, &m->metadata_log, &m->nmetadata_log));
    ICE_TRY(statistics_from(j, o, "statistics", &m->statistics, &m->nstatistics));
    ICE_TRY(
        statistics_from(j, o, "partition-statistics", &m->partition_statistics, &m->npartition_statistics));
    ICE_TRY(ice__json_array(j, o, "encryption-keys", false, &keys));
    if (keys)
        ICE_TRY(ice__json_raw(j, keys, &m->encryption_keys_json));
    ICE_TRY(check_references(j, m));
out:
    return rc;
}

/* gzip (RFC 1952), as ".gz.metadata.json" files have it. */
static ice_code gunzip(ice_str in, ice_buf *out, ice_error *err)
{
    z_stream z = {.next_in = (Bytef *)in.ptr, .avail_in = (uInt)in.len};
    int state = Z_OK;
    if (in.len > ICE_METADATA_MAX || inflateInit2(&z, 15 + 16) != Z_OK)
        return ice_fail(err, ICE_CORRUPT, "table metadata: %zu bytes of gzip are too many", in.len);
    while (state == Z_OK && out->len <= ICE_METADATA_MAX) {
        size_t room = 256 << 10;
        z.next_out = (Bytef *)ice_buf_reserve(out, room);
        if (!z.next_out)
            break;
        z.avail_out = (uInt)room;
        state = inflate(&z, Z_NO_FLUSH);
        out->len += room - z.avail_out;
        if (state == Z_OK && z.avail_in == 0 && z.avail_out > 0)
            state = Z_DATA_ERROR; /* cut off */
    }
    inflateEnd(&z);
    if (out->failed)
        return ice_fail_nomem(err);
    return state == Z_STREAM_END ? ICE_OK
                                 : ice_fail(err, ICE_CORRUPT, "table metadata: bad or too large gzip data");
}

ice_code ice_metadata_parse(ice_str bytes, ice_arena *a, ice_metadata **out, ice_error *err)
{
    ice__json j = {.arena = a, .err = err, .what = "table metadata"};
    ice_buf plain = {0};
    json_t *o = NULL;
    ice_code rc;
    ice_metadata *m = ICE_NEW(a, ice_metadata);
    *out = NULL;
    if (!m)
        return ice_fail_nomem(err);
    m->arena = a;
    m->current_snapshot_id = ICE_UNSET;
    if (bytes.len > 2 && memcmp(bytes.ptr, "\x1f\x8b", 2) == 0) {
        ICE_TRY(gunzip(bytes, &plain, err));
        bytes = ice_buf_str(&plain);
    }
    ICE_TRY(ice_metadata_seal_check(bytes, err));
    ICE_TRY(ice__json_load(&j, bytes, &o));
    ICE_TRY(metadata_from(&j, o, m));
    *out = m;
out:
    json_decref(o);
    ice_buf_free(&plain);
    return rc;
}
