#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/misc.h"
#include "io/io.h"

static char root[64];
static ice_arena *arena;
static ice_store *store;
static ice_error err;

static void put(const char *key, const char *body)
{
    assert_int_equal(store->m->put(store, ice_str_c(key), ice_str_c(body), &err), ICE_OK);
}

static ice_code get(const char *key, ice_buf *out) { return store->m->get(store, ice_str_c(key), out, &err); }

static void assert_body(const char *key, const char *body)
{
    ice_buf b = {0};

    ice_buf_puts(&b, "what was there before goes");
    assert_int_equal(get(key, &b), ICE_OK);
    assert_true(ice_str_eqc(ice_buf_str(&b), body));
    ice_buf_free(&b);
}

/* Keys under a prefix, joined by blanks. */
static const char *list(const char *prefix)
{
    ice_str *keys;
    ice_buf b = {0};
    size_t n;
    const char *text;

    assert_int_equal(store->m->list(store, ice_str_c(prefix), arena, &keys, &n, &err), ICE_OK);
    for (size_t i = 0; i < n; i++)
        ice_buf_printf(&b, "%s%.*s", i ? " " : "", ICE_PRI(keys[i]));
    text = ice_arena_str(arena, (ice_str){b.data ? b.data : "", b.len}).ptr;
    ice_buf_free(&b);
    return text;
}

static void test_put_and_get(void **state)
{
    uint64_t size;
    ice_buf b = {0};

    put("a/b/c.json", "first");
    assert_body("a/b/c.json", "first");
    put("a/b/c.json", "second, longer");
    assert_body("a/b/c.json", "second, longer");
    put("a/b/c.json", "");
    assert_body("a/b/c.json", "");
    put("a/b/c.json", "12345");
    assert_int_equal(store->m->size(store, ICE_STR("a/b/c.json"), &size, &err), ICE_OK);
    assert_int_equal(size, 5);
    assert_int_equal(get("a/none", &b), ICE_NOT_FOUND);
    assert_int_equal(store->m->size(store, ICE_STR("a/none"), &size, &err), ICE_NOT_FOUND);
    assert_int_equal(get("a/b", &b), ICE_IO);
    ice_buf_free(&b);
}

static void test_put_if_absent_has_one_winner(void **state)
{
    int winners = 0;

    for (int i = 0; i < 8; i++)
        if (fork() == 0) {
            ice_code rc = store->m->put_if_absent(store, ICE_STR("race/x"), ICE_STR("won"), NULL);

            _exit(rc == ICE_OK ? 1 : rc == ICE_EXISTS ? 0 : 2);
        }
    for (int i = 0; i < 8; i++) {
        int status;

        assert_true(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) < 2);
        winners += WEXITSTATUS(status);
    }
    assert_int_equal(winners, 1);
    assert_int_equal(store->m->put_if_absent(store, ICE_STR("race/x"), ICE_STR("late"), &err), ICE_EXISTS);
    assert_body("race/x", "won");
    assert_string_equal(list("race/"), "race/x");
}

static void test_list_is_sorted_and_by_prefix(void **state)
{
    put("l/b", "");
    put("l/a/z", "");
    put("l/a.txt", "");
    put("l/ab/c", "");
    put("m", "");
    assert_string_equal(list("l/"), "l/a.txt l/a/z l/ab/c l/b");
    assert_string_equal(list("l/a"), "l/a.txt l/a/z l/ab/c");
    assert_string_equal(list("l/a/"), "l/a/z");
    assert_string_equal(list("l/a/z"), "l/a/z");
    assert_string_equal(list("none/"), "");
    assert_string_equal(list("m"), "m");
    assert_int_equal(store->m->remove(store, ICE_STR("l/b"), &err), ICE_OK);
    assert_int_equal(store->m->remove(store, ICE_STR("l/b"), &err), ICE_OK);
    assert_int_equal(store->m->remove(store, ICE_STR("no/such"), &err), ICE_OK);
    assert_string_equal(list("l/b"), "");
}

