#!/usr/bin/env python3
"""Runs Django's own test suite on the Iceberg backend, each app in a process of its own.

    run.py                      the whole suite
    run.py basic queries        some apps (or labels, as basic.tests.ModelTest)
    run.py --core               the apps about databases
    run.py --mode cold          a flush after every commit and no memory for decoded columns: every read is cold
    run.py --mode engine        the fast path off: every statement goes to the engine
    run.py --backend sqlite     on another database; also postgresql, in a cluster of its own
    run.py --accept             and write down what this run gave as what is known (see results.py)

The tests are those of the running Django's source distribution, which pip downloads once. Each test is held
against what is known of it: it passes, or known-<Django>.txt has it with its reason. Ends with 1 if one fails or
skips, or, while the Django is the one of that file, is missing; tests that a newer Django brings may skip. Writes OUT/<label>.tsv (a line for each test), OUT/<label>.log, and into
OUT/all.tsv the last result of each test, of which report.py makes docs/django-suite.md.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import django
from results import (
    BAD,
    OTHERS,
    app_of,
    read_apps,
    read_known,
    read_others,
    read_run,
    series_of,
    write_known,
    write_others,
    write_run,
)

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SHOWN = 10  # failures of a label that are printed at once
MODES = ("normal", "cold", "engine")
# GeoDjango is refused by a system check; its tests need its libraries.
LEFT_OUT = {"gis_tests", "import_error_package", "test_runner_apps"}


def fetch_source(directory):
    """The unpacked source distribution of the Django that is running."""
    version = django.__version__
    source = directory / f"django-{version}"
    if not (source / "tests" / "runtests.py").exists():
        directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        with tempfile.TemporaryDirectory(dir=directory) as scratch:  # only a whole one gets its name
            subprocess.run([*command, "--dest", scratch, f"Django=={version}"], check=True)
            with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
                archive.extractall(scratch, filter="data")
            next(Path(scratch).glob("[dD]jango-*/")).rename(source)
    return source


def all_apps(source):
    """The apps of the suite that have tests."""
    for path in sorted((source / "tests").iterdir()):
        if path.name not in LEFT_OUT and (path / "__init__.py").exists() and any(path.rglob("test*.py")):
            yield path.name


def unprivileged():
    """A prefix that makes root obey file permissions, as some tests expect of whoever runs them."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return []
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    return prefix if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0 else []


# ---- a run ----

running = set()  # processes


