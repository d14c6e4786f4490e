/* Partitioned tables: what compaction puts where, that no answer changes, and that it comes to an end. */
#include "flush_world.h"

static void declare(world *w, const char *name, int32_t field_id, const char *transform)
{
    ice_tabledef *d = ice_tabledef_clone(w->state->def, true);
    uint8_t down = 0;
    ice_index index = {.name = ice_str_c(name),
                       .ncols = 1,
                       .field_ids = &field_id,
                       .descending = &down,
                       .kind = ICE_STR("partition"),
                       .params = transform ? ice_str_c(transform) : ICE_STR_NONE};
    OK(ice_tabledef_add_index(d, &index, &w->err));
    OK(ice_partition_check(d, &w->err));
    w_set_def(w, d);
}

static void undeclare(world *w, const char *name)
{
    ice_tabledef *d = ice_tabledef_clone(w->state->def, true);
    OK(ice_tabledef_drop_index(d, ice_str_c(name), &w->err));
    w_set_def(w, d);
}

static size_t placed_files(const world *w)
{
    const ice_published *s = w->state->published;
    size_t n = 0;
    for (size_t i = 0; i < s->nfiles; i++)
        n += s->files[i].spec_id == s->meta->default_spec_id;
    return n;
}

static uint64_t rows_of(world *w, const char *where)
{
    char sql[200];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM t WHERE %s", where);
    char *text = w_query(w, w_view(w, ICE_VIEW_CURRENT, w->now), false, sql);
    uint64_t n = strtoull(text, NULL, 10);
    free(text);
    return n;
}

static void no_problems(world *w)
{
    int problems = 0;
    OK(ice_published_check(&w->env, w->state->published, tell, &problems, &w->err));
    assert_int_equal(problems, 0);
}

/* ---- no answer changes ---- */

static void live_through(uint64_t budget, int32_t field_id, const char *transform, bool few, const char *name)
{
    world *w = f_open(budget);
    if (!w)
        skip();
    declare(w, "parts", field_id, transform);
    f_flush(w, 0);
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 3; i++)
            w_commit(w, round == 4 ? 300 : 10, round == 4 ? 2000 : 60);
        if (round == 5) {
            w_evolve(w); /* promotes grp, renames name */
            w_commit(w, 20, 60);
        }
        f_flush(w, 0);
        if (round == 8)
            undeclare(w, "parts");
        if (round == 9)
            declare(w, "others", 1, "bucket[3]");
        check_world(w);
        if (round % 2 == 1) {
            f_compact(w);
            check_world(w);
            assert_false(f_compact(w));
            if (few && round != 9) /* it was declared after the flush */
                assert_int_equal(placed_files(w), w->state->published->nfiles);
        }
    }
    if (name) {
        char *rows = w_expect(w, w->now, true);
        f_keep(w, name, rows);
        free(rows);
    }
    f_close(w);
}

static void identity(void **unused)
{
    live_through((uint64_t)1 << 30, 3, NULL, true, "parted");
}

static void bucket(void **unused)
{
    live_through(0, 2, "bucket[4]", true, NULL);
}

static void cut(void **unused)
{
    live_through(0, 2, "truncate[4]", false, NULL);
}

static void ranges(void **unused)
{
    live_through((uint64_t)1 << 30, 1, "truncate[16]", false, NULL);
}

/* ---- how many files ---- */

/* Large values get files of their own, small ones stay together, and a few more rows change none of that. */
static void small_values_share(void **unused)
{
    world *w = f_open(0);
    if (!w)
        skip();
    declare(w, "parts", 3, NULL);
    f_flush(w, 0);
    /* grp 0 and 1 have 20,000 rows each, 2 to 201 have 50, one is NULL. */
    f_stage(w, ICE_STR("SELECT i, 'n' || i, CAST(CASE WHEN i < 40000 THEN i % 2 ELSE 2 + i % 200 END AS INTEGER), i / 4.0 "
          "FROM range(50000) AS r(i) UNION ALL SELECT 50000, NULL, NULL, NULL"));
    assert_true(f_compact(w));
    assert_int_equal(w->state->published->nfiles, 3);
    assert_int_equal(placed_files(w), 2);
    assert_false(f_compact(w));
    assert_int_equal(rows_of(w, "grp = 1"), 20000);
    assert_int_equal(rows_of(w, "grp = 7"), 50);
    assert_int_equal(rows_of(w, "grp IS NULL"), 1);
    no_problems(w);

    f_stage(w, ICE_STR("SELECT 60000 + i, 'n' || i, CAST(i % 300 AS INTEGER), i / 4.0 FROM range(600) AS r(i)"));
    assert_true(f_compact(w));
    assert_int_equal(w->state->published->nfiles, 3);
    assert_int_equal(rows_of(w, "grp = 1"), 20002);
    assert_false(f_compact(w));

    /* One of the small ones grows up. */
    f_stage(w, ICE_STR("SELECT 70000 + i, 'n' || i, CAST(7 AS INTEGER), i / 4.0 FROM range(9000) AS r(i)"));
    assert_true(f_compact(w));
    assert_int_equal(placed_files(w), 3);
    assert_int_equal(rows_of(w, "grp = 7"), 9052);
    assert_false(f_compact(w));
    no_problems(w);
    f_close(w);
}

