/* Patterns compiled and matched by PCRE2.
 *
 * It tries one way to match after another, which for hostile patterns is without end: so the ways from one
 * place of a text are counted (MAX_TRIES), and between groups of places (WINDOW) the thread's time is looked
 * at. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/regex.h"

#include <pcre2.h>
#include <stdlib.h>
#include <time.h>

enum { WINDOW = 1024, MAX_TRIES = 1000000, MAX_PATTERN = 64 << 10, STACK = 128 << 20 };
/* Machine code pays once a pattern has been matched a few times. */
enum { JIT_AFTER = 16 };

struct ice__regex {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    bool anchored;
    uint32_t groups;
    unsigned uses;
};

int64_t ice__thread_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

ice_code ice__regex_check_time(int64_t until, ice_error *err)
{
    if (ice__thread_time() <= until)
        return ICE_OK;
    return ice_fail(err, ICE_BAD_PATTERN,
                    "regular expression failed: the pattern takes too long on these texts");
}

void ice__regex_free(ice__regex *r)
{
    if (!r)
        return;
    pcre2_match_data_free(r->match);
    pcre2_match_context_free(r->context);
    pcre2_jit_stack_free(r->stack);
    pcre2_code_free(r->code);
    free(r);
}

static uint32_t options_of(const ice__regex_modes *m)
{
    uint32_t o = PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_CIRCUMFLEX |
                 PCRE2_USE_OFFSET_LIMIT;
    if (m->ignore_case)
        o |= PCRE2_CASELESS;
    if (m->lines_end)
        o |= PCRE2_MULTILINE;
    if (!m->lines_bound)
        o |= PCRE2_DOTALL;
    return o;
}

static ice_code compile(ice__regex *r, ice_str text, const ice__regex_modes *m, ice_error *err)
{
    int error;
    size_t at;
    uint32_t options = 0;
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    if (!c)
        return ice_fail_nomem(err);
    pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    r->code = pcre2_compile((PCRE2_SPTR)(text.len ? text.ptr : ""), text.len, options_of(m), &error, &at, c);
    pcre2_compile_context_free(c);
    if (!r->code) {
        char why[160];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        return ice_fail(err, ICE_BAD_PATTERN, "invalid regular expression: %s", why);
    }
    pcre2_pattern_info(r->code, PCRE2_INFO_ALLOPTIONS, &options);
    r->anchored = (options & PCRE2_ANCHORED) != 0;
    r->match = pcre2_match_data_create_from_pattern(r->code, NULL);
    pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &r->groups);
    r->context = pcre2_match_context_create(NULL);
    if (!r->match || !r->context)
        return ice_fail_nomem(err);
    pcre2_set_heap_limit(r->context, STACK >> 10);
    return ICE_OK;
}

ice_code ice__regex_compile(ice_str pattern, ice_str letters, ice__regex **out, ice_error *err)
{
    ice__regex_modes modes = {0};
    ice_buf text = {0};
    ice_code rc;
    ice__regex *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return ice_fail_nomem(err);
    if (pattern.len > MAX_PATTERN) {
        rc = ice_fail(err, ICE_BAD_PATTERN, "invalid regular expression: more than %d bytes", MAX_PATTERN);
        goto out;
    }
    ICE_TRY(ice__regex_modes_read(letters, &modes, err));
    ICE_TRY(ice__regex_translate(pattern, &modes, &text, err));
    ICE_TRY(compile(r, ice_buf_str(&text), &modes, err));
    *out = r;
    r = NULL;
out:
    ice_buf_free(&text);
    ice__regex_free(r);
    return rc;
}

/* Places from `from` to `until`, both included, to start a match at. */
static int try(ice__regex *r, ice_str text, size_t from, size_t until)
{
    pcre2_set_offset_limit(r->context, until);
    int n =
        pcre2_match(r->code, (PCRE2_SPTR)text.ptr, text.len, from, PCRE2_NO_UTF_CHECK, r->match, r->context);
    if (n != PCRE2_ERROR_JIT_STACKLIMIT || r->stack)
        return n;
    r->stack = pcre2_jit_stack_create(32 << 10, STACK, NULL);
    if (!r->stack)
        return PCRE2_ERROR_NOMEMORY;
    pcre2_jit_stack_assign(r->context, NULL, r->stack);
    return pcre2_match(r->code, (PCRE2_SPTR)text.ptr, text.len, from, PCRE2_NO_UTF_CHECK, r->match,
                       r->context);
}

static ice_code result_of(int n, bool *out, ice_error *err)
{
    *out = n >= 0;
    switch (n) {
    case PCRE2_ERROR_NOMATCH:
        return ICE_OK;
    case PCRE2_ERROR_NOMEMORY:
        return ice_fail_nomem(err);
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_JIT_STACKLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
        return ice_fail(err, ICE_BAD_PATTERN,
                        "regular expression failed: the pattern has too many ways to match this text");
    default:
        break;
    }
    return n >= 0 ? ICE_OK : ice_fail(err, ICE_INTERNAL, "PCRE2 failed with error %d", n);
}

/* The last place of the window: the byte after it starts a character, or there is none. */
static size_t window_end(const ice__regex *r, ice_str text, size_t from)
{
    if (r->anchored || text.len - from <= WINDOW)
        return text.len;
    size_t to = from + WINDOW;
    while (to + 1 < text.len && ((uint8_t)text.ptr[to + 1] & 0xc0) == 0x80)
        to++;
    return to + 1 < text.len ? to : text.len;
}

ice_code ice__regex_find(ice__regex *r, ice_str text, size_t from, int64_t until, bool *out, ice_error *err)
{
    size_t to;
    if (!text.len)
        text.ptr = "";
    if (++r->uses == JIT_AFTER)
        (void)pcre2_jit_compile(r->code,
                                PCRE2_JIT_COMPLETE); /* without it the same matches are found, slower */
    /* Each round of a repeated group counts as one: a long text has many. */
    size_t tries = MAX_TRIES + 8 * text.len;
    pcre2_set_match_limit(r->context, tries < UINT32_MAX ? (uint32_t)tries : UINT32_MAX);
    for (;;) {
        to = window_end(r, text, from);
        int n = try(r, text, from, to);
        if (n != PCRE2_ERROR_NOMATCH || to == text.len)
            return result_of(n, out, err);
        from = to + 1;
        ice_code rc = ice__regex_check_time(until, err);
        if (rc != ICE_OK)
            return rc;
    }
}

ice_code ice__regex_matches(ice__regex *r, ice_str text, int64_t until, bool *out, ice_error *err)
{
    return ice__regex_find(r, text, 0, until, out, err);
}

unsigned ice__regex_groups(const ice__regex *r)
{
    return r->groups;
}

ice_str ice__regex_group(const ice__regex *r, ice_str text, unsigned group)
{
    const size_t *places = pcre2_get_ovector_pointer(r->match);
    if (group > r->groups || places[2 * group] == PCRE2_UNSET)
        return ICE_STR_NONE;
    size_t from = places[2 * group], to = places[2 * group + 1];
    return (ice_str){(text.len ? text.ptr : "") + from, to > from ? to - from : 0};
}
