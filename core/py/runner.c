/* Calls that may take long, so that Ctrl-C ends them.
 *
 * Python runs signal handlers on the main thread, between bytecodes: a call that blocks there holds them up. So on the main thread such a
 * call runs on a helper thread of its connection, while the main thread waits and lets handlers run. When
 * one raises (KeyboardInterrupt), the statement is interrupted and the exception is what the caller sees. The hand-over costs about
 * ten microseconds: calls known to be quick, and all calls of other threads, run where they are.
 *
 * States of a runner: IDLE -> ASKED (by the main thread) -> DONE (by the helper) -> IDLE; QUIT ends the helper. */
#include "py/py_int.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 50 };

struct py_runner {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t asked, done;
    enum { IDLE, ASKED, DONE, QUIT } state;
    py_work work;
    void *arg;
    ice_error *err;
    ice_code rc;
};

static void *helper(void *arg)
{
    py_runner *r = arg;
    pthread_mutex_lock(&r->mutex);
    for (;;) {
        while (r->state != ASKED && r->state != QUIT)
            pthread_cond_wait(&r->asked, &r->mutex);
        if (r->state == QUIT)
            break;
        pthread_mutex_unlock(&r->mutex);
        ice_code rc = r->work(r->arg, r->err);
        pthread_mutex_lock(&r->mutex);
        r->rc = rc;
        r->state = DONE;
        pthread_cond_signal(&r->done);
    }
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

static void destroy(py_runner *r)
{
    pthread_cond_destroy(&r->done);
    pthread_cond_destroy(&r->asked);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

/* NULL where there is no thread to be had: the call then runs where it is. */
static py_runner *create(void)
{
    py_runner *r = calloc(1, sizeof *r);
    pthread_condattr_t monotonic;
    sigset_t all, old;
    if (!r)
        return NULL;
    pthread_mutex_init(&r->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&r->asked, NULL);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&r->thread, NULL, helper, r);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!failed)
        return r;
    destroy(r);
    return NULL;
}

void ice__py_runner_free(py_runner *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->mutex);
    r->state = QUIT;
    pthread_cond_signal(&r->asked);
    pthread_mutex_unlock(&r->mutex);
    pthread_join(r->thread, NULL);
    destroy(r);
}

static void ask(py_runner *r, py_work work, void *arg, ice_error *err)
{
    pthread_mutex_lock(&r->mutex);
    r->work = work;
    r->arg = arg;
    r->err = err;
    r->state = ASKED;
    pthread_cond_signal(&r->asked);
    pthread_mutex_unlock(&r->mutex);
}

/* True when the call is over, false after POLL_MS. */
static bool wait_a_little(py_runner *r)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += POLL_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&r->mutex);
    while (r->state != DONE && pthread_cond_timedwait(&r->done, &r->mutex, &until) == 0)
        ;
    bool done = r->state == DONE;
    if (done)
        r->state = IDLE;
    pthread_mutex_unlock(&r->mutex);
    return done;
}

static ice_code run_watched(py_connection *c, py_work work, void *arg, ice_error *err, bool *raised)
{
    py_runner *r = c->runner;
    PyThreadState *thread = PyEval_SaveThread();
    ask(r, work, arg, err);
    while (!wait_a_little(r)) {
        if (!*raised) {
            PyEval_RestoreThread(thread);
            *raised = PyErr_CheckSignals() < 0;
            thread = PyEval_SaveThread();
        }
        if (*raised || atomic_load(&c->interrupted))
            ice_session_interrupt(c->handle->session); /* again until it ends: the first may have come while the engine started */
    }
    PyEval_RestoreThread(thread);
    return r->rc;
}

static bool on_main_thread(void) { return gettid() == getpid(); }

ice_code ice__py_block(py_connection *c, bool quick, py_work work, void *arg, ice_error *err, bool *raised)
{
    ice_code rc;
    *raised = false;
    if (!quick && on_main_thread() && (c->runner || (c->runner = create())))
        return run_watched(c, work, arg, err, raised);
    Py_BEGIN_ALLOW_THREADS
    rc = work(arg, err);
    Py_END_ALLOW_THREADS
    return rc;
}
