/* Column definitions and constraints, as CREATE TABLE and ALTER TABLE have them. */
#include "sql/sql_int.h"

#include <stdio.h>

/* What may follow a DEFAULT expression in a column definition. */
static const char *const column_stops[] = {"CONSTRAINT", "NOT",        "NULL",       "PRIMARY",
                                           "UNIQUE",     "CHECK",      "REFERENCES", "GENERATED",
                                           "COLLATE",    "DEFERRABLE", "DEFAULT",    NULL};

/* ---- names nobody gave ---- */

static bool name_taken(const ice__vec *cons, ice_str name)
{
    const ice_conspec *c = cons ? cons->data : NULL;

    for (size_t i = 0; cons && i < cons->n; i++)
        if (ice_str_eq(c[i].con.name, name))
            return true;
    return false;
}

bool ice__default_name(ice__parser *p, ice_str table, const ice_str *cols, size_t n, const char *suffix,
                       const ice__vec *cons, ice_str *out)
{
    ice_buf b = {0};

    ice_buf_put_str(&b, table);
    for (size_t i = 0; i < n; i++) {
        ice_buf_put_u8(&b, '_');
        ice_buf_put_str(&b, cols[i]);
    }
    ice_buf_printf(&b, "_%s", suffix);
    for (size_t len = b.len, k = 1; name_taken(cons, ice_buf_str(&b)); k++) {
        b.len = len;
        ice_buf_printf(&b, "%zu", k);
    }
    *out = b.failed ? ICE_STR_NONE : ice_arena_str(p->arena, ice_buf_str(&b));
    ice_buf_free(&b);
    return out->ptr || ice__fail(p, ICE_NOMEM, "out of memory");
}

static bool name_constraint(ice__parser *p, ice_str table, ice_conspec *c, const ice__vec *cons)
{
    if (c->con.name.ptr)
        return true;
    switch (c->con.kind) {
    case ICE_CON_PRIMARY:
        return ice__default_name(p, table, NULL, 0, "pkey", cons, &c->con.name);
    case ICE_CON_UNIQUE:
        return ice__default_name(p, table, c->cols, c->ncols, "key", cons, &c->con.name);
    case ICE_CON_FOREIGN:
        return ice__default_name(p, table, c->cols, c->ncols, "fkey", cons, &c->con.name);
    default:
        return ice__default_name(p, table, c->cols, c->ncols, "check", cons, &c->con.name);
    }
}

static bool add_constraint(ice__parser *p, ice_str table, ice_conspec *c, ice__vec *cons)
{
    ice_conspec *slot;

    if (!name_constraint(p, table, c, cons) || !(slot = ice__push(p, cons, sizeof *slot)))
        return false;
    *slot = *c;
    return true;
}

/* ---- parts of constraints ---- */

/* NULLS [NOT] DISTINCT */
bool ice__nulls_distinct(ice__parser *p, ice_constraint *con)
{
    if (!ice__take(p, "NULLS"))
        return true;
    con->nulls_not_distinct = ice__take(p, "NOT");
    return ice__expect(p, "DISTINCT");
}

static bool deferrability(ice__parser *p, ice_constraint *con)
{
    if (ice__take2(p, "NOT", "DEFERRABLE"))
        return true;
    con->deferrable = ice__take(p, "DEFERRABLE");
    if (!ice__take(p, "INITIALLY"))
        return true;
    con->initially_deferred = ice__take(p, "DEFERRED");
    con->deferrable |= con->initially_deferred;
    return con->initially_deferred || ice__expect(p, "IMMEDIATE");
}

static bool include(ice__parser *p, ice_conspec *c)
{
    ice__names names;

    if (!ice__take(p, "INCLUDE"))
        return true;
    if (!ice__paren_names(p, "a column name", &names))
        return false;
    c->include = names.data;
    c->ninclude = names.n;
    return true;
}

/* ON DELETE, ON UPDATE. */
static bool actions(ice__parser *p, ice_constraint *con)
{
    while (ice__take(p, "ON")) {
        bool update = ice__is(p, "UPDATE");

        if (!update && !ice__is(p, "DELETE"))
            return ice__syntax(p, "DELETE or UPDATE");
        ice__advance(p);
        if (ice__take2(p, "NO", "ACTION") || ice__take(p, "RESTRICT"))
            continue;
        if (update)
            return ice__unsupported(p, "ON UPDATE CASCADE, SET NULL or SET DEFAULT");
        if (ice__take(p, "CASCADE"))
            con->on_delete = ICE_FK_CASCADE;
        else if (ice__take2(p, "SET", "NULL"))
            con->on_delete = ICE_FK_SET_NULL;
        else if (ice__take2(p, "SET", "DEFAULT"))
            con->on_delete = ICE_FK_SET_DEFAULT;
        else
            return ice__syntax(p, "NO ACTION, RESTRICT, CASCADE, SET NULL or SET DEFAULT");
    }
    return true;
}

