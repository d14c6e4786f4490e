"""Answers that differed from PostgreSQL's, found by the comparison with it (tests/python/peer)."""

import datetime
import decimal

import pytest
from django.db import DataError
from django.db.models import (
    DecimalField,
    DurationField,
    ExpressionWrapper,
    F,
    FloatField,
    IntegerField,
    TextField,
    Value,
)
from django.db.models import functions as f
from iceapp.models import Author, Book, Event

pytestmark = pytest.mark.usefixtures("db")


def answer(expression):
    Author.objects.get_or_create(name="x")
    return Author.objects.annotate(answer=expression).values_list("answer", flat=True)[0]


def text_of(value, field):
    return answer(f.Cast(Value(value, field), TextField()))


def test_integers_overflow_as_integers():
    Book.objects.create(title="x", pages=2**31 - 1)
    with pytest.raises(DataError):
        list(Book.objects.annotate(more=F("pages") + 1).values_list("more"))
    assert Book.objects.annotate(more=F("pages") + 2**31).values_list("more").get() == (2**32 - 1,)


def test_products_of_decimals_have_room():
    Book.objects.create(title="x", price="999999.99", pages=2**31 - 1)
    product = ExpressionWrapper(F("price") * F("price") * F("price"), output_field=DecimalField())
    assert Book.objects.annotate(p=product).values_list("p").get() == (decimal.Decimal("999999.99") ** 3,)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.0, "5"),
        (1e15, "1e+15"),
        (-1234567890123456.5, "-1.2345678901234565e+15"),
        (1e16, "1e+16"),
        (1e-7, "1e-07"),
        (0.25, "0.25"),
    ],
)
def test_text_of_floats(value, text):
    assert text_of(value, FloatField()) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "00:00:00"),
        ({"days": 1}, "1 day"),
        ({"days": 400, "microseconds": 1500000}, "400 days 00:00:01.5"),
        ({"minutes": -5}, "-1 days +23:55:00"),
    ],
)
def test_text_of_durations(value, text):
    assert text_of(datetime.timedelta(**value), DurationField()) == text


@pytest.mark.parametrize(
    "value", [{}, {"days": 400, "hours": 5, "microseconds": 61500000}, {"days": -1, "minutes": 7}, {"seconds": -1}]
)
def test_parts_of_durations(value):
    duration = datetime.timedelta(**value)
    parts = [answer(f.Extract(Value(duration, DurationField()), part)) for part in ("day", "hour", "minute", "second")]
    seconds = duration.seconds
    assert parts == [duration.days, seconds // 3600, seconds // 60 % 60, seconds % 60]


def test_fractions_of_durations_are_rounded():
    third = ExpressionWrapper(Value(datetime.timedelta(microseconds=-5)) / 4, output_field=DurationField())
    assert answer(third) == datetime.timedelta(microseconds=-1)
    years = ExpressionWrapper(Value(datetime.timedelta(days=999999, microseconds=3)) / 1, output_field=DurationField())
    assert answer(years) == datetime.timedelta(days=999999, microseconds=3)


def test_texts_are_cut_and_padded_by_code_points():
    assert answer(f.Reverse(Value("e\u0301x"))) == "x\u0301e"
    assert answer(f.Trim(Value(" \u2003x\u00a0 "))) == "\u2003x\u00a0"
    assert answer(f.LPad(Value("x"), 3, Value(""))) == "x"
    assert answer(f.RPad(Value("xyz"), 2, Value("-"))) == "xy"
    assert answer(f.Ord(Value(""))) == 0
    with pytest.raises(DataError, match="character 0"):
        answer(f.Chr(Value(0)))


def test_rounding_leaves_no_negative_zero():
    assert str(answer(f.Round(Value(-0.2)))) == "0.0"


def test_rounding_a_float_keeps_15_digits():
    assert answer(f.Round(f.Cast(Value(2**63 - 1), FloatField()))) == 9.22337203685478e18
    assert answer(f.Round(Value(12.3456), precision=2)) == 12.35


def test_a_cast_of_what_has_no_type_of_its_own():
    replaced = f.Replace(F("name"), Value("x"), Value("y"))
    assert Author.objects.create(name="x") and answer(f.Cast(replaced, TextField())) == "y"


def test_addresses_are_ordered_by_number():
    for address in ("9.0.0.1", "10.0.0.1", "::2", "2001:db8::1", "::ffff:10.0.0.1"):
        Author.objects.create(name=address)
    from django.db.models import GenericIPAddressField

    address = f.Cast("name", GenericIPAddressField())
    with_addresses = Author.objects.annotate(address=address)
    assert list(with_addresses.order_by("address").values_list("name", flat=True)) == [
        "9.0.0.1", "10.0.0.1", "::2", "::ffff:10.0.0.1", "2001:db8::1",
    ]  # fmt: skip
    assert set(with_addresses.filter(address__lt="10.0.0.1").values_list("name", flat=True)) == {"9.0.0.1"}


def test_an_offset_applies_to_a_truncated_moment_too():
    Event.objects.create(at=datetime.datetime(2024, 2, 29, 23, 30, tzinfo=datetime.UTC))
    zone = datetime.timezone(datetime.timedelta(minutes=-90))
    truncated = f.ExtractDay(f.TruncHour("at", tzinfo=datetime.UTC), tzinfo=zone)
    assert Event.objects.annotate(day=truncated).values_list("day").get() == (1,)


def test_an_integer_is_no_wider_in_a_condition():
    Book.objects.create(title="x", pages=5)
    assert Book.objects.filter(pages__in=[5, 2**40]).count() == 1
    assert Book.objects.annotate(n=Value(2**31 - 1, IntegerField())).filter(n__gt=F("pages")).count() == 1
