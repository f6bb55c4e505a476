"""What the contract of ``flight_delay`` measures: columns that tie others together, and one row of figures per month.

A range check on one column misses what is wrong in a plausible way: July in degrees Celsius looks like January in
Fahrenheit. Two columns that must agree do not: speed ties miles to minutes, humidity ties temperature to dew point,
and a delay is the difference of two clock times.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence

import polars as pl
from polars import selectors

from greenlight.datasets.flight_delay.history import is_late

LOCAL_ZONE = "America/New_York"
KNOT_MPH = 1.15078  # stations report wind in whole knots; the data set has them times this, in miles per hour
WIND_OUTLIER_MPH = 100  # gusts of hurricane Sandy, October 2012, reached 80 to 90 here; more is a typing error


def derive(tables: Mapping[str, pl.DataFrame], periods: Sequence[str]) -> dict[str, pl.DataFrame]:
    """The tables that the contract looks at.

    Parameters
    ----------
    tables : Mapping[str, pl.DataFrame]
        Any of ``flights``, ``weather`` (with ``period``) and ``planes``, raw columns.
    periods : Sequence[str]
        The months of the snapshot, oldest first.

    Returns
    -------
    dict[str, pl.DataFrame]
        The tables given, with the columns that tie others together, and ``months`` if all three were given.
    """
    # "not a number" is how some writers say null; it would pass every range check
    derived = {name: frame.with_columns(selectors.float().fill_nan(None)) for name, frame in tables.items()}
    if "flights" in derived:
        derived["flights"] = flight_rows(derived["flights"])
    if "weather" in derived:
        derived["weather"] = weather_rows(derived["weather"])
    if {"flights", "weather", "planes"} <= set(derived):
        derived["months"] = months(derived, periods)
    return derived


def flight_rows(flights: pl.DataFrame) -> pl.DataFrame:
    """Flights with the columns that must be 0 when the others agree, and the speed.

    Adds ``departure_gap_min`` and ``arrival_gap_min`` (actual minus scheduled clock time minus the delay, -720 to 719),
    ``clock_gap_min`` (scheduled departure against hour and minute), ``date_gap_months`` (date against the file's
    period), ``utc_gap`` (``time_hour`` in New York against date and hour) and ``speed_mph``.
    """
    return flights.with_columns(
        _clock_gap("dep_time", "sched_dep_time", "dep_delay").alias("departure_gap_min"),
        _clock_gap("arr_time", "sched_arr_time", "arr_delay").alias("arrival_gap_min"),
        (_minutes("sched_dep_time") - pl.col("hour") * 60 - pl.col("minute")).alias("clock_gap_min"),
        _date_gap().alias("date_gap_months"),
        _utc_gap().alias("utc_gap"),
        (pl.col("distance") * 60 / pl.col("air_time")).alias("speed_mph"),
    )


def weather_rows(weather: pl.DataFrame) -> pl.DataFrame:
    """Weather with ``date_gap_months``, ``utc_gap`` and ``dew_spread_f`` (temperature minus dew point, Fahrenheit)."""
    return weather.with_columns(
        _date_gap().alias("date_gap_months"),
        _utc_gap().alias("utc_gap"),
        (pl.col("temp") - pl.col("dewp")).alias("dew_spread_f"),
    )


def months(tables: Mapping[str, pl.DataFrame], periods: Sequence[str]) -> pl.DataFrame:
    """One row per month: volumes, shares and medians. Shares are 0 to 1; null where a month has no rows to measure."""
    flights, weather = tables["flights"], tables["weather"]
    hours = weather.select("origin", "time_hour").unique().with_columns(pl.lit(True).alias("has_weather"))
    tailnums = tables["planes"].get_column("tailnum").unique().implode()
    joined = flights.join(hours, on=["origin", "time_hour"], how="left")
    return (
        pl.DataFrame({"period": list(periods)}, schema={"period": pl.String})
        .join(joined.group_by("period").agg(_flight_measures(tailnums)), on="period", how="left")
        .join(weather.group_by("period").agg(_weather_measures()), on="period", how="left")
        .sort("period")
        .with_columns(
            pl.Series("days", [_days(period) for period in periods], dtype=pl.Int64),
        )
        .with_columns(
            (pl.col("days") - pl.col("days_seen")).alias("days_missing"),
            (pl.col("weather_rows") / (pl.col("days") * 24 * pl.col("weather_origins"))).alias("weather_hours_share"),
            (pl.col("flights") / pl.col("days")).alias("flights_per_day"),
        )
        .drop("days", "days_seen", "weather_origins")
        .pipe(compare)
    )


def compare(figures: pl.DataFrame) -> pl.DataFrame:
    """The figures of all months, oldest first, with ``volume_vs_earlier``: flights a day over the earlier median."""
    return figures.with_columns(_against_earlier("flights_per_day").alias("volume_vs_earlier"))


def _flight_measures(tailnums: pl.Series) -> list[pl.Expr]:
    return [
        pl.len().cast(pl.Int64).alias("flights"),
        pl.col("day").n_unique().cast(pl.Int64).alias("days_seen"),
        pl.col("carrier").n_unique().cast(pl.Int64).alias("carriers"),
        pl.col("arr_delay").is_null().mean().alias("no_label_share"),
        is_late().mean().alias("late_share"),
        pl.col("dep_time").is_null().mean().alias("cancelled_share"),
        pl.col("tailnum").is_null().mean().alias("no_tailnum_share"),
        pl.col("tailnum").is_in(tailnums).fill_null(value=False).mean().alias("plane_coverage"),
        pl.col("has_weather").is_not_null().mean().alias("weather_coverage"),
        pl.col("speed_mph").median().alias("median_speed_mph"),
    ]


def _weather_measures() -> list[pl.Expr]:
    outlier = pl.col("wind_speed") > WIND_OUTLIER_MPH
    nulls = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
    return [
        pl.len().cast(pl.Int64).alias("weather_rows"),
        pl.col("origin").n_unique().cast(pl.Int64).alias("weather_origins"),
        (_relative_humidity() - pl.col("humid")).abs().mean().alias("humidity_gap"),
        _off_grid(pl.col("wind_speed") / KNOT_MPH).alias("wind_off_grid_share"),
        _off_grid(pl.col("precip") * 100).alias("precip_off_grid_share"),
        outlier.mean().alias("wind_outlier_share"),
        *(pl.col(column).is_null().mean().alias(f"no_{column}_share") for column in nulls),
    ]


def _relative_humidity() -> pl.Expr:
    """Relative humidity in per cent from temperature and dew point in Fahrenheit.

    Source: Magnus formula with the constants of Alduchov and Eskridge (1996), within 0.4 % from -40 to 50 C.
    """
    celsius = {name: (pl.col(name) - 32) / 1.8 for name in ("temp", "dewp")}
    pressure = {name: (17.625 * c / (243.04 + c)).exp() for name, c in celsius.items()}
    return 100 * pressure["dewp"] / pressure["temp"]


def _off_grid(steps: pl.Expr) -> pl.Expr:
    """Share of values that are not a whole number of steps: an exact test of the unit."""
    return ((steps - steps.round()).abs() > 1e-6).mean()


def _against_earlier(column: str) -> pl.Expr:
    """Each month's value divided by the median of the months before it; null for the first."""
    value = pl.col(column)
    return value / value.shift(1).rolling_median(window_size=10_000, min_samples=1)


