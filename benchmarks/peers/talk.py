"""How each kind of server is asked, and where its answer has the probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Talk:
    """One way to ask.

    Attributes
    ----------
    path : str
        What is posted to.
    body : callable
        From rows to the JSON value that asks for them.
    probabilities : callable
        From the JSON value of an answer to its probabilities, in order.
    """

    path: str
    body: Callable[[Rows], Any]
    probabilities: Callable[[Any], list[float]]

    def ask(self, rows: Rows) -> bytes:
        """The body that asks for `rows`."""
        return json.dumps(self.body(rows)).encode()

    def read(self, answer: bytes) -> list[float]:
        """The probabilities in an answer."""
        return self.probabilities(json.loads(answer))


def _field(predictions: list[dict[str, Any]]) -> list[float]:
    return [prediction["probability"] for prediction in predictions]


OURS = Talk("/predict", lambda rows: {"rows": rows}, lambda answer: _field(answer["predictions"]))
STOCK = Talk("/predict", lambda rows: {"rows": rows}, _field)
MLFLOW = Talk("/invocations", lambda rows: {"dataframe_records": rows}, lambda answer: list(answer["predictions"]))
MLSERVER = Talk(
    "/v2/models/flights/infer",
    lambda rows: {
        "inputs": [
            {"name": "rows", "shape": [len(rows)], "datatype": "BYTES", "data": [json.dumps(row) for row in rows]}
        ]
    },
    lambda answer: list(answer["outputs"][0]["data"]),
)
