"""Database functions and expressions as the query engine spells them: as_iceberg() of Django's classes."""

import decimal

from django.core.exceptions import FieldError
from django.db import DatabaseError
from django.db.models import Avg, Count, Max, Min, Sum, fields
from django.db.models.expressions import (
    Col,
    Combinable,
    CombinedExpression,
    DurationExpression,
    Func,
    OrderBy,
    RawSQL,
    Value,
    Window,
)
from django.db.models.fields.json import JSONField, KeyTransform
from django.db.models.functions import (
    ACos,
    ASin,
    Cast,
    Chr,
    ConcatPair,
    Extract,
    JSONArray,
    JSONObject,
    Length,
    Ln,
    Log,
    LPad,
    LTrim,
    Power,
    Reverse,
    Round,
    RPad,
    RTrim,
    Sqrt,
    StrIndex,
    Substr,
    Trim,
)

from .operations import INTEGER_FIELDS, TEXT_FIELDS, cast_text

try:
    from django.db.models.functions import UUID4
except ImportError:  # before Django 6.1
    UUID4 = None


def iceberg(*classes):
    """Registers a function as the as_iceberg() of Django's classes."""

    def register(function):
        for cls in classes:
            cls.as_iceberg = function
        return function

    return register


def field_of(expression):
    """The output field of an expression; None where it has none, or Django cannot tell."""
    try:
        return getattr(expression, "_output_field_or_none", None)
    except FieldError:
        return None


def kind_of(expression):
    field = field_of(expression)
    return None if field is None else field.get_internal_type()


def _is_text(expression):
    return isinstance(field_of(expression), (fields.CharField, fields.TextField))


@iceberg(Cast)
def cast(self, compiler, connection, **extra_context):
    field = self.output_field
    source = field_of(self.get_source_expressions()[0])
    template = None
    if isinstance(field, fields.TimeField) and isinstance(source, fields.DateTimeField):
        template = "CAST(CAST(%(expressions)s AS TIMESTAMP) AS TIME)"
    elif source is not None or field.get_internal_type() in TEXT_FIELDS:
        kind = None if source is None else source.get_internal_type()
        template = cast_text(kind, field.get_internal_type(), field.max_length)
        if template is not None:
            template %= "%(expressions)s"
            if field.get_internal_type() == "DecimalField":
                template = f"CAST({template} AS {field.cast_db_type(connection)})"
    return self.as_sql(compiler, connection, template=template, **extra_context)


@iceberg(ConcatPair)
def concat_pair(self, compiler, connection, **extra_context):
    clone = self.copy()
    clone.set_source_expressions(
        [e if _is_text(e) else Cast(e, fields.TextField()) for e in clone.get_source_expressions()]
    )
    return clone.pipes_concat_sql(compiler, connection, **extra_context)


@iceberg(Reverse)
def reverse(self, compiler, connection, **extra_context):
    # The engine's own keeps combining characters with their base.
    template = "array_to_string(list_reverse(string_split(%(expressions)s, '')), '')"
    return self.as_sql(compiler, connection, template=template, **extra_context)


@iceberg(Length, StrIndex)
def integer_of_text(self, compiler, connection, **extra_context):
    """An integer, as arithmetic on it must know, where the engine's is a bigint."""
    return self.as_sql(compiler, connection, template="CAST(%(function)s(%(expressions)s) AS INTEGER)", **extra_context)


@iceberg(Chr)
def chr_(self, compiler, connection, **extra_context):
    return self.as_sql(compiler, connection, template="ice_chr(%(expressions)s)", **extra_context)


@iceberg(Round)
def round_(self, compiler, connection, **extra_context):
    clone = self.copy()
    number, precision = clone.get_source_expressions()
    if isinstance(precision, Value) and isinstance(precision.value, int):
        # The scale of a decimal result must be known when the statement is planned.
        precision = RawSQL(str(int(precision.value)), ())
    else:
        precision = Cast(precision, fields.IntegerField())
    template = None
    if kind_of(self) == "FloatField":
        # As PostgreSQL's numeric of 15 digits.
        number = Func(number, template="CAST(CAST(%(expressions)s AS DOUBLE) AS VARCHAR)")
        precision = Func(precision, template="CAST(%(expressions)s AS VARCHAR)")
        template = "ice_round(%(expressions)s)"
    clone.set_source_expressions([number, precision])
    return clone.as_sql(compiler, connection, template=template, **extra_context)


