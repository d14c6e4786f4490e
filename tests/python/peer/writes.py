"""What changes rows by more than one statement: the same calls on both databases, then their results and the tables beside each other."""

from django.db import Error, transaction
from django.db.models import F, Q

from .models import Key, Note, Place, Plain, Tag
from .questions import Failed, plain


class Deed:
    """A call with a database's alias for its argument; what it did is taken back after it was looked at."""

    def __init__(self, name, act, *models):
        self.name = name
        self.act = act
        self.models = models

    ordered = writes = inexact = groups = False

    def __repr__(self):
        return f"{self.name}: {self.act.__doc__ or ''}{getattr(self.act, 'values', '')}"

    def ask(self, alias):
        try:
            with transaction.atomic(using=alias):
                answer = [plain(self.act(alias))]
                answer += [plain(list(model.objects.using(alias).order_by("pk"))) for model in self.models]
                transaction.set_rollback(True, using=alias)
            return [answer]
        except Exception as err:  # noqa: BLE001 (an answer, too)
            return Failed(err)

    def sql(self, alias):
        from django.db import connections
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connections[alias]) as captured:
            self.ask(alias)
        return "\n".join(q["sql"][:400] for q in captured)

    def simpler(self):
        return iter(())


class Deeds:
    def __init__(self, random):
        self.random = random

    def names(self):
        return [name for name in vars(type(self)) if not name.startswith("_") and name not in ("names", "make")]

    def make(self, name):
        return getattr(self, name)()

    def _keys(self):
        """Rows for Key; half of the time some clash with what is there, or with each other."""
        r = self.random
        count = r.choice([1, 3, 10])
        if r.random() < 0.5:
            codes = r.sample(range(60, 999), count)
            return [{"code": f"k{code}'%s", "a": r.choice([None, 9]), "b": code, "value": code} for code in codes]
        return [
            {"code": f"k{r.choice([r.randint(30, 60), r.randint(60, 999), r.randint(60, 999)])}" + r.choice(["", "", "'%s"]), "a": r.choice([None, *range(9)]), "b": r.choice([None, *range(50)]), "value": r.choice([0, 1, 2, 3, 4, 5, 999, 999, 999, 1000])}
            for _ in range(count)
        ]  # fmt: skip

    def _deed(self, name, act, values, *models):
        act.values = values
        return Deed(name, act, *models)

    def bulk_create(self):
        rows = self._keys()

        def act(alias):
            made = Key.objects.using(alias).bulk_create([Key(**row) for row in rows])
            by_id = Key.objects.using(alias).in_bulk([key.pk for key in made])
            return [
                list(Key.objects.using(alias).order_by("code").values_list("code", "a", "b", "value")),
                [by_id[key.pk].code for key in made],
            ]

        return self._deed("bulk_create", act, rows)

    def ignore_conflicts(self):
        rows = [{**row, "value": 5} for row in self._keys()]

        def act(alias):
            Key.objects.using(alias).bulk_create([Key(**row) for row in rows], ignore_conflicts=True)
            return list(Key.objects.using(alias).order_by("code").values_list("code", "a", "b", "value"))

        return self._deed("bulk_create(ignore_conflicts)", act, rows)

    def update_conflicts(self):
        rows = list({row["code"]: row for row in self._keys()}.values())
        update = self.random.choice([["value"], ["value", "a"], ["b"]])

        def act(alias):
            objects = [Key(**row) for row in rows]
            Key.objects.using(alias).bulk_create(
                objects, update_conflicts=True, unique_fields=["code"], update_fields=update
            )
            return list(Key.objects.using(alias).order_by("code").values_list("code", "a", "b", "value"))

        return self._deed(f"bulk_create(update_conflicts, {update})", act, rows)

    def bulk_update(self):
        ids = self.random.sample(range(1, 120), 5)
        value = self.random.choice([None, 3, 10**6])

        def act(alias):
            rows = list(Plain.objects.using(alias).filter(id__in=ids))
            for row in rows:
                row.integer, row.char, row.decimal = value, (row.char or "") + "'%", row.integer
            return Plain.objects.using(alias).bulk_update(rows, ["integer", "char", "decimal"], batch_size=2)

        return self._deed("bulk_update", act, (ids, value), Plain)

    def get_or_create(self):
        code = f"k{self.random.randint(30, 50)}"

        def act(alias):
            key, created = Key.objects.using(alias).get_or_create(code=code, defaults={"value": 7})
            return [key.code, key.value, created]

        return self._deed("get_or_create", act, code)

    def update_or_create(self):
        code, value = f"k{self.random.randint(30, 50)}", self.random.choice([1, 2000])

        def act(alias):
            key, created = Key.objects.using(alias).update_or_create(
                code=code, defaults={"value": value}, create_defaults={"value": 1}
            )
            return [key.code, key.value, created]

        return self._deed("update_or_create", act, (code, value))

    def save(self):
        number = self.random.randint(1, 60)
        small = self.random.choice([None, 5, 32767, 32768])

        def act(alias):
            row = Plain.objects.using(alias).get(id=number)
            row.small, row.json = small, {"a": [1, None, "it's"]}
            row.moment = F("moment")
            row.save(using=alias, update_fields=["small", "json", "moment"])
            row.refresh_from_db()
            return row

        return self._deed("save", act, (number, small), Plain)

    def many_to_many(self):
        number, ids = self.random.randint(1, 120), self.random.sample(range(1, 10), 3)

        def act(alias):
            tags = Plain.objects.using(alias).get(id=number).tags
            tags.set(ids)
            tags.remove(Tag(id=ids[0]))
            return list(tags.order_by("id"))

        return self._deed("many to many", act, (number, ids))

    def cascade(self):
        number = self.random.randint(1, 12)

        def act(alias):
            deleted, by_model = Place.objects.using(alias).filter(Q(id=number) | Q(within=number)).delete()
            return [deleted, dict(sorted(by_model.items()))]

        return self._deed("delete with what refers to it", act, number, Place, Note)

    def refused_delete(self):
        number = self.random.randint(1, 12)
        return self._deed(
            "delete what is referred to",
            lambda alias: Place.objects.using(alias).filter(id=number)._raw_delete(alias),
            number,
        )

    def savepoints(self):
        rows = self._keys()

        def act(alias):
            done = []
            for row in rows:
                try:
                    with transaction.atomic(using=alias):
                        Key.objects.using(alias).create(**row)
                        done.append(row["code"])
                except Error as err:
                    done.append(type(err).__name__)
            return [done, list(Key.objects.using(alias).order_by("code").values_list("code", "value"))]

        return self._deed("savepoints", act, rows)
