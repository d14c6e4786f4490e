#include <stdlib.h>

#include "format/manifest_int.h"

#define MAX_LIST ((size_t)1 << 20) /* elements of one list or map of one file */

/* One pair of a metric map, before the maps of a file are merged by column. */
typedef struct metric {
    int32_t field_id, map;
    int64_t count;
    ice_str bytes;
} metric;

typedef struct manifest_reader {
    ice_arena *arena;
    ice_error *err;
    ice_str path;
    const ice_partition_spec *spec;
    ice_reader *r;
    metric *metrics;
    size_t nmetrics, cap;
    ice_code rc; /* first failure that is not the record's */
} manifest_reader;

static void fail_nomem(manifest_reader *m)
{
    if (m->rc == ICE_OK)
        m->rc = ice_fail_nomem(m->err);
    m->r->failed = true;
}

static ice_str keep(manifest_reader *m, ice_str s)
{
    if (!s.ptr || m->r->failed)
        return ICE_STR_NONE;
    ice_str copy = ice_arena_str(m->arena, s);
    if (!copy.ptr)
        fail_nomem(m);
    return copy;
}

static ice_str keep_bytes(manifest_reader *m, const ice_avro_type *t)
{
    bool present;
    ice_str s = ice_avro_bytes(m->r, t, &present);
    return present ? keep(m, s) : ICE_STR_NONE;
}

/* A number that cannot be negative; ICE_UNSET where it is null. */
static int64_t number(manifest_reader *m, const ice_avro_type *t)
{
    bool present;
    int64_t v = ice_avro_long(m->r, t, &present);
    if (present && v < 0)
        m->r->failed = true;
    return present && !m->r->failed ? v : ICE_UNSET;
}

static int32_t small_number(manifest_reader *m, const ice_avro_type *t)
{
    int64_t v = number(m, t);
    if (v > INT32_MAX)
        m->r->failed = true;
    return (int32_t)v;
}

/* ---- metrics ---- */

static metric *new_metric(manifest_reader *m)
{
    if (m->nmetrics >= MAX_LIST * 8 || !ICE_HEAP_ROOM(m->metrics, m->nmetrics, m->cap)) {
        fail_nomem(m);
        return NULL;
    }
    return &m->metrics[m->nmetrics++];
}

static void read_pair(manifest_reader *m, const ice_avro_type *pair, int32_t map)
{
    metric got = {.map = map, .count = ICE_UNSET};
    bool present, bytes = map == FID_LOWER_BOUNDS || map == FID_UPPER_BOUNDS;
    for (size_t i = 0; i < pair->n; i++) {
        const ice_avro_field *f = &pair->fields[i];
        if (ice_str_eqc(f->name, "key"))
            got.field_id = small_number(m, f->type);
        else if (!ice_str_eqc(f->name, "value"))
            ice_avro_skip(m->r, f->type);
        else if (bytes)
            got.bytes = keep_bytes(m, f->type);
        else {
            got.count = ice_avro_long(m->r, f->type, &present);
            got.count =
                present && got.count >= 0 ? got.count : ICE_UNSET; /* some writers put -1 for unknown */
        }
    }
    metric *slot = m->r->failed ? NULL : new_metric(m);
    if (slot)
        *slot = got;
}

static void read_map(manifest_reader *m, const ice_avro_type *t, int32_t map)
{
    bool done = false;
    t = ice_avro_enter(m->r, t);
    if (!t || t->kind == ICE_AVRO_NULL)
        return;
    const ice_avro_type *pair = t->kind == ICE_AVRO_ARRAY ? t->items : NULL;
    if (!pair || pair->kind != ICE_AVRO_RECORD) {
        m->r->failed = true;
        return;
    }
    for (int64_t left = 0; ice_avro_more(m->r, &left, &done);)
        read_pair(m, pair, map);
}

