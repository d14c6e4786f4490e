/* INSERT, with ON CONFLICT and RETURNING. */
#include <stdlib.h>

#include "txn/bulk.h"

typedef struct insert {
    ice__batch b;
    const ice_insert *st;
    const ice_value *params;
    size_t nparams;
    size_t ntarget;
    int *target;    /* definition positions of the statement's columns */
    uint8_t *given; /* by definition position */
    ice__defaults defaults;
    ice__conflict conflict;
    ice__returning returning;
    ice_cursor *c;
    int64_t changed;
} insert;

static ice_code insert_targets(insert *in, ice_error *err)
{
    const ice_insert *st = in->st;
    const ice_tabledef *def = in->b.def;
    size_t hidden = ice_tabledef_find(def, ICE_STR("_row_key")) >= 0;
    in->ntarget = st->ncols            ? st->ncols
                  : st->default_values ? 0
                  : st->select_sql.ptr ? def->ncols - hidden
                                       : st->width;
    in->target = ice_arena_array(in->b.s->scratch, in->ntarget + 1, sizeof *in->target);
    in->given = ice_arena_array(in->b.s->scratch, def->ncols + 1, 1);
    if (!in->target || !in->given)
        return ice_fail_nomem(err);
    if (!st->ncols && in->ntarget > def->ncols - hidden)
        return ice_fail(err, ICE_SYNTAX, "INSERT has more values than \"%.*s\" has columns",
                        ICE_PRI(def->name));
    for (size_t i = 0; i < in->ntarget; i++) {
        int at = st->ncols ? ice_tabledef_find(def, st->cols[i]) : (int)i;
        if (!st->ncols && hidden && at >= ice_tabledef_find(def, ICE_STR("_row_key")))
            at++;
        if (at < 0)
            return ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" of table \"%.*s\" does not exist",
                            ICE_PRI(st->cols[i]), ICE_PRI(def->name));
        if (in->given[at]++)
            return ice_fail(err, ICE_DUP_COLUMN, "column \"%.*s\" is given twice", ICE_PRI(st->cols[i]));
        in->target[i] = at;
    }
    return ICE_OK;
}

static ice_code insert_value(insert *in, const ice_expr *e, int at, ice_value *out, bool *defaulted,
                             ice_error *err)
{
    const ice_column *col = &in->b.def->cols[at];
    ice_session *s = in->b.s;
    ice_value v;
    *defaulted = e->kind == ICE_E_DEFAULT;
    if (*defaulted)
        return ICE_OK;
    if (col->generated_sql.ptr)
        return ice_fail(err, ICE_SYNTAX, "column \"%.*s\" is generated: only DEFAULT can be given",
                        ICE_PRI(col->name));
    if (!ice__expr_value(e, col, in->params, &v)) {
        ice_code rc = ice__eval_sql(s, in->b.v, e->text, in->params, in->nparams, &v, err);
        if (rc != ICE_OK)
            return rc;
    }
    return ice__coerce(s, col, &v, out, err);
}

