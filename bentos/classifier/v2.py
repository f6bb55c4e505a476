"""The Open Inference Protocol, version 2, over HTTP: ``/v2/...``, so that KServe's and Triton's clients work.

Paths and bodies as the protocol has them (https://github.com/kserve/open-inference-protocol), with Triton's extension
for binary tensors, which its client uses unless told otherwise
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md). A request has a
tensor per column of the row, shape ``[n]`` or ``[n, 1]``; one left out is not known for any row. A tensor has no null:
NaN in one of numbers, and an empty text where a column may be null, stand for "not known".
"""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.types import Receive, Scope

from bentos.classifier import wire
from bentos.classifier.columns import columns_of
from bentos.classifier.predict import Asked, Predict
from bentos.classifier.problems import Problem, require_method
from bentos.classifier.protocol import Protocol, Reply, json_object, rows_of
from bentos.classifier.tensors import DATATYPES, OUTPUTS, Tensors, packed, texts, wants

PREFIX = "/v2"
PLATFORM = "xgboost"
EXTENSIONS = ["binary_tensor_data", "model_configuration"]
HEADER_LENGTH = b"inference-header-content-length"
BINARY = "application/octet-stream"
_PATH = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<verb>/ready|/infer|/config)?")


# Extensions of Triton's that its clients ask for, and why they are not here.
_NOT_HERE = {
    "stats": "statistics are at /metrics, in Prometheus's format and for all processes together",
    "repository": "models are loaded and unloaded with greenlight release and greenlight rollback alone",
    "systemsharedmemory": "shared memory is not possible here; send the data with the request",
    "cudasharedmemory": "shared memory is not possible here; send the data with the request",
    "trace": "traces are set with GREENLIGHT_TRACING when the server starts",
    "logging": "the log is set when the server starts",
}
# Parameters that change what an answer means or when it comes: left aside, they would be a promise that nobody keeps.
_REFUSED = {
    "sequence_id": "there are no sequences: each row is scored by itself",
    "sequence_start": "there are no sequences: each row is scored by itself",
    "sequence_end": "there are no sequences: each row is scored by itself",
    "priority": "all requests have the same priority",
    "timeout": "a request has 30 s; let the client give up sooner",
    "classification": "the outputs are one class's probability and the decision; there is nothing to rank",
    "shared_memory_region": "shared memory is not possible here; the answer carries the data",
}


