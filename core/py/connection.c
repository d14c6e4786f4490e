#include "py/py_int.h"
#include "table/flush.h"

#include <stdlib.h>
#include <structmember.h>

/* ---- sessions kept by connections and streams ---- */

void ice__py_session_unref(py_session *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    if (!ice_session_is_foreign(s->session))
        ice_session_close(s->session);
    free(s);
}

static py_session *session_wrap(ice_session *session)
{
    py_session *s = malloc(sizeof *s);
    if (s) {
        atomic_init(&s->refs, 1);
        s->session = session;
    }
    return s;
}

/* ---- calls into the core ---- */

int ice__py_enter(py_state *st, py_connection *c)
{
    if (!c->handle)
        ice__py_fail(st, ICE_MISUSE, "the connection is closed");
    else if (ice_session_is_foreign(c->handle->session))
        ice__py_fail(st, ICE_MISUSE, "the connection was opened before fork(): open another in the child");
    else if (c->busy)
        ice__py_fail(st, ICE_SYNTAX, "the connection is in use by another call: a connection belongs to one thread at a time");
    else {
        c->busy = true;
        return 0;
    }
    return -1;
}

void ice__py_leave(py_connection *c)
{
    c->busy = false;
    while (c->nlate > 0)
        ice_cursor_close(c->late[--c->nlate]);
}

void ice__py_drop_result(py_connection *c, ice_cursor *result)
{
    if (!result || !c->handle || ice_session_is_foreign(c->handle->session))
        return;
    if (!c->busy) {
        ice_cursor_close(result);
        return;
    }
    if (!ICE_HEAP_ROOM(c->late, c->nlate, c->cap_late))
        return; /* stays open until the session closes */
    c->late[c->nlate++] = result;
}

static ice_code commit(ice_session *s, ice_error *err)
{
    ice_code rc;
    Py_BEGIN_ALLOW_THREADS
    rc = ice_session_commit(s, err);
    Py_END_ALLOW_THREADS
    return rc;
}

static ice_code rollback(ice_session *s, ice_error *err)
{
    ice_code rc;
    Py_BEGIN_ALLOW_THREADS
    rc = ice_session_rollback(s, err);
    Py_END_ALLOW_THREADS
    return rc;
}

int ice__py_begin(py_state *st, py_connection *c)
{
    ice_error err;
    ice_session *s = c->handle->session;
    if (c->autocommit || ice_session_in_transaction(s) || ice_session_begin(s, &err) == ICE_OK)
        return 0;
    ice__py_raise(st, &err);
    return -1;
}

/* ---- life ---- */

static int open_session(py_state *st, const ice_config *config, PyObject *prelude, ice_session **out)
{
    ice_error err;
    ice_code rc;
    Py_BEGIN_ALLOW_THREADS
    rc = ice_session_open(config, out, &err);
    Py_END_ALLOW_THREADS
    if (rc != ICE_OK) {
        ice__py_raise(st, &err);
        return -1;
    }
    if (!prelude)
        return 0;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(prelude);
    const char **texts = PyMem_New(const char *, n + 1);
    bool good = texts != NULL;
    for (Py_ssize_t i = 0; good && i < n; i++)
        good = (texts[i] = PyUnicode_AsUTF8(PySequence_Fast_GET_ITEM(prelude, i))) != NULL;
    if (!good && !PyErr_Occurred())
        PyErr_NoMemory();
    if (good && ice_session_set_prelude(*out, texts, (size_t)n, &err) != ICE_OK) {
        ice__py_raise(st, &err);
        good = false;
    }
    PyMem_Free(texts);
    if (!good)
        ice_session_close(*out);
    return good ? 0 : -1;
}

