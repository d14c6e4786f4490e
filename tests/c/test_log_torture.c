/* Processes that write the log die at random places, and the machine under them loses power.
 *
 * The disk is simulated: this program has its own fdatasync and fsync, which copy a file's bytes (or a
 * directory's names) to a place that stands for the disk. A power loss puts the files back to what was
 * synced, with any of the newer sectors and names kept or lost at random. Then the log is opened, and every
 * record whose sync had returned has to be in it, once, in order, with the commit time that was told.
 *
 * First the checker proves itself: with a disk that lies, and with writers that do not wait for the sync. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log/log_int.h"

enum { MAX_TX = 200000, WRITERS = 3, SECTOR = 512, MAX_NAMES = 512 };

typedef struct ack {
    _Atomic int64_t commit; /* 0: not acknowledged */
    _Atomic uint64_t end;
} ack;

static struct world {
    _Atomic long next_tx, problems, acked, stop, reopened;
    _Atomic bool lying_disk, hasty_writers;
    _Atomic char first_problem[200];
    ack acks[MAX_TX];
} *world;

static char base[200], dir[220], disk[220];
static ice_error err;

static void problem(const char *fmt, ...)
{
    char text[200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (atomic_fetch_add(&world->problems, 1) == 0)
        memcpy((void *)world->first_problem, text, sizeof text);
}

/* ---- the disk ---- */

typedef struct blob {
    char *p;
    size_t n;
} blob;

static blob slurp_fd(int fd)
{
    struct stat st;
    blob b = {0};

    if (fd < 0 || fstat(fd, &st) != 0)
        return b;
    b.p = malloc((size_t)st.st_size + 1);
    b.n = (size_t)st.st_size;
    for (size_t done = 0; done < b.n;) {
        ssize_t k = pread(fd, b.p + done, b.n - done, (off_t)done);

        if (k <= 0) { /* cut meanwhile */
            b.n = done;
            break;
        }
        done += (size_t)k;
    }
    return b;
}

static blob slurp(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    blob b = slurp_fd(fd);

    if (fd >= 0)
        close(fd);
    return b;
}

static void spill(const char *path, blob b)
{
    char tmp[400];
    int fd;

    snprintf(tmp, sizeof tmp, "%s.new", path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, b.p, b.n) != (ssize_t)b.n || close(fd) != 0 || rename(tmp, path) != 0)
        abort();
}

/* "name inode\n" of every file of the log but `shared`. */
static blob list_names(void)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    blob b = {malloc(64 * MAX_NAMES), 0};

    while (d && (e = readdir(d)))
        if (strstr(e->d_name, ".log"))
            b.n += (size_t)sprintf(b.p + b.n, "%s %lu\n", e->d_name, (unsigned long)e->d_ino);
    if (d)
        closedir(d);
    return b;
}

static void snapshot(int fd)
{
    char path[300], lock[300];
    struct stat st;
    int guard;
    blob b;

    snprintf(lock, sizeof lock, "%s/lock", disk);
    guard = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (guard < 0 || flock(guard, LOCK_EX) != 0 || fstat(fd, &st) != 0)
        abort();
    if (S_ISDIR(st.st_mode)) {
        snprintf(path, sizeof path, "%s/names", disk);
        b = list_names();
    } else {
        snprintf(path, sizeof path, "%s/%lu", disk, (unsigned long)st.st_ino);
        b = slurp_fd(fd);
    }
    spill(path, b);
    free(b.p);
    close(guard);
}

static int sync_call(int fd)
{
    if (!disk[0])
        return 0;
    if (atomic_load(&world->lying_disk) && ice_random64() % 3 == 0)
        return 0;
    snapshot(fd);
    return 0;
}

int fdatasync(int fd)
{
    return sync_call(fd);
}
int fsync(int fd)
{
    return sync_call(fd);
}

