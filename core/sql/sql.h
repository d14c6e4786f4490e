/* SQL text: lexing, parameters, and the statements that are ours (DML, DDL, transaction control, FOR UPDATE)
 * parsed into trees. Everything inside an expression or a SELECT stays text for DuckDB.
 *
 * Dialect: PostgreSQL's spelling, see docs/sql.md. Text in, arena-allocated tree out; no state. */
#ifndef ICE_SQL_SQL_H
#define ICE_SQL_SQL_H

#include "schema/tabledef.h"

/* ---- parameters ---- */

/* PEP 249 "format"/"pyformat" text to DuckDB's: each %s becomes $1, $2 ... in order; %(name)s becomes $k, k
 * the first place of that name in *names; %% becomes %. Placeholders in string literals, quoted identifiers
 * and comments count too (as psycopg does: text is formatted before SQL sees it). When `format` is false the
 * text is taken as it is. ICE_SYNTAX for a lone %. */
typedef struct ice_sql_text {
    ice_str sql;
    size_t nparams; /* distinct placeholders */
    ice_str *names; /* nparams names, or NULL for positional */
} ice_sql_text;
ice_code ice_sql_params(ice_arena *a, ice_str text, bool format, ice_sql_text *out, ice_error *err) ICE_MUST;

/* A piece of a statement names some of its parameters, but the engine takes no value that is not asked for.
 * The text with the parameters it does name numbered from $1 on, and for each the position (from 0) of its
 * value. Texts that name all of nparams come back as they are, with *picked NULL. */
ice_code ice_sql_pick_params(ice_arena *a, ice_str sql, size_t nparams, ice_str *out, size_t **picked,
                             size_t *npicked, ice_error *err) ICE_MUST;

/* ---- statements ---- */

typedef enum ice_stmt_kind {
    ICE_S_SELECT,      /* SELECT, VALUES, WITH..SELECT, EXPLAIN, SHOW, DESCRIBE, PRAGMA-free reads: run by the
                          engine as is */
    ICE_S_SELECT_LOCK, /* SELECT ... FOR UPDATE, or with that in a subquery */
    ICE_S_INSERT,
    ICE_S_UPDATE,
    ICE_S_DELETE,
    ICE_S_TRUNCATE,
    ICE_S_CREATE_TABLE,
    ICE_S_DROP_TABLE,
    ICE_S_ALTER_TABLE,
    ICE_S_CREATE_INDEX,
    ICE_S_DROP_INDEX,
    ICE_S_RENAME_INDEX,
    ICE_S_CREATE_VIEW,
    ICE_S_DROP_VIEW,
    ICE_S_COMMENT,
    ICE_S_BEGIN,
    ICE_S_COMMIT,
    ICE_S_ROLLBACK,
    ICE_S_SAVEPOINT,
    ICE_S_RELEASE,
    ICE_S_ROLLBACK_TO,
    ICE_S_SET_CONSTRAINTS, /* immediate flag */
    ICE_S_SHOW_TABLES,
    ICE_S_SHOW_VIEWS,
    ICE_S_SET,             /* other SET/RESET: name and value text */
} ice_stmt_kind;

/* An expression's text, with what the fast path needs to know about it. */
typedef enum ice_expr_kind {
    ICE_E_OTHER,       /* text for DuckDB */
    ICE_E_PARAM,       /* $n alone (maybe with a cast to the column's own type): `param` = n - 1 */
    ICE_E_CONST,       /* a literal: `value` */
    ICE_E_DEFAULT,     /* DEFAULT */
    ICE_E_ARITH,       /* + - * over columns, parameters and numbers, or a column alone: `arith` */
    ICE_E_EXCLUDED,    /* DO UPDATE SET: EXCLUDED."col" alone: `column` */
} ice_expr_kind;
/* A tree of it. */
typedef struct ice_arith {
    char op;                             /* '+', '-', '*'; 0: a leaf */
    struct ice_arith *left, *right;
    ice_str qualifier, column;           /* a column, or absent */
    int rel;                             /* its relation in a select with joins */
    int param;                           /* a parameter, or -1 */
    ice_value value;                     /* else a number */
} ice_arith;
typedef struct ice_expr {
    ice_expr_kind kind;
    int param; /* -1: none */
    uint8_t cast; /* PARAM: ICE_T_NONE, or the kind it is cast to ($1::uuid). Then it is the bare parameter
                   * only where the column is of that kind and the value is of that kind or a text; else the
                   * expression is as OTHER. Never a number's kind. */
    ice_str text;
    ice_str column;
    const ice_arith *arith;
    ice_value value;
} ice_expr;

