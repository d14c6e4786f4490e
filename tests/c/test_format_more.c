/* The C side of tests/python/test_format_foreign.py, which runs it and reads what it writes with other
 * libraries, and the other way round. Without these variables there is nothing to do.
 *
 *   ICE_FIXTURE_DIR: a directory with data/{a,b,c}.parquet; a table of them is written to metadata/
 *   ICE_FOREIGN_METADATA: a metadata file of another writer; its live files are printed */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "format/manifest.h"
#include "format/puffin.h"

#define SKIPPED 77
#define ROWS 5

static ice_error err;
static ice_arena *arena;
static const char *dir;

static void ok(ice_code rc)
{
    if (rc != ICE_OK) {
        fprintf(stderr, "%s: %s\n", ice_code_name(rc), err.message);
        exit(1);
    }
}

static ice_str path_of(ice_str location) /* "file:///x" -> "/x" */
{
    return location.len > 7 && memcmp(location.ptr, "file://", 7) == 0
               ? ice_arena_str(arena, (ice_str){location.ptr + 7, location.len - 7})
               : location;
}

static void write_file(ice_str location, const ice_buf *b)
{
    FILE *f = fopen(path_of(location).ptr, "wb");
    if (!f || fwrite(b->data, 1, b->len, f) != b->len || fclose(f) != 0) {
        perror(location.ptr);
        exit(1);
    }
}

static ice_str read_file(ice_str location)
{
    FILE *f = fopen(path_of(location).ptr, "rb");
    if (!f) {
        perror(location.ptr);
        exit(1);
    }
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    char *p = ice_arena_alloc(arena, n + 1);
    rewind(f);
    if (fread(p, 1, n, f) != n)
        exit(1);
    fclose(f);
    return (ice_str){p, n};
}

static ice_str location(const char *name)
{
    return ice_str_c(ice_arena_printf(arena, "file://%s/%s", dir, name));
}

/* ---- the table ---- */

static void add_column(ice_tabledef *d, const char *name, const char *type, ice_column c)
{
    c.name = ice_str_c(name);
    ok(ice_column_set_sql_type(&c, arena, ice_str_c(type), &err));
    ok(ice_tabledef_add_column(d, &c, &err));
}

static ice_tabledef *first_definition(void)
{
    ice_tabledef *d = ice_tabledef_create(ICE_STR("book"));
    int32_t key = 1;
    ice_constraint pk = {.kind = ICE_CON_PRIMARY, .name = ICE_STR("pk"), .ncols = 1, .field_ids = &key};
    add_column(d, "id", "bigint", (ice_column){.not_null = true});
    add_column(d, "name", "varchar(20)", (ice_column){0});
    ok(ice_tabledef_add_constraint(d, &pk, &err));
    return d;
}

/* Columns with an initial default of each kind that has one in JSON. */
static ice_tabledef *second_definition(const ice_tabledef *first)
{
    ice_tabledef *d = ice_tabledef_clone(first, true);
    ice_column c = {.has_initial = true, .not_null = true, .default_sql = ICE_STR("19.99")};
    c.initial = (ice_value){.kind = ICE_T_DECIMAL, .scale = 2, .dec = 1999};
    add_column(d, "price", "numeric(9, 2)", c);
    c = (ice_column){.has_initial = true, .initial = {.kind = ICE_T_STRING, .s = ICE_STR("none")}};
    add_column(d, "note", "text", c);
    c = (ice_column){.has_initial = true, .initial = {.kind = ICE_T_BOOL, .b = true}};
    add_column(d, "flag", "boolean", c);
    c = (ice_column){.has_initial = true, .initial = {.kind = ICE_T_DATE, .i = 19000}};
    add_column(d, "born", "date", c);
    c = (ice_column){.has_initial = true, .initial = {.kind = ICE_T_TIMESTAMPTZ, .i = 1500000000000000}};
    add_column(d, "seen", "timestamp with time zone", c);
    return d;
}

static ice_str bound(int64_t v)
{
    ice_buf b = {0};
    ice_value value = {.kind = ICE_T_LONG, .i = v};
    ok(ice_single_to_binary(&value, (ice_type){.kind = ICE_T_LONG}, &b, &err));
    ice_str s = ice_arena_str(arena, ice_buf_str(&b));
    ice_buf_free(&b);
    return s;
}

