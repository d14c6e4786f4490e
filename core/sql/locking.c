/* Locking clauses: FOR UPDATE and its kin, and the queries in brackets that have one. */
#include <stdlib.h>

#include "sql/sql_int.h"

/* ---- the clause ---- */

static bool lock_strength(ice__parser *p, ice_select *s)
{
    ice__advance(p);
    s->lock_shared = ice__is(p, "SHARE") || ice__is(p, "KEY");
    if (ice__take(p, "UPDATE") || ice__take(p, "SHARE") || ice__take2(p, "KEY", "SHARE"))
        return true;
    if (ice__take2(p, "NO", "KEY"))
        return ice__expect(p, "UPDATE");
    return ice__syntax(p, "UPDATE or SHARE");
}

bool ice__lock_clause(ice__parser *p, ice_select *s)
{
    static const char *const after[] = {"LIMIT", "OFFSET",    "FETCH",  "FOR",
                                        "UNION", "INTERSECT", "EXCEPT", NULL};
    ice__names of = {0};

    if (s->lock)
        return ice__unsupported(p, "more than one locking clause");
    s->lock = true;
    if (!lock_strength(p, s))
        return false;
    if (ice__take(p, "OF") && !ice__name_list(p, "a table name or alias", &of))
        return false;
    s->of = of.data;
    s->nof = of.n;
    s->nowait = ice__take(p, "NOWAIT");
    if (!s->nowait)
        s->skip_locked = ice__take2(p, "SKIP", "LOCKED");
    /* What is left when the clause is taken out must not read it as an alias. */
    if ((p->tok.kind == ICE__WORD || p->tok.kind == ICE__QIDENT) && !ice__is_any(p, after))
        return ice__syntax(p, "the end of the locking clause");
    return true;
}

bool ice__at_lock(const ice__parser *p)
{
    bool dot = p->prev.kind == ICE__OP && p->prev.op == '.';

    return !dot && ice__is(p, "FOR") &&
           (ice__next_is(p, "UPDATE") || ice__next_is(p, "SHARE") || ice__next_is(p, "NO") || ice__next_is(p, "KEY"));
}

/* ---- what is locked, by a name of its own ---- */

static void put_kept(ice_buf *b, size_t number, ice_str table, ice_str alias)
{
    ice_buf name = {0};

    ice_buf_printf(&name, ICE_SQL_KEPT "%zu %.*s", number, ICE_PRI(table));
    ice_buf_put_ident(b, ice_buf_str(&name));
    ice_buf_puts(b, " AS ");
    ice_buf_put_ident(b, alias);
    b->failed |= name.failed;
    ice_buf_free(&name);
}

static ice_code take_text(ice_arena *a, ice_buf *b, ice_str *out, ice_error *err)
{
    ice_code rc = ice_buf_check(b, err);

    if (rc == ICE_OK && !(*out = ice_arena_str(a, ice_buf_str(b))).ptr)
        rc = ice_fail_nomem(err);
    ice_buf_free(b);
    return rc;
}

ice_code ice__name_kept(ice_arena *a, ice_select *s, size_t *nkept, ice_error *err)
{
    ice_buf b = {0};
    size_t from = 0;

    s->first_kept = *nkept;
    for (size_t i = 0; i < s->nrels; from = s->rel_ends[i++]) {
        ice_buf_put(&b, s->text.ptr + from, s->rel_starts[i] - from);
        put_kept(&b, (*nkept)++, s->rel_tables[i], s->rel_aliases[i]);
    }
    ice_buf_put(&b, s->text.ptr + from, s->text.len - from);
    return take_text(a, &b, &s->kept_text, err);
}

/* ---- queries in brackets ---- */

typedef struct bracket {
    size_t start; /* of what is in it, in the text that is made */
    bool query, lock;
} bracket;

typedef struct rewriter {
    ice__parser p;
    bracket stack[ICE__MAX_NEST];
    size_t depth, copied; /* of the text that is read */
    ice_buf text;         /* that is made */
    ice__vec locks;
    size_t nkept;
} rewriter;

