#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/misc.h"

enum { ALIGN = 16, FIRST_CHUNK = 4096, LAST_CHUNK = 1 << 20, FIRST_ROOM = 8 };

typedef struct chunk {
    struct chunk *next;
    size_t cap, used;
    size_t pad; /* keeps `bytes` 16-byte aligned, as malloc's results are */
    char bytes[];
} chunk;
_Static_assert(sizeof(chunk) % ALIGN == 0, "chunk header keeps the alignment");

struct ice_arena {
    chunk *head; /* the one allocated from; full and oversized ones follow it */
    size_t next_cap;
    size_t used;
};

ice_arena *ice_arena_create(void)
{
    ice_arena *a = ice_fault("base.alloc") ? NULL : calloc(1, sizeof *a);

    if (a)
        a->next_cap = FIRST_CHUNK;
    return a;
}

static void free_chunks(chunk *c)
{
    while (c) {
        chunk *next = c->next;

        free(c);
        c = next;
    }
}

void ice_arena_free(ice_arena *a)
{
    if (!a)
        return;
    free_chunks(a->head);
    free(a);
}

void ice_arena_reset(ice_arena *a)
{
    a->used = 0;
    if (!a->head)
        return;
    free_chunks(a->head->next);
    a->head->next = NULL;
    a->head->used = 0;
    if (a->head->cap > LAST_CHUNK) {
        free(a->head);
        a->head = NULL;
    }
}

static chunk *chunk_create(size_t cap)
{
    chunk *c;

    if (cap > SIZE_MAX / 2 || ice_fault("base.alloc") || !(c = malloc(sizeof *c + cap)))
        return NULL;
    c->next = NULL;
    c->cap = cap;
    c->used = 0;
    return c;
}

/* A request larger than the next chunk gets one of its own behind the head, so that the head's rest
 * stays in use. */
static chunk *chunk_for(ice_arena *a, size_t n)
{
    bool own = n > a->next_cap / 2;
    chunk *c = chunk_create(own ? n : a->next_cap);

    if (!c)
        return NULL;
    if (own && a->head) {
        c->next = a->head->next;
        a->head->next = c;
    } else {
        c->next = a->head;
        a->head = c;
    }
    if (!own && a->next_cap < LAST_CHUNK)
        a->next_cap *= 2;
    return c;
}

void *ice_arena_alloc(ice_arena *a, size_t n)
{
    chunk *c = a->head;
    char *p;

    if (n > SIZE_MAX / 2)
        return NULL;
    n = n ? (n + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
    if ((!c || c->cap - c->used < n) && !(c = chunk_for(a, n)))
        return NULL;
    p = c->bytes + c->used;
    c->used += n;
    a->used += n;
    return memset(p, 0, n);
}

void *ice_arena_array(ice_arena *a, size_t n, size_t size)
{
    size_t bytes;

    return __builtin_mul_overflow(n, size, &bytes) ? NULL : ice_arena_alloc(a, bytes);
}

ice_str ice_arena_str(ice_arena *a, ice_str s)
{
    char *p;

    if (!s.ptr || s.len == SIZE_MAX || !(p = ice_arena_alloc(a, s.len + 1)))
        return ICE_STR_NONE;
    memcpy(p, s.ptr, s.len);
    return (ice_str){p, s.len};
}

char *ice_arena_printf(ice_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    char *p = NULL;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && (p = ice_arena_alloc(a, (size_t)n + 1)))
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

size_t ice_arena_used(const ice_arena *a) { return a->used; }

bool ice_arena_room(ice_arena *a, void *list, size_t n, size_t *cap, size_t size)
{
    size_t more = *cap ? *cap * 2 : FIRST_ROOM;
    void *old, *grown = ice_arena_array(a, more, size);

    if (!grown)
        return false;
    memcpy(&old, list, sizeof old);
    if (n)
        memcpy(grown, old, n * size);
    memcpy(list, &grown, sizeof grown);
    *cap = more;
    return true;
}

bool ice_heap_room(void *list, size_t *cap, size_t size)
{
    size_t more = *cap ? *cap * 2 : FIRST_ROOM;
    void *old, *grown = NULL;

    memcpy(&old, list, sizeof old);
    if (ice_fault("base.alloc") || more > SIZE_MAX / size || !(grown = realloc(old, more * size)))
        return false;
    memcpy(list, &grown, sizeof grown);
    *cap = more;
    return true;
}
