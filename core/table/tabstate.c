/* {definition, published state, tail}: one immutable triple. */
#include "table/table_int.h"

#include <stdlib.h>

ice_code ice_tabstate_create(ice_tabledef *def, ice_published *published, ice_tail *tail, ice_tabstate *older,
                             ice_tabstate **out, ice_error *err)
{
    ice_code rc;
    ice_tabstate *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return ice_fail_nomem(err);
    ICE_TRY(ice_keys_of(def, def->arena, &s->keys, err));
    if (!tail)
        ICE_TRY(ice_tail_create(def, &tail, err));
    /* A trimmed tail was made with the older state's definition: given this one, it needs no older state, and
     * a table that is flushed for years keeps no chain of them. */
    else if (older && older->tail != tail)
        ICE_TRY(ice_tail_set_def(tail, def, err));
    s->def = def;
    s->published = published;
    s->tail = tail;
    s->flushed = published ? published->flushed : 0;
    s->older_defs = older && older->tail == tail ? ice_tabstate_ref(older) : NULL;
    s->refs = 1;
    *out = s;
    s = NULL;
out:
    free(s);
    return rc;
}

ice_tabstate *ice_tabstate_ref(ice_tabstate *s)
{
    if (s)
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

/* A loop, not recursion: chains of older definitions grow with every ALTER between two flushes. The tail goes
 * before the definitions it borrows. */
void ice_tabstate_unref(ice_tabstate *s)
{
    while (s && __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        ice_tabstate *older = s->older_defs;
        ice_tail_unref(s->tail);
        for (size_t i = 0; i < s->nended; i++)
            ice_ended_unref(s->ended[i].rows);
        free(s->ended);
        ice__staging_unref(s->staging);
        ice_published_unref(s->published);
        ice_tabledef_free(s->def);
        free(s);
        s = older;
    }
}
