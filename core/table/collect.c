/* Which files of a namespace nobody can reach: listing, following the roots, removing.
 *
 * Names are what tells our files from others'. Everything under "<namespace>/<table>-<32 hex>/" that does not
 * look like a file we write is counted and left. Nothing is guessed: a root that cannot be read, or names a
 * file of the warehouse in a way we do not understand, ends the collection. */
#include "table/collect.h"

#include "table/table_int.h"

#include <jansson.h>
#include <stdlib.h>

const char *const ice_file_kind_names[ICE_FILE_KINDS] = {"data",     "deletes", "manifest",  "manifest-list",
                                                         "metadata", "cache",   "temporary", "other"};

/* What is known of a key. */
enum { KEPT = 1, READ = 2, REPLACED = 4 };

typedef struct known {
    ice_str key;
    unsigned flags;
} known;

typedef struct found {
    ice_store_file file;
    ice_file_kind kind;
    size_t table; /* index of its directory; SIZE_MAX: the cache */
    bool unreachable, ripe, removed;
} found;

struct ice_collection {
    ice_env *env;
    ice_arena *arena;
    size_t nfiles;
    found *files; /* the cache's first, then the tables', each sorted by key */
    size_t ncache;
    size_t ntables, cap_tables;
    ice_uuid *tables;
    ice_str *dirs; /* keys of the tables' directories */
    bool *in_use;
    size_t nknown, slots;
    known *known; /* hash table */
};

/* ---- what is known ---- */

static known *probe(known *t, size_t slots, ice_str key)
{
    size_t i = ice_hash64(key.ptr, key.len, 0) & (slots - 1);
    while (t[i].key.ptr && !ice_str_eq(t[i].key, key))
        i = (i + 1) & (slots - 1);
    return &t[i];
}

static ice_code grow_known(ice_collection *c, ice_error *err)
{
    size_t slots = c->slots ? c->slots * 2 : 1024;
    known *t = calloc(slots, sizeof *t);
    if (!t)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < c->slots; i++)
        if (c->known[i].key.ptr)
            *probe(t, slots, c->known[i].key) = c->known[i];
    free(c->known);
    c->known = t;
    c->slots = slots;
    return ICE_OK;
}

/* Adds flags to a key; *before: the ones it had. */
static ice_code note(ice_collection *c, ice_str key, unsigned flags, unsigned *before, ice_error *err)
{
    if ((c->nknown + 1) * 2 > c->slots) {
        ice_code rc = grow_known(c, err);
        if (rc != ICE_OK)
            return rc;
    }
    known *k = probe(c->known, c->slots, key);
    if (!k->key.ptr) {
        if (!(k->key = ice_arena_str(c->arena, key)).ptr)
            return ice_fail_nomem(err);
        c->nknown++;
    }
    if (before)
        *before = k->flags;
    k->flags |= flags;
    return ICE_OK;
}

static unsigned flags_of(const ice_collection *c, ice_str key)
{
    return c->slots ? probe(c->known, c->slots, key)->flags : 0;
}

/* ---- listing ---- */

static bool hex_run(ice_str s, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++)
        if (i >= s.len || !((s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'f')))
            return false;
    return true;
}

/* "<prefix><16 hex>.<ext>" */
static bool is_named(ice_str base, const char *prefix, const char *ext)
{
    size_t p = strlen(prefix), e = strlen(ext);
    return base.len == p + 16 + e && memcmp(base.ptr, prefix, p) == 0 && hex_run(base, p, 16) &&
           memcmp(base.ptr + p + 16, ext, e) == 0;
}

