import fcntl
import os
import tempfile
import time

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.validation import BaseDatabaseValidation
from django.db.utils import Error

# Columns that the relation of a table's versions adds to its own.
RESERVED_COLUMNS = {"_row_start", "_row_end", "_operation", "_row_key"}
FOREIGN_FIELDS = {
    "django.contrib.gis.": "Apache Iceberg databases have no geometries: keep longitude and latitude as numbers, or WKB in a BinaryField.",
    "django.contrib.postgres.": "Apache Iceberg databases have no arrays, ranges, hstore or search vectors: a JSONField or a related model may serve.",
}

# Clock and commit times may differ by this much, in seconds, before a warning.
MAX_SKEW_S = 60


class DatabaseValidation(BaseDatabaseValidation):
    """What `manage.py check --database` asks: settings, engine, file system, clock."""

    def check(self, **kwargs):
        try:
            params = self.connection.get_connection_params()
        except ImproperlyConfigured as err:
            return [checks.Error(str(err), id="django_iceberg.E001")]
        issues = [*super().check(**kwargs)]
        if "://" not in params["warehouse"]:
            issues += self._check_directory(params["warehouse"])
        return issues or self._check_engine() or self._check_clock()

    def _check_engine(self):
        """Whether the query engine can be loaded, and is of a version that the core knows."""
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT sum(n) FROM (VALUES (1), (2)) AS numbers (n)")
        except (Error, ImproperlyConfigured) as err:
            # Nothing is there before the first migrate.
            if getattr(err.__cause__, "code", None) == "NOT_FOUND":
                return []
            return [checks.Error(f"The warehouse cannot be opened: {err}", id="django_iceberg.E003")]
        return []

    def check_field(self, field, **kwargs):
        issues = []
        if not field.model._meta.can_migrate(self.connection):
            return issues
        for cls in type(field).__mro__:
            hint = next((hint for package, hint in FOREIGN_FIELDS.items() if cls.__module__.startswith(package)), None)
            if hint:
                text = f"{type(field).__name__} is not supported by Apache Iceberg databases."
                return [checks.Error(text, hint=hint, obj=field, id="django_iceberg.E004")]
        column = getattr(field, "column", None) or ""  # the output field of a generated one has none
        if column.lower() in RESERVED_COLUMNS:
            issues.append(
                checks.Error(
                    f"The column {column} is one that a table's versions have besides their own.",
                    hint="Give the field another name, or another db_column.",
                    obj=field,
                    id="django_iceberg.E005",
                )
            )
        return issues + super().check_field(field, **kwargs)

    def _check_directory(self, warehouse):
        """Locks and fsync where the warehouse is, or will be."""
        directory = warehouse
        while not os.path.isdir(directory):
            directory = os.path.dirname(directory)
        try:
            with tempfile.TemporaryFile(dir=directory) as file:
                file.write(b"probe")
                file.flush()
                os.fsync(file.fileno())
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            return [
                checks.Error(
                    f"The file system of the warehouse {warehouse} cannot be used: {err}.",
                    hint="A warehouse needs a directory this process can write, with file locks and fsync.",
                    id="django_iceberg.E002",
                )
            ]
        return []

    def _check_clock(self):
        try:
            ahead = self.connection.commit_time_now() / 1e6 - time.time()
        except (Error, ImproperlyConfigured) as err:
            # Nothing is there before the first migrate.
            if getattr(err.__cause__, "code", None) == "NOT_FOUND":
                return []
            return [checks.Error(f"The warehouse cannot be opened: {err}", id="django_iceberg.E003")]
        if ahead > MAX_SKEW_S:
            return [
                checks.Warning(
                    f"The last commit is {ahead:.0f} s ahead of this host's clock.",
                    hint="Set the clock: commits fail once they are clock.max-skew-ms ahead of it.",
                    id="django_iceberg.W001",
                )
            ]
        return []
