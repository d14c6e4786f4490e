/* Engine connections of a session, and a statement run on one. */
#include <stdio.h>
#include <stdlib.h>

#include "txn/txn_int.h"

/* ---- running over the files that are needed ---- */

static void forget_places(ice__econn *c)
{
    for (size_t i = 0; i < c->nplaces; i++)
        ice_probe_unref(c->places[i].probe);
    free(c->places);
    c->places = NULL;
    c->nplaces = c->cap_places = c->next_place = 0;
}

void ice__probe_begin(ice__econn *c)
{
    forget_places(c);
    c->phase = c->view ? ICE__PROBING : ICE__PLAIN;
}

bool ice__probe_asked(const ice__econn *c)
{
    return c->nplaces > 0;
}

ice_code ice__probe_finish(ice__econn *c, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < c->nplaces && rc == ICE_OK; i++)
        rc = ice_probe_finish(c->places[i].probe, &c->places[i].table->view, err);
    c->phase = ICE__PROBED;
    return rc;
}

void ice__probe_end(ice__econn *c)
{
    c->phase = ICE__PLAIN;
}

/* Of statements with casts this many chunks are computed before the first is given out, of others one. */
enum { FIRST_CHUNKS = 64 };

static bool has_cast(ice_str sql)
{
    return memmem(sql.ptr, sql.len, "::", 2) || memmem(sql.ptr, sql.len, "CAST(", 5) ||
           memmem(sql.ptr, sql.len, "cast(", 5);
}

static ice_code optimize(ice__econn *c, bool on, ice_error *err)
{
    if (c->as_written != on)
        return ICE_OK;
    ice_code rc = ice_engine_exec(c->conn, on ? ICE_STR("PRAGMA enable_optimizer") : ICE_STR("PRAGMA disable_optimizer"),
                                  err);
    if (rc == ICE_OK)
        c->as_written = !on;
    return rc;
}

static bool is_of_a_value(ice_code rc)
{
    return rc == ICE_BAD_VALUE || rc == ICE_RANGE || rc == ICE_DIV_ZERO || rc == ICE_DATETIME;
}

static ice_code run(ice__econn *c, ice_str sql, const ice_value *params, size_t n, ice_result **out, ice_error *err)
{
    ice__probe_begin(c);
    ice_code rc = ice_engine_run(c->conn, sql, params, n, out, err);
    if (ice__probe_asked(c) && rc != ICE_CANCELED) {
        /* What failed over probes may fail over the files too, or not: they tell. */
        if (rc == ICE_OK)
            ice_result_close(*out);
        *out = NULL;
        rc = ice__probe_finish(c, err);
        if (rc == ICE_OK)
            rc = ice_engine_run(c->conn, sql, params, n, out, err);
    }
    if (rc == ICE_OK && (rc = ice_result_ahead(*out, has_cast(sql) ? FIRST_CHUNKS : 1, err)) != ICE_OK) {
        ice_result_close(*out);
        *out = NULL;
    }
    ice__probe_end(c);
    return rc;
}

/* DuckDB's optimizer moves expressions below conditions (a long IN list becomes a join above them), and then they
 * are computed for rows that the conditions leave out, which may have no such value. Without it conditions come
 * first, as they are written. */
ice_code ice__econn_run(ice__econn *c, ice_str sql, const ice_value *params, size_t n, ice_result **out,
                        ice_error *err)
{
    bool once = c->view && c->view->stream; /* a source that is read only once */
    ice_error first;
    ice_code rc = optimize(c, true, &first);
    if (rc == ICE_OK)
        rc = run(c, sql, params, n, out, &first);
    if (rc == ICE_OK)
        return rc;
    if (!once && is_of_a_value(rc)) {
        ice_code again = optimize(c, false, err);
        if (again == ICE_OK)
            again = run(c, sql, params, n, out, err);
        if (again == ICE_OK || again == ICE_CANCELED)
            return again;
    }
    if (err)
        *err = first;
    return rc;
}

void ice__econn_cost(const ice__econn *c, ice__sttable *t, ice_view_cost *out)
{
    ice_probe **probes = calloc(c->nplaces + 1, sizeof *probes);
    size_t n = 0;
    for (size_t i = 0; probes && i < c->nplaces; i++)
        if (c->places[i].table == t)
            probes[n++] = c->places[i].probe;
    ice_view_cost_probed(&t->view, probes, n, out);
    free(probes);
}

void ice__name_damaged(const ice__stview *v, ice_error *err)
{
    ice_buf names = {0};
    if (!err || err->code != ICE_CORRUPT)
        return;
    for (size_t i = 0; i < v->n; i++)
        ice_buf_printf(&names, "%s%s", i ? ", " : "", v->tables[i]->name);
    if (names.len)
        ice_error_prefix(err, "reading %.*s", ICE_PRI(ice_buf_str(&names)));
    ice_buf_free(&names);
}

/* ---- engine connections ---- */

