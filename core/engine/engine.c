#include "engine/engine_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the instance ---- */

#define MAX_OPTIONS 8

typedef struct options {
    duck_str names[MAX_OPTIONS], values[MAX_OPTIONS];
    char texts[MAX_OPTIONS][256];
    size_t n;
} options;

static void option(options *o, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void option(options *o, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(o->texts[o->n], sizeof o->texts[0], fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof o->texts[0] ? (size_t)n : sizeof o->texts[0] - 1;
    o->names[o->n] = (duck_str){name, strlen(name)};
    o->values[o->n] = (duck_str){o->texts[o->n], len};
    o->n++;
}

/* Arrow output: strings as views, which Polars takes without a copy; not yet the narrow decimals of 1.5, which few read. */
static ice_code create_instance(ice_engine *e, int threads, uint64_t memory_limit, ice_error *err)
{
    ice_code rc = ICE_OK;
    const char *tmp = getenv("TMPDIR");
    options o = {.n = 0};
    option(&o, "autoinstall_known_extensions", "false");
    option(&o, "autoload_known_extensions", "false");
    option(&o, "arrow_output_version", "1.4");
    option(&o, "produce_arrow_string_view", "true");
    /* Its default would be ".tmp" in the current directory. */
    option(&o, "temp_directory", "%s/django-iceberg-%ld-%ld", tmp && *tmp ? tmp : "/tmp", (long)getuid(), (long)getpid());
    if (threads > 0)
        option(&o, "threads", "%d", threads);
    if (memory_limit)
        option(&o, "memory_limit", "%lluKiB", (unsigned long long)(memory_limit / 1024));
    ICE_DUCK(NULL, instance_create_with_options(e->env, o.names, o.values, o.n, &e->db, &de_));
    duck_str memory = {":memory:", 8}, name = {"memory", 6};
    ICE_DUCK(NULL, instance_attach(e->db, &name, &memory, NULL, true, &de_));
out:
    return rc;
}

static ice_code set_global(ice_engine *e, const char *name, ice_str value, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_config config = NULL;
    duck_str n = {name, strlen(name)}, v = {value.ptr, value.len};
    ICE_DUCK(NULL, instance_get_config(e->db, &config, &de_));
    ICE_DUCK(NULL, config_set_option_text(config, &n, &v, DUCK_SCOPE_GLOBAL, &de_));
out:
    return rc;
}

/* The type of an untyped NULL, which the API makes only from text. */
static ice_code make_null_type(ice_engine *e, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_str text = {"\"NULL\"", 6};
    ICE_DUCK(NULL, factory_create_type_from_text(e->factory, &text, &e->null_type, &de_));
out:
    return rc;
}

ice_code ice_engine_open(const char *library, int threads, uint64_t memory_limit, ice_engine **out, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_engine *e = NULL;
    *out = NULL;
    ICE_TRY(ice__duck_load(library, err));
    e = calloc(1, sizeof *e);
    if (!e)
        return ice_fail_nomem(err);
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->gate, NULL);
    pthread_cond_init(&e->opened, NULL);
    ICE_DUCK(NULL, environment_create(&e->env, &de_));
    ICE_TRY(create_instance(e, threads, memory_limit, err));
    ICE_DUCK(NULL, connection_create(e->db, &e->setup, &de_));
    ICE_DUCK(NULL, connection_get_factory(e->setup, &e->factory, &de_));
    ICE_TRY(make_null_type(e, err));
    ICE_TRY(ice__scan_register(e, err));
    ICE_TRY(ice__functions_register(e, err));
    ICE_TRY(ice__transform_register(e, err));
    *out = e;
    e = NULL;
out:
    ice_engine_close(e);
    return rc;
}

/* Runs on the connection that runs nothing else, and is over when it returns. */
static ice_code run_setup(ice_engine *e, const char *sql, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_statements all = NULL;
    duck_statement statement = NULL;
    duck_result result = NULL;
    uint64_t changed = 0;
    ICE_DUCK(NULL, parse_sql(e->setup, sql, &all, &de_));
    ICE_DUCK(NULL, statement_iterator_next(all, &statement, &de_));
    ICE_DUCK(NULL, statement_execute(e->setup, statement, NULL, NULL, 0, &result, &de_));
    ICE_DUCK(NULL, result_drain(result, &changed, &de_));
out:
    ice__duck.result_destroy(&result);
    ice__duck.sql_statement_destroy(&statement);
    ice__duck.statement_iterator_destroy(&all);
    return rc;
}

/* DuckDB ends and starts threads when the next statement is over, whichever that is, and waits for each: one that
 * runs a call back would wait for itself, or for what its waiter holds. So it happens here, while nothing runs. */
static ice_code set_threads(ice_engine *e, int threads, ice_error *err)
{
    char sql[64];
    pthread_mutex_lock(&e->gate);
    bool idle = e->running == 0 && !e->closed;
    e->closed |= idle;
    pthread_mutex_unlock(&e->gate);
    if (!idle)
        return ice_fail(err, ICE_CONFLICT, "the engine's threads cannot change while statements run");
    snprintf(sql, sizeof sql, "SET threads = %d", threads);
    ice_code rc = run_setup(e, sql, err);
    pthread_mutex_lock(&e->gate);
    e->closed = false;
    pthread_cond_broadcast(&e->opened);
    pthread_mutex_unlock(&e->gate);
    return rc;
}

ice_code ice_engine_limit(ice_engine *e, int threads, uint64_t memory_limit, ice_error *err)
{
    ice_code rc = ICE_OK;
    char text[64];
    snprintf(text, sizeof text, "%lluKiB", (unsigned long long)(memory_limit / 1024));
    ICE_TRY(set_global(e, "memory_limit", ice_str_c(text), err));
    ICE_TRY(set_threads(e, threads, err));
out:
    return rc;
}

ice_code ice_engine_restrict(ice_engine *e, const ice_str *directories, size_t n, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_buf list = {0};
    ice_buf_puts(&list, "[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            ice_buf_puts(&list, ", ");
        ice_buf_put_quoted(&list, directories[i]);
    }
    ice_buf_puts(&list, "]");
    ICE_TRY(ice_buf_check(&list, err));
    ICE_TRY(set_global(e, "allowed_directories", ice_buf_str(&list), err));
    ICE_TRY(set_global(e, "enable_external_access", ICE_STR("false"), err));
out:
    ice_buf_free(&list);
    return rc;
}

static void destroy_types(ice_engine *e)
{
    for (size_t i = 0; i < ICE__KINDS; i++)
        ice__duck.logical_type_destroy(&e->types[i]);
    for (size_t p = 0; p < 39; p++)
        for (size_t s = 0; s < 39; s++)
            if (e->decimals[p][s])
                ice__duck.logical_type_destroy(&e->decimals[p][s]);
    ice__duck.logical_type_destroy(&e->null_type);
}

void ice_engine_close(ice_engine *e)
{
    if (!e)
        return;
    if (!e->abandoned) {
        destroy_types(e);
        ice__duck.qname_destroy(&e->scan);
        ice__duck.qname_destroy(&e->scan_ordered);
        ice__duck.connection_destroy(&e->setup);
        ice__duck.instance_destroy(&e->db);
        ice__duck.environment_destroy(&e->env);
        pthread_mutex_destroy(&e->lock);
        pthread_mutex_destroy(&e->gate);
        pthread_cond_destroy(&e->opened);
    }
    free(e);
}

void ice_engine_after_fork(ice_engine *e)
{
    if (e)
        e->abandoned = true;
}

/* ---- connections ---- */

ice_code ice_engine_connect(ice_engine *e, ice_resolver resolver, void *arg, ice_engine_conn **out, ice_error *err)
{
    ice_code rc = ICE_OK;
    *out = NULL;
    if (e->abandoned)
        return ice_fail(err, ICE_MISUSE, "the engine belongs to the parent process");
    ice_engine_conn *c = calloc(1, sizeof *c);
    if (!c)
        return ice_fail_nomem(err);
    c->engine = e;
    c->resolver = resolver;
    c->arg = arg;
    pthread_mutex_init(&c->lock, NULL);
    if (!(c->arena = ice_arena_create())) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    ICE_DUCK(NULL, connection_create(e->db, &c->conn, &de_));
    ICE_DUCK(NULL, connection_get_factory(c->conn, &c->factory, &de_));
    ICE_TRY(ice__scan_connect(c, err));
    *out = c;
    c = NULL;
out:
    ice_engine_disconnect(c);
    return rc;
}

void ice_engine_disconnect(ice_engine_conn *c)
{
    if (!c)
        return;
    bool abandoned = c->engine->abandoned;
    for (size_t i = 0; i < c->ncached; i++) {
        if (!abandoned)
            ice__duck.sql_statement_destroy(&c->cache[i].statement);
        free(c->cache[i].sql);
    }
    if (!abandoned) {
        ice__duck.connection_destroy(&c->conn);
        ice__scan_end(c);
        pthread_mutex_destroy(&c->lock);
    }
    ice_arena_free(c->arena);
    free(c);
}

void ice_engine_interrupt(ice_engine_conn *c)
{
    if (!c->engine->abandoned)
        ice__duck.connection_interrupt(c->conn, NULL);
}

/* ---- statements ---- */

ice_code ice__statement_begin(ice_engine_conn *c, ice_error *err)
{
    if (c->engine->abandoned)
        return ice_fail(err, ICE_MISUSE, "the engine belongs to the parent process");
    if (c->busy)
        return ice_fail(err, ICE_MISUSE, "a result of this connection is still open");
    pthread_mutex_lock(&c->engine->gate);
    while (c->engine->closed)
        pthread_cond_wait(&c->engine->opened, &c->engine->gate);
    c->engine->running++;
    pthread_mutex_unlock(&c->engine->gate);
    c->busy = true;
    c->seq = 0;
    c->callback_error.code = ICE_OK;
    return ICE_OK;
}

void ice__statement_end(ice_engine_conn *c)
{
    if (!c->engine->abandoned)
        ice__scan_end(c);
    ice_arena_reset(c->arena);
    c->busy = false;
    if (c->engine->abandoned)
        return;
    pthread_mutex_lock(&c->engine->gate);
    c->engine->running--;
    pthread_mutex_unlock(&c->engine->gate);
}

static ice_code parse(ice_engine_conn *c, const char *sql, duck_statement *out, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_statements all = NULL;
    duck_statement second = NULL;
    *out = NULL;
    ICE_DUCK(c, parse_sql(c->conn, sql, &all, &de_));
    ICE_DUCK(c, statement_iterator_next(all, out, &de_));
    if (!*out) {
        rc = ice_fail(err, ICE_SYNTAX, "the statement is empty");
        goto out;
    }
    ICE_DUCK(c, statement_iterator_next(all, &second, &de_));
    if (second)
        rc = ice_fail(err, ICE_SYNTAX, "cannot run several statements at once");
out:
    ice__duck.sql_statement_destroy(&second);
    ice__duck.statement_iterator_destroy(&all);
    if (rc != ICE_OK)
        ice__duck.sql_statement_destroy(out);
    return rc;
}

static ice__cached *cache_find(ice_engine_conn *c, ice_str sql, uint64_t hash)
{
    for (size_t i = 0; i < c->ncached; i++) {
        ice__cached *s = &c->cache[i];
        if (s->hash == hash && s->len == sql.len && memcmp(s->sql, sql.ptr, sql.len) == 0)
            return s;
    }
    return NULL;
}

/* A free slot, or the least recently used one, emptied. */
static ice__cached *cache_slot(ice_engine_conn *c)
{
    if (c->ncached < ICE__CACHED_STATEMENTS)
        return &c->cache[c->ncached++];
    ice__cached *oldest = &c->cache[0];
    for (size_t i = 1; i < c->ncached; i++)
        if (c->cache[i].used < oldest->used)
            oldest = &c->cache[i];
    ice__duck.sql_statement_destroy(&oldest->statement);
    free(oldest->sql);
    return oldest;
}

ice_code ice__statement_parse(ice_engine_conn *c, ice_str sql, bool keep, duck_statement *out, ice_error *err)
{
    uint64_t hash = ice_hash64(sql.ptr, sql.len, 0);
    ice__cached *s = keep ? cache_find(c, sql, hash) : NULL;
    if (s) {
        s->used = ++c->clock;
        *out = s->statement;
        return ICE_OK;
    }
    if (memchr(sql.ptr, 0, sql.len))
        return ice_fail(err, ICE_SYNTAX, "the statement has a NUL character");
    char *copy = malloc(sql.len + 1);
    if (!copy)
        return ice_fail_nomem(err);
    memcpy(copy, sql.ptr, sql.len);
    copy[sql.len] = 0;
    ice_code rc = parse(c, copy, out, err);
    if (rc == ICE_OK && keep)
        *cache_slot(c) = (ice__cached){.hash = hash, .used = ++c->clock, .sql = copy, .len = sql.len, .statement = *out};
    else
        free(copy);
    return rc;
}

void ice__params_free(ice_engine_conn *c, duck_value *values, size_t n)
{
    (void)c;
    for (size_t i = 0; values && i < n; i++)
        ice__duck.value_destroy(&values[i]);
    free(values);
}

/* An integer is `integer` where it fits, as a literal is: arithmetic overflows where PostgreSQL's does. */
static ice_value as_literal(const ice_value *v)
{
    ice_value out = *v;
    if (!v->null && v->kind == ICE_T_LONG && v->i >= INT32_MIN && v->i <= INT32_MAX)
        out.kind = ICE_T_INT;
    return out;
}

ice_code ice__params(ice_engine_conn *c, const ice_value *params, size_t n, duck_value **out, ice_error *err)
{
    *out = NULL;
    if (!n)
        return ICE_OK;
    duck_value *values = calloc(n, sizeof *values);
    if (!values)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        ice_value v = as_literal(&params[i]);
        ice_code rc = ice__value_to_duck(c->engine, &v, &values[i], err);
        if (rc != ICE_OK) {
            ice_error_prefix(err, "parameter %zu: ", i + 1);
            ice__params_free(c, values, n);
            return rc;
        }
    }
    *out = values;
    return ICE_OK;
}
