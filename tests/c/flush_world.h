/* table_world.h with a catalog: published by flush and compaction, every answer compared with the plain list
 * of versions. */
#ifndef TESTS_FLUSH_WORLD_H
#define TESTS_FLUSH_WORLD_H

#include "table/flush_int.h"
#include "table_world.h"

static inline world *f_open(uint64_t budget)
{
    char path[128];
    world *w = w_open(budget);
    if (!w)
        return NULL;
    snprintf(path, sizeof path, "%s/catalog.db", w->dir);
    OK(ice_catalog_open(path, "default", "shop", true, false, &w->env.catalog, &w->err));
    return w;
}

static inline void f_close(world *w)
{
    ice_catalog_close(w->env.catalog);
    w_close(w);
}

static inline void f_write(world *w, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Leaves the warehouse for other readers under $ICE_KEEP_WAREHOUSE/<name>, with `text` as expected.txt, and
 * versions.txt: every version, its start, end and what ended it. */
static inline void f_keep(world *w, const char *name, const char *text)
{
    const char *keep = getenv("ICE_KEEP_WAREHOUSE");
    char path[512];
    if (!keep)
        return;
    f_write(w, "expected.txt", text);
    char *versions = w_expect_versions(w, w->now);
    f_write(w, "versions.txt", versions);
    free(versions);
    snprintf(path, sizeof path, "%s/%s", keep, name);
    assert_int_equal(symlink(w->dir, path), 0);
    strcpy(w->dir, "/nonexistent-warehouse"); /* what w_close removes */
}

/* ---- publishing through the flush ---- */

/* The state after a flush or compaction moved the pointer. */
static inline void f_reload(world *w, ice_str location)
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

static inline ice_flush_table f_table(world *w)
{
    ice_flush_table t = {.state = w->state};
    if (w->state->published) {
        t.catalog_name = ice_published_def(w->state->published)->name;
        t.location = ice_published_location(w->state->published);
    }
    return t;
}

static inline void f_flush_at(world *w, int64_t upto, uint64_t rewrite_bytes)
{
    ice_flush_options o = {.upto = upto, .position = 42, .rewrite_bytes = rewrite_bytes, .snapshots_kept = 5};
    ice_flush_table t = f_table(w);
    OK(ice_flush(&w->env, &t, 1, &o, w->arena, &w->err));
    f_reload(w, t.new_location);
    assert_int_equal(w->state->flushed, upto);
    assert_int_equal(ice_published_position(w->state->published), 42);
}

static inline void f_flush(world *w, uint64_t rewrite_bytes)
{
    f_flush_at(w, w->now, rewrite_bytes);
}

/* What a record that names staged files does to a table's state. */
static inline void f_see_staged(world *w, const ice_staged_file *staged, size_t n)
{
    ice_published *p;
    ice_tabstate *next;
    OK(ice_published_stage(&w->env, w->state->published, w->state->def, staged, n, &p, &w->err));
    OK(ice_tabstate_create(ice_tabledef_clone(w->state->def, false), p, ice_tail_ref(w->state->tail), w->state,
                           &next, &w->err));
    ice_tabstate_unref(w->state);
    w->state = next;
}

/* Rows of a query by the bulk path, published. */
static inline void f_stage(world *w, ice_str sql)
{
    ice_flush_options o = {.position = 42, .snapshots_kept = 5};
    ice_flush_table t = f_table(w);
    ice_staged_file *files;
    size_t n;
    OK(ice_staged_write(&w->env, w->own, sql, w->state->def, w->arena, &files, &n, &w->err));
    assert_int_equal(n, 1);
    files->commit_time = o.upto = w->now += 1000;
    f_see_staged(w, files, n);
    t.state = w->state;
    OK(ice_flush(&w->env, &t, 1, &o, w->arena, &w->err));
    f_reload(w, t.new_location);
}

static inline bool f_compact_as(world *w, bool thorough, double delete_ratio)
{
    ice_compact_options o = {.thorough = thorough, .delete_ratio = delete_ratio};
    ice_compacted done[2];
    ice_str location;
    size_t n;
    OK(ice_compact(&w->env, w->state->published, w->state->def->name, &o, w->arena, &location, done, &n, &w->err));
    if (n)
        f_reload(w, location);
    return n > 0;
}

static inline bool f_compact(world *w)
{
    return f_compact_as(w, true, ICE_DELETE_RATIO);
}

/* ---- checking ---- */

static inline void tell(void *arg, const char *problem)
{
    (void)arg;
    print_error("check: %s\n", problem);
    ++*(int *)arg;
}

static inline void check_at(world *w, int64_t at)
{
    ice_view v = w_view(w, ICE_VIEW_AS_OF, at);
    w_same(w_query(w, v, true, "SELECT * FROM t"), w_expect(w, at, true), "rows as of");
    v.mode = ICE_VIEW_VERSIONS;
    w_same(w_query(w, v, false, "SELECT * FROM t"), w_expect_versions(w, at), "versions");
}

/* Staged files that no flush has published: what ice_published_check is for has none. */
static inline bool f_has_staged(const ice_published *p)
{
    for (size_t i = 0; i < p->nfiles; i++)
        if (p->files[i].fixed_start && p->files[i].min_start > p->flushed)
            return true;
    return false;
}

static inline void check_world(world *w)
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
    if (w->state->published && !f_has_staged(w->state->published))
        OK(ice_published_check(&w->env, w->state->published, tell, &problems, &w->err));
    assert_int_equal(problems, 0);
}

#endif