/* "<version>-<uuid>.metadata.json" */
static bool is_metadata_name(ice_str base)
{
    static const char ext[] = ".metadata.json";
    ice_uuid u;
    size_t digits = 0, tail = 1 + 36 + sizeof ext - 1;
    while (digits < base.len && base.ptr[digits] >= '0' && base.ptr[digits] <= '9')
        digits++;
    return digits > 0 && base.len == digits + tail && base.ptr[digits] == '-' &&
           ice_uuid_parse((ice_str){base.ptr + digits + 1, 36}, &u) &&
           memcmp(base.ptr + base.len - sizeof ext + 1, ext, sizeof ext - 1) == 0;
}

static ice_file_kind kind_of(ice_str part, ice_str base)
{
    if (is_named(base, ".tmp-", ""))
        return ICE_FILE_TEMPORARY;
    if (ice_str_eqc(part, "data"))
        return ice__name_schema(base) >= 0 ? ICE_FILE_DATA : ICE_FILE_OTHER;
    if (!ice_str_eqc(part, "metadata"))
        return ICE_FILE_OTHER;
    if (is_named(base, "snap-", ".avro"))
        return ICE_FILE_MANIFEST_LIST;
    if (is_named(base, "m-", ".avro"))
        return ICE_FILE_MANIFEST;
    if (is_named(base, "dv-", ".puffin"))
        return ICE_FILE_DELETES;
    return is_metadata_name(base) ? ICE_FILE_METADATA : ICE_FILE_OTHER;
}

/* "<base>.parquet" of a cache file's name, absent where it is none of ours. */
static ice_str cached_base(ice_str name)
{
    static const char mark[] = ".parquet";
    const char *hit = memmem(name.ptr, name.len, mark, sizeof mark - 1);
    ice_str base = {name.ptr, hit ? (size_t)(hit - name.ptr) + sizeof mark - 1 : 0};
    bool ours = hit && base.len < name.len && name.ptr[base.len] == '.' && ice__name_schema(base) >= 0;
    return ours ? base : ICE_STR_NONE;
}

static ice_code add_table(ice_collection *c, ice_str dir, ice_uuid u, size_t *out, ice_error *err)
{
    if (c->ntables && ice_str_eq(c->dirs[c->ntables - 1], dir)) {
        *out = c->ntables - 1;
        return ICE_OK;
    }
    if (c->ntables == c->cap_tables) {
        size_t cap = c->cap_tables ? c->cap_tables * 2 : 64;
        ice_uuid *tables = ICE_NEW_N(c->arena, ice_uuid, cap);
        ice_str *dirs = ICE_NEW_N(c->arena, ice_str, cap);
        if (!tables || !dirs)
            return ice_fail_nomem(err);
        if (c->ntables) {
            memcpy(tables, c->tables, c->ntables * sizeof *tables);
            memcpy(dirs, c->dirs, c->ntables * sizeof *dirs);
        }
        c->tables = tables;
        c->dirs = dirs;
        c->cap_tables = cap;
    }
    c->tables[c->ntables] = u;
    c->dirs[c->ntables] = dir;
    *out = c->ntables++;
    return ICE_OK;
}

/* "<namespace>/<name>-<32 hex>/<part>/<base>" */
static ice_code classify(ice_collection *c, size_t ns, found *f, ice_error *err)
{
    ice_str key = f->file.key, rest = {key.ptr + ns, key.len - ns};
    const char *a = memchr(rest.ptr, '/', rest.len);
    const char *b = a ? memchr(a + 1, '/', (size_t)(key.ptr + key.len - a - 1)) : NULL;
    ice_uuid u;
    f->kind = ICE_FILE_OTHER;
    f->table = SIZE_MAX;
    if (!b || memchr(b + 1, '/', (size_t)(key.ptr + key.len - b - 1)))
        return ICE_OK;
    ice_str dir = {key.ptr, (size_t)(a - key.ptr)}, part = {a + 1, (size_t)(b - a - 1)};
    if (a - rest.ptr < 34 || a[-33] != '-' || !ice_dir_uuid(dir, &u))
        return ICE_OK;
    f->kind = kind_of(part, (ice_str){b + 1, (size_t)(key.ptr + key.len - b - 1)});
    return add_table(c, dir, u, &f->table, err);
}

