#include <stdio.h>

#include "format/format_int.h"

static void put_int(ice_buf *b, const char *key, int64_t v)
{
    ice__put_json_key(b, key, false);
    ice_buf_printf(b, "%lld", (long long)v);
}

static void put_optional(ice_buf *b, const char *key, int64_t v)
{
    if (v >= 0)
        put_int(b, key, v);
}

static void put_str(ice_buf *b, const char *key, ice_str s)
{
    ice__put_json_key(b, key, false);
    ice__put_json_str(b, s);
}

static void put_transform(ice_buf *b, ice_transform t, ice_str text, int32_t source_id, ice_str source_ids)
{
    char name[32];
    ice_transform_text(t, name);
    ice__put_json_key(b, "transform", true);
    ice__put_json_str(b, text.ptr ? text : ice_str_c(name));
    if (source_ids.ptr) {
        ice__put_json_key(b, "source-ids", false);
        ice_buf_put_str(b, source_ids);
    } else {
        put_int(b, "source-id", source_id);
    }
}

void ice__put_spec_fields(ice_buf *b, const ice_partition_spec *s)
{
    ice_buf_put_u8(b, '[');
    for (size_t i = 0; i < s->nfields; i++) {
        const ice_partition_field *f = &s->fields[i];
        ice_buf_puts(b, i ? ",{" : "{");
        put_transform(b, f->transform, f->transform_text, f->source_id, f->source_ids_json);
        put_int(b, "field-id", f->field_id);
        put_str(b, "name", f->name);
        ice_buf_put_u8(b, '}');
    }
    ice_buf_put_u8(b, ']');
}

static void put_specs(ice_buf *b, const ice_metadata *m)
{
    ice__put_json_key(b, "partition-specs", false);
    ice_buf_put_u8(b, '[');
    for (size_t i = 0; i < m->nspecs; i++) {
        ice_buf_printf(b, "%s{\"spec-id\":%d,\"fields\":", i ? "," : "", m->specs[i].spec_id);
        ice__put_spec_fields(b, &m->specs[i]);
        ice_buf_put_u8(b, '}');
    }
    ice_buf_put_u8(b, ']');
}

static void put_orders(ice_buf *b, const ice_metadata *m)
{
    ice__put_json_key(b, "sort-orders", false);
    ice_buf_put_u8(b, '[');
    for (size_t i = 0; i < m->norders; i++) {
        const ice_sort_order *o = &m->orders[i];
        ice_buf_printf(b, "%s{\"order-id\":%d,\"fields\":[", i ? "," : "", o->order_id);
        for (size_t k = 0; k < o->nfields; k++) {
            const ice_sort_field *f = &o->fields[k];
            ice_buf_puts(b, k ? ",{" : "{");
            put_transform(b, f->transform, f->transform_text, f->source_id, f->source_ids_json);
            put_str(b, "direction", ice_str_c(f->descending ? "desc" : "asc"));
            put_str(b, "null-order", ice_str_c(f->nulls_last ? "nulls-last" : "nulls-first"));
            ice_buf_put_u8(b, '}');
        }
        ice_buf_puts(b, "]}");
    }
    ice_buf_put_u8(b, ']');
}

static ice_code put_schemas(ice_buf *b, const ice_metadata *m, ice_error *err)
{
    ice__put_json_key(b, "schemas", false);
    ice_buf_put_u8(b, '[');
    for (size_t i = 0; i < m->nschemas; i++) {
        if (i)
            ice_buf_put_u8(b, ',');
        ice_code rc = ice_schema_to_json(&m->schemas[i], b, err);
        if (rc != ICE_OK)
            return rc;
    }
    ice_buf_put_u8(b, ']');
    return ICE_OK;
}

static void put_snapshot(ice_buf *b, const ice_snapshot *s)
{
    ice_buf_printf(b, "{\"snapshot-id\":%lld", (long long)s->id);
    put_optional(b, "parent-snapshot-id", s->parent_id);
    put_int(b, "sequence-number", s->sequence_number);
    put_int(b, "timestamp-ms", s->timestamp_ms);
    put_str(b, "manifest-list", s->manifest_list);
    ice__put_json_key(b, "summary", false);
    ice__put_json_kv(b, s->summary, s->nsummary);
    put_optional(b, "schema-id", s->schema_id);
    put_optional(b, "first-row-id", s->first_row_id);
    put_optional(b, "added-rows", s->added_rows);
    if (s->key_id.ptr)
        put_str(b, "key-id", s->key_id);
    ice_buf_put_u8(b, '}');
}

static void put_snapshots(ice_buf *b, const ice_metadata *m)
{
    ice__put_json_key(b, "snapshots", false);
    for (size_t i = 0; i < m->nsnapshots; i++) {
        ice_buf_put_u8(b, i ? ',' : '[');
        put_snapshot(b, &m->snapshots[i]);
    }
    ice_buf_puts(b, m->nsnapshots ? "]" : "[]");
}

static void put_refs(ice_buf *b, const ice_metadata *m)
{
    ice__put_json_key(b, "refs", false);
    ice_buf_put_u8(b, '{');
    for (size_t i = 0; i < m->nrefs; i++) {
        const ice_meta_ref *r = &m->refs[i];
        if (i)
            ice_buf_put_u8(b, ',');
        ice__put_json_str(b, r->name);
        ice_buf_printf(b, ":{\"snapshot-id\":%lld", (long long)r->snapshot_id);
        put_str(b, "type", ice_str_c(r->tag ? "tag" : "branch"));
        put_optional(b, "min-snapshots-to-keep", r->min_snapshots_to_keep);
        put_optional(b, "max-snapshot-age-ms", r->max_snapshot_age_ms);
        put_optional(b, "max-ref-age-ms", r->max_ref_age_ms);
        ice_buf_put_u8(b, '}');
    }
    ice_buf_put_u8(b, '}');
}

