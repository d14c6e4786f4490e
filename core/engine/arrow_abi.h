/* The structs of the Arrow C data and C stream interfaces, as the specification fixes them:
 * https://arrow.apache.org/docs/format/CDataInterface.html#structure-definitions and
 * https://arrow.apache.org/docs/format/CStreamInterface.html#structure-definition. The guards are the
 * specification's, so that another library's copy of them may be there too.
 *
 * Whoever is handed a struct owns it and calls its `release`; one whose `release` is NULL has been released
 * or moved, or is the end of a stream. */
#ifndef ICE_ENGINE_ARROW_ABI_H
#define ICE_ENGINE_ARROW_ABI_H

#include <stdint.h>

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};
struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};
#endif

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out); /* 0, or an errno */
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);    /* the same */
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};
#endif
#endif
