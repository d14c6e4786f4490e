/* Steps that every statement's parser takes. */
#include "sql/sql_int.h"

static unsigned char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : (unsigned char)c;
}

/* `word` is upper case, as every keyword in this folder is written. */
bool ice__tok_is(const ice__parser *p, ice__tok t, const char *word)
{
    const char *s = p->sql + t.at;

    if (t.kind != ICE__WORD)
        return false;
    for (size_t i = 0; i < t.len; i++)
        if (!word[i] || fold(s[i]) != fold(word[i]))
            return false;
    return word[t.len] == '\0';
}

bool ice__is(const ice__parser *p, const char *word)
{
    return ice__tok_is(p, p->tok, word);
}

bool ice__next_is(const ice__parser *p, const char *word)
{
    return ice__tok_is(p, ice__peek(p), word);
}

bool ice__take(ice__parser *p, const char *word)
{
    if (!ice__is(p, word))
        return false;
    ice__advance(p);
    return true;
}

bool ice__take2(ice__parser *p, const char *first, const char *second)
{
    if (!ice__is(p, first) || !ice__next_is(p, second))
        return false;
    ice__advance(p);
    ice__advance(p);
    return true;
}

bool ice__expect(ice__parser *p, const char *word)
{
    return ice__take(p, word) || ice__syntax(p, word);
}

bool ice__take_op(ice__parser *p, int op)
{
    if (!ice__is_op(p, op))
        return false;
    ice__advance(p);
    return true;
}

bool ice__expect_op(ice__parser *p, int op)
{
    char text[] = {'"', (char)op, '"', '\0'};

    return ice__take_op(p, op) || ice__syntax(p, text);
}

bool ice__is_any(const ice__parser *p, const char *const *words)
{
    if (p->tok.kind != ICE__WORD || !words)
        return false;
    for (; *words; words++)
        if (ice__is(p, *words))
            return true;
    return false;
}

/* PostgreSQL's reserved words (appendix C of its manual), which no bare identifier may be, and those DuckDB
 * adds. */
