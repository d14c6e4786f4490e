/* What the statements that write share: values, identities, and a batch of new row versions of one table on
 * its way into the transaction's overlay: locked, verified, checked, put. */
#ifndef ICE_TXN_WRITE_H
#define ICE_TXN_WRITE_H

#include "txn/txn_int.h"

#define ICE__OVERLAY_START                                                                                   \
    ((int64_t)1 << 47) /* a _row_start below it is an operation number: the row is the transaction's own */

typedef struct ice__returning ice__returning;

/* Rows to be written by one statement. */
typedef struct ice__write_row {
    ice_value *values; /* new version, in the definition's order; NULL for DELETE */
    ice_value *key;    /* primary key of the version it replaces */
    ice_value *
        before; /* its values, where they are wanted (RETURNING of DELETE, unchanged keys); NULL: not known */
    int64_t start; /* its _row_start */
} ice__write_row;

typedef struct ice__batch {
    ice_session *s;
    ice__stview *v;
    ice_view *view; /* of the statement */
    const ice_tabledef *def;
    const ice_keys *keys;
    ice__txtable *t;
    ice_view latest; /* after the locks were taken */
    size_t n, cap;
    ice__write_row *rows;
    ice_pred **checks; /* of its constraints, once compiled; NULL for a CHECK: only the engine can tell */
    bool engine_checks, generated;
    bool engine_uniques; /* unique constraints that only the engine can check are still to be looked at */
} ice__batch;

/* values.c: an expression's value by the engine; a value as a column takes it, in the session's scratch;
 * columns' defaults. */
ice_code ice__eval_sql(ice_session *s, ice__stview *v, ice_str expr, const ice_value *params, size_t n,
                       ice_value *out, ice_error *err) ICE_MUST;
ice_code ice__coerce(ice_session *s, const ice_column *col, const ice_value *v, ice_value *out,
                     ice_error *err) ICE_MUST;
/* Values for what `rows` rows leave out, as the columns take them: one query for each expression, so that times of the
 * day are the statement's, and random numbers each row's own. */
typedef struct ice__defaults {
    ice_session *s;
    const ice_tabledef *def;
    size_t rows;
    ice_arena *arena;
    struct ice__default {
        bool known, constant;
        ice_value value;
        ice__econn *from;
        ice_result *result;
        size_t next, n; /* in the result's chunk */
    } *cols;
} ice__defaults;
ice_code ice__defaults_open(ice__defaults *d, ice_session *s, const ice_tabledef *def, size_t rows,
                            ice_error *err) ICE_MUST;
void ice__defaults_close(ice__defaults *d);
ice_code ice__defaults_next(ice__defaults *d, size_t col, ice_value *out, ice_error *err) ICE_MUST;

/* sequence.c: `count` fresh values from *first on; a value that was given by hand. */
ice_code ice__next_identity(ice_session *s, ice_view *view, const ice_column *col, int64_t count,
                            int64_t *first, ice_error *err) ICE_MUST;
ice_code ice__identity_used(ice_session *s, const ice_view *view, const ice_column *col, int64_t value,
                            ice_error *err) ICE_MUST;

/* write.c, in the order a statement calls them: open, add rows, finish the rows (generated columns, NOT NULL,
 * CHECK: together.c), lock table and rows, verify that what is replaced is still the newest (ICE_CONFLICT: the
 * statement runs again), make the overlay, end old versions, look at unique keys of the engine's (together.c), put
 * new ones. */
ice_code ice__batch_open(ice__batch *b, ice_session *s, ice__stview *v, ice_str table,
                         ice_error *err) ICE_MUST;
void ice__batch_close(ice__batch *b);
ice_code ice__batch_add(ice__batch *b, ice__write_row **out, ice_error *err) ICE_MUST;
ice_code ice__key_of(ice__batch *b, const ice_value *row, ice_value **out, ice_error *err) ICE_MUST;
ice_code ice__batch_lock_table(ice__batch *b, ice_error *err) ICE_MUST;
ice_code ice__batch_lock_rows(ice__batch *b, ice_error *err) ICE_MUST;
ice_code ice__batch_verify(ice__batch *b, ice_error *err) ICE_MUST;
ice_code ice__batch_overlay(ice__batch *b, ice_error *err) ICE_MUST;
ice_code ice__end_version(ice__batch *b, const ice_value *key, int64_t start, ice_row_op op,
                          ice_error *err) ICE_MUST;
/* Puts a new version after its unique keys. `clash` NULL: another row with the same key is an error; else it
 * is told, and nothing is put. */
ice_code ice__put_row(ice__batch *b, ice__write_row *w, ice_row_op op, bool *clash, ice_error *err) ICE_MUST;

/* update.c: a row to be replaced (values NULL: deleted); the rows of WHERE and their new values by the
 * engine, or *many: so many that ice__bulk_update is to do it all; all of it done. */
ice_code ice__add_change(ice__batch *b, ice_value *old, ice_value *values, int64_t start,
                         ice_error *err) ICE_MUST;
ice_code ice__engine_changes(ice__batch *b, const ice_update *st, const ice_value *params, size_t np,
                             bool *many, ice_error *err) ICE_MUST;
ice_code ice__bulk_update(ice_session *s, ice_uuid table, const ice_update *st, const ice_value *params, size_t np,
                          ice_cursor *c, ice__returning *r, ice_error *err) ICE_MUST;
ice_code ice__apply_changes(ice__batch *b, bool update, ice_error *err) ICE_MUST;

