#include "schema/jsonb.h"

#include <stdlib.h>

enum { MAX_DEPTH = 1024, MAX_EXPONENT = 200000 };

/* In jsonb's order of types. */
typedef enum kind { JSON_NULL = 1, JSON_STRING, JSON_NUMBER, JSON_BOOL, JSON_ARRAY, JSON_OBJECT } kind;

struct ice_json {
    kind kind;
    bool yes;        /* BOOL */
    ice_str text;    /* STRING: its characters, NUL as C0 80; NUMBER: as it is written */
    size_t n;        /* ARRAY, OBJECT */
    ice_json *items; /* values */
    ice_str *names;  /* OBJECT: keys in jsonb's order, shorter ones first, each once */
};

/* ---- parsing ---- */

typedef struct parser {
    ice_arena *arena;
    const char *p, *end;
    unsigned depth;
    bool lone; /* a character of a string was NUL, or half of one */
    ice_error *err;
} parser;

static ice_code value(parser *p, ice_json *out);

static ice_code bad(parser *p, const char *what)
{
    return ice_fail(p->err, ICE_BAD_VALUE, "invalid input syntax for type json: %s", what);
}

static void blanks(parser *p)
{
    while (p->p < p->end && (*p->p == ' ' || *p->p == '\n' || *p->p == '\t' || *p->p == '\r'))
        p->p++;
}

static bool take(parser *p, char c)
{
    blanks(p);
    if (p->p == p->end || *p->p != c)
        return false;
    p->p++;
    return true;
}

static bool word(parser *p, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(p->end - p->p) < n || memcmp(p->p, w, n) != 0)
        return false;
    p->p += n;
    return true;
}