static void read_sums(manifest_reader *m, const ice_avro_type *t)
{
    bool present;
    ice_reader r = ice_reader_of(ice_avro_bytes(m->r, t, &present));
    while (present && !m->r->failed && ice_reader_left(&r)) {
        metric got = {.map = FID_CHECKSUMS, .field_id = (int32_t)ice_read_u32(&r)};
        got.count = (int64_t)ice_read_u64(&r);
        m->r->failed |= r.failed || got.field_id < 0;
        metric *slot = m->r->failed ? NULL : new_metric(m);
        if (slot)
            *slot = got;
    }
}

static int cmp_metric(const void *a, const void *b)
{
    const metric *x = a, *y = b;
    return x->field_id != y->field_id ? (x->field_id > y->field_id ? 1 : -1)
                                      : (x->map > y->map) - (x->map < y->map);
}

static void merge_metrics(manifest_reader *m, ice_data_file *f)
{
    size_t n = 0;
    if (m->nmetrics == 0)
        return;
    qsort(m->metrics, m->nmetrics, sizeof *m->metrics, cmp_metric);
    for (size_t i = 0; i < m->nmetrics; i++)
        n += i == 0 || m->metrics[i].field_id != m->metrics[i - 1].field_id;
    f->columns = ICE_NEW_N(m->arena, ice_file_column, n);
    if (!f->columns) {
        fail_nomem(m);
        return;
    }
    for (size_t i = 0; i < m->nmetrics; i++) {
        const metric *k = &m->metrics[i];
        if (k->field_id == 0 && k->map == FID_CHECKSUMS) {
            f->summed = true;
            f->rest_sum = (uint64_t)k->count;
            continue;
        }
        if (i == 0 || k->field_id != m->metrics[i - 1].field_id)
            f->columns[f->ncolumns++] = (ice_file_column){k->field_id, ICE_UNSET,    ICE_UNSET,    ICE_UNSET,
                                                          ICE_UNSET,   ICE_STR_NONE, ICE_STR_NONE, 0};
        ice_file_column *c = &f->columns[f->ncolumns - 1];
        switch (k->map) {
        case FID_COLUMN_SIZES: c->size = k->count; break;
        case FID_VALUE_COUNTS: c->values = k->count; break;
        case FID_NULL_COUNTS: c->nulls = k->count; break;
        case FID_NAN_COUNTS: c->nans = k->count; break;
        case FID_CHECKSUMS: c->sum = (uint64_t)k->count; break;
        case FID_LOWER_BOUNDS: c->lower = k->bytes; break;
        default: c->upper = k->bytes; break;
        }
    }
}

/* ---- the data file ---- */

/* Numbers of a list, collected in blocks that double, into the arena. */
static int64_t *read_list(manifest_reader *m, const ice_avro_type *t, size_t *n)
{
    bool done = false;
    int64_t *out = NULL;
    size_t cap = 0;
    *n = 0;
    t = ice_avro_enter(m->r, t);
    if (!t || t->kind == ICE_AVRO_NULL)
        return NULL;
    if (t->kind != ICE_AVRO_ARRAY) {
        m->r->failed = true;
        return NULL;
    }
    for (int64_t left = 0; ice_avro_more(m->r, &left, &done) && *n < MAX_LIST;) {
        if (!ICE_ROOM(m->arena, out, *n, cap)) {
            fail_nomem(m);
            return NULL;
        }
        out[(*n)++] = number(m, t->items);
    }
    m->r->failed |= !done;
    return out;
}

static void read_equality_ids(manifest_reader *m, const ice_avro_type *t, ice_data_file *f)
{
    int64_t *ids = read_list(m, t, &f->nequality_ids);
    f->equality_ids = ICE_NEW_N(m->arena, int32_t, f->nequality_ids + 1);
    if (!f->equality_ids)
        fail_nomem(m);
    for (size_t i = 0; f->equality_ids && i < f->nequality_ids; i++) {
        m->r->failed |= ids[i] > INT32_MAX;
        f->equality_ids[i] = (int32_t)ids[i];
    }
}