/* In the background a few rows wait. */
static void few_rows_wait(void **unused)
{
    world *w = f_open(0);
    if (!w)
        skip();
    declare(w, "parts", 3, NULL);
    for (int i = 0; i < 7; i++) {
        w_commit(w, 20, 60);
        f_flush(w, 0);
        assert_false(f_compact_as(w, false, ICE_DELETE_RATIO));
    }
    w_commit(w, 20, 60);
    f_flush(w, 0);
    assert_true(f_compact_as(w, false, ICE_DELETE_RATIO));
    assert_int_equal(placed_files(w), w->state->published->nfiles);
    check_world(w);
    f_close(w);
}

/* ---- a column of the spec goes ---- */

static void column_goes(void **unused)
{
    world *w = f_open((uint64_t)1 << 30);
    if (!w)
        skip();
    declare(w, "parts", 3, NULL);
    declare(w, "more", 1, "bucket[2]");
    w_commit(w, 30, 60);
    f_flush(w, 0);
    assert_true(f_compact(w));
    w_commit(w, 30, 60);
    f_flush(w, 0); /* deletion vectors on placed files */
    uint64_t rows = rows_of(w, "true");

    ice_tabledef *d = ice_tabledef_clone(w->state->def, true);
    OK(ice_tabledef_drop_column(d, ICE_STR("grp"), &w->err));
    ice_column other = w_column(0, "grp", ICE_T_STRING); /* takes the name */
    OK(ice_tabledef_add_column(d, &other, &w->err));
    w_set_def(w, d);
    w->now += 1000;
    f_flush(w, 0);
    const ice_partition_spec *spec = ice_metadata_spec(w->state->published->meta, 1);
    assert_int_equal(spec->fields[0].transform.kind, ICE_TR_VOID);
    assert_string_equal(spec->fields[0].name.ptr, "grp_1");
    assert_int_equal(rows_of(w, "grp IS NULL"), rows);
    no_problems(w);
    assert_true(f_compact(w));
    assert_int_equal(rows_of(w, "true"), rows);
    no_problems(w);
    assert_false(f_compact(w));
    f_close(w);
}

static void refusals(void **unused)
{
    static const struct {
        int32_t field;
        const char *transform;
        bool good;
    } cases[] = {{3, NULL, true},          {3, "identity", true}, {1, "bucket[16]", true},
                 {2, "truncate[3]", true}, {4, NULL, false},      {4, "bucket[2]", false},
                 {1, "day", false},        {2, "hour", false},    {3, "bucket[0]", false},
                 {3, "void", false},       {3, "zorder", false},  {3, "truncate[x]", false}};
    world *w = f_open((uint64_t)1 << 30);
    if (!w)
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ice_tabledef *d = ice_tabledef_clone(w->state->def, true);
        int32_t id = cases[i].field;
        uint8_t down = 0;
        ice_index index = {.name = ICE_STR("parts"),
                           .ncols = 1,
                           .field_ids = &id,
                           .descending = &down,
                           .kind = ICE_STR("partition"),
                           .params = cases[i].transform ? ice_str_c(cases[i].transform) : ICE_STR_NONE};
        OK(ice_tabledef_add_index(d, &index, &w->err));
        ice_code rc = ice_partition_check(d, &w->err);
        if ((rc == ICE_OK) != cases[i].good)
            fail_msg("field %d, %s: %s", id, cases[i].transform, ice_code_name(rc));
        ice_tabledef_free(d);
    }
    f_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity),
        cmocka_unit_test(bucket),
        cmocka_unit_test(cut),
        cmocka_unit_test(ranges),
        cmocka_unit_test(column_goes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(small_values_share),
        cmocka_unit_test(few_rows_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