@iceberg(ACos, ASin)
def arc(self, compiler, connection, **extra_context):
    return self.as_sql(compiler, connection, template="%(function)s(ice_arc(%(expressions)s))", **extra_context)


@iceberg(Ln, Log, Power, Sqrt)
def within_domain(self, compiler, connection, **extra_context):
    """What is outside of the domain is an error, where the engine has NaN or infinity."""
    return self.as_sql(compiler, connection, function=f"ice_{self.function.lower()}", **extra_context)


@iceberg(Substr)
def substr(self, compiler, connection, **extra_context):
    if len(self.get_source_expressions()) == 3:
        extra_context["function"] = "ice_substr"
    return self.as_sql(compiler, connection, **extra_context)


@iceberg(Avg, Sum)
def sum_(self, compiler, connection, **extra_context):
    (source, *others) = self.get_source_expressions()
    if kind_of(source) != "TimeField":
        return self.as_sql(compiler, connection, **extra_context)
    clone = self.copy()
    clone.set_source_expressions([Func(source, function="epoch_us", output_field=fields.BigIntegerField()), *others])
    return clone.as_sql(compiler, connection, **extra_context)


@iceberg(LPad, RPad)
def pad(self, compiler, connection, **extra_context):
    clone = self.copy()
    expression, length, fill = clone.get_source_expressions()
    # The engine refuses to pad with nothing, and does not narrow a BIGINT by itself.
    clone.set_source_expressions([expression, Cast(length, fields.IntegerField()), fill])
    template = f"ice_{self.function.lower()}(%(expressions)s)"
    return clone.as_sql(compiler, connection, template=template, **extra_context)


@iceberg(LTrim, RTrim, Trim)
def trim(self, compiler, connection, **extra_context):
    # Blanks only; by itself the engine takes away what Unicode calls spaces.
    return self.as_sql(compiler, connection, template="%(function)s(%(expressions)s, ' ')", **extra_context)


# Of the interval that a timedelta is: whole days, and a time of day that is not negative.
DURATION_PARTS = {
    "day": "ice_days(%s)",
    "hour": "(ice_time(%s) // 3600000000)",
    "minute": "(ice_time(%s) // 60000000 %%%% 60)",
    "second": "(ice_time(%s) // 1000000 %%%% 60)",
}


@iceberg(Extract)
def extract(self, compiler, connection):
    if not isinstance(field_of(self.lhs), fields.DurationField) or self.lookup_name not in DURATION_PARTS:
        return self.as_sql(compiler, connection)
    sql, params = compiler.compile(self.lhs)
    return f"CAST({DURATION_PARTS[self.lookup_name] % sql} AS INTEGER)", params


@iceberg(DurationExpression)
def duration_expression(self, compiler, connection):
    if self.connector not in (Combinable.MUL, Combinable.DIV):
        # As of a database without the type: to a date or time an interval is added.
        connection.ops.check_expression_support(self)
        (lhs, lhs_params), (rhs, rhs_params) = (self.compile(s, compiler, connection) for s in (self.lhs, self.rhs))
        sql = connection.ops.combine_duration_expression(self.connector, [lhs, rhs])
        return f"({sql})", (*lhs_params, *rhs_params)
    # A duration is a number of microseconds; only numbers multiply it.
    sides = [self.lhs, self.rhs]
    kinds = [kind_of(side) for side in sides]
    if set(kinds) - {None, "DurationField", *INTEGER_FIELDS, "FloatField", "DecimalField"}:
        raise DatabaseError(f"Invalid arguments for operator {self.connector}.")
    if self.connector == Combinable.MUL and set(kinds) & {None, *INTEGER_FIELDS}:
        return CombinedExpression.as_sql(self, compiler, connection)
    if self.connector == Combinable.MUL and kinds[1] == "DurationField":
        sides.reverse()
    (lhs, lhs_params), (rhs, rhs_params) = map(compiler.compile, sides)
    function = "ice_duration_div" if self.connector == Combinable.DIV else "ice_duration_mul"
    return f"{function}({lhs}, {rhs})", (*lhs_params, *rhs_params)


if UUID4 is not None:

    @iceberg(UUID4)
    def uuid4(self, compiler, connection, **extra_context):
        return self.as_sql(compiler, connection, function="GEN_RANDOM_UUID", **extra_context)


