#include "base/error.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct code_info {
    const char *name, *sqlstate, *exception;
} code_info;

static const code_info codes[ICE_CODE_COUNT] = {
#define ICE_X(name, state, exc) {#name, state, exc},
    ICE_CODES(ICE_X)
#undef ICE_X
};

static const code_info *info_of(ice_code code)
{
    return &codes[(unsigned)code < ICE_CODE_COUNT ? code : ICE_INTERNAL];
}

const char *ice_code_name(ice_code code) { return info_of(code)->name; }
const char *ice_code_sqlstate(ice_code code) { return info_of(code)->sqlstate; }
const char *ice_code_exception(ice_code code) { return info_of(code)->exception; }

/* Copies text, cutting before a UTF-8 sequence that would not fit whole. */
static void copy_cut(char *dst, size_t cap, const char *src)
{
    size_t n = strlen(src);

    if (n >= cap) {
        n = cap - 1;
        while (n > 0 && ((unsigned char)src[n] & 0xC0) == 0x80)
            n--;
    }
    memmove(dst, src, n);
    dst[n] = '\0';
}

/* The arguments may point into err->message, so the text is built beside it. */
static void fill(ice_error *err, ice_code code, const char *text)
{
    err->code = code;
    copy_cut(err->message, sizeof err->message, text);
    err->table[0] = '\0';
    err->constraint[0] = '\0';
}

ice_code(ice_fail)(ice_error *err, ice_code code, const char *fmt, ...)
{
    if (err) {
        char text[sizeof err->message + 8];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        fill(err, code, text);
    }
    return code;
}

static ice_code code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ICE_DISK_FULL;
    case ENOENT:
        return ICE_NOT_FOUND;
    case EEXIST:
        return ICE_EXISTS;
    case ENOMEM:
        return ICE_NOMEM;
    default:
        return ICE_IO;
    }
}

ice_code ice_fail_errno(ice_error *err, int errnum, const char *fmt, ...)
{
    ice_code code = code_of_errno(errnum);

    if (err) {
        char text[sizeof err->message + 8], reason[128];
        size_t n;
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(text, sizeof text - sizeof reason - 2, fmt, ap);
        va_end(ap);
        n = strlen(text);
        snprintf(text + n, sizeof text - n, ": %s", strerror_r(errnum, reason, sizeof reason));
        fill(err, code, text);
    }
    return code;
}

ice_code(ice_fail_nomem)(ice_error *err) { return ice_fail(err, ICE_NOMEM, "out of memory"); }

void ice_error_object(ice_error *err, const char *table, const char *constraint)
{
    if (!err)
        return;
    if (table)
        copy_cut(err->table, sizeof err->table, table);
    if (constraint)
        copy_cut(err->constraint, sizeof err->constraint, constraint);
}

void ice_error_prefix(ice_error *err, const char *fmt, ...)
{
    char text[2 * sizeof err->message];
    size_t n;
    va_list ap;

    if (!err)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof err->message, fmt, ap);
    va_end(ap);
    n = strlen(text);
    snprintf(text + n, sizeof text - n, ": %s", err->message);
    copy_cut(err->message, sizeof err->message, text);
}

void ice_error_clear(ice_error *err)
{
    if (!err)
        return;
    err->code = ICE_OK;
    err->message[0] = err->table[0] = err->constraint[0] = '\0';
}
