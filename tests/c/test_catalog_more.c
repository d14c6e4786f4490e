/* The C side of tests/python/test_catalog_foreign.py: one catalog call on the database ICE_CATALOG_DB, as its
 * arguments say. The exit status is 0 or, for an error, 2 with the code's name printed.
 *
 *   list | create NAME LOCATION | swap NAME EXPECTED LOCATION | drop NAME */
#include <stdio.h>
#include <stdlib.h>

#include "catalog/catalog.h"

#define SKIPPED 77

static ice_error err;

static ice_code list(ice_catalog *c)
{
    ice_arena *a = ice_arena_create();
    ice_catalog_entry *e;
    size_t n;
    ice_code rc = ice_catalog_list(c, a, &e, &n, &err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++)
        printf("%.*s %.*s\n", ICE_PRI(e[i].name), ICE_PRI(e[i].metadata_location));
    ice_arena_free(a);
    return rc;
}

static ice_code change(ice_catalog *c, int argc, char **argv)
{
    ice_catalog_change g = {.name = ice_str_c(argv[2])};
    if (strcmp(argv[1], "create") == 0 && argc == 4) {
        g.op = ICE_CAT_CREATE;
        g.location = ice_str_c(argv[3]);
    } else if (strcmp(argv[1], "swap") == 0 && argc == 5) {
        g.op = ICE_CAT_SWAP;
        g.expected = ice_str_c(argv[3]);
        g.location = ice_str_c(argv[4]);
    } else {
        g.op = ICE_CAT_DROP;
    }
    return ice_catalog_commit(c, &g, 1, &err);
}

int main(int argc, char **argv)
{
    const char *path = getenv("ICE_CATALOG_DB");
    ice_catalog *c;
    if (!path || argc < 2)
        return SKIPPED;
    ice_code rc = ice_catalog_open(path, "default", "app", true, false, &c, &err);
    if (rc == ICE_OK)
        rc = argc == 2 ? list(c) : change(c, argc, argv);
    if (rc != ICE_OK)
        printf("%s %s\n", ice_code_name(rc), err.message);
    ice_catalog_close(c);
    return rc == ICE_OK ? 0 : 2;
}
