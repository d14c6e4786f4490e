/* INSERT … ON CONFLICT: which key it is about, and what becomes of the rows that are there (PostgreSQL,
 * INSERT, "ON CONFLICT Clause").
 *
 * Rows are put one after another, because each may clash with what an earlier one left. New values that only
 * the engine can compute are computed for all rows at once before, from the rows that clash then: none of
 * them changes meanwhile, as a row is changed no more than once by the statement. */
#include "txn/write.h"

/* Are these the target's columns, in any order? */
static bool target_is(const ice_insert *st, const ice_tabledef *def, const int *cols, size_t n)
{
    size_t same = 0;
    for (size_t i = 0; i < st->nconflict_cols; i++)
        for (size_t c = 0; c < n; c++)
            same += ice_str_eq(def->cols[cols[c]].name, st->conflict_cols[i]);
    return st->nconflict_cols && st->nconflict_cols == n && same == n;
}

/* Does the target name this conditional or functional key? Its condition and its expressions are written
 * alike. */
static bool target_names(const ice__conflict *c, const ice_constraint *con)
{
    const ice_insert *st = c->st;
    const ice_tabledef *def = c->b->def;
    ice_arena *a = c->b->s->scratch;
    int cols[64];
    if (!ice__engine_unique(def, con) || con->ncols > 64)
        return false;
    if (st->conflict_constraint.ptr)
        return ice_str_eq(con->name, st->conflict_constraint);
    if (con->where_sql.ptr &&
        !(st->conflict_where.ptr && ice_sql_same_expr(a, con->where_sql, st->conflict_where)))
        return false;
    if (con->expr_sql.ptr)
        return ice_sql_same_expr(a, con->expr_sql, st->conflict_target);
    for (size_t i = 0; i < con->ncols; i++)
        cols[i] = ice_tabledef_find_id(def, con->field_ids[i]);
    return target_is(st, def, cols, con->ncols);
}

/* The conflict target must be a unique key; conflicts with others are errors still. */
static ice_code find_target(ice__conflict *c, ice_error *err)
{
    const ice_insert *st = c->st;
    const ice_tabledef *def = c->b->def;
    const ice_keys *keys = c->b->keys;
    c->any = !st->conflict_target.ptr && !st->conflict_constraint.ptr;
    for (size_t k = 0; k < keys->n && !c->any && !c->key; k++) {
        const ice_key *key = &keys->keys[k];
        bool named =
            st->conflict_constraint.ptr && key->con && ice_str_eq(key->con->name, st->conflict_constraint);
        if (key->unique && !(key->con && ice__engine_unique(def, key->con)) &&
            (named || target_is(st, def, key->cols, key->ncols)))
            c->key = key;
    }
    for (size_t i = 0; i < def->ncons && !c->any && !c->key && !c->con; i++)
        if (target_names(c, &def->cons[i]))
            c->con = &def->cons[i];
    return c->any || c->key || c->con
               ? ICE_OK
               : ice_fail(err, ICE_SYNTAX,
                          "there is no unique constraint on \"%.*s\" matching the ON CONFLICT specification",
                          ICE_PRI(def->name));
}

/* The columns that DO UPDATE sets, and whether their values are at hand: constants, parameters, EXCLUDED's.
 */
static ice_code read_set(ice__conflict *c, ice_error *err)
{
    const ice_insert *st = c->st;
    const ice_tabledef *def = c->b->def;
    if (!(c->set = ICE_NEW_N(c->b->s->scratch, int, st->nset + 1)))
        return ice_fail_nomem(err);
    c->simple = !st->set_where.ptr;
    for (size_t i = 0; i < st->nset; i++) {
        const ice_expr *e = &st->set_exprs[i];
        bool excluded = e->kind == ICE_E_EXCLUDED;
        int from = excluded ? ice_tabledef_find(def, e->column) : 0;
        ice_value v;
        c->set[i] = ice_tabledef_find(def, st->set_cols[i]);
        if (c->set[i] < 0 || from < 0)
            return ice_fail(err, ICE_NO_COLUMN, "column \"%.*s\" does not exist",
                            ICE_PRI(c->set[i] < 0 ? st->set_cols[i] : e->column));
        c->simple &= excluded || ice__expr_value(e, &def->cols[c->set[i]], c->params, &v);
    }
    return ICE_OK;
}

