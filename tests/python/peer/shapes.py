"""Queries of all shapes: joins, groups, windows, subqueries, set operations, slices, what is loaded along."""

import datetime

from django.db import models
from django.db.models import (
    Avg,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    FilteredRelation,
    Max,
    Min,
    OuterRef,
    Prefetch,
    Q,
    StdDev,
    Subquery,
    Sum,
    Value,
    Variance,
    Window,
)
from django.db.models import functions as f
from django.db.models.expressions import RowRange, ValueRange, WindowFrameExclusion
from django.db.models.fields.json import KT

from .functions import Expressions
from .models import Note, Place, Plain, Row, Tag
from .questions import Question, step
from .values import ZONES

GROUPS = [
    "boolean",
    "place",
    "small",
    "char",
    "date",
    "place__name",
    "place__within__name",
    "tags",
    "float",
    "decimal",
    "uuid",
    "ip",
    "time",
    "moment__year",
    "date__month",
]
JOINED = [
    "place__name",
    "place__size",
    "place__within__name",
    "previous__small",
    "previous__place__name",
    "partner__integer",
    "partnered__small",
    "tags__label",
]
ORDERS = [
    "small",
    "integer",
    "big",
    "decimal",
    "wide",
    "float",
    "boolean",
    "char",
    "text",
    "date",
    "moment",
    "time",
    "duration",
    "uuid",
    "ip",
    "binary",
    "place__name",
    "previous__integer",
]


