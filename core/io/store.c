/* Keys, locations and the choice of the store. */
#include "io/io_int.h"

enum { MAX_KEY = 1024 };

static bool starts_with(ice_str s, ice_str prefix)
{
    return s.len >= prefix.len && memcmp(s.ptr, prefix.ptr, prefix.len) == 0;
}

static ice_str after(ice_str s, size_t n) { return (ice_str){s.ptr + n, s.len - n}; }

/* The component at the start of s. */
static ice_str component(ice_str s)
{
    const char *slash = s.len ? memchr(s.ptr, '/', s.len) : NULL;

    return (ice_str){s.ptr, slash ? (size_t)(slash - s.ptr) : s.len};
}

static bool is_dots(ice_str c) { return ice_str_eq(c, ICE_STR(".")) || ice_str_eq(c, ICE_STR("..")); }

static bool key_ok(ice_str key)
{
    if (key.len == 0 || key.len > MAX_KEY || memchr(key.ptr, 0, key.len))
        return false;
    for (;;) {
        ice_str c = component(key);

        if (c.len == 0 || is_dots(c))
            return false;
        if (c.len == key.len)
            return true;
        key = after(key, c.len + 1);
    }
}

static int shown(ice_str s) { return s.len < 200 ? (int)s.len : 200; }

ice_code ice__key_check(ice_str key, ice_error *err)
{
    if (key_ok(key))
        return ICE_OK;
    return ice_fail(err, ICE_CONFIG, "\"%.*s\" is not a key: a relative path without \"..\", of at most %d bytes",
                    shown(key), key.ptr ? key.ptr : "", MAX_KEY);
}

/* The path of a local location: an absolute path, file:/p, file:///p or file://localhost/p. Absent where it is
 * none of these. */
static ice_str local_path(ice_str location)
{
    if (starts_with(location, ICE_STR("file://localhost/")))
        return after(location, sizeof "file://localhost" - 1);
    if (starts_with(location, ICE_STR("file:///")))
        return after(location, sizeof "file://" - 1);
    if (starts_with(location, ICE_STR("file:/")) && !starts_with(location, ICE_STR("file://")))
        return after(location, sizeof "file:" - 1);
    return location.len && location.ptr[0] == '/' ? location : ICE_STR_NONE;
}

/* Absolute, single slashes, none at the end; "." dropped, ".." refused. */
static bool normalise(ice_str path, ice_buf *out)
{
    while (path.len) {
        ice_str c = component(path);

        if (ice_str_eq(c, ICE_STR("..")))
            return false;
        if (c.len && !is_dots(c)) {
            ice_buf_put_u8(out, '/');
            ice_buf_put_str(out, c);
        }
        path = after(path, c.len < path.len ? c.len + 1 : c.len);
    }
    return out->len > 0;
}

ice_code ice_store_open(const char *location, bool create, bool read_only, ice_store **out, ice_error *err)
{
    ice_str path = local_path(ice_str_c(location));
    ice_buf root = {0};
    ice_code rc;

    *out = NULL;
    if (!path.ptr && location && strstr(location, "://"))
        return ice_fail(err, ICE_CONFIG, "warehouse \"%.*s...\": only local paths and file:// are supported",
                        (int)(strstr(location, "://") - location) + 3, location);
    if (!path.ptr)
        return ice_fail(err, ICE_CONFIG, "warehouse \"%s\" is neither an absolute path nor a URI",
                        location ? location : "");
    if (normalise(path, &root))
        rc = ice__local_open(ice_buf_str(&root), create, read_only, out, err);
    else
        rc = root.failed ? ice_fail_nomem(err)
                         : ice_fail(err, ICE_CONFIG, "warehouse \"%s\": not a directory's path, or it has \"..\"",
                                    location);
    ice_buf_free(&root);
    return rc;
}

static ice_code join(const ice_store *s, ice_arena *a, const char *scheme, ice_str key, ice_str *out, ice_error *err)
{
    ice_code rc = ice__key_check(key, err);
    char *text;

    if (rc != ICE_OK)
        return rc;
    text = ice_arena_printf(a, "%s%.*s/%.*s", scheme, ICE_PRI(s->root), ICE_PRI(key));
    if (!text)
        return ice_fail_nomem(err);
    *out = ice_str_c(text);
    return ICE_OK;
}

ice_code ice_store_location(const ice_store *s, ice_arena *a, ice_str key, ice_str *out, ice_error *err)
{
    return join(s, a, "file://", key, out, err);
}

ice_code ice_store_path(const ice_store *s, ice_arena *a, ice_str key, ice_str *out, ice_error *err)
{
    return join(s, a, "", key, out, err);
}

ice_code ice_store_key(const ice_store *s, ice_arena *a, ice_str location, ice_str *out, ice_error *err)
{
    ice_str path = local_path(location);

    if (!path.ptr || !starts_with(path, s->root) || path.len <= s->root.len || path.ptr[s->root.len] != '/' ||
        !key_ok(after(path, s->root.len + 1)))
        return ice_fail(err, ICE_CORRUPT, "location \"%.*s\" is outside the warehouse %.*s", shown(location),
                        location.ptr ? location.ptr : "", ICE_PRI(s->root));
    *out = ice_arena_str(a, after(path, s->root.len + 1));
    return out->ptr ? ICE_OK : ice_fail_nomem(err);
}
