#include "engine/engine_int.h"

#include <stdlib.h>

/* ---- writing ---- */

/* The columns get their names by position and their exact types, whatever the query calls them. */
static void put_copy(ice_buf *b, ice_str sql, ice_str path, const ice_column *cols, size_t ncols)
{
    ice_buf_puts(b, "COPY (SELECT ");
    for (size_t i = 0; i < ncols; i++) {
        ice_buf_printf(b, "%sCAST(c%zu AS ", i ? ", " : "", i);
        ice_duck_type(&cols[i], b);
        ice_buf_puts(b, ") AS ");
        ice_buf_put_ident(b, cols[i].name);
    }
    ice_buf_puts(b, " FROM (");
    ice_buf_put_str(b, sql);
    ice_buf_puts(b, "\n) AS q(");
    for (size_t i = 0; i < ncols; i++)
        ice_buf_printf(b, "%sc%zu", i ? ", " : "", i);
    ice_buf_puts(b, ")) TO ");
    ice_buf_put_quoted(b, path);
    ice_buf_puts(b, " (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, ROW_GROUP_SIZE 40960, USE_TMP_FILE false, "
                    "RETURN_STATS, FIELD_IDS {");
    for (size_t i = 0; i < ncols; i++) {
        ice_buf_puts(b, i ? ", " : "");
        ice_buf_put_quoted(b, cols[i].name);
        ice_buf_printf(b, ": %d", cols[i].field_id);
    }
    ice_buf_puts(b, "})");
}

/* Text of a VARCHAR value; empty where it is none. */
static ice_str text_of(duck_value v)
{
    duck_str s = {0};
    return v && ice__duck.value_get_varchar(v, &s, NULL) == DUCK_OK ? (ice_str){s.ptr, s.len} : ICE_STR("");
}

static duck_value child_of(duck_value v, uint64_t i)
{
    duck_value c = NULL;
    ice__duck.value_get_child(v, i, &c, NULL);
    return c;
}

