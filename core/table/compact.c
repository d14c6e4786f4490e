/* Compaction: small files, and files with many deleted rows, into few sorted ones. No answer changes: rows
 * keep their _row_start and their row ids, and the snapshot is a `replace`. */
#include "table/flush_int.h"

#include <stdlib.h>

const int64_t ice__target_rows = 5000000, ice__target_bytes = (int64_t)512 << 20;
static const int64_t small_bytes = (int64_t)64 << 20, tier_rows = 81920;

/* Of one Iceberg table: the table itself, or its history. */
typedef struct compaction {
    ice_env *env;
    ice_published *s;
    ice_tabledef *def; /* the table's */
    const ice_compact_options *o;
    ice_arena *a;
    ice__edit e;
    ice_keys keys;
    ice__warm keyed;
    const ice__warm *warm; /* NULL: nobody looks up in it */
    bool *chosen;
    size_t nchosen;
    ice_column *cols; /* to copy */
    size_t ncols;
    ice_str order;
} compaction;

/* ---- which files ---- */

bool ice__many_deleted(const ice__file *f, const ice_compact_options *o)
{
    return f->dv_entry &&
           (double)f->dv_entry->file.record_count > o->delete_ratio * (double)f->entry.file.record_count;
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
 * its life. Who asks for a compaction gets all of it. */
size_t ice__choose_tier(const ice_published *s, size_t *files, size_t n, const ice_compact_options *o,
                        int64_t tier, int64_t incoming)
{
    int64_t rows = incoming;
    size_t taken = 0;
    qsort_r(files, n, sizeof *files, by_rows, s->files);
    for (; taken < n; taken++) {
        int64_t next = s->files[files[taken]].entry.file.record_count;
        if (!o->thorough && next > tier && next > 3 * rows)
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
        c->chosen[i] = ice__many_deleted(&c->s->files[i], c->o);
        if (ice__is_small(&c->s->files[i]))
            small[n++] = i;
    }
    n = ice__choose_tier(c->s, small, n, c->o, tier_rows, 0);
    for (size_t i = 0; i < n; i++)
        c->chosen[small[i]] = true;
    for (size_t i = 0; i < c->s->nfiles; i++)
        c->nchosen += c->chosen[i];
    return ICE_OK;
}

/* ---- writing ---- */

/* One output from the chosen files [*next, ...) until it is large enough. */
static ice_code write_group(compaction *c, size_t *next, ice_error *err)
{
    ice__reading r = {0};
    size_t taken = 0;
    int64_t bytes = 0;
    ice_code rc;
    ice__reading_init(&r, c->env, c->cols, c->ncols, c->a);
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
    ICE_TRY(ice__write_reading(&c->e, &r, ICE_STR_NONE, c->order, c->warm, err));
out:
    ice__reading_free(&r);
    return rc;
}

static ice_code write_all(compaction *c, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t next = 0; next < c->s->nfiles;)
        ICE_TRY(write_group(c, &next, err));
out:
    return rc;
}

/* ---- the table ---- */

static ice_code rewrite(compaction *c, bool *did, ice_error *err)
{
    ice__part *parts;
    size_t nparts;
    ice_code rc;
    ICE_TRY(ice_keys_of(c->def, c->a, &c->keys, err));
    c->keyed = (ice__warm){c->def, &c->keys, ice__published_resident(c->s)};
    c->warm = &c->keyed;
    ICE_TRY(ice__parts_of(c->def, c->a, &parts, &nparts, err));
    if (nparts) {
        ICE_TRY(ice__edit_begin(&c->e, c->env, c->s, c->a, err));
        return ice__place(&c->e, c->warm, c->def, c->o, did, err);
    }
    ICE_TRY(choose(c, err));
    if (c->nchosen == 0)
        return ICE_OK;
    ICE_TRY(ice__edit_begin(&c->e, c->env, c->s, c->a, err));
    ICE_TRY(ice__table_columns(c->def, true, c->a, &c->cols, &c->ncols, err));
    ICE_TRY(ice__cluster_order(c->def, true, c->a, &c->order, err));
    ICE_TRY(write_all(c, err));
    *did = true;
out:
    return rc;
}

/* ---- its history ---- */

