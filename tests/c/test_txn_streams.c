/* Arrow streams read to their end, or let go, on other threads while their session goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "duck_library.h"
#include "engine/arrow_abi.h"
#include "txn/session.h"

enum { ROUNDS = 60, READERS = 3, ROWS = 5000 };

static const char *library;
static ice_session *session;
static ice_error err;

typedef struct job {
    struct ArrowArrayStream stream;
    int64_t rows, sum, want_rows, want_sum;
    bool whole; /* else it is let go after its first rows */
    pthread_t thread;
} job;

static void *consume(void *arg)
{
    job *j = arg;
    struct ArrowArray a;
    do {
        a.release = NULL;
        if (j->stream.get_next(&j->stream, &a) != 0) {
            j->rows = -1;
            break;
        }
        if (!a.release)
            break;
        const int64_t *values = a.children[0]->buffers[1];
        for (int64_t i = 0; i < a.length; i++)
            j->sum += values[a.children[0]->offset + i];
        j->rows += a.length;
        a.release(&a);
    } while (j->whole);
    j->stream.release(&j->stream);
    return NULL;
}

static void ok(const char *sql)
{
    ice_prepared *p;
    ice_cursor *c = NULL;
    size_t n = 1;
    ice_code rc = ice_session_prepare(session, ice_str_c(sql), false, &p, &err);
    if (rc == ICE_OK)
        rc = ice_session_run(session, p, NULL, 0, 0, &c, &err);
    while (rc == ICE_OK && n && ice_cursor_columns(c, NULL))
        rc = ice_cursor_next(c, &n, &err);
    if (rc != ICE_OK)
        fail_msg("%s: %s", sql, err.message);
    ice_cursor_close(c);
}

static void start(job *j)
{
    ice_prepared *p;
    const char *sql = "SELECT v FROM t WHERE v >= 0";
    if (ice_session_prepare(session, ice_str_c(sql), false, &p, &err) != ICE_OK ||
        ice_session_run_arrow(session, p, NULL, 0, 0, &j->stream, &err) != ICE_OK)
        fail_msg("%s", err.message);
    assert_int_equal(pthread_create(&j->thread, NULL, consume, j), 0);
}

/* Rows of the transaction that opened the stream are in it, also when the transaction, and its definition of the table, are
 * long over. */
static void ends_on_other_threads(void **state)
{
    (void)state;
    char sql[160];
    int64_t rows = ROWS, sum = (int64_t)ROWS * (ROWS - 1) / 2;
    ok("CREATE TABLE t (id bigint PRIMARY KEY, v bigint)");
    snprintf(sql, sizeof sql, "INSERT INTO t SELECT range, range FROM range(%d)", ROWS);
    ok(sql);
    for (int round = 0; round < ROUNDS; round++) {
        job jobs[READERS] = {0};
        ok("BEGIN");
        snprintf(sql, sizeof sql, "ALTER TABLE t ADD COLUMN c%d integer", round);
        ok(round % 3 ? "SELECT 1" : sql);
        for (int i = 0; i < READERS; i++) {
            snprintf(sql, sizeof sql, "INSERT INTO t (id, v) VALUES (%d, 7)", 1000000 + round * READERS + i);
            ok(sql);
            jobs[i].want_rows = ++rows;
            jobs[i].want_sum = sum += 7;
            jobs[i].whole = (round + i) % 4 > 0;
            start(&jobs[i]);
        }
        snprintf(sql, sizeof sql, "ALTER TABLE t ADD COLUMN d%d text DEFAULT 'x'", round);
        ok(round % 2 ? "SELECT count(*) FROM t JOIN t AS u USING (v)" : sql);
        ok("COMMIT");
        ok("SELECT sum(v) FROM t GROUP BY id % 10");
        for (int i = 0; i < READERS; i++) {
            pthread_join(jobs[i].thread, NULL);
            if (jobs[i].whole) {
                assert_int_equal(jobs[i].rows, jobs[i].want_rows);
                assert_int_equal(jobs[i].sum, jobs[i].want_sum);
            }
        }
    }
}

int main(void)
{
    char dir[] = "/tmp/ice-streams-XXXXXX", catalog[64], cmd[64];
    const struct CMUnitTest tests[] = {cmocka_unit_test(ends_on_other_threads)};
    ice_config config;
    if (!(library = duck_library()))
        return 77;
    if (!mkdtemp(dir))
        return 1;
    snprintf(catalog, sizeof catalog, "%s/catalog.db", dir);
    ice_config_defaults(&config);
    config.warehouse = dir;
    config.catalog = catalog;
    config.duckdb_library = library;
    config.threads = 2;
    config.background_flush = false;
    if (ice_session_open(&config, &session, &err) != ICE_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ice_session_close(session);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd) ? 1 : failed;
}
