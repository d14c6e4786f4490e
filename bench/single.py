"""Figures of processes of their own: schema changes by size, ten million rows, a fresh process, growth, durability."""

import datetime
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

from measure import clock, interleaved, percentile
from peers import OURS, PEER, configure, create_tables, iceberg_settings, upkeep

HERE = pathlib.Path(__file__).resolve().parent
MILLION = 1_000_000
MEMORY = "64MB"
BUDGET_MB = 512
HOST_MEMORY = f"{BUDGET_MB}MB"


def megabytes(value):
    return f"{value:.0f} MB"


def child(name, *args, env=None, prefix=(), timeout=900):
    """Runs one of the functions below in a fresh process; returns what it prints as JSON on its last line."""
    command = [*prefix, sys.executable, str(HERE / "run.py"), "--child", json.dumps([name, *args])]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=timeout, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{name} failed")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory():
    """Largest resident size of this process so far, in MB."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


# add_field by table size


def add_field_by_size(report, options):
    from django.db import connections, models
    from shop.models import Wide, WideMillion

    sizes = {Wide: 10_000, WideMillion: MILLION // (10 if options.quick else 1)}
    report.section("add_field", "with a default, on a small and on a large table")
    for model, rows in sizes.items():
        table = model._meta.db_table
        for alias, series in [(OURS, f"range(1, {rows} + 1) AS s(i)"), (PEER, f"generate_series(1, {rows}) AS s(i)")]:
            with connections[alias].cursor() as cursor:
                cursor.execute(
                    f'INSERT INTO "{table}" ("id", "name", "amount") '
                    f"SELECT i, CONCAT('name ', i), CAST(i % 1000 AS integer) FROM {series}"
                )
            upkeep(alias)

    def work(alias, model):
        def add(i):
            field = models.IntegerField(default=7)
            field.set_attributes_from_name(f"extra_{i}")
            field.model = model
            with connections[alias].schema_editor() as editor:
                editor.add_field(model, field)

        return add

    medians = {}
    for model, rows in sizes.items():
        works = {alias: work(alias, model) for alias in (OURS, PEER)}
        times = interleaved(works, max(options.rounds // 2, 2), 3)
        medians[model] = times[OURS]
        report.ratio(f"add_field on {rows:,} rows", times[OURS], times[PEER], at_most=1.5)
    report.ratio("large table beside small (both ours)", medians[WideMillion], medians[Wide], at_most=1.3)


# Ten million rows, a fresh process with little memory

GROUP_BY = 'SELECT "status", count(*), sum("total"), avg("quantity") FROM {} GROUP BY "status"'
JOIN = (
    'SELECT c."city", count(*), sum(o."total") FROM {} o INNER JOIN {} c ON o."customer_id" = c."id" GROUP BY c."city"'
)


def ten_million(report, options, directory):
    rows = 10 * MILLION // (20 if options.quick else 1)
    report.section("cold", f"{rows:,} rows after flush and restart, memory budget {MEMORY}")
    warehouse = large_warehouse(report, directory, rows)
    found = child("cold_reads", str(warehouse), rows, env={"PYTHONWARNINGS": "ignore"})
    for name, times in found["points"].items():
        if name.startswith("get()"):
            report.limit(f"{name}, median", statistics.median(times), 0.005)
        else:
            report.note(f"{name}, median", statistics.median(times))
        report.note(f"{name}, first of all", times[0])
    direct = child("direct_reads", str(warehouse))
    report.note("data files", len(direct["files"]), show=str)
    for name in ("group-by on all rows", "group-by over a join"):
        report.ratio(f"{name}, beside DuckDB on the files", found[name], direct[name], at_most=2)
    report.note("largest resident size", found["memory"], show=megabytes)


def large_warehouse(report, directory, rows):
    """Made by the first section that needs it."""
    warehouse = directory / "large"
    if not warehouse.exists():
        seconds = child("fill", str(warehouse), rows)
        report.note("written", seconds["insert"])
        report.note("flushed and compacted", seconds["flush"])
    return warehouse


def fill(warehouse, rows):
    configure({OURS: iceberg_settings(warehouse)})
    create_tables(OURS)
    from django.db import connections

    customers = rows // 100
    start = time.perf_counter()
    with connections[OURS].cursor() as cursor:
        cursor.execute(
            'INSERT INTO "shop_customer" ("id", "name", "email", "city") '
            "SELECT i, 'customer ' || i, 'c' || i || '@example.com', 'city ' || (i % 50) "
            f"FROM range(1, {customers} + 1) AS s(i)"
        )
        for low in range(0, rows, MILLION):
            high = min(low + MILLION, rows)
            cursor.execute(
                'INSERT INTO "shop_order" '
                '("id", "customer_id", "number", "status", "quantity", "total", "created_at", "note") '
                f"SELECT i, i * 7919 % {customers} + 1, 'ORD-' || lpad(CAST(i AS varchar), 10, '0'), "
                "['new', 'paid', 'sent', 'returned', 'closed'][i * 31 % 5 + 1], CAST(i % 9 + 1 AS integer), "
                "CAST(i * 37 % 100000 AS decimal(12, 2)) / 100, "
                "TIMESTAMPTZ '2025-01-01 00:00:00+00' + to_seconds(i * 3), "
                "CASE WHEN i % 3 = 0 THEN 'note on order ' || i END "
                f"FROM range({low} + 1, {high} + 1) AS s(i)"
            )
    inserted = time.perf_counter()
    upkeep(OURS)
    return {"insert": inserted - start, "flush": time.perf_counter() - inserted}


def cold_reads(warehouse, rows):
    configure({OURS: iceberg_settings(warehouse, **{"memory.budget": MEMORY})})
    from django.db import connections
    from shop.models import Order

    numbers = random.Random(11)
    orders = Order.objects.using(OURS)

    def times(work, n=50):
        taken = []
        for _ in range(n):
            key = numbers.randint(1, rows)
            start = time.perf_counter()
            work(key)
            taken.append(time.perf_counter() - start)
        return taken

    points = {
        "get() by key": times(lambda key: orders.get(pk=key)),
        "get() by unique value": times(lambda key: orders.get(number=f"ORD-{key:010}")),
        "filter(fk)[:20]": times(lambda key: list(orders.filter(customer_id=key % (rows // 100) + 1)[:20])),
        "select_related of 20": times(
            lambda key: list(orders.select_related("customer").filter(customer_id=key % (rows // 100) + 1)[:20])
        ),
    }
    cursor = connections[OURS].connection.cursor()

    def query(sql):
        cursor.execute(sql)
        return cursor.fetchall()

    result = {"points": points, **group_bys(query, '"shop_order"', '"shop_customer"')}
    return {**result, "memory": peak_memory()}


def group_bys(query, orders, customers):
    result = {}
    for name, sql in [
        ("group-by on all rows", GROUP_BY.format(orders)),
        ("group-by over a join", JOIN.format(orders, customers)),
    ]:
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            query(sql)
            taken.append(time.perf_counter() - start)
        result[name] = statistics.median(taken)
    return result


def direct_reads(warehouse):
    """DuckDB on the Parquet files of the published snapshots, found through PyIceberg."""
    import duckdb
    from pyiceberg.catalog import load_catalog

    catalog = load_catalog(
        "default", type="sql", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}"
    )
    sources, files = [], []
    for table in ("shop_order", "shop_customer"):
        tasks = list(catalog.load_table(("bench", table)).scan().plan_files())
        paths = [task.file.file_path.removeprefix("file://") for task in tasks]
        files += paths
        sources.append("read_parquet([{}])".format(", ".join(f"'{path}'" for path in paths)))
    database = duckdb.connect()
    return {**group_bys(lambda sql: database.execute(sql).fetchall(), *sources), "files": files}


# Memory of eight processes


def shared_memory(report, options, directory):
    """Proportional set sizes: a page that several processes share counts once among them."""
    workers, rows = 8, (1 if options.quick else 10) * MILLION
    report.section("memory", f"{workers} processes at once on {rows:,} rows, memory budget {HOST_MEMORY}")
    warehouse = large_warehouse(report, directory, rows)
    bare = sum(sizes_at_once("idle", workers, str(warehouse), rows))
    sizes = sizes_at_once("read_and_wait", workers, str(warehouse), rows)
    report.note("Django alone, all of them", bare, show=megabytes)
    report.note("reading by keys and grouping, all of them", sum(sizes), show=megabytes)
    report.note("the largest of them", max(sizes), show=megabytes)
    report.limit("beyond Django", sum(sizes) - bare, BUDGET_MB, show=megabytes)


def sizes_at_once(name, workers, *args):
    """MB of each of so many processes, once all have done their work."""
    command = [sys.executable, str(HERE / "run.py"), "--child", json.dumps([name, *args])]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    for process in started:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{name} failed")
    sizes = [int(re.search(r"Pss:\s+(\d+) kB", smaps(process.pid))[1]) / 1024 for process in started]
    for process in started:
        process.communicate("end\n")
    return sizes


def smaps(pid):
    return pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()


def idle(warehouse, rows):
    start_django(warehouse)
    from shop.models import Order  # noqa: F401 (what a site has loaded)

    wait()


def read_and_wait(warehouse, rows):
    configure({OURS: iceberg_settings(warehouse, **{"memory.budget": HOST_MEMORY})})
    from django.db import connections
    from shop.models import Order

    numbers = random.Random(os.getpid())
    orders = Order.objects.using(OURS)
    for _ in range(20):
        orders.get(pk=numbers.randint(1, rows))
        list(orders.filter(customer_id=numbers.randint(1, rows // 100))[:20])
    with connections[OURS].cursor() as cursor:
        for sql in (GROUP_BY.format('"shop_order"'), JOIN.format('"shop_order"', '"shop_customer"')):
            cursor.execute(sql)
            cursor.fetchall()
    wait()


def wait():
    print("ready", flush=True)
    sys.stdin.readline()


# A fresh process


def fresh_process(report, options, directory):
    report.section("fresh", "a new process's first get(), beside Django's own start on SQLite")
    warehouse = directory / "iceberg"
    runs = {"start_django": [], "first_get": []}
    for _ in range(3 if options.quick else 9):
        for name, results in runs.items():
            start = time.perf_counter()
            result = child(name, str(warehouse))
            results.append({**result, "wall": time.perf_counter() - start})
    wall = {name: statistics.median(r["wall"] for r in results) for name, results in runs.items()}
    report.note("Django's own start, process and all", wall["start_django"])
    report.limit("first get(), beyond that", wall["first_get"] - wall["start_django"], 0.2)
    report.limit("resident size", max(r["memory"] for r in runs["first_get"]), 150, show=megabytes)


def start_django(warehouse):
    configure({OURS: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
    return {"memory": peak_memory()}


def first_get(warehouse):
    configure({OURS: iceberg_settings(warehouse)})
    from shop.models import Order

    Order.objects.using(OURS).get(pk=12_345)
    return {"memory": peak_memory()}


# 20,000 create() calls


def growth(report, options, directory):
    calls = 4_000 if options.quick else 20_000
    report.section(
        "growth", f"{calls:,} create() calls beside {EARLIER:,} rows, while the table is flushed and compacted"
    )
    found = child("create_many", str(directory / "growth"), calls)
    times = found["times"]
    edge = calls // 20
    first, last = statistics.median(times[:edge]), statistics.median(times[-edge:])
    report.at_least("snapshots of flushes published meanwhile", len(found["flushes"]), 20)
    report.at_least("snapshots of compactions published meanwhile", len(found["compactions"]), 2)
    for summary in reversed(found["compactions"]):
        report.note("a compaction's files, before", int(summary["deleted-data-files"]), show=str)
        report.note("a compaction's rows", int(summary["added-records"]), show="{:,}".format)
    report.ratio(f"median of the last {edge:,} beside the first", last, first, at_most=1.3)
    report.note("p99", percentile(times, 0.99))
    report.note("longest", max(times))
    for when, (files, size) in zip(["", ", expired and collected"], found["disk"], strict=True):
        report.note(f"on disk{when}", size, show=lambda n, files=files: f"{n / (1 << 20):.1f} MiB in {files:,} files")
    report.limit("largest metadata file", found["metadata"], 1 << 20, show=lambda n: f"{n / 1024:.0f} KiB")


EARLIER = 300_000


def create_many(warehouse, calls):
    # Flushes leave files for compactions to merge, as they do in tables over the default.
    configure({OURS: iceberg_settings(warehouse, **{"flush.rewrite-bytes": 0})})
    create_tables(OURS)
    from django.db import connections
    from shop.models import Customer
    from side_by_side import order

    Customer.objects.using(OURS).bulk_create(
        Customer(id=i, name=f"customer {i}", email=f"c{i}@example.com", city="city") for i in range(1, 10_001)
    )
    with connections[OURS].cursor() as cursor:
        cursor.execute(
            'INSERT INTO "shop_order" ("customer_id", "number", "status", "quantity", "total", "created_at", "note") '
            "SELECT i %% 10000 + 1, 'OLD-' || i, 'closed', CAST(i %% 9 + 1 AS integer), 12.5, "
            "TIMESTAMPTZ '2025-01-01 00:00:00+00', NULL FROM range(%s) AS s(i)",
            [EARLIER],
        )
    connections[OURS].connection.flush()
    stop, at, failed = threading.Event(), [0], []

    def maintain():
        try:
            keep_up()
        except BaseException as error:
            failed.append(error)
            raise

    def keep_up():
        # As a process beside the site's would, with a connection of its own.
        connections[OURS].ensure_connection()
        core = connections[OURS].connection
        step, compact_at = calls // 25, [calls // 3, calls * 2 // 3]
        due = step
        while not stop.wait(0.005):
            if at[0] >= due:
                due += step
                core.flush("shop_order")
            if compact_at and at[0] >= compact_at[0]:
                compact_at.pop(0)
                core.compact("shop_order")
        connections[OURS].close()

    thread = threading.Thread(target=maintain)
    thread.start()
    times = []
    began = datetime.datetime.now(datetime.UTC)
    try:
        for i in range(calls):
            one = order(i)
            start = time.perf_counter()
            one.save(using=OURS, force_insert=True)
            times.append(time.perf_counter() - start)
            at[0] = i + 1
        ended = datetime.datetime.now(datetime.UTC)
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]
    files = [p for p in pathlib.Path(warehouse).rglob("*") if p.is_file()]
    largest = max((p.stat().st_size for p in files if "metadata" in p.parts), default=0)
    return {
        **published(began, ended),
        "times": times,
        "metadata": largest,
        "disk": [disk_use(warehouse), collected(warehouse)],
    }


def published(began, ended):
    """Summaries of the snapshots of orders that were published between two times, as the table's metadata has them."""
    from django.db import connections

    found = {"flushes": [], "compactions": []}
    for snapshot in connections[OURS].connection.snapshots("shop_order"):
        if snapshot["snapshot_id"] is not None and began <= snapshot["committed_at"] <= ended:
            found["compactions" if snapshot["operation"] == "replace" else "flushes"].append(snapshot["summary"])
    return found


