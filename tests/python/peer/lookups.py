"""Each built-in lookup with each field type: as a condition of rows, and as a value for each row."""

import json

from django.db.models import BooleanField, ExpressionWrapper, F, Q
from django.db.models.lookups import Transform

from .models import Plain, Row
from .questions import Question, step
from .values import EXTREME, FIELDS, TEXTS, ZONES

WANTED = 20
TEXT_LOOKUPS = {"contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "iexact"}
RELATED = {"id": range(-1, 170), "place": range(14), "previous": range(1, 161), "partner": range(1, 161)}
PATTERNS = [
    "a", "^a", "a$", "^.{2}$", "[a-z]+", r"\d", "^$", "é", "(a|b)", "a*b", r"\.", "[^a]", r"(.)\1", "ß", "σ", r"\s", r"^\w+$", "^[[:alpha:]]+$", r"\yA", r"\mab", r"[[:<:]]a",
    "(?i)ABC", "%", "'", r"\\", "^-", r"^\d{4}-0[1-3]", "[0-9]+$", "t(?=r)", "^(?!a)", "x{3,}", "[Aa]b?c", "(", "a{2", "[z-a]", "*",
]  # fmt: skip
KEYS = ["a", "b", "é", "a b", "a.b", 'q"', "%", "0", "", "z", "long key", "none"]
KEY_LOOKUPS = [
    "exact",
    "iexact",
    "icontains",
    "contains",
    "in",
    "isnull",
    "startswith",
    "istartswith",
    "endswith",
    "iendswith",
    "lt",
    "lte",
    "gt",
    "gte",
]
PARTS = {
    "year": [1, 1900, 1999, 2000, 2024, 9998], "month": range(1, 13), "day": range(1, 32), "week": range(1, 54), "week_day": range(1, 8),
    "iso_week_day": range(1, 8), "iso_year": [1, 1999, 2000, 2020, 2021, 2025, 9998], "quarter": range(1, 5), "hour": range(24), "minute": range(60),
    "second": range(60), "date": EXTREME["date"], "time": EXTREME["time"],
}  # fmt: skip


def combinations():
    """(field, lookup) of all that the fields of our models register; transforms with a comparison behind them."""
    found = []
    for name in (*FIELDS, *RELATED):
        for lookup, cls in Row._meta.get_field(name).get_lookups().items():
            if issubclass(cls, Transform):
                found += [(name, f"{lookup}__{c}") for c in ("exact", "gt", "gte", "lt", "lte", "in")]
            else:
                found.append((name, lookup))
    return found + [("json", f"key__{lookup}") for lookup in KEY_LOOKUPS]


class Lookups:
    def __init__(self, random):
        self.random = random

    def pool(self, field):
        return RELATED[field] if field in RELATED else EXTREME[field]

    def value(self, field):
        return self.random.choice(self.pool(field))

    def fragment(self, field):
        """Text as it may be part of a value's text."""
        value = self.value(field)
        text = value if isinstance(value, str) else json.dumps(value) if field == "json" else str(value)
        if self.random.random() < 0.2:
            text = self.random.choice(TEXTS)
        start = self.random.randrange(len(text) + 1)
        text = text[start : start + self.random.choice([1, 1, 2, 3, 40])]
        return text.swapcase() if self.random.random() < 0.3 else text

    def operand(self, field, lookup):
        r = self.random
        if lookup == "isnull":
            return r.random() < 0.5
        if lookup in ("in", "range"):
            count = 2 if lookup == "range" else r.choice([0, 1, 2, 3, 8])
            return [self.one(field) for _ in range(count)]
        if lookup in ("regex", "iregex"):
            return self.random.choice(PATTERNS)
        if lookup in TEXT_LOOKUPS and not (field == "json" and lookup == "contains"):
            if lookup == "iexact":
                text = self.value(field)
                return (text if isinstance(text, str) else str(text)).swapcase()
            return self.fragment(field)
        if field == "json":
            if lookup == "has_key":
                return r.choice(KEYS)
            if lookup in ("has_keys", "has_any_keys"):
                return r.sample(KEYS, r.choice([1, 2, 3]))
            return self.value(field)
        if lookup == "exact" and r.random() < 0.05:
            return None
        if r.random() < 0.06:
            return F(self.other(field))
        return self.one(field)

    def one(self, field):
        value = self.value(field)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self.random.random() < 0.2:
            value += self.random.choice([1, -1])
        return value

    def other(self, field):
        alike = {
            "small": "integer",
            "integer": "big",
            "char": "text",
            "text": "char",
            "decimal": "wide",
            "float": "integer",
        }
        return alike.get(field, field)

    def condition(self, field, lookup):
        if lookup.startswith("key__"):
            return self.key_condition(lookup.removeprefix("key__"))
        part, _, comparison = lookup.partition("__")
        if comparison:
            pool = list(PARTS[part])
            operand = self.random.choices(pool, k=3) if comparison == "in" else self.random.choice(pool)
        else:
            operand = self.operand(field, lookup)
        return Q((f"{field}__{lookup}", operand))

    def key_condition(self, lookup):
        r = self.random
        path = "__".join(r.choice([["a"], ["a"], ["b"], ["é"], ["1"], ["a", "b"], ["a", "0"], ["a b"], ["%"]]))
        leaves = [1, 2, "1", "b", "B", 1.5, -0.5, 100, 20, True, None, "", "x_y", "100%", {}, [], [1, 2, 3], "é", "ü"]
        if lookup == "in":
            operand = r.sample(leaves, 3)
        elif lookup == "isnull":
            operand = r.random() < 0.5
        elif lookup in TEXT_LOOKUPS and lookup != "contains":
            operand = r.choice(["", "b", "B", "1", "0", "x", "%", "_", "é", "true", "00"])
        elif lookup in ("lt", "lte", "gt", "gte"):
            operand = r.choice([0, 1, 20, 1.5, 100])
        else:
            operand = r.choice(leaves)
        return Q((f"json__{path}__{lookup}", operand))

    def filtering(self, field, lookup):
        """The rows that a lookup leaves, by filter() or exclude()."""
        condition = self.condition(field, lookup)
        name = "exclude" if self.random.random() < 0.3 else "filter"
        return Question(self.random.choice([Row, Row, Plain]), step(name, condition), step("values_list", "pk"))

    def panel(self, pairs):
        """What several lookups say of each row: true, false or unknown."""
        columns = {}
        for i, (field, lookup) in enumerate(pairs):
            condition = self.condition(field, lookup)
            columns[f"c{i}"] = ExpressionWrapper(
                ~condition if self.random.random() < 0.2 else condition, output_field=BooleanField()
            )
        return panel(Row, columns)

    def zone(self):
        return self.random.choice(ZONES)


def panel(model, columns, *before):
    """A question for the values of expressions, for each row."""
    return Question(
        model,
        *before,
        step("annotate", **columns),
        step("order_by", "pk"),
        step("values_list", "pk", *columns),
        ordered=True,
    )
