#!/usr/bin/env python3
"""Writes docs/errors.md from the table of codes in core/base/error.h.

The header knows code, SQLSTATE and exception; what a code means to a user, and what to do, is below. A code
without an entry here, or an entry without a code, is an error.

Usage: gen_errors.py [--check]     --check: write nothing, fail where the file is not what it would be
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "core" / "base" / "error.h"
PAGE = ROOT / "docs" / "errors.md"
ROW = re.compile(r'^ *X\((\w+), "(\w{5})", "(\w+)"\)', re.MULTILINE)

# code: (meaning, what to do)
MEANINGS = {
    "NOMEM": ("Out of memory.", "Lower `memory.budget`, or read less at once."),
    "IO": (
        "The operating system refused a read, write or sync.",
        "The message names the file. After a failed sync every write tries to go on with the log; this is why it cannot yet. Reads go on.",
    ),
    "NOT_FOUND": (
        'A file is not there. "no warehouse at ...": nothing has been created at `WAREHOUSE` yet.',
        "Run `migrate`, or correct `WAREHOUSE`.",
    ),
    "EXISTS": ("A file that had to be new exists.", "Another process was first; try again."),
    "CONFLICT": (
        "A pointer in the catalog moved while it was being changed.",
        "Try again. Statements and flushes do so themselves.",
    ),
    "CORRUPT": (
        "Bytes read are not what they claim to be; the message names file and place.",
        "Restore from a backup.",
    ),
    "CACHE": (
        "A file of `cache/` is damaged and cannot be made again, or not now.",
        "Files of `cache/` are made again without being asked, with a line on standard error; see whether the directory is writable, or remove it.",
    ),
    "CONFIG": ("A setting is wrong.", "The message names the key."),
    "UNSUPPORTED": ("The statement, type or file feature is not supported.", "See [limits](limits.md)."),
    "SYNTAX": ("The SQL cannot be parsed.", "The message gives the place."),
    "NO_TABLE": ("The table does not exist.", "Run `migrate`."),
    "NO_COLUMN": ("The column does not exist.", "Run `migrate`."),
    "NO_OBJECT": ("The constraint or index does not exist.", ""),
    "DUP_TABLE": ("The table exists already.", ""),
    "DUP_COLUMN": ("The column exists already.", ""),
    "DUP_OBJECT": ("A constraint or index of that name exists already.", ""),
    "DEPENDENT": (
        "Other objects depend on what is dropped, or a view on what is altered.",
        "Drop them first, or say CASCADE.",
    ),
    "WRONG_OBJECT": ("A view where a table is meant, or the reverse.", ""),
    "BAD_DEFINITION": (
        "`CREATE OR REPLACE VIEW` would take a column away, change one, or read the view itself.",
        "Drop the view first.",
    ),
    "CARDINALITY": (
        "`ON CONFLICT DO UPDATE` would change a row twice: two of the statement's rows have the same key.",
        "Give each key once.",
    ),
    "UNIQUE": ("A value of a unique key is there already.", ""),
    "NOT_NULL": ("A column that must have a value would be NULL.", ""),
    "FOREIGN_KEY": ("A row refers to one that is not there. Raised at commit.", ""),
    "CHECK": ("A check constraint would be violated.", ""),
    "RANGE": ("A number does not fit its column.", ""),
    "TOO_LONG": ("A text does not fit its column, or a transaction one log record (1 GiB).", ""),
    "BAD_VALUE": ("A value cannot be read as the type wanted.", ""),
    "BAD_ARGUMENT": ("A function does not take such a value: bytes in hexadecimal with another character, say.", ""),
    "BAD_LOGARITHM": ("A logarithm of zero, or of a negative number.", ""),
    "BAD_POWER": ("A root of a negative number, or zero to a negative power.", ""),
    "BAD_SUBSTRING": ("A part of a text of negative length.", ""),
    "BAD_PATTERN": (
        "A text is no regular expression, or there are too many ways to match it.",
        "Have no repeated group inside a repeated group.",
    ),
    "DIV_ZERO": ("Division by zero.", ""),
    "DATETIME": ("A date or time is out of range.", ""),
    "SERIALIZATION": (
        "A row changed since the transaction's view (`isolation-level: snapshot`).",
        "Run the transaction again.",
    ),
    "DEADLOCK": ("Two transactions waited for each other; this one was ended.", "Run the transaction again."),
    "LOCK_TIMEOUT": (
        "A lock was not free within `lock.timeout-ms`, or at once with NOWAIT; or the catalog was busy.",
        "Try again.",
    ),
    "CANCELED": ("The statement was interrupted.", ""),
    "DISK_FULL": (
        "No space on the disk; or the unpublished log reached `log.max-bytes`.",
        "Make room; see `iceberg_status` for what keeps the flusher from publishing.",
    ),
    "OUTCOME_UNKNOWN": (
        "A sync failed while the commit was on its way: it may or may not last.",
        "Read the rows again before writing them again.",
    ),
    "CLOCK_SKEW": (
        "The last commit time is further ahead of the clock than `clock.max-skew-ms`.",
        "Set the clock.",
    ),
    "HISTORY_EXPIRED": (
        "The instant asked for is before the history that is kept. `timetravel.HistoryExpired`.",
        "",
    ),
    "FUTURE": ("The instant asked for has not come yet. `timetravel.FutureInstant`.", ""),
    "READ_ONLY": ("A write with `read-only: True`, or a write as of the past.", ""),
    "TX_ABORTED": (
        "The transaction has lost a deadlock or a conflict and can only be rolled back.",
        "Roll back, to a savepoint or altogether.",
    ),
    "NO_SAVEPOINT": ("No such savepoint, or none outside a transaction.", ""),
    "MISUSE": ("A call out of order: a connection used after it was closed, or after `fork()`.", ""),
    "ENGINE": ("An error of the query engine that has no code of its own.", ""),
    "INTERNAL": ("An error in django-iceberg.", "Report it with the message."),
}

HEAD = """\
# Errors

<!-- Written by tools/gen_errors.py from core/base/error.h; edit there. -->

Every error is an exception of PEP 249, as Django wraps it (`django.db.IntegrityError`, ...). The exception of
the driver (`__cause__` of Django's) has `code`, the name below; `sqlstate`, PostgreSQL's where one fits and
`IC...` where none does; `table_name` and `constraint_name`, or None.

```python
try:
    account.save()
except IntegrityError as err:
    err.__cause__.code, err.__cause__.sqlstate, err.__cause__.constraint_name
```

| code | SQLSTATE | exception | meaning | what to do |
|---|---|---|---|---|
"""


def page():
    rows = [row for row in ROW.findall(HEADER.read_text()) if row[0] != "OK"]
    codes = [row[0] for row in rows]
    if not codes:
        sys.exit(f"no codes found in {HEADER}")
    wrong = sorted(set(codes) ^ MEANINGS.keys())
    if wrong:
        sys.exit(f"codes of {HEADER.name} and entries of {Path(__file__).name} differ: {', '.join(wrong)}")
    lines = ["| `{}` | {} | {} | {} | {} |".format(*row, *MEANINGS[row[0]]) for row in rows]
    return HEAD + "\n".join(lines) + "\n"


def main():
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text)
        return 0
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is not what {HEADER.relative_to(ROOT)} says: run tools/gen_errors.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
