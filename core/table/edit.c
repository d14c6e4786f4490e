/* One Iceberg table being changed: from the metadata file that is published to the next one.
 *
 * Manifests: a flush adds one for its files. Once a file goes, or MANIFESTS_MAX are there, all live entries
 * are written into one manifest for each partition spec, so that their number is bounded whatever the number
 * of flushes. Manifests of deletes are small and are written anew whenever a vector changes. */
#include "table/flush_int.h"

enum { MANIFESTS_MAX = 16, SCHEMAS_MAX = 64 };

/* ---- beginning ---- */

static ice_code make_room(ice__edit *e, ice_error *err)
{
    size_t n = e->from ? e->from->nfiles : 0;
    e->removed = ICE_NEW_N(e->a, bool, n + 1);
    e->dvs = ICE_NEW_N(e->a, ice_dv *, n + 1);
    return e->removed && e->dvs ? ICE_OK : ice_fail_nomem(err);
}

ice_code ice__edit_begin(ice__edit *e, ice_env *env, ice_published *from, ice_arena *a, ice_error *err)
{
    ice_buf bytes = {0};
    ice_str key;
    ice_code rc;
    *e = (ice__edit){.env = env, .a = a, .from = from, .dir = from->dir, .fixed_spec = -1};
    ICE_TRY(ice__locate(env, a, from->location, &key, NULL, err));
    ICE_TRY(env->store->m->get(env->store, key, &bytes, err));
    rc = ice_metadata_parse(ice_buf_str(&bytes), a, &e->m, err);
    if (rc != ICE_OK) {
        ice_error_prefix(err, "%.*s", ICE_PRI(key));
        goto out;
    }
    ICE_TRY(ice_metadata_upgrade(e->m, err));
    ICE_TRY(make_room(e, err));
out:
    ice_buf_free(&bytes);
    return rc;
}

/* The history's own uuid: another one, that follows from the table's. */
static ice_uuid history_uuid(ice_uuid u)
{
    static const char salt[] = "django-iceberg history";
    uint64_t x[2] = {ice_hash64(u.b, sizeof u.b, 1),
                     ice_hash64(salt, sizeof salt, ice_hash64(u.b, sizeof u.b, 2))};
    memcpy(u.b, x, sizeof u.b);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* version 4, variant 1 (RFC 9562) */
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

static ice_code default_properties(ice__edit *e, ice_error *err)
{
    static const char *const values[][2] = {
        {"write.format.default", "parquet"},
        {"write.parquet.compression-codec", "zstd"},
        {"write.delete.mode", "merge-on-read"},
        {"write.update.mode", "merge-on-read"},
        {"write.merge.mode", "merge-on-read"},
        {"write.metadata.previous-versions-max", "50"},
        {"write.metadata.delete-after-commit.enabled", "false"},
        {"commit.manifest-merge.enabled", "true"},
    };
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < sizeof values / sizeof *values && rc == ICE_OK; i++)
        rc = ice__edit_text(e, values[i][0], ice_str_c(values[i][1]), err);
    return rc;
}

ice_code ice__edit_create(ice__edit *e, ice_env *env, const ice_tabledef *def, bool history,
                          const ice_schema *schema, ice_arena *a, ice_error *err)
{
    ice_str location;
    ice_code rc;
    *e = (ice__edit){.env = env, .a = a, .fixed_spec = -1};
    ICE_TRY(ice__table_dir(env, a, def->name, def->uuid, history, &e->dir, err));
    ICE_TRY(ice_store_location(env->store, a, e->dir, &location, err));
    ICE_TRY(ice_metadata_create(a, history ? history_uuid(def->uuid) : def->uuid, location, schema,
                                ice_clock_us() / 1000, &e->m, err));
    ICE_TRY(make_room(e, err));
    ICE_TRY(default_properties(e, err));
out:
    return rc;
}

void ice__edit_free(ice__edit *e)
{
    for (size_t i = 0; e->dvs && e->from && i < e->from->nfiles; i++)
        ice_dv_free(e->dvs[i]);
    e->dvs = NULL;
}

/* ---- what changes ---- */

