"""Tables that PyIceberg makes in the namespace: read and dropped here, and no trouble for any other."""

import datetime
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest

pytest.importorskip("pyiceberg")
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.schema import Schema
from pyiceberg.types import IntegerType, LongType, NestedField, StringType

from django_iceberg import _core

ROWS = {
    "id": [1, 2, 2, None],
    "a b": ["x", "ö", None, "z"],
    "1st%": [Decimal("1.50"), None, Decimal("-2.25"), Decimal(0)],
    "at": [datetime.datetime(2024, 5, 6, 7, 8, 9, 101112, tzinfo=datetime.UTC)] * 4,
    "u": [uuid.UUID(int=7).bytes] * 4,
}
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("a b", pa.string()),
        ("1st%", pa.decimal128(9, 2)),
        ("at", pa.timestamp("us", tz="UTC")),
        ("u", pa.uuid()),
    ]
)
DATA = pa.table({name: pa.array(values, type=SCHEMA.field(name).type) for name, values in ROWS.items()}, SCHEMA)
EXPECTED = [
    (1, "x", Decimal("1.50"), ROWS["at"][0], uuid.UUID(int=7)),
    (2, "ö", None, ROWS["at"][0], uuid.UUID(int=7)),
    (2, None, Decimal("-2.25"), ROWS["at"][0], uuid.UUID(int=7)),
    (None, "z", Decimal("0.00"), ROWS["at"][0], uuid.UUID(int=7)),
]


