#!/usr/bin/env python3
"""Writes docs/django-suite.md from the last runs: build/django-<Django>/<mode>/ of run.py."""

import collections
import json
import re
import sys
from pathlib import Path

from results import BAD, OTHERS, Row, app_of, read_known, read_others, read_run

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "django-suite.md"
SERIES = ("5.2", "6")
MODES = {
    "normal": "as users have it",
    "cold": "a flush after every commit, no memory for decoded columns: every read is cold",
    "engine": "the fast path off: every statement goes to the query engine",
}
LACKS = "Database doesn't support feature(s): "
HAS = "Database has feature(s) "
# Why a feature that a test asks for is not there. What is not listed is said by its name.
WHY = {
    "allows_group_by_selected_pks": "the engine wants each selected column in GROUP BY; the key alone, with ANY_VALUE of the others, is no faster",
    "can_introspect_materialized_views": "there are no materialized views",
    "create_test_procedure_with_int_param_sql": "there are no stored procedures",
    "create_test_procedure_without_params_sql": "there are no stored procedures",
    "has_json_operators": "keys are functions here, not PostgreSQL's operators",
    "ignores_table_name_case": "names keep their case",
    "only_supports_unbounded_with_preceding_and_following": "the engine has the frames that PostgreSQL lacks",
    "supports_no_precision_decimalfield": "an Iceberg decimal has a precision",
    "supports_non_deterministic_collations": "no collation of the engine is declared as non-deterministic",
    "supports_tablespaces": "there are no tablespaces",
    "supports_uuid7_function_shift": "the engine's UUIDV7() is of now",
}
VENDORS = re.compile(r"postgres|psycopg|mysql|mariadb|oracle|sqlite", re.IGNORECASE)


class Run:
    def __init__(self, series, mode):
        directory = ROOT / "build" / f"django-{series}" / mode
        self.series, self.mode = series, mode
        self.rows = read_run(directory / "all.tsv")
        path = directory / "about.json"
        self.about = json.loads(path.read_text()) if path.exists() else None
        self.counts = collections.Counter(row.outcome for row in self.rows.values())
        self.bad = sorted(test for test, row in self.rows.items() if row.outcome in BAD)

    @property
    def name(self):
        return f"Django {self.about['django']}"


def explained(reason):
    """A skip's reason, and for a feature that is not there: why."""
    if not reason.startswith(LACKS):
        return reason
    features = reason.removeprefix(LACKS).split(", ")
    return f"no {', '.join(f'`{f}`' for f in features)}" + "".join(
        f": {why}" for why in dict.fromkeys(WHY[f] for f in features if f in WHY)
    )


def kind_of(reason):
    if reason.startswith(LACKS):
        return "A feature this database has not"
    if reason.startswith(HAS):
        return "For databases without a feature that this one has"
    if VENDORS.search(reason):
        return "Another database's own"
    return "Not a matter of the database, or the reason is in `DatabaseFeatures.django_test_skips`"


def runs_table(runs):
    yield "| Django | Python | mode | tests | passed | skipped | expected failures | failed | date |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for run in runs:
        bad = len(run.bad)
        yield (
            f"| {run.about['django']} | {run.about['python']} | {run.mode} | {len(run.rows)} | {run.counts['ok']}"
            f" | {run.counts['skip']} | {run.counts['xfail']} | {bad} | {run.about['date']} |"
        )


def same_results(runs):
    """Whether the modes of a Django give the same, test by test."""
    normal = {run.series: run for run in runs if run.mode == "normal"}
    for run in runs:
        if run.mode == "normal" or run.series not in normal:
            continue
        base = normal[run.series].rows
        differ = [test for test, row in run.rows.items() if row.outcome != base.get(test, row).outcome]
        if differ:
            yield (
                f"{run.name}, {run.mode}, differs from the normal run in "
                + ", ".join(f"`{test}`" for test in differ)
                + "."
            )
        else:
            yield f"{run.name}, {run.mode}: the {len(run.rows)} tests give what they give in the normal run."


def beside(run):
    """What passes on other databases and skips here."""
    others = read_others(run.series)
    for name, title in zip(OTHERS, ("SQLite", "PostgreSQL 15"), strict=True):
        passing = {test for test, outcome in others[name].items() if outcome == "ok" and test in run.rows}
        if not passing:
            continue
        here = sum(run.rows[test].outcome == "ok" for test in passing)
        yield f"- Of {len(passing)} tests that pass on {title}, {here} pass here and {len(passing) - here} skip."


