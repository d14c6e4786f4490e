"""Querysets as Arrow tables and Polars frames, without a row of Python objects."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connections, models

from .backend.operations import INTEGER_FIELDS
from .instant import PRESENT
from .timetravel import _iceberg_connection, translate_error

if TYPE_CHECKING:
    import polars
    import pyarrow

__all__ = ["to_arrow", "to_polars"]


class Selection:
    """A queryset as one SELECT: its SQL, parameters, and name and field of each column."""

    def __init__(self, queryset):
        self.alias = queryset.db
        _iceberg_connection(self.alias)
        if issubclass(queryset._iterable_class, models.query.ModelIterable):
            queryset = _all_fields(queryset)
        compiler = queryset.query.get_compiler(using=self.alias)
        try:
            self.sql, self.params = compiler.as_sql()
        except EmptyResultSet:
            # No row can match: the statement is wanted all the same, for the columns' types.
            compiler = queryset.query.get_compiler(using=self.alias, elide_empty=False)
            self.sql, self.params = compiler.as_sql()
        # Where the statement is read: its parts may be of several instants.
        self.instant = compiler.read_instant
        query = queryset.query
        selected = getattr(query, "selected", None)
        names = list(selected) if selected else [*query.extra_select, *query.values_select, *query.annotation_select]
        columns = [expression for expression, *_ in compiler.select]
        if len(names) != len(columns):
            # select_related and the like: what the compiler selects decides.
            names = [
                alias or getattr(getattr(e, "target", None), "attname", f"column{i}")
                for i, (e, _, alias) in enumerate(compiler.select)
            ]
        self.names = _unique(names)
        self.fields = [getattr(column, "_output_field_or_none", None) for column in columns]

    @property
    def is_present(self):
        """Whether it reads anything as of now."""
        return self.instant is None or self.instant is PRESENT

    def stream(self, sql=None, params=None, instant=None):
        """An object with __arrow_c_stream__, read by one statement."""
        connection = connections[str(self.alias)]
        before, connection.read_instant = connection.read_instant, self.instant if instant is None else instant
        try:
            with connection.cursor() as cursor:
                return cursor.execute_arrow(self.sql if sql is None else sql, self.params if params is None else params)
        except Exception as err:
            translate_error(err)
            raise
        finally:
            connection.read_instant = before


def _all_fields(queryset):
    query = queryset.query
    names, defer = query.deferred_loading
    fields = [f.attname for f in queryset.model._meta.concrete_fields]
    if names:
        keep = {f.attname for f in queryset.model._meta.concrete_fields if (f.name in names) != defer or f.primary_key}
        fields = [f for f in fields if f in keep]
    return queryset.select_related(None).values(*fields, *query.extra_select, *query.annotation_select)


def _unique(names):
    seen, result = {}, []
    for name in names:
        count = seen[name] = seen.get(name, 0) + 1
        result.append(name if count == 1 else f"{name}_{count}")
    return result


def _require(module, package):
    try:
        return __import__(module)
    except ImportError as err:
        raise ImportError(f"{package} is not installed: python -m pip install {package}") from err


def to_arrow(queryset: models.QuerySet[Any]) -> pyarrow.Table:
    """The queryset's rows as a pyarrow.Table; a column for each concrete field (or value) and annotation."""
    pa = _require("pyarrow", "pyarrow")
    return _arrow_table(pa, Selection(queryset))


def _arrow_table(pa, selection):
    table = pa.table(selection.stream()).rename_columns(selection.names)
    for i, field in enumerate(selection.fields):
        target = _arrow_type(pa, field, table.schema.field(i).type)
        if target is not None:
            table = table.set_column(i, table.schema.names[i], table.column(i).cast(target))
    return table


def _arrow_type(pa, field, found):
    """The Arrow type a field's column should have, where the engine gives another."""
    internal_type = field.get_internal_type() if field is not None else None
    if internal_type == "DurationField":
        return pa.duration("us")
    if internal_type in INTEGER_FIELDS and pa.types.is_decimal(found):
        return pa.int64()
    if internal_type == "DateTimeField" and pa.types.is_timestamp(found) and found.tz not in (None, "UTC"):
        return pa.timestamp("us", "UTC")
    return None


@overload
def to_polars(queryset: models.QuerySet[Any], *, lazy: Literal[False] = False) -> polars.DataFrame: ...


@overload
def to_polars(queryset: models.QuerySet[Any], *, lazy: Literal[True]) -> polars.LazyFrame: ...


