/* The SQLite catalog: changes all or none, two connections racing, a busy catalog, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/misc.h"
#include "catalog/catalog.h"

static ice_error err;
static ice_arena *arena;
static char dir[512], path[600];

static int setup(void **state)
{
    arena = ice_arena_create();
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/ice_catalog_XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/catalog.db", dir);
    return 0;
}

static int teardown(void **state)
{
    ice_arena_free(arena);
    unlink(path);
    return rmdir(dir);
}

static ice_catalog *open_it(void)
{
    ice_catalog *c;
    ice_code rc = ice_catalog_open(path, "default", "app", true, false, &c, &err);
    if (rc != ICE_OK)
        print_message("%s\n", err.message);
    assert_int_equal(rc, ICE_OK);
    return c;
}

static ice_catalog_change create(const char *name, const char *location)
{
    return (ice_catalog_change){.op = ICE_CAT_CREATE, .name = ice_str_c(name), .location = ice_str_c(location)};
}

static ice_catalog_change swap(const char *name, const char *from, const char *to)
{
    return (ice_catalog_change){
        .op = ICE_CAT_SWAP, .name = ice_str_c(name), .expected = ice_str_c(from), .location = ice_str_c(to)};
}

static void expect(ice_catalog *c, const char *name, const char *location)
{
    ice_str got;
    ice_code rc = ice_catalog_load(c, arena, ice_str_c(name), &got, &err);
    if (!location) {
        assert_int_equal(rc, ICE_NO_TABLE);
        return;
    }
    assert_int_equal(rc, ICE_OK);
    assert_true(ice_str_eqc(got, location));
}

static void test_changes(void **state)
{
    ice_catalog *c = open_it();
    ice_catalog_entry *list;
    size_t n;
    ice_catalog_change two[] = {create("b", "b0"), create("a", "a0")};
    assert_int_equal(ice_catalog_commit(c, two, 2, &err), ICE_OK);
    assert_int_equal(ice_catalog_list(c, arena, &list, &n, &err), ICE_OK);
    assert_int_equal(n, 2);
    assert_true(ice_str_eqc(list[0].name, "a") && ice_str_eqc(list[1].metadata_location, "b0"));
    /* A rename before a swap of the new name. */
    ice_catalog_change more[] = {{.op = ICE_CAT_RENAME, .name = ICE_STR("a"), .new_name = ICE_STR("z")},
                                 swap("z", "a0", "z1"),
                                 swap("b", "b0", "b1")};
    assert_int_equal(ice_catalog_commit(c, more, 3, &err), ICE_OK);
    expect(c, "z", "z1");
    expect(c, "b", "b1");
    expect(c, "a", NULL);
    ice_catalog_change drop = {.op = ICE_CAT_DROP, .name = ICE_STR("z"), .expected = ICE_STR("z0")};
    assert_int_equal(ice_catalog_commit(c, &drop, 1, &err), ICE_CONFLICT);
    drop.expected = ICE_STR_NONE;
    assert_int_equal(ice_catalog_commit(c, &drop, 1, &err), ICE_OK);
    assert_int_equal(ice_catalog_commit(c, &drop, 1, &err), ICE_OK);
    expect(c, "z", NULL);
    ice_catalog_close(c);
}

static void test_views(void **state)
{
    ice_catalog *c = open_it();
    ice_catalog_entry *list;
    size_t n;
    ice_str location;
    ice_catalog_change two[] = {create("t", "t0"), create("v", "v0")}, drop = {.op = ICE_CAT_DROP, .name = ICE_STR("v")};
    two[1].op = ICE_CAT_CREATE_VIEW;
    assert_int_equal(ice_catalog_commit(c, two, 2, &err), ICE_OK);
    assert_int_equal(ice_catalog_list(c, arena, &list, &n, &err), ICE_OK);
    assert_true(n == 2 && !list[0].view && list[1].view);
    assert_int_equal(ice_catalog_load(c, arena, ICE_STR("v"), &location, &err), ICE_NO_TABLE);
    assert_int_equal(ice_catalog_commit(c, &two[1], 1, &err), ICE_CONFLICT);
    ice_catalog_change move = swap("v", "v0", "v1");
    assert_int_equal(ice_catalog_commit(c, &move, 1, &err), ICE_OK);
    assert_int_equal(ice_catalog_commit(c, &drop, 1, &err), ICE_OK);
    assert_int_equal(ice_catalog_list(c, arena, &list, &n, &err), ICE_OK);
    assert_int_equal(n, 1);
    ice_catalog_close(c);
}