def _minutes(column: str) -> pl.Expr:
    """Minutes since midnight of a clock time written as HHMM."""
    return pl.col(column) // 100 * 60 + pl.col(column) % 100


def _clock_gap(actual: str, scheduled: str, delay: str) -> pl.Expr:
    """Actual minus scheduled minus delay, minutes, around midnight: 0 when the three agree."""
    gap = _minutes(actual).cast(pl.Int64) - _minutes(scheduled).cast(pl.Int64) - pl.col(delay).cast(pl.Int64)
    return (gap + 720) % 1440 - 720


def _date_gap() -> pl.Expr:
    """Months between a row's date and the file that it is in."""
    year, month = pl.col("period").str.slice(0, 4).cast(pl.Int64), pl.col("period").str.slice(5, 2).cast(pl.Int64)
    return (pl.col("year").cast(pl.Int64) - year) * 12 + pl.col("month").cast(pl.Int64) - month


def _utc_gap() -> pl.Expr:
    """0 when ``time_hour``, an instant in UTC, is the row's date and hour in New York."""
    local = pl.col("time_hour").dt.convert_time_zone(LOCAL_ZONE).dt
    seen = _stamp(local.year(), local.month(), local.day(), local.hour())
    return seen - _stamp(pl.col("year"), pl.col("month"), pl.col("day"), pl.col("hour"))


def _stamp(year: pl.Expr, month: pl.Expr, day: pl.Expr, hour: pl.Expr) -> pl.Expr:
    """Date and hour as one number, such as 2013070417; wrong dates give numbers too, and never raise."""
    return ((year.cast(pl.Int64) * 100 + month.cast(pl.Int64)) * 100 + day.cast(pl.Int64)) * 100 + hour.cast(pl.Int64)


def _days(period: str) -> int:
    return calendar.monthrange(int(period[:4]), int(period[5:7]))[1]
