from ... import conf
from ._base import IcebergCommand, print_files


class Command(IcebergCommand):
    help = "Deletes files that no table, snapshot, unpublished commit or reader of the warehouse can reach any more."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be deleted.")
        parser.add_argument(
            "--older-than",
            metavar="DURATION",
            help="Leave files younger than this (3d, 12h, 0): by default the option orphans.grace-ms, three days.",
        )

    def run(self, connection, options):
        age = conf.parse_duration(options["older_than"])
        age = -1 if age is None else age // conf.MICROSECOND
        progress = self.progress if options["verbosity"] > 1 else None
        found = connection.connection.collect(age, dry_run=options["dry_run"], progress=progress)
        print_files(self.stdout, "Would delete" if options["dry_run"] else "Deleted", found["ripe"])
        files, size = found["left"]
        if files and not options["dry_run"]:
            self.stdout.write(
                f"{files} more files ({size:,} bytes) are unreachable: too young, or a reader may still want them."
            )

    def progress(self, what, done):
        self.stdout.write(f"{what} {done:.0%}")
