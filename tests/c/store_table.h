/* A table for the store's tests: id long primary key, email string unique, team int with an index,
 * note string, price decimal(9, 2). */
#ifndef TESTS_STORE_TABLE_H
#define TESTS_STORE_TABLE_H

#include "store/tail.h"

enum { ID, EMAIL, TEAM, NOTE, PRICE, NCOLS };

static inline ice_code add_col(ice_tabledef *d, const char *name, const char *type, ice_error *err)
{
    ice_column c = {.name = ice_str_c(name), .sql_type = ice_str_c(type)};
    ice_code rc = ice_type_parse(ice_str_c(type), &c.type, err);
    return rc ? rc : ice_tabledef_add_column(d, &c, err);
}

static inline ice_code add_con(ice_tabledef *d, ice_constraint_kind kind, const char *name, int32_t field,
                               ice_error *err)
{
    ice_constraint c = {.kind = kind, .name = ice_str_c(name), .ncols = 1, .field_ids = &field};
    return ice_tabledef_add_constraint(d, &c, err);
}

static inline ice_code add_index(ice_tabledef *d, const char *name, int32_t field, const char *kind,
                                 ice_error *err)
{
    ice_index x = {.name = ice_str_c(name),
                   .ncols = 1,
                   .field_ids = &field,
                   .descending = (uint8_t[1]){0},
                   .kind = ice_str_c(kind)};
    return ice_tabledef_add_index(d, &x, err);
}

static inline ice_tabledef *table_def(ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_tabledef *d = ice_tabledef_create(ICE_STR("people"));
    if (!d)
        return NULL;
    ICE_TRY(add_col(d, "id", "long", err));
    ICE_TRY(add_col(d, "email", "string", err));
    ICE_TRY(add_col(d, "team", "int", err));
    ICE_TRY(add_col(d, "note", "string", err));
    ICE_TRY(add_col(d, "price", "decimal(9, 2)", err));
    ICE_TRY(add_con(d, ICE_CON_PRIMARY, "people_pkey", d->cols[ID].field_id, err));
    ICE_TRY(add_con(d, ICE_CON_UNIQUE, "people_email_key", d->cols[EMAIL].field_id, err));
    ICE_TRY(add_index(d, "people_team_idx", d->cols[TEAM].field_id, "btree", err));
out:
    if (!rc)
        return d;
    ice_tabledef_free(d);
    return NULL;
}

static inline ice_value v_int(int64_t i)
{
    return (ice_value){.kind = ICE_T_LONG, .i = i};
}
static inline ice_value v_str(const char *s)
{
    return (ice_value){.kind = ICE_T_STRING, .s = ice_str_c(s)};
}
static inline ice_value v_null(void)
{
    return (ice_value){.null = true};
}

/* NULL texts and a negative team are NULL. */
static inline void row_of(ice_value row[NCOLS], int64_t id, const char *email, int64_t team, const char *note)
{
    row[ID] = v_int(id);
    row[EMAIL] = email ? v_str(email) : v_null();
    row[TEAM] = team < 0 ? v_null() : (ice_value){.kind = ICE_T_INT, .i = team};
    row[NOTE] = note ? v_str(note) : v_null();
    row[PRICE] = (ice_value){.kind = ICE_T_DECIMAL, .scale = 2, .dec = id * 100 + 5};
}

#endif
