/* TRUNCATE: every row of some tables ended, under their exclusive locks; with CASCADE of those that refer to
 * them, too. */
#include "txn/write.h"

#define FEW_ROWS 4096 /* that are ended without the engine */

static bool among(const ice_str *names, size_t n, ice_str name)
{
    for (size_t i = 0; i < n; i++)
        if (ice_str_eq(names[i], name))
            return true;
    return false;
}

static bool refers(const ice_tabledef *def, const ice_uuid *parents, size_t n)
{
    for (size_t i = 0; i < def->ncons; i++)
        for (size_t k = 0; def->cons[i].kind == ICE_CON_FOREIGN && k < n; k++)
            if (ice_uuid_eq(def->cons[i].ref_table, parents[k]))
                return true;
    return false;
}

/* The statement's tables, and those that refer to one of them, directly or through others. */
static ice_code with_referrers(ice_session *s, ice__stview *v, const ice_stmt *st, ice_str **names, size_t *n,
                               ice_error *err)
{
    size_t nall = 0;
    ice_str *all;
    ice_code rc = ice_session_tables(s, false, s->scratch, &all, &nall, err);
    ice_uuid *ids = ice_arena_array(s->scratch, nall + st->drop.n + 1, sizeof *ids);
    *names = ice_arena_array(s->scratch, nall + st->drop.n + 1, sizeof **names);
    if (rc != ICE_OK)
        return rc;
    if (!ids || !*names)
        return ice_fail_nomem(err);
    for (*n = 0; *n < st->drop.n; ++*n) {
        ice_view *view = NULL;
        if ((rc = ice__stview_target(v, st->drop.names[*n], &view, err)) != ICE_OK)
            return rc;
        (*names)[*n] = st->drop.names[*n];
        ids[*n] = view->state->def->uuid;
    }
    for (size_t i = 0; st->drop.cascade && i < nall;) {
        ice_view *view = NULL;
        if (!among(*names, *n, all[i]) && (rc = ice__stview_ours(v, all[i], &view, err)) != ICE_OK)
            return rc;
        if (!view || !refers(view->state->def, ids, *n)) {
            i++;
            continue;
        }
        (*names)[*n] = all[i];
        ids[(*n)++] = view->state->def->uuid;
        i = 0; /* there may be tables that refer to this one */
    }
    return ICE_OK;
}

/* The rows of a small table by a walk along its key. *done false: there are too many, or no walk. */
static ice_code few_rows(ice__batch *b, bool *done, ice_error *err)
{
    ice_walk *w = NULL;
    ice_row rows[64];
    size_t n = 64, ncols = b->def->ncols;
    uint64_t count, budget = UINT64_MAX;
    ice_code rc = ice_view_count(b->view, &count, err);
    *done = rc == ICE_OK && count == 0;
    if (rc != ICE_OK || count == 0 || count > FEW_ROWS || b->keys->keys[0].ncols != 1)
        return rc;
    ICE_TRY(ice_view_walk(b->view, 0, false, NULL, &w, err));
    for (*done = w != NULL; w && n == 64;) {
        ICE_TRY(ice_walk_next(w, 64, &budget, rows, &n, err));
        for (size_t i = 0; i < n; i++) {
            ice_value *old = ice_arena_array(b->s->scratch, ncols, sizeof *old);
            if (!old) {
                rc = ice_fail_nomem(err);
                goto out;
            }
            ICE_TRY(ice_view_row(b->view, &rows[i], b->def->cols, ncols, b->s->scratch, old, err));
            ICE_TRY(ice__add_change(b, old, NULL, rows[i].where == ICE_IN_OVERLAY ? 0 : rows[i].start, err));
        }
    }
out:
    ice_walk_close(w);
    return rc;
}

/* With the table's lock held nobody else adds rows: the view to empty it by is taken then. */
static ice_code truncate(ice_session *s, ice_str table, ice__stview *v, ice_cursor *c, ice_error *err)
{
    ice_view *view = NULL;
    ice__txtable *t;
    ice__stview *fresh = NULL;
    ice_update all = {.table = table};
    ice__batch b = {0};
    bool done, many = false;
    ice_code rc;
    ICE_TRY(ice__stview_need(v, table, &view, err));
    ICE_TRY(ice__tx_table(s, view->state->def->uuid, table, true, &t, err));
    ICE_TRY(ice__stview_open(s, 0, &fresh, err));
    ICE_TRY(ice__batch_open(&b, s, fresh, table, err));
    ICE_TRY(few_rows(&b, &done, err));
    if (!done)
        ICE_TRY(ice__engine_changes(&b, &all, NULL, 0, &many, err));
    if (many)
        rc = ice__bulk_update(s, b.def->uuid, &all, NULL, 0, c, NULL, err);
    else if (b.n > 0)
        rc = ice__apply_changes(&b, false, err);
out:
    ice__batch_close(&b);
    ice__stview_unref(fresh);
    return rc;
}

ice_code ice__run_truncate(ice_session *s, ice_prepared *p, ice__stview *v, ice_cursor *c, ice_error *err)
{
    size_t n = 0;
    ice_str *names = NULL;
    ice_code rc = with_referrers(s, v, &p->stmt, &names, &n, err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        rc = truncate(s, names[i], v, c, err);
        if (rc == ICE_OK && p->stmt.drop.restart_identity)
            rc = ice__restart_identity(s, v, names[i], err);
    }
    c->path = "engine";
    return rc;
}
