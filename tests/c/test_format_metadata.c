/* Table metadata: reading without trust, editing, writing. */
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "format/metadata.h"
#include "arena_world.h"

static ice_schema two_columns(int32_t id)
{
    ice_schema s;
    char json[512];
    snprintf(json, sizeof json,
             "{\"type\":\"struct\",\"schema-id\":%d,\"identifier-field-ids\":[1],\"fields\":[{\"id\":1,"
             "\"name\":\"id\","
             "\"required\":true,\"type\":\"long\"},{\"id\":2,\"name\":\"c%d\",\"required\":false,\"type\":"
             "\"string\"}]}",
             id, id);
    assert_int_equal(ice_schema_from_json(ice_str_c(json), arena, &s, &err), ICE_OK);
    return s;
}

static ice_metadata *fresh(void)
{
    ice_schema s = two_columns(0);
    ice_metadata *m;
    assert_int_equal(
        ice_metadata_create(arena, ice_uuid_random(), ICE_STR("file:///w/t/"), &s, 1000, &m, &err), ICE_OK);
    return m;
}

static int64_t add_snapshot(ice_metadata *m, int64_t at, int64_t rows)
{
    ice_kv summary[] = {{ICE_STR("operation"), ICE_STR("append")}, {ICE_STR("added-records"), ICE_STR("5")}};
    ice_snapshot s = {.id = ice_metadata_new_snapshot_id(m),
                      .timestamp_ms = at,
                      .manifest_list = ICE_STR("file:///w/t/metadata/snap-1.avro"),
                      .nsummary = 2,
                      .summary = summary,
                      .schema_id = -1,
                      .added_rows = rows};
    assert_int_equal(ice_metadata_add_snapshot(m, &s, &err), ICE_OK);
    return s.id;
}

static ice_str to_json(const ice_metadata *m)
{
    ice_buf b = {0};
    assert_int_equal(ice_metadata_to_json(m, &b, &err), ICE_OK);
    ice_str s = ice_arena_str(arena, ice_buf_str(&b));
    ice_buf_free(&b);
    return s;
}

/* Every bit of what is written is noticed; another writer's file, which has no seal, is read. */
static void test_seal(void **state)
{
    ice_metadata *m = fresh(), *back;
    (void)add_snapshot(m, 2000, 5);
    ice_str text = to_json(m), name = ICE_STR(",\"django-iceberg.xxh3\":");
    char *bytes = malloc(text.len);
    memcpy(bytes, text.ptr, text.len);
    char *seal = memmem(bytes, text.len, name.ptr, name.len);
    assert_non_null(seal);
    for (size_t i = 0; i < text.len * 8; i++) {
        if (bytes + i / 8 >= seal && bytes + i / 8 < seal + name.len)
            continue; /* without its name it is none */
        bytes[i / 8] ^= (char)(1 << i % 8);
        assert_int_equal(ice_metadata_parse((ice_str){bytes, text.len}, arena, &back, &err), ICE_CORRUPT);
        bytes[i / 8] ^= (char)(1 << i % 8);
    }
    assert_int_equal(ice_metadata_parse((ice_str){bytes, text.len}, arena, &back, &err), ICE_OK);
    *seal = '}';
    assert_int_equal(ice_metadata_parse((ice_str){bytes, (size_t)(seal - bytes) + 1}, arena, &back, &err), ICE_OK);
    free(bytes);
}

