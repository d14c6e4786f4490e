/* INSERT, UPDATE, DELETE, TRUNCATE: rows to write, found by the fast path or the engine, locked, checked, put into the overlay. */
#include <stdlib.h>

#include "txn/txn_int.h"

#define MANY_ROWS 512                    /* of one table in a transaction: the whole table is locked instead of rows */
#define OVERLAY_START ((int64_t)1 << 47) /* a _row_start below it is an operation number: the row is the transaction's own */

/* ---- values of a VALUES list, defaults ---- */

static ice_code eval_sql(ice_session *s, ice__stview *v, ice_str expr, const ice_value *params, size_t n, ice_value *out, ice_error *err)
{
    ice_buf sql = {0};
    ice__rowset rows = {0};
    ice_code rc;
    ice_buf_printf(&sql, "SELECT %.*s", ICE_PRI(expr));
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__collect(s, v, ice_buf_str(&sql), params, n, &rows, err));
    if (rows.n != 1)
        rc = ice_fail(err, ICE_SYNTAX, "the expression %.*s has %zu rows", ICE_PRI(expr), rows.n);
    else
        rc = ice_value_copy(s->scratch, &rows.rows[0][0], out, err);
out:
    ice_buf_free(&sql);
    ice_arena_free(rows.arena);
    return rc;
}

static bool param_matches(const ice_expr *e, const ice_column *col, const ice_value *v)
{
    return !e->cast || (col && e->cast == col->type.kind && (v->null || v->kind == e->cast || v->kind == ICE_T_STRING));
}

/* A parameter or literal; false: the engine has to say. */
bool ice__expr_value(const ice_expr *e, const ice_column *col, const ice_value *params, ice_value *out)
{
    if (e->kind == ICE_E_CONST) {
        *out = e->value;
        return true;
    }
    if (e->kind != ICE_E_PARAM || !param_matches(e, col, &params[e->param]))
        return false;
    *out = params[e->param];
    return true;
}

/* A value made the column's. A time without a zone is local time of the session. */
static ice_code coerce(ice_session *s, const ice_column *col, const ice_value *v, ice_value *out, ice_error *err)
{
    ice_value instant;
    bool local = col->type.kind == ICE_T_TIMESTAMPTZ && !v->null &&
                 (v->kind == ICE_T_TIMESTAMP || v->kind == ICE_T_DATE || v->kind == ICE_T_STRING) && strcmp(s->timezone, "UTC") != 0;
    if (!local)
        return ice_column_coerce(col, s->scratch, v, out, err);
    ice_code rc = eval_sql(s, NULL, ICE_STR("CAST($1 AS TIMESTAMPTZ)"), v, 1, &instant, err);
    return rc == ICE_OK ? ice_column_coerce(col, s->scratch, &instant, out, err) : rc;
}

static ice_code default_value(ice_session *s, const ice_column *col, ice_value *out, ice_error *err)
{
    ice_error ignored;
    *out = ICE_NULL;
    if (!col->default_sql.ptr || ice_sql_constant(s->scratch, col->default_sql, out, &ignored) == ICE_OK)
        return ICE_OK;
    return eval_sql(s, NULL, col->default_sql, NULL, 0, out, err);
}

/* ---- sequences ---- */

uint64_t ice__sequence_name(const ice_tabledef *def, const ice_column *col)
{
    return ice_hash64(def->uuid.b, 16, (uint64_t)col->field_id | (uint64_t)col->restarts << 32);
}

/* Highest value of an identity column in files and tail: what a sequence that was lost starts after. */
static int64_t highest(ice_view *view, const ice_column *col)
{
    /* Values of dead rows, too, were handed out; after a restart only those that are there count. */
    bool restarted = col->restarts > 0;
    uint64_t rows = 1;
    ice_error unknown;
    if (restarted && ice_view_count(view, &rows, &unknown) == ICE_OK && rows == 0)
        return 0;
    int64_t max = view->state->published ? ice_published_max_int(view->state->published, col->field_id) : 0;
    if (max == INT64_MAX)
        max = 0; /* set by hand: nothing can follow it */
    ice_tail *tails[2] = {view->state->tail, view->overlay};
    for (int i = 0; i < 2; i++) {
        ice_tail_scan *scan = NULL;
        void *worker = NULL;
        ice_batch b;
        ice_error ignored;
        if (!tails[i] || ice_tail_scan_open(tails[i], ICE_TIME_MAX - 1, restarted ? ICE_TAIL_VISIBLE : ICE_TAIL_ALL, col, 1, NULL, NULL, &scan, &ignored) != ICE_OK)
            continue;
        while (ice_tail_scan_next(scan, &worker, &b, &ignored) == ICE_OK && b.count > 0)
            for (size_t k = 0; k < b.count; k++) {
                ice_value v;
                ice_vec_get(&b.vecs[0], b.sel ? b.sel[k] : b.first + k, &v);
                if (!v.null && v.i > max && v.i < INT64_MAX)
                    max = v.i;
            }
        ice_tail_scan_worker_free(worker);
        ice_tail_scan_close(scan);
    }
    return max;
}

/* The floor of a sequence is looked up once by a session, then the shared counter knows better. */
static ice_code sequence_floor(ice_session *s, ice_view *view, const ice_column *col, uint64_t name, int64_t *out, ice_error *err)
{
    for (size_t i = 0; i < s->nfloors; i++)
        if (s->floors[i].name == name) {
            *out = s->floors[i].value;
            return ICE_OK;
        }
    ice__seqmark *grown = realloc(s->floors, (s->nfloors + 1) * sizeof *grown);
    if (!grown)
        return ice_fail_nomem(err);
    s->floors = grown;
    *out = highest(view, col) + 1;
    if (col->restarts && *out < col->restart_at)
        *out = col->restart_at;
    s->floors[s->nfloors++] = (ice__seqmark){name, *out};
    return ICE_OK;
}

static ice_code next_identity(ice_session *s, ice_view *view, const ice_column *col, int64_t count, int64_t *first, ice_error *err)
{
    uint64_t name = ice__sequence_name(view->state->def, col);
    int64_t floor;
    ice_code rc = sequence_floor(s, view, col, name, &floor, err);
    if (rc == ICE_OK)
        rc = ice_log_sequence_next(s->wh->log, name, floor, count, first, err);
    return rc == ICE_OK ? ice__tx_sequence(s, name, *first + count - 1, err) : rc;
}

