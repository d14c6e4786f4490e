/* Loading a published state: metadata file, manifest list, manifests; all of it read without trust. */
#include "table/table_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static ice_code load_at(ice_env *env, ice_str location, bool history, ice_published **out, ice_error *err);

/* ---- reading ---- */

static ice_code read_object(const ice_env *env, ice_str key, uint64_t max, ice_buf *out, ice_error *err)
{
    uint64_t size = 0;
    ice_code rc;
    ICE_TRY(env->store->m->size(env->store, key, &size, err));
    if (size > max)
        return ice_fail(err, ICE_CORRUPT, "%.*s: %llu bytes are too many", ICE_PRI(key),
                        (unsigned long long)size);
    ICE_TRY(env->store->m->get(env->store, key, out, err));
out:
    return rc;
}

static ice_code read_location(ice_published *s, ice_str location, ice_buf *out, ice_error *err)
{
    ice_str key;
    ice_code rc;
    ICE_TRY(ice__locate(s->env, s->arena, location, &key, NULL, err));
    ICE_TRY(read_object(s->env, key, ICE__MANIFEST_MAX, out, err));
out:
    return rc;
}

static ice_code read_metadata(ice_published *s, ice_error *err)
{
    static const char mark[] = "/metadata/";
    ice_buf bytes = {0};
    ice_str key, root;
    ice_code rc;
    ICE_TRY(ice__locate(s->env, s->arena, s->location, &key, NULL, err));
    ICE_TRY(read_object(s->env, key, ICE_METADATA_MAX, &bytes, err));
    rc = ice_metadata_parse(ice_buf_str(&bytes), s->arena, &s->meta, err);
    if (rc != ICE_OK) {
        ice_error_prefix(err, "%.*s", ICE_PRI(key));
        goto out;
    }
    ICE_TRY(ice__locate(s->env, s->arena, s->meta->location, &root, NULL, err));
    s->dir = root;
    const char *cut = memmem(key.ptr, key.len, mark, sizeof mark - 1);
    if (cut)
        s->dir = (ice_str){key.ptr, (size_t)(cut - key.ptr)};
    s->name = ice__base_name(s->dir);
out:
    ice_buf_free(&bytes);
    return rc;
}

static ice_code read_number(ice_published *s, const char *key, int64_t *out, ice_error *err)
{
    ice_str text = ice_metadata_property(s->meta, key);
    ice_value v = {.kind = ICE_T_STRING, .s = text}, n;
    *out = 0;
    if (!text.ptr)
        return ICE_OK;
    if (ice_value_cast(s->arena, &v, (ice_type){.kind = ICE_T_LONG}, &n, NULL) != ICE_OK || n.null || n.i < 0)
        return ice_fail(err, ICE_CORRUPT, "%.*s: property %s is no number: %.*s", ICE_PRI(s->location), key,
                        ICE_PRI(text));
    *out = n.i;
    return ICE_OK;
}

static ice_code read_definition(ice_published *s, ice_error *err)
{
    ice_str json = ice_metadata_property(s->meta, ICE_PROP_TABLE);
    ice_code rc;
    if (json.ptr) {
        rc = ice_tabledef_from_json(json, &s->def, err);
        if (rc != ICE_OK)
            ice_error_prefix(err, "%.*s: property %s", ICE_PRI(s->location), ICE_PROP_TABLE);
        return rc;
    }
    const ice_schema *schema = ice_metadata_current_schema(s->meta);
    if (!schema)
        return ice_fail(err, ICE_CORRUPT, "%.*s: no current schema", ICE_PRI(s->location));
    return ice__def_of_schema(schema, s->name, s->meta->uuid, &s->def, err);
}

static ice_code read_properties(ice_published *s, ice_error *err)
{
    int64_t position = 0;
    ice_code rc;
    ICE_TRY(read_number(s, ICE_PROP_FLUSHED, &s->flushed, err));
    ICE_TRY(read_number(s, ICE_PROP_POSITION, &position, err));
    s->position = (uint64_t)position;
    ICE_TRY(read_number(s, ICE_PROP_KEPT, &s->kept_from, err));
    ICE_TRY(read_definition(s, err));
out:
    return rc;
}

