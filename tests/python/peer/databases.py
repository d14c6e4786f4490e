"""A warehouse and a PostgreSQL cluster of one run, with the same tables and the same rows."""

import contextlib
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
# The cluster is the benchmarks' own.
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests" / "python")]

from peers import cluster, postgres_settings

OURS, PEER = "default", "postgres"
ROWS = {"plain": 120, "row": 160}


@contextlib.contextmanager
def databases(random):
    """Both databases, filled; Django is configured for them, once in a process."""
    with tempfile.TemporaryDirectory(prefix="django-iceberg-peer-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        with cluster(folder) as postgres:
            _configure(folder / "warehouse", postgres)
            _read_conditions()
            for alias in (OURS, PEER):
                _create_tables(alias)
            _fill(random)
            try:
                yield
            finally:
                from django.db import connections

                connections.close_all()


def _configure(warehouse, postgres):
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            SECRET_KEY="peer",
            USE_TZ=True,
            TIME_ZONE="UTC",
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            INSTALLED_APPS=["peer"],
            DATABASES={
                OURS: {
                    "ENGINE": "polars_iceberg.backend",
                    "WAREHOUSE": str(warehouse),
                    "NAMESPACE": "peer",
                    "OPTIONS": {"durability": "os", "flush.background": False},
                },
                PEER: postgres_settings(postgres),
            },
        )
        django.setup()


def _read_conditions():
    """Django writes 0 for a condition that is never true, and PostgreSQL's backend leaves it an int: here it is False."""
    from django.db import connections

    operations = connections[PEER].ops
    converters = operations.get_db_converters

    def with_conditions(expression):
        found = converters(expression)
        if expression.output_field.get_internal_type() == "BooleanField":
            found = [*found, lambda value, *_: bool(value) if value in (0, 1) else value]
        return found

    operations.get_db_converters = with_conditions


def _create_tables(alias):
    from django.apps import apps
    from django.db import connections

    if alias == PEER:
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE EXTENSION pgcrypto")
    with connections[alias].schema_editor() as editor:
        for model in apps.get_app_config("peer").get_models():
            editor.create_model(model)


def _fill(random):
    from .models import Key, Note, Place, Plain, Row, Tag
    from .values import TEXTS, WORDS, a_row

    places = [Place(id=i, name=random.choice(WORDS), size=random.choice([None, 1, 5, 9])) for i in range(1, 13)]
    for place in places[4:]:
        place.within_id = random.randint(1, 4)
    tags = [Tag(id=i, label=random.choice(TEXTS)) for i in range(1, 9)]
    tables = {Place: places, Tag: tags}
    for model, count in ((Plain, ROWS["plain"]), (Row, ROWS["row"])):
        rows = tables[model] = []
        partners = random.sample(range(1, count + 1), count)
        for number in range(1, count + 1):
            row = model(id=number, **a_row(random, number - 1, model is Row))
            row.place_id = random.choice([None, *range(1, 11)])
            row.previous_id = random.choice([None, *range(1, number)]) if number > 1 else None
            row.partner_id = partners[number - 1] if random.random() < 0.5 else None
            rows.append(row)
    tables[Note] = [
        Note(id=i, row_id=random.randint(1, 100), place_id=random.choice([None, 1, 2, 11]), text=random.choice(WORDS), number=random.choice([None, *range(9)]))
        for i in range(1, 181)
    ]  # fmt: skip
    tables[Key] = [Key(id=i, code=f"k{i}", a=i % 7, b=i if i % 3 else None, value=i) for i in range(1, 41)]
    through = {
        model.tags.through: {
            (random.randint(1, ROWS[model._meta.model_name]), random.randint(1, 8)) for _ in range(200)
        }
        for model in (Plain, Row)
    }
    for alias in (OURS, PEER):
        for model, objects in tables.items():
            model.objects.using(alias).bulk_create(objects)
        for model, pairs in through.items():
            ends = model._meta.fields[1].attname
            model.objects.using(alias).bulk_create([model(**{ends: a}, tag_id=b) for a, b in sorted(pairs)])
        _settle(alias)


def _settle(alias):
    """Half of our rows are in files, the others in the tail; PostgreSQL knows how many there are."""
    from django.core.management.color import no_style
    from django.db import connections

    from .models import Key, Note, Plain, Row

    connection = connections[alias]
    with connection.cursor() as cursor:
        for sql in connection.ops.sequence_reset_sql(no_style(), [Key, Note]):
            cursor.execute(sql)
        if alias == PEER:
            # psycopg writes -0.0 as a numeric, which has no such zero.
            zeros = [row.pk for row in Row.objects.using(OURS) if str(row.float) == "-0.0"]
            cursor.execute("UPDATE peer_row SET float = '-0' WHERE id = ANY(%s)", [zeros])
            cursor.execute("ANALYZE")
    if alias == OURS:
        connection.connection.flush()
    for model in (Plain, Row):
        model.objects.using(alias).filter(id__gt=ROWS[model._meta.model_name] // 2).update(slug="tail")
