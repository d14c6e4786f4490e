from django.contrib.auth.models import AbstractUser
from django.db import models

from polars_iceberg.timetravel import TimeTravelManager, TimeTravelMixin


class Author(models.Model):
    """A plain model, without the mixin."""

    name = models.CharField(max_length=100)


class BookQuerySet(models.QuerySet):
    def long(self):
        return self.filter(pages__gt=300)


class BookManager(models.Manager.from_queryset(BookQuerySet)):
    use_in_migrations = True

    def by(self, name):
        return self.filter(author__name=name)


class Book(TimeTravelMixin, models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books", null=True)
    title = models.CharField(max_length=100)
    pages = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    read_in = models.DurationField(null=True)
    data = models.JSONField(default=dict)
    tags = models.ManyToManyField("Tag", related_name="books")

    objects = BookManager()


class Tag(TimeTravelMixin, models.Model):
    name = models.CharField(max_length=50, unique=True)


class Event(models.Model):
    at = models.DateTimeField()
    key = models.UUIDField(null=True)

    objects = TimeTravelManager()


class Reader(TimeTravelMixin, AbstractUser):
    groups = None
    user_permissions = None


class Special(TimeTravelMixin, models.Model):
    name = models.CharField(max_length=20)

    published = models.Manager()

    class TimeTravel:
        enabled = False
