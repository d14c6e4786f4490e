/* A definition as JSON:
 *
 *   {"format": 1, "uuid", "name", "schema_id", "last_field_id", "comment"?,
 *    "columns": [{"id", "name", "type", "sql_type"?, "max_length"?, "min_int"?, "max_int"?, "not_null"?, "identity"?, "restarts"?, "restart_at"?,
 *                 "initial"? (text of the value, or null), "default"?, "generated"?, "collation"?, "comment"?,
 *                 "former_until"?, "former"? (a column)}],
 *    "constraints": [{"kind", "name", "columns"?, "is_index"?, "nulls_not_distinct"?, "deferrable"?,
 *                     "initially_deferred"?, "where"?, "expressions"?, "expr_desc"?, "include"?, "ref_table"?,
 *                     "ref_columns"?, "check"?}],
 *    "indexes": [{"name", "columns"?, "descending"?, "where"?, "expressions"?, "expr_desc"?, "include"?, "kind"?,
 *                 "params"?}],
 *    "view"? (its query), "uses"? (uuids of what that reads)}
 *
 * Members that say nothing are left out. Reading refuses members it does not know: a newer writer that adds
 * meaning raises "format". */
#include <jansson.h>
#include <stdio.h>

#include "schema/tabledef_int.h"

enum { FORMAT = 1 };
#define MAX_JSON ((size_t)16 << 20)

static const char *const constraint_kinds[] = {
    [ICE_CON_PRIMARY] = "primary", [ICE_CON_UNIQUE] = "unique", [ICE_CON_FOREIGN] = "foreign", [ICE_CON_CHECK] = "check"};
static const char *const fk_actions[] = {[ICE_FK_CASCADE] = "cascade", [ICE_FK_SET_NULL] = "set null", [ICE_FK_SET_DEFAULT] = "set default"};

/* ---- writing ---- */

static void comma(ice_buf *b)
{
    char last = b->len ? b->data[b->len - 1] : '{';

    if (last != '{' && last != '[' && last != ':')
        ice_buf_put_u8(b, ',');
}

static void put_string(ice_buf *b, ice_str s)
{
    ice_buf_put_u8(b, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c < 0x20) {
            ice_buf_printf(b, "\\u%04x", c);
            continue;
        }
        if (c == '"' || c == '\\')
            ice_buf_put_u8(b, '\\');
        ice_buf_put_u8(b, c);
    }
    ice_buf_put_u8(b, '"');
}

static void put_key(ice_buf *b, const char *key)
{
    comma(b);
    ice_buf_printf(b, "\"%s\":", key);
}

static void put_text(ice_buf *b, const char *key, ice_str s)
{
    if (!s.ptr)
        return;
    put_key(b, key);
    put_string(b, s);
}

static void put_int(ice_buf *b, const char *key, int64_t v)
{
    put_key(b, key);
    ice_buf_printf(b, "%lld", (long long)v);
}

static void put_flag(ice_buf *b, const char *key, bool v)
{
    if (!v)
        return;
    put_key(b, key);
    ice_buf_puts(b, "true");
}

static void put_ids(ice_buf *b, const char *key, const int32_t *ids, size_t n)
{
    if (n == 0 || !ids)
        return;
    put_key(b, key);
    ice_buf_put_u8(b, '[');
    for (size_t i = 0; i < n; i++)
        ice_buf_printf(b, "%s%d", i ? "," : "", ids[i]);
    ice_buf_put_u8(b, ']');
}

static void put_uuid(ice_buf *b, const char *key, ice_uuid u)
{
    char text[37];

    ice_uuid_text(u, text);
    put_text(b, key, ice_str_c(text));
}

static void put_initial(ice_buf *b, const ice_column *c)
{
    ice_buf text = {0};

    if (!c->has_initial)
        return;
    put_key(b, "initial");
    if (c->initial.null) {
        ice_buf_puts(b, "null");
        return;
    }
    ice_value_text(&c->initial, &text);
    put_string(b, ice_buf_str(&text));
    b->failed |= text.failed;
    ice_buf_free(&text);
}

