"""Reading the past: any queryset as of any instant, the history of a row, the changes of a table.

    class Invoice(TimeTravelMixin, models.Model): ...

    Invoice.objects.as_of(last_monday).filter(paid=False)
    invoice.history()[0].diff(invoice)

    timetravel.at(queryset, when)             # any model
    with timetravel.as_of(when): ...          # every read of a block

An instant is a commit time: microseconds since the epoch. Reading as of one gives exactly the transactions
committed up to it.
"""

from __future__ import annotations

import datetime
import time
import warnings
from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias, TypeVar, overload

from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections, models
from django.db.models.expressions import RawSQL
from django.db.models.signals import class_prepared
from django.db.models.sql.datastructures import BaseTable
from django.utils import timezone
from django.utils.functional import cached_property

from .instant import PastAlias, _instant, current_instant, install_router, instant_of

if TYPE_CHECKING:
    import polars
    import pyarrow

    # What names an instant: a naive datetime is in the current time zone.
    When: TypeAlias = "datetime.datetime | Snapshot"
    Model = TypeVar("Model", bound=models.Model)

__all__ = [
    "Change",
    "FutureInstant",
    "HistoryExpired",
    "PastError",
    "Snapshot",
    "SnapshotNotFound",
    "TimeTravelError",
    "TimeTravelManager",
    "TimeTravelMixin",
    "TimeTravelQuerySet",
    "as_of",
    "at",
    "changes",
    "history",
    "now",
    "snapshots",
    "to_commit_time",
    "to_datetime",
]

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)


class TimeTravelError(DatabaseError):
    """Base of the errors of this module."""


class PastError(TimeTravelError):
    """The past cannot be written."""


class HistoryExpired(TimeTravelError):
    """The instant is before the retained history."""


class FutureInstant(TimeTravelError):
    """The instant has not come yet."""


class SnapshotNotFound(TimeTravelError):
    """No snapshot of the table has that id."""


_ERRORS = {"IC002": HistoryExpired, "IC003": FutureInstant}


def translate_error(err):
    """Raises the error of this module that a database error stands for, if any."""
    error = _ERRORS.get(getattr(err.__cause__, "sqlstate", None))
    if error is not None:
        raise error(*err.args) from err


# Instants


def to_commit_time(when: When) -> int:
    """Commit time (µs since the epoch) of a datetime; a naive one is in the current time zone."""
    if isinstance(when, Snapshot):
        return when.commit_time
    if not isinstance(when, datetime.datetime):
        raise TypeError(f"as_of() takes a datetime, not {type(when).__name__}: {when!r}")
    if timezone.is_naive(when):
        if settings.USE_TZ:
            warnings.warn(
                f"as_of() received a naive datetime ({when}) while time zone support is active.",
                RuntimeWarning,
                stacklevel=4,
            )
        zone = timezone.get_current_timezone() if settings.USE_TZ else timezone.get_default_timezone()
        when = timezone.make_aware(when, zone)
    return (when - EPOCH) // MICROSECOND


def to_datetime(commit_time: int) -> datetime.datetime:
    """Datetime of a commit time: aware with USE_TZ, else naive in the settings' time zone."""
    when = EPOCH + datetime.timedelta(microseconds=commit_time)
    return when if settings.USE_TZ else timezone.make_naive(when, timezone.get_default_timezone())


def _iceberg_connection(alias):
    connection = connections[str(alias)]
    if connection.vendor != "iceberg":
        raise TimeTravelError(f"Database {str(alias)!r} has no history: it is {connection.display_name}.")
    return connection


def now(using: str = "default") -> int:
    """Commit time (µs) up to which every commit of a database is visible: the instant of this moment."""
    return _iceberg_connection(using).commit_time_now()


def _check_not_future(commit_time, alias=None):
    if commit_time <= time.time_ns() // 1000:
        return
    # Commit times may run ahead of the clock.
    if alias is not None and commit_time <= _iceberg_connection(alias).commit_time_now():
        return
    raise FutureInstant(f"{to_datetime(commit_time)} is in the future.")