static bool hex4(parser *p, uint32_t *out)
{
    uint32_t v = 0;
    if (p->end - p->p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = *p->p++, low = c | 32;
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            v = v << 4 | (uint32_t)(low - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

/* NUL in two bytes, so that none is in a text; halves of pairs stay what they are, in three. */
static size_t put_utf8(char *at, uint32_t c)
{
    if (c && c < 0x80) {
        at[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i; i--, c >>= 6)
        at[i] = (char)(0x80 | (c & 0x3f));
    at[0] = (char)((0xf00u >> n & 0xf0) | c);
    return n;
}

static bool unicode(parser *p, uint32_t *c)
{
    uint32_t low;
    if (!hex4(p, c))
        return false;
    const char *after = p->p;
    if (*c >= 0xd800 && *c < 0xdc00 && word(p, "\\u")) {
        if (hex4(p, &low) && low >= 0xdc00 && low < 0xe000)
            *c = 0x10000 + ((*c - 0xd800) << 10) + (low - 0xdc00);
        else
            p->p = after;
    }
    p->lone |= !*c || (*c >= 0xd800 && *c < 0xe000);
    return true;
}

static bool escape(parser *p, char *at, size_t *n)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    uint32_t c;
    if (p->p == p->end)
        return false;
    char e = *p->p++;
    if (e == 'u') {
        if (!unicode(p, &c))
            return false;
        *n += put_utf8(at + *n, c);
        return true;
    }
    const char *found = e ? strchr(names, e) : NULL;
    if (found)
        at[(*n)++] = values[found - names];
    return found != NULL;
}

/* A string, its opening quote already read. Without escapes it stays where it is. */
static ice_code string(parser *p, ice_str *out)
{
    const char *start = p->p;
    while (p->p < p->end && *p->p != '"' && *p->p != '\\' && (uint8_t)*p->p >= 0x20)
        p->p++;
    *out = (ice_str){start, (size_t)(p->p - start)};
    if (p->p < p->end && *p->p == '"') {
        p->p++;
        return ICE_OK;
    }
    const char *close = p->p;
    while (close < p->end && *close != '"')
        close += *close == '\\' && p->end - close > 1 ? 2 : 1;
    char *at = ice_arena_alloc(p->arena, (size_t)(close - start) + 1);
    size_t n = out->len;
    if (!at)
        return ice_fail_nomem(p->err);
    memcpy(at, start, n);
    while (p->p < p->end && *p->p != '"') {
        if ((uint8_t)*p->p < 0x20)
            return bad(p, "a character must be escaped");
        if (*p->p != '\\')
            at[n++] = *p->p++;
        else if (p->p++, !escape(p, at, &n))
            return bad(p, "escape sequence is invalid");
    }
    if (p->p == p->end)
        return bad(p, "a string does not end");
    p->p++;
    *out = (ice_str){at, n};
    return ICE_OK;
}

static bool digits(parser *p)
{
    const char *start = p->p;
    while (p->p < p->end && *p->p >= '0' && *p->p <= '9')
        p->p++;
    return p->p > start;
}

/* The number after an "e"; anything beyond MAX_EXPONENT as one more. */
static int64_t exponent_of(const char *p, const char *end)
{
    int64_t v = 0;
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    for (; p < end && v <= MAX_EXPONENT; p++)
        v = v * 10 + (*p - '0');
    return negative ? -v : v;
}

static ice_code number(parser *p, ice_json *out)
{
    const char *start = p->p, *e = NULL;
    if (*p->p == '-')
        p->p++;
    bool ok = word(p, "0") || digits(p);
    if (ok && word(p, "."))
        ok = digits(p);
    if (ok && (word(p, "e") || word(p, "E"))) {
        e = p->p;
        if (!word(p, "-"))
            (void)word(p, "+");
        ok = digits(p);
    }
    if (!ok)
        return bad(p, "a number is invalid");
    if (e && llabs(exponent_of(e, p->p)) > MAX_EXPONENT)
        return ice_fail(p->err, ICE_RANGE, "value overflows numeric format");
    out->kind = JSON_NUMBER;
    out->text = (ice_str){start, (size_t)(p->p - start)};
    return ICE_OK;
}

static int name_order(ice_str a, ice_str b)
{
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return a.len ? memcmp(a.ptr, b.ptr, a.len) : 0;
}

typedef struct pair {
    ice_str name;
    size_t place;
    ice_json item;
} pair;

static int pair_order(const void *a, const void *b)
{
    const pair *x = a, *y = b;
    int d = name_order(x->name, y->name);
    return d ? d : x->place < y->place ? -1 : 1;
}

/* Of several values of a key the last stays. */
static ice_code settle(parser *p, pair *pairs, size_t n, ice_json *out)
{
    if (n)
        qsort(pairs, n, sizeof *pairs, pair_order);
    out->items = ICE_NEW_N(p->arena, ice_json, n + 1);
    out->names = ICE_NEW_N(p->arena, ice_str, n + 1);
    if (!out->items || !out->names)
        return ice_fail_nomem(p->err);
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && ice_str_eq(pairs[i].name, pairs[i + 1].name))
            continue;
        out->names[out->n] = pairs[i].name;
        out->items[out->n++] = pairs[i].item;
    }
    return ICE_OK;
}

/* Room for one more, in an array of the arena that doubles. */
static void *grow(parser *p, void *data, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return data;
    size_t more = *cap ? 2 * *cap : 8;
    void *bigger = ice_arena_array(p->arena, more, size);
    if (bigger && n)
        memcpy(bigger, data, n * size);
    *cap = more;
    return bigger;
}

static ice_code object(parser *p, ice_json *out)
{
    pair *pairs = NULL;
    size_t n = 0, cap = 0;
    ice_code rc;
    out->kind = JSON_OBJECT;
    if (take(p, '}'))
        return settle(p, pairs, 0, out);
    do {
        if (!(pairs = grow(p, pairs, n, &cap, sizeof *pairs)))
            return ice_fail_nomem(p->err);
        if (!take(p, '"'))
            return bad(p, "a key is missing");
        if ((rc = string(p, &pairs[n].name)) != ICE_OK)
            return rc;
        if (!take(p, ':'))
            return bad(p, "\":\" is missing");
        if ((rc = value(p, &pairs[n].item)) != ICE_OK)
            return rc;
        pairs[n].place = n;
        n++;
    } while (take(p, ','));
    return take(p, '}') ? settle(p, pairs, n, out) : bad(p, "an object does not end");
}

static ice_code array(parser *p, ice_json *out)
{
    size_t cap = 0;
    ice_code rc;
    out->kind = JSON_ARRAY;
    if (take(p, ']'))
        return ICE_OK;
    do {
        if (!(out->items = grow(p, out->items, out->n, &cap, sizeof *out->items)))
            return ice_fail_nomem(p->err);
        if ((rc = value(p, &out->items[out->n])) != ICE_OK)
            return rc;
        out->n++;
    } while (take(p, ','));
    return take(p, ']') ? ICE_OK : bad(p, "an array does not end");
}

static ice_code value(parser *p, ice_json *out)
{
    ice_code rc;
    blanks(p);
    if (p->p == p->end)
        return bad(p, "it ends too early");
    char c = *p->p;
    if (c == '-' || (c >= '0' && c <= '9'))
        return number(p, out);
    if (c == '{' || c == '[') {
        if (p->depth == MAX_DEPTH)
            return bad(p, "it nests too deep");
        p->p++;
        p->depth++;
        rc = c == '{' ? object(p, out) : array(p, out);
        p->depth--;
        return rc;
    }
    if (c == '"') {
        p->p++;
        out->kind = JSON_STRING;
        return string(p, &out->text);
    }
    out->kind = word(p, "null") ? JSON_NULL : JSON_BOOL;
    out->yes = out->kind == JSON_BOOL && word(p, "true");
    return out->kind == JSON_NULL || out->yes || word(p, "false") ? ICE_OK : bad(p, "a value is unknown");
}

static ice_code parse(parser *p, const ice_json **out)
{
    ice_json *root = ICE_NEW(p->arena, ice_json);
    *out = root;
    if (!root)
        return ice_fail_nomem(p->err);
    ice_code rc = value(p, root);
    blanks(p);
    return rc == ICE_OK && p->p < p->end ? bad(p, "something follows its end") : rc;
}

ice_code ice_json_parse(ice_arena *a, ice_str text, const ice_json **out, ice_error *err)
{
    parser p = {.arena = a, .p = text.ptr, .end = text.ptr + text.len, .err = err};
    return parse(&p, out);
}

ice_code ice_json_canonical(ice_arena *a, ice_str text, ice_str *out, ice_error *err)
{
    parser p = {.arena = a, .p = text.ptr, .end = text.ptr + text.len, .err = err};
    const ice_json *j;
    ice_code rc = parse(&p, &j);
    if (rc != ICE_OK || p.lone)
        return rc != ICE_OK ? rc : bad(&p, "a text has no character \\u0000 and no half of a pair");
    ice_buf b = {0};
    ice_json_text(j, &b);
    if ((rc = ice_buf_check(&b, err)) == ICE_OK) {
        *out = ice_str_eq(text, ice_buf_str(&b)) ? text : ice_arena_str(a, ice_buf_str(&b));
        rc = out->ptr ? ICE_OK : ice_fail_nomem(err);
    }
    ice_buf_free(&b);
    return rc;
}

/* ---- numbers ---- */

/* A number as 0.d1d2d3… times ten to `exponent`: its digits without the zeros at both ends are in two places.
 * None: zero. */
typedef struct decimal {
    bool negative;
    int64_t exponent, n,
        scale; /* n digits; `scale` are after the point where it is written without an exponent */
    ice_str first, second;
} decimal;

static ice_str take_digits(const char **p, const char *end)
{
    const char *start = *p;
    while (*p < end && **p >= '0' && **p <= '9')
        ++*p;
    return (ice_str){start, (size_t)(*p - start)};
}

static void strip_end(ice_str *s)
{
    while (s->len && s->ptr[s->len - 1] == '0')
        s->len--;
}

static size_t strip_start(ice_str *s)
{
    size_t n = 0;
    for (; s->len && *s->ptr == '0'; n++)
        s->ptr++, s->len--;
    return n;
}

static decimal decimal_of(ice_str s)
{
    decimal d = {0};
    const char *p = s.ptr, *end = s.ptr + s.len;
    if (*p == '-')
        d.negative = true, p++;
    d.first = take_digits(&p, end);
    if (p < end && *p == '.') {
        p++;
        d.second = take_digits(&p, end);
    }
    int64_t shift = p < end ? exponent_of(p + 1, end) : 0;
    d.scale = (int64_t)d.second.len > shift ? (int64_t)d.second.len - shift : 0;
    strip_start(&d.first);
    d.exponent = (int64_t)d.first.len + shift;
    if (!d.first.len)
        d.exponent -= (int64_t)strip_start(&d.second);
    strip_end(&d.second);
    if (!d.second.len)
        strip_end(&d.first);
    d.n = (int64_t)(d.first.len + d.second.len);
    return d;
}

static char digit_of(const decimal *d, int64_t i)
{
    if (i < 0 || i >= d->n)
        return '0';
    return i < (int64_t)d->first.len ? d->first.ptr[i] : d->second.ptr[i - (int64_t)d->first.len];
}

/* Sign, exponent, digits; all bytes turned over for a negative one. */
static void number_key(ice_str text, ice_buf *out)
{
    decimal d = decimal_of(text);
    uint8_t flip = d.negative ? 0xff : 0;
    uint32_t exponent = (uint32_t)(d.exponent + 0x40000000);
    ice_buf_put_u8(out, !d.n ? 2 : d.negative ? 1 : 3);
    if (!d.n)
        return;
    for (int i = 24; i >= 0; i -= 8)
        ice_buf_put_u8(out, (uint8_t)(exponent >> i) ^ flip);
    for (int64_t i = 0; i < d.n; i++)
        ice_buf_put_u8(out, (uint8_t)digit_of(&d, i) ^ flip);
    ice_buf_put_u8(out, flip);
}

static void number_text(ice_str text, bool normal, ice_buf *out)
{
    decimal d = decimal_of(text);
    if (normal)
        d.scale = d.n && d.n > d.exponent ? d.n - d.exponent : 0;
    if (!d.n)
        d.exponent = 0;
    if (d.negative && d.n)
        ice_buf_puts(out, "-");
    if (d.exponent <= 0)
        ice_buf_puts(out, "0");
    for (int64_t i = 0; i < d.exponent; i++)
        ice_buf_put_u8(out, (uint8_t)digit_of(&d, i));
    if (d.scale)
        ice_buf_puts(out, ".");
    for (int64_t i = 0; i < d.scale; i++)
        ice_buf_put_u8(out, (uint8_t)digit_of(&d, d.exponent + i));
}

/* ---- order ---- */

static void key(const ice_json *j, bool root, ice_buf *out);

static void text_key(ice_str text, ice_buf *out)
{
    ice_buf_put_u8(out, JSON_STRING);
    ice_buf_put_str(out, text);
    ice_buf_put_u8(out, 0);
}

/* More items are more, whatever they are. As a value of its own, an empty array is less than anything. */
static void items_key(const ice_json *j, bool root, ice_buf *out)
{
    ice_buf_put_u8(out, root && j->kind == JSON_ARRAY && !j->n ? 0 : (uint8_t)j->kind);
    for (int i = 24; i >= 0; i -= 8)
        ice_buf_put_u8(out, (uint8_t)(j->n >> i));
    for (size_t i = 0; i < j->n; i++) {
        if (j->kind == JSON_OBJECT)
            text_key(j->names[i], out);
        key(&j->items[i], false, out);
    }
}

static void key(const ice_json *j, bool root, ice_buf *out)
{
    switch (j->kind) {
    case JSON_STRING:
        text_key(j->text, out);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        items_key(j, root, out);
        return;
    case JSON_NULL:
    case JSON_NUMBER:
    case JSON_BOOL:
        break;
    }
    ice_buf_put_u8(out, (uint8_t)j->kind);
    if (j->kind == JSON_NUMBER)
        number_key(j->text, out);
    else if (j->kind == JSON_BOOL)
        ice_buf_put_u8(out, j->yes);
}

void ice_json_key(const ice_json *j, ice_buf *out)
{
    key(j, true, out);
}

/* ---- text ---- */

static void quoted(ice_str s, ice_buf *out)
{
    static const char names[] = "\"\\bfnrt", values[] = "\"\\\b\f\n\r\t";
    ice_buf_put_u8(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i], next = i + 1 < s.len ? (uint8_t)s.ptr[i + 1] : 0;
        const char *found = c < 128 ? strchr(values, c) : NULL;
        if (found) {
            ice_buf_put_u8(out, '\\');
            ice_buf_put_u8(out, (uint8_t)names[found - values]);
        } else if (c < 0x20) {
            ice_buf_printf(out, "\\u%04x", c);
        } else if (c == 0xc0) {
            ice_buf_puts(out, "\\u0000");
            i++;
        } else if (c == 0xed && next >= 0xa0) {
            ice_buf_printf(out, "\\u%04x", 0xd000u | (next & 0x3fu) << 6 | ((uint8_t)s.ptr[i + 2] & 0x3fu));
            i += 2;
        } else {
            ice_buf_put_u8(out, c);
        }
    }
    ice_buf_put_u8(out, '"');
}

