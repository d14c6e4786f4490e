"""What ordinary Django code does all day, beside PostgreSQL: each call with the statements that it needs."""

import itertools
import random
from decimal import Decimal

from measure import interleaved
from peers import OURS, PEER, upkeep

AUTHORS, BOOKS, REVIEWS, TAGS = 2_000, 20_000, 60_000, 50
SINGLE, OTHER = {"at_most": 1.5}, {"at_most": 2.5}


def book(key, **values):
    from shop.models import Book

    return Book(
        **{
            "id": key,
            "author_id": key * 7919 % AUTHORS + 1,
            "title": f"book {key}",
            "pages": key % 900,
            "price": Decimal(key % 10_000) / 100,
            "weight": key % 1000 / 7,
            "text": f"about book {key} " * 5,
            **values,
        }
    )


def fill(alias):
    from shop.models import Author, Book, Review, Tag

    tagged = Book.tags.through
    for model, rows in [
        (Author, [Author(id=i, name=f"author {i}", email=f"a{i}@example.com") for i in range(1, AUTHORS + 1)]),
        (Tag, [Tag(id=i, name=f"tag {i}") for i in range(1, TAGS + 1)]),
        (Book, [book(i) for i in range(1, BOOKS + 1)]),
        (Review, [Review(book_id=i % BOOKS + 1, stars=i % 6, text=f"review {i}") for i in range(REVIEWS)]),
        (tagged, [tagged(book_id=i, tag_id=(i + n) % TAGS + 1) for i in range(1, BOOKS + 1) for n in (0, 7)]),
    ]:
        model.objects.using(alias).bulk_create(rows, 5_000)
    from django.core.management.color import no_style
    from django.db import connections

    with connections[alias].cursor() as cursor:  # ids were given: the next ones come after them
        for sql in connections[alias].ops.sequence_reset_sql(no_style(), [Author, Book, Review, Tag, tagged]):
            cursor.execute(sql)
    upkeep(alias)