static PyObject *connection_create(py_state *st, const ice_config *config, PyObject *prelude)
{
    ice_session *session = NULL;
    py_connection *c = (py_connection *)st->connection_type->tp_alloc(st->connection_type, 0);
    if (!c)
        return NULL;
    c->autocommit = true;
    c->fast_path = config->fast_path;
    if (open_session(st, config, prelude, &session) < 0) {
        Py_DECREF(c);
        return NULL;
    }
    if (!(c->handle = session_wrap(session))) {
        ice_session_close(session);
        Py_DECREF(c);
        return PyErr_NoMemory();
    }
    return (PyObject *)c;
}

PyObject *ice__py_connect(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"warehouse", "catalog", "namespace", "duckdb_library", "create", "options", NULL};
    py_state *st = PyModule_GetState(module);
    PyObject *warehouse = NULL, *catalog = NULL, *library = NULL, *options = NULL, *prelude, *c = NULL;
    const char *ns = "default";
    int create = 0;
    ice_config config;

    /* `create` is accepted and changes nothing: only CREATE TABLE makes a warehouse. */
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|$O&sO&pO:connect", keywords, PyUnicode_FSConverter, &warehouse,
                                     PyUnicode_FSConverter, &catalog, &ns, PyUnicode_FSConverter, &library, &create, &options))
        return NULL;
    ice_config_defaults(&config);
    if (!catalog || !library) {
        ice__py_fail(st, ICE_CONFIG, "connect() needs catalog and duckdb_library");
        goto out;
    }
    if (ice__py_options(st, options, &config, &prelude) < 0)
        goto out;
    config.warehouse = PyBytes_AS_STRING(warehouse);
    config.catalog = PyBytes_AS_STRING(catalog);
    config.duckdb_library = PyBytes_AS_STRING(library);
    config.ns = ns;
    c = connection_create(st, &config, prelude);
out:
    Py_XDECREF(warehouse);
    Py_XDECREF(catalog);
    Py_XDECREF(library);
    return c;
}

/* Rolls back and lets go of the session; a stream that still reads through it keeps it a little longer. */
static void connection_close(py_connection *c)
{
    py_session *handle = c->handle;
    ice_error err;
    if (!handle)
        return;
    bool foreign = ice_session_is_foreign(handle->session);
    while (c->cursors)
        ice__py_cursor_reset(c->cursors);
    if (!foreign) /* the helper thread did not come along through fork */
        ice__py_runner_free(c->runner);
    c->runner = NULL;
    c->handle = NULL; /* before the GIL goes: from here on the connection is closed for everybody */
    if (!foreign)
        rollback(handle->session, &err);
    Py_BEGIN_ALLOW_THREADS
    ice__py_session_unref(handle);
    Py_END_ALLOW_THREADS
}

