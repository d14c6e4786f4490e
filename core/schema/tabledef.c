#include "schema/tabledef_int.h"

size_t ice__room(size_t n)
{
    size_t room = 1;

    while (room < n)
        room *= 2;
    return room;
}

void *ice__grow(ice_arena *a, void *array, size_t n, size_t size)
{
    void *bigger;

    if (array && n > 0 && ice__room(n) > n)
        return array;
    bigger = ice_arena_array(a, ice__room(n + 1), size);
    if (bigger && n > 0)
        memcpy(bigger, array, n * size);
    return bigger;
}

/* ---- copies ---- */

bool ice__copy_str(ice_arena *a, ice_str in, ice_str *out)
{
    *out = ice_arena_str(a, in);
    return out->ptr || !in.ptr;
}

static bool copy_bytes(ice_arena *a, const void *in, size_t n, size_t size, void *out)
{
    void *p = NULL;

    if (n > 0 && in && !(p = ice_arena_array(a, n, size)))
        return false;
    if (p)
        memcpy(p, in, n * size);
    memcpy(out, &p, sizeof p);
    return true;
}

static bool copy_former(ice_arena *a, const ice_column *in, ice_column *out)
{
    ice_column *former = NULL;

    if (in->former && !((former = ICE_NEW(a, ice_column)) && ice__copy_column(a, in->former, former)))
        return false;
    out->former = former;
    return true;
}

bool ice__copy_column(ice_arena *a, const ice_column *in, ice_column *out)
{
    *out = *in;
    return copy_former(a, in, out) && ice__copy_str(a, in->name, &out->name) &&
           ice__copy_str(a, in->sql_type, &out->sql_type) &&
           ice__copy_str(a, in->default_sql, &out->default_sql) &&
           ice__copy_str(a, in->generated_sql, &out->generated_sql) &&
           ice__copy_str(a, in->collation, &out->collation) && ice__copy_str(a, in->comment, &out->comment) &&
           (!in->has_initial || ice_value_copy(a, &in->initial, &out->initial, NULL) == ICE_OK);
}

bool ice__copy_constraint(ice_arena *a, const ice_constraint *in, ice_constraint *out)
{
    *out = *in;
    return ice__copy_str(a, in->name, &out->name) && ice__copy_str(a, in->where_sql, &out->where_sql) &&
           ice__copy_str(a, in->expr_sql, &out->expr_sql) && ice__copy_str(a, in->check_sql, &out->check_sql) &&
           copy_bytes(a, in->field_ids, in->ncols, sizeof *in->field_ids, &out->field_ids) &&
           copy_bytes(a, in->include_ids, in->ninclude, sizeof *in->include_ids, &out->include_ids) &&
           copy_bytes(a, in->ref_field_ids, in->ncols, sizeof *in->ref_field_ids, &out->ref_field_ids);
}

bool ice__copy_index(ice_arena *a, const ice_index *in, ice_index *out)
{
    *out = *in;
    return ice__copy_str(a, in->name, &out->name) && ice__copy_str(a, in->where_sql, &out->where_sql) &&
           ice__copy_str(a, in->expr_sql, &out->expr_sql) && ice__copy_str(a, in->kind, &out->kind) &&
           ice__copy_str(a, in->params, &out->params) &&
           copy_bytes(a, in->include_ids, in->ninclude, sizeof *in->include_ids, &out->include_ids) &&
           copy_bytes(a, in->field_ids, in->ncols, sizeof *in->field_ids, &out->field_ids) &&
           copy_bytes(a, in->descending, in->ncols, sizeof *in->descending, &out->descending);
}

/* ---- life ---- */

static ice_tabledef *create_in_arena(void)
{
    ice_arena *a = ice_arena_create();
    ice_tabledef *d = a ? ICE_NEW(a, ice_tabledef) : NULL;

    if (d)
        d->arena = a;
    else
        ice_arena_free(a);
    return d;
}

ice_tabledef *ice_tabledef_create(ice_str name)
{
    ice_tabledef *d = create_in_arena();

    if (d && !ice__copy_str(d->arena, name, &d->name)) {
        ice_tabledef_free(d);
        return NULL;
    }
    if (d)
        d->uuid = ice_uuid_random();
    return d;
}

