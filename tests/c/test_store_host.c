/* What the processes of a host claim of a budget: once for all of them, and no longer than they live. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/host.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s/ice_host_XXXXXX", P_tmpdir);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static ice_host *open_host(void)
{
    ice_host *h = NULL;
    assert_int_equal(ice_host_open(dir, &h, NULL), ICE_OK);
    return h;
}

static bool claim(ice_host *h, uint64_t name, uint64_t bytes, uint64_t budget)
{
    return ice_host_claim(h, &(ice_host_file){name, bytes}, 1, budget);
}

/* Two handles are as two processes: each has a slot of its own. */
static void counted_once(void **state)
{
    (void)state;
    ice_host *a = open_host(), *b = open_host();
    assert_true(claim(a, 1, 60, 100));
    assert_true(claim(b, 1, 60, 100)); /* the same pages */
    assert_int_equal(ice_host_claimed(a), 60);
    assert_false(claim(b, 2, 41, 100));
    assert_true(claim(b, 2, 40, 100));
    assert_int_equal(ice_host_claimed(a), 100);
    ice_host_release(a, 1);
    assert_int_equal(ice_host_claimed(a), 100); /* the other still has it */
    ice_host_release(b, 1);
    assert_int_equal(ice_host_claimed(a), 40);
    ice_host_unref(b);
    assert_int_equal(ice_host_claimed(a), 0);
    ice_host_unref(a);
}

static void all_or_none(void **state)
{
    (void)state;
    ice_host *a = open_host(), *b = open_host();
    const ice_host_file files[] = {{1, 30}, {2, 30}, {3, 41}};
    assert_false(ice_host_claim(a, files, 3, 100));
    assert_int_equal(ice_host_claimed(a), 0);
    assert_true(ice_host_claim(a, files, 2, 100));
    assert_false(claim(b, 3, 41, 100));
    assert_true(ice_host_claim(b, files, 2, 50)); /* nothing more is needed for them */
    ice_host_unref(a);
    ice_host_unref(b);
}

/* More files than there is room for in the table; the claims made stay exact. */
static void many_files(void **state)
{
    (void)state;
    ice_host *h = open_host();
    uint64_t n = 0;
    while (n < 20000 && claim(h, n * 8192 + 5, 1, UINT64_MAX)) /* all begin at one place */
        n += n < 100 ? 1 : 1000;
    for (uint64_t i = 0; i < 100; i++)
        assert_true(claim(h, i * 8192 + 5, 1, UINT64_MAX));
    uint64_t before = ice_host_claimed(h), i = 1;
    while (claim(h, i * 7919, 1, UINT64_MAX))
        i++;
    assert_in_range(i + before, 8000, 8300);
    for (uint64_t k = 1; k < i; k++)
        ice_host_release(h, k * 7919);
    assert_int_equal(ice_host_claimed(h), before);
    assert_true(claim(h, 7919, 1, UINT64_MAX));
    ice_host_unref(h);
}

static void in_a_child(void (*work)(ice_host *), ice_host *parent, int out)
{
    ice_host_after_fork(parent);
    ice_host_unref(parent);
    ice_host *h = NULL;
    if (ice_host_open(dir, &h, NULL) != ICE_OK)
        _exit(1);
    work(h);
    if (write(out, "x", 1) != 1)
        _exit(2);
    pause();
    _exit(3);
}

static void take(ice_host *h)
{
    ice_host_add_engine(h);
    if (!claim(h, 9, 70, 100))
        _exit(4);
}

/* Killed, it neither tidies up nor keeps anything. */
static void the_dead_hold_nothing(void **state)
{
    (void)state;
    int ends[2];
    char byte;
    ice_host *h = open_host();
    assert_int_equal(ice_host_engines(h), 1);
    ice_host_add_engine(h);
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        in_a_child(take, h, ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(ice_host_engines(h), 2);
    assert_int_equal(ice_host_claimed(h), 70);
    assert_false(claim(h, 10, 50, 100));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_true(claim(h, 10, 50, 100));
    assert_int_equal(ice_host_claimed(h), 50);
    assert_int_equal(ice_host_engines(h), 1);
    close(ends[0]);
    close(ends[1]);
    ice_host_unref(h);
}

/* Where there is no such file a process counts for itself. */
/* Files in use: known to others, until the user says otherwise or is gone. */
static void in_use(void **state)
{
    (void)state;
    ice_host *a = open_host(), *b = open_host(), *c = open_host();
    uint64_t name = UINT64_MAX;
    assert_false(ice_host_uses(b, name));
    ice_host_use(a, name);
    ice_host_use(c, name);
    assert_true(ice_host_uses(b, name));
    assert_false(ice_host_uses(b, name >> 8));
    ice_host_unuse(a, name);
    assert_true(ice_host_uses(b, name));
    ice_host_unref(c);
    assert_false(ice_host_uses(b, name));
    ice_host_unref(a);
    ice_host_unref(b);
}

static void alone(void **state)
{
    (void)state;
    ice_host *a = NULL, *b = NULL;
    assert_int_equal(ice_host_open("/nowhere/at/all", &a, NULL), ICE_OK);
    assert_int_equal(ice_host_open("/nowhere/at/all", &b, NULL), ICE_OK);
    assert_true(ice_host_uses(a, 1)); /* nobody knows */
    assert_true(claim(a, 1, 60, 100));
    assert_false(claim(a, 2, 60, 100));
    assert_true(claim(b, 2, 60, 100));
    ice_host_unref(a);
    ice_host_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counted_once),          cmocka_unit_test(all_or_none), cmocka_unit_test(many_files),
        cmocka_unit_test(the_dead_hold_nothing), cmocka_unit_test(alone), cmocka_unit_test(in_use),
    };
    return cmocka_run_group_tests_name("store_host", tests, make_dir, remove_dir);
}
