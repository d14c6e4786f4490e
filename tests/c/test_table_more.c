/* A transaction's own changes over a table, look-ups by the engine's filters, several threads. */
#include "table_world.h"

/* ---- overlays ---- */

typedef struct own_version {
    version row; /* start and end are operation numbers */
} own_version;

typedef struct tx {
    ice_tail *overlay;
    int64_t op;
    own_version v[400];
    size_t n;
    struct {
        int64_t id, op;
    } ended[400]; /* of the table's rows */
    size_t nended;
} tx;

static version *own_live(tx *t, int64_t id, int64_t at)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i].row.id == id && w_visible(&t->v[i].row, at))
            return &t->v[i].row;
    return NULL;
}

static bool own_ended(const tx *t, int64_t id, int64_t at)
{
    for (size_t i = 0; i < t->nended; i++)
        if (t->ended[i].id == id && t->ended[i].op <= at)
            return true;
    return false;
}

static void own_insert(world *w, tx *t, version r, ice_row_op op)
{
    ice_value values[8];
    r.start = t->op;
    t->v[t->n++].row = r;
    w_values(w, &r, values);
    OK(ice_tail_insert(t->overlay, values, t->op, op, NULL, &w->err));
}

static void own_end(world *w, tx *t, int64_t id, ice_row_op op)
{
    ice_value key = {.kind = ICE_T_LONG, .i = id};
    version *own = own_live(t, id, t->op), *base = w_live(w, id);
    OK(ice_tail_end(t->overlay, &key, own ? 0 : w_random(w, 2) ? base->start : 0, t->op, op, NULL, &w->err));
    if (own) {
        own->end = t->op;
    } else {
        t->ended[t->nended].id = id;
        t->ended[t->nended++].op = t->op;
    }
}

static void own_change(world *w, tx *t, int keys)
{
    int64_t id = w_random(w, keys);
    bool there = own_live(t, id, t->op) || (w_live(w, id) && !own_ended(t, id, t->op));
    version next = w_row(id, w_random(w, 1000));
    t->op++;
    if (!there) {
        own_insert(w, t, next, ICE_OP_INSERT);
    } else if (w_random(w, 2)) {
        own_end(w, t, id, ICE_OP_DELETE);
    } else {
        own_end(w, t, id, ICE_OP_UPDATE);
        own_insert(w, t, next, ICE_OP_UPDATE);
    }
}

static char *own_expect(world *w, const tx *t, int64_t at, size_t *n)
{
    ice_buf b = {0};
    *n = 0;
    for (size_t i = 0; i < w->n + t->n; i++) {
        const version *r = i < w->n ? &w->v[i] : &t->v[i - w->n].row;
        bool seen = i < w->n ? w_visible(r, w->now) && !own_ended(t, r->id, at) : w_visible(r, at);
        if (!seen)
            continue;
        w_put_version(w, r, &b);
        ice_buf_puts(&b, "\n");
        ++*n;
    }
    ice_buf_put_u8(&b, 0);
    return w_sorted(b.data);
}

static void check_own(world *w, tx *t, int64_t at)
{
    ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
    uint64_t count;
    size_t n;
    v.overlay = t->overlay;
    v.overlay_at = at;
    w_same(w_query(w, v, false, "SELECT * FROM t"), own_expect(w, t, at, &n), "own rows");
    OK(ice_view_count(&v, &count, &w->err));
    assert_int_equal(count, n);
    ice_arena *a = ice_arena_create();
    for (int64_t id = 0; id < 40; id++) {
        ice_value key = {.kind = ICE_T_LONG, .i = id};
        version *own = own_live(t, id, at), *base = own_ended(t, id, at) ? NULL : w_live(w, id);
        ice_row *rows;
        size_t found;
        OK(ice_view_find(&v, 0, &key, a, &rows, &found, &w->err));
        assert_int_equal(found, own || base);
        if (found)
            assert_int_equal(rows[0].where == ICE_IN_OVERLAY, own != NULL);
    }
    ice_arena_free(a);
    /* The past has no own changes. */
    v.mode = ICE_VIEW_AS_OF;
    w_same(w_query(w, v, true, "SELECT * FROM t"), w_expect(w, w->now, true), "as of now, in a transaction");
}

static void own_changes(uint64_t budget)
{
    world *w = w_open(budget);
    if (!w)
        skip();
    for (int round = 0; round < 3; round++) {
        tx t = {0};
        for (int i = 0; i < 3; i++)
            w_commit(w, 20, 40);
        if (round)
            w_publish(w);
        w_commit(w, 10, 40);
        OK(ice_tail_create(w->state->def, &t.overlay, &w->err));
        check_own(w, &t, t.op);
        for (int step = 0; step < 4; step++) {
            int64_t mark = t.op;
            for (int i = 0; i < 30; i++)
                own_change(w, &t, 40);
            check_own(w, &t, t.op);
            check_own(w, &t, mark); /* a statement does not see what it writes */
        }
        ice_tail_unref(t.overlay);
    }
    w_close(w);
}

