#!/usr/bin/env python
"""A tour of django-iceberg over every flight that left New York City in 2013.

    python demo.py            all of it, on a fresh warehouse in data/
    python manage.py runserver

The first half runs as release 1 of the site. The second half, a new process, deploys release 2 (a column added, one
renamed, one removed) while a process of release 1 goes on reading and writing.
"""

import argparse
import datetime
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


# Output


class Screen:
    """What the demo prints: headings, lines with a time beside them, small tables."""

    def __init__(self):
        from rich.console import Console

        self.console = Console(highlight=False)
        self.failed = []

    def heading(self, number, text):
        self.console.print()
        self.console.rule(f"[bold]{number}. {text}", align="left", style="cyan")

    def line(self, text, seconds=None):
        if seconds is not None:
            from rich.text import Text

            gap = max(self.console.width - 16 - Text.from_markup(text).cell_len, 1)
            text = f"{text}{' ' * gap}[not bold cyan]{clock(seconds):>12}"
        self.console.print("  " + text, soft_wrap=True)

    def check(self, text, passed):
        if not passed:
            self.failed.append(text)
        self.line(f"[{'green' if passed else 'bold red'}]{'✓' if passed else '✗'}[/] {text}")

    def table(self, columns, rows):
        from rich.table import Table

        table = Table(box=None, pad_edge=True, header_style="dim", padding=(0, 2))
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*map(shown, row))
        self.console.print(table)

    def progress(self):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        return Progress(
            TextColumn("  {task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )


def clock(seconds):
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def shown(value):
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return str(value)


def timed(work):
    """(result, seconds)"""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


# 1. and 2. An empty warehouse, the tables, the rows


def create_site(screen):
    from django.apps import apps
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    screen.heading(1, "migrate")
    for app in ["contenttypes", "auth", "admin", "sessions"]:
        _, seconds = timed(lambda app=app: call_command("migrate", app, verbosity=0))
        screen.line(f"migrate {app}", seconds)
    # Release 1 of the app; release 2 comes in step 6.
    _, seconds = timed(lambda: call_command("migrate", "flights", "0001", verbosity=0))
    screen.line("migrate flights 0001", seconds)
    _, seconds = timed(lambda: get_user_model().objects.create_superuser("admin", "admin@example.com", "admin"))
    screen.line("create_superuser: name 'admin', password 'admin'", seconds)
    tables = len(list(apps.get_models()))
    screen.line(f"{tables} models, each an Apache Iceberg table")


def load(screen, limit):
    from itertools import islice

    from django.core.management import call_command
    from flights.source import TABLES

    screen.heading(2, "bulk_create of five tables")
    results = []
    with screen.progress() as progress:
        for model, source, count in TABLES:
            count = min(count, limit) if model.__name__ == "Flight" else count
            task = progress.add_task(model.__name__, total=count)
            seconds, batch = 0.0, []
            for instance in islice(source(), count):
                batch.append(instance)
                if len(batch) == 10_000:
                    seconds += timed(lambda batch=batch, model=model: model.objects.bulk_create(batch))[1]
                    progress.advance(task, len(batch))
                    batch = []
            seconds += timed(lambda batch=batch, model=model: model.objects.bulk_create(batch))[1]
            progress.advance(task, len(batch))
            results.append((model.__name__, model.objects.count(), seconds, count))
    for name, rows, seconds, _ in results:
        screen.line(f"{name:<10} {rows:>9,} rows  {rows / seconds:>11,.0f} rows/s", seconds)
    screen.check("every row arrived", all(rows == count for _, rows, _, count in results))
    # So that there are files from before the migrations, which other programs read in step 8.
    _, seconds = timed(lambda: call_command("iceberg_flush", stdout=io.StringIO()))
    screen.line("manage.py iceberg_flush", seconds)


# 3. Questions


def ask(screen):
    from django.db.models import Avg, Count, Exists, OuterRef, Prefetch, Q, Subquery, Sum
    from django.db.models.functions import ExtractHour, TruncMonth
    from flights.models import Airline, Airport, Flight, Plane, Weather

    screen.heading(3, "questions to the ORM")

    def question(text, queryset, columns):
        rows, seconds = timed(lambda: list(queryset))
        screen.line(f"[bold]{text}", seconds)
        screen.table(columns, [r if isinstance(r, (tuple, list)) else [r] for r in rows[:5]])

    question(
        "Which airline is the least late? (group by, over a join)",
        Flight.objects.values_list("carrier__name")
        .annotate(flights=Count("id"), late=Avg("arr_delay"))
        .order_by("late"),
        ["airline", "flights", "mean delay"],
    )
    question(
        "Which airports get the most flights? (group by, join, HAVING)",
        Airport.objects.annotate(n=Count("arrivals"), miles=Sum("arrivals__distance"))
        .filter(n__gt=10_000)
        .order_by("-n")
        .values_list("name", "n", "miles"),
        ["airport", "flights", "miles"],
    )
    question(
        "How does each month go? (TruncMonth, filtered aggregates)",
        Flight.objects.annotate(month=TruncMonth("time_hour"))
        .values_list("month")
        .annotate(
            flights=Count("id"),
            cancelled=Count("id", filter=Q(dep_time=None)),
            late=Count("id", filter=Q(arr_delay__gt=60)),
        )
        .order_by("month"),
        ["month", "flights", "cancelled", "over an hour late"],
    )
    question(
        "At what hour is it best to leave?",
        Flight.objects.filter(dep_delay__isnull=False)
        .annotate(hour=ExtractHour("time_hour"))
        .values_list("hour")
        .annotate(late=Avg("dep_delay"))
        .order_by("late"),
        ["hour", "mean delay"],
    )
    wind = Weather.objects.filter(origin=OuterRef("origin"), time_hour=OuterRef("time_hour"))
    question(
        "The latest flights and the wind they met (correlated subquery)",
        Flight.objects.filter(dep_delay__gt=900)
        .annotate(wind=Subquery(wind.values("wind_speed")[:1]))
        .order_by("-dep_delay")
        .values_list("carrier_id", "flight", "time_hour", "dep_delay", "wind"),
        ["carrier", "flight", "scheduled", "delay", "wind mph"],
    )
    question(
        "Planes from before 1965 that still fly to Chicago (EXISTS)",
        Plane.objects.filter(
            Exists(Flight.objects.filter(plane=OuterRef("pk"), dest="ORD")), year__lt=1965
        ).values_list("tailnum", "manufacturer", "year"),
        ["plane", "manufacturer", "year"],
    )
    question(
        "Seats offered by each airline (a join of three tables)",
        Flight.objects.filter(plane__isnull=False)
        .values_list("carrier__name")
        .annotate(seats=Sum("plane__seats"))
        .order_by("-seats"),
        ["airline", "seats"],
    )
    totals, seconds = timed(
        lambda: Flight.objects.aggregate(
            n=Count("id"), worst=Avg("arr_delay", filter=Q(origin="EWR")), air=Sum("air_time")
        )
    )
    screen.line("[bold]The year in three figures (aggregate)", seconds)
    screen.table(["flights", "mean delay from Newark", "minutes in the air"], [totals.values()])

    flights, seconds = timed(
        lambda: list(
            Flight.objects.select_related("carrier", "origin", "dest", "plane").order_by("-distance", "id")[:20]
        )
    )
    screen.line("[bold]20 of the longest flights (select_related over five tables)", seconds)
    screen.table(
        ["flight", "airline", "to", "plane"],
        [(f, f.carrier, f.dest.name, f.plane or "?") for f in flights[:2]],
    )
    airlines, seconds = timed(
        lambda: list(
            Airline.objects.prefetch_related(
                Prefetch("flights", Flight.objects.filter(dep_delay__gt=600), to_attr="late")
            )
        )
    )
    screen.line("[bold]Airlines with their flights over ten hours late (prefetch_related)", seconds)
    screen.table(
        ["airline", "flights"],
        sorted(((a.name, len(a.late)) for a in airlines), key=lambda row: -row[1])[:3],
    )
    flight, seconds = timed(lambda: Flight.objects.get(pk=flights[0].pk))
    screen.line(f"get() by key: {flight}", seconds)
    scheduled = flight.time_hour
    flight, seconds = timed(
        lambda: Flight.objects.get(
            carrier=flight.carrier_id, flight=flight.flight, origin=flight.origin_id, time_hour=scheduled
        )
    )
    screen.line(f"get() by unique key: {flight}", seconds)


# 4. Writes


def write(screen):
    from django.db import IntegrityError, transaction
    from django.db.models import F
    from flights.models import Airline, Airport, Flight

    screen.heading(4, "transactions")
    with transaction.atomic():
        changed, seconds = timed(lambda: Flight.objects.filter(carrier="HA").update(dep_delay=F("dep_delay") + 1))
        screen.line(f"update() of {changed:,} flights of Hawaiian Airlines", seconds)
        (deleted, _), seconds = timed(lambda: Flight.objects.filter(carrier="OO").delete())
        screen.line(f"delete() of {deleted:,} flights of SkyWest", seconds)
    screen.check("both are committed", not Flight.objects.filter(carrier="OO").exists())

    count = Flight.objects.count()

    def roll_back():
        try:
            with transaction.atomic():
                Flight.objects.filter(origin="EWR").delete()
                within.append(Flight.objects.count())
                raise LookupError("the user thinks again")
        except LookupError:
            pass

    within = []
    _, seconds = timed(roll_back)
    screen.line(f"delete() of all flights from Newark ({count:,} → {within[0]:,}), rolled back", seconds)
    screen.check("they are all there", Flight.objects.count() == count)

    with transaction.atomic():
        Airport.objects.filter(pk="JFK").update(name="Idlewild")
        savepoint = transaction.savepoint()
        Airport.objects.filter(pk="LGA").update(name="Glenn H Curtiss")
        transaction.savepoint_rollback(savepoint)
    names = dict(Airport.objects.filter(pk__in=["JFK", "LGA"]).values_list("pk", "name"))
    screen.check(f"a savepoint undoes what came after it: {names}", names == {"JFK": "Idlewild", "LGA": "La Guardia"})

    known = Flight.objects.order_by("pk").first()
    mistakes = {
        "a foreign key to nowhere": lambda: new_flight(known, carrier_id="??").save(),
        "a duplicate unique value": lambda: Airline.objects.create(carrier="X1", name="United Air Lines Inc."),
        "a NULL": lambda: new_flight(known, distance=None).save(),
    }
    for name, mistake in mistakes.items():
        try:
            with transaction.atomic():
                mistake()
        except IntegrityError as error:
            message = str(error).splitlines()[0]
            screen.check(f"{name}: IntegrityError: {message}", True)
        else:
            screen.check(f"{name} was accepted", False)
    screen.check("and nothing of them stayed", Flight.objects.count() == count and Airline.objects.count() == 16)


def new_flight(like, **changes):
    from flights.models import Flight

    values = {field.attname: getattr(like, field.attname) for field in Flight._meta.concrete_fields}
    values.update(id=None, flight=9_999, **changes)
    return Flight(**values)


# 5. The past


def travel(screen, loaded, limit):
    from django.db.models import Avg, Count
    from flights.models import Airport, Flight

    screen.heading(5, "time travel")
    now = Flight.objects.count()
    then, seconds = timed(lambda: Flight.objects.as_of(loaded).count())
    screen.line(f"Flight.objects.as_of({loaded:%H:%M:%S}).count(): {then:,}; now {now:,}", seconds)
    screen.check("all flights are there in the past", then == limit)
    skywest = (
        Flight.objects.as_of(loaded)
        .filter(carrier="OO")
        .values_list("dest__name")
        .annotate(n=Count("id"), late=Avg("arr_delay"))
        .order_by("-n")
    )
    rows, seconds = timed(lambda: list(skywest))
    screen.line("[bold]where SkyWest flew, before its flights were deleted", seconds)
    screen.table(["to", "flights", "mean delay"], rows[:3])
    before, seconds = timed(lambda: Flight.objects.as_of(loaded - datetime.timedelta(days=7)).count())
    screen.line(f"a week ago: {before} rows", seconds)

    found, seconds = timed(lambda: Flight.objects.snapshots())
    screen.line(f"[bold]Flight.objects.snapshots(): {len(found)}, newest first", seconds)
    screen.table(
        ["snapshot", "committed", "operation"],
        [(str(s.snapshot_id or "not yet published"), s.committed_at, s.operation) for s in found[:4]],
    )
    versions, seconds = timed(lambda: Airport.objects.get(pk="JFK").history())
    screen.line("[bold]Airport.objects.get(pk='JFK').history()", seconds)
    screen.table(["when", "operation", "name"], [(v.snapshot_timestamp, v.operation, v.name) for v in versions])
    screen.line(f"what changed: {versions[0].diff(versions[1])}")
    versions[1].restore()
    screen.check("and back again", Airport.objects.get(pk="JFK").name == "John F Kennedy Intl")


# 6. Schema changes under traffic


TRAFFIC_ROWS = 20


def traffic():
    """Another process, of release 1: reads and writes until its input closes, then prints what it did."""
    import random
    import threading

    from django.db.models import F
    from flights.models import Flight

    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    keys = list(
        Flight.objects.filter(arr_delay__isnull=False).order_by("pk").values_list("pk", flat=True)[:TRAFFIC_ROWS]
    )
    reads, writes, errors = [], [], []
    print("ready", flush=True)
    while not stop.is_set():
        key = random.choice(keys)
        try:
            changed, seconds = timed(lambda key=key: Flight.objects.filter(pk=key).update(arr_delay=F("arr_delay") + 1))
            writes.append(seconds)
            if changed != 1:
                errors.append(f"flight {key}: {changed} rows updated")
            _, seconds = timed(lambda key=key: Flight.objects.values_list("arr_delay").get(pk=key))
            reads.append(seconds)
        except Exception as error:  # noqa: BLE001 (told at the end)
            errors.append(f"{type(error).__name__}: {error}")
    print(json.dumps({"reads": reads, "writes": writes, "errors": errors}))


def migrate_under_traffic(screen):
    from django.core.management import call_command
    from django.db.models import Sum
    from flights.models import Flight

    screen.heading(6, "migrations, while a process of the old release reads and writes")

    def total():
        keys = Flight.objects.filter(arr_delay__isnull=False).order_by("pk").values_list("pk", flat=True)[:TRAFFIC_ROWS]
        return Flight.objects.filter(pk__in=list(keys)).aggregate(total=Sum("arr_delay"))["total"]

    before = total()
    env = {**os.environ, "FLIGHTS_RELEASE": "1"}
    command = [sys.executable, __file__, "--stage", "traffic"]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        if other.stdout.readline().strip() != "ready":
            screen.check("the other process started", False)
            return
        time.sleep(0.5)
        for name, text in [
            ("0002", "AddField: passengers, with a default, on every flight"),
            ("0003", "RenameField: distance → miles"),
            ("0004", "RemoveField: minute"),
        ]:
            _, seconds = timed(lambda name=name: call_command("migrate", "flights", name, verbosity=0))
            screen.line(f"{name} {text}", seconds)
            time.sleep(0.3)
        done = json.loads(other.communicate()[0].splitlines()[-1])
    reads, writes, errors = done["reads"], done["writes"], done["errors"]
    if not writes or not reads:
        screen.check(f"the other process wrote: {errors[:3]}", False)
        return
    screen.line(
        f"meanwhile: {len(writes):,} updates (median {clock(median(writes))}, longest {clock(max(writes))}), "
        f"{len(reads):,} reads (median {clock(median(reads))}, longest {clock(max(reads))})"
    )
    screen.check(f"no error in the old release {errors[:2] or ''}", not errors)
    screen.check("every acknowledged update is there", total() == before + len(writes))
    flight = Flight.objects.order_by("pk").first()
    screen.check(f"the default and the renamed column: {flight.passengers}, {flight.miles:,}", flight.passengers == 0)
    Flight.objects.filter(carrier="HA").update(passengers=250)


def median(values):
    return sorted(values)[len(values) // 2]


# 7. Polars


def analyse(screen):
    import polars as pl
    from flights.models import Flight

    screen.heading(7, "Polars")
    frame, seconds = timed(lambda: Flight.objects.values("carrier_id", "time_hour", "arr_delay", "miles").to_polars())
    screen.line(f"to_polars(): {frame.height:,} rows, {frame.estimated_size('mb'):,.1f} MB", seconds)
    late, seconds = timed(
        lambda: (
            frame.group_by("carrier_id")
            .agg(pl.len().alias("flights"), pl.col("arr_delay").mean(), pl.col("miles").sum())
            .sort("arr_delay", descending=True)
        )
    )
    screen.line("[bold]group_by", seconds)
    screen.table(late.columns, late.head(3).rows())
    monthly, seconds = timed(
        lambda: (
            frame.sort("time_hour")
            .group_by_dynamic("time_hour", every="1q")
            .agg(
                pl.len().alias("flights"),
                pl.col("arr_delay").quantile(0.9).alias("90% arrive within (minutes)"),
            )
        )
    )
    screen.line("[bold]group_by_dynamic", seconds)
    screen.table(monthly.columns, monthly.rows())
    lazy, seconds = timed(
        lambda: (
            Flight.objects.to_polars(lazy=True)
            .filter(pl.col("carrier_id") == "HA")
            .select(pl.col("passengers").sum(), pl.len().alias("flights"))
            .collect()
        )
    )
    screen.line(f"a LazyFrame reads only what it needs: {lazy.to_dicts()[0]}", seconds)


# 8. Other readers


def publish(screen):
    import readers
    from django.core.management import call_command
    from flights.models import Flight

    screen.heading(8, "other programs read the same tables")

    def manage(command):
        out = io.StringIO()
        _, seconds = timed(lambda: call_command(command, stdout=out))
        *told, last = out.getvalue().splitlines()
        screen.line(f"manage.py {command}: {last}", seconds)
        return told

    def files():
        data, deleted, old = readers.file_counts(Flight, "passengers")
        screen.line(
            f"Flight: files {data}, deletion vectors {deleted}, files from before the column 'passengers' {old}"
        )
        return data, deleted, old

    manage("iceberg_flush")
    gone, _ = Flight.objects.filter(carrier="F9").delete()
    manage("iceberg_flush")
    changed = Flight.objects.filter(carrier="AS").update(passengers=120)
    screen.line(f"{gone:,} flights deleted, {changed:,} updated")
    manage("iceberg_flush")
    data, deleted, old = files()
    screen.check("there are deletion vectors, and files from before the migrations", deleted > 0 and old > 0)
    compare(screen)
    told = manage("iceberg_compact")
    for line in told:
        screen.line(line)
    screen.check("Flight was compacted", any(line.startswith("flights_flight: ") for line in told))
    left, vectors, _ = files()
    screen.check("its files are fewer, without deletion vectors", left < data and vectors == 0)
    compare(screen)


def compare(screen):
    """Reads all tables with other programs and compares every value with the ORM's."""
    import readers
    from django.apps import apps

    models = list(apps.get_app_config("flights").get_models())
    for name, read in [("PyIceberg", readers.with_pyiceberg), ("DuckDB", readers.with_duckdb)]:
        results = []
        with screen.progress() as progress:
            for model in models:
                task = progress.add_task(model.__name__, total=model.objects.count())
                table, seconds = timed(lambda model=model, read=read: read(model))
                compared, different = readers.differences(
                    model, table, lambda rows, task=task: progress.advance(task, rows)
                )
                results.append((model, compared, different, seconds))
        for model, compared, different, seconds in results:
            text = f"{name} and the ORM agree on {compared:,} rows of {model.__name__} (read in {clock(seconds)})"
            if different:
                ours, theirs = different[0]
                text = f"{name} and the ORM differ in {len(different):,} rows of {model.__name__}: {ours} ≠ {theirs}"
            screen.check(text, not different)


# The two halves


def stage(name, limit):
    sys.path.insert(0, str(HERE))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nyc.settings")
    import django

    django.setup()
    if name == "traffic":
        traffic()
        return 0
    from django.utils import timezone

    screen = Screen()
    if name == "first":
        create_site(screen)
        load(screen, limit)
        loaded = timezone.now()
        ask(screen)
        write(screen)
        travel(screen, loaded, limit)
    else:
        migrate_under_traffic(screen)
        analyse(screen)
        publish(screen)
        screen.console.print()
        screen.console.print(
            "The site over these tables: [bold]python manage.py runserver[/], then log in as admin / admin."
        )
    return 1 if screen.failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=["first", "second", "traffic"], help=argparse.SUPPRESS)
    parser.add_argument("--flights", type=int, default=336_776, help="load only so many flights (default: all)")
    options = parser.parse_args()
    if options.stage:
        return stage(options.stage, options.flights)
    # What an earlier run of the demo left.
    shutil.rmtree(HERE / "data", ignore_errors=True)
    start = time.perf_counter()
    status = 0
    for name, release in [("first", "1"), ("second", "2")]:
        env = {**os.environ, "FLIGHTS_RELEASE": release}
        status |= subprocess.run(
            [sys.executable, __file__, "--stage", name, "--flights", str(options.flights)], env=env, check=False
        ).returncode
    print(f"\nThe demo took {time.perf_counter() - start:.0f} s." + (" Something FAILED." if status else ""))
    return status


if __name__ == "__main__":
    sys.exit(main())