static void put_column(ice_buf *b, const ice_column *c)
{
    char type[32];

    comma(b);
    ice_buf_put_u8(b, '{');
    put_int(b, "id", c->field_id);
    put_text(b, "name", c->name);
    ice_type_text(c->type, type);
    put_text(b, "type", ice_str_c(type));
    put_text(b, "sql_type", c->sql_type);
    if (c->max_length)
        put_int(b, "max_length", c->max_length);
    if (c->min_int || c->max_int) {
        put_int(b, "min_int", c->min_int);
        put_int(b, "max_int", c->max_int);
    }
    put_flag(b, "not_null", c->not_null);
    put_flag(b, "identity", c->identity);
    if (c->restarts) {
        put_int(b, "restarts", c->restarts);
        put_int(b, "restart_at", c->restart_at);
    }
    put_initial(b, c);
    put_text(b, "default", c->default_sql);
    put_text(b, "generated", c->generated_sql);
    put_text(b, "collation", c->collation);
    put_text(b, "comment", c->comment);
    if (c->former) {
        put_int(b, "former_until", c->former_until);
        put_key(b, "former");
        put_column(b, c->former);
    }
    ice_buf_put_u8(b, '}');
}

static void put_constraint(ice_buf *b, const ice_constraint *c)
{
    comma(b);
    ice_buf_put_u8(b, '{');
    put_text(b, "kind", ice_str_c(constraint_kinds[c->kind]));
    put_text(b, "name", c->name);
    put_ids(b, "columns", c->field_ids, c->ncols);
    put_flag(b, "is_index", c->is_index);
    put_flag(b, "nulls_not_distinct", c->nulls_not_distinct);
    put_flag(b, "deferrable", c->deferrable);
    put_flag(b, "initially_deferred", c->initially_deferred);
    put_text(b, "where", c->where_sql);
    put_text(b, "expressions", c->expr_sql);
    if (c->expr_desc)
        put_int(b, "expr_desc", c->expr_desc);
    if (c->since)
        put_int(b, "since", c->since);
    put_ids(b, "include", c->include_ids, c->ninclude);
    if (c->kind == ICE_CON_FOREIGN) {
        put_uuid(b, "ref_table", c->ref_table);
        put_ids(b, "ref_columns", c->ref_field_ids, c->ncols);
        if (c->on_delete)
            put_text(b, "on_delete", ice_str_c(fk_actions[c->on_delete]));
    }
    put_text(b, "check", c->check_sql);
    ice_buf_put_u8(b, '}');
}

static void put_index(ice_buf *b, const ice_index *x)
{
    bool any = false;

    comma(b);
    ice_buf_put_u8(b, '{');
    put_text(b, "name", x->name);
    put_ids(b, "columns", x->field_ids, x->ncols);
    for (size_t i = 0; i < x->ncols && x->descending; i++)
        any |= x->descending[i] != 0;
    if (any) {
        put_key(b, "descending");
        for (size_t i = 0; i < x->ncols; i++)
            ice_buf_puts(b, i == 0 ? (x->descending[i] ? "[true" : "[false") : (x->descending[i] ? ",true" : ",false"));
        ice_buf_put_u8(b, ']');
    }
    put_text(b, "where", x->where_sql);
    put_text(b, "expressions", x->expr_sql);
    if (x->expr_desc)
        put_int(b, "expr_desc", x->expr_desc);
    if (x->ninclude)
        put_ids(b, "include", x->include_ids, x->ninclude);
    put_text(b, "kind", x->kind);
    put_text(b, "params", x->params);
    ice_buf_put_u8(b, '}');
}

static void put_list(ice_buf *b, const char *key)
{
    put_key(b, key);
    ice_buf_put_u8(b, '[');
}

static void put_view(ice_buf *b, const ice_tabledef *d)
{
    if (!ice_tabledef_is_view(d))
        return;
    put_text(b, "view", d->view_sql);
    put_list(b, "uses");
    for (size_t i = 0; i < d->nuses; i++) {
        char text[37];

        ice_uuid_text(d->uses[i], text);
        comma(b);
        put_string(b, ice_str_c(text));
    }
    ice_buf_put_u8(b, ']');
}

