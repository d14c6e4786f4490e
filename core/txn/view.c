/* The view of one statement: its tables, resolved for the engine. */
#include <stdlib.h>

#include "txn/txn_int.h"

/* ---- statement views ---- */

/* Nothing that comes later will have been before the instant, and what came before is durable. */
static ice_code settle_instant(ice_warehouse *wh, int64_t as_of, ice_error *err)
{
    for (int round = 0;; round++) {
        uint64_t end, generation;
        ice_code rc = ice_log_floor(wh->log, as_of, &end, &generation, err);
        if (rc == ICE_OK)
            rc = ice_log_sync(wh->log, end, generation, err);
        /* A sync failed: the next floor voids what it left, or says that the disk still fails. */
        if (rc != ICE_OUTCOME_UNKNOWN || round == 3)
            return rc;
    }
}

static ice_code view_time(ice_session *s, ice__stview *v, int64_t as_of, ice_error *err)
{
    ice_warehouse *wh = s->wh;
    ice_code rc;
    if (as_of && (rc = settle_instant(wh, as_of, err)) != ICE_OK)
        return rc;
    if ((rc = ice__wh_catchup(wh, err)) != ICE_OK)
        return rc;
    if (s->snapshot_isolation && s->tx.open && !as_of) {
        if (!s->tx.snapshot_reg)
            ice__wh_view(wh, &s->tx.snapshot_reg, &s->tx.snapshot_at);
        v->reg = ice__registry_ref(s->tx.snapshot_reg);
        v->at = v->complete = s->tx.snapshot_at;
        return ICE_OK;
    }
    ice__wh_view(wh, &v->reg, &v->at);
    v->complete = v->at;
    if (as_of) {
        v->complete = v->at < as_of ? as_of : v->at;
        v->at = as_of;
        v->mode = ICE_VIEW_AS_OF;
    }
    return ICE_OK;
}

ice_code ice__stview_open(ice_session *s, int64_t as_of, ice__stview **out, ice_error *err)
{
    ice__stview *v = calloc(1, sizeof *v);
    if (!v)
        return ice_fail_nomem(err);
    atomic_init(&v->refs, 1);
    v->session = s;
    v->mode = ICE_VIEW_CURRENT;
    v->base = s->tx.base ? ice__registry_ref(s->tx.base) : NULL;
    ice_code rc = view_time(s, v, as_of, err);
    if (rc != ICE_OK) {
        ice__stview_unref(v);
        v = NULL;
    }
    *out = v;
    return rc;
}

void ice__view_release(ice_view *v)
{
    if (v->state)
        ice_tabstate_unref(v->state);
    ice_tail_unref(v->overlay);
    v->state = NULL;
    v->overlay = NULL;
}

