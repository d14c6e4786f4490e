/* An arena for each test, and what the last call said: setup and teardown of tests that keep nothing else. */
#ifndef TESTS_ARENA_WORLD_H
#define TESTS_ARENA_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/error.h"

static ice_arena *arena;
static ice_error err;

static inline int setup(void **state)
{
    arena = ice_arena_create();
    return arena ? 0 : -1;
}

static inline int teardown(void **state)
{
    ice_arena_free(arena);
    return 0;
}

#endif
