/* Scalar functions that PostgreSQL has and DuckDB has not, or answers otherwise. Registered with the
 * instance, so that every connection and every view of a plan finds them. A function sees rows of texts; a
 * row with a NULL among them is NULL. */
#include "engine/engine_int.h"
#include "engine/regex.h"

#include <nettle/nettle-meta.h>
#include <nettle/sha2.h>
#include <stdlib.h>

#define MAX_ARGS 3

/* ---- rows of texts ---- */

typedef struct call {
    duck_view args[MAX_ARGS];
    size_t nargs, count;
    duck_vector result;
    void *data; /* of the result */
    uint64_t *validity;
} call;

static bool text_at(const duck_view *v, size_t row, ice_str *out)
{
    size_t i = v->sel ? v->sel[row] : row;
    if (v->validity && !(v->validity[i >> 6] >> (i & 63) & 1))
        return false;
    const duck_string *s = (const duck_string *)v->data + i;
    *out = (ice_str){s->length <= DUCK_INLINE ? s->inlined : s->ptr, s->length};
    return true;
}

static ice_code open_arg(duck_exec info, size_t i, duck_view *out, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_vector v = NULL;
    int form = 0;
    ICE_DUCK(NULL, scalar_function_exec_get_arg(info, i, &v, &de_));
    ICE_DUCK(NULL, vector_get_vector_type(v, &form, &de_));
    if (form == DUCK_VECTOR_OTHER)
        ICE_DUCK(NULL, vector_flatten(v, &de_));
    ICE_DUCK(NULL, vector_get_view(v, out, &de_));
out:
    return rc;
}

static ice_code open_call(duck_exec info, size_t nargs, call *c, ice_error *err)
{
    ice_code rc = ICE_OK;
    uint64_t count = 0;
    c->nargs = nargs;
    ICE_DUCK(NULL, scalar_function_exec_get_row_count(info, &count, &de_));
    for (size_t i = 0; i < nargs; i++)
        ICE_TRY(open_arg(info, i, &c->args[i], err));
    ICE_DUCK(NULL, scalar_function_exec_get_result(info, &c->result, &de_));
    ICE_DUCK(NULL, vector_set_size(c->result, count, &de_));
    ICE_DUCK(NULL, vector_get_data_mutable(c->result, &c->data, &de_));
    c->count = count;
out:
    return rc;
}

/* The texts of one row; false where one is NULL, and the result then is. */
static ice_code row_texts(call *c, size_t row, ice_str *texts, bool *null, ice_error *err)
{
    ice_code rc = ICE_OK;
    *null = false;
    for (size_t i = 0; i < c->nargs; i++)
        if (!text_at(&c->args[i], row, &texts[i])) {
            *null = true;
            if (!c->validity)
                ICE_DUCK(NULL, vector_flat_get_validity_mutable(c->result, &c->validity, &de_));
            c->validity[row >> 6] &= ~(1ull << (row & 63));
            break;
        }
out:
    return rc;
}

static void fail_call(const ice_error *e, duck_error *slot)
{
    duck_str text = {e->message, strlen(e->message)};
    ice__duck.error_info_set_code(*slot, e->code == ICE_NOMEM ? DUCK_NO_MEMORY : DUCK_INVALID);
    ice__duck.error_info_set_text(*slot, &text);
}

static ice_code put_text(call *c, size_t row, const char *p, size_t n, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_string *out = (duck_string *)c->data + row;
    duck_arena arena = NULL;
    uint8_t *copy = NULL;
    memset(out, 0, sizeof *out);
    out->length = (uint32_t)n;
    if (n <= DUCK_INLINE) {
        memcpy(out->inlined, p, n);
        return ICE_OK;
    }
    ICE_DUCK(NULL, vector_get_arena(c->result, &arena, &de_));
    ICE_DUCK(NULL, arena_allocate(arena, n, &copy, &de_));
    memcpy(copy, p, n);
    memcpy(out->prefix, p, sizeof out->prefix);
    out->ptr = (const char *)copy;
out:
    return rc;
}

/* ---- SHA-2, as hexadecimal digits like DuckDB's md5, sha1 and sha256 ---- */

