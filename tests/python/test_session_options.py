"""Options of several connections of a process to one warehouse: each has its own, or they agree."""

import threading

import pytest

from django_iceberg import _core

DIFFERENT = {
    "flush.interval-ms": 5,
    "flush.bytes": "1MB",
    "flush.rewrite-bytes": "1MB",
    "flush.backlog": 5,
    "flush.background": True,
    "memory.budget": "100MB",
    "threads": 1,
    "log.max-bytes": "1GB",
    "clock.max-skew-ms": 5,
    "orphans.grace-ms": 5,
    "durability": "os",
}


@pytest.fixture
def table(connection):
    connection.cursor().execute("CREATE TABLE t (id integer PRIMARY KEY, x integer)")
    connection.cursor().execute("INSERT INTO t SELECT i, i FROM range(10) AS r(i)")


@pytest.mark.parametrize("key", DIFFERENT)
def test_options_of_a_warehouse_agree(table, connect, key):
    with pytest.raises(_core.InterfaceError, match=f"'{key}' differs") as failed:
        connect({key: DIFFERENT[key]})
    assert failed.value.code == "CONFIG"
    assert connect().tables() == ["t"]  # who says nothing takes what there is


def test_the_same_options_are_no_conflict(connect):
    options = {**DIFFERENT, "flush.background": False}
    first = connect(options)
    first.cursor().execute("CREATE TABLE t (id integer PRIMARY KEY)")
    assert connect(options).tables() == ["t"] == connect({"threads": 1}).tables()


def test_after_the_last_connection_others_hold(table, connection, connect):
    connection.close()
    other = connect({key: value for key, value in DIFFERENT.items() if key != "durability"})
    assert other.tables() == ["t"]


def test_each_connection_waits_as_long_as_it_says(table, connection, connect):
    quick, slow = connect({"lock.timeout-ms": 20}), connect({"lock.timeout-ms": 60_000})
    connection.autocommit = False
    connection.cursor().execute("UPDATE t SET x = 0 WHERE id = 1")
    with pytest.raises(_core.OperationalError) as failed:
        quick.cursor().execute("UPDATE t SET x = 1 WHERE id = 1")
    assert failed.value.sqlstate == "55P03"
    threading.Timer(0.1, connection.commit).start()
    slow.cursor().execute("UPDATE t SET x = 2 WHERE id = 1")
    assert slow.cursor().execute("SELECT x FROM t WHERE id = 1").fetchone() == (2,)


def test_each_connection_has_its_bulk_rows(table, connect):
    paths = []
    for rows in (5, 0, 100_000):
        cursor = connect({"bulk.rows": rows}).cursor()
        cursor.execute("UPDATE t SET x = x + 1")
        paths.append(cursor.path == "bulk")
    assert paths == [True, False, False]
    assert cursor.execute("SELECT sum(x) FROM t").fetchone() == (75,)


def test_each_connection_has_its_isolation(table, connection, connect):
    readers = connect(), connect({"isolation-level": "snapshot"})
    for reader in readers:
        reader.autocommit = False
        reader.cursor().execute("SELECT x FROM t WHERE id = 1").fetchone()
    connection.cursor().execute("UPDATE t SET x = 50 WHERE id = 1")
    assert [r.cursor().execute("SELECT x FROM t WHERE id = 1").fetchone()[0] for r in readers] == [50, 1]


@pytest.mark.parametrize("first", [True, False])
def test_readers_and_writers(table, connection, connect, first):
    if first:
        connection.close()
    reader, writer = (connect({"read-only": value}) for value in (True, False))
    with pytest.raises(_core.OperationalError) as failed:
        reader.cursor().execute("DELETE FROM t")
    assert failed.value.sqlstate == "25006"
    writer.cursor().execute("DELETE FROM t WHERE id > 2")
    assert reader.cursor().execute("SELECT count(*) FROM t").fetchone() == (3,)
