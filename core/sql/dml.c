/* INSERT, UPDATE, DELETE, TRUNCATE. */
#include "sql/sql_int.h"

static const char *const set_stops[] = {"FROM", "WHERE", "RETURNING", NULL};
static const char *const where_stops[] = {"RETURNING", NULL};

/* ---- RETURNING ---- */

typedef struct returning {
    bool said, star;
    ice__vec exprs, names;
} returning;

static bool returning_star(ice__parser *p, const ice__scope *scope)
{
    ice__parser t = ice__attempt(p);
    ice_str name;

    if (!ice__take_op(&t, '*')) {
        if (!ice__name(&t, "a name", &name) || !ice__in_scope(scope, name) || !ice__take_op(&t, '.') ||
            !ice__take_op(&t, '*'))
            return false;
    }
    t.err = p->err;
    *p = t;
    return true;
}

static bool returning_item(ice__parser *p, const ice__scope *scope, returning *r)
{
    static const char *const stops[] = {"AS", NULL};
    ice_expr *e = ice__push(p, &r->exprs, sizeof *e);
    ice__parser t = ice__attempt(p);
    ice_str qualifier, column = ICE_STR_NONE, name = ICE_STR_NONE;

    if (!e)
        return false;
    *e = (ice_expr){.kind = ICE_E_OTHER, .param = -1};
    if (ice__simple_column(&t, &qualifier, &column) && ice__in_scope(scope, qualifier) &&
        (t.tok.kind == ICE__END || ice__is_op(&t, ',') || ice__is_op(&t, ';') || ice__is(&t, "AS")))
        e->column = name = column;
    if (!ice__skip_expr(p, stops, &e->text) || (ice__take(p, "AS") && !ice__name(p, "a name", &name)))
        return false;
    return ice__push_str(p, &r->names, name);
}

static bool parse_returning(ice__parser *p, const ice__scope *scope, returning *r)
{
    *r = (returning){.said = ice__take(p, "RETURNING")};
    if (!r->said)
        return true;
    if (returning_star(p, scope)) {
        r->star = true;
        return !ice__is_op(p, ',') || ice__unsupported(p, "RETURNING * together with other expressions");
    }
    do
        if (!returning_item(p, scope, r))
            return false;
    while (ice__take_op(p, ','));
    return true;
}

#define PUT_RETURNING(to, r)                                                                                 \
    do {                                                                                                     \
        (to)->returning = (r)->said;                                                                         \
        (to)->returning_star = (r)->star;                                                                    \
        (to)->nreturning = (r)->exprs.n;                                                                     \
        (to)->returning_exprs = (r)->exprs.data;                                                             \
        (to)->returning_names = (r)->names.data;                                                             \
    } while (0)

/* ---- SET ---- */

typedef struct assignments {
    ice__vec cols, exprs;
} assignments;

static bool assignment(ice__parser *p, const ice__scope *scope, assignments *set)
{
    const ice_str *cols = set->cols.data;
    ice_expr *e = ice__push(p, &set->exprs, sizeof *e);
    ice_str column;

    if (ice__is_op(p, '('))
        return ice__unsupported(p, "SET (a, b) = ...");
    if (!e || !ice__name(p, "a column name", &column))
        return false;
    for (size_t i = 0; i < set->cols.n; i++)
        if (ice_str_eq(cols[i], column))
            return ice__fail(p, ICE_SYNTAX, "column \"%.*s\" is assigned twice", ICE_PRI(column));
    return ice__expect_op(p, '=') && ice__expr(p, scope, set_stops, e) &&
           ice__push_str(p, &set->cols, column);
}

static bool parse_set(ice__parser *p, const ice__scope *scope, assignments *set)
{
    *set = (assignments){0};
    if (!ice__expect(p, "SET"))
        return false;
    do
        if (!assignment(p, scope, set))
            return false;
    while (ice__take_op(p, ','));
    return true;
}

