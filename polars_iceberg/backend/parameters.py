"""Alias of django_iceberg.backend.parameters."""

from django_iceberg.backend.parameters import *