/* cascade.c: after a DELETE, the ON DELETE actions of the foreign keys that refer to its table. */
ice_code ice__run_actions(ice__batch *b, ice_error *err) ICE_MUST;
ice_code ice__has_actions(ice__batch *b, bool *any, ice_error *err) ICE_MUST;

/* The newest row with the same value of a key, of the batch's definition; or of a conditional or functional
 * one, by the engine. */
ice_code ice__find_by_key(ice__batch *b, const ice_key *k, const ice_value *row, ice_row *out, bool *found,
                          ice_error *err) ICE_MUST;
ice_code ice__find_by_engine(ice__batch *b, const ice_constraint *con, const ice_value *row, ice_row *out,
                             bool *found, ice_error *err) ICE_MUST;
/* A row that is in no index of the key: NULLs differ from each other. */
bool ice__unindexed(const ice_key *k, const ice_value *row);

/* The expressions of a conditional or functional key as __k0, __k1 ...: how many; 0: *err. */
size_t ice__put_key(ice__batch *b, const ice_constraint *con, ice_buf *sql, ice_error *err);

/* together.c: rows of a table, or pairs of rows, as a relation of the engine: a number and each row's columns. In SQL:
 * ice__pairs_with, then where a relation may stand "(SELECT __ice_row, <columns>) AS <name>" of one of the sides. */
typedef struct ice__pairs {
    const ice_tabledef *def;
    ice_column *cols; /* of the relation "__stream" */
    ice_value *row;
    ice__rowset rows;
} ice__pairs;
/* `sides`: a letter for each row of a pair. */
ice_code ice__pairs_open(ice__pairs *p, const ice_tabledef *def, const char *sides, ice_error *err) ICE_MUST;
void ice__pairs_close(ice__pairs *p);
ice_code ice__pairs_add(ice__pairs *p, size_t number, const ice_value *first, const ice_value *second,
                        ice_error *err) ICE_MUST;
void ice__pairs_with(ice_buf *sql);
void ice__pairs_side(const ice_tabledef *def, char side, ice_str name, ice_buf *sql);
/* Generated columns filled in, NOT NULL and CHECK looked at: of these rows, of the batch's. */
ice_code ice__finish_rows(ice__batch *b, ice_value **rows, size_t n, ice_error *err) ICE_MUST;
ice_code ice__batch_finish(ice__batch *b, ice_error *err) ICE_MUST;
/* Before the rows are put: conditional and functional keys of all of them. A clash is an error, or (`leave_out`) for
 * ice__put_row to find row by row. */
ice_code ice__batch_uniques(ice__batch *b, bool leave_out, ice_error *err) ICE_MUST;

/* returning.c: what a statement returns of its rows, of plain columns as they come, of expressions at the end. */
struct ice__returning {
    ice_session *s;
    ice_cursor *c;
    const ice_tabledef *def;
    bool star, by_engine;
    size_t n;
    const ice_expr *exprs;
    ice__pairs rows; /* for the engine */
};
ice_code ice__returning_open(ice__returning *r, ice_session *s, ice_cursor *c, const ice_tabledef *def, bool star,
                             size_t n, const ice_expr *exprs, const ice_str *names, ice_error *err) ICE_MUST;
ice_code ice__returning_row(ice__returning *r, const ice_value *row, ice_error *err) ICE_MUST;
ice_code ice__returning_end(ice__returning *r, ice_error *err) ICE_MUST;
void ice__returning_close(ice__returning *r);

/* conflict.c: ON CONFLICT of a batch's rows. Open it before the rows are locked; with the overlay there, prepare
 * computes what DO UPDATE sets; then each row is put, in order. *result: the row as it is now; NULL: it was left out.
 * ICE_CARDINALITY: two of the rows are about one that is there. */
typedef struct ice__conflict {
    ice__batch *b;
    const ice_insert *st;
    const ice_value *params;
    size_t nparams;
    bool any; /* conflict of any key, or of one: */
    const ice_key *key;
    const ice_constraint *con; /* conditional or functional */
    int64_t began;             /* the transaction's last operation before the statement */
    int *set;                  /* definition positions of what DO UPDATE sets */
    bool simple;               /* its values are at hand; else, of the batch's row i, in computed[i]: */
    ice_value **computed;      /* WHERE, and the values */
    ice__rowset news;
} ice__conflict;
ice_code ice__conflict_open(ice__conflict *c, ice__batch *b, const ice_insert *st, const ice_value *params, size_t n,
                            ice_error *err) ICE_MUST;
ice_code ice__conflict_prepare(ice__conflict *c, ice_error *err) ICE_MUST;
ice_code ice__conflict_put(ice__conflict *c, size_t at, const ice_value **result, ice_error *err) ICE_MUST;
void ice__conflict_close(ice__conflict *c);

ice_code ice__unique_fail(const ice_tabledef *def, const ice_constraint *con, const ice_key *k,
                          const ice_value *row, ice_error *err) ICE_MUST;
const ice_constraint *ice__constraint_of(const ice_tabledef *def, const ice_key *k);
/* Is a unique key looked at now, or when the transaction ends? */
bool ice__key_holds_now(ice_session *s, const ice_key *k);
/* Appends what a unique key compares of a column, in SQL. */
void ice__put_compared(ice_buf *b, const ice_column *c);
/* Conditional and functional keys, and those of columns that do not compare by their bytes: only the engine can check them. */
bool ice__engine_unique(const ice_tabledef *def, const ice_constraint *c);

#endif
