/* CREATE TABLE, CREATE VIEW, DROP, COMMENT. */
#include "sql/sql_int.h"

static bool if_not_exists(ice__parser *p, bool *said)
{
    *said = ice__is(p, "IF");
    return !*said || (ice__take(p, "IF") && ice__expect(p, "NOT") && ice__expect(p, "EXISTS"));
}

/* ---- CREATE TABLE ---- */

/* Columns of the primary key take no NULL. */
static bool apply_primary(ice__parser *p, ice__vec *cols, const ice__vec *cons, ice_str table)
{
    const ice_conspec *c = cons->data, *primary = NULL;
    ice_colspec *col = cols->data;

    for (size_t i = 0; i < cons->n; i++) {
        if (c[i].con.kind != ICE_CON_PRIMARY)
            continue;
        if (primary)
            return ice__fail(p, ICE_SYNTAX, "table \"%.*s\" has more than one primary key",
                             ICE_PRI(ice__cut(table, 100)));
        primary = &c[i];
    }
    for (size_t i = 0; primary && i < cols->n; i++)
        for (size_t k = 0; k < primary->ncols; k++)
            col[i].column.not_null |= ice_str_eq(primary->cols[k], col[i].column.name);
    return true;
}

static bool table_elements(ice__parser *p, ice_str table, ice__vec *cols, ice__vec *cons)
{
    if (ice__is(p, "AS"))
        return ice__unsupported(p, "CREATE TABLE AS");
    if (!ice__expect_op(p, '('))
        return false;
    do {
        ice_colspec *col;

        if (ice__is(p, "LIKE"))
            return ice__unsupported(p, "CREATE TABLE (LIKE ...)");
        if (ice__at_table_constraint(p)) {
            if (!ice__table_constraint(p, table, cons))
                return false;
        } else if (!(col = ice__push(p, cols, sizeof *col)) || !ice__coldef(p, table, col, cons)) {
            return false;
        }
    } while (ice__take_op(p, ','));
    return ice__expect_op(p, ')');
}

static bool create_table(ice__parser *p, ice_stmt *out)
{
    ice__vec cols = {0}, cons = {0};

    out->kind = ICE_S_CREATE_TABLE;
    if (!if_not_exists(p, &out->create.if_not_exists) || !ice__table_name(p, &out->create.name))
        return false;
    if (!table_elements(p, out->create.name, &cols, &cons) ||
        !apply_primary(p, &cols, &cons, out->create.name))
        return false;
    out->create.cols = cols.data;
    out->create.ncols = cols.n;
    out->create.cons = cons.data;
    out->create.ncons = cons.n;
    if (p->tok.kind == ICE__WORD)
        return ice__unsupported(p, "CREATE TABLE (...) %.*s",
                                ICE_PRI(ice__cut(ice__tok_text(p, p->tok), 40)));
    return true;
}

/* ---- CREATE VIEW ---- */

static bool view_query(ice__parser *p, ice_str *query)
{
    static const char *const words[] = {"SELECT", "VALUES", "WITH", "FROM", "TABLE", NULL};
    size_t start = p->tok.at;
    ice_stmt inner = {0};

    if (!ice__is_op(p, '(') && !ice__is_any(p, words))
        return ice__syntax(p, "a query");
    if (!ice__select(p, &inner))
        return false;
    if (inner.kind != ICE_S_SELECT)
        return ice__unsupported(p, "a view that locks rows");
    *query = ice__since(p, start);
    return true;
}

static bool create_view(ice__parser *p, bool replace, ice_stmt *out)
{
    ice__names cols = {0};

    out->kind = ICE_S_CREATE_VIEW;
    out->view.replace = replace;
    if (!ice__table_name(p, &out->view.name))
        return false;
    if (ice__is_op(p, '(') && !ice__paren_names(p, "a column name", &cols))
        return false;
    out->view.cols = cols.data;
    out->view.ncols = cols.n;
    return ice__expect(p, "AS") && view_query(p, &out->view.query);
}

bool ice__create(ice__parser *p, ice_stmt *out)
{
    bool unique;

    ice__advance(p);
    if (ice__take(p, "TABLE"))
        return create_table(p, out);
    if (ice__take(p, "VIEW"))
        return create_view(p, false, out);
    if (ice__is(p, "OR") && ice__next_is(p, "REPLACE")) {
        ice__take2(p, "OR", "REPLACE");
        return ice__take(p, "VIEW") ? create_view(p, true, out) : ice__unsupported(p, "CREATE OR REPLACE of anything but a view");
    }
    unique = ice__take(p, "UNIQUE");
    if (ice__take(p, "INDEX"))
        return ice__create_index(p, unique, out);
    if (unique)
        return ice__syntax(p, "INDEX");
    if (p->tok.kind != ICE__WORD)
        return ice__syntax(p, "TABLE, VIEW or INDEX");
    return ice__unsupported(p, "CREATE %.*s", ICE_PRI(ice__cut(ice__tok_text(p, p->tok), 40)));
}

/* ---- DROP ---- */

bool ice__drop(ice__parser *p, ice_stmt *out)
{
    ice__names names;

    ice__advance(p);
    out->kind = ice__is(p, "INDEX") ? ICE_S_DROP_INDEX : ice__is(p, "VIEW") ? ICE_S_DROP_VIEW : ICE_S_DROP_TABLE;
    if (!ice__take(p, "TABLE") && !ice__take(p, "INDEX") && !ice__take(p, "VIEW")) {
        if (p->tok.kind != ICE__WORD)
            return ice__syntax(p, "TABLE, VIEW or INDEX");
        return ice__unsupported(p, "DROP %.*s", ICE_PRI(ice__cut(ice__tok_text(p, p->tok), 40)));
    }
    if (out->kind == ICE_S_DROP_INDEX)
        ice__take(p, "CONCURRENTLY");
    out->drop.if_exists = ice__take2(p, "IF", "EXISTS");
    if (!ice__name_list(p, out->kind == ICE_S_DROP_INDEX ? "an index name" : "a name", &names))
        return false;
    out->drop.names = names.data;
    out->drop.n = names.n;
    out->drop.cascade = ice__take(p, "CASCADE");
    if (!out->drop.cascade)
        ice__take(p, "RESTRICT");
    return true;
}

/* ---- COMMENT ---- */

static bool comment_target(ice__parser *p, ice_stmt *out)
{
    out->comment.view = ice__take(p, "VIEW");
    if (out->comment.view || ice__take(p, "TABLE"))
        return ice__table_name(p, &out->comment.table);
    if (!ice__take(p, "COLUMN"))
        return ice__unsupported(p, "COMMENT ON anything but TABLE, VIEW and COLUMN");
    return ice__name(p, "a table name", &out->comment.table) && ice__expect_op(p, '.') &&
           ice__name(p, "a column name", &out->comment.column);
}

bool ice__comment(ice__parser *p, ice_stmt *out)
{
    out->kind = ICE_S_COMMENT;
    ice__advance(p);
    if (!ice__expect(p, "ON") || !comment_target(p, out) || !ice__expect(p, "IS"))
        return false;
    if (ice__take(p, "NULL"))
        return true;
    if (p->tok.kind != ICE__STRING && p->tok.kind != ICE__DSTRING)
        return ice__syntax(p, "a string or NULL");
    if (!ice__string(p, p->tok, &out->comment.text))
        return false;
    ice__advance(p);
    return true;
}
