/* What the write side of table/ shares: one Iceberg table being changed, queries over its files, data files
 * from queries. */
#ifndef ICE_TABLE_FLUSH_INT_H
#define ICE_TABLE_FLUSH_INT_H

#include "table/flush.h"
#include "table/table_int.h"

/* Row lineage (spec, "Row Lineage"): reserved columns that files with rows of older files carry. */
#define ICE__FIELD_ROW_ID 2147483540
#define ICE__FIELD_ROW_SEQUENCE 2147483539
static inline bool ice__is_lineage(int32_t field_id)
{
    return field_id == ICE__FIELD_ROW_ID || field_id == ICE__FIELD_ROW_SEQUENCE;
}

/* view_metadata.c: writes the metadata file of a view, which no catalog names yet. */
ice_code ice__view_metadata_write(const ice_env *env, const ice_tabledef *def, ice_arena *a, ice_str *location,
                                  ice_error *err) ICE_MUST;

/* ---- one Iceberg table being changed ---- */

#define ICE__METADATA_LOG_MAX 50 /* earlier metadata files that one names */

typedef struct ice__added {
    ice_data_file file;
    int32_t spec_id;
    ice_str path, base; /* local, and its unique name */
} ice__added;

/* Metadata as it will be, and what the next snapshot adds and takes away. Nothing of it is visible before the
 * catalog's pointer moves. Everything lives in the arena but the vectors, which ice__edit_free frees. */
typedef struct ice__edit {
    ice_env *env;
    ice_arena *a;
    ice_published *from; /* borrowed; NULL: a new table */
    ice_metadata *m;
    ice_str dir; /* key of the table's directory */
    size_t nadded, cap;
    ice__added *added;
    bool *removed;      /* of from's files: gone in the next snapshot */
    ice_dv **dvs;       /* of from's files: new deletion vectors; NULL: as they were */
    int32_t fixed_spec; /* identity(_row_start), -1 until asked for */
    bool fields_gone;   /* a spec lost a field with its column: manifests are written anew */
} ice__edit;

/* What a data file being written is to be. */
typedef struct ice__output {
    const ice_column *cols; /* of the query, in order */
    size_t ncols;
    uint64_t rows; /* that the query yields; nothing is published where it yields others, unless `filtered` */
    bool filtered;
    int32_t spec_id;
    size_t npartition;
    const ice_value *partition; /* in the edit's arena */
    int32_t sort_order_id;      /* -1: none */
    const ice__warm *warm; /* NULL: nobody looks up in it */
} ice__output;

/* Reads the metadata file of `from` again, to change it. */
ice_code ice__edit_begin(ice__edit *e, ice_env *env, ice_published *from, ice_arena *a,
                         ice_error *err) ICE_MUST;
ice_code ice__edit_create(ice__edit *e, ice_env *env, const ice_tabledef *def, bool history,
                          const ice_schema *schema, ice_arena *a, ice_error *err) ICE_MUST;
void ice__edit_free(ice__edit *e);
/* Makes the schema current, unless the current one is equal. */
ice_code ice__edit_schema(ice__edit *e, const ice_schema *schema, ice_error *err) ICE_MUST;
ice_code ice__edit_number(ice__edit *e, const char *key, uint64_t value, ice_error *err) ICE_MUST;
ice_code ice__edit_text(ice__edit *e, const char *key, ice_str value, ice_error *err) ICE_MUST;
/* Spec id of identity(_row_start), for staged files. */
ice_code ice__edit_fixed_spec(ice__edit *e, int32_t *out, ice_error *err) ICE_MUST;
ice_code ice__edit_add(ice__edit *e, const ice__added *file, ice_error *err) ICE_MUST;
/* Drops a file of `from`, its vector with it. */
void ice__edit_remove(ice__edit *e, size_t file);
/* Room for the rows to delete from a file that stays: its vector so far, cloned. Borrowed. */
ice_code ice__edit_dv(ice__edit *e, size_t file, ice_dv **out, ice_error *err) ICE_MUST;
bool ice__edit_changes_data(const ice__edit *e);
/* Lets go of snapshots: keeps the `keep` newest and those since a time. *n: how many went. */
ice_code ice__edit_expire(ice__edit *e, size_t keep, int64_t since_ms, size_t *n, ice_error *err) ICE_MUST;
/* Writes manifests, manifest list and metadata file, all durable. `operation` NULL: as the changes are. A
 * snapshot only where data changes. `flushed` 0: the snapshot has the previous one's. */