def _resolve(model, alias, when, snapshot_id, commit_time):
    given = [value is not None for value in (when, snapshot_id, commit_time)]
    if sum(given) != 1:
        raise TypeError("as_of() takes exactly one of a datetime, snapshot_id or commit_time.")
    config = getattr(model, "TimeTravel", None)
    if getattr(config, "enabled", True) is False:
        raise TimeTravelError(f"{model._meta.label} keeps no history (TimeTravel.enabled is False).")
    if snapshot_id is not None:
        for snapshot in snapshots(model, using=alias):
            if snapshot.snapshot_id == snapshot_id:
                return snapshot.commit_time
        raise SnapshotNotFound(f"{model._meta.label} has no snapshot {snapshot_id}.")
    if commit_time is None:
        commit_time = to_commit_time(when)
    elif not isinstance(commit_time, int):
        raise TypeError(f"commit_time is microseconds since the epoch, not {commit_time!r}.")
    _check_not_future(commit_time, alias)
    return commit_time


# Querysets of the past


def at(
    queryset: models.QuerySet[Model] | models.Manager[Model] | type[Model],
    when: When | None = None,
    *,
    snapshot_id: int | None = None,
    commit_time: int | None = None,
) -> models.QuerySet[Model]:
    """The queryset as of an instant, for any model. Takes a queryset, a manager or a model."""
    if isinstance(queryset, type):
        queryset = queryset._default_manager
    queryset = queryset.all()
    alias = queryset.db
    _iceberg_connection(alias)
    return queryset.using(PastAlias(alias, _resolve(queryset.model, alias, when, snapshot_id, commit_time)))


class as_of(ContextDecorator):
    """Context manager and decorator: every read of the block is as of an instant; writes raise."""

    def __init__(self, when: When | None = None, *, commit_time: int | None = None) -> None:
        if (when is None) == (commit_time is None):
            raise TypeError("as_of() takes exactly one of a datetime or commit_time.")
        self.commit_time = to_commit_time(when) if commit_time is None else commit_time
        self._tokens = []

    def __enter__(self) -> Self:
        _check_not_future(self.commit_time)
        install_router()
        self._tokens.append(_instant.set(self.commit_time))
        return self

    def __exit__(self, *exc_info: object) -> None:
        _instant.reset(self._tokens.pop())


# Snapshots, changes, history


class Snapshot(NamedTuple):
    """A published Iceberg snapshot of a table, or what is committed since (snapshot_id None, "pending")."""

    snapshot_id: int | None
    committed_at: datetime.datetime
    operation: str
    commit_time: int
    summary: dict[str, Any]


def snapshots(model: type[models.Model], using: str | None = None) -> list[Snapshot]:
    """Snapshots of a model's table, newest first; rows not yet published come first of all, as one."""
    alias = using or model._default_manager.db
    return [
        Snapshot(
            row["snapshot_id"],
            to_datetime(row["commit_time"]),
            row["operation"],
            row["commit_time"],
            row.get("summary") or {},
        )
        for row in _iceberg_connection(alias).table_snapshots(model._meta.db_table)
    ]


class Change(NamedTuple):
    """One change of one row: "insert", "update" or "delete", and the row as it was then."""

    operation: str
    instance: Any
    commit_time: int
    timestamp: datetime.datetime


def versions(queryset):
    """The queryset over every version of its rows, with `_row_start` and `_row_end` (None: current)."""
    model = queryset.model
    if model._meta.concrete_model._meta.parents:
        raise TimeTravelError(
            f"{model._meta.label} spans several tables (multi-table inheritance): ask each model of its own."
        )
    clone = queryset.order_by()
    query = clone.query
    alias = query.get_initial_alias()
    query.alias_map[alias] = BaseTable(f"{model._meta.db_table}__versions", alias)
    quote = connections[str(clone.db)].ops.quote_name
    field = models.DateTimeField(null=True)
    return clone.annotate(
        _row_start=RawSQL(f"{quote(alias)}.{quote('_row_start')}", (), output_field=field),
        _row_end=RawSQL(f"{quote(alias)}.{quote('_row_end')}", (), output_field=field),
    ).order_by("_row_start")


def _row_times(instance):
    start, end = instance.__dict__.pop("_row_start"), instance.__dict__.pop("_row_end")
    return _aware_commit_time(start), None if end is None else _aware_commit_time(end)


def _aware_commit_time(value):
    if timezone.is_naive(value):
        value = timezone.make_aware(value, timezone.get_default_timezone())
    return (value - EPOCH) // MICROSECOND