static void test_life(void **state)
{
    ice_metadata *m = fresh(), *back;
    int64_t first = add_snapshot(m, 2000, 5), second = add_snapshot(m, 1500, 7);
    const ice_snapshot *s = ice_metadata_current_snapshot(m);
    assert_int_equal(s->id, second);
    assert_int_equal(s->parent_id, first);
    assert_int_equal(s->sequence_number, 2);
    assert_int_equal(s->first_row_id, 5);
    assert_int_equal(s->timestamp_ms, 2000); /* raised to its parent's */
    assert_int_equal(m->next_row_id, 12);
    assert_true(ice_str_eqc(m->location, "file:///w/t"));
    ice_schema next = two_columns(1);
    assert_int_equal(ice_metadata_set_schema(m, &next, 9, &err), ICE_OK);
    assert_int_equal(m->last_column_id, 9);
    next.fields[0].name = ICE_STR("other");
    assert_int_equal(ice_metadata_set_schema(m, &next, 9, &err), ICE_CONFLICT);
    assert_int_equal(ice_metadata_set_property(m, ICE_STR("a"), ICE_STR("1"), &err), ICE_OK);
    assert_int_equal(ice_metadata_set_property(m, ICE_STR("b"), ICE_STR("2"), &err), ICE_OK);
    assert_int_equal(ice_metadata_set_property(m, ICE_STR("a"), ICE_STR_NONE, &err), ICE_OK);
    assert_int_equal(ice_metadata_set_property(m, ICE_STR("b"), ICE_STR("3"), &err), ICE_OK);
    assert_int_equal(
        ice_metadata_log_previous(m, ICE_STR("file:///w/t/metadata/0.json"), 5000, 10, NULL, NULL, &err),
        ICE_OK);
    ice_str json = to_json(m);
    assert_int_equal(ice_metadata_parse(json, arena, &back, &err), ICE_OK);
    assert_true(ice_str_eq(json, to_json(back)));
    assert_int_equal(back->nschemas, 2);
    assert_true(ice_str_eqc(ice_metadata_property(back, "b"), "3"));
    assert_null(ice_metadata_property(back, "a").ptr);
    assert_true(
        ice_str_eqc(ice_snapshot_summary(ice_metadata_current_snapshot(back), "operation"), "append"));
    assert_int_equal(back->last_updated_ms, 5000);
    assert_int_equal(ice_metadata_snapshot_at(back, 1999) == NULL, 1);
    assert_int_equal(ice_metadata_snapshot_at(back, 2000)->id, second);
}

static void test_expire(void **state)
{
    ice_metadata *m = fresh();
    ice_snapshot *removed;
    size_t n;
    int64_t ids[6];
    for (int i = 0; i < 6; i++)
        ids[i] = add_snapshot(m, 1000 * (i + 1), 1);
    m->refs = memcpy(ICE_NEW_N(arena, ice_meta_ref, 2), m->refs, sizeof *m->refs);
    m->refs[m->nrefs++] = (ice_meta_ref){ICE_STR("v1"), ids[1], true, ICE_UNSET, ICE_UNSET, ICE_UNSET};
    assert_int_equal(ice_metadata_expire(m, 2, 4000, &removed, &n, &err), ICE_OK);
    assert_int_equal(n, 2); /* 1 and 3: 2 is tagged, 4 is since, 5 and 6 are newest */
    assert_int_equal(removed[0].id, ids[0]);
    assert_int_equal(removed[1].id, ids[2]);
    assert_int_equal(m->nsnapshots, 4);
    assert_int_equal(m->nsnapshot_log, 3);
    assert_int_equal(ice_metadata_expire(m, 1, INT64_MAX, &removed, &n, &err), ICE_OK);
    assert_int_equal(m->nsnapshots, 2);
    assert_int_equal(ice_metadata_current_snapshot(m)->id, ids[5]);
    ice_metadata *back;
    assert_int_equal(ice_metadata_parse(to_json(m), arena, &back, &err), ICE_OK);
    assert_int_equal(back->nrefs, 2);
}

/* One commit as a flush makes it, with all that a snapshot of ours says. */
static void commit(ice_metadata *m, int i)
{
    ice_kv summary[16] = {{ICE_STR("operation"), ICE_STR("overwrite")}};
    ice_snapshot s = {.id = ice_metadata_new_snapshot_id(m), .timestamp_ms = 1000 * i, .nsummary = 16};
    ice_snapshot *removed;
    ice_str *dropped;
    size_t n;
    for (int k = 1; k < 16; k++)
        summary[k] = (ice_kv){ice_str_c(ice_arena_printf(m->arena, "total-number-of-things-%d", k)),
                              ice_str_c(ice_arena_printf(m->arena, "%d", 1000000 + i * k))};
    s.summary = summary;
    s.schema_id = m->current_schema_id;
    s.manifest_list = ice_str_c(ice_arena_printf(
        m->arena, "file:///a/long/path/of/a/warehouse/namespace/table-%032d/metadata/snap-%020d-1-%036d.avro", 7, i, i));
    assert_int_equal(ice_metadata_add_snapshot(m, &s, &err), ICE_OK);
    assert_int_equal(ice_metadata_expire(m, 100, INT64_MAX, &removed, &n, &err), ICE_OK);
    ice_str from = ice_str_c(
        ice_arena_printf(m->arena, "file:///a/long/path/of/a/warehouse/namespace/table-%032d/metadata/%05d-%036d.metadata.json", 7, i, i));
    assert_int_equal(ice_metadata_log_previous(m, from, 1000 * i, 50, &dropped, &n, &err), ICE_OK);
}

