/* Flushing, compacting, expiring: every answer before and after is compared with the plain list of versions
 * in table_world.h, and other readers' answers too (ICE_KEEP_WAREHOUSE leaves one behind for them). */
#include "flush_world.h"

/* ---- a life ---- */

static void live_through(uint64_t budget, uint64_t rewrite_bytes, const char *name)
{
    world *w = f_open(budget);
    if (!w)
        skip();
    f_flush(w, rewrite_bytes);
    check_world(w);
    for (int round = 0; round < 14; round++) {
        int64_t middle = 0;
        for (int i = 0; i < 3; i++) {
            w_commit(w, round == 4 ? 300 : 10, round == 4 ? 2000 : 60);
            if (i == 1)
                middle = w->now;
        }
        if (round == 6)
            w_evolve(w);
        if (round == 6)
            w_commit(w, 20, 60);
        /* Every third flush does not take all there is. */
        f_flush_at(w, round % 3 == 1 ? middle : w->now, rewrite_bytes);
        check_world(w);
        if (round % 5 == 3) {
            f_compact(w);
            check_world(w);
        }
    }
    f_flush(w, rewrite_bytes);
    if (name) {
        char *rows = w_expect(w, w->now, true);
        f_keep(w, name, rows);
        free(rows);
    }
    f_close(w);
}

static void hot_rewritten(void **unused)
{
    live_through((uint64_t)1 << 30, 16 << 20, "rewritten");
}

static void hot_appended(void **unused)
{
    live_through((uint64_t)1 << 30, 0, "appended");
}

static void cold_appended(void **unused)
{
    live_through(0, 0, NULL);
}

/* ---- every type ---- */

static const char *const all_types[] = {
    "bigint",        "boolean",         "integer", "smallint", "real",      "double precision",
    "numeric(9, 2)", "numeric(38, 10)", "date",    "time",     "timestamp", "timestamp with time zone",
    "text",          "varchar(20)",     "uuid",    "bytea",    "jsonb",     "interval"};
enum { TYPES = sizeof all_types / sizeof *all_types };

static ice_tabledef *every_def(world *w, const char *name)
{
    ice_tabledef *d = ice_tabledef_create(ice_str_c(name));
    int32_t id = 1;
    for (size_t i = 0; i < TYPES; i++) {
        ice_column c = {.name = ice_str_c(ice_arena_printf(w->arena, "c%zu", i)), .not_null = i == 0};
        OK(ice_column_set_sql_type(&c, w->arena, ice_str_c(all_types[i]), &w->err));
        OK(ice_tabledef_add_column(d, &c, &w->err));
    }
    ice_constraint key = {.kind = ICE_CON_PRIMARY, .name = ICE_STR("key"), .ncols = 1, .field_ids = &id};
    OK(ice_tabledef_add_constraint(d, &key, &w->err));
    return d;
}

