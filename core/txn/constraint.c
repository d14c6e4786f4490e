/* Lock names, and the constraints a changed row must meet: NOT NULL and CHECK at the statement, foreign keys
 * at commit. Unique keys are in write.c, where the conflicting row is wanted too. */
#include <stdlib.h>

#include "txn/txn_int.h"

/* ---- lock names: 64-bit hashes; two things that share one only wait for each other ---- */

static uint64_t lock_name(char kind, ice_uuid table, uint64_t a, uint64_t b)
{
    struct {
        uint8_t uuid[16];
        uint64_t a, b;
    } key;
    memcpy(key.uuid, table.b, 16);
    key.a = a;
    key.b = b;
    return ice_hash64(&key, sizeof key, (uint64_t)kind);
}

uint64_t ice__lock_row(ice_uuid table, uint64_t key_hash)
{
    return lock_name('r', table, key_hash, 0);
}
uint64_t ice__lock_table(ice_uuid table)
{
    return lock_name('t', table, 0, 0);
}
uint64_t ice__lock_parent(ice_uuid table)
{
    return lock_name('p', table, 0, 0);
}
uint64_t ice__lock_layout(ice_uuid table)
{
    return lock_name('l', table, 0, 0);
}
uint64_t ice__lock_name(ice_str name)
{
    return ice_hash64(name.ptr, name.len, 'n');
}

uint64_t ice__lock_constraint(ice_uuid table, ice_str name)
{
    return lock_name('c', table, ice_hash64(name.ptr, name.len, 0), 0);
}

uint64_t ice__lock_key(ice_uuid table, const ice_tabledef *def, const ice_key *key, uint64_t key_hash)
{
    uint64_t cols = 0;
    for (size_t i = 0; i < key->ncols; i++)
        cols = cols * 1000003 + (uint64_t)def->cols[key->cols[i]].field_id;
    return lock_name('k', table, key_hash, cols);
}

/* ---- views for checks ---- */

ice_code ice__latest_view(ice_session *s, ice__txtable *t, ice_view *out, ice_error *err)
{
    ice__registry *reg = NULL;
    ice_tabstate *state = NULL;
    int64_t at;
    ice_code rc = ice__wh_catchup(s->wh, err);
    if (rc != ICE_OK)
        return rc;
    ice__wh_view(s->wh, &reg, &at);
    if ((rc = ice__tx_state(s, t, reg, &state, err)) == ICE_OK) {
        *out = (ice_view){
            .env = &s->wh->env, .state = ice_tabstate_ref(state), .at = at, .mode = ICE_VIEW_CURRENT};
        if (t->overlay) {
            out->overlay = ice_tail_ref(t->overlay);
            out->overlay_at = ICE_TIME_MAX - 1;
        }
    }
    ice__registry_unref(reg);
    return rc;
}

/* ---- NOT NULL, CHECK ---- */

ice_code ice__check_fail(const ice_tabledef *def, const ice_constraint *con, ice_error *err)
{
    ice_code rc = ice_fail(err, ICE_CHECK, "new row for relation \"%.*s\" violates check constraint \"%.*s\"",
                           ICE_PRI(def->name), ICE_PRI(con->name));
    ice_error_object(err, def->name.ptr, con->name.ptr);
    return rc;
}

/* "SELECT $1::T AS "a", $2::U AS "b" ...": the row as a one-row relation. */
void ice__row_relation(const ice_tabledef *def, ice_buf *out)
{
    ice_buf_puts(out, "SELECT ");
    for (size_t i = 0; i < def->ncols; i++) {
        ice_buf_printf(out, "%sCAST($%zu AS ", i ? ", " : "", i + 1);
        ice_duck_type(&def->cols[i], out);
        ice_buf_puts(out, ")");
        if (ice_column_collated(&def->cols[i])) {
            ice_buf_puts(out, " COLLATE ");
            ice_buf_put_ident(out, def->cols[i].collation);
        }
        ice_buf_puts(out, " AS ");
        ice_buf_put_ident(out, def->cols[i].name);
    }
}

ice_code ice__null_fail(const ice_tabledef *def, const ice_column *col, ice_error *err)
{
    ice_code rc = ice_fail(err, ICE_NOT_NULL,
                           "null value in column \"%.*s\" of relation \"%.*s\" violates not-null constraint",
                           ICE_PRI(col->name), ICE_PRI(def->name));
    ice_error_object(err, def->name.ptr, col->name.ptr);
    return rc;
}

