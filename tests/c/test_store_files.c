/* Chunk files and key indexes: round trips, hostile bytes, failing I/O. */
#include "store_cells.h"

/* ---- chunk files ---- */

static ice_code write_table(uint64_t rows, uint64_t step, ice_error *err)
{
    return write_cells(ice_chunkfile_write, rows, step, err);
}

static void check_table(uint64_t rows)
{
    ice_chunkfile *f;
    ice_error err = {0};
    assert_int_equal(ice_chunkfile_open(path, &f, &err), ICE_OK);
    assert_int_equal(ice_chunkfile_rows(f), rows);
    for (int c = 0; c < NTYPES; c++) {
        ice_vec v;
        assert_true(ice_chunkfile_column(f, 10 + c, &v));
        assert_true(ice_type_eq(v.type, columns[c].type));
        assert_int_equal((uintptr_t)v.data % 64, 0);
        /* "abc" or NULL; the other texts differ from row to row. */
        assert_int_equal(v.words, columns[c].type.kind == ICE_T_FIXED && rows >= 8 ? 2 : 0);
        assert_int_equal(v.codes != NULL, v.words > 0);
        for (uint64_t r = 0; r < rows; r++) {
            char text[32];
            ice_value want = cell(c, r, text), got;
            ice_vec_get(&v, r, &got);
            assert_int_equal(want.null, got.null);
            if (!want.null)
                assert_true(ice_value_eq(&want, &got));
        }
    }
    ice_vec v;
    assert_false(ice_chunkfile_column(f, 9, &v));
    ice_chunkfile_close(f);
}

/* Row by row, of a file whose content nobody has looked at. */
static void check_loose(uint64_t rows)
{
    ice_chunkfile *f;
    ice_vec v;
    assert_int_equal(ice_chunkfile_open_loose(path, &f, NULL), ICE_OK);
    assert_false(ice_chunkfile_column(f, 10, &v));
    for (int c = 0; c < NTYPES; c++) {
        assert_true(ice_chunkfile_has(f, 10 + c));
        for (uint64_t r = 0; r < rows; r++) {
            char text[32];
            ice_value want = cell(c, r, text), got;
            assert_int_equal(ice_chunkfile_value(f, 10 + c, r, &got, NULL), ICE_OK);
            assert_int_equal(want.null, got.null);
            assert_true(want.null || ice_value_eq(&want, &got));
        }
    }
    ice_value same = (ice_value){.kind = ICE_T_LONG, .i = 77};
    assert_int_equal(ice_chunkfile_value(f, 9, 0, &same, NULL), ICE_OK);
    assert_int_equal(same.i, 77);
    assert_int_equal(ice_chunkfile_value(f, 10, rows, &same, NULL), ICE_CACHE);
    ice_chunkfile_close(f);
}

static void chunk_file_round_trip(void **state)
{
    static const uint64_t sizes[][2] = {{0, 7}, {1, 7}, {8, 8}, {1000, 100}, {5000, 2040}, {333, 13}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(write_table(sizes[i][0], sizes[i][1], NULL), ICE_OK);
        check_table(sizes[i][0]);
        check_loose(sizes[i][0]);
        assert_int_equal(files_in_dir(), 1);
    }
}

/* A text column of `words` different values, the shortest an empty one, every `null_step`th row NULL. */
typedef struct wordy {
    uint32_t at, rows, words, null_step;
    char texts[ICE_BATCH_ROWS][16];
    ice_strval strs[ICE_BATCH_ROWS];
    uint8_t validity[ICE_BATCH_ROWS / 8];
    ice_vec vec;
} wordy;

static ice_str word(const wordy *f, uint32_t row, char text[16])
{
    uint32_t w = row * 7919 % f->words;
    return (ice_str){text, w ? (size_t)snprintf(text, 16, "word %u", w) : 0};
}

static bool is_null(const wordy *f, uint32_t row)
{
    return f->null_step && row % f->null_step == 0;
}

static ice_code next_words(void *arg, ice_batch *out, ice_error *err)
{
    wordy *f = arg;
    uint32_t n = f->rows - f->at < ICE_BATCH_ROWS ? f->rows - f->at : ICE_BATCH_ROWS;
    memset(f->validity, 0, sizeof f->validity);
    for (uint32_t i = 0; i < n; i++) {
        ice_str s = word(f, f->at + i, f->texts[i]);
        f->strs[i] = (ice_strval){s.ptr, (uint32_t)s.len};
        f->validity[i / 8] |= (uint8_t)(!is_null(f, f->at + i) << i % 8);
    }
    f->vec = (ice_vec){.type = {.kind = ICE_T_STRING}, .strs = f->strs, .validity = f->validity};
    *out = (ice_batch){.count = n, .vecs = &f->vec, .nvecs = 1};
    f->at += n;
    return ICE_OK;
}