/* Position of an Avro partition field among the values; -1: the spec does not have it. */
static int partition_slot(const manifest_reader *m, const ice_avro_field *f, size_t index)
{
    if (!m->spec)
        return (int)index;
    for (size_t i = 0; i < m->spec->nfields; i++)
        if (m->spec->fields[i].field_id == f->field_id)
            return (int)i;
    return -1;
}

static void read_partition_value(manifest_reader *m, const ice_avro_field *f, int slot, ice_value *out)
{
    ice_avro_value(m->r, f->type, out);
    if (out->null || m->r->failed)
        return;
    if (out->kind == ICE_T_STRING || out->kind == ICE_T_BINARY || out->kind == ICE_T_FIXED)
        out->s = keep(m, out->s);
    /* Readers must accept an int for a day. */
    if (m->spec && m->spec->fields[slot].transform.kind == ICE_TR_DAY && out->kind == ICE_T_INT)
        out->kind = ICE_T_DATE;
}

static void read_partition(manifest_reader *m, const ice_avro_type *t, ice_data_file *f)
{
    t = ice_avro_enter(m->r, t);
    if (!t || t->kind != ICE_AVRO_RECORD) {
        m->r->failed = true;
        return;
    }
    f->npartition = m->spec ? m->spec->nfields : t->n;
    f->partition = ICE_NEW_N(m->arena, ice_value, f->npartition + 1);
    if (!f->partition) {
        fail_nomem(m);
        return;
    }
    for (size_t i = 0; i < f->npartition; i++)
        f->partition[i] = ICE_NULL;
    for (size_t i = 0; i < t->n && !m->r->failed; i++) {
        int slot = partition_slot(m, &t->fields[i], i);
        if (slot < 0)
            ice_avro_skip(m->r, t->fields[i].type);
        else
            read_partition_value(m, &t->fields[i], slot, &f->partition[slot]);
    }
}

static ice_str read_format(manifest_reader *m, const ice_avro_type *t)
{
    static const char *const known[] = {"parquet", "puffin", "avro", "orc"};
    bool present;
    ice_str s = ice_avro_bytes(m->r, t, &present);
    for (size_t i = 0; i < 4; i++)
        if (ice_str_ieq(s, ice_str_c(known[i])))
            return ice_str_c(known[i]);
    return keep(m, s);
}

static void read_file_member(manifest_reader *m, const ice_avro_field *a, ice_data_file *f)
{
    const ice_avro_type *t = a->type;
    int64_t content;
    switch (a->field_id) {
    case FID_CONTENT:
        content = number(m, t);
        m->r->failed |= content > ICE_CONTENT_EQUALITY_DELETES;
        f->content = content > 0 ? (ice_content)content : ICE_CONTENT_DATA;
        break;
    case FID_FILE_PATH: f->path = keep_bytes(m, t); break;
    case FID_FILE_FORMAT: f->format = read_format(m, t); break;
    case FID_PARTITION: read_partition(m, t, f); break;
    case FID_RECORD_COUNT: f->record_count = number(m, t); break;
    case FID_FILE_SIZE: f->size = number(m, t); break;
    case FID_COLUMN_SIZES:
    case FID_VALUE_COUNTS:
    case FID_NULL_COUNTS:
    case FID_NAN_COUNTS:
    case FID_LOWER_BOUNDS:
    case FID_UPPER_BOUNDS: read_map(m, t, a->field_id); break;
    case FID_CHECKSUMS: read_sums(m, t); break;
    case FID_KEY_METADATA: f->key_metadata = keep_bytes(m, t); break;
    case FID_SPLIT_OFFSETS: f->split_offsets = read_list(m, t, &f->nsplit_offsets); break;
    case FID_EQUALITY_IDS: read_equality_ids(m, t, f); break;
    case FID_SORT_ORDER_ID: f->sort_order_id = small_number(m, t); break;
    case FID_FIRST_ROW_ID: f->first_row_id = number(m, t); break;
    case FID_REFERENCED_DATA_FILE: f->referenced_data_file = keep_bytes(m, t); break;
    case FID_CONTENT_OFFSET: f->content_offset = number(m, t); break;
    case FID_CONTENT_SIZE: f->content_size = number(m, t); break;
    default: ice_avro_skip(m->r, t);
    }
}

