/* Results as Arrow (the PyCapsule interface: https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html). */
#include "py/py_int.h"

#include <stdlib.h>

#include "engine/arrow_abi.h"

/* The core's stream with a hold on the session it reads through. Called and released from any thread, without the GIL. */
typedef struct held {
    struct ArrowArrayStream inner;
    py_session *session;
} held;

static int held_schema(struct ArrowArrayStream *s, struct ArrowSchema *out)
{
    held *h = s->private_data;
    return h->inner.get_schema(&h->inner, out);
}

static int held_next(struct ArrowArrayStream *s, struct ArrowArray *out)
{
    held *h = s->private_data;
    return h->inner.get_next(&h->inner, out);
}

static const char *held_error(struct ArrowArrayStream *s)
{
    held *h = s->private_data;
    return h->inner.get_last_error(&h->inner);
}

static void held_release(struct ArrowArrayStream *s)
{
    held *h = s->private_data;
    h->inner.release(&h->inner);
    ice__py_session_unref(h->session);
    free(h);
    s->release = NULL;
}

/* ---- the Python object ---- */

typedef struct py_stream {
    PyObject_HEAD
    struct ArrowArrayStream *stream; /* NULL: handed on */
} py_stream;

/* The end of a stream may be the end of its session, which waits for other threads. */
static void stream_free(struct ArrowArrayStream *s)
{
    if (!s)
        return;
    Py_BEGIN_ALLOW_THREADS
    if (s->release)
        s->release(s);
    Py_END_ALLOW_THREADS
    free(s);
}

typedef struct arrow_call {
    ice_session *session;
    ice_prepared *prepared;
    const py_params *params;
    int64_t as_of;
    struct ArrowArrayStream *out;
} arrow_call;

static ice_code run(void *arg, ice_error *err)
{
    arrow_call *a = arg;
    return ice_session_run_arrow(a->session, a->prepared, a->params->values, a->params->n, a->as_of, a->out, err);
}

PyObject *ice__py_run_arrow(py_state *st, py_connection *c, ice_prepared *p, const py_params *params, int64_t as_of)
{
    py_stream *self = (py_stream *)st->stream_type->tp_alloc(st->stream_type, 0);
    struct ArrowArrayStream *outer = calloc(1, sizeof *outer);
    held *h = calloc(1, sizeof *h);
    bool raised = false;
    ice_error err;
    ice_code rc = self && outer && h ? ICE_OK : ice_fail_nomem(&err);
    if (rc == ICE_OK) {
        arrow_call call = {c->handle->session, p, params, as_of, &h->inner};
        atomic_store(&c->interrupted, false);
        rc = ice__py_block(c, false, run, &call, &err, &raised);
        if (raised && rc == ICE_OK)
            h->inner.release(&h->inner);
    }
    if (rc != ICE_OK || raised) {
        free(h);
        free(outer);
        Py_XDECREF(self);
        return raised ? NULL : ice__py_raise(st, &err);
    }
    atomic_fetch_add(&c->handle->refs, 1);
    h->session = c->handle;
    *outer = (struct ArrowArrayStream){held_schema, held_next, held_error, held_release, h};
    self->stream = outer;
    return (PyObject *)self;
}

static void capsule_free(PyObject *capsule) { stream_free(PyCapsule_GetPointer(capsule, "arrow_array_stream")); }

static PyObject *arrow_c_stream(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"requested_schema", NULL};
    py_stream *s = (py_stream *)self;
    PyObject *requested = NULL; /* a wish that a producer may leave unmet */
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:__arrow_c_stream__", keywords, &requested))
        return NULL;
    if (!s->stream)
        return ice__py_fail(ice__py_state_of_type(Py_TYPE(self)), ICE_SYNTAX, "this result was read already: run the statement again");
    PyObject *capsule = PyCapsule_New(s->stream, "arrow_array_stream", capsule_free);
    if (capsule)
        s->stream = NULL;
    return capsule;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    stream_free(((py_stream *)self)->stream);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"__arrow_c_stream__", (PyCFunction)(void (*)(void))arrow_c_stream, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("A capsule \"arrow_array_stream\"; once, for the rows are streamed.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {Py_tp_doc, (void *)PyDoc_STR("A result as an Arrow C stream.")},
    {0, NULL},
};

PyType_Spec ice__py_stream_spec = {
    .name = "django_iceberg._core.ArrowStream",
    .basicsize = sizeof(py_stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
