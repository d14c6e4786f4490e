#include "format/format_int.h"

/* ---- looking up ---- */

const ice_schema *ice_metadata_schema(const ice_metadata *m, int32_t schema_id)
{
    for (size_t i = 0; i < m->nschemas; i++)
        if (m->schemas[i].schema_id == schema_id)
            return &m->schemas[i];
    return NULL;
}

const ice_schema *ice_metadata_current_schema(const ice_metadata *m)
{
    return ice_metadata_schema(m, m->current_schema_id);
}

const ice_partition_spec *ice_metadata_spec(const ice_metadata *m, int32_t spec_id)
{
    for (size_t i = 0; i < m->nspecs; i++)
        if (m->specs[i].spec_id == spec_id)
            return &m->specs[i];
    return NULL;
}

const ice_snapshot *ice_metadata_snapshot(const ice_metadata *m, int64_t id)
{
    for (size_t i = m->nsnapshots; i-- > 0;)
        if (m->snapshots[i].id == id)
            return &m->snapshots[i];
    return NULL;
}

const ice_snapshot *ice_metadata_current_snapshot(const ice_metadata *m)
{
    return m->current_snapshot_id < 0 ? NULL : ice_metadata_snapshot(m, m->current_snapshot_id);
}

const ice_snapshot *ice_metadata_snapshot_at(const ice_metadata *m, int64_t timestamp_ms)
{
    for (size_t i = m->nsnapshot_log; i-- > 0;)
        if (m->snapshot_log[i].timestamp_ms <= timestamp_ms)
            return ice_metadata_snapshot(m, m->snapshot_log[i].snapshot_id);
    return NULL;
}

ice_str ice_metadata_property(const ice_metadata *m, const char *key)
{
    for (size_t i = 0; i < m->nproperties; i++)
        if (ice_str_eqc(m->properties[i].key, key))
            return m->properties[i].value;
    return ICE_STR_NONE;
}

ice_str ice_snapshot_summary(const ice_snapshot *s, const char *key)
{
    for (size_t i = 0; i < s->nsummary; i++)
        if (ice_str_eqc(s->summary[i].key, key))
            return s->summary[i].value;
    return ICE_STR_NONE;
}

/* ---- copies into the model's arena ---- */

static ice_code copy_str(ice_metadata *m, ice_str *s, ice_error *err)
{
    if (!s->ptr)
        return ICE_OK;
    *s = ice_arena_str(m->arena, *s);
    return s->ptr ? ICE_OK : ice_fail_nomem(err);
}

static ice_code copy_field(ice_metadata *m, ice_field *f, ice_error *err)
{
    ice_code rc;
    ICE_TRY(copy_str(m, &f->name, err));
    ICE_TRY(copy_str(m, &f->type_json, err));
    ICE_TRY(copy_str(m, &f->doc, err));
    ICE_TRY(copy_str(m, &f->initial_json, err));
    ICE_TRY(copy_str(m, &f->write_json, err));
    if (f->has_initial)
        ICE_TRY(ice_value_copy(m->arena, &f->initial_default, &f->initial_default, err));
    if (f->has_write)
        ICE_TRY(ice_value_copy(m->arena, &f->write_default, &f->write_default, err));
out:
    return rc;
}

static ice_code copy_schema(ice_metadata *m, const ice_schema *s, ice_schema *out, ice_error *err)
{
    ice_code rc = ICE_OK;
    *out = *s;
    out->fields = ICE_NEW_N(m->arena, ice_field, s->nfields + 1);
    out->identifiers = ICE_NEW_N(m->arena, int32_t, s->nidentifiers + 1);
    if (!out->fields || !out->identifiers)
        return ice_fail_nomem(err);
    if (s->nidentifiers)
        memcpy(out->identifiers, s->identifiers, s->nidentifiers * sizeof *s->identifiers);
    for (size_t i = 0; i < s->nfields; i++) {
        out->fields[i] = s->fields[i];
        ICE_TRY(copy_field(m, &out->fields[i], err));
    }
out:
    return rc;
}

/* ---- editing ---- */

