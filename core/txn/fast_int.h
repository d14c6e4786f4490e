/* Internals of the fast path: statements that need no engine.
 *
 *   fast_cond.c  conditions and the values of keys that they name; rows of one table by a key
 *   fast_bind.c  a SELECT bound to the tables of a view: relations, joins, outputs
 *   fast_rows.c  rows by a key, and the rows of joined relations that belong to them
 *   fast_walk.c  the first rows in the order of a key
 *   fast_group.c aggregates of the rows found
 *   fast.c       which of the ways it is; order, LIMIT, output
 *   arith.c      arithmetic, with the engine's types
 *
 * What is not recognised with certainty is left to the engine; both give the same answer
 * (tests/python/test_fast_path.py runs every statement both ways). */
#ifndef ICE_TXN_FAST_INT_H
#define ICE_TXN_FAST_INT_H

#include "txn/txn_int.h"

enum {
    ICE__FAST_RELS = 8,
    ICE__FAST_CONDS = 16,
    ICE__FAST_ORDER = 8,
    ICE__FAST_EDGES = 16,
    ICE__FAST_SLICE = 64,
    ICE__FAST_MANY = 4096, /* rows beyond which joins and sorts are the engine's */
};

/* A condition with its column and argument values in hand. */
typedef struct ice__fcond {
    int col;
    ice_cmp op;
    size_t n;
    ice_value *args; /* none of them NULL */
} ice__fcond;

/* Is a value of this kind compared with the column as the engine would, after an exact conversion? */
bool ice__fast_comparable(const ice_column *col, const ice_value *v);
/* false: the engine has to say. */
bool ice__fcond_bind(ice_session *s, const ice_tabledef *def, const ice_cond *c, const ice_value *params,
                     ice__fcond *out);
bool ice__fcond_holds(const ice__fcond *c, const ice_value *v);
/* The key whose columns the conditions give values to, a unique one first; -1: none. */
int ice__fcond_key(const ice_keys *keys, const ice__fcond *conds, size_t n);

/* The values of a key that the conditions name, one set after another, none twice: one for EQ on every
 * column, one for each of an IN list. */
typedef struct ice__key_walk {
    ice_session *s;
    const ice_tabledef *def;
    const ice_key *key;
    const ice__fcond *conds;
    size_t n, at;
    const ice__fcond *first;
} ice__key_walk;
void ice__key_walk_start(ice__key_walk *w, ice_session *s, const ice_view *view, size_t k,
                         const ice__fcond *conds, size_t n);
bool ice__key_walk_next(ice__key_walk *w, ice_value *values);

/* ---- arithmetic ---- */

/* A column of one of the statement's relations, both as positions. */
typedef struct ice__fplace {
    int rel, col;
} ice__fplace;

/* Arithmetic bound to columns and parameters. */
typedef struct ice__arith ice__arith;
/* The place of a column; false: there is none. */
typedef bool (*ice__arith_find)(void *arg, const ice_arith *column, const ice_column **col, ice__fplace *at);
/* NULL: the engine computes it. */
ice__arith *ice__arith_bind(ice_arena *a, const ice_arith *e, ice__arith_find find, void *arg,
                            const ice_value *params);
ice_type ice__arith_type(const ice__arith *e);
/* `rows`: one row of values for each relation. false: what it comes to is an error, or close to one, which is
 * the engine's to tell. */
bool ice__arith_eval(const ice__arith *e, ice_value *const *rows, ice_value *out);

/* ---- SELECT ---- */

typedef struct ice__frel {
    ice_view *view;
    const ice_tabledef *def;
    bool left;       /* of a LEFT JOIN */
    uint8_t *wanted; /* by column position */
    size_t nneed;    /* the columns read, and where they go in a row */
    ice_column *need;
    int *need_at;
    ice_value *none; /* the row of NULLs of an outer join */
} ice__frel;

/* One equality of an ON: of the relation that is joined there, and of one before it. */
typedef struct ice__fedge {
    ice__fplace mine, other;
} ice__fedge;

/* How the rows of one relation are found: by a key from columns of relations before it in the plan. */
typedef struct ice__fstep {
    int rel;
    size_t key, nkey;
    ice__fplace from[ICE__FAST_EDGES];
    size_t nchecks; /* equalities that the key does not say */
    ice__fedge checks[ICE__FAST_EDGES];
} ice__fstep;

