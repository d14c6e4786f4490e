"""Test runner that writes one line for each test: id, outcome, seconds.

A row is closed when the next test begins, because Django reports what goes wrong before a test's start and
after its end (deferred constraints are checked there) outside startTest() and stopTest(). The worst outcome
of a test counts. The seconds include the set-up of the test's class.
"""

import os
import time
import unittest

from django.test.runner import DiscoverRunner

OUTCOMES = ("ok", "skip", "xfail", "xpass", "fail", "error")


class RecordingResult(unittest.TextTestResult):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.file = open(os.environ["DJANGO_SUITE_TSV"], "w", buffering=1)  # noqa: SIM115 (closed by stopTestRun)
        self.current = None
        self.worst = 0
        self.since = time.perf_counter()

    def close_row(self):
        if self.current is None:
            return
        now = time.perf_counter()
        self.file.write(f"{self.current}\t{OUTCOMES[self.worst]}\t{now - self.since:.4f}\n")
        self.since, self.current = now, None

    def note(self, test, outcome):
        if test.id() != self.current:
            self.close_row()
            self.current, self.worst = test.id(), 0
        self.worst = max(self.worst, OUTCOMES.index(outcome))

    def startTest(self, test):
        super().startTest(test)
        self.note(test, "ok")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skip")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.note(test, "xfail")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "xpass")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "fail")

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "error")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, "fail" if issubclass(err[0], test.failureException) else "error")

    def stopTestRun(self):
        self.close_row()
        self.file.close()
        super().stopTestRun()


class RecordingRunner(DiscoverRunner):
    def get_resultclass(self):
        return RecordingResult