/* ---- files ---- */

typedef struct entries {
    ice_manifest_entry *e;
    int32_t *spec_ids;
    size_t n, cap;
} entries;

static ice_code keep_entry(entries *to, const ice_manifest_entry *e, int32_t spec_id, ice_error *err)
{
    if (to->n == to->cap) {
        size_t cap = to->cap ? to->cap * 2 : 64;
        ice_manifest_entry *grown = realloc(to->e, cap * sizeof *grown);
        if (grown)
            to->e = grown;
        int32_t *ids = grown ? realloc(to->spec_ids, cap * sizeof *ids) : NULL;
        if (!ids)
            return ice_fail_nomem(err);
        to->spec_ids = ids;
        to->cap = cap;
    }
    to->spec_ids[to->n] = spec_id;
    to->e[to->n++] = *e;
    return ICE_OK;
}

static ice_code check_entry(const ice_published *s, const ice_manifest_entry *e, bool deletes, ice_error *err)
{
    const ice_data_file *f = &e->file;
    if (deletes && !ice_is_deletion_vector(f))
        return ice_fail(err, ICE_UNSUPPORTED, "table %.*s: %.*s is a delete file that is no deletion vector",
                        ICE_PRI(s->name), ICE_PRI(f->path));
    if (!deletes && f->content != ICE_CONTENT_DATA)
        return ice_fail(err, ICE_CORRUPT, "table %.*s: a data manifest lists the delete file %.*s",
                        ICE_PRI(s->name), ICE_PRI(f->path));
    if (!deletes && !ice_str_eqc(f->format, "parquet"))
        return ice_fail(err, ICE_UNSUPPORTED, "table %.*s: data file %.*s is %.*s, not Parquet",
                        ICE_PRI(s->name), ICE_PRI(f->path), ICE_PRI(f->format));
    if (f->record_count < 0 || f->record_count >= UINT32_MAX)
        return ice_fail(err, ICE_CORRUPT, "table %.*s: file %.*s claims %lld rows", ICE_PRI(s->name),
                        ICE_PRI(f->path), (long long)f->record_count);
    return ICE_OK;
}

static ice_code read_manifest(ice_published *s, const ice_manifest_file *m, entries *data, entries *deletes,
                              ice_error *err)
{
    const ice_partition_spec *spec = ice_metadata_spec(s->meta, m->spec_id);
    ice_manifest_entry *list = NULL;
    ice_buf bytes = {0};
    size_t n = 0;
    ice_code rc;
    if (!spec)
        return ice_fail(err, ICE_CORRUPT, "%.*s: manifest %.*s has the unknown partition spec %d",
                        ICE_PRI(s->location), ICE_PRI(m->path), (int)m->spec_id);
    ICE_TRY(read_location(s, m->path, &bytes, err));
    ICE_TRY(ice_manifest_read(ice_buf_str(&bytes), m, spec, true, s->arena, &list, &n, err));
    for (size_t i = 0; i < n; i++) {
        ICE_TRY(check_entry(s, &list[i], m->deletes, err));
        ICE_TRY(keep_entry(m->deletes ? deletes : data, &list[i], m->spec_id, err));
    }
out:
    ice_buf_free(&bytes);
    return rc;
}

bool ice__file_bounds(const ice__file *f, int32_t field_id, ice_type t, ice_value *lower, ice_value *upper)
{
    const ice_file_column *c = ice_data_file_column(&f->entry.file, field_id);
    return c && c->lower.ptr && c->upper.ptr && ice_single_from_binary(c->lower, t, lower, NULL) == ICE_OK &&
           ice_single_from_binary(c->upper, t, upper, NULL) == ICE_OK;
}