ice_code ice__edit_schema(ice__edit *e, const ice_schema *schema, ice_error *err)
{
    const ice_schema *now = ice_metadata_current_schema(e->m);
    ice_schema next = *schema;
    if (now && ice_schema_eq(now, schema))
        return ICE_OK;
    const ice_schema *same = ice_metadata_schema(e->m, next.schema_id);
    if (same && !ice_schema_eq(same, schema))
        for (size_t i = 0; i < e->m->nschemas; i++)
            if (e->m->schemas[i].schema_id >= next.schema_id)
                next.schema_id = e->m->schemas[i].schema_id + 1;
    return ice_metadata_set_schema(e->m, &next, 0, err);
}

ice_code ice__edit_text(ice__edit *e, const char *key, ice_str value, ice_error *err)
{
    return ice_metadata_set_property(e->m, ice_str_c(key), value, err);
}

ice_code ice__edit_number(ice__edit *e, const char *key, uint64_t value, ice_error *err)
{
    char *text = ice_arena_printf(e->a, "%llu", (unsigned long long)value);
    return text ? ice__edit_text(e, key, ice_str_c(text), err) : ice_fail_nomem(err);
}

ice_code ice__edit_fixed_spec(ice__edit *e, int32_t *out, ice_error *err)
{
    ice_partition_field field = {.source_id = ICE_FIELD_ROW_START,
                                 .name = ICE_STR("_row_start_of_file"),
                                 .transform = {.kind = ICE_TR_IDENTITY}};
    ice_partition_spec spec = {.nfields = 1, .fields = &field};
    if (e->fixed_spec < 0) {
        ice_code rc = ice_metadata_add_spec(e->m, &spec, false, &e->fixed_spec, err);
        if (rc != ICE_OK)
            return rc;
    }
    *out = e->fixed_spec;
    return ICE_OK;
}

ice_code ice__edit_add(ice__edit *e, const ice__added *file, ice_error *err)
{
    if (!ICE_ROOM(e->a, e->added, e->nadded, e->cap))
        return ice_fail_nomem(err);
    e->added[e->nadded++] = *file;
    return ICE_OK;
}

void ice__edit_remove(ice__edit *e, size_t file)
{
    e->removed[file] = true;
}

ice_code ice__edit_dv(ice__edit *e, size_t file, ice_dv **out, ice_error *err)
{
    const ice_dv *old;
    ice_code rc = ICE_OK;
    if (!e->dvs[file]) {
        ICE_TRY(ice__file_dv(e->from, &e->from->files[file], &old, err));
        e->dvs[file] = old ? ice_dv_clone(old) : ice_dv_create();
        if (!e->dvs[file])
            return ice_fail_nomem(err);
    }
    *out = e->dvs[file];
out:
    return rc;
}

typedef struct tally {
    int64_t added_files, added_rows, added_bytes, removed_files, removed_rows, removed_bytes;
    int64_t added_dvs, removed_dvs, added_deletes, removed_deletes;
    int64_t files, rows, bytes, dvs, deletes;
} tally;

static void tally_file(const ice__edit *e, size_t i, tally *t)
{
    const ice__file *f = &e->from->files[i];
    int64_t old = f->dv_entry ? f->dv_entry->file.record_count : 0;
    int64_t now = e->dvs[i] ? (int64_t)ice_dv_count(e->dvs[i]) : old;
    bool goes = e->removed[i], changes = goes || e->dvs[i];
    t->removed_files += goes;
    t->removed_rows += goes ? f->entry.file.record_count : 0;
    t->removed_bytes += goes ? f->entry.file.size : 0;
    t->removed_dvs += changes && f->dv_entry;
    t->removed_deletes += changes ? old : 0;
    t->added_dvs += !goes && e->dvs[i];
    t->added_deletes += !goes && e->dvs[i] ? now : 0;
    t->files += !goes;
    t->rows += goes ? 0 : f->entry.file.record_count;
    t->bytes += goes ? 0 : f->entry.file.size;
    t->dvs += !goes && (f->dv_entry || e->dvs[i]);
    t->deletes += goes ? 0 : now;
}

static tally count_all(const ice__edit *e)
{
    tally t = {0};
    for (size_t i = 0; e->from && i < e->from->nfiles; i++)
        tally_file(e, i, &t);
    for (size_t i = 0; i < e->nadded; i++) {
        t.added_rows += e->added[i].file.record_count;
        t.added_bytes += e->added[i].file.size;
    }
    t.added_files = (int64_t)e->nadded;
    t.files += t.added_files;
    t.rows += t.added_rows;
    t.bytes += t.added_bytes;
    return t;
}

static bool changes(const tally *t)
{
    return t->added_files || t->removed_files || t->added_dvs;
}

