"""Test runner that writes one line for each test: id, outcome, seconds, whether its class may use a database, reason (of
a skip or a failure).

A row is closed when the next test begins, because Django reports what goes wrong before a test's start and
after its end (deferred constraints are checked there) outside startTest() and stopTest(). The worst outcome
of a test counts. The seconds include the set-up of the test's class. What happens to a whole class in its
setUpClass() is written for each of its tests.
"""

import collections
import os
import time
import unittest

from django.test import TransactionTestCase
from django.test.runner import DiscoverRunner
from results import OUTCOMES


def tests_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


def last_line(err):
    """The error as the last line of its traceback says it, short."""
    return f"{err[0].__name__}: {err[1]}".strip()


class RecordingResult(unittest.TextTestResult):
    # {"app.module.Class": [ids]}: set by the runner.
    classes: dict = {}  # noqa: RUF012

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.file = open(os.environ["DJANGO_SUITE_TSV"], "w", buffering=1)  # noqa: SIM115 (closed by stopTestRun)
        self.current = None
        self.worst = 0
        self.reason = ""
        self.database = False
        self.since = time.perf_counter()

    def close_row(self):
        if self.current is None:
            return
        now = time.perf_counter()
        reason = " ".join(self.reason.split())[:300]
        _, _, holder = self.current.partition("setUpClass (")
        for test in self.classes[holder.rstrip(")")] if holder else [self.current]:
            self.file.write(f"{test}\t{OUTCOMES[self.worst]}\t{now - self.since:.4f}\t{self.database:d}\t{reason}\n")
            self.since = now
        self.since, self.current = now, None

    def note(self, test, outcome, reason=""):
        if test.id() != self.current:
            self.close_row()
            self.current, self.worst, self.reason = test.id(), 0, ""
            self.database = isinstance(test, TransactionTestCase) or test.id().startswith("setUpClass")
        if OUTCOMES.index(outcome) >= self.worst:
            self.worst, self.reason = OUTCOMES.index(outcome), str(reason)

    def startTest(self, test):
        super().startTest(test)
        self.note(test, "ok")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skip", reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.note(test, "xfail", "expected failure")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "xpass", "unexpected success")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "fail", last_line(err))

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "error", last_line(err))

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, "fail" if issubclass(err[0], test.failureException) else "error", last_line(err))

    def stopTestRun(self):
        self.close_row()
        self.file.close()
        super().stopTestRun()


class RecordingRunner(DiscoverRunner):
    def get_resultclass(self):
        return RecordingResult

    def run_suite(self, suite, **kwargs):
        classes = collections.defaultdict(list)
        for test in tests_of(suite):
            classes[unittest.util.strclass(test.__class__)].append(test.id())
        RecordingResult.classes = classes
        return super().run_suite(suite, **kwargs)

    def teardown_databases(self, old_config, **kwargs):
        if os.environ.get("DJANGO_SUITE_MODE") == "cold":
            self.check_published([connection for connection, *_ in old_config])
        super().teardown_databases(old_config, **kwargs)

    def check_published(self, connections):
        """Every commit was published: a failure of that is nobody's, and would leave reads warm."""
        for connection in connections:
            connection.ensure_connection()
            status = connection.connection.status()
            behind = [table for table in status["tables"] if table["tail_versions"] or table["tail_tombstones"]]
            if status["flusher_error"] or behind:
                raise RuntimeError(f"{connection.alias} is not published: {status['flusher_error']} {behind}")
