/* A select over joins on equality, as select_related() writes it: simple but for its joins, every column qualified. */
#include "sql/sql_int.h"

typedef struct joined {
    ice__parser *p;
    ice_select *s;
    ice__vec items;     /* ice__item */
    ice__vec aliases;   /* ice_str, by relation */
    ice__vec joins;     /* ice_join */
} joined;

bool ice__qualified_column(ice__parser *p, ice_str *qualifier, ice_str *column)
{
    ice__parser t = ice__attempt(p);

    if (!ice__name(&t, "a name", qualifier) || !ice__take_op(&t, '.') || t.tok.kind != ICE__QIDENT ||
        !ice__name(&t, "a name", column) || ice__is_op(&t, '(') || ice__is_op(&t, '.'))
        return false;
    t.err = p->err;
    *p = t;
    return true;
}

static int relation_of(const joined *j, ice_str qualifier)
{
    const ice_str *aliases = j->aliases.data;

    for (size_t i = 0; i < j->aliases.n; i++)
        if (ice_str_eq(aliases[i], qualifier))
            return (int)i;
    return -1;
}

/* "table" [[AS] alias] */
static bool table_and_alias(joined *j, ice_str *table, ice_str *alias)
{
    ice__parser *p = j->p;

    if (p->tok.kind != ICE__QIDENT || !ice__name(p, "a name", table) || ice__is_op(p, '.'))
        return false;
    *alias = *table;
    if (ice__take(p, "AS") || p->tok.kind == ICE__QIDENT ||
        (p->tok.kind == ICE__WORD && !ice__reserved(ice__tok_text(p, p->tok)) && !ice__is(p, "INNER") &&
         !ice__is(p, "LEFT") && !ice__is(p, "JOIN")))
        if (!ice__name(p, "an alias", alias))
            return false;
    return relation_of(j, *alias) < 0 && ice__push_str(p, &j->aliases, *alias);
}

typedef struct on_list {
    ice__vec cols, other_cols, other_rels;
} on_list;

/* a.x = b.y, one side of the relation joined here */
static bool on_term(joined *j, on_list *on)
{
    ice__parser *p = j->p;
    ice_arith a, b;
    int mine = (int)j->aliases.n - 1, *rel;

    if (!ice__qualified_column(p, &a.qualifier, &a.column) || !ice__take_op(p, '=') ||
        !ice__qualified_column(p, &b.qualifier, &b.column))
        return false;
    if (relation_of(j, b.qualifier) == mine) {
        ice_arith swap = a;
        a = b;
        b = swap;
    }
    if (relation_of(j, a.qualifier) != mine || relation_of(j, b.qualifier) < 0 || relation_of(j, b.qualifier) == mine)
        return false;
    if (!ice__push_str(p, &on->cols, a.column) || !ice__push_str(p, &on->other_cols, b.column) ||
        !(rel = ice__push(p, &on->other_rels, sizeof *rel)))
        return false;
    *rel = relation_of(j, b.qualifier);
    return true;
}

static bool join(joined *j, bool left)
{
    ice__parser *p = j->p;
    ice_join *out = ice__push(p, &j->joins, sizeof *out);
    on_list on = {0};

    if (!out || !table_and_alias(j, &out->table, &out->alias) || !ice__take(p, "ON"))
        return false;
    bool bracket = ice__take_op(p, '(');
    do
        if (!on_term(j, &on))
            return false;
    while (ice__take(p, "AND"));
    if (bracket && !ice__take_op(p, ')'))
        return false;
    out->left = left;
    out->non = on.cols.n;
    out->cols = on.cols.data;
    out->other_cols = on.other_cols.data;
    out->other_rels = on.other_rels.data;
    return true;
}

static bool joins(joined *j)
{
    ice__parser *p = j->p;

    for (;;) {
        bool left = ice__take(p, "LEFT");

        if (left)
            ice__take(p, "OUTER");
        else
            ice__take(p, "INNER");
        if (!ice__take(p, "JOIN"))
            return !left && j->joins.n > 0;
        if (!join(j, left))
            return false;
    }
}

