"""The local cache's directory: made again when it is gone, kept to its limit, and nothing of it dropped that a process has open."""

import pathlib
import shutil
import sys

import pytest
from workers import Workers

COLD = {"memory.budget": 1, "flush.background": False}
ROWS = 5_000
SIZE = 500_000  # more than one table's forms, less than two's


@pytest.fixture
def start(warehouse, duckdb_library):
    with Workers(warehouse, duckdb_library) as start:
        yield start


@pytest.fixture
def cache(warehouse):
    return pathlib.Path(warehouse) / ".django-iceberg" / "default" / "cache"


def size(cache):
    return sum(path.stat().st_size for path in cache.iterdir())


def forms(cache, base):
    return sorted(path.name.removeprefix(base) for path in cache.iterdir() if path.name.startswith(base))


def make(connection, table):
    """A table of one data file; its name."""
    cursor = connection.cursor()
    before = data_files(connection)
    cursor.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, name varchar(40) UNIQUE)")
    cursor.execute(f"INSERT INTO {table} SELECT i, 'the name of row number ' || i FROM range({ROWS}) AS s(i)")
    connection.flush()
    (made,) = data_files(connection) - before
    return made


def data_files(connection):
    return {path.name for path in pathlib.Path(connection.warehouse).rglob("*.parquet")}


def name_of(connection, table, key):
    cursor = connection.cursor()
    cursor.execute(f"SELECT name FROM {table} WHERE id = %s", [key])
    return cursor.fetchone()


@pytest.fixture
def opened(connect, warehouse):
    class Opened:
        """A connection that knows its warehouse."""

        def __init__(self, options):
            self.warehouse = warehouse
            self.connection = connect(options)

        def __getattr__(self, name):
            return getattr(self.connection, name)

    return Opened


def test_the_forms_are_written_with_the_file(opened, cache):
    connection = opened(COLD)
    base = make(connection, "one")
    kept = forms(cache, base)
    assert ".rows" in kept, "what a cold table's look-ups read"
    assert sum(name.endswith(".idx") for name in kept) == 2, "one for each key"
    connection.close()


def test_a_cleared_cache_is_made_again(opened, cache):
    connection = opened(COLD)
    base = make(connection, "one")
    connection.close()
    shutil.rmtree(cache)
    connection = opened(COLD)
    assert name_of(connection, "one", 77) == ("the name of row number 77",)
    assert any(name.endswith(".idx") for name in forms(cache, base))
    connection.close()


def test_what_was_used_longest_ago_goes(opened, cache):
    connection = opened({**COLD, "cache.max-size": SIZE})
    names = ["one", "two", "three", "four"]
    bases = [make(connection, table) for table in names]
    assert size(cache) <= SIZE
    assert forms(cache, bases[-1]), "the newest stays"
    assert not forms(cache, bases[0])
    for table in names:
        assert name_of(connection, table, 77) == ("the name of row number 77",), "whatever is kept"
    connection.close()


def read_and_wait(connection, tell, table):
    cursor = connection.cursor()
    cursor.execute(f"SELECT name FROM {table} WHERE id = 1")
    tell(cursor.fetchone())
    sys.stdin.readline()
    cursor.execute(f"SELECT name FROM {table} WHERE id = 4999")
    tell(cursor.fetchone())


def test_what_a_process_has_open_stays(opened, cache, start):
    connection = opened({**COLD, "cache.max-size": SIZE})
    first = make(connection, "one")
    kept = forms(cache, first)
    reader, killed = (start(read_and_wait, "one", memory_budget=1) for _ in range(2))
    assert reader.line() == killed.line() == ["the name of row number 1"]
    others = [make(connection, table) for table in ("two", "three", "four")]
    assert forms(cache, first) == kept, "two processes read it"
    assert not forms(cache, others[0]), "so others went, newer ones"
    reader.say()
    assert reader.line() == ["the name of row number 4999"]
    reader.finish()
    make(connection, "five")
    assert forms(cache, first) == kept, "one of them still does"
    killed.kill()
    for table in ("six", "seven"):
        make(connection, table)
    assert not forms(cache, first)
    assert size(cache) <= SIZE
    connection.close()