def run_label(label, source, options, environment):
    """Runs an app or a label in a process of its own: (label, its tests, how it ended, seconds)."""
    path = options.out / f"{label}.tsv"
    path.unlink(missing_ok=True)
    command = [*unprivileged(), sys.executable, "runtests.py", "--settings=suite_settings", "--parallel=1", "--noinput"]
    start = time.monotonic()
    with open(options.out / f"{label}.log", "wb") as log:
        process = subprocess.Popen(
            [*command, label],
            cwd=source / "tests",
            env={**os.environ, **environment, "DJANGO_SUITE_TSV": str(path)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        running.add(process)
        try:
            code = process.wait(options.timeout)
        except subprocess.TimeoutExpired:
            code = None
            stop(process)
        running.discard(process)
    rows = read_run(path)
    if code is None:
        end = f"no end within {options.timeout} s"
    elif code < 0:
        end = signal.Signals(-code).name
    else:
        failed = any(row.outcome in BAD for row in rows.values())
        end = "" if code == failed else f"exit {code}"
    return label, rows, end, time.monotonic() - start


def stop(process):
    # SIGABRT first: the log then has the stack of every thread.
    process.send_signal(signal.SIGABRT)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def environment_of(options):
    env = {
        "DJANGO_SUITE_BACKEND": options.backend,
        "DJANGO_SUITE_MODE": options.mode,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        "PYTHONFAULTHANDLER": "1",
    }
    if options.backend != "postgresql":
        yield env
        return
    sys.path.append(str(ROOT / "bench"))
    import peers

    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
        os.chmod(directory, 0o755)  # the cluster belongs to another user
        with peers.cluster(Path(directory)) as cluster:
            yield {**env, "DJANGO_SUITE_POSTGRES": json.dumps(peers.postgres_settings(cluster))}


def run_all(labels, source, options):
    """All tests, what went wrong besides, and the seconds of each label."""
    rows, ends, seconds = {}, {}, {}
    _, known = read_known(series_of(django.__version__))
    with environment_of(options) as environment, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(run_label, label, source, options, environment) for label in labels]
        try:
            for future in concurrent.futures.as_completed(futures):
                label, found, end, took = future.result()
                rows.update(found)
                seconds[label] = took
                if end:
                    ends[label] = end
                print_label(label, found, end, took)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                os.killpg(process.pid, signal.SIGTERM)
            raise
        # Some tests that use no database ask for a speed that a busy machine has not: they get the machine to themselves.
        for _ in range(5):
            for test in [
                test for test, row in rows.items() if row.outcome in BAD and not row.database and test not in known
            ]:
                _, found, end, took = run_label(test, source, options, environment)
                print_label(f"again, alone: {test}", found, end, took)
                rows.update(found)
    return rows, ends, seconds


def print_label(label, rows, end, took):
    counts = collections.Counter(row.outcome for row in rows.values())
    shown = " ".join(f"{name}={n}" for name, n in counts.items())
    bad = [f"    {row.outcome}: {test}: {row.reason}" for test, row in rows.items() if row.outcome in BAD]
    more = [f"    and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    print("\n".join([f"{label:32} {shown} {took:.1f} s {end}", *bad[:SHOWN], *more]), flush=True)


# ---- what it means ----


def in_labels(test, labels):
    return any(test == label or test.startswith(label + ".") for label in labels)


def differences(rows, labels, series):
    """(regressions, improvements) as lines: what did not pass though it should; what passed though nobody expected it."""
    worse, better = [], []
    version, known = read_known(series)
    expected = set(read_others(series)["sqlite"])
    for test in sorted(expected | rows.keys()):
        if not in_labels(test, labels):
            continue
        row = rows.get(test)
        outcome = row.outcome if row else "missing"
        should, _ = known.get(test, ("ok", ""))
        if outcome in ("ok", should):
            if outcome != should:
                better.append(f"{test}: passes, known as {should}")
        # A newer Django may have dropped tests, and has new ones: those may skip.
        elif outcome in BAD or version == django.__version__ or (outcome != "missing" and test in expected):
            worse.append(f"{outcome}: {test}" + (f": {row.reason}" if row and row.reason else ""))
    return worse, better


def print_list(title, lines, limit):
    if not lines:
        return
    print(f"\n{title}")
    for line in lines[:limit]:
        print(f"  {line}")
    if len(lines) > limit:
        print(f"  and {len(lines) - limit} more")


def print_summary(rows, seconds, failed):
    """As unittest prints it."""
    counts = collections.Counter(row.outcome for row in rows.values())
    names = (("fail", "failures"), ("error", "errors"), ("skip", "skipped"), ("xfail", "expected failures"))
    names += (("xpass", "unexpected successes"),)
    shown = ", ".join(f"{name}={counts[outcome]}" for outcome, name in names if counts[outcome])
    print("-" * 70)
    print(f"Ran {len(rows)} tests in {seconds:.1f}s\n")
    print(("FAILED" if failed else "OK") + (f" ({shown})" if shown else ""))


def keep(options, rows, seconds):
    """The last result of each test, and with --accept what later runs are held against."""
    series = series_of(django.__version__)
    labels = list(seconds)
    path = options.out / "all.tsv"
    others = {test: row for test, row in read_run(path).items() if not in_labels(test, labels)}
    write_run(path, others | rows)
    path = options.out / "about.json"
    before = json.loads(path.read_text()) if path.exists() else {"seconds": {}}
    about = {
        "django": django.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "seconds": before["seconds"] | {label: round(took, 1) for label, took in seconds.items() if "." not in label},
    }
    path.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    if not options.accept:
        return
    if options.backend == "iceberg":
        before = read_known(series)[1]
        known = {test: head for test, head in before.items() if not in_labels(test, labels)}
        # A failure is written into the file by hand, with its reason.
        known.update(
            {
                test: before[test]
                for test, row in rows.items()
                if (row.outcome, before.get(test, ("",))[0]) == ("fail", "fail")
            }
        )
        known.update(
            {test: (row.outcome, row.reason) for test, row in rows.items() if row.outcome in ("skip", "xfail")}
        )
        write_known(series, django.__version__, known)
    else:
        others = read_others(series)
        kept = {test: outcome for test, outcome in others[options.backend].items() if not in_labels(test, labels)}
        others[options.backend] = kept | {test: row.outcome for test, row in rows.items()}
        write_others(series, others)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", nargs="*", help="apps or labels; none: the whole suite")
    parser.add_argument("--core", action="store_true", help="the apps about databases")
    parser.add_argument("--mode", choices=MODES, default="normal")
    parser.add_argument("--backend", choices=("iceberg", *OTHERS), default="iceberg")
    parser.add_argument("--accept", action="store_true", help="what this run gives is what is known from now on")
    parser.add_argument("--source", type=Path, help="unpacked source distribution of Django")
    parser.add_argument("--out", type=Path, help="directory for what is written")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="apps at a time")
    parser.add_argument("--timeout", type=int, default=1200, help="seconds an app may take")
    parser.add_argument("--limit", type=int, default=100, help="lines of a list that are printed")
    options = parser.parse_args()
    run = options.mode if options.backend == "iceberg" else options.backend
    series = series_of(django.__version__)
    options.out = (options.out or ROOT / "build" / f"django-{series}" / run).resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no process behind
    options = parse_args()
    series = series_of(django.__version__)
    source = (options.source or fetch_source(ROOT / "build" / "django-source")).resolve()
    apps = read_apps()
    every = list(all_apps(source))
    labels = options.labels or [app for app in every if not options.core or apps.get(app, (False, 0))[0]]
    # The longest first, so that the last ones do not run alone.
    labels.sort(key=lambda label: -apps.get(app_of(label), (False, 0))[1])
    print(
        f"Django {django.__version__}, Python {platform.python_version()}, {options.backend}, {options.mode}",
        flush=True,
    )
    start = time.monotonic()
    rows, ends, seconds = run_all(labels, source, options)
    wall = time.monotonic() - start
    keep(options, rows, seconds)
    if options.backend == "iceberg":
        worse, better = differences(rows, labels, series)
    else:
        worse, better = [f"{row.outcome}: {test}" for test, row in rows.items() if row.outcome in BAD], []
    worse += [f"{label}: {end}" for label, end in sorted(ends.items())]
    print_list("Better than known (run again with --accept):", better, options.limit)
    print_list("Worse than known:", worse, options.limit)
    print_summary(rows, wall, worse)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