static void time_bounds(const ice__file *f, int32_t field_id, int64_t *min, int64_t *max)
{
    ice_value lower, upper;
    bool known = ice__file_bounds(f, field_id, (ice_type){.kind = ICE_T_TIMESTAMPTZ}, &lower, &upper);
    *min = known ? lower.i : INT64_MIN;
    *max = known ? upper.i : INT64_MAX;
}

/* The constant _row_start of a staged file is its partition value. */
static void file_start(ice_published *s, ice__file *f)
{
    const ice_partition_spec *spec = ice_metadata_spec(s->meta, f->spec_id);
    const ice_schema *schema = ice_metadata_current_schema(s->meta);
    const ice_data_file *df = &f->entry.file;
    for (size_t i = 0; spec && i < spec->nfields && i < df->npartition; i++) {
        const ice_partition_field *p = &spec->fields[i];
        bool constant = p->source_id == ICE_FIELD_ROW_START && p->transform.kind == ICE_TR_IDENTITY;
        if (constant && !df->partition[i].null) {
            f->has_start = f->fixed_start = true;
            f->min_start = f->max_start = df->partition[i].i;
        }
    }
    if (f->fixed_start)
        return;
    f->has_start = schema && ice_schema_field(schema, ICE_FIELD_ROW_START) &&
                   (df->ncolumns == 0 || ice_data_file_column(df, ICE_FIELD_ROW_START));
    time_bounds(f, ICE_FIELD_ROW_START, &f->min_start, &f->max_start);
}

/* -1 has the file read by field ids: other programs may give columns other names in it. */
static int32_t schema_of_file(const ice_published *s, const ice__file *f, ice_str base)
{
    if (s->def->foreign)
        return -1;
    int32_t id = ice__name_schema(base);
    if (id >= 0)
        return id;
    const ice_snapshot *made = ice_metadata_snapshot(s->meta, f->entry.snapshot_id);
    return made ? made->schema_id : -1;
}

static ice_code finish_file(ice_published *s, ice__file *f, ice_error *err)
{
    ice_code rc;
    ICE_TRY(ice__locate(s->env, s->arena, f->entry.file.path, &f->key, &f->path, err));
    f->base = ice__base_name(f->key);
    f->schema_id = schema_of_file(s, f, f->base);
    /* Only our own names are unique for certain. */
    if (ice__name_schema(f->base) < 0) {
        uint64_t hash = ice_hash64(f->entry.file.path.ptr, f->entry.file.path.len, 0);
        size_t cut = f->base.len < 100 ? f->base.len : 100;
        char *name =
            ice_arena_printf(s->arena, "%.*s-%016llx", (int)cut, f->base.ptr, (unsigned long long)hash);
        if (!name)
            return ice_fail_nomem(err);
        f->base = ice_str_c(name);
    }
    file_start(s, f);
    time_bounds(f, ICE_FIELD_ROW_END, &f->min_end, &f->max_end);
out:
    return rc;
}

static int by_path(const void *x, const void *y)
{
    return ice_str_cmp(((const ice__file *)x)->entry.file.path, ((const ice__file *)y)->entry.file.path);
}

static int newest_first(const void *x, const void *y)
{
    const ice__file *f = x, *g = y;
    if (f->entry.sequence_number != g->entry.sequence_number)
        return f->entry.sequence_number > g->entry.sequence_number ? -1 : 1;
    if (f->entry.file.first_row_id != g->entry.file.first_row_id)
        return f->entry.file.first_row_id > g->entry.file.first_row_id ? -1 : 1;
    return by_path(x, y);
}

