#include "log/log_int.h"

/* Names are hashes already; 0 marks a free place. */
static uint64_t place_name(uint64_t name)
{
    return name ? name : 1;
}

static ice__sequence *find(ice_log *log, uint64_t name, bool make)
{
    uint64_t want = place_name(name);
    uint32_t i = (uint32_t)(want * 0x9E3779B97F4A7C15u >> 40) % ICE__SEQUENCES;

    for (uint32_t n = 0; n < ICE__SEQUENCES; n++, i = (i + 1) % ICE__SEQUENCES) {
        ice__sequence *s = &log->shared->sequences[i];
        uint64_t have = atomic_load(&s->name);

        if (have == 0 && make && atomic_compare_exchange_strong(&s->name, &have, want))
            return s;
        if (have == want)
            return s;
        if (have == 0)
            return NULL;
    }
    return NULL;
}

static int64_t biased(int64_t v)
{
    return (int64_t)((uint64_t)v ^ (uint64_t)INT64_MIN);
}

static ice_code find_or_fail(ice_log *log, uint64_t name, ice__sequence **out, ice_error *err)
{
    *out = find(log, name, true);
    if (!*out)
        return ice_fail(err, ICE_NOMEM, "log %s: all %d sequences of the shared file are in use", log->dir,
                        ICE__SEQUENCES);
    return ICE_OK;
}

ice_code ice_log_sequence_next(ice_log *log, uint64_t name, int64_t at_least, int64_t count, int64_t *first,
                               ice_error *err)
{
    ice__sequence *s = NULL;
    int64_t seen, from, to;
    ice_code rc;

    if (count < 1)
        return ice_fail(err, ICE_MISUSE, "a sequence hands out at least one value, not %lld",
                        (long long)count);
    ICE_TRY(find_or_fail(log, name, &s, err));
    seen = atomic_load(&s->next);
    do {
        from = biased(seen) > at_least ? biased(seen) : at_least;
        if (__builtin_add_overflow(from, count, &to))
            return ice_fail(err, ICE_RANGE, "a sequence has no values left after %lld", (long long)from);
    } while (!atomic_compare_exchange_weak(&s->next, &seen, biased(to)));
    *first = from;
out:
    return rc;
}

int64_t ice_log_sequence_peek(ice_log *log, uint64_t name)
{
    const ice__sequence *s = find(log, name, false);
    int64_t next = s ? biased(atomic_load(&s->next)) : 1;

    return next < 1 ? 1 : next;
}

ice_code ice_log_sequence_bump(ice_log *log, uint64_t name, int64_t used, ice_error *err)
{
    ice__sequence *s = NULL;
    int64_t seen;
    ice_code rc;

    ICE_TRY(find_or_fail(log, name, &s, err));
    if (used == INT64_MAX)
        return ice_fail(err, ICE_RANGE, "a sequence cannot go past %lld", (long long)used);
    seen = atomic_load(&s->next);
    while (biased(seen) <= used && !atomic_compare_exchange_weak(&s->next, &seen, biased(used + 1)))
        ;
out:
    return rc;
}

ice_code ice_log_sequence_set(ice_log *log, uint64_t name, int64_t next, ice_error *err)
{
    ice__sequence *s = NULL;
    ice_code rc = find_or_fail(log, name, &s, err);

    if (rc == ICE_OK)
        atomic_store(&s->next, biased(next));
    return rc;
}
