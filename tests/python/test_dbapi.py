"""The module django_iceberg._core as PEP 249 describes one, and what it adds."""

import concurrent.futures
import datetime
import decimal
import enum
import gc
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import ChainMap

import pytest

from django_iceberg import _core

UTC = datetime.UTC
D = decimal.Decimal
ENDLESS = "SELECT count(*) FROM range(1000000) a, range(10000000) b WHERE a.range <> b.range"


@pytest.fixture
def books(cursor):
    cursor.execute(
        "CREATE TABLE books (id bigint PRIMARY KEY, title varchar(40) NOT NULL, price numeric(8, 2), "
        'CONSTRAINT "books_title_uniq" UNIQUE (title))'
    )
    cursor.executemany(
        "INSERT INTO books (id, title, price) VALUES (%s, %s, %s)",
        [(1, "Emma", D("7.50")), (2, "Persuasion", D("8.25")), (3, "Sanditon", None)],
    )
    return cursor


class TestModule:
    def test_globals(self):
        assert _core.apilevel == "2.0"
        assert _core.threadsafety == 1
        assert _core.paramstyle == "pyformat"

    def test_exceptions(self):
        assert issubclass(_core.Warning, Exception)
        assert issubclass(_core.Error, Exception)
        assert issubclass(_core.InterfaceError, _core.Error)
        assert issubclass(_core.DatabaseError, _core.Error)
        for name in ("Data", "Operational", "Integrity", "Internal", "Programming", "NotSupported"):
            assert issubclass(getattr(_core, name + "Error"), _core.DatabaseError)
        assert _core.Error.sqlstate is None

    def test_constructors(self):
        assert _core.Date(2024, 2, 29) == datetime.date(2024, 2, 29)
        assert _core.Time(1, 2, 3) == datetime.time(1, 2, 3)
        assert _core.Timestamp(2024, 1, 1) == datetime.datetime(2024, 1, 1)
        now = time.time()
        assert _core.TimestampFromTicks(now) == datetime.datetime.fromtimestamp(now)
        assert _core.DateFromTicks(now) == datetime.date.fromtimestamp(now)
        assert _core.TimeFromTicks(now) == datetime.datetime.fromtimestamp(now).time()
        assert bytes(_core.Binary(b"x")) == b"x"

    def test_type_objects(self, books):
        books.execute("SELECT 1, 'a', 2.5, DATE '2024-01-01', TIMESTAMP '2024-01-01', '\\x00'::BLOB")
        codes = [d[1] for d in books.description]
        kinds = [_core.NUMBER, _core.STRING, _core.NUMBER, _core.DATETIME, _core.DATETIME, _core.BINARY]
        for code, kind in zip(codes, kinds, strict=True):
            assert code == kind
        assert codes[0] != _core.STRING
        assert _core.STRING == _core.STRING != _core.NUMBER

    def test_types_are_not_constructible(self):
        for kind in (_core.Connection, _core.Cursor):
            with pytest.raises(TypeError):
                kind()


class TestConnect:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"flush.interval": 1}, "flush.interval"),
            ({"threads": "many"}, "integer"),
            ({"threads": True}, "integer"),
            ({"memory.budget": "4 parsecs"}, "size"),
            ({"durability": "some"}, "'full' or 'os'"),
            ({"isolation-level": "serializable"}, "snapshot"),
            ({"read-only": 1}, "True or False"),
            ({"prelude": "SELECT 1"}, "list"),
            ({1: 2}, "str"),
        ],
    )
    def test_wrong_options(self, connect, options, message):
        with pytest.raises(_core.InterfaceError, match=message) as caught:
            connect(options)
        assert caught.value.code == "CONFIG"

    def test_options(self, connect):
        connect(
            {
                "memory.budget": "64MB",
                "flush.bytes": 1 << 20,
                "lock.timeout-ms": 100,
                "threads": 1,
                "durability": "os",
                "isolation-level": "read committed",
                "s3.region": "eu-west-1",
                "history.retention": None,
            }
        )
        connect({"memory.budget": "64MB"}).close()

    def test_no_warehouse(self, cursor, warehouse):
        with pytest.raises(_core.OperationalError, match="no warehouse at"):
            cursor.execute("SELECT * FROM books")
        assert not warehouse.exists()

    def test_create_table_creates_it(self, cursor, warehouse):
        cursor.execute("CREATE TABLE t (id bigint PRIMARY KEY)")
        assert warehouse.exists()

    def test_not_duckdb(self, warehouse, books):
        """In a process of its own: a process loads DuckDB once."""
        script = (
            "import os, sys\n"
            "from django_iceberg import _core\n"
            "c = _core.connect(sys.argv[1], catalog=sys.argv[1] + '/catalog.db', duckdb_library=os.devnull)\n"
            "try:\n"
            "    c.cursor().execute('SELECT sum(price) FROM books').fetchall()\n"
            "except _core.InterfaceError as error:\n"
            "    print(error.code, error)\n"
        )
        out = subprocess.run(
            [sys.executable, "-P", "-c", script, str(warehouse)], stdout=subprocess.PIPE, text=True, check=True
        )
        assert out.stdout.startswith("CONFIG cannot load DuckDB")

    def test_prelude(self, connect, books):
        c = connect({"prelude": ["CREATE OR REPLACE TEMP MACRO twice(x) AS x * 2"]})
        assert c.cursor().execute("SELECT twice(21)").fetchone() == (42,)


