/* Avro containers, manifests and manifest lists. */
#include <stdio.h>
#include <stdlib.h>

#include "format/avro.h"
#include "format/manifest.h"
#include "arena_world.h"

/* ---- Avro ---- */

static const char pets[] =
    "{\"type\":\"record\",\"name\":\"pet\",\"fields\":["
    "{\"name\":\"legs\",\"type\":\"int\",\"field-id\":7},"
    "{\"name\":\"extra\",\"type\":{\"type\":\"map\",\"values\":{\"type\":\"array\",\"items\":\"double\"}}},"
    "{\"name\":\"name\",\"type\":[\"null\",\"string\"],\"default\":null,\"field-id\":8},"
    "{\"name\":\"mother\",\"type\":[\"null\",\"pet\"]}]}";

static ice_buf write_pets(int n, bool deflate)
{
    ice_avro_writer *w;
    ice_buf file = {0};
    ice_kv meta = {ICE_STR("who"), ICE_STR("me")};
    assert_int_equal(ice_avro_create(ICE_STR(pets), &meta, 1, deflate, &w, &err), ICE_OK);
    for (int i = 0; i < n; i++) {
        ice_buf *b = ice_avro_record(w);
        ice_avro_put_long(b, i - 5);
        ice_avro_put_long(b, 1); /* extra: {"k": [0.0]} */
        ice_avro_put_bytes(b, ICE_STR("k"));
        ice_avro_put_long(b, 1);
        ice_buf_put_u64(b, 0);
        ice_avro_put_long(b, 0);
        ice_avro_put_long(b, 0);
        ice_avro_put_long(b, i % 2);
        if (i % 2)
            ice_avro_put_bytes(b, ICE_STR("Felix"));
        ice_avro_put_long(b, 0);
        assert_int_equal(ice_avro_end_record(w, &err), ICE_OK);
    }
    assert_int_equal(ice_avro_finish(w, &file, &err), ICE_OK);
    ice_avro_free(w);
    return file;
}

static ice_code read_pets(ice_str bytes, int *n)
{
    ice_avro_reader *r;
    ice_reader *record;
    bool more, present;
    ice_code rc;
    *n = 0;
    if ((rc = ice_avro_open(bytes, ICE_STR("pets.avro"), &r, &err)) != ICE_OK)
        return rc;
    const ice_avro_type *t = ice_avro_schema(r);
    while ((rc = ice_avro_next(r, &record, &more, &err)) == ICE_OK && more && t->kind == ICE_AVRO_RECORD) {
        for (size_t i = 0; i < t->n; i++) {
            if (t->fields[i].field_id == 7)
                (void)ice_avro_long(record, t->fields[i].type, &present);
            else if (t->fields[i].field_id == 8)
                (void)ice_avro_bytes(record, t->fields[i].type, &present);
            else
                ice_avro_skip(record, t->fields[i].type);
        }
        ++*n;
    }
    if (rc == ICE_OK && ice_avro_meta(r, "who").ptr)
        assert_true(ice_avro_meta(r, "who").len <= 2);
    ice_avro_close(r);
    return rc;
}

static void test_avro_roundtrip(void **state)
{
    for (int deflate = 0; deflate < 2; deflate++)
        for (int n = 0; n <= 20000; n += 10000) {
            int got;
            ice_buf file = write_pets(n, deflate);
            assert_int_equal(read_pets(ice_buf_str(&file), &got), ICE_OK);
            assert_int_equal(got, n);
            ice_buf_free(&file);
        }
}

/* A copy of exactly the size, so that the sanitizer sees a read past the end. */
static void read_damaged(ice_code (*read)(ice_str, int *), ice_str bytes)
{
    int n;
    char *copy = malloc(bytes.len + 1);
    assert_non_null(copy);
    memcpy(copy, bytes.ptr, bytes.len);
    ice_code rc = read((ice_str){copy, bytes.len}, &n);
    assert_true(rc == ICE_OK || rc == ICE_CORRUPT || rc == ICE_UNSUPPORTED);
    free(copy);
}