static void connection_dealloc(PyObject *self)
{
    py_connection *c = (py_connection *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject *kind, *value, *trace;
    PyErr_Fetch(&kind, &value, &trace);
    connection_close(c);
    PyErr_Restore(kind, value, trace);
    free(c->late);
    Py_CLEAR(c->adapt);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- methods ---- */

static py_state *state(PyObject *self) { return ice__py_state_of_type(Py_TYPE(self)); }

static PyObject *close_method(PyObject *self, PyObject *unused)
{
    py_connection *c = (py_connection *)self;
    if (c->handle && c->busy)
        return ice__py_fail(state(self), ICE_SYNTAX, "the connection is in use by another call and can't be closed");
    connection_close(c);
    Py_RETURN_NONE;
}

static PyObject *cursor_method(PyObject *self, PyObject *unused)
{
    py_connection *c = (py_connection *)self;
    if (!c->handle)
        return ice__py_fail(state(self), ICE_MISUSE, "the connection is closed");
    return ice__py_cursor_create(state(self), c);
}

static PyObject *end(PyObject *self, ice_code (*call)(ice_session *, ice_error *))
{
    py_connection *c = (py_connection *)self;
    ice_error err;
    if (ice__py_enter(state(self), c) < 0)
        return NULL;
    ice_code rc = call(c->handle->session, &err);
    ice__py_leave(c);
    if (rc != ICE_OK)
        return ice__py_raise(state(self), &err);
    Py_RETURN_NONE;
}

static PyObject *commit_method(PyObject *self, PyObject *unused) { return end(self, commit); }
static PyObject *rollback_method(PyObject *self, PyObject *unused) { return end(self, rollback); }

/* With the GIL held: close() lets go of the session under it, so it is there for the length of this call. */
static PyObject *interrupt_method(PyObject *self, PyObject *unused)
{
    py_connection *c = (py_connection *)self;
    if (c->handle && !ice_session_is_foreign(c->handle->session)) {
        atomic_store(&c->interrupted, true);
        ice_session_interrupt(c->handle->session);
    }
    Py_RETURN_NONE;
}

static PyObject *is_usable_method(PyObject *self, PyObject *unused)
{
    py_connection *c = (py_connection *)self;
    return PyBool_FromLong(c->handle && !ice_session_is_foreign(c->handle->session));
}

static PyObject *names_of(PyObject *self, bool views)
{
    py_connection *c = (py_connection *)self;
    py_state *st = state(self);
    ice_arena *a = ice_arena_create();
    ice_str *names = NULL;
    size_t n = 0;
    ice_error err;
    ice_code rc;
    PyObject *list = NULL;
    if (!a)
        return PyErr_NoMemory();
    if (ice__py_enter(st, c) < 0)
        goto out;
    Py_BEGIN_ALLOW_THREADS
    rc = ice_session_tables(c->handle->session, views, a, &names, &n, &err);
    Py_END_ALLOW_THREADS
    ice__py_leave(c);
    if (rc != ICE_OK)
        ice__py_raise(st, &err);
    else
        list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list && i < n; i++) {
        PyObject *name = PyUnicode_DecodeUTF8(names[i].ptr, (Py_ssize_t)names[i].len, "replace");
        if (!name)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, name);
    }
    if (list && PyList_Sort(list) < 0)
        Py_CLEAR(list);
out:
    ice_arena_free(a);
    return list;
}

static PyObject *tables_method(PyObject *self, PyObject *unused)
{
    return names_of(self, false);
}

static PyObject *views_method(PyObject *self, PyObject *unused)
{
    return names_of(self, true);
}

/* ---- JSON of the core ---- */

typedef ice_code (*json_call)(ice_session *, ice_str name, ice_buf *out, ice_error *err);

static ice_code status_json(ice_session *s, ice_str name, ice_buf *out, ice_error *err)
{
    return ice_session_status_json(s, out, err);
}

