"""Parameters and results of raw SQL have the Python types that psycopg takes and gives; test_against_postgresql.py asks both."""

import datetime
import decimal
import enum
import ipaddress
import math
import uuid

import pytest
from django.db import DataError, ProgrammingError, connection, migrations, models
from django.db.migrations.state import ProjectState
from django.test.utils import CaptureQueriesContext
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from iceapp.models import Author

pytestmark = pytest.mark.usefixtures("db")

D = decimal.Decimal
DAY = datetime.timedelta(days=-2, seconds=3, microseconds=5)


class Pure(enum.Enum):
    MEMBER = "value"


class Texts(models.TextChoices):
    A = "a", "label"


class Numbers(models.IntegerChoices):
    SEVEN = 7


SAME = [
    None,
    True,
    7,
    -(2**63),
    0.1,
    D("1.50"),
    "é'%s\"",
    b"\x00\xff",
    datetime.date(2024, 2, 29),
    datetime.time(1, 2, 3, 4),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.UTC),
    uuid.UUID(int=7),
]
OTHERS = [
    (memoryview(b"a"), b"a"),
    (bytearray(b"a"), b"a"),
    (Pure.MEMBER, "MEMBER"),
    (Texts.A, "a"),
    (Numbers.SEVEN, 7),
    (lazystr("lazy"), "lazy"),
    (mark_safe("safe"), "safe"),
    (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
    (ipaddress.ip_network("2001:db8::/32"), "2001:db8::/32"),
    (ipaddress.ip_interface("10.0.0.1/8"), "10.0.0.1/8"),
    (datetime.time(1, 2, tzinfo=datetime.UTC), datetime.time(1, 2)),
    (D("Infinity"), float("inf")),
    (D("-1E+40"), -1e40),
    (D("2.5E-300"), 2.5e-300),
]


def ask(sql, params=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall()


@pytest.mark.parametrize(("given", "expected"), [*((value, value) for value in SAME), *OTHERS], ids=repr)
def test_a_value(given, expected):
    for sql, params in (("SELECT %s", [given]), ("SELECT %(a)s", {"a": given})):
        [(got,)] = ask(sql, params)
        assert got == expected and type(got) is type(expected)


def test_nan():
    [(got,)] = ask("SELECT %s", [D("NaN")])
    assert math.isnan(got)


@pytest.mark.parametrize("value", [D("1" * 39), D("sNaN"), 10**39])
def test_numbers_that_would_be_rounded(value):
    with pytest.raises(DataError, match="38 digits"):
        ask("SELECT %s", [value])


@pytest.mark.parametrize("value", [(1, 2), {"a": 1}, {1}, range(3), object()], ids=repr)
def test_what_psycopg_takes_no_more(value):
    with pytest.raises(ProgrammingError, match=f"type {type(value).__name__} is not supported"):
        ask("SELECT 1 WHERE 1 = %s", [value])


def test_lists():
    assert ask("SELECT 3 = ANY(%s), 3 = ANY(%s), 3 = ALL(%s)", [[1, 3], [], [3, 3]]) == [(True, False, True)]
    assert ask("SELECT 3 = ANY(%s), 1 = ANY(%s)", [[1, None], [1, None]]) == [(None, True)]
    assert ask("SELECT 100 %% 7, '%%', %(a)s, 'b' = ANY(%(l)s), %(a)s", {"a": 1, "l": ["b", lazystr("c")]}) == [
        (2, "%", 1, True, 1)
    ]
    assert ask("SELECT x FROM unnest(%s) AS u(x) ORDER BY x", [[uuid.UUID(int=2), uuid.UUID(int=1)]]) == [
        (uuid.UUID(int=1),),
        (uuid.UUID(int=2),),
    ]
    hostile = ["'); DROP TABLE iceapp_author; --", "%s", "%(a)s", "$1", "]", "é"]
    assert ask("SELECT %s = ANY(%s), %s", ["%s", hostile, 1]) == [(True, 1)]
    assert ask("SELECT len(x), x[1][2] FROM (SELECT %s AS x)", [[[1, 2], [3]]]) == [(2, 2)]


def test_lists_everywhere():
    authors = [Author.objects.create(name=name) for name in "abcd"]
    ids = [author.pk for author in authors]
    query = Author.objects.raw("SELECT * FROM iceapp_author WHERE id = ANY(%s) ORDER BY name", [ids[:2]])
    assert [author.name for author in query] == ["a", "b"]
    assert "[" in str(query.query)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE iceapp_author SET name = %s WHERE id = ANY(%s)", ["x", ids[1:3]])
        assert cursor.rowcount == 2
        cursor.executemany("DELETE FROM iceapp_author WHERE id = ANY(%s)", [[ids[:1]], [ids[1:2]]])
        with pytest.raises(ProgrammingError, match="a list"):
            cursor.executemany("DELETE FROM iceapp_author WHERE id = %s", [[1], [[2]]])
    assert list(Author.objects.values_list("name", flat=True).order_by("pk")) == ["x", "d"]


def test_comments_and_strings_have_placeholders():
    """As psycopg counts them."""
    assert ask("SELECT %s -- %s\n", [1, 2]) == [(1,)]
    with pytest.raises(ProgrammingError, match="2 placeholders, but 1"):
        ask("SELECT %s /* %s */", [1])
    assert ask("SELECT 1 -- 100% %s") == [(1,)]


@pytest.fixture
def spans():
    with connection.schema_editor() as editor:
        editor.execute("CREATE TABLE spans (id bigint PRIMARY KEY, span interval, n bigint)")
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO spans VALUES (1, %s, 5), (2, NULL, 6) RETURNING span, n", [DAY])
        assert cursor.fetchall() == [(DAY, 5), (None, 6)]
    yield
    with connection.schema_editor() as editor:
        editor.execute("DROP TABLE spans")


@pytest.mark.parametrize("fast", [True, False])
def test_durations(spans, fast):
    joined = 'SELECT "s"."span" AS "x", "t"."n" FROM "spans" "s" JOIN "spans" "t" ON ("s"."id" = "t"."id") WHERE "s"."id" = 1'
    connection.connection.fast_path = fast
    try:
        assert ask("SELECT span, n FROM spans WHERE id = %s", [1]) == [(DAY, 5)]
        assert ask("SELECT * FROM spans ORDER BY id") == [(1, DAY, 5), (2, None, 6)]
        assert ask(joined) == [(DAY, 5)]
        assert ask("SELECT id FROM spans WHERE span = %s", [DAY]) == [(1,)]
        assert ask("SELECT count(*) FROM spans") == [(2,)]
        assert ask("SELECT TIMESTAMP '2024-01-03' - TIMESTAMP '2024-01-01'") == [(datetime.timedelta(days=2),)]
    finally:
        connection.connection.fast_path = True


def test_run_sql_takes_them():
    insert = "INSERT INTO iceapp_author (name) SELECT x FROM unnest(%s) AS u(x) WHERE x <> %s"
    operation = migrations.RunSQL([(insert, [["p", "q", "r", "a"], Texts.A])])
    with connection.schema_editor() as editor:
        operation.database_forwards("iceapp", editor, ProjectState(), ProjectState())
    assert Author.objects.filter(name__in="pqra").count() == 3


def test_the_query_log_shows_them():
    with CaptureQueriesContext(connection) as queries:
        ask("SELECT %s, len(%s), %s", [D("NaN"), ["x", "a'b"], Pure.MEMBER])
    assert queries[0]["sql"] == "SELECT 'NaN'::DOUBLE, len(['x', 'a''b']), 'MEMBER'"
