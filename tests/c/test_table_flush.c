/* Flushing, compacting, expiring: every answer before and after is compared with the plain list of versions in
 * table_world.h, and other readers' answers too (ICE_KEEP_WAREHOUSE leaves one behind for them). */
#include "table/flush_int.h"
#include "table_world.h"

static world *f_open(uint64_t budget)
{
    char path[128];
    world *w = w_open(budget);
    if (!w)
        return NULL;
    snprintf(path, sizeof path, "%s/catalog.db", w->dir);
    OK(ice_catalog_open(path, "default", "shop", true, false, &w->env.catalog, &w->err));
    return w;
}

static void f_close(world *w)
{
    ice_catalog_close(w->env.catalog);
    w_close(w);
}

/* ---- publishing through the flush ---- */

/* The state after a flush or compaction moved the pointer. */
static void f_reload(world *w, ice_str location)
{
    ice_published *p;
    ice_tail *tail;
    ice_tabstate *next;
    OK(ice_published_load(&w->env, location, &p, &w->err));
    OK(ice_tail_trim(w->state->tail, ice_published_flushed(p), &tail, &w->err));
    OK(ice_tabstate_create(ice_tabledef_clone(w->state->def, false), p, tail, w->state, &next, &w->err));
    ice_tabstate_unref(w->state);
    w->state = next;
}

static ice_flush_table f_table(world *w)
{
    ice_flush_table t = {.state = w->state};
    if (w->state->published) {
        t.catalog_name = ice_published_def(w->state->published)->name;
        t.location = ice_published_location(w->state->published);
    }
    return t;
}

static void f_flush_at(world *w, int64_t upto, uint64_t rewrite_bytes)
{
    ice_flush_options o = {.upto = upto, .position = 42, .rewrite_bytes = rewrite_bytes, .snapshots_kept = 5};
    ice_flush_table t = f_table(w);
    OK(ice_flush(&w->env, &t, 1, &o, w->arena, &w->err));
    f_reload(w, t.new_location);
    assert_int_equal(w->state->flushed, upto);
    assert_int_equal(ice_published_position(w->state->published), 42);
}

static void f_flush(world *w, uint64_t rewrite_bytes)
{
    f_flush_at(w, w->now, rewrite_bytes);
}

static bool f_compact(world *w)
{
    ice_str location;
    bool did;
    OK(ice_compact(&w->env, w->state->published, w->state->def->name, w->arena, &location, &did, &w->err));
    if (did)
        f_reload(w, location);
    return did;
}

/* ---- checking ---- */

static void tell(void *arg, const char *problem)
{
    (void)arg;
    print_error("check: %s\n", problem);
    ++*(int *)arg;
}

static void check_at(world *w, int64_t at)
{
    ice_view v = w_view(w, ICE_VIEW_AS_OF, at);
    w_same(w_query(w, v, true, "SELECT * FROM t"), w_expect(w, at, true), "rows as of");
    v.mode = ICE_VIEW_VERSIONS;
    w_same(w_query(w, v, false, "SELECT * FROM t"), w_expect_versions(w, at), "versions");
}

static void check_world(world *w)
{
    ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
    uint64_t n, want = 0;
    int problems = 0;
    w_same(w_query(w, v, true, "SELECT * FROM t"), w_expect(w, w->now, true), "current rows");
    OK(ice_view_count(&v, &n, &w->err));
    for (size_t i = 0; i < w->n; i++)
        want += w_visible(&w->v[i], w->now);
    assert_int_equal(n, want);
    check_at(w, w->now);
    check_at(w, w->now - 1500);
    check_at(w, w->now - 7000);
    check_at(w, w->now - 23000);
    if (w->state->published)
        OK(ice_published_check(&w->env, w->state->published, tell, &problems, &w->err));
    assert_int_equal(problems, 0);
}

/* ---- a life ---- */

static void live_through(uint64_t budget, uint64_t rewrite_bytes)
{
    world *w = f_open(budget);
    if (!w)
        skip();
    f_flush(w, rewrite_bytes);
    check_world(w);
    for (int round = 0; round < 14; round++) {
        int64_t middle = 0;
        for (int i = 0; i < 3; i++) {
            w_commit(w, round == 4 ? 300 : 10, round == 4 ? 2000 : 60);
            if (i == 1)
                middle = w->now;
        }
        if (round == 6)
            w_evolve(w);
        if (round == 6)
            w_commit(w, 20, 60);
        /* Every third flush does not take all there is. */
        f_flush_at(w, round % 3 == 1 ? middle : w->now, rewrite_bytes);
        check_world(w);
        if (round % 5 == 3) {
            f_compact(w);
            check_world(w);
        }
    }
    f_close(w);
}

static void hot_rewritten(void **unused)
{
    live_through((uint64_t)1 << 30, 16 << 20);
}

static void hot_appended(void **unused)
{
    live_through((uint64_t)1 << 30, 0);
}

static void cold_appended(void **unused)
{
    live_through(0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hot_rewritten),
        cmocka_unit_test(hot_appended),
        cmocka_unit_test(cold_appended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
