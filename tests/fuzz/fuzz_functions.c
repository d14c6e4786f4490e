/* Fuzz entry of what our SQL functions read: patterns, and JSON. Any text gives an answer or a code, never a crash, and JSON
 * printed and read again is the same value.
 *
 * With clang (from the repository's root):
 *   clang -g -O1 -std=gnu11 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -Icore \
 *       tests/fuzz/fuzz_functions.c core/engine/pattern.c core/engine/regex.c core/schema/jsonb.c core/base/?*.c \
 *       -lpcre2-8 -ljansson -lxxhash -lz -lm -o fuzz_functions && ./fuzz_functions -max_len=512
 * tests/c/test_engine_functions.c runs the same entry over mutations of a corpus that are the same every time. */
#include <stdio.h>
#include <stdlib.h>

#include "schema/jsonb.h"
#include "engine/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz_functions: %s\n", what);
        abort();
    }
}

static void match_one(ice_str pattern, ice_str text, const char *letters)
{
    ice__regex *r = NULL;
    bool yes = false;
    ice_error err = {0};
    ice_code rc = ice__regex_compile(pattern, ice_str_c(letters), &r, &err);
    must((rc == ICE_OK) == (r != NULL) && (rc == ICE_OK || rc == ICE_BAD_PATTERN), "a pattern, or what is wrong with it");
    for (int i = 0; r && i < 20; i++) { /* interpreted, then as machine code */
        bool before = yes;
        rc = ice__regex_matches(r, text, ice__thread_time() + 1000000000, &yes, &err);
        must(rc == ICE_OK || rc == ICE_BAD_PATTERN, "an answer, or that it costs too much");
        must(rc != ICE_OK || i == 0 || yes == before, "machine code gives the same answer");
        if (rc != ICE_OK)
            break;
    }
    ice__regex_free(r);
}

static void json_one(ice_str text)
{
    const ice_json *j = NULL, *again = NULL;
    ice_error err = {0};
    ice_buf printed = {0}, first = {0}, second = {0};
    ice_arena *a = ice_arena_create();
    must(a != NULL, "memory");
    ice_code rc = ice_json_parse(a, text, &j, &err);
    must(rc == ICE_OK || rc == ICE_BAD_VALUE || rc == ICE_RANGE, "a value, or what is wrong with it");
    if (rc == ICE_OK) {
        ice_json_text(j, &printed);
        ice_json_key(j, &first);
        must(ice_json_parse(a, ice_buf_str(&printed), &again, &err) == ICE_OK, "what is printed can be read");
        ice_json_key(again, &second);
        must(ice_str_eq(ice_buf_str(&first), ice_buf_str(&second)), "and is the same value");
        must(ice_json_contains(j, again) && ice_json_contains(again, j), "that contains itself");
    }
    ice_buf_free(&printed);
    ice_buf_free(&first);
    ice_buf_free(&second);
    ice_arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ice_str text = {(const char *)data, size};
    if (!ice_utf8_valid(text))
        return 0; /* DuckDB's texts are */
    const char *split = memchr(text.ptr, '\n', size);
    ice_str pattern = {text.ptr, split ? (size_t)(split - text.ptr) : size};
    ice_str subject = split ? (ice_str){split + 1, size - pattern.len - 1} : text;
    match_one(pattern, subject, "");
    match_one(pattern, subject, "in");
    json_one(text);
    return 0;
}
