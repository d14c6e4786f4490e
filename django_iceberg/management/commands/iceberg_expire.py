import time

from django.apps import apps
from django.core.management.base import CommandError
from django.utils.dateparse import parse_datetime

from ... import conf, timetravel
from ._base import IcebergCommand, print_files


class Command(IcebergCommand):
    help = (
        "Drops row versions that ended before a retention: --before, --keep, a model's TimeTravel.retention, "
        "or the option history.retention, the first of them that is set. Without tables named, also forgets tables "
        "dropped before it. Deletes the files that nothing reaches any more then."
    )
    takes_tables = True

    def add_arguments(self, parser):
        super().add_arguments(parser)
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--before", help="An ISO 8601 date and time.")
        group.add_argument("--keep", help="A duration: 90d, 12h, seconds.")

    def run(self, connection, options):
        tables = options["tables"] or connection.introspection.table_names()
        self.check_tables(connection, options["tables"])
        retentions = self.model_retentions()
        default = conf.parse_duration(connection.settings_dict["OPTIONS"].get("history.retention"))
        given = self.given(options)
        count = 0
        for table in tables:
            before = given if given is not None else self.limit(retentions.get(table, default))
            if before is not None:
                count += connection.connection.expire(before, table) or 0
        self.stdout.write(f"{count} table{'' if count == 1 else 's'} expired.")
        before = given if given is not None else self.limit(default)
        if before is not None and not options["tables"]:
            count = connection.connection.expire_dropped(before)
            self.stdout.write(f"{count} dropped table{'' if count == 1 else 's'} forgotten.")
        print_files(self.stdout, "Deleted", connection.connection.collect(replaced_now=True)["removed"])

    def given(self, options):
        """The commit time the command line asks for, or None."""
        if options["keep"]:
            return self.limit(conf.parse_duration(options["keep"]))
        if not options["before"]:
            return None
        try:
            when = parse_datetime(options["before"])
        except ValueError:
            when = None
        if when is None:
            raise CommandError(f"{options['before']!r} is not an ISO 8601 date and time.")
        return timetravel.to_commit_time(when)

    def limit(self, retention):
        if retention is None:
            return None
        return time.time_ns() // 1000 - retention // timetravel.MICROSECOND

    def model_retentions(self):
        found = {}
        for model in apps.get_models():
            retention = getattr(getattr(model, "TimeTravel", None), "retention", None)
            if retention is not None:
                found[model._meta.db_table] = conf.parse_duration(retention)
        return found