class Shapes:
    def __init__(self, random):
        self.random = random
        self.expressions = Expressions(random)

    def names(self):
        return [name for name in vars(type(self)) if not name.startswith("_") and name not in ("names", "make")]

    def make(self, name):
        return getattr(self, name)()

    def _model(self):
        return self.random.choice([Plain, Row])

    def _where(self):
        return step(self.random.choice(["filter", "filter", "exclude"]), self.expressions.q())

    def _order(self, *more, unique="pk"):
        """An order of all rows: random fields with NULLs here or there, then what is unique."""
        orders = []
        for name in [*self.random.sample(ORDERS, self.random.choice([0, 1, 2])), *more]:
            orders.append(
                self.random.choice(
                    [
                        F(name).asc(),
                        F(name).desc(),
                        F(name).asc(nulls_first=True),
                        F(name).desc(nulls_last=True),
                        name,
                        f"-{name}",
                    ]
                )
            )
        return step("order_by", *orders, unique)

    def _aggregate(self, rows="", exact=False):
        r = self.random
        number = rows + r.choice(["small", "integer", "positive"]) if not rows.startswith("notes") else "notes__number"
        anything = (
            rows + r.choice(["char", "date", "moment", "decimal", "uuid", "integer", "float", "time", "text"])
            if not rows.startswith("notes")
            else "notes__text"
        )
        filter = {"filter": self.expressions.q()} if r.random() < 0.4 else {}
        if r.random() < 0.2:
            filter["default"] = r.choice([0, 7])
            return r.choice([Sum, Max, Min])(number, **filter)
        return r.choice(
            [
                lambda: Count("*"),
                lambda: Count(anything, distinct=r.random() < 0.5, **filter),
                lambda: Sum(number, distinct=r.random() < 0.3, **filter),
                lambda: Sum(rows + "decimal" if not rows.startswith("notes") else number, **filter),
                lambda: Avg(number, distinct=r.random() < 0.3, **filter),
                lambda: Avg(rows + "decimal" if not rows.startswith("notes") else number, **filter),
                lambda: r.choice([Min, Max])(anything if "uuid" not in anything else number, **filter),
                lambda: r.choice([StdDev, Variance])(number, sample=r.random() < 0.5, **filter),
                lambda: Sum(F(number) * 2 + 1, **filter),
                lambda: Sum(rows + "duration" if not rows.startswith("notes") else number, **filter),
                lambda: Avg(rows + "duration" if not rows.startswith("notes") else number, **filter),
                *self._joined_text(rows, filter),
            ]
        )()

    def _joined_text(self, rows, filter):
        """What Django has from 6 on."""
        if not hasattr(models, "StringAgg"):
            return []
        text = rows + ("text" if rows.startswith("notes") else self.random.choice(["char", "text", "slug"]))
        return [
            lambda: models.StringAgg(text, Value(self.random.choice([",", "", "'%s"])), order_by=[text], **filter),
            lambda: models.StringAgg(text, Value(";"), order_by=[f"-{text}"], distinct=True, **filter),
        ]

    # One table

    def filters(self):
        return Question(
            self._model(), self._where(), self._where(), step("values_list", *self.random.sample(ORDERS, 3))
        )

    def objects(self):
        model = self._model()
        deferred = (
            [step("defer", "json", "text")]
            if self.random.random() < 0.3
            else [step("only", "char", "date")]
            if self.random.random() < 0.3
            else []
        )
        return Question(model, self._where(), *deferred)

    def ordering(self):
        return Question(self._model(), self._where(), self._order(), step("values_list", "pk"), ordered=True)

    def order_by_expression(self):
        key = getattr(self.expressions, self.random.choice(["text", "integer", "date"]))(1)
        return Question(
            Plain,
            step("annotate", key=key),
            step("order_by", F("key").asc(nulls_first=self.random.random() < 0.5 or None), "-pk"),
            step("values_list", "pk", "key"),
            ordered=True,
        )

    def slices(self):
        start = self.random.choice([0, 0, 1, 10, 150])
        return Question(
            self._model(),
            self._where(),
            self._order(),
            step("__getitem__", slice(start, start + self.random.choice([1, 5, 50]))),
            step("values", "pk", "char", "previous__char"),
            ordered=True,
        )

    def sliced_count(self):
        return Question(
            self._model(),
            self._where(),
            self._order(),
            step("__getitem__", slice(3, 20)),
            step(self.random.choice(["count", "exists"])),
        )

    def reverse_last(self):
        return Question(
            self._model(),
            self._where(),
            self._order(),
            step("reverse"),
            step(self.random.choice(["first", "last"])),
            ordered=True,
        )

    def earliest(self):
        return Question(
            self._model(),
            step("filter", date__isnull=False),
            step(self.random.choice(["earliest", "latest"]), "date", "pk"),
        )

    def in_bulk(self):
        return Question(
            self._model(), step("only", "char"), step("in_bulk", [self.random.randint(0, 200) for _ in range(20)])
        )

    def values(self):
        return Question(
            self._model(), self._where(), step("values", *self.random.sample([*ORDERS, *JOINED[:5], "json", "ip"], 4))
        )

    def distinct(self):
        return Question(
            self._model(),
            self._where(),
            step("values_list", *self.random.sample([*GROUPS, "json__a"], self.random.choice([1, 2]))),
            step("distinct"),
        )

    # Casts, and arguments that a function does not take

    def outside_of_a_domain(self):
        r = self.random
        number = r.choice([F("small"), F("float"), f.Cast(F("decimal"), models.FloatField())])
        positive = Q(small__gt=0, float__gt=0, decimal__gt=0)
        base = r.choice([0.0, 1.0, 2.0, -2.0])
        value = r.choice(
            [
                lambda: f.Sqrt(number),
                lambda: f.Ln(number),
                lambda: f.Log(
                    Value(base),
                    f.Cast(number, models.DecimalField(max_digits=20, decimal_places=4)),
                ),
                lambda: f.Power(number, Value(r.choice([-1, 0.5, 2.0]))),
                lambda: r.choice([f.ACos, f.ASin])(f.Cast(number, models.FloatField())),
                lambda: f.Mod(F("integer"), F("small"), output_field=models.BigIntegerField()),
                lambda: ExpressionWrapper(F("decimal") / F("small"), output_field=models.FloatField()),
            ]
        )()
        few = r.choice([Q(), positive, Q(small__in=[0, 1], float__range=(0, 1), decimal__range=(0, 1))])
        if base == 1.0:  # else one row divides by zero, another has no logarithm: which one comes first?
            few = positive
        return Question(Plain, step("filter", few), step("annotate", value=value), step("values_list", "pk", "value"))

    def texts_of_a_length(self):
        part = f.Substr("char", self.random.choice([1, 2, 3]), F("small"))
        few = Q() if self.random.random() < 0.3 else Q(small__gte=0)
        return Question(Plain, step("filter", few), step("annotate", part=part), step("values_list", "pk", "part"))

    def rounded_casts(self):
        places = self.random.choice([0, 1, 2, 6])
        casts = {
            "a": f.Cast(
                F("float") + Value(self.random.choice([0.0, 0.005, 1.115])),
                models.DecimalField(max_digits=30, decimal_places=places),
            ),
            "b": f.Cast("decimal", models.IntegerField()),
            "c": f.Cast("float", models.IntegerField()),
            "d": f.Cast(f.Cast("ip", models.TextField()), models.GenericIPAddressField()),
            "e": f.Cast(f.Cast("binary", models.TextField()), models.BinaryField()),
        }
        return Question(Plain, self._where(), step("annotate", **casts), step("values_list", "pk", *casts))

    def sums_of_times(self):
        sums = {"s": Sum("time"), "a": Avg("time"), "m": Sum("time", filter=self.expressions.q())}
        if self.random.random() < 0.5:
            return Question(Plain, self._where(), step("aggregate", **sums))
        return Question(Plain, step("values", "boolean"), step("annotate", **sums))

    # Documents

    def distinct_documents(self):
        names = [self._document(), *self.random.sample(["boolean", "json", "small"], self.random.choice([0, 1]))]
        order = [step("order_by", self.random.choice(["json", "boolean"]))] if self.random.random() < 0.3 else []
        counted = [step("count")] if self.random.random() < 0.3 else []
        return Question(self._model(), self._where(), step("values_list", *names), step("distinct"), *order, *counted)

    def distinct_on_document(self):
        name = self._document()
        return Question(
            self._model(),
            self._where(),
            step("order_by", name, "pk"),
            step("distinct", name),
            step("values_list", "pk"),
            ordered=True,
        )

    def groups_of_documents(self):
        groups = [
            self._document(),
            *self.random.sample(["boolean", "json__a", "place__name"], self.random.choice([0, 1])),
        ]
        order = [step("order_by", "json")] if self.random.random() < 0.3 else []
        having = [step("filter", count__gt=1)] if self.random.random() < 0.3 else []
        return Question(
            self._model(),
            self._where(),
            step("values", *groups),
            step("annotate", count=Count("*"), most=Max("small")),
            *having,
            *order,
        )

    def counted_documents(self):
        counts = {f"a{i}": Count(self._document(), distinct=True, filter=self.expressions.q()) for i in range(2)}
        if self.random.random() < 0.5:
            return Question(self._model(), self._where(), step("aggregate", **counts))
        return Question(self._model(), step("values", "boolean"), step("annotate", **counts))

    def sets_of_documents(self):
        names = [self._document(), *self.random.sample(["boolean", "json__b"], self.random.choice([0, 1]))]
        parts = [Question(self._model(), self._where(), step("values_list", *names)) for _ in range(2)]
        name = self.random.choice(["union", "union", "intersection", "difference"])
        counted = [step("count")] if self.random.random() < 0.3 else []
        return Question(parts[0].model, *parts[0].steps, step(name, parts[1]), *counted)

    def documents_among_others(self):
        name = self._document()
        among = Question(self._model(), step("filter", pk__lt=self.random.randint(2, 60)), step("values", name))
        return Question(
            self._model(),
            step("annotate", found=F(name)),
            step(self.random.choice(["filter", "filter", "exclude"]), **{f"{name}__in": among}),
            step("values_list", "pk"),
        )

    def windows_of_documents(self):
        order = self.random.choice([None, "json", F("json").desc()])
        ranks = Window(f.DenseRank() if order else Count("*"), partition_by=[self._document()], order_by=order)
        ordered = Window(f.DenseRank(), order_by=self._document())
        return Question(self._model(), step("annotate", n=ranks, m=ordered), step("values_list", "pk", "n", "m"))

    def texts_of_documents(self):
        texts = {"t": f.Cast(self._document(), models.TextField()), "k": KT("json__a"), "l": KT("json__a__b")}
        return Question(self._model(), self._where(), step("annotate", **texts), step("values_list", "pk", *texts))

    def _document(self):
        return self.random.choice(["json", "json", "json__a", "json__a__b"])

    def distinct_on(self):
        name = self.random.choice(["char", "place", "boolean", "date", "small", "place__name"])
        return Question(
            self._model(),
            self._where(),
            step("order_by", name, self.random.choice(["-pk", "pk"])),
            step("distinct", name),
            step("values_list", "pk", name),
            ordered=True,
        )

    def dates(self):
        kind = self.random.choice(["year", "month", "week", "day"])
        return Question(
            self._model(), self._where(), step("dates", "date", kind, self.random.choice(["ASC", "DESC"])), ordered=True
        )

    def datetimes(self):
        import zoneinfo

        kind = self.random.choice(["year", "month", "week", "day", "hour", "minute", "second"])
        return Question(
            Plain, step("datetimes", "moment", kind, "ASC", zoneinfo.ZoneInfo(self.random.choice(ZONES))), ordered=True
        )

    # Joins

    def inner_join(self):
        q = self.random.choice(
            [
                Q(place__size__gt=1),
                Q(place__within__name__gte="b"),
                Q(previous__small__lt=3),
                Q(place__name="alpha") & Q(previous__boolean=True),
            ]
        )
        return Question(self._model(), step("filter", q), step("values_list", "pk", *self.random.sample(JOINED, 2)))

    def left_join(self):
        q = self.random.choice(
            [
                Q(previous__isnull=True),
                Q(place__within__isnull=True),
                Q(partnered__isnull=True),
                ~Q(place__name="beta"),
                Q(place__size=5) | Q(small=1),
                Q(tags__isnull=True),
            ]
        )
        return Question(
            self._model(),
            step(self.random.choice(["filter", "exclude"]), q),
            step("values_list", "pk", self.random.choice(JOINED)),
        )

    def many_to_many(self):
        q = self.random.choice(
            [
                Q(tags=3),
                Q(tags__label__contains="a"),
                ~Q(tags=2),
                Q(tags__in=[1, 2, 3]),
                Q(tags__label__gt="M") & Q(tags__id__gt=2),
            ]
        )
        return Question(
            self._model(),
            step("filter", q),
            *([step("distinct")] if self.random.random() < 0.5 else []),
            step("values_list", "pk"),
        )

    def several_many_to_many(self):
        return Question(
            self._model(),
            step("filter", tags=self.random.randint(1, 8)),
            step("filter", tags=self.random.randint(1, 8)),
            step("values_list", "pk"),
        )

    def self_join(self):
        q = self.random.choice(
            [
                Q(previous__previous__small__gt=F("small")),
                Q(following__integer=F("integer")),
                Q(previous__date__lt=F("date")),
                Q(partner__partner__isnull=False),
            ]
        )
        return Question(self._model(), step("filter", q), step("values_list", "pk", "previous__previous__char"))

    def reverse(self):
        return Question(
            Plain,
            step(self.random.choice(["filter", "exclude"]), notes__number__gt=self.random.randrange(9)),
            step("values_list", "pk", "notes__text"),
        )

    def filtered_relation(self):
        return Question(
            Plain,
            step("annotate", few=FilteredRelation("notes", condition=Q(notes__number__gte=self.random.randrange(9)))),
            step("values_list", "pk", "few__text"),
        )

    def select_related(self):
        return Question(
            self._model(),
            self._where(),
            step("select_related", *self.random.sample(["place__within", "previous__place", "partner"], 2)),
        )

    def prefetch_related(self):
        prefetch = self.random.choice(
            [
                Prefetch("tags", Tag.objects.order_by("id")),
                Prefetch("following", Plain.objects.order_by("id")),
                Prefetch("place__parts", Place.objects.order_by("-id")),
                Prefetch("tags", Tag.objects.filter(label__gte="a").order_by("-id")),
            ]
        )
        return Question(
            Plain,
            self._where(),
            step("order_by", "pk"),
            step("only", "char", "place", "previous"),
            step("prefetch_related", prefetch),
            ordered=True,
        )

    # Groups

    def aggregate(self):
        kwargs = {f"a{i}": self._aggregate() for i in range(self.random.choice([1, 2, 4]))}
        return Question(self._model(), self._where(), step("aggregate", **kwargs))

    def aggregate_over_join(self):
        kwargs = {f"a{i}": self._aggregate(self.random.choice(["previous__", "", "notes__"])) for i in range(2)}
        return Question(Plain, self._where(), step("aggregate", **kwargs))

    def group_by(self):
        groups = self.random.sample(GROUPS, self.random.choice([1, 1, 2]))
        kwargs = {f"a{i}": self._aggregate() for i in range(self.random.choice([1, 3]))}
        return Question(self._model(), self._where(), step("values", *groups), step("annotate", **kwargs))

    def group_by_expression(self):
        key = getattr(self.expressions, self.random.choice(["text", "date", "integer", "boolean"]))(1)
        return Question(Plain, step("values", key=key), step("annotate", count=Count("*"), total=Sum("small")))

    def having(self):
        limit = self.random.choice([1, 2, 5])
        having = self.random.choice([Q(count__gt=limit), Q(count__lte=limit) | Q(most__gt=1), Q(most__isnull=True)])
        return Question(
            self._model(),
            step("values", self.random.choice(GROUPS[:6])),
            step("annotate", count=Count("pk"), most=Max("small")),
            step("filter", having),
        )

    def annotated_counts(self):
        counts = {
            "n": Count("notes", distinct=True),
            "t": Count("tags", distinct=self.random.random() < 0.5),
            "s": Sum("notes__number", filter=self.expressions.q()),
        }
        return Question(
            Plain,
            step("annotate", **counts),
            step("filter", n__gte=self.random.choice([0, 1, 2])),
            step("values_list", "pk", *counts),
        )

    def aggregate_of_annotation(self):
        return Question(
            Plain, step("annotate", n=Count("notes")), step("aggregate", a=Avg("n"), s=Sum("n"), m=Max("n"))
        )

    def aggregate_over_expression(self):
        value = self.expressions.integer(1)
        return Question(Plain, step("aggregate", low=Min(value), high=Max(value), count=Count(value, distinct=True)))

    def aggregate_of_slice(self):
        return Question(
            Plain,
            self._order(),
            step("__getitem__", slice(0, 17)),
            step("aggregate", s=Sum("small"), c=Count("place", distinct=True)),
        )

    # Windows

    def window(self):
        r = self.random
        order = ["date", "pk"] if r.random() < 0.5 else [F("small").desc(nulls_last=True), "pk"]
        value = r.choice(["small", "integer", "char", "moment", "decimal"])
        function = r.choice(
            [
                lambda: f.RowNumber(), lambda: f.Rank(), lambda: f.DenseRank(), lambda: f.PercentRank(), lambda: f.CumeDist(), lambda: f.Ntile(r.choice([1, 3, 7])),
                lambda: f.Lag(value, r.choice([1, 2])), lambda: f.Lead(value, r.choice([1, 5])), lambda: f.Lag("small", 1, default=Value(0)), lambda: f.FirstValue(value),
                lambda: f.LastValue(value), lambda: f.NthValue(value, nth=r.choice([1, 2, 4])), lambda: Sum("small"), lambda: Avg("integer"), lambda: Count("*"), lambda: Max("date"),
                lambda: Count("small", filter=Q(boolean=True)),
            ]
        )()  # fmt: skip
        ranked = type(function).__name__ in ("Rank", "DenseRank", "PercentRank", "CumeDist")
        window = Window(
            function,
            partition_by=r.choice([None, "place", ["boolean", "place"], F("date__year")]),
            order_by=order[:1] if ranked else order,
        )
        return Question(self._model(), self._where(), step("annotate", w=window), step("values_list", "pk", "w"))

    def window_frame(self):
        r = self.random
        start, end = r.choice([(None, 0), (-2, 0), (-1, 1), (0, None), (None, None), (1, 3), (-5, -2)])
        exclusion = {"exclusion": r.choice(list(WindowFrameExclusion))} if r.random() < 0.4 else {}
        if r.random() < 0.7:
            frame, order = RowRange(start=start, end=end, **exclusion), ["char", "pk"]
        else:
            frame, order = ValueRange(start=r.choice([None, 0]), end=r.choice([0, None]), **exclusion), ["small"]
        function = r.choice([Sum("small"), Count("*"), Avg("integer"), Min("date"), Max("decimal")])
        window = Window(function, partition_by=r.choice([None, "boolean", "place"]), order_by=order, frame=frame)
        return Question(self._model(), step("annotate", w=window), step("values_list", "pk", "w"))

    def window_filtered(self):
        window = Window(f.RowNumber(), partition_by="place", order_by=["-moment", "pk"])
        return Question(
            self._model(),
            step("annotate", w=window),
            step("filter", w__lte=self.random.choice([1, 2])),
            step("values_list", "pk", "w"),
        )

    # Subqueries and set operations

    def exists(self):
        inner = Note.objects.filter(row=OuterRef("pk"), number__gt=self.random.randrange(9))
        condition = Exists(inner)
        return Question(
            Plain, step("filter", ~condition if self.random.random() < 0.5 else condition), step("values_list", "pk")
        )

    def subquery(self):
        inner = (
            Note.objects.filter(row=OuterRef("pk")).order_by(F("number").desc(nulls_last=True), "pk").values("text")[:1]
        )
        return Question(
            Plain,
            step("annotate", last=Subquery(inner)),
            self._order("last"),
            step("values_list", "pk", "last"),
            ordered=True,
        )

    def subquery_aggregate(self):
        inner = (
            Note.objects.filter(place=OuterRef("place"))
            .order_by()
            .values("place")
            .annotate(n=Count("*"), m=Sum("number"))
            .values(self.random.choice(["n", "m"]))
        )
        return Question(
            self._model(),
            step("annotate", n=Subquery(inner)),
            step("filter", Q(n__gt=self.random.randrange(60)) | Q(n=None)),
            step("values_list", "pk", "n"),
        )

    def in_subquery(self):
        inner = self.random.choice(
            [
                Place.objects.filter(size__gte=5),
                Place.objects.filter(parts__size=1),
                Place.objects.order_by("-id")[:3],
                Place.objects.exclude(name__lt="d").values("within"),
            ]
        )
        return Question(
            self._model(), step(self.random.choice(["filter", "exclude"]), place__in=inner), step("values_list", "pk")
        )

    def correlated_update_source(self):
        inner = Row.objects.filter(place=OuterRef("place"), id__lt=OuterRef("id")).order_by("-id").values("char")[:1]
        return Question(
            Plain,
            step("annotate", c=f.Coalesce(Subquery(inner), Value("none"), output_field=models.TextField())),
            step("values_list", "pk", "c"),
        )

    def set_operation(self):
        columns = self.random.sample(["small", "char", "date", "boolean", "integer"], 2)
        other = Question(self._model(), self._where(), step("values_list", *columns))
        kind = self.random.choice(["union", "union", "intersection", "difference"])
        kwargs = {"all": self.random.random() < 0.5} if kind == "union" else {}
        return Question(self._model(), self._where(), step("values_list", *columns), step(kind, other, **kwargs))

    def ordered_set_operation(self):
        parts = [Question(self._model(), self._where(), step("values_list", "pk", "char")) for _ in range(3)]
        return Question(
            parts[0].model,
            *parts[0].steps,
            step("union", *parts[1:]),
            step("order_by", "char", "pk"),
            step("__getitem__", slice(self.random.randrange(5), 30)),
            ordered=True,
        )

    def sliced_set_operation(self):
        part = Question(
            Place, step("order_by", "name", "id"), step("__getitem__", slice(0, 4)), step("values_list", "id", "name")
        )
        return Question(
            Place,
            step("order_by", "-id"),
            step("__getitem__", slice(0, 4)),
            step("values_list", "id", "name"),
            step("union", part),
        )

    def combined(self):
        model = self._model()
        operator = self.random.choice(["__or__", "__and__", "__xor__"])
        return Question(model, self._where(), step(operator, Question(model, self._where())), step("values_list", "pk"))

    def age(self):
        """Differences of times, ordered and compared."""
        since = ExpressionWrapper(F("moment") - F("previous__moment"), output_field=models.DurationField())
        return Question(
            self._model(),
            step("annotate", since=since),
            step("filter", since__gt=datetime.timedelta(days=self.random.choice([-400, 0, 10]))),
            step("values_list", "pk", "since"),
        )

    # What changes rows: the answer is the number of rows and the table afterwards.

    def update(self):
        r = self.random
        values = {
            "small": [5, None, F("small") + 1, F("place"), Value(40000)],
            "integer": [
                F("small") * 2,
                F("integer") - F("small"),
                2**31,
                f.Length("text"),
                Subquery(Place.objects.filter(id=OuterRef("place")).values("size")[:1]),
            ],
            "char": [
                f.Upper("char"),
                f.Left("text", 3),
                "it's %s",
                "x" * 61,
                self.expressions.choice("text", models.TextField, 1),
            ],
            "text": [f.Concat("text", Value("%", models.TextField())), self.expressions.text(1), ""],
            "decimal": [F("decimal") * 2, F("decimal") / 3, F("small"), "12.345", F("wide")],
            "float": [F("decimal"), F("float") / 2, float("nan")],
            "date": [F("moment"), self.expressions.date(1), datetime.date(1, 1, 1)],
            "moment": [F("moment") + datetime.timedelta(days=1), F("date"), self.expressions.moment(1)],
            "boolean": [self.expressions.boolean(1), None],
            "duration": [F("duration") * 2, F("moment") - datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)],
            "json": [{"a": "it's"}, F("json"), Value(None, models.JSONField()), f.JSONObject(a="small")],
            "previous": [None, F("id")],
        }
        names = r.sample(list(values), r.choice([1, 2]))
        return Question(
            self._model(), self._where(), step("update", **{name: r.choice(values[name]) for name in names})
        )

    def update_over_join(self):
        q = self.random.choice(
            [
                Q(place__size=5),
                Q(previous__isnull=False, previous__small__gt=1),
                Q(tags__id__in=[1, 2]),
                ~Q(place__name__contains="a"),
            ]
        )
        return Question(self._model(), step("filter", q), step("update", small=F("small") - 1, slug="joined"))

    def update_ordered_slice(self):
        inner = Plain.objects.order_by("-date", "pk").values("pk")[: self.random.choice([1, 9])]
        return Question(Plain, step("filter", pk__in=inner), step("update", integer=F("pk")))

    def delete(self):
        q = self.random.choice(
            [
                self.expressions.q(),
                Q(place__size=5),
                Q(text__contains="a"),
                Q(number__gt=F("place")),
                Q(row__small__gt=2),
            ]
        )
        if any("number" in str(c) or "row" in str(c) for c in q.children):
            return Question(Note, step("filter", q), step("delete"))
        return Question(self._model(), step("filter", q), step("delete"))
