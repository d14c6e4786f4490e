/* The file: a header, a bit for each process slot in use and for each that has an engine, then a table of
 * claimed files by open addressing. A slot is alive while its byte's open-file-description lock is held.
 * Everything else changes under the lock of one more byte, in an order that leaves a table of no wrong claim
 * when its holder dies: a claim counts once its holder's bit is set, which is last. */
#include "store/host.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROCESSES = 256, WORDS = PROCESSES / 64, FILES = 8192 };
#define NAME "host-1" /* the number is the layout's version */
#define BYTE_LOCK ((int64_t)1 << 40)
#define BYTE_SLOT (BYTE_LOCK + 1)
#define BYTE_USE (BYTE_LOCK * 2)

typedef struct claim {
    uint64_t name; /* 0: never used */
    uint64_t bytes;
    uint64_t holders[WORDS]; /* none: free */
} claim;

typedef struct shared {
    _Atomic uint64_t used[WORDS], engines[WORDS];
    claim claims[FILES];
} shared;

struct ice_host {
    atomic_int refs;
    int fd; /* -1: for this process alone */
    uint32_t slot;
    pthread_mutex_t mutex;
    shared *shared; /* NULL in a forked child */
};

/* ---- locks ---- */

static bool byte_op(int fd, int cmd, short type, int64_t byte)
{
    struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int r;
    do
        r = fcntl(fd, cmd, &fl);
    while (r != 0 && errno == EINTR);
    return r == 0;
}

static void enter(ice_host *h)
{
    pthread_mutex_lock(&h->mutex);
    if (h->fd >= 0)
        (void)byte_op(h->fd, F_OFD_SETLKW, F_WRLCK, BYTE_LOCK);
}

static void leave(ice_host *h)
{
    if (h->fd >= 0)
        (void)byte_op(h->fd, F_OFD_SETLK, F_UNLCK, BYTE_LOCK);
    pthread_mutex_unlock(&h->mutex);
}

/* ---- bits ---- */

static void set_bit(_Atomic uint64_t *words, uint32_t i, bool on)
{
    uint64_t bit = UINT64_C(1) << i % 64;
    if (on)
        atomic_fetch_or(&words[i / 64], bit);
    else
        atomic_fetch_and(&words[i / 64], ~bit);
}

static bool is_held(const claim *c)
{
    uint64_t any = 0;
    for (size_t w = 0; w < WORDS; w++)
        any |= c->holders[w];
    return any != 0;
}

/* ---- processes; entered ---- */

static void forget_slot(ice_host *h, uint32_t slot)
{
    for (size_t i = 0; i < FILES; i++)
        h->shared->claims[i].holders[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    set_bit(h->shared->engines, slot, false);
    set_bit(h->shared->used, slot, false);
}

static bool take_slot(ice_host *h, uint32_t slot)
{
    return h->fd < 0 || byte_op(h->fd, F_OFD_SETLK, F_WRLCK, BYTE_SLOT + slot);
}

static void reap(ice_host *h)
{
    for (uint32_t i = 0; i < PROCESSES; i++) {
        if (i == h->slot || !(atomic_load(&h->shared->used[i / 64]) >> i % 64 & 1) || h->fd < 0)
            continue;
        if (!take_slot(h, i))
            continue;
        forget_slot(h, i);
        byte_op(h->fd, F_OFD_SETLK, F_UNLCK, BYTE_SLOT + i);
    }
}

/* More processes than slots: this one claims nothing. */
static void join_host(ice_host *h)
{
    h->slot = PROCESSES;
    reap(h);
    for (uint32_t i = 0; i < PROCESSES && h->slot == PROCESSES; i++)
        if (!(atomic_load(&h->shared->used[i / 64]) >> i % 64 & 1) && take_slot(h, i))
            h->slot = i;
    if (h->slot < PROCESSES)
        set_bit(h->shared->used, h->slot, true);
}

/* ---- opening ---- */

/* Space is allocated now: a store into a mapped hole of a full disk would be a SIGBUS. */
static bool map_file(ice_host *h)
{
    struct stat st;
    bool sized = fstat(h->fd, &st) == 0 &&
                 (st.st_size == sizeof(shared) || posix_fallocate(h->fd, 0, sizeof(shared)) == 0);
    void *p = sized ? mmap(NULL, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED, h->fd, 0) : MAP_FAILED;
    h->shared = p == MAP_FAILED ? NULL : p;
    return h->shared != NULL;
}

static bool open_file(ice_host *h, const char *dir)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/" NAME, dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return false;
    h->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (h->fd >= 0 && byte_op(h->fd, F_OFD_SETLKW, F_WRLCK, BYTE_LOCK) && map_file(h))
        return true; /* entered */
    if (h->fd >= 0)
        close(h->fd);
    h->fd = -1;
    return false;
}