/* Deletion vectors to their data files; `files` are sorted by path. */
static ice_code attach_deletes(ice_published *s, const entries *deletes, ice_error *err)
{
    for (size_t i = 0; i < deletes->n; i++) {
        const ice_manifest_entry *e = &deletes->e[i];
        ice__file want = {.entry.file.path = e->file.referenced_data_file};
        ice__file *f = bsearch(&want, s->files, s->nfiles, sizeof *s->files, by_path);
        if (!f || f->entry.sequence_number > e->sequence_number)
            continue;
        if (f->dv_entry)
            return ice_fail(err, ICE_CORRUPT, "table %.*s: two deletion vectors for %.*s", ICE_PRI(s->name),
                            ICE_PRI(f->entry.file.path));
        if (e->file.record_count > f->entry.file.record_count)
            return ice_fail(err, ICE_CORRUPT, "table %.*s: more deleted rows than rows in %.*s",
                            ICE_PRI(s->name), ICE_PRI(f->entry.file.path));
        ice_manifest_entry *copy = ICE_NEW(s->arena, ice_manifest_entry);
        if (!copy)
            return ice_fail_nomem(err);
        *copy = *e;
        f->dv_entry = copy;
        f->dv_spec_id = deletes->spec_ids[i];
    }
    return ICE_OK;
}

static ice_code make_files(ice_published *s, const entries *data, const entries *deletes, ice_error *err)
{
    ice_code rc = ICE_OK;
    s->files = ICE_NEW_N(s->arena, ice__file, data->n + 1);
    if (!s->files)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < data->n; i++) {
        s->files[i].entry = data->e[i];
        s->files[i].spec_id = data->spec_ids[i];
        ICE_TRY(finish_file(s, &s->files[i], err));
    }
    s->nfiles = data->n;
    qsort(s->files, s->nfiles, sizeof *s->files, by_path);
    for (size_t i = 1; i < s->nfiles; i++)
        if (by_path(&s->files[i - 1], &s->files[i]) == 0)
            return ice_fail(err, ICE_CORRUPT, "table %.*s: data file %.*s is listed twice", ICE_PRI(s->name),
                            ICE_PRI(s->files[i].entry.file.path));
    ICE_TRY(attach_deletes(s, deletes, err));
    qsort(s->files, s->nfiles, sizeof *s->files, newest_first);
out:
    return rc;
}

static ice_code read_files(ice_published *s, ice_error *err)
{
    entries data = {0}, deletes = {0};
    ice_buf bytes = {0};
    ice_code rc = ICE_OK;
    s->current = ice_metadata_current_snapshot(s->meta);
    if (!s->current)
        goto out;
    if (!s->current->manifest_list.ptr) {
        rc = ice_fail(err, ICE_UNSUPPORTED, "table %.*s: a snapshot without a manifest list",
                      ICE_PRI(s->name));
        goto out;
    }
    ICE_TRY(read_location(s, s->current->manifest_list, &bytes, err));
    ICE_TRY(ice_manifest_list_read(ice_buf_str(&bytes), s->current->manifest_list, s->arena, &s->manifests,
                                   &s->nmanifests, err));
    for (size_t i = 0; i < s->nmanifests; i++)
        ICE_TRY(read_manifest(s, &s->manifests[i], &data, &deletes, err));
    if ((rc = make_files(s, &data, &deletes, err)) != ICE_OK)
        ice_error_prefix(err, "%.*s", ICE_PRI(s->current->manifest_list));
out:
    free(data.e), free(data.spec_ids);
    free(deletes.e), free(deletes.spec_ids);
    ice_buf_free(&bytes);
    return rc;
}

/* Decoded size: fixed widths, and strings at four times their compressed size (measured on names and texts:
 * between two and five), with an offset each. */
static void sum_up(ice_published *s)
{
    s->staged = INT64_MIN;
    for (size_t i = 0; i < s->nfiles; i++) {
        const ice__file *f = &s->files[i];
        if (f->fixed_start && f->min_start > s->staged)
            s->staged = f->min_start;
        uint64_t rows = (uint64_t)f->entry.file.record_count, bytes = 8 * rows;
        for (size_t k = 0; k < s->def->ncols; k++) {
            size_t width = ice_type_width(s->def->cols[k].type);
            const ice_file_column *c = ice_data_file_column(&f->entry.file, s->def->cols[k].field_id);
            if (width)
                bytes += rows * width;
            else
                bytes += 4 * rows + (c && c->size >= 0 ? 4 * (uint64_t)c->size : 32 * rows);
        }
        s->estimate += bytes;
        s->rows += rows - (f->dv_entry ? (uint64_t)f->dv_entry->file.record_count : 0);
    }
}

