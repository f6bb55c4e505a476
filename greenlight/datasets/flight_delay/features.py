"""The features of a departure: one NumPy function, for whole columns offline and for one row in the server.

Only what is known when the flight is scheduled is used, plus the weather at its hour; what becomes known after
departure (actual times, delays, air time) never enters. What needs history comes from lookups that travel with the
model. Imports NumPy only, since servers load it; `history` holds the offline half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from greenlight.core.lookup import Float32, Lookup, Vocabulary
from greenlight.core.model import Feature

Columns = Mapping[str, npt.NDArray[Any]]

RATES: dict[str, tuple[str, ...]] = {
    "flight": ("carrier", "flight"),
}
"""Lateness in the past, by what: lookup name to the columns that make its key (`key`)."""

_CATEGORIES = ("carrier", "origin", "dest")
_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
_PLANE = {"plane_year": "year", "plane_seats": "seats"}
_DAY = 1440

FEATURES: tuple[Feature, ...] = (
    *(Feature(name, "c") for name in _CATEGORIES),
    *(Feature(name, "q") for name in ("departure_minute", "arrival_minute", "weekday", "block_minutes", "distance")),
    *(Feature(name, "q") for name in _WEATHER),
    *(Feature(name, "q") for name in _PLANE),
    *(Feature(f"{name}_lateness", "q") for name in RATES),
)
"""The columns of the model's matrix, in order: ``q`` a number, ``c`` a category's code."""


def row_features(
    columns: Columns, lookups: Mapping[str, Lookup], vocabulary: Vocabulary
) -> tuple[Float32, dict[str, int]]:
    """The model's matrix for n rows; a row's features do not depend on the rows beside it.

    Parameters
    ----------
    columns : mapping of str to (n,) array
        As `request.columns` or `request.columns_of` gives them.
    lookups : mapping of str to Lookup
        ``planes`` and one per entry of `RATES`, as `history.lookups` gives them.
    vocabulary : Vocabulary
        Categories known to the model.

    Returns
    -------
    (n, len(FEATURES)) float32, dict of str to int
        The matrix, NaN where a value is not known; and how many rows held an unknown category, per feature.
    """
    n = len(columns["carrier"])
    matrix = np.empty((n, len(FEATURES)), dtype=np.float32)
    unseen: dict[str, int] = {}
    put = iter(matrix.T)
    for name in _CATEGORIES:
        next(put)[:], count = vocabulary.encode(name, columns[name].tolist())
        unseen[name] = count
    departure = columns["scheduled_departure"].astype(np.int64)  # minutes since 1970, local
    arrival = columns["scheduled_arrival"]
    day, minute = np.divmod(departure, _DAY)
    next(put)[:] = minute
    next(put)[:] = arrival
    next(put)[:] = (day + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    next(put)[:] = (arrival - minute) % _DAY  # with the zones' difference in it, which is fixed per destination
    for name in ("distance", *_WEATHER):
        next(put)[:] = columns[name]
    where = lookups["planes"].positions(columns["tailnum"].tolist())
    for value in _PLANE.values():
        next(put)[:] = lookups["planes"].take(value, where)
    for name, parts in RATES.items():
        table = lookups[name]
        lateness = table.take("lateness", table.positions(keys(columns, parts)))
        lateness[np.isnan(lateness)] = 0.0
        next(put)[:] = lateness  # no history: as late as all flights together
    return matrix, unseen


def keys(columns: Columns, parts: tuple[str, ...]) -> list[str | None]:
    """The lookup key of each row: the values of `parts` joined by ``|``; None if one is missing."""
    values = [_texts(columns[part]) for part in parts]
    return [None if None in row else "|".join(row) for row in zip(*values, strict=True)]  # type: ignore[arg-type]


def _texts(values: npt.NDArray[Any]) -> list[str | None]:
    if values.dtype == object:
        return values.tolist()  # type: ignore[no-any-return]
    numbers = values.tolist()
    texts = {v: f"{v:.0f}" for v in set(numbers) if v == v}  # each different number is written once
    return [texts.get(v) for v in numbers]
