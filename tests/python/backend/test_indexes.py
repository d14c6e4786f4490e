"""Partition and Cluster in Meta.indexes."""

import pytest
from django.db import connection
from iceapp.models import Event, Tag

from django_iceberg.indexes import Cluster, Partition


def test_they_deconstruct_and_refuse_nonsense():
    index = Partition("at", transform="day", name="p")
    path, args, kwargs = index.deconstruct()
    assert (path, args, kwargs) == (
        "django_iceberg.indexes.Partition",
        ("at",),
        {"name": "p", "transform": "day"},
    )
    assert Partition(*args, **kwargs) == index
    assert Cluster("a", "b", name="c").deconstruct()[1] == ("a", "b")
    with pytest.raises(ValueError, match="transform"):
        Partition("at", transform="weekly")
    with pytest.raises(ValueError, match="names of fields"):
        Cluster()


def test_ddl():
    with connection.schema_editor(collect_sql=True) as editor:
        sql = str(Partition("at", transform="bucket[16]", name="p").create_sql(Event, editor))
    assert sql == """CREATE INDEX "p" ON "iceapp_event" USING partition ("at") WITH (transform = 'bucket[16]')"""


def test_they_are_created_and_dropped(db):
    index = Cluster("name", name="tag_cluster")
    with connection.schema_editor() as editor:
        editor.add_index(Tag, index)
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "iceapp_tag")["tag_cluster"]
    assert (found["columns"], found["type"], found["unique"]) == (["name"], "cluster", False)
    Tag.objects.create(name="a")
    with connection.schema_editor() as editor:
        editor.remove_index(Tag, index)


def test_explain_tells_rows_files_and_path(db):
    Tag.objects.bulk_create(Tag(name=f"tag {i}") for i in range(3))
    plan = Tag.objects.filter(name__contains="g").explain()
    assert "iceapp_tag: rows=3 files=" in plan
    assert plan.endswith("path=engine")
    assert Tag.objects.filter(pk=1).explain().endswith("path=fast")
