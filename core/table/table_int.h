/* What the files of table/ share: a loaded snapshot's insides, places and names, the decoded cache, sets of
 * deleted rows, statements of our own on the engine. */
#ifndef ICE_TABLE_TABLE_INT_H
#define ICE_TABLE_TABLE_INT_H

#include <pthread.h>

#include "format/manifest.h"
#include "format/puffin.h"
#include "table/table.h"

/* ---- table properties; the ones marked + are in the snapshot's summary too ---- */

#define ICE_PROP_TABLE "django-iceberg.table"                 /* JSON of the definition */
#define ICE_PROP_FLUSHED "django-iceberg.flushed-commit-time" /* + F, microseconds */
#define ICE_PROP_POSITION "django-iceberg.flushed-position"   /* + log position of F */
#define ICE_PROP_KEPT                                                                                        \
    "django-iceberg.history-kept-from" /* versions that ended before it may be gone, microseconds */
#define ICE_PROP_SEQUENCES "django-iceberg.sequences"      /* "<field id>.<restarts>=<next>", by commas */
#define ICE_PROP_HISTORY "django-iceberg.history-location" /* the companion's metadata at F */

/* ---- places (all keys are relative to the store's root) ---- */

/* "<namespace>/<table>-<32 hex>" and "<namespace>/<table>__history-<32 hex>", no slash at the end. */
ice_code ice__table_dir(const ice_env *env, ice_arena *a, ice_str table, ice_uuid u, bool history,
                        ice_str *key, ice_error *err) ICE_MUST;
/* "<dir>/data/<us>-s<schema id>-<16 hex>.parquet": a fresh name. The schema id in it tells readers under
 * which schema the file was written, for as long as the metadata keeps that schema. */
ice_code ice__data_key(ice_arena *a, ice_str dir, int32_t schema_id, ice_str *key, ice_error *err) ICE_MUST;
/* "<dir>/metadata/<prefix><16 hex>.<ext>": manifests, manifest lists, Puffin files. */
ice_code ice__metadata_key(ice_arena *a, ice_str dir, const char *prefix, const char *ext, ice_str *key,
                           ice_error *err) ICE_MUST;
/* Key and absolute path of a location from metadata; refused outside the warehouse (invariant 9). */
ice_code ice__locate(const ice_env *env, ice_arena *a, ice_str location, ice_str *key, ice_str *path,
                     ice_error *err) ICE_MUST;
/* Schema id in a name of ice__data_key, -1 for other names. */
int32_t ice__name_schema(ice_str base);
ice_str ice__base_name(ice_str key);

/* ---- metadata files that only this process reads (guard.c) ---- */

/* A lock on the file for as long as the descriptor is open; garbage collection of any process sees it. */
ice_code ice__guard_open(ice_str path, int *fd, ice_error *err) ICE_MUST;
/* Does somebody hold it? A file that is gone is not held. */
ice_code ice__guard_held(ice_str path, bool *held, ice_error *err) ICE_MUST;

/* ---- columns ---- */

/* _row_start, _row_end, _operation, _row_place as columns; NULL for other ids. Static. */
const ice_column *ice__system_column(int32_t field_id);
static inline bool ice__is_system(int32_t field_id)
{
    return field_id >= ICE_FIELD_ROW_START && field_id <= ICE_FIELD_OPERATION;
}
/* Columns of a definition followed by the system columns named (field ids, 0-terminated). */
ice_code ice__columns(const ice_tabledef *def, const int32_t *system, ice_arena *a, ice_column **out,
                      size_t *n, ice_error *err) ICE_MUST;
/* A definition of our kind for a table that another engine made, or a history; system columns are left out. */
ice_code ice__def_of_schema(const ice_schema *s, ice_str name, ice_uuid u, ice_tabledef **out,
                            ice_error *err) ICE_MUST;

/* ---- snapshots ---- */

#define ICE__MANIFEST_MAX                                                                                    \
    ((uint64_t)512 << 20) /* bytes of a manifest or manifest list we are willing to read */

struct ice__cached;

/* One live data file. */
typedef struct ice__file {
    ice_manifest_entry entry; /* as the manifest has it, inheritance applied: file.path, record_count, columns
                                 (statistics), first_row_id, sequence_number ... */
    int32_t spec_id;
    ice_str key, path; /* in the object store; absolute and local, NUL-terminated */
    ice_str base;      /* unique name, for the cache */
    int32_t schema_id; /* -1: not known */
    bool has_start;    /* rows have a _row_start (false: another engine's file, start 0) */
    bool fixed_start;  /* staged by the bulk path: `min_start` is every row's _row_start */
    int64_t min_start, max_start, min_end,
        max_end;                        /* bounds of _row_start, _row_end; INT64_MIN/MAX: not known */
    const ice_manifest_entry *dv_entry; /* its deletion vector, NULL: none */
    int32_t dv_spec_id;
    ice_dv *dv;                 /* ice__file_dv loads it */
    struct ice__cached *cached; /* ice__file_cached opens it */
} ice__file;

