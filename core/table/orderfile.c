/* Positions of a file's rows in the order of a column, kept in the cache. */
#include <stdio.h>
#include <stdlib.h>

#include "table/cache_int.h"

static ice__cached_order *known_order(ice__cached *c, int32_t field_id)
{
    pthread_mutex_lock(&c->lock);
    ice__cached_order *o = c->orders;
    while (o && o->field_id != field_id)
        o = o->next;
    pthread_mutex_unlock(&c->lock);
    return o;
}

/* Adds it, unless another thread was faster. */
static ice__cached_order *publish_order(ice__cached *c, ice__cached_order *o)
{
    pthread_mutex_lock(&c->lock);
    ice__cached_order *other = c->orders;
    while (other && other->field_id != o->field_id)
        other = other->next;
    if (!other) {
        o->next = c->orders;
        c->orders = o;
    }
    pthread_mutex_unlock(&c->lock);
    if (other) {
        ice_chunkfile_close(o->positions);
        free(o);
    }
    return other ? other : o;
}

void ice__cached_orders_free(ice__cached_order *o)
{
    for (ice__cached_order *next; o; o = next) {
        next = o->next;
        ice_chunkfile_close(o->positions);
        free(o);
    }
}

/* Positions as a file has them; false: there is no such file, or it is not one of these rows. */
static bool open_positions(const char *path, uint32_t rows, ice__cached_order *o)
{
    ice_vec v;
    o->positions = ice__open_chunk(path, rows);
    if (!o->positions)
        return false;
    bool good = ice_chunkfile_column(o->positions, o->field_id, &v) && v.type.kind == ICE_T_INT && v.data &&
                !v.validity;
    o->order = v.data;
    for (uint32_t i = 0; good && i < rows; i++)
        good = o->order[i] < rows;
    if (!good) {
        ice_chunkfile_close(o->positions);
        o->positions = NULL;
        o->order = NULL;
    }
    return good;
}

static ice_code make_order(ice_env *env, const ice__cached *c, const ice_vec *v, uint32_t rows,
                           ice__cached_order *o, ice_error *err)
{
    char *path = NULL;
    ice_code rc = ICE_OK;
    if (ice__vec_is_sorted(v, rows))
        return ICE_OK;
    if (asprintf(&path, "%s.%d.order", c->path, o->field_id) < 0)
        return ice_fail_nomem(err);
    if (!open_positions(path, rows, o)) {
        ICE_TRY(ice__cache_dir_make(env, err));
        ICE_TRY(ice__order_write(v, rows, o->field_id, path, err));
        ice__cache_wrote(env, path);
        if (!open_positions(path, rows, o))
            rc = ice_fail(err, ICE_IO, "cache file %s: not readable right after it was written", path);
    }
out:
    free(path);
    return rc;
}

ice_code ice__file_order(ice_published *s, ice__file *f, int32_t field_id, const ice_vec *v,
                         const uint32_t **out, ice_error *err)
{
    ice__cached *c;
    ice_code rc;
    ICE_TRY(ice__file_cached(s, f, &c, err));
    ice__cached_order *o = known_order(c, field_id);
    if (!o) {
        if (!(o = calloc(1, sizeof *o)))
            return ice_fail_nomem(err);
        o->field_id = field_id;
        rc = make_order(s->env, c, v, (uint32_t)f->entry.file.record_count, o, err);
        if (rc != ICE_OK) {
            free(o);
            return rc;
        }
        o = publish_order(c, o);
    }
    *out = o->order;
out:
    return rc;
}
