/* One SQLite connection behind a mutex. A commit is one BEGIN IMMEDIATE ... COMMIT; what a caller expects of
 * a row is in the WHERE clause of its statement, so that a row not changed is an expectation not met. */
#include "catalog/catalog.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/misc.h"

#define BUSY_MS 10000

struct ice_catalog {
    pthread_mutex_t mutex;
    sqlite3 *db; /* NULL in a forked child until its first call */
    char *path, *name, *ns;
    bool read_only;
    bool typed; /* iceberg_tables has the column iceberg_type (PyIceberg's schema v1) */
    bool noted; /* there is the table of what is flushed */
};

/* ---- errors ---- */

static ice_code code_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ICE_LOCK_TIMEOUT;
    case SQLITE_FULL: return ICE_DISK_FULL;
    case SQLITE_NOMEM: return ICE_NOMEM;
    case SQLITE_READONLY: return ICE_READ_ONLY;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT: return ICE_CORRUPT;
    default: return ICE_IO;
    }
}

static ice_code fail(ice_catalog *c, int rc, const char *what, ice_error *err)
{
    return ice_fail(err, code_of(rc), "catalog %s: %s: %s", c->path, what,
                    c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
}

/* ---- statements ---- */

typedef struct statement {
    ice_catalog *c;
    sqlite3_stmt *s;
    int nparams;
    const char *what;
} statement;

/* The first two parameters of every statement are catalog and namespace. */
static ice_code prepare(ice_catalog *c, const char *sql, const char *what, statement *out, ice_error *err)
{
    *out = (statement){.c = c, .what = what};
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &out->s, NULL);
    if (rc == SQLITE_OK && sqlite3_bind_parameter_count(out->s) >= 2) {
        rc = sqlite3_bind_text(out->s, 1, c->name, -1, SQLITE_STATIC);
        if (rc == SQLITE_OK)
            rc = sqlite3_bind_text(out->s, 2, c->ns, -1, SQLITE_STATIC);
        out->nparams = 2;
    }
    return rc == SQLITE_OK ? ICE_OK : fail(c, rc, what, err);
}

static ice_code bind(statement *s, ice_str text, ice_error *err)
{
    int rc = sqlite3_bind_text64(s->s, ++s->nparams, text.ptr ? text.ptr : "", text.len, SQLITE_STATIC,
                                 SQLITE_UTF8);
    return rc == SQLITE_OK ? ICE_OK : fail(s->c, rc, s->what, err);
}

/* True in *row while there is one. */
static ice_code step(statement *s, bool *row, ice_error *err)
{
    int rc = sqlite3_step(s->s);
    *row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? ICE_OK : fail(s->c, rc, s->what, err);
}

static ice_code run(ice_catalog *c, const char *sql, const char *what, ice_error *err)
{
    statement s;
    bool row = true;
    ice_code rc = prepare(c, sql, what, &s, err);
    while (rc == ICE_OK && row)
        rc = step(&s, &row, err);
    sqlite3_finalize(s.s);
    return rc;
}

static ice_code text_column(statement *s, int column, ice_arena *a, ice_str *out, ice_error *err)
{
    const char *p = (const char *)sqlite3_column_text(s->s, column);
    if (!p)
        return ice_fail(err, ICE_CORRUPT, "catalog %s: %s: a table without metadata location", s->c->path,
                        s->what);
    *out = ice_arena_str(a, (ice_str){p, (size_t)sqlite3_column_bytes(s->s, column)});
    return out->ptr ? ICE_OK : ice_fail_nomem(err);
}

/* ---- opening ---- */

