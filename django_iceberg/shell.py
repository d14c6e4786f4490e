"""iceberg-sql: SQL on a warehouse from a terminal, a pipe or a file; the program that `manage.py dbshell` runs."""

import argparse
import contextlib
import csv
import datetime
import json
import os
import re
import signal
import sys
import time
import unicodedata
import zoneinfo
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

from django.core.exceptions import ImproperlyConfigured

from . import __version__, _core, conf
from .backend._macros import MACROS

HISTORY = "~/.iceberg_sql_history"
OPTIONS_VARIABLE = "ICEBERG_SQL_OPTIONS"
MEASURED_ROWS = 5000  # columns are as wide as the first so many rows ask for; what follows is printed as it comes

HELP = r"""Statements end with a semicolon and may have several lines. Ctrl-C gives up what is typed or runs, Ctrl-D leaves.
  \d                tables and views             also .tables
  \d NAME           columns, keys, indexes       also .schema NAME
  \snapshots NAME   Iceberg snapshots of a table
  \i FILE           runs the statements of a file, also .read FILE
  \x                a line for each value        on, off
  \timing           times of statements          on, off; also .timer
  \?                this text                    also .help
  \q                leaves                       also .quit"""
# Names in the style of sqlite3.
ALIASES = {
    ".tables": r"\d",
    ".schema": r"\d",
    ".read": r"\i",
    ".timer": r"\timing",
    ".help": r"\?",
    ".quit": r"\q",
    ".exit": r"\q",
    r"\dt": r"\d",
    r"\dv": r"\d",
    r"\h": r"\?",
}


class Splitter:
    """Takes lines and gives the statements that they end, without semicolons."""

    # What a semicolon ends nothing in, by how it opens.
    _opening_re = re.compile(r"""(?<!\w)[eE]'|['"`;]|--|/\*|(?<![\w$])\$(?:[^\W\d]\w*)?\$""")
    _escaped_end_re = re.compile(r"\\.|'", re.DOTALL)
    _comment_re = re.compile(r"/\*|\*/")

    def __init__(self):
        self._parts = []  # of the statement
        self._open = None  # how the text, name or comment that is open opened
        self._depth = 0  # of comments in comments

    @property
    def pending(self):
        """Whether a statement has begun."""
        return bool(self.text().strip())

    def text(self):
        return "".join(self._parts)

    def feed(self, line):
        statements, start, at = [], 0, 0
        while at < len(line):
            if self._open is not None:
                at = self._close(line, at)
                continue
            match = self._opening_re.search(line, at)
            if match is None:
                break
            at = match.end()
            if match[0] == ";":
                self._parts.append(line[start : match.start()])
                statements.append(self.text().strip())
                self._parts, start = [], at
            elif match[0] == "--":
                break
            else:
                self._open, self._depth = match[0], 1
        self._parts.append(line[start:])
        return [s for s in statements if s]

    def rest(self):
        """The text after the last semicolon; forgets it."""
        text = self.text().strip()
        self.__init__()
        return text

    def _close(self, line, at):
        """The place after what is open, or the end of the line."""
        if self._open == "/*":
            while self._depth:
                match = self._comment_re.search(line, at)
                if match is None:
                    return len(line)
                self._depth += 1 if match[0] == "/*" else -1
                at = match.end()
        elif self._open in ("e'", "E'"):
            match = next((m for m in self._escaped_end_re.finditer(line, at) if m[0] == "'"), None)
            if match is None:
                return len(line)
            at = match.end()
        else:
            end = line.find(self._open, at)
            if end < 0:
                return len(line)
            at = end + len(self._open)
        self._open = None
        return at


# ---- output ----


def width_of(text):
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def padded(text, width, right):
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


_control_re = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_control_names = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def one_line(text):
    return _control_re.sub(lambda m: _control_names.get(m[0]) or f"\\x{ord(m[0]):02x}", text)