static void read_data_file(manifest_reader *m, const ice_avro_type *t, ice_data_file *f)
{
    t = ice_avro_enter(m->r, t);
    if (!t || t->kind != ICE_AVRO_RECORD) {
        m->r->failed = true;
        return;
    }
    *f = ice_data_file_init();
    f->record_count = f->size = ICE_UNSET;
    m->nmetrics = 0;
    for (size_t i = 0; i < t->n && !m->r->failed; i++)
        read_file_member(m, &t->fields[i], f);
    if (!m->r->failed)
        merge_metrics(m, f);
}

static void read_entry(manifest_reader *m, const ice_avro_type *t, ice_manifest_entry *e)
{
    int64_t status = ICE_UNSET;
    *e = (ice_manifest_entry){.snapshot_id = ICE_UNSET,
                              .sequence_number = ICE_UNSET,
                              .file_sequence_number = ICE_UNSET,
                              .file = ice_data_file_init()};
    for (size_t i = 0; i < t->n && !m->r->failed; i++) {
        const ice_avro_type *f = t->fields[i].type;
        switch (t->fields[i].field_id) {
        case FID_STATUS: status = number(m, f); break;
        case FID_SNAPSHOT_ID: e->snapshot_id = number(m, f); break;
        case FID_SEQUENCE_NUMBER: e->sequence_number = number(m, f); break;
        case FID_FILE_SEQUENCE_NUMBER: e->file_sequence_number = number(m, f); break;
        case FID_DATA_FILE: read_data_file(m, f, &e->file); break;
        default: ice_avro_skip(m->r, f);
        }
    }
    m->r->failed |= status < 0 || status > ICE_ENTRY_DELETED;
    e->status = status > 0 ? (ice_entry_status)status : ICE_ENTRY_EXISTING;
}

/* ---- inheritance and checks ---- */

static const char *entry_fault(const ice_manifest_entry *e, const ice_manifest_file *file)
{
    const ice_data_file *f = &e->file;
    if (!f->path.ptr || !f->format.ptr || f->record_count < 0 || f->size < 0)
        return "lacks a required field";
    if ((f->content != ICE_CONTENT_DATA) != file->deletes)
        return "has a content that its manifest must not have";
    if (f->content_offset >= 0 && (f->content_size < 0 || !f->referenced_data_file.ptr ||
                                   f->content_offset > f->size - f->content_size))
        return "has a deletion vector that is not within its file";
    return NULL;
}

static ice_code inherit(manifest_reader *m, ice_manifest_entry *e, const ice_manifest_file *file,
                        int64_t *next_row_id)
{
    const char *fault = entry_fault(e, file);
    bool may = e->status == ICE_ENTRY_ADDED || file->sequence_number == 0; /* 0: from version 1 */
    if (!fault && !may && e->sequence_number < 0)
        fault = "exists already but has no sequence number";
    if (fault)
        return ice_fail(m->err, ICE_CORRUPT, "manifest %.*s: the entry of %.*s %s", ICE_PRI(m->path),
                        ICE_PRI(e->file.path), fault);
    if (e->snapshot_id < 0)
        e->snapshot_id = file->added_snapshot_id;
    if (e->sequence_number < 0)
        e->sequence_number = file->sequence_number;
    if (e->file_sequence_number < 0)
        e->file_sequence_number = may ? file->sequence_number : e->sequence_number;
    if (e->file.content != ICE_CONTENT_DATA)
        e->file.first_row_id = ICE_UNSET;
    else if (*next_row_id >= 0 && e->file.first_row_id < 0 && e->status != ICE_ENTRY_DELETED) {
        e->file.first_row_id = *next_row_id;
        if (__builtin_add_overflow(*next_row_id, e->file.record_count, next_row_id))
            return ice_fail(m->err, ICE_CORRUPT, "manifest %.*s: row ids overflow", ICE_PRI(m->path));
    }
    return ICE_OK;
}

