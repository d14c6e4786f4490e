/* A table as a whole: definition, published snapshot (Iceberg files), tail; reading it through a view.
 *
 *   ice_env        what a warehouse gives its tables: object store, catalog, cache directory, engine
 *   ice_published   the published state of one table at flushed time F: immutable, shared, reference counted
 *   ice_tabstate   {definition, snapshot (or none yet), tail holding (F, now]}: immutable triple, reference
 * counted; the tail inside grows, the triple is replaced when the schema changes or a flush is noticed
 *   ice_view       one table in a read view: a tabstate, a time `at`, a transaction's overlay
 *
 * Rows visible in a view: base rows of the snapshot, minus its deletion vectors, minus tombstones of the tail
 * with end <= at, minus tombstones of the overlay; plus tail versions visible at `at` and not ended by the
 * overlay; plus the overlay's live versions. */
#ifndef ICE_TABLE_TABLE_H
#define ICE_TABLE_TABLE_H

#include "catalog/catalog.h"
#include "engine/engine.h"
#include "io/io.h"
#include "store/host.h"
#include "store/tail.h"

typedef struct ice_env {
    ice_store *store;
    ice_catalog *catalog;
    const char *cache_dir;  /* absolute; holds chunk files and key indexes, rebuildable */
    ice_host *host;         /* where kept bytes are counted */
    uint64_t memory_budget; /* bytes of decoded columns kept for the whole host; tables that do not fit are
                               read cold */
    uint64_t cache_max; /* bytes that the cache directory is kept to; what is in use stays all the same */
    uint64_t cache_written; /* table/'s own: bytes since it looked, and whether it has */
    bool cache_looked;
    ice_uuid warehouse;
    const char *ns; /* namespace: the first part of a new table's directory; NULL: "default" */
    /* A connection of the engine for work inside table/ (cache building, flush): made on first use, one user
     * at a time (others wait). release after use. It must have been made with the resolver ice_env_resolve
     * and this environment as its argument. */
    ice_code (*engine_acquire)(void *arg, ice_engine_conn **out, ice_error *err);
    void (*engine_release)(void *arg, ice_engine_conn *c);
    /* Around writing metadata that no catalog points to (staged files): no collection lists meanwhile. */
    ice_code (*stage_begin)(void *arg, ice_error *err);
    void (*stage_end)(void *arg);
    /* Location of a metadata file or manifest list that what is being published no longer names. The three
     * may be NULL. */
    void (*replaced)(void *arg, ice_str location);
    void *arg;
    /* What the running statement of that connection may name; table/'s own, zero at first. */
    struct ice__name *names;
    size_t nnames;
} ice_env;

/* An ice_resolver: names that table/ has given to its own statement. */
ice_code ice_env_resolve(void *env, ice_str name, unsigned seq, ice_arena *a, ice_source **source,
                         ice_str *subquery, ice_error *err);

/* ---- snapshots ---- */

typedef struct ice_published ice_published;

/* Reads metadata.json, manifest list and manifests (bounded, checked). The history table's state is loaded on
 * first need. */
ice_code ice_published_load(ice_env *env, ice_str metadata_location, ice_published **out,
                            ice_error *err) ICE_MUST;
ice_published *ice_published_ref(ice_published *s);
void ice_published_unref(ice_published *s);
/* The definition kept in the table's properties; for a table another engine made, one derived from its
 * Iceberg schema. Owned by the snapshot. */
const ice_tabledef *ice_published_def(const ice_published *s);
/* Commit time F and log position up to which the snapshot holds everything; 0 when never flushed. */
int64_t ice_published_flushed(const ice_published *s);
uint64_t ice_published_position(const ice_published *s);
/* Instants before it can't be read any more: expiry dropped versions that ended before it. 0: all can. */
int64_t ice_published_kept_from(const ice_published *s);
ice_str ice_published_location(const ice_published *s);
/* Live rows: manifest counts minus deletion vectors. Highest value of an identity column in the files (0:
 * none). */
uint64_t ice_published_rows(const ice_published *s);
int64_t ice_published_max_int(const ice_published *s, int32_t field_id);
/* The value an identity column's sequence would have handed out next when this was published; 0: not said. */
int64_t ice_published_next(const ice_published *s, int32_t field_id, int32_t restarts);
/* Past snapshots for snapshots(), newest first. commit_time: the flushed commit time it stands for. */
typedef struct ice_snapshot_info {
    int64_t snapshot_id, timestamp_ms, commit_time;
    ice_str operation;
    size_t nsummary;
    ice_str *summary_keys, *summary_values;
} ice_snapshot_info;
ice_code ice_published_list(ice_published *s, ice_arena *a, ice_snapshot_info **out, size_t *n,
                            ice_error *err) ICE_MUST;
