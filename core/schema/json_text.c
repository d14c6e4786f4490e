/* Is a text JSON (RFC 8259), as PostgreSQL's jsonb takes it? One pass, no allocation; the kinds of open brackets are bits. */
#include "schema/tabledef_int.h"

enum { MAX_DEPTH = 1024 };

typedef struct scan {
    ice_str s;
    size_t at;
} scan;

static char peek(const scan *p)
{
    return p->at < p->s.len ? p->s.ptr[p->at] : '\0';
}

static bool take(scan *p, char c)
{
    if (peek(p) != c)
        return false;
    p->at++;
    return true;
}

static bool digits(scan *p)
{
    size_t from = p->at;

    while (peek(p) >= '0' && peek(p) <= '9')
        p->at++;
    return p->at > from;
}

static void blanks(scan *p)
{
    while (p->at < p->s.len && strchr(" \t\n\r", p->s.ptr[p->at]) && p->s.ptr[p->at])
        p->at++;
}

static bool number(scan *p)
{
    take(p, '-');
    if (!take(p, '0') && !digits(p))
        return false;
    if (take(p, '.') && !digits(p))
        return false;
    if (!take(p, 'e') && !take(p, 'E'))
        return true;
    if (!take(p, '+'))
        take(p, '-');
    return digits(p);
}

/* \uXXXX; NUL is no character of a text. */
static bool code_unit(scan *p)
{
    int n = 0;

    for (int i = 0; i < 4; i++, p->at++) {
        char c = peek(p);

        if (!((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f')))
            return false;
        n |= c != '0';
    }
    return n != 0;
}

static bool string(scan *p)
{
    if (!take(p, '"'))
        return false;
    while (p->at < p->s.len) {
        unsigned char c = (unsigned char)p->s.ptr[p->at++];

        if (c == '"')
            return true;
        if (c < 0x20)
            return false;
        if (c != '\\')
            continue;
        c = (unsigned char)peek(p);
        if (!c || !strchr("\"\\/bfnrtu", c))
            return false;
        p->at++;
        if (c == 'u' && !code_unit(p))
            return false;
    }
    return false;
}

static bool word(scan *p, ice_str w)
{
    if (p->s.len - p->at < w.len || memcmp(p->s.ptr + p->at, w.ptr, w.len) != 0)
        return false;
    p->at += w.len;
    return true;
}

static bool scalar(scan *p)
{
    switch (peek(p)) {
    case '"': return string(p);
    case 't': return word(p, ICE_STR("true"));
    case 'f': return word(p, ICE_STR("false"));
    case 'n': return word(p, ICE_STR("null"));
    default: return number(p);
    }
}

static bool member_name(scan *p)
{
    blanks(p);
    if (!string(p))
        return false;
    blanks(p);
    return take(p, ':');
}

bool ice__json_valid(ice_str text)
{
    scan p = {text, 0};
    uint8_t objects[MAX_DEPTH / 8] = {0}; /* bit d: the bracket at depth d is an object's */
    size_t depth = 0;

    for (;;) {
        blanks(&p);
        if (peek(&p) == '{' || peek(&p) == '[') { /* a value that holds others */
            bool object = text.ptr[p.at++] == '{';

            if (depth == MAX_DEPTH)
                return false;
            objects[depth / 8] = (uint8_t)((objects[depth / 8] & ~(1 << depth % 8)) | object << depth % 8);
            depth++;
            blanks(&p);
            if (peek(&p) != (object ? '}' : ']')) {
                if (object && !member_name(&p))
                    return false;
                continue;
            }
        } else if (!scalar(&p)) {
            return false;
        }
        for (;;) { /* behind a value, or before the bracket that ends an empty one */
            bool object = depth && (objects[(depth - 1) / 8] >> (depth - 1) % 8 & 1);

            blanks(&p);
            if (depth == 0)
                return p.at == text.len;
            if (take(&p, ',')) {
                if (object && !member_name(&p))
                    return false;
                break;
            }
            if (!take(&p, object ? '}' : ']'))
                return false;
            depth--;
        }
    }
}
