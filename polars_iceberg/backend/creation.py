"""Alias of django_iceberg.backend.creation."""

from django_iceberg.backend.creation import *
