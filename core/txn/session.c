/* Sessions: the plan cache, running a statement, transactions as the driver sees them. */
#include <stdio.h>
#include <stdlib.h>

#include "txn/txn_int.h"

#define PLANS 1024  /* statements kept by a session */
#define RESTARTS 64 /* of a statement whose rows changed under it */

/* ---- opening and closing ---- */

ice_code ice_session_open(const ice_config *config, ice_session **out, ice_error *err)
{
    ice_session *s = calloc(1, sizeof *s);
    if (!s)
        return ice_fail_nomem(err);
    s->fork_generation = ice__fork_generation();
    s->fast_path = config->fast_path;
    s->snapshot_isolation = config->snapshot_isolation;
    s->lock_timeout_ms = config->lock_timeout_ms;
    s->bulk_rows = config->bulk_rows;
    snprintf(s->timezone, sizeof s->timezone, "UTC");
    s->scratch = ice_arena_create();
    ice_code rc = s->scratch ? ice__wh_get(config, &s->wh, err) : ice_fail_nomem(err);
    if (rc != ICE_OK) {
        ice_arena_free(s->scratch);
        free(s);
        return rc;
    }
    *out = s;
    return ICE_OK;
}

bool ice_session_is_foreign(const ice_session *s)
{
    return s->fork_generation != ice__fork_generation();
}

static void prepared_free(ice_prepared *p)
{
    ice_arena_free(p->arena);
    free(p);
}

void ice_session_close(ice_session *s)
{
    if (!s || ice_session_is_foreign(s))
        return; /* inherited through fork: abandoned */
    ice__tx_clear(s);
    ice__econns_leave(s);
    for (ice_prepared *p = s->lru_head, *next; p; p = next) {
        next = p->next;
        prepared_free(p);
    }
    for (size_t i = 0; i < s->nprelude; i++)
        free(s->prelude[i]);
    free(s->prelude);
    free(s->floors);
    free(s->tx.tables);
    free(s->tx.saves);
    free(s->tx.seqs);
    if (s->locker)
        ice_locker_close(s->locker);
    ice__wh_put(s->wh);
    ice_arena_free(s->scratch);
    free(s);
}

void ice_session_interrupt(ice_session *s)
{
    atomic_store(&s->interrupted, true);
    ice_engine_conn *c = atomic_load(&s->running);
    if (c)
        ice_engine_interrupt(c);
}

ice_code ice_session_set_timezone(ice_session *s, const char *name, ice_error *err)
{
    if (strlen(name) >= sizeof s->timezone)
        return ice_fail(err, ICE_CONFIG, "time zone \"%.80s...\" is not known", name);
    snprintf(s->timezone, sizeof s->timezone, "%s", name);
    return ICE_OK;
}

const char *ice_session_timezone(const ice_session *s)
{
    return s->timezone;
}
void ice_session_set_fast_path(ice_session *s, bool on)
{
    s->fast_path = on;
}

ice_code ice_session_set_prelude(ice_session *s, const char *const *statements, size_t n, ice_error *err)
{
    char **copy = calloc(n + 1, sizeof *copy);
    if (!copy)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++)
        if (!(copy[i] = strdup(statements[i])))
            return ice_fail_nomem(err);
    s->prelude = copy;
    s->nprelude = n;
    return ICE_OK;
}

/* The warehouse and this session's locker, on first need. */
static ice_code need_open(ice_session *s, bool create, ice_error *err)
{
    if (s->locker)
        return ICE_OK;
    ice_code rc = ice__wh_open(s->wh, create, err);
    return rc == ICE_OK ? ice_locker_open(s->wh->log, &s->locker, err) : rc;
}

ice_code ice__session_need(ice_session *s, ice_error *err)
{
    return need_open(s, false, err);
}

/* ---- plan cache ---- */

static void lru_unlink(ice_session *s, ice_prepared *p)
{
    *(p->prev ? &p->prev->next : &s->lru_head) = p->next;
    *(p->next ? &p->next->prev : &s->lru_tail) = p->prev;
    p->prev = p->next = NULL;
}

static void lru_push(ice_session *s, ice_prepared *p)
{
    p->next = s->lru_head;
    *(s->lru_head ? &s->lru_head->prev : &s->lru_tail) = p;
    s->lru_head = p;
}

static void plan_drop(ice_session *s, ice_prepared *p)
{
    ice_prepared **at = &s->buckets[p->hash % 512];
    while (*at != p)
        at = &(*at)->hnext;
    *at = p->hnext;
    lru_unlink(s, p);
    s->nprepared--;
    prepared_free(p);
}

