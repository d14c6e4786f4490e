#include "schema/inet.h"

#include <arpa/inet.h>
#include <stdio.h>

/* Digits, as a number of at most `most`; -1: there are none, or it is more. */
static int number(const char **p, int most)
{
    int v = -1;
    for (; **p >= '0' && **p <= '9'; ++*p)
        if ((v = (v < 0 ? 0 : v * 10) + (**p - '0')) > most)
            return -1;
    return v;
}

/* After a slash: so many of the bits are the network's. None: all are. */
static bool prefix(const char *p, int all, int *bits)
{
    *bits = all;
    if (!*p)
        return true;
    p++;
    return (*bits = number(&p, all)) >= 0 && !*p;
}

/* The last bytes may be left out, where the prefix does not reach into them. */
static bool version4(const char *p, uint8_t bytes[4], int *bits)
{
    int n = 0;
    for (;;) {
        int byte = number(&p, 255);
        if (byte < 0 || n == 4)
            return false;
        bytes[n++] = (uint8_t)byte;
        if (*p != '.')
            break;
        p++;
    }
    if ((*p && *p != '/') || (!*p && n < 4) || !prefix(p, 32, bits))
        return false;
    return *bits / 8 <= n;
}

static bool version6(char *text, uint8_t bytes[16], int *bits)
{
    char *slash = strchr(text, '/');
    bool ok = prefix(slash ? slash : "", 128, bits);
    if (slash)
        *slash = 0;
    return ok && inet_pton(AF_INET6, text, bytes) == 1;
}

/* The longest run of zero groups, the first of these, from 2 on. */
static void longest_zeros(const unsigned *groups, int *start, int *length)
{
    *start = -1;
    *length = 1;
    for (int i = 0; i < 8; i++) {
        int n = 0;
        while (i + n < 8 && !groups[i + n])
            n++;
        if (n > *length) {
            *start = i;
            *length = n;
        }
        i += n;
    }
}

static int print6(const uint8_t *b, char *out)
{
    unsigned groups[8];
    int start, length, n = 0;
    for (int i = 0; i < 8; i++)
        groups[i] = (unsigned)b[2 * i] << 8 | b[2 * i + 1];
    longest_zeros(groups, &start, &length);
    /* An address of version 4 within one of version 6. */
    if (start == 0 && (length == 6 || (length == 5 && groups[5] == 0xffff)))
        return sprintf(out, "::%s%u.%u.%u.%u", length == 5 ? "ffff:" : "", b[12], b[13], b[14], b[15]);
    for (int i = 0; i < 8; i++) {
        if (i == start) {
            n += sprintf(out + n, "::");
            i += length - 1;
        } else {
            n += sprintf(out + n, "%s%x", i && i != start + length ? ":" : "", groups[i]);
        }
    }
    return n;
}

ice_code ice_inet_canonical(ice_str text, char out[ICE_INET_ROOM], ice_error *err)
{
    char copy[256];
    uint8_t b[16] = {0};
    int bits, n;
    bool is4, ok = text.len && text.len < sizeof copy && !memchr(text.ptr, 0, text.len);
    if (ok) {
        memcpy(copy, text.ptr, text.len);
        copy[text.len] = 0;
    }
    if ((is4 = ok && version4(copy, b, &bits)))
        n = sprintf(out, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
    else if (ok && version6(copy, b, &bits))
        n = print6(b, out);
    else
        return ice_fail(err, ICE_BAD_VALUE, "invalid input syntax for type inet: \"%.*s\"",
                        (int)(text.len < 200 ? text.len : 200), text.ptr ? text.ptr : "");
    if (bits < (is4 ? 32 : 128))
        sprintf(out + n, "/%d", bits);
    return ICE_OK;
}
