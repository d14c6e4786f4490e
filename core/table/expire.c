/* Expiry: history rows that ended before a time, and snapshots and metadata from before it. Files are only
 * let go of; garbage collection deletes them. */
#include "table/flush_int.h"

typedef struct expiry {
    ice_env *env;
    ice_arena *a;
    int64_t before;
    const ice_tabledef *def;
    ice__swap swap;
    bool did;
} expiry;

static ice_code expire_snapshots(expiry *x, ice__edit *e, ice_error *err)
{
    size_t n = 0;
    ice_code rc = ice__edit_expire(e, 1, x->before / 1000, &n, err);
    x->did |= n > 0;
    return rc;
}

static ice_code keep_rows(expiry *x, ice__edit *e, ice__reading *r, ice_error *err)
{
    ice_value before = {.kind = ICE_T_TIMESTAMPTZ, .i = x->before};
    ice_buf where = {0}, by = {0};
    ice_str order;
    ice_code rc;
    ice_buf_puts(&where, "\"_row_end\" >= ");
    ice_value_literal(&before, (ice_type){.kind = ICE_T_TIMESTAMPTZ}, &where);
    ICE_TRY(ice__cluster_order(x->def, false, x->a, &order, err));
    ice_buf_put_str(&by, order);
    ice_buf_puts(&by, by.len ? ", \"_row_start\"" : "\"_row_start\"");
    ICE_TRY(ice_buf_check(&where, err));
    ICE_TRY(ice_buf_check(&by, err));
    ICE_TRY(ice__write_reading(e, r, ice_buf_str(&where), ice_buf_str(&by), NULL, err));
out:
    ice_buf_free(&where);
    ice_buf_free(&by);
    return rc;
}

/* Whole files go by their bounds; the rows to keep of the others are written anew. */
static ice_code expire_rows(expiry *x, ice__edit *e, ice_error *err)
{
    ice__reading r = {0};
    ice_column *cols;
    size_t n;
    ice_code rc;
    ICE_TRY(ice__schema_columns(ice_metadata_current_schema(e->m), x->def, false, x->a, &cols, &n, err));
    ice__reading_init(&r, x->env, cols, n, x->a);
    for (size_t i = 0; i < e->from->nfiles; i++) {
        const ice__file *f = &e->from->files[i];
        if (f->min_end >= x->before)
            continue;
        ice__edit_remove(e, i);
        if (f->max_end >= x->before)
            ICE_TRY(ice__read_live(&r, e->from, (uint32_t)i, NULL, 0, err));
    }
    ICE_TRY(keep_rows(x, e, &r, err));
    x->did |= ice__edit_changes_data(e);
out:
    ice__reading_free(&r);
    return rc;
}

static ice_code expire_history(expiry *x, ice_published *h, ice_error *err)
{
    ice__edit e = {0};
    bool before = x->did;
    ice_code rc;
    x->did = false;
    ICE_TRY(ice__edit_begin(&e, x->env, h, x->a, err));
    ICE_TRY(expire_snapshots(x, &e, err));
    ICE_TRY(expire_rows(x, &e, err));
    if (x->did) {
        x->swap.history_expected = h->location;
        ICE_TRY(ice__edit_finish(&e, NULL, 0, ice_clock_us() / 1000, 0, &x->swap.history_location, err));
    }
out:
    x->did |= before;
    ice__edit_free(&e);
    return rc;
}

ice_code ice_expire(ice_env *env, ice_published *s, ice_str catalog_name, int64_t before, ice_arena *a,
                    ice_str *new_location, bool *did, ice_error *err)
{
    expiry x = {.env = env,
                .a = a,
                .before = before,
                .def = s->def,
                .swap = {.name = catalog_name, .expected = s->location, .from = s}};
    ice__edit e = {0};
    ice_published *h;
    ice_code rc;
    *did = false;
    *new_location = ICE_STR_NONE;
    if (s->def->foreign)
        return ICE_OK;
    ICE_TRY(ice__published_history(s, &h, err));
    if (h)
        ICE_TRY(expire_history(&x, h, err));
    ICE_TRY(ice__edit_begin(&e, env, s, a, err));
    ICE_TRY(expire_snapshots(&x, &e, err));
    if (!x.did)
        goto out;
    if (x.swap.history_location.ptr) {
        ICE_TRY(ice__edit_text(&e, ICE_PROP_HISTORY, x.swap.history_location, err));
        if (before > s->kept_from)
            ICE_TRY(ice__edit_number(&e, ICE_PROP_KEPT, (uint64_t)before, err));
    }
    ICE_TRY(ice__edit_finish(&e, NULL, 0, ice_clock_us() / 1000, 0, &x.swap.location, err));
    ICE_TRY(ice__swap_commit(env, &x.swap, a, err));
    *new_location = x.swap.location;
    *did = true;
out:
    ice__edit_free(&e);
    return rc;
}