/* [AS] alias, where the next word is not `stop` */
static bool parse_alias(ice__parser *p, const char *const *stops, ice_str *alias)
{
    if (!ice__take(p, "AS") && p->tok.kind != ICE__QIDENT &&
        (p->tok.kind != ICE__WORD || ice__is_any(p, stops)))
        return true;
    return ice__name(p, "an alias", alias);
}

/* ---- INSERT: rows ---- */

static bool parse_row(ice__parser *p, ice_insert *in, ice__vec *values)
{
    size_t before = values->n, width;

    if (!ice__expect_op(p, '('))
        return false;
    do {
        ice_expr *e = ice__push(p, values, sizeof *e);

        if (!e || !ice__expr(p, NULL, NULL, e))
            return false;
    } while (ice__take_op(p, ','));
    if (!ice__expect_op(p, ')'))
        return false;
    width = values->n - before;
    if (in->nrows > 0 && width != in->width)
        return ice__fail(p, ICE_SYNTAX,
                         "VALUES lists must all be the same length: row %zu has %zu values, not %zu",
                         in->nrows + 1, width, in->width);
    in->width = width;
    in->nrows++;
    return true;
}

/* The first row's length tells how many there will be, so that a bulk insert seldom grows its array. */
static void reserve_rows(ice__parser *p, size_t row_bytes, size_t width, ice__vec *values)
{
    size_t left = p->len - ice__prev_end(p), rows = left / (row_bytes + 2) + 1, cap = (rows + 1) * width;
    void *data;

    if (!ice__is_op(p, ',') || cap <= values->cap ||
        !(data = ice_arena_array(p->arena, cap, sizeof(ice_expr))))
        return;
    memcpy(data, values->data, values->n * sizeof(ice_expr));
    values->data = data;
    values->cap = cap;
}

static bool parse_values(ice__parser *p, ice_insert *in)
{
    ice__vec values = {0};

    ice__advance(p);
    do {
        size_t start = p->tok.at;

        if (!parse_row(p, in, &values))
            return false;
        if (in->nrows == 1)
            reserve_rows(p, ice__prev_end(p) - start, in->width, &values);
    } while (ice__take_op(p, ','));
    if (in->ncols > 0 && in->width != in->ncols)
        return ice__fail(p, ICE_SYNTAX, "INSERT has %zu values for %zu columns", in->width, in->ncols);
    in->values = values.data;
    return true;
}

/* ---- INSERT: a query ---- */

static bool at_query(const ice__parser *p, ice__tok t)
{
    return ice__tok_is(p, t, "SELECT") || ice__tok_is(p, t, "WITH") || ice__tok_is(p, t, "FROM") ||
           ice__tok_is(p, t, "TABLE") || (t.kind == ICE__OP && t.op == '(');
}

/* To RETURNING or ON CONFLICT outside brackets, or the end. */
static bool skip_query(ice__parser *p, ice_str *text)
{
    size_t start = p->tok.at;

    while (p->tok.kind != ICE__END && !ice__is_op(p, ';') && !ice__is(p, "RETURNING") &&
           !(ice__is(p, "ON") && ice__next_is(p, "CONFLICT"))) {
        if (ice__is_op(p, ')') || ice__is_op(p, ']') || ice__is_op(p, '}'))
            return ice__syntax(p, "no closing bracket");
        if (!ice__is_op(p, '(') && !ice__is_op(p, '[') && !ice__is_op(p, '{'))
            ice__advance(p);
        else if (!ice__skip_group(p))
            return false;
    }
    *text = ice__since(p, start);
    return p->rc == ICE_OK;
}

static bool parse_query(ice__parser *p, ice_str with, ice_insert *in)
{
    bool more = ice__is(p, "WITH");
    char *text;

    if (!skip_query(p, &in->select_sql))
        return false;
    if (!with.ptr)
        return true;
    if (more)
        return ice__unsupported(p, "WITH both before INSERT and before its SELECT");
    text = ice_arena_printf(p->arena, "%.*s %.*s", ICE_PRI(with), ICE_PRI(in->select_sql));
    if (!text)
        return ice__fail(p, ICE_NOMEM, "out of memory");
    in->select_sql = ice_str_c(text);
    return true;
}