ice_code ice_metadata_create(ice_arena *a, ice_uuid uuid, ice_str location, const ice_schema *schema,
                             int64_t now_ms, ice_metadata **out, ice_error *err)
{
    ice_code rc;
    ice_metadata *m = ICE_NEW(a, ice_metadata);
    *out = NULL;
    if (!m)
        return ice_fail_nomem(err);
    *m =
        (ice_metadata){.arena = a, .format_version = 3, .uuid = uuid, .has_uuid = true, .location = location};
    m->last_updated_ms = now_ms;
    m->last_partition_id = 999;
    m->current_snapshot_id = ICE_UNSET;
    m->specs = ICE_NEW_N(a, ice_partition_spec, 1);
    m->orders = ICE_NEW_N(a, ice_sort_order, 1);
    if (!m->specs || !m->orders)
        return ice_fail_nomem(err);
    m->nspecs = m->norders = 1;
    while (m->location.len > 1 && m->location.ptr[m->location.len - 1] == '/')
        m->location.len--;
    ICE_TRY(copy_str(m, &m->location, err));
    ICE_TRY(ice_metadata_set_schema(m, schema, 0, err));
    *out = m;
out:
    return rc;
}

ice_code ice_metadata_upgrade(ice_metadata *m, ice_error *err)
{
    for (size_t i = 0; i < m->nsnapshots; i++)
        if (!m->snapshots[i].manifest_list.ptr)
            return ice_fail(err, ICE_UNSUPPORTED,
                            "snapshot %lld lists its manifests inline, which version 3 forbids",
                            (long long)m->snapshots[i].id);
    if (m->format_version < 3)
        m->next_row_id = 0;
    if (!m->has_uuid)
        m->uuid = ice_uuid_random();
    m->has_uuid = true;
    m->format_version = 3;
    return ICE_OK;
}

ice_code ice_metadata_set_schema(ice_metadata *m, const ice_schema *s, int32_t last_column_id, ice_error *err)
{
    ice_code rc = ICE_OK;
    const ice_schema *same = ice_metadata_schema(m, s->schema_id);
    if (same && !ice_schema_eq(same, s))
        return ice_fail(err, ICE_CONFLICT, "table metadata: another schema has the id %d already",
                        s->schema_id);
    if (!same) {
        ice_schema *grown = ice__array_add(m->arena, m->schemas, m->nschemas, sizeof *grown);
        if (!grown)
            return ice_fail_nomem(err);
        ICE_TRY(copy_schema(m, s, &grown[m->nschemas], err));
        m->schemas = grown;
        m->nschemas++;
    }
    m->current_schema_id = s->schema_id;
    if (last_column_id > m->last_column_id)
        m->last_column_id = last_column_id;
    if (s->highest_id > m->last_column_id)
        m->last_column_id = s->highest_id;
out:
    return rc;
}

void ice_metadata_prune_schemas(ice_metadata *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->nschemas; i++) {
        bool used = m->schemas[i].schema_id == m->current_schema_id;
        for (size_t k = 0; k < m->nsnapshots && !used; k++)
            used = m->snapshots[k].schema_id == m->schemas[i].schema_id;
        if (used)
            m->schemas[kept++] = m->schemas[i];
    }
    m->nschemas = kept;
}

static bool transform_eq(ice_transform x, ice_str x_text, ice_transform y, ice_str y_text)
{
    return x.kind == y.kind && x.param == y.param && (x.kind != ICE_TR_UNKNOWN || ice_str_eq(x_text, y_text));
}

static bool partition_field_eq(const ice_partition_field *x, const ice_partition_field *y)
{
    return x->source_id == y->source_id && ice_str_eq(x->source_ids_json, y->source_ids_json) &&
           transform_eq(x->transform, x->transform_text, y->transform, y->transform_text);
}

static bool spec_eq(const ice_partition_spec *x, const ice_partition_spec *y)
{
    if (x->nfields != y->nfields)
        return false;
    for (size_t i = 0; i < x->nfields; i++)
        if (!partition_field_eq(&x->fields[i], &y->fields[i]) ||
            !ice_str_eq(x->fields[i].name, y->fields[i].name))
            return false;
    return true;
}

/* The id an equivalent field of an older spec has, or the next one. */
static int32_t partition_field_id(ice_metadata *m, const ice_partition_field *f)
{
    for (size_t s = 0; s < m->nspecs; s++)
        for (size_t i = 0; i < m->specs[s].nfields; i++)
            if (partition_field_eq(&m->specs[s].fields[i], f))
                return m->specs[s].fields[i].field_id;
    return ++m->last_partition_id;
}