static const char *const create_sql[] = {
    "CREATE TABLE IF NOT EXISTS iceberg_tables (catalog_name VARCHAR(255) NOT NULL, table_namespace "
    "VARCHAR(255) NOT NULL,"
    " table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), previous_metadata_location "
    "VARCHAR(1000),"
    " iceberg_type VARCHAR(5), PRIMARY KEY (catalog_name, table_namespace, table_name))",
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (catalog_name VARCHAR(255) NOT NULL,"
    " namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000) NOT "
    "NULL,"
    " PRIMARY KEY (catalog_name, namespace, property_key))",
    "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)"
    " VALUES (?1, ?2, 'exists', 'true') ON CONFLICT DO NOTHING",
};

/* By location, so that a pointer that someone else moved finds nothing. */
#define CREATE_FLUSHED                                                                                              \
    "CREATE TABLE IF NOT EXISTS django_iceberg_flushed (metadata_location VARCHAR(1000) NOT NULL PRIMARY KEY,"     \
    " commit_time BIGINT NOT NULL, log_position BIGINT NOT NULL)"

static ice_code create_layout(ice_catalog *c, ice_error *err)
{
    ice_code rc = run(c, "BEGIN IMMEDIATE", "beginning", err);
    if (rc != ICE_OK)
        return rc;
    for (size_t i = 0; i < 3; i++)
        ICE_TRY(run(c, create_sql[i], "creating the catalog", err));
    ICE_TRY(run(c, "COMMIT", "creating the catalog", err));
out:
    if (rc != ICE_OK)
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static ice_code has_rows(ice_catalog *c, const char *sql, bool *out, ice_error *err)
{
    statement s;
    ice_code rc = prepare(c, sql, "opening", &s, err);
    if (rc == ICE_OK)
        rc = step(&s, out, err);
    sqlite3_finalize(s.s);
    return rc;
}

/* Catalogs of older writers have no column that tells views from tables. */
static ice_code look_for_types(ice_catalog *c, ice_error *err)
{
    return has_rows(c, "SELECT 1 FROM pragma_table_info('iceberg_tables') WHERE name = 'iceberg_type'", &c->typed,
                    err);
}

static ice_code check_layout(ice_catalog *c, ice_error *err)
{
    bool tables, ns = false;
    ice_code rc;
    ICE_TRY(has_rows(c, "SELECT 1 FROM sqlite_master WHERE name = 'iceberg_tables'", &tables, err));
    if (!tables)
        return ice_fail(err, ICE_NOT_FOUND, "catalog %s: is no Iceberg catalog (no table iceberg_tables)",
                        c->path);
    ICE_TRY(look_for_types(c, err));
    ICE_TRY(has_rows(
        c,
        "SELECT 1 FROM iceberg_namespace_properties WHERE catalog_name = ?1 AND namespace = ?2 UNION ALL"
        " SELECT 1 FROM iceberg_tables WHERE catalog_name = ?1 AND table_namespace = ?2",
        &ns, err));
    if (!ns)
        return ice_fail(err, ICE_NOT_FOUND, "catalog %s: catalog \"%s\" has no namespace \"%s\"", c->path,
                        c->name, c->ns);
    if (!c->read_only)
        ICE_TRY(run(c, CREATE_FLUSHED, "opening", err));
    ICE_TRY(has_rows(c, "SELECT 1 FROM sqlite_master WHERE name = 'django_iceberg_flushed'", &c->noted, err));
out:
    return rc;
}

/* A rollback journal, and EXTRA: the directory is synced after the journal's removal, which is the commit. */
static ice_code set_durability(ice_catalog *c, ice_error *err)
{
    statement s;
    bool row;
    ice_code rc =
        prepare(c, c->read_only ? "PRAGMA journal_mode" : "PRAGMA journal_mode = DELETE", "opening", &s, err);
    if (rc == ICE_OK)
        rc = step(&s, &row, err);
    if (rc == ICE_OK && row && !c->read_only) {
        const char *mode = (const char *)sqlite3_column_text(s.s, 0);
        if (!mode || sqlite3_stricmp(mode, "delete") != 0)
            rc = ice_fail(err, ICE_CONFIG, "catalog %s: its journal mode is %s and cannot be made \"delete\"",
                          c->path, mode ? mode : "unknown");
    }
    sqlite3_finalize(s.s);
    return rc == ICE_OK ? run(c, "PRAGMA synchronous = EXTRA", "opening", err) : rc;
}

static ice_code open_db(ice_catalog *c, bool create, ice_error *err)
{
    int flags =
        SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
        (c->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0));
    if (!create && access(c->path, F_OK) != 0)
        return ice_fail(err, ICE_NOT_FOUND, "no catalog at %s", c->path);
    int state = sqlite3_open_v2(c->path, &c->db, flags, NULL);
    ice_code rc = state == SQLITE_OK ? ICE_OK : fail(c, state, "opening", err);
    if (rc == ICE_OK) {
        sqlite3_busy_timeout(c->db, BUSY_MS);
        rc = set_durability(c, err);
    }
    if (rc == ICE_OK && create && !c->read_only)
        rc = create_layout(c, err);
    if (rc == ICE_OK)
        rc = check_layout(c, err);
    if (rc != ICE_OK) {
        sqlite3_close(c->db);
        c->db = NULL;
    }
    return rc;
}

ice_code ice_catalog_open(const char *path, const char *name, const char *ns, bool create, bool read_only,
                          ice_catalog **out, ice_error *err)
{
    ice_catalog *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return ice_fail_nomem(err);
    pthread_mutex_init(&c->mutex, NULL);
    c->path = strdup(path);
    c->name = strdup(name);
    c->ns = strdup(ns);
    c->read_only = read_only;
    ice_code rc = c->path && c->name && c->ns ? open_db(c, create, err) : ice_fail_nomem(err);
    if (rc == ICE_OK)
        *out = c;
    else
        ice_catalog_close(c);
    return rc;
}

void ice_catalog_close(ice_catalog *c)
{
    if (!c)
        return;
    sqlite3_close(c->db);
    pthread_mutex_destroy(&c->mutex);
    free(c->path);
    free(c->name);
    free(c->ns);
    free(c);
}

void ice_catalog_after_fork(ice_catalog *c)
{
    /* Closing in the child would disturb the parent's locks (SQLite, "How To Corrupt", 2.6); another thread
     * of the parent may have held the mutex. */
    c->db = NULL;
    pthread_mutex_init(&c->mutex, NULL);
}

/* Locks; on failure nothing is locked. */
static ice_code enter(ice_catalog *c, ice_error *err)
{
    pthread_mutex_lock(&c->mutex);
    ice_code rc = c->db ? ICE_OK : open_db(c, false, err);
    if (rc == ICE_OK && !c->typed) /* somebody may have added it */
        rc = look_for_types(c, err);
    if (rc != ICE_OK)
        pthread_mutex_unlock(&c->mutex);
    return rc;
}

static void leave(ice_catalog *c)
{
    pthread_mutex_unlock(&c->mutex);
}

/* ---- reading ---- */

#define MINE " FROM iceberg_tables WHERE catalog_name = ?1 AND table_namespace = ?2"
#define IS_TABLE " AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)"

#define LISTED "SELECT table_name, iceberg_tables.metadata_location"
#define TYPED ", iceberg_type IS 'VIEW'"
#define UNTYPED ", 0"
#define NOTED                                                                                                       \
    ", (SELECT commit_time FROM django_iceberg_flushed f WHERE f.metadata_location = iceberg_tables.metadata_location)" \
    ", (SELECT log_position FROM django_iceberg_flushed f WHERE f.metadata_location = iceberg_tables.metadata_location)"
#define BY_NAME " ORDER BY table_name"

static ice_code collect(statement *s, ice_arena *a, ice_catalog_entry **out, size_t *n, ice_error *err)
{
    size_t cap = 0;
    bool row;
    for (;;) {
        ice_code rc = step(s, &row, err);
        if (rc != ICE_OK || !row)
            return rc;
        if (!ICE_ROOM(a, *out, *n, cap))
            return ice_fail_nomem(err);
        ice_catalog_entry *e = &(*out)[*n];
        *e = (ice_catalog_entry){.view = sqlite3_column_int(s->s, 2),
                                 .flushed = sqlite3_column_int64(s->s, 3), /* 0 where there is no such column */
                                 .position = (uint64_t)sqlite3_column_int64(s->s, 4)};
        rc = text_column(s, 0, a, &e->name, err);
        if (rc == ICE_OK)
            rc = text_column(s, 1, a, &e->metadata_location, err);
        if (rc != ICE_OK)
            return rc;
        ++*n;
    }
}

ice_code ice_catalog_list(ice_catalog *c, ice_arena *a, ice_catalog_entry **out, size_t *n, ice_error *err)
{
    statement s;
    *out = NULL;
    *n = 0;
    ice_code rc = enter(c, err);
    if (rc != ICE_OK)
        return rc;
    rc = prepare(c,
                 c->noted ? c->typed ? LISTED TYPED NOTED MINE BY_NAME : LISTED UNTYPED NOTED MINE BY_NAME
                 : c->typed ? LISTED TYPED MINE BY_NAME
                            : LISTED UNTYPED MINE BY_NAME,
                 "listing tables", &s, err);
    if (rc == ICE_OK)
        rc = collect(&s, a, out, n, err);
    sqlite3_finalize(s.s);
    leave(c);
    return rc;
}

static ice_code load(ice_catalog *c, ice_arena *a, ice_str name, ice_str *location, ice_error *err)
{
    statement s;
    bool row;
    ice_code rc;
    ICE_TRY(prepare(c,
                    c->typed ? "SELECT metadata_location" MINE IS_TABLE " AND table_name = ?3"
                             : "SELECT metadata_location" MINE " AND table_name = ?3",
                    "loading a table", &s, err));
    ICE_TRY(bind(&s, name, err));
    ICE_TRY(step(&s, &row, err));
    if (row)
        ICE_TRY(text_column(&s, 0, a, location, err));
    else
        rc = ice_fail(err, ICE_NO_TABLE, "no table \"%.*s\" in namespace \"%s\" of catalog %s", ICE_PRI(name),
                      c->ns, c->path);
out:
    sqlite3_finalize(s.s);
    return rc;
}

ice_code ice_catalog_load(ice_catalog *c, ice_arena *a, ice_str name, ice_str *metadata_location,
                          ice_error *err)
{
    *metadata_location = ICE_STR_NONE;
    ice_code rc = enter(c, err);
    if (rc != ICE_OK)
        return rc;
    rc = load(c, a, name, metadata_location, err);
    leave(c);
    return rc;
}

/* ---- committing ---- */

#define WHERE_NAMED " WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3"

#define INSERT_TYPED                                                                            \
    "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location," \
    " iceberg_type) VALUES (?1, ?2, ?3, ?4, '"

static const char *change_sql(const ice_catalog *c, const ice_catalog_change *g)
{
    switch (g->op) {
    case ICE_CAT_CREATE:
        return c->typed ? INSERT_TYPED "TABLE') ON CONFLICT DO NOTHING"
                        : "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, "
                          "metadata_location)"
                          " VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    case ICE_CAT_CREATE_VIEW: return INSERT_TYPED "VIEW') ON CONFLICT DO NOTHING";
    case ICE_CAT_SWAP:
        return "UPDATE iceberg_tables SET metadata_location = ?4, previous_metadata_location = ?5" WHERE_NAMED
               " AND metadata_location = ?5";
    case ICE_CAT_RENAME: return "UPDATE OR IGNORE iceberg_tables SET table_name = ?4" WHERE_NAMED;
    default:
        return g->expected.ptr ? "DELETE FROM iceberg_tables" WHERE_NAMED " AND metadata_location = ?4"
                               : "DELETE FROM iceberg_tables" WHERE_NAMED;
    }
}

static ice_code bind_change(statement *s, const ice_catalog_change *g, ice_error *err)
{
    ice_code rc;
    ICE_TRY(bind(s, g->name, err));
    if (g->op == ICE_CAT_RENAME)
        ICE_TRY(bind(s, g->new_name, err));
    if (g->op == ICE_CAT_CREATE || g->op == ICE_CAT_CREATE_VIEW || g->op == ICE_CAT_SWAP)
        ICE_TRY(bind(s, g->location, err));
    if (g->op == ICE_CAT_SWAP || (g->op == ICE_CAT_DROP && g->expected.ptr))
        ICE_TRY(bind(s, g->expected, err));
out:
    return rc;
}

static ice_code conflict(ice_catalog *c, const ice_catalog_change *g, ice_error *err)
{
    static const char *const why[] = {
        [ICE_CAT_CREATE] = "is in the catalog already",
        [ICE_CAT_SWAP] = "was changed or dropped by someone else",
        [ICE_CAT_DROP] = "was changed by someone else",
        [ICE_CAT_CREATE_VIEW] = "is in the catalog already",
        [ICE_CAT_RENAME] = "is not there, or its new name is taken",
    };
    char table[128];
    size_t n = g->name.len < sizeof table ? g->name.len : sizeof table - 1;
    memcpy(table, g->name.ptr, n);
    table[n] = 0;
    ice_code rc =
        ice_fail(err, ICE_CONFLICT, "catalog %s: table \"%.*s\" %s", c->path, ICE_PRI(g->name), why[g->op]);
    ice_error_object(err, table, NULL);
    return rc;
}

/* One statement about a location and what is flushed there. */
static ice_code note(ice_catalog *c, const char *sql, ice_str location, const ice_catalog_change *g, ice_error *err)
{
    statement s;
    bool row;
    ice_code rc;
    ICE_TRY(prepare(c, sql, "committing", &s, err));
    s.nparams = 0;
    ICE_TRY(bind(&s, location, err));
    if (sqlite3_bind_parameter_count(s.s) > 1) {
        sqlite3_bind_int64(s.s, 2, g->flushed);
        sqlite3_bind_int64(s.s, 3, (int64_t)g->position);
    }
    ICE_TRY(step(&s, &row, err));
out:
    sqlite3_finalize(s.s);
    return rc;
}

static ice_code note_flushed(ice_catalog *c, const ice_catalog_change *g, ice_error *err)
{
    ice_code rc = ICE_OK;
    if (!c->noted || g->op == ICE_CAT_RENAME)
        return ICE_OK;
    if (g->op == ICE_CAT_DROP)
        return run(c,
                   "DELETE FROM django_iceberg_flushed WHERE metadata_location NOT IN"
                   " (SELECT metadata_location FROM iceberg_tables)",
                   "committing", err);
    if (g->expected.ptr)
        ICE_TRY(note(c, "DELETE FROM django_iceberg_flushed WHERE metadata_location = ?1", g->expected, g, err));
    if (g->flushed)
        ICE_TRY(note(c, "INSERT OR REPLACE INTO django_iceberg_flushed VALUES (?1, ?2, ?3)", g->location, g, err));
out:
    return rc;
}

static ice_code apply(ice_catalog *c, const ice_catalog_change *g, ice_error *err)
{
    statement s;
    bool row;
    ice_code rc;
    ICE_TRY(prepare(c, change_sql(c, g), "committing", &s, err));
    ICE_TRY(bind_change(&s, g, err));
    ICE_TRY(step(&s, &row, err));
    /* Dropping what is gone already is done: a drop may be repeated. */
    bool may_miss = g->op == ICE_CAT_DROP && !g->expected.ptr;
    if (sqlite3_changes(c->db) == 0 && !may_miss)
        ICE_TRY(conflict(c, g, err));
    ICE_TRY(note_flushed(c, g, err));
out:
    sqlite3_finalize(s.s);
    return rc;
}

/* After an I/O error nobody knows whether the journal's removal reached the disk. */
static ice_code commit(ice_catalog *c, ice_error *err)
{
    if (ice_fault("catalog.commit"))
        return ice_fail(err, ICE_IO, "catalog %s: committing: fault injected", c->path);
    ice_code rc = run(c, "COMMIT", "committing", err);
    if (rc == ICE_OK && ice_fault("catalog.committed"))
        return ice_fail(err, ICE_OUTCOME_UNKNOWN, "catalog %s: committing: fault injected", c->path);
    if (rc == ICE_IO)
        rc = err ? (err->code = ICE_OUTCOME_UNKNOWN) : ICE_OUTCOME_UNKNOWN;
    return rc;
}

/* As Iceberg's own JDBC catalog does with a catalog of before there were views. */
static ice_code add_types(ice_catalog *c, ice_error *err)
{
    ice_code rc = look_for_types(c, err);
    if (rc == ICE_OK && !c->typed)
        rc = run(c, "ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5)", "making room for views", err);
    if (rc == ICE_OK)
        c->typed = true;
    return rc;
}

static ice_code change_all(ice_catalog *c, const ice_catalog_change *changes, size_t n, ice_error *err)
{
    ice_code rc = run(c, "BEGIN IMMEDIATE", "committing", err);
    if (rc != ICE_OK)
        return rc;
    for (size_t i = 0; i < n; i++) {
        if (changes[i].op == ICE_CAT_CREATE_VIEW)
            ICE_TRY(add_types(c, err));
        ICE_TRY(apply(c, &changes[i], err));
    }
    ICE_TRY(commit(c, err));
out:
    if (!sqlite3_get_autocommit(c->db))
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

ice_code ice_catalog_commit(ice_catalog *c, const ice_catalog_change *changes, size_t n, ice_error *err)
{
    if (c->read_only)
        return ice_fail(err, ICE_READ_ONLY, "catalog %s: was opened read-only", c->path);
    ice_code rc = enter(c, err);
    if (rc != ICE_OK)
        return rc;
    rc = change_all(c, changes, n, err);
    leave(c);
    return rc;
}
