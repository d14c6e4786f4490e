/* Results: values of the core as Python objects. */
#include "py/py_int.h"

#define US_PER_SECOND INT64_C(1000000)
#define US_PER_DAY (86400 * US_PER_SECOND)

static PyObject *decimal(py_state *st, const ice_value *v)
{
    char text[48], *p = text + sizeof text;
    unsigned __int128 n = v->dec < 0 ? -(unsigned __int128)v->dec : (unsigned __int128)v->dec;
    for (int i = 0; n || i <= v->scale; i++) {
        if (i && i == v->scale)
            *--p = '.';
        *--p = (char)('0' + (int)(n % 10));
        n /= 10;
    }
    if (v->dec < 0)
        *--p = '-';
    PyObject *s = PyUnicode_FromStringAndSize(p, text + sizeof text - p);
    PyObject *d = s ? PyObject_CallOneArg(st->decimal_type, s) : NULL;
    Py_XDECREF(s);
    return d;
}

typedef struct civil {
    int64_t year;
    int month, day;
} civil;

/* Of days since 1970-01-01, for |days| under 2^40. */
static civil civil_of(int64_t days)
{
    days += 719468;
    int64_t era = (days - (days < 0 ? 146096 : 0)) / 146097, of_era = days - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100), m = (5 * of_year + 2) / 153;
    int month = (int)(m < 10 ? m + 3 : m - 9);
    return (civil){era * 400 + year + (month <= 2), month, (int)(of_year - (153 * m + 2) / 5 + 1)};
}

static PyObject *out_of_range(py_state *st, const char *what)
{
    return ice__py_fail(st, ICE_DATETIME, "%s outside of Python's years 1 to 9999", what);
}

static PyObject *date(py_state *st, int64_t days)
{
    civil c = civil_of(days);
    if (c.year < 1 || c.year > 9999)
        return out_of_range(st, "a date");
    return st->dt->Date_FromDate((int)c.year, c.month, c.day, st->dt->DateType);
}

static PyObject *datetime(py_state *st, int64_t us, PyObject *zone)
{
    int64_t days = us / US_PER_DAY - (us % US_PER_DAY < 0), rest = us - days * US_PER_DAY;
    int seconds = (int)(rest / US_PER_SECOND);
    civil c = civil_of(days);
    if (c.year < 1 || c.year > 9999)
        return out_of_range(st, "a timestamp");
    return st->dt->DateTime_FromDateAndTime((int)c.year, c.month, c.day, seconds / 3600, seconds / 60 % 60, seconds % 60,
                                            (int)(rest % US_PER_SECOND), zone, st->dt->DateTimeType);
}

PyObject *ice__py_utc(py_state *st, int64_t us) { return datetime(st, us, st->dt->TimeZone_UTC); }

static PyObject *time_of(py_state *st, int64_t us)
{
    int seconds = (int)(us / US_PER_SECOND);
    if (us < 0 || us >= US_PER_DAY)
        return ice__py_fail(st, ICE_DATETIME, "a time outside of Python's 00:00 to 23:59:59.999999");
    return st->dt->Time_FromTime(seconds / 3600, seconds / 60 % 60, seconds % 60, (int)(us % US_PER_SECOND), Py_None,
                                 st->dt->TimeType);
}

PyObject *ice__py_duration(py_state *st, const ice_value *v)
{
    if (v->null)
        Py_RETURN_NONE;
    int64_t days = v->i / US_PER_DAY - (v->i % US_PER_DAY < 0), rest = v->i - days * US_PER_DAY;
    return st->dt->Delta_FromDelta((int)days, (int)(rest / US_PER_SECOND), (int)(rest % US_PER_SECOND), 0, st->dt->DeltaType);
}

static PyObject *uuid_int(const uint8_t b[16])
{
    unsigned long long hi = 0, lo = 0;
    for (int i = 0; i < 8; i++) {
        hi = hi << 8 | b[i];
        lo = lo << 8 | b[i + 8];
    }
    PyObject *h = PyLong_FromUnsignedLongLong(hi), *l = PyLong_FromUnsignedLongLong(lo), *bits = PyLong_FromLong(64);
    PyObject *shifted = h && bits ? PyNumber_Lshift(h, bits) : NULL;
    PyObject *n = shifted && l ? PyNumber_Or(shifted, l) : NULL;
    Py_XDECREF(h);
    Py_XDECREF(l);
    Py_XDECREF(bits);
    Py_XDECREF(shifted);
    return n;
}

