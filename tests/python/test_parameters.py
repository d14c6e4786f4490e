"""A million hostile parameters come back exactly and change no statement (HOSTILE says how many, HOSTILE_SEED repeats a run)."""

import datetime
import decimal
import enum
import os
import random
import uuid

import pytest

from django_iceberg import _core

COUNT = int(os.environ.get("HOSTILE", "1000000"))
BATCH = 2000
PIECES = [
    "'", "''", '"', '""', "\\", "\\'", "%", "%%", "%s", "%(a)s", "%(", "$1", "$$", "$x$", "?", ":name", ";", "--", "-- \n", "/*", "*/", "/* */", "\n", "\r", "\t",
    "\x01", "\x7f", "\u2028", "\ufeff", "\u200b", "é", "e\u0301", "ß", "😀", "日本", "\U0010ffff", " ", "NULL", "null", "true", "0", "-1", "1e309", "nan", "{", "}", "[", "(", ")",
    ",", "'); DROP TABLE canary; --", "' OR '1'='1", "E'", "U&'", "x'00'", "::int", "SELECT", "_", "*", "\\x00", "a",
]  # fmt: skip
TYPES = [
    "text",
    "bytea",
    "bigint",
    "double precision",
    "numeric(38, 10)",
    "boolean",
    "date",
    "time",
    "timestamp",
    "timestamp with time zone",
    "uuid",
    "jsonb",
]


class Values:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self):
        r = self.random
        kind = r.random()
        if kind < 0.001:
            return "".join(r.choices(PIECES, k=r.choice([1000, 50_000])))
        if kind < 0.2:
            return "".join(
                chr(r.choice([r.randrange(1, 0xD800), r.randrange(0xE000, 0x110000)])) for _ in range(r.randrange(12))
            )
        return "".join(r.choices(PIECES, k=r.randrange(7)))

    def row(self):
        """A value of each of TYPES."""
        r = self.random
        day = datetime.date.fromordinal(r.randint(1, datetime.date.max.toordinal()))
        clock = datetime.time(
            r.randrange(24), r.randrange(60), r.randrange(60), r.choice([0, 1, 999_999, r.randrange(1_000_000)])
        )
        moment = datetime.datetime.combine(day, clock)
        aware = moment.replace(
            year=min(max(moment.year, 2), 9998),
            day=min(moment.day, 28),
            tzinfo=datetime.timezone(datetime.timedelta(minutes=r.randint(-1439, 1439))),
        )
        number = r.choice([r.randint(-(2**63), 2**63 - 1), r.randint(-9, 9), 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)])
        real = r.choice(
            [
                r.uniform(-1e9, 1e9),
                r.random() * 10.0 ** r.randint(-320, 308),
                5e-324,
                1.7976931348623157e308,
                float("inf"),
                -0.0,
            ]
        )
        exact = decimal.Decimal(r.randint(-(10**38) + 1, 10**38 - 1)).scaleb(-10, decimal.Context(prec=60))
        # Written as compactly as the column's text comes back.
        document = f'{{"k": {r.randint(0, 9)}}}'
        return [
            self.text(),
            r.randbytes(r.randrange(20)),
            number,
            real,
            exact,
            r.random() < 0.5,
            day,
            clock,
            moment,
            aware,
            uuid.UUID(int=r.getrandbits(128)),
            document,
        ]


def same(given, got):
    if isinstance(given, (bytearray, memoryview)):
        given = bytes(given)
    return type(given) is type(got) and (repr(given) == repr(got) if isinstance(given, float) else given == got)


@pytest.fixture
def canary(cursor):
    """A table that every statement leaves alone."""
    cursor.execute("CREATE TABLE canary (id bigint PRIMARY KEY, name text)")
    cursor.execute("INSERT INTO canary VALUES (1, 'sings')")
    yield cursor
    assert cursor.execute("SELECT * FROM canary").fetchall() == [(1, "sings")]


@pytest.fixture
def values():
    seed = int(os.environ.get("HOSTILE_SEED") or random.SystemRandom().randrange(10**9))
    print("HOSTILE_SEED", seed)
    return Values(seed)


def test_rows_come_back(canary, values):
    """Five eighths of all parameters: in INSERTs of many rows, read back as rows."""
    cursor = canary
    columns = ", ".join(f"c{i} {name}" for i, name in enumerate(TYPES))
    cursor.execute(f"CREATE TABLE hostile (id bigint PRIMARY KEY, {columns})")
    marks = f"({', '.join(['%s'] * (len(TYPES) + 1))})"
    rows = COUNT * 5 // 8 // (len(TYPES) + 1)
    for start in range(0, rows, BATCH):
        batch = [[start + i, *values.row()] for i in range(min(BATCH, rows - start))]
        cursor.execute(
            f"INSERT INTO hostile VALUES {', '.join([marks] * len(batch))}", [v for row in batch for v in row]
        )
        back = cursor.execute("SELECT * FROM hostile WHERE id >= %s ORDER BY id", [start]).fetchall()
        assert len(back) == len(batch)
        for given, got in zip(batch, back, strict=True):
            assert all(map(same, given, got)), (given, got)


