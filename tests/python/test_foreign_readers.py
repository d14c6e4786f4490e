"""PyIceberg, Polars and DuckDB read what a flush publishes: every type, evolved schemas, deletion vectors, history.

The C side is tests/c/test_table_flush.c, which leaves its warehouses behind; ICE_C_TESTS names the directory of the
built C tests.
"""

import datetime
import os
import pathlib
import subprocess
import uuid
from decimal import Decimal

import pytest

pyiceberg = pytest.importorskip("pyiceberg")
pl = pytest.importorskip("polars")
duckdb = pytest.importorskip("duckdb")
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo, GreaterThanOrEqual

ROOT = pathlib.Path(__file__).parents[2]
TOOL = pathlib.Path(os.environ.get("ICE_C_TESTS", ROOT / "build" / "tests" / "c")) / "test_table_flush"
pytestmark = pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not built; set ICE_C_TESTS")

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)


@pytest.fixture(scope="module")
def warehouses(tmp_path_factory):
    path = tmp_path_factory.mktemp("warehouses")
    result = subprocess.run(
        [TOOL], check=False, env={**os.environ, "ICE_KEEP_WAREHOUSE": str(path)}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    if not (path / "every").exists():
        pytest.skip("the C test found no DuckDB")
    yield path
    for link in path.iterdir():
        subprocess.run(["rm", "-rf", link.resolve()], check=True)


def load(warehouses, name, table):
    path = (warehouses / name).resolve()
    catalog = SqlCatalog("default", uri=f"sqlite:///{path}/catalog.db", warehouse=f"file://{path}")
    return catalog.load_table(f"shop.{table}"), (path / "expected.txt").read_text().splitlines()


def text(value):
    """As the C test prints a value."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case bytes():
            return "\\x" + value.hex()
        case datetime.datetime() if value.tzinfo:
            return str((value - EPOCH) // MICROSECOND)
        case datetime.datetime() | datetime.time():
            shown = value.isoformat(" ") if isinstance(value, datetime.datetime) else value.isoformat()
            return shown.rstrip("0") if "." in shown else shown
        case float():
            return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
        case uuid.UUID() | Decimal() | datetime.date() | int() | str():
            return f"{value:f}" if isinstance(value, Decimal) else str(value)
        case _:
            raise TypeError(type(value))


def lines(rows, columns):
    return sorted("|".join(text(row[c]) for c in columns) for row in rows)


def live_rows(table):
    return table.scan().to_arrow().to_pylist()


@pytest.mark.parametrize("name", ["rewritten", "appended"])
def test_evolved_rows(warehouses, name):
    table, expected = load(warehouses, name, "people")
    columns = ["id", "label", "grp", "price", "extra", "_row_start"]
    assert lines(live_rows(table), columns) == sorted(expected)


def test_staged_files(warehouses):
    """A file without _row_start has it from its partition."""
    table, expected = load(warehouses, "staged", "people")
    assert lines(live_rows(table), ["id", "name", "grp", "price", "_row_start"]) == sorted(expected)
    at = max(row["_row_start"] for row in live_rows(table))
    found = table.scan(EqualTo("_row_start", at.isoformat())).to_arrow()
    assert len(found) == sum(row["_row_start"] == at for row in live_rows(table))
    assert pl.scan_iceberg(table).collect().height == len(expected)


def test_every_type(warehouses):
    table, expected = load(warehouses, "every", "every")
    columns = [f"c{i}" for i in range(18)]
    got = lines(live_rows(table), columns)
    assert [line.split("|") for line in got] == [line.split("|") for line in sorted(expected)]


def test_every_type_in_polars(warehouses):
    table, expected = load(warehouses, "every", "every")
    frame = pl.scan_iceberg(table).collect()
    assert frame.height == len(expected)
    assert set(frame["c0"]) == {int(line.split("|")[0]) for line in expected}
    # An aggregate that a wrong value would change.
    total = sum(Decimal(line.split("|")[6]) for line in expected if line.split("|")[6] != "NULL")
    assert frame["c6"].sum() == total


@pytest.mark.parametrize("name", ["rewritten", "appended"])
def test_pruning_loses_no_row(warehouses, name):
    """Statistics in the manifests: a filtered scan gives what a filter of everything gives."""
    table, _ = load(warehouses, name, "people")
    rows = live_rows(table)
    for value in {row["id"] for row in rows[:20]} | {row["id"] for row in rows[-20:]}:
        assert len(table.scan(EqualTo("id", value)).to_arrow()) == 1
    starts = sorted(row["_row_start"] for row in rows)
    middle = starts[len(starts) // 2]
    found = table.scan(GreaterThanOrEqual("_row_start", middle.isoformat())).to_arrow()
    assert len(found) == sum(s >= middle for s in starts)


@pytest.mark.parametrize("name", ["rewritten", "appended"])
def test_history(warehouses, name):
    """Versions of one row follow each other, in plain SQL over the files of another engine."""
    table, _ = load(warehouses, name, "people")
    history, _ = load(warehouses, name, "people__history")
    columns = ["id", "label", "grp", "price", "extra", "_row_start", "_row_end", "_operation"]
    still = [{**row, "_row_end": None, "_operation": None} for row in live_rows(table)]
    expected = (warehouses / name / "versions.txt").read_text().splitlines()
    assert lines(still + live_rows(history), columns) == sorted(expected)
    live = table.scan(selected_fields=("id", "_row_start")).to_arrow()  # noqa: F841
    ended = history.scan().to_arrow()
    assert set(ended["_operation"].to_pylist()) == {"update", "delete"}
    overlaps = duckdb.sql(
        """
        WITH versions AS (
            SELECT id, _row_start AS s, _row_end AS e FROM ended
            UNION ALL SELECT id, _row_start, NULL FROM live
        )
        SELECT count(*) FROM (SELECT *, lead(s) OVER (PARTITION BY id ORDER BY s) AS next FROM versions)
        WHERE e <= s OR next < e OR (e IS NULL AND next IS NOT NULL)
        """
    ).fetchall()
    assert overlaps == [(0,)]
    assert len(ended) > 100


def test_snapshots(warehouses):
    table, _ = load(warehouses, "appended", "people")
    snapshots = table.metadata.snapshots
    assert table.metadata.format_version == 3
    assert len(snapshots) == 5  # what the test asked to keep
    times = [int(s.summary["django-iceberg.flushed-commit-time"]) for s in snapshots]
    assert times == sorted(times)
    for snapshot in snapshots:
        files = list(table.scan(snapshot_id=snapshot.snapshot_id).plan_files())
        assert len(files) == int(snapshot.summary["total-data-files"])
        assert sum(f.file.record_count for f in files) == int(snapshot.summary["total-records"])


def test_row_lineage_and_order(warehouses):
    """Compaction copies row ids; files are sorted by the primary key or the cluster column."""
    table, _ = load(warehouses, "every", "every")
    (task,) = table.scan().plan_files()
    path = task.file.file_path.removeprefix("file://")
    rows = duckdb.sql(f"SELECT c0, _row_id, _last_updated_sequence_number FROM read_parquet('{path}')").fetchall()
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert len({row[1] for row in rows}) == len(rows)
    assert {row[2] for row in rows} == {1, 2}
    # Rows that never changed have the ids of the first file.
    assert all(row[0] == row[1] for row in rows if row[2] == 1)
