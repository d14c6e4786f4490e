import datetime
import decimal
import enum
import ipaddress
import json
import uuid
from functools import lru_cache, partial
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import FieldError
from django.db import DataError, NotSupportedError
from django.db.backends.base.operations import BaseDatabaseOperations
from django.db.models.constants import OnConflict
from django.db.models.expressions import Col
from django.db.models.fields.composite import CompositePrimaryKey
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.duration import duration_microseconds
from django.utils.encoding import force_str
from django.utils.regex_helper import _lazy_re_compile

INTEGER_FIELDS = {
    "AutoField",
    "BigAutoField",
    "BigIntegerField",
    "IntegerField",
    "PositiveBigIntegerField",
    "PositiveIntegerField",
    "PositiveSmallIntegerField",
    "SmallAutoField",
    "SmallIntegerField",
}
INET_FIELDS = {"GenericIPAddressField", "IPAddressField"}
TEXT_FIELDS = {"CharField", "FileField", "FilePathField", "SlugField", "TextField"}
# Text of values that the engine prints otherwise than PostgreSQL.
AS_TEXT = {
    "BinaryField": "ice_binary_text(%s)",
    "DurationField": "ice_duration_text(%s)",
    "FloatField": "ice_float_text(%s)",
    "JSONField": "ice_json_text(%s)",
}


def within_years(value, zone):
    """An aware datetime in another zone; the first or last of Python's years where it is outside of them there."""
    try:
        return value.astimezone(zone)
    except OverflowError:
        edge = datetime.datetime.min if value.year == datetime.MINYEAR else datetime.datetime.max
        return edge.replace(tzinfo=zone)


def cast_text(old_type, new_type, max_length=None):
    """What PostgreSQL's cast between two fields' types is where it is not the engine's, with %s for the value; None: the engine's."""
    if new_type in TEXT_FIELDS:
        # Of an address with its prefix length, which lookups leave out.
        printed = "ice_inet_text(%s)" if old_type in INET_FIELDS else AS_TEXT.get(old_type, "CAST(%s AS VARCHAR)")
        # The engine ignores the length of varchar(n).
        return printed if max_length is None else f"LEFT({printed}, {int(max_length)})"
    if new_type == "BinaryField" and old_type in TEXT_FIELDS:
        return "ice_bytea(%s)"
    if new_type in INET_FIELDS and old_type in TEXT_FIELDS:
        return "ice_inet(%s)"
    if new_type == "DecimalField" and old_type == "FloatField":
        return "ice_float_digits(%s)"
    return None


def inet_text(value):
    """An address as its column has it: version 4 within version 6 in dots, as PostgreSQL prints it."""
    if "/" in value:
        return value
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        address = None
    if address is None or getattr(address, "scope_id", None):
        raise DataError(f'invalid input syntax for type inet: "{value}"')
    if address.version == 4:
        return str(address)
    number = int(address)
    mapped = number >> 32 == 0xFFFF
    if mapped or 1 << 16 <= number < 1 << 32:
        return f"::{'ffff:' if mapped else ''}{ipaddress.IPv4Address(number & 0xFFFFFFFF)}"
    return str(address)


@lru_cache
def get_json_dumps(encoder):
    if encoder is None:
        return json.dumps
    return partial(json.dumps, cls=encoder)


