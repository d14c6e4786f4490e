/* Aggregates of plain columns and GROUP BY in a select for the fast path. */
#include "sql/sql_int.h"

/* COUNT(*), COUNT(column), SUM, MIN, MAX, with a name: what it is called without is the engine's to say. */
bool ice__aggregate(ice__parser *p, const ice__scope *scope, ice__item *out)
{
    static const struct {
        const char *word;
        ice_agg agg;
    } known[] = {{"COUNT", ICE_AGG_COUNT}, {"SUM", ICE_AGG_SUM}, {"MIN", ICE_AGG_MIN}, {"MAX", ICE_AGG_MAX}};
    ice__parser t = *p;

    *out = (ice__item){0};
    for (size_t i = 0; i < sizeof known / sizeof known[0] && !out->agg; i++)
        if (t.tok.kind == ICE__WORD && ice__take(&t, known[i].word))
            out->agg = (uint8_t)known[i].agg;
    if (!out->agg || !ice__take_op(&t, '('))
        return false;
    if (out->agg == ICE_AGG_COUNT && ice__take_op(&t, '*'))
        out->agg = ICE_AGG_COUNT_STAR;
    else if (!ice__scope_column(&t, scope, &out->qualifier, &out->column))
        return false;
    if (!ice__take_op(&t, ')') || !ice__is(&t, "AS"))
        return false;
    *p = t;
    return true;
}

static bool group_item(ice__parser *p, const ice__scope *scope, const ice__vec *items, ice__item *out)
{
    const ice__item *outputs = items->data;
    int64_t n;

    if (p->tok.kind != ICE__NUMBER) {
        /* A bare name may be an output's before it is a column's. */
        return ice__scope_column(p, scope, &out->qualifier, &out->column) && out->qualifier.ptr;
    }
    if (!ice__int64(p, &n) || n < 1 || (uint64_t)n > items->n || outputs[n - 1].agg || outputs[n - 1].expr)
        return false;
    *out = outputs[n - 1];
    return true;
}

bool ice__group_by(ice__parser *p, const ice__scope *scope, const ice__vec *items, ice__vec *out)
{
    const ice__item *outputs = items->data;
    bool any = false;

    for (size_t i = 0; i < items->n; i++)
        any |= outputs[i].agg != ICE_AGG_NONE;
    if (!ice__take2(p, "GROUP", "BY"))
        return true;
    if (!any)
        return false;
    do {
        ice__item *g = ice__push(p, out, sizeof *g);

        if (!g || !group_item(p, scope, items, g))
            return false;
    } while (ice__take_op(p, ','));
    return true;
}

static bool is_grouped(const ice_select *s, const ice_joined *j, ice_str column, int rel)
{
    for (size_t i = 0; i < s->ngroup; i++)
        if (ice_str_eq(s->group_cols[i], column) && (!j || j->group_rels[i] == rel))
            return true;
    return false;
}

bool ice__put_groups(ice__parser *p, ice_select *s, const ice_joined *j, const ice__vec *groups)
{
    const ice__item *in = groups->data;

    for (size_t i = 0; s->aggs && i < s->ncols; i++)
        s->grouped |= s->aggs[i] != ICE_AGG_NONE;
    if (!s->grouped)
        return true;
    s->ngroup = groups->n;
    if (!(s->group_cols = ICE_NEW_N(p->arena, ice_str, groups->n + 1)))
        return false;
    for (size_t i = 0; i < groups->n; i++)
        s->group_cols[i] = in[i].column;
    for (size_t i = 0; i < s->ncols; i++)
        if (!s->aggs[i] && (s->exprs[i] || !is_grouped(s, j, s->cols[i], j ? j->col_rels[i] : 0)))
            return false;
    for (size_t i = 0; i < s->norder; i++)
        if (!is_grouped(s, j, s->order_cols[i], j ? j->order_rels[i] : 0))
            return false;
    return true;
}