static ice_manifest_entry data_entry(const char *name, int64_t first_id)
{
    struct stat st;
    ice_manifest_entry e = {ICE_ENTRY_ADDED, ICE_UNSET, ICE_UNSET, ICE_UNSET, ice_data_file_init()};
    e.file.path = location(name);
    e.file.format = ICE_STR("parquet");
    e.file.record_count = ROWS;
    if (stat(path_of(e.file.path).ptr, &st) != 0)
        exit(1);
    e.file.size = st.st_size;
    e.file.columns = ICE_NEW(arena, ice_file_column);
    e.file.columns[0] =
        (ice_file_column){1, ICE_UNSET, ROWS, 0, ICE_UNSET, bound(first_id), bound(first_id + ROWS - 1), 0};
    e.file.ncolumns = 1;
    return e;
}

static ice_manifest_file write_manifest(const ice_metadata *m, int32_t spec_id, bool deletes,
                                        int64_t snapshot, const char *name, const ice_manifest_entry *e)
{
    ice_manifest_writer *w;
    ice_manifest_file out;
    ice_buf b = {0};
    ok(ice_manifest_writer_create(ice_metadata_current_schema(m), ice_metadata_spec(m, spec_id), deletes,
                                  snapshot, &w, &err));
    ok(ice_manifest_writer_add(w, e, &err));
    ok(ice_manifest_writer_finish(w, location(name), arena, &b, &out, &err));
    write_file(out.path, &b);
    ice_manifest_writer_free(w);
    ice_buf_free(&b);
    return out;
}

static void add_snapshot(ice_metadata *m, int64_t id, const char *name, const char *operation,
                         ice_manifest_file *files, size_t n)
{
    ice_buf b = {0};
    ice_kv summary[] = {{ICE_STR("operation"), ice_str_c(operation)}};
    ice_snapshot s = {.id = id,
                      .timestamp_ms = 1700000000000 + id,
                      .manifest_list = location(name),
                      .nsummary = 1,
                      .summary = summary,
                      .schema_id = -1};
    ok(ice_manifest_list_write(id, m->current_snapshot_id, ice_metadata_next_sequence(m), m->next_row_id,
                               files, n, &b, &s.added_rows, &err));
    write_file(s.manifest_list, &b);
    ice_buf_free(&b);
    ok(ice_metadata_add_snapshot(m, &s, &err));
}

static ice_manifest_entry deletion_vector(const ice_manifest_entry *data)
{
    ice_manifest_entry e = {ICE_ENTRY_ADDED, ICE_UNSET, ICE_UNSET, ICE_UNSET, ice_data_file_init()};
    ice_puffin_writer *w = ice_puffin_create();
    ice_dv *d = ice_dv_create(), *other = ice_dv_create();
    ice_buf b = {0};
    int64_t ignored;
    ok(ice_dv_add(other, 4, &err)); /* another file's vector lies before ours */
    ok(ice_dv_add(d, 1, &err));
    ok(ice_dv_add(d, 3, &err));
    ok(ice_puffin_add_dv(w, other, ICE_STR("file:///nowhere.parquet"), &ignored, &ignored, &err));
    ok(ice_puffin_add_dv(w, d, data->file.path, &e.file.content_offset, &e.file.content_size, &err));
    ok(ice_puffin_finish(w, &b, NULL, &err));
    e.file.path = location("data/dv.puffin");
    write_file(e.file.path, &b);
    e.file.content = ICE_CONTENT_POSITION_DELETES;
    e.file.format = ICE_STR("puffin");
    e.file.record_count = 2;
    e.file.size = (int64_t)b.len;
    e.file.referenced_data_file = data->file.path;
    ice_buf_free(&b);
    ice_dv_free(d);
    ice_dv_free(other);
    ice_puffin_free(w);
    return e;
}

static void write_metadata(const ice_metadata *m, const char *name)
{
    ice_buf json = {0};
    ok(ice_metadata_to_json(m, &json, &err));
    write_file(location(name), &json);
    ice_buf_free(&json);
}

/* Snapshot 1: a.parquet, of the first schema. Snapshot 2: the second schema, b.parquet, two rows of a
 * deleted, and c.parquet, whose _row_start is a partition value only. */
