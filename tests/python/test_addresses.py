"""Addresses: an inet column takes what PostgreSQL's takes, and has one text for each."""

import pytest

from django_iceberg import _core

# As PostgreSQL 15 prints them.
ADDRESSES = {
    "0:0::1": "::1", "::1/128": "::1", "::1/64": "::1/64", "10.0.0.1/24": "10.0.0.1/24", "10.0.0.1": "10.0.0.1", "0010.1.1.1": "10.1.1.1",
    "10/8": "10.0.0.0/8", "1.1.1.1/32": "1.1.1.1", "::ffff:1.2.3.4": "::ffff:1.2.3.4", "::ffff:0:1": "::ffff:0.0.0.1",
    "::1.2.3.4": "::1.2.3.4", "2001:DB8:0:0:1:0:0:1": "2001:db8::1:0:0:1", "0:1:2:3:4:5:6:7": "0:1:2:3:4:5:6:7", "1:0:0:2:0:0:0:3": "1:0:0:2::3",
    "64:ff9b::1.2.3.4": "64:ff9b::102:304", "::": "::", "::2:3": "::0.2.0.3", "::2": "::2", "::1:0": "::0.1.0.0", "1::": "1::",
    "1:2:3:4:5:6:7::": "1:2:3:4:5:6:7:0", "1:2:3:4:5:6:0:8": "1:2:3:4:5:6:0:8", "0:0:1::": "0:0:1::", "1::2:0:0": "1::2:0:0",
    "::ffff:ffff:1.2.3.4": "::ffff:ffff:102:304",
}  # fmt: skip
NONE = [
    "zz",
    "",
    "10.1",
    "10.1/24",
    " 1.1.1.1 ",
    "1:2:3:4:5:6:7:8:9",
    "1.2.3.4.5",
    "256.1.1.1",
    "1.2.3.4/33",
    "::1::2",
    "fe80::1%eth0",
    "::1/129",
    "1.2.3.4/",
]


@pytest.fixture
def cursor(connect):
    cursor = connect().cursor()
    cursor.execute("CREATE TABLE t (id bigint PRIMARY KEY, ip inet UNIQUE)")
    return cursor


def test_one_text_for_each(cursor):
    for i, text in enumerate(ADDRESSES):
        cursor.execute("DELETE FROM t")
        cursor.execute("INSERT INTO t VALUES (%s, %s) RETURNING ip", (i, text))
        assert cursor.fetchone() == (ADDRESSES[text],)
        cursor.execute("SELECT ice_inet(%s)", (text,))
        assert cursor.fetchone() == (ADDRESSES[text],)
        with pytest.raises(_core.IntegrityError, match="t_ip_key"):
            cursor.execute("INSERT INTO t VALUES (-1, %s)", (ADDRESSES[text],))


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_address(cursor, text):
    for sql in ("INSERT INTO t VALUES (1, %s)", "SELECT ice_inet(%s)"):
        with pytest.raises(_core.DataError, match="invalid input syntax for type inet") as failed:
            cursor.execute(sql, (text,))
            cursor.fetchall()
        assert failed.value.sqlstate == "22P02"


def test_a_column_becomes_one(cursor):
    cursor.execute("ALTER TABLE t ADD COLUMN a varchar(50)")
    cursor.execute("INSERT INTO t (id, a) VALUES (1, '0:0::1'), (2, NULL)")
    cursor.execute("ALTER TABLE t ALTER COLUMN a TYPE inet")
    cursor.execute("SELECT a FROM t ORDER BY id")
    assert cursor.fetchall() == [("::1",), (None,)]
    cursor.execute("ALTER TABLE t ALTER COLUMN a TYPE varchar(50)")
    cursor.execute("UPDATE t SET a = 'zz' WHERE id = 2")
    with pytest.raises(_core.DataError, match='column "a": invalid input syntax for type inet: "zz"'):
        cursor.execute("ALTER TABLE t ALTER COLUMN a TYPE inet")


def test_text_to_bytes(cursor):
    """As PostgreSQL's text::bytea."""
    for text, want in {
        r"\x4142": b"AB",
        r"\x 41 42": b"AB",
        r"\x": b"",
        r"ab\101\\": b"abA\\",
        "é": "é".encode(),
        r"\377": b"\xff",
    }.items():
        cursor.execute("SELECT ice_bytea(%s)", (text,))
        assert cursor.fetchone() == (want,)
    for text, state in {
        r"\xzz": "22023",
        r"\x4": "22023",
        "a\\b": "22P02",
        r"\400": "22P02",
        "\\": "22P02",
        r"\X41": "22P02",
    }.items():
        with pytest.raises(_core.DataError) as failed:
            cursor.execute("SELECT ice_bytea(%s)", (text,))
            cursor.fetchall()
        assert failed.value.sqlstate == state


def test_a_long_value_names_its_column(cursor):
    cursor.execute("ALTER TABLE t ADD COLUMN long varchar(10)")
    cursor.execute("INSERT INTO t (id, long) VALUES (1, 'too long')")
    with pytest.raises(_core.DataError, match='column "long": value too long') as failed:
        cursor.execute("ALTER TABLE t ALTER COLUMN long TYPE varchar(3)")
    assert failed.value.sqlstate == "22001"
