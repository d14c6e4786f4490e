/* connect(options=...): the keys of DATABASES' OPTIONS, as docs name them. */
#include "py/py_int.h"

#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

typedef enum option_kind { INTEGER, BYTES, FLAG, CHOICE, PRELUDE, ELSEWHERE } option_kind;

typedef struct option {
    const char *name;
    option_kind kind;
    size_t offset;
    const char *on, *off; /* CHOICE: texts of true and false */
    unsigned given;       /* ICE_GIVEN_...; 0: of the session */
} option;

#define AT(field) offsetof(ice_config, field)
static const option options_known[] = {
    {"flush.interval-ms", INTEGER, AT(flush_interval_ms), NULL, NULL, ICE_GIVEN_FLUSH_INTERVAL},
    {"flush.bytes", BYTES, AT(flush_bytes), NULL, NULL, ICE_GIVEN_FLUSH_BYTES},
    {"flush.rewrite-bytes", BYTES, AT(rewrite_bytes), NULL, NULL, ICE_GIVEN_REWRITE_BYTES},
    {"flush.backlog", INTEGER, AT(flush_backlog), NULL, NULL, ICE_GIVEN_FLUSH_BACKLOG},
    {"bulk.rows", INTEGER, AT(bulk_rows), NULL, NULL, 0},
    {"orphans.grace-ms", INTEGER, AT(orphans_grace_ms), NULL, NULL, ICE_GIVEN_ORPHANS},
    {"flush.background", FLAG, AT(background_flush), NULL, NULL, ICE_GIVEN_FLUSH_BACKGROUND},
    {"memory.budget", BYTES, AT(memory_budget), NULL, NULL, ICE_GIVEN_MEMORY},
    {"cache.max-size", BYTES, AT(cache_max), NULL, NULL, ICE_GIVEN_CACHE},
    {"log.max-bytes", BYTES, AT(log_max_bytes), NULL, NULL, ICE_GIVEN_LOG_BYTES},
    {"threads", INTEGER, AT(threads), NULL, NULL, ICE_GIVEN_THREADS},
    {"lock.timeout-ms", INTEGER, AT(lock_timeout_ms), NULL, NULL, 0},
    {"clock.max-skew-ms", INTEGER, AT(max_skew_ms), NULL, NULL, ICE_GIVEN_SKEW},
    {"keep-open", FLAG, AT(keep_open), NULL, NULL, 0}, /* the backend's: connections come and go with requests */
    {"read-only", FLAG, AT(read_only), NULL, NULL, 0},
    {"durability", CHOICE, AT(sync), "full", "os", ICE_GIVEN_DURABILITY},
    {"isolation-level", CHOICE, AT(snapshot_isolation), "snapshot", "read committed", 0},
    {"prelude", PRELUDE, 0, NULL, NULL, 0},
    {"history.retention", ELSEWHERE, 0, NULL, NULL, 0}, /* the upkeep commands pass it to expire() */
    {"max-staleness-ms", ELSEWHERE, 0, NULL, NULL, 0},  /* a local log is never stale */
};

/* Object stores' and REST catalogs' keys: nothing to a local warehouse. */
static const char *const store_prefixes[] = {"s3.", "gcs.", "adls.", "header.", "ssl.", "rest."};
static const char *const store_keys[] = {"token", "credential", "scope", "resource", "audience", "oauth2-server-uri"};

static bool is_store_key(const char *key)
{
    for (size_t i = 0; i < sizeof store_prefixes / sizeof *store_prefixes; i++)
        if (strncmp(key, store_prefixes[i], strlen(store_prefixes[i])) == 0)
            return true;
    for (size_t i = 0; i < sizeof store_keys / sizeof *store_keys; i++)
        if (strcmp(key, store_keys[i]) == 0)
            return true;
    return false;
}

static int bad(py_state *st, const char *key, const char *wanted)
{
    ice__py_fail(st, ICE_CONFIG, "option '%s' must be %s", key, wanted);
    return -1;
}

