"""Alias of django_iceberg.timetravel."""

from django_iceberg.timetravel import *
