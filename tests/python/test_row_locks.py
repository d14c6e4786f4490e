"""Locking clauses by place: each query locks, and with SKIP LOCKED leaves out, rows of its own FROM, at the top level or in brackets."""

import sys

import pytest
from workers import Workers

from django_iceberg import _core

SKIP = "FOR UPDATE SKIP LOCKED"


@pytest.fixture
def cursor(connect):
    cursor = connect().cursor()
    cursor.execute(
        "CREATE TABLE job (id bigint PRIMARY KEY, parent bigint, done boolean NOT NULL DEFAULT false, worker text)"
    )
    cursor.execute("CREATE TABLE did (job bigint, worker integer)")
    cursor.execute("INSERT INTO job (id, parent) VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5)")
    cursor.connection.autocommit = False
    return cursor


@pytest.fixture
def other(connect, cursor):
    """Another connection that holds the row of job 2."""
    other = connect().cursor()
    other.connection.autocommit = False
    other.execute("SELECT id FROM job WHERE id = 2 FOR UPDATE")
    return other


def rows(cursor, sql, *params):
    cursor.execute(sql, params or None)
    return cursor.fetchall()


def ids(cursor, sql, *params):
    return [row[0] for row in rows(cursor, sql, *params)]


def free(other, *ids):
    """Which of these rows nobody holds but the other connection itself."""
    return [i for i in ids if rows(other, f"SELECT id FROM job WHERE id = {i} {SKIP}")]


# By place


def test_only_what_of_names_is_left_out(cursor, other):
    sql = "SELECT j.id, p.id FROM job j LEFT JOIN job p ON p.id = j.parent ORDER BY j.id FOR UPDATE OF {} SKIP LOCKED"
    assert rows(cursor, sql.format("j")) == [(1, None), (3, 2), (4, 3), (5, 4), (6, 5)]
    cursor.connection.rollback()
    assert rows(cursor, sql.format("p")) == [(1, None), (2, 1), (4, 3), (5, 4), (6, 5)]
    cursor.connection.rollback()
    both = "SELECT j.id, p.id FROM job j JOIN job p ON p.id = j.parent ORDER BY j.id FOR UPDATE SKIP LOCKED"
    assert rows(cursor, both) == [(4, 3), (5, 4), (6, 5)]


def test_subqueries_and_other_tables_see_every_row(cursor, other):
    sql = f"SELECT id, (SELECT count(*) FROM job) FROM job WHERE parent IN (SELECT id FROM job) ORDER BY id {SKIP}"
    assert rows(cursor, sql) == [(3, 6), (4, 6), (5, 6), (6, 6)]
    with_sql = f"WITH all_of_it AS (SELECT count(*) AS n FROM job) SELECT id, n FROM job, all_of_it ORDER BY id {SKIP}"
    assert ids(cursor, with_sql) == [1, 3, 4, 5, 6]


@pytest.mark.parametrize("order", ["id", "-id DESC", "n", "2", "parent NULLS FIRST"])
def test_a_limit_counts_and_locks_as_many_rows(cursor, other, order):
    assert ids(cursor, f"SELECT id, id AS n FROM job ORDER BY {order} LIMIT 2 OFFSET 1 {SKIP}") == [3, 4]
    assert free(other, 1, 3, 4, 5, 6) == [5, 6], "what OFFSET passes over is locked, as in PostgreSQL"
    cursor.connection.rollback()
    other.connection.rollback()
    assert ids(cursor, f"SELECT id, id AS n FROM job ORDER BY {order} LIMIT %s FOR UPDATE", 2) == [1, 2]
    assert free(other, 1, 2, 3, 4, 5, 6) == [3, 4, 5, 6]


def test_a_limit_over_joins(cursor, other):
    sql = "SELECT j.id FROM job j JOIN job p ON p.id = j.parent ORDER BY p.id LIMIT 2 FOR UPDATE OF j SKIP LOCKED"
    assert ids(cursor, sql) == [3, 4]
    assert free(other, 1, 3, 4, 5) == [1, 5]


