/* Internals of txn/: the warehouse of a process, its registry of tables, sessions, statements.
 *
 * Locks, in the order they are taken: wh->apply (one thread brings the process up to date), wh->load (lazy
 * loading of tables), wh->reg (the registry pointer with the applied time), wh->engine_mutex. No one holds
 * wh->reg while it calls anything.
 *
 * Invariants
 *   V1  A view is (registry, at) taken together under wh->reg: every state in the registry holds all rows
 * committed at or before `at`, and no state's published time F exceeds `at`. V2  Only durable records are
 * applied (invariant 1: acknowledged, and seen, means durable). V3  A table entry without a loaded state has
 * no record after its F, as the catalog has it, in the applied part of the log: applying a later one loads the
 * table first, or sets it aside (unreadable) where that fails. V4  A
 * session that changes a row holds its row lock, one that sets a key its key lock, one that changes a table
 * at all its shared table lock; a definition changes under the exclusive one. All are kept until the record
 * is durable and applied. V6  Who counts on positions of rows in files holds the table's layout lock until its
 * record is applied; who rewrites files holds it too, and finds no ended rows that are not published. */
#ifndef ICE_TXN_INT_H
#define ICE_TXN_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "log/log.h"
#include "sql/sql.h"
#include "table/flush.h"
#include "table/table.h"
#include "txn/record.h"
#include "txn/session.h"

/* ---- registry ---- */

/* One table as the catalog and the log have it. Immutable but for `state`, which is set once. */
typedef struct ice__entry {
    atomic_int refs;
    ice_uuid uuid;
    char *name;
    char *catalog_name; /* NULL: not in the catalog yet */
    char *location;     /* NULL: not in the catalog yet */
    int64_t flushed;    /* F, as the catalog says; 0: only the metadata does */
    ice_error *unreadable; /* why the table was set aside: records that say something of it were passed over, so it
                              never gets a state. All is read anew once it can be (follow.c). */
    size_t
        nstaged; /* files of the bulk path that the catalog's snapshot does not have; the state's has them */
    struct ice__staged *staged;
    bool view;                     /* its state has a definition alone */
    bool foreign;                  /* another program's table, by its location: it refers to none of ours */
    _Atomic(ice_tabstate *) state; /* NULL: not loaded yet */
} ice__entry;

/* A staged file of the log, with its texts. */
typedef struct ice__staged {
    ice_staged_file file;
    char *key, *json;
} ice__staged;
/* Copies the staged files of `from` that were committed after `since`. */
ice_code ice__entry_take_staged(ice__entry *e, const ice__entry *from, int64_t since,
                                ice_error *err) ICE_MUST;
ice_code ice__entry_add_staged(ice__entry *e, const ice_staged_file *f, ice_error *err) ICE_MUST;

typedef struct ice__registry {
    atomic_int refs;
    uint64_t version; /* differs whenever an entry differs */
    size_t n, cap;
    ice__entry **entries; /* sorted by name */
    struct ice__pins *pins;
    uint64_t reads; /* publish count that the catalog was read at, for all entries */
    struct ice__registry *prev, *next;
} ice__registry;

/* What keeps garbage collection from what this process reads. Whatever a statement, a cursor or a transaction
 * reads of published files, it holds a registry that is as old: so the oldest one alive says it all. */
typedef struct ice__pins {
    pthread_mutex_t lock;           /* guards the list */
    ice__registry *oldest, *newest; /* alive; `reads` never falls along the list */
    pthread_mutex_t staging;        /* guards the locker, and: */
    unsigned nstaging;              /* threads that write metadata which no catalog points to */
    ice_locker *locker;             /* of the process; NULL: the warehouse is not open */
} ice__pins;
void ice__registry_enlist(ice__registry *r, ice__pins *p);
void ice__registry_delist(ice__registry *r);
ice_code ice__pins_open(ice__pins *p, ice_log *log, ice_error *err) ICE_MUST;
void ice__pins_close(ice__pins *p);
/* Everything in the registry agrees with the catalog as it was at this publish count. */
void ice__registry_reads(ice__registry *r, uint64_t publish_count);
/* The oldest one alive: as old as anything this process reads by. Referenced; NULL: none. */
ice__registry *ice__pins_oldest(ice__pins *p);
/* ice_env's stage_begin, stage_end, with the warehouse as argument. */
ice_code ice__stage_begin(void *wh, ice_error *err);
void ice__stage_end(void *wh);

