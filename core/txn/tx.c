/* A transaction: its tables, savepoints, locks, and its commit as one record of the log. */
#include <stdlib.h>

#include "txn/txn_int.h"

/* ---- tables ---- */

ice__txtable *ice__tx_find(ice__tx *tx, ice_uuid id)
{
    for (size_t i = 0; i < tx->ntables; i++)
        if (ice_uuid_eq(tx->tables[i].uuid, id))
            return &tx->tables[i];
    return NULL;
}

ice__txtable *ice__tx_find_name(ice__tx *tx, ice_str name)
{
    for (size_t i = 0; i < tx->ntables; i++)
        if (!tx->tables[i].dropped && ice_str_eqc(name, tx->tables[i].name))
            return &tx->tables[i];
    return NULL;
}

static bool interrupted(void *arg)
{
    return atomic_load(&((ice_session *)arg)->interrupted);
}

ice_code ice__tx_lock(ice_session *s, uint64_t name, ice_lock_mode mode, bool nowait, bool *waited,
                      ice_error *err)
{
    int64_t ms = s->lock_timeout_ms;
    return ice_lock(s->locker, name, mode, nowait ? 0 : ms < 0 ? -1 : ms * 1000, interrupted, s, waited, err);
}

static ice__txtable *tx_add(ice__tx *tx)
{
    if (!ICE_HEAP_ROOM(tx->tables, tx->ntables, tx->cap))
        return NULL;
    ice__txtable *t = &tx->tables[tx->ntables];
    memset(t, 0, sizeof *t);
    return t;
}

ice_code ice__tx_table(ice_session *s, ice_uuid id, ice_str name, bool exclusive, ice__txtable **out,
                       ice_error *err)
{
    ice__txtable *t = ice__tx_find(&s->tx, id);
    if (!t || (exclusive && !t->exclusive)) {
        ice_code rc = ice__tx_lock(s, ice__lock_table(id), exclusive ? ICE_LOCK_EXCLUSIVE : ICE_LOCK_SHARED,
                                   false, NULL, err);
        if (rc != ICE_OK)
            return rc;
    }
    if (!t) {
        if (!s->tx.base) /* not older than what any statement of it has read */
            s->tx.base = ice__pins_oldest(&s->wh->pins);
        if (!(t = tx_add(&s->tx)) || !(t->name = strndup(name.ptr, name.len)))
            return ice_fail_nomem(err);
        t->uuid = id;
        s->tx.ntables++;
    }
    t->exclusive |= exclusive;
    *out = t;
    return ICE_OK;
}

ice_code ice__tx_state(ice_session *s, ice__txtable *t, ice__registry *reg, ice_tabstate **out,
                       ice_error *err)
{
    if (t->state) {
        *out = t->state;
        return ICE_OK;
    }
    ice__entry *e = ice__registry_find_uuid(reg, t->uuid);
    if (!e)
        return ice_fail(err, ICE_NO_TABLE, "table \"%s\" was dropped by another transaction", t->name);
    return ice__wh_state(s->wh, e, out, err);
}

static void state_release(void *state)
{
    ice_tabstate_unref(state);
}

/* The overlay's chunks use the definition; a stream may read them, on another thread, when the transaction is over. */
static ice_code keep_state(ice_tail *overlay, ice_tabstate *state, ice_error *err)
{
    ice_code rc = ice_tail_hold(overlay, state, state_release, err);
    if (rc == ICE_OK)
        ice_tabstate_ref(state);
    return rc;
}

ice_code ice__tx_overlay(ice__txtable *t, ice_tabstate *state, ice_error *err)
{
    ice_tail *overlay = NULL;
    if (t->overlay)
        return ICE_OK;
    ice_code rc = ice_tail_create(state->def, &overlay, err);
    if (rc == ICE_OK && (rc = keep_state(overlay, state, err)) != ICE_OK)
        ice_tail_unref(overlay);
    if (rc == ICE_OK)
        t->overlay = overlay;
    return rc;
}

