/* Tails: keys, versions, look-ups, scans, undo, schema changes, trimming. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "store_table.h"

typedef struct fixture {
    ice_tabledef *def;
    ice_tail *t;
} fixture;

static int make(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    ice_error err = {0};
    f->def = table_def(&err);
    if (!f->def || ice_tail_create(f->def, &f->t, &err))
        return -1;
    *state = f;
    return 0;
}

static int unmake(void **state)
{
    fixture *f = *state;
    ice_tail_unref(f->t);
    ice_tabledef_free(f->def);
    free(f);
    return 0;
}

static ice_ref insert(ice_tail *t, int64_t id, const char *email, int64_t team, const char *note, int64_t at)
{
    ice_value row[NCOLS];
    ice_ref r;
    row_of(row, id, email, team, note);
    assert_int_equal(ice_tail_insert(t, row, at, ICE_OP_INSERT, &r, NULL), ICE_OK);
    return r;
}

static ice_ref end(ice_tail *t, int64_t id, int64_t base, int64_t at, ice_row_op op)
{
    ice_value key = v_int(id);
    ice_ref was;
    assert_int_equal(ice_tail_end(t, &key, base, at, op, &was, NULL), ICE_OK);
    return was;
}

typedef struct refs {
    size_t n;
    ice_ref r[4096];
} refs;

static int add_ref(void *arg, ice_ref r)
{
    refs *all = arg;
    all->r[all->n++] = r;
    return 0;
}

static refs found;
static size_t find(ice_tail *t, size_t key, ice_value v, int64_t at)
{
    found.n = 0;
    assert_int_equal(ice_tail_find(t, key, &v, at, add_ref, &found), 0);
    return found.n;
}

static const char *text_of(ice_ref r, const ice_column *c)
{
    static char text[64];
    ice_value v;
    ice_ref_value(r, c, &v);
    if (v.null)
        return "NULL";
    ice_buf b = {0};
    ice_value_text(&v, &b);
    snprintf(text, sizeof text, "%.*s", (int)b.len, b.data);
    ice_buf_free(&b);
    return text;
}

/* All rows of a scan as text, one "a|b|..." for each row, in order. */
static const char *scan_text(ice_tail *t, int64_t at, ice_tail_which which, const ice_column *cols, size_t n,
                             bool (*skip)(void *, ice_ref), void *arg)
{
    static ice_buf b;
    static char text[4096];
    ice_tail_scan *s;
    void *worker = NULL;
    ice_batch batch;
    ice_buf_clear(&b);
    assert_int_equal(ice_tail_scan_open(t, at, which, cols, n, skip, arg, &s, NULL), ICE_OK);
    while (ice_tail_scan_next(s, &worker, &batch, NULL) == ICE_OK && batch.count) {
        assert_int_equal(batch.nvecs, n);
        for (size_t i = 0; i < batch.count; i++) {
            for (size_t c = 0; c < n; c++) {
                ice_value v;
                ice_vec_get(&batch.vecs[c], batch.sel ? batch.sel[i] : batch.first + i, &v);
                if (c)
                    ice_buf_puts(&b, "|");
                if (v.null)
                    ice_buf_puts(&b, "-");
                else if (v.kind == ICE_T_TIMESTAMPTZ)
                    ice_buf_printf(&b, "@%lld", (long long)v.i);
                else
                    ice_value_text(&v, &b);
            }
            ice_buf_puts(&b, "\n");
        }
    }
    ice_tail_scan_worker_free(worker);
    ice_tail_scan_close(s);
    snprintf(text, sizeof text, "%.*s", (int)b.len, b.len ? b.data : "");
    ice_buf_free(&b);
    return text;
}

/* ---- keys ---- */

