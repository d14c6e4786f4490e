"""PyIceberg's SqlCatalog and core/catalog share one SQLite file. The C side is tests/c/test_catalog_more.c."""

import os
import pathlib
import shutil
import subprocess

import pyarrow as pa
import pytest

pyiceberg = pytest.importorskip("pyiceberg")
from pyiceberg.catalog.sql import SqlCatalog

ROOT = pathlib.Path(__file__).parents[2]
TOOL = pathlib.Path(os.environ.get("ICE_C_TESTS", ROOT / "build" / "tests" / "c")) / "test_catalog_more"
pytestmark = pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not built; set ICE_C_TESTS")


@pytest.fixture
def ours(tmp_path):
    def run(*args):
        env = {**os.environ, "ICE_CATALOG_DB": str(tmp_path / "catalog.db")}
        result = subprocess.run([TOOL, *args], check=False, env=env, capture_output=True, text=True)
        return result.returncode, result.stdout.split()

    return run


def theirs(tmp_path):
    return SqlCatalog("default", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")


DATA = pa.table({"id": pa.array([1, 2, 3], pa.int64())})


def test_pyiceberg_works_in_our_catalog(ours, tmp_path):
    assert ours("list") == (0, [])
    catalog = theirs(tmp_path)
    assert catalog.list_namespaces() == [("app",)]
    table = catalog.create_table("app.t", DATA.schema)
    assert ours("list") == (0, ["t", table.metadata_location])
    table.append(DATA)
    assert ours("list") == (0, ["t", table.metadata_location])
    assert catalog.list_tables("app") == [("app", "t")]


def test_our_tables_are_theirs(ours, tmp_path):
    assert ours("list")[0] == 0
    catalog = theirs(tmp_path)
    location = catalog.create_table("app.t", DATA.schema).metadata_location
    assert ours("drop", "t")[0] == 0
    assert catalog.list_tables("app") == []
    assert ours("create", "mine", location)[0] == 0
    assert catalog.list_tables("app") == [("app", "mine")]
    table = catalog.load_table("app.mine")
    table.append(DATA)
    assert catalog.load_table("app.mine").scan().to_arrow().num_rows == 3
    code, (name, *_) = ours("create", "mine", location)
    assert (code, name) == (2, "CONFLICT")


def test_no_swap_is_lost(ours, tmp_path):
    """PyIceberg loads the table again when it commits: what we published meanwhile is its base; our stale swap loses."""
    assert ours("list")[0] == 0
    table = theirs(tmp_path).create_table("app.t", DATA.schema)
    stale = table.metadata_location
    published = stale.replace("00000-", "00001-")
    shutil.copy(stale.removeprefix("file://"), published.removeprefix("file://"))
    with table.transaction() as tx:
        tx.append(DATA)
        assert ours("swap", "t", stale, published)[0] == 0
    assert [entry.metadata_file for entry in table.metadata.metadata_log] == [published]
    code, (name, *_) = ours("swap", "t", published, stale)
    assert (code, name) == (2, "CONFLICT")
    assert ours("list") == (0, ["t", table.metadata_location])
