"""A bit that flips at rest in a Parquet file or in the cache: an error that names the file, or the right answer, never another one.

The engine itself would not notice (test_the_engine_alone_would_not_notice); files without checksums, of older versions and of
other engines, are read as they are (test_files_without_checksums)."""

import io
import random

import fastavro
import pytest

from django_iceberg import _core

duckdb = pytest.importorskip("duckdb")

from test_damage import in_a_child

ROWS = 3000
FIELD = "django_iceberg_checksums"
ALL = "SELECT * FROM t ORDER BY id"
NARROW = "SELECT n, count(*) FROM t GROUP BY n ORDER BY n"


def fill(cursor):
    rng = random.Random(5)
    cursor.execute("CREATE TABLE t (id bigint PRIMARY KEY, n integer, price double precision, name text)")
    rows = [(i, i % 9, rng.random(), rng.randbytes(12).hex()) for i in range(ROWS)]
    for at in range(0, ROWS, 1000):
        part = rows[at : at + 1000]
        cursor.execute(
            "INSERT INTO t VALUES " + ", ".join(["(%s, %s, %s, %s)"] * len(part)), [v for row in part for v in row]
        )


@pytest.fixture
def cold(connect):
    """A connection that reads the one Parquet file of its table t with the engine."""
    connection = connect({"memory.budget": 1})
    fill(connection.cursor())
    connection.flush()
    return connection


def parquet_of(warehouse):
    (path,) = warehouse.glob("default/t-*/data/*.parquet")
    return path


def chunks_of(path):
    """(column, first byte, byte after) of every column chunk, as the engine says."""
    query = (
        "SELECT path_in_schema, coalesce(nullif(dictionary_page_offset, 0), data_page_offset), total_compressed_size "
        f"FROM parquet_metadata('{path}')"
    )
    return [(name, at, at + size) for name, at, size in duckdb.sql(query).fetchall()]