bool ice__edit_changes_data(const ice__edit *e)
{
    tally t = count_all(e);
    return changes(&t);
}

uint64_t ice__edit_rows_added(const ice__edit *e)
{
    return (uint64_t)count_all(e).added_rows;
}

/* ---- manifests ---- */

typedef struct commit {
    ice__edit *e;
    int64_t snapshot_id;
    size_t n, cap;
    ice_manifest_file *list;
    ice_str puffin; /* location, and its vectors' places */
    int64_t puffin_size;
    int64_t *offsets, *lengths;
} commit;

static ice_code add_manifest(commit *c, const ice_manifest_file *m, ice_error *err)
{
    if (!ICE_ROOM(c->e->a, c->list, c->n, c->cap))
        return ice_fail_nomem(err);
    c->list[c->n++] = *m;
    return ICE_OK;
}

static ice_code put(ice__edit *e, const char *prefix, const char *ext, const ice_buf *body, ice_str *location,
                    ice_error *err)
{
    ice_str key;
    ice_code rc;
    ICE_TRY(ice__metadata_key(e->a, e->dir, prefix, ext, &key, err));
    ICE_TRY(ice_store_location(e->env->store, e->a, key, location, err));
    ICE_TRY(e->env->store->m->put_if_absent(e->env->store, key, ice_buf_str(body), err));
out:
    return rc;
}

static ice_code finish_manifest(commit *c, ice_manifest_writer *w, ice_error *err)
{
    ice__edit *e = c->e;
    ice_manifest_file m;
    ice_buf bytes = {0};
    ice_str key, location;
    ice_code rc = ICE_OK;
    if (ice_manifest_writer_count(w) == 0)
        return ICE_OK;
    ICE_TRY(ice__metadata_key(e->a, e->dir, "m-", "avro", &key, err));
    ICE_TRY(ice_store_location(e->env->store, e->a, key, &location, err));
    ICE_TRY(ice_manifest_writer_finish(w, location, e->a, &bytes, &m, err));
    ICE_TRY(e->env->store->m->put_if_absent(e->env->store, key, ice_buf_str(&bytes), err));
    ICE_TRY(add_manifest(c, &m, err));
out:
    ice_buf_free(&bytes);
    return rc;
}

/* A partition value as the spec has it now: a column may have been promoted since, or be gone. */
static ice_code value_now(const ice__edit *e, const ice_partition_field *f, ice_value *v, ice_error *err)
{
    const ice_field *source = ice_schema_field(ice_metadata_current_schema(e->m), f->source_id);
    ice_type t;
    ice_code rc = ICE_OK;
    if (f->transform.kind == ICE_TR_VOID || !source)
        *v = ICE_NULL;
    if (v->null)
        return ICE_OK;
    ICE_TRY(ice_transform_type(f->transform, source->type, &t, err));
    if (v->kind != t.kind)
        rc = ice_value_cast(e->a, v, t, v, err);
out:
    return rc;
}

static ice_code add_entry(const ice__edit *e, ice_manifest_writer *w, const ice_partition_spec *spec,
                          const ice_manifest_entry *old, ice_entry_status status, ice_error *err)
{
    ice_manifest_entry next = *old;
    ice_code rc = ICE_OK;
    next.status = status;
    next.file.partition = ICE_NEW_N(e->a, ice_value, old->file.npartition + 1);
    if (!next.file.partition)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < old->file.npartition && i < spec->nfields; i++) {
        next.file.partition[i] = old->file.partition[i];
        ICE_TRY(value_now(e, &spec->fields[i], &next.file.partition[i], err));
    }
    ICE_TRY(ice_manifest_writer_add(w, &next, err));
out:
    return rc;
}

static ice_code add_new(ice_manifest_writer *w, const ice_data_file *f, ice_error *err)
{
    ice_manifest_entry e = {.status = ICE_ENTRY_ADDED,
                            .snapshot_id = ICE_UNSET,
                            .sequence_number = ICE_UNSET,
                            .file_sequence_number = ICE_UNSET,
                            .file = *f};
    return ice_manifest_writer_add(w, &e, err);
}

