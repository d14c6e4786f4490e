/* Column names in stored SQL expressions. */
#include "schema/tabledef_int.h"

typedef struct token {
    enum { END, WORD, QUOTED, STRING, OTHER } kind;
    size_t at, end;
} token;

static bool word_start(unsigned char c)
{
    return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c >= 0x80;
}

static bool word_part(unsigned char c)
{
    return word_start(c) || (c >= '0' && c <= '9') || c == '$';
}

static char at(ice_str s, size_t i)
{
    return i < s.len ? s.ptr[i] : '\0';
}

static bool starts(ice_str s, size_t i, ice_str what)
{
    return what.len <= s.len - i && memcmp(s.ptr + i, what.ptr, what.len) == 0;
}

/* End of the quoted token that starts at i; a doubled quote is part of it, in E'…' an escaped one too. */
static size_t quoted_end(ice_str s, size_t i, bool escapes)
{
    char quote = s.ptr[i++];

    while (i < s.len) {
        char c = s.ptr[i++];

        if (c == '\\' && escapes)
            i++;
        if (c != quote)
            continue;
        if (at(s, i) != quote)
            break;
        i++;
    }
    return i < s.len ? i : s.len;
}

/* Past white space and comments, which nest. */
static size_t visible(ice_str s, size_t i)
{
    int depth = 0;

    while (i < s.len) {
        if (starts(s, i, ICE_STR("/*"))) {
            depth++;
            i += 2;
        } else if (depth > 0) {
            bool closes = starts(s, i, ICE_STR("*/"));

            depth -= closes;
            i += closes ? 2 : 1;
        } else if (starts(s, i, ICE_STR("--"))) {
            while (i < s.len && s.ptr[i] != '\n')
                i++;
        } else if (strchr(" \n\t\r\f\v", s.ptr[i]) && s.ptr[i]) {
            i++;
        } else {
            break;
        }
    }
    return i;
}

/* End of $tag$ … $tag$ that starts at i; i where none does. */
static size_t dollar_end(ice_str s, size_t i)
{
    size_t open = i + 1;

    while (open < s.len && s.ptr[open] != '$' && word_part((unsigned char)s.ptr[open]))
        open++;
    if (at(s, open) != '$')
        return i;
    ice_str tag = {s.ptr + i, open + 1 - i};
    for (size_t e = open + 1; e < s.len; e++)
        if (s.ptr[e] == '$' && starts(s, e, tag))
            return e + tag.len;
    return s.len;
}

static token next_token(ice_str s, size_t i)
{
    token t = {OTHER, visible(s, i), 0};
    unsigned char c = (unsigned char)at(s, t.at);

    t.end = t.at + 1;
    if (t.at >= s.len)
        return (token){END, s.len, s.len};
    if (c == '"' || c == '\'') {
        t.kind = c == '"' ? QUOTED : STRING;
        t.end = quoted_end(s, t.at, false);
    } else if ((c | 0x20) == 'e' && at(s, t.at + 1) == '\'') {
        t.kind = STRING;
        t.end = quoted_end(s, t.at + 1, true);
    } else if (c == '$' && dollar_end(s, t.at) > t.at) {
        t.kind = STRING;
        t.end = dollar_end(s, t.at);
    } else if (word_part(c)) {
        t.kind = word_start(c) ? WORD : OTHER;
        while (word_part((unsigned char)at(s, t.end)))
            t.end++;
    } else if (starts(s, t.at, ICE_STR("::"))) {
        t.end++;
    }
    return t;
}

static ice_str text_of(ice_str s, token t)
{
    return (ice_str){s.ptr + t.at, t.end - t.at};
}

static bool quoted_is(ice_str quoted, ice_str name)
{
    size_t n = 0;

    if (quoted.len < 2 || quoted.ptr[quoted.len - 1] != '"')
        return false;
    for (size_t i = 1; i + 1 < quoted.len; i++, n++) {
        if (n == name.len || quoted.ptr[i] != name.ptr[n])
            return false;
        i += quoted.ptr[i] == '"';
    }
    return n == name.len;
}

/* A name that is not a qualifier, a function, a type (after :: or AS, or before a string) or the field of
 * EXTRACT. */
static bool names_column(ice_str s, token before, token t, token after, ice_str name)
{
    ice_str prev = text_of(s, before), next = text_of(s, after);

    if (ice_str_eqc(next, ".") || ice_str_eqc(next, "("))
        return false;
    if (t.kind == QUOTED)
        return quoted_is(text_of(s, t), name);
    return t.kind == WORD && ice_str_ieq(text_of(s, t), name) && after.kind != STRING &&
           !ice_str_ieq(next, ICE_STR("FROM")) && !ice_str_eqc(prev, "::") && !ice_str_ieq(prev, ICE_STR("AS"));
}

/* The next use of the column after the tokens *before, *t, which move on to it. */
static bool find_name(ice_str s, ice_str name, token *before, token *t)
{
    while (t->kind != END) {
        *before = *t;
        *t = next_token(s, t->end);
        if (names_column(s, *before, *t, next_token(s, t->end), name))
            return true;
    }
    return false;
}

bool ice__expr_mentions(ice_str sql, ice_str column)
{
    token before, t = {OTHER, 0, 0};

    return find_name(sql, column, &before, &t);
}

bool ice__expr_rename(ice_arena *a, ice_str sql, ice_str from, ice_str to, ice_str *out)
{
    ice_buf text = {0};
    token before, t = {OTHER, 0, 0};
    size_t done = 0;
    bool ok = true;

    *out = sql;
    while (find_name(sql, from, &before, &t)) {
        ice_buf_put(&text, sql.ptr + done, t.at - done);
        ice_buf_put_ident(&text, to);
        done = t.end;
    }
    if (done > 0) {
        ice_buf_put(&text, sql.ptr + done, sql.len - done);
        ok = !text.failed && ice__copy_str(a, ice_buf_str(&text), out);
    }
    ice_buf_free(&text);
    return ok;
}