static ice_code digest_row(call *c, size_t row, const struct nettle_hash *hash, ice_error *err)
{
    union {
        struct sha256_ctx small;
        struct sha512_ctx large;
    } ctx;
    uint8_t sum[SHA512_DIGEST_SIZE];
    char hex[2 * SHA512_DIGEST_SIZE];
    ice_str text;
    bool null;
    ice_code rc = row_texts(c, row, &text, &null, err);
    if (rc != ICE_OK || null)
        return rc == ICE_OK ? put_text(c, row, "", 0, err) : rc;
    hash->init(&ctx);
    hash->update(&ctx, text.len, (const uint8_t *)text.ptr);
    hash->digest(&ctx, hash->digest_size, sum);
    for (size_t i = 0; i < hash->digest_size; i++) {
        hex[2 * i] = "0123456789abcdef"[sum[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
    }
    return put_text(c, row, hex, (size_t)2 * hash->digest_size, err);
}

static void on_digest(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    ice_error err = {0};
    call c = {.nargs = 0};
    void *hash = NULL;
    ice_code rc = open_call(info, 1, &c, &err);
    if (rc == ICE_OK && ice__duck.scalar_function_exec_get_user_data(info, &hash, NULL) != DUCK_OK)
        rc = ice_fail(&err, ICE_ENGINE, "a function lost what it computes");
    for (size_t i = 0; rc == ICE_OK && i < c.count; i++)
        rc = digest_row(&c, i, hash, &err);
    if (rc != ICE_OK)
        fail_call(&err, slot);
}

/* ---- regular expressions ---- */

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
    ice_error err = {0};
    duck_opaque data = {calloc(1, sizeof(patterns)), patterns_free, NULL};
    if (!data.ptr) {
        ice_fail_nomem(&err);
        fail_call(&err, slot);
    } else if (ice__duck.scalar_function_init_set_init_data(info, &data, NULL) != DUCK_OK) {
        patterns_free(data.ptr);
        ice_fail(&err, ICE_ENGINE, "a function has no room for patterns");
        fail_call(&err, slot);
    }
}

static ice_code match_rows(call *c, patterns *all, ice_error *err)
{
    ice_str texts[MAX_ARGS] = {{"", 0}, {"", 0}, {"", 0}};
    ice__regex *regex;
    ice_code rc = ICE_OK;
    int64_t until = ice__thread_time() + 10000000000ll;
    for (size_t i = 0; rc == ICE_OK && i < c->count; i++) {
        bool null, yes = false;
        rc = row_texts(c, i, texts, &null, err);
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
    call c = {.nargs = 0};
    void *all = NULL;
    ice_code rc = open_call(info, nargs, &c, &err);
    if (rc == ICE_OK && (ice__duck.scalar_function_exec_get_init_data(info, &all, NULL) != DUCK_OK || !all))
        rc = ice_fail(&err, ICE_ENGINE, "a function lost its patterns");
    if (rc == ICE_OK)
        rc = match_rows(&c, all, &err);
    if (rc != ICE_OK)
        fail_call(&err, slot);
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

/* ---- registration ---- */

typedef struct spec {
    const char *name;
    size_t nargs;
    uint8_t returns; /* kind */
    duck_exec_fn run;
    duck_init_fn worker; /* NULL: none */
    const void *data;
} spec;

static const spec specs[] = {
    {"sha224", 1, ICE_T_STRING, on_digest, NULL, &nettle_sha224},
    {"sha384", 1, ICE_T_STRING, on_digest, NULL, &nettle_sha384},
    {"sha512", 1, ICE_T_STRING, on_digest, NULL, &nettle_sha512},
    {"regexp_like", 2, ICE_T_BOOL, on_matches, on_patterns, NULL},
    {"regexp_like", 3, ICE_T_BOOL, on_matches_letters, on_patterns, NULL},
};

static ice_code describe(ice_engine *e, const spec *s, duck_function f, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_str name = {s->name, strlen(s->name)};
    duck_signature sig = NULL;
    duck_opaque data = {(void *)s->data, NULL, NULL};
    duck_type text = ice__duck_type(e, (ice_type){.kind = ICE_T_STRING});
    duck_type returns = ice__duck_type(e, (ice_type){.kind = s->returns});
    ICE_DUCK(NULL, scalar_function_set_name(f, &name, &de_));
    ICE_DUCK(NULL, scalar_function_get_signature(f, &sig, &de_));
    for (size_t i = 0; i < s->nargs; i++) {
        duck_str arg = {&"abc"[i], 1};
        ICE_DUCK(NULL, function_signature_add_parameter(sig, &arg, text, NULL, DUCK_BY_POSITION, &de_));
    }
    ICE_DUCK(NULL, function_signature_set_return_type(sig, returns, &de_));
    ICE_DUCK(NULL, scalar_function_set_user_data(f, &data, &de_));
    ICE_DUCK(NULL, scalar_function_set_exec_callback(f, s->run, &de_));
    if (s->worker)
        ICE_DUCK(NULL, scalar_function_set_init_callback(f, s->worker, &de_));
out:
    return rc;
}

/* What DuckDB makes of ~, ~*, !~ and !~*. A function of that name would be taken for DuckDB's own by its
 * optimizer. */
static const char operators[] =
    "CREATE MACRO regexp_matches(a, b) AS regexp_like(a, b), (a, b, c) AS regexp_like(a, b, c)";

static ice_code define_operators(ice_engine *e, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_statements all = NULL;
    duck_statement macro = NULL;
    duck_result result = NULL;
    ICE_DUCK(NULL, parse_sql(e->setup, operators, &all, &de_));
    ICE_DUCK(NULL, statement_iterator_next(all, &macro, &de_));
    ICE_DUCK(NULL, statement_execute(e->setup, macro, NULL, NULL, 0, &result, &de_));
    ICE_DUCK(NULL, result_drain(result, &(uint64_t){0}, &de_));
out:
    ice__duck.result_destroy(&result);
    ice__duck.sql_statement_destroy(&macro);
    ice__duck.statement_iterator_destroy(&all);
    return rc;
}

ice_code ice__functions_register(ice_engine *e, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_function f = NULL;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        ICE_DUCK(NULL, scalar_function_create(e->factory, &f, &de_));
        ICE_TRY(describe(e, &specs[i], f, err));
        ICE_DUCK(NULL, connection_register_scalar_function(e->setup, f, &de_));
        ice__duck.scalar_function_destroy(&f);
    }
    ICE_TRY(define_operators(e, err));
out:
    ice__duck.scalar_function_destroy(&f);
    return rc;
}
