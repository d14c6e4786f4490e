"""The public API is typed: a type checker knows its answers, and finds its misuse, in a project of a user."""

import re
import subprocess
import sys
import textwrap

import pytest

GOOD = """
    import datetime
    from django.db import models
    from django_iceberg import conf
    from django_iceberg.indexes import Cluster, Partition
    from django_iceberg.polars import to_polars
    from polars_iceberg import timetravel
    from polars_iceberg.timetravel import Snapshot, TimeTravelMixin, TimeTravelQuerySet

    class Invoice(TimeTravelMixin, models.Model):
        total = models.IntegerField()

        class Meta:
            indexes = [Partition("total", transform="bucket[4]"), Cluster("total", name="c")]

    def use(invoice: Invoice, rows: TimeTravelQuerySet, monday: datetime.datetime) -> None:
        reveal_type(timetravel.now())
        reveal_type(timetravel.snapshots(Invoice)[0].snapshot_id)
        reveal_type(rows.as_of(monday).changes(since=monday)[0].timestamp)
        reveal_type(invoice.history())
        reveal_type(invoice.restore())
        reveal_type(invoice.is_past)
        reveal_type(invoice.diff(invoice))
        reveal_type(rows.to_polars())
        reveal_type(rows.to_polars(lazy=True))
        reveal_type(conf.duckdb_library())
        with timetravel.as_of(commit_time=timetravel.to_commit_time(monday)) as block:
            reveal_type(block)
"""
REVEALED = [
    "int", "int | None", "datetime.datetime", "list[project.Invoice]", "project.Invoice", "bool", "dict[str, tuple[Any, Any]]",
    "polars.dataframe.frame.DataFrame", "polars.lazyframe.frame.LazyFrame", "str", "django_iceberg.timetravel.as_of",
]  # fmt: skip
MISUSES = {
    "timetravel.now(using=1)": "arg-type",
    'timetravel.as_of("yesterday")': "arg-type",
    "timetravel.to_datetime(monday)": "arg-type",
    "invoice.diff(5)": "arg-type",
    "invoice.history().pk": "attr-defined",
    'Partition(5, transform="day")': "arg-type",
    "rows.to_polars(lasy=True)": "call-overload",
    "timetravel.nothing()": "attr-defined",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What mypy says of the project: uses first, then misuses."""
    folder = tmp_path_factory.mktemp("project")
    misuses = "".join(f"        {misuse}\n" for misuse in MISUSES)
    (folder / "project.py").write_text(textwrap.dedent(GOOD + misuses))
    untyped = "".join(f"[mypy-{package}.*]\nignore_missing_imports = true\n" for package in ("django", "pyarrow"))
    (folder / "mypy.ini").write_text(f"[mypy]\n{untyped}")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--allow-subclassing-any",
        "--allow-any-generics",
        "project.py",
    ]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True).stdout


def test_answers_have_types(said):
    revealed = [re.sub(r"builtins\.|\?|\*", "", text) for text in re.findall(r'Revealed type is "(.*)"', said)]
    assert revealed == REVEALED, said


def test_misuse_is_found_and_use_is_not(said):
    assert re.findall(r": error: .*\[([\w-]+)\]", said) == list(MISUSES.values()), said
