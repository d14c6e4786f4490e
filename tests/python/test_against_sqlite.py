"""Random statements, transactions, flushes and compactions, with the same answers as SQLite's."""

import contextlib
import random
import sqlite3

import pytest

from django_iceberg import _core

DEFINITIONS = (
    "CREATE TABLE p (id integer PRIMARY KEY, v integer)",
    """CREATE TABLE t (id integer PRIMARY KEY, u integer UNIQUE, v integer, s varchar(9),
        p_id integer REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED, UNIQUE (p_id, v))""",
    "CREATE UNIQUE INDEX few ON t (s) WHERE v > 50",
)
WHOLE = (
    "SELECT * FROM t ORDER BY id",
    "SELECT * FROM p ORDER BY id",
    "SELECT p_id, count(*) FROM t GROUP BY p_id ORDER BY p_id NULLS LAST",
)


class Both:
    """A session of ours and one of SQLite's that are told the same."""

    def __init__(self, connection, seed):
        self.connection = connection
        self.ours = connection.cursor()
        self.theirs = sqlite3.connect(":memory:", isolation_level=None).cursor()
        self.theirs.execute("PRAGMA foreign_keys = ON")
        self.random = random.Random(seed)
        self.savepoints = None
        self.told = []

    def tell(self, sql, params=()):
        self.told.append((sql, params))
        failed = [False, False]
        try:
            self.ours.execute(sql, params)
        except _core.IntegrityError:
            failed[0] = True
        try:
            self.theirs.execute(sql.replace("%s", "?"), params)
        except sqlite3.IntegrityError:
            failed[1] = True
        assert failed[0] == failed[1], self.told[-12:]
        if sql.startswith(("INSERT", "UPDATE", "DELETE")) and not failed[0]:
            assert self.ours.rowcount == self.theirs.rowcount, self.told[-12:]

    def compare(self):
        number = self.random.randint(0, 60)
        look_ups = [("SELECT id FROM t WHERE u = %s", number), ("SELECT u FROM t WHERE id = %s", number)]
        look_ups.append(("SELECT id FROM t WHERE p_id = %s ORDER BY id", number % 9))
        for sql, *params in [*((sql,) for sql in WHOLE), *look_ups]:
            ours = self.ours.execute(sql, params).fetchall()
            assert ours == self.theirs.execute(sql.replace("%s", "?"), params).fetchall(), (sql, self.told[-12:])

    def statement(self):
        r = self.random.randint

        def some(n):
            return r(0, n) if r(0, 6) else None

        def letter():
            return self.random.choice(["a", "b", "c", None])

        insert = "INSERT INTO t (id, u, p_id, v, s) VALUES (%s, %s, %s, %s, %s)"
        row = (r(1, 60), some(60), some(8), some(99), letter())
        return self.random.choice(
            [
                (insert, row),
                (insert, row),
                (f"{insert} ON CONFLICT (id) DO UPDATE SET u = EXCLUDED.u, v = EXCLUDED.v", row),
                (
                    "INSERT INTO t (id, u, v) VALUES (%s, %s, %s), (%s, %s, %s) ON CONFLICT DO NOTHING",
                    (r(1, 60), some(60), some(99), r(1, 60), some(60), some(99)),
                ),
                ("INSERT INTO p VALUES (%s, %s)", (r(0, 8), r(0, 9))),
                ("UPDATE t SET v = v + 1 WHERE id = %s", (r(1, 60),)),
                ("UPDATE t SET u = %s, s = %s WHERE id = %s", (some(60), letter(), r(1, 60))),
                ("UPDATE t SET id = id + 100 WHERE u = %s", (r(0, 60),)),
                ("UPDATE t SET p_id = %s WHERE id = %s AND v >= %s", (some(8), r(1, 60), r(0, 50))),
                ("DELETE FROM t WHERE id IN (%s, %s, %s)", (r(1, 160), r(1, 160), r(1, 60))),
                ("DELETE FROM t WHERE p_id = %s AND v < %s", (r(0, 8), r(0, 99))),
                ("DELETE FROM p WHERE id = %s", (r(0, 8),)),
            ]
        )

    def outside(self):
        match self.random.randint(0, 30):
            case 0:
                self.connection.flush()
            case 1:
                self.connection.compact()
            case 2 | 3:
                self.tell("BEGIN")
                self.savepoints = []
            case _:
                self.tell(*self.statement())

    def inside(self):
        match self.random.randint(0, 30):
            case 0 | 1:
                self.savepoints.append(f"s{len(self.savepoints)}")
                self.tell(f"SAVEPOINT {self.savepoints[-1]}")
            case 2 | 3 if self.savepoints:
                at = self.random.randrange(len(self.savepoints))
                self.tell(f"ROLLBACK TO SAVEPOINT {self.savepoints[at]}")
                del self.savepoints[at + 1 :]
            case 4 | 5:
                self.end(self.random.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
            case _:
                self.tell(*self.statement())

    def end(self, how):
        self.tell(how)
        # SQLite keeps a transaction whose COMMIT failed.
        with contextlib.suppress(sqlite3.OperationalError):
            self.theirs.execute("ROLLBACK")
        self.savepoints = None
        self.compare()


@pytest.mark.parametrize("seed", range(4))
def test_random_statements(connection, seed):
    both = Both(connection, seed)
    for definition in DEFINITIONS:
        both.tell(definition)
    for step in range(250):
        if both.savepoints is None:
            both.outside()
        else:
            both.inside()
        if step % 7 == 0:
            both.compare()
    if both.savepoints is not None:
        both.end("ROLLBACK")
    connection.flush()
    both.compare()
    assert connection.check() == []
