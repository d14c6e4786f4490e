/* The log's folder. What was committed and not published is only there: a log that is gone, or that ends before
 * positions which published tables name, is refused. A warehouse's log is made before its control object, so a
 * control object without a log has lost it.
 *
 * Who accepts the loss puts a file `log.lost` beside the folder. The next opener puts what there is of the log
 * aside and begins a new one, at a position and time after all that is published. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "txn/txn_int.h"

#define ACCEPT "log.lost"

/* Up to where the published tables say the log was. */
typedef struct reached {
    int64_t commit;
    uint64_t position;
    char table[256]; /* one that says so */
} reached;

static ice_code find_reached(ice_warehouse *wh, reached *out, ice_error *err)
{
    ice_arena *a = ice_arena_create();
    ice_catalog_entry *list = NULL;
    size_t n = 0;
    *out = (reached){0};
    ice_code rc = a ? ice_catalog_list(wh->catalog, a, &list, &n, err) : ice_fail_nomem(err);
    for (size_t i = 0; rc == ICE_OK && i < n; i++) {
        if (list[i].flushed > out->commit)
            out->commit = list[i].flushed;
        if (list[i].position > out->position) {
            out->position = list[i].position;
            snprintf(out->table, sizeof out->table, "%.*s", ICE_PRI(list[i].name));
        }
    }
    ice_arena_free(a);
    return rc;
}

static ice_code path_of(const ice_warehouse *wh, const char *name, char out[4096], ice_error *err)
{
    int n = snprintf(out, 4096, "%s/%s", wh->dir, name);
    return n > 0 && n < 4096 ? ICE_OK : ice_fail(err, ICE_TOO_LONG, "the path of %s is too long: %s", name, wh->dir);
}

static ice_log_options log_options(const ice_warehouse *wh)
{
    const ice_config *c = &wh->config;
    return (ice_log_options){.read_only = c->read_only,
                             .sync = c->sync,
                             .max_bytes = c->log_max_bytes,
                             .max_skew_us = c->max_skew_ms * 1000};
}

ice_code ice__log_create(ice_warehouse *wh, ice_error *err)
{
    char dir[4096];
    ice_log *log = NULL;
    ice_log_options o = log_options(wh);
    o.create = true;
    ice_code rc = path_of(wh, "log", dir, err);
    if (rc == ICE_OK && (rc = ice_log_open(dir, &o, &log, err)) == ICE_OK)
        ice_log_close(log);
    return rc;
}

/* Renames the folder; nobody may have it open. */
static ice_code put_aside(const ice_warehouse *wh, const char *dir, ice_error *err)
{
    char name[64], to[4096];
    snprintf(name, sizeof name, "log-lost-%lld", (long long)ice_clock_us());
    ice_code rc = path_of(wh, name, to, err);
    if (rc != ICE_OK)
        return rc;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return ICE_OK;
    if (fd < 0)
        return ice_fail_errno(err, errno, "cannot open %s", dir);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        rc = ice_fail(err, ICE_CONFIG, "%s/" ACCEPT " is there, but processes have %s open: stop them first", wh->dir,
                      dir);
    else if (rename(dir, to) != 0)
        rc = ice_fail_errno(err, errno, "cannot rename %s to %s", dir, to);
    close(fd);
    return rc;
}

static ice_code lost(const ice_warehouse *wh, const char *dir, const char *what, ice_error *err)
{
    return ice_fail(err, ICE_CORRUPT,
                    "the log %s %s. Commits that were not published are only in it: restore it from a backup. To go on "
                    "with what is published, and without the rest, stop all processes and create the file %s/" ACCEPT,
                    dir, what, wh->dir);
}

/* Without durability the end of the log may be lost, and nobody was told otherwise. */
static ice_code check_end(ice_warehouse *wh, const char *dir, const reached *r, ice_error *err)
{
    char what[512];
    ice_log_state st;
    ice_log_get_state(wh->log, &st);
    if (!wh->config.sync || st.end >= r->position)
        return ICE_OK;
    snprintf(what, sizeof what, "ends at position %llu, but table \"%s\" was published when it was at %llu",
             (unsigned long long)st.end, r->table, (unsigned long long)r->position);
    ice_log_close(wh->log);
    wh->log = NULL;
    return lost(wh, dir, what, err);
}

ice_code ice__log_open(ice_warehouse *wh, ice_error *err)
{
    char dir[4096], accept[4096];
    reached r;
    ice_log_options o = log_options(wh);
    ice_code rc;
    ICE_TRY(path_of(wh, "log", dir, err));
    ICE_TRY(path_of(wh, ACCEPT, accept, err));
    ICE_TRY(find_reached(wh, &r, err));
    bool accepted = !wh->config.read_only && access(accept, F_OK) == 0;
    if (accepted) {
        ICE_TRY(put_aside(wh, dir, err));
        o.create = true;
        o.first = r.position;
        o.after = r.commit;
    }
    rc = ice_log_open(dir, &o, &wh->log, err);
    if (rc == ICE_NOT_FOUND)
        return lost(wh, dir, "is gone", err);
    ICE_TRY(rc);
    ICE_TRY(check_end(wh, dir, &r, err));
    if (accepted && unlink(accept) != 0)
        rc = ice_fail_errno(err, errno, "cannot remove %s", accept);
out:
    return rc;
}