static void check_words(uint32_t rows, uint32_t words, uint32_t null_step, uint32_t expected)
{
    ice_column col = {.field_id = 1, .name = ICE_STR("w"), .type = {.kind = ICE_T_STRING}};
    wordy *w = calloc(1, sizeof *w);
    ice_chunkfile *f;
    ice_vec v;
    *w = (wordy){.rows = rows, .words = words, .null_step = null_step};
    assert_int_equal(ice_chunkfile_write(path, &col, 1, next_words, w, NULL), ICE_OK);
    assert_int_equal(ice_chunkfile_open(path, &f, NULL), ICE_OK);
    assert_true(ice_chunkfile_column(f, 1, &v));
    assert_int_equal(v.words, expected);
    for (uint32_t i = 0; i < rows; i++) {
        char text[16];
        ice_value got;
        ice_vec_get(&v, i, &got);
        assert_int_equal(got.null, is_null(w, i));
        assert_true(got.null || ice_str_eq(got.s, word(w, i, text)));
    }
    ice_chunkfile_close(f);
    free(w);
}

static void few_words_are_a_dictionary(void **state)
{
    check_words(4096, 5, 0, 5);
    check_words(4096, 5, 3, 6); /* NULL's is the last */
    check_words(5000, 1, 1, 1); /* nothing but NULL */
    check_words(5000, ICE_WORDS_MAX - 1, 0, ICE_WORDS_MAX - 1);
    check_words(5000, ICE_WORDS_MAX - 1, 5, ICE_WORDS_MAX);
    check_words(5000, ICE_WORDS_MAX, 0, 0);
    check_words(19, 5, 0, 0); /* not worth it */
    check_words(20, 5, 0, 5);
}

static void vector_constants(void **state)
{
    ice_vec_const mem;
    ice_vec v;
    ice_value got, str = {.kind = ICE_T_STRING, .s = ICE_STR("x")};
    ice_vec_constant((ice_type){.kind = ICE_T_STRING}, &str, &mem, &v);
    ice_vec_get(&v, 77, &got);
    assert_true(ice_value_eq(&got, &str));
    ice_vec_constant((ice_type){.kind = ICE_T_LONG}, NULL, &mem, &v);
    ice_vec_get(&v, 5, &got);
    assert_true(got.null);
}

static ice_code failing_next(void *arg, ice_batch *out, ice_error *err)
{
    return ice_fail(err, ICE_CANCELED, "stopped");
}

static ice_code wrong_type_next(void *arg, ice_batch *out, ice_error *err)
{
    static const int64_t data[1] = {1};
    static const ice_vec v = {.type = {.kind = ICE_T_LONG}, .constant = true, .data = data};
    *out = (ice_batch){.count = 1, .vecs = &v, .nvecs = 1};
    return ICE_OK;
}

static void chunk_file_writer_errors(void **state)
{
    ice_error err = {0};
    make_columns();
    unlink(path);
    assert_int_equal(ice_chunkfile_write(path, columns, 1, failing_next, NULL, &err), ICE_CANCELED);
    assert_int_equal(ice_chunkfile_write(path, columns, 1, wrong_type_next, NULL, &err), ICE_MISUSE);
    assert_non_null(strstr(err.message, "boolean"));
    assert_int_equal(ice_chunkfile_write(path, columns, 2, wrong_type_next, NULL, &err), ICE_MISUSE);
    assert_int_equal(files_in_dir(), 0);
    ice_chunkfile *f;
    assert_int_equal(ice_chunkfile_open(path, &f, &err), ICE_NOT_FOUND);
    assert_int_equal(ice_chunkfile_open(dir, &f, &err), ICE_CORRUPT);
}

