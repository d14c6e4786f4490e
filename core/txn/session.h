/* Warehouses, sessions, statements: what the Python module calls.
 *
 * A warehouse is shared by the sessions of a process that name the same (WAREHOUSE, catalog, namespace). A
 * session is one connection: one transaction at a time, used by one thread at a time (ice_session_interrupt
 * from any). A cursor holds one statement's result; several may be open in one session.
 *
 * Transactions (docs/transactions.md): autocommit unless ice_session_begin was called. In a transaction a
 * failed statement takes back its own changes; the transaction is then aborted (ICE_TX_ABORTED) until
 * rollback or rollback to a savepoint, as in PostgreSQL. */
#ifndef ICE_TXN_SESSION_H
#define ICE_TXN_SESSION_H

#include "engine/engine.h"
#include "schema/tabledef.h"

typedef struct ice_warehouse ice_warehouse;
typedef struct ice_session ice_session;
typedef struct ice_prepared ice_prepared;
typedef struct ice_cursor ice_cursor;

/* Options of a warehouse, which its sessions in a process share: who says one has to mean what the others have. */
enum {
    ICE_GIVEN_DURABILITY = 1 << 0,
    ICE_GIVEN_THREADS = 1 << 1,
    ICE_GIVEN_MEMORY = 1 << 2,
    ICE_GIVEN_FLUSH_INTERVAL = 1 << 3,
    ICE_GIVEN_FLUSH_BYTES = 1 << 4,
    ICE_GIVEN_FLUSH_BACKGROUND = 1 << 5,
    ICE_GIVEN_SKEW = 1 << 6,
    ICE_GIVEN_LOG_BYTES = 1 << 7,
    ICE_GIVEN_ORPHANS = 1 << 8,
    ICE_GIVEN_REWRITE_BYTES = 1 << 9,
    ICE_GIVEN_FLUSH_BACKLOG = 1 << 10,
    ICE_GIVEN_CACHE = 1 << 11,
};

typedef struct ice_config {
    unsigned given; /* ICE_GIVEN_...: the others are defaults, and whatever the warehouse has will do */
    const char *warehouse;      /* absolute path or file:// URI */
    const char *catalog;        /* absolute path of the SQLite file */
    const char *ns;             /* namespace */
    const char *duckdb_library; /* absolute path of the wheel's extension module */
    bool read_only;
    bool sync;                 /* durability "full" (true) or "none" */
    bool snapshot_isolation;   /* isolation-level "snapshot"; false: read committed */
    int threads;               /* of the engine; 0: as many as cores */
    uint64_t memory_budget;    /* bytes; at first a quarter of the machine's memory, at most 4 GiB */
    uint64_t cache_max; /* bytes of the cache directory; at first 10 GiB */
    int64_t flush_interval_ms; /* age at which the tail is flushed in the background; 0: by each commit itself */
    uint64_t flush_bytes;      /* size at which it is; 0: 64 MiB */
    uint64_t rewrite_bytes;    /* a flush may rewrite a table under this size whole; 0: none */
    uint64_t flush_backlog;    /* that many times flush_bytes unpublished, commits wait a little; 0: never */
    int64_t lock_timeout_ms;   /* < 0: for ever */
    int64_t max_skew_ms;
    uint64_t log_max_bytes;
    uint64_t bulk_rows; /* a transaction with that many changed rows in a table writes them to a Parquet file
                           before its commit; 0: never */
    int64_t orphans_grace_ms; /* age below which garbage collection leaves files of unknown origin */
    bool fast_path;
    bool background_flush;
    bool keep_open; /* after its last session the warehouse stays open in the process, for the next one */
} ice_config;
void ice_config_defaults(ice_config *c);
/* Closes the warehouses of the process that no session uses: before their files are moved or removed, and
 * before the process ends. */
void ice_close_idle(void);

/* Opens a session (and its warehouse, when it is the first; else ICE_CONFIG for an option of the warehouse that differs. Lock timeout,
 * rows of the bulk path and isolation are the session's own; sessions that only read have a warehouse of their own). A warehouse that is not there is not an error
 * yet: the first statement that needs it says so, and CREATE TABLE creates it. */
ice_code ice_session_open(const ice_config *config, ice_session **out, ice_error *err) ICE_MUST;
void ice_session_close(ice_session *s); /* rolls back */
/* To be called in a forked child for sessions made before the fork: forgets without touching shared state.
 * pthread_atfork is installed by the first open; this is for the Python object, which must not close what it
 * inherited. True when the session belongs to another process. */
bool ice_session_is_foreign(const ice_session *s);
void ice_session_interrupt(ice_session *s);

/* ---- transactions ---- */
ice_code ice_session_begin(ice_session *s, ice_error *err) ICE_MUST;
ice_code ice_session_commit(ice_session *s, ice_error *err) ICE_MUST; /* no transaction: does nothing */
ice_code ice_session_rollback(ice_session *s, ice_error *err) ICE_MUST;
bool ice_session_in_transaction(const ice_session *s);
/* IANA name; ICE_CONFIG when the engine does not know it (noticed at the next statement that uses the
 * engine). */