class TestConnection:
    def test_close(self, connection):
        cursor = connection.cursor()
        connection.close()
        connection.close()
        assert connection.closed
        assert not connection.is_usable()
        for call in (connection.cursor, connection.commit, connection.rollback, connection.tables):
            with pytest.raises(_core.InterfaceError, match="closed"):
                call()
        with pytest.raises(_core.InterfaceError, match="closed"):
            cursor.execute("SELECT 1")
        connection.interrupt()

    def test_close_with_open_results(self, connection, books):
        cursor = connection.cursor().execute("SELECT * FROM range(100000)")
        cursor.fetchone()
        connection.close()
        with pytest.raises(_core.InterfaceError):
            cursor.fetchone()

    def test_dropped_without_close(self, connect, books):
        cursor = connect().cursor().execute("SELECT * FROM range(100000)")
        connection = cursor.connection
        del cursor, connection
        gc.collect()

    def test_close_rolls_back(self, connect, connection, books):
        connection.autocommit = False
        connection.cursor().execute("DELETE FROM books")
        connection.close()
        assert connect().cursor().execute("SELECT count(*) FROM books").fetchone() == (3,)

    def test_autocommit(self, connect, connection, books):
        other = connect().cursor()
        assert connection.autocommit is True
        connection.autocommit = False
        assert not connection.in_transaction
        connection.cursor().execute("DELETE FROM books WHERE id = 1")
        assert connection.in_transaction
        assert other.execute("SELECT count(*) FROM books").fetchone() == (3,)
        with pytest.raises(_core.ProgrammingError, match="autocommit"):
            connection.autocommit = True
        connection.commit()
        assert not connection.in_transaction
        assert other.execute("SELECT count(*) FROM books").fetchone() == (2,)
        connection.cursor().execute("DELETE FROM books")
        connection.rollback()
        connection.autocommit = True
        assert other.execute("SELECT count(*) FROM books").fetchone() == (2,)

    def test_transaction_in_sql(self, connection, books):
        books.execute("BEGIN")
        assert connection.in_transaction
        books.execute("DELETE FROM books")
        books.execute("ROLLBACK")
        assert not connection.in_transaction
        assert books.execute("SELECT count(*) FROM books").fetchone() == (3,)

    def test_savepoints(self, connection, books):
        connection.autocommit = False
        books.execute("DELETE FROM books WHERE id = 1")
        books.execute('SAVEPOINT "s1"')
        books.execute("DELETE FROM books WHERE id = 2")
        books.execute('ROLLBACK TO SAVEPOINT "s1"')
        books.execute('RELEASE SAVEPOINT "s1"')
        connection.commit()
        assert books.execute("SELECT id FROM books ORDER BY id").fetchall() == [(2,), (3,)]

    def test_commit_without_transaction(self, connection):
        connection.commit()
        connection.rollback()

    def test_timezone(self, connection, books):
        assert connection.timezone == "UTC"
        connection.timezone = "Asia/Tokyo"
        assert connection.timezone == "Asia/Tokyo"
        books.execute("SELECT CAST(TIMESTAMPTZ '2024-01-01 00:00:00+00' AS VARCHAR)")
        assert books.fetchone()[0].startswith("2024-01-01 09:00:00")

    def test_tables(self, connection, books):
        assert connection.tables() == ["books"] == [name for (name,) in connection.cursor().execute("show tables;")]
        books.execute("CREATE TABLE authors (id bigint PRIMARY KEY)")
        assert (
            connection.tables()
            == ["authors", "books"]
            == [name for (name,) in connection.cursor().execute("SHOW TABLES")]
        )

    def test_tables_of_a_transaction(self, connect, connection, books):
        connection.autocommit = False
        books.execute("CREATE TABLE authors (id bigint PRIMARY KEY)")
        assert connection.tables() == ["authors", "books"]
        assert connect().tables() == ["books"]
        connection.rollback()
        assert connection.tables() == ["books"]

    def test_table_def(self, connection, books):
        definition = json.loads(connection.table_def("books"))
        assert definition["name"] == "books"
        assert [c["name"] for c in definition["columns"]] == ["id", "title", "price"]
        assert definition["columns"][1]["sql_type"] == "varchar(40)"
        with pytest.raises(_core.ProgrammingError) as caught:
            connection.table_def("nothing")
        assert caught.value.sqlstate == "42P01"

    def test_snapshots(self, connection, books):
        pending = connection.snapshots("books")
        assert pending[0]["operation"] == "pending"
        assert pending[0]["snapshot_id"] is None
        connection.flush("books")
        newest = connection.snapshots("books")[0]
        assert newest["operation"] in ("append", "overwrite")
        assert newest["snapshot_id"] > 0
        assert newest["committed_at"].tzinfo is UTC
        assert abs(newest["committed_at"] - datetime.datetime.now(UTC)) < datetime.timedelta(minutes=5)
        assert "committed_at_us" not in newest

    def test_upkeep(self, connection, books):
        before = connection.now()
        assert connection.flush() == 1
        assert connection.flush() == 0
        assert books.execute("SELECT count(*) FROM books").fetchone() == (3,)
        assert connection.compact() == []
        assert connection.now() >= before
        assert isinstance(connection.status(), dict)
        assert connection.check() == []
        assert connection.check(progress=lambda text: None) == []

    def test_compact(self, connect):
        connection = connect({"flush.rewrite-bytes": 0})
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
        for first in 0, 10, 20:
            cursor.execute("INSERT INTO t SELECT i, 'row ' || i FROM range(%s, %s) AS r(i)", (first, first + 10))
            connection.flush()
        cursor.execute("UPDATE t SET v = 'new' WHERE id = 3")
        connection.flush()
        with pytest.raises(_core.Error, match="from 0 to 1"):
            connection.compact("t", delete_ratio=1.5)
        (done,) = connection.compact("t", delete_ratio=0.5)
        assert done.pop("bytes_before") > done.pop("bytes_after") > 0
        assert done == {
            "table": "t",
            "files_before": 4,
            "files_after": 1,
            "rewritten": 4,
            "written": 1,
            "deletion_vectors": 1,
            "rows": 30,
        }
        newest = connection.snapshots("t")[0]
        assert (newest["operation"], newest["summary"]["total-data-files"]) == ("replace", "1")
        assert connection.compact() == []
        cursor.execute("SELECT id, v FROM t ORDER BY id")
        assert cursor.fetchall() == [(i, "new" if i == 3 else f"row {i}") for i in range(30)]
        # One row in thirty is not much; a ratio of 0 takes every deletion vector, and the history has two files.
        cursor.execute("DELETE FROM t WHERE id = 7")
        connection.flush()
        assert [done["table"] for done in connection.compact()] == ["t__history"]
        (done,) = connection.compact(delete_ratio=0)
        assert (done["table"], done["rewritten"], done["deletion_vectors"], done["rows"]) == ("t", 1, 1, 29)
        cursor.execute("SELECT id, v, _operation FROM t__versions WHERE _row_end IS NOT NULL ORDER BY id")
        assert cursor.fetchall() == [(3, "row 3", "update"), (7, "row 7", "delete")]
        assert connection.check() == []

    def test_fast_path(self, connection, books):
        assert connection.fast_path is True
        assert books.execute("SELECT title FROM books WHERE id = %s", [1]).path == "fast"
        connection.fast_path = False
        assert books.execute("SELECT title FROM books WHERE id = %s", [1]).path == "engine"
        assert books.fetchall() == [("Emma",)]

    def test_as_of(self, connection, books):
        then = connection.now()
        books.execute("UPDATE books SET title = 'Emma II' WHERE id = 1")
        select = "SELECT title FROM books WHERE id = %s"
        assert books.execute(select, (1,)).fetchone() == ("Emma II",)
        assert books.execute(select, (1,), as_of=then).fetchone() == ("Emma",)
        assert books.execute(select, (1,), as_of=0).fetchall() == []
        with pytest.raises(_core.OperationalError) as caught:
            books.execute(select, (1,), as_of=then + 10**9).fetchall()
        assert caught.value.code == "FUTURE"
        with pytest.raises(TypeError):
            books.execute(select, (1,), as_of=datetime.datetime.now())
        with pytest.raises(_core.OperationalError):
            books.execute("DELETE FROM books", as_of=then)


