/* What only the engine can tell about the rows of a statement, asked for all of them at once: generated
 * columns, CHECK constraints, conditional and functional unique keys. A question costs the engine half a
 * millisecond, for one row or for thousands. */
#include <stdio.h>
#include <string.h>

#include "txn/write.h"

#define NUMBER ICE_STR("__ice_row")

/* ---- rows as a relation ---- */

ice_code ice__pairs_open(ice__pairs *p, const ice_tabledef *def, const char *sides, ice_error *err)
{
    size_t n = def->ncols, nsides = strlen(sides);
    ice_arena *a = ice_arena_create();
    *p = (ice__pairs){.def = def, .rows = {.arena = a, .ncols = nsides * n + 1}};
    if (!a)
        return ice_fail_nomem(err);
    p->cols = ICE_NEW_N(a, ice_column, p->rows.ncols);
    p->row = ICE_NEW_N(a, ice_value, p->rows.ncols);
    if (!p->cols || !p->row)
        return ice_fail_nomem(err);
    p->cols[0] = (ice_column){.name = NUMBER, .type = {.kind = ICE_T_LONG}};
    for (size_t i = 0; i < nsides * n; i++) {
        char name[32];
        int len = snprintf(name, sizeof name, "%c%zu", sides[i / n], i % n);
        p->cols[i + 1] = def->cols[i % n];
        p->cols[i + 1].name = ice_arena_str(a, (ice_str){name, (size_t)len});
        if (!p->cols[i + 1].name.ptr)
            return ice_fail_nomem(err);
    }
    return ICE_OK;
}

void ice__pairs_close(ice__pairs *p)
{
    ice_arena_free(p->rows.arena);
    p->rows.arena = NULL;
}

ice_code ice__pairs_add(ice__pairs *p, size_t number, const ice_value *first, const ice_value *second,
                        ice_error *err)
{
    size_t n = p->def->ncols;
    p->row[0] = (ice_value){.kind = ICE_T_LONG, .i = (int64_t)number};
    memcpy(p->row + 1, first, n * sizeof *first);
    if (second)
        memcpy(p->row + 1 + n, second, n * sizeof *second);
    return ice__rowset_add(&p->rows, p->row, err);
}

void ice__pairs_with(ice_buf *sql)
{
    ice_buf_puts(sql, "WITH __ice_rows AS MATERIALIZED (SELECT * FROM __stream) ");
}

void ice__pairs_side(const ice_tabledef *def, char side, ice_str name, ice_buf *sql)
{
    ice_buf_printf(sql, "(SELECT %.*s", ICE_PRI(NUMBER));
    for (size_t i = 0; i < def->ncols; i++) {
        const ice_column *col = &def->cols[i];
        ice_buf_printf(sql, ", CAST(%c%zu AS ", side, i);
        ice_duck_type(col, sql);
        ice_buf_puts(sql, ")");
        if (ice_column_collated(col)) {
            ice_buf_puts(sql, " COLLATE ");
            ice_buf_put_ident(sql, col->collation);
        }
        ice_buf_puts(sql, " AS ");
        ice_buf_put_ident(sql, col->name);
    }
    ice_buf_puts(sql, " FROM __ice_rows) AS ");
    ice_buf_put_ident(sql, name);
}

/* `sql` over rows of the table, under their own view: it reads no table, or the newest state of the batch's.
 */
static ice_code ask(ice__batch *b, ice_value *const *rows, size_t n, ice_buf *sql, ice__rowset *out,
                    ice_error *err)
{
    ice__pairs p = {0};
    ice__stview *v = NULL;
    ice_code rc = ice_buf_check(sql, err);
    if (rc == ICE_OK)
        rc = ice__pairs_open(&p, b->def, "n", err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++)
        rc = ice__pairs_add(&p, i, rows[i], NULL, err);
    if (rc == ICE_OK)
        rc = ice__stview_open(b->s, 0, &v, err);
    if (rc == ICE_OK) {
        v->with_start = true; /* hidden keys are seen too */
        rc = ice__collect_over(b->s, v, p.cols, &p.rows, ice_buf_str(sql), NULL, 0, out, err);
    }
    ice__stview_unref(v);
    ice__pairs_close(&p);
    return rc;
}

/* ---- generated columns, CHECK ---- */

