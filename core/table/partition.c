/* Partitions: the Iceberg spec that a definition's indexes declare, and its values as SQL. */
#include "table/flush_int.h"

/* ---- what is declared ---- */

static ice_code transform_of(const ice_index *x, ice_transform *out, ice_error *err)
{
    *out = (ice_transform){.kind = ICE_TR_IDENTITY};
    return x->params.len ? ice_transform_parse(x->params, out, err) : ICE_OK;
}

/* Floats have no identity to part by (NaN, two zeros); cut decimals and bytes are not made by SQL as the spec
 * has them. */
bool ice__part_type(ice_transform t, ice_type source, ice_type *result)
{
    bool number = source.kind == ICE_T_FLOAT || source.kind == ICE_T_DOUBLE;
    bool cut = t.kind == ICE_TR_TRUNCATE && source.kind != ICE_T_INT && source.kind != ICE_T_LONG &&
               source.kind != ICE_T_STRING;
    return t.kind != ICE_TR_UNKNOWN && t.kind != ICE_TR_VOID && !number && !cut &&
           ice_transform_type(t, source, result, NULL) == ICE_OK;
}

static ice_code check_index(const ice_tabledef *def, const ice_index *x, ice_error *err)
{
    ice_transform t;
    ice_type result;
    char type[32];
    ice_code rc;
    if (x->expr_sql.len || x->where_sql.len || x->ncols == 0)
        return ice_fail(err, ICE_UNSUPPORTED,
                        "partition \"%.*s\": it takes columns, no expression and no condition",
                        ICE_PRI(x->name));
    ICE_TRY(transform_of(x, &t, err));
    for (size_t i = 0; i < x->ncols; i++) {
        const ice_column *c = &def->cols[ice_tabledef_find_id(def, x->field_ids[i])];
        ice_type_text(c->type, type);
        if (!ice__part_type(t, c->type, &result))
            return ice_fail(err, ICE_UNSUPPORTED,
                            "partition \"%.*s\": %.*s of column \"%.*s\" (%s) is not supported",
                            ICE_PRI(x->name), ICE_PRI(x->params.len ? x->params : ICE_STR("identity")),
                            ICE_PRI(c->name), type);
    }
out:
    return rc;
}

ice_code ice_partition_check(const ice_tabledef *def, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < def->nindexes && rc == ICE_OK; i++)
        if (ice_str_eqc(def->indexes[i].kind, "partition"))
            rc = check_index(def, &def->indexes[i], err);
    return rc;
}

static bool has_part(const ice__part *parts, size_t n, const ice__part *p)
{
    for (size_t i = 0; i < n; i++)
        if (parts[i].col == p->col && parts[i].transform.kind == p->transform.kind &&
            parts[i].transform.param == p->transform.param)
            return true;
    return false;
}

ice_code ice__parts_of(const ice_tabledef *def, ice_arena *a, ice__part **out, size_t *n, ice_error *err)
{
    size_t room = 1;
    *n = 0;
    for (size_t i = 0; i < def->nindexes; i++)
        room += def->indexes[i].ncols;
    *out = ICE_NEW_N(a, ice__part, room);
    if (!*out)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < def->nindexes; i++) {
        const ice_index *x = &def->indexes[i];
        ice__part p;
        if (!ice_str_eqc(x->kind, "partition") || transform_of(x, &p.transform, NULL) != ICE_OK)
            continue;
        for (size_t k = 0; k < x->ncols; k++) {
            int at = ice_tabledef_find_id(def, x->field_ids[k]);
            if (at < 0 || !ice__part_type(p.transform, def->cols[at].type, &p.type))
                continue;
            p.col = &def->cols[at];
            if (!has_part(*out, *n, &p))
                (*out)[(*n)++] = p;
        }
    }
    return ICE_OK;
}

/* ---- values as SQL ---- */

static void put_cut(const ice__part *p, const char *column, ice_buf *b)
{
    long long w = p->transform.param;
    if (p->type.kind == ICE_T_STRING) {
        ice_buf_printf(b, "left(%s, %lld)", column, w);
        return;
    }
    ice_buf_printf(b, "CAST(%s - ((CAST(%s AS BIGINT) %% %lld) + %lld) %% %lld AS ", column, column, w, w, w);
    ice_duck_type(p->col, b);
    ice_buf_puts(b, ")");
}

static void put_value(const ice__part *p, const char *column, ice_buf *b)
{
    char text[32];
    bool day = p->transform.kind == ICE_TR_DAY;
    ice_transform_text(p->transform, text);
    switch (p->transform.kind) {
    case ICE_TR_IDENTITY:
        ice_buf_puts(b, column);
        break;
    case ICE_TR_TRUNCATE:
        put_cut(p, column, b);
        break;
    default:
        ice_buf_printf(b, "%sCAST(ice_transform('%s', %s) AS INTEGER)%s",
                       day ? "CAST(DATE '1970-01-01' + " : "", text, column, day ? " AS DATE)" : "");
    }
}

