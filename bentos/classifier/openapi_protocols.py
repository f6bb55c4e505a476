"""The part of the OpenAPI document about tables and the foreign protocols."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from bentos.classifier import bulk
from bentos.classifier.columns import ANSWERED, columns_of
from bentos.classifier.tensors import DATATYPES, OUTPUTS
from bentos.classifier.v2 import BINARY

_REF = "#/components/schemas/"
_PLAIN_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_OUTPUT = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"enum": list(OUTPUTS)},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"enum": sorted(set(OUTPUTS.values()))},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
}
SCHEMAS: dict[str, Any] = {
    "PlainError": _PLAIN_ERROR,
    "MLflowError": {
        "type": "object",
        "required": ["error_code", "message"],
        "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    },
    "InferenceResponse": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": _OUTPUT},
        },
    },
    "ModelMetadata": {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": {"type": "array", "items": {"type": "object"}},
            "outputs": {"type": "array", "items": {"type": "object"}},
        },
    },
    "ModelVersionStatus": {
        "type": "object",
        "required": ["model_version_status"],
        "properties": {"model_version_status": {"type": "array", "items": {"type": "object"}}},
    },
}


def paths(model: str, version: str, request: ModuleType) -> dict[str, Any]:
    """The paths.

    Parameters
    ----------
    model : str
        Its name.
    version : str
        That of the server that answers.
    request : module
        The dataset's ``request``: its row and an example of one.
    """
    return {
        "/bulk": {"post": _bulk()},
        **_open_inference(model, version, request),
        **_tf_serving(model, version, request),
        **_mlflow(request),
    }


def _bulk() -> dict[str, Any]:
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in (bulk.ARROW, bulk.PARQUET)}
    return {
        "tags": ["tables"],
        "operationId": "bulk",
        "summary": "Score a table",
        "description": (
            "The columns are those of a row; text columns may be dictionaries, times may be text as in JSON, a column "
            "that may be null may be missing. "
            f"At most {bulk.MAX_ROWS:,} rows, {bulk.MAX_BODY_BYTES // 1024**2} MiB and {bulk.TIMEOUT_S} s. "
            f"The answer has the columns {', '.join(ANSWERED)}, a row a row, in the format of the request, or in "
            "the other one where `Accept` asks for it alone. Every row is checked before the answer begins.\n\n"
            f"```\ncurl --data-binary @rows.parquet -o scores.parquet -H 'content-type: {bulk.PARQUET}' .../bulk\n```"
        ),
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "One prediction a row", "content": content},
            **{code: _error(text, "Error") for code, text in _BULK_ERRORS.items()},
        },
    }


_BULK_ERRORS = {
    "400": "The body is not what Content-Type says, or breaks off",
    "408": "It did not arrive in time",
    "413": "Too many bytes or rows, too long, or it unpacks to too much",
    "415": "Neither Arrow nor Parquet, or packed in another way than gzip, deflate or zstd",
    "422": "Columns or values are wrong; each is named with its row",
    "503": "Other tables wait already, no version is live, or no server answers",
}
_ERRORS = {
    "400": "The body is not JSON, or the binary data does not fit it",
    "404": "Another model, or a version or label that this server does not hold",
    "413": "The body is too large",
    "415": "The body is packed in another way than gzip, deflate or zstd",
    "422": "Values are wrong; the first is named with row and field",
    "503": "No version is live, or no server answers",
}


def _open_inference(model: str, version: str, request: ModuleType) -> dict[str, Any]:
    columns = columns_of(request.Row)
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"enum": [column.name for column in columns]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
            "datatype": {"enum": sorted(set(DATATYPES.values()))},
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
    }
    body = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": tensor, "minItems": 1},
            "outputs": {"type": "array", "items": {"type": "object"}},
        },
    }
    example = {
        "inputs": [
            {"name": c.name, "shape": [1], "datatype": DATATYPES[c.kind], "data": [request.EXAMPLE[c.name]]}
            for c in columns
            if request.EXAMPLE.get(c.name) is not None
        ]
    }
    infer = _post("One tensor a column; binary tensors behind the JSON as Triton's extension has them", body, example)
    binary = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
    infer["responses"]["200"]["content"] = _json("InferenceResponse")["content"] | binary
    found: dict[str, Any] = {
        "/v2": {"get": _get("What this server is and which extensions it knows", {"type": "object"})},
        "/v2/health/live": {"get": _get("Whether the process runs", {"type": "object"})},
        "/v2/health/ready": {"get": _get("Whether models answer", {"type": "object"})},
    }
    for path, names in (
        ("/v2/models/{model}", ("model",)),
        ("/v2/models/{model}/versions/{version}", ("model", "version")),
    ):
        there = {"parameters": [_parameter(name, {"model": model, "version": version}[name]) for name in names]}
        found[path] = there | {"get": _get("The model's inputs and outputs", {"$ref": f"{_REF}ModelMetadata"}, "404")}
        found[f"{path}/ready"] = there | {"get": _get("Whether the model answers", {"type": "object"}, "404")}
        found[f"{path}/config"] = there | {"get": _get("The same in Triton's words", {"type": "object"}, "404")}
        found[f"{path}/infer"] = there | {"post": infer}
    return {path: _tagged(about, "Open Inference Protocol") for path, about in found.items()}


def _tf_serving(model: str, version: str, request: ModuleType) -> dict[str, Any]:
    rows = {"instances": {"type": "array", "items": {"type": "object"}}}
    columns = {"inputs": {"type": "object", "additionalProperties": {"type": "array"}}}
    body = {
        "type": "object",
        "properties": {"signature_name": {"type": "string"}, **rows, **columns},
        "additionalProperties": False,
    }
    predict = _post("Rows under `instances`, or columns under `inputs`", body, {"instances": [request.EXAMPLE]})
    answer = {"properties": {"predictions": {"type": "array"}, "outputs": {"type": "object"}}}
    predict["responses"]["200"]["content"] = {"application/json": {"schema": {"type": "object"} | answer}}
    examples = {"context": {"type": "object"}, "examples": {"type": "array", "items": {"type": "object"}}}
    asked = {
        "type": "object",
        "required": ["examples"],
        "properties": {"signature_name": {"type": "string"}, **examples},
        "additionalProperties": False,
    }
    result = {"type": "object", "required": ["result"], "properties": {"result": {"type": "array"}}}
    by_example = {}
    for verb, text in (("classify", "The probability of false and of true"), ("regress", "The probability of true")):
        by_example[verb] = _post(f"{text} for each of `examples`", asked, {"examples": [request.EXAMPLE]})
        by_example[verb]["responses"]["200"]["content"] = {"application/json": {"schema": result}}
        name = {"description": "the prediction of example i is <this>-<i>", "schema": {"type": "string"}}
        by_example[verb]["responses"]["200"]["headers"] = {"x-prediction-name": name}
    found = {}
    for path, names in (
        ("/v1/models/{model}", ("model",)),
        ("/v1/models/{model}/versions/{version}", ("model", "version")),
        ("/v1/models/{model}/labels/{label}", ("model", "label")),
    ):
        values = {"model": model, "version": version.removeprefix("v"), "label": "stable"}
        there = {"parameters": [_parameter(name, values[name]) for name in names]}
        status = {"$ref": f"{_REF}ModelVersionStatus"}
        found[path] = there | {"get": _get("The state of the version that this server holds", status, "404")}
        found[f"{path}/metadata"] = there | {"get": _get("Its inputs and outputs", {"type": "object"}, "404")}
        found[f"{path}:predict"] = there | {"post": predict}
        found |= {f"{path}:{verb}": there | {"post": about} for verb, about in by_example.items()}
    return {path: _tagged(about, "TensorFlow Serving") for path, about in found.items()}


def _mlflow(request: ModuleType) -> dict[str, Any]:
    body = {
        "type": "object",
        "properties": {
            "dataframe_split": {"type": "object", "required": ["columns", "data"]},
            "dataframe_records": {"type": "array", "items": {"type": "object"}},
            "instances": {"type": ["array", "object"]},
            "inputs": {"type": ["array", "object"]},
            "params": {"type": "object"},
        },
        "additionalProperties": False,
    }
    invoke = _post("One of the four shapes of rows, or CSV", body, {"dataframe_records": [request.EXAMPLE]})
    invoke["requestBody"]["content"]["text/csv"] = {"schema": {"type": "string"}}
    answer = {"type": "object", "required": ["predictions"], "properties": {"predictions": {"type": "array"}}}
    invoke["responses"]["200"]["content"] = {"application/json": {"schema": answer}}
    for code in _ERRORS:
        invoke["responses"][code] = _error(_ERRORS[code], "PlainError" if code == "503" else "MLflowError")
    del invoke["responses"]["404"]
    alive = {"description": "yes", "content": {"text/plain": {"schema": {"type": "string"}}}}
    pages = {
        "/ping": "Whether the model answers",
        "/health": "Whether the model answers",
        "/version": "The MLflow release whose protocol this is",
    }
    found = {path: {"get": {"summary": text, "responses": {"200": alive}}} for path, text in pages.items()}
    return {path: _tagged(about, "MLflow") for path, about in (found | {"/invocations": {"post": invoke}}).items()}


def _get(summary: str, schema: Mapping[str, Any], *errors: str) -> dict[str, Any]:
    answer = {"description": "yes", "content": {"application/json": {"schema": schema}}}
    refusals = {code: _error(_ERRORS[code], "PlainError") for code in (*errors, "503")}
    return {"summary": summary, "responses": {"200": answer, **refusals}}


def _post(summary: str, body: Mapping[str, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body, "example": example}},
        },
        "responses": {
            "200": {"description": "One prediction a row"},
            **{code: _error(text, "PlainError") for code, text in _ERRORS.items()},
        },
    }


def _json(schema: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"{_REF}{schema}"}}}}


def _error(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, **_json(schema)}


def _parameter(name: str, value: str) -> dict[str, Any]:
    schema = {"type": "string", "enum": [value]}
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": value}


def _tagged(about: dict[str, Any], tag: str) -> dict[str, Any]:
    verbs = ("get", "post")
    return {key: ({"tags": [tag], **value} if key in verbs else value) for key, value in about.items()}
