/* Arena: memory for one document, scan or transaction, freed at once. Not thread-safe. */
#ifndef ICE_BASE_ARENA_H
#define ICE_BASE_ARENA_H

#include "base/str.h"

typedef struct ice_arena ice_arena;

ice_arena *ice_arena_create(void); /* NULL on no memory */
void ice_arena_free(ice_arena *a); /* NULL is fine */
void ice_arena_reset(ice_arena *a);
/* 16-byte aligned, zeroed; NULL on no memory. */
void *ice_arena_alloc(ice_arena *a, size_t n);
/* n elements of `size`, NULL also on overflow. */
void *ice_arena_array(ice_arena *a, size_t n, size_t size);
/* Copies; the copy is followed by a NUL that its length does not count. Absent stays absent. */
ice_str ice_arena_str(ice_arena *a, ice_str s);
char *ice_arena_printf(ice_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t ice_arena_used(const ice_arena *a);

#define ICE_NEW(arena, type) ((type *)ice_arena_alloc((arena), sizeof(type)))
#define ICE_NEW_N(arena, type, n) ((type *)ice_arena_array((arena), (n), sizeof(type)))

/* Room for one more than the n elements of a growing array, which lives in an arena or is realloc's: false on no memory, and the
 * array stays as it was. `list` and `cap` (a size_t) are names of variables, both zero at first. */
#define ICE_ROOM(arena, list, n, cap) ((n) < (cap) || ice_arena_room((arena), &(list), (n), &(cap), sizeof *(list)))
#define ICE_HEAP_ROOM(list, n, cap) ((n) < (cap) || ice_heap_room(&(list), &(cap), sizeof *(list)))
bool ice_arena_room(ice_arena *a, void *list, size_t n, size_t *cap, size_t size);
bool ice_heap_room(void *list, size_t *cap, size_t size);

#endif
