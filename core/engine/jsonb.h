/* JSON values with the meaning PostgreSQL's jsonb gives them: numbers of any size compared by value, objects without order
 * and with one value for each key (the last). */
#ifndef ICE_ENGINE_JSONB_H
#define ICE_ENGINE_JSONB_H

#include "base/arena.h"

typedef struct ice__json ice__json;

/* The tree of a JSON text, in the arena. ICE_BAD_VALUE where it is none, or nests too deep. */
ICE_MUST ice_code ice__json_parse(ice_arena *a, ice_str text, const ice__json **out, ice_error *err);
/* Appends bytes whose order and equality are those of the values, as jsonb's operators =, <, > have them. */
void ice__json_key(const ice__json *j, ice_buf *out);
/* Appends the value's text as jsonb prints it: keys in its order, a blank after ':' and ',', numbers without exponent. */
void ice__json_text(const ice__json *j, ice_buf *out);
/* jsonb's a @> b */
bool ice__json_contains(const ice__json *a, const ice__json *b);
/* jsonb's j ? key: a key of an object, a text in an array, or the text itself. */
bool ice__json_has(const ice__json *j, ice_str key);

#endif
