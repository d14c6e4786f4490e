/* The bulk path: a statement that changes many rows streams the engine's result into Parquet files and marks
 * what it ended by position. Nothing of it is held in memory but a batch of rows and the marks.
 *
 * A table goes onto the path once for a transaction (ice__bulk_begin): exclusive table lock, the tail
 * published, the layout locked, so that every row there is lies in a file and stays where it is. From then on
 * the transaction has a state of its own (ice__txtable.state) to which each statement adds files and marks;
 * what small statements put into the overlay goes the same way before the next bulk statement and at the
 * commit. The log's record names the files and has the marks. */
#ifndef ICE_TXN_BULK_H
#define ICE_TXN_BULK_H

#include "txn/write.h"

typedef struct ice__bulk ice__bulk;
/* Makes of a row of the query a row of the table: `out` in the definition's order, allocated in `a` (which is
 * the session's scratch meanwhile). *taken false: nothing is to be written. */
typedef ice_code (*ice__bulk_row)(void *arg, ice__bulk *k, const ice_value *in, ice_arena *a, ice_value *out,
                                  bool *taken, ice_error *err);

struct ice__bulk {
    ice_session *s;
    ice_uuid table;
    ice__stview *v; /* of the statement */
    ice_view *view; /* of the table in it; shows _row_place */
    ice_tabstate *state;
    const ice_tabledef *def;
    const ice_keys *keys;
    ice_marks *marks;
    int64_t changed; /* rows */

    ice__bulk_row row;
    void *arg;
    ice__econn *from; /* the query, */
    ice_result *result;
    size_t ncols, count, next; /* its current chunk */
    ice_value *in;
    bool over;
    size_t in_file; /* rows of the file that is being written */
    size_t nfiles, cap;
    ice_staged_file *files;
    size_t npreds; /* CHECK constraints that need no engine */
    ice_pred **preds;
    const ice_constraint **checks;
};

ice_code ice__bulk_begin(ice_session *s, ice_uuid table, ice_str name, ice__txtable **out,
                         ice_error *err) ICE_MUST;
/* On a view of its own, where with `places` tables show system columns and this one _row_place; everything in
 * the session's scratch. */
ice_code ice__bulk_open(ice__bulk *k, ice_session *s, ice_uuid table, ice_str name, bool places,
                        ice_error *err) ICE_MUST;
void ice__bulk_close(ice__bulk *k);
/* Runs the query; its rows go through `row`, and with `writes` into staged files. */
ice_code ice__bulk_run(ice__bulk *k, ice_str sql, const ice_value *params, size_t n, bool writes,
                       ice__bulk_row row, void *arg, ice_error *err) ICE_MUST;
/* NOT NULL and CHECK of a row, as far as they need no engine. */
ice_code ice__bulk_check_row(ice__bulk *k, const ice_value *row, ice_error *err) ICE_MUST;
/* The transaction's state gets what was written and marked; then unique keys and the other checks. `set`: by
 * position, the columns that changed; NULL: all (new rows). */
ice_code ice__bulk_finish(ice__bulk *k, const uint8_t *set, ice_error *err) ICE_MUST;
/* Is that many rows a case for the path? */
bool ice__bulk_worthwhile(const ice_session *s, uint64_t rows);

#endif
