/* Manifests and manifest lists (spec, "Manifests" and "Manifest Lists"): Avro files, written as version 3,
 * read in any.
 *
 * Readers find fields by the field ids of the writer's schema, skip what they do not know, and apply
 * inheritance, so that what they return is resolved. All results live in the caller's arena. */
#ifndef ICE_FORMAT_MANIFEST_H
#define ICE_FORMAT_MANIFEST_H

#include "format/metadata.h"

typedef enum ice_content {
    ICE_CONTENT_DATA = 0,
    ICE_CONTENT_POSITION_DELETES = 1, /* a deletion vector where content_offset is set */
    ICE_CONTENT_EQUALITY_DELETES = 2,
} ice_content;

typedef enum ice_entry_status {
    ICE_ENTRY_EXISTING = 0,
    ICE_ENTRY_ADDED = 1,
    ICE_ENTRY_DELETED = 2
} ice_entry_status;

/* Metrics of one column in one file. Counts are ICE_UNSET, bounds absent, where the file does not say. Bounds
 * are in binary single-value serialization (ice_single_from_binary). */
typedef struct ice_file_column {
    int32_t field_id;
    int64_t size, values, nulls, nans;
    ice_str lower, upper;
    uint64_t sum; /* checksum of its pages, where the file has ones */
} ice_file_column;

typedef struct ice_data_file {
    ice_content content;
    ice_str path;
    ice_str format; /* "parquet", "puffin", "avro", "orc"; lower case as read, upper case in the file */
    size_t npartition;
    ice_value *partition; /* in the order of the partition spec's fields */
    int64_t record_count, size;
    size_t ncolumns;
    ice_file_column *columns; /* sorted by field_id */
    size_t nsplit_offsets;
    int64_t *split_offsets;
    size_t nequality_ids;
    int32_t *equality_ids;
    ice_str key_metadata;                 /* absent: none */
    int32_t sort_order_id;                /* -1: unset */
    int64_t first_row_id;                 /* ICE_UNSET: none; inherited on read */
    ice_str referenced_data_file;         /* deletion vectors: the data file's path */
    int64_t content_offset, content_size; /* ICE_UNSET but for deletion vectors */
    /* A field of our own, which other readers pass over: a checksum of each column, and of all bytes that are no
     * column's. What they are computed of is the writer's business (table/sums.c). */
    bool summed;
    uint64_t rest_sum;
} ice_data_file;

typedef struct ice_manifest_entry {
    ice_entry_status status;
    int64_t snapshot_id;          /* on write only EXISTING entries' counts: others get the writer's */
    int64_t sequence_number;      /* data sequence number; ICE_UNSET on write of ADDED: inherited */
    int64_t file_sequence_number; /* the same */
    ice_data_file file;
} ice_manifest_entry;

typedef struct ice_field_summary {
    bool contains_null;
    int8_t contains_nan;  /* -1: unknown */
    ice_str lower, upper; /* binary single values of the partition field's type; absent: none */
} ice_field_summary;

/* One manifest, as the manifest list describes it. */
typedef struct ice_manifest_file {
    ice_str path;
    int64_t length;
    int32_t spec_id;
    bool deletes;                /* content: deletes, else data */
    int64_t sequence_number;     /* ICE_UNSET on write of a new manifest: the snapshot's */
    int64_t min_sequence_number; /* ICE_UNSET on write: the snapshot's */
    int64_t added_snapshot_id;
    int64_t added_files, existing_files, deleted_files, added_rows, existing_rows,
        deleted_rows; /* ICE_UNSET: unknown (v1) */
    size_t npartitions;
    ice_field_summary *partitions;
    ice_str key_metadata;
    int64_t first_row_id; /* ICE_UNSET on write of a new data manifest: assigned */
} ice_manifest_file;

/* A data file with every optional member unset. */
ice_data_file ice_data_file_init(void);
/* Metrics of a column, or NULL. */
const ice_file_column *ice_data_file_column(const ice_data_file *f, int32_t field_id);
static inline bool ice_is_deletion_vector(const ice_data_file *f)
{
    return f->content == ICE_CONTENT_POSITION_DELETES && f->content_offset >= 0;
}

/* ---- manifests ---- */

typedef struct ice_manifest_writer ice_manifest_writer;

/* `schema` and `spec` are the table's current ones (written into the file's metadata; the spec's result types
 * follow from the schema) and are borrowed until finish. ICE_UNSUPPORTED for a spec with an unknown
 * transform. `snapshot_id`: the snapshot being made. */
ice_code ice_manifest_writer_create(const ice_schema *schema, const ice_partition_spec *spec, bool deletes,
                                    int64_t snapshot_id, ice_manifest_writer **out, ice_error *err) ICE_MUST;
void ice_manifest_writer_free(ice_manifest_writer *w); /* NULL is fine */
/* Checks the rules of the format (ICE_MISUSE): content fits the manifest, existing and deleted entries carry
 * both sequence numbers, a deletion vector its offset, size and data file, partition values their spec's
 * number. Copies what it keeps. */
ice_code ice_manifest_writer_add(ice_manifest_writer *w, const ice_manifest_entry *e,
                                 ice_error *err) ICE_MUST;
size_t ice_manifest_writer_count(const ice_manifest_writer *w);
/* Bytes of the file so far, roughly: for cutting manifests at a target size. */
size_t ice_manifest_writer_size(const ice_manifest_writer *w);
/* The file's bytes into `out`, its description (path copied) into *file, both ready for
 * ice_manifest_list_write. */
ice_code ice_manifest_writer_finish(ice_manifest_writer *w, ice_str path, ice_arena *a, ice_buf *out,
                                    ice_manifest_file *file, ice_error *err) ICE_MUST;

/* Entries of a manifest, inheritance applied from `file` (its description in the manifest list). `spec`
 * orders the partition values (NULL: as in the file). `live`: leaves DELETED entries out. */
ice_code ice_manifest_read(ice_str bytes, const ice_manifest_file *file, const ice_partition_spec *spec,
                           bool live, ice_arena *a, ice_manifest_entry **out, size_t *n,
                           ice_error *err) ICE_MUST;

/* ---- manifest lists ---- */

/* Version 3. New manifests (sequence_number unset) get `sequence_number`; data manifests without a
 * first_row_id get one, counting up from `next_row_id` (the table's); the assigned values are put into
 * `files` too. *added_rows: how many row ids were assigned, for ice_snapshot.added_rows. Delete manifests are
 * written after data manifests, in the order given. */
ice_code ice_manifest_list_write(int64_t snapshot_id, int64_t parent_id, int64_t sequence_number,
                                 int64_t next_row_id, ice_manifest_file *files, size_t n, ice_buf *out,
                                 int64_t *added_rows, ice_error *err) ICE_MUST;
ice_code ice_manifest_list_read(ice_str bytes, ice_str path, ice_arena *a, ice_manifest_file **out, size_t *n,
                                ice_error *err) ICE_MUST;

#endif