static ice_code append_spec(ice_metadata *m, const ice_partition_spec *spec, int32_t *spec_id, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_partition_spec *grown = ice__array_add(m->arena, m->specs, m->nspecs, sizeof *grown);
    ice_partition_field *fields = ICE_NEW_N(m->arena, ice_partition_field, spec->nfields + 1);
    if (!grown || !fields)
        return ice_fail_nomem(err);
    int32_t id = -1;
    for (size_t i = 0; i < m->nspecs; i++)
        if (m->specs[i].spec_id > id)
            id = m->specs[i].spec_id;
    for (size_t i = 0; i < spec->nfields; i++) {
        fields[i] = spec->fields[i];
        fields[i].field_id = partition_field_id(m, &spec->fields[i]);
        ICE_TRY(copy_str(m, &fields[i].name, err));
        ICE_TRY(copy_str(m, &fields[i].transform_text, err));
        ICE_TRY(copy_str(m, &fields[i].source_ids_json, err));
    }
    grown[m->nspecs] = (ice_partition_spec){id + 1, spec->nfields, fields};
    m->specs = grown;
    m->nspecs++;
    *spec_id = id + 1;
out:
    return rc;
}

ice_code ice_metadata_add_spec(ice_metadata *m, const ice_partition_spec *spec, bool make_default,
                               int32_t *spec_id, ice_error *err)
{
    ice_code rc = ICE_OK;
    size_t i = 0;
    while (i < m->nspecs && !spec_eq(&m->specs[i], spec))
        i++;
    if (i < m->nspecs)
        *spec_id = m->specs[i].spec_id;
    else
        rc = append_spec(m, spec, spec_id, err);
    if (rc == ICE_OK && make_default)
        m->default_spec_id = *spec_id;
    return rc;
}

static bool order_eq(const ice_sort_order *x, const ice_sort_order *y)
{
    if (x->nfields != y->nfields)
        return false;
    for (size_t i = 0; i < x->nfields; i++) {
        const ice_sort_field *f = &x->fields[i], *g = &y->fields[i];
        if (f->source_id != g->source_id || f->descending != g->descending ||
            f->nulls_last != g->nulls_last || !ice_str_eq(f->source_ids_json, g->source_ids_json) ||
            !transform_eq(f->transform, f->transform_text, g->transform, g->transform_text))
            return false;
    }
    return true;
}

static ice_code append_order(ice_metadata *m, const ice_sort_order *o, int32_t *order_id, ice_error *err)
{
    ice_code rc = ICE_OK;
    ice_sort_order *grown = ice__array_add(m->arena, m->orders, m->norders, sizeof *grown);
    ice_sort_field *fields = ICE_NEW_N(m->arena, ice_sort_field, o->nfields + 1);
    if (!grown || !fields)
        return ice_fail_nomem(err);
    int32_t id = 0;
    for (size_t i = 0; i < m->norders; i++)
        if (m->orders[i].order_id > id)
            id = m->orders[i].order_id;
    for (size_t i = 0; i < o->nfields; i++) {
        fields[i] = o->fields[i];
        ICE_TRY(copy_str(m, &fields[i].transform_text, err));
        ICE_TRY(copy_str(m, &fields[i].source_ids_json, err));
    }
    *order_id = o->nfields ? id + 1 : 0;
    grown[m->norders] = (ice_sort_order){*order_id, o->nfields, fields};
    m->orders = grown;
    m->norders++;
out:
    return rc;
}

ice_code ice_metadata_add_sort_order(ice_metadata *m, const ice_sort_order *o, bool make_default,
                                     int32_t *order_id, ice_error *err)
{
    ice_code rc = ICE_OK;
    size_t i = 0;
    while (i < m->norders && !order_eq(&m->orders[i], o))
        i++;
    if (i < m->norders)
        *order_id = m->orders[i].order_id;
    else
        rc = append_order(m, o, order_id, err);
    if (rc == ICE_OK && make_default)
        m->default_sort_order_id = *order_id;
    return rc;
}