static void read_refused(ice_code (*read)(ice_str, int *), ice_str bytes)
{
    int n;
    ice_code rc = read(bytes, &n);
    assert_true(rc == ICE_CORRUPT);
}

/* Where the seal's name is in the file. */
static char *seal_of(ice_buf *file)
{
    char *name = memmem(file->data, file->len, ICE_AVRO_SEAL, strlen(ICE_AVRO_SEAL));
    assert_non_null(name);
    return name;
}

/* Every bit of a file of ours counts, except of the seal's own name (and its length): without it, a file is another
 * writer's. */
static void every_bit_is_noticed(ice_code (*read)(ice_str, int *), ice_buf *file)
{
    size_t name = (size_t)(seal_of(file) - file->data);
    for (size_t i = 0; i < file->len * 8; i++) {
        if (i / 8 + 1 >= name && i / 8 < name + strlen(ICE_AVRO_SEAL))
            continue;
        file->data[i / 8] ^= (char)(1 << i % 8);
        read_refused(read, ice_buf_str(file));
        file->data[i / 8] ^= (char)(1 << i % 8);
    }
}

/* The file as another writer has it, damaged: nothing is read outside of it. */
static void damage(ice_code (*read)(ice_str, int *), ice_buf *file)
{
    int n0;
    every_bit_is_noticed(read, file);
    *seal_of(file) = 'D';
    assert_int_equal(read(ice_buf_str(file), &n0), ICE_OK);
    for (size_t n = 0; n < file->len; n++)
        read_damaged(read, (ice_str){file->data, n});
    for (size_t i = 0; i < file->len; i++)
        for (int bit = 0; bit < 8; bit += 3) {
            file->data[i] ^= (char)(1 << bit);
            read_damaged(read, ice_buf_str(file));
            file->data[i] ^= (char)(1 << bit);
        }
}

static void test_avro_damage(void **state)
{
    for (int deflate = 0; deflate < 2; deflate++) {
        ice_buf file = write_pets(4, deflate);
        damage(read_pets, &file);
        ice_buf_free(&file);
    }
}

