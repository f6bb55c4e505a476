"""Faults that a delivery of flights and weather can have, for `greenlight selftest`; each put into the newest month.

None is a caricature: every one has a plausible cause, and most leave every single value in its range.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from greenlight.core.faults import DataFault, Tables

Rng = np.random.Generator
KM = 1.609344


def _some(rows: pl.DataFrame, share: float, rng: Rng) -> pl.Series:
    return pl.Series(rng.random(rows.height) < share)


def kilometres(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Distances in kilometres, still whole numbers."""
    distance = (pl.col("distance") * KM).round().cast(now["flights"].schema["distance"])
    return {"flights": now["flights"].with_columns(distance)}


def celsius(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Temperature and dew point in degrees Celsius: July looks like January in Fahrenheit."""
    return {"weather": now["weather"].with_columns(((pl.col("temp", "dewp") - 32) / 1.8).round(2))}


def nulls(now: Tables, before: Tables, rng: Rng) -> Tables:
    """A fifth of the tail numbers is gone."""
    gone = _some(now["flights"], 0.2, rng)
    return {"flights": now["flights"].with_columns(pl.when(~gone).then("tailnum"))}


def renamed(now: Tables, before: Tables, rng: Rng) -> Tables:
    """The largest carrier has another code, of two characters as it must be."""
    largest = now["flights"]["carrier"].value_counts(sort=True)["carrier"][0]
    return {"flights": now["flights"].with_columns(pl.col("carrier").replace({largest: "Q9"}))}


def stale(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Last month's files once more."""
    return {name: before[name] for name in ("flights", "weather")}


def redated(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Last month's flights with this month's dates; days that it lacks are filled from its first ones."""
    first, days = now["flights"].row(0, named=True), now["flights"]["day"].max()
    rows, there = before["flights"], before["flights"]["day"].max()
    extra = rows.filter(pl.col("day") <= days - there).with_columns(day=pl.col("day") + there)  # type: ignore[operator]
    rows = pl.concat([rows.filter(pl.col("day") <= days), extra])
    local = pl.datetime(first["year"], first["month"], "day", "hour")
    instant = local.dt.replace_time_zone("America/New_York", ambiguous="earliest", non_existent="null")
    kind = now["flights"].schema["time_hour"]
    return {
        "flights": rows.with_columns(
            pl.lit(first["year"], rows.schema["year"]).alias("year"),
            pl.lit(first["month"], rows.schema["month"]).alias("month"),
            instant.dt.convert_time_zone("UTC").cast(kind).alias("time_hour"),
        )
    }


def duplicated(now: Tables, before: Tables, rng: Rng) -> Tables:
    """One row in twenty is there twice."""
    return {"flights": pl.concat([now["flights"], now["flights"].filter(_some(now["flights"], 0.05, rng))])}


def zone(now: Tables, before: Tables, rng: Rng) -> Tables:
    """The instant of departure is local time that calls itself UTC."""
    return {"flights": now["flights"].with_columns(pl.col("time_hour") - pl.duration(hours=4))}


def future(now: Tables, before: Tables, rng: Rng) -> Tables:
    """The month's last rows belong to the next month."""
    rows = now["flights"]
    late = pl.int_range(pl.len()) >= rows.height - 300
    year = pl.when(late & (pl.col("month") == 12)).then(pl.col("year") + 1).otherwise("year")
    month = pl.when(late).then(pl.col("month") % 12 + 1).otherwise("month")
    day = pl.when(late).then(1).otherwise("day")
    kinds = rows.schema
    moved = {"year": year, "month": month, "day": day}
    return {"flights": rows.with_columns(value.cast(kinds[name]).alias(name) for name, value in moved.items())}


def misjoined(now: Tables, before: Tables, rng: Rng) -> Tables:
    """The delay on arrival comes from the row before: a join by position."""
    delays = now["flights"]["arr_delay"]
    return {"flights": now["flights"].with_columns(pl.concat([delays.tail(1), delays.head(-1)]).alias("arr_delay"))}


def text(now: Tables, before: Tables, rng: Rng) -> Tables:
    """A number has become text on the way."""
    return {"flights": now["flights"].with_columns(pl.col("distance").cast(pl.String))}


def mojibake(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Destinations were read in another encoding than they were written in: a byte order mark stands before them."""
    broken = pl.when(_some(now["flights"], 0.1, rng)).then(pl.lit("ï»¿") + pl.col("dest")).otherwise("dest")
    return {"flights": now["flights"].with_columns(broken.alias("dest"))}


def outliers(now: Tables, before: Tables, rng: Rng) -> Tables:
    """A handful of temperatures is 9,999: what some stations write for not known."""
    some = _some(now["weather"], 0.005, rng)
    return {"weather": now["weather"].with_columns(pl.when(~some).then("temp").otherwise(9999.0).alias("temp"))}


def cut(now: Tables, before: Tables, rng: Rng) -> Tables:
    """The delivery ends three days before the month does."""
    last: Any = now["flights"]["day"].max()
    return {name: rows.filter(pl.col("day") <= last - 3) for name, rows in now.items() if "day" in rows.columns}


def seconds(now: Tables, before: Tables, rng: Rng) -> Tables:
    """The delay on arrival, which the label is cut from, is in seconds."""
    return {"flights": now["flights"].with_columns(pl.col("arr_delay") * 60)}


def kilometres_of_one(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Distances in kilometres for one carrier alone."""
    far = (pl.col("distance") * KM).round().cast(now["flights"].schema["distance"])
    return {"flights": now["flights"].with_columns(distance=pl.when(carrier="DL").then(far).otherwise("distance"))}


def shuffled(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Tail numbers are shuffled between the flights of the month."""
    order = pl.Series(rng.permutation(now["flights"].height))
    return {"flights": now["flights"].with_columns(now["flights"]["tailnum"].gather(order).alias("tailnum"))}


def carriers_exchanged(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Two carriers of about the same size have each other's code."""
    return {"flights": now["flights"].with_columns(pl.col("carrier").replace({"UA": "B6", "B6": "UA"}))}


def airports_exchanged(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Two airports of departure have each other's code."""
    return {"flights": now["flights"].with_columns(pl.col("origin").replace({"JFK": "EWR", "EWR": "JFK"}))}


def destinations_exchanged(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Two large destinations have each other's code."""
    return {"flights": now["flights"].with_columns(pl.col("dest").replace({"ATL": "LAX", "LAX": "ATL"}))}


def made_up(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Flights that never left have a delay of 0 minutes, so they count as on time."""
    delay = (
        pl.when(pl.col("dep_time").is_null()).then(0).otherwise("arr_delay").cast(now["flights"].schema["arr_delay"])
    )
    return {"flights": now["flights"].with_columns(delay.alias("arr_delay"))}


def emptied(now: Tables, before: Tables, rng: Rng) -> Tables:
    """One carrier's air times are gone."""
    return {"flights": now["flights"].with_columns(air_time=pl.when(pl.col("carrier") != "US").then("air_time"))}


def scheduled(now: Tables, before: Tables, rng: Rng) -> Tables:
    """One carrier hands in its schedule as what happened: every arrival is on time."""
    rows = now["flights"]
    own = (pl.col("carrier") == "MQ") & pl.col("arr_delay").is_not_null()
    arrived = pl.when(own).then("sched_arr_time").otherwise("arr_time").cast(rows.schema["arr_time"])
    delay = pl.when(own).then(0).otherwise("arr_delay").cast(rows.schema["arr_delay"])
    return {"flights": rows.with_columns(arrived.alias("arr_time"), delay.alias("arr_delay"))}


def station_copied(now: Tables, before: Tables, rng: Rng) -> Tables:
    """One airport's weather is another's under its name."""
    rows = now["weather"]
    copied = rows.filter(origin="JFK").with_columns(origin=pl.lit("LGA"))
    return {"weather": pl.concat([rows.filter(pl.col("origin") != "LGA"), copied])}


def station_celsius(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Temperature and dew point of one airport are in degrees Celsius."""
    celsius = [
        pl.when(origin="EWR").then(((pl.col(name) - 32) / 1.8).round(2)).otherwise(name).alias(name)
        for name in ("temp", "dewp")
    ]
    return {"weather": now["weather"].with_columns(celsius)}


def stuck(now: Tables, before: Tables, rng: Rng) -> Tables:
    """The barometer of one airport is stuck for two days."""
    days = (pl.col("origin") == "LGA") & pl.col("day").is_between(10, 12)
    return {"weather": now["weather"].with_columns(pressure=pl.when(days).then(1013.2).otherwise("pressure"))}


def imputed(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Most pressures are the month's mean: gaps were filled, and more than the gaps."""
    some = _some(now["weather"], 0.6, rng)
    mean = round(float(now["weather"]["pressure"].mean() or 0), 1)  # type: ignore[arg-type]
    return {"weather": now["weather"].with_columns(pressure=pl.when(some).then(mean).otherwise("pressure"))}


def overwritten(now: Tables, before: Tables, rng: Rng) -> Tables:
    """Where gusts are known, the wind's speed was written over them."""
    gust = pl.when(pl.col("wind_gust").is_not_null()).then("wind_speed")
    return {"weather": now["weather"].with_columns(wind_gust=gust)}


FAULTS: tuple[DataFault, ...] = tuple(
    DataFault(name, str(inject.__doc__).strip(), expected, inject)
    for name, inject, expected in (
        ("unit change", kilometres, ("months.median_speed_mph between", "flights.speed_mph between")),
        ("unit change, weather", celsius, ("months.humidity_gap between",)),
        ("null spike", nulls, ("months.no_tailnum_share between", "nulls.*")),
        ("category rename", renamed, ("months.*carrier*",)),
        ("stale copy of last month", stale, ("flights.date_gap_months between",)),
        ("stale copy with new dates", redated, ("copies.*",)),
        ("duplicated rows", duplicated, ("flights.*+flight+* unique",)),
        ("time-zone shift", zone, ("flights.utc_gap between",)),
        ("future rows", future, ("flights.date_gap_months between",)),
        ("wrong join", misjoined, ("flights.arrival_gap_min between",)),
        ("silent type change", text, ("columns.*",)),
        ("encoding break", mojibake, ("flights.dest matches",)),
        ("extreme outliers", outliers, ("weather.temp between",)),
        ("cut delivery", cut, ("months.days_missing between", "freshness.*")),
        ("label in another unit", seconds, ("flights.arrival_gap_min between",)),
        ("unit change, one carrier", kilometres_of_one, ("relations.dependency between",)),
        ("tail numbers shuffled", shuffled, ("relations.dependency between",)),
        ("carriers exchanged", carriers_exchanged, ("relations.dependency between",)),
        ("airports exchanged", airports_exchanged, ("relations.dependency between",)),
        ("destinations exchanged", destinations_exchanged, ("relations.dependency between",)),
        ("labels made up", made_up, ("relations.implication between",)),
        ("one carrier without a column", emptied, ("relations.group_nulls between",)),
        ("one carrier's schedule as fact", scheduled, ("relations.still between", "relations.group_shift between")),
        ("weather station copied", station_copied, ("relations.group_copy between",)),
        ("unit change, one station", station_celsius, ("relations.group_shift between",)),
        ("instrument stuck", stuck, ("relations.still between",)),
        ("column filled with its mean", imputed, ("relations.collapse between",)),
        ("column written over another", overwritten, ("relations.equality between",)),
    )
)
"""Every fault with the expectations that must catch it."""