ice_code ice_session_set_timezone(ice_session *s, const char *name, ice_error *err) ICE_MUST;
const char *ice_session_timezone(const ice_session *s);
void ice_session_set_fast_path(ice_session *s, bool on);
/* Statements run once on every engine connection of the session before its first use (CREATE MACRO ...).
 * Copied. */
ice_code ice_session_set_prelude(ice_session *s, const char *const *statements, size_t n,
                                 ice_error *err) ICE_MUST;

/* ---- statements ---- */

/* Parses, from the plan cache where the text was seen before. `format`: %s placeholders (PEP 249), else $1.
 * Valid until the next prepare of the session. */
ice_code ice_session_prepare(ice_session *s, ice_str sql, bool format, ice_prepared **out,
                             ice_error *err) ICE_MUST;
size_t ice_prepared_params(const ice_prepared *p, const ice_str **names); /* *names NULL: positional */

/* Runs it. as_of: commit time in microseconds (ICE_FUTURE, ICE_HISTORY_EXPIRED), or 0 for now; only reads may
 * have one. */
ice_code ice_session_run(ice_session *s, ice_prepared *p, const ice_value *params, size_t nparams,
                         int64_t as_of, ice_cursor **out, ice_error *err) ICE_MUST;
/* The same for reads, whole result as an Arrow C stream. */
ice_code ice_session_run_arrow(ice_session *s, ice_prepared *p, const ice_value *params, size_t nparams,
                               int64_t as_of, struct ArrowArrayStream *out, ice_error *err) ICE_MUST;

/* 0 columns: a statement without a result. */
size_t ice_cursor_columns(const ice_cursor *c, const ice_result_column **cols);
/* Next batch of rows; *count 0 at the end. */
ice_code ice_cursor_next(ice_cursor *c, size_t *count, ice_error *err) ICE_MUST;
/* A value of the current batch; views until the next batch. */
void ice_cursor_value(ice_cursor *c, size_t col, size_t row, ice_value *out);
int64_t ice_cursor_rowcount(const ice_cursor *c); /* rows changed, or rows of a materialised result, or -1 */
const char *ice_cursor_path(const ice_cursor *c); /* "fast", "engine", "bulk", "" */
void ice_cursor_close(ice_cursor *c);             /* NULL is fine */

/* ---- catalog and upkeep ---- */
/* Names of the tables, or of the views, sorted. */
ice_code ice_session_tables(ice_session *s, bool views, ice_arena *a, ice_str **names, size_t *n,
                            ice_error *err) ICE_MUST;
/* Definition as JSON for introspection: as ice_tabledef_to_json, with columns of keys by name and referenced
 * tables by name ("ref_table_name"). */
ice_code ice_session_table_json(ice_session *s, ice_str name, ice_buf *out, ice_error *err) ICE_MUST;
/* Snapshots newest first, the unflushed tail first of all (snapshot_id 0, operation "pending") when there is
 * one; JSON array of objects {snapshot_id, committed_at_us, commit_time, operation, summary{}}. */
ice_code ice_session_snapshots_json(ice_session *s, ice_str table, ice_buf *out, ice_error *err) ICE_MUST;
int64_t ice_session_now(
    ice_session *s); /* commit time up to which everything is visible; 0 before the first commit */
ice_code ice_session_flush(ice_session *s, ice_str table /* absent: all */, size_t *published,
                           ice_error *err) ICE_MUST;
/* Files with more than `delete_ratio` of their rows deleted, and all small ones: ice_compact, thorough. JSON array of
 * objects {table, files_before, files_after, rewritten, written, deletion_vectors, rows, bytes_before, bytes_after}, one
 * for each Iceberg table that changed, histories too. */
ice_code ice_session_compact_json(ice_session *s, ice_str table, double delete_ratio, ice_buf *out,
                                  ice_error *err) ICE_MUST;
ice_code ice_session_expire(ice_session *s, ice_str table, int64_t before, size_t *done,
                            ice_error *err) ICE_MUST;
/* Forgets tables dropped before a commit time: from then on their files are garbage. *done: how many. */
ice_code ice_session_expire_dropped(ice_session *s, int64_t before, size_t *done, ice_error *err) ICE_MUST;

/* Garbage collection (ARCHITECTURE.md, invariant 6). */
typedef struct ice_collect_request {
    int64_t older_than_us; /* files of unknown origin written less than that ago stay; < 0: as configured */
    bool replaced_now;     /* without grace for what this process has published and replaced */
    bool dry_run;
    void (*progress)(void *arg, const char *what, double done); /* may be NULL */
    void *arg;
} ice_collect_request;
/* JSON: {"files": {kind: [files, bytes]}, "unreachable": ..., "ripe": ..., "removed": ... (the same), "left": [files,
 * bytes] (unreachable, not removed), "last": {"at_us", "files", "bytes"} (the last collection)}. */
ice_code ice_session_collect_json(ice_session *s, const ice_collect_request *r, ice_buf *out,
                                  ice_error *err) ICE_MUST;
ice_code ice_session_status_json(ice_session *s, ice_buf *out, ice_error *err) ICE_MUST;
ice_code ice_session_check(ice_session *s, void (*report)(void *, const char *), void *arg,
                           ice_error *err) ICE_MUST;
#endif
