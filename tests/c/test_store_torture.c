/* Tails against a naive model, with allocations failing, and under readers beside a writer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "store_table.h"

static uint64_t rng;
static int64_t rnd(int64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (int64_t)(rng % (uint64_t)n);
}

/* ---- the model: arrays, searched from end to end ---- */

typedef struct mrow {
    int64_t id, team; /* team -1: NULL */
    int email, note;  /* number in the text; -1: NULL */
    int city;         /* -1 NULL, -2 stored before the column was there */
    int64_t start, end;
    ice_row_op op, end_op;
} mrow;
typedef struct mtomb {
    int64_t id, base, end;
    ice_row_op op;
} mtomb;
typedef struct model {
    mrow rows[20000];
    size_t n;
    mtomb tombs[20000];
    size_t ntombs;
    int64_t now;
    ice_tabledef *defs[4];
    int def; /* the tail's; 0 base, 1 with city, 2 team promoted, 3 note without a column */
    ice_tail *t;
} model;

static void make_defs(model *m)
{
    ice_column city = {.name = ICE_STR("city"),
                       .sql_type = ICE_STR("text"),
                       .type = {.kind = ICE_T_STRING},
                       .has_initial = true,
                       .initial = v_str("Bonn")};
    m->defs[0] = table_def(NULL);
    m->defs[1] = ice_tabledef_clone(m->defs[0], true);
    assert_int_equal(ice_tabledef_add_column(m->defs[1], &city, NULL), ICE_OK);
    assert_int_equal(add_index(m->defs[1], "city_idx", m->defs[1]->cols[NCOLS].field_id, "btree", NULL),
                     ICE_OK);
    m->defs[2] = ice_tabledef_clone(m->defs[1], true);
    m->defs[2]->cols[TEAM].type = (ice_type){.kind = ICE_T_LONG};
    m->defs[3] = ice_tabledef_clone(m->defs[2], true);
    assert_int_equal(ice_tabledef_drop_index(m->defs[3], ICE_STR("people_team_idx"), NULL), ICE_OK);
    assert_int_equal(ice_tabledef_drop_column(m->defs[3], ICE_STR("note"), NULL), ICE_OK);
}

static mrow *live(model *m, int64_t id)
{
    for (size_t i = m->n; i--;)
        if (m->rows[i].id == id && m->rows[i].end == ICE_TIME_MAX)
            return &m->rows[i];
    return NULL;
}

static ice_str word(int n, const char *what)
{
    static char text[8][200];
    static int at;
    char *p = text[at++ & 7];
    int len = snprintf(p, 200, "%s %d", what, n);
    if (n % 5 == 0) { /* a long one */
        memset(p + len, 'x', 150);
        len += 150;
    }
    return (ice_str){p, (size_t)len};
}

static ice_value word_value(int n, const char *what)
{
    if (n == -2)
        return v_str("Bonn");
    return n < 0 ? v_null() : (ice_value){.kind = ICE_T_STRING, .s = word(n, what)};
}

/* Values by field, in the order of a definition. */
static void model_values(const mrow *r, const ice_tabledef *d, ice_value *out)
{
    for (size_t i = 0; i < d->ncols; i++) {
        ice_str name = d->cols[i].name;
        if (ice_str_eqc(name, "id"))
            out[i] = v_int(r->id);
        if (ice_str_eqc(name, "email"))
            out[i] = word_value(r->email, "email");
        if (ice_str_eqc(name, "team"))
            out[i] = r->team < 0 ? v_null() : (ice_value){.kind = d->cols[i].type.kind, .i = r->team};
        if (ice_str_eqc(name, "note"))
            out[i] = word_value(r->note, "note");
        if (ice_str_eqc(name, "price"))
            out[i] = (ice_value){.kind = ICE_T_DECIMAL, .scale = 2, .dec = r->id * 3};
        if (ice_str_eqc(name, "city"))
            out[i] = word_value(r->city, "city");
    }
}

/* ---- steps; each may fail for want of memory, and then did nothing ---- */

static bool nomem(ice_code rc)
{
    if (rc)
        assert_int_equal(rc, ICE_NOMEM);
    return rc != ICE_OK;
}

