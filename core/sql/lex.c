/* The lexer: DuckDB's and PostgreSQL's token rules, so that a piece cut out here means the same to the
 * engine. */
#include "sql/sql_int.h"

#include <stdio.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}
static bool is_word(char c)
{
    return is_letter(c) || is_digit(c) || c == '$';
}
static bool is_operator(char c)
{
    switch (c) {
    case '+':
    case '-':
    case '*':
    case '/':
    case '%':
    case '^':
    case '<':
    case '>':
    case '=':
    case '~':
    case '!':
    case '@':
    case '&':
    case '|':
        return true;
    default:
        return false;
    }
}

static char at(const ice__parser *p, size_t i)
{
    return i < p->len ? p->sql[i] : '\0';
}

/* ---- failures ---- */

ice_str ice__cut(ice_str s, size_t n)
{
    if (s.len <= n)
        return s;
    while (n > 0 && ((unsigned char)s.ptr[n] & 0xC0) == 0x80)
        n--;
    return (ice_str){s.ptr, n};
}

bool ice__fail(ice__parser *p, ice_code code, const char *fmt, ...)
{
    if (p->rc == ICE_OK) {
        p->rc = code;
        if (p->err) {
            char text[sizeof p->err->message + 8]; /* longer, so that ice_fail cuts it at a whole character */
            va_list ap;

            va_start(ap, fmt);
            vsnprintf(text, sizeof text, fmt, ap);
            va_end(ap);
            ice_fail(p->err, code, "%s", text);
        }
    }
    p->tok = (ice__tok){.kind = ICE__END, .at = p->len};
    p->pos = p->len;
    return false;
}

bool ice__syntax(ice__parser *p, const char *expected)
{
    ice_str word = ice__cut(ice__tok_text(p, p->tok), 40);

    if (p->tok.kind == ICE__END)
        return ice__fail(p, ICE_SYNTAX, "syntax error at the end of the statement: expected %s", expected);
    return ice__fail(p, ICE_SYNTAX, "syntax error at offset %zu, at or near \"%.*s\": expected %s", p->tok.at,
                     ICE_PRI(word), expected);
}

bool ice__unsupported(ice__parser *p, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return ice__fail(p, ICE_UNSUPPORTED, "%.*s is not supported", ICE_PRI(ice__cut(ice_str_c(text), 200)));
}

/* ---- tokens ---- */

/* Position after the comment at `i`, or SIZE_MAX where a block comment has no end. Block comments nest. */
static size_t after_comment(const ice__parser *p, size_t i)
{
    size_t depth = 0;

    if (p->sql[i] == '-') {
        while (i < p->len && p->sql[i] != '\n' && p->sql[i] != '\r')
            i++;
        return i;
    }
    for (; i < p->len; i++) {
        if (at(p, i) == '/' && at(p, i + 1) == '*') {
            depth++;
            i++;
        } else if (at(p, i) == '*' && at(p, i + 1) == '/') {
            i++;
            if (--depth == 0)
                return i + 1;
        }
    }
    return SIZE_MAX;
}

static bool starts_comment(const ice__parser *p, size_t i)
{
    return (at(p, i) == '-' && at(p, i + 1) == '-') || (at(p, i) == '/' && at(p, i + 1) == '*');
}

static bool skip_blank(ice__parser *p)
{
    for (;;) {
        size_t start = p->pos;

        while (p->pos < p->len && is_space(p->sql[p->pos]))
            p->pos++;
        if (!starts_comment(p, p->pos))
            return true;
        start = p->pos;
        p->pos = after_comment(p, start);
        if (p->pos == SIZE_MAX)
            return ice__fail(p, ICE_SYNTAX, "the comment at offset %zu has no end", start);
    }
}

/* Position after the quoted text that starts with its quote at `i`; SIZE_MAX without an end. */
static size_t after_quoted(const ice__parser *p, size_t i, bool backslash, bool *doubled)
{
    char quote = p->sql[i++];

    for (; i < p->len; i++) {
        if (p->sql[i] == '\\' && backslash) {
            i++;
        } else if (p->sql[i] == quote) {
            if (at(p, i + 1) != quote)
                return i + 1;
            *doubled = true;
            i++;
        }
    }
    return SIZE_MAX;
}

static size_t after_number(const ice__parser *p, size_t i)
{
    size_t start = i;

    while (is_digit(at(p, i)) ||
           (at(p, i) == '_' && i > start && is_digit(p->sql[i - 1]) && is_digit(at(p, i + 1))))
        i++;
    if (at(p, i) == '.')
        for (i++;
             is_digit(at(p, i)) || (at(p, i) == '_' && is_digit(p->sql[i - 1]) && is_digit(at(p, i + 1)));)
            i++;
    if ((at(p, i) | 0x20) == 'e') {
        size_t sign = at(p, i + 1) == '+' || at(p, i + 1) == '-';

        if (is_digit(at(p, i + 1 + sign)))
            for (i += 1 + sign; is_digit(at(p, i));)
                i++;
    }
    return i;
}

/* An operator of several characters does not end in + or - unless it has one of the odd characters, so
 * that a=-1 is a = -1. */
