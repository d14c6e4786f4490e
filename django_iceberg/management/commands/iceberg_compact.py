from ._base import IcebergCommand


def ratio(text):
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def count(n, what):
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def told(done):
    """What was done to one Iceberg table, in a line."""
    vectors = f" with {count(done['deletion_vectors'], 'deletion vector')}" if done["deletion_vectors"] else ""
    return (
        f"{done['table']}: {count(done['files_before'], 'file')} → {done['files_after']:,}; "
        f"{done['rewritten']:,}{vectors} rewritten as {done['written']:,}, {count(done['rows'], 'row')}, "
        f"{done['bytes_before']:,} → {count(done['bytes_after'], 'byte')}"
    )


class Command(IcebergCommand):
    help = "Merges files under 64 MiB and rewrites files with many deleted rows, histories' too."
    takes_tables = True

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument(
            "--delete-ratio",
            type=ratio,
            default=0.2,
            help="Rewrite files with a larger part of their rows deleted. Defaults to 0.2; 0: any deletion vector.",
        )

    def run(self, connection, options):
        tables = options["tables"]
        self.check_tables(connection, tables)
        core = connection.connection
        done = []
        for table in tables or [None]:
            done += core.compact(table, delete_ratio=options["delete_ratio"])
        for one in done:
            self.stdout.write(told(one))
        self.stdout.write(f"{count(len(done), 'table')} compacted.")