ice__registry *ice__registry_ref(ice__registry *r);
void ice__registry_unref(ice__registry *r);
ice__registry *ice__registry_create(ice__pins *pins, uint64_t reads); /* NULL on no memory, here and below */
ice__registry *ice__registry_copy(const ice__registry *r);
ice__entry *ice__registry_find(const ice__registry *r, ice_str name);
ice__entry *ice__registry_find_uuid(const ice__registry *r, ice_uuid id);
/* Only on a copy not yet shared. put takes the caller's reference and replaces the entry of the same uuid. */
ice_code ice__registry_put(ice__registry *r, ice__entry *e, ice_error *err) ICE_MUST;
void ice__registry_remove(ice__registry *r, ice_uuid id);

ice__entry *ice__entry_create(ice_uuid id, ice_str name, ice_str catalog_name, ice_str location,
                              ice_tabstate *state);
ice__entry *ice__entry_ref(ice__entry *e);
void ice__entry_unref(ice__entry *e);

/* ---- warehouse ---- */

typedef struct ice__replaced_file {
    char *location;
    int64_t at;
} ice__replaced_file;

/* A table dropped in the log. */
typedef struct ice__dropped {
    ice_uuid uuid;
    int64_t at; /* commit time of the drop */
} ice__dropped;

struct ice_warehouse {
    struct ice_warehouse *next; /* list of the process's warehouses, the one used last first */
    int refs;                   /* sessions; under the list's mutex */
    dev_t device;               /* of the control object, once opened: another one is another warehouse */
    ino_t inode;
    unsigned fork_generation;
    ice_config config; /* strings owned */
    char *dir;         /* "<root>/.django-iceberg/<namespace>" */

    pthread_mutex_t open_mutex; /* opening on first need */
    atomic_bool opened;
    ice_store *store;
    ice_catalog *catalog;
    ice_log *log;
    ice_env env;
    char *cache_dir;
    ice_host *host;

    pthread_mutex_t engine_mutex;
    ice_engine *engine;
    bool restricted;
    atomic_uint engine_share; /* processes among which the engines' budget was divided when this one's was set */
    atomic_bool sharing;       /* a thread is setting it */
    struct ice__econn *idle_conns; /* under engine_mutex: of closed sessions */
    size_t nidle_conns;
    char *changing; /* under engine_mutex: functions whose answer changes from call to call, " a b c "; NULL:
                       not asked yet */
    ice_engine_conn *engine_conn; /* of table/'s own work; busy while engine_busy */
    pthread_mutex_t engine_busy;

    pthread_mutex_t apply;
    ice_log_cursor *cursor;  /* under apply */
    ice__registry *building; /* under apply: the registry being made */
    ice__dropped *dropped;   /* under apply: tables dropped in the log that the catalog may still list */
    size_t ndropped;
    int64_t applying; /* under apply: commit time of the record being applied */
    bool ahead; /* under apply: the catalog was read meanwhile, so the log has to be applied to its present end */
    size_t nheld; /* under apply: states that the record being applied may still name */
    ice_tabstate **held;
    _Atomic uint64_t applied_position;
    atomic_bool set_aside; /* a table of the registry is unreadable */
    bool starting_over;    /* under apply: the catalog is as new as can be */
    bool applied_some;     /* under apply: something of the record being applied is not published */
    atomic_bool torn; /* a record was applied in part: nothing follows before all is read anew */
    _Atomic uint64_t publish_seen;
    pthread_mutex_t load;

    ice__pins pins;
    pthread_mutex_t reg;
    ice__registry *registry;
    int64_t applied; /* commit time */