/* Each point fails once: an error, and nothing under the final name nor beside it. */
static void chunk_file_faults(void **state)
{
    static const char *points[] = {"*", "store.alloc", "store.write", "store.sync", "store.rename"};
    for (size_t p = 0; p < 5; p++) {
        for (long k = 1;; k++) {
            unlink(path);
            ice_error err = {0};
            ice_fault_arm(points[p], k, false);
            ice_code rc = write_table(100, 64, &err);
            bool fired = ice_fault_hits() >= k;
            ice_fault_disarm();
            if (!fired)
                break;
            assert_int_not_equal(rc, ICE_OK);
            assert_string_not_equal(err.message, "");
            assert_int_equal(files_in_dir(), 0);
        }
    }
    assert_int_equal(write_table(10, 10, NULL), ICE_OK);
    for (long k = 1; k <= 2; k++) {
        ice_chunkfile *f;
        ice_fault_arm("*", k, false);
        assert_int_not_equal(ice_chunkfile_open(path, &f, NULL), ICE_OK);
        ice_fault_disarm();
    }
}

/* ---- hostile bytes ---- */

static uint64_t read_loose(void)
{
    ice_chunkfile *f;
    uint64_t sum = 0;
    if (ice_chunkfile_open_loose(path, &f, NULL) != ICE_OK)
        return 0;
    for (int c = 0; c < NTYPES; c++)
        for (uint64_t r = 0; r < ice_chunkfile_rows(f); r++) {
            ice_value x = {.null = true};
            if (ice_chunkfile_value(f, 10 + c, r, &x, NULL) == ICE_OK && !x.null)
                sum += ice_key_hash(&x, 1);
        }
    ice_chunkfile_close(f);
    return sum;
}

/* Touches everything a reader could. */
static uint64_t read_all(void)
{
    ice_chunkfile *f;
    ice_error err = {0};
    uint64_t sum = read_loose();
    ice_code rc = ice_chunkfile_open(path, &f, &err);
    if (rc) {
        assert_int_equal(rc, ICE_CORRUPT);
        return 0;
    }
    for (int c = 0; c < NTYPES; c++) {
        ice_vec v;
        if (!ice_chunkfile_column(f, 10 + c, &v))
            continue;
        for (uint64_t r = 0; r < ice_chunkfile_rows(f); r++) {
            ice_value x;
            ice_vec_get(&v, r, &x);
            if (x.null)
                continue;
            sum += ice_key_hash(&x, 1);
        }
    }
    ice_chunkfile_close(f);
    return sum;
}

/* Makes the header's checksum right again, so that what it guards is tested too. */
static void fix_crc(char *p, size_t n)
{
    uint32_t ncols, zero = 0;
    memcpy(&ncols, p + 12, 4);
    memcpy(p + 32, &zero, 4);
    if (n < 64 || ncols > (n - 64) / 64)
        return;
    uint32_t crc = ice_crc32(0, p, 64 + ncols * 64);
    memcpy(p + 32, &crc, 4);
}

static void hostile_chunk_files(void **state)
{
    size_t n;
    assert_int_equal(write_table(50, 20, NULL), ICE_OK);
    char *good = slurp(&n), *bad = malloc(n);
    for (int i = 0; i < 3000; i++) {
        memcpy(bad, good, n);
        size_t len = i % 3 ? n : (size_t)rnd(n);
        for (uint64_t k = rnd(4) + (i % 3 != 0); k && len; k--) {
            size_t at = (size_t)(rnd(2) ? rnd(len) : rnd(len < 1100 ? len : 1100));
            bad[at] = (char)(rnd(2) ? (int)rnd(256) : bad[at] ^ (1 << rnd(8)));
        }
        if (i % 2 && len >= 64)
            fix_crc(bad, len);
        if (i % 4 > 1)
            fix_pages(bad, len);
        spill(bad, len);
        read_all();
    }
    for (size_t at = 16; at < 64 + NTYPES * 64; at += 4) { /* every field with extreme values */
        static const uint32_t values[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xffffffc0};
        for (size_t k = 0; k < 6; k++) {
            memcpy(bad, good, n);
            memcpy(bad + at, &values[k], 4);
            fix_crc(bad, n);
            fix_pages(bad, n);
            spill(bad, n);
            read_all();
        }
    }
    free(good);
    free(bad);
}

/* ---- key indexes ---- */

static ice_keypair *make_pairs(size_t n, bool few)
{
    ice_keypair *p = calloc(n + 1, sizeof *p);
    for (size_t i = 0; i < n; i++) {
        uint64_t key = few ? i % 7 : i;
        p[i] = ice_keypair_of(ice_hash64(&key, 8, 0), (uint32_t)i);
    }
    return p;
}

