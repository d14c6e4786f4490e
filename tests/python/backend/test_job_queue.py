"""select_for_update() in a subquery: the job queue of one statement."""

import pytest
from django.db import connection, transaction
from django.db.models import F
from iceapp.models import Author, Book

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def other():
    """A second connection, in a transaction, which holds the first of six authors."""
    Author.objects.bulk_create(Author(name=f"a{i}") for i in range(6))
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute("SELECT id FROM iceapp_author WHERE name = 'a0' FOR UPDATE")
    yield other
    other.rollback()
    other.close()


def names(rows):
    return sorted(rows.values_list("name", flat=True))


def test_an_update_of_the_first_that_nobody_has(other):
    queue = (
        Author.objects.select_for_update(skip_locked=True).filter(name__startswith="a").order_by("pk").values("pk")[:2]
    )
    with transaction.atomic():
        assert Author.objects.filter(pk__in=queue).update(name="w") == 2
        assert names(Author.objects.all()) == ["a0", "a3", "a4", "a5", "w", "w"]
        with other.cursor() as cursor:
            cursor.execute("SELECT name FROM iceapp_author ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED")
            assert cursor.fetchall() == [("a0",), ("a3",)], "the others are free"
        assert names(Author.objects.filter(pk__in=queue)) == ["a4", "a5"], "which the other connection left"


def test_rows_of_a_locking_subquery_and_their_deletion(other):
    queue = Author.objects.select_for_update(skip_locked=True).order_by("-pk")[:1]
    with transaction.atomic():
        assert names(Author.objects.filter(pk__in=queue.values("pk"))) == ["a5"]
        assert Author.objects.filter(pk__in=queue.values("pk")).delete()[0] == 1
        assert queue.get().name == "a4"


def test_of_a_relation_locks_that_alone(other):
    with transaction.atomic():
        held = Author.objects.get(name="a0")
        mine = Author.objects.get(name="a1")
        for author in (held, mine):
            Book.objects.create(author=author, title=f"by {author.name}")
        books = Book.objects.select_related("author").order_by("pk")
        assert [book.title for book in books.select_for_update(skip_locked=True, of=("self",))] == ["by a0", "by a1"]
        assert [book.title for book in books.select_for_update(skip_locked=True, of=("author",))] == ["by a1"]


def test_a_locked_row_by_an_expression_s_order(other):
    with transaction.atomic():
        first = Author.objects.select_for_update(skip_locked=True).annotate(back=-F("pk")).order_by("-back").first()
        assert first.name == "a1"
