"""Score a row once more, with the code and the model that are packed here: what the model was given, and what it says.

``python -m bentos.classifier.rescore`` in a bento's ``src``: a row as JSON on stdin, an answer as JSON on stdout. In
the bento, because only the packed code is the code that served.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pydantic import ValidationError

from bentos.classifier.scorer import Scorer

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Answer one row: features by name, probability, decision; or ``{"error": ...}``."""
    try:
        answer = rescore(Scorer.load(ROOT), sys.stdin.buffer.read())
    except ValidationError as exc:
        answer = {"error": f"the row as it was kept cannot be scored: {exc.errors()[0]['msg']}"}
    sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))


def rescore(scorer: Scorer, row: bytes) -> dict[str, Any]:
    """Features (a category by its name, what is not known as None), probability and decision of one row."""
    request, manifest = scorer.dataset.request, scorer.model.manifest
    columns = request.columns([request.Row.model_validate_json(row)])
    matrix, _ = scorer.dataset.features.row_features(columns, scorer.model.lookups, manifest.vocabulary)
    scores = scorer.model.score_matrix(matrix)
    categories = manifest.vocabulary.categories
    features: dict[str, Any] = {}
    for feature, value in zip(manifest.features, matrix[0].tolist(), strict=True):
        known = categories.get(feature.name)
        if not np.isfinite(value):
            features[feature.name] = None
        else:
            features[feature.name] = known[int(value)] if feature.kind == "c" and known else value
    return {
        "features": features,
        "probability": float(scores.probability[0]),
        "decision": bool(scores.decision[0]),
        "threshold": manifest.threshold,
    }


if __name__ == "__main__":
    main()