def test_rows_without_a_key_of_their_own(connect, cursor):
    cursor.execute("INSERT INTO did VALUES (1, 0), (2, 0)")
    cursor.connection.commit()
    other = connect().cursor()
    other.connection.autocommit = False
    assert rows(other, f"SELECT * FROM did ORDER BY job LIMIT 1 {SKIP}") == [(1, 0)]
    assert rows(cursor, f"SELECT * FROM did ORDER BY job LIMIT 1 {SKIP}") == [(2, 0)]


# In brackets


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            f"UPDATE job SET worker = 'w' WHERE id IN (SELECT id FROM job ORDER BY id {SKIP} LIMIT 2) RETURNING id",
            [1, 3],
        ),
        (
            f"UPDATE job SET worker = 'w' WHERE id IN (SELECT u.id FROM job u ORDER BY u.id LIMIT 2 {SKIP}) RETURNING id",
            [1, 3],
        ),
        (
            f"DELETE FROM job WHERE id = (SELECT id FROM job WHERE parent > 0 ORDER BY id {SKIP} LIMIT 1) RETURNING id",
            [3],
        ),
        (
            (
                f"UPDATE job SET worker = 'w' FROM (SELECT id FROM job ORDER BY id {SKIP} LIMIT 2) AS q "
                "WHERE q.id = job.id RETURNING job.id"
            ),
            [1, 3],
        ),
        (
            (
                f"WITH q AS (SELECT id FROM job ORDER BY id {SKIP} LIMIT 2) "
                "UPDATE job SET worker = 'w' FROM q WHERE q.id = job.id RETURNING job.id"
            ),
            [1, 3],
        ),
        (
            f"WITH q AS (SELECT id FROM job WHERE id < 4 {SKIP}) DELETE FROM job USING q WHERE q.id = job.id RETURNING job.id",
            [1, 3],
        ),
        (
            f"INSERT INTO job (id) SELECT 10 * id FROM (SELECT id FROM job ORDER BY id LIMIT 2 {SKIP}) q RETURNING id",
            [10, 30],
        ),
        (f"INSERT INTO job (id) VALUES ((SELECT 10 * id FROM job ORDER BY id DESC LIMIT 1 {SKIP})) RETURNING id", [60]),
        (f"SELECT id FROM job WHERE id IN (SELECT id FROM job ORDER BY id LIMIT 2 {SKIP}) ORDER BY id", [1, 3]),
        (f"WITH q AS (SELECT id FROM job ORDER BY id LIMIT 2 {SKIP}) SELECT id FROM q ORDER BY id", [1, 3]),
        (f"WITH q AS (SELECT id FROM job {SKIP}) SELECT id FROM job WHERE id NOT IN (SELECT id FROM q)", [2]),
        (
            (
                f"SELECT id FROM job WHERE parent IN (SELECT id FROM job WHERE parent IN (SELECT id FROM job {SKIP}) {SKIP})"
                " ORDER BY id"
            ),
            [5, 6],
        ),
        (f"(SELECT id FROM job ORDER BY id LIMIT 1 {SKIP})", [1]),
    ],
)
def test_a_locking_subquery(cursor, other, sql, expected):
    assert sorted(ids(cursor, sql)) == expected


def test_the_subquery_locks_what_it_returns_till_the_transaction_ends(cursor, other):
    assert ids(cursor, f"SELECT 1 WHERE (SELECT id FROM job ORDER BY id DESC LIMIT 1 {SKIP}) = %s", 6) == [1]
    assert free(other, 5, 6) == [5]
    cursor.connection.commit()
    assert free(other, 5, 6) == [5, 6]


def test_its_rows_are_no_others_than_those_that_were_locked(cursor, other):
    """Rows that the statement's own part may see beside them are not touched."""
    sql = f"UPDATE job SET worker = 'w' WHERE id IN (SELECT id FROM job ORDER BY done LIMIT 3 {SKIP}) RETURNING id"
    taken = ids(cursor, sql)
    assert len(taken) == 3
    assert sorted(free(other, 1, 3, 4, 5, 6)) == sorted({1, 3, 4, 5, 6} - set(taken))


