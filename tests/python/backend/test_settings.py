"""What a DATABASES entry may say, and what its errors say."""

import datetime
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from django_iceberg import conf

GOOD = {"ENGINE": "polars_iceberg.backend", "WAREHOUSE": "w", "OPTIONS": {}, "TEST": {}}


def refuse(match, **entry):
    with pytest.raises(ImproperlyConfigured, match=match):
        conf.check_settings({**GOOD, **entry})


def test_good_settings_pass():
    conf.check_settings({**GOOD, "CATALOG_URI": "sqlite:///c.db", "NAMESPACE": "n", "HOST": "", "NAME": ""})


@pytest.mark.parametrize("key", ["HOST", "PORT", "USER", "PASSWORD"])
def test_server_keys_are_refused(key):
    refuse(key, **{key: "x"})


def test_an_unknown_key_names_the_nearest():
    refuse("Did you mean 'WAREHOUSE'", WAREHOSE="x")
    refuse("Did you mean 'flush.interval-ms'", OPTIONS={"flush.intervall-ms": 5})
    refuse("Did you mean 's3.endpoint'", OPTIONS={"s3.endpont": "x"})
    refuse("Did you mean 'NAMESPACE'", TEST={"NAMESPCE": "x"})


def test_options_have_types():
    refuse("must be a size", OPTIONS={"flush.bytes": "many"})
    refuse("must be True or False", OPTIONS={"read-only": 1})
    refuse("flush.interval-ms.*not negative, not -1", OPTIONS={"flush.interval-ms": -1})
    refuse("bulk.rows.*not negative", OPTIONS={"bulk.rows": -4})
    refuse("threads", OPTIONS={"threads": 0})
    refuse("durability.*one of .'full', 'os'.*not 'soon'", OPTIONS={"durability": "soon"})
    refuse("isolation-level", OPTIONS={"isolation-level": "serializable"})
    for size in 0, 1 << 30, "1048576", "64 MB", "1GiB", "1.5g", "512kb", "50%":
        for key in "flush.bytes", "flush.rewrite-bytes", "log.max-bytes", "memory.budget":
            conf.check_settings({**GOOD, "OPTIONS": {key: size}})
    for size in -1, True, "64 cows", "MB", "1 GiBi", "":
        refuse("must be a size", OPTIONS={"log.max-bytes": size})
    conf.check_settings({**GOOD, "OPTIONS": {"memory.budget": "4GB", "threads": 2, "s3.region": "eu"}})


def test_a_warehouse_is_needed():
    refuse("WAREHOUSE", WAREHOUSE="")
    refuse("NAMESPACE", NAME="mydb")
    for key, value in ("WAREHOUSE", 3), ("CATALOG_URI", 4), ("NAMESPACE", 3), ("OPTIONS", []), ("TEST", []):
        refuse(rf"{key}'\] must be .*, not {re.escape(repr(value))}", **{key: value})
    for name in "../x", "a/b", ".", "a b", "a.":
        refuse("NAMESPACE'. must be letters", NAMESPACE=name)
    for name in "shop", "a.b", "größe-2":
        conf.check_settings({**GOOD, "NAMESPACE": name})


def test_relative_paths_are_below_base_dir(migrated):
    params = connection.get_connection_params()
    assert params["warehouse"] == os.path.join(settings.BASE_DIR, "warehouse")
    assert params["catalog"] == os.path.join(settings.BASE_DIR, "catalog.db")
    assert params["namespace"] == "shop"


def test_locations():
    base = str(settings.BASE_DIR)
    assert conf.resolve_warehouse("/abs") == "/abs"
    assert conf.resolve_warehouse(pathlib.Path("rel")) == base + "/rel"
    assert conf.resolve_warehouse("file:///a%20b") == "/a b"
    assert conf.resolve_warehouse("s3://bucket/x/") == "s3://bucket/x"
    assert conf.resolve_catalog("sqlite:////abs/c.db", "/w") == "/abs/c.db"
    assert conf.resolve_catalog("", "/w") == "/w/catalog.db"
    with pytest.raises(ImproperlyConfigured, match="sqlite:///"):
        conf.resolve_catalog("sqlite://x", "/w")
    with pytest.raises(ImproperlyConfigured, match="CATALOG_URI"):
        conf.resolve_catalog("postgres://u:secret@h/d", "/w")
    with pytest.raises(ImproperlyConfigured, match="REST catalogs are not supported"):
        conf.resolve_catalog("https://catalog", "/w")
    with pytest.raises(ImproperlyConfigured, match="names a host"):
        conf.resolve_warehouse("file://host/w")


def test_secrets_show_as_stars():
    entry = {**GOOD, "OPTIONS": {"s3.secret-access-key": "hunter2", "credential": "a:b", "s3.region": "eu"}}
    conf.wrap_secrets(entry)
    assert "hunter2" not in repr(entry) and "a:b" not in repr(entry) and "'eu'" in repr(entry)
    assert entry["OPTIONS"]["s3.secret-access-key"] == "hunter2"
    assert conf.mask("postgres://u:secret@h/d") == "postgres://********@h/d"
    assert conf.mask({"token": "t", "s3.region": "eu"}) == {"token": "********", "s3.region": "eu"}


def test_retentions_are_durations():
    day = datetime.timedelta(days=1)
    assert conf.parse_duration("90d") == 90 * day and conf.parse_duration("24 h") == day
    assert conf.parse_duration(86400) == day and conf.parse_duration(day) == day
    assert conf.parse_duration(None) is None
    conf.check_settings({**GOOD, "OPTIONS": {"history.retention": day}})
    refuse("history.retention.*not a duration", OPTIONS={"history.retention": "long"})


def test_a_wrong_engine_is_told_at_import(tmp_path):
    found = tmp_path / "duckdb-1.4.0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: duckdb\nVersion: 1.4.0\n")
    done = subprocess.run(
        [sys.executable, "-c", "import polars_iceberg.backend.base"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "ImproperlyConfigured: django-iceberg needs duckdb 2.0.x, not 1.4.0. Install it with: " in done.stderr


def test_a_missing_engine_is_told(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ImproperlyConfigured, match="needs the duckdb package. Install it with: "):
        conf.duckdb_library.__wrapped__()


def test_connections_that_share_a_warehouse_agree(migrated):
    connection.ensure_connection()
    other = connection.copy("another")
    other.settings_dict["OPTIONS"] = {"threads": 3, "lock.timeout-ms": 5}
    with pytest.raises(ImproperlyConfigured, match=r"DATABASES\['another'\]: option 'threads' differs"):
        other.ensure_connection()
    del other.settings_dict["OPTIONS"]["threads"]
    other.ensure_connection()
    other.close()
