"""Evaluations made from drawn scores, through the real code, for tests of gates, verdict and report."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

from greenlight.config import GateParams
from greenlight.core.evaluation import Holdout, Looks, evaluation_document, feature_table, metrics_document
from greenlight.core.metrics import json_text
from greenlight.core.model import Feature
from greenlight.core.paired import Clusters
from greenlight.core.slice_search import cuts_of
from greenlight.core.uncertainty import Design

LIMITS = GateParams.model_validate(
    {
        "min_rows": 5000,
        "minimum": {
            "roc_auc": 0.60,
            "average_precision_lift": 1.25,
            "log_loss_ratio": 1.02,
            "calibration_error": 0.12,
        },
        "champion": {"max_roc_auc_drop": 0.010, "max_log_loss_rise": 0.010},
        "slices": {
            "columns": ["carrier", "origin"],
            "min_rows": 300,
            "min_positives": 100,
            "min_roc_auc": 0.52,
            "max_roc_auc_drop": 0.05,
        },
        "leak": {"max_single_feature_share": 0.95, "max_roc_auc": 0.95},
    }
)
FACTS: dict[str, Any] = {
    "time": {
        "train": {"first": "2013-02-01", "last": "2013-06-30"},
        "stop": {"first": "2013-07-01", "last": "2013-07-31"},
        "holdout": {"first": "2013-08-01", "last": "2013-08-31"},
    },
    "stability": [{"seed": 2014, "rounds": 10, "candidate": 0.71, "twin": 0.705}],
    "known_after": {"declared": ["dep_delay"], "used": []},
    "behaviour": {
        "rows": 256,
        "legal": {"tried": 40, "unanswered": []},
        "invariances": [{"name": "a year later", "largest_change": 0.0}],
        "directions": [{"name": "more wind", "mean_effect": 0.04}],
    },
}
FEATURES = (Feature("hour", "q"), Feature("carrier", "c"), Feature("wind", "q"))


def documents(
    *, seed: int = 7, rows: int = 8000, champion: bool = True, candidate_noise: float = 0.3
) -> tuple[dict[str, Any], dict[str, Any]]:
    """metrics.json and evaluation.json, as read back from their text, of a candidate that earns a promotion.

    A row's true chance depends on three features; a model sees it with noise: the champion with 0.5, the candidate with
    `candidate_noise` (in units of log odds).
    """
    rng = np.random.default_rng(seed)
    hour, wind = rng.integers(5, 24, rows).astype(np.float32), rng.gamma(2, 5, rows).astype(np.float32)
    carrier = rng.choice(4, rows, p=[0.5, 0.3, 0.19, 0.01]).astype(np.float32)
    odds = 0.08 * (hour - 14) + 0.07 * (wind - 10) + 0.5 * (carrier - 1) - 1.0
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    matrix = np.stack([hour, carrier, wind], axis=1)

    def scores(noise: float) -> Any:
        seen = odds + noise * rng.standard_normal(rows)
        return (1 / (1 + np.exp(-seen / (1 + noise**2 / 2)))).astype(np.float32)

    found = {"candidate": scores(candidate_noise)} | ({"champion": scores(0.5)} if champion else {})
    columns = {
        "carrier": np.array(["UA", "B6", "DL", "HA"], dtype=object)[carrier.astype(int)],
        "origin": rng.choice(np.array(["EWR", "JFK", "LGA"], dtype=object), rows),
    }
    day = np.sort(rng.integers(0, 31, rows))
    holdout = Holdout("2013-08", label, 31, columns, Design(Clusters.of(day), "day"))
    facts = {"run": "", "as_of": "2013-08", "device": "cpu", "trees": 80, "bytes": 90_000}
    models: dict[str, Any] = {
        "candidate": facts | {"version": "", "sha256": "c" * 64, **trained("2013-02", "2013-07")},
        "champion": facts | {"version": "v1", "sha256": "a" * 64, **trained("2013-01", "2013-06")}
        if champion
        else None,
    }
    half, gain = rows // 2, {"hour": 50.0, "wind": 30.0, "carrier": 20.0}
    table = feature_table(
        FEATURES,
        gain,
        fit=(matrix[:half], label[:half]),
        holdout=(matrix[half:], label[half:]),
    )
    metrics = metrics_document(holdout, found, {"carrier": 3})
    looks = Looks(200, 1, cuts_of(columns, matrix, FEATURES, gain), min_rows=300, min_positives=100)
    promised: dict[str, Any] = {"period": "2013-07", "clusters": 31, "champion": None}
    promised |= {name: {"roc_auc": metrics[name]["roc_auc"], "se": 0.012} for name in found}
    facts = FACTS | {"promised": promised}
    evaluation = evaluation_document(
        holdout, found, dataset="flight_delay", models=models, features=table, facts=facts, looks=looks
    )
    return json.loads(json_text(metrics)), json.loads(json_text(evaluation))


def changed(
    found: tuple[dict[str, Any], dict[str, Any]], path: tuple[Any, ...], value: Any, *, delete: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copies of metrics.json and evaluation.json with the value at `path` (``metrics`` or ``evaluation`` first) set."""
    metrics, evaluation = copy.deepcopy(found)
    place: Any = {"metrics": metrics, "evaluation": evaluation}
    for key in path[:-1]:
        place = place[key]
    if delete:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return metrics, evaluation


def trained(first: str, stop: str) -> dict[str, Any]:
    """The periods of a model's training: from `first` to the one before `stop`."""
    months = [f"2013-{month:02d}" for month in range(int(first[-2:]), int(stop[-2:]))]
    return {"trained_on": months, "stopped_on": stop}