/* Fills what a row leaves out: defaults, and marks for identity columns (resolved for all rows at once). */
static ice_code insert_defaults(insert *in, ice_value *row, const uint8_t *given, ice_error *err)
{
    const ice_tabledef *def = in->b.def;
    for (size_t i = 0; i < def->ncols; i++) {
        const ice_column *col = &def->cols[i];
        if (given[i])
            continue;
        if (col->generated_sql.ptr) {
            row[i] = ICE_NULL; /* to come */
            continue;
        }
        if (col->identity) {
            row[i] = (ice_value){.kind = ICE_T_NONE, .null = false}; /* to come */
            continue;
        }
        ice_code rc = ice__defaults_next(&in->defaults, i, &row[i], err);
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

static ice_code insert_values(insert *in, ice_error *err)
{
    const ice_tabledef *def = in->b.def;
    uint8_t *given = ice_arena_array(in->b.s->scratch, def->ncols + 1, 1);
    if (!given)
        return ice_fail_nomem(err);
    for (size_t r = 0; r < in->st->nrows; r++) {
        ice__write_row *w;
        ice_code rc = ice__batch_add(&in->b, &w, err);
        if (rc != ICE_OK)
            return rc;
        if (!(w->values = ice_arena_array(in->b.s->scratch, def->ncols, sizeof *w->values)))
            return ice_fail_nomem(err);
        memcpy(given, in->given, def->ncols);
        for (size_t i = 0; i < in->ntarget; i++) {
            bool defaulted = false;
            int at = in->target[i];
            rc = insert_value(in, &in->st->values[r * in->ntarget + i], at, &w->values[at], &defaulted, err);
            if (rc != ICE_OK)
                return rc;
            given[at] = !defaulted;
        }
        if ((rc = insert_defaults(in, w->values, given, err)) != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* Conflicts are found row by row, and generated columns are known only once they are written. */
static bool bulk_possible(const insert *in)
{
    bool generated = false;
    for (size_t i = 0; i < in->b.def->ncols; i++)
        generated |= in->b.def->cols[i].generated_sql.ptr != NULL;
    return in->b.s->bulk_rows > 1 && !in->st->on_conflict && !(generated && in->st->returning);
}

/* *many: so many rows that the bulk path is the one to take; none is added then. */
static ice_code insert_select(insert *in, bool *many, ice_error *err)
{
    ice__rowset rows = {0};
    const ice_tabledef *def = in->b.def;
    ice_code rc;
    size_t limit = bulk_possible(in) ? in->b.s->bulk_rows - 1 : 0;
    ICE_TRY(ice__collect_some(in->b.s, in->b.v, in->st->select_sql, in->params, in->nparams, limit, many, &rows, err));
    if (rows.ncols != in->ntarget) {
        rc = ice_fail(err, ICE_SYNTAX, "INSERT names %zu columns but its SELECT has %zu", in->ntarget,
                      rows.ncols);
        goto out;
    }
    for (size_t r = 0; !*many && r < rows.n; r++) {
        ice__write_row *w;
        ICE_TRY(ice__batch_add(&in->b, &w, err));
        if (!(w->values = ice_arena_array(in->b.s->scratch, def->ncols, sizeof *w->values))) {
            rc = ice_fail_nomem(err);
            goto out;
        }
        for (size_t i = 0; i < in->ntarget; i++) {
            ice_value v;
            ICE_TRY(ice__coerce(in->b.s, &def->cols[in->target[i]], &rows.rows[r][i], &v, err));
            ICE_TRY(ice_value_copy(in->b.s->scratch, &v, &w->values[in->target[i]], err));
        }
        ICE_TRY(insert_defaults(in, w->values, in->given, err));
    }
out:
    ice_arena_free(rows.arena);
    return rc;
}

static ice_code insert_identities(insert *in, ice_error *err)
{
    ice__batch *b = &in->b;
    for (size_t i = 0; i < b->def->ncols; i++) {
        const ice_column *col = &b->def->cols[i];
        int64_t wanted = 0, next = 0, most = 0;
        ice_code rc = ICE_OK;
        if (!col->identity)
            continue;
        for (size_t r = 0; r < b->n; r++) {
            const ice_value *v = &b->rows[r].values[i];
            wanted += !v->null && v->kind == ICE_T_NONE;
            if (!v->null && v->kind != ICE_T_NONE && v->i > most)
                most = v->i;
        }
        if (most > 0 && most < INT64_MAX)
            rc = ice__identity_used(b->s, b->view, col, most, err);
        if (rc == ICE_OK && wanted)
            rc = ice__next_identity(b->s, b->view, col, wanted, &next, err);
        for (size_t r = 0; rc == ICE_OK && wanted && r < b->n; r++) {
            ice_value *v = &b->rows[r].values[i];
            if (v->null || v->kind != ICE_T_NONE)
                continue;
            ice_value id = {.kind = ICE_T_LONG, .i = next++};
            rc = ice__coerce(b->s, col, &id, v, err);
        }
        if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

static ice_code insert_one(insert *in, size_t i, ice_error *err)
{
    ice__batch *b = &in->b;
    const ice_insert *st = in->st;
    const ice_value *result = b->rows[i].values;
    ice_code rc = st->on_conflict ? ice__conflict_put(&in->conflict, i, &result, err)
                                  : ice__put_row(b, &b->rows[i], ICE_OP_INSERT, NULL, err);
    if (rc != ICE_OK || !result)
        return rc;
    in->changed++;
    return st->returning ? ice__returning_row(&in->returning, result, err) : ICE_OK;
}

/* ---- the bulk path ---- */

typedef struct bulk_insert {
    insert *in;
    int64_t *next, *end; /* of each identity column */
} bulk_insert;

static ice_code bulk_identity(bulk_insert *u, ice__bulk *k, size_t at, ice_value *v, ice_error *err)
{
    const ice_column *col = &k->def->cols[at];
    ice_code rc = ICE_OK;
    if (!v->null && v->kind != ICE_T_NONE)
        return v->i > 0 && v->i < INT64_MAX ? ice__identity_used(k->s, k->view, col, v->i, err) : ICE_OK;
    if (v->null)
        return ICE_OK;
    if (u->next[at] == u->end[at]) { /* for the rest of the query's chunk */
        int64_t rest = (int64_t)(k->count - k->next + 1);
        rc = ice__next_identity(k->s, k->view, col, rest, &u->next[at], err);
        u->end[at] = u->next[at] + rest;
    }
    ice_value id = {.kind = ICE_T_LONG, .i = u->next[at]++};
    return rc == ICE_OK ? ice__coerce(k->s, col, &id, v, err) : rc;
}

static ice_code bulk_row(void *arg, ice__bulk *k, const ice_value *row, ice_arena *a, ice_value *out, bool *taken,
                         ice_error *err)
{
    bulk_insert *u = arg;
    const ice_insert *st = u->in->st;
    ice_code rc = ICE_OK;
    memset(out, 0, k->def->ncols * sizeof *out);
    for (size_t i = 0; i < u->in->ntarget; i++) {
        int at = u->in->target[i];
        ice_value v;
        ICE_TRY(ice__coerce(k->s, &k->def->cols[at], &row[i], &v, err));
        ICE_TRY(ice_value_copy(a, &v, &out[at], err));
    }
    ICE_TRY(insert_defaults(u->in, out, u->in->given, err));
    for (size_t i = 0; i < k->def->ncols; i++)
        if (k->def->cols[i].identity)
            ICE_TRY(bulk_identity(u, k, i, &out[i], err));
    ICE_TRY(ice__bulk_check_row(k, out, err));
    k->changed++;
    *taken = true;
    if (st->returning)
        rc = ice__returning_row(&u->in->returning, out, err);
out:
    return rc;
}

static ice_code run_bulk(insert *in, ice_error *err)
{
    ice_session *s = in->b.s;
    bulk_insert u = {.in = in};
    ice__bulk k;
    ice_code rc;
    ICE_TRY(ice__bulk_open(&k, s, in->b.def->uuid, in->st->table, false, err));
    u.next = ICE_NEW_N(s->scratch, int64_t, k.def->ncols + 1);
    u.end = ICE_NEW_N(s->scratch, int64_t, k.def->ncols + 1);
    if (!u.next || !u.end) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    ICE_TRY(ice__bulk_run(&k, in->st->select_sql, in->params, in->nparams, true, bulk_row, &u, err));
    ICE_TRY(ice__bulk_finish(&k, NULL, err));
    in->c->rowcount = k.changed;
    in->c->path = "bulk";
out:
    ice__bulk_close(&k);
    return rc;
}

ice_code ice__run_insert(ice_session *s, ice_prepared *p, const ice_value *params, size_t n, ice__stview *v,
                         ice_cursor *c, ice_error *err)
{
    insert in = {.st = &p->stmt.insert, .params = params, .nparams = n, .c = c};
    ice__batch *b = &in.b;
    bool many = false;
    ice_code rc;
    ICE_TRY(ice__batch_open(b, s, v, in.st->table, err));
    ICE_TRY(insert_targets(&in, err));
    ICE_TRY(ice__defaults_open(&in.defaults, s, b->def, in.st->select_sql.ptr ? INT64_MAX : in.st->nrows, err));
    ICE_TRY(in.st->select_sql.ptr ? insert_select(&in, &many, err) : insert_values(&in, err));
    if (in.st->on_conflict)
        ICE_TRY(ice__conflict_open(&in.conflict, b, in.st, params, n, err));
    if (in.st->returning)
        ICE_TRY(ice__returning_open(&in.returning, s, c, b->def, in.st->returning_star, in.st->nreturning,
                                    in.st->returning_exprs, in.st->returning_names, err));
    if (many) {
        ICE_TRY(run_bulk(&in, err));
        goto returned;
    }
    ICE_TRY(insert_identities(&in, err));
    ICE_TRY(ice__batch_finish(b, err));
    c->rowcount = 0;
    c->path = "fast";
    if (b->n > 0) {
        ICE_TRY(ice__batch_lock_table(b, err));
        ICE_TRY(ice__batch_lock_rows(b, err));
        ICE_TRY(ice__batch_verify(b, err));
        ICE_TRY(ice__batch_overlay(b, err));
        if (in.st->nset)
            ICE_TRY(ice__conflict_prepare(&in.conflict, err));
        else
            ICE_TRY(ice__batch_uniques(b, in.st->on_conflict, err));
        for (size_t i = 0; i < b->n; i++)
            ICE_TRY(insert_one(&in, i, err));
    }
    c->rowcount = in.changed;
returned:
    ICE_TRY(ice__returning_end(&in.returning, err));
out:
    ice__defaults_close(&in.defaults);
    ice__conflict_close(&in.conflict);
    ice__returning_close(&in.returning);
    ice__batch_close(b);
    return rc;
}