/* Invariant 8: a metadata file does not grow with the commits. */
static void test_bounded(void **state)
{
    ice_buf file = {0};
    size_t settled = 0;
    ice_metadata *m = fresh();
    assert_int_equal(ice_metadata_to_json(m, &file, &err), ICE_OK);
    for (int i = 1; i <= 3000; i += 10) {
        ice_arena *a = ice_arena_create();
        assert_int_equal(ice_metadata_parse(ice_buf_str(&file), a, &m, &err), ICE_OK);
        for (int k = i; k < i + 10; k++)
            commit(m, k);
        ice_buf_clear(&file);
        assert_int_equal(ice_metadata_to_json(m, &file, &err), ICE_OK);
        assert_true(file.len < 1 << 20);
        assert_true(m->nsnapshots <= 100 && m->nsnapshot_log <= 100 && m->nmetadata_log <= 50);
        if (i < 200)
            settled = file.len;
        assert_true(i < 200 || file.len < settled + 4096); /* numbers get longer */
        ice_arena_free(a);
    }
    assert_true(settled > 100 * 500);
    ice_buf_free(&file);
}

static void test_logs_and_names(void **state)
{
    ice_metadata *m = fresh();
    ice_str *dropped = NULL, location;
    size_t n = 0;
    for (int i = 0; i < 5; i++) {
        ice_str name = ice_str_c(ice_arena_printf(arena, "f%d", i));
        assert_int_equal(ice_metadata_log_previous(m, name, 2000 + i, 3, &dropped, &n, &err), ICE_OK);
    }
    assert_int_equal(m->nmetadata_log, 3);
    assert_int_equal(n, 1);
    assert_true(ice_str_eqc(dropped[0], "f1"));
    assert_int_equal(ice_metadata_location(arena, m->location, 12, m->uuid, &location, &err), ICE_OK);
    assert_int_equal(ice_metadata_version_of(location), 12);
    assert_int_equal(ice_metadata_version_of(ICE_STR("/x/v3.metadata.json")), 3);
    assert_int_equal(ice_metadata_version_of(ICE_STR("/x/abc.json")), -1);
}

static void test_specs(void **state)
{
    ice_metadata *m = fresh();
    ice_partition_field f[2] = {{.source_id = 1, .name = ICE_STR("b"), .transform = {ICE_TR_BUCKET, 4}},
                                {.source_id = 2, .name = ICE_STR("c"), .transform = {ICE_TR_IDENTITY, 0}}};
    int32_t id, again;
    assert_int_equal(ice_metadata_add_spec(m, &(ice_partition_spec){0, 1, f}, true, &id, &err), ICE_OK);
    assert_int_equal(id, 1);
    assert_int_equal(ice_metadata_add_spec(m, &(ice_partition_spec){0, 1, f}, true, &again, &err), ICE_OK);
    assert_int_equal(again, 1);
    assert_int_equal(ice_metadata_add_spec(m, &(ice_partition_spec){0, 2, f}, false, &id, &err), ICE_OK);
    assert_int_equal(id, 2);
    assert_int_equal(ice_metadata_spec(m, 2)->fields[0].field_id, 1000);
    assert_int_equal(ice_metadata_spec(m, 2)->fields[1].field_id, 1001);
    assert_int_equal(m->last_partition_id, 1001);
    assert_int_equal(m->default_spec_id, 1);
    ice_sort_field sf = {
        .source_id = 2, .transform = {ICE_TR_IDENTITY, 0}, .descending = true, .nulls_last = true};
    assert_int_equal(ice_metadata_add_sort_order(m, &(ice_sort_order){0, 1, &sf}, true, &id, &err), ICE_OK);
    assert_int_equal(id, 1);
    assert_int_equal(ice_metadata_add_sort_order(m, &(ice_sort_order){0, 0, NULL}, true, &id, &err), ICE_OK);
    assert_int_equal(id, 0);
    ice_metadata *back;
    assert_int_equal(ice_metadata_parse(to_json(m), arena, &back, &err), ICE_OK);
    assert_true(ice_str_eq(to_json(m), to_json(back)));
    assert_true(back->orders[1].fields[0].descending && back->orders[1].fields[0].nulls_last);
}

