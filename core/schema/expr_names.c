#include "schema/tabledef_int.h"

static bool word_start(unsigned char c) { return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c >= 0x80; }
static bool word_part(unsigned char c) { return word_start(c) || (c >= '0' && c <= '9') || c == '$'; }

/* End of the quoted token that starts at i; a doubled quote is part of it. */
static size_t quoted_end(ice_str s, size_t i)
{
    char quote = s.ptr[i++];

    while (i < s.len) {
        if (s.ptr[i++] != quote)
            continue;
        if (i == s.len || s.ptr[i] != quote)
            break;
        i++;
    }
    return i;
}

static bool quoted_is(ice_str token, ice_str name)
{
    size_t n = 0;

    if (token.len < 2 || token.ptr[token.len - 1] != '"')
        return false;
    for (size_t i = 1; i + 1 < token.len; i++, n++) {
        if (n == name.len || token.ptr[i] != name.ptr[n])
            return false;
        i += token.ptr[i] == '"';
    }
    return n == name.len;
}

static char next_visible(ice_str s, size_t i)
{
    while (i < s.len && (s.ptr[i] == ' ' || s.ptr[i] == '\n' || s.ptr[i] == '\t' || s.ptr[i] == '\r'))
        i++;
    return i < s.len ? s.ptr[i] : '\0';
}

/* The next use of the column at or after *from: its bounds in *from and *end. */
static bool find_name(ice_str s, ice_str name, size_t *from, size_t *end)
{
    size_t i = *from;

    while (i < s.len) {
        unsigned char c = (unsigned char)s.ptr[i];
        size_t e = i + 1;
        bool is = false;

        if (c == '"' || c == '\'') {
            e = quoted_end(s, i);
            is = c == '"' && quoted_is((ice_str){s.ptr + i, e - i}, name) && next_visible(s, e) != '.';
        } else if (word_part(c)) {
            while (e < s.len && word_part((unsigned char)s.ptr[e]))
                e++;
            is = word_start(c) && ice_str_ieq((ice_str){s.ptr + i, e - i}, name) &&
                 next_visible(s, e) != '.' && next_visible(s, e) != '(';
        }
        if (is) {
            *from = i;
            *end = e;
            return true;
        }
        i = e;
    }
    return false;
}

bool ice__expr_mentions(ice_str sql, ice_str column)
{
    size_t from = 0, end;

    return find_name(sql, column, &from, &end);
}

bool ice__expr_rename(ice_arena *a, ice_str sql, ice_str from, ice_str to, ice_str *out)
{
    ice_buf text = {0};
    size_t done = 0, at = 0, end;
    bool ok = true;

    *out = sql;
    while (find_name(sql, from, &at, &end)) {
        ice_buf_put(&text, sql.ptr + done, at - done);
        ice_buf_put_ident(&text, to);
        at = done = end;
    }
    if (done > 0) {
        ice_buf_put(&text, sql.ptr + done, sql.len - done);
        ok = !text.failed && ice__copy_str(a, ice_buf_str(&text), out);
    }
    ice_buf_free(&text);
    return ok;
}