static void put_logs(ice_buf *b, const ice_metadata *m)
{
    ice__put_json_key(b, "snapshot-log", false);
    ice_buf_put_u8(b, '[');
    for (size_t i = 0; i < m->nsnapshot_log; i++)
        ice_buf_printf(b, "%s{\"timestamp-ms\":%lld,\"snapshot-id\":%lld}", i ? "," : "",
                       (long long)m->snapshot_log[i].timestamp_ms, (long long)m->snapshot_log[i].snapshot_id);
    ice_buf_put_u8(b, ']');
    ice__put_json_key(b, "metadata-log", false);
    ice_buf_put_u8(b, '[');
    for (size_t i = 0; i < m->nmetadata_log; i++) {
        ice_buf_printf(b, "%s{\"timestamp-ms\":%lld", i ? "," : "",
                       (long long)m->metadata_log[i].timestamp_ms);
        put_str(b, "metadata-file", m->metadata_log[i].file);
        ice_buf_put_u8(b, '}');
    }
    ice_buf_put_u8(b, ']');
}

static void put_statistics(ice_buf *b, const char *key, const ice_statistics *s, size_t n)
{
    if (n == 0)
        return;
    ice__put_json_key(b, key, false);
    for (size_t i = 0; i < n; i++) {
        ice_buf_put_u8(b, i ? ',' : '[');
        ice_buf_put_str(b, s[i].json);
    }
    ice_buf_put_u8(b, ']');
}

ice_code ice_metadata_to_json(const ice_metadata *m, ice_buf *out, ice_error *err)
{
    char uuid[37];
    ice_code rc;
    size_t from = out->len;
    if (m->format_version != 3 || !m->has_uuid)
        return ice_fail(err, ICE_MISUSE, "table metadata of version %d is not written; upgrade it",
                        m->format_version);
    ice_uuid_text(m->uuid, uuid);
    ice_buf_puts(out, "{\"format-version\":3");
    put_str(out, "table-uuid", ice_str_c(uuid));
    put_str(out, "location", m->location);
    put_int(out, "last-sequence-number", m->last_sequence_number);
    put_int(out, "last-updated-ms", m->last_updated_ms);
    put_int(out, "last-column-id", m->last_column_id);
    put_int(out, "current-schema-id", m->current_schema_id);
    ICE_TRY(put_schemas(out, m, err));
    put_int(out, "default-spec-id", m->default_spec_id);
    put_specs(out, m);
    put_int(out, "last-partition-id", m->last_partition_id);
    put_int(out, "default-sort-order-id", m->default_sort_order_id);
    put_orders(out, m);
    ice__put_json_key(out, "properties", false);
    ice__put_json_kv(out, m->properties, m->nproperties);
    put_optional(out, "current-snapshot-id", m->current_snapshot_id);
    put_int(out, "next-row-id", m->next_row_id);
    put_refs(out, m);
    put_snapshots(out, m);
    put_statistics(out, "statistics", m->statistics, m->nstatistics);
    put_statistics(out, "partition-statistics", m->partition_statistics, m->npartition_statistics);
    if (m->encryption_keys_json.ptr) {
        ice__put_json_key(out, "encryption-keys", false);
        ice_buf_put_str(out, m->encryption_keys_json);
    }
    put_logs(out, m);
    ICE_TRY(ice_metadata_seal(out, from, err));
    if (!ice_utf8_valid((ice_str){out->data + from, out->len - from}))
        rc = ice_fail(err, ICE_BAD_VALUE, "table metadata: a name, property or location is no valid UTF-8");
out:
    return rc;
}

#define SEAL_BEFORE ",\"django-iceberg.xxh3\":\""
#define SEAL_AFTER "\"}"

ice_code ice_metadata_seal(ice_buf *json, size_t from, ice_error *err)
{
    ice_buf_puts(json, SEAL_BEFORE ICE_SEAL_BLANK SEAL_AFTER);
    ice_code rc = ice_buf_check(json, err);
    if (rc == ICE_OK)
        ice_seal(json->data + from, json->len - from, json->len - from - strlen(ICE_SEAL_BLANK SEAL_AFTER));
    return rc;
}

ice_code ice_metadata_seal_check(ice_str bytes, ice_error *err)
{
    size_t at;
    if (ice_seal_at_end(bytes, SEAL_BEFORE, SEAL_AFTER, &at) && !ice_seal_holds(bytes, at))
        return ice_fail(err, ICE_CORRUPT, "metadata: its checksum is not that of its bytes");
    return ICE_OK;
}

ice_code ice_metadata_location(ice_arena *a, ice_str table_location, int64_t n, ice_uuid u, ice_str *out,
                               ice_error *err)
{
    char uuid[37];
    ice_uuid_text(u, uuid);
    *out = ice_str_c(ice_arena_printf(a, "%.*s/metadata/%05lld-%s.metadata.json", ICE_PRI(table_location),
                                      (long long)n, uuid));
    return out->ptr ? ICE_OK : ice_fail_nomem(err);
}

int64_t ice_metadata_version_of(ice_str location)
{
    size_t from = location.len;
    int64_t n = 0;
    while (from > 0 && location.ptr[from - 1] != '/')
        from--;
    if (from < location.len && location.ptr[from] == 'v')
        from++;
    size_t i = from;
    for (; i < location.len && i - from < 18 && location.ptr[i] >= '0' && location.ptr[i] <= '9'; i++)
        n = n * 10 + (location.ptr[i] - '0');
    bool ends = i < location.len && (location.ptr[i] == '-' || location.ptr[i] == '.');
    return i > from && ends ? n : -1;
}