/* A file after power loss: the bytes synced, and of the newer sectors all, none or some. */
static blob after_power_loss(blob synced, blob current)
{
    int how = (int)(ice_random64() % 3);
    blob b = {calloc(1, (synced.n > current.n ? synced.n : current.n) + 1), how == 1 ? current.n : synced.n};

    if (how == 2)
        b.n = ice_random64() % 2 ? current.n : synced.n;
    for (size_t at = 0; at < b.n; at += SECTOR) {
        bool newer = how == 1 || (how == 2 && ice_random64() % 2);
        blob from = newer ? current : synced;
        size_t n = b.n - at < SECTOR ? b.n - at : SECTOR;

        if (at < from.n)
            memcpy(b.p + at, from.p + at, from.n - at < n ? from.n - at : n);
    }
    return b;
}

/* Files of the log are told apart by inode: the copies made here keep theirs. */
static void restore_file(const char *name, unsigned long inode, const char *aside)
{
    char path[400], shadow[300];
    blob synced, current, b;
    int fd;

    snprintf(path, sizeof path, "%s/%s", aside, name);
    snprintf(shadow, sizeof shadow, "%s/%lu", disk, inode);
    synced = slurp(shadow);
    current = slurp(path);
    if (!current.p) /* unlinked, but its removal was not synced */
        current = (blob){memcpy(malloc(synced.n + 1), synced.p ? synced.p : "", synced.n), synced.n};
    b = after_power_loss(synced, current);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, b.p, b.n) != (ssize_t)b.n)
        abort();
    close(fd);
    free(synced.p);
    free(current.p);
    free(b.p);
}

