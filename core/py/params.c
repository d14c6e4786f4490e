/* Parameters: exact or refused, never rounded. */
#include "py/py_int.h"

#include <ctype.h>

#define US_PER_SECOND INT64_C(1000000)
#define US_PER_DAY (86400 * US_PER_SECOND)
enum { MAX_DIGITS = 38 };

/* ---- numbers ---- */

/* The significant digits of decimal text and the scale as written; false where it is not a finite number. */
typedef struct digits {
    char d[128];
    long n, scale;
} digits;

static bool read_digits(const char *s, digits *out)
{
    bool point = false, any = false;
    *out = (digits){.n = 0};
    for (; isdigit((unsigned char)*s) || (*s == '.' && !point); s++) {
        if (*s == '.') {
            point = true;
            continue;
        }
        any = true;
        out->scale += point;
        if (out->n == 0 && *s == '0')
            continue;
        if (out->n == (long)sizeof out->d)
            return false;
        out->d[out->n++] = *s;
    }
    if (*s == 'E' || *s == 'e') {
        char *end;
        out->scale -= strtol(s + 1, &end, 10);
        s = end;
    }
    return any && !*s;
}

/* Text as str(Decimal) and int print it. Exact: the scale is kept as written, but zeros at its end go where they cost
 * more than 38 digits. false: not a number, or one of more digits. */
static bool parse_decimal(const char *s, ice_value *out)
{
    bool negative = *s == '-';
    unsigned __int128 n = 0;
    digits d;

    if (!read_digits(s + negative, &d))
        return false;
    if (d.n == 0) /* 0E-50, 0E+50 */
        d.scale = d.scale < 0 ? 0 : d.scale > MAX_DIGITS ? MAX_DIGITS : d.scale;
    while (d.n > 0 && d.d[d.n - 1] == '0' && (d.n > MAX_DIGITS || d.scale > MAX_DIGITS)) {
        d.n--;
        d.scale--;
    }
    long zeros = d.scale < 0 ? -d.scale : 0;
    if (d.scale > MAX_DIGITS || zeros > MAX_DIGITS || d.n + zeros > MAX_DIGITS)
        return false;
    for (long i = 0; i < d.n; i++)
        n = n * 10 + (unsigned)(d.d[i] - '0');
    for (long i = 0; i < zeros; i++)
        n *= 10;
    *out = (ice_value){.kind = ICE_T_DECIMAL, .scale = (uint8_t)(d.scale < 0 ? 0 : d.scale)};
    out->dec = negative ? -(ice_i128)n : (ice_i128)n;
    return true;
}

static int bind_decimal_text(py_state *st, PyObject *text, const char *what, ice_value *out)
{
    const char *s = text ? PyUnicode_AsUTF8(text) : NULL;
    int rc = -1;
    if (!s)
        ice__py_chain(st, ICE_RANGE, what);
    else if (parse_decimal(s, out))
        rc = 0;
    else
        ice__py_fail(st, ICE_RANGE, "%s %.60s%s is not a number of at most %d digits", what, s, strlen(s) > 60 ? "..." : "",
                     MAX_DIGITS);
    Py_XDECREF(text);
    return rc;
}

static int bind_int(py_state *st, PyObject *o, ice_value *out)
{
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (n == -1 && PyErr_Occurred())
        return -1;
    if (overflow)
        return bind_decimal_text(st, PyNumber_ToBase(o, 10), "int", out);
    *out = (ice_value){.kind = ICE_T_LONG, .i = n};
    return 0;
}

/* ---- dates ---- */

/* Days since 1970-01-01 of a proleptic Gregorian date, years 1 to 9999. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = y / 400, of_era = y % 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t us_of_delta(PyObject *d) /* of an offset from UTC, under a day */
{
    return PyDateTime_DELTA_GET_DAYS(d) * US_PER_DAY + PyDateTime_DELTA_GET_SECONDS(d) * US_PER_SECOND +
           PyDateTime_DELTA_GET_MICROSECONDS(d);
}

