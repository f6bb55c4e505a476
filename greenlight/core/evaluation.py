"""The two documents that an evaluation leaves: metrics.json, small and in Git, and evaluation.json with the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlight.core import groups, slice_search, slices, uncertainty
from greenlight.core.importance import gain_shares, power_alone
from greenlight.core.metrics import Labels, Probabilities, binary_metrics, curves
from greenlight.core.model import Feature
from greenlight.core.paired import Clusters
from greenlight.core.slice_search import Cut
from greenlight.core.uncertainty import Design

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
    design : Design, optional
        Which rows move together; without, each row is its own.
    """

    period: str
    label: Labels
    days: int
    columns: Mapping[str, NDArray[Any]]
    design: Design | None = None

    @property
    def hangs_together(self) -> Design:
        """The design, also where none is declared."""
        return self.design or Design(Clusters.rows(self.label.size), "")


@dataclass(frozen=True, eq=False)
class Looks:
    """What is looked at beside the metrics.

    Attributes
    ----------
    resamples, seed : int
        Of the bootstrap.
    cuts : sequence of Cut
        Slices to search; empty for no search.
    min_rows, min_positives : int
        Sizes from which a slice, or a group, is looked at.
    protected : sequence of Protected
        What groups of people the dataset declares, with their values by column in `protected_columns`.
    decision : (n,) bool, optional
        The candidate's; needed where there are protected groups.
    """

    resamples: int = 2000
    seed: int = 0
    cuts: Sequence[Cut] = ()
    min_rows: int = 1
    min_positives: int = 1
    protected: Sequence[groups.Protected] = ()
    protected_columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    decision: NDArray[np.bool_] | None = None


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
    facts: Mapping[str, Any],
    looks: Looks,
) -> dict[str, Any]:
    """evaluation.json: models, standard errors, curves, slices, groups and features.

    Parameters
    ----------
    facts : mapping
        What the stage found out itself: ``time``, ``known_after``, ``behaviour``.
    looks : Looks
        What else to look at, and how.
    models : mapping
        ``candidate`` and ``champion``, each from `model_facts`; champion is None where there is none.
    features : sequence of mapping
        From `feature_table`.
    """
    design = holdout.hangs_together
    clusters = design.clusters
    return {
        "format": FORMAT,
        "dataset": dataset,
        "models": dict(models),
        **facts,
        "uncertainty": uncertainty.measure(holdout.label, scores, design, resamples=looks.resamples, seed=looks.seed),
        "curves": {name: curves(holdout.label, score) for name, score in scores.items()},
        "slices": slices.measure(holdout.label, scores, holdout.columns, clusters),
        "found": slice_search.search(
            holdout.label,
            scores,
            looks.cuts,
            clusters=clusters,
            min_rows=looks.min_rows,
            min_positives=looks.min_positives,
        ),
        "groups": _groups(holdout, scores["candidate"], looks, clusters),
        "features": list(features),
    }


def _groups(holdout: Holdout, score: Probabilities, looks: Looks, clusters: Clusters) -> list[dict[str, Any]]:
    if not looks.protected or looks.decision is None:
        return []
    return groups.measure(
        holdout.label,
        score,
        looks.decision,
        looks.protected,
        looks.protected_columns,
        clusters,
        min_rows=looks.min_rows,
    )


def model_facts(
    manifest: Mapping[str, Any], sha256: str, *, version: str = "", run: str = "", size: int | None = None
) -> dict[str, Any]:
    """What the gates and the report say of a model.

    Parameters
    ----------
    manifest : mapping
        Content of the model's model.json.
    sha256 : str
        Of the booster's bytes: equal for the same model.
    size : int, optional
        How many they are.

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
        "bytes": size,
        "seed": manifest.get("seed"),
        "threshold": manifest.get("threshold"),
        "rows": dict(manifest.get("rows") or {}),
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