    /* background flusher */
    pthread_t flusher;
    bool flusher_running; /* under flusher_mutex */
    pthread_mutex_t flusher_mutex;
    pthread_cond_t flusher_wake;
    bool flusher_stop;
    _Atomic int64_t oldest_unflushed; /* commit time of the oldest applied, unpublished record; 0 none */
    _Atomic uint64_t unflushed_bytes;
    atomic_bool flush_fails;       /* the last flush in the background did */
    _Atomic uint64_t commit_waits; /* commits that waited for the flusher */
    char flusher_error[1024];      /* under flusher_mutex: last failure, for status */
    uint64_t flushes, compactions; /* under flusher_mutex */
    size_t nreplaced;              /* under flusher_mutex: files that publishing by this process replaced */
    ice__replaced_file *replaced;
    unsigned uncollected; /* the flusher's: flushes since it last collected garbage */
};

ice_code ice__wh_get(const ice_config *c, ice_warehouse **out, ice_error *err) ICE_MUST;
void ice__wh_put(ice_warehouse *wh);
unsigned ice__fork_generation(void);
/* Opens store, catalog and log on first need; `create` makes a warehouse where none is. */
ice_code ice__wh_open(ice_warehouse *wh, bool create, ice_error *err) ICE_MUST;
/* logdir.c: the log of a warehouse that is being made; that of one that is there, which must not have lost what is
 * known to have been in it. */
ice_code ice__log_create(ice_warehouse *wh, ice_error *err) ICE_MUST;
ice_code ice__log_open(ice_warehouse *wh, ice_error *err) ICE_MUST;
/* Applies everything durable and follows published snapshots. A few loads when there is nothing new. */
ice_code ice__wh_catchup(ice_warehouse *wh, ice_error *err) ICE_MUST;
/* The registry and time of a new view (V1). */
void ice__wh_view(ice_warehouse *wh, ice__registry **reg, int64_t *at);
int64_t ice__wh_applied(ice_warehouse *wh); /* the time of a new view */
/* What is published of an entry's table, as a state of its own. */
ice_code ice__wh_load(ice_warehouse *wh, const ice__entry *e, ice_tabstate **out, ice_error *err) ICE_MUST;
/* The state of an entry, loading it on first use; borrowed from the entry. */
ice_code ice__wh_state(ice_warehouse *wh, ice__entry *e, ice_tabstate **out, ice_error *err) ICE_MUST;
ice_code ice__wh_engine(ice_warehouse *wh, ice_engine **out, ice_error *err) ICE_MUST;
/* Before a statement of the engine: its memory and threads are this process's share of the host's, whose processes come and go. */
void ice__wh_share_engine(ice_warehouse *wh);
/* Adds the catalog's tables to a registry nobody else sees yet, none of them loaded. */
ice_code ice__wh_list_catalog(ice_warehouse *wh, ice__registry *reg, ice_error *err) ICE_MUST;
/* A state like `old` under another definition (taken, also on failure).
 * committed: the shared tail takes the definition; else (a transaction's own) it stays as it is for the
 * others. */
ice_code ice__state_with_def(ice_tabstate *old, ice_tabledef *def, bool committed, ice_tabstate **out,
                             ice_error *err) ICE_MUST;
/* The state to read what was visible at an earlier commit time: columns have the types of then. A type changes
 * once all is in files (ddl_retype.c), so what the tail holds began later. */
ice_code ice__state_as_of(ice_tabstate *now, int64_t at, ice_tabstate **out, ice_error *err) ICE_MUST;
void ice__flusher_start(ice_warehouse *wh);
void ice__flusher_stop(ice_warehouse *wh);
/* After a commit: publishes it at once if the warehouse's interval is 0. */
void ice__flush_committed(ice_warehouse *wh, ice_locker *locker);
/* After a commit, with no locks held: waits a little while the background flusher is far behind. */
void ice__flush_pace(ice_warehouse *wh);
ice_code ice__flush_all(ice_warehouse *wh, ice_str table, size_t *published, ice_error *err) ICE_MUST;
/* What files are rewritten for. */
typedef struct ice__rewriting {
    const ice_compact_options *compact; /* NULL: history before a time is expired */
    int64_t before;
    /* out */
    size_t tables; /* that something was done to */
    ice_arena *a;  /* of what compactions did */
    size_t n, cap;
    ice_compacted *done;
} ice__rewriting;
/* One table, or all. */
ice_code ice__rewrite_all(ice_warehouse *wh, ice_str table, ice__rewriting *r, ice_error *err) ICE_MUST;
/* Names in the catalog that are no tables of the database: histories, and tables that were dropped
 * ("<name>__dropped_<16 digits>", the commit time of the drop; theirs is "...__history"). */