static ice_code compile(ice__batch *b, ice_error *err)
{
    const ice_tabledef *def = b->def;
    if (!(b->checks = ICE_NEW_N(b->s->scratch, ice_pred *, def->ncons + 1)))
        return ice_fail_nomem(err);
    for (size_t i = 0; i < def->ncons; i++) {
        ice_error ignored;
        if (def->cons[i].kind == ICE_CON_CHECK &&
            ice_pred_compile(b->s->scratch, def->cons[i].check_sql, def, &b->checks[i], &ignored) != ICE_OK) {
            b->checks[i] = NULL;
            b->engine_checks = true;
        }
    }
    for (size_t i = 0; i < def->ncols; i++)
        b->generated |= def->cols[i].generated_sql.ptr != NULL;
    return ICE_OK;
}

static ice_code generate(ice__batch *b, ice_value **rows, size_t n, ice_error *err)
{
    const ice_tabledef *def = b->def;
    ice__rowset got = {0};
    ice_buf sql = {0};
    ice_code rc = ICE_OK;
    ice__pairs_with(&sql);
    ice_buf_printf(&sql, "SELECT %.*s", ICE_PRI(NUMBER));
    for (size_t i = 0; i < def->ncols; i++) {
        if (!def->cols[i].generated_sql.ptr)
            continue;
        ice_buf_printf(&sql, ", %.*s", ICE_PRI(def->cols[i].generated_sql));
        for (size_t r = 0; r < n; r++)
            rows[r][i] = ICE_NULL;
    }
    ice_buf_puts(&sql, " FROM ");
    ice__pairs_side(def, 'n', def->name, &sql);
    ICE_TRY(ask(b, rows, n, &sql, &got, err));
    for (size_t r = 0; r < got.n; r++) {
        ice_value *row = rows[got.rows[r][0].i];
        for (size_t i = 0, at = 1; i < def->ncols; i++) {
            if (!def->cols[i].generated_sql.ptr)
                continue;
            ICE_TRY(ice__coerce(b->s, &def->cols[i], &got.rows[r][at++], &row[i], err));
            ICE_TRY(ice_value_copy(b->s->scratch, &row[i], &row[i], err));
        }
    }
out:
    ice_buf_free(&sql);
    ice_arena_free(got.arena);
    return rc;
}

/* The first of the rows that the engine finds to break a CHECK, and of its constraints the first. */
static ice_code check_by_engine(ice__batch *b, ice_value **rows, size_t n, ice_error *err)
{
    const ice_tabledef *def = b->def;
    ice__rowset got = {0};
    ice_buf sql = {0};
    ice_code rc = ICE_OK;
    ice__pairs_with(&sql);
    ice_buf_puts(&sql, "SELECT CASE");
    for (size_t i = 0; i < def->ncons; i++)
        if (def->cons[i].kind == ICE_CON_CHECK && !b->checks[i])
            ice_buf_printf(&sql, " WHEN (%.*s) IS FALSE THEN %zu", ICE_PRI(def->cons[i].check_sql), i);
    ice_buf_printf(&sql, " END AS __ice_broken FROM ");
    ice__pairs_side(def, 'n', ICE_STR("r"), &sql);
    ice_buf_printf(&sql, " WHERE __ice_broken IS NOT NULL ORDER BY %.*s LIMIT 1", ICE_PRI(NUMBER));
    ICE_TRY(ask(b, rows, n, &sql, &got, err));
    if (got.n > 0)
        rc = ice__check_fail(def, &def->cons[got.rows[0][0].i], err);
out:
    ice_buf_free(&sql);
    ice_arena_free(got.arena);
    return rc;
}

static ice_code check_row(const ice__batch *b, const ice_value *row, ice_error *err)
{
    const ice_tabledef *def = b->def;
    for (size_t i = 0; i < def->ncols; i++)
        if (row[i].null && def->cols[i].not_null)
            return ice__null_fail(def, &def->cols[i], err);
    for (size_t i = 0; i < def->ncons; i++)
        if (b->checks[i] && ice_pred_eval(b->checks[i], row) == 0)
            return ice__check_fail(def, &def->cons[i], err);
    return ICE_OK;
}