ice_code ice__conflict_open(ice__conflict *c, ice__batch *b, const ice_insert *st, const ice_value *params,
                            size_t n, ice_error *err)
{
    *c = (ice__conflict){.b = b, .st = st, .params = params, .nparams = n, .began = b->s->tx.seq};
    ice_code rc = find_target(c, err);
    return rc == ICE_OK ? read_set(c, err) : rc;
}

void ice__conflict_close(ice__conflict *c)
{
    ice_arena_free(c->news.arena);
    c->news.arena = NULL;
}

static ice_code find_clash(ice__conflict *c, const ice_value *row, ice_row *out, bool *clash, ice_error *err)
{
    *clash = false;
    return c->key   ? ice__find_by_key(c->b, c->key, row, out, clash, err)
           : c->con ? ice__find_by_engine(c->b, c->con, row, out, clash, err)
                    : ICE_OK;
}

/* ---- new values by the engine ---- */

/* Each row's number, whether WHERE holds, and the new values. */
static ice_code values_sql(const ice__conflict *c, ice_buf *sql, ice_error *err)
{
    const ice_insert *st = c->st;
    const ice_tabledef *def = c->b->def;
    ice_str name = st->alias.ptr ? st->alias : def->name;
    ice__pairs_with(sql);
    ice_buf_printf(sql, "SELECT excluded.__ice_row, (%.*s)",
                   ICE_PRI(st->set_where.ptr ? st->set_where : ICE_STR("TRUE")));
    for (size_t i = 0; i < st->nset; i++)
        ice_buf_printf(sql, ", %.*s", ICE_PRI(st->set_exprs[i].text));
    ice_buf_puts(sql, " FROM ");
    ice__pairs_side(def, 'o', name, sql);
    ice_buf_puts(sql, " JOIN ");
    ice__pairs_side(def, 'e', ICE_STR("excluded"), sql);
    ice_buf_puts(sql, " ON ");
    ice_buf_put_ident(sql, name);
    ice_buf_puts(sql, ".__ice_row = excluded.__ice_row");
    return ice_buf_check(sql, err);
}

/* The batch's rows that clash now, each with the row that is there. */
static ice_code clashing_pairs(ice__conflict *c, ice__pairs *out, ice_error *err)
{
    ice__batch *b = c->b;
    ice_value *old = ICE_NEW_N(b->s->scratch, ice_value, b->def->ncols + 1);
    ice_code rc = old ? ICE_OK : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < b->n; i++) {
        bool clash;
        ice_row row;
        rc = find_clash(c, b->rows[i].values, &row, &clash, err);
        if (rc == ICE_OK && clash)
            rc = ice_view_row(&b->latest, &row, b->def->cols, b->def->ncols, b->s->scratch, old, err);
        if (rc == ICE_OK && clash)
            rc = ice__pairs_add(out, i, old, b->rows[i].values, err);
    }
    return rc;
}

ice_code ice__conflict_prepare(ice__conflict *c, ice_error *err)
{
    ice__batch *b = c->b;
    ice__pairs pairs = {0};
    ice_buf sql = {0};
    ice_code rc = ICE_OK;
    if (c->simple)
        return ICE_OK;
    if (!(c->computed = ICE_NEW_N(b->s->scratch, ice_value *, b->n + 1)))
        return ice_fail_nomem(err);
    ICE_TRY(ice__pairs_open(&pairs, b->def, "oe", err));
    ICE_TRY(clashing_pairs(c, &pairs, err));
    if (pairs.rows.n == 0)
        goto out;
    ICE_TRY(values_sql(c, &sql, err));
    ICE_TRY(ice__collect_over(b->s, b->v, pairs.cols, &pairs.rows, ice_buf_str(&sql), c->params, c->nparams,
                              &c->news, err));
    for (size_t i = 0; i < c->news.n; i++)
        c->computed[c->news.rows[i][0].i] = c->news.rows[i] + 1;
out:
    ice_buf_free(&sql);
    ice__pairs_close(&pairs);
    return rc;
}

/* ---- one row ---- */