class DatabaseOperations(BaseDatabaseOperations):
    compiler_module = "django_iceberg.backend.compiler"
    explain_prefix = "EXPLAIN"
    cast_char_field_without_max_length = "varchar"
    # Names of the query engine's types, where they are not those of a column's definition.
    cast_data_types: ClassVar = {
        "AutoField": "integer",
        "BigAutoField": "bigint",
        "SmallAutoField": "smallint",
        "DurationField": "bigint",
        "GenericIPAddressField": "varchar",
        "IPAddressField": "varchar",
        "JSONField": "json",
    }
    integer_field_ranges: ClassVar = {
        **BaseDatabaseOperations.integer_field_ranges,
        "PositiveBigIntegerField": (0, 9223372036854775807),
    }

    # Dates and times

    # EXTRACT format cannot be passed in parameters.
    _extract_format_re = _lazy_re_compile(r"[A-Z_]+")
    _offset_re = _lazy_re_compile(r".*?(?P<sign>[+-])(?P<h>\d\d)(?::?(?P<m>\d\d)(?::?(?P<s>\d\d))?)?")

    def _check_kind(self, lookup_type, error=DataError):
        if not self._extract_format_re.fullmatch(lookup_type.upper()):
            raise error(f"Invalid lookup type: {lookup_type!r}")
        return lookup_type.lower()

    def date_extract_sql(self, lookup_type, sql, params):
        kind = self._check_kind(lookup_type, ValueError)
        if kind == "week_day":
            # For consistency across backends, we return Sunday=1, Saturday=7.
            return f"(EXTRACT(DOW FROM {sql}) + 1)", params
        kind = {"iso_week_day": "isodow", "iso_year": "isoyear"}.get(kind, kind)
        return f"EXTRACT({kind.upper()} FROM {sql})", params

    def date_trunc_sql(self, lookup_type, sql, params, tzname=None):
        sql, params = self._convert_sql_to_tz(sql, params, tzname)
        return f"CAST(DATE_TRUNC('{self._check_kind(lookup_type)}', {sql}) AS DATE)", params

    def _convert_sql_to_tz(self, sql, params, tzname):
        if not (tzname and settings.USE_TZ):
            return sql, params
        match = None if tzname.startswith("Etc/") else self._offset_re.fullmatch(tzname)
        if match:
            tzname = f"GMT{match['sign']}{match['h']}:{match['m'] or '00'}" + (f":{match['s']}" if match["s"] else "")
        return f"(({sql}) AT TIME ZONE %s)", (*params, tzname)

    def datetime_cast_date_sql(self, sql, params, tzname):
        sql, params = self._convert_sql_to_tz(sql, params, tzname)
        return f"CAST({sql} AS DATE)", params

    def datetime_cast_time_sql(self, sql, params, tzname):
        sql, params = self._convert_sql_to_tz(sql, params, tzname)
        return f"CAST(CAST({sql} AS TIMESTAMP) AS TIME)", params

    def datetime_extract_sql(self, lookup_type, sql, params, tzname):
        sql, params = self._convert_sql_to_tz(sql, params, tzname)
        return self.date_extract_sql(lookup_type, sql, params)

    def datetime_trunc_sql(self, lookup_type, sql, params, tzname):
        sql, params = self._convert_sql_to_tz(sql, params, tzname)
        return f"DATE_TRUNC('{self._check_kind(lookup_type)}', {sql})", params

    def time_extract_sql(self, lookup_type, sql, params):
        return self.date_extract_sql(lookup_type, sql, params)

    def time_trunc_sql(self, lookup_type, sql, params, tzname=None):
        sql, params = self._convert_sql_to_tz(sql, params, tzname)
        kind = self._check_kind(lookup_type)
        # The engine truncates timestamps, not times.
        return (
            f"CAST(DATE_TRUNC('{kind}', DATE '1970-01-01' + CAST(CAST({sql} AS TIMETZ) AS TIME)) AS TIME)",
            params,
        )

    def format_for_duration_arithmetic(self, sql):
        return f"ice_interval({sql})"

    def combine_duration_expression(self, connector, sub_expressions):
        if connector not in ("+", "-", "*", "/"):
            raise NotSupportedError(f"Invalid connector for timedelta: {connector}.")
        return self.combine_expression(connector, sub_expressions)

    def subtract_temporals(self, internal_type, lhs, rhs):
        """Microseconds between two dates, times or datetimes, as a DurationField has them."""
        lhs_sql, lhs_params = lhs
        rhs_sql, rhs_params = rhs
        kind = {"DateField": "DATE", "TimeField": "TIME"}.get(internal_type, "TIMESTAMPTZ")
        # A cast types what may be a bare NULL or a parameter.
        sql = f"(epoch_us(CAST({lhs_sql} AS {kind})) - epoch_us(CAST({rhs_sql} AS {kind})))"
        return sql, (*lhs_params, *rhs_params)

    # Expressions

    def combine_expression(self, connector, sub_expressions):
        if connector == "^":
            return f"ice_power({','.join(sub_expressions)})"
        if connector == "#":
            return f"XOR({','.join(sub_expressions)})"
        if connector == "<<":
            # The engine's own shift refuses negative numbers.
            lhs, rhs = sub_expressions
            return f"{lhs} * (CAST(1 AS BIGINT) << {rhs})"
        return super().combine_expression(connector, sub_expressions)

    def lookup_cast(self, lookup_type, internal_type=None):
        lookup = "%s"
        # Cast what is not text to text, for things like filter(x__contains=4).
        if lookup_type in (
            "iexact",
            "contains",
            "icontains",
            "startswith",
            "istartswith",
            "endswith",
            "iendswith",
            "regex",
            "iregex",
        ) and internal_type not in ("CharField", "TextField", "SlugField", "FileField", "FilePathField"):
            lookup = AS_TEXT.get(internal_type, "CAST(%s AS VARCHAR)")
        # UPPER(x) on both sides is Unicode-aware.
        if lookup_type in ("iexact", "icontains", "istartswith", "iendswith"):
            lookup = f"UPPER({lookup})"
        return lookup

    def regex_lookup(self, lookup_type):
        if lookup_type == "regex":
            return "regexp_like(%s, CAST(%s AS VARCHAR))"
        return "regexp_like(%s, CAST(%s AS VARCHAR), 'i')"

    def prep_for_iexact_query(self, x):
        return x

    def prepare_join_on_clause(self, lhs_table, lhs_field, rhs_table, rhs_field):
        lhs_expr, rhs_expr = super().prepare_join_on_clause(lhs_table, lhs_field, rhs_table, rhs_field)
        if lhs_field.db_type(self.connection) != rhs_field.db_type(self.connection):
            rhs_expr = Cast(rhs_expr, lhs_field)
        return lhs_expr, rhs_expr

    def unification_cast_sql(self, output_field):
        internal_type = output_field.get_internal_type()
        if internal_type in ("TimeField", "UUIDField"):
            db_type = output_field.db_type(self.connection).split("(")[0]
            return f"CAST(%s AS {db_type})"
        return "%s"

    # Statements

    def deferrable_sql(self):
        return " DEFERRABLE INITIALLY DEFERRED"

    def distinct_sql(self, fields, params):
        if fields:
            params = [param for param_list in params for param in param_list]
            return [f"DISTINCT ON ({', '.join(fields)})"], params
        return ["DISTINCT"], []

    def no_limit_value(self):
        return None

    def max_name_length(self):
        # As PostgreSQL's, so that names of constraints and indexes are the same on both.
        return 63

    def quote_name(self, name):
        if name.startswith('"') and name.endswith('"') and len(name) > 1:
            return name  # Quoting once is enough.
        return '"' + name.replace('"', '""') + '"'

    def explain_query_prefix(self, format=None, **options):
        analyze = options.pop("analyze", False) or options.pop("ANALYZE", False)
        prefix = super().explain_query_prefix(format, **options)
        # A line for each step, as PostgreSQL's; the engine's own text draws boxes.
        kind = format.upper() if format and format.upper() != "TEXT" else "COMPACT"
        return f"{prefix} ({'ANALYZE, ' if analyze else ''}FORMAT {kind})"

    def bulk_batch_size(self, fields, objs):
        # As Django's own from 6.0 on.
        if not fields:
            return len(objs)
        columns = sum(len(field.fields) if isinstance(field, CompositePrimaryKey) else 1 for field in fields)
        return self.connection.features.max_query_params // columns

    def fetch_returned_insert_rows(self, cursor):
        return cursor.fetchall()

    def fetch_returned_rows(self, cursor, *args):
        return cursor.fetchall()

    def return_insert_columns(self, fields):
        if not fields:
            return "", ()
        qn = self.quote_name
        columns = [f"{qn(field.model._meta.db_table)}.{qn(field.column)}" for field in fields]
        return f"RETURNING {', '.join(columns)}", ()

    def returning_columns(self, fields):
        return self.return_insert_columns(fields)

    def on_conflict_suffix_sql(self, fields, on_conflict, update_fields, unique_fields):
        if on_conflict == OnConflict.IGNORE:
            return "ON CONFLICT DO NOTHING"
        if on_conflict == OnConflict.UPDATE:
            target = ", ".join(map(self.quote_name, unique_fields))
            updates = ", ".join(f"{name} = EXCLUDED.{name}" for name in map(self.quote_name, update_fields))
            return f"ON CONFLICT ({target}) DO UPDATE SET {updates}"
        return super().on_conflict_suffix_sql(fields, on_conflict, update_fields, unique_fields)

    def sql_flush(self, style, tables, *, reset_sequences=False, allow_cascade=False):
        if not tables:
            return []
        quoted = ", ".join(style.SQL_FIELD(self.quote_name(table)) for table in tables)
        sql = f"{style.SQL_KEYWORD('TRUNCATE')} {quoted}"
        if reset_sequences:
            sql += " " + style.SQL_KEYWORD("RESTART IDENTITY")
        if allow_cascade:
            sql += " " + style.SQL_KEYWORD("CASCADE")
        return [sql + ";"]

    def _restart_sql(self, style, table, column, value):
        alter, table = style.SQL_KEYWORD("ALTER TABLE"), style.SQL_TABLE(self.quote_name(table))
        alter_column, column = style.SQL_KEYWORD("ALTER COLUMN"), style.SQL_FIELD(self.quote_name(column))
        return f"{alter} {table} {alter_column} {column} {style.SQL_KEYWORD('RESTART WITH')} {value};"

    def sequence_reset_by_name_sql(self, style, sequences):
        return [self._restart_sql(style, s["table"], s["column"] or "id", 1) for s in sequences]

    def sequence_reset_sql(self, style, model_list):
        from django.db import models

        output = []
        for model in model_list:
            for field in model._meta.local_fields:
                if not isinstance(field, models.AutoField):
                    continue
                table, column = model._meta.db_table, field.column
                with self.connection.cursor() as cursor:
                    cursor.execute(f"SELECT MAX({self.quote_name(column)}) FROM {self.quote_name(table)}")
                    highest = cursor.fetchone()[0] or 0
                output.append(self._restart_sql(style, table, column, highest + 1))
                break  # Only one AutoField is allowed per model.
        return output

    def last_executed_query(self, cursor, sql, params):
        # An execute wrapper may have changed the statement.
        if statement := getattr(cursor, "statement", None):
            sql, params = statement
        if params is None:
            return sql
        try:
            return self.compose_sql(sql, params)
        except (TypeError, ValueError, KeyError):
            return f"QUERY = {sql!r} - PARAMS = {params!r}"

    def compose_sql(self, sql, params):
        """SQL text with the parameters as literals."""
        if isinstance(params, dict):
            return sql % {key: self.quote_value(value) for key, value in params.items()}
        return sql % tuple(self.quote_value(value) for value in params)

    def quote_value(self, value):
        """The SQL literal of a value, typed as a parameter would be."""
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return f"{value!r}::DOUBLE" if value - value == 0 else f"'{value}'::DOUBLE"
        if isinstance(value, decimal.Decimal):
            return format(value, "f") if value.is_finite() else f"'{value}'::DOUBLE"
        if isinstance(value, int):
            return str(int(value))
        if isinstance(value, list):
            return f"[{', '.join(map(self.quote_value, value))}]"
        if isinstance(value, enum.Enum) and not isinstance(value, str):
            return self.quote_value(value.name)
        if isinstance(value, datetime.timedelta):
            return str(duration_microseconds(value))
        if isinstance(value, datetime.datetime):
            kind = "TIMESTAMPTZ" if value.tzinfo else "TIMESTAMP"
            return f"{kind} '{value.isoformat(' ')}'"
        if isinstance(value, datetime.date):
            return f"DATE '{value.isoformat()}'"
        if isinstance(value, datetime.time):
            return f"TIME '{value.isoformat()}'"
        if isinstance(value, uuid.UUID):
            return f"'{value}'::UUID"
        if isinstance(value, (bytes, bytearray, memoryview)):
            text = "".join(rf"\x{byte:02X}" for byte in bytes(value))
            return f"'{text}'::BLOB"
        return "'" + force_str(value).replace("'", "''") + "'"

    # Values to the database. The core takes Python's types as they are.

    def adapt_datefield_value(self, value):
        return value

    def adapt_datetimefield_value(self, value):
        if value is None or hasattr(value, "resolve_expression"):
            return value
        # Columns hold instants. Without USE_TZ naive values are in the settings' time zone.
        if isinstance(value, datetime.datetime):
            if timezone.is_naive(value):
                value = timezone.make_aware(value, self.naive_zone)
            if value.year in (datetime.MINYEAR, datetime.MAXYEAR):
                value = within_years(value, datetime.UTC)
        return value

    @property
    def naive_zone(self):
        """The time zone of naive datetimes."""
        import zoneinfo

        return zoneinfo.ZoneInfo(self.connection.timezone_name or "UTC")

    def adapt_timefield_value(self, value):
        if value is None or hasattr(value, "resolve_expression"):
            return value
        if isinstance(value, datetime.time) and timezone.is_aware(value):
            raise ValueError("Apache Iceberg has no times with a time zone.")
        return value

    def adapt_decimalfield_value(self, value, max_digits=None, decimal_places=None):
        return value

    def adapt_ipaddressfield_value(self, value):
        return inet_text(value) if value else None

    def adapt_json_value(self, value, encoder):
        return get_json_dumps(encoder)(value)

    # Values from the database

    def get_db_converters(self, expression):
        converters = super().get_db_converters(expression)
        try:
            internal_type = expression.output_field.get_internal_type()
        except (FieldError, AttributeError):
            return converters
        if internal_type == "DurationField":
            converters.append(self.convert_durationfield_value)
        elif isinstance(expression, Col):
            return converters
        elif internal_type == "DecimalField":
            converters.append(self.convert_decimalfield_value)
        elif internal_type in INTEGER_FIELDS:
            converters.append(self.convert_integerfield_value)
        elif internal_type == "FloatField":
            converters.append(self.convert_floatfield_value)
        elif internal_type == "BooleanField":
            converters.append(self.convert_booleanfield_value)
        elif internal_type == "TimeField":
            converters.append(self.convert_timefield_value)
        elif internal_type == "UUIDField":
            converters.append(self.convert_uuidfield_value)
        return converters

    def convert_durationfield_value(self, value, expression, connection):
        if value is None or isinstance(value, datetime.timedelta):
            return value
        return datetime.timedelta(microseconds=round(value))

    def convert_timefield_value(self, value, expression, connection):
        # A sum of times is a duration.
        return (
            value
            if value is None or isinstance(value, datetime.time)
            else datetime.timedelta(microseconds=round(value))
        )

    # Division and averages of decimals are floats in the engine, good for 15 digits.
    _create_decimal = decimal.Context(prec=15).create_decimal_from_float

    def convert_decimalfield_value(self, value, expression, connection):
        if isinstance(value, float):
            return self._create_decimal(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return decimal.Decimal(value)
        return value

    def convert_integerfield_value(self, value, expression, connection):
        # Sums of integers are wider than any integer column.
        if isinstance(value, decimal.Decimal) or (isinstance(value, float) and value.is_integer()):
            return int(value)
        return value

    def convert_floatfield_value(self, value, expression, connection):
        return float(value) if isinstance(value, (int, decimal.Decimal)) else value

    def convert_booleanfield_value(self, value, expression, connection):
        return bool(value) if value in (0, 1) else value

    def convert_uuidfield_value(self, value, expression, connection):
        return uuid.UUID(value) if isinstance(value, str) else value