static void test_avro_schemas(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[[\"int\"]]",
        "\"what\"",
        "{\"type\":\"record\"}",
        "{\"type\":\"array\"}",
        "{\"type\":\"fixed\",\"name\":\"f\",\"size\":-1}",
        "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":39,\"scale\":0}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ice_avro_writer *w;
        ice_avro_reader *r;
        ice_buf file = {0};
        assert_int_equal(ice_avro_create(ice_str_c(bad[i]), NULL, 0, false, &w, &err), ICE_OK);
        assert_int_equal(ice_avro_finish(w, &file, &err), ICE_OK);
        assert_int_equal(ice_avro_open(ice_buf_str(&file), ICE_STR("x"), &r, &err), ICE_CORRUPT);
        ice_avro_free(w);
        ice_buf_free(&file);
    }
}

/* Thirty records, each holding the one before twice: 2^30 types that take no byte. */
static void test_avro_bomb(void **state)
{
    ice_avro_writer *w;
    ice_avro_reader *r;
    ice_buf file = {0}, json = {0};
    ice_buf_puts(&json, "{\"type\":\"record\",\"name\":\"t\",\"fields\":[{\"name\":\"a\",\"type\":"
                        "{\"type\":\"record\",\"name\":\"r0\",\"fields\":[]}}");
    for (int i = 1; i < 30; i++)
        ice_buf_printf(&json,
                       ",{\"name\":\"a%d\",\"type\":{\"type\":\"record\",\"name\":\"r%d\",\"fields\":["
                       "{\"name\":\"x\",\"type\":\"r%d\"},{\"name\":\"y\",\"type\":\"r%d\"}]}}",
                       i, i, i - 1, i - 1);
    ice_buf_puts(&json, "]}");
    assert_int_equal(ice_avro_create(ice_buf_str(&json), NULL, 0, false, &w, &err), ICE_OK);
    assert_int_equal(ice_avro_finish(w, &file, &err), ICE_OK);
    assert_int_equal(ice_avro_open(ice_buf_str(&file), ICE_STR("x"), &r, &err), ICE_CORRUPT);
    assert_non_null(strstr(err.message, "too often"));
    ice_avro_free(w);
    ice_buf_free(&file);
    ice_buf_free(&json);
}

/* ---- manifests ---- */

static ice_schema schema;
static ice_partition_spec spec;

static void table(void)
{
    static ice_partition_field fields[4];
    const char *json = "{\"type\":\"struct\",\"schema-id\":4,\"fields\":["
                       "{\"id\":1,\"name\":\"id\",\"required\":true,\"type\":\"long\"},"
                       "{\"id\":2,\"name\":\"price\",\"required\":false,\"type\":\"decimal(9, 2)\"},"
                       "{\"id\":3,\"name\":\"day\",\"required\":false,\"type\":\"timestamptz\"},"
                       "{\"id\":4,\"name\":\"u\",\"required\":false,\"type\":\"uuid\"}]}";
    assert_int_equal(ice_schema_from_json(ice_str_c(json), arena, &schema, &err), ICE_OK);
    fields[0] =
        (ice_partition_field){1, 1000, ICE_STR("id bucket"), {ICE_TR_BUCKET, 4}, ICE_STR_NONE, ICE_STR_NONE};
    fields[1] =
        (ice_partition_field){2, 1001, ICE_STR("price"), {ICE_TR_IDENTITY, 0}, ICE_STR_NONE, ICE_STR_NONE};
    fields[2] = (ice_partition_field){3, 1002, ICE_STR("day"), {ICE_TR_DAY, 0}, ICE_STR_NONE, ICE_STR_NONE};
    fields[3] =
        (ice_partition_field){4, 1003, ICE_STR("u"), {ICE_TR_IDENTITY, 0}, ICE_STR_NONE, ICE_STR_NONE};
    spec = (ice_partition_spec){2, 4, fields};
}

static ice_manifest_entry entry(int i, ice_value *partition, ice_file_column *columns)
{
    ice_manifest_entry e = {.status = ICE_ENTRY_ADDED,
                            .snapshot_id = ICE_UNSET,
                            .sequence_number = ICE_UNSET,
                            .file_sequence_number = ICE_UNSET,
                            .file = ice_data_file_init()};
    partition[0] = (ice_value){.kind = ICE_T_INT, .i = i};
    partition[1] = (ice_value){.kind = ICE_T_DECIMAL, .scale = 2, .dec = 100 - i};
    partition[2] = i == 2 ? ICE_NULL : (ice_value){.kind = ICE_T_DATE, .i = 18000 + i};
    partition[3] = (ice_value){.kind = ICE_T_UUID, .uuid = {(uint8_t)i, 2, 3}};
    columns[0] =
        (ice_file_column){1, 100, 10, 0, ICE_UNSET, {"\1\0\0\0\0\0\0\0", 8}, {"\7\0\0\0\0\0\0\0", 8}, .sum = UINT64_MAX - 7};
    columns[1] = (ice_file_column){2, ICE_UNSET, 10, 3, ICE_UNSET, ICE_STR_NONE, {"\1", 1}, .sum = 1};
    e.file.path = ice_str_c(ice_arena_printf(arena, "file:///w/t/data/%d.parquet", i));
    e.file.format = ICE_STR("parquet");
    e.file.npartition = 4;
    e.file.partition = partition;
    e.file.record_count = 10;
    e.file.size = 1000 + i;
    e.file.ncolumns = 2;
    e.file.columns = columns;
    static int64_t offsets[] = {4, 700};
    e.file.split_offsets = offsets;
    e.file.nsplit_offsets = 2;
    return e;
}

/* ADDED, EXISTING with a first row id, ADDED, DELETED. */
static ice_buf write_manifest(ice_manifest_file *m)
{
    ice_manifest_writer *w;
    ice_value partition[4];
    ice_file_column columns[2];
    ice_buf file = {0};
    table();
    assert_int_equal(ice_manifest_writer_create(&schema, &spec, false, 77, &w, &err), ICE_OK);
    for (int i = 0; i < 4; i++) {
        ice_manifest_entry e = entry(i, partition, columns);
        if (i == 1 || i == 3) {
            e.status = i == 1 ? ICE_ENTRY_EXISTING : ICE_ENTRY_DELETED;
            e.snapshot_id = 5;
            e.sequence_number = 2;
            e.file_sequence_number = 3;
            e.file.first_row_id = 8;
        }
        assert_int_equal(ice_manifest_writer_add(w, &e, &err), ICE_OK);
    }
    assert_int_equal(ice_manifest_writer_count(w), 4);
    assert_int_equal(
        ice_manifest_writer_finish(w, ICE_STR("file:///w/t/metadata/m.avro"), arena, &file, m, &err), ICE_OK);
    ice_manifest_writer_free(w);
    return file;
}

static void test_manifest_roundtrip(void **state)
{
    ice_manifest_file m;
    ice_manifest_entry *e;
    size_t n;
    ice_buf file = write_manifest(&m);
    assert_int_equal(m.added_files, 2);
    assert_int_equal(m.existing_rows, 10);
    assert_int_equal(m.min_sequence_number, 2);
    assert_true(m.partitions[2].contains_null && !m.partitions[0].contains_null);
    assert_int_equal(m.partitions[1].upper.len, 1);
    m.sequence_number = 9;
    m.first_row_id = 1000;
    assert_int_equal(ice_manifest_read(ice_buf_str(&file), &m, &spec, false, arena, &e, &n, &err), ICE_OK);
    assert_int_equal(n, 4);
    assert_int_equal(e[0].snapshot_id, 77);
    assert_int_equal(e[0].sequence_number, 9);
    assert_int_equal(e[0].file.first_row_id, 1000);
    assert_int_equal(e[1].file.first_row_id, 8);
    assert_int_equal(e[1].snapshot_id, 5);
    assert_int_equal(e[1].file_sequence_number, 3);
    assert_int_equal(e[2].file.first_row_id, 1010);
    assert_int_equal(e[3].snapshot_id, 77);
    assert_true(e[0].file.partition[1].dec == 100 && e[0].file.partition[1].scale == 2);
    assert_int_equal(e[1].file.partition[2].kind, ICE_T_DATE);
    assert_true(e[2].file.partition[2].null);
    assert_int_equal(e[3].file.partition[3].uuid[0], 3);
    const ice_file_column *c = ice_data_file_column(&e[0].file, 2);
    assert_non_null(c);
    assert_int_equal(c->nulls, 3);
    assert_int_equal(c->size, ICE_UNSET);
    assert_null(c->lower.ptr);
    assert_int_equal(c->upper.len, 1);
    assert_null(ice_data_file_column(&e[0].file, 9));
    assert_int_equal(e[0].file.split_offsets[1], 700);
    assert_true(ice_str_eqc(e[0].file.format, "parquet"));
    assert_int_equal(ice_manifest_read(ice_buf_str(&file), &m, &spec, true, arena, &e, &n, &err), ICE_OK);
    assert_int_equal(n, 3);
    ice_buf_free(&file);
}

static void test_manifest_rules(void **state)
{
    ice_manifest_writer *w;
    ice_value partition[4];
    ice_file_column columns[2];
    table();
    assert_int_equal(ice_manifest_writer_create(&schema, &spec, false, 77, &w, &err), ICE_OK);
    ice_manifest_entry e = entry(0, partition, columns);
    e.status = ICE_ENTRY_EXISTING;
    assert_int_equal(ice_manifest_writer_add(w, &e, &err), ICE_MISUSE);
    e = entry(0, partition, columns);
    e.file.content = ICE_CONTENT_POSITION_DELETES;
    assert_int_equal(ice_manifest_writer_add(w, &e, &err), ICE_MISUSE);
    e = entry(0, partition, columns);
    e.file.npartition = 1;
    assert_int_equal(ice_manifest_writer_add(w, &e, &err), ICE_MISUSE);
    e = entry(0, partition, columns);
    partition[0].kind = ICE_T_LONG;
    assert_int_equal(ice_manifest_writer_add(w, &e, &err), ICE_MISUSE);
    e = entry(0, partition, columns);
    e.file.format = ICE_STR("puffin");
    assert_int_equal(ice_manifest_writer_add(w, &e, &err), ICE_MISUSE);
    ice_manifest_writer_free(w);
    spec.fields[0].transform = (ice_transform){ICE_TR_UNKNOWN, 0};
    assert_int_equal(ice_manifest_writer_create(&schema, &spec, false, 77, &w, &err), ICE_UNSUPPORTED);
}

static ice_manifest_file damaged_file;

static ice_code read_manifest(ice_str bytes, int *n)
{
    ice_manifest_entry *e;
    size_t count;
    ice_arena *a = ice_arena_create();
    ice_code rc = ice_manifest_read(bytes, &damaged_file, &spec, false, a, &e, &count, &err);
    ice_arena_free(a);
    return rc;
}

static void test_manifest_damage(void **state)
{
    ice_buf file = write_manifest(&damaged_file);
    damaged_file.sequence_number = 9;
    damage(read_manifest, &file);
    ice_buf_free(&file);
}

/* ---- manifest lists ---- */

static ice_code read_list(ice_str bytes, int *n)
{
    ice_manifest_file *m;
    size_t count;
    ice_arena *a = ice_arena_create();
    ice_code rc = ice_manifest_list_read(bytes, ICE_STR("snap.avro"), a, &m, &count, &err);
    ice_arena_free(a);
    return rc;
}

/* The example of the spec's "Row lineage example". */
static void test_manifest_list(void **state)
{
    ice_manifest_file m[4], *back;
    ice_buf file = {0};
    int64_t added;
    size_t n;
    for (int i = 0; i < 4; i++)
        m[i] = (ice_manifest_file){.path = ice_str_c(ice_arena_printf(arena, "file:///m%d.avro", i)),
                                   .length = 10,
                                   .sequence_number = ICE_UNSET,
                                   .min_sequence_number = ICE_UNSET,
                                   .added_snapshot_id = 7,
                                   .first_row_id = ICE_UNSET};
    m[0].sequence_number = m[0].min_sequence_number = 1;
    m[0].added_rows = 75;
    m[0].first_row_id = 925;
    m[1].added_rows = 100;
    m[1].existing_rows = 25;
    m[2].existing_rows = 100;
    m[3].deletes = true;
    m[3].added_rows = 3;
    ice_manifest_file order[5] = {m[3], m[0], m[1], m[2], m[1]};
    order[4].added_rows = 125;
    order[4].npartitions = 1;
    order[4].partitions = &(ice_field_summary){false, -1, {"ab", 2}, {"", 0}};
    assert_int_equal(ice_manifest_list_write(8, 7, 5, 1000, order, 5, &file, &added, &err), ICE_OK);
    assert_int_equal(added, 375);
    assert_int_equal(order[3].first_row_id, 1125);
    assert_int_equal(ice_manifest_list_read(ice_buf_str(&file), ICE_STR("l"), arena, &back, &n, &err),
                     ICE_OK);
    assert_int_equal(n, 5);
    assert_int_equal(back[0].first_row_id, 925);
    assert_int_equal(back[0].sequence_number, 1);
    assert_int_equal(back[1].first_row_id, 1000);
    assert_int_equal(back[1].sequence_number, 5);
    assert_int_equal(back[1].min_sequence_number, 5);
    assert_int_equal(back[3].first_row_id, 1225);
    assert_int_equal(back[3].partitions[0].contains_nan, -1);
    assert_true(ice_str_eqc(back[3].partitions[0].lower, "ab"));
    assert_true(back[3].partitions[0].upper.ptr && back[3].partitions[0].upper.len == 0);
    assert_true(back[4].deletes);
    assert_int_equal(back[4].first_row_id, ICE_UNSET);
    damage(read_list, &file);
    ice_buf_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_avro_roundtrip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_avro_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_avro_schemas, setup, teardown),
        cmocka_unit_test_setup_teardown(test_avro_bomb, setup, teardown),
        cmocka_unit_test_setup_teardown(test_manifest_roundtrip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_manifest_rules, setup, teardown),
        cmocka_unit_test_setup_teardown(test_manifest_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_manifest_list, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
