/* Micro benchmark of the engine on a table in memory: the fixed cost of a statement, scans, and export as Arrow.
 *   ninja tests/c/bench_engine in a build with -Dcore_tests=true; ICE_DUCKDB_LIBRARY as in the tests; rows as the first argument. */
#include "../tests/c/duck_library.h"
#include "../tests/c/mem_source.h"
#include "engine/arrow_abi.h"

static mem_source table;
static ice_engine_conn *conn;

static ice_code resolve(void *arg, ice_str name, unsigned seq, ice_arena *a, ice_source **source, ice_str *subquery,
                        ice_error *err)
{
    (void)arg;
    (void)seq;
    (void)a;
    (void)subquery;
    (void)err;
    if (ice_str_eqc(name, "t"))
        *source = &table.base;
    return ICE_OK;
}

static void die(const ice_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

static void make_table(size_t rows)
{
    static ice_column cols[4];
    static ice_vec vecs[4];
    int64_t *ids = malloc(rows * 8);
    int32_t *grps = malloc(rows * 4);
    double *amounts = malloc(rows * 8);
    ice_strval *names = malloc(rows * sizeof *names);
    char *text = malloc(rows * 20);
    for (size_t i = 0; i < rows; i++) {
        ids[i] = (int64_t)i;
        grps[i] = (int32_t)(i * 7919 % 100);
        amounts[i] = (double)(i % 1000) / 8;
        names[i] = (ice_strval){text + i * 20, (uint32_t)snprintf(text + i * 20, 20, "customer %09zu", i)};
    }
    cols[0] = mem_column(1, "id", (ice_type){.kind = ICE_T_LONG});
    cols[1] = mem_column(2, "grp", (ice_type){.kind = ICE_T_INT});
    cols[2] = mem_column(3, "amount", (ice_type){.kind = ICE_T_DOUBLE});
    cols[3] = mem_column(4, "name", (ice_type){.kind = ICE_T_STRING});
    vecs[0] = (ice_vec){.type = cols[0].type, .data = ids};
    vecs[1] = (ice_vec){.type = cols[1].type, .data = grps};
    vecs[2] = (ice_vec){.type = cols[2].type, .data = amounts};
    vecs[3] = (ice_vec){.type = cols[3].type, .strs = names};
    table = (mem_source){.base = {&mem_methods}, .cols = cols, .ncols = 4, .vecs = vecs, .rows = rows, .take_eq = true};
}

static size_t run(const char *sql, const ice_value *params, size_t n)
{
    ice_result *r;
    ice_error err = {0};
    size_t count, total = 0;
    if (ice_engine_run(conn, ice_str_c(sql), params, n, &r, &err) != ICE_OK)
        die(&err);
    do {
        if (ice_result_next(r, &count, &err) != ICE_OK)
            die(&err);
        total += count;
    } while (count);
    ice_result_close(r);
    return total;
}

static size_t run_arrow(const char *sql)
{
    struct ArrowArrayStream s;
    struct ArrowArray a;
    ice_error err = {0};
    size_t total = 0;
    if (ice_engine_run_arrow(conn, ice_str_c(sql), NULL, 0, &s, NULL, NULL, &err) != ICE_OK)
        die(&err);
    while (s.get_next(&s, &a) == 0 && a.release) {
        total += (size_t)a.length;
        a.release(&a);
    }
    s.release(&s);
    return total;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, const char *sql, int repeat, bool arrow)
{
    int64_t *us = malloc((size_t)repeat * sizeof *us);
    size_t rows = 0;
    for (int i = 0; i < repeat; i++) {
        ice_value p = {.kind = ICE_T_LONG, .i = (int64_t)((uint64_t)i * 7919 % table.rows)};
        int64_t start = ice_clock_monotonic_us();
        rows = arrow ? run_arrow(sql) : run(sql, &p, strstr(sql, "$1") ? 1 : 0);
        us[i] = ice_clock_monotonic_us() - start;
    }
    qsort(us, (size_t)repeat, sizeof *us, by_value);
    printf("%-34s %9.3f ms median %9.3f best  (%zu rows)\n", what, (double)us[repeat / 2] / 1000, (double)us[0] / 1000, rows);
    free(us);
}

int main(int argc, char **argv)
{
    ice_engine *engine;
    ice_error err = {0};
    const char *lib = duck_library();
    make_table(argc > 1 ? strtoul(argv[1], NULL, 10) : 10000000);
    int64_t start = ice_clock_monotonic_us();
    if (!lib || ice_engine_open(lib, argc > 2 ? atoi(argv[2]) : 2, 0, &engine, &err) != ICE_OK ||
        ice_engine_connect(engine, resolve, NULL, &conn, &err) != ICE_OK)
        die(&err);
    printf("%-34s %9.3f ms\n", "open and connect", (double)(ice_clock_monotonic_us() - start) / 1000);
    report("SELECT 1", "SELECT 1", 2000, false);
    report("point select, 4 columns", "SELECT * FROM t WHERE id = $1", 2000, false);
    report("point select, Django's text", "SELECT \"t\".\"id\", \"t\".\"grp\", \"t\".\"amount\", \"t\".\"name\" FROM \"t\" WHERE "
                                          "\"t\".\"id\" = $1 LIMIT 21", 2000, false);
    report("join of two points", "SELECT a.name, b.name FROM t a JOIN t b ON a.id = b.id WHERE a.id = $1", 500, false);
    report("count(*)", "SELECT count(*) FROM t", 20, false);
    report("count, filter on a group", "SELECT count(*) FROM t WHERE grp = 7", 20, false);
    report("group by 100", "SELECT grp, count(*), sum(amount) FROM t GROUP BY grp", 20, false);
    report("top 20 by name", "SELECT * FROM t ORDER BY name DESC LIMIT 20", 10, false);
    report("all rows, 3 columns, values", "SELECT id, grp, amount FROM t", 5, false);
    report("all rows, 3 columns, Arrow", "SELECT id, grp, amount FROM t", 5, true);
    report("all rows, 4 columns, Arrow", "SELECT * FROM t", 5, true);
    ice_engine_disconnect(conn);
    ice_engine_close(engine);
    return 0;
}
