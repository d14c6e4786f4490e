/* Statements of table/'s own on the environment's engine connection, and the names they may use. */
#include "table/table_int.h"

#include <stdio.h>

/* The connection this thread has, so that asking for it again is an error and not a wait for ever. */
static _Thread_local ice_env *holding;
static _Thread_local bool forbidden;

void ice__engine_forbid(bool on)
{
    forbidden = on;
}

/* Builds what the views of a statement need while the connection is still free for it. */
static ice_code prepare(ice__name *names, size_t n, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_code rc = a ? ICE_OK : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        ice_source *source = NULL;
        ice_str subquery = ICE_STR_NONE;
        if (!names[i].view)
            continue;
        rc = ice_view_open(names[i].view, names[i].tag, names[i].with_start, NULL, a, &source, &subquery, err);
        if (rc == ICE_OK && source)
            source->m->release(source);
    }
    ice_arena_free(a);
    return rc;
}

ice_code ice__engine_acquire(ice_env *env, ice__name *names, size_t n, ice_engine_conn **out, ice_error *err)
{
    ice_code rc;
    *out = NULL;
    if (holding == env || forbidden)
        return ice_fail(err, ICE_INTERNAL,
                        "the engine connection of the table layer is in use by this very thread");
    ICE_TRY(prepare(names, n, err));
    ICE_TRY(env->engine_acquire(env->arg, out, err));
    holding = env;
    env->names = names;
    env->nnames = n;
out:
    return rc;
}

void ice__engine_release(ice_env *env, ice_engine_conn *c)
{
    for (size_t i = 0; i < env->nnames; i++)
        if (env->names[i].source) {
            env->names[i].source->m->release(env->names[i].source);
            env->names[i].source = NULL;
        }
    env->names = NULL;
    env->nnames = 0;
    holding = NULL;
    env->engine_release(env->arg, c);
}

static bool is_subsource(const ice__name *n, ice_str name)
{
    char prefix[32];
    size_t len = (size_t)snprintf(prefix, sizeof prefix, "__ice_%u_", n->tag);
    return n->view && name.len > len && memcmp(name.ptr, prefix, len) == 0;
}

ice_code ice_env_resolve(void *arg, ice_str name, unsigned seq, ice_arena *a, ice_source **source,
                         ice_str *subquery, ice_error *err)
{
    ice_env *env = arg;
    (void)seq;
    for (size_t i = 0; i < env->nnames; i++) {
        ice__name *n = &env->names[i];
        if (is_subsource(n, name))
            return ice_view_subsource(n->view, name, NULL, source, err);
        if (!ice_str_ieq(n->name, name))
            continue;
        if (n->view)
            return ice_view_open(n->view, n->tag, n->with_start, NULL, a, source, subquery, err);
        *source = n->source;
        n->source = NULL;
        return ICE_OK;
    }
    return ICE_OK;
}
