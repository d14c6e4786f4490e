/* SELECT: its clauses at the top level, the locking clause, and whether it is simple enough for the fast
 * path. */
#include "sql/sql_int.h"

enum { NONE = -1 };

/* Byte ranges of the clauses outside all brackets; start NONE where there is none. */
typedef struct span {
    int64_t start, end;
} span;
typedef struct clauses {
    size_t start; /* of the statement after WITH */
    span from, order, limit, lock;
    size_t end;
    const char *unlockable; /* what forbids FOR UPDATE, as PostgreSQL has it */
} clauses;

/* ---- WITH ---- */

static bool skip_cte(ice__parser *p)
{
    ice_str name;

    if (!ice__name(p, "a name after WITH", &name))
        return false;
    if (ice__is_op(p, '(') && !ice__skip_group(p))
        return false;
    if (ice__take2(p, "USING", "KEY") && !(ice__is_op(p, '(') && ice__skip_group(p)))
        return ice__syntax(p, "\"(\"");
    if (!ice__expect(p, "AS"))
        return false;
    ice__take(p, "NOT");
    ice__take(p, "MATERIALIZED");
    return ice__is_op(p, '(') ? ice__skip_group(p) : ice__syntax(p, "\"(\"");
}

bool ice__skip_with(ice__parser *p)
{
    if (!ice__expect(p, "WITH"))
        return false;
    ice__take(p, "RECURSIVE");
    do
        if (!skip_cte(p))
            return false;
    while (ice__take_op(p, ','));
    return true;
}

/* ---- clauses ---- */

static void close_span(span *s, size_t end)
{
    if (s->start != NONE && s->end == NONE)
        s->end = (int64_t)end;
}

/* A clause starts at the current token: the one before it ends. */
static void close_all(const ice__parser *p, clauses *c)
{
    close_span(&c->from, ice__prev_end(p));
    close_span(&c->order, ice__prev_end(p));
    close_span(&c->limit, ice__prev_end(p));
}

static void open_span(const ice__parser *p, span *s)
{
    if (s->start == NONE)
        s->start = (int64_t)p->tok.at;
}

static bool note_lock(ice__parser *p, clauses *c, ice_select *s)
{
    close_all(p, c);
    c->lock.start = (int64_t)p->tok.at;
    if (!ice__lock_clause(p, s))
        return false;
    c->lock.end = (int64_t)ice__prev_end(p);
    return true;
}

static void note_other(const ice__parser *p, clauses *c)
{
    static const struct {
        const char *word, *name;
    } words[] = {{"GROUP", "GROUP BY"},   {"HAVING", "HAVING"},    {"WINDOW", "a window"},
                 {"QUALIFY", "a window"}, {"UNION", "UNION"},      {"INTERSECT", "INTERSECT"},
                 {"EXCEPT", "EXCEPT"},    {"DISTINCT", "DISTINCT"}};
    size_t i = 0;

    while (i < sizeof words / sizeof words[0] && !ice__is(p, words[i].word))
        i++;
    if (i == sizeof words / sizeof words[0])
        return;
    if (ice__is(p, "DISTINCT")) {
        if (ice__tok_is(p, p->prev, "SELECT"))
            c->unlockable = words[i].name;
    } else if (!ice__tok_is(p, p->prev, "WITHIN")) {
        close_all(p, c);
        c->unlockable = words[i].name;
    }
}

/* A keyword outside brackets. Leaves the token to be stepped over, but for a locking clause. */
static bool note_word(ice__parser *p, clauses *c, ice_select *s, bool *stepped)
{
    static const char *const limits[] = {"LIMIT", "OFFSET", "FETCH", NULL};

    *stepped = false;
    if (p->prev.kind == ICE__OP && p->prev.op == '.')
        return true;
    if (ice__is(p, "FOR")) {
        *stepped = true;
        return note_lock(p, c, s);
    }
    if (ice__is(p, "FROM")) {
        if (!ice__tok_is(p, p->prev, "DISTINCT"))
            open_span(p, &c->from);
    } else if (ice__is(p, "ORDER") && ice__next_is(p, "BY")) {
        close_all(p, c);
        open_span(p, &c->order);
    } else if (ice__is_any(p, limits)) {
        close_span(&c->from, ice__prev_end(p));
        close_span(&c->order, ice__prev_end(p));
        open_span(p, &c->limit);
    } else {
        note_other(p, c);
    }
    return true;
}

