"""The management commands."""

import io
import json
import re

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from iceapp.models import Special, Tag


def run(*args, **kwargs):
    out = io.StringIO()
    call_command(*args, stdout=out, **kwargs)
    return out.getvalue()


def test_status(db):
    Tag.objects.create(name="a")
    assert run("iceberg_status")
    assert json.loads(run("iceberg_status", "--json"))


def test_flush_compact_and_check(db):
    Tag.objects.create(name="a")
    assert "published" in run("iceberg_flush")
    assert run("iceberg_compact") == "0 tables compacted.\n"
    assert "No problems" in run("iceberg_check")
    assert Tag.objects.get().name == "a"


def test_a_flush_that_fails_names_the_database(db):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE raw_child (tag bigint REFERENCES iceapp_tag (id))")
    try:
        Tag.objects.create(pk=1, name="a")
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO raw_child VALUES (1)")
        with pytest.raises(CommandError, match="^Database warehouse couldn't be flushed"):
            call_command("flush", interactive=False, verbosity=0)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE raw_child")


def test_compact(db):
    # More than a row group: flushes add to it.
    table = Tag._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} (id, name) SELECT i, 'tag ' || i FROM range(1, 50001) AS r(i)")
    run("iceberg_flush")
    Tag.objects.filter(pk__lte=2).delete()
    Tag.objects.filter(pk=3).update(name="three")
    run("iceberg_flush")
    said = run("iceberg_compact", table, "--delete-ratio", "0.5")
    pattern = rf"{table}: 2 files → 1; 2 with 1 deletion vector rewritten as 1, 49,998 rows, ([\d,]+) → ([\d,]+) bytes"
    # What other tests left of the history may be merged, too.
    found = re.fullmatch(rf"{pattern}\n({table}__history: .*\n)?[12] tables? compacted.\n", said)
    assert found, said
    newest = connection.connection.snapshots(table)[0]
    assert newest["operation"] == "replace"
    assert newest["summary"]["total-files-size"] == found[2].replace(",", "")
    assert run("iceberg_compact", table) == "0 tables compacted.\n"
    assert Tag.objects.count() == 49_998
    assert Tag.objects.get(pk=3).name == "three"
    with pytest.raises(CommandError, match="delete-ratio"):
        call_command("iceberg_compact", "--delete-ratio", "2")


def test_expire(db):
    Tag.objects.create(name="a")
    Tag.objects.update(name="b")
    assert "0 tables" in run("iceberg_expire")
    assert "expired" in run("iceberg_expire", "--keep", "90d")
    with pytest.raises(CommandError, match="ISO 8601"):
        run("iceberg_expire", "--before", "soon")


def test_remove_orphans(db):
    for name in "abc":
        Special.published.create(name=name)
        run("iceberg_flush")
    before = json.loads(run("iceberg_status", "--json"))["disk"]
    assert before["data"]["files"] >= 3
    connection.connection.expire(connection.connection.now(), table=Special._meta.db_table)
    said = run("iceberg_remove_orphans", "--dry-run", "--older-than", "0")
    assert re.search(r"Would delete \d+ files, [\d,]+ bytes", said)
    assert "0 files" in run("iceberg_remove_orphans").splitlines()[0]
    orphans = json.loads(run("iceberg_status", "--json"))["disk"]["orphans"]
    assert orphans["files"] > 0
    said = run("iceberg_remove_orphans", "--older-than", "0", verbosity=2)
    assert re.search(r"data +\d+ files +[\d,]+ bytes", said)
    assert "removed 100%" in said
    after = json.loads(run("iceberg_status", "--json"))["disk"]
    assert after["orphans"] == {"files": 0, "bytes": 0}
    assert after["data"]["files"] < before["data"]["files"]
    assert after["last_collection"]["files"] >= orphans["files"]
    assert Special.published.count() == 3
    with pytest.raises(ImproperlyConfigured, match="duration"):
        run("iceberg_remove_orphans", "--older-than", "soon")


def test_wrong_names(db):
    with pytest.raises(CommandError, match="no table 'nothing'"):
        run("iceberg_flush", "nothing")
    with pytest.raises(CommandError, match="no database"):
        run("iceberg_status", "--database", "nowhere")
    with pytest.raises(CommandError, match="SQLite"):
        run("iceberg_status", "--database", "elsewhere")


def test_checks_and_nothing_to_migrate(db):
    run("check", "--database", "default")
    assert "No changes detected" in run("makemigrations", "--check", "--dry-run", "contenttypes", "auth")
