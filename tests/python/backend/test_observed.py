"""What watches queries sees each of them, whatever way it goes; rows are streamed; the ORM's asynchronous methods."""

import asyncio
import datetime
import subprocess
import sys
import textwrap
import tracemalloc

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.db.models import Avg, Count
from django.test import TransactionTestCase
from django.test.utils import CaptureQueriesContext
from iceapp.models import Author, Book, Tag

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def books():
    author = Author.objects.create(name="a")
    return Book.objects.bulk_create([Book(author=author, title=f"t{i}", pages=i) for i in range(20)])


WAYS = {
    "by a key, without the engine": (lambda book: Book.objects.get(pk=book.pk), "fast"),
    "through the engine": (
        lambda book: list(Book.objects.values("author__name").annotate(n=Count("*"), m=Avg("pages"))),
        "engine",
    ),
    "as Arrow": (lambda book: Book.objects.filter(pages__gt=3).to_polars(), None),
    "a row's history": (lambda book: list(book.history()), None),
    "the past": (lambda book: list(Book.objects.as_of(datetime.datetime.now(datetime.UTC)).values("title")), None),
    "a write": (lambda book: Book.objects.filter(pk=book.pk).update(title="new"), None),
    "several rows": (lambda book: Book.objects.bulk_create([Book(title="x"), Book(title="y")]), None),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_seen(books, way):
    act, path = WAYS[way]
    seen = []

    def wrapper(execute, sql, params, many, context):
        seen.append(sql)
        result = execute(sql, params, many, context)
        seen.append(context["cursor"].cursor.path if path else None)
        return result

    with CaptureQueriesContext(connection) as captured, connection.execute_wrapper(wrapper):
        act(books[0])
    queries = [q for q in captured if q["sql"] not in ("BEGIN", "COMMIT")]
    assert len(queries) == 1 and float(queries[0]["time"]) >= 0
    assert len(seen) == 2 and seen[1] == path
    assert "iceapp_book" in queries[0]["sql"] and "%s" not in queries[0]["sql"]

    case = TransactionTestCase()
    with case.assertNumQueries(len(captured)):
        act(books[0])


def test_rows_are_streamed():
    Tag.objects.bulk_create([Tag(name=f"tag {i}") for i in range(60_000)])
    connection.connection.flush()
    for fast_path in (True, False):
        connection.connection.fast_path = fast_path
        try:
            tracemalloc.start()
            count = sum(1 for _ in Tag.objects.iterator(chunk_size=100))
            _, streamed = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            assert len(list(Tag.objects.all())) == count == 60_000
            _, held = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            connection.connection.fast_path = True
        # A hundred rows, and what the connection keeps besides, against all of them.
        assert streamed < held / 50


def test_asynchronous_methods():
    async def act():
        author = await Author.objects.acreate(name="async")
        await Book.objects.abulk_create([Book(author=author, title=f"t{i}") for i in range(5)])
        try:
            return [
                (await Author.objects.aget(name="async")).pk == author.pk,
                [book.title async for book in Book.objects.order_by("title")],
                [book.title async for book in Book.objects.order_by("title").aiterator(chunk_size=2)],
                await Book.objects.acount(),
                await Book.objects.filter(title="t1").aupdate(title="new"),
                (await Book.objects.aaggregate(n=Count("*")))["n"],
                (await Author.objects.aget_or_create(name="async"))[1],
                (await Book.objects.filter(title="new").adelete())[0],
                await Book.objects.filter(title="new").aexists(),
            ]
        finally:
            await sync_to_async(connections.close_all)()

    titles = [f"t{i}" for i in range(5)]
    assert asyncio.run(act()) == [True, titles, titles, 5, 1, 5, False, 1, False]


def test_a_mirror_is_its_database(tmp_path):
    """TEST["MIRROR"], in a process of its own."""
    script = (
        textwrap.dedent("""
        import django
        from django.conf import settings

        def database(name, **test):
            return {"ENGINE": "polars_iceberg.backend", "WAREHOUSE": f"%s/{name}", "TEST": test}

        settings.configure(
            DATABASES={"default": database("w"), "replica": database("r", MIRROR="default")},
            INSTALLED_APPS=["django.contrib.contenttypes"],
        )
        django.setup()
        from django.contrib.contenttypes.models import ContentType
        from django.db import connections
        from django.test.utils import setup_databases, teardown_databases

        made = setup_databases(verbosity=0, interactive=False)
        ContentType.objects.create(app_label="a", model="b")
        assert ContentType.objects.using("replica").filter(app_label="a").count() == 1
        assert connections["replica"].settings_dict["WAREHOUSE"] == connections["default"].settings_dict["WAREHOUSE"]
        teardown_databases(made, verbosity=0)
        print("same")
    """)
        % tmp_path
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.stdout == "same\n", done.stderr
