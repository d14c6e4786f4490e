/* Queries over data files for writing new ones: every arm of the UNION ALL reads one file or the tail, in the
 * same columns, with the row lineage of where it comes from. */
#include "table/flush_int.h"

#include <stdlib.h>

void ice__read_failed(ice_error *err, ice_str what)
{
    switch (err ? err->code : ICE_OK) {
    case ICE_SYNTAX:
    case ICE_NO_COLUMN:
    case ICE_BAD_VALUE:
    case ICE_RANGE:
    case ICE_DATETIME:
    case ICE_ENGINE: err->code = ICE_CORRUPT; /* fall through */
    case ICE_CORRUPT: ice_error_prefix(err, "%.*s", ICE_PRI(what)); break;
    default: break;
    }
}

enum { FEW_ROWS = 512 };

void ice__reading_init(ice__reading *r, ice_env *env, const ice_column *cols, size_t ncols, ice_arena *a)
{
    *r = (ice__reading){.env = env, .a = a, .cols = cols, .ncols = ncols};
}

void ice__reading_free(ice__reading *r)
{
    for (size_t i = 0; i < r->nnames; i++)
        if (r->names[i].source)
            r->names[i].source->m->release(r->names[i].source);
    ice_buf_free(&r->sql);
    *r = (ice__reading){0};
}

ice_code ice__reading_add(ice__reading *r, ice_source *source, char **name, ice_error *err)
{
    *name = ice_arena_printf(r->a, "__ice_write_%zu", r->nnames);
    if (!*name || !ICE_ROOM(r->a, r->names, r->nnames, r->cap)) {
        source->m->release(source);
        return ice_fail_nomem(err);
    }
    r->names[r->nnames++] = (ice__name){.name = ice_str_c(*name), .source = source};
    return ICE_OK;
}

/* ---- one arm ---- */

typedef struct arm {
    const ice__reading *r;
    ice_published *s;
    const ice__file *f;
    const char *ended; /* joined with, for the ends; or */
    const ice_ended *all; /* every row's end is this one's */
} arm;

static bool physical(const arm *m, int32_t field_id)
{
    return ice_data_file_column(&m->f->entry.file, field_id) != NULL;
}

static bool stored(const arm *m, int32_t field_id)
{
    if (field_id == ICE_FIELD_ROW_START)
        return m->f->has_start && !m->f->fixed_start;
    if (ice__is_lineage(field_id))
        return physical(m, field_id);
    if (field_id == ICE_FIELD_ROW_END || field_id == ICE_FIELD_OPERATION)
        return !m->ended && !m->all;
    return true;
}

/* The columns to read from the file, lineage last. */
static size_t stored_columns(const arm *m, ice_column *out, size_t *nplain)
{
    size_t n = 0;
    for (size_t i = 0; i < m->r->ncols; i++)
        if (!ice__is_lineage(m->r->cols[i].field_id) && stored(m, m->r->cols[i].field_id))
            out[n++] = m->r->cols[i];
    *nplain = n;
    for (size_t i = 0; i < m->r->ncols; i++)
        if (ice__is_lineage(m->r->cols[i].field_id) && stored(m, m->r->cols[i].field_id))
            out[n++] = m->r->cols[i];
    return n;
}

/* What lineage a row has that its file does not spell out (spec, "Row lineage assignment"). */
static void put_lineage(const arm *m, const ice_column *c, ice_buf *b)
{
    const ice_manifest_entry *e = &m->f->entry;
    bool id = c->field_id == ICE__FIELD_ROW_ID, own = physical(m, c->field_id);
    if (own) {
        ice_buf_puts(b, "COALESCE(f.");
        ice_buf_put_ident(b, c->name);
        ice_buf_puts(b, ", ");
    }
    if (id && e->file.first_row_id >= 0)
        ice_buf_printf(b, "f.file_row_number + %lld", (long long)e->file.first_row_id);
    else if (!id && e->sequence_number >= 0)
        ice_buf_printf(b, "CAST(%lld AS BIGINT)", (long long)e->sequence_number);
    else
        ice__put_null(c, b);
    ice_buf_puts(b, own ? ")" : "");
}