@pytest.fixture
def theirs(warehouse, connect):
    """PyIceberg's catalog of the warehouse, which has two tables of ours, one referring to the other."""
    cursor = connect().cursor()
    cursor.execute("CREATE TABLE parent (id bigint PRIMARY KEY, name text)")
    cursor.execute("CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint REFERENCES parent (id))")
    cursor.execute("INSERT INTO parent VALUES (1, 'a'), (2, 'b')")
    cursor.connection.flush()
    cursor.connection.close()
    return SqlCatalog("default", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")


@pytest.fixture
def table(theirs):
    table = theirs.create_table("default.theirs", SCHEMA)
    table.append(DATA.slice(0, 2))
    table.append(DATA.slice(2))
    return table


def rows(cursor, sql='SELECT * FROM theirs ORDER BY id, "a b"'):
    return cursor.execute(sql).fetchall()


def reopened(connect, **options):
    return connect(options).cursor()


def in_memory_and_cold(connect):
    """Cursors that read the decoded columns, and the files."""
    for budget in (1 << 30, 0):
        cursor = reopened(connect, **{"memory.budget": budget})
        yield cursor
        cursor.connection.close()


def test_read(table, connect):
    joined = 'SELECT t."1st%", p.name FROM theirs t JOIN parent p USING (id) WHERE p.id = 1'
    for cursor in in_memory_and_cold(connect):
        assert rows(cursor) == EXPECTED
        assert rows(cursor, "SELECT id FROM theirs WHERE \"a b\" = 'ö'") == [(2,)]
        assert rows(cursor, "SELECT count(*), count(DISTINCT id) FROM theirs") == [(4, 2)]
        assert rows(cursor, joined) == [(Decimal("1.50"), "a")]


def test_read_by_field_id(table, connect):
    """Files of before a rename, a new column, a dropped and newly made one, a wider type."""
    with table.update_schema() as update:
        update.rename_column("a b", "c d")
        update.add_column("n", IntegerType())
        update.delete_column("u")
    with table.update_schema() as update:
        update.add_column("u", StringType())
        update.update_column("n", field_type=LongType())
    new = pa.table({"id": [3], "c d": ["w"], "1st%": [Decimal("9.75")], "at": ROWS["at"][:1], "n": [7], "u": ["v"]})
    table.append(new.cast(table.schema().as_arrow()))
    expected = [(*row[:4], None, None) for row in EXPECTED]
    expected.insert(3, (3, "w", Decimal("9.75"), ROWS["at"][0], 7, "v"))
    for cursor in in_memory_and_cold(connect):
        got = rows(cursor, 'SELECT id, "c d", "1st%", "at", n, u FROM theirs ORDER BY id, "c d"')
        assert got == expected


def test_deleted_and_overwritten_rows(table, connect):
    table.delete("id = 2")
    assert [row[0] for row in rows(reopened(connect))] == [1, None]


def test_identifier_fields_are_not_trusted(theirs, connect):
    """The format lets writers break them: no look-up by a key counts on them."""
    schema = Schema(NestedField(1, "id", LongType(), required=True), identifier_field_ids=[1])
    table = theirs.create_table("default.theirs", schema)
    data = pa.table({"id": pa.array([5, 5], pa.int64())}, pa.schema([pa.field("id", pa.int64(), nullable=False)]))
    table.append(data)
    table.append(data)
    cursor = reopened(connect)
    assert rows(cursor, "SELECT id FROM theirs WHERE id = 5") == [(5,)] * 4


def test_other_tables_go_on(table, theirs, connect, warehouse):
    """Also beside a table that cannot be read at all."""
    theirs.create_table("default.broken", SCHEMA).append(DATA)
    for path in warehouse.rglob("*broken*/metadata/*.json"):
        path.write_text("{")
    cursor = reopened(connect)
    cursor.execute("INSERT INTO child VALUES (1, 1)")
    cursor.execute("UPDATE parent SET id = 3 WHERE id = 2")
    with pytest.raises(_core.IntegrityError):
        cursor.execute("DELETE FROM parent WHERE id = 1")
    cursor.execute("DELETE FROM child")
    cursor.execute("TRUNCATE parent CASCADE")
    with pytest.raises(_core.DatabaseError, match="broken"):
        cursor.execute("SELECT * FROM broken")
    assert cursor.connection.flush() > 0
    cursor.execute("DROP TABLE child, parent, broken")
    assert cursor.connection.tables() == ["theirs"]


CHANGES = [
    "INSERT INTO theirs (id) VALUES (9)",
    "UPDATE theirs SET id = 1",
    "DELETE FROM theirs",
    "TRUNCATE theirs",
    "ALTER TABLE theirs ADD COLUMN x integer",
    "ALTER TABLE theirs RENAME TO ours",
    "CREATE INDEX i ON theirs (id)",
    "COMMENT ON TABLE theirs IS 'x'",
    "ALTER TABLE child ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES theirs (id)",
    "SELECT * FROM theirs FOR UPDATE",
]


@pytest.mark.parametrize("sql", CHANGES)
def test_changes_are_refused(table, connect, sql):
    cursor = reopened(connect)
    with pytest.raises(_core.NotSupportedError, match="was made by another program, .* read and dropped") as info:
        cursor.execute(sql)
    assert info.value.sqlstate == "0A000" and info.value.table_name == "theirs"
    assert rows(cursor) == EXPECTED


def test_taken_over(table, connect):
    """What the error says to do."""
    cursor = reopened(connect)
    cursor.execute("CREATE TABLE ours (pk bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, id bigint, t text)")
    cursor.execute('INSERT INTO ours (id, t) SELECT id, "a b" FROM theirs')
    assert rows(cursor, "SELECT id, t FROM ours ORDER BY id, t") == [row[:2] for row in EXPECTED]


def test_drop(table, theirs, connect, warehouse):
    cursor = reopened(connect)
    with pytest.raises(_core.ProgrammingError, match="does not exist"):
        cursor.execute("DROP TABLE not_theirs")
    cursor.connection.autocommit = False
    cursor.execute("DROP TABLE theirs")
    cursor.connection.rollback()
    cursor.connection.autocommit = True
    assert rows(cursor) == EXPECTED
    cursor.execute("DROP TABLE theirs")
    with pytest.raises(_core.ProgrammingError, match="does not exist"):
        rows(cursor)
    cursor.connection.close()
    cursor = reopened(connect)  # from the log
    assert cursor.connection.tables() == ["child", "parent"]
    cursor.execute("CREATE TABLE theirs (id bigint)")
    cursor.connection.flush()
    with pytest.raises(NoSuchTableError):
        theirs.load_table("default.nobodys")
    assert theirs.load_table("default.theirs").properties["django-iceberg.table"]
    assert rows(cursor, "SELECT * FROM theirs") == []


def test_made_anew_after_a_drop(table, theirs, connect):
    """Under the same name and in the same directory; the drop in the log was not of this one."""
    cursor = reopened(connect)
    cursor.execute("DROP TABLE theirs")
    cursor.connection.flush()
    theirs.create_table("default.theirs", SCHEMA).append(DATA)
    cursor.execute("INSERT INTO parent VALUES (7, 'g')")
    cursor.connection.flush()
    assert rows(cursor) == EXPECTED
    cursor.connection.close()
    assert rows(reopened(connect)) == EXPECTED


def test_commits_of_the_other_program_are_followed(table, connect):
    cursor = reopened(connect)
    assert len(rows(cursor)) == 4
    table.append(DATA)
    cursor.execute("INSERT INTO parent VALUES (7, 'g')")
    cursor.connection.flush()
    assert len(rows(cursor)) == 8
    table.catalog.drop_table("default.theirs")
    cursor.execute("INSERT INTO parent VALUES (8, 'h')")
    cursor.connection.flush()
    assert cursor.connection.tables() == ["child", "parent"]
