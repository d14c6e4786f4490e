"""Every past instant, asked for and compared with a model.

Random transactions of several processes are remembered with their commit times, which the database itself tells:
`<table>__versions` has them as `_row_start`. The model replays them in that order. Any instant then has one right
answer, and it stays the same before and after flush, compaction and restart.
"""

import datetime
import json
import random
import sys

import pytest
from workers import Workers

from django_iceberg import _core

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
KEYS = 12

# `mark` names the transaction that wrote a version; `journal` has a row for each transaction.
SCHEMA = [
    "CREATE TABLE item (id bigint PRIMARY KEY, v integer NOT NULL, s varchar(20) UNIQUE, mark varchar(20) NOT NULL)",
    "CREATE TABLE other (id bigint PRIMARY KEY, v integer NOT NULL, mark varchar(20) NOT NULL)",
    "CREATE TABLE journal (mark varchar(20) PRIMARY KEY, changes text NOT NULL)",
]


def transactions(connection, tell, worker, seed, count):
    """Random transactions, some of them rolled back. What one changed is written down in its own journal row."""
    numbers = random.Random(seed)
    cursor = connection.cursor()
    connection.autocommit = False
    for number in range(count):
        mark, changes = f"{worker}-{number}", []
        try:
            for _ in range(numbers.randint(1, 4)):
                changes += change(cursor, numbers, mark)
            cursor.execute("INSERT INTO journal VALUES (%s, %s)", (mark, json.dumps(changes)))
            if numbers.random() < 0.15:
                connection.rollback()
            else:
                connection.commit()
        except (_core.IntegrityError, _core.OperationalError) as error:
            # A duplicate, or the losing side of a deadlock.
            assert error.sqlstate in ("23505", "40P01", "40001"), error
            connection.rollback()
        maintain(connection, tell, number, worker)


def maintain(connection, tell, number, worker):
    """One process flushes and compacts, another compacts meanwhile: each tells how many tables it compacted."""
    if worker == 0 and number % 3 == 2:
        connection.flush()
    if worker in (0, 1) and number % 9 == 8:
        tell(len(connection.compact()))


def settle(connection):
    """Flushes that surely leave two small files of each table and of item's history, and are in the model."""
    connection.compact()
    cursor = connection.cursor()
    connection.autocommit = False
    for number, statements in enumerate(SETTLING):
        mark, changes = f"settling-{number}", []
        for table, sql in statements:
            cursor.execute(sql, (mark,) if "%s" in sql else None)
            deleted = sql.startswith("DELETE")
            changes += [(table, key, None if deleted else [*row, mark]) for key, *row in cursor.fetchall()]
        cursor.execute("INSERT INTO journal VALUES (%s, %s)", (mark, json.dumps(changes)))
        connection.commit()
        connection.flush()
    connection.autocommit = True


SETTLING = [
    [
        (
            "item",
            "INSERT INTO item SELECT i, 0, 'settling ' || i, %s FROM range(100, 110) AS r(i) RETURNING id, v, s",
        ),
        ("other", "INSERT INTO other SELECT i, 0, %s FROM range(100, 110) AS r(i) RETURNING id, v"),
    ],
    [
        ("item", "UPDATE item SET v = 1, mark = %s WHERE id IN (101, 102) RETURNING id, v, s"),
        ("other", "INSERT INTO other VALUES (110, 0, %s) RETURNING id, v"),
    ],
    [("item", "DELETE FROM item WHERE id = 103 RETURNING id")],
]


