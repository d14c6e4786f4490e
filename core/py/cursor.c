#include "py/py_int.h"

#include <strings.h>
#include <structmember.h>

static py_state *state(py_cursor *c) { return ice__py_state_of_type(Py_TYPE(c)); }

/* ---- the open result ---- */

static void link_result(py_cursor *c, ice_cursor *result)
{
    py_connection *conn = c->connection;
    c->result = result;
    c->prev = NULL;
    c->next = conn->cursors;
    if (c->next)
        c->next->prev = c;
    conn->cursors = c;
}

static void unlink_result(py_cursor *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->connection->cursors = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->prev = c->next = NULL;
    c->result = NULL;
}

void ice__py_cursor_reset(py_cursor *c)
{
    ice_cursor *result = c->result;
    if (!result)
        return;
    unlink_result(c);
    c->count = c->at = 0;
    ice__py_drop_result(c->connection, result);
}

/* ---- description ---- */

static bool is_interval(const ice_result_column *col)
{
    return ice_str_eqc(col->duck_type, "INTERVAL");
}

static PyObject *type_text(const ice_result_column *col)
{
    char text[32];
    if (col->duck_type.len)
        return PyUnicode_DecodeUTF8(col->duck_type.ptr, (Py_ssize_t)col->duck_type.len, "replace");
    ice_type_text(col->type, text);
    return PyUnicode_FromString(text);
}

static PyObject *describe(const ice_result_column *col)
{
    PyObject *type = type_text(col), *precision = Py_NewRef(Py_None), *scale = Py_NewRef(Py_None), *item = NULL;
    if (col->type.kind == ICE_T_DECIMAL) {
        Py_SETREF(precision, PyLong_FromLong(col->type.precision));
        Py_SETREF(scale, PyLong_FromLong(col->type.scale));
    }
    if (type && precision && scale)
        item = Py_BuildValue("(s#OOOOOO)", col->name.ptr ? col->name.ptr : "", (Py_ssize_t)col->name.len, type, Py_None, Py_None,
                             precision, scale, Py_None);
    Py_XDECREF(type);
    Py_XDECREF(precision);
    Py_XDECREF(scale);
    return item;
}

static int make_description(py_cursor *c)
{
    const ice_result_column *cols;
    if (c->description || !c->result)
        return 0;
    size_t n = ice_cursor_columns(c->result, &cols);
    PyObject *d = PyTuple_New((Py_ssize_t)n);
    for (size_t i = 0; d && i < n; i++) {
        PyObject *item = describe(&cols[i]);
        if (!item)
            Py_CLEAR(d);
        else
            PyTuple_SET_ITEM(d, (Py_ssize_t)i, item);
    }
    c->description = d;
    return d ? 0 : -1;
}

/* ---- execute ---- */

static void forget(py_cursor *c)
{
    ice__py_cursor_reset(c);
    Py_CLEAR(c->description);
    c->has_rows = c->materialised = false;
    c->ncols = c->count = c->at = 0;
    c->rowcount = -1;
    c->path = "";
}

static int check_open(py_cursor *c)
{
    if (!c->closed)
        return 0;
    ice__py_fail(state(c), ICE_MISUSE, "the cursor is closed");
    return -1;
}

/* ---- statements known to be quick ---- */

/* A look-up that ran on the row store waits for nobody; anything else may wait for locks, the disk or the engine. */
static const ice_prepared **quick_slot(py_connection *c, const ice_prepared *p)
{
    return &c->quick[((uintptr_t)p >> 5) % (sizeof c->quick / sizeof *c->quick)];
}

static void note_quick(py_connection *c, const ice_prepared *p, PyObject *sql, const ice_cursor *result)
{
    const char *text = PyUnicode_AsUTF8(sql);
    bool quick = text && strncasecmp(text, "SELECT", 6) == 0 && strcmp(ice_cursor_path(result), "fast") == 0 &&
                 !strcasestr(text, " FOR ");
    const ice_prepared **slot = quick_slot(c, p);
    if (quick)
        *slot = p;
    else if (*slot == p)
        *slot = NULL;
}

