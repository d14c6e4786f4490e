"""A question is a queryset as the steps that build it, asked of both databases; what differs is shrunk to what matters."""

import dataclasses
import datetime
import decimal
import math
from itertools import islice, zip_longest

from django.db import Error, connections, models, transaction
from django.db.models import FilteredRelation, Q
from django.db.models.expressions import BaseExpression, CombinedExpression
from django.test.utils import CaptureQueriesContext

from .databases import OURS, PEER

# Methods that end a queryset.
ENDS = {
    "aggregate",
    "count",
    "exists",
    "first",
    "last",
    "earliest",
    "latest",
    "in_bulk",
    "dates",
    "datetimes",
    "update",
    "delete",
    "explain",
}
# Methods after which rows have an order.
ORDERING = {"order_by", "dates", "datetimes", "earliest", "latest"}
# Methods that make one row of several.
GROUPING = {"values", "distinct", "union", "intersection", "difference"}
# What is a sum of floats, or of divisions, in an order of the engine's own.
INEXACT = {
    "Avg",
    "StdDev",
    "Variance",
    "Sum",
    "Power",
    "Sqrt",
    "Exp",
    "Ln",
    "Log",
    "ACos",
    "ASin",
    "ATan",
    "ATan2",
    "Cos",
    "Cot",
    "Sin",
    "Tan",
}
# What PostgreSQL says of arguments outside of a function's domain.
ARGUMENTS = {"2201E", "2201F", "22011", "22012", "22023"}
INEXACT |= {"Degrees", "Radians", "CumeDist", "PercentRank", "Pi"}


@dataclasses.dataclass(frozen=True)
class Step:
    """A method of querysets and its arguments; a Question among them is asked as a queryset."""

    name: str
    args: tuple = ()
    kwargs: dict = dataclasses.field(default_factory=dict)

    def on(self, queryset):
        args = [a.queryset() if isinstance(a, Question) else a for a in self.args]
        kwargs = {k: v.queryset() if isinstance(v, Question) else v for k, v in self.kwargs.items()}
        # Django adds to the relation that it is given.
        kwargs = {k: v.clone() if isinstance(v, FilteredRelation) else v for k, v in kwargs.items()}
        return getattr(queryset, self.name)(*args, **kwargs)

    def __repr__(self):
        parts = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        return f"[{self.args[0]!r}]" if self.name == "__getitem__" else f".{self.name}({', '.join(parts)})"


def step(name, *args, **kwargs):
    return Step(name, args, kwargs)


class Question:
    def __init__(self, model, *steps, ordered=False):
        self.model = model
        self.steps = steps
        self.ordered = ordered and any(s.name in ORDERING for s in steps)

    def __repr__(self):
        return f"{self.model.__name__}.objects{''.join(map(repr, self.steps))}"

    def queryset(self, using=None):
        queryset = self.model._base_manager.all()
        for i, s in enumerate(self.steps):
            if using and (s.name in ENDS or i == len(self.steps)):
                queryset = queryset.using(using)
            queryset = s.on(queryset)
        return queryset

    @property
    def ends(self):
        return bool(self.steps) and self.steps[-1].name in ENDS

    @property
    def writes(self):
        return self.ends and self.steps[-1].name in ("update", "delete")

    def ask(self, alias):
        """Rows as lists of values, or the class of the error."""
        try:
            if self.writes:
                with transaction.atomic(using=alias):
                    answer = [self.queryset(alias), *contents(alias, self.model)]
                    transaction.set_rollback(True, using=alias)
                return answer
            queryset = self.queryset(alias)
            if not self.ends:
                queryset = list(queryset.using(alias))
            return plain(queryset)
        except Exception as err:  # noqa: BLE001 (an answer, too)
            return Failed(err)

    def sql(self, alias):
        with CaptureQueriesContext(connections[alias]) as captured:
            self.ask(alias)
        return "\n".join(q["sql"] for q in captured)

    @property
    def inexact(self):
        return any(
            type(e).__name__ in INEXACT or getattr(e, "connector", "") in ("/", "^") for e in expressions(self.steps)
        )

    @property
    def groups(self):
        """Rows that are the same become one: 0 and -0 are the same, and either stands for both."""
        return any(s.name in GROUPING for s in self.steps)

    def simpler(self):
        """Questions with a step, an argument or a part of an expression less."""
        for i in range(len(self.steps)):
            if (i == len(self.steps) - 1 and self.ends) or self.steps[i].name in ("values", "values_list"):
                continue
            yield self._with(i)
        for i, s in enumerate(self.steps):
            for key in s.kwargs:
                if len(s.kwargs) > 1:
                    yield self._with(i, Step(s.name, s.args, {k: v for k, v in s.kwargs.items() if k != key}))
                for value in _simpler(s.kwargs[key]):
                    yield self._with(i, Step(s.name, s.args, {**s.kwargs, key: value}))
            for j, arg in enumerate(s.args):
                if len(s.args) > 1 and s.name not in ("dates", "datetimes"):
                    yield self._with(i, Step(s.name, (*s.args[:j], *s.args[j + 1 :]), s.kwargs))
                for value in _simpler(arg):
                    yield self._with(i, Step(s.name, (*s.args[:j], value, *s.args[j + 1 :]), s.kwargs))

    def _with(self, i, *replacement):
        return Question(self.model, *self.steps[:i], *replacement, *self.steps[i + 1 :], ordered=self.ordered)


