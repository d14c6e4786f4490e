/* ALTER TABLE, ALTER VIEW and ALTER INDEX. */
#include "sql/sql_int.h"

static bool behaviour(ice__parser *p, ice_alter *a)
{
    a->cascade = ice__take(p, "CASCADE");
    if (!a->cascade)
        ice__take(p, "RESTRICT");
    return true;
}

static bool rename_action(ice__parser *p, ice_alter *a)
{
    const char *what = "a column name";

    if (ice__take(p, "TO")) {
        a->kind = ICE_A_RENAME_TABLE;
        return ice__name(p, "a table name", &a->new_name);
    }
    a->kind = ICE_A_RENAME_COLUMN;
    if (ice__take(p, "CONSTRAINT")) {
        a->kind = ICE_A_RENAME_CONSTRAINT;
        what = "a constraint name";
    } else {
        ice__take(p, "COLUMN");
    }
    return ice__name(p, what, &a->name) && ice__expect(p, "TO") && ice__name(p, what, &a->new_name);
}

static bool add_action(ice__parser *p, ice_str table, ice_alter *a)
{
    ice__vec cons = {0};
    bool ok;

    if (ice__at_table_constraint(p)) {
        a->kind = ICE_A_ADD_CONSTRAINT;
        ok = ice__table_constraint(p, table, &cons);
        if (ok)
            a->name = ((ice_conspec *)cons.data)->con.name;
    } else {
        a->kind = ICE_A_ADD_COLUMN;
        ice__take(p, "COLUMN");
        a->if_not_exists = ice__take2(p, "IF", "NOT");
        if (a->if_not_exists && !ice__expect(p, "EXISTS"))
            return false;
        ok = ice__coldef(p, table, &a->col, &cons);
        a->name = a->col.column.name;
    }
    a->cons = cons.data;
    a->ncons = cons.n;
    return ok;
}

static bool drop_action(ice__parser *p, ice_alter *a)
{
    bool constraint = ice__take(p, "CONSTRAINT");

    a->kind = constraint ? ICE_A_DROP_CONSTRAINT : ICE_A_DROP_COLUMN;
    if (!constraint)
        ice__take(p, "COLUMN");
    a->if_exists = ice__take2(p, "IF", "EXISTS");
    return ice__name(p, constraint ? "a constraint name" : "a column name", &a->name) && behaviour(p, a);
}

/* ---- ALTER COLUMN ---- */

static bool type_action(ice__parser *p, ice_alter *a)
{
    ice_error err = {0};
    ice_str type;
    ice_code rc;

    a->kind = ICE_A_TYPE;
    a->col.column.name = a->name;
    if (!ice__type_text(p, &type))
        return false;
    if ((rc = ice_column_set_sql_type(&a->col.column, p->arena, type, &err)) != ICE_OK)
        return ice__fail(p, rc, "column \"%.*s\": %s", ICE_PRI(ice__cut(a->name, 100)), err.message);
    if (ice__take(p, "COLLATE") && !ice__name(p, "a collation", &a->col.column.collation))
        return false;
    return !ice__take(p, "USING") || ice__skip_expr(p, NULL, &a->expr);
}

static bool set_action(ice__parser *p, ice_alter *a)
{
    if (ice__take2(p, "DATA", "TYPE"))
        return type_action(p, a);
    if (ice__take2(p, "NOT", "NULL")) {
        a->kind = ICE_A_SET_NOT_NULL;
        return true;
    }
    if (!ice__take(p, "DEFAULT"))
        return ice__unsupported(p, "ALTER COLUMN ... SET %.*s",
                                ICE_PRI(ice__cut(ice__tok_text(p, p->tok), 40)));
    a->kind = ICE_A_SET_DEFAULT;
    if (!ice__skip_expr(p, NULL, &a->expr))
        return false;
    if (ice_str_ieq(a->expr, ICE_STR("NULL")))
        a->kind = ICE_A_DROP_DEFAULT;
    return true;
}

static bool drop_property(ice__parser *p, ice_alter *a)
{
    if (ice__take(p, "DEFAULT")) {
        a->kind = ICE_A_DROP_DEFAULT;
    } else if (ice__take2(p, "NOT", "NULL")) {
        a->kind = ICE_A_DROP_NOT_NULL;
    } else if (ice__take(p, "IDENTITY")) {
        a->kind = ICE_A_DROP_IDENTITY;
        a->if_exists = ice__take2(p, "IF", "EXISTS");
    } else {
        return ice__unsupported(p, "ALTER COLUMN ... DROP %.*s",
                                ICE_PRI(ice__cut(ice__tok_text(p, p->tok), 40)));
    }
    return true;
}

