"""The past in other engines, by the SQL that docs/iceberg-layout.md has, while migrations change the table."""

import datetime
import pathlib
import re

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, migrations, models
from django.db.migrations.state import ProjectState

from polars_iceberg import timetravel

duckdb = pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")
pyiceberg_sql = pytest.importorskip("pyiceberg.catalog.sql")

DOCUMENTED = re.search(
    r"## Past states in SQL.*?```sql\n(.*?)```",
    (pathlib.Path(__file__).parents[3] / "docs" / "iceberg-layout.md").read_text(),
    re.DOTALL,
)[1]


@pytest.fixture
def project(db):
    state = ProjectState()

    def migrate(*operations):
        """Applies operations to the app `notes` and gives the model."""
        nonlocal state
        for operation in operations:
            before, state = state, state.clone()
            operation.state_forwards("notes", state)
            with connection.schema_editor() as editor:
                operation.database_forwards("notes", editor, before, state)
        return state.apps.get_model("notes", "Note") if ("notes", "note") in state.models else None

    yield migrate
    migrate(migrations.DeleteModel("Note"))


def published(name):
    base = settings.BASE_DIR
    catalog = pyiceberg_sql.SqlCatalog(
        "default", uri=f"sqlite:///{base}/catalog.db", warehouse=f"file://{base}/warehouse"
    )
    return catalog.load_table(f"shop.{name}").scan().to_arrow()


def past_elsewhere(columns, instant):
    """Rows as of an instant by the documented SQL, in DuckDB over what PyIceberg reads."""
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        duck.register("note", published("notes_note"))
        duck.register("note__history", published("notes_note__history"))
        sql = DOCUMENTED.replace("shop.shop_invoice", "note").replace("id, number, paid", ", ".join(columns))
        moment = datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=instant)
        return sorted(duck.execute(sql.replace(":t", f"TIMESTAMPTZ '{moment.isoformat()}'")).fetchall(), key=repr)


def test_the_documented_sql_after_migrations(project):
    Note = project(
        migrations.CreateModel(
            "Note",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("title", models.CharField(max_length=20)),
                ("stars", models.IntegerField(default=0)),
            ],
        )
    )
    Note.objects.create(title="one")
    Note.objects.create(title="two", stars=2)
    instants = [timetravel.now()]
    Note.objects.filter(title="one").update(stars=1)
    instants.append(timetravel.now())
    call_command("iceberg_flush", verbosity=0)
    steps = (
        migrations.RenameField("Note", "stars", "rating"),
        migrations.AddField("Note", "author", models.CharField(max_length=20, default="nobody")),
        migrations.RemoveField("Note", "rating"),
        migrations.AddField("Note", "rating", models.TextField(null=True)),
    )
    for operation in steps:
        Note = project(operation)
        # No row of the table ends between the migration and the flush.
        call_command("iceberg_flush", verbosity=0)
        columns = [field.column for field in Note._meta.concrete_fields]
        for instant in instants:
            ours = timetravel.at(Note, commit_time=instant).values_list(*columns)
            assert past_elsewhere(columns, instant) == sorted(ours, key=repr)
            assert len(ours) == 2
    Note.objects.all().delete()
    call_command("iceberg_flush", verbosity=0)
    assert past_elsewhere(columns, instants[0]) == sorted(
        timetravel.at(Note, commit_time=instants[0]).values_list(*columns), key=repr
    )
