/* Rows in the order of a key, compared with the plain list of versions in table_world.h. */
#include "table_world.h"

enum { ID, GROUP, NAME }; /* the keys, by number */
enum { KEYS = 400 };

/* ---- what should come ---- */

typedef struct expected {
    size_t n;
    const version **rows;
} expected;

static const ice_column *key_column(world *w, size_t key)
{
    return &w->state->def->cols[w->state->keys.keys[key].cols[0]];
}

static const ice_column *sort_column;

static int by_key(const void *x, const void *y)
{
    ice_value a = w_value(*(const version *const *)x, sort_column), b = w_value(*(const version *const *)y, sort_column);
    return ice__order_cmp(&a, &b);
}

static bool in_range(const ice_value *v, const ice_walk_range *r)
{
    if (!r->low && !r->high)
        return true;
    if (v->null)
        return false;
    int low = r->low ? ice_value_cmp(v, r->low) : 1, high = r->high ? ice_value_cmp(v, r->high) : -1;
    return low >= r->without_low && high <= -(int)r->without_high;
}

static expected expect(world *w, size_t key, const ice_walk_range *r)
{
    expected e = {.rows = calloc(w->n + 1, sizeof *e.rows)};
    sort_column = key_column(w, key);
    for (size_t i = 0; i < w->n; i++) {
        ice_value v = w_value(&w->v[i], sort_column);
        if (w_visible(&w->v[i], w->now) && in_range(&v, r))
            e.rows[e.n++] = &w->v[i];
    }
    qsort(e.rows, e.n, sizeof *e.rows, by_key);
    return e;
}

/* ---- what comes ---- */

static void check_row(world *w, ice_view *v, const ice_row *row, size_t key, const version *want, bool *seen)
{
    const ice_column *cols[] = {&w->state->def->cols[0], key_column(w, key)};
    ice_arena *a = ice_arena_create();
    ice_value got[2], value = w_value(want, cols[1]);
    for (size_t i = 0; i < 2; i++)
        OK(ice_view_row(v, row, cols[i], 1, a, &got[i], &w->err));
    /* Rows of one key value may change places. */
    assert_int_equal(ice__order_cmp(&got[1], &value), 0);
    version *r = w_live(w, got[0].i);
    assert_non_null(r);
    assert_int_equal(row->start, r->start);
    assert_false(seen[r - w->v]);
    seen[r - w->v] = true;
    ice_arena_free(a);
}

static void check_walk(world *w, size_t key, bool descending, const ice_walk_range *range, uint64_t skip)
{
    ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
    expected e = expect(w, key, range);
    bool *seen = calloc(w->n + 1, sizeof *seen);
    uint64_t budget = UINT64_MAX, skipped;
    size_t got, at;
    ice_row rows[64];
    ice_walk *walk;
    OK(ice_view_walk(&v, key, descending, range, &walk, &w->err));
    assert_non_null(walk);
    OK(ice_walk_skip(walk, skip, &budget, &skipped, &w->err));
    assert_int_equal(skipped, skip < e.n ? skip : e.n);
    at = (size_t)skipped;
    do {
        OK(ice_walk_next(walk, (size_t)w_random(w, 64) + 1, &budget, rows, &got, &w->err));
        for (size_t i = 0; i < got; i++, at++)
            check_row(w, &v, &rows[i], key, e.rows[descending ? e.n - 1 - at : at], seen);
    } while (got);
    assert_int_equal(at, e.n);
    ice_walk_close(walk);
    free(e.rows);
    free(seen);
}

static ice_value random_key(world *w, size_t key, char text[24])
{
    int64_t id = w_random(w, KEYS);
    snprintf(text, 24, "%s%d", w_random(w, 2) ? "n" : "a longer name ", w_random(w, KEYS));
    if (key == NAME)
        return (ice_value){.kind = ICE_T_STRING, .s = ice_str_c(text)};
    return (ice_value){.kind = w_random(w, 2) ? ICE_T_LONG : ICE_T_INT, .i = key == ID ? id : id % 10};
}

static void check_ranges(world *w, size_t key)
{
    char texts[2][24];
    for (int i = 0; i < 8; i++) {
        ice_value a = random_key(w, key, texts[0]), b = random_key(w, key, texts[1]);
        bool swap = ice_value_cmp(&a, &b) > 0;
        ice_walk_range r = {.low = swap ? &b : &a,
                            .high = swap ? &a : &b,
                            .without_low = w_random(w, 2),
                            .without_high = w_random(w, 2)};
        r.low = i % 3 == 1 ? NULL : r.low;
        r.high = i % 3 == 2 ? NULL : r.high;
        check_walk(w, key, w_random(w, 2), &r, 0);
        check_walk(w, key, w_random(w, 2), &r, (uint64_t)w_random(w, 100));
    }
}

