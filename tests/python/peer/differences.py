"""Where an answer is not PostgreSQL's, by design: each is named and explained in docs/sql.md. At most fifteen.

A difference is known by the error that one of the two gives, or by the rows without which the answers are the same.
"""

import datetime
import re

from django.db.models import Q

ERRORS = {
    "small integers": "smallint out of range",
    "floats do not fail": "value out of range: (over|under)flow|input is out of range|cannot hold an infinite value"
    "|out of range for type double precision",
}
# Errors that are ours alone.
DIGITS = "38 digits", "DECIMAL|of at most 38 digits"
DURATIONS = "long durations", "Overflow in [a-z]+ of INT64"
FILTERED = "errors in rows that an aggregate leaves out"
ROWS = {
    "capitals": Q(char__regex="[ßẞİς]") | Q(text__regex="[ßẞİς]"),
    "before the year 1": Q(moment__lt=datetime.datetime(5, 1, 1, tzinfo=datetime.UTC))
    | Q(date__lt=datetime.date(101, 1, 1))  # less the longest hundred years of a duration
    | Q(duration__gt=datetime.timedelta(days=500000)),
}
# What PostgreSQL's SQL has where those rows may differ.
ABOUT = {
    "capitals": re.compile(r"UPPER|LOWER|INITCAP|~\*|LIKE", re.IGNORECASE),
    "before the year 1": re.compile(r'"(date|moment|duration)"'),
}
# What is not asked.
AVOIDED = ["the element of a JSON scalar"]


NAMES = [*AVOIDED, *ERRORS, *ROWS, DIGITS[0], DURATIONS[0], FILTERED]


def by_design(question, ours, theirs):
    """The name of the known difference that two answers have, or None."""
    from .databases import PEER
    from .questions import Failed, Question, differs, expressions, step

    if isinstance(theirs, Failed) and not isinstance(ours, Failed):
        return next((name for name, message in ERRORS.items() if re.search(message, str(theirs.error))), None)
    if isinstance(ours, Failed) and not isinstance(theirs, Failed):
        if re.search(DIGITS[1], str(ours.error)):
            return DIGITS[0]
        if re.search(DURATIONS[1], str(ours.error)) and "duration" in repr(question):
            return DURATIONS[0]
        filtered = any(getattr(e, "filter", None) is not None for e in expressions(question.steps))
        return FILTERED if filtered and ours.name == "DataError" else None
    if isinstance(question, Question) and hasattr(question.model, "char"):
        sql = question.sql(PEER)
        for name, rows in ROWS.items():
            if ABOUT[name].search(sql) and not differs(
                Question(question.model, step("exclude", rows), *question.steps, ordered=question.ordered)
            ):
                return name
    return None
