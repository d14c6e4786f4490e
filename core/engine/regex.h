/* Regular expressions as PostgreSQL has them: its "advanced" syntax and modes, matched by PCRE2. */
#ifndef ICE_ENGINE_REGEX_H
#define ICE_ENGINE_REGEX_H

#include "base/str.h"

/* How a pattern is to be matched, beside its text. */
typedef struct ice__regex_modes {
    bool ignore_case;
    bool lines_end;   /* ^ and $ match at newlines */
    bool lines_bound; /* . and [^...] match no newline */
    bool literal;     /* the text is no pattern */
    bool expanded;    /* blanks and #comments are ignored */
} ice__regex_modes;

/* pattern.c: reads letters of PostgreSQL's regular expression functions ("i", "n", ...) into the modes. */
ICE_MUST ice_code ice__regex_modes_read(ice_str letters, ice__regex_modes *m, ice_error *err);
/* Writes a pattern of PostgreSQL's as one of PCRE2's, for PCRE2_UTF | PCRE2_UCP; options at the pattern's
 * start change the modes. Only what PostgreSQL knows comes through: ICE_BAD_PATTERN for anything else. */
ICE_MUST ice_code ice__regex_translate(ice_str pattern, ice__regex_modes *m, ice_buf *out, ice_error *err);

/* regex.c: a compiled pattern, used by one thread at a time. */
typedef struct ice__regex ice__regex;
ICE_MUST ice_code ice__regex_compile(ice_str pattern, ice_str letters, ice__regex **out, ice_error *err);
void ice__regex_free(ice__regex *r); /* NULL is fine */
/* Whether the pattern matches anywhere in valid UTF-8. ICE_BAD_PATTERN where that costs too much: too many
 * ways to match from one place, or beyond `until`, an instant of this thread's processor time in nanoseconds.
 */
ICE_MUST ice_code ice__regex_matches(ice__regex *r, ice_str text, int64_t until, bool *out, ice_error *err);
/* The first match that begins at `from`, a character's first byte or the end, or after it. Until the next call its groups can be asked for; group 0 is all of
 * it. */
ICE_MUST ice_code ice__regex_find(ice__regex *r, ice_str text, size_t from, int64_t until, bool *out, ice_error *err);
unsigned ice__regex_groups(const ice__regex *r);
/* What a group matched, a part of `text`; absent where it took no part, or is none. */
ice_str ice__regex_group(const ice__regex *r, ice_str text, unsigned group);
ICE_MUST ice_code ice__regex_check_time(int64_t until, ice_error *err);
int64_t ice__thread_time(void);

#endif
