"""What every peer does with checked rows: the flights' own features, and one call of the booster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenlight import datasets
from greenlight.core.booster import Float32, xgboost
from greenlight.core.model import Model

MODEL = Path("data/model")


class Flights:
    """The model of a folder, asked through XGBoost's public call.

    Parameters
    ----------
    files : mapping of str to bytes, optional
        The model folder's content; left out, it is read from `MODEL` in the working directory.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.model = Model.from_files(files or {p.name: p.read_bytes() for p in MODEL.iterdir()}, threads=1)
        self.dataset = datasets.load(self.model.manifest.dataset)
        self.row: Any = self.dataset.request.Row
        self.booster = xgboost().Booster()
        self.booster.load_model(bytearray(self.model.booster_bytes))
        self.booster.set_param({"nthread": 1, "device": "cpu"})

    def matrix(self, rows: Sequence[Any]) -> Float32:
        """The features of checked rows: (n, k) float32."""
        columns = self.dataset.request.columns(rows)
        matrix: Float32
        matrix, _ = self.dataset.features.row_features(columns, self.model.lookups, self.model.manifest.vocabulary)
        return matrix

    def score(self, rows: Sequence[Any]) -> list[float]:
        """Probabilities of checked rows by ``Booster.inplace_predict``."""
        found: list[float] = self.booster.inplace_predict(self.matrix(rows), validate_features=False).tolist()
        return found

    def decide(self, probability: float) -> bool:
        """Whether a probability is at or above the model's threshold."""
        return probability >= self.model.manifest.threshold
