"""iceberg-sql, the program that dbshell runs, in processes of its own: with arguments, in a pipe, at a terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from iceapp.models import Author

from django_iceberg.backend.client import DatabaseClient
from django_iceberg.shell import Splitter

pytestmark = pytest.mark.usefixtures("db")


def program(*parameters, **settings):
    args, env = DatabaseClient.settings_to_cmd_args_env({**connection.settings_dict, **settings}, parameters)
    return args, {**os.environ, **(env or {})}


def shell(*parameters, stdin=None, **settings):
    args, env = program(*parameters, **settings)
    return subprocess.run(args, env=env, input=stdin or "", capture_output=True, text=True, timeout=60, check=False)


def out(*parameters, stdin=None, **settings):
    """What a run without errors prints."""
    done = shell(*parameters, stdin=stdin, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# ---- statements in text ----


@pytest.mark.parametrize(
    "text, statements",
    [
        ("a; b ;\nc", ["a", "b", "c"]),
        (";;\n;", []),
        ("'x;''y;\n;' ;", ["'x;''y;\n;'"]),
        ('";" `;`;', ['";" `;`']),
        ("-- ;\na -- it's\n;b", ["-- ;\na -- it's", "b"]),
        ("/* ; /* ; */ ;\n */ a; b", ["/* ; /* ; */ ;\n */ a", "b"]),
        ("$$;$$ $t$;$$;$t$ $1;", ["$$;$$ $t$;$$;$t$ $1"]),
        (r"E'\';' ; name'\' ;", [r"E'\';'", "name'\\'"]),
        ("e'\\\n';x'\n; y", ["e'\\\n'", "x'\n; y"]),
    ],
)
def test_statements_are_split_at_semicolons_of_their_own(text, statements):
    splitter = Splitter()
    found = [s for line in text.splitlines(keepends=True) for s in splitter.feed(line)]
    rest = splitter.rest()
    assert found + ([rest] if rest else []) == statements
    assert not splitter.pending


def test_a_long_statement_is_read_once():
    splitter = Splitter()
    splitter.feed("INSERT INTO t VALUES ('\n")
    for _ in range(200_000):
        assert splitter.feed("a line with ; in it\n") == []
    assert len(splitter.feed("');\n")[0]) > 4_000_000


# ---- what it is given ----


def test_arguments(db):
    text = out(
        "-c",
        "INSERT INTO iceapp_author (name) VALUES ('a;b'), ('--'); SELECT name, 10 AS n FROM iceapp_author ORDER BY id",
        "-c",
        "SELECT 1 AS one;",
    )
    assert text == "INSERT 2\n name |  n\n------+----\n a;b  | 10\n --   | 10\n(2 rows)\n one\n-----\n   1\n(1 row)\n"
    assert Author.objects.count() == 2


def test_standard_input():
    script = "-- a comment; with a semicolon\nSELECT 'a;\nb' AS x, $$;$$ AS y; SELECT 2\n  AS two;\nSELECT /* ; */ 3 AS three"
    assert out("-A", stdin=script) == "x|y\na;\nb|;\ntwo\n2\nthree\n3\n"
    assert out(stdin="") == ""


def test_dbshell_runs_it_and_passes_its_status_on(capfd):
    call_command("dbshell", "--", "-A", "-t", "-c", "SELECT 'here'")
    assert capfd.readouterr().out == "here\n"
    with pytest.raises(CommandError, match="non-zero exit status 1") as failed:
        call_command("dbshell", "--", "-c", "SELECT nothing")
    assert failed.value.returncode == 1
    assert "nothing" in capfd.readouterr().err


def test_errors_do_not_end_a_script_but_its_status_says_so():
    done = shell(stdin="SELECT nothing;\nINSERT INTO nowhere VALUES (1);\nSELECT 1 AS one")
    assert done.returncode == 1
    assert done.stdout == " one\n-----\n   1\n(1 row)\n"
    assert done.stderr.count("ERROR: ") == 2 and "nothing" in done.stderr and "nowhere" in done.stderr


def test_a_transaction_of_a_script():
    out("-c", "BEGIN; INSERT INTO iceapp_author (name) VALUES ('no'); ROLLBACK")
    out("-c", "BEGIN; INSERT INTO iceapp_author (name) VALUES ('yes'); COMMIT; BEGIN; DELETE FROM iceapp_author")
    assert [author.name for author in Author.objects.all()] == ["yes"]


def test_styles_and_values():
    sql = "SELECT NULL AS a, true AS b, 'x,\"\ny' AS c, '\\x00\\xff'::bytea AS d, 1.50 AS e, '東' AS f"
    assert out("--csv", "-c", sql) == 'a,b,c,d,e,f\n,true,"x,""\ny",\\x00ff,1.50,東\n'
    assert out("-A", "-t", "-c", "SELECT NULL, 2") == "|2\n"
    assert out("-c", sql) == (
        " a | b    | c      | d      |    e | f\n"
        "---+------+--------+--------+------+----\n"
        '   | true | x,"\\ny | \\x00ff | 1.50 | 東\n(1 row)\n'
    )
    assert out("-x", "-c", "SELECT 1 AS one, 'b' AS letter") == "-[ 1 ]--------\none    | 1\nletter | b\n"


def test_times_are_in_the_time_zone_of_the_connection():
    sql = ("-A", "-t", "-c", "SELECT TIMESTAMPTZ '2024-07-01 12:00:00+00', CURRENT_SETTING('TimeZone')")
    assert out(*sql) == "2024-07-01 12:00:00+00:00|UTC\n"
    assert out(*sql, TIME_ZONE="Europe/Berlin") == "2024-07-01 14:00:00+02:00|Europe/Berlin\n"


def test_options_go_along_but_are_no_arguments():
    args, env = program(OPTIONS={"read-only": True, "s3.secret-access-key": "hidden"})
    assert not any("hidden" in arg for arg in args) and "hidden" in env["ICEBERG_SQL_OPTIONS"]
    done = shell("-c", "DELETE FROM iceapp_author", OPTIONS={"read-only": True})
    assert done.returncode == 1 and "read-only" in done.stderr
    assert "did you mean" in shell("-o", "threds=1").stderr.lower()
    assert shell("-o", "threds=1").returncode == 2
    assert out("-o", "threads=1", "-o", "flush.background=false", "-A", "-t", "-c", "SELECT 1") == "1\n"


def test_wrong_arguments_and_places(tmp_path):
    assert shell("--nonsense").returncode == 2
    done = shell("-c", "SELECT * FROM iceapp_author", WAREHOUSE=str(tmp_path / "w"), CATALOG_URI=None)
    assert done.returncode == 1 and "no warehouse at" in done.stderr
    done = shell("-f", str(tmp_path / "missing.sql"))
    assert done.returncode == 1 and "missing.sql" in done.stderr


# ---- commands ----


def test_describing():
    assert " iceapp_author " in out("-c", "\\d") and " iceapp_author " in out("-c", ".tables")
    text = out("-c", "\\d iceapp_author")
    assert text.startswith(" Column ") and "PRIMARY KEY (id)" in text and "identity" in text and "not null" in text
    assert out("-c", '.schema "iceapp_author"') == text
    done = shell("-c", "\\d nothing", "-c", "\\nonsense", "-c", "\\timing perhaps")
    assert done.returncode == 1 and done.stderr.count("ERROR: ") == 3 and "nothing" in done.stderr
    assert "\\timing" in out("-c", "\\?")
    Author.objects.create(name="a")
    assert "pending" in out("-c", "\\snapshots iceapp_author")


def test_files_timing_and_leaving(tmp_path):
    (tmp_path / "one.sql").write_text("SELECT 1 AS a;\n\\i " + str(tmp_path / "two.sql") + "\nSELECT 3 AS a")
    (tmp_path / "two.sql").write_text("SELECT\n2 AS a;")
    assert out("-A", "-t", "-f", str(tmp_path / "one.sql"), "-c", "SELECT 4") == "1\n2\n3\n4\n"
    assert out("-A", "-t", stdin="SELECT 1;\n\\q\nSELECT 2;") == "1\n"
    assert "Time: " in out(stdin="\\timing\nSELECT 1;")
    (tmp_path / "loop.sql").write_text("\\i " + str(tmp_path / "loop.sql"))
    assert "too deep" in shell("-f", str(tmp_path / "loop.sql")).stderr


def test_a_reader_that_goes_away_ends_it_quietly():
    args, env = program("-A", "-c", "SELECT * FROM range(1000000)")
    with subprocess.Popen(args, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


# ---- at a terminal ----


class Terminal:
    def __init__(self, tmp_path, *parameters):
        args, env = program(*parameters)
        env.update(ICEBERG_SQL_HISTORY=str(tmp_path / "history"), TERM="dumb", INPUTRC="/dev/null")
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(args[0], args, env)
        self.seen = ""

    def until(self, text):
        """What comes until a text has come."""
        end = time.monotonic() + 60
        while text not in self.seen:
            assert select.select([self.fd], [], [], max(0, end - time.monotonic()))[0], self.seen
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # the other side is closed
                data = b""
            assert data, self.seen
            self.seen += data.decode().replace("\r", "")
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, text):
        os.write(self.fd, text.encode())

    def interrupt(self, prompt):
        """Ctrl-C at a prompt, until the next one comes: Python does not notice one that comes between writing a prompt
        and waiting for a key."""
        for _ in range(60):
            self.type("\x03")
            if prompt in self.seen or select.select([self.fd], [], [], 1)[0]:
                break
        return self.until(prompt)

    def end(self):
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_a_session_at_a_terminal(tmp_path):
    terminal = Terminal(tmp_path)
    assert '"\\?" for help' in terminal.until("iceberg=> ")
    terminal.type("SELECT nothing;\n")
    assert "ERROR: " in terminal.until("iceberg=> ")
    terminal.type("SELECT 6 *\n")
    terminal.until("iceberg-> ")
    terminal.type("7 AS answer;\n")
    assert "42" in terminal.until("iceberg=> ")
    terminal.type("SELECT a\n")
    terminal.until("iceberg-> ")
    terminal.interrupt("iceberg=> ")  # gives up what was typed
    terminal.type("BEGIN;\n")
    terminal.until("iceberg*> ")
    terminal.type("ROLLBACK;\n")
    terminal.until("iceberg=> ")
    terminal.type("SELECT count(*) FROM range(100000000000) a;\n")
    terminal.until("a;\n")
    time.sleep(0.5)  # it runs now; before that Ctrl-C would do the same
    terminal.type("\x03")
    assert "ERROR: " in terminal.until("iceberg=> ")
    terminal.type("SELECT 1 AS one;\n")
    terminal.until("(1 row)")
    terminal.until("iceberg=> ")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "SELECT nothing;" in (tmp_path / "history").read_text()


def test_no_history_without_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("ICEBERG_SQL_HISTORY", str(tmp_path / "history"))
    out(stdin="SELECT 1;")
    assert not (tmp_path / "history").exists()


def test_dbshell_leaves_ctrl_c_to_the_program(monkeypatch):
    seen = []
    monkeypatch.setattr("subprocess.run", lambda *args, **kwargs: seen.append(signal.getsignal(signal.SIGINT)))
    before = signal.getsignal(signal.SIGINT)
    call_command("dbshell")
    assert seen == [signal.SIG_IGN] and signal.getsignal(signal.SIGINT) is before


def test_it_runs_as_a_module_too(tmp_path):
    args, env = program("-A", "-t", "-c", "SELECT 1")
    command = [sys.executable, "-m", "django_iceberg.shell", *args[1:]]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
