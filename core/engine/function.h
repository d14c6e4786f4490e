/* Functions of ours as DuckDB calls them: rows of texts, on one of its threads. */
#ifndef ICE_ENGINE_FUNCTION_H
#define ICE_ENGINE_FUNCTION_H

#include "engine/engine_int.h"

#define ICE__MAX_ARGS 4

/* One call: some rows of a plan. */
typedef struct ice__call {
    duck_view args[ICE__MAX_ARGS];
    size_t nargs, count;
    duck_vector result;
    void *data; /* of the result */
    uint64_t *validity;
} ice__call;

ICE_MUST ice_code ice__call_open(duck_exec info, size_t nargs, ice__call *c, ice_error *err);
/* What the function's worker callback left for this thread. */
ICE_MUST ice_code ice__call_worker(duck_exec info, void **out, ice_error *err);
/* The texts of one row; where one is NULL, so is the result. */
ICE_MUST ice_code ice__call_row(ice__call *c, size_t row, ice_str *texts, bool *null, ice_error *err);
ICE_MUST ice_code ice__call_null(ice__call *c, size_t row, ice_error *err);
/* The result of a row, of a function that gives texts or bytes. */
ICE_MUST ice_code ice__call_put(ice__call *c, size_t row, ice_str text, ice_error *err);
void ice__call_fail(const ice_error *e, duck_error *slot);
/* Inside a worker callback: hands over `data` (NULL: there was no memory for it), which `release` frees. */
void ice__worker_set(duck_init info, void *data, void (*release)(void *), duck_error *slot);

typedef struct ice__function {
    const char *name;
    size_t nargs;
    uint8_t returns; /* kind */
    duck_exec_fn run;
    duck_init_fn worker; /* NULL: none */
    const void *data;    /* ice__call's user data */
} ice__function;

/* number.c */
double ice__round_float(double x, long places);

/* cast.c, digest.c, match.c, json.c, number.c */
extern const ice__function ice__cast_functions[2], ice__digest_functions[3], ice__match_functions[5], ice__json_functions[6],
    ice__number_functions[1];

#endif
