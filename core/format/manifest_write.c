#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/manifest_int.h"

struct ice_manifest_writer {
    ice_arena *arena;
    ice_avro_writer *avro;
    const ice_partition_spec *spec;
    ice_type *types;       /* of the partition values */
    ice_value *low, *high; /* of the partition values; null: none yet */
    ice_field_summary *partitions;
    bool deletes;
    int64_t snapshot_id;
    size_t count, bytes;
    int64_t files[3], rows[3]; /* by status */
    int64_t min_sequence;      /* of live entries that carry one */
};

ice_data_file ice_data_file_init(void)
{
    return (ice_data_file){.sort_order_id = -1,
                           .first_row_id = ICE_UNSET,
                           .content_offset = ICE_UNSET,
                           .content_size = ICE_UNSET};
}

const ice_file_column *ice_data_file_column(const ice_data_file *f, int32_t field_id)
{
    size_t low = 0, high = f->ncolumns;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (f->columns[mid].field_id == field_id)
            return &f->columns[mid];
        if (f->columns[mid].field_id < field_id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* ---- schemas ---- */

static void put_field(ice_buf *b, const char *name, int id, const char *type, bool optional)
{
    if (b->len && b->data[b->len - 1] == '}')
        ice_buf_put_u8(b, ',');
    ice_buf_printf(b,
                   optional ? "{\"name\":\"%s\",\"field-id\":%d,\"type\":[\"null\",%s],\"default\":null}"
                            : "{\"name\":\"%s\",\"field-id\":%d,\"type\":%s}",
                   name, id, type);
}

/* Iceberg's map with integer keys: an array of key-value records. */
static void put_map(ice_buf *b, const char *name, int id, int key, int value, const char *type)
{
    char text[320];
    snprintf(text, sizeof text,
             "{\"type\":\"array\",\"logicalType\":\"map\",\"items\":{\"type\":\"record\",\"name\":\"k%d_v%"
             "d\",\"fields\":"
             "[{\"name\":\"key\",\"type\":\"int\",\"field-id\":%d},{\"name\":\"value\",\"type\":%s,\"field-"
             "id\":%d}]}}",
             key, value, key, type, value);
    put_field(b, name, id, text, true);
}

static void put_list(ice_buf *b, const char *name, int id, int element, const char *type)
{
    char text[96];
    snprintf(text, sizeof text, "{\"type\":\"array\",\"items\":%s,\"element-id\":%d}", type, element);
    put_field(b, name, id, text, true);
}

static unsigned decimal_width(unsigned precision)
{
    return (unsigned)ceil((precision * 3.3219280948873623 + 1) / 8); /* log2(10) bits a digit, and the sign */
}

static void avro_type(ice_type t, int field_id, char out[192])
{
    static const char *const plain[] = {
        [ICE_T_BOOL] = "\"boolean\"",
        [ICE_T_INT] = "\"int\"",
        [ICE_T_LONG] = "\"long\"",
        [ICE_T_FLOAT] = "\"float\"",
        [ICE_T_DOUBLE] = "\"double\"",
        [ICE_T_STRING] = "\"string\"",
        [ICE_T_BINARY] = "\"bytes\"",
        [ICE_T_DATE] = "{\"type\":\"int\",\"logicalType\":\"date\"}",
        [ICE_T_TIME] = "{\"type\":\"long\",\"logicalType\":\"time-micros\"}",
        [ICE_T_TIMESTAMP] =
            "{\"type\":\"long\",\"logicalType\":\"timestamp-micros\",\"adjust-to-utc\":false}",
        [ICE_T_TIMESTAMPTZ] =
            "{\"type\":\"long\",\"logicalType\":\"timestamp-micros\",\"adjust-to-utc\":true}",
    };
    /* Names of fixed types must differ within a schema; nobody reads them. */
    if (t.kind == ICE_T_DECIMAL)
        snprintf(
            out, 192,
            "{\"type\":\"fixed\",\"name\":\"f%d\",\"size\":%u,\"logicalType\":\"decimal\",\"precision\":%u,"
            "\"scale\":%u}",
            field_id, decimal_width(t.precision), t.precision, t.scale);
    else if (t.kind == ICE_T_UUID)
        snprintf(out, 192, "{\"type\":\"fixed\",\"name\":\"f%d\",\"size\":16,\"logicalType\":\"uuid\"}",
                 field_id);
    else if (t.kind == ICE_T_FIXED)
        snprintf(out, 192, "{\"type\":\"fixed\",\"name\":\"f%d\",\"size\":%u}", field_id, t.length);
    else
        snprintf(out, 192, "%s", plain[t.kind]);
}

static bool name_char(char c, bool first)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (!first && c >= '0' && c <= '9');
}

/* Avro names are ASCII words; other names are spelled out, as Iceberg's Java library does, and kept beside.
 */
static void put_partition_field(ice_buf *b, const ice_partition_field *f, ice_type t)
{
    char type[192];
    bool clean = f->name.len > 0;
    avro_type(t, f->field_id, type);
    ice_buf_puts(b, "{\"name\":\"");
    for (size_t i = 0; i < f->name.len; i++) {
        char c = f->name.ptr[i];
        bool ok = name_char(c, i == 0);
        clean = clean && ok;
        if (ok)
            ice_buf_put_u8(b, (uint8_t)c);
        else if (i == 0 && c >= '0' && c <= '9')
            ice_buf_printf(b, "_%c", c);
        else
            ice_buf_printf(b, "_x%X", (uint8_t)c);
    }
    ice_buf_puts(b, f->name.len ? "\"" : "_\"");
    if (!clean) {
        ice__put_json_key(b, "iceberg-field-name", false);
        ice__put_json_str(b, f->name);
    }
    ice_buf_printf(b, ",\"field-id\":%d,\"type\":[\"null\",%s],\"default\":null}", f->field_id, type);
}

static void put_data_file_schema(ice_buf *b, const ice_partition_spec *spec, const ice_type *types)
{
    ice_buf_puts(b, "{\"type\":\"record\",\"name\":\"r2\",\"fields\":[");
    put_field(b, "content", FID_CONTENT, "\"int\"", false);
    put_field(b, "file_path", FID_FILE_PATH, "\"string\"", false);
    put_field(b, "file_format", FID_FILE_FORMAT, "\"string\"", false);
    ice_buf_printf(b,
                   ",{\"name\":\"partition\",\"field-id\":%d,\"type\":{\"type\":\"record\",\"name\":\"r102\","
                   "\"fields\":[",
                   FID_PARTITION);
    for (size_t i = 0; i < spec->nfields; i++) {
        if (i)
            ice_buf_put_u8(b, ',');
        put_partition_field(b, &spec->fields[i], types[i]);
    }
    ice_buf_puts(b, "]}}");
    put_field(b, "record_count", FID_RECORD_COUNT, "\"long\"", false);
    put_field(b, "file_size_in_bytes", FID_FILE_SIZE, "\"long\"", false);
    put_map(b, "column_sizes", FID_COLUMN_SIZES, 117, 118, "\"long\"");
    put_map(b, "value_counts", FID_VALUE_COUNTS, 119, 120, "\"long\"");
    put_map(b, "null_value_counts", FID_NULL_COUNTS, 121, 122, "\"long\"");
    put_map(b, "nan_value_counts", FID_NAN_COUNTS, 138, 139, "\"long\"");
    put_map(b, "lower_bounds", FID_LOWER_BOUNDS, 126, 127, "\"bytes\"");
    put_map(b, "upper_bounds", FID_UPPER_BOUNDS, 129, 130, "\"bytes\"");
    put_field(b, "key_metadata", FID_KEY_METADATA, "\"bytes\"", true);
    put_list(b, "split_offsets", FID_SPLIT_OFFSETS, 133, "\"long\"");
    put_list(b, "equality_ids", FID_EQUALITY_IDS, 136, "\"int\"");
    put_field(b, "sort_order_id", FID_SORT_ORDER_ID, "\"int\"", true);
    put_field(b, "first_row_id", FID_FIRST_ROW_ID, "\"long\"", true);
    put_field(b, "referenced_data_file", FID_REFERENCED_DATA_FILE, "\"string\"", true);
    put_field(b, "content_offset", FID_CONTENT_OFFSET, "\"long\"", true);
    put_field(b, "content_size_in_bytes", FID_CONTENT_SIZE, "\"long\"", true);
    put_field(b, "django_iceberg_checksums", FID_CHECKSUMS, "\"bytes\"", true);
    ice_buf_puts(b, "]}");
}

static void put_entry_schema(ice_buf *b, const ice_partition_spec *spec, const ice_type *types)
{
    ice_buf_puts(b, "{\"type\":\"record\",\"name\":\"manifest_entry\",\"fields\":[");
    put_field(b, "status", FID_STATUS, "\"int\"", false);
    put_field(b, "snapshot_id", FID_SNAPSHOT_ID, "\"long\"", true);
    put_field(b, "sequence_number", FID_SEQUENCE_NUMBER, "\"long\"", true);
    put_field(b, "file_sequence_number", FID_FILE_SEQUENCE_NUMBER, "\"long\"", true);
    ice_buf_printf(b, ",{\"name\":\"data_file\",\"field-id\":%d,\"type\":", FID_DATA_FILE);
    put_data_file_schema(b, spec, types);
    ice_buf_puts(b, "}]}");
}

/* ---- the writer ---- */

static ice_code partition_types(ice_manifest_writer *w, const ice_schema *schema, ice_error *err)
{
    size_t n = w->spec->nfields;
    w->types = ICE_NEW_N(w->arena, ice_type, n + 1);
    w->low = ICE_NEW_N(w->arena, ice_value, n + 1);
    w->high = ICE_NEW_N(w->arena, ice_value, n + 1);
    w->partitions = ICE_NEW_N(w->arena, ice_field_summary, n + 1);
    if (!w->types || !w->low || !w->high || !w->partitions)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        const ice_partition_field *f = &w->spec->fields[i];
        const ice_field *source = ice_schema_field(schema, f->source_id);
        /* The source of a void field may be gone; its values are null whatever the type. */
        bool untyped = f->transform.kind == ICE_TR_VOID && (!source || source->type.kind == ICE_T_NONE);
        ice_type t = untyped || !source ? (ice_type){.kind = ICE_T_INT} : source->type;
        if (!source && f->transform.kind != ICE_TR_VOID)
            return ice_fail(err, ICE_UNSUPPORTED, "partition field \"%.*s\": no column has the id %d",
                            ICE_PRI(f->name), f->source_id);
        ice_code rc = ice_transform_type(f->transform, t, &w->types[i], err);
        if (rc != ICE_OK)
            return rc;
        w->low[i] = w->high[i] = ICE_NULL;
        w->partitions[i] = (ice_field_summary){.contains_nan = 0};
    }
    return ICE_OK;
}

