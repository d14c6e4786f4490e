"""Alias of django_iceberg.backend.client."""

from django_iceberg.backend.client import *  # NOQA: F401, F403