/* uuid of a table from the directory name our metadata locations have ("<table>-<32 hex>/metadata/...");
 * false for others'. */
bool ice_location_uuid(ice_str metadata_location, ice_uuid *out);
/* The same of the directory's name itself. */
bool ice_dir_uuid(ice_str dir, ice_uuid *out);

/* ---- the bulk path ---- */

/* Rows of one data file that one transaction has ended, as positions: what a bulk UPDATE or DELETE says
 * instead of a tombstone for each. From the log (`end`: its commit time), or of a transaction that has not
 * committed (ICE_ENDED_PENDING: only its own current views heed it). Immutable, reference counted. Positions
 * stay right until a flush publishes them, because nobody rewrites files meanwhile (txn/: the layout lock). */
struct ice_dv;
struct ice_view;
typedef struct ice_ended {
    int refs; /* atomic */
    int64_t end;
    ice_row_op op; /* UPDATE or DELETE */
    char *file;    /* unique name of the data file */
    struct ice_dv *rows;
} ice_ended;
#define ICE_ENDED_PENDING INT64_MIN
/* Takes `rows`, on failure too. */
ice_code ice_ended_create(ice_str file, ice_row_op op, int64_t end, struct ice_dv *rows, ice_ended **out,
                          ice_error *err) ICE_MUST;
ice_ended *ice_ended_ref(ice_ended *e);
void ice_ended_unref(ice_ended *e); /* NULL is fine */

/* A Parquet file written before its commit: without _row_start, which is the commit time. */
typedef struct ice_staged_file {
    ice_str key; /* object-store key */
    uint64_t rows, bytes;
    int32_t schema_id;
    int64_t commit_time; /* from the log, or ICE_PENDING_START + an operation number */
    ice_str data_file_json; /* the statistics, as ice_staged_write made them */
} ice_staged_file;
/* _row_start that rows of a staged file have in their own transaction: later than any time. */
#define ICE_PENDING_START ((int64_t)1 << 62)

/* What a transaction has staged so far. Immutable, reference counted. */
typedef struct ice_staging {
    int refs; /* atomic */
    ice_arena *arena;
    size_t n;
    ice_staged_file *files;
} ice_staging;

/* Column of a view with `with_place`: file << 32 | position of a row of the published files, NULL of others. */
#define ICE_FIELD_ROW_PLACE 1000000004
#define ICE_ROW_PLACE "_row_place"

/* ---- table states ---- */

typedef struct ice_tabstate {
    ice_tabledef *def;        /* owned */
    ice_keys keys;            /* of def, in def's arena */
    ice_published *published; /* NULL: nothing published yet */
    ice_tail *tail;
    int64_t flushed;                 /* F, 0 without a snapshot */
    int refs;                        /* atomic */
    struct ice_tabstate *older_defs; /* keeps definitions alive that the tail's chunks were made with */
    size_t nended;
    struct ice_ended_in {
        ice_ended *rows;
        uint32_t file; /* index in the published state */
    } *ended;             /* of the published files, not published yet, in the order of their ends */
    ice_staging *staging; /* a transaction's own: what it staged; its files are in `published` */
} ice_tabstate;

/* Takes over def and the caller's references of published and tail (a NULL tail: a new one is made); takes a
 * reference of its own of `older` (NULL: none) where that has the same tail; another tail is given `def`
 * here. On failure the caller still owns all of them. */
ice_code ice_tabstate_create(ice_tabledef *def, ice_published *published, ice_tail *tail, ice_tabstate *older,
                             ice_tabstate **out, ice_error *err) ICE_MUST;
ice_tabstate *ice_tabstate_ref(ice_tabstate *s);
void ice_tabstate_unref(ice_tabstate *s);
/* Gives a state that nobody else has yet what `from` knows of ended rows: those that ended after `since`, and
 * what a transaction staged. ICE_CORRUPT where its published state has not the file. */
ice_code ice_tabstate_inherit(ice_tabstate *s, const ice_tabstate *from, int64_t since,
                              ice_error *err) ICE_MUST;

/* What one bulk statement, or the log's record of a transaction, does to a table. */
typedef struct ice_bulk {
    size_t nfiles;
    const ice_staged_file *files; /* their commit times set */
    size_t nended;
    ice_ended *const *ended;
    bool pending; /* of a transaction: `ended` replaces what the state had pending */
} ice_bulk;
/* A state like `old` with it. Caches of new files are written where it is pending: by who has the data. */
ice_code ice_tabstate_bulk(ice_env *env, ice_tabstate *old, const ice_bulk *b, ice_tabstate **out,
                           ice_error *err) ICE_MUST;
