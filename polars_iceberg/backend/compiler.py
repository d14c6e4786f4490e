"""Alias of django_iceberg.backend.compiler."""

from django_iceberg.backend.compiler import *