def to_polars(queryset: models.QuerySet[Any], *, lazy: bool = False) -> polars.DataFrame | polars.LazyFrame:
    """The queryset's rows as a polars.DataFrame.

    `lazy`: a LazyFrame whose projections, filters and limit become part of the SQL. It reads rows
    as of the moment it was made, or of the queryset's own instant, however late and often it is collected.
    Within a transaction a queryset of the present is read at once: nobody can read later what it sees now.
    """
    pl = _require("polars", "polars")
    selection = Selection(queryset)
    if lazy and not (selection.is_present and _in_transaction(selection.alias)):
        return _lazy_frame(pl, selection)
    frame = _typed(pl, pl.DataFrame(selection.stream()), selection.names, selection.fields)
    return frame.lazy() if lazy else frame


def _in_transaction(alias):
    connection = connections[str(alias)]
    return connection.in_atomic_block or not connection.get_autocommit()


def _typed(pl, frame, names, fields):
    frame.columns = list(names)
    casts = []
    for name, field in zip(names, fields, strict=True):
        internal_type = field.get_internal_type() if field is not None else None
        column, dtype = pl.col(name), frame.schema[name]
        if internal_type == "DurationField":
            casts.append(column.cast(pl.Int64).cast(pl.Duration("us")))
        elif internal_type in INTEGER_FIELDS and isinstance(dtype, pl.Decimal):
            casts.append(column.cast(pl.Int64))
        elif internal_type == "UUIDField" and dtype != pl.String:
            casts.append(pl.Series(name, [_uuid_text(v) for v in frame[name]], dtype=pl.String))
        elif isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
            if not settings.USE_TZ:
                casts.append(column.dt.convert_time_zone(settings.TIME_ZONE).dt.replace_time_zone(None))
            elif dtype.time_zone != "UTC":
                casts.append(column.dt.convert_time_zone("UTC"))
    return frame.with_columns(casts) if casts else frame


def _uuid_text(value):
    import uuid

    if value is None:
        return None
    return str(uuid.UUID(bytes=value) if isinstance(value, bytes) else value)


# Lazy frames


def _lazy_frame(pl, selection):
    from polars.io.plugins import register_io_source

    instant = selection.instant
    if selection.is_present:
        instant = _iceberg_connection(selection.alias).commit_time_now()
    source = LazySource(pl, selection, instant)
    return register_io_source(source, schema=source.schema(), validate_schema=False, is_pure=True)


class LazySource:
    """The IO source of a LazyFrame: called by Polars with what it needs of the rows."""

    def __init__(self, pl, selection, instant):
        self.pl = pl
        self.selection = selection
        self.instant = instant
        self.thread = threading.get_ident()
        self._fields = dict(zip(selection.names, selection.fields, strict=True))

    def schema(self):
        return self._read(self.selection.names, "", [], 0).schema

    def __call__(self, with_columns, predicate, n_rows, batch_size):
        names = [n for n in self.selection.names if with_columns is None or n in with_columns]
        needed = names
        condition, params, exact = "", [], predicate is None
        if predicate is not None:
            roots = set(predicate.meta.root_names())
            needed = [n for n in self.selection.names if n in names or n in roots]
            condition, params, exact = Predicate(self.pl, self._fields, self.quote).where(predicate)
        frame = self._read(needed, condition, params, n_rows if exact else None)
        if predicate is not None:
            frame = frame.filter(predicate)
        frame = frame.select(names)
        yield frame if n_rows is None else frame.head(n_rows)

    @property
    def quote(self):
        return connections[str(self.selection.alias)].ops.quote_name

    def _read(self, names, condition, params, limit):
        """Rows of the selection, narrowed by SQL."""
        quote = self.quote
        # The source's own column names; those of joined tables may repeat.
        columns = ", ".join(quote(f"c{i}") for i in range(len(self.selection.names)))
        chosen = ", ".join(f"{quote(f'c{self.selection.names.index(n)}')} AS {quote(n)}" for n in names) or "1"
        for i, name in reversed(list(enumerate(self.selection.names))):
            condition = condition.replace(f"\0{name}\0", quote(f"c{i}"))
        sql = f"SELECT {chosen} FROM ({self.selection.sql}) AS ice_q({columns})"
        sql += f" WHERE {condition}" if condition else ""
        sql += f" LIMIT {int(limit)}" if limit is not None else ""
        try:
            stream = self.selection.stream(sql, (*self.selection.params, *params), self.instant)
            frame = self.pl.DataFrame(stream)
        finally:
            if threading.get_ident() != self.thread:
                # A worker thread of Polars has a connection of its own, which nobody else would close.
                connections[str(self.selection.alias)].close()
        if not names:
            return frame.select([])
        return _typed(self.pl, frame, names, [self._fields[n] for n in names])


