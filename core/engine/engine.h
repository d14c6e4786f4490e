/* DuckDB as the executor that owns no data. Loaded from the `duckdb` wheel's shared library at first use
 * (never at import: a process that only makes key look-ups never loads its 65 MB), through its C API v2.
 *
 * Threads: an ice_engine is shared by the process; an ice_engine_conn belongs to one thread at a time; an
 * ice_result must be closed before the next statement on its connection. Callbacks of a chunk source are
 * called from DuckDB's worker threads, several at once. */
#ifndef ICE_ENGINE_ENGINE_H
#define ICE_ENGINE_ENGINE_H

#include "base/value.h"
#include "schema/tabledef.h"
#include "store/chunk.h"

typedef struct ice_engine ice_engine;
typedef struct ice_engine_conn ice_engine_conn;
typedef struct ice_result ice_result;

/* dlopens `library` (absolute path), resolves every symbol used and checks the version is 2.0.x; ICE_CONFIG
 * naming what is missing and what to install. One in-memory instance, threads and memory_limit as given (0:
 * DuckDB's default); extension auto-install and auto-load off. TimeZone is set by the caller through SQL. The
 * library is loaded once for the process: a second engine uses the first one's. */
ice_code ice_engine_open(const char *library, int threads, uint64_t memory_limit, ice_engine **out,
                         ice_error *err) ICE_MUST;
/* Changes what ice_engine_open was given, at least one thread. ICE_NOMEM: more memory is in use than a lower limit.
 * ICE_CONFLICT: statements run, whose threads are in use. Try again later. */
ice_code ice_engine_limit(ice_engine *e, int threads, uint64_t memory_limit, ice_error *err) ICE_MUST;
/* Once, for good: SQL reads and writes files below these directories only (absolute paths), and no others. */
ice_code ice_engine_restrict(ice_engine *e, const ice_str *directories, size_t n, ice_error *err) ICE_MUST;
/* Every connection and result must be closed before. NULL is fine. */
void ice_engine_close(ice_engine *e);
/* In a forked child: forget without freeing. */
void ice_engine_after_fork(ice_engine *e);

/* ---- showing tables to DuckDB ---- */

/* Comparison of a column with constants, as derived by DuckDB's optimizer. */
typedef enum ice_filter_op {
    ICE_F_EQ,
    ICE_F_LT,
    ICE_F_LE,
    ICE_F_GT,
    ICE_F_GE,
    ICE_F_IN,
    ICE_F_IS_NULL,
    ICE_F_NOT_NULL
} ice_filter_op;
typedef struct ice_filter {
    int column; /* position in the source's columns */
    ice_filter_op op;
    size_t nvalues;
    const ice_value *values;
} ice_filter;

/* One table of a statement, as the resolver answered it. Either a chunk source or a subquery's text. */
typedef struct ice_source ice_source;
typedef struct ice_source_methods {
    /* Columns the source produces: names and types in order (borrowed until release). */
    void (*columns)(ice_source *s, const ice_column **cols, size_t *n);
    uint64_t (*cardinality)(ice_source *s);
    /* Called once for each planned scan, before it starts, with the filters DuckDB offers: the source may
     * take those that narrow what it reads (key look-ups). A filter taken here is STILL applied by DuckDB
     * (the engine never "accepts" one), so taking may over-approximate. `scan_state` is the source's own. */
    ice_code (*open)(ice_source *s, const ice_filter *filters, size_t nfilters, const int *projection,
                     size_t nprojection, void **scan_state, uint64_t *max_threads, ice_error *err);
    /* Next batch for the calling worker: points `out` at column vectors (one for each projected column; index
     * -1 in the projection is "no column", only the count matters) with an optional selection. Batch ends the
     * scan when out->count is 0. Fixed-width values, offsets and validity stay valid until the next call with
     * the same worker state or close; the bytes of strings longer than 12 are handed on as pointers and stay
     * valid until `release`. */
    ice_code (*next)(ice_source *s, void *scan_state, void **worker_state, ice_batch *out, ice_error *err);
    void (*close)(ice_source *s, void *scan_state);
    void (*close_worker)(ice_source *s, void *worker_state);
    void (*release)(
        ice_source *s); /* the statement's hold on the source; may come from one of DuckDB's threads */
    /* Optional (NULL: none): position, in the source's own order, of the batch that `next` last gave this
     * worker; never decreases for one worker. With it, scans whose rows go straight to a result or a file
     * keep that order and run on all threads; without it they keep it by running on one. Counts, groups,
     * joins and sorts need none. */
    uint64_t (*order)(ice_source *s, void *worker_state);
    /* Optional: the filters a scan was offered, told once for each time DuckDB bound the source, when that
     * plan is gone; scans that were planned and never ran too. May come from one of DuckDB's threads. */
    void (*planned)(ice_source *s, const ice_filter *filters, size_t nfilters);
} ice_source_methods;
struct ice_source {
    const ice_source_methods *m;
};

/* Asked for each table name DuckDB can't find. Sets *source (with a reference the engine releases when the
 * statement's result is closed), or *subquery (SQL text, arena-allocated in `a`), or neither (the name is
 * unknown). `seq` counts calls within the statement. */
