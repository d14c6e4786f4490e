/* Arithmetic that the fast path computes: + - * over columns, parameters and plain numbers. */
#include "sql/sql_int.h"

enum { MAX_BRACKETS = 16, MAX_NODES = 64 };

typedef struct reader {
    ice__parser *p;
    const ice__scope *scope;
    int depth, nodes;
} reader;

static ice_arith *sum(reader *r);

static ice_arith *node(reader *r, ice_arith of)
{
    ice_arith *n = r->nodes++ < MAX_NODES ? ICE_NEW(r->p->arena, ice_arith) : NULL;

    if (n)
        *n = of;
    return n;
}

static bool is_number(const ice_value *v)
{
    return !v->null && (v->kind == ICE_T_LONG || v->kind == ICE_T_DECIMAL);
}

static ice_arith *leaf(reader *r)
{
    ice_str qualifier, column;
    ice_expr e;

    if (ice__scope_column(r->p, r->scope, &qualifier, &column))
        return node(r, (ice_arith){.qualifier = qualifier, .column = column, .param = -1});
    if (!ice__simple_arg(r->p, &e) || e.cast != ICE_T_NONE || (e.kind == ICE_E_CONST && !is_number(&e.value)))
        return NULL;
    return node(r, (ice_arith){.param = e.kind == ICE_E_PARAM ? e.param : -1, .value = e.value});
}

static ice_arith *factor(reader *r)
{
    ice__parser start = *r->p;
    int nodes = r->nodes;
    ice_arith *n = NULL;

    if (!ice__take_op(r->p, '('))
        return leaf(r);
    if (r->depth++ < MAX_BRACKETS)
        n = sum(r);
    r->depth--;
    if (n && ice__take_op(r->p, ')'))
        return n;
    *r->p = start;
    r->nodes = nodes;
    return NULL;
}

/* Terms of one precedence, from the left: engines compute them in that order. */
static ice_arith *chain(reader *r, const char *ops, ice_arith *(*next)(reader *))
{
    ice_arith *left = next(r);

    while (left && r->p->tok.kind == ICE__OP && r->p->tok.op < 128 && r->p->tok.op &&
           strchr(ops, r->p->tok.op)) {
        char op = (char)r->p->tok.op;

        ice__advance(r->p);
        ice_arith *right = next(r);
        left = right ? node(r, (ice_arith){.op = op, .left = left, .right = right, .param = -1}) : NULL;
    }
    return left;
}

static ice_arith *product(reader *r)
{
    return chain(r, "*", factor);
}

static ice_arith *sum(reader *r)
{
    return chain(r, "+-", product);
}

ice_arith *ice__arith(ice__parser *p, const ice__scope *scope)
{
    reader r = {.p = p, .scope = scope};
    ice_arith *n = sum(&r);

    return p->rc == ICE_OK ? n : NULL;
}

bool ice__arith_columns(ice_arith *e, bool (*each)(ice_arith *column, void *arg), void *arg)
{
    if (e->op)
        return ice__arith_columns(e->left, each, arg) && ice__arith_columns(e->right, each, arg);
    return !e->column.ptr || each(e, arg);
}
