#include <stdio.h>

#include "schema/inet.h"
#include "schema/jsonb.h"
#include "schema/tabledef_int.h"

/* What may stand in parentheses after a type's name. */
enum args { NO_ARGS, LENGTH, PRECISION_SCALE, SECONDS };

typedef struct sql_type {
    const char *name;      /* as written, and as kept unless `canonical` says otherwise */
    const char *canonical;
    ice_kind kind;
    enum args args;
    int64_t min_int, max_int;
    int64_t length;        /* where none is given */
} sql_type;

#define SMALL .min_int = INT16_MIN, .max_int = INT16_MAX
static const sql_type sql_types[] = {
    {.name = "smallint", .kind = ICE_T_INT, SMALL},
    {.name = "int2", .canonical = "smallint", .kind = ICE_T_INT, SMALL},
    {.name = "integer", .kind = ICE_T_INT},
    {.name = "int", .canonical = "integer", .kind = ICE_T_INT},
    {.name = "int4", .canonical = "integer", .kind = ICE_T_INT},
    {.name = "bigint", .kind = ICE_T_LONG},
    {.name = "int8", .canonical = "bigint", .kind = ICE_T_LONG},
    {.name = "real", .kind = ICE_T_FLOAT},
    {.name = "float4", .canonical = "real", .kind = ICE_T_FLOAT},
    {.name = "double precision", .kind = ICE_T_DOUBLE},
    {.name = "float8", .canonical = "double precision", .kind = ICE_T_DOUBLE},
    {.name = "float", .canonical = "double precision", .kind = ICE_T_DOUBLE},
    {.name = "numeric", .kind = ICE_T_DECIMAL, .args = PRECISION_SCALE},
    {.name = "decimal", .canonical = "numeric", .kind = ICE_T_DECIMAL, .args = PRECISION_SCALE},
    {.name = "dec", .canonical = "numeric", .kind = ICE_T_DECIMAL, .args = PRECISION_SCALE},
    {.name = "boolean", .kind = ICE_T_BOOL},
    {.name = "bool", .canonical = "boolean", .kind = ICE_T_BOOL},
    {.name = "text", .kind = ICE_T_STRING},
    {.name = "varchar", .kind = ICE_T_STRING, .args = LENGTH},
    {.name = "character varying", .canonical = "varchar", .kind = ICE_T_STRING, .args = LENGTH},
    {.name = "char", .kind = ICE_T_STRING, .args = LENGTH, .length = 1},
    {.name = "character", .canonical = "char", .kind = ICE_T_STRING, .args = LENGTH, .length = 1},
    {.name = "bpchar", .canonical = "char", .kind = ICE_T_STRING, .args = LENGTH, .length = 1},
    {.name = "date", .kind = ICE_T_DATE},
    {.name = "time", .kind = ICE_T_TIME, .args = SECONDS},
    {.name = "time without time zone", .canonical = "time", .kind = ICE_T_TIME, .args = SECONDS},
    {.name = "timestamp", .kind = ICE_T_TIMESTAMP, .args = SECONDS},
    {.name = "timestamp without time zone", .canonical = "timestamp", .kind = ICE_T_TIMESTAMP, .args = SECONDS},
    {.name = "timestamp with time zone", .kind = ICE_T_TIMESTAMPTZ, .args = SECONDS},
    {.name = "timestamptz", .canonical = "timestamp with time zone", .kind = ICE_T_TIMESTAMPTZ, .args = SECONDS},
    {.name = "uuid", .kind = ICE_T_UUID},
    {.name = "bytea", .kind = ICE_T_BINARY},
    {.name = "json", .kind = ICE_T_STRING},
    {.name = "jsonb", .kind = ICE_T_STRING},
    {.name = "interval", .kind = ICE_T_LONG},
    {.name = "inet", .kind = ICE_T_STRING},
    {.name = "cidr", .kind = ICE_T_STRING},
};

/* A type's text taken apart: words joined by single blanks in lower case, and the numbers in parentheses,
 * which stand after the first words: timestamp(6) with time zone. */
typedef struct parts {
    char name[64];
    size_t len, nargs;
    int64_t args[2];
    bool parens;
} parts;

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool take_args(ice_str s, size_t *i, parts *p)
{
    if (p->parens)
        return false;
    p->parens = true;
    for (++*i; p->nargs < 2; ++*i) {
        int64_t v = 0;
        size_t digits = 0;

        while (*i < s.len && is_space(s.ptr[*i]))
            ++*i;
        for (; *i < s.len && s.ptr[*i] >= '0' && s.ptr[*i] <= '9' && digits < 10; ++*i, digits++)
            v = v * 10 + (s.ptr[*i] - '0');
        while (*i < s.len && is_space(s.ptr[*i]))
            ++*i;
        if (digits == 0 || *i == s.len)
            return false;
        p->args[p->nargs++] = v;
        if (s.ptr[*i] == ')')
            return ++*i, true;
        if (s.ptr[*i] != ',')
            return false;
    }
    return false;
}

