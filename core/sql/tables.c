/* Names in FROM and JOIN positions, at any depth: one pass over the tokens with a stack of brackets. */
#include "sql/sql_int.h"

enum { MAX_TABLES = 1000, MAX_CTES = 200 };

typedef struct level {
    char open;
    bool query; /* SELECT, or FROM first, was met: FROM is a clause here and not part of EXTRACT(x FROM y) */
    bool in_from; /* a comma starts another table */
    bool expect;  /* a table comes next */
    bool ctes;    /* after WITH: names are definitions */
    bool recursive;
    bool body;        /* the bracket is a CTE's body */
    bool outer;       /* the top level, or a bracket that only groups joins of its FROM */
    size_t first_cte; /* those from here on end with the bracket */
} level;

typedef struct finder {
    ice__parser p;
    level stack[ICE__MAX_NEST];
    size_t depth;
    struct {
        ice_str name;
        bool visible;
    } cte[MAX_CTES];
    size_t ncte;
    ice__vec tables;
    ice__vec rel_tables, rel_aliases, rel_starts, rel_ends;
    bool failed;
} finder;

static level *top(finder *f)
{
    return &f->stack[f->depth];
}

static bool is_cte(const finder *f, ice_str name)
{
    for (size_t i = 0; i < f->ncte; i++)
        if (f->cte[i].visible && ice_str_ieq(f->cte[i].name, name))
            return true;
    return false;
}

static void add_table(finder *f, ice_str name)
{
    const ice_str *t = f->tables.data;

    for (size_t i = 0; i < f->tables.n; i++)
        if (ice_str_eq(t[i], name))
            return;
    if (f->tables.n == MAX_TABLES || !ice__push_str(&f->p, &f->tables, name))
        f->failed = true;
}

/* A definition: name [(columns)] [USING KEY (...)] AS [NOT] [MATERIALIZED], up to the bracket of its body. */
static void define_cte(finder *f)
{
    ice_str name;

    if (!ice__name(&f->p, "a name", &name) || f->ncte == MAX_CTES) {
        f->failed = true;
        return;
    }
    while (f->p.tok.kind != ICE__END && !ice__is(&f->p, "AS")) {
        if (ice__is_op(&f->p, '('))
            ice__skip_group(&f->p);
        else
            ice__advance(&f->p);
    }
    ice__take(&f->p, "AS");
    ice__take(&f->p, "NOT");
    ice__take(&f->p, "MATERIALIZED");
    f->cte[f->ncte].name = name;
    f->cte[f->ncte++].visible = top(f)->recursive;
    if (!ice__is_op(&f->p, '('))
        f->failed = true;
}

static bool push_offset(finder *f, ice__vec *v, size_t at)
{
    size_t *end = ice__push(&f->p, v, sizeof *end);

    if (end)
        *end = at;
    return end;
}

/* A table of the top-level FROM, written from `start` on, and its alias, which is consumed. */
static void add_relation(finder *f, ice_str table, size_t start)
{
    static const char *const not_alias[] = {"INNER",   "LEFT",        "RIGHT", "FULL",       "CROSS",
                                            "NATURAL", "JOIN",        "ASOF",  "POSITIONAL", "SEMI",
                                            "ANTI",    "TABLESAMPLE", "AT",    NULL};
    ice__parser t = f->p;
    ice_str alias = table;

    if (ice__take(&t, "AS") || t.tok.kind == ICE__QIDENT ||
        (t.tok.kind == ICE__WORD && !ice__is_any(&t, not_alias) &&
         !ice__reserved(ice__tok_text(&t, t.tok)))) {
        if (ice__name(&t, "an alias", &alias))
            f->p = t;
        else
            f->failed = true;
    }
    if (!ice__push_str(&f->p, &f->rel_tables, table) || !ice__push_str(&f->p, &f->rel_aliases, alias) ||
        !push_offset(f, &f->rel_starts, start) || !push_offset(f, &f->rel_ends, ice__prev_end(&f->p)))
        f->failed = true;
}

/* A name where a table is expected; the last part of a qualified one, nothing where it is a function. */
static void read_table(finder *f)
{
    bool qualified = false;
    size_t start = f->p.tok.at;
    ice_str name;

    top(f)->expect = false;
    if (!ice__name(&f->p, "a table", &name)) {
        f->failed = true;
        return;
    }
    while (ice__take_op(&f->p, '.')) {
        qualified = true;
        if (!ice__name(&f->p, "a table", &name))
            return;
    }
    if (ice__is_op(&f->p, '(') || (!qualified && is_cte(f, name)))
        return;
    add_table(f, name);
    if (top(f)->outer)
        add_relation(f, name, start);
}

static void open_bracket(finder *f)
{
    level *l = top(f), *n;
    bool group = l->expect && ice__is_op(&f->p, '('); /* (a JOIN b) or a subquery */
    bool body = l->ctes && ice__is_op(&f->p, '(');

    if (f->depth + 1 == ICE__MAX_NEST) {
        f->failed = true;
        return;
    }
    l->expect = false;
    n = &f->stack[++f->depth];
    *n = (level){.open = (char)f->p.tok.op,
                 .expect = group,
                 .in_from = group,
                 .body = body,
                 .outer = group && l->outer,
                 .first_cte = f->ncte};
    ice__advance(&f->p);
}

