/* Guards of metadata files that no catalog points to.
 *
 * Staged files make a process write metadata for itself, which nobody else can know of. It keeps a shared
 * flock on that file while it reads by it: the kernel lets go when the process ends, however it ends. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "table/table_int.h"

static int open_file(ice_str path)
{
    return open(path.ptr, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

ice_code ice__guard_open(ice_str path, int *fd, ice_error *err)
{
    ice_code rc = ICE_OK;
    *fd = open_file(path);
    if (*fd < 0)
        return ice_fail_errno(err, errno, "opening %.*s", ICE_PRI(path));
    if (flock(*fd, LOCK_SH | LOCK_NB) != 0) {
        rc = ice_fail_errno(err, errno, "locking %.*s", ICE_PRI(path));
        close(*fd);
        *fd = -1;
    }
    return rc;
}

ice_code ice__guard_held(ice_str path, bool *held, ice_error *err)
{
    int fd = open_file(path);
    ice_code rc = ICE_OK;
    *held = false;
    if (fd < 0)
        return errno == ENOENT ? ICE_OK : ice_fail_errno(err, errno, "opening %.*s", ICE_PRI(path));
    *held = flock(fd, LOCK_EX | LOCK_NB) != 0;
    if (*held && errno != EWOULDBLOCK)
        rc = ice_fail_errno(err, errno, "locking %.*s", ICE_PRI(path));
    close(fd);
    return rc;
}