static void keys_of_a_definition(void **state)
{
    fixture *f = *state;
    ice_error err = {0};
    ice_arena *a = ice_arena_create();
    ice_keys k;
    int32_t pair[2] = {f->def->cols[TEAM].field_id, f->def->cols[EMAIL].field_id};
    ice_constraint two = {.kind = ICE_CON_UNIQUE, .name = ICE_STR("two"), .ncols = 2, .field_ids = pair};
    ice_constraint part = two;
    part.name = ICE_STR("part");
    part.field_ids = pair + 1;
    part.ncols = 1;
    part.where_sql = ICE_STR("team > 3");
    ice_tabledef *d = ice_tabledef_clone(f->def, true);
    assert_int_equal(ice_tabledef_add_constraint(d, &two, &err), ICE_OK);
    assert_int_equal(ice_tabledef_add_constraint(d, &part, &err), ICE_OK);
    assert_int_equal(add_con(d, ICE_CON_UNIQUE, "team_key", pair[0], &err), ICE_OK); /* the index's column */
    assert_int_equal(add_index(d, "cluster", d->cols[NOTE].field_id, "cluster", &err), ICE_OK);
    assert_int_equal(ice_keys_of(d, a, &k, &err), ICE_OK);
    assert_int_equal(k.n, 4); /* id, email, (team, email), team */
    assert_int_equal(k.keys[0].cols[0], ID);
    assert_true(k.keys[0].unique);
    assert_int_equal(k.keys[1].cols[0], EMAIL);
    assert_int_equal(k.keys[2].ncols, 2);
    assert_int_equal(k.keys[3].cols[0], TEAM);
    assert_true(k.keys[3].unique);
    assert_true(ice_str_eqc(k.keys[3].con->name, "team_key"));

    ice_value row[NCOLS], same[2] = {{.kind = ICE_T_LONG, .i = 7}, v_str("x@y")};
    bool null;
    row_of(row, 1, "x@y", 7, NULL);
    assert_true(ice_key_hash_row(&k.keys[2], row, &null) == ice_key_hash(same, 2));
    assert_false(null);
    row_of(row, 1, NULL, 7, NULL);
    (void)ice_key_hash_row(&k.keys[2], row, &null);
    assert_true(null);
    ice_tabledef_free(d);
    ice_arena_free(a);
}

static void a_table_needs_a_key(void **state)
{
    ice_error err = {0};
    ice_tail *t;
    ice_tabledef *d = ice_tabledef_create(ICE_STR("keyless"));
    assert_int_equal(add_col(d, "a", "int", &err), ICE_OK);
    assert_int_equal(ice_tail_create(d, &t, &err), ICE_MISUSE);
    assert_null(t);
    assert_int_equal(add_col(d, "_row_key", "long", &err), ICE_OK);
    assert_int_equal(ice_tail_create(d, &t, &err), ICE_OK);
    ice_tail_unref(t);
    ice_tabledef_free(d);
}

/* ---- versions ---- */

static void versions_and_times(void **state)
{
    fixture *f = *state;
    ice_ref a = insert(f->t, 1, "a@x", 3, "first", 10);
    assert_false(ice_ref_visible(a, 9));
    assert_true(ice_ref_visible(a, 10));
    assert_int_equal(ice_ref_op(a), ICE_OP_INSERT);
    ice_ref was = end(f->t, 1, 0, 20, ICE_OP_UPDATE);
    assert_ptr_equal(was.chunk, a.chunk);
    assert_int_equal(was.row, a.row);
    insert(f->t, 1, "a@y", 3, "second", 20);
    assert_int_equal(ice_ref_end(a), 20);
    assert_int_equal(ice_ref_end_op(a), ICE_OP_UPDATE);

    assert_int_equal(find(f->t, 0, v_int(1), 9), 0);
    assert_int_equal(find(f->t, 0, v_int(1), 19), 1);
    assert_string_equal(text_of(found.r[0], &f->def->cols[NOTE]), "first");
    assert_int_equal(find(f->t, 0, v_int(1), 20), 1);
    assert_string_equal(text_of(found.r[0], &f->def->cols[NOTE]), "second");
    assert_string_equal(text_of(found.r[0], &f->def->cols[PRICE]), "1.05");
    assert_int_equal(find(f->t, 1, v_str("a@x"), 25), 0);
    assert_int_equal(find(f->t, 1, v_str("a@x"), 15), 1);
    assert_int_equal(find(f->t, 1, v_str("a@y"), 25), 1);
    assert_int_equal(find(f->t, 9, v_int(1), 25), 0);

    end(f->t, 1, 0, 30, ICE_OP_DELETE);
    assert_int_equal(find(f->t, 0, v_int(1), 30), 0);
    ice_tail_counts n;
    ice_tail_counts_get(f->t, &n);
    assert_int_equal(n.versions, 2);
    assert_int_equal(n.live, 0);
    assert_int_equal(n.min_start, 10);
    assert_int_equal(n.max_start, 20);
    assert_int_equal(n.changes, 4);
    assert_true(n.bytes > 0);
}

