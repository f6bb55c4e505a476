"""The two documents that an evaluation leaves: metrics.json, small and in Git, and evaluation.json with the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlight.core import slices
from greenlight.core.importance import gain_shares, power_alone
from greenlight.core.metrics import Labels, Probabilities, binary_metrics, curves
from greenlight.core.model import Feature

FORMAT = 1
Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Holdout:
    """The rows that candidate and champion are scored on.

    Attributes
    ----------
    period : str
        ``YYYY-MM``.
    label : (n,) int8
        1 where the event happened.
    days : int
        Distinct days among the rows; rows of one day move together.
    columns : mapping of str to (n,) object
        What to slice by.
    """

    period: str
    label: Labels
    days: int
    columns: Mapping[str, NDArray[Any]]


def metrics_document(
    holdout: Holdout, scores: Mapping[str, Probabilities], unseen: Mapping[str, int]
) -> dict[str, Any]:
    """metrics.json: the holdout, each model's metrics, and how many rows held a category unknown to the candidate.

    Parameters
    ----------
    scores : mapping of str to (n,) float32
        ``candidate`` and, where there is one, ``champion``.
    """
    rows, positives = int(holdout.label.size), int(holdout.label.sum())
    champion = scores.get("champion")
    return {
        "holdout": {
            "period": holdout.period,
            "rows": rows,
            "positives": positives,
            "base_rate": positives / rows if rows else None,
            "days": holdout.days,
        },
        "candidate": binary_metrics(holdout.label, scores["candidate"]),
        "champion": None if champion is None else binary_metrics(holdout.label, champion),
        "unseen": dict(sorted(unseen.items())),
    }


def evaluation_document(
    holdout: Holdout,
    scores: Mapping[str, Probabilities],
    *,
    dataset: str,
    models: Mapping[str, Any],
    features: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """evaluation.json: models, curves, slices and features.

    Parameters
    ----------
    models : mapping
        ``candidate`` and ``champion``, each from `model_facts`; champion is None where there is none.
    features : sequence of mapping
        From `feature_table`.
    """
    return {
        "format": FORMAT,
        "dataset": dataset,
        "models": dict(models),
        "curves": {name: curves(holdout.label, score) for name, score in scores.items()},
        "slices": slices.measure(holdout.label, scores, holdout.columns),
        "features": list(features),
    }


def model_facts(manifest: Mapping[str, Any], sha256: str, *, version: str = "", run: str = "") -> dict[str, Any]:
    """What the gates and the report say of a model.

    Parameters
    ----------
    manifest : mapping
        Content of the model's model.json.
    sha256 : str
        Of the booster's bytes: equal for the same model.

    Raises
    ------
    KeyError
        The manifest does not say what the model was trained on.
    """
    return {
        "version": version,
        "run": run,
        "as_of": manifest["as_of"],
        "trained_on": list(manifest["train"]),
        "stopped_on": manifest["stop"],
        "trees": manifest["trees"],
        "device": manifest["device"],
        "sha256": sha256,
    }


def feature_table(
    features: Sequence[Feature],
    total_gain: Mapping[str, float],
    *,
    fit: tuple[Matrix, Labels],
    holdout: tuple[Matrix, Labels],
) -> list[dict[str, Any]]:
    """One record a feature, in the model's order.

    Parameters
    ----------
    total_gain : mapping of str to float
        By feature: what the booster's splits on it saved in training; features without a split left out.
    fit, holdout : ((n, k) float32, (n,) int8)
        Matrix and labels trained on, and those of the holdout.

    Returns
    -------
    list of dict
        ``name``, ``kind``, ``gain_share`` (0 to 1), ``roc_auc_alone`` (see `power_alone`) and ``missing_share`` of the
        holdout (0 to 1).
    """
    alone = power_alone(fit, holdout, [feature.kind for feature in features])
    gains = gain_shares(total_gain, [feature.name for feature in features])
    missing = np.isnan(holdout[0]).mean(axis=0) if holdout[0].size else np.zeros(len(features))
    return [
        {
            "name": feature.name,
            "kind": feature.kind,
            "gain_share": gains[j],
            "roc_auc_alone": alone[j],
            "missing_share": float(missing[j]),
        }
        for j, feature in enumerate(features)
    ]