ice_code ice__tx_set_def(ice_session *s, ice__txtable *t, ice_tabstate *now, ice_tabledef *def,
                         ice_error *err)
{
    ice_tabstate *state = NULL;
    ice_code rc;
    if (now)
        rc = ice__state_with_def(now, def, false, &state, err);
    else if ((rc = ice_tabstate_create(def, NULL, NULL, NULL, &state, err)) != ICE_OK)
        ice_tabledef_free(def);
    if (rc != ICE_OK)
        return rc;
    if (t->overlay) {
        if ((rc = keep_state(t->overlay, state, err)) != ICE_OK ||
            (rc = ice_tail_set_def(t->overlay, def, err)) != ICE_OK) {
            ice_tabstate_unref(state);
            return rc;
        }
    }
    if (t->state)
        ice_tabstate_unref(t->state);
    t->state = state;
    t->defined = true;
    char *name = strndup(def->name.ptr, def->name.len);
    if (!name)
        return ice_fail_nomem(err);
    free(t->name);
    t->name = name;
    return ICE_OK;
}

static void txtable_free(ice__txtable *t)
{
    ice_tail_unref(t->overlay);
    if (t->state)
        ice_tabstate_unref(t->state);
    free(t->name);
}

/* ---- savepoints ---- */

void ice__savepoint_free(ice__savepoint *m)
{
    for (size_t i = 0; m->tables && i < m->ntables; i++) {
        if (m->tables[i].state)
            ice_tabstate_unref(m->tables[i].state);
        ice_tail_unref(m->tables[i].overlay);
        free(m->tables[i].name);
    }
    free(m->tables);
    free(m->name);
    memset(m, 0, sizeof *m);
}

