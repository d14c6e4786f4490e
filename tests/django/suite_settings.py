"""Settings of Django's own test suite, as run.py wants them: its modes are explained there.

DJANGO_SUITE_BACKEND is iceberg, sqlite or postgresql; DJANGO_SUITE_MODE is one of run.py's modes; DJANGO_SUITE_POSTGRES has the
settings of a PostgreSQL cluster as JSON.
"""

import json
import os

import django
from django.db.backends.signals import connection_created

BACKEND = os.environ.get("DJANGO_SUITE_BACKEND", "iceberg")
MODE = os.environ.get("DJANGO_SUITE_MODE", "normal")


def engine_only(connection, **kwargs):
    if connection.vendor == "iceberg":
        connection.connection.fast_path = False


if BACKEND == "sqlite":
    DATABASES = {alias: {"ENGINE": "django.db.backends.sqlite3"} for alias in ("default", "other")}
elif BACKEND == "postgresql":
    cluster = json.loads(os.environ["DJANGO_SUITE_POSTGRES"])
    name = f"suite_{os.getpid()}"  # apps run side by side
    DATABASES = {alias: {**cluster, "TEST": {"NAME": f"{name}_{alias}"}} for alias in ("default", "other")}
else:
    # Only the names differ: a test database is made in a temporary directory.
    DATABASES = {
        alias: {"ENGINE": "django_iceberg.backend", "WAREHOUSE": f"suite/{alias}"} for alias in ("default", "other")
    }
    if MODE == "cold":
        for entry in DATABASES.values():
            entry["OPTIONS"] = {"flush.interval-ms": 0, "memory.budget": 0}
    elif MODE == "engine":
        connection_created.connect(engine_only)

SECRET_KEY = "django_tests_secret_key"
# Speed only, as in Django's own test settings.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if django.VERSION < (6,):  # the settings that Django's suite brings have it until then
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "recorder.RecordingRunner"
