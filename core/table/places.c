/* Places of rows that something took out, as rows of a source that a scan of files is joined with; and what else
 * texts of such scans have in common. */
#include <stdlib.h>

#include "table/table_int.h"

void ice__places_free(ice__places *l)
{
    free(l->files), free(l->positions), free(l->ends), free(l->operations);
    *l = (ice__places){0};
}

static ice_code grow(ice__places *l, ice_error *err)
{
    uint64_t cap = l->cap ? l->cap * 2 : 256;
    int64_t *files = realloc(l->files, cap * sizeof *files);
    l->files = files ? files : l->files;
    int64_t *positions = realloc(l->positions, cap * sizeof *positions);
    l->positions = positions ? positions : l->positions;
    int64_t *ends = realloc(l->ends, cap * sizeof *ends);
    l->ends = ends ? ends : l->ends;
    ice_strval *operations = realloc(l->operations, cap * sizeof *operations);
    l->operations = operations ? operations : l->operations;
    if (!files || !positions || !ends || !operations)
        return ice_fail_nomem(err);
    l->cap = cap;
    return ICE_OK;
}

static ice_str operation_name(uint8_t op)
{
    return op == ICE_OP_DELETE ? ICE_STR("delete") : ICE_STR("update");
}

static ice_code add(ice__places *l, uint64_t pos, int64_t end, uint8_t op, ice_error *err)
{
    if (l->n == l->cap && grow(l, err) != ICE_OK)
        return ICE_NOMEM;
    ice_str name = operation_name(op);
    l->files[l->n] = l->file;
    l->positions[l->n] = (int64_t)pos;
    l->ends[l->n] = end;
    l->operations[l->n++] = (ice_strval){name.ptr, (uint32_t)name.len};
    return ICE_OK;
}

ice_code ice__places_add_dead(void *l, const ice__dead_row *r, ice_error *err)
{
    return add(l, r->pos, r->end, r->op, err);
}

ice_code ice__places_add_vector(ice__places *l, const ice_dv *dv, ice_error *err)
{
    uint64_t at[256], from = 0;
    size_t n;
    ice_code rc = ICE_OK;
    while (dv && rc == ICE_OK && (n = ice_dv_positions(dv, from, at, 256)) > 0) {
        for (size_t i = 0; i < n && rc == ICE_OK; i++)
            rc = add(l, at[i], 0, 0, err);
        from = at[n - 1] + 1;
    }
    return rc;
}

ice_code ice__places_add_others(ice__places *l, const ice_dv *set, uint64_t rows, ice_error *err)
{
    uint64_t at[256], next = 0;
    size_t n;
    ice_code rc = ICE_OK;
    while (rc == ICE_OK && (n = ice_dv_positions(set, next, at, 256)) > 0)
        for (size_t i = 0; i < n && rc == ICE_OK; i++) {
            for (; next < at[i] && rc == ICE_OK; next++)
                rc = add(l, next, 0, 0, err);
            next = at[i] + 1;
        }
    for (; rc == ICE_OK && next < rows; next++)
        rc = add(l, next, 0, 0, err);
    return rc;
}

static void *copy(ice_arena *a, const void *from, uint64_t n, size_t width)
{
    void *to = ice_arena_array(a, n + 1, width);
    if (to && n)
        memcpy(to, from, n * width);
    return to;
}

static ice_code make_source(ice_arena *a, const ice__places *l, bool ended, ice_source **out, ice_error *err)
{
    static const ice_column cols[] = {
        {.name = {"file", 4}, .type = {.kind = ICE_T_LONG}},
        {.name = {"pos", 3}, .type = {.kind = ICE_T_LONG}},
        {.name = {"_row_end", 8}, .type = {.kind = ICE_T_TIMESTAMPTZ}},
        {.name = {"_operation", 10}, .type = {.kind = ICE_T_STRING}},
    };
    ice_vec vecs[4];
    for (size_t i = 0; i < 4; i++)
        vecs[i] = (ice_vec){.type = cols[i].type};
    vecs[0].data = copy(a, l->files, l->n, sizeof *l->files);
    vecs[1].data = copy(a, l->positions, l->n, sizeof *l->positions);
    vecs[2].data = copy(a, l->ends, l->n, sizeof *l->ends);
    vecs[3].strs = copy(a, l->operations, l->n, sizeof *l->operations);
    ice_vec *kept = copy(a, vecs, 4, sizeof *vecs);
    if (!vecs[0].data || !vecs[1].data || !vecs[2].data || !vecs[3].strs || !kept)
        return ice_fail_nomem(err);
    return ice__list_source_create(a, cols, kept, ended ? 4 : 2, l->n, out, err);
}

ice_code ice__places_source(const ice__places *l, bool ended, ice_source **out, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_code rc = a ? make_source(a, l, ended, out, err) : ice_fail_nomem(err);
    if (rc != ICE_OK)
        ice_arena_free(a);
    return rc;
}

/* ---- texts ---- */

void ice__put_null(const ice_column *c, ice_buf *b)
{
    ice_buf_puts(b, "CAST(NULL AS ");
    ice_duck_type(c, b);
    ice_buf_puts(b, ")");
}

void ice__put_time(int64_t t, ice_buf *b)
{
    ice_value v = {.kind = ICE_T_TIMESTAMPTZ, .i = t};
    ice_value_literal(&v, (ice_type){.kind = ICE_T_TIMESTAMPTZ}, b);
}

void ice__put_operation(uint8_t op, ice_buf *b)
{
    ice_buf_put_quoted(b, operation_name(op));
}
