/* Look-ups in tables that are not kept decoded: what is written beside the data files, and that it answers
 * without the engine. */
#include <dirent.h>

#include "flush_world.h"

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

static size_t cache_files(const world *w, const char *end, bool remove)
{
    char path[512];
    DIR *d = opendir(w->cache);
    size_t n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!ends_with(e->d_name, end))
            continue;
        n++;
        snprintf(path, sizeof path, "%s/%s", w->cache, e->d_name);
        assert_true(!remove || unlink(path) == 0);
    }
    if (d)
        closedir(d);
    return n;
}

static ice_code no_engine(void *arg, ice_engine_conn **out, ice_error *err)
{
    (void)arg, (void)out;
    return ice_fail(err, ICE_ENGINE, "nobody should need the engine here");
}

/* Every live row by its key, and the rows of each value of grp. */
static void check_look_ups(world *w)
{
    ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
    const ice_tabledef *def = w->state->def;
    ice_arena *a = ice_arena_create();
    for (size_t i = 0; i < w->n; i++) {
        ice_value key = {.kind = ICE_T_LONG, .i = w->v[i].id}, got[8];
        ice_row *rows;
        size_t n;
        OK(ice_view_find(&v, 0, &key, a, &rows, &n, &w->err));
        const version *live = w_live(w, w->v[i].id);
        assert_int_equal(n, live != NULL);
        if (!live)
            continue;
        OK(ice_view_row(&v, rows, def->cols, def->ncols, a, got, &w->err));
        for (size_t c = 0; c < def->ncols; c++) {
            ice_value want = w_value(live, &def->cols[c]);
            assert_int_equal(got[c].null, want.null);
            assert_true(want.null || ice_value_eq(&got[c], &want));
        }
    }
    for (int64_t grp = 0; grp < 10; grp++) {
        ice_value key = {.kind = def->cols[2].type.kind, .i = grp}, *got;
        size_t want = 0, n;
        ice_row *rows;
        for (size_t i = 0; i < w->n; i++)
            want += w->v[i].end == ICE_TIME_MAX && w->v[i].grp == grp;
        OK(ice_view_find(&v, 1, &key, a, &rows, &n, &w->err));
        assert_int_equal(n, want);
        got = ICE_NEW_N(a, ice_value, n * def->ncols + 1);
        OK(ice_view_rows(&v, rows, n, def->cols, def->ncols, a, got, &w->err));
        for (size_t i = 0; i < n; i++) {
            const version *live = w_live(w, got[i * def->ncols].i);
            assert_non_null(live);
            assert_int_equal(live->grp, grp);
            assert_true(got[i * def->ncols + 3].d == live->price);
        }
    }
    ice_arena_free(a);
}

static void without_engine(world *w)
{
    w->env.engine_acquire = no_engine;
    check_look_ups(w);
    w->env.engine_acquire = w_acquire;
}

static void live(uint64_t budget, const char *form)
{
    world *w = f_open(budget);
    if (!w)
        skip();
    for (int round = 0; round < 8; round++) {
        w_commit(w, 40, 200);
        if (round == 4) {
            w_evolve(w); /* renames name, promotes grp, adds extra */
            w_commit(w, 20, 200);
        }
        f_flush(w, round == 2 ? 16 << 20 : 0);
        without_engine(w);
        if (round % 3 == 2) {
            f_compact(w);
            without_engine(w);
        }
    }
    assert_true(cache_files(w, form, false) > 0);
    f_close(w);
}

static void flushed_and_compacted(void **unused)
{
    live(0, ".rows");
}

static void the_same_decoded(void **unused)
{
    live((uint64_t)1 << 30, ".chunk");
}

static ice_str numbers(void)
{
    return ICE_STR("SELECT i, 'n' || i, CAST(i % 10 AS INTEGER), i / 4.0 FROM range(3000) AS r(i)");
}