class TestCursor:
    def test_description(self, books):
        assert books.connection.cursor().description is None
        books.execute("SELECT id, title, price AS cost FROM books")
        assert [d[0] for d in books.description] == ["id", "title", "cost"]
        assert all(len(d) == 7 for d in books.description)
        assert books.description[2][4:6] == (8, 2)
        first = books.description
        books.fetchall()
        assert books.description == first
        books.execute("DELETE FROM books WHERE id = 1")
        assert books.description is None

    def test_rowcount(self, books):
        assert books.connection.cursor().rowcount == -1
        assert books.execute("UPDATE books SET price = 1 WHERE id < %s", (3,)).rowcount == 2
        assert books.execute("DELETE FROM books").rowcount == 3
        assert books.execute("DELETE FROM books").rowcount == 0

    def test_fetch(self, books):
        books.execute("SELECT id FROM books ORDER BY id")
        assert books.fetchone() == (1,)
        assert books.fetchmany(1) == [(2,)]
        assert books.fetchall() == [(3,)]
        assert books.fetchone() is None
        assert books.fetchmany() == []
        assert books.fetchall() == []

    def test_arraysize(self, books):
        books.arraysize = 2
        books.execute("SELECT id FROM books ORDER BY id")
        assert books.fetchmany() == [(1,), (2,)]
        assert books.fetchmany(size=10) == [(3,)]

    def test_iteration(self, books):
        assert list(books.execute("SELECT id FROM books ORDER BY id")) == [(1,), (2,), (3,)]

    def test_many_batches(self, books):
        books.execute("SELECT range FROM range(10000)")
        assert sum(row[0] for row in books) == 49995000

    def test_no_result(self, books):
        for statement in (None, "DELETE FROM books WHERE id = 1"):
            cursor = books.connection.cursor()
            if statement:
                cursor.execute(statement)
            for call in (cursor.fetchone, cursor.fetchall, cursor.fetchmany):
                with pytest.raises(_core.ProgrammingError):
                    call()

    def test_close(self, books):
        books.close()
        books.close()
        for call in (lambda: books.execute("SELECT 1"), books.fetchone, lambda: books.executemany("SELECT 1", [])):
            with pytest.raises(_core.InterfaceError, match="closed"):
                call()

    def test_context(self, connection, books):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert cursor.closed

    def test_two_results_at_once(self, connection, books):
        a = connection.cursor().execute("SELECT range FROM range(10000)")
        b = connection.cursor().execute("SELECT -range FROM range(10000)")
        assert all(x[0] == -y[0] for x, y in zip(a, b, strict=True))

    def test_result_outlives_its_transaction(self, connection, books):
        connection.autocommit = False
        cursor = connection.cursor().execute("SELECT title FROM books, range(3000) ORDER BY ALL")
        assert cursor.fetchone() == ("Emma",)
        connection.commit()
        assert len(cursor.fetchall()) == 8999

    def test_returning(self, books):
        books.execute("INSERT INTO books (id, title) VALUES (%s, %s), (%s, %s) RETURNING id, title", (8, "a", 9, "b"))
        assert sorted(books.fetchall()) == [(8, "a"), (9, "b")]
        assert books.rowcount == 2

    def test_not_str(self, cursor):
        with pytest.raises(TypeError):
            cursor.execute(b"SELECT 1")
        with pytest.raises(TypeError):
            cursor.execute()
        with pytest.raises(TypeError):
            cursor.execute("SELECT 1", None, None)
        with pytest.raises(TypeError):
            cursor.execute("SELECT 1", nonsense=1)