/* What a transaction ends of a state's files, while it is put together: at first what was pending already. */
typedef struct ice_marks ice_marks;
ice_code ice_marks_open(ice_tabstate *s, ice_marks **out, ice_error *err) ICE_MUST; /* takes a reference */
void ice_marks_free(ice_marks *m);                                                  /* NULL is fine */
/* A row ended. *fresh false: it had already. */
ice_code ice_marks_add(ice_marks *m, uint32_t file, uint64_t pos, ice_row_op op, bool *fresh,
                       ice_error *err) ICE_MUST;
/* Every row of the files that a current view of this state sees (tail and overlay aside) is deleted. */
ice_code ice_marks_add_all(ice_marks *m, struct ice_view *v, uint64_t *n, ice_error *err) ICE_MUST;
/* Is the file one that the transaction staged? */
bool ice_marks_staged(const ice_marks *m, uint32_t file);
/* A row that the transaction had staged is gone: a row of that primary key which it replaced was deleted. */
ice_code ice_marks_deleted(ice_marks *m, const ice_value *key, ice_error *err) ICE_MUST;
/* Pending sets of it all; the caller drops the references (n of them). The array lives in `a`. */
ice_code ice_marks_take(ice_marks *m, ice_arena *a, ice_ended ***out, size_t *n, ice_error *err) ICE_MUST;

/* What a transaction's staging comes to at its commit: files without rows that it ended again (written anew
 * without them, or not at all), and what it ended of the files that were there before. `v`: a current view
 * of the transaction's, with an empty overlay. */
ice_code ice_staging_settle(struct ice_view *v, ice_arena *a, ice_staged_file **files, size_t *nfiles,
                            ice_ended ***ended, size_t *nended, ice_error *err) ICE_MUST;
bool ice_tabstate_has_file(const ice_tabstate *s, ice_str file); /* its unique name */
/* Anything in the state that began or ended after `at`? (True also where that is not known any more.) */
bool ice_tabstate_changed_since(const ice_tabstate *s, int64_t at);

/* ---- views ---- */

typedef enum ice_view_mode { ICE_VIEW_CURRENT, ICE_VIEW_AS_OF, ICE_VIEW_VERSIONS } ice_view_mode;
typedef struct ice_view {
    ice_env *env;
    ice_tabstate *state; /* referenced */
    int64_t at;          /* commit time the view shows; for AS_OF and VERSIONS too */
    ice_tail *overlay;   /* referenced; NULL: none */
    int64_t overlay_at;  /* operation number of the overlay up to which the view sees it (a statement does not
                            see what it or a later one writes) */
    ice_view_mode mode;
    bool with_place; /* tables of statements show _row_place too */
} ice_view;

/* Where a visible row is. */
typedef enum ice_where { ICE_IN_OVERLAY, ICE_IN_TAIL, ICE_IN_BASE } ice_where;
typedef struct ice_row {
    ice_where where;
    ice_ref ref;        /* OVERLAY, TAIL */
    uint32_t file, pos; /* BASE: index of the data file in the snapshot, row in it */
    int64_t start;      /* _row_start of the version (OVERLAY: 0) */
} ice_row;

/* Rows whose key number `key` (of state->keys) equals `values`, through hash indexes, and for files through
 * key indexes (built on first need, in the cache). Mode CURRENT only. Rows into the arena. Exact: candidates'
 * values are compared. */
ice_code ice_view_find(ice_view *v, size_t key, const ice_value *values, ice_arena *a, ice_row **rows,
                       size_t *n, ice_error *err) ICE_MUST;
/* The same, but no more than `max` rows (any of them). */
ice_code ice_view_find_some(ice_view *v, size_t key, const ice_value *values, size_t max, ice_arena *a,
                            ice_row **rows, size_t *n, ice_error *err) ICE_MUST;

/* Visible rows in the order of a key of one column: NULLs after everything, or before it when descending;
 * rows of equal values in no order. Holds what it reads (its own references), not the view. */
typedef struct ice_walk ice_walk;
/* Only keys from `low` to `high` (of the column's kind or one that compares with it); NULL: no bound. With a
 * bound, no NULLs. */
typedef struct ice_walk_range {
    const ice_value *low, *high;
    bool without_low, without_high; /* the bound itself is outside */
} ice_walk_range;
/* Mode CURRENT and one-column keys only. *out NULL and ICE_OK where there is no such order at hand: files
 * that are not kept decoded, or a view older than what the tail still knows of its order. `range` may be
 * NULL. */
ice_code ice_view_walk(ice_view *v, size_t key, bool descending, const ice_walk_range *range, ice_walk **out,
                       ice_error *err) ICE_MUST;