static void step_insert(model *m, int64_t id, ice_row_op op)
{
    if (live(m, id))
        return;
    mrow r = {.id = id,
              .team = rnd(6) - 1,
              .email = (int)rnd(40) - 1,
              .note = m->def == 3 ? -1 : (int)rnd(30) - 1,
              .city = m->def ? (int)rnd(10) - 1 : -2,
              .start = m->now,
              .end = ICE_TIME_MAX,
              .op = op};
    ice_value values[NCOLS + 1];
    ice_ref ref;
    model_values(&r, m->defs[m->def], values);
    if (nomem(ice_tail_insert(m->t, values, m->now, op, &ref, NULL)))
        return;
    assert_int_equal(ice_ref_start(ref), r.start);
    m->rows[m->n++] = r;
}

static bool step_end(model *m, int64_t id, ice_row_op op)
{
    ice_value key = v_int(id);
    ice_ref was;
    mrow *r = live(m, id);
    int64_t base = rnd(100);
    if (nomem(ice_tail_end(m->t, &key, base, m->now, op, &was, NULL)))
        return false;
    assert_int_equal(was.chunk != NULL, r != NULL);
    if (r) {
        assert_int_equal(ice_ref_start(was), r->start);
        r->end = m->now;
        r->end_op = op;
    } else {
        m->tombs[m->ntombs++] = (mtomb){id, base, m->now, op};
    }
    return true;
}

static void step_undo(model *m)
{
    int64_t mark = m->now - rnd(20);
    size_t n = 0, k = 0;
    ice_tail_undo(m->t, mark);
    for (size_t i = 0; i < m->n; i++) {
        mrow r = m->rows[i];
        if (r.start > mark)
            continue;
        if (r.end > mark)
            r.end = ICE_TIME_MAX, r.end_op = 0;
        m->rows[n++] = r;
    }
    for (size_t i = 0; i < m->ntombs; i++)
        if (m->tombs[i].end <= mark)
            m->tombs[k++] = m->tombs[i];
    m->n = n;
    m->ntombs = k;
    m->now = mark + 1;
}

static void step_trim(model *m)
{
    int64_t f = m->now - rnd(40);
    ice_tail *t;
    if (nomem(ice_tail_trim(m->t, f, &t, NULL)))
        return;
    ice_tail_unref(m->t);
    m->t = t;
    size_t n = 0, k = 0;
    static mtomb tombs[20000];
    for (size_t i = 0; i < m->n; i++) {
        mrow r = m->rows[i];
        if (r.start > f)
            m->rows[n++] = r;
        else if (r.end > f && r.end != ICE_TIME_MAX)
            tombs[k++] = (mtomb){r.id, r.start, r.end, r.end_op};
    }
    for (size_t i = 0; i < m->ntombs; i++)
        if (m->tombs[i].end > f)
            tombs[k++] = m->tombs[i];
    memcpy(m->tombs, tombs, k * sizeof *tombs);
    m->n = n;
    m->ntombs = k;
}

/* ---- comparing ---- */

static bool in_scan(const mrow *r, int64_t at, ice_tail_which which)
{
    if (which == ICE_TAIL_DEAD)
        return r->end <= at;
    return r->start <= at && (which == ICE_TAIL_ALL || r->end > at);
}

static void check_row(model *m, const mrow *r, const ice_batch *b, size_t row, int64_t at,
                      const ice_tabledef *d)
{
    ice_value want[NCOLS + 4], got;
    model_values(r, d, want);
    want[d->ncols] = (ice_value){.kind = ICE_T_TIMESTAMPTZ, .i = r->start};
    want[d->ncols + 1] = r->end <= at ? (ice_value){.kind = ICE_T_TIMESTAMPTZ, .i = r->end} : v_null();
    static const char *const names[] = {"", "insert", "update", "delete"};
    want[d->ncols + 2] = v_str(names[r->end <= at ? r->end_op : r->op]);
    assert_int_equal(b->nvecs, d->ncols + 3);
    for (size_t i = 0; i < b->nvecs; i++) {
        ice_vec_get(&b->vecs[i], row, &got);
        assert_int_equal(got.null, want[i].null);
        if (!got.null)
            assert_true(ice_value_eq(&got, &want[i]));
    }
}

