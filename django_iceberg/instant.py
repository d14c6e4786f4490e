"""Instants: which commit time a read goes to.

An instant travels with the *database alias*. Django hands an alias from a queryset to the instances it makes
(`_state.db`), from them to their relations and deferred fields (the router's instance hint), and to compilers
(`using`). `PastAlias` is a str that equals the alias and also knows an instant, so everything that is loaded from
a past instance comes from the same instant, with any model and any manager.
"""

from contextvars import ContextVar

_instant = ContextVar("django_iceberg_instant", default=None)

# Commit time (µs) of the innermost time travel block, or None.
current_instant = _instant.get


class PastAlias(str):
    """The alias of a database, as of a commit time (µs since the epoch)."""

    __slots__ = ("as_of",)

    def __new__(cls, alias, as_of):
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
