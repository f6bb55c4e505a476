"""The same model, features and row type as a service written the way BentoML's documentation writes one.

What ``benchmarks/serving.py`` compares with: a class with a typed, synchronous endpoint, served by ``bentoml serve``.
Started with a bento's ``src`` as working directory; ``STOCK_WORKERS`` sets the number of workers.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import bentoml
from pydantic import BaseModel

from greenlight import datasets
from greenlight.core.model import Model

FILES = {path.name: path.read_bytes() for path in Path("data/model").iterdir()}
DATASET = datasets.load("flight_delay")
Row = DATASET.request.Row


class Prediction(BaseModel):
    """One answer."""

    prediction_id: str
    probability: float
    decision: bool
    model_version: str


@bentoml.service(workers=int(os.environ.get("STOCK_WORKERS", "1")))
class Stock:
    """The documented form."""

    def __init__(self) -> None:
        self.model = Model.from_files(FILES, threads=1)

    @bentoml.api
    def predict(self, rows: list[Row]) -> list[Prediction]:  # type: ignore[valid-type]
        """Score rows."""
        scores = self.model.score(DATASET.request.columns(rows), DATASET.features.row_features)
        return [
            Prediction(prediction_id=uuid.uuid4().hex, probability=float(p), decision=bool(d), model_version="stock")
            for p, d in zip(scores.probability, scores.decision, strict=True)
        ]