static bool scan(ice__parser *p, clauses *c, ice_select *s)
{
    const span none = {NONE, NONE};

    c->from = c->order = c->limit = c->lock = none;
    while (p->tok.kind != ICE__END && !ice__is_op(p, ';')) {
        bool stepped = false;

        if (ice__is_op(p, '(') || ice__is_op(p, '[') || ice__is_op(p, '{')) {
            if (!ice__skip_group(p))
                return false;
            continue;
        }
        if (ice__is_op(p, ')') || ice__is_op(p, ']') || ice__is_op(p, '}'))
            return ice__syntax(p, "no closing bracket");
        if (p->tok.kind == ICE__WORD && !note_word(p, c, s, &stepped))
            return false;
        if (!stepped)
            ice__advance(p);
    }
    close_all(p, c);
    c->end = ice__prev_end(p);
    return p->rc == ICE_OK;
}

/* ---- LIMIT and OFFSET ---- */

static bool limit_value(ice__parser *p, int64_t *out)
{
    if (p->tok.kind == ICE__PARAM) {
        *out = -2 - (int64_t)p->tok.param;
        ice__advance(p);
        return true;
    }
    return !ice__is_op(p, '-') && ice__int64(p, out);
}

static bool limit_clauses(ice__parser *p, ice_select *s)
{
    bool limit = false, offset = false;

    while (p->tok.kind != ICE__END) {
        if (!limit && ice__take(p, "LIMIT")) {
            limit = true;
            if (!ice__take(p, "ALL") && !limit_value(p, &s->limit))
                return false;
        } else if (!offset && ice__take(p, "OFFSET")) {
            offset = true;
            if (!limit_value(p, &s->offset))
                return false;
        } else {
            return false;
        }
    }
    return p->rc == ICE_OK;
}

static void read_limit(ice_arena *a, ice_select *s)
{
    ice__parser p = ice__parser_of(a, s->limit_sql, NULL);

    s->limit = -1;
    s->offset = 0;
    if (s->limit_sql.ptr && !limit_clauses(&p, s))
        s->limit = s->offset = ICE_SQL_LIMIT_EXPR;
}

/* ---- the simple form ---- */

/* [AS] name */
static bool output_name(ice__parser *p, ice_str *name)
{
    ice__parser t = *p;
    ice_str text;

    if (!ice__take(&t, "AS") && t.tok.kind != ICE__QIDENT)
        return true;
    text = ice__tok_text(&t, t.tok);
    if (!ice__name(&t, "a name", name) || (t.prev.kind == ICE__WORD && !ice_str_eq(text, *name)))
        return false;
    *p = t;
    return true;
}

/* COUNT(*), 1 and a parameter, which stand alone. */
bool ice__lone_item(ice__parser *p, ice_select *s, ice_str *name)
{
    ice__parser t = *p;

    if (ice__take(&t, "COUNT") && ice__take_op(&t, '(') && ice__take_op(&t, '*') && ice__take_op(&t, ')')) {
        s->count_star = true;
        *name = ICE_STR("count_star()");
    } else if (p->tok.kind == ICE__PARAM) {
        t = *p;
        ice__advance(&t);
        s->exists_one = ice__is(&t, "AS"); /* its name is the engine's to say */
        s->exists_param = p->tok.param;
        if (!s->exists_one)
            return false;
    } else if (p->tok.kind == ICE__NUMBER && ice_str_eqc(ice__tok_text(p, p->tok), "1")) {
        t = *p;
        ice__advance(&t);
        s->exists_one = true;
        s->exists_param = -1;
        *name = ICE_STR("1");
    } else {
        return false;
    }
    if (!output_name(&t, name) || !ice__is(&t, "FROM")) {
        s->count_star = s->exists_one = false;
        return false;
    }
    *p = t;
    return true;
}

static bool item_of(ice__parser *p, const ice__scope *scope, ice__item *out)
{
    ice_arith *e;

    if (ice__aggregate(p, scope, out))
        return output_name(p, &out->name);
    e = ice__arith(p, scope);

    if (!e || (!e->op && !e->column.ptr))
        return false;
    *out = (ice__item){.qualifier = e->qualifier, .column = e->column, .name = e->column};
    if (e->op) {
        out->expr = e;
        out->name = ICE_STR_NONE;
    }
    return output_name(p, &out->name) && out->name.ptr;
}

bool ice__select_items(ice__parser *p, const ice__scope *scope, ice__vec *list)
{
    do {
        ice__item *i = ice__push(p, list, sizeof *i);

        if (!i || !item_of(p, scope, i))
            return false;
    } while (ice__take_op(p, ','));
    return true;
}