bool ice__is_hidden_name(ice_str name);
/* *at: commit time of the drop. */
bool ice__is_dropped_name(ice_str name, int64_t *at);
/* Uuid of a catalog entry: from our directory names; another program's table is a new one with each of its commits,
 * so that a DROP in the log is not of what that program makes later under the name. */
ice_uuid ice__entry_uuid(const ice_catalog_entry *e);
bool ice__wh_dropped(ice_warehouse *wh, ice_uuid id, int64_t *at);
/* The flusher's lease, which one process of the host has: catalog pointers move under it. */
ice_code ice__take_lease(ice_locker *locker, bool wait, bool *taken, ice_error *err) ICE_MUST;
void ice__release_lease(ice_locker *locker);
/* Warehouse and locker of a session, on first need; not created. */
ice_code ice__session_need(ice_session *s, ice_error *err) ICE_MUST;

/* ---- transactions ---- */

/* A table in a transaction. Made when a statement first changes it or its definition. */
typedef struct ice__txtable {
    ice_uuid uuid;
    char *name;          /* in this transaction */
    ice_tabstate *state; /* private (referenced) where the definition changed, or on the bulk path: nobody else
                            writes the table meanwhile, so it stays right; NULL: the registry's */
    ice_tail *overlay;   /* NULL until a row changes */
    bool created, dropped, exclusive;
    bool defined; /* the transaction changed the definition */
    size_t rows; /* changed so far, for lock escalation */
    bool bulk;   /* on the bulk path (bulk.c): `state` is its own and has what was staged, the layout is locked */
    bool check_children, check_parents; /* bulk: foreign keys to check, of it and of those that refer to it */
} ice__txtable;

/* Where a savepoint or statement can go back to: operation number and locks; `tables` (copies, whose overlays go
 * back to the operation number) where definitions or files could have changed since, else NULL. */
typedef struct ice__savepoint {
    char *name;
    int64_t seq;
    size_t ntables;
    ice__txtable *tables;
    size_t lock_mark, nseqs;
    bool immediate, deferred; /* SET CONSTRAINTS goes back too */
} ice__savepoint;

typedef struct ice__seqmark {
    uint64_t name;
    int64_t value;
} ice__seqmark;

typedef struct ice__tx {
    bool open;    /* BEGIN was said (explicitly or by the driver) */
    bool aborted; /* lost a deadlock or a serialization conflict: only rollback goes on */
    int64_t seq;  /* operation number */
    size_t ntables, cap;
    ice__txtable *tables;
    size_t nsaves, cap_saves;
    ice__savepoint *saves;
    size_t nseqs, cap_seqs;
    ice__seqmark *seqs;
    bool immediate, deferred; /* SET CONSTRAINTS ALL IMMEDIATE, ALL DEFERRED; neither: as each was declared */
    bool unchecked;           /* a deferrable key was set that was not looked for */
    bool restarted;           /* a sequence was */
    int64_t snapshot_at;      /* snapshot isolation: the transaction's time, 0 not yet */
    ice__registry *snapshot_reg;
    ice__registry *base; /* as old as what the tables' private states read by; NULL: no table yet */
} ice__tx;

/* ---- statements ---- */

typedef struct ice__sttable {
    char *name;
    unsigned tag;
    ice_view view;
} ice__sttable;

/* Tables of one running statement, by name, so that all its references see one view. Reference counted: a
 * streaming cursor keeps it. */
typedef struct ice__stview {
    atomic_int refs;
    ice_session *session; /* for resolving; NULL once the statement is over */
    ice__registry *reg;
    ice__registry *base; /* of the transaction, while a cursor may outlive it */
    int64_t at;
    int64_t complete; /* the registry's states hold all that was committed up to it */
    ice_view_mode mode; /* of a table by its plain name */
    bool with_start; /* the tables show _row_start (statements of ours) */
    unsigned next_tag;
    size_t n, cap;
    ice__sttable **tables;
    ice_source *stream; /* what the name "__stream" means, once */
} ice__stview;

