#include "engine/engine_int.h"

#include <dlfcn.h>
#include <stdio.h>

duck_api ice__duck;
static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
static bool loaded;

static ice_code check_version(const duck_api *api, const char *library, ice_error *err)
{
    duck_str version = {0};
    if (api->library_version(&version, NULL) != DUCK_OK)
        return ice_fail(err, ICE_CONFIG, "%s does not tell its version", library);
    const char *p = version.ptr;
    size_t n = version.len;
    if (n && *p == 'v') {
        p++;
        n--;
    }
    if (n < 4 || memcmp(p, "2.0.", 4) != 0)
        return ice_fail(err, ICE_CONFIG, "%s is DuckDB %.*s; install duckdb 2.0.x", library, (int)version.len,
                        version.ptr);
    return ICE_OK;
}

static ice_code load(const char *library, duck_api *api, ice_error *err)
{
    void *lib = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!lib)
        return ice_fail(err, ICE_CONFIG, "cannot load DuckDB (install duckdb 2.0.x): %s", dlerror());
    static const char *const names[] = {
#define DUCK_X(name, params) "duckdb_v2_" #name,
        DUCK_FUNCTIONS(DUCK_X)
#undef DUCK_X
#define DUCK_X(type, name, params) "duckdb_" #name,
        DUCK_FUNCTIONS_V1(DUCK_X)
#undef DUCK_X
    };
    _Static_assert(sizeof(duck_api) == sizeof names / sizeof *names * sizeof(void *), "one pointer for each name");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *f = dlsym(lib, names[i]);
        if (!f)
            return ice_fail(err, ICE_CONFIG, "%s has no function %s; install duckdb 2.0.x", library, names[i]);
        memcpy((char *)api + i * sizeof f, &f, sizeof f);
    }
    return check_version(api, library, err);
}

/* The library stays loaded for the life of the process: its worker threads and thread-local storage do not survive
 * being unmapped. So the first library wins, and a second engine uses it too. */
ice_code ice__duck_load(const char *library, ice_error *err)
{
    ice_code rc = ICE_OK;
    pthread_mutex_lock(&load_lock);
    if (!loaded) {
        duck_api api;
        rc = load(library, &api, err);
        if (rc == ICE_OK) {
            ice__duck = api;
            loaded = true;
        }
    }
    pthread_mutex_unlock(&load_lock);
    return rc;
}
