/* Collected rows, cursors' columns and rows, RETURNING. */
#include <stdlib.h>

#include "txn/txn_int.h"

static ice_code add_row(ice_arena *a, ice_value ***rows, size_t *n, size_t *cap, const ice_value *row,
                        size_t ncols, ice_error *err)
{
    if (!ICE_ROOM(a, *rows, *n, *cap))
        return ice_fail_nomem(err);
    ice_value *copy = ice_arena_array(a, ncols ? ncols : 1, sizeof *copy);
    if (!copy)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < ncols; i++) {
        ice_code rc = ice_value_copy(a, &row[i], &copy[i], err);
        if (rc != ICE_OK)
            return rc;
    }
    (*rows)[(*n)++] = copy;
    return ICE_OK;
}

ice_code ice__rowset_add(ice__rowset *r, const ice_value *row, ice_error *err)
{
    return add_row(r->arena, &r->rows, &r->n, &r->cap, row, r->ncols, err);
}

ice_code ice__pick_params(ice_arena *a, ice_str *sql, const ice_value **params, size_t *n, ice_error *err)
{
    size_t *picked;
    ice_code rc = ice_sql_pick_params(a, *sql, *n, sql, &picked, n, err);
    if (rc != ICE_OK || !picked)
        return rc;
    ice_value *own = ice_arena_array(a, *n + 1, sizeof *own);
    if (!own)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < *n; i++)
        own[i] = (*params)[picked[i]];
    *params = own;
    return ICE_OK;
}

ice_code ice__collect(ice_session *s, ice__stview *v, ice_str sql, const ice_value *params, size_t n,
                      ice__rowset *out, ice_error *err)
{
    bool more;
    return ice__collect_some(s, v, sql, params, n, 0, &more, out, err);
}

ice_code ice__collect_some(ice_session *s, ice__stview *v, ice_str sql, const ice_value *params, size_t n,
                           size_t limit, bool *more, ice__rowset *out, ice_error *err)
{
    ice__econn *c = NULL;
    ice_result *r = NULL;
    size_t count = 0;
    ice_value *row = NULL;
    *out = (ice__rowset){.arena = ice_arena_create()};
    ice_code rc = out->arena ? ice__econn_get(s, v, &c, err) : ice_fail_nomem(err);
    if (rc != ICE_OK)
        return rc;
    *more = false;
    ICE_TRY(ice__pick_params(out->arena, &sql, &params, &n, err));
    ICE_TRY(ice__econn_run(c, sql, params, n, &r, err));
    const ice_result_column *cols;
    out->ncols = ice_result_columns(r, &cols);
    if (!(row = ice_arena_array(out->arena, out->ncols + 1, sizeof *row))) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    while ((rc = ice_result_next(r, &count, err)) == ICE_OK && count > 0)
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < out->ncols; k++)
                ice_result_value(r, k, i, &row[k]);
            ICE_TRY(ice__rowset_add(out, row, err));
            if ((*more = limit && out->n > limit))
                goto out;
        }
out:
    if (rc != ICE_OK)
        ice__name_damaged(v, err);
    ice_result_close(r);
    ice__econn_release(c);
    return rc;
}

typedef struct row_feed {
    const ice__rowset *rows;
    size_t next;
} row_feed;

static ice_code feed_rows(void *arg, ice_arena *a, ice_value *rows, size_t *n, ice_error *err)
{
    row_feed *f = arg;
    (void)a, (void)err;
    for (*n = 0; *n < ICE_BATCH_ROWS && f->next < f->rows->n; ++*n)
        memcpy(rows + *n * f->rows->ncols, f->rows->rows[f->next++], f->rows->ncols * sizeof *rows);
    return ICE_OK;
}

ice_code ice__collect_over(ice_session *s, ice__stview *v, const ice_column *cols, const ice__rowset *over, ice_str sql,
                           const ice_value *params, size_t n, ice__rowset *out, ice_error *err)
{
    row_feed feed = {.rows = over};
    ice_code rc = ice_stream_source_create(cols, over->ncols, feed_rows, &feed, &v->stream, err);
    if (rc == ICE_OK)
        rc = ice__collect(s, v, sql, params, n, out, err);
    if (v->stream)
        v->stream->m->release(v->stream);
    v->stream = NULL;
    return rc;
}

/* ---- cursors ---- */

ice_code ice__cursor_column(ice_cursor *c, ice_str name, ice_type type, ice_str duck_type, ice_error *err)
{
    ice_result_column *grown = ice_arena_array(c->arena, c->ncols + 1, sizeof *grown);
    if (!grown)
        return ice_fail_nomem(err);
    if (c->ncols)
        memcpy(grown, c->cols, c->ncols * sizeof *grown);
    grown[c->ncols] =
        (ice_result_column){ice_arena_str(c->arena, name), type, ice_arena_str(c->arena, duck_type)};
    c->cols = grown;
    c->ncols++;
    return ICE_OK;
}

ice_code ice__cursor_row(ice_cursor *c, const ice_value *row, ice_error *err)
{
    return add_row(c->arena, &c->rows, &c->nrows, &c->cap_rows, row, c->ncols, err);
}

size_t ice_cursor_columns(const ice_cursor *c, const ice_result_column **cols)
{
    if (cols)
        *cols = c->cols;
    return c->ncols;
}

ice_code ice_cursor_next(ice_cursor *c, size_t *count, ice_error *err)
{
    if (c->result) {
        ice_code rc = ice_result_next(c->result, count, err);
        if (rc != ICE_OK)
            ice__name_damaged(c->econn->view, err);
        return rc;
    }
    c->batch_first = c->next_row;
    size_t left = c->nrows - c->next_row;
    *count = left < 1024 ? left : 1024;
    c->next_row += *count;
    return ICE_OK;
}

void ice_cursor_value(ice_cursor *c, size_t col, size_t row, ice_value *out)
{
    if (c->result)
        ice_result_value(c->result, col, row, out);
    else
        *out = c->rows[c->batch_first + row][col];
}

int64_t ice_cursor_rowcount(const ice_cursor *c)
{
    return c->rowcount;
}
const char *ice_cursor_path(const ice_cursor *c)
{
    return c->path;
}

void ice_cursor_close(ice_cursor *c)
{
    if (!c)
        return;
    ice_session *s = c->session;
    bool foreign = s->fork_generation != ice__fork_generation();
    if (!foreign) {
        ice_result_close(c->result);
        if (c->econn)
            ice__econn_release(c->econn);
        ice__stview_unref(c->view);
    }
    ice_arena_free(c->arena);
    free(c);
}

/* ---- columns of tables ---- */

bool ice__is_interval(const ice_column *col)
{
    return ice_str_eqc(col->sql_type, "interval");
}

ice_code ice__cursor_shows(ice_cursor *c, const ice_column *col, ice_str name, ice_error *err)
{
    ice_buf duck = {0};
    if (ice__is_interval(col))
        ice_buf_puts(&duck, ICE__INTERVAL);
    else
        ice_duck_type(col, &duck);
    ice_code rc = ice__cursor_column(c, name, col->type, ice_buf_str(&duck), err);
    ice_buf_free(&duck);
    return rc;
}
