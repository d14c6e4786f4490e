/* Fuzz entry of the SQL parser: any bytes must give a tree that holds together or a code, never a crash.
 *
 * With clang (from the repository's root):
 *   clang -g -O1 -std=gnu11 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -Icore \
 *       tests/fuzz/fuzz_sql.c core/sql/?*.c core/schema/?*.c core/base/?*.c \
 *       -ljansson -lxxhash -lz -lm -o fuzz_sql && ./fuzz_sql -max_len=4096
 * tests/c/test_sql.c runs the same entry over mutations of a corpus that are the same every time. */
#include <stdio.h>
#include <stdlib.h>

#include "sql/sql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz_sql: %s\n", what);
        abort();
    }
}

static void check_conds(const ice_cond *conds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        must(conds[i].column.len > 0, "a condition names its column");
        must((conds[i].nargs > 0) == (conds[i].op != ICE_CMP_IS_NULL && conds[i].op != ICE_CMP_NOT_NULL),
             "arguments fit the operator");
        for (size_t k = 0; k < conds[i].nargs; k++)
            must(conds[i].args[k].kind == ICE_E_PARAM || conds[i].args[k].kind == ICE_E_CONST,
                 "arguments are plain");
    }
}

static void check_insert(const ice_insert *in)
{
    must(in->table.len > 0, "INSERT has a table");
    must((in->nrows > 0) != (in->select_sql.ptr != NULL), "INSERT has rows or a query");
    must(in->ncols == 0 || in->select_sql.ptr || in->width == in->ncols, "rows are as wide as the columns");
    for (size_t i = 0; i < in->nrows * in->width; i++)
        must(in->values[i].text.len > 0, "each value has its text");
}

static void check_stmt(const ice_stmt *s)
{
    must(s->text.len > 0, "a statement has text");
    if (s->kind == ICE_S_SELECT || s->kind == ICE_S_SELECT_LOCK)
        check_conds(s->select.conds, s->select.nconds);
    if (s->kind == ICE_S_UPDATE || s->kind == ICE_S_DELETE)
        check_conds(s->update.conds, s->update.nconds);
    if (s->kind == ICE_S_INSERT)
        check_insert(&s->insert);
}

static void parse(ice_arena *a, ice_str sql)
{
    ice_error err = {0};
    ice_stmt s, again;
    ice_code rc = ice_sql_parse(a, sql, &s, &err);

    if (rc != ICE_OK) {
        must(rc == err.code && err.message[0], "a failure says why");
        must(ice_utf8_valid(ice_str_c(err.message)) || !ice_utf8_valid(sql), "messages are UTF-8");
        return;
    }
    check_stmt(&s);
    /* Without the locks of its subqueries. */
    must(ice_sql_parse(a, s.text, &again, &err) == ICE_OK && again.nlocks == 0 && (s.nlocks || again.kind == s.kind),
         "a statement's text is that statement");
    for (size_t i = 0; i < s.nlocks; i++)
        must(s.locks[i].lock && s.locks[i].first_kept + s.locks[i].nrels <= s.nkept, "a subquery that locks is counted");
}

static void conditions(ice_arena *a, ice_str text)
{
    ice_tabledef *def = ice_tabledef_create(ICE_STR("t"));
    static const char *const types[] = {"bigint",       "text", "boolean",
                                        "numeric(9,2)", "date", "double precision"};
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    ice_value row[6] = {0}, v;
    ice_pred *p;

    for (size_t i = 0; def && i < 6; i++) {
        ice_column c = {.name = ice_str_c(names[i])};

        must(ice_column_set_sql_type(&c, a, ice_str_c(types[i]), NULL) == ICE_OK, "the type is known");
        must(ice_tabledef_add_column(def, &c, NULL) == ICE_OK, "the column is added");
        row[i] = (ice_value){.kind = c.type.kind, .null = true};
    }
    if (def && ice_pred_compile(a, text, def, &p, NULL) == ICE_OK) {
        int t = ice_pred_eval(p, row);

        must(t >= -1 && t <= 1, "three values");
    }
    ice_constraint check = {.kind = ICE_CON_CHECK, .name = ICE_STR("c"), .check_sql = text};
    if (def && text.len && ice_tabledef_add_constraint(def, &check, NULL) == ICE_OK)
        must(ice_tabledef_rename_column(def, ICE_STR("a"), ICE_STR("x\"y"), NULL) == ICE_OK, "a column is renamed");
    ice_tabledef_free(def);
    if (ice_sql_constant(a, text, &v, NULL) == ICE_OK)
        must(v.null || v.kind != ICE_T_NONE, "a constant has a kind");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ice_str text = {(const char *)data, size};
    ice_arena *a = ice_arena_create();
    ice_sql_text params;

    if (!a)
        return 0;
    parse(a, text);
    if (ice_sql_params(a, text, true, &params, NULL) == ICE_OK)
        parse(a, params.sql);
    conditions(a, text);
    ice_arena_free(a);
    return 0;
}