static void check_scan(model *m, int64_t at, ice_tail_which which, const ice_tabledef *d)
{
    ice_column cols[NCOLS + 4];
    ice_tail_scan *s;
    ice_batch b;
    void *worker = NULL;
    size_t i = 0;
    memcpy(cols, d->cols, d->ncols * sizeof *cols);
    cols[d->ncols] = (ice_column){.field_id = ICE_FIELD_ROW_START, .type = {.kind = ICE_T_TIMESTAMPTZ}};
    cols[d->ncols + 1] = (ice_column){.field_id = ICE_FIELD_ROW_END, .type = {.kind = ICE_T_TIMESTAMPTZ}};
    cols[d->ncols + 2] = (ice_column){.field_id = ICE_FIELD_OPERATION, .type = {.kind = ICE_T_STRING}};
    if (nomem(ice_tail_scan_open(m->t, at, which, cols, d->ncols + 3, NULL, NULL, &s, NULL)))
        return;
    for (;;) {
        if (nomem(ice_tail_scan_next(s, &worker, &b, NULL)))
            break;
        for (size_t k = 0; k < b.count; k++, i++) {
            while (i < m->n && !in_scan(&m->rows[i], at, which))
                i++;
            assert_true(i < m->n);
            check_row(m, &m->rows[i], &b, b.sel ? b.sel[k] : b.first + k, at, d);
        }
        if (b.count)
            continue;
        for (; i < m->n; i++)
            assert_false(in_scan(&m->rows[i], at, which));
        break;
    }
    ice_tail_scan_worker_free(worker);
    ice_tail_scan_close(s);
}

typedef struct hits {
    size_t n;
    int64_t sum;
} hits;
static int count_hit(void *arg, ice_ref r)
{
    hits *h = arg;
    h->n++;
    h->sum += ice_ref_start(r) * 31 + ice_ref_op(r);
    return 0;
}

static void check_find(model *m, size_t key, const char *column, ice_value v, int64_t at)
{
    hits got = {0}, want = {0};
    char text[256];
    if (v.kind == ICE_T_STRING)
        v.s.ptr = memcpy(text, v.s.ptr, v.s.len); /* word() reuses its own */
    int col = ice_tabledef_find(m->defs[m->def], ice_str_c(column));
    for (size_t i = 0; i < m->n; i++) {
        ice_value values[NCOLS + 1];
        if (!in_scan(&m->rows[i], at, ICE_TAIL_VISIBLE))
            continue;
        model_values(&m->rows[i], m->defs[m->def], values);
        if (v.null || !ice_value_eq(&values[col], &v))
            continue;
        want.n++;
        want.sum += m->rows[i].start * 31 + m->rows[i].op;
    }
    assert_int_equal(ice_tail_find(m->t, key, &v, at, count_hit, &got), 0);
    assert_int_equal(got.n, want.n);
    assert_int_equal(got.sum, want.sum);
}

typedef struct tomb_walk {
    model *m;
    size_t i;
    int64_t from, to;
} tomb_walk;
static int check_tomb(void *arg, const ice_tombstone *x)
{
    tomb_walk *w = arg;
    while (w->i < w->m->ntombs && !(w->m->tombs[w->i].end > w->from && w->m->tombs[w->i].end <= w->to))
        w->i++;
    assert_true(w->i < w->m->ntombs);
    mtomb *t = &w->m->tombs[w->i++];
    assert_int_equal(x->key->i, t->id);
    assert_int_equal(x->base_start, t->base);
    assert_int_equal(x->end, t->end);
    assert_int_equal(x->op, t->op);
    assert_true(x->hash == ice_key_hash(x->key, 1));
    return 0;
}

static void check_tombs(model *m, int64_t at)
{
    tomb_walk w = {m, 0, at - rnd(50), at};
    assert_int_equal(ice_tail_tombstones(m->t, w.from, w.to, check_tomb, &w), 0);
    for (; w.i < m->ntombs; w.i++)
        assert_false(m->tombs[w.i].end > w.from && m->tombs[w.i].end <= w.to);
    for (int k = 0; k < 10; k++) {
        ice_value key = v_int(rnd(60));
        int64_t want = -1, end = -1;
        for (size_t i = 0; i < m->ntombs; i++)
            if (m->tombs[i].id == key.i && m->tombs[i].end <= at && m->tombs[i].end > want)
                want = m->tombs[i].end;
        assert_int_equal(ice_tail_ended(m->t, &key, at, &end), want >= 0);
        assert_int_equal(end, want);
    }
}