static void non_unique_keys_and_nulls(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < 1000; i++)
        insert(f->t, i, NULL, i % 3 ? i % 3 : -1, "n", 10 + i);
    assert_int_equal(find(f->t, 2, v_int(1), 5000), 333);
    for (size_t i = 1; i < found.n; i++)
        assert_true(ice_ref_start(found.r[i]) < ice_ref_start(found.r[i - 1]));
    assert_int_equal(find(f->t, 2, v_int(1), 100), 30);
    assert_int_equal(find(f->t, 2, v_null(), 5000), 0);
    assert_int_equal(find(f->t, 1, v_null(), 5000), 0);
    assert_int_equal(find(f->t, 2, v_int(77), 5000), 0);
}

static int stop_at_three(void *arg, ice_ref r)
{
    return ++*(int *)arg == 3 ? 42 : 0;
}

static void a_callback_stops_the_search(void **state)
{
    fixture *f = *state;
    int n = 0;
    ice_value team = v_int(5);
    for (int i = 0; i < 100; i++)
        insert(f->t, i, NULL, 5, NULL, 1);
    assert_int_equal(ice_tail_find(f->t, 2, &team, 1, stop_at_three, &n), 42);
    assert_int_equal(n, 3);
}

static void values_are_converted_or_refused(void **state)
{
    fixture *f = *state;
    ice_error err = {0};
    ice_value row[NCOLS];
    ice_ref r;
    row_of(row, 1, "e", 1, "n");
    row[PRICE] = (ice_value){.kind = ICE_T_DECIMAL, .scale = 1, .dec = 15};
    row[TEAM] = v_int(3);
    assert_int_equal(ice_tail_insert(f->t, row, 5, ICE_OP_INSERT, &r, &err), ICE_OK);
    assert_string_equal(text_of(r, &f->def->cols[PRICE]), "1.50");
    row[NOTE] = v_null();
    row[TEAM] = v_int(1ll << 40);
    assert_int_equal(ice_tail_insert(f->t, row, 6, ICE_OP_INSERT, &r, &err), ICE_RANGE);
    assert_non_null(strstr(err.message, "team"));
    assert_null(r.chunk);
    insert(f->t, 2, "g", 1, "after the failed row", 7); /* no null stays behind */
    assert_int_equal(find(f->t, 0, v_int(2), 7), 1);
    assert_string_equal(text_of(found.r[0], &f->def->cols[NOTE]), "after the failed row");
    assert_int_equal(find(f->t, 0, v_int(1), 7), 1);
}

/* ---- tombstones ---- */

static int print_tomb(void *arg, const ice_tombstone *x)
{
    ice_buf_printf(arg, "%lld:%lld-%lld/%d ", (long long)x->key->i, (long long)x->base_start,
                   (long long)x->end, x->op);
    return 0;
}

static const char *tombs_text(ice_tail *t, int64_t from, int64_t to)
{
    static char text[256];
    ice_buf b = {0};
    assert_int_equal(ice_tail_tombstones(t, from, to, print_tomb, &b), 0);
    snprintf(text, sizeof text, "%.*s", (int)b.len, b.len ? b.data : "");
    ice_buf_free(&b);
    return text;
}