/* Grows the arena array whose pointer `items` points to, by doubling. */
static ice_code room_for(ice_arena *a, void *items, size_t n, size_t *cap, size_t size, ice_error *err)
{
    void *old;
    if (n < *cap)
        return ICE_OK;
    size_t more = *cap ? *cap * 2 : 16;
    void *grown = ice_arena_array(a, more, size);
    if (!grown)
        return ice_fail_nomem(err);
    memcpy(&old, items, sizeof old);
    if (n)
        memcpy(grown, old, n * size);
    memcpy(items, &grown, sizeof grown);
    *cap = more;
    return ICE_OK;
}

static ice_code record_schema(ice_avro_reader *avro, ice_str path, const ice_avro_type **out, ice_error *err)
{
    *out = ice_avro_schema(avro);
    if ((*out)->kind != ICE_AVRO_RECORD)
        return ice_fail(err, ICE_CORRUPT, "%.*s: its records are no structs", ICE_PRI(path));
    return ICE_OK;
}

ice_code ice_manifest_read(ice_str bytes, const ice_manifest_file *file, const ice_partition_spec *spec,
                           bool live, ice_arena *a, ice_manifest_entry **out, size_t *n, ice_error *err)
{
    manifest_reader m = {.arena = a, .err = err, .path = file->path, .spec = spec};
    ice_avro_reader *avro = NULL;
    const ice_avro_type *t;
    int64_t next_row_id = file->deletes ? ICE_UNSET : file->first_row_id;
    size_t cap = 0;
    bool more;
    ice_code rc;
    *out = NULL;
    *n = 0;
    ICE_TRY(ice_avro_open(bytes, file->path, &avro, err));
    ICE_TRY(record_schema(avro, file->path, &t, err));
    for (;;) {
        ICE_TRY(ice_avro_next(avro, &m.r, &more, err));
        if (!more)
            break;
        ICE_TRY(room_for(a, out, *n, &cap, sizeof **out, err));
        ice_manifest_entry *e = &(*out)[*n];
        read_entry(&m, t, e);
        ICE_TRY(m.rc);
        ICE_TRY(ice_avro_check(avro, err));
        ICE_TRY(inherit(&m, e, file, &next_row_id));
        *n += !(live && e->status == ICE_ENTRY_DELETED);
    }
out:
    ice_avro_close(avro);
    free(m.metrics);
    return rc;
}

/* ---- manifest lists ---- */

static void read_summary(manifest_reader *m, const ice_avro_type *t, ice_field_summary *s)
{
    bool present;
    *s = (ice_field_summary){.contains_null = true, .contains_nan = -1};
    t = ice_avro_enter(m->r, t);
    if (!t || t->kind != ICE_AVRO_RECORD) {
        m->r->failed = true;
        return;
    }
    for (size_t i = 0; i < t->n && !m->r->failed; i++) {
        const ice_avro_type *f = t->fields[i].type;
        switch (t->fields[i].field_id) {
        case FID_CONTAINS_NULL: s->contains_null = ice_avro_long(m->r, f, &present) != 0; break;
        case FID_CONTAINS_NAN:
            s->contains_nan = ice_avro_long(m->r, f, &present) != 0;
            s->contains_nan = present ? s->contains_nan : -1;
            break;
        case FID_LOWER_BOUND: s->lower = keep_bytes(m, f); break;
        case FID_UPPER_BOUND: s->upper = keep_bytes(m, f); break;
        default: ice_avro_skip(m->r, f);
        }
    }
}

