"""``POST /predict``: bytes in, checked rows, scores, bytes out.

A bare ASGI application: request and response objects would cost as much as the scoring. It must not know what a row
means, nor how it is served.
"""

from __future__ import annotations

import logging
import math
import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.types import Receive, Scope, Send

from bentos.classifier import prediction_log, wire
from bentos.classifier.cache import Cache, size_wanted
from bentos.classifier.explain import Explainer, wanted
from bentos.classifier.metrics import Counters, counters, kind_of
from bentos.classifier.prediction_log import PredictionLog
from bentos.classifier.problems import JSON, Problem, of_validation, require_method
from bentos.classifier.scorer import Scored, Scorer
from greenlight.core import prediction_record

MAX_ROWS = 10_000
MAX_BODY_BYTES = wire.MAX_BODY_BYTES


@dataclass
class Asked:
    """One request for predictions, in whatever protocol, as far as it has come.

    Attributes
    ----------
    headers : sequence of (bytes, bytes)
        As ASGI hands them over.
    name : str
        32 hexadecimal digits; the prediction of row i is called ``<name>-<i>``.
    body : bytes
        JSON, ``{"rows": [...]}``: the rows as they were sent; empty before they are known.
    rows : list
        The checked rows; empty before they are.
    scored : Scored or None
        In their order; None for a request that was not answered with predictions.
    """

    headers: Any
    # One random name a request and an index a row: as unique as one name a row, and a fraction of the work.
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    body: bytes = b""
    rows: list[BaseModel] = field(default_factory=list)
    scored: Scored | None = None

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
    log : PredictionLog or None
        Keeps what was answered, where that is wanted.
    counters : Counters
        What this process counts.
    """

    scorer: Scorer
    body: type[BaseModel]
    version: str
    log: PredictionLog | None = None
    counters: Counters
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
        self.counters = counters(scorer.version)
        self.counters.build_info(root, scorer.model.manifest)
        kept = prediction_log.settings(scorer.dataset)
        self.log = PredictionLog(kept, scorer.version, self.counters) if kept else None

    def close(self) -> None:
        """Write what is not yet kept."""
        if self.log:
            self.log.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, count it and keep it."""
        begun, asked = time.perf_counter(), Asked(scope["headers"])
        more: wire.Headers = ()
        try:
            require_method(scope["method"], "POST", "predictions are asked with POST /predict")
            scored = await self.score(asked, await content_of(scope, receive))
            why = await self._explainer.explain(asked.rows) if wanted(scope) else None
            status, content = 200, _answer(asked, scored, self.version, why)
        except Problem as problem:
            status, content, more = problem.status, problem.body(), wire.allow(problem)
        except wire.Disconnected:
            return
        except Exception:  # noqa: BLE001 - the client gets an answer; the edge asks another version when it sees the status
            status, content = 500, fault(asked).body()
        await wire.answer(send, status, content, self._version, more)
        self.note(asked, status, time.perf_counter() - begun)

    async def score(self, asked: Asked, content: bytes) -> Scored:
        """Check and score the rows in a body ``{"rows": [...]}``, whatever protocol they came by.

        Raises
        ------
        Problem
            400, 422: the body is not JSON, or a value is wrong. 502: the model gave no probability.
        """
        asked.body = content
        asked.rows = self._rows(content)
        asked.scored = _valid(await self.scorer.submit(asked.rows))
        return asked.scored

    def note(self, asked: Asked, status: int, seconds: float) -> None:
        """Count one answer, and keep it unless the client's request was at fault."""
        scored = asked.scored if status == 200 else None
        probability = scored.probability if scored else None
        kind = kind_of(asked.headers)
        self.counters.count(status, seconds, len(probability or ()), self.scorer, probability, kind)
        if self.log and (status == 200 or status >= 500):
            decision = scored.decision if scored else None
            at = time.time_ns() // 1000
            kept = prediction_record.Answered(
                at, asked.name, asked.headers, asked.body, probability, decision, seconds * 1000, status
            )
            self.log.add(kept)

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


def _valid(scored: Scored) -> Scored:
    """`scored`, unless one of its probabilities is none: JSON would carry a NaN as null, and a client take it for one.

    Raises
    ------
    Problem
        502: the model, not the request, is at fault.
    """
    found = scored.probability
    # A sum is finite if every term is; only then do minimum and maximum mean something.
    if math.isfinite(sum(found)) and min(found) >= 0.0 and max(found) <= 1.0:
        return scored
    wrong = [i for i, p in enumerate(found) if not 0.0 <= p <= 1.0]
    raise Problem(502, f"the model gave no probability for {len(wrong)} of {len(found)} rows, first row {wrong[0]}")


def fault(asked: Asked) -> Problem:
    """The answer to a request that met a fault of the model or of ours; call it while that is being handled."""
    logging.getLogger(__name__).exception("request %s could not be answered", asked.name)
    return Problem(500, f"the model could not score this request ({asked.name})")


def _answer(asked: Asked, scored: Scored, version: str, why: list[dict[str, Any]] | None) -> bytes:
    rows = zip(scored.probability, scored.decision, strict=True)
    predictions: list[dict[str, Any]] = [
        {"prediction_id": f"{asked.name}-{i}", "probability": p, "decision": d, "model_version": version}
        for i, (p, d) in enumerate(rows)
    ]
    for prediction, explanation in zip(predictions, why or (), strict=False):
        prediction["explanation"] = explanation
    return orjson.dumps({"predictions": predictions})


async def content_of(scope: Scope, receive: Receive) -> bytes:
    """The body of a request.

    Raises
    ------
    Problem
        It is not declared as JSON, too large, or packed in a way that is not known.
    Disconnected
        The client went away.
    """
    coding = b""
    for name, value in scope["headers"]:
        if name == wire.CODING:
            coding = value
        elif name == b"content-type" and value != b"application/json":
            kind = value.decode("latin-1")
            if kind.partition(";")[0].strip().lower() != JSON:
                raise Problem(415, f"Content-Type is {kind[:80]!r}, wanted {JSON}")
    return wire.text(await wire.body(receive, coding))