class Works:
    """The same calls in the same order for both databases."""

    def __init__(self, alias):
        from shop.models import Author, Book, Review, Tag

        self.alias = alias
        self.random = random.Random(5)
        self.new = itertools.count(10_000_000)
        self.victims = itertools.count(BOOKS // 2 + 1)
        self.books, self.authors = Book.objects.using(alias), Author.objects.using(alias)
        self.reviews, self.tags = Review.objects.using(alias), Tag.objects.using(alias)
        self.tag = list(self.tags.order_by("pk"))

    def key(self):
        return self.random.randint(1, BOOKS // 2)

    def keys(self, n):
        return self.random.sample(range(1, BOOKS // 2), n)

    def author(self):
        return self.random.randint(1, AUTHORS)

    def some(self):
        """A book without a statement."""
        one = book(self.key())
        one._state.adding, one._state.db = False, self.alias
        return one

    def locked(self):
        from django.db import transaction

        with transaction.atomic(using=self.alias):
            self.books.select_for_update().get(pk=self.key())

    def changed(self, fields):
        one = self.some()
        one.pages += 1
        one.save(update_fields=fields)

    def tags_changed(self, work):
        work(self.some().tags, self.tag[self.random.randrange(TAGS)])

    def bulk_updated(self):
        rows = [book(key, pages=7) for key in self.keys(20)]
        self.books.bulk_update(rows, ["pages", "title"])

    def single(self):
        from django.db.models import F

        books, authors = self.books, self.authors
        return {
            "exists() by key": lambda _: books.filter(pk=self.key()).exists(),
            "exists() by fk": lambda _: books.filter(author_id=self.author()).exists(),
            "count() by fk": lambda _: books.filter(author_id=self.author()).count(),
            "first() of all": lambda _: books.first(),
            "last() of all": lambda _: books.last(),
            "first() by fk": lambda _: books.filter(author_id=self.author()).first(),
            "last() by fk": lambda _: books.filter(author_id=self.author()).last(),
            "values() by key": lambda _: books.values("title", "price").get(pk=self.key()),
            "values_list(flat) by key": lambda _: books.values_list("title", flat=True).get(pk=self.key()),
            "only() by key": lambda _: books.only("title").get(pk=self.key()),
            "defer() by key": lambda _: books.defer("text").get(pk=self.key()),
            "refresh_from_db()": lambda _: self.some().refresh_from_db(),
            "an object's fk": lambda _: self.some().author,
            "get() with a joined row": lambda _: books.select_related("author").get(pk=self.key()),
            "get() by a joined unique value": lambda _: authors.get(email=f"a{self.author()}@example.com"),
            "annotate(F) by key": lambda _: books.annotate(twice=F("pages") + 1).get(pk=self.key()),
            "annotate(decimal F) by key": lambda _: books.annotate(more=F("price") * 2).get(pk=self.key()),
            "select_for_update() by key": lambda _: self.locked(),
            "save(update_fields)": lambda _: self.changed(["pages"]),
            "save()": lambda _: self.changed(None),
            "update(F of a decimal)": lambda _: books.filter(pk=self.key()).update(price=F("price") + Decimal("0.01")),
            "update(F of a float)": lambda _: books.filter(pk=self.key()).update(weight=F("weight") * 1.01),
            "update(F of another column)": lambda _: books.filter(pk=self.key()).update(pages=F("author_id") + 1),
            "get_or_create(), there": lambda _: authors.get_or_create(email=f"a{self.author()}@example.com"),
            "get_or_create(), new": lambda _: authors.get_or_create(email=f"n{next(self.new)}@example.com"),
            "update_or_create(), there": lambda _: authors.update_or_create(
                email=f"a{self.author()}@example.com", defaults={"name": "again"}
            ),
            "update_or_create(), new": lambda _: authors.update_or_create(
                email=f"u{next(self.new)}@example.com", defaults={"name": "new"}
            ),
            "create() of a child": lambda _: self.some().reviews.create(stars=3, text="good"),
            "delete() with its children": lambda _: books.get(pk=next(self.victims)).delete(),
            "m2m add()": lambda _: self.tags_changed(lambda tags, tag: tags.add(tag)),
            "m2m remove()": lambda _: self.tags_changed(lambda tags, tag: tags.remove(tag)),
        }

    def others(self):
        from django.db.models import Avg, Count, F, Q, Sum

        books, reviews = self.books, self.reviews
        return {
            "in_bulk() of 5": lambda _: books.in_bulk(self.keys(5)),
            "filter(pk__in) of 20": lambda _: list(books.filter(pk__in=self.keys(20))),
            "filter(fk)": lambda _: list(books.filter(author_id=self.author())),
            "filter(fk) with values()": lambda _: list(books.filter(author_id=self.author()).values("id", "title")),
            "filter(fk, or)": lambda _: list(books.filter(Q(author_id=self.author()) | Q(author_id=self.author()))),
            "exclude() among a fk's": lambda _: list(books.filter(author_id=self.author()).exclude(pages=7)),
            "a page of all": lambda _: list(books.order_by("-id")[40:60]),
            "a page by keys": lambda _: list(books.filter(pk__gt=self.key()).order_by("pk")[:20]),
            "count() of all": lambda _: books.count(),
            "prefetch_related() of 20": lambda _: list(books.filter(pk__in=self.keys(20)).prefetch_related("reviews")),
            "prefetch_related(fk) of 20": lambda _: list(books.filter(pk__in=self.keys(20)).prefetch_related("author")),
            "prefetch_related(m2m) of 20": lambda _: list(books.filter(pk__in=self.keys(20)).prefetch_related("tags")),
            "select_related() of 20": lambda _: list(reviews.select_related("book__author")[:20]),
            "filter over a relation": lambda _: list(books.filter(author__email=f"a{self.author()}@example.com")),
            "filter over two relations": lambda _: list(
                reviews.filter(book__author__email=f"a{self.author()}@example.com")
            ),
            "an object's children": lambda _: list(self.some().reviews.all()),
            "an object's m2m": lambda _: list(self.some().tags.all()),
            "count() of an object's m2m": lambda _: self.some().tags.count(),
            "aggregate() among a fk's": lambda _: books.filter(author_id=self.author()).aggregate(
                Sum("price"), Avg("weight"), Count("id")
            ),
            "annotate(Count) of a page": lambda _: list(
                books.filter(pk__in=self.keys(20)).annotate(n=Count("reviews"))
            ),
            "update() by fk": lambda _: books.filter(author_id=self.author()).update(pages=F("pages") + 1),
            "m2m set()": lambda _: self.tags_changed(lambda tags, tag: tags.set([tag, self.tag[0], self.tag[1]])),
            "m2m clear() and add()": lambda _: self.tags_changed(lambda tags, tag: (tags.clear(), tags.add(tag))),
            "bulk_update() of 20": lambda _: self.bulk_updated(),
            "bulk_create() of 20": lambda _: reviews.bulk_create(
                [type(reviews.model())(book_id=key, stars=1, text="x") for key in self.keys(20)]
            ),
        }


def paths(work):
    """Which way each statement of a call takes."""
    from django.db import connections

    seen = []

    def watch(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if path := context["cursor"].cursor.path:
            seen.append((path, sql))
        return result

    with connections[OURS].execute_wrapper(watch):
        work(0)
    return seen


def everyday(report, options):
    report.section("everyday", f"what ordinary code does, {BOOKS:,} books with authors, reviews and tags")
    for alias in (OURS, PEER):
        fill(alias)
    works = {alias: Works(alias) for alias in (OURS, PEER)}
    for kind, wanted in (("single", SINGLE), ("others", OTHER)):
        calls = {alias: getattr(works[alias], kind)() for alias in (OURS, PEER)}
        for name in calls[OURS]:
            one(report, name, {alias: calls[alias][name] for alias in (OURS, PEER)}, wanted, options)


def one(report, name, calls, wanted, options):
    try:
        for call in calls.values():  # the first one of all makes plans
            call(0)
        seen = paths(calls[OURS])
        calls[PEER](0)
        times = interleaved(calls, options.rounds, options.repeats)
    except Exception as error:  # noqa: BLE001 (one work that fails leaves the others)
        report.fault(name, error)
        return
    slow = sum(path != "fast" for path, _ in seen)
    report.ratio(name + (f" ({slow} of {len(seen)} by the engine)" if slow else ""), times[OURS], times[PEER], **wanted)
    if options.statements:
        for path, sql in seen:
            print(f"    {path}: {sql}")
