"""Lookups as the query engine spells them: as_iceberg() of Django's classes.

JSON is a string to the engine, so keys are JSON pointers (RFC 6901), which take any text without quoting.
"""

import copy
import json

from django.db.models.expressions import RawSQL
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
from django.db.models.fields.tuple_lookups import (
    TupleExact,
    TupleGreaterThan,
    TupleGreaterThanOrEqual,
    TupleIn,
    TupleLessThan,
    TupleLessThanOrEqual,
)
from django.db.models.sql import Query

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
            f"[#{int(k)}]"
            if _is_index(k) and int(k) < 0
            else f"[{int(k)}]"
            if _is_index(k)
            else "." + json.dumps(k, ensure_ascii=False)
            for k in keys
        )
    else:
        path = json_pointer(keys)
    return f"{function}({lhs}, %s)", (*params, path)


# A row is a struct to the engine, whose NULLs are equal to each other: comparisons of rows are written out column by column.


@iceberg(TupleExact, TupleGreaterThan, TupleGreaterThanOrEqual, TupleLessThan, TupleLessThanOrEqual)
def tuple_comparison(self, compiler, connection):
    if not isinstance(self.rhs, Query):
        return self.get_fallback_sql(compiler, connection)
    names = [f"c{i}" for i in range(len(self.lhs))]
    by_column = copy.copy(self)
    by_column.rhs = tuple(RawSQL(f"ice_q.{name}", ()) for name in names)
    sql, params = by_column.get_fallback_sql(compiler, connection)
    query, query_params = self.process_rhs(compiler, connection)
    return f"(SELECT {sql} FROM {query} AS ice_q({', '.join(names)}))", (*params, *query_params)


@iceberg(TupleIn)
def tuple_in(self, compiler, connection):
    if not self.rhs_is_direct_value():
        return self.as_sql(compiler, connection)
    rows = [row for row in self.rhs if None not in row]
    if len(rows) < 2 or any(hasattr(value, "as_sql") for row in rows for value in row):
        return self.get_fallback_sql(compiler, connection)
    lhs, lhs_params = self.process_lhs(compiler, connection)
    # The engine joins them; a disjunction takes it time in the square of its length.
    sql, params = self.process_rhs(compiler, connection)
    return f"{lhs} IN (VALUES {sql[1:-1]})", (*lhs_params, *params)


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
    parent, params = (
        _extract(lhs, lhs_params, keys[:-1], "json_keys") if keys[:-1] else (f"json_keys({lhs})", lhs_params)
    )
    return f"list_contains({parent}, %s)", (*params, str(keys[-1]))


@iceberg(KeyTransformIsNull)
def key_is_null(self, compiler, connection):
    lhs, params, keys = self.lhs.preprocess_lhs(compiler, connection)
    sql, params = _extract(lhs, params, keys, "json_type")
    return f"{sql} IS {'' if self.rhs else 'NOT '}NULL", tuple(params)


@iceberg(DataContains)
def contains(self, compiler, connection):
    if not self.rhs_is_direct_value():
        lhs, lhs_params = self.process_lhs(compiler, connection)
        rhs, rhs_params = self.process_rhs(compiler, connection)
        return _contains_generic(lhs, lhs_params, rhs, rhs_params)
    lhs, lhs_params = self.process_lhs(compiler, connection)
    _, (text,) = self.process_rhs(compiler, connection)
    # The left-hand side appears once, whatever the value's depth.
    sql, params = _contains_value("ice_j", json.loads(text), top=True)
    return f"list_aggregate([({sql}) for ice_j in [CAST({lhs} AS JSON)]], 'bool_and')", (*params, *lhs_params)


@iceberg(ContainedBy)
def contained_by(self, compiler, connection):
    lhs, lhs_params = self.process_lhs(compiler, connection)
    rhs, rhs_params = self.process_rhs(compiler, connection)
    return _contains_generic(rhs, rhs_params, lhs, lhs_params)


def _contains_generic(lhs, lhs_params, rhs, rhs_params):
    return f"ice_json_contains({lhs}, {rhs})", (*lhs_params, *rhs_params)


def _contains_value(sql, value, depth=0, top=False):
    """A condition: the JSON expression `sql` contains `value` in the sense of PostgreSQL's jsonb @>."""
    if isinstance(value, dict):
        parts, params = [f"json_type({sql}) = 'OBJECT'"], []
        for key, item in value.items():
            child = f"json_extract({sql}, %s)"
            if isinstance(item, (dict, list)):
                # Bind the child to a name: its condition mentions it many times.
                name = f"ice_j{depth}"
                part, part_params = _contains_value(name, item, depth + 1)
                parts.append(f"list_aggregate([({part}) for {name} in [{child}]], 'bool_and')")
                params += [*part_params, json_pointer([key])]
            else:
                parts.append(f"ice_json_key({child}) = ice_json_key(%s)")
                params += [json_pointer([key]), json.dumps(item)]
        return " AND ".join(parts), params
    if isinstance(value, list):
        parts, params = [f"json_type({sql}) = 'ARRAY'"], []
        name = f"ice_j{depth}"
        for item in value:
            part, part_params = _contains_value(name, item, depth + 1)
            parts.append(f"len([1 for {name} in json_extract({sql}, '$[*]') if {part}]) > 0")
            params += part_params
        return " AND ".join(parts), params
    equal = f"ice_json_key({sql}) = ice_json_key(%s)"
    if not top:
        return equal, [json.dumps(value)]
    # An array contains a bare scalar that is one of its elements.
    name = f"ice_j{depth}"
    element = f"len([1 for {name} in json_extract({sql}, '$[*]') if ice_json_key({name}) = ice_json_key(%s)]) > 0"
    return f"({equal} OR {element})", [json.dumps(value)] * 2


@iceberg(JSONExact, KeyTransformExact)
def json_exact(self, compiler, connection):
    lhs, lhs_params = self.process_lhs(compiler, connection)
    rhs, rhs_params = self.process_rhs(compiler, connection)
    return f"ice_json_key({lhs}) = ice_json_key({rhs})", (*lhs_params, *rhs_params)


class _KeyIn(KeyTransformIn):
    """JSON values are compared by value, not by their text."""

    def process_lhs(self, compiler, connection, lhs=None):
        sql, params = super().process_lhs(compiler, connection, lhs)
        return f"ice_json_key({sql})", params

    def resolve_expression_parameter(self, compiler, connection, sql, param):
        sql, params = super().resolve_expression_parameter(compiler, connection, sql, param)
        return f"ice_json_key({sql})", params


@iceberg(KeyTransformIn)
def key_in(self, compiler, connection):
    if not self.rhs_is_direct_value():
        return self.as_sql(compiler, connection)
    clone = copy.copy(self)
    clone.__class__ = _KeyIn
    return clone.as_sql(compiler, connection)
