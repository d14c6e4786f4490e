"""Reading the past of models, with and without the mixin."""

import asyncio
import copy
import datetime
import operator
import pickle
import re

import pytest
from django.core.management import call_command
from django.db import DatabaseError, NotSupportedError, connection, models, transaction
from django.db.models import Count, Exists, OuterRef, Subquery, Sum
from django.db.models.expressions import RawSQL
from django.test.utils import CaptureQueriesContext, isolate_apps, override_settings
from django.utils import timezone
from iceapp.models import Author, Book, BookManager, Event, Reader, Special, Tag

from polars_iceberg import timetravel


def test_the_mixin_extends_the_managers_a_model_has():
    assert isinstance(Book.objects, BookManager)
    assert Book._default_manager.name == "objects"
    for manager in (Book.objects, Reader.objects, Special.published, Tag.objects):
        assert callable(manager.as_of) and callable(manager.all().as_of)
    assert Reader.objects.create_superuser and Book.objects.long and Book.objects.all().long
    assert [m.name for m in Special._meta.managers] == ["published"]
    assert Special._default_manager.name == "published"


def test_migrations_see_the_models_own_managers():
    assert Book.objects.deconstruct()[1] == "iceapp.models.BookManager"
    from django.db.migrations.state import ModelState

    state = ModelState.from_model(Book)
    assert dict(state.managers)["objects"].deconstruct()[1] == "iceapp.models.BookManager"
    plain = BookManager()
    plain.__dict__.update(Book.objects.__dict__)
    assert plain == Book.objects and Book.objects == plain
    assert state.bases == (models.Model,)


def test_querysets_pickle(db):
    Book.objects.create(title="a")
    queryset = pickle.loads(pickle.dumps(Book.objects.long() | Book.objects.filter(title="a")))
    assert [b.title for b in queryset] == ["a"]
    assert callable(queryset.long) and callable(queryset.as_of)


def moment():
    """A commit time between what was committed before and after."""
    return timetravel.now()


def test_as_of_reads_what_was(db):
    author = Author.objects.create(name="Ann")
    book = Book.objects.create(title="One", author=author, pages=10)
    before = moment()
    Book.objects.filter(pk=book.pk).update(title="Two", pages=20)
    Book.objects.create(title="Other", pages=5)
    assert [b.title for b in Book.objects.as_of(commit_time=before)] == ["One"]
    past = Book.objects.as_of(commit_time=before)
    assert past.filter(pages__lt=15).count() == 1
    assert past.aggregate(Sum("pages")) == {"pages__sum": 10}
    assert past.values_list("title", flat=True).get() == "One"
    assert past.exists() and past.get(pk=book.pk).pages == 10
    assert Book.objects.get(pk=book.pk).title == "Two"


def test_a_datetime_is_an_instant(db):
    Tag.objects.create(name="a")
    at = timetravel.to_datetime(moment())
    assert at.tzinfo is not None
    Tag.objects.all().delete()
    assert Tag.objects.as_of(at).count() == 1
    assert Tag.objects.count() == 0
    with pytest.warns(RuntimeWarning, match="naive"):
        assert Tag.objects.as_of(timezone.make_naive(at)).count() == 1


def test_before_the_first_commit_is_empty_and_the_future_is_an_error(db):
    Tag.objects.create(name="a")
    assert not Tag.objects.as_of(datetime.datetime(1999, 1, 1, tzinfo=datetime.UTC)).exists()
    future = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    with pytest.raises(timetravel.FutureInstant):
        Tag.objects.as_of(future)
    with pytest.raises(TypeError, match="exactly one"):
        Tag.objects.as_of()
    with pytest.raises(TypeError, match="datetime"):
        Tag.objects.as_of("yesterday")