class Failed:
    """An answer that is an error: of two, the class says whether they are the same; and the SQLSTATE of a bad argument."""

    def __init__(self, error):
        self.error = error
        self.name = type(error).__name__
        state = getattr(error.__cause__, "sqlstate", None)
        self.state = state if state in ARGUMENTS else None

    def __eq__(self, other):
        return isinstance(other, Failed) and (self.name, self.state) == (other.name, other.state)

    @property
    def of_the_question(self):
        """Django refuses to ask."""
        return not isinstance(self.error, Error)

    def __repr__(self):
        return f"{self.name}: {str(self.error).strip()}"


def _simpler(value):
    if isinstance(value, Question):
        yield from value.simpler()
    elif isinstance(value, Q):
        for child in value.children:
            if len(value.children) > 1 or value.negated:
                yield child if isinstance(child, Q) else Q(child)
        for i, child in enumerate(value.children):
            rest = value.children[:i] + value.children[i + 1 :]
            for simpler in _simpler(child):
                yield value.create([*rest, simpler], value.connector, value.negated)
    elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        for simpler in _simpler(value[1]):
            yield value[0], simpler
    elif isinstance(value, BaseExpression):
        sources = value.get_source_expressions()
        yield from (s for s in sources if s is not None)
        for i, source in enumerate(sources):
            for simpler in _simpler(source):
                clone = value.copy()
                clone.set_source_expressions([*sources[:i], simpler, *sources[i + 1 :]])
                yield clone


def expressions(steps):
    """All expressions in steps, whatever they are inside of."""
    waiting = list(steps)
    while waiting:
        value = waiting.pop()
        if isinstance(value, Question):
            waiting += value.steps
        elif isinstance(value, Step):
            waiting += [*value.args, *value.kwargs.values()]
        elif isinstance(value, Q):
            waiting += value.children
        elif isinstance(value, (tuple, list)):
            waiting += value
        elif hasattr(value, "get_source_expressions"):
            yield value
            waiting += [s for s in value.get_source_expressions() if s is not None]


def plain(answer, depth=3):
    """Rows without Django: an object is its class and values, with what was loaded along, to a depth: objects refer to each other."""
    if isinstance(answer, models.Model):
        values = {k: v for k, v in sorted(vars(answer).items()) if not k.startswith("_")}
        cached = {**answer._state.fields_cache, **getattr(answer, "_prefetched_objects_cache", {})}
        along = [plain(v, depth - 1) for _, v in sorted(cached.items())] if depth else []
        return [type(answer).__name__, *map(plain, values.values()), *along]
    if isinstance(answer, dict):
        return {k: plain(v, depth) for k, v in answer.items()}
    if isinstance(answer, (list, tuple, models.QuerySet)):
        return [plain(v, depth) for v in answer]
    return bytes(answer) if isinstance(answer, memoryview) else answer


def contents(alias, *names):
    return [plain(list(model.objects.using(alias).order_by("pk"))) for model in names]