static ice_code set_timezone(ice__econn *c, ice_error *err)
{
    if (strcmp(c->timezone, c->session->timezone) == 0)
        return ICE_OK;
    ice_buf b = {0};
    ice_buf_puts(&b, "SET TimeZone = ");
    ice_buf_put_quoted(&b, ice_str_c(c->session->timezone));
    ice_code rc = ice_buf_check(&b, err);
    if (rc == ICE_OK)
        rc = ice_engine_exec(c->conn, ice_buf_str(&b), err);
    ice_buf_free(&b);
    if (rc == ICE_OK)
        snprintf(c->timezone, sizeof c->timezone, "%s", c->session->timezone);
    return rc;
}

#define IDLE_CONNS 8 /* engine connections kept from closed sessions */

/* PostgreSQL's answers where DuckDB's defaults differ. */
static const char *const settings[] = {
    "SET default_null_order = 'nulls_last_on_asc_first_on_desc'",
    "SET integer_division = true",
};

static ice_code prepare_conn(ice__econn *c, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && i < sizeof settings / sizeof *settings; i++)
        rc = ice_engine_exec(c->conn, ice_str_c(settings[i]), err);
    for (size_t i = 0; rc == ICE_OK && i < c->session->nprelude; i++)
        rc = ice_engine_exec(c->conn, ice_str_c(c->session->prelude[i]), err);
    return rc;
}

static uint64_t prelude_hash(const ice_session *s)
{
    uint64_t h = 0;
    for (size_t i = 0; i < s->nprelude; i++)
        h = ice_hash64(s->prelude[i], strlen(s->prelude[i]), h + 1);
    return h;
}

/* One that a closed session left. */
static ice__econn *idle_conn(ice_warehouse *wh, uint64_t prelude)
{
    pthread_mutex_lock(&wh->engine_mutex);
    ice__econn **at = &wh->idle_conns, *c;
    while (*at && (*at)->prelude != prelude)
        at = &(*at)->next;
    if ((c = *at)) {
        *at = c->next;
        wh->nidle_conns--;
    }
    pthread_mutex_unlock(&wh->engine_mutex);
    return c;
}

static ice_code new_conn(ice_session *s, uint64_t prelude, ice__econn **out, ice_error *err)
{
    ice_engine *engine = NULL;
    ice__econn *c;
    ice_code rc = ice__wh_engine(s->wh, &engine, err);
    if (rc != ICE_OK)
        return rc;
    if (!(c = calloc(1, sizeof *c)))
        return ice_fail_nomem(err);
    c->session = s;
    c->prelude = prelude;
    rc = ice_engine_connect(engine, ice__resolve, c, &c->conn, err);
    if (rc == ICE_OK && (rc = prepare_conn(c, err)) != ICE_OK)
        ice_engine_disconnect(c->conn);
    if (rc == ICE_OK)
        *out = c;
    else
        free(c);
    return rc;
}

void ice__econns_leave(ice_session *s)
{
    ice_warehouse *wh = s->wh;
    ice__econn *kept = NULL;
    for (ice__econn *c = s->conns, *next; c; c = next) {
        next = c->next;
        c->session = NULL;
        pthread_mutex_lock(&wh->engine_mutex);
        if (!c->busy && wh->nidle_conns < IDLE_CONNS) {
            c->next = wh->idle_conns;
            kept = wh->idle_conns = c;
            wh->nidle_conns++;
        }
        pthread_mutex_unlock(&wh->engine_mutex);
        if (kept != c) {
            ice_engine_disconnect(c->conn);
            free(c);
        }
    }
    s->conns = NULL;
}

void ice__econns_close(ice_warehouse *wh)
{
    for (ice__econn *c = wh->idle_conns, *next; c; c = next) {
        next = c->next;
        ice_engine_disconnect(c->conn);
        free(c);
    }
    wh->idle_conns = NULL;
    wh->nidle_conns = 0;
}

ice_code ice__econn_get(ice_session *s, ice__stview *view, ice__econn **out, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice__econn *c = s->conns;
    while (c && atomic_load_explicit(&c->busy, memory_order_acquire))
        c = c->next;
    if (!c) {
        uint64_t prelude = prelude_hash(s);
        if (!(c = idle_conn(s->wh, prelude)) && (rc = new_conn(s, prelude, &c, err)) != ICE_OK)
            return rc;
        c->session = s;
        c->next = s->conns;
        s->conns = c;
    }
    ice__wh_share_engine(s->wh);
    if ((rc = set_timezone(c, err)) != ICE_OK)
        return rc;
    atomic_store_explicit(&c->busy, true, memory_order_relaxed);
    c->view = view;
    if (view)
        atomic_fetch_add(&view->refs, 1);
    atomic_store(&s->running, c->conn);
    if (atomic_load(&s->interrupted)) { /* it came while the engine was not running yet */
        ice__econn_release(c);
        return ice_fail(err, ICE_CANCELED, "canceling statement due to user request");
    }
    *out = c;
    return ICE_OK;
}

void ice__econn_release(ice__econn *c)
{
    ice_engine_conn *mine = c->conn;
    atomic_compare_exchange_strong(&c->session->running, &mine, NULL);
    forget_places(c);
    ice__stview_unref(c->view);
    c->view = NULL;
    atomic_store_explicit(&c->busy, false, memory_order_release);
}
