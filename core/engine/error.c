#include "engine/engine_int.h"

static bool has(ice_str text, const char *part)
{
    return text.len && memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

/* DuckDB has one code for everything its binder and catalog refuse; the words tell a table from a column. */
static ice_code code_of_name(ice_str text)
{
    if (has(text, "Table with name") || has(text, "Referenced table"))
        return ICE_NO_TABLE;
    if (has(text, "Referenced column") || has(text, "does not have a column named"))
        return ICE_NO_COLUMN;
    return ICE_SYNTAX;
}

static ice_code code_of_conversion(ice_str text)
{
    if (has(text, "field value out of range"))
        return ICE_DATETIME;
    return has(text, "out of range") ? ICE_RANGE : ICE_BAD_VALUE;
}

/* What the Parquet reader says of bytes it cannot read has a code of its own as little as a bad cast. Only
 * the first line: the others quote the statement. */
static bool damaged_file(ice_str text)
{
    static const char *const words[] = {"TProtocolException", "don't know what type", "Parquet",
                                        "parquet file",       "No magic bytes",       "ecompress",
                                        "Out of buffer",      "Failed to read file",  "data page"};
    const char *end = text.len ? memchr(text.ptr, '\n', text.len) : NULL;
    ice_str line = {text.ptr, end ? (size_t)(end - text.ptr) : text.len};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (has(line, words[i]))
            return true;
    return false;
}

/* Of what a function refuses only the words tell: its own, or those of the backend's macros. */
static ice_code code_of_input(ice_str text)
{
    static const struct {
        const char *words;
        ice_code code;
    } known[] = {
        {"ivision by zero", ICE_DIV_ZERO},
        {"nvalid regular expression: ", ICE_BAD_PATTERN},
        {"regular expression failed: ", ICE_BAD_PATTERN},
        {"cannot take logarithm of", ICE_BAD_LOGARITHM},
        {"cannot take square root of", ICE_BAD_POWER},
        {"zero raised to a negative power", ICE_BAD_POWER},
        {"yields a complex result", ICE_BAD_POWER},
        {"negative substring length", ICE_BAD_SUBSTRING},
        {"invalid hexadecimal data", ICE_BAD_ARGUMENT},
        {"input is out of range", ICE_RANGE},
    };
    if (damaged_file(text))
        return ICE_CORRUPT;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (has(text, known[i].words))
            return known[i].code;
    return ICE_BAD_VALUE;
}

static ice_code code_of(int code, ice_str text)
{
    if (code >= DUCK_IO_FIRST && code <= DUCK_IO_LAST)
        return has(text, "No space left") ? ICE_DISK_FULL : ICE_IO;
    switch (code) {
    case DUCK_FILE_NOT_FOUND: return ICE_NOT_FOUND;
    case DUCK_NO_MEMORY: return ICE_NOMEM;
    case DUCK_INTERRUPTED: return ICE_CANCELED;
    case DUCK_PARSER:
    case DUCK_SYNTAX:
    case DUCK_PARAMETER:
    case DUCK_PARAMETER_PLACE: return ICE_SYNTAX;
    case DUCK_BINDER:
    case DUCK_CATALOG: return code_of_name(text);
    case DUCK_CONVERSION: return code_of_conversion(text);
    case DUCK_INVALID: return code_of_input(text);
    case DUCK_TYPE_MISMATCH: return ICE_BAD_VALUE;
    case DUCK_OUT_OF_RANGE:
    case DUCK_DECIMAL_RANGE: return ICE_RANGE;
    case DUCK_DIVISION: return ICE_DIV_ZERO;
    case DUCK_IN_USE: return ICE_MISUSE;
    case DUCK_PERMISSION: /* files other than the warehouse's, and what else it is told to leave alone */
    case DUCK_NOT_IMPLEMENTED: return ICE_UNSUPPORTED;
    case DUCK_SETTINGS: return ICE_CONFIG;
    default: return damaged_file(text) ? ICE_CORRUPT : ICE_ENGINE;
    }
}

static bool take_callback_error(ice_engine_conn *c, ice_error *err, ice_code *rc)
{
    pthread_mutex_lock(&c->lock);
    *rc = c->callback_error.code;
    if (*rc != ICE_OK && err)
        *err = c->callback_error;
    pthread_mutex_unlock(&c->lock);
    return *rc != ICE_OK;
}

ice_code ice__duck_fail(ice_engine_conn *c, int code, duck_error de, ice_error *err)
{
    const duck_api *d = &ice__duck;
    ice_code rc;
    duck_str text = {0};
    if (de)
        d->error_info_get_raw_text(de, &text);
    if (!c || code == DUCK_INTERRUPTED || !take_callback_error(c, err, &rc)) {
        ice_str s = {text.ptr, text.len};
        if (s.len)
            rc = ice_fail(err, code_of(code, s), "%.*s", ICE_PRI(s));
        else
            rc = ice_fail(err, code_of(code, s), "DuckDB failed with error %d", code);
    }
    d->error_info_destroy(&de);
    return rc;
}

void ice__callback_fail(ice_engine_conn *c, const ice_error *e, duck_error *slot)
{
    const duck_api *d = &ice__duck;
    pthread_mutex_lock(&c->lock);
    if (c->callback_error.code == ICE_OK)
        c->callback_error = *e;
    pthread_mutex_unlock(&c->lock);
    duck_str text = {e->message, strlen(e->message)};
    d->error_info_set_code(*slot, DUCK_INVALID);
    d->error_info_set_text(*slot, &text);
}