/* The value of a column in version `salt` of row `id`; extremes among them. */
static ice_value every_value(world *w, const ice_column *c, int64_t id, int salt)
{
    int64_t x = id * 7919 + salt * 104729 + c->field_id * 31;
    int sign = x % 2 ? 1 : -1;
    ice_value v = {.kind = c->type.kind};
    if (c->field_id == 1)
        return (ice_value){.kind = ICE_T_LONG, .i = id};
    if (x % 11 == 3)
        return ICE_NULL;
    switch (c->type.kind) {
    case ICE_T_BOOL:
        v.b = x % 3 == 0;
        break;
    case ICE_T_INT:
        v.i = x % 13 == 1 && c->max_int == 0 ? INT32_MIN : sign * (x % 30000);
        break;
    case ICE_T_LONG:
        v.i = x % 13 == 1 ? INT64_MAX : sign * x * 1000003;
        break;
    case ICE_T_FLOAT:
        v.d = sign * (double)(x % 1000) / 8;
        break;
    case ICE_T_DOUBLE:
        v.d = x % 13 == 1 ? 1e300 : sign * (double)x / 64;
        break;
    case ICE_T_DECIMAL:
        v.scale = c->type.scale;
        v.dec = sign * (ice_i128)(x % 999999999);
        if (c->type.precision == 38)
            v.dec = v.dec * 1000000000000000000 + 17;
        break;
    case ICE_T_DATE:
        v.i = sign * (x % 30000);
        break;
    case ICE_T_TIME:
        v.i = x * 1000003 % INT64_C(86400000000);
        break;
    case ICE_T_TIMESTAMP:
    case ICE_T_TIMESTAMPTZ:
        v.i = sign * x * 1000000007 % INT64_C(4000000000000000);
        break;
    case ICE_T_UUID:
        for (int i = 0; i < 16; i++)
            v.uuid[i] = (uint8_t)(x >> i);
        break;
    case ICE_T_BINARY: {
        char *bytes = ice_arena_alloc(w->arena, 40);
        for (int i = 0; i < 40; i++)
            bytes[i] = (char)(x * (i + 1));
        v.s = (ice_str){bytes, (size_t)(x % 40)};
        break;
    }
    default:
        v.s = ice_str_c(
            x % 13 == 1
                ? ""
                : ice_arena_printf(
                      w->arena, c->max_length ? "v%lld" : "\"a text \xc3\xa9 of %lld, longer than sixteen\"",
                      (long long)x));
    }
    return v;
}

static ice_code every_row(world *w, int64_t id, int salt, ice_row_op op)
{
    ice_value values[TYPES + 4];
    for (size_t i = 0; i < w->state->def->ncols; i++)
        values[i] = every_value(w, &w->state->def->cols[i], id, salt);
    return ice_tail_insert(w->state->tail, values, w->now, op, NULL, &w->err);
}

static void every_update(world *w, int64_t id, int salt)
{
    ice_value key = {.kind = ICE_T_LONG, .i = id};
    OK(ice_tail_end(w->state->tail, &key, 0, w->now, salt ? ICE_OP_UPDATE : ICE_OP_DELETE, NULL, &w->err));
    if (salt)
        OK(every_row(w, id, salt, ICE_OP_UPDATE));
}

static char *every_expect(world *w, const int *salts, int n)
{
    ice_buf b = {0};
    for (int id = 0; id < n; id++) {
        if (salts[id] < 0)
            continue;
        for (size_t i = 0; i < w->state->def->ncols; i++) {
            ice_value v = every_value(w, &w->state->def->cols[i], id, salts[id]);
            ice_buf_puts(&b, i ? "|" : "");
            w_put_text(&b, &v);
        }
        ice_buf_puts(&b, "\n");
    }
    ice_buf_put_u8(&b, 0);
    return w_sorted(b.data);
}

static void new_state(world *w, ice_tabledef *def)
{
    ice_tabstate_unref(w->state);
    OK(ice_tabstate_create(def, NULL, NULL, NULL, &w->state, &w->err));
}

static void every_type(void **unused)
{
    enum { ROWS = 120 };
    int salts[ROWS] = {0}, problems = 0;
    world *w = f_open((uint64_t)1 << 30);
    if (!w)
        skip();
    new_state(w, every_def(w, "every"));
    for (int id = 0; id < ROWS; id++)
        OK(every_row(w, id, 0, ICE_OP_INSERT));
    w->now += 1000;
    f_flush(w, 0);
    for (int id = 0; id < ROWS; id += 5) {
        salts[id] = id % 3 ? 1 + id % 4 : -1;
        every_update(w, id, salts[id] > 0 ? salts[id] : 0);
    }
    f_flush(w, 0);
    OK(ice_published_check(&w->env, w->state->published, tell, &problems, &w->err));
    assert_int_equal(problems, 0);
    char *want = every_expect(w, salts, ROWS);
    w_same(w_query(w, w_view(w, ICE_VIEW_CURRENT, w->now), false, "SELECT * FROM t"), strdup(want), "rows");
    w->now += 1000;
    w_same(w_query(w, w_view(w, ICE_VIEW_CURRENT, w->now), false, "SELECT * FROM t"), strdup(want), "rows");
    assert_true(f_compact(w));
    w_same(w_query(w, w_view(w, ICE_VIEW_CURRENT, w->now), false, "SELECT * FROM t"), strdup(want),
           "rows, compacted");
    f_keep(w, "every", want);
    free(want);
    f_close(w);
}

