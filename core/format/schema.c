#include "format/schema.h"

#include <stdio.h>
#include <stdlib.h>

#include "format/format_int.h"

/* ---- from a table definition ---- */

static ice_str trim(ice_str s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\n' || s.ptr[0] == '\t'))
        s.ptr++, s.len--;
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Nothing, or "::" and a type: words, digits and a parenthesis, but no operator and no other literal. */
static bool is_cast(ice_str s)
{
    if (s.len == 0)
        return true;
    if (s.len < 3 || s.ptr[0] != ':' || s.ptr[1] != ':')
        return false;
    for (size_t i = 2; i < s.len; i++) {
        char c = s.ptr[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && !strchr("_ (),", c))
            return false;
    }
    return true;
}

/* The text of a string literal that ends where `s` does, or is followed by a cast; false for anything else.
 */
static bool string_literal(ice_arena *a, ice_str s, ice_str *out)
{
    char *p = ice_arena_alloc(a, s.len + 1);
    size_t i = 1, n = 0;
    if (!p)
        return false;
    for (; i < s.len; i++) {
        if (s.ptr[i] == '\'' && !(i + 1 < s.len && s.ptr[i + 1] == '\''))
            break;
        p[n++] = s.ptr[i];
        i += s.ptr[i] == '\'';
    }
    if (i >= s.len)
        return false;
    *out = (ice_str){p, n};
    return is_cast(trim((ice_str){s.ptr + i + 1, s.len - i - 1}));
}

static bool is_number(ice_str s)
{
    bool digit = false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] >= '0' && s.ptr[i] <= '9')
            digit = true;
        else if (s.ptr[i] != '.' && !(i == 0 && (s.ptr[i] == '-' || s.ptr[i] == '+')))
            return false;
    }
    return digit;
}

/* The value of a DEFAULT expression that is a plain literal; false where it is an expression to run. */
static bool constant_default(ice_arena *a, const ice_column *c, ice_value *out)
{
    ice_error ignored;
    ice_value v = {.kind = ICE_T_STRING};
    ice_str s = trim(c->default_sql);
    while (s.len > 1 && s.ptr[0] == '(' && s.ptr[s.len - 1] == ')')
        s = trim((ice_str){s.ptr + 1, s.len - 2});
    if (s.len == 0)
        return false;
    if (ice_str_ieq(s, ICE_STR("true")) || ice_str_ieq(s, ICE_STR("false")))
        v = (ice_value){.kind = ICE_T_BOOL, .b = s.len == 4};
    else if (is_number(s))
        v.s = s;
    else if (s.ptr[0] != '\'' || !string_literal(a, s, &v.s))
        return false;
    return ice_column_coerce(c, a, &v, out, &ignored) == ICE_OK && !out->null;
}

static ice_code copy_text(ice_arena *a, ice_str s, ice_str *out, ice_error *err)
{
    *out = s.ptr ? ice_arena_str(a, s) : ICE_STR_NONE;
    return s.ptr && !out->ptr ? ice_fail_nomem(err) : ICE_OK;
}

static ice_code field_of_column(const ice_column *c, ice_arena *a, ice_field *f, ice_error *err)
{
    ice_code rc;
    *f = (ice_field){.id = c->field_id, .required = c->not_null, .type = c->type};
    ICE_TRY(copy_text(a, c->name, &f->name, err));
    ICE_TRY(copy_text(a, c->comment.len ? c->comment : ICE_STR_NONE, &f->doc, err));
    if (c->has_initial && !c->initial.null) {
        f->has_initial = true;
        ICE_TRY(ice_value_cast(a, &c->initial, c->type, &f->initial_default, err));
        ICE_TRY(ice_value_copy(a, &f->initial_default, &f->initial_default, err));
    }
    f->has_write = constant_default(a, c, &f->write_default);
    if (f->has_write)
        ICE_TRY(ice_value_copy(a, &f->write_default, &f->write_default, err));
out:
    return rc;
}

