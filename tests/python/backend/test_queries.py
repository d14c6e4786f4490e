"""Queries whose answers are PostgreSQL's where the engine's own differ."""

import hashlib

import pytest
from django.db import DataError, connection
from django.db.models.functions import SHA224, SHA384, SHA512
from iceapp.models import Author

pytestmark = pytest.mark.usefixtures("db")


def names(**lookups):
    return sorted(Author.objects.filter(**lookups).values_list("name", flat=True))


def test_regular_expressions_have_back_references_and_lookaround():
    for name in ("Abba", "Anna", "Émile", "foobar", "foobaz", "line\nbreak"):
        Author.objects.create(name=name)
    assert names(name__regex=r"(.)\1a") == ["Abba", "Anna"]
    assert names(name__regex=r"foo(?!bar)") == ["foobaz"]
    assert names(name__iregex=r"^é\w+$") == ["Émile"]
    assert names(name__regex=r"e.b") == ["line\nbreak"]
    assert names(name__regex=r"(?n)^break") == ["line\nbreak"]
    assert names(name__regex=r"\mfoo") == ["foobar", "foobaz"]


@pytest.mark.parametrize("pattern", ["(", "a**", "[z-a]", "(?R)", r"\1"])
def test_what_is_no_pattern_is_an_error_of_the_data(pattern):
    Author.objects.create(name="a")
    with pytest.raises(DataError) as caught:
        names(name__regex=pattern)
    assert caught.value.__cause__.sqlstate == "2201B"


def test_a_hostile_pattern_ends():
    Author.objects.create(name="a" * 60 + "b")
    with pytest.raises(DataError, match="too many ways"):
        names(name__regex=r"^(a+)+$")


def test_raw_operators_match_like_the_lookups():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'abab' ~ %s, 'ABAB' ~* %s, 'abab' !~ %s, 'x' !~* %s", [r"(ab)\1", r"(ab)\1", "b$", "X"])
        assert cursor.fetchone() == (True, True, False, False)


@pytest.mark.parametrize("function", [SHA224, SHA384, SHA512])
def test_sha2(function):
    for name in ("", "Émile", "x" * 99):
        Author.objects.create(name=name)
    digest = getattr(hashlib, function.__name__.lower())
    assert dict(Author.objects.values_list("name", function("name"))) == {
        name: digest(name.encode()).hexdigest() for name in ("", "Émile", "x" * 99)
    }