def _bound(value, alias, default):
    if value is None:
        return default
    if isinstance(value, int):
        return value
    return to_commit_time(value)


def changes(
    queryset: models.QuerySet[Any], since: When | int | None = None, until: When | int | None = None
) -> list[Change]:
    """Changes of the queryset's rows with since < commit time <= until, oldest first.

    The bounds are datetimes, commit times (int) or snapshots. A row that comes to match the queryset's filter
    is an insert, one that ceases to a delete.
    """
    alias = queryset.db
    low, high = _bound(since, alias, -(2**63)), _bound(until, alias, 2**63 - 1)
    born, died = {}, {}
    for version in versions(queryset):
        start, end = _row_times(version)
        version._state.db = PastAlias(alias, start)
        if low < start <= high:
            born[version.pk, start] = version
        if end is not None and low < end <= high:
            died[version.pk, end] = version
    result = [
        Change("update" if key in died else "insert", version, key[1], to_datetime(key[1]))
        for key, version in born.items()
    ]
    result += [
        Change("delete", version, key[1], to_datetime(key[1])) for key, version in died.items() if key not in born
    ]
    return sorted(result, key=lambda change: change.commit_time)


def history(instance: Model) -> list[Model]:
    """Versions of a row, newest first: instances with `snapshot_timestamp`, `snapshot_id` and `operation`."""
    alias = str(instance._state.db or type(instance)._default_manager.db)
    model = instance._meta.concrete_model
    until = instant_of(instance._state.db)
    if until is None:
        until = current_instant()
    with _present():
        read = _single_table_history if not model._meta.parents else _joined_history
        entries = read(model, instance.pk, alias)
        published = [s for s in snapshots(model, using=alias) if s.snapshot_id is not None]
    entries = [entry for entry in entries if until is None or entry[0] <= until]
    return [_as_version(*entry, alias, published) for entry in reversed(entries)]


class _present:
    """Within it reads see every version, also inside a time travel block."""

    def __enter__(self):
        self._token = _instant.set(None)

    def __exit__(self, *exc_info):
        _instant.reset(self._token)


def _single_table_history(model, pk, alias):
    """(commit time, operation, instance), oldest first."""
    entries, last_end, last = [], None, None
    for version in versions(model._base_manager.using(alias).filter(pk=pk)):
        start, end = _row_times(version)
        if last_end is not None and last_end != start:
            entries.append((last_end, "delete", last))
        entries.append((start, "update" if last_end == start else "insert", version))
        last_end, last = end, version
    if last_end is not None:
        entries.append((last_end, "delete", last))
    return entries


def _joined_history(model, pk, alias):
    """The same for a model of several tables: the instants at which one of them changed, read one by one."""
    instants = set()
    for part in [model, *model._meta.get_parent_list()]:
        with connections[alias].cursor() as cursor:
            quote = connections[alias].ops.quote_name
            table, column = quote(f"{part._meta.db_table}__versions"), part._meta.pk
            cursor.execute(
                f"SELECT epoch_us(_row_start), epoch_us(_row_end) FROM {table} WHERE {quote(column.column)} = %s",
                [column.get_db_prep_value(pk, connections[alias])],
            )
            instants.update(t for row in cursor.fetchall() for t in row if t is not None)
    entries, last = [], None
    for instant in sorted(instants):
        row = model._base_manager.using(PastAlias(alias, instant)).filter(pk=pk).first()
        if row is not None:
            entries.append((instant, "update" if last is not None else "insert", row))
        elif last is not None:
            entries.append((instant, "delete", last))
        last = row
    return entries


def _as_version(commit_time, operation, row, alias, published):
    version = row.__class__.from_db(
        # A deleted row is last seen just before the commit that deleted it.
        PastAlias(alias, commit_time - 1 if operation == "delete" else commit_time),
        [f.attname for f in row._meta.concrete_fields],
        [getattr(row, f.attname) for f in row._meta.concrete_fields],
    )
    version.commit_time = commit_time
    version.snapshot_timestamp = to_datetime(commit_time)
    version.operation = operation
    containing = [s.snapshot_id for s in published if s.commit_time >= commit_time]
    version.snapshot_id = containing[-1] if containing else None
    return version