static void tombstones_of_published_rows(void **state)
{
    fixture *f = *state;
    ice_value key = v_int(7);
    int64_t at = 0;
    assert_null(end(f->t, 7, 3, 50, ICE_OP_UPDATE).chunk);
    insert(f->t, 7, "new", 1, "new", 50);
    end(f->t, 8, 4, 60, ICE_OP_DELETE);
    assert_false(ice_tail_ended(f->t, &key, 49, &at));
    assert_true(ice_tail_ended(f->t, &key, 50, &at));
    assert_int_equal(at, 50);
    key = v_int(9);
    assert_false(ice_tail_ended(f->t, &key, 99, NULL));
    assert_string_equal(tombs_text(f->t, 0, 100), "7:3-50/2 8:4-60/3 ");
    assert_string_equal(tombs_text(f->t, 50, 60), "8:4-60/3 ");
    for (int i = 100; i < 3000; i++)
        end(f->t, i, 1, 70, ICE_OP_DELETE);
    for (int i = 100; i < 3000; i++) {
        key = v_int(i);
        assert_true(ice_tail_ended(f->t, &key, 70, &at));
    }
    ice_tail_counts n;
    ice_tail_counts_get(f->t, &n);
    assert_int_equal(n.tombstones, 2902);
}

/* ---- scans ---- */

static bool skip_odd(void *arg, ice_ref r)
{
    ice_value v;
    ice_ref_value(r, arg, &v);
    return v.i % 2;
}

static void scans_by_time(void **state)
{
    fixture *f = *state;
    const ice_column cols[] = {f->def->cols[ID],
                               {.field_id = ICE_FIELD_ROW_START, .type = {.kind = ICE_T_TIMESTAMPTZ}},
                               {.field_id = ICE_FIELD_ROW_END, .type = {.kind = ICE_T_TIMESTAMPTZ}},
                               {.field_id = ICE_FIELD_OPERATION, .type = {.kind = ICE_T_STRING}}};
    insert(f->t, 1, "a", 1, "x", 10);
    insert(f->t, 2, "b", 1, NULL, 11);
    insert(f->t, 3, "c", 1, "z", 12);
    assert_string_equal(scan_text(f->t, 12, ICE_TAIL_VISIBLE, cols, 4, NULL, NULL),
                        "1|@10|-|insert\n2|@11|-|insert\n3|@12|-|insert\n");
    end(f->t, 2, 0, 15, ICE_OP_DELETE);
    assert_string_equal(scan_text(f->t, 20, ICE_TAIL_VISIBLE, cols, 1, NULL, NULL), "1\n3\n");
    assert_string_equal(scan_text(f->t, 11, ICE_TAIL_VISIBLE, cols, 1, NULL, NULL), "1\n2\n");
    assert_string_equal(scan_text(f->t, 20, ICE_TAIL_DEAD, cols, 4, NULL, NULL), "2|@11|@15|delete\n");
    assert_string_equal(scan_text(f->t, 14, ICE_TAIL_DEAD, cols, 4, NULL, NULL), "");
    assert_string_equal(scan_text(f->t, 14, ICE_TAIL_ALL, cols, 4, NULL, NULL),
                        "1|@10|-|insert\n2|@11|-|insert\n3|@12|-|insert\n");
    assert_string_equal(scan_text(f->t, 11, ICE_TAIL_ALL, cols, 1, NULL, NULL), "1\n2\n");
    assert_string_equal(scan_text(f->t, 20, ICE_TAIL_ALL, cols, 3, NULL, NULL),
                        "1|@10|-\n2|@11|@15\n3|@12|-\n");
    assert_string_equal(scan_text(f->t, 20, ICE_TAIL_ALL, cols, 1, skip_odd, (void *)cols), "2\n");
    assert_string_equal(scan_text(f->t, 5, ICE_TAIL_ALL, cols, 1, NULL, NULL), "");
}

