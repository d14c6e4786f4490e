/* Lists of expressions: taken apart, and whether two are written alike. */
#include "sql/sql_int.h"

/* Is the bracket at the current token closed by the last one? */
static bool wrapped(ice__parser p)
{
    int depth = 0;

    if (!ice__is_op(&p, '('))
        return false;
    while (p.tok.kind != ICE__END) {
        depth += ice__is_op(&p, '(') - ice__is_op(&p, ')');
        ice__advance(&p);
        if (depth == 0)
            return p.tok.kind == ICE__END;
    }
    return false;
}

/* The text up to the next comma outside brackets, and past it. */
static ice_str next_part(ice__parser *p)
{
    size_t start = p->tok.at, end = start;
    int depth = 0;

    while (p->tok.kind != ICE__END && (depth > 0 || !ice__is_op(p, ','))) {
        depth += ice__is_op(p, '(') - ice__is_op(p, ')');
        end = p->tok.at + p->tok.len;
        ice__advance(p);
    }
    if (ice__is_op(p, ','))
        ice__advance(p);
    return (ice_str){p->sql + start, end - start};
}

/* One expression without brackets around all of it; it ends with its last token. */
static ice__parser inner(ice_arena *a, ice_str text)
{
    ice__parser p = ice__parser_of(a, text, NULL);

    while (wrapped(p)) {
        text = (ice_str){text.ptr + 1, text.len - 2};
        p = ice__parser_of(a, text, NULL);
        p = ice__parser_of(a, text = next_part(&p), NULL);
    }
    return p;
}

static bool same_token(ice__parser *x, ice__parser *y)
{
    ice_str a = ice__tok_text(x, x->tok), b = ice__tok_text(y, y->tok);
    bool same;

    if ((x->tok.kind == ICE__WORD && y->tok.kind == ICE__QIDENT) || (x->tok.kind == ICE__QIDENT && y->tok.kind == ICE__WORD))
        /* One is quoted: as the bare one is folded. */
        return ice__name(x, "a name", &a) && ice__name(y, "a name", &b) && ice_str_eq(a, b);
    same = x->tok.kind == y->tok.kind && (x->tok.kind == ICE__WORD ? ice_str_ieq(a, b) : ice_str_eq(a, b));
    ice__advance(x);
    ice__advance(y);
    return same;
}

static bool same_part(ice_arena *a, ice_str x, ice_str y)
{
    ice__parser p = inner(a, x), q = inner(a, y);

    while (p.tok.kind != ICE__END && q.tok.kind != ICE__END)
        if (!same_token(&p, &q))
            return false;
    return p.rc == ICE_OK && q.rc == ICE_OK && p.tok.kind == q.tok.kind;
}

bool ice_sql_same_expr(ice_arena *a, ice_str x, ice_str y)
{
    ice__parser p = ice__parser_of(a, x, NULL), q = ice__parser_of(a, y, NULL);

    do
        if (!same_part(a, next_part(&p), next_part(&q)))
            return false;
    while (p.tok.kind != ICE__END && q.tok.kind != ICE__END);
    return p.rc == ICE_OK && q.rc == ICE_OK && p.tok.kind == q.tok.kind;
}

ice_code ice_sql_split_exprs(ice_arena *a, ice_str list, ice_str **out, size_t *n, ice_error *err)
{
    ice__parser p = ice__parser_of(a, list, err);
    ice__vec parts = {0};

    while (p.tok.kind != ICE__END)
        if (!ice__push_str(&p, &parts, next_part(&p)))
            return p.rc;
    *out = parts.data;
    *n = parts.n;
    return p.rc;
}
