"""SQL macros the backend defines in the query engine of each connection."""

MACROS = (
    # Microseconds of a DurationField as an interval. Whole days are days of the calendar, as in PostgreSQL.
    """CREATE OR REPLACE TEMP MACRO ice_interval(us) AS
        to_days(CAST(CAST(us AS BIGINT) // 86400000000 AS INTEGER))
        + to_microseconds(CAST(us AS BIGINT) % 86400000000)""",
    # Order and equality of JSON values as PostgreSQL's jsonb has them: NULL < string < number < boolean
    # < array < object, numbers by value.
    """CREATE OR REPLACE TEMP MACRO ice_json_key(j) AS CASE WHEN j IS NULL THEN NULL ELSE {
        'rank': CASE json_type(j::JSON) WHEN 'NULL' THEN 0 WHEN 'VARCHAR' THEN 1 WHEN 'BOOLEAN' THEN 3
                WHEN 'ARRAY' THEN 4 WHEN 'OBJECT' THEN 5 ELSE 2 END,
        'num': CASE WHEN json_type(j::JSON) IN ('BIGINT', 'UBIGINT', 'DOUBLE', 'HUGEINT')
               THEN (j::JSON->>'$')::DOUBLE END,
        'text': CASE WHEN json_type(j::JSON) IN ('BIGINT', 'UBIGINT', 'DOUBLE', 'HUGEINT')
                THEN NULL ELSE j::JSON->>'$' END
    } END""",
    # Containment where the contained value is not known beforehand.
    """CREATE OR REPLACE TEMP MACRO ice_json_contains(haystack, needle) AS
        json_contains(haystack::JSON, needle::JSON) AND (
            json_type(haystack::JSON) = 'ARRAY' OR json_type(haystack::JSON) = json_type(needle::JSON))""",
)