static bool add_identity(ice__parser *p, ice_alter *a)
{
    a->kind = ICE_A_ADD_IDENTITY;
    if (!ice__expect(p, "GENERATED"))
        return false;
    if (ice__is(p, "ALWAYS"))
        return ice__unsupported(p, "GENERATED ALWAYS AS IDENTITY (use BY DEFAULT)");
    if (!ice__expect(p, "BY") || !ice__expect(p, "DEFAULT") || !ice__expect(p, "AS") ||
        !ice__expect(p, "IDENTITY"))
        return false;
    return !ice__is_op(p, '(') || ice__unsupported(p, "options of an identity column");
}

static bool restart(ice__parser *p, ice_alter *a)
{
    a->kind = ICE_A_RESTART;
    a->restart = 1;
    if (!ice__take(p, "WITH") && p->tok.kind != ICE__NUMBER && !ice__is_op(p, '-'))
        return true;
    return ice__int64(p, &a->restart);
}

static bool alter_column(ice__parser *p, ice_alter *a)
{
    ice__take(p, "COLUMN");
    if (!ice__name(p, "a column name", &a->name))
        return false;
    if (ice__take(p, "TYPE"))
        return type_action(p, a);
    if (ice__take(p, "SET"))
        return set_action(p, a);
    if (ice__take(p, "DROP"))
        return drop_property(p, a);
    if (ice__take(p, "ADD"))
        return add_identity(p, a);
    if (ice__take(p, "RESTART"))
        return restart(p, a);
    return ice__syntax(p, "TYPE, SET, DROP, ADD or RESTART");
}

/* ---- the statement ---- */

static bool action(ice__parser *p, ice_str table, ice_alter *a)
{
    if (ice__take(p, "RENAME"))
        return rename_action(p, a);
    if (ice__take(p, "ADD"))
        return add_action(p, table, a);
    if (ice__take(p, "DROP"))
        return drop_action(p, a);
    if (ice__take(p, "ALTER"))
        return alter_column(p, a);
    if (p->tok.kind == ICE__WORD)
        return ice__unsupported(p, "ALTER TABLE ... %.*s", ICE_PRI(ice__cut(ice__tok_text(p, p->tok), 40)));
    return ice__syntax(p, "ADD, DROP, ALTER or RENAME");
}

static bool alter_table(ice__parser *p, ice_stmt *out)
{
    ice__vec actions = {0};

    out->kind = ICE_S_ALTER_TABLE;
    out->alter.if_exists = ice__take2(p, "IF", "EXISTS");
    if (ice__is(p, "ONLY"))
        return ice__unsupported(p, "ONLY (tables do not inherit)");
    if (!ice__table_name(p, &out->alter.table))
        return false;
    do {
        ice_alter *a = ice__push(p, &actions, sizeof *a);

        if (!a || !action(p, out->alter.table, a))
            return false;
    } while (ice__take_op(p, ','));
    out->alter.actions = actions.data;
    out->alter.n = actions.n;
    return true;
}

static bool alter_view(ice__parser *p, ice_stmt *out)
{
    ice__vec actions = {0};
    ice_alter *a = ice__push(p, &actions, sizeof *a);

    out->kind = ICE_S_ALTER_TABLE;
    out->alter.view = true;
    out->alter.if_exists = ice__take2(p, "IF", "EXISTS");
    if (!a || !ice__table_name(p, &out->alter.table))
        return false;
    if (!ice__take2(p, "RENAME", "TO"))
        return ice__unsupported(p, "ALTER VIEW with anything but RENAME TO");
    a->kind = ICE_A_RENAME_TABLE;
    out->alter.actions = a;
    out->alter.n = 1;
    return ice__name(p, "a view name", &a->new_name);
}

static bool alter_index(ice__parser *p, ice_stmt *out)
{
    out->kind = ICE_S_RENAME_INDEX;
    out->simple.if_exists = ice__take2(p, "IF", "EXISTS");
    if (!ice__name(p, "an index name", &out->simple.name))
        return false;
    if (!ice__take2(p, "RENAME", "TO"))
        return ice__unsupported(p, "ALTER INDEX with anything but RENAME TO");
    return ice__name(p, "an index name", &out->simple.new_name);
}

bool ice__alter_stmt(ice__parser *p, ice_stmt *out)
{
    ice__advance(p);
    if (ice__take(p, "TABLE"))
        return alter_table(p, out);
    if (ice__take(p, "VIEW"))
        return alter_view(p, out);
    if (ice__take(p, "INDEX"))
        return alter_index(p, out);
    if (ice__is(p, "SEQUENCE"))
        return ice__unsupported(p, "ALTER SEQUENCE (use ALTER TABLE t ALTER COLUMN c RESTART WITH n)");
    if (p->tok.kind != ICE__WORD)
        return ice__syntax(p, "TABLE, VIEW or INDEX");
    return ice__unsupported(p, "ALTER %.*s", ICE_PRI(ice__cut(ice__tok_text(p, p->tok), 40)));
}