static void put_column(const arm *m, const ice_column *c, ice_buf *b)
{
    bool end = c->field_id == ICE_FIELD_ROW_END || c->field_id == ICE_FIELD_OPERATION;
    if (ice__is_lineage(c->field_id)) {
        put_lineage(m, c, b);
    } else if (m->all && end) {
        if (c->field_id == ICE_FIELD_ROW_END)
            ice__put_time(m->all->end, b);
        else
            ice__put_operation(m->all->op, b);
    } else if (m->ended && (c->field_id == ICE_FIELD_ROW_END || c->field_id == ICE_FIELD_OPERATION)) {
        ice_buf_puts(b, "d.");
        ice_buf_put_ident(b, c->name);
    } else if (c->field_id == ICE_FIELD_ROW_START && m->f->fixed_start) {
        ice__put_time(m->f->min_start, b);
    } else if (stored(m, c->field_id)) {
        ice_buf_puts(b, "f.");
        ice_buf_put_ident(b, c->name);
    } else {
        ice__put_null(c, b);
    }
}

/* Few ended rows: named in the text, so that the reader skips row groups. */
static void put_few(const ice__places *p, ice_buf *b)
{
    ice_buf_puts(b, " WHERE f.file_row_number IN (");
    for (uint64_t i = 0; i < p->n; i++)
        ice_buf_printf(b, "%s%lld", i ? ", " : "", (long long)p->positions[i]);
    ice_buf_puts(b, ")");
}

static ice_code put_arm(ice__reading *r, const arm *m, const char *join, const char *name,
                        const ice__places *few, ice_error *err)
{
    ice_column *cols = ICE_NEW_N(r->a, ice_column, r->ncols + 1);
    size_t nplain;
    if (!cols)
        return ice_fail_nomem(err);
    size_t n = stored_columns(m, cols, &nplain);
    ice_code rc = ice__file_prove(m->f, cols, n, err);
    if (rc != ICE_OK)
        return rc;
    ice_buf_puts(&r->sql, r->sql.len ? " UNION ALL SELECT " : "SELECT ");
    for (size_t i = 0; i < r->ncols; i++) {
        ice_buf_puts(&r->sql, i ? ", " : "");
        put_column(m, &r->cols[i], &r->sql);
    }
    ice_buf_puts(&r->sql, " FROM ");
    ice_parquet_scan_sql(&m->f->path, 1, cols, n, ice__file_evolved(m->s, m->f, cols, nplain), true, &r->sql);
    ice_buf_puts(&r->sql, " AS f");
    if (name)
        ice_buf_printf(&r->sql, " %s JOIN \"%s\" AS d ON f.file_row_number = d.\"pos\"", join, name);
    if (few && few->n <= FEW_ROWS)
        put_few(few, &r->sql);
    return ice_buf_check(&r->sql, err);
}

ice_code ice__read_live(ice__reading *r, ice_published *s, uint32_t file, ice__dead *dead, int64_t at,
                        ice_error *err)
{
    arm m = {.r = r, .s = s, .f = &s->files[file]};
    uint64_t rows = (uint64_t)m.f->entry.file.record_count;
    ice__places p = {0};
    ice_source *source;
    char *name = NULL;
    const ice_dv *dv;
    ice_code rc;
    ICE_TRY(ice__file_dv(s, &s->files[file], &dv, err));
    if ((dv ? ice_dv_count(dv) : 0) + ice__dead_in_file(dead, file, at) >= rows)
        goto out;
    ICE_TRY(ice__places_add_vector(&p, dv, err));
    ICE_TRY(ice__dead_each(dead, file, at, ice__places_add_dead, &p, err));
    if (p.n >= rows)
        goto out;
    if (p.n) {
        ICE_TRY(ice__places_source(&p, false, &source, err));
        ICE_TRY(ice__reading_add(r, source, &name, err));
    }
    ICE_TRY(put_arm(r, &m, "ANTI", name, NULL, err));
    r->rows += rows - p.n;
out:
    ice__places_free(&p);
    return rc;
}

