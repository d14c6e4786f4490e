/* A directory, a file in it, and a table with a column of every type: for tests of the cache's files. */
#ifndef TESTS_STORE_CELLS_H
#define TESTS_STORE_CELLS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/chunk.h"

static char dir[64];
static char path[96];

static inline int make_dir(void **state)
{
    snprintf(dir, sizeof dir, "%s/ice_store_XXXXXX", P_tmpdir);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/file", dir);
    return 0;
}

static inline int files_in_dir(void)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static inline int remove_dir(void **state)
{
    unlink(path);
    return rmdir(dir);
}

/* ---- a table of every type ---- */

#define NTYPES 15
static ice_column columns[NTYPES];

static inline void make_columns(void)
{
    const char *types[NTYPES] = {"boolean",        "int",      "long",  "float", "double",    "decimal(9, 2)",
                                 "decimal(38, 4)", "date",     "time",  "uuid",  "timestamp", "timestamptz",
                                 "string",         "fixed[3]", "binary"};
    for (int i = 0; i < NTYPES; i++) {
        columns[i] = (ice_column){.field_id = 10 + i, .name = ice_str_c(types[i])};
        assert_int_equal(ice_type_parse(ice_str_c(types[i]), &columns[i].type, NULL), ICE_OK);
    }
}

/* The value of (column, row) of the test table. Every 5th is null in odd columns. */
static inline ice_value cell(int c, uint64_t row, char text[32])
{
    ice_value v = {.kind = columns[c].type.kind, .scale = columns[c].type.scale};
    if (c % 2 && row % 5 == 0)
        return (ice_value){.kind = v.kind, .null = true};
    switch (v.kind) {
    case ICE_T_BOOL:
        v.b = row % 3 == 0;
        break;
    case ICE_T_FLOAT:
    case ICE_T_DOUBLE:
        v.d = (double)row * 0.5;
        break;
    case ICE_T_DECIMAL:
        v.dec = (ice_i128)row - 7;
        if (columns[c].type.precision > 18)
            v.dec *= (ice_i128)1 << 60;
        break;
    case ICE_T_UUID:
        memset(v.uuid, (int)(row & 255), 16);
        break;
    case ICE_T_STRING:
    case ICE_T_BINARY:
        v.s =
            (ice_str){text, (size_t)snprintf(text, 32, "row %llu", (unsigned long long)row) * (row % 4 != 0)};
        break;
    case ICE_T_FIXED:
        memcpy(text, "abc", 3);
        v.s = (ice_str){text, 3};
        break;
    default:
        v.i = (int64_t)row - 3;
    }
    return v;
}

/* Hands out the test table in batches of `step` rows, every other one through a selection vector. */
typedef struct feed {
    uint64_t at, rows, step;
    ice_vec vecs[NTYPES];
    void *data[NTYPES];
    ice_strval strs[NTYPES][ICE_BATCH_ROWS];
    char texts[NTYPES][ICE_BATCH_ROWS][32];
    uint8_t validity[NTYPES][ICE_BATCH_ROWS / 8];
    uint32_t sel[ICE_BATCH_ROWS];
} feed;

static inline void put_cell(feed *f, int c, size_t at, const ice_value *v)
{
    if (v->null)
        return;
    f->validity[c][at >> 3] |= (uint8_t)(1u << (at & 7));
    char *to = (char *)f->data[c] + at * ice_type_width(columns[c].type);
    switch (v->kind) {
    case ICE_T_BOOL:
        *to = v->b;
        break;
    case ICE_T_INT:
    case ICE_T_DATE:
        memcpy(to, &(int32_t){(int32_t)v->i}, 4);
        break;
    case ICE_T_FLOAT:
        memcpy(to, &(float){(float)v->d}, 4);
        break;
    case ICE_T_DECIMAL:
        if (columns[c].type.precision > 18)
            memcpy(to, &v->dec, 16);
        else
            memcpy(to, &(int64_t){(int64_t)v->dec}, 8);
        break;
    case ICE_T_UUID:
        memcpy(to, v->uuid, 16);
        break;
    case ICE_T_STRING:
    case ICE_T_BINARY:
    case ICE_T_FIXED:
        f->strs[c][at] = (ice_strval){v->s.ptr, (uint32_t)v->s.len};
        break;
    default:
        memcpy(to, &v->i, 8);
    }
}