bool ice__reserved(ice_str word)
{
    static const char *const words[] = {"all",          "analyse",
                                        "analyze",      "and",
                                        "any",          "array",
                                        "as",           "asc",
                                        "asymmetric",   "both",
                                        "case",         "cast",
                                        "check",        "collate",
                                        "column",       "constraint",
                                        "create",       "current_catalog",
                                        "current_date", "current_role",
                                        "current_time", "current_timestamp",
                                        "current_user", "default",
                                        "deferrable",   "desc",
                                        "describe",     "distinct",
                                        "do",           "else",
                                        "end",          "except",
                                        "false",        "fetch",
                                        "for",          "foreign",
                                        "from",         "grant",
                                        "group",        "having",
                                        "in",           "initially",
                                        "intersect",    "into",
                                        "lambda",       "lateral",
                                        "leading",      "limit",
                                        "localtime",    "localtimestamp",
                                        "not",          "null",
                                        "offset",       "on",
                                        "only",         "or",
                                        "order",        "pivot",
                                        "pivot_longer", "pivot_wider",
                                        "placing",      "primary",
                                        "qualify",      "references",
                                        "returning",    "select",
                                        "session_user", "show",
                                        "some",         "summarize",
                                        "symmetric",    "table",
                                        "then",         "to",
                                        "trailing",     "true",
                                        "union",        "unique",
                                        "unpivot",      "user",
                                        "using",        "variadic",
                                        "when",         "where",
                                        "window",       "with"};
    size_t lo = 0, hi = sizeof words / sizeof words[0];

    while (lo < hi) {
        size_t mid = (lo + hi) / 2, i = 0;
        const char *w = words[mid];

        while (i < word.len && w[i] && fold(word.ptr[i]) == (unsigned char)w[i])
            i++;
        if (i == word.len && !w[i])
            return true;
        if (i < word.len && (!w[i] || fold(word.ptr[i]) > (unsigned char)w[i]))
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

/* ---- names and literals ---- */

bool ice__lower(ice__parser *p, ice_str s, ice_str *out)
{
    size_t i = 0;
    char *copy;

    while (i < s.len && fold(s.ptr[i]) == (unsigned char)s.ptr[i])
        i++;
    *out = s;
    if (i == s.len)
        return true;
    if (!(copy = ice_arena_alloc(p->arena, s.len)))
        return ice__fail(p, ICE_NOMEM, "out of memory");
    for (i = 0; i < s.len; i++)
        copy[i] = (char)fold(s.ptr[i]);
    *out = (ice_str){copy, s.len};
    return true;
}

/* Text within quotes, doubled quotes made single. */
static bool unquote(ice__parser *p, ice__tok t, ice_str *out)
{
    ice_str in = {p->sql + t.at + 1, t.len - 2};
    size_t n = 0;
    char *copy;

    *out = in;
    if (!t.doubled)
        return true;
    if (!(copy = ice_arena_alloc(p->arena, in.len)))
        return ice__fail(p, ICE_NOMEM, "out of memory");
    for (size_t i = 0; i < in.len; i++) {
        copy[n++] = in.ptr[i];
        i += in.ptr[i] == in.ptr[-1];
    }
    *out = (ice_str){copy, n};
    return true;
}

bool ice__name(ice__parser *p, const char *what, ice_str *out)
{
    ice_str text = ice__tok_text(p, p->tok);

    if (p->tok.kind == ICE__QIDENT) {
        if (text.len == 2)
            return ice__fail(p, ICE_SYNTAX, "the %s at offset %zu is empty", what, p->tok.at);
        if (!unquote(p, p->tok, out))
            return false;
    } else if (p->tok.kind != ICE__WORD || ice__reserved(text)) {
        return ice__syntax(p, what);
    } else if (!ice__lower(p, text, out)) {
        return false;
    }
    ice__advance(p);
    return true;
}

bool ice__table_name(ice__parser *p, ice_str *out)
{
    if (!ice__name(p, "a table name", out))
        return false;
    if (ice__is_op(p, '.'))
        return ice__unsupported(p, "a schema before a table name (\"%.*s.\")", ICE_PRI(ice__cut(*out, 64)));
    return true;
}

bool ice__name_list(ice__parser *p, const char *what, ice__names *out)
{
    ice__vec v = {0};

    do {
        ice_str name;

        if (!ice__name(p, what, &name) || !ice__push_str(p, &v, name))
            return false;
    } while (ice__take_op(p, ','));
    *out = (ice__names){v.data, v.n};
    return true;
}

bool ice__paren_names(ice__parser *p, const char *what, ice__names *out)
{
    return ice__expect_op(p, '(') && ice__name_list(p, what, out) && ice__expect_op(p, ')');
}

bool ice__string(ice__parser *p, ice__tok t, ice_str *out)
{
    const char *body = p->sql + t.at;
    size_t tag;

    if (t.kind == ICE__STRING)
        return unquote(p, t, out);
    tag = (size_t)((const char *)memchr(body + 1, '$', t.len - 1) - body) + 1;
    *out = (ice_str){body + tag, t.len - 2 * tag};
    return true;
}

bool ice__int64(ice__parser *p, int64_t *out)
{
    bool minus = ice__take_op(p, '-');
    ice_value v;

    if (p->tok.kind != ICE__NUMBER || !ice__number(ice__tok_text(p, p->tok), minus, &v) ||
        v.kind != ICE_T_LONG)
        return ice__syntax(p, "an integer");
    *out = v.i;
    ice__advance(p);
    return true;
}

/* ---- skipping ---- */

static int closer_of(int op)
{
    switch (op) {
    case '(':
        return ')';
    case '[':
        return ']';
    case '{':
        return '}';
    default:
        return 0;
    }
}

static bool is_closer(int op)
{
    return op == ')' || op == ']' || op == '}';
}

bool ice__skip_group(ice__parser *p)
{
    char open[ICE__MAX_NEST];
    size_t depth = 0;

    do {
        int op = p->tok.kind == ICE__OP ? p->tok.op : 0;

        if (p->tok.kind == ICE__END || op == ';')
            return ice__syntax(p, "a closing bracket");
        if (closer_of(op)) {
            if (depth == sizeof open)
                return ice__fail(p, ICE_SYNTAX, "brackets are nested deeper than %d (offset %zu)",
                                 ICE__MAX_NEST, p->tok.at);
            open[depth++] = (char)closer_of(op);
        } else if (is_closer(op) && open[--depth] != op) {
            return ice__syntax(p, "another closing bracket");
        }
        ice__advance(p);
    } while (depth > 0);
    return true;
}

/* FROM in IS DISTINCT FROM ends nothing, nor does a word after a dot; DEFAULT may be followed by NULL or NOT.
 */
static bool at_stop(const ice__parser *p, const char *const *stops, size_t start)
{
    if (!ice__is_any(p, stops) || (p->prev.kind == ICE__OP && p->prev.op == '.'))
        return false;
    if (ice__is(p, "FROM") && ice__tok_is(p, p->prev, "DISTINCT"))
        return false;
    return p->tok.at != start || !(ice__is(p, "NULL") || ice__is(p, "NOT"));
}

bool ice__skip_expr(ice__parser *p, const char *const *stops, ice_str *text)
{
    size_t start = p->tok.at;

    while (p->tok.kind != ICE__END) {
        int op = p->tok.kind == ICE__OP ? p->tok.op : 0;

        if (op == ',' || op == ';' || is_closer(op) || at_stop(p, stops, start))
            break;
        if (!closer_of(op))
            ice__advance(p);
        else if (!ice__skip_group(p))
            return false;
    }
    if (p->rc != ICE_OK)
        return false;
    if (p->tok.at == start)
        return ice__syntax(p, "an expression");
    *text = ice__since(p, start);
    return true;
}

/* Ends at the last token within, not at the bracket: a line comment before it would swallow what the caller
 * puts after. */
bool ice__paren_text(ice__parser *p, ice_str *text)
{
    size_t start;

    if (!ice__expect_op(p, '('))
        return false;
    for (start = p->tok.at; !ice__is_op(p, ')');) {
        int op = p->tok.kind == ICE__OP ? p->tok.op : 0;

        if (p->tok.kind == ICE__END || op == ';' || is_closer(op))
            return ice__syntax(p, "\")\"");
        if (!closer_of(op))
            ice__advance(p);
        else if (!ice__skip_group(p))
            return false;
    }
    if (p->tok.at == start)
        return ice__syntax(p, "an expression");
    *text = ice__since(p, start);
    ice__advance(p);
    return true;
}

/* ---- arrays in the arena ---- */

void *ice__push(ice__parser *p, ice__vec *v, size_t size)
{
    if (v->n == v->cap && !ice_arena_room(p->arena, &v->data, v->n, &v->cap, size)) {
        ice__fail(p, ICE_NOMEM, "out of memory");
        return NULL;
    }
    return (char *)v->data + size * v->n++;
}

bool ice__push_str(ice__parser *p, ice__vec *v, ice_str s)
{
    ice_str *slot = ice__push(p, v, sizeof s);

    if (!slot)
        return false;
    *slot = s;
    return true;
}
