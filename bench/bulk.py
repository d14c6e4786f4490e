"""Changes of every row of a large table, in one statement each, and the memory they take."""

import pathlib
import time

from peers import OURS, PEER, configure, iceberg_settings, upkeep
from single import MILLION, child, megabytes, peak_memory

MEMORY_WANTED = 500  # MB resident, at most


def fill(alias, rows):
    from django.db import connections

    series = f"range(1, {rows} + 1) AS s(i)" if alias == OURS else f"generate_series(1, {rows}) AS s(i)"
    with connections[alias].cursor() as cursor:
        cursor.execute(
            'INSERT INTO "shop_changed" ("id", "name", "amount") '
            f"SELECT i, CONCAT('name ', i), CAST(i % 1000 AS integer) FROM {series}"
        )


def changes(alias):
    """Seconds of each change of all rows, and the largest resident size meanwhile."""
    from django.db.models import F, Sum
    from shop.models import Changed

    rows = Changed.objects.using(alias)
    works = {
        "update(F) of all rows": lambda: rows.update(amount=F("amount") + 1),
        "update of half the rows": lambda: rows.filter(amount__lte=500).update(name="half"),
        "delete() of all rows": lambda: rows.all().delete(),
    }
    found = {}
    rows.aggregate(Sum("amount"))
    for name, work in works.items():
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        work()
        found[name] = {"seconds": time.perf_counter() - start, "memory": peak_memory()}
        if alias == OURS:  # what the background does, in the same process
            upkeep(alias)
            found[name]["flushed"] = peak_memory()
    return found


def ours(warehouse):
    configure({OURS: iceberg_settings(warehouse)})
    return changes(OURS)


def changes_of_all_rows(report, options, directory):
    rows = 2 * MILLION // (10 if options.quick else 1)
    report.section("bulk", f"each of {rows:,} rows in one statement")
    from django.db import connections

    for alias in (OURS, PEER):
        start = time.perf_counter()
        fill(alias, rows)
        report.note(f"{alias}: insert", time.perf_counter() - start)
        upkeep(alias)
    connections[OURS].close()
    mine, theirs = child("bulk_changes", str(directory / "iceberg")), changes(PEER)
    for name, found in mine.items():
        report.ratio(name, found["seconds"], theirs[name]["seconds"], at_most=1.5)
        report.limit(f"{name}: largest resident size", found["memory"], MEMORY_WANTED, show=megabytes)
        report.note(f"{name}: with the flush", found["flushed"], show=megabytes)
