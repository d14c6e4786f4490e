#!/usr/bin/env python3
"""Runs Django's own test suite on the Iceberg backend, each app in a process of its own.

    run.py                      all apps with database tests
    run.py basic queries        some apps (or labels, as basic.tests.ModelTest)
    run.py --sqlite --counts    on SQLite, and write the counts to compare with

The tests are those of the installed Django's source distribution, which pip downloads once. Writes
OUT/report.tsv, OUT/report.md and, for each app, OUT/<app>.tsv (one line for each test) and OUT/<app>.log.
Ends with 1 if more tests of an app failed than on SQLite (those that count on not being root, say), or an app
did not finish.
"""

import argparse
import collections
import concurrent.futures
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import django

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SQLITE = "django.db.backends.sqlite3"
ICEBERG = "django_iceberg.backend"
COUNTS = HERE / "sqlite.tsv"
OUTCOMES = ("ok", "skip", "xfail", "xpass", "fail", "error")


def fetch_source(directory):
    """The unpacked source distribution of the Django that is installed."""
    version = django.__version__
    source = directory / f"django-{version}"
    if not (source / "tests" / "runtests.py").exists():
        directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--dest", str(directory), f"Django=={version}"], check=True)
        with tarfile.open(next(directory.glob(f"[dD]jango-{version}.tar.gz"))) as archive:
            archive.extractall(directory, filter="data")
    return source


def read_counts():
    """SQLite's figures: {app: {"tests": …, "ok": …, "seconds": …}}."""
    if not COUNTS.exists():
        return {}
    head, *lines = COUNTS.read_text().splitlines()
    names = head.split("\t")[1:]
    rows = (line.split("\t") for line in lines)
    return {app: dict(zip(names, map(float, values), strict=True)) for app, *values in rows}


def run_app(label, source, out, options):
    """Runs one app; its row of the report."""
    app = label.split(".")[0]
    env = dict(
        os.environ,
        DJANGO_SUITE_ENGINE=SQLITE if options.sqlite else ICEBERG,
        DJANGO_SUITE_OPTIONS=options.options,
        DJANGO_SUITE_TSV=str(out / f"{app}.tsv"),
        PYTHONPATH=os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        PYTHONFAULTHANDLER="1",
    )
    (out / f"{app}.tsv").unlink(missing_ok=True)
    command = [sys.executable, "runtests.py", "--settings=suite_settings", "--parallel=1", "--noinput", label]
    start = time.monotonic()
    with open(out / f"{app}.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=source / "tests", env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(options.timeout)
        except subprocess.TimeoutExpired:
            # SIGABRT first: the log then has the stack of every thread.
            process.send_signal(signal.SIGABRT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            code = None
    return summary(app, code, time.monotonic() - start, out)


def summary(app, code, seconds, out):
    counts = collections.Counter()
    bad = []
    path = out / f"{app}.tsv"
    for line in path.read_text().splitlines() if path.exists() else ():
        test, outcome, _ = line.split("\t")
        counts[outcome] += 1
        if outcome in ("fail", "error", "xpass"):
            bad.append((outcome, test))
    if code is None:
        end = "timeout"
    elif code < 0:
        end = signal.Signals(-code).name
    else:
        end = "done" if counts else f"exit {code}"
    return {"app": app, "end": end, "seconds": seconds, "tests": counts.total(), "bad": bad, **counts}


def write_report(rows, counts, out):
    lines = ["\t".join(("app", "end", "tests", *OUTCOMES, "seconds"))]
    table = [
        "| app | tests | passed | SQLite | skipped | SQLite | failed | seconds | SQLite | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    total = collections.Counter()
    for row in sorted(rows, key=lambda r: r["app"]):
        base = counts.get(row["app"], {})
        values = [row.get(name, 0) for name in OUTCOMES]
        lines.append("\t".join(map(str, (row["app"], row["end"], row["tests"], *values, f"{row['seconds']:.1f}"))))
        cells = collections.Counter(
            {name: row.get(name, 0) for name in ("tests", "ok", "skip", "seconds")},
            failed=len(row["bad"]),
            base_ok=base.get("ok", 0),
            base_skip=base.get("skip", 0),
            base_seconds=base.get("seconds", 0),
        )
        total.update(cells)
        table.append(markdown_row(row["app"], cells, "" if row["end"] == "done" else row["end"]))
    table.append(markdown_row("all", total, ""))
    bad = [f"- {outcome}: `{test}`" for row in rows for outcome, test in sorted(row["bad"])]
    (out / "report.tsv").write_text("\n".join(lines) + "\n")
    title = f"Django {django.__version__}'s own test suite\n"
    (out / "report.md").write_text("\n".join([title, *table, *(["", "Failed:", "", *bad] if bad else [])]) + "\n")
    return total


def worse_than(base, row):
    return len(row["bad"]) > base.get("fail", 0) + base.get("error", 0)


def markdown_row(app, cells, note):
    names = ("tests", "ok", "base_ok", "skip", "base_skip", "failed")
    figures = [f"{int(cells[name])}" for name in names]
    return f"| {app} | {' | '.join(figures)} | {cells['seconds']:.1f} | {cells['base_seconds']:.1f} | {note} |"


def write_counts(rows):
    names = ("tests", "ok", "skip", "xfail", "fail", "error")
    lines = ["\t".join(("app", *names, "seconds"))]
    for row in sorted(rows, key=lambda r: r["app"]):
        lines.append("\t".join([row["app"], *(str(row.get(n, 0)) for n in names), f"{row['seconds']:.1f}"]))
    COUNTS.write_text("\n".join(lines) + "\n")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", nargs="*", help="apps or labels; none: every app with database tests")
    parser.add_argument("--sqlite", action="store_true", help="run on SQLite instead")
    parser.add_argument("--counts", action="store_true", help="write the figures to sqlite.tsv")
    parser.add_argument("--options", default="", help='OPTIONS of the databases as JSON: {"flush.interval-ms": 20}')
    parser.add_argument("--source", type=Path, help="unpacked source distribution of Django")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "django-suite", help="directory of the report")
    parser.add_argument("--jobs", type=int, default=2, help="apps at a time")
    parser.add_argument("--timeout", type=int, default=600, help="seconds an app may take")
    return parser.parse_args()


def main():
    options = parse_args()
    counts = read_counts()
    source = (options.source or fetch_source(options.out.parent / "django-source")).resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out.resolve()
    # The longest first, so that the last ones do not run alone.
    labels = options.labels or sorted(counts, key=lambda app: -counts[app]["seconds"])
    rows = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for future in concurrent.futures.as_completed(
            [pool.submit(run_app, label, source, out, options) for label in labels]
        ):
            row = future.result()
            rows.append(row)
            shown = " ".join(f"{name}={row[name]}" for name in OUTCOMES if row.get(name))
            print(f"{row['app']:32} {row['end']:8} {shown} {row['seconds']:.1f} s", flush=True)
    total = write_report(rows, counts, out)
    if options.counts:
        write_counts(rows)
    unfinished = [row["app"] for row in rows if row["end"] != "done"]
    print(f"{total['tests']} tests, {total['ok']} passed, {total['skip']} skipped, {total['failed']} failed")
    if unfinished:
        print(f"did not finish: {', '.join(sorted(unfinished))}")
    return 1 if unfinished or any(worse_than(counts.get(row["app"], {}), row) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
