import re
import sys

from django.core.management import CommandError
from django.db import DatabaseError
from django.db.backends.base.client import BaseDatabaseClient

# Pieces of SQL that a semicolon ends nothing in: texts, names, comments; then their openings alone, which say that more is to come.
_pieces_re = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$"""
    r"""|(?P<end>;)|(?P<open>'|"|/\*|\$\w*\$)|.""",
    re.DOTALL,
)
USAGE = "dbshell of an Iceberg database takes -c SQL, any number of times; without it, statements come from the standard input."


def split_statements(text):
    """Statements that a semicolon ends, and the text after the last one."""
    statements, start = [], 0
    for piece in _pieces_re.finditer(text):
        if piece["open"]:
            break
        if piece["end"]:
            statements.append(text[start : piece.start()].strip())
            start = piece.end()
    return [s for s in statements if s], text[start:]


class DatabaseClient(BaseDatabaseClient):
    """There is no server, so no client program of one: dbshell is a small SQL prompt over the connection."""

    executable_name = "python"

    def runshell(self, parameters):
        failed = False
        for statement in self._given(parameters) if parameters else self._typed():
            failed |= not self._run(statement)
        if failed and (parameters or not sys.stdin.isatty()):
            raise CommandError("not all statements succeeded")

    def _given(self, parameters):
        options, texts = parameters[::2], parameters[1::2]
        if len(options) != len(texts) or any(option not in ("-c", "--command") for option in options):
            raise CommandError(USAGE)
        for text in texts:
            statements, rest = split_statements(text)
            yield from [*statements, rest.strip()] if rest.strip() else statements

    def _typed(self):
        interactive = sys.stdin.isatty()
        if interactive:
            print(f"{self.connection.settings_dict['WAREHOUSE']}. SQL, ended by a semicolon; Ctrl-D leaves.")
        text = ""
        while True:
            try:
                text += input(("   ... " if text.strip() else "iceberg> ") if interactive else "") + "\n"
            except EOFError:
                break
            except KeyboardInterrupt:
                print()
                text = ""
                continue
            statements, text = split_statements(text)
            yield from statements
        if text.strip():
            yield text.strip()

    def _run(self, statement):
        """Runs a statement and prints what it gives; False if it fails."""
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement)
                if cursor.description:
                    print(" | ".join(column[0] for column in cursor.description))
                    count = 0
                    for row in cursor:
                        print(" | ".join("" if value is None else str(value) for value in row))
                        count += 1
                    print(f"({count} row{'' if count == 1 else 's'})")
                elif cursor.rowcount >= 0:
                    print(f"{cursor.rowcount} rows")
        except DatabaseError as err:
            print(err, file=sys.stderr)
            return False
        return True