struct ice_prepared {
    struct ice_prepared *prev, *next; /* LRU list */
    struct ice_prepared *hnext;
    uint64_t hash;
    bool format;
    ice_arena *arena;
    ice_str source; /* text as given */
    ice_sql_text text;
    ice_stmt stmt;
};

/* One place of a cold table in a statement, in the order in which DuckDB asks for them: recorded while it is
 * planned over probes, used in the same order when it is planned over the files that are left. */
typedef struct ice__place {
    ice__sttable *table;
    unsigned tag; /* its own, of the names of sub-sources */
    ice_probe *probe;
} ice__place;

/* An engine connection of a session, or left by one to the next; busy while a cursor or an Arrow stream reads from it. The
 * stream's end may come on another thread: it touches only what is below `busy`, and clears that last. */
typedef struct ice__econn {
    struct ice__econn *next;
    ice_engine_conn *conn;
    ice_session *session;
    uint64_t prelude; /* hash of the statements it was prepared with */
    atomic_bool busy;
    ice__stview *view; /* of the running statement */
    enum { ICE__PLAIN, ICE__PROBING, ICE__PROBED } phase;
    size_t nplaces, cap_places, next_place;
    ice__place *places;
    bool as_written; /* the connection's optimizer is off, for a statement that failed with it */
    bool discarding; /* a stream that was only to record what it asks for is let go */
    char timezone[64];
} ice__econn;

struct ice_session {
    ice_warehouse *wh;
    unsigned fork_generation;
    ice_locker *locker;
    ice__tx tx;
    bool fast_path;
    bool snapshot_isolation;
    int64_t lock_timeout_ms;
    uint64_t bulk_rows;
    char timezone[64];
    size_t nprelude;
    char **prelude;
    ice__econn *conns;
    ice_prepared *lru_head, *lru_tail;
    size_t nprepared;
    ice_prepared *buckets[512];
    ice_prepared *current; /* handed out by the last prepare */
    atomic_bool interrupted;
    _Atomic(ice_engine_conn *) running;
    size_t nkept;  /* of the statement: conditions on what ICE_SQL_KEPT names show, by their numbers; absent: all rows */
    ice_str *kept; /* in scratch */
    size_t cascades; /* ON DELETE actions that are running */
    size_t nfloors; /* sequences whose lowest unused value this session has looked up */
    ice__seqmark *floors;
    ice_arena *scratch; /* of one statement */
};

/* A statement's result: rows kept here, or an engine result. */
struct ice_cursor {
    ice_session *session;
    ice_arena *arena;
    const char *path;
    int64_t rowcount;
    size_t ncols;
    ice_result_column *cols;
    /* materialised */
    size_t nrows, cap_rows, next_row;
    ice_value **rows; /* arena */
    size_t batch_first;
    /* streaming */
    ice_result *result;
    ice__econn *econn;
    ice__stview *view;
};

/* catalog.c */
ice_code ice__run_show_tables(ice_session *s, const ice__stview *v, bool views, ice_cursor *c,
                              ice_error *err) ICE_MUST;
ice_code ice__view_names(ice_session *s, const ice__stview *v, ice_arena *a, ice_str **names, size_t *n,
                         ice_error *err) ICE_MUST;

/* view.c */
ice_code ice__stview_open(ice_session *s, int64_t as_of, ice__stview **out, ice_error *err) ICE_MUST;
void ice__stview_unref(ice__stview *v);
/* The view of a table by name, "<table>__versions" and "<table>__as_of_<commit time>" too; NULL view and ICE_OK where
 * there is none. */
ice_code ice__stview_table(ice__stview *v, ice_str name, ice_view **out, ice_error *err) ICE_MUST;
/* Makes an overlay, over a state without rows, a table of the view. */
ice_code ice__stview_overlay(ice__stview *v, ice_str name, ice_tabstate *state, ice_tail *overlay,
                             ice_error *err) ICE_MUST;