def change(cursor, numbers, mark):
    """One statement; returns its changes as (table, key, row or None)."""
    table = numbers.choice(["item", "item", "other"])
    key, value = numbers.randint(1, KEYS), numbers.randint(0, 1000)
    kind = numbers.choice(
        ["insert", "insert", "update", "update", "update many", "delete", "delete many", "insert many"]
    )
    returning = "id, v, s" if table == "item" else "id, v"
    if kind == "insert":
        if table == "item":
            row = (key, value, f"s{numbers.randint(1, 40)}", mark)
            sql = "INSERT INTO item VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO NOTHING RETURNING " + returning
        else:
            row = (key, value, mark)
            sql = "INSERT INTO other VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING RETURNING " + returning
        cursor.execute(sql, row)
    elif kind == "update":
        cursor.execute(f"UPDATE {table} SET v = v + 1, mark = %s WHERE id = %s RETURNING " + returning, (mark, key))
    elif kind == "update many":
        cursor.execute(f"UPDATE {table} SET v = %s, mark = %s WHERE v %% 3 = 0 RETURNING " + returning, (value, mark))
    elif kind == "insert many":
        columns = "i, i + %s, 's' || (i + 50), %s" if table == "item" else "i, i + %s, %s"
        cursor.execute(
            f"INSERT INTO {table} SELECT {columns} FROM range(%s, %s) AS r(i) WHERE i NOT IN (SELECT id FROM {table}) "
            f"RETURNING {returning}",
            (value, mark, key, min(key + 6, KEYS + 1)),
        )
    else:
        condition = "id = %s" if kind == "delete" else "id > %s"
        cursor.execute(f"DELETE FROM {table} WHERE {condition} RETURNING id", (key,))
        return [(table, row[0], None) for row in cursor.fetchall()]
    return [(table, row[0], [*row[1:], mark]) for row in cursor.fetchall()]


