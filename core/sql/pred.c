/* CHECK expressions and index conditions compiled to a tree, where their meaning is surely DuckDB's.
 *
 * Nodes compare a column with a constant or with another column of a kind that compares by value. Whatever
 * would make the engine cast a column, round, collate or know a time zone is refused, and the caller asks the
 * engine. */
#include "sql/sql_int.h"

typedef enum node_kind { N_AND, N_OR, N_NOT, N_COMPARE, N_IN, N_IS_NULL, N_NOT_NULL, N_TRUTH } node_kind;

typedef struct operand {
    int column; /* -1: the value */
    ice_value value;
} operand;

struct ice_pred {
    node_kind kind;
    ice_cmp cmp;         /* N_COMPARE */
    bool negated;        /* N_IN */
    operand left, right; /* N_COMPARE; left alone for N_IN, N_IS_NULL, N_NOT_NULL, N_TRUTH */
    size_t n;
    ice_pred **children; /* N_AND, N_OR, N_NOT */
    ice_value *values;   /* N_IN */
};

typedef struct compiler {
    ice__parser p;
    const ice_tabledef *def;
} compiler;

static ice_pred *or_expr(compiler *c, int depth);

/* ---- what compares with what ---- */

static bool is_integer(uint8_t kind)
{
    return kind == ICE_T_INT || kind == ICE_T_LONG;
}
static bool is_exact(uint8_t kind)
{
    return is_integer(kind) || kind == ICE_T_DECIMAL;
}
static bool is_float(uint8_t kind)
{
    return kind == ICE_T_FLOAT || kind == ICE_T_DOUBLE;
}

static const ice_column *column_of(const compiler *c, const operand *o)
{
    return &c->def->cols[o->column];
}

static bool is_json(const ice_column *c)
{
    return c->sql_type.len >= 4 && ice_str_ieq((ice_str){c->sql_type.ptr, 4}, ICE_STR("json"));
}

/* Plain comparison of bytes, with nothing to know about the text. */
static bool comparable(const ice_column *c)
{
    return !is_json(c) && !c->collation.ptr;
}

static bool fit_columns(const compiler *c, const operand *a, const operand *b)
{
    const ice_column *l = column_of(c, a), *r = column_of(c, b);

    if (!comparable(l) || !comparable(r))
        return false;
    return l->type.kind == r->type.kind || (is_exact(l->type.kind) && is_exact(r->type.kind)) ||
           (is_float(l->type.kind) && is_float(r->type.kind));
}

/* Makes the constant one that compares with the column by value as DuckDB would after its own casts. */
static bool fit_value(compiler *c, const ice_column *col, ice_value *v)
{
    uint8_t kind = col->type.kind;

    if (!comparable(col))
        return false;
    if (v->null)
        return true;
    if (is_exact(kind) && is_exact(v->kind))
        return true;
    if (is_float(kind) && is_exact(v->kind))
        return ice_value_cast(c->p.arena, v, col->type, v, NULL) == ICE_OK;
    if (v->kind == kind)
        return true;
    /* A literal in quotes takes the column's type. */
    if (v->kind != ICE_T_STRING || kind == ICE_T_DECIMAL || kind == ICE_T_TIMESTAMPTZ ||
        kind == ICE_T_BINARY || kind == ICE_T_FIXED || kind == ICE_T_TIME)
        return false;
    return ice_value_cast(c->p.arena, v, col->type, v, NULL) == ICE_OK;
}

static bool fit(compiler *c, operand *a, operand *b)
{
    if (a->column >= 0 && b->column >= 0)
        return fit_columns(c, a, b);
    if (a->column >= 0)
        return fit_value(c, column_of(c, a), &b->value);
    return b->column >= 0 && fit_value(c, column_of(c, b), &a->value);
}

/* ---- parsing ---- */

static ice_pred *node(compiler *c, node_kind kind)
{
    ice_pred *n = ICE_NEW(c->p.arena, ice_pred);

    if (!n)
        ice__fail(&c->p, ICE_NOMEM, "out of memory");
    else
        n->kind = kind;
    return n;
}

static bool column(compiler *c, operand *out)
{
    ice__parser t = c->p;
    ice_str qualifier, name;
    int i;

    if (!ice__simple_column(&t, &qualifier, &name) || (qualifier.ptr && !ice_str_eq(qualifier, c->def->name)))
        return false;
    if ((i = ice_tabledef_find(c->def, name)) < 0)
        return false;
    *out = (operand){.column = i};
    c->p = t;
    return true;
}

