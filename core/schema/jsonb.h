/* JSON values with the meaning PostgreSQL's jsonb gives them: numbers of any size compared by value, objects
 * without order and with one value for each key (the last). */
#ifndef ICE_SCHEMA_JSONB_H
#define ICE_SCHEMA_JSONB_H

#include "base/arena.h"

typedef struct ice_json ice_json;

/* The tree of a JSON text, in the arena. ICE_BAD_VALUE where it is none, or nests too deep. */
ICE_MUST ice_code ice_json_parse(ice_arena *a, ice_str text, const ice_json **out, ice_error *err);
/* The text of a value as it is stored: as ice_json_text prints it, in the arena or `text` itself.
 * ICE_BAD_VALUE also where a text in it has the character NUL or half of a surrogate pair. */
ICE_MUST ice_code ice_json_canonical(ice_arena *a, ice_str text, ice_str *out, ice_error *err);
/* Appends bytes whose order and equality are those of the values, as jsonb's operators =, <, > have them. */
void ice_json_key(const ice_json *j, ice_buf *out);
/* Appends the value's text as jsonb prints it: keys in its order, a blank after ':' and ',', numbers without
 * exponent. */
void ice_json_text(const ice_json *j, ice_buf *out);
/* Appends what jsonb's ->> gives: a string's characters, else the value's text. */
void ice_json_unquoted(const ice_json *j, ice_buf *out);
/* Appends the value's text with numbers that are equal written the same, without zeros at their end. */
void ice_json_normal(const ice_json *j, ice_buf *out);
/* jsonb's a @> b */
bool ice_json_contains(const ice_json *a, const ice_json *b);
/* jsonb's j ? key: a key of an object, a text in an array, or the text itself. */
bool ice_json_has(const ice_json *j, ice_str key);

#endif
