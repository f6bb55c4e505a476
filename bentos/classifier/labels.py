"""``POST /labels``: what turned out to be true of predictions that were handed out.

An answer of 200 means that every label of the request is on the disk. Labels that were there count as known, so a
request may be sent again; one that says the opposite of an earlier label is reported and not applied.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from bentos.classifier.predict import content_of
from bentos.classifier.problems import JSON, MAX_DETAILS, Problem, of_validation
from bentos.classifier.wire import Disconnected
from greenlight.core import label_book
from greenlight.core.label_book import MAX_LABELS, PREDICTION_ID, Taken

# Set by Greenlight for the servers that it starts.
FOLDER = "GREENLIGHT_LABELS_FOLDER"
EXAMPLE: dict[str, Any] = {"labels": [{"prediction_id": "1f5d0d76313248f8a41539b94124852b-0", "label": True}]}


class Label(BaseModel):
    """What turned out to be true of one prediction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prediction_id: str = Field(pattern=PREDICTION_ID, description="as it was handed out by POST /predict")
    label: Literal[True, False, 0, 1] = Field(description="what turned out to be true")


class LabelsRequest(BaseModel):
    """Labels, one or many."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    labels: list[Label] = Field(min_length=1, max_length=MAX_LABELS)


async def labels(request: Request) -> Response:
    """Take labels. The book is written by a thread, so that predictions go on meanwhile."""
    predict = request.app.state.predict
    try:
        if request.method != "POST":
            raise Problem(405, f"{request.method} is not possible here; labels are handed in with POST /labels")
        wanted = _checked(await content_of(request.scope, request.receive))
        taken = await asyncio.to_thread(_take, [(one.prediction_id, bool(one.label)) for one in wanted.labels])
    except Problem as problem:
        allow = {"allow": "POST"} if problem.status == 405 else {}
        return Response(problem.body(), problem.status, allow, JSON)
    except Disconnected:
        return Response(b"", 400)  # nobody is there to read it
    predict.counters.labels(taken.accepted, taken.known, len(taken.contradictions))
    return Response(answer(taken), 200, {"x-model-version": predict.scorer.version}, JSON)


def answer(taken: Taken) -> bytes:
    """The JSON answer: how many were new and known, and the first of those that contradict an earlier label."""
    against = [
        {"prediction_id": one.prediction_id, "kept": one.kept, "sent": one.sent}
        for one in taken.contradictions[:MAX_DETAILS]
    ]
    more = len(taken.contradictions) - len(against)
    return orjson.dumps({"accepted": taken.accepted, "known": taken.known, "contradicting": against, "more": more})


def _checked(content: bytes) -> LabelsRequest:
    try:
        return LabelsRequest.model_validate_json(content, strict=True)
    except ValidationError as exc:
        raise of_validation(exc, rows="labels", one="label") from None


def _take(wanted: list[tuple[str, bool]]) -> Taken:
    """Write them down; returns once they are on the disk."""
    with _book() as connection:
        return label_book.take(connection, wanted, time.time_ns() // 1000)


@contextmanager
def _book() -> Iterator[sqlite3.Connection]:
    folder = os.environ.get(FOLDER, "")
    if not folder:
        raise Problem(503, "this server keeps no labels; greenlight up starts servers that do")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        # A connection a request: it costs a fifth of a millisecond, and none is left behind in any thread.
        connection = sqlite3.connect(
            Path(folder) / label_book.FILE, timeout=label_book.BUSY_TIMEOUT_S, isolation_level=None
        )
        try:
            label_book.prepare(connection)
            yield connection
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as exc:
        # Nothing was acknowledged, and nothing of the request was applied: the client may send it again.
        raise Problem(503, f"the labels could not be written: {exc}; none of them was taken, send them again") from exc


_TEXTS = {
    "400": "The body is not JSON",
    "405": "Another method than POST",
    "413": "The body is too large",
    "415": "Not declared as JSON",
    "422": "Values are wrong; each is named",
    "503": "The labels could not be written; none was taken",
}


def described() -> tuple[dict[str, Any], dict[str, Any]]:
    """The path of the OpenAPI document, and the schemas that it needs."""
    schema = LabelsRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = dict(schema.pop("$defs", {})) | {"LabelsRequest": schema}
    against = {"prediction_id": {"type": "string"}, "kept": {"type": "boolean"}, "sent": {"type": "boolean"}}
    taken = {
        "accepted": {"type": "integer", "minimum": 0, "description": "new labels"},
        "known": {"type": "integer", "minimum": 0, "description": "equal to what was there"},
        "contradicting": {
            "type": "array",
            "description": "not applied: the first label counts",
            "items": {"type": "object", "required": list(against), "properties": against},
        },
        "more": {"type": "integer", "minimum": 0, "description": "contradicting ones beyond those listed"},
    }
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses: dict[str, Any] = {
        "200": {
            "description": "Every label is on the disk",
            "content": {
                "application/json": {"schema": {"type": "object", "required": list(taken), "properties": taken}}
            },
        }
    }
    responses |= {status: {"description": text, "content": error} for status, text in _TEXTS.items()}
    operation = {
        "tags": ["labels"],
        "operationId": "labels",
        "summary": "Say what turned out to be true",
        "description": f"At most {MAX_LABELS:,} labels in a request; sending the same again changes nothing.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/LabelsRequest"}, "example": EXAMPLE}
            },
        },
        "responses": responses,
    }
    return {"/labels": {"post": operation}}, schemas