/* Or ICE_NO_TABLE; need, for what is done to tables alone, refuses views (ICE_WRONG_OBJECT). */
ice_code ice__stview_relation(ice__stview *v, ice_str name, ice_view **out, ice_error *err) ICE_MUST;
ice_code ice__stview_need(ice__stview *v, ice_str name, ice_view **out, ice_error *err) ICE_MUST;
/* Is it the name of another program's table? It need not be readable for the answer. */
bool ice__stview_foreign(const ice__stview *v, ice_str name);
/* As ice__stview_table, but NULL of such a table: for who looks through all of them for keys and indexes. */
ice_code ice__stview_ours(ice__stview *v, ice_str name, ice_view **out, ice_error *err) ICE_MUST;
/* Need, for what changes or locks the table: refuses names that show the past, and tables of other programs
 * (ICE_UNSUPPORTED). */
ice_code ice__stview_target(ice__stview *v, ice_str name, ice_view **out, ice_error *err) ICE_MUST;
ice_code ice__resolve(void *arg, ice_str name, unsigned seq, ice_arena *a, ice_source **source,
                      ice_str *subquery, ice_error *err);

/* econn.c */
/* An idle engine connection of the session, with the view bound. */
ice_code ice__econn_get(ice_session *s, ice__stview *view, ice__econn **out, ice_error *err) ICE_MUST;
/* ice_engine_run; where the statement reads cold tables of many files, over those that it needs. */
ice_code ice__econn_run(ice__econn *c, ice_str sql, const ice_value *params, size_t n, ice_result **out,
                        ice_error *err) ICE_MUST;
/* The same in steps, for other kinds of results: begin, run; if ice__probe_asked, let that result go, finish and run
 * again; end. */
void ice__probe_begin(ice__econn *c);
bool ice__probe_asked(const ice__econn *c);
ice_code ice__probe_finish(ice__econn *c, ice_error *err) ICE_MUST;
void ice__probe_end(ice__econn *c);
/* What the statement that ran costs in files of a table. */
void ice__econn_cost(const ice__econn *c, ice__sttable *t, ice_view_cost *out);
void ice__econn_release(ice__econn *c);
/* The connections of a session that closes go to the warehouse, for others of the same prelude. */
void ice__econns_leave(ice_session *s);
void ice__econns_close(ice_warehouse *wh);
/* A damaged file that the engine's error does not name: the statement's tables before the message. */
void ice__name_damaged(const ice__stview *v, ice_error *err);

/* tx.c */
ice__txtable *ice__tx_find(ice__tx *tx, ice_uuid id);
ice__txtable *ice__tx_find_name(ice__tx *tx, ice_str name); /* not dropped ones */
/* The transaction's record of a table, made if need be; takes the shared (or exclusive) table lock. Valid
 * until the next call. */
ice_code ice__tx_table(ice_session *s, ice_uuid id, ice_str name, bool exclusive, ice__txtable **out,
                       ice_error *err) ICE_MUST;
/* The table's state now: private, or the registry's. Borrowed from the table or from `reg`. ICE_NO_TABLE when
 * it was dropped meanwhile. */
ice_code ice__tx_state(ice_session *s, ice__txtable *t, ice__registry *reg, ice_tabstate **out,
                       ice_error *err) ICE_MUST;
ice_code ice__tx_overlay(ice__txtable *t, ice_tabstate *state, ice_error *err) ICE_MUST;
/* Gives the table a private definition (taken, also on failure). */
ice_code ice__tx_set_def(ice_session *s, ice__txtable *t, ice_tabstate *now, ice_tabledef *def,
                         ice_error *err) ICE_MUST;
ice_code ice__tx_lock(ice_session *s, uint64_t name, ice_lock_mode mode, bool nowait, bool *waited,
                      ice_error *err) ICE_MUST;
