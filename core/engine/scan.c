/* Chunk sources as DuckDB tables: the resolver answers a table name, the replacement scan turns the answer into a call
 * of our table function with the source's number, and the function's callbacks pump batches.
 *
 * Why the number is a named argument: DuckDB's common-subplan optimizer merges calls with equal positional arguments
 * and ignores what was pushed into them; calls without positional arguments it leaves alone. A plan that is copied
 * (an inlined CTE) binds again with the same number, so filters belong to the bound call, never to the source. */
#include "engine/engine_int.h"

#include <stdlib.h>

/* ---- registrations ---- */

static void reg_unref(ice__reg *r)
{
    if (atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    ice_engine *e = r->engine;
    pthread_mutex_lock(&e->lock);
    for (ice__reg **p = &e->regs; *p; p = &(*p)->next_in_engine)
        if (*p == r) {
            *p = r->next_in_engine;
            break;
        }
    pthread_mutex_unlock(&e->lock);
    r->source->m->release(r->source);
    free(r);
}

static ice__reg *reg_add(ice_engine_conn *c, ice_source *source)
{
    ice__reg *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    *r = (ice__reg){.source = source, .engine = c->engine, .conn = c, .next_in_statement = c->regs};
    atomic_init(&r->refs, 1);
    c->regs = r;
    pthread_mutex_lock(&c->engine->lock);
    r->id = (int64_t)(ice_random64() >> 1);
    r->next_in_engine = c->engine->regs;
    c->engine->regs = r;
    pthread_mutex_unlock(&c->engine->lock);
    return r;
}

static ice__reg *reg_find(ice_engine *e, int64_t id)
{
    pthread_mutex_lock(&e->lock);
    ice__reg *r = e->regs;
    while (r && r->id != id)
        r = r->next_in_engine;
    if (r)
        atomic_fetch_add(&r->refs, 1);
    pthread_mutex_unlock(&e->lock);
    return r;
}

void ice__scan_end(ice_engine_conn *c)
{
    ice__reg *r = c->regs;
    c->regs = NULL;
    while (r) {
        ice__reg *next = r->next_in_statement;
        reg_unref(r);
        r = next;
    }
}

/* ---- table names ---- */

static ice_code claim_source(ice_engine_conn *c, duck_lookup info, ice_source *source, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_value id = NULL;
    static const duck_str arg = {"source", 6};
    ice__reg *r = reg_add(c, source);
    if (!r) {
        source->m->release(source);
        return ice_fail_nomem(err);
    }
    ICE_DUCK(NULL, replacement_scan_set_function_name(info, source->m->order ? c->engine->scan_ordered : c->engine->scan,
                                                      &de_));
    ICE_DUCK(NULL, value_create_bigint(c->engine->factory, r->id, &id, &de_));
    ICE_DUCK(NULL, replacement_scan_add_named_argument(info, &arg, id, &de_));
out:
    ice__duck.value_destroy(&id);
    return rc;
}

static ice_code claim(ice_engine_conn *c, duck_lookup info, ice_str name, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_source *source = NULL;
    ice_str subquery = ICE_STR_NONE;
    ICE_TRY(c->resolver(c->arg, name, c->seq++, c->arena, &source, &subquery, err));
    if (source) {
        ICE_TRY(claim_source(c, info, source, err));
    } else if (subquery.ptr) {
        duck_str sql = {subquery.ptr, subquery.len};
        ICE_DUCK(NULL, replacement_scan_set_subquery(info, &sql, &de_));
    }
out:
    return rc;
}

/* A name with a schema before it is left to DuckDB (information_schema and the like). */
static void on_lookup(duck_lookup info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    const duck_api *d = &ice__duck;
    void *arg = NULL;
    duck_qname q = NULL;
    uint64_t parts = 0;
    duck_str name = {0};
    ice_error err = {0};
    if (d->replacement_scan_get_user_data(info, &arg, NULL) != DUCK_OK)
        return;
    ice_engine_conn *c = arg;
    if (c->busy && d->replacement_scan_get_name(info, &q, NULL) == DUCK_OK &&
        d->qname_get_part_count(q, &parts, NULL) == DUCK_OK && parts == 1 &&
        d->qname_get_part(q, 0, &name, NULL) == DUCK_OK && claim(c, info, (ice_str){name.ptr, name.len}, &err) != ICE_OK)
        ice__callback_fail(c, &err, slot);
    d->qname_destroy(&q);
}

/* ---- bind ---- */

/* One bound call: the filters that DuckDB offered to it, in an arena of their own. */
typedef struct bound {
    ice__reg *reg;
    ice_arena *arena;
    ice_filter *filters;
    size_t nfilters, cap;
} bound;

static void bound_free(void *p)
{
    bound *b = p;
    ice_source *source = b->reg->source;
    if (source->m->planned)
        source->m->planned(source, b->filters, b->nfilters);
    reg_unref(b->reg);
    ice_arena_free(b->arena);
    free(b->filters);
    free(b);
}

static ice_code bind_columns(ice__reg *r, duck_bind info, ice_error *err)
{
    ice_code rc = ICE_OK;
    const ice_column *cols;
    size_t n;
    r->source->m->columns(r->source, &cols, &n);
    for (size_t i = 0; i < n; i++) {
        duck_str name = {cols[i].name.ptr, cols[i].name.len};
        duck_type type = ice__duck_type(r->engine, cols[i].type);
        if (!type)
            return ice_fail(err, ICE_INTERNAL, "column \"%.*s\" has no DuckDB type", ICE_PRI(cols[i].name));
        ICE_DUCK(NULL, table_function_bind_add_result_column(info, &name, type, &de_));
    }
    ICE_DUCK(NULL, table_function_bind_set_cardinality(info, r->source->m->cardinality(r->source), false, &de_));
out:
    return rc;
}

static bool bind_source_id(duck_call call, int64_t *id)
{
    const duck_api *d = &ice__duck;
    duck_value v = NULL;
    bool null = true;
    bool ok = d->function_bind_get_arg_value(call, 0, &v, NULL) == DUCK_OK && d->value_is_null(v, &null, NULL) == DUCK_OK &&
              !null && d->value_get_bigint(v, id, NULL) == DUCK_OK;
    d->value_destroy(&v);
    return ok;
}

static void fail_slot(duck_error *slot, const char *text)
{
    duck_str s = {text, strlen(text)};
    ice__duck.error_info_set_code(*slot, DUCK_INVALID);
    ice__duck.error_info_set_text(*slot, &s);
}

static void on_bind(duck_call call, duck_bind info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    void *engine = NULL;
    int64_t id = 0;
    ice_error err = {0};
    ice__reg *r = NULL;
    if (ice__duck.function_bind_get_user_data(call, &engine, NULL) == DUCK_OK && bind_source_id(call, &id))
        r = reg_find(engine, id);
    if (!r) {
        fail_slot(slot, "this function is called by table names only");
        return;
    }
    bound *b = calloc(1, sizeof *b);
    ice_arena *a = ice_arena_create();
    if (!b || !a) {
        free(b);
        ice_arena_free(a);
        ice_fail_nomem(&err);
        ice__callback_fail(r->conn, &err, slot);
        reg_unref(r);
        return;
    }
    *b = (bound){.reg = r, .arena = a};
    duck_opaque data = {b, bound_free, NULL};
    if (bind_columns(r, info, &err) != ICE_OK) {
        ice__callback_fail(r->conn, &err, slot);
        bound_free(b);
    } else if (ice__duck.function_bind_set_bind_data(call, &data, NULL) != DUCK_OK) {
        fail_slot(slot, "bind data refused");
        bound_free(b);
    }
}

/* ---- filters ---- */

typedef struct offer {
    duck_offer info;
    bound *b;
    const ice_column *cols;
    size_t ncols;
} offer;

static int kind_of(duck_expression e)
{
    int kind = 0;
    ice__duck.expression_get_type(e, &kind, NULL);
    return kind;
}

static duck_expression child_of(duck_expression e, uint64_t i)
{
    duck_expression c = NULL;
    ice__duck.expression_get_child(e, i, &c, NULL);
    return c;
}

static uint64_t children_of(duck_expression e)
{
    uint64_t n = 0;
    ice__duck.expression_get_child_count(e, &n, NULL);
    return n;
}

/* Position among the source's columns, or -1. */
static int column_of(const offer *o, duck_expression e)
{
    uint64_t ref, column;
    if (!e || kind_of(e) != DUCK_E_COLUMN || ice__duck.expression_column_ref_get_index(e, &ref, NULL) != DUCK_OK ||
        ice__duck.table_function_filter_pushdown_get_column_index(o->info, ref, &column, NULL) != DUCK_OK ||
        column >= o->ncols)
        return -1;
    return (int)column;
}

/* The value of a constant, or of casts around one. */
static bool constant_of(const offer *o, duck_expression e, duck_value *out)
{
    const duck_api *d = &ice__duck;
    if (!e)
        return false;
    int kind = kind_of(e);
    if (kind == DUCK_E_CONSTANT)
        return d->expression_constant_get_value(e, out, NULL) == DUCK_OK;
    duck_value inner = NULL;
    duck_type type = NULL;
    if (kind != DUCK_E_CAST || !constant_of(o, child_of(e, 0), &inner))
        return false;
    bool ok = d->expression_get_return_type(e, &type, NULL) == DUCK_OK &&
              d->value_cast(o->b->reg->conn->factory, inner, type, out, NULL) == DUCK_OK;
    d->value_destroy(&inner);
    d->logical_type_destroy(&type);
    return ok;
}

/* A constant as a value of the column's type. NULL, and what the type cannot hold, are no use as a filter. */
static bool value_of(const offer *o, int column, duck_expression e, ice_value *out)
{
    duck_value v = NULL;
    ice_value raw;
    bool ok = constant_of(o, e, &v) && ice__value_from_duck(o->b->reg->engine, v, o->b->arena, &raw) && !raw.null &&
              ice_value_cast(o->b->arena, &raw, o->cols[column].type, out, NULL) == ICE_OK && ice_value_eq(&raw, out);
    ice__duck.value_destroy(&v);
    return ok;
}

static bool same_filter(const ice_filter *a, const ice_filter *b)
{
    if (a->column != b->column || a->op != b->op || a->nvalues != b->nvalues)
        return false;
    for (size_t i = 0; i < a->nvalues; i++)
        if (!ice_value_eq(&a->values[i], &b->values[i]))
            return false;
    return true;
}

/* The optimizer offers the same predicates in several passes. */
static void add_filter(bound *b, ice_filter f)
{
    for (size_t i = 0; i < b->nfilters; i++)
        if (same_filter(&b->filters[i], &f))
            return;
    if (!ICE_HEAP_ROOM(b->filters, b->nfilters, b->cap))
        return;
    b->filters[b->nfilters++] = f;
}

static void add_comparison(const offer *o, int column, ice_filter_op op, duck_expression constant)
{
    ice_value *v = ICE_NEW(o->b->arena, ice_value);
    if (v && value_of(o, column, constant, v))
        add_filter(o->b, (ice_filter){.column = column, .op = op, .nvalues = 1, .values = v});
}

static ice_filter_op op_of(int kind, bool swapped)
{
    switch (kind) {
    case DUCK_E_LT: return swapped ? ICE_F_GT : ICE_F_LT;
    case DUCK_E_LE: return swapped ? ICE_F_GE : ICE_F_LE;
    case DUCK_E_GT: return swapped ? ICE_F_LT : ICE_F_GT;
    case DUCK_E_GE: return swapped ? ICE_F_LE : ICE_F_GE;
    default: return ICE_F_EQ;
    }
}

static void take_comparison(const offer *o, duck_expression e, int kind)
{
    duck_expression left = child_of(e, 0), right = child_of(e, 1);
    int column = column_of(o, left);
    if (column >= 0) {
        add_comparison(o, column, op_of(kind, false), right);
    } else if ((column = column_of(o, right)) >= 0) {
        add_comparison(o, column, op_of(kind, true), left);
    }
}

/* Candidates of an IN, or of an OR of equalities of one column. */
typedef struct candidates {
    int column; /* -1: none yet */
    ice_value *values;
    size_t n, cap;
} candidates;

static bool add_candidate(const offer *o, candidates *c, int column, duck_expression constant)
{
    if (column < 0 || (c->column >= 0 && c->column != column))
        return false;
    if (!ICE_ROOM(o->b->arena, c->values, c->n, c->cap))
        return false;
    c->column = column;
    return value_of(o, column, constant, &c->values[c->n++]);
}

static bool collect(const offer *o, duck_expression e, candidates *c, int depth)
{
    int kind = kind_of(e);
    uint64_t n = children_of(e);
    bool ok = depth < 32;
    if (kind == DUCK_E_OR) {
        for (uint64_t i = 0; ok && i < n; i++)
            ok = collect(o, child_of(e, i), c, depth + 1);
        return ok;
    }
    if (kind == DUCK_E_EQ) {
        int left = column_of(o, child_of(e, 0));
        return left >= 0 ? add_candidate(o, c, left, child_of(e, 1))
                         : add_candidate(o, c, column_of(o, child_of(e, 1)), child_of(e, 0));
    }
    if (kind != DUCK_E_IN)
        return false;
    for (uint64_t i = 1; ok && i < n; i++)
        ok = add_candidate(o, c, column_of(o, child_of(e, 0)), child_of(e, i));
    return ok && n > 1;
}

static void take_in(const offer *o, duck_expression e)
{
    candidates c = {.column = -1};
    if (!collect(o, e, &c, 0) || !c.n)
        return;
    ice_filter_op op = c.n == 1 ? ICE_F_EQ : ICE_F_IN;
    add_filter(o->b, (ice_filter){.column = c.column, .op = op, .nvalues = c.n, .values = c.values});
}

static void take_null_test(const offer *o, duck_expression e, ice_filter_op op)
{
    int column = column_of(o, child_of(e, 0));
    if (column >= 0)
        add_filter(o->b, (ice_filter){.column = column, .op = op});
}

static void take_between(const offer *o, duck_expression e)
{
    int column = column_of(o, child_of(e, 0));
    if (column < 0)
        return;
    /* Whether the bounds are inclusive is not told; inclusive is the wider one. */
    add_comparison(o, column, ICE_F_GE, child_of(e, 1));
    add_comparison(o, column, ICE_F_LE, child_of(e, 2));
}

static void take(const offer *o, duck_expression e, int depth)
{
    int kind = kind_of(e);
    switch (kind) {
    case DUCK_E_AND:
        for (uint64_t i = 0, n = depth < 32 ? children_of(e) : 0; i < n; i++)
            take(o, child_of(e, i), depth + 1);
        break;
    case DUCK_E_EQ:
    case DUCK_E_LT:
    case DUCK_E_LE:
    case DUCK_E_GT:
    case DUCK_E_GE:
    case DUCK_E_NOT_DISTINCT: take_comparison(o, e, kind); break;
    case DUCK_E_OR:
    case DUCK_E_IN: take_in(o, e); break;
    case DUCK_E_BETWEEN: take_between(o, e); break;
    case DUCK_E_IS_NULL: take_null_test(o, e, ICE_F_IS_NULL); break;
    case DUCK_E_NOT_NULL: take_null_test(o, e, ICE_F_NOT_NULL); break;
    default: break;
    }
}

/* Accepts nothing: DuckDB goes on applying every predicate, so what is taken here may only narrow. */
static void on_filters(duck_offer info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    (void)slot;
    void *p = NULL;
    uint64_t n = 0;
    if (ice__duck.table_function_filter_pushdown_get_bind_data(info, &p, NULL) != DUCK_OK || !p ||
        ice__duck.table_function_filter_pushdown_get_filter_count(info, &n, NULL) != DUCK_OK)
        return;
    offer o = {.info = info, .b = p};
    o.b->reg->source->m->columns(o.b->reg->source, &o.cols, &o.ncols);
    for (uint64_t i = 0; i < n; i++) {
        duck_expression e = NULL;
        if (ice__duck.table_function_filter_pushdown_get_filter(info, i, &e, NULL) == DUCK_OK)
            take(&o, e, 0);
    }
}

/* ---- the scan ---- */

/* Shared by a scan's workers, which DuckDB may let go after the scan itself: the last one closes it. */
typedef struct scan {
    atomic_int refs;
    ice__reg *reg;
    void *state;
    bool opened;
    int *projection;
    size_t nprojection;
} scan;

typedef struct worker {
    scan *scan;
    void *state;
} worker;

static void scan_unref(void *p)
{
    scan *s = p;
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    if (s->opened)
        s->reg->source->m->close(s->reg->source, s->state);
    reg_unref(s->reg);
    free(s->projection);
    free(s);
}

static void worker_free(void *p)
{
    worker *w = p;
    ice_source *source = w->scan->reg->source;
    if (w->state)
        source->m->close_worker(source, w->state);
    scan_unref(w->scan);
    free(w);
}

static ice_code scan_projection(scan *s, duck_init info, ice_error *err)
{
    ice_code rc = ICE_OK;
    const ice_column *cols;
    size_t ncols;
    uint64_t n = 0;
    s->reg->source->m->columns(s->reg->source, &cols, &ncols);
    ICE_DUCK(NULL, table_function_init_global_get_column_count(info, &n, &de_));
    s->projection = calloc(n ? n : 1, sizeof *s->projection);
    if (!s->projection)
        return ice_fail_nomem(err);
    s->nprojection = n;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t column = 0;
        ICE_DUCK(NULL, table_function_init_global_get_column_index(info, i, &column, &de_));
        s->projection[i] = column < ncols ? (int)column : -1;
    }
out:
    return rc;
}