static ice_code start_file(ice_manifest_writer *w, const ice_schema *schema, ice_error *err)
{
    ice_buf avro = {0}, json = {0}, spec = {0};
    char schema_id[16], spec_id[16];
    ice_code rc;
    put_entry_schema(&avro, w->spec, w->types);
    ice__put_spec_fields(&spec, w->spec);
    ICE_TRY(ice_schema_to_json(schema, &json, err));
    ICE_TRY(ice_buf_check(&avro, err));
    ICE_TRY(ice_buf_check(&spec, err));
    snprintf(schema_id, sizeof schema_id, "%d", schema->schema_id);
    snprintf(spec_id, sizeof spec_id, "%d", w->spec->spec_id);
    const ice_kv meta[] = {{ICE_STR("schema"), ice_buf_str(&json)},
                           {ICE_STR("schema-id"), ice_str_c(schema_id)},
                           {ICE_STR("partition-spec"), ice_buf_str(&spec)},
                           {ICE_STR("partition-spec-id"), ice_str_c(spec_id)},
                           {ICE_STR("format-version"), ICE_STR("3")},
                           {ICE_STR("content"), w->deletes ? ICE_STR("deletes") : ICE_STR("data")}};
    ICE_TRY(ice_avro_create(ice_buf_str(&avro), meta, sizeof meta / sizeof *meta, true, &w->avro, err));
    w->bytes = avro.len + json.len;
out:
    ice_buf_free(&avro);
    ice_buf_free(&json);
    ice_buf_free(&spec);
    return rc;
}

