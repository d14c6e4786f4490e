/* PostgreSQL's advanced regular expressions (section 9.7.3 of its manual) written as PCRE2's.
 *
 * What both have is spelled alike; the rest is translated: \m \M \y and \Y, \Z, character escapes (\b is a
 * backspace), bracket expressions item by item, classes as PostgreSQL's locales of the C library have them
 * (\d is ASCII only). Inside a lookaround groups capture nothing. Literal text is escaped, so nothing of
 * PCRE2's own syntax (recursion, verbs, callouts, possessive quantifiers) can come through. */
#include "engine/regex.h"

#include <stdio.h>

enum { MAX_DEPTH = 200, MAX_GROUPS = 255, MAX_REPEAT = 255 };

typedef struct reader {
    const char *p, *end;
    ice_buf *out;
    ice__regex_modes *modes;
    ice_error *err;
    bool repeatable; /* what was written last may be followed by a quantifier */
    unsigned groups; /* opened so far */
    bool closed[MAX_GROUPS + 1];
    struct {
        unsigned group;          /* 0: captures nothing */
        bool lookaround, inside; /* it is one; it is inside one */
    } open[MAX_DEPTH];
    unsigned depth;
} reader;

static ice_code bad(reader *r, const char *what)
{
    return ice_fail(r->err, ICE_BAD_PATTERN, "invalid regular expression: %s", what);
}

static const char word[] = "\\p{Alphabetic}\\p{Nd}_";
static const char blank[] =
    "\\t-\\r\\x{20}\\x{1680}\\x{2000}-\\x{2006}\\x{2008}-\\x{200a}\\x{2028}\\x{2029}\\x{205f}\\x{3000}";

/* ---- characters ---- */

static bool has(const reader *r, const char *s)
{
    size_t n = strlen(s);
    return (size_t)(r->end - r->p) >= n && memcmp(r->p, s, n) == 0;
}

static bool take(reader *r, const char *s)
{
    if (!has(r, s))
        return false;
    r->p += strlen(s);
    return true;
}

/* The next code point of valid UTF-8. */
static uint32_t next_char(reader *r)
{
    uint8_t c = (uint8_t)*r->p++;
    if (c < 0x80)
        return c;
    unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    uint32_t v = c & (0x3fu >> more);
    while (more-- && r->p < r->end)
        v = v << 6 | ((uint8_t)*r->p++ & 0x3f);
    return v;
}

static void put_char(reader *r, uint32_t c)
{
    if ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'))
        ice_buf_put_u8(r->out, (uint8_t)c);
    else
        ice_buf_printf(r->out, "\\x{%x}", c);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 99;
}

/* Between `least` and `most` digits; a code point that exists. */
static ice_code number(reader *r, int base, int least, int most, uint32_t *out)
{
    uint64_t v = 0;
    int n = 0;
    for (; n < most && r->p < r->end && digit(*r->p) < base; n++, r->p++)
        if ((v = v * (unsigned)base + (unsigned)digit(*r->p)) > 0x10ffff)
            return bad(r, "invalid escape \\ sequence");
    if (n < least || (v >= 0xd800 && v < 0xe000))
        return bad(r, "invalid escape \\ sequence");
    *out = (uint32_t)v;
    return ICE_OK;
}

/* An escape that stands for a character, the backslash already read; *found false where it stands for more.
 */
