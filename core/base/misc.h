/* Hashing, clocks, UUIDs, fault points. */
#ifndef ICE_BASE_MISC_H
#define ICE_BASE_MISC_H

#include "base/str.h"

typedef struct ice_uuid {
    uint8_t b[16];
} ice_uuid;

static inline bool ice_uuid_eq(ice_uuid a, ice_uuid b) { return memcmp(a.b, b.b, 16) == 0; }
ice_uuid ice_uuid_random(void); /* version 4, from getrandom(2) */
void ice_uuid_text(ice_uuid u, char out[37]);
bool ice_uuid_parse(ice_str s, ice_uuid *out);

uint64_t ice_hash64(const void *p, size_t n, uint64_t seed); /* XXH3, 64 bits */
uint32_t ice_crc32(uint32_t crc, const void *p, size_t n);   /* zlib's; start with 0 */

/* Seals: a checksum that stands within the bytes it is of, as 16 hex digits. Small files whose readers would not
 * notice a changed bit have one (the control object, table metadata, manifests), where other readers pass over it. */
#define ICE_SEAL_BLANK "0000000000000000"
void ice_seal(char *bytes, size_t n, size_t at); /* puts the digits at `at`, which has room for them */
bool ice_seal_holds(ice_str bytes, size_t at);
/* Where the digits are in a text that ends with them between `before` and `after`; false: it has no seal. */
bool ice_seal_at_end(ice_str text, const char *before, const char *after, size_t *at);

/* A line for whoever runs the process, on its standard error: something was wrong, and was mended. */
void ice_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));

int64_t ice_clock_us(void);           /* CLOCK_REALTIME, microseconds since the epoch */
int64_t ice_clock_monotonic_us(void);
void ice_sleep_us(int64_t us);
uint64_t ice_random64(void);

/* Fault points: `if (ice_fault("log.fsync")) fail as the call below would`. Compiled in always, off
 * unless armed: by ice_fault_arm, or by the environment ICE_FAULT="name:k[:kill]" (the k-th hit,
 * counted from 1, fails; with :kill the process dies by SIGKILL there; name "*" counts every point). Thread-safe. */
bool ice_fault(const char *name);
void ice_fault_arm(const char *name, long k, bool kill);
void ice_fault_disarm(void);
/* Hits of the armed points since the last arm: below k, none fired, and a loop over k is done. */
long ice_fault_hits(void);

#endif