ice_code ice_manifest_writer_create(const ice_schema *schema, const ice_partition_spec *spec, bool deletes,
                                    int64_t snapshot_id, ice_manifest_writer **out, ice_error *err)
{
    ice_code rc;
    ice_manifest_writer *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w || !(w->arena = ice_arena_create())) {
        free(w);
        return ice_fail_nomem(err);
    }
    w->spec = spec;
    w->deletes = deletes;
    w->snapshot_id = snapshot_id;
    w->min_sequence = ICE_UNSET;
    ICE_TRY(partition_types(w, schema, err));
    ICE_TRY(start_file(w, schema, err));
    *out = w;
    w = NULL;
out:
    ice_manifest_writer_free(w);
    return rc;
}

void ice_manifest_writer_free(ice_manifest_writer *w)
{
    if (!w)
        return;
    ice_avro_free(w->avro);
    ice_arena_free(w->arena);
    free(w);
}

size_t ice_manifest_writer_count(const ice_manifest_writer *w)
{
    return w->count;
}
size_t ice_manifest_writer_size(const ice_manifest_writer *w)
{
    return w->bytes;
}

static ice_code check_entry(const ice_manifest_writer *w, const ice_manifest_entry *e, ice_error *err)
{
    const ice_data_file *f = &e->file;
    const char *why = NULL;
    if ((f->content != ICE_CONTENT_DATA) != w->deletes)
        why = "its content does not belong into this manifest";
    else if (f->npartition != w->spec->nfields)
        why = "it has another number of partition values than the spec has fields";
    else if (e->status != ICE_ENTRY_ADDED && (e->sequence_number < 0 || e->file_sequence_number < 0))
        why = "an existing or deleted entry needs both sequence numbers";
    else if (e->status == ICE_ENTRY_EXISTING && e->snapshot_id < 0)
        why = "an existing entry needs the id of the snapshot that added it";
    else if (!f->path.ptr || !f->format.ptr || f->record_count < 0 || f->size < 0)
        why = "path, format, record_count and size are needed";
    else if (ice_str_ieq(f->format, ICE_STR("puffin")) &&
             (!ice_is_deletion_vector(f) || f->content_size < 0 || !f->referenced_data_file.ptr))
        why = "a deletion vector needs content_offset, content_size and referenced_data_file";
    for (size_t i = 0; !why && i < f->npartition; i++)
        if (!f->partition[i].null && f->partition[i].kind != w->types[i].kind)
            why = "a partition value is not of its field's type";
    return why ? ice_fail(err, ICE_MISUSE, "manifest entry for %.*s: %s", ICE_PRI(f->path), why) : ICE_OK;
}

