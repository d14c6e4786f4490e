import re

from django.db import NotSupportedError
from django.db.models.expressions import Col, RawSQL
from django.db.models.fields.json import JSONField
from django.db.models.sql import compiler
from django.db.models.sql.where import ExtraWhere
from django.utils.regex_helper import _lazy_re_compile

from ..instant import PRESENT, current_instant, instant_of, instant_text
from .functions import is_json, json_key

# A query within raw SQL, whose tables nobody but the database knows.
_raw_query_re = _lazy_re_compile(r"\b(?:select|from|table)\b", re.IGNORECASE)


class Statement:
    """What the compilers of one statement share.

    `instant`: the one the core is told, at which tables are read by their plain names; None: the present. `mixed`: a
    part of the statement is read at another.
    """

    __slots__ = ("instant", "mixed")

    def __init__(self, instant):
        self.instant = instant
        self.mixed = False


class PastMixin:
    """Compiles for `using`; an alias that carries an instant makes the statement read there.

    A statement whose parts are read at several instants is one of the present, in which the tables of the past have
    names that say so. While one is compiled `connection.compiling` is the statement and the instant of the part.
    """

    # Instant at which the statement compiled last is to run.
    read_instant = None
    _executes = False

    def as_sql(self, *args, **kwargs):
        outer = self.connection.compiling
        if outer is None:
            return self._statement_as_sql(args, kwargs)
        statement, instant = outer
        return self._part_as_sql(statement, self._own_instant(instant), args, kwargs)

    def _own_instant(self, around):
        """The query's own instant, else that of the query around it."""
        instant = vars(self.query).get("instant", around)
        return current_instant() if instant is None else instant

    def _statement_as_sql(self, args, kwargs):
        if self.using is None:
            # Within a statement of another compiler: a write.
            statement, instant = Statement(None), self._own_instant(None)
        else:
            instant = instant_of(self.using)
            if instant is None:
                instant = self._own_instant(None)
            statement = Statement(instant)
        sql = self._part_as_sql(statement, instant, args, kwargs)
        if statement.mixed and statement.instant is not None:
            sql = self._part_as_sql(Statement(None), instant, args, kwargs)
        self.read_instant = PRESENT if statement.mixed else statement.instant
        if self._executes:
            self.connection.read_instant = self.read_instant
        return sql

    def _part_as_sql(self, statement, instant, args, kwargs):
        connection = self.connection
        before, connection.compiling = connection.compiling, (statement, instant)
        if instant != statement.instant:
            statement.mixed = True
        try:
            return super().as_sql(*args, **kwargs)
        finally:
            connection.compiling = before

    @property
    def named_instant(self):
        """The instant that the part being compiled has to name at each of its tables, or None."""
        statement, instant = self.connection.compiling or (None, None)
        return None if statement is None or instant == statement.instant else instant

    def execute_sql(self, *args, **kwargs):
        if self.query.select_for_update and instant_of(self.using) is not None:
            from ..timetravel import PastError

            raise PastError("select_for_update() cannot lock rows of the past.")
        connection = self.connection
        before = connection.read_instant, connection.compiling
        connection.compiling = None
        self._executes = True
        try:
            return super().execute_sql(*args, **kwargs)
        except Exception as err:
            from ..timetravel import translate_error

            translate_error(err)
            raise
        finally:
            connection.read_instant, connection.compiling = before


class WriteMixin:
    """Writes have no instant: the past cannot be written."""

    def _refuse_past(self):
        if instant_of(self.using) is not None or current_instant() is not None:
            from ..timetravel import PastError

            raise PastError(
                f"Cannot write {self.query.model._meta.label}: this is its past"
                " (an as_of() queryset, an instance read through one, or a time travel block)."
            )

    def execute_sql(self, *args, **kwargs):
        self._refuse_past()
        return super().execute_sql(*args, **kwargs)

    def execute_returning_sql(self, *args, **kwargs):
        self._refuse_past()
        return super().execute_returning_sql(*args, **kwargs)


