/* Columns: the system's own, and definitions derived from a foreign Iceberg schema. */
#include "table/table_int.h"

#include <stdio.h>

const ice_column *ice__system_column(int32_t field_id)
{
    static const ice_column start = {.field_id = ICE_FIELD_ROW_START,
                                     .name = {"_row_start", 10},
                                     .type = {.kind = ICE_T_TIMESTAMPTZ},
                                     .sql_type = {"timestamp with time zone", 24}};
    static const ice_column end = {.field_id = ICE_FIELD_ROW_END,
                                   .name = {"_row_end", 8},
                                   .type = {.kind = ICE_T_TIMESTAMPTZ},
                                   .sql_type = {"timestamp with time zone", 24}};
    static const ice_column operation = {.field_id = ICE_FIELD_OPERATION,
                                         .name = {"_operation", 10},
                                         .type = {.kind = ICE_T_STRING},
                                         .sql_type = {"text", 4}};
    static const ice_column place = {.field_id = ICE_FIELD_ROW_PLACE,
                                     .name = {ICE_ROW_PLACE, sizeof ICE_ROW_PLACE - 1},
                                     .type = {.kind = ICE_T_LONG},
                                     .sql_type = {"bigint", 6}};
    switch (field_id) {
    case ICE_FIELD_ROW_PLACE:
        return &place;
    case ICE_FIELD_ROW_START:
        return &start;
    case ICE_FIELD_ROW_END:
        return &end;
    case ICE_FIELD_OPERATION:
        return &operation;
    default:
        return NULL;
    }
}

ice_code ice__columns(const ice_tabledef *def, const int32_t *system, ice_arena *a, ice_column **out,
                      size_t *n, ice_error *err)
{
    size_t extra = 0;
    while (system && system[extra])
        extra++;
    ice_column *cols = ICE_NEW_N(a, ice_column, def->ncols + extra + 1);
    if (!cols)
        return ice_fail_nomem(err);
    if (def->ncols)
        memcpy(cols, def->cols, def->ncols * sizeof *cols);
    for (size_t i = 0; i < extra; i++)
        cols[def->ncols + i] = *ice__system_column(system[i]);
    *out = cols;
    *n = def->ncols + extra;
    return ICE_OK;
}

static ice_code add_foreign_column(ice_tabledef *d, const ice_field *f, ice_error *err)
{
    char sql_type[48];
    if (f->type.kind == ICE_T_NONE || ice__is_system(f->id))
        return ICE_OK;
    ice_sql_type_name(f->type, sql_type);
    ice_column c = {.field_id = f->id,
                    .name = f->name,
                    .type = f->type,
                    .sql_type = ice_str_c(sql_type),
                    .not_null = f->required,
                    .has_initial = f->has_initial,
                    .initial = f->initial_default,
                    .comment = f->doc};
    return ice_tabledef_add_column(d, &c, err);
}

ice_code ice__def_of_schema(const ice_schema *s, ice_str name, ice_uuid u, ice_tabledef **out, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_tabledef *d = ice_tabledef_create(name);
    if (!d)
        return ice_fail_nomem(err);
    d->uuid = u;
    d->foreign = !ice_schema_field(s, ICE_FIELD_ROW_END); /* a history table's definition is its table's */
    for (size_t i = 0; i < s->nfields; i++)
        ICE_TRY(add_foreign_column(d, &s->fields[i], err));
    if (s->nidentifiers) {
        ice_constraint primary = {.kind = ICE_CON_PRIMARY,
                                  .name = ICE_STR("primary_key"),
                                  .ncols = s->nidentifiers,
                                  .field_ids = s->identifiers};
        ICE_TRY(ice_tabledef_add_constraint(d, &primary, err));
    }
    d->schema_id = s->schema_id;
    if (s->highest_id > d->last_field_id && s->highest_id < ICE_FIELD_ROW_START)
        d->last_field_id = s->highest_id;
    *out = d;
    d = NULL;
out:
    ice_tabledef_free(d);
    return rc;
}
