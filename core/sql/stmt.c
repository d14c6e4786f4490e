/* One statement: what it is, transaction control, SET, and what is refused. */
#include "sql/sql_int.h"

/* ---- transactions ---- */

static bool rest_of(ice__parser *p, ice_str *out)
{
    size_t start = p->tok.at;

    while (p->tok.kind != ICE__END && !ice__is_op(p, ';'))
        ice__advance(p);
    if (p->tok.at > start && p->rc == ICE_OK)
        *out = ice__since(p, start);
    return p->rc == ICE_OK;
}

static void skip_work(ice__parser *p)
{
    if (!ice__take(p, "WORK"))
        ice__take(p, "TRANSACTION");
}

static bool begin(ice__parser *p, ice_stmt *out)
{
    bool start = ice__is(p, "START");

    out->kind = ICE_S_BEGIN;
    ice__advance(p);
    if (start ? !ice__expect(p, "TRANSACTION") : false)
        return false;
    skip_work(p);
    return rest_of(p, &out->simple.value);
}

static bool no_chain(ice__parser *p)
{
    skip_work(p);
    if (ice__is(p, "PREPARED"))
        return ice__unsupported(p, "two-phase commit");
    return !ice__take(p, "AND") || ice__take2(p, "NO", "CHAIN") || ice__unsupported(p, "AND CHAIN");
}

static bool commit(ice__parser *p, ice_stmt *out)
{
    out->kind = ICE_S_COMMIT;
    ice__advance(p);
    return no_chain(p);
}

static bool rollback(ice__parser *p, ice_stmt *out)
{
    out->kind = ICE_S_ROLLBACK;
    ice__advance(p);
    skip_work(p);
    if (!ice__take(p, "TO"))
        return no_chain(p);
    out->kind = ICE_S_ROLLBACK_TO;
    if (ice__is(p, "SAVEPOINT") && (ice__peek(p).kind == ICE__WORD || ice__peek(p).kind == ICE__QIDENT))
        ice__advance(p);
    return ice__name(p, "a savepoint's name", &out->simple.name);
}

static bool savepoint(ice__parser *p, ice_stmt *out)
{
    out->kind = ICE_S_SAVEPOINT;
    ice__advance(p);
    return ice__name(p, "a savepoint's name", &out->simple.name);
}

static bool release(ice__parser *p, ice_stmt *out)
{
    out->kind = ICE_S_RELEASE;
    ice__advance(p);
    if (ice__is(p, "SAVEPOINT") && (ice__peek(p).kind == ICE__WORD || ice__peek(p).kind == ICE__QIDENT))
        ice__advance(p);
    return ice__name(p, "a savepoint's name", &out->simple.name);
}

/* ---- SET ---- */

static bool set_constraints(ice__parser *p, ice_stmt *out)
{
    out->kind = ICE_S_SET_CONSTRAINTS;
    if (!ice__take(p, "ALL")) {
        if (!ice__name(p, "ALL or a constraint name", &out->simple.name))
            return false;
        if (ice__is_op(p, ','))
            return ice__unsupported(p, "SET CONSTRAINTS with more than one name");
    }
    out->simple.immediate = ice__take(p, "IMMEDIATE");
    return out->simple.immediate || ice__expect(p, "DEFERRED");
}

/* The name of a setting, dots and all, in lower case. */
static bool setting_name(ice__parser *p, ice_str *out)
{
    size_t start = p->tok.at;
    ice_str part;

    do
        if (!ice__name(p, "a setting", &part))
            return false;
    while (ice__take_op(p, '.'));
    if (p->tok.at > start && p->sql[start] != '"')
        return ice__lower(p, ice__since(p, start), out);
    *out = part;
    return true;
}

static bool set_value(ice__parser *p, ice_stmt *out)
{
    if (ice__take(p, "DEFAULT"))
        return true;
    return rest_of(p, &out->simple.value) && (out->simple.value.ptr || ice__syntax(p, "a value"));
}

