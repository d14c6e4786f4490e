"""Django database backend that keeps every table as an Apache Iceberg table."""

__version__ = "0.1.0"
