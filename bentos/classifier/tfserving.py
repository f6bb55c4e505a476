"""TensorFlow Serving's REST paths: ``/v1/models/{model}[/versions/{n}|/labels/{l}]``, and behind it ``/metadata``,
``:predict``, ``:classify`` or ``:regress``.

Paths, bodies and errors as its reference has them (https://www.tensorflow.org/tfx/serving/api_rest): ``instances`` is a
list of rows, ``inputs`` a list of values per column; the answer is ``predictions`` or ``outputs`` accordingly. A
classification is the probability of each of the two decisions, a regression that of ``true``; neither has a place for
the predictions' ids: that of example i is ``<x-prediction-name>-<i>``.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from starlette.types import Receive, Scope

from bentos.classifier import wire
from bentos.classifier.columns import columns_of
from bentos.classifier.predict import MAX_ROWS, Asked
from bentos.classifier.problems import Problem, require_method
from bentos.classifier.protocol import Protocol, Reply, json_object, rows_of
from bentos.classifier.scorer import Scored
from bentos.classifier.tensors import DATATYPES, OUTPUTS

PREFIX = "/v1/models/"
_PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?(?P<verb>:predict|:classify|:regress|/metadata)?"
)
_KNOWN = {"instances", "inputs", "signature_name"}
_KNOWN_EXAMPLES = {"examples", "context", "signature_name"}
# The names of TensorFlow's types for what a tensor declares; times travel as text.
_DTYPES = {"BYTES": "DT_STRING", "INT64": "DT_INT64", "FP64": "DT_DOUBLE", "FP32": "DT_FLOAT", "BOOL": "DT_BOOL"}
SIGNATURE = "serving_default"
NAME = b"x-prediction-name"


class TensorFlowServing(Protocol):
    """Answers TensorFlow Serving's clients."""

    async def reply(self, asked: Asked, scope: Scope, receive: Receive) -> Reply:
        """The state of the model, its inputs and outputs, or predictions."""
        found = _PATH.fullmatch(scope["path"])
        if not found:
            raise Problem(
                404,
                f"no such path; ask {PREFIX}{self.model}:predict, :classify or :regress, "
                f"or {PREFIX}{self.model} for its state",
            )
        verb = found["verb"] or ""
        require_method(scope["method"], "POST" if verb.startswith(":") else "GET")
        self.require(found["model"], found["version"])
        if found["label"]:
            self._require_label(scope, found["label"])
        if not verb.startswith(":"):
            return Reply(orjson.dumps(self._metadata() if verb else self._status()))
        body = json_object(await wire.body_of(scope, receive))
        if verb != ":predict":
            scored = await self.score(asked, _examples(body))
            return Reply(orjson.dumps(_result(scored, verb)), [(NAME, asked.name.encode())])
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

    def _metadata(self) -> dict[str, Any]:
        columns = columns_of(self.predict.scorer.dataset.request.Row)
        inputs = {c.name: _tensor(c.name, DATATYPES[c.kind]) for c in columns}
        predicts = _signature("predict", inputs, {name: _tensor(name, kind) for name, kind in OUTPUTS.items()})
        return {
            "model_spec": {"name": self.model, "signature_name": "", "version": self.number},
            "metadata": {"signature_def": {"signature_def": {SIGNATURE: predicts}}},
        }

    def _status(self) -> dict[str, Any]:
        state = {"version": self.number, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return {"model_version_status": [state]}


def _rows(body: dict[str, Any]) -> tuple[Any, bool]:
    """What stands for the rows, and whether it came by column."""
    _require_known(body, _KNOWN)
    if ("instances" in body) == ("inputs" in body):
        raise Problem(422, "one of `instances` (a list of rows) and `inputs` (a list of values per column) is required")
    if "instances" in body:
        return body["instances"], False
    columns = body["inputs"]
    if not isinstance(columns, dict) or not all(isinstance(values, list) for values in columns.values()):
        raise Problem(422, "`inputs` must be an object with a list of values per column")
    return rows_of(columns), True


def _require_known(body: dict[str, Any], known: set[str]) -> None:
    unknown = next((key for key in body if key not in known), None)
    if unknown is not None:
        raise Problem(422, f"{unknown[:80]!r} is not a known key; {', '.join(sorted(known))} are")
    if body.get("signature_name", SIGNATURE) not in (SIGNATURE, ""):
        raise Problem(404, f"there is no such signature; {SIGNATURE!r} is the only one")


def _examples(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a classification or regression: features are values, or lists of one, as examples have them."""
    _require_known(body, _KNOWN_EXAMPLES)
    examples, context = body.get("examples"), body.get("context", {})
    if not isinstance(examples, list) or not all(isinstance(one, dict) for one in examples):
        raise Problem(422, "`examples` must be a list of objects, one a row")
    if not isinstance(context, dict):
        raise Problem(422, "`context` must be an object: the features that all examples share")
    if len(examples) > MAX_ROWS:
        raise Problem(422, f"at most {MAX_ROWS} rows in a request, got {len(examples)}")
    return [{name: _one(value) for name, value in {**context, **example}.items()} for example in examples]


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _result(scored: Scored, verb: str) -> dict[str, Any]:
    if verb == ":regress":
        return {"result": scored.probability}
    return {"result": [[["false", 1.0 - p], ["true", p]] for p in scored.probability]}


def _signature(method: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": inputs, "outputs": outputs, "method_name": f"tensorflow/serving/{method}"}


def _tensor(name: str, datatype: str) -> dict[str, Any]:
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    return {"name": name, "dtype": _DTYPES[datatype], "tensor_shape": shape}


def _answer(scored: Scored, names: list[str], columnar: bool) -> dict[str, Any]:
    if columnar:
        columns = {"probability": scored.probability, "decision": scored.decision, "prediction_id": names}
        return {"outputs": columns}
    rows = zip(scored.probability, scored.decision, names, strict=True)
    return {"predictions": [{"probability": p, "decision": d, "prediction_id": n} for p, d, n in rows]}
