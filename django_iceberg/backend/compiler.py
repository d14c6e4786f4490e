from django.db.models.sql import compiler

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

    def execute_sql(self, *args, **kwargs):
        if instant_of(self.using) is not None or current_instant() is not None:
            from ..timetravel import PastError

            raise PastError(
                f"Cannot write {self.query.model._meta.label}: this is its past"
                " (an as_of() queryset, an instance read through one, or a time travel block)."
            )
        return super().execute_sql(*args, **kwargs)


class SQLCompiler(PastMixin, compiler.SQLCompiler):
    pass


class SQLInsertCompiler(WriteMixin, compiler.SQLInsertCompiler):
    pass


class SQLDeleteCompiler(WriteMixin, compiler.SQLDeleteCompiler):
    pass


class SQLUpdateCompiler(WriteMixin, compiler.SQLUpdateCompiler):
    pass


class SQLAggregateCompiler(PastMixin, compiler.SQLAggregateCompiler):
    pass