def test_past_instances_know_it(db):
    ann = Author.objects.create(name="Ann")
    book = Book.objects.create(title="One", author=ann)
    tag = Tag.objects.create(name="t")
    book.tags.add(tag)
    before = moment()
    Author.objects.update(name="Bob")
    Tag.objects.update(name="u")
    Book.objects.create(title="Second", author=ann)
    past = Book.objects.as_of(commit_time=before).get()
    assert past.is_past and past.past_instant == before
    # Relations forward, backward and many to many, of models with and without the mixin.
    assert past.author.name == "Ann"
    assert [b.title for b in past.author.books.all()] == ["One"]
    assert [t.name for t in past.tags.all()] == ["t"]
    assert book.author.name == "Ann" and Author.objects.get().name == "Bob"
    # Deferred fields and refreshing.
    lazy = Book.objects.as_of(commit_time=before).defer("title").get()
    Book.objects.update(title="Changed")
    assert lazy.title == "One"
    past.refresh_from_db()
    assert past.title == "One"
    # Joined and prefetched.
    joined = Book.objects.as_of(commit_time=before).select_related("author").prefetch_related("tags").get()
    assert joined.author.name == "Ann" and joined.author._state.db == "default"
    assert [t.name for t in joined.tags.all()] == ["t"]
    for other in (pickle.loads(pickle.dumps(past)), copy.deepcopy(past)):
        assert other.is_past and other.author.name == "Ann"


def test_the_past_cannot_be_written(db):
    book = Book.objects.create(title="One", author=Author.objects.create(name="Ann"))
    tag = Tag.objects.create(name="x")
    before = moment()
    past = Book.objects.as_of(commit_time=before)
    instance = past.get()
    for write in (
        instance.save,
        instance.delete,
        lambda: past.update(title="x"),
        past.delete,
        lambda: past.create(title="x"),
        lambda: past.bulk_create([Book(title="x")]),
        lambda: instance.tags.add(tag),
        lambda: past.select_for_update().get(),
        instance.author.save,
        instance.author.delete,
        lambda: instance.author.books.create(title="x"),
    ):
        with pytest.raises(timetravel.TimeTravelError), transaction.atomic():
            write()
    assert Book.objects.get() == book
    with pytest.raises(
        timetravel.PastError, match=r"new iceapp.Book: its author, iceapp.Author \d+, is as of .*\+00:00"
    ):
        Book.objects.create(title="x", author=instance.author)
    assert Book.objects.create(title="x", author_id=instance.author.pk).author.name == "Ann"


def test_any_model_and_manager(db):
    Author.objects.create(name="Ann")
    before = moment()
    Author.objects.update(name="Bob")
    for source in (Author, Author.objects, Author.objects.all(), Author._base_manager.filter(pk__gt=0)):
        assert timetravel.at(source, commit_time=before).get().name == "Ann"
    assert Event.objects.as_of(commit_time=before).count() == 0
    with pytest.raises(timetravel.TimeTravelError, match="no history"):
        timetravel.at(Author.objects.using("elsewhere"), commit_time=before)
    with pytest.raises(timetravel.TimeTravelError, match="enabled"):
        Special.published.as_of(commit_time=before)


def test_a_block(db):
    ann = Author.objects.create(name="Ann")
    when = timetravel.to_datetime(moment())
    ann.name = "Bob"
    ann.save()
    with timetravel.as_of(when):
        inside = Author.objects.get()
        assert inside.name == "Ann"
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM iceapp_author")
            assert cursor.fetchall() == [("Ann",)]
        with pytest.raises(timetravel.TimeTravelError):
            Author.objects.create(name="x")
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            cursor.execute("DELETE FROM iceapp_author")
        Book.objects.filter(author=inside).count()
    assert Author.objects.get().name == "Bob"
    # What was read inside stays past outside.
    with pytest.raises(timetravel.PastError):
        inside.save()

    @timetravel.as_of(when)
    def read():
        return Author.objects.get().name

    assert read() == "Ann"


def test_blocks_are_apart_in_async_tasks(db):
    author = Author.objects.create(name="Ann")
    when = timetravel.to_datetime(moment())
    author.name = "Bob"
    author.save()

    async def past():
        with timetravel.as_of(when):
            await asyncio.sleep(0.01)
            return (await Author.objects.aget()).name

    async def present():
        await asyncio.sleep(0.005)
        return (await Author.objects.aget()).name

    async def both():
        return await asyncio.gather(past(), present())

    assert asyncio.run(both()) == ["Ann", "Bob"]


