/* What comes from outside: broken caches, hostile metadata, tables of other engines; and what a published
 * state says. */
#include "table_world.h"

#include <dirent.h>

static char *current(world *w)
{
    return w_query(w, w_view(w, ICE_VIEW_CURRENT, w->now), true, "SELECT * FROM t");
}

static world *small_world(uint64_t budget)
{
    world *w = w_open(budget);
    if (!w)
        skip();
    for (int i = 0; i < 3; i++)
        w_commit(w, 20, 40);
    w_publish(w);
    w_commit(w, 20, 40);
    w_publish(w);
    w_commit(w, 5, 40);
    return w;
}

/* Loads the published state again, as another process would. */
static void reload(world *w)
{
    ice_published *p;
    ice_tabstate *next;
    OK(ice_published_load(&w->env, w->location[0], &p, &w->err));
    OK(ice_tabstate_create(ice_tabledef_clone(w->state->def, false), p, ice_tail_ref(w->state->tail),
                           w->state, &next, &w->err));
    /* Nothing may keep the cache open but the new state. */
    ice_published_unref(w->state->published);
    w->state->published = NULL;
    for (ice_tabstate *s = w->state->older_defs; s; s = s->older_defs) {
        ice_published_unref(s->published);
        s->published = NULL;
    }
    ice_tabstate_unref(w->state);
    w->state = next;
}

typedef void spoil(const char *path, int round);

static void cut(const char *path, int round)
{
    (void)round;
    assert_int_equal(truncate(path, 30), 0);
}

static void drop(const char *path, int round)
{
    (void)round;
    assert_int_equal(unlink(path), 0);
}

static void scribble(const char *path, int round)
{
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, round * 4, SEEK_SET);
    fwrite("\xff\xfe\xfd\xfc", 1, 4, f);
    fclose(f);
}

static int each_cache(world *w, spoil *how, int round)
{
    DIR *d = opendir(w->cache);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[512];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", w->cache, e->d_name);
        how(path, round);
        n++;
    }
    closedir(d);
    return n;
}

static void caches_come_back(uint64_t budget)
{
    world *w = small_world(budget);
    ice_value key = {.kind = ICE_T_LONG, .i = 3};
    spoil *ways[] = {cut, drop, scribble, scribble, scribble};
    for (int i = 0; i < 5; i++) {
        ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
        ice_arena *a = ice_arena_create();
        ice_row *rows;
        size_t n;
        w_same(current(w), w_expect(w, w->now, true), "before the cache is spoiled");
        OK(ice_view_find(&v, 0, &key, a, &rows, &n, &w->err));
        assert_int_equal(n, w_live(w, 3) != NULL);
        ice_arena_free(a);
        /* Nobody has the files mapped while they are cut. */
        ice_published_unref(w->state->published);
        w->state->published = NULL;
        for (ice_tabstate *s = w->state->older_defs; s; s = s->older_defs) {
            ice_published_unref(s->published);
            s->published = NULL;
        }
        assert_true(each_cache(w, ways[i], i - 2) > 0);
        reload(w);
    }
    w_same(current(w), w_expect(w, w->now, true), "with a new cache");
    w_close(w);
}

static void caches_hot(void **unused)
{
    caches_come_back((uint64_t)1 << 30);
}

static void caches_cold(void **unused)
{
    caches_come_back(0);
}

/* A cache directory that cannot be: scans still read the files. */
static void no_cache(void **unused)
{
    world *w = w_open((uint64_t)1 << 30);
    if (!w)
        skip();
    w_commit(w, 20, 40);
    w_publish(w);
    w->env.cache_dir = "/dev/null/cache";
    w_same(current(w), w_expect(w, w->now, true), "without a cache");
    w_close(w);
}

/* ---- hostile metadata ---- */

static ice_code load_of(world *w, ice_metadata *m)
{
    ice_published *p = NULL;
    ice_buf bytes = {0};
    ice_str key;
    OK(ice_metadata_to_json(m, &bytes, &w->err));
    OK(ice_metadata_location(w->arena, w_dir(w, false), w->meta_version[0]++, ice_uuid_random(), &key,
                             &w->err));
    ice_code rc = ice_published_load(&w->env, w_put(w, key, &bytes), &p, &w->err);
    ice_published_unref(p);
    return rc;
}

static void hostile(void **unused)
{
    world *w = small_world((uint64_t)1 << 30);
    ice_published *p = NULL;
    ice_metadata *m = w->meta[0];
    assert_int_equal(ice_published_load(&w->env, ICE_STR("file:///etc/passwd"), &p, &w->err), ICE_CORRUPT);
    assert_int_not_equal(ice_published_load(&w->env, ICE_STR_NONE, &p, &w->err), ICE_OK);
    assert_int_equal(load_of(w, m), ICE_OK);
    ice_snapshot *s = &m->snapshots[m->nsnapshots - 1];
    ice_str list = s->manifest_list;
    s->manifest_list = ICE_STR("file:///etc/passwd");
    assert_int_equal(load_of(w, m), ICE_CORRUPT);
    s->manifest_list = w->location[0]; /* JSON is no manifest list */
    assert_int_equal(load_of(w, m), ICE_CORRUPT);
    s->manifest_list = list;
    w_property(w, m, ICE_PROP_FLUSHED, "-1");
    assert_int_equal(load_of(w, m), ICE_CORRUPT);
    w_property(w, m, ICE_PROP_FLUSHED, "1700000000000000");
    w_property(w, m, ICE_PROP_TABLE, "{\"cols\": 7}");
    assert_int_equal(load_of(w, m), ICE_CORRUPT);
    w_close(w);
}

