"""The description of the API: an OpenAPI document made from the dataset's row type, and the page that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bentos.classifier import labels, openapi_protocols
from bentos.classifier.explain import MAX_ROWS as EXPLAINED

if TYPE_CHECKING:
    from pydantic import BaseModel

    from bentos.classifier.scorer import Scorer

# Swagger UI's files come with bentoml. BentoML's own page is not used: it loads a tag manager from the
# internet.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Prediction API</title>
<link rel="stylesheet" href="static_content/swagger-ui.css">
<style>.swagger-ui .operation-servers { display: none }</style>
<link rel="icon" href="static_content/favicon-light-32x32.png" sizes="32x32">
</head>
<body>
<div id="swagger-ui"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script>
const ui = SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", validatorUrl: null, docExpansion: "list",
  defaultModelsExpandDepth: 0, tryItOutEnabled: true, deepLinking: true,
  // Opened, and not gone to: the page begins with what it is about.
  onComplete: () => location.hash || ui.layoutActions.show(["operations", "predictions", "predict"], true)});
</script>
</body>
</html>
"""

PREDICTION = {
    "type": "object",
    "required": ["prediction_id", "probability", "decision", "model_version"],
    "properties": {
        "prediction_id": {"type": "string", "description": "names this prediction for good"},
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
        "decision": {"type": "boolean", "description": "whether the probability reaches the model's threshold"},
        "model_version": {"type": "string", "description": "version that answered"},
        "explanation": {"$ref": "#/components/schemas/Explanation"},
    },
}
EXPLANATION = {
    "type": "object",
    "description": "SHAP values in log odds; the base and all contributions add up to the score's log odds",
    "required": ["base", "contributions"],
    "properties": {
        "base": {"type": "number", "description": "log odds before anything is known of the row"},
        "contributions": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}
DETAIL = {
    "type": "object",
    "properties": {
        "row": {"type": ["integer", "null"], "description": "index in `rows`, from 0; null where no row is at fault"},
        "field": {"type": "string"},
        "problem": {"type": "string"},
        "value": {"description": "what was sent, shortened"},
    },
}
ERROR = {
    "type": "object",
    "required": ["error", "details", "more"],
    "properties": {
        "error": {"type": "string", "description": "one sentence"},
        "details": {"type": "array", "items": {"$ref": "#/components/schemas/ErrorDetail"}},
        "more": {"type": "integer", "description": "wrong values beyond those listed"},
    },
}
TAGS = {
    "predictions": "Rows as JSON.",
    "labels": "What turned out to be true of predictions.",
    "tables": "Whole tables as Arrow streams or Parquet files.",
    "Open Inference Protocol": "The same predictions for clients of KServe and Triton (version 2, over HTTP).",
    "TensorFlow Serving": "The same predictions for clients of TensorFlow Serving (REST).",
    "MLflow": "The same predictions for clients of MLflow's scoring server.",
    "operations": "For load balancers and Prometheus.",
}
REF = "#/components/schemas/{model}"


def document(scorer: Scorer, body: type[BaseModel], max_rows: int, max_bytes: int) -> dict[str, Any]:
    """The OpenAPI document of the service around `scorer`."""
    manifest = scorer.model.manifest
    schema = body.model_json_schema(ref_template=REF)
    schemas = dict(schema.pop("$defs", {}))
    schemas |= {body.__name__: schema, "Prediction": PREDICTION, "ErrorDetail": DETAIL, "Error": ERROR}
    labels_path, more = labels.described()
    schemas |= {"Explanation": EXPLANATION, **openapi_protocols.SCHEMAS, **more}
    text = (
        f"Scores rows of `{scorer.dataset.name}` with version `{scorer.version}`, trained as of {manifest.as_of}. "
        f"At most {max_rows:,} rows and {max_bytes // 1024**2} MiB in a request."
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{scorer.dataset.name} predictions", "version": scorer.version, "description": text},
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": {
            "/predict": {"post": _predict(scorer, body)},
            **openapi_protocols.paths(scorer.dataset.name, scorer.version, scorer.dataset.request),
            **labels_path,
            **_operations(),
        },
        "components": {"schemas": schemas},
    }


def _predict(scorer: Scorer, body: type[BaseModel]) -> dict[str, Any]:
    example = {"rows": [scorer.dataset.request.EXAMPLE]}
    answer = {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}},
    }
    shown = {"prediction_id": "5f0c...-0", "probability": 0.25, "decision": False, "model_version": scorer.version}
    return {
        "tags": ["predictions"],
        "operationId": "predict",
        "summary": "Score one or many rows",
        "description": "Answers in the order of the rows. Categories that training had not seen count as missing.",
        "parameters": [
            {
                "name": "explain",
                "in": "query",
                "schema": {"type": "boolean"},
                "description": f"say why, for at most {EXPLAINED} rows; the header `x-explain: true` asks the same",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": REF.format(model=body.__name__)}, "example": example}},
        },
        "responses": {
            "200": {
                "description": "One prediction a row",
                "headers": {"x-model-version": {"schema": {"type": "string"}}},
                "content": {"application/json": {"schema": answer, "example": {"predictions": [shown]}}},
            },
            "400": _error("The body is not JSON", "the body is not JSON: EOF while parsing a value at line 1 column 0"),
            "413": _error("The body is too large", "the body has more than 8,388,608 bytes; send fewer rows at once"),
            "415": _error(
                "Not declared as JSON, or packed in an unknown way",
                "Content-Type is 'text/plain', wanted application/json",
            ),
            "422": _error("Values are wrong; each is named", "1 value is wrong; row 0, field x: is required", True),
            "500": _error("The model could not score the request", "the model could not score this request"),
            "502": _error(
                "The model gave no probability", "the model gave no probability for 1 of 1 rows, first row 0"
            ),
            "503": _error("No version is live, or no server answers", "no version is live yet"),
        },
    }


def _error(description: str, error: str, detailed: bool = False) -> dict[str, Any]:
    details = [{"row": 0, "field": "x", "problem": "is required"}] if detailed else []
    example = {"error": error, "details": details, "more": 0}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}, "example": example}}
    return {"description": description, "content": content}


def _operations() -> dict[str, Any]:
    texts = {
        "/livez": "Whether the process runs",
        "/readyz": "Whether the model is loaded and requests are answered",
        "/metrics": "Counters and latencies in Prometheus's format",
    }
    return {
        path: {"get": {"tags": ["operations"], "summary": text, "responses": {"200": {"description": "yes"}}}}
        for path, text in texts.items()
    }
