/* Scalar functions that PostgreSQL has and DuckDB has not, or answers otherwise. Registered with the
 * instance, so that every connection and every view of a plan finds them. A function sees rows of texts; a
 * row with a NULL among them is NULL. */
#include "engine/function.h"

/* ---- rows of texts ---- */

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

ice_code ice__call_open(duck_exec info, size_t nargs, ice__call *c, ice_error *err)
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

ice_code ice__call_null(ice__call *c, size_t row, ice_error *err)
{
    ice_code rc = ICE_OK;
    if (!c->validity)
        ICE_DUCK(NULL, vector_flat_get_validity_mutable(c->result, &c->validity, &de_));
    c->validity[row >> 6] &= ~(1ull << (row & 63));
out:
    return rc;
}

ice_code ice__call_row(ice__call *c, size_t row, ice_str *texts, bool *null, ice_error *err)
{
    *null = false;
    for (size_t i = 0; i < c->nargs && !*null; i++)
        *null = !text_at(&c->args[i], row, &texts[i]);
    return *null ? ice__call_null(c, row, err) : ICE_OK;
}

ice_code ice__call_worker(duck_exec info, void **out, ice_error *err)
{
    *out = NULL;
    if (ice__duck.scalar_function_exec_get_init_data(info, out, NULL) != DUCK_OK || !*out)
        return ice_fail(err, ICE_ENGINE, "a function lost the state of its thread");
    return ICE_OK;
}

void ice__worker_set(duck_init info, void *data, void (*release)(void *), duck_error *slot)
{
    ice_error err = {0};
    duck_opaque opaque = {data, release, NULL};
    if (data && ice__duck.scalar_function_init_set_init_data(info, &opaque, NULL) == DUCK_OK)
        return;
    if (data) {
        release(data);
        ice_fail(&err, ICE_ENGINE, "a function found no place for the state of its thread");
    } else {
        ice_fail_nomem(&err);
    }
    ice__call_fail(&err, slot);
}

void ice__call_fail(const ice_error *e, duck_error *slot)
{
    duck_str text = {e->message, strlen(e->message)};
    ice__duck.error_info_set_code(*slot, e->code == ICE_NOMEM   ? DUCK_NO_MEMORY
                                         : e->code == ICE_RANGE ? DUCK_OUT_OF_RANGE
                                                                : DUCK_INVALID);
    ice__duck.error_info_set_text(*slot, &text);
}

ice_code ice__call_put(ice__call *c, size_t row, ice_str text, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_string *out = (duck_string *)c->data + row;
    duck_arena arena = NULL;
    uint8_t *copy = NULL;
    memset(out, 0, sizeof *out);
    out->length = (uint32_t)text.len;
    if (text.len <= DUCK_INLINE) {
        memcpy(out->inlined, text.len ? text.ptr : "", text.len);
        return ICE_OK;
    }
    ICE_DUCK(NULL, vector_get_arena(c->result, &arena, &de_));
    ICE_DUCK(NULL, arena_allocate(arena, text.len, &copy, &de_));
    memcpy(copy, text.ptr, text.len);
    memcpy(out->prefix, text.ptr, sizeof out->prefix);
    out->ptr = (const char *)copy;
out:
    return rc;
}

/* ---- registration ---- */

static ice_code describe(ice_engine *e, const ice__function *s, duck_function f, ice_error *err)
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
        duck_str arg = {&"abcd"[i], 1};
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

/* Names of DuckDB's own that mean ours. Functions of these names would be taken for DuckDB's by its optimizer. The first is
 * what it makes of ~, ~*, !~ and !~*. SUBSTRING(a FROM b) is by place where b is a number, by pattern where it is a text. */
static const char *const macros[] = {
    "CREATE MACRO regexp_matches(a, b) AS regexp_like(a, b), (a, b, c) AS regexp_like(a, b, c)",
    "CREATE MACRO regexp_replace(a, b, c) AS ice_regexp_replace(a, b, c, ''), (a, b, c, d) AS "
    "ice_regexp_replace(a, b, c, d)",
    "CREATE MACRO substring(a, b) AS CASE typeof(b) WHEN 'VARCHAR' THEN ice_regexp_substring(a, CAST(b AS VARCHAR)) "
    "ELSE system.main.substring(a, TRY_CAST(b AS BIGINT)) END, (a, b, c) AS system.main.substring(a, b, c)",
};

static ice_code define_macro(ice_engine *e, const char *sql, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_statements all = NULL;
    duck_statement macro = NULL;
    duck_result result = NULL;
    ICE_DUCK(NULL, parse_sql(e->setup, sql, &all, &de_));
    ICE_DUCK(NULL, statement_iterator_next(all, &macro, &de_));
    ICE_DUCK(NULL, statement_execute(e->setup, macro, NULL, NULL, 0, &result, &de_));
    ICE_DUCK(NULL, result_drain(result, &(uint64_t){0}, &de_));
out:
    ice__duck.result_destroy(&result);
    ice__duck.sql_statement_destroy(&macro);
    ice__duck.statement_iterator_destroy(&all);
    return rc;
}

static ice_code register_all(ice_engine *e, const ice__function *all, size_t n, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_function f = NULL;
    for (size_t i = 0; i < n; i++) {
        ICE_DUCK(NULL, scalar_function_create(e->factory, &f, &de_));
        ICE_TRY(describe(e, &all[i], f, err));
        ICE_DUCK(NULL, connection_register_scalar_function(e->setup, f, &de_));
        ice__duck.scalar_function_destroy(&f);
    }
out:
    ice__duck.scalar_function_destroy(&f);
    return rc;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

ice_code ice__functions_register(ice_engine *e, ice_error *err)
{
    ice_code rc = ICE_OK;
    ICE_TRY(register_all(e, ice__cast_functions, COUNT(ice__cast_functions), err));
    ICE_TRY(register_all(e, ice__digest_functions, COUNT(ice__digest_functions), err));
    ICE_TRY(register_all(e, ice__match_functions, COUNT(ice__match_functions), err));
    ICE_TRY(register_all(e, ice__json_functions, COUNT(ice__json_functions), err));
    ICE_TRY(register_all(e, ice__number_functions, COUNT(ice__number_functions), err));
    for (size_t i = 0; i < COUNT(macros); i++)
        ICE_TRY(define_macro(e, macros[i], err));
out:
    return rc;
}
