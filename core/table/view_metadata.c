/* A view's metadata file, as the Iceberg view specification has it. The definition is in its properties; the
 * schema and the query beside it are what other engines read. One version is kept: a view that is replaced
 * has another file. */
#include "table/flush_int.h"

#include <jansson.h>

#define DIALECT "duckdb"

/* The number in a metadata file's name: which definition of the view it has. */
bool ice_view_metadata_is_of(ice_str location, const ice_tabledef *def)
{
    return location.ptr && ice_metadata_version_of(location) == def->schema_id;
}

static json_t *text(ice_str s)
{
    return json_stringn(s.ptr, s.len);
}

static json_t *schema_of(const ice_tabledef *def, ice_arena *a, ice_error *err)
{
    ice_schema schema;
    ice_buf bytes = {0};
    json_t *j = NULL;
    ice_code rc;
    ICE_TRY(ice_schema_of_table(def, a, &schema, err));
    while (schema.nfields > def->ncols) /* a table's own column, after the others */
        schema.nfields--;
    ICE_TRY(ice_schema_to_json(&schema, &bytes, err));
    if (!(j = json_loadb(bytes.data, bytes.len, 0, NULL)))
        rc = ice_fail_nomem(err);
out:
    ice_buf_free(&bytes);
    return j;
}

static json_t *version_of(const ice_env *env, const ice_tabledef *def, int64_t now_ms)
{
    int id = def->schema_id + 1;
    return json_pack("{s:i, s:i, s:I, s:{s:s}, s:[{s:s, s:o, s:s}], s:[s]}", "version-id", id, "schema-id",
                     (int)def->schema_id, "timestamp-ms", (json_int_t)now_ms, "summary", "engine-name",
                     "django-iceberg", "representations", "type", "sql", "sql", text(def->view_sql),
                     "dialect", DIALECT, "default-namespace", env->ns ? env->ns : "default");
}

static json_t *properties_of(const ice_tabledef *def, ice_error *err)
{
    ice_buf bytes = {0};
    json_t *j = NULL;
    if (ice_tabledef_to_json(def, &bytes, err) == ICE_OK &&
        !(j = json_pack("{s:o}", ICE_PROP_TABLE, text(ice_buf_str(&bytes)))))
        (void)!ice_fail_nomem(err);
    ice_buf_free(&bytes);
    return j;
}

static ice_code to_json(const ice_env *env, const ice_tabledef *def, ice_str location, ice_arena *a,
                        ice_buf *out, ice_error *err)
{
    char uuid[37];
    int64_t now_ms = ice_clock_us() / 1000;
    json_t *schema = schema_of(def, a, err);
    json_t *properties = schema ? properties_of(def, err) : NULL;
    if (!properties) {
        json_decref(schema);
        return err ? err->code : ICE_NOMEM;
    }
    ice_uuid_text(def->uuid, uuid);
    json_t *j = json_pack("{s:s, s:i, s:o, s:i, s:[o], s:[{s:I, s:i}], s:[o], s:o}", "view-uuid", uuid,
                          "format-version", 1, "location", text(location), "current-version-id",
                          (int)def->schema_id + 1, "versions", version_of(env, def, now_ms), "version-log",
                          "timestamp-ms", (json_int_t)now_ms, "version-id", (int)def->schema_id + 1,
                          "schemas", schema, "properties", properties);
    char *plain = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    json_decref(j);
    if (!plain)
        return ice_fail_nomem(err);
    ice_buf_put_str(out, (ice_str){plain, strlen(plain) - strlen("\n}")});
    free(plain);
    return ice_metadata_seal(out, 0, err);
}

ice_code ice__view_metadata_write(const ice_env *env, const ice_tabledef *def, ice_arena *a,
                                  ice_str *location, ice_error *err)
{
    ice_str dir, base, key;
    ice_buf body = {0};
    ice_code rc;
    ICE_TRY(ice__table_dir(env, a, def->name, def->uuid, false, &dir, err));
    ICE_TRY(ice_store_location(env->store, a, dir, &base, err));
    ICE_TRY(to_json(env, def, base, a, &body, err));
    ICE_TRY(ice_metadata_location(a, dir, def->schema_id, ice_uuid_random(), &key, err));
    ICE_TRY(ice_store_location(env->store, a, key, location, err));
    ICE_TRY(env->store->m->put_if_absent(env->store, key, ice_buf_str(&body), err));
out:
    ice_buf_free(&body);
    return rc;
}

static ice_code read_def(ice_str bytes, ice_tabledef **out, ice_error *err)
{
    json_t *j = json_loadb(bytes.ptr, bytes.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *def = json_object_get(json_object_get(j, "properties"), ICE_PROP_TABLE);
    ice_code rc;
    if (!json_is_string(def))
        rc = ice_fail(err, ICE_CORRUPT, "no metadata of a view of ours");
    else
        rc = ice_tabledef_from_json((ice_str){json_string_value(def), json_string_length(def)}, out, err);
    if (rc == ICE_OK && !ice_tabledef_is_view(*out)) {
        ice_tabledef_free(*out);
        *out = NULL;
        rc = ice_fail(err, ICE_CORRUPT, "the definition is a table's");
    }
    json_decref(j);
    return rc;
}

ice_code ice_view_metadata_load(const ice_env *env, ice_str location, ice_tabledef **out, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_buf bytes = {0};
    ice_str key = ICE_STR_NONE;
    uint64_t size = 0;
    ice_code rc = a ? ICE_OK : ice_fail_nomem(err);
    *out = NULL;
    if (!a)
        return rc;
    ICE_TRY(ice__locate(env, a, location, &key, NULL, err));
    ICE_TRY(env->store->m->size(env->store, key, &size, err));
    if (size > ICE_METADATA_MAX) {
        rc = ice_fail(err, ICE_CORRUPT, "%llu bytes are too many", (unsigned long long)size);
        goto out;
    }
    ICE_TRY(env->store->m->get(env->store, key, &bytes, err));
    ICE_TRY(ice_metadata_seal_check(ice_buf_str(&bytes), err));
    ICE_TRY(read_def(ice_buf_str(&bytes), out, err));
out:
    if (rc != ICE_OK && key.ptr)
        ice_error_prefix(err, "%.*s", ICE_PRI(key));
    ice_buf_free(&bytes);
    ice_arena_free(a);
    return rc;
}