/* Most rows of a file, ended all at once by a bulk statement: named by the few others. */
static ice_code read_most(ice__reading *r, arm *m, const ice_ended *e, ice_error *err)
{
    uint64_t rows = (uint64_t)m->f->entry.file.record_count;
    ice__places others = {0};
    ice_source *source;
    char *name = NULL;
    ice_code rc;
    m->all = e;
    ICE_TRY(ice__places_add_others(&others, e->rows, rows, err));
    if (others.n) {
        ICE_TRY(ice__places_source(&others, false, &source, err));
        ICE_TRY(ice__reading_add(r, source, &name, err));
    }
    ICE_TRY(put_arm(r, m, "ANTI", name, NULL, err));
    r->rows += rows - others.n;
out:
    ice__places_free(&others);
    return rc;
}

ice_code ice__read_ended(ice__reading *r, ice_published *s, uint32_t file, ice__dead *dead, int64_t at,
                         ice_error *err)
{
    arm m = {.r = r, .s = s, .f = &s->files[file]};
    const ice_ended *most = ice__dead_whole(dead, file, at);
    ice__places p = {0};
    ice_source *source;
    char *name;
    ice_code rc;
    if (most && ice_dv_count(most->rows) * 2 >= (uint64_t)m.f->entry.file.record_count)
        return read_most(r, &m, most, err);
    ICE_TRY(ice__dead_each(dead, file, at, ice__places_add_dead, &p, err));
    if (p.n == 0)
        goto out;
    ICE_TRY(ice__places_source(&p, true, &source, err));
    ICE_TRY(ice__reading_add(r, source, &name, err));
    m.ended = name;
    ICE_TRY(put_arm(r, &m, "INNER", name, &p, err));
    r->rows += p.n;
out:
    ice__places_free(&p);
    return rc;
}

/* ---- the tail ---- */

ice_code ice__tail_count(ice_tail *t, int64_t at, ice_tail_which which, uint64_t *out, ice_error *err)
{
    ice_tail_scan *scan = NULL;
    void *worker = NULL;
    ice_batch b;
    ice_code rc;
    *out = 0;
    ICE_TRY(ice_tail_scan_open(t, at, which, NULL, 0, NULL, NULL, &scan, err));
    do {
        ICE_TRY(ice_tail_scan_next(scan, &worker, &b, err));
        *out += b.count;
    } while (b.count);
out:
    ice_tail_scan_worker_free(worker);
    ice_tail_scan_close(scan);
    return rc;
}

ice_code ice__read_tail(ice__reading *r, ice_view *v, ice_tail_which which, ice_error *err)
{
    ice_column *cols = ICE_NEW_N(r->a, ice_column, r->ncols + 1);
    ice_source *source;
    uint64_t rows;
    size_t n = 0;
    char *name;
    ice_code rc;
    if (!cols)
        return ice_fail_nomem(err);
    ICE_TRY(ice__tail_count(v->state->tail, v->at, which, &rows, err));
    if (rows == 0)
        return ICE_OK;
    for (size_t i = 0; i < r->ncols; i++)
        if (!ice__is_lineage(r->cols[i].field_id))
            cols[n++] = r->cols[i];
    ICE_TRY(ice__source_create(v, false, which, cols, n, &source, err));
    ICE_TRY(ice__reading_add(r, source, &name, err));
    ice_buf_puts(&r->sql, r->sql.len ? " UNION ALL SELECT " : "SELECT ");
    for (size_t i = 0; i < r->ncols; i++) {
        ice_buf_puts(&r->sql, i ? ", " : "");
        if (ice__is_lineage(r->cols[i].field_id))
            ice__put_null(&r->cols[i], &r->sql);
        else
            ice_buf_put_ident(&r->sql, r->cols[i].name);
    }
    ice_buf_printf(&r->sql, " FROM \"%s\"", name);
    r->rows += rows;
    ICE_TRY(ice_buf_check(&r->sql, err));
out:
    return rc;
}

/* ---- columns ---- */

static const ice_column lineage_columns[] = {
    {.field_id = ICE__FIELD_ROW_ID,
     .name = {"_row_id", 7},
     .type = {.kind = ICE_T_LONG},
     .sql_type = {"bigint", 6}},
    {.field_id = ICE__FIELD_ROW_SEQUENCE,
     .name = {"_last_updated_sequence_number", 29},
     .type = {.kind = ICE_T_LONG},
     .sql_type = {"bigint", 6}},
};

const ice_column *ice__row_id_column(void)
{
    return &lineage_columns[0];
}

