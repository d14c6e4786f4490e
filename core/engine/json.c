/* JSON in SQL with jsonb's meaning: ice_json_key orders and compares, ice_json_text prints, ice_json_contains
 * is @>, ice_json_has is ?. */
#include "engine/function.h"
#include "engine/jsonb.h"

#include <stdlib.h>

/* Of one thread of a statement. The second argument is mostly the same in every row: it is kept parsed. */
typedef struct workspace {
    ice_arena *row, *kept;
    const ice__json *second;
    ice_buf second_text, out;
} workspace;

static void workspace_free(void *p)
{
    workspace *w = p;
    ice_arena_free(w->row);
    ice_arena_free(w->kept);
    ice_buf_free(&w->second_text);
    ice_buf_free(&w->out);
    free(w);
}

static void on_workspace(duck_init info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    workspace *w = calloc(1, sizeof *w);
    if (w && (!(w->row = ice_arena_create()) || !(w->kept = ice_arena_create()))) {
        workspace_free(w);
        w = NULL;
    }
    ice__worker_set(info, w, workspace_free, slot);
}

static ice_code parse_second(workspace *w, ice_str text, ice_error *err)
{
    if (w->second && ice_str_eq(text, ice_buf_str(&w->second_text)))
        return ICE_OK;
    w->second = NULL;
    ice_arena_reset(w->kept);
    ice_buf_clear(&w->second_text);
    ice_buf_put_str(&w->second_text, text);
    ice_code rc = ice_buf_check(&w->second_text, err);
    const ice__json *parsed = NULL;
    if (rc == ICE_OK && (rc = ice__json_parse(w->kept, ice_buf_str(&w->second_text), &parsed, err)) == ICE_OK)
        w->second = parsed;
    return rc;
}

typedef ice_code (*row_function)(ice__call *c, size_t row, workspace *w, const ice_str *texts,
                                 const ice__json *j, ice_error *err);

static ice_code put_out(ice__call *c, size_t row, workspace *w, ice_error *err)
{
    ice_code rc = ice_buf_check(&w->out, err);
    return rc == ICE_OK ? ice__call_put(c, row, ice_buf_str(&w->out), err) : rc;
}

static ice_code key_row(ice__call *c, size_t row, workspace *w, const ice_str *texts, const ice__json *j,
                        ice_error *err)
{
    (void)texts;
    ice__json_key(j, &w->out);
    return put_out(c, row, w, err);
}

static ice_code text_row(ice__call *c, size_t row, workspace *w, const ice_str *texts, const ice__json *j,
                         ice_error *err)
{
    (void)texts;
    ice__json_text(j, &w->out);
    return put_out(c, row, w, err);
}

static ice_code contains_row(ice__call *c, size_t row, workspace *w, const ice_str *texts, const ice__json *j,
                             ice_error *err)
{
    ice_code rc = parse_second(w, texts[1], err);
    if (rc == ICE_OK)
        ((uint8_t *)c->data)[row] = ice__json_contains(j, w->second);
    return rc;
}

static ice_code has_row(ice__call *c, size_t row, workspace *w, const ice_str *texts, const ice__json *j,
                        ice_error *err)
{
    (void)w, (void)err;
    ((uint8_t *)c->data)[row] = ice__json_has(j, texts[1]);
    return ICE_OK;
}

static ice_code run_row(ice__call *c, size_t row, workspace *w, row_function f, bool gives_text,
                        ice_error *err)
{
    ice_str texts[ICE__MAX_ARGS];
    const ice__json *j = NULL;
    bool null;
    ice_code rc = ice__call_row(c, row, texts, &null, err);
    if (rc != ICE_OK || null)
        return rc == ICE_OK && gives_text ? ice__call_put(c, row, ICE_STR(""), err) : rc;
    ice_arena_reset(w->row);
    ice_buf_clear(&w->out);
    rc = ice__json_parse(w->row, texts[0], &j, err);
    return rc == ICE_OK ? f(c, row, w, texts, j, err) : rc;
}

static void run(duck_exec info, size_t nargs, row_function f, duck_error *slot)
{
    ice_error err = {0};
    ice__call c = {.nargs = 0};
    void *w = NULL;
    ice_code rc = ice__call_open(info, nargs, &c, &err);
    if (rc == ICE_OK)
        rc = ice__call_worker(info, &w, &err);
    for (size_t i = 0; rc == ICE_OK && i < c.count; i++)
        rc = run_row(&c, i, w, f, nargs == 1, &err);
    if (rc != ICE_OK)
        ice__call_fail(&err, slot);
}

static void on_key(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, 1, key_row, slot);
}

static void on_text(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, 1, text_row, slot);
}

static void on_contains(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, 2, contains_row, slot);
}

static void on_has(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, 2, has_row, slot);
}

const ice__function ice__json_functions[] = {
    {"ice_json_key", 1, ICE_T_BINARY, on_key, on_workspace, NULL},
    {"ice_json_text", 1, ICE_T_STRING, on_text, on_workspace, NULL},
    {"ice_json_contains", 2, ICE_T_BOOL, on_contains, on_workspace, NULL},
    {"ice_json_has", 2, ICE_T_BOOL, on_has, on_workspace, NULL},
};