static ice_field system_field(int32_t id, const char *name, ice_kind kind)
{
    return (ice_field){.id = id, .name = ice_str_c(name), .type = {.kind = (uint8_t)kind}};
}

static void finish_schema(ice_schema *s)
{
    s->highest_id = 0;
    for (size_t i = 0; i < s->nfields; i++)
        if (s->fields[i].id > s->highest_id)
            s->highest_id = s->fields[i].id;
}

ice_code ice_schema_of_table(const ice_tabledef *d, ice_arena *a, ice_schema *out, ice_error *err)
{
    ice_code rc = ICE_OK;
    const ice_constraint *pk = ice_tabledef_primary(d);
    size_t nkey = pk && !pk->expr_sql.ptr ? pk->ncols : 0;
    *out = (ice_schema){.schema_id = d->schema_id, .nfields = d->ncols + 1};
    out->fields = ICE_NEW_N(a, ice_field, d->ncols + 1);
    out->identifiers = ICE_NEW_N(a, int32_t, nkey + 1);
    if (!out->fields || !out->identifiers)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < d->ncols; i++)
        ICE_TRY(field_of_column(&d->cols[i], a, &out->fields[i], err));
    out->fields[d->ncols] = system_field(ICE_FIELD_ROW_START, "_row_start", ICE_T_TIMESTAMPTZ);
    for (size_t i = 0; i < nkey; i++) {
        int at = ice_tabledef_find_id(d, pk->field_ids[i]);
        if (at < 0)
            continue;
        out->fields[at].required = true;
        /* The format forbids floats as identifiers. */
        if (out->fields[at].type.kind != ICE_T_FLOAT && out->fields[at].type.kind != ICE_T_DOUBLE)
            out->identifiers[out->nidentifiers++] = pk->field_ids[i];
    }
    if (out->nidentifiers < nkey)
        out->nidentifiers = 0; /* a part of a key identifies nothing */
    finish_schema(out);
out:
    return rc;
}

static bool is_system(int32_t id)
{
    return id == ICE_FIELD_ROW_START || id == ICE_FIELD_ROW_END || id == ICE_FIELD_OPERATION;
}

/* `taken`: the definition whose column names the new name must not meet. */
static ice_code retired_field(const ice_tabledef *taken, const ice_field *old, ice_arena *a, ice_field *out,
                              ice_error *err)
{
    char suffix[24];
    size_t n = (size_t)snprintf(suffix, sizeof suffix, "__%d", old->id);
    bool named = old->name.len > n && memcmp(old->name.ptr + old->name.len - n, suffix, n) == 0;
    *out = *old;
    out->required = false;
    out->name = ice_str_c(ice_arena_printf(a, "%.*s%s", ICE_PRI(old->name), named ? "" : suffix));
    while (out->name.ptr && ice_tabledef_find(taken, out->name) >= 0)
        out->name = ice_str_c(ice_arena_printf(a, "%.*s%s", ICE_PRI(out->name), suffix));
    return out->name.ptr ? ICE_OK : ice_fail_nomem(err);
}

ice_code ice_schema_of_history(const ice_tabledef *d, const ice_schema *previous, ice_arena *a,
                               ice_schema *out, ice_error *err)
{
    ice_code rc = ICE_OK;
    size_t n = 0, nold = previous ? previous->nfields : 0;
    *out = (ice_schema){.schema_id = d->schema_id};
    out->fields = ICE_NEW_N(a, ice_field, d->ncols + nold + 3);
    if (!out->fields)
        return ice_fail_nomem(err);
    for (; n < d->ncols; n++) {
        ICE_TRY(field_of_column(&d->cols[n], a, &out->fields[n], err));
        out->fields[n].required = out->fields[n].has_write = false;
    }
    for (size_t i = 0; i < nold; i++)
        if (!is_system(previous->fields[i].id) && ice_tabledef_find_id(d, previous->fields[i].id) < 0)
            ICE_TRY(retired_field(d, &previous->fields[i], a, &out->fields[n++], err));
    out->fields[n++] = system_field(ICE_FIELD_ROW_START, "_row_start", ICE_T_TIMESTAMPTZ);
    out->fields[n++] = system_field(ICE_FIELD_ROW_END, "_row_end", ICE_T_TIMESTAMPTZ);
    out->fields[n++] = system_field(ICE_FIELD_OPERATION, "_operation", ICE_T_STRING);
    out->nfields = n;
    finish_schema(out);
out:
    return rc;
}