static void test_keys_stay_inside(void **state)
{
    const char *bad[] = {"", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a/."};
    ice_buf b = {0};
    ice_str *keys, path;
    size_t n;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(get(bad[i], &b), ICE_CONFIG);
        assert_int_equal(store->m->put(store, ice_str_c(bad[i]), ICE_STR("x"), &err), ICE_CONFIG);
        assert_int_equal(store->m->remove(store, ice_str_c(bad[i]), &err), ICE_CONFIG);
        assert_int_equal(ice_store_path(store, arena, ice_str_c(bad[i]), &path, &err), ICE_CONFIG);
    }
    assert_int_equal(store->m->get(store, (ice_str){"a\0b", 3}, &b, &err), ICE_CONFIG);
    assert_int_equal(store->m->list(store, ICE_STR("../x"), arena, &keys, &n, &err), ICE_CONFIG);
    assert_int_equal(store->m->list(store, ICE_STR("/"), arena, &keys, &n, &err), ICE_CONFIG);
    ice_buf_free(&b);
}

static void test_locations(void **state)
{
    ice_str location, key, path;
    char text[256];

    assert_int_equal(ice_store_location(store, arena, ICE_STR("db/t/x.avro"), &location, &err), ICE_OK);
    snprintf(text, sizeof text, "file://%s/db/t/x.avro", root);
    assert_string_equal(location.ptr, text);
    assert_int_equal(ice_store_key(store, arena, location, &key, &err), ICE_OK);
    assert_string_equal(key.ptr, "db/t/x.avro");
    assert_int_equal(ice_store_path(store, arena, key, &path, &err), ICE_OK);
    assert_string_equal(path.ptr, text + 7);
    assert_int_equal(ice_store_key(store, arena, path, &key, &err), ICE_OK);
    snprintf(text, sizeof text, "file:%s/k", root);
    assert_int_equal(ice_store_key(store, arena, ice_str_c(text), &key, &err), ICE_OK);
    assert_string_equal(key.ptr, "k");
}

static void test_locations_outside_are_refused(void **state)
{
    const char *forms[] = {"file:///etc/passwd", "/etc/passwd", "s3://bucket/x", "%s/../x", "file://%s/a/../../x", "%sx/y", "%s",
                           "%s/", "", "x", "file://host%s/x"};
    ice_str key;
    char text[256];

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const char *hole = strstr(forms[i], "%s");

        if (hole)
            snprintf(text, sizeof text, "%.*s%s%s", (int)(hole - forms[i]), forms[i], root, hole + 2);
        else
            snprintf(text, sizeof text, "%s", forms[i]);
        assert_int_equal(ice_store_key(store, arena, ice_str_c(text), &key, &err), ICE_CORRUPT);
    }
}

static void test_opening(void **state)
{
    char path[128];
    ice_store *s;

    snprintf(path, sizeof path, "file://%s//new/./deep/", root);
    assert_int_equal(ice_store_open(path, false, false, &s, &err), ICE_NOT_FOUND);
    assert_non_null(strstr(err.message, "no warehouse at"));
    assert_int_equal(ice_store_open(path, true, false, &s, &err), ICE_OK);
    assert_true(s->root.ptr[s->root.len] == '\0' && strcmp(s->root.ptr + strlen(root), "/new/deep") == 0);
    ice_store_close(s);
    assert_int_equal(ice_store_open(path, false, true, &s, &err), ICE_OK);
    ice_store_close(s);
    ice_store_close(NULL);
    assert_int_equal(ice_store_open("relative/path", true, false, &s, &err), ICE_CONFIG);
    assert_int_equal(ice_store_open("s3://user:secret@bucket", true, false, &s, &err), ICE_CONFIG);
    assert_null(strstr(err.message, "secret"));
    assert_int_equal(ice_store_open("/", true, false, &s, &err), ICE_CONFIG);
    assert_int_equal(ice_store_open("/a/../b", true, false, &s, &err), ICE_CONFIG);
    assert_int_equal(ice_store_open(NULL, true, false, &s, &err), ICE_CONFIG);
    put("file", "");
    snprintf(path, sizeof path, "%s/file", root);
    assert_int_equal(ice_store_open(path, false, false, &s, &err), ICE_CONFIG);
}

