/* What the fast path may know about expressions. Strict on purpose: a form not surely understood here is the
 * engine's. */
#include "sql/sql_int.h"

enum { MAX_DIGITS = 38 };

bool ice__in_scope(const ice__scope *s, ice_str qualifier)
{
    return !qualifier.ptr || ice_str_eq(qualifier, s->alias.ptr ? s->alias : s->table);
}

/* ---- columns ---- */

/* A bare identifier in capitals is one name to PostgreSQL and another to DuckDB. */
static bool plain_name(ice__parser *p, ice_str *out)
{
    ice_str text = ice__tok_text(p, p->tok);

    if (!ice__name(p, "a name", out))
        return false;
    return p->prev.kind == ICE__QIDENT || ice_str_eq(text, *out);
}

bool ice__simple_column(ice__parser *p, ice_str *qualifier, ice_str *column)
{
    ice__parser t = ice__attempt(p);

    *qualifier = ICE_STR_NONE;
    if (!plain_name(&t, column))
        return false;
    if (ice__take_op(&t, '.')) {
        *qualifier = *column;
        if (!plain_name(&t, column))
            return false;
    }
    if (t.rc != ICE_OK || ice__is_op(&t, '(') || ice__is_op(&t, '.') || t.tok.kind == ICE__STRING ||
        t.tok.kind == ICE__ESTRING)
        return false;
    t.err = p->err;
    *p = t;
    return true;
}

bool ice__scope_column(ice__parser *p, const ice__scope *scope, ice_str *qualifier, ice_str *column)
{
    ice__parser t = *p;

    if (scope->any)
        return ice__qualified_column(p, qualifier, column);
    if (!ice__simple_column(&t, qualifier, column) || !(scope->later || ice__in_scope(scope, *qualifier)))
        return false;
    *p = t;
    return true;
}

/* ---- literals and parameters ---- */

bool ice__number(ice_str digits, bool minus, ice_value *out)
{
    ice_i128 v = 0;
    size_t n = 0, scale = 0;
    bool point = false;

    for (size_t i = 0; i < digits.len; i++) {
        char c = digits.ptr[i];

        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9' || n == MAX_DIGITS)
            return false;
        v = v * 10 + (c - '0');
        n += v != 0 || point;
        scale += point;
    }
    if (point && scale == 0)
        return false;
    v = minus ? -v : v;
    if (!point && v == (int64_t)v)
        *out = (ice_value){.kind = ICE_T_LONG, .i = (int64_t)v};
    else
        *out = (ice_value){.kind = ICE_T_DECIMAL, .scale = (uint8_t)scale, .dec = v};
    return true;
}

static bool literal(ice__parser *t, ice_value *out)
{
    bool minus = ice__take_op(t, '-');
    ice_str s;

    if (t->tok.kind == ICE__NUMBER) {
        if (!ice__number(ice__tok_text(t, t->tok), minus, out))
            return false;
    } else if (minus) {
        return false;
    } else if (t->tok.kind == ICE__STRING || t->tok.kind == ICE__DSTRING) {
        if (!ice__string(t, t->tok, &s))
            return false;
        *out = (ice_value){.kind = ICE_T_STRING, .s = s};
    } else if (ice__is(t, "TRUE") || ice__is(t, "FALSE")) {
        *out = (ice_value){.kind = ICE_T_BOOL, .b = ice__is(t, "TRUE")};
    } else if (ice__is(t, "NULL")) {
        *out = ICE_NULL;
    } else {
        return false;
    }
    ice__advance(t);
    return true;
}