static void copy_to(rewriter *r, size_t end)
{
    ice_buf_put(&r->text, r->p.sql + r->copied, end - r->copied);
    r->copied = end;
}

static void open_bracket(rewriter *r)
{
    bracket *b = &r->stack[r->depth++];

    ice__advance(&r->p);
    copy_to(r, ice__prev_end(&r->p));
    *b = (bracket){.start = r->text.len, .query = ice__is(&r->p, "SELECT") || ice__is(&r->p, "WITH")};
}

/* The text made since the bracket was opened is a query with a locking clause: it is one of the statement's
 * locks, and is read as what that leaves. */
static bool take_query(rewriter *r, const bracket *b)
{
    ice_stmt st = {0};
    ice__parser *p = &r->p, q;
    ice_select *lock = ice__push(p, &r->locks, sizeof *lock);
    ice_str text = {r->text.data + b->start, r->text.len - b->start};

    if (!lock || r->text.failed || !(text = ice_arena_str(p->arena, text)).ptr)
        return ice__fail(p, ICE_NOMEM, "out of memory");
    q = ice__parser_of(p->arena, text, p->err);
    if (!ice__select(&q, &st) || (q.tok.kind != ICE__END && !ice__syntax(&q, "the end of the subquery")) ||
        (q.rc = ice__name_kept(p->arena, &st.select, &r->nkept, p->err)) != ICE_OK) {
        p->rc = q.rc;
        return false;
    }
    *lock = st.select;
    r->text.len = b->start;
    ice_buf_put_str(&r->text, st.select.kept_text);
    return true;
}

static bool close_bracket(rewriter *r)
{
    const bracket *b = &r->stack[--r->depth];
    bool taken = true;

    if (b->lock) {
        copy_to(r, ice__prev_end(&r->p));
        taken = take_query(r, b);
        r->copied = r->p.tok.at;
    }
    ice__advance(&r->p);
    return taken;
}

static bool step(rewriter *r)
{
    ice__parser *p = &r->p;

    if (ice__is_op(p, '(') || ice__is_op(p, '[') || ice__is_op(p, '{')) {
        if (r->depth == ICE__MAX_NEST)
            return ice__fail(p, ICE_SYNTAX, "brackets nest more than %d deep", ICE__MAX_NEST);
        open_bracket(r);
        return true;
    }
    if ((ice__is_op(p, ')') || ice__is_op(p, ']') || ice__is_op(p, '}')) && r->depth)
        return close_bracket(r);
    if (r->depth && r->stack[r->depth - 1].query && ice__at_lock(p))
        r->stack[r->depth - 1].lock = true;
    ice__advance(p);
    return true;
}

/* Most statements have no such query, and need no look at each token. */
static bool may_lock(ice_str sql)
{
    for (size_t i = 0; i + 3 < sql.len; i++)
        if ((sql.ptr[i] | 32) == 'f' && (sql.ptr[i + 1] | 32) == 'o' && (sql.ptr[i + 2] | 32) == 'r')
            return memchr(sql.ptr, '(', i);
    return false;
}

ice_code ice__nested_locks(ice_arena *a, ice_str *sql, ice_stmt *out, ice_error *err)
{
    rewriter *r;
    ice_code rc;

    if (!may_lock(*sql))
        return ICE_OK;
    if (!(r = calloc(1, sizeof *r)))
        return ice_fail_nomem(err);
    r->p = ice__parser_of(a, *sql, err);
    while (r->p.tok.kind != ICE__END && step(r))
        ;
    rc = r->p.rc;
    if (rc == ICE_OK && r->locks.n) {
        copy_to(r, sql->len);
        rc = take_text(a, &r->text, sql, err);
    }
    ice_buf_free(&r->text);
    out->locks = r->locks.data;
    out->nlocks = r->locks.n;
    out->nkept = r->nkept;
    free(r);
    return rc;
}
