"""Definitions as Django's schema editor writes them, and what is read back of them."""

import json

import django
import pytest
from django.db import connection, models
from iceapp.models import Author


@pytest.fixture
def editor(db):
    with connection.schema_editor() as editor:
        yield editor


def test_virtual_generated_column_is_kept(editor):
    class Box(models.Model):
        side = models.IntegerField()
        area = models.GeneratedField(
            expression=models.F("side") * models.F("side"), output_field=models.IntegerField(), db_persist=False
        )

        class Meta:
            app_label = "iceapp"

    editor.create_model(Box)
    box = Box.objects.create(side=7)
    box.refresh_from_db()
    assert box.area == 49
    editor.delete_model(Box)


def test_on_delete_of_the_database(db):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE shelf (id integer PRIMARY KEY)")
        cursor.execute(
            "CREATE TABLE volume (id integer PRIMARY KEY, shelf_id integer REFERENCES shelf ON DELETE CASCADE)"
        )
        (relation,) = connection.introspection.get_relations(cursor, "volume").values()
        assert relation[:2] == ("id", "shelf")
        if django.VERSION >= (6, 1):
            assert relation[2] is models.DB_CASCADE
        cursor.execute("INSERT INTO shelf VALUES (1), (2)")
        cursor.execute("INSERT INTO volume VALUES (1, 1), (2, 2), (3, NULL)")
        cursor.execute("DELETE FROM shelf WHERE id = %s", [1])
        cursor.execute("SELECT id FROM volume ORDER BY id")
        assert cursor.fetchall() == [(2,), (3,)]
        cursor.execute("DROP TABLE volume, shelf")


def test_explain_formats(db):
    authors = Author.objects.order_by("pk")
    assert json.loads(authors.explain(format="json"))
    assert "timing" in authors.explain(format="json", analyze=True)
    with pytest.raises(ValueError, match="XML is not a recognized format"):
        authors.explain(format="xml")
