/* Constants with their casts, and the names of types. */
#include "sql/sql_int.h"

#include <stdio.h>

/* ---- types ---- */

typedef struct type_name {
    char text[128];
    size_t len;
} type_name;

static bool add_word(ice__parser *p, type_name *t, const char *separator)
{
    ice_str word;
    int n;

    if (!ice__lower(p, ice__tok_text(p, p->tok), &word))
        return false;
    n = snprintf(t->text + t->len, sizeof t->text - t->len, "%s%.*s", t->len ? separator : "", ICE_PRI(word));
    if (n < 0 || (size_t)n >= sizeof t->text - t->len)
        return ice__syntax(p, "a shorter type name");
    t->len += (size_t)n;
    ice__advance(p);
    return true;
}

/* (n) or (p, s) */
static bool add_modifier(ice__parser *p, type_name *t)
{
    if (!ice__is_op(p, '('))
        return true;
    if (!add_word(p, t, ""))
        return false;
    for (const char *separator = "";; separator = " ") {
        if (p->tok.kind != ICE__NUMBER)
            return ice__syntax(p, "a number");
        if (!add_word(p, t, separator))
            return false;
        if (!ice__is_op(p, ','))
            break;
        if (!add_word(p, t, ""))
            return false;
    }
    return ice__is_op(p, ')') ? add_word(p, t, "") : ice__syntax(p, "\")\"");
}

static bool add_zone(ice__parser *p, type_name *t)
{
    if (!(ice__is(p, "WITH") || ice__is(p, "WITHOUT")) || !ice__next_is(p, "TIME"))
        return true;
    return add_word(p, t, " ") && add_word(p, t, " ") &&
           (ice__is(p, "ZONE") ? add_word(p, t, " ") : ice__syntax(p, "ZONE"));
}

bool ice__type_text(ice__parser *p, ice_str *out)
{
    static const char *const character[] = {"CHARACTER", "CHAR", "BIT", NULL};
    type_name t = {.len = 0};
    bool time, twice, varying;

    if (p->tok.kind != ICE__WORD || ice__reserved(ice__tok_text(p, p->tok)))
        return ice__syntax(p, "a type");
    time = ice__is(p, "TIME") || ice__is(p, "TIMESTAMP");
    twice = ice__is(p, "DOUBLE");
    varying = ice__is_any(p, character);
    if (!add_word(p, &t, ""))
        return false;
    if (((twice && ice__is(p, "PRECISION")) || (varying && ice__is(p, "VARYING"))) && !add_word(p, &t, " "))
        return false;
    if (!add_modifier(p, &t) || (time && !add_zone(p, &t)))
        return false;
    if (ice__is_op(p, '['))
        return ice__unsupported(p, "an array type (%s[])", t.text);
    *out = ice_arena_str(p->arena, (ice_str){t.text, t.len});
    return out->ptr || ice__fail(p, ICE_NOMEM, "out of memory");
}

/* ---- literals ---- */

/* A text without an offset means the session's time zone, which is not known here. */
static bool says_zone(ice_str s)
{
    for (size_t i = s.len; i-- > 10;)
        if (s.ptr[i] == '+' || s.ptr[i] == '-' || ((s.ptr[i] | 0x20) == 'z' && i + 1 == s.len))
            return true;
    return false;
}

static bool fits(const ice_column *c, const ice_value *v)
{
    if (v->null)
        return true;
    if (c->max_length > 0 && v->kind == ICE_T_STRING && ice_utf8_length(v->s) > (size_t)c->max_length)
        return false;
    return (c->min_int == 0 && c->max_int == 0) || (v->i >= c->min_int && v->i <= c->max_int);
}

static bool cast_to(ice__parser *t, ice_str type, ice_value *v)
{
    ice_column c = {.name = ICE_STR("constant")};

    if (ice_column_set_sql_type(&c, t->arena, type, NULL) != ICE_OK || ice_str_eqc(type, "interval"))
        return false;
    if (c.type.kind == ICE_T_TIMESTAMPTZ && !v->null && v->kind != ICE_T_TIMESTAMPTZ &&
        !(v->kind == ICE_T_STRING && says_zone(v->s)))
        return false;
    return ice_value_cast(t->arena, v, c.type, v, NULL) == ICE_OK && fits(&c, v);
}

