#include "engine/engine_int.h"

#include <stdlib.h>

enum { AHEAD_MAX = 64 };

struct ice_result {
    ice_engine_conn *conn;
    duck_result result;
    ice_arena *arena; /* columns */
    ice_arena *texts; /* of the current chunk */
    size_t ncols;
    ice_result_column *cols;
    ice__reader *readers;
    duck_chunk chunk;
    size_t nahead, next_ahead;
    duck_chunk ahead[AHEAD_MAX]; /* fetched before they were asked for; NULL: the end */
};

/* ---- columns ---- */

static ice_kind kind_of(int id)
{
    switch (id) {
    case DUCK_T_BOOLEAN: return ICE_T_BOOL;
    case DUCK_T_TINYINT:
    case DUCK_T_SMALLINT:
    case DUCK_T_INTEGER:
    case DUCK_T_UTINYINT:
    case DUCK_T_USMALLINT: return ICE_T_INT;
    case DUCK_T_BIGINT:
    case DUCK_T_UINTEGER: return ICE_T_LONG;
    case DUCK_T_UBIGINT:
    case DUCK_T_DECIMAL: return ICE_T_DECIMAL;
    case DUCK_T_FLOAT: return ICE_T_FLOAT;
    case DUCK_T_DOUBLE: return ICE_T_DOUBLE;
    case DUCK_T_DATE: return ICE_T_DATE;
    case DUCK_T_TIME:
    case DUCK_T_TIME_NS: return ICE_T_TIME;
    case DUCK_T_TIMESTAMP_S:
    case DUCK_T_TIMESTAMP_MS:
    case DUCK_T_TIMESTAMP:
    case DUCK_T_TIMESTAMP_NS: return ICE_T_TIMESTAMP;
    case DUCK_T_TIMESTAMPTZ:
    case DUCK_T_TIMESTAMPTZ_NS: return ICE_T_TIMESTAMPTZ;
    case DUCK_T_VARCHAR: return ICE_T_STRING;
    case DUCK_T_BLOB: return ICE_T_BINARY;
    case DUCK_T_UUID: return ICE_T_UUID;
    default: return ICE_T_NONE;
    }
}

static void read_decimal_type(duck_type type, ice__reader *r)
{
    const duck_api *d = &ice__duck;
    for (uint64_t i = 0; i < 2; i++) {
        duck_str name;
        duck_value v = NULL;
        int64_t n = 0;
        if (d->logical_type_get_param(type, i, &name, &v, NULL) == DUCK_OK)
            d->value_get_bigint(v, &n, NULL);
        d->value_destroy(&v);
        *(i ? &r->scale : &r->width) = (uint8_t)n;
    }
}

static ice_str type_text(ice_arena *a, duck_type type)
{
    char small[128];
    uint64_t n = 0;
    if (ice__duck.logical_type_to_text(type, small, sizeof small, &n, NULL) == DUCK_OK)
        return ice_arena_str(a, (ice_str){small, n});
    char *big = ice_arena_alloc(a, n + 1);
    if (!big || ice__duck.logical_type_to_text(type, big, n + 1, &n, NULL) != DUCK_OK)
        return ICE_STR("");
    return (ice_str){big, n};
}

ice_code ice__reader_init(ice__reader *rd, duck_type type, ice_type *out, ice_error *err)
{
    ice_code rc = ICE_OK;
    *out = (ice_type){0};
    ICE_DUCK(NULL, logical_type_get_id(type, &rd->id, &de_));
    out->kind = (uint8_t)kind_of(rd->id);
    if (rd->id == DUCK_T_DECIMAL) {
        read_decimal_type(type, rd);
        out->precision = rd->width;
        out->scale = rd->scale;
    } else if (rd->id == DUCK_T_UBIGINT) {
        out->precision = 20;
    }
out:
    return rc;
}

static ice_code read_column(ice_result *r, duck_schema schema, size_t i, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_str name;
    duck_type type;
    ice_result_column *c = &r->cols[i];
    ICE_DUCK(r->conn, schema_get_field(schema, i, &name, &type, &de_));
    ICE_TRY(ice__reader_init(&r->readers[i], type, &c->type, err));
    c->name = ice_arena_str(r->arena, name.len ? (ice_str){name.ptr, name.len} : ICE_STR(""));
    c->duck_type = type_text(r->arena, type);
    if (!c->name.ptr || !c->duck_type.ptr)
        rc = ice_fail_nomem(err);
out:
    return rc;
}

