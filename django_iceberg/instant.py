"""Instants: which commit time a read goes to.

An instant travels with the *database alias*. Django hands an alias from a queryset to the instances it
makes (`_state.db`), from them to their relations and deferred fields (the router's instance hint), and to
compilers (`using`). `PastAlias` is a str that equals the alias and also knows an instant, so everything that
is loaded from a past instance comes from the same instant, with any model and any manager.
"""

import functools
from contextvars import ContextVar

_instant = ContextVar("django_iceberg_instant", default=None)

# Commit time (µs) of the innermost time travel block, or None.
current_instant = _instant.get


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
