/* Catalog: which metadata file is a table's current one. SQLite, in the layout of Iceberg's JDBC catalog
 * (tables iceberg_tables and iceberg_namespace_properties), as PyIceberg's SqlCatalog reads and writes it.
 * What its metadata says of the log (flushed time and position) is kept beside, in a table of ours, so that it is
 * known without reading it.
 * Rollback-journal mode, synchronous=EXTRA (SQLite's WAL can lose commits before 3.51.3). */
#ifndef ICE_CATALOG_CATALOG_H
#define ICE_CATALOG_CATALOG_H

#include "base/arena.h"

typedef struct ice_catalog ice_catalog;

/* `path`: a file path. `name`: the catalog_name column, "default" in our settings. Creates file, tables and
 * namespace when `create`; ICE_NOT_FOUND otherwise (no file, no
 * such layout, no such namespace). ice_catalog_load: ICE_NO_TABLE. Thread-safe by an internal mutex. */
ice_code ice_catalog_open(const char *path, const char *name, const char *ns, bool create, bool read_only,
                          ice_catalog **out, ice_error *err) ICE_MUST;
void ice_catalog_close(ice_catalog *c);
/* In a forked child: abandons the handle without closing it; the next call opens a new one. */
void ice_catalog_after_fork(ice_catalog *c);

typedef struct ice_catalog_entry {
    ice_str name;              /* table name */
    ice_str metadata_location; /* as stored: a path or file:// URI */
    bool view;
    int64_t flushed;           /* as the change that set this location said; 0: it did not */
    uint64_t position;
} ice_catalog_entry;
/* Tables and views. */
ice_code ice_catalog_list(ice_catalog *c, ice_arena *a, ice_catalog_entry **out, size_t *n,
                          ice_error *err) ICE_MUST;
ice_code ice_catalog_load(ice_catalog *c, ice_arena *a, ice_str name, ice_str *metadata_location,
                          ice_error *err) ICE_MUST;

typedef enum ice_catalog_op {
    ICE_CAT_CREATE,
    ICE_CAT_SWAP,
    ICE_CAT_DROP,
    ICE_CAT_RENAME,
    ICE_CAT_CREATE_VIEW, /* the other changes are of tables and views */
} ice_catalog_op;
typedef struct ice_catalog_change {
    ice_catalog_op op;
    ice_str name, new_name; /* new_name: RENAME */
    ice_str expected,
        location; /* SWAP: the location it must still have, and the new one; CREATE: location; DROP:
                   * expected where present. Dropping a table that is gone succeeds without it. */
    int64_t flushed; /* CREATE, SWAP: what the new metadata says of the log; 0: nothing */
    uint64_t position;
} ice_catalog_change;
/* All changes in one transaction, or none: ICE_CONFLICT (naming the table) when an expectation fails. Applied
 * in the order given, so that a rename can precede a swap. ICE_LOCK_TIMEOUT: another writer held the catalog
 * for ten seconds. ICE_OUTCOME_UNKNOWN: an I/O error at the commit itself; load the tables again to see. */
ice_code ice_catalog_commit(ice_catalog *c, const ice_catalog_change *changes, size_t n,
                            ice_error *err) ICE_MUST;
#endif
