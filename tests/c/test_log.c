/* The commit log used by one process: appending, reading, reopening, cutting, refusing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log/log.h"
#include "log/log_int.h"

static ice_error err;
static char root[256], dir[300];

#define ok(call)                                                                                             \
    do {                                                                                                     \
        if ((call) != ICE_OK)                                                                                \
            fail_msg("%s: %s", #call, err.message);                                                          \
    } while (0)
#define fails(code_, call) assert_string_equal(ice_code_name(call), ice_code_name(code_))

static const ice_log_options usual = {.create = true, .sync = true};
static const ice_log_options small = {.create = true, .sync = true, .segment_bytes = 4096};

static int setup(void **state)
{
    snprintf(root, sizeof root, "%s/ice-log-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(root))
        return -1;
    snprintf(dir, sizeof dir, "%s/a/log", root);
    return 0;
}

static int teardown(void **state)
{
    char cmd[300];

    ice_fault_disarm();
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", root);
    return system(cmd);
}

static ice_log *open_log(const ice_log_options *o)
{
    ice_log *log;

    ok(ice_log_open(dir, o, &log, &err));
    return log;
}

/* Record number i: text of a length that varies. */
static ice_str body_of(long i, char buf[512])
{
    int n = snprintf(buf, 512, "record %ld ", i);

    memset(buf + n, 'a' + (int)(i % 26), (size_t)(i * 37 % 400));
    return (ice_str){buf, (size_t)n + (size_t)(i * 37 % 400)};
}

static uint64_t append(ice_log *log, long i)
{
    ice_log_state state;
    char buf[512];
    int64_t commit;
    uint64_t end;

    ok(ice_log_begin(log, &state, &err));
    ok(ice_log_append(log, (uint64_t)i, body_of(i, buf), &commit, &end, &err));
    assert_true(end > state.end);
    assert_true(commit > state.last_commit);
    return end;
}

static uint64_t generation_of(ice_log *log)
{
    ice_log_state s;

    ice_log_get_state(log, &s);
    return s.generation;
}

static ice_code sync_to(ice_log *log, uint64_t end) { return ice_log_sync(log, end, generation_of(log), &err); }

static uint64_t append_many(ice_log *log, long from, long to)
{
    uint64_t end = 0;

    for (long i = from; i < to; i++)
        end = append(log, i);
    ok(sync_to(log, end));
    return end;
}

/* Reads from `position` and finds records from..to-1 and nothing after. */
static void expect_from(ice_log *log, uint64_t position, long from, long to)
{
    ice_log_cursor *c;
    ice_log_record r;
    int64_t last = 0;
    char buf[512];
    bool found;

    ok(ice_log_cursor_open(log, position, &c, &err));
    for (long i = from; i < to; i++) {
        ok(ice_log_read(c, UINT64_MAX, &r, &found, &err));
        assert_true(found);
        assert_int_equal(r.txid, i);
        assert_true(ice_str_eq(r.body, body_of(i, buf)));
        assert_true(r.commit_time > last);
        last = r.commit_time;
    }
    ok(ice_log_read(c, UINT64_MAX, &r, &found, &err));
    assert_false(found);
    ice_log_cursor_close(c);
}

static char *segment_path(uint64_t first)
{
    static char path[400];

    snprintf(path, sizeof path, "%s/%016llx.log", dir, (unsigned long long)first);
    return path;
}

static int count_segments(void)
{
    ice__segments all = {0};
    int fd = open(dir, O_RDONLY | O_DIRECTORY), n;

    ok(ice__segments_list(fd, dir, false, &all, &err));
    close(fd);
    n = (int)all.n;
    free(all.first);
    return n;
}

static void remove_shared(void)
{
    char path[400];

    snprintf(path, sizeof path, "%s/shared", dir);
    assert_int_equal(unlink(path), 0);
}

static void poke(uint64_t first, uint64_t position, const void *p, size_t n)
{
    int fd = open(segment_path(first), O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, n, (off_t)ice__offset(first, position)), (ssize_t)n);
    close(fd);
}

/* ---- */

