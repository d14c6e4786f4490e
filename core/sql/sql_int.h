/* Internals of sql/: the lexer and the helpers its recursive-descent parsers share.
 *
 * Parsing functions return false after setting `rc` and the caller's error; both stick: the first failure
 * stays, the current token becomes the end, and every later step fails or ends. Attempts ("is this exactly
 * simple?") run on a copy of the parser with `err` NULL; nothing but arena memory is lost when one fails. */
#ifndef ICE_SQL_SQL_INT_H
#define ICE_SQL_SQL_INT_H

#include "sql/sql.h"

enum {
    ICE__MAX_NEST = 1000, /* brackets open at once; DuckDB's own limit on expression depth */
    ICE__MAX_DEPTH = 64,  /* recursion of our own parsers */
    ICE__MAX_PARAM = 1 << 24,
};

typedef enum ice__tok_kind {
    ICE__END,
    ICE__WORD,    /* bare identifier or keyword */
    ICE__QIDENT,  /* "x" or, as DuckDB allows, `x` */
    ICE__STRING,  /* '...' */
    ICE__DSTRING, /* $tag$...$tag$ */
    ICE__ESTRING, /* E'...', B'...', X'...', N'...': left to the engine */
    ICE__NUMBER,
    ICE__PARAM, /* $n */
    ICE__OP,
} ice__tok_kind;

/* `op` of an operator: its character, or one of these. */
enum { ICE__OP_LE = 256, ICE__OP_GE, ICE__OP_NE, ICE__OP_CAST, ICE__OP_ANY };

typedef struct ice__tok {
    uint8_t kind;
    bool doubled; /* a quoted token with doubled quotes inside */
    int op;
    int param; /* n - 1 */
    size_t at, len;
} ice__tok;

typedef struct ice__parser {
    ice_arena *arena;
    const char *sql;
    size_t len, pos;
    ice__tok tok, prev; /* the current token, and the one before it */
    bool params;        /* a $n was met */
    ice_code rc;
    ice_error *err;
} ice__parser;

/* ---- lex.c ---- */