static void put_optional_long(ice_buf *b, int64_t v)
{
    ice_avro_put_long(b, v >= 0);
    if (v >= 0)
        ice_avro_put_long(b, v);
}

static void put_optional_bytes(ice_buf *b, ice_str s)
{
    ice_avro_put_long(b, s.ptr != NULL);
    if (s.ptr)
        ice_avro_put_bytes(b, s);
}

static void put_fixed_decimal(ice_buf *b, ice_i128 v, unsigned width)
{
    for (unsigned i = width; i-- > 0;)
        ice_buf_put_u8(b, (uint8_t)(i > 15 ? (v < 0 ? 0xff : 0) : (uint8_t)(v >> (8 * i))));
}

static ice_code put_partition_value(ice_buf *b, const ice_value *v, ice_type t, ice_error *err)
{
    ice_avro_put_long(b, !v->null);
    if (v->null)
        return ICE_OK;
    switch (t.kind) {
    case ICE_T_INT:
    case ICE_T_LONG:
    case ICE_T_DATE:
    case ICE_T_TIME:
    case ICE_T_TIMESTAMP:
    case ICE_T_TIMESTAMPTZ: ice_avro_put_long(b, v->i); return ICE_OK;
    case ICE_T_STRING:
    case ICE_T_BINARY: ice_avro_put_bytes(b, v->s); return ICE_OK;
    case ICE_T_DECIMAL: put_fixed_decimal(b, v->dec, decimal_width(t.precision)); return ICE_OK;
    case ICE_T_FIXED:
        if (v->s.len != t.length)
            return ice_fail(err, ICE_MISUSE, "a partition value has %zu bytes, not %u", v->s.len, t.length);
        break;
    default: break;
    }
    return ice_single_to_binary(v, t, b, err); /* the same bytes as Avro's boolean, float, double and fixed */
}

