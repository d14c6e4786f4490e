/* Pruned answers against unpruned ones: random predicates over columns of every type, files of several
 * schemas and partition specs, deleted rows and a tail; and the same with a wrong verdict planted, which must
 * be found. */
#include "flush_world.h"

static const struct {
    const char *name, *type;
} columns[] = {
    {"id", "bigint"},    {"i", "integer"},
    {"l", "bigint"},     {"d", "double precision"},
    {"f", "real"},       {"n", "numeric(9, 2)"},
    {"s", "text"},       {"b", "boolean"},
    {"dt", "date"},      {"tz", "timestamp with time zone"},
    {"ts", "timestamp"}, {"tm", "time"},
    {"u", "uuid"},       {"x", "bytea"},
};
enum { COLUMNS = sizeof columns / sizeof *columns, ROWS = 60 };

/* What a column's values are compared with, in SQL: its name, then literals. */
static const char *const literals[][9] = {
    {"id", "0", "59", "60", "125", "840", "-1", "9999", NULL},
    {"i", "0", "100", "159", "160", "305", "-5", "2147483647", "5000000000"},
    {"l", "-9223372036854775808", "0", "1000003", "3000009", "-2000006", "7", "9223372036854775807", NULL},
    {"d", "'nan'::DOUBLE", "-0.0::DOUBLE", "0.0::DOUBLE", "25.5", "'inf'::DOUBLE", "-1e300", "42", NULL},
    {"f", "'nan'::FLOAT", "0.0::FLOAT", "30.5::FLOAT", "-1::FLOAT", "3", "12.25", NULL},
    {"n", "0.00", "1.25", "300.50", "-5", "1234567.89", "0.005", NULL},
    {"s", "''", "'k3'", "'a text of more than sixteen letters 2'", "'a text of more t'",
     "'a text of more tz'", "'\xc3\xa9'", "'zz'", NULL},
    {"dt", "DATE '2020-01-01'", "DATE '2020-03-15'", "DATE '2020-06-30'", "DATE '1969-12-31'",
     "DATE '2021-01-01'", NULL},
    {"tz", "TIMESTAMPTZ '2020-01-01 00:00:00+00'", "TIMESTAMPTZ '2020-03-10 02:00:00+02'",
     "TIMESTAMPTZ '2020-04-01 12:00:00-05'", "DATE '2020-04-01'", NULL},
    {"ts", "TIMESTAMP '2020-01-01 00:00:00'", "TIMESTAMP '2020-03-10 02:00:00'", "DATE '2020-04-01'", NULL},
    {"tm", "TIME '00:00:00'", "TIME '03:00:30'", "TIME '23:59:59'", NULL},
    {"u", "'00000000-0000-0000-0000-000000000000'::UUID", "'00000003-0000-0000-0000-000000000005'::UUID",
     "'80000000-0000-0000-0000-000000000000'::UUID", NULL},
    {"x", "'\\x00'::BLOB", "'\\x03\\xff'::BLOB", "'abc'::BLOB", NULL},
};
/* Once the schema has changed. */
static const char *const later[][9] = {
    {"b", "'old'", "'new 7'", "'new 9'", "''", NULL},
    {"extra", "7", "8", "100", "905", NULL},
};
enum { LITERALS = sizeof literals / sizeof *literals, LATER = sizeof later / sizeof *later };

static ice_tabledef *wide_def(world *w)
{
    ice_tabledef *d = ice_tabledef_create(ICE_STR("wide"));
    int32_t id = 1;
    for (size_t i = 0; i < COLUMNS; i++) {
        ice_column c = {.name = ice_str_c(columns[i].name), .not_null = i == 0};
        OK(ice_column_set_sql_type(&c, w->arena, ice_str_c(columns[i].type), &w->err));
        OK(ice_tabledef_add_column(d, &c, &w->err));
    }
    ice_constraint key = {.kind = ICE_CON_PRIMARY, .name = ICE_STR("key"), .ncols = 1, .field_ids = &id};
    OK(ice_tabledef_add_constraint(d, &key, &w->err));
    return d;
}

