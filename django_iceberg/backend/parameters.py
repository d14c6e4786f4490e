"""Parameters of raw SQL that the core has no values of: what psycopg makes of them, by other means."""

import datetime
import decimal
import enum
import ipaddress
import itertools
import re

from django.utils.functional import Promise

from .._core import ProgrammingError

ADDRESSES = (
    ipaddress.IPv4Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Address,
    ipaddress.IPv6Interface,
    ipaddress.IPv6Network,
)

_placeholder_re = re.compile(r"%(?:%|s|\(([^)]*)\)s)")


class ListParameter(ProgrammingError):
    """A parameter is a list: the statement has to name its items."""

    def __init__(self):
        super().__init__("a list is a parameter, but those of the first row had none")


def adapt(value):
    """What to use for a value that the core refuses, or NotImplemented: then its error stands."""
    match value:
        case list():
            raise ListParameter
        case enum.Enum():
            return value.name
        case Promise():
            return str(value)
        case datetime.time():
            return value.replace(tzinfo=None)
        case decimal.Decimal():
            return _inexact(value)
    return str(value) if isinstance(value, ADDRESSES) else NotImplemented


def _inexact(number):
    """NaN, infinities and numbers beyond 38 digits that a float has exactly as written."""
    if number.is_snan():
        return NotImplemented
    as_float = float(number)
    written = number.is_nan() or decimal.Decimal(repr(as_float)) == number
    return as_float if written else NotImplemented


def spread(sql, params):
    """Statement and parameters with each list as an array of its items: "= ANY(%s)" as "= ANY([%s, %s])"."""
    named = isinstance(params, dict)
    given = {} if named else []
    position = itertools.count()

    def place(value):
        if isinstance(value, list):
            return f"[{', '.join(map(place, value))}]"
        if not named:
            given.append(value)
            return "%s"
        name = str(len(given))
        given[name] = value
        return f"%({name})s"

    def replace(match):
        if match[0] == "%%":
            return "%%"
        return place(params[match[1]] if named else params[next(position)])

    return _placeholder_re.sub(replace, sql), given
