import os
import shutil
import sys
import tempfile

from django.conf import settings
from django.db.backends.base.creation import TEST_DATABASE_PREFIX, BaseDatabaseCreation

IDENTITY = ("WAREHOUSE", "CATALOG_URI", "NAMESPACE")
# Test databases go to memory-backed storage that has at least this much room: nothing of them is kept.
MIN_SHM_BYTES = 1 << 30


def temporary_root():
    try:
        if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free >= MIN_SHM_BYTES:
            return "/dev/shm"
    except OSError:
        pass
    return tempfile.gettempdir()


class DatabaseCreation(BaseDatabaseCreation):
    """A test database is a local warehouse in a directory of its own, unless TEST says where.

    Its identity is (WAREHOUSE, CATALOG_URI, NAMESPACE), not NAME; `_original` keeps the production one while
    the connection points to the test one.
    """

    _original = None

    def _test_settings(self):
        """The identity of the test database, and the directory to remove with it (or None)."""
        test = self.connection.settings_dict["TEST"]
        if test.get("WAREHOUSE"):
            keys = {key: test.get(key) or "" for key in IDENTITY}
            keys["NAMESPACE"] = keys["NAMESPACE"] or self.connection.settings_dict.get("NAMESPACE") or "default"
            return keys
        name = f"{TEST_DATABASE_PREFIX}{self.connection.alias}_{os.getpid()}"
        warehouse = os.path.join(temporary_root(), "django-iceberg-tests", name)
        return {"WAREHOUSE": warehouse, "CATALOG_URI": "", "NAMESPACE": "default"}

    def _test_options(self):
        """TEST["OPTIONS"], or the database's own: a temporary warehouse need not outlive a power failure, and a flush while it is
        cloned would tie its files to the first directory."""
        settings_dict = self.connection.settings_dict
        options = settings_dict["TEST"].get("OPTIONS")
        if options is not None:
            return dict(options)
        if settings_dict["TEST"].get("WAREHOUSE"):
            return settings_dict["OPTIONS"]
        return {**settings_dict["OPTIONS"], "durability": "os", "flush.background": False}

    def _get_test_db_name(self):
        return str(self._test_settings()["WAREHOUSE"])

    def test_db_signature(self):
        """Aliases that have one identity share one test database."""
        settings_dict = self.connection.settings_dict
        source = settings_dict["TEST"] if settings_dict["TEST"].get("WAREHOUSE") else settings_dict
        return ("iceberg", *(str(source.get(key) or "") for key in IDENTITY))

    def _point_to(self, keys):
        for target in (settings.DATABASES[self.connection.alias], self.connection.settings_dict):
            target.update(keys)

    def _create_test_db(self, verbosity, autoclobber, keepdb=False):
        keys = self._test_settings()
        self.connection.close()
        if self._original is None:
            self._original = {key: self.connection.settings_dict.get(key, "") for key in IDENTITY}
            self._original["OPTIONS"] = self.connection.settings_dict["OPTIONS"]
            keys["OPTIONS"] = self._test_options()
        warehouse = str(keys["WAREHOUSE"])
        if not keepdb and os.path.exists(warehouse):
            # A directory of ours is left over from a run that was killed.
            ours = not self.connection.settings_dict["TEST"].get("WAREHOUSE")
            self._confirm_clobber(warehouse, autoclobber or ours)
            self._remove(keys)
        self._point_to(keys)
        return warehouse

    def _confirm_clobber(self, warehouse, autoclobber):
        if autoclobber:
            return
        answer = input(
            f"Type 'yes' if you would like to try deleting the test warehouse '{warehouse}', or 'no' to cancel: "
        )
        if answer != "yes":
            self.log("Tests cancelled.")
            sys.exit(1)

    def _remove(self, keys):
        self.connection.Database.close_idle()
        shutil.rmtree(str(keys["WAREHOUSE"]), ignore_errors=True)
        uri = str(keys.get("CATALOG_URI") or "")
        if uri.startswith("sqlite:///"):
            from ..conf import resolve_catalog

            path = resolve_catalog(uri, str(keys["WAREHOUSE"]))
            for suffix in ("", "-journal"):
                if os.path.exists(path + suffix):
                    os.remove(path + suffix)

    def _destroy_test_db(self, test_database_name, verbosity):
        current = {key: self.connection.settings_dict.get(key, "") for key in IDENTITY}
        self.connection.close()
        # Only ever a test database: a clone's name ends in a suffix of the test database's own.
        if str(current["WAREHOUSE"]) != test_database_name:
            current = {**current, "WAREHOUSE": test_database_name, "CATALOG_URI": ""}
        self._remove(current)
        if self._original is not None and test_database_name == self._get_test_db_name():
            self._point_to(self._original)
            self._original = None

    def set_as_test_mirror(self, primary_settings_dict):
        # With the options that a warehouse's connections share.
        self._point_to({key: primary_settings_dict.get(key, "") for key in (*IDENTITY, "NAME", "OPTIONS")})

    def get_test_db_clone_settings(self, suffix):
        original = self.connection.settings_dict
        clone = dict(original)
        clone["WAREHOUSE"] = clone["NAME"] = f"{original['WAREHOUSE']}_{suffix}"
        uri = str(original.get("CATALOG_URI") or "")
        if uri.startswith("sqlite:///"):
            root, ext = os.path.splitext(uri)
            clone["CATALOG_URI"] = f"{root}_{suffix}{ext}"
        return clone

    def _clone_test_db(self, suffix, verbosity, keepdb=False):
        from ..conf import resolve_catalog

        source = self.connection.settings_dict
        target = self.get_test_db_clone_settings(suffix)
        if keepdb and os.path.exists(target["WAREHOUSE"]):
            return
        self.connection.close()
        self._remove(target)  # with the source's last connection closed, nothing is written to it now
        shutil.copytree(source["WAREHOUSE"], target["WAREHOUSE"])
        if str(source.get("CATALOG_URI") or ""):
            shutil.copy2(
                resolve_catalog(source["CATALOG_URI"], str(source["WAREHOUSE"])),
                resolve_catalog(target["CATALOG_URI"], str(target["WAREHOUSE"])),
            )