def test_tables_in_files_and_large_statements(connect):
    """Rows of a table that is never held in memory, changed as rows and by the bulk path."""
    cursors = [connect({"bulk.rows": 50, "memory.budget": 0}).cursor() for _ in range(2)]
    holder, cursor = cursors
    holder.execute("CREATE TABLE job (id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, worker text)")
    for _ in range(10):
        holder.execute("INSERT INTO job (worker) SELECT NULL FROM range(40)")
        holder.connection.flush()
    for one in cursors:
        one.connection.autocommit = False
    holder.execute("SELECT id FROM job WHERE id <= 10 FOR UPDATE")
    sql = "UPDATE job SET worker = 'w' WHERE id IN (SELECT id FROM job ORDER BY id LIMIT {} FOR UPDATE SKIP LOCKED) RETURNING id"
    assert sorted(ids(cursor, sql.format(5))) == [11, 12, 13, 14, 15]
    assert cursor.path == "engine"
    holder.connection.rollback()
    assert sorted(ids(cursor, sql.format(100))) == list(range(1, 101))
    assert cursor.path == "bulk"
    cursor.connection.commit()
    assert ids(holder, "SELECT count(*) FROM job WHERE worker = 'w'") == [100]


def test_nowait_in_a_subquery(cursor, other):
    with pytest.raises(_core.OperationalError) as error:
        cursor.execute("UPDATE job SET done = true WHERE id IN (SELECT id FROM job WHERE id < 4 FOR UPDATE NOWAIT)")
    assert error.value.sqlstate == "55P03"
    cursor.connection.rollback()
    assert ids(cursor, "SELECT count(*) FROM job WHERE id IN (SELECT id FROM job WHERE id < 2 FOR UPDATE NOWAIT)") == [
        1
    ]


def test_in_autocommit_the_locks_end_with_the_statement(cursor, other):
    cursor.connection.rollback()
    cursor.connection.autocommit = True
    assert ids(cursor, f"SELECT id FROM job WHERE id IN (SELECT id FROM job {SKIP}) ORDER BY id") == [1, 3, 4, 5, 6]
    assert free(other, 1, 3, 4, 5, 6) == [1, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("SELECT 1 FROM job j WHERE EXISTS (SELECT 1 FROM job k WHERE k.parent = j.id FOR UPDATE)", "ProgrammingError",
         "can't refer to the query around it"),
        ("SELECT 1 FROM job WHERE id IN (SELECT DISTINCT id FROM job FOR UPDATE)", "NotSupportedError", "FOR UPDATE with DISTINCT"),
        ("SELECT 1 FROM job WHERE id IN (SELECT id FROM job FOR UPDATE OF x)", "ProgrammingError", '"x" in FOR UPDATE clause not found'),
        ("SELECT 1 FROM job WHERE id IN (SELECT id FROM nothing FOR UPDATE)", "ProgrammingError", 'table "nothing" does not exist'),
        ("SELECT 1 FROM job WHERE id IN (SELECT id FROM job FOR UPDATE SKIP)", "ProgrammingError", "syntax error"),
        ("SELECT 1 FROM job WHERE id IN (SELECT id FROM job FOR", "ProgrammingError", "syntax error"),
        ("CREATE VIEW v AS SELECT id FROM job WHERE id IN (SELECT id FROM job FOR UPDATE)", "NotSupportedError", "FOR UPDATE in"),
    ],
)  # fmt: skip
def test_what_is_refused(cursor, sql, error, message):
    with pytest.raises(getattr(_core, error), match=message):
        cursor.execute(sql)


def test_explain_locks_nothing(cursor, other):
    lines = rows(cursor, f"EXPLAIN SELECT id FROM job WHERE id IN (SELECT id FROM job {SKIP})")
    assert lines[-1] == ("path", "path=engine")
    assert free(other, 1, 3) == [1, 3]


# Several processes