static inline ice_code next_batch(void *arg, ice_batch *out, ice_error *err)
{
    feed *f = arg;
    uint64_t n = f->rows - f->at < f->step ? f->rows - f->at : f->step;
    bool selected = f->at / f->step % 2;
    uint32_t first = selected ? 0 : (uint32_t)(f->at % 3);
    memset(f->validity, 0, sizeof f->validity);
    for (int c = 0; c < NTYPES; c++) {
        for (uint64_t i = 0; i < n; i++) {
            size_t slot = selected ? (size_t)(n - 1 - i) : (size_t)(first + i);
            ice_value v = cell(c, f->at + i, f->texts[c][slot]);
            put_cell(f, c, slot, &v);
            f->sel[i] = (uint32_t)slot;
        }
        f->vecs[c] =
            (ice_vec){.type = columns[c].type, .data = f->data[c], .validity = c % 2 ? f->validity[c] : NULL};
        if (!ice_type_width(columns[c].type))
            f->vecs[c].strs = f->strs[c];
    }
    *out = (ice_batch){
        .count = n, .first = first, .sel = selected ? f->sel : NULL, .vecs = f->vecs, .nvecs = NTYPES};
    f->at += n;
    return ICE_OK;
}

static inline char *slurp(size_t *n)
{
    FILE *f = fopen(path, "rb");
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *p = malloc(*n);
    assert_int_equal(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

static inline void spill(const char *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static uint64_t rng = 88172645463325252ull;
static inline uint64_t rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

/* What writes a file of columns or of rows. */
typedef ice_code (*file_writer)(const char *path, const ice_column *cols, size_t ncols,
                                ice_code (*next)(void *arg, ice_batch *out, ice_error *err), void *arg, ice_error *err);

static inline ice_code write_cells(file_writer write, uint64_t rows, uint64_t step, ice_error *err)
{
    make_columns();
    feed *f = calloc(1, sizeof *f);
    f->rows = rows;
    f->step = step;
    for (int c = 0; c < NTYPES; c++)
        f->data[c] = calloc(ICE_BATCH_ROWS, 16);
    ice_code rc = write(path, columns, NTYPES, next_batch, f, err);
    for (int c = 0; c < NTYPES; c++)
        free(f->data[c]);
    free(f);
    return rc;
}

/* ---- checksums of pages ---- */

/* Makes the pages' checksums right again, so that what they guard is tested too. */
static inline void fix_pages(char *p, size_t n)
{
    enum { PAGE = 16384, END = 16 };
    uint64_t len, sums;
    if (n < END)
        return;
    memcpy(&len, p + n - 8, 8);
    sums = (len + 7) & ~UINT64_C(7);
    if (len > n || sums + 8 * ((len + PAGE - 1) / PAGE) + END != n)
        return;
    for (uint64_t at = 0; at < len; at += PAGE) {
        uint64_t sum = ice_hash64(p + at, len - at < PAGE ? len - at : PAGE, 0);
        memcpy(p + sums + at / PAGE * 8, &sum, 8);
    }
}

/* One bit of each byte of the file is another: `noticed` says so of every one (each `step`th byte). */
static inline void flip_each_byte(bool (*noticed)(void), size_t step)
{
    size_t n;
    char *data = slurp(&n);
    for (size_t at = 0; at < n; at += step) {
        data[at] ^= (char)(1 << at % 8);
        spill(data, n);
        if (!noticed())
            fail_msg("a bit of byte %zu of %zu", at, n);
        data[at] ^= (char)(1 << at % 8);
    }
    spill(data, n);
    assert_false(noticed());
    free(data);
}

#endif