/* ---- foreign keys ---- */

#define MANY_KEYS 512 /* more parents than this in a transaction: one lock for all of them */

/* What one commit checks: views of the tables it asks, keys already found. */
typedef struct fk_check {
    ice_session *s;
    ice_arena *arena;
    ice__registry *reg;
    int64_t at;
    size_t nviews;
    struct fk_view {
        ice_uuid uuid;
        ice_view view;
    } *views;
    uint64_t *seen; /* open addressing; 0 is empty */
    size_t nseen, cap_seen;
    uint64_t locked_parents[64]; /* parents whose one lock is held */
    size_t nlocked;
} fk_check;

static bool seen_before(fk_check *f, uint64_t h)
{
    h |= 1;
    if (f->nseen * 2 >= f->cap_seen) {
        size_t cap = f->cap_seen ? f->cap_seen * 2 : 256;
        uint64_t *grown = ice_arena_array(f->arena, cap, sizeof *grown);
        if (!grown)
            return false; /* only checks again */
        for (size_t i = 0; i < f->cap_seen; i++)
            if (f->seen[i])
                for (size_t j = f->seen[i] & (cap - 1);; j = (j + 1) & (cap - 1))
                    if (!grown[j]) {
                        grown[j] = f->seen[i];
                        break;
                    }
        f->seen = grown;
        f->cap_seen = cap;
    }
    size_t j = h & (f->cap_seen - 1);
    for (; f->seen[j]; j = (j + 1) & (f->cap_seen - 1))
        if (f->seen[j] == h)
            return true;
    f->seen[j] = h;
    f->nseen++;
    return false;
}

/* View of a table for checking: newest, with the transaction's changes. NULL where the table is gone. */
static ice_code fk_view(fk_check *f, ice_uuid id, ice_view **out, ice_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < f->nviews; i++)
        if (ice_uuid_eq(f->views[i].uuid, id)) {
            *out = &f->views[i].view;
            return ICE_OK;
        }
    ice__txtable *t = ice__tx_find(&f->s->tx, id);
    ice__entry *e = ice__registry_find_uuid(f->reg, id);
    ice_tabstate *state = NULL;
    ice_code rc = ICE_OK;
    if ((t && t->dropped) || (!t && !e))
        return ICE_OK;
    rc = t ? ice__tx_state(f->s, t, f->reg, &state, err) : ice__wh_state(f->s->wh, e, &state, err);
    if (rc != ICE_OK)
        return rc;
    struct fk_view *grown = realloc(f->views, (f->nviews + 1) * sizeof *grown);
    if (!grown)
        return ice_fail_nomem(err);
    f->views = grown;
    struct fk_view *v = &f->views[f->nviews++];
    v->uuid = id;
    v->view = (ice_view){
        .env = &f->s->wh->env, .state = ice_tabstate_ref(state), .at = f->at, .mode = ICE_VIEW_CURRENT};
    if (t && t->overlay) {
        v->view.overlay = ice_tail_ref(t->overlay);
        v->view.overlay_at = ICE_TIME_MAX - 1;
    }
    *out = &v->view;
    return ICE_OK;
}

/* Someone may have committed while a lock was waited for: views are taken again. */
static ice_code fk_renew(fk_check *f, ice_error *err)
{
    ice_code rc = ice__wh_catchup(f->s->wh, err);
    if (rc != ICE_OK)
        return rc;
    for (size_t i = 0; i < f->nviews; i++)
        ice__view_release(&f->views[i].view);
    f->nviews = 0;
    ice__registry_unref(f->reg);
    ice__wh_view(f->s->wh, &f->reg, &f->at);
    return ICE_OK;
}

/* Number of the key with exactly these columns (in any order; `perm` tells where each key column stands in
 * ids). -1: none. */
static int key_with(const ice_tabstate *st, const int32_t *ids, size_t n, int *perm)
{
    for (size_t k = 0; k < st->keys.n; k++) {
        const ice_key *key = &st->keys.keys[k];
        size_t matched = 0;
        for (size_t c = 0; key->ncols == n && c < n; c++)
            for (size_t i = 0; i < n; i++)
                if (st->def->cols[key->cols[c]].field_id == ids[i]) {
                    perm[c] = (int)i;
                    matched++;
                    break;
                }
        if (matched == n && key->ncols == n)
            return (int)k;
    }
    return -1;
}