static void own_changes_hot(void **unused)
{
    own_changes((uint64_t)1 << 30);
}

static void own_changes_cold(void **unused)
{
    own_changes(0);
}

/* ---- filters ---- */

static char *expect_where(world *w, bool (*fits)(const version *))
{
    ice_buf b = {0};
    for (size_t i = 0; i < w->n; i++)
        if (w_visible(&w->v[i], w->now) && fits(&w->v[i])) {
            w_put_version(w, &w->v[i], &b);
            ice_buf_puts(&b, "\n");
        }
    ice_buf_put_u8(&b, 0);
    return w_sorted(b.data);
}

static bool is_seven(const version *r)
{
    return r->id == 7;
}
static bool is_some(const version *r)
{
    return r->id == 7 || r->id == 31 || r->id == 1200;
}
static bool is_group(const version *r)
{
    return r->grp == 3;
}
static bool is_both(const version *r)
{
    return r->grp == 3 && r->id < 50;
}

static void filters(uint64_t budget)
{
    world *w = w_open(budget);
    if (!w)
        skip();
    w_commit(w, 40, 60);
    w_publish(w);
    w_bulk(w, 1000, 5000);
    w_publish(w);
    w_commit(w, 60, 60);
    for (int evolved = 0; evolved < 2; evolved++) {
        ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
        w_same(w_query(w, v, false, "SELECT * FROM t WHERE id = 7"), expect_where(w, is_seven), "id = 7");
        w_same(w_query(w, v, false, "SELECT * FROM t WHERE id IN (7, 31, 1200, 7, 99999)"),
               expect_where(w, is_some), "id in");
        w_same(w_query(w, v, false, "SELECT * FROM t WHERE grp = 3"), expect_where(w, is_group), "grp = 3");
        w_same(w_query(w, v, false, "SELECT * FROM t WHERE grp = 3 AND id < 50"), expect_where(w, is_both),
               "grp = 3 and id < 50");
        w_same(w_query(w, v, false, "SELECT * FROM t a JOIN (SELECT 7 AS x) ON a.id = x WHERE false"),
               strdup(""), "nothing");
        w_same(w_query(w, v, false, "SELECT count(*) FROM t a JOIN t b USING (id) WHERE a.id = 7"),
               strdup(w_live(w, 7) ? "1\n" : "0\n"), "self join");
        if (!evolved)
            w_evolve(w);
    }
    w_close(w);
}

static void filters_hot(void **unused)
{
    filters((uint64_t)1 << 30);
}

static void filters_cold(void **unused)
{
    filters(0);
}

/* ---- threads ---- */

typedef struct reader {
    world *w;
    pthread_t thread;
    uint64_t counted;
    size_t found;
    ice_code rc;
    ice_error err;
} reader;

/* Caches are not there yet when the readers start: all want to build them. */
static void *read_all(void *arg)
{
    reader *r = arg;
    ice_view v = w_view(r->w, ICE_VIEW_CURRENT, r->w->now);
    ice_arena *a = ice_arena_create();
    r->rc = ice_view_count(&v, &r->counted, &r->err);
    for (int64_t id = 0; id < 60 && r->rc == ICE_OK; id++) {
        ice_value key = {.kind = ICE_T_LONG, .i = id}, value;
        ice_row *rows;
        size_t n;
        r->rc = ice_view_find(&v, 0, &key, a, &rows, &n, &r->err);
        if (n && r->rc == ICE_OK)
            r->rc = ice_view_row(&v, rows, &r->w->state->def->cols[1], 1, a, &value, &r->err);
        r->found += n;
    }
    ice_arena_free(a);
    return NULL;
}

static void threads(uint64_t budget)
{
    world *w = w_open(budget);
    if (!w)
        skip();
    w_commit(w, 60, 60);
    w_publish(w);
    w_commit(w, 60, 60);
    reader readers[4];
    size_t live = 0;
    for (size_t i = 0; i < w->n; i++)
        live += w->v[i].end == ICE_TIME_MAX;
    for (int i = 0; i < 4; i++) {
        readers[i] = (reader){.w = w};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_all, &readers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(readers[i].thread, NULL);
        if (readers[i].rc != ICE_OK)
            fail_msg("%s", readers[i].err.message);
        assert_int_equal(readers[i].counted, live);
        assert_int_equal(readers[i].found, live);
    }
    w_close(w);
}

static void threads_hot(void **unused)
{
    threads((uint64_t)1 << 30);
}

static void threads_cold(void **unused)
{
    threads(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_changes_hot), cmocka_unit_test(own_changes_cold), cmocka_unit_test(filters_hot),
        cmocka_unit_test(filters_cold),    cmocka_unit_test(threads_hot),      cmocka_unit_test(threads_cold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
