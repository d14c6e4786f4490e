"""One set of models, on both databases."""

from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=60)
    email = models.CharField(max_length=60, unique=True)
    city = models.CharField(max_length=30)


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    number = models.CharField(max_length=20, unique=True)
    status = models.CharField(max_length=10)
    quantity = models.IntegerField()
    total = models.DecimalField(max_digits=10, decimal_places=2)
    created_at = models.DateTimeField()
    note = models.TextField(null=True)


class Wide(models.Model):
    """For add_field: 10,000 rows."""

    name = models.CharField(max_length=30)
    amount = models.IntegerField()


class WideMillion(models.Model):
    """For add_field: 1,000,000 rows."""

    name = models.CharField(max_length=30)
    amount = models.IntegerField()


class Changed(models.Model):
    """For bulk: 2,000,000 rows, each changed by one statement."""

    name = models.CharField(max_length=30)
    amount = models.IntegerField()


class Author(models.Model):
    """From here on: for everyday, the statements of ordinary code."""

    name = models.CharField(max_length=40)
    email = models.CharField(max_length=60, unique=True)


class Tag(models.Model):
    name = models.CharField(max_length=20, unique=True)


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    tags = models.ManyToManyField(Tag)
    title = models.CharField(max_length=60)
    pages = models.IntegerField()
    price = models.DecimalField(max_digits=8, decimal_places=2)
    weight = models.FloatField()
    text = models.TextField()


class Review(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="reviews")
    stars = models.IntegerField()
    text = models.TextField()
