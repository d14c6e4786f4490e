/* Shared by manifest_write.c and manifest_read.c: the field ids of the spec's structs. */
#ifndef ICE_FORMAT_MANIFEST_INT_H
#define ICE_FORMAT_MANIFEST_INT_H

#include "format/avro.h"
#include "format/format_int.h"
#include "format/manifest.h"

enum {
    /* manifest_entry */
    FID_STATUS = 0,
    FID_SNAPSHOT_ID = 1,
    FID_DATA_FILE = 2,
    FID_SEQUENCE_NUMBER = 3,
    FID_FILE_SEQUENCE_NUMBER = 4,
    /* data_file */
    FID_CONTENT = 134,
    FID_FILE_PATH = 100,
    FID_FILE_FORMAT = 101,
    FID_PARTITION = 102,
    FID_RECORD_COUNT = 103,
    FID_FILE_SIZE = 104,
    FID_COLUMN_SIZES = 108,
    FID_VALUE_COUNTS = 109,
    FID_NULL_COUNTS = 110,
    FID_NAN_COUNTS = 137,
    FID_LOWER_BOUNDS = 125,
    FID_UPPER_BOUNDS = 128,
    FID_KEY_METADATA = 131,
    FID_SPLIT_OFFSETS = 132,
    FID_EQUALITY_IDS = 135,
    FID_SORT_ORDER_ID = 140,
    FID_FIRST_ROW_ID = 142,
    FID_REFERENCED_DATA_FILE = 143,
    FID_CONTENT_OFFSET = 144,
    FID_CONTENT_SIZE = 145,
    /* ours, far from what the spec hands out. Bytes, for PyIceberg passes over no map: pairs of field id i32 (0: the
     * rest of the file) and checksum u64, little-endian */
    FID_CHECKSUMS = 1618033001,
    /* manifest_file */
    FID_MANIFEST_PATH = 500,
    FID_MANIFEST_LENGTH = 501,
    FID_SPEC_ID = 502,
    FID_ADDED_SNAPSHOT_ID = 503,
    FID_ADDED_FILES = 504,
    FID_EXISTING_FILES = 505,
    FID_DELETED_FILES = 506,
    FID_PARTITIONS = 507,
    FID_CONTAINS_NULL = 509,
    FID_LOWER_BOUND = 510,
    FID_UPPER_BOUND = 511,
    FID_ADDED_ROWS = 512,
    FID_EXISTING_ROWS = 513,
    FID_DELETED_ROWS = 514,
    FID_MANIFEST_SEQUENCE = 515,
    FID_MIN_SEQUENCE = 516,
    FID_MANIFEST_CONTENT = 517,
    FID_CONTAINS_NAN = 518,
    FID_LIST_KEY_METADATA = 519,
    FID_LIST_FIRST_ROW_ID = 520,
};

#endif
