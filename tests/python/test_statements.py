"""Statements over the module django_iceberg._core: what INSERT, UPDATE, constraints and DDL answer."""

import datetime

import pytest

from django_iceberg import _core

UTC = datetime.UTC


class TestParameters:
    """A piece of a statement that the engine computes names some of its parameters."""

    def test_expressions_among_values(self, cursor):
        cursor.execute("CREATE TABLE t (a integer PRIMARY KEY, b integer, c varchar(9), d integer)")
        cursor.execute(
            "INSERT INTO t VALUES (%s, (%s + 1) * 2, upper(%s), (SELECT count(*) FROM t)), (%s, abs(%s), 'z', 1)",
            (1, 4, "x$1", 2, -5),
        )
        cursor.execute("SELECT * FROM t ORDER BY a")
        assert cursor.fetchall() == [(1, 10, "X$1", 0), (2, 5, "z", 1)]

    def test_locked_rows(self, connection, cursor):
        cursor.execute("CREATE TABLE t (a integer PRIMARY KEY, b integer)")
        cursor.execute("INSERT INTO t VALUES (1, 10), (2, 20)")
        connection.autocommit = False
        cursor.execute("SELECT %s, b FROM t WHERE abs(a) = %s LIMIT %s FOR UPDATE", ("x", 2, 1))
        assert cursor.fetchall() == [("x", 20)]


class TestUnique:
    @pytest.mark.parametrize("nulls", ["", "NULLS NOT DISTINCT"])
    def test_functional_with_condition(self, cursor, nulls):
        cursor.execute("CREATE TABLE t (id integer PRIMARY KEY, name varchar(9), kind integer, live boolean)")
        cursor.execute(f"CREATE UNIQUE INDEX u ON t ((lower(name)), kind) {nulls} WHERE live")
        cursor.execute("INSERT INTO t VALUES (1, 'A', 1, true), (2, 'A', 1, false), (3, 'A', NULL, true)")
        with pytest.raises(_core.IntegrityError) as info:
            cursor.execute("INSERT INTO t VALUES (4, 'a', 1, true)")
        assert info.value.constraint_name == "u"
        again = "INSERT INTO t VALUES (5, 'a', NULL, true)"
        if nulls:
            with pytest.raises(_core.IntegrityError):
                cursor.execute(again)
        else:
            cursor.execute(again)
        cursor.execute("SELECT count(*) FROM t")
        assert cursor.fetchone() == (3 if nulls else 4,)


class TestGenerated:
    def test_several(self, cursor):
        cursor.execute(
            "CREATE TABLE t (id integer PRIMARY KEY, a integer, "
            "b integer GENERATED ALWAYS AS (a * 2) STORED, c varchar(9) GENERATED ALWAYS AS (upper('x' || a)) STORED)"
        )
        cursor.execute("INSERT INTO t (id, a) VALUES (1, 3)")
        cursor.execute("INSERT INTO t (id, a, b, c) VALUES (2, 4, DEFAULT, DEFAULT)")
        cursor.execute("SELECT b, c FROM t ORDER BY id")
        assert cursor.fetchall() == [(6, "X3"), (8, "X4")]


class TestTimeZone:
    def test_naive_times_are_local(self, connection, cursor):
        cursor.execute("CREATE TABLE t (id integer PRIMARY KEY, moment timestamp with time zone)")
        connection.timezone = "Asia/Bangkok"
        local = datetime.datetime(2024, 5, 1, 13, 20, 30)
        cursor.execute("INSERT INTO t VALUES (1, %s), (2, '2024-05-01 13:20:30'), (3, NULL)", (local,))
        cursor.execute("INSERT INTO t VALUES (4, NULL)")
        cursor.execute("UPDATE t SET moment = %s WHERE id = 4", (local,))
        cursor.execute("SELECT id, moment FROM t ORDER BY id")
        instant = datetime.datetime(2024, 5, 1, 6, 20, 30, tzinfo=UTC)
        assert cursor.fetchall() == [(1, instant), (2, instant), (3, None), (4, instant)]
        cursor.execute("SELECT count(*) FROM t WHERE moment = %s", (local,))
        assert cursor.fetchone() == (3,)
