"""``POST /predict``: bytes in, checked rows, scores, bytes out.

A bare ASGI application: request and response objects would cost as much as the scoring. It must not know what a row
means, nor how it is served.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.types import Receive, Scope, Send

from bentos.classifier import wire
from bentos.classifier.cache import Cache, size_wanted
from bentos.classifier.explain import Explainer, wanted
from bentos.classifier.metrics import Counters, counters
from bentos.classifier.problems import JSON, Problem, of_validation, require_method
from bentos.classifier.scorer import Scored, Scorer

MAX_ROWS = 10_000
MAX_BODY_BYTES = wire.MAX_BODY_BYTES


@dataclass(frozen=True)
class Answered:
    """Rows of one request, and what they got.

    Attributes
    ----------
    name : str
        32 hexadecimal digits; the prediction of row i is called ``<name>-<i>``.
    rows : list
        The checked rows.
    scored : Scored
        In their order.
    """

    name: str
    rows: list[BaseModel]
    scored: Scored

    def names(self) -> list[str]:
        """The prediction ids."""
        return [f"{self.name}-{i}" for i in range(len(self.rows))]


class Predict:
    """The endpoint of one model.

    Attributes
    ----------
    scorer : Scorer
        The model.
    body : type
        Type of a request's body.
    version : str
        Version that answers.
    """

    scorer: Scorer
    body: type[BaseModel]
    version: str
    _counters: Counters
    _explainer: Explainer
    _version: bytes

    def load(self, root: Path) -> None:
        """Read the model under `root` and answer once, so that no client pays for imports and caches."""
        scorer = Scorer.load(root)
        request = scorer.dataset.request
        self.scorer, self.body = scorer, body_type(request.Row)
        self.version, self._version = scorer.version, scorer.version.encode()
        self._explainer = Explainer(scorer)
        scorer.score([request.Row.model_validate(request.EXAMPLE)])
        scorer.unseen.clear()
        size = size_wanted(os.environ)
        scorer.cache = Cache(size) if size else None
        self._counters = counters(scorer.version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it."""
        begun, count = time.perf_counter(), 0
        headers: wire.Headers = ()
        try:
            require_method(scope["method"], "POST", "predictions are asked with POST /predict")
            answered = await self.scored(scope, await _content(scope, receive))
            why = await self._explainer.explain(answered.rows) if wanted(scope) else None
            status, count, content = 200, len(answered.rows), _answer(answered, self.version, why)
        except Problem as problem:
            status, content, headers = problem.status, problem.body(), wire.allow(problem)
        except wire.Disconnected:
            return
        self.count(status, time.perf_counter() - begun, count)
        await wire.answer(send, status, content, self._version, headers)

    async def scored(self, scope: Scope, content: bytes) -> Answered:
        """Check and score the rows in a body ``{"rows": [...]}``, whatever protocol they came by.

        Raises
        ------
        Problem
            400, 422: the body is not JSON, or a value is wrong.
        """
        rows = self._rows(content)
        # One random name a request and an index a row: as unique as one name a row, and a fraction of the work.
        return Answered(uuid.uuid4().hex, rows, await self.scorer.submit(rows))

    def count(self, status: int, seconds: float, rows: int) -> None:
        """Note one answer in the metrics."""
        self._counters.count(status, seconds, rows, self.scorer)

    def _rows(self, content: bytes) -> list[BaseModel]:
        """The checked rows. Strict: a number in quotes, a 1 for a true, a 2.5 for a whole number are refused."""
        try:
            rows: list[BaseModel] = self.body.model_validate_json(content, strict=True).rows  # type: ignore[attr-defined]
        except ValidationError as exc:
            raise of_validation(exc) from None
        return rows


def body_type(row: type[BaseModel]) -> type[BaseModel]:
    """The type of a request's body for rows of type `row`."""
    return create_model(
        "PredictRequest",
        __config__=ConfigDict(extra="forbid", allow_inf_nan=False),
        __doc__="Rows to score, one or many.",
        rows=(list[row], Field(min_length=1, max_length=MAX_ROWS)),  # type: ignore[valid-type]
    )


def _answer(answered: Answered, version: str, why: list[dict[str, Any]] | None) -> bytes:
    scored = answered.scored
    rows = zip(scored.probability, scored.decision, strict=True)
    predictions = [
        {"prediction_id": f"{answered.name}-{i}", "probability": p, "decision": d, "model_version": version}
        for i, (p, d) in enumerate(rows)
    ]
    for prediction, explanation in zip(predictions, why or (), strict=False):
        prediction["explanation"] = explanation
    return orjson.dumps({"predictions": predictions})


async def _content(scope: Scope, receive: Receive) -> bytes:
    """The body, as long as it is declared as JSON and not too large."""
    for name, value in scope["headers"]:
        if name == b"content-type" and value != b"application/json":
            kind = value.decode("latin-1")
            if kind.partition(";")[0].strip().lower() != JSON:
                raise Problem(415, f"Content-Type is {kind[:80]!r}, wanted {JSON}")
    return await wire.body(receive)
