import fcntl
import os
import tempfile
import time

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.validation import BaseDatabaseValidation
from django.db.utils import DatabaseError

# Clock and commit times may differ by this much, in seconds, before a warning.
MAX_SKEW_S = 60


class DatabaseValidation(BaseDatabaseValidation):
    """What `manage.py check --database` asks: settings, engine, file system, clock."""

    def check(self, **kwargs):
        try:
            params = self.connection.get_connection_params()
        except ImproperlyConfigured as err:
            return [checks.Error(str(err), id="django_iceberg.E001")]
        issues = []
        if "://" not in params["warehouse"]:
            issues += self._check_directory(params["warehouse"])
        return issues or self._check_clock()

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
        except DatabaseError as err:
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