static size_t find_pairs(const ice_keyindex *k, uint64_t hash, const ice_keypair **out)
{
    size_t n = 77;
    assert_int_equal(ice_keyindex_find(k, hash, out, &n, NULL), ICE_OK);
    return n;
}

static void check_index(size_t n, bool few)
{
    ice_keyindex *k;
    ice_keypair *pairs = make_pairs(n, few);
    const ice_keypair *found;
    assert_int_equal(ice_keyindex_write(path, pairs, n, NULL), ICE_OK);
    assert_int_equal(ice_keyindex_open(path, &k, NULL), ICE_OK);
    assert_int_equal(ice_keyindex_count(k), n);
    size_t total = 0;
    for (size_t i = 0; i < (few && n > 7 ? 7 : n); i++) {
        uint64_t key = i;
        size_t m = find_pairs(k, ice_hash64(&key, 8, 0), &found);
        bool itself = false; /* among few others whose hash has the same upper half */
        for (size_t j = 0; j < m; j++) {
            itself |= found[j].position == i;
            assert_true(!few || found[j].position == i + 7 * j);
            assert_true(j == 0 || found[j - 1].position < found[j].position);
        }
        assert_true(itself);
        if (i % 1000 == 0) /* what is let go of is read again */
            ice_keyindex_shed(k);
        total += m;
    }
    assert_in_range(total, n, n + n / 1000);
    for (uint64_t key = 1u << 30; key < (1u << 30) + 1000; key++) {
        assert_int_equal(find_pairs(k, ice_hash64(&key, 8, 0), &found), 0);
        assert_null(found);
    }
    assert_int_equal(find_pairs(k, 0, &found), 0);
    assert_int_equal(find_pairs(k, UINT64_MAX, &found), 0);
    ice_keyindex_close(k);
    free(pairs);
}

static void key_index_round_trip(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 31, 33, 1000, 200000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_index(sizes[i], false);
        check_index(sizes[i], true);
    }
}

/* Hashes at the ends of the range and all alike. */
static void key_index_skewed(void **state)
{
    ice_keypair pairs[300];
    const ice_keypair *found;
    ice_keyindex *k;
    for (uint32_t i = 0; i < 300; i++)
        pairs[i] = (ice_keypair){.hash = i < 100   ? i
                                         : i < 200 ? UINT32_MAX - (i - 100)
                                                   : 5000,
                                 .position = 299 - i};
    assert_int_equal(ice_keyindex_write(path, pairs, 300, NULL), ICE_OK);
    assert_int_equal(ice_keyindex_open(path, &k, NULL), ICE_OK);
    for (uint64_t h = 0; h < 100; h++) {
        assert_int_equal(find_pairs(k, h << 32, &found), 1);
        assert_int_equal(find_pairs(k, UINT64_MAX - (h << 32), &found), 1);
        assert_int_equal(find_pairs(k, (5001 + h) << 32, &found), 0);
    }
    assert_int_equal(find_pairs(k, UINT64_C(5000) << 32 | 77, &found), 100);
    for (uint32_t i = 1; i < 100; i++)
        assert_true(found[i - 1].position < found[i].position);
    ice_keyindex_close(k);
}

static void hostile_key_indexes(void **state)
{
    size_t n;
    ice_keypair *pairs = make_pairs(500, false);
    assert_int_equal(ice_keyindex_write(path, pairs, 500, NULL), ICE_OK);
    char *good = slurp(&n), *bad = malloc(n);
    for (int i = 0; i < 1000; i++) {
        memcpy(bad, good, n);
        size_t len = i % 4 ? n : (size_t)rnd(n);
        for (uint64_t c = 1 + rnd(5); c && len; c--)
            bad[rnd(rnd(2) || len < 64 ? len : 64)] ^= (char)(1 << rnd(8));
        if (i % 2 && len >= 64) { /* a right checksum over wrong fields */
            memset(bad + 12, 0, 4);
            uint32_t crc = ice_crc32(0, bad, 64);
            memcpy(bad + 12, &crc, 4);
        }
        if (i % 4 > 1)
            fix_pages(bad, len);
        spill(bad, len);
        ice_keyindex *k;
        ice_code rc = ice_keyindex_open(path, &k, NULL);
        if (rc) {
            assert_int_equal(rc, ICE_CORRUPT);
            continue;
        }
        for (int j = 0; j < 50; j++) {
            const ice_keypair *found;
            uint32_t h = pairs[rnd(500)].hash;
            size_t m;
            rc = ice_keyindex_find(k, (uint64_t)h << 32, &found, &m, NULL);
            assert_true(rc == ICE_OK || (rc == ICE_CACHE && m == 0));
            for (size_t x = 0; x < m; x++)
                assert_true(found[x].hash == h);
        }
        ice_keyindex_close(k);
    }
    free(good);
    free(bad);
    free(pairs);
}