/* A version-1 table as the oldest writers made it, then one as PyIceberg writes version 2. */
static const char v1[] =
    "{\"format-version\":1,\"location\":\"s3://b/t\",\"last-updated-ms\":1,\"last-column-id\":2,"
    "\"schema\":{\"type\":\"struct\",\"fields\":[{\"id\":1,\"name\":\"x\",\"required\":true,\"type\":\"int\"}"
    "]},"
    "\"partition-spec\":[{\"source-id\":1,\"transform\":\"bucket[8]\",\"name\":\"p\"}],\"properties\":{},"
    "\"current-snapshot-id\":-1,\"snapshots\":[{\"snapshot-id\":5,\"timestamp-ms\":1,\"manifests\":[\"s3://"
    "m\"]}]}";
static const char v2[] =
    "{\"format-version\":2,\"table-uuid\":\"9c12d441-03fe-4693-9a96-a0705ddf69c1\",\"location\":\"s3://b/t\","
    "\"last-sequence-number\":34,\"last-updated-ms\":1602638573590,\"last-column-id\":3,\"current-schema-"
    "id\":1,"
    "\"schemas\":[{\"type\":\"struct\",\"schema-id\":1,\"fields\":[{\"id\":1,\"name\":\"x\",\"required\":"
    "true,\"type\":"
    "\"long\"}]}],\"default-spec-id\":0,\"partition-specs\":[{\"spec-id\":0,\"fields\":[]}],\"last-partition-"
    "id\":1000,"
    "\"default-sort-order-id\":3,\"sort-orders\":[{\"order-id\":3,\"fields\":[{\"transform\":\"identity\","
    "\"source-id\":1,"
    "\"direction\":\"asc\",\"null-order\":\"nulls-first\"}]}],\"properties\":{\"k\":\"v\"},"
    "\"current-snapshot-id\":3055729675574597004,\"snapshots\":[{\"snapshot-id\":3055729675574597004,"
    "\"sequence-number\":1,\"timestamp-ms\":1555100955770,\"summary\":{\"operation\":\"append\"},"
    "\"manifest-list\":\"s3://a/b/2.avro\",\"schema-id\":1}],\"snapshot-log\":[],\"metadata-log\":[],"
    "\"statistics\":[{\"snapshot-id\":3055729675574597004,\"statistics-path\":\"s3://"
    "x\",\"blob-metadata\":[]}]}";

static void test_old_versions(void **state)
{
    ice_metadata *m, *back;
    assert_int_equal(ice_metadata_parse(ICE_STR(v1), arena, &m, &err), ICE_OK);
    assert_int_equal(m->nspecs, 1);
    assert_int_equal(m->specs[0].fields[0].field_id, 1000);
    assert_int_equal(m->current_snapshot_id, ICE_UNSET);
    assert_int_equal(ice_metadata_upgrade(m, &err), ICE_UNSUPPORTED);
    assert_int_equal(ice_metadata_parse(ICE_STR(v2), arena, &m, &err), ICE_OK);
    assert_int_equal(m->nrefs, 1);
    assert_int_equal(ice_metadata_upgrade(m, &err), ICE_OK);
    add_snapshot(m, 1555100955771, 0);
    assert_int_equal(ice_metadata_parse(to_json(m), arena, &back, &err), ICE_OK);
    assert_int_equal(back->format_version, 3);
    assert_int_equal(back->last_sequence_number, 35);
    assert_int_equal(back->nstatistics, 1);
}