ice_code ice__tx_mark(ice_session *s, bool with_tables, ice__savepoint *out, ice_error *err) ICE_MUST;
void ice__tx_restore(ice_session *s, const ice__savepoint *mark, bool unlock);
void ice__savepoint_free(ice__savepoint *m);
ice_code ice__tx_savepoint(ice_session *s, ice_str name, ice_error *err) ICE_MUST;
ice_code ice__tx_release(ice_session *s, ice_str name, ice_error *err) ICE_MUST;
ice_code ice__tx_rollback_to(ice_session *s, ice_str name, ice_error *err) ICE_MUST;
ice_code ice__tx_commit(ice_session *s, ice_error *err) ICE_MUST;
void ice__tx_clear(ice_session *s); /* forgets everything and releases locks */
ice_code ice__tx_sequence(ice_session *s, uint64_t name, int64_t value, ice_error *err) ICE_MUST;

/* constraint.c */
uint64_t ice__lock_row(ice_uuid table, uint64_t key_hash);
uint64_t ice__lock_key(ice_uuid table, const ice_tabledef *def, const ice_key *key, uint64_t key_hash);
uint64_t ice__lock_table(ice_uuid table);
/* Who holds it counts on positions in the table's files: nobody rewrites them. */
uint64_t ice__lock_layout(ice_uuid table);
uint64_t ice__lock_name(ice_str name);
uint64_t ice__lock_parent(ice_uuid table);
uint64_t ice__lock_constraint(ice_uuid table, ice_str name);
void ice__row_relation(const ice_tabledef *def, ice_buf *out);
/* Errors that name what was violated. */
ice_code ice__null_fail(const ice_tabledef *def, const ice_column *col, ice_error *err);
ice_code ice__check_fail(const ice_tabledef *def, const ice_constraint *con, ice_error *err);
ice_code ice__fk_fail(const ice_tabledef *child, const ice_constraint *con, const ice_tabledef *parent,
                      const int32_t *ids, const ice_tabledef *key_of, const ice_value *values, bool from_child,
                      ice_error *err);
ice_code ice__check_foreign_keys(ice_session *s, ice_error *err) ICE_MUST;
/* deferred.c: foreign keys, and the unique keys that were not looked at when they were set. */
ice_code ice__check_deferred(ice_session *s, ice_error *err) ICE_MUST;
/* A newest view of one table, with the transaction's own changes. */
ice_code ice__latest_view(ice_session *s, ice__txtable *t, ice_view *out, ice_error *err) ICE_MUST;
void ice__view_release(ice_view *v);

/* bulk.c: large changes as files and sets of positions */
/* Puts overlays that have grown large, and with `all` those of tables on the bulk path, into files. */
ice_code ice__bulk_spill(ice_session *s, bool all, ice_error *err) ICE_MUST;
/* Constraints of a whole table after a bulk statement that set `set` (by position; NULL: all columns). */
ice_code ice__bulk_check(ice_session *s, const ice_tabledef *def, const ice_keys *keys, const uint8_t *set,
                         ice_error *err) ICE_MUST;
/* Its deferrable keys, at the end of the transaction. */
ice_code ice__bulk_check_deferred(ice_session *s, const ice__txtable *t, ice_error *err) ICE_MUST;
ice_code ice__bulk_foreign_keys(ice_session *s, ice_uuid table, ice_error *err) ICE_MUST;

/* insert.c, update.c, ddl.c, fast.c, lock.c */
ice_code ice__run_insert(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v,
                         ice_cursor *c, ice_error *err) ICE_MUST;
ice_code ice__run_update(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v,
                         ice_cursor *c, ice_error *err) ICE_MUST;
ice_code ice__run_truncate(ice_session *s, ice_prepared *p, ice__stview *v, ice_cursor *c,
                           ice_error *err) ICE_MUST;
ice_code ice__run_ddl(ice_session *s, ice_prepared *p, ice__stview *v, ice_cursor *c,
                      ice_error *err) ICE_MUST;
/* TRUNCATE ... RESTART IDENTITY: values of identity columns start at 1 again. */
ice_code ice__restart_identity(ice_session *s, ice__stview *v, ice_str table, ice_error *err) ICE_MUST;
/* The sequence of a definition that nobody else has yet: its first value. */
ice_code ice__sequence_restart(ice_session *s, uint64_t name, int64_t at, ice_error *err) ICE_MUST;
/* The log's name of an identity column's sequence. */
uint64_t ice__sequence_name(const ice_tabledef *def, const ice_column *col);
/* Locks the rows that the statement's locking clauses name, those in subqueries first; *v becomes a view that was taken with all of
 * these locks held, and s->kept says what their queries may show of it. */
