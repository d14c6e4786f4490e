"""A Django project of one app on a temporary warehouse."""

import pathlib
import shutil
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]

try:
    import django
    from django.conf import settings

    from django_iceberg import _core  # noqa: F401
except ImportError as err:
    # Without Django or the built core there is nothing to test here.
    reason = str(err)
    collect_ignore_glob = ["*"]
    settings = None

try:
    import polars_iceberg

    # In a source tree our folder is not beside the Polars plugin's, as it is once installed.
    if str(ROOT / "polars_iceberg") not in polars_iceberg.__path__:
        polars_iceberg.__path__.append(str(ROOT / "polars_iceberg"))
except ImportError:
    pass


def pytest_configure(config):
    if settings is None:
        return
    base = config.iceberg_base = pathlib.Path(tempfile.mkdtemp(prefix="django-iceberg-"))
    settings.configure(
        BASE_DIR=base,
        SECRET_KEY="not a secret",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_iceberg", "iceapp"],
        DATABASES={
            "default": {
                "ENGINE": "polars_iceberg.backend",
                "WAREHOUSE": "warehouse",
                "CATALOG_URI": "sqlite:///catalog.db",
                "NAMESPACE": "shop",
            },
            "elsewhere": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        },
    )
    sys.path.insert(0, str(HERE))
    django.setup()


def pytest_unconfigure(config):
    if hasattr(config, "iceberg_base"):
        shutil.rmtree(config.iceberg_base, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated():
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)


@pytest.fixture
def db(migrated):
    """An empty database; what a test commits is gone afterwards, but not its history."""
    from django.core.management import call_command
    from django.db import connection

    yield connection
    call_command("flush", interactive=False, verbosity=0)