typedef struct run_call {
    ice_session *session;
    ice_prepared *prepared;
    const py_params *params;
    int64_t as_of;
    ice_cursor *result;
} run_call;

static ice_code run(void *arg, ice_error *err)
{
    run_call *r = arg;
    return ice_session_run(r->session, r->prepared, r->params->values, r->params->n, r->as_of, &r->result, err);
}

/* Runs one prepared statement. */
static int run_prepared(py_cursor *c, PyObject *sql, ice_prepared *p, const py_params *params, int64_t as_of, ice_cursor **out)
{
    py_connection *conn = c->connection;
    run_call call = {conn->handle->session, p, params, as_of, NULL};
    bool raised, quick = *quick_slot(conn, p) == p;
    ice_error err;
    atomic_store(&conn->interrupted, false);
    ice_code rc = ice__py_block(conn, quick, run, &call, &err, &raised);
    if (raised && rc == ICE_OK)
        ice_cursor_close(call.result);
    if (raised)
        return -1;
    if (rc != ICE_OK) {
        ice__py_raise(state(c), &err);
        return -1;
    }
    if (!quick)
        note_quick(conn, p, sql, call.result);
    *out = call.result;
    return 0;
}

/* The statement with its parameters; between enter and leave. The GIL stays: parsing does not block, and is mostly a
 * look-up in the plan cache. */
static int prepare(py_cursor *c, PyObject *sql, PyObject *params, ice_prepared **p, py_params *bound)
{
    py_state *st = state(c);
    ice_session *s = c->connection->handle->session;
    const ice_str *names = NULL;
    ice_error err;
    Py_ssize_t len;
    const char *text = PyUnicode_AsUTF8AndSize(sql, &len);
    *bound = (py_params){0};
    if (!text) {
        ice__py_chain(st, ICE_SYNTAX, "the statement can't be encoded as UTF-8");
        return -1;
    }
    if (ice_session_prepare(s, (ice_str){text, (size_t)len}, params != NULL, p, &err) != ICE_OK) {
        ice__py_raise(st, &err);
        return -1;
    }
    size_t n = ice_prepared_params(*p, &names);
    return ice__py_bind(st, c->connection->adapt, params, n, names, bound);
}

/* Runs one statement and leaves its result open in *out; between enter and leave. */
static int run_one(py_cursor *c, PyObject *sql, PyObject *params, int64_t as_of, ice_cursor **out)
{
    py_state *st = state(c);
    ice_prepared *p = NULL;
    py_params bound;
    int rc = prepare(c, sql, params, &p, &bound);
    if (rc == 0)
        rc = ice__py_begin(st, c->connection);
    if (rc == 0)
        rc = run_prepared(c, sql, p, &bound, as_of, out);
    ice__py_params_free(&bound);
    return rc;
}

static void adopt(py_cursor *c, ice_cursor *result)
{
    const ice_result_column *cols;
    c->ncols = ice_cursor_columns(result, &cols);
    c->has_rows = c->ncols > 0;
    c->durations = false;
    for (size_t i = 0; i < c->ncols; i++)
        c->durations |= is_interval(&cols[i]);
    c->rowcount = ice_cursor_rowcount(result);
    c->path = ice_cursor_path(result);
    c->materialised = strcmp(c->path, "engine") != 0;
    if (c->has_rows)
        link_result(c, result);
    else
        ice__py_drop_result(c->connection, result);
}

/* as_of from Python: None is now. Before the first instant that a commit can have, all reads are alike. */
static int read_as_of(PyObject *o, int64_t *out)
{
    int overflow = 0;
    *out = 0;
    if (!o || o == Py_None)
        return 0;
    if (!PyLong_Check(o)) {
        PyErr_Format(PyExc_TypeError, "as_of must be an int (commit time in microseconds) or None, not %s", Py_TYPE(o)->tp_name);
        return -1;
    }
    *out = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow > 0)
        *out = INT64_MAX;
    if (*out < 1)
        *out = 1;
    return 0;
}

typedef struct statement {
    PyObject *sql, *params; /* params NULL: none, and % is a percent sign */
    int64_t as_of;
} statement;

