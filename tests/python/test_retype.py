"""ALTER COLUMN TYPE where rows are written anew: their values, keys, constraints and their past."""

import pytest


@pytest.fixture(params=[3, 1_000_000], ids=["large", "small"])
def cursor(connect, request):
    """Of a table whose rows are many, or few, by `bulk.rows`."""
    cursor = connect({"bulk.rows": request.param}).cursor()
    cursor.execute("CREATE TABLE t (id bigint PRIMARY KEY, v integer, u varchar(10) UNIQUE)")
    cursor.execute("INSERT INTO t SELECT i, i, i FROM range(10) AS r(i)")
    return cursor


def rows(cursor, sql="SELECT id, v, u FROM t ORDER BY id", **when):
    cursor.execute(sql, **when)
    return cursor.fetchall()


def test_values_of_every_row(cursor):
    for flush in (False, True):
        cursor.execute(
            f"ALTER TABLE t ALTER COLUMN v TYPE {'bigint' if flush else 'varchar(10)'} USING CAST(v AS integer) + 1"
        )
        want = [(i, i + 2 if flush else str(i + 1), str(i)) for i in range(10)]
        assert rows(cursor) == want
        cursor.connection.flush()
        assert rows(cursor) == want
    assert cursor.connection.check() == []


def test_a_column_that_is_filled(cursor):
    cursor.execute("ALTER TABLE t ADD COLUMN w integer DEFAULT CAST(random() AS integer) + 7 NOT NULL")
    assert {w in (7, 8) for (w,) in rows(cursor, "SELECT w FROM t")} == {True}
    cursor.execute("ALTER TABLE t ADD COLUMN x bigint GENERATED ALWAYS AS (id + v) STORED")
    assert rows(cursor, "SELECT x FROM t ORDER BY id") == [(2 * i,) for i in range(10)]
