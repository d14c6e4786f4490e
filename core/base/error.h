/* Error codes and the error a failing call leaves behind.
 *
 * Every fallible function returns an ice_code and, where it is not ICE_OK, has filled the caller's
 * ice_error. One table below gives each code its SQLSTATE (PostgreSQL's, appendix A of its manual,
 * where one fits) and the PEP 249 exception class it becomes in Python. */
#ifndef ICE_BASE_ERROR_H
#define ICE_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#define ICE_MUST __attribute__((warn_unused_result))

/* X(name, SQLSTATE, PEP 249 exception) */
#define ICE_CODES(X)                                                                              \
    X(OK, "00000", "Warning")                                                                     \
    X(NOMEM, "53200", "OperationalError")                                                         \
    X(IO, "58030", "OperationalError")                                                            \
    X(NOT_FOUND, "58P01", "OperationalError")                                                     \
    X(EXISTS, "58P02", "OperationalError")      /* put_if_absent lost, or the file exists */      \
    X(CONFLICT, "40001", "OperationalError")    /* a compare-and-swap lost */                     \
    X(CORRUPT, "XX001", "OperationalError")     /* bytes from outside are not what they claim */  \
    X(CACHE, "XX001", "OperationalError")       /* a file of the cache is damaged: it is made again */ \
    X(CONFIG, "F0000", "InterfaceError")        /* a wrong setting */                             \
    X(UNSUPPORTED, "0A000", "NotSupportedError")                                                  \
    X(SYNTAX, "42601", "ProgrammingError")                                                        \
    X(NO_TABLE, "42P01", "ProgrammingError")                                                      \
    X(NO_COLUMN, "42703", "ProgrammingError")                                                     \
    X(NO_OBJECT, "42704", "ProgrammingError")   /* constraint or index that is not there */       \
    X(DUP_TABLE, "42P07", "ProgrammingError")                                                     \
    X(DUP_COLUMN, "42701", "ProgrammingError")                                                    \
    X(DUP_OBJECT, "42710", "ProgrammingError")                                                    \
    X(DEPENDENT, "2BP01", "ProgrammingError")   /* other objects depend on it */                  \
    X(WRONG_OBJECT, "42809", "ProgrammingError") /* a view where a table is meant, or the reverse */ \
    X(BAD_DEFINITION, "42P16", "ProgrammingError") /* a view would lose or change columns */      \
    X(CARDINALITY, "21000", "ProgrammingError") /* a row would be changed twice by a statement */ \
    X(UNIQUE, "23505", "IntegrityError")                                                          \
    X(NOT_NULL, "23502", "IntegrityError")                                                        \
    X(FOREIGN_KEY, "23503", "IntegrityError")                                                     \
    X(CHECK, "23514", "IntegrityError")                                                           \
    X(RANGE, "22003", "DataError")                                                                \
    X(TOO_LONG, "22001", "DataError")                                                             \
    X(BAD_VALUE, "22P02", "DataError")                                                            \
    X(BAD_ARGUMENT, "22023", "DataError")       /* of a function: a value that it does not take */ \
    X(BAD_LOGARITHM, "2201E", "DataError")                                                        \
    X(BAD_POWER, "2201F", "DataError")          /* a root too */                                  \
    X(BAD_SUBSTRING, "22011", "DataError")                                                        \
    X(BAD_PATTERN, "2201B", "DataError")        /* a regular expression, or what it costs */      \
    X(DIV_ZERO, "22012", "DataError")                                                             \
    X(DATETIME, "22008", "DataError")                                                             \
    X(SERIALIZATION, "40001", "OperationalError")                                                 \
    X(DEADLOCK, "40P01", "OperationalError")                                                      \
    X(LOCK_TIMEOUT, "55P03", "OperationalError") /* also NOWAIT */                                \
    X(CANCELED, "57014", "OperationalError")                                                      \
    X(DISK_FULL, "53100", "OperationalError")                                                     \
    X(OUTCOME_UNKNOWN, "08007", "OperationalError") /* the commit may or may not be in the log */ \
    X(CLOCK_SKEW, "IC001", "OperationalError")                                                    \
    X(HISTORY_EXPIRED, "IC002", "OperationalError")                                               \
    X(FUTURE, "IC003", "OperationalError")      /* as_of a time to come */                        \
    X(READ_ONLY, "25006", "OperationalError")                                                     \
    X(TX_ABORTED, "25P02", "InternalError")                                                       \
    X(NO_SAVEPOINT, "3B001", "InternalError")                                                     \
    X(MISUSE, "HY010", "InterfaceError")        /* call sequence or argument error of the caller */ \
    X(ENGINE, "XX000", "DatabaseError")         /* an error of DuckDB with no code of its own */  \
    X(INTERNAL, "XX000", "InternalError")

typedef enum ice_code {
#define ICE_X(name, state, exc) ICE_##name,
    ICE_CODES(ICE_X)
#undef ICE_X
        ICE_CODE_COUNT
} ice_code;

/* Plain data, owned by the caller, reused from call to call. `table` and `constraint` are empty
 * where they say nothing. Texts are UTF-8, cut at the buffer's end. */
typedef struct ice_error {
    ice_code code;
    char message[1024];
    char table[128];
    char constraint[128];
} ice_error;

const char *ice_code_name(ice_code code);
const char *ice_code_sqlstate(ice_code code);
const char *ice_code_exception(ice_code code);

/* Fills `err` (which may be NULL) and returns `code`, so that a failing function can end in
 * `return ice_fail(err, ICE_CORRUPT, "manifest %s: ...", path);` */
ice_code ice_fail(ice_error *err, ice_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
/* The same with strerror(errnum) appended; ENOSPC/EDQUOT become ICE_DISK_FULL, ENOENT
 * ICE_NOT_FOUND, EEXIST ICE_EXISTS, ENOMEM ICE_NOMEM, others ICE_IO. */
ice_code ice_fail_errno(ice_error *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
ice_code ice_fail_nomem(ice_error *err) __attribute__((cold));
/* The same, with the code in sight of the compiler: it then knows that a failed call has failed. */
static inline ice_code ice_code_of(ice_code filled, ice_code code)
{
    (void)filled;
    return code;
}
#define ice_fail(err, code, ...) ice_code_of(ice_fail((err), (code), __VA_ARGS__), (code))
#define ice_fail_nomem(err) ice_code_of(ice_fail_nomem(err), ICE_NOMEM)
/* Names the table and constraint of an error already filled; NULL leaves one as it is. */
void ice_error_object(ice_error *err, const char *table, const char *constraint);
/* Puts "prefix: " before the message. */
void ice_error_prefix(ice_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ice_error_clear(ice_error *err);

/* Runs a call; on failure keeps its code in a local `rc` and goes to `out`. */
#define ICE_TRY(call)                                                                             \
    do {                                                                                          \
        if ((rc = (call)) != ICE_OK)                                                              \
            goto out;                                                                             \
    } while (0)

#endif