static ice_code identity_used(ice_session *s, const ice_view *view, const ice_column *col, int64_t value, ice_error *err)
{
    uint64_t name = ice__sequence_name(view->state->def, col);
    ice_code rc = ice_log_sequence_bump(s->wh->log, name, value, err);
    return rc == ICE_OK ? ice__tx_sequence(s, name, value, err) : rc;
}

/* ---- a batch of new versions of one table ---- */

/* Rows to be written by one statement. `old` entries are NULL for INSERT. */
typedef struct write_row {
    ice_value *values;  /* new version, in the definition's order; NULL for DELETE */
    ice_value *key;     /* primary key of the version it replaces */
    ice_value *before;  /* its values, where they are wanted (RETURNING of DELETE, unchanged keys); NULL: not known */
    int64_t start;      /* its _row_start */
} write_row;

typedef struct batch {
    ice_session *s;
    ice__stview *v;
    ice_view *view;     /* of the statement */
    const ice_tabledef *def;
    const ice_keys *keys;
    ice__txtable *t;
    ice_view latest;    /* after the locks were taken */
    size_t n, cap;
    write_row *rows;
    bool engine_uniques; /* the definition has unique constraints that only the engine can check */
} batch;

static bool engine_unique(const ice_constraint *c)
{
    return c->kind == ICE_CON_UNIQUE && (c->where_sql.ptr || c->expr_sql.ptr);
}

static ice_code batch_open(batch *b, ice_session *s, ice__stview *v, ice_str table, ice_error *err)
{
    *b = (batch){.s = s, .v = v};
    ice_code rc = ice__stview_need(v, table, &b->view, err);
    if (rc != ICE_OK)
        return rc;
    if (b->view->mode != ICE_VIEW_CURRENT)
        return ice_fail(err, ICE_UNSUPPORTED, "\"%.*s\" shows the past: it can't be changed", ICE_PRI(table));
    b->def = b->view->state->def;
    b->keys = &b->view->state->keys;
    for (size_t i = 0; i < b->def->ncons; i++)
        b->engine_uniques |= engine_unique(&b->def->cons[i]);
    return ICE_OK;
}

static void batch_close(batch *b) { ice__view_release(&b->latest); }

static ice_code batch_add(batch *b, write_row **out, ice_error *err)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 16;
        write_row *grown = ice_arena_array(b->s->scratch, cap, sizeof *grown);
        if (!grown)
            return ice_fail_nomem(err);
        if (b->n)
            memcpy(grown, b->rows, b->n * sizeof *grown);
        b->rows = grown;
        b->cap = cap;
    }
    *out = &b->rows[b->n++];
    memset(*out, 0, sizeof **out);
    return ICE_OK;
}

/* The shared lock of the table, or with many rows the exclusive one. The definition seen by the statement is the one in force
 * after the lock: else the statement starts again. */
static ice_code batch_lock_table(batch *b, ice_error *err)
{
    ice__txtable *had = ice__tx_find(&b->s->tx, b->def->uuid);
    bool many = b->n > MANY_ROWS || (had && had->rows + b->n > 4 * MANY_ROWS);
    ice_code rc = ice__tx_table(b->s, b->def->uuid, b->def->name, many, &b->t, err);
    if (rc != ICE_OK)
        return rc;
    b->t->rows += b->n;
    if (had || b->t->state)
        return ICE_OK;
    ice__registry *reg = NULL;
    ice_tabstate *now = NULL;
    int64_t at;
    if ((rc = ice__wh_catchup(b->s->wh, err)) != ICE_OK)
        return rc;
    ice__wh_view(b->s->wh, &reg, &at);
    rc = ice__tx_state(b->s, b->t, reg, &now, err);
    if (rc == ICE_OK && now->def->schema_id != b->def->schema_id)
        rc = ice_fail(err, ICE_CONFLICT, "table \"%.*s\" was altered meanwhile", ICE_PRI(b->def->name));
    ice__registry_unref(reg);
    return rc;
}

static ice_code key_null(const ice_key *k, const ice_value *row, bool *skip)
{
    bool has_null = false;
    (void)ice_key_hash_row(k, row, &has_null);
    *skip = has_null && !k->nulls_not_distinct;
    return ICE_OK;
}

static bool key_changed(const ice_key *k, const write_row *w)
{
    if (!w->before)
        return true;
    for (size_t c = 0; c < k->ncols; c++)
        if (!ice_value_eq(&w->before[k->cols[c]], &w->values[k->cols[c]]))
            return true;
    return false;
}