static ice_code char_escape(reader *r, uint32_t *out, bool *found)
{
    static const char names[] = "abBefnrtv";
    static const char values[] = "\a\b\\\033\f\n\r\t\v";
    const char *start = r->p, *name;
    *found = true;
    if (r->p == r->end)
        return bad(r, "invalid escape \\ sequence");
    uint32_t c = next_char(r);
    if (c < 128 && (name = c ? strchr(names, (int)c) : NULL)) {
        *out = (uint8_t)values[name - names];
        return ICE_OK;
    }
    switch (c) {
    case 'c':
        if (r->p == r->end)
            return bad(r, "invalid escape \\ sequence");
        *out = next_char(r) & 31;
        return ICE_OK;
    case 'u':
        return number(r, 16, 4, 4, out);
    case 'U':
        return number(r, 16, 8, 8, out);
    case 'x':
        return number(r, 16, 1, 255, out);
    case '0':
        r->p--;
        return number(r, 8, 1, 3, out);
    default:
        break;
    }
    if (c == '_' || c >= 128 || !((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'))) {
        *out = c;
        return ICE_OK;
    }
    r->p = start;
    *found = false;
    return ICE_OK;
}

/* Digits after a backslash that are no back reference: a group's number, or one digit, never is a character.
 */
static ice_code octal(reader *r, uint32_t *out)
{
    const char *start = r->p;
    uint32_t n = 0;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9' && n <= MAX_GROUPS)
        n = n * 10 + (uint32_t)(*r->p++ - '0');
    if (r->p - start < 2 || n <= r->groups)
        return bad(r, "invalid escape \\ sequence");
    r->p = start;
    return number(r, 8, 1, 3, out);
}

/* ---- bracket expressions ---- */

typedef struct posix_class {
    const char *name, *members;
} posix_class;

static const posix_class classes[] = {
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"alpha", "\\p{Alphabetic}"},
    {"blank", "\\t\\x{20}\\x{1680}\\x{2000}-\\x{2006}\\x{2008}-\\x{200a}\\x{205f}\\x{3000}"},
    {"cntrl", "\\p{Cc}\\x{2028}\\x{2029}"},
    {"digit", "0-9"},
    {"graph", "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\x{a0}\\x{2007}\\x{202f}"},
    {"lower", "\\p{Lowercase}"},
    {"print", "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Zs}"},
    {"punct", "\\p{P}\\p{S}\\x{a0}\\x{2007}\\x{202f}"},
    {"space", blank},
    {"upper", "\\p{Uppercase}"},
    {"word", word},
    {"xdigit", "0-9A-Fa-f"},
};

static ice_code put_class(reader *r, ice_str name)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (ice_str_eqc(name, classes[i].name)) {
            bool cased = ice_str_eqc(name, "lower") || ice_str_eqc(name, "upper");
            ice_buf_puts(r->out, cased && r->modes->ignore_case ? "\\p{Alphabetic}" : classes[i].members);
            return ICE_OK;
        }
    return bad(r, "invalid character class");
}

/* The name between "[:" and ":]", "[." and ".]", "[=" and "=]"; the opening is read already. */
static ice_code bracket_name(reader *r, char kind, ice_str *out)
{
    char stop[3] = {kind, ']', 0};
    const char *end = memmem(r->p, (size_t)(r->end - r->p), stop, 2);
    if (!end)
        return bad(r, "brackets [] not balanced");
    *out = (ice_str){r->p, (size_t)(end - r->p)};
    r->p = end + 2;
    return ICE_OK;
}

/* An item of a bracket expression: a character, or (false in *single) something longer that is written
 * already. */
static ice_code bracket_item(reader *r, uint32_t *c, bool *single)
{
    ice_code rc;
    ice_str name;
    *single = true;
    if (has(r, "[:") || has(r, "[.") || has(r, "[=")) {
        char kind = r->p[1];
        r->p += 2;
        if ((rc = bracket_name(r, kind, &name)) != ICE_OK)
            return rc;
        if (kind == ':') {
            *single = false;
            return put_class(r, name);
        }
        if (!name.len || ice_utf8_length(name) != 1)
            return bad(r, "invalid collating element");
        reader one = {.p = name.ptr, .end = name.ptr + name.len};
        *c = next_char(&one);
        return ICE_OK;
    }
    if (!take(r, "\\")) {
        *c = next_char(r);
        return ICE_OK;
    }
    if ((rc = char_escape(r, c, single)) != ICE_OK || *single)
        return rc;
    if (*r->p >= '1' && *r->p <= '9') {
        *single = true;
        return octal(r, c);
    }
    switch (*r->p++) {
    case 'd':
        return put_class(r, ICE_STR("digit"));
    case 's':
        return put_class(r, ICE_STR("space"));
    case 'w':
        return put_class(r, ICE_STR("word"));
    case 'D':
        ice_buf_puts(r->out, "\\x{0}-/:-\\x{10ffff}");
        return ICE_OK;
    case 'S':
        ice_buf_puts(r->out, "\\S");
        return ICE_OK;
    case 'W':
        ice_buf_puts(r->out, "\\W");
        return ICE_OK;
    default:
        return bad(r, "invalid escape \\ sequence");
    }
}

