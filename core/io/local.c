/* Objects as files of a directory.
 *
 * An object is written under a temporary name, synced, and then gets its name by rename or link, so that a
 * reader sees a whole object or none, after a crash too. Directories made on the way are synced into their
 * parents before the object is. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/misc.h"
#include "io/io_int.h"

enum { PATH_BYTES = 4096, MAX_DEPTH = 64 };

typedef struct local_store {
    ice_store base;
    char root[];
} local_store;

static const char *root_of(const ice_store *s) { return ((const local_store *)s)->root; }

/* ---- system calls with fault points: -1 and errno ---- */

static int sys_open(const char *path, int flags)
{
    int fd;

    if (ice_fault("io.open"))
        return errno = EIO, -1;
    do
        fd = open(path, flags | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static int sys_write(int fd, ice_str body)
{
    if (ice_fault("io.write"))
        return errno = ENOSPC, -1;
    while (body.len > 0) {
        ssize_t n = write(fd, body.ptr, body.len);

        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            body = (ice_str){body.ptr + n, body.len - (size_t)n};
    }
    return 0;
}

static int sys_fsync(int fd)
{
    if (ice_fault("io.fsync"))
        return errno = EIO, -1;
    return fsync(fd);
}

/* A file that appears between the look and the rename must not be replaced; where the file system cannot say
 * so in a rename, a hard link can. */
static int name_if_absent(const char *tmp, const char *path)
{
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (link(tmp, path) != 0)
        return -1;
    unlink(tmp);
    return 0;
}

static int sys_name(const char *tmp, const char *path, bool if_absent)
{
    if (ice_fault("io.rename"))
        return errno = EIO, -1;
    return if_absent ? name_if_absent(tmp, path) : rename(tmp, path);
}

/* ---- paths and directories ---- */

static ice_code path_of(const ice_store *s, ice_str key, char out[PATH_BYTES], ice_error *err)
{
    ice_code rc = ice__key_check(key, err);

    if (rc != ICE_OK)
        return rc;
    if ((size_t)snprintf(out, PATH_BYTES, "%s/%.*s", root_of(s), ICE_PRI(key)) >= PATH_BYTES)
        return ice_fail(err, ICE_CONFIG, "path of \"%.*s\" is longer than %d bytes", ICE_PRI(key), PATH_BYTES);
    return ICE_OK;
}

/* Runs f on the directory that holds `path`. */
static int with_parent(char *path, int (*f)(const char *))
{
    char *slash = strrchr(path, '/');
    int result;

    if (slash == path)
        return f("/");
    *slash = '\0';
    result = f(path);
    *slash = '/';
    return result;
}

static int sync_dir(const char *path)
{
    int fd = sys_open(path, O_RDONLY | O_DIRECTORY), result, saved;

    if (fd < 0)
        return -1;
    result = sys_fsync(fd);
    saved = errno;
    close(fd);
    errno = saved;
    return result;
}

/* mkdir -p; each directory made is durable. Another process may make the same ones meanwhile: a directory that is
 * there may be not durable yet, so the last of them is synced by whoever finds it too. */
static int make_dirs(const char *path)
{
    char copy[PATH_BYTES];
    int rc = 0;

    if (access(path, F_OK) == 0)
        return 0;
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return errno = ENAMETOOLONG, -1;
    for (char *p = copy + 1; rc == 0; p++) {
        char c = *p;

        if (c != '/' && c != '\0')
            continue;
        *p = '\0';
        if (mkdir(copy, 0777) == 0 || (errno == EEXIST && c == '\0'))
            rc = with_parent(copy, sync_dir);
        else if (errno != EEXIST)
            rc = -1;
        *p = c;
        if (c == '\0')
            break;
    }
    return rc;
}

/* ---- reading ---- */

static ice_code read_all(int fd, const char *path, ice_buf *out, ice_error *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return ice_fail_errno(err, errno, "looking at %s", path);
    if (!S_ISREG(st.st_mode))
        return ice_fail(err, ICE_IO, "%s is not a file", path);
    ice_buf_clear(out);
    for (;;) {
        size_t want = (uint64_t)st.st_size > out->len ? (size_t)st.st_size - out->len : 0;
        char *to = ice_buf_reserve(out, want + 1);
        ssize_t n;

        if (!to)
            return ice_fail_nomem(err);
        n = ice_fault("io.read") ? (errno = EIO, -1) : read(fd, to, want + 1);
        if (n == 0)
            return ICE_OK;
        if (n < 0 && errno != EINTR)
            return ice_fail_errno(err, errno, "reading %s", path);
        out->len += n > 0 ? (size_t)n : 0;
    }
}

static ice_code local_get(ice_store *s, ice_str key, ice_buf *out, ice_error *err)
{
    char path[PATH_BYTES];
    ice_code rc = path_of(s, key, path, err);
    int fd;

    if (rc != ICE_OK)
        return rc;
    if ((fd = sys_open(path, O_RDONLY)) < 0)
        return ice_fail_errno(err, errno, "opening %s", path);
    rc = read_all(fd, path, out, err);
    close(fd);
    return rc;
}

static ice_code local_size(ice_store *s, ice_str key, uint64_t *out, ice_error *err)
{
    char path[PATH_BYTES];
    ice_code rc = path_of(s, key, path, err);
    struct stat st;

    if (rc != ICE_OK)
        return rc;
    if (stat(path, &st) != 0)
        return ice_fail_errno(err, errno, "looking at %s", path);
    if (!S_ISREG(st.st_mode))
        return ice_fail(err, ICE_IO, "%s is not a file", path);
    *out = (uint64_t)st.st_size;
    return ICE_OK;
}

/* ---- writing ---- */

/* A synced file beside `path`, whose name is put in `tmp`. */
static ice_code write_tmp(char *path, ice_str body, char tmp[PATH_BYTES], ice_error *err)
{
    const char *slash = strrchr(path, '/');
    int fd, failed;

    if (snprintf(tmp, PATH_BYTES, "%.*s/" ICE_TMP_PREFIX "%016llx", (int)(slash - path), path,
                 (unsigned long long)ice_random64()) >= PATH_BYTES)
        return ice_fail(err, ICE_CONFIG, "path %s is too long", path);
    fd = sys_open(tmp, O_WRONLY | O_CREAT | O_EXCL);
    if (fd < 0 && errno == ENOENT && with_parent(path, make_dirs) == 0)
        fd = sys_open(tmp, O_WRONLY | O_CREAT | O_EXCL);
    if (fd < 0)
        return ice_fail_errno(err, errno, "creating %s", path);
    failed = sys_write(fd, body) != 0 || sys_fsync(fd) != 0 ? errno : 0;
    if (close(fd) != 0 && !failed)
        failed = errno;
    if (!failed)
        return ICE_OK;
    unlink(tmp);
    return ice_fail_errno(err, failed, "writing %s", path);
}

static ice_code write_object(ice_store *s, ice_str key, ice_str body, bool if_absent, ice_error *err)
{
    char path[PATH_BYTES], tmp[PATH_BYTES];
    ice_code rc = path_of(s, key, path, err);

    if (rc != ICE_OK)
        return rc;
    /* Saves the write; the rename below is what decides. */
    if (if_absent && access(path, F_OK) == 0)
        return ice_fail(err, ICE_EXISTS, "%s exists", path);
    if ((rc = write_tmp(path, body, tmp, err)) != ICE_OK)
        return rc;
    if (sys_name(tmp, path, if_absent) != 0) {
        int saved = errno;

        unlink(tmp);
        return ice_fail_errno(err, saved, "naming %s", path);
    }
    if (with_parent(path, sync_dir) != 0) {
        ice_fail_errno(err, errno, "syncing the directory of %s", path);
        if (err)
            err->code = ICE_OUTCOME_UNKNOWN;
        return ICE_OUTCOME_UNKNOWN;
    }
    return ICE_OK;
}

static ice_code local_put(ice_store *s, ice_str key, ice_str body, ice_error *err)
{
    return write_object(s, key, body, false, err);
}

static ice_code local_put_if_absent(ice_store *s, ice_str key, ice_str body, ice_error *err)
{
    return write_object(s, key, body, true, err);
}

static ice_code local_sync(ice_store *s, ice_str key, ice_error *err)
{
    char path[PATH_BYTES];
    ice_code rc = path_of(s, key, path, err);
    int fd;

    if (rc != ICE_OK)
        return rc;
    if ((fd = sys_open(path, O_RDONLY)) < 0)
        return ice_fail_errno(err, errno, "opening %s", path);
    if (sys_fsync(fd) != 0 || with_parent(path, sync_dir) != 0)
        rc = ice_fail_errno(err, errno, "syncing %s", path);
    close(fd);
    return rc;
}

static ice_code local_make_parent(ice_store *s, ice_str key, ice_error *err)
{
    char path[PATH_BYTES];
    ice_code rc = path_of(s, key, path, err);

    if (rc == ICE_OK && with_parent(path, make_dirs) != 0)
        rc = ice_fail_errno(err, errno, "making the directory of %s", path);
    return rc;
}

/* The directory that holds a key, reached from the root without following a symbolic link; -1 and errno. */
static int open_parent(const ice_store *s, ice_str key, const char **base)
{
    const char *at = key.ptr;
    int fd = sys_open(root_of(s), O_RDONLY | O_DIRECTORY);

    for (const char *slash; fd >= 0 && (slash = strchr(at, '/')) != NULL; at = slash + 1) {
        char name[PATH_BYTES];
        int parent = fd, saved;

        snprintf(name, sizeof name, "%.*s", (int)(slash - at), at);
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        saved = errno;
        close(parent);
        errno = saved;
    }
    *base = at;
    return fd;
}

static ice_code unlink_key(ice_store *s, ice_str key, int flags, ice_error *err)
{
    char path[PATH_BYTES];
    ice_code rc = path_of(s, key, path, err);
    const char *base;
    int fd, failed = 0;

    if (rc != ICE_OK)
        return rc;
    fd = open_parent(s, ice_str_c(path + s->root.len + 1), &base);
    if (fd < 0)
        failed = errno;
    else if (ice_fault("io.unlink"))
        failed = EIO;
    else if (unlinkat(fd, base, flags) != 0)
        failed = errno;
    if (fd >= 0)
        close(fd);
    if (flags && (failed == ENOTEMPTY || failed == EEXIST))
        failed = 0;
    if (failed && failed != ENOENT && failed != ENOTDIR)
        rc = ice_fail_errno(err, failed, "removing %s", path);
    return rc;
}

static ice_code local_remove(ice_store *s, ice_str key, ice_error *err)
{
    return unlink_key(s, key, 0, err);
}

static ice_code local_remove_dir(ice_store *s, ice_str key, ice_error *err)
{
    return unlink_key(s, key, AT_REMOVEDIR, err);
}

/* ---- listing ---- */

typedef struct listing {
    ice_arena *a;
    ice_str prefix;
    bool scan; /* collect `files`, also temporary ones; else `keys` */
    ice_str *keys;
    ice_store_file *files;
    size_t n, cap;
    ice_error *err;
    char path[PATH_BYTES]; /* of what is looked at; the key begins at path + root */
    size_t root;
} listing;

static ice_code add_key(listing *l, ice_str key)
{
    if (!ICE_ROOM(l->a, l->keys, l->n, l->cap))
        return ice_fail_nomem(l->err);
    l->keys[l->n] = ice_arena_str(l->a, key);
    return l->keys[l->n++].ptr ? ICE_OK : ice_fail_nomem(l->err);
}

static ice_code add_file(listing *l, ice_str key, const char *name, const struct stat *st)
{
    if (!ICE_ROOM(l->a, l->files, l->n, l->cap))
        return ice_fail_nomem(l->err);
    l->files[l->n] = (ice_store_file){
        .key = ice_arena_str(l->a, key),
        .bytes = (uint64_t)st->st_size,
        .mtime_us = (int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000,
        .temporary = strncmp(name, ICE_TMP_PREFIX, sizeof ICE_TMP_PREFIX - 1) == 0,
    };
    return l->files[l->n++].key.ptr ? ICE_OK : ice_fail_nomem(l->err);
}

/* Whether keys below a directory (its key, with the slash) can have the prefix, or begin with it. */
static bool related(ice_str a, ice_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;

    return n == 0 || memcmp(a.ptr, b.ptr, n) == 0;
}

static ice_code walk(listing *l, size_t len, int depth);

static ice_code visit(listing *l, size_t len, const char *name, int depth)
{
    size_t end = len + 1 + strlen(name);
    struct stat st;
    ice_str key;

    if (end + 2 > PATH_BYTES || depth > MAX_DEPTH)
        return ice_fail(l->err, ICE_IO, "%.*s has entries too deep to list", (int)len, l->path);
    l->path[len] = '/';
    memcpy(l->path + len + 1, name, end - len);
    key = (ice_str){l->path + l->root, end - l->root};
    /* It may be gone meanwhile; links lead outside. */
    if (lstat(l->path, &st) != 0)
        return errno == ENOENT ? ICE_OK : ice_fail_errno(l->err, errno, "looking at %s", l->path);
    if (S_ISDIR(st.st_mode)) {
        l->path[end] = '/';
        key.len++;
        return related(key, l->prefix) ? walk(l, end, depth + 1) : ICE_OK;
    }
    if (!S_ISREG(st.st_mode) || key.len < l->prefix.len || !related(key, l->prefix))
        return ICE_OK;
    return l->scan ? add_file(l, key, name, &st) : add_key(l, key);
}

static bool is_wanted(const listing *l, const char *name)
{
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           (l->scan || strncmp(name, ICE_TMP_PREFIX, sizeof ICE_TMP_PREFIX - 1) != 0);
}

static ice_code walk(listing *l, size_t len, int depth)
{
    struct dirent *e;
    ice_code rc = ICE_OK;
    DIR *dir;

    l->path[len] = '\0';
    if (!(dir = opendir(l->path)))
        return errno == ENOENT ? ICE_OK : ice_fail_errno(l->err, errno, "listing %s", l->path);
    while (rc == ICE_OK && (errno = 0, e = readdir(dir)))
        if (is_wanted(l, e->d_name))
            rc = visit(l, len, e->d_name, depth);
    if (rc == ICE_OK && errno != 0)
        rc = ice_fail_errno(l->err, errno, "listing a directory under %.*s", (int)l->root, l->path);
    closedir(dir);
    return rc;
}

static int cmp_keys(const void *a, const void *b) { return ice_str_cmp(*(const ice_str *)a, *(const ice_str *)b); }

static ice_code local_list(ice_store *s, ice_str prefix, ice_arena *a, ice_str **keys, size_t *n, ice_error *err)
{
    size_t root = s->root.len, start = prefix.len;
    listing l = {.a = a, .prefix = prefix, .err = err, .root = root + 1};
    ice_code rc;

    /* Begins at the deepest directory that the prefix names whole. */
    while (start > 0 && prefix.ptr[start - 1] != '/')
        start--;
    if (start > 1)
        ICE_TRY(ice__key_check((ice_str){prefix.ptr, start - 1}, err));
    else if (start == 1)
        return ice_fail(err, ICE_CONFIG, "prefix \"%.*s\" is not a relative path", ICE_PRI(prefix));
    memcpy(l.path, root_of(s), root);
    if (start > 0) {
        if (root + start + 2 > PATH_BYTES)
            return ice_fail(err, ICE_CONFIG, "prefix \"%.*s\" is too long", ICE_PRI(prefix));
        l.path[root] = '/';
        memcpy(l.path + root + 1, prefix.ptr, start - 1);
        root += start;
    }
    ICE_TRY(walk(&l, root, 0));
    if (l.n > 1)
        qsort(l.keys, l.n, sizeof *l.keys, cmp_keys);
    *keys = l.keys;
    *n = l.n;
out:
    return rc;
}

static int cmp_files(const void *a, const void *b)
{
    return ice_str_cmp(((const ice_store_file *)a)->key, ((const ice_store_file *)b)->key);
}

/* Not there, or a symbolic link or a file on the way. */
static bool missing(int e) { return e == ENOENT || e == ENOTDIR || e == ELOOP; }

static ice_code local_scan(ice_store *s, ice_str dir, ice_arena *a, ice_store_file **out, size_t *n, ice_error *err)
{
    size_t root = s->root.len;
    listing l = {.a = a, .scan = true, .err = err, .root = root + 1};
    const char *base;
    struct stat st;
    int fd, failed;
    ice_code rc;

    *out = NULL;
    *n = 0;
    ICE_TRY(path_of(s, dir, l.path, err));
    if ((fd = open_parent(s, ice_str_c(l.path + root + 1), &base)) < 0)
        return missing(errno) ? ICE_OK : ice_fail_errno(err, errno, "looking at %s", l.path);
    failed = fstatat(fd, base, &st, AT_SYMLINK_NOFOLLOW) != 0 ? errno : 0;
    close(fd);
    if (failed && !missing(failed))
        return ice_fail_errno(err, failed, "looking at %s", l.path);
    if (failed || !S_ISDIR(st.st_mode))
        goto out;
    ICE_TRY(walk(&l, root + 1 + dir.len, 0));
    if (l.n > 1)
        qsort(l.files, l.n, sizeof *l.files, cmp_files);
    *out = l.files;
    *n = l.n;
out:
    return rc;
}

static void local_close(ice_store *s) { free(s); }

/* ---- opening ---- */

static const ice_store_methods local_methods = {
    .get = local_get,
    .put = local_put,
    .put_if_absent = local_put_if_absent,
    .size = local_size,
    .sync = local_sync,
    .remove = local_remove,
    .remove_dir = local_remove_dir,
    .scan = local_scan,
    .list = local_list,
    .make_parent = local_make_parent,
    .close = local_close,
};

static ice_code find_root(const char *root, bool create, ice_error *err)
{
    struct stat st;

    if (create && make_dirs(root) != 0)
        return ice_fail_errno(err, errno, "creating the warehouse %s", root);
    if (stat(root, &st) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return ice_fail(err, ICE_NOT_FOUND, "no warehouse at %s: run migrate to create it", root);
        return ice_fail_errno(err, errno, "looking at the warehouse %s", root);
    }
    return S_ISDIR(st.st_mode) ? ICE_OK : ice_fail(err, ICE_CONFIG, "warehouse %s is not a directory", root);
}

/* By writing: permission bits say nothing about a read-only file system or a full quota. */
static ice_code probe_writable(const char *root, ice_error *err)
{
    char path[PATH_BYTES];
    int fd;

    if (snprintf(path, sizeof path, "%s/" ICE_TMP_PREFIX "probe-%016llx", root,
                 (unsigned long long)ice_random64()) >= (int)sizeof path)
        return ice_fail(err, ICE_CONFIG, "path of the warehouse %s is too long", root);
    fd = sys_open(path, O_WRONLY | O_CREAT | O_EXCL);
    if (fd < 0)
        return ice_fail_errno(err, errno, "warehouse %s is not writable", root);
    close(fd);
    unlink(path);
    return ICE_OK;
}

ice_code ice__local_open(ice_str root, bool create, bool read_only, ice_store **out, ice_error *err)
{
    local_store *s;
    ice_code rc;

    if (root.len >= PATH_BYTES / 2)
        return ice_fail(err, ICE_CONFIG, "path of the warehouse is longer than %d bytes", PATH_BYTES / 2);
    if (!(s = calloc(1, sizeof *s + root.len + 1)))
        return ice_fail_nomem(err);
    memcpy(s->root, root.ptr, root.len);
    s->base.m = &local_methods;
    s->base.root = (ice_str){s->root, root.len};
    ICE_TRY(find_root(s->root, create && !read_only, err));
    if (!read_only)
        ICE_TRY(probe_writable(s->root, err));
    *out = &s->base;
    return ICE_OK;
out:
    free(s);
    return rc;
}
