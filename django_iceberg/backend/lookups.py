"""Lookups as the query engine spells them: as_iceberg() of Django's classes.

JSON is a string to the engine. What its functions answer otherwise than PostgreSQL's jsonb the core's own do: ice_json_key()
compares, groups and orders, ice_json_contains() is @>, ice_json_has() is ?.
"""

import copy
import itertools
import json
import re

from django.db.models.expressions import ExpressionList, RawSQL, Value
from django.db.models.fields import TextField
from django.db.models.fields.json import (
    ContainedBy,
    DataContains,
    HasKeyLookup,
    JSONExact,
    KeyTextTransform,
    KeyTransform,
    KeyTransformExact,
    KeyTransformGt,
    KeyTransformGte,
    KeyTransformIn,
    KeyTransformIsNull,
    KeyTransformLt,
    KeyTransformLte,
)
from django.db.models.fields.tuple_lookups import (
    TupleExact,
    TupleGreaterThan,
    TupleGreaterThanOrEqual,
    TupleIn,
    TupleLessThan,
    TupleLessThanOrEqual,
)
from django.db.models.lookups import GreaterThan, GreaterThanOrEqual, In, LessThan, LessThanOrEqual, Range
from django.db.models.sql import Query

from .functions import field_of, iceberg, inet_key, json_key


@iceberg(GreaterThan, GreaterThanOrEqual, In, LessThan, LessThanOrEqual, Range)
def compare(self, compiler, connection):
    """By what orders the values, where the engine has them as text."""
    field = field_of(self.lhs)
    kind = None if field is None else field.get_internal_type()
    if kind == "JSONField" and isinstance(self, In) and isinstance(self.rhs, Query):
        return json_in_query(self, compiler, connection)
    if kind not in ("GenericIPAddressField", "JSONField") or isinstance(self.rhs, Query):
        return self.as_sql(compiler, connection)
    function = inet_key if kind == "GenericIPAddressField" else json_key

    def key(value):
        if not hasattr(value, "resolve_expression"):
            # As text: JSON values that Python takes for equal may not be.
            value = Value(field.get_db_prep_value(value, connection), output_field=TextField())
        return function(value)

    if isinstance(self, (In, Range)):
        values = self.rhs.get_source_expressions() if isinstance(self.rhs, ExpressionList) else self.rhs
        rhs = [key(value) for value in values if value is not None]
    else:
        rhs = key(self.rhs)
    return type(self)(key(self.lhs), rhs).as_sql(compiler, connection)


def json_in_query(lookup, compiler, connection):
    lhs, lhs_params = lookup.process_lhs(compiler, connection)
    rhs, rhs_params = lookup.process_rhs(compiler, connection)
    sql = f"ice_json_key({lhs}) IN (SELECT ice_json_key(ice_q.j) FROM {rhs} AS ice_q(j))"
    return sql, (*lhs_params, *rhs_params)


# What a JSON path cannot say, even in quotes. A JSON pointer (RFC 6901) can.
_unsayable_re = re.compile(r"[\x00-\x1f*]|^$")


def _path_step(key, alone):
    """A key as a step of a JSON path; None where it must be a pointer's.

    As in PostgreSQL an integer alone is an index of an array; among other keys it is that or a key of an object.
    """
    try:
        index = int(key)
    except ValueError:
        return None if _unsayable_re.search(key) else "." + json.dumps(key, ensure_ascii=False)
    if index < 0:
        return f"[#{index}]"
    return f"[{index}]" if alone else None


def json_paths(keys):
    """Paths and pointers that lead, one after the other, to the value at `keys`."""
    keys = [str(key) for key in keys]
    steps = [(key, _path_step(key, len(keys) == 1)) for key in keys]
    for is_pointer, run in itertools.groupby(steps, lambda step: step[1] is None):
        if is_pointer:
            yield "".join("/" + key.replace("~", "~0").replace("/", "~1") for key, _ in run)
        else:
            yield "$" + "".join(step for _, step in run)