static bool range_follows(const reader *r)
{
    return has(r, "-") && r->end - r->p > 1 && r->p[1] != ']';
}

static ice_code bracket_part(reader *r, bool first)
{
    ice_code rc;
    uint32_t from, to;
    bool single;
    if (has(r, "-") && !first && !has(r, "-]") && !has(r, "--"))
        return bad(r, "invalid character range");
    if ((rc = bracket_item(r, &from, &single)) != ICE_OK)
        return rc;
    if (!single)
        return range_follows(r) ? bad(r, "invalid character range") : ICE_OK;
    put_char(r, from);
    if (!range_follows(r))
        return ICE_OK;
    r->p++;
    if ((rc = bracket_item(r, &to, &single)) != ICE_OK)
        return rc;
    if (!single || from > to)
        return bad(r, "invalid character range");
    ice_buf_puts(r->out, "-");
    put_char(r, to);
    return ICE_OK;
}

static ice_code bracket(reader *r)
{
    ice_code rc;
    bool negated = take(r, "^");
    ice_buf_puts(r->out, negated ? "[^" : "[");
    if (negated && r->modes->lines_bound)
        ice_buf_puts(r->out, "\\n");
    for (bool first = true; first || !has(r, "]"); first = false) {
        if (r->p == r->end)
            return bad(r, "brackets [] not balanced");
        if ((rc = bracket_part(r, first)) != ICE_OK)
            return rc;
    }
    r->p++;
    ice_buf_puts(r->out, "]");
    r->repeatable = true;
    return ICE_OK;
}

/* ---- escapes outside of brackets ---- */

static void put_edge(reader *r, const char *before, const char *after)
{
    ice_buf_printf(r->out, "(?%s[%s])(?%s[%s])", before, word, after, word);
    r->repeatable = false;
}

static void put_boundary(reader *r, bool negated)
{
    ice_buf_printf(r->out, "(?:(?<%c[%s])(?%c[%s])|(?<![%s])(?%c[%s]))", '=', word, negated ? '=' : '!', word,
                   word, negated ? '!' : '=', word);
    r->repeatable = false;
}

static bool inside_lookaround(const reader *r)
{
    return r->depth && r->open[r->depth - 1].inside;
}

/* \1 and on: a group that is closed already. Of several digits, where there is no such group, an octal
 * number. */
static ice_code back_reference(reader *r)
{
    const char *start = r->p;
    uint32_t n = 0, c;
    ice_code rc;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9' && n <= MAX_GROUPS)
        n = n * 10 + (uint32_t)(*r->p++ - '0');
    if (r->p - start > 1 && n > r->groups) {
        r->p = start;
        if ((rc = octal(r, &c)) == ICE_OK)
            put_char(r, c);
        return rc;
    }
    if (n > r->groups || !r->closed[n] || inside_lookaround(r))
        return bad(r, "invalid backreference number");
    ice_buf_printf(r->out, "\\g{%u}", n);
    return ICE_OK;
}

static ice_code escape(reader *r)
{
    uint32_t c;
    bool single;
    ice_code rc = char_escape(r, &c, &single);
    if (rc != ICE_OK)
        return rc;
    r->repeatable = true;
    if (single) {
        put_char(r, c);
        return ICE_OK;
    }
    if (*r->p >= '1' && *r->p <= '9')
        return back_reference(r);
    switch (*r->p++) {
    case 'd':
        ice_buf_puts(r->out, "[0-9]");
        return ICE_OK;
    case 'D':
        ice_buf_puts(r->out, "[^0-9]");
        return ICE_OK;
    case 's':
        ice_buf_printf(r->out, "[%s]", blank);
        return ICE_OK;
    case 'S':
        ice_buf_printf(r->out, "[^%s]", blank);
        return ICE_OK;
    case 'w':
        ice_buf_printf(r->out, "[%s]", word);
        return ICE_OK;
    case 'W':
        ice_buf_printf(r->out, "[^%s]", word);
        return ICE_OK;
    case 'm':
        put_edge(r, "<!", "=");
        return ICE_OK;
    case 'M':
        put_edge(r, "<=", "!");
        return ICE_OK;
    case 'y':
        put_boundary(r, false);
        return ICE_OK;
    case 'Y':
        put_boundary(r, true);
        return ICE_OK;
    case 'A':
        ice_buf_puts(r->out, "\\A");
        break;
    case 'Z':
        ice_buf_puts(r->out, "\\z");
        break;
    default:
        return bad(r, "invalid escape \\ sequence");
    }
    r->repeatable = false;
    return ICE_OK;
}