ice_code ice__edit_finish(ice__edit *e, const char *operation, int64_t flushed, int64_t now_ms,
                          int snapshots_kept, ice_str *location, ice_error *err) ICE_MUST;
uint64_t ice__edit_rows_added(const ice__edit *e);

/* ---- a query over data files and the tail: one arm for each, and the chunk sources that it names ---- */

typedef struct ice__reading {
    ice_env *env;
    ice_arena *a;
    const ice_column *cols; /* what every arm yields, system and lineage columns included */
    size_t ncols;
    ice_buf sql;
    size_t nnames, cap;
    ice__name *names;
    uint64_t rows; /* that the arms will yield */
} ice__reading;

void ice__reading_init(ice__reading *r, ice_env *env, const ice_column *cols, size_t ncols, ice_arena *a);
void ice__reading_free(ice__reading *r);
/* Gives a source a name for the query; takes it over, on failure too. */
ice_code ice__reading_add(ice__reading *r, ice_source *source, char **name, ice_error *err) ICE_MUST;
/* Rows of a file that neither its deletion vector nor `dead` at `at` takes out. */
ice_code ice__read_live(ice__reading *r, ice_published *s, uint32_t file, ice__dead *dead, int64_t at,
                        ice_error *err) ICE_MUST;
/* Rows of a file that `dead` ended, with the end and what ended them. */
ice_code ice__read_ended(ice__reading *r, ice_published *s, uint32_t file, ice__dead *dead, int64_t at,
                         ice_error *err) ICE_MUST;
/* Versions of the tail as of the view's time: VISIBLE or DEAD ones. */
ice_code ice__read_tail(ice__reading *r, ice_view *v, ice_tail_which which, ice_error *err) ICE_MUST;
ice_code ice__tail_count(ice_tail *t, int64_t at, ice_tail_which which, uint64_t *out,
                         ice_error *err) ICE_MUST;

/* "SELECT * FROM (...) AS r(columns)" with `where` and `order`, either absent for none. */
void ice__put_reading(const ice__reading *r, ice_str where, ice_str order, ice_buf *b);
/* Writes a query's rows as one data file that `e` adds; no file where there are none. */
ice_code ice__write_query(ice__edit *e, ice__name *names, size_t nnames, ice_str sql, const ice__output *o,
                          ice_error *err) ICE_MUST;
/* Writes what `r` yields, filtered by `where` (absent: all) and in the order of `order` (absent: as it
 * comes), as one data file that `e` adds; no file where there are no rows. A different number of rows than
 * the arms promise is an error, unless filtered. Warms the cache for `warm` (NULL: no). Both
 * texts name columns by their quoted names. */
ice_code ice__write_reading(ice__edit *e, ice__reading *r, ice_str where, ice_str order,
                            const ice__warm *warm, ice_error *err) ICE_MUST;
/* The data file of what a Parquet write told: metrics with bounds cut to 16. */
ice_code ice__data_file_of(const ice_env *env, ice_str key, const ice_column *cols,
                           const ice_parquet_info *info, ice_arena *a, ice_data_file *out,
                           ice_error *err) ICE_MUST;

/* Writes a file that other readers could not decode anew, under another key. */
ice_code ice__portable_file(ice_env *env, ice_engine_conn *c, const ice_column *cols, size_t ncols,
                            ice_arena *a, ice_str *key, ice_parquet_info *info, ice_error *err) ICE_MUST;

const ice_column *ice__row_id_column(void);
/* Columns of a definition, _row_start, and with `lineage` _row_id and _last_updated_sequence_number. */
ice_code ice__table_columns(const ice_tabledef *def, bool lineage, ice_arena *a, ice_column **out, size_t *n,
                            ice_error *err) ICE_MUST;
/* Columns of an Iceberg schema, `lineage` as above; defaults only of fields that `def` still has. */
ice_code ice__schema_columns(const ice_schema *s, const ice_tabledef *def, bool lineage, ice_arena *a,
                             ice_column **out, size_t *n, ice_error *err) ICE_MUST;