static const ice__scope every = {.any = true};

static bool items(joined *j, ice_str *lone)
{
    return ice__lone_item(j->p, j->s, lone) || ice__select_items(j->p, &every, &j->items);
}

static bool place_leaf(ice_arith *column, void *arg)
{
    column->rel = relation_of(arg, column->qualifier);
    return column->rel >= 0;
}

/* Relations of the output columns. */
static bool place_items(joined *j, ice_joined *out)
{
    const ice__item *in = j->items.data;

    if (!(out->col_rels = ICE_NEW_N(j->p->arena, int, j->items.n)))
        return false;
    for (size_t i = 0; i < j->items.n; i++)
        if (in[i].expr ? !ice__arith_columns(in[i].expr, place_leaf, j)
                       : in[i].agg != ICE_AGG_COUNT_STAR && (out->col_rels[i] = relation_of(j, in[i].qualifier)) < 0)
            return false;
    return true;
}

static bool put_conds(joined *j, ice_joined *out)
{
    ice_select *s = j->s;

    if (!ice__take(j->p, "WHERE"))
        return true;
    if (!ice__simple_where(j->p, &every, &s->conds, &s->nconds))
        return false;
    if (!(out->cond_rels = ICE_NEW_N(j->p->arena, int, s->nconds)))
        return false;
    for (size_t i = 0; i < s->nconds; i++)
        if ((out->cond_rels[i] = relation_of(j, s->conds[i].qualifier)) < 0)
            return false;
    return true;
}

static bool put_order(joined *j, ice_joined *out)
{
    ice__vec cols = {0}, desc = {0}, rels = {0};
    ice__parser *p = j->p;

    if (!ice__take2(p, "ORDER", "BY"))
        return true;
    do {
        ice_str qualifier, column;
        bool *down = ice__push(p, &desc, sizeof *down);
        int *rel = ice__push(p, &rels, sizeof *rel);

        if (!down || !rel || !ice__order_item(p, &qualifier, &column, down) || !qualifier.ptr ||
            (*rel = relation_of(j, qualifier)) < 0 || !ice__push_str(p, &cols, column))
            return false;
    } while (ice__take_op(p, ','));
    j->s->order_cols = cols.data;
    j->s->order_desc = desc.data;
    j->s->norder = cols.n;
    out->order_rels = rels.data;
    return true;
}

/* GROUP BY and ORDER BY. */
static bool put_groups(joined *j, ice_joined *out)
{
    ice__vec groups = {0};

    if (!ice__group_by(j->p, &every, &j->items, &groups) || !put_order(j, out) ||
        !(out->group_rels = ICE_NEW_N(j->p->arena, int, groups.n + 1)))
        return false;
    for (size_t i = 0; i < groups.n; i++)
        if ((out->group_rels[i] = relation_of(j, ((ice__item *)groups.data)[i].qualifier)) < 0)
            return false;
    return ice__put_groups(j->p, j->s, out, &groups);
}

bool ice__joined_select(ice__parser *p, ice_select *s)
{
    joined j = {.p = p, .s = s};
    ice_joined *out = ICE_NEW(p->arena, ice_joined);
    ice_str lone = ICE_STR_NONE;

    if (!out || !ice__take(p, "SELECT") || !items(&j, &lone) || !ice__take(p, "FROM") ||
        !table_and_alias(&j, &s->table, &s->alias) || !joins(&j) || !place_items(&j, out) ||
        !ice__put_items(p, s, &j.items, lone) || !put_conds(&j, out) || !put_groups(&j, out) || !ice__skip_limits(p))
        return false;
    if ((s->norder && lone.ptr) || (s->count_star && s->limit_sql.ptr))
        return false;
    if (p->tok.kind != ICE__END || p->rc != ICE_OK || s->limit == ICE_SQL_LIMIT_EXPR)
        return false;
    out->njoins = j.joins.n;
    out->joins = j.joins.data;
    s->joined = out;
    return true;
}
