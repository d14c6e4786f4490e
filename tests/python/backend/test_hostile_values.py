"""Texts that look like SQL, through the ORM: they come back as they are, wherever they were."""

import random

import pytest
from django.db import DataError, connection, migrations, models
from django.db.models import F, Q, Value
from django.db.models.functions import Concat, Replace
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from iceapp.models import Author, Book

pytestmark = pytest.mark.usefixtures("db")
PIECES = [
    "'",
    '"',
    "\\",
    "%",
    "%s",
    "%%",
    "%(a)s",
    "_",
    "$1",
    "$$",
    "?",
    ":a",
    ";",
    "--",
    "/*",
    "\n",
    "é",
    "😀",
    "'); DROP TABLE iceapp_author; --",
    "a",
    " ",
]


@pytest.fixture
def texts():
    seed = random.SystemRandom().randrange(10**9)
    print("seed", seed)
    r = random.Random(seed)
    return sorted({"".join(r.choices(PIECES, k=r.randrange(1, 5))) for _ in range(150)})


def test_every_lookup_finds_its_text(texts):
    Author.objects.bulk_create([Author(name=text) for text in texts])
    for text in texts:
        found = {author.name for author in Author.objects.filter(name=text)}
        assert found == {text}
        for lookup, expected in (
            ("contains", lambda name, text: text in name),
            ("startswith", lambda name, text: name.startswith(text)),
            ("endswith", lambda name, text: name.endswith(text)),
            ("gte", lambda name, text: name.encode() >= text.encode()),
        ):
            found = set(Author.objects.filter(**{f"name__{lookup}": text}).values_list("name", flat=True))
            assert found == {name for name in texts if expected(name, text)}, (lookup, text)
    assert Author.objects.filter(name__in=texts).count() == len(texts)
    assert not Author.objects.exclude(Q(name__in=texts)).exists()


def test_values_of_updates_expressions_and_json(texts):
    for text in texts[:60]:
        book = Book.objects.create(title="t", data={text: [text, {text: text}]})
        Book.objects.filter(pk=book.pk).update(title=Concat(Value(text), Value("|"), F("title")))
        book.refresh_from_db()
        assert (book.title, book.data) == (f"{text}|t", {text: [text, {text: text}]})
        assert Book.objects.filter(pk=book.pk, data__has_key=text).exists()
        assert Book.objects.filter(pk=book.pk, data__contains={text: [text]}).exists()
        assert Book.objects.annotate(r=Replace("title", Value(text), Value("X"))).filter(pk=book.pk).values_list(
            "r"
        ).get() == ("X|t" if text != "t" else "X|X",)


def test_raw_statements(texts):
    Author.objects.bulk_create([Author(name=text) for text in texts])
    for text in texts[:40]:
        assert [a.name for a in Author.objects.raw("SELECT * FROM iceapp_author WHERE name = %s", [text])] == [text]
        assert [a.name for a in Author.objects.raw("SELECT * FROM iceapp_author WHERE name = %(n)s", {"n": text})] == [
            text
        ]
        with connection.schema_editor() as editor:
            operation = migrations.RunSQL([("UPDATE iceapp_author SET name = %s WHERE name = %s", [text + "!", text])])
            operation.database_forwards("iceapp", editor, None, None)
    assert Author.objects.filter(name__in=[text + "!" for text in texts[:40]]).count() == 40


def test_texts_of_other_types():
    class Choice(models.TextChoices):
        A = "it's", "a"

    for text in (lazystr("it's"), mark_safe("it's"), Choice.A):
        author = Author.objects.create(name=text)
        assert Author.objects.get(name=text).pk == author.pk
        assert Author.objects.values_list("name").get() == ("it's",)
        author.delete()


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_is_no_text(text):
    with pytest.raises(DataError):
        Author.objects.create(name=text)
    with pytest.raises(DataError):
        list(Author.objects.filter(name__contains=text))
