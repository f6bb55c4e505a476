"""The row that a client sends: one scheduled departure, and the weather at its hour.

Also the shape of the offline rows: ``holdout.parquet`` has these columns, and the golden rows are such rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NaiveDatetime

if TYPE_CHECKING:
    import polars as pl

Columns = dict[str, npt.NDArray[Any]]

STRINGS = ("carrier", "origin", "dest", "tailnum")
NUMBERS = ("flight", "distance")
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
FIELDS = (*STRINGS, "scheduled_departure", "scheduled_arrival", *NUMBERS, *WEATHER)
_values_of = itemgetter(*FIELDS)
_EPOCH = dt.date(1970, 1, 1).toordinal()

Airport = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["EWR", "JFK", "LGA"])]

EXAMPLE: dict[str, Any] = {
    "carrier": "UA",
    "flight": 1545,
    "origin": "EWR",
    "dest": "IAH",
    "tailnum": "N14228",
    "scheduled_departure": "2013-07-04T17:15:00",
    "scheduled_arrival": "20:19:00",
    "distance": 1400,
    "temp": 86.0,
    "dewp": 71.1,
    "humid": 61.2,
    "wind_dir": 210,
    "wind_speed": 12.7,
    "wind_gust": None,
    "precip": 0.0,
    "pressure": 1015.2,
    "visib": 10.0,
}


def _without_zone(value: dt.time) -> dt.time:
    if value.tzinfo is not None:
        raise ValueError("should have no time zone")
    return value


class Row(BaseModel):
    """One scheduled departure. A field left out or null counts as not known; codes never seen before are accepted."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, json_schema_extra={"examples": [EXAMPLE]}
    )

    carrier: str = Field(pattern=r"^[A-Z0-9]{2}$", description="IATA code of the airline", examples=["UA"])
    origin: Airport = Field(description="IATA code of the airport of departure")
    dest: Airport = Field(description="IATA code of the destination")
    scheduled_departure: NaiveDatetime = Field(
        description="local date and time at the origin, without zone", examples=["2013-07-04T17:15:00"]
    )
    scheduled_arrival: Annotated[dt.time, AfterValidator(_without_zone)] = Field(
        description="local time at the destination, without zone", examples=["20:19:00"]
    )
    distance: float = Field(gt=0, le=12_500, description="miles between the airports", examples=[1400])
    flight: int | None = Field(default=None, ge=1, le=9999, description="flight number", examples=[1545])
    tailnum: str | None = Field(
        default=None, pattern=r"^[A-Z0-9]{1,10}$", description="the plane's tail number", examples=["N14228"]
    )
    temp: float | None = Field(default=None, ge=-80, le=140, description="temperature, degrees Fahrenheit")
    dewp: float | None = Field(default=None, ge=-110, le=110, description="dew point, degrees Fahrenheit")
    humid: float | None = Field(default=None, ge=0, le=110, description="relative humidity, per cent")
    wind_dir: float | None = Field(default=None, ge=0, le=360, description="wind direction, degrees")
    wind_speed: float | None = Field(default=None, ge=0, le=250, description="wind speed, miles per hour")
    wind_gust: float | None = Field(default=None, ge=0, le=300, description="gust speed, miles per hour")
    precip: float | None = Field(default=None, ge=0, le=20, description="rain or snow in the hour, inches")
    pressure: float | None = Field(default=None, ge=850, le=1100, description="sea level pressure, millibar")
    visib: float | None = Field(default=None, ge=0, le=100, description="visibility, miles")


def columns(rows: Sequence[Row]) -> Columns:
    """Arrays of the given rows, as `features.row_features` takes them.

    Returns
    -------
    dict of str to (n,) array
        Strings as object (None: not known), numbers as float64 (NaN: not known), ``scheduled_departure`` as
        datetime64[m], ``scheduled_arrival`` as float64 minutes after midnight.
    """
    # Turned once: to ask every row for every field by itself takes longer than the booster, and so does NumPy to find
    # out what a datetime is.
    turned = zip(*[_values_of(r.__dict__) for r in rows], strict=True) if rows else repeat(())
    found = dict(zip(FIELDS, turned, strict=False))
    arrays: Columns = {name: np.array(found[name], dtype=object) for name in STRINGS}
    minutes = [(at.toordinal() - _EPOCH) * 1440 + at.hour * 60 + at.minute for at in found["scheduled_departure"]]
    arrays["scheduled_departure"] = np.array(minutes, dtype=np.int64).view("datetime64[m]")
    arrays["scheduled_arrival"] = np.array(
        [at.hour * 60 + at.minute for at in found["scheduled_arrival"]], dtype=np.float64
    )
    # One array for all numbers: for one row, making arrays is what costs.
    names = (*NUMBERS, *WEATHER)
    numbers = np.array([found[name] for name in names], dtype=np.float64)
    arrays.update(zip(names, numbers, strict=True))
    return arrays


def columns_of(frame: pl.DataFrame) -> Columns:
    """Arrays of a frame with the columns `FIELDS`; the same values as `columns` of the same rows."""
    import polars as pl

    arrays: Columns = {name: np.array(frame[name].to_list(), dtype=object) for name in STRINGS}
    arrays["scheduled_departure"] = frame["scheduled_departure"].to_numpy().astype("datetime64[m]")
    minutes = frame["scheduled_arrival"].cast(pl.Int64) // 60_000_000_000
    arrays["scheduled_arrival"] = minutes.cast(pl.Float64).to_numpy()
    for name in (*NUMBERS, *WEATHER):
        arrays[name] = frame[name].cast(pl.Float64).to_numpy()
    return arrays


def records(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as JSON requests."""
    found = []
    for row in frame.select(FIELDS).to_dicts():
        row["scheduled_departure"] = row["scheduled_departure"].isoformat()
        row["scheduled_arrival"] = row["scheduled_arrival"].isoformat()
        found.append(row)
    return found