static bool set(ice__parser *p, ice_stmt *out)
{
    ice__advance(p);
    if (ice__take(p, "CONSTRAINTS"))
        return set_constraints(p, out);
    out->kind = ICE_S_SET;
    if (!ice__take(p, "LOCAL"))
        ice__take(p, "SESSION");
    if (ice__is(p, "VARIABLE") || ice__is(p, "GLOBAL"))
        return ice__unsupported(p, "SET %.*s", ICE_PRI(ice__tok_text(p, p->tok)));
    if (ice__take2(p, "TIME", "ZONE")) {
        out->simple.name = ICE_STR("timezone");
        return set_value(p, out);
    }
    if (ice__take(p, "TRANSACTION") || ice__take2(p, "CHARACTERISTICS", "AS")) {
        ice__take(p, "TRANSACTION");
        out->simple.name = ICE_STR("transaction");
        return set_value(p, out);
    }
    if (!setting_name(p, &out->simple.name))
        return false;
    if (!ice__take(p, "TO") && !ice__expect_op(p, '='))
        return false;
    return set_value(p, out);
}

static bool reset(ice__parser *p, ice_stmt *out)
{
    out->kind = ICE_S_SET;
    ice__advance(p);
    if (ice__take2(p, "TIME", "ZONE")) {
        out->simple.name = ICE_STR("timezone");
        return true;
    }
    if (ice__take(p, "ALL")) {
        out->simple.name = ICE_STR("all");
        return true;
    }
    return setting_name(p, &out->simple.name);
}

/* ---- WITH ---- */

static bool with(ice__parser *p, ice_stmt *out)
{
    ice__parser after = *p;
    size_t start = p->tok.at;

    if (!ice__skip_with(&after)) {
        *p = after;
        return false;
    }
    if (ice__is(&after, "INSERT")) {
        *p = after;
        return ice__insert(p, ice__since(p, start), out);
    }
    if (ice__is(&after, "UPDATE") || ice__is(&after, "DELETE")) {
        ice_str text = ice__since(&after, start);
        bool update = ice__is(&after, "UPDATE");

        *p = after;
        if (!(update ? ice__update(p, out) : ice__delete(p, out)))
            return false;
        out->update.with_sql = text;
        return true;
    }
    if (ice__is(&after, "MERGE")) {
        *p = after;
        return ice__unsupported(p, "WITH before %.*s", ICE_PRI(ice__tok_text(p, p->tok)));
    }
    return ice__select(p, out);
}

static bool insert(ice__parser *p, ice_stmt *out)
{
    return ice__insert(p, ICE_STR_NONE, out);
}

/* Tables and views are ours; anything else that is shown is the engine's. */
static bool show(ice__parser *p, ice_stmt *out)
{
    ice__parser after = *p;

    ice__advance(&after);
    bool views = ice__take(&after, "VIEWS");
    if ((!views && !ice__take(&after, "TABLES")) || !(after.tok.kind == ICE__END || ice__is_op(&after, ';')))
        return ice__select(p, out);
    *p = after;
    out->kind = views ? ICE_S_SHOW_VIEWS : ICE_S_SHOW_TABLES;
    return true;
}

/* ---- refused ---- */

static bool reaches_out(ice__parser *p)
{
    static const char *const words[] = {"ATTACH", "DETACH", "COPY",   "INSTALL", "LOAD",  "EXPORT",
                                        "IMPORT", "CALL",   "PRAGMA", "USE",     "FORCE", NULL};

    return ice__is_any(p, words);
}

static bool refused(ice__parser *p)
{
    static const char *const words[] = {
        "CHECKPOINT", "VACUUM",     "ANALYZE", "ANALYSE",  "REINDEX",  "CLUSTER", "PREPARE",
        "EXECUTE",    "DEALLOCATE", "DISCARD", "LOCK",     "GRANT",    "REVOKE",  "DO",
        "LISTEN",     "UNLISTEN",   "NOTIFY",  "DECLARE",  "FETCH",    "MOVE",    "CLOSE",
        "MERGE",      "REPLACE",    "REFRESH", "SECURITY", "REASSIGN", "UPSERT",  NULL};
    ice_str word = ice__cut(ice__tok_text(p, p->tok), 40);

    if (reaches_out(p))
        return ice__unsupported(p, "%.*s: SQL reaches neither the host nor the engine's own catalog; it",
                                ICE_PRI(word));
    if (ice__is_any(p, words))
        return ice__unsupported(p, "%.*s", ICE_PRI(word));
    if (p->tok.kind == ICE__END)
        return ice__fail(p, ICE_SYNTAX, "the statement is empty");
    return ice__syntax(p, "a statement");
}

