from django.apps import AppConfig


class IcebergConfig(AppConfig):
    """Only the management commands and the admin need the app; the backend works without it."""

    name = "django_iceberg"
    verbose_name = "Apache Iceberg"
