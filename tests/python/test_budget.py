"""Memory and threads are budgets of a host: its processes share them, as they come and go."""

import sys

import pytest
from workers import Workers

OPTIONS = {"memory.budget": "1GB", "threads": 8}
WORKER = {key.replace(".", "_"): value for key, value in OPTIONS.items()}
LEAST = "64.0 MiB"


@pytest.fixture
def start(warehouse, duckdb_library):
    with Workers(warehouse, duckdb_library) as start:
        yield start


@pytest.fixture
def cursor(connect):
    cursor = connect(OPTIONS).cursor()
    cursor.execute("CREATE TABLE item (id bigint PRIMARY KEY, name varchar(40))")
    return cursor


def limits(cursor):
    cursor.execute("SELECT current_setting('threads'), current_setting('memory_limit')")
    return list(cursor.fetchone())


def show_limits(connection, tell):
    cursor = connection.cursor()
    tell(limits(cursor))
    while sys.stdin.readline() != "end\n":
        tell(limits(cursor))


def test_engines_share_threads_and_memory(cursor, start):
    assert limits(cursor) == [8, "512.0 MiB"], "the other half is for decoded columns"
    others = [start(show_limits, **WORKER) for _ in range(3)]
    for other in others:
        other.line()
    assert limits(cursor) == [2, "128.0 MiB"]
    for other in others:
        other.say()
        assert other.line() == [2, "128.0 MiB"]
    others.pop().kill()
    late = start(show_limits, **WORKER)
    assert late.line() == [2, "128.0 MiB"], "who was killed has no share any more"
    for other in [*others, late]:
        other.say("end")
        other.finish()
    assert limits(cursor) == [8, "512.0 MiB"]


def test_a_process_has_enough_to_work_with(connect):
    cursor = connect({"memory.budget": "1MB", "threads": 1}).cursor()
    cursor.execute("CREATE TABLE item (id bigint PRIMARY KEY)")
    assert limits(cursor) == [1, LEAST]


def look_up(connection, tell):
    """Reads by keys only: no engine."""
    cursor = connection.cursor()
    cursor.execute("SELECT name FROM item WHERE id = 1")
    tell(cursor.fetchone())
    sys.stdin.readline()


def test_without_an_engine_no_share(cursor, start):
    cursor.execute("INSERT INTO item VALUES (1, 'one')")
    other = start(look_up, **WORKER)
    assert other.line() == ["one"]
    assert limits(cursor) == [8, "512.0 MiB"]
    other.say()
    other.finish()


def kept(connection):
    return {table["name"]: table["resident"] for table in connection.status()["tables"]}


def read(connection, tell, table):
    cursor = connection.cursor()
    cursor.execute(f"SELECT count(name) FROM {table}")
    assert cursor.fetchone() == (ROWS,)
    tell(kept(connection))
    sys.stdin.readline()


ROWS = 50_000


def test_decoded_columns_are_counted_once(connect, start):
    connection = connect({"memory.budget": "4MB"})
    cursor = connection.cursor()
    for table in ("one", "two"):
        cursor.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, name varchar(40))")
        cursor.execute(f"INSERT INTO {table} SELECT i, 'the name of row number ' || i FROM range({ROWS}) AS s(i)")
    connection.flush()
    connection.close()
    first = start(read, "two", memory_budget="4MB")
    assert first.line() == {"one": False, "two": True}, "either fits, but not both"
    second = start(read, "one", memory_budget="4MB")
    assert second.line() == {"one": False, "two": True}, "of two processes too"
    first.say()
    first.finish()
    second.kill()
    third = start(read, "one", memory_budget="4MB")
    assert third.line() == {"one": True, "two": False}, "and only while they live"
    third.say()
    third.finish()