/* One manifest of a spec's data files: the new ones, with `all` the old ones too. */
static ice_code data_manifest(commit *c, const ice_partition_spec *spec, bool all, ice_error *err)
{
    ice__edit *e = c->e;
    ice_manifest_writer *w = NULL;
    ice_code rc;
    ICE_TRY(
        ice_manifest_writer_create(ice_metadata_current_schema(e->m), spec, false, c->snapshot_id, &w, err));
    for (size_t i = 0; all && i < e->from->nfiles; i++)
        if (e->from->files[i].spec_id == spec->spec_id)
            ICE_TRY(add_entry(e, w, spec, &e->from->files[i].entry,
                              e->removed[i] ? ICE_ENTRY_DELETED : ICE_ENTRY_EXISTING, err));
    for (size_t i = 0; i < e->nadded; i++)
        if (e->added[i].spec_id == spec->spec_id)
            ICE_TRY(add_new(w, &e->added[i].file, err));
    ICE_TRY(finish_manifest(c, w, err));
out:
    ice_manifest_writer_free(w);
    return rc;
}

static bool is_live(const ice_manifest_file *m)
{
    return m->added_files != 0 || m->existing_files != 0;
}

static size_t count_manifests(const ice__edit *e)
{
    size_t n = 0;
    for (size_t i = 0; e->from && i < e->from->nmanifests; i++)
        n += !e->from->manifests[i].deletes && is_live(&e->from->manifests[i]);
    return n;
}

static ice_code keep_manifests(commit *c, bool deletes, ice_error *err)
{
    const ice_published *from = c->e->from;
    ice_code rc = ICE_OK;
    for (size_t i = 0; from && i < from->nmanifests && rc == ICE_OK; i++)
        if (from->manifests[i].deletes == deletes && is_live(&from->manifests[i]))
            rc = add_manifest(c, &from->manifests[i], err);
    return rc;
}

static ice_code data_manifests(commit *c, const tally *t, ice_error *err)
{
    ice__edit *e = c->e;
    bool all = t->removed_files || count_manifests(e) >= MANIFESTS_MAX || e->fields_gone;
    ice_code rc = ICE_OK;
    if (!all)
        ICE_TRY(keep_manifests(c, false, err));
    for (size_t i = 0; i < e->m->nspecs; i++)
        ICE_TRY(data_manifest(c, &e->m->specs[i], all, err));
out:
    return rc;
}

/* ---- deletion vectors ---- */

static ice_code write_puffin(commit *c, ice_error *err)
{
    ice__edit *e = c->e;
    ice_puffin_writer *w = ice_puffin_create();
    ice_buf bytes = {0};
    size_t n = 0;
    ice_code rc = w ? ICE_OK : ice_fail_nomem(err);
    c->offsets = ICE_NEW_N(e->a, int64_t, e->from->nfiles + 1);
    c->lengths = ICE_NEW_N(e->a, int64_t, e->from->nfiles + 1);
    if (rc == ICE_OK && (!c->offsets || !c->lengths))
        rc = ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < e->from->nfiles; i++) {
        if (e->removed[i] || !e->dvs[i])
            continue;
        n++;
        rc = ice_puffin_add_dv(w, e->dvs[i], e->from->files[i].entry.file.path, &c->offsets[i],
                               &c->lengths[i], err);
    }
    if (rc == ICE_OK && n) {
        ICE_TRY(ice_puffin_finish(w, &bytes, NULL, err));
        c->puffin_size = (int64_t)bytes.len;
        ICE_TRY(put(e, "dv-", "puffin", &bytes, &c->puffin, err));
    }
out:
    ice_puffin_free(w);
    ice_buf_free(&bytes);
    return rc;
}

static ice_data_file vector_file(const commit *c, size_t i)
{
    const ice__file *f = &c->e->from->files[i];
    ice_data_file d = ice_data_file_init();
    d.content = ICE_CONTENT_POSITION_DELETES;
    d.path = c->puffin;
    d.format = ICE_STR("puffin");
    d.npartition = f->entry.file.npartition;
    d.partition = f->entry.file.partition;
    d.record_count = (int64_t)ice_dv_count(c->e->dvs[i]);
    d.size = c->puffin_size;
    d.referenced_data_file = f->entry.file.path;
    d.content_offset = c->offsets[i];
    d.content_size = c->lengths[i];
    return d;
}