static void check_all(world *w)
{
    static const ice_walk_range all;
    for (size_t key = ID; key <= NAME; key++) {
        check_walk(w, key, false, &all, 0);
        check_walk(w, key, true, &all, 0);
        check_walk(w, key, w_random(w, 2), &all, (uint64_t)w_random(w, 600));
        check_ranges(w, key);
    }
}

/* ---- the tests ---- */

static world *open_world(uint64_t budget)
{
    world *w = w_open(budget);
    if (!w)
        skip();
    int32_t name = 2;
    uint8_t up = 0;
    ice_index index = {.name = ICE_STR("people_name"), .ncols = 1, .field_ids = &name, .descending = &up, .kind = ICE_STR("btree")};
    OK(ice_tabledef_add_index(w->def, &index, &w->err));
    ice_tabstate_unref(w->state);
    OK(ice_tabstate_create(ice_tabledef_clone(w->def, false), NULL, NULL, NULL, &w->state, &w->err));
    return w;
}

static void through_life(void **unused)
{
    world *w = open_world((uint64_t)1 << 30);
    (void)unused;
    check_all(w);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 4; i++) {
            w_commit(w, 40, KEYS);
            check_all(w);
        }
        w_publish(w);
        check_all(w);
        if (round == 1) {
            w_bulk(w, 1000, 3000);
            w_publish(w);
            check_all(w);
        }
        if (round == 2) {
            w_commit(w, 10, KEYS);
            w_evolve(w);
            check_all(w);
        }
    }
    w_commit(w, 300, 4000);
    check_all(w);
    w_close(w);
}

/* A transaction's own changes, and what a savepoint takes back of them. */
static void own_changes(void **unused)
{
    world *w = open_world((uint64_t)1 << 30);
    ice_value values[8], key = {.kind = ICE_T_LONG, .i = 5};
    uint64_t budget = UINT64_MAX;
    ice_row rows[64];
    ice_walk *walk;
    ice_tail *overlay;
    size_t n;
    (void)unused;
    for (int i = 0; i < 10; i++) {
        w->now += 1000;
        w_insert(w, w_row(i, 0), ICE_OP_INSERT);
        if (i == 4)
            w_publish(w);
    }
    OK(ice_tail_create(w->state->def, &overlay, &w->err));
    for (int64_t id = 20; id > 17; id--) {
        version r = w_row(id, 1);
        w_values(w, &r, values);
        OK(ice_tail_insert(overlay, values, 21 - id, ICE_OP_INSERT, NULL, &w->err));
    }
    OK(ice_tail_end(overlay, &key, 0, 2, ICE_OP_DELETE, NULL, &w->err));
    key.i = 2;
    OK(ice_tail_end(overlay, &key, 0, 3, ICE_OP_DELETE, NULL, &w->err));
    static const struct {
        int64_t at;
        const char *want;
    } seen[] = {{3, "0 1 3 4 6 7 8 9 18 19 20 "},
                {2, "0 1 2 3 4 6 7 8 9 19 20 "},
                {1, "0 1 2 3 4 5 6 7 8 9 20 "},
                {0, "0 1 2 3 4 5 6 7 8 9 "}};
    for (size_t i = 0; i < 8; i++) {
        if (i == 4) { /* taken back, and written again under the same numbers */
            ice_tail_undo(overlay, 1);
            version r = w_row(19, 1);
            w_values(w, &r, values);
            OK(ice_tail_insert(overlay, values, 2, ICE_OP_INSERT, NULL, &w->err));
            key.i = 5;
            OK(ice_tail_end(overlay, &key, 0, 2, ICE_OP_DELETE, NULL, &w->err));
        }
        ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
        v.overlay = overlay;
        v.overlay_at = seen[i % 4].at;
        char text[256] = "";
        ice_arena *a = ice_arena_create();
        OK(ice_view_walk(&v, ID, false, NULL, &walk, &w->err));
        OK(ice_walk_next(walk, 64, &budget, rows, &n, &w->err));
        for (size_t k = 0; k < n; k++) {
            ice_value id;
            OK(ice_view_row(&v, &rows[k], &w->state->def->cols[0], 1, a, &id, &w->err));
            sprintf(text + strlen(text), "%d ", (int)id.i);
        }
        assert_string_equal(text, i == 4 ? "0 1 2 3 4 6 7 8 9 19 20 " : seen[i % 4].want);
        ice_walk_close(walk);
        ice_arena_free(a);
    }
    ice_tail_unref(overlay);
    w_close(w);
}