/* File k: values near k, some NULL, and in some files nothing but NULL in a column. */
static void stage(world *w, int k, bool evolved)
{
    ice_buf sql = {0};
    ice_buf_printf(
        &sql,
        "SELECT id, CASE WHEN k %% 5 <> 4 AND r %% 7 THEN k * 100 + r END, (k - 5) * 1000003 + r * (k %% 2), "
        "CASE WHEN r %% 31 = 3 AND k %% 3 = 0 THEN 'nan'::DOUBLE WHEN r %% 29 = 1 THEN -0.0 WHEN r %% 6 THEN "
        "k * 10 + r / 10.0 END, "
        "CASE WHEN k %% 4 = 3 THEN CASE WHEN r %% 2 THEN 'nan'::FLOAT END ELSE (k * 10 + r / 4.0)::FLOAT "
        "END, "
        "CASE WHEN r %% 3 THEN (k * 100 + r / 4.0)::DECIMAL(9, 2) END, "
        "CASE WHEN k %% 3 = 0 THEN 'a text of more than sixteen letters ' || k WHEN k %% 3 = 1 THEN 'k' || k "
        "|| chr(233) ELSE CASE WHEN r %% 4 THEN '' END END, %s, "
        "DATE '2020-01-01' + CAST(k * 15 + r AS INTEGER), TIMESTAMPTZ '2020-01-01 00:00:00+00' + "
        "to_hours(CAST(k * 240 + r AS INTEGER)), "
        "CASE WHEN k %% 6 <> 5 THEN TIMESTAMP '2020-01-01 00:00:00' + to_hours(CAST(k * 240 + r AS INTEGER)) "
        "END, TIME '00:00:00' + to_minutes(CAST(k * 60 + r %% 60 AS INTEGER)), "
        "format('{:08x}-0000-0000-0000-{:012x}', (k %% 8) * (1 + 268435455 * (k %% 2)), r)::UUID, CASE WHEN "
        "r %% 5 "
        "THEN unhex(format('{:02x}{:02x}', k, r)) END%s "
        "FROM (SELECT i AS id, i %% %d AS r, %d AS k FROM range(%d, %d) AS q(i))",
        evolved ? "CASE WHEN r % 5 THEN 'new ' || k END" : "k % 2 = 0", evolved ? ", k * 100 + r" : "", ROWS,
        k, k * ROWS, (k + 1) * ROWS);
    OK(ice_buf_check(&sql, &w->err));
    f_stage(w, ice_buf_str(&sql));
    ice_buf_free(&sql);
}

static void end_rows(world *w, int from, int to, int step)
{
    w->now += 1000;
    for (int id = from; id < to; id += step) {
        ice_value key = {.kind = ICE_T_LONG, .i = id};
        OK(ice_tail_end(w->state->tail, &key, 0, w->now, ICE_OP_DELETE, NULL, &w->err));
    }
}

static void declare(world *w, int32_t field_id, const char *transform)
{
    ice_tabledef *d = ice_tabledef_clone(w->state->def, true);
    uint8_t down = 0;
    ice_index index = {.name = ice_str_c(ice_arena_printf(w->arena, "part_%d", field_id)),
                       .ncols = 1,
                       .field_ids = &field_id,
                       .descending = &down,
                       .kind = ICE_STR("partition"),
                       .params = ice_str_c(transform)};
    OK(ice_tabledef_add_index(d, &index, &w->err));
    OK(ice_partition_check(d, &w->err));
    w_set_def(w, d);
}