class TestExecutemany:
    def test_rowcount(self, books):
        books.executemany("DELETE FROM books WHERE id = %s", [(1,), (2,), (77,)])
        assert books.rowcount == 2

    def test_all_or_nothing(self, connection, books):
        with pytest.raises(_core.IntegrityError):
            books.executemany("INSERT INTO books (id, title) VALUES (%s, %s)", [(4, "new"), (5, "Emma")])
        assert not connection.in_transaction
        assert books.execute("SELECT count(*) FROM books").fetchone() == (3,)

    def test_failing_iterator(self, connection, books):
        def rows():
            yield (4, "new")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            books.executemany("INSERT INTO books (id, title) VALUES (%s, %s)", rows())
        assert not connection.in_transaction
        assert books.execute("SELECT count(*) FROM books").fetchone() == (3,)

    def test_rows_of_the_same_connection(self, connection, books):
        rows = connection.cursor().execute("SELECT id + 10, title || '!' FROM books")
        books.executemany("INSERT INTO books (id, title) VALUES (%s, %s)", rows)
        assert books.execute("SELECT count(*) FROM books").fetchone() == (6,)

    def test_inside_a_transaction(self, connection, books):
        connection.autocommit = False
        books.executemany("DELETE FROM books WHERE id = %s", [(1,), (2,)])
        assert connection.in_transaction
        connection.rollback()
        assert books.execute("SELECT count(*) FROM books").fetchone() == (3,)

    def test_no_rows(self, books):
        assert books.executemany("DELETE FROM books WHERE id = %s", []).rowcount == 0