/* A column or a constant, perhaps in brackets; advances only on success. */
static bool read_operand(compiler *c, operand *out)
{
    ice__parser start = c->p;
    int open = 0;

    while (open < ICE__MAX_DEPTH && ice__take_op(&c->p, '('))
        open++;
    if (!column(c, out)) {
        *out = (operand){.column = -1};
        if (!ice__constant(&c->p, 0, &out->value)) {
            c->p = start;
            return false;
        }
    }
    while (open > 0 && ice__take_op(&c->p, ')'))
        open--;
    if (open > 0)
        c->p = start;
    return open == 0;
}

static ice_pred *compare(compiler *c, ice_cmp cmp, operand *l, operand *r)
{
    ice_pred *n = fit(c, l, r) ? node(c, N_COMPARE) : NULL;

    if (n) {
        n->cmp = cmp;
        n->left = *l;
        n->right = *r;
    }
    return n;
}

static ice_pred *in_list(compiler *c, operand *l, bool negated)
{
    ice_pred *n = l->column >= 0 && ice__take_op(&c->p, '(') ? node(c, N_IN) : NULL;
    ice__vec values = {0};

    if (!n)
        return NULL;
    do {
        ice_value *v = ice__push(&c->p, &values, sizeof *v);

        if (!v || !ice__constant(&c->p, 0, v) || !fit_value(c, column_of(c, l), v))
            return NULL;
    } while (ice__take_op(&c->p, ','));
    n->left = *l;
    n->negated = negated;
    n->values = values.data;
    n->n = values.n;
    return ice__take_op(&c->p, ')') ? n : NULL;
}

static ice_pred *pair(compiler *c, node_kind kind, ice_pred *a, ice_pred *b)
{
    ice_pred *n = a && b ? node(c, kind) : NULL;

    if (!n || !(n->children = ICE_NEW_N(c->p.arena, ice_pred *, 2)))
        return NULL;
    n->children[0] = a;
    n->children[1] = b;
    n->n = 2;
    return n;
}

static ice_pred *negation(compiler *c, ice_pred *a)
{
    ice_pred *n = a ? node(c, N_NOT) : NULL;

    if (!n || !(n->children = ICE_NEW(c->p.arena, ice_pred *)))
        return NULL;
    n->children[0] = a;
    n->n = 1;
    return n;
}

static ice_pred *between(compiler *c, operand *l, bool negated)
{
    operand again = *l, low, high;
    ice_pred *n;

    if (!read_operand(c, &low) || !ice__take(&c->p, "AND") || !read_operand(c, &high))
        return NULL;
    n = pair(c, N_AND, compare(c, ICE_CMP_GE, l, &low), compare(c, ICE_CMP_LE, &again, &high));
    return negated ? negation(c, n) : n;
}

static ice_pred *is_null(compiler *c, const operand *l)
{
    bool negated = ice__take(&c->p, "NOT");
    ice_pred *n = ice__take(&c->p, "NULL") ? node(c, negated ? N_NOT_NULL : N_IS_NULL) : NULL;

    if (n)
        n->left = *l;
    return n;
}

static ice_pred *truth(compiler *c, const operand *l)
{
    bool boolean = l->column >= 0 ? column_of(c, l)->type.kind == ICE_T_BOOL
                                  : l->value.null || l->value.kind == ICE_T_BOOL;
    ice_pred *n = boolean ? node(c, N_TRUTH) : NULL;

    if (n)
        n->left = *l;
    return n;
}

static ice_pred *about(compiler *c, operand *l)
{
    static const struct {
        int op;
        ice_cmp cmp;
    } ops[] = {{'=', ICE_CMP_EQ},        {'<', ICE_CMP_LT},        {'>', ICE_CMP_GT},
               {ICE__OP_LE, ICE_CMP_LE}, {ICE__OP_GE, ICE_CMP_GE}, {ICE__OP_NE, ICE_CMP_NE}};
    bool negated;
    operand r;

    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (ice__take_op(&c->p, ops[i].op))
            return read_operand(c, &r) ? compare(c, ops[i].cmp, l, &r) : NULL;
    if (ice__take(&c->p, "IS"))
        return is_null(c, l);
    negated = (ice__is(&c->p, "NOT") && (ice__next_is(&c->p, "IN") || ice__next_is(&c->p, "BETWEEN"))) &&
              ice__take(&c->p, "NOT");
    if (ice__take(&c->p, "IN"))
        return in_list(c, l, negated);
    if (ice__take(&c->p, "BETWEEN"))
        return between(c, l, negated);
    return truth(c, l);
}

static ice_pred *predicate(compiler *c, int depth)
{
    ice__parser start = c->p;
    ice_pred *n;
    operand l;

    if (read_operand(c, &l) && (n = about(c, &l)))
        return n;
    c->p = start;
    if (depth >= ICE__MAX_DEPTH || !ice__take_op(&c->p, '('))
        return NULL;
    n = or_expr(c, depth + 1);
    return n && ice__take_op(&c->p, ')') ? n : NULL;
}