class OpenInference(Protocol):
    """Answers clients of the Open Inference Protocol."""

    def __init__(self, predict: Predict) -> None:
        super().__init__(predict)
        self._tensors: Tensors | None = None

    async def reply(self, asked: Asked, scope: Scope, receive: Receive) -> Reply:
        """Health, metadata, or predictions."""
        path = scope["path"].rstrip("/")
        found = _PATH.fullmatch(path)
        infers = bool(found and found["verb"] == "/infer")
        require_method(scope["method"], "POST" if infers else "GET")
        if found:
            self.require(unquote(found["model"]), found["version"])
        if infers:
            return await self._infer(asked, scope, receive)
        return Reply(orjson.dumps(self._about(path, found)))

    def _about(self, path: str, found: re.Match[str] | None) -> dict[str, Any]:
        if path == PREFIX:
            return {"name": "greenlight", "version": version("bentoml"), "extensions": EXTENSIONS}
        if path == "/v2/health/live":
            return {"live": True}
        if path == "/v2/health/ready":  # this process answers nothing before its model has scored a row
            return {"ready": True}
        if not found:
            why = next((why for name, why in _NOT_HERE.items() if name in path.split("/")), "")
            raise Problem(404, why or f"no such path; ask /v2/models/{self.model}/infer, or /v2/models/{self.model}")
        if found["verb"] == "/ready":
            return {"name": self.model, "ready": True}
        columns = columns_of(self.predict.scorer.dataset.request.Row)
        if found["verb"] == "/config":
            return {
                "name": self.model,
                "platform": PLATFORM,
                "backend": PLATFORM,
                "max_batch_size": 0,  # the number of rows is in the shapes
                "input": [_configured(c.name, DATATYPES[c.kind]) | {"optional": not c.required} for c in columns],
                "output": [_configured(name, kind) for name, kind in OUTPUTS.items()],
            }
        return {
            "name": self.model,
            "versions": [self.predict.version],
            "platform": PLATFORM,
            "inputs": [{"name": c.name, "datatype": DATATYPES[c.kind], "shape": [-1]} for c in columns],
            "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in OUTPUTS.items()],
        }

    async def _infer(self, asked: Asked, scope: Scope, receive: Receive) -> Reply:
        head, binary = _split(wire.header(scope, HEADER_LENGTH), await wire.body_of(scope, receive))
        request = json_object(head)
        _require_plain(request.get("parameters"))
        outputs = _outputs(request)
        if self._tensors is None:
            self._tensors = Tensors(columns_of(self.predict.scorer.dataset.request.Row))
        scored = await self.score(asked, rows_of(self._tensors.columns(request.get("inputs"), binary)))
        values: dict[str, Any] = {
            "probability": scored.probability,
            "decision": scored.decision,
            "prediction_id": asked.names(),
        }
        made, tail = [], []
        for name, as_binary in outputs.items():
            tensor: dict[str, Any] = {"name": name, "shape": [len(asked.rows)], "datatype": OUTPUTS[name]}
            if as_binary:
                content = texts(values[name]) if OUTPUTS[name] == "BYTES" else packed(OUTPUTS[name], values[name])
                tensor["parameters"] = {"binary_data_size": len(content)}
                tail.append(content)
            else:
                tensor["data"] = values[name]
            made.append(tensor)
        body: dict[str, Any] = {"model_name": self.model, "model_version": self.predict.version, "outputs": made}
        if isinstance(request.get("id"), str):
            body["id"] = request["id"]
        answer = orjson.dumps(body)
        if not tail:
            return Reply(answer)
        headers = [(HEADER_LENGTH, str(len(answer)).encode())]
        return Reply(b"".join([answer, *tail]), headers, BINARY)


def _configured(name: str, datatype: str) -> dict[str, Any]:
    kind = "STRING" if datatype == "BYTES" else datatype
    return {"name": name, "data_type": f"TYPE_{kind}", "dims": [-1]}


def _require_plain(parameters: Any) -> None:
    """Refuse parameters that ask for what is not possible here; zeros and false ask for nothing."""
    if isinstance(parameters, dict):
        for name, why in _REFUSED.items():
            if parameters.get(name):
                raise Problem(422, f"the parameter {name} is not possible here: {why}")


def _split(length: bytes | None, content: bytes) -> tuple[bytes, bytes]:
    """The JSON of a request, and the binary tensors behind it."""
    if length is None:
        return content, b""
    if not length.isdigit() or int(length[:12]) > len(content):
        said = length.decode("latin-1")[:20]
        raise Problem(400, f"Inference-Header-Content-Length is {said!r}, the body has {len(content):,} bytes")
    return content[: int(length)], content[int(length) :]


def _outputs(request: dict[str, Any]) -> dict[str, bool]:
    """The outputs to answer with, and whether as binary data."""
    default = wants(request.get("parameters"), "binary_data_output", False)
    asked = request.get("outputs")
    if asked is None or asked == []:
        return dict.fromkeys(OUTPUTS, default)
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise Problem(422, "`outputs` must be a list of objects")
    found = {}
    for one in asked:
        name = one.get("name")
        if not isinstance(name, str) or name not in OUTPUTS:
            raise Problem(422, f"there is no output {str(name)[:80]!r}; {', '.join(OUTPUTS)} are")
        _require_plain(one.get("parameters"))
        found[name] = wants(one.get("parameters"), "binary_data", default)
    return found
