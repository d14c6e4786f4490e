/* What we use of DuckDB's C API v2, as of its version 2.0: opaque handles, the structures that cross the border by
 * value, and one table of function pointers filled by dlsym. Every call returns 0 or an error number; most take a last
 * argument that receives a description of the error. The API is marked unstable, so the version is checked
 * when the library is loaded. */
#ifndef ICE_ENGINE_DUCK_H
#define ICE_ENGINE_DUCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct duck_environment_ *duck_environment;
typedef struct duck_instance_ *duck_instance;
typedef struct duck_connection_ *duck_connection;
typedef struct duck_config_ *duck_config;
typedef struct duck_factory_ *duck_factory;
typedef struct duck_context_ *duck_context;
typedef struct duck_error_ *duck_error;
typedef struct duck_type_ *duck_type;
typedef struct duck_value_ *duck_value;
typedef struct duck_statements_ *duck_statements;
typedef struct duck_statement_ *duck_statement;
typedef struct duck_result_ *duck_result;
typedef struct duck_arrow_result_ *duck_arrow_result;
typedef struct duck_schema_ *duck_schema;
typedef struct duck_chunk_ *duck_chunk;
typedef struct duck_vector_ *duck_vector;
typedef struct duck_selection_ *duck_selection;
typedef struct duck_qname_ *duck_qname;
typedef struct duck_signature_ *duck_signature;
typedef struct duck_function_ *duck_function;
typedef struct duck_replacement_ *duck_replacement;
typedef struct duck_expression_ *duck_expression;
/* Arguments of callbacks. */
typedef struct duck_call_ *duck_call;
typedef struct duck_bind_ *duck_bind;
typedef struct duck_init_ *duck_init;
typedef struct duck_local_ *duck_local;
typedef struct duck_exec_ *duck_exec;
typedef struct duck_offer_ *duck_offer;
typedef struct duck_partition_ *duck_partition;
typedef struct duck_lookup_ *duck_lookup;
typedef struct duck_scalar_bind_ *duck_scalar_bind;
typedef struct duck_arena_ *duck_arena;

/* Text with a length; also SQL identifiers. Same layout as ice_str. */
typedef struct duck_str {
    const char *ptr;
    uint64_t len;
} duck_str;

/* A VARCHAR or BLOB inside a vector: up to 12 bytes in place, else a pointer and the first four bytes. */
typedef union duck_string {
    struct {
        uint32_t length;
        char inlined[12];
    };
    struct {
        uint32_t same_length;
        char prefix[4];
        const char *ptr;
    };
} duck_string;
#define DUCK_INLINE 12
_Static_assert(sizeof(duck_string) == 16, "layout of DuckDB's strings");

typedef struct duck_view {
    const void *data;
    const uint64_t *validity; /* NULL: all valid */
    const uint32_t *sel;      /* NULL: row i is entry i */
    uint64_t count;
} duck_view;

typedef struct duck_huge {
    uint64_t lower;
    int64_t upper;
} duck_huge;

typedef struct duck_interval {
    int32_t months, days;
    int64_t micros;
} duck_interval;

/* A pointer of ours that DuckDB keeps, and how it lets go of it. */
typedef struct duck_opaque {
    void *ptr;
    void (*destroy)(void *);
    bool (*equals)(void *, void *);
} duck_opaque;

enum duck_error_code {
    DUCK_OK = 0,
    DUCK_FILE_NOT_FOUND = 1001,
    DUCK_IO_FIRST = 1002,
    DUCK_IO_LAST = 1006,
    DUCK_INVALID = 2001,
    DUCK_OUT_OF_RANGE = 2003,
    DUCK_DEFERRED = 2005,
    DUCK_IN_USE = 3001,
    DUCK_NO_MEMORY = 3002,
    DUCK_CONVERSION = 4001,
    DUCK_TYPE_MISMATCH = 4004,
    DUCK_DECIMAL_RANGE = 4005,
    DUCK_DIVISION = 4006,
    DUCK_PARSER = 5001,
    DUCK_SYNTAX = 5002,
    DUCK_BINDER = 5003,
    DUCK_NOT_IMPLEMENTED = 5009,
    DUCK_PARAMETER = 5010,
    DUCK_PARAMETER_PLACE = 5011,
    DUCK_CATALOG = 6001,
    DUCK_SEQUENCE = 6005,
    DUCK_SETTINGS = 7001,
    DUCK_PERMISSION = 7003,
    DUCK_INTERRUPTED = 8003,
};