static void close_bracket(finder *f)
{
    bool body = top(f)->body;

    f->ncte = top(f)->first_cte;
    if (f->depth == 0) {
        f->failed = true;
        return;
    }
    f->depth--;
    ice__advance(&f->p);
    if (!body)
        return;
    if (f->ncte)
        f->cte[f->ncte - 1].visible = true;
    if (ice__take_op(&f->p, ','))
        define_cte(f);
    else
        top(f)->ctes = false;
}

static void read_word(finder *f)
{
    static const char *const ends[] = {"WHERE",   "GROUP", "HAVING",    "ORDER",  "LIMIT", "OFFSET", "WINDOW",
                                       "QUALIFY", "UNION", "INTERSECT", "EXCEPT", "FETCH", "VALUES", NULL};
    level *l = top(f);
    bool first = f->p.prev.kind == ICE__END || (f->p.prev.kind == ICE__OP && f->p.prev.op == '(');

    if (ice__is(&f->p, "WITH") && !l->ctes && (first || !l->query)) {
        ice__advance(&f->p);
        l->ctes = true;
        l->expect = l->in_from = false;
        l->recursive = ice__take(&f->p, "RECURSIVE");
        define_cte(f);
        return;
    }
    if (ice__is(&f->p, "SELECT")) {
        l->outer = l->outer && f->depth == 0;
        l->query = true;
        l->in_from = l->expect = false;
    } else if (ice__is(&f->p, "FROM") && !ice__tok_is(&f->p, f->p.prev, "DISTINCT") && (l->query || first)) {
        l->query = l->in_from = l->expect = true;
    } else if (ice__is(&f->p, "JOIN") || (first && ice__is(&f->p, "TABLE"))) {
        l->in_from = l->expect = true;
    } else if (l->in_from && ice__is_any(&f->p, ends)) {
        l->in_from = l->expect = false;
    }
    ice__advance(&f->p);
}

static void step(finder *f)
{
    ice__parser *p = &f->p;
    level *l = top(f);
    bool dot = p->prev.kind == ICE__OP && p->prev.op == '.';

    if (ice__is_op(p, '(') || ice__is_op(p, '[') || ice__is_op(p, '{')) {
        open_bracket(f);
    } else if (ice__is_op(p, ')') || ice__is_op(p, ']') || ice__is_op(p, '}')) {
        close_bracket(f);
    } else if (l->expect && (ice__is(p, "LATERAL") || ice__is(p, "ONLY"))) {
        ice__advance(p);
    } else if (l->expect && !ice__is(p, "SELECT") && !ice__is(p, "WITH") && !ice__is(p, "FROM") &&
               !ice__is(p, "VALUES") && (p->tok.kind == ICE__QIDENT || p->tok.kind == ICE__WORD)) {
        read_table(f);
    } else if (p->tok.kind == ICE__WORD && !dot) {
        read_word(f);
    } else {
        l->expect = ice__is_op(p, ',') && l->in_from;
        ice__advance(p);
    }
}

void ice__tables(ice_arena *a, ice_str sql, ice_stmt *out)
{
    finder f;

    f.p = ice__parser_of(a, sql, NULL);
    f.stack[0] = (level){.outer = true};
    f.depth = f.ncte = 0;
    f.tables = f.rel_tables = f.rel_aliases = f.rel_starts = f.rel_ends = (ice__vec){0};
    f.failed = false;
    while (f.p.tok.kind != ICE__END && !f.failed)
        step(&f);
    out->tables_known = !f.failed && f.p.rc == ICE_OK;
    if (!out->tables_known)
        return;
    out->tables = f.tables.data;
    out->ntables = f.tables.n;
    out->select.rel_tables = f.rel_tables.data;
    out->select.rel_aliases = f.rel_aliases.data;
    out->select.rel_starts = f.rel_starts.data;
    out->select.rel_ends = f.rel_ends.data;
    out->select.nrels = f.rel_tables.n;
}

bool ice_sql_names_query(ice_arena *a, ice_str sql, ice_str name)
{
    ice__parser p = ice__parser_of(a, sql, NULL);
    bool with = false;

    for (; p.tok.kind != ICE__END && p.rc == ICE_OK; ice__advance(&p)) {
        ice__parser q = p;
        ice_str text;

        with |= ice__is(&p, "WITH");
        if (!with || (p.tok.kind != ICE__WORD && p.tok.kind != ICE__QIDENT) || !ice__name(&q, "a name", &text) ||
            !ice_str_ieq(text, name))
            continue;
        if (ice__is_op(&q, '(') && !ice__skip_group(&q))
            continue;
        if (!ice__take(&q, "AS"))
            continue;
        ice__take(&q, "NOT");
        ice__take(&q, "MATERIALIZED");
        if (ice__is_op(&q, '('))
            return true;
    }
    return false;
}