/* A parameter that only a comment or a literal names is one too many to the engine, so to the fast path too. */
static ice_code check_named(ice_prepared *p, ice_error *err)
{
    ice_select *sel = &p->stmt.select;
    ice_str text;
    size_t *picked = NULL, n;
    if ((p->stmt.kind != ICE_S_SELECT && p->stmt.kind != ICE_S_SELECT_LOCK) || (!sel->simple && !sel->joined) ||
        !p->text.nparams)
        return ICE_OK;
    ice_code rc = ice_sql_pick_params(p->arena, p->text.sql, p->text.nparams, &text, &picked, &n, err);
    if (rc == ICE_OK && picked) {
        sel->simple = false;
        sel->joined = NULL;
    }
    return rc;
}

static ice_code plan_make(ice_session *s, ice_str sql, bool format, uint64_t hash, ice_prepared **out,
                          ice_error *err)
{
    ice_prepared *p = calloc(1, sizeof *p);
    if (!p || !(p->arena = ice_arena_create())) {
        free(p);
        return ice_fail_nomem(err);
    }
    p->hash = hash;
    p->format = format;
    p->source = ice_arena_str(p->arena, sql);
    ice_code rc =
        p->source.ptr ? ice_sql_params(p->arena, p->source, format, &p->text, err) : ice_fail_nomem(err);
    if (rc == ICE_OK)
        rc = ice_sql_parse(p->arena, p->text.sql, &p->stmt, err);
    if (rc == ICE_OK)
        rc = check_named(p, err);
    if (rc != ICE_OK) {
        prepared_free(p);
        return rc;
    }
    p->hnext = s->buckets[hash % 512];
    s->buckets[hash % 512] = p;
    lru_push(s, p);
    s->nprepared++;
    *out = p;
    return ICE_OK;
}

ice_code ice_session_prepare(ice_session *s, ice_str sql, bool format, ice_prepared **out, ice_error *err)
{
    uint64_t hash = ice_hash64(sql.ptr, sql.len, format);
    ice_prepared *p = s->buckets[hash % 512];
    while (p && (p->hash != hash || p->format != format || !ice_str_eq(p->source, sql)))
        p = p->hnext;
    if (p) {
        lru_unlink(s, p);
        lru_push(s, p);
    } else {
        ice_code rc = plan_make(s, sql, format, hash, &p, err);
        if (rc != ICE_OK)
            return rc;
        /* Large texts (a bulk insert's) and the oldest go. */
        while (s->nprepared > PLANS || (s->lru_tail != p && s->lru_tail->source.len > 65536))
            plan_drop(s, s->lru_tail);
    }
    s->current = p;
    *out = p;
    return ICE_OK;
}

size_t ice_prepared_params(const ice_prepared *p, const ice_str **names)
{
    *names = p->text.names;
    return p->text.nparams;
}

/* ---- running ---- */

static bool writes(ice_stmt_kind k)
{
    return k == ICE_S_INSERT || k == ICE_S_UPDATE || k == ICE_S_DELETE || k == ICE_S_TRUNCATE ||
           k == ICE_S_SELECT_LOCK;
}

static bool is_ddl(ice_stmt_kind k)
{
    return k >= ICE_S_CREATE_TABLE && k <= ICE_S_COMMENT;
}

/* Statements about the transaction itself. *done: it was one. */
static ice_code run_control(ice_session *s, const ice_stmt *st, bool *done, ice_error *err)
{
    *done = true;
    switch (st->kind) {
    case ICE_S_BEGIN:
        return ice_session_begin(s, err);
    case ICE_S_COMMIT:
        return ice_session_commit(s, err);
    case ICE_S_ROLLBACK:
        return ice_session_rollback(s, err);
    case ICE_S_ROLLBACK_TO:
        return ice__tx_rollback_to(s, st->simple.name, err);
    case ICE_S_SAVEPOINT:
    case ICE_S_RELEASE:
        if (!s->tx.open)
            return ice_fail(err, ICE_NO_SAVEPOINT, "savepoints need a transaction");
        if (s->tx.aborted)
            return ice_fail(err, ICE_TX_ABORTED, "the transaction has lost a conflict; roll it back");
        return st->kind == ICE_S_SAVEPOINT ? ice__tx_savepoint(s, st->simple.name, err)
                                           : ice__tx_release(s, st->simple.name, err);
    default:
        *done = false;
        return ICE_OK;
    }
}

