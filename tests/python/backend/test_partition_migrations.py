"""A table's partitions come and go by migrations, as `makemigrations` writes them: old files stay as they are, new ones
follow, and PyIceberg reads both."""

import datetime

import pytest
from django.conf import settings
from django.db import migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import MigrationWriter

from django_iceberg.indexes import Cluster, Partition

pytest.importorskip("pyiceberg")
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo

APP, TABLE = "iceapp", "iceapp_visit"
DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def visit(*indexes):
    return migrations.CreateModel(
        "Visit",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("tenant", models.IntegerField()),
            ("at", models.DateTimeField()),
            ("note", models.CharField(max_length=30)),
        ],
        options={"indexes": list(indexes)},
    )


def state_of(operation):
    state = ProjectState()
    operation.state_forwards(APP, state)
    return state


class Site:
    """A project whose models change: each change is detected, written as a file of migrations, read and applied."""

    def __init__(self, connection):
        self.connection = connection
        self.state = ProjectState()
        self.applied = []

    def become(self, *indexes):
        wanted = state_of(visit(*indexes))
        changes = MigrationAutodetector(self.state, wanted)._detect_changes()
        (migration,) = changes[APP]
        namespace = {}
        exec(compile(MigrationWriter(migration).as_string(), "migration", "exec"), namespace)  # noqa: S102
        self.run(namespace["Migration"]("000x", APP))
        return migration.operations

    def run(self, migration):
        migration.atomic, before = True, self.state.clone()
        with self.connection.schema_editor() as editor:
            self.state = migration.apply(self.state, editor)
        self.applied.append((migration, before))

    def undo(self):
        migration, before = self.applied.pop()
        with self.connection.schema_editor() as editor:
            migration.unapply(before.clone(), editor)
        self.state = before

    def model(self):
        return self.state.apps.get_model(APP, "Visit")

    def write(self, rows):
        self.model().objects.bulk_create(
            self.model()(tenant=i % 3, at=DAY + datetime.timedelta(hours=i % 48), note=f"note {i}") for i in range(rows)
        )
        self.connection.connection.flush()

    def compact(self):
        return self.connection.connection.compact(TABLE)


@pytest.fixture
def site(db):
    site = Site(db)
    yield site
    while site.applied:
        site.undo()


@pytest.fixture
def table(db):
    def load():
        return SqlCatalog("default", uri=f"sqlite:///{settings.BASE_DIR / 'catalog.db'}").load_table(("shop", TABLE))

    return load


def files(table, **values):
    """Of the current snapshot: all, or those that may have a row of these values; {path: specification's number}."""
    scan = table().scan(**({"row_filter": EqualTo(*next(iter(values.items())))} if values else {}))
    return {task.file.file_path: task.file.spec_id for task in scan.plan_files()}


def same_rows(site, table):
    ours = list(site.model().objects.order_by("id").values_list("id", "tenant", "at", "note"))
    theirs = table().scan().to_arrow().sort_by("id").to_pylist()
    assert [tuple(row[name] for name in ("id", "tenant", "at", "note")) for row in theirs] == ours
    assert site.connection.connection.check() == []


def spec(table):
    return [(field.name, str(field.transform)) for field in table().spec().fields]


def test_partitions_come_and_go(site, table):
    site.become()
    site.write(300)
    before = files(table)
    assert spec(table) == []

    (operation,) = site.become(Partition("tenant", name="visit_part"))
    assert isinstance(operation, migrations.AddIndex)
    site.write(30)
    assert spec(table) == [("tenant", "identity")]
    same_rows(site, table)
    site.compact()
    assert len(files(table)) == 3, "rows of a tenant in a file of its own"
    assert len(files(table, tenant=1)) == 1
    placed = files(table)
    assert not placed.keys() & before.keys()
    same_rows(site, table)

    removed, added = site.become(Partition("at", transform="day", name="visit_day"))
    assert isinstance(removed, migrations.RemoveIndex)
    assert isinstance(added, migrations.AddIndex)
    assert files(table) == placed, "what is there stays as it is"
    site.write(30)
    assert spec(table) == [("at_day", "day")]
    assert placed.items() <= files(table).items(), "under the spec it was written by"
    same_rows(site, table)
    site.model().objects.filter(tenant=2, id__lte=100).delete()
    site.connection.connection.flush()
    same_rows(site, table)
    site.compact()
    assert len(files(table)) == 2, "two days"
    assert not set(files(table).values()) & set(placed.values())
    same_rows(site, table)

    site.undo()
    site.write(3)
    assert spec(table) == [("tenant", "identity")], "backwards too"
    same_rows(site, table)
    site.become()
    site.write(3)
    assert spec(table) == []
    same_rows(site, table)


def test_a_cluster_is_an_order_only(site, table):
    site.become()
    site.write(40)
    (operation,) = site.become(Cluster("note", name="visit_clus"))
    assert isinstance(operation, migrations.AddIndex)
    site.write(40)
    assert spec(table) == []
    same_rows(site, table)


def test_what_cannot_be_a_partition_changes_nothing(site, table):
    from django.db import NotSupportedError

    site.become(Partition("tenant", name="visit_part"))
    site.write(30)
    with pytest.raises(NotSupportedError, match="day"):
        site.become(Partition("tenant", name="visit_part"), Partition("note", transform="day", name="visit_wrong"))
    site.write(3)
    assert spec(table) == [("tenant", "identity")]
    same_rows(site, table)