/* WHERE as a conjunction of simple comparisons, when it is one. */
typedef enum ice_cmp {
    ICE_CMP_EQ,
    ICE_CMP_IN,
    ICE_CMP_IS_NULL,
    ICE_CMP_NOT_NULL,
    ICE_CMP_LT,
    ICE_CMP_LE,
    ICE_CMP_GT,
    ICE_CMP_GE,
    ICE_CMP_NE
} ice_cmp;
typedef struct ice_cond {
    ice_str column; /* unquoted; the qualifier, if any, was the statement's table or alias */
    ice_cmp op;
    size_t nargs;
    ice_expr *args;    /* PARAM or CONST only; a NULL among them never compares true */
    ice_str qualifier; /* as written before the column; absent: none */
    bool bare; /* written as a boolean column alone, or NOT column (EQ TRUE, EQ FALSE): only if the column is
                  BOOL is this it */
} ice_cond;

typedef struct ice_insert {
    ice_str table, alias;
    size_t ncols;
    ice_str *cols; /* empty: all columns in order */
    size_t
        nrows; /* VALUES rows; 0 with select_sql set, or DEFAULT VALUES (nrows 1, ncols 0, default_values) */
    ice_expr *values; /* nrows * ncols (ncols of the row when cols is empty: width) */
    size_t width;
    ice_str select_sql;
    bool default_values;
    bool on_conflict, do_nothing;
    /* Target: columns, or a named constraint, or (nconflict_cols 0) only its text where it has expressions;
     * all absent: any. */
    size_t nconflict_cols;
    ice_str *conflict_cols;
    ice_str conflict_constraint;
    ice_str conflict_where;
    ice_str conflict_target;
    size_t nset;
    ice_str *set_cols;
    ice_expr *set_exprs;
    ice_str set_where; /* DO UPDATE */
    bool returning;
    bool returning_star;
    size_t nreturning;
    ice_expr *returning_exprs;
    ice_str *returning_names; /* a plain column: kind OTHER with `column` set */
} ice_insert;

typedef struct ice_update {
    ice_str table, alias;
    size_t nset;
    ice_str *set_cols;
    ice_expr *set_exprs;
    ice_str with_sql;  /* WITH ... before it */
    ice_str from_sql;  /* FROM clause of UPDATE or USING of DELETE without its keyword, else absent */
    ice_str where_sql; /* absent: all rows */
    bool simple_where;
    size_t nconds;
    ice_cond *conds;
    bool returning;
    bool returning_star;
    size_t nreturning;
    ice_expr *returning_exprs;
    ice_str *returning_names;
} ice_update; /* also DELETE (nset 0) */

/* `limit` or `offset` of ice_select when it is neither a literal nor a parameter; see limit_sql. */
#define ICE_SQL_LIMIT_EXPR INT64_MIN

/* [INNER | LEFT [OUTER]] JOIN table [alias] ON (a.x = b.y [AND ...]): columns of the joined table and of
 * relations before it. Relations are numbered from 0 (the one after FROM) in the order they are written. */
typedef struct ice_join {
    ice_str table, alias;
    bool left;
    size_t non;
    ice_str *cols;
    ice_str *other_cols;
    int *other_rels;
} ice_join;

/* What a simple select with joins adds: to which relation each column belongs. */
typedef struct ice_joined {
    size_t njoins;
    ice_join *joins;
    int *col_rels, *cond_rels, *order_rels, *group_rels;
} ice_joined;

/* Aggregates that the fast path computes, of a plain column. */
typedef enum ice_agg { ICE_AGG_NONE, ICE_AGG_COUNT_STAR, ICE_AGG_COUNT, ICE_AGG_SUM, ICE_AGG_MIN, ICE_AGG_MAX } ice_agg;