static ice_code run_set(ice_session *s, const ice_stmt *st, ice_error *err)
{
    if (st->kind == ICE_S_SET_CONSTRAINTS) {
        s->tx.immediate = st->simple.immediate;
        s->tx.deferred = !st->simple.immediate;
        return st->simple.immediate ? ice__check_deferred(s, err) : ICE_OK;
    }
    ice_str name = st->simple.name, value = st->simple.value;
    if (ice_str_eqc(name, "timezone") || ice_str_eqc(name, "time zone")) {
        char zone[64];
        if (value.len > 2 && value.ptr[0] == '\'')
            value = (ice_str){value.ptr + 1, value.len - 2};
        snprintf(zone, sizeof zone, "%.*s", ICE_PRI(value.ptr ? value : ICE_STR("UTC")));
        return ice_session_set_timezone(s, zone, err);
    }
    return ice_fail(err, ICE_UNSUPPORTED, "SET %.*s is not supported: settings are given in OPTIONS",
                    ICE_PRI(name));
}

/* SELECT * of a table with a hidden key: the engine leaves it out. */
static bool shows_hidden(ice__stview *v, const ice_select *sel)
{
    ice_view *view = NULL;
    ice_error ignored;
    return sel->star && sel->table.ptr && ice__stview_table(v, sel->table, &view, &ignored) == ICE_OK &&
           view && ice_tabledef_find(view->state->def, ICE_STR("_row_key")) >= 0;
}

static ice_code dispatch(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, int64_t as_of,
                         ice__stview **v, ice_cursor *c, ice_error *err)
{
    const ice_stmt *st = &p->stmt;
    bool done = false;
    ice_code rc;
    if (st->nlocks && !st->explain && st->kind != ICE_S_SELECT_LOCK &&
        (rc = ice__lock_queries(s, st, params, n, v, err)) != ICE_OK)
        return rc;
    switch (st->kind) {
    case ICE_S_SELECT:
        if (st->explain)
            return ice__run_explain(s, p, params, n, *v, c, s->fast_path && !as_of && !shows_hidden(*v, &st->select), err);
        if (s->fast_path && !as_of && !shows_hidden(*v, &st->select) &&
            (rc = ice__fast_select(s, p, params, n, *v, c, &done, err)) != ICE_OK)
            return rc;
        return done ? ICE_OK : ice__run_select(s, p, st->text, params, n, *v, c, err);
    case ICE_S_SELECT_LOCK:
        return ice__run_select_lock(s, p, params, n, v, c, err);
    case ICE_S_INSERT:
        return ice__run_insert(s, p, params, n, *v, c, err);
    case ICE_S_UPDATE:
    case ICE_S_DELETE:
        return ice__run_update(s, p, params, n, *v, c, err);
    case ICE_S_TRUNCATE:
        return ice__run_truncate(s, p, *v, c, err);
    case ICE_S_SHOW_TABLES:
    case ICE_S_SHOW_VIEWS:
        return ice__run_show_tables(s, *v, st->kind == ICE_S_SHOW_VIEWS, c, err);
    case ICE_S_SET:
    case ICE_S_SET_CONSTRAINTS:
        return run_set(s, st, err);
    default:
        return ice__run_ddl(s, p, *v, c, err);
    }
}

static void cursor_reset(ice_cursor *c)
{
    ice_arena_reset(c->arena);
    c->ncols = c->nrows = c->cap_rows = c->next_row = 0;
    c->cols = NULL;
    c->rows = NULL;
    c->rowcount = -1;
    c->path = "";
}

/* Runs on a fresh view, again where a row changed between view and lock (locks are kept, so it ends). */
static ice_code run_views(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, int64_t as_of,
                          ice_cursor *c, ice_error *err)
{
    for (int round = 0;; round++) {
        ice__stview *v = NULL;
        ice__savepoint mark;
        ice_code rc = ice__stview_open(s, as_of, &v, err);
        if (rc != ICE_OK)
            return rc;
        bool changes = is_ddl(p->stmt.kind) || writes(p->stmt.kind);
        if ((rc = ice__tx_mark(s, changes, &mark, err)) == ICE_OK) {
            rc = dispatch(s, p, params, n, as_of, &v, c, err);
            if (rc == ICE_OK && changes)
                rc = ice__bulk_spill(s, false, err);
            if (rc != ICE_OK)
                ice__tx_restore(s, &mark, false);
            ice__savepoint_free(&mark);
        }
        ice__stview_unref(v);
        bool again = rc == ICE_CONFLICT && !s->snapshot_isolation && round < RESTARTS;
        if (rc == ICE_CONFLICT && !again)
            rc = ice_fail(err, ICE_SERIALIZATION,
                          "could not serialize access: a row changed while the statement ran");
        if (!again)
            return rc;
        cursor_reset(c);
    }
}

