#include "base/misc.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Without randomness no id is safe to hand out, and there is nobody to report to. */
static void random_bytes(void *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t k = getrandom((char *)p + done, n - done, 0);

        if (k > 0)
            done += (size_t)k;
        else if (errno != EINTR)
            abort();
    }
}

uint64_t ice_random64(void)
{
    uint64_t v;

    random_bytes(&v, sizeof v);
    return v;
}

ice_uuid ice_uuid_random(void)
{
    ice_uuid u;

    random_bytes(u.b, sizeof u.b);
    u.b[6] = (uint8_t)((u.b[6] & 0x0F) | 0x40);
    u.b[8] = (uint8_t)((u.b[8] & 0x3F) | 0x80);
    return u;
}

void ice_uuid_text(ice_uuid u, char out[37])
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[n++] = '-';
        out[n++] = hex[u.b[i] >> 4];
        out[n++] = hex[u.b[i] & 15];
    }
    out[n] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool ice_uuid_parse(ice_str s, ice_uuid *out)
{
    bool dashes = s.len == 36;
    size_t at = 0;

    if (!dashes && s.len != 32)
        return false;
    for (int i = 0; i < 16; i++) {
        int hi, lo;

        if (dashes && (i == 4 || i == 6 || i == 8 || i == 10) && s.ptr[at++] != '-')
            return false;
        hi = hex_digit(s.ptr[at++]);
        lo = hex_digit(s.ptr[at++]);
        if (hi < 0 || lo < 0)
            return false;
        out->b[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

uint64_t ice_hash64(const void *p, size_t n, uint64_t seed) { return XXH3_64bits_withSeed(p, n, seed); }

uint32_t ice_crc32(uint32_t crc, const void *p, size_t n)
{
    return n ? (uint32_t)crc32_z(crc, p, n) : crc;
}

#define SEAL_DIGITS (sizeof ICE_SEAL_BLANK - 1)

static void seal_digits(const char *bytes, size_t n, size_t at, char out[SEAL_DIGITS])
{
    uint64_t h = ice_hash64(bytes, at, 0);
    h = ice_hash64(bytes + at + SEAL_DIGITS, n - at - SEAL_DIGITS, h);
    for (size_t i = 0; i < SEAL_DIGITS; i++)
        out[i] = "0123456789abcdef"[h >> (60 - 4 * i) & 15];
}

void ice_seal(char *bytes, size_t n, size_t at)
{
    char digits[SEAL_DIGITS];
    seal_digits(bytes, n, at, digits);
    memcpy(bytes + at, digits, SEAL_DIGITS);
}

bool ice_seal_holds(ice_str bytes, size_t at)
{
    char digits[SEAL_DIGITS];
    if (at > bytes.len || bytes.len - at < SEAL_DIGITS)
        return false;
    seal_digits(bytes.ptr, bytes.len, at, digits);
    return memcmp(bytes.ptr + at, digits, SEAL_DIGITS) == 0;
}

bool ice_seal_at_end(ice_str text, const char *before, const char *after, size_t *at)
{
    size_t nbefore = strlen(before), nafter = strlen(after);
    if (text.len < nbefore + SEAL_DIGITS + nafter)
        return false;
    *at = text.len - nafter - SEAL_DIGITS;
    return memcmp(text.ptr + *at - nbefore, before, nbefore) == 0 &&
           memcmp(text.ptr + text.len - nafter, after, nafter) == 0;
}

static int64_t clock_us(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t ice_clock_us(void) { return clock_us(CLOCK_REALTIME); }
int64_t ice_clock_monotonic_us(void) { return clock_us(CLOCK_MONOTONIC); }

void ice_sleep_us(int64_t us)
{
    struct timespec ts = {us / 1000000, us % 1000000 * 1000};

    if (us <= 0)
        return;
    while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
        ;
}

/* ---- fault points ---- */

static struct {
    pthread_mutex_t mutex;
    char name[64];
    long k, hits;
    bool kill;
} fault = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Read without the mutex, so that a point that is off costs one load. */
static atomic_bool fault_armed;

void ice_fault_arm(const char *name, long k, bool kill)
{
    pthread_mutex_lock(&fault.mutex);
    snprintf(fault.name, sizeof fault.name, "%s", name);
    fault.k = k;
    fault.hits = 0;
    fault.kill = kill;
    atomic_store(&fault_armed, true);
    pthread_mutex_unlock(&fault.mutex);
}

void ice_fault_disarm(void) { atomic_store(&fault_armed, false); }

long ice_fault_hits(void)
{
    long hits;

    pthread_mutex_lock(&fault.mutex);
    hits = fault.hits;
    pthread_mutex_unlock(&fault.mutex);
    return hits;
}

static bool fault_hit(const char *name)
{
    bool fire = false, die;

    pthread_mutex_lock(&fault.mutex);
    if (strcmp(fault.name, "*") == 0 || strcmp(fault.name, name) == 0)
        fire = ++fault.hits == fault.k;
    die = fire && fault.kill;
    pthread_mutex_unlock(&fault.mutex);
    if (die)
        kill(getpid(), SIGKILL);
    return fire;
}

bool ice_fault(const char *name)
{
    return __builtin_expect(atomic_load_explicit(&fault_armed, memory_order_relaxed), 0) && fault_hit(name);
}

/* At load time, so that no point needs to look whether the environment was read. */
__attribute__((constructor)) static void fault_from_environment(void)
{
    const char *env = getenv("ICE_FAULT");
    const char *colon = env ? strchr(env, ':') : NULL;
    char name[sizeof fault.name], *rest;
    long k;

    if (!colon || (size_t)(colon - env) >= sizeof name)
        return;
    memcpy(name, env, (size_t)(colon - env));
    name[colon - env] = '\0';
    k = strtol(colon + 1, &rest, 10);
    if (rest != colon + 1 && (*rest == '\0' || strcmp(rest, ":kill") == 0))
        ice_fault_arm(name, k, *rest != '\0');
}

void ice_warn(const char *fmt, ...)
{
    char line[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    fprintf(stderr, "django-iceberg: %s\n", line);
}
