"""A statement that takes for ever keeps nobody else from rows that need no engine: neither by a lock nor by the
interpreter's. Nothing is timed: that statement is still running when the others are done, and would not end by itself."""

import threading

from django_iceberg import _core

ROWS, LOOK_UPS = 5_000, 300
ENDLESS = 'SELECT sum(hash(t."id" + r.range)) FROM "t", range(1000000000) r WHERE hash(r.range) <> %s'


class Thread(threading.Thread):
    def __init__(self, work, *args):
        super().__init__(daemon=True)
        self.work, self.args, self.error, self.started = work, args, None, threading.Event()

    def run(self):
        try:
            self.work(self, *self.args)
        except Exception as error:  # noqa: BLE001 (told by the test)
            self.error = error
        finally:
            self.started.set()


def read_and_write(thread, connection, mine):
    cursor = connection.cursor()
    thread.started.set()
    for i in range(1, LOOK_UPS + 1):
        cursor.execute('SELECT "v" FROM "t" WHERE "id" = %s', [i])
        assert cursor.path == "fast" and cursor.fetchone() is not None
        cursor.execute('SELECT "id" FROM "t" WHERE "k" = %s ORDER BY "id" LIMIT 3', [i % 50])
        assert cursor.path == "fast" and len(cursor.fetchall()) == 3
        if i % 10 == 0:
            cursor.execute('UPDATE "t" SET "v" = ("t"."v" + %s) WHERE "id" = %s', [1, mine + i])
            assert cursor.path == "fast" and cursor.rowcount == 1


def run_for_ever(thread, connection):
    cursor = connection.cursor()
    cursor.execute('SELECT count(*) FROM "t"')  # what the engine needs to begin is there
    thread.started.set()
    cursor.execute(ENDLESS, [7])
    cursor.fetchall()


def test_look_ups_pass_by_a_long_statement(connect):
    connection = connect()
    cursor = connection.cursor()
    cursor.execute('CREATE TABLE "t" ("id" bigint NOT NULL PRIMARY KEY, "k" integer NOT NULL, "v" integer NOT NULL)')
    cursor.execute('CREATE INDEX "t_k" ON "t" ("k")')
    cursor.execute(f'INSERT INTO "t" SELECT range + 1, range % 50, 0 FROM range({ROWS})')
    connection.flush()
    long = connect()
    longest = Thread(run_for_ever, long)
    longest.start()
    longest.started.wait()
    others = [Thread(read_and_write, connect(), mine) for mine in (1000, 2000)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join(60)
        assert not thread.is_alive(), "a look-up waits for the long statement"
        assert thread.error is None, thread.error
    assert longest.is_alive(), longest.error
    while longest.is_alive():  # it may not have begun yet when it is first told to stop
        long.interrupt()
        longest.join(0.05)
    assert isinstance(longest.error, _core.OperationalError)
    cursor.execute('SELECT sum("v") FROM "t"')
    assert cursor.fetchone()[0] == 2 * LOOK_UPS // 10
