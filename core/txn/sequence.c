/* Identity columns: values of the shared counters, which never hand one out twice. */
#include <stdlib.h>

#include "txn/write.h"

uint64_t ice__sequence_name(const ice_tabledef *def, const ice_column *col)
{
    return ice_hash64(def->uuid.b, 16, (uint64_t)col->field_id | (uint64_t)col->restarts << 32);
}

static ice_code raise_max(void *arg, const ice_value *row, ice_error *err)
{
    int64_t *max = arg;
    (void)err;
    if (!row->null && row->i > *max && row->i < INT64_MAX)
        *max = row->i;
    return ICE_OK;
}

/* Highest value of an identity column in files and tail: what a sequence that was lost starts after. */
static int64_t highest(ice_view *view, const ice_column *col)
{
    /* Values of dead rows, too, were handed out; after a restart only those that are there count. */
    bool restarted = col->restarts > 0;
    uint64_t rows = 1;
    ice_error unknown;
    if (restarted && ice_view_count(view, &rows, &unknown) == ICE_OK && rows == 0)
        return 0;
    int64_t max = view->state->published ? ice_published_max_int(view->state->published, col->field_id) : 0;
    if (max == INT64_MAX)
        max = 0; /* set by hand: nothing can follow it */
    ice_tail *tails[2] = {view->state->tail, view->overlay};
    ice_error ignored;
    for (int i = 0; i < 2; i++)
        if (tails[i])
            (void)!ice_tail_each(tails[i], ICE_TIME_MAX - 1, restarted ? ICE_TAIL_VISIBLE : ICE_TAIL_ALL, col,
                                 1, raise_max, &max, &ignored);
    return max;
}

/* The floor of a sequence is looked up once by a session, then the shared counter knows better. */
static ice_code sequence_floor(ice_session *s, ice_view *view, const ice_column *col, uint64_t name,
                               int64_t *out, ice_error *err)
{
    for (size_t i = 0; i < s->nfloors; i++)
        if (s->floors[i].name == name) {
            *out = s->floors[i].value;
            return ICE_OK;
        }
    ice__seqmark *grown = realloc(s->floors, (s->nfloors + 1) * sizeof *grown);
    if (!grown)
        return ice_fail_nomem(err);
    s->floors = grown;
    *out = highest(view, col) + 1;
    int64_t told =
        view->state->published ? ice_published_next(view->state->published, col->field_id, col->restarts) : 0;
    *out = told > *out ? told : *out;
    if (col->restarts && *out < col->restart_at)
        *out = col->restart_at;
    s->floors[s->nfloors++] = (ice__seqmark){name, *out};
    return ICE_OK;
}

ice_code ice__sequence_restart(ice_session *s, uint64_t name, int64_t at, ice_error *err)
{
    s->nfloors = 0; /* one may be of a sequence of that name that was rolled back */
    s->tx.restarted = true;
    return ice_log_sequence_set(s->wh->log, name, at, err);
}

ice_code ice__next_identity(ice_session *s, ice_view *view, const ice_column *col, int64_t count,
                            int64_t *first, ice_error *err)
{
    uint64_t name = ice__sequence_name(view->state->def, col);
    int64_t floor;
    ice_code rc = sequence_floor(s, view, col, name, &floor, err);
    if (rc == ICE_OK)
        rc = ice_log_sequence_next(s->wh->log, name, floor, count, first, err);
    return rc == ICE_OK ? ice__tx_sequence(s, name, *first + count - 1, err) : rc;
}

ice_code ice__identity_used(ice_session *s, const ice_view *view, const ice_column *col, int64_t value,
                            ice_error *err)
{
    uint64_t name = ice__sequence_name(view->state->def, col);
    ice_code rc = ice_log_sequence_bump(s->wh->log, name, value, err);
    return rc == ICE_OK ? ice__tx_sequence(s, name, value, err) : rc;
}