static int bind_datetime(py_state *st, PyObject *o, ice_value *out)
{
    int64_t us = days_of(PyDateTime_GET_YEAR(o), PyDateTime_GET_MONTH(o), PyDateTime_GET_DAY(o)) * US_PER_DAY +
                 (PyDateTime_DATE_GET_HOUR(o) * INT64_C(3600) + PyDateTime_DATE_GET_MINUTE(o) * 60 +
                  PyDateTime_DATE_GET_SECOND(o)) * US_PER_SECOND + PyDateTime_DATE_GET_MICROSECOND(o);
    PyObject *zone = PyDateTime_DATE_GET_TZINFO(o);
    *out = (ice_value){.kind = zone == Py_None ? ICE_T_TIMESTAMP : ICE_T_TIMESTAMPTZ, .i = us};
    if (zone == Py_None || zone == st->dt->TimeZone_UTC)
        return 0;
    PyObject *offset = PyObject_CallMethodNoArgs(o, st->name_utcoffset);
    if (!offset)
        return -1;
    if (offset == Py_None)
        out->kind = ICE_T_TIMESTAMP; /* a tzinfo without an offset is naive */
    else
        out->i = us - us_of_delta(offset);
    Py_DECREF(offset);
    return 0;
}

static int bind_time(py_state *st, PyObject *o, ice_value *out)
{
    if (PyDateTime_TIME_GET_TZINFO(o) != Py_None) {
        ice__py_fail(st, ICE_BAD_VALUE, "a time with a time zone can't be stored: %s", "use a datetime, or a naive time");
        return -1;
    }
    *out = (ice_value){.kind = ICE_T_TIME,
                       .i = (PyDateTime_TIME_GET_HOUR(o) * INT64_C(3600) + PyDateTime_TIME_GET_MINUTE(o) * 60 +
                             PyDateTime_TIME_GET_SECOND(o)) * US_PER_SECOND + PyDateTime_TIME_GET_MICROSECOND(o)};
    return 0;
}

static int bind_delta(py_state *st, PyObject *o, ice_value *out)
{
    int64_t us;
    *out = (ice_value){.kind = ICE_T_LONG};
    if (__builtin_mul_overflow((int64_t)PyDateTime_DELTA_GET_DAYS(o), US_PER_DAY, &us) ||
        __builtin_add_overflow(us, PyDateTime_DELTA_GET_SECONDS(o) * US_PER_SECOND + PyDateTime_DELTA_GET_MICROSECONDS(o),
                               &out->i)) {
        ice__py_fail(st, ICE_RANGE, "timedelta of %d days does not fit into 64 bits of microseconds",
                     PyDateTime_DELTA_GET_DAYS(o));
        return -1;
    }
    return 0;
}

/* ---- texts and bytes ---- */

static int bind_str(py_state *st, PyObject *o, ice_value *out)
{
    Py_ssize_t n;
    const char *s = PyUnicode_AsUTF8AndSize(o, &n);
    if (!s) {
        ice__py_chain(st, ICE_BAD_VALUE, "str can't be stored as UTF-8");
        return -1;
    }
    if (memchr(s, 0, (size_t)n)) {
        ice__py_fail(st, ICE_BAD_VALUE, "a str with a NUL character can't be stored: %s", "take it out, or use bytes");
        return -1;
    }
    *out = (ice_value){.kind = ICE_T_STRING, .s = {s, (size_t)n}};
    return 0;
}

/* Takes the reference to a bytes object into the keep list. */
static int keep(py_params *p, PyObject *o)
{
    if (!p->keep && !(p->keep = PyList_New(0))) {
        Py_DECREF(o);
        return -1;
    }
    int rc = PyList_Append(p->keep, o);
    Py_DECREF(o);
    return rc;
}

