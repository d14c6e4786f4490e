"""Instants: which commit time a read goes to.

An instant travels with the *database alias*. Django hands an alias from a queryset to the instances it
makes (`_state.db`), from them to their relations and deferred fields (the router's instance hint), and to
compilers (`using`). `PastAlias` is a str that equals the alias and also knows an instant, so everything that
is loaded from a past instance comes from the same instant, with any model and any manager.

A queryset that becomes part of another one's query (a subquery, a part of a union) has no alias there. Its Query
then has the attribute `instant`: its own commit time, or None for the present. A Query without it, as Django makes
for itself, is read where the query around it is.
"""

import datetime
import functools
from contextvars import ContextVar

from django.db.models import QuerySet, Subquery

_instant = ContextVar("django_iceberg_instant", default=None)

# Commit time (µs) of the innermost time travel block, or None.
current_instant = _instant.get


# In place of a commit time: now, also within a time travel block.
PRESENT = object()


class PastAlias(str):
    """The alias of a database, as of a commit time (µs since the epoch)."""

    __slots__ = ("as_of",)

    def __new__(cls, alias, as_of):
        install_router()
        self = super().__new__(cls, str(alias))
        self.as_of = as_of
        return self

    def __reduce__(self):
        return PastAlias, (str(self), self.as_of)

    def __deepcopy__(self, memo):
        return self

    def __repr__(self):
        return f"<{str(self)!r} as of {self.as_of}>"


def instant_of(alias):
    """Commit time an alias carries, or None."""
    return getattr(alias, "as_of", None)


def instant_text(instant):
    """An instant for messages."""
    if instant is None:
        return "the present"
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (epoch + datetime.timedelta(microseconds=instant)).isoformat()


_installed = False


def install_router():
    """Makes Django's router hand on the instant of an instance, or of the block, with its alias."""
    global _installed
    if _installed:
        return
    from django.db import router

    for name in ("db_for_read", "db_for_write"):
        setattr(router, name, _carrying_instant(getattr(router, name)))
    _installed = True


def _carrying_instant(choose):
    @functools.wraps(choose)
    def db_for(model, **hints):
        from django.db import connections

        alias = choose(model, **hints)
        if instant_of(alias) is not None:
            return alias
        state = getattr(hints.get("instance"), "_state", None)
        instant = instant_of(state.db) if state is not None else None
        if instant is None:
            instant = current_instant()
        if instant is None or connections[alias].vendor != "iceberg":
            return alias
        return PastAlias(alias, instant)

    return db_for


# Querysets within querysets


def _own_instant(queryset):
    """The instant a queryset itself is as of: by as_of(), or as a relation of a past instance."""
    alias = queryset._db
    if alias is None:
        state = getattr(queryset._hints.get("instance"), "_state", None)
        alias = state.db if state is not None else None
    return instant_of(alias)


def _using(using):
    """The Query of a queryset of the past says so by itself too: Django takes `queryset.query` for a queryset."""

    def marked(self, alias):
        clone = using(self, alias)
        instant = instant_of(alias)
        if instant is not None or "instant" in vars(clone.query):
            clone.query.instant = instant
        return clone

    return marked


def _resolving(resolve):
    def resolve_expression(self, *args, **kwargs):
        query = resolve(self, *args, **kwargs)
        query.instant = _own_instant(self)
        return query

    return resolve_expression


def _subquery(init):
    def __init__(self, queryset, *args, **kwargs):
        init(self, queryset, *args, **kwargs)
        if isinstance(queryset, QuerySet):
            self.query.instant = _own_instant(queryset)

    return __init__


def _combinator(combine):
    def _combinator_query(self, combinator, *others, **kwargs):
        clone = combine(self, combinator, *others, **kwargs)
        # Clones: they may be the querysets' own.
        clone.query.combined_queries = parts = tuple(query.clone() for query in clone.query.combined_queries)
        for query, queryset in zip(parts, (self, *others), strict=True):
            query.instant = _own_instant(queryset)
        return clone

    return _combinator_query


def _operator(combine):
    """`a & b` is one set of joined tables, and so of one instant."""

    def operate(self, other):
        if not isinstance(other, QuerySet) or self.query.is_empty() or other.query.is_empty():
            return combine(self, other)
        mine, theirs = _own_instant(self), _own_instant(other)
        if mine != theirs:
            raise ValueError(
                f"Cannot combine querysets as of different instants, {instant_text(mine)} and {instant_text(theirs)}:"
                " filter one by the other (pk__in=...), or use union(), intersection() or difference()."
            )
        combined = combine(self, other)
        # A sliced one becomes a condition of another queryset.
        return combined if _own_instant(combined) == mine else combined.using(PastAlias(self.db, mine))

    return operate


for _cls, _make, *_names in (
    (QuerySet, _using, "using"),
    (QuerySet, _resolving, "resolve_expression"),
    (QuerySet, _combinator, "_combinator_query"),
    (QuerySet, _operator, "__and__", "__or__", "__xor__"),
    (Subquery, _subquery, "__init__"),
):
    for _name in _names:
        _method = getattr(_cls, _name)
        setattr(_cls, _name, functools.wraps(_method)(_make(_method)))
