/* Where the tests find DuckDB: ICE_DUCKDB_LIBRARY, or what python3 has installed. The wheel's library wants the symbols of
 * libpython, which is loaded first (ICE_PYTHON_LIBRARY, or python3's own). NULL: the test skips itself. */
#ifndef TESTS_DUCK_LIBRARY_H
#define TESTS_DUCK_LIBRARY_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline const char *duck_ask(const char *env, const char *python, char *buf, size_t cap)
{
    const char *set = getenv(env);
    if (set)
        return set;
    char cmd[512];
    snprintf(cmd, sizeof cmd, "python3 -c '%s' 2>/dev/null", python);
    FILE *p = popen(cmd, "r");
    buf[0] = 0;
    if (p) {
        if (!fgets(buf, (int)cap, p))
            buf[0] = 0;
        pclose(p);
    }
    buf[strcspn(buf, "\n")] = 0;
    return buf[0] ? buf : NULL;
}

static inline const char *duck_library(void)
{
    static char lib[1024], py[1024];
    const char *python = duck_ask("ICE_PYTHON_LIBRARY",
                                  "import sysconfig as s;print(s.get_config_var(\"LIBDIR\")+\"/\"+s.get_config_var(\"LDLIBRARY\"))",
                                  py, sizeof py);
    if (python)
        dlopen(python, RTLD_NOW | RTLD_GLOBAL);
    const char *duck = duck_ask("ICE_DUCKDB_LIBRARY",
                                "import importlib.util;print(importlib.util.find_spec(\"_duckdb\").origin)", lib, sizeof lib);
    if (!duck)
        fprintf(stderr, "no DuckDB: set ICE_DUCKDB_LIBRARY\n");
    return duck;
}

#endif