/* SELECT cols FROM one table WHERE conjunction [GROUP BY cols] [ORDER BY cols] [LIMIT n] [OFFSET n], where it is exactly
 * that; else `simple` is false. Names compare exactly here and case-blind in DuckDB: a simple select whose
 * table or one of whose columns is not found by its exact name is the engine's. */
typedef struct ice_select {
    ice_str text; /* the whole statement without its locking clause */
    bool simple;
    ice_joined
        *joined; /* not simple, but it would be without its joins; every column is qualified. Else NULL */
    ice_str table, alias;
    bool star;
    bool count_star;
    bool exists_one;  /* SELECT COUNT(*) ..., SELECT 1 AS a ... */
    int exists_param; /* SELECT $n AS a ...; -1: 1 itself */
    size_t ncols;
    ice_str *cols;           /* absent where the output is arithmetic */
    ice_arith **exprs;       /* NULL where it is a column; all NULL: `exprs` is */
    uint8_t *aggs;           /* ice_agg of an output, whose column it is of; NONE: a column (then it is grouped by), or `exprs` */
    ice_str *names;          /* output columns' names (AS) */
    bool grouped;            /* there are aggregates: outputs and order are of groups; without GROUP BY of one */
    size_t ngroup;
    ice_str *group_cols;
    size_t nconds;
    ice_cond *conds;
    size_t norder;
    ice_str *order_cols;
    bool *order_desc;
    int64_t limit, offset; /* -1 / 0 where absent; -2 - param for a parameter ($1 is -2); ICE_SQL_LIMIT_EXPR.
                              Set whether simple or not */
    ice_str with_sql, order_sql, limit_sql; /* texts at the top level with their keywords: WITH ..., ORDER BY
                                               ..., LIMIT/OFFSET/FETCH ...; absent where none */
    /* Tables of the top-level FROM, joins included and subqueries and CTEs not, with the name each has in the
     * statement (its alias, or the table's own): what a locking clause may lock, and what `of` names. */
    size_t nrels;
    ice_str *rel_tables, *rel_aliases;
    size_t *rel_starts, *rel_ends; /* where table and alias are written in `text` */
    /* locking */
    bool lock, lock_shared, nowait, skip_locked;
    size_t nof;
    ice_str *of;
    ice_str list_sql, from_sql; /* lock: texts of SELECT and its list, and of the FROM clause .. end of WHERE, so that keys can
                                   be asked for */
    size_t first_kept;          /* lock: relation i is number first_kept + i in `kept_text` */
    ice_str kept_text;          /* lock: `text` with ICE_SQL_KEPT names in place of the relations' */
} ice_select;

/* A table in a query that locks rows, of which only those are to be seen that were locked: "__ice_kept <number> <table>".
 * Each place has a number of its own, below `nkept` of the statement. */
#define ICE_SQL_KEPT "__ice_kept "

typedef struct ice_colspec { /* a column of CREATE TABLE or ADD COLUMN; constraints written at the column are
                                in the statement's list */
    ice_column column;       /* field_id 0 */
    bool null_said;
} ice_colspec;
typedef struct ice_conspec {
    ice_constraint con; /* without field ids: names below */
    size_t ncols;
    ice_str *cols;
    size_t ninclude;
    ice_str *include;
    ice_str ref_table;
    size_t nref;
    ice_str *ref_cols; /* nref 0: the parent's primary key */
} ice_conspec;

typedef enum ice_alter_kind {
    ICE_A_RENAME_TABLE,
    ICE_A_RENAME_COLUMN,
    ICE_A_ADD_COLUMN,
    ICE_A_DROP_COLUMN,
    ICE_A_TYPE,
    ICE_A_SET_DEFAULT,
    ICE_A_DROP_DEFAULT,
    ICE_A_SET_NOT_NULL,
    ICE_A_DROP_NOT_NULL,
    ICE_A_ADD_IDENTITY,
    ICE_A_DROP_IDENTITY,
    ICE_A_RESTART,
    ICE_A_ADD_CONSTRAINT,
    ICE_A_DROP_CONSTRAINT,
    ICE_A_RENAME_CONSTRAINT,
} ice_alter_kind;
typedef struct ice_alter {
    ice_alter_kind kind;
    ice_str name, new_name; /* column, constraint or table */
    bool if_exists, if_not_exists, cascade;
    ice_colspec col; /* ADD COLUMN; TYPE (type fields only) */
    size_t ncons;
    ice_conspec *cons; /* constraints written at the column, or the one added */
    ice_str expr;      /* USING, SET DEFAULT */
    int64_t restart;
} ice_alter;