static void full_chunks_are_not_copied(void **state)
{
    fixture *f = *state;
    ice_tail_scan *s;
    void *worker = NULL;
    ice_batch b;
    size_t rows = 0, largest = 0;
    for (int i = 0; i < 10000; i++)
        insert(f->t, i, NULL, 1, "note", i);
    assert_int_equal(
        ice_tail_scan_open(f->t, 20000, ICE_TAIL_VISIBLE, f->def->cols, NCOLS, NULL, NULL, &s, NULL), 0);
    insert(f->t, 10000, NULL, 1, "later", 10000); /* not in a scan opened before */
    while (!ice_tail_scan_next(s, &worker, &b, NULL) && b.count) {
        assert_null(b.sel);
        assert_int_equal((uintptr_t)b.vecs[ID].data % 64, 0);
        assert_null(b.vecs[NOTE].validity);
        assert_non_null(b.vecs[EMAIL].validity);
        rows += b.count;
        if (b.count > largest)
            largest = b.count;
    }
    assert_int_equal(rows, 10000);
    assert_int_equal(largest, ICE_BATCH_ROWS);
    ice_tail_scan_worker_free(worker);
    ice_tail_scan_close(s);
}

static void empty_scans(void **state)
{
    fixture *f = *state;
    assert_string_equal(scan_text(f->t, 5, ICE_TAIL_VISIBLE, f->def->cols, NCOLS, NULL, NULL), "");
    insert(f->t, 1, "a", 1, "x", 10);
    assert_string_equal(scan_text(f->t, 10, ICE_TAIL_VISIBLE, NULL, 0, NULL, NULL), "\n");
}

/* ---- undo ---- */

static void savepoints_of_an_overlay(void **state)
{
    fixture *f = *state;
    ice_tail_counts n;
    ice_value key = v_int(8);
    insert(f->t, 1, "a", 1, "one", 1);
    insert(f->t, 2, "b", 1, "two", 2);
    /* savepoint at 2 */
    end(f->t, 1, 0, 3, ICE_OP_UPDATE);
    insert(f->t, 1, "aa", 1, "uno", 3);
    end(f->t, 8, 0, 4, ICE_OP_DELETE);
    insert(f->t, 3, "c", 1, "three", 5);
    end(f->t, 3, 0, 6, ICE_OP_DELETE);
    ice_tail_undo(f->t, 2);
    assert_string_equal(scan_text(f->t, 100, ICE_TAIL_VISIBLE, &f->def->cols[NOTE], 1, NULL, NULL),
                        "one\ntwo\n");
    assert_string_equal(scan_text(f->t, 100, ICE_TAIL_DEAD, &f->def->cols[NOTE], 1, NULL, NULL), "");
    assert_string_equal(scan_text(f->t, 100, ICE_TAIL_ALL, &f->def->cols[NOTE], 1, NULL, NULL), "one\ntwo\n");
    assert_false(ice_tail_ended(f->t, &key, 100, NULL));
    assert_string_equal(tombs_text(f->t, 0, 1000), "");
    assert_int_equal(find(f->t, 1, v_str("aa"), 100), 0);
    ice_tail_counts_get(f->t, &n);
    assert_int_equal(n.versions, 2);
    assert_int_equal(n.live, 2);
    assert_int_equal(n.tombstones, 0);
    assert_int_equal(n.max_start, 2);
    end(f->t, 1, 0, 3, ICE_OP_DELETE); /* and on with the same numbers */
    assert_string_equal(scan_text(f->t, 100, ICE_TAIL_VISIBLE, &f->def->cols[NOTE], 1, NULL, NULL), "two\n");
    ice_tail_undo(f->t, 0);
    ice_tail_counts_get(f->t, &n);
    assert_int_equal(n.versions, 0);
    assert_int_equal(n.live, 0);
    assert_int_equal(find(f->t, 0, v_int(2), 100), 0);
}

/* ---- schema changes ---- */