static void test_append_and_read(void **state)
{
    ice_log *log = open_log(&usual);
    ice_log_state s;
    uint64_t end;

    ice_log_get_state(log, &s);
    assert_int_equal(s.end, 0);
    expect_from(log, 0, 0, 0);
    end = append(log, 0);
    ice_log_get_state(log, &s);
    assert_int_equal(s.end, end);
    assert_int_equal(s.durable, 0);
    ok(sync_to(log, end));
    ice_log_get_state(log, &s);
    assert_int_equal(s.durable, end);
    assert_int_equal(s.durable_commit, s.last_commit);
    append_many(log, 1, 200);
    expect_from(log, 0, 0, 200);
    expect_from(log, end, 1, 200);
    fails(ICE_MISUSE, sync_to(log, end * 1000));
    ice_log_close(log);
}

static void test_cursor_goes_on_and_limits(void **state)
{
    ice_log *log = open_log(&small);
    uint64_t first = append(log, 0), second = append(log, 1);
    ice_log_cursor *c;
    ice_log_record r;
    bool found;

    ok(ice_log_cursor_open(log, 0, &c, &err));
    ok(ice_log_read(c, first - 1, &r, &found, &err));
    assert_false(found);
    ok(ice_log_read(c, first, &r, &found, &err));
    assert_true(found);
    ok(ice_log_read(c, second - 1, &r, &found, &err));
    assert_false(found);
    ok(ice_log_read(c, UINT64_MAX, &r, &found, &err));
    assert_true(found && r.txid == 1);
    for (long i = 2; i < 100; i++) { /* over many rotations, read as they come */
        append(log, i);
        ok(ice_log_read(c, UINT64_MAX, &r, &found, &err));
        assert_true(found && r.txid == (uint64_t)i);
    }
    ice_log_close(log);
    ice_log_cursor_close(c); /* after its log */
}

static void test_abort_writes_nothing(void **state)
{
    ice_log *log = open_log(&usual);
    ice_log_state before, after;

    append(log, 0);
    ok(ice_log_begin(log, &before, &err));
    ice_log_abort(log);
    ice_log_get_state(log, &after);
    assert_int_equal(before.end, after.end);
    append_many(log, 1, 3);
    expect_from(log, 0, 0, 3);
    fails(ICE_MISUSE, ice_log_append(log, 1, ICE_STR("x"), &(int64_t){0}, &(uint64_t){0}, &err));
    ice_log_close(log);
}

static void test_reopen(void **state)
{
    long n = 0;

    for (int round = 0; round < 6; round++) {
        ice_log *log = open_log(round % 2 ? &small : &usual);

        expect_from(log, 0, 0, n);
        append_many(log, n, n + 20);
        n += 20;
        ice_log_close(log);
        if (round % 3 == 2)
            remove_shared();
    }
}

static void test_missing_and_read_only(void **state)
{
    ice_log_options o = {.sync = true};
    ice_log_state s;
    ice_log *log;

    fails(ICE_NOT_FOUND, ice_log_open(dir, &o, &log, &err));
    log = open_log(&usual);
    append_many(log, 0, 5);
    ice_log_close(log);
    o.read_only = true;
    ok(ice_log_open(dir, &o, &log, &err));
    expect_from(log, 0, 0, 5);
    fails(ICE_READ_ONLY, ice_log_begin(log, &s, &err));
    ice_log_close(log);
}

static void test_two_handles(void **state)
{
    ice_log *a = open_log(&usual), *b = open_log(&usual);
    ice_log_options o = usual;
    ice_log *c;
    ice_log_state s;

    for (long i = 0; i < 50; i++)
        append(i % 2 ? a : b, i);
    ice_log_get_state(a, &s);
    ok(sync_to(a, s.end));
    expect_from(b, 0, 0, 50);
    o.sync = false;
    fails(ICE_CONFIG, ice_log_open(dir, &o, &c, &err));
    assert_null(c);
    ice_log_published(b);
    ice_log_get_state(a, &s);
    ice_log_close(a);
    ice_log_close(b);
}

static void test_shared_replaced_while_open(void **state)
{
    ice_log *a = open_log(&usual), *b;

    append_many(a, 0, 3);
    remove_shared();
    fails(ICE_CORRUPT, ice_log_open(dir, &usual, &b, &err));
    ice_log_close(a);
    b = open_log(&usual);
    expect_from(b, 0, 0, 3);
    ice_log_close(b);
}

