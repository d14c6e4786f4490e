"""Fixtures: a warehouse in a temporary directory, and connections to it that are closed at the end."""

import importlib.util

import pytest

from django_iceberg import _core


@pytest.fixture(scope="session")
def duckdb_library():
    return importlib.util.find_spec("_duckdb").origin


@pytest.fixture
def warehouse(tmp_path):
    return tmp_path / "warehouse"


@pytest.fixture
def connect(warehouse, duckdb_library):
    """connect(**options) -> another connection to the test's warehouse. Nothing flushes unless a test says so."""
    connections = []

    def connect(options=(), **kwargs):
        options = {"flush.background": False, **dict(options)}
        kwargs = {"catalog": str(warehouse / "catalog.db"), "duckdb_library": duckdb_library, **kwargs}
        connection = _core.connect(str(warehouse), options=options, **kwargs)
        connections.append(connection)
        return connection

    yield connect
    for connection in connections:
        connection.close()


@pytest.fixture
def connection(connect):
    return connect()


@pytest.fixture
def cursor(connection):
    return connection.cursor()