/* The two slots that UUID.__init__ fills, filled without it: four times as fast. */
static PyObject *uuid_by_slots(py_state *st, const uint8_t b[16])
{
    PyTypeObject *type = (PyTypeObject *)st->uuid_type;
    PyObject *u = type->tp_alloc(type, 0), *n = uuid_int(b);
    if (!u || !n || PyObject_GenericSetAttr(u, st->name_int, n) < 0 ||
        PyObject_GenericSetAttr(u, st->name_is_safe, st->uuid_unknown) < 0)
        Py_CLEAR(u);
    Py_XDECREF(n);
    return u;
}

static PyObject *uuid_by_init(py_state *st, const uint8_t b[16])
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)b, 16);
    PyObject *u = bytes ? PyObject_Vectorcall(st->uuid_type, &bytes, 0, st->kw_bytes) : NULL;
    Py_XDECREF(bytes);
    return u;
}

static PyObject *uuid(py_state *st, const ice_value *v)
{
    return st->uuid_unknown ? uuid_by_slots(st, v->uuid) : uuid_by_init(st, v->uuid);
}

/* Whether this Python's UUID has the slots as known: what they make must equal what UUID() makes. */
int ice__py_values_init(py_state *st)
{
    static const uint8_t sample[16] = {0xf0, 1, 2, 3, 4, 5, 6, 7, 0x88, 9, 10, 11, 12, 13, 14, 15};
    PyObject *module = PyImport_ImportModule("uuid");
    PyObject *safe = module ? PyObject_GetAttrString(module, "SafeUUID") : NULL;
    PyObject *by_init = uuid_by_init(st, sample), *by_slots = NULL;
    st->uuid_unknown = safe ? PyObject_GetAttrString(safe, "unknown") : NULL;
    if (st->uuid_unknown && by_init)
        by_slots = uuid_by_slots(st, sample);
    if (!by_slots || PyObject_RichCompareBool(by_slots, by_init, Py_EQ) != 1)
        Py_CLEAR(st->uuid_unknown);
    PyErr_Clear();
    Py_XDECREF(module);
    Py_XDECREF(safe);
    Py_XDECREF(by_slots);
    int rc = by_init ? 0 : -1;
    Py_XDECREF(by_init);
    if (rc < 0)
        PyErr_SetString(PyExc_ImportError, "uuid.UUID can't be made from bytes");
    return rc;
}

static PyObject *text(py_state *st, ice_str s)
{
    PyObject *o = PyUnicode_DecodeUTF8(s.ptr ? s.ptr : "", (Py_ssize_t)s.len, "strict");
    return o ? o : ice__py_chain(st, ICE_BAD_VALUE, "text that is not UTF-8");
}

PyObject *ice__py_value(py_state *st, const ice_value *v)
{
    if (v->null)
        Py_RETURN_NONE;
    switch ((ice_kind)v->kind) {
    case ICE_T_BOOL: return PyBool_FromLong(v->b);
    case ICE_T_INT:
    case ICE_T_LONG: return PyLong_FromLongLong(v->i);
    case ICE_T_FLOAT:
    case ICE_T_DOUBLE: return PyFloat_FromDouble(v->d);
    case ICE_T_DECIMAL: return decimal(st, v);
    case ICE_T_DATE: return date(st, v->i);
    case ICE_T_TIME: return time_of(st, v->i);
    case ICE_T_TIMESTAMP: return datetime(st, v->i, Py_None);
    case ICE_T_TIMESTAMPTZ: return ice__py_utc(st, v->i);
    case ICE_T_STRING: return text(st, v->s);
    case ICE_T_UUID: return uuid(st, v);
    case ICE_T_FIXED:
    case ICE_T_BINARY: return PyBytes_FromStringAndSize(v->s.ptr, (Py_ssize_t)v->s.len);
    case ICE_T_NONE: break;
    }
    return ice__py_fail(st, ICE_INTERNAL, "a value of kind %d in a result", v->kind);
}