static void test_torn_tail_is_cut(void **state)
{
    for (int how = 0; how < 4; how++) {
        ice_log *log = open_log(&usual);
        ice_log_state s;
        uint64_t last;

        ice_log_get_state(log, &s);
        if (s.end == 0)
            append_many(log, 0, 10);
        ice_log_get_state(log, &s);
        last = s.end;
        append(log, 10); /* not synced: no record claims it durable */
        append(log, 11);
        ice_log_close(log);
        remove_shared();
        if (how == 0)
            assert_int_equal(truncate(segment_path(0), (off_t)ice__offset(0, last + 50)), 0);
        else if (how == 1)
            poke(0, last + 60, "X", 1);
        else if (how == 2)
            poke(0, last, "\0\0\0\0\0\0\0\0", 8);
        else
            poke(0, last + 12, "ZZZZ", 4); /* the predecessor's crc */
        log = open_log(&usual);
        expect_from(log, 0, 0, 10);
        append_many(log, 10, 12);
        ice_log_close(log);
        log = open_log(&usual);
        expect_from(log, 0, 0, 12);
        ice_log_close(log);
        remove_shared();
        assert_int_equal(truncate(segment_path(0), (off_t)ice__offset(0, last)), 0);
    }
}

static void test_lost_record_is_corruption(void **state)
{
    ice_log *log = open_log(&usual);
    uint64_t ends[10];

    for (long i = 0; i < 10; i++)
        ends[i] = append_many(log, i, i + 1);
    ice_log_close(log);
    remove_shared();
    poke(0, ends[4] + 45, "!!", 2);
    fails(ICE_CORRUPT, ice_log_open(dir, &usual, &log, &err));
    assert_non_null(strstr(err.message, "later record"));
    assert_non_null(strstr(err.message, "position"));
    /* Zeros are a lost page, not an end. */
    for (uint64_t at = ends[4]; at < ends[5]; at += 8)
        poke(0, at, "\0\0\0\0\0\0\0\0", 8);
    fails(ICE_CORRUPT, ice_log_open(dir, &usual, &log, &err));
}

static void test_shared_knows_what_was_durable(void **state)
{
    ice_log *log = open_log(&usual);
    uint64_t end = append_many(log, 0, 10);

    ice_log_close(log);
    assert_int_equal(truncate(segment_path(0), (off_t)ice__offset(0, end - 8)), 0);
    fails(ICE_CORRUPT, ice_log_open(dir, &usual, &log, &err));
    assert_non_null(strstr(err.message, "shared file"));
    remove_shared();
    log = open_log(&usual);
    expect_from(log, 0, 0, 9);
    ice_log_close(log);
}

static void test_reader_sees_corruption(void **state)
{
    ice_log *log = open_log(&usual);
    ice_log_cursor *c;
    ice_log_record r;
    bool found;

    append_many(log, 0, 3);
    poke(0, 44, "?", 1);
    ok(ice_log_cursor_open(log, 0, &c, &err));
    fails(ICE_CORRUPT, ice_log_read(c, UINT64_MAX, &r, &found, &err));
    assert_non_null(strstr(err.message, "checksum"));
    ice_log_cursor_close(c);
    ice_log_close(log);
}

/* Reads all there is: the records that are as they were appended, and what ends the reading. */
static ice_code read_through(long *good)
{
    ice_log *log = NULL;
    ice_log_cursor *c = NULL;
    ice_log_record r;
    char buf[512];
    bool found = true;
    ice_code rc = ice_log_open(dir, &usual, &log, &err);

    *good = 0;
    if (rc == ICE_OK)
        rc = ice_log_cursor_open(log, 0, &c, &err);
    while (rc == ICE_OK && found)
        if ((rc = ice_log_read(c, UINT64_MAX, &r, &found, &err)) == ICE_OK && found) {
            assert_int_equal(r.txid, *good);
            assert_true(ice_str_eq(r.body, body_of(*good, buf)));
            ++*good;
        }
    ice_log_cursor_close(c);
    ice_log_close(log);
    return rc;
}

static void flip(uint64_t position, int bit)
{
    int fd = open(segment_path(0), O_RDWR);
    off_t at = (off_t)ice__offset(0, position);
    uint8_t b;

    assert_int_equal(pread(fd, &b, 1, at), 1);
    b ^= (uint8_t)(1 << bit);
    assert_int_equal(pwrite(fd, &b, 1, at), 1);
    close(fd);
}

