import json
import os
import signal
import sysconfig

from django.conf import settings
from django.db.backends.base.client import BaseDatabaseClient

from .. import conf


class DatabaseClient(BaseDatabaseClient):
    executable_name = "iceberg-sql"

    @classmethod
    def settings_to_cmd_args_env(cls, settings_dict, parameters):
        warehouse = conf.resolve_warehouse(settings_dict["WAREHOUSE"])
        args = [
            cls._executable(),
            f"--catalog={conf.resolve_catalog(settings_dict.get('CATALOG_URI'), warehouse)}",
            f"--namespace={settings_dict.get('NAMESPACE') or 'default'}",
            f"--timezone={cls._time_zone(settings_dict)}",
            warehouse,
            *parameters,
        ]
        # Not among the arguments, which every user of the host can see.
        options = settings_dict.get("OPTIONS")
        return args, {"ICEBERG_SQL_OPTIONS": json.dumps(options)} if options else None

    @classmethod
    def _executable(cls):
        """The program of this Python's environment, which need not be on PATH."""
        path = os.path.join(sysconfig.get_path("scripts"), cls.executable_name)
        return path if os.path.exists(path) else cls.executable_name

    @staticmethod
    def _time_zone(settings_dict):
        """As the connection's, see BaseDatabaseWrapper.timezone_name."""
        if not settings.USE_TZ:
            return settings.TIME_ZONE or "UTC"
        return settings_dict.get("TIME_ZONE") or "UTC"

    def runshell(self, parameters):
        sigint_handler = signal.getsignal(signal.SIGINT)
        try:
            # Ctrl-C is the program's, which ends statements by it.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            super().runshell(parameters)
        finally:
            signal.signal(signal.SIGINT, sigint_handler)
