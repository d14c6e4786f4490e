/* The history table: versions that ended, appended by every flush; its schema follows the table's.
 *
 * Small files are taken along: once SMALL_MAX of them are there, the flush writes their rows and the new ones
 * into one file. So a row is rewritten a bounded number of times and the number of files stays small. */
#include "table/flush_int.h"

enum { SMALL_MAX = 8, BULK_ROWS = 40960 };
static const int64_t small_bytes = (int64_t)16 << 20;

ice_code ice__history_name(ice_arena *a, ice_str table, ice_str *out, ice_error *err)
{
    *out = ice_str_c(ice_arena_printf(a, "%.*s__history", ICE_PRI(table)));
    return out->ptr ? ICE_OK : ice_fail_nomem(err);
}

/* The history table as the catalog has it; NULL: none. */
static ice_code load_history(const ice__history_job *j, ice_arena *a, ice_published **out, ice_error *err)
{
    ice_str name, location = ICE_STR_NONE;
    ice_code rc = ICE_OK;
    *out = NULL;
    if (!j->catalog_name.ptr)
        return ICE_OK;
    ICE_TRY(ice__history_name(a, j->catalog_name, &name, err));
    rc = ice_catalog_load(j->env->catalog, a, name, &location, err);
    if (rc == ICE_NO_TABLE)
        return ICE_OK;
    if (rc == ICE_OK)
        ICE_TRY(ice_published_load(j->env, location, out, err));
out:
    return rc;
}

/* Columns that the published table has and the definition no longer has stay, under their retired names. */
static ice_code history_schema(const ice__history_job *j, const ice_schema *previous, ice_arena *a,
                               ice_schema *out, ice_error *err)
{
    const ice_tabledef *def = j->state->def;
    const ice_tabledef *before = j->state->published ? ice_published_def(j->state->published) : def;
    ice_schema *between = ICE_NEW(a, ice_schema);
    ice_code rc = ICE_OK;
    if (!between)
        return ice_fail_nomem(err);
    if (before->schema_id != def->schema_id) {
        ICE_TRY(ice_schema_of_history(before, previous, a, between, err));
        previous = between;
    }
    ICE_TRY(ice_schema_of_history(def, previous, a, out, err));
out:
    return rc;
}

static ice_code open_edit(const ice__history_job *j, ice_published *old, ice_arena *a, ice__edit *e,
                          ice_error *err)
{
    ice_schema schema;
    ice_code rc;
    if (old)
        ICE_TRY(ice__edit_begin(e, j->env, old, a, err));
    ICE_TRY(history_schema(j, old ? ice_metadata_current_schema(e->m) : NULL, a, &schema, err));
    if (old)
        ICE_TRY(ice__edit_schema(e, &schema, err));
    else
        ICE_TRY(ice__edit_create(e, j->env, j->state->def, true, &schema, a, err));
out:
    return rc;
}

/* Takes the small files along when there are many. */
static ice_code read_small(ice__edit *e, ice__reading *r, ice_error *err)
{
    const ice_published *old = e->from;
    size_t small = 0;
    ice_code rc = ICE_OK;
    for (size_t i = 0; old && i < old->nfiles; i++)
        small += old->files[i].entry.file.size < small_bytes;
    for (size_t i = 0; small >= SMALL_MAX && i < old->nfiles && rc == ICE_OK; i++)
        if (old->files[i].entry.file.size < small_bytes) {
            rc = ice__read_live(r, e->from, (uint32_t)i, NULL, 0, err);
            ice__edit_remove(e, i);
        }
    return rc;
}

/* What a bulk statement ended of a file is many rows, in the file's order: a file of its own, without a sort. */
static bool ended_by_bulk(const ice__history_job *j, uint32_t file)
{
    return ice__dead_whole(j->dead, file, j->upto) && ice__dead_in_file(j->dead, file, j->upto) >= BULK_ROWS;
}

