"""A cast is not computed of rows that the conditions before it leave out, as PostgreSQL does it."""

import pytest

from django_iceberg import _core

HOURS = ", ".join(f"'{hour}'" for hour in range(24))
NUMBER = "CASE WHEN zone = 'Asia/Tokyo' THEN (CAST(hour AS integer) + 9) % 24 ELSE hour::integer END"
# As django-celery-beat asks for the schedules that are not due soon.
LATER = f"hour IN ({HOURS}) AND NOT ({NUMBER} IN (1, 2, 3, 4, 5, 4))"
ROWS = 20_000  # more than are computed at once


SCHEDULES = [(i, "*/4" if i % 7 == 6 else str(i % 24), "Asia/Tokyo" if i % 2 else "UTC") for i in range(ROWS)]
EXPECTED = [
    (i,) for i, hour, zone in SCHEDULES if hour != "*/4" and (int(hour) + 9 * (zone != "UTC")) % 24 not in range(1, 6)
]


@pytest.fixture(params=["hot", "cold"])
def cursor(connect, request):
    cursor = connect({"memory.budget": 0} if request.param == "cold" else ()).cursor()
    cursor.execute("CREATE TABLE schedule (id bigint PRIMARY KEY, hour text, zone text)")
    cursor.executemany("INSERT INTO schedule VALUES (%s, %s, %s)", SCHEDULES)
    cursor.connection.flush()
    return cursor


def test_beside_a_long_list(cursor):
    join = "EXPLAIN SELECT * FROM schedule a, schedule b WHERE a.id = b.id AND a.hour = '3'"
    plan = cursor.execute(join).fetchall()
    assert cursor.execute(f"SELECT id FROM schedule WHERE {LATER} ORDER BY id").fetchall() == EXPECTED
    assert sorted(cursor.execute(f"SELECT id FROM schedule WHERE {LATER}")) == EXPECTED
    cursor.execute(f"SELECT count(*) FROM schedule WHERE NOT id IN (SELECT id FROM schedule WHERE {LATER})")
    assert cursor.fetchall() == [(ROWS - len(EXPECTED),)]
    assert cursor.execute(join).fetchall() == plan  # the connection goes on as before


def test_in_changes(cursor):
    cursor.execute("CREATE TABLE later (id bigint PRIMARY KEY)")
    cursor.execute(f"INSERT INTO later SELECT id FROM schedule WHERE {LATER}")
    assert cursor.rowcount == len(EXPECTED)
    cursor.execute(f"UPDATE schedule SET zone = zone WHERE {LATER}")
    assert cursor.rowcount == len(EXPECTED)
    cursor.execute(f"DELETE FROM schedule WHERE {LATER}")
    assert cursor.rowcount == len(EXPECTED)


def test_a_value_that_is_none_is_an_error_still(cursor):
    for sql in (
        "SELECT hour::integer FROM schedule",
        "SELECT id FROM schedule WHERE hour::integer = 3",
        f"SELECT id FROM schedule WHERE {NUMBER} IN (1, 2, 3, 4, 5, 6, 7)",
    ):
        with pytest.raises(_core.DataError, match="Could not convert") as info:
            cursor.execute(sql).fetchall()
        assert info.value.sqlstate == "22P02"
    assert cursor.execute(f"SELECT count(*) FROM schedule WHERE {LATER}").fetchone()[0] == len(EXPECTED)