ice_code ice__tx_mark(ice_session *s, bool with_tables, ice__savepoint *out, ice_error *err)
{
    ice__tx *tx = &s->tx;
    *out = (ice__savepoint){.seq = tx->seq,
                            .lock_mark = s->locker ? ice_lock_mark(s->locker) : 0,
                            .nseqs = tx->nseqs,
                            .immediate = tx->immediate,
                            .deferred = tx->deferred,
                            .ntables = tx->ntables};
    if (!with_tables)
        return ICE_OK;
    if (!(out->tables = calloc(tx->ntables + 1, sizeof *out->tables)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < tx->ntables; i++) {
        ice__txtable *t = &tx->tables[i], *c = &out->tables[i];
        c->uuid = t->uuid;
        c->created = t->created;
        c->dropped = t->dropped;
        c->defined = t->defined;
        c->bulk = t->bulk;
        c->check_children = t->check_children;
        c->check_parents = t->check_parents;
        c->overlay = t->overlay ? ice_tail_ref(t->overlay) : NULL;
        c->state = t->state ? ice_tabstate_ref(t->state) : NULL;
        if (!(c->name = strdup(t->name))) {
            out->ntables = i + 1;
            ice__savepoint_free(out);
            return ice_fail_nomem(err);
        }
    }
    return ICE_OK;
}

static void restore_table(ice__txtable *t, const ice__txtable *c)
{
    bool changed = t->state != c->state;
    char *name = strdup(c->name);
    if (name) {
        free(t->name);
        t->name = name;
    }
    t->created = c->created;
    t->dropped = c->dropped;
    t->defined = c->defined;
    t->bulk = c->bulk;
    t->check_children = c->check_children;
    t->check_parents = c->check_parents;
    if (!changed)
        return;
    if (t->state)
        ice_tabstate_unref(t->state);
    t->state = c->state ? ice_tabstate_ref(c->state) : NULL;
}

/* Rows left in the overlay were made under an older definition: it goes back to that one. This can't fail but
 * for memory; then the next row put into the overlay does not fit its columns and says so. */
static void restore_overlay(ice_session *s, ice__txtable *t)
{
    ice__registry *reg = NULL;
    ice_tabstate *state = NULL;
    ice_error ignored;
    int64_t at;
    if (!t->overlay)
        return;
    ice__wh_view(s->wh, &reg, &at);
    if (ice__tx_state(s, t, reg, &state, &ignored) == ICE_OK &&
        keep_state(t->overlay, state, &ignored) == ICE_OK)
        (void)!ice_tail_set_def(t->overlay, state->def, &ignored);
    ice__registry_unref(reg);
}

void ice__tx_restore(ice_session *s, const ice__savepoint *mark, bool unlock)
{
    ice__tx *tx = &s->tx;
    for (size_t i = 0; mark->tables && i < mark->ntables; i++)
        if (tx->tables[i].overlay != mark->tables[i].overlay) { /* put into files since */
            ice_tail_unref(tx->tables[i].overlay);
            tx->tables[i].overlay = mark->tables[i].overlay ? ice_tail_ref(mark->tables[i].overlay) : NULL;
        }
    for (size_t i = 0; i < tx->ntables; i++)
        if (tx->tables[i].overlay)
            ice_tail_undo(tx->tables[i].overlay, mark->seq);
    if (mark->tables) {
        while (tx->ntables > mark->ntables)
            txtable_free(&tx->tables[--tx->ntables]);
        for (size_t i = 0; i < mark->ntables; i++) {
            ice_tabstate *was = tx->tables[i].state;
            restore_table(&tx->tables[i], &mark->tables[i]);
            if (tx->tables[i].state != was)
                restore_overlay(s, &tx->tables[i]);
        }
    }
    tx->nseqs = mark->nseqs < tx->nseqs ? mark->nseqs : tx->nseqs;
    tx->immediate = mark->immediate;
    tx->deferred = mark->deferred;
    if (unlock && s->locker)
        ice_unlock_to(s->locker, mark->lock_mark);
}

ice_code ice__tx_savepoint(ice_session *s, ice_str name, ice_error *err)
{
    ice__tx *tx = &s->tx;
    if (!ICE_HEAP_ROOM(tx->saves, tx->nsaves, tx->cap_saves))
        return ice_fail_nomem(err);
    ice__savepoint *m = &tx->saves[tx->nsaves];
    ice_code rc = ice__tx_mark(s, true, m, err);
    if (rc != ICE_OK)
        return rc;
    if (!(m->name = strndup(name.ptr, name.len))) {
        ice__savepoint_free(m);
        return ice_fail_nomem(err);
    }
    tx->nsaves++;
    return ICE_OK;
}

static ice_code find_save(ice_session *s, ice_str name, size_t *out, ice_error *err)
{
    for (size_t i = s->tx.nsaves; i-- > 0;)
        if (ice_str_eqc(name, s->tx.saves[i].name)) {
            *out = i;
            return ICE_OK;
        }
    return ice_fail(err, ICE_NO_SAVEPOINT, "savepoint \"%.*s\" does not exist", ICE_PRI(name));
}

ice_code ice__tx_release(ice_session *s, ice_str name, ice_error *err)
{
    size_t i;
    ice_code rc = find_save(s, name, &i, err);
    if (rc != ICE_OK)
        return rc;
    while (s->tx.nsaves > i)
        ice__savepoint_free(&s->tx.saves[--s->tx.nsaves]);
    return ICE_OK;
}

ice_code ice__tx_rollback_to(ice_session *s, ice_str name, ice_error *err)
{
    size_t i;
    ice_code rc = find_save(s, name, &i, err);
    if (rc != ICE_OK)
        return rc;
    while (s->tx.nsaves > i + 1)
        ice__savepoint_free(&s->tx.saves[--s->tx.nsaves]);
    ice__tx_restore(s, &s->tx.saves[i], true);
    s->tx.aborted = false;
    return ICE_OK;
}

ice_code ice__tx_sequence(ice_session *s, uint64_t name, int64_t value, ice_error *err)
{
    ice__tx *tx = &s->tx;
    for (size_t i = 0; i < tx->nseqs; i++)
        if (tx->seqs[i].name == name) {
            if (value > tx->seqs[i].value)
                tx->seqs[i].value = value;
            return ICE_OK;
        }
    if (!ICE_HEAP_ROOM(tx->seqs, tx->nseqs, tx->cap_seqs))
        return ice_fail_nomem(err);
    tx->seqs[tx->nseqs++] = (ice__seqmark){name, value};
    return ICE_OK;
}

void ice__tx_clear(ice_session *s)
{
    ice__tx *tx = &s->tx;
    while (tx->nsaves > 0)
        ice__savepoint_free(&tx->saves[--tx->nsaves]);
    for (size_t i = 0; i < tx->ntables; i++)
        txtable_free(&tx->tables[i]);
    tx->ntables = 0;
    tx->nseqs = 0;
    tx->seq = 0;
    if (tx->restarted) /* what was looked up for a sequence that may be gone */
        s->nfloors = 0;
    tx->restarted = tx->open = tx->aborted = tx->immediate = tx->deferred = tx->unchecked = false;
    tx->snapshot_at = 0;
    ice__registry_unref(tx->snapshot_reg);
    tx->snapshot_reg = NULL;
    ice__registry_unref(tx->base);
    tx->base = NULL;
    if (s->locker)
        ice_unlock_all(s->locker);
}

/* ---- commit ---- */

/* What is written of one table. */
typedef struct table_writer {
    ice_buf *buf;
    ice__txtable *t;
    const ice_tabledef *def;
    const ice_key *pk;
    size_t k;
    bool declared;
    ice_type *types, *key_types;
    ice_value *row, *key;
    size_t changes;
} table_writer;

static ice_code writer_init(table_writer *w, ice_arena *a, ice_error *err)
{
    w->types = ICE_NEW_N(a, ice_type, w->def->ncols);
    w->row = ICE_NEW_N(a, ice_value, w->def->ncols);
    w->key_types = ICE_NEW_N(a, ice_type, w->pk->ncols);
    w->key = ICE_NEW_N(a, ice_value, w->pk->ncols);
    if (!w->types || !w->row || !w->key_types || !w->key)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < w->def->ncols; i++)
        w->types[i] = w->def->cols[i].type;
    for (size_t i = 0; i < w->pk->ncols; i++)
        w->key_types[i] = w->def->cols[w->pk->cols[i]].type;
    return ICE_OK;
}

