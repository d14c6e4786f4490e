import sys

from django.core.management import CommandError
from django.db import DatabaseError
from django.db.backends.base.client import BaseDatabaseClient


class DatabaseClient(BaseDatabaseClient):
    """There is no server, so no client program of one: dbshell is a small SQL prompt over the connection."""

    executable_name = "python"

    def runshell(self, parameters):
        if parameters:
            raise CommandError("dbshell of an Iceberg database takes no arguments.")
        interactive = sys.stdin.isatty()
        if interactive:
            print(f"{self.connection.settings_dict['WAREHOUSE']}. SQL, ended by a semicolon; Ctrl-D leaves.")
        for statement in self._statements(interactive):
            self._run(statement)

    def _statements(self, interactive):
        lines = []
        while True:
            try:
                line = input(("   ... " if lines else "iceberg> ") if interactive else "")
            except EOFError:
                break
            except KeyboardInterrupt:
                print()
                lines = []
                continue
            lines.append(line)
            if line.rstrip().endswith(";"):
                yield "\n".join(lines).rstrip().rstrip(";")
                lines = []
        if statement := "\n".join(lines).strip():
            yield statement

    def _run(self, statement):
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement)
                if cursor.description:
                    print(" | ".join(column[0] for column in cursor.description))
                    for row in cursor:
                        print(" | ".join("" if value is None else str(value) for value in row))
                elif cursor.rowcount >= 0:
                    print(f"{cursor.rowcount} rows")
        except DatabaseError as err:
            print(err, file=sys.stderr)
