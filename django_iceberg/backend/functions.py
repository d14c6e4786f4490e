"""Database functions and expressions as the query engine spells them: as_iceberg() of Django's classes."""

from django.core.exceptions import FieldError
from django.db import DatabaseError
from django.db.models import fields
from django.db.models.expressions import (
    Col,
    Combinable,
    CombinedExpression,
    DurationExpression,
    OrderBy,
    RawSQL,
    Value,
)
from django.db.models.fields.json import JSONField, KeyTransform
from django.db.models.functions import (
    Cast,
    Chr,
    ConcatPair,
    JSONArray,
    JSONObject,
    LPad,
    Ord,
    Round,
    RPad,
)

from .operations import INTEGER_FIELDS


def iceberg(*classes):
    """Registers a function as the as_iceberg() of Django's classes."""

    def register(function):
        for cls in classes:
            cls.as_iceberg = function
        return function

    return register


def _is_text(expression):
    return isinstance(expression.output_field, (fields.CharField, fields.TextField))


@iceberg(Cast)
def cast(self, compiler, connection, **extra_context):
    field = self.output_field
    source = getattr(self.get_source_expressions()[0], "_output_field_or_none", None)
    template = None
    if isinstance(field, fields.TimeField) and isinstance(source, fields.DateTimeField):
        template = "CAST(CAST(%(expressions)s AS TIMESTAMP) AS TIME)"
    elif isinstance(field, (fields.CharField, fields.TextField)):
        template = "CAST(%(expressions)s AS VARCHAR)"
        if isinstance(source, fields.FloatField):
            # 5, not 5.0, as PostgreSQL prints it.
            template = rf"regexp_replace({template}, '\.0$', '')"
        if field.max_length is not None:
            # The engine ignores the length of varchar(n).
            template = f"LEFT({template}, {int(field.max_length)})"
    return self.as_sql(compiler, connection, template=template, **extra_context)


@iceberg(ConcatPair)
def concat_pair(self, compiler, connection, **extra_context):
    clone = self.copy()
    clone.set_source_expressions(
        [e if _is_text(e) else Cast(e, fields.TextField()) for e in clone.get_source_expressions()]
    )
    return clone.pipes_concat_sql(compiler, connection, **extra_context)


@iceberg(Ord)
def ord_(self, compiler, connection, **extra_context):
    return self.as_sql(compiler, connection, function="UNICODE", **extra_context)


@iceberg(Chr)
def chr_(self, compiler, connection, **extra_context):
    # Parameters are BIGINT, which the engine does not narrow by itself.
    return self.as_sql(compiler, connection, template="CHR(CAST(%(expressions)s AS INTEGER))", **extra_context)


@iceberg(Round)
def round_(self, compiler, connection, **extra_context):
    clone = self.copy()
    number, precision = clone.get_source_expressions()
    if isinstance(precision, Value) and isinstance(precision.value, int):
        # The scale of a decimal result must be known when the statement is planned.
        precision = RawSQL(str(int(precision.value)), ())
    else:
        precision = Cast(precision, fields.IntegerField())
    clone.set_source_expressions([number, precision])
    return clone.as_sql(compiler, connection, **extra_context)


@iceberg(LPad, RPad)
def pad(self, compiler, connection, **extra_context):
    clone = self.copy()
    expression, length, fill = clone.get_source_expressions()
    clone.set_source_expressions([expression, Cast(length, fields.IntegerField()), fill])
    return clone.as_sql(compiler, connection, **extra_context)


@iceberg(DurationExpression)
def duration_expression(self, compiler, connection):
    numbers = {"DurationField", *INTEGER_FIELDS, "FloatField", "DecimalField"}
    try:
        types = {side.output_field.get_internal_type() for side in (self.lhs, self.rhs)}
    except FieldError:
        types = set()
    if self.connector in (Combinable.MUL, Combinable.DIV):
        # A duration is a number of microseconds; only numbers multiply it.
        if types - numbers:
            raise DatabaseError(f"Invalid arguments for operator {self.connector}.")
        return CombinedExpression.as_sql(self, compiler, connection)
    return self.as_sql(compiler, connection)


@iceberg(JSONObject, JSONArray)
def json_build(self, compiler, connection, **extra_context):
    clone = self.copy()
    # A JSON column is a string to the engine; without the cast it would become a JSON string.
    clone.set_source_expressions(
        [
            Cast(e, JSONField()) if isinstance(getattr(e, "_output_field_or_none", None), JSONField) else e
            for e in clone.get_source_expressions()
        ]
    )
    return clone.as_sql(compiler, connection, **extra_context)


@iceberg(OrderBy)
def order_by(self, compiler, connection):
    # A name of the select list stands alone in ORDER BY.
    if isinstance(self.expression, (Col, KeyTransform)) and isinstance(self.expression.output_field, JSONField):
        # Order of values, not of their text.
        template = "ice_json_key(%(expression)s) %(ordering)s"
        if self.nulls_last:
            template += " NULLS LAST"
        elif self.nulls_first:
            template += " NULLS FIRST"
        return self.as_sql(compiler, connection, template=template)
    return self.as_sql(compiler, connection)