/* ---- dropped columns in the history ---- */

static char *ask_history(world *w, const char *select)
{
    ice_published *h;
    ice_buf sql = {0};
    ice_str path;
    const ice_result_column *cols;
    ice_result *r;
    size_t n;
    ice_value v;
    OK(ice__published_history(w->state->published, &h, &w->err));
    assert_non_null(h);
    ice_buf_puts(&sql, select);
    ice_buf_puts(&sql, " FROM read_parquet([");
    for (size_t i = 0; i < h->nfiles; i++) {
        path = h->files[i].path;
        ice_buf_puts(&sql, i ? ", " : "");
        ice_buf_put_quoted(&sql, path);
    }
    ice_buf_puts(&sql, "], union_by_name = true)");
    OK(ice_engine_run(w->own, ice_buf_str(&sql), NULL, 0, &r, &w->err));
    OK(ice_result_next(r, &n, &w->err));
    assert_int_equal(ice_result_columns(r, &cols), 1);
    ice_buf_clear(&sql);
    ice_result_value(r, 0, 0, &v);
    w_put_text(&sql, &v);
    ice_buf_put_u8(&sql, 0);
    ice_result_close(r);
    return sql.data;
}

static void dropped_column(void **unused)
{
    world *w = f_open((uint64_t)1 << 30);
    char *text;
    if (!w)
        skip();
    w->now += 1000;
    for (int id = 0; id < 10; id++)
        w_insert(w, w_row(id, 1), ICE_OP_INSERT);
    f_flush(w, 0);
    /* The column goes and its rows end between two flushes: the history still has its values. */
    w->now += 1000;
    w_end(w, 3, ICE_OP_DELETE);
    ice_tabledef *d = ice_tabledef_clone(w->state->def, true);
    OK(ice_tabledef_drop_column(d, ICE_STR("price"), &w->err));
    w_set_def(w, d);
    w->now += 1000;
    w_end(w, 4, ICE_OP_DELETE);
    f_flush(w, 0);
    text = ask_history(w, "SELECT string_agg(id || ':' || price__4 || ':' || _operation, ',' ORDER BY id)");
    assert_string_equal(text, "3:3.25:delete,4:4.25:delete");
    free(text);
    /* And a new column of the same name is another one. */
    d = ice_tabledef_clone(w->state->def, true);
    ice_column price = {.name = ICE_STR("price")};
    OK(ice_column_set_sql_type(&price, w->arena, ICE_STR("text"), &w->err));
    OK(ice_tabledef_add_column(d, &price, &w->err));
    w_set_def(w, d);
    w->now += 1000;
    w_end(w, 5, ICE_OP_DELETE);
    f_flush(w, 0);
    text = ask_history(w, "SELECT string_agg(id || ':' || COALESCE(price__4, -1) || ':' || COALESCE(price, "
                          "'none'), ',' ORDER BY id)");
    assert_string_equal(text, "3:3.25:none,4:4.25:none,5:5.25:none");
    free(text);
    f_close(w);
}

/* ---- staged files ---- */