static void put_key_text(const ice_tabledef *def, const int32_t *ids, const ice_value *values, size_t n,
                         ice_buf *out)
{
    ice_buf_puts(out, "(");
    for (size_t i = 0; i < n; i++) {
        int at = ice_tabledef_find_id(def, ids[i]);
        ice_buf_printf(out, "%s%.*s", i ? ", " : "", ICE_PRI(at < 0 ? ICE_STR("?") : def->cols[at].name));
    }
    ice_buf_puts(out, ")=(");
    for (size_t i = 0; i < n; i++) {
        ice_buf_puts(out, i ? ", " : "");
        ice_value_text(&values[i], out);
    }
    ice_buf_puts(out, ")");
}

ice_code ice__fk_fail(const ice_tabledef *child, const ice_constraint *con, const ice_tabledef *parent,
                        const int32_t *ids, const ice_tabledef *key_of, const ice_value *values,
                        bool from_child, ice_error *err)
{
    ice_buf key = {0};
    put_key_text(key_of, ids, values, con->ncols, &key);
    if (from_child)
        ice_fail(err, ICE_FOREIGN_KEY,
                 "insert or update on table \"%.*s\" violates foreign key constraint \"%.*s\": Key %.*s is "
                 "not present in table \"%.*s\"",
                 ICE_PRI(child->name), ICE_PRI(con->name), (int)key.len, key.data,
                 ICE_PRI(parent ? parent->name : ICE_STR("?")));
    else
        ice_fail(err, ICE_FOREIGN_KEY,
                 "update or delete on table \"%.*s\" violates foreign key constraint \"%.*s\" on table "
                 "\"%.*s\": Key %.*s is still "
                 "referenced",
                 ICE_PRI(parent->name), ICE_PRI(con->name), ICE_PRI(child->name), (int)key.len, key.data);
    ice_error_object(err, child->name.ptr, con->name.ptr);
    ice_buf_free(&key);
    return ICE_FOREIGN_KEY;
}

/* The lock that keeps a parent key in place: of the key, or of all keys where there are many. */
static ice_code lock_parent_key(fk_check *f, const ice_tabstate *parent, const ice_key *key, uint64_t hash,
                                ice_lock_mode mode, size_t many, bool *waited, ice_error *err)
{
    ice_uuid id = parent->def->uuid;
    uint64_t all = ice__lock_parent(id);
    bool whole = many > MANY_KEYS;
    for (size_t i = 0; i < f->nlocked; i++)
        if (f->locked_parents[i] == (all ^ whole))
            return whole ? ICE_OK
                         : ice__tx_lock(f->s, ice__lock_key(id, parent->def, key, hash), mode, false, waited,
                                        err);
    ice_code rc = ice__tx_lock(f->s, all, whole ? ICE_LOCK_EXCLUSIVE : ICE_LOCK_SHARED, false, waited, err);
    if (rc != ICE_OK)
        return rc;
    if (f->nlocked < 64)
        f->locked_parents[f->nlocked++] = all ^ whole;
    if (whole)
        return ICE_OK;
    bool more = false;
    rc = ice__tx_lock(f->s, ice__lock_key(id, parent->def, key, hash), mode, false, &more, err);
    *waited |= more;
    return rc;
}