/* Data files outside the warehouse, wrong counts, deletion vectors that do not fit. */
static void hostile_files(void **unused)
{
    world *w = small_world((uint64_t)1 << 30);
    ice_published *p = NULL;
    ice_view v;
    ice_str path;
    wfile *table = NULL;
    for (size_t i = 0; i < w->nfiles; i++)
        if (!w->files[i].history)
            table = &w->files[i];
    path = table->df.path;
    table->df.path = ICE_STR("file:///etc/shadow");
    w_snapshot(w, false);
    assert_int_equal(ice_published_load(&w->env, w->location[0], &p, &w->err), ICE_CORRUPT);
    table->df.path = path;

    ice_dv *good = table->dv ? ice_dv_clone(table->dv) : NULL;
    if (!table->dv)
        table->dv = ice_dv_create();
    OK(ice_dv_add(table->dv, 1000000, &w->err));
    w_snapshot(w, false);
    if (ice_published_load(&w->env, w->location[0], &p, &w->err) == ICE_OK) {
        ice_published_unref(p);
        reload(w);
        v = w_view(w, ICE_VIEW_CURRENT, w->now);
        ice_arena *a = ice_arena_create();
        ice_source *source;
        ice_str subquery;
        assert_int_equal(ice_view_open(&v, 1, false, NULL, a, &source, &subquery, &w->err), ICE_CORRUPT);
        ice_arena_free(a);
    }
    ice_dv_free(table->dv);
    table->dv = good;

    /* A manifest that claims more rows than the file has. */
    table->df.record_count += 5;
    w_snapshot(w, false);
    reload(w);
    v = w_view(w, ICE_VIEW_CURRENT, w->now);
    ice_arena *a = ice_arena_create();
    ice_source *source;
    ice_str subquery;
    assert_int_equal(ice_view_open(&v, 1, false, NULL, a, &source, &subquery, &w->err), ICE_CORRUPT);
    ice_arena_free(a);
    w_close(w);
}

/* ---- another engine's table, and what a published state says ---- */

static void foreign(void **unused)
{
    world *w = small_world((uint64_t)1 << 30);
    ice_published *p;
    ice_buf bytes = {0};
    ice_str key;
    OK(ice_metadata_set_property(w->meta[0], ICE_STR(ICE_PROP_TABLE), ICE_STR_NONE, &w->err));
    OK(ice_metadata_to_json(w->meta[0], &bytes, &w->err));
    OK(ice_metadata_location(w->arena, w_dir(w, false), 99, ice_uuid_random(), &key, &w->err));
    OK(ice_published_load(&w->env, w_put(w, key, &bytes), &p, &w->err));
    const ice_tabledef *d = ice_published_def(p);
    assert_int_equal(d->ncols, 4);
    assert_true(ice_str_eqc(d->cols[1].name, "name"));
    assert_int_equal(d->cols[2].type.kind, ICE_T_INT);
    assert_non_null(ice_tabledef_primary(d));
    ice_published_unref(p);
    w_close(w);
}

static void says(void **unused)
{
    world *w = small_world((uint64_t)1 << 30);
    ice_published *p = w->state->published;
    ice_snapshot_info *list;
    ice_uuid u;
    size_t n;
    int64_t max = 0;
    ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
    ice_view_cost cost;
    assert_true(ice_location_uuid(w->location[0], &u) && ice_uuid_eq(u, w->def->uuid));
    assert_true(ice_location_uuid(w->location[1], &u) && ice_uuid_eq(u, w->def->uuid));
    assert_false(ice_location_uuid(ICE_STR("file:///w/people/metadata/v1.metadata.json"), &u));
    assert_int_equal(ice_published_flushed(p), w->now - 1000);
    assert_int_equal(ice_published_position(p), 4711);
    OK(ice_published_list(p, w->arena, &list, &n, &w->err));
    assert_int_equal(n, 2);
    assert_int_equal(list[0].commit_time, w->now - 1000);
    assert_int_equal(list[1].commit_time, w->now - 2000);
    assert_true(ice_str_eqc(list[0].operation, "overwrite"));
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i].file >= 0 && w->v[i].id > max)
            max = w->v[i].id;
    assert_int_equal(ice_published_max_int(p, 1), max);
    ice_view_cost_get(&v, &cost);
    assert_true(cost.resident && cost.files_read == 0 && cost.files_total == 2);
    w_close(w);
}

static void names(void **unused)
{
    assert_int_equal(ice__name_schema(ICE_STR("1700000000000000-s3-0123456789abcdef.parquet")), 3);
    assert_int_equal(ice__name_schema(ICE_STR("1700000000000000-s-0123456789abcdef.parquet")), -1);
    assert_int_equal(ice__name_schema(ICE_STR("1-s99999999999-0123456789abcdef.parquet")), -1);
    assert_int_equal(ice__name_schema(ICE_STR("1-s3-0123456789abcdef.parquet2")), -1);
    assert_int_equal(ice__name_schema(ICE_STR("00000-0-c8a1.parquet")), -1);
    assert_int_equal(ice__name_schema(ICE_STR("")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caches_hot), cmocka_unit_test(caches_cold),   cmocka_unit_test(no_cache),
        cmocka_unit_test(hostile),    cmocka_unit_test(hostile_files), cmocka_unit_test(foreign),
        cmocka_unit_test(says),       cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
