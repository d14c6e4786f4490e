/* Internals of engine/: the loaded library, a connection, a statement's sources. */
#ifndef ICE_ENGINE_ENGINE_INT_H
#define ICE_ENGINE_ENGINE_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/duck.h"
#include "engine/engine.h"

#define ICE__CACHED_STATEMENTS 256
#define ICE__KINDS (ICE_T_BINARY + 1)

/* One answer of the resolver: a source under a number that only the function call in the plan knows. Held by the
 * statement, by each bound call and by each scan; the last one releases the source. */
typedef struct ice__reg {
    int64_t id;
    ice_source *source;
    ice_engine *engine;
    ice_engine_conn *conn;
    atomic_int refs;
    struct ice__reg *next_in_engine, *next_in_statement;
} ice__reg;

struct ice_engine {
    duck_environment env;
    duck_instance db;
    duck_connection setup; /* holds the registrations; runs nothing of users */
    duck_factory factory;  /* makes types and values; knows no connection's settings */
    duck_qname scan, scan_ordered;
    duck_type types[ICE__KINDS]; /* all but DECIMAL */
    duck_type decimals[39][39];  /* [precision][scale], made at first use */
    duck_type null_type;
    pthread_mutex_t lock; /* of regs and decimals */
    ice__reg *regs;
    pthread_mutex_t gate; /* of: */
    pthread_cond_t opened;
    unsigned running; /* statements, up to the end of their results */
    bool closed;      /* the number of threads is changing: no statement begins */
    bool abandoned; /* after a fork: nothing of DuckDB may be touched any more */
};

typedef struct ice__cached {
    uint64_t hash, used;
    char *sql;
    size_t len;
    duck_statement statement;
} ice__cached;

struct ice_engine_conn {
    ice_engine *engine;
    duck_connection conn;
    duck_factory factory;
    ice_resolver resolver;
    void *arg;
    ice__cached cache[ICE__CACHED_STATEMENTS];
    size_t ncached;
    uint64_t clock;
    /* The running statement: at most one. */
    bool busy;
    unsigned seq;
    ice_arena *arena;
    ice__reg *regs;
    pthread_mutex_t lock; /* of callback_error */
    ice_error callback_error;
};

/* duck.c: the functions, filled once for the process (callbacks have no other way to them), then constant. */
extern duck_api ice__duck;
ICE_MUST ice_code ice__duck_load(const char *library, ice_error *err);

/* error.c: consumes `de`. `c` may be NULL; an error that one of our callbacks left in it is returned instead of DuckDB's words. */
ice_code ice__duck_fail(ice_engine_conn *c, int code, duck_error de, ice_error *err)
    __attribute__((cold));
/* Inside a callback: keeps the first error of the statement and tells DuckDB to stop. */
void ice__callback_fail(ice_engine_conn *c, const ice_error *e, duck_error *slot) __attribute__((cold));
/* Calls DuckDB and goes to `out` with rc set when it fails: needs rc and err in scope, and `&de_` as the call's last argument. */
#define ICE_DUCK(conn, call)                                                                                           \
    do {                                                                                                               \
        duck_error de_ = NULL;                                                                                         \
        int code_ = ice__duck.call;                                                                                           \
        if (code_ != DUCK_OK) {                                                                                        \
            rc = ice__duck_fail((conn), code_, de_, err);                                                           \
            goto out;                                                                                                  \
        }                                                                                                              \
    } while (0)

/* value.c */
ICE_MUST ice_code ice__value_to_duck(ice_engine *e, const ice_value *v, duck_value *out, ice_error *err);
/* A constant of a type that has an Iceberg one; false where it is of another type. Strings go to the arena. */
bool ice__value_from_duck(ice_engine *e, duck_value v, ice_arena *a, ice_value *out);
/* The cached type; NULL on no memory. Not to be destroyed. */
duck_type ice__duck_type(ice_engine *e, ice_type t);
duck_huge ice__uuid_to_huge(const uint8_t uuid[16]);
void ice__huge_to_uuid(duck_huge h, uint8_t uuid[16]);
static inline ice_i128 ice__huge_to_i128(duck_huge h)
{
    return (ice_i128)(((unsigned __int128)(uint64_t)h.upper << 64) | h.lower);
}

/* vector.c: writes `count` rows of `v` into an output vector. */
ICE_MUST ice_code ice__vector_fill(ice_engine *e, duck_vector out, const ice_vec *v, const ice_batch *b, ice_error *err);

/* scan.c */
ICE_MUST ice_code ice__scan_register(ice_engine *e, ice_error *err);
ICE_MUST ice_code ice__scan_connect(ice_engine_conn *c, ice_error *err);
void ice__scan_end(ice_engine_conn *c); /* the statement's hold on its sources */

/* function.c */
ICE_MUST ice_code ice__functions_register(ice_engine *e, ice_error *err);

/* engine.c */
ICE_MUST ice_code ice__statement_begin(ice_engine_conn *c, ice_error *err);
void ice__statement_end(ice_engine_conn *c);
/* Parsed form of `sql`; *cached says that the cache owns it. */
ICE_MUST ice_code ice__statement_parse(ice_engine_conn *c, ice_str sql, bool keep, duck_statement *out, ice_error *err);
ICE_MUST ice_code ice__params(ice_engine_conn *c, const ice_value *params, size_t n, duck_value **out, ice_error *err);
void ice__params_free(ice_engine_conn *c, duck_value *values, size_t n);

/* A vector of DuckDB's, read value by value: its type, then for each chunk `vector`. */
typedef struct ice__reader {
    int id;               /* of the DuckDB type */
    uint8_t width, scale; /* of a DECIMAL */
    duck_vector vector;
    duck_view view;
} ice__reader;

/* transform.c */
ICE_MUST ice_code ice__transform_register(ice_engine *e, ice_error *err);

/* result.c */
/* *out has kind NONE where the type has no Iceberg one. `c` may be NULL. */
ICE_MUST ice_code ice__reader_init(ice__reader *rd, duck_type type, ice_type *out, ice_error *err);
ICE_MUST ice_code ice__reader_open(ice_engine_conn *c, ice__reader *rd, ice_error *err);
void ice__reader_value(const ice__reader *rd, uint8_t kind, size_t row, ice_value *out);
ICE_MUST ice_code ice__run(ice_engine_conn *c, ice_str sql, bool keep, const ice_value *params, size_t nparams,
                           ice_result **out, ice_error *err);
/* The cell as DuckDB's own value; the caller destroys it. NULL where that fails. */
duck_value ice__result_cell(ice_result *r, size_t column, size_t row);

#endif
