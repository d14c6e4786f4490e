"""Alias of django_iceberg.backend.creation."""

from django_iceberg.backend.creation import *  # NOQA: F401, F403
