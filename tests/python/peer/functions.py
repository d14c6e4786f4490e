"""Expressions of all kinds of values, from columns, values and the functions of django.db.models.functions."""

import datetime
import decimal
import zoneinfo

from django.db import models
from django.db.models import Case, Exists, ExpressionWrapper, F, OuterRef, Q, Subquery, Value, When
from django.db.models import functions as f

from .models import Note, Place
from .values import EXTREME, PLAIN, ZONES

INTEGER, FLOAT, DECIMAL = (
    models.BigIntegerField,
    models.FloatField,
    lambda: models.DecimalField(max_digits=30, decimal_places=6),
)
TEXT, DATE, MOMENT, BOOLEAN = models.TextField, models.DateField, models.DateTimeField, models.BooleanField
DURATION, TIME, JSON = models.DurationField, models.TimeField, models.JSONField
INTEGERS = ["small", "integer", "big", "positive_small", "positive", "positive_big"]
KINDS = ["year", "quarter", "month", "week", "day", "hour", "minute", "second"]
# What answers anew each time, or is there for others to build on.
LEFT_OUT = {"Random", "Now", "UUID4", "UUID7", "ConcatPair", "Extract", "Trunc"}


class Expressions:
    """Random expressions over peer.models.Values: `text(2)` is a text of two levels of functions at most."""

    def __init__(self, random):
        self.random = random

    def pick(self, *makers):
        return self.random.choice(makers)()

    def any(self, depth):
        kind = self.random.choice(
            [
                "integer",
                "part",
                "part",
                "float",
                "float",
                "decimal",
                "text",
                "text",
                "text",
                "collated",
                "date",
                "moment",
                "truncated",
                "boolean",
                "duration",
                "time",
                "json",
            ]
        )
        return getattr(self, kind)(depth)

    def pair(self, kind, depth):
        return getattr(self, kind)(depth - 1), getattr(self, kind)(depth - 1)

    def column(self, *names):
        return F(self.random.choice(names))

    def value(self, field, output):
        if field == "decimal":  # psycopg writes one without a fraction as an integer
            return Value(self.random.choice([v for v in PLAIN[field] if v % 1]), output_field=output)
        return Value(self.random.choice(PLAIN[field]), output_field=output)

    def number(self, depth):
        return self.pick(lambda: self.integer(depth), lambda: self.float(depth), lambda: self.decimal(depth))

    def small_integer(self):
        return Value(self.random.choice([-1, 0, 1, 2, 3, 5, 20]))

    # Kinds of values

    def integer(self, depth):
        leaf = [lambda: self.column(*INTEGERS), lambda: self.value("integer", INTEGER())]
        if depth < 1:
            return self.pick(leaf[0], *leaf)
        a, b = self.pair("integer", depth) if depth > 1 else (self.column(*INTEGERS), self.small_integer())
        return self.pick(
            *leaf,
            lambda: self.arithmetic(a, b, "+-*%&|"),
            lambda: self.arithmetic(F("integer"), Value(self.random.choice([1, 2, 2, 7, 7, -3, -3, 0])), "/%"),
            lambda: f.Abs(a),
            lambda: f.Cast(f.Sign(a), INTEGER()),
            lambda: f.Mod(a, Value(self.random.choice([2, 3, -7])), output_field=INTEGER()),
            lambda: f.Length(self.text(depth - 1)),
            lambda: f.StrIndex(self.text(depth - 1), Value(self.random.choice(["a", "", "e", "é", "it's", "%"]))),
            lambda: f.Ord(self.text(0)),
            lambda: f.Cast(self.part(depth - 1), INTEGER()),
            lambda: f.Cast(
                self.pick(lambda: self.decimal(0), lambda: self.column("float", *INTEGERS)),
                self.random.choice([INTEGER, models.IntegerField])(),
            ),
            lambda: f.Cast(F("boolean"), models.IntegerField()),
            lambda: self.choice("integer", INTEGER, depth),
        )

    def part(self, depth):
        """Of a date or time. PostgreSQL's is a numeric, which does not mix with integers everywhere."""
        days = "year quarter month week day week_day iso_week_day iso_year"
        return self.pick(
            lambda: self.extract(self.date(depth - 1), days),
            lambda: self.extract(self.moment(depth - 1), f"{days} hour minute second", self.zone()),
            lambda: self.extract(self.time(depth - 1), "hour minute second"),
            lambda: f.Extract(f.Trunc(self.column("moment"), "hour", tzinfo=self.zone()), "day"),
            lambda: self.extract(self.column("duration"), "day hour minute second"),
        )

    def float(self, depth):
        if depth < 1:
            return self.pick(lambda: self.column("float"), lambda: self.value("float", FLOAT()))
        x = f.Cast(self.number(depth - 1), FLOAT())
        one_argument = [f.ATan, f.Degrees, f.Radians, f.Floor, f.Ceil, f.Abs, f.Sign]
        bounded = self.random.choice([f.Cos, f.Sin])(f.Cast(self.column("small", "integer", "float"), FLOAT()))
        positive = f.Abs(x) + Value(0.5)
        return self.pick(
            *[lambda: self.random.choice(one_argument)(x)] * 6,
            lambda: self.random.choice([f.ACos, f.ASin])(bounded),
            lambda: self.random.choice([f.Sqrt, f.Ln])(positive),
            lambda: self.random.choice([f.Exp, f.Tan])(bounded),
            lambda: bounded,
            lambda: f.Cot(f.Abs(bounded) + Value(0.5)),
            lambda: f.ATan2(x, positive),
            lambda: f.Log(Value(2.0), f.Cast(positive, DECIMAL())),
            lambda: f.Power(positive, Value(self.random.choice([0, 0.5, 2, -1]))),
            lambda: f.Round(x),
            lambda: ExpressionWrapper(f.Pi() * x, output_field=FLOAT()),
            lambda: ExpressionWrapper(x / positive, output_field=FLOAT()),
            lambda: self.arithmetic(x, self.float(depth - 1), "+-*", FLOAT),
            lambda: f.Cast(self.column("decimal", "wide", *INTEGERS), FLOAT()),
            lambda: self.choice("float", FLOAT, depth),
        )

    def decimal(self, depth):
        leaf = [lambda: self.column("decimal", "wide"), lambda: self.value("decimal", DECIMAL())]
        if depth < 1:
            return self.pick(*leaf)
        x = self.pick(lambda: self.column("decimal"), lambda: self.value("decimal", DECIMAL()))
        return self.pick(
            *leaf,
            lambda: self.random.choice([f.Abs, f.Ceil, f.Floor, f.Round, f.Sign])(x),
            lambda: f.Round(x, precision=self.random.choice([-2, -1, 0, 1, 2, 4])),
            lambda: self.arithmetic(x, self.column("decimal"), "+-*", DECIMAL),
            lambda: self.arithmetic(
                x, Value(decimal.Decimal(self.random.choice(["3", "0.7", "-12.5"]))), "/%", DECIMAL
            ),
            lambda: self.arithmetic(x, self.column("small", "integer"), "+-*", DECIMAL),
            lambda: f.Mod(x, Value(decimal.Decimal("2.5")), output_field=DECIMAL()),
            lambda: f.Cast(
                self.pick(
                    lambda: self.column("small", "integer", "decimal"), lambda: f.Cast(self.column("integer"), TEXT())
                ),
                models.DecimalField(max_digits=20, decimal_places=self.random.choice([0, 2, 5])),
            ),
            lambda: self.choice("decimal", DECIMAL, depth),
        )

    def text(self, depth):
        leaf = [
            lambda: self.column("char", "text", "char", "text", "slug", "email", "url", "file", "path"),
            lambda: self.value("text", TEXT()),
        ]
        if depth < 1:
            return self.pick(*leaf)
        x = self.text(depth - 1)
        fill = Value(self.random.choice([" ", "xy", "é", "😀", "", "%"]))
        small = self.random.choice([0, 1, 2, 3, 5])
        return self.pick(
            *leaf,
            *[lambda: self.random.choice([f.Lower, f.Upper, f.Trim, f.LTrim, f.RTrim, f.Reverse])(x)] * 4,
            lambda: self.random.choice([f.Left, f.Right])(x, small or 1),
            lambda: self.random.choice([f.LPad, f.RPad])(x, small * 2, fill_text=fill),
            lambda: f.Repeat(x, small),
            lambda: f.Replace(
                x,
                Value(self.random.choice(["a", "e", "é", "%", "'", "xx"])),
                Value(self.random.choice(["", "b", "aa", "\\", "$1"])),
                output_field=TEXT(),
            ),
            lambda: f.Substr(x, small or 1, self.random.choice([None, 1, 2, 10])),
            lambda: self.concatenated(depth),
            *[lambda: self.random.choice([f.MD5, f.SHA1, f.SHA224, f.SHA256, f.SHA384, f.SHA512])(x)] * 2,
            lambda: f.Chr(
                self.random.choice(
                    [Value(65), Value(233), Value(128512), f.Ord(f.Concat(f.Cast(x, TEXT()), Value("a", TEXT())))]
                )
            ),
            lambda: f.Cast(self.castable(), self.random.choice([TEXT(), TEXT(), models.CharField(max_length=5)])),
            lambda: self.choice("text", TEXT, depth),
        )

    def concatenated(self, depth):
        parts = [Value(self.random.choice(["", "-", "it's", "100%"]), TEXT()), f.Cast(self.text(depth - 1), TEXT())]
        parts.append(self.pick(lambda: F("text"), lambda: f.Cast(self.column("integer", "decimal", "date"), TEXT())))
        return f.Concat(*parts)

    def collated(self, depth):
        """Not inside of others: in PostgreSQL a collation says what is a capital, too."""
        return f.Collate(self.text(depth - 1), "C")

    def castable(self):
        return self.column(
            *INTEGERS,
            "decimal",
            "wide",
            "float",
            "boolean",
            "date",
            "moment",
            "time",
            "uuid",
            "ip",
            "char",
            "text",
            "json",
            "duration",
        )

    def date(self, depth):
        if depth < 1:
            return self.pick(lambda: self.column("date"), lambda: self.value("date", DATE()))
        return self.pick(
            lambda: f.Cast(f.Trunc(self.date(depth - 1), self.random.choice(KINDS[:5]), output_field=DATE()), DATE()),
            lambda: f.Cast(
                getattr(f, f"Trunc{self.random.choice(KINDS[:5]).capitalize()}")(self.column("date")), DATE()
            ),
            lambda: f.TruncDate(self.column("moment"), tzinfo=self.zone()),
            lambda: f.Cast(self.column("moment"), DATE()),
            lambda: f.Cast(
                f.Trunc(self.column("moment"), self.random.choice(KINDS[:5]), output_field=DATE(), tzinfo=self.zone()),
                DATE(),
            ),
            lambda: self.choice("date", DATE, depth),
        )

    def moment(self, depth):
        if depth < 1:
            return self.pick(lambda: self.column("moment"), lambda: self.value("moment", MOMENT()))
        return self.pick(
            lambda: f.Cast(self.truncated(), MOMENT()),
            lambda: ExpressionWrapper(self.column("moment") + self.duration(depth - 1), output_field=MOMENT()),
            lambda: ExpressionWrapper(self.column("moment", "date") - self.duration(0), output_field=MOMENT()),
            lambda: f.Cast(self.column("date"), MOMENT()),
            lambda: self.choice("moment", MOMENT, depth),
        )

    def truncated(self, depth=0):
        """Inside of another expression a truncated moment or date is PostgreSQL's timestamp, of no time zone."""
        return self.pick(
            lambda: f.Trunc(self.column("moment"), self.random.choice(KINDS), tzinfo=self.zone()),
            lambda: getattr(f, f"Trunc{self.random.choice(KINDS).capitalize()}")(
                self.column("moment"), tzinfo=self.zone()
            ),
            lambda: getattr(f, f"Trunc{self.random.choice(KINDS[:5]).capitalize()}")(self.column("date")),
            lambda: f.Trunc(self.column("date", "moment"), self.random.choice(KINDS[:5]), output_field=DATE()),
        )

    def time(self, depth):
        if depth < 1:
            return self.pick(lambda: self.column("time"), lambda: self.value("time", TIME()))
        return self.pick(
            lambda: f.Trunc(self.column("time"), self.random.choice(KINDS[5:]), output_field=TIME()),
            lambda: f.TruncTime(self.column("moment"), tzinfo=self.zone()),
            lambda: f.Cast(self.column("moment"), TIME()),
            lambda: self.choice("time", TIME, depth),
        )

    def duration(self, depth):
        if depth < 1:
            return self.pick(lambda: self.column("duration"), lambda: self.value("duration", DURATION()))
        return self.pick(
            lambda: ExpressionWrapper(self.column("moment") - self.value("moment", MOMENT()), output_field=DURATION()),
            lambda: ExpressionWrapper(self.column("date") - self.value("date", DATE()), output_field=DURATION()),
            lambda: ExpressionWrapper(self.column("time") - self.value("time", TIME()), output_field=DURATION()),
            lambda: self.arithmetic(self.duration(0), self.duration(0), "+-", DURATION),
            lambda: self.arithmetic(self.column("duration"), self.column("small"), "*", DURATION),
            lambda: self.arithmetic(self.column("duration"), Value(self.random.choice([2, 4, 0.5, 7])), "*/", DURATION),
            lambda: self.choice("duration", DURATION, depth),
        )

    def boolean(self, depth):
        if depth < 1:
            return self.pick(lambda: self.column("boolean"), lambda: Value(self.random.random() < 0.5))
        kind = self.random.choice(["integer", "float", "decimal", "text", "date", "moment", "duration", "time"])
        lookup = self.random.choice(["exact", "lt", "lte", "gt", "gte"])
        return self.pick(
            lambda: ExpressionWrapper(self.q(), output_field=BOOLEAN()),
            lambda: self.comparison(getattr(self, kind)(depth - 1), lookup, getattr(self, kind)(0)),
            lambda: Exists(Note.objects.filter(place=OuterRef("place"), number__gte=self.random.randrange(9))),
            lambda: ExpressionWrapper(
                Q(place__in=Subquery(Place.objects.filter(size__gt=self.random.choice([1, 5])).values("id"))),
                output_field=BOOLEAN(),
            ),
            lambda: self.choice("boolean", BOOLEAN, depth),
        )

    def json(self, depth):
        if depth < 1:
            return self.column("json")
        members = {
            self.random.choice(["a", "b", "é", "it's", "%s"]): self.random.choice(
                [self.integer(0), self.text(0), self.column("boolean", "json")]
            )
            for _ in range(2)
        }
        return self.pick(lambda: f.JSONObject(**members), lambda: f.JSONArray(*members.values()), lambda: F("json__a"))

    # Parts

    def zone(self):
        offset = datetime.timezone(datetime.timedelta(minutes=self.random.choice([-90, 330, 60])))
        return self.random.choice([*map(zoneinfo.ZoneInfo, ZONES), offset])

    def arithmetic(self, a, b, operators, output=INTEGER):
        operator = self.random.choice(operators)
        made = {
            "+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b, "%": lambda: a % b,
            "&": lambda: a.bitand(b), "|": lambda: a.bitor(b),
        }[operator]()  # fmt: skip
        return ExpressionWrapper(made, output_field=output())

    def extract(self, source, kinds, zone=None):
        kind = self.random.choice(kinds.split())
        named = "".join(part.capitalize() for part in kind.split("_"))
        return getattr(f, f"Extract{named}")(source, **({"tzinfo": zone} if zone else {}))

    def comparison(self, a, lookup, b):
        return models.Field.class_lookups[lookup](a, b) if hasattr(a, "resolve_expression") else Value(True)

    def q(self):
        """A condition on columns, of one to three terms."""
        terms = []
        for _ in range(self.random.choice([1, 1, 2, 3])):
            field = self.random.choice(
                [
                    "small",
                    "integer",
                    "decimal",
                    "float",
                    "char",
                    "date",
                    "moment",
                    "boolean",
                    "uuid",
                    "duration",
                    "text",
                ]
            )
            lookup = self.random.choice(["exact", "lt", "gte", "isnull", "in"])
            value = self.random.choice(EXTREME[field])
            term = Q(
                (
                    f"{field}__{lookup}",
                    bool(value) if lookup == "isnull" else [value, *PLAIN[field][:2]] if lookup == "in" else value,
                )
            )
            terms.append(~term if self.random.random() < 0.2 else term)
        made = terms[0]
        for term in terms[1:]:
            made = made & term if self.random.random() < 0.5 else made | term
        return made

    def choice(self, kind, output, depth):
        """What chooses between values of one kind."""
        a, b = self.pair(kind, depth)
        wrap = {"output_field": output()}
        return self.pick(
            lambda: f.Coalesce(a, b, **wrap),
            lambda: f.Greatest(a, b, **wrap),
            lambda: f.Least(a, b, **wrap),
            lambda: f.NullIf(a, b, **wrap),
            lambda: Case(When(self.q(), then=a), When(self.q(), then=b), **wrap),
            lambda: Case(When(self.q(), then=a), default=b, **wrap),
        )