/* Types whose cast leaves an equal value equal; a number's cast may round. */
static bool cast_kind(ice__parser *t, uint8_t *kind)
{
    static const struct {
        const char *name;
        uint8_t kind;
    } types[] = {{"UUID", ICE_T_UUID},    {"TEXT", ICE_T_STRING},         {"VARCHAR", ICE_T_STRING},
                 {"BOOLEAN", ICE_T_BOOL}, {"BOOL", ICE_T_BOOL},           {"DATE", ICE_T_DATE},
                 {"TIME", ICE_T_TIME},    {"TIMESTAMP", ICE_T_TIMESTAMP}, {"TIMESTAMPTZ", ICE_T_TIMESTAMPTZ},
                 {"BYTEA", ICE_T_BINARY}, {"BLOB", ICE_T_BINARY}};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (!ice__take(t, types[i].name))
            continue;
        *kind = types[i].kind;
        if (*kind == ICE_T_TIMESTAMP && ice__take(t, "WITH")) {
            *kind = ICE_T_TIMESTAMPTZ;
            return ice__take2(t, "TIME", "ZONE");
        }
        return !ice__is_op(t, '(') && !ice__is_op(t, '[');
    }
    return false;
}

static bool param(ice__parser *t, ice_expr *out)
{
    bool cast = ice__is(t, "CAST");

    if (cast) {
        ice__advance(t);
        if (!ice__take_op(t, '('))
            return false;
    }
    if (t->tok.kind != ICE__PARAM)
        return false;
    out->kind = ICE_E_PARAM;
    out->param = t->tok.param;
    ice__advance(t);
    if (cast)
        return ice__take(t, "AS") && cast_kind(t, &out->cast) && ice__take_op(t, ')');
    return !ice__take_op(t, ICE__OP_CAST) || (cast_kind(t, &out->cast) && !ice__is_op(t, ICE__OP_CAST));
}

bool ice__simple_arg(ice__parser *p, ice_expr *out)
{
    ice__parser t = ice__attempt(p);
    size_t start = p->tok.at;
    int open = 0;

    *out = (ice_expr){.param = -1};
    while (open < ICE__MAX_DEPTH && ice__take_op(&t, '('))
        open++;
    if (t.tok.kind == ICE__PARAM || ice__is(&t, "CAST")) {
        if (!param(&t, out))
            return false;
    } else {
        out->kind = ICE_E_CONST;
        if (!literal(&t, &out->value))
            return false;
    }
    while (open > 0 && ice__take_op(&t, ')'))
        open--;
    if (open > 0 || t.rc != ICE_OK)
        return false;
    t.err = p->err;
    *p = t;
    out->text = ice__since(p, start);
    return true;
}

/* ---- one expression ---- */

static bool at_end(const ice__parser *p, const char *const *stops)
{
    return p->tok.kind == ICE__END || ice__is_op(p, ',') || ice__is_op(p, ')') || ice__is_op(p, ';') ||
           ice__is_any(p, stops);
}

static bool excluded(ice__parser *p, ice_expr *out)
{
    ice_str qualifier;

    if (!ice__is(p, "EXCLUDED") &&
        !(p->tok.kind == ICE__QIDENT && ice_str_eqc(ice__tok_text(p, p->tok), "\"excluded\"")))
        return false;
    *out = (ice_expr){.kind = ICE_E_EXCLUDED, .param = -1};
    if (ice__is(p, "EXCLUDED")) {
        ice__advance(p);
        return ice__take_op(p, '.') && plain_name(p, &out->column);
    }
    return ice__simple_column(p, &qualifier, &out->column) && qualifier.ptr;
}

static bool special(ice__parser *p, const ice__scope *scope, ice_expr *out)
{
    ice__parser t = *p;

    if (ice__take(&t, "DEFAULT")) {
        *out = (ice_expr){.kind = ICE_E_DEFAULT, .param = -1};
        *p = t;
        return true;
    }
    if (scope && scope->excluded && excluded(&t, out)) {
        *p = t;
        return true;
    }
    if (!scope)
        return false;
    *out = (ice_expr){.kind = ICE_E_ARITH, .param = -1, .arith = ice__arith(p, scope)};
    return out->arith != NULL;
}

/* $n between commas, which a bulk insert has by the hundred thousand. */
static bool lone_param(ice__parser *p, ice_expr *out)
{
    ice__parser t = *p;

    if (p->tok.kind != ICE__PARAM)
        return false;
    ice__advance(p);
    if (!ice__is_op(p, ',') && !ice__is_op(p, ')')) {
        *p = t;
        return false;
    }
    *out = (ice_expr){.kind = ICE_E_PARAM, .param = p->prev.param, .text = ice__tok_text(p, p->prev)};
    return true;
}

