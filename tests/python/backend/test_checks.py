"""System checks: fields that cannot be, and what `check --database default` looks at."""

import pytest
from django.contrib.postgres import fields as postgres
from django.contrib.postgres.search import SearchVectorField
from django.core.management import call_command
from django.db import InterfaceError, connections, models
from django.test.utils import isolate_apps

from polars_iceberg.timetravel import TimeTravelMixin

pytestmark = pytest.mark.usefixtures("db")


def ids(model):
    return [(message.id, message.obj.name) for message in model.check(databases=["default"])]


@isolate_apps("iceapp")
def test_columns_of_versions_are_taken():
    class Clash(models.Model):
        start = models.DateTimeField(db_column="_row_start")
        operation = models.TextField(db_column="_OPERATION")
        fine = models.TextField(db_column="operation")

        class Meta:
            app_label = "iceapp"

    assert ids(Clash) == [("django_iceberg.E005", "start"), ("django_iceberg.E005", "operation")]


@isolate_apps("iceapp")
def test_generated_columns_are_checked():
    class Square(models.Model):
        side = models.IntegerField()
        area = models.GeneratedField(
            expression=models.F("side") * models.F("side"), output_field=models.IntegerField(), db_persist=True
        )

        class Meta:
            app_label = "iceapp"

    assert ids(Square) == []


@isolate_apps("iceapp")
def test_names_of_the_mixin_are_taken():
    class Clash(TimeTravelMixin, models.Model):
        history = models.TextField()

        class Meta:
            app_label = "iceapp"

    assert ids(Clash) == [("django_iceberg.E010", "history")]


@isolate_apps("iceapp")
def test_fields_of_postgresql_are_refused():
    class Foreign(models.Model):
        array = postgres.ArrayField(models.IntegerField())
        hstore = postgres.HStoreField()
        numbers = postgres.IntegerRangeField()
        search = SearchVectorField()
        text = models.TextField()

        class Meta:
            app_label = "iceapp"

    refused = [message for message in Foreign.check(databases=["default"]) if message.id == "django_iceberg.E004"]
    assert [message.obj.name for message in refused] == ["array", "hstore", "numbers", "search"]
    assert "ArrayField is not supported" in refused[0].msg and "JSONField" in refused[0].hint


@isolate_apps("iceapp")
def test_geometries_are_refused():
    class Geometry(models.Field):
        # GeoDjango itself needs GDAL to be imported.
        __module__ = "django.contrib.gis.db.models.fields"

    class Place(models.Model):
        at = Geometry()

        class Meta:
            app_label = "iceapp"

    (message,) = Place.check(databases=["default"])
    assert message.id == "django_iceberg.E004" and "longitude" in message.hint


def checked(**settings):
    """What the checks of a database with other settings say."""
    other = connections.create_connection("default")
    other.settings_dict = {**other.settings_dict, **settings}
    try:
        return [message.id for message in other.validation.check()]
    finally:
        other.close()


def test_check_database(capsys):
    call_command("check", databases=["default"])
    assert "no issues" in capsys.readouterr().out
    assert checked() == []
    assert checked(WAREHOUSE="/proc/nowhere", CATALOG_URI="") == ["django_iceberg.E002"]
    assert checked(OPTIONS={"durabilty": "os"}) == ["django_iceberg.E001"]
    assert checked(OPTIONS={"durability": "sometimes"}) == ["django_iceberg.E001"]


def test_check_database_of_another_warehouse_file(tmp_path):
    (tmp_path / "catalog.db").write_text("no catalog")
    assert checked(WAREHOUSE=str(tmp_path / "w"), CATALOG_URI=f"sqlite:///{tmp_path}/catalog.db") in (
        [],
        ["django_iceberg.E003"],
    )


# Connections


def test_a_connection_that_is_closed_is_made_anew():
    other = connections.create_connection("default")
    other.settings_dict["CONN_HEALTH_CHECKS"] = True
    other.connect()
    other.health_check_done = False
    other.connection.close()
    other.close_if_health_check_failed()
    with other.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    other.connection.close()
    assert not other.is_usable()
    with pytest.raises(InterfaceError), other.cursor() as cursor:
        cursor.execute("SELECT 1")
    other.close()