/* ---- groups and quantifiers ---- */

static ice_code open_group(reader *r)
{
    static const char *const looks[] = {"?=", "?!", "?<=", "?<!"};
    bool inside = inside_lookaround(r), look = false;
    const char *kind = "?:";
    if (r->depth == MAX_DEPTH)
        return bad(r, "regular expression is too complex");
    unsigned group = 0;
    if (has(r, "?")) {
        if (!take(r, "?:")) {
            for (size_t i = 0; i < sizeof looks / sizeof *looks && !look; i++)
                if ((look = take(r, looks[i])))
                    kind = looks[i];
            if (!look)
                return bad(r, "quantifier operand invalid");
        }
    } else if (!inside) {
        if (r->groups == MAX_GROUPS)
            return bad(r, "regular expression is too complex");
        group = ++r->groups;
        kind = "";
    }
    ice_buf_printf(r->out, "(%s", kind);
    r->open[r->depth].group = group;
    r->open[r->depth].lookaround = look;
    r->open[r->depth++].inside = inside || look;
    r->repeatable = false;
    return ICE_OK;
}

static ice_code close_group(reader *r)
{
    if (!r->depth)
        return bad(r, "parentheses () not balanced");
    r->depth--;
    if (r->open[r->depth].group)
        r->closed[r->open[r->depth].group] = true;
    ice_buf_puts(r->out, ")");
    r->repeatable = !r->open[r->depth].lookaround;
    return ICE_OK;
}

static ice_code repeat_count(reader *r, unsigned *out)
{
    unsigned n = 0;
    if (r->p == r->end || *r->p < '0' || *r->p > '9')
        return bad(r, "invalid repetition count(s)");
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        if ((n = n * 10 + (unsigned)(*r->p++ - '0')) > MAX_REPEAT)
            return bad(r, "invalid repetition count(s)");
    *out = n;
    return ICE_OK;
}

/* "{m}", "{m,}" or "{m,n}", the brace already read. */
static ice_code bound(reader *r)
{
    unsigned least, most = 0;
    ice_code rc = repeat_count(r, &least);
    if (rc != ICE_OK)
        return rc;
    ice_buf_printf(r->out, "{%u", least);
    if (take(r, ",")) {
        ice_buf_puts(r->out, ",");
        if (!has(r, "}")) {
            if ((rc = repeat_count(r, &most)) != ICE_OK)
                return rc;
            if (most < least)
                return bad(r, "invalid repetition count(s)");
            ice_buf_printf(r->out, "%u", most);
        }
    }
    if (!take(r, "}"))
        return bad(r, "invalid repetition count(s)");
    ice_buf_puts(r->out, "}");
    return ICE_OK;
}

static ice_code quantifier(reader *r, char c)
{
    ice_code rc = ICE_OK;
    if (!r->repeatable)
        return bad(r, "quantifier operand invalid");
    if (c == '{')
        rc = bound(r);
    else
        ice_buf_put_u8(r->out, (uint8_t)c);
    if (take(r, "?"))
        ice_buf_puts(r->out, "?");
    r->repeatable = false;
    return rc;
}

/* ---- the whole ---- */

