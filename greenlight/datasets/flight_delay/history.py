"""Offline half of the features: raw tables to labelled rows, and rows to the tables that travel with the model.

Uses Polars, never runs in a server. History is as of a period: what `lookups` gets are rows of earlier periods only, so
no row ever meets its own outcome. Cancelled and diverted flights have no arrival delay, hence no label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from greenlight.core.lookup import Lookup, Vocabulary
from greenlight.datasets.flight_delay.features import FEATURES, RATES
from greenlight.datasets.flight_delay.request import FIELDS, WEATHER

LATE_MINUTES = 15
"""A flight that arrives more than this many minutes after its schedule is late."""

SMOOTHING = 50.0
"""Flights of the overall rate that every key starts from, so that a rare key does not look extreme.

Source: own comparison, holdouts July to December 2013, windows of 5 months, up to 4 seeds (standard deviation over
seeds about 0.0014 in ROC AUC). Late rates per carrier, route, plane, hour of the day, or carrier and destination did
not raise the mean ROC AUC (0.000 to 0.006 lower). The rate per flight number changes it by less than 0.001 (July 0.733
against 0.728, December 0.651 against 0.658) and is kept as the one feature that needs history.
"""


def is_late() -> pl.Expr:
    """The label, of raw flights: what is trained on and what the contract measures; null where nothing is known."""
    return pl.col("arr_delay") > LATE_MINUTES


def assemble(tables: Mapping[str, pl.DataFrame], period: str) -> pl.DataFrame:
    """Labelled rows of one period in the shape of a request.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``flights`` and ``weather`` of the period, as `source.fetch` gives them.
    period : str
        ``YYYY-MM``.

    Returns
    -------
    DataFrame
        The columns of a request (`request.FIELDS`), ``label`` (int8, 1 = late), ``day`` (date), ``period``; rows
        without a label left out, the others in the order of the flights.
    """
    return _rows(tables, period).filter(pl.col("label").is_not_null())


def asked(tables: Mapping[str, pl.DataFrame], period: str) -> pl.DataFrame:
    """What clients would have asked in one period: every row, in the order of its scheduled departure.

    Flights that were cancelled or diverted later are among them: nobody knew it when the question was due.

    Parameters
    ----------
    tables, period
        As for `assemble`.

    Returns
    -------
    DataFrame
        The columns of `assemble`; ``label`` is null where none became known.
    """
    return _rows(tables, period).sort("scheduled_departure", maintain_order=True)


def lookups(history: Sequence[pl.DataFrame], registers: Mapping[str, pl.DataFrame]) -> dict[str, Lookup]:
    """The tables that `features.row_features` needs, as of the end of `history`.

    Parameters
    ----------
    history : sequence of DataFrame
        Rows of earlier periods, from `assemble`; empty where there are none (every rate is then not known).
    registers : mapping of str to DataFrame
        ``planes``, from `source.fetch_registers`.
    """
    tables = {"planes": _planes(registers["planes"])}
    for name, parts in RATES.items():
        tables[name] = _lateness(history, parts)
    return tables


def vocabulary(rows: Sequence[pl.DataFrame]) -> Vocabulary:
    """The categories in the rows trained on."""
    names = [f.name for f in FEATURES if f.kind == "c"]
    return Vocabulary.of({name: pl.concat([r[name] for r in rows]).unique().to_list() for name in names})


def _rows(tables: Mapping[str, pl.DataFrame], period: str) -> pl.DataFrame:
    """Every flight in the shape of a request with its weather, in the order of the flights."""
    arrival = pl.col("sched_arr_time")
    minute = (arrival // 100) * 60 + arrival % 100
    weather = _in_utc(tables["weather"]).select("origin", "time_hour", *WEATHER).unique(["origin", "time_hour"])
    return (
        _in_utc(tables["flights"])
        .join(weather, on=["origin", "time_hour"], how="left", maintain_order="left")
        .select(
            "carrier",
            "origin",
            "dest",
            "tailnum",
            scheduled_departure=pl.datetime("year", "month", "day", "hour", "minute"),
            scheduled_arrival=((minute % 1440) * 60_000_000_000).cast(pl.Time),
            flight=pl.col("flight").cast(pl.Int64),
            distance=pl.col("distance").cast(pl.Float64),
            **{name: pl.col(name).cast(pl.Float64) for name in WEATHER},
            label=is_late().cast(pl.Int8),
            day=pl.date("year", "month", "day"),
            period=pl.lit(period),
        )
        .select(*FIELDS, "label", "day", "period")
    )


def _in_utc(table: pl.DataFrame) -> pl.DataFrame:
    """`table` with ``time_hour`` as an instant; a file handed in may hold it as text, or without its zone."""
    kind = table.schema["time_hour"]
    hour = pl.col("time_hour")
    if kind == pl.String:
        hour = hour.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    elif isinstance(kind, pl.Datetime) and kind.time_zone is None:
        hour = hour.dt.replace_time_zone("UTC")
    return table.with_columns(hour.dt.convert_time_zone("UTC").dt.cast_time_unit("us"))


def _planes(planes: pl.DataFrame) -> Lookup:
    known = planes.unique("tailnum", keep="first").sort("tailnum")
    values = {name: known[name].cast(pl.Float32).fill_null(float("nan")).to_numpy() for name in ("year", "seats")}
    return Lookup(tuple(known["tailnum"].to_list()), values)


def _lateness(history: Sequence[pl.DataFrame], parts: tuple[str, ...]) -> Lookup:
    """Late rate per key, smoothed, less the overall rate: months differ in level (13 % to 31 % late), keys less so."""
    if not history:
        return Lookup((), {"lateness": np.empty(0, np.float32)})
    past = pl.concat([rows.select(*parts, "label") for rows in history])
    level = float(past["label"].mean())  # type: ignore[arg-type]
    rate = (pl.col("late") + SMOOTHING * level) / (pl.col("flights") + SMOOTHING)
    table = (
        past.drop_nulls()
        .group_by(pl.concat_str([pl.col(part) for part in parts], separator="|").alias("key"))
        .agg(late=pl.col("label").cast(pl.Int64).sum(), flights=pl.len().cast(pl.Int64))
        .sort("key")
        .with_columns(lateness=(rate - level).cast(pl.Float32))
    )
    return Lookup(tuple(table["key"].to_list()), {"lateness": table["lateness"].to_numpy()})
