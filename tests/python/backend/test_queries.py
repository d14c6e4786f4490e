"""Queries whose answers are PostgreSQL's where the engine's own differ."""

import datetime
import hashlib
import json

import pytest
from django.db import DataError, connection
from django.db.models import Count, F, Q, Value
from django.db.models.fields.json import KeyTransform
from django.db.models.fields.tuple_lookups import (
    TupleExact,
    TupleGreaterThan,
    TupleGreaterThanOrEqual,
    TupleIn,
    TupleLessThan,
    TupleLessThanOrEqual,
)
from django.db.models.functions import SHA224, SHA384, SHA512, Upper
from iceapp.models import Author, Book

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


@pytest.fixture
def pairs(db):
    """Books as pairs of numbers and NULLs: (read_in, author)."""
    authors = [Author.objects.create(name=name) for name in "ab"]
    for days in (1, 2, None):
        for author in (*authors, None):
            Book.objects.create(title="x", read_in=days and datetime.timedelta(days), author=author)
    return authors


def compared(sign, left, right):
    """PostgreSQL's comparison of rows: from the left, up to the first pair that differs or has a NULL."""
    for a, b in zip(left, right, strict=True):
        if a is None or b is None:
            # Equality goes on: a later pair may still differ.
            if sign == "=" and any(None not in pair and pair[0] != pair[1] for pair in zip(left, right, strict=True)):
                return False
            return None
        if a != b:
            return {"=": False, "<": a < b, "<=": a < b, ">": a > b, ">=": a > b}[sign]
    return sign in ("=", "<=", ">=")


@pytest.mark.parametrize(
    ("sign", "lookup"),
    [
        ("=", TupleExact),
        ("<", TupleLessThan),
        ("<=", TupleLessThanOrEqual),
        (">", TupleGreaterThan),
        (">=", TupleGreaterThanOrEqual),
    ],
)
def test_rows_compare_as_in_postgresql(pairs, sign, lookup):
    columns = F("read_in"), F("author_id")
    for other in Book.objects.all():
        right = other.read_in, other.author_id
        one = Book.objects.filter(pk=other.pk).values("read_in", "author_id")[:1].query
        for condition in (lookup(columns, one), *([] if None in right else [lookup(columns, right)])):
            for wanted, query in ((True, Q(condition)), (False, ~Q(condition))):
                found = set(Book.objects.filter(query).values_list("read_in", "author_id"))
                assert found == {
                    left
                    for left in Book.objects.values_list("read_in", "author_id")
                    if compared(sign, left, right) is wanted
                }, (sign, right, wanted)


def test_many_rows_are_looked_for_at_once(pairs):
    day = datetime.timedelta(1)
    rows = [(day * i, pairs[0].pk) for i in range(2, 3000)]
    found = Book.objects.filter(TupleIn((F("read_in"), F("author_id")), rows)).values_list("read_in", "author_id")
    assert list(found) == [(day * 2, pairs[0].pk)]
    # With a NULL on either side a row is neither in nor out.
    others = Book.objects.exclude(TupleIn((F("read_in"), F("author_id")), rows[:2])).values_list("read_in", "author_id")
    assert sorted(others, key=str) == sorted(
        [(day, pairs[0].pk), (day, pairs[1].pk), (day * 2, pairs[1].pk), (day, None), (None, pairs[1].pk)], key=str
    )


def test_distinct_on_comes_in_order_and_takes_the_first_stored():
    for name in "cab":
        author = Author.objects.create(name=name)
        for pages in (3, 1, 2):
            Book.objects.create(title=name * pages, author=author, pages=pages)
    one_each = Book.objects.distinct("author__name")
    assert list(one_each.values_list("title", flat=True)) == ["aaa", "bbb", "ccc"]
    assert one_each.count() == 3
    first = one_each.order_by("author__name", "pages")
    assert list(first.values_list("title", flat=True)) == ["a", "b", "c"]
    assert list(Book.objects.distinct("pages").order_by("-pages").values_list("title")) == [("ccc",), ("cc",), ("c",)]
    upper = Book.objects.annotate(upper=Upper("author__name"), two=Value(2)).distinct("upper", "two", "pages")
    assert [b.title for b in upper] == ["a", "aa", "aaa", "b", "bb", "bbb", "c", "cc", "ccc"]
    assert Author.objects.filter(books__in=one_each).count() == 3


def test_a_union_comes_in_order():
    for i in range(50):
        Author.objects.create(name=f"{i * 37 % 50:02}")
    low, high = Author.objects.filter(name__lt="30"), Author.objects.filter(name__gte="20")
    union = low.values_list("name", flat=True).union(high.values_list("name", flat=True))
    assert list(union) == [f"{i:02}" for i in range(50)]
    assert list(union[:2]) == ["00", "01"]
    assert list(union.order_by("-name")[:2]) == ["49", "48"]
    assert union.count() == 50 and union.exists()