enum duck_type_id {
    DUCK_T_NULL = 1,
    DUCK_T_ANY = 3,
    DUCK_T_BOOLEAN = 10,
    DUCK_T_TINYINT = 11,
    DUCK_T_SMALLINT = 12,
    DUCK_T_INTEGER = 13,
    DUCK_T_BIGINT = 14,
    DUCK_T_DATE = 15,
    DUCK_T_TIME = 16,
    DUCK_T_TIMESTAMP_S = 17,
    DUCK_T_TIMESTAMP_MS = 18,
    DUCK_T_TIMESTAMP = 19,
    DUCK_T_TIMESTAMP_NS = 20,
    DUCK_T_DECIMAL = 21,
    DUCK_T_FLOAT = 22,
    DUCK_T_DOUBLE = 23,
    DUCK_T_VARCHAR = 25,
    DUCK_T_BLOB = 26,
    DUCK_T_INTERVAL = 27,
    DUCK_T_UTINYINT = 28,
    DUCK_T_USMALLINT = 29,
    DUCK_T_UINTEGER = 30,
    DUCK_T_UBIGINT = 31,
    DUCK_T_TIMESTAMPTZ = 32,
    DUCK_T_TIMESTAMPTZ_NS = 33,
    DUCK_T_TIME_NS = 35,
    DUCK_T_HUGEINT = 50,
    DUCK_T_UUID = 54,
};

enum duck_expression_kind {
    DUCK_E_CAST = 12,
    DUCK_E_IS_NULL = 14,
    DUCK_E_NOT_NULL = 15,
    DUCK_E_EQ = 25,
    DUCK_E_LT = 27,
    DUCK_E_GT = 28,
    DUCK_E_LE = 29,
    DUCK_E_GE = 30,
    DUCK_E_IN = 35,
    DUCK_E_BETWEEN = 38,
    DUCK_E_NOT_DISTINCT = 40,
    DUCK_E_AND = 50,
    DUCK_E_OR = 51,
    DUCK_E_CONSTANT = 75,
    DUCK_E_COLUMN = 228,
};

enum { DUCK_BY_POSITION = 0, DUCK_NAMED_ONLY = 3 }; /* how a parameter is passed */
enum { DUCK_SCOPE_GLOBAL = 1 };        /* of a setting */
enum { DUCK_RESULT_ROWS = 0 };         /* shape of a result: it has rows */
enum { DUCK_VECTOR_OTHER = 0 };        /* a representation that must be flattened first */
enum { DUCK_ORDER_NONE = 0, DUCK_ORDER_INSERTION = 1 };

struct ArrowArrayStream;
struct ArrowSchema;
struct ArrowArray;

typedef void (*duck_lookup_fn)(duck_lookup, duck_context, duck_error *);
typedef void (*duck_bind_fn)(duck_call, duck_bind, duck_context, duck_error *);
typedef void (*duck_init_fn)(duck_init, duck_context, duck_error *);
typedef void (*duck_local_fn)(duck_local, duck_context, duck_error *);
typedef void (*duck_exec_fn)(duck_exec, duck_context, duck_error *);
typedef void (*duck_offer_fn)(duck_offer, duck_context, duck_error *);
typedef void (*duck_partition_fn)(duck_partition, duck_context, duck_error *);
typedef void (*duck_scalar_bind_fn)(duck_call, duck_scalar_bind, duck_context, duck_error *);

