from ._base import IcebergCommand


class Command(IcebergCommand):
    help = "Rewrites small files and files with many deleted rows."
    takes_tables = True

    def run(self, connection, options):
        tables = options["tables"]
        self.check_tables(connection, tables)
        core = connection.connection
        count = sum(core.compact(table) or 0 for table in tables) if tables else core.compact()
        self.stdout.write(f"{count or 0} table{'' if count == 1 else 's'} compacted.")