static ice_code list_all(ice_collection *c, ice_error *err)
{
    ice_store *s = c->env->store;
    ice_str cache = {c->env->cache_dir + s->root.len + 1, strlen(c->env->cache_dir) - s->root.len - 1};
    ice_str ns = ice_str_c(c->env->ns ? c->env->ns : "default");
    ice_store_file *cached = NULL, *files = NULL;
    size_t n = 0;
    ice_code rc;
    /* The cache first: what it is made from was there before it. */
    ICE_TRY(s->m->scan(s, cache, c->arena, &cached, &c->ncache, err));
    ICE_TRY(s->m->scan(s, ns, c->arena, &files, &n, err));
    c->files = ICE_NEW_N(c->arena, found, c->ncache + n + 1);
    if (!c->files)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < c->ncache; i++) {
        bool ours = cached_base(ice__base_name(cached[i].key)).ptr;
        c->files[c->nfiles++] =
            (found){.file = cached[i], .kind = ours ? ICE_FILE_CACHE : ICE_FILE_OTHER, .table = SIZE_MAX};
    }
    for (size_t i = 0; i < n; i++) {
        c->files[c->nfiles].file = files[i];
        ICE_TRY(classify(c, ns.len + 1, &c->files[c->nfiles++], err));
    }
    c->in_use = ICE_NEW_N(c->arena, bool, c->ntables + 1);
    if (!c->in_use)
        rc = ice_fail_nomem(err);
out:
    return rc;
}

ice_code ice_collection_begin(ice_env *env, ice_collection **out, ice_error *err)
{
    ice_collection *c = calloc(1, sizeof *c);
    ice_code rc = ICE_OK;
    *out = NULL;
    if (!c)
        return ice_fail_nomem(err);
    c->env = env;
    if (!(c->arena = ice_arena_create()))
        rc = ice_fail_nomem(err);
    if (rc == ICE_OK && (rc = list_all(c, err)) == ICE_OK)
        *out = c;
    else
        ice_collection_free(c);
    return rc;
}

void ice_collection_free(ice_collection *c)
{
    if (!c)
        return;
    free(c->known);
    ice_arena_free(c->arena);
    free(c);
}

size_t ice_collection_tables(const ice_collection *c, const ice_uuid **out)
{
    *out = c->tables;
    return c->ntables;
}

void ice_collection_in_use(ice_collection *c, ice_uuid table)
{
    for (size_t i = 0; i < c->ntables; i++)
        c->in_use[i] |= ice_uuid_eq(c->tables[i], table);
}

/* ---- following the roots ---- */

static ice_code read_key(ice_collection *c, ice_str key, uint64_t max, ice_buf *out, ice_error *err)
{
    uint64_t size = 0;
    ice_code rc;
    ICE_TRY(c->env->store->m->size(c->env->store, key, &size, err));
    if (size > max)
        return ice_fail(err, ICE_CORRUPT, "%.*s: %llu bytes are too many", ICE_PRI(key),
                        (unsigned long long)size);
    ICE_TRY(c->env->store->m->get(c->env->store, key, out, err));
out:
    return rc;
}

/* A file that a manifest names. Another program's may lie elsewhere: that is none of ours. */
static ice_code note_file(ice_collection *c, ice_str location, unsigned flags, ice_arena *a, ice_error *err)
{
    ice_str key, root = c->env->store->root;
    if (ice_store_key(c->env->store, a, location, &key, NULL) == ICE_OK)
        return note(c, key, flags, NULL, err);
    if (memmem(location.ptr, location.len, root.ptr, root.len))
        return ice_fail(err, ICE_CORRUPT, "the file \"%.*s\" is not named as files of this warehouse are",
                        ICE_PRI(location));
    return ICE_OK;
}

