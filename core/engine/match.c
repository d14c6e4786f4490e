/* regexp_like(text, pattern [, flags]). */
#include "engine/function.h"
#include "engine/regex.h"

#include <stdlib.h>

enum { PATTERNS = 8, TIME_EACH = 64 };

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

static ice_code match_rows(ice__call *c, patterns *all, ice_error *err)
{
    ice_str texts[ICE__MAX_ARGS] = {{"", 0}, {"", 0}, {"", 0}};
    ice__regex *regex;
    ice_code rc = ICE_OK;
    int64_t until = ice__thread_time() + 10000000000ll;
    for (size_t i = 0; rc == ICE_OK && i < c->count; i++) {
        bool null, yes = false;
        rc = ice__call_row(c, i, texts, &null, err);
        if (rc == ICE_OK && !null && (rc = pattern_find(all, texts[1], texts[2], &regex, err)) == ICE_OK) {
            until += (int64_t)texts[0].len * 1000; /* a long text may take its time */
            rc = ice__regex_matches(regex, texts[0], until, &yes, err);
        }
        if (rc == ICE_OK && i % TIME_EACH == TIME_EACH - 1)
            rc = ice__regex_check_time(until, err);
        ((uint8_t *)c->data)[i] = yes;
    }
    return rc;
}

static void matches(duck_exec info, size_t nargs, duck_error *slot)
{
    ice_error err = {0};
    ice__call c = {.nargs = 0};
    void *all = NULL;
    ice_code rc = ice__call_open(info, nargs, &c, &err);
    if (rc == ICE_OK && (rc = ice__call_worker(info, &all, &err)) == ICE_OK)
        rc = match_rows(&c, all, &err);
    if (rc != ICE_OK)
        ice__call_fail(&err, slot);
}

static void on_matches(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    matches(info, 2, slot);
}

static void on_matches_letters(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    matches(info, 3, slot);
}

const ice__function ice__match_functions[] = {
    {"regexp_like", 2, ICE_T_BOOL, on_matches, on_patterns, NULL},
    {"regexp_like", 3, ICE_T_BOOL, on_matches_letters, on_patterns, NULL},
};