def disk_use(warehouse):
    """Files and bytes of the published tables and their cache."""
    files = [p.stat().st_size for p in pathlib.Path(warehouse).rglob("*") if p.is_file() and "log" not in p.parts]
    return [len(files), sum(files)]


def collected(warehouse):
    """The same once the past is expired and what nothing reaches is collected."""
    from django.db import connections

    connections[OURS].ensure_connection()
    core = connections[OURS].connection
    core.flush()
    core.expire(core.now())
    core.collect(0)
    connections[OURS].close()
    return disk_use(warehouse)


# Durability


def durability(report, options, directory, postgres):
    report.section("durable", "calls of fdatasync or fsync that strace counts during 100 create() calls")
    if not shutil.which("strace"):
        raise RuntimeError("strace is not installed: run tools/setup.sh strace")
    trace = directory / "trace"
    strace = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,pwritev2", "-o", str(trace)]

    def syncs():
        return len(re.findall(r"\b(?:fdatasync|fsync)\(", trace.read_text()))

    child("create_hundred", OURS, str(directory / "iceberg"), prefix=strace)
    report.at_least(OURS, syncs(), 100)
    import psycopg

    settings = {"dbname": "bench", "user": postgres.user, "host": str(postgres.socket)}
    with psycopg.connect(**settings, autocommit=True) as connection:
        tracer = subprocess.Popen([*strace, "-p", str(connection.info.backend_pid)], stderr=subprocess.DEVNULL)
        time.sleep(1)
        from side_by_side import INSERT, MARKS, values

        for i in range(100):
            connection.execute(INSERT + MARKS, values(30_000_000 + i))
        tracer.terminate()
        tracer.wait()
    report.at_least(PEER, syncs(), 100)


def create_hundred(alias, warehouse):
    configure({OURS: iceberg_settings(warehouse)})
    from side_by_side import order

    for i in range(100):
        order(40_000_000 + i).save(using=alias, force_insert=True)
    return True


CHILDREN = {
    f.__name__: f
    for f in [fill, cold_reads, direct_reads, idle, read_and_wait, start_django, first_get, create_many, create_hundred]
}


def run_child(text):
    name, *args = json.loads(text)
    print(json.dumps(CHILDREN[name](*args)))


__all__ = [
    "add_field_by_size",
    "clock",
    "durability",
    "fresh_process",
    "growth",
    "run_child",
    "shared_memory",
    "ten_million",
]