bool ice__put_items(ice__parser *p, ice_select *s, const ice__vec *list, ice_str lone)
{
    const ice__item *in = list->data;

    s->ncols = list->n ? list->n : (lone.ptr ? 1 : 0);
    s->cols = ICE_NEW_N(p->arena, ice_str, s->ncols);
    s->names = ICE_NEW_N(p->arena, ice_str, s->ncols);
    s->exprs = ICE_NEW_N(p->arena, ice_arith *, s->ncols);
    s->aggs = ICE_NEW_N(p->arena, uint8_t, s->ncols);
    if (!s->cols || !s->names || !s->exprs || !s->aggs)
        return false;
    if (lone.ptr)
        s->names[0] = lone;
    for (size_t i = 0; i < list->n; i++) {
        s->cols[i] = in[i].column;
        s->names[i] = in[i].name;
        s->exprs[i] = in[i].expr;
        s->aggs[i] = in[i].agg;
    }
    return true;
}

/* ORDER BY looks at output names before columns: a bare name that is another column's output name is not
 * ours. */
static bool order_name_clear(const ice_select *s, ice_str column)
{
    for (size_t i = 0; i < s->ncols; i++)
        if (ice_str_ieq(s->names[i], column) && !ice_str_eq(s->cols[i], column))
            return false;
    return true;
}

/* column [ASC | DESC] [NULLS ...], the last only where it says what is so anyway: nulls come last upwards and first downwards. */
bool ice__order_item(ice__parser *p, ice_str *qualifier, ice_str *column, bool *down)
{
    if (!ice__simple_column(p, qualifier, column))
        return false;
    *down = ice__take(p, "DESC");
    if (!*down)
        ice__take(p, "ASC");
    return !ice__take(p, "NULLS") || ice__take(p, *down ? "FIRST" : "LAST");
}

static bool order_by(ice__parser *p, ice_select *s, const ice__scope *scope)
{
    ice__vec cols = {0}, desc = {0};

    do {
        ice_str qualifier, column;
        bool *down = ice__push(p, &desc, sizeof *down);

        if (!down || !ice__order_item(p, &qualifier, &column, down) || !ice__in_scope(scope, qualifier) ||
            !ice__push_str(p, &cols, column))
            return false;
        if (!qualifier.ptr && !order_name_clear(s, column))
            return false;
    } while (ice__take_op(p, ','));
    s->order_cols = cols.data;
    s->order_desc = desc.data;
    s->norder = cols.n;
    return true;
}

bool ice__skip_limits(ice__parser *p)
{
    int64_t ignored;

    while (ice__take(p, "LIMIT") || ice__take(p, "OFFSET"))
        if (!ice__take(p, "ALL") && !limit_value(p, &ignored))
            return false;
    return true;
}

static bool relation(ice__parser *p, ice_select *s, ice__scope *scope)
{
    ice_str qualifier;

    if (!ice__take(p, "FROM") || !ice__simple_column(p, &qualifier, &s->table) || qualifier.ptr)
        return false;
    if (!output_name(p, &s->alias))
        return false;
    *scope = (ice__scope){.table = s->table, .alias = s->alias};
    return true;
}

static bool select_list(ice__parser *p, ice_select *s, ice__vec *list, ice_str *lone, ice_str *star_of)
{
    static const ice__scope later = {.later = true};
    ice__parser t = *p;

    if (ice__take_op(p, '*')) {
        s->star = true;
        return true;
    }
    if (ice__lone_item(p, s, lone))
        return true;
    if (s->count_star || s->exists_one)
        return false;
    if (ice__name(&t, "a name", star_of) && ice__take_op(&t, '.') && ice__take_op(&t, '*')) {
        s->star = true;
        *p = t;
        return true;
    }
    *star_of = ICE_STR_NONE;
    return ice__select_items(p, &later, list);
}

static bool own_leaf(ice_arith *column, void *scope)
{
    return ice__in_scope(scope, column->qualifier);
}

static bool own_items(const ice__vec *list, ice__scope *scope)
{
    const ice__item *in = list->data;

    for (size_t i = 0; i < list->n; i++)
        if (in[i].expr ? !ice__arith_columns(in[i].expr, own_leaf, scope) : !ice__in_scope(scope, in[i].qualifier))
            return false;
    return true;
}

static bool simple_select(ice__parser *p, ice_select *s)
{
    ice__vec list = {0}, groups = {0};
    ice_str lone = ICE_STR_NONE, star_of = ICE_STR_NONE;
    ice__scope scope;

    if (!ice__take(p, "SELECT") || !select_list(p, s, &list, &lone, &star_of) || !relation(p, s, &scope))
        return false;
    if (!ice__in_scope(&scope, star_of) || !own_items(&list, &scope) || !ice__put_items(p, s, &list, lone))
        return false;
    if (ice__take(p, "WHERE") && !ice__simple_where(p, &scope, &s->conds, &s->nconds))
        return false;
    if (!ice__group_by(p, &scope, &list, &groups))
        return false;
    if (ice__take2(p, "ORDER", "BY") && (s->exists_one || !order_by(p, s, &scope)))
        return false;
    if (!ice__put_groups(p, s, NULL, &groups) || !ice__skip_limits(p))
        return false;
    if (s->count_star && (s->norder || s->limit_sql.ptr))
        return false;
    return p->tok.kind == ICE__END && p->rc == ICE_OK && s->limit != ICE_SQL_LIMIT_EXPR;
}

