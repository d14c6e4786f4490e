from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, connections


def print_files(out, verb, kinds):
    """Files and bytes by kind, and together: kinds is {kind: (files, bytes)}."""
    for kind, (files, size) in sorted(kinds.items()):
        out.write(f"  {kind:14} {files:>10,} files {size:>18,} bytes")
    files = sum(count for count, _ in kinds.values())
    size = sum(size for _, size in kinds.values())
    out.write(f"{verb} {files:,} files, {size:,} bytes.")


class IcebergCommand(BaseCommand):
    """A command on one Iceberg database; subclasses define run(connection, options)."""

    requires_system_checks = ()
    takes_tables = False

    def add_arguments(self, parser):
        parser.add_argument(
            "--database",
            default=DEFAULT_DB_ALIAS,
            help='Alias of the Iceberg database. Defaults to "default".',
        )
        if self.takes_tables:
            parser.add_argument("tables", nargs="*", metavar="table", help="Tables; all of them if none is given.")

    def handle(self, *args, **options):
        alias = options["database"]
        if alias not in connections:
            raise CommandError(f"There is no database {alias!r} in DATABASES.")
        connection = connections[alias]
        if connection.vendor != "iceberg":
            raise CommandError(f"Database {alias!r} is not an Iceberg database: it is {connection.display_name}.")
        connection.ensure_usable()
        with connection.wrap_database_errors:
            return self.run(connection, options)

    def check_tables(self, connection, tables):
        known = set(connection.introspection.table_names())
        for table in tables:
            if table not in known:
                raise CommandError(f"There is no table {table!r}.")
