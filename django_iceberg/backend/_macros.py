"""SQL macros the backend defines in the query engine of each connection."""

MACROS = (
    """CREATE OR REPLACE TEMP MACRO ice_time(us) AS
        ((CAST(us AS BIGINT) % 86400000000) + 86400000000) % 86400000000""",
    """CREATE OR REPLACE TEMP MACRO ice_digits(x) AS replace(CAST(abs(x) AS VARCHAR), '.', '')""",
    # Hexadecimal digits of the parts of an address. A version 6 one may end as a version 4 one.
    """CREATE OR REPLACE TEMP MACRO ice_inet4_key(ip) AS
        array_to_string([format('{:02x}', TRY_CAST(byte AS INTEGER)) for byte in string_split(ip, '.')], '')""",
    """CREATE OR REPLACE TEMP MACRO ice_inet6_groups(part) AS
        array_to_string([CASE WHEN g = '' THEN '' WHEN g LIKE '%.%' THEN ice_inet4_key(g) ELSE lpad(g, 4, '0') END
                         for g in string_split(part, ':')], '')""",
    """CREATE OR REPLACE TEMP MACRO ice_inet6_head(ip) AS ice_inet6_groups(string_split(lower(ip), '::')[1])""",
    """CREATE OR REPLACE TEMP MACRO ice_inet6_tail(ip) AS
        ice_inet6_groups(coalesce(string_split(lower(ip), '::')[2], ''))""",
    # Microseconds of a DurationField as an interval. Whole days are days of the calendar, as in PostgreSQL.
    """CREATE OR REPLACE TEMP MACRO ice_days(us) AS
        CAST((CAST(us AS BIGINT) - ice_time(us)) // 86400000000 AS INTEGER)""",
    """CREATE OR REPLACE TEMP MACRO ice_interval(us) AS to_days(ice_days(us)) + to_microseconds(ice_time(us))""",
    # Days and the rest of a day by themselves, so that no microsecond is lost, and rounded.
    """CREATE OR REPLACE TEMP MACRO ice_duration_of(days, us) AS
        CAST(trunc(days) AS BIGINT) * 86400000000 + CAST(round_even((days - trunc(days)) * 86400000000 + us, 0) AS BIGINT)""",
    """CREATE OR REPLACE TEMP MACRO ice_duration_mul(us, n) AS
        ice_duration_of(ice_days(us) * CAST(n AS DOUBLE), ice_time(us) * CAST(n AS DOUBLE))""",
    """CREATE OR REPLACE TEMP MACRO ice_duration_div(us, n) AS
        ice_duration_of(ice_days(us) / CAST(IF(n = 0, error('division by zero'), n) AS DOUBLE), ice_time(us) / CAST(n AS DOUBLE))""",
    # Text of values as PostgreSQL prints it, where the engine prints it otherwise.
    """CREATE OR REPLACE TEMP MACRO ice_duration_text(us) AS
        CASE ice_days(us) WHEN 0 THEN '' WHEN 1 THEN '1 day' ELSE ice_days(us) || ' days' END
        || CASE WHEN ice_days(us) = 0 THEN '' WHEN ice_time(us) = 0 THEN '' WHEN ice_days(us) < 0 THEN ' +' ELSE ' ' END
        || CASE WHEN ice_days(us) <> 0 AND ice_time(us) = 0 THEN ''
           ELSE CAST(to_microseconds(ice_time(us)) AS VARCHAR) END""",
    """CREATE OR REPLACE TEMP MACRO ice_float_text(x) AS CASE
        WHEN isnan(x) THEN 'NaN' WHEN isinf(x) THEN IF(x > 0, 'Infinity', '-Infinity')
        WHEN abs(x) >= 1e15 AND abs(x) < 1e16 THEN
            IF(x < 0, '-', '') || rtrim(rtrim(left(ice_digits(x), 1) || '.' || substr(ice_digits(x), 2), '0'), '.') || 'e+15'
        WHEN CAST(x AS VARCHAR) LIKE '%.0' THEN left(CAST(x AS VARCHAR), -2)
        ELSE CAST(x AS VARCHAR) END""",
    # A float that becomes a decimal does so with 15 digits.
    """CREATE OR REPLACE TEMP MACRO ice_float_digits(x) AS format('{:.15g}', CAST(x AS DOUBLE))""",
    # What is outside of a function's domain is an error.
    """CREATE OR REPLACE TEMP MACRO ice_sqrt(x) AS
        sqrt(IF(x < 0, error('cannot take square root of a negative number'), x))""",
    """CREATE OR REPLACE TEMP MACRO ice_log_of(x) AS
        CASE WHEN x > 0 THEN x WHEN x = 0 THEN error('cannot take logarithm of zero')
             WHEN x < 0 THEN error('cannot take logarithm of a negative number') END""",
    """CREATE OR REPLACE TEMP MACRO ice_ln(x) AS ln(ice_log_of(x))""",
    """CREATE OR REPLACE TEMP MACRO ice_log(base, x) AS
        log(IF(ice_log_of(base) = 1 AND ice_log_of(x) > 0, error('division by zero'), base), ice_log_of(x))""",
    """CREATE OR REPLACE TEMP MACRO ice_power(x, y) AS
        CASE WHEN x = 0 AND y < 0 THEN error('zero raised to a negative power is undefined')
             WHEN x < 0 AND isfinite(CAST(y AS DOUBLE)) AND y <> trunc(y)
             THEN error('a negative number raised to a non-integer power yields a complex result')
             ELSE power(x, y) END""",
    """CREATE OR REPLACE TEMP MACRO ice_arc(x) AS
        IF(abs(x) > 1 AND NOT isnan(x), error('input is out of range'), x)""",
    """CREATE OR REPLACE TEMP MACRO ice_substr(x, start, n) AS
        substring(x, start, IF(n < 0, error('negative substring length not allowed'), n))""",
    # Text has no NUL; the engine does not narrow a BIGINT by itself.
    """CREATE OR REPLACE TEMP MACRO ice_chr(n) AS
        chr(CAST(IF(n = 0, error('a text has no character 0'), n) AS INTEGER))""",
    """CREATE OR REPLACE TEMP MACRO ice_lpad(x, n, fill) AS
        CASE WHEN fill = '' OR n <= length(x) THEN left(x, greatest(n, 0)) ELSE lpad(x, n, IF(fill = '', ' ', fill)) END""",
    """CREATE OR REPLACE TEMP MACRO ice_rpad(x, n, fill) AS
        CASE WHEN fill = '' OR n <= length(x) THEN left(x, greatest(n, 0)) ELSE rpad(x, n, IF(fill = '', ' ', fill)) END""",
    """CREATE OR REPLACE TEMP MACRO ice_binary_text(b) AS '\\x' || lower(hex(b))""",
    """CREATE OR REPLACE TEMP MACRO ice_inet_text(ip) AS
        CASE WHEN ip LIKE '%/%' THEN ip WHEN ip LIKE '%:%' THEN ip || '/128' ELSE ip || '/32' END""",
    # Order of addresses as PostgreSQL's inet has it: by family, then by number.
    """CREATE OR REPLACE TEMP MACRO ice_inet_key(ip) AS CASE WHEN ip IS NULL THEN NULL
        WHEN ip NOT LIKE '%:%' THEN '4' || ice_inet4_key(ip)
        ELSE '6' || ice_inet6_head(ip)
            || repeat('0', 32 - length(ice_inet6_head(ip)) - length(ice_inet6_tail(ip))) || ice_inet6_tail(ip) END""",
)
