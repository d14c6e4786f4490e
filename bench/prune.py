"""Selective statements on tables of many files, beside DuckDB on all of those files: what leaving files out is worth."""

import pathlib
import re
import statistics
import time

from peers import OURS, configure, create_tables, iceberg_settings
from single import MEMORY, child

ROUNDS = 9
COLUMNS = "id bigint PRIMARY KEY, tenant integer, at timestamp with time zone, total numeric(10, 2), note text"


def made(table, first, rows, tenants):
    """Rows in the order of their time, of all tenants in turn."""
    return (
        f'INSERT INTO "{table}" SELECT i, CAST(i % {tenants} AS integer), '
        "TIMESTAMPTZ '2025-01-01 00:00:00+00' + to_seconds(i * 10), CAST(i * 37 % 100000 AS decimal(12, 2)) / 100, "
        f"'note on ' || hash(i) FROM range({first}, {first + rows}) AS s(i)"
    )


def fill(cursor, files, rows):
    """The tables: `parts`, a file for each tenant; `sorted`, a file for each stretch of time; `both` of them flushed."""
    core = cursor.connection
    for table in ("parts", "sorted"):
        cursor.execute(f'CREATE TABLE "{table}" ({COLUMNS})')
    cursor.execute('CREATE INDEX parts_tenant ON "parts" USING partition (tenant)')
    cursor.execute(made("parts", 0, files * rows, files))
    core.flush()
    core.compact("parts")
    for number in range(files):
        cursor.execute(made("sorted", number * rows, rows, files))
    core.flush()


def statements(files, rows):
    """name: (table, statement)"""
    middle = files * rows // 2
    since, until = (
        f"TIMESTAMPTZ '2025-01-01 00:00:00+00' + to_seconds({row * 10})" for row in (middle, middle + rows // 4)
    )
    total = 'SELECT count(*), sum("total") FROM'
    tenants = f"1, {files // 2}, {files - 1}"
    keys = f"{middle}, {middle + 1}"
    return {
        "a partition value": ("parts", f'{total} "parts" WHERE "tenant" = {files // 3}'),
        "three partition values": ("parts", f'{total} "parts" WHERE "tenant" IN ({tenants})'),
        "a range of time": ("sorted", f'{total} "sorted" WHERE "at" >= {since} AND "at" < {until}'),
        "two keys, grouped": (
            "sorted",
            f'SELECT "tenant", count(*) FROM "sorted" WHERE "id" IN ({keys}) GROUP BY "tenant"',
        ),
        "every row": ("sorted", f'{total} "sorted"'),
    }


def seconds(works):
    """Medians, in turns."""
    taken = {name: [] for name in works}
    for number in range(ROUNDS + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if number:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure(warehouse, files, rows):
    import duckdb

    # No flush of its own: what is measured keeps the files that `fill` made.
    configure(
        {OURS: iceberg_settings(warehouse, **{"memory.budget": MEMORY, "flush.background": False, "bulk.rows": 1})}
    )
    create_tables(OURS)
    from django.db import connections

    cursor = connections[OURS].connection.cursor()
    fill(cursor, files, rows)
    database, found = duckdb.connect(), {}
    database.execute("SET TimeZone = 'UTC'")
    for name, (table, sql) in statements(files, rows).items():
        folder = pathlib.Path(warehouse) / "bench"
        paths = ", ".join(f"'{path}'" for path in published(warehouse, table, folder))
        direct = sql.replace(f'"{table}"', f"read_parquet([{paths}])")

        def ours(sql=sql):
            cursor.execute(sql)
            return cursor.fetchall()

        def theirs(direct=direct):
            return database.execute(direct).fetchall()

        if sorted(map(tuple, ours())) != sorted(theirs()):
            raise RuntimeError(f"{name}: the answers differ")
        cursor.execute(f"EXPLAIN {sql}")
        read = next(m for row in cursor.fetchall() if (m := re.search(r"files=(\d+)/(\d+)", str(row))))
        found[name] = {"files": [int(read[1]), int(read[2])], **seconds({"ours": ours, "direct": theirs})}
    return found


def published(warehouse, table, folder):
    """The files of the snapshot, as PyIceberg finds them."""
    from pyiceberg.catalog import load_catalog

    catalog = load_catalog(
        "default", type="sql", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}"
    )
    tasks = catalog.load_table((folder.name, table)).scan().plan_files()
    return [task.file.file_path.removeprefix("file://") for task in tasks]


def pruned_reads(report, options, directory):
    files, rows = (20, 20_000) if options.quick else (100, 20_000)
    report.section(
        "prune",
        f"{files} files of {rows:,} rows, memory budget {MEMORY}, beside DuckDB reading all of the files directly",
    )
    for name, found in child("pruned", str(directory / "prune"), files, rows).items():
        read, total = found["files"]
        at_most = 1 if read < total else 2
        report.ratio(f"{name}, files={read}/{total}", found["ours"], found["direct"], at_most=at_most)