/* A file that names others, on the way through it. */
typedef struct visit {
    ice_arena *arena;
    ice_str key;
    ice_buf bytes;
    bool first; /* nobody was there before: its bytes are read */
} visit;

/* To be ended whatever it gives. */
static ice_code visit_begin(ice_collection *c, ice_str location, unsigned flag, uint64_t max, visit *v,
                            ice_error *err)
{
    unsigned mark = flag == KEPT ? READ : flag, before = 0;
    ice_code rc;
    *v = (visit){.arena = ice_arena_create(), .key = ICE_STR_NONE};
    if (!v->arena)
        return ice_fail_nomem(err);
    ICE_TRY(ice__locate(c->env, v->arena, location, &v->key, NULL, err));
    ICE_TRY(note(c, v->key, flag | mark, &before, err));
    v->first = !(before & mark);
    if (v->first)
        ICE_TRY(read_key(c, v->key, max, &v->bytes, err));
out:
    return rc;
}

static void visit_end(visit *v)
{
    ice_buf_free(&v->bytes);
    ice_arena_free(v->arena);
}

static ice_code follow_manifest(ice_collection *c, const ice_manifest_file *m, unsigned flag, ice_error *err)
{
    visit v;
    ice_manifest_entry *e;
    size_t n = 0;
    ice_code rc;
    ICE_TRY(visit_begin(c, m->path, flag, ICE__MANIFEST_MAX, &v, err));
    if (v.first)
        ICE_TRY(ice_manifest_read(ice_buf_str(&v.bytes), m, NULL, flag == KEPT, v.arena, &e, &n, err));
    for (size_t i = 0; i < n; i++)
        ICE_TRY(note_file(c, e[i].file.path, flag, v.arena, err));
out:
    visit_end(&v);
    return rc;
}

static ice_code follow_list(ice_collection *c, ice_str location, unsigned flag, ice_error *err)
{
    visit v;
    ice_manifest_file *m;
    size_t n = 0;
    ice_code rc;
    ICE_TRY(visit_begin(c, location, flag, ICE__MANIFEST_MAX, &v, err));
    if (v.first)
        ICE_TRY(ice_manifest_list_read(ice_buf_str(&v.bytes), location, v.arena, &m, &n, err));
    for (size_t i = 0; i < n; i++)
        ICE_TRY(follow_manifest(c, &m[i], flag, err));
out:
    visit_end(&v);
    return rc;
}

/* Statistics of another program: their place is in their JSON. */
static ice_code note_statistics(ice_collection *c, const ice_statistics *s, size_t n, ice_arena *a,
                                ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < n && rc == ICE_OK; i++) {
        json_t *j = json_loadb(s[i].json.ptr, s[i].json.len, 0, NULL);
        const char *path = json_string_value(json_object_get(j, "statistics-path"));
        rc = path ? note_file(c, ice_str_c(path), KEPT, a, err)
                  : ice_fail(err, ICE_CORRUPT, "a statistics file without its path");
        json_decref(j);
    }
    return rc;
}

static ice_code follow_metadata(ice_collection *c, const ice_metadata *m, ice_arena *a, ice_error *err)
{
    ice_str history = ice_metadata_property(m, ICE_PROP_HISTORY);
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < m->nsnapshots; i++) {
        if (!m->snapshots[i].manifest_list.ptr)
            return ice_fail(err, ICE_UNSUPPORTED, "a snapshot without a manifest list");
        ICE_TRY(follow_list(c, m->snapshots[i].manifest_list, KEPT, err));
    }
    for (size_t i = 0; i < m->nmetadata_log; i++)
        ICE_TRY(note_file(c, m->metadata_log[i].file, KEPT, a, err));
    ICE_TRY(note_statistics(c, m->statistics, m->nstatistics, a, err));
    ICE_TRY(note_statistics(c, m->partition_statistics, m->npartition_statistics, a, err));
    if (history.ptr)
        ICE_TRY(ice_collection_root(c, history, err));
