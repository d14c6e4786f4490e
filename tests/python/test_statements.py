"""Statements over the module django_iceberg._core: what INSERT, UPDATE, constraints and DDL answer."""

import datetime
import json
import time

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

    def test_conflict_that_is_not_the_target(self, cursor):
        cursor.execute("CREATE TABLE t (id integer PRIMARY KEY, name varchar(9))")
        cursor.execute("CREATE UNIQUE INDEX u ON t (name) WHERE id > 0")
        cursor.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        with pytest.raises(_core.IntegrityError) as info:
            cursor.execute("INSERT INTO t VALUES (3, 'a') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name")
        assert info.value.constraint_name == "u"
        cursor.execute("INSERT INTO t VALUES (3, 'a'), (2, 'c') ON CONFLICT DO NOTHING")
        assert cursor.rowcount == 0
        cursor.execute("INSERT INTO t VALUES (2, 'c') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name")
        cursor.execute("SELECT * FROM t ORDER BY id")
        assert cursor.fetchall() == [(1, "a"), (2, "c")]


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

    def test_added_to_rows(self, connection, cursor):
        cursor.execute("CREATE TABLE t (id integer PRIMARY KEY, a integer)")
        cursor.execute("INSERT INTO t VALUES (1, 3), (2, NULL)")
        connection.flush()
        cursor.execute("INSERT INTO t VALUES (3, 5)")
        cursor.execute("ALTER TABLE t ADD COLUMN b integer GENERATED ALWAYS AS (a * 2) STORED")
        cursor.execute("UPDATE t SET a = 1 WHERE id = 3")
        cursor.execute("SELECT b FROM t ORDER BY id")
        assert cursor.fetchall() == [(6,), (None,), (2,)]


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


class TestPrimaryKey:
    """The key of a table without rows can go and come; a table that has none has a hidden one."""

    def test_dropped_and_added(self, cursor):
        cursor.execute("CREATE TABLE t (a integer CONSTRAINT t_pkey PRIMARY KEY, b varchar(9))")
        cursor.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
        cursor.execute("INSERT INTO t VALUES (1, 'x'), (1, 'x')")
        cursor.execute("SELECT * FROM t")
        assert cursor.fetchall() == [(1, "x"), (1, "x")]
        cursor.execute("UPDATE t SET b = 'y' RETURNING *")
        assert cursor.fetchall() == [(1, "y"), (1, "y")]
        cursor.execute("DELETE FROM t")
        cursor.execute("ALTER TABLE t ADD CONSTRAINT k PRIMARY KEY (b)")
        cursor.execute("INSERT INTO t VALUES (1, 'x')")
        with pytest.raises(_core.IntegrityError) as info:
            cursor.execute("INSERT INTO t VALUES (2, 'x')")
        assert info.value.constraint_name == "k"
        assert [c["name"] for c in json.loads(cursor.connection.table_def("t"))["columns"]] == ["a", "b"]

    def test_dropped_with_its_column(self, cursor):
        cursor.execute("CREATE TABLE t (a integer PRIMARY KEY, b integer)")
        cursor.execute("ALTER TABLE t DROP COLUMN a")
        cursor.execute("ALTER TABLE t ADD COLUMN c integer PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY")
        cursor.execute("INSERT INTO t (b) VALUES (7) RETURNING c")
        assert cursor.fetchone() == (1,)


class TestSequences:
    @pytest.fixture
    def table(self, cursor):
        cursor.execute("CREATE TABLE t (id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, a integer)")
        cursor.execute("INSERT INTO t (a) VALUES (1), (2), (3)")

    def add(self, cursor):
        cursor.execute("INSERT INTO t (a) VALUES (0) RETURNING id")
        return cursor.fetchone()[0]

    def test_restart_after_truncate(self, connect, cursor, table):
        cursor.execute("TRUNCATE t")
        assert self.add(cursor) == 4
        cursor.execute("TRUNCATE t RESTART IDENTITY")
        assert self.add(cursor) == 1
        assert self.add(connect().cursor()) == 2

    def test_restart_is_undone_with_its_transaction(self, connection, cursor, table):
        connection.autocommit = False
        cursor.execute("TRUNCATE t RESTART IDENTITY")
        assert self.add(cursor) == 1
        connection.rollback()
        assert self.add(cursor) == 4

    @pytest.mark.parametrize("value", [1, 2, 100])
    def test_a_rollback_takes_back_a_restart(self, connect, cursor, table, value):
        """Each time anew, by whichever connection; to a savepoint, too."""
        cursor.execute("DELETE FROM t")
        for one in (cursor, connect().cursor(), cursor):
            one.connection.autocommit = False
            one.execute("SAVEPOINT s")
            for _ in range(2):
                one.execute(f"ALTER TABLE t ALTER COLUMN id RESTART WITH {value}")
                assert [self.add(one) for _ in range(3)] == [value, value + 1, value + 2]
                one.execute("ROLLBACK TO SAVEPOINT s")
            one.execute("TRUNCATE t RESTART IDENTITY")
            assert [self.add(one) for _ in range(3)] == [1, 2, 3]
            one.connection.rollback()
            one.connection.autocommit = True
        assert self.add(cursor) == 4
        cursor.execute(f"ALTER TABLE t ALTER COLUMN id RESTART WITH {value}")
        cursor.execute("DELETE FROM t")
        assert self.add(connect().cursor()) == value, "what is committed stays"

    def test_restart_with(self, cursor, table):
        cursor.execute("ALTER TABLE t ALTER COLUMN id RESTART WITH 100")
        assert self.add(cursor) == 100
        cursor.execute("DELETE FROM t WHERE id > 1")
        cursor.execute("ALTER TABLE t ALTER COLUMN id RESTART WITH 2")
        assert self.add(cursor) == 2
        # Values in use are passed over.
        cursor.execute("ALTER TABLE t ALTER COLUMN id RESTART WITH 1")
        assert self.add(cursor) == 3

    def test_highest_of_all_by_hand(self, cursor, table):
        cursor.execute("INSERT INTO t VALUES (9223372036854775807, 0)")
        assert self.add(cursor) == 4

    def test_added_to_rows(self, cursor, table):
        cursor.execute("ALTER TABLE t ADD COLUMN n integer NOT NULL GENERATED BY DEFAULT AS IDENTITY")
        self.add(cursor)
        cursor.execute("SELECT n FROM t ORDER BY n")
        assert cursor.fetchall() == [(1,), (2,), (3,), (4,)]