/* Keeps what an unsuccessful attempt must not leave behind out of *s. */
static void try_simple(ice_arena *a, ice_select *s)
{
    ice__parser p = ice__parser_of(a, s->text, NULL);
    ice_select t = *s;

    if (simple_select(&p, &t)) {
        *s = t;
        s->simple = true;
        return;
    }
    p = ice__parser_of(a, s->text, NULL);
    t = *s;
    if (ice__joined_select(&p, &t))
        *s = t;
}

/* ---- the statement ---- */

static ice_str piece(const ice__parser *p, span s)
{
    return s.start == NONE ? ICE_STR_NONE : (ice_str){p->sql + s.start, (size_t)(s.end - s.start)};
}

/* The statement without its locking clause, which may stand before LIMIT. */
static bool text_without_lock(ice__parser *p, size_t start, const clauses *c, ice_str *out)
{
    size_t before, after;
    char *text;

    *out = (ice_str){p->sql + start, c->end - start};
    if (c->lock.start == NONE)
        return true;
    before = (size_t)c->lock.start - start;
    after = c->end - (size_t)c->lock.end;
    if (!(text = ice_arena_alloc(p->arena, before + after)))
        return ice__fail(p, ICE_NOMEM, "out of memory");
    memcpy(text, out->ptr, before);
    memcpy(text + before, p->sql + c->lock.end, after);
    *out = (ice_str){text, before + after};
    while (after == 0 && out->len && strchr(" \t\n\v\f\r", out->ptr[out->len - 1]))
        out->len--;
    return true;
}

static bool check_lock(ice__parser *p, const clauses *c, const ice_select *s, bool plain)
{
    if (!s->lock)
        return true;
    if (c->unlockable)
        return ice__unsupported(p, "FOR UPDATE with %s", c->unlockable);
    if (!plain || c->from.start == NONE)
        return ice__unsupported(p, "FOR UPDATE on anything but SELECT ... FROM");
    if (s->count_star || s->grouped)
        return ice__unsupported(p, "FOR UPDATE with an aggregate");
    return true;
}

/* EXPLAIN [ANALYZE] or EXPLAIN (option, ...) before a SELECT. */
static bool explained(ice__parser *p)
{
    static const char *const reads[] = {"SELECT", "WITH", "VALUES", "FROM", "TABLE", NULL};

    ice__advance(p);
    ice__take(p, "ANALYZE");
    ice__take(p, "VERBOSE");
    if (ice__is_op(p, '(') && !ice__is_any(p, reads)) {
        ice__tok inner = ice__peek(p);

        if (!ice__tok_is(p, inner, "SELECT") && !ice__skip_group(p))
            return false;
    }
    if (p->tok.kind == ICE__END)
        return ice__syntax(p, "SELECT");
    if (!ice__is_any(p, reads) && !ice__is_op(p, '('))
        return ice__unsupported(p, "EXPLAIN of anything but SELECT");
    return true;
}

bool ice__select(ice__parser *p, ice_stmt *out)
{
    ice_select *s = &out->select;
    size_t start = p->tok.at, with = 0;
    clauses c = {0};
    size_t list;
    bool plain;

    out->explain = ice__is(p, "EXPLAIN");
    if (out->explain && !explained(p))
        return false;
    with = p->tok.at;
    if (ice__is(p, "WITH")) {
        if (!ice__skip_with(p))
            return false;
        s->with_sql = ice__since(p, with);
    }
    plain = ice__is(p, "SELECT");
    list = p->tok.at;
    if (!scan(p, &c, s) || !text_without_lock(p, start, &c, &s->text))
        return false;
    s->from_sql = piece(p, c.from);
    if (c.from.start != NONE)
        s->list_sql = (ice_str){p->sql + list, (size_t)c.from.start - list};
    s->order_sql = piece(p, c.order);
    s->limit_sql = piece(p, c.limit);
    read_limit(p->arena, s);
    if (plain && !s->with_sql.ptr) {
        ice_str text = s->text;
        if (out->explain) /* what it would be without */
            s->text = ice__since(p, with);
        try_simple(p->arena, s);
        s->text = text;
    }
    if (!check_lock(p, &c, s, plain))
        return false;
    out->kind = s->lock && !out->explain ? ICE_S_SELECT_LOCK : ICE_S_SELECT;
    ice__tables(p->arena, s->text, out);
    return true;
}