/* Locks what the rows set and what they replace. */
static ice_code batch_lock_rows(batch *b, ice_error *err)
{
    if (b->t->exclusive)
        return ICE_OK;
    ice_uuid id = b->def->uuid;
    for (size_t i = 0; i < b->n; i++) {
        write_row *w = &b->rows[i];
        ice_code rc = ICE_OK;
        if (w->key)
            rc = ice__tx_lock(b->s, ice__lock_row(id, ice_key_hash(w->key, b->keys->keys[0].ncols)), ICE_LOCK_EXCLUSIVE, false, NULL, err);
        for (size_t k = 0; rc == ICE_OK && w->values && k < b->keys->n; k++) {
            bool has_null = false;
            const ice_key *key = &b->keys->keys[k];
            if (!key->unique || !key_changed(key, w))
                continue;
            uint64_t hash = ice_key_hash_row(key, w->values, &has_null);
            if (!has_null || key->nulls_not_distinct)
                rc = ice__tx_lock(b->s, ice__lock_key(id, b->def, key, hash), ICE_LOCK_EXCLUSIVE, false, NULL, err);
        }
        for (size_t k = 0; rc == ICE_OK && w->values && b->engine_uniques && k < b->def->ncons; k++)
            if (engine_unique(&b->def->cons[k]))
                rc = ice__tx_lock(b->s, ice__lock_constraint(id, b->def->cons[k].name), ICE_LOCK_EXCLUSIVE, false, NULL, err);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* With the locks held: are the versions to be replaced still the newest? */
static ice_code batch_verify(batch *b, ice_error *err)
{
    ice_code rc = ice__latest_view(b->s, b->t, &b->latest, err);
    if (rc != ICE_OK || b->latest.at == b->view->at)
        return rc;
    for (size_t i = 0; i < b->n; i++) {
        write_row *w = &b->rows[i];
        ice_row *rows;
        size_t n = 0;
        if (!w->key || w->start < OVERLAY_START)
            continue;
        rc = ice_view_find(&b->latest, 0, w->key, b->s->scratch, &rows, &n, err);
        if (rc == ICE_OK && (n != 1 || rows[0].start != w->start))
            rc = ice_fail(err, ICE_CONFLICT, "a row of \"%.*s\" changed meanwhile", ICE_PRI(b->def->name));
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* The overlay exists from here on, and the latest view sees it grow. */
static ice_code batch_overlay(batch *b, ice_error *err)
{
    ice_code rc = ice__tx_overlay(b->t, b->latest.state, err);
    if (rc == ICE_OK && !b->latest.overlay) {
        b->latest.overlay = ice_tail_ref(b->t->overlay);
        b->latest.overlay_at = ICE_TIME_MAX - 1;
    }
    return rc;
}

/* ---- unique keys ---- */

static const ice_constraint *constraint_of(const ice_tabledef *def, const ice_key *k)
{
    return k->con ? k->con : ice_tabledef_primary(def);
}

static ice_code unique_fail(const ice_tabledef *def, const ice_constraint *con, const ice_key *k, const ice_value *row, ice_error *err)
{
    ice_buf text = {0};
    for (size_t i = 0; k && i < k->ncols; i++)
        ice_buf_printf(&text, "%s%.*s", i ? ", " : "Key (", ICE_PRI(def->cols[k->cols[i]].name));
    for (size_t i = 0; k && i < k->ncols; i++) {
        ice_buf_puts(&text, i ? ", " : ")=(");
        ice_value_text(&row[k->cols[i]], &text);
    }
    if (k)
        ice_buf_puts(&text, ") already exists.");
    ice_fail(err, ICE_UNIQUE, "duplicate key value violates unique constraint \"%.*s\" %.*s", ICE_PRI(con->name), (int)text.len,
             text.data ? text.data : "");
    ice_error_object(err, def->name.ptr, con->name.ptr);
    ice_buf_free(&text);
    return ICE_UNIQUE;
}

/* A visible row with the same value of a unique key; *key is that key. */
static ice_code find_duplicate(batch *b, const write_row *w, const ice_key **key, ice_row *row, bool *found, ice_error *err)
{
    *found = false;
    for (size_t k = 0; k < b->keys->n; k++) {
        const ice_key *uk = &b->keys->keys[k];
        ice_value values[32];
        ice_row *rows;
        size_t n = 0;
        bool skip = false;
        if (!uk->unique || uk->ncols > 32 || !key_changed(uk, w) || (key_null(uk, w->values, &skip), skip))
            continue;
        for (size_t c = 0; c < uk->ncols; c++)
            values[c] = w->values[uk->cols[c]];
        ice_code rc = ice_view_find(&b->latest, k, values, b->s->scratch, &rows, &n, err);
        if (rc != ICE_OK)
            return rc;
        if (n > 0) {
            *key = uk;
            *row = rows[0];
            *found = true;
            return ICE_OK;
        }
    }
    return ICE_OK;
}

/* Conditional and functional unique constraints: how many rows agree with this one (which is in the overlay already)? */
static ice_code engine_duplicate(batch *b, const ice_constraint *con, const ice_value *row, bool *found, ice_error *err)
{
    ice_buf sql = {0}, exprs = {0};
    ice__rowset rows = {0};
    ice__stview *v = NULL;
    ice_code rc;
    for (size_t i = 0; !con->expr_sql.ptr && i < con->ncols; i++) {
        ice_buf_puts(&exprs, i ? ", " : "");
        ice_buf_put_ident(&exprs, b->def->cols[ice_tabledef_find_id(b->def, con->field_ids[i])].name);
    }
    if (con->expr_sql.ptr)
        ice_buf_put_str(&exprs, con->expr_sql);
    ice_str where = con->where_sql.ptr ? con->where_sql : ICE_STR("TRUE");
    ice_buf_printf(&sql, "SELECT count(*) FROM (SELECT ROW(%.*s) AS __k FROM ", (int)exprs.len, exprs.data);
    ice_buf_put_ident(&sql, b->def->name);
    ice_buf_printf(&sql, " WHERE %.*s) AS a, (SELECT ROW(%.*s) AS __k FROM (", ICE_PRI(where), (int)exprs.len, exprs.data);
    ice__row_relation(b->def, &sql);
    ice_buf_printf(&sql, ") AS r WHERE %.*s) AS b WHERE a.__k = b.__k", ICE_PRI(where));
    /* ROW(..) = ROW(..) is true for equal NULLs in DuckDB: a key with a NULL in it equals none. */
    if (!con->nulls_not_distinct) {
        ice_buf_printf(&sql, " AND EXISTS (SELECT 1 FROM (SELECT %.*s FROM (", (int)exprs.len, exprs.data);
        ice__row_relation(b->def, &sql);
        ice_buf_puts(&sql, ") AS r) WHERE COLUMNS(*) IS NOT NULL)");
    }
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__stview_open(b->s, 0, &v, err));
    ICE_TRY(ice__collect(b->s, v, ice_buf_str(&sql), row, b->def->ncols, &rows, err));
    *found = rows.n == 1 && rows.rows[0][0].i > 1;
out:
    ice__stview_unref(v);
    ice_buf_free(&sql);
    ice_buf_free(&exprs);
    ice_arena_free(rows.arena);
    return rc;
}

static ice_code check_engine_uniques(batch *b, const ice_value *row, const ice_constraint **which, ice_error *err)
{
    *which = NULL;
    for (size_t i = 0; b->engine_uniques && i < b->def->ncons; i++) {
        bool found = false;
        if (!engine_unique(&b->def->cons[i]))
            continue;
        ice_code rc = engine_duplicate(b, &b->def->cons[i], row, &found, err);
        if (rc != ICE_OK)
            return rc;
        if (found) {
            *which = &b->def->cons[i];
            return ICE_OK;
        }
    }
    return ICE_OK;
}

/* What a new version clashes with: a row, by a key; or, where only the engine can tell, no more than the constraint. */
typedef struct ice__clash {
    bool any;
    ice_row row;
    const ice_constraint *con;
} ice__clash;

/* Puts a new version into the overlay after its unique keys. *clash (may be NULL: then it is an error) tells of a conflict, and nothing is put. */
static ice_code put_row(batch *b, write_row *w, ice_row_op op, ice__clash *clash, ice_error *err)
{
    const ice_key *key = NULL;
    const ice_constraint *con = NULL;
    ice_row row;
    bool found = false;
    ice_code rc = find_duplicate(b, w, &key, &row, &found, err);
    if (rc != ICE_OK)
        return rc;
    if (found) {
        if (!clash)
            return unique_fail(b->def, constraint_of(b->def, key), key, w->values, err);
        clash->any = true;
        clash->row = row;
        return ICE_OK;
    }
    int64_t mark = b->s->tx.seq;
    if ((rc = ice_tail_insert(b->t->overlay, w->values, ++b->s->tx.seq, op, NULL, err)) != ICE_OK || !b->engine_uniques)
        return rc;
    if ((rc = check_engine_uniques(b, w->values, &con, err)) != ICE_OK || !con)
        return rc;
    if (!clash)
        return unique_fail(b->def, con, NULL, w->values, err);
    ice_tail_undo(b->t->overlay, mark);
    clash->any = true;
    clash->con = con;
    return ICE_OK;
}

/* ---- columns of a row ---- */

static ice_code generated_columns(batch *b, ice_value *row, ice_error *err)
{
    for (size_t i = 0; i < b->def->ncols; i++) {
        const ice_column *col = &b->def->cols[i];
        ice_buf sql = {0};
        ice__rowset rows = {0};
        ice_code rc;
        if (!col->generated_sql.ptr)
            continue;
        row[i] = ICE_NULL;
        ice_buf_printf(&sql, "SELECT %.*s FROM (", ICE_PRI(col->generated_sql));
        ice__row_relation(b->def, &sql);
        ice_buf_puts(&sql, ") AS ");
        ice_buf_put_ident(&sql, b->def->name);
        if ((rc = ice_buf_check(&sql, err)) == ICE_OK)
            rc = ice__collect(b->s, NULL, ice_buf_str(&sql), row, b->def->ncols, &rows, err);
        if (rc == ICE_OK && rows.n == 1)
            rc = coerce(b->s, col, &rows.rows[0][0], &row[i], err);
        if (rc == ICE_OK && !row[i].null)
            rc = ice_value_copy(b->s->scratch, &row[i], &row[i], err);
        ice_buf_free(&sql);
        ice_arena_free(rows.arena);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

static ice_code finish_row(batch *b, ice_value *row, ice_error *err)
{
    ice_code rc = generated_columns(b, row, err);
    return rc == ICE_OK ? ice__check_row(b->s, b->def, row, err) : rc;
}

/* ---- INSERT ---- */

typedef struct insert {
    batch b;
    const ice_insert *st;
    const ice_value *params;
    size_t nparams;
    size_t ntarget;
    int *target;           /* definition positions of the statement's columns */
    uint8_t *given;        /* by definition position */
    ice_cursor *c;
    int64_t changed;
} insert;

static ice_code insert_targets(insert *in, ice_error *err)
{
    const ice_insert *st = in->st;
    const ice_tabledef *def = in->b.def;
    size_t hidden = ice_tabledef_find(def, ICE_STR("_row_key")) >= 0;
    in->ntarget = st->ncols ? st->ncols : st->default_values ? 0 : st->select_sql.ptr ? def->ncols - hidden : st->width;
    in->target = ice_arena_array(in->b.s->scratch, in->ntarget + 1, sizeof *in->target);
    in->given = ice_arena_array(in->b.s->scratch, def->ncols + 1, 1);
    if (!in->target || !in->given)
        return ice_fail_nomem(err);
    if (in->ntarget > def->ncols - hidden)
        return ice_fail(err, ICE_SYNTAX, "INSERT has more values than \"%.*s\" has columns", ICE_PRI(def->name));
    for (size_t i = 0; i < in->ntarget; i++) {
        int at = st->ncols ? ice_tabledef_find(def, st->cols[i]) : (int)i;
        if (!st->ncols && hidden && at >= ice_tabledef_find(def, ICE_STR("_row_key")))
            at++;
        if (at < 0)
            return ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" of table \"%.*s\" does not exist", ICE_PRI(st->cols[i]), ICE_PRI(def->name));
        if (in->given[at]++)
            return ice_fail(err, ICE_DUP_COLUMN, "column \"%.*s\" is given twice", ICE_PRI(st->cols[i]));
        in->target[i] = at;
    }
    return ICE_OK;
}

static ice_code insert_value(insert *in, const ice_expr *e, int at, ice_value *out, bool *defaulted, ice_error *err)
{
    const ice_column *col = &in->b.def->cols[at];
    ice_session *s = in->b.s;
    ice_value v;
    *defaulted = e->kind == ICE_E_DEFAULT;
    if (*defaulted)
        return ICE_OK;
    if (col->generated_sql.ptr)
        return ice_fail(err, ICE_SYNTAX, "column \"%.*s\" is generated: only DEFAULT can be given", ICE_PRI(col->name));
    if (!ice__expr_value(e, col, in->params, &v)) {
        ice_code rc = eval_sql(s, in->b.v, e->text, in->params, in->nparams, &v, err);
        if (rc != ICE_OK)
            return rc;
    }
    return coerce(s, col, &v, out, err);
}

/* Fills what a row leaves out: defaults, and marks for identity columns (resolved for all rows at once). */
static ice_code insert_defaults(insert *in, ice_value *row, const uint8_t *given, ice_error *err)
{
    for (size_t i = 0; i < in->b.def->ncols; i++) {
        const ice_column *col = &in->b.def->cols[i];
        ice_value v;
        if (given[i])
            continue;
        if (col->generated_sql.ptr) {
            row[i] = ICE_NULL; /* to come */
            continue;
        }
        if (col->identity) {
            row[i] = (ice_value){.kind = ICE_T_NONE, .null = false}; /* to come */
            continue;
        }
        ice_code rc = default_value(in->b.s, col, &v, err);
        if (rc == ICE_OK)
            rc = coerce(in->b.s, col, &v, &row[i], err);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

static ice_code insert_values(insert *in, ice_error *err)
{
    const ice_tabledef *def = in->b.def;
    uint8_t *given = ice_arena_array(in->b.s->scratch, def->ncols + 1, 1);
    if (!given)
        return ice_fail_nomem(err);
    for (size_t r = 0; r < in->st->nrows; r++) {
        write_row *w;
        ice_code rc = batch_add(&in->b, &w, err);
        if (rc != ICE_OK)
            return rc;
        if (!(w->values = ice_arena_array(in->b.s->scratch, def->ncols, sizeof *w->values)))
            return ice_fail_nomem(err);
        memcpy(given, in->given, def->ncols);
        for (size_t i = 0; i < in->ntarget; i++) {
            bool defaulted = false;
            int at = in->target[i];
            rc = insert_value(in, &in->st->values[r * in->ntarget + i], at, &w->values[at], &defaulted, err);
            if (rc != ICE_OK)
                return rc;
            given[at] = !defaulted;
        }
        if ((rc = insert_defaults(in, w->values, given, err)) != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

static ice_code insert_select(insert *in, ice_error *err)
{
    ice__rowset rows = {0};
    const ice_tabledef *def = in->b.def;
    ice_code rc;
    ICE_TRY(ice__collect(in->b.s, in->b.v, in->st->select_sql, in->params, in->nparams, &rows, err));
    if (rows.ncols != in->ntarget) {
        rc = ice_fail(err, ICE_SYNTAX, "INSERT names %zu columns but its SELECT has %zu", in->ntarget, rows.ncols);
        goto out;
    }
    for (size_t r = 0; r < rows.n; r++) {
        write_row *w;
        ICE_TRY(batch_add(&in->b, &w, err));
        if (!(w->values = ice_arena_array(in->b.s->scratch, def->ncols, sizeof *w->values))) {
            rc = ice_fail_nomem(err);
            goto out;
        }
        for (size_t i = 0; i < in->ntarget; i++) {
            ice_value v;
            ICE_TRY(coerce(in->b.s, &def->cols[in->target[i]], &rows.rows[r][i], &v, err));
            ICE_TRY(ice_value_copy(in->b.s->scratch, &v, &w->values[in->target[i]], err));
        }
        ICE_TRY(insert_defaults(in, w->values, in->given, err));
    }
out:
    ice_arena_free(rows.arena);
    return rc;
}

static ice_code insert_identities(insert *in, ice_error *err)
{
    batch *b = &in->b;
    for (size_t i = 0; i < b->def->ncols; i++) {
        const ice_column *col = &b->def->cols[i];
        int64_t wanted = 0, next = 0, most = 0;
        ice_code rc = ICE_OK;
        if (!col->identity)
            continue;
        for (size_t r = 0; r < b->n; r++) {
            const ice_value *v = &b->rows[r].values[i];
            wanted += !v->null && v->kind == ICE_T_NONE;
            if (!v->null && v->kind != ICE_T_NONE && v->i > most)
                most = v->i;
        }
        if (most > 0 && most < INT64_MAX)
            rc = identity_used(b->s, b->view, col, most, err);
        if (rc == ICE_OK && wanted)
            rc = next_identity(b->s, b->view, col, wanted, &next, err);
        for (size_t r = 0; rc == ICE_OK && wanted && r < b->n; r++) {
            ice_value *v = &b->rows[r].values[i];
            if (v->null || v->kind != ICE_T_NONE)
                continue;
            ice_value id = {.kind = ICE_T_LONG, .i = next++};
            rc = coerce(b->s, col, &id, v, err);
        }
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* DO UPDATE: the conflicting row's new values; EXCLUDED is the row that was to be inserted. */
static ice_code conflict_values(insert *in, const ice_value *old, const ice_value *excluded, ice_value *out, bool *wanted, ice_error *err)
{
    const ice_insert *st = in->st;
    batch *b = &in->b;
    ice_buf sql = {0};
    ice__rowset rows = {0};
    ice_code rc = ICE_OK;
    bool simple = !st->set_where.ptr;
    *wanted = true;
    memcpy(out, old, b->def->ncols * sizeof *out);
    for (size_t i = 0; i < st->nset; i++)
        simple &= st->set_exprs[i].kind == ICE_E_EXCLUDED || st->set_exprs[i].kind == ICE_E_CONST || st->set_exprs[i].kind == ICE_E_PARAM;
    for (size_t i = 0; i < st->nset && rc == ICE_OK; i++) {
        int at = ice_tabledef_find(b->def, st->set_cols[i]);
        const ice_expr *e = &st->set_exprs[i];
        int from = e->kind == ICE_E_EXCLUDED ? ice_tabledef_find(b->def, e->column) : 0;
        ice_value v;
        if (at < 0 || from < 0)
            return ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" does not exist", ICE_PRI(at < 0 ? st->set_cols[i] : e->column));
        if (!simple)
            continue;
        if (e->kind == ICE_E_EXCLUDED)
            v = excluded[from];
        else if (!ice__expr_value(e, &b->def->cols[at], in->params, &v))
            simple = false;
        if (simple)
            rc = coerce(b->s, &b->def->cols[at], &v, &out[at], err);
    }
    if (simple || rc != ICE_OK)
        return rc;
    /* Parameters of the statement first, then the two rows. */
    size_t n = b->def->ncols, np = in->nparams;
    ice_value *params = ice_arena_array(b->s->scratch, np + 2 * n, sizeof *params);
    if (!params)
        return ice_fail_nomem(err);
    if (np)
        memcpy(params, in->params, np * sizeof *params);
    memcpy(params + np, old, n * sizeof *params);
    memcpy(params + np + n, excluded, n * sizeof *params);
    ice_buf_printf(&sql, "SELECT (%.*s)", ICE_PRI(st->set_where.ptr ? st->set_where : ICE_STR("TRUE")));
    for (size_t i = 0; i < st->nset; i++)
        ice_buf_printf(&sql, ", %.*s", ICE_PRI(st->set_exprs[i].text));
    for (int side = 0; side < 2; side++) {
        ice_buf_puts(&sql, side ? ", (SELECT " : " FROM (SELECT ");
        for (size_t i = 0; i < n; i++) {
            ice_buf_printf(&sql, "%sCAST($%zu AS ", i ? ", " : "", np + (size_t)side * n + i + 1);
            ice_duck_type(&b->def->cols[i], &sql);
            ice_buf_puts(&sql, ") AS ");
            ice_buf_put_ident(&sql, b->def->cols[i].name);
        }
        ice_buf_puts(&sql, ") AS ");
        ice_buf_put_ident(&sql, side ? ICE_STR("excluded") : st->alias.ptr ? st->alias : b->def->name);
    }
    ICE_TRY(ice_buf_check(&sql, err));
    ICE_TRY(ice__collect(b->s, b->v, ice_buf_str(&sql), params, np + 2 * n, &rows, err));
    *wanted = rows.n == 1 && !rows.rows[0][0].null && rows.rows[0][0].b;
    for (size_t i = 0; *wanted && i < st->nset; i++) {
        int at = ice_tabledef_find(b->def, st->set_cols[i]);
        ice_value v;
        ICE_TRY(coerce(b->s, &b->def->cols[at], &rows.rows[0][i + 1], &v, err));
        ICE_TRY(ice_value_copy(b->s->scratch, &v, &out[at], err));
    }
out:
    ice_buf_free(&sql);
    ice_arena_free(rows.arena);
    return rc;
}

static ice_code end_version(batch *b, const ice_value *key, int64_t start, ice_row_op op, ice_error *err)
{
    return ice_tail_end(b->t->overlay, key, start < OVERLAY_START ? 0 : start, ++b->s->tx.seq, op, NULL, err);
}

static ice_code key_of(batch *b, const ice_value *row, ice_value **out, ice_error *err)
{
    const ice_key *pk = &b->keys->keys[0];
    if (!(*out = ice_arena_array(b->s->scratch, pk->ncols, sizeof **out)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < pk->ncols; i++)
        (*out)[i] = row[pk->cols[i]];
    return ICE_OK;
}

static ice_code update_conflicting(insert *in, const write_row *w, const ice_row *row, const ice_value **result, ice_error *err)
{
    batch *b = &in->b;
    size_t n = b->def->ncols;
    bool wanted, waited = false;
    write_row up = {0};
    ice_value *old = ice_arena_array(b->s->scratch, n, sizeof *old);
    up.values = ice_arena_array(b->s->scratch, n, sizeof *up.values);
    if (!old || !up.values)
        return ice_fail_nomem(err);
    ice_code rc = ice_view_row(&b->latest, row, b->def->cols, n, b->s->scratch, old, err);
    if (rc == ICE_OK)
        rc = key_of(b, old, &up.key, err);
    if (rc == ICE_OK && !b->t->exclusive)
        rc = ice__tx_lock(b->s, ice__lock_row(b->def->uuid, ice_key_hash(up.key, b->keys->keys[0].ncols)), ICE_LOCK_EXCLUSIVE, false, &waited,
                          err);
    if (rc == ICE_OK && waited)
        return ice_fail(err, ICE_CONFLICT, "a row of \"%.*s\" changed meanwhile", ICE_PRI(b->def->name));
    if (rc == ICE_OK)
        rc = conflict_values(in, old, w->values, up.values, &wanted, err);
    if (rc != ICE_OK || !wanted)
        return rc;
    up.before = old;
    if ((rc = finish_row(b, up.values, err)) == ICE_OK)
        rc = end_version(b, up.key, row->where == ICE_IN_OVERLAY ? 0 : row->start, ICE_OP_UPDATE, err);
    if (rc == ICE_OK)
        rc = put_row(b, &up, ICE_OP_UPDATE, NULL, err);
    *result = up.values;
    return rc;
}

/* The conflict target must be a unique key; conflicts with others are errors still. */
static ice_code conflict_key(insert *in, const ice_key **out, ice_error *err)
{
    const ice_insert *st = in->st;
    const ice_tabledef *def = in->b.def;
    *out = NULL;
    if (st->conflict_target.ptr && !st->nconflict_cols && !st->conflict_constraint.ptr)
        return ice_fail(err, ICE_UNSUPPORTED, "ON CONFLICT on an expression is not supported: name the constraint");
    if (!st->nconflict_cols && !st->conflict_constraint.ptr)
        return ICE_OK;
    for (size_t k = 0; k < in->b.keys->n; k++) {
        const ice_key *key = &in->b.keys->keys[k];
        size_t same = 0;
        if (!key->unique)
            continue;
        if (st->conflict_constraint.ptr && key->con && ice_str_eq(key->con->name, st->conflict_constraint))
            *out = key;
        for (size_t i = 0; i < st->nconflict_cols; i++)
            for (size_t c = 0; c < key->ncols; c++)
                same += ice_str_eq(def->cols[key->cols[c]].name, st->conflict_cols[i]);
        if (st->nconflict_cols && key->ncols == st->nconflict_cols && same == key->ncols)
            *out = key;
    }
    for (size_t i = 0; !*out && i < def->ncons; i++)
        if (engine_unique(&def->cons[i]))
            return ICE_OK;
    return *out ? ICE_OK
                : ice_fail(err, ICE_SYNTAX, "there is no unique constraint on \"%.*s\" matching the ON CONFLICT specification", ICE_PRI(def->name));
}

/* The row that a DO UPDATE is about, of a new row that clashes: the one with the target's key, or any. */
static ice_code conflicting_row(insert *in, const write_row *w, const ice_key *target, ice__clash *clash, ice_error *err)
{
    batch *b = &in->b;
    const ice_key *key = NULL;
    bool found = false;
    ice_value values[32];
    ice_row *rows;
    size_t n = 0;
    if (clash->con && target)
        return unique_fail(b->def, clash->con, NULL, w->values, err);
    if (clash->con && in->st->nset)
        return ice_fail(err, ICE_UNSUPPORTED, "ON CONFLICT DO UPDATE for \"%.*s\", a unique key of expressions or with a condition",
                        ICE_PRI(clash->con->name));
    if (!target)
        return ICE_OK;
    ice_code rc = find_duplicate(b, w, &key, &clash->row, &found, err);
    if (rc != ICE_OK || !found || key == target)
        return rc;
    for (size_t c = 0; c < target->ncols; c++)
        values[c] = w->values[target->cols[c]];
    rc = ice_view_find(&b->latest, (size_t)(target - b->keys->keys), values, b->s->scratch, &rows, &n, err);
    if (rc == ICE_OK && n == 0)
        rc = unique_fail(b->def, constraint_of(b->def, key), key, w->values, err);
    if (rc == ICE_OK)
        clash->row = rows[0];
    return rc;
}

static ice_code insert_one(insert *in, write_row *w, const ice_key *target, ice_error *err)
{
    batch *b = &in->b;
    const ice_insert *st = in->st;
    const ice_value *result = w->values;
    ice__clash clash = {0};
    ice_code rc = put_row(b, w, ICE_OP_INSERT, st->on_conflict ? &clash : NULL, err);
    if (rc == ICE_OK && clash.any) {
        result = NULL;
        rc = conflicting_row(in, w, target, &clash, err);
        if (rc == ICE_OK && st->nset)
            rc = update_conflicting(in, w, &clash.row, &result, err);
    }
    if (rc != ICE_OK || !result)
        return rc;
    in->changed++;
    return st->returning ? ice__returning_row(b->s, in->c, b->def, st->returning_star, st->nreturning, st->returning_exprs, result, err) : ICE_OK;
}

ice_code ice__run_insert(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v, ice_cursor *c, ice_error *err)
{
    insert in = {.st = &p->stmt.insert, .params = params, .nparams = n, .c = c};
    const ice_key *target = NULL;
    batch *b = &in.b;
    ice_code rc;
    ICE_TRY(batch_open(b, s, v, in.st->table, err));
    ICE_TRY(insert_targets(&in, err));
    ICE_TRY(in.st->select_sql.ptr ? insert_select(&in, err) : insert_values(&in, err));
    if (in.st->on_conflict)
        ICE_TRY(conflict_key(&in, &target, err));
    if (in.st->returning)
        ICE_TRY(ice__returning_open(c, b->def, in.st->returning_star, in.st->nreturning, in.st->returning_exprs, in.st->returning_names, err));
    ICE_TRY(insert_identities(&in, err));
    for (size_t i = 0; i < b->n; i++)
        ICE_TRY(finish_row(b, b->rows[i].values, err));
    c->rowcount = 0;
    c->path = "fast";
    if (b->n > 0) {
        ICE_TRY(batch_lock_table(b, err));
        ICE_TRY(batch_lock_rows(b, err));
        ICE_TRY(batch_verify(b, err));
        ICE_TRY(batch_overlay(b, err));
        for (size_t i = 0; i < b->n; i++)
            ICE_TRY(insert_one(&in, &b->rows[i], target, err));
    }
    c->rowcount = in.changed;
out:
    batch_close(b);
    return rc;
}

/* ---- UPDATE, DELETE ---- */

static ice_code plus(const ice_value *old, const ice_expr *e, const ice_value *params, const ice_column *col, ice_arena *a, ice_value *out,
                     bool *ok, ice_error *err)
{
    ice_value by = e->param >= 0 ? params[e->param] : e->value;
    *ok = old->null || by.null ||
          ((old->kind == ICE_T_INT || old->kind == ICE_T_LONG) && (by.kind == ICE_T_INT || by.kind == ICE_T_LONG));
    if (!*ok)
        return ICE_OK;
    ice_value sum = {.kind = ICE_T_LONG, .null = old->null || by.null};
    if (!sum.null && (e->negate ? __builtin_sub_overflow(old->i, by.i, &sum.i) : __builtin_add_overflow(old->i, by.i, &sum.i)))
        return ice_fail(err, ICE_RANGE, "%.*s out of range", ICE_PRI(col->sql_type));
    return ice_column_coerce(col, a, &sum, out, err);
}

/* New values of a row by simple SET expressions. *ok false: the engine has to compute one. */
static ice_code simple_set(batch *b, const ice_update *st, const ice_value *params, const ice_value *old, ice_value *out, bool *ok, ice_error *err)
{
    memcpy(out, old, b->def->ncols * sizeof *out);
    *ok = true;
    for (size_t i = 0; i < st->nset; i++) {
        int at = ice_tabledef_find(b->def, st->set_cols[i]);
        const ice_expr *e = &st->set_exprs[i];
        ice_code rc;
        ice_value v;
        const ice_column *col = at < 0 ? NULL : &b->def->cols[at];
        if (!col || col->generated_sql.ptr || (e->kind == ICE_E_COLUMN_PLUS && !ice_str_eq(e->column, col->name))) {
            *ok = false;
            return ICE_OK;
        }
        if (e->kind == ICE_E_COLUMN_PLUS)
            rc = plus(&old[at], e, params, col, b->s->scratch, &out[at], ok, err);
        else if ((*ok = ice__expr_value(e, col, params, &v)))
            rc = coerce(b->s, col, &v, &out[at], err);
        else
            return ICE_OK;
        if (rc != ICE_OK || !*ok)
            return rc;
    }
    return ICE_OK;
}

static ice_code add_change(batch *b, ice_value *old, ice_value *values, int64_t start_, ice_error *err)
{
    write_row *w;
    ice_code rc = batch_add(b, &w, err);
    if (rc != ICE_OK)
        return rc;
    w->before = old;
    w->values = values;
    w->start = start_;
    return key_of(b, old, &w->key, err);
}

/* Rows by key look-up, with values computed here. *done false: nothing was added, the engine does it all. */
static ice_code fast_changes(batch *b, const ice_update *st, const ice_value *params, bool *done, ice_error *err)
{
    ice__rows found = {0};
    ice_code rc;
    *done = false;
    if (!b->s->fast_path || !st->simple_where || st->from_sql.ptr || !st->nconds)
        return ICE_OK;
    if ((rc = ice__fast_rows(b->s, b->view, st->conds, st->nconds, params, &found, done, err)) != ICE_OK || !*done)
        return rc;
    for (size_t i = 0; i < found.n; i++) {
        ice_value *values = NULL;
        int64_t start_ = found.rows[i].where == ICE_IN_OVERLAY ? 0 : found.rows[i].start;
        if (st->nset) {
            bool ok;
            if (!(values = ice_arena_array(b->s->scratch, b->def->ncols, sizeof *values)))
                return ice_fail_nomem(err);
            rc = simple_set(b, st, params, found.values[i], values, &ok, err);
            if (rc != ICE_OK)
                return rc;
            if (!ok) {
                b->n = 0;
                *done = false;
                return ICE_OK;
            }
        }
        if ((rc = add_change(b, found.values[i], values, start_, err)) != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* SELECT _row_start, old columns..., SET expressions... of the rows to change. */
static ice_code changes_sql(batch *b, const ice_update *st, ice_buf *sql, ice_error *err)
{
    ice_str name = st->alias.ptr ? st->alias : st->table;
    ice_buf_puts(sql, "SELECT ");
    ice_buf_put_ident(sql, name);
    ice_buf_puts(sql, ".\"_row_start\"");
    for (size_t i = 0; i < b->def->ncols; i++) {
        ice_buf_puts(sql, ", ");
        ice_buf_put_ident(sql, name);
        ice_buf_puts(sql, ".");
        ice_buf_put_ident(sql, b->def->cols[i].name);
    }
    for (size_t i = 0; i < st->nset; i++) {
        int at = ice_tabledef_find(b->def, st->set_cols[i]);
        if (at < 0)
            return ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" of table \"%.*s\" does not exist", ICE_PRI(st->set_cols[i]), ICE_PRI(b->def->name));
        if (b->def->cols[at].generated_sql.ptr && st->set_exprs[i].kind != ICE_E_DEFAULT)
            return ice_fail(err, ICE_SYNTAX, "column \"%.*s\" is generated: it can't be set", ICE_PRI(st->set_cols[i]));
        bool dflt = st->set_exprs[i].kind == ICE_E_DEFAULT;
        ice_str d = b->def->cols[at].default_sql;
        ice_buf_printf(sql, ", (%.*s)", ICE_PRI(!dflt ? st->set_exprs[i].text : d.ptr ? d : ICE_STR("NULL")));
    }
    ice_buf_puts(sql, " FROM ");
    ice_buf_put_ident(sql, st->table);
    if (st->alias.ptr) {
        ice_buf_puts(sql, " AS ");
        ice_buf_put_ident(sql, st->alias);
    }
    if (st->from_sql.ptr)
        ice_buf_printf(sql, ", %.*s", ICE_PRI(st->from_sql));
    if (st->where_sql.ptr)
        ice_buf_printf(sql, " WHERE %.*s", ICE_PRI(st->where_sql));
    return ice_buf_check(sql, err);
}

static ice_code copy_row(batch *b, const ice_value *from, size_t n, ice_value **out, ice_error *err)
{
    if (!(*out = ice_arena_array(b->s->scratch, n + 1, sizeof **out)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        ice_value v;
        ice_code rc = ice_value_cast(b->s->scratch, &from[i], b->def->cols[i].type, &v, err);
        if (rc == ICE_OK)
            rc = ice_value_copy(b->s->scratch, &v, &(*out)[i], err);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

static ice_code engine_changes(batch *b, const ice_update *st, const ice_value *params, size_t np, ice_error *err)
{
    ice_buf sql = {0};
    ice__rowset rows = {0};
    size_t n = b->def->ncols;
    ice_code rc;
    ICE_TRY(changes_sql(b, st, &sql, err));
    b->v->with_start = true;
    ICE_TRY(ice__collect(b->s, b->v, ice_buf_str(&sql), params, np, &rows, err));
    for (size_t r = 0; r < rows.n; r++) {
        ice_value *old = NULL, *values = NULL;
        ICE_TRY(copy_row(b, rows.rows[r] + 1, n, &old, err));
        for (size_t i = 0; i < st->nset; i++) {
            int at = ice_tabledef_find(b->def, st->set_cols[i]);
            ice_value v;
            if (!values) {
                if (!(values = ice_arena_array(b->s->scratch, n, sizeof *values))) {
                    rc = ice_fail_nomem(err);
                    goto out;
                }
                memcpy(values, old, n * sizeof *values);
            }
            ICE_TRY(coerce(b->s, &b->def->cols[at], &rows.rows[r][1 + n + i], &v, err));
            ICE_TRY(ice_value_copy(b->s->scratch, &v, &values[at], err));
        }
        ICE_TRY(add_change(b, old, values, rows.rows[r][0].null ? 0 : rows.rows[r][0].i, err));
    }
out:
    ice_buf_free(&sql);
    ice_arena_free(rows.arena);
    return rc;
}

/* UPDATE ... FROM may meet a row twice: the first match counts. */
static void drop_repeats(batch *b)
{
    size_t kept = 0, nkey = b->keys->keys[0].ncols;
    for (size_t i = 0; i < b->n; i++) {
        bool again = false;
        for (size_t k = 0; k < kept && !again; k++) {
            again = true;
            for (size_t c = 0; c < nkey && again; c++)
                again = ice_value_eq(&b->rows[k].key[c], &b->rows[i].key[c]);
        }
        if (!again)
            b->rows[kept++] = b->rows[i];
    }
    b->n = kept;
}

static ice_code apply_changes(batch *b, bool update, ice_error *err)
{
    ice_code rc;
    for (size_t i = 0; update && i < b->n; i++)
        if ((rc = finish_row(b, b->rows[i].values, err)) != ICE_OK)
            return rc;
    if ((rc = batch_lock_table(b, err)) != ICE_OK || (rc = batch_lock_rows(b, err)) != ICE_OK || (rc = batch_verify(b, err)) != ICE_OK ||
        (rc = batch_overlay(b, err)) != ICE_OK)
        return rc;
    for (size_t i = 0; i < b->n; i++)
        if ((rc = end_version(b, b->rows[i].key, b->rows[i].start, update ? ICE_OP_UPDATE : ICE_OP_DELETE, err)) != ICE_OK)
            return rc;
    for (size_t i = 0; update && i < b->n; i++)
        if ((rc = put_row(b, &b->rows[i], ICE_OP_UPDATE, NULL, err)) != ICE_OK)
            return rc;
    return ICE_OK;
}

ice_code ice__run_update(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v, ice_cursor *c, ice_error *err)
{
    const ice_update *st = &p->stmt.update;
    batch b;
    bool done = false;
    ice_code rc;
    ICE_TRY(batch_open(&b, s, v, st->table, err));
    if (st->returning)
        ICE_TRY(ice__returning_open(c, b.def, st->returning_star, st->nreturning, st->returning_exprs, st->returning_names, err));
    ICE_TRY(fast_changes(&b, st, params, &done, err));
    if (!done)
        ICE_TRY(engine_changes(&b, st, params, n, err));
    if (st->from_sql.ptr)
        drop_repeats(&b);
    c->path = done ? "fast" : "engine";
    if (b.n > 0)
        ICE_TRY(apply_changes(&b, st->nset > 0, err));
    for (size_t i = 0; st->returning && i < b.n; i++)
        ICE_TRY(ice__returning_row(s, c, b.def, st->returning_star, st->nreturning, st->returning_exprs,
                                   st->nset ? b.rows[i].values : b.rows[i].before, err));
    c->rowcount = (int64_t)b.n;
out:
    batch_close(&b);
    return rc;
}

ice_code ice__run_truncate(ice_session *s, ice_prepared *p, ice__stview *v, ice_cursor *c, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < p->stmt.drop.n; i++) {
        ice_update all = {.table = p->stmt.drop.names[i]};
        batch b;
        if ((rc = batch_open(&b, s, v, all.table, err)) == ICE_OK)
            rc = engine_changes(&b, &all, NULL, 0, err);
        if (rc == ICE_OK && b.n > 0)
            rc = apply_changes(&b, false, err);
        batch_close(&b);
        if (rc == ICE_OK && p->stmt.drop.restart_identity)
            rc = ice__restart_identity(s, v, all.table, err);
    }
    c->path = "engine";
    return rc;
}