bool ice__expr(ice__parser *p, const ice__scope *scope, const char *const *stops, ice_expr *out)
{
    size_t start = p->tok.at;
    ice__parser t;
    bool simple;

    if (lone_param(p, out))
        return true;
    t = ice__attempt(p);
    simple = ice__simple_arg(&t, out) && at_end(&t, stops);
    if (!simple) {
        t = ice__attempt(p);
        simple = special(&t, scope, out) && at_end(&t, stops);
    }
    if (simple && t.rc == ICE_OK) {
        t.err = p->err;
        *p = t;
        out->text = ice__since(p, start);
        return true;
    }
    *out = (ice_expr){.kind = ICE_E_OTHER, .param = -1};
    return ice__skip_expr(p, stops, &out->text);
}

/* ---- WHERE ---- */

typedef struct where {
    ice__parser p;
    const ice__scope *scope;
    ice_str qualifier; /* of the column read last */
    ice__vec conds;
} where;

static bool where_column(where *w, ice_str *column)
{
    return ice__scope_column(&w->p, w->scope, &w->qualifier, column);
}

static bool add(where *w, ice_str column, ice_cmp op, ice_expr *args, size_t nargs)
{
    ice_cond *c = ice__push(&w->p, &w->conds, sizeof *c);
    ice_expr *copy = nargs ? ICE_NEW_N(w->p.arena, ice_expr, nargs) : NULL;

    if (!c || (nargs && !copy))
        return false;
    if (nargs)
        memcpy(copy, args, nargs * sizeof *args);
    *c = (ice_cond){.column = column, .qualifier = w->qualifier, .op = op, .nargs = nargs, .args = copy};
    return true;
}

static bool comparison_op(ice__parser *p, ice_cmp *op)
{
    static const struct {
        int op;
        ice_cmp cmp;
    } ops[] = {{'=', ICE_CMP_EQ},        {'<', ICE_CMP_LT},        {'>', ICE_CMP_GT},
               {ICE__OP_LE, ICE_CMP_LE}, {ICE__OP_GE, ICE_CMP_GE}, {ICE__OP_NE, ICE_CMP_NE}};

    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (ice__take_op(p, ops[i].op)) {
            *op = ops[i].cmp;
            return true;
        }
    return false;
}

/* (a, b), or (VALUES (a), (b)), which says the same of one column. */
static bool in_list(where *w, ice_str column)
{
    ice__vec args = {0};
    bool rows;

    if (!ice__take_op(&w->p, '('))
        return false;
    rows = ice__take(&w->p, "VALUES");
    do {
        ice_expr *e = ice__push(&w->p, &args, sizeof *e);

        if (!e || (rows && !ice__is_op(&w->p, '(')) || !ice__simple_arg(&w->p, e))
            return false;
    } while (ice__take_op(&w->p, ','));
    return ice__take_op(&w->p, ')') && add(w, column, ICE_CMP_IN, args.data, args.n);
}

static bool between(where *w, ice_str column)
{
    ice_expr low, high;

    return ice__simple_arg(&w->p, &low) && ice__take(&w->p, "AND") && ice__simple_arg(&w->p, &high) &&
           add(w, column, ICE_CMP_GE, &low, 1) && add(w, column, ICE_CMP_LE, &high, 1);
}

/* The column is read; what is said of it follows. */
static bool about_column(where *w, ice_str column)
{
    ice__parser *p = &w->p;
    ice_expr arg;
    ice_cmp op;

    if (comparison_op(p, &op))
        return ice__simple_arg(p, &arg) && add(w, column, op, &arg, 1);
    if (ice__take(p, "IN"))
        return in_list(w, column);
    if (ice__take(p, "BETWEEN"))
        return between(w, column);
    if (ice__take2(p, "IS", "NULL"))
        return add(w, column, ICE_CMP_IS_NULL, NULL, 0);
    if (ice__take(p, "IS"))
        return ice__take2(p, "NOT", "NULL") && add(w, column, ICE_CMP_NOT_NULL, NULL, 0);
    arg = (ice_expr){.kind = ICE_E_CONST, .param = -1, .value = {.kind = ICE_T_BOOL, .b = true}};
    if (!add(w, column, ICE_CMP_EQ, &arg, 1))
        return false;
    ((ice_cond *)w->conds.data)[w->conds.n - 1].bare = true;
    return true;
}