static ice_code run_checked(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, int64_t as_of,
                            ice_cursor *c, ice_error *err)
{
    const ice_stmt *st = &p->stmt;
    bool done = false, change = writes(st->kind) || is_ddl(st->kind);
    ice_code rc = run_control(s, st, &done, err);
    if (rc != ICE_OK || done || (rc = need_open(s, st->kind == ICE_S_CREATE_TABLE, err)) != ICE_OK)
        return rc;
    if (s->tx.aborted)
        return ice_fail(err, ICE_TX_ABORTED, "the transaction has lost a conflict; roll it back");
    if (change && as_of)
        return ice_fail(err, ICE_READ_ONLY,
                        "the past can't be changed: a statement with as_of must be a SELECT");
    if (change && st->kind != ICE_S_SELECT_LOCK && s->wh->config.read_only)
        return ice_fail(err, ICE_READ_ONLY, "the warehouse is open read-only");
    rc = run_views(s, p, params, n, as_of, c, err);
    if (s->tx.open) {
        if (rc == ICE_DEADLOCK || rc == ICE_SERIALIZATION)
            s->tx.aborted = true;
        if (rc == ICE_OK && change && s->tx.immediate)
            rc = ice__check_deferred(s, err);
        return rc;
    }
    if (!change)
        return rc;
    if (rc == ICE_OK)
        return ice__tx_commit(s, err);
    ice__tx_clear(s);
    return rc;
}

ice_code ice__cursor_new(ice_session *s, ice_cursor **out, ice_error *err)
{
    ice_cursor *c = calloc(1, sizeof *c);
    if (!c || !(c->arena = ice_arena_create())) {
        free(c);
        return ice_fail_nomem(err);
    }
    c->session = s;
    c->path = "";
    c->rowcount = -1;
    *out = c;
    return ICE_OK;
}

static ice_code start(ice_session *s, const ice_prepared *p, size_t nparams, ice_error *err)
{
    if (ice_session_is_foreign(s))
        return ice_fail(err, ICE_MISUSE,
                        "the connection was opened before fork(): open another in the child");
    if (nparams != p->text.nparams)
        return ice_fail(err, ICE_SYNTAX, "the statement has %zu placeholders but %zu parameters are supplied",
                        p->text.nparams, nparams);
    atomic_store(&s->interrupted, false);
    s->nkept = 0;
    ice_arena_reset(s->scratch);
    return ICE_OK;
}

ice_code ice_session_run(ice_session *s, ice_prepared *p, const ice_value *params, size_t nparams,
                         int64_t as_of, ice_cursor **out, ice_error *err)
{
    ice_cursor *c = NULL;
    ice_code rc = start(s, p, nparams, err);
    if (rc == ICE_OK && (rc = ice__cursor_new(s, &c, err)) == ICE_OK &&
        (rc = run_checked(s, p, params, nparams, as_of, c, err)) != ICE_OK)
        ice_cursor_close(c);
    *out = rc == ICE_OK ? c : NULL;
    return rc;
}

/* The column that an output of a simple select is; NULL: it is computed, or not known. */
static const ice_column *output_column(ice__stview *v, const ice_select *sel, size_t i, ice_str name)
{
    ice_view *view = NULL;
    ice_error ignored;
    if (sel->count_star || sel->exists_one ||
        (!sel->star && (i >= sel->ncols || !sel->cols[i].ptr || (sel->aggs && sel->aggs[i]))))
        return NULL;
    size_t rel = sel->joined ? (size_t)sel->joined->col_rels[i] : 0;
    ice_str table = rel ? sel->joined->joins[rel - 1].table : sel->table;
    if (!table.ptr || ice__stview_table(v, table, &view, &ignored) != ICE_OK || !view)
        return NULL;
    int at = ice_tabledef_find(view->state->def, sel->star ? name : sel->cols[i]);
    return at < 0 ? NULL : &view->state->def->cols[at];
}

/* The engine has a declared interval as a number. */
static ice_code show_intervals(ice__stview *v, const ice_select *sel, ice_cursor *c, ice_error *err)
{
    ice_result_column *cols = ICE_NEW_N(c->arena, ice_result_column, c->ncols + 1);
    if (!cols)
        return ice_fail_nomem(err);
    memcpy(cols, c->cols, c->ncols * sizeof *cols);
    for (size_t i = 0; i < c->ncols; i++) {
        const ice_column *of = cols[i].type.kind == ICE_T_LONG ? output_column(v, sel, i, cols[i].name) : NULL;
        if (of && ice__is_interval(of))
            cols[i].duck_type = ICE_STR(ICE__INTERVAL);
    }
    c->cols = cols;
    return ICE_OK;
}