static unsigned long inode_in(blob names, const char *name)
{
    char key[64], *at;

    if (!names.p)
        return 0;
    names.p[names.n] = '\0';
    snprintf(key, sizeof key, "%s ", name);
    at = strstr(names.p, key);
    return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

/* Each name is as synced or as it was, by chance where they differ. */
static void restore_names(blob synced, blob current, blob all, const char *aside)
{
    char name[64];
    unsigned long inode;
    int used;

    for (char *p = all.p; sscanf(p, "%63s %lu\n%n", name, &inode, &used) == 2; p += used) {
        unsigned long s = inode_in(synced, name), c = inode_in(current, name);
        unsigned long pick = ice_random64() % 2 ? s : c;
        char path[300];

        snprintf(path, sizeof path, "%s/%s", dir, name);
        if (access(path, F_OK) == 0) /* the name is in both lists: done */
            continue;
        if (pick)
            restore_file(name, pick, pick == c ? aside : "/nonexistent");
    }
}

/* The mapped file is written back whenever the kernel likes: it is as it was, older, cut, or not there. */
static void restore_shared(const char *aside)
{
    static blob older;
    char path[300];
    blob b;

    snprintf(path, sizeof path, "%s/shared", aside);
    b = slurp(path);
    if (b.n > 100)
        memcpy(b.p + offsetof(ice__shared, boot_id), "another boot", 12);
    snprintf(path, sizeof path, "%s/shared", dir);
    switch (ice_random64() % 4) {
    case 0:
        spill(path, b);
        break;
    case 1:
        spill(path, older.p ? older : b);
        break;
    case 2:
        spill(path, (blob){b.p, b.n / 3});
        break;
    default:
        break;
    }
    if (ice_random64() % 2) {
        free(older.p);
        older = b;
    } else {
        free(b.p);
    }
}

static void must(const char *cmd)
{
    if (system(cmd) != 0)
        abort();
}

static void lose_power(void)
{
    char cmd[800], aside[240], path[300];
    blob synced, current, all;

    snprintf(aside, sizeof aside, "%s/aside", base);
    snprintf(path, sizeof path, "%s/names", disk);
    synced = slurp(path);
    current = list_names();
    all = (blob){malloc(synced.n + current.n + 1), synced.n + current.n};
    memcpy(all.p, synced.p ? synced.p : "", synced.n);
    memcpy(all.p + synced.n, current.p, current.n);
    all.p[all.n] = '\0';
    snprintf(cmd, sizeof cmd, "mv '%s' '%s' && mkdir '%s'", dir, aside, dir);
    must(cmd);
    restore_names(synced, current, all, aside);
    restore_shared(aside);
    /* What survived is on the disk. */
    snprintf(cmd, sizeof cmd, "rm -rf '%s' '%s' && mkdir '%s'", aside, disk, disk);
    must(cmd);
    free(synced.p);
    free(current.p);
    free(all.p);
    {
        DIR *d = opendir(dir);
        struct dirent *e;
        int fd;

        while ((e = readdir(d))) {
            snprintf(path, sizeof path, "%s/%.60s", dir, e->d_name);
            if (!strstr(e->d_name, ".log"))
                continue;
            fd = open(path, O_RDONLY | O_CLOEXEC);
            snapshot(fd);
            close(fd);
        }
        snapshot(dirfd(d));
        closedir(d);
    }
}

/* ---- writers and readers ---- */

static ice_log *open_log(void)
{
    ice_log_options o = {.create = true, .sync = true, .segment_bytes = 16384};
    ice_log *log = NULL;

    if (ice_log_open(dir, &o, &log, &err) != ICE_OK)
        return NULL;
    return log;
}

/* Text that its transaction id determines. */
static ice_str body_of(uint64_t tx, char buf[1024])
{
    size_t n = (size_t)(tx * 7919 % 900);

    for (size_t i = 0; i < n; i++)
        buf[i] = (char)('a' + (tx + i * 31) % 26);
    return (ice_str){buf, n};
}

static ice_code commit_one(ice_log *log, int64_t *last)
{
    uint64_t tx = (uint64_t)atomic_fetch_add(&world->next_tx, 1), end;
    ice_log_state s;
    char buf[1024];
    int64_t commit;
    ice_code rc;

    if (tx >= MAX_TX)
        _exit(0);
    ICE_TRY(ice_log_begin(log, &s, &err));
    if (tx % 11 == 3) {
        ice_log_abort(log);
        return ICE_OK;
    }
    ICE_TRY(ice_log_append(log, tx, body_of(tx, buf), &commit, &end, &err));
    if (commit <= *last || commit <= s.last_commit)
        problem("commit time %lld does not follow %lld", (long long)commit, (long long)*last);
    *last = commit;
    if (!atomic_load(&world->hasty_writers))
        ICE_TRY(ice_log_sync(log, end, s.generation, &err));
    atomic_store(&world->acks[tx].end, end);
    atomic_store(&world->acks[tx].commit, commit);
    atomic_fetch_add(&world->acked, 1);
    ice_log_get_state(log, &s);
    if (tx % 97 == 5 && s.durable > 60000)
        ICE_TRY(ice_log_trim(log, s.durable - 60000, &err));
out:
    return rc;
}

static ice_code trail(ice_log *log)
{
    ice_log_cursor *c = NULL;
    ice_log_record r;
    ice_log_state s;
    bool found;
    char buf[1024];
    ice_code rc;

    ice_log_get_state(log, &s);
    ICE_TRY(ice_log_cursor_open(log, s.start, &c, &err));
    for (int idle = 0; idle < 20;) {
        ice_log_get_state(log, &s);
        ICE_TRY(ice_log_read(c, s.durable, &r, &found, &err));
        if (!found) {
            idle++;
            ice_sleep_us(500);
            continue;
        }
        if (!ice_str_eq(r.body, body_of(r.txid, buf)))
            problem("transaction %llu has another body", (unsigned long long)r.txid);
    }
out:
    ice_log_cursor_close(c);
    return rc;
}

static void count_reopen(ice_log **log)
{
    ice_log_close(*log);
    *log = NULL;
    for (int i = 0; i < 50 && !*log; i++) {
        *log = open_log();
        if (!*log && err.code == ICE_CORRUPT) {
            problem("while others live: %s", err.message);
            _exit(1);
        }
    }
    atomic_fetch_add(&world->reopened, 1);
}

static void child(bool reader, const char *fault, long k, bool dies)
{
    int64_t last = 0;
    ice_log *log;

    if (fault)
        ice_fault_arm(fault, k, dies);
    log = open_log();
    if (!log && err.code == ICE_CORRUPT && !fault)
        problem("opening: %s", err.message);
    for (;;) {
        ice_code rc = !log ? ICE_IO : reader ? trail(log) : commit_one(log, &last);

        if (rc == ICE_CORRUPT)
            problem("%s: %s", reader ? "reading" : "writing", err.message);
        /* After a failed sync half of them go on with the log they have. */
        if (!log || ((rc == ICE_IO || rc == ICE_OUTCOME_UNKNOWN) && getpid() % 2))
            count_reopen(&log);
    }
}

static pid_t spawn(bool reader, const char *fault, long k, bool dies)
{
    pid_t pid = fork();

    if (pid == 0)
        child(reader, fault, k, dies);
    return pid;
}

/* ---- checking ---- */

static void check_record(const ice_log_record *r, uint8_t *seen)
{
    char buf[1024];
    int64_t told;

    if (r->txid >= MAX_TX) {
        problem("transaction %llu was never begun", (unsigned long long)r->txid);
        return;
    }
    if (seen[r->txid]++)
        problem("transaction %llu is there twice", (unsigned long long)r->txid);
    if (!ice_str_eq(r->body, body_of(r->txid, buf)))
        problem("transaction %llu has another body", (unsigned long long)r->txid);
    told = atomic_load(&world->acks[r->txid].commit);
    if (told && told != r->commit_time)
        problem("transaction %llu was told another commit time", (unsigned long long)r->txid);
    /* It was recovered, so it must never be lost from now on. */
    atomic_store(&world->acks[r->txid].end, r->end);
    atomic_store(&world->acks[r->txid].commit, r->commit_time);
}

static void read_all(ice_log *log, uint8_t *seen)
{
    ice_log_cursor *c = NULL;
    ice_log_record r;
    ice_log_state s;
    bool found = true;
    int64_t last = 0;

    ice_log_get_state(log, &s);
    if (s.durable != s.end)
        problem("opened with %llu of %llu durable", (unsigned long long)s.durable, (unsigned long long)s.end);
    if (ice_log_cursor_open(log, s.start, &c, &err) != ICE_OK)
        problem("%s", err.message);
    while (c && found) {
        if (ice_log_read(c, s.end, &r, &found, &err) != ICE_OK) {
            problem("reading back: %s", err.message);
            break;
        }
        if (found && r.commit_time <= last)
            problem("commit times do not increase at %llu", (unsigned long long)r.position);
        if (found)
            check_record(&r, seen);
        last = r.commit_time;
    }
    ice_log_cursor_close(c);
    for (uint64_t tx = 0; tx < MAX_TX; tx++)
        if (!seen[tx] && atomic_load(&world->acks[tx].commit) && atomic_load(&world->acks[tx].end) > s.start)
            problem("transaction %llu was acknowledged and is lost", (unsigned long long)tx);
}

static void check_log(void)
{
    static uint8_t seen[MAX_TX];
    ice_log *log = open_log();

    memset(seen, 0, sizeof seen);
    if (!log) {
        problem("opening after the end: %s", err.message);
        return;
    }
    read_all(log, seen);
    ice_log_close(log);
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

enum { KILL_ALL = 1, POWER = 2, FAULTS = 4, FAILURES = 8 };

/* Some time of writing, ended by force. */
static void round_of(int flags)
{
    pid_t pid[WRITERS + 1];

    for (int i = 0; i < WRITERS; i++) {
        long k = 1 + (long)(ice_random64() % 60);

        const char *fault = flags & FAULTS               ? "*"
                            : flags & FAILURES && i == 0 ? k % 2 ? "*" : "log.fsync"
                                                         : NULL;

        pid[i] = spawn(false, fault, k, flags & FAULTS);
    }
    pid[WRITERS] = spawn(true, NULL, 0, false);
    for (int step = 0; step < 3; step++) {
        int victim = step % WRITERS;

        ice_sleep_us(5000 + (int64_t)(ice_random64() % 15000));
        end_child(pid[victim]);
        pid[victim] = spawn(false, NULL, 0, false);
    }
    ice_sleep_us(2000 + (int64_t)(ice_random64() % 20000));
    for (int i = 0; i <= WRITERS; i++)
        kill(pid[i], SIGKILL);
    for (int i = 0; i <= WRITERS; i++)
        waitpid(pid[i], NULL, 0);
    if (flags & POWER) {
        if (ice_random64() % 2) /* what somebody has seen must not be lost later either */
            check_log();
        lose_power();
    }
    check_log();
}

/* ---- tests ---- */

static int setup(void **state)
{
    char cmd[500];

    snprintf(base, sizeof base, "%s/ice-torture-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(base))
        return -1;
    snprintf(dir, sizeof dir, "%s/log", base);
    snprintf(disk, sizeof disk, "%s/disk", base);
    snprintf(cmd, sizeof cmd, "mkdir '%s' '%s'", dir, disk);
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return world == MAP_FAILED ? -1 : system(cmd);
}

static int teardown(void **state)
{
    char cmd[300];

    munmap(world, sizeof *world);
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", base);
    return system(cmd);
}

static void expect_clean(const char *what)
{
    print_message("%s: %ld acknowledged, %ld begun, %ld reopened\n", what, atomic_load(&world->acked),
                  atomic_load(&world->next_tx), atomic_load(&world->reopened));
    if (atomic_load(&world->problems))
        fail_msg("%s: %ld problems, first: %s", what, atomic_load(&world->problems),
                 (char *)world->first_problem);
    assert_true(atomic_load(&world->acked) > 100);
}

static void test_finds_a_lying_disk(void **state)
{
    atomic_store(&world->lying_disk, true);
    for (int i = 0; i < 500 && !atomic_load(&world->problems); i++) /* a few, but on a busy machine */
        round_of(POWER);
    print_message("found: %s\n", (char *)world->first_problem);
    assert_true(atomic_load(&world->problems) > 0);
}

static void test_finds_hasty_writers(void **state)
{
    atomic_store(&world->hasty_writers, true);
    for (int i = 0; i < 500 && !atomic_load(&world->problems); i++) /* a few, but on a busy machine */
        round_of(POWER);
    print_message("found: %s\n", (char *)world->first_problem);
    assert_true(atomic_load(&world->problems) > 0);
}

static int rounds(int n)
{
    const char *times = getenv("ICE_TORTURE_TIMES"); /* for a long run by hand */

    return times ? n * atoi(times) : n;
}

static void test_killed_at_random(void **state)
{
    for (int i = 0; i < rounds(8); i++)
        round_of(KILL_ALL);
    expect_clean("killed");
}

static void test_killed_at_fault_points(void **state)
{
    for (int i = 0; i < rounds(8); i++)
        round_of(FAULTS);
    expect_clean("killed at fault points");
}

static void test_power_loss(void **state)
{
    for (int i = 0; i < rounds(12); i++)
        round_of(i % 3 == 2 ? POWER | FAULTS : POWER);
    expect_clean("power loss");
}

static void test_failing_calls(void **state)
{
    for (int i = 0; i < rounds(8); i++)
        round_of(i % 2 ? FAILURES | POWER : FAILURES);
    expect_clean("failing calls");
    assert_true(atomic_load(&world->reopened) > 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_finds_a_lying_disk),     T(test_finds_hasty_writers), T(test_killed_at_random),
        T(test_killed_at_fault_points), T(test_power_loss),          T(test_failing_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