static PyObject *json_text(py_state *st, py_connection *c, json_call call, ice_str name)
{
    ice_buf out = {0};
    ice_error err;
    ice_code rc;
    if (ice__py_enter(st, c) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = call(c->handle->session, name, &out, &err);
    if (rc == ICE_OK)
        rc = ice_buf_check(&out, &err);
    Py_END_ALLOW_THREADS
    ice__py_leave(c);
    PyObject *text = rc != ICE_OK ? ice__py_raise(st, &err)
                                  : PyUnicode_DecodeUTF8(out.data ? out.data : "", (Py_ssize_t)out.len, "strict");
    ice_buf_free(&out);
    return text;
}

static PyObject *json_parsed(py_state *st, const ice_buf *b)
{
    PyObject *text = PyUnicode_DecodeUTF8(b->data ? b->data : "", (Py_ssize_t)b->len, "strict");
    PyObject *o = text ? PyObject_CallOneArg(st->json_loads, text) : NULL;
    Py_XDECREF(text);
    return o;
}

static PyObject *json_object(py_state *st, py_connection *c, json_call call, ice_str name)
{
    PyObject *text = json_text(st, c, call, name);
    PyObject *o = text ? PyObject_CallOneArg(st->json_loads, text) : NULL;
    Py_XDECREF(text);
    return o;
}

static bool name_of(PyObject *o, ice_str *out)
{
    Py_ssize_t n;
    const char *s = PyUnicode_AsUTF8AndSize(o, &n); /* TypeError where it is no str */
    *out = (ice_str){s, s ? (size_t)n : 0};
    return s != NULL;
}

static PyObject *table_def_method(PyObject *self, PyObject *name)
{
    ice_str s;
    return name_of(name, &s) ? json_text(state(self), (py_connection *)self, ice_session_table_json, s) : NULL;
}

static PyObject *status_method(PyObject *self, PyObject *unused)
{
    return json_object(state(self), (py_connection *)self, status_json, ICE_STR_NONE);
}

/* {snapshot_id, committed_at_us, ...} as the core writes it to what Python sees: None for the tail's id, a datetime. */
static int snapshot_fields(py_state *st, PyObject *d)
{
    PyObject *id = PyDict_GetItemString(d, "snapshot_id"), *us = PyDict_GetItemString(d, "committed_at_us");
    if (id && PyLong_Check(id) && PyObject_Not(id) && PyDict_SetItemString(d, "snapshot_id", Py_None) < 0)
        return -1;
    if (!us || !PyLong_Check(us))
        return 0;
    PyObject *at = ice__py_utc(st, PyLong_AsLongLong(us));
    int rc = at ? PyDict_SetItemString(d, "committed_at", at) : -1;
    Py_XDECREF(at);
    return rc < 0 ? -1 : PyDict_DelItemString(d, "committed_at_us");
}

static PyObject *snapshots_method(PyObject *self, PyObject *name)
{
    py_state *st = state(self);
    ice_str s;
    if (!name_of(name, &s))
        return NULL;
    PyObject *list = json_object(st, (py_connection *)self, ice_session_snapshots_json, s);
    for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list); i++)
        if (snapshot_fields(st, PyList_GET_ITEM(list, i)) < 0)
            Py_CLEAR(list);
    return list;
}

/* ---- upkeep ---- */

static PyObject *now_method(PyObject *self, PyObject *unused)
{
    py_connection *c = (py_connection *)self;
    int64_t at;
    if (ice__py_enter(state(self), c) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    at = ice_session_now(c->handle->session);
    Py_END_ALLOW_THREADS
    ice__py_leave(c);
    return PyLong_FromLongLong(at);
}

typedef struct upkeep {
    enum { FLUSH, EXPIRE, EXPIRE_DROPPED } what;
    ice_session *session;
    ice_str table;
    int64_t before;
    size_t done;
} upkeep;

static ice_code run_upkeep(void *arg, ice_error *err)
{
    upkeep *u = arg;
    switch (u->what) {
    case FLUSH: return ice_session_flush(u->session, u->table, &u->done, err);
    case EXPIRE: return ice_session_expire(u->session, u->table, u->before, &u->done, err);
    case EXPIRE_DROPPED: return ice_session_expire_dropped(u->session, u->before, &u->done, err);
    }
    return ice_fail(err, ICE_INTERNAL, "unknown upkeep");
}

static PyObject *upkeep_call(PyObject *self, upkeep *u)
{
    py_connection *c = (py_connection *)self;
    bool raised;
    ice_error err;
    if (ice__py_enter(state(self), c) < 0)
        return NULL;
    u->session = c->handle->session;
    atomic_store(&c->interrupted, false);
    ice_code rc = ice__py_block(c, false, run_upkeep, u, &err, &raised);
    ice__py_leave(c);
    if (raised)
        return NULL;
    return rc != ICE_OK ? ice__py_raise(state(self), &err) : PyLong_FromSize_t(u->done);
}

static PyObject *table_upkeep(PyObject *self, PyObject *args, PyObject *kwargs, upkeep u, const char *format)
{
    static char *keywords[] = {"table", NULL};
    Py_ssize_t n = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, keywords, &u.table.ptr, &n))
        return NULL;
    u.table.len = (size_t)n;
    return upkeep_call(self, &u);
}

static PyObject *flush_method(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return table_upkeep(self, args, kwargs, (upkeep){.what = FLUSH}, "|z#:flush");
}

typedef struct compaction {
    ice_session *session;
    ice_str table;
    double delete_ratio;
    ice_buf out;
} compaction;

