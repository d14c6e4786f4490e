"""Alias of django_iceberg.backend.features."""

from django_iceberg.backend.features import *
