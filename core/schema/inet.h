/* Addresses as PostgreSQL's inet takes and prints them. */
#ifndef ICE_SCHEMA_INET_H
#define ICE_SCHEMA_INET_H

#include "base/arena.h"

/* Room for any of them: 8 groups, dotted bytes at the end, a prefix length, NUL. */
enum { ICE_INET_ROOM = 56 };

/* The one text of an address, and of a network where it has a prefix length of less than all bits;
 * NUL-terminated. ICE_BAD_VALUE: it is neither of version 4 nor of 6. */
ICE_MUST ice_code ice_inet_canonical(ice_str text, char out[ICE_INET_ROOM], ice_error *err);

#endif