static ice_code scan_open(scan *s, const bound *b, duck_init info, ice_error *err)
{
    ice_code rc = ICE_OK;
    uint64_t threads = 1;
    ICE_TRY(scan_projection(s, info, err));
    ICE_TRY(b->reg->source->m->open(b->reg->source, b->filters, b->nfilters, s->projection, s->nprojection, &s->state,
                                    &threads, err));
    s->opened = true;
    ICE_DUCK(NULL, table_function_init_global_set_max_threads(info, threads ? threads : 1, &de_));
    duck_opaque data = {s, scan_unref, NULL};
    ICE_DUCK(NULL, table_function_init_global_set_global_state(info, &data, &de_));
out:
    return rc;
}

static void on_open(duck_init info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    void *p = NULL;
    ice_error err = {0};
    if (ice__duck.table_function_init_global_get_bind_data(info, &p, NULL) != DUCK_OK || !p) {
        fail_slot(slot, "no bind data");
        return;
    }
    bound *b = p;
    scan *s = calloc(1, sizeof *s);
    if (!s) {
        ice_fail_nomem(&err);
        ice__callback_fail(b->reg->conn, &err, slot);
        return;
    }
    atomic_init(&s->refs, 1);
    atomic_fetch_add(&b->reg->refs, 1);
    s->reg = b->reg;
    if (scan_open(s, b, info, &err) != ICE_OK) {
        ice__callback_fail(b->reg->conn, &err, slot);
        scan_unref(s);
    }
}

