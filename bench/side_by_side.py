"""The same work on both databases in one process: through the ORM, and through the DB-API."""

import datetime
import itertools
import random
import statistics
from decimal import Decimal

from measure import interleaved
from peers import OURS, PEER

ROWS, CUSTOMERS = 200_000, 10_000
STATUSES = ["new", "paid", "sent", "returned", "closed"]
CITIES = [f"city {i}" for i in range(50)]
START = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
BULK = 1_000

# What is wanted of each: at most so many times PostgreSQL's time, or at least so many times faster.
WANTED = {
    "get() by key": {"at_most": 1.5},
    "get() by unique value": {"at_most": 1.5},
    "filter(fk)[:20]": {"at_most": 2.5},
    "select_related of 20": {"at_most": 2.5},
    "create()": {"at_most": 1.5},
    "get() and save()": {"at_most": 1.5},
    "update(F)": {"at_most": 1.5},
    "atomic over two locked rows": {"at_most": 1.5},
    "delete()": {"at_most": 1.5},
    f"bulk_create of {BULK:,}": {"at_most": 1.5},
    "group-by on all rows": {"at_least_faster": 5},
    "group-by over a join": {"at_least_faster": 5},
    "add_field with a default": {"at_most": 1.5},
}
SLOW = {f"bulk_create of {BULK:,}", "group-by on all rows", "group-by over a join", "add_field with a default"}


def customer(i):
    from shop.models import Customer

    return Customer(id=i, name=f"customer {i}", email=f"c{i}@example.com", city=CITIES[i % len(CITIES)])


def order(i, key=None):
    from shop.models import Order

    return Order(
        id=key,
        customer_id=i * 7919 % CUSTOMERS + 1,
        number=f"ORD-{i:010}",
        status=STATUSES[i * 31 % len(STATUSES)],
        quantity=i % 9 + 1,
        total=Decimal(i * 37 % 100_000) / 100,
        created_at=START + datetime.timedelta(seconds=i * 90),
        note=None if i % 3 else f"note on order {i}",
    )


def load(alias):
    from shop.models import Customer, Order

    Customer.objects.using(alias).bulk_create([customer(i) for i in range(1, CUSTOMERS + 1)], 5_000)
    for low in range(1, ROWS + 1, 10_000):
        Order.objects.using(alias).bulk_create([order(i) for i in range(low, min(low + 10_000, ROWS + 1))], 5_000)


