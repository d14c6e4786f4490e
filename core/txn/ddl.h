/* What the statements that define share: a table being changed, and the checks of what is there.
 *
 * Each statement makes a new definition under the table's exclusive lock, kept private to the transaction
 * until its record is in the log; no file is touched. A change of type that Iceberg does not promote is a new
 * field whose values are written anew. */
#ifndef ICE_TXN_DDL_H
#define ICE_TXN_DDL_H

#include "txn/txn_int.h"

/* A table being changed, with a definition to edit. */
typedef struct ice__ddl {
    ice_session *s;
    ice__stview *v;
    ice__txtable *t;
    ice_tabstate *now;
    ice_tabledef *def; /* clone with the next schema id, NULL after it was handed on */
} ice__ddl;

/* ddl.c. put makes the edited definition the transaction's, and with `more` starts the next edit from it. */
ice_code ice__ddl_open(ice__ddl *d, ice_session *s, ice__stview *v, ice_str table, ice_error *err) ICE_MUST;
ice_code ice__ddl_open_relation(ice__ddl *d, ice_session *s, ice__stview *v, ice_str name, bool is_view,
                                ice_error *err) ICE_MUST;
ice_code ice__ddl_put(ice__ddl *d, bool more, ice_error *err) ICE_MUST;
void ice__ddl_close(ice__ddl *d);

/* ddl_check.c: do the rows that are there meet a constraint? Run with the transaction's own changes. */
ice_code ice__check_unique(ice_session *s, const ice_tabledef *def, const ice_constraint *con,
                           ice_error *err) ICE_MUST;
ice_code ice__check_check(ice_session *s, const ice_tabledef *def, const ice_constraint *con,
                          ice_error *err) ICE_MUST;
ice_code ice__check_foreign(ice_session *s, const ice_tabledef *def, const ice_constraint *con,
                            const ice_tabledef *parent, ice_error *err) ICE_MUST;
ice_code ice__check_not_null(ice_session *s, const ice_tabledef *def, ice_str column,
                             ice_error *err) ICE_MUST;
/* Does the engine know the column's collation? */
ice_code ice__check_collation(ice_session *s, const ice_column *col, ice_error *err) ICE_MUST;
/* Rows of a table that was not just created: is there anything to check? */
ice_code ice__has_rows(ice_session *s, ice_str table, bool *any, ice_error *err) ICE_MUST;

/* ddl_constraint.c */
ice_code ice__ddl_resolve_columns(const ice_tabledef *def, const ice_str *names, size_t n, ice_arena *a,
                                  int32_t **out, ice_error *err) ICE_MUST;
/* Adds a constraint to the definition being edited. `check`: the table has rows that must meet it. */
ice_code ice__ddl_add_constraint(ice__ddl *d, const ice_conspec *spec, bool check, ice_error *err) ICE_MUST;
/* ddl_key.c. A table without a primary key gets a hidden one; one that is declared takes its place. */
ice_code ice__ddl_add_hidden_key(ice_tabledef *def, ice_error *err) ICE_MUST;
ice_code ice__ddl_drop_hidden_key(ice__ddl *d, ice_error *err) ICE_MUST;
ice_code ice__ddl_drop_constraint(ice__ddl *d, ice_str name, ice_error *err) ICE_MUST;
ice_code ice__ddl_drop_column(ice__ddl *d, ice_str name, ice_error *err) ICE_MUST;
/* Nothing in memory is known by the key any more that a flush could take: it may change. *rows: there is
 * something that has it. */
ice_code ice__ddl_settle_key(ice__ddl *d, bool *rows, ice_error *err) ICE_MUST;

/* ddl_column.c: ALTER COLUMN; rows written anew by "UPDATE t SET column = expr", as a statement of this
 * transaction; with `files` on the bulk path, however few they are. */
ice_code ice__ddl_alter_column(ice__ddl *d, const ice_alter *al, ice_error *err) ICE_MUST;
ice_code ice__ddl_rewrite_rows(ice__ddl *d, ice_str column, ice_str expr, bool files, ice_error *err) ICE_MUST;
/* The transaction's state of the table changed by another way than `put`: goes on from that. */
void ice__ddl_follow(ice__ddl *d);
/* ddl_retype.c: ALTER COLUMN ... TYPE. */
ice_code ice__ddl_retype(ice__ddl *d, const ice_alter *al, ice_error *err) ICE_MUST;

/* ddl_view.c: views, and what becomes of those that read a table which is dropped or altered: an error, or they
 * go too (`cascade`). */
ice_code ice__ddl_create_view(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err) ICE_MUST;
ice_code ice__ddl_drop_view(ice_session *s, ice__stview *v, ice_str name, const ice_stmt *st,
                            ice_error *err) ICE_MUST;
ice_code ice__ddl_drop_views_of(ice_session *s, ice_uuid dropped, ice_str name, bool cascade,
                                ice_error *err) ICE_MUST;
ice_code ice__ddl_check_views_of(ice_session *s, ice_uuid altered, ice_str name, bool cascade,
                                 ice_error *err) ICE_MUST;

/* The statements: ddl_table.c, ddl_alter.c, ddl_index.c. */
ice_code ice__ddl_create_table(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err) ICE_MUST;
ice_code ice__ddl_drop_table(ice_session *s, ice__stview *v, ice_str name, const ice_stmt *st,
                             ice_error *err) ICE_MUST;
ice_code ice__ddl_alter_table(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err) ICE_MUST;
ice_code ice__ddl_create_index(ice_session *s, const ice_stmt *st, ice__stview *v, ice_error *err) ICE_MUST;
/* Renames an index, or with new_name NULL drops it. */
ice_code ice__ddl_change_index(ice_session *s, ice_str name, const ice_str *new_name, bool if_exists,
                               ice__stview *v, ice_error *err) ICE_MUST;
#endif