static void on_worker(duck_local info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    void *p = NULL;
    ice__duck.table_function_init_local_get_global_state(info, &p, NULL);
    worker *w = p ? calloc(1, sizeof *w) : NULL;
    if (!w) {
        fail_slot(slot, "out of memory");
        return;
    }
    w->scan = p;
    atomic_fetch_add(&w->scan->refs, 1);
    duck_opaque data = {w, worker_free, NULL};
    if (ice__duck.table_function_init_local_set_local_state(info, &data, NULL) != DUCK_OK) {
        fail_slot(slot, "worker state refused");
        worker_free(w);
    }
}

static ice_code fill_chunk(worker *w, duck_chunk chunk, const ice_batch *b, ice_error *err)
{
    ice_code rc = ICE_OK;
    scan *s = w->scan;
    if (b->count > ICE_BATCH_ROWS)
        return ice_fail(err, ICE_INTERNAL, "a scan produced %zu rows at once", b->count);
    for (size_t i = 0; i < s->nprojection; i++) {
        duck_vector v = NULL;
        ICE_DUCK(NULL, data_chunk_get_vector(chunk, i, &v, &de_));
        if (s->projection[i] < 0)
            ICE_DUCK(NULL, vector_set_size(v, b->count, &de_));
        else if (i >= b->nvecs)
            return ice_fail(err, ICE_INTERNAL, "a scan produced %zu of %zu columns", b->nvecs, s->nprojection);
        else
            ICE_TRY(ice__vector_fill(s->reg->engine, v, &b->vecs[i], b, err));
    }
out:
    return rc;
}

