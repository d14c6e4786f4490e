/* Arithmetic of the fast path, with the engine's types: integers stay of their width, a decimal's scale grows
 * as DuckDB's DecimalArithmeticResultType and DecimalMultiplyResultType make it
 * (src/function/scalar/operator/arithmetic.cpp), a double takes integers in. What overflows, or might, is
 * left to the engine, which has the words for it. */
#include <math.h>

#include "txn/fast_int.h"

struct ice__arith {
    char op; /* 0: a leaf */
    ice_type type;
    ice__arith *left, *right;
    ice__fplace at; /* of a column; rel -1: `value` */
    ice_value value;
};

enum { NARROW = 18, WIDE = 38 }; /* digits of 64 and of 128 bits */

/* Below it no decimal arithmetic overflows, whatever widths the engine chose. */
static const ice_i128 safe = (ice_i128)100000000 * 1000000000;

static unsigned digits(ice_i128 v)
{
    unsigned n = 0;
    for (v = v < 0 ? -v : v; v; v /= 10)
        n++;
    return n;
}

/* The type that the engine gives a parameter; NONE: not a number. */
static ice_type value_type(const ice_value *v)
{
    unsigned n;
    switch (v->null ? ICE_T_NONE : v->kind) {
    case ICE_T_INT:
    case ICE_T_LONG: /* the least that holds it, as PostgreSQL's drivers send it too */
        return (ice_type){.kind = v->i == (int32_t)v->i ? ICE_T_INT : ICE_T_LONG};
    case ICE_T_DOUBLE:
        return (ice_type){.kind = ICE_T_DOUBLE};
    case ICE_T_DECIMAL:
        n = digits(v->dec);
        n = n > v->scale ? n : v->scale;
        return (ice_type){.kind = ICE_T_DECIMAL, .precision = (uint8_t)(n ? n : 1), .scale = v->scale};
    default:
        return (ice_type){0};
    }
}

static bool is_integer(ice_type t)
{
    return t.kind == ICE_T_INT || t.kind == ICE_T_LONG;
}

static ice_type as_decimal(ice_type t)
{
    return is_integer(t) ? (ice_type){.kind = ICE_T_DECIMAL, .precision = t.kind == ICE_T_INT ? 10 : 19} : t;
}