/* Readers see a staged file before it is published. */
static void staged_files(void **unused)
{
    world *w = f_open(0);
    ice_staged_file *staged;
    ice_flush_options o = {.position = 42, .snapshots_kept = 5};
    size_t n;
    if (!w)
        skip();
    w_commit(w, 30, 50);
    f_flush(w, 0);
    w->now += 1000;
    OK(ice_staged_write(
        &w->env, w->own,
        ICE_STR("SELECT i, 'bulk ' || i, CAST(i % 10 AS INTEGER), i / 4.0 FROM range(100, 3000) AS r(i)"),
        w->state->def, w->arena, &staged, &n, &w->err));
    assert_int_equal(n, 1);
    assert_int_equal(staged->rows, 2900);
    staged->commit_time = w->now;
    for (int i = 100; i < 3000; i++) {
        version r = {.id = i,
                     .grp = i % 10,
                     .price = i / 4.0,
                     .extra = 7,
                     .start = w->now,
                     .end = ICE_TIME_MAX,
                     .file = -1};
        snprintf(r.name, sizeof r.name, "bulk %d", i);
        w->v[w->n++] = r;
    }
    ice_flush_table t = f_table(w);
    f_see_staged(w, staged, n);
    check_world(w);
    /* Rows of the staged file change before it is published. */
    for (int i = 0; i < 3; i++)
        w_commit(w, 100, 3000);
    o.upto = w->now;
    t.state = w->state;
    OK(ice_flush(&w->env, &t, 1, &o, w->arena, &w->err));
    f_reload(w, t.new_location);
    check_world(w);
    w_commit(w, 100, 3000);
    f_flush(w, 0);
    check_world(w);
    if (getenv("ICE_KEEP_WAREHOUSE")) { /* the staged file as it is, for other readers */
        char *rows = w_expect(w, w->now, true);
        f_keep(w, "staged", rows);
        free(rows);
    } else {
        assert_true(f_compact(w));
        check_world(w);
    }
    f_close(w);
}

/* ---- what is compacted ---- */

static size_t files_of(world *w)
{
    return w->state->published->nfiles;
}

static void tiers(void **unused)
{
    world *w = f_open(0);
    ice_staged_file *staged;
    ice_flush_options o = {.position = 42, .snapshots_kept = 5};
    size_t n;
    if (!w)
        skip();
    w->now += 1000;
    OK(ice_staged_write(&w->env, w->own, ICE_STR("SELECT 1000 + i, 'x', 1, 1.5 FROM range(300000) AS r(i)"),
                        w->state->def, w->arena, &staged, &n, &w->err));
    staged->commit_time = o.upto = w->now;
    ice_flush_table t = f_table(w); /* what the catalog has */
    f_see_staged(w, staged, n);
    t.state = w->state;
    OK(ice_flush(&w->env, &t, 1, &o, w->arena, &w->err));
    f_reload(w, t.new_location);
    for (int i = 0; i < 3; i++) {
        w->now += 1000;
        for (int k = 0; k < 10; k++)
            w_insert(w, w_row(10 * i + k, 1), ICE_OP_INSERT);
        f_flush(w, 0);
    }
    /* In the background the small files become one, the large one is left alone. */
    assert_int_equal(files_of(w), 4);
    assert_true(f_compact_as(w, false, ICE_DELETE_RATIO));
    assert_int_equal(files_of(w), 2);
    assert_false(f_compact_as(w, false, ICE_DELETE_RATIO));
    /* A file whose rows are all gone goes. */
    w->now += 1000;
    for (int k = 0; k < 30; k++)
        w_end(w, k, ICE_OP_DELETE);
    f_flush(w, 0);
    assert_int_equal(files_of(w), 1);
    assert_int_equal(ice_published_rows(w->state->published), 300000);
    f_close(w);
}