static void on_batch(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    void *p = NULL;
    duck_chunk chunk = NULL;
    if (ice__duck.table_function_exec_get_local_state(info, &p, NULL) != DUCK_OK || !p ||
        ice__duck.table_function_exec_get_output_chunk(info, &chunk, NULL) != DUCK_OK) {
        fail_slot(slot, "no worker state");
        return;
    }
    worker *w = p;
    ice_source *source = w->scan->reg->source;
    ice_batch b = {0};
    ice_error err = {0};
    if (source->m->next(source, w->scan->state, &w->state, &b, &err) != ICE_OK ||
        (b.count && fill_chunk(w, chunk, &b, &err) != ICE_OK))
        ice__callback_fail(w->scan->reg->conn, &err, slot);
}

/* Asked after each batch, on the worker that got it, where rows must keep the source's order. */
static void on_order(duck_partition info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    void *p = NULL;
    if (ice__duck.table_function_partition_data_get_local_state(info, &p, NULL) != DUCK_OK || !p) {
        fail_slot(slot, "no worker state");
        return;
    }
    worker *w = p;
    ice_source *source = w->scan->reg->source;
    uint64_t position = w->state ? source->m->order(source, w->state) : 0;
    ice__duck.table_function_partition_data_set_batch_index(info, position, NULL);
}