static void read_summaries(manifest_reader *m, const ice_avro_type *t, ice_manifest_file *f)
{
    bool done = false;
    size_t cap = 0;
    t = ice_avro_enter(m->r, t);
    if (!t || t->kind == ICE_AVRO_NULL)
        return;
    if (t->kind != ICE_AVRO_ARRAY) {
        m->r->failed = true;
        return;
    }
    for (int64_t left = 0; ice_avro_more(m->r, &left, &done);) {
        if (room_for(m->arena, &f->partitions, f->npartitions, &cap, sizeof *f->partitions, m->err) !=
            ICE_OK) {
            fail_nomem(m);
            return;
        }
        read_summary(m, t->items, &f->partitions[f->npartitions++]);
    }
}

static void read_list_member(manifest_reader *m, const ice_avro_field *a, ice_manifest_file *f)
{
    const ice_avro_type *t = a->type;
    switch (a->field_id) {
    case FID_MANIFEST_PATH: f->path = keep_bytes(m, t); break;
    case FID_MANIFEST_LENGTH: f->length = number(m, t); break;
    case FID_SPEC_ID: f->spec_id = small_number(m, t); break;
    case FID_MANIFEST_CONTENT: f->deletes = number(m, t) == 1; break;
    case FID_MANIFEST_SEQUENCE: f->sequence_number = number(m, t); break;
    case FID_MIN_SEQUENCE: f->min_sequence_number = number(m, t); break;
    case FID_ADDED_SNAPSHOT_ID: f->added_snapshot_id = number(m, t); break;
    case FID_ADDED_FILES: f->added_files = number(m, t); break;
    case FID_EXISTING_FILES: f->existing_files = number(m, t); break;
    case FID_DELETED_FILES: f->deleted_files = number(m, t); break;
    case FID_ADDED_ROWS: f->added_rows = number(m, t); break;
    case FID_EXISTING_ROWS: f->existing_rows = number(m, t); break;
    case FID_DELETED_ROWS: f->deleted_rows = number(m, t); break;
    case FID_PARTITIONS: read_summaries(m, t, f); break;
    case FID_LIST_KEY_METADATA: f->key_metadata = keep_bytes(m, t); break;
    case FID_LIST_FIRST_ROW_ID: f->first_row_id = number(m, t); break;
    default: ice_avro_skip(m->r, t);
    }
}

static void read_manifest_file(manifest_reader *m, const ice_avro_type *t, ice_manifest_file *f)
{
    *f = (ice_manifest_file){.length = ICE_UNSET,
                             .spec_id = -1,
                             .added_snapshot_id = ICE_UNSET,
                             .added_files = ICE_UNSET,
                             .existing_files = ICE_UNSET,
                             .deleted_files = ICE_UNSET,
                             .added_rows = ICE_UNSET,
                             .existing_rows = ICE_UNSET,
                             .deleted_rows = ICE_UNSET,
                             .first_row_id = ICE_UNSET};
    for (size_t i = 0; i < t->n && !m->r->failed; i++)
        read_list_member(m, &t->fields[i], f);
    m->r->failed |= !f->path.ptr || f->length < 0 || f->spec_id < 0 || f->added_snapshot_id < 0 ||
                    f->sequence_number < 0 || f->min_sequence_number < 0;
}

ice_code ice_manifest_list_read(ice_str bytes, ice_str path, ice_arena *a, ice_manifest_file **out, size_t *n,
                                ice_error *err)
{
    manifest_reader m = {.arena = a, .err = err, .path = path};
    ice_avro_reader *avro = NULL;
    const ice_avro_type *t;
    size_t cap = 0;
    bool more;
    ice_code rc;
    *out = NULL;
    *n = 0;
    ICE_TRY(ice_avro_open(bytes, path, &avro, err));
    ICE_TRY(record_schema(avro, path, &t, err));
    for (;;) {
        ICE_TRY(ice_avro_next(avro, &m.r, &more, err));
        if (!more)
            break;
        ICE_TRY(room_for(a, out, *n, &cap, sizeof **out, err));
        read_manifest_file(&m, t, &(*out)[(*n)++]);
        ICE_TRY(m.rc);
        ICE_TRY(ice_avro_check(avro, err));
    }
out:
    ice_avro_close(avro);
    return rc;
}