/* Asked for, all files under 64 MiB are merged, and the history's; of deletion vectors those over the ratio. */
static void all_small(void **unused)
{
    world *w = f_open(0);
    ice_published *history;
    if (!w)
        skip();
    for (int i = 0; i < 3; i++) {
        w->now += 1000;
        for (int k = 0; k < (i ? 10 : 400); k++)
            w_insert(w, w_row(1000 * i + k, 1), ICE_OP_INSERT);
        f_flush(w, 0);
    }
    for (int i = 0; i < 2; i++) { /* 2 of 420 rows */
        w->now += 1000;
        w_end(w, i, ICE_OP_DELETE);
        f_flush(w, 0);
    }
    OK(ice__published_history(w->state->published, &history, &w->err));
    assert_int_equal(history->nfiles, 2);
    assert_int_equal(files_of(w), 3);
    assert_true(f_compact(w));
    OK(ice__published_history(w->state->published, &history, &w->err));
    assert_int_equal(history->nfiles, 1);
    assert_int_equal(files_of(w), 1);
    assert_null(w->state->published->files[0].dv_entry);
    check_world(w);
    assert_false(f_compact(w));
    w->now += 1000;
    w_end(w, 2, ICE_OP_DELETE);
    f_flush(w, 0);
    assert_non_null(w->state->published->files[0].dv_entry);
    assert_true(f_compact(w)); /* the history alone */
    assert_non_null(w->state->published->files[0].dv_entry);
    check_world(w);
    assert_false(f_compact(w));
    assert_true(f_compact_as(w, true, 0));
    assert_null(w->state->published->files[0].dv_entry);
    check_world(w);
    assert_false(f_compact_as(w, true, 0));
    f_close(w);
}

/* ---- expiry ---- */

static char *versions_since(world *w, int64_t since)
{
    ice_buf b = {0};
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i].end >= since) {
            w_put_version(w, &w->v[i], &b);
            ice_buf_printf(&b, "|%lld\n", (long long)w->v[i].start);
        }
    ice_buf_put_u8(&b, 0);
    return w_sorted(b.data);
}

static void expiry(void **unused)
{
    world *w = f_open((uint64_t)1 << 30);
    ice_str location;
    bool did;
    int64_t before[2];
    if (!w)
        skip();
    for (int i = 0; i < 12; i++) {
        w_commit(w, 20, 60);
        if (i % 3 == 2)
            f_flush(w, 0);
        if (i == 4)
            before[0] = w->now;
        if (i == 10)
            before[1] = w->now;
    }
    for (int i = 0; i < 2; i++) {
        OK(ice_expire(&w->env, w->state->published, w->state->def->name, before[i], w->arena, &location, &did,
                      &w->err));
        assert_true(did);
        f_reload(w, location);
        w_same(w_query(w, w_view(w, ICE_VIEW_VERSIONS, w->now), false,
                       "SELECT * EXCLUDE (_row_end, _operation) FROM t"),
               versions_since(w, before[i]), "versions that are left");
        OK(ice_expire(&w->env, w->state->published, w->state->def->name, before[i], w->arena, &location, &did,
                      &w->err));
        assert_false(did);
    }
    w_commit(w, 20, 60);
    f_flush(w, 0);
    w_same(w_query(w, w_view(w, ICE_VIEW_CURRENT, w->now), true, "SELECT * FROM t"),
           w_expect(w, w->now, true), "current rows");
    f_close(w);
}

/* ---- several tables ---- */

static ice_tabstate *named_state(world *w, const char *name)
{
    ice_tabstate *s;
    OK(ice_tabstate_create(every_def(w, name), NULL, NULL, NULL, &s, &w->err));
    return s;
}

static void put_row(world *w, ice_tabstate *s, int64_t id, int salt)
{
    ice_tabstate *own = w->state;
    w->state = s;
    OK(every_row(w, id, salt, ICE_OP_INSERT));
    w->state = own;
}

static ice_tabstate *renamed_state(world *w, ice_tabstate *s, const char *name, ice_str location)
{
    ice_published *p;
    ice_tabstate *next;
    ice_tail *tail;
    ice_tabledef *d = ice_tabledef_clone(s->def, true);
    ice_tabledef_set_name(d, ice_str_c(name));
    OK(ice_published_load(&w->env, location, &p, &w->err));
    OK(ice_tail_create(d, &tail, &w->err));
    OK(ice_tabstate_create(d, p, tail, NULL, &next, &w->err));
    ice_tabstate_unref(s);
    return next;
}