out:
    return rc;
}

ice_code ice_collection_root(ice_collection *c, ice_str location, ice_error *err)
{
    visit v;
    ice_metadata *m;
    ice_code rc;
    ICE_TRY(visit_begin(c, location, KEPT, ICE_METADATA_MAX, &v, err));
    if (v.first) {
        ICE_TRY(ice_metadata_parse(ice_buf_str(&v.bytes), v.arena, &m, err));
        ICE_TRY(follow_metadata(c, m, v.arena, err));
    }
out:
    if (rc != ICE_OK && v.key.ptr)
        ice_error_prefix(err, "%.*s", ICE_PRI(v.key));
    visit_end(&v);
    return rc;
}

ice_code ice_collection_view(ice_collection *c, ice_str location, ice_error *err)
{
    return note_file(c, location, KEPT, c->arena, err);
}

ice_code ice_collection_guarded(ice_collection *c, ice_error *err)
{
    ice_code rc = ICE_OK;
    for (size_t i = c->ncache; i < c->nfiles; i++) {
        const found *f = &c->files[i];
        ice_str path, location;
        bool held = false;
        if (f->kind != ICE_FILE_METADATA || (flags_of(c, f->file.key) & KEPT))
            continue;
        ICE_TRY(ice_store_path(c->env->store, c->arena, f->file.key, &path, err));
        ICE_TRY(ice__guard_held(path, &held, err));
        if (!held)
            continue;
        ICE_TRY(ice_store_location(c->env->store, c->arena, f->file.key, &location, err));
        ICE_TRY(ice_collection_root(c, location, err));
    }
out:
    return rc;
}

ice_code ice_collection_keep(ice_collection *c, ice_str key, ice_error *err)
{
    return note(c, key, KEPT, NULL, err);
}

ice_code ice_collection_replaced(ice_collection *c, ice_str location, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_error gone;
    ice_str key;
    uint64_t size;
    ice_code rc = a ? ICE_OK : ice_fail_nomem(err);
    if (!a)
        return rc;
    ICE_TRY(ice__locate(c->env, a, location, &key, NULL, err));
    if (c->env->store->m->size(c->env->store, key, &size, &gone) != ICE_OK)
        goto out;
    if (kind_of(ICE_STR("metadata"), ice__base_name(key)) != ICE_FILE_MANIFEST_LIST)
        rc = note(c, key, REPLACED, NULL, err);
    else if (follow_list(c, location, REPLACED, &gone) != ICE_OK)
        rc = ICE_OK; /* half of it was collected before: the rest waits for its age */
out:
    ice_arena_free(a);
    return rc;
}

/* ---- what goes ---- */

static bool in_use(const ice_collection *c, const found *f)
{
    return f->table != SIZE_MAX && c->in_use[f->table];
}

void ice_collection_decide(ice_collection *c, int64_t grace_us)
{
    int64_t now = ice_clock_us();
    for (size_t i = c->ncache; i < c->nfiles; i++) {
        found *f = &c->files[i];
        unsigned flags = flags_of(c, f->file.key);
        f->unreachable = f->kind != ICE_FILE_OTHER && !(flags & KEPT) && !in_use(c, f);
        bool old = grace_us <= 0 || now - f->file.mtime_us >= grace_us || (flags & REPLACED);
        f->ripe = f->unreachable && old;
    }
}

static int by_base(const void *x, const void *y)
{
    return ice_str_cmp(*(const ice_str *)x, *(const ice_str *)y);
}