static ice_code check_child(fk_check *f, const ice_tabledef *child, const ice_constraint *con,
                            const ice_value *row, size_t many, ice_error *err)
{
    ice_value values[16], ordered[16];
    int perm[16];
    ice_view *parent = NULL;
    if (con->ncols > 16)
        return ice_fail(err, ICE_UNSUPPORTED, "foreign key %.*s has more than 16 columns",
                        ICE_PRI(con->name));
    for (size_t i = 0; i < con->ncols; i++) {
        values[i] = row[ice_tabledef_find_id(child, con->field_ids[i])];
        if (values[i].null)
            return ICE_OK;
    }
    uint64_t h = ice_key_hash(values, con->ncols);
    if (seen_before(f, ice_hash64(&h, 8, ice_hash64(con->ref_table.b, 16, (uint64_t)con->ref_field_ids[0]))))
        return ICE_OK;
    ice_code rc = fk_view(f, con->ref_table, &parent, err);
    for (int round = 0; rc == ICE_OK; round++) {
        bool waited = false;
        ice_row *rows;
        size_t n;
        int k = parent ? key_with(parent->state, con->ref_field_ids, con->ncols, perm) : -1;
        if (k < 0)
            return ice__fk_fail(child, con, NULL, con->field_ids, child, values, true, err);
        for (size_t i = 0; i < con->ncols; i++)
            ordered[i] = values[perm[i]];
        const ice_key *key = &parent->state->keys.keys[k];
        rc = lock_parent_key(f, parent->state, key, ice_key_hash(ordered, con->ncols), ICE_LOCK_SHARED, many,
                             &waited, err);
        if (rc == ICE_OK &&
            (waited || round == 0)) { /* the lock is held now: look at what is committed now */
            ice_log_state st;
            ice_log_get_state(f->s->wh->log, &st);
            if (waited || st.durable > atomic_load(&f->s->wh->applied_position)) {
                rc = fk_renew(f, err);
                if (rc == ICE_OK)
                    rc = fk_view(f, con->ref_table, &parent, err);
                continue;
            }
        }
        if (rc == ICE_OK)
            rc = ice_view_find(parent, (size_t)k, ordered, f->arena, &rows, &n, err);
        if (rc == ICE_OK && n == 0)
            rc = ice__fk_fail(child, con, parent->state->def, con->field_ids, child, values, true, err);
        break;
    }
    return rc;
}

typedef struct child_check {
    fk_check *f;
    ice__txtable *table;
    const ice_tabledef *def;
} child_check;

static ice_code check_child_row(void *arg, const ice_value *row, ice_error *err)
{
    child_check *k = arg;
    ice_code rc = ICE_OK;
    for (size_t i = 0; i < k->def->ncons && rc == ICE_OK; i++)
        if (k->def->cons[i].kind == ICE_CON_FOREIGN)
            rc = check_child(k->f, k->def, &k->def->cons[i], row, k->table->rows, err);
    return rc;
}

static ice_code check_children_of(fk_check *f, ice__txtable *t, ice_error *err)
{
    ice_view *v = NULL;
    ice_code rc = fk_view(f, t->uuid, &v, err);
    if (rc != ICE_OK || !v)
        return rc;
    ice_tabledef *def = ice_tabledef_clone(v->state->def, false); /* fk_renew may release the view */
    bool any = false;
    if (!def)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < def->ncons; i++)
        any |= def->cons[i].kind == ICE_CON_FOREIGN;
    if (any)
        rc = ice_tail_each(t->overlay, ICE_TIME_MAX - 1, ICE_TAIL_VISIBLE, def->cols, def->ncols, check_child_row,
                           &(child_check){f, t, def}, err);
    ice_tabledef_free(def);
    return rc;
}

/* ---- parents that went ---- */

/* A foreign key of some table that refers to the parent checked. */
typedef struct referrer {
    ice_uuid child;
    ice_str name; /* of the constraint */
} referrer;

static ice_code find_referrers(fk_check *f, ice_uuid parent, referrer **out, size_t *n, ice_error *err)
{
    size_t cap = 0;
    *n = 0;
    *out = NULL;
    size_t total = f->reg->n + f->s->tx.ntables;
    for (size_t i = 0; i < total; i++) {
        bool own = i >= f->reg->n;
        ice_uuid id = own ? f->s->tx.tables[i - f->reg->n].uuid : f->reg->entries[i]->uuid;
        ice_view *v = NULL;
        if (own ? ice__registry_find_uuid(f->reg, id) != NULL : f->reg->entries[i]->foreign)
            continue;
        ice_code rc = fk_view(f, id, &v, err);
        if (rc != ICE_OK)
            return rc;
        for (size_t k = 0; v && k < v->state->def->ncons; k++) {
            const ice_constraint *con = &v->state->def->cons[k];
            if (con->kind != ICE_CON_FOREIGN || !ice_uuid_eq(con->ref_table, parent))
                continue;
            if (!ICE_ROOM(f->arena, *out, *n, cap))
                return ice_fail_nomem(err);
            (*out)[*n].child = id;
            (*out)[(*n)++].name = ice_arena_str(f->arena, con->name);
        }
    }
    return ICE_OK;
}