/* The next rows, at most `max`. Each row looked at, also one that is not visible, takes one from *budget; n
 * below max: the end, or *budget is 0, and then the walk is over too. */
ice_code ice_walk_next(ice_walk *w, size_t max, uint64_t *budget, ice_row *rows, size_t *n,
                       ice_error *err) ICE_MUST;
/* Passes over rows, at most `count`; long runs of a file in which nothing was deleted in one step of the
 * budget. */
ice_code ice_walk_skip(ice_walk *w, uint64_t count, uint64_t *budget, uint64_t *skipped,
                       ice_error *err) ICE_MUST;
void ice_walk_close(ice_walk *w); /* NULL is fine */

/* Values of a row for `ncols` columns of a definition, in the arena (field ids as in tail scans: _row_start
 * too). BASE rows come from the decoded column file where the table is resident, else from the Parquet file
 * through the engine by file_row_number. */
ice_code ice_view_row(ice_view *v, const ice_row *row, const ice_column *cols, size_t ncols, ice_arena *a,
                      ice_value *out, ice_error *err) ICE_MUST;
/* The same for several rows, one after another in `out` (nrows * ncols): rows of cold files are read by one
 * statement. */
ice_code ice_view_rows(ice_view *v, const ice_row *rows, size_t nrows, const ice_column *cols, size_t ncols,
                       ice_arena *a, ice_value *out, ice_error *err) ICE_MUST;
/* Unfiltered count(*) of the view. */
ice_code ice_view_count(ice_view *v, uint64_t *out, ice_error *err) ICE_MUST;

/* What a statement asks of a view, recorded (table/prune.c). */
typedef struct ice_probe ice_probe;

/* What the resolver answers for this table: a chunk source (hot: decoded files + tail + overlay, in parallel;
 * EQ/IN filters on an indexed key become look-ups) or a subquery over read_parquet of the files that the view
 * needs, UNION ALL the tail, minus the deleted rows (cold; also AS_OF and VERSIONS where files are cold).
 * `tag` is unique within the statement: names the subquery uses for its own chunk sources begin with it
 * ("__ice_<tag>_tail", "__ice_<tag>_deleted"), and the resolver passes such names to ice_view_subsource.
 * CURRENT and AS_OF have def's columns (and `_row_start` when with_start); VERSIONS adds _row_start,
 * _row_end, _operation (what ended the version: "update", "delete"; NULL for a live one). The view must
 * outlive the source's release: the source takes its own references. */
/* A source of rows that a callback gives: at most ICE_BATCH_ROWS at a time, row after row into `rows`, 0 at the
 * end. Called by one thread at a time, not after an error. What the values point to lives in `a`, which is
 * the callback's until it is called again about 100,000 rows later. */
typedef ice_code (*ice_stream_next)(void *arg, ice_arena *a, ice_value *rows, size_t *n, ice_error *err);
ice_code ice_stream_source_create(const ice_column *cols, size_t ncols, ice_stream_next next, void *arg,
                                  ice_source **out, ice_error *err) ICE_MUST;
ice_code ice_view_open(ice_view *v, unsigned tag, bool with_start, const ice_probe *probe, ice_arena *a,
                       ice_source **source, ice_str *subquery, ice_error *err) ICE_MUST;
/* `name`: the whole of it, "__ice_<tag>_..."; NULL in *source when the view has no such source. `probe`: as
 * the subquery of that tag was opened with. */
ice_code ice_view_subsource(ice_view *v, ice_str name, const ice_probe *probe, ice_source **source,
                            ice_error *err) ICE_MUST;

/* Is the view cold, with so many files that a plan made only to learn which of them are needed is worth it? */
bool ice_view_wants_probe(ice_view *v);
/* A source without rows for one place of the view in a statement; *out records the filters that come to it
 * while the statement is planned. */
ice_code ice_view_probe(ice_view *v, bool with_start, ice_source **source, ice_probe **out,
                        ice_error *err) ICE_MUST;
/* Once that statement's result is closed: decides which files are left. Not in a callback of the engine. */
ice_code ice_probe_finish(ice_probe *p, ice_view *v, ice_error *err) ICE_MUST;
void ice_probe_unref(ice_probe *p); /* NULL is fine */
/* Data files read (none of them where the decoded columns are resident) and in all, rows. */
typedef struct ice_view_cost {
    uint64_t rows, files_read, files_total;
    bool resident;
} ice_view_cost;
void ice_view_cost_get(ice_view *v, ice_view_cost *out);
/* The same for a statement with n places of the view, all of them with finished probes: files that any leaves. */
void ice_view_cost_probed(ice_view *v, ice_probe *const *probes, size_t n, ice_view_cost *out);
#endif