ice_code ice__finish_rows(ice__batch *b, ice_value **rows, size_t n, ice_error *err)
{
    ice_code rc = b->checks ? ICE_OK : compile(b, err);
    if (rc == ICE_OK && b->generated && n)
        rc = generate(b, rows, n, err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++)
        rc = check_row(b, rows[i], err);
    return rc == ICE_OK && b->engine_checks && n ? check_by_engine(b, rows, n, err) : rc;
}

ice_code ice__batch_finish(ice__batch *b, ice_error *err)
{
    ice_value **rows = ICE_NEW_N(b->s->scratch, ice_value *, b->n + 1);
    if (!rows)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < b->n; i++)
        rows[i] = b->rows[i].values;
    return ice__finish_rows(b, rows, b->n, err);
}

/* ---- conditional and functional unique keys ---- */

/* One row where two of the new rows agree in the key, or one with a row that is there. */
static ice_code clashes_sql(ice__batch *b, const ice_constraint *con, ice_buf *sql, ice_error *err)
{
    ice_str where = con->where_sql.ptr ? con->where_sql : ICE_STR("TRUE");
    size_t n = 0;
    ice__pairs_with(sql);
    for (int there = 0; there < 2; there++) {
        ice_buf_puts(sql, there ? "), __ice_there AS (SELECT " : ", __ice_new AS MATERIALIZED (SELECT ");
        if ((n = ice__put_key(b, con, sql, err)) == 0)
            return err->code;
        ice_buf_puts(sql, " FROM ");
        if (there)
            ice_buf_put_ident(sql, b->def->name);
        else
            ice__pairs_side(b->def, 'n', ICE_STR("r"), sql);
        ice_buf_printf(sql, " WHERE (%.*s)", ICE_PRI(where));
    }
    ice_buf_puts(sql, ") (SELECT 1 FROM __ice_new");
    for (size_t i = 0; i < n && !con->nulls_not_distinct; i++)
        ice_buf_printf(sql, "%s__k%zu IS NOT NULL", i ? " AND " : " WHERE ", i);
    for (size_t i = 0; i < n; i++)
        ice_buf_printf(sql, "%s__k%zu", i ? ", " : " GROUP BY ", i);
    ice_buf_puts(
        sql,
        " HAVING count(*) > 1 LIMIT 1) UNION ALL (SELECT 1 FROM __ice_new AS a, __ice_there AS b WHERE ");
    for (size_t i = 0; i < n; i++)
        ice_buf_printf(sql, "%sa.__k%zu %s b.__k%zu", i ? " AND " : "", i,
                       con->nulls_not_distinct ? "IS NOT DISTINCT FROM" : "=", i);
    ice_buf_puts(sql, " LIMIT 1)");
    return ice_buf_check(sql, err);
}

/* The first key in which the batch's rows clash; NULL: none. */
static ice_code find_clashes(ice__batch *b, const ice_constraint **found, ice_error *err)
{
    ice_value **rows = ICE_NEW_N(b->s->scratch, ice_value *, b->n + 1);
    ice_code rc = rows ? ICE_OK : ice_fail_nomem(err);
    *found = NULL;
    for (size_t i = 0; rc == ICE_OK && i < b->n; i++)
        rows[i] = b->rows[i].values;
    for (size_t i = 0; rc == ICE_OK && !*found && i < b->def->ncons; i++) {
        ice__rowset got = {0};
        ice_buf sql = {0};
        if (!ice__engine_unique(b->def, &b->def->cons[i]))
            continue;
        rc = clashes_sql(b, &b->def->cons[i], &sql, err);
        if (rc == ICE_OK)
            rc = ask(b, rows, b->n, &sql, &got, err);
        if (rc == ICE_OK && got.n > 0)
            *found = &b->def->cons[i];
        ice_buf_free(&sql);
        ice_arena_free(got.arena);
    }
    return rc;
}

ice_code ice__batch_uniques(ice__batch *b, bool leave_out, ice_error *err)
{
    const ice_constraint *found;
    if (!b->engine_uniques || b->n < 2)
        return ICE_OK;
    ice_code rc = find_clashes(b, &found, err);
    if (rc == ICE_OK && found && !leave_out)
        rc = ice__unique_fail(b->def, found, NULL, NULL, err);
    b->engine_uniques = found != NULL;
    return rc;
}