static ice_code delete_entry(commit *c, ice_manifest_writer *w, const ice_partition_spec *spec, size_t i,
                             ice_error *err)
{
    ice__edit *e = c->e;
    const ice__file *f = &e->from->files[i];
    bool replaced = e->removed[i] || e->dvs[i];
    ice_code rc = ICE_OK;
    if (f->dv_entry)
        rc = add_entry(e, w, spec, f->dv_entry, replaced ? ICE_ENTRY_DELETED : ICE_ENTRY_EXISTING, err);
    if (rc == ICE_OK && !e->removed[i] && e->dvs[i]) {
        ice_manifest_entry d = {.snapshot_id = ICE_UNSET,
                                .sequence_number = ICE_UNSET,
                                .file_sequence_number = ICE_UNSET,
                                .file = vector_file(c, i)};
        rc = add_entry(e, w, spec, &d, ICE_ENTRY_ADDED, err);
    }
    return rc;
}

static ice_code delete_manifest(commit *c, const ice_partition_spec *spec, ice_error *err)
{
    ice__edit *e = c->e;
    ice_manifest_writer *w = NULL;
    ice_code rc;
    ICE_TRY(
        ice_manifest_writer_create(ice_metadata_current_schema(e->m), spec, true, c->snapshot_id, &w, err));
    for (size_t i = 0; i < e->from->nfiles; i++)
        if (e->from->files[i].spec_id == spec->spec_id)
            ICE_TRY(delete_entry(c, w, spec, i, err));
    ICE_TRY(finish_manifest(c, w, err));
out:
    ice_manifest_writer_free(w);
    return rc;
}

static ice_code delete_manifests(commit *c, const tally *t, ice_error *err)
{
    ice_code rc = ICE_OK;
    if (!t->added_dvs && !t->removed_dvs)
        return keep_manifests(c, true, err);
    ICE_TRY(write_puffin(c, err));
    for (size_t i = 0; i < c->e->m->nspecs; i++)
        ICE_TRY(delete_manifest(c, &c->e->m->specs[i], err));
out:
    return rc;
}

/* ---- the snapshot ---- */

static const char *operation_of(const tally *t)
{
    if (!t->removed_files && !t->added_dvs)
        return "append";
    return t->added_files ? "overwrite" : "delete";
}

static ice_code add_count(ice__edit *e, ice_snapshot *s, const char *key, int64_t n, bool always,
                          ice_error *err)
{
    if (n == 0 && !always)
        return ICE_OK;
    char *text = ice_arena_printf(e->a, "%lld", (long long)n);
    if (!text)
        return ice_fail_nomem(err);
    s->summary[s->nsummary++] = (ice_kv){ice_str_c(key), ice_str_c(text)};
    return ICE_OK;
}

static ice_code summarize(ice__edit *e, ice_snapshot *s, const tally *t, const char *operation,
                          int64_t flushed, ice_error *err)
{
    const struct {
        const char *key;
        int64_t n;
        bool always;
    } counts[] = {
        {"added-data-files", t->added_files, false},
        {"added-records", t->added_rows, false},
        {"added-files-size", t->added_bytes, false},
        {"deleted-data-files", t->removed_files, false},
        {"deleted-records", t->removed_rows, false},
        {"removed-files-size", t->removed_bytes, false},
        {"added-delete-files", t->added_dvs, false},
        {"added-dvs", t->added_dvs, false},
        {"added-position-deletes", t->added_deletes, false},
        {"removed-delete-files", t->removed_dvs, false},
        {"removed-dvs", t->removed_dvs, false},
        {"removed-position-deletes", t->removed_deletes, false},
        {"total-data-files", t->files, true},
        {"total-records", t->rows, true},
        {"total-files-size", t->bytes, true},
        {"total-delete-files", t->dvs, true},
        {"total-position-deletes", t->deletes, true},
        {"total-equality-deletes", 0, true},
        {ICE_PROP_FLUSHED, flushed, true},
    };
    ice_code rc = ICE_OK;
    s->summary = ICE_NEW_N(e->a, ice_kv, sizeof counts / sizeof *counts + 1);
    if (!s->summary)
        return ice_fail_nomem(err);
    s->summary[s->nsummary++] =
        (ice_kv){ICE_STR("operation"), ice_str_c(operation ? operation : operation_of(t))};
    for (size_t i = 0; i < sizeof counts / sizeof *counts && rc == ICE_OK; i++)
        rc = add_count(e, s, counts[i].key, counts[i].n, counts[i].always, err);
    return rc;
}

