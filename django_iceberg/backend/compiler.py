from django.db.models.sql import compiler
from django.utils.regex_helper import _lazy_re_compile

from ..instant import current_instant, instant_of


class PastMixin:
    """Compiles for `using`; an alias that carries an instant makes the statement read there."""

    def execute_sql(self, *args, **kwargs):
        instant = instant_of(self.using)
        if instant is None:
            return super().execute_sql(*args, **kwargs)
        if self.query.select_for_update:
            from ..timetravel import PastError

            raise PastError("select_for_update() cannot lock rows of the past.")
        connection = self.connection
        before, connection.read_instant = connection.read_instant, instant
        try:
            return super().execute_sql(*args, **kwargs)
        except connection.Database.Error:
            raise
        except Exception as err:
            from ..timetravel import translate_error

            translate_error(err)
            raise
        finally:
            connection.read_instant = before


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


_placeholder_re = _lazy_re_compile("%%|%s")


class SQLCompiler(PastMixin, compiler.SQLCompiler):
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

    @staticmethod
    def _order(sql, params=()):
        return None, (sql, params, False)

    def _distinct_order(self):
        expressions, params = self.get_distinct()
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
