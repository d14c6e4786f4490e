"""Random statements in transactions and savepoints, with flushes and compactions between them, as SQL told to both."""

from django.db import Error, connections

from .databases import OURS, PEER

DEFINITIONS = (
    "CREATE TABLE told_parent (id integer PRIMARY KEY, v integer)",
    """CREATE TABLE told (id integer PRIMARY KEY, u integer UNIQUE, v integer, s varchar(9),
        p_id integer REFERENCES told_parent (id) DEFERRABLE INITIALLY DEFERRED, UNIQUE (p_id, v))""",
    "CREATE UNIQUE INDEX told_few ON told (s) WHERE v > 50",
)
WHOLE = (
    "SELECT * FROM told ORDER BY id",
    "SELECT * FROM told_parent ORDER BY id",
    "SELECT p_id, count(*) FROM told GROUP BY p_id ORDER BY p_id NULLS LAST",
)


class Different(Exception):
    pass


class Both:
    """A session of each that are told the same."""

    def __init__(self, random):
        self.random = random
        self.cursors = {alias: connections[alias].cursor() for alias in (OURS, PEER)}
        self.savepoints = None
        self.told = []

    def tell(self, sql, params=()):
        self.told.append((sql, params))
        results = {alias: self._result(alias, sql, params) for alias in (OURS, PEER)}
        if results[OURS] != results[PEER]:
            raise Different(f"ours {results[OURS]}, not {results[PEER]}; told: {self.told[-12:]}")

    def _result(self, alias, sql, params):
        """The number of rows, or the error's class; PostgreSQL goes on after a failure where a savepoint says so."""
        cursor, inside = self.cursors[alias], alias == PEER and self.savepoints is not None
        changes = sql.startswith(("INSERT", "UPDATE", "DELETE"))
        try:
            if inside and changes:
                cursor.execute("SAVEPOINT told_one")
            cursor.execute(sql, params)
            return cursor.rowcount if changes else None
        except Error as err:
            if inside and changes:
                cursor.execute("ROLLBACK TO SAVEPOINT told_one")
            return type(err).__name__

    def compare(self):
        number = self.random.randint(0, 60)
        look_ups = [("SELECT id FROM told WHERE u = %s", number), ("SELECT u FROM told WHERE id = %s", number)]
        look_ups.append(("SELECT id FROM told WHERE p_id = %s ORDER BY id", number % 9))
        for sql, *params in [*((sql,) for sql in WHOLE), *look_ups]:
            rows = []
            for alias in (OURS, PEER):
                self.cursors[alias].execute(sql, params)
                rows.append(self.cursors[alias].fetchall())
            if rows[0] != rows[1]:
                raise Different(f"{sql} {params}: ours {rows[0]}, not {rows[1]}; told: {self.told[-12:]}")

    def statement(self):
        r = self.random.randint

        def some(n):
            return r(0, n) if r(0, 6) else None

        def letter():
            return self.random.choice(["a", "b", "c", None])

        insert = "INSERT INTO told (id, u, p_id, v, s) VALUES (%s, %s, %s, %s, %s)"
        row = (r(1, 60), some(60), some(8), some(99), letter())
        return self.random.choice(
            [
                (insert, row),
                (insert, row),
                (f"{insert} ON CONFLICT (id) DO UPDATE SET u = EXCLUDED.u, v = EXCLUDED.v", row),
                (
                    "INSERT INTO told (id, u, v) VALUES (%s, %s, %s), (%s, %s, %s) ON CONFLICT DO NOTHING",
                    (r(1, 60), some(60), some(99), r(1, 60), some(60), some(99)),
                ),
                ("INSERT INTO told_parent VALUES (%s, %s)", (r(0, 8), r(0, 9))),
                ("UPDATE told SET v = v + 1 WHERE id = %s", (r(1, 60),)),
                ("UPDATE told SET u = %s, s = %s WHERE id = %s", (some(60), letter(), r(1, 60))),
                ("UPDATE told SET id = id + 100 WHERE u = %s", (r(0, 60),)),
                ("UPDATE told SET p_id = %s WHERE id = %s AND v >= %s", (some(8), r(1, 60), r(0, 50))),
                ("DELETE FROM told WHERE id IN (%s, %s, %s)", (r(1, 160), r(1, 160), r(1, 60))),
                ("DELETE FROM told WHERE p_id = %s AND v < %s", (r(0, 8), r(0, 99))),
                ("DELETE FROM told_parent WHERE id = %s", (r(0, 8),)),
            ]
        )

    def outside(self):
        match self.random.randint(0, 30):
            case 0:
                connections[OURS].connection.flush()
            case 1:
                connections[OURS].connection.compact()
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
        self.savepoints = None
        self.tell(how)
        self.compare()

    def run(self, steps):
        for definition in DEFINITIONS:
            self.tell(definition)
        for step in range(steps):
            if self.savepoints is None:
                self.outside()
            else:
                self.inside()
            if step % 7 == 0:
                self.compare()
        if self.savepoints is not None:
            self.end("ROLLBACK")
        connections[OURS].connection.flush()
        self.compare()
        problems = connections[OURS].connection.check()
        if problems:
            raise Different(f"check: {problems}")
        for table in ("told", "told_parent"):
            self.tell(f"DROP TABLE {table}")
