"""Functions whose answers are PostgreSQL's and not the engine's."""

import decimal
import math
import random
import struct

import pytest

from django_iceberg import _core


def value(cursor, expression, *params):
    return cursor.execute(f"SELECT {expression}", params or None).fetchone()[0]


@pytest.fixture
def cursor(connection):
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE t (id integer PRIMARY KEY, x text)")
    return cursor


class TestRegexpReplace:
    @pytest.mark.parametrize(
        "arguments, expected",
        [
            ("'foobarbaz', 'b..', 'X'", "fooXbaz"),
            ("'foobarbaz', 'b..', 'X', 'g'", "fooXX"),
            ("'foobarbaz', 'b(..)', 'X\\1Y', 'g'", "fooXarYXazY"),
            ("'foobarbaz', 'b..', '[\\&]', 'g'", "foo[bar][baz]"),
            ("'a.b.c', '.', '-', 'gq'", "a-b-c"),
            ("'A PostgreSQL function', 'a|e|i|o|u', 'X', 'gi'", "X PXstgrXSQL fXnctXXn"),
            ("'abc', '', '-', 'g'", "-a-b-c-"),
            ("'abc', 'x*', '-'", "-abc"),
            ("'äöü', '', '.', 'g'", ".ä.ö.ü."),
            ("'aaa', 'a*', 'x', 'g'", "xx"),
            ("'baaac', 'a*', 'x', 'g'", "xbxxcx"),
            ("'aXb', 'x', '\\\\', 'i'", "a\\b"),
            ("'ab', 'b', '\\q\\'", "a\\q\\"),
            ("'ab', '(a)|(c)', '<\\1\\2\\3>'", "<a>b"),
            ("'one two', '(\\w+) (\\w+)', '\\2 \\1'", "two one"),
            ("'', '^', 'x', 'g'", "x"),
            ("'', 'a', 'x', 'g'", ""),
            ("'a\nb', '^', '> ', 'gn'", "> a\n> b"),
            ("'a\nb', '^', '> ', 'g'", "> a\nb"),
            ("'aab', '(?<=a)a', 'x', 'g'", "axb"),
            ("'foo  bar', '\\s+', ' ', 'g'", "foo bar"),
            ("NULL, 'a', 'b'", None),
            ("'a', 'a', NULL", None),
        ],
    )
    def test_answers(self, cursor, arguments, expected):
        assert value(cursor, f"regexp_replace({arguments})") == expected

    def test_parameters_and_columns(self, cursor):
        assert value(cursor, "regexp_replace(%s, %s, %s, 'g')", "a%b%", "%", "\\&\\&") == "a%%b%%"
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", [(i, f"{i} {i % 7} {i}") for i in range(5000)])
        cursor.execute("SELECT count(*) FROM t WHERE regexp_replace(x, '(.*) . (.*)', '\\2-\\1') = id || '-' || id")
        assert cursor.fetchone() == (5000,)
        cursor.execute("UPDATE t SET x = regexp_replace(x, ' .*', '') WHERE id < 10")
        assert cursor.execute("SELECT x FROM t WHERE id = 9").fetchone() == ("9",)

    def test_errors(self, cursor):
        for arguments, sqlstate in (("'a', '(', ''", "2201B"), ("'a', 'a', '', 'z'", "22P02")):
            with pytest.raises(_core.DataError) as failed:
                value(cursor, f"regexp_replace({arguments})")
            assert failed.value.sqlstate == sqlstate


class TestSubstring:
    @pytest.mark.parametrize(
        "expression, expected",
        [
            ("substring('Thomas' FROM '...$')", "mas"),
            ("substring('foobar' FROM 'o.b')", "oob"),
            ("substring('foobar' FROM 'o(.)b')", "o"),
            ("substring('foobar', 'x')", None),
            ("substring('foobar' FROM '(x)|o')", None),
            ("substring('foobar' FROM '(?:x)|o')", "o"),
            ("substring('foobar' FROM 'x*')", ""),
            ("substring('Thomas' FROM 2 FOR 3)", "hom"),
            ("substring('Thomas' FROM 3)", "omas"),
            ("substring('Thomas', 3)", "omas"),
            ("substring('Thomas', 2, 3)", "hom"),
            ("substring('Thomas' FOR 2)", "Th"),
            ("substring(NULL FROM 'a')", None),
            ("regexp_substr('number of your street', 'n.*?r')", "number"),
            ("regexp_substr('abc', 'a(b)')", "ab"),
            ("regexp_substr('abc', 'd')", None),
        ],
    )
    def test_answers(self, cursor, expression, expected):
        assert value(cursor, expression) == expected

    def test_parameters_and_columns(self, cursor):
        assert value(cursor, "substring(%s FROM %s)", "abc", "b.") == "bc"
        assert value(cursor, "substring(%s FROM %s)", "abc", 2) == "bc"
        cursor.execute("INSERT INTO t VALUES (1, 'x=1;y=2'), (2, 'y=3'), (3, NULL)")
        rows = cursor.execute("SELECT substring(x FROM 'y=(\\d)'), substring(x FROM id) FROM t ORDER BY id").fetchall()
        assert rows == [("2", "x=1;y=2"), ("3", "=3"), (None, None)]


# ---- rounding ----


def rounded(x, places):
    """PostgreSQL's round(x::numeric, places)::double precision."""
    with decimal.localcontext(prec=800, Emin=-2000, Emax=2000):
        number = decimal.Decimal(f"{x:.15g}")
        unit = decimal.Decimal(1).scaleb(-places)
        return float(number.quantize(unit, rounding=decimal.ROUND_HALF_UP)) + 0.0


def numbers(random):
    """Numbers at halves, near them, and of any size."""
    for _ in range(2500):
        places = random.randint(-4, 8)
        half = (random.randint(0, 10 ** random.randint(1, 7)) + 0.5) / 10.0**places
        yield random.choice((1, -1)) * half, places
    for _ in range(1500):
        yield random.uniform(-1000, 1000), random.randint(-3, 14)
    for _ in range(1500):
        (x,) = struct.unpack("d", random.randbytes(8))
        if math.isfinite(x) and abs(x) < 1e300:
            yield x, random.randint(-320, 320)
    for x in (
        0.285,
        1.005,
        2.675,
        0.5,
        1.5,
        2.5,
        9.5,
        99.5,
        999999999999999.5,
        0.0,
        -0.0,
        5e-324,
        -0.4,
        95.0,
        5.0,
        4.9,
    ):
        for places in range(-3, 4):
            yield x, places


def test_floats_are_rounded_as_numerics(cursor):
    seed = random.randrange(10**9)
    print("seed", seed)
    pairs = list(numbers(random.Random(seed)))
    rows = ", ".join(["(%s::double, %s)"] * len(pairs))
    query = f"SELECT x, n, ice_round(CAST(x AS VARCHAR), CAST(n AS VARCHAR)) FROM (VALUES {rows}) AS v (x, n)"
    answers = cursor.execute(query, [number for pair in pairs for number in pair]).fetchall()
    assert len(answers) == len(pairs)
    wrong = [(x, n, got, rounded(x, n)) for x, n, got in answers if str(got) != str(rounded(x, n))]
    assert not wrong


def test_what_is_no_number_stays(cursor):
    for x in ("NaN", "inf", "-inf"):
        assert str(float(value(cursor, f"ice_round('{x}', '2')"))) == str(float(x))
    assert value(cursor, "ice_round(NULL, '2')") is None