/* ---- comparing and finding ---- */

static bool default_eq(bool hx, const ice_value *x, bool hy, const ice_value *y)
{
    return hx == hy && (!hx || ice_value_eq(x, y));
}

static bool field_eq(const ice_field *x, const ice_field *y)
{
    return x->id == y->id && x->required == y->required && ice_type_eq(x->type, y->type) &&
           ice_str_eq(x->name, y->name) && ice_str_eq(x->doc, y->doc) &&
           ice_str_eq(x->type_json, y->type_json) && ice_str_eq(x->initial_json, y->initial_json) &&
           ice_str_eq(x->write_json, y->write_json) &&
           default_eq(x->has_initial, &x->initial_default, y->has_initial, &y->initial_default) &&
           default_eq(x->has_write, &x->write_default, y->has_write, &y->write_default);
}

bool ice_schema_eq(const ice_schema *x, const ice_schema *y)
{
    if (x->nfields != y->nfields || x->nidentifiers != y->nidentifiers)
        return false;
    for (size_t i = 0; i < x->nfields; i++)
        if (!field_eq(&x->fields[i], &y->fields[i]))
            return false;
    return x->nidentifiers == 0 ||
           memcmp(x->identifiers, y->identifiers, x->nidentifiers * sizeof(int32_t)) == 0;
}

const ice_field *ice_schema_field(const ice_schema *s, int32_t id)
{
    for (size_t i = 0; i < s->nfields; i++)
        if (s->fields[i].id == id)
            return &s->fields[i];
    return NULL;
}

const ice_field *ice_schema_field_named(const ice_schema *s, ice_str name)
{
    for (size_t i = 0; i < s->nfields; i++)
        if (ice_str_eq(s->fields[i].name, name))
            return &s->fields[i];
    return NULL;
}

/* ---- JSON ---- */

static ice_code put_default(ice_buf *out, const char *key, ice_str raw, bool has, const ice_value *v,
                            ice_type t, ice_error *err)
{
    if (raw.ptr) {
        ice__put_json_key(out, key, false);
        ice_buf_put_str(out, raw);
    } else if (has) {
        size_t from = out->len;
        ice__put_json_key(out, key, false);
        ice_code rc = ice_single_to_json(v, t, out, err);
        if (rc == ICE_UNSUPPORTED)
            out->len = from; /* NaN and the infinities: no JSON, so no default for other engines */
        else if (rc != ICE_OK)
            return rc;
    }
    return ICE_OK;
}

/* The canonical spelling of Appendix C differs from SQL's only in "fixed[16]" and in spaces. */
static void put_type(ice_buf *b, ice_type t)
{
    char text[32];
    if (t.kind == ICE_T_DECIMAL)
        snprintf(text, sizeof text, "decimal(%u, %u)", t.precision, t.scale);
    else if (t.kind == ICE_T_FIXED)
        snprintf(text, sizeof text, "fixed[%u]", t.length);
    else
        ice_type_text(t, text);
    ice_buf_printf(b, "\"%s\"", text);
}