ice_code ice__table_columns(const ice_tabledef *def, bool lineage, ice_arena *a, ice_column **out, size_t *n,
                            ice_error *err)
{
    ice_column *cols = ICE_NEW_N(a, ice_column, def->ncols + 3);
    if (!cols)
        return ice_fail_nomem(err);
    if (def->ncols)
        memcpy(cols, def->cols, def->ncols * sizeof *cols);
    *n = def->ncols;
    cols[(*n)++] = *ice__system_column(ICE_FIELD_ROW_START);
    for (size_t i = 0; lineage && i < 2; i++)
        cols[(*n)++] = lineage_columns[i];
    *out = cols;
    return ICE_OK;
}

ice_code ice__schema_columns(const ice_schema *s, const ice_tabledef *def, bool lineage, ice_arena *a,
                             ice_column **out, size_t *n, ice_error *err)
{
    ice_column *cols = ICE_NEW_N(a, ice_column, s->nfields + 2);
    size_t k = 0;
    if (!cols)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < s->nfields; i++) {
        const ice_field *f = &s->fields[i];
        if (f->type.kind == ICE_T_NONE)
            continue;
        cols[k] = (ice_column){.field_id = f->id, .name = f->name, .type = f->type};
        if (f->has_initial && ice_tabledef_find_id(def, f->id) >= 0) {
            cols[k].has_initial = true;
            cols[k].initial = f->initial_default;
        }
        k++;
    }
    for (size_t i = 0; lineage && i < 2; i++)
        cols[k++] = lineage_columns[i];
    *out = cols;
    *n = k;
    return ICE_OK;
}

/* ---- order of rows in a file ---- */

static const ice_index *cluster_index(const ice_tabledef *def)
{
    const ice_index *plain = NULL;
    size_t nplain = 0;
    for (size_t i = 0; i < def->nindexes; i++) {
        const ice_index *x = &def->indexes[i];
        if (ice_str_eqc(x->kind, "cluster") && x->ncols)
            return x;
        bool foreign = false;
        for (size_t k = 0; k < def->ncons; k++)
            foreign |= def->cons[k].kind == ICE_CON_FOREIGN && x->ncols == 1 && def->cons[k].ncols == 1 &&
                       def->cons[k].field_ids[0] == x->field_ids[0];
        if (ice_str_eqc(x->kind, "btree") && x->ncols == 1 && !foreign && !x->where_sql.len &&
            !x->expr_sql.len) {
            plain = x;
            nplain++;
        }
    }
    return nplain == 1 ? plain : NULL;
}

static void put_order(const ice_tabledef *def, const int32_t *ids, const uint8_t *descending, size_t n,
                      ice_buf *b)
{
    for (size_t i = 0; i < n; i++) {
        int at = ice_tabledef_find_id(def, ids[i]);
        if (at < 0)
            continue;
        ice_buf_puts(b, b->len ? ", " : "");
        ice_buf_put_ident(b, def->cols[at].name);
        ice_buf_puts(b, descending && descending[i] ? " DESC" : "");
    }
}

ice_code ice__cluster_order(const ice_tabledef *def, bool cluster, ice_arena *a, ice_str *out, ice_error *err)
{
    const ice_index *x = cluster ? cluster_index(def) : NULL;
    const ice_constraint *key = ice_tabledef_primary(def);
    ice__part *parts;
    size_t nparts;
    ice_buf b = {0};
    ice_code rc = ice__parts_of(def, a, &parts, &nparts, err);
    if (rc != ICE_OK)
        return rc;
    /* Rows of a partition value lie together, so that row groups are pruned by it. */
    for (size_t i = 0; cluster && i < nparts; i++) {
        ice_buf_puts(&b, i ? ", " : "");
        ice__put_part(&parts[i], NULL, &b);
        ice_buf_puts(&b, " NULLS LAST");
    }
    if (x)
        put_order(def, x->field_ids, x->descending, x->ncols, &b);
    if (key)
        put_order(def, key->field_ids, NULL, key->ncols, &b);
    rc = ice_buf_check(&b, err);
    if (rc == ICE_OK) {
        *out = b.len ? ice_arena_str(a, ice_buf_str(&b)) : ICE_STR_NONE;
        rc = b.len && !out->ptr ? ice_fail_nomem(err) : ICE_OK;
    }
    ice_buf_free(&b);
    return rc;
}
