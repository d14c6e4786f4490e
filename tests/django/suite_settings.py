"""Settings of Django's own test suite. DJANGO_SUITE_ENGINE chooses the backend, DJANGO_SUITE_OPTIONS has its OPTIONS as JSON."""

import json
import os

ENGINE = os.environ.get("DJANGO_SUITE_ENGINE", "django_iceberg.backend")

if ENGINE == "django.db.backends.sqlite3":
    DATABASES = {"default": {"ENGINE": ENGINE}, "other": {"ENGINE": ENGINE}}
else:
    # Only the names differ: a test database is made in a temporary directory.
    OPTIONS = json.loads(os.environ.get("DJANGO_SUITE_OPTIONS") or "{}")
    DATABASES = {
        "default": {"ENGINE": ENGINE, "WAREHOUSE": "suite/default", "OPTIONS": OPTIONS},
        "other": {"ENGINE": ENGINE, "WAREHOUSE": "suite/other", "OPTIONS": OPTIONS},
    }

SECRET_KEY = "django_tests_secret_key"
# Speed only, as in Django's own test settings.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "recorder.RecordingRunner"