static void check_counts(model *m)
{
    ice_tail_counts c;
    size_t alive = 0;
    for (size_t i = 0; i < m->n; i++)
        alive += m->rows[i].end == ICE_TIME_MAX;
    ice_tail_counts_get(m->t, &c);
    assert_int_equal(c.versions, m->n);
    assert_int_equal(c.live, alive);
    assert_int_equal(c.tombstones, m->ntombs);
}

static void check_all(model *m)
{
    int64_t at = m->now - rnd(60);
    check_counts(m);
    for (int w = ICE_TAIL_VISIBLE; w <= ICE_TAIL_DEAD; w++)
        check_scan(m, at, (ice_tail_which)w, m->defs[m->def]);
    check_scan(m, at, ICE_TAIL_VISIBLE,
               m->defs[0]->ncols == NCOLS && m->def == 1 ? m->defs[2] : m->defs[m->def]);
    for (int k = 0; k < 5; k++) {
        check_find(m, 0, "id", v_int(rnd(60)), at);
        check_find(m, 1, "email", word_value((int)rnd(40) - 1, "email"), at);
        if (m->def < 3)
            check_find(m, 2, "team", rnd(5) ? v_int(rnd(6)) : v_null(), at);
        if (m->def)
            check_find(m, m->def < 3 ? 3 : 2, "city", word_value((int)rnd(10) - 2, "city"), at);
    }
    check_tombs(m, at);
}

/* ---- runs ---- */

static void one_step(model *m)
{
    int64_t id = rnd(60), what = rnd(100);
    m->now += rnd(3) == 0;
    if (what < 45) {
        step_insert(m, id, ICE_OP_INSERT);
    } else if (what < 75) {
        if (step_end(m, id, ICE_OP_UPDATE))
            step_insert(m, id, ICE_OP_UPDATE);
    } else if (what < 97) {
        step_end(m, id, ICE_OP_DELETE);
    } else if (what < 99) {
        if (rnd(3) == 0)
            step_undo(m);
    } else if (rnd(2) == 0) {
        step_trim(m);
    } else if (m->def < 3 && !nomem(ice_tail_set_def(m->t, m->defs[m->def + 1], NULL))) {
        m->def++;
    }
}

/* With `fail`, every step runs with its k-th allocation failing, k random. */
static void run_model(uint64_t seed, int steps, bool fail)
{
    model *m = calloc(1, sizeof *m);
    rng = seed * 0x9e3779b97f4a7c15ull + 1;
    m->now = 100;
    make_defs(m);
    assert_int_equal(ice_tail_create(m->defs[0], &m->t, NULL), ICE_OK);
    for (int i = 0; i < steps; i++) {
        if (fail)
            ice_fault_arm("*", 1 + rnd(4), false);
        one_step(m);
        if (fail && i % 20 == 0)
            check_all(m); /* under fault too */
        ice_fault_disarm();
        if (i % 20 == 0)
            check_all(m);
    }
    check_all(m);
    ice_tail_unref(m->t);
    for (int i = 0; i < 4; i++)
        ice_tabledef_free(m->defs[i]);
    free(m);
}

static void random_operations_against_the_model(void **state)
{
    for (uint64_t seed = 1; seed <= 12; seed++)
        run_model(seed, 3000, false);
}

static void random_operations_with_failing_memory(void **state)
{
    for (uint64_t seed = 100; seed < 112; seed++)
        run_model(seed, 3000, true);
}