struct ice_published {
    ice_env *env;
    int refs;         /* atomic */
    int guard;        /* of a metadata file that no catalog points to; -1: none */
    ice_arena *arena; /* owns what is below; not used after loading but under `lock` */
    ice_str location; /* as the catalog has it */
    ice_str dir;      /* key of the table's directory */
    ice_str name;     /* table name, for messages */
    ice_metadata *meta;
    const ice_snapshot *current; /* NULL: the table has no snapshot yet */
    ice_tabledef *def;
    int64_t flushed;
    uint64_t position;
    int64_t kept_from; /* 0: all history is kept */
    size_t nmanifests;
    ice_manifest_file *manifests;
    size_t nfiles;
    ice__file *files; /* newest first (by sequence number, then row ids) */
    uint64_t rows;    /* live */
    int64_t staged; /* newest commit time of a staged file; INT64_MIN: none. It may be later than `flushed` */
    uint64_t estimate;    /* bytes decoded */
    pthread_mutex_t lock; /* guards what is loaded lazily: below, and dv / cached of files */
    struct ice_published *history;
    bool history_loaded;
    int resident;                 /* -1 undecided */
    struct ice__dead_slot *slots; /* sets of ended rows, for the tails and overlays last seen */
    uint64_t slot_clock;
};

/* The companion history table of this snapshot; *out NULL when it has none. Borrowed: lives as long as `s`.
 */
ice_code ice__published_history(ice_published *s, ice_published **out, ice_error *err) ICE_MUST;
/* Deletion vector of a file, loaded on first need; *out NULL when it has none. Borrowed. */
ice_code ice__file_dv(ice_published *s, ice__file *f, const ice_dv **out, ice_error *err) ICE_MUST;
/* True where reading `f` by the column names and types of `cols` would be wrong: a column was added, renamed
 * or retyped since, or the file's schema is not known. */
bool ice__file_evolved(const ice_published *s, const ice__file *f, const ice_column *cols, size_t n);
/* Bounds of a column as values of `t`; false where the file does not say. */
bool ice__file_bounds(const ice__file *f, int32_t field_id, ice_type t, ice_value *lower, ice_value *upper);

/* ---- checksums of data files ---- */

/* Before the engine reads those of `cols` that the file has (NULL: all of them, proved before or not): ICE_CORRUPT
 * where a byte of them, or of what is no column's, is not as it was written. Does nothing for a file without
 * checksums. */
ice_code ice__file_prove(const ice__file *f, const ice_column *cols, size_t n, ice_error *err) ICE_MUST;
/* Is there nothing left to prove of the file as it is now? */
bool ice__file_proved(const ice__file *f);
/* Computes them for a file just written whose columns *f lists. */
ice_code ice__sums_make(ice_str path, ice_arena *a, ice_data_file *f, ice_error *err) ICE_MUST;

/* ---- statements of our own ---- */

/* Borrows the environment's connection; a thread that holds it already gets ICE_INTERNAL, not a deadlock:
 * open views and build caches before. `names` (may be NULL) are what the statements see, until release. */
typedef struct ice__name {
    ice_str name;
    ice_view *view; /* the name of a view (its sub-sources are served too), or */
    bool with_start;
    unsigned tag;       /* unique among the names */
    ice_source *source; /* a chunk source: one use, the reference moves; NULL after it */
} ice__name;
ice_code ice__engine_acquire(ice_env *env, ice__name *names, size_t n, ice_engine_conn **out,
                             ice_error *err) ICE_MUST;
void ice__engine_release(ice_env *env, ice_engine_conn *c);
/* In a callback of the engine: whatever would need the connection fails instead of waiting for it. */
void ice__engine_forbid(bool on);

/* ---- the decoded cache ---- */

/* Decoded forms of one data file, shared by the snapshots of the process. */
typedef struct ice__cached ice__cached;