static size_t after_operator(const ice__parser *p, size_t start)
{
    size_t i = start;
    bool odd = false;

    while (is_operator(at(p, i)) && (i == start || !starts_comment(p, i)))
        odd |= strchr("~!@%^&|", p->sql[i++]) != NULL;
    while (!odd && i > start + 1 && (p->sql[i - 1] == '+' || p->sql[i - 1] == '-'))
        i--;
    return i;
}

static int operator_of(ice_str s)
{
    if (s.len == 1)
        return (unsigned char)s.ptr[0];
    if (s.len != 2)
        return ICE__OP_ANY;
    if (memcmp(s.ptr, "<=", 2) == 0)
        return ICE__OP_LE;
    if (memcmp(s.ptr, ">=", 2) == 0)
        return ICE__OP_GE;
    if (memcmp(s.ptr, "<>", 2) == 0 || memcmp(s.ptr, "!=", 2) == 0)
        return ICE__OP_NE;
    return memcmp(s.ptr, "::", 2) == 0 ? ICE__OP_CAST : ICE__OP_ANY;
}

static bool finish(ice__parser *p, ice__tok_kind kind, size_t end)
{
    p->tok.kind = (uint8_t)kind;
    if (end == SIZE_MAX)
        return ice__fail(p, ICE_SYNTAX, "the %s at offset %zu has no end",
                         kind == ICE__QIDENT ? "quoted identifier" : "string", p->tok.at);
    p->tok.len = end - p->tok.at;
    p->pos = end;
    return true;
}

static bool lex_operator(ice__parser *p)
{
    size_t start = p->tok.at, end = start + 1;

    if (is_operator(p->sql[start]))
        end = after_operator(p, start);
    else if (p->sql[start] == ':' && (at(p, start + 1) == ':' || at(p, start + 1) == '='))
        end = start + 2;
    p->tok.op = operator_of((ice_str){p->sql + start, end - start});
    return finish(p, ICE__OP, end);
}

static bool lex_param(ice__parser *p)
{
    size_t i = p->tok.at + 1;
    int n = 0;

    for (; is_digit(at(p, i)); i++) {
        n = n * 10 + (p->sql[i] - '0');
        if (n > ICE__MAX_PARAM)
            return ice__fail(p, ICE_SYNTAX, "the parameter number at offset %zu is too large", p->tok.at);
    }
    if (n == 0)
        return ice__fail(p, ICE_SYNTAX, "parameters are numbered from $1 (offset %zu)", p->tok.at);
    p->tok.param = n - 1;
    p->params = true;
    return finish(p, ICE__PARAM, i);
}

/* $n, $tag$...$tag$, or a lone $ (which the engine may take for a named parameter). */
static bool lex_dollar(ice__parser *p)
{
    size_t start = p->tok.at, i = start + 1, tag;

    if (is_digit(at(p, i)))
        return lex_param(p);
    while (is_letter(at(p, i)) || is_digit(at(p, i)))
        i++;
    if (at(p, i) != '$')
        return lex_operator(p);
    tag = i + 1 - start;
    for (i++; i + tag <= p->len; i++) {
        const char *q = memchr(p->sql + i, '$', p->len - i);

        if (!q)
            break;
        i = (size_t)(q - p->sql);
        if (i + tag <= p->len && memcmp(q, p->sql + start, tag) == 0)
            return finish(p, ICE__DSTRING, i + tag);
    }
    return finish(p, ICE__DSTRING, SIZE_MAX);
}

static bool lex_word(ice__parser *p)
{
    size_t i = p->tok.at;

    if (at(p, i + 1) == '\'' && strchr("eEbBxXnN", p->sql[i]))
        return finish(p, ICE__ESTRING, after_quoted(p, i + 1, (p->sql[i] | 0x20) == 'e', &p->tok.doubled));
    while (is_word(at(p, i)))
        i++;
    return finish(p, ICE__WORD, i);
}

static bool lex(ice__parser *p)
{
    char c;

    if (!skip_blank(p))
        return false;
    p->tok = (ice__tok){.kind = ICE__END, .at = p->pos};
    if (p->pos >= p->len)
        return true;
    c = p->sql[p->pos];
    if (c == '$')
        return lex_dollar(p);
    if (is_letter(c))
        return lex_word(p);
    if (c == '\'')
        return finish(p, ICE__STRING, after_quoted(p, p->pos, false, &p->tok.doubled));
    if (c == '"' || c == '`')
        return finish(p, ICE__QIDENT, after_quoted(p, p->pos, false, &p->tok.doubled));
    if (is_digit(c) || (c == '.' && is_digit(at(p, p->pos + 1))))
        return finish(p, ICE__NUMBER, after_number(p, p->pos));
    return lex_operator(p);
}

void ice__advance(ice__parser *p)
{
    p->prev = p->tok;
    lex(p);
}

ice__parser ice__parser_of(ice_arena *a, ice_str sql, ice_error *err)
{
    ice__parser p = {.arena = a, .sql = sql.ptr ? sql.ptr : "", .len = sql.len, .err = err};

    lex(&p);
    return p;
}

ice__parser ice__attempt(const ice__parser *p)
{
    ice__parser t = *p;

    t.err = NULL;
    return t;
}

ice__tok ice__peek(const ice__parser *p)
{
    ice__parser t = ice__attempt(p);

    ice__advance(&t);
    return t.tok;
}