class Colour(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    SEVEN = 7


class Text(str):
    pass


class Zone(datetime.tzinfo):
    def utcoffset(self, when):
        return datetime.timedelta(hours=-3, minutes=-30)


class Nowhere(datetime.tzinfo):
    def utcoffset(self, when):
        return None


# SQL type, what goes in, what comes out.
VALUES = [
    ("boolean", True, True),
    ("boolean", False, False),
    ("smallint", -32768, -32768),
    ("integer", 2**31 - 1, 2**31 - 1),
    ("bigint", -(2**63), -(2**63)),
    ("bigint", 2**63 - 1, 2**63 - 1),
    ("bigint", Number.SEVEN, 7),
    ("double precision", 0.1, 0.1),
    ("double precision", -1.7976931348623157e308, -1.7976931348623157e308),
    ("double precision", float("inf"), float("inf")),
    ("double precision", 5e-324, 5e-324),
    ("numeric(10, 2)", D("12345678.90"), D("12345678.90")),
    ("numeric(10, 2)", D("-0.01"), D("-0.01")),
    ("numeric(10, 2)", D("0"), D("0.00")),
    ("numeric(10, 2)", 7, D("7.00")),
    ("numeric(38, 0)", D("9" * 38), D("9" * 38)),
    ("numeric(38, 0)", 10**37, D(10**37)),
    ("numeric(38, 0)", -(2**63) - 1, D(-(2**63) - 1)),
    ("numeric(38, 38)", D("0." + "1" * 38), D("0." + "1" * 38)),
    ("numeric(20, 0)", D("1E+5"), D("100000")),
    ("numeric(10, 2)", D("1." + "0" * 60), D("1.00")),
    ("text", "", ""),
    ("text", "naïve 😀", "naïve 😀"),
    ("text", "100%", "100%"),
    ("text", "x" * 100_000, "x" * 100_000),
    ("text", Colour.RED, "red"),
    ("text", Text("sub"), "sub"),
    ("varchar(3)", "äöü", "äöü"),
    ("bytea", b"", b""),
    ("bytea", b"\0\xff\\x", b"\0\xff\\x"),
    ("bytea", bytearray(b"array"), b"array"),
    ("bytea", memoryview(b"abcdef")[::2], b"ace"),
    ("date", datetime.date(1, 1, 1), datetime.date(1, 1, 1)),
    ("date", datetime.date(9999, 12, 31), datetime.date(9999, 12, 31)),
    ("date", datetime.date(1900, 2, 28), datetime.date(1900, 2, 28)),
    ("date", datetime.date(2000, 2, 29), datetime.date(2000, 2, 29)),
    ("time", datetime.time(0, 0), datetime.time(0, 0)),
    ("time", datetime.time(23, 59, 59, 999999), datetime.time(23, 59, 59, 999999)),
    ("timestamp", datetime.datetime(1969, 12, 31, 23, 59, 59, 1), datetime.datetime(1969, 12, 31, 23, 59, 59, 1)),
    ("timestamp", datetime.datetime(1, 1, 1), datetime.datetime(1, 1, 1)),
    ("timestamp", datetime.datetime.max, datetime.datetime.max),
    ("timestamp", datetime.datetime(2024, 1, 1, tzinfo=Nowhere()), datetime.datetime(2024, 1, 1)),
    (
        "timestamp with time zone",
        datetime.datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC),
        datetime.datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC),
    ),
    (
        "timestamp with time zone",
        datetime.datetime(2024, 2, 29, 22, 0, tzinfo=Zone()),
        datetime.datetime(2024, 3, 1, 1, 30, tzinfo=UTC),
    ),
    (
        "interval",
        datetime.timedelta(days=-1, seconds=3, microseconds=7),
        datetime.timedelta(days=-1, seconds=3, microseconds=7),
    ),
    ("uuid", uuid.UUID(int=1), uuid.UUID(int=1)),
    ("uuid", uuid.UUID(int=2**128 - 1), uuid.UUID(int=2**128 - 1)),
    ("jsonb", '{"a": [1, null]}', '{"a": [1, null]}'),
]


def label(value):
    """A short name of a value, for the ids of tests."""
    if isinstance(value, int) and value.bit_length() > 100:
        return f"int of {value.bit_length()} bits"
    return value if isinstance(value, str) and value.isalnum() else repr(value)[:40]


