#include "store/tail.h"

static ice_code add_key(ice_keys *keys, ice_arena *a, const ice_tabledef *def, const int32_t *ids, size_t n,
                        ice_key like, ice_error *err)
{
    int *cols = ICE_NEW_N(a, int, n);
    if (!cols)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        cols[i] = ice_tabledef_find_id(def, ids[i]);
        if (cols[i] < 0)
            return ice_fail(err, ICE_CORRUPT, "table %.*s: a key names field id %d, which no column has",
                            ICE_PRI(def->name), ids[i]);
    }
    for (size_t i = 0; i < keys->n; i++) {
        ice_key *k = &keys->keys[i];
        if (k->ncols != n || memcmp(k->cols, cols, n * sizeof *cols))
            continue;
        if ((like.unique && !k->unique) || (like.deferrable && !k->unique && !k->deferrable))
            k->con = like.con; /* the constraint an error names */
        if (!k->con)
            k->con = like.con;
        k->unique |= like.unique;
        k->deferrable = (k->deferrable || like.deferrable) && !k->unique;
        k->nulls_not_distinct |= like.nulls_not_distinct;
        return ICE_OK;
    }
    like.ncols = n;
    like.cols = cols;
    keys->keys[keys->n++] = like;
    return ICE_OK;
}

/* The primary key, or the hidden column that stands in for one. */
static ice_code add_primary(ice_keys *keys, ice_arena *a, const ice_tabledef *def, ice_error *err)
{
    const ice_constraint *c = ice_tabledef_primary(def);
    if (c && c->ncols)
        return add_key(keys, a, def, c->field_ids, c->ncols, (ice_key){.unique = true, .con = c}, err);
    int hidden = ice_tabledef_find(def, ICE_STR("_row_key"));
    if (hidden < 0)
        return ice_fail(err, ICE_MISUSE, "table %.*s has neither a primary key nor a hidden one",
                        ICE_PRI(def->name));
    return add_key(keys, a, def, &def->cols[hidden].field_id, 1, (ice_key){.unique = true}, err);
}

static bool keyed(const ice_tabledef *def, const ice_constraint *c)
{
    if (c->kind == ICE_CON_FOREIGN)
        return c->ncols > 0;
    for (size_t i = 0; c->kind == ICE_CON_UNIQUE && i < c->ncols; i++) {
        int at = ice_tabledef_find_id(def, c->field_ids[i]);
        if (at >= 0 && !ice_column_bytewise(&def->cols[at]))
            return false;
    }
    return c->kind == ICE_CON_UNIQUE && c->ncols && !c->where_sql.len && !c->expr_sql.len;
}

/* Partition and cluster "indexes" say how files are laid out. */
static bool looked_up(const ice_index *x)
{
    return x->ncols && !x->where_sql.len && !x->expr_sql.len && !ice_str_eqc(x->kind, "partition") &&
           !ice_str_eqc(x->kind, "cluster");
}

ice_code ice_keys_of(const ice_tabledef *def, ice_arena *a, ice_keys *out, ice_error *err)
{
    *out = (ice_keys){0};
    out->keys = ICE_NEW_N(a, ice_key, 1 + def->ncons + def->nindexes);
    if (!out->keys)
        return ice_fail_nomem(err);
    out->keys[0] = (ice_key){0};
    if (ice_tabledef_is_view(def) || def->foreign)
        return ICE_OK;
    ice_code rc = add_primary(out, a, def, err);
    for (size_t i = 0; !rc && i < def->ncons; i++) {
        const ice_constraint *c = &def->cons[i];
        bool unique = c->kind == ICE_CON_UNIQUE;
        ice_key like = {.unique = unique && !c->deferrable,
                        .deferrable = unique && c->deferrable,
                        .con = c,
                        .nulls_not_distinct = c->nulls_not_distinct};
        if (keyed(def, c))
            rc = add_key(out, a, def, c->field_ids, c->ncols, like, err);
    }
    for (size_t i = 0; !rc && i < def->nindexes; i++) {
        const ice_index *x = &def->indexes[i];
        if (looked_up(x))
            rc = add_key(out, a, def, x->field_ids, x->ncols, (ice_key){0}, err);
    }
    return rc;
}

enum { FEW = 8 };

uint64_t ice_key_hash_row(const ice_key *k, const ice_value *row, bool *has_null)
{
    ice_value few[FEW], *v = few;
    *has_null = false;
    for (size_t i = 0; i < k->ncols; i++)
        *has_null |= row[k->cols[i]].null;
    if (k->ncols == 1)
        return ice_key_hash(&row[k->cols[0]], 1);
    if (k->ncols > FEW)
        v = __builtin_alloca(k->ncols * sizeof *v);
    for (size_t i = 0; i < k->ncols; i++)
        v[i] = row[k->cols[i]];
    return ice_key_hash(v, k->ncols);
}