static char *catalog_names(world *w)
{
    ice_catalog_entry *e;
    size_t n;
    ice_buf b = {0};
    OK(ice_catalog_list(w->env.catalog, w->arena, &e, &n, &w->err));
    for (size_t i = 0; i < n; i++)
        ice_buf_printf(&b, "%s%.*s", i ? " " : "", ICE_PRI(e[i].name));
    ice_buf_put_u8(&b, 0);
    return b.data;
}

static void expect_names(world *w, const char *want)
{
    char *got = catalog_names(w);
    assert_string_equal(got, want);
    free(got);
}

/* a and b take each other's name, c goes, d comes: one step. */
static void many_tables(void **unused)
{
    world *w = f_open((uint64_t)1 << 30);
    if (!w)
        skip();
    ice_flush_options o = {
        .upto = w->now + 10, .position = 1, .rewrite_bytes = 1 << 20, .snapshots_kept = 10};
    ice_tabstate *s[4] = {named_state(w, "a"), named_state(w, "b"), named_state(w, "c"), named_state(w, "d")};
    ice_flush_table t[4] = {{.state = s[0]}, {.state = s[1]}, {.state = s[2]}, {.state = s[3]}};
    put_row(w, s[0], 1, 1);
    put_row(w, s[1], 2, 1);
    put_row(w, s[2], 3, 1);
    ice_value key = {.kind = ICE_T_LONG, .i = 1};
    OK(ice_tail_end(s[0]->tail, &key, 0, w->now + 5, ICE_OP_DELETE, NULL, &w->err));
    OK(ice_flush(&w->env, t, 3, &o, w->arena, &w->err));
    expect_names(w, "a a__history b c");

    s[0] = renamed_state(w, s[0], "b", t[0].new_location);
    s[1] = renamed_state(w, s[1], "a", t[1].new_location);
    ice_str moved[2] = {t[0].new_location, t[1].new_location};
    t[0] = (ice_flush_table){.state = s[0], .catalog_name = ICE_STR("a"), .location = moved[0]};
    t[1] = (ice_flush_table){.state = s[1], .catalog_name = ICE_STR("b"), .location = moved[1]};
    t[2] = (ice_flush_table){.catalog_name = ICE_STR("c"),
                             .location = t[2].new_location,
                             .dropped = true,
                             .dropped_at = 1234567890123456};
    t[3] = (ice_flush_table){.state = s[3]};
    o.upto += 10;
    /* Once with a failure before anything is published, then for good. */
    ice_fault_arm("table.publish", 1, false);
    assert_int_equal(ice_flush(&w->env, t, 4, &o, w->arena, &w->err), ICE_IO);
    ice_fault_disarm();
    expect_names(w, "a a__history b c");
    OK(ice_flush(&w->env, t, 4, &o, w->arena, &w->err));
    expect_names(w, "a b b__history c__dropped_1234567890123456 d");
    ice_str location;
    ice_uuid u;
    OK(ice_catalog_load(w->env.catalog, w->arena, ICE_STR("b"), &location, &w->err));
    assert_true(ice_location_uuid(location, &u) && ice_uuid_eq(u, s[0]->def->uuid));
    OK(ice_catalog_load(w->env.catalog, w->arena, ICE_STR("b__history"), &location, &w->err));
    assert_true(ice_location_uuid(location, &u) && ice_uuid_eq(u, s[0]->def->uuid));
    /* The same again, from the old pointers: somebody was faster. */
    assert_int_equal(ice_flush(&w->env, t, 2, &o, w->arena, &w->err), ICE_CONFLICT);
    for (int i = 0; i < 4; i++)
        ice_tabstate_unref(s[i]);
    f_close(w);
}

/* ---- metadata stays bounded ---- */