class TestValues:
    @pytest.mark.parametrize("flushed", [False, True], ids=["tail", "file"])
    @pytest.mark.parametrize("fast", [True, False], ids=["fast", "engine"])
    def test_round_trip(self, connection, cursor, fast, flushed):
        """Every type at once: written by one statement for each, read by key, and again from Parquet files."""
        columns = ", ".join(f"c{i} {t}" for i, (t, _, _) in enumerate(VALUES))
        cursor.execute(f"CREATE TABLE v (id bigint PRIMARY KEY, {columns})")
        connection.fast_path = fast
        names = ", ".join(f"c{i}" for i in range(len(VALUES)))
        marks = ", ".join(["%s"] * (len(VALUES) + 1))
        cursor.execute(f"INSERT INTO v (id, {names}) VALUES ({marks})", [1, *(v for _, v, _ in VALUES)])
        cursor.execute(f"INSERT INTO v (id, {names}) VALUES ({marks})", [2, *(None for _ in VALUES)])
        if flushed:
            connection.flush()
        cursor.execute(f"SELECT {names} FROM v WHERE id = %s", [1])
        row = cursor.fetchone()
        wanted = tuple(out for _, _, out in VALUES)
        for (sql_type, given, out), got in zip(VALUES, row, strict=True):
            assert got == out, (sql_type, label(given))
            assert type(got) is type(out), (sql_type, label(given))
            if isinstance(got, decimal.Decimal):
                assert got.as_tuple() == out.as_tuple()
            if isinstance(got, datetime.datetime):
                assert got.tzinfo is out.tzinfo
        assert row == wanted
        cursor.execute(f"SELECT {names} FROM v WHERE id = %s", [2])
        assert set(cursor.fetchone()) == {None}

    @pytest.mark.parametrize(("sql_type", "given", "out"), VALUES, ids=label)
    def test_comparison(self, cursor, sql_type, given, out):
        """A value as a parameter of the engine equals the stored one."""
        cursor.execute(f"CREATE TABLE v (id bigint PRIMARY KEY, c {sql_type})")
        cursor.execute("INSERT INTO v VALUES (1, %s)", [given])
        assert cursor.execute("SELECT id FROM v WHERE c = %s OR 1 = 0", [given]).fetchall() == [(1,)]
        assert cursor.execute("SELECT %s IS NULL", [given]).fetchone() == (False,)

    def test_nul(self, cursor):
        """No text has a NUL, as in PostgreSQL: neither a parameter nor what is computed for a column."""
        cursor.execute("CREATE TABLE v (id bigint PRIMARY KEY, c text)")
        for sql, params in (
            ("SELECT length(%s)", ["a\0b"]),
            ("INSERT INTO v VALUES (1, %s)", ["a\0b"]),
            ("INSERT INTO v VALUES (1, chr(0))", []),
        ):
            with pytest.raises(_core.DataError, match="NUL"):
                cursor.execute(sql, params)

    def test_nan(self, cursor):
        cursor.execute("CREATE TABLE v (id bigint PRIMARY KEY, c double precision)")
        cursor.execute("INSERT INTO v VALUES (1, %s)", [float("nan")])
        (value,) = cursor.execute("SELECT c FROM v").fetchone()
        assert math.isnan(value)

    @pytest.mark.parametrize(
        ("value", "error", "sqlstate"),
        [
            (D("NaN"), _core.DataError, "22003"),
            (D("Infinity"), _core.DataError, "22003"),
            (D("1" * 39), _core.DataError, "22003"),
            (D("1." + "0" * 37 + "1"), _core.DataError, "22003"),
            (D("1E+38"), _core.DataError, "22003"),
            (D("1E-39"), _core.DataError, "22003"),
            (D("1E+999999"), _core.DataError, "22003"),
            (10**38, _core.DataError, "22003"),
            (-(10**5000), _core.DataError, "22003"),
            (datetime.timedelta.max, _core.DataError, "22003"),
            (datetime.time(1, 2, tzinfo=UTC), _core.DataError, "22P02"),
            ("\ud800", _core.DataError, "22P02"),
            ([1, 2], _core.ProgrammingError, "42601"),
            ((1, 2), _core.ProgrammingError, "42601"),
            ({}, _core.ProgrammingError, "42601"),
            (object(), _core.ProgrammingError, "42601"),
            (1j, _core.ProgrammingError, "42601"),
        ],
        ids=label,
    )
    def test_refused(self, books, value, error, sqlstate):
        with pytest.raises(error) as caught:
            books.execute("SELECT %s", [value])
        assert caught.value.sqlstate == sqlstate
        if error is _core.ProgrammingError:
            assert type(value).__name__ in str(caught.value)

    def test_errors_of_values_are_theirs(self, books):
        class Broken(datetime.tzinfo):
            def utcoffset(self, when):
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            books.execute("SELECT %s", [datetime.datetime(2024, 1, 1, tzinfo=Broken())])
        assert books.execute("SELECT 1").fetchone() == (1,)

    @pytest.mark.parametrize(
        "sql",
        ["SELECT DATE '10000-01-01'", "SELECT TIMESTAMP '294246-01-01'", "SELECT DATE '0044-03-15 (BC)'"],
    )
    def test_beyond_python(self, books, sql):
        with pytest.raises(_core.DataError):
            books.execute(sql).fetchall()

    def test_results_of_the_engine(self, books):
        row = books.execute(
            "SELECT [1, 2], {'a': 1}, 170141183460469231731687303715884105727::HUGEINT % 1000, 1.5::FLOAT, 200::UTINYINT"
        ).fetchone()
        assert row == ("[1, 2]", "{'a': 1}", 727, 1.5, 200)
        big = "SELECT 18446744073709551615::UBIGINT, INTERVAL '1 day 2 seconds'"
        assert books.execute(big).fetchone() == (D(2**64 - 1), datetime.timedelta(days=1, seconds=2))


class TestParameters:
    def test_positional(self, books):
        assert books.execute("SELECT %s, %s", (1, "a")).fetchone() == (1, "a")
        assert books.execute("SELECT %s, %s", [1, "a"]).fetchone() == (1, "a")
        assert books.execute("SELECT %s + %s", range(1, 3)).fetchone() == (3,)

    def test_named(self, books):
        assert books.execute("SELECT %(b)s, %(a)s, %(b)s", {"a": 1, "b": "x", "c": 0}).fetchone() == ("x", 1, "x")
        assert books.execute("SELECT %(a)s", ChainMap({"a": 1})).fetchone() == (1,)

    def test_many(self, books):
        marks = ", ".join(["%s"] * 500)
        assert books.execute(f"SELECT {marks}", list(range(500))).fetchone() == tuple(range(500))

    def test_percent(self, books):
        assert books.execute("SELECT '100%%', %s", (1,)).fetchone() == ("100%", 1)
        assert books.execute("SELECT '100%'").fetchone() == ("100%",)
        assert books.execute("SELECT '%s'").fetchone() == ("%s",)
        assert books.execute("SELECT '100%%'").fetchone() == ("100%%",)
        assert books.execute("SELECT '100%%'", ()).fetchone() == ("100%",)

    @pytest.mark.parametrize(
        ("sql", "params"),
        [
            ("SELECT %s", ()),
            ("SELECT %s", (1, 2)),
            ("SELECT %s", {"a": 1}),
            ("SELECT %(a)s", (1,)),
            ("SELECT %(a)s", {"b": 1}),
            ("SELECT %(a)s, %s", {"a": 1}),
            ("SELECT '5% of it'", (1,)),
            ("SELECT %s", "a"),
            ("SELECT %s", b"a"),
            ("SELECT 1", (1,)),
        ],
    )
    def test_mismatch(self, books, sql, params):
        with pytest.raises(_core.ProgrammingError):
            books.execute(sql, params)

    def test_generators_are_no_sequences(self, books):
        with pytest.raises((TypeError, _core.ProgrammingError)):
            books.execute("SELECT %s", 5)