static void write_table(void)
{
    ice_tabledef *first = first_definition(), *second = second_definition(first);
    ice_schema schema;
    ice_metadata *m;
    ice_manifest_file files[4];
    int32_t spec;
    ice_value row_start = {.kind = ICE_T_TIMESTAMPTZ, .i = 1600000000123456};
    ice_partition_field field = {
        ICE_FIELD_ROW_START, 0, ICE_STR("_row_start"), {ICE_TR_IDENTITY, 0}, ICE_STR_NONE, ICE_STR_NONE};
    ok(ice_schema_of_table(first, arena, &schema, &err));
    ok(ice_metadata_create(arena, first->uuid, location(""), &schema, 1700000000000, &m, &err));
    write_metadata(m, "metadata/00000-x.metadata.json");
    ice_manifest_entry a = data_entry("data/a.parquet", 1), b = data_entry("data/b.parquet", 6),
                       c = data_entry("data/c.parquet", 11);
    files[0] = write_manifest(m, 0, false, 1, "metadata/m1.avro", &a);
    add_snapshot(m, 1, "metadata/snap-1.avro", "append", files, 1);
    ok(ice_schema_of_table(second, arena, &schema, &err));
    ok(ice_metadata_set_schema(m, &schema, second->last_field_id, &err));
    ok(ice_metadata_add_spec(m, &(ice_partition_spec){0, 1, &field}, false, &spec, &err));
    c.file.npartition = 1;
    c.file.partition = &row_start;
    files[1] = write_manifest(m, 0, false, 2, "metadata/m2.avro", &b);
    files[2] = write_manifest(m, spec, false, 2, "metadata/m3.avro", &c);
    ice_manifest_entry dv = deletion_vector(&a);
    files[3] = write_manifest(m, 0, true, 2, "metadata/m4.avro", &dv);
    add_snapshot(m, 2, "metadata/snap-2.avro", "overwrite", files, 4);
    ok(ice_metadata_set_property(m, ICE_STR("owner"), ICE_STR("f\xc3\xbcr \"uns\""), &err));
    ok(ice_metadata_log_previous(m, location("metadata/00000-x.metadata.json"), 1700000000009, 10, NULL, NULL,
                                 &err));
    write_metadata(m, "metadata/00001-x.metadata.json");
    ice_tabledef_free(first);
    ice_tabledef_free(second);
}

/* ---- another writer's table ---- */

static void print_file(const ice_metadata *m, const ice_manifest_entry *e)
{
    const ice_data_file *f = &e->file;
    ice_buf b = {0};
    ice_buf_printf(&b, "%d|%.*s|%" PRId64 "|%" PRId64 "|%" PRId64, (int)f->content, ICE_PRI(f->path),
                   f->record_count, e->sequence_number, f->first_row_id);
    for (size_t i = 0; i < f->npartition; i++) {
        ice_buf_puts(&b, "|p=");
        if (!f->partition[i].null)
            ice_value_text(&f->partition[i], &b);
    }
    for (size_t i = 0; i < f->ncolumns; i++) {
        const ice_field *field = ice_schema_field(ice_metadata_current_schema(m), f->columns[i].field_id);
        ice_value v;
        if (!field || !f->columns[i].lower.ptr)
            continue;
        ok(ice_single_from_binary(f->columns[i].lower, field->type, &v, &err));
        ice_buf_printf(&b, "|%.*s>=", ICE_PRI(field->name));
        ice_value_text(&v, &b);
    }
    printf("%.*s\n", (int)b.len, b.data);
    ice_buf_free(&b);
}

static void print_table(const char *metadata)
{
    ice_metadata *m;
    ice_manifest_file *files;
    ice_manifest_entry *entries;
    size_t nfiles, n;
    ok(ice_metadata_parse(read_file(ice_str_c(metadata)), arena, &m, &err));
    const ice_snapshot *s = ice_metadata_current_snapshot(m);
    if (!s)
        return;
    ok(ice_manifest_list_read(read_file(s->manifest_list), s->manifest_list, arena, &files, &nfiles, &err));
    for (size_t i = 0; i < nfiles; i++) {
        ok(ice_manifest_read(read_file(files[i].path), &files[i], ice_metadata_spec(m, files[i].spec_id),
                             true, arena, &entries, &n, &err));
        for (size_t k = 0; k < n; k++)
            print_file(m, &entries[k]);
    }
    /* Our rewriting of it must be acceptable too. */
    const char *rewritten = getenv("ICE_REWRITTEN_METADATA");
    if (rewritten) {
        ice_buf json = {0};
        ok(ice_metadata_upgrade(m, &err));
        ok(ice_metadata_to_json(m, &json, &err));
        write_file(ice_str_c(rewritten), &json);
        ice_buf_free(&json);
    }
}

int main(void)
{
    const char *foreign = getenv("ICE_FOREIGN_METADATA");
    dir = getenv("ICE_FIXTURE_DIR");
    if (!dir && !foreign)
        return SKIPPED;
    arena = ice_arena_create();
    if (dir)
        write_table();
    if (foreign)
        print_table(foreign);
    ice_arena_free(arena);
    return 0;
}
