"""Reading the past of models, with and without the mixin."""

import asyncio
import copy
import datetime
import pickle

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, models, transaction
from django.db.models import Count, Sum
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