static int read_statement(py_cursor *c, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, statement *out)
{
    PyObject *as_of = NULL;
    *out = (statement){.sql = nargs > 0 ? args[0] : NULL, .params = nargs > 1 ? args[1] : NULL};
    Py_ssize_t nkw = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    if (check_open(c) < 0)
        return -1;
    if (nargs > 2) {
        PyErr_SetString(PyExc_TypeError, "takes sql, params and the keyword as_of");
        return -1;
    }
    for (Py_ssize_t i = 0; i < nkw; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i), *value = args[nargs + i];
        if (PyUnicode_CompareWithASCIIString(name, "as_of") == 0)
            as_of = value;
        else if (PyUnicode_CompareWithASCIIString(name, "params") == 0 && nargs < 2)
            out->params = value;
        else if (PyUnicode_CompareWithASCIIString(name, "sql") == 0 && nargs < 1)
            out->sql = value;
        else {
            PyErr_Format(PyExc_TypeError, "unexpected argument %R", name);
            return -1;
        }
    }
    if (!out->sql || !PyUnicode_Check(out->sql)) {
        PyErr_Format(PyExc_TypeError, "the statement must be str, not %s", out->sql ? Py_TYPE(out->sql)->tp_name : "nothing");
        return -1;
    }
    if (out->params == Py_None)
        out->params = NULL;
    return read_as_of(as_of, &out->as_of);
}

static PyObject *execute(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    py_cursor *c = (py_cursor *)self;
    ice_cursor *result = NULL;
    statement s;
    if (read_statement(c, args, nargs, kwnames, &s) < 0)
        return NULL;
    forget(c);
    if (ice__py_enter(state(c), c->connection) < 0)
        return NULL;
    int rc = run_one(c, s.sql, s.params, s.as_of, &result);
    if (rc == 0)
        adopt(c, result);
    ice__py_leave(c->connection);
    return rc == 0 ? Py_NewRef(self) : NULL;
}

/* ---- executemany ---- */

/* Rows are run by the batch: one hand-over to the helper thread, and one release of the GIL, for all of them. */
enum { MANY = 64 };

typedef struct many_call {
    ice_session *session;
    ice_prepared *prepared;
    size_t n;
    py_params rows[MANY];
    int64_t rowcount;
    const char *path;
} many_call;

static ice_code run_many(void *arg, ice_error *err)
{
    many_call *m = arg;
    for (size_t i = 0; i < m->n; i++) {
        ice_cursor *result = NULL;
        ice_code rc = ice_session_run(m->session, m->prepared, m->rows[i].values, m->rows[i].n, 0, &result, err);
        if (rc != ICE_OK)
            return rc;
        int64_t n = ice_cursor_rowcount(result);
        m->rowcount += n > 0 ? n : 0;
        m->path = ice_cursor_path(result);
        ice_cursor_close(result);
    }
    return ICE_OK;
}

/* Between enter and leave. */
static int many_bound(py_cursor *c, PyObject *sql, PyObject *rows, many_call *m)
{
    ice_error err;
    bool raised;
    m->session = c->connection->handle->session;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(rows); i++) {
        m->n = (size_t)i + 1;
        if (prepare(c, sql, PyList_GET_ITEM(rows, i), &m->prepared, &m->rows[i]) < 0)
            return -1;
    }
    if (ice__py_begin(state(c), c->connection) < 0)
        return -1;
    atomic_store(&c->connection->interrupted, false);
    ice_code rc = ice__py_block(c->connection, false, run_many, m, &err, &raised);
    if (rc != ICE_OK && !raised)
        ice__py_raise(state(c), &err);
    return rc == ICE_OK && !raised ? 0 : -1;
}

static int many_batch(py_cursor *c, PyObject *sql, PyObject *rows)
{
    many_call *m = PyMem_Calloc(1, sizeof *m);
    if (!m) {
        PyErr_NoMemory();
        return -1;
    }
    int rc = ice__py_enter(state(c), c->connection);
    if (rc == 0) {
        rc = many_bound(c, sql, rows, m);
        ice__py_leave(c->connection);
        for (size_t i = 0; i < m->n; i++)
            ice__py_params_free(&m->rows[i]);
        c->rowcount += m->rowcount;
        c->path = m->path ? m->path : "";
    }
    PyMem_Free(m);
    return rc;
}