/* Each bit of each record: an error, whichever record it is, while the shared file knows that it was durable. */
static void test_every_bit_is_noticed(void **state)
{
    ice_log *log = open_log(&usual);
    uint64_t end = append_many(log, 0, 2);
    long good;

    ice_log_close(log);
    ok(read_through(&good));
    assert_int_equal(good, 2);
    for (uint64_t at = 0; at < end; at++)
        for (int bit = 0; bit < 8; bit++) {
            flip(at, bit);
            ice_code rc = read_through(&good);
            if (rc != ICE_CORRUPT)
                fail_msg("bit %d of position %llu: %s", bit, (unsigned long long)at, ice_code_name(rc));
            flip(at, bit);
        }
    ok(read_through(&good));
    assert_int_equal(good, 2);
}

/* Without it: an error before the last record, and that one, which may be a torn tail, is gone as a whole. */
static void test_every_bit_without_the_shared_file(void **state)
{
    enum { N = 3 };
    uint64_t ends[N] = {[N - 1] = 1}, last = 0; /* known once there is a log */
    long good;

    for (uint64_t at = 0; at < ends[N - 1]; at++) {
        if (at >= last) { /* a tail was cut off: a new log */
            assert_int_equal(teardown(state), 0);
            assert_int_equal(setup(state), 0);
            ice_log *log = open_log(&usual);
            for (long i = 0; i < N; i++)
                ends[i] = append_many(log, i, i + 1);
            ice_log_close(log);
            last = ends[N - 2];
        }
        remove_shared();
        flip(at, (int)(at % 8));
        ice_code rc = read_through(&good);
        if (at < last ? rc != ICE_CORRUPT : rc != ICE_OK || good != N - 1)
            fail_msg("position %llu: %s after %ld records", (unsigned long long)at, ice_code_name(rc), good);
        if (at >= last)
            continue;
        flip(at, (int)(at % 8));
        ok(read_through(&good));
    }
}

static void test_damaged_and_foreign_segments(void **state)
{
    ice_log *log = open_log(&small);
    char keep[420];

    append_many(log, 0, 60);
    ice_log_close(log);
    assert_true(count_segments() > 2);
    remove_shared();
    snprintf(keep, sizeof keep, "%s.away", segment_path(0));
    assert_int_equal(rename(segment_path(0), keep), 0);
    log = open_log(&small); /* as after a trim */
    fails(ICE_NOT_FOUND, ice_log_cursor_open(log, 0, &(ice_log_cursor *){0}, &err));
    ice_log_close(log);
    assert_int_equal(rename(keep, segment_path(0)), 0);
    assert_int_equal(truncate(segment_path(0), 1000), 0);
    fails(ICE_CORRUPT, ice_log_open(dir, &small, &log, &err));
    assert_int_equal(truncate(segment_path(0), 10), 0);
    fails(ICE_CORRUPT, ice_log_open(dir, &small, &log, &err));
}

static void test_newer_version_is_refused(void **state)
{
    ice_log *log = open_log(&usual);
    uint32_t version = 7;
    int fd;

    ice_log_close(log);
    fd = open(segment_path(0), O_RDWR);
    assert_int_equal(pwrite(fd, &version, 4, 8), 4);
    close(fd);
    fails(ICE_UNSUPPORTED, ice_log_open(dir, &usual, &log, &err));
}

static void test_failed_sync_poisons(void **state)
{
    ice_log *a = open_log(&usual), *b = open_log(&usual), *c;
    ice_log_state s;
    uint64_t durable = append_many(a, 0, 5), end, generation = generation_of(a);
    ice_log_cursor *cursor, *ahead;
    ice_log_record r;
    bool found;

    ok(ice_log_cursor_open(b, 0, &cursor, &err));
    ok(ice_log_cursor_open(b, durable, &ahead, &err));
    end = append(a, 5);
    ok(ice_log_read(ahead, UINT64_MAX, &r, &found, &err));
    assert_true(found);
    ice_fault_arm("log.fsync", 1, false);
    fails(ICE_OUTCOME_UNKNOWN, ice_log_sync(a, end, generation, &err));
    ice_fault_disarm();
    fails(ICE_OUTCOME_UNKNOWN, ice_log_sync(a, end, generation, &err));
    ok(ice_log_sync(b, durable, generation, &err));
    expect_from(b, 0, 0, 6);

    /* The disk still fails: nothing is written, and reading goes on. */
    ice_fault_arm("log.segment", 1, false);
    fails(ICE_IO, ice_log_begin(b, &s, &err));
    assert_non_null(strstr(err.message, "a sync of the log failed"));
    ice_fault_arm("log.dirsync", 1, false);
    fails(ICE_IO, ice_log_begin(a, &s, &err));
    ice_fault_disarm();
    ok(ice_log_sync(b, durable, generation, &err));
    for (long i = 0; i < 5; i++) {
        ok(ice_log_read(cursor, durable, &r, &found, &err));
        assert_true(found && r.txid == (uint64_t)i);
    }

    /* Then whoever writes next goes on after what is durable, and the others with it. */
    ok(ice_log_begin(b, &s, &err));
    assert_int_equal(s.end, durable);
    assert_true(s.generation > generation);
    ice_log_abort(b);
    fails(ICE_OUTCOME_UNKNOWN, ice_log_sync(a, end, generation, &err));
    ok(ice_log_sync(a, durable, generation, &err));
    append_many(b, 5, 7);
    append_many(a, 7, 9);
    expect_from(a, 0, 0, 9);
    fails(ICE_OUTCOME_UNKNOWN, ice_log_sync(b, end, generation, &err));
    assert_int_equal(count_segments(), 2);
    for (long i = 5; i < 9; i++) {
        ok(ice_log_read(cursor, UINT64_MAX, &r, &found, &err));
        assert_true(found && r.txid == (uint64_t)i);
    }
    fails(ICE_IO, ice_log_read(ahead, UINT64_MAX, &r, &found, &err)); /* it gave what is void */
    ice_log_cursor_close(cursor);
    ice_log_cursor_close(ahead);
    ice_log_close(a);
    ice_log_close(b);
    remove_shared();
    c = open_log(&usual);
    expect_from(c, 0, 0, 9);
    ice_log_close(c);
}

