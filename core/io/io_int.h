#ifndef ICE_IO_IO_INT_H
#define ICE_IO_IO_INT_H

#include "io/io.h"

/* Object being written, until it has its name. Never listed. */
#define ICE_TMP_PREFIX ".tmp-"

/* ICE_CONFIG unless `key` is a relative path of plain components. */
ice_code ice__key_check(ice_str key, ice_error *err);
/* `root` is normalised: absolute, no trailing slash. */
ice_code ice__local_open(ice_str root, bool create, bool read_only, ice_store **out, ice_error *err);

#endif