class Numbers:
    """Keys to work on, the same sequence for both databases; new order numbers and victims of delete() only once."""

    def __init__(self, first_new, first_victim):
        self.random = random.Random(7)
        self.new = itertools.count(first_new)
        self.victims = itertools.count(first_victim)

    def key(self):
        return self.random.randint(1, ROWS // 2)

    def customer(self):
        return self.random.randint(1, CUSTOMERS)


def orm_works(alias, numbers):
    from django.db import connections, models, transaction
    from django.db.models import Avg, Count, F, Sum
    from shop.models import Order

    orders = Order.objects.using(alias)

    def get_and_save(_):
        one = orders.get(pk=numbers.key())
        one.quantity += 1
        one.save()

    def two_locked(_):
        low = numbers.key()
        with transaction.atomic(using=alias):
            one, other = orders.select_for_update().filter(pk__in=[low, low + 1]).order_by("pk")
            one.quantity += 1
            other.quantity -= 1
            one.save(update_fields=["quantity"])
            other.save(update_fields=["quantity"])

    def bulk(_):
        orders.bulk_create([order(next(numbers.new)) for _ in range(BULK)])

    def add_field(i):
        field = models.IntegerField(default=7)
        field.set_attributes_from_name(f"extra_{i}")
        field.model = Order
        with connections[alias].schema_editor() as editor:
            editor.add_field(Order, field)

    def create(_):
        order(next(numbers.new)).save(using=alias, force_insert=True)

    return {
        "get() by key": lambda _: orders.get(pk=numbers.key()),
        "get() by unique value": lambda _: orders.get(number=f"ORD-{numbers.key():010}"),
        "filter(fk)[:20]": lambda _: list(orders.filter(customer_id=numbers.customer())[:20]),
        "select_related of 20": lambda _: list(
            orders.select_related("customer").filter(customer_id=numbers.customer())[:20]
        ),
        "create()": create,
        "get() and save()": get_and_save,
        "update(F)": lambda _: orders.filter(pk=numbers.key()).update(quantity=F("quantity") + 1),
        "atomic over two locked rows": two_locked,
        "delete()": lambda _: orders.filter(pk=next(numbers.victims)).delete(),
        f"bulk_create of {BULK:,}": bulk,
        "group-by on all rows": lambda _: list(
            orders.values("status").annotate(n=Count("id"), total=Sum("total"), mean=Avg("quantity"))
        ),
        "group-by over a join": lambda _: list(
            orders.values("customer__city").annotate(n=Count("id"), total=Sum("total"))
        ),
        "add_field with a default": add_field,
    }


def group_by_ratios(report, options):
    """One ratio may be luck: a run of both databases in turn, again and again, and the spread of its ratios."""
    runs = 3 if options.quick else 10
    report.section("groups", f"how many times faster than PostgreSQL, through the ORM: {runs} runs of 8 calls each")
    works = {alias: orm_works(alias, Numbers(1, 1)) for alias in (OURS, PEER)}
    for name in ("group-by on all rows", "group-by over a join"):
        factors = []
        for _ in range(runs):
            times = interleaved({alias: works[alias][name] for alias in (OURS, PEER)}, 4, 2)
            factors.append(times[PEER] / times[OURS])
        report.note(f"{name}, median", statistics.median(factors), show=times_faster)
        report.note(f"{name}, best", max(factors), show=times_faster)
        report.at_least(f"{name}, worst", min(factors), 5, show=times_faster)


def times_faster(factor):
    return f"{factor:.1f}x"


COLUMNS = '"id", "customer_id", "number", "status", "quantity", "total", "created_at", "note"'
INSERT = (
    'INSERT INTO "shop_order" ("customer_id", "number", "status", "quantity", "total", "created_at", "note") VALUES '
)
MARKS = "(%s, %s, %s, %s, %s, %s, %s)"


def values(i):
    o = order(i)
    return [o.customer_id, o.number, o.status, o.quantity, o.total, o.created_at, o.note]


def dbapi_works(connection, blocks, numbers):
    """`connection` is in autocommit mode; `blocks`, another one, is not."""
    cursor, block = connection.cursor(), blocks.cursor()

    def rows(sql, *params):
        cursor.execute(sql, params)
        return cursor.fetchall()

    def get_and_save(_):
        key = numbers.key()
        found = rows(f'SELECT {COLUMNS} FROM "shop_order" WHERE "id" = %s LIMIT 21', key)[0]
        cursor.execute(
            'UPDATE "shop_order" SET "customer_id" = %s, "number" = %s, "status" = %s, "quantity" = %s, "total" = %s, '
            '"created_at" = %s, "note" = %s WHERE "id" = %s',
            [*found[1:4], found[4] + 1, *found[5:], key],
        )

    def two_locked(_):
        low = numbers.key()
        block.execute(
            f'SELECT {COLUMNS} FROM "shop_order" WHERE "id" IN (%s, %s) ORDER BY "id" FOR UPDATE', [low, low + 1]
        )
        found = block.fetchall()
        for row, change in zip(found, (1, -1), strict=True):
            block.execute('UPDATE "shop_order" SET "quantity" = %s WHERE "id" = %s', [row[4] + change, row[0]])
        blocks.commit()

    def bulk(_):
        params = [value for _ in range(BULK) for value in values(next(numbers.new))]
        cursor.execute(INSERT + ", ".join([MARKS] * BULK), params)

    def join(low):
        return rows(
            'SELECT o."id", o."customer_id", o."number", o."status", o."quantity", o."total", o."created_at", '
            'o."note", c."id", c."name", c."email", c."city" FROM "shop_order" o '
            'INNER JOIN "shop_customer" c ON o."customer_id" = c."id" WHERE o."customer_id" = %s LIMIT 20',
            low,
        )

    return {
        "get() by key": lambda _: rows(f'SELECT {COLUMNS} FROM "shop_order" WHERE "id" = %s', numbers.key()),
        "get() by unique value": lambda _: rows(
            f'SELECT {COLUMNS} FROM "shop_order" WHERE "number" = %s', f"ORD-{numbers.key():010}"
        ),
        "filter(fk)[:20]": lambda _: rows(
            f'SELECT {COLUMNS} FROM "shop_order" WHERE "customer_id" = %s LIMIT 20', numbers.customer()
        ),
        "select_related of 20": lambda _: join(numbers.customer()),
        "create()": lambda _: rows(INSERT + MARKS + ' RETURNING "id"', *values(next(numbers.new))),
        "get() and save()": get_and_save,
        "update(F)": lambda _: cursor.execute(
            'UPDATE "shop_order" SET "quantity" = "quantity" + 1 WHERE "id" = %s', [numbers.key()]
        ),
        "atomic over two locked rows": two_locked,
        "delete()": lambda _: cursor.execute('DELETE FROM "shop_order" WHERE "id" = %s', [next(numbers.victims)]),
        f"bulk_create of {BULK:,}": bulk,
        "group-by on all rows": lambda _: rows(
            'SELECT "status", count(*), sum("total"), avg("quantity") FROM "shop_order" GROUP BY "status"'
        ),
        "group-by over a join": lambda _: rows(
            'SELECT c."city", count(*), sum(o."total") FROM "shop_order" o '
            'INNER JOIN "shop_customer" c ON o."customer_id" = c."id" GROUP BY c."city"'
        ),
        "add_field with a default": lambda i: cursor.execute(
            f'ALTER TABLE "shop_order" ADD COLUMN "dbapi_{i}" integer DEFAULT 7 NOT NULL'
        ),
    }


def run(report, works, options):
    """`works`: {alias: {name: function}}."""
    for name in works[OURS]:
        rounds, repeats = (options.rounds, options.repeats)
        if name in SLOW:
            rounds, repeats = max(rounds // 2, 2), 2
        try:
            times = interleaved({alias: works[alias][name] for alias in (OURS, PEER)}, rounds, repeats)
        except Exception as error:  # noqa: BLE001 (one work that fails leaves the others)
            report.fault(name, error)
            continue
        report.ratio(name, times[OURS], times[PEER], **WANTED[name])


def drop_added_columns(alias):
    from django.db import connections

    with connections[alias].cursor() as cursor:
        table = connections[alias].introspection.get_table_description(cursor, "shop_order")
        for column in table:
            if column.name.startswith(("extra_", "dbapi_")):
                cursor.execute(f'ALTER TABLE "shop_order" DROP COLUMN "{column.name}"')


def through_the_orm(report, options):
    report.section("orm", f"Django's ORM on {ROWS:,} rows, ours beside PostgreSQL's")
    run(report, {alias: orm_works(alias, Numbers(10_000_000, ROWS * 3 // 4)) for alias in (OURS, PEER)}, options)
    for alias in (OURS, PEER):
        drop_added_columns(alias)


def through_the_dbapi(report, options):
    import psycopg
    from django.db import connections

    report.section("dbapi", f"DB-API on {ROWS:,} rows: our cursor beside psycopg's")
    connections[OURS].ensure_connection()
    ours = connections[OURS].connection
    params = dict(connections[OURS].get_connection_params())
    blocks = connections[OURS].Database.connect(params.pop("warehouse"), **params)
    blocks.autocommit = False
    settings = connections[PEER].settings_dict
    where = {"dbname": settings["NAME"], "user": settings["USER"], "host": settings["HOST"]}
    with psycopg.connect(**where, autocommit=True) as peer, psycopg.connect(**where) as peer_blocks:
        works = {
            OURS: dbapi_works(ours, blocks, Numbers(20_000_000, ROWS * 7 // 8)),
            PEER: dbapi_works(peer, peer_blocks, Numbers(20_000_000, ROWS * 7 // 8)),
        }
        run(report, works, options)
    blocks.close()
    for alias in (OURS, PEER):
        drop_added_columns(alias)
