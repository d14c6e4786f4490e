/* Functions of patterns: regexp_like(text, pattern [, flags]), regexp_replace(text, pattern, replacement [, flags]),
 * substring(text FROM pattern) and regexp_substr(text, pattern). */
#include "engine/function.h"
#include "engine/regex.h"

#include <stdlib.h>

enum { PATTERNS = 8, TIME_EACH = 64, MAX_RESULT = 256 << 20 };

/* Patterns of one thread of a statement, compiled when first seen. */
typedef struct patterns {
    struct {
        char *text; /* pattern and letters */
        size_t pattern_len, letters_len;
        ice__regex *regex;
    } slot[PATTERNS];
    size_t n, last;
} patterns;

static void patterns_free(void *p)
{
    patterns *all = p;
    for (size_t i = 0; i < all->n; i++) {
        free(all->slot[i].text);
        ice__regex_free(all->slot[i].regex);
    }
    free(all);
}

static bool pattern_is(const patterns *all, size_t i, ice_str pattern, ice_str letters)
{
    return all->slot[i].pattern_len == pattern.len && all->slot[i].letters_len == letters.len &&
           memcmp(all->slot[i].text, pattern.ptr, pattern.len) == 0 &&
           memcmp(all->slot[i].text + pattern.len, letters.ptr, letters.len) == 0;
}

/* Into a free slot, or in place of the one after the last used. */
static ice_code pattern_add(patterns *all, ice_str pattern, ice_str letters, ice_error *err)
{
    ice__regex *regex = NULL;
    ice_code rc = ice__regex_compile(pattern, letters, &regex, err);
    if (rc != ICE_OK)
        return rc;
    char *text = malloc(pattern.len + letters.len + 1);
    if (!text) {
        ice__regex_free(regex);
        return ice_fail_nomem(err);
    }
    memcpy(text, pattern.ptr, pattern.len);
    memcpy(text + pattern.len, letters.ptr, letters.len);
    size_t i = all->n < PATTERNS ? all->n++ : (all->last + 1) % PATTERNS;
    free(all->slot[i].text);
    ice__regex_free(all->slot[i].regex);
    all->slot[i].text = text;
    all->slot[i].pattern_len = pattern.len;
    all->slot[i].letters_len = letters.len;
    all->slot[i].regex = regex;
    all->last = i;
    return ICE_OK;
}

static ice_code pattern_find(patterns *all, ice_str pattern, ice_str letters, ice__regex **out,
                             ice_error *err)
{
    ice_code rc = ICE_OK;
    if (!all->n || !pattern_is(all, all->last, pattern, letters)) {
        size_t i = 0;
        while (i < all->n && !pattern_is(all, i, pattern, letters))
            i++;
        if (i < all->n)
            all->last = i;
        else
            rc = pattern_add(all, pattern, letters, err);
    }
    *out = rc == ICE_OK ? all->slot[all->last].regex : NULL;
    return rc;
}

static void on_patterns(duck_init info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    ice__worker_set(info, calloc(1, sizeof(patterns)), patterns_free, slot);
}

/* ---- the functions, for one row ---- */

/* One row of a call: what it has in hand, and where its result goes. */
typedef struct row {
    ice__call *c;
    patterns *all;
    size_t at;
    ice_str texts[ICE__MAX_ARGS];
    int64_t until; /* of the thread's time */
} row;
typedef ice_code (*row_fn)(row *r, ice_error *err);

static ice_code like(row *r, ice_error *err)
{
    ice__regex *regex;
    bool yes = false;
    ice_code rc = pattern_find(r->all, r->texts[1], r->texts[2], &regex, err);
    if (rc == ICE_OK)
        rc = ice__regex_matches(regex, r->texts[0], r->until, &yes, err);
    ((uint8_t *)r->c->data)[r->at] = yes;
    return rc;
}

/* The whole match, or the first group where the pattern has one (and `groups` asks for it). */
static ice_code part(row *r, bool groups, ice_error *err)
{
    ice__regex *regex;
    bool found;
    ice_code rc = pattern_find(r->all, r->texts[1], ICE_STR(""), &regex, err);
    if (rc != ICE_OK || (rc = ice__regex_find(regex, r->texts[0], 0, r->until, &found, err)) != ICE_OK)
        return rc;
    ice_str text = found ? ice__regex_group(regex, r->texts[0], groups && ice__regex_groups(regex)) : ICE_STR_NONE;
    return text.ptr ? ice__call_put(r->c, r->at, text, err) : ice__call_null(r->c, r->at, err);
}

static ice_code substring(row *r, ice_error *err)
{
    return part(r, true, err);
}

static ice_code substr(row *r, ice_error *err)
{
    return part(r, false, err);
}