/* Twice at one position: the second new segment has the first one's name, and a reader had that open. */
static void test_failed_again(void **state)
{
    ice_log *a = open_log(&usual), *b = open_log(&usual);
    uint64_t durable = append_many(a, 0, 3);
    ice_log_cursor *cursor;
    ice_log_record r;
    bool found;

    ok(ice_log_cursor_open(b, 0, &cursor, &err));
    for (int round = 0; round < 3; round++) {
        ice_log_state s;
        uint64_t end = append(round % 2 ? a : b, 40 + round), generation = generation_of(a);

        ice_log_get_state(b, &s);
        do
            ok(ice_log_read(cursor, s.durable, &r, &found, &err));
        while (found);
        ice_fault_arm("log.fsync", 1, false);
        fails(ICE_OUTCOME_UNKNOWN, ice_log_sync(a, end, generation, &err));
        ice_fault_disarm();
        ice_log_get_state(b, &s);
        assert_int_equal(s.durable, durable);
    }
    append_many(a, 3, 8);
    append_many(b, 8, 9);
    for (long i = 3; i < 9; i++) {
        ok(ice_log_read(cursor, UINT64_MAX, &r, &found, &err));
        assert_true(found && r.txid == (uint64_t)i);
    }
    expect_from(b, 0, 0, 9);
    ice_log_cursor_close(cursor);
    ice_log_close(a);
    ice_log_close(b);
}

static void test_poison_outlives_the_processes(void **state)
{
    ice_log *a = open_log(&usual);
    uint64_t end;

    end = append(a, 0); /* nothing durable yet: the new segment has the old one's name */
    ice_fault_arm("log.fsync", 1, false);
    fails(ICE_OUTCOME_UNKNOWN, sync_to(a, end));
    ice_fault_disarm();
    ice_log_close(a);
    a = open_log(&usual);
    expect_from(a, 0, 0, 0);
    append_many(a, 0, 3);
    ice_log_close(a);
    a = open_log(&usual);
    expect_from(a, 0, 0, 3);
    ice_log_close(a);
}

/* A process that appends one record of `size` bytes and is killed at a fault point. */
static void die_appending(const char *point, const ice_log_options *o, ice_log *inherited, size_t size)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        static char body[4096];
        ice_log_state s;
        ice_log *log;

        ice_log_after_fork(inherited);
        ok(ice_log_open(dir, o, &log, &err));
        ok(ice_log_begin(log, &s, &err));
        ice_fault_arm(point, 1, true);
        (void)!ice_log_append(log, 999, (ice_str){body, size}, &(int64_t){0}, &(uint64_t){0}, &err);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

/* A record that was written whole and not published is nobody's: once somebody went on without it, it must
 * not come back, not even when the shared file is lost. */