ice_code ice_tabledef_to_json(const ice_tabledef *d, ice_buf *out, ice_error *err)
{
    size_t start = out->len;

    ice_buf_put_u8(out, '{');
    put_int(out, "format", FORMAT);
    put_uuid(out, "uuid", d->uuid);
    put_text(out, "name", d->name);
    put_int(out, "schema_id", d->schema_id);
    put_int(out, "last_field_id", d->last_field_id);
    put_text(out, "comment", d->comment);
    put_list(out, "columns");
    for (size_t i = 0; i < d->ncols; i++)
        put_column(out, &d->cols[i]);
    ice_buf_put_u8(out, ']');
    put_list(out, "constraints");
    for (size_t i = 0; i < d->ncons; i++)
        put_constraint(out, &d->cons[i]);
    ice_buf_put_u8(out, ']');
    put_list(out, "indexes");
    for (size_t i = 0; i < d->nindexes; i++)
        put_index(out, &d->indexes[i]);
    ice_buf_put_u8(out, ']');
    put_view(out, d);
    ice_buf_put_u8(out, '}');
    if (out->failed)
        return ice_fail_nomem(err);
    if (!ice_utf8_valid((ice_str){out->data + start, out->len - start}))
        return ice_fail(err, ICE_BAD_VALUE, "definition of table \"%.*s\" has text that is not UTF-8", ICE_PRI(d->name));
    return ICE_OK;
}

/* ---- reading ---- */

/* The document being read. The first fault is kept in `err` and sets `rc`; getters then do nothing, so that a
 * reader checks once at the end of each object. */
typedef struct doc {
    ice_arena *scratch;
    ice_error *err;
    ice_code rc;
    const char *part; /* "column", ... */
    size_t at;        /* which of them */
} doc;

static void fault(doc *r, const char *key, const char *what)
{
    if (r->rc == ICE_OK)
        r->rc = ice_fail(r->err, ICE_CORRUPT, "table definition: %s %zu: \"%s\" %s", r->part, r->at, key, what);
}

static ice_str get_text(doc *r, const json_t *o, const char *key, bool required)
{
    const json_t *v = json_object_get(o, key);

    if (v && json_is_string(v))
        return (ice_str){json_string_value(v), json_string_length(v)};
    if (v)
        fault(r, key, "is not a string");
    else if (required)
        fault(r, key, "is missing");
    return ICE_STR_NONE;
}

static int64_t get_int(doc *r, const json_t *o, const char *key, bool required, int64_t min, int64_t max)
{
    const json_t *v = json_object_get(o, key);

    if (!v && required)
        fault(r, key, "is missing");
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max) {
        fault(r, key, "is not a number in range");
        return 0;
    }
    return json_integer_value(v);
}

static bool get_flag(doc *r, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    if (v && !json_is_boolean(v))
        fault(r, key, "is not true or false");
    return json_is_true(v);
}

static const json_t *get_list(doc *r, const json_t *o, const char *key, bool required, size_t most)
{
    const json_t *v = json_object_get(o, key);

    if (!v && !required)
        return NULL;
    if (!json_is_array(v) || json_array_size(v) > most) {
        fault(r, key, v ? "is not a list, or too long" : "is missing");
        return NULL;
    }
    return v;
}

static int32_t *get_ids(doc *r, const json_t *o, const char *key, size_t *n)
{
    const json_t *list = get_list(r, o, key, false, ICE_MAX_KEY_COLUMNS);
    int32_t *ids;

    *n = json_array_size(list);
    if (*n == 0)
        return NULL;
    if (!(ids = ICE_NEW_N(r->scratch, int32_t, *n))) {
        r->rc = r->rc ? r->rc : ice_fail_nomem(r->err);
        *n = 0;
        return NULL;
    }
    for (size_t i = 0; i < *n; i++) {
        const json_t *v = json_array_get(list, i);

        if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > INT32_MAX)
            fault(r, key, "has something that is not a field id");
        ids[i] = (int32_t)json_integer_value(v);
    }
    return ids;
}

static ice_uuid get_uuid(doc *r, const json_t *o, const char *key)
{
    ice_str text = get_text(r, o, key, true);
    ice_uuid u = {{0}};

    if (text.ptr && !ice_uuid_parse(text, &u))
        fault(r, key, "is not a UUID");
    return u;
}

/* `known` ends with NULL. */
static void check_members(doc *r, const json_t *o, const char *const *known)
{
    const char *key;
    json_t *value;

    if (!json_is_object(o)) {
        fault(r, "", "is not an object");
        return;
    }
    json_object_foreach((json_t *)o, key, value)
    {
        size_t i = 0;

        while (known[i] && strcmp(known[i], key) != 0)
            i++;
        if (!known[i])
            fault(r, key, "is not known");
    }
}

/* An edit refuses what is inconsistent; coming from a document that is corruption. */
static ice_code as_corrupt(doc *r, ice_code rc)
{
    if (rc == ICE_OK || rc == ICE_NOMEM)
        return rc;
    ice_error_prefix(r->err, "table definition: %s %zu", r->part, r->at);
    if (r->err)
        r->err->code = ICE_CORRUPT;
    return ICE_CORRUPT;
}