ice_code ice_host_open(const char *dir, ice_host **out, ice_error *err)
{
    ice_host *h = calloc(1, sizeof *h);
    if (!h)
        return ice_fail_nomem(err);
    atomic_init(&h->refs, 1);
    pthread_mutex_init(&h->mutex, NULL);
    pthread_mutex_lock(&h->mutex);
    if (!open_file(h, dir)) {
        void *p = mmap(NULL, sizeof(shared), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        h->shared = p == MAP_FAILED ? NULL : p;
    }
    if (h->shared)
        join_host(h);
    leave(h);
    if (!h->shared) {
        ice_host_unref(h);
        return ice_fail_nomem(err);
    }
    *out = h;
    return ICE_OK;
}

ice_host *ice_host_ref(ice_host *h)
{
    atomic_fetch_add(&h->refs, 1);
    return h;
}

void ice_host_unref(ice_host *h)
{
    if (!h || atomic_fetch_sub(&h->refs, 1) != 1)
        return;
    if (h->shared) {
        enter(h);
        if (h->slot < PROCESSES)
            forget_slot(h, h->slot);
        leave(h);
        munmap(h->shared, sizeof(shared));
    }
    if (h->fd >= 0)
        close(h->fd);
    pthread_mutex_destroy(&h->mutex);
    free(h);
}

/* The parent's slot is alive as long as any copy of its descriptor is. */
void ice_host_after_fork(ice_host *h)
{
    if (h->shared)
        munmap(h->shared, sizeof(shared));
    if (h->fd >= 0)
        close(h->fd);
    h->shared = NULL;
    h->fd = -1;
}

/* ---- claims; entered ---- */

/* The name's place; where it has none, the first free one on its way; NULL: the table is full. */
static claim *place_of(shared *s, uint64_t name)
{
    claim *gap = NULL;
    for (size_t i = 0; i < FILES; i++) {
        claim *c = &s->claims[(name + i) % FILES];
        if (c->name == name)
            return c;
        if (!gap && !is_held(c))
            gap = c;
        if (!c->name)
            break;
    }
    return gap;
}

static uint64_t claimed(const shared *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < FILES; i++)
        sum += is_held(&s->claims[i]) ? s->claims[i].bytes : 0;
    return sum;
}

static uint64_t not_yet(shared *s, const ice_host_file *files, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        const claim *c = place_of(s, files[i].name);
        sum += c && c->name == files[i].name && is_held(c) ? 0 : files[i].bytes;
    }
    return sum;
}

static void drop(ice_host *h, uint64_t name)
{
    claim *c = place_of(h->shared, name);
    if (c && c->name == name)
        c->holders[h->slot / 64] &= ~(UINT64_C(1) << h->slot % 64);
}

static bool hold(ice_host *h, const ice_host_file *f)
{
    claim *c = place_of(h->shared, f->name);
    if (!c)
        return false;
    if (!is_held(c)) {
        c->bytes = f->bytes;
        c->name = f->name;
    }
    c->holders[h->slot / 64] |= UINT64_C(1) << h->slot % 64;
    return true;
}

static bool hold_all(ice_host *h, const ice_host_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (hold(h, &files[i]))
            continue;
        while (i-- > 0)
            drop(h, files[i].name);
        return false;
    }
    return true;
}

static bool fits(ice_host *h, const ice_host_file *files, size_t n, uint64_t budget)
{
    uint64_t more = not_yet(h->shared, files, n), have = claimed(h->shared);
    return more == 0 || (have <= budget && more <= budget - have);
}

bool ice_host_claim(ice_host *h, const ice_host_file *files, size_t n, uint64_t budget)
{
    bool ok = false;
    if (!h->shared || h->slot == PROCESSES)
        return false;
    enter(h);
    ok = fits(h, files, n, budget);
    if (!ok) {
        reap(h);
        ok = fits(h, files, n, budget);
    }
    ok = ok && hold_all(h, files, n);
    leave(h);
    return ok;
}

void ice_host_release(ice_host *h, uint64_t name)
{
    if (!h->shared || h->slot == PROCESSES)
        return;
    enter(h);
    drop(h, name);
    leave(h);
}

uint64_t ice_host_claimed(ice_host *h)
{
    uint64_t sum;
    if (!h->shared)
        return 0;
    enter(h);
    sum = claimed(h->shared);
    leave(h);
    return sum;
}

/* ---- files in use ---- */

static int64_t use_byte(uint64_t name)
{
    return BYTE_USE + (int64_t)(name >> 3);
}

void ice_host_use(ice_host *h, uint64_t name)
{
    if (h->fd >= 0)
        (void)byte_op(h->fd, F_OFD_SETLK, F_RDLCK, use_byte(name));
}

void ice_host_unuse(ice_host *h, uint64_t name)
{
    if (h->fd >= 0)
        (void)byte_op(h->fd, F_OFD_SETLK, F_UNLCK, use_byte(name));
}

bool ice_host_uses(const ice_host *h, uint64_t name)
{
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = use_byte(name), .l_len = 1};
    return h->fd < 0 || fcntl(h->fd, F_OFD_GETLK, &fl) != 0 || fl.l_type != F_UNLCK;
}

/* ---- engines ---- */

void ice_host_add_engine(ice_host *h)
{
    if (h->shared && h->slot < PROCESSES)
        set_bit(h->shared->engines, h->slot, true);
}

unsigned ice_host_engines(const ice_host *h)
{
    unsigned n = 0;
    for (size_t w = 0; h->shared && w < WORDS; w++)
        n += (unsigned)__builtin_popcountll(
            atomic_load_explicit(&h->shared->engines[w], memory_order_relaxed));
    return n ? n : 1;
}
