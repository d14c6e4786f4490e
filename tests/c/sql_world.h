/* Statements that must parse, or be refused for a reason. */
#ifndef TESTS_SQL_WORLD_H
#define TESTS_SQL_WORLD_H

#include "arena_world.h"
#include "sql/sql.h"

static inline ice_stmt ok(const char *sql)
{
    ice_stmt s;

    if (ice_sql_parse(arena, ice_str_c(sql), &s, &err) != ICE_OK)
        fail_msg("%s\n  %s", sql, err.message);
    return s;
}

static inline void bad(const char *sql, ice_code code, const char *part)
{
    ice_stmt s;
    ice_code rc = ice_sql_parse(arena, ice_str_c(sql), &s, &err);

    if (rc != code || !strstr(err.message, part))
        fail_msg("%s\n  %s: %s\n  expected %s: ...%s...", sql, ice_code_name(rc), rc ? err.message : "",
                 ice_code_name(code), part);
}

static inline void is(ice_str got, const char *want)
{
    if (!want ? got.ptr != NULL : !got.ptr || !ice_str_eqc(got, want))
        fail_msg("got [%.*s], want [%s]", ICE_PRI(got), want ? want : "absent");
}

#endif
