#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "duck_library.h"
#include "engine/engine.h"

#include "../fuzz/fuzz_functions.c"

static ice_engine *engine;
static ice_engine_conn *conn;

static ice_code resolve(void *arg, ice_str name, unsigned seq, ice_arena *a, ice_source **source, ice_str *subquery,
                        ice_error *err)
{
    (void)arg, (void)name, (void)seq, (void)a, (void)source, (void)subquery, (void)err;
    return ICE_OK;
}

/* The first column of the whole result, rows separated by '|'; or the name of the error's code. */
static const char *text_of(const char *sql)
{
    static ice_buf b;
    ice_error err = {0};
    ice_result *r = NULL;
    size_t count = 1;
    ice_buf_clear(&b);
    ice_code rc = ice_engine_run(conn, ice_str_c(sql), NULL, 0, &r, &err);
    while (rc == ICE_OK && (rc = ice_result_next(r, &count, &err)) == ICE_OK && count)
        for (size_t i = 0; i < count; i++) {
            ice_value v;
            ice_result_value(r, 0, i, &v);
            ice_buf_puts(&b, b.len ? "|" : "");
            if (v.null)
                ice_buf_puts(&b, "NULL");
            else
                ice_value_text(&v, &b);
        }
    ice_result_close(r);
    if (rc != ICE_OK) {
        ice_buf_clear(&b);
        ice_buf_printf(&b, "%s: %s", ice_code_name(rc), err.message);
    }
    ice_buf_put_u8(&b, 0);
    return b.data;
}

/* ---- SHA-2: examples of FIPS 180, and whole columns ---- */

static void sha2(void **s)
{
    (void)s;
    assert_string_equal(text_of("SELECT sha224('abc')"), "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7");
    assert_string_equal(text_of("SELECT sha384('abc')"),
                        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                        "8086072ba1e7cc2358baeca134c825a7");
    assert_string_equal(text_of("SELECT sha512('')"),
                        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
                        "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e");
    assert_string_equal(text_of("SELECT sha224(NULL)"), "NULL");
    assert_string_equal(text_of("SELECT left(sha224(x), 4) FROM (VALUES ('abc'), (NULL), (repeat('a', 1000000))) t(x)"),
                        "2309|NULL|2079");
    assert_string_equal(text_of("SELECT count(DISTINCT sha512(i::varchar)) FROM range(5000) t(i) WHERE i % 3 > 0"), "3333");
    assert_true(strncmp(text_of("SELECT sha224(1)"), "SYNTAX", 6) == 0);
}

/* ---- regular expressions ---- */

static const char *match(const char *text, const char *op, const char *pattern)
{
    ice_buf b = {0};
    static char out[256];
    ice_buf_puts(&b, "SELECT ");
    ice_buf_put_quoted(&b, ice_str_c(text));
    ice_buf_printf(&b, " %s ", op);
    ice_buf_put_quoted(&b, ice_str_c(pattern));
    ice_buf_put_u8(&b, 0);
    snprintf(out, sizeof out, "%s", text_of(b.data));
    ice_buf_free(&b);
    return out;
}