static int64_t count_of(duck_value v)
{
    ice_str s = text_of(v);
    int64_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9' || n > INT64_MAX / 10 - 9)
            return -1;
        n = n * 10 + (s.ptr[i] - '0');
    }
    return s.len ? n : -1;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool bound_of_binary(ice_arena *a, ice_str hex, ice_value *out)
{
    if (hex.len % 2)
        return false;
    char *bytes = ice_arena_alloc(a, hex.len / 2 + 1);
    if (!bytes)
        return false;
    for (size_t i = 0; i < hex.len; i += 2) {
        int hi = hex_digit(hex.ptr[i]), lo = hex_digit(hex.ptr[i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        bytes[i / 2] = (char)(hi << 4 | lo);
    }
    *out = (ice_value){.kind = ICE_T_BINARY, .s = {bytes, hex.len / 2}};
    return true;
}

static bool bound_of(ice_arena *a, ice_type type, duck_value v, ice_value *out)
{
    ice_str text = text_of(v);
    if (type.kind == ICE_T_BINARY || type.kind == ICE_T_FIXED)
        return bound_of_binary(a, text, out);
    if (type.kind == ICE_T_BOOL) {
        *out = (ice_value){.kind = ICE_T_BOOL, .b = ice_str_eqc(text, "1") || ice_str_eqc(text, "true")};
        return text.len > 0;
    }
    ice_value s = {.kind = ICE_T_STRING, .s = text}, cast;
    return ice_value_cast(a, &s, type, &cast, NULL) == ICE_OK && ice_value_copy(a, &cast, out, NULL) == ICE_OK;
}

/* What one column's MAP says. Bounds count only when both are there and exact: DuckDB leaves out those of long
 * strings and may shorten others, and a shortened upper bound would prune rows that are there. */
static void read_column_stats(ice_arena *a, ice_type type, duck_value map, ice_column_stats *out)
{
    uint64_t n = 0;
    bool lower = false, upper = false, exact = true;
    ice__duck.value_get_child_count(map, &n, NULL);
    for (uint64_t i = 0; i + 1 < n; i += 2) {
        duck_value k = child_of(map, i), v = child_of(map, i + 1);
        ice_str key = text_of(k);
        if (ice_str_eqc(key, "column_size_bytes"))
            out->size_bytes = count_of(v) > 0 ? (uint64_t)count_of(v) : 0;
        else if (ice_str_eqc(key, "null_count"))
            out->null_count = count_of(v);
        else if (ice_str_eqc(key, "nan_count"))
            out->nan_count = count_of(v);
        else if (ice_str_eqc(key, "min"))
            lower = bound_of(a, type, v, &out->lower);
        else if (ice_str_eqc(key, "max"))
            upper = bound_of(a, type, v, &out->upper);
        else if (ice_str_eqc(key, "min_is_exact") || ice_str_eqc(key, "max_is_exact"))
            exact = exact && ice_str_eqc(text_of(v), "true");
        ice__duck.value_destroy(&k);
        ice__duck.value_destroy(&v);
    }
    out->has_bounds = lower && upper && exact;
}

/* The outer MAP's keys are column paths: quoted identifiers. */
static ice_column_stats *stats_of_key(ice_str key, const ice_column *cols, ice_parquet_info *info, size_t *at)
{
    ice_column_stats *found = NULL;
    ice_buf name = {0};
    for (size_t i = 0; i < info->ncols && !found; i++) {
        ice_buf_clear(&name);
        ice_buf_put_ident(&name, cols[i].name);
        if (!name.failed && ice_str_eq(ice_buf_str(&name), key)) {
            found = &info->cols[i];
            *at = i;
        }
    }
    ice_buf_free(&name);
    return found;
}

static void read_stats(ice_arena *a, const ice_column *cols, duck_value map, ice_parquet_info *info)
{
    uint64_t n = 0;
    bool null = true;
    if (!map || ice__duck.value_is_null(map, &null, NULL) != DUCK_OK || null)
        return;
    ice__duck.value_get_child_count(map, &n, NULL);
    for (uint64_t i = 0; i + 1 < n; i += 2) {
        duck_value k = child_of(map, i), v = child_of(map, i + 1);
        size_t at = 0;
        ice_column_stats *s = stats_of_key(text_of(k), cols, info, &at);
        if (s && v)
            read_column_stats(a, cols[at].type, v, s);
        ice__duck.value_destroy(&k);
        ice__duck.value_destroy(&v);
    }
}

static uint64_t unsigned_cell(ice_result *r, size_t column)
{
    ice_value v;
    ice_result_value(r, column, 0, &v);
    return v.null ? 0 : v.kind == ICE_T_DECIMAL ? (uint64_t)v.dec : (uint64_t)v.i;
}

static ice_code read_info(ice_result *r, ice_arena *a, const ice_column *cols, size_t ncols, ice_parquet_info *info,
                          ice_error *err)
{
    ice_code rc = ICE_OK;
    size_t count = 0;
    const ice_result_column *names;
    *info = (ice_parquet_info){.ncols = ncols, .cols = ICE_NEW_N(a, ice_column_stats, ncols ? ncols : 1)};
    if (!info->cols)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < ncols; i++)
        info->cols[i] = (ice_column_stats){.field_id = cols[i].field_id, .null_count = -1, .nan_count = -1};
    ICE_TRY(ice_result_next(r, &count, err));
    size_t n = ice_result_columns(r, &names);
    for (size_t i = 0; count && i < n; i++) {
        if (ice_str_eqc(names[i].name, "count"))
            info->rows = unsigned_cell(r, i);
        else if (ice_str_eqc(names[i].name, "file_size_bytes"))
            info->bytes = unsigned_cell(r, i);
        else if (ice_str_eqc(names[i].name, "column_statistics")) {
            duck_value map = ice__result_cell(r, i, 0);
            read_stats(a, cols, map, info);
            ice__duck.value_destroy(&map);
        }
    }
    while (count)
        ICE_TRY(ice_result_next(r, &count, err));
out:
    return rc;
}

ice_code ice_parquet_write(ice_engine_conn *c, ice_str sql, const ice_value *params, size_t nparams, ice_str path,
                           const ice_column *cols, size_t ncols, ice_arena *a, ice_parquet_info *info, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_buf copy = {0};
    ice_result *r = NULL;
    put_copy(&copy, sql, path, cols, ncols);
    ICE_TRY(ice_buf_check(&copy, err));
    ICE_TRY(ice__run(c, ice_buf_str(&copy), false, params, nparams, &r, err));
    ICE_TRY(read_info(r, a, cols, ncols, info, err));
out:
    ice_result_close(r);
    ice_buf_free(&copy);
    return rc;
}

/* ---- scanning ---- */

/* As text that DuckDB casts to the column's type, for one MAP holds values of one type. */
static void put_default(const ice_column *c, ice_buf *out)
{
    if (!c->has_initial || c->initial.null) {
        ice_buf_puts(out, "NULL::VARCHAR");
        return;
    }
    ice_buf text = {0};
    if (c->type.kind == ICE_T_BINARY || c->type.kind == ICE_T_FIXED)
        for (size_t i = 0; i < c->initial.s.len; i++)
            ice_buf_printf(&text, "\\x%02X", (unsigned char)c->initial.s.ptr[i]);
    else
        ice_value_text(&c->initial, &text);
    out->failed = out->failed || text.failed;
    ice_buf_put_quoted(out, ice_buf_str(&text));
    ice_buf_free(&text);
}

static void put_schema(const ice_column *cols, size_t ncols, ice_buf *out)
{
    ice_buf_puts(out, ", schema = MAP {");
    for (size_t i = 0; i < ncols; i++) {
        ice_buf_printf(out, "%s%d: {name: ", i ? ", " : "", cols[i].field_id);
        ice_buf_put_quoted(out, cols[i].name);
        ice_buf_puts(out, ", type: '");
        ice_duck_type(&cols[i], out);
        ice_buf_puts(out, "', default_value: ");
        put_default(&cols[i], out);
        ice_buf_puts(out, "}");
    }
    ice_buf_puts(out, "}");
}

void ice_parquet_scan_sql(const ice_str *files, size_t nfiles, const ice_column *cols, size_t ncols, bool evolved,
                          bool with_position, ice_buf *out)
{
    if (with_position) {
        ice_buf_puts(out, "(SELECT ");
        for (size_t i = 0; i < ncols; i++) {
            ice_buf_put_ident(out, cols[i].name);
            ice_buf_puts(out, ", ");
        }
        ice_buf_puts(out, "file_row_number, CAST(file_index AS BIGINT) AS \"__file\" FROM ");
    }
    ice_buf_puts(out, "read_parquet([");
    for (size_t i = 0; i < nfiles; i++) {
        ice_buf_puts(out, i ? ", " : "");
        ice_buf_put_quoted(out, files[i]);
    }
    /* Directory names like "tenant=7" are no columns. */
    ice_buf_puts(out, "], hive_partitioning = false");
    if (evolved)
        put_schema(cols, ncols, out);
    ice_buf_puts(out, ")");
    if (with_position)
        ice_buf_puts(out, ")");
}
