"""Warehouses that stay open in the process when their last connection closes (Django's connections come and go with requests)."""

import os
import shutil
import subprocess
import sys

import pytest

from django_iceberg import _core

KEPT = {"keep-open": True, "flush.background": True, "threads": 1}


def threads():
    return len(os.listdir("/proc/self/task"))


@pytest.fixture(autouse=True)
def nothing_idle():
    _core.close_idle()
    yield
    _core.close_idle()


def test_kept_until_told(connect):
    before = threads()
    first = connect(KEPT)
    first.cursor().execute("CREATE TABLE t (id integer PRIMARY KEY)")
    first.cursor().execute("INSERT INTO t VALUES (1)")
    first.close()
    assert threads() > before  # the flusher's
    second = connect(KEPT)
    second.cursor().execute("INSERT INTO t VALUES (2)")
    assert second.cursor().execute("SELECT sum(id) FROM t").fetchone() == (3,)
    _core.close_idle()  # not what is in use
    assert second.cursor().execute("SELECT count(*) FROM t").fetchone() == (2,)
    second.close()
    _core.close_idle()
    assert threads() == before


def test_not_kept_unless_asked(connect):
    before = threads()
    connection = connect({"flush.background": True})
    connection.cursor().execute("CREATE TABLE t (id integer PRIMARY KEY)")
    connection.close()
    assert threads() == before


def test_a_prelude_is_its_own(connect):
    """Engine connections go from one session to the next, with what was prepared on them."""
    for answer in (2, 3, 2):
        connection = connect({**KEPT, "prelude": [f"CREATE OR REPLACE TEMP MACRO times(x) AS x * {answer}"]})
        connection.timezone = "Asia/Bangkok" if answer == 3 else "UTC"
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE IF NOT EXISTS t (id integer PRIMARY KEY)")
        assert cursor.execute("SELECT times(1), current_setting('TimeZone')").fetchone() == (
            answer,
            connection.timezone,
        )
        connection.close()


def test_another_warehouse_in_its_place(connect, warehouse):
    first = connect(KEPT)
    first.cursor().execute("CREATE TABLE t (id integer PRIMARY KEY)")
    first.close()
    shutil.rmtree(warehouse)
    second = connect(KEPT)
    with pytest.raises(_core.OperationalError, match="no warehouse at"):
        second.cursor().execute("SELECT * FROM t")
    second.cursor().execute("CREATE TABLE u (id integer PRIMARY KEY)")
    assert second.tables() == ["u"]


def test_other_settings(connect):
    first = connect(KEPT)
    first.cursor().execute("CREATE TABLE t (id integer PRIMARY KEY)")
    first.close()
    second = connect({**KEPT, "durability": "os"})
    with pytest.raises(_core.InterfaceError, match="durability"):
        second.cursor().execute("SELECT * FROM t")
    second.close()
    third = connect({**KEPT, "read-only": True})
    with pytest.raises(_core.Error):
        third.cursor().execute("INSERT INTO t VALUES (1)")


def test_the_oldest_goes(connect):
    before = threads()
    counts = []
    for i in range(6):
        connection = connect(KEPT, namespace=f"n{i}")
        connection.cursor().execute("CREATE TABLE t (id integer PRIMARY KEY)")
        connection.close()
        counts.append(threads() - before)
    assert counts[3] == counts[4] == counts[5] > counts[2]


def test_end_of_the_process(warehouse, duckdb_library):
    script = (
        "import sys\n"
        "from django_iceberg import _core\n"
        "for i in range(2):\n"
        "    c = _core.connect(sys.argv[1], catalog=sys.argv[1] + '/catalog.db', duckdb_library=sys.argv[2],\n"
        "                      options={'keep-open': True, 'flush.interval-ms': 1})\n"
        "    c.cursor().execute('CREATE TABLE IF NOT EXISTS t (id integer PRIMARY KEY)')\n"
        "    print(c.cursor().execute('SELECT count(*) FROM t').fetchone())\n"
        "    c.close()\n"
    )
    command = [sys.executable, "-P", "-c", script, str(warehouse), duckdb_library]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (out.stdout, out.stderr) == ("(0,)\n(0,)\n", "")


def test_fork(connect):
    """A child has none of what its parent keeps open, and opens its own."""
    parent = connect(KEPT)
    parent.cursor().execute("CREATE TABLE t (id integer PRIMARY KEY)")
    parent.close()
    pid = os.fork()
    if pid == 0:
        try:
            child = connect(KEPT)
            child.cursor().execute("INSERT INTO t VALUES (1)")
            child.close()
            os._exit(0)
        except BaseException:  # noqa: BLE001 (pytest must not go on in the child)
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    again = connect(KEPT)
    assert again.cursor().execute("SELECT count(*) FROM t").fetchone() == (1,)