def _extract(lhs, params, keys, function):
    """SQL for the value at `keys` of a JSON expression, as `function` gives it."""
    *outer, last = json_paths(keys)
    for path in outer:
        lhs, params = f"json_extract({lhs}, %s)", (*params, path)
    return f"{function}({lhs}, %s)", (*params, last)


# A row is a struct to the engine, whose NULLs are equal to each other: comparisons of rows are written out column by column.


@iceberg(TupleExact, TupleGreaterThan, TupleGreaterThanOrEqual, TupleLessThan, TupleLessThanOrEqual)
def tuple_comparison(self, compiler, connection):
    if not connection.features.supports_tuple_lookups and not isinstance(self, TupleExact):
        return self.as_sql(compiler, connection)  # Django's tests turn it off
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
    sql, params = _extract(lhs, params, keys, "json_extract")
    return f"ice_json_unquoted(NULLIF({sql}, 'null'))", params


@iceberg(HasKeyLookup)
def has_key(self, compiler, connection):
    sql, params = [], []
    for key in self.rhs if isinstance(self.rhs, (list, tuple)) else [self.rhs]:
        lhs = self.lhs
        if isinstance(key, KeyTransform):
            *outer, key = key.preprocess_lhs(compiler, connection)[2]
            for name in outer:
                lhs = KeyTransform(name, lhs)
        lhs_sql, lhs_params = self.process_lhs(compiler, connection, lhs)
        sql.append(f"ice_json_has({lhs_sql}, %s)")
        params += [*lhs_params, str(key)]
    return self._combine_sql_parts(sql), tuple(params)


@iceberg(KeyTransformIsNull)
def key_is_null(self, compiler, connection):
    lhs, params, keys = self.lhs.preprocess_lhs(compiler, connection)
    sql, params = _extract(lhs, params, keys, "json_type")
    return f"{sql} IS {'' if self.rhs else 'NOT '}NULL", tuple(params)


@iceberg(DataContains)
def contains(self, compiler, connection):
    lhs, lhs_params = self.process_lhs(compiler, connection)
    rhs, rhs_params = self.process_rhs(compiler, connection)
    return f"ice_json_contains({lhs}, {rhs})", (*lhs_params, *rhs_params)


@iceberg(ContainedBy)
def contained_by(self, compiler, connection):
    lhs, lhs_params = self.process_lhs(compiler, connection)
    rhs, rhs_params = self.process_rhs(compiler, connection)
    return f"ice_json_contains({rhs}, {lhs})", (*rhs_params, *lhs_params)


@iceberg(JSONExact, KeyTransformExact, KeyTransformLt, KeyTransformLte, KeyTransformGt, KeyTransformGte)
def json_comparison(self, compiler, connection):
    lhs, lhs_params = self.process_lhs(compiler, connection)
    rhs, rhs_params = self.process_rhs(compiler, connection)
    operator = connection.operators[self.lookup_name].replace("%s", f"ice_json_key({rhs})")
    return f"ice_json_key({lhs}) {operator}", (*lhs_params, *rhs_params)


class _KeyIn(KeyTransformIn):
    """JSON values are compared by value, not by their text."""

    def process_lhs(self, *args, **kwargs):
        sql, params = super().process_lhs(*args, **kwargs)
        return f"ice_json_key({sql})", params

    def resolve_expression_parameter(self, compiler, connection, sql, param):
        sql, params = super().resolve_expression_parameter(compiler, connection, sql, param)
        return f"ice_json_key({sql})", params


@iceberg(KeyTransformIn)
def key_in(self, compiler, connection):
    if isinstance(self.rhs, Query):
        return json_in_query(self, compiler, connection)
    if not self.rhs_is_direct_value() and not isinstance(self.rhs, ExpressionList):
        return self.as_sql(compiler, connection)
    clone = copy.copy(self)
    clone.__class__ = _KeyIn
    return clone.as_sql(compiler, connection)