static ice_code one(reader *r)
{
    char c = *r->p;
    if (take(r, "(?#")) {
        const char *end = memchr(r->p, ')', (size_t)(r->end - r->p));
        if (!end)
            return bad(r, "parentheses () not balanced");
        r->p = end + 1;
        return ICE_OK;
    }
    if (take(r, "[[:<:]]") || take(r, "[[:>:]]")) {
        bool start = r->p[-4] == '<';
        put_edge(r, start ? "<!" : "<=", start ? "=" : "!");
        return ICE_OK;
    }
    if (c == '{' && (r->end - r->p < 2 || r->p[1] < '0' || r->p[1] > '9'))
        c = 'x'; /* a brace that starts no bound is a character */
    switch (c) {
    case '\\':
        r->p++;
        return escape(r);
    case '[':
        r->p++;
        return bracket(r);
    case '(':
        r->p++;
        return open_group(r);
    case ')':
        r->p++;
        return close_group(r);
    case '*':
    case '+':
    case '?':
    case '{':
        r->p++;
        return quantifier(r, c);
    case '|':
    case '^':
    case '$':
    case '.':
        r->p++;
        ice_buf_put_u8(r->out, (uint8_t)c);
        r->repeatable = c == '.';
        return ICE_OK;
    default:
        put_char(r, next_char(r));
        r->repeatable = true;
        return ICE_OK;
    }
}

static void skip_blanks(reader *r)
{
    while (r->p < r->end && strchr(" \t\n\v\f\r#", *r->p)) {
        if (*r->p == '#')
            while (r->p < r->end && *r->p != '\n')
                r->p++;
        else
            r->p++;
    }
}

ice_code ice__regex_modes_read(ice_str letters, ice__regex_modes *m, ice_error *err)
{
    for (size_t i = 0; i < letters.len; i++)
        switch (letters.ptr[i]) {
        case 'i':
            m->ignore_case = true;
            break;
        case 'c':
            m->ignore_case = false;
            break;
        case 'n':
        case 'm':
            m->lines_end = m->lines_bound = true;
            break;
        case 's':
            m->lines_end = m->lines_bound = false;
            break;
        case 'p':
            m->lines_end = false, m->lines_bound = true;
            break;
        case 'w':
            m->lines_end = true, m->lines_bound = false;
            break;
        case 'x':
            m->expanded = true;
            break;
        case 't':
            m->expanded = false;
            break;
        case 'q':
            m->literal = true;
            break;
        default:
            return ice_fail(err, ICE_BAD_VALUE, "invalid regular expression option: \"%.*s\"",
                            (int)letters.len, letters.ptr);
        }
    return ICE_OK;
}

/* "***:", "***=" and "(?letters)" at the start. */
static ice_code directors(reader *r)
{
    if (take(r, "***=")) {
        r->modes->literal = true;
        return ICE_OK;
    }
    if (take(r, "***:") || !has(r, "***")) {
        const char *close =
            r->end - r->p > 2 && has(r, "(?") && (r->p[2] | 32) >= 'a' && (r->p[2] | 32) <= 'z'
                ? memchr(r->p, ')', (size_t)(r->end - r->p))
                : NULL;
        if (!close)
            return ICE_OK;
        ice_str letters = {r->p + 2, (size_t)(close - r->p - 2)};
        r->p = close + 1;
        if (ice__regex_modes_read(letters, r->modes, r->err) != ICE_OK)
            return bad(r, "invalid embedded option");
        return ICE_OK;
    }
    return bad(r, "quantifier operand invalid");
}

ice_code ice__regex_translate(ice_str pattern, ice__regex_modes *m, ice_buf *out, ice_error *err)
{
    reader r = {.p = pattern.ptr, .end = pattern.ptr + pattern.len, .out = out, .modes = m, .err = err};
    ice_code rc = m->literal ? ICE_OK : directors(&r);
    while (rc == ICE_OK) {
        if (m->expanded && !m->literal)
            skip_blanks(&r);
        if (r.p == r.end)
            break;
        if (m->literal)
            put_char(&r, next_char(&r));
        else
            rc = one(&r);
    }
    if (rc == ICE_OK && r.depth)
        rc = bad(&r, "parentheses () not balanced");
    return rc == ICE_OK ? ice_buf_check(out, err) : rc;
}