def by_class(tests):
    """`module.Class`: names; one line for each class."""
    classes = collections.defaultdict(list)
    for test in sorted(tests):
        name, _, method = test.rpartition(".")
        classes[name].append(method)
    for name, methods in classes.items():
        yield f"  - `{name}`: {', '.join(methods)}"


def postgres_list(run):
    postgres = read_others(run.series)["postgresql"]
    groups = collections.defaultdict(list)
    for test, outcome in postgres.items():
        row = run.rows.get(test, Row("skip", 0, True, "not run"))
        if outcome == "ok" and row.outcome == "skip" and app_of(test) not in ("postgres_tests", "gis_tests"):
            groups[row.reason].append(test)
    for reason, tests in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        yield f"- {explained(reason)} ({len(tests)})"
        yield from by_class(tests)


def skips_tables(run):
    kinds = collections.defaultdict(collections.Counter)
    for row in run.rows.values():
        if row.outcome == "skip":
            kinds[kind_of(row.reason)][row.reason] += 1
    for kind in sorted(kinds):
        yield from (f"{kind}: {sum(kinds[kind].values())}", "", "| tests | reason |", "|---|---|")
        for reason, n in sorted(kinds[kind].items(), key=lambda item: (-item[1], item[0])):
            yield f"| {n} | {explained(reason).replace('|', chr(92) + '|')} |"
        yield ""


def apps_table(runs):
    """The normal runs, app by app, beside SQLite."""
    head = "".join(f" {run.about['django']}: tests | passed | SQLite | skipped | seconds |" for run in runs)
    yield "| app |" + head
    yield "|---|" + "---|" * (5 * len(runs))
    columns = []
    for run in runs:
        counts = collections.defaultdict(collections.Counter)
        for test, row in run.rows.items():
            counts[app_of(test)][row.outcome] += 1
        sqlite = collections.Counter(
            app_of(t) for t, outcome in read_others(run.series)["sqlite"].items() if outcome == "ok"
        )
        columns.append((counts, sqlite, run.about["seconds"]))
    for app in sorted({app for counts, _, _ in columns for app in counts}):
        cells = []
        for counts, sqlite, seconds in columns:
            if app in counts:
                c = counts[app]
                took = f"{seconds[app]:.0f}" if app in seconds else ""
                cells += [str(c.total()), str(c["ok"]), str(sqlite[app]), str(c["skip"]), took]
            else:
                cells += [""] * 5
        yield f"| {app} | {' | '.join(cells)} |"


def document(runs):
    normal = [run for run in runs if run.mode == "normal"]
    yield "# Django's own test suite"
    yield ""
    yield "Written by `tests/django/report.py` from the last runs of `make test-django`: stock Django, no test body replaced, each app in a"
    yield "process of its own, with `default` and `other` on this backend. GeoDjango's tests are left out: a system check refuses its fields."
    yield "What is known of each test is in `tests/django/known-5.2.txt` and `known-6.txt`; `.ci/run` fails when one gives less. A test that uses"
    yield "no database and fails, as one of speed does on a busy machine, runs again alone, at most five times."
    yield ""
    yield from runs_table(runs)
    yield ""
    yield from (f"- {mode}: {text}" for mode, text in MODES.items())
    yield ""
    yield from same_results(runs)
    for run in runs:
        if run.bad:
            yield from ("", f"Failed, {run.name}, {run.mode}:", "")
            _, known = read_known(run.series)
            yield from (f"- `{test}`: {known.get(test, ('', run.rows[test].reason))[1]}" for test in run.bad)
    for run in normal:
        yield from ("", f"## {run.name} beside SQLite and PostgreSQL", "")
        yield from beside(run)
        yield from ("", "What PostgreSQL runs and this backend skips:", "")
        yield from postgres_list(run)
        yield from ("", f"## Every skip of {run.name}, by reason", "")
        yield from skips_tables(run)
    yield from (
        "## By app",
        "",
        "Seconds are those of a process with its start and its test databases, on a machine that did other things too.",
        "",
    )
    yield from apps_table(normal)


def main():
    runs = [run for series in SERIES for mode in MODES if (run := Run(series, mode)).about]
    if not runs:
        sys.exit("no run to report: make test-django")
    DOCUMENT.write_text("\n".join(document(runs)) + "\n")
    print(f"{DOCUMENT.relative_to(ROOT)}: {len(runs)} runs")


if __name__ == "__main__":
    main()