def diff(one: models.Model, other: models.Model) -> dict[str, tuple[Any, Any]]:
    """Fields in which two instances of a model differ: {name: (value in one, value in other)}."""
    if one._meta.concrete_model is not other._meta.concrete_model:
        raise TypeError(f"Cannot compare {one._meta.label} with {other._meta.label}.")
    pairs = {f.attname: (getattr(one, f.attname), getattr(other, f.attname)) for f in one._meta.concrete_fields}
    return {name: (mine, theirs) for name, (mine, theirs) in pairs.items() if mine != theirs}


def restore(version: Model, using: str | None = None) -> Model:
    """Write a past version's values as the row's present ones, inserting it where it was deleted."""
    model = version._meta.concrete_model
    alias = str(using or version._state.db or model._default_manager.db)
    fields = [f for f in model._meta.concrete_fields if not f.generated]
    current = model(**{f.attname: getattr(version, f.attname) for f in fields})
    current._state.db = alias
    current._state.adding = not model._base_manager.using(alias).filter(pk=version.pk).exists()
    current.save(using=alias, force_insert=current._state.adding)
    return current


# Managers and models


class TimeTravelQuerySetMixin:
    def as_of(
        self, when: When | None = None, *, snapshot_id: int | None = None, commit_time: int | None = None
    ) -> Self:
        """This queryset as of a datetime, a snapshot or a commit time (µs since the epoch)."""
        return at(self, when, snapshot_id=snapshot_id, commit_time=commit_time)

    def snapshots(self) -> list[Snapshot]:
        return snapshots(self.model, using=str(self.db))

    def changes(self, since: When | int | None = None, until: When | int | None = None) -> list[Change]:
        return changes(self, since, until)

    def raw(self, *args, **kwargs):
        if instant_of(self._db) is not None:
            raise TimeTravelError("raw() has no instant: use it inside timetravel.as_of(), without as_of().")
        return super().raw(*args, **kwargs)

    def to_arrow(self) -> pyarrow.Table:
        from .polars import to_arrow

        return to_arrow(self)

    @overload
    def to_polars(self, *, lazy: Literal[False] = False) -> polars.DataFrame: ...

    @overload
    def to_polars(self, *, lazy: Literal[True]) -> polars.LazyFrame: ...

    def to_polars(self, *, lazy: bool = False) -> polars.DataFrame | polars.LazyFrame:
        from .polars import to_polars

        return to_polars(self, lazy=lazy)


class TimeTravelQuerySet(TimeTravelQuerySetMixin, models.QuerySet):
    pass


class TimeTravelManager(models.Manager.from_queryset(TimeTravelQuerySet)):
    pass


_METHODS = ("as_of", "snapshots", "changes", "to_arrow", "to_polars")
_extended_querysets = {}
_extended_managers = {}


def _load_queryset(base):
    return extended_queryset_class(base).__new__(extended_queryset_class(base))


def extended_queryset_class(base):
    """A queryset class with this module's methods; the methods a class has of its own stay."""
    if issubclass(base, TimeTravelQuerySetMixin):
        return base
    if base not in _extended_querysets:

        def __reduce__(self):
            return _load_queryset, (base,), self.__getstate__()

        own = {name: getattr(base, name) for name in _METHODS if hasattr(base, name)}
        namespace = {**own, "__module__": base.__module__, "__qualname__": base.__qualname__}
        namespace |= {"__reduce__": __reduce__, "__doc__": base.__doc__}
        _extended_querysets[base] = type(base.__name__, (TimeTravelQuerySetMixin, base), namespace)
    return _extended_querysets[base]


def _manager_method(name):
    def method(self, *args, **kwargs):
        return getattr(self.get_queryset(), name)(*args, **kwargs)

    method.__name__ = name
    method.__doc__ = getattr(TimeTravelQuerySetMixin, name).__doc__
    return method


def extended_manager_class(base):
    """A manager class whose querysets have this module's methods.

    It keeps the name and module of its base, so that migrations, which name managers, see the model's own.
    """
    if base not in _extended_managers:

        def get_queryset(self):
            queryset = base.get_queryset(self)
            queryset.__class__ = extended_queryset_class(queryset.__class__)
            return queryset

        def __eq__(self, other):
            return isinstance(other, base) and self.__dict__ == other.__dict__

        namespace = {name: _manager_method(name) for name in _METHODS if not hasattr(base, name)}
        namespace |= {"get_queryset": get_queryset, "__eq__": __eq__, "__hash__": base.__hash__}
        namespace |= {
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "_time_travel_base": base,
        }
        _extended_managers[base] = type(base.__name__, (base,), namespace)
    return _extended_managers[base]


