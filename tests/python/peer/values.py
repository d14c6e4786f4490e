"""Values of each field of peer.models.Values: moderate ones, and the extremes."""

import datetime
import decimal
import uuid

D, DT, T, TD = datetime.date, datetime.datetime, datetime.time, datetime.timedelta
UTC = datetime.UTC

TEXTS = [
    "", " ", "a", "A", "abc", "ABC", "aBc", "b", "zebra", "1", "12", "true", "NULL",
    "it's", "''", '"quoted"', "100%", "%", "%s", "%%", "%(a)s", "_", "a_b", "\\", "a\\b", "\\%", "$1", "$$", ":name", "?",
    "--", "/* */", ";", "é", "e\u0301", "É", "E\u0301", "ß", "ẞ", "ss", "SS", "Straße", "STRASSE", "İ", "i", "ı", "I",
    "i\u0307", "Σ", "σ", "ς", "ΌΣΟΣ", "όσος", "ﬁ", "Ǆ", "ǆ", "ǅ", "😀", "👩\u200d👩\u200d👧", "🇩🇪", "日本", "テスト", "नि",
    "tab\t", "\t", "new\nline", "\n", "\r\n", " both ", "  x", "x  ", "\u00a0x\u00a0", "\u2003", "\u200b", "\ufeff", "\x01", "\x7f",
    "{}", '{"a": 1}', "[]", "a,b", "a.b", "(a)", "[a]", "a+", "^a", "a$", "x" * 40,
]  # fmt: skip
WORDS = [
    "alpha",
    "beta",
    "Gamma",
    "delta",
    "Epsilon",
    "zeta",
    "eta",
    "theta",
    "alphabet",
    "be",
    "it's",
    "50%",
    "naïve",
    "Über",
]
DATES = [
    D(1970, 1, 1), D(1999, 12, 31), D(2000, 1, 1), D(2000, 2, 29), D(2020, 12, 27), D(2021, 1, 3), D(2023, 2, 28), D(2024, 1, 31),
    D(2024, 2, 29), D(2024, 3, 31), D(2024, 6, 30), D(2024, 10, 27), D(2024, 12, 29), D(2024, 12, 30), D(2024, 12, 31), D(2026, 1, 1),
]  # fmt: skip
OLD_DATES = [
    D(1, 1, 1),
    D(1, 12, 31),
    D(4, 2, 29),
    D(100, 2, 28),
    D(1582, 10, 4),
    D(1582, 10, 15),
    D(1883, 11, 18),
    D(1900, 2, 28),
    D(9999, 12, 31),
]
# About the changes of clocks in Berlin, New York and on Lord Howe Island, month ends, and fractions.
MOMENTS = [
    DT(2024, 3, 31, 0, 59, 59, 999999, UTC), DT(2024, 3, 31, 1, tzinfo=UTC), DT(2024, 3, 31, 1, 30, tzinfo=UTC),
    DT(2024, 10, 27, 0, 30, tzinfo=UTC), DT(2024, 10, 27, 1, 0, tzinfo=UTC), DT(2024, 10, 27, 1, 30, tzinfo=UTC),
    DT(2024, 3, 10, 6, 59, 59, tzinfo=UTC), DT(2024, 3, 10, 7, 0, tzinfo=UTC), DT(2024, 11, 3, 5, 30, tzinfo=UTC),
    DT(2024, 11, 3, 6, 30, tzinfo=UTC), DT(2024, 4, 6, 14, 45, tzinfo=UTC), DT(2024, 4, 6, 15, 15, tzinfo=UTC),
    DT(2024, 10, 5, 15, 29, 59, tzinfo=UTC), DT(2024, 2, 29, 23, 30, tzinfo=UTC), DT(2024, 12, 31, 23, 59, 59, 999999, UTC),
    DT(2025, 1, 1, tzinfo=UTC), DT(1970, 1, 1, tzinfo=UTC), DT(1969, 12, 31, 23, 59, 59, 500000, UTC), DT(2011, 12, 30, 9, 59, tzinfo=UTC),
    DT(2020, 6, 15, 12, 34, 56, 789, UTC), DT(2020, 6, 15, 12, 34, 56, 789, UTC), DT(2023, 1, 31, 10, tzinfo=UTC),
]  # fmt: skip
OLD_MOMENTS = [
    DT(1, 1, 1, tzinfo=UTC), DT(1, 1, 2, 12, tzinfo=UTC), DT(1582, 10, 4, 23, tzinfo=UTC), DT(1582, 10, 15, 1, tzinfo=UTC),
    DT(1883, 11, 18, 17, tzinfo=UTC), DT(1893, 3, 31, 23, 6, 32, tzinfo=UTC), DT(1900, 1, 1, tzinfo=UTC), DT(1945, 5, 24, 1, tzinfo=UTC),
    DT(9999, 12, 30, 12, tzinfo=UTC), DT(9999, 12, 31, 23, 59, 59, 999999, UTC),
]  # fmt: skip
JSONS = [
    {}, [], "", "text", "it's", 0, 1, -1, 1.5, 1.0, 10**15, True, False, {"a": 1}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": "1"}, {"a": None}, {"a": True},
    {"a": {"b": {"c": [1, 2, {"d": "x"}]}}}, {"a": [1, 2, 3]}, {"a": [3, 2, 1]}, {"a": {}}, {"a": []}, [1, 2, 3], [[1, [2]], "x"], [None], [{"a": 1}, {"b": 2}],
    {"é": "ü"}, {"日": {"本": "😀"}}, {"a b": 1}, {"a.b": 1}, {'q"': "\\"}, {"%": "%s"}, {"0": "zero"}, {"a": "", "": "a"}, {"long key": 1, "z": 2},
    {"a": 1.5}, {"a": -0.5}, {"a": 100}, {"a": 20}, {"a": "b"}, {"a": "B"}, {"a": "100%"}, {"a": "x_y"}, "\n", "\u2028", {"a": "é"},
    {"a": 1.0}, {"a": 1.0, "b": 2}, [1, 2.0, 3.0], {"a": {"b": 1}}, {"a": {"b": 1.0}}, {"a": [1.0, {"b": 1, "c": 2}]}, {"a": [1, {"c": 2, "b": 1.0}]},
]  # fmt: skip