void ice__put_part(const ice__part *p, const char *alias, ice_buf *b)
{
    ice_buf column = {0};
    ice_buf_puts(&column, alias ? alias : "");
    ice_buf_puts(&column, alias ? "." : "");
    ice_buf_put_ident(&column, p->col->name);
    ice_buf_put_u8(&column, 0);
    b->failed |= column.failed;
    if (!column.failed)
        put_value(p, column.data, b);
    ice_buf_free(&column);
}

/* ---- specs ---- */

/* A field's name may be a column's only where it is that column as it is; fields before it have other names.
 */
static bool name_is_free(const ice__edit *e, const ice_partition_spec *spec, size_t at, ice_str name)
{
    const ice_schema *s = ice_metadata_current_schema(e->m);
    const ice_partition_field *f = &spec->fields[at];
    for (size_t i = 0; i < at; i++)
        if (ice_str_eq(spec->fields[i].name, name))
            return false;
    for (size_t i = 0; i < s->nfields; i++)
        if (ice_str_eq(s->fields[i].name, name) &&
            !(f->transform.kind == ICE_TR_IDENTITY && s->fields[i].id == f->source_id))
            return false;
    return true;
}

static ice_code name_field(const ice__edit *e, ice_partition_spec *spec, size_t at, ice_str base,
                           ice_error *err)
{
    ice_str name = base;
    for (int i = 1; !name_is_free(e, spec, at, name); i++) {
        name = ice_str_c(ice_arena_printf(e->a, "%.*s_%d", ICE_PRI(base), i));
        if (!name.ptr)
            return ice_fail_nomem(err);
    }
    spec->fields[at].name = name;
    return ICE_OK;
}

static ice_code first_name(const ice__edit *e, const ice__part *p, ice_str *out, ice_error *err)
{
    static const char *const suffixes[] = {
        [ICE_TR_BUCKET] = "bucket", [ICE_TR_TRUNCATE] = "trunc", [ICE_TR_YEAR] = "year",
        [ICE_TR_MONTH] = "month",   [ICE_TR_DAY] = "day",        [ICE_TR_HOUR] = "hour",
    };
    *out = p->col->name;
    if (p->transform.kind == ICE_TR_IDENTITY)
        return ICE_OK;
    *out = ice_str_c(ice_arena_printf(e->a, "%.*s_%s", ICE_PRI(p->col->name), suffixes[p->transform.kind]));
    return out->ptr ? ICE_OK : ice_fail_nomem(err);
}

/* Columns that are gone, or whose name a field would take from them. */
static ice_code mend_specs(ice__edit *e, ice_error *err)
{
    const ice_schema *schema = ice_metadata_current_schema(e->m);
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < e->m->nspecs; i++)
        for (size_t k = 0; k < e->m->specs[i].nfields && rc == ICE_OK; k++) {
            ice_partition_field *f = &e->m->specs[i].fields[k];
            if (f->source_ids_json.ptr)
                continue;
            if (f->transform.kind != ICE_TR_VOID && !ice_schema_field(schema, f->source_id)) {
                f->transform = (ice_transform){.kind = ICE_TR_VOID};
                f->transform_text = ICE_STR_NONE;
                e->fields_gone = true;
            }
            rc = name_field(e, &e->m->specs[i], k, f->name, err);
        }
    return rc;
}

static bool spec_is(const ice_partition_spec *s, const ice__part *parts, size_t n)
{
    for (size_t i = 0; i < n && s->nfields == n; i++)
        if (s->fields[i].source_id != parts[i].col->field_id || s->fields[i].source_ids_json.ptr ||
            s->fields[i].transform.kind != parts[i].transform.kind ||
            s->fields[i].transform.param != parts[i].transform.param)
            return false;
    return s->nfields == n;
}

ice_code ice__edit_partitions(ice__edit *e, const ice_tabledef *def, ice_error *err)
{
    ice__part *parts;
    ice_str base;
    size_t n;
    ice_code rc;
    ICE_TRY(mend_specs(e, err));
    ICE_TRY(ice__parts_of(def, e->a, &parts, &n, err));
    for (size_t i = 0; i < e->m->nspecs; i++)
        if (spec_is(&e->m->specs[i], parts, n)) {
            e->m->default_spec_id = e->m->specs[i].spec_id;
            return ICE_OK;
        }
    ice_partition_spec spec = {.nfields = n, .fields = ICE_NEW_N(e->a, ice_partition_field, n + 1)};
    if (!spec.fields)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        spec.fields[i] =
            (ice_partition_field){.source_id = parts[i].col->field_id, .transform = parts[i].transform};
        ICE_TRY(first_name(e, &parts[i], &base, err));
        ICE_TRY(name_field(e, &spec, i, base, err));
    }
    ICE_TRY(ice_metadata_add_spec(e->m, &spec, true, &e->m->default_spec_id, err));
out:
    return rc;
}

ice_code ice__edit_loose_order(ice__edit *e, const ice__part *parts, size_t n, int32_t *out, ice_error *err)
{
    ice_sort_order o = {.nfields = n, .fields = ICE_NEW_N(e->a, ice_sort_field, n + 1)};
    if (!o.fields)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < n; i++)
        o.fields[i] = (ice_sort_field){
            .source_id = parts[i].col->field_id, .transform = parts[i].transform, .nulls_last = true};
    return ice_metadata_add_sort_order(e->m, &o, false, out, err);
}