static void know(world *w)
{
    for (int64_t i = 0; i < 3000; i++) {
        version r = {
            .id = i, .grp = i % 10, .price = (double)i / 4, .extra = 7, .end = ICE_TIME_MAX, .file = -1};
        snprintf(r.name, sizeof r.name, "n%lld", (long long)i);
        w->v[w->n++] = r;
    }
}

/* Reads what it has just found in a process's own state: another one, that nobody has read yet. */
static void reopen(world *w)
{
    f_reload(w, ice_arena_str(w->arena, ice_published_location(w->state->published)));
}

/* Another host, or somebody who cleared the directory: everything is found, and what finds it is made again.
 */
static void made_again(void **unused)
{
    world *w = f_open(0);
    if (!w)
        skip();
    f_flush(w, 0);
    f_stage(w, numbers());
    know(w);
    check_look_ups(w);
    assert_int_equal(cache_files(w, ".idx", true), 2);
    cache_files(w, "", false);
    cache_files(w, ".rows", true);
    cache_files(w, ".keys", true);
    reopen(w);
    check_look_ups(w);
    assert_int_equal(cache_files(w, ".idx", false), 2);
    assert_int_equal(cache_files(w, ".keys", false), 2);
    f_close(w);
}

/* What was written while the table was kept decoded serves who keeps it no longer. */
static void columns_left_behind(void **unused)
{
    world *w = f_open((uint64_t)1 << 30);
    if (!w)
        skip();
    for (int round = 0; round < 3; round++) {
        w_commit(w, 100, 300);
        f_flush(w, 0);
    }
    w->env.memory_budget = 0;
    reopen(w);
    assert_false(ice__published_resident(w->state->published));
    without_engine(w);
    f_close(w);
}

/* Damage is told apart from rows: it is an error or the file is made again, never another answer. */
static void damaged(void **unused)
{
    world *w = f_open(0);
    char command[256];
    if (!w)
        skip();
    w_commit(w, 100, 300);
    f_flush(w, 0);
    snprintf(command, sizeof command, "for f in %s/*.rows %s/*.idx; do truncate -s 100 $f; done", w->cache,
             w->cache);
    assert_int_equal(system(command), 0);
    reopen(w);
    check_look_ups(w);
    f_close(w);
}

/* A row that does not fit its file any more is read from the Parquet file. */
static void damaged_rows(void **unused)
{
    world *w = f_open(0);
    char path[512], bad[64];
    ice_value got[8], key = {.kind = ICE_T_LONG, .i = 9};
    ice_row *rows;
    size_t n;
    if (!w)
        skip();
    w->now += 1000;
    for (int id = 0; id < 20; id++)
        w_insert(w, w_row(id, 1), ICE_OP_INSERT);
    f_flush(w, 0);
    ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
    OK(ice_view_find(&v, 0, &key, w->arena, &rows, &n, &w->err));
    assert_int_equal(n, 1);
    assert_true(rows[0].pos < 16); /* in the first block */
    for (size_t i = 0; i < sizeof bad; i++)
        bad[i] = (char)0xff;
    snprintf(path, sizeof path, "%s/%.*s.rows", w->cache, ICE_PRI(w->state->published->files[0].base));
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 64 + 5 * 16, SEEK_SET), 0); /* where the rows of the first block end */
    assert_int_equal(fwrite(bad, 1, sizeof bad, f), sizeof bad);
    fclose(f);
    reopen(w);
    v = w_view(w, ICE_VIEW_CURRENT, w->now);
    OK(ice_view_row(&v, rows, w->state->def->cols, 4, w->arena, got, &w->err));
    assert_int_equal(got[0].i, 9);
    w->env.engine_acquire = no_engine;
    assert_int_equal(ice_view_row(&v, rows, w->state->def->cols, 4, w->arena, got, &w->err), ICE_ENGINE);
    w->env.engine_acquire = w_acquire;
    f_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flushed_and_compacted),
        cmocka_unit_test(the_same_decoded),
        cmocka_unit_test(made_again),
        cmocka_unit_test(columns_left_behind),
        cmocka_unit_test(damaged),
        cmocka_unit_test(damaged_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