def places(path):
    """Bytes of every region: at a stride, and the first, middle and last of each column chunk, header and footer."""
    size = path.stat().st_size
    found = set(range(0, size, max(1, size // 30))) | {0, 3, 4, size - 1, size - 4, size - 8, size - 20}
    for _, first, end in chunks_of(path):
        found |= {first, first + 1, (first + end) // 2, end - 1}
    last = max(end for _, _, end in chunks_of(path))
    found |= set(range(last, size, max(1, (size - last) // 12)))
    return sorted(found)


def answer(cursor, sql):
    try:
        return cursor.execute(sql).fetchall()
    except _core.DatabaseError as err:
        return f"{type(err).__name__}: {err}"


def flipped(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << at % 8
    path.write_bytes(data)


def test_every_region_of_a_parquet_file(cold, warehouse):
    path, cursor = parquet_of(warehouse), cold.cursor()
    whole = {sql: answer(cursor, sql) for sql in (ALL, NARROW)}
    assert [len(rows) for rows in whole.values()] == [ROWS, 9]
    chunks = chunks_of(path)
    unread = {ALL: {"_row_start"}, NARROW: {"_row_start", "id", "price", "name"}}
    unused = 0
    for at in places(path):
        flipped(path, at)
        for sql in (ALL, NARROW):
            found = answer(cursor, sql)
            if any(first <= at < end and name in unread[sql] for name, first, end in chunks):
                assert found == whole[sql], f"byte {at}: {sql}"
                unused += 1
            else:
                assert isinstance(found, str), f"byte {at} is not noticed: {sql}"
                assert found.startswith("OperationalError") and path.name in found
        flipped(path, at)
    assert unused > 15  # bytes that a statement does not read do not stop it
    assert {sql: answer(cursor, sql) for sql in whole} == whole


def test_every_kind_of_reading(cold, connect, warehouse):
    """Joins, limits, subqueries, versions, an instant, look-ups without cache, compaction and the check."""
    path, instant = parquet_of(warehouse), cold.now()
    cold.cursor().execute("UPDATE t SET n = 100 WHERE id = 5")
    cold.close()
    for form in (warehouse / ".django-iceberg" / "default" / "cache").iterdir():
        form.unlink()
    connection = connect({"memory.budget": 1})
    cursor = connection.cursor()
    (name,) = [chunk for chunk in chunks_of(path) if chunk[0] == "name"]
    flipped(path, (name[1] + name[2]) // 2)
    for sql in (
        "SELECT max(name) FROM t",
        "SELECT name FROM t LIMIT 1",
        "SELECT name FROM t ORDER BY id DESC LIMIT 1",
        "SELECT x.name FROM t x JOIN t y ON x.id = y.n ORDER BY x.id",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM t WHERE name > 'a')",
        "SELECT id FROM t WHERE id IN (SELECT n FROM t WHERE length(name) > 3)",
        "WITH w AS (SELECT name AS k FROM t) SELECT count(DISTINCT k) FROM w",
        "SELECT count(*) FROM t WHERE name LIKE '%a%'",
        "SELECT name FROM t__versions WHERE id = 7",
        "SELECT name, price FROM t WHERE id = 7",
        "UPDATE t SET price = 0 WHERE name > 'f'",
    ):
        assert path.name in str(answer(cursor, sql)), sql
    with pytest.raises(_core.OperationalError, match=path.name):
        cursor.execute("SELECT max(name) FROM t", as_of=instant).fetchall()
    with pytest.raises(_core.OperationalError, match=path.name):
        cursor.execute("UPDATE t SET price = 1")
    with pytest.raises(_core.OperationalError, match=path.name):
        connection.flush()  # which would write what it reads into another file
    assert any(path.name in problem for problem in connection.check())
    assert cursor.execute("SELECT sum(n) FROM t").fetchone()[0] == sum(i % 9 for i in range(ROWS)) - 5 + 100
    flipped(path, (name[1] + name[2]) // 2)
    connection.flush()
    assert connection.check() == []


def test_a_bulk_load_has_checksums(connect, warehouse):
    connection = connect({"memory.budget": 1, "bulk.rows": 10})
    cursor = connection.cursor()
    fill(cursor)
    paths = list(warehouse.glob("default/t-*/data/*.parquet"))
    assert paths  # staged, and not published yet
    whole = answer(cursor, ALL)
    for path in paths:
        middle = path.stat().st_size // 2
        flipped(path, middle)
        assert path.name in answer(cursor, ALL)
        flipped(path, middle)
    assert answer(cursor, ALL) == whole
    connection.flush()
    flipped(paths[0], middle)
    assert paths[0].name in answer(cursor, ALL)


def test_the_engine_alone_would_not_notice(cold, warehouse):
    """What the tests above are about: other rows without a word."""
    path = parquet_of(warehouse)
    whole = duckdb.sql(f"SELECT id, n, price, name FROM '{path}' ORDER BY id").fetchall()
    silent = 0
    for number, at in enumerate(places(path)):
        copy = path.with_name(f"copy-{number}.parquet")
        copy.write_bytes(path.read_bytes())
        flipped(copy, at)
        try:
            silent += duckdb.sql(f"SELECT id, n, price, name FROM '{copy}' ORDER BY id").fetchall() != whole
        except duckdb.Error:
            pass
        copy.unlink()
    assert silent > 5


def without_checksums(path):
    """A manifest as older versions wrote it."""
    reader = fastavro.reader(io.BytesIO(path.read_bytes()))
    metadata = {key: value for key, value in reader.metadata.items() if not key.startswith(("avro.", "django-iceberg"))}
    schema, records = reader.writer_schema, list(reader)
    (file,) = [field for field in schema["fields"] if field["name"] == "data_file"]
    before = len(file["type"]["fields"])
    file["type"]["fields"] = [field for field in file["type"]["fields"] if field["name"] != FIELD]
    assert len(file["type"]["fields"]) == before - 1
    for record in records:
        record["data_file"].pop(FIELD)
    out = io.BytesIO()
    fastavro.writer(out, schema, records, metadata=metadata)
    path.write_bytes(out.getvalue())


def test_files_without_checksums(cold, connect, warehouse):
    path = parquet_of(warehouse)
    cursor = cold.cursor()
    whole = answer(cursor, ALL)
    cold.close()
    for manifest in warehouse.glob("default/t-*/metadata/m-*.avro"):
        without_checksums(manifest)
    connection = connect({"memory.budget": 1})
    cursor = connection.cursor()
    assert answer(cursor, ALL) == whole
    assert connection.check() == []
    wrong = 0
    for at in places(path):
        flipped(path, at)
        found = answer(cursor, ALL)
        wrong += found != whole and not isinstance(found, str)
        flipped(path, at)
    assert wrong > 5  # without the field the damage of the first test goes by
    # What is written from now on has them.
    cursor.execute("UPDATE t SET n = n + 1 WHERE id < 5")
    connection.flush()
    connection.close()


# ---- the cache ----

FORMS = {1: {"rows", "idx"}, 1 << 30: {"chunk", "idx", "order"}}
READS = (
    "SELECT * FROM t WHERE id = 1234",
    "SELECT * FROM t WHERE id = 2999",
    "SELECT id, name FROM t WHERE n = 3 ORDER BY id LIMIT 3",
    "SELECT id, price FROM t ORDER BY price LIMIT 3",
    "SELECT n, count(*), max(name) FROM t GROUP BY n ORDER BY n",
    "UPDATE t SET n = n + 1 WHERE id = 77 AND n = 999",
)


@pytest.mark.parametrize("budget", FORMS)
def test_every_region_of_the_cache(connect, warehouse, duckdb_library, budget, capfd):
    """Whatever is damaged, all answers are right; what was read of it is made again, with a line that says so."""

    def look():
        connection = _core.connect(
            str(warehouse),
            catalog=str(warehouse / "catalog.db"),
            duckdb_library=duckdb_library,
            options={"flush.background": False, "memory.budget": budget},
        )
        cursor = connection.cursor()
        found = [
            cursor.execute(sql).rowcount
            if sql.startswith("UPDATE")
            else [list(row) for row in cursor.execute(sql).fetchall()]
            for sql in READS
        ]
        connection.close()
        return found

    def make():
        connection = _core.connect(
            str(warehouse),
            catalog=str(warehouse / "catalog.db"),
            duckdb_library=duckdb_library,
            options={"flush.background": False, "memory.budget": budget},
        )
        cursor = connection.cursor()
        fill(cursor)
        cursor.execute("CREATE INDEX t_price ON t (price)")
        connection.flush()
        connection.close()

    in_a_child(make)
    whole = in_a_child(look)
    cache = warehouse / ".django-iceberg" / "default" / "cache"
    paths = sorted(path for path in cache.iterdir() if path.suffix.removeprefix(".") in FORMS[budget])
    kept = {path: path.read_bytes() for path in cache.iterdir()}
    assert {path.suffix.removeprefix(".") for path in paths} == FORMS[budget]
    noticed = dict.fromkeys({path.suffix for path in paths}, 0)
    capfd.readouterr()
    for path in paths:
        size = len(kept[path])
        for at in {*range(0, size, max(1, size // 12)), 40, size - 1, size - 30, size // 2}:
            flipped(path, at)
            assert in_a_child(look) == whole, f"byte {at} of {path.name}"
            noticed[path.suffix] += path.exists() is False or path.read_bytes() == kept[path]
            for other in cache.iterdir():
                other.unlink()
            for name, data in kept.items():
                name.write_bytes(data)
    assert all(noticed.values()), noticed
    assert "made again" in capfd.readouterr().err
