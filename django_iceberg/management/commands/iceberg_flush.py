from ._base import IcebergCommand


class Command(IcebergCommand):
    help = "Publishes committed rows as Iceberg snapshots now."
    takes_tables = True

    def run(self, connection, options):
        tables = options["tables"]
        self.check_tables(connection, tables)
        core = connection.connection
        count = sum(core.flush(table) for table in tables) if tables else core.flush()
        self.stdout.write(f"{count} table{'' if count == 1 else 's'} published.")