static int bind_buffer(py_params *p, PyObject *o, ice_value *out)
{
    if (!PyBytes_Check(o)) {
        PyObject *copy = PyBytes_FromObject(o); /* others may change or move it */
        if (!copy || keep(p, copy) < 0)
            return -1;
        o = copy;
    }
    *out = (ice_value){.kind = ICE_T_BINARY, .s = {PyBytes_AS_STRING(o), (size_t)PyBytes_GET_SIZE(o)}};
    return 0;
}

static int bind_uuid(py_state *st, PyObject *o, ice_value *out)
{
    PyObject *b = PyObject_GetAttr(o, st->name_bytes);
    if (!b)
        return -1;
    bool good = PyBytes_Check(b) && PyBytes_GET_SIZE(b) == 16;
    *out = (ice_value){.kind = ICE_T_UUID};
    if (good)
        memcpy(out->uuid, PyBytes_AS_STRING(b), 16);
    else
        ice__py_fail(st, ICE_BAD_VALUE, "UUID whose bytes are not 16 bytes");
    Py_DECREF(b);
    return good ? 0 : -1;
}

/* ---- any object ---- */

/* bool before int, datetime before date: each is a subclass of the other. Subclasses (enums, SafeString) are their base's value. */
static int bind_known(py_state *st, py_params *p, PyObject *o, ice_value *out)
{
    if (o == Py_None) {
        *out = ICE_NULL;
        return 0;
    }
    if (PyUnicode_Check(o))
        return bind_str(st, o, out);
    if (PyBool_Check(o)) {
        *out = (ice_value){.kind = ICE_T_BOOL, .b = o == Py_True};
        return 0;
    }
    if (PyLong_Check(o))
        return bind_int(st, o, out);
    if (PyFloat_Check(o)) {
        *out = (ice_value){.kind = ICE_T_DOUBLE, .d = PyFloat_AS_DOUBLE(o)};
        return 0;
    }
    if (PyObject_TypeCheck(o, st->dt->DateTimeType))
        return bind_datetime(st, o, out);
    if (PyObject_TypeCheck(o, st->dt->DateType)) {
        *out = (ice_value){.kind = ICE_T_DATE,
                           .i = days_of(PyDateTime_GET_YEAR(o), PyDateTime_GET_MONTH(o), PyDateTime_GET_DAY(o))};
        return 0;
    }
    if (PyObject_TypeCheck(o, (PyTypeObject *)st->decimal_type))
        return bind_decimal_text(st, PyObject_Str(o), "Decimal", out);
    if (PyObject_TypeCheck(o, (PyTypeObject *)st->uuid_type))
        return bind_uuid(st, o, out);
    if (PyBytes_Check(o) || PyByteArray_Check(o) || PyMemoryView_Check(o))
        return bind_buffer(p, o, out);
    if (PyObject_TypeCheck(o, st->dt->DeltaType))
        return bind_delta(st, o, out);
    if (PyObject_TypeCheck(o, st->dt->TimeType))
        return bind_time(st, o, out);
    ice__py_fail(st, ICE_SYNTAX, "a parameter of type %s is not supported", Py_TYPE(o)->tp_name);
    return -1;
}