static void a_new_column_and_a_new_key(void **state)
{
    fixture *f = *state;
    ice_error err = {0};
    insert(f->t, 1, "a", 1, "old", 10);
    ice_tabledef *d = ice_tabledef_clone(f->def, true);
    ice_column added = {.name = ICE_STR("city"),
                        .sql_type = ICE_STR("text"),
                        .type = {.kind = ICE_T_STRING},
                        .has_initial = true,
                        .initial = v_str("Bonn")};
    assert_int_equal(ice_tabledef_add_column(d, &added, &err), ICE_OK);
    assert_int_equal(ice_tabledef_drop_column(d, ICE_STR("note"), &err), ICE_OK);
    assert_int_equal(add_index(d, "city_idx", d->cols[4].field_id, "btree", &err), ICE_OK);
    assert_int_equal(ice_tail_set_def(f->t, d, &err), ICE_OK);

    ice_value row[5] = {
        v_int(2), v_str("b"), v_null(), {.kind = ICE_T_DECIMAL, .scale = 2, .dec = 1}, v_str("Ulm")};
    assert_int_equal(ice_tail_insert(f->t, row, 20, ICE_OP_INSERT, NULL, &err), ICE_OK);
    assert_string_equal(scan_text(f->t, 20, ICE_TAIL_VISIBLE, d->cols, 5, NULL, NULL),
                        "1|a|1|1.05|Bonn\n2|b|-|0.01|Ulm\n");
    assert_string_equal(scan_text(f->t, 20, ICE_TAIL_VISIBLE, &f->def->cols[NOTE], 1, NULL, NULL),
                        "old\n-\n");
    assert_int_equal(find(f->t, 3, v_str("Bonn"), 20), 1);
    assert_string_equal(text_of(found.r[0], &d->cols[ID]), "1");
    assert_string_equal(text_of(found.r[0], &d->cols[4]), "Bonn");
    assert_int_equal(find(f->t, 3, v_str("Ulm"), 20), 1);
    assert_int_equal(find(f->t, 0, v_int(1), 20), 1);
    assert_int_equal(find(f->t, 1, v_str("b"), 20), 1);
    assert_non_null(end(f->t, 1, 0, 30, ICE_OP_DELETE).chunk);
    assert_null(end(f->t, 99, 0, 30, ICE_OP_DELETE).chunk);
    ice_tail_unref(f->t);
    f->t = NULL;
    ice_tabledef_free(d);
}

static void promoted_columns(void **state)
{
    fixture *f = *state;
    ice_error err = {0};
    insert(f->t, 1, "a", 7, "old", 10);
    insert(f->t, 2, "b", -1, "old", 10);
    ice_tabledef *d = ice_tabledef_clone(f->def, true);
    d->cols[TEAM].type = (ice_type){.kind = ICE_T_LONG};
    d->cols[PRICE].type = (ice_type){.kind = ICE_T_DECIMAL, .precision = 30, .scale = 2};
    assert_int_equal(ice_tail_set_def(f->t, d, &err), ICE_OK);
    ice_value row[NCOLS];
    row_of(row, 3, "c", 7, "new");
    assert_int_equal(ice_tail_insert(f->t, row, 20, ICE_OP_INSERT, NULL, &err), ICE_OK);
    assert_string_equal(scan_text(f->t, 20, ICE_TAIL_VISIBLE, d->cols, NCOLS, NULL, NULL),
                        "1|a|7|old|1.05\n2|b|-|old|2.05\n3|c|7|new|3.05\n");
    assert_string_equal(scan_text(f->t, 10, ICE_TAIL_VISIBLE, f->def->cols, NCOLS, NULL, NULL),
                        "1|a|7|old|1.05\n2|b|-|old|2.05\n"); /* a reader of the older schema */
    assert_int_equal(find(f->t, 2, v_int(7), 20), 2);
    ice_column bad = d->cols[PRICE];
    bad.type.scale = 4;
    ice_tail_scan *s;
    void *worker = NULL;
    ice_batch b;
    assert_int_equal(ice_tail_scan_open(f->t, 20, ICE_TAIL_VISIBLE, &bad, 1, NULL, NULL, &s, &err), ICE_OK);
    assert_int_equal(ice_tail_scan_next(s, &worker, &b, &err), ICE_UNSUPPORTED);
    assert_non_null(strstr(err.message, "price"));
    ice_tail_scan_worker_free(worker);
    ice_tail_scan_close(s);
    ice_tail_unref(f->t);
    f->t = NULL;
    ice_tabledef_free(d);
}