class Printer:
    """Results as text: aligned, a line for each value, bare, or CSV."""

    def __init__(self, style, tuples_only, zone):
        self.style = style
        self.tuples_only = tuples_only
        self.zone = zone

    def value(self, value):
        if value is None:
            return ""
        if value is True or value is False:
            return str(value).lower()
        if isinstance(value, bytes):
            return "\\x" + value.hex()
        if isinstance(value, datetime.datetime) and value.tzinfo is not None:
            with contextlib.suppress(OverflowError):
                value = value.astimezone(self.zone)
        return str(value)

    def result(self, names, rows, right=()):
        rows = (tuple(map(self.value, row)) for row in rows)
        getattr(self, f"_{self.style}")(names, rows, right)

    def _csv(self, names, rows, right):
        writer = csv.writer(sys.stdout, lineterminator="\n")
        if not self.tuples_only:
            writer.writerow(names)
        writer.writerows(rows)

    def _bare(self, names, rows, right):
        for row in rows if self.tuples_only else chain([names], rows):
            print("|".join(row))

    def _expanded(self, names, rows, right):
        width = max(map(width_of, names), default=0)
        for number, row in enumerate(rows, 1):
            print(f"-[ {number} ]".ljust(width + 8, "-"))
            for name, value in zip(names, row, strict=True):
                print(f"{padded(name, width, False)} | {one_line(value)}".rstrip())

    def _aligned(self, names, rows, right):
        rows = (tuple(map(one_line, row)) for row in rows)
        first = list(islice(rows, MEASURED_ROWS))
        widths = [max(map(width_of, column)) for column in zip(names, *first, strict=True)]
        right = right or [False] * len(names)

        def line(row):
            print("|".join(f" {padded(*cell)} " for cell in zip(row, widths, right, strict=True)).rstrip())

        if not self.tuples_only:
            line(names)
            print("+".join("-" * (width + 2) for width in widths))
        count = 0
        for row in chain(first, rows):
            line(row)
            count += 1
        if not self.tuples_only:
            print(f"({count} row{'' if count == 1 else 's'})")


_number_re = re.compile(r"(?i)(u?(tiny|small|big|huge)?int|integer|real|float|double|numeric|decimal)")


# ---- the program ----


class Quit(Exception):
    pass


