"""The two databases of a run: a warehouse, and a PostgreSQL cluster of its own, side by side in one directory."""

import contextlib
import getpass
import os
import pathlib
import pwd
import shutil
import subprocess
import sys

OURS, PEER = "iceberg", "postgres"


def postgres_bin():
    """The newest PostgreSQL's programs, 15 first: the version that the figures are wanted against."""
    for version in ["15", "16", "17", "18", "14"]:
        folder = pathlib.Path(f"/usr/lib/postgresql/{version}/bin")
        if (folder / "initdb").exists():
            return folder
    if found := shutil.which("initdb"):
        return pathlib.Path(found).parent
    sys.exit("PostgreSQL is not installed: apt-get install postgresql")


class Postgres:
    """A private cluster: default settings (fsync on), a Unix socket only. A root user's belongs to `postgres`."""

    def __init__(self, directory):
        self.bin = postgres_bin()
        self.data = directory / "postgres"
        self.socket = directory / "socket"
        root = os.geteuid() == 0
        self.user = "postgres" if root else getpass.getuser()
        self.account = {"user": "postgres", "group": "postgres", "extra_groups": []} if root else {}
        for folder in (self.data, self.socket):
            folder.mkdir()
            if root:
                entry = pwd.getpwnam("postgres")
                os.chown(folder, entry.pw_uid, entry.pw_gid)

    def _run(self, program, *args):
        command = [str(self.bin / program), *map(str, args)]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **self.account)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self):
        self._run("initdb", "-D", self.data, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        options = f"-c listen_addresses='' -c unix_socket_directories={self.socket}"
        self._run("pg_ctl", "-D", self.data, "-l", self.data / "log", "-w", "-o", options, "start")
        self._run("createdb", "-h", self.socket, "-U", self.user, "bench")
        return self

    def stop(self):
        self._run("pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop")

    @property
    def pid(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @property
    def version(self):
        return (
            self._run("postgres", "--version").split()[-1]
            if not self.account
            else self._run("postgres", "--version").strip().removeprefix("postgres (PostgreSQL) ")
        )


@contextlib.contextmanager
def cluster(directory):
    postgres = Postgres(directory)
    try:
        yield postgres.start()
    finally:
        with contextlib.suppress(Exception):
            postgres.stop()


def iceberg_settings(warehouse, **options):
    return {
        "ENGINE": "polars_iceberg.backend",
        "WAREHOUSE": str(warehouse),
        "CATALOG_URI": f"sqlite:///{warehouse}/catalog.db",
        "NAMESPACE": "bench",
        "OPTIONS": options,
    }


def postgres_settings(postgres):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "bench",
        "USER": postgres.user,
        "HOST": str(postgres.socket),
    }


def configure(databases):
    """Django with the app `shop` on the given databases; the first one is also `default`."""
    import django
    from django.conf import settings

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    settings.configure(
        BASE_DIR=pathlib.Path(__file__).resolve().parent,
        SECRET_KEY="bench",
        USE_TZ=True,
        TIME_ZONE="UTC",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["shop"],
        DATABASES={"default": next(iter(databases.values())), **databases},
    )
    django.setup()


def create_tables(alias):
    from django.apps import apps
    from django.db import connections

    with connections[alias].schema_editor() as editor:
        for model in apps.get_app_config("shop").get_models():
            editor.create_model(model)


def upkeep(alias):
    """What each database does by itself in the background, done now: measurements begin from rest."""
    from django.db import connections

    connection = connections[alias]
    connection.ensure_connection()
    if alias == PEER:
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("CHECKPOINT")
    else:
        connection.connection.flush()
        connection.connection.compact()
