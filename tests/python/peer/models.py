"""Every field type on one model, twice: a table of moderate values, where an expression seldom fails, and one of extremes."""

from django.db import models


class Place(models.Model):
    id = models.AutoField(primary_key=True)
    name = models.CharField(max_length=40, null=True)
    size = models.IntegerField(null=True)
    within = models.ForeignKey("self", models.CASCADE, null=True, related_name="parts")

    class Meta:
        app_label = "peer"


class Tag(models.Model):
    id = models.SmallAutoField(primary_key=True)
    label = models.TextField(null=True)

    class Meta:
        app_label = "peer"


class Values(models.Model):
    id = models.BigAutoField(primary_key=True)
    small = models.SmallIntegerField(null=True)
    integer = models.IntegerField(null=True)
    big = models.BigIntegerField(null=True)
    positive_small = models.PositiveSmallIntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    positive_big = models.PositiveBigIntegerField(null=True)
    decimal = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    wide = models.DecimalField(max_digits=38, decimal_places=10, null=True)
    float = models.FloatField(null=True)
    boolean = models.BooleanField(null=True)
    char = models.CharField(max_length=60, null=True)
    text = models.TextField(null=True)
    slug = models.SlugField(null=True)
    email = models.EmailField(null=True)
    url = models.URLField(null=True)
    file = models.FileField(null=True)
    path = models.FilePathField(null=True)
    date = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    time = models.TimeField(null=True)
    duration = models.DurationField(null=True)
    binary = models.BinaryField(null=True)
    uuid = models.UUIDField(null=True)
    json = models.JSONField(null=True)
    ip = models.GenericIPAddressField(null=True)
    place = models.ForeignKey(Place, models.CASCADE, null=True)
    previous = models.ForeignKey("self", models.CASCADE, null=True, related_name="following")
    partner = models.OneToOneField("self", models.CASCADE, null=True, related_name="partnered")
    tags = models.ManyToManyField(Tag)

    class Meta:
        abstract = True
        app_label = "peer"


class Plain(Values):
    """Moderate values."""


class Row(Values):
    """Extremes."""


class Note(models.Model):
    """Rows that refer to rows, several to one."""

    row = models.ForeignKey(Plain, models.CASCADE, related_name="notes")
    place = models.ForeignKey(Place, models.CASCADE, null=True, related_name="notes")
    text = models.TextField()
    number = models.IntegerField(null=True)

    class Meta:
        app_label = "peer"


class Key(models.Model):
    """What conflicts: two unique keys, one of them of two columns, and a condition."""

    code = models.CharField(max_length=20, unique=True)
    a = models.IntegerField(null=True)
    b = models.IntegerField(null=True)
    value = models.IntegerField(default=0)

    class Meta:
        app_label = "peer"
        constraints = (
            models.UniqueConstraint(fields=["a", "b"], name="peer_key_a_b"),
            models.CheckConstraint(condition=models.Q(value__lt=1000), name="peer_key_value"),
        )