static void test_all_or_none(void **state)
{
    ice_catalog *c = open_it();
    ice_catalog_change first[] = {create("a", "a0"), create("b", "b0")};
    assert_int_equal(ice_catalog_commit(c, first, 2, &err), ICE_OK);
    ice_catalog_change bad[] = {swap("a", "a0", "a1"), swap("b", "b9", "b1")};
    assert_int_equal(ice_catalog_commit(c, bad, 2, &err), ICE_CONFLICT);
    assert_string_equal(err.table, "b");
    expect(c, "a", "a0");
    ice_catalog_change exists[] = {swap("a", "a0", "a1"), create("b", "bx")};
    assert_int_equal(ice_catalog_commit(c, exists, 2, &err), ICE_CONFLICT);
    ice_catalog_change rename = {.op = ICE_CAT_RENAME, .name = ICE_STR("a"), .new_name = ICE_STR("b")};
    assert_int_equal(ice_catalog_commit(c, &rename, 1, &err), ICE_CONFLICT);
    ice_fault_arm("catalog.commit", 1, false);
    ice_catalog_change good = swap("a", "a0", "a1");
    assert_int_equal(ice_catalog_commit(c, &good, 1, &err), ICE_IO);
    expect(c, "a", "a0");
    ice_fault_arm("catalog.committed", 1, false);
    assert_int_equal(ice_catalog_commit(c, &good, 1, &err), ICE_OUTCOME_UNKNOWN);
    ice_fault_disarm();
    expect(c, "a", "a1");
    ice_catalog_close(c);
}

#define RACERS 4
#define ROUNDS 25

static long wins[RACERS];

/* Counts the table's location up, as flushes do; a loser reads again. */
static void *racer(void *arg)
{
    long id = (long)(intptr_t)arg;
    ice_error mine = {0};
    ice_catalog *c;
    ice_arena *a = ice_arena_create();
    if (ice_catalog_open(path, "default", "app", false, false, &c, &mine) != ICE_OK)
        return (void *)1;
    while (wins[id] < ROUNDS) {
        ice_str at;
        char next[32];
        if (ice_catalog_load(c, a, ICE_STR("t"), &at, &mine) != ICE_OK)
            return (void *)2;
        snprintf(next, sizeof next, "%ld", atol(at.ptr) + 1);
        ice_catalog_change g = {.op = ICE_CAT_SWAP, .name = ICE_STR("t"), .expected = at, .location = ice_str_c(next)};
        ice_code rc = ice_catalog_commit(c, &g, 1, &mine);
        if (rc != ICE_OK && rc != ICE_CONFLICT)
            return (void *)3;
        wins[id] += rc == ICE_OK;
    }
    ice_catalog_close(c);
    ice_arena_free(a);
    return NULL;
}

static void test_race(void **state)
{
    pthread_t threads[RACERS];
    ice_catalog *c = open_it(), *other = open_it();
    ice_catalog_change g = create("t", "0");
    assert_int_equal(ice_catalog_commit(c, &g, 1, &err), ICE_OK);
    /* Both read 0; one wins. */
    ice_catalog_change one = swap("t", "0", "x"), two = swap("t", "0", "y");
    assert_int_equal(ice_catalog_commit(c, &one, 1, &err), ICE_OK);
    assert_int_equal(ice_catalog_commit(other, &two, 1, &err), ICE_CONFLICT);
    ice_catalog_change back = swap("t", "x", "0");
    assert_int_equal(ice_catalog_commit(other, &back, 1, &err), ICE_OK);
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, racer, (void *)(intptr_t)i), 0);
    for (int i = 0; i < RACERS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    expect(c, "t", "100"); /* RACERS * ROUNDS: no update was lost */
    ice_catalog_close(c);
    ice_catalog_close(other);
}

/* Someone else's transaction is waited for. */
static void *hold(void *arg)
{
    ice_sleep_us(300000);
    sqlite3_exec(arg, "COMMIT", NULL, NULL, NULL);
    return NULL;
}

static void test_busy(void **state)
{
    ice_catalog *c = open_it();
    sqlite3 *db;
    pthread_t t;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(pthread_create(&t, NULL, hold, db), 0);
    ice_catalog_change g = create("t", "0");
    assert_int_equal(ice_catalog_commit(c, &g, 1, &err), ICE_OK);
    pthread_join(t, NULL);
    sqlite3_close(db);
    ice_catalog_close(c);
}