/* One of the six metric maps: `member` gives the value of a column, or false where it has none. */
typedef bool (*count_member)(const ice_file_column *c, int64_t *out);
static bool member_size(const ice_file_column *c, int64_t *out)
{
    return (*out = c->size) >= 0;
}
static bool member_values(const ice_file_column *c, int64_t *out)
{
    return (*out = c->values) >= 0;
}
static bool member_nulls(const ice_file_column *c, int64_t *out)
{
    return (*out = c->nulls) >= 0;
}
static bool member_nans(const ice_file_column *c, int64_t *out)
{
    return (*out = c->nans) >= 0;
}

/* A map without entries is written empty, not null: PyIceberg's table inspection trips over a null one. */
static void put_counts(ice_buf *b, const ice_data_file *f, count_member member)
{
    int64_t v, n = 0;
    for (size_t i = 0; i < f->ncolumns; i++)
        n += member(&f->columns[i], &v);
    ice_avro_put_long(b, 1);
    if (n > 0)
        ice_avro_put_long(b, n);
    for (size_t i = 0; i < f->ncolumns; i++)
        if (member(&f->columns[i], &v)) {
            ice_avro_put_long(b, f->columns[i].field_id);
            ice_avro_put_long(b, v);
        }
    ice_avro_put_long(b, 0);
}

static void put_bounds(ice_buf *b, const ice_data_file *f, bool upper)
{
    int64_t n = 0;
    for (size_t i = 0; i < f->ncolumns; i++)
        n += (upper ? f->columns[i].upper : f->columns[i].lower).ptr != NULL;
    ice_avro_put_long(b, 1);
    if (n > 0)
        ice_avro_put_long(b, n);
    for (size_t i = 0; i < f->ncolumns; i++) {
        ice_str v = upper ? f->columns[i].upper : f->columns[i].lower;
        if (v.ptr) {
            ice_avro_put_long(b, f->columns[i].field_id);
            ice_avro_put_bytes(b, v);
        }
    }
    ice_avro_put_long(b, 0);
}

static void put_sums(ice_buf *b, const ice_data_file *f)
{
    ice_avro_put_long(b, f->summed);
    if (!f->summed)
        return;
    ice_avro_put_long(b, (int64_t)(f->ncolumns + 1) * 12);
    ice_buf_put_u32(b, 0);
    ice_buf_put_u64(b, f->rest_sum);
    for (size_t i = 0; i < f->ncolumns; i++) {
        ice_buf_put_u32(b, (uint32_t)f->columns[i].field_id);
        ice_buf_put_u64(b, f->columns[i].sum);
    }
}

static void put_longs(ice_buf *b, const int64_t *longs, const int32_t *ints, size_t n)
{
    ice_avro_put_long(b, n > 0);
    if (n == 0)
        return;
    ice_avro_put_long(b, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        ice_avro_put_long(b, longs ? longs[i] : ints[i]);
    ice_avro_put_long(b, 0);
}

static void put_format(ice_buf *b, ice_str format)
{
    ice_avro_put_long(b, (int64_t)format.len);
    for (size_t i = 0; i < format.len; i++) {
        char c = format.ptr[i];
        ice_buf_put_u8(b, (uint8_t)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c));
    }
}

static ice_code put_data_file(ice_manifest_writer *w, ice_buf *b, const ice_data_file *f, ice_error *err)
{
    ice_avro_put_long(b, f->content);
    ice_avro_put_bytes(b, f->path);
    put_format(b, f->format);
    for (size_t i = 0; i < f->npartition; i++) {
        ice_code rc = put_partition_value(b, &f->partition[i], w->types[i], err);
        if (rc != ICE_OK)
            return rc;
    }
    ice_avro_put_long(b, f->record_count);
    ice_avro_put_long(b, f->size);
    put_counts(b, f, member_size);
    put_counts(b, f, member_values);
    put_counts(b, f, member_nulls);
    put_counts(b, f, member_nans);
    put_bounds(b, f, false);
    put_bounds(b, f, true);
    put_optional_bytes(b, f->key_metadata);
    put_longs(b, f->split_offsets, NULL, f->nsplit_offsets);
    put_longs(b, NULL, f->equality_ids, f->nequality_ids);
    put_optional_long(b, f->sort_order_id);
    put_optional_long(b, f->content == ICE_CONTENT_DATA ? f->first_row_id : ICE_UNSET);
    put_optional_bytes(b, f->referenced_data_file);
    put_optional_long(b, f->content_offset);
    put_optional_long(b, f->content_size);
    put_sums(b, f);
    return ICE_OK;
}

