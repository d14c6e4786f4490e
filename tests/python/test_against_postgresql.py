"""Answers are PostgreSQL's: random ORM queries and statements, asked of both databases (peer/run.py has the options of a longer run)."""

import os
import pathlib
import subprocess
import sys

RUN = pathlib.Path(__file__).parent / "peer" / "run.py"


def run(*options):
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run([sys.executable, RUN, *options], check=False, capture_output=True, text=True, env=env)
    print(done.stdout, done.stderr, sep="\n")
    return done


def test_a_planted_difference_is_found():
    done = run("--plant", "--only", "lookups", "--rounds", "0.05")
    assert done.returncode == 1
    assert "DIFFERENT ('lookup'" in done.stdout
    assert "ours: SELECT" in done.stdout and "PostgreSQL's: SELECT" in done.stdout
    different = done.stdout.split("\ndifferent: ")[1].split("\n")[0]
    assert "'gt')" in different and "'lt')" not in different


def test_answers_are_postgresqls():
    done = run()
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