class Shell:
    def __init__(self, connection, printer, timing=False):
        self.connection = connection
        self.printer = printer
        self.timing = timing
        self.failed = False
        self.depth = 0  # of files that run files

    # Every way of giving statements ends here.

    def lines(self, lines):
        splitter = Splitter()
        for line in lines:
            self.line(splitter, line)
        if splitter.pending:
            self.run(splitter.rest())

    def line(self, splitter, line):
        if not splitter.pending and line.lstrip()[:1] in ("\\", "."):
            splitter.rest()
            self.command(line.strip())
        else:
            for statement in splitter.feed(line):
                self.run(statement)

    def run(self, statement):
        with self.reported(), contextlib.closing(self.connection.cursor()) as cursor:
            cursor.execute(statement)
            if cursor.description:
                names = [column[0] for column in cursor.description]
                right = [bool(_number_re.match(str(column[1]))) for column in cursor.description]
                self.printer.result(names, cursor, right)
            elif not self.printer.tuples_only:
                word = statement.split(None, 1)[0].upper()
                print(f"{word} {cursor.rowcount}" if cursor.rowcount >= 0 else word)

    @contextlib.contextmanager
    def reported(self):
        """Runs a thing, says how long it took, and prints its error."""
        begin = time.perf_counter()
        try:
            yield
        except (_core.Error, OSError, UnicodeError, LookupError) as err:
            if isinstance(err, BrokenPipeError):
                raise
            self.error(err)
        except KeyboardInterrupt:
            self.error("canceled")
            if not sys.stdin.isatty():
                raise
        finally:
            if self.timing:
                print(f"Time: {(time.perf_counter() - begin) * 1e3:.3f} ms")
            sys.stdout.flush()

    def error(self, err):
        self.failed = True
        sys.stdout.flush()
        print(f"ERROR: {err}", file=sys.stderr, flush=True)

    # Commands that are no SQL.

    def command(self, line):
        word, _, argument = line.partition(" ")
        argument = argument.strip().removesuffix(";").strip()
        name = ALIASES.get(word.removesuffix(";"), word.removesuffix(";"))
        method = self.COMMANDS.get(name)
        if method is None:
            self.error(f"there is no command {word}; \\? lists those there are")
        else:
            with self.reported():
                method(self, argument)

    def describe(self, name):
        if not name:
            rows = [(name, kind) for name, kind in self.relations()]
            self.printer.result(["Name", "Kind"], rows)
            return
        definition = json.loads(self.connection.table_def(name.strip('"')))
        names = {column["id"]: column["name"] for column in definition["columns"]}
        rows = [
            (c["name"], c["sql_type"], "not null" if c.get("not_null") else "", column_default(c))
            for c in definition["columns"]
        ]
        self.printer.result(["Column", "Type", "Null", "Default"], rows)
        if definition["view"]:
            print(f"  {definition['view']}")
        for part in (*definition["constraints"], *definition["indexes"]):
            columns = [str(names.get(c, c)) for c in part.get("columns") or []]
            print(f"  {part['name']}: {described(part, columns)}")

    def relations(self):
        tables = ((name, "table") for name in self.connection.tables())
        return sorted([*tables, *((name, "view") for name in self.connection.views())])

    def snapshots(self, name):
        rows = [
            (s["snapshot_id"], s["committed_at"], s["operation"]) for s in self.connection.snapshots(name.strip('"'))
        ]
        self.printer.result(["Snapshot", "Committed at", "Operation"], rows, [True, False, False])

    def read(self, path):
        if not path:
            raise LookupError("\\i needs the name of a file")
        if self.depth >= 16:
            raise LookupError(f"{path}: files run files too deep")
        with open(Path(path.strip("'\"")).expanduser(), encoding="utf-8") as file:
            self.depth += 1
            try:
                self.lines(file)
            finally:
                self.depth -= 1

    def set_timing(self, argument):
        self.timing = switched(argument, self.timing)
        print(f"Timing is {'on' if self.timing else 'off'}.")

    def set_expanded(self, argument):
        on = switched(argument, self.printer.style == "expanded")
        self.printer.style = "expanded" if on else "aligned"
        print(f"A line for each value is {'on' if on else 'off'}.")

    def help(self, argument):
        print(HELP)

    def quit(self, argument):
        raise Quit

    COMMANDS: ClassVar = {
        r"\d": describe,
        r"\snapshots": snapshots,
        r"\i": read,
        r"\x": set_expanded,
        r"\timing": set_timing,
        r"\?": help,
        r"\q": quit,
    }

    # At a terminal.

    def prompt(self, title):
        print(f'iceberg-sql {__version__}, {title}. "\\?" for help.')
        with history(self.words):
            splitter = Splitter()
            while True:
                try:
                    mark = "-" if splitter.pending else "*" if self.connection.in_transaction else "="
                    self.line(splitter, input(f"iceberg{mark}> ") + "\n")
                except EOFError:
                    print()
                    return
                except KeyboardInterrupt:
                    print()
                    splitter.rest()

    def words(self):
        """What Tab completes to."""
        with contextlib.suppress(_core.Error):
            return [name for name, _ in self.relations()]
        return []


def switched(argument, now):
    if argument not in ("", "on", "off"):
        raise LookupError(f"{argument!r}: on or off")
    return argument == "on" if argument else not now


def column_default(column):
    if column.get("generated"):
        return f"generated always as ({column['generated']})"
    return "identity" if column.get("identity") else column.get("default")


def described(part, columns):
    """A constraint or index in SQL's words."""
    kind = part.get("kind") or "btree"
    listed = f"({part.get('expr') or part.get('expressions') or ', '.join(columns)})"
    if kind == "check":
        return f"CHECK ({part['check']})"
    if kind == "foreign":
        referred = ", ".join(part.get("ref_columns") or [])
        return f"FOREIGN KEY {listed} REFERENCES {part['ref_table_name']}{f' ({referred})' if referred else ''}"
    words = {"primary": "PRIMARY KEY", "unique": "UNIQUE"}.get(kind, f"INDEX {kind}")
    return f"{words} {listed}" + (f" WHERE {part['where']}" if part.get("where") else "")