/* Where values of a file's rows are read. Neither: they are only in the Parquet file. */
typedef struct ice__values {
    ice_chunkfile *chunk; /* columns, or */
    struct ice_rowfile *rows;
    bool cold; /* nothing of it stays in the process's memory: ice__values_shed */
} ice__values;
/* Of a table that is kept decoded its chunk file, built on first need; of others what somebody has left. */
ice_code ice__file_values(ice_published *s, ice__file *f, const ice_column *cols, size_t ncols, ice__values *out,
                          ice_error *err) ICE_MUST;
/* Values of one row: views, of the stored types; of columns that the file has not, what they were at first. */
ice_code ice__values_at(const ice__file *f, const ice__values *v, uint32_t pos, const ice_column *cols, size_t ncols,
                        ice_value *out, ice_error *err) ICE_MUST;
void ice__values_shed(const ice__values *v);
/* Damage (ICE_CACHE) was met in what a look-up reads of a data file: whoever asks from now on uses nothing of it, and it
 * is made again. False: it cannot be. */
bool ice__file_lost(ice_published *s, ice__file *f, const ice_error *why);

/* Whose look-ups a new file is prepared for. */
typedef struct ice__warm {
    const ice_tabledef *def;
    const ice_keys *keys;
    bool resident; /* its columns, else its rows */
} ice__warm;
/* Writes a Parquet file's form for the cache and the index of each key, so that no reader has to. For who has
 * just written the file: `cols` are its columns with their field ids. */
ice_code ice__cache_warm(ice_env *env, ice_engine_conn *c, ice_str path, ice_str base, uint64_t rows,
                         const ice__warm *w, const ice_column *cols, size_t ncols, ice_error *err) ICE_MUST;
void ice__cached_unref(ice__cached *c);
/* Does the table's decoded form fit what the budget has left? Decided once for a snapshot. */
bool ice__published_resident(ice_published *s);
/* Chunk file of a data file (built on first need; `cols`: the columns wanted), borrowed until the snapshot
 * goes. */
ice_code ice__file_chunk(ice_published *s, ice__file *f, const ice_column *cols, size_t ncols,
                         ice_chunkfile **out, ice_error *err) ICE_MUST;
/* Key index and where the values of the key's columns, the primary key's and _row_start are; built on first need. */
ice_code ice__file_key(ice_published *s, ice__file *f, const ice_tabledef *def, const ice_keys *keys,
                       size_t key, ice_keyindex **index, ice__values *values, ice_error *err) ICE_MUST;

/* Positions of a file's rows in the order of a column (NULLs after everything, equal values as they come),
 * for the column's values in `v`: rows many; *out NULL: the rows are in that order. Kept in the cache,
 * borrowed until the snapshot goes. */
ice_code ice__file_order(ice_published *s, ice__file *f, int32_t field_id, const ice_vec *v,
                         const uint32_t **out, ice_error *err) ICE_MUST;
/* Is it so already? */
bool ice__vec_is_sorted(const ice_vec *v, uint32_t rows);
/* Writes the positions as a chunk file of one column. */
ice_code ice__order_write(const ice_vec *v, uint32_t rows, int32_t field_id, const char *path,
                          ice_error *err) ICE_MUST;
/* NULLs after everything. */
static inline int ice__order_cmp(const ice_value *a, const ice_value *b)
{
    return a->null || b->null ? a->null - b->null : ice_value_cmp(a, b);
}

/* ---- vectors ---- */

/* Column of a file's chunk as `col`: stored, else _row_start of a staged file or the initial default (in
 * `mem`, which lives as long as `out`). It may have another type than col's (a promotion): ice__promote_rows.
 */
void ice__file_vec(const ice__file *f, const ice_chunkfile *c, const ice_column *col, ice_vec_const *mem,
                   ice_vec *out);
/* Rows [first, first + n) of fixed-width `in` as values of type t, into `out` (n * width bytes). False: no
 * such promotion. */
bool ice__promote_rows(const ice_vec *in, size_t first, size_t n, ice_type t, void *out);
/* Room for rows of one column: heap vectors that are filled value by value. */
typedef struct ice__fill {
    ice_type type;
    uint8_t *data;
    uint8_t *validity;
    ice_strval *strs;
} ice__fill;
ice_code ice__fill_init(ice__fill *f, ice_arena *a, ice_type t, size_t rows, ice_error *err) ICE_MUST;
void ice__fill_set(ice__fill *f, size_t row, const ice_value *v); /* strings stay views */
void ice__fill_vec(const ice__fill *f, ice_vec *out);

/* ---- rows of the base that something newer ended ---- */