typedef struct ice__fast {
    ice_session *s;
    const ice_value *params;
    size_t nrels, nedges, nconds, nout, norder;
    ice__frel rels[ICE__FAST_RELS];
    ice__fedge edges[ICE__FAST_EDGES];
    ice__fstep steps[ICE__FAST_RELS]; /* the first is where it starts, by conditions or an order */
    ice__fcond conds[ICE__FAST_CONDS];
    int cond_rel[ICE__FAST_CONDS];
    ice__fplace *out;
    ice__arith **exprs; /* instead of the place, where not NULL */
    bool grouped;
    size_t ngroup, naggs;
    ice__fplace *group; /* what the groups differ in */
    struct ice__fagg *aggs;
    const ice_str *names;
    ice__fplace order[ICE__FAST_ORDER];
    bool desc[ICE__FAST_ORDER];
    int64_t limit, offset; /* limit -1: all */
    bool walked; /* rows come in the order asked for, but (`ties`) for those of one value of its first column
                  */
    bool ties;
    bool fans;       /* a row of the first relation may have several of another */
    size_t followed; /* joined rows so far */
    size_t n, cap;
    ice_value ***tuples; /* each: one row of values for each relation, and behind them one of aggregates */
} ice__fast;

static inline int ice__fast_start(const ice__fast *f)
{
    return f->steps[0].rel;
}
/* A column that the statement reads; false: there is none. */
bool ice__fast_place(ice__fast *f, int rel, ice_str column, ice__fplace *out);
/* Binds the statement to the view. *ok false: something is not as the fast path knows it. */
ice_code ice__fast_bind(ice__fast *f, const ice_select *sel, ice__stview *v, bool *ok,
                        ice_error *err) ICE_MUST;
/* Plans the joins from one relation on. *cost: the more, the more rows are to be expected; false: some
 * relation can't be reached by a key. */
bool ice__fast_plan(ice__fast *f, int start, unsigned *cost);
/* The conditions on one relation. */
size_t ice__fast_conds_of(const ice__fast *f, int rel, ice__fcond *out);

/* An aggregate of a place. Outputs have it as column of a relation behind all others. */
typedef struct ice__fagg {
    ice_agg agg;
    ice__fplace at;
    ice_type type;
    const char *duck_type; /* NULL: the type's */
} ice__fagg;
/* *ok false: it is the engine's. Also finds out which of the columns grouped by say it all. */
ice_code ice__fast_bind_groups(ice__fast *f, const ice_select *sel, bool *ok, ice_error *err) ICE_MUST;
/* One tuple for each group in place of the rows' tuples. *ok false: a sum is too large. */
ice_code ice__fast_group(ice__fast *f, bool *ok, ice_error *err) ICE_MUST;

/* Rows that LIMIT and OFFSET ask for. */
static inline uint64_t ice__fast_needed(const ice__fast *f)
{
    return f->limit < 0 || f->grouped ? UINT64_MAX : (uint64_t)f->limit + (uint64_t)f->offset;
}
/* Enough rows for the LIMIT, where no order is asked for or they come in it. */
bool ice__fast_enough(const ice__fast *f);
/* Takes rows of the first relation, with what is joined to them, until there are enough. *done false: they
 * are too many. */
ice_code ice__fast_take(ice__fast *f, const ice_row *rows, size_t n, bool *done, ice_error *err) ICE_MUST;
/* By key k of the first relation, whose values the conditions name, in the order of an IN list. *done false:
 * one of them has more than `most` rows. */
ice_code ice__fast_by_key(ice__fast *f, size_t k, size_t most, bool *done, ice_error *err) ICE_MUST;

/* The key whose order is asked for or, where none is, one that a condition bounds, else the primary key; -1:
 * none of one column. Of the statement's first relation. */
int ice__fast_order_key(const ice__fast *f);
/* Walks rows in the order of key k until the LIMIT has enough. *done false: this is not the way, nothing has
 * been taken. */
ice_code ice__fast_walk(ice__fast *f, size_t k, bool *done, ice_error *err) ICE_MUST;
#endif