KEYS = [
    "a",
    "",
    " ",
    'say "x"',
    "it's",
    "100%",
    "%s",
    "a/b",
    "~",
    "~1",
    "$",
    "$.a",
    "*",
    "[0]",
    "#",
    "a\\b",
    "é",
    "😀",
    "\n",
    "0",
    "-1",
]


@pytest.mark.parametrize("key", KEYS)
def test_any_text_is_a_key_of_json(db, key):
    Book.objects.create(title="has", data={key: {key: [7]}, "other": 1})
    Book.objects.create(title="has not", data={"other": {"x": 1}})
    Book.objects.create(title="null", data={key: None})

    def titles(**lookups):
        return sorted(Book.objects.filter(**lookups).values_list("title", flat=True))

    assert titles(data__has_key=key) == ["has", "null"]
    assert titles(data__has_keys=[key, "other"]) == ["has"]
    assert titles(data__has_any_keys=[key, "other"]) == ["has", "has not", "null"]
    assert titles(data__contains={key: {key: [7]}}) == ["has"]
    assert titles(data__contained_by={key: None, "x": 1}) == ["null"]
    if key.lstrip("-").isdigit():
        # Alone it is an index of an array; below another key it is either.
        assert titles(**{f"data__{key}__isnull": False}) == []
        Book.objects.create(title="list", data=[1, {"x": [key]}])
        index = Book.objects.filter(title="list").values_list(f"data__{key}", flat=True)
        assert list(index) == [1 if key == "0" else {"x": [key]}]
        return
    books = Book.objects.annotate(
        at=KeyTransform(key, "data"), below=KeyTransform(0, KeyTransform(key, KeyTransform(key, "data")))
    )
    assert books.get(at={key: [7]}) == books.get(below=7) == Book.objects.get(title="has")
    assert books.get(at=None).title == "null"
    assert books.get(at__isnull=True).title == "has not"


def test_json_compares_as_jsonb(db):
    values = ["b", "a", 2, 1.5, True, False, [1, 2], [], {"b": 1, "a": 2}, {"a": 0}, [{"x": 1.0}]]
    for i, value in enumerate(values):
        Book.objects.create(title=str(i), data={"v": value})
    ordered = Book.objects.order_by(KeyTransform("v", "data")).values_list("data__v", flat=True)
    assert list(ordered) == [[], "a", "b", 1.5, 2, False, True, [{"x": 1.0}], [1, 2], {"a": 0}, {"b": 1, "a": 2}]
    assert Book.objects.filter(data__v={"a": 2.0, "b": 1}).get().title == "8"
    assert Book.objects.filter(data__v=[{"x": 1}]).get().title == "10"
    assert Book.objects.filter(data={"v": 2.0}).get().title == "2"
    assert {b.title for b in Book.objects.filter(data__v__gt=1.5, data__v__lt=[1])} == {"2", "4", "5"}
    assert {b.title for b in Book.objects.filter(data__v__in=["a", 2.0, [1.0, 2]])} == {"1", "2", "6"}
    # A text among the elements of an array, or the text itself, is there as a key is.
    Book.objects.create(title="text", data={"v": ["k"]})
    assert Book.objects.filter(data__v__has_key="k").get().title == "text"
    assert Book.objects.filter(data__v__has_key="a").count() == 3
    assert Book.objects.filter(data__icontains='"b": 1, "a"').count() == 0
    assert Book.objects.filter(data__icontains='"A": 2, "b": 1').get().title == "8"


def test_explain_has_formats(db):
    books = Book.objects.filter(pages__gt=3)
    assert "iceapp_book" in str(books.query) and books.explain() == books.explain(format="text")
    assert isinstance(json.loads(books.explain(format="json")), list)
    assert books.explain(format="YAML").startswith("- name:")
    assert len(books.explain(analyze=True)) > len(books.explain())
    assert json.loads(books.explain(format="json", analyze=True))
    with pytest.raises(
        ValueError, match="XML is not a recognized format. Allowed formats: GRAPHVIZ, HTML, JSON, MERMAID, TEXT, YAML"
    ):
        books.explain(format="xml")
    with pytest.raises(ValueError, match="Unknown options: verbose"):
        books.explain(verbose=True)


def test_the_first_groups_are_those_with_the_least_keys(db):
    authors = [Author.objects.create(name=f"{i * 37 % 50:02}") for i in range(50)]
    Book.objects.bulk_create(Book(title="x", author=author) for author in authors for _ in range(2))
    counted = Author.objects.annotate(n=Count("books"))
    assert list(counted[:3]) == authors[:3]
    assert list(counted.values_list("name", "n")[5:7]) == [(authors[i].name, 2) for i in (5, 6)]
    assert list(Author.objects.values_list("name").annotate(n=Count("books"))[:2]) == [("00", 2), ("01", 2)]
    assert counted[:3].count() == 3