static ice_code write_bulk(const ice__history_job *j, ice__edit *e, const ice_column *cols, size_t n, ice_arena *a,
                           ice_error *err)
{
    ice_published *base = j->state->published;
    ice_code rc = ICE_OK;
    for (size_t i = 0; rc == ICE_OK && base && j->dead && i < base->nfiles; i++) {
        ice__reading r;
        if (!ended_by_bulk(j, (uint32_t)i))
            continue;
        ice__reading_init(&r, j->env, cols, n, a);
        rc = ice__read_ended(&r, base, (uint32_t)i, j->dead, j->upto, err);
        if (rc == ICE_OK)
            rc = ice__write_reading(e, &r, ICE_STR_NONE, ICE_STR_NONE, NULL, err);
        ice__reading_free(&r);
    }
    return rc;
}

static ice_code read_all(const ice__history_job *j, ice__edit *e, ice__reading *r, ice_error *err)
{
    ice_published *base = j->state->published;
    ice_code rc;
    ICE_TRY(ice__read_tail(r, j->view, ICE_TAIL_DEAD, err));
    for (size_t i = 0; base && j->dead && i < base->nfiles; i++)
        if (!ended_by_bulk(j, (uint32_t)i))
            ICE_TRY(ice__read_ended(r, base, (uint32_t)i, j->dead, j->upto, err));
    if (r->rows)
        ICE_TRY(read_small(e, r, err));
out:
    return rc;
}

static ice_code write_rows(const ice__history_job *j, ice__edit *e, ice_arena *a, ice_error *err)
{
    ice__reading r = {0};
    ice_column *cols;
    ice_str order;
    ice_buf by = {0};
    size_t n;
    ice_code rc;
    ICE_TRY(ice__schema_columns(ice_metadata_current_schema(e->m), j->state->def, false, a, &cols, &n, err));
    ice__reading_init(&r, j->env, cols, n, a);
    ICE_TRY(read_all(j, e, &r, err));
    ICE_TRY(ice__cluster_order(j->state->def, false, a, &order, err));
    ice_buf_put_str(&by, order);
    ice_buf_puts(&by, by.len ? ", \"_row_start\"" : "\"_row_start\"");
    ICE_TRY(ice_buf_check(&by, err));
    ICE_TRY(ice__write_reading(e, &r, ICE_STR_NONE, ice_buf_str(&by), NULL, err));
    ICE_TRY(write_bulk(j, e, cols, n, a, err));
out:
    ice_buf_free(&by);
    ice__reading_free(&r);
    return rc;
}

/* Are there versions that ended? */
static ice_code any_ended(const ice__history_job *j, bool *out, ice_error *err)
{
    ice_published *base = j->state->published;
    uint64_t n;
    ice_code rc = ice__tail_count(j->state->tail, j->upto, ICE_TAIL_DEAD, &n, err);
    for (size_t i = 0; rc == ICE_OK && n == 0 && base && j->dead && i < base->nfiles; i++)
        n += ice__dead_in_file(j->dead, (uint32_t)i, j->upto);
    *out = n > 0;
    return rc;
}

/* Has the table another schema than the published one, and so than the history? */
static bool evolved(const ice__history_job *j)
{
    const ice_published *s = j->state->published;
    return s && ice_published_def(s)->schema_id != j->state->def->schema_id;
}

ice_code ice__history_write(const ice__history_job *j, ice_arena *a, ice_str *expected, ice_str *location,
                            ice_error *err)
{
    ice_published *old = NULL;
    ice__edit e = {0};
    bool any;
    ice_code rc;
    *expected = *location = ICE_STR_NONE;
    ICE_TRY(any_ended(j, &any, err));
    if (!any && !evolved(j))
        return ICE_OK;
    ICE_TRY(load_history(j, a, &old, err));
    if (!any && !old)
        return ICE_OK;
    ICE_TRY(open_edit(j, old, a, &e, err));
    if (any)
        ICE_TRY(write_rows(j, &e, a, err));
    ICE_TRY(ice__edit_number(&e, ICE_PROP_FLUSHED, (uint64_t)j->upto, err));
    ICE_TRY(ice__edit_number(&e, ICE_PROP_POSITION, j->position, err));
    ICE_TRY(ice__edit_finish(&e, NULL, j->upto, j->upto / 1000, j->snapshots_kept, location, err));
    if (old)
        *expected = ice_arena_str(a, ice_published_location(old));
    if (old && !expected->ptr)
        rc = ice_fail_nomem(err);
out:
    ice__edit_free(&e);
    ice_published_unref(old);
    return rc;
}