class TestErrors:
    @pytest.mark.parametrize(
        ("sql", "error", "sqlstate", "code"),
        [
            ("SELEC 1", _core.ProgrammingError, "42601", "SYNTAX"),
            ("SELECT * FROM nothing", _core.ProgrammingError, "42P01", "NO_TABLE"),
            ("SELECT nothing FROM books", _core.ProgrammingError, "42703", "NO_COLUMN"),
            ("INSERT INTO books (id, title, nope) VALUES (9, 'a', 1)", _core.ProgrammingError, "42703", "NO_COLUMN"),
            (
                "INSERT INTO books (id, title, price, nope) VALUES (9, 'a', 1, 1)",
                _core.ProgrammingError,
                "42703",
                "NO_COLUMN",
            ),
            ("INSERT INTO books VALUES (9, 'a', 1, 1)", _core.ProgrammingError, "42601", "SYNTAX"),
            ("SELECT * FROM read_csv('/etc/passwd')", _core.NotSupportedError, "0A000", "UNSUPPORTED"),
            ("CREATE TABLE books (id bigint)", _core.ProgrammingError, "42P07", "DUP_TABLE"),
            ("INSERT INTO books (id, title) VALUES (1, 'x')", _core.IntegrityError, "23505", "UNIQUE"),
            ("INSERT INTO books (id) VALUES (9)", _core.IntegrityError, "23502", "NOT_NULL"),
            (f"INSERT INTO books (id, title) VALUES (9, '{'x' * 41}')", _core.DataError, "22001", "TOO_LONG"),
            ("SELECT CAST('abc' AS INTEGER)", _core.DataError, "22P02", "BAD_VALUE"),
            ("ROLLBACK TO SAVEPOINT nothing", _core.InternalError, "3B001", "NO_SAVEPOINT"),
        ],
    )
    def test_mapping(self, books, sql, error, sqlstate, code):
        with pytest.raises(error) as caught:
            books.execute(sql).fetchall()
        assert type(caught.value) is error
        assert (caught.value.sqlstate, caught.value.code) == (sqlstate, code)
        assert str(caught.value)
        assert books.execute("SELECT count(*) FROM books").fetchone() == (3,)

    def test_names(self, books):
        with pytest.raises(_core.IntegrityError) as caught:
            books.execute("INSERT INTO books (id, title) VALUES (9, 'Emma')")
        assert caught.value.table_name == "books"
        assert caught.value.constraint_name == "books_title_uniq"

    def test_foreign_key_at_commit(self, connection, books):
        books.execute("CREATE TABLE loans (id bigint PRIMARY KEY, book_id bigint NOT NULL)")
        books.execute(
            "ALTER TABLE loans ADD CONSTRAINT loans_book_fk FOREIGN KEY (book_id) REFERENCES books (id) "
            "DEFERRABLE INITIALLY DEFERRED"
        )
        connection.autocommit = False
        books.execute("INSERT INTO loans VALUES (1, 99)")
        with pytest.raises(_core.IntegrityError) as caught:
            connection.commit()
        assert caught.value.sqlstate == "23503"
        assert caught.value.constraint_name == "loans_book_fk"
        connection.rollback()
        assert books.execute("SELECT count(*) FROM loans").fetchone() == (0,)


class TestThreads:
    def test_interrupt(self, connection, books):
        threading.Timer(0.3, connection.interrupt).start()
        with pytest.raises(_core.OperationalError) as caught:
            books.execute(ENDLESS).fetchall()
        assert caught.value.code == "CANCELED"
        assert books.execute("SELECT 1").fetchone() == (1,)

    def test_ctrl_c(self, connection, books):
        assert threading.current_thread() is threading.main_thread()
        # A shell starts background jobs with SIGINT ignored, and Python then leaves it so.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                books.execute(ENDLESS).fetchall()
        finally:
            signal.signal(signal.SIGINT, before)
        assert books.execute("SELECT 1").fetchone() == (1,)

    def test_others_run_meanwhile(self, connection, books):
        """The GIL is free while a statement runs, and the connection is refused to others."""
        errors = []

        def intrude():
            try:
                connection.cursor().execute("SELECT 1")
            except _core.Error as error:
                errors.append(error)
            connection.interrupt()

        books.execute("SELECT count(*) FROM range(10)").fetchall()
        threading.Timer(0.5, intrude).start()
        with pytest.raises(_core.OperationalError):
            books.execute(ENDLESS).fetchall()
        assert len(errors) == 1
        assert isinstance(errors[0], _core.ProgrammingError)

    def test_a_connection_for_each(self, connect, books):
        def work(i):
            cursor = connect().cursor()
            for j in range(20):
                cursor.execute("INSERT INTO books (id, title) VALUES (%s, %s)", (100 + i * 20 + j, f"{i}-{j}"))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert books.execute("SELECT count(*) FROM books WHERE id >= 100").fetchone() == (80,)