ice_code ice_metadata_set_property(ice_metadata *m, ice_str key, ice_str value, ice_error *err)
{
    size_t i = 0;
    while (i < m->nproperties && !ice_str_eq(m->properties[i].key, key))
        i++;
    if (!value.ptr) {
        if (i < m->nproperties)
            memmove(&m->properties[i], &m->properties[i + 1], (--m->nproperties - i) * sizeof *m->properties);
        return ICE_OK;
    }
    if (i == m->nproperties) {
        ice_kv *grown = ice__array_add(m->arena, m->properties, m->nproperties, sizeof *grown);
        if (!grown)
            return ice_fail_nomem(err);
        m->properties = grown;
        m->properties[i] = (ice_kv){key, ICE_STR_NONE};
        ice_code rc = copy_str(m, &m->properties[i].key, err);
        if (rc != ICE_OK)
            return rc;
        m->nproperties++;
    }
    m->properties[i].value = value;
    return copy_str(m, &m->properties[i].value, err);
}

/* ---- snapshots ---- */

int64_t ice_metadata_new_snapshot_id(const ice_metadata *m)
{
    int64_t id;
    do
        id = (int64_t)(ice_random64() >> 1);
    while (id == 0 || ice_metadata_snapshot(m, id));
    return id;
}

static ice_code set_main(ice_metadata *m, int64_t snapshot_id, ice_error *err)
{
    m->current_snapshot_id = snapshot_id;
    for (size_t i = 0; i < m->nrefs; i++)
        if (ice_str_eqc(m->refs[i].name, "main")) {
            m->refs[i].snapshot_id = snapshot_id;
            return ICE_OK;
        }
    ice_meta_ref *grown = ice__array_add(m->arena, m->refs, m->nrefs, sizeof *grown);
    if (!grown)
        return ice_fail_nomem(err);
    grown[m->nrefs] = (ice_meta_ref){ICE_STR("main"), snapshot_id, false, ICE_UNSET, ICE_UNSET, ICE_UNSET};
    m->refs = grown;
    m->nrefs++;
    return ICE_OK;
}

static ice_code copy_snapshot(ice_metadata *m, const ice_snapshot *s, ice_snapshot *out, ice_error *err)
{
    ice_code rc;
    *out = *s;
    ICE_TRY(copy_str(m, &out->manifest_list, err));
    ICE_TRY(copy_str(m, &out->key_id, err));
    out->summary = ICE_NEW_N(m->arena, ice_kv, s->nsummary + 1);
    if (!out->summary)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < s->nsummary; i++) {
        out->summary[i] = s->summary[i];
        ICE_TRY(copy_str(m, &out->summary[i].key, err));
        ICE_TRY(copy_str(m, &out->summary[i].value, err));
    }
out:
    return rc;
}

static ice_code check_new_snapshot(const ice_metadata *m, const ice_snapshot *s, ice_error *err)
{
    if (m->format_version != 3)
        return ice_fail(err, ICE_MISUSE, "a snapshot is added to version 3 only, not %d", m->format_version);
    if (s->id <= 0 || ice_metadata_snapshot(m, s->id))
        return ice_fail(err, ICE_MISUSE, "snapshot id %lld is taken or not positive", (long long)s->id);
    if (!s->manifest_list.ptr || !ice_snapshot_summary(s, "operation").ptr || s->added_rows < 0)
        return ice_fail(err, ICE_MISUSE,
                        "a snapshot needs manifest_list, summary \"operation\" and added_rows");
    return ICE_OK;
}

ice_code ice_metadata_add_snapshot(ice_metadata *m, ice_snapshot *s, ice_error *err)
{
    ice_code rc;
    ice_snapshot *grown = NULL;
    ice_log_entry *entries = NULL;
    ICE_TRY(check_new_snapshot(m, s, err));
    grown = ice__array_add(m->arena, m->snapshots, m->nsnapshots, sizeof *grown);
    entries = ice__array_add(m->arena, m->snapshot_log, m->nsnapshot_log, sizeof *entries);
    if (!grown || !entries)
        return ice_fail_nomem(err);
    s->sequence_number = ice_metadata_next_sequence(m);
    s->parent_id = m->current_snapshot_id;
    s->first_row_id = m->next_row_id;
    if (s->schema_id < 0)
        s->schema_id = m->current_schema_id;
    /* Readers require snapshot-log to ascend. */
    if (m->nsnapshot_log && s->timestamp_ms < entries[m->nsnapshot_log - 1].timestamp_ms)
        s->timestamp_ms = entries[m->nsnapshot_log - 1].timestamp_ms;
    ICE_TRY(copy_snapshot(m, s, &grown[m->nsnapshots], err));
    entries[m->nsnapshot_log] = (ice_log_entry){.timestamp_ms = s->timestamp_ms, .snapshot_id = s->id};
    m->snapshots = grown;
    m->nsnapshots++;
    m->snapshot_log = entries;
    m->nsnapshot_log++;
    m->last_sequence_number = s->sequence_number;
    m->next_row_id += s->added_rows;
    if (m->last_updated_ms < s->timestamp_ms)
        m->last_updated_ms = s->timestamp_ms;
    ICE_TRY(set_main(m, s->id, err));
out:
    return rc;
}

