"""Alias of django_iceberg.backend.introspection."""

from django_iceberg.backend.introspection import *