def _raw_as_iceberg(self, compiler, connection, **context):
    sql, params = self.as_sql(compiler, connection, **context)
    instant = getattr(compiler, "named_instant", None)
    if instant is not None and _raw_query_re.search(sql):
        raise NotSupportedError(
            f"Raw SQL with a query of its own cannot be read as of {instant_text(instant)} within a query that also"
            f" reads another instant: {sql!r}"
        )
    return sql, params


# Django's classes have no other place for what a vendor does differently.
RawSQL.as_iceberg = _raw_as_iceberg
ExtraWhere.as_iceberg = _raw_as_iceberg


_placeholder_re = _lazy_re_compile("%%|%s")


def _in_function(function, select, wanted):
    """Columns of a SELECT list, those that are `wanted` as arguments of a function."""
    return [
        (e, (f"{function}({sql})", params), alias) if wanted(e) else (e, (sql, params), alias)
        for e, (sql, params), alias in select
    ]


class JSONMixin:
    """Rows are the same where their documents are, whatever the text of these.

    DISTINCT and GROUP BY take ice_json_key(). The document itself is then one of those of the group. Set operations
    take the text that equal ones have in common.
    """

    # Whether the query is part of a set operation that compares rows.
    _compared = False

    def get_group_by(self, select, order_by):
        self._json_groups = ()
        return super().get_group_by(select, order_by)

    def collapse_group_by(self, expressions, having):
        expressions = super().collapse_group_by(expressions, having)
        # Beside its table's key a document makes no other groups.
        keyed = {e.alias for e in expressions if isinstance(e, Col) and e.target.primary_key}
        found = [e for e in expressions if is_json(e) and not (isinstance(e, Col) and e.alias in keyed)]
        self._json_groups = found
        return [json_key(e) if e in found else e for e in expressions] if found else expressions

    def pre_sql_setup(self, *args, **kwargs):
        extra_select, order_by, group_by = super().pre_sql_setup(*args, **kwargs)
        if self._json_groups:
            grouped = self._json_groups.__contains__
            self.select = _in_function("ANY_VALUE", self.select, grouped)
            extra_select = _in_function("ANY_VALUE", extra_select, grouped)
        if self._compared:
            self.select = _in_function("ice_json_normal", self.select, is_json)
        self._extra_select = extra_select
        return extra_select, order_by, group_by

    def get_distinct(self):
        fields, params = super().get_distinct()
        names = self.query.distinct_fields
        if len(names) == len(fields):
            fields = [
                f"ice_json_key({sql})" if self._names_json(name) else sql
                for name, sql in zip(names, fields, strict=True)
            ]
        if not names and self.query.distinct and any(is_json(e) for e, _, _ in self.select):
            # What is selected for the sake of ORDER BY is a key already.
            select = [*_in_function("ice_json_key", self.select, is_json), *self._extra_select]
            fields = [sql for _, (sql, _), _ in select]
            params = [part for _, (_, part), _ in select]
        return fields, params

    def _names_json(self, name):
        """Is a field of distinct() a document, or a part of one?"""
        if name in self.query.annotation_select:
            return is_json(self.query.annotation_select[name])
        final_field = self.query.names_to_path(name.split("__"), self.query.get_meta(), fail_on_missing=False)[1]
        return isinstance(final_field, JSONField)

    def _get_combinator_part_sql(self, part):
        part._compared = self._compared or self.query.combinator != "union" or not self.query.combinator_all
        return super()._get_combinator_part_sql(part)