class TestLocks:
    def test_outside_a_transaction(self, connect, cursor):
        cursor.execute("CREATE TABLE t (a integer PRIMARY KEY)")
        cursor.execute("INSERT INTO t VALUES (1)")
        cursor.execute("SELECT a FROM t FOR UPDATE NOWAIT")
        assert cursor.fetchall() == [(1,)]
        # Nothing stays locked.
        cursor.execute("SELECT a FROM t FOR UPDATE NOWAIT")
        holder = connect()
        holder.autocommit = False
        holder.cursor().execute("SELECT a FROM t FOR UPDATE")
        with pytest.raises(_core.OperationalError):
            cursor.execute("SELECT a FROM t FOR UPDATE NOWAIT")

    def test_explain(self, cursor):
        cursor.execute("CREATE TABLE t (a integer PRIMARY KEY)")
        cursor.execute("EXPLAIN SELECT a FROM t WHERE a > %s FOR UPDATE", (0,))
        assert cursor.fetchall()


class TestOrder:
    def test_rows_of_a_key_come_as_they_were_written(self, connection, cursor):
        cursor.execute("CREATE TABLE p (id integer PRIMARY KEY)")
        cursor.execute("CREATE TABLE c (id integer PRIMARY KEY, p_id integer REFERENCES p (id))")
        cursor.execute("INSERT INTO p VALUES (1)")
        cursor.execute("INSERT INTO c VALUES (9, 1), (3, 1)")
        cursor.execute("INSERT INTO c VALUES (5, 1)")
        for fast in (True, False):
            connection.fast_path = fast
            cursor.execute("SELECT id FROM c WHERE p_id = 1")
            assert cursor.fetchall() == [(9,), (3,), (5,)]


class TestIndexes:
    @pytest.fixture(autouse=True)
    def table(self, cursor):
        cursor.execute("CREATE TABLE t (id integer PRIMARY KEY, name varchar(9), a integer)")

    def test_definition(self, connect, cursor):
        cursor.execute("CREATE INDEX i ON t (lower(name) DESC, a, (a + 1) DESC) INCLUDE (id, name) WHERE a > 1")
        cursor.execute("CREATE UNIQUE INDEX u ON t (a, lower(name) DESC)")
        definition = json.loads(connect().table_def("t"))
        index = definition["indexes"][0]
        assert (index["expr_desc"], index["include"], index["where"]) == (0b101, ["id", "name"], "a > 1")
        assert [c["expr_desc"] for c in definition["constraints"] if c["is_index"]] == [0b10]
        cursor.execute("ALTER TABLE t DROP COLUMN name")
        assert json.loads(connect().table_def("t"))["indexes"] == []

    @pytest.mark.parametrize(
        "elements", ["(random())", "(lower(nothing))", "(a) WHERE a > random()", "((now() - INTERVAL 1 DAY))"]
    )
    def test_expressions_without_meaning(self, cursor, elements):
        for unique in ("", "UNIQUE"):
            with pytest.raises(_core.ProgrammingError):
                cursor.execute(f"CREATE {unique} INDEX i ON t {elements}")


class TestDrop:
    def test_while_a_flush_publishes(self, connect):
        """A table dropped between the start of its first flush and that flush's end stays dropped."""
        connection = connect(options={"flush.background": True, "flush.interval-ms": 1})
        cursor = connection.cursor()
        for i in range(60):
            cursor.execute(f"CREATE TABLE t{i % 3} (id integer PRIMARY KEY, a integer)")
            cursor.execute(f"INSERT INTO t{i % 3} VALUES (1, {i})")
            time.sleep(i % 7 * 0.01)
            cursor.execute(f"DROP TABLE t{i % 3}")
            assert connection.tables() == []
            time.sleep(i % 3 * 0.01)
            assert connection.tables() == []
        connection.flush()
        assert connect({"flush.background": True}).tables() == []
