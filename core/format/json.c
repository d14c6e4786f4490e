#include "format/format_int.h"

#include <stdio.h>

ice_code ice__json_load(ice__json *j, ice_str text, json_t **out)
{
    json_error_t e;
    *out = NULL;
    snprintf(j->path, sizeof j->path, "$");
    j->len = 1;
    if (text.len > ICE_METADATA_MAX)
        return ice_fail(j->err, ICE_CORRUPT, "%s: %zu bytes of JSON are too many", j->what, text.len);
    *out = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (!*out)
        return ice_fail(j->err, ICE_CORRUPT, "%s: JSON, line %d: %s", j->what, e.line, e.text);
    return ICE_OK;
}

static size_t extend(ice__json *j, const char *piece)
{
    size_t old = j->len;
    int n = snprintf(j->path + old, sizeof j->path - old, "%s", piece);
    j->len = old + (size_t)n < sizeof j->path ? old + (size_t)n : sizeof j->path - 1;
    return old;
}

size_t ice__json_push_key(ice__json *j, const char *key)
{
    char piece[96];
    snprintf(piece, sizeof piece, ".%s", key);
    return extend(j, piece);
}

size_t ice__json_push_index(ice__json *j, size_t i)
{
    char piece[32];
    snprintf(piece, sizeof piece, "[%zu]", i);
    return extend(j, piece);
}

void ice__json_pop(ice__json *j, size_t len)
{
    j->len = len;
    j->path[len] = 0;
}

ice_code ice__json_fail(ice__json *j, const char *key, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return ice_fail(j->err, ICE_CORRUPT, "%s: %s%s%s: %s", j->what, j->path, key ? "." : "", key ? key : "",
                    text);
}

/* The value of a key, null counting as absent. */
static ice_code member(ice__json *j, const json_t *o, const char *key, bool required, json_t **out)
{
    *out = json_object_get(o, key);
    if (*out && json_is_null(*out))
        *out = NULL;
    if (!*out && required)
        return ice__json_fail(j, key, "is missing");
    return ICE_OK;
}

ice_code ice__json_int(ice__json *j, const json_t *o, const char *key, bool required, int64_t min,
                       int64_t max, int64_t *out)
{
    json_t *v;
    ice_code rc = member(j, o, key, required, &v);
    if (rc != ICE_OK || !v)
        return rc;
    if (!json_is_integer(v))
        return ice__json_fail(j, key, "an integer is expected");
    int64_t i = json_integer_value(v);
    if (i < min || i > max)
        return ice__json_fail(j, key, "%lld is out of range", (long long)i);
    *out = i;
    return ICE_OK;
}

ice_code ice__json_int32(ice__json *j, const json_t *o, const char *key, bool required, int32_t *out)
{
    int64_t v = *out;
    ice_code rc = ice__json_int(j, o, key, required, INT32_MIN, INT32_MAX, &v);
    *out = (int32_t)v;
    return rc;
}

static ice_code copy_str(ice__json *j, const json_t *v, ice_str *out)
{
    *out = ice_arena_str(j->arena, (ice_str){json_string_value(v), json_string_length(v)});
    return out->ptr ? ICE_OK : ice_fail_nomem(j->err);
}

ice_code ice__json_str(ice__json *j, const json_t *o, const char *key, bool required, ice_str *out)
{
    json_t *v;
    ice_code rc = member(j, o, key, required, &v);
    if (rc != ICE_OK || !v)
        return rc;
    if (!json_is_string(v))
        return ice__json_fail(j, key, "a string is expected");
    return copy_str(j, v, out);
}

ice_code ice__json_bool(ice__json *j, const json_t *o, const char *key, bool required, bool *out)
{
    json_t *v;
    ice_code rc = member(j, o, key, required, &v);
    if (rc != ICE_OK || !v)
        return rc;
    if (!json_is_boolean(v))
        return ice__json_fail(j, key, "true or false is expected");
    *out = json_is_true(v);
    return ICE_OK;
}

ice_code ice__json_array(ice__json *j, const json_t *o, const char *key, bool required, json_t **out)
{
    ice_code rc = member(j, o, key, required, out);
    if (rc == ICE_OK && *out && !json_is_array(*out))
        return ice__json_fail(j, key, "a list is expected");
    return rc;
}

