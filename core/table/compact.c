/* Compaction: small files, and files with many deleted rows, into few sorted ones. No answer changes: rows
 * keep their _row_start and their row ids, and the snapshot is a `replace`. */
#include "table/flush_int.h"

#include <stdlib.h>

static const int64_t small_bytes = (int64_t)64 << 20, target_bytes = (int64_t)512 << 20;
static const int64_t target_rows = 5000000, tier_rows = 81920;

typedef struct compaction {
    ice_env *env;
    ice_published *s;
    ice_arena *a;
    ice__edit e;
    ice_tabstate keys; /* definition and keys, for warming the cache */
    bool warm;
    bool *chosen;
    size_t nchosen;
} compaction;

static bool many_deleted(const ice__file *f)
{
    return f->dv_entry && f->dv_entry->file.record_count * 5 > f->entry.file.record_count;
}

static bool is_small(const ice__file *f)
{
    return f->entry.file.size < small_bytes && f->entry.file.record_count < target_rows / 2;
}

typedef struct ranked {
    size_t file;
    int64_t rows;
} ranked;

static int by_rows(const void *x, const void *y)
{
    int64_t a = ((const ranked *)x)->rows, b = ((const ranked *)y)->rows;
    return (a > b) - (a < b);
}

/* The small files in ascending size, as long as the next one is not far larger than all before it together: a
 * large file is rewritten only when what is merged into it is worth it, so that a row moves a few times in
 * its life. */
static ice_code choose_small(compaction *c, ice_error *err)
{
    ranked *list = ICE_NEW_N(c->a, ranked, c->s->nfiles + 1);
    int64_t rows = 0;
    size_t n = 0, taken = 0;
    if (!list)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < c->s->nfiles; i++)
        if (is_small(&c->s->files[i]))
            list[n++] = (ranked){i, c->s->files[i].entry.file.record_count};
    qsort(list, n, sizeof *list, by_rows);
    for (; taken < n; taken++) {
        if (list[taken].rows > tier_rows && list[taken].rows > 3 * rows)
            break;
        rows += list[taken].rows;
    }
    for (size_t i = 0; taken > 1 && i < taken; i++)
        c->chosen[list[i].file] = true;
    return ICE_OK;
}

static ice_code choose(compaction *c, ice_error *err)
{
    ice_code rc;
    c->chosen = ICE_NEW_N(c->a, bool, c->s->nfiles + 1);
    if (!c->chosen)
        return ice_fail_nomem(err);
    ICE_TRY(choose_small(c, err));
    for (size_t i = 0; i < c->s->nfiles; i++) {
        c->chosen[i] |= many_deleted(&c->s->files[i]);
        c->nchosen += c->chosen[i];
    }
out:
    return rc;
}

/* One output from the chosen files [*next, ...) until it is large enough. */
static ice_code write_group(compaction *c, size_t *next, ice_str order, ice_error *err)
{
    ice__reading r = {0};
    ice_column *cols;
    size_t n, taken = 0;
    int64_t bytes = 0;
    ice_code rc;
    ICE_TRY(ice__table_columns(c->s->def, true, c->a, &cols, &n, err));
    ice__reading_init(&r, c->env, cols, n, c->a);
    for (; *next < c->s->nfiles; ++*next) {
        const ice_data_file *f = &c->s->files[*next].entry.file;
        if (!c->chosen[*next])
            continue;
        if (taken && ((int64_t)r.rows + f->record_count > target_rows || bytes + f->size > target_bytes))
            break;
        ICE_TRY(ice__read_live(&r, c->s, (uint32_t)*next, NULL, 0, err));
        ice__edit_remove(&c->e, *next);
        bytes += f->size;
        taken++;
    }
    ICE_TRY(ice__write_reading(&c->e, &r, ICE_STR_NONE, order, c->warm ? &c->keys : NULL, err));
out:
    ice__reading_free(&r);
    return rc;
}

static ice_code write_all(compaction *c, ice_error *err)
{
    ice_str order;
    size_t next = 0;
    ice_code rc;
    ICE_TRY(ice__cluster_order(c->s->def, true, c->a, &order, err));
    c->keys.def = c->s->def;
    ICE_TRY(ice_keys_of(c->s->def, c->a, &c->keys.keys, err));
    c->warm = ice__published_resident(c->s);
    while (next < c->s->nfiles)
        ICE_TRY(write_group(c, &next, order, err));
out:
    return rc;
}

ice_code ice_compact(ice_env *env, ice_published *s, ice_str catalog_name, ice_arena *a,
                     ice_str *new_location, bool *did, ice_error *err)
{
    compaction c = {.env = env, .s = s, .a = a};
    ice__swap swap = {.name = catalog_name, .expected = s->location};
    ice_code rc;
    *did = false;
    *new_location = ICE_STR_NONE;
    if (s->foreign)
        return ICE_OK;
    ICE_TRY(choose(&c, err));
    if (c.nchosen == 0)
        return ICE_OK;
    ICE_TRY(ice__edit_begin(&c.e, env, s, a, err));
    ICE_TRY(write_all(&c, err));
    ICE_TRY(ice__edit_finish(&c.e, "replace", 0, ice_clock_us() / 1000, 0, &swap.location, err));
    ICE_TRY(ice__swap_commit(env, &swap, a, err));
    *new_location = swap.location;
    *did = true;
out:
    ice__edit_free(&c.e);
    return rc;
}