/* Versions of a row follow each other, as flushes write them. */
static ice_code history_order(compaction *c, ice_error *err)
{
    ice_str keys;
    ice_code rc;
    ICE_TRY(ice__cluster_order(c->def, false, c->a, &keys, err));
    c->order = ice_str_c(ice_arena_printf(c->a, "%.*s%s\"_row_start\"", ICE_PRI(keys), keys.len ? ", " : ""));
    if (!c->order.ptr)
        return ice_fail_nomem(err);
out:
    return rc;
}

static ice_code rewrite_history(compaction *c, ice_str *location, ice_error *err)
{
    ice_code rc;
    ICE_TRY(choose(c, err));
    if (c->nchosen == 0)
        return ICE_OK;
    ICE_TRY(ice__edit_begin(&c->e, c->env, c->s, c->a, err));
    ICE_TRY(ice__schema_columns(ice_metadata_current_schema(c->e.m), c->def, true, c->a, &c->cols, &c->ncols,
                                err));
    ICE_TRY(history_order(c, err));
    ICE_TRY(write_all(c, err));
    ICE_TRY(ice__edit_finish(&c->e, "replace", 0, ice_clock_us() / 1000, 0, location, err));
out:
    return rc;
}

/* ---- both ---- */

static ice_code tell(const compaction *c, ice_str name, ice_compacted *out, ice_error *err)
{
    *out = (ice_compacted){.table = ice_arena_str(c->a, name),
                           .files_before = c->s->nfiles,
                           .written = c->e.nadded,
                           .rows = (int64_t)ice__edit_rows_added(&c->e)};
    for (size_t i = 0; i < c->s->nfiles; i++)
        if (c->e.removed[i]) {
            out->rewritten++;
            out->deletion_vectors += c->s->files[i].dv_entry != NULL;
            out->bytes_before += c->s->files[i].entry.file.size;
        }
    for (size_t i = 0; i < c->e.nadded; i++)
        out->bytes_after += c->e.added[i].file.size;
    out->files_after = out->files_before - out->rewritten + out->written;
    return out->table.ptr ? ICE_OK : ice_fail_nomem(err);
}

/* The table's metadata names its history's: it is written anew for a history alone, too. */
static ice_code publish(compaction *c, const compaction *h, bool did, ice__swap *swap, ice_error *err)
{
    ice_code rc = ICE_OK;
    if (!did && !c->e.m)
        ICE_TRY(ice__edit_begin(&c->e, c->env, c->s, c->a, err));
    if (swap->history_location.ptr) {
        swap->history_expected = h->s->location;
        ICE_TRY(ice__edit_text(&c->e, ICE_PROP_HISTORY, swap->history_location, err));
    }
    ICE_TRY(ice__edit_finish(&c->e, "replace", 0, ice_clock_us() / 1000, 0, &swap->location, err));
    ICE_TRY(ice__swap_commit(c->env, swap, c->a, err));
out:
    return rc;
}

static ice_code compact_both(compaction *c, compaction *h, ice__swap *swap, ice_compacted done[2], size_t *n,
                             ice_error *err)
{
    bool did = false;
    ice_str history;
    ice_code rc;
    ICE_TRY(rewrite(c, &did, err));
    if (c->o->thorough)
        ICE_TRY(ice__published_history(c->s, &h->s, err));
    if (h->s)
        ICE_TRY(rewrite_history(h, &swap->history_location, err));
    if (!did && !swap->history_location.ptr)
        return ICE_OK;
    ICE_TRY(publish(c, h, did, swap, err));
    if (did)
        ICE_TRY(tell(c, swap->name, &done[(*n)++], err));
    if (swap->history_location.ptr) {
        ICE_TRY(ice__history_name(c->a, swap->name, &history, err));
        ICE_TRY(tell(h, history, &done[(*n)++], err));
    }
out:
    return rc;
}

ice_code ice_compact(ice_env *env, ice_published *s, ice_str catalog_name, const ice_compact_options *o,
                     ice_arena *a, ice_str *new_location, ice_compacted done[2], size_t *n, ice_error *err)
{
    compaction c = {.env = env, .s = s, .def = s->def, .o = o, .a = a};
    compaction h = {.env = env, .def = s->def, .o = o, .a = a};
    ice__swap swap = {.name = catalog_name, .expected = s->location, .from = s};
    *n = 0;
    *new_location = ICE_STR_NONE;
    if (s->def->foreign)
        return ICE_OK;
    ice_code rc = compact_both(&c, &h, &swap, done, n, err);
    if (rc == ICE_OK)
        *new_location = swap.location;
    ice__edit_free(&c.e);
    ice__edit_free(&h.e);
    return rc;
}
