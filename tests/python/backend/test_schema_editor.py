"""Definitions as Django's schema editor writes them, and what is read back of them."""

import json
from datetime import timedelta
from decimal import Decimal

import django
import pytest
from django.db import DataError, connection, models, transaction
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


# What PostgreSQL 15 has after Django's own migration.
RETYPED = [
    (models.TextField(null=True), models.BinaryField(null=True), [r"\x4142", r"a\101\\", "é", None], [b"AB", b"aA\\", "é".encode(), None]),
    (
        models.DurationField(null=True),
        models.CharField(max_length=40, null=True),
        [timedelta(days=1, hours=2), timedelta(days=-1, hours=-2), timedelta(days=40, microseconds=500000), None],
        ["1 day 02:00:00", "-2 days +22:00:00", "40 days 00:00:00.5", None],
    ),
    (models.DurationField(), models.CharField(max_length=5), [timedelta(days=1, hours=2)], ["1 day"]),
    (models.FloatField(), models.DecimalField(max_digits=10, decimal_places=2), [1.005, -0.615], [Decimal("1.01"), Decimal("-0.62")]),
    (models.FloatField(), models.TextField(), [1.0, 1e-7, 0.1], ["1", "1e-07", "0.1"]),
    (models.DecimalField(max_digits=10, decimal_places=2), models.IntegerField(), ["2.5", "-3.5"], [3, -4]),
    (models.FloatField(), models.IntegerField(), [2.5, -3.5], [2, -4]),
    (models.CharField(max_length=40), models.GenericIPAddressField(), ["0:0::1", "::1.2.3.4"], ["::1", "::1.2.3.4"]),
    (models.GenericIPAddressField(), models.CharField(max_length=40), ["0:0::1", "10.0.0.1"], ["::1/128", "10.0.0.1/32"]),
    (models.TextField(), models.JSONField(), ['{"b":1e1,"a":[]}'], ['{"a": [], "b": 10}']),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "values", "want"), RETYPED)
def test_values_of_another_type(editor, old, new, values, want):
    name = f"Retyped{RETYPED.index((old, new, values, want))}"
    model = type(name, (models.Model,), {"__module__": "iceapp.models", "c": old})
    editor.create_model(model)
    for value in values:
        model.objects.create(c=value)
    new.set_attributes_from_name("c")
    new.model = model
    editor.alter_field(model, old, new)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT c FROM {connection.ops.quote_name(model._meta.db_table)} ORDER BY id")
        assert [value for (value,) in cursor.fetchall()] == want
    editor.delete_model(model)


@pytest.mark.parametrize(("text", "state"), [(r"\xzz", "22023"), (r"a\b", "22P02")])
def test_text_that_is_no_bytes(editor, text, state):
    old, new = models.TextField(), models.BinaryField()
    model = type(f"Bytes{state}", (models.Model,), {"__module__": "iceapp.models", "c": old})
    editor.create_model(model)
    model.objects.create(c=text)
    new.set_attributes_from_name("c")
    new.model = model
    with pytest.raises(DataError) as failed, transaction.atomic():
        editor.alter_field(model, old, new)
    assert failed.value.__cause__.sqlstate == state
    editor.delete_model(model)


def test_addresses(db):
    with pytest.raises(DataError, match='invalid input syntax for type inet: "zz"'):
        list(Author.objects.annotate(ip=models.Value("zz", models.GenericIPAddressField())))