/* Up to MANY rows of the iterator; with the connection free, for the rows may come from it. */
static PyObject *many_take(PyObject *iterator)
{
    PyObject *rows = PyList_New(0), *row;
    while (rows && PyList_GET_SIZE(rows) < MANY && (row = PyIter_Next(iterator))) {
        if (PyList_Append(rows, row) < 0)
            Py_CLEAR(rows);
        Py_DECREF(row);
    }
    if (PyErr_Occurred())
        Py_CLEAR(rows);
    return rows;
}

static int many_rows(py_cursor *c, PyObject *sql, PyObject *iterator)
{
    for (;;) {
        PyObject *rows = many_take(iterator);
        if (!rows)
            return -1;
        Py_ssize_t n = PyList_GET_SIZE(rows);
        int rc = n > 0 ? many_batch(c, sql, rows) : 0;
        Py_DECREF(rows);
        if (rc < 0 || n < MANY)
            return rc;
    }
}

/* With autocommit all rows are one transaction of their own; in a transaction they are part of it. */
static int many_begin(py_cursor *c, bool *own)
{
    py_connection *conn = c->connection;
    ice_error err;
    *own = false;
    if (ice__py_enter(state(c), conn) < 0)
        return -1;
    ice_session *s = conn->handle->session;
    ice_code rc = ICE_OK;
    if (conn->autocommit && !ice_session_in_transaction(s)) {
        rc = ice_session_begin(s, &err);
        *own = rc == ICE_OK;
    }
    ice__py_leave(conn);
    if (rc != ICE_OK)
        ice__py_raise(state(c), &err);
    return rc == ICE_OK ? 0 : -1;
}

static int many_end(py_cursor *c, bool failed)
{
    PyObject *type, *value, *trace;
    ice_error err;
    ice_code rc = ICE_OK;
    PyErr_Fetch(&type, &value, &trace);
    int entered = ice__py_enter(state(c), c->connection);
    if (entered == 0) {
        ice_session *s = c->connection->handle->session;
        Py_BEGIN_ALLOW_THREADS
        rc = failed ? ice_session_rollback(s, &err) : ice_session_commit(s, &err);
        Py_END_ALLOW_THREADS
        ice__py_leave(c->connection);
    }
    if (failed) {
        PyErr_Restore(type, value, trace); /* what happened first */
        return -1;
    }
    if (rc != ICE_OK)
        ice__py_raise(state(c), &err);
    return entered == 0 && rc == ICE_OK ? 0 : -1;
}

static PyObject *executemany(PyObject *self, PyObject *args)
{
    py_cursor *c = (py_cursor *)self;
    PyObject *sql, *rows;
    bool own;
    if (check_open(c) < 0 || !PyArg_ParseTuple(args, "UO:executemany", &sql, &rows))
        return NULL;
    forget(c);
    PyObject *iterator = PyObject_GetIter(rows);
    if (!iterator || many_begin(c, &own) < 0) {
        Py_XDECREF(iterator);
        return NULL;
    }
    c->rowcount = 0;
    int rc = many_rows(c, sql, iterator);
    Py_DECREF(iterator);
    if (own)
        rc = many_end(c, rc != 0);
    if (rc != 0) {
        c->rowcount = -1;
        return NULL;
    }
    return Py_NewRef(self);
}

/* ---- fetching ---- */

static ice_code next_batch(void *arg, ice_error *err)
{
    py_cursor *c = arg;
    return ice_cursor_next(c->result, &c->count, err);
}

