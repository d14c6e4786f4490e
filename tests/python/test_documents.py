"""Documents: what a jsonb column keeps, and which of them a unique key takes for the same."""

import pytest

from django_iceberg import _core

FORMS = ['{"b": 1, "aa": [1.0, 2]}', '{"aa":[1,2.00],"b":1e0}', ' {"b":7, "b":1.0, "aa" : [10e-1, 2]}']


@pytest.fixture(params=[3, 1_000_000], ids=["large", "small"])
def cursor(connect, request):
    cursor = connect({"bulk.rows": request.param}).cursor()
    cursor.execute("CREATE TABLE t (id bigint PRIMARY KEY, j jsonb, k json)")
    return cursor


def rows(cursor, sql, params=None):
    cursor.execute(sql, params)
    return cursor.fetchall()


def fill(cursor):
    for i, form in enumerate([*FORMS, '"x"', None, None], 1):
        cursor.execute("INSERT INTO t VALUES (%s, %s, %s)", (i, form, form))


def test_text_is_jsonbs(cursor):
    fill(cursor)
    want = [
        ('{"b": 1, "aa": [1.0, 2]}',),
        ('{"b": 1, "aa": [1, 2.00]}',),
        ('{"b": 1.0, "aa": [1.0, 2]}',),
        ('"x"',),
        (None,),
        (None,),
    ]
    for _ in range(2):
        assert rows(cursor, "SELECT j FROM t ORDER BY id") == want
        assert rows(cursor, "SELECT k FROM t ORDER BY id")[:3] == [(form,) for form in FORMS]
        cursor.connection.flush()
    cursor.execute("INSERT INTO t SELECT id + 10, k, k FROM t")
    cursor.execute("UPDATE t SET j = k WHERE id < 10")
    assert rows(cursor, "SELECT j FROM t WHERE id < 10 ORDER BY id") == want
    assert rows(cursor, "SELECT j FROM t WHERE id > 10 ORDER BY id") == want
    cursor.execute("ALTER TABLE t ALTER COLUMN k TYPE jsonb")
    assert rows(cursor, "SELECT k FROM t WHERE id < 10 ORDER BY id") == want


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\u0000"', "{", "", "[1,]", "nan"])
def test_what_is_no_document(cursor, text):
    with pytest.raises(_core.DataError, match=r'column "j": invalid input syntax for type json') as failed:
        cursor.execute("INSERT INTO t VALUES (1, %s)", (text,))
    assert failed.value.sqlstate == "22P02"


UNIQUE = "ALTER TABLE t ADD CONSTRAINT one UNIQUE {} (j)"


@pytest.mark.parametrize("nulls", ["", "NULLS NOT DISTINCT"])
def test_equal_documents_conflict(cursor, nulls):
    cursor.execute(UNIQUE.format(nulls))
    cursor.execute("INSERT INTO t VALUES (1, %s), (2, '1'), (3, NULL), (4, '{}')", (FORMS[0],))
    if nulls:
        with pytest.raises(_core.IntegrityError, match="one"):
            cursor.execute("INSERT INTO t VALUES (5, NULL)")
    else:
        cursor.execute("INSERT INTO t VALUES (5, NULL)")
    for flush in (False, True):
        for form in (*FORMS, "1.00", "10e-1", " { } "):
            with pytest.raises(_core.IntegrityError, match="one") as failed:
                cursor.execute("INSERT INTO t VALUES (9, %s)", (form,))
            assert failed.value.sqlstate == "23505"
            with pytest.raises(_core.IntegrityError, match="one"):
                cursor.execute(
                    "INSERT INTO t (id, j) SELECT * FROM (VALUES (7, '7'), (8, '8'), (9, %s), (10, '10')) AS v", (form,)
                )
            cursor.execute("INSERT INTO t VALUES (9, %s) ON CONFLICT DO NOTHING", (form,))
            assert cursor.rowcount == 0
        cursor.execute("INSERT INTO t VALUES (9, '1.0') ON CONFLICT (j) DO UPDATE SET j = EXCLUDED.j")
        assert rows(cursor, "SELECT j FROM t WHERE id = 2") == [("1.0",)]
        with pytest.raises(_core.IntegrityError, match="one"):
            cursor.execute("UPDATE t SET j = '1' WHERE id = 1")
        cursor.execute("UPDATE t SET j = '1' WHERE id = 2")
        if not flush:
            cursor.connection.flush()


def test_a_key_declared_over_equal_documents(cursor):
    fill(cursor)
    with pytest.raises(_core.IntegrityError, match="one"):
        cursor.execute(UNIQUE.format(""))
    cursor.execute("DELETE FROM t WHERE id IN (2, 3)")
    cursor.execute(UNIQUE.format(""))
    cursor.execute("ALTER TABLE t DROP CONSTRAINT one")
    cursor.execute("ALTER TABLE t ADD CONSTRAINT two UNIQUE (id, j)")
    cursor.execute("INSERT INTO t VALUES (9, '\"x\"')")


def test_functions(cursor):
    fill(cursor)
    assert rows(
        cursor, "SELECT count(DISTINCT ice_json_key(j)), count(DISTINCT ice_json_normal(j)), count(DISTINCT j) FROM t"
    ) == [(2, 2, 4)]
    assert rows(cursor, "SELECT ice_json_unquoted(j) FROM t WHERE id = 4") == [("x",)]
    assert rows(cursor, "SELECT ice_json_normal(%s)", (FORMS[2],)) == [('{"b": 1, "aa": [1, 2]}',)]