static void bounded(void **unused)
{
    world *w = f_open((uint64_t)1 << 30);
    uint64_t size, largest = 0;
    ice_str key;
    if (!w)
        skip();
    for (int i = 0; i < 40; i++) {
        w_commit(w, 6, 500);
        f_flush(w, 0);
        OK(ice__locate(&w->env, w->arena, w->state->published->location, &key, NULL, &w->err));
        OK(w->store->m->size(w->store, key, &size, &w->err));
        if (i == 12)
            largest = size;
        assert_true(i <= 12 ||
                    size < largest + 6000); /* the log of metadata files still grows to its limit */
        assert_true(w->state->published->nmanifests <= 18);
    }
    check_world(w);
    f_close(w);
}

/* ---- faults: nothing is published, nothing leaks, the next flush is as if nothing had been ---- */

static void faults(void **unused)
{
    world *w = f_open((uint64_t)1 << 30);
    int k = 1, failed = 0;
    if (!w)
        skip();
    w_commit(w, 20, 60);
    f_flush(w, 0);
    for (bool fired = true; fired && k < 400; k += 1 + k / 6) {
        w_commit(w, 8, 60);
        ice_flush_options o = {.upto = w->now, .position = 42, .snapshots_kept = 5};
        ice_flush_table t = f_table(w);
        ice_str before = w->state->published->location, now;
        ice_fault_arm("*", k, false);
        ice_code rc = ice_flush(&w->env, &t, 1, &o, w->arena, &w->err);
        fired = ice_fault_hits() >= k;
        ice_fault_disarm();
        OK(ice_catalog_load(w->env.catalog, w->arena, ICE_STR("people"), &now, &w->err));
        if (rc == ICE_OK)
            f_reload(w, t.new_location);
        else if (!ice_str_eq(before, now))
            f_reload(w, now); /* the outcome was unknown, and it was published */
        else
            failed++;
        if (k % 3 == 0)
            check_world(w);
    }
    assert_true(failed > 3);
    f_flush(w, 0);
    check_world(w);
    f_close(w);
}

/* ---- what the check finds ---- */

static void count_problem(void *arg, const char *problem)
{
    (void)problem;
    ++*(int *)arg;
}

static void broken_files(void **unused)
{
    world *w = f_open(0);
    int problems = 0;
    ice_published *p, *h;
    if (!w)
        skip();
    for (int i = 0; i < 4; i++) {
        w_commit(w, 20, 30);
        f_flush(w, 0);
    }
    p = w->state->published;
    OK(ice__published_history(p, &h, &w->err));
    p->files[0].entry.file.record_count++; /* as if its manifest lied */
    OK(ice_published_check(&w->env, p, count_problem, &problems, &w->err));
    assert_true(problems > 0);
    p->files[0].entry.file.record_count--;
    for (size_t i = 0; i < p->nfiles; i++) { /* deleted rows come back */
        p->files[i].dv_entry = NULL;
        ice_dv_free(p->files[i].dv);
        p->files[i].dv = NULL;
    }
    problems = 0;
    OK(ice_published_check(&w->env, p, count_problem, &problems, &w->err));
    assert_true(problems >= 2); /* keys twice, versions that overlap */
    assert_int_equal(unlink(h->files[0].path.ptr), 0);
    problems = 0;
    OK(ice_published_check(&w->env, p, count_problem, &problems, &w->err));
    assert_true(problems >= 2);
    f_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hot_rewritten), cmocka_unit_test(hot_appended),   cmocka_unit_test(cold_appended),
        cmocka_unit_test(every_type),    cmocka_unit_test(dropped_column), cmocka_unit_test(staged_files),  cmocka_unit_test(tiers), cmocka_unit_test(all_small), cmocka_unit_test(expiry),
        cmocka_unit_test(many_tables),   cmocka_unit_test(bounded),        cmocka_unit_test(faults),
        cmocka_unit_test(broken_files),
    };
    if (getenv("ICE_ONLY"))
        cmocka_set_test_filter(getenv("ICE_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