PLAIN = {
    "small": [-7, -2, -1, 0, 1, 2, 3, 5, 10, 100, 1000],
    "integer": [-1000, -3, -1, 0, 1, 2, 3, 4, 7, 12, 50, 999, 100_000],
    "big": [-(10**10), -5, 0, 1, 2, 6, 10**6, 10**12],
    "positive_small": [0, 1, 2, 3, 4, 8, 60, 300],
    "positive": [0, 1, 2, 9, 30, 70_000],
    "positive_big": [0, 1, 5, 17, 10**11],
    "decimal": [decimal.Decimal(t) for t in ("-12.50", "-1", "-0.01", "0", "0.01", "0.5", "1", "1.5", "2.25", "2.5", "3.5", "99.99", "12345.67")],
    "wide": [decimal.Decimal(t) for t in ("-1.0000000001", "0", "0.3333333333", "2.5", "1000000.0000000001", "98765432109876.5")],
    "float": [-2.5, -1.0, -0.5, 0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 3.0, 1e3, 1 / 3, 123456.789],
    "boolean": [True, False],
    "char": WORDS,
    "text": [*WORDS, "", "two words", "Alpha"],
    "slug": ["a-b", "slug", "Slug", "a_b", "x1"],
    "email": ["a@example.com", "B@Example.com", "c+d@example.org"],
    "url": ["https://example.com/", "https://example.com/?a=1%20b&c=_", "ftp://x"],
    "file": ["", "a.txt", "dir/b.TXT", "dir/é.pdf"],
    "path": ["", "/tmp/a", "/tmp/b.c"],
    "date": DATES,
    "moment": MOMENTS,
    "time": [T(0), T(0, 0, 0, 1), T(6, 30), T(12), T(12, 34, 56, 789000), T(18, 59, 59, 999999), T(23, 59, 59, 999999)],
    "duration": [TD(0), TD(seconds=1), TD(minutes=-5), TD(hours=36), TD(days=1), TD(days=-1, microseconds=1), TD(days=31), TD(microseconds=1), TD(days=400)],
    "binary": [b"", b"a", b"\x00", b"\xff\xfe", b"it's %s \\", b"abc"],
    "uuid": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID(int=2**127), uuid.UUID("12345678-1234-5678-1234-567812345678"), uuid.UUID(int=7)],
    "json": JSONS,
    "ip": ["127.0.0.1", "10.0.0.1", "10.0.0.2", "192.168.1.255", "::1", "2001:db8::1", "::ffff:10.0.0.1", "fe80::1", "::1.2.3.4", "::2:3", "1:0:0:2::3"],
}  # fmt: skip
EXTREME = {
    **PLAIN,
    "small": [*PLAIN["small"], -32768, 32767],
    "integer": [*PLAIN["integer"], -(2**31), 2**31 - 1],
    "big": [*PLAIN["big"], -(2**63), 2**63 - 1, 2**53 + 1],
    "positive_small": [*PLAIN["positive_small"], 32767],
    "positive": [*PLAIN["positive"], 2**31 - 1],
    "positive_big": [*PLAIN["positive_big"], 2**63 - 1],
    "decimal": [*PLAIN["decimal"], decimal.Decimal("9999999999.99"), decimal.Decimal("-9999999999.99")],
    "wide": [*PLAIN["wide"], decimal.Decimal("9" * 28 + "." + "9" * 10), decimal.Decimal("-" + "9" * 28 + "." + "9" * 10)],
    "float": [*PLAIN["float"], float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e16, 1e-7, 1e15],
    "char": TEXTS,
    "text": [*TEXTS, "long " * 300],
    "slug": ["", *PLAIN["slug"]],
    "date": [*DATES, *OLD_DATES],
    "moment": [*MOMENTS, *OLD_MOMENTS],
    "duration": [*PLAIN["duration"], TD(days=-400, seconds=3), TD(days=36500), TD(days=-99999, microseconds=-1), TD(days=999999, hours=23)],
    "binary": [*PLAIN["binary"], bytes(range(256)), b"\\x41", b"'"],
}  # fmt: skip
FIELDS = list(PLAIN)
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns",
]  # fmt: skip


def a_value(random, field, extreme=True):
    return random.choice((EXTREME if extreme else PLAIN)[field])


def a_row(random, number, extreme):
    """Values of all fields, an eighth of them NULL; the first rows go through each field's values in turn."""
    pool = EXTREME if extreme else PLAIN
    row = {}
    for name, values in pool.items():
        value = values[number] if number < len(values) else random.choice(values)
        row[name] = None if number >= len(values) and random.random() < 0.125 else value
    return row
