/* Reading a table through views: everything is compared with the plain list of versions in table_world.h. */
#include "table_world.h"

static void check_find(world *w, const ice_view *view, int64_t id)
{
    ice_view v = *view;
    ice_value key = {.kind = ICE_T_LONG, .i = id}, got[8];
    ice_arena *a = ice_arena_create();
    ice_row *rows;
    size_t n;
    OK(ice_view_find(&v, 0, &key, a, &rows, &n, &w->err));
    version *r = NULL;
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i].id == id && w_visible(&w->v[i], v.at))
            r = &w->v[i];
    assert_int_equal(n, r != NULL);
    if (r) {
        ice_column *cols;
        size_t ncols;
        static const int32_t start[] = {ICE_FIELD_ROW_START, 0};
        OK(ice__columns(w->state->def, start, a, &cols, &ncols, &w->err));
        assert_int_equal(rows[0].start, r->start);
        OK(ice_view_row(&v, &rows[0], cols, ncols, a, got, &w->err));
        for (size_t i = 0; i < w->state->def->ncols; i++) {
            ice_value want = w_value(r, &cols[i]);
            assert_true(got[i].null == want.null && (want.null || ice_value_eq(&got[i], &want)));
        }
        assert_int_equal(got[ncols - 1].i, r->start);
    }
    ice_arena_free(a);
}

static void check_group(world *w, const ice_view *view, int64_t grp)
{
    ice_view v = *view;
    ice_value key = {.kind = w->state->def->cols[2].type.kind, .i = grp};
    ice_arena *a = ice_arena_create();
    ice_row *rows;
    size_t n, want = 0;
    OK(ice_view_find(&v, 1, &key, a, &rows, &n, &w->err));
    for (size_t i = 0; i < w->n; i++)
        want += w->v[i].grp == grp && w_visible(&w->v[i], v.at);
    assert_int_equal(n, want);
    /* All of them at once, in the order asked. */
    if (n) {
        ice_value *ids = ICE_NEW_N(a, ice_value, n);
        OK(ice_view_rows(&v, rows, n < 50 ? n : 50, &w->state->def->cols[2], 1, a, ids, &w->err));
        for (size_t i = 0; i < n && i < 50; i++)
            assert_int_equal(ids[i].i, grp);
    }
    ice_arena_free(a);
}

static void check_now(world *w)
{
    ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
    uint64_t n = 0, want = 0;
    w_same(w_query(w, v, false, "SELECT * FROM t"), w_expect(w, w->now, false), "current rows");
    w_same(w_query(w, v, true, "SELECT * FROM t"), w_expect(w, w->now, true), "current rows with start");
    for (size_t i = 0; i < w->n; i++)
        want += w_visible(&w->v[i], w->now);
    OK(ice_view_count(&v, &n, &w->err));
    assert_int_equal(n, want);
    char *count = w_query(w, v, false, "SELECT count(*) FROM t"), text[32];
    snprintf(text, sizeof text, "%d\n", (int)want);
    assert_string_equal(count, text);
    free(count);
    for (int i = 0; i < 20; i++)
        check_find(w, &v, w_random(w, 60));
    check_group(w, &v, w_random(w, 10));
}

static void check_past(world *w, int64_t at)
{
    ice_view v = w_view(w, ICE_VIEW_AS_OF, at);
    uint64_t n, want = 0;
    w_same(w_query(w, v, true, "SELECT * FROM t"), w_expect(w, at, true), "rows as of");
    for (size_t i = 0; i < w->n; i++)
        want += w_visible(&w->v[i], at);
    OK(ice_view_count(&v, &n, &w->err));
    assert_int_equal(n, want);
    v.mode = ICE_VIEW_VERSIONS;
    w_same(w_query(w, v, false, "SELECT * FROM t"), w_expect_versions(w, at), "versions");
}

static void check_all(world *w)
{
    check_now(w);
    check_past(w, w->now);
    check_past(w, w->now - 1500);
    check_past(w, w->now - 5000);
    check_past(w, w->now - 13000);
    check_past(w, 1000);
}

static void live_through(uint64_t budget)
{
    world *w = w_open(budget);
    if (!w)
        skip();
    check_all(w);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 4; i++)
            w_commit(w, 12, 60);
        check_all(w);
        w_publish(w);
        check_all(w);
        if (round == 1) {
            w_bulk(w, 100, 5000);
            w_publish(w);
            check_all(w);
            w_commit(w, 200, 5000);
        }
        if (round == 2) {
            w_commit(w, 10, 60);
            w_evolve(w);
            check_all(w);
        }
    }
    for (int i = 0; i < 3; i++)
        w_commit(w, 300, 5000);
    check_all(w);
    w_close(w);
}

static void hot(void **unused)
{
    live_through((uint64_t)1 << 30);
}

static void cold(void **unused)
{
    live_through(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hot),
        cmocka_unit_test(cold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