static void test_a_foreign_writer(void **state)
{
    ice_str path;
    FILE *f;

    assert_int_equal(store->m->make_parent(store, ICE_STR("x/y/z.parquet"), &err), ICE_OK);
    assert_int_equal(store->m->make_parent(store, ICE_STR("x/y/z.parquet"), &err), ICE_OK);
    assert_int_equal(ice_store_path(store, arena, ICE_STR("x/y/z.parquet"), &path, &err), ICE_OK);
    f = fopen(path.ptr, "w");
    assert_non_null(f);
    fputs("rows", f);
    fclose(f);
    assert_int_equal(store->m->sync(store, ICE_STR("x/y/z.parquet"), &err), ICE_OK);
    assert_int_equal(store->m->sync(store, ICE_STR("x/y/none"), &err), ICE_NOT_FOUND);
    assert_body("x/y/z.parquet", "rows");
}

/* Each system call fails once: the object is the old one or the new one, and nothing is left lying about. */
static void test_torture_put(void **state)
{
    ice_buf b = {0};
    long k;

    for (k = 1; k < 100; k++) {
        ice_code rc;

        put("t/deep/x", "old");
        ice_fault_arm("*", k, false);
        rc = store->m->put(store, ICE_STR("t/deep/x"), ICE_STR("new"), &err);
        if (ice_fault_hits() < k)
            break;
        ice_fault_disarm();
        assert_int_not_equal(rc, ICE_OK);
        assert_int_equal(rc, err.code);
        assert_int_equal(get("t/deep/x", &b), ICE_OK);
        assert_true(ice_str_eqc(ice_buf_str(&b), rc == ICE_OUTCOME_UNKNOWN ? "new" : "old"));
        assert_string_equal(list("t/"), "t/deep/x");
    }
    ice_fault_disarm();
    assert_true(k > 4);
    ice_buf_free(&b);
}

static void test_torture_put_if_absent(void **state)
{
    long k;

    for (k = 1; k < 100; k++) {
        char key[32];
        ice_code rc;

        snprintf(key, sizeof key, "u%ld/a/b/x", k);
        ice_fault_arm("*", k, false);
        rc = store->m->put_if_absent(store, ice_str_c(key), ICE_STR("new"), &err);
        if (ice_fault_hits() < k)
            break;
        ice_fault_disarm();
        assert_int_not_equal(rc, ICE_OK);
        assert_int_not_equal(rc, ICE_EXISTS);
        if (rc == ICE_OUTCOME_UNKNOWN)
            assert_body(key, "new");
        else
            assert_string_equal(list(key), "");
    }
    ice_fault_disarm();
    assert_true(k > 6);
}

static void test_torture_get(void **state)
{
    ice_buf b = {0};
    long k;

    put("g", "body");
    for (k = 1; k < 100; k++) {
        ice_code rc;

        ice_buf_free(&b);
        ice_fault_arm("*", k, false);
        rc = get("g", &b);
        if (ice_fault_hits() < k)
            break;
        assert_int_not_equal(rc, ICE_OK);
    }
    ice_fault_disarm();
    assert_body("g", "body");
    ice_buf_free(&b);
}

static void test_a_killed_writer_leaves_the_old_object(void **state)
{
    int status;

    put("k", "old");
    if (fork() == 0) {
        ice_fault_arm("io.rename", 1, true);
        (void)!store->m->put(store, ICE_STR("k"), ICE_STR("new"), NULL);
        _exit(0);
    }
    assert_true(wait(&status) > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_body("k", "old");
    assert_string_equal(list("k"), "k");
}

/* Files of a directory as "<key>:<bytes>", temporary ones with a star. */
static const char *scan(const char *dir)
{
    ice_store_file *files;
    ice_buf b = {0};
    size_t n;
    const char *text;

    assert_int_equal(store->m->scan(store, ice_str_c(dir), arena, &files, &n, &err), ICE_OK);
    for (size_t i = 0; i < n; i++) {
        bool tmp = files[i].temporary;

        assert_true(files[i].mtime_us > 0 && files[i].mtime_us <= ice_clock_us() + 1000000);
        ice_buf_printf(&b, "%s%.*s:%d%s", i ? " " : "", tmp ? 7 : (int)files[i].key.len, files[i].key.ptr,
                       (int)files[i].bytes, tmp ? "*" : "");
    }
    text = ice_arena_str(arena, (ice_str){b.data ? b.data : "", b.len}).ptr;
    ice_buf_free(&b);
    return text;
}

static void link_to(const char *target, const char *name)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(symlink(target, path), 0);
}