/* Marks what a branch keeps of its line: its head, `keep` newest, and all since. */
static void mark_branch(const ice_metadata *m, int64_t head, size_t keep, int64_t since_ms, bool *kept)
{
    const ice_snapshot *s = ice_metadata_snapshot(m, head);
    for (size_t n = 0; s && n < m->nsnapshots; n++) {
        if (n > 0 && n >= keep && s->timestamp_ms < since_ms)
            break;
        kept[s - m->snapshots] = true;
        s = s->parent_id < 0 ? NULL : ice_metadata_snapshot(m, s->parent_id);
    }
}

/* Drops log entries up to the last one that names a snapshot no longer there: history with holes would lie.
 */
static void cut_snapshot_log(ice_metadata *m)
{
    size_t from = m->nsnapshot_log;
    while (from > 0 && ice_metadata_snapshot(m, m->snapshot_log[from - 1].snapshot_id))
        from--;
    m->snapshot_log += from;
    m->nsnapshot_log -= from;
}

static size_t keep_statistics(const ice_metadata *m, ice_statistics *s, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (ice_metadata_snapshot(m, s[i].snapshot_id))
            s[kept++] = s[i];
    return kept;
}

ice_code ice_metadata_expire(ice_metadata *m, size_t keep, int64_t since_ms, ice_snapshot **removed,
                             size_t *nremoved, ice_error *err)
{
    bool *kept = ICE_NEW_N(m->arena, bool, m->nsnapshots + 1);
    ice_snapshot *left = ICE_NEW_N(m->arena, ice_snapshot, m->nsnapshots + 1);
    *nremoved = 0;
    *removed = ICE_NEW_N(m->arena, ice_snapshot, m->nsnapshots + 1);
    if (!kept || !left || !*removed)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < m->nrefs; i++) {
        const ice_meta_ref *r = &m->refs[i];
        bool is_main = ice_str_eqc(r->name, "main");
        /* Other branches and tags are other people's: a branch keeps its whole line. */
        size_t n = is_main ? keep : r->tag ? 1 : m->nsnapshots;
        mark_branch(m, r->snapshot_id, n, is_main ? since_ms : INT64_MAX, kept);
    }
    size_t nleft = 0;
    for (size_t i = 0; i < m->nsnapshots; i++) {
        if (kept[i])
            left[nleft++] = m->snapshots[i];
        else
            (*removed)[(*nremoved)++] = m->snapshots[i];
    }
    m->snapshots = left;
    m->nsnapshots = nleft;
    cut_snapshot_log(m);
    m->nstatistics = keep_statistics(m, m->statistics, m->nstatistics);
    m->npartition_statistics = keep_statistics(m, m->partition_statistics, m->npartition_statistics);
    return ICE_OK;
}

ice_code ice_metadata_log_previous(ice_metadata *m, ice_str previous_file, int64_t now_ms, size_t max,
                                   ice_str **dropped, size_t *ndropped, ice_error *err)
{
    size_t n = m->nmetadata_log + 1, drop = n > max ? n - max : 0;
    ice_log_entry *entries = ice__array_add(m->arena, m->metadata_log, m->nmetadata_log, sizeof *entries);
    ice_str *files = ICE_NEW_N(m->arena, ice_str, drop + 1);
    if (!entries || !files)
        return ice_fail_nomem(err);
    entries[n - 1] = (ice_log_entry){.timestamp_ms = m->last_updated_ms, .file = previous_file};
    ice_code rc = copy_str(m, &entries[n - 1].file, err);
    if (rc != ICE_OK)
        return rc;
    for (size_t i = 0; i < drop; i++)
        files[i] = entries[i].file;
    if (dropped) {
        *dropped = files;
        *ndropped = drop;
    }
    m->metadata_log = entries + drop;
    m->nmetadata_log = n - drop;
    if (m->last_updated_ms < now_ms)
        m->last_updated_ms = now_ms;
    return ICE_OK;
}