def test_texts_come_back_from_the_engine(canary, values):
    """An eighth: constants of a query, in all kinds of places; every answer is known beforehand."""
    pattern = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})
    places = [
        ("%s", lambda x: [x], lambda x: x),
        ("%s = %s", lambda x: [x, x], lambda x: True),
        ("%s IN ('', %s, %s)", lambda x: [x, x + "'", x], lambda x: True),
        ("'a%%' || %s || '?:b$1'", lambda x: [x], lambda x: f"a%{x}?:b$1"),
        ("%s LIKE %s ESCAPE '\\'", lambda x: [x, x.translate(pattern)], lambda x: True),
        ("CASE WHEN %s > %s THEN 1 ELSE 0 END", lambda x: [x + "a", x], lambda x: 1),
        ("json_extract_string(json_object('k', %s), '$.k')", lambda x: [x], lambda x: x),
        ("length(%s) /* %% ' \" */", lambda x: [x], lambda x: len(x)),
    ]
    given = 0
    while given < COUNT // 8:
        chosen = [(values.random.choice(places), values.text()) for _ in range(150)]
        params = [p for (_, make, _), x in chosen for p in make(x)]
        given += len(params)
        got = canary.execute(f"SELECT {', '.join(place for (place, _, _), _ in chosen)}", params).fetchone()
        for ((place, _, want), x), answer in zip(chosen, got, strict=True):
            assert answer == want(x), (place, x)


def test_named_parameters_and_many(canary, values):
    """The last quarter: by name, by executemany, in UPDATE and DELETE by value."""
    cursor = canary
    cursor.execute("CREATE TABLE named (id bigint PRIMARY KEY, name text, size bigint)")
    given = 0
    while given < COUNT // 4:
        texts = [values.text() for _ in range(300)]
        cursor.executemany("INSERT INTO named (id, name) VALUES (%s, %s)", list(enumerate(texts)))
        cursor.executemany(
            "UPDATE named SET size = %(size)s WHERE id = %(id)s AND name = %(name)s",
            [{"id": i, "name": x, "size": len(x)} for i, x in enumerate(texts)],
        )
        assert cursor.execute("SELECT name, size FROM named ORDER BY id").fetchall() == [(x, len(x)) for x in texts]
        names = {f"p{i}": x for i, x in enumerate(texts)}
        got = cursor.execute(f"SELECT {', '.join(f'%({name})s' for name in names)}", names).fetchone()
        assert list(got) == texts
        few = sorted(set(texts))[:50]
        marks = ", ".join(["%s"] * len(few))
        assert cursor.execute(f"DELETE FROM named WHERE name IN ({marks})", few).rowcount == sum(
            x in few for x in texts
        )
        cursor.execute("TRUNCATE named")
        given += 2 * len(texts) + 3 * len(texts) + len(texts) + len(few)


class Colour(enum.StrEnum):
    RED = "r'%s"


class Size(enum.IntEnum):
    BIG = 2**40


class Safe(str):
    def __str__(self):
        return self


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (None, None), (True, True), (Colour.RED, "r'%s"), (Size.BIG, 2**40), (Safe("<b>"), "<b>"), (bytearray(b"\x00'"), b"\x00'"), (memoryview(b"a%sb")[1:3], b"%s"),
        (2**63, decimal.Decimal(2**63)), (decimal.Decimal("-0.00"), decimal.Decimal("0.00")), (datetime.timedelta(days=-1, microseconds=1), -86_399_999_999),
        ("", ""), ("x" * 5_000_000, "x" * 5_000_000),
    ],
)  # fmt: skip
def test_subclasses_and_edges(canary, given, got):
    assert canary.execute("SELECT %s", [given]).fetchone() == (got,)
    assert canary.execute("SELECT %(x)s", {"x": given}).fetchone() == (got,)


@pytest.mark.parametrize("given", ["a\0b", "\0", "\ud800", "a\udfffb"])
def test_what_is_no_text_is_said_so(canary, given):
    for sql, params in (
        ("SELECT %s", [given]),
        ("SELECT %(x)s", {"x": given}),
        ("SELECT 1 WHERE 'a' IN (%s, 'b')", [given]),
    ):
        with pytest.raises(_core.DataError, match="NUL|UTF-8"):
            canary.execute(sql, params)
    assert canary.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("sql", "params", "got"),
    [
        ("SELECT '100%%', '%%s', 5 %% 3", [], ("100%", "%s", 2)),
        ("SELECT '100%', '%s', 5 % 3", None, ("100%", "%s", 2)),
        ("SELECT '?', ':name', '$1', %s", [7], ("?", ":name", "$1", 7)),
        ("SELECT '?', ':name', '$1'", None, ("?", ":name", "$1")),
        ("SELECT $$it's %%s$$, %s", ["x"], ("it's %s", "x")),
        ("SELECT '%%(a)s', %(a)s, %(a)s", {"a": 1}, ("%(a)s", 1, 1)),
        ('SELECT 1 AS "a%%b"', [], (1,)),
    ],
)
def test_signs_in_the_statement(canary, sql, params, got):
    assert canary.execute(sql, params).fetchone() == got


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT %s", []),
        ("SELECT 1", [1]),
        ("SELECT %s", {"a": 1}),
        ("SELECT %(a)s", [1]),
        ("SELECT %d", [1]),
        ("SELECT '100%'", [1]),
    ],
)
def test_placeholders_that_do_not_fit(canary, sql, params):
    with pytest.raises(_core.ProgrammingError):
        canary.execute(sql, params)
