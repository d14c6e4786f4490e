"""Alias of django_iceberg.backend.base."""

from django_iceberg.backend.base import *