static bool references(ice__parser *p, ice_conspec *c)
{
    ice__names cols = {0};

    c->con.kind = ICE_CON_FOREIGN;
    if (!ice__expect(p, "REFERENCES") || !ice__table_name(p, &c->ref_table))
        return false;
    if (ice__is_op(p, '(') && !ice__paren_names(p, "a column name", &cols))
        return false;
    c->ref_cols = cols.data;
    c->nref = cols.n;
    if (cols.n && cols.n != c->ncols)
        return ice__fail(p, ICE_SYNTAX, "a foreign key has %zu columns and refers to %zu", c->ncols, cols.n);
    if (ice__take(p, "MATCH") && !ice__take(p, "SIMPLE"))
        return ice__unsupported(p, "MATCH FULL or PARTIAL");
    return actions(p, &c->con) && deferrability(p, &c->con);
}

static bool check(ice__parser *p, ice_conspec *c)
{
    c->con.kind = ICE_CON_CHECK;
    if (!ice__paren_text(p, &c->con.check_sql))
        return false;
    ice__take2(p, "NO", "INHERIT");
    return !ice__is(p, "NOT") || !ice__next_is(p, "VALID") || ice__unsupported(p, "NOT VALID");
}

/* ---- a column ---- */

static bool one_column(ice__parser *p, ice_str column, ice_conspec *c)
{
    c->ncols = 1;
    c->cols = ICE_NEW(p->arena, ice_str);
    if (!c->cols)
        return ice__fail(p, ICE_NOMEM, "out of memory");
    c->cols[0] = column;
    return true;
}

/* PRIMARY KEY, UNIQUE, CHECK, REFERENCES at a column; *found is false where none of them comes. */
static bool column_constraint(ice__parser *p, ice_str table, ice_colspec *col, ice_str name, ice__vec *cons,
                              bool *found)
{
    ice_conspec c = {.con = {.name = name}};

    *found = true;
    if (!one_column(p, col->column.name, &c))
        return false;
    if (ice__take2(p, "PRIMARY", "KEY")) {
        c.con.kind = ICE_CON_PRIMARY;
        col->column.not_null = true;
        return deferrability(p, &c.con) && add_constraint(p, table, &c, cons);
    }
    if (ice__take(p, "UNIQUE")) {
        c.con.kind = ICE_CON_UNIQUE;
        return ice__nulls_distinct(p, &c.con) && deferrability(p, &c.con) &&
               add_constraint(p, table, &c, cons);
    }
    if (ice__take(p, "CHECK")) {
        return check(p, &c) && add_constraint(p, table, &c, cons);
    }
    if (ice__is(p, "REFERENCES"))
        return references(p, &c) && add_constraint(p, table, &c, cons);
    *found = false;
    return true;
}

static bool generated(ice__parser *p, ice_column *c)
{
    bool by_default = ice__take2(p, "BY", "DEFAULT");

    if (!by_default && !ice__expect(p, "ALWAYS"))
        return false;
    if (!ice__expect(p, "AS"))
        return false;
    if (ice__take(p, "IDENTITY")) {
        c->identity = true;
        c->not_null = true;
        if (!by_default)
            return ice__unsupported(p, "GENERATED ALWAYS AS IDENTITY (use BY DEFAULT)");
        return !ice__is_op(p, '(') || ice__unsupported(p, "options of an identity column");
    }
    if (by_default)
        return ice__syntax(p, "IDENTITY");
    if (!ice__paren_text(p, &c->generated_sql))
        return false;
    return ice__take(p, "STORED") || ice__unsupported(p, "a generated column that is not STORED");
}

bool ice__default_sql(ice__parser *p, ice_str *out)
{
    if (!ice__skip_expr(p, column_stops, out))
        return false;
    if (ice_str_ieq(*out, ICE_STR("NULL")))
        *out = ICE_STR_NONE;
    return true;
}

