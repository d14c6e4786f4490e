"""How a table's files are laid out, declared in Meta.indexes.

    class Meta:
        indexes = [
            Partition("tenant_id"),
            Partition("created", transform="day"),
            Cluster("tenant_id", "created"),
        ]

Neither is an index to look rows up by: they say which rows go to a file together.
"""

from django.db.models import Index
from django.utils.regex_helper import _lazy_re_compile

__all__ = ["Cluster", "Partition"]

# Partition transforms of the Iceberg spec.
_transform_re = _lazy_re_compile(r"identity|year|month|day|hour|(?:bucket|truncate)\[[1-9][0-9]*\]")


class _Layout(Index):
    kind = None

    def __init__(self, *fields: str, name: str | None = None) -> None:
        if not fields or not all(isinstance(field, str) for field in fields):
            raise ValueError(f"{type(self).__name__} takes names of fields.")
        super().__init__(fields=fields, name=name)

    def create_sql(self, model, schema_editor, using="", **kwargs):
        return super().create_sql(model, schema_editor, using=f" USING {self.kind}", **kwargs)

    def deconstruct(self):
        path, _, kwargs = super().deconstruct()
        return path, tuple(kwargs.pop("fields")), kwargs


class Partition(_Layout):
    """Iceberg partitioning by one field: files hold rows of one partition value each.

    `transform` is the spec's: "identity", "year", "month", "day", "hour", "bucket[N]" or "truncate[W]". Compaction puts
    rows there; values with few rows share files.
    """

    suffix = "part"
    kind = "partition"

    def __init__(self, field: str, *, transform: str = "identity", name: str | None = None) -> None:
        if not _transform_re.fullmatch(transform):
            raise ValueError(f"{transform!r} is not a partition transform of Iceberg.")
        self.transform = transform
        super().__init__(field, name=name)

    def create_sql(self, model, schema_editor, using="", **kwargs):
        statement = super().create_sql(model, schema_editor, using, **kwargs)
        statement.parts["extra"] = f" WITH (transform = '{self.transform}')"
        return statement

    def deconstruct(self):
        path, args, kwargs = super().deconstruct()
        if self.transform != "identity":
            kwargs["transform"] = self.transform
        return path, args, kwargs


class Cluster(_Layout):
    """The order of rows in and across files: a filter on the first fields reads few of them."""

    suffix = "clus"
    kind = "cluster"
