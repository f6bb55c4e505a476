"""The ceiling: no framework at all, the same checked rows, features and predict call as in the bento.

It neither counts nor keeps what it answers, knows no error but a broken request, and scores each request by itself.
"""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from benchmarks.peers.scoring import Flights
from bentos.classifier.predict import body_type

FLIGHTS = Flights()
BODY = body_type(FLIGHTS.row)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    content = answer(b"".join(parts)) if scope["path"] == "/predict" else b"true"
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def answer(body: bytes) -> bytes:
    """The answer to a body ``{"rows": [...]}``."""
    rows = BODY.model_validate_json(body, strict=True).rows  # type: ignore[attr-defined]
    scores = FLIGHTS.model.score_matrix(FLIGHTS.matrix(rows))
    name = uuid.uuid4().hex
    found = zip(scores.probability.tolist(), scores.decision.tolist(), strict=True)
    return orjson.dumps(
        {
            "predictions": [
                {"prediction_id": f"{name}-{i}", "probability": p, "decision": d, "model_version": "raw"}
                for i, (p, d) in enumerate(found)
            ]
        }
    )