static ice_code check_one_referrer(fk_check *f, ice_uuid parent_id, const ice_value *old_row,
                                   const referrer *r, size_t many, ice_error *err)
{
    ice_value values[16], ordered[16];
    int perm[16];
    for (int round = 0;; round++) {
        ice_view *parent = NULL, *child = NULL;
        ice_row *rows;
        size_t n;
        bool waited = false;
        ice_code rc = fk_view(f, parent_id, &parent, err);
        if (rc == ICE_OK)
            rc = fk_view(f, r->child, &child, err);
        if (rc == ICE_OK)
            rc = fk_view(f, parent_id, &parent, err); /* the list of views may have moved */
        if (rc != ICE_OK || !parent || !child)
            return rc;
        const ice_constraint *con = ice_tabledef_constraint(child->state->def, r->name);
        if (!con || con->ncols > 16)
            return ICE_OK;
        for (size_t i = 0; i < con->ncols; i++) {
            int at = ice_tabledef_find_id(parent->state->def, con->ref_field_ids[i]);
            if (at < 0 || old_row[at].null)
                return ICE_OK;
            values[i] = old_row[at];
        }
        int k = key_with(parent->state, con->ref_field_ids, con->ncols, perm);
        if (k < 0)
            return ICE_OK;
        for (size_t i = 0; i < con->ncols; i++)
            ordered[i] = values[perm[i]];
        if ((rc = ice_view_find(parent, (size_t)k, ordered, f->arena, &rows, &n, err)) != ICE_OK || n > 0)
            return rc; /* the key is still there: the row was updated, or another took its place */
        rc = lock_parent_key(f, parent->state, &parent->state->keys.keys[k],
                             ice_key_hash(ordered, con->ncols), ICE_LOCK_EXCLUSIVE, many, &waited, err);
        if (rc != ICE_OK)
            return rc;
        ice_log_state st;
        ice_log_get_state(f->s->wh->log, &st);
        if (round < 8 && (waited || st.durable > atomic_load(&f->s->wh->applied_position))) {
            if ((rc = fk_renew(f, err)) != ICE_OK)
                return rc;
            continue;
        }
        int ck = key_with(child->state, con->field_ids, con->ncols, perm);
        for (size_t i = 0; ck >= 0 && i < con->ncols; i++)
            ordered[i] = values[perm[i]];
        if (ck >= 0 && (rc = ice_view_find(child, (size_t)ck, ordered, f->arena, &rows, &n, err)) == ICE_OK &&
            n > 0)
            rc = ice__fk_fail(child->state->def, con, parent->state->def, con->ref_field_ids, parent->state->def,
                         values, false, err);
        return rc;
    }
}

typedef struct keys_list {
    fk_check *f;
    size_t nkey;
    ice_value **keys;
    size_t n, cap;
    bool failed;
} keys_list;

static int add_key(void *arg, const ice_tombstone *ts)
{
    keys_list *l = arg;
    ice_error ignored;
    if (!ICE_ROOM(l->f->arena, l->keys, l->n, l->cap))
        return l->failed = true;
    ice_value *k = ice_arena_array(l->f->arena, l->nkey, sizeof *k);
    for (size_t i = 0; k && i < l->nkey; i++)
        if (ice_value_copy(l->f->arena, &ts->key[i], &k[i], &ignored) != ICE_OK)
            k = NULL;
    if (!k)
        return l->failed = true;
    l->keys[l->n++] = k;
    return 0;
}

/* Values of a committed row by its primary key, without the transaction's changes. *found false when it is
 * gone. */
static ice_code old_row(fk_check *f, ice__txtable *t, const ice_value *key, const ice_tabledef *def,
                        ice_value *out, bool *found, ice_error *err)
{
    ice_view *v = NULL, plain;
    ice_row *rows;
    size_t n = 0;
    ice_code rc = fk_view(f, t->uuid, &v, err);
    *found = false;
    if (rc != ICE_OK || !v)
        return rc;
    plain = *v;
    plain.overlay = NULL;
    rc = ice_view_find(&plain, 0, key, f->arena, &rows, &n, err);
    *found = n > 0;
    return rc == ICE_OK && n > 0 ? ice_view_row(&plain, &rows[0], def->cols, def->ncols, f->arena, out, err)
                                 : rc;
}

