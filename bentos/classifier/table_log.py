"""The answers to tables in the prediction log, written by the process that scored them, after the answer was sent.

Of a row its id, score and decision are kept, so that a label finds version and score; the row itself is in the file of
whoever asked. A table that is larger than wanted is not kept at all: a part of it would be a biased sample.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from bentos.classifier.prediction_log import LogFile, settings
from greenlight.core import prediction_record
from greenlight.core.model import Scores
from greenlight.core.prediction_record import Answered
from greenlight.datasets import Dataset

MAX_ROWS = "GREENLIGHT_PREDICTION_TABLE_ROWS"
LINE_ROWS = 10_000  # as the largest request of rows


class TableLog:
    """Keeps the answers of one process.

    Parameters
    ----------
    dataset : Dataset
    version : str
        Version that answers.
    """

    def __init__(self, dataset: Dataset, version: str) -> None:
        kept, self._most = settings(dataset), int(os.environ.get(MAX_ROWS, "0"))
        self._privacy = kept.privacy if kept else None
        self._file = LogFile(kept, version) if kept and self._most else None

    def keep(self, asked: Mapping[str, Any], scored: Iterable[Scores], rows: int, seconds: float) -> dict[str, int]:
        """Write the answers to one table; returns how many rows are ``kept`` and ``lost``, none of either as a rule.

        Parameters
        ----------
        asked : mapping
            ``name`` of the predictions, and ``headers``: pairs of text that came with the request.
        """
        if not self._file or not self._privacy or rows > self._most:
            return {"kept": 0, "lost": 0}
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in asked["headers"]]
        kept = first = 0
        for scores in scored:
            for begin in range(0, len(scores.probability), LINE_ROWS):
                # Arrays as they are: as float32 a score is written in half as many digits.
                probability: Any = scores.probability[begin : begin + LINE_ROWS]
                decision: Any = scores.decision[begin : begin + LINE_ROWS]
                at = time.time_ns() // 1000
                line = Answered(
                    at, asked["name"], headers, b"", probability, decision, seconds * 1000, 200, first, bulk=True
                )
                kept += len(probability) * self._file.append(prediction_record.encode(line, self._privacy))
                first += len(probability)
        return {"kept": kept, "lost": rows - kept}
