/* Pins: what keeps garbage collection from files that this process reads or has just made (invariant 6).
 *
 *   published files   the process's slot says the publish count of the oldest registry alive. A collection
 * deletes what nobody who reads by the present catalog can want, so it waits for the others. staged metadata
 * made under a shared lock that a collection takes alone while it lists; afterwards the file is guarded
 * (table/guard.c). staged data       made by transactions that hold the table's exclusive lock until the log
 * names the files. */
#include "txn/collect.h"

static void tell(const ice__pins *p)
{
    if (p->locker)
        ice_locker_reads(p->locker, p->oldest ? p->oldest->reads : ICE_LOG_NO_PIN);
}

void ice__registry_enlist(ice__registry *r, ice__pins *p)
{
    r->pins = p;
    pthread_mutex_lock(&p->lock);
    r->prev = p->newest;
    if (p->newest)
        p->newest->next = r;
    else
        p->oldest = r;
    p->newest = r;
    tell(p);
    pthread_mutex_unlock(&p->lock);
}

void ice__registry_delist(ice__registry *r)
{
    ice__pins *p = r->pins;
    pthread_mutex_lock(&p->lock);
    if (r->prev)
        r->prev->next = r->next;
    else
        p->oldest = r->next;
    if (r->next)
        r->next->prev = r->prev;
    else
        p->newest = r->prev;
    tell(p);
    pthread_mutex_unlock(&p->lock);
}

void ice__registry_reads(ice__registry *r, uint64_t publish_count)
{
    pthread_mutex_lock(&r->pins->lock);
    r->reads = publish_count;
    tell(r->pins);
    pthread_mutex_unlock(&r->pins->lock);
}

ice__registry *ice__pins_oldest(ice__pins *p)
{
    ice__registry *r;
    int refs;
    pthread_mutex_lock(&p->lock);
    /* One without references is about to be delisted by who let go of it. */
    for (r = p->oldest; r; r = r->next) {
        refs = atomic_load(&r->refs);
        while (refs > 0 && !atomic_compare_exchange_weak(&r->refs, &refs, refs + 1))
            ;
        if (refs > 0)
            break;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

ice_code ice__pins_open(ice__pins *p, ice_log *log, ice_error *err)
{
    ice_code rc = ice_locker_open(log, &p->locker, err);
    if (rc == ICE_OK) {
        pthread_mutex_lock(&p->lock);
        tell(p);
        pthread_mutex_unlock(&p->lock);
    }
    return rc;
}

void ice__pins_close(ice__pins *p)
{
    if (p->locker)
        ice_locker_close(p->locker);
    p->locker = NULL;
}

ice_code ice__stage_begin(void *arg, ice_error *err)
{
    ice__pins *p = &((ice_warehouse *)arg)->pins;
    ice_code rc = ICE_OK;
    pthread_mutex_lock(&p->staging);
    if (p->nstaging == 0)
        rc = ice_lock(p->locker, ICE__STAGING_LOCK, ICE_LOCK_SHARED, -1, NULL, NULL, NULL, err);
    p->nstaging += rc == ICE_OK;
    pthread_mutex_unlock(&p->staging);
    return rc;
}

void ice__stage_end(void *arg)
{
    ice__pins *p = &((ice_warehouse *)arg)->pins;
    pthread_mutex_lock(&p->staging);
    if (--p->nstaging == 0)
        ice_unlock_all(p->locker);
    pthread_mutex_unlock(&p->staging);
}
