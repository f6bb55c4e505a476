"""A service written the way BentoML's documentation writes one: typed, synchronous, served by ``bentoml serve``.

``STOCK_WORKERS`` sets the number of workers.
"""

from __future__ import annotations

import os
import uuid

import bentoml
from pydantic import BaseModel

from benchmarks.peers.scoring import Flights

FLIGHTS = Flights()
Row = FLIGHTS.row


class Prediction(BaseModel):
    """One answer."""

    prediction_id: str
    probability: float
    decision: bool
    model_version: str


@bentoml.service(workers=int(os.environ.get("STOCK_WORKERS", "1")))
class Stock:
    """The documented form."""

    @bentoml.api
    def predict(self, rows: list[Row]) -> list[Prediction]:  # type: ignore[valid-type]
        """Score rows."""
        return [
            Prediction(prediction_id=uuid.uuid4().hex, probability=p, decision=FLIGHTS.decide(p), model_version="stock")
            for p in FLIGHTS.score(rows)
        ]