/* ---- a bit of each byte ---- */

static bool chunk_noticed(void)
{
    ice_chunkfile *f;
    bool noticed = false;
    if (ice_chunkfile_open(path, &f, NULL) != ICE_OK)
        return true;
    for (int c = 0; c < NTYPES; c++)
        noticed |= !ice_chunkfile_good(f, 10 + c);
    ice_chunkfile_close(f);
    return noticed;
}

static bool loose_noticed(void)
{
    ice_chunkfile *f;
    bool noticed = false;
    if (ice_chunkfile_open_loose(path, &f, NULL) != ICE_OK)
        return true;
    for (int c = 0; c < NTYPES; c++)
        for (uint64_t r = 0; r < ice_chunkfile_rows(f) && !noticed; r++) {
            ice_value x;
            noticed = ice_chunkfile_value(f, 10 + c, r, &x, NULL) == ICE_CACHE;
        }
    ice_chunkfile_close(f);
    return noticed;
}

static bool index_noticed(void)
{
    const ice_keypair *found;
    ice_keyindex *k;
    size_t n;
    bool noticed = false;
    if (ice_keyindex_open(path, &k, NULL) != ICE_OK)
        return true;
    for (uint64_t key = 0; key < 500 && !noticed; key++)
        noticed = ice_keyindex_find(k, ice_hash64(&key, 8, 0), &found, &n, NULL) == ICE_CACHE;
    ice_keyindex_close(k);
    return noticed;
}

static void each_bit_of_a_chunk_file(void **state)
{
    assert_int_equal(write_table(50, 20, NULL), ICE_OK);
    assert_false(chunk_noticed() || loose_noticed());
    flip_each_byte(chunk_noticed, 1);
    flip_each_byte(loose_noticed, 7);
}

static void each_bit_of_a_key_index(void **state)
{
    ice_keypair *pairs = make_pairs(500, false);
    assert_int_equal(ice_keyindex_write(path, pairs, 500, NULL), ICE_OK);
    assert_false(index_noticed());
    flip_each_byte(index_noticed, 1);
    free(pairs);
}

/* Pages of their own: what lies in others is read as before. */
static void only_what_is_read_is_looked_at(void **state)
{
    size_t n, len = 5000, m;
    const ice_keypair *found;
    ice_keyindex *k;
    ice_keypair *pairs = make_pairs(len, false);
    assert_int_equal(ice_keyindex_write(path, pairs, len, NULL), ICE_OK);
    char *data = slurp(&n);
    assert_true(n > 2 * 16384 + 4096);
    data[16384 + 100] ^= 1; /* of the second page */
    spill(data, n);
    assert_int_equal(ice_keyindex_open(path, &k, NULL), ICE_OK);
    assert_int_equal(ice_keyindex_find(k, 0, &found, &m, NULL), ICE_OK);
    assert_int_equal(ice_keyindex_find(k, (uint64_t)pairs[3000].hash << 32, &found, &m, NULL), ICE_CACHE);
    assert_int_equal(ice_keyindex_find(k, (uint64_t)pairs[4999].hash << 32, &found, &m, NULL), ICE_OK);
    assert_int_equal(m, 1);
    ice_keyindex_close(k);
    free(data);
    free(pairs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bit_of_a_chunk_file), cmocka_unit_test(each_bit_of_a_key_index),
        cmocka_unit_test(only_what_is_read_is_looked_at),
        cmocka_unit_test(chunk_file_round_trip),    cmocka_unit_test(vector_constants),
        cmocka_unit_test(chunk_file_writer_errors), cmocka_unit_test(chunk_file_faults),
        cmocka_unit_test(hostile_chunk_files),      cmocka_unit_test(few_words_are_a_dictionary),
        cmocka_unit_test(key_index_round_trip),     cmocka_unit_test(key_index_skewed),
        cmocka_unit_test(hostile_key_indexes),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