typedef struct ice__dead ice__dead;
typedef struct ice__dead_row {
    uint32_t file, pos;
    int64_t end;
    uint8_t op;
} ice__dead_row;
/* Sets for a view (either may be NULL: nothing ended). Both hold until ice__dead_unref. */
ice_code ice__dead_of_view(ice_view *v, ice__dead **tail, ice__dead **overlay, ice_error *err) ICE_MUST;
void ice__dead_unref(ice__dead *d); /* NULL is fine, here and as a set in the questions below */
void ice__dead_slots_free(ice_published *s);
/* Rows ended at or before `at` in rows [first, first + 2048) of a file, `first` a multiple of 2048: sets
 * their bits (bit i = row first + i) and returns how many entries it saw. */
size_t ice__dead_mask(ice__dead *d, uint32_t file, uint32_t first, int64_t at,
                      uint8_t mask[ICE_BATCH_ROWS / 8]);
bool ice__dead_has(ice__dead *d, uint32_t file, uint32_t pos, int64_t at);
uint64_t ice__dead_in_file(ice__dead *d, uint32_t file, int64_t at); /* how many */
/* Calls back for each ended row of a file, in no order, under the set's read lock. */
ice_code ice__dead_each(ice__dead *d, uint32_t file, int64_t at,
                        ice_code (*fn)(void *, const ice__dead_row *, ice_error *), void *arg,
                        ice_error *err) ICE_MUST;

/* Did a bulk statement end a row of the files, as the view sees it? */
bool ice__bulk_ended(const ice_view *v, uint32_t file, uint32_t pos);
void ice__staging_unref(ice_staging *s); /* NULL is fine */
/* The one set of rows that makes up all of a file's ended ones at `at`; NULL: it is not so simple. */
const ice_ended *ice__dead_whole(ice__dead *d, uint32_t file, int64_t at);
/* The same for a file of a published state, as far as it is not there. */
ice_code ice__file_warm(ice_published *s, ice__file *f, const ice_tabledef *def, const ice_keys *keys,
                        ice_error *err) ICE_MUST;

/* ---- looking up in the files ---- */

/* Rows of the files with this key that are not in a deletion vector: exact. `start`: only versions that began
 * then (0: any). A nonzero return of fn stops. */
typedef struct ice__hit {
    uint32_t file, pos;
    int64_t start;            /* 0: the file does not say */
    const ice_value *primary; /* of the row: views, valid during the call */
} ice__hit;
ice_code ice__base_find(ice_published *s, const ice_tabledef *def, const ice_keys *keys, size_t key,
                        const ice_value *values, int64_t start, int (*fn)(void *, const ice__hit *),
                        void *arg, ice_error *err) ICE_MUST;
/* About how many rows of the files have the key: from their indexes alone. */
ice_code ice__base_estimate(ice_published *s, const ice_tabledef *def, const ice_keys *keys, size_t key,
                            const ice_value *values, uint64_t *out, ice_error *err) ICE_MUST;
/* ice_view_find_some without the question of the mode; `base` false: only overlay and tail. */
ice_code ice__view_find(ice_view *v, size_t key, const ice_value *values, bool base, size_t max, ice_arena *a,
                        ice_row **rows, size_t *n, ice_error *err) ICE_MUST;
/* _row_start of a row of a file, from its chunk; 0: the file does not say. */
int64_t ice__file_start(const ice__file *f, const ice_chunkfile *c, uint32_t pos);
/* Values of a row of overlay, tail or a resident file: views, valid as long as the view's references. */
ice_code ice__view_peek(ice_view *v, const ice_row *row, const ice_column *cols, size_t ncols, ice_value *out,
                        ice_error *err) ICE_MUST;
/* Is a version of the tail hidden by what the overlay ended? A skip callback of tail scans; arg: the view. */
bool ice__overlay_ended(void *view, ice_ref r);
/* Does the view see published rows as they are now (not as of a time before they were published)? */
static inline bool ice__view_is_present(const ice_view *v)
{
    const ice_published *p = v->state->published;
    return v->mode == ICE_VIEW_CURRENT ||
           (v->mode == ICE_VIEW_AS_OF && v->at >= v->state->flushed && (!p || v->at >= p->staged));
}

/* ---- scans ---- */

/* Chunk source of a view: base (decoded), tail and overlay, each if wanted. `which` for the tail. The columns
 * live in `a`'s copy made here. */
ice_code ice__source_create(ice_view *v, bool base, ice_tail_which which, const ice_column *cols,
                            size_t ncols, ice_source **out, ice_error *err) ICE_MUST;