static void test_scan_and_remove_stay_inside(void **state)
{
    char outside[80], path[120];
    int fd;

    snprintf(outside, sizeof outside, "%s-outside", root);
    assert_int_equal(mkdir(outside, 0777), 0);
    snprintf(path, sizeof path, "%s/precious", outside);
    fd = creat(path, 0666);
    assert_true(fd >= 0);
    close(fd);
    put("s/a", "1");
    put("s/d/b", "22");
    put("s/d/e/c", "333");
    link_to(outside, "s/out");
    link_to(path, "s/link");
    link_to(outside, "linked");
    snprintf(path, sizeof path, "%s/s/.tmp-0123456789abcdef", root);
    fd = creat(path, 0666);
    assert_true(fd >= 0);
    close(fd);

    assert_string_equal(scan("s"), "s/.tmp-:0* s/a:1 s/d/b:2 s/d/e/c:3");
    assert_string_equal(scan("s/d"), "s/d/b:2 s/d/e/c:3");
    assert_string_equal(scan("none"), "");
    assert_string_equal(scan("s/a"), "");
    assert_string_equal(scan("linked"), "");
    assert_string_equal(scan("s/out"), "");

    assert_int_equal(store->m->remove(store, ICE_STR("s/none"), &err), ICE_OK);
    assert_int_equal(store->m->remove(store, ICE_STR("s/none/x"), &err), ICE_OK);
    assert_int_not_equal(store->m->remove(store, ICE_STR("s/d"), &err), ICE_OK);
    (void)!store->m->remove(store, ICE_STR("s/out/precious"), &err);
    (void)!store->m->remove(store, ICE_STR("linked/precious"), &err);
    snprintf(path, sizeof path, "%s/precious", outside);
    assert_int_equal(access(path, F_OK), 0);

    assert_int_equal(store->m->remove_dir(store, ICE_STR("s/d"), &err), ICE_OK); /* not empty: left */
    assert_int_equal(store->m->remove_dir(store, ICE_STR("s/none"), &err), ICE_OK);
    assert_int_equal(store->m->remove(store, ICE_STR("s/d/e/c"), &err), ICE_OK);
    assert_int_equal(store->m->remove_dir(store, ICE_STR("s/d/e"), &err), ICE_OK);
    assert_string_equal(scan("s/d"), "s/d/b:2");
    snprintf(path, sizeof path, "%s/s/d/e", root);
    assert_int_not_equal(access(path, F_OK), 0);
    snprintf(path, sizeof path, "rm -r %s", outside);
    assert_int_equal(system(path), 0);
}

static int open_store(void **state)
{
    snprintf(root, sizeof root, "%s/ice_test_io_XXXXXX", P_tmpdir);
    arena = ice_arena_create();
    return mkdtemp(root) && arena && ice_store_open(root, true, false, &store, &err) == ICE_OK ? 0 : -1;
}

static int close_store(void **state)
{
    char command[128];

    ice_store_close(store);
    ice_arena_free(arena);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_get),
        cmocka_unit_test(test_put_if_absent_has_one_winner),
        cmocka_unit_test(test_list_is_sorted_and_by_prefix),
        cmocka_unit_test(test_scan_and_remove_stay_inside),
        cmocka_unit_test(test_keys_stay_inside),
        cmocka_unit_test(test_locations),
        cmocka_unit_test(test_locations_outside_are_refused),
        cmocka_unit_test(test_opening),
        cmocka_unit_test(test_a_foreign_writer),
        cmocka_unit_test(test_torture_put),
        cmocka_unit_test(test_torture_put_if_absent),
        cmocka_unit_test(test_torture_get),
        cmocka_unit_test(test_a_killed_writer_leaves_the_old_object),
    };

    return cmocka_run_group_tests(tests, open_store, close_store);
}