/* ---- INSERT: ON CONFLICT ---- */

/* The plain columns of a conflict target's text; none where it has anything else. */
static void target_columns(ice__parser *p, ice_insert *in)
{
    ice__parser t = ice__parser_of(p->arena, in->conflict_target, NULL);
    ice__names names;

    if (!ice__name_list(&t, "a column", &names) || t.tok.kind != ICE__END || t.rc != ICE_OK)
        return;
    in->conflict_cols = names.data;
    in->nconflict_cols = names.n;
}

static bool conflict_target(ice__parser *p, ice_insert *in)
{
    static const char *const stops[] = {"DO", NULL};

    if (ice__take2(p, "ON", "CONSTRAINT"))
        return ice__name(p, "a constraint name", &in->conflict_constraint);
    if (!ice__is_op(p, '('))
        return true;
    if (!ice__paren_text(p, &in->conflict_target))
        return false;
    target_columns(p, in);
    return !ice__take(p, "WHERE") || ice__skip_expr(p, stops, &in->conflict_where);
}

static bool do_update(ice__parser *p, ice_insert *in)
{
    ice__scope scope = {.table = in->table, .alias = in->alias, .excluded = true};
    assignments set;

    if (!in->conflict_target.ptr && !in->conflict_constraint.ptr)
        return ice__fail(p, ICE_SYNTAX,
                         "ON CONFLICT DO UPDATE needs a target: the columns or the constraint in conflict");
    if (!parse_set(p, &scope, &set))
        return false;
    in->nset = set.cols.n;
    in->set_cols = set.cols.data;
    in->set_exprs = set.exprs.data;
    return !ice__take(p, "WHERE") || ice__skip_expr(p, where_stops, &in->set_where);
}

static bool parse_conflict(ice__parser *p, ice_insert *in)
{
    if (!ice__take2(p, "ON", "CONFLICT"))
        return true;
    in->on_conflict = true;
    if (!conflict_target(p, in) || !ice__expect(p, "DO"))
        return false;
    if (ice__take(p, "NOTHING")) {
        in->do_nothing = true;
        return true;
    }
    return ice__expect(p, "UPDATE") && do_update(p, in);
}

/* ---- INSERT ---- */

static bool insert_columns(ice__parser *p, ice_insert *in)
{
    ice__names cols;

    if (!ice__is_op(p, '(') || at_query(p, ice__peek(p)))
        return true;
    if (!ice__paren_names(p, "a column name", &cols))
        return false;
    in->cols = cols.data;
    in->ncols = cols.n;
    return true;
}

static bool insert_source(ice__parser *p, ice_str with, ice_insert *in)
{
    if (ice__take2(p, "DEFAULT", "VALUES")) {
        if (in->ncols > 0)
            return ice__fail(p, ICE_SYNTAX, "DEFAULT VALUES takes no column list");
        in->default_values = true;
        in->nrows = 1;
        return true;
    }
    if (ice__is(p, "VALUES"))
        return with.ptr ? ice__unsupported(p, "WITH before INSERT ... VALUES") : parse_values(p, in);
    if (at_query(p, p->tok))
        return parse_query(p, with, in);
    return ice__syntax(p, "VALUES, SELECT or DEFAULT VALUES");
}

bool ice__insert(ice__parser *p, ice_str with, ice_stmt *out)
{
    ice_insert *in = &out->insert;
    ice__scope scope;
    returning r;

    out->kind = ICE_S_INSERT;
    ice__advance(p);
    if (ice__is(p, "OR"))
        return ice__unsupported(p, "INSERT OR REPLACE (use ON CONFLICT)");
    if (!ice__expect(p, "INTO") || !ice__table_name(p, &in->table))
        return false;
    if (ice__take(p, "AS") && !ice__name(p, "an alias", &in->alias))
        return false;
    if (!insert_columns(p, in))
        return false;
    /* Identity columns are BY DEFAULT, so a value given for one is taken anyway. */
    if (ice__take(p, "OVERRIDING") &&
        !(ice__take2(p, "SYSTEM", "VALUE") || ice__unsupported(p, "OVERRIDING USER VALUE")))
        return false;
    if (!insert_source(p, with, in) || !parse_conflict(p, in))
        return false;
    scope = (ice__scope){.table = in->table, .alias = in->alias, .excluded = false};
    if (!parse_returning(p, &scope, &r))
        return false;
    PUT_RETURNING(in, &r);
    return true;
}