def test_history_diff_and_restore(db):
    book = Book.objects.create(title="One", pages=1)
    pk = book.pk
    book.title = "Two"
    book.save()
    book.pages = 3
    book.save()
    # Tests share keys, and a key's history is that of all its rows.
    versions = book.history()[:3]
    assert [(v.title, v.pages, v.operation) for v in versions] == [
        ("Two", 3, "update"),
        ("Two", 1, "update"),
        ("One", 1, "insert"),
    ]
    assert all(v.snapshot_timestamp.tzinfo is not None for v in versions)
    assert versions[0].snapshot_timestamp > versions[2].snapshot_timestamp
    assert versions[2].diff(versions[0]) == {"title": ("One", "Two"), "pages": (1, 3)}
    assert versions[2].is_past
    restored = versions[2].restore()
    assert not restored.is_past
    assert (Book.objects.get().title, Book.objects.get().pages) == ("One", 1)
    Book.objects.all().delete()
    gone = versions[0].history()
    assert gone[0].title == "Two"
    latest = timetravel.history(Book(pk=pk))
    assert [v.operation for v in latest[:5]] == ["delete", "update", "update", "update", "insert"]
    latest[0].restore()
    assert Book.objects.get(pk=pk).title == "One"


def test_changes(db):
    Tag.objects.create(name="a")
    since = moment()
    with transaction.atomic():
        Tag.objects.filter(name="a").update(name="b")
        Tag.objects.create(name="c")
    Tag.objects.filter(name="c").delete()
    until = moment()
    Tag.objects.create(name="later")
    found = [(c.operation, c.instance.name) for c in Tag.objects.changes(since, until)]
    assert sorted(found[:2]) == [("insert", "c"), ("update", "b")]
    assert found[2:] == [("delete", "c")]
    only = Tag.objects.filter(name="b").changes(since, until)
    assert [c.instance.name for c in only] == ["b"]


def test_snapshots_put_the_tail_first(db):
    Tag.objects.create(name="a")
    first = Tag.objects.snapshots()[0]
    assert (first.snapshot_id, first.operation) == (None, "pending")
    call_command("iceberg_flush", "iceapp_tag", verbosity=0)
    published = Tag.objects.snapshots()[0]
    assert published.snapshot_id is not None
    Tag.objects.all().delete()
    assert Tag.objects.as_of(snapshot_id=published.snapshot_id).get().name == "a"
    assert Tag.objects.as_of(published).get().name == "a"
    with pytest.raises(timetravel.SnapshotNotFound):
        Tag.objects.as_of(snapshot_id=1)


def test_each_read_is_one_query(db):
    book = Book.objects.create(title="One")
    before = moment()
    with CaptureQueriesContext(connection) as queries:
        Book.objects.as_of(commit_time=before).get()
    assert len(queries) == 1
    with CaptureQueriesContext(connection) as queries:
        list(Book.objects.values("title").annotate(n=Count("pk")))
    assert len(queries) == 1
    assert book.pk


def test_without_use_tz(db):
    with override_settings(USE_TZ=False, TIME_ZONE="America/Chicago"):
        connection.close()
        Tag.objects.create(name="a")
        when = timetravel.to_datetime(moment())
        assert when.tzinfo is None
        Tag.objects.all().delete()
        assert Tag.objects.as_of(when).count() == 1
    connection.close()


def test_a_field_that_hides_a_name_is_an_error():
    with isolate_apps("iceapp"):

        class Clash(timetravel.TimeTravelMixin, models.Model):
            history = models.TextField()

            class Meta:
                app_label = "iceapp"

        assert [e.id for e in Clash.check() if e.id.startswith("django_iceberg")] == ["django_iceberg.E010"]
    assert not [e for e in Book.check() if e.id.startswith("django_iceberg")]


@pytest.fixture
def shelf(db):
    """Two books as of `before`; now one is renamed, one is gone, and one is new."""
    author = Author.objects.create(name="Ann")
    for title, pages in (("stays", 10), ("goes", 20)):
        Book.objects.create(title=title, pages=pages, author=author)
    before = moment()
    Author.objects.update(name="Bob")
    Book.objects.filter(title="stays").update(title="stayed", pages=11)
    Book.objects.filter(title="goes").delete()
    Book.objects.create(title="new", pages=30, author=author)
    return before


def titles(queryset):
    return sorted(queryset.values_list("title", flat=True))