/* ---- registration ---- */

static ice_code make_function(ice_engine *e, const char *name, bool ordered, duck_function *out, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_str text = {name, strlen(name)}, arg = {"source", 6};
    duck_opaque self = {e, NULL, NULL};
    duck_signature sig = NULL;
    duck_type bigint = ice__duck_type(e, (ice_type){.kind = ICE_T_LONG});
    ICE_DUCK(NULL, table_function_create(e->factory, out, &de_));
    duck_function f = *out;
    ICE_DUCK(NULL, table_function_set_name(f, &text, &de_));
    ICE_DUCK(NULL, table_function_get_signature(f, &sig, &de_));
    ICE_DUCK(NULL, function_signature_add_parameter(sig, &arg, bigint, NULL, DUCK_NAMED_ONLY, &de_));
    ICE_DUCK(NULL, table_function_set_user_data(f, &self, &de_));
    ICE_DUCK(NULL, table_function_set_bind_callback(f, on_bind, &de_));
    ICE_DUCK(NULL, table_function_set_init_global_callback(f, on_open, &de_));
    ICE_DUCK(NULL, table_function_set_init_local_callback(f, on_worker, &de_));
    ICE_DUCK(NULL, table_function_set_exec_callback(f, on_batch, &de_));
    ICE_DUCK(NULL, table_function_set_filter_pushdown_callback(f, on_filters, &de_));
    ICE_DUCK(NULL, table_function_set_projection_pushdown(f, true, &de_));
    if (ordered)
        ICE_DUCK(NULL, table_function_set_partition_data_callback(f, on_order, &de_));
out:
    return rc;
}