/* ---- UPDATE and DELETE ---- */

static bool parse_where(ice__parser *p, const ice__scope *scope, ice_update *u)
{
    ice__parser t;

    if (!ice__take(p, "WHERE"))
        return true;
    t = ice__attempt(p);
    if (!ice__skip_expr(p, where_stops, &u->where_sql))
        return false;
    u->simple_where =
        !u->from_sql.ptr && ice__simple_where(&t, scope, &u->conds, &u->nconds) && t.tok.at == p->tok.at;
    if (!u->simple_where) {
        u->conds = NULL;
        u->nconds = 0;
    }
    return true;
}

/* The rest of UPDATE and DELETE after FROM or USING, if any. */
static bool changed_rows(ice__parser *p, const char *from, ice_update *u)
{
    static const char *const stops[] = {"WHERE", "RETURNING", NULL};
    ice__scope scope = {.table = u->table, .alias = u->alias, .excluded = false};
    returning r;

    if (ice__take(p, from)) {
        size_t start = p->tok.at;
        ice_str part;

        do
            if (!ice__skip_expr(p, stops, &part))
                return false;
        while (ice__take_op(p, ','));
        u->from_sql = ice__since(p, start);
    }
    if (!parse_where(p, &scope, u) || !parse_returning(p, &scope, &r))
        return false;
    PUT_RETURNING(u, &r);
    if (!u->where_sql.ptr && !u->from_sql.ptr)
        u->simple_where = true;
    return true;
}

static bool refuse_only(ice__parser *p)
{
    return !ice__is(p, "ONLY") || ice__unsupported(p, "ONLY (tables do not inherit)");
}

bool ice__update(ice__parser *p, ice_stmt *out)
{
    static const char *const stops[] = {"SET", NULL};
    ice_update *u = &out->update;
    assignments set;
    ice__scope scope;

    out->kind = ICE_S_UPDATE;
    ice__advance(p);
    if (!refuse_only(p) || !ice__table_name(p, &u->table) || !parse_alias(p, stops, &u->alias))
        return false;
    scope = (ice__scope){.table = u->table, .alias = u->alias, .excluded = false};
    if (!parse_set(p, &scope, &set))
        return false;
    u->nset = set.cols.n;
    u->set_cols = set.cols.data;
    u->set_exprs = set.exprs.data;
    return changed_rows(p, "FROM", u);
}

bool ice__delete(ice__parser *p, ice_stmt *out)
{
    static const char *const stops[] = {"USING", "WHERE", "RETURNING", NULL};
    ice_update *u = &out->update;

    out->kind = ICE_S_DELETE;
    ice__advance(p);
    return ice__expect(p, "FROM") && refuse_only(p) && ice__table_name(p, &u->table) &&
           parse_alias(p, stops, &u->alias) && changed_rows(p, "USING", u);
}

/* ---- TRUNCATE ---- */

bool ice__truncate(ice__parser *p, ice_stmt *out)
{
    ice__vec names = {0};

    out->kind = ICE_S_TRUNCATE;
    ice__advance(p);
    ice__take(p, "TABLE");
    if (!refuse_only(p))
        return false;
    do {
        ice_str name;

        if (!ice__table_name(p, &name) || !ice__push_str(p, &names, name))
            return false;
    } while (ice__take_op(p, ','));
    out->drop.names = names.data;
    out->drop.n = names.n;
    out->drop.restart_identity = ice__take2(p, "RESTART", "IDENTITY");
    if (!out->drop.restart_identity)
        ice__take2(p, "CONTINUE", "IDENTITY");
    out->drop.cascade = ice__take(p, "CASCADE");
    if (!out->drop.cascade)
        ice__take(p, "RESTRICT");
    return true;
}
