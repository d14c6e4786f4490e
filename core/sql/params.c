/* PEP 249 placeholders to the engine's. Knows nothing of SQL: psycopg, too, counts placeholders in strings
 * and comments. */
#include "sql/sql.h"

#include <stdlib.h>

#include "base/misc.h"

enum { MAX_PARAMS = 1 << 24, FIRST_SLOTS = 64 };

typedef struct conversion {
    ice_arena *arena;
    ice_buf out;
    ice_str *names; /* in order of first place */
    size_t n, cap;
    size_t *slots; /* hash table of name -> position + 1; a power of two, at most half full */
    size_t nslots;
    bool positional;
} conversion;

static bool is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '$' || (unsigned char)c >= 0x80;
}

static size_t *slot_of(const conversion *c, ice_str name)
{
    size_t i = ice_hash64(name.ptr, name.len, 0) & (c->nslots - 1);

    while (c->slots[i] && !ice_str_eq(c->names[c->slots[i] - 1], name))
        i = (i + 1) & (c->nslots - 1);
    return &c->slots[i];
}

static ice_code grow(conversion *c, ice_error *err)
{
    size_t cap = c->cap ? c->cap * 2 : FIRST_SLOTS / 2;
    ice_str *names = ICE_NEW_N(c->arena, ice_str, cap);
    size_t *slots = ICE_NEW_N(c->arena, size_t, cap * 2);

    if (!names || !slots)
        return ice_fail_nomem(err);
    if (c->n)
        memcpy(names, c->names, c->n * sizeof *names);
    c->names = names;
    c->cap = cap;
    c->slots = slots;
    c->nslots = cap * 2;
    for (size_t i = 0; i < c->n; i++)
        *slot_of(c, names[i]) = i + 1;
    return ICE_OK;
}

static ice_code named(conversion *c, ice_str name, size_t *number, ice_error *err)
{
    size_t *slot;

    if (c->n == c->cap && grow(c, err) != ICE_OK)
        return ICE_NOMEM;
    slot = slot_of(c, name);
    if (!*slot) {
        c->names[c->n++] = name;
        *slot = c->n;
    }
    *number = *slot;
    return ICE_OK;
}

static void put_digits(ice_buf *b, size_t number)
{
    char text[24];
    size_t i = sizeof text;

    do
        text[--i] = (char)('0' + number % 10);
    while (number /= 10);
    text[--i] = '$';
    ice_buf_put(b, text + i, sizeof text - i);
}

/* A blank keeps the number apart from a word or digit it touches: "LIMIT%s" is not the identifier LIMIT$1,
 * and %s0 is not $10. */
static void put_number(conversion *c, size_t number, char next)
{
    if (c->out.len > 0 && is_name_char(c->out.data[c->out.len - 1]))
        ice_buf_put_u8(&c->out, ' ');
    put_digits(&c->out, number);
    if (is_name_char(next))
        ice_buf_put_u8(&c->out, ' ');
}

static ice_code bad_place(size_t at, ice_error *err)
{
    return ice_fail(err, ICE_SYNTAX,
                    "a lone %% at offset %zu of the statement: placeholders are %%s or %%(name)s, and a "
                    "percent sign is %%%%",
                    at);
}

/* One placeholder at text[*i] == '%'; *i moves past it. */
static ice_code convert(conversion *c, ice_str text, size_t *i, ice_error *err)
{
    size_t start = *i, end = start + 1, number = c->n + 1;
    bool positional = end < text.len && text.ptr[end] == 's';
    ice_code rc;

    if (end < text.len && text.ptr[end] == '%') {
        ice_buf_put_u8(&c->out, '%');
        *i = end + 1;
        return ICE_OK;
    }
    if (!positional) {
        const char *close =
            end < text.len && text.ptr[end] == '(' ? memchr(text.ptr + end, ')', text.len - end) : NULL;
        size_t after = close ? (size_t)(close - text.ptr) + 1 : text.len;

        if (after >= text.len || text.ptr[after] != 's')
            return bad_place(start, err);
        if (!c->positional || c->n == 0)
            if ((rc = named(c, (ice_str){text.ptr + end + 1, after - end - 2}, &number, err)) != ICE_OK)
                return rc;
        end = after;
    }
    if (positional ? !c->positional && c->n > 0 : c->positional && c->n > 0)
        return ice_fail(err, ICE_SYNTAX,
                        "positional (%%s) and named (%%(name)s) placeholders are mixed, at offset %zu",
                        start);
    c->positional = positional;
    c->n += positional;
    if (c->n > MAX_PARAMS)
        return ice_fail(err, ICE_SYNTAX, "more than %d placeholders", MAX_PARAMS);
    *i = end + 1;
    put_number(c, number, *i < text.len ? text.ptr[*i] : ' ');
    return ICE_OK;
}

ice_code ice_sql_params(ice_arena *a, ice_str text, bool format, ice_sql_text *out, ice_error *err)
{
    conversion c = {.arena = a};
    ice_code rc = ICE_OK;
    size_t i = 0;

    *out = (ice_sql_text){.sql = text};
    if (!format || text.len == 0 || !memchr(text.ptr, '%', text.len))
        return ICE_OK;
    ice_buf_reserve(&c.out, text.len + text.len / 4);
    while (i < text.len && rc == ICE_OK) {
        const char *q = memchr(text.ptr + i, '%', text.len - i);
        size_t next = q ? (size_t)(q - text.ptr) : text.len;

        ice_buf_put(&c.out, text.ptr + i, next - i);
        i = next;
        if (q)
            rc = convert(&c, text, &i, err);
    }
    if (rc == ICE_OK)
        rc = ice_buf_check(&c.out, err);
    if (rc == ICE_OK) {
        *out = (ice_sql_text){ice_arena_str(a, ice_buf_str(&c.out)), c.n, c.positional ? NULL : c.names};
        if (!out->sql.ptr && c.out.len)
            rc = ice_fail_nomem(err);
    }
    ice_buf_free(&c.out);
    return rc;
}
