"""TensorFlow Serving's REST paths: ``/v1/models/{model}[/versions/{n}|/labels/{l}][:predict]``.

Paths, bodies and errors as its reference has them (https://www.tensorflow.org/tfx/serving/api_rest): ``instances`` is a
list of rows, ``inputs`` a list of values per column; the answer is ``predictions`` or ``outputs`` accordingly.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from starlette.types import Receive, Scope

from bentos.classifier import wire
from bentos.classifier.predict import Asked
from bentos.classifier.problems import Problem, require_method
from bentos.classifier.protocol import Protocol, Reply, json_object, rows_of
from bentos.classifier.scorer import Scored

PREFIX = "/v1/models/"
_PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?(?P<verb>:predict)?"
)
_KNOWN = {"instances", "inputs", "signature_name"}
SIGNATURE = "serving_default"


class TensorFlowServing(Protocol):
    """Answers TensorFlow Serving's clients."""

    async def reply(self, asked: Asked, scope: Scope, receive: Receive) -> Reply:
        """The state of the model, or predictions."""
        found = _PATH.fullmatch(scope["path"])
        if not found:
            raise Problem(404, f"no such path; ask {PREFIX}{self.model}:predict, or {PREFIX}{self.model} for its state")
        require_method(scope["method"], "POST" if found["verb"] else "GET")
        self.require(found["model"], found["version"])
        if found["label"]:
            self._require_label(scope, found["label"])
        if not found["verb"]:
            return Reply(orjson.dumps(self._status()))
        body = json_object(await wire.body_of(scope, receive))
        rows, columnar = _rows(body)
        scored = await self.score(asked, rows)
        return Reply(orjson.dumps(_answer(scored, asked.names(), columnar)))

    def _require_label(self, scope: Scope, label: str) -> None:
        """The edge has sent this to the version that the label stands for, and says so; nobody else knows."""
        if wire.header(scope, b"x-model-pin") != label.encode():
            raise Problem(
                404,
                f"this server holds {self.predict.version} and knows no label {label[:80]!r}; ask the edge, "
                f"with the header x-model-pin: {label[:80]}",
            )

    def _status(self) -> dict[str, Any]:
        state = {"version": self.number, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return {"model_version_status": [state]}


def _rows(body: dict[str, Any]) -> tuple[Any, bool]:
    """What stands for the rows, and whether it came by column."""
    unknown = next((key for key in body if key not in _KNOWN), None)
    if unknown is not None:
        raise Problem(422, f"{unknown[:80]!r} is not a known key; {', '.join(sorted(_KNOWN))} are")
    if body.get("signature_name", SIGNATURE) not in (SIGNATURE, ""):
        raise Problem(404, f"there is no such signature; {SIGNATURE!r} is the only one")
    if ("instances" in body) == ("inputs" in body):
        raise Problem(422, "one of `instances` (a list of rows) and `inputs` (a list of values per column) is required")
    if "instances" in body:
        return body["instances"], False
    columns = body["inputs"]
    if not isinstance(columns, dict) or not all(isinstance(values, list) for values in columns.values()):
        raise Problem(422, "`inputs` must be an object with a list of values per column")
    return rows_of(columns), True


def _answer(scored: Scored, names: list[str], columnar: bool) -> dict[str, Any]:
    if columnar:
        columns = {"probability": scored.probability, "decision": scored.decision, "prediction_id": names}
        return {"outputs": columns}
    rows = zip(scored.probability, scored.decision, names, strict=True)
    return {"predictions": [{"probability": p, "decision": d, "prediction_id": n} for p, d, n in rows]}