void ice__stview_unref(ice__stview *v)
{
    if (!v || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    for (size_t i = 0; i < v->n; i++) {
        ice__view_release(&v->tables[i]->view);
        free(v->tables[i]->name);
        free(v->tables[i]);
    }
    free(v->tables);
    if (v->stream)
        v->stream->m->release(v->stream);
    ice__registry_unref(v->reg);
    ice__registry_unref(v->base);
    free(v);
}

/* "<table>__versions" in `name`: the table's part. */
static bool versions_name(ice_str name, ice_str *table)
{
    ice_str suffix = ICE_STR("__versions");
    if (name.len <= suffix.len || memcmp(name.ptr + name.len - suffix.len, suffix.ptr, suffix.len) != 0)
        return false;
    *table = (ice_str){name.ptr, name.len - suffix.len};
    return true;
}

/* "<table>__as_of_<commit time>" in `name`: the table's part, and the instant. */
static bool as_of_name(ice_str name, ice_str *table, int64_t *at)
{
    ice_str infix = ICE_STR("__as_of_");
    size_t end = name.len;
    int64_t value = 0;
    while (end > 0 && name.ptr[end - 1] >= '0' && name.ptr[end - 1] <= '9')
        end--;
    if (end == name.len || name.len - end > 18 || end <= infix.len ||
        memcmp(name.ptr + end - infix.len, infix.ptr, infix.len) != 0)
        return false;
    for (size_t i = end; i < name.len; i++)
        value = value * 10 + (name.ptr[i] - '0');
    *table = (ice_str){name.ptr, end - infix.len};
    *at = value;
    return true;
}

/* A registry in which every state holds all that was committed up to an instant: the statement's own, unless the
 * instant is later than the statement's view. */
static ice_code registry_at(const ice__stview *v, int64_t at, ice__registry **out, ice_error *err)
{
    ice_warehouse *wh = v->session->wh;
    int64_t complete;
    if (at <= v->complete) {
        *out = ice__registry_ref(v->reg);
        return ICE_OK;
    }
    ice_code rc = settle_instant(wh, at, err);
    if (rc == ICE_OK && (rc = ice__wh_catchup(wh, err)) == ICE_OK)
        ice__wh_view(wh, out, &complete);
    return rc;
}

/* State and transaction's table of a name; both NULL where there is none. */
static ice_code find_table(ice__stview *v, ice__registry *reg, ice_str name, ice_tabstate **state,
                           ice__txtable **tt, ice_error *err)
{
    ice_session *s = v->session;
    *state = NULL;
    *tt = ice__tx_find_name(&s->tx, name);
    if (*tt)
        return ice__tx_state(s, *tt, reg, state, err);
    ice__entry *e = ice__registry_find(reg, name);
    if (!e || ice__tx_find(&s->tx, e->uuid)) /* dropped or renamed by this transaction */
        return ICE_OK;
    return ice__wh_state(s->wh, e, state, err);
}

/* Retention: an instant of which versions may be gone is refused, not answered in part. */
static ice_code check_kept(const ice_tabstate *state, int64_t at, ice_error *err)
{
    int64_t from = state->published ? ice_published_kept_from(state->published) : 0;
    if (at >= from)
        return ICE_OK;
    char asked[ICE_INSTANT_LEN], kept[ICE_INSTANT_LEN];
    ice_code rc = ice_fail(err, ICE_HISTORY_EXPIRED,
                           "the history of table \"%.*s\" is kept from %s on: the instant %s is before that",
                           ICE_PRI(state->def->name), ice_instant_text(from, kept), ice_instant_text(at, asked));
    ice_error_object(err, state->def->name.ptr, NULL);
    return rc;
}

static ice_code add_table(ice__stview *v, ice_str name, ice_view_mode mode, int64_t at, ice_tabstate *state,
                          const ice__txtable *tt, ice_view **out, ice_error *err)
{
    if (mode == ICE_VIEW_AS_OF) {
        ice_code rc = check_kept(state, at, err);
        if (rc != ICE_OK)
            return rc;
    }
    if (!ICE_HEAP_ROOM(v->tables, v->n, v->cap))
        return ice_fail_nomem(err);
    ice_tabstate *shown = NULL;
    ice_code rc = ICE_OK;
    if (mode == ICE_VIEW_AS_OF)
        rc = ice__state_as_of(state, at, &shown, err);
    else
        shown = ice_tabstate_ref(state);
    if (rc != ICE_OK)
        return rc;
    ice__sttable *t = calloc(1, sizeof *t);
    if (!t || !(t->name = strndup(name.ptr, name.len))) {
        ice_tabstate_unref(shown);
        free(t);
        return ice_fail_nomem(err);
    }
    t->tag = ++v->next_tag;
    t->view = (ice_view){.env = &v->session->wh->env, .state = shown, .at = at, .mode = mode};
    if (tt && tt->overlay && mode == ICE_VIEW_CURRENT) {
        t->view.overlay = ice_tail_ref(tt->overlay);
        t->view.overlay_at = v->session->tx.seq;
    }
    v->tables[v->n++] = t;
    *out = &t->view;
    return ICE_OK;
}

/* A name that says how the table is to be seen. *out stays NULL where it is not one. */
static ice_code derived_table(ice__stview *v, ice_str name, ice_view **out, ice_error *err)
{
    ice_tabstate *state = NULL;
    ice__txtable *tt = NULL;
    ice__registry *reg = NULL;
    ice_str table;
    int64_t at = v->at;
    ice_view_mode mode = ICE_VIEW_VERSIONS;
    if (as_of_name(name, &table, &at))
        mode = ICE_VIEW_AS_OF;
    else if (!versions_name(name, &table))
        return ICE_OK;
    ice_code rc = registry_at(v, at, &reg, err);
    if (rc == ICE_OK && (rc = find_table(v, reg, table, &state, &tt, err)) == ICE_OK && state) {
        if (!ice_tabledef_is_view(state->def))
            rc = add_table(v, name, mode, at, state, tt, out, err);
        else if (mode == ICE_VIEW_AS_OF)
            rc = ice_fail(err, ICE_UNSUPPORTED,
                          "\"%.*s\" is a view, which has no past of its own beside tables of other instants: "
                          "read the tables that it reads",
                          ICE_PRI(table));
    }
    ice__registry_unref(reg);
    return rc;
}

ice_code ice__stview_table(ice__stview *v, ice_str name, ice_view **out, ice_error *err)
{
    ice_tabstate *state = NULL;
    ice__txtable *tt = NULL;
    *out = NULL;
    for (size_t i = 0; i < v->n; i++)
        if (ice_str_eqc(name, v->tables[i]->name)) {
            *out = &v->tables[i]->view;
            return ICE_OK;
        }
    ice_code rc = find_table(v, v->reg, name, &state, &tt, err);
    if (rc != ICE_OK)
        return rc;
    return state ? add_table(v, name, v->mode, v->at, state, tt, out, err) : derived_table(v, name, out, err);
}

ice_code ice__stview_overlay(ice__stview *v, ice_str name, ice_tabstate *state, ice_tail *overlay,
                             ice_error *err)
{
    ice_view *view = NULL;
    ice_code rc = add_table(v, name, ICE_VIEW_CURRENT, v->at, state, NULL, &view, err);
    if (rc == ICE_OK) {
        view->overlay = ice_tail_ref(overlay);
        view->overlay_at = ICE_TIME_MAX - 1;
    }
    return rc;
}

ice_code ice__stview_relation(ice__stview *v, ice_str name, ice_view **out, ice_error *err)
{
    ice_code rc = ice__stview_table(v, name, out, err);
    if (rc == ICE_OK && !*out)
        rc = ice_fail(err, ICE_NO_TABLE, "table \"%.*s\" does not exist", ICE_PRI(name));
    return rc;
}

ice_code ice__stview_need(ice__stview *v, ice_str name, ice_view **out, ice_error *err)
{
    ice_code rc = ice__stview_relation(v, name, out, err);
    if (rc == ICE_OK && ice_tabledef_is_view((*out)->state->def)) {
        rc = ice_fail(err, ICE_WRONG_OBJECT, "\"%.*s\" is a view, which can only be read", ICE_PRI(name));
        ice_error_object(err, (*out)->state->def->name.ptr, NULL);
    }
    return rc;
}

bool ice__stview_foreign(const ice__stview *v, ice_str name)
{
    const ice__entry *e = ice__registry_find(v->reg, name);
    ice__tx *tx = &v->session->tx;
    return e && e->foreign && !ice__tx_find_name(tx, name) && !ice__tx_find(tx, e->uuid);
}

ice_code ice__stview_ours(ice__stview *v, ice_str name, ice_view **out, ice_error *err)
{
    *out = NULL;
    return ice__stview_foreign(v, name) ? ICE_OK : ice__stview_table(v, name, out, err);
}

ice_code ice__stview_target(ice__stview *v, ice_str name, ice_view **out, ice_error *err)
{
    ice_code rc = ice__stview_need(v, name, out, err);
    if (rc == ICE_OK && (*out)->mode != ICE_VIEW_CURRENT)
        return ice_fail(err, ICE_UNSUPPORTED, "\"%.*s\" shows the past: it can't be changed or locked",
                        ICE_PRI(name));
    if (rc == ICE_OK && (*out)->state->def->foreign) {
        rc = ice_fail(err, ICE_UNSUPPORTED,
                      "table \"%.*s\" was made by another program, which alone can write it: it can only be read and "
                      "dropped. For a table that can be written, CREATE TABLE another and INSERT INTO it what SELECT "
                      "gives of this one",
                      ICE_PRI(name));
        ice_error_object(err, (*out)->state->def->name.ptr, NULL);
    }
    return rc;
}

/* ---- the engine's questions ---- */

/* The table whose subquery named a source of its own, and the probe it was planned with. */
static ice__sttable *by_tag(const ice__econn *c, ice_str name, const ice_probe **probe)
{
    const ice__stview *v = c->view;
    unsigned tag = 0;
    *probe = NULL;
    if (name.len < 7 || memcmp(name.ptr, "__ice_", 6) != 0)
        return NULL;
    for (size_t i = 6; i < name.len && name.ptr[i] >= '0' && name.ptr[i] <= '9'; i++)
        tag = tag * 10 + (unsigned)(name.ptr[i] - '0');
    for (size_t i = 0; i < v->n; i++)
        if (v->tables[i]->tag == tag)
            return v->tables[i];
    for (size_t i = 0; i < c->nplaces; i++)
        if (c->places[i].tag == tag) {
            *probe = c->places[i].probe;
            return c->places[i].table;
        }
    return NULL;
}

static ice_code probe_place(ice__econn *c, ice__sttable *t, ice_source **source, ice_error *err)
{
    if (!ICE_HEAP_ROOM(c->places, c->nplaces, c->cap_places))
        return ice_fail_nomem(err);
    ice__place *p = &c->places[c->nplaces];
    *p = (ice__place){.table = t, .tag = ++c->view->next_tag};
    ice_code rc = ice_view_probe(&t->view, c->view->with_start, source, &p->probe, err);
    c->nplaces += rc == ICE_OK;
    return rc;
}

/* The place recorded where DuckDB asks now; NULL, from there on, where it asks for something else than it
 * did. */
static ice__place *next_place(ice__econn *c, const ice__sttable *t)
{
    if (c->next_place < c->nplaces && c->places[c->next_place].table == t)
        return &c->places[c->next_place++];
    c->next_place = c->nplaces;
    return NULL;
}

#define WHOLE "__ice_all " /* before the name of a table: all of its rows and columns */

static void put_whole(ice_buf *b, ice_str table)
{
    ice_buf name = {0};
    ice_buf_printf(&name, "%s%.*s", WHOLE, ICE_PRI(table));
    ice_buf_put_ident(b, ice_buf_str(&name));
    b->failed |= name.failed;
    ice_buf_free(&name);
}

static ice_code take_text(ice_buf *b, ice_arena *a, ice_str *out, ice_error *err)
{
    ice_code rc = ice_buf_check(b, err);
    if (rc == ICE_OK) {
        *out = ice_arena_str(a, ice_buf_str(b));
        rc = out->ptr ? ICE_OK : ice_fail_nomem(err);
    }
    ice_buf_free(b);
    return rc;
}

/* "SELECT *", hidden columns aside, with columns under their collations: the engine then compares, sorts and
 * groups them by these. */
static void put_star(ice_buf *b, const ice_tabledef *def, bool hide_key)
{
    bool first = true;
    ice_buf_puts(b, "SELECT *");
    if (hide_key && ice_tabledef_find(def, ICE_STR("_row_key")) >= 0)
        ice_buf_puts(b, " EXCLUDE (\"_row_key\")");
    for (size_t i = 0; i < def->ncols; i++) {
        if (!ice_column_collated(&def->cols[i]))
            continue;
        ice_buf_puts(b, first ? " REPLACE (" : ", ");
        ice_buf_put_ident(b, def->cols[i].name);
        ice_buf_puts(b, " COLLATE ");
        ice_buf_put_ident(b, def->cols[i].collation);
        ice_buf_puts(b, " AS ");
        ice_buf_put_ident(b, def->cols[i].name);
        first = false;
    }
    ice_buf_puts(b, first ? " FROM " : ") FROM ");
}

static bool shown_as_it_is(const ice_tabledef *def, bool hide_key)
{
    bool plain = !hide_key || ice_tabledef_find(def, ICE_STR("_row_key")) < 0;
    for (size_t i = 0; plain && i < def->ncols; i++)
        plain = !ice_column_collated(&def->cols[i]);
    return plain;
}

/* A table in a query that locked rows, of which only these are to be seen. */
static ice_code kept(ice__stview *v, const ice_tabledef *def, ice_str table, ice_str where, ice_arena *a,
                     ice_str *subquery, ice_error *err)
{
    ice_buf b = {0};
    put_star(&b, def, !v->with_start);
    put_whole(&b, table);
    if (where.ptr)
        ice_buf_printf(&b, " WHERE %.*s", ICE_PRI(where));
    return take_text(&b, a, subquery, err);
}

/* "__ice_kept <number> <table>": the table's part, and the condition on its rows. */
static bool kept_name(const ice_session *s, ice_str name, ice_str *table, ice_str *where)
{
    size_t at = strlen(ICE_SQL_KEPT), number = 0;
    if (name.len < at || memcmp(name.ptr, ICE_SQL_KEPT, at) != 0)
        return false;
    for (; at < name.len && name.ptr[at] >= '0' && name.ptr[at] <= '9'; at++)
        number = number * 10 + (size_t)(name.ptr[at] - '0');
    if (at == name.len || name.ptr[at] != ' ')
        return false;
    *table = (ice_str){name.ptr + at + 1, name.len - at - 1};
    *where = number < s->nkept ? s->kept[number] : ICE_STR_NONE;
    return true;
}

/* A view is its query, whose names the engine asks for in turn. It would take the statement's own WITH names for
 * the tables that the view means. */
static ice_code expanded(ice__stview *v, const ice_tabledef *def, ice_arena *a, ice_str *subquery, ice_error *err)
{
    ice_session *s = v->session;
    for (size_t i = 0; s->current && i < def->nuses; i++) {
        const ice__txtable *t = ice__tx_find(&s->tx, def->uses[i]);
        const ice__entry *e = ice__registry_find_uuid(v->reg, def->uses[i]);
        const char *name = t ? t->name : e ? e->name : "";
        if (ice_sql_names_query(a, s->current->text.sql, ice_str_c(name)))
            return ice_fail(err, ICE_UNSUPPORTED,
                            "\"%s\" in WITH is also what the view \"%.*s\" reads: give it another name", name,
                            ICE_PRI(def->name));
    }
    *subquery = ice_arena_str(a, def->view_sql);
    return subquery->ptr ? ICE_OK : ice_fail_nomem(err);
}

/* A hidden key is a column for our own statements only. */
static ice_code dressed(ice_arena *a, const ice_tabledef *def, ice_str table, bool hide_key,
                        ice_str *subquery, ice_error *err)
{
    ice_buf b = {0};
    put_star(&b, def, hide_key);
    put_whole(&b, table);
    return take_text(&b, a, subquery, err);
}

ice_code ice__resolve(void *arg, ice_str name, unsigned seq, ice_arena *a, ice_source **source,
                      ice_str *subquery, ice_error *err)
{
    ice__econn *c = arg;
    ice__stview *v = c->view;
    ice_view *view = NULL;
    (void)seq;
    *source = NULL;
    *subquery = ICE_STR_NONE;
    if (!v)
        return ICE_OK;
    if (v->stream && ice_str_eqc(name, "__stream")) {
        *source = v->stream;
        v->stream = NULL;
        return ICE_OK;
    }
    ice_str table = name, where;
    if (kept_name(v->session, name, &table, &where)) {
        ice_code found = ice__stview_relation(v, table, &view, err);
        return found == ICE_OK ? kept(v, view->state->def, table, where, a, subquery, err) : found;
    }
    bool whole = name.len > strlen(WHOLE) && memcmp(name.ptr, WHOLE, strlen(WHOLE)) == 0;
    if (whole)
        table = (ice_str){name.ptr + strlen(WHOLE), name.len - strlen(WHOLE)};
    const ice_probe *probe;
    ice__sttable *sub = by_tag(c, name, &probe);
    if (sub)
        return ice_view_subsource(&sub->view, name, probe, source, err);
    ice_code rc = ice__stview_table(v, table, &view, err);
    if (rc != ICE_OK || !view)
        return rc;
    if (ice_tabledef_is_view(view->state->def))
        return expanded(v, view->state->def, a, subquery, err);
    if (!whole && !shown_as_it_is(view->state->def, !v->with_start))
        return dressed(a, view->state->def, table, !v->with_start, subquery, err);
    ice__sttable *t = NULL;
    for (size_t i = 0; i < v->n; i++)
        if (&v->tables[i]->view == view)
            t = v->tables[i];
    if (c->phase == ICE__PROBING && ice_view_wants_probe(view))
        return probe_place(c, t, source, err);
    ice__place *p = c->phase == ICE__PROBED && ice_view_wants_probe(view) ? next_place(c, t) : NULL;
    return ice_view_open(view, p ? p->tag : t->tag, v->with_start, p ? p->probe : NULL, a, source, subquery,
                         err);
}