/* \1 to \9 and \& are what groups matched, \\ is a backslash, and any other backslash is itself. */
static void put_replacement(ice_buf *out, const ice__regex *regex, ice_str text, ice_str with)
{
    for (size_t i = 0; i < with.len; i++) {
        char next = i + 1 < with.len ? with.ptr[i + 1] : '\0';
        if (with.ptr[i] != '\\') {
            ice_buf_put_u8(out, (uint8_t)with.ptr[i]);
        } else if ((next >= '1' && next <= '9') || next == '&') {
            ice_str group = ice__regex_group(regex, text, next == '&' ? 0 : (unsigned)(next - '0'));
            ice_buf_put(out, group.len ? group.ptr : "", group.len);
            i++;
        } else {
            ice_buf_put_u8(out, '\\');
            i += next == '\\';
        }
    }
}

static size_t after_char(ice_str text, size_t at)
{
    do
        at++;
    while (at < text.len && ((uint8_t)text.ptr[at] & 0xc0) == 0x80);
    return at;
}

/* After a match without a character the next one is looked for a character further on, as PostgreSQL does. */
static ice_code replace_matches(const row *r, ice__regex *regex, bool all, ice_buf *out, ice_error *err)
{
    ice_str text = r->texts[0];
    size_t from = 0, copied = 0;
    bool found = true;
    ice_code rc = ICE_OK;
    while (from <= text.len && (from == 0 || all)) {
        if ((rc = ice__regex_find(regex, text, from, r->until, &found, err)) != ICE_OK || !found)
            break;
        ice_str match = ice__regex_group(regex, text, 0);
        size_t at = (size_t)(match.ptr - (text.len ? text.ptr : match.ptr)), end = at + match.len;
        if (at > copied)
            ice_buf_put(out, text.ptr + copied, at - copied);
        put_replacement(out, regex, text, r->texts[2]);
        copied = end > copied ? end : copied;
        from = match.len ? end : after_char(text, end);
        if (out->len > MAX_RESULT)
            return ice_fail(err, ICE_TOO_LONG, "regexp_replace gives a text of more than %d bytes", MAX_RESULT);
        if (!all)
            break;
    }
    if (rc == ICE_OK && copied < text.len)
        ice_buf_put(out, text.ptr + copied, text.len - copied);
    return rc == ICE_OK ? ice_buf_check(out, err) : rc;
}

static ice_code replace(row *r, ice_error *err)
{
    ice__regex *regex;
    ice_buf out = {0};
    char letters[32];
    size_t n = 0;
    bool all = false;
    ice_code rc;
    for (size_t i = 0; i < r->texts[3].len; i++)
        if (r->texts[3].ptr[i] == 'g')
            all = true;
        else if (n < sizeof letters)
            letters[n++] = r->texts[3].ptr[i];
    ICE_TRY(pattern_find(r->all, r->texts[1], (ice_str){letters, n}, &regex, err));
    ICE_TRY(replace_matches(r, regex, all, &out, err));
    ICE_TRY(ice__call_put(r->c, r->at, ice_buf_str(&out), err));
out:
    ice_buf_free(&out);
    return rc;
}

/* ---- as DuckDB calls them ---- */

static ice_code all_rows(row *r, row_fn fn, ice_error *err)
{
    ice_code rc = ICE_OK;
    r->until = ice__thread_time() + 10000000000ll;
    for (size_t i = 0; rc == ICE_OK && i < r->c->count; i++) {
        bool null;
        rc = ice__call_row(r->c, i, r->texts, &null, err);
        r->at = i;
        if (rc == ICE_OK && !null) {
            r->until += (int64_t)r->texts[0].len * 1000; /* a long text may take its time */
            rc = fn(r, err);
        }
        if (rc == ICE_OK && i % TIME_EACH == TIME_EACH - 1)
            rc = ice__regex_check_time(r->until, err);
    }
    return rc;
}

static void call(duck_exec info, size_t nargs, row_fn fn, duck_error *slot)
{
    ice_error err = {0};
    ice__call c = {.nargs = 0};
    row r = {.c = &c, .texts = {ICE_STR(""), ICE_STR(""), ICE_STR(""), ICE_STR("")}};
    void *all = NULL;
    ice_code rc = ice__call_open(info, nargs, &c, &err);
    if (rc == ICE_OK && (rc = ice__call_worker(info, &all, &err)) == ICE_OK) {
        r.all = all;
        rc = all_rows(&r, fn, &err);
    }
    if (rc != ICE_OK)
        ice__call_fail(&err, slot);
}

static void on_like(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    call(info, 2, like, slot);
}

static void on_like_letters(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    call(info, 3, like, slot);
}

static void on_replace(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    call(info, 4, replace, slot);
}

static void on_substring(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    call(info, 2, substring, slot);
}

static void on_substr(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    call(info, 2, substr, slot);
}

const ice__function ice__match_functions[] = {
    {"regexp_like", 2, ICE_T_BOOL, on_like, on_patterns, NULL},
    {"regexp_like", 3, ICE_T_BOOL, on_like_letters, on_patterns, NULL},
    {"ice_regexp_replace", 4, ICE_T_STRING, on_replace, on_patterns, NULL},
    {"ice_regexp_substring", 2, ICE_T_STRING, on_substring, on_patterns, NULL},
    {"regexp_substr", 2, ICE_T_STRING, on_substr, on_patterns, NULL},
};