static ice_cmp flipped(ice_cmp op)
{
    switch (op) {
    case ICE_CMP_LT:
        return ICE_CMP_GT;
    case ICE_CMP_LE:
        return ICE_CMP_GE;
    case ICE_CMP_GT:
        return ICE_CMP_LT;
    case ICE_CMP_GE:
        return ICE_CMP_LE;
    default:
        return op;
    }
}

static bool comparison(where *w)
{
    ice_str column;
    ice_expr arg;
    ice_cmp op;

    if (where_column(w, &column))
        return about_column(w, column);
    return ice__simple_arg(&w->p, &arg) && comparison_op(&w->p, &op) &&
           where_column(w, &column) && add(w, column, flipped(op), &arg, 1);
}

/* NOT of one condition that has an opposite; in three-valued logic, too, that is the same. */
static bool negate(ice_cond *c)
{
    static const ice_cmp opposite[] = {[ICE_CMP_EQ] = ICE_CMP_NE,
                                       [ICE_CMP_NE] = ICE_CMP_EQ,
                                       [ICE_CMP_LT] = ICE_CMP_GE,
                                       [ICE_CMP_GE] = ICE_CMP_LT,
                                       [ICE_CMP_GT] = ICE_CMP_LE,
                                       [ICE_CMP_LE] = ICE_CMP_GT,
                                       [ICE_CMP_IS_NULL] = ICE_CMP_NOT_NULL,
                                       [ICE_CMP_NOT_NULL] = ICE_CMP_IS_NULL};

    if (c->op == ICE_CMP_IN)
        return false;
    if (c->bare)
        c->args[0].value.b = !c->args[0].value.b;
    else
        c->op = opposite[c->op];
    return true;
}

static bool not_term(where *w)
{
    size_t before = w->conds.n;
    bool brackets = ice__take_op(&w->p, '(');
    ice_cond *c;

    if (!comparison(w) || (brackets && !ice__take_op(&w->p, ')')) || w->conds.n != before + 1)
        return false;
    c = (ice_cond *)w->conds.data + before;
    return (brackets || c->bare) && negate(c);
}

/* ("col") IN ... */
static bool bracketed_in(where *w)
{
    ice__parser start = w->p;
    ice_str column;

    if (ice__take_op(&w->p, '(') && where_column(w, &column) && ice__take_op(&w->p, ')') &&
        ice__take(&w->p, "IN") && in_list(w, column))
        return true;
    w->p = start;
    return false;
}

static bool conjunction(where *w, int depth);

static bool term(where *w, int depth)
{
    ice__parser start = w->p;
    size_t n = w->conds.n;

    if (ice__take(&w->p, "NOT"))
        return not_term(w);
    if (ice__is_op(&w->p, '(') && bracketed_in(w))
        return true;
    if (ice__take_op(&w->p, '(')) {
        if (depth < ICE__MAX_DEPTH && conjunction(w, depth + 1) && ice__take_op(&w->p, ')'))
            return true;
        /* The bracket may also open ($1) = "col". */
        w->p = start;
        w->conds.n = n;
    }
    return comparison(w);
}

static bool conjunction(where *w, int depth)
{
    do
        if (!term(w, depth))
            return false;
    while (ice__take(&w->p, "AND"));
    return w->p.rc == ICE_OK;
}

bool ice__simple_where(ice__parser *p, const ice__scope *scope, ice_cond **conds, size_t *n)
{
    where w = {.p = ice__attempt(p), .scope = scope};

    if (!conjunction(&w, 0))
        return false;
    w.p.err = p->err;
    *p = w.p;
    *conds = w.conds.data;
    *n = w.conds.n;
    return true;
}