static ice_published *blank(ice_env *env, ice_str location)
{
    ice_published *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->env = env;
    s->refs = 1;
    s->guard = -1;
    s->resident = -1;
    pthread_mutex_init(&s->lock, NULL);
    s->arena = ice_arena_create();
    if (s->arena)
        s->location = ice_arena_str(s->arena, location);
    if (!s->location.ptr) {
        ice_published_unref(s);
        return NULL;
    }
    return s;
}

static ice_code load_at(ice_env *env, ice_str location, bool history, ice_published **out, ice_error *err)
{
    ice_code rc;
    *out = NULL;
    if (!location.ptr)
        return ice_fail(err, ICE_MISUSE, "no metadata location");
    ice_published *s = blank(env, location);
    if (!s)
        return ice_fail_nomem(err);
    s->history_loaded = history;
    ICE_TRY(read_metadata(s, err));
    ICE_TRY(read_properties(s, err));
    ICE_TRY(read_files(s, err));
    sum_up(s);
    *out = s;
    s = NULL;
out:
    ice_published_unref(s);
    return rc;
}

ice_code ice_published_load(ice_env *env, ice_str metadata_location, ice_published **out, ice_error *err)
{
    return load_at(env, metadata_location, false, out, err);
}

/* ---- references ---- */

ice_published *ice_published_ref(ice_published *s)
{
    if (s)
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void ice_published_unref(ice_published *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < s->nfiles; i++) {
        ice_dv_free(s->files[i].dv);
        ice__cached_unref(s->files[i].cached);
    }
    ice__dead_slots_free(s);
    ice_published_unref(s->history);
    if (s->guard >= 0)
        close(s->guard);
    ice_tabledef_free(s->def);
    ice_arena_free(s->arena);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- what it says ---- */

const ice_tabledef *ice_published_def(const ice_published *s)
{
    return s->def;
}

int64_t ice_published_flushed(const ice_published *s)
{
    return s->flushed;
}

int64_t ice_published_kept_from(const ice_published *s)
{
    return s->kept_from;
}

uint64_t ice_published_position(const ice_published *s)
{
    return s->position;
}

ice_str ice_published_location(const ice_published *s)
{
    return s->location;
}

uint64_t ice_published_rows(const ice_published *s)
{
    return s->rows;
}

int64_t ice_published_max_int(const ice_published *s, int32_t field_id)
{
    int at = ice_tabledef_find_id(s->def, field_id);
    int64_t max = 0;
    for (size_t i = 0; at >= 0 && i < s->nfiles; i++) {
        ice_value lower, upper;
        ice_type t = s->def->cols[at].type;
        bool whole = t.kind == ICE_T_INT || t.kind == ICE_T_LONG;
        if (whole && ice__file_bounds(&s->files[i], field_id, t, &lower, &upper) && upper.i > max)
            max = upper.i;
    }
    return max;
}

int64_t ice_published_next(const ice_published *s, int32_t field_id, int32_t restarts)
{
    ice_str text = ice_metadata_property(s->meta, ICE_PROP_SEQUENCES);
    char want[32];
    size_t n = (size_t)snprintf(want, sizeof want, "%d.%d=", (int)field_id, (int)restarts);
    for (size_t at = 0; at < text.len;) {
        const char *comma = memchr(text.ptr + at, ',', text.len - at);
        size_t end = comma ? (size_t)(comma - text.ptr) : text.len;
        if (end - at > n && end - at < n + 20 && memcmp(text.ptr + at, want, n) == 0)
            return strtoll(text.ptr + at + n, NULL, 10); /* the property's copy ends in a NUL */
        at = end + 1;
    }
    return 0;
}

bool ice__file_evolved(const ice_published *s, const ice__file *f, const ice_column *cols, size_t n)
{
    const ice_schema *schema = f->schema_id >= 0 ? ice_metadata_schema(s->meta, f->schema_id) : NULL;
    if (!schema)
        return true;
    for (size_t i = 0; i < n; i++) {
        const ice_field *field = ice_schema_field(schema, cols[i].field_id);
        if (!field || !ice_str_eq(field->name, cols[i].name) || !ice_type_eq(field->type, cols[i].type))
            return true;
    }
    return false;
}

ice_code ice__published_history(ice_published *s, ice_published **out, ice_error *err)
{
    ice_code rc = ICE_OK;
    pthread_mutex_lock(&s->lock);
    ice_str location = s->history_loaded ? ICE_STR_NONE : ice_metadata_property(s->meta, ICE_PROP_HISTORY);
    if (location.ptr)
        rc = load_at(s->env, location, true, &s->history, err);
    s->history_loaded = rc == ICE_OK;
    *out = rc == ICE_OK ? s->history : NULL;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- deletion vectors ---- */

static ice_code load_dv(ice_published *s, const ice_manifest_entry *e, int64_t rows, ice_dv **out,
                        ice_error *err)
{
    ice_buf bytes = {0};
    uint64_t last;
    ice_code rc;
    ICE_TRY(read_location(s, e->file.path, &bytes, err));
    ICE_TRY(ice_puffin_read_dv(ice_buf_str(&bytes), e->file.path, e->file.content_offset,
                               e->file.content_size, e->file.record_count, out, err));
    if (ice_dv_positions(*out, (uint64_t)rows, &last, 1)) {
        ice_dv_free(*out);
        *out = NULL;
        rc = ice_fail(err, ICE_CORRUPT, "deletion vector %.*s: position %llu is beyond the file's %lld rows",
                      ICE_PRI(e->file.path), (unsigned long long)last, (long long)rows);
    }
out:
    ice_buf_free(&bytes);
    return rc;
}

ice_code ice__file_dv(ice_published *s, ice__file *f, const ice_dv **out, ice_error *err)
{
    ice_code rc = ICE_OK;
    *out = NULL;
    if (!f->dv_entry)
        return ICE_OK;
    pthread_mutex_lock(&s->lock);
    if (!f->dv)
        rc = load_dv(s, f->dv_entry, f->entry.file.record_count, &f->dv, err);
    *out = f->dv;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- snapshots() ---- */

static int64_t summary_time(const ice_snapshot *m)
{
    ice_str text = ice_snapshot_summary(m, ICE_PROP_FLUSHED);
    int64_t t = 0;
    for (size_t i = 0; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9' && t < INT64_MAX / 10 - 1;
         i++)
        t = t * 10 + (text.ptr[i] - '0');
    return t ? t : m->timestamp_ms * 1000;
}

static ice_code describe(const ice_snapshot *m, ice_arena *a, ice_snapshot_info *out, ice_error *err)
{
    out->snapshot_id = m->id;
    out->timestamp_ms = m->timestamp_ms;
    out->commit_time = summary_time(m);
    out->operation = ice_arena_str(a, ice_snapshot_summary(m, "operation"));
    out->summary_keys = ICE_NEW_N(a, ice_str, m->nsummary + 1);
    out->summary_values = ICE_NEW_N(a, ice_str, m->nsummary + 1);
    if (!out->summary_keys || !out->summary_values)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < m->nsummary; i++) {
        out->summary_keys[i] = ice_arena_str(a, m->summary[i].key);
        out->summary_values[i] = ice_arena_str(a, m->summary[i].value);
    }
    out->nsummary = m->nsummary;
    return ICE_OK;
}

ice_code ice_published_list(ice_published *s, ice_arena *a, ice_snapshot_info **out, size_t *n,
                            ice_error *err)
{
    size_t count = s->meta->nsnapshots;
    ice_code rc = ICE_OK;
    *n = 0;
    *out = ICE_NEW_N(a, ice_snapshot_info, count + 1);
    if (!*out)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < count; i++)
        ICE_TRY(describe(&s->meta->snapshots[count - 1 - i], a, &(*out)[i], err));
    *n = count;
out:
    return rc;
}