/* X(name after "duckdb_v2_", parameters) */
#define DUCK_FUNCTIONS(X)                                                                                              \
    X(library_version, (duck_str *, duck_error *))                                                                     \
    X(environment_create, (duck_environment *, duck_error *))                                                          \
    X(environment_destroy, (duck_environment *))                                                                       \
    X(instance_create_with_options, (duck_environment, const duck_str *, const duck_str *, uint64_t, duck_instance *,  \
                                     duck_error *))                                                                    \
    X(instance_attach, (duck_instance, const duck_str *, const duck_str *, void *, bool, duck_error *))                \
    X(instance_destroy, (duck_instance *))                                                                             \
    X(instance_get_config, (duck_instance, duck_config *, duck_error *))                                               \
    X(config_set_option_text, (duck_config, const duck_str *, const duck_str *, int, duck_error *))                    \
    X(connection_create, (duck_instance, duck_connection *, duck_error *))                                             \
    X(connection_destroy, (duck_connection *))                                                                         \
    X(connection_interrupt, (duck_connection, duck_error *))                                                           \
    X(connection_get_factory, (duck_connection, duck_factory *, duck_error *))                                         \
    X(error_info_get_raw_text, (duck_error, duck_str *))                                                               \
    X(error_info_set_code, (duck_error, int))                                                                          \
    X(error_info_set_text, (duck_error, const duck_str *))                                                             \
    X(error_info_destroy, (duck_error *))                                                                              \
    X(parse_sql, (duck_connection, const char *, duck_statements *, duck_error *))                                     \
    X(statement_iterator_next, (duck_statements, duck_statement *, duck_error *))                                      \
    X(statement_iterator_destroy, (duck_statements *))                                                                 \
    X(sql_statement_destroy, (duck_statement *))                                                                       \
    X(statement_execute, (duck_connection, duck_statement, const duck_str *, const duck_value *, uint64_t,             \
                          duck_result *, duck_error *))                                                                \
    X(statement_execute_arrow, (duck_connection, duck_statement, const duck_str *, const duck_value *, uint64_t,       \
                                uint64_t, duck_arrow_result *, duck_error *))                                          \
    X(arrow_result_destroy, (duck_arrow_result *))                                                                     \
    X(arrow_result_to_arrow_c_stream, (duck_arrow_result *, struct ArrowArrayStream *, duck_error *))                  \
    X(result_destroy, (duck_result *))                                                                                 \
    X(result_fetch_chunk, (duck_result, duck_chunk *, duck_error *))                                                   \
    X(result_drain, (duck_result, uint64_t *, duck_error *))                                                           \
    X(result_get_result_type, (duck_result, int *, duck_error *))                                                      \
    X(result_get_schema, (duck_result, duck_schema *, duck_error *))                                                   \
    X(schema_get_count, (duck_schema, uint64_t *, duck_error *))                                                       \
    X(schema_get_field, (duck_schema, uint64_t, duck_str *, duck_type *, duck_error *))                                \
    X(schema_destroy, (duck_schema *))                                                                                 \
    X(data_chunk_destroy, (duck_chunk *))                                                                              \
    X(data_chunk_get_size, (duck_chunk, uint64_t *, duck_error *))                                                     \
    X(data_chunk_get_vector, (duck_chunk, uint64_t, duck_vector *, duck_error *))                                      \
    X(vector_get_vector_type, (duck_vector, int *, duck_error *))                                                      \
    X(vector_flatten, (duck_vector, duck_error *))                                                                     \
    X(vector_get_view, (duck_vector, duck_view *, duck_error *))                                                       \
    X(vector_get_value, (duck_vector, uint64_t, duck_value *, duck_error *))                                           \
    X(vector_get_data_mutable, (duck_vector, void **, duck_error *))                                                   \
    X(vector_flat_get_validity_mutable, (duck_vector, uint64_t **, duck_error *))                                      \
    X(vector_set_size, (duck_vector, uint64_t, duck_error *))                                                          \
    X(vector_make_constant, (duck_vector, duck_value, uint64_t, duck_error *))                                         \
    X(logical_type_get_id, (duck_type, int *, duck_error *))                                                           \
    X(logical_type_get_param, (duck_type, uint64_t, duck_str *, duck_value *, duck_error *))                           \
    X(logical_type_to_text, (duck_type, char *, uint64_t, uint64_t *, duck_error *))                                   \
    X(logical_type_destroy, (duck_type *))                                                                             \
    X(factory_create_type_from_id, (duck_factory, int, const duck_str *, const duck_value *, uint64_t, duck_type *,    \
                                    duck_error *))                                                                     \
    X(factory_create_type_from_text, (duck_factory, const duck_str *, duck_type *, duck_error *))                      \
    X(value_destroy, (duck_value *))                                                                                   \
    X(value_is_null, (duck_value, bool *, duck_error *))                                                               \
    X(value_get_logical_type, (duck_value, duck_type *, duck_error *))                                                 \
    X(value_get_bool, (duck_value, bool *, duck_error *))                                                              \
    X(value_get_bigint, (duck_value, int64_t *, duck_error *))                                                         \
    X(value_get_hugeint, (duck_value, duck_huge *, duck_error *))                                                      \
    X(value_get_double, (duck_value, double *, duck_error *))                                                          \
    X(value_get_varchar, (duck_value, duck_str *, duck_error *))                                                       \
    X(value_get_blob, (duck_value, duck_str *, duck_error *))                                                          \
    X(value_get_date, (duck_value, int32_t *, duck_error *))                                                           \
    X(value_get_time, (duck_value, int64_t *, duck_error *))                                                           \
    X(value_get_timestamp, (duck_value, int64_t *, duck_error *))                                                      \
    X(value_get_timestamp_tz, (duck_value, int64_t *, duck_error *))                                                   \
    X(value_get_uuid, (duck_value, duck_huge *, duck_error *))                                                         \
    X(value_get_decimal, (duck_value, duck_huge *, uint8_t *, uint8_t *, duck_error *))                                \
    X(value_create_null, (duck_factory, duck_type, duck_value *, duck_error *))                                        \
    X(value_create_bool, (duck_factory, bool, duck_value *, duck_error *))                                             \
    X(value_create_int, (duck_factory, int32_t, duck_value *, duck_error *))                                           \
    X(value_create_bigint, (duck_factory, int64_t, duck_value *, duck_error *))                                        \
    X(value_create_float, (duck_factory, float, duck_value *, duck_error *))                                           \
    X(value_create_double, (duck_factory, double, duck_value *, duck_error *))                                         \
    X(value_create_varchar, (duck_factory, const duck_str *, duck_value *, duck_error *))                              \
    X(value_create_blob, (duck_factory, const duck_str *, duck_value *, duck_error *))                                 \
    X(value_create_date, (duck_factory, int32_t, duck_value *, duck_error *))                                          \
    X(value_create_time, (duck_factory, int64_t, duck_value *, duck_error *))                                          \
    X(value_create_timestamp, (duck_factory, int64_t, duck_value *, duck_error *))                                     \
    X(value_create_timestamp_tz, (duck_factory, int64_t, duck_value *, duck_error *))                                  \
    X(value_create_decimal, (duck_factory, const duck_huge *, uint8_t, uint8_t, duck_value *, duck_error *))           \
    X(value_create_uuid, (duck_factory, const duck_huge *, duck_value *, duck_error *))                                \
    X(value_cast, (duck_factory, duck_value, duck_type, duck_value *, duck_error *))                                   \
    X(value_get_child_count, (duck_value, uint64_t *, duck_error *))                                                   \
    X(value_get_child, (duck_value, uint64_t, duck_value *, duck_error *))                                             \
    X(value_to_string, (duck_value, char *, uint64_t, uint64_t *, duck_error *))                                       \
    X(qname_create, (const duck_str *, uint64_t, duck_qname *, duck_error *))                                          \
    X(qname_get_part_count, (duck_qname, uint64_t *, duck_error *))                                                    \
    X(qname_get_part, (duck_qname, uint64_t, duck_str *, duck_error *))                                                \
    X(qname_destroy, (duck_qname *))                                                                                   \
    X(replacement_scan_create, (duck_factory, duck_replacement *, duck_error *))                                       \
    X(replacement_scan_set_callback, (duck_replacement, duck_lookup_fn, duck_error *))                                 \
    X(replacement_scan_set_user_data, (duck_replacement, duck_opaque *, duck_error *))                                 \
    X(connection_register_replacement_scan, (duck_connection, duck_replacement, duck_error *))                         \
    X(replacement_scan_destroy, (duck_replacement *))                                                                  \
    X(replacement_scan_get_user_data, (duck_lookup, void **, duck_error *))                                            \
    X(replacement_scan_get_name, (duck_lookup, duck_qname *, duck_error *))                                            \
    X(replacement_scan_set_function_name, (duck_lookup, duck_qname, duck_error *))                                     \
    X(replacement_scan_add_named_argument, (duck_lookup, const duck_str *, duck_value, duck_error *))                  \
    X(replacement_scan_set_subquery, (duck_lookup, const duck_str *, duck_error *))                                    \
    X(table_function_create, (duck_factory, duck_function *, duck_error *))                                            \
    X(table_function_set_name, (duck_function, const duck_str *, duck_error *))                                        \
    X(table_function_get_signature, (duck_function, duck_signature *, duck_error *))                                   \
    X(function_signature_add_parameter, (duck_signature, const duck_str *, duck_type, duck_value, int, duck_error *))  \
    X(function_signature_set_return_type, (duck_signature, duck_type, duck_error *))                                   \
    X(table_function_set_user_data, (duck_function, duck_opaque *, duck_error *))                                      \
    X(table_function_set_bind_callback, (duck_function, duck_bind_fn, duck_error *))                                   \
    X(table_function_set_init_global_callback, (duck_function, duck_init_fn, duck_error *))                            \
    X(table_function_set_init_local_callback, (duck_function, duck_local_fn, duck_error *))                            \
    X(table_function_set_exec_callback, (duck_function, duck_exec_fn, duck_error *))                                   \
    X(table_function_set_filter_pushdown_callback, (duck_function, duck_offer_fn, duck_error *))                       \
    X(table_function_set_partition_data_callback, (duck_function, duck_partition_fn, duck_error *))                    \
    X(table_function_set_projection_pushdown, (duck_function, bool, duck_error *))                                     \
    X(connection_register_table_function, (duck_connection, duck_function, duck_error *))                              \
    X(table_function_destroy, (duck_function *))                                                                       \
    X(scalar_function_create, (duck_factory, duck_function *, duck_error *))                                           \
    X(scalar_function_set_name, (duck_function, const duck_str *, duck_error *))                                       \
    X(scalar_function_get_signature, (duck_function, duck_signature *, duck_error *))                                  \
    X(scalar_function_set_user_data, (duck_function, duck_opaque *, duck_error *))                                     \
    X(scalar_function_set_exec_callback, (duck_function, duck_exec_fn, duck_error *))                                  \
    X(scalar_function_set_init_callback, (duck_function, duck_init_fn, duck_error *))                                  \
    X(scalar_function_init_set_init_data, (duck_init, duck_opaque *, duck_error *))                                    \
    X(scalar_function_exec_get_init_data, (duck_exec, void **, duck_error *))                                          \
    X(connection_register_scalar_function, (duck_connection, duck_function, duck_error *))                             \
    X(scalar_function_destroy, (duck_function *))                                                                      \
    X(scalar_function_exec_get_user_data, (duck_exec, void **, duck_error *))                                          \
    X(scalar_function_exec_get_row_count, (duck_exec, uint64_t *, duck_error *))                                       \
    X(scalar_function_exec_get_arg, (duck_exec, uint64_t, duck_vector *, duck_error *))                                \
    X(scalar_function_exec_get_result, (duck_exec, duck_vector *, duck_error *))                                       \
    X(vector_get_arena, (duck_vector, duck_arena *, duck_error *))                                                     \
    X(arena_allocate, (duck_arena, uint64_t, uint8_t **, duck_error *))                                                \
    X(scalar_function_set_bind_callback, (duck_function, duck_scalar_bind_fn, duck_error *))                           \
    X(scalar_function_bind_set_bind_data, (duck_scalar_bind, duck_opaque *, duck_error *))                             \
    X(scalar_function_exec_get_bind_data, (duck_exec, void **, duck_error *))                                          \
    X(function_bind_get_arg_type, (duck_call, uint64_t, duck_type *, duck_error *))                                    \
    X(function_bind_get_user_data, (duck_call, void **, duck_error *))                                                 \
    X(function_bind_set_bind_data, (duck_call, duck_opaque *, duck_error *))                                           \
    X(function_bind_get_arg_value, (duck_call, uint64_t, duck_value *, duck_error *))                                  \
    X(table_function_bind_add_result_column, (duck_bind, const duck_str *, duck_type, duck_error *))                   \
    X(table_function_bind_set_cardinality, (duck_bind, uint64_t, bool, duck_error *))                                  \
    X(table_function_bind_set_order_preservation, (duck_bind, int, duck_error *))                                      \
    X(table_function_init_global_get_bind_data, (duck_init, void **, duck_error *))                                    \
    X(table_function_init_global_set_global_state, (duck_init, duck_opaque *, duck_error *))                           \
    X(table_function_init_global_set_max_threads, (duck_init, uint64_t, duck_error *))                                 \
    X(table_function_init_global_get_column_count, (duck_init, uint64_t *, duck_error *))                              \
    X(table_function_init_global_get_column_index, (duck_init, uint64_t, uint64_t *, duck_error *))                    \
    X(table_function_init_local_get_global_state, (duck_local, void **, duck_error *))                                 \
    X(table_function_init_local_set_local_state, (duck_local, duck_opaque *, duck_error *))                            \
    X(table_function_exec_get_local_state, (duck_exec, void **, duck_error *))                                         \
    X(table_function_exec_get_output_chunk, (duck_exec, duck_chunk *, duck_error *))                                   \
    X(table_function_filter_pushdown_get_bind_data, (duck_offer, void **, duck_error *))                               \
    X(table_function_filter_pushdown_get_filter_count, (duck_offer, uint64_t *, duck_error *))                         \
    X(table_function_filter_pushdown_get_filter, (duck_offer, uint64_t, duck_expression *, duck_error *))              \
    X(table_function_filter_pushdown_get_column_index, (duck_offer, uint64_t, uint64_t *, duck_error *))               \
    X(table_function_partition_data_get_local_state, (duck_partition, void **, duck_error *))                          \
    X(table_function_partition_data_set_batch_index, (duck_partition, uint64_t, duck_error *))                         \
    X(expression_get_type, (duck_expression, int *, duck_error *))                                                     \
    X(expression_get_return_type, (duck_expression, duck_type *, duck_error *))                                        \
    X(expression_get_child_count, (duck_expression, uint64_t *, duck_error *))                                         \
    X(expression_get_child, (duck_expression, uint64_t, duck_expression *, duck_error *))                              \
    X(expression_constant_get_value, (duck_expression, duck_value *, duck_error *))                                    \
    X(expression_column_ref_get_index, (duck_expression, uint64_t *, duck_error *))

/* The stable C API: v2 has no call that makes a vector of a dictionary. A vector is the same object in both. */
#define DUCK_FUNCTIONS_V1(X)                                                                                           \
    X(duck_selection, create_selection_vector, (uint64_t))                                                             \
    X(uint32_t *, selection_vector_get_data_ptr, (duck_selection))                                                     \
    X(void, slice_vector, (duck_vector, duck_selection, uint64_t))                                                     \
    X(void, destroy_selection_vector, (duck_selection))

typedef struct duck_api {
#define DUCK_X(name, params) int(*name) params;
    DUCK_FUNCTIONS(DUCK_X)
#undef DUCK_X
#define DUCK_X(type, name, params) type(*name) params;
    DUCK_FUNCTIONS_V1(DUCK_X)
#undef DUCK_X
} duck_api;

#endif