@iceberg(JSONObject, JSONArray)
def json_build(self, compiler, connection, **extra_context):
    clone = self.copy()
    # A JSON column is a string to the engine; without the cast it would become a JSON string.
    clone.set_source_expressions(
        [Cast(e, JSONField()) if isinstance(field_of(e), JSONField) else e for e in clone.get_source_expressions()]
    )
    return clone.as_sql(compiler, connection, **extra_context)


def _decimal_digits(expression):
    """(digits, those after the point) of a number that is not a float, as the engine types it; None: not known."""
    if isinstance(expression, Value) and isinstance(expression.value, decimal.Decimal):
        _, digits, exponent = expression.value.as_tuple()
        return None if isinstance(exponent, str) else (max(len(digits), -exponent, 1), max(-exponent, 0))
    if isinstance(expression, (Col, Cast)) and kind_of(expression) == "DecimalField":
        field = expression.output_field
        return None if field.max_digits is None else (field.max_digits, field.decimal_places)
    if isinstance(expression, CombinedExpression):
        lhs, rhs = map(_decimal_digits, (expression.lhs, expression.rhs))
        if lhs and rhs and expression.connector == "*":
            return lhs[0] + rhs[0], lhs[1] + rhs[1]
        if lhs and rhs and expression.connector in ("+", "-"):
            places = max(lhs[1], rhs[1])
            return max(lhs[0] - lhs[1], rhs[0] - rhs[1]) + 1 + places, places
        return None
    if kind_of(expression) in INTEGER_FIELDS:
        return (19 if "Big" in kind_of(expression) else 10), 0
    return None


@iceberg(CombinedExpression)
def combined_expression(self, compiler, connection):
    if self.connector in ("+", "-", "*") and "DecimalField" in (kind_of(self.lhs), kind_of(self.rhs)):
        digits, lhs, rhs = map(_decimal_digits, (self, self.lhs, self.rhs))
        # The engine computes numbers of up to 18 digits in 18 digits, and refuses what needs more.
        if digits and digits[0] > 18 and max(lhs[0], rhs[0]) <= 18:
            clone = self.copy()
            wide = Func(
                self.lhs, template=f"CAST(%(expressions)s AS DECIMAL(19, {lhs[1]}))", output_field=self.lhs.output_field
            )
            clone.set_source_expressions([wide, self.rhs])
            return clone.as_sql(compiler, connection)
    return self.as_sql(compiler, connection)


def inet_key(expression):
    """What orders addresses as PostgreSQL does."""
    return Func(expression, function="ice_inet_key", output_field=fields.CharField())


def json_key(expression):
    """What orders JSON as PostgreSQL does, and is equal where it is."""
    return Func(expression, function="ice_json_key", output_field=fields.BinaryField())


def is_json(expression):
    return kind_of(expression) == "JSONField"


@iceberg(Count)
def count(self, compiler, connection, **extra_context):
    expression, *others = self.get_source_expressions()
    if not self.distinct or not is_json(expression):
        return self.as_sql(compiler, connection, **extra_context)
    clone = self.copy()
    clone.set_source_expressions([json_key(expression), *others])
    return clone.as_sql(compiler, connection, **extra_context)


def _by_value(expressions, keys):
    clone = expressions.copy()
    sources = clone.get_source_expressions()
    clone.set_source_expressions(
        [e if isinstance(e, OrderBy) or kind_of(e) not in keys else keys[kind_of(e)](e) for e in sources]
    )
    return clone


@iceberg(Window)
def window(self, compiler, connection, template=None):
    clone = self.copy()
    if self.partition_by is not None:
        clone.partition_by = _by_value(self.partition_by, {"JSONField": json_key})
    if self.order_by is not None:
        # What stands in an OrderBy is its own concern.
        clone.order_by = _by_value(self.order_by, {"JSONField": json_key, "GenericIPAddressField": inet_key})
    return clone.as_sql(compiler, connection, template)


@iceberg(Max, Min)
def extreme(self, compiler, connection, **extra_context):
    if kind_of(self) == "GenericIPAddressField":
        template = f"ARG_{self.function}(%(distinct)s%(expressions)s, ice_inet_key(%(expressions)s))"
        extra_context["template"] = template
    return self.as_sql(compiler, connection, **extra_context)


@iceberg(OrderBy)
def order_by(self, compiler, connection):
    if kind_of(self.expression) == "GenericIPAddressField" and not compiler.query.combinator:
        clone = self.copy()
        clone.set_source_expressions([inet_key(self.expression)])
        return clone.as_sql(compiler, connection)
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
