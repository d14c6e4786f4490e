"""SQL macros the backend defines in the query engine of each connection."""

MACROS = (
    # Microseconds of a DurationField as an interval. Whole days are days of the calendar, as in PostgreSQL.
    """CREATE OR REPLACE TEMP MACRO ice_interval(us) AS
        to_days(CAST(CAST(us AS BIGINT) // 86400000000 AS INTEGER))
        + to_microseconds(CAST(us AS BIGINT) % 86400000000)""",
)
