"""The tables as other programs see them: PyIceberg and DuckDB, neither of which knows this package.

Both get the rows of a table as a pyarrow.Table sorted by the model's key, with the columns the model has.
"""

import duckdb
import pyarrow as pa
from django.conf import settings
from django.db import connection
from pyiceberg.catalog import load_catalog
from pyiceberg.table.deletion_vector import deletion_vectors_from_puffin_file
from pyiceberg.table.puffin import PuffinFile
from pyiceberg.types import DecimalType

DUCKDB_TYPES = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "string": "VARCHAR",
    "uuid": "UUID",
    "binary": "BLOB",
}


def columns(model):
    return [field.column for field in model._meta.concrete_fields]


def iceberg_table(model):
    """The model's table, through the catalog that the site itself uses."""
    params = connection.get_connection_params()
    catalog = load_catalog(
        "default", type="sql", uri=f"sqlite:///{params['catalog']}", warehouse=f"file://{params['warehouse']}"
    )
    return catalog.load_table((settings.DATABASES["default"]["NAMESPACE"], model._meta.db_table))


def file_counts(model, column):
    """(data files, those with deleted rows, those without the column) of the table's current snapshot."""
    table = iceberg_table(model)
    tasks = list(table.scan().plan_files())
    field = table.schema().find_field(column).field_id
    return (
        len(tasks),
        # A task may list vectors of other files, too.
        len(set((deleted_positions(table, tasks) or {"file": ()})["file"])),
        sum(field not in task.file.value_counts for task in tasks),
    )


def with_pyiceberg(model):
    rows = iceberg_table(model).scan(selected_fields=tuple(columns(model))).to_arrow()
    return rows.select(columns(model)).sort_by(model._meta.pk.column)


def with_duckdb(model):
    """DuckDB over the Parquet files themselves: field ids, defaults and deleted positions come from the metadata."""
    table = iceberg_table(model)
    tasks = list(table.scan().plan_files())
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    if not tasks:
        return iceberg_table(model).scan(selected_fields=tuple(columns(model))).to_arrow()
    files = [local_path(task.file.file_path) for task in tasks]
    database.register("deleted", pa.table({"file": [], "position": []}, deleted_schema))
    if deleted := deleted_positions(table, tasks):
        database.register("deleted", pa.table(deleted, deleted_schema))
    names = ", ".join(f'"{name}"' for name in columns(model))
    sql = f"""
        SELECT {names}
        FROM read_parquet($files, filename = true, file_row_number = true, schema = {field_map(table)}) AS data
        WHERE NOT EXISTS (
            FROM deleted WHERE deleted.file = data.filename AND deleted.position = data.file_row_number
        )
        ORDER BY "{model._meta.pk.column}"
    """
    return database.sql(sql, params={"files": files}).to_arrow_table()


deleted_schema = pa.schema({"file": pa.string(), "position": pa.int64()})


def deleted_positions(table, tasks):
    files, positions, seen = [], [], set()
    for task in tasks:
        for delete in task.delete_files:
            if delete.file_path in seen:
                continue
            seen.add(delete.file_path)
            with table.io.new_input(delete.file_path).open() as file:
                vectors = deletion_vectors_from_puffin_file(PuffinFile(file.read()))
            for vector in vectors:
                found = vector.to_vector().to_pylist()
                files += [local_path(vector.referenced_data_file)] * len(found)
                positions += found
    return {"file": files, "position": positions} if files else None


def local_path(location):
    return location.removeprefix("file://")


def field_map(table):
    """The table's schema for read_parquet(schema = …): files are matched by field id, not by name."""
    entries = []
    for field in table.schema().fields:
        kind = field.field_type
        sql = f"DECIMAL({kind.precision}, {kind.scale})" if isinstance(kind, DecimalType) else DUCKDB_TYPES[str(kind)]
        default = (
            "NULL" if field.initial_default is None else "'{}'".format(str(field.initial_default).replace("'", "''"))
        )
        name = field.name.replace("'", "''")
        entries.append(f"{field.field_id}: {{name: '{name}', type: '{sql}', default_value: {default}}}")
    return "MAP {" + ", ".join(entries) + "}"


def differences(model, table, advance=lambda rows: None):
    """Compares a table row by row, value by value, with what the ORM says. Returns (rows compared, differences)."""
    expected = model._base_manager.order_by("pk").values_list(*[field.attname for field in model._meta.concrete_fields])
    found = (row for batch in table.to_batches(max_chunksize=10_000) for row in python_rows(batch))
    compared, different = 0, []
    for theirs, ours in zip_all(found, expected.iterator(chunk_size=10_000)):
        compared += 1
        if theirs != ours:
            different.append((ours, theirs))
        if compared % 10_000 == 0:
            advance(10_000)
    advance(compared % 10_000)
    return compared, different


def python_rows(batch):
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def zip_all(one, other):
    """Pairs up to the end of the longer."""
    one, other, end = iter(one), iter(other), object()
    while True:
        pair = next(one, end), next(other, end)
        if pair == (end, end):
            return
        yield tuple(None if item is end else item for item in pair)
