"""``POST /predict``: bytes in, checked rows, scores, bytes out.

A bare ASGI application: request and response objects would cost as much as the scoring. It must not know what a row
means, nor how it is served.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.types import Receive, Scope, Send

from bentos.classifier import prediction_log
from bentos.classifier.metrics import Counters, counters
from bentos.classifier.prediction_log import PredictionLog
from bentos.classifier.problems import JSON, Problem, of_validation
from bentos.classifier.scorer import Scored, Scorer
from greenlight.core.prediction_record import Answered

MAX_ROWS = 10_000
MAX_BODY_BYTES = 8 * 1024 * 1024


class Disconnected(Exception):
    """The client went away before its request was whole."""


class Predict:
    """The endpoint of one model.

    Attributes
    ----------
    scorer : Scorer
        The model.
    body : type
        Type of a request's body.
    log : PredictionLog or None
        Keeps what was answered, where that is wanted.
    counters : Counters
        What this process counts.
    """

    scorer: Scorer
    body: type[BaseModel]
    log: PredictionLog | None = None
    counters: Counters
    _version: bytes

    def load(self, root: Path) -> None:
        """Read the model under `root` and answer once, so that no client pays for imports and caches."""
        scorer = Scorer.load(root)
        request = scorer.dataset.request
        self.scorer, self.body = scorer, body_type(request.Row)
        self._version = scorer.version.encode()
        scorer.score([request.Row.model_validate(request.EXAMPLE)])
        scorer.unseen.clear()
        self.counters = counters(scorer.version)
        self.counters.build_info(root, scorer.model.manifest)
        wanted = prediction_log.settings(scorer.dataset)
        self.log = PredictionLog(wanted, scorer.version, self.counters) if wanted else None

    def close(self) -> None:
        """Write what is not yet kept."""
        if self.log:
            self.log.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, count it and keep it."""
        begun = time.perf_counter()
        name = uuid.uuid4().hex
        body, scored = b"", None
        try:
            if scope["method"] != "POST":
                raise Problem(405, f"{scope['method']} is not possible here; predictions are asked with POST /predict")
            body = await content_of(scope, receive)
            scored = _valid(await self.scorer.submit(self._rows(body)))
            status, content = 200, _answer(name, scored, self.scorer.version)
        except Problem as problem:
            status, content = problem.status, problem.body()
        except Disconnected:
            return
        except Exception:
            # A fault of the model or of ours: the edge asks another version when it sees the status.
            logging.getLogger(__name__).exception("request %s could not be answered", name)
            status, content = 500, Problem(500, f"the model could not score this request ({name})").body()
        headers = [
            (b"content-type", JSON.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"x-model-version", self._version),
        ]
        if status == 405:
            headers.append((b"allow", b"POST"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        self.note(scope["headers"], name, body, scored, status, time.perf_counter() - begun)

    def note(self, headers: Any, name: str, body: bytes, scored: Scored | None, status: int, seconds: float) -> None:
        """Count one answer, and keep it unless the client's request was at fault.

        Parameters
        ----------
        headers : sequence of (bytes, bytes)
            The request's, as ASGI hands them over.
        name : str
            What the prediction ids begin with: 32 hexadecimal digits.
        body : bytes
            JSON, ``{"rows": [...]}``: the rows as they were sent.
        scored : Scored or None
            None for a request that failed.
        """
        probability = scored.probability if scored else None
        self.counters.count(status, seconds, probability, self.scorer)
        if self.log and (status == 200 or status >= 500):
            decision = scored.decision if scored else None
            at = time.time_ns() // 1000
            self.log.add(Answered(at, name, headers, body, probability, decision, seconds * 1000, status))

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


def _answer(name: str, scored: Scored, version: str) -> bytes:
    # One random name a request and an index a row: as unique as one name a row, and a fraction of the work.
    rows = zip(scored.probability, scored.decision, strict=True)
    predictions = [
        {"prediction_id": f"{name}-{i}", "probability": p, "decision": d, "model_version": version}
        for i, (p, d) in enumerate(rows)
    ]
    return orjson.dumps({"predictions": predictions})


async def content_of(scope: Scope, receive: Receive) -> bytes:
    """The body of a request.

    Raises
    ------
    Problem
        It is not declared as JSON, or too large.
    Disconnected
        The client went away.
    """
    for name, value in scope["headers"]:
        if name == b"content-type" and value != b"application/json":
            kind = value.decode("latin-1")
            if kind.partition(";")[0].strip().lower() != JSON:
                raise Problem(415, f"Content-Type is {kind[:80]!r}, wanted {JSON}")
    message: Any = await receive()
    parts = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body") and size <= MAX_BODY_BYTES:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if message["type"] == "http.disconnect":
        raise Disconnected
    if size > MAX_BODY_BYTES:
        raise Problem(413, f"the body has more than {MAX_BODY_BYTES:,} bytes; send fewer rows at once")
    return parts[0] if len(parts) == 1 else b"".join(parts)