static void get_initial(doc *r, const json_t *o, ice_column *c)
{
    const json_t *v = json_object_get(o, "initial");
    ice_value text;

    if (!v || r->rc != ICE_OK)
        return;
    c->has_initial = true;
    c->initial = (ice_value){.kind = c->type.kind, .null = true};
    if (json_is_null(v))
        return;
    text = (ice_value){.kind = ICE_T_STRING, .s = get_text(r, o, "initial", true)};
    if (r->rc == ICE_OK)
        r->rc = as_corrupt(r, ice_value_cast(r->scratch, &text, c->type, &c->initial, r->err));
}

static void get_ranges(doc *r, const json_t *o, ice_column *c)
{
    c->max_length = get_int(r, o, "max_length", false, 0, INT32_MAX);
    c->min_int = get_int(r, o, "min_int", false, INT64_MIN, INT64_MAX);
    c->max_int = get_int(r, o, "max_int", false, INT64_MIN, INT64_MAX);
    if (c->min_int > c->max_int)
        fault(r, "min_int", "is above \"max_int\"");
}

static void read_members(doc *r, const json_t *o, unsigned depth, ice_column *c);

static void get_former(doc *r, const json_t *o, unsigned depth, ice_column *c)
{
    const json_t *v = json_object_get(o, "former");
    ice_column *former = v ? ICE_NEW(r->scratch, ice_column) : NULL;

    if (!v || r->rc != ICE_OK)
        return;
    if (!former) {
        r->rc = ice_fail_nomem(r->err);
        return;
    }
    if (depth == ICE_MAX_FORMERS) {
        fault(r, "former", "goes back too far");
        return;
    }
    c->former_until = get_int(r, o, "former_until", true, 1, INT64_MAX);
    read_members(r, v, depth + 1, former);
    c->former = former;
    if (former->field_id >= c->field_id)
        fault(r, "former", "is no earlier field");
}

static void read_members(doc *r, const json_t *o, unsigned depth, ice_column *c)
{
    static const char *const known[] = {"id",       "name",     "type",    "sql_type", "max_length", "min_int",
                                        "max_int",  "not_null", "identity", "initial", "default",    "generated",
                                        "collation", "comment",  "restarts", "restart_at", "former",
                                        "former_until", NULL};
    ice_str type;

    check_members(r, o, known);
    c->field_id = (int32_t)get_int(r, o, "id", true, 1, INT32_MAX);
    c->name = get_text(r, o, "name", true);
    c->sql_type = get_text(r, o, "sql_type", false);
    c->not_null = get_flag(r, o, "not_null");
    c->identity = get_flag(r, o, "identity");
    c->restarts = (int32_t)get_int(r, o, "restarts", false, 0, INT32_MAX);
    c->restart_at = get_int(r, o, "restart_at", false, INT64_MIN, INT64_MAX);
    c->default_sql = get_text(r, o, "default", false);
    c->generated_sql = get_text(r, o, "generated", false);
    c->collation = get_text(r, o, "collation", false);
    c->comment = get_text(r, o, "comment", false);
    get_ranges(r, o, c);
    type = get_text(r, o, "type", true);
    if (r->rc == ICE_OK)
        r->rc = as_corrupt(r, ice_type_parse(type, &c->type, r->err));
    get_initial(r, o, c);
    get_former(r, o, depth, c);
}

static ice_code read_column(doc *r, const json_t *o, ice_tabledef *d)
{
    ice_column c = {0};

    read_members(r, o, 0, &c);
    return r->rc != ICE_OK ? r->rc : as_corrupt(r, ice_tabledef_add_column(d, &c, r->err));
}

static ice_constraint_kind get_kind(doc *r, const json_t *o)
{
    ice_str text = get_text(r, o, "kind", true);

    for (int k = ICE_CON_PRIMARY; k <= ICE_CON_CHECK; k++)
        if (ice_str_eqc(text, constraint_kinds[k]))
            return (ice_constraint_kind)k;
    fault(r, "kind", "is not a kind of constraint");
    return ICE_CON_CHECK;
}

static ice_fk_action get_action(doc *r, const json_t *o)
{
    ice_str text = get_text(r, o, "on_delete", false);

    if (!text.ptr)
        return ICE_FK_NO_ACTION;
    for (int k = ICE_FK_CASCADE; k <= ICE_FK_SET_DEFAULT; k++)
        if (ice_str_eqc(text, fk_actions[k]))
            return (ice_fk_action)k;
    fault(r, "on_delete", "is not an action");
    return ICE_FK_NO_ACTION;
}