/* ---- dispatch ---- */

typedef bool (*handler)(ice__parser *p, ice_stmt *out);
typedef struct statement {
    const char *word;
    handler parse;
    bool no_params; /* nothing in it could take one */
} statement;

static const statement statements[] = {
    {"SELECT", ice__select, false},
    {"INSERT", insert, false},
    {"UPDATE", ice__update, false},
    {"DELETE", ice__delete, false},
    {"WITH", with, false},
    {"VALUES", ice__select, false},
    {"FROM", ice__select, false},
    {"TABLE", ice__select, false},
    {"EXPLAIN", ice__select, false},
    {"SHOW", show, false},
    {"DESCRIBE", ice__select, false},
    {"DESC", ice__select, false},
    {"SUMMARIZE", ice__select, false},
    {"PIVOT", ice__select, false},
    {"UNPIVOT", ice__select, false},
    {"SAVEPOINT", savepoint, true},
    {"RELEASE", release, true},
    {"ROLLBACK", rollback, true},
    {"ABORT", rollback, true},
    {"BEGIN", begin, true},
    {"START", begin, true},
    {"COMMIT", commit, true},
    {"END", commit, true},
    {"SET", set, true},
    {"RESET", reset, true},
    {"CREATE", ice__create, true},
    {"ALTER", ice__alter_stmt, true},
    {"DROP", ice__drop, true},
    {"TRUNCATE", ice__truncate, true},
    {"COMMENT", ice__comment, true},
};

static bool dispatch(ice__parser *p, ice_stmt *out)
{
    if (ice__is_op(p, '('))
        return ice__select(p, out);
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        if (!ice__is(p, statements[i].word))
            continue;
        if (!statements[i].parse(p, out))
            return false;
        if (statements[i].no_params && p->params)
            return ice__unsupported(p, "a parameter in %s (write the value itself)", statements[i].word);
        return true;
    }
    return refused(p);
}

static bool whole_statement(ice__parser *p, ice_stmt *out)
{
    size_t start = p->tok.at;

    if (!dispatch(p, out))
        return false;
    out->text = ice__since(p, start);
    if (p->tok.kind != ICE__END && !ice__is_op(p, ';'))
        return ice__syntax(p, "the end of the statement");
    while (ice__take_op(p, ';'))
        ;
    if (p->tok.kind != ICE__END)
        return ice__fail(p, ICE_SYNTAX, "more than one statement: another starts at offset %zu", p->tok.at);
    return p->rc == ICE_OK;
}

/* Queries in brackets that lock rows are taken by the statements that read. */
static bool check_nested(ice__parser *p, ice_stmt *st)
{
    ice_stmt_kind k = st->kind;

    if (st->nlocks && k != ICE_S_SELECT && k != ICE_S_SELECT_LOCK && k != ICE_S_INSERT && k != ICE_S_UPDATE &&
        k != ICE_S_DELETE)
        return ice__unsupported(p, "FOR UPDATE in anything but SELECT, INSERT, UPDATE and DELETE");
    if (st->nlocks && k == ICE_S_SELECT && !st->explain)
        st->kind = ICE_S_SELECT_LOCK;
    if (p->rc == ICE_OK && st->kind == ICE_S_SELECT_LOCK && st->select.lock)
        p->rc = ice__name_kept(p->arena, &st->select, &st->nkept, p->err);
    return p->rc == ICE_OK;
}

ice_code ice_sql_parse(ice_arena *a, ice_str sql, ice_stmt *out, ice_error *err)
{
    ice_str copy = ice_arena_str(a, sql.ptr ? sql : ICE_STR(""));
    ice__parser p;
    ice_code rc;

    *out = (ice_stmt){0};
    if (!copy.ptr)
        return ice_fail_nomem(err);
    if (memchr(copy.ptr, '\0', copy.len) || !ice_utf8_valid(copy))
        return ice_fail(err, ICE_SYNTAX, "the statement is not UTF-8 text without NUL bytes");
    if ((rc = ice__nested_locks(a, &copy, out, err)) != ICE_OK)
        return rc;
    p = ice__parser_of(a, copy, err);
    if (p.rc == ICE_OK && whole_statement(&p, out) && check_nested(&p, out))
        return ICE_OK;
    *out = (ice_stmt){0};
    return p.rc;
}