static void expect_corrupt(const char *from, const char *to, const char *message)
{
    const char *at = strstr(v2, from);
    ice_metadata *m;
    assert_non_null(at);
    char *text = ice_arena_printf(arena, "%.*s%s%s", (int)(at - v2), v2, to, at + strlen(from));
    ice_code rc = ice_metadata_parse(ice_str_c(text), arena, &m, &err);
    if (rc != ICE_CORRUPT || !strstr(err.message, message))
        print_message("%s -> %s: %d %s\n", from, to, rc, err.message);
    assert_int_equal(rc, ICE_CORRUPT);
    assert_non_null(strstr(err.message, message));
}

static void test_hostile(void **state)
{
    ice_metadata *m;
    expect_corrupt("\"long\"", "7", "$.schemas[0].fields[0].type");
    expect_corrupt("\"sequence-number\":1,", "", "$.snapshots[0].sequence-number: is missing");
    expect_corrupt("\"sequence-number\":1,", "\"sequence-number\":35,", "last-sequence-number");
    expect_corrupt("\"current-schema-id\":1", "\"current-schema-id\":2", "$.current-schema-id");
    expect_corrupt("\"default-spec-id\":0", "\"default-spec-id\":2", "$.default-spec-id");
    expect_corrupt("\"current-snapshot-id\":3055729675574597004", "\"current-snapshot-id\":3",
                   "$.current-snapshot-id");
    expect_corrupt("9c12d441", "xxx", "$.table-uuid");
    expect_corrupt("{\"k\":\"v\"}", "{\"k\":1}", "$.properties.k: a string");
    expect_corrupt("\"asc\"", "\"up\"", "$.sort-orders[0].fields[0].direction");
    expect_corrupt("1602638573590", "-1", "$.last-updated-ms");
    expect_corrupt("\"last-column-id\":3", "\"last-column-id\":3000000000", "out of range");
    expect_corrupt("[{\"spec-id\":0,\"fields\":[]}]", "{}", "$.partition-specs: a list");
    expect_corrupt("{\"format", "[{\"format", "JSON");
    assert_int_equal(ice_metadata_parse(ICE_STR("{\"format-version\":4}"), arena, &m, &err), ICE_UNSUPPORTED);
    assert_int_equal(ice_metadata_parse(ICE_STR(""), arena, &m, &err), ICE_CORRUPT);
    assert_int_equal(ice_metadata_parse(ICE_STR("[]"), arena, &m, &err), ICE_CORRUPT);
    /* Every cut is an error, none a crash. */
    for (size_t n = 0; n + 1 < sizeof v2 - 1; n += 3)
        assert_int_equal(ice_metadata_parse((ice_str){v2, n}, arena, &m, &err), ICE_CORRUPT);
}

static void test_gzip(void **state)
{
    char packed[4096];
    z_stream z = {.next_in = (Bytef *)v2,
                  .avail_in = sizeof v2 - 1,
                  .next_out = (Bytef *)packed,
                  .avail_out = sizeof packed};
    ice_metadata *m;
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = sizeof packed - z.avail_out;
    deflateEnd(&z);
    assert_int_equal(ice_metadata_parse((ice_str){packed, n}, arena, &m, &err), ICE_OK);
    assert_int_equal(m->last_sequence_number, 34);
    assert_int_equal(ice_metadata_parse((ice_str){packed, n - 9}, arena, &m, &err), ICE_CORRUPT);
}

static void test_misuse(void **state)
{
    ice_metadata *m = fresh();
    ice_snapshot s = {.id = 1, .manifest_list = ICE_STR("x")};
    assert_int_equal(ice_metadata_add_snapshot(m, &s, &err), ICE_MISUSE);
    assert_int_equal(ice_metadata_set_property(m, ICE_STR("k"), (ice_str){"\xff\xfe", 2}, &err), ICE_OK);
    ice_buf b = {0};
    assert_int_equal(ice_metadata_to_json(m, &b, &err), ICE_BAD_VALUE);
    ice_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_seal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expire, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logs_and_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_specs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gzip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_misuse, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