ice_code ice__json_object(ice__json *j, const json_t *o, const char *key, bool required, json_t **out)
{
    ice_code rc = member(j, o, key, required, out);
    if (rc == ICE_OK && *out && !json_is_object(*out))
        return ice__json_fail(j, key, "an object is expected");
    return rc;
}

ice_code ice__json_is_object(ice__json *j, const json_t *v)
{
    return json_is_object(v) ? ICE_OK : ice__json_fail(j, NULL, "an object is expected");
}

static int collect(const char *p, size_t n, void *buf)
{
    ice_buf_put(buf, p, n);
    return ((ice_buf *)buf)->failed ? -1 : 0;
}

ice_code ice__json_raw(ice__json *j, const json_t *v, ice_str *out)
{
    ice_buf b = {0};
    int bad = json_dump_callback(v, collect, &b, JSON_ENCODE_ANY | JSON_COMPACT);
    *out = bad ? ICE_STR_NONE : ice_arena_str(j->arena, ice_buf_str(&b));
    ice_buf_free(&b);
    return out->ptr ? ICE_OK : ice_fail_nomem(j->err);
}

ice_code ice__json_kv(ice__json *j, const json_t *o, ice_kv **out, size_t *n)
{
    const char *key;
    json_t *v;
    size_t i = 0;
    *n = 0;
    *out = ICE_NEW_N(j->arena, ice_kv, json_object_size(o) + 1);
    if (!*out)
        return ice_fail_nomem(j->err);
    json_object_foreach((json_t *)o, key, v)
    {
        if (!json_is_string(v))
            return ice__json_fail(j, key, "a string is expected");
        (*out)[i].key = ice_arena_str(j->arena, ice_str_c(key));
        if (!(*out)[i].key.ptr || copy_str(j, v, &(*out)[i].value) != ICE_OK)
            return ice_fail_nomem(j->err);
        i++;
    }
    *n = i;
    return ICE_OK;
}

ice_code ice__json_ints(ice__json *j, const json_t *arr, int32_t **out, size_t *n)
{
    size_t count = json_array_size(arr);
    *n = 0;
    *out = ICE_NEW_N(j->arena, int32_t, count + 1);
    if (!*out)
        return ice_fail_nomem(j->err);
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_array_get(arr, i);
        if (!json_is_integer(v) || json_integer_value(v) != (int32_t)json_integer_value(v))
            return ice__json_fail(j, NULL, "element %zu: a 32-bit integer is expected", i);
        (*out)[i] = (int32_t)json_integer_value(v);
    }
    *n = count;
    return ICE_OK;
}

void ice__put_json_str(ice_buf *b, ice_str s)
{
    ice_buf_put_u8(b, '"');
    for (size_t i = 0, from = 0; i <= s.len; i++) {
        uint8_t c = i < s.len ? (uint8_t)s.ptr[i] : 0;
        if (i < s.len && c >= 0x20 && c != '"' && c != '\\')
            continue;
        if (i > from)
            ice_buf_put(b, s.ptr + from, i - from);
        from = i + 1;
        if (i == s.len)
            break;
        if (c == '"' || c == '\\')
            ice_buf_printf(b, "\\%c", c);
        else
            ice_buf_printf(b, "\\u%04x", c);
    }
    ice_buf_put_u8(b, '"');
}

void ice__put_json_key(ice_buf *b, const char *key, bool first)
{
    ice_buf_printf(b, "%s\"%s\":", first ? "" : ",", key);
}

void ice__put_json_kv(ice_buf *b, const ice_kv *kv, size_t n)
{
    ice_buf_put_u8(b, '{');
    for (size_t i = 0; i < n; i++) {
        if (i)
            ice_buf_put_u8(b, ',');
        ice__put_json_str(b, kv[i].key);
        ice_buf_put_u8(b, ':');
        ice__put_json_str(b, kv[i].value);
    }
    ice_buf_put_u8(b, '}');
}

void *ice__array_add(ice_arena *a, const void *old, size_t n, size_t size)
{
    void *p = ice_arena_array(a, n + 1, size);
    if (p && n)
        memcpy(p, old, n * size);
    return p;
}
