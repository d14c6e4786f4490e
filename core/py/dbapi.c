/* PEP 249, "Type Objects and Constructors". */
#include "py/py_int.h"

/* Equal to the type code of any column of its group: the codes are names of SQL types. */
typedef struct py_dbapi_type {
    PyObject_HEAD
    const char *const *prefixes;
} py_dbapi_type;

static const char *const strings[] = {"VARCHAR", "CHAR", "TEXT", "JSON", "UUID", "string", "uuid", NULL};
static const char *const binaries[] = {"BLOB", "BYTEA", "binary", "fixed", NULL};
static const char *const numbers[] = {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT",
                                      "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "boolean", "int", "long",
                                      "float", "double", "decimal", NULL};
static const char *const datetimes[] = {"DATE", "TIME", "INTERVAL", "date", "time", NULL};
static const char *const rowids[] = {NULL};

static const struct {
    const char *name;
    const char *const *prefixes;
} groups[] = {{"STRING", strings}, {"BINARY", binaries}, {"NUMBER", numbers}, {"DATETIME", datetimes}, {"ROWID", rowids}};

static PyObject *compare(PyObject *self, PyObject *other, int op)
{
    const char *code = PyUnicode_Check(other) ? PyUnicode_AsUTF8(other) : NULL;
    if ((op != Py_EQ && op != Py_NE) || (!code && self != other)) {
        PyErr_Clear();
        Py_RETURN_NOTIMPLEMENTED;
    }
    bool equal = self == other;
    for (const char *const *p = ((py_dbapi_type *)self)->prefixes; !equal && *p; p++)
        equal = strncmp(code, *p, strlen(*p)) == 0;
    return PyBool_FromLong(equal == (op == Py_EQ));
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    {Py_tp_dealloc, dealloc},
    {Py_tp_richcompare, compare},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {0, NULL},
};

PyType_Spec ice__py_dbapi_spec = {
    .name = "django_iceberg._core.DBAPIType",
    .basicsize = sizeof(py_dbapi_type),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

static int add(PyObject *module, const char *name, PyObject *o)
{
    int rc = o ? PyModule_AddObjectRef(module, name, o) : -1;
    Py_XDECREF(o);
    return rc;
}

static int add_constructors(PyObject *module, py_state *st)
{
    PyObject *date = (PyObject *)st->dt->DateType, *datetime = (PyObject *)st->dt->DateTimeType;
    return add(module, "Date", Py_NewRef(date)) < 0 || add(module, "Time", Py_NewRef((PyObject *)st->dt->TimeType)) < 0 ||
                   add(module, "Timestamp", Py_NewRef(datetime)) < 0 ||
                   add(module, "Binary", Py_NewRef((PyObject *)&PyMemoryView_Type)) < 0 ||
                   add(module, "DateFromTicks", PyObject_GetAttrString(date, "fromtimestamp")) < 0 ||
                   add(module, "TimestampFromTicks", PyObject_GetAttrString(datetime, "fromtimestamp")) < 0
               ? -1 : 0;
}

PyObject *ice__py_time_from_ticks(PyObject *module, PyObject *ticks)
{
    py_state *st = PyModule_GetState(module);
    PyObject *at = PyObject_CallMethod((PyObject *)st->dt->DateTimeType, "fromtimestamp", "O", ticks);
    PyObject *time = at ? PyObject_CallMethod(at, "time", NULL) : NULL;
    Py_XDECREF(at);
    return time;
}

int ice__py_add_dbapi(PyObject *module, py_state *st)
{
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        py_dbapi_type *t = (py_dbapi_type *)st->dbapi_type->tp_alloc(st->dbapi_type, 0);
        if (t)
            t->prefixes = groups[i].prefixes;
        if (add(module, groups[i].name, (PyObject *)t) < 0)
            return -1;
    }
    return add_constructors(module, st);
}
