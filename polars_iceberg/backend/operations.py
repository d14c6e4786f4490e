"""Alias of django_iceberg.backend.operations."""

from django_iceberg.backend.operations import *
