#include "engine/engine_int.h"

#include <errno.h>
#include <stdlib.h>

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
/* Layout as the Arrow C stream interface fixes it. */
struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};
#endif

/* DuckDB's stream inside ours, so that the statement's sources live as long as the stream and an error of a source
 * is told in its own words. */
typedef struct held {
    struct ArrowArrayStream inner;
    ice_engine_conn *conn;
    void (*on_release)(void *);
    void *arg;
    ice_error err;
} held;

static int held_schema(struct ArrowArrayStream *s, struct ArrowSchema *out)
{
    held *h = s->private_data;
    return h->conn->engine->abandoned ? EIO : h->inner.get_schema(&h->inner, out);
}

static int held_next(struct ArrowArrayStream *s, struct ArrowArray *out)
{
    held *h = s->private_data;
    return h->conn->engine->abandoned ? EIO : h->inner.get_next(&h->inner, out);
}

static const char *held_error(struct ArrowArrayStream *s)
{
    held *h = s->private_data;
    if (h->conn->engine->abandoned)
        return "the stream belongs to the parent process";
    pthread_mutex_lock(&h->conn->lock);
    h->err = h->conn->callback_error;
    pthread_mutex_unlock(&h->conn->lock);
    return h->err.code != ICE_OK ? h->err.message : h->inner.get_last_error(&h->inner);
}

static void held_release(struct ArrowArrayStream *s)
{
    held *h = s->private_data;
    if (!h->conn->engine->abandoned)
        h->inner.release(&h->inner);
    ice__statement_end(h->conn);
    if (h->on_release)
        h->on_release(h->arg);
    free(h);
    s->release = NULL;
}

static ice_code execute(ice_engine_conn *c, ice_str sql, const ice_value *params, size_t nparams,
                        struct ArrowArrayStream *inner, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_statement statement = NULL;
    duck_value *values = NULL;
    duck_arrow_result result = NULL;
    ICE_TRY(ice__params(c, params, nparams, &values, err));
    ICE_TRY(ice__statement_parse(c, sql, true, &statement, err));
    ICE_DUCK(c, statement_execute_arrow(c->conn, statement, NULL, values, nparams, 0, &result, &de_));
    ICE_DUCK(c, arrow_result_to_arrow_c_stream(&result, inner, &de_));
out:
    ice__duck.arrow_result_destroy(&result);
    ice__params_free(c, values, nparams);
    return rc;
}

ice_code ice_engine_run_arrow(ice_engine_conn *c, ice_str sql, const ice_value *params, size_t nparams,
                              struct ArrowArrayStream *out, void (*on_release)(void *), void *arg, ice_error *err)
{
    ice_code rc = ice__statement_begin(c, err);
    if (rc != ICE_OK)
        return rc;
    held *h = calloc(1, sizeof *h);
    rc = h ? execute(c, sql, params, nparams, &h->inner, err) : ice_fail_nomem(err);
    if (rc != ICE_OK) {
        ice__statement_end(c);
        free(h);
        return rc;
    }
    h->conn = c;
    h->on_release = on_release;
    h->arg = arg;
    *out = (struct ArrowArrayStream){held_schema, held_next, held_error, held_release, h};
    return ICE_OK;
}
