/* Casts of a text as PostgreSQL has them: ice_inet(text) gives an address in its one spelling,
 * ice_bytea(text) bytes, whose text is hexadecimal after "\x", else the bytes themselves, with escapes. */
#include "engine/function.h"
#include "schema/inet.h"

typedef ice_code (*caster)(ice_str text, ice_buf *out, ice_error *err);

static ice_code cast_inet(ice_str text, ice_buf *out, ice_error *err)
{
    char canonical[ICE_INET_ROOM];
    ice_code rc = ice_inet_canonical(text, canonical, err);
    if (rc == ICE_OK)
        ice_buf_puts(out, canonical);
    return rc;
}

static int hex_digit(char c)
{
    char low = (char)(c | 32);
    return c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static ice_code hex_bytes(ice_str text, ice_buf *out, ice_error *err)
{
    for (size_t i = 2; i < text.len; i += 2) {
        while (i < text.len && is_blank(text.ptr[i]))
            i++;
        if (i == text.len)
            break;
        int high = hex_digit(text.ptr[i]), low = i + 1 < text.len ? hex_digit(text.ptr[i + 1]) : -1;
        if (high < 0 || low < 0)
            return ice_fail(err, ICE_BAD_ARGUMENT, "invalid hexadecimal data at character %zu", i);
        ice_buf_put_u8(out, (uint8_t)(high << 4 | low));
    }
    return ICE_OK;
}

static ice_code cast_bytea(ice_str text, ice_buf *out, ice_error *err)
{
    const char *p = text.ptr, *end = p + text.len;
    if (text.len > 1 && p[0] == '\\' && p[1] == 'x')
        return hex_bytes(text, out, err);
    while (p < end) {
        if (*p != '\\') {
            ice_buf_put_u8(out, (uint8_t)*p++);
        } else if (end - p > 1 && p[1] == '\\') {
            ice_buf_put_u8(out, '\\');
            p += 2;
        } else if (end - p > 3 && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' &&
                   p[3] <= '7') {
            ice_buf_put_u8(out, (uint8_t)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0')));
            p += 4;
        } else {
            return ice_fail(err, ICE_BAD_VALUE, "invalid input syntax for type bytea");
        }
    }
    return ICE_OK;
}

static ice_code cast_row(ice__call *c, size_t row, caster cast, ice_buf *out, ice_error *err)
{
    ice_str text;
    bool null;
    ice_code rc = ice__call_row(c, row, &text, &null, err);
    ice_buf_clear(out);
    if (rc == ICE_OK && !null)
        rc = cast(text, out, err);
    if (rc == ICE_OK)
        rc = ice_buf_check(out, err);
    return rc == ICE_OK ? ice__call_put(c, row, ice_buf_str(out), err) : rc;
}

static void run(duck_exec info, caster cast, duck_error *slot)
{
    ice_error err = {0};
    ice__call c = {.nargs = 0};
    ice_buf out = {0};
    ice_code rc = ice__call_open(info, 1, &c, &err);
    for (size_t i = 0; rc == ICE_OK && i < c.count; i++)
        rc = cast_row(&c, i, cast, &out, &err);
    ice_buf_free(&out);
    if (rc != ICE_OK)
        ice__call_fail(&err, slot);
}

static void on_inet(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, cast_inet, slot);
}

static void on_bytea(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    run(info, cast_bytea, slot);
}

const ice__function ice__cast_functions[] = {
    {"ice_inet", 1, ICE_T_STRING, on_inet, NULL, NULL},
    {"ice_bytea", 1, ICE_T_BINARY, on_bytea, NULL, NULL},
};
