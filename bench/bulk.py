"""Changes of every row of a large table, in one statement each, and the memory they take."""

import pathlib
import time

from peers import OURS, PEER, configure, iceberg_settings, upkeep
from single import MILLION, child, megabytes, peak_memory

UPSERTED = 100_000
MEMORY_WANTED = 500  # MB resident, at most


def _series(alias, first, last):
    call = f"range({first}, {last} + 1)" if alias == OURS else f"generate_series({first}, {last})"
    return f"{call} AS s(i)"


def fill(alias, rows):
    from django.db import connections

    with connections[alias].cursor() as cursor:
        cursor.execute(
            'INSERT INTO "shop_changed" ("id", "name", "amount") '
            f"SELECT i, CONCAT('name ', i), CAST(i % 1000 AS integer) FROM {_series(alias, 1, rows)}"
        )


def changes(alias):
    """Seconds of each change of all rows, and the largest resident size meanwhile."""
    from django.db import connections
    from django.db.models import F, Max, Sum
    from shop.models import Changed

    rows = Changed.objects.using(alias)

    def upserted():
        """Half of them are there."""
        series = _series(alias, last - UPSERTED // 2, last + UPSERTED // 2)
        with connections[alias].cursor() as cursor:
            cursor.execute(
                'INSERT INTO "shop_changed" ("id", "name", "amount") '
                f"SELECT i, 'upserted', 1 FROM {series} "
                'ON CONFLICT ("id") DO UPDATE SET "name" = EXCLUDED."name", "amount" = "shop_changed"."amount" + 1'
            )

    def created_again():
        rows.bulk_create(
            [Changed(id=i, name="again", amount=1) for i in range(last, last + UPSERTED)],
            batch_size=5_000,
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["name", "amount"],
        )

    works = {
        f"INSERT … ON CONFLICT of {UPSERTED:,} rows": upserted,
        f"bulk_create(update_conflicts) of {UPSERTED:,}": created_again,
        "update(F) of all rows": lambda: rows.update(amount=F("amount") + 1),
        "update of half the rows": lambda: rows.filter(amount__lte=500).update(name="half"),
        "delete() of all rows": lambda: rows.all().delete(),
    }
    found = {}
    last = rows.aggregate(Sum("amount"), last=Max("id"))["last"]
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
