"""Alias of django_iceberg.backend.schema."""

from django_iceberg.backend.schema import *