/* A fixed scenario with each of its allocations failing once. */
static ice_code scenario(model *m, ice_error *err)
{
    ice_tail *t = NULL, *trimmed = NULL;
    ice_tail_scan *s = NULL;
    void *worker = NULL;
    ice_batch b = {.count = 1};
    ice_code rc;
    ICE_TRY(ice_tail_create(m->defs[0], &t, err));
    for (int i = 0; i < 100; i++) {
        ice_value row[NCOLS], key = v_int(i + 1000);
        row_of(row, i, i % 2 ? "mail" : NULL, i % 7, "some note");
        ICE_TRY(ice_tail_insert(t, row, i, ICE_OP_INSERT, NULL, err));
        ICE_TRY(ice_tail_end(t, i % 3 ? &key : row, 0, i, ICE_OP_DELETE, NULL, err));
    }
    ICE_TRY(ice_tail_set_def(t, m->defs[2], err));
    ICE_TRY(ice_tail_trim(t, 50, &trimmed, err));
    ICE_TRY(ice_tail_scan_open(trimmed, 200, ICE_TAIL_ALL, m->defs[2]->cols, m->defs[2]->ncols, NULL, NULL,
                               &s, err));
    while (b.count)
        ICE_TRY(ice_tail_scan_next(s, &worker, &b, err));
out:
    ice_tail_scan_worker_free(worker);
    ice_tail_scan_close(s);
    ice_tail_unref(trimmed);
    ice_tail_unref(t);
    return rc;
}

static void every_allocation_fails_once(void **state)
{
    model *m = calloc(1, sizeof *m);
    make_defs(m);
    bool fired = true;
    for (long k = 1; fired; k++) {
        ice_error err = {0};
        ice_fault_arm("*", k, false);
        ice_code rc = scenario(m, &err);
        fired = ice_fault_hits() >= k;
        ice_fault_disarm();
        assert_int_equal(rc, fired ? ICE_NOMEM : ICE_OK);
    }
    for (int i = 0; i < 4; i++)
        ice_tabledef_free(m->defs[i]);
    free(m);
}

/* ---- readers beside a writer ---- */

/* Every commit moves an amount between two rows: at any published time the teams' sum and the row count are
 * the same. */
enum { ACCOUNTS = 200, COMMITS = 6000, READERS = 3, START_SUM = 100 };

typedef struct bank {
    ice_tail *t;
    const ice_tabledef *def;
    _Atomic int64_t published;
    atomic_bool done;
    atomic_int wrong;
    atomic_ulong reads;
} bank;

static void put_account(bank *k, int64_t id, int64_t amount, int64_t at, ice_row_op op)
{
    ice_value row[NCOLS];
    char email[32];
    snprintf(email, sizeof email, "account %lld", (long long)id);
    row_of(row, id, email, amount, amount % 2 ? "odd" : NULL);
    if (ice_tail_insert(k->t, row, at, op, NULL, NULL))
        k->wrong++;
}

static void *write_bank(void *arg)
{
    bank *k = arg;
    static int64_t amounts[ACCOUNTS];
    uint64_t x = 99;
    for (int i = 0; i < ACCOUNTS; i++)
        amounts[i] = START_SUM;
    for (int64_t at = 2; at < COMMITS; at++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        int64_t from = (int64_t)(x >> 33) % ACCOUNTS,
                to = (from + 1 + (int64_t)(x >> 50) % (ACCOUNTS - 1)) % ACCOUNTS;
        if (!amounts[from])
            continue;
        amounts[from]--;
        amounts[to]++;
        for (int side = 0; side < 2; side++) {
            int64_t id = side ? to : from;
            ice_value key = v_int(id);
            if (ice_tail_end(k->t, &key, 0, at, ICE_OP_UPDATE, NULL, NULL))
                k->wrong++;
            put_account(k, id, amounts[id], at, ICE_OP_UPDATE);
        }
        atomic_store_explicit(&k->published, at, memory_order_release);
    }
    k->done = true;
    return NULL;
}

static void read_whole(bank *k, int64_t at)
{
    ice_tail_scan *s;
    ice_batch b;
    void *worker = NULL;
    int64_t sum = 0, rows = 0;
    if (ice_tail_scan_open(k->t, at, ICE_TAIL_VISIBLE, k->def->cols, NCOLS, NULL, NULL, &s, NULL)) {
        k->wrong++;
        return;
    }
    while (!ice_tail_scan_next(s, &worker, &b, NULL) && b.count)
        for (size_t i = 0; i < b.count; i++, rows++) {
            ice_value team, note;
            size_t row = b.sel ? b.sel[i] : b.first + i;
            ice_vec_get(&b.vecs[TEAM], row, &team);
            ice_vec_get(&b.vecs[NOTE], row, &note);
            if (note.null == (team.i % 2 == 1))
                k->wrong++;
            sum += team.i;
        }
    if (rows != ACCOUNTS || sum != ACCOUNTS * START_SUM)
        k->wrong++;
    ice_tail_scan_worker_free(worker);
    ice_tail_scan_close(s);
}