static bool take_apart(ice_str s, parts *p)
{
    bool blank = false;

    *p = (parts){.len = 0};
    for (size_t i = 0; i < s.len;) {
        char c = s.ptr[i];

        if (c == '(') {
            if (!take_args(s, &i, p))
                return false;
            blank = true;
            continue;
        }
        i++;
        if (is_space(c)) {
            blank = true;
            continue;
        }
        if (p->len + 3 > sizeof p->name)
            return false;
        if (blank && p->len > 0)
            p->name[p->len++] = ' ';
        blank = false;
        p->name[p->len++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    p->name[p->len] = '\0';
    return p->len > 0;
}

static const sql_type *find_type(const parts *p)
{
    for (size_t i = 0; i < sizeof sql_types / sizeof sql_types[0]; i++)
        if (strcmp(sql_types[i].name, p->name) == 0)
            return &sql_types[i];
    return NULL;
}

static ice_code refuse(ice_str text, const char *why, ice_error *err)
{
    return ice_fail(err, ICE_UNSUPPORTED, "type \"%.*s\" is not supported: %s", text.len < 100 ? (int)text.len : 100,
                    text.ptr ? text.ptr : "", why);
}

static const char *why_unknown(const parts *p)
{
    if (strstr(p->name, "serial"))
        return "declare an integer type GENERATED BY DEFAULT AS IDENTITY";
    if (strchr(p->name, '['))
        return "there are no arrays";
    return "there is no such type";
}

/* Null, or what is wrong with the numbers in parentheses. Fills in what they say. */
static const char *apply_args(const sql_type *t, const parts *p, ice_column *c)
{
    switch (t->args) {
    case LENGTH:
        if (p->nargs > 1)
            return "it takes one length";
        c->max_length = p->nargs ? p->args[0] : t->length;
        return p->nargs && (p->args[0] < 1 || p->args[0] > 1 << 30) ? "a length is at least 1 and below 2^30" : NULL;
    case PRECISION_SCALE:
        c->type.precision = 38;
        c->type.scale = 10;
        if (p->nargs == 0)
            return NULL;
        if (p->args[0] < 1 || p->args[0] > 38 || p->args[1] > p->args[0])
            return "precision is 1 to 38, scale 0 to the precision";
        c->type.precision = (uint8_t)p->args[0];
        c->type.scale = (uint8_t)p->args[1];
        return NULL;
    case SECONDS:
        return p->nargs > 1 || (p->nargs == 1 && p->args[0] != 6) ? "times have microseconds, that is (6)" : NULL;
    default:
        return p->parens ? "it takes no length or precision" : NULL;
    }
}

static char *kept_text(ice_arena *a, const sql_type *t, const parts *p, const ice_column *c)
{
    const char *name = t->canonical ? t->canonical : t->name;

    if (t->args == LENGTH && c->max_length > 0)
        return ice_arena_printf(a, "%s(%lld)", name, (long long)c->max_length);
    if (t->args == PRECISION_SCALE && p->nargs > 0)
        return ice_arena_printf(a, "%s(%u, %u)", name, c->type.precision, c->type.scale);
    return ice_arena_printf(a, "%s", name);
}

ice_code ice_column_set_sql_type(ice_column *c, ice_arena *a, ice_str text, ice_error *err)
{
    ice_column set = *c;
    const sql_type *t;
    const char *fault;
    char *kept;
    parts p;

    if (!take_apart(text, &p))
        return refuse(text, "it is not a type name", err);
    /* float(n) is PostgreSQL's way to choose between real and double precision. */
    if (strcmp(p.name, "float") == 0 && p.nargs == 1 && p.args[0] >= 1 && p.args[0] <= 53) {
        snprintf(p.name, sizeof p.name, "%s", p.args[0] <= 24 ? "float4" : "float8");
        p.nargs = 0;
        p.parens = false;
    }
    if (!(t = find_type(&p)))
        return refuse(text, why_unknown(&p), err);
    set.type = (ice_type){.kind = (uint8_t)t->kind};
    set.max_length = 0;
    set.min_int = t->min_int;
    set.max_int = t->max_int;
    if ((fault = apply_args(t, &p, &set)))
        return refuse(text, fault, err);
    if (!(kept = kept_text(a, t, &p, &set)))
        return ice_fail_nomem(err);
    set.sql_type = ice_str_c(kept);
    *c = set;
    return ICE_OK;
}

void ice_column_take_type(ice_column *to, const ice_column *from)
{
    to->type = from->type;
    to->sql_type = from->sql_type;
    to->max_length = from->max_length;
    to->min_int = from->min_int;
    to->max_int = from->max_int;
    to->collation = from->collation;
}

void ice_sql_type_name(ice_type t, char out[48])
{
    static const char *const names[] = {
        [ICE_T_NONE] = "text",
        [ICE_T_BOOL] = "boolean",
        [ICE_T_INT] = "integer",
        [ICE_T_LONG] = "bigint",
        [ICE_T_FLOAT] = "real",
        [ICE_T_DOUBLE] = "double precision",
        [ICE_T_DATE] = "date",
        [ICE_T_TIME] = "time",
        [ICE_T_TIMESTAMP] = "timestamp",
        [ICE_T_TIMESTAMPTZ] = "timestamp with time zone",
        [ICE_T_STRING] = "text",
        [ICE_T_UUID] = "uuid",
        [ICE_T_FIXED] = "bytea",
        [ICE_T_BINARY] = "bytea",
    };

    if (t.kind == ICE_T_DECIMAL)
        snprintf(out, 48, "numeric(%u, %u)", t.precision, t.scale);
    else
        snprintf(out, 48, "%s", names[t.kind]);
}

/* ---- one value ---- */

/* Past the limit only blanks may follow, and are cut, as the SQL standard has it. */
static ice_code fit_length(const ice_column *c, ice_value *v, ice_error *err)
{
    size_t at = 0, left = (size_t)c->max_length;

    if (v->s.len <= left)
        return ICE_OK;
    for (; at < v->s.len; at++)
        if (((unsigned char)v->s.ptr[at] & 0xC0) != 0x80 && left-- == 0)
            break;
    for (size_t i = at; i < v->s.len; i++)
        if (v->s.ptr[i] != ' ')
            return ice_fail(err, ICE_TOO_LONG, "value too long for %.*s: %zu characters", ICE_PRI(c->sql_type),
                            ice_utf8_length(v->s));
    v->s.len = at;
    return ICE_OK;
}

/* A document is stored as jsonb prints it; json keeps its text. */
static ice_code check_json(ice_arena *a, bool keep, ice_value *v, ice_error *err)
{
    ice_str canonical;
    ice_code rc = ice_json_canonical(a, v->s, &canonical, err);

    if (rc == ICE_OK && !keep)
        v->s = canonical;
    return rc;
}

static ice_code check_inet(ice_arena *a, ice_value *v, ice_error *err)
{
    char canonical[ICE_INET_ROOM];
    ice_code rc = ice_inet_canonical(v->s, canonical, err);

    if (rc != ICE_OK || ice_str_eqc(v->s, canonical))
        return rc;
    v->s = ice_arena_str(a, ice_str_c(canonical));
    return v->s.ptr ? ICE_OK : ice_fail_nomem(err);
}

static ice_code check_text(const ice_column *c, ice_arena *a, ice_value *v, ice_error *err)
{
    bool json = ice_str_eqc(c->sql_type, "json");

    if (!ice_utf8_valid(v->s))
        return ice_fail(err, ICE_BAD_VALUE, "text is not valid UTF-8");
    if (v->s.len && memchr(v->s.ptr, 0, v->s.len))
        return ice_fail(err, ICE_BAD_VALUE, "text has a NUL character");
    if (json || ice_column_jsonb(c))
        return check_json(a, json, v, err);
    if (ice_str_eqc(c->sql_type, "inet"))
        return check_inet(a, v, err);
    return c->max_length > 0 ? fit_length(c, v, err) : ICE_OK;
}

static ice_code check_declared(const ice_column *c, ice_arena *a, ice_value *v, ice_error *err)
{
    if (c->type.kind == ICE_T_STRING)
        return check_text(c, a, v, err);
    if ((c->type.kind == ICE_T_INT || c->type.kind == ICE_T_LONG) && (c->min_int || c->max_int) &&
        (v->i < c->min_int || v->i > c->max_int))
        return ice_fail(err, ICE_RANGE, "%lld is out of range for %.*s", (long long)v->i, ICE_PRI(c->sql_type));
    return ICE_OK;
}

ice_code ice_column_coerce(const ice_column *c, ice_arena *a, const ice_value *in, ice_value *out, ice_error *err)
{
    ice_value v;
    ice_code rc = ice_value_cast(a, in, c->type, &v, err);

    if (rc == ICE_OK && !v.null)
        rc = check_declared(c, a, &v, err);
    if (rc == ICE_OK)
        *out = v;
    else
        ice_error_prefix(err, "column \"%.*s\"", ICE_PRI(c->name));
    return rc;
}
