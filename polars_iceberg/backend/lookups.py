"""Alias of django_iceberg.backend.lookups."""

from django_iceberg.backend.lookups import *