/* i becomes long, s another name and back, b another column of another type, extra comes. */
static void evolve(world *w)
{
    ice_tabledef *d = ice_tabledef_clone(w->state->def, true);
    ice_column b = {
        .name = ICE_STR("b"), .has_initial = true, .initial = {.kind = ICE_T_STRING, .s = ICE_STR("old")}};
    ice_column extra = {
        .name = ICE_STR("extra"), .has_initial = true, .initial = {.kind = ICE_T_LONG, .i = 7}};
    ice_column moved;
    d->cols[1].type = (ice_type){.kind = ICE_T_LONG};
    d->cols[1].sql_type = ICE_STR("bigint");
    OK(ice_tabledef_drop_column(d, ICE_STR("b"), &w->err));
    OK(ice_column_set_sql_type(&b, w->arena, ICE_STR("text"), &w->err));
    OK(ice_tabledef_add_column(d, &b, &w->err));
    /* Where the staging query has it. */
    moved = d->cols[d->ncols - 1];
    memmove(&d->cols[8], &d->cols[7], (d->ncols - 8) * sizeof *d->cols);
    d->cols[7] = moved;
    OK(ice_column_set_sql_type(&extra, w->arena, ICE_STR("bigint"), &w->err));
    OK(ice_tabledef_add_column(d, &extra, &w->err));
    w_set_def(w, d);
}

/* ---- predicates ---- */

static const char *literal_of(world *w, const char *const *c)
{
    int n = 1;
    while (n < 9 && c[n])
        n++;
    return c[1 + w_random(w, n - 1)];
}

static void put_term(world *w, ice_buf *b)
{
    static const char *const ops[] = {"=", "<", "<=", ">", ">=", "<>", "IS NOT DISTINCT FROM"};
    int which = w_random(w, LITERALS + LATER);
    const char *const *c = which < LITERALS ? literals[which] : later[which - LITERALS];
    switch (w_random(w, 12)) {
    case 0:
        ice_buf_printf(b, "%s IS NULL", c[0]);
        break;
    case 1:
        ice_buf_printf(b, "%s IS NOT NULL", c[0]);
        break;
    case 2:
        ice_buf_printf(b, "%s BETWEEN %s AND %s", c[0], literal_of(w, c), literal_of(w, c));
        break;
    case 3:
        ice_buf_printf(b, "%s IN (%s, %s)", c[0], literal_of(w, c), literal_of(w, c));
        break;
    case 4:
        ice_buf_printf(b, "%s > %s", literal_of(w, c), c[0]);
        break;
    case 5:
        ice_buf_printf(b, "NOT (%s = %s)", c[0], literal_of(w, c));
        break;
    default:
        ice_buf_printf(b, "%s %s %s", c[0], ops[w_random(w, 7)], literal_of(w, c));
    }
}

static char *query_of(world *w)
{
    ice_buf b = {0};
    int shape = w_random(w, 8);
    ice_buf_puts(&b, "SELECT count(*), sum(id), min(s), count(i) FROM t WHERE ");
    put_term(w, &b);
    if (shape < 4) {
        ice_buf_puts(&b, shape ? " AND " : " OR ");
        put_term(w, &b);
    }
    if (shape == 7)
        ice_buf_puts(&b, " AND id IN (SELECT id FROM range(0, 800, 3) AS q(id))");
    ice_buf_put_u8(&b, 0);
    return b.data;
}

/* ---- asking both ways ---- */

static void probe(world *w, ice_view view, const char *sql)
{
    ice_result *r;
    w->view = view;
    w->probing = true;
    if (ice_engine_run(w->user, ice_str_c(sql), NULL, 0, &r, &w->err) != ICE_OK)
        fail_msg("%s: %s", sql, w->err.message);
    ice_result_close(r);
    w->probing = false;
    if (w->probe)
        OK(ice_probe_finish(w->probe, &view, &w->err));
}

/* Are the answers the same? Adds the files the pruned one left out. */
static bool both_ways(world *w, ice_view view, const char *sql, bool wrong, size_t *left_out)
{
    ice_view_cost cost;
    char *whole = w_query(w, view, false, sql);
    if (wrong)
        ice_fault_arm("table.prune", 1, false);
    probe(w, view, sql);
    ice_fault_disarm();
    char *pruned = w_query(w, view, false, sql);
    ice_view_cost_probed(&view, &w->probe, w->probe ? 1 : 0, &cost);
    *left_out += cost.files_total - cost.files_read;
    bool same = strcmp(whole, pruned) == 0;
    if (!same && !wrong)
        print_error("%s: %s unpruned, %s pruned\n", sql, whole, pruned);
    ice_probe_unref(w->probe);
    w->probe = NULL;
    free(whole);
    free(pruned);
    return same;
}