static void put_text(const ice_json *j, bool normal, ice_buf *out)
{
    switch (j->kind) {
    case JSON_NULL:
        ice_buf_puts(out, "null");
        return;
    case JSON_BOOL:
        ice_buf_puts(out, j->yes ? "true" : "false");
        return;
    case JSON_NUMBER:
        number_text(j->text, normal, out);
        return;
    case JSON_STRING:
        quoted(j->text, out);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    ice_buf_puts(out, j->kind == JSON_ARRAY ? "[" : "{");
    for (size_t i = 0; i < j->n; i++) {
        ice_buf_puts(out, i ? ", " : "");
        if (j->kind == JSON_OBJECT) {
            quoted(j->names[i], out);
            ice_buf_puts(out, ": ");
        }
        put_text(&j->items[i], normal, out);
    }
    ice_buf_puts(out, j->kind == JSON_ARRAY ? "]" : "}");
}

void ice_json_text(const ice_json *j, ice_buf *out)
{
    put_text(j, false, out);
}

void ice_json_normal(const ice_json *j, ice_buf *out)
{
    put_text(j, true, out);
}

void ice_json_unquoted(const ice_json *j, ice_buf *out)
{
    if (j->kind == JSON_STRING)
        ice_buf_put_str(out, j->text);
    else
        put_text(j, false, out);
}

/* ---- containment ---- */

static bool number_equal(ice_str a, ice_str b)
{
    decimal x = decimal_of(a), y = decimal_of(b);
    if (x.n != y.n || (x.n && (x.negative != y.negative || x.exponent != y.exponent)))
        return false;
    for (int64_t i = 0; i < x.n; i++)
        if (digit_of(&x, i) != digit_of(&y, i))
            return false;
    return true;
}

static bool is_scalar(const ice_json *j)
{
    return j->kind < JSON_ARRAY;
}

static bool scalar_equal(const ice_json *a, const ice_json *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case JSON_STRING:
        return ice_str_eq(a->text, b->text);
    case JSON_NUMBER:
        return number_equal(a->text, b->text);
    case JSON_BOOL:
        return a->yes == b->yes;
    default:
        return true;
    }
}

