from django.core.management.base import CommandError

from ._base import IcebergCommand


class Command(IcebergCommand):
    help = "Reads everything in the warehouse and verifies it; fails if anything is wrong."

    def run(self, connection, options):
        progress = self.report if options["verbosity"] > 1 else None
        problems = connection.connection.check(progress)
        for problem in problems:
            self.stderr.write(problem)
        if problems:
            raise CommandError(f"{len(problems)} problem{'' if len(problems) == 1 else 's'} found.")
        self.stdout.write("No problems found.")

    def report(self, *progress):
        self.stdout.write(" ".join(str(part) for part in progress))
