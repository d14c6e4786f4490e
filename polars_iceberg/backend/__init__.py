"""Alias of django_iceberg.backend, the ENGINE of an Iceberg database."""