/* The conflicting row's new values; *wanted: WHERE holds. */
static ice_code new_values(ice__conflict *c, size_t at, const ice_value *excluded, ice_value *out,
                           bool *wanted, ice_error *err)
{
    const ice_insert *st = c->st;
    const ice_tabledef *def = c->b->def;
    const ice_value *computed = c->computed ? c->computed[at] : NULL;
    ice_code rc = ICE_OK;
    if (!c->simple && !computed) /* what clashes now did before the first row was put */
        return ice_fail(err, ICE_INTERNAL, "a row of \"%.*s\" clashes with one that was not there",
                        ICE_PRI(def->name));
    *wanted = c->simple || (!computed[0].null && computed[0].b);
    for (size_t i = 0; *wanted && i < st->nset && rc == ICE_OK; i++) {
        const ice_column *col = &def->cols[c->set[i]];
        const ice_expr *e = &st->set_exprs[i];
        ice_value v;
        if (!c->simple)
            v = computed[i + 1];
        else if (e->kind == ICE_E_EXCLUDED)
            v = excluded[ice_tabledef_find(def, e->column)];
        else
            (void)ice__expr_value(e, col, c->params, &v);
        rc = ice__coerce(c->b->s, col, &v, &out[c->set[i]], err);
    }
    return rc;
}

static ice_code update_conflicting(ice__conflict *c, size_t at, const ice_row *row, const ice_value **result,
                                   ice_error *err)
{
    ice__batch *b = c->b;
    size_t n = b->def->ncols;
    bool wanted, waited = false;
    ice__write_row up = {0};
    ice_value *old = ice_arena_array(b->s->scratch, n, sizeof *old);
    up.values = ice_arena_array(b->s->scratch, n, sizeof *up.values);
    if (!old || !up.values)
        return ice_fail_nomem(err);
    if (row->where == ICE_IN_OVERLAY && ice_ref_start(row->ref) > c->began)
        return ice_fail(err, ICE_CARDINALITY,
                        "ON CONFLICT DO UPDATE cannot change a row of \"%.*s\" a second time: two of the "
                        "statement's rows "
                        "have the same key",
                        ICE_PRI(b->def->name));
    ice_code rc = ice_view_row(&b->latest, row, b->def->cols, n, b->s->scratch, old, err);
    if (rc == ICE_OK)
        rc = ice__key_of(b, old, &up.key, err);
    if (rc == ICE_OK && !b->t->exclusive)
        rc = ice__tx_lock(b->s, ice__lock_row(b->def->uuid, ice_key_hash(up.key, b->keys->keys[0].ncols)),
                          ICE_LOCK_EXCLUSIVE, false, &waited, err);
    if (rc == ICE_OK && waited)
        return ice_fail(err, ICE_CONFLICT, "a row of \"%.*s\" changed meanwhile", ICE_PRI(b->def->name));
    if (rc != ICE_OK)
        return rc;
    memcpy(up.values, old, n * sizeof *old);
    rc = new_values(c, at, b->rows[at].values, up.values, &wanted, err);
    if (rc != ICE_OK || !wanted)
        return rc;
    up.before = old;
    if ((rc = ice__finish_rows(b, &up.values, 1, err)) == ICE_OK)
        rc = ice__end_version(b, up.key, row->where == ICE_IN_OVERLAY ? 0 : row->start, ICE_OP_UPDATE, err);
    if (rc == ICE_OK)
        rc = ice__put_row(b, &up, ICE_OP_UPDATE, NULL, err);
    *result = up.values;
    return rc;
}

ice_code ice__conflict_put(ice__conflict *c, size_t at, const ice_value **result, ice_error *err)
{
    ice__write_row *w = &c->b->rows[at];
    ice_row row;
    bool clash;
    ice_code rc = find_clash(c, w->values, &row, &clash, err);
    *result = w->values;
    if (rc == ICE_OK && !clash)
        rc = ice__put_row(c->b, w, ICE_OP_INSERT, c->any ? &clash : NULL, err);
    if (rc != ICE_OK || !clash)
        return rc;
    *result = NULL;
    return c->st->nset ? update_conflicting(c, at, &row, result, err) : ICE_OK;
}
