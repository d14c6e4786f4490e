"""Views through Django: made by RunSQL, read by unmanaged models, seen by introspection."""

import io

import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection, migrations, models
from django.db.migrations.state import ProjectState
from django.test.utils import isolate_apps
from iceapp.models import Author

pytestmark = pytest.mark.usefixtures("db")

VIEW = migrations.RunSQL(
    "CREATE VIEW author_names AS SELECT id, upper(name) AS name, name LIKE '%b' AS b FROM iceapp_author",
    "DROP VIEW author_names",
)


@pytest.fixture
def view():
    with connection.schema_editor(atomic=True) as editor:
        VIEW.database_forwards("iceapp", editor, ProjectState(), ProjectState())
    yield
    with connection.schema_editor(atomic=True) as editor:
        VIEW.database_backwards("iceapp", editor, ProjectState(), ProjectState())
    assert "author_names" not in connection.introspection.table_names(include_views=True)


@isolate_apps("iceapp")
def test_an_unmanaged_model(view):
    class Name(models.Model):
        author = models.OneToOneField(Author, models.DO_NOTHING, primary_key=True, db_column="id")
        name = models.TextField()
        b = models.BooleanField()

        class Meta:
            app_label = "iceapp"
            managed = False
            db_table = "author_names"

    for name in ("ab", "cd"):
        Author.objects.create(name=name)
    assert list(Name.objects.order_by("name").values_list("name", "b")) == [("AB", True), ("CD", False)]
    assert Name.objects.select_related("author").get(name="CD").author.name == "cd"
    assert Name.objects.filter(b=True).count() == 1
    assert Name.objects.get(pk=Author.objects.get(name="ab").pk).name == "AB"
    with pytest.raises(ProgrammingError, match="is a view"):
        Name.objects.update(name="x")


def test_introspection(view):
    assert "author_names" not in connection.introspection.table_names()
    assert "author_names" in connection.introspection.table_names(include_views=True)
    out = io.StringIO()
    call_command("inspectdb", include_views=True, stdout=out)
    assert "class AuthorNames(models.Model)" in out.getvalue() and "Created from a view" in out.getvalue()
    assert "author_names" not in connection.introspection.django_table_names()


def test_what_a_view_reads_is_not_renamed(view):
    with pytest.raises(ProgrammingError, match="depends"), connection.schema_editor() as editor:
        editor.alter_db_table(Author, "iceapp_author", "iceapp_writer")
