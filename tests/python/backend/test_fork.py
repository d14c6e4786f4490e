"""A forked child uses Django's connections as if they were its own; the parent's session is not touched."""

import multiprocessing
import os
import subprocess
import sys
import traceback

import pytest
from django.db import InterfaceError, connection, transaction
from iceapp.models import Author

pytestmark = pytest.mark.usefixtures("db")


def names():
    return sorted(Author.objects.values_list("name", flat=True))


def in_child(function):
    """Runs it in a forked child, which ends at once; what it raised is told by the child's own traceback."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:  # noqa: BLE001 (pytest must not go on in the child)
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_child_has_a_session_of_its_own():
    Author.objects.bulk_create([Author(name="before"), Author(name="first")])
    rows = Author.objects.order_by("-name").iterator(chunk_size=1)
    assert next(rows).name == "first"
    parents = connection.connection

    def child():
        assert connection.commit_time_now() > 0
        assert connection.connection is not parents
        assert names() == ["before", "first"]
        Author.objects.create(name="child")
        with transaction.atomic():
            Author.objects.select_for_update().filter(name="child").update(name="changed")
        in_child(lambda: Author.objects.create(name="grandchild"))

    in_child(child)
    assert connection.connection is parents
    assert [row.name for row in rows] == ["before"], "the parent's result goes on"
    assert names() == ["before", "changed", "first", "grandchild"]


def test_an_open_transaction_stays_the_parents():
    with transaction.atomic():
        Author.objects.create(name="parent")

        def child():
            with pytest.raises(InterfaceError, match="before fork"):
                names()
            with pytest.raises(InterfaceError, match="before fork"), transaction.atomic():
                pass

        in_child(child)
        assert names() == ["parent"]
    assert names() == ["parent"]


def test_a_child_that_leaves_the_block_goes_on():
    statuses = []
    try:
        with transaction.atomic():
            Author.objects.create(name="parent")
            pid = os.fork()
            if pid == 0:
                raise KeyError("leave the block")
            statuses.append(os.waitpid(pid, 0)[1])
    except KeyError:
        status = 1
        try:
            assert names() == [], "the parent has not committed"
            Author.objects.create(name="child")
            status = 0
        except BaseException:  # noqa: BLE001 (pytest must not go on in the child)
            traceback.print_exc()
        finally:
            os._exit(status)
    assert statuses == [0]
    assert names() == ["child", "parent"]


def test_a_transaction_by_hand():
    connection.set_autocommit(False)
    try:
        Author.objects.create(name="parent")

        def child():
            assert names() == []
            assert not connection.get_autocommit()
            Author.objects.create(name="child")
            connection.rollback()
            assert names() == []

        in_child(child)
        connection.commit()
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    assert names() == ["parent"]


def add(i):
    Author.objects.create(name=f"{i:02}")
    return Author.objects.filter(name=f"{i:02}").count()


def test_a_pool_of_forked_workers():
    Author.objects.create(name="00")
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(add, range(1, 13)) == [1] * 12
    assert names() == [f"{i:02}" for i in range(13)]


PROJECT = """
import sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["shop"], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "polars_iceberg.backend", "WAREHOUSE": sys.argv.pop(1)}},
)
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""
MODELS = """
from django.db import models
class Item(models.Model):
    name = models.CharField(max_length=20, unique=True)
"""
TESTS = """
from django.test import TestCase, TransactionTestCase
from .models import Item
class Mixin:
    def test_first(self):
        self.assertEqual(Item.objects.create(name="a").pk and Item.objects.count(), 1)
    def test_second(self):
        self.assertEqual(Item.objects.create(name="a").pk and Item.objects.count(), 1)
""" + "".join(f"class T{i}(Mixin, {base}TestCase): pass\n" for i, base in enumerate(["", "Transaction"] * 3))


def test_django_s_parallel_test_runner(tmp_path):
    app = tmp_path / "shop"
    app.mkdir()
    for name, text in (("__init__", ""), ("models", MODELS), ("tests", TESTS)):
        (app / f"{name}.py").write_text(text)
    (tmp_path / "manage.py").write_text(PROJECT)
    command = [sys.executable, "manage.py", str(tmp_path / "warehouse"), "test", "--parallel", "3"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "Ran 12 tests" in told.stderr
