/* CREATE [UNIQUE] INDEX. */
#include "sql/sql_int.h"

/* ---- elements ---- */

typedef struct elements {
    ice__vec cols, exprs, descending;
    bool expressions; /* one of them at least is no plain column */
} elements;

/* A name alone, not a call and not the start of a larger expression. */
static bool plain_element(const ice__parser *p)
{
    ice__tok next = ice__peek(p);

    if (ice__tok_is(p, next, "COLLATE"))
        return false;
    if (p->tok.kind != ICE__QIDENT && (p->tok.kind != ICE__WORD || ice__reserved(ice__tok_text(p, p->tok))))
        return false;
    return next.kind == ICE__WORD || next.kind == ICE__QIDENT ||
           (next.kind == ICE__OP && (next.op == ',' || next.op == ')'));
}

static bool element_key(ice__parser *p, elements *e)
{
    static const char *const stops[] = {"ASC", "DESC", "NULLS", NULL};
    ice_str name, text;

    if (plain_element(p)) {
        size_t start = p->tok.at;

        return ice__name(p, "a column name", &name) && ice__push_str(p, &e->cols, name) &&
               ice__push_str(p, &e->exprs, ice__since(p, start));
    }
    e->expressions = true;
    return ice__skip_expr(p, stops, &text) && ice__push_str(p, &e->exprs, text);
}

/* Order of nulls is the query's business: an index here only finds rows. */
static bool element(ice__parser *p, elements *e)
{
    uint8_t *down;

    if (!element_key(p, e))
        return false;
    if (!(down = ice__push(p, &e->descending, sizeof *down)))
        return false;
    *down = ice__take(p, "DESC");
    if (!*down)
        ice__take(p, "ASC");
    if (ice__take(p, "NULLS") && !ice__take(p, "FIRST") && !ice__expect(p, "LAST"))
        return false;
    if (p->tok.kind == ICE__WORD || p->tok.kind == ICE__QIDENT)
        return ice__unsupported(p, "an operator class (%.*s)",
                                ICE_PRI(ice__cut(ice__tok_text(p, p->tok), 40)));
    return true;
}

static bool parse_elements(ice__parser *p, elements *e)
{
    if (!ice__expect_op(p, '('))
        return false;
    do
        if (!element(p, e))
            return false;
    while (ice__take_op(p, ','));
    return ice__expect_op(p, ')');
}

/* All elements' texts, joined by commas. */
static bool join(ice__parser *p, const ice__vec *exprs, ice_str *out)
{
    const ice_str *e = exprs->data;
    ice_buf b = {0};

    for (size_t i = 0; i < exprs->n; i++) {
        ice_buf_puts(&b, i ? ", " : "");
        ice_buf_put_str(&b, e[i]);
    }
    *out = b.failed ? ICE_STR_NONE : ice_arena_str(p->arena, ice_buf_str(&b));
    ice_buf_free(&b);
    return out->ptr || ice__fail(p, ICE_NOMEM, "out of memory");
}

/* ---- the rest ---- */

/* WITH (transform = 'bucket[16]'): the Iceberg transform of a partition index. */
static bool parameters(ice__parser *p, ice_index *index)
{
    if (!ice__take(p, "WITH"))
        return true;
    if (!ice__expect_op(p, '('))
        return false;
    if (!ice__take(p, "TRANSFORM"))
        return ice__unsupported(p, "an index parameter other than transform");
    if (!ice__expect_op(p, '='))
        return false;
    if (p->tok.kind != ICE__STRING)
        return ice__syntax(p, "a string");
    if (!ice__string(p, p->tok, &index->params))
        return false;
    ice__advance(p);
    return ice__expect_op(p, ')');
}

static bool options(ice__parser *p, ice_stmt *out)
{
    ice_conspec *con = &out->index.con;
    ice__names names;

    if (ice__take(p, "INCLUDE")) {
        if (!ice__paren_names(p, "a column name", &names))
            return false;
        con->include = names.data;
        con->ninclude = names.n;
    }
    if (!ice__nulls_distinct(p, &con->con) || !parameters(p, &out->index.index))
        return false;
    return !ice__take(p, "WHERE") || ice__skip_expr(p, NULL, &out->index.index.where_sql);
}

static bool header(ice__parser *p, ice_stmt *out)
{
    ice_index *index = &out->index.index;

    ice__take(p, "CONCURRENTLY");
    out->index.if_not_exists = ice__is(p, "IF");
    if (ice__take(p, "IF") && (!ice__expect(p, "NOT") || !ice__expect(p, "EXISTS")))
        return false;
    if (!ice__is(p, "ON") && !ice__name(p, "an index name", &index->name))
        return false;
    if (!ice__expect(p, "ON") || !ice__table_name(p, &out->index.table))
        return false;
    index->kind = ICE_STR("btree");
    return !ice__take(p, "USING") || ice__name(p, "a kind of index", &index->kind);
}

static bool finish(ice__parser *p, ice_stmt *out, const elements *e)
{
    ice_index *index = &out->index.index;
    ice_conspec *con = &out->index.con;

    out->index.cols = e->expressions ? NULL : e->cols.data;
    out->index.ncols = e->expressions ? 0 : e->cols.n;
    if (e->expressions && !join(p, &e->exprs, &index->expr_sql))
        return false;
    if (!index->name.ptr &&
        !ice__default_name(p, out->index.table, e->cols.data, e->cols.n, "idx", NULL, &index->name))
        return false;
    index->ncols = out->index.ncols;
    index->descending = e->descending.data;
    for (size_t i = 0; e->expressions && i < e->descending.n && i < 32; i++)
        index->expr_desc |= (uint32_t)((uint8_t *)e->descending.data)[i] << i;
    con->cols = out->index.cols;
    con->ncols = out->index.ncols;
    con->con.kind = ICE_CON_UNIQUE;
    con->con.is_index = true;
    con->con.name = index->name;
    con->con.where_sql = index->where_sql;
    con->con.expr_sql = index->expr_sql;
    con->con.expr_desc = index->expr_desc;
    return true;
}

bool ice__create_index(ice__parser *p, bool unique, ice_stmt *out)
{
    elements e = {0};

    out->kind = ICE_S_CREATE_INDEX;
    out->index.unique = unique;
    return header(p, out) && parse_elements(p, &e) && options(p, out) && finish(p, out, &e);
}
