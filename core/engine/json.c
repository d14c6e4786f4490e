/* JSON in SQL with jsonb's meaning: ice_json_key orders and compares, ice_json_text prints, ice_json_unquoted
 * too, but a string as its characters, ice_json_normal prints what is equal the same, ice_json_contains is
 * @>, ice_json_has is ?. */
#include "engine/function.h"
#include "schema/jsonb.h"

#include <stdlib.h>

/* Of one thread of a statement. The second argument is mostly the same in every row: it is kept parsed. */
typedef struct workspace {
    ice_arena *row, *kept;
    const ice_json *second;
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
    const ice_json *parsed = NULL;
    if (rc == ICE_OK && (rc = ice_json_parse(w->kept, ice_buf_str(&w->second_text), &parsed, err)) == ICE_OK)
        w->second = parsed;
    return rc;
}

/* Functions of a document and another text are true or false. */
typedef ice_code (*tester)(ice__call *c, size_t row, workspace *w, const ice_str *texts, const ice_json *j,
                           ice_error *err);

/* Functions of one document give bytes or text. */
typedef void (*printer)(const ice_json *j, ice_buf *out);

static ice_code print_row(ice__call *c, size_t row, workspace *w, printer print, const ice_json *j,
                          ice_error *err)
{
    print(j, &w->out);
    ice_code rc = ice_buf_check(&w->out, err);
    return rc == ICE_OK ? ice__call_put(c, row, ice_buf_str(&w->out), err) : rc;
}

static ice_code contains_row(ice__call *c, size_t row, workspace *w, const ice_str *texts, const ice_json *j,
                             ice_error *err)
{
    ice_code rc = parse_second(w, texts[1], err);
    if (rc == ICE_OK)
        ((uint8_t *)c->data)[row] = ice_json_contains(j, w->second);
    return rc;
}

static ice_code has_row(ice__call *c, size_t row, workspace *w, const ice_str *texts, const ice_json *j,
                        ice_error *err)
{
    (void)w, (void)err;
    ((uint8_t *)c->data)[row] = ice_json_has(j, texts[1]);
    return ICE_OK;
}

static ice_code run_row(ice__call *c, size_t row, workspace *w, printer print, tester test, ice_error *err)
{
    ice_str texts[ICE__MAX_ARGS];
    const ice_json *j = NULL;
    bool null;
    ice_code rc = ice__call_row(c, row, texts, &null, err);
    if (rc != ICE_OK || null)
        return rc == ICE_OK && print ? ice__call_put(c, row, ICE_STR(""), err) : rc;
    ice_arena_reset(w->row);
    ice_buf_clear(&w->out);
    if ((rc = ice_json_parse(w->row, texts[0], &j, err)) != ICE_OK)
        return rc;
    return print ? print_row(c, row, w, print, j, err) : test(c, row, w, texts, j, err);
}

static void run(duck_exec info, printer print, tester test, duck_error *slot)
{
    ice_error err = {0};
    ice__call c = {.nargs = 0};
    void *w = NULL;
    ice_code rc = ice__call_open(info, print ? 1 : 2, &c, &err);
    if (rc == ICE_OK)
        rc = ice__call_worker(info, &w, &err);
    for (size_t i = 0; rc == ICE_OK && i < c.count; i++)
        rc = run_row(&c, i, w, print, test, &err);
    if (rc != ICE_OK)
        ice__call_fail(&err, slot);
}

static void on_key(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, ice_json_key, NULL, slot);
}

static void on_text(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, ice_json_text, NULL, slot);
}

static void on_unquoted(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, ice_json_unquoted, NULL, slot);
}

static void on_normal(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, ice_json_normal, NULL, slot);
}

static void on_contains(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, NULL, contains_row, slot);
}

static void on_has(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, NULL, has_row, slot);
}

const ice__function ice__json_functions[] = {
    {"ice_json_key", 1, ICE_T_BINARY, on_key, on_workspace, NULL},
    {"ice_json_text", 1, ICE_T_STRING, on_text, on_workspace, NULL},
    {"ice_json_unquoted", 1, ICE_T_STRING, on_unquoted, on_workspace, NULL},
    {"ice_json_normal", 1, ICE_T_STRING, on_normal, on_workspace, NULL},
    {"ice_json_contains", 2, ICE_T_BOOL, on_contains, on_workspace, NULL},
    {"ice_json_has", 2, ICE_T_BOOL, on_has, on_workspace, NULL},
};
