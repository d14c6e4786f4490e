"""Lookups as the query engine spells them: as_iceberg() of Django's classes.

JSON is a string to the engine, so keys are JSON pointers (RFC 6901), which take any text without quoting.
"""

import json

from django.db.models import lookups
from django.db.models.fields import json as json_fields
from django.db.models.fields.json import (
    ContainedBy,
    DataContains,
    HasKeyLookup,
    HasKeyOrArrayIndex,
    JSONExact,
    KeyTextTransform,
    KeyTransform,
    KeyTransformExact,
    KeyTransformIn,
    KeyTransformIsNull,
)

from .functions import iceberg


def json_pointer(keys):
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def _is_index(key):
    try:
        int(key)
    except ValueError:
        return False
    return True


def _extract(lhs, params, keys, function):
    """SQL for the value at `keys` of a JSON expression; negative array indexes need a path of their own."""
    if any(_is_index(key) and int(key) < 0 for key in keys):
        path = "$" + "".join(
            f"[#{int(k)}]" if _is_index(k) and int(k) < 0 else f"[{int(k)}]" if _is_index(k) else "." + json.dumps(k, ensure_ascii=False)
            for k in keys
        )
    else:
        path = json_pointer(keys)
    return f"{function}({lhs}, %s)", (*params, path)


@iceberg(KeyTransform)
def key_transform(self, compiler, connection):
    lhs, params, keys = self.preprocess_lhs(compiler, connection)
    return _extract(lhs, params, keys, "json_extract")


@iceberg(KeyTextTransform)
def key_text_transform(self, compiler, connection):
    lhs, params, keys = self.preprocess_lhs(compiler, connection)
    return _extract(lhs, params, keys, "json_extract_string")


def _is_json(expression):
    return isinstance(getattr(expression, "_output_field_or_none", None), json_fields.JSONField)


@iceberg(HasKeyLookup)
def has_key(self, compiler, connection):
    if isinstance(self.lhs, KeyTransform):
        lhs, lhs_params, lhs_keys = self.lhs.preprocess_lhs(compiler, connection)
    else:
        lhs, lhs_params = self.process_lhs(compiler, connection)
        lhs_keys = []
    by_index = isinstance(self, HasKeyOrArrayIndex)
    rhs = self.rhs if isinstance(self.rhs, (list, tuple)) else [self.rhs]
    sql, params = [], []
    for key in rhs:
        keys = key.preprocess_lhs(compiler, connection)[2] if isinstance(key, KeyTransform) else [key]
        part, part_params = _has_key(lhs, lhs_params, [*lhs_keys, *keys], by_index)
        sql.append(part)
        params.extend(part_params)
    return self._combine_sql_parts(sql), tuple(params)


def _has_key(lhs, lhs_params, keys, by_index):
    """Whether the last key is there; an integer is an array index only `by_index`."""
    if by_index or not _is_index(keys[-1]):
        sql, params = _extract(lhs, lhs_params, keys, "json_type")
        return f"{sql} IS NOT NULL", params
    parent, params = _extract(lhs, lhs_params, keys[:-1], "json_keys") if keys[:-1] else (f"json_keys({lhs})", lhs_params)
    return f"list_contains({parent}, %s)", (*params, str(keys[-1]))


@iceberg(KeyTransformIsNull)
def key_is_null(self, compiler, connection):
    lhs, params, keys = self.lhs.preprocess_lhs(compiler, connection)
    sql, params = _extract(lhs, params, keys, "json_type")
    return f"{sql} IS {'' if self.rhs else 'NOT '}NULL", tuple(params)


@iceberg(DataContains, ContainedBy)
def contains(self, compiler, connection):
    return self.as_sql(compiler, connection)


@iceberg(JSONExact, KeyTransformExact)
def json_exact(self, compiler, connection):
    lhs, lhs_params = self.process_lhs(compiler, connection)
    rhs, rhs_params = self.process_rhs(compiler, connection)
    return f"ice_json_key({lhs}) = ice_json_key({rhs})", (*lhs_params, *rhs_params)


def _json_in_parameter(self, compiler, connection, sql, param):
    sql, params = lookups.In.resolve_expression_parameter(self, compiler, connection, sql, param)
    return f"ice_json_key({sql})", params


KeyTransformIn.resolve_expression_parameter = (
    lambda original: (
        lambda self, compiler, connection, sql, param: _json_in_parameter(self, compiler, connection, sql, param)
        if connection.vendor == "iceberg"
        else original(self, compiler, connection, sql, param)
    )
)(KeyTransformIn.resolve_expression_parameter)


@iceberg(KeyTransformIn)
def key_in(self, compiler, connection):
    clone = self.copy() if hasattr(self, "copy") else self
    return clone.as_sql(compiler, connection)