/* What is refused the connection's `adapt` may have something else for, or an error of its own. */
static int bind(py_state *st, py_params *p, PyObject *o, ice_value *out)
{
    PyObject *type, *value, *trace, *other;
    if (bind_known(st, p, o, out) == 0)
        return 0;
    if (!p->adapt)
        return -1;
    PyErr_Fetch(&type, &value, &trace);
    other = PyObject_CallOneArg(p->adapt, o);
    if (other == Py_NotImplemented) {
        Py_DECREF(other);
        PyErr_Restore(type, value, trace);
        return -1;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    if (!other || keep(p, Py_NewRef(other)) < 0) {
        Py_XDECREF(other);
        return -1;
    }
    int rc = bind_known(st, p, other, out);
    Py_DECREF(other); /* the keep list has it */
    return rc;
}

/* ---- the parameters of a statement ---- */

static int room(py_params *p, PyObject *adapt, size_t n)
{
    *p = (py_params){.n = n, .adapt = adapt};
    p->values = p->few;
    if (n > PY_FEW_PARAMS && !(p->values = PyMem_New(ice_value, n))) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

void ice__py_params_free(py_params *p)
{
    if (p->values && p->values != p->few)
        PyMem_Free(p->values);
    p->values = NULL;
    Py_CLEAR(p->keep);
}

static int bind_sequence(py_state *st, PyObject *params, size_t n, py_params *out)
{
    PyObject *items = PySequence_Fast(params, "parameters must be a sequence or a mapping");
    int rc = -1;
    if (!items)
        return -1;
    size_t given = (size_t)PySequence_Fast_GET_SIZE(items);
    if (given != n) {
        ice__py_fail(st, ICE_SYNTAX, "the statement has %zu placeholders, but %zu parameters are given", n, given);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        /* Held for the time of the conversion: it may run Python code that changes a list. */
        PyObject *o = (Py_ssize_t)i < PySequence_Fast_GET_SIZE(items)
                          ? Py_NewRef(PySequence_Fast_GET_ITEM(items, (Py_ssize_t)i)) : NULL;
        if (!o) {
            ice__py_fail(st, ICE_MISUSE, "the parameters changed while they were read");
            goto out;
        }
        int bad = bind(st, out, o, &out->values[i]);
        /* A list's items may go while the statement runs without the GIL. */
        if (!bad && !PyTuple_CheckExact(params))
            bad = keep(out, Py_NewRef(o));
        Py_DECREF(o);
        if (bad)
            goto out;
    }
    /* What a sequence of another kind made for us lives as long as the values. */
    rc = items == params ? 0 : keep(out, Py_NewRef(items));
out:
    Py_DECREF(items);
    return rc;
}

static int bind_mapping(py_state *st, PyObject *params, const ice_str *names, py_params *out)
{
    for (size_t i = 0; i < out->n; i++) {
        PyObject *key = PyUnicode_DecodeUTF8(names[i].ptr, (Py_ssize_t)names[i].len, "strict");
        PyObject *o = key ? PyObject_GetItem(params, key) : NULL;
        Py_XDECREF(key);
        if (!o) {
            if (PyErr_ExceptionMatches(PyExc_KeyError))
                ice__py_chain(st, ICE_SYNTAX, "no parameter for a placeholder");
            return -1;
        }
        if (bind(st, out, o, &out->values[i]) < 0) {
            Py_DECREF(o);
            return -1;
        }
        if (keep(out, o) < 0)
            return -1;
    }
    return 0;
}

int ice__py_bind(py_state *st, PyObject *adapt, PyObject *params, size_t n, const ice_str *names, py_params *out)
{
    if (room(out, adapt, n) < 0)
        return -1;
    if (!params) {
        if (n == 0)
            return 0;
        ice__py_fail(st, ICE_SYNTAX, "the statement has %zu placeholders, but no parameters are given", n);
        return -1;
    }
    bool sequence = PyTuple_Check(params) || PyList_Check(params);
    bool mapping = !sequence && (PyDict_Check(params) || (names && PyMapping_Check(params)));
    if (PyUnicode_Check(params) || PyBytes_Check(params) || PyByteArray_Check(params)) {
        ice__py_fail(st, ICE_SYNTAX, "parameters must be a sequence or a mapping, not %s", Py_TYPE(params)->tp_name);
        return -1;
    }
    if (mapping && n > 0 && !names) {
        ice__py_fail(st, ICE_SYNTAX, "the placeholders are positional (%%s), but the parameters are a mapping");
        return -1;
    }
    if (!mapping && names && n > 0) {
        ice__py_fail(st, ICE_SYNTAX, "the placeholders are named (%%(name)s), but the parameters are a sequence");
        return -1;
    }
    if (mapping)
        return bind_mapping(st, params, names, out);
    return bind_sequence(st, params, n, out);
}
