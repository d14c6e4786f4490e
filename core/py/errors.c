#include "py/py_int.h"

#include <stdarg.h>
#include <stdio.h>

/* PEP 249's hierarchy, in the order of the enum; `base` -1: Exception. */
static const struct {
    const char *name, *full;
    int base;
} exceptions[PY_EXCEPTIONS] = {
    {"Warning", "django_iceberg._core.Warning", -1},
    {"Error", "django_iceberg._core.Error", -1},
    {"InterfaceError", "django_iceberg._core.InterfaceError", PY_ERROR},
    {"DatabaseError", "django_iceberg._core.DatabaseError", PY_ERROR},
    {"DataError", "django_iceberg._core.DataError", PY_DATABASE},
    {"OperationalError", "django_iceberg._core.OperationalError", PY_DATABASE},
    {"IntegrityError", "django_iceberg._core.IntegrityError", PY_DATABASE},
    {"InternalError", "django_iceberg._core.InternalError", PY_DATABASE},
    {"ProgrammingError", "django_iceberg._core.ProgrammingError", PY_DATABASE},
    {"NotSupportedError", "django_iceberg._core.NotSupportedError", PY_DATABASE},
};

int ice__py_add_exceptions(PyObject *module, py_state *st)
{
    for (int i = 0; i < PY_EXCEPTIONS; i++) {
        PyObject *base = exceptions[i].base < 0 ? NULL : st->exceptions[exceptions[i].base];
        PyObject *dict = NULL;
        if (i == PY_ERROR &&
            !(dict = Py_BuildValue("{sOsOsOsO}", "sqlstate", Py_None, "code", Py_None, "table_name", Py_None,
                                   "constraint_name", Py_None)))
            return -1;
        st->exceptions[i] = PyErr_NewException(exceptions[i].full, base, dict);
        Py_XDECREF(dict);
        if (!st->exceptions[i] || PyModule_AddObjectRef(module, exceptions[i].name, st->exceptions[i]) < 0)
            return -1;
    }
    return 0;
}

static PyObject *exception_of(py_state *st, ice_code code)
{
    const char *name = ice_code_exception(code);
    for (int i = 0; i < PY_EXCEPTIONS; i++)
        if (strcmp(exceptions[i].name, name) == 0)
            return st->exceptions[i];
    return st->exceptions[PY_DATABASE];
}

static int set_text(PyObject *exc, const char *name, const char *text)
{
    if (!*text)
        return 0; /* the class says None */
    PyObject *value = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    int rc = value ? PyObject_SetAttrString(exc, name, value) : -1;
    Py_XDECREF(value);
    return rc;
}

PyObject *ice__py_raise(py_state *st, const ice_error *err)
{
    PyObject *type = exception_of(st, err->code), *exc = NULL;
    PyObject *message = PyUnicode_DecodeUTF8(err->message, (Py_ssize_t)strlen(err->message), "replace");
    if (message)
        exc = PyObject_CallOneArg(type, message);
    Py_XDECREF(message);
    if (exc && set_text(exc, "sqlstate", ice_code_sqlstate(err->code)) == 0 &&
        set_text(exc, "code", ice_code_name(err->code)) == 0 && set_text(exc, "table_name", err->table) == 0 &&
        set_text(exc, "constraint_name", err->constraint) == 0)
        PyErr_SetObject(type, exc);
    Py_XDECREF(exc);
    return NULL;
}

PyObject *ice__py_fail(py_state *st, ice_code code, const char *fmt, ...)
{
    ice_error err = {.code = code};
    va_list args;
    va_start(args, fmt);
    vsnprintf(err.message, sizeof err.message, fmt, args);
    va_end(args);
    return ice__py_raise(st, &err);
}

PyObject *ice__py_chain(py_state *st, ice_code code, const char *what)
{
    PyObject *type, *value, *trace, *now;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *text = value ? PyObject_Str(value) : NULL;
    const char *reason = text ? PyUnicode_AsUTF8(text) : NULL;
    PyErr_Clear();
    ice__py_fail(st, code, "%s: %s", what, reason ? reason : "not convertible");
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(trace);
    PyErr_Fetch(&type, &now, &trace);
    PyErr_NormalizeException(&type, &now, &trace);
    if (now && value)
        PyException_SetCause(now, value); /* takes the reference */
    else
        Py_XDECREF(value);
    PyErr_Restore(type, now, trace);
    return NULL;
}