static ice_code run_compaction(void *arg, ice_error *err)
{
    compaction *u = arg;
    return ice_session_compact_json(u->session, u->table, u->delete_ratio, &u->out, err);
}

static PyObject *compact_method(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"table", "delete_ratio", NULL};
    py_state *st = state(self);
    py_connection *c = (py_connection *)self;
    compaction u = {.delete_ratio = ICE_DELETE_RATIO};
    Py_ssize_t n = 0;
    bool raised;
    ice_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|z#d:compact", keywords, &u.table.ptr, &n, &u.delete_ratio))
        return NULL;
    if (!(u.delete_ratio >= 0 && u.delete_ratio <= 1))
        return ice__py_fail(st, ICE_BAD_VALUE, "delete_ratio must be from 0 to 1");
    if (ice__py_enter(st, c) < 0)
        return NULL;
    u.table.len = (size_t)n;
    u.session = c->handle->session;
    atomic_store(&c->interrupted, false);
    ice_code rc = ice__py_block(c, false, run_compaction, &u, &err, &raised);
    ice__py_leave(c);
    PyObject *o = NULL;
    if (!raised)
        o = rc != ICE_OK ? ice__py_raise(st, &err) : json_parsed(st, &u.out);
    ice_buf_free(&u.out);
    return o;
}

static PyObject *expire_method(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"before", "table", NULL};
    upkeep u = {.what = EXPIRE};
    long long before;
    Py_ssize_t n = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "L|z#:expire", keywords, &before, &u.table.ptr, &n))
        return NULL;
    u.before = before;
    u.table.len = (size_t)n;
    return upkeep_call(self, &u);
}

static PyObject *expire_dropped_method(PyObject *self, PyObject *before)
{
    upkeep u = {.what = EXPIRE_DROPPED};
    u.before = PyLong_AsLongLong(before);
    return PyErr_Occurred() ? NULL : upkeep_call(self, &u);
}

/* The core reports from inside the call, on this thread: each report takes the GIL for its own length. */
typedef struct report {
    PyThreadState *thread;
    PyObject *problems, *progress;
} report;

static void on_problem(void *arg, const char *text)
{
    report *r = arg;
    PyEval_RestoreThread(r->thread);
    if (!PyErr_Occurred()) {
        PyObject *s = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
        if (s && PyList_Append(r->problems, s) == 0 && r->progress != Py_None)
            Py_XDECREF(PyObject_CallOneArg(r->progress, s));
        Py_XDECREF(s);
    }
    r->thread = PyEval_SaveThread();
}

static PyObject *check_method(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"progress", NULL};
    py_connection *c = (py_connection *)self;
    report r = {.progress = Py_None};
    ice_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:check", keywords, &r.progress) || !(r.problems = PyList_New(0)))
        return NULL;
    if (ice__py_enter(state(self), c) < 0) {
        Py_DECREF(r.problems);
        return NULL;
    }
    r.thread = PyEval_SaveThread();
    ice_code rc = ice_session_check(c->handle->session, on_problem, &r, &err);
    PyEval_RestoreThread(r.thread);
    ice__py_leave(c);
    if (rc != ICE_OK && !PyErr_Occurred())
        ice__py_raise(state(self), &err);
    if (PyErr_Occurred())
        Py_CLEAR(r.problems);
    return r.problems;
}

typedef struct collecting {
    PyThreadState *thread;
    PyObject *progress;
} collecting;

static void on_progress(void *arg, const char *what, double done)
{
    collecting *c = arg;
    PyEval_RestoreThread(c->thread);
    if (!PyErr_Occurred()) {
        PyObject *unused = PyObject_CallFunction(c->progress, "sd", what, done);
        Py_XDECREF(unused);
    }
    c->thread = PyEval_SaveThread();
}