def canonical(value, digits=None):
    """A value as text that equals another's only if type and value do; floats and decimals to `digits`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {canonical(v, digits)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(canonical(v, digits) for v in value) + "]"
    if isinstance(value, float):
        return f"float {value!r}" if digits is None else f"float {value:.{digits}g}"
    if isinstance(value, decimal.Decimal):
        return (
            f"decimal {value.normalize(decimal.Context(prec=80))}"
            if digits is None
            else f"decimal {float(value):.{digits}g}"
        )
    if isinstance(value, datetime.datetime):
        return f"{value!s} {value.tzinfo is None}"
    return f"{type(value).__name__} {value!r}"


def near(a, b):
    """Whether two values are the same but for the last digits of floats and decimals."""
    if type(a) is not type(b):
        return canonical(a) == canonical(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(near(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(near, a, b))
    if isinstance(a, datetime.timedelta):  # averages round
        return abs(a - b) <= datetime.timedelta(microseconds=1)
    if isinstance(a, (float, decimal.Decimal)):  # PostgreSQL's numeric deviations have nine digits
        return (
            a == b
            or (math.isnan(a) and math.isnan(b))
            or math.isclose(a, b, rel_tol=1e-9 if isinstance(a, float) else 1e-13, abs_tol=1e-11)
        )
    return a == b


def _one_of(value, documents):
    """What stands for a group of equal values: 0 for -0, and in documents 1 for 1.0."""
    if isinstance(value, dict):
        return {k: _one_of(v, documents) for k, v in value.items()}
    if isinstance(value, list):
        return [_one_of(v, documents) for v in value]
    if documents and isinstance(value, float) and value.is_integer():
        return int(value)
    return 0.0 if isinstance(value, float) and value == 0 else value


def same(question, ours, theirs):
    if isinstance(ours, Failed) or isinstance(theirs, Failed):
        return ours == theirs
    if question.groups:
        documents = "json" in repr(question)
        ours, theirs = _one_of(ours, documents), _one_of(theirs, documents)
    if isinstance(ours, list) and not question.ordered and not question.writes:
        digits = 6 if question.inexact else None
        ours, theirs = (sorted(answer, key=lambda row: canonical(row, digits)) for answer in (ours, theirs))
    if canonical(ours) == canonical(theirs):
        return True
    return question.inexact and near(ours, theirs)


def differs(question):
    return not same(question, question.ask(OURS), question.ask(PEER))


def _how(question):
    """What kind of difference a question shows: None, or which answers are errors of which class."""
    answers = ours, theirs = question.ask(OURS), question.ask(PEER)
    return None if same(question, ours, theirs) else [a.name if isinstance(a, Failed) else "" for a in answers]


def shrink(question, tries=150):
    """The simplest question found that shows a difference of the same kind."""
    found, how = True, _how(question)
    while found and tries > 0:
        found = False
        for candidate in question.simpler():
            tries -= 1
            if tries <= 0:
                break
            try:
                worse = how and _how(candidate) == how
            except Exception:  # noqa: BLE001 (not a question)
                worse = False
            if worse:
                question, found = candidate, True
                break
    return question


def describe(question):
    """A difference as a reader wants it: the question, both SQLs, and what is not the same."""
    ours, theirs = question.ask(OURS), question.ask(PEER)
    lines = [f"  {question!r}", f"  ours: {question.sql(OURS)}", f"  PostgreSQL's: {question.sql(PEER)}"]
    if isinstance(ours, list) and isinstance(theirs, list):
        mine, other = ([canonical(r) for r in answer] for answer in (ours, theirs))
        lines.append(f"  {len(mine)} and {len(other)} rows")
        if question.ordered:
            pairs = [(a, b) for a, b in zip(mine, other, strict=False) if a != b]
        else:
            pairs = zip_longest(sorted(set(mine) - set(other)), sorted(set(other) - set(mine)))
        lines += [f"    ours {str(a)[:300]}\n    not  {str(b)[:300]}" for a, b in islice(pairs, 4)]
    else:
        lines.append(f"    ours {str(ours)[:700]}\n    not  {str(theirs)[:700]}")
    return "\n".join(lines)


__all__ = ["CombinedExpression", "Question", "Step", "describe", "differs", "shrink", "step"]
