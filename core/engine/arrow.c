#include "engine/arrow_abi.h"
#include "engine/engine_int.h"

#include <errno.h>
#include <stdlib.h>

/* DuckDB's stream inside ours, so that the statement's sources live as long as the stream and an error of a source
 * is told in its own words. */
typedef struct held {
    struct ArrowArrayStream inner;
    ice_engine_conn *conn;
    void (*on_release)(void *);
    void *arg;
    ice_error err;
    int64_t ncols; /* -1: not asked yet */
    bool *interval; /* which columns are INTERVAL */
} held;

/* ---- INTERVAL as a duration ----
 *
 * Arrow's month-day-nanosecond intervals are read by few (Polars refuses them), and ours are Django's durations. */

static const char interval_format[] = "tin", duration_format[] = "tDu";

static ice_code learn_intervals(held *h)
{
    struct ArrowSchema schema;
    if (h->ncols >= 0)
        return ICE_OK;
    if (h->inner.get_schema(&h->inner, &schema) != 0)
        return ICE_ENGINE;
    h->interval = calloc((size_t)schema.n_children + 1, sizeof *h->interval);
    if (h->interval) {
        h->ncols = schema.n_children;
        for (int64_t i = 0; i < h->ncols; i++)
            h->interval[i] = strcmp(schema.children[i]->format, interval_format) == 0;
    }
    schema.release(&schema);
    return h->interval ? ICE_OK : ICE_NOMEM;
}

/* What a patched field was; given back before its own release sees it. */
typedef struct patched {
    const char *format;
    void (*release)(struct ArrowSchema *);
    void *private_data;
} patched;

static void patched_release(struct ArrowSchema *s)
{
    patched *p = s->private_data;
    s->format = p->format;
    s->release = p->release;
    s->private_data = p->private_data;
    free(p);
    s->release(s);
}

static ice_code patch_field(struct ArrowSchema *s)
{
    patched *p = malloc(sizeof *p);
    if (!p)
        return ICE_NOMEM;
    *p = (patched){s->format, s->release, s->private_data};
    s->format = duration_format;
    s->release = patched_release;
    s->private_data = p;
    return ICE_OK;
}

/* In place: the array is ours alone, and an entry never grows. */
static void convert_intervals(struct ArrowArray *a)
{
    char *data = (char *)a->buffers[1];
    for (int64_t i = 0, n = a->offset + a->length; i < n; i++) {
        int32_t months, days;
        int64_t nanos;
        memcpy(&months, data + i * 16, 4);
        memcpy(&days, data + i * 16 + 4, 4);
        memcpy(&nanos, data + i * 16 + 8, 8);
        ice_i128 wide = ((ice_i128)months * 30 + days) * 86400000000ll + nanos / 1000;
        int64_t us = wide > INT64_MAX ? INT64_MAX : wide < INT64_MIN ? INT64_MIN : (int64_t)wide;
        memcpy(data + i * 8, &us, 8);
    }
}

/* ---- the stream ---- */

static int held_schema(struct ArrowArrayStream *s, struct ArrowSchema *out)
{
    held *h = s->private_data;
    int rc;
    if (h->conn->engine->abandoned || learn_intervals(h) != ICE_OK)
        return EIO;
    if ((rc = h->inner.get_schema(&h->inner, out)) != 0)
        return rc;
    for (int64_t i = 0; i < h->ncols; i++)
        if (h->interval[i] && patch_field(out->children[i]) != ICE_OK) {
            out->release(out);
            return ENOMEM;
        }
    return 0;
}

static int held_next(struct ArrowArrayStream *s, struct ArrowArray *out)
{
    held *h = s->private_data;
    int rc;
    if (h->conn->engine->abandoned || learn_intervals(h) != ICE_OK)
        return EIO;
    if ((rc = h->inner.get_next(&h->inner, out)) != 0 || !out->release)
        return rc;
    for (int64_t i = 0; i < h->ncols; i++)
        if (h->interval[i])
            convert_intervals(out->children[i]);
    return 0;
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
    free(h->interval);
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
    h->ncols = -1;
    h->on_release = on_release;
    h->arg = arg;
    *out = (struct ArrowArrayStream){held_schema, held_next, held_error, held_release, h};
    return ICE_OK;
}

void ice_engine_arrow_release(struct ArrowArrayStream *stream)
{
    if (stream->release)
        stream->release(stream);
}
