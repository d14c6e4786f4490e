/* What the files of schema/ share. */
#ifndef ICE_SCHEMA_TABLEDEF_INT_H
#define ICE_SCHEMA_TABLEDEF_INT_H

#include "schema/tabledef.h"

/* Bounds on definitions, wherever they come from. */
enum { ICE_MAX_COLUMNS = 4096, ICE_MAX_KEY_COLUMNS = 64, ICE_MAX_OBJECTS = 4096, ICE_MAX_NAME = 1024, ICE_MAX_FORMERS = 64 };

static inline bool ice__is_system_field(int32_t id) { return id >= ICE_FIELD_ROW_START && id <= ICE_FIELD_OPERATION; }

/* Deep copies into the arena of the destination; false on no memory. */
bool ice__copy_str(ice_arena *a, ice_str in, ice_str *out);
bool ice__copy_column(ice_arena *a, const ice_column *in, ice_column *out);
bool ice__copy_constraint(ice_arena *a, const ice_constraint *in, ice_constraint *out);
bool ice__copy_index(ice_arena *a, const ice_index *in, ice_index *out);
/* Arrays of a definition have room for the power of two at or above their count: this gives one with room
 * for n + 1 elements, the old array itself where it has it. NULL on no memory. */
void *ice__grow(ice_arena *a, void *array, size_t n, size_t size);
size_t ice__room(size_t n);

/* Column names in a stored SQL expression: quoted, or bare in any case. Words in strings, function names and
 * qualifiers (followed by a dot) are not column names. */
bool ice__expr_mentions(ice_str sql, ice_str column);
/* `out` is the expression with the column's name replaced, or `sql` itself; false on no memory. */
bool ice__expr_rename(ice_arena *a, ice_str sql, ice_str from, ice_str to, ice_str *out);

#endif