static void write_change(table_writer *w, char op, int64_t base_start, const ice_value *key, const ice_value *row)
{
    if (!w->declared)
        ice__record_table(w->buf, w->def);
    w->declared = true;
    w->changes++;
    ice__record_change(w->buf, &(ice_change){.op = op,
                                             .table = w->k,
                                             .base_start = base_start,
                                             .nkey = w->pk->ncols,
                                             .ncols = w->def->ncols,
                                             .key_types = w->key_types,
                                             .types = w->types,
                                             .key = key,
                                             .row = row});
}

static int keep_ref(void *arg, ice_ref r)
{
    *(ice_ref *)arg = r;
    return 1;
}

static void load_row(table_writer *w, ice_ref r)
{
    for (size_t i = 0; i < w->def->ncols; i++)
        ice_ref_value(r, &w->def->cols[i], &w->row[i]);
}

/* A key the transaction ended: an update where it has a live row of that key, else a delete. */
static int write_tombstone(void *arg, const ice_tombstone *ts)
{
    table_writer *w = arg;
    ice_ref live = {0};
    if (ice_tail_find(w->t->overlay, 0, ts->key, ICE_TIME_MAX - 1, keep_ref, &live)) {
        load_row(w, live);
        write_change(w, 'U', ts->base_start, ts->key, w->row);
    } else {
        write_change(w, 'R', ts->base_start, ts->key, NULL);
    }
    return 0;
}

static ice_code write_insert(void *arg, const ice_value *row, ice_error *err)
{
    table_writer *w = arg;
    (void)err;
    for (size_t c = 0; c < w->pk->ncols; c++)
        w->key[c] = row[w->pk->cols[c]];
    if (!ice_tail_ended(w->t->overlay, w->key, ICE_TIME_MAX - 1, NULL))
        write_change(w, 'I', 0, NULL, row);
    return ICE_OK;
}

/* What a table on the bulk path comes to: names of files, sets of positions. */
static ice_code write_bulk(ice_session *s, table_writer *w, ice_tabstate *state, ice_arena *a, ice_error *err)
{
    ice_view v = {.env = &s->wh->env, .state = state, .mode = ICE_VIEW_CURRENT};
    ice_staged_file *files;
    ice_ended **ended;
    size_t nfiles, nended;
    ice__registry *reg = NULL;
    ice__wh_view(s->wh, &reg, &v.at);
    ice__registry_unref(reg);
    ice_code rc = ice_staging_settle(&v, a, &files, &nfiles, &ended, &nended, err);
    if (rc != ICE_OK || nfiles + nended == 0)
        return rc;
    ice__record_table(w->buf, w->def);
    w->declared = true;
    for (size_t i = 0; i < nfiles; i++)
        ice__record_staged(w->buf, w->k, &files[i]);
    for (size_t i = 0; rc == ICE_OK && i < nended; i++)
        rc = ice__record_ended(w->buf, w->k, ended[i], err);
    if (rc == ICE_OK && ice_fault("txn.bulk"))
        rc = ice_fail(err, ICE_IO, "fault injected before the record");
    return rc;
}