typedef struct ice_stmt {
    ice_stmt_kind kind;
    ice_str text; /* whole statement, parameters as $n, no trailing semicolon */
    bool explain;
    bool tables_known;
    size_t ntables;
    ice_str *tables; /* names in FROM/JOIN positions, best effort, for SELECT */
    /* Queries in brackets that lock rows, in the order in which that is to be done: one within another comes first. The
     * statement's texts have their relations as ICE_SQL_KEPT names, and no locking clauses. */
    size_t nlocks;
    ice_select *locks;
    size_t nkept; /* numbers of such names, those of the statement's own `kept_text` included */
    union {
        ice_select select;
        ice_insert insert;
        ice_update update; /* UPDATE, DELETE */
        struct {
            ice_str name;
            bool if_not_exists;
            size_t ncols;
            ice_colspec *cols;
            size_t ncons;
            ice_conspec *cons;
        } create;
        struct {
            size_t n;
            ice_str *names;
            bool if_exists, cascade, restart_identity;
        } drop; /* DROP TABLE, DROP INDEX, DROP VIEW, TRUNCATE */
        struct {
            ice_str name;
            bool replace;
            size_t ncols;
            ice_str *cols; /* names of its first columns; the others have those of the query */
            ice_str query;
        } view;
        struct {
            ice_str table;
            bool if_exists, view; /* ALTER VIEW */
            size_t n;
            ice_alter *actions;
        } alter;
        struct {
            ice_str table;
            bool if_not_exists;
            ice_index index;
            bool unique;
            ice_conspec con;
            size_t ncols;
            ice_str *cols;
        } index;
        struct {
            ice_str table, column, text;
            bool view;
        } comment; /* text absent: NULL */
        /* Savepoint names; rename index (name, new_name); SET: name in lower case and value's text, absent
         * for RESET and DEFAULT; BEGIN: its options in value; SET CONSTRAINTS: name absent for ALL. */
        struct {
            ice_str name, new_name;
            ice_str value;
            bool immediate, if_exists;
        } simple;
    };
} ice_stmt;

/* Everything in *out is the arena's, `sql` is copied. A constraint or index without a name gets PostgreSQL's
 * (t_pkey, t_a_b_key, t_a_fkey, t_a_check, t_a_b_idx), unique within the statement only. Parses one statement
 * (ICE_SYNTAX with the offset and the word; ICE_UNSUPPORTED for what we do not have, named). More than one
 * statement: ICE_SYNTAX. */
ice_code ice_sql_parse(ice_arena *a, ice_str sql, ice_stmt *out, ice_error *err) ICE_MUST;

/* ---- small expressions ---- */

/* Compiles a CHECK expression made of comparisons of columns with constants, IN lists, IS [NOT] NULL, AND,
 * OR, NOT, parentheses; ICE_UNSUPPORTED otherwise (the caller asks the engine). Evaluation: SQL's three
 * values: 1 true, 0 false, -1 unknown. Values by position in the definition. */
typedef struct ice_pred ice_pred;
ice_code ice_pred_compile(ice_arena *a, ice_str expr, const ice_tabledef *def, ice_pred **out,
                          ice_error *err) ICE_MUST;
int ice_pred_eval(const ice_pred *p, const ice_value *row);
/* Are two lists of expressions written alike? Blanks, comments, the case of names, quotes that a name does not need and brackets
 * around a whole expression do not count. */
bool ice_sql_same_expr(ice_arena *a, ice_str x, ice_str y);
/* Has the statement a WITH clause, at any depth, that gives a query this name? */
bool ice_sql_names_query(ice_arena *a, ice_str sql, ice_str name);
/* A list of expressions, taken apart at its commas. */
ice_code ice_sql_split_exprs(ice_arena *a, ice_str list, ice_str **out, size_t *n, ice_error *err) ICE_MUST;
/* A DEFAULT expression that is a constant (with optional cast): its value; ICE_UNSUPPORTED otherwise. */
ice_code ice_sql_constant(ice_arena *a, ice_str expr, ice_value *out, ice_error *err) ICE_MUST;
#endif
