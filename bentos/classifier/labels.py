"""``POST /labels``: what turned out to be true of predictions that were handed out.

An answer of 200 means that every label of the request is on the disk. Labels that were there count as known, so a
request may be sent again; one that says the opposite of an earlier label is reported and not applied.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Receive, Scope, Send

from bentos.classifier import wire
from bentos.classifier.label_writer import LabelWriter
from bentos.classifier.predict import Predict, content_of
from bentos.classifier.problems import MAX_DETAILS, Problem, of_validation, require_method
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


class Labels:
    """The endpoint.

    Parameters
    ----------
    predict : Predict
        Whose counters are used, and whose version answers.
    """

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._writer: LabelWriter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take labels. The book is written by a thread, so that predictions go on meanwhile."""
        more: wire.Headers = ()
        try:
            require_method(scope["method"], "POST", "labels are handed in with POST /labels")
            wanted = _checked(await content_of(scope, receive))
            taken = await self._kept().take([(one.prediction_id, bool(one.label)) for one in wanted.labels])
            status, content = 200, answer(taken)
            self._predict.counters.labels(taken.accepted, taken.known, len(taken.contradictions))
        except Problem as problem:
            status, content, more = problem.status, problem.body(), wire.allow(problem)
            if status == 503:
                more = [*more, (b"retry-after", b"1")]
        except wire.Disconnected:
            return
        await wire.answer(send, status, content, self._predict.version.encode(), more)

    def close(self) -> None:
        """Let go of the book; what was handed in by then is written first."""
        if self._writer:
            self._writer.close()

    def _kept(self) -> LabelWriter:
        if self._writer is None:
            folder = os.environ.get(FOLDER, "")
            if not folder:
                raise Problem(503, "this server keeps no labels; greenlight up starts servers that do")
            self._writer = LabelWriter(Path(folder))
        return self._writer


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


_TEXTS = {
    "400": "The body is not JSON",
    "405": "Another method than POST",
    "413": "The body is too large",
    "415": "Not declared as JSON, or packed in an unknown way",
    "422": "Values are wrong; each is named",
    "503": "The labels could not be written, or too many wait to be; none was taken",
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