static ice_code write_snapshot(ice__edit *e, const tally *t, const char *operation, int64_t flushed,
                               int64_t now_ms, ice_error *err)
{
    commit c = {.e = e, .snapshot_id = ice_metadata_new_snapshot_id(e->m)};
    ice_snapshot s = {.id = c.snapshot_id, .timestamp_ms = now_ms, .parent_id = ICE_UNSET, .schema_id = -1};
    ice_buf bytes = {0};
    ice_code rc;
    ICE_TRY(data_manifests(&c, t, err));
    ICE_TRY(delete_manifests(&c, t, err));
    ICE_TRY(ice_manifest_list_write(s.id, e->m->current_snapshot_id, ice_metadata_next_sequence(e->m),
                                    e->m->next_row_id, c.list, c.n, &bytes, &s.added_rows, err));
    ICE_TRY(put(e, "snap-", "avro", &bytes, &s.manifest_list, err));
    ICE_TRY(summarize(e, &s, t, operation, flushed, err));
    ICE_TRY(ice_metadata_add_snapshot(e->m, &s, err));
out:
    ice_buf_free(&bytes);
    return rc;
}

/* ---- the metadata file ---- */

static bool schema_used(const ice__edit *e, int32_t id)
{
    bool used = id == e->m->current_schema_id;
    for (size_t i = 0; i < e->m->nsnapshots && !used; i++)
        used = e->m->snapshots[i].schema_id == id;
    /* A file's name says its schema: it must stay known. */
    for (size_t i = 0; e->from && i < e->from->nfiles && !used; i++)
        used = e->from->files[i].schema_id == id && !e->removed[i];
    return used;
}

static void prune_schemas(ice__edit *e)
{
    size_t kept = 0;
    if (e->m->nschemas <= SCHEMAS_MAX)
        return;
    for (size_t i = 0; i < e->m->nschemas; i++)
        if (schema_used(e, e->m->schemas[i].schema_id))
            e->m->schemas[kept++] = e->m->schemas[i];
    e->m->nschemas = kept;
}

ice_code ice__edit_expire(ice__edit *e, size_t keep, int64_t since_ms, size_t *n, ice_error *err)
{
    ice_snapshot *gone;
    ice_code rc = ice_metadata_expire(e->m, keep, since_ms, &gone, n, err);
    for (size_t i = 0; rc == ICE_OK && e->env->replaced && i < *n; i++)
        if (gone[i].manifest_list.ptr)
            e->env->replaced(e->env->arg, gone[i].manifest_list);
    return rc;
}

static ice_code bound_metadata(ice__edit *e, int64_t now_ms, int snapshots_kept, ice_error *err)
{
    ice_str *dropped = NULL;
    size_t n = 0;
    ice_code rc = ICE_OK;
    if (snapshots_kept > 0)
        ICE_TRY(ice__edit_expire(e, (size_t)snapshots_kept, INT64_MAX, &n, err));
    prune_schemas(e);
    n = 0;
    if (e->from)
        ICE_TRY(ice_metadata_log_previous(e->m, e->from->location, now_ms, ICE__METADATA_LOG_MAX, &dropped,
                                          &n, err));
    for (size_t i = 0; e->env->replaced && i < n; i++)
        e->env->replaced(e->env->arg, dropped[i]);
out:
    return rc;
}

static ice_code write_metadata(ice__edit *e, ice_str *location, ice_error *err)
{
    int64_t version = e->from ? ice_metadata_version_of(e->from->location) + 1 : 0;
    ice_buf bytes = {0};
    ice_str key;
    ice_code rc;
    ICE_TRY(ice_metadata_to_json(e->m, &bytes, err));
    ICE_TRY(ice_metadata_location(e->a, e->dir, version, ice_uuid_random(), &key, err));
    ICE_TRY(ice_store_location(e->env->store, e->a, key, location, err));
    ICE_TRY(e->env->store->m->put_if_absent(e->env->store, key, ice_buf_str(&bytes), err));
out:
    ice_buf_free(&bytes);
    return rc;
}

ice_code ice__edit_finish(ice__edit *e, const char *operation, int64_t flushed, int64_t now_ms,
                          int snapshots_kept, ice_str *location, ice_error *err)
{
    tally t = count_all(e);
    ice_code rc = ICE_OK;
    if (!flushed && e->from)
        flushed = e->from->flushed;
    if (changes(&t))
        ICE_TRY(write_snapshot(e, &t, operation, flushed, now_ms, err));
    ICE_TRY(bound_metadata(e, now_ms, snapshots_kept, err));
    ICE_TRY(write_metadata(e, location, err));
out:
    return rc;
}