/* Makes a row current: 1, 0 at the end, -1 with an exception. Between enter and leave. */
static int advance(py_cursor *c)
{
    ice_error err;
    bool raised = false;
    if (c->at < c->count)
        return 1;
    if (!c->result)
        return 0;
    c->count = c->at = 0;
    ice_code rc = c->materialised ? next_batch(c, &err) : ice__py_block(c->connection, false, next_batch, c, &err, &raised);
    if (rc != ICE_OK || raised) {
        c->count = 0;
        if (!raised)
            ice__py_raise(state(c), &err);
        return -1;
    }
    if (c->count > 0)
        return 1;
    /* A result of the engine pins its view and a connection: at its end it goes. */
    if (!c->materialised) {
        if (make_description(c) < 0)
            return -1;
        ice__py_cursor_reset(c);
    }
    return 0;
}

static PyObject *current_row(py_cursor *c)
{
    py_state *st = state(c);
    const ice_result_column *cols = NULL;
    if (c->durations)
        ice_cursor_columns(c->result, &cols);
    PyObject *row = PyTuple_New((Py_ssize_t)c->ncols);
    for (size_t i = 0; row && i < c->ncols; i++) {
        ice_value v;
        ice_cursor_value(c->result, i, c->at, &v);
        PyObject *o = cols && is_interval(&cols[i]) ? ice__py_duration(st, &v) : ice__py_value(st, &v);
        if (!o)
            Py_CLEAR(row);
        else
            PyTuple_SET_ITEM(row, (Py_ssize_t)i, o);
    }
    if (row)
        c->at++;
    return row;
}

static int fetch_begin(py_cursor *c)
{
    if (check_open(c) < 0)
        return -1;
    if (!c->has_rows) {
        ice__py_fail(state(c), ICE_SYNTAX, "no result to fetch: the last statement returned no rows, or none was run");
        return -1;
    }
    if (ice__py_enter(state(c), c->connection) < 0)
        return -1;
    return 0;
}

/* NULL without an exception at the end. */
static PyObject *next_row(PyObject *self)
{
    py_cursor *c = (py_cursor *)self;
    if (fetch_begin(c) < 0)
        return NULL;
    PyObject *row = advance(c) == 1 ? current_row(c) : NULL;
    ice__py_leave(c->connection);
    return row;
}

static PyObject *fetchone(PyObject *self, PyObject *unused)
{
    PyObject *row = next_row(self);
    if (!row && !PyErr_Occurred())
        Py_RETURN_NONE;
    return row;
}

static PyObject *fetch(py_cursor *c, Py_ssize_t limit)
{
    if (fetch_begin(c) < 0)
        return NULL;
    PyObject *rows = PyList_New(0);
    int more = 1;
    while (rows && PyList_GET_SIZE(rows) < limit && (more = advance(c)) == 1) {
        PyObject *row = current_row(c);
        if (!row || PyList_Append(rows, row) < 0)
            Py_CLEAR(rows);
        Py_XDECREF(row);
    }
    if (more < 0)
        Py_CLEAR(rows);
    ice__py_leave(c->connection);
    return rows;
}

static PyObject *fetchall(PyObject *self, PyObject *unused) { return fetch((py_cursor *)self, PY_SSIZE_T_MAX); }

static PyObject *fetchmany(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"size", NULL};
    py_cursor *c = (py_cursor *)self;
    Py_ssize_t size = c->arraysize;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:fetchmany", keywords, &size))
        return NULL;
    return fetch(c, size < 0 ? 0 : size);
}

/* ---- Arrow ---- */

static PyObject *arrow(py_cursor *c, const statement *s)
{
    ice_prepared *p = NULL;
    py_params bound;
    PyObject *stream = NULL;
    if (ice__py_enter(state(c), c->connection) < 0)
        return NULL;
    if (prepare(c, s->sql, s->params, &p, &bound) == 0 && ice__py_begin(state(c), c->connection) == 0)
        stream = ice__py_run_arrow(state(c), c->connection, p, &bound, s->as_of);
    ice__py_params_free(&bound);
    ice__py_leave(c->connection);
    return stream;
}

static PyObject *execute_arrow(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    py_cursor *c = (py_cursor *)self;
    statement s;
    if (read_statement(c, args, nargs, kwnames, &s) < 0)
        return NULL;
    forget(c);
    PyObject *stream = arrow(c, &s);
    if (stream)
        c->path = "engine";
    return stream;
}

/* ---- life and attributes ---- */

