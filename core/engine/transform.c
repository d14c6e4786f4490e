/* Partition transforms as a function of SQL, so that rows are placed by the very code that metadata and pruning use:
 * ice_transform('bucket[16]', value) is the number that bucket, year, month, day and hour give. (identity and truncate
 * give values of the argument's type: SQL has them.) */
#include "engine/engine_int.h"
#include "format/transforms.h"

#include <stdlib.h>

typedef struct bound_transform {
    ice_transform transform;
    ice__reader reader; /* of the argument's type */
    uint8_t kind;
} bound_transform;

static void refuse(duck_error *slot, const char *text)
{
    duck_str s = {text, strlen(text)};
    ice__duck.error_info_set_code(*slot, DUCK_INVALID);
    ice__duck.error_info_set_text(*slot, &s);
}

static bool bind_name(duck_call call, ice_transform *out)
{
    const duck_api *d = &ice__duck;
    duck_value v = NULL;
    duck_str text = {0};
    bool ok = d->function_bind_get_arg_value(call, 0, &v, NULL) == DUCK_OK && d->value_get_varchar(v, &text, NULL) == DUCK_OK &&
              ice_transform_parse((ice_str){text.ptr, text.len}, out, NULL) == ICE_OK;
    d->value_destroy(&v);
    return ok && (out->kind == ICE_TR_BUCKET || (out->kind >= ICE_TR_YEAR && out->kind <= ICE_TR_HOUR));
}

static bool bind_type(duck_call call, bound_transform *b)
{
    duck_type type = NULL;
    ice_type source, result;
    bool ok = ice__duck.function_bind_get_arg_type(call, 1, &type, NULL) == DUCK_OK &&
              ice__reader_init(&b->reader, type, &source, NULL) == ICE_OK &&
              ice_transform_type(b->transform, source, &result, NULL) == ICE_OK;
    b->kind = source.kind;
    return ok;
}

static void on_bind(duck_call call, duck_scalar_bind info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    bound_transform *b = calloc(1, sizeof *b);
    duck_opaque data = {b, free, NULL};
    if (!b || !bind_name(call, &b->transform) || !bind_type(call, b)) {
        refuse(slot, "ice_transform takes the name of a partition transform and a value it applies to");
        free(b);
    } else if (ice__duck.scalar_function_bind_set_bind_data(info, &data, NULL) != DUCK_OK) {
        refuse(slot, "bind data refused");
        free(b);
    }
}

static ice_code run(duck_exec info, ice_error *err)
{
    ice_code rc = ICE_OK;
    void *data = NULL, *numbers = NULL;
    uint64_t count = 0, *validity = NULL;
    duck_vector out = NULL;
    ICE_DUCK(NULL, scalar_function_exec_get_bind_data(info, &data, &de_));
    const bound_transform *b = data;
    ice__reader reader = b->reader;
    ICE_DUCK(NULL, scalar_function_exec_get_row_count(info, &count, &de_));
    ICE_DUCK(NULL, scalar_function_exec_get_arg(info, 1, &reader.vector, &de_));
    ICE_DUCK(NULL, scalar_function_exec_get_result(info, &out, &de_));
    ICE_TRY(ice__reader_open(NULL, &reader, err));
    ICE_DUCK(NULL, vector_set_size(out, count, &de_));
    ICE_DUCK(NULL, vector_get_data_mutable(out, &numbers, &de_));
    for (uint64_t i = 0; i < count; i++) {
        ice_value v, n;
        ice__reader_value(&reader, b->kind, i, &v);
        ICE_TRY(ice_transform_apply(b->transform, &v, &n, err));
        ((int64_t *)numbers)[i] = n.null ? 0 : n.i;
        if (n.null && !validity)
            ICE_DUCK(NULL, vector_flat_get_validity_mutable(out, &validity, &de_));
        if (n.null)
            validity[i >> 6] &= ~(UINT64_C(1) << (i & 63));
    }
out:
    return rc;
}

static void on_run(duck_exec info, duck_context ctx, duck_error *slot)
{
    (void)ctx;
    ice_error err = {0};
    if (run(info, &err) != ICE_OK)
        refuse(slot, err.message);
}

static ice_code describe(ice_engine *e, duck_function f, duck_type text, duck_type any, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_str name = {"ice_transform", 13}, first = {"transform", 9}, second = {"value", 5};
    duck_signature sig = NULL;
    ICE_DUCK(NULL, scalar_function_set_name(f, &name, &de_));
    ICE_DUCK(NULL, scalar_function_get_signature(f, &sig, &de_));
    ICE_DUCK(NULL, function_signature_add_parameter(sig, &first, text, NULL, DUCK_BY_POSITION, &de_));
    ICE_DUCK(NULL, function_signature_add_parameter(sig, &second, any, NULL, DUCK_BY_POSITION, &de_));
    ICE_DUCK(NULL,
             function_signature_set_return_type(sig, ice__duck_type(e, (ice_type){.kind = ICE_T_LONG}), &de_));
    ICE_DUCK(NULL, scalar_function_set_bind_callback(f, on_bind, &de_));
    ICE_DUCK(NULL, scalar_function_set_exec_callback(f, on_run, &de_));
    ICE_DUCK(NULL, connection_register_scalar_function(e->setup, f, &de_));
out:
    return rc;
}

ice_code ice__transform_register(ice_engine *e, ice_error *err)
{
    ice_code rc = ICE_OK;
    duck_function f = NULL;
    duck_type any = NULL;
    ICE_DUCK(NULL, factory_create_type_from_id(e->factory, DUCK_T_ANY, NULL, NULL, 0, &any, &de_));
    ICE_DUCK(NULL, scalar_function_create(e->factory, &f, &de_));
    ICE_TRY(describe(e, f, ice__duck_type(e, (ice_type){.kind = ICE_T_STRING}), any, err));
out:
    ice__duck.scalar_function_destroy(&f);
    ice__duck.logical_type_destroy(&any);
    return rc;
}
