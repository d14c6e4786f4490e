"""Outcomes of tests as files: what a run recorded, what other databases say, what is known of ours."""

import collections
import gzip
import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
# From good to bad.
OUTCOMES = ("ok", "skip", "xfail", "xpass", "fail", "error")
BAD = ("xpass", "fail", "error")


class Row(NamedTuple):
    outcome: str
    seconds: float
    database: bool  # whether its class may use one
    reason: str


def stable(test):
    """A test's id without the addresses of objects that some have."""
    return re.sub(r"\b0x[0-9a-f]+", "0x", test)


def app_of(test):
    return test.partition(".")[0]


def series_of(version):
    """5.2 or 6: the name by which environments and data files know a Django."""
    major, minor, *_ = version.split(".")
    return f"{major}.{minor}" if major == "5" else major


def read_run(path):
    """{test: Row} of a file the recorder wrote; the worst of a test that ran twice."""
    rows = {}
    if not path.exists():
        return rows
    for line in path.read_text().splitlines():
        test, outcome, seconds, database, reason = line.split("\t")
        test = stable(test)
        old = rows.get(test)
        if old is None or OUTCOMES.index(outcome) > OUTCOMES.index(old.outcome):
            rows[test] = Row(outcome, float(seconds), database == "1", reason)
    return rows


def write_run(path, rows):
    lines = [
        f"{test}\t{row.outcome}\t{row.seconds:.4f}\t{row.database:d}\t{row.reason}\n"
        for test, row in sorted(rows.items())
    ]
    path.write_text("".join(lines))


# ---- other databases: <series>.tsv.gz has each test and its outcome on each of them ----

OTHERS = ("sqlite", "postgresql")


def others_path(series):
    return HERE / f"others-{series}.tsv.gz"


def read_others(series):
    """{"sqlite": {test: outcome}, "postgresql": …}"""
    others = {name: {} for name in OTHERS}
    if others_path(series).exists():
        for line in gzip.decompress(others_path(series).read_bytes()).decode().splitlines():
            test, *outcomes = line.split("\t")
            for name, outcome in zip(OTHERS, outcomes, strict=True):
                if outcome != "-":
                    others[name][test] = outcome
    return others


def write_others(series, others):
    tests = sorted(set().union(*others.values()))
    lines = ["\t".join([test, *(others[name].get(test, "-") for name in OTHERS)]) + "\n" for test in tests]
    others_path(series).write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))


# ---- ours: known-<series>.txt has the Django it is of, and each test that does not pass, under its reason ----


def known_path(series):
    return HERE / f"known-{series}.txt"


def read_known(series):
    """The version of Django, and {test: (outcome, reason)} of the tests that are known not to pass."""
    known = {}
    head = version = None
    if known_path(series).exists():
        for line in known_path(series).read_text().splitlines():
            if line.startswith("Django "):
                version = line.removeprefix("Django ")
            elif line.startswith("["):
                outcome, _, reason = line[1:].partition("] ")
                head = (outcome, reason)
            elif line:
                known[line] = head
    return version, known


def write_known(series, version, known):
    groups = collections.defaultdict(list)
    for test, head in known.items():
        groups[head].append(test)
    parts = [
        "\n".join([f"[{outcome}] {reason}", *sorted(groups[outcome, reason])]) for outcome, reason in sorted(groups)
    ]
    known_path(series).write_text("\n\n".join([f"Django {version}", *parts]) + "\n")


# ---- apps.tsv: each app, whether it is one of those that matter most, SQLite's seconds ----


def read_apps():
    """{app: (core, seconds)}"""
    apps = {}
    for line in (HERE / "apps.tsv").read_text().splitlines()[1:]:
        app, core, seconds = line.split("\t")
        apps[app] = (core == "1", float(seconds))
    return apps


def write_apps(apps):
    lines = [f"{app}\t{int(core)}\t{seconds:.1f}\n" for app, (core, seconds) in sorted(apps.items())]
    (HERE / "apps.tsv").write_text("app\tcore\tsqlite_seconds\n" + "".join(lines))
