/* Body of a commit-log record: what one transaction did, by table UUIDs and field ids, never names.
 *
 *   u8 format (1), then operations until the end of the body:
 *     u8 'D' uuid[16] varint n json[n]         definition put (created or replaced)
 *     u8 'X' uuid[16]                          table dropped
 *     u8 'T' uuid[16] varint schema_id         declares table k (k counts from 0) for the operations below
 *     u8 'I' varint k u32 n [row]                     row inserted; n: bytes in [], so that it can be
 *     u8 'U' varint k u32 n [i64 base_start key row]  row updated    skipped by who has a later definition
 *     u8 'R' varint k u32 n [i64 base_start key]      row deleted
 *     u8 'B' varint k u32 n [u8 op, varint name length, name, deletion vector blob]
 *                                                     rows of a data file ended (bulk path): op ICE_OP_UPDATE
 *                                                     or _DELETE, the file's unique name, positions in it
 *     u8 'Q' u64 name i64 value                       a sequence has handed out `value`
 *     u8 'S' varint k u32 n [varint key length, key, varint rows, varint bytes, metrics as JSON]
 *                                                     rows of a Parquet file staged before the commit (bulk
 * path) key: primary key of the old version, base_start its _row_start (0: not known); key and row as
 *   ice_row_encode writes them under the definition.
 *
 * Read without trust: ICE_CORRUPT. */
#ifndef ICE_TXN_RECORD_H
#define ICE_TXN_RECORD_H

#include "store/tail.h"
#include "table/flush.h"

#define ICE_RECORD_FORMAT 1

void ice__record_begin(ice_buf *b);
ice_code ice__record_def(ice_buf *b, const ice_tabledef *def, ice_error *err) ICE_MUST;
void ice__record_drop(ice_buf *b, ice_uuid table);
void ice__record_table(ice_buf *b, const ice_tabledef *def);
/* One row change: op 'I' (no key), 'U' or 'R' (no row). */
typedef struct ice_change {
    char op;
    size_t table;
    int64_t base_start;
    size_t nkey, ncols;
    const ice_type *key_types, *types;
    const ice_value *key, *row;
} ice_change;
void ice__record_change(ice_buf *b, const ice_change *c);
void ice__record_staged(ice_buf *b, size_t table, const ice_staged_file *f);
ice_code ice__record_ended(ice_buf *b, size_t table, const ice_ended *e, ice_error *err) ICE_MUST;
void ice__record_sequence(ice_buf *b, uint64_t name, int64_t value);

/* What a reader of records does with them; `table` finds the definition in force by uuid (its columns' types
 * tell how to decode) or leaves *skip set. Rows are views into the record. */
typedef struct ice_record_sink {
    ice_code (*def)(void *arg, ice_tabledef *def, ice_error *err); /* takes ownership */
    ice_code (*drop)(void *arg, ice_uuid table, ice_error *err);
    ice_code (*table)(void *arg, ice_uuid table, void **handle, const ice_tabledef **def,
                      const ice_keys **keys, bool *skip, ice_error *err);
    ice_code (*insert)(void *arg, void *handle, const ice_value *row, ice_row_op op, ice_error *err);
    ice_code (*end)(void *arg, void *handle, const ice_value *key, int64_t base_start, ice_row_op op,
                    ice_error *err);
    ice_code (*staged)(void *arg, void *handle, const ice_staged_file *f, ice_error *err);
    ice_code (*ended)(void *arg, void *handle, ice_row_op op, ice_str file, struct ice_dv *rows,
                      ice_error *err); /* takes rows */
    void (*sequence)(void *arg, uint64_t name, int64_t value);
} ice_record_sink;
/* Keys of the files that a record names, without looking at its rows: what garbage collection has to keep. */
ice_code ice__record_files(ice_str body, ice_code (*fn)(void *arg, ice_str key, ice_error *err), void *arg,
                           ice_error *err) ICE_MUST;
ice_code ice__record_read(ice_str body, const ice_record_sink *sink, void *arg, ice_error *err) ICE_MUST;
#endif