def test_each_part_of_a_query_is_read_at_its_own_instant(shelf):
    now, past = Book.objects.all(), Book.objects.as_of(commit_time=shelf)
    assert titles(now.exclude(pk__in=past.values("pk"))) == ["new"]
    assert titles(now.filter(pk__in=past)) == ["stayed"]
    assert titles(past.exclude(pk__in=now.values("pk"))) == ["goes"]
    assert titles(now.filter(Exists(past.filter(pk=OuterRef("pk"))))) == ["stayed"]
    assert titles(past.filter(~Exists(now.filter(pk=OuterRef("pk"))))) == ["goes"]
    then = Subquery(past.filter(pk=OuterRef("pk")).values("pages")[:1])
    assert sorted(now.annotate(then=then).values_list("pages", "then")) == [(11, 10), (30, None)]
    assert now.filter(pages__gt=then).count() == 1
    assert now.filter(pages__gt=then).aggregate(n=Count("pk")) == {"n": 1}
    assert now.values_list("title").annotate(n=Count("pk", filter=models.Q(pk__in=past))).filter(n=1).count() == 1
    late = Book.objects.as_of(commit_time=moment())
    Book.objects.all().delete()
    assert titles(late.exclude(pk__in=past)) == ["new"]
    assert titles(past.exclude(pk__in=late)) == ["goes"]
    assert titles(late.filter(pk__in=past.filter(pk__in=late))) == ["stayed"]
    assert not late.filter(pk__in=Book.objects.all()).exists()


def test_a_query_without_its_queryset_keeps_its_instant(shelf):
    past = Book.objects.as_of(commit_time=shelf)
    assert titles(Book.objects.exclude(pk__in=past.values("pk").query)) == ["new"]
    assert Book.objects.filter(Exists(past.filter(pk=OuterRef("pk")).query)).count() == 1
    queryset = Book.objects.all()
    queryset.query = past.query
    assert titles(queryset) == ["goes", "stays"] and queryset.filter(title="goes").count() == 1
    present = past.using("default")
    assert titles(present) == ["new", "stayed"]
    assert present.values("author").annotate(n=Count("pk")).aggregate(Sum("n")) == {"n__sum": 2}
    assert titles(Book.objects.filter(pk__in=present.query)) == ["new", "stayed"]


def test_joins_of_a_part_are_read_at_its_instant(shelf):
    past = Book.objects.as_of(commit_time=shelf)
    assert Book.objects.filter(pk__in=past.filter(author__name="Ann")).count() == 1
    assert not Book.objects.filter(pk__in=past.filter(author__name="Bob")).exists()
    assert titles(Book.objects.filter(author__in=past.values("author"))) == ["new", "stayed"]
    writers = Author.objects.filter(name="Bob").filter(
        pk__in=timetravel.at(Author, commit_time=shelf).filter(name="Ann")
    )
    assert titles(Book.objects.filter(author__in=writers)) == ["new", "stayed"]
    # Conditions over many rows become subqueries of Django's own, which belong to the part they are in.
    authors = timetravel.at(Author, commit_time=shelf)
    assert Author.objects.filter(pk__in=authors.exclude(books__title="stayed")).exists()
    assert not Author.objects.filter(pk__in=authors.exclude(books__title="stays")).exists()
    twice = authors.filter(books__title="stays").filter(books__title="goes")
    assert Author.objects.filter(pk__in=twice).count() == 1
    # The relations of a past instance are of its instant, also as a part.
    ann = authors.get()
    assert titles(Book.objects.exclude(pk__in=ann.books.all())) == ["new"]
    assert titles(Book.objects.filter(pk__in=Subquery(ann.books.values("pk")))) == ["stayed"]


def test_set_operations_of_instants(shelf):
    now, past = Book.objects.values_list("title"), Book.objects.as_of(commit_time=shelf).values_list("title")
    keys = Book.objects.values("pk"), Book.objects.as_of(commit_time=shelf).values("pk")
    assert sorted(now.union(past)) == [("goes",), ("new",), ("stayed",), ("stays",)]
    assert sorted(past.union(now)) == sorted(now.union(past)) and past.union(now).count() == 4
    assert keys[0].difference(keys[1]).count() == keys[1].difference(keys[0]).count() == 1
    assert keys[0].intersection(keys[1]).count() == keys[1].intersection(keys[0]).count() == 1
    assert [b.title for b in Book.objects.difference(Book.objects.as_of(commit_time=shelf)).order_by("title")] == [
        "new",
        "stayed",
    ]
    gone = Book.objects.as_of(commit_time=shelf).difference(Book.objects.all()).order_by("title")
    assert [(b.title, b.is_past) for b in gone] == [("goes", True), ("stays", True)]
    with pytest.raises(NotSupportedError, match=r"as of different instants .*\+00:00, the present"):
        list(Book.objects.union(Book.objects.as_of(commit_time=shelf)))