static bool number(ice__parser *t, bool minus, ice_value *v)
{
    ice_str text = ice__tok_text(t, t->tok);
    ice_value s = {.kind = ICE_T_STRING, .s = text};

    ice__advance(t);
    if (ice__number(text, minus, v))
        return true;
    /* 1e5 */
    if (memchr(text.ptr, '_', text.len) ||
        !(memchr(text.ptr, 'e', text.len) || memchr(text.ptr, 'E', text.len)) ||
        ice_value_cast(t->arena, &s, (ice_type){.kind = ICE_T_DOUBLE}, v, NULL) != ICE_OK)
        return false;
    v->d = minus ? -v->d : v->d;
    return true;
}

static bool typed_string(ice__parser *t, ice_value *v)
{
    ice_str type, s;

    if (!ice__type_text(t, &type) || t->tok.kind != ICE__STRING || !ice__string(t, t->tok, &s))
        return false;
    ice__advance(t);
    *v = (ice_value){.kind = ICE_T_STRING, .s = s};
    return cast_to(t, type, v);
}

static bool with_casts(ice__parser *t, int depth, ice_value *v);

static bool cast_call(ice__parser *t, int depth, ice_value *v)
{
    ice_str type;

    ice__advance(t);
    return ice__take_op(t, '(') && with_casts(t, depth + 1, v) && ice__take(t, "AS") &&
           ice__type_text(t, &type) && ice__take_op(t, ')') && cast_to(t, type, v);
}

static bool primary(ice__parser *t, int depth, ice_value *v)
{
    bool minus = ice__take_op(t, '-');
    ice_str s;

    if (depth > ICE__MAX_DEPTH)
        return false;
    if (t->tok.kind == ICE__NUMBER)
        return number(t, minus, v);
    if (minus)
        return false;
    if (t->tok.kind == ICE__STRING || t->tok.kind == ICE__DSTRING) {
        *v = (ice_value){.kind = ICE_T_STRING};
        if (!ice__string(t, t->tok, &s))
            return false;
        v->s = s;
        ice__advance(t);
        return true;
    }
    if (ice__is(t, "TRUE") || ice__is(t, "FALSE") || ice__is(t, "NULL")) {
        *v = ice__is(t, "NULL") ? ICE_NULL : (ice_value){.kind = ICE_T_BOOL, .b = ice__is(t, "TRUE")};
        ice__advance(t);
        return true;
    }
    if (ice__is(t, "CAST"))
        return cast_call(t, depth, v);
    if (ice__take_op(t, '('))
        return with_casts(t, depth + 1, v) && ice__take_op(t, ')');
    return typed_string(t, v);
}

static bool with_casts(ice__parser *t, int depth, ice_value *v)
{
    ice_str type;

    if (!primary(t, depth, v))
        return false;
    while (ice__take_op(t, ICE__OP_CAST))
        if (!ice__type_text(t, &type) || !cast_to(t, type, v))
            return false;
    return t->rc == ICE_OK;
}

bool ice__constant(ice__parser *p, int depth, ice_value *out)
{
    ice__parser t = ice__attempt(p);

    if (!with_casts(&t, depth, out))
        return false;
    t.err = p->err;
    *p = t;
    return true;
}

ice_code ice_sql_constant(ice_arena *a, ice_str expr, ice_value *out, ice_error *err)
{
    ice_str text = ice_arena_str(a, expr.ptr ? expr : ICE_STR(""));
    ice__parser p;

    if (!text.ptr)
        return ice_fail_nomem(err);
    p = ice__parser_of(a, text, err);
    if (p.rc != ICE_OK)
        return p.rc;
    if (!ice__constant(&p, 0, out) || p.tok.kind != ICE__END)
        return ice_fail(err, ICE_UNSUPPORTED, "\"%.*s\" is not a constant", ICE_PRI(ice__cut(text, 100)));
    return p.rc;
}