ice_code ice_result_ahead(ice_result *r, size_t chunks, ice_error *err)
{
    ice_code rc = ICE_OK;
    bool ended = r->nahead && !r->ahead[r->nahead - 1];
    while (r->ncols && r->nahead < chunks && r->nahead < AHEAD_MAX && !ended) {
        duck_chunk *chunk = &r->ahead[r->nahead];
        ICE_DUCK(r->conn, result_fetch_chunk(r->result, chunk, &de_));
        ended = !*chunk;
        r->nahead++;
    }
out:
    return rc;
}

/* A statement that DuckDB expands into several (PIVOT) knows its columns once the first rows are there. */
static ice_code get_schema(ice_result *r, duck_schema *schema, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_error de = NULL;
    int code = ice__duck.result_get_schema(r->result, schema, &de);
    if (code == DUCK_OK)
        return ICE_OK;
    if (code != DUCK_DEFERRED)
        return ice__duck_fail(r->conn, code, de, err);
    ice__duck.error_info_destroy(&de);
    ICE_DUCK(r->conn, result_fetch_chunk(r->result, &r->ahead[r->nahead++], &de_));
    ICE_DUCK(r->conn, result_get_schema(r->result, schema, &de_));
out:
    return rc;
}

static ice_code read_columns(ice_result *r, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_schema schema = NULL;
    uint64_t n = 0;
    ICE_TRY(get_schema(r, &schema, err));
    ICE_DUCK(r->conn, schema_get_count(schema, &n, &de_));
    r->ncols = n;
    r->cols = ICE_NEW_N(r->arena, ice_result_column, n);
    r->readers = ICE_NEW_N(r->arena, ice__reader, n);
    if (!r->cols || !r->readers) {
        rc = ice_fail_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        ICE_TRY(read_column(r, schema, i, err));
out:
    ice__duck.schema_destroy(&schema);
    return rc;
}

/* ---- running ---- */

/* A statement without rows (SET and the like) takes effect when it is drained. */
static ice_code start(ice_result *r, ice_error *err)
{
    ice_code rc = ICE_OK;
    int shape = DUCK_RESULT_ROWS;
    uint64_t changed = 0;
    if (ice__duck.result_get_result_type(r->result, &shape, NULL) != DUCK_OK || shape == DUCK_RESULT_ROWS)
        return read_columns(r, err);
    ICE_DUCK(r->conn, result_drain(r->result, &changed, &de_));
out:
    return rc;
}

static ice_code execute(ice_result *r, ice_str sql, bool keep, const ice_value *params, size_t nparams, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_statement statement = NULL;
    duck_value *values = NULL;
    ICE_TRY(ice__params(r->conn, params, nparams, &values, err));
    ICE_TRY(ice__statement_parse(r->conn, sql, keep, &statement, err));
    ICE_DUCK(r->conn, statement_execute(r->conn->conn, statement, NULL, values, nparams, &r->result, &de_));
    ICE_TRY(start(r, err));
out:
    if (!keep)
        ice__duck.sql_statement_destroy(&statement);
    ice__params_free(r->conn, values, nparams);
    return rc;
}

ice_code ice__run(ice_engine_conn *c, ice_str sql, bool keep, const ice_value *params, size_t nparams, ice_result **out,
                  ice_error *err)
{
    *out = NULL;
    ice_code rc = ice__statement_begin(c, err);
    if (rc != ICE_OK)
        return rc;
    ice_result *r = calloc(1, sizeof *r);
    if (!r) {
        ice__statement_end(c);
        return ice_fail_nomem(err);
    }
    r->conn = c;
    r->arena = ice_arena_create();
    rc = r->arena ? execute(r, sql, keep, params, nparams, err) : ice_fail_nomem(err);
    if (rc == ICE_OK)
        *out = r;
    else
        ice_result_close(r);
    return rc;
}

ice_code ice_engine_run(ice_engine_conn *c, ice_str sql, const ice_value *params, size_t nparams, ice_result **out,
                        ice_error *err)
{
    return ice__run(c, sql, true, params, nparams, out, err);
}

size_t ice_result_columns(const ice_result *r, const ice_result_column **cols)
{
    *cols = r->cols;
    return r->ncols;
}

void ice_result_close(ice_result *r)
{
    if (!r)
        return;
    if (!r->conn->engine->abandoned) {
        ice__duck.data_chunk_destroy(&r->chunk);
        while (r->next_ahead < r->nahead)
            ice__duck.data_chunk_destroy(&r->ahead[r->next_ahead++]);
        ice__duck.result_destroy(&r->result);
    }
    ice__statement_end(r->conn);
    ice_arena_free(r->arena);
    ice_arena_free(r->texts);
    free(r);
}

ice_code ice__reader_open(ice_engine_conn *c, ice__reader *rd, ice_error *err)
{
    ice_code rc = ICE_OK;
    int form = 0;
    ICE_DUCK(c, vector_get_vector_type(rd->vector, &form, &de_));
    if (form == DUCK_VECTOR_OTHER)
        ICE_DUCK(c, vector_flatten(rd->vector, &de_));
    ICE_DUCK(c, vector_get_view(rd->vector, &rd->view, &de_));
out:
    return rc;
}

static ice_code open_vector(ice_result *r, size_t i, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice__reader *rd = &r->readers[i];
    ICE_DUCK(r->conn, data_chunk_get_vector(r->chunk, i, &rd->vector, &de_));
    if (r->cols[i].type.kind == ICE_T_NONE && rd->id != DUCK_T_HUGEINT && rd->id != DUCK_T_INTERVAL)
        return ICE_OK; /* read cell by cell */
    rc = ice__reader_open(r->conn, rd, err);
out:
    return rc;
}

static ice_code fetch(ice_result *r, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice__duck.data_chunk_destroy(&r->chunk);
    r->chunk = NULL;
    if (r->next_ahead < r->nahead) {
        r->chunk = r->ahead[r->next_ahead++];
        return ICE_OK;
    }
    ICE_DUCK(r->conn, result_fetch_chunk(r->result, &r->chunk, &de_));
out:
    return rc;
}

ice_code ice_result_next(ice_result *r, size_t *count, ice_error *err)
{
    ice_code rc = ICE_OK;
    uint64_t n = 0;
    *count = 0;
    if (!r->ncols)
        return ICE_OK;
    if (r->conn->engine->abandoned)
        return ice_fail(err, ICE_MISUSE, "the result belongs to the parent process");
    if (r->texts)
        ice_arena_reset(r->texts);
    do {
        ICE_TRY(fetch(r, err));
        if (!r->chunk)
            return ICE_OK;
        ICE_DUCK(r->conn, data_chunk_get_size(r->chunk, &n, &de_));
    } while (n == 0);
    for (size_t i = 0; i < r->ncols; i++)
        ICE_TRY(open_vector(r, i, err));
    *count = n;
out:
    return rc;
}

ice_code ice_engine_exec(ice_engine_conn *c, ice_str sql, ice_error *err)
{
    ice_result *r = NULL;
    size_t rows = 1;
    ice_code rc = ice_engine_run(c, sql, NULL, 0, &r, err);
    while (rc == ICE_OK && rows > 0)
        rc = ice_result_next(r, &rows, err);
    ice_result_close(r);
    return rc;
}

/* ---- values ---- */

duck_value ice__result_cell(ice_result *r, size_t column, size_t row)
{
    duck_value v = NULL;
    if (ice__duck.vector_get_value(r->readers[column].vector, row, &v, NULL) != DUCK_OK)
        return NULL;
    return v;
}

static void read_text(ice_result *r, size_t column, size_t row, ice_value *out)
{
    const duck_api *d = &ice__duck;
    *out = ICE_NULL;
    duck_value v = ice__result_cell(r, column, row);
    bool null = true;
    uint64_t n = 0;
    if (!r->texts)
        r->texts = ice_arena_create();
    if (v && r->texts && d->value_is_null(v, &null, NULL) == DUCK_OK && !null &&
        d->value_to_string(v, NULL, 0, &n, NULL) == DUCK_OK) {
        char *text = ice_arena_alloc(r->texts, n + 1);
        if (text && d->value_to_string(v, text, n + 1, &n, NULL) == DUCK_OK)
            *out = (ice_value){.kind = ICE_T_STRING, .s = {text, n}};
    }
    d->value_destroy(&v);
}

static ice_str bytes_at(const ice__reader *rd, size_t i)
{
    const duck_string *s = (const duck_string *)rd->view.data + i;
    return (ice_str){s->length <= DUCK_INLINE ? s->inlined : s->ptr, s->length};
}

static ice_i128 decimal_at(const ice__reader *rd, size_t i)
{
    if (rd->width <= 4)
        return ((const int16_t *)rd->view.data)[i];
    if (rd->width <= 9)
        return ((const int32_t *)rd->view.data)[i];
    if (rd->width <= 18)
        return ((const int64_t *)rd->view.data)[i];
    return ice__huge_to_i128(((const duck_huge *)rd->view.data)[i]);
}

/* Months as 30 days: Django's DurationField never makes months. */
static int64_t interval_at(const ice__reader *rd, size_t i)
{
    duck_interval v = ((const duck_interval *)rd->view.data)[i];
    ice_i128 us = ((ice_i128)v.months * 30 + v.days) * 86400000000ll + v.micros;
    return us > INT64_MAX ? INT64_MAX : us < INT64_MIN ? INT64_MIN : (int64_t)us;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

#define AT(type) (((const type *)rd->view.data)[i])

/* Dates and times in other units than ours; infinities stay what they are. */
static int64_t time_at(const ice__reader *rd, size_t i)
{
    int64_t t = AT(int64_t), us;
    if (t == INT64_MAX || t == -INT64_MAX)
        return t;
    switch (rd->id) {
    case DUCK_T_TIMESTAMP_S: return __builtin_mul_overflow(t, 1000000, &us) ? (t < 0 ? -INT64_MAX : INT64_MAX) : us;
    case DUCK_T_TIMESTAMP_MS: return __builtin_mul_overflow(t, 1000, &us) ? (t < 0 ? -INT64_MAX : INT64_MAX) : us;
    case DUCK_T_TIMESTAMP_NS:
    case DUCK_T_TIMESTAMPTZ_NS:
    case DUCK_T_TIME_NS: return floor_div(t, 1000);
    default: return t;
    }
}

static void read_cell(const ice__reader *rd, size_t i, ice_value *out)
{
    switch (rd->id) {
    case DUCK_T_BOOLEAN: out->b = AT(uint8_t) != 0; break;
    case DUCK_T_TINYINT: out->i = AT(int8_t); break;
    case DUCK_T_SMALLINT: out->i = AT(int16_t); break;
    case DUCK_T_INTEGER:
    case DUCK_T_DATE: out->i = AT(int32_t); break;
    case DUCK_T_BIGINT: out->i = AT(int64_t); break;
    case DUCK_T_UTINYINT: out->i = AT(uint8_t); break;
    case DUCK_T_USMALLINT: out->i = AT(uint16_t); break;
    case DUCK_T_UINTEGER: out->i = AT(uint32_t); break;
    case DUCK_T_UBIGINT: out->dec = AT(uint64_t); break;
    case DUCK_T_FLOAT: out->d = AT(float); break;
    case DUCK_T_DOUBLE: out->d = AT(double); break;
    case DUCK_T_UUID: ice__huge_to_uuid(AT(duck_huge), out->uuid); break;
    case DUCK_T_VARCHAR:
    case DUCK_T_BLOB: out->s = bytes_at(rd, i); break;
    case DUCK_T_DECIMAL:
        out->dec = decimal_at(rd, i);
        out->scale = rd->scale;
        break;
    case DUCK_T_HUGEINT:
        out->kind = ICE_T_DECIMAL;
        out->dec = ice__huge_to_i128(AT(duck_huge));
        break;
    case DUCK_T_INTERVAL:
        out->kind = ICE_T_LONG;
        out->i = interval_at(rd, i);
        break;
    default: out->i = time_at(rd, i); break;
    }
}

void ice__reader_value(const ice__reader *rd, uint8_t kind, size_t row, ice_value *out)
{
    size_t i = rd->view.sel ? rd->view.sel[row] : row;
    *out = (ice_value){.kind = kind};
    if (rd->view.validity && !(rd->view.validity[i >> 6] >> (i & 63) & 1))
        out->null = true;
    else
        read_cell(rd, i, out);
}

void ice_result_value(ice_result *r, size_t column, size_t row, ice_value *out)
{
    const ice__reader *rd = &r->readers[column];
    uint8_t kind = r->cols[column].type.kind;
    if (kind == ICE_T_NONE && rd->id != DUCK_T_HUGEINT && rd->id != DUCK_T_INTERVAL) {
        read_text(r, column, row, out);
        return;
    }
    ice__reader_value(rd, kind, row, out);
}