static int same_email(void *arg, ice_ref r)
{
    ice_value *v = arg;
    ice_value got;
    ice_column email = {.field_id = 2, .type = {.kind = ICE_T_STRING}};
    ice_ref_value(r, &email, &got);
    if (!ice_value_eq(v, &got))
        return -1;
    v[1].i++;
    return 0;
}

static void read_keys(bank *k, int64_t at)
{
    for (int64_t id = 0; id < ACCOUNTS; id += 7) {
        char text[32];
        int n = snprintf(text, sizeof text, "account %lld", (long long)id);
        ice_value email[2] = {{.kind = ICE_T_STRING, .s = {text, (size_t)n}}, v_int(0)}, key = v_int(id);
        if (ice_tail_find(k->t, 0, &key, at, same_email, email) || email[1].i != 1)
            k->wrong++;
        if (ice_tail_find(k->t, 1, email, at, same_email, email) || email[1].i != 2)
            k->wrong++;
    }
}

static void *read_bank(void *arg)
{
    bank *k = arg;
    int64_t back = 0;
    do {
        int64_t p = atomic_load_explicit(&k->published, memory_order_acquire);
        int64_t at = p > back ? p - back : p; /* also the past */
        back = (back + 37) % 500;
        read_whole(k, at);
        read_keys(k, at);
        k->reads++;
    } while (!k->done);
    return NULL;
}

static void readers_beside_a_writer(void **state)
{
    bank k = {.published = 1};
    pthread_t writer, readers[READERS];
    ice_tabledef *def = table_def(NULL);
    k.def = def;
    assert_int_equal(def->cols[EMAIL].field_id, 2);
    assert_int_equal(ice_tail_create(def, &k.t, NULL), ICE_OK);
    for (int64_t i = 0; i < ACCOUNTS; i++)
        put_account(&k, i, START_SUM, 1, ICE_OP_INSERT);
    assert_int_equal(pthread_create(&writer, NULL, write_bank, &k), 0);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_bank, &k), 0);
    pthread_join(writer, NULL);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(k.wrong, 0);
    assert_true(k.reads >= READERS);
    ice_tail_unref(k.t);
    ice_tabledef_free(def);
}

/* Several workers share one scan: each row comes once. */
typedef struct shared_scan {
    ice_tail_scan *s;
    _Atomic int64_t rows, sum;
} shared_scan;
static void *scan_part(void *arg)
{
    shared_scan *x = arg;
    void *worker = NULL;
    ice_batch b;
    while (!ice_tail_scan_next(x->s, &worker, &b, NULL) && b.count)
        for (size_t i = 0; i < b.count; i++) {
            ice_value id;
            ice_vec_get(&b.vecs[0], b.sel ? b.sel[i] : b.first + i, &id);
            x->rows++;
            x->sum += id.i;
        }
    ice_tail_scan_worker_free(worker);
    return NULL;
}

static void one_scan_by_several_workers(void **state)
{
    enum { ROWS = 30000 };
    shared_scan x = {0};
    pthread_t threads[4];
    ice_tail *t;
    ice_tabledef *def = table_def(NULL);
    assert_int_equal(ice_tail_create(def, &t, NULL), ICE_OK);
    for (int i = 0; i < ROWS; i++) {
        ice_value row[NCOLS];
        row_of(row, i, NULL, 1, NULL);
        assert_int_equal(ice_tail_insert(t, row, 1 + i % 2, ICE_OP_INSERT, NULL, NULL), ICE_OK);
    }
    assert_int_equal(ice_tail_scan_open(t, 1, ICE_TAIL_VISIBLE, def->cols, 1, NULL, NULL, &x.s, NULL),
                     ICE_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, scan_part, &x), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(x.rows, ROWS / 2);
    assert_int_equal(x.sum, (int64_t)ROWS / 2 * (ROWS - 2) / 2);
    ice_tail_scan_close(x.s);
    ice_tail_unref(t);
    ice_tabledef_free(def);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_against_the_model),
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(random_operations_with_failing_memory),
        cmocka_unit_test(readers_beside_a_writer),
        cmocka_unit_test(one_scan_by_several_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