ice_code ice__run_select(ice_session *s, ice_prepared *p, ice_str sql, const ice_value *params, size_t n,
                         ice__stview *v, ice_cursor *c, ice_error *err)
{
    const ice_select *sel = &p->stmt.select;
    ice_code rc = ICE_OK;
    /* Placeholders in comments count, as psycopg counts them, but the engine sees none there. */
    ice_str said = p->text.sql;
    if (n && (memmem(said.ptr, said.len, "--", 2) || memmem(said.ptr, said.len, "/*", 2)))
        rc = ice__pick_params(s->scratch, &sql, &params, &n, err);
    if (rc != ICE_OK || (rc = ice__econn_get(s, v, &c->econn, err)) != ICE_OK)
        return rc;
    if ((rc = ice__econn_run(c->econn, sql, params, n, &c->result, err)) != ICE_OK) {
        ice__name_damaged(v, err);
        ice__econn_release(c->econn);
        c->econn = NULL;
        return rc;
    }
    const ice_result_column *cols;
    c->ncols = ice_result_columns(c->result, &cols);
    c->cols = (ice_result_column *)cols;
    c->path = "engine";
    if (sel->simple || (sel->joined && !sel->star))
        rc = show_intervals(v, sel, c, err);
    return rc;
}

static void arrow_done(void *arg)
{
    ice__econn *c = arg;
    if (!c->discarding)
        ice__econn_release(c);
}

static ice_code run_arrow(ice__econn *c, ice_str sql, const ice_value *params, size_t n,
                          struct ArrowArrayStream *out, ice_error *err)
{
    ice__probe_begin(c);
    ice_code rc = ice_engine_run_arrow(c->conn, sql, params, n, out, arrow_done, c, err);
    if (ice__probe_asked(c) && rc != ICE_CANCELED) {
        c->discarding = true;
        if (rc == ICE_OK)
            ice_engine_arrow_release(out);
        c->discarding = false;
        rc = ice__probe_finish(c, err);
        if (rc == ICE_OK)
            rc = ice_engine_run_arrow(c->conn, sql, params, n, out, arrow_done, c, err);
    }
    ice__probe_end(c);
    return rc;
}

ice_code ice_session_run_arrow(ice_session *s, ice_prepared *p, const ice_value *params, size_t nparams,
                               int64_t as_of, struct ArrowArrayStream *out, ice_error *err)
{
    ice__stview *v = NULL;
    ice__econn *c = NULL;
    ice_code rc;
    ICE_TRY(start(s, p, nparams, err));
    ICE_TRY(need_open(s, false, err));
    if (p->stmt.kind != ICE_S_SELECT) {
        rc = ice_fail(err, ICE_MISUSE, "only a SELECT has a result as Arrow");
        goto out;
    }
    ICE_TRY(ice__stview_open(s, as_of, &v, err));
    ICE_TRY(ice__econn_get(s, v, &c, err));
    if ((rc = run_arrow(c, p->stmt.text, params, nparams, out, err)) != ICE_OK) {
        ice__name_damaged(v, err);
        ice__econn_release(c);
    }
out:
    ice__stview_unref(v);
    return rc;
}

/* ---- transactions ---- */

ice_code ice_session_begin(ice_session *s, ice_error *err)
{
    if (ice_session_is_foreign(s))
        return ice_fail(err, ICE_MISUSE,
                        "the connection was opened before fork(): open another in the child");
    s->tx.open = true;
    return ICE_OK;
}

ice_code ice_session_commit(ice_session *s, ice_error *err)
{
    if (ice_session_is_foreign(s) || !s->tx.open)
        return ICE_OK;
    if (s->tx.aborted) {
        ice__tx_clear(s);
        return ice_fail(err, ICE_TX_ABORTED, "the transaction had lost a conflict: it was rolled back");
    }
    return ice__tx_commit(s, err);
}

ice_code ice_session_rollback(ice_session *s, ice_error *err)
{
    (void)err;
    if (!ice_session_is_foreign(s))
        ice__tx_clear(s);
    return ICE_OK;
}

bool ice_session_in_transaction(const ice_session *s)
{
    return s->tx.open;
}

int64_t ice_session_now(ice_session *s)
{
    ice_error ignored;
    ice__registry *reg = NULL;
    int64_t at = 0;
    if (need_open(s, false, &ignored) != ICE_OK || ice__wh_catchup(s->wh, &ignored) != ICE_OK)
        return 0;
    ice__wh_view(s->wh, &reg, &at);
    ice__registry_unref(reg);
    return at;
}