static unsigned larger(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

static bool decimal_type(char op, ice_type l, ice_type r, ice_type *out)
{
    unsigned widest = larger(l.precision, r.precision), width, scale;
    if (op == '*') {
        scale = (unsigned)l.scale + r.scale;
        width = (unsigned)l.precision + r.precision;
        if (scale > WIDE)
            return false;
        if (width > NARROW && widest <= NARROW && scale < NARROW)
            width = NARROW;
    } else {
        scale = larger(l.scale, r.scale);
        width =
            larger(scale + larger((unsigned)l.precision - l.scale, (unsigned)r.precision - r.scale), widest) +
            1;
    }
    *out = (ice_type){
        .kind = ICE_T_DECIMAL, .precision = (uint8_t)(width < WIDE ? width : WIDE), .scale = (uint8_t)scale};
    return true;
}

static bool result_type(char op, ice_type l, ice_type r, ice_type *out)
{
    bool decimal = l.kind == ICE_T_DECIMAL || r.kind == ICE_T_DECIMAL;
    if (l.kind == ICE_T_DOUBLE || r.kind == ICE_T_DOUBLE) {
        *out = (ice_type){.kind = ICE_T_DOUBLE};
        return !decimal;
    }
    if (decimal)
        return decimal_type(op, as_decimal(l), as_decimal(r), out);
    *out = (ice_type){.kind = l.kind == ICE_T_LONG || r.kind == ICE_T_LONG ? ICE_T_LONG : ICE_T_INT};
    return true;
}

static bool bind_leaf(ice__arith *n, const ice_arith *e, ice__arith_find find, void *arg,
                      const ice_value *params)
{
    const ice_column *col;
    n->at = (ice__fplace){.rel = -1};
    if (e->column.ptr) {
        if (!find(arg, e, &col, &n->at))
            return false;
        n->type = col->type;
        return is_integer(n->type) || n->type.kind == ICE_T_DOUBLE || n->type.kind == ICE_T_DECIMAL;
    }
    n->value = e->param >= 0 ? params[e->param] : e->value;
    n->type = value_type(&n->value);
    /* The engine counts a fraction's digits otherwise in a text than in a parameter. */
    return n->type.kind != ICE_T_NONE && (e->param >= 0 || n->type.kind != ICE_T_DECIMAL);
}

ice__arith *ice__arith_bind(ice_arena *a, const ice_arith *e, ice__arith_find find, void *arg,
                            const ice_value *params)
{
    ice__arith *n = ICE_NEW(a, ice__arith);
    if (!n)
        return NULL;
    n->op = e->op;
    if (!e->op)
        return bind_leaf(n, e, find, arg, params) ? n : NULL;
    n->left = ice__arith_bind(a, e->left, find, arg, params);
    n->right = n->left ? ice__arith_bind(a, e->right, find, arg, params) : NULL;
    if (!n->right || !result_type(e->op, n->left->type, n->right->type, &n->type))
        return NULL;
    return n;
}

ice_type ice__arith_type(const ice__arith *e)
{
    return e->type;
}

static bool integers(char op, ice_kind kind, const ice_value *l, const ice_value *r, ice_value *out)
{
    int64_t v;
    bool over = op == '+'   ? __builtin_add_overflow(l->i, r->i, &v)
                : op == '-' ? __builtin_sub_overflow(l->i, r->i, &v)
                            : __builtin_mul_overflow(l->i, r->i, &v);
    *out = (ice_value){.kind = (uint8_t)kind, .i = v};
    return !over && (kind == ICE_T_LONG || v == (int32_t)v);
}

static double as_double(const ice_value *v)
{
    return v->kind == ICE_T_DOUBLE ? v->d : (double)v->i;
}

static bool doubles(char op, const ice_value *l, const ice_value *r, ice_value *out)
{
    double x = as_double(l), y = as_double(r);
    *out = (ice_value){.kind = ICE_T_DOUBLE, .d = op == '+' ? x + y : op == '-' ? x - y : x * y};
    return isfinite(out->d);
}

static bool is_safe(ice_i128 v)
{
    return v < safe && v > -safe;
}

/* The unscaled value at a scale. */
static bool unscaled(const ice_value *v, unsigned scale, ice_i128 *out)
{
    bool decimal = v->kind == ICE_T_DECIMAL;
    *out = decimal ? v->dec : v->i;
    for (unsigned at = decimal ? v->scale : 0; at < scale && is_safe(*out); at++)
        *out *= 10;
    return is_safe(*out);
}

static bool decimals(char op, uint8_t scale, const ice_value *l, const ice_value *r, ice_value *out)
{
    ice_i128 x, y;
    *out = (ice_value){.kind = ICE_T_DECIMAL, .scale = scale};
    if (!unscaled(l, op == '*' ? 0 : scale, &x) || !unscaled(r, op == '*' ? 0 : scale, &y))
        return false;
    out->dec = op == '+' ? x + y : op == '-' ? x - y : x * y;
    return is_safe(out->dec);
}

/* The engine gives both sides the scale of the result first, and that may be too much for one of them even
 * where the other is NULL. */
static bool null_beside(const ice__arith *e, const ice_value *l, const ice_value *r)
{
    const ice_value *other = l->null ? r : l;
    ice_i128 ignored;
    return other->null || e->type.kind != ICE_T_DECIMAL || unscaled(other, e->type.scale, &ignored);
}

bool ice__arith_eval(const ice__arith *e, ice_value *const *rows, ice_value *out)
{
    ice_value l, r;
    if (!e->op) {
        *out = e->at.rel < 0 ? e->value : rows[e->at.rel][e->at.col];
        return true;
    }
    if (!ice__arith_eval(e->left, rows, &l) || !ice__arith_eval(e->right, rows, &r))
        return false;
    if (l.null || r.null) {
        *out = ICE_NULL;
        return null_beside(e, &l, &r);
    }
    if (e->type.kind == ICE_T_DOUBLE)
        return doubles(e->op, &l, &r, out);
    if (e->type.kind == ICE_T_DECIMAL)
        return decimals(e->op, e->type.scale, &l, &r, out);
    return integers(e->op, (ice_kind)e->type.kind, &l, &r, out);
}
