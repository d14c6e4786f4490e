"""Alias of django_iceberg.backend.client."""

from django_iceberg.backend.client import *
