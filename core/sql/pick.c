/* The parameters that a piece of a statement names. */
#include "sql/sql_int.h"

/* Marks in `number` (position of a value -> its new number, 0: not named) what the text names. */
static ice_code find_named(ice_arena *a, ice_str sql, size_t nparams, size_t *number, size_t *n, ice_error *err)
{
    ice__parser p = ice__parser_of(a, sql, err);

    for (*n = 0; p.tok.kind != ICE__END; ice__advance(&p)) {
        if (p.tok.kind != ICE__PARAM)
            continue;
        if ((size_t)p.tok.param >= nparams)
            return ice_fail(err, ICE_SYNTAX, "there is no parameter $%d", p.tok.param + 1);
        if (!number[p.tok.param])
            number[p.tok.param] = ++*n;
    }
    return p.rc;
}

static ice_code renumber(ice_arena *a, ice_str sql, const size_t *number, ice_str *out, ice_error *err)
{
    ice__parser p = ice__parser_of(a, sql, err);
    ice_buf b = {0};
    size_t done = 0;
    ice_code rc;

    for (; p.tok.kind != ICE__END; ice__advance(&p)) {
        if (p.tok.kind != ICE__PARAM)
            continue;
        ice_buf_put(&b, sql.ptr + done, p.tok.at - done);
        ice_buf_printf(&b, "$%zu", number[p.tok.param]);
        done = p.tok.at + p.tok.len;
    }
    ice_buf_put(&b, sql.ptr + done, sql.len - done);
    rc = ice_buf_check(&b, err);
    if (rc == ICE_OK) {
        *out = ice_arena_str(a, ice_buf_str(&b));
        rc = out->ptr ? ICE_OK : ice_fail_nomem(err);
    }
    ice_buf_free(&b);
    return rc;
}

ice_code ice_sql_pick_params(ice_arena *a, ice_str sql, size_t nparams, ice_str *out, size_t **picked,
                             size_t *npicked, ice_error *err)
{
    size_t *number = ICE_NEW_N(a, size_t, nparams + 1);
    size_t n;
    ice_code rc;

    *out = sql;
    *picked = NULL;
    *npicked = nparams;
    if (nparams == 0)
        return ICE_OK;
    if (!number)
        return ice_fail_nomem(err);
    if ((rc = find_named(a, sql, nparams, number, &n, err)) != ICE_OK || n == nparams)
        return rc;
    if (!(*picked = ICE_NEW_N(a, size_t, n + 1)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < nparams; i++)
        if (number[i])
            (*picked)[number[i] - 1] = i;
    *npicked = n;
    return renumber(a, sql, number, out, err);
}