static void test_no_return_from_the_dead(void **state)
{
    for (int others_live = 0; others_live < 2; others_live++) {
        ice_log *log = open_log(&usual);
        ice_log_state s;

        if (!others_live)
            append_many(log, 0, 3);
        if (!others_live) {
            ice_log_close(log);
            log = NULL;
        }
        die_appending("log.publish", &usual, log, 100);
        if (!others_live)
            log = open_log(&usual);
        ok(ice_log_begin(log, &s, &err));
        ice_log_abort(log);
        expect_from(log, 0, 0, 3);
        ice_log_close(log);
        remove_shared();
        log = open_log(&usual);
        expect_from(log, 0, 0, 3);
        ice_log_close(log);
    }
}

/* The segment that a killed writer began is the one to go on in, though a smaller record fits the old one. */
static void test_killed_while_rotating(void **state)
{
    static const char *points[] = {"log.segment", "log.segment.fsync", "log.rename", "log.dirsync",
                                   "log.rotated"};

    for (size_t i = 0; i < 5; i++)
        for (int others_live = 0; others_live < 2; others_live++) {
            ice_log *log = open_log(&small);

            append_many(log, 0, 5);
            if (!others_live) {
                ice_log_close(log);
                log = NULL;
            }
            die_appending(points[i], &small, log, 4000);
            if (!others_live)
                log = open_log(&small);
            append_many(log, 5, 7);
            expect_from(log, 0, 0, 7);
            append_many(log, 7, 40);
            expect_from(log, 0, 0, 40);
            ice_log_close(log);
            remove_shared();
            log = open_log(&small);
            expect_from(log, 0, 0, 40);
            ice_log_close(log);
            teardown(NULL);
            assert_int_equal(mkdir(root, 0700), 0);
        }
}

/* Each write of the log fails once, at every place; what was acknowledged stays, what failed is not there. */
static void test_every_fault(void **state)
{
    for (long k = 1;; k++) {
        long acked = 0;
        ice_log *log = NULL;
        ice_log_state s;
        char buf[512];

        ice_fault_arm("*", k, false);
        if (ice_log_open(dir, &small, &log, &err) == ICE_OK)
            for (long i = 0; i < 25; i++) {
                int64_t commit;
                uint64_t end;

                if (ice_log_begin(log, &s, &err) != ICE_OK ||
                    ice_log_append(log, (uint64_t)acked, body_of(acked, buf), &commit, &end, &err) != ICE_OK)
                    continue;
                if (ice_log_sync(log, end, s.generation, &err) != ICE_OK)
                    break;
                acked++;
            }
        if (log && ice_log_trim(log, 0, &err) != ICE_OK)
            assert_true(err.code != ICE_OK);
        ice_log_close(log);
        if (ice_fault_hits() < k) {
            assert_int_equal(acked, 25);
            break;
        }
        ice_fault_disarm();
        log = open_log(&small);
        expect_from(log, 0, 0, acked);
        append_many(log, acked, acked + 3);
        ice_log_close(log);
        remove_shared();
        log = open_log(&small);
        expect_from(log, 0, 0, acked + 3);
        ice_log_close(log);
        teardown(NULL);
        assert_int_equal(mkdir(root, 0700), 0);
    }
}

static void test_no_sync(void **state)
{
    ice_log_options o = {.create = true, .sync = false, .segment_bytes = 4096};
    ice_log *log = open_log(&o);
    ice_log_state s;
    uint64_t end = append(log, 0);

    ok(sync_to(log, end));
    ice_log_get_state(log, &s);
    assert_int_equal(s.durable, end);
    for (long i = 1; i < 6; i++)
        end = append(log, i);
    ice_log_close(log);
    /* A machine crash may take what was never synced, and that is not corruption. */
    assert_int_equal(truncate(segment_path(0), (off_t)ice__offset(0, end - 8)), 0);
    log = open_log(&o);
    expect_from(log, 0, 0, 5);
    for (long i = 5; i < 80; i++)
        append(log, i);
    ice_log_close(log);
    log = open_log(&o);
    expect_from(log, 0, 0, 80);
    ice_log_close(log);
}

static void test_floor(void **state)
{
    ice_log *log = open_log(&usual);
    ice_log_state s;
    uint64_t generation;
    int64_t commit, t;
    uint64_t end, at;

    end = append(log, 0);
    ice_log_get_state(log, &s);
    ok(ice_log_floor(log, s.last_commit, &at, &generation, &err));
    assert_int_equal(at, end);
    t = ice_clock_us();
    ok(ice_log_floor(log, t, &at, &generation, &err));
    assert_int_equal(at, end);
    ok(ice_log_begin(log, &s, &err));
    ok(ice_log_append(log, 1, ICE_STR("x"), &commit, &end, &err));
    assert_true(commit > t);
    fails(ICE_FUTURE, ice_log_floor(log, ice_clock_us() + 10000000, &at, &generation, &err));
    ice_log_close(log);
}

