/* Compaction: small files, and files with many deleted rows, into few sorted ones. No answer changes: rows
 * keep their _row_start and their row ids, and the snapshot is a `replace`. */
#include "table/flush_int.h"

#include <stdlib.h>

const int64_t ice__target_rows = 5000000, ice__target_bytes = (int64_t)512 << 20;
static const int64_t small_bytes = (int64_t)64 << 20, tier_rows = 81920;

typedef struct compaction {
    ice_env *env;
    ice_published *s;
    ice_arena *a;
    ice__edit e;
    ice_tabstate keys;        /* definition and keys, for warming the cache */
    const ice_tabstate *warm; /* them, or NULL: no warming */
    bool *chosen;
    size_t nchosen;
} compaction;

/* ---- which files ---- */

bool ice__many_deleted(const ice__file *f)
{
    return f->dv_entry && f->dv_entry->file.record_count * 5 > f->entry.file.record_count;
}

bool ice__is_small(const ice__file *f)
{
    return f->entry.file.size < small_bytes && f->entry.file.record_count < ice__target_rows / 2;
}

static int by_rows(const void *x, const void *y, void *files)
{
    const ice__file *f = files;
    int64_t a = f[*(const size_t *)x].entry.file.record_count,
            b = f[*(const size_t *)y].entry.file.record_count;
    return (a > b) - (a < b);
}

/* The small files in ascending size, as long as the next one is not far larger than all before it together: a
 * large file is rewritten only when what is merged into it is worth it, so that a row moves a few times in
 * its life. */
size_t ice__choose_tier(const ice_published *s, size_t *files, size_t n, int64_t tier, int64_t incoming)
{
    int64_t rows = incoming;
    size_t taken = 0;
    qsort_r(files, n, sizeof *files, by_rows, s->files);
    for (; taken < n; taken++) {
        int64_t next = s->files[files[taken]].entry.file.record_count;
        if (next > tier && next > 3 * rows)
            break;
        rows += next;
    }
    return taken + (incoming > 0) > 1 ? taken : 0;
}

static ice_code choose(compaction *c, ice_error *err)
{
    size_t *small = ICE_NEW_N(c->a, size_t, c->s->nfiles + 1), n = 0;
    c->chosen = ICE_NEW_N(c->a, bool, c->s->nfiles + 1);
    if (!c->chosen || !small)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < c->s->nfiles; i++) {
        c->chosen[i] = ice__many_deleted(&c->s->files[i]);
        if (ice__is_small(&c->s->files[i]))
            small[n++] = i;
    }
    n = ice__choose_tier(c->s, small, n, tier_rows, 0);
    for (size_t i = 0; i < n; i++)
        c->chosen[small[i]] = true;
    for (size_t i = 0; i < c->s->nfiles; i++)
        c->nchosen += c->chosen[i];
    return ICE_OK;
}

/* ---- writing ---- */

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
        if (taken &&
            ((int64_t)r.rows + f->record_count > ice__target_rows || bytes + f->size > ice__target_bytes))
            break;
        ICE_TRY(ice__read_live(&r, c->s, (uint32_t)*next, NULL, 0, err));
        ice__edit_remove(&c->e, *next);
        bytes += f->size;
        taken++;
    }
    ICE_TRY(ice__write_reading(&c->e, &r, ICE_STR_NONE, order, c->warm, err));
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
    while (next < c->s->nfiles)
        ICE_TRY(write_group(c, &next, order, err));
out:
    return rc;
}

static ice_code rewrite(compaction *c, bool thorough, bool *did, ice_error *err)
{
    ice__part *parts;
    size_t nparts;
    ice_code rc;
    c->keys.def = c->s->def;
    ICE_TRY(ice_keys_of(c->s->def, c->a, &c->keys.keys, err));
    c->warm = ice__published_resident(c->s) ? &c->keys : NULL;
    ICE_TRY(ice__parts_of(c->s->def, c->a, &parts, &nparts, err));
    if (nparts) {
        ICE_TRY(ice__edit_begin(&c->e, c->env, c->s, c->a, err));
        return ice__place(&c->e, c->warm, c->s->def, thorough, did, err);
    }
    ICE_TRY(choose(c, err));
    if (c->nchosen == 0)
        return ICE_OK;
    ICE_TRY(ice__edit_begin(&c->e, c->env, c->s, c->a, err));
    ICE_TRY(write_all(c, err));
    *did = true;
out:
    return rc;
}

ice_code ice_compact(ice_env *env, ice_published *s, ice_str catalog_name, bool thorough, ice_arena *a,
                     ice_str *new_location, bool *did, ice_error *err)
{
    compaction c = {.env = env, .s = s, .a = a};
    ice__swap swap = {.name = catalog_name, .expected = s->location, .from = s};
    ice_code rc;
    *did = false;
    *new_location = ICE_STR_NONE;
    if (s->foreign)
        return ICE_OK;
    ICE_TRY(rewrite(&c, thorough, did, err));
    if (!*did)
        goto out;
    *did = false;
    ICE_TRY(ice__edit_finish(&c.e, "replace", 0, ice_clock_us() / 1000, 0, &swap.location, err));
    ICE_TRY(ice__swap_commit(env, &swap, a, err));
    *new_location = swap.location;
    *did = true;
out:
    ice__edit_free(&c.e);
    return rc;
}
