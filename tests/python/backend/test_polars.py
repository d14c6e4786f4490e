"""Querysets as Arrow and Polars."""

import datetime
import decimal
import uuid

import pytest
from django.db import connection, transaction
from django.db.models import Count, F, Sum
from django.test.utils import CaptureQueriesContext
from iceapp.models import Author, Book, Event

from django_iceberg.polars import to_arrow, to_polars
from polars_iceberg import timetravel

pl = pytest.importorskip("polars")


@pytest.fixture
def books(db):
    ann, bob = Author.objects.create(name="Ann"), Author.objects.create(name="Bob")
    Book.objects.create(title="One", author=ann, pages=100, price="1.50", read_in=datetime.timedelta(hours=1))
    Book.objects.create(title="Two", author=bob, pages=400, price="2.25", data={"a": 1})
    return Book.objects.order_by("pages")


def test_a_queryset_is_a_frame(books):
    frame = books.to_polars()
    assert frame.columns == ["id", "author_id", "title", "pages", "price", "read_in", "data"]
    assert frame["title"].to_list() == ["One", "Two"]
    assert frame["price"].to_list() == [decimal.Decimal("1.50"), decimal.Decimal("2.25")]
    assert frame["read_in"].to_list() == [datetime.timedelta(hours=1), None]
    assert frame.schema["read_in"] == pl.Duration("us")
    assert frame["data"].to_list()[1] == '{"a": 1}'


def test_values_and_annotations_are_columns(books):
    frame = books.values("author__name", n=F("pages") + 1).to_polars()
    assert frame.to_dict(as_series=False) == {"author__name": ["Ann", "Bob"], "n": [101, 401]}
    groups = Author.objects.order_by("name").annotate(total=Sum("books__pages"), n=Count("books"))
    assert to_polars(groups)["total"].to_list() == [100, 400]
    assert to_polars(groups).schema["total"] == pl.Int64
    assert Book.objects.filter(pages__gt=1000).to_polars().height == 0


def test_arrow(books):
    pytest.importorskip("pyarrow")
    table = books.only("title").to_arrow()
    assert table.column_names == ["id", "title"] and table.num_rows == 2
    assert to_arrow(books).column("read_in").to_pylist()[0] == datetime.timedelta(hours=1)


def test_types(db):
    key = uuid.uuid4()
    at = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=datetime.UTC)
    Event.objects.create(at=at, key=key)
    frame = to_polars(Event.objects.all())
    assert frame["at"].to_list() == [at]
    assert frame["key"].to_list() == [str(key)]


def test_it_is_one_logged_query(books):
    with CaptureQueriesContext(connection) as queries:
        books.to_polars()
    assert len(queries) == 1 and "iceapp_book" in queries[0]["sql"]


def test_the_past_is_a_frame_too(books):
    before = timetravel.now()
    Book.objects.all().delete()
    assert Book.objects.as_of(commit_time=before).to_polars().height == 2
    assert Book.objects.to_polars().height == 0


def test_a_lazy_frame_sends_its_filter_and_columns(books):
    frame = books.to_polars(lazy=True)
    assert frame.collect_schema()["pages"] in (pl.Int32, pl.Int64)
    with CaptureQueriesContext(connection) as queries:
        result = frame.filter((pl.col("pages") > 200) & (pl.col("title") == "Two")).select("title").collect()
    assert result["title"].to_list() == ["Two"]
    if queries:
        assert "WHERE" in queries[-1]["sql"].split("AS ice_q")[1]
    assert frame.filter(pl.col("title").str.starts_with("O")).select("pages").collect()["pages"].to_list() == [100]
    assert frame.head(1).collect().height == 1
    assert frame.filter(pl.col("read_in").is_null() | (pl.col("pages") < 150)).collect().height == 2


def test_a_lazy_frame_is_pinned(books):
    frame = books.to_polars(lazy=True)
    Book.objects.all().delete()
    assert frame.collect().height == 2


@pytest.mark.parametrize(
    "empty", [lambda q: q.filter(pk__in=[]), lambda q: q.none(), lambda q: q[:0], lambda q: q.none().union(q.none())]
)
def test_what_is_empty_by_construction_has_its_columns(books, empty):
    values = Book.objects.values("pages", "title", "price", "read_in").annotate(n=Count("pk"))
    for queryset in (Book.objects.all(), values):
        wanted, none = queryset.to_polars(), empty(queryset)
        for frame in (none.to_polars(), none.to_polars(lazy=True).collect()):
            assert frame.height == 0 and frame.schema == wanted.schema
        assert none.to_arrow().schema == queryset.to_arrow().schema and none.to_arrow().num_rows == 0


def test_a_lazy_frame_in_a_transaction_sees_what_the_transaction_did(books):
    before = timetravel.now()
    with transaction.atomic():
        Book.objects.create(title="Own", pages=1)
        frame, past = books.to_polars(lazy=True), Book.objects.as_of(commit_time=before).to_polars(lazy=True)
        assert frame.filter(pl.col("title") == "Own").collect().height == 1
        Book.objects.all().delete()
        assert frame.collect().height == 3 and past.collect().height == 2
        transaction.set_rollback(True)
    assert frame.collect().height == 3