/* On the first token of `sql`. */
ice__parser ice__parser_of(ice_arena *a, ice_str sql, ice_error *err);
void ice__advance(ice__parser *p);
ice__tok ice__peek(const ice__parser *p); /* the token after the current one */
/* A copy for an attempt: reports nothing. */
ice__parser ice__attempt(const ice__parser *p);
static inline ice_str ice__tok_text(const ice__parser *p, ice__tok t)
{
    return (ice_str){p->sql + t.at, t.len};
}
/* At most n bytes of s, not ending within a character. */
ice_str ice__cut(ice_str s, size_t n);
bool ice__fail(ice__parser *p, ice_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
bool ice__syntax(ice__parser *p, const char *expected) __attribute__((cold));
/* "... is not supported" */
bool ice__unsupported(ice__parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/* ---- parse.c ---- */

bool ice__is(const ice__parser *p, const char *word);
bool ice__tok_is(const ice__parser *p, ice__tok t, const char *word);
bool ice__next_is(const ice__parser *p, const char *word);
bool ice__take(ice__parser *p, const char *word);
bool ice__take2(ice__parser *p, const char *first, const char *second); /* both or none */
bool ice__expect(ice__parser *p, const char *word);
static inline bool ice__is_op(const ice__parser *p, int op)
{
    return p->tok.kind == ICE__OP && p->tok.op == op;
}
bool ice__take_op(ice__parser *p, int op);
bool ice__expect_op(ice__parser *p, int op);
/* Whether the current token is one of the NULL-terminated words. */
bool ice__is_any(const ice__parser *p, const char *const *words);
bool ice__reserved(ice_str word);

/* An identifier: quoted as it is, bare in lower case. `what` names it in the error. */
bool ice__name(ice__parser *p, const char *what, ice_str *out);
bool ice__table_name(ice__parser *p, ice_str *out); /* refuses a schema before it */
typedef struct ice__names {
    ice_str *data;
    size_t n;
} ice__names;
bool ice__name_list(ice__parser *p, const char *what, ice__names *out);   /* a, b */
bool ice__paren_names(ice__parser *p, const char *what, ice__names *out); /* (a, b) */
/* Contents of a STRING or DSTRING token. */
bool ice__string(ice__parser *p, ice__tok t, ice_str *out);
bool ice__lower(ice__parser *p, ice_str s, ice_str *out);
bool ice__int64(ice__parser *p, int64_t *out); /* [-] digits */

/* From the current token to a comma, a closing bracket or one of the `stops` (NULL: none) outside brackets,
 * or the end. */
bool ice__skip_expr(ice__parser *p, const char *const *stops, ice_str *text);
/* The current token opens a bracket: to after its match. */
bool ice__skip_group(ice__parser *p);
bool ice__paren_text(ice__parser *p, ice_str *text); /* (text), brackets excluded */
static inline size_t ice__prev_end(const ice__parser *p)
{
    return p->prev.at + p->prev.len;
}
static inline ice_str ice__since(const ice__parser *p, size_t start)
{
    return (ice_str){p->sql + start, ice__prev_end(p) > start ? ice__prev_end(p) - start : 0};
}

typedef struct ice__vec {
    void *data;
    size_t n, cap;
} ice__vec;
/* A new zeroed element at the end, or NULL (the failure is set). */
void *ice__push(ice__parser *p, ice__vec *v, size_t size);
bool ice__push_str(ice__parser *p, ice__vec *v, ice_str s);

/* ---- expr.c ---- */

/* The relation whose columns an expression may name. */
typedef struct ice__scope {
    ice_str table, alias;
    bool excluded; /* inside DO UPDATE */
    bool any;      /* of several relations: every qualified column is taken, with its qualifier */
    bool later;    /* of one relation that is not known yet: every column is taken */
} ice__scope;
bool ice__in_scope(const ice__scope *s, ice_str qualifier);
/* These two advance only on success. */
bool ice__simple_column(ice__parser *p, ice_str *qualifier, ice_str *column);
bool ice__simple_arg(ice__parser *p, ice_expr *out);
/* A column of the scope, as it has to be written there; advances only on success. */
bool ice__scope_column(ice__parser *p, const ice__scope *scope, ice_str *qualifier, ice_str *column);
/* Sums and products of columns, parameters and numbers; NULL where it is something else. */
ice_arith *ice__arith(ice__parser *p, const ice__scope *scope);
/* Calls `each` for its columns; false if one call was. */
bool ice__arith_columns(ice_arith *e, bool (*each)(ice_arith *column, void *arg), void *arg);
/* An expression up to a comma, a closing bracket or a stop word, with its kind. `scope` NULL: it can name no
 * column. */
bool ice__expr(ice__parser *p, const ice__scope *scope, const char *const *stops, ice_expr *out);
/* A plain number's value; false for forms the engine must read. */
bool ice__number(ice_str digits, bool minus, ice_value *out);
/* A conjunction of simple comparisons from the current token on; false where it is none. Stops at the first
 * token that is not part of it: whether that may follow is the caller's to check. */
bool ice__simple_where(ice__parser *p, const ice__scope *scope, ice_cond **conds, size_t *n);

/* ---- join.c ---- */

/* "alias"."column"; an alias may also be a bare word (T4), which is kept in lower case. Advances only on success. */
bool ice__qualified_column(ice__parser *p, ice_str *qualifier, ice_str *column);

/* ---- constant.c ---- */

/* A literal with casts, parenthesised or typed (DATE '...'); advances only on success, and sets no error. */
bool ice__constant(ice__parser *p, int depth, ice_value *out);
/* A type's name in lower case with single spaces; ICE_UNSUPPORTED for arrays and quoted names. */
bool ice__type_text(ice__parser *p, ice_str *out);

/* ---- select.c, tables.c, dml.c, ddl.c, ddl_column.c, alter.c, index.c: one statement each, from its first
 * word ---- */

bool ice__skip_with(ice__parser *p);
/* locking.c: at FOR and what follows it in a locking clause? The clause. */
bool ice__at_lock(const ice__parser *p);
bool ice__lock_clause(ice__parser *p, ice_select *s);
/* The statement with the queries in brackets that lock rows put as ice_stmt has it, and these. *sql comes back as it is where there
 * is none. */
ice_code ice__nested_locks(ice_arena *a, ice_str *sql, ice_stmt *out, ice_error *err) ICE_MUST;
/* Numbers the relations of a query that locks rows, and makes its kept_text. */
ice_code ice__name_kept(ice_arena *a, ice_select *s, size_t *nkept, ice_error *err) ICE_MUST;
bool ice__select(ice__parser *p, ice_stmt *out);
/* An output: a column, or arithmetic that is named. */
typedef struct ice__item {
    ice_str qualifier, column, name;
    ice_arith *expr; /* arithmetic */
    uint8_t agg;     /* ice_agg */
} ice__item;
/* An aggregate that is named; stops at AS, and advances only on success. */
bool ice__aggregate(ice__parser *p, const ice__scope *scope, ice__item *out);
/* GROUP BY after a select's WHERE, where there are aggregates: its columns as items, of which some are outputs by
 * number. */
bool ice__group_by(ice__parser *p, const ice__scope *scope, const ice__vec *items, ice__vec *out);
/* Are all outputs that are no aggregates, and the order, among what is grouped by? Puts that into the select. */
bool ice__put_groups(ice__parser *p, ice_select *s, const ice_joined *j, const ice__vec *groups);
/* COUNT(*), 1 or a parameter, which stands alone. */
bool ice__lone_item(ice__parser *p, ice_select *s, ice_str *name);
/* Reads a list of outputs (elements ice__item), and puts it, or the lone one's name, into the select. */
bool ice__select_items(ice__parser *p, const ice__scope *scope, ice__vec *items);
bool ice__put_items(ice__parser *p, ice_select *s, const ice__vec *items, ice_str lone);
/* A select of qualified columns over joins on equality: fills what a simple one fills, and `joined`. */
bool ice__joined_select(ice__parser *p, ice_select *s);
/* ORDER BY's list, LIMIT and OFFSET behind a simple select's WHERE. */
bool ice__order_item(ice__parser *p, ice_str *qualifier, ice_str *column, bool *down);
bool ice__skip_limits(ice__parser *p);
/* Fills tables_known, tables and the select's relations. */
void ice__tables(ice_arena *a, ice_str sql, ice_stmt *out);
bool ice__insert(ice__parser *p, ice_str with, ice_stmt *out);
bool ice__update(ice__parser *p, ice_stmt *out);
bool ice__delete(ice__parser *p, ice_stmt *out);
bool ice__truncate(ice__parser *p, ice_stmt *out);
bool ice__create(ice__parser *p, ice_stmt *out);
bool ice__drop(ice__parser *p, ice_stmt *out);
bool ice__alter_stmt(ice__parser *p, ice_stmt *out);
bool ice__comment(ice__parser *p, ice_stmt *out);
bool ice__create_index(ice__parser *p, bool unique, ice_stmt *out); /* after INDEX */

/* A column definition; constraints written at it go to `cons` (elements ice_conspec). */
bool ice__coldef(ice__parser *p, ice_str table, ice_colspec *out, ice__vec *cons);
bool ice__at_table_constraint(const ice__parser *p);
bool ice__table_constraint(ice__parser *p, ice_str table, ice__vec *cons);
/* PostgreSQL's name for a constraint or index without one: table_cols_suffix, with a number where `cons` has
 * it already. */
bool ice__default_name(ice__parser *p, ice_str table, const ice_str *cols, size_t n, const char *suffix,
                       const ice__vec *cons, ice_str *out);
bool ice__nulls_distinct(ice__parser *p, ice_constraint *con);
bool ice__default_sql(ice__parser *p, ice_str *out);

#endif