def test_one_set_of_tables_has_one_instant(shelf):
    now, past = Book.objects.filter(pages__gt=0), Book.objects.as_of(commit_time=shelf)
    earlier = Book.objects.as_of(commit_time=shelf - 1)
    for one, other in ((now, past), (past, now), (past, earlier)):
        for combine in (operator.and_, operator.or_, operator.xor):
            with pytest.raises(ValueError, match=r"different instants, .*\+00:00"):
                combine(one, other)
    assert titles(past.filter(pages=10) | past.filter(pages=20)) == ["goes", "stays"]
    assert titles(past.order_by("pages")[:1] | past.filter(pages=20)) == ["goes", "stays"]
    assert titles(past & past.filter(pages=20)) == ["goes"]
    assert titles(past | now.none()) == ["goes", "stays"] and titles(now.none() | now) == ["new", "stayed"]


def test_parts_in_a_block(shelf):
    now, past = Book.objects.all(), Book.objects.as_of(commit_time=shelf)
    late = timetravel.now()
    Book.objects.all().delete()
    with timetravel.as_of(commit_time=late):
        assert titles(now) == ["new", "stayed"]
        assert titles(now.exclude(pk__in=past)) == ["new"]
        assert titles(past.exclude(pk__in=now)) == ["goes"]
        assert titles(now.filter(pk__in=Book.objects.values("pk"))) == ["new", "stayed"]


def test_the_past_as_part_of_a_write(shelf):
    past = Book.objects.as_of(commit_time=shelf)
    with transaction.atomic():
        Book.objects.filter(title="new").update(title="newer")
        # The present has the transaction's own changes.
        assert titles(Book.objects.exclude(pk__in=past)) == ["newer"]
        assert Book.objects.select_for_update().filter(pk__in=past).get().title == "stayed"
    Book.objects.filter(pk__in=past).update(pages=Subquery(past.filter(pk=OuterRef("pk")).values("pages")[:1]))
    assert Book.objects.get(title="stayed").pages == 10
    Book.objects.exclude(pk__in=past).delete()
    assert titles(Book.objects) == ["stayed"]


def test_what_a_part_cannot_be(shelf):
    past = Book.objects.as_of(commit_time=shelf)
    raw = RawSQL('(SELECT max(pages) FROM "iceapp_book")', (), models.IntegerField())
    assert past.annotate(top=raw).values_list("top", flat=True)[0] == 20
    with pytest.raises(NotSupportedError, match=r"Raw SQL .* as of .*\+00:00"):
        list(Book.objects.filter(pk__in=past.filter(pages=raw)))
    assert titles(Book.objects.filter(pk__in=past.annotate(n=RawSQL("pages + %s", (1,))).filter(n=11))) == ["stayed"]
    with pytest.raises(NotSupportedError, match="extra"):
        list(Book.objects.filter(pk__in=past.extra(tables=["iceapp_author"])))


def test_a_part_whose_history_has_expired(db):
    Tag.objects.create(name="a")
    before = moment()
    Tag.objects.update(name="b")
    after = moment()
    call_command("iceberg_flush", verbosity=0)
    call_command("iceberg_expire", "--before", timetravel.to_datetime(after).isoformat(), verbosity=0)
    past = Tag.objects.as_of(commit_time=before)
    text = timetravel.to_datetime(before).isoformat(timespec="microseconds")
    for queryset in (past, Tag.objects.filter(pk__in=past)):
        with pytest.raises(timetravel.HistoryExpired, match=re.escape(text)):
            list(queryset)


def test_parts_as_frames(shelf):
    past = Book.objects.as_of(commit_time=shelf)
    new, gone = Book.objects.exclude(pk__in=past), past.exclude(pk__in=Book.objects.all())
    assert new.to_polars()["title"].to_list() == ["new"]
    assert gone.to_polars()["title"].to_list() == ["goes"]
    lazy = new.to_polars(lazy=True), gone.to_polars(lazy=True)
    Book.objects.all().delete()
    assert [frame.collect()["title"].to_list() for frame in lazy] == [["new"], ["goes"]]
