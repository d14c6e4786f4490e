"""Processes for tests that need more than one: a worker runs a function of the test module on its own connection.

with Workers(warehouse, duckdb_library) as start:
    worker = start(function, *args)      # function(connection, tell, *args), in a new interpreter
    worker.line()                        # what it told, one JSON value a line
"""

import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent

BOOT = """
import importlib, json, sys
sys.path.insert(0, {here!r})
module, name, warehouse, library, options, args = json.loads(sys.argv[1])
from django_iceberg import _core
connection = _core.connect(warehouse, catalog=warehouse + "/catalog.db", duckdb_library=library, options=options)
def tell(value):
    sys.stdout.write(json.dumps(value) + "\\n")
    sys.stdout.flush()
getattr(importlib.import_module(module), name)(connection, tell, *args)
connection.close()
"""


class Worker:
    def __init__(self, process):
        self.process = process

    def line(self):
        """What the worker told next, or None at its end."""
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def lines(self):
        while (line := self.line()) is not None:
            yield line

    def say(self, text="go"):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def finish(self):
        """Everything it has not told yet; its end must be a clean one."""
        told = list(self.lines())
        assert self.process.wait() == 0, f"worker ended with {self.process.returncode}"
        return told

    def kill(self):
        """SIGKILL; everything it told before."""
        self.process.kill()
        told = list(self.lines())
        self.process.wait()
        return told


class Workers:
    def __init__(self, warehouse, duckdb_library):
        self.warehouse, self.library = str(warehouse), duckdb_library
        self.started = []

    def __enter__(self):
        return self.start

    def start(self, function, *args, **options):
        options = {key.replace("_", "."): value for key, value in {"flush_background": False, **options}.items()}
        call = [function.__module__, function.__name__, self.warehouse, self.library, options, args]
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", BOOT.format(here=str(HERE)), json.dumps(call)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        self.started.append(process)
        return Worker(process)

    def __exit__(self, *exc_info):
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
