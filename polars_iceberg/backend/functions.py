"""Alias of django_iceberg.backend.functions."""

from django_iceberg.backend.functions import *