static void test_clock_ahead(void **state)
{
    ice_log_options o = usual;
    ice_log *log = open_log(&usual);
    ice_log_state s;
    uint64_t generation;
    ice__point p;
    int64_t commit;
    uint64_t end;

    /* As if the clock had been an hour ahead. */
    p = ice__ring_load(&log->shared->tail);
    p.commit = ice_clock_us() + (int64_t)3600 * 1000000;
    ice__ring_store(&log->shared->tail, &p);
    ok(ice_log_begin(log, &s, &err));
    fails(ICE_CLOCK_SKEW, ice_log_append(log, 1, ICE_STR("x"), &commit, &end, &err));
    ok(ice_log_floor(log, p.commit, &end, &generation, &err)); /* what exists is not future */
    o.max_skew_us = (int64_t)7200 * 1000000;
    ice_log_close(log);
    ok(ice_log_open(dir, &o, &log, &err));
    ok(ice_log_begin(log, &s, &err));
    ok(ice_log_append(log, 1, ICE_STR("x"), &commit, &end, &err));
    ice_log_close(log);
}

static void test_limits(void **state)
{
    ice_log_options o = {.create = true, .sync = true, .segment_bytes = 4096, .max_bytes = 10000};
    ice_log *log = open_log(&o);
    ice_log_state s;
    char big[6000] = {0};
    int64_t commit;
    uint64_t end;

    ok(ice_log_begin(log, &s, &err)); /* larger than a segment */
    ok(ice_log_append(log, 0, (ice_str){big, sizeof big}, &commit, &end, &err));
    ok(ice_log_begin(log, &s, &err));
    fails(ICE_DISK_FULL, ice_log_append(log, 0, (ice_str){big, sizeof big}, &commit, &end, &err));
    ok(sync_to(log, end));
    ok(ice_log_trim(log, end, &err));
    ok(ice_log_begin(log, &s, &err));
    ok(ice_log_append(log, 0, (ice_str){big, sizeof big}, &commit, &end, &err));
    ok(ice_log_begin(log, &s, &err)); /* an empty body is a record */
    ok(ice_log_append(log, 9, ICE_STR_NONE, &commit, &end, &err));
    ice_log_close(log);
}

static void test_trim_and_pins(void **state)
{
    ice_log *log = open_log(&small);
    ice_locker *l;
    ice_log_state s;
    uint64_t ends[100];
    int before;

    for (long i = 0; i < 100; i++)
        ends[i] = append(log, i);
    ok(sync_to(log, ends[99]));
    before = count_segments();
    ok(ice_locker_open(log, &l, &err));
    ok(ice_locker_pin(l, ends[49], &err));
    ok(ice_log_trim(log, ends[99], &err));
    ice_log_get_state(log, &s);
    assert_true(s.start > 0 && s.start <= ends[49]);
    assert_true(count_segments() < before);
    expect_from(log, ends[49], 50, 100);
    fails(ICE_NOT_FOUND, ice_locker_pin(l, 0, &err));
    fails(ICE_NOT_FOUND, ice_log_cursor_open(log, 0, &(ice_log_cursor *){0}, &err));
    ok(ice_locker_pin(l, ICE_LOG_NO_PIN, &err));
    ok(ice_log_trim(log, ends[99], &err));
    assert_int_equal(count_segments(), 1);
    ice_locker_close(l);
    append_many(log, 100, 130);
    expect_from(log, ends[99], 100, 130);
    ice_log_close(log);
    remove_shared();
    log = open_log(&small);
    expect_from(log, ends[99], 100, 130);
    ice_log_close(log);
}