@contextlib.contextmanager
def history(words):
    """Lines of earlier sessions, and names for Tab."""
    try:
        import readline
    except ImportError:
        yield
        return
    path = os.path.expanduser(os.environ.get("ICEBERG_SQL_HISTORY", HISTORY))
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(2000)
    matches = []

    def complete(text, state):
        if state == 0:
            matches[:] = [name for name in words() if name.startswith(text)]
        return matches[state] if state < len(matches) else None

    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(path)


def parser():
    parser = argparse.ArgumentParser(
        prog="iceberg-sql",
        description="Runs SQL on an Iceberg warehouse: what -c and -f give, else what the standard input has.",
        epilog=f"The variable {OPTIONS_VARIABLE} may hold options, as a JSON object; those of -o come on top.",
    )
    add = parser.add_argument
    add("warehouse", help="directory of the warehouse")
    add("--catalog", metavar="FILE", help="SQLite catalog; catalog.db in the warehouse where not given")
    add("--namespace", default="default", help="'%(default)s' where not given")
    add("--timezone", default="UTC", help="time zone of the session, '%(default)s' where not given")
    add("-o", "--option", action="append", default=[], metavar="KEY=VALUE", help="one of docs/settings.md's OPTIONS")
    add(
        "-c",
        "--command",
        action="append",
        dest="inputs",
        metavar="SQL",
        type=lambda sql: ("sql", sql),
        help="may repeat",
    )
    add(
        "-f",
        "--file",
        action="append",
        dest="inputs",
        metavar="FILE",
        type=lambda path: ("file", path),
        help="may repeat",
    )
    add("-t", "--tuples-only", action="store_true", help="rows alone")
    style = parser.add_mutually_exclusive_group()
    for flags, name, text in (
        (("-A", "--no-align"), "bare", "values with | between them"),
        (("-x", "--expanded"), "expanded", "a line for each value"),
        (("--csv",), "csv", "comma-separated values"),
    ):
        style.add_argument(*flags, action="store_const", dest="style", const=name, default="aligned", help=text)
    add("--timing", action="store_true", help="print the time of each statement")
    add("--version", action="version", version=f"iceberg-sql {__version__}")
    return parser


def options_of(arguments):
    options = json.loads(os.environ.get(OPTIONS_VARIABLE) or "{}")
    for text in arguments.option:
        key, equals, value = text.partition("=")
        if not equals:
            raise ImproperlyConfigured(f"-o {text}: write KEY=VALUE")
        kind = conf.CORE_OPTIONS.get(key, (str,))[0]
        if kind is bool and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        elif kind is int and value.isdecimal():
            value = int(value)
        options[key] = value
    conf.check_options(options, "the session")
    return {key: value for key, value in options.items() if value is not None}


def connect(arguments):
    warehouse = os.path.abspath(Path(arguments.warehouse).expanduser())
    connection = _core.connect(
        warehouse,
        catalog=os.path.abspath(arguments.catalog) if arguments.catalog else os.path.join(warehouse, "catalog.db"),
        namespace=arguments.namespace,
        duckdb_library=conf.duckdb_library(),
        options={**options_of(arguments), "prelude": list(MACROS)},
    )
    connection.timezone = arguments.timezone
    return connection


def main(argv=None):
    arguments = parser().parse_args(argv)
    # Whoever runs this may ignore Ctrl-C meanwhile, as manage.py does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        zone = zoneinfo.ZoneInfo(arguments.timezone)
        connection = connect(arguments)
    except (ImproperlyConfigured, _core.Error, ValueError, LookupError) as err:
        print(f"iceberg-sql: {err}", file=sys.stderr)
        return 2
    shell = Shell(connection, Printer(arguments.style, arguments.tuples_only, zone), arguments.timing)
    interactive = sys.stdin.isatty() and not arguments.inputs
    try:
        if interactive:
            shell.prompt(arguments.warehouse)
        for kind, text in arguments.inputs or ():
            shell.lines([text]) if kind == "sql" else shell.command(f"\\i {text}")
        if not interactive and not arguments.inputs:
            shell.lines(sys.stdin)
        sys.stdout.flush()
    except Quit:
        pass
    except BrokenPipeError:
        # Nobody reads on. Python writes what is left at its end: to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    finally:
        connection.close()
    return 1 if shell.failed and not interactive else 0


if __name__ == "__main__":
    sys.exit(main())