static ice_code put_field(ice_buf *out, const ice_field *f, ice_error *err)
{
    ice_buf_printf(out, "{\"id\":%d,\"name\":", f->id);
    ice__put_json_str(out, f->name);
    ice_buf_printf(out, ",\"required\":%s,\"type\":", f->required ? "true" : "false");
    if (f->type.kind == ICE_T_NONE)
        ice_buf_put_str(out, f->type_json);
    else
        put_type(out, f->type);
    if (f->doc.ptr) {
        ice_buf_puts(out, ",\"doc\":");
        ice__put_json_str(out, f->doc);
    }
    ice_code rc = put_default(out, "initial-default", f->initial_json, f->has_initial, &f->initial_default,
                              f->type, err);
    if (rc == ICE_OK)
        rc = put_default(out, "write-default", f->write_json, f->has_write, &f->write_default, f->type, err);
    ice_buf_put_u8(out, '}');
    return rc;
}

ice_code ice_schema_to_json(const ice_schema *s, ice_buf *out, ice_error *err)
{
    ice_buf_printf(out, "{\"type\":\"struct\",\"schema-id\":%d", s->schema_id);
    if (s->nidentifiers) {
        ice__put_json_key(out, "identifier-field-ids", false);
        for (size_t i = 0; i < s->nidentifiers; i++)
            ice_buf_printf(out, "%c%d", i ? ',' : '[', s->identifiers[i]);
        ice_buf_put_u8(out, ']');
    }
    ice__put_json_key(out, "fields", false);
    ice_buf_put_u8(out, '[');
    for (size_t i = 0; i < s->nfields; i++) {
        if (i)
            ice_buf_put_u8(out, ',');
        ice_code rc = put_field(out, &s->fields[i], err);
        if (rc != ICE_OK)
            return rc;
    }
    ice_buf_puts(out, "]}");
    return ice_buf_check(out, err);
}

/* "decimal(9,2)" with any spacing and "fixed[16]" come to the one spelling ice_type_parse is sure to take. */
static bool parse_type(ice_str s, ice_type *out)
{
    ice_error ignored;
    unsigned p, scale;
    char text[48], rest;
    *out = (ice_type){.kind = ICE_T_NONE};
    if (s.len >= sizeof text)
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = 0;
    if (sscanf(text, "decimal ( %2u , %2u )%c", &p, &scale, &rest) == 2) {
        *out = (ice_type){.kind = ICE_T_DECIMAL, .precision = (uint8_t)p, .scale = (uint8_t)scale};
        return p >= 1 && p <= 38 && scale <= p && text[s.len - 1] == ')';
    }
    if (sscanf(text, "fixed[ %9u ]%c", &p, &rest) == 1) {
        *out = (ice_type){.kind = ICE_T_FIXED, .length = p};
        return p > 0 && text[s.len - 1] == ']';
    }
    return ice_type_parse(s, out, &ignored) == ICE_OK;
}

/* Highest field id inside a nested type. */
static int64_t nested_highest(const json_t *v, int depth)
{
    static const char *const keys[] = {"id", "element-id", "key-id", "value-id"};
    const char *key;
    json_t *item;
    size_t i;
    int64_t high = 0, h;
    if (depth > 64)
        return 0;
    for (size_t k = 0; json_is_object(v) && k < 4; k++)
        if ((h = json_integer_value(json_object_get(v, keys[k]))) > high)
            high = h;
    json_object_foreach((json_t *)v, key, item) if ((h = nested_highest(item, depth + 1)) > high) high = h;
    json_array_foreach(v, i, item) if ((h = nested_highest(item, depth + 1)) > high) high = h;
    return high;
}

static ice_code type_from(ice__json *j, const json_t *o, ice_field *f, int32_t *highest)
{
    const json_t *v = json_object_get(o, "type");
    if (!json_is_string(v) && !json_is_object(v))
        return ice__json_fail(j, "type", "a type is expected");
    if (json_is_string(v) && parse_type((ice_str){json_string_value(v), json_string_length(v)}, &f->type))
        return ICE_OK;
    int64_t high = nested_highest(v, 0);
    if (high > INT32_MAX)
        return ice__json_fail(j, "type", "a field id is out of range");
    if (high > *highest)
        *highest = (int32_t)high;
    f->type = (ice_type){.kind = ICE_T_NONE};
    return ice__json_raw(j, v, &f->type_json);
}