/* Cached forms of data files that are gone, or go now. */
static ice_code decide_cache(ice_collection *c, ice_error *err)
{
    ice_str *bases = ICE_NEW_N(c->arena, ice_str, c->nfiles + 1);
    size_t n = 0;
    if (!bases)
        return ice_fail_nomem(err);
    for (size_t i = c->ncache; i < c->nfiles; i++)
        if (c->files[i].kind == ICE_FILE_DATA && !c->files[i].ripe)
            bases[n++] = ice__base_name(c->files[i].file.key);
    qsort(bases, n, sizeof *bases, by_base);
    for (size_t i = 0; i < c->ncache; i++) {
        ice_str base = cached_base(ice__base_name(c->files[i].file.key));
        c->files[i].unreachable = c->files[i].ripe =
            base.ptr && !bsearch(&base, bases, n, sizeof *bases, by_base);
    }
    return ICE_OK;
}

ice_code ice_collection_hold(ice_collection *c, bool (*held)(void *arg, ice_str key), void *arg,
                             ice_error *err)
{
    for (size_t i = c->ncache; held && i < c->nfiles; i++)
        if (c->files[i].ripe && held(arg, c->files[i].file.key))
            c->files[i].ripe = false;
    return decide_cache(c, err);
}

/* Directories of tables that have no file left. Whoever makes a table's files holds its lock or the flusher's
 * lease. */
static ice_code remove_dirs(ice_collection *c, ice_error *err)
{
    bool *left = ICE_NEW_N(c->arena, bool, c->ntables + 1);
    ice_store *s = c->env->store;
    ice_code rc = ICE_OK;
    if (!left)
        return ice_fail_nomem(err);
    for (size_t i = c->ncache; i < c->nfiles; i++)
        if (c->files[i].table != SIZE_MAX && !c->files[i].removed)
            left[c->files[i].table] = true;
    for (size_t i = 0; i < c->ntables && rc == ICE_OK; i++) {
        static const char *const parts[] = {"/data", "/metadata", ""};
        for (int p = 0; p < 3 && rc == ICE_OK && !left[i] && !c->in_use[i]; p++) {
            char *key = ice_arena_printf(c->arena, "%.*s%s", ICE_PRI(c->dirs[i]), parts[p]);
            rc = key ? s->m->remove_dir(s, ice_str_c(key), err) : ice_fail_nomem(err);
        }
    }
    return rc;
}

ice_code ice_collection_remove(ice_collection *c, void (*progress)(void *arg, const char *what, double done),
                               void *arg, ice_error *err)
{
    ice_store *s = c->env->store;
    size_t n = 0, done = 0;
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < c->nfiles; i++)
        n += c->files[i].ripe;
    for (size_t i = 0; i < c->nfiles; i++) {
        if (!c->files[i].ripe)
            continue;
        ICE_TRY(s->m->remove(s, c->files[i].file.key, err));
        c->files[i].removed = true;
        if (progress && (++done % 256 == 0 || done == n))
            progress(arg, "removed", (double)done / (double)n);
    }
    ICE_TRY(remove_dirs(c, err));
out:
    return rc;
}

/* ---- telling ---- */

static void sum(ice_file_sum *s, const found *f, bool counts)
{
    s[f->kind].files += counts;
    s[f->kind].bytes += counts ? f->file.bytes : 0;
}

void ice_collection_sums_get(const ice_collection *c, ice_collection_sums *out)
{
    *out = (ice_collection_sums){0};
    for (size_t i = 0; i < c->nfiles; i++) {
        sum(out->all, &c->files[i], true);
        sum(out->unreachable, &c->files[i], c->files[i].unreachable);
        sum(out->ripe, &c->files[i], c->files[i].ripe);
        sum(out->removed, &c->files[i], c->files[i].removed);
    }
}

void ice_collection_each(const ice_collection *c, bool ripe,
                         void (*fn)(void *arg, ice_str key, uint64_t bytes, ice_file_kind kind), void *arg)
{
    for (size_t i = 0; i < c->nfiles; i++)
        if (ripe ? c->files[i].ripe : c->files[i].unreachable)
            fn(arg, c->files[i].file.key, c->files[i].file.bytes, c->files[i].kind);
}