ice_code ice__lock_queries(ice_session *s, const ice_stmt *st, const ice_value *params, size_t n, ice__stview **v,
                           ice_error *err) ICE_MUST;
ice_code ice__run_select_lock(ice_session *s, ice_prepared *p, const ice_value *params, size_t n,
                              ice__stview **v, ice_cursor *c, ice_error *err) ICE_MUST;
ice_code ice__run_select(ice_session *s, ice_prepared *p, ice_str sql, const ice_value *params, size_t n,
                         ice__stview *v, ice_cursor *c, ice_error *err) ICE_MUST;
/* *done false: the fast path does not take this statement. */
/* EXPLAIN: DuckDB's plan, then what it reads of each table, and whether the query needs the engine at all.
 * `may_be_fast`: the fast path would be tried. */
ice_code ice__run_explain(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v,
                          ice_cursor *c, bool may_be_fast, ice_error *err) ICE_MUST;
ice_code ice__cursor_new(ice_session *s, ice_cursor **out, ice_error *err) ICE_MUST;
ice_code ice__fast_select(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v,
                          ice_cursor *c, bool *done, ice_error *err) ICE_MUST;

/* A parameter or literal of a statement as it stands; false: the engine has to say. */
bool ice__expr_value(const ice_expr *e, const ice_column *col, const ice_value *params, ice_value *out);
/* PostgreSQL's order of ORDER BY: NULLs after everything ascending, before everything descending. */
static inline int ice__order_cmp(const ice_value *a, const ice_value *b)
{
    return a->null || b->null ? a->null - b->null : ice_value_cmp(a, b);
}
/* Rows of a view that meet simple conditions, found by a key; all their values, in the session's scratch. *ok
 * false: no key fits. */
typedef struct ice__rows {
    size_t n, cap;
    ice_row *rows;
    ice_value **values;
} ice__rows;
ice_code ice__fast_rows(ice_session *s, ice_view *view, const ice_cond *conds, size_t n,
                        const ice_value *params, ice__rows *out, bool *ok, ice_error *err) ICE_MUST;

/* rows.c: collected results */
typedef struct ice__rowset {
    ice_arena *arena;
    size_t ncols, n, cap;
    ice_value **rows;
} ice__rowset;
ice_code ice__rowset_add(ice__rowset *r, const ice_value *row, ice_error *err) ICE_MUST; /* deep copy */
/* Runs a query under a view and collects its rows; `limit` (0: none) of them, and whether there are more. */
ice_code ice__collect_some(ice_session *s, ice__stview *v, ice_str sql, const ice_value *params, size_t n,
                           size_t limit, bool *more, ice__rowset *out, ice_error *err) ICE_MUST;
/* The query with the parameters that it names. */
ice_code ice__pick_params(ice_arena *a, ice_str *sql, const ice_value **params, size_t *n, ice_error *err) ICE_MUST;
ice_code ice__collect(ice_session *s, ice__stview *v, ice_str sql, const ice_value *params, size_t n,
                      ice__rowset *out, ice_error *err) ICE_MUST;
/* The same of a query that reads the relation "__stream", once: `over`'s rows, whose columns are `cols`. */
ice_code ice__collect_over(ice_session *s, ice__stview *v, const ice_column *cols, const ice__rowset *over, ice_str sql,
                           const ice_value *params, size_t n, ice__rowset *out, ice_error *err) ICE_MUST;
ice_code ice__cursor_column(ice_cursor *c, ice_str name, ice_type type, ice_str duck_type,
                            ice_error *err) ICE_MUST;
/* A column's own, whose values are given out as they are. Microseconds of a declared interval are told from other
 * numbers by the name of the type. */
#define ICE__INTERVAL "INTERVAL"
bool ice__is_interval(const ice_column *col);
ice_code ice__cursor_shows(ice_cursor *c, const ice_column *col, ice_str name, ice_error *err) ICE_MUST;
ice_code ice__cursor_row(ice_cursor *c, const ice_value *row, ice_error *err) ICE_MUST;
#endif