static ice_code read_constraint(doc *r, const json_t *o, ice_tabledef *d)
{
    static const char *const known[] = {"kind",      "name",       "columns",   "is_index",    "nulls_not_distinct",
                                        "deferrable", "initially_deferred", "where", "expressions", "include",
                                        "ref_table", "ref_columns", "on_delete", "check",    "expr_desc", "since", NULL};
    ice_constraint c = {0};
    size_t nrefs;

    check_members(r, o, known);
    c.kind = get_kind(r, o);
    c.name = get_text(r, o, "name", true);
    c.field_ids = get_ids(r, o, "columns", &c.ncols);
    c.is_index = get_flag(r, o, "is_index");
    c.nulls_not_distinct = get_flag(r, o, "nulls_not_distinct");
    c.deferrable = get_flag(r, o, "deferrable");
    c.initially_deferred = get_flag(r, o, "initially_deferred");
    c.where_sql = get_text(r, o, "where", false);
    c.expr_sql = get_text(r, o, "expressions", false);
    c.expr_desc = (uint32_t)get_int(r, o, "expr_desc", false, 0, UINT32_MAX);
    c.since = get_int(r, o, "since", false, 0, INT64_MAX);
    c.include_ids = get_ids(r, o, "include", &c.ninclude);
    c.ref_field_ids = get_ids(r, o, "ref_columns", &nrefs);
    c.check_sql = get_text(r, o, "check", false);
    if (c.kind == ICE_CON_FOREIGN)
        c.ref_table = get_uuid(r, o, "ref_table");
    c.on_delete = get_action(r, o);
    if (c.on_delete && c.kind != ICE_CON_FOREIGN)
        fault(r, "on_delete", "is set on what is not a foreign key");
    if (nrefs != (c.kind == ICE_CON_FOREIGN ? c.ncols : 0))
        fault(r, "ref_columns", "does not match \"columns\"");
    if (c.is_index && c.kind != ICE_CON_UNIQUE)
        fault(r, "is_index", "is set on what is not a unique constraint");
    return r->rc != ICE_OK ? r->rc : as_corrupt(r, ice_tabledef_add_constraint(d, &c, r->err));
}

static ice_code read_index(doc *r, const json_t *o, ice_tabledef *d)
{
    static const char *const known[] = {"name",      "columns", "descending", "where", "expressions",
                                        "expr_desc", "include", "kind",       "params", NULL};
    const json_t *flags;
    ice_index x = {0};

    check_members(r, o, known);
    x.name = get_text(r, o, "name", true);
    x.field_ids = get_ids(r, o, "columns", &x.ncols);
    flags = get_list(r, o, "descending", false, ICE_MAX_KEY_COLUMNS);
    x.where_sql = get_text(r, o, "where", false);
    x.expr_sql = get_text(r, o, "expressions", false);
    x.expr_desc = (uint32_t)get_int(r, o, "expr_desc", false, 0, UINT32_MAX);
    x.include_ids = get_ids(r, o, "include", &x.ninclude);
    x.kind = get_text(r, o, "kind", false);
    x.params = get_text(r, o, "params", false);
    if (flags && json_array_size(flags) != x.ncols)
        fault(r, "descending", "does not match \"columns\"");
    if (r->rc == ICE_OK && x.ncols && !(x.descending = ice_arena_alloc(r->scratch, x.ncols)))
        return ice_fail_nomem(r->err);
    for (size_t i = 0; flags && r->rc == ICE_OK && i < x.ncols; i++) {
        const json_t *v = json_array_get(flags, i);

        x.descending[i] = json_is_true(v);
        if (!json_is_boolean(v))
            fault(r, "descending", "is not a list of true and false");
    }
    return r->rc != ICE_OK ? r->rc : as_corrupt(r, ice_tabledef_add_index(d, &x, r->err));
}

static ice_code read_list(doc *r, const json_t *root, const char *key, const char *part, size_t most,
                          ice_code (*read_one)(doc *, const json_t *, ice_tabledef *), ice_tabledef *d)
{
    const json_t *list = get_list(r, root, key, true, most);

    r->part = part;
    for (r->at = 0; r->rc == ICE_OK && r->at < json_array_size(list); r->at++)
        r->rc = read_one(r, json_array_get(list, r->at), d);
    r->part = "member";
    r->at = 0;
    return r->rc;
}