/* NULL, NOT NULL, DEFAULT, GENERATED, COLLATE; *found as above. */
static bool column_property(ice__parser *p, ice_colspec *col, bool *found)
{
    ice_column *c = &col->column;

    *found = true;
    if (ice__take2(p, "NOT", "NULL")) {
        c->not_null = true;
        return true;
    }
    if (ice__take(p, "NULL")) {
        col->null_said = true;
        return true;
    }
    if (ice__take(p, "DEFAULT"))
        return ice__default_sql(p, &c->default_sql);
    if (ice__take(p, "GENERATED"))
        return generated(p, c);
    if (ice__take(p, "COLLATE"))
        return ice__name(p, "a collation", &c->collation);
    *found = false;
    return true;
}

static bool column_type(ice__parser *p, ice_column *c)
{
    ice_str type;
    ice_error err = {0};
    ice_code rc;

    if (!ice__type_text(p, &type))
        return false;
    if ((rc = ice_column_set_sql_type(c, p->arena, type, &err)) != ICE_OK)
        return ice__fail(p, rc, "column \"%.*s\": %s", ICE_PRI(ice__cut(c->name, 100)), err.message);
    return true;
}

bool ice__coldef(ice__parser *p, ice_str table, ice_colspec *out, ice__vec *cons)
{
    bool found = true;

    *out = (ice_colspec){0};
    if (!ice__name(p, "a column name", &out->column.name) || !column_type(p, &out->column))
        return false;
    while (found) {
        ice_str name = ICE_STR_NONE;

        if (ice__take(p, "CONSTRAINT") && !ice__name(p, "a constraint name", &name))
            return false;
        if (!column_constraint(p, table, out, name, cons, &found))
            return false;
        if (!found && !column_property(p, out, &found))
            return false;
        if (!found && name.ptr)
            return ice__syntax(p, "a constraint");
    }
    if (out->null_said && out->column.not_null)
        return ice__fail(p, ICE_SYNTAX, "column \"%.*s\" is both NULL and NOT NULL",
                         ICE_PRI(ice__cut(out->column.name, 100)));
    return true;
}

/* ---- at the table ---- */

bool ice__at_table_constraint(const ice__parser *p)
{
    static const char *const words[] = {"CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN",
                                        "CHECK",      "EXCLUDE", NULL};

    return ice__is_any(p, words) &&
           !(ice__is(p, "EXCLUDE") && ice__peek(p).kind == ICE__WORD && !ice__next_is(p, "USING"));
}

static bool key_columns(ice__parser *p, ice_conspec *c)
{
    ice__names names;

    if (ice__is(p, "USING"))
        return ice__unsupported(p, "a constraint USING INDEX");
    if (!ice__paren_names(p, "a column name", &names))
        return false;
    c->cols = names.data;
    c->ncols = names.n;
    for (size_t i = 0; i < names.n; i++)
        for (size_t j = 0; j < i; j++)
            if (ice_str_eq(names.data[i], names.data[j]))
                return ice__fail(p, ICE_DUP_COLUMN, "column \"%.*s\" is twice in a constraint",
                                 ICE_PRI(ice__cut(names.data[i], 100)));
    return true;
}

static bool key_constraint(ice__parser *p, ice_conspec *c)
{
    return ice__nulls_distinct(p, &c->con) && key_columns(p, c) && include(p, c) && deferrability(p, &c->con);
}

static bool constraint_body(ice__parser *p, ice_conspec *c)
{
    if (ice__take2(p, "PRIMARY", "KEY")) {
        c->con.kind = ICE_CON_PRIMARY;
        return key_columns(p, c) && include(p, c) && deferrability(p, &c->con);
    }
    if (ice__take(p, "UNIQUE")) {
        c->con.kind = ICE_CON_UNIQUE;
        return key_constraint(p, c);
    }
    if (ice__take2(p, "FOREIGN", "KEY"))
        return key_columns(p, c) && references(p, c);
    if (ice__take(p, "CHECK"))
        return check(p, c);
    if (ice__is(p, "EXCLUDE"))
        return ice__unsupported(p, "EXCLUDE");
    return ice__syntax(p, "PRIMARY KEY, UNIQUE, FOREIGN KEY or CHECK");
}

bool ice__table_constraint(ice__parser *p, ice_str table, ice__vec *cons)
{
    ice_conspec c = {0};

    if (ice__take(p, "CONSTRAINT") && !ice__name(p, "a constraint name", &c.con.name))
        return false;
    if (!constraint_body(p, &c))
        return false;
    if (ice__is(p, "NOT") && ice__next_is(p, "VALID"))
        return ice__unsupported(p, "NOT VALID");
    return add_constraint(p, table, &c, cons);
}