class TestFork:
    def test_inherited_connection(self, connect, connection, books):
        """A child abandons what it inherited, opens its own, and the parent goes on."""
        open_result = connection.cursor().execute("SELECT range FROM range(100000)")
        open_result.fetchone()
        stream = connection.cursor().execute_arrow("SELECT 1 AS one")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if connection.is_usable():
                    raise AssertionError("usable in the child")
                try:
                    books.execute("SELECT 1")
                except _core.InterfaceError:
                    pass
                del open_result, stream
                gc.collect()
                connection.close()
                mine = connect()
                mine.cursor().execute("INSERT INTO books (id, title) VALUES (50, 'child')")
                if mine.cursor().execute("SELECT sum(id) FROM books").fetchone() == (56,):
                    status = 0
                mine.close()
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(open_result.fetchall()) == 99999
        assert books.execute("SELECT title FROM books WHERE id = 50").fetchone() == ("child",)
        del stream


class TestArrow:
    def test_pyarrow(self, books):
        pyarrow = pytest.importorskip("pyarrow")
        table = pyarrow.table(books.execute_arrow("SELECT id, title, price FROM books ORDER BY id"))
        assert table.column("id").to_pylist() == [1, 2, 3]
        assert table.column("price").to_pylist() == [D("7.50"), D("8.25"), None]

    def test_polars(self, books):
        polars = pytest.importorskip("polars")
        frame = polars.DataFrame(books.execute_arrow("SELECT id, title FROM books WHERE id > %s ORDER BY id", [1]))
        assert frame.rows() == [(2, "Persuasion"), (3, "Sanditon")]

    def test_streams_are_read_on_other_threads(self, connection, books):
        """…, while the connection goes on, and outlive its transaction."""
        pyarrow = pytest.importorskip("pyarrow")
        books.execute("CREATE TABLE numbers (n bigint PRIMARY KEY)")
        books.execute("INSERT INTO numbers SELECT range FROM range(20000)")
        connection.autocommit = False
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            tables = []
            for i in range(40):
                books.execute("INSERT INTO numbers VALUES (%s)", [20000 + i])
                tables.append(pool.submit(pyarrow.table, books.execute_arrow("SELECT n FROM numbers WHERE n >= 0")))
                books.execute("SELECT count(*) FROM numbers GROUP BY n % 2")
                if i % 10 == 9:
                    connection.commit()
            assert [table.result().num_rows for table in tables] == [20001 + i for i in range(40)]

    def test_as_of(self, connection, books):
        pyarrow = pytest.importorskip("pyarrow")
        then = connection.now()
        books.execute("DELETE FROM books")
        select = "SELECT count(*) AS n FROM books"
        assert pyarrow.table(books.execute_arrow(select, as_of=then))["n"].to_pylist() == [3]
        assert pyarrow.table(books.execute_arrow(select))["n"].to_pylist() == [0]

    def test_once(self, books):
        stream = books.execute_arrow("SELECT 1 AS one")
        stream.__arrow_c_stream__()
        with pytest.raises(_core.ProgrammingError):
            stream.__arrow_c_stream__(None)

    def test_outlives_the_connection(self, connect, books):
        pyarrow = pytest.importorskip("pyarrow")
        connection = connect()
        stream = connection.cursor().execute_arrow("SELECT range FROM range(100000)")
        connection.close()
        del connection
        assert pyarrow.table(stream).num_rows == 100000

    def test_unread(self, books):
        books.execute_arrow("SELECT range FROM range(100000)")
        books.execute_arrow("SELECT range FROM range(100000)").__arrow_c_stream__()
        assert books.execute("SELECT 1").fetchone() == (1,)

    def test_only_reads(self, books):
        with pytest.raises(_core.Error):
            books.execute_arrow("DELETE FROM books")
        assert books.execute("SELECT count(*) FROM books").fetchone() == (3,)

    def test_errors_of_rows(self, books):
        pyarrow = pytest.importorskip("pyarrow")
        with pytest.raises((_core.DataError, pyarrow.ArrowException, OSError)):
            pyarrow.table(books.execute_arrow("SELECT CAST(title AS INTEGER) FROM books"))


def test_garbage(connection, books):
    """A cursor in a cycle with its own parameters goes, and its result with it."""
    cursor = connection.cursor()

    class Param(str):
        pass

    param = Param("x")
    param.cursor = cursor
    cursor.execute("SELECT %s, range FROM range(100000)", [param])
    del cursor, param
    gc.collect()
    assert books.execute("SELECT 1").fetchone() == (1,)
