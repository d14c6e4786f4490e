/* Column names within an expression. */
#include "sql/sql_int.h"

/* Whether the current token names a column: not a qualifier, a function, a type or the field of EXTRACT. */
static bool names_column(const ice__parser *p)
{
    ice__tok next = ice__peek(p);

    if (next.kind == ICE__OP && (next.op == '.' || next.op == '('))
        return false;
    if (p->tok.kind == ICE__QIDENT)
        return true;
    if (p->tok.kind != ICE__WORD || ice__reserved(ice__tok_text(p, p->tok)))
        return false;
    if (next.kind == ICE__STRING || ice__tok_is(p, next, "FROM"))
        return false;
    return !(p->prev.kind == ICE__OP && p->prev.op == ICE__OP_CAST) && !ice__tok_is(p, p->prev, "AS");
}

ice_code ice_sql_rename_in_expr(ice_arena *a, ice_str expr, ice_str from, ice_str to, ice_str *out,
                                ice_error *err)
{
    ice__parser p = ice__parser_of(a, expr, err);
    ice_buf b = {0};
    size_t done = 0;
    ice_code rc;

    while (p.tok.kind != ICE__END) {
        ice_str name;
        bool hit = names_column(&p);
        ice__tok t = p.tok;

        if (!hit)
            ice__advance(&p);
        else if (ice__name(&p, "a name", &name) && ice_str_eq(name, from)) {
            ice_buf_put(&b, p.sql + done, t.at - done);
            ice_buf_put_ident(&b, to);
            done = t.at + t.len;
        }
    }
    rc = p.rc;
    if (rc == ICE_OK && expr.len > done)
        ice_buf_put(&b, p.sql + done, expr.len - done);
    if (rc == ICE_OK)
        rc = ice_buf_check(&b, err);
    if (rc == ICE_OK) {
        *out = ice_arena_str(a, (ice_str){b.data ? b.data : "", b.len});
        rc = out->ptr ? ICE_OK : ice_fail_nomem(err);
    }
    ice_buf_free(&b);
    return rc;
}
