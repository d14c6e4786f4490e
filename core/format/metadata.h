/* Table metadata (spec, "Table Metadata"): the JSON file a catalog points to, as a model in an arena.
 *
 * Read: versions 1, 2 and 3; text or gzip. What the model has no member for and a writer must keep (partition
 * statistics, encryption keys) is carried along as JSON. Written: version 3.
 *
 * Editing calls work on the model in place, allocating in its arena; the caller serializes the result as a
 * new file and swaps the catalog's pointer. After a failed call the model is to be thrown away. Not
 * thread-safe. */
#ifndef ICE_FORMAT_METADATA_H
#define ICE_FORMAT_METADATA_H

#include "base/misc.h"
#include "format/schema.h"
#include "format/transforms.h"

#define ICE_METADATA_MAX ((size_t)64 << 20) /* bytes of a metadata file we are willing to read, unpacked */
#define ICE_UNSET INT64_C(-1)               /* an optional id, sequence number or count that is not there */

typedef struct ice_kv {
    ice_str key, value;
} ice_kv;

typedef struct ice_partition_field {
    int32_t source_id; /* 0 where a multi-argument transform has `source-ids` */
    int32_t field_id;
    ice_str name;
    ice_transform transform;
    ice_str transform_text;  /* as in the JSON; may be absent in a spec the caller builds, unless UNKNOWN */
    ice_str source_ids_json; /* absent: source_id is used */
} ice_partition_field;

typedef struct ice_partition_spec {
    int32_t spec_id;
    size_t nfields;
    ice_partition_field *fields;
} ice_partition_spec;

typedef struct ice_sort_field {
    int32_t source_id;
    ice_transform transform;
    ice_str transform_text;
    ice_str source_ids_json;
    bool descending, nulls_last;
} ice_sort_field;

typedef struct ice_sort_order {
    int32_t order_id; /* 0: unsorted, no fields */
    size_t nfields;
    ice_sort_field *fields;
} ice_sort_order;

typedef struct ice_snapshot {
    int64_t id;
    int64_t parent_id;       /* ICE_UNSET: none */
    int64_t sequence_number; /* 0 in v1 tables */
    int64_t timestamp_ms;
    ice_str manifest_list; /* absent only in v1 tables that list manifests inline (ICE_UNSUPPORTED to scan) */
    size_t nsummary;
    ice_kv *summary;      /* "operation" among them */
    int32_t schema_id;    /* -1: not recorded */
    int64_t first_row_id; /* ICE_UNSET before v3 */
    int64_t added_rows;   /* ICE_UNSET before v3 */
    ice_str key_id;       /* absent: not encrypted */
} ice_snapshot;

typedef struct ice_meta_ref {
    ice_str name; /* "main", ... */
    int64_t snapshot_id;
    bool tag;                                                           /* else a branch */
    int64_t min_snapshots_to_keep, max_snapshot_age_ms, max_ref_age_ms; /* ICE_UNSET: the table's default */
} ice_meta_ref;

typedef struct ice_log_entry {
    int64_t timestamp_ms;
    int64_t snapshot_id; /* snapshot-log */
    ice_str file;        /* metadata-log */
} ice_log_entry;

/* One statistics or partition-statistics file, kept as its JSON object. */
typedef struct ice_statistics {
    int64_t snapshot_id;
    ice_str json;
} ice_statistics;

typedef struct ice_metadata {
    ice_arena *arena; /* borrowed: everything below lives there */
    int format_version;
    ice_uuid uuid;
    bool has_uuid;    /* a v1 table may have none */
    ice_str location; /* no trailing slash */
    int64_t last_sequence_number;
    int64_t last_updated_ms;
    int32_t last_column_id;
    int32_t current_schema_id, default_spec_id, default_sort_order_id;
    int32_t last_partition_id;   /* 999: none assigned yet */
    int64_t current_snapshot_id; /* ICE_UNSET: an empty table */
    int64_t next_row_id;
    size_t nschemas, nspecs, norders, nproperties, nsnapshots, nrefs, nsnapshot_log, nmetadata_log,
        nstatistics, npartition_statistics;
    ice_schema *schemas;
    ice_partition_spec *specs;
    ice_sort_order *orders;
    ice_kv *properties;
    ice_snapshot *snapshots; /* oldest first, as in the file */
    ice_meta_ref *refs;
    ice_log_entry *snapshot_log, *metadata_log; /* oldest first */
    ice_statistics *statistics, *partition_statistics;
    ice_str encryption_keys_json; /* absent: none */
} ice_metadata;

/* ---- reading and writing ---- */

/* `bytes` come from outside: everything is checked, ICE_CORRUPT names the JSON path
 * ("$.snapshots[3].snapshot-id: ..."); a format version above 3 is ICE_UNSUPPORTED. Keeps no view into
 * `bytes`. */
ice_code ice_metadata_parse(ice_str bytes, ice_arena *a, ice_metadata **out, ice_error *err) ICE_MUST;
/* Version 3 only (ice_metadata_upgrade first). */
ice_code ice_metadata_to_json(const ice_metadata *m, ice_buf *out, ice_error *err) ICE_MUST;
/* "<location>/metadata/00012-<uuid>.metadata.json", the name of version n. */
ice_code ice_metadata_location(ice_arena *a, ice_str table_location, int64_t n, ice_uuid u, ice_str *out,
                               ice_error *err) ICE_MUST;