/* ---- trimming ---- */

static void trimming_after_a_flush(void **state)
{
    fixture *f = *state;
    ice_tail *t;
    insert(f->t, 1, "a", 1, "stays current", 10);
    insert(f->t, 2, "b", 1, "ended after the flush", 11);
    insert(f->t, 3, "c", 1, "dead before it", 12);
    end(f->t, 3, 0, 13, ICE_OP_DELETE);
    end(f->t, 90, 5, 14, ICE_OP_DELETE); /* the flush removes it */
    end(f->t, 91, 6, 31, ICE_OP_UPDATE);
    end(f->t, 2, 0, 32, ICE_OP_UPDATE);
    insert(f->t, 2, "b", 1, "second", 32);
    insert(f->t, 4, "d", 1, "new and dead", 33);
    end(f->t, 4, 0, 34, ICE_OP_DELETE);
    assert_int_equal(ice_tail_trim(f->t, 30, &t, NULL), ICE_OK);
    assert_string_equal(scan_text(t, 40, ICE_TAIL_VISIBLE, &f->def->cols[NOTE], 1, NULL, NULL), "second\n");
    assert_string_equal(scan_text(t, 40, ICE_TAIL_DEAD, &f->def->cols[NOTE], 1, NULL, NULL),
                        "new and dead\n");
    assert_string_equal(tombs_text(t, 0, 100), "2:11-32/2 91:6-31/2 ");
    ice_value key = v_int(2);
    int64_t at;
    assert_true(ice_tail_ended(t, &key, 40, &at));
    assert_int_equal(at, 32);
    assert_int_equal(find(t, 1, v_str("b"), 40), 1);
    assert_int_equal(find(t, 0, v_int(1), 40), 0);
    ice_tail_counts n;
    ice_tail_counts_get(t, &n);
    assert_int_equal(n.versions, 2);
    assert_int_equal(n.live, 1);
    assert_int_equal(n.tombstones, 2);
    end(t, 2, 0, 50, ICE_OP_DELETE);
    assert_int_equal(find(t, 0, v_int(2), 50), 0);
    assert_int_equal(find(f->t, 0, v_int(2), 50), 1); /* the old one goes on as it was */
    ice_tail_unref(t);
}

static void references(void **state)
{
    fixture *f = *state;
    ice_tail *t = ice_tail_ref(f->t);
    ice_ref r = insert(t, 1, "a", 1, "kept", 10);
    ice_tail_unref(f->t);
    f->t = t;
    assert_string_equal(text_of(r, &f->def->cols[NOTE]), "kept");
    ice_tail_unref(NULL);
    ice_tail_scan_close(NULL);
    ice_tail_scan_worker_free(NULL);
}

#define WITH_TAIL(fn) cmocka_unit_test_setup_teardown(fn, make, unmake)
int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TAIL(keys_of_a_definition),
        cmocka_unit_test(a_table_needs_a_key),
        WITH_TAIL(versions_and_times),
        WITH_TAIL(non_unique_keys_and_nulls),
        WITH_TAIL(a_callback_stops_the_search),
        WITH_TAIL(values_are_converted_or_refused),
        WITH_TAIL(tombstones_of_published_rows),
        WITH_TAIL(scans_by_time),
        WITH_TAIL(full_chunks_are_not_copied),
        WITH_TAIL(empty_scans),
        WITH_TAIL(savepoints_of_an_overlay),
        WITH_TAIL(a_new_column_and_a_new_key),
        WITH_TAIL(promoted_columns),
        WITH_TAIL(trimming_after_a_flush),
        WITH_TAIL(references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