/* Many versions of few rows: the tail forgets those that nobody sees, and an older view learns that it has come too late. */
static void hot_rows(void **unused)
{
    world *w = open_world((uint64_t)1 << 30);
    static const ice_walk_range all;
    uint64_t budget = 1000;
    ice_row rows[8];
    ice_walk *walk;
    size_t n;
    (void)unused;
    for (int i = 0; i < 5; i++)
        w_insert(w, w_row(i, 0), ICE_OP_INSERT);
    ice_view old = w_view(w, ICE_VIEW_CURRENT, w->now);
    for (int i = 0; i < 2000; i++) {
        w->now += 10;
        w_end(w, i % 5, ICE_OP_UPDATE);
        w_insert(w, w_row(i % 5, i), ICE_OP_UPDATE);
        if (i % 100 == 0)
            check_walk(w, ID, i % 200 == 0, &all, 0);
    }
    ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
    OK(ice_view_walk(&v, ID, true, NULL, &walk, &w->err));
    OK(ice_walk_next(walk, 8, &budget, rows, &n, &w->err));
    assert_int_equal(n, 5);
    assert_true(budget > 500);
    ice_walk_close(walk);
    OK(ice_view_walk(&old, ID, true, NULL, &walk, &w->err));
    assert_null(walk);
    w_close(w);
}

static void budgets(void **unused)
{
    world *w = open_world((uint64_t)1 << 30);
    ice_view v;
    ice_row rows[64];
    ice_walk *walk;
    uint64_t budget = 30, skipped;
    size_t n;
    (void)unused;
    w_bulk(w, 0, 5000);
    w_publish(w);
    v = w_view(w, ICE_VIEW_CURRENT, w->now);
    OK(ice_view_walk(&v, ID, false, NULL, &walk, &w->err));
    OK(ice_walk_skip(walk, 4000, &budget, &skipped, &w->err)); /* one step: nothing is deleted */
    assert_int_equal(skipped, 4000);
    OK(ice_walk_next(walk, 64, &budget, rows, &n, &w->err));
    assert_true(n > 20 && n < 30 && budget == 0);
    assert_int_equal(rows[0].pos, 4000);
    OK(ice_walk_next(walk, 64, &budget, rows, &n, &w->err));
    assert_int_equal(n, 0);
    ice_walk_close(walk);
    w_close(w);
}

static void few_of_many(void **unused)
{
    world *w = open_world((uint64_t)1 << 30);
    ice_value grp = {.kind = ICE_T_INT, .i = 3};
    ice_arena *a = ice_arena_create();
    ice_row *rows;
    size_t n;
    (void)unused;
    w_bulk(w, 0, 5000);
    w_publish(w);
    for (int i = 0; i < 100; i++)
        w_insert(w, w_row(5000 + i, 0), ICE_OP_INSERT);
    ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
    for (size_t max = 0; max < 40; max += 5) {
        OK(ice_view_find_some(&v, GROUP, &grp, max, a, &rows, &n, &w->err));
        assert_int_equal(n, max);
    }
    OK(ice_view_find_some(&v, GROUP, &grp, 10000, a, &rows, &n, &w->err));
    assert_int_equal(n, 510);
    ice_arena_free(a);
    w_close(w);
}

static void not_walked(void **unused)
{
    world *w = open_world(0);
    ice_view v;
    ice_walk *walk;
    (void)unused;
    w_commit(w, 40, KEYS);
    w_publish(w);
    v = w_view(w, ICE_VIEW_CURRENT, w->now);
    OK(ice_view_walk(&v, ID, false, NULL, &walk, &w->err)); /* files that are read cold */
    assert_null(walk);
    v.mode = ICE_VIEW_AS_OF;
    assert_int_equal(ice_view_walk(&v, ID, false, NULL, &walk, &w->err), ICE_MISUSE);
    w_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(through_life), cmocka_unit_test(own_changes), cmocka_unit_test(hot_rows),
        cmocka_unit_test(budgets),      cmocka_unit_test(few_of_many), cmocka_unit_test(not_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