static ice_pred *not_expr(compiler *c, int depth)
{
    if (!ice__take(&c->p, "NOT"))
        return predicate(c, depth);
    return depth < ICE__MAX_DEPTH ? negation(c, not_expr(c, depth + 1)) : NULL;
}

/* Terms joined by AND or OR as one node, so that a long chain is not a deep tree. */
static ice_pred *chain(compiler *c, node_kind kind, const char *word, ice_pred *(*next)(compiler *, int),
                       int depth)
{
    ice_pred *first = next(c, depth), *n;
    ice__vec terms = {0};

    if (!first || !ice__is(&c->p, word))
        return first;
    if (!(n = node(c, kind)))
        return NULL;
    for (ice_pred *term = first;; term = next(c, depth)) {
        ice_pred **slot = term ? ice__push(&c->p, &terms, sizeof *slot) : NULL;

        if (!slot)
            return NULL;
        *slot = term;
        if (!ice__take(&c->p, word))
            break;
    }
    n->children = terms.data;
    n->n = terms.n;
    return n;
}

static ice_pred *and_expr(compiler *c, int depth)
{
    return chain(c, N_AND, "AND", not_expr, depth);
}
static ice_pred *or_expr(compiler *c, int depth)
{
    return chain(c, N_OR, "OR", and_expr, depth);
}

ice_code ice_pred_compile(ice_arena *a, ice_str expr, const ice_tabledef *def, ice_pred **out, ice_error *err)
{
    ice_str text = ice_arena_str(a, expr.ptr ? expr : ICE_STR(""));
    compiler c = {.def = def};
    ice_pred *n;

    *out = NULL;
    if (!text.ptr)
        return ice_fail_nomem(err);
    c.p = ice__parser_of(a, text, err);
    if (c.p.rc != ICE_OK)
        return c.p.rc;
    n = or_expr(&c, 0);
    if (c.p.rc != ICE_OK)
        return c.p.rc;
    if (!n || c.p.tok.kind != ICE__END)
        return ice_fail(err, ICE_UNSUPPORTED, "\"%.*s\" is not a simple condition",
                        ICE_PRI(ice__cut(text, 100)));
    *out = n;
    return ICE_OK;
}

/* ---- evaluation ---- */

static int truth_of(bool b)
{
    return b ? 1 : 0;
}

static const ice_value *value_of(const operand *o, const ice_value *row)
{
    return o->column >= 0 ? &row[o->column] : &o->value;
}

static int eval_compare(const ice_pred *p, const ice_value *row)
{
    const ice_value *l = value_of(&p->left, row), *r = value_of(&p->right, row);
    int c;

    if (l->null || r->null)
        return -1;
    c = ice_value_cmp(l, r);
    switch (p->cmp) {
    case ICE_CMP_EQ:
        return truth_of(c == 0);
    case ICE_CMP_NE:
        return truth_of(c != 0);
    case ICE_CMP_LT:
        return truth_of(c < 0);
    case ICE_CMP_LE:
        return truth_of(c <= 0);
    case ICE_CMP_GT:
        return truth_of(c > 0);
    default:
        return truth_of(c >= 0);
    }
}

static int eval_in(const ice_pred *p, const ice_value *row)
{
    const ice_value *v = value_of(&p->left, row);
    bool unknown = v->null;

    for (size_t i = 0; i < p->n && !v->null; i++) {
        if (p->values[i].null)
            unknown = true;
        else if (ice_value_cmp(v, &p->values[i]) == 0)
            return truth_of(!p->negated);
    }
    return unknown ? -1 : truth_of(p->negated);
}

/* AND ends at the first false, OR at the first true; else an unknown makes the whole unknown. */
static int eval_chain(const ice_pred *p, const ice_value *row)
{
    int decisive = p->kind == N_OR, result = !decisive;

    for (size_t i = 0; i < p->n; i++) {
        int t = ice_pred_eval(p->children[i], row);

        if (t == decisive)
            return t;
        if (t < 0)
            result = -1;
    }
    return result;
}

int ice_pred_eval(const ice_pred *p, const ice_value *row)
{
    const ice_value *v;
    int t;

    switch (p->kind) {
    case N_AND:
    case N_OR:
        return eval_chain(p, row);
    case N_NOT:
        t = ice_pred_eval(p->children[0], row);
        return t < 0 ? t : !t;
    case N_COMPARE:
        return eval_compare(p, row);
    case N_IN:
        return eval_in(p, row);
    default:
        v = value_of(&p->left, row);
        if (p->kind == N_IS_NULL || p->kind == N_NOT_NULL)
            return truth_of(v->null == (p->kind == N_IS_NULL));
        return v->null ? -1 : truth_of(v->b);
    }
}