void ice_tabledef_free(ice_tabledef *d)
{
    if (d)
        ice_arena_free(d->arena);
}

static bool clone_arrays(const ice_tabledef *d, ice_tabledef *c)
{
    ice_arena *a = c->arena;

    c->cols = ICE_NEW_N(a, ice_column, ice__room(d->ncols));
    c->cons = ICE_NEW_N(a, ice_constraint, ice__room(d->ncons));
    c->indexes = ICE_NEW_N(a, ice_index, ice__room(d->nindexes));
    if (!c->cols || !c->cons || !c->indexes)
        return false;
    for (size_t i = 0; i < d->ncols; i++)
        if (!ice__copy_column(a, &d->cols[i], &c->cols[i]))
            return false;
    for (size_t i = 0; i < d->ncons; i++)
        if (!ice__copy_constraint(a, &d->cons[i], &c->cons[i]))
            return false;
    for (size_t i = 0; i < d->nindexes; i++)
        if (!ice__copy_index(a, &d->indexes[i], &c->indexes[i]))
            return false;
    return true;
}

ice_tabledef *ice_tabledef_clone(const ice_tabledef *d, bool next)
{
    ice_tabledef *c = create_in_arena();

    if (!c)
        return NULL;
    c->uuid = d->uuid;
    c->schema_id = d->schema_id + next;
    c->last_field_id = d->last_field_id;
    c->ncols = d->ncols;
    c->ncons = d->ncons;
    c->nindexes = d->nindexes;
    c->nuses = d->nuses;
    c->foreign = d->foreign;
    if (ice__copy_str(c->arena, d->name, &c->name) && ice__copy_str(c->arena, d->comment, &c->comment) &&
        ice__copy_str(c->arena, d->view_sql, &c->view_sql) &&
        copy_bytes(c->arena, d->uses, d->nuses, sizeof *d->uses, &c->uses) && clone_arrays(d, c))
        return c;
    ice_tabledef_free(c);
    return NULL;
}

void ice_tabledef_set_name(ice_tabledef *d, ice_str name)
{
    ice_str copy;

    /* There is no way to report no memory: the old name stays. */
    if (ice__copy_str(d->arena, name, &copy))
        d->name = copy;
}

/* ---- look-up ---- */

int ice_tabledef_find(const ice_tabledef *d, ice_str name)
{
    for (size_t i = 0; i < d->ncols; i++)
        if (ice_str_eq(d->cols[i].name, name))
            return (int)i;
    return -1;
}

int ice_tabledef_find_id(const ice_tabledef *d, int32_t field_id)
{
    for (size_t i = 0; i < d->ncols; i++)
        if (d->cols[i].field_id == field_id)
            return (int)i;
    return -1;
}

const ice_constraint *ice_tabledef_primary(const ice_tabledef *d)
{
    for (size_t i = 0; i < d->ncons; i++)
        if (d->cons[i].kind == ICE_CON_PRIMARY)
            return &d->cons[i];
    return NULL;
}

const ice_constraint *ice_tabledef_constraint(const ice_tabledef *d, ice_str name)
{
    for (size_t i = 0; i < d->ncons; i++)
        if (ice_str_eq(d->cons[i].name, name))
            return &d->cons[i];
    return NULL;
}

bool ice_column_collated(const ice_column *c)
{
    static const char *const plain[] = {"C", "POSIX", "binary", "default", "ucs_basic"};

    for (size_t i = 0; c->collation.ptr && i < sizeof plain / sizeof *plain; i++)
        if (ice_str_ieq(c->collation, ice_str_c(plain[i])))
            return false;
    return c->collation.ptr != NULL;
}

bool ice_column_jsonb(const ice_column *c)
{
    return ice_str_eqc(c->sql_type, "jsonb");
}

bool ice_column_formed(const ice_column *c)
{
    return ice_column_jsonb(c) || ice_str_eqc(c->sql_type, "json") || ice_str_eqc(c->sql_type, "inet");
}

bool ice_column_bytewise(const ice_column *c)
{
    return !ice_column_collated(c) && !ice_column_jsonb(c);
}