/* Are all keys of a former row still there? Then nothing can have lost its parent. */
static ice_code keys_remain(fk_check *f, ice_view *v, const ice_value *row, bool *remain, ice_error *err)
{
    *remain = true;
    for (size_t k = 0; *remain && k < v->state->keys.n; k++) {
        const ice_key *key = &v->state->keys.keys[k];
        ice_value *values = ice_arena_array(f->arena, key->ncols + 1, sizeof *values);
        ice_row *rows;
        size_t n = 0;
        bool null = false;
        if (!values)
            return ice_fail_nomem(err);
        for (size_t i = 0; i < key->ncols; i++) {
            values[i] = row[key->cols[i]];
            null |= values[i].null;
        }
        if (!key->unique || null)
            continue;
        ice_code rc = ice_view_find(v, k, values, f->arena, &rows, &n, err);
        if (rc != ICE_OK)
            return rc;
        *remain = n > 0;
    }
    return ICE_OK;
}

/* Former rows of these keys that something may have referred to, to the front of keys->keys. */
static ice_code rows_gone(fk_check *f, ice__txtable *t, ice_view *v, keys_list *keys, ice_error *err)
{
    const ice_tabledef *def = v->state->def;
    size_t kept = 0;
    for (size_t i = 0; i < keys->n; i++) {
        bool found = false, remain = false;
        ice_value *row = ice_arena_array(f->arena, def->ncols, sizeof *row);
        ice_code rc = row ? old_row(f, t, keys->keys[i], def, row, &found, err) : ice_fail_nomem(err);
        if (rc == ICE_OK && found)
            rc = keys_remain(f, v, row, &remain, err);
        if (rc != ICE_OK)
            return rc;
        if (found && !remain)
            keys->keys[kept++] = row;
    }
    keys->n = kept;
    return ICE_OK;
}

static ice_code check_parents_gone(fk_check *f, ice__txtable *t, ice_error *err)
{
    ice_view *v = NULL;
    referrer *refs = NULL;
    size_t nrefs = 0;
    ice_code rc = fk_view(f, t->uuid, &v, err);
    if (rc != ICE_OK || !v)
        return rc;
    keys_list keys = {.f = f, .nkey = v->state->keys.keys[0].ncols};
    ice_tail_tombstones(t->overlay, 0, ICE_TIME_MAX - 1, add_key, &keys);
    if (keys.failed)
        return ice_fail_nomem(err);
    if (keys.n == 0)
        return ICE_OK;
    ICE_TRY(rows_gone(f, t, v, &keys, err));
    if (keys.n == 0) /* as after most UPDATEs: no other table is looked at, or loaded */
        return ICE_OK;
    ICE_TRY(find_referrers(f, t->uuid, &refs, &nrefs, err));
    for (size_t i = 0; i < keys.n; i++)
        for (size_t k = 0; k < nrefs; k++)
            ICE_TRY(check_one_referrer(f, t->uuid, keys.keys[i], &refs[k], keys.n, err));
out:
    return rc;
}

ice_code ice__check_foreign_keys(ice_session *s, ice_error *err)
{
    fk_check f = {.s = s, .arena = ice_arena_create()};
    ice_code rc = f.arena ? ice__wh_catchup(s->wh, err) : ice_fail_nomem(err);
    if (rc == ICE_OK)
        ice__wh_view(s->wh, &f.reg, &f.at);
    for (size_t i = 0; rc == ICE_OK && i < s->tx.ntables; i++) {
        ice__txtable *t = &s->tx.tables[i];
        if (t->overlay && !t->dropped)
            rc = check_children_of(&f, t, err);
        if (rc == ICE_OK && t->overlay && !t->dropped)
            rc = check_parents_gone(&f, t, err);
        if (rc == ICE_OK && t->bulk && !t->dropped)
            rc = ice__bulk_foreign_keys(s, t->uuid, err);
    }
    for (size_t i = 0; i < f.nviews; i++)
        ice__view_release(&f.views[i].view);
    free(f.views);
    ice__registry_unref(f.reg);
    ice_arena_free(f.arena);
    return rc;
}