class Model:
    """The committed transactions in order, and what each table held after each."""

    def __init__(self, connection):
        cursor = connection.cursor()
        cursor.execute("SELECT mark, changes, _row_start FROM journal__versions ORDER BY _row_start")
        state = {"item": {}, "other": {}}
        self.times, self.states = [], []
        for mark, changes, start in cursor.fetchall():
            for table, key, row in json.loads(changes):
                if row is None:
                    state[table].pop(key, None)
                else:
                    state[table][key] = row
            self.times.append((start - EPOCH) // datetime.timedelta(microseconds=1))
            self.states.append({table: dict(rows) for table, rows in state.items()})
            state = {table: dict(rows) for table, rows in state.items()}
            assert mark
        assert self.times == sorted(set(self.times))

    def at(self, instant):
        """What the tables held at an instant."""
        held = {"item": {}, "other": {}}
        for time, state in zip(self.times, self.states, strict=True):
            if time > instant:
                break
            held = state
        return held


def read(connection, instant, fast=True):
    cursor = connection.cursor()
    connection.fast_path = fast
    found = {}
    for table, columns in [("item", "id, v, s, mark"), ("other", "id, v, mark")]:
        cursor.execute(f"SELECT {columns} FROM {table}", as_of=instant)
        rows = cursor.fetchall()
        found[table] = {row[0]: list(row[1:]) for row in rows}
        assert len(found[table]) == len(rows), "a key is there once"
    connection.fast_path = True
    return found


def check_everything(connection, model, numbers):
    """Every commit's instant, the microsecond before it, and some between."""
    instants = {t + shift for t in model.times for shift in (-1, 0)}
    instants |= {numbers.randint(model.times[0], model.times[-1]) for _ in range(20)}
    for instant in sorted(instants):
        assert read(connection, instant) == model.at(instant), instant
    check_look_ups(connection, model, numbers)
    cursor = connection.cursor()
    cursor.execute("SELECT id, v, s, mark FROM item")
    assert {row[0]: list(row[1:]) for row in cursor.fetchall()} == model.states[-1]["item"]


def check_look_ups(connection, model, numbers):
    """Single keys and counts at random instants: other paths than the whole table's."""
    cursor = connection.cursor()
    for _ in range(60):
        instant, key = numbers.choice(model.times) - numbers.randint(0, 1), numbers.randint(1, KEYS)
        held = model.at(instant)["item"]
        cursor.execute("SELECT v, s, mark FROM item WHERE id = %s", (key,), as_of=instant)
        assert [list(row) for row in cursor.fetchall()] == ([held[key]] if key in held else [])
        cursor.execute("SELECT count(*), sum(v) FROM item", as_of=instant)
        total = sum(row[0] for row in held.values()) if held else None
        assert cursor.fetchone() == (len(held), total)
        cursor.execute("SELECT id FROM item WHERE s = %s", (f"s{key}",), as_of=instant)
        assert {row[0] for row in cursor.fetchall()} == {k for k, row in held.items() if row[1] == f"s{key}"}


def check_versions(connection, model):
    """The versions of each row abut or leave the gaps in which it was deleted, and are those of the model."""
    cursor = connection.cursor()
    cursor.execute("SELECT id, v, s, mark, _row_start, _row_end FROM item__versions ORDER BY id, _row_start")
    found = [
        (key, row, (start - EPOCH) // datetime.timedelta(microseconds=1),
         None if end is None else (end - EPOCH) // datetime.timedelta(microseconds=1))
        for key, *row, start, end in cursor.fetchall()
    ]  # fmt: skip
    expected = []
    open_ = {}
    previous = {}
    for time, state in zip(model.times, model.states, strict=True):
        now = state["item"]
        for key in sorted(set(previous) | set(now)):
            if previous.get(key) == now.get(key):
                continue
            if key in open_:
                row, start = open_.pop(key)
                expected.append((key, row, start, time))
            if key in now:
                open_[key] = (now[key], time)
        previous = now
    expected += [(key, row, start, None) for key, (row, start) in open_.items()]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def repeat_readings(connection, tell):
    """Reads instants twice while others write: an instant's answer is settled once it has been given."""
    tell("ready")
    readings = []
    for line in sys.stdin:
        if line.strip() == "end":
            break
        instant = connection.now()
        readings.append((instant, read(connection, instant)))
    for instant, found in readings:
        assert read(connection, instant) == found, instant
    tell([[instant, found] for instant, found in readings])


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("bulk", [0, 3])
def test_every_instant(connect, warehouse, duckdb_library, seed, bulk):
    """With `bulk`, statements that change three rows or more take the bulk path."""
    options = {"bulk.rows": bulk, "flush.rewrite-bytes": 0}
    connection = connect(options)
    cursor = connection.cursor()
    for statement in SCHEMA:
        cursor.execute(statement)
    beginning = connection.now()
    numbers = random.Random(seed)
    with Workers(warehouse, duckdb_library) as start:
        reader = start(repeat_readings)
        assert reader.line() == "ready"
        workers = [start(transactions, i, seed * 10 + i, 40, **options) for i in range(3)]
        for _ in range(20):
            reader.say("read")
        compactions = [sum(worker.finish()) for worker in workers]
        reader.say("end")
        readings = reader.finish()[0]
    assert compactions[0] > 0
    settle(connection)
    model = Model(connection)
    assert len(model.times) > 30
    for instant, found in readings:
        found = {table: {int(key): row for key, row in rows.items()} for table, rows in found.items()}
        assert found == model.at(instant)
    assert read(connection, beginning) == {"item": {}, "other": {}}

    check_everything(connection, model, numbers)
    check_versions(connection, model)
    before = connection.snapshots("item")[0]["summary"]
    done = {one["table"]: one for one in connection.compact()}
    assert done.keys() >= {"item", "item__history", "other", "journal"}
    assert done["item"]["files_before"] >= 2 > done["item"]["files_after"]
    assert done["item"]["deletion_vectors"] == int(before["total-delete-files"]) > 0
    check_everything(connection, model, numbers)
    check_versions(connection, model)
    connection.close()
    connection = connect(options)
    check_everything(connection, model, numbers)
    check_versions(connection, model)
    assert connection.check() == []
    # More changes on top leave the past as it was.
    cursor = connection.cursor()
    cursor.execute("UPDATE item SET v = -1")
    cursor.execute("DELETE FROM other")
    for instant in model.times[:: max(len(model.times) // 10, 1)]:
        assert read(connection, instant) == model.at(instant)
    connection.flush()
    for instant in model.times[:: max(len(model.times) // 10, 1)]:
        assert read(connection, instant, fast=False) == model.at(instant)
