/* Insides of the extension module django_iceberg._core: PEP 249 over txn/session.h.
 *
 * Threads: a connection belongs to one thread at a time (threadsafety 1). The GIL guards every field below; it is released around core
 * calls that may block, and `busy` says that one is under way, so that a second thread, or Python code called
 * while parameters convert, gets an error instead of a session in the middle of a call. What must wait for the call's end
 * (results of cursors collected meanwhile) is put off to connection_leave.
 *
 * Fork: a session inherited by a child is abandoned: nothing of it is called or freed there. */
#ifndef ICE_PY_INT_H
#define ICE_PY_INT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <datetime.h>
#include <stdatomic.h>

#include "txn/session.h"

/* In the order of core/py/errors.c. */
enum { PY_WARNING, PY_ERROR, PY_INTERFACE, PY_DATABASE, PY_DATA, PY_OPERATIONAL, PY_INTEGRITY, PY_INTERNAL, PY_PROGRAMMING,
       PY_NOT_SUPPORTED, PY_EXCEPTIONS };

/* State of one module object. The date-time types are reached through `dt`: the header's macros want a static variable. */
typedef struct py_state {
    PyObject *exceptions[PY_EXCEPTIONS];
    PyTypeObject *connection_type, *cursor_type, *stream_type, *dbapi_type;
    PyDateTime_CAPI *dt;
    PyObject *decimal_type, *uuid_type, *json_loads;
    PyObject *uuid_unknown;                /* SafeUUID.unknown where UUIDs can be made from their slots, else NULL */
    PyObject *name_utcoffset, *name_bytes, *name_int, *name_is_safe; /* interned */
    PyObject *kw_bytes;                    /* ("bytes",) */
} py_state;

extern struct PyModuleDef ice__py_module;
py_state *ice__py_state_of_type(PyTypeObject *type);

/* ---- errors.c: every error of the core becomes a Python exception here ---- */

int ice__py_add_exceptions(PyObject *module, py_state *st);
/* Raises the exception of an error of the core, with sqlstate, code, table_name and constraint_name; always NULL. */
PyObject *ice__py_raise(py_state *st, const ice_error *err);
/* The same for an error of this module, with the text of a code's SQLSTATE. */
PyObject *ice__py_fail(py_state *st, ice_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Turns the pending exception (a UnicodeEncodeError, a ValueError) into the code's, as its cause; always NULL. */
PyObject *ice__py_chain(py_state *st, ice_code code, const char *what);

/* ---- params.c: Python objects to values ---- */

#define PY_FEW_PARAMS 16
typedef struct py_params {
    ice_value few[PY_FEW_PARAMS];
    ice_value *values;
    size_t n;
    PyObject *keep; /* list of objects the values point into, beyond the caller's own; may be NULL */
    PyObject *adapt; /* borrowed: gives something else for what is refused; may be NULL */
} py_params;
/* `params` may be NULL (none given); `names` NULL: positional. The values point into params' objects. 0, or -1 with an exception; free in either case. */
int ice__py_bind(py_state *st, PyObject *adapt, PyObject *params, size_t n, const ice_str *names, py_params *out);
void ice__py_params_free(py_params *p);

/* ---- values.c: values to Python objects ---- */

/* Microseconds as a timedelta. */
PyObject *ice__py_duration(py_state *st, const ice_value *v);
PyObject *ice__py_value(py_state *st, const ice_value *v);
int ice__py_values_init(py_state *st);
PyObject *ice__py_utc(py_state *st, int64_t us); /* aware datetime */

/* ---- options.c ---- */

/* Reads connect()'s options dict into the config; the prelude (a list of str, or NULL) is borrowed from it. */
int ice__py_options(py_state *st, PyObject *options, ice_config *config, PyObject **prelude);

/* ---- connection.c ---- */

/* A session, kept by its connection and by the Arrow streams that read through it (their owners may outlive the
 * connection, and release from any thread without the GIL). */
typedef struct py_session {
    atomic_int refs;
    ice_session *session;
} py_session;
void ice__py_session_unref(py_session *s); /* the last one closes; without the GIL, or with it where nobody waits for this thread */

struct py_cursor;
typedef struct py_connection {
    PyObject_HEAD
    py_session *handle; /* NULL: closed */
    bool autocommit, fast_path, busy;
    PyObject *adapt; /* called with a parameter that is refused; NULL: none */
    atomic_bool interrupted; /* since the last statement began */
    struct py_cursor *cursors; /* those with an open result, to be closed before the session */
    size_t nlate, cap_late;
    ice_cursor **late;         /* results to close when the running call is over */
    struct py_runner *runner;  /* NULL until needed */
    const ice_prepared *quick[256]; /* statements last seen to take no time, by address: hints, never followed */
} py_connection;

extern PyType_Spec ice__py_connection_spec;
PyObject *ice__py_connect(PyObject *module, PyObject *args, PyObject *kwargs);

/* Between enter and leave the caller has the session for itself; -1 with an exception: closed, forked, in use. */
int ice__py_enter(py_state *st, py_connection *c);
void ice__py_leave(py_connection *c);
/* Opens the transaction that autocommit = False wants; between enter and leave. */
int ice__py_begin(py_state *st, py_connection *c);
/* Closes a result now, or when the call under way ends. NULL is fine. */
void ice__py_drop_result(py_connection *c, ice_cursor *result);

/* ---- runner.c ---- */

typedef struct py_runner py_runner;
typedef ice_code (*py_work)(void *arg, ice_error *err);
/* Runs work(arg, err) without the GIL, between enter and leave; `quick` where it is known not to wait. *raised: a signal
 * handler raised meanwhile, its exception is pending and the work was interrupted, or came to its end first. */
ice_code ice__py_block(py_connection *c, bool quick, py_work work, void *arg, ice_error *err, bool *raised);
void ice__py_runner_free(py_runner *r); /* NULL is fine */

/* ---- cursor.c ---- */

typedef struct py_cursor {
    PyObject_HEAD
    py_connection *connection;
    struct py_cursor *prev, *next; /* among the connection's cursors with an open result */
    ice_cursor *result;            /* NULL: none, or read to its end */
    bool closed, has_rows, materialised;
    size_t ncols, count, at;       /* current batch, next row in it */
    bool durations;                /* a column is an interval */
    PyObject *description;         /* made when asked for, or when the result ends */
    int64_t rowcount;
    Py_ssize_t arraysize;
    const char *path;
} py_cursor;

extern PyType_Spec ice__py_cursor_spec;
PyObject *ice__py_cursor_create(py_state *st, py_connection *c);
/* Closes the cursor's result, as the connection does before it closes. */
void ice__py_cursor_reset(py_cursor *c);

/* ---- arrow.c ---- */

extern PyType_Spec ice__py_stream_spec;
/* Runs a read; between enter and leave. */
PyObject *ice__py_run_arrow(py_state *st, py_connection *c, ice_prepared *p, const py_params *params, int64_t as_of);

/* ---- dbapi.c: PEP 249's constructors and type objects ---- */

extern PyType_Spec ice__py_dbapi_spec;
int ice__py_add_dbapi(PyObject *module, py_state *st);
PyObject *ice__py_time_from_ticks(PyObject *module, PyObject *ticks);

#endif