static ice_code default_from(ice__json *j, const json_t *o, const char *key, const ice_field *f, bool *has,
                             ice_value *v, ice_str *raw)
{
    json_t *d = json_object_get(o, key);
    if (!d || json_is_null(d))
        return ICE_OK;
    if (f->type.kind == ICE_T_NONE)
        return ice__json_raw(j, d, raw);
    size_t at = ice__json_push_key(j, key);
    ice_code rc = ice__single_from(j, d, f->type, v);
    ice__json_pop(j, at);
    *has = rc == ICE_OK;
    return rc;
}

static ice_code field_from(ice__json *j, const json_t *o, ice_field *f, int32_t *highest)
{
    int64_t id = 0;
    ice_code rc;
    ICE_TRY(ice__json_is_object(j, o));
    ICE_TRY(ice__json_int(j, o, "id", true, 0, INT32_MAX, &id));
    f->id = (int32_t)id;
    if (f->id > *highest)
        *highest = f->id;
    ICE_TRY(ice__json_str(j, o, "name", true, &f->name));
    ICE_TRY(ice__json_bool(j, o, "required", true, &f->required));
    ICE_TRY(ice__json_str(j, o, "doc", false, &f->doc));
    ICE_TRY(type_from(j, o, f, highest));
    ICE_TRY(default_from(j, o, "initial-default", f, &f->has_initial, &f->initial_default, &f->initial_json));
    ICE_TRY(default_from(j, o, "write-default", f, &f->has_write, &f->write_default, &f->write_json));
out:
    return rc;
}

static int cmp_int32(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Two fields of one id would make every read by id ambiguous. */
static ice_code check_ids(ice__json *j, const ice_schema *s)
{
    int32_t *ids = ICE_NEW_N(j->arena, int32_t, s->nfields + 1);
    if (!ids)
        return ice_fail_nomem(j->err);
    for (size_t i = 0; i < s->nfields; i++)
        ids[i] = s->fields[i].id;
    qsort(ids, s->nfields, sizeof *ids, cmp_int32);
    for (size_t i = 1; i < s->nfields; i++)
        if (ids[i] == ids[i - 1])
            return ice__json_fail(j, "fields", "field id %d occurs twice", ids[i]);
    return ICE_OK;
}

ice_code ice__schema_from(ice__json *j, const json_t *v, ice_schema *out)
{
    json_t *fields = NULL, *identifiers = NULL;
    ice_code rc;
    *out = (ice_schema){0};
    ICE_TRY(ice__json_is_object(j, v));
    ICE_TRY(ice__json_int32(j, v, "schema-id", false, &out->schema_id));
    ICE_TRY(ice__json_array(j, v, "fields", true, &fields));
    ICE_TRY(ice__json_array(j, v, "identifier-field-ids", false, &identifiers));
    out->fields = ICE_NEW_N(j->arena, ice_field, json_array_size(fields) + 1);
    if (!out->fields)
        return ice_fail_nomem(j->err);
    out->nfields = json_array_size(fields);
    size_t at = ice__json_push_key(j, "fields");
    for (size_t i = 0; i < out->nfields; i++) {
        size_t item = ice__json_push_index(j, i);
        ICE_TRY(field_from(j, json_array_get(fields, i), &out->fields[i], &out->highest_id));
        ice__json_pop(j, item);
    }
    ice__json_pop(j, at);
    if (identifiers)
        ICE_TRY(ice__json_ints(j, identifiers, &out->identifiers, &out->nidentifiers));
    ICE_TRY(check_ids(j, out));
out:
    return rc;
}

ice_code ice_schema_from_json(ice_str json, ice_arena *a, ice_schema *out, ice_error *err)
{
    ice__json j = {.arena = a, .err = err, .what = "schema"};
    json_t *v = NULL;
    ice_code rc = ice__json_load(&j, json, &v);
    if (rc == ICE_OK)
        rc = ice__schema_from(&j, v, out);
    json_decref(v);
    return rc;
}
