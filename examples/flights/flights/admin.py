from django.contrib import admin

from .models import Airline, Airport, Flight, Plane, Weather


@admin.register(Airline)
class AirlineAdmin(admin.ModelAdmin):
    list_display = ["carrier", "name"]
    search_fields = ["carrier", "name"]


@admin.register(Airport)
class AirportAdmin(admin.ModelAdmin):
    list_display = ["faa", "name", "lat", "lon", "alt", "tzone"]
    list_filter = ["tzone"]
    search_fields = ["faa", "name"]


@admin.register(Plane)
class PlaneAdmin(admin.ModelAdmin):
    list_display = ["tailnum", "manufacturer", "model", "year", "seats", "engine"]
    list_filter = ["engine", "type"]
    search_fields = ["tailnum", "manufacturer", "model"]


@admin.register(Flight)
class FlightAdmin(admin.ModelAdmin):
    list_display = ["__str__", "time_hour", "carrier", "tailnum", "dep_delay", "arr_delay"]
    list_filter = ["carrier", "origin"]
    list_select_related = ["carrier"]
    search_fields = ["tailnum", "dest__name"]
    date_hierarchy = "time_hour"
    autocomplete_fields = ["carrier", "plane", "origin", "dest"]


@admin.register(Weather)
class WeatherAdmin(admin.ModelAdmin):
    list_display = ["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]
    list_filter = ["origin"]
    date_hierarchy = "time_hour"
    autocomplete_fields = ["origin"]
