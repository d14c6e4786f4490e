"""Partitioned tables as other engines see them: PyIceberg plans only a value's files, and all of them read the same
rows, with deletes, columns that came, went and changed their names, and specs that changed."""

import datetime
import json
import re

import pytest

from django_iceberg import _core

pytest.importorskip("pyiceberg")
pl = pytest.importorskip("polars")
duckdb = pytest.importorskip("duckdb")
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, In, IsNull, LessThan

TENANTS, ROWS = 9, 4000
DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def insert(cursor, first, count, columns="id, tenant, moment, note"):
    cursor.execute(
        f"INSERT INTO event ({columns}) SELECT i, CASE WHEN i % 10 < {TENANTS} THEN i % 10 END, "
        "timestamptz '2026-01-01 00:00:00+00' + to_hours(CAST(i % 72 AS INTEGER)), 'note ' || i "
        f"FROM range({first}, {first + count}) AS r(i)"
    )


@pytest.fixture
def table(warehouse):
    """The table as PyIceberg has it now."""

    def load():
        catalog = SqlCatalog("default", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")
        return catalog.load_table("default.event")

    return load


def same_everywhere(cursor, table, columns):
    """Our rows, PyIceberg's and Polars'."""
    cursor.execute(f"SELECT {', '.join(columns)} FROM event ORDER BY id")
    ours = [tuple(row) for row in cursor.fetchall()]
    theirs = table().scan(selected_fields=tuple(columns)).to_arrow().select(columns).sort_by("id").to_pylist()
    assert [tuple(row.values()) for row in theirs] == ours
    frame = pl.scan_iceberg(table()).select(columns).sort("id").collect()
    assert frame.rows() == ours
    return ours


def files(table, row_filter):
    return len(list(table().scan(row_filter=row_filter).plan_files()))


def test_a_value_reads_its_files(connection, cursor, table):
    cursor.execute(
        "CREATE TABLE event (id bigint PRIMARY KEY, tenant integer, moment timestamp with time zone, note text)"
    )
    cursor.execute("CREATE INDEX parts ON event USING partition (tenant)")
    insert(cursor, 0, ROWS)
    connection.flush()
    assert table().spec().fields[0].name == "tenant"
    assert len(connection.compact()) == 1
    assert connection.compact() == []
    assert connection.check() == []
    assert files(table, EqualTo("id", 5)) <= TENANTS + 1  # all of them, at worst
    assert files(table, EqualTo("tenant", 4)) == 1
    assert files(table, In("tenant", {4, 7})) == 2
    assert files(table, IsNull("tenant")) == 1
    assert files(table, EqualTo("tenant", 99)) == 0
    summaries = [m.partitions for m in table().current_snapshot().manifests(table().io) if m.partitions]
    assert [s[0].contains_null for s in summaries] == [True]

    # Deletes, and rows of a value in a file that is not in the spec yet.
    cursor.execute("DELETE FROM event WHERE id < 500 AND tenant = 4")
    insert(cursor, ROWS, 50)
    connection.flush()
    assert files(table, EqualTo("tenant", 4)) == 2
    same_everywhere(cursor, table, ["id", "tenant", "moment", "note"])
    assert len(connection.compact()) == 1
    assert files(table, EqualTo("tenant", 4)) == 1
    same_everywhere(cursor, table, ["id", "tenant", "moment", "note"])
    tasks = table().scan(row_filter=EqualTo("tenant", 5)).plan_files()
    paths = [task.file.file_path.removeprefix("file://") for task in tasks]
    cursor.execute("SELECT count(*) FROM event WHERE tenant = 5")
    seen = duckdb.sql(f"SELECT count(*), min(tenant), max(tenant) FROM read_parquet({paths})").fetchall()
    assert seen == [(cursor.fetchone()[0], 5, 5)]


def test_specs_and_columns_change(connection, cursor, table):
    cursor.execute(
        "CREATE TABLE event (id bigint PRIMARY KEY, tenant integer, moment timestamp with time zone, note text)"
    )
    cursor.execute("CREATE INDEX parts ON event USING partition (tenant)")
    insert(cursor, 0, ROWS)
    connection.flush()
    connection.compact()

    # Promoted and renamed: the files' values are the column's still.
    cursor.execute("ALTER TABLE event ALTER COLUMN tenant TYPE bigint")
    cursor.execute("ALTER TABLE event RENAME COLUMN tenant TO customer")
    cursor.execute("ALTER TABLE event ADD COLUMN kind text DEFAULT 'old'")
    insert(cursor, ROWS, 100, "id, customer, moment, note")
    cursor.execute("DELETE FROM event WHERE id % 7 = 0")
    connection.flush()
    same_everywhere(cursor, table, ["id", "customer", "moment", "note", "kind"])
    assert files(table, EqualTo("customer", 4)) == 2
    connection.compact()
    assert files(table, EqualTo("customer", 4)) == 1
    assert connection.check() == []

    # Another spec: old files keep theirs until they are rewritten.
    cursor.execute("DROP INDEX parts")
    cursor.execute("CREATE INDEX days ON event USING partition (moment) WITH (transform = 'day')")
    cursor.execute("CREATE INDEX shards ON event USING partition (id) WITH (transform = 'bucket[4]')")
    insert(cursor, 2 * ROWS, 100, "id, customer, moment, note")
    connection.flush()
    assert [str(field.transform) for field in table().spec().fields] == ["day", "bucket[4]"]
    first = And(
        GreaterThanOrEqual("moment", DAY.isoformat()),
        LessThan("moment", (DAY + datetime.timedelta(days=1)).isoformat()),
    )
    same_everywhere(cursor, table, ["id", "customer", "moment", "note", "kind"])
    assert len(connection.compact()) == 1
    assert connection.compact() == []
    assert files(table, first) == 4
    assert files(table, And(first, EqualTo("id", 73))) == 1
    same_everywhere(cursor, table, ["id", "customer", "moment", "note", "kind"])
    assert connection.check() == []

    # A column of the spec goes, and another takes its name.
    cursor.execute("ALTER TABLE event DROP COLUMN moment")
    cursor.execute("ALTER TABLE event ADD COLUMN moment integer")
    cursor.execute("UPDATE event SET moment = 1 WHERE customer = 3")
    connection.flush()
    same_everywhere(cursor, table, ["id", "customer", "moment", "note", "kind"])
    connection.compact()
    assert files(table, EqualTo("id", 73)) == 1
    same_everywhere(cursor, table, ["id", "customer", "moment", "note", "kind"])
    assert connection.check() == []

    # No partitions any more: few files again.
    cursor.execute("DROP INDEX shards")
    connection.flush()
    assert table().spec().fields == ()
    connection.compact()
    assert files(table, EqualTo("id", 73)) == 1
    same_everywhere(cursor, table, ["id", "customer", "moment", "note", "kind"])
    assert connection.compact() == []


def test_what_is_refused(cursor):
    cursor.execute(
        "CREATE TABLE event (id bigint PRIMARY KEY, moment date, price double precision, cost numeric(9, 2))"
    )
    for column, transform in [
        ("price", "identity"),
        ("id", "day"),
        ("moment", "hour"),
        ("cost", "truncate[5]"),
        ("id", "zorder"),
    ]:
        with pytest.raises(_core.NotSupportedError, match=re.escape(transform)):
            cursor.execute(f"CREATE INDEX p ON event USING partition ({column}) WITH (transform = '{transform}')")
    with pytest.raises(_core.DataError, match="bad parameter"):
        cursor.execute("CREATE INDEX p ON event USING partition (id) WITH (transform = 'bucket[0]')")
    with pytest.raises(_core.NotSupportedError, match="no expression"):
        cursor.execute("CREATE INDEX p ON event USING partition (id) WHERE id > 5")
    cursor.execute("CREATE INDEX p ON event USING partition (moment) WITH (transform = 'month')")
    with pytest.raises(_core.NotSupportedError, match="month"):
        cursor.execute("ALTER TABLE event ALTER COLUMN moment TYPE text USING CAST(moment AS text)")
    assert json.loads(cursor.connection.table_def("event"))["columns"][1]["sql_type"] == "date"


@pytest.fixture
def cold(connect):
    """Twelve tenants in files of their own, read from Parquet: nothing fits the budget."""
    connection = connect(options={"memory.budget": 1})
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE event (id bigint PRIMARY KEY, tenant integer, note text)")
    cursor.execute("CREATE TABLE tenant (id integer PRIMARY KEY, name text)")
    cursor.execute("CREATE INDEX parts ON event USING partition (tenant)")
    cursor.execute("INSERT INTO event SELECT i, i % 12, 'note ' || i FROM range(6000) AS r(i)")
    cursor.execute("INSERT INTO tenant SELECT i, 'tenant ' || i FROM range(12) AS r(i)")
    connection.flush()
    connection.compact()
    cursor.execute("DELETE FROM event WHERE id IN (4, 5, 6)")
    return cursor


def explained(cursor, sql, params=None):
    cursor.execute(f"EXPLAIN {sql}", params)
    told = [row for row in cursor.fetchall() if row[0] in ("table", "path")]
    return [value for _, value in told]


@pytest.mark.parametrize(
    ("where", "read"),
    [
        ("tenant = 4", 1),
        ("tenant IN (4, 7, 99)", 2),
        ("tenant >= 10", 2),
        ("tenant = 4 AND length(note) > 3", 1),
        ("tenant IS NULL", 0),
        ("id = 77 AND length(note) > 3", 1),  # by the key's index: every file's bounds hold it
        ("abs(tenant) = 4", 12),
        ("tenant = 4 OR id = 7", 12),
        ("tenant = (SELECT max(id) FROM tenant WHERE id < 5)", 12),
    ],
)
def test_explain_counts_files(cold, where, read):
    cold.execute(f"SELECT count(*) FROM event WHERE {where}")
    count = cold.fetchall()
    told = explained(cold, f"SELECT count(*), max(note) FROM event WHERE {where}")
    assert (told[0], told[-1]) == (f"event: rows=6000 files={read}/12", "path=engine")
    cold.execute(f"SELECT sum(CASE WHEN {where} THEN 1 ELSE 0 END) FROM event")
    assert cold.fetchall() == count


def test_explain_of_several_tables(cold):
    told = explained(cold, "SELECT e.note FROM event AS e JOIN tenant AS t ON t.id = e.tenant WHERE t.id = 3")
    assert sorted(told) == ["event: rows=6000 files=1/12", "path=engine", "tenant: rows=12 files=1/1"]
    # Two places of a table: each has its files, and both count.
    twice = "SELECT count(*) FROM event AS a, event AS b WHERE a.tenant = 1 AND b.tenant = 2 AND a.id = b.id - 1"
    assert explained(cold, twice)[0] == "event: rows=6000 files=2/12"
    cold.execute(twice)
    assert cold.fetchall() == [(500,)]
    shared = "WITH e AS (SELECT * FROM event) SELECT count(*) FROM e WHERE tenant = 5 AND id > (SELECT min(id) FROM e WHERE tenant = 6)"
    cold.execute(shared)
    assert cold.fetchall() == [(498,)]


def test_explain_says_which_path(cold, connection):
    assert explained(cold, "SELECT note FROM event WHERE id = %s", (77,)) == [
        "event: rows=6000 files=1/12",
        "path=fast",
    ]
    cold.connection.fast_path = False
    assert explained(cold, "SELECT note FROM event WHERE id = 77")[-1] == "path=engine"
    hot = connection.cursor()
    hot.execute("EXPLAIN (FORMAT json) SELECT 1")
    assert json.loads(hot.fetchone()[1])


def test_pruned_changes_and_arrow(cold):
    cold.execute("UPDATE event SET note = 'changed' WHERE tenant = 3 AND length(note) > 3")
    assert cold.rowcount == 500
    table = pl.DataFrame(
        cold.connection.cursor().execute_arrow("SELECT count(*) AS n FROM event WHERE tenant = 3 AND note = 'changed'")
    )
    assert table.rows() == [(500,)]
    cold.execute("SELECT count(*) FROM event WHERE tenant = 3 AND note <> 'changed'")
    assert cold.fetchall() == [(0,)]