typedef ice_code (*ice_resolver)(void *arg, ice_str name, unsigned seq, ice_arena *a, ice_source **source,
                                 ice_str *subquery, ice_error *err);

ice_code ice_engine_connect(ice_engine *e, ice_resolver resolver, void *arg, ice_engine_conn **out,
                            ice_error *err) ICE_MUST;
void ice_engine_disconnect(ice_engine_conn *c);
/* Ends the running statement with ICE_CANCELED; from any thread. */
void ice_engine_interrupt(ice_engine_conn *c);

/* Runs one statement. Parameters are $1..$n (nparams values, typed by their kind, but a LONG that fits is an
 * INTEGER; a NULL of kind NONE is untyped). Statements with parse trees are cached by text inside the connection (a small LRU), plans never.
 * Errors of DuckDB become codes: parser -> SYNTAX, catalog/binder -> NO_TABLE / NO_COLUMN / SYNTAX,
 * conversion -> BAD_VALUE, out of range -> RANGE, division -> DIV_ZERO, interrupt -> CANCELED, out of memory
 * -> NOMEM, anything else ENGINE; an error that a resolver or source callback gave comes back as it was. */
ice_code ice_engine_run(ice_engine_conn *c, ice_str sql, const ice_value *params, size_t nparams,
                        ice_result **out, ice_error *err) ICE_MUST;

/* The same for a statement without parameters whose rows nobody wants: to its end. */
ice_code ice_engine_exec(ice_engine_conn *c, ice_str sql, ice_error *err) ICE_MUST;

/* Result columns. The type kind NONE marks what has no Iceberg type (LIST, STRUCT, MAP, INTERVAL,
 * HUGEINT...): `duck_type` has DuckDB's text of it; `ice_result_text` values of such columns come as their
 * text (kind STRING), except HUGEINT (decimal(38,0)) and INTERVAL (LONG microseconds, months as 30 days as
 * Django's DurationField never makes months; sql_type "interval"). */
typedef struct ice_result_column {
    ice_str name;
    ice_type type;
    ice_str duck_type;
} ice_result_column;
size_t ice_result_columns(const ice_result *r, const ice_result_column **cols);
/* Computes up to so many chunks (64 at most) now, so that an error in them comes here and not with the rows. */
ice_code ice_result_ahead(ice_result *r, size_t chunks, ice_error *err) ICE_MUST;
/* Next chunk (streaming): *count rows, 0 at the end. */
ice_code ice_result_next(ice_result *r, size_t *count, ice_error *err) ICE_MUST;
/* Value of the current chunk; strings are views valid until the next chunk. */
void ice_result_value(ice_result *r, size_t column, size_t row, ice_value *out);
void ice_result_close(ice_result *r); /* also releases the statement's sources; NULL is fine */

/* Arrow C Data Interface (https://arrow.apache.org/docs/format/CDataInterface.html): runs a statement and
 * exports its whole result as a stream. The stream owns the statement's sources until released;
 * `on_release(arg)` is called then. Strings come as views, HUGEINT as decimal(38, 0), UUID and JSON as
 * strings, INTERVAL as a duration in microseconds (months as 30 days). */
struct ArrowArrayStream;
ice_code ice_engine_run_arrow(ice_engine_conn *c, ice_str sql, const ice_value *params, size_t nparams,
                              struct ArrowArrayStream *out, void (*on_release)(void *), void *arg,
                              ice_error *err) ICE_MUST;
void ice_engine_arrow_release(struct ArrowArrayStream *stream); /* calls its release */

/* ---- Parquet ---- */

/* Column statistics of one written file, by field id. Bounds are values of the column's type; absent where
 * unknown. */
typedef struct ice_column_stats {
    int32_t field_id;
    uint64_t size_bytes;
    int64_t null_count, nan_count; /* -1 unknown */
    bool has_bounds;
    ice_value lower, upper;
} ice_column_stats;
typedef struct ice_parquet_info {
    uint64_t rows, bytes;
    size_t ncols;
    ice_column_stats *cols;
} ice_parquet_info;

/* COPY (sql) TO path as Parquet: zstd, v2 pages, row groups of 40,960 rows, field ids `ids` for the query's
 * columns in order. The query may name tables that the connection's resolver knows. Statistics into the
 * arena. The file is written under its final name; the caller fsyncs. */
ice_code ice_parquet_write(ice_engine_conn *c, ice_str sql, const ice_value *params, size_t nparams,
                           ice_str path, const ice_column *cols, size_t ncols, ice_arena *a,
                           ice_parquet_info *info, ice_error *err) ICE_MUST;
/* SQL text of a scan of Parquet files (absolute paths) under a schema: a read_parquet(...) call, with
 * `schema = MAP {field_id: {name, type, default_value}}` where `evolved`, exposing file_row_number when
 * `with_position` (columns "file_row_number" and "filename"/file index as "__file" BIGINT index into
 * `files`). */
void ice_parquet_scan_sql(const ice_str *files, size_t nfiles, const ice_column *cols, size_t ncols,
                          bool evolved, bool with_position, ice_buf *out);
/* Name of a column's type in DuckDB: "DECIMAL(9,2)", "TIMESTAMP WITH TIME ZONE", "BLOB", ... */
void ice_duck_type(const ice_column *c, ice_buf *out);
#endif
