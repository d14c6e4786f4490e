import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# For trying it out only: a site of your own has a secret of its own and DEBUG off.
SECRET_KEY = "the-flights-example-has-no-secrets"
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_iceberg",
    "flights",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "nyc.urls"
WSGI_APPLICATION = "nyc.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Relative paths are under BASE_DIR.
DATABASES = {
    "default": {
        "ENGINE": "polars_iceberg.backend",
        "WAREHOUSE": "data/warehouse",
        "CATALOG_URI": "sqlite:///data/catalog.db",
        "NAMESPACE": "flights",
        # A flush rewrites small tables whole (docs/settings.md). Here it adds files and deletion vectors to them as it does
        # to large ones, so that the demo shows both with few flights, too.
        "OPTIONS": {"flush.rewrite-bytes": 0},
    }
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "America/New_York"
USE_TZ = True
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The demo deploys release 2 while processes of release 1 still read and write. See flights/models.py.
FLIGHTS_RELEASE = int(os.environ.get("FLIGHTS_RELEASE", "2"))
