#include "py/py_int.h"

py_state *ice__py_state_of_type(PyTypeObject *type)
{
    return PyType_GetModuleState(type); /* the types have no subclasses */
}

static PyObject *import_from(const char *module, const char *name)
{
    PyObject *m = PyImport_ImportModule(module);
    PyObject *o = m ? PyObject_GetAttrString(m, name) : NULL;
    Py_XDECREF(m);
    return o;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **out)
{
    *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *out ? PyModule_AddType(module, *out) : -1;
}

static int add_imports(py_state *st)
{
    return (st->dt = PyCapsule_Import(PyDateTime_CAPSULE_NAME, 0)) && (st->decimal_type = import_from("decimal", "Decimal")) &&
                   (st->uuid_type = import_from("uuid", "UUID")) && (st->json_loads = import_from("json", "loads")) &&
                   (st->name_utcoffset = PyUnicode_InternFromString("utcoffset")) &&
                   (st->name_bytes = PyUnicode_InternFromString("bytes")) && (st->kw_bytes = PyTuple_Pack(1, st->name_bytes)) &&
                   (st->name_int = PyUnicode_InternFromString("int")) &&
                   (st->name_is_safe = PyUnicode_InternFromString("is_safe"))
               ? ice__py_values_init(st) : -1;
}

static PyObject *close_idle(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
    ice_close_idle();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* Threads of warehouses that are kept open end before the interpreter does. */
static int close_at_exit(PyObject *module)
{
    PyObject *call = PyObject_GetAttrString(module, "close_idle");
    PyObject *atexit = call ? PyImport_ImportModule("atexit") : NULL;
    PyObject *done = atexit ? PyObject_CallMethod(atexit, "register", "O", call) : NULL;
    Py_XDECREF(call);
    Py_XDECREF(atexit);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static int module_exec(PyObject *module)
{
    py_state *st = PyModule_GetState(module);
    if (add_imports(st) < 0 || add_type(module, &ice__py_connection_spec, &st->connection_type) < 0 ||
        add_type(module, &ice__py_cursor_spec, &st->cursor_type) < 0 ||
        add_type(module, &ice__py_stream_spec, &st->stream_type) < 0 || add_type(module, &ice__py_dbapi_spec, &st->dbapi_type) < 0)
        return -1;
    if (ice__py_add_exceptions(module, st) < 0 || ice__py_add_dbapi(module, st) < 0 || close_at_exit(module) < 0)
        return -1;
    return PyModule_AddStringConstant(module, "apilevel", "2.0") < 0 || PyModule_AddIntConstant(module, "threadsafety", 1) < 0 ||
                   PyModule_AddStringConstant(module, "paramstyle", "pyformat") < 0
               ? -1 : 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    py_state *st = PyModule_GetState(module);
    for (int i = 0; i < PY_EXCEPTIONS; i++)
        Py_VISIT(st->exceptions[i]);
    Py_VISIT(st->connection_type);
    Py_VISIT(st->cursor_type);
    Py_VISIT(st->stream_type);
    Py_VISIT(st->dbapi_type);
    Py_VISIT(st->decimal_type);
    Py_VISIT(st->uuid_type);
    Py_VISIT(st->json_loads);
    Py_VISIT(st->uuid_unknown);
    return 0;
}

static int module_clear(PyObject *module)
{
    py_state *st = PyModule_GetState(module);
    for (int i = 0; i < PY_EXCEPTIONS; i++)
        Py_CLEAR(st->exceptions[i]);
    Py_CLEAR(st->connection_type);
    Py_CLEAR(st->cursor_type);
    Py_CLEAR(st->stream_type);
    Py_CLEAR(st->dbapi_type);
    Py_CLEAR(st->decimal_type);
    Py_CLEAR(st->uuid_type);
    Py_CLEAR(st->json_loads);
    Py_CLEAR(st->name_utcoffset);
    Py_CLEAR(st->name_bytes);
    Py_CLEAR(st->kw_bytes);
    Py_CLEAR(st->name_int);
    Py_CLEAR(st->name_is_safe);
    Py_CLEAR(st->uuid_unknown);
    return 0;
}

static void module_free(void *module) { module_clear(module); }

static PyMethodDef functions[] = {
    {"connect", (PyCFunction)(void (*)(void))ice__py_connect, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("connect(warehouse, *, catalog, namespace='default', duckdb_library, options={}) -> Connection")},
    {"close_idle", close_idle, METH_NOARGS,
     PyDoc_STR("Close the warehouses that are kept open without a connection.")},
    {"TimeFromTicks", ice__py_time_from_ticks, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

struct PyModuleDef ice__py_module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "django_iceberg._core",
    .m_doc = PyDoc_STR("The C core of django-iceberg as a PEP 249 module."),
    .m_size = sizeof(py_state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void);
PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&ice__py_module); }
