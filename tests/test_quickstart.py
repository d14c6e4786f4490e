"""The code of the product page, as a user would write it."""

import datetime as dt
import pathlib
import tempfile
from datetime import datetime, timedelta

import django
import polars as pl
import pytest
from django.conf import settings

if not settings.configured:
    _directory = tempfile.TemporaryDirectory(prefix="django-iceberg-")
    settings.configure(
        BASE_DIR=pathlib.Path(_directory.name),
        SECRET_KEY="not a secret",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
        DATABASES={
            "default": {
                "ENGINE": "polars_iceberg.backend",
                "WAREHOUSE": "warehouse",
                "CATALOG_URI": "sqlite:///catalog.db",
                "NAMESPACE": "shop",
            }
        },
    )
    django.setup()

from django.db import IntegrityError, connection, migrations, models, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.utils import timezone

from polars_iceberg.timetravel import TimeTravelMixin


class Article(TimeTravelMixin, models.Model):
    title = models.CharField(max_length=200)
    content = models.TextField()
    published_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "quickstart"


class Customer(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        app_label = "quickstart"


class Order(TimeTravelMixin, models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, null=True)
    customer_email = models.EmailField(default="")
    order_number = models.CharField(max_length=20, unique=True, null=True)
    total = models.DecimalField(max_digits=10, decimal_places=2)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "quickstart"


class User(TimeTravelMixin, models.Model):
    email = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)

    class Meta:
        app_label = "quickstart"


class TenantData(models.Model):
    tenant_id = models.IntegerField(db_index=True)
    payload = models.TextField()

    class Meta:
        app_label = "quickstart"


MODELS = [Article, Customer, Order, User, TenantData]


@pytest.fixture(scope="module", autouse=True)
def tables():
    with connection.schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)
    yield
    with connection.schema_editor() as editor:
        for model in reversed(MODELS):
            editor.delete_model(model)
    connection.close()


@pytest.fixture(autouse=True)
def empty():
    yield
    for model in reversed(MODELS):
        model.objects.all().delete()


def test_time_travel():
    Article.objects.create(title="Iceberg", content="nine tenths below")
    # Before the first commit there was nothing.
    assert list(Article.objects.as_of(timezone.now() - timedelta(days=7)).all()) == []
    an_hour_later = timezone.now()
    Article.objects.update(title="Melted")
    assert Article.objects.as_of(an_hour_later).get().title == "Iceberg"
    assert Article.objects.get().title == "Melted"


def test_plain_orm():
    order = Order.objects.create(customer_email="user@example.com", total=99.99)
    order.refresh_from_db()
    assert str(order.total) == "99.99"
    assert Order.objects.filter(total__gt=50).count() == 1


@pytest.mark.filterwarnings("ignore:as_of.. received a naive datetime")
def test_users_as_of_a_day():
    User.objects.create(email="a@example.com")
    assert User.objects.as_of(datetime(2026, 1, 1)).filter(is_active=True).count() == 0
    assert User.objects.as_of(timezone.now()).filter(is_active=True).count() == 1


def test_snapshots_show_a_write_at_once():
    before = len(User.objects.snapshots())
    User.objects.create(email="a@example.com")
    snapshots = User.objects.snapshots()
    assert snapshots[0].snapshot_id is None and snapshots[0].operation == "pending"
    assert len(snapshots) in (before, before + 1)
    for snap in User.objects.snapshots():
        assert snap.snapshot_id is None or isinstance(snap.snapshot_id, int)
        assert isinstance(snap.committed_at, dt.datetime)
    assert timezone.now() - snapshots[0].committed_at < timedelta(minutes=1)


def test_a_published_snapshot_can_be_read():
    User.objects.create(email="a@example.com")
    connection.connection.flush()
    published = User.objects.snapshots()[0]
    assert published.snapshot_id is not None
    User.objects.all().delete()
    assert User.objects.as_of(snapshot_id=published.snapshot_id).get().email == "a@example.com"


def test_history():
    user = User.objects.create(email="old@example.com")
    user.email = "new@example.com"
    user.save()
    found = []
    for version in user.history():
        assert version.snapshot_timestamp <= timezone.now()
        found.append(version.email)
    assert found == ["new@example.com", "old@example.com"]


def test_polars():
    for email, total in [("a@example.com", 10), ("a@example.com", 5.5), ("b@example.com", 7)]:
        Order.objects.create(customer_email=email, total=total)
    df = Order.objects.values("customer_email", "total", "created_at").to_polars()
    assert isinstance(df, pl.DataFrame)
    assert df.columns == ["customer_email", "total", "created_at"]
    result = (
        df.group_by("customer_email")
        .agg(pl.col("total").sum().alias("spent"), pl.len().alias("orders"))
        .sort("spent", descending=True)
    )
    assert [(email, float(spent), n) for email, spent, n in result.rows()] == [
        ("a@example.com", 15.5, 2),
        ("b@example.com", 7, 1),
    ]


def test_a_field_is_added_by_a_migration():
    Article.objects.create(title="before", content="")
    operation = migrations.AddField("article", "views", models.IntegerField(default=0))
    before = ProjectState()
    before.add_model(ModelState.from_model(Article))
    after = before.clone()
    operation.state_forwards("quickstart", after)
    try:
        with connection.schema_editor() as editor:
            operation.database_forwards("quickstart", editor, before, after)
        evolved = after.apps.get_model("quickstart", "Article")
        assert evolved.objects.get().views == 0
        evolved.objects.create(title="after", content="", views=3)
        assert sorted(evolved.objects.values_list("title", "views")) == [("after", 3), ("before", 0)]
    finally:
        with connection.schema_editor() as editor:
            operation.database_backwards("quickstart", editor, after, before)
    assert set(Article.objects.values_list("title", flat=True)) == {"before", "after"}


def test_two_saves_in_one_transaction():
    one, other = User(email="one@example.com"), Order(customer_email="one@example.com", total=1)
    with transaction.atomic():
        one.save()
        other.save()
    assert one.history()[0].commit_time == other.history()[0].commit_time

    class Undone(Exception):
        pass

    with pytest.raises(Undone), transaction.atomic():
        one.email = "two@example.com"
        one.save()
        other.total = 2
        other.save()
        raise Undone
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.email, other.total) == ("one@example.com", 1)


def test_integrity():
    customer = Customer.objects.create(name="Ann")
    Order.objects.create(customer_id=customer.pk, order_number="ORD-123", total=1)
    with pytest.raises(IntegrityError, match="(?i)foreign key"):
        Order.objects.create(customer_id=999, order_number="ORD-124", total=1)
    with pytest.raises(IntegrityError, match="(?i)unique"):
        Order.objects.create(customer_id=customer.pk, order_number="ORD-123", total=1)
    with pytest.raises(IntegrityError, match="(?i)null"):
        Order.objects.create(customer_id=customer.pk, order_number="ORD-125", total=None)
    with pytest.raises(IntegrityError):
        Order.objects.create(customer_id=999, order_number="ORD-123", total=None)
    assert Order.objects.count() == 1


def test_a_tenants_rows():
    TenantData.objects.bulk_create(TenantData(tenant_id=i % 100, payload="x") for i in range(1_000))
    assert TenantData.objects.filter(tenant_id=42).count() == 10