/* n of such a name (also "v12.metadata.json"), or -1. */
int64_t ice_metadata_version_of(ice_str location);

/* ---- looking up; NULL (or an absent string): there is none ---- */

const ice_schema *ice_metadata_schema(const ice_metadata *m, int32_t schema_id);
const ice_schema *ice_metadata_current_schema(const ice_metadata *m);
const ice_partition_spec *ice_metadata_spec(const ice_metadata *m, int32_t spec_id);
const ice_snapshot *ice_metadata_snapshot(const ice_metadata *m, int64_t id);
const ice_snapshot *ice_metadata_current_snapshot(const ice_metadata *m);
/* Newest snapshot on main's line at or before the time, by snapshot-log. */
const ice_snapshot *ice_metadata_snapshot_at(const ice_metadata *m, int64_t timestamp_ms);
ice_str ice_metadata_property(const ice_metadata *m, const char *key);
ice_str ice_snapshot_summary(const ice_snapshot *s, const char *key);

/* ---- editing ---- */

/* A new version-3 table: one schema, the unpartitioned spec 0 and sort order 0. `schema` is copied, its
 * schema_id kept. */
ice_code ice_metadata_create(ice_arena *a, ice_uuid uuid, ice_str location, const ice_schema *schema,
                             int64_t now_ms, ice_metadata **out, ice_error *err) ICE_MUST;
/* Version 1 or 2 to 3, as the spec's "Row Lineage for Upgraded Tables" says. No-op on 3. */
ice_code ice_metadata_upgrade(ice_metadata *m, ice_error *err) ICE_MUST;
/* Adds the schema (by its schema_id; the same id with another content is ICE_CONFLICT) and makes it current;
 * raises last-column-id to its highest id and to `last_column_id`. */
ice_code ice_metadata_set_schema(ice_metadata *m, const ice_schema *s, int32_t last_column_id,
                                 ice_error *err) ICE_MUST;
/* Drops schemas that are neither current nor used by a snapshot we keep. */
void ice_metadata_prune_schemas(ice_metadata *m);
/* Finds an equal spec or adds this one, assigning spec_id and (reusing equivalent fields') partition field
 * ids; *spec_id tells which. Becomes the default where `make_default`. */
ice_code ice_metadata_add_spec(ice_metadata *m, const ice_partition_spec *spec, bool make_default,
                               int32_t *spec_id, ice_error *err) ICE_MUST;
/* The same for a sort order; no fields means order 0. */
ice_code ice_metadata_add_sort_order(ice_metadata *m, const ice_sort_order *o, bool make_default,
                                     int32_t *order_id, ice_error *err) ICE_MUST;
/* An absent value removes the property. */
ice_code ice_metadata_set_property(ice_metadata *m, ice_str key, ice_str value, ice_error *err) ICE_MUST;
/* A positive random id no snapshot of the table has. */
int64_t ice_metadata_new_snapshot_id(const ice_metadata *m);
/* Appends a snapshot to main. The caller sets id, timestamp_ms, manifest_list, summary and, from
 * ice_manifest_list_write, added_rows (the row ids it assigned, from m->next_row_id); sequence_number (last +
 * 1), parent (main's), first_row_id (next-row-id) and schema_id (where -1: the current) are set here and
 * given back in *s. Moves main, the logs, last-updated-ms and next-row-id. A timestamp below the last
 * snapshot's is raised to it. */
ice_code ice_metadata_add_snapshot(ice_metadata *m, ice_snapshot *s, ice_error *err) ICE_MUST;
/* The sequence number ice_metadata_add_snapshot will give. */
static inline int64_t ice_metadata_next_sequence(const ice_metadata *m)
{
    return m->last_sequence_number + 1;
}
/* Expires snapshots: keeps every ref's snapshot, on main the `keep` newest and all with timestamp_ms >=
 * since_ms. *removed: the expired ones, copied (their files are the garbage collector's business). */
ice_code ice_metadata_expire(ice_metadata *m, size_t keep, int64_t since_ms, ice_snapshot **removed,
                             size_t *nremoved, ice_error *err) ICE_MUST;
/* Records the file this model was read from in metadata-log, keeping at most `max` entries; dropped entries'
 * files in *dropped (may be NULL). Sets last-updated-ms to at least now_ms. */
ice_code ice_metadata_log_previous(ice_metadata *m, ice_str previous_file, int64_t now_ms, size_t max,
                                   ice_str **dropped, size_t *ndropped, ice_error *err) ICE_MUST;

/* The last member of a metadata file of ours, a table's or a view's: a seal (base/misc.h). `json`: the object's text
 * from `from` on, without its closing brace. A file without one is as it is. */
ice_code ice_metadata_seal(ice_buf *json, size_t from, ice_error *err) ICE_MUST;
ice_code ice_metadata_seal_check(ice_str bytes, ice_error *err) ICE_MUST;

#endif