static void read_head(doc *r, const json_t *root, ice_tabledef *d)
{
    static const char *const known[] = {"format",  "uuid",    "name",        "schema_id", "last_field_id",
                                        "comment", "columns", "constraints", "indexes",   "view",
                                        "uses",    NULL};
    ice_str name;

    check_members(r, root, known);
    d->uuid = get_uuid(r, root, "uuid");
    d->schema_id = (int32_t)get_int(r, root, "schema_id", true, 0, INT32_MAX);
    name = get_text(r, root, "name", true);
    if (r->rc == ICE_OK && (name.len == 0 || name.len > ICE_MAX_NAME || memchr(name.ptr, 0, name.len)))
        fault(r, "name", "is not a table name");
    if (r->rc == ICE_OK && (!ice__copy_str(d->arena, name, &d->name) ||
                            !ice__copy_str(d->arena, get_text(r, root, "comment", false), &d->comment)))
        r->rc = ice_fail_nomem(r->err);
}

static void read_view(doc *r, const json_t *root, ice_tabledef *d)
{
    ice_str query = get_text(r, root, "view", false);
    const json_t *uses = get_list(r, root, "uses", query.ptr != NULL, ICE_MAX_OBJECTS);

    if (r->rc == ICE_OK && !query.ptr && uses)
        fault(r, "uses", "is of a view, and this is none");
    if (r->rc != ICE_OK || !query.ptr)
        return;
    if (!ice__copy_str(d->arena, query, &d->view_sql) ||
        !(d->uses = ICE_NEW_N(d->arena, ice_uuid, json_array_size(uses) + 1))) {
        r->rc = ice_fail_nomem(r->err);
        return;
    }
    for (size_t i = 0; i < json_array_size(uses); i++) {
        const json_t *u = json_array_get(uses, i);

        if (!json_is_string(u) || !ice_uuid_parse(ice_str_c(json_string_value(u)), &d->uses[d->nuses++]))
            fault(r, "uses", "has something that is not a UUID");
    }
}

static ice_code read_def(doc *r, const json_t *root, ice_tabledef *d)
{
    int64_t format = json_integer_value(json_object_get(root, "format")), last;

    if (json_is_object(root) && format > FORMAT)
        return ice_fail(r->err, ICE_UNSUPPORTED, "table definition has format %lld; this version reads up to %d",
                        (long long)format, FORMAT);
    if (format != FORMAT)
        return ice_fail(r->err, ICE_CORRUPT, "table definition: \"format\" is missing or wrong");
    read_head(r, root, d);
    last = get_int(r, root, "last_field_id", true, 0, ICE_FIELD_ROW_START - 1);
    if (r->rc != ICE_OK || read_list(r, root, "columns", "column", ICE_MAX_COLUMNS, read_column, d) ||
        read_list(r, root, "constraints", "constraint", ICE_MAX_OBJECTS, read_constraint, d) ||
        read_list(r, root, "indexes", "index", ICE_MAX_OBJECTS, read_index, d))
        return r->rc;
    if (last < d->last_field_id)
        fault(r, "last_field_id", "is below a column's id");
    read_view(r, root, d);
    d->last_field_id = (int32_t)last;
    return r->rc;
}

ice_code ice_tabledef_from_json(ice_str json, ice_tabledef **out, ice_error *err)
{
    json_t *root = NULL;
    ice_tabledef *d = NULL;
    json_error_t fault_at;
    doc r = {.err = err, .part = "member"};
    ice_code rc = ICE_NOMEM;

    *out = NULL;
    if (json.len > MAX_JSON)
        return ice_fail(err, ICE_CORRUPT, "table definition of %zu bytes is larger than %zu", json.len, MAX_JSON);
    root = json_loadb(json.ptr ? json.ptr : "", json.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault_at);
    if (!root)
        return ice_fail(err, ICE_CORRUPT, "table definition is not JSON: %s at byte %d", fault_at.text,
                        fault_at.position);
    r.scratch = ice_arena_create();
    d = ice_tabledef_create(ICE_STR_NONE);
    if (r.scratch && d)
        rc = read_def(&r, root, d);
    else
        ice_fail_nomem(err);
    if (rc == ICE_OK) {
        *out = d;
        d = NULL;
    }
    ice_tabledef_free(d);
    ice_arena_free(r.scratch);
    json_decref(root);
    return rc;
}