static ice_code register_function(ice_engine *e, const char *name, bool ordered, duck_qname *qname, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_function f = NULL;
    duck_str text = {name, strlen(name)};
    ICE_TRY(make_function(e, name, ordered, &f, err));
    ICE_DUCK(NULL, connection_register_table_function(e->setup, f, &de_));
    ICE_DUCK(NULL, qname_create(&text, 1, qname, &de_));
out:
    ice__duck.table_function_destroy(&f);
    return rc;
}

ice_code ice__scan_register(ice_engine *e, ice_error *err)
{
    ice_code rc = ICE_OK;
    ICE_TRY(register_function(e, "ice_scan", false, &e->scan, err));
    ICE_TRY(register_function(e, "ice_scan_ordered", true, &e->scan_ordered, err));
out:
    return rc;
}

ice_code ice__scan_connect(ice_engine_conn *c, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_replacement names = NULL;
    duck_opaque self = {c, NULL, NULL};
    ICE_DUCK(NULL, replacement_scan_create(c->factory, &names, &de_));
    ICE_DUCK(NULL, replacement_scan_set_callback(names, on_lookup, &de_));
    ICE_DUCK(NULL, replacement_scan_set_user_data(names, &self, &de_));
    ICE_DUCK(NULL, connection_register_replacement_scan(c->conn, names, &de_));
out:
    ice__duck.replacement_scan_destroy(&names);
    return rc;
}