def extend_managers(model):
    """Gives the managers a model already has, its own and inherited ones, this module's methods."""
    own = {id(manager) for manager in model._meta.local_managers}
    for manager in model._meta.managers:
        local = next((m for m in model._meta.local_managers if m.name == manager.name and id(m) in own), None)
        target = local or manager
        if "_time_travel_base" in vars(type(target)):
            continue
        if issubclass(getattr(target, "_queryset_class", models.QuerySet), TimeTravelQuerySetMixin):
            continue
        if local is None:
            # Inherited: a copy for this model, after its own, so that the default manager stays the same.
            target = type(manager).__new__(type(manager))
            target.__dict__.update(manager.__dict__)
            target._set_creation_counter()
        target.__class__ = extended_manager_class(type(target))
        if local is None:
            model.add_to_class(manager.name, target)
    model._meta._expire_cache()


def _on_class_prepared(sender, **kwargs):
    if issubclass(sender, TimeTravelMixin) and not sender._meta.abstract:
        extend_managers(sender)


class_prepared.connect(_on_class_prepared, dispatch_uid="django_iceberg.timetravel")

# Names the mixin gives instances; a field of the same name would hide them.
RESERVED_NAMES = (
    "history",
    "diff",
    "restore",
    "is_past",
    "past_instant",
    "operation",
    "commit_time",
    "snapshot_id",
    "snapshot_timestamp",
)


class TimeTravelMixin(models.Model):
    """Abstract, adds no column and needs no migration."""

    class Meta:
        abstract = True

    @cached_property
    def _past_label(self):
        return f"{self._meta.label} {self.pk!r}"

    @property
    def past_instant(self) -> int | None:
        """Commit time (µs) this instance was read at, or None: the present."""
        return instant_of(self._state.db)

    @property
    def is_past(self) -> bool:
        return instant_of(self._state.db) is not None

    def _refuse_past(self, action):
        if not self.is_past:
            return
        if self._state.adding:
            # Django gives a new instance the database of the first object it refers to.
            for field in self._meta.concrete_fields:
                related = getattr(self, field.name) if field.is_relation and field.is_cached(self) else None
                instant = instant_of(related._state.db) if related is not None else None
                if instant is not None:
                    raise PastError(
                        f"Cannot {action} a new {self._meta.label}: its {field.name}, {related._meta.label} {related.pk!r},"
                        f" is as of {to_datetime(instant)}. Give it the present one, or {field.attname}."
                    )
        raise PastError(
            f"Cannot {action} {self._past_label}: it is as of {to_datetime(self.past_instant)}."
            " restore() makes it the present."
        )

    def save(self, *args, **kwargs):
        self._refuse_past("save")
        return super().save(*args, **kwargs)

    save.alters_data = True

    def delete(self, *args, **kwargs):
        self._refuse_past("delete")
        return super().delete(*args, **kwargs)

    delete.alters_data = True

    def history(self) -> list[Self]:
        """Versions of this row, newest first, with snapshot_timestamp, snapshot_id and operation."""
        return history(self)

    def diff(self, other: Self) -> dict[str, tuple[Any, Any]]:
        """Fields in which this version and another differ: {name: (here, there)}."""
        return diff(self, other)

    def restore(self, using: str | None = None) -> Self:
        """Write this version's values as the present ones; return the present instance."""
        return restore(self, using)

    restore.alters_data = True

    @classmethod
    def check(cls, **kwargs):
        errors = super().check(**kwargs)
        for field in cls._meta.get_fields():
            if field.name in RESERVED_NAMES and getattr(field, "model", None) is cls:
                errors.append(
                    checks.Error(
                        f"The field {field.name!r} hides a name of TimeTravelMixin.",
                        hint="Rename the field and keep its column with db_column, or use timetravel.at().",
                        obj=field if isinstance(field, models.Field) else cls,
                        id="django_iceberg.E010",
                    )
                )
        return errors