PyObject *ice__py_cursor_create(py_state *st, py_connection *conn)
{
    py_cursor *c = (py_cursor *)st->cursor_type->tp_alloc(st->cursor_type, 0);
    if (!c)
        return NULL;
    c->connection = (py_connection *)Py_NewRef(conn);
    c->arraysize = 100;
    c->rowcount = -1;
    c->path = "";
    return (PyObject *)c;
}

static PyObject *close_cursor(PyObject *self, PyObject *unused)
{
    py_cursor *c = (py_cursor *)self;
    forget(c);
    c->closed = true;
    Py_RETURN_NONE;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    py_cursor *c = (py_cursor *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(c->connection);
    Py_VISIT(c->description);
    return 0;
}

/* The connection stays until the end: an open result needs it. */
static int clear(PyObject *self)
{
    py_cursor *c = (py_cursor *)self;
    Py_CLEAR(c->description);
    return 0;
}

static void dealloc(PyObject *self)
{
    py_cursor *c = (py_cursor *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (c->connection)
        forget(c);
    Py_CLEAR(c->connection);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *enter(PyObject *self, PyObject *unused) { return Py_NewRef(self); }
static PyObject *leave(PyObject *self, PyObject *args) { return close_cursor(self, NULL); }
static PyObject *ignore(PyObject *self, PyObject *args) { Py_RETURN_NONE; }

static PyObject *get_description(PyObject *self, void *unused)
{
    py_cursor *c = (py_cursor *)self;
    if (!c->has_rows)
        Py_RETURN_NONE;
    if (make_description(c) < 0)
        return NULL;
    return Py_NewRef(c->description ? c->description : Py_None);
}

static PyObject *get_rowcount(PyObject *self, void *unused) { return PyLong_FromLongLong(((py_cursor *)self)->rowcount); }
static PyObject *get_path(PyObject *self, void *unused) { return PyUnicode_FromString(((py_cursor *)self)->path); }
static PyObject *get_connection(PyObject *self, void *unused) { return Py_NewRef(((py_cursor *)self)->connection); }
static PyObject *get_closed(PyObject *self, void *unused) { return PyBool_FromLong(((py_cursor *)self)->closed); }

static PyMemberDef members[] = {
    {"arraysize", T_PYSSIZET, offsetof(py_cursor, arraysize), 0, PyDoc_STR("Rows of a fetchmany() without size.")},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef methods[] = {
    {"execute", (PyCFunction)(void (*)(void))execute, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("execute(sql, params=None, *, as_of=None) -> self")},
    {"executemany", executemany, METH_VARARGS, PyDoc_STR("executemany(sql, rows) -> self; one transaction")},
    {"execute_arrow", (PyCFunction)(void (*)(void))execute_arrow, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("execute_arrow(sql, params=None, *, as_of=None) -> object with __arrow_c_stream__")},
    {"fetchone", fetchone, METH_NOARGS, NULL},
    {"fetchmany", (PyCFunction)(void (*)(void))fetchmany, METH_VARARGS | METH_KEYWORDS, NULL},
    {"fetchall", fetchall, METH_NOARGS, NULL},
    {"close", close_cursor, METH_NOARGS, NULL},
    {"setinputsizes", ignore, METH_VARARGS, NULL},
    {"setoutputsize", ignore, METH_VARARGS, NULL},
    {"__enter__", enter, METH_NOARGS, NULL},
    {"__exit__", leave, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"description", get_description, NULL, NULL, NULL},
    {"rowcount", get_rowcount, NULL, NULL, NULL},
    {"path", get_path, NULL, PyDoc_STR("'fast', 'engine', 'bulk' or '': how the last statement ran."), NULL},
    {"connection", get_connection, NULL, NULL, NULL},
    {"closed", get_closed, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, dealloc},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, next_row},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, getset},
    {Py_tp_doc, (void *)PyDoc_STR("A cursor (PEP 249), made by Connection.cursor().")},
    {0, NULL},
};

PyType_Spec ice__py_cursor_spec = {
    .name = "django_iceberg._core.Cursor",
    .basicsize = sizeof(py_cursor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
