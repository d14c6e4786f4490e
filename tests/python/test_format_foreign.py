"""Other libraries read what core/format writes, and core/format reads what they write.

The C side is tests/c/test_format_more.c; ICE_C_TESTS names the directory of the built C tests.
"""

import datetime
import json
import os
import pathlib
import subprocess
import uuid
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pyiceberg = pytest.importorskip("pyiceberg")
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo, GreaterThan
from pyiceberg.schema import Schema
from pyiceberg.table import StaticTable

ROOT = pathlib.Path(__file__).parents[2]
TOOL = pathlib.Path(os.environ.get("ICE_C_TESTS", ROOT / "build" / "tests" / "c")) / "test_format_more"
pytestmark = pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not built; set ICE_C_TESTS")

UTC = datetime.UTC
ROW_START_ID = 1000000001
WRITTEN = datetime.datetime(2024, 5, 6, 7, 8, 9, 101112, tzinfo=UTC)
STAGED = datetime.datetime(2020, 9, 13, 12, 26, 40, 123456, tzinfo=UTC)
SEEN = datetime.datetime(2017, 7, 14, 2, 40, tzinfo=UTC)


def run(**env):
    result = subprocess.run([TOOL], check=False, env={**os.environ, **env}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def field(name, type_, field_id):
    return pa.field(name, type_, metadata={"PARQUET:field_id": str(field_id)})


OLD = [field("id", pa.int64(), 1), field("name", pa.string(), 2)]
NEW = [
    *OLD,
    field("price", pa.decimal128(9, 2), 3),
    field("note", pa.string(), 4),
    field("flag", pa.bool_(), 5),
    field("born", pa.date32(), 6),
    field("seen", pa.timestamp("us", tz="UTC"), 7),
]
ROW_START = field("_row_start", pa.timestamp("us", tz="UTC"), ROW_START_ID)


def old_rows(first):
    return [{"id": first + i, "name": f"n{first + i}"} for i in range(5)]


def new_rows(first):
    extra = {"price": Decimal("1.50"), "note": None, "flag": False, "born": datetime.date(2001, 2, 3), "seen": SEEN}
    return [{**row, **extra} for row in old_rows(first)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Path of a metadata file: snapshot 1 is file a, snapshot 2 adds b and c and deletes the rows 2 and 4."""
    path = tmp_path_factory.mktemp("table")
    (path / "data").mkdir()
    (path / "metadata").mkdir()

    def write(name, rows, fields):
        pq.write_table(pa.Table.from_pylist(rows, pa.schema(fields)), path / "data" / f"{name}.parquet")

    write("a", [{**row, "_row_start": WRITTEN} for row in old_rows(1)], [*OLD, ROW_START])
    write("b", [{**row, "_row_start": WRITTEN} for row in new_rows(6)], [*NEW, ROW_START])
    write("c", new_rows(11), NEW)
    run(ICE_FIXTURE_DIR=str(path))
    return f"file://{path}/metadata/00001-x.metadata.json"


def expected():
    defaults = {
        "price": Decimal("19.99"),
        "note": "none",
        "flag": True,
        "born": datetime.date(2022, 1, 8),
        "seen": SEEN,
    }
    rows = [{**row, **defaults, "_row_start": WRITTEN} for row in old_rows(1) if row["id"] not in (2, 4)]
    rows += [{**row, "_row_start": WRITTEN} for row in new_rows(6)]
    return rows + [{**row, "_row_start": STAGED} for row in new_rows(11)]


def by_id(rows):
    return sorted(rows, key=lambda row: row["id"])


def test_pyiceberg_reads_metadata(table):
    t = StaticTable.from_metadata(table)
    assert t.format_version == 3
    assert t.schema().identifier_field_names() == {"id"}
    assert t.schema().find_field("price").initial_default == Decimal("19.99")
    assert t.schema().find_field("price").write_default == Decimal("19.99")
    assert t.metadata.next_row_id == 15
    assert [s.snapshot_id for s in t.snapshots()] == [1, 2]
    assert t.current_snapshot().first_row_id == 5
    assert t.properties["owner"] == 'für "uns"'
    assert t.inspect.files().num_rows == t.inspect.entries().num_rows == 4
    manifests = t.inspect.manifests().to_pylist()
    assert [m["content"] for m in manifests] == [0, 0, 0, 1]


def test_pyiceberg_reads_rows(table):
    """Deletion vector, initial defaults of every kind, and a column that only the partition value holds."""
    t = StaticTable.from_metadata(table)
    assert by_id(t.scan().to_arrow().to_pylist()) == expected()


def test_empty_table(table):
    """A table without a snapshot, as it is after its creation."""
    empty = table.replace("00001-", "00000-")
    assert StaticTable.from_metadata(empty).scan().to_arrow().num_rows == 0
    pl = pytest.importorskip("polars")
    assert pl.scan_iceberg(empty).collect().shape == (0, 3)


def test_pyiceberg_filters(table):
    t = StaticTable.from_metadata(table)
    assert [row["id"] for row in t.scan(row_filter=EqualTo("id", 3)).to_arrow().to_pylist()] == [3]
    assert t.scan(row_filter=EqualTo("id", 2)).to_arrow().num_rows == 0
    assert len(list(t.scan(row_filter=GreaterThan("id", 10)).plan_files())) == 1
    old = t.scan(row_filter=GreaterThan("_row_start", "2022-01-01T00:00:00+00:00"))
    assert sorted(row["id"] for row in old.to_arrow().to_pylist()) == [1, 3, 5, 6, 7, 8, 9, 10]


def test_pyiceberg_travels_in_time(table):
    rows = StaticTable.from_metadata(table).scan(snapshot_id=1).to_arrow().to_pylist()
    assert by_id(rows) == [{**row, "_row_start": WRITTEN} for row in old_rows(1)]


@pytest.mark.parametrize("reader", ["native", "pyiceberg"])
def test_polars_reads_rows(table, reader):
    pl = pytest.importorskip("polars")
    scan = pl.scan_iceberg(table, reader_override=reader)
    assert by_id(scan.collect().to_dicts()) == expected()
    assert scan.filter(pl.col("id") == 3).select("price").collect().to_dicts() == [{"price": Decimal("19.99")}]


def test_fastavro_reads_manifests(table):
    """A plain Avro reader agrees on every field, and the field ids are there."""
    fastavro = pytest.importorskip("fastavro")
    folder = pathlib.Path(table.removeprefix("file://")).parent
    with open(folder / "snap-2.avro", "rb") as f:
        reader = fastavro.reader(f)
        manifests = list(reader)
        ids = {x["name"]: x["field-id"] for x in reader.writer_schema["fields"]}
    assert ids["manifest_path"] == 500 and ids["first_row_id"] == 520
    assert [m["first_row_id"] for m in manifests] == [0, 5, 10, None]
    assert [m["sequence_number"] for m in manifests] == [1, 2, 2, 2]
    with open(folder / "m4.avro", "rb") as f:
        entry = next(iter(fastavro.reader(f)))
    dv = entry["data_file"]
    assert dv["content"] == 1 and dv["file_format"] == "PUFFIN" and dv["record_count"] == 2
    assert dv["referenced_data_file"].endswith("/data/a.parquet") and dv["content_offset"] > 4


# ---- the other way round ----


@pytest.fixture
def foreign(tmp_path):
    (tmp_path / "wh").mkdir()
    catalog = SqlCatalog("default", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}/wh")
    catalog.create_namespace("ns")
    return catalog


def test_reads_pyiceberg(foreign, tmp_path):
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.transforms import IdentityTransform
    from pyiceberg.types import DateType, DecimalType, LongType, NestedField, StringType, TimestamptzType, UUIDType

    schema = Schema(
        NestedField(1, "id", LongType()),
        NestedField(2, "name", StringType()),
        NestedField(3, "price", DecimalType(9, 2)),
        NestedField(4, "at", TimestamptzType()),
        NestedField(5, "day", DateType()),
        NestedField(6, "u", UUIDType()),
    )
    spec = PartitionSpec(
        PartitionField(4, 1000, IdentityTransform(), "at"), PartitionField(3, 1001, IdentityTransform(), "a price")
    )
    t = foreign.create_table("ns.t", schema, partition_spec=spec)
    uid = uuid.UUID("f79c3e09-677c-4bbd-a479-3f349cb785e7")
    rows = {
        "id": [1, 2, 3],
        "name": ["a", "b", "c"],
        "price": [Decimal("1.50"), Decimal("1.50"), None],
        "at": [WRITTEN, WRITTEN, STAGED],
        "day": [datetime.date(2020, 1, 2)] * 3,
        "u": [uid.bytes] * 3,
    }
    types = [pa.int64(), pa.string(), pa.decimal128(9, 2), pa.timestamp("us", tz="UTC"), pa.date32(), pa.uuid()]
    data = pa.table({name: pa.array(values, type=t) for (name, values), t in zip(rows.items(), types, strict=True)})
    t.append(data)
    t.append(data.slice(0, 1))
    rewritten = f"{tmp_path}/rewritten.metadata.json"
    out = run(
        ICE_FOREIGN_METADATA=t.metadata_location.removeprefix("file://"), ICE_REWRITTEN_METADATA=rewritten
    ).splitlines()
    got = sorted(line.split("|") for line in out)
    assert len(got) == 3
    assert sorted((g[2], g[3], g[5], g[6]) for g in got) == [
        ("1", "1", f"p={STAGED:%F %T.%f}+00", "p="),
        ("1", "2", f"p={WRITTEN:%F %T.%f}+00", "p=1.50"),
        ("2", "1", f"p={WRITTEN:%F %T.%f}+00", "p=1.50"),
    ]
    first = next(g for g in got if g[2] == "2")
    assert "id>=1" in first and "name>=a" in first and "price>=1.50" in first and "day>=2020-01-02" in first
    again = StaticTable.from_metadata(rewritten)
    assert again.format_version == 3
    assert again.scan().to_arrow().sort_by("id") == t.scan().to_arrow().sort_by("id")
    before, after = json.loads(t.metadata.model_dump_json()), json.loads(pathlib.Path(rewritten).read_text())
    for key in ("snapshots", "partition-specs", "sort-orders", "refs", "snapshot-log", "location", "table-uuid"):
        assert key in before and key in after
    assert [s["summary"] for s in before["snapshots"]] == [s["summary"] for s in after["snapshots"]]