static void test_sequences(void **state)
{
    ice_log *log = open_log(&usual);
    int64_t v;

    ok(ice_log_sequence_next(log, 7, 1, 1, &v, &err));
    assert_int_equal(v, 1);
    ok(ice_log_sequence_next(log, 7, 1, 10, &v, &err));
    assert_int_equal(v, 2);
    ok(ice_log_sequence_next(log, 7, 5, 1, &v, &err));
    assert_int_equal(v, 12);
    ok(ice_log_sequence_bump(log, 7, 100, &err));
    ok(ice_log_sequence_bump(log, 7, 50, &err));
    ok(ice_log_sequence_next(log, 7, 1, 1, &v, &err));
    assert_int_equal(v, 101);
    ok(ice_log_sequence_next(log, 0, -5, 1, &v, &err));
    assert_int_equal(v, -5);
    fails(ICE_RANGE, ice_log_sequence_next(log, 8, INT64_MAX, 1, &v, &err));
    ice_log_close(log);
    log = open_log(&usual); /* the shared file lives on */
    ok(ice_log_sequence_next(log, 7, 1, 1, &v, &err));
    assert_int_equal(v, 102);
    ok(ice_log_sequence_set(log, 7, 3, &err)); /* back, and on */
    ok(ice_log_sequence_next(log, 7, 1, 2, &v, &err));
    assert_int_equal(v, 3);
    assert_int_equal(ice_log_sequence_peek(log, 7), 5);
    ok(ice_log_sequence_set(log, 9, 500, &err));
    ok(ice_log_sequence_next(log, 9, 1, 1, &v, &err));
    assert_int_equal(v, 500);
    ice_log_close(log);
}

static void test_after_fork(void **state)
{
    ice_log *log = open_log(&usual);
    ice_locker *l;
    int status;
    pid_t pid;

    ok(ice_locker_open(log, &l, &err));
    ok(ice_lock(l, 1, ICE_LOCK_EXCLUSIVE, 0, NULL, NULL, NULL, &err));
    append_many(log, 0, 3);
    pid = fork();
    if (pid == 0) {
        ice_log *mine;
        ice_locker *other;
        int bad;

        ice_log_after_fork(log);
        ice_locker_close(l); /* must not free the parent's lock */
        bad = ice_log_open(dir, &usual, &mine, &err) != ICE_OK ||
              ice_locker_open(mine, &other, &err) != ICE_OK ||
              ice_lock(other, 1, ICE_LOCK_SHARED, 0, NULL, NULL, NULL, &err) != ICE_LOCK_TIMEOUT;
        _exit(bad);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    append_many(log, 3, 5);
    ice_locker_close(l);
    ice_log_close(log);
}

enum { THREADS = 6, EACH = 40 };

static void *committer(void *arg)
{
    ice_log *log = arg;
    ice_error e;
    int64_t commit, last = 0;
    uint64_t end;

    for (int i = 0; i < EACH; i++) {
        ice_log_state s;

        if (ice_log_begin(log, &s, &e) != ICE_OK ||
            ice_log_append(log, 1, ICE_STR("thread"), &commit, &end, &e) != ICE_OK ||
            ice_log_sync(log, end, s.generation, &e) != ICE_OK || commit <= last)
            return "failed";
        last = commit;
        ice_log_get_state(log, &s);
        if (s.durable < end)
            return "not durable";
    }
    return NULL;
}

static void test_threads(void **state)
{
    ice_log *log = open_log(&small);
    pthread_t t[THREADS];
    ice_log_cursor *c;
    ice_log_record r;
    bool found = true;
    int n = -1;
    void *why;

    for (int i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, committer, log);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], &why);
        assert_null(why);
    }
    ok(ice_log_cursor_open(log, 0, &c, &err));
    for (; found; n++)
        ok(ice_log_read(c, UINT64_MAX, &r, &found, &err));
    assert_int_equal(n, THREADS * EACH);
    ice_log_cursor_close(c);
    ice_log_close(log);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_append_and_read),
        T(test_cursor_goes_on_and_limits),
        T(test_abort_writes_nothing),
        T(test_reopen),
        T(test_missing_and_read_only),
        T(test_two_handles),
        T(test_shared_replaced_while_open),
        T(test_torn_tail_is_cut),
        T(test_lost_record_is_corruption),
        T(test_shared_knows_what_was_durable),
        T(test_reader_sees_corruption),
        T(test_every_bit_is_noticed),
        T(test_every_bit_without_the_shared_file),
        T(test_damaged_and_foreign_segments),
        T(test_newer_version_is_refused),
        T(test_failed_sync_poisons),
        T(test_failed_again),
        T(test_poison_outlives_the_processes),
        T(test_no_return_from_the_dead),
        T(test_killed_while_rotating),
        T(test_every_fault),
        T(test_no_sync),
        T(test_floor),
        T(test_clock_ahead),
        T(test_limits),
        T(test_trim_and_pins),
        T(test_sequences),
        T(test_after_fork),
        T(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