def hold(connection, tell):
    cursor = connection.cursor()
    connection.autocommit = False
    cursor.execute("UPDATE job SET done = true WHERE id = 1")
    tell("locked")
    sys.stdin.readline()
    connection.commit()


@pytest.fixture
def start(warehouse, duckdb_library):
    with Workers(warehouse, duckdb_library) as start:
        yield start


def wait_for_it(connection, tell):
    cursor = connection.cursor()
    tell("waits")
    cursor.execute(
        "UPDATE job SET worker = 'late' WHERE id IN "
        "(SELECT id FROM job WHERE NOT done ORDER BY id LIMIT 1 FOR UPDATE) RETURNING id"
    )
    tell(cursor.fetchall())


def test_rows_are_looked_at_again_after_waiting(cursor, start):
    cursor.connection.commit()
    holder = start(hold)
    assert holder.line() == "locked"
    waiter = start(wait_for_it)
    assert waiter.line() == "waits"
    with pytest.raises(_core.OperationalError):  # the holder still has it
        cursor.execute("SELECT id FROM job WHERE id = 1 FOR UPDATE NOWAIT")
    cursor.connection.rollback()
    holder.say()
    assert waiter.line() == [[2]], "job 1 was done meanwhile"
    assert ids(cursor, "SELECT id FROM job WHERE worker = 'late'") == [2]


def work(connection, tell, worker, clause, claim):
    """Takes two jobs at a time until there are none. The first two are told, and done when all workers have theirs."""
    cursor = connection.cursor()
    connection.autocommit = False
    first = True
    while True:
        cursor.execute(claim.format(clause=clause, worker=worker))
        taken = [row[0] for row in cursor.fetchall()]
        if first:
            tell(taken)
            sys.stdin.readline()
            first = False
        for job in taken:
            cursor.execute("INSERT INTO did VALUES (%s, %s)", (job, worker))
            cursor.execute("UPDATE job SET done = true WHERE id = %s", (job,))
        connection.commit()
        if not taken:
            return


CLAIMS = {
    "update": "UPDATE job SET worker = '{worker}' WHERE id IN "
    "(SELECT id FROM job WHERE NOT done ORDER BY id {clause} LIMIT 2) RETURNING id",
    "select": "SELECT id FROM job WHERE id IN (SELECT id FROM job WHERE NOT done ORDER BY id LIMIT 2 {clause})",
    "top": "SELECT id FROM job WHERE NOT done ORDER BY id LIMIT 2 {clause}",
    "join": "SELECT j.id FROM job j LEFT JOIN job p ON p.id = j.parent WHERE NOT j.done ORDER BY j.id LIMIT 2 {clause}",
}


def empty_a_queue(cursor, start, clause, claim, workers=3):
    """What the workers took first, and how often each job was done."""
    cursor.execute("INSERT INTO job (id) SELECT 7 + i FROM range(54) r(i)")
    cursor.connection.commit()
    started = [start(work, i, clause, CLAIMS[claim]) for i in range(workers)]
    first = [worker.line() for worker in started]
    for worker in started:
        worker.say()
    for worker in started:
        worker.finish()
    return first, rows(cursor, "SELECT job, count(*) FROM did GROUP BY job ORDER BY job")


@pytest.mark.parametrize("claim", ["update", "select", "top", "join"])
def test_workers_empty_a_queue(cursor, start, claim):
    clause = SKIP.replace("SKIP", "OF j SKIP") if claim == "join" else SKIP
    first, done = empty_a_queue(cursor, start, clause, claim)
    assert sorted(job for jobs in first for job in jobs) == [1, 2, 3, 4, 5, 6], "each took two, without waiting"
    assert done == [(job, 1) for job in range(1, 61)]
    assert ids(cursor, "SELECT count(*) FROM job WHERE done") == [60]


def test_without_the_locks_a_job_is_done_twice(cursor, start):
    """The test above would notice."""
    first, done = empty_a_queue(cursor, start, "", "select", workers=2)
    assert first == [[1, 2], [1, 2]]
    assert max(times for job, times in done) > 1