static void test_opening(void **state)
{
    ice_catalog *c;
    assert_int_equal(ice_catalog_open(path, "default", "app", false, false, &c, &err), ICE_NOT_FOUND);
    ice_catalog_close(open_it());
    assert_int_equal(ice_catalog_open(path, "default", "other", false, false, &c, &err), ICE_NOT_FOUND);
    assert_int_equal(ice_catalog_open(path, "default", "app", false, true, &c, &err), ICE_OK);
    ice_catalog_change g = create("t", "0");
    assert_int_equal(ice_catalog_commit(c, &g, 1, &err), ICE_READ_ONLY);
    expect(c, "t", NULL);
    ice_catalog_close(c);
    FILE *f = fopen(path, "wb");
    fputs("this is no database, and long enough to be read as the header of one, which has one hundred "
          "bytes......",
          f);
    fclose(f);
    assert_int_equal(ice_catalog_open(path, "default", "app", true, false, &c, &err), ICE_CORRUPT);
}

/* A catalog of PyIceberg before it had views, and one in WAL mode. */
static void test_other_layouts(void **state)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "PRAGMA journal_mode = WAL; CREATE TABLE iceberg_tables (catalog_name, table_namespace, "
                     "table_name, metadata_location, previous_metadata_location, PRIMARY KEY (catalog_name, "
                     "table_namespace, table_name)); INSERT INTO iceberg_tables VALUES "
                     "('default', 'app', 'old', 'o0', NULL), ('default', 'app', 'broken', NULL, NULL)",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    ice_catalog *c = open_it();
    ice_catalog_change g[] = {create("new", "n0"), swap("old", "o0", "o1")};
    ice_catalog_entry *list;
    ice_str location;
    size_t n;
    assert_int_equal(ice_catalog_commit(c, g, 2, &err), ICE_OK);
    expect(c, "old", "o1");
    assert_int_equal(ice_catalog_load(c, arena, ICE_STR("broken"), &location, &err), ICE_CORRUPT);
    assert_int_equal(ice_catalog_list(c, arena, &list, &n, &err), ICE_CORRUPT);
    ice_catalog_close(c);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(s, 0), "delete");
    sqlite3_finalize(s);
    sqlite3_close(db);
}

static void expect_flushed(ice_catalog *c, int64_t flushed, uint64_t position)
{
    ice_catalog_entry *list;
    size_t n;
    assert_int_equal(ice_catalog_list(c, arena, &list, &n, &err), ICE_OK);
    assert_int_equal(n, 1);
    assert_int_equal(list[0].flushed, flushed);
    assert_int_equal(list[0].position, position);
}

/* What is flushed belongs to a location: nothing is known of one that somebody else set. */
static void test_flushed(void **state)
{
    ice_catalog *c = open_it();
    ice_catalog_change g = create("t", "0"), s = swap("t", "0", "1"), other = swap("t", "1", "2");
    ice_catalog_change rename = {.op = ICE_CAT_RENAME, .name = ICE_STR("t"), .new_name = ICE_STR("u")};
    ice_catalog_change drop = {.op = ICE_CAT_DROP, .name = ICE_STR("u")};
    g.flushed = 7, g.position = 70;
    assert_int_equal(ice_catalog_commit(c, &g, 1, &err), ICE_OK);
    expect_flushed(c, 7, 70);
    s.flushed = 8, s.position = UINT64_C(1) << 40;
    assert_int_equal(ice_catalog_commit(c, &s, 1, &err), ICE_OK);
    assert_int_equal(ice_catalog_commit(c, &rename, 1, &err), ICE_OK);
    expect_flushed(c, 8, UINT64_C(1) << 40);
    other.name = ICE_STR("u");
    assert_int_equal(ice_catalog_commit(c, &other, 1, &err), ICE_OK);
    expect_flushed(c, 0, 0);
    assert_int_equal(ice_catalog_commit(c, &drop, 1, &err), ICE_OK);
    assert_int_equal(ice_catalog_commit(c, &g, 1, &err), ICE_OK);
    expect_flushed(c, 7, 70);
    ice_catalog_close(c);
}

static void test_fork(void **state)
{
    ice_catalog *c = open_it();
    ice_catalog_change g = create("t", "0");
    assert_int_equal(ice_catalog_commit(c, &g, 1, &err), ICE_OK);
    pid_t child = fork();
    if (child == 0) {
        ice_catalog_change s = swap("t", "0", "child");
        ice_catalog_after_fork(c);
        _exit(ice_catalog_commit(c, &s, 1, &err) == ICE_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect(c, "t", "child");
    ice_catalog_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_views, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_or_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_race, setup, teardown),
        cmocka_unit_test_setup_teardown(test_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_opening, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_layouts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flushed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
