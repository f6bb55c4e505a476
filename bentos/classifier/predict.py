"""``POST /predict``: bytes in, checked rows, scores, bytes out.

A bare ASGI application: request and response objects would cost as much as the scoring. It must not know what a row
means, nor how it is served.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.types import Receive, Scope, Send

from bentos.classifier.metrics import Counters, counters
from bentos.classifier.problems import JSON, Problem, of_validation
from bentos.classifier.scorer import Scored, Scorer

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
    """

    scorer: Scorer
    body: type[BaseModel]
    _counters: Counters
    _version: bytes

    def load(self, root: Path) -> None:
        """Read the model under `root` and answer once, so that no client pays for imports and caches."""
        scorer = Scorer.load(root)
        request = scorer.dataset.request
        self.scorer, self.body = scorer, body_type(request.Row)
        self._version = scorer.version.encode()
        scorer.score([request.Row.model_validate(request.EXAMPLE)])
        scorer.unseen.clear()
        self._counters = counters(scorer.version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it."""
        begun = time.perf_counter()
        count = 0
        try:
            if scope["method"] != "POST":
                raise Problem(405, f"{scope['method']} is not possible here; predictions are asked with POST /predict")
            rows = self._rows(await _content(scope, receive))
            status, count, content = 200, len(rows), _answer(await self.scorer.submit(rows), self.scorer.version)
        except Problem as problem:
            status, content = problem.status, problem.body()
        except Disconnected:
            return
        self._counters.count(status, time.perf_counter() - begun, count, self.scorer)
        headers = [
            (b"content-type", JSON.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"x-model-version", self._version),
        ]
        if status == 405:
            headers.append((b"allow", b"POST"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

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


def _answer(scored: Scored, version: str) -> bytes:
    # One random name a request and an index a row: as unique as one name a row, and a fraction of the work.
    name = uuid.uuid4().hex
    rows = zip(scored.probability, scored.decision, strict=True)
    predictions = [
        {"prediction_id": f"{name}-{i}", "probability": p, "decision": d, "model_version": version}
        for i, (p, d) in enumerate(rows)
    ]
    return orjson.dumps({"predictions": predictions})


async def _content(scope: Scope, receive: Receive) -> bytes:
    """The body, as long as it is declared as JSON and not too large."""
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