static ice_code write_table(ice_session *s, ice__txtable *t, ice__registry *reg, ice_buf *buf, size_t *k,
                            ice_arena *a, ice_error *err)
{
    ice_tabstate *state = NULL;
    ice_code rc = ice__tx_state(s, t, reg, &state, err);
    if (rc != ICE_OK)
        return rc;
    table_writer w = {.buf = buf, .t = t, .def = state->def, .pk = &state->keys.keys[0], .k = *k};
    if ((rc = writer_init(&w, a, err)) != ICE_OK)
        return rc;
    if (t->bulk) {
        rc = write_bulk(s, &w, state, a, err);
    } else {
        ice_tail_tombstones(t->overlay, 0, ICE_TIME_MAX - 1, write_tombstone, &w);
        rc = ice_tail_each(t->overlay, ICE_TIME_MAX - 1, ICE_TAIL_VISIBLE, w.def->cols, w.def->ncols, write_insert, &w,
                           err);
    }
    *k += w.declared;
    return rc;
}

static ice_code write_record(ice_session *s, ice__registry *reg, ice_buf *buf, bool *empty, ice_arena *a,
                             ice_error *err)
{
    ice__tx *tx = &s->tx;
    ice_code rc = ICE_OK;
    size_t k = 0;
    ice__record_begin(buf);
    size_t start = buf->len;
    for (size_t i = 0; rc == ICE_OK && i < tx->ntables; i++) {
        ice__txtable *t = &tx->tables[i];
        if (t->dropped && !t->created)
            ice__record_drop(buf, t->uuid);
        else if (!t->dropped && t->defined)
            rc = ice__record_def(buf, t->state->def, err);
    }
    for (size_t i = 0; rc == ICE_OK && i < tx->ntables; i++)
        if ((tx->tables[i].overlay || tx->tables[i].bulk) && !tx->tables[i].dropped)
            rc = write_table(s, &tx->tables[i], reg, buf, &k, a, err);
    *empty = buf->len == start;
    for (size_t i = 0; rc == ICE_OK && !*empty && i < tx->nseqs; i++)
        ice__record_sequence(buf, tx->seqs[i].name, tx->seqs[i].value);
    return rc != ICE_OK ? rc : ice_buf_check(buf, err);
}

static ice_code append(ice_session *s, ice_str body, ice_error *err)
{
    ice_warehouse *wh = s->wh;
    ice_log_state st;
    int64_t commit;
    uint64_t end;
    ice_code rc = ice_log_begin(wh->log, &st, err);
    if (rc == ICE_OK)
        rc = ice_log_append(wh->log, ice_random64(), body, &commit, &end, err);
    if (rc == ICE_OK)
        rc = ice_log_sync(wh->log, end, st.generation, err);
    if (rc != ICE_OK)
        return rc;
    /* The commit is durable: what keeps this process from following the log is the next statement's error. */
    ice_error ignored;
    (void)!ice__wh_catchup(wh, &ignored);
    return ICE_OK;
}

ice_code ice__tx_commit(ice_session *s, ice_error *err)
{
    ice_buf body = {0};
    ice_arena *a = NULL;
    ice__registry *reg = NULL;
    int64_t at;
    bool empty = true;
    ice_code rc = ICE_OK;
    if (s->tx.ntables > 0) {
        if (!(a = ice_arena_create()))
            rc = ice_fail_nomem(err);
        if (rc == ICE_OK)
            rc = ice__bulk_spill(s, true, err);
        if (rc == ICE_OK)
            rc = ice__check_deferred(s, err);
        if (rc == ICE_OK) {
            ice__wh_view(s->wh, &reg, &at);
            rc = write_record(s, reg, &body, &empty, a, err);
        }
        if (rc == ICE_OK && !empty)
            rc = append(s, ice_buf_str(&body), err);
    }
    ice__registry_unref(reg);
    ice_arena_free(a);
    ice_buf_free(&body);
    ice__tx_clear(s);
    if (rc == ICE_OK && !empty) {
        ice__flush_committed(s->wh, s->locker);
        ice__flush_pace(s->wh);
    }
    return rc;
}