/* Rows that a tail's source claims on top of its own, for arms whose cardinality the engine cannot tell. */
void ice__source_claim_rows(ice_source *s, uint64_t rows);
/* A source over rows made in advance: `fill` columns of n rows, all in `a`, which the source takes over. */
ice_code ice__list_source_create(ice_arena *a, const ice_column *cols, const ice_vec *vecs, size_t ncols,
                                 uint64_t rows, ice_source **out, ice_error *err) ICE_MUST;

/* Rows that a scan of files leaves out, or gives another end: a growing list, for a source of the columns file, pos
 * and, where `ended`, _row_end and _operation. `file` is what the rows that are added are of. */
typedef struct ice__places {
    uint64_t n, cap;
    int64_t file;
    int64_t *files, *positions, *ends;
    ice_strval *operations;
} ice__places;
ice_code ice__places_add_dead(void *places, const ice__dead_row *r, ice_error *err) ICE_MUST; /* for ice__dead_each */
ice_code ice__places_add_vector(ice__places *l, const ice_dv *dv, ice_error *err) ICE_MUST; /* NULL: none */
/* Positions of a file of so many rows that are not in the set. */
ice_code ice__places_add_others(ice__places *l, const ice_dv *set, uint64_t rows, ice_error *err) ICE_MUST;
ice_code ice__places_source(const ice__places *l, bool ended, ice_source **out, ice_error *err) ICE_MUST;
void ice__places_free(ice__places *l);
/* Literals in the text of a scan. */
void ice__put_null(const ice_column *c, ice_buf *b);
void ice__put_time(int64_t t, ice_buf *b);
void ice__put_operation(uint8_t op, ice_buf *b);

/* ---- cold plans ---- */

/* One arm of the UNION ALL: files that one call reads. */
typedef struct ice__branch {
    ice_published *published; /* the table's, or its history's */
    bool history;
    size_t nfiles;
    uint32_t *files; /* indexes into published->files */
    bool evolved;    /* read by field id */
    bool deletes;    /* anti join with "__ice_<tag>_deleted_<k>" */
    bool ended;      /* VERSIONS: joined with "__ice_<tag>_ended_<k>", what the tail ended */
    bool has_start, fixed_start;
    int64_t start;    /* of fixed_start */
    bool check_start; /* some rows may begin after `at` */
} ice__branch;
typedef struct ice__plan {
    size_t nbranches;
    ice__branch *branches;
    bool tail;             /* "__ice_<tag>_tail" is the first arm */
    uint64_t evolved_rows; /* rows that the engine does not know of: a schema MAP hides the files' counts */
    size_t nfiles, nfiles_total; /* read, and of the table (and its history where that is asked) */
} ice__plan;

/* Columns that a view shows. */
ice_code ice__view_columns(const ice_view *v, bool with_start, ice_arena *a, ice_column **out, size_t *n,
                           ice_error *err) ICE_MUST;
/* Files a view has to read, of those a finished probe leaves (NULL: all). Planning again with the same probe
 * gives the same branches: sub-sources count on it. */
ice_code ice__plan_view(ice_view *v, bool with_start, const ice_probe *probe, ice_arena *a, ice__plan *out,
                        ice_error *err) ICE_MUST;
bool ice__probe_keeps(const ice_probe *p, bool history, size_t file);
/* What any of n probes leaves, as a probe in the arena; NULL: every file. */
ice_probe *ice__probes_together(ice_view *v, ice_probe *const *probes, size_t n, ice_arena *a);
/* Does a statement read decoded columns, and no files? */
bool ice__view_is_hot(ice_view *v);
ice_code ice__plan_sql(ice_view *v, const ice__plan *p, unsigned tag, bool with_start, ice_arena *a,
                       ice_str *out, ice_error *err) ICE_MUST;
/* Of a plan's tail: when its scan begins, what it is asked for is proved of the plan's files. */
ice_code ice__source_prove(ice_source *s, const ice__plan *plan, ice_error *err) ICE_MUST;
/* Before the engine reads these columns of the plan's files: as ice__file_prove of each. */
ice_code ice__plan_prove(const ice__plan *p, const ice_column *cols, size_t n, ice_arena *a, ice_error *err) ICE_MUST;
/* The rows that a branch's deletes (or, `ended`, the tail's tombstones) take out: columns file (index in the
 * branch), pos, and with `ended` _row_end, _operation. */
ice_code ice__branch_source(ice_view *v, const ice__branch *b, bool ended, ice_source **out,
                            ice_error *err) ICE_MUST;

/* What the engine says when it reads a file of ours that is damaged, whatever its code: CORRUPT, with `what` before the message. */
void ice__read_failed(ice_error *err, ice_str what);
#endif