static PyObject *collect_method(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"older_than_us", "dry_run", "replaced_now", "progress", NULL};
    py_state *st = state(self);
    py_connection *c = (py_connection *)self;
    collecting g = {.progress = Py_None};
    ice_collect_request r = {.older_than_us = -1, .arg = &g};
    int dry = 0, now = 0;
    long long older = -1;
    ice_buf out = {0};
    ice_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|LppO:collect", keywords, &older, &dry, &now, &g.progress) ||
        ice__py_enter(st, c) < 0)
        return NULL;
    r.older_than_us = older;
    r.dry_run = dry;
    r.replaced_now = now;
    r.progress = g.progress != Py_None ? on_progress : NULL;
    g.thread = PyEval_SaveThread();
    ice_code rc = ice_session_collect_json(c->handle->session, &r, &out, &err);
    PyEval_RestoreThread(g.thread);
    ice__py_leave(c);
    if (rc != ICE_OK && !PyErr_Occurred())
        ice__py_raise(st, &err);
    PyObject *o = PyErr_Occurred() ? NULL : json_parsed(st, &out);
    ice_buf_free(&out);
    return o;
}

/* ---- attributes ---- */

static PyObject *get_closed(PyObject *self, void *unused) { return PyBool_FromLong(!((py_connection *)self)->handle); }
static PyObject *get_autocommit(PyObject *self, void *unused) { return PyBool_FromLong(((py_connection *)self)->autocommit); }

/* As psycopg has it: what is open must be ended first, so that nothing is committed or lost by an assignment. */
static int set_autocommit(PyObject *self, PyObject *value, void *unused)
{
    py_connection *c = (py_connection *)self;
    int on = value ? PyObject_IsTrue(value) : 0;
    if (on < 0 || ice__py_enter(state(self), c) < 0)
        return -1;
    bool open = ice_session_in_transaction(c->handle->session);
    ice__py_leave(c);
    if (open && on != c->autocommit) {
        ice__py_fail(state(self), ICE_SYNTAX, "autocommit can't change inside a transaction: commit or roll back first");
        return -1;
    }
    c->autocommit = on;
    return 0;
}

static PyObject *get_in_transaction(PyObject *self, void *unused)
{
    py_connection *c = (py_connection *)self;
    return PyBool_FromLong(c->handle && !ice_session_is_foreign(c->handle->session) &&
                           ice_session_in_transaction(c->handle->session));
}

static PyObject *get_timezone(PyObject *self, void *unused)
{
    py_connection *c = (py_connection *)self;
    if (!c->handle)
        return ice__py_fail(state(self), ICE_MISUSE, "the connection is closed");
    return PyUnicode_FromString(ice_session_timezone(c->handle->session));
}

static int set_timezone(PyObject *self, PyObject *value, void *unused)
{
    py_connection *c = (py_connection *)self;
    ice_error err;
    const char *name = value ? PyUnicode_AsUTF8(value) : NULL;
    if (!name) {
        if (!value)
            PyErr_SetString(PyExc_AttributeError, "timezone can't be deleted");
        return -1;
    }
    if (ice__py_enter(state(self), c) < 0)
        return -1;
    ice_code rc = ice_session_set_timezone(c->handle->session, name, &err);
    ice__py_leave(c);
    if (rc == ICE_OK)
        return 0;
    ice__py_raise(state(self), &err);
    return -1;
}

static PyObject *get_inherited(PyObject *self, void *unused)
{
    py_connection *c = (py_connection *)self;
    return PyBool_FromLong(c->handle && ice_session_is_foreign(c->handle->session));
}

static PyObject *get_fast_path(PyObject *self, void *unused) { return PyBool_FromLong(((py_connection *)self)->fast_path); }

static int set_fast_path(PyObject *self, PyObject *value, void *unused)
{
    py_connection *c = (py_connection *)self;
    int on = value ? PyObject_IsTrue(value) : 0;
    if (on < 0 || ice__py_enter(state(self), c) < 0)
        return -1;
    ice_session_set_fast_path(c->handle->session, on);
    c->fast_path = on;
    ice__py_leave(c);
    return 0;
}