/* "1048576", "64MB", "4 GiB", "50%" (of the machine's memory); units are powers of 1024. */
static bool parse_bytes(const char *s, double *out)
{
    char *end;
    double n = strtod(s, &end);
    if (end == s || !(n >= 0))
        return false;
    while (*end == ' ')
        end++;
    if (strcmp(end, "%") == 0) {
        *out = n / 100 * (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
        return n <= 100;
    }
    static const char units[] = "KMGT";
    for (int i = 0; *end && units[i]; i++)
        if ((*end & ~32) == units[i]) {
            n *= (double)(UINT64_C(1) << 10 * (i + 1));
            end++;
            break;
        }
    *out = n;
    return (!*end || strcasecmp(end, "b") == 0 || strcasecmp(end, "ib") == 0) && n < 9e18;
}

static int read_number(py_state *st, const char *key, PyObject *value, bool bytes, int64_t *out)
{
    const char *wanted = bytes ? "a size: bytes, or text as '64MB' or '50%'" : "an integer";
    double size;
    if (PyLong_Check(value) && !PyBool_Check(value)) {
        *out = PyLong_AsLongLong(value);
        if (*out == -1 && PyErr_Occurred()) {
            PyErr_Clear();
            return bad(st, key, wanted);
        }
        return bytes && *out < 0 ? bad(st, key, wanted) : 0;
    }
    const char *s = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
    char *end;
    if (!s) {
        PyErr_Clear();
        return bad(st, key, wanted);
    }
    if (bytes) {
        if (!parse_bytes(s, &size))
            return bad(st, key, wanted);
        *out = (int64_t)size;
        return 0;
    }
    *out = strtoll(s, &end, 10);
    return *end || end == s ? bad(st, key, wanted) : 0;
}

static int set_number(py_state *st, const option *o, PyObject *value, ice_config *config)
{
    int64_t n;
    if (read_number(st, o->name, value, o->kind == BYTES, &n) < 0)
        return -1;
    if (o->offset == AT(threads)) {
        if (n < 0 || n > 4096)
            return bad(st, o->name, "0 (as many as cores) to 4096");
        config->threads = (int)n;
    } else if (o->offset == AT(lock_timeout_ms)) {
        config->lock_timeout_ms = n > 0 ? n : -1; /* users write PostgreSQL's 0: no limit */
    } else {
        memcpy((char *)config + o->offset, &n, sizeof n);
    }
    return 0;
}

static int set_choice(py_state *st, const option *o, PyObject *value, ice_config *config)
{
    const char *s = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
    bool on = s && strcasecmp(s, o->on) == 0;
    if (!on && !(s && strcasecmp(s, o->off) == 0)) {
        PyErr_Clear();
        ice__py_fail(st, ICE_CONFIG, "option '%s' must be '%s' or '%s'", o->name, o->on, o->off);
        return -1;
    }
    *(bool *)((char *)config + o->offset) = on;
    return 0;
}

static int set_flag(py_state *st, const option *o, PyObject *value, ice_config *config)
{
    if (!PyBool_Check(value))
        return bad(st, o->name, "True or False");
    *(bool *)((char *)config + o->offset) = value == Py_True;
    return 0;
}

static int set(py_state *st, const char *key, PyObject *value, ice_config *config, PyObject **prelude)
{
    for (size_t i = 0; i < sizeof options_known / sizeof *options_known; i++) {
        const option *o = &options_known[i];
        if (strcmp(o->name, key) != 0)
            continue;
        config->given |= o->given;
        switch (o->kind) {
        case INTEGER:
        case BYTES: return set_number(st, o, value, config);
        case FLAG: return set_flag(st, o, value, config);
        case CHOICE: return set_choice(st, o, value, config);
        case PRELUDE:
            if (!PyList_Check(value) && !PyTuple_Check(value))
                return bad(st, key, "a list of SQL statements");
            *prelude = value;
            return 0;
        case ELSEWHERE: return 0;
        }
    }
    if (is_store_key(key))
        return 0;
    ice__py_fail(st, ICE_CONFIG, "unknown option '%s'", key);
    return -1;
}

int ice__py_options(py_state *st, PyObject *options, ice_config *config, PyObject **prelude)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    *prelude = NULL;
    if (!options || options == Py_None)
        return 0;
    if (!PyDict_Check(options)) {
        ice__py_fail(st, ICE_CONFIG, "options must be a dict, not %s", Py_TYPE(options)->tp_name);
        return -1;
    }
    while (PyDict_Next(options, &at, &key, &value)) {
        const char *name = PyUnicode_Check(key) ? PyUnicode_AsUTF8(key) : NULL;
        if (!name) {
            PyErr_Clear();
            return bad(st, "(key)", "named by a str");
        }
        if (value != Py_None && set(st, name, value, config, prelude) < 0)
            return -1;
    }
    return 0;
}