class Predicate:
    """Translates a Polars filter to SQL, as much of it as has the same meaning there.

    The frame is filtered by Polars again afterwards, so a part that is left out only costs rows read.
    """

    COMPARISONS: ClassVar = {"Eq": "=", "NotEq": "<>", "Lt": "<", "LtEq": "<=", "Gt": ">", "GtEq": ">="}
    # Types whose values compare in SQL as they do in Polars.
    PLAIN = INTEGER_FIELDS | {
        "BooleanField",
        "CharField",
        "DateField",
        "FloatField",
        "SlugField",
        "TextField",
    }

    def __init__(self, pl, fields, quote):
        self.pl = pl
        self.fields = fields
        self.quote = quote

    def where(self, predicate):
        """(SQL, parameters, whether it is the whole predicate)."""
        import json
        import warnings

        pl_error = self.pl.exceptions.PolarsError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = json.loads(predicate.meta.serialize(format="json"))
            except (pl_error, TypeError, ValueError):
                # The format is not a public one: without it nothing is pushed down.
                return "", [], False
        sql, params, exact = self._condition(tree)
        return sql or "", params, exact and sql is not None

    def _condition(self, node):
        """(SQL or None, parameters, exact). Without `exact` the SQL admits more rows than the predicate."""
        nothing = None, [], False
        if not isinstance(node, dict) or len(node) != 1:
            return nothing
        ((kind, body),) = node.items()
        if kind == "BinaryExpr":
            op = body.get("op")
            if op in ("And", "LogicalAnd"):
                return self._and(body)
            if op in ("Or", "LogicalOr"):
                left, right = self._condition(body["left"]), self._condition(body["right"])
                if left[0] is None or right[0] is None:
                    return nothing
                return f"({left[0]} OR {right[0]})", left[1] + right[1], left[2] and right[2]
            if op in self.COMPARISONS:
                return self._compare(self.COMPARISONS[op], body["left"], body["right"])
        if kind == "Function":
            return self._function(body)
        return nothing

    def _and(self, body):
        parts = [part for part in (self._condition(body["left"]), self._condition(body["right"])) if part[0]]
        if not parts:
            return None, [], False
        exact = len(parts) == 2 and all(part[2] for part in parts)
        return "(" + " AND ".join(p[0] for p in parts) + ")", [v for p in parts for v in p[1]], exact

    def _column(self, node):
        name = node.get("Column") if isinstance(node, dict) else None
        field = self.fields.get(name)
        if field is None or field.get_internal_type() not in self.PLAIN:
            return None
        return f"\0{name}\0"

    def _literal(self, node):
        """(whether it is a literal that may be sent, its value)."""
        if not isinstance(node, dict) or "Literal" not in node:
            return False, None
        value = node["Literal"]
        while isinstance(value, dict) and len(value) == 1:
            ((kind, value),) = value.items()
            if kind in ("Date", "Datetime", "Time", "Duration", "Binary", "Decimal", "Series", "Null"):
                return (True, _date(value)) if kind == "Date" and isinstance(value, int) else (False, None)
        return isinstance(value, (bool, int, float, str)), value

    def _compare(self, operator, left, right):
        column, (is_literal, value) = self._column(left), self._literal(right)
        if column is None:
            mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
            column, (is_literal, value) = self._column(right), self._literal(left)
            operator = mirrored.get(operator, operator)
        if column is None or not is_literal:
            return None, [], False
        return f"{column} {operator} %s", [value], True

    def _function(self, body):
        function = body.get("function")
        inputs = body.get("input") or []
        name = function.get("Boolean") if isinstance(function, dict) else None
        column = self._column(inputs[0]) if inputs else None
        if column is None:
            return None, [], False
        if name == "IsNull":
            return f"{column} IS NULL", [], True
        if name == "IsNotNull":
            return f"{column} IS NOT NULL", [], True
        return None, [], False


def _date(days):
    import datetime

    return datetime.date(1970, 1, 1) + datetime.timedelta(days=days)