static PyMethodDef methods[] = {
    {"cursor", cursor_method, METH_NOARGS, PyDoc_STR("cursor() -> Cursor")},
    {"close", close_method, METH_NOARGS, PyDoc_STR("Rolls back and closes; again does nothing.")},
    {"commit", commit_method, METH_NOARGS, PyDoc_STR("Commits the open transaction, if there is one.")},
    {"rollback", rollback_method, METH_NOARGS, PyDoc_STR("Rolls back the open transaction, if there is one.")},
    {"interrupt", interrupt_method, METH_NOARGS, PyDoc_STR("Ends the running statement with OperationalError; from any thread.")},
    {"is_usable", is_usable_method, METH_NOARGS, PyDoc_STR("False once closed, and in a forked child.")},
    {"tables", tables_method, METH_NOARGS, PyDoc_STR("Names of the tables this connection sees, sorted.")},
    {"views", views_method, METH_NOARGS, PyDoc_STR("Names of the views this connection sees, sorted.")},
    {"table_def", table_def_method, METH_O, PyDoc_STR("table_def(name) -> JSON of the table's definition")},
    {"snapshots", snapshots_method, METH_O, PyDoc_STR("snapshots(table) -> list of dicts, newest first")},
    {"now", now_method, METH_NOARGS, PyDoc_STR("Commit time in microseconds up to which everything is visible.")},
    {"flush", (PyCFunction)(void (*)(void))flush_method, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("flush(table=None) -> number of tables published")},
    {"compact", (PyCFunction)(void (*)(void))compact_method, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("compact(table=None, delete_ratio=0.2) -> list of dicts, what was done to each Iceberg table that "
               "changed: files under 64 MiB are merged, files with more deleted rows than the ratio are rewritten")},
    {"expire", (PyCFunction)(void (*)(void))expire_method, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("expire(before, table=None): forgets history before a commit time in microseconds")},
    {"expire_dropped", expire_dropped_method, METH_O,
     PyDoc_STR("expire_dropped(before) -> number of dropped tables forgotten; their files become garbage")},
    {"collect", (PyCFunction)(void (*)(void))collect_method, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("collect(older_than_us=-1, dry_run=False, replaced_now=False, progress=None) -> dict: removes "
               "files nobody can reach; -1: older than the option orphans.grace-ms")},
    {"status", status_method, METH_NOARGS, PyDoc_STR("status() -> dict")},
    {"check", (PyCFunction)(void (*)(void))check_method, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("check(progress=None) -> list of problems; progress(text) hears of each as it is found")},
    {NULL, NULL, 0, NULL},
};

static PyObject *get_adapt(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *adapt = ((py_connection *)self)->adapt;
    return Py_NewRef(adapt ? adapt : Py_None);
}

static int set_adapt(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    Py_XSETREF(((py_connection *)self)->adapt, value && value != Py_None ? Py_NewRef(value) : NULL);
    return 0;
}

static PyGetSetDef getset[] = {
    {"closed", get_closed, NULL, NULL, NULL},
    {"autocommit", get_autocommit, set_autocommit,
     PyDoc_STR("False: a transaction opens at the first statement and ends by commit() or rollback()."), NULL},
    {"in_transaction", get_in_transaction, NULL, NULL, NULL},
    {"inherited", get_inherited, NULL, PyDoc_STR("True in a forked child of the process that opened it: only close() works."), NULL},
    {"timezone", get_timezone, set_timezone, PyDoc_STR("Session time zone, an IANA name."), NULL},
    {"adapt", get_adapt, set_adapt,
     PyDoc_STR("Called with a parameter that would be refused: gives another for it, or NotImplemented."), NULL},
    {"fast_path", get_fast_path, set_fast_path, PyDoc_STR("False sends every statement to the engine."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, connection_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {Py_tp_doc, (void *)PyDoc_STR("A session with a warehouse (PEP 249), made by connect().")},
    {0, NULL},
};

PyType_Spec ice__py_connection_spec = {
    .name = "django_iceberg._core.Connection",
    .basicsize = sizeof(py_connection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