static world *make_world(void)
{
    world *w = f_open(0);
    if (!w)
        return NULL;
    ice_tabstate_unref(w->state);
    OK(ice_tabstate_create(wide_def(w), NULL, NULL, NULL, &w->state, &w->err));
    for (int k = 0; k < 5; k++)
        stage(w, k, false);
    end_rows(w, 3, 200, 9);
    declare(w, 3, "bucket[2]");
    declare(w, 9, "month");
    stage(w, 5, false);
    assert_true(f_compact(w));
    for (int k = 6; k < 9; k++)
        stage(w, k, false);
    evolve(w);
    for (int k = 9; k < 15; k++)
        stage(w, k, true);
    end_rows(w, 100, 900, 7);
    assert_true(w->state->published->nfiles > 8);
    return w;
}

static void the_same_rows(void **unused)
{
    world *w = make_world();
    size_t left_out = 0, caught = 0, ignored = 0;
    if (!w)
        skip();
    for (int i = 0; i < 400; i++) {
        ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
        char *sql = query_of(w);
        if (i % 4 == 1)
            v = w_view(w, ICE_VIEW_AS_OF, w->now - 1000 * (1 + w_random(w, 12)));
        if (i % 4 == 2)
            v = w_view(w, ICE_VIEW_VERSIONS, w->now);
        assert_true(both_ways(w, v, sql, false, &left_out));
        free(sql);
    }
    /* Half of all files at least: else this compares nothing. */
    assert_true(left_out > 400 * w->state->published->nfiles / 4);
    for (int i = 0; i < 100; i++) {
        char *sql = query_of(w);
        caught += !both_ways(w, w_view(w, ICE_VIEW_CURRENT, w->now), sql, true, &ignored);
        free(sql);
    }
    assert_true(caught > 0);
    f_close(w);
}

static size_t files_read(world *w, const char *sql)
{
    ice_view v = w_view(w, ICE_VIEW_CURRENT, w->now);
    ice_view_cost cost;
    probe(w, v, sql);
    ice_view_cost_probed(&v, &w->probe, 1, &cost);
    ice_probe_unref(w->probe);
    w->probe = NULL;
    return cost.files_read;
}

/* By bounds, by partition values alone, by defaults of columns that came later, by the index of a unique key.
 */
static void what_is_left(void **unused)
{
    world *w = make_world();
    if (!w)
        skip();
    size_t all = w->state->published->nfiles;
    assert_int_equal(files_read(w, "SELECT * FROM t WHERE s LIKE '%x%'"), all);
    assert_int_equal(files_read(w, "SELECT * FROM t WHERE i = 705"), 1);
    assert_int_equal(files_read(w, "SELECT * FROM t WHERE id = 130 AND length(s) > 0"), 1);
    assert_int_equal(files_read(w, "SELECT * FROM t WHERE id IN (130, 850) AND length(s) > 0"), 2);
    /* Staged after a change of indexes alone, three files name a schema that the metadata has under another
     * number. */
    assert_int_equal(files_read(w, "SELECT * FROM t WHERE extra > 50"), 6 + 3);
    assert_int_equal(files_read(w, "SELECT * FROM t WHERE b = 'nobody'"), 0 + 3);
    assert_int_equal(files_read(w, "SELECT * FROM t WHERE b = 'old'"), all - 6);
    assert_int_equal(files_read(w, "SELECT * FROM t WHERE id IS NULL"), 0);
    assert_int_equal(files_read(w, "SELECT count(*) FROM t"), all);
    f_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_rows), cmocka_unit_test(what_is_left)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
