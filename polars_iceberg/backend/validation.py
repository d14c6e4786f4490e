"""Alias of django_iceberg.backend.validation."""

from django_iceberg.backend.validation import *
