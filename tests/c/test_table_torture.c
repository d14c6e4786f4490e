/* Every fault point that reading passes is failed once: no crash, no leak, the right error or the right
 * answer, and the table readable after it. */
#include "table_world.h"

static void empty_cache(world *w)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s", w->cache);
    assert_int_equal(system(command), 0);
}

static ice_code open_and_release(world *w, ice_view *v)
{
    ice_source *source = NULL;
    ice_str subquery;
    void *scan = NULL, *worker = NULL;
    ice_arena *a = ice_arena_create();
    int projection[] = {0, 1, 3};
    uint64_t threads;
    ice_batch b;
    ice_code rc = a ? ice_view_open(v, 1, true, NULL, a, &source, &subquery, &w->err) : ICE_NOMEM;
    if (rc != ICE_OK || !source)
        goto out;
    ICE_TRY(source->m->open(source, NULL, 0, projection, 3, &scan, &threads, &w->err));
    do {
        ICE_TRY(source->m->next(source, scan, &worker, &b, &w->err));
    } while (b.count);
out:
    if (source) {
        source->m->close_worker(source, worker);
        source->m->close(source, scan);
        source->m->release(source);
    }
    ice_arena_free(a);
    return rc;
}

/* Load, count, find, scan, read a row: as a process does that has just started. */
static ice_code read_it(world *w, bool past)
{
    ice_published *p = NULL;
    ice_tabstate *state = NULL;
    ice_tabledef *def = NULL;
    ice_arena *a = ice_arena_create();
    ice_value key = {.kind = ICE_T_LONG, .i = 3}, values[8];
    ice_row *rows;
    uint64_t n;
    size_t found;
    ice_code rc = a && (def = ice_tabledef_clone(w->state->def, false)) ? ICE_OK : ICE_NOMEM;
    if (rc != ICE_OK)
        goto out;
    ICE_TRY(ice_published_load(&w->env, w->location[0], &p, &w->err));
    ICE_TRY(ice_tabstate_create(def, p, ice_tail_ref(w->state->tail), w->state, &state, &w->err));
    def = NULL, p = NULL;
    ice_view v = {.env = &w->env,
                  .state = state,
                  .at = past ? w->now - 9000 : w->now,
                  .mode = past ? ICE_VIEW_AS_OF : ICE_VIEW_CURRENT};
    ICE_TRY(ice_view_count(&v, &n, &w->err));
    ICE_TRY(open_and_release(w, &v));
    if (past)
        goto out;
    ICE_TRY(ice_view_find(&v, 0, &key, a, &rows, &found, &w->err));
    assert_int_equal(found, w_live(w, 3) != NULL);
    if (found)
        ICE_TRY(ice_view_row(&v, rows, state->def->cols, state->def->ncols, a, values, &w->err));
out:
    if (!state && rc != ICE_OK && p)
        ice_tail_unref(w->state->tail);
    ice_tabstate_unref(state);
    ice_published_unref(p);
    ice_tabledef_free(def);
    ice_arena_free(a);
    return rc;
}

static void torture(uint64_t budget)
{
    world *w = w_open(budget);
    int failed = 0;
    if (!w)
        skip();
    for (int i = 0; i < 2; i++) {
        w_commit(w, 20, 40);
        w_commit(w, 20, 40);
        w_publish(w);
    }
    w_commit(w, 20, 40);
    for (int past = 0; past < 2; past++)
        for (long k = 1;; k++) {
            empty_cache(w);
            ice_fault_arm("*", k, false);
            ice_code rc = read_it(w, past);
            long hits = ice_fault_hits();
            ice_fault_disarm();
            failed += rc != ICE_OK;
            if (hits < k)
                break;
            if (k % 16 == 0 && read_it(w, past) != ICE_OK)
                fail_msg("after fault %ld: %s", k, w->err.message);
        }
    assert_true(failed > 10);
    w_same(w_query(w, w_view(w, ICE_VIEW_CURRENT, w->now), true, "SELECT * FROM t"),
           w_expect(w, w->now, true), "after all");
    w_close(w);
}

static void torture_hot(void **unused)
{
    torture((uint64_t)1 << 30);
}

static void torture_cold(void **unused)
{
    torture(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torture_hot),
        cmocka_unit_test(torture_cold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