static ice_code summarize(ice_manifest_writer *w, const ice_data_file *f, ice_error *err)
{
    for (size_t i = 0; i < f->npartition; i++) {
        const ice_value *v = &f->partition[i];
        ice_code rc = ICE_OK;
        if (v->null)
            w->partitions[i].contains_null = true;
        else if ((v->kind == ICE_T_FLOAT || v->kind == ICE_T_DOUBLE) && isnan(v->d))
            w->partitions[i].contains_nan = 1;
        else {
            if (w->low[i].null || ice_value_cmp(v, &w->low[i]) < 0)
                rc = ice_value_copy(w->arena, v, &w->low[i], err);
            if (rc == ICE_OK && (w->high[i].null || ice_value_cmp(v, &w->high[i]) > 0))
                rc = ice_value_copy(w->arena, v, &w->high[i], err);
        }
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

ice_code ice_manifest_writer_add(ice_manifest_writer *w, const ice_manifest_entry *e, ice_error *err)
{
    ice_code rc;
    ice_buf *b = ice_avro_record(w->avro);
    size_t from = b->len;
    ICE_TRY(check_entry(w, e, err));
    ICE_TRY(summarize(w, &e->file, err));
    ice_avro_put_long(b, e->status);
    put_optional_long(b, e->status == ICE_ENTRY_EXISTING ? e->snapshot_id : w->snapshot_id);
    put_optional_long(b, e->sequence_number);
    put_optional_long(b, e->file_sequence_number);
    ICE_TRY(put_data_file(w, b, &e->file, err));
    w->bytes += (b->len - from) / 2; /* what deflate makes of it, roughly */
    ICE_TRY(ice_avro_end_record(w->avro, err));
    w->count++;
    w->files[e->status]++;
    w->rows[e->status] += e->file.record_count;
    if (e->status != ICE_ENTRY_DELETED && e->sequence_number >= 0 &&
        (w->min_sequence < 0 || e->sequence_number < w->min_sequence))
        w->min_sequence = e->sequence_number;
out:
    return rc;
}

static ice_code bound_text(ice_manifest_writer *w, size_t i, const ice_value *v, ice_arena *a, ice_str *out,
                           ice_error *err)
{
    ice_buf b = {0};
    *out = ICE_STR_NONE;
    if (v->null)
        return ICE_OK;
    ice_code rc = ice_single_to_binary(v, w->types[i], &b, err);
    if (rc == ICE_OK) {
        *out = ice_arena_str(a, b.data ? ice_buf_str(&b) : ICE_STR(""));
        rc = out->ptr ? ICE_OK : ice_fail_nomem(err);
    }
    ice_buf_free(&b);
    return rc;
}

static ice_code describe(ice_manifest_writer *w, ice_str path, int64_t length, ice_arena *a,
                         ice_manifest_file *m, ice_error *err)
{
    ice_code rc = ICE_OK;
    *m = (ice_manifest_file){.path = ice_arena_str(a, path),
                             .length = length,
                             .spec_id = w->spec->spec_id,
                             .deletes = w->deletes,
                             .sequence_number = ICE_UNSET,
                             .min_sequence_number = w->min_sequence,
                             .added_snapshot_id = w->snapshot_id,
                             .added_files = w->files[ICE_ENTRY_ADDED],
                             .existing_files = w->files[ICE_ENTRY_EXISTING],
                             .deleted_files = w->files[ICE_ENTRY_DELETED],
                             .added_rows = w->rows[ICE_ENTRY_ADDED],
                             .existing_rows = w->rows[ICE_ENTRY_EXISTING],
                             .deleted_rows = w->rows[ICE_ENTRY_DELETED],
                             .npartitions = w->spec->nfields,
                             .first_row_id = ICE_UNSET};
    m->partitions = ICE_NEW_N(a, ice_field_summary, w->spec->nfields + 1);
    if (!m->path.ptr || !m->partitions)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < w->spec->nfields; i++) {
        m->partitions[i] = w->partitions[i];
        ICE_TRY(bound_text(w, i, &w->low[i], a, &m->partitions[i].lower, err));
        ICE_TRY(bound_text(w, i, &w->high[i], a, &m->partitions[i].upper, err));
    }
out:
    return rc;
}

ice_code ice_manifest_writer_finish(ice_manifest_writer *w, ice_str path, ice_arena *a, ice_buf *out,
                                    ice_manifest_file *file, ice_error *err)
{
    size_t from = out->len;
    ice_code rc = ice_avro_finish(w->avro, out, err);
    return rc == ICE_OK ? describe(w, path, (int64_t)(out->len - from), a, file, err) : rc;
}

/* ---- manifest lists ---- */

static void put_list_schema(ice_buf *b)
{
    ice_buf summary = {0};
    ice_buf_puts(&summary,
                 "{\"type\":\"array\",\"element-id\":508,\"items\":{\"type\":\"record\",\"name\":\"r508\","
                 "\"fields\":[");
    put_field(&summary, "contains_null", FID_CONTAINS_NULL, "\"boolean\"", false);
    put_field(&summary, "contains_nan", FID_CONTAINS_NAN, "\"boolean\"", true);
    put_field(&summary, "lower_bound", FID_LOWER_BOUND, "\"bytes\"", true);
    put_field(&summary, "upper_bound", FID_UPPER_BOUND, "\"bytes\"", true);
    ice_buf_puts(&summary, "]}}");
    ice_buf_put_u8(&summary, 0);
    ice_buf_puts(b, "{\"type\":\"record\",\"name\":\"manifest_file\",\"fields\":[");
    put_field(b, "manifest_path", FID_MANIFEST_PATH, "\"string\"", false);
    put_field(b, "manifest_length", FID_MANIFEST_LENGTH, "\"long\"", false);
    put_field(b, "partition_spec_id", FID_SPEC_ID, "\"int\"", false);
    put_field(b, "content", FID_MANIFEST_CONTENT, "\"int\"", false);
    put_field(b, "sequence_number", FID_MANIFEST_SEQUENCE, "\"long\"", false);
    put_field(b, "min_sequence_number", FID_MIN_SEQUENCE, "\"long\"", false);
    put_field(b, "added_snapshot_id", FID_ADDED_SNAPSHOT_ID, "\"long\"", false);
    put_field(b, "added_files_count", FID_ADDED_FILES, "\"int\"", false);
    put_field(b, "existing_files_count", FID_EXISTING_FILES, "\"int\"", false);
    put_field(b, "deleted_files_count", FID_DELETED_FILES, "\"int\"", false);
    put_field(b, "added_rows_count", FID_ADDED_ROWS, "\"long\"", false);
    put_field(b, "existing_rows_count", FID_EXISTING_ROWS, "\"long\"", false);
    put_field(b, "deleted_rows_count", FID_DELETED_ROWS, "\"long\"", false);
    if (!summary.failed)
        put_field(b, "partitions", FID_PARTITIONS, summary.data, true);
    put_field(b, "key_metadata", FID_LIST_KEY_METADATA, "\"bytes\"", true);
    put_field(b, "first_row_id", FID_LIST_FIRST_ROW_ID, "\"long\"", true);
    ice_buf_puts(b, "]}");
    b->failed |= summary.failed;
    ice_buf_free(&summary);
}

static void put_summary(ice_buf *b, const ice_field_summary *s)
{
    ice_buf_put_u8(b, s->contains_null);
    ice_avro_put_long(b, s->contains_nan >= 0);
    if (s->contains_nan >= 0)
        ice_buf_put_u8(b, s->contains_nan > 0);
    put_optional_bytes(b, s->lower);
    put_optional_bytes(b, s->upper);
}

/* A count version 1 left out is unknown, which version 3 cannot say: 1 keeps readers from skipping the
 * manifest. */
static int64_t known(int64_t n)
{
    return n >= 0 ? n : 1;
}

static void put_manifest_file(ice_buf *b, const ice_manifest_file *m)
{
    ice_avro_put_bytes(b, m->path);
    ice_avro_put_long(b, m->length);
    ice_avro_put_long(b, m->spec_id);
    ice_avro_put_long(b, m->deletes);
    ice_avro_put_long(b, m->sequence_number);
    ice_avro_put_long(b, m->min_sequence_number);
    ice_avro_put_long(b, m->added_snapshot_id);
    ice_avro_put_long(b, known(m->added_files));
    ice_avro_put_long(b, known(m->existing_files));
    ice_avro_put_long(b, known(m->deleted_files));
    ice_avro_put_long(b, known(m->added_rows));
    ice_avro_put_long(b, known(m->existing_rows));
    ice_avro_put_long(b, known(m->deleted_rows));
    ice_avro_put_long(b, m->npartitions > 0);
    if (m->npartitions) {
        ice_avro_put_long(b, (int64_t)m->npartitions);
        for (size_t i = 0; i < m->npartitions; i++)
            put_summary(b, &m->partitions[i]);
        ice_avro_put_long(b, 0);
    }
    put_optional_bytes(b, m->key_metadata);
    put_optional_long(b, m->deletes ? ICE_UNSET : m->first_row_id);
}

/* Sequence numbers and row ids of what this snapshot adds. */
static ice_code assign(ice_manifest_file *m, int64_t sequence_number, int64_t *next_row_id, ice_error *err)
{
    if (m->sequence_number < 0)
        m->sequence_number = sequence_number;
    if (m->min_sequence_number < 0)
        m->min_sequence_number = m->sequence_number;
    if (m->deletes || m->first_row_id >= 0)
        return ICE_OK;
    if (m->added_rows < 0 || m->existing_rows < 0)
        return ice_fail(err, ICE_UNSUPPORTED,
                        "manifest %.*s has no row counts, so its rows get no ids; rewrite it",
                        ICE_PRI(m->path));
    m->first_row_id = *next_row_id;
    *next_row_id += m->added_rows + m->existing_rows;
    return ICE_OK;
}

static ice_code start_list(int64_t snapshot_id, int64_t parent_id, int64_t sequence_number,
                           int64_t first_row_id, ice_avro_writer **out, ice_error *err)
{
    ice_buf schema = {0};
    char id[24], parent[24] = "null", sequence[24], first[24];
    snprintf(id, sizeof id, "%lld", (long long)snapshot_id);
    if (parent_id >= 0)
        snprintf(parent, sizeof parent, "%lld", (long long)parent_id);
    snprintf(sequence, sizeof sequence, "%lld", (long long)sequence_number);
    snprintf(first, sizeof first, "%lld", (long long)first_row_id);
    const ice_kv meta[] = {{ICE_STR("snapshot-id"), ice_str_c(id)},
                           {ICE_STR("parent-snapshot-id"), ice_str_c(parent)},
                           {ICE_STR("sequence-number"), ice_str_c(sequence)},
                           {ICE_STR("first-row-id"), ice_str_c(first)},
                           {ICE_STR("format-version"), ICE_STR("3")}};
    put_list_schema(&schema);
    ice_code rc = ice_buf_check(&schema, err);
    if (rc == ICE_OK)
        rc = ice_avro_create(ice_buf_str(&schema), meta, sizeof meta / sizeof *meta, true, out, err);
    ice_buf_free(&schema);
    return rc;
}

ice_code ice_manifest_list_write(int64_t snapshot_id, int64_t parent_id, int64_t sequence_number,
                                 int64_t next_row_id, ice_manifest_file *files, size_t n, ice_buf *out,
                                 int64_t *added_rows, ice_error *err)
{
    ice_avro_writer *w = NULL;
    int64_t next = next_row_id;
    ice_code rc;
    ICE_TRY(start_list(snapshot_id, parent_id, sequence_number, next_row_id, &w, err));
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < n; i++) {
            if (files[i].deletes != (pass == 1))
                continue;
            ICE_TRY(assign(&files[i], sequence_number, &next, err));
            put_manifest_file(ice_avro_record(w), &files[i]);
            ICE_TRY(ice_avro_end_record(w, err));
        }
    }
    ICE_TRY(ice_avro_finish(w, out, err));
    *added_rows = next - next_row_id;
out:
    ice_avro_free(w);
    return rc;
}