/* What a table's files are sorted by, as SQL: partition values, the cluster index or the one plain indexed
 * column (both only with `cluster`), the primary key. */
ice_code ice__cluster_order(const ice_tabledef *def, bool cluster, ice_arena *a, ice_str *out,
                            ice_error *err) ICE_MUST;

/* ---- partitions ---- */

/* One field of the spec that a definition's partition indexes declare. */
typedef struct ice__part {
    const ice_column *col; /* of the definition */
    ice_transform transform;
    ice_type type; /* of the values */
} ice__part;
/* Type of a transform's values; false where rows are not parted by it. */
bool ice__part_type(ice_transform t, ice_type source, ice_type *result);
/* None where nothing is declared that still applies to its column. */
ice_code ice__parts_of(const ice_tabledef *def, ice_arena *a, ice__part **out, size_t *n,
                       ice_error *err) ICE_MUST;
/* The value of a row's column as SQL; absent `alias`: the bare name. */
void ice__put_part(const ice__part *p, const char *alias, ice_buf *b);
/* The spec of the definition becomes the table's default; specs that a column is gone from go on without it.
 * For an edit whose schema is set. */
ice_code ice__edit_partitions(ice__edit *e, const ice_tabledef *def, ice_error *err) ICE_MUST;
/* Sort order of files whose rows belong to many partition values, by these values; 0 where there is no
 * partition. */
ice_code ice__edit_loose_order(ice__edit *e, const ice__part *parts, size_t n, int32_t *out,
                               ice_error *err) ICE_MUST;

/* Compaction of a partitioned table: files chosen, written and taken out; *did false: nothing to do.
 * Thorough: files that are not in the spec yet are placed however few they are, and all small files of a value
 * are merged. */
ice_code ice__place(ice__edit *e, const ice__warm *warm, const ice_tabledef *def, const ice_compact_options *o,
                    bool *did, ice_error *err) ICE_MUST;

/* ---- compaction ---- */

/* Worth writing anew for the rows that are deleted in it? */
bool ice__many_deleted(const ice__file *f, const ice_compact_options *o);
/* May it be merged with others? */
bool ice__is_small(const ice__file *f);
extern const int64_t ice__target_rows, ice__target_bytes; /* of a file that compaction writes */
/* Indexes of files, `n` of them, of which the smaller ones are to be merged: sorts them by rows; returns how
 * many of them. A file of more than `tier` rows is taken only where the ones before it, with `incoming` rows,
 * have a third of its rows; all of them where the compaction is thorough. */
size_t ice__choose_tier(const ice_published *s, size_t *files, size_t n, const ice_compact_options *o, int64_t tier,
                        int64_t incoming);

/* ---- history ---- */

/* What has to be moved to the history table, and the edit that does. */
typedef struct ice__history_job {
    ice_env *env;
    ice_tabstate *state;
    ice_view *view;  /* at the flushed time */
    ice__dead *dead; /* rows of the base that the tail ended */
    int64_t upto;
    uint64_t position;
    int snapshots_kept;
    ice_str catalog_name; /* of the table; absent: not in the catalog */
} ice__history_job;

/* *location absent: nothing to write. *expected: the catalog's pointer before, absent where the history table
 * is new. */
ice_code ice__history_write(const ice__history_job *j, ice_arena *a, ice_str *expected, ice_str *location,
                            ice_error *err) ICE_MUST;
/* "<name>__history" */
ice_code ice__history_name(ice_arena *a, ice_str table, ice_str *out, ice_error *err) ICE_MUST;

/* ---- staged files ---- */

/* Adds staged files to the edit, under the spec that says their _row_start. */
ice_code ice__staged_add(ice__edit *e, const ice_staged_file *files, size_t n, ice_error *err) ICE_MUST;

/* Swap of one table's pointer, its history's with it where `history` is set. */
typedef struct ice__swap {
    ice_str name, expected, location;
    ice_str history_expected, history_location; /* absent: unchanged */
    const ice_published *from;                  /* whose place it takes: as much is flushed */
} ice__swap;
ice_code ice__swap_commit(ice_env *env, const ice__swap *s, ice_arena *a, ice_error *err) ICE_MUST;

#endif