static void regex_matches(void **s)
{
    (void)s;
    static const struct {
        const char *text, *pattern;
        bool yes;
    } cases[] = {
        {"abcb", "b(.).*b$", true},       {"abab", "(a)(b)\\1\\2", true},    {"abba", "(a)(b)\\1", false},
        {"foobar", "foo(?=bar)", true},   {"foobaz", "foo(?=bar)", false},   {"foobaz", "foo(?!bar)", true},
        {"xbar", "(?<=x)bar", true},      {"ybar", "(?<!y)bar", false},      {"a\nb", "a.b", true},
        {"a\nb", "^b", false},            {"a\nb", "(?n)^b", true},          {"a\nb", "(?n)a.b", false},
        {"a\n", "a$", false},             {"a\nb", "(?n)a[^x]b", false},     {"a\nb", "(?w)a.b", true},
        {"one two", "\\mtwo\\M", true},   {"onetwo", "\\mtwo", false},       {"one two", "e\\y", true},
        {"on", "o\\Yn", true},            {"one two", "[[:<:]]two[[:>:]]", true}, {"straße", "\\mstraße\\M", true},
        {"\b", "\\b", true},              {"b", "\\b", false},               {"a\\b", "a\\Bb", true},
        {"é", "^\\w$", true},             {"é", "^[[:alpha:]]$", true},      {"٣", "\\d", false},
        {"٣", "[[:alnum:]]", true},       {"\xc2\xa0", "\\s", false},       {"\xe2\x80\x83", "\\s", true},
        {"a-b", "^[a-]+b$", true},        {"]", "[]]", true},                {"^", "[x^]", true},
        {"-", "[+--]", true},             {"\\", "[\\\\]", true},            {"5", "[\\D]", false},
        {"É", "(?i)é", true},             {"é", "É", false},                 {"a", "(?i)[[:upper:]]", true},
        {"a{b", "a{b", true},             {"aa", "^a{2}$", true},            {"a{,2}", "a{,2}", true},
        {"a b", "(?x)a \\s b # tail", true}, {"a.b", "***=a.b", true},       {"axb", "***=a.b", false},
        {"axb", "***:a.b", true},         {"", "", true},                    {"x", "", true},
        {"x", "()", true},                {"abc", "a(?#comment)b", true},    {"\xf0\x9f\x98\x80", "^.$", true},
        {"A", "\\x41", true},             {"A", "\\u0041", true},            {"\t", "\\cI", true},
        {"x", "a||b", true},              {"[", "[[.[.]]", true},            {"e", "[[=e=]]", true},
        {"ab", "(?<=(a))b", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = match(cases[i].text, "~", cases[i].pattern);
        if (strcmp(got, cases[i].yes ? "true" : "false") != 0)
            fail_msg("'%s' ~ '%s' is %s", cases[i].text, cases[i].pattern, got);
    }
    assert_string_equal(match("ABC", "~*", "b"), "true");
    assert_string_equal(match("ABC", "!~*", "b"), "false");
    assert_string_equal(match("ABC", "!~", "b"), "true");
    assert_string_equal(text_of("SELECT regexp_like('a\nb', 'a.b', 'n')"), "false");
    assert_string_equal(text_of("SELECT regexp_like('A', 'a', 'i') AND NOT regexp_like('A', 'a')"), "true");
}

static void regex_replaces(void **s)
{
    assert_string_equal(text_of("SELECT regexp_replace('foobarbaz', 'b(..)', 'X\\1Y\\&\\\\\\q', 'g')"),
                        "fooXarYbar\\\\qXazYbaz\\\\q");
    assert_string_equal(text_of("SELECT regexp_replace('\u00e4b', '', '-', 'g')"), "-\u00e4-b-");
    assert_string_equal(text_of("SELECT substring('foobar' FROM 'o(.)b') || substring('foobar' FROM 2 FOR 2)"), "ooo");
    assert_string_equal(text_of("SELECT substring('foobar' FROM 'x') IS NULL"), "true");
}

static void rounding(void **s)
{
    assert_string_equal(text_of("SELECT ice_round('0.285', '2')"), "0.29");
    assert_string_equal(text_of("SELECT ice_round('-95', '-1')"), "-100");
    assert_string_equal(text_of("SELECT ice_round('-0.4', '0')"), "0");
    assert_string_equal(text_of("SELECT ice_round('NaN', '0')"), "NaN");
    assert_true(strncmp(text_of("SELECT ice_round(repeat('1', 100), '0')"), "RANGE", 5) == 0);
}

static void regex_errors(void **s)
{
    (void)s;
    static const char *const patterns[] = {
        "(",      ")",        "a**",    "*a",      "a|*b",    "^*",     "(*a)",   "[a",       "[z-a]",  "[a-c-e]", "a{2,1}",
        "a{256}", "a{1",      "\\q",    "\\",      "\\1",     "(a\\1)", "(?R)",   "(?P<n>a)", "(?>a)",  "a(?i)b",  "[[:nope:]]",
        "(?z)a",  "a(?=b)\\1", "\\x",  "\\u12",   "[[.xx.]]", "\\p{L}", "a++",    "\\Ka",     "(?C1)a", "(?=a)*",  "***",
        "\\xfffffff",        "(*UTF)a", "(?<=a*)b",
    };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (strncmp(match("a", "~", patterns[i]), "BAD_PATTERN: ", 13) != 0)
            fail_msg("'%s' is accepted: %s", patterns[i], match("a", "~", patterns[i]));
    assert_true(strncmp(text_of("SELECT regexp_like('a', 'a', 'y')"), "BAD_VALUE", 9) == 0);
    assert_string_equal(match("a", "~", "(a"), "BAD_PATTERN: invalid regular expression: parentheses () not balanced");
}

/* Patterns whose ways to match multiply end with an error, soon. */
static void regex_hostile(void **s)
{
    (void)s;
    const char *failed = "BAD_PATTERN: regular expression failed";
    assert_true(strncmp(text_of("SELECT repeat('a', 40) || 'b' ~ '^(a+)+$'"), failed, strlen(failed)) == 0);
    assert_true(strncmp(text_of("SELECT repeat('a', 40) || 'b' ~ '^(a|a|a)*$'"), failed, strlen(failed)) == 0);
    assert_true(strncmp(text_of("SELECT repeat('ab', 2000) ~ '(.*)(.*)(.*)(.*)(.*)\\1\\2\\3[xy]'"), failed, strlen(failed)) == 0);
    /* Long, and no harm. */
    assert_string_equal(text_of("SELECT repeat('ab', 100000) || 'c' ~ '^(a|b)*c$'"), "true");
    assert_string_equal(text_of("SELECT repeat('é', 500000) || 'x' ~ 'éx$'"), "true");
    assert_string_equal(text_of("SELECT repeat('é', 500000) || 'x' ~ 'xé'"), "false");
}

/* A pattern for each row, more of them than are kept compiled. */
static void regex_columns(void **s)
{
    (void)s;
    assert_string_equal(text_of("SELECT count(*) FROM range(20000) t(i) WHERE i::varchar ~ ('^' || (i % 100)::varchar)"), "498");
    assert_string_equal(text_of("SELECT 'a' ~ x FROM (VALUES ('a'), (NULL), ('b')) t(x)"), "true|NULL|false");
    assert_string_equal(text_of("SELECT x ~ 'a' FROM (VALUES ('a'), (NULL), ('b')) t(x)"), "true|NULL|false");
    assert_string_equal(text_of("SELECT NULL ~ 'a'"), "NULL");
    assert_string_equal(text_of("SELECT count(*) FROM range(100000) t(i) WHERE i::varchar ~ '(.)\\1\\1'"), "2700");
}

/* ---- JSON: answers of PostgreSQL's jsonb ---- */

static const char *json(const char *function, const char *a, const char *b)
{
    ice_buf q = {0};
    static char out[1024];
    ice_buf_printf(&q, "SELECT %s(", function);
    ice_buf_put_quoted(&q, ice_str_c(a));
    if (b) {
        ice_buf_puts(&q, ", ");
        ice_buf_put_quoted(&q, ice_str_c(b));
    }
    ice_buf_put(&q, ")", 2);
    snprintf(out, sizeof out, "%s", text_of(q.data));
    ice_buf_free(&q);
    return out;
}

static void json_order(void **s)
{
    (void)s;
    /* Ascending; values in one row are equal. */
    static const char *const order[][4] = {
        {"[]"},          {"null"},           {"\"\""},           {"\"a\"", "\"\\u0061\""},
        {"\"aa\""},      {"\"b\""},          {"-1e3", "-1000"},  {"-2.5", "-2.50"},
        {"-0.001"},      {"0", "-0", "0.00", "0e7"}, {"0.001", "1e-3"},  {"1", "1.0", "10e-1"},
        {"1.5"},         {"2"},              {"10", "1E1"},      {"12345678901234567890.123"},
        {"false"},       {"true"},           {"[null]"},         {"[2]"},
        {"[[]]"},        {"[1, 1]", " [ 1,1.0 ] "},   {"{}"},    {"{\"b\": 1}", "{\"b\": 2, \"b\": 1.0}"},
        {"{\"a\": 1, \"b\": 1}", "{\"b\": 1, \"a\": 1}"},
    };
    size_t n = sizeof order / sizeof *order;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            for (size_t v = 0; v < 4 && order[k][v]; v++) {
                ice_buf q = {0};
                ice_buf_puts(&q, "SELECT ice_json_key($$");
                ice_buf_printf(&q, "%s$$) %s ice_json_key($$%s$$)", order[i][0], i < k ? "<" : i > k ? ">" : "=", order[k][v]);
                ice_buf_put_u8(&q, 0);
                if (strcmp(text_of(q.data), "true") != 0)
                    fail_msg("%s is not true", q.data);
                ice_buf_free(&q);
            }
}

static void json_contents(void **s)
{
    (void)s;
    static const char yes[] = "true", no[] = "false";
    static const struct {
        const char *a, *b, *is;
    } contains[] = {
        {"[1, 2, [3]]", "[2, 1, 1]", yes},  {"[1, 2, [1, 3]]", "[1, 3]", no},    {"[1]", "1.0", yes},
        {"1", "[1]", no},                   {"{\"a\": {\"b\": 1, \"c\": 2}}", "{\"a\": {\"c\": 2}}", yes},
        {"{\"a\": {\"b\": 1}}", "{\"b\": 1}", no}, {"[{\"a\": 1, \"b\": 2}]", "[{\"a\": 1}]", yes},
        {"{\"a\": [1, 2]}", "{\"a\": []}", yes},  {"{\"a\": [1, 2]}", "{\"a\": 1}", no}, {"\"a\"", "\"a\"", yes},
        {"[]", "[]", yes},                  {"{}", "[]", no},                    {"[[1, 2]]", "[[1]]", yes},
    };
    for (size_t i = 0; i < sizeof contains / sizeof *contains; i++)
        assert_string_equal(json("ice_json_contains", contains[i].a, contains[i].b), contains[i].is);
    static const struct {
        const char *j, *key, *is;
    } has[] = {
        {"{\"a\": null}", "a", yes}, {"{\"b\": {\"a\": 1}}", "a", no}, {"[\"a\"]", "a", yes},  {"\"a\"", "a", yes},
        {"[1]", "1", no},            {"{\"\": 1}", "", yes},           {"{\"1\": 1}", "1", yes}, {"7", "7", no},
    };
    for (size_t i = 0; i < sizeof has / sizeof *has; i++)
        assert_string_equal(json("ice_json_has", has[i].j, has[i].key), has[i].is);
    assert_string_equal(text_of("SELECT ice_json_contains(x, '1') FROM (VALUES ('[1]'), (NULL), ('2')) t(x)"), "true|NULL|false");
}

static void json_texts(void **s)
{
    (void)s;
    assert_string_equal(json("ice_json_text", "{\"bb\":1,\"c\":[true,null],\"bb\":-1.50e1}", NULL),
                        "{\"c\": [true, null], \"bb\": -15.0}");
    assert_string_equal(json("ice_json_normal", "[1.0, 1.50, 1e2, -0.0, 100, 0.10, 10.0]", NULL), "[1, 1.5, 100, 0, 100, 0.1, 10]");
    assert_string_equal(json("ice_json_unquoted", "\"a\\\"b\"", NULL), "a\"b");
    assert_string_equal(json("ice_json_unquoted", "[1.0,{\"b\":\"c\"}]", NULL), "[1.0, {\"b\": \"c\"}]");
    assert_string_equal(json("ice_json_text", "[1e3, 1E-3, -0, 0.10, 100]", NULL), "[1000, 0.001, 0, 0.10, 100]");
    assert_string_equal(json("ice_json_text", "\"\\u00e9\\ud83d\\ude00\\n\\u0001\\/\\\"\\\\\"", NULL),
                        "\"é😀\\n\\u0001/\\\"\\\\\"");
    static const char *const wrong[] = {"",       "{",      "[1,]",   "{\"a\" 1}", "tru",  "01",    "1.",     "-",
                                        "\"\\x\"", "\"a",    "[1] 2",  "{a: 1}",    "\"\n\"", "1e",    "nan",    "\"\\u12\"",
                                        "{1: 2}", "[1 2]",  "\"\\",   "+1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (strncmp(json("ice_json_text", wrong[i], NULL), "BAD_VALUE", 9) != 0)
            fail_msg("'%s' is JSON: %s", wrong[i], json("ice_json_text", wrong[i], NULL));
    assert_true(strncmp(json("ice_json_key", "1e999999999999", NULL), "RANGE", 5) == 0);
    assert_true(strncmp(text_of("SELECT ice_json_key(repeat('[', 100000))"), "BAD_VALUE", 9) == 0);
    assert_string_equal(text_of("SELECT count(DISTINCT ice_json_text('[' || i || ', \"' || repeat('x', i % 50) || '\"]')) "
                                "FROM range(10000) t(i)"), "10000");
}

/* ---- the fuzz entry over mutations that are the same in every run ---- */

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static size_t mutate(char *text, size_t n, uint64_t *x)
{
    static const char *const bits[] = {"(",  ")",   "[",  "]",   "{",  "}",   "*", "+",    "?",     "|",  "\\1", "\\",
                                       "^",  "$",   ".",  "a",   "é",  "(?=", "(?<!", "\\y", "[:alpha:]", "{2}", "-",   "\"",
                                       ",",  ":",   "1e", "0",   "\n", "\\u00e9", "null", "[]", "{}", " ", "\\ud83d", "(?i)"};
    const char *bit = bits[next_random(x) % (sizeof bits / sizeof *bits)];
    size_t len = strlen(bit), at = next_random(x) % (n + 1);
    if (next_random(x) % 3 == 0 && n > at)
        return at; /* cut off */
    memmove(text + at + len, text + at, n - at);
    memcpy(text + at, bit, len);
    return n + len;
}

static void mutations(void **s)
{
    (void)s;
    static const char *const corpus[] = {
        "(a|b)*\\1[^c-e]{2,3}?\nabab", "\\mfoo(?!bar)\\M|[[:alpha:]_-]+$\nfoo baz", "(?n)^(.)(.)\\2\\1\nxyyx\nabba",
        "{\"a\": [1, -2.50e3, \"x\\u00e9\\n\"], \"b\": {\"\": null, \"a\": true}}", "[[], {}, [[1.0]], \"\\ud83d\\ude00\", 1e-7]",
    };
    uint64_t x = 88172645463325252u;
    char text[512];
    for (int round = 0; round < 3000; round++) {
        const char *start = corpus[round % 5];
        size_t n = strlen(start);
        memcpy(text, start, n);
        for (uint64_t k = next_random(&x) % 6; k; k--)
            n = mutate(text, n, &x);
        LLVMFuzzerTestOneInput((const uint8_t *)text, n);
    }
}

static int setup(void **s)
{
    (void)s;
    ice_error err = {0};
    if (ice_engine_open(getenv("ICE_TEST_DUCK"), 2, 512 << 20, &engine, &err) == ICE_OK &&
        ice_engine_connect(engine, resolve, NULL, &conn, &err) == ICE_OK)
        return 0;
    fprintf(stderr, "%s\n", err.message);
    return -1;
}

static int teardown(void **s)
{
    (void)s;
    ice_engine_disconnect(conn);
    ice_engine_close(engine);
    return 0;
}

int main(void)
{
    const char *lib = duck_library();
    if (!lib)
        return 77;
    setenv("ICE_TEST_DUCK", lib, 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(sha2), cmocka_unit_test(regex_matches),
                                       cmocka_unit_test(regex_replaces), cmocka_unit_test(rounding), cmocka_unit_test(regex_errors), cmocka_unit_test(regex_hostile),
                                       cmocka_unit_test(regex_columns), cmocka_unit_test(json_order),
                                       cmocka_unit_test(json_contents), cmocka_unit_test(json_texts), cmocka_unit_test(mutations)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