class SQLCompiler(JSONMixin, PastMixin, compiler.SQLCompiler):
    _group_by_has_params = False

    def get_group_by(self, select, order_by):
        expressions = super().get_group_by(select, order_by)
        self._group_by_has_params = any(params for _, params in expressions)
        return expressions

    def pre_sql_setup(self, *args, **kwargs):
        extra_select, order_by, group_by = super().pre_sql_setup(*args, **kwargs)
        if self.query.distinct_fields:
            order_by = [*(order_by or self._distinct_order()), *self._key_order()]
        elif self.query.combinator == "union" and not (self.query.combinator_all or order_by or self.query.subquery):
            order_by = [self._order(str(i + 1)) for i in range(len(self.select))]
        elif group_by and self.query.is_sliced and not (order_by or self.query.combinator):
            order_by = [self._order(*expression) for expression in group_by]
        return extra_select, order_by, group_by

    # PostgreSQL sorts for DISTINCT ON, mostly for UNION and GROUP BY, and takes the first row stored. The engine hashes: without an
    # order the rows, and which of several are taken, change from run to run.

    def get_from_clause(self):
        instant = self.named_instant
        if instant is None:
            return super().get_from_clause()
        tables = [self.query.alias_map[alias] for alias, count in self.query.alias_refcount.items() if count]
        clauses, params = super().get_from_clause()
        if len(clauses) != len(tables):
            raise NotSupportedError(
                f"extra(tables=...) cannot be read as of {instant_text(instant)} within a query that also reads another"
                " instant."
            )
        return [self._as_of(instant, *pair) for pair in zip(tables, clauses, strict=True)], params

    def _as_of(self, instant, table, clause):
        """The clause of a table in FROM, with the table as of an instant under the same alias."""
        quote = self.connection.ops.quote_name
        name = quote(table.table_name)
        join = f"{table.join_type} " if table.join_type else ""
        if not clause.startswith(join + name):
            raise NotSupportedError(
                f"{clause!r} cannot be read as of {instant_text(instant)} within a query that also reads another instant."
            )
        alias = f" {name}" if table.table_alias == table.table_name else ""
        past = quote(f"{table.table_name}__as_of_{max(instant, 0)}")
        return join + past + alias + clause[len(join + name) :]

    def execute_sql(self, *args, **kwargs):
        query = self.query
        if query.combinator == "union" and query.default_cols:
            instants = {part.__dict__.get("instant") for part in query.combined_queries}
            if len(instants) > 1:
                texts = sorted(map(instant_text, instants))
                raise NotSupportedError(
                    f"A union of model instances as of different instants ({', '.join(texts)}) could not say which are of"
                    " the past: ask for values()."
                )
        return super().execute_sql(*args, **kwargs)

    @staticmethod
    def _order(sql, params=()):
        return None, (sql, params, False)

    def _distinct_order(self):
        expressions, params = compiler.SQLCompiler.get_distinct(self)
        # Names of annotations have no entry among the parameters.
        names = {self.connection.ops.quote_name(name) for name in self.query.annotation_select}
        params = iter(params)
        return [self._order(sql, () if sql in names else next(params)) for sql in expressions]

    def _key_order(self):
        alias = self.query.get_initial_alias()
        meta = self.query.get_meta()
        fields = getattr(meta, "pk_fields", [meta.pk])
        return [self._order(*self.compile(field.get_col(alias))) for field in fields]

    def as_sql(self, *args, **kwargs):
        sql, params = super().as_sql(*args, **kwargs)
        if self._group_by_has_params and params:
            # Two parameters are different expressions to the engine even where their values are equal, so an
            # expression of the select list would not be recognised in GROUP BY. Literals are.
            values = iter(params)
            quote = self.connection.ops.quote_value

            def literal(match):
                return "%%" if match[0] == "%%" else quote(next(values)).replace("%", "%%")

            sql, params = _placeholder_re.sub(literal, sql), ()
        return sql, params

    def explain_query(self):
        # A row is the name of the plan and its text.
        for rows in self.execute_sql():
            for _, plan in rows:
                yield plan


class SQLInsertCompiler(WriteMixin, compiler.SQLInsertCompiler):
    pass


class SQLDeleteCompiler(WriteMixin, compiler.SQLDeleteCompiler):
    pass


class SQLUpdateCompiler(WriteMixin, compiler.SQLUpdateCompiler):
    pass


class SQLAggregateCompiler(PastMixin, compiler.SQLAggregateCompiler):
    pass