static const ice_json *member(const ice_json *object, ice_str name)
{
    size_t low = 0, high = object->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int d = name_order(object->names[middle], name);
        if (!d)
            return &object->items[middle];
        if (d < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool deep(const ice_json *a, const ice_json *b);

static bool any_item(const ice_json *a, const ice_json *b)
{
    for (size_t i = 0; i < a->n; i++)
        if (deep(&a->items[i], b))
            return true;
    return false;
}

static bool deep(const ice_json *a, const ice_json *b)
{
    if (is_scalar(b))
        return scalar_equal(a, b);
    if (a->kind != b->kind || (a->kind == JSON_OBJECT && a->n < b->n))
        return false;
    for (size_t i = 0; i < b->n; i++) {
        const ice_json *mine = b->kind == JSON_OBJECT ? member(a, b->names[i]) : NULL;
        if (b->kind == JSON_OBJECT ? !mine || !deep(mine, &b->items[i]) : !any_item(a, &b->items[i]))
            return false;
    }
    return true;
}

bool ice_json_contains(const ice_json *a, const ice_json *b)
{
    return a->kind == JSON_ARRAY && is_scalar(b) ? any_item(a, b) : deep(a, b);
}

bool ice_json_has(const ice_json *j, ice_str name)
{
    if (j->kind == JSON_OBJECT)
        return member(j, name) != NULL;
    if (j->kind == JSON_STRING)
        return ice_str_eq(j->text, name);
    for (size_t i = 0; i < j->n; i++)
        if (j->items[i].kind == JSON_STRING && ice_str_eq(j->items[i].text, name))
            return true;
    return false;
}
