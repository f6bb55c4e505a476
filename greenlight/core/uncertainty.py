"""How sure the metrics of an evaluation are: standard errors by model and of the difference, as plain values.

What the gates need of the rows is decided here, once: they see standard errors and never a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from greenlight.core.metrics import Labels, Probabilities
from greenlight.core.paired import (
    FEW,
    Clusters,
    Counts,
    Floats,
    auc_influence,
    bootstrap,
    clustered_se,
    jackknife_se,
    log_losses,
    without_each,
)

FORMULA = ("roc_auc", "log_loss", "calibration_gap")
COMPARED = ("roc_auc", "log_loss")


@dataclass(frozen=True, eq=False)
class Design:
    """How the rows of a holdout hang together.

    Attributes
    ----------
    clusters : Clusters
    column : str
        What a cluster is, such as ``day``; empty where the dataset declares none and each row is its own.
    """

    clusters: Clusters
    column: str

    @property
    def unit(self) -> str:
        """``day``, or ``row``."""
        return self.column or "row"


def measure(
    label: Labels, scores: Mapping[str, Probabilities], design: Design, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Standard errors of every metric that a gate bounds.

    Parameters
    ----------
    label : (n,) int8
    scores : mapping of str to (n,) float32
        ``candidate`` and, where there is one, ``champion``.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``clustered_by`` (empty: rows are taken for independent), ``clusters``, ``resamples``; ``models``: by model and
        metric ``se`` (the one that counts), ``se_formula`` and ``se_bootstrap`` (None where there is none); and
        ``difference``: the same of candidate minus champion, None without a champion. All NaN where a metric is not
        defined.

    Notes
    -----
    ``se`` is the formula's where there is one. With fewer than 20 clusters it is the larger of the two: there the
    formula's is too small now and then, and nobody is to pass by that. The error of the average precision is a
    jackknife's: clusters are left out one at a time.
    """
    drawn_by = design.clusters.blocks()
    pulls = {name: _pulls(label, score) for name, score in scores.items()}
    counts = {name: Counts.of(label, score, drawn_by) for name, score in scores.items()}
    drawn = bootstrap(counts, drawn_by.count, resamples=resamples, seed=seed)
    left_out = without_each(drawn_by.count)
    few = design.clusters.count < FEW
    models = {
        name: {
            **{m: _both(pulls[name].get(m), drawn[name][m], design.clusters, few) for m in drawn[name]},
            "average_precision_lift": {"se": jackknife_se(counts[name].average_precision_lift(left_out))},
        }
        for name in scores
    }
    difference = None
    if "champion" in scores:
        difference = {
            m: _both(
                pulls["candidate"][m] - pulls["champion"][m],
                drawn["candidate"][m] - drawn["champion"][m],
                design.clusters,
                few,
            )
            for m in COMPARED
        }
    return {
        "clustered_by": design.column,
        "clusters": design.clusters.count,
        "resamples": resamples,
        "models": models,
        "difference": difference,
    }


def ranked(label: Labels, score: Probabilities, clusters: Clusters) -> dict[str, float]:
    """``roc_auc`` of scores, and its standard error ``se`` over clusters."""
    area, pull = auc_influence(label, score)
    return {"roc_auc": area, "se": clustered_se(pull, clusters)}


def _pulls(label: Labels, score: Probabilities) -> dict[str, Floats]:
    """By metric, how much each row pulls at it."""
    return {
        "roc_auc": auc_influence(label, score)[1],
        "log_loss": log_losses(label, score),
        "calibration_gap": score.astype(np.float64) - label,
    }


def _both(pull: Floats | None, drawn: Floats, clusters: Clusters, few: bool) -> dict[str, float | None]:
    bootstrapped = float(np.std(drawn, ddof=1)) if drawn.size > 1 else float("nan")
    if pull is None:
        return {"se": bootstrapped, "se_formula": None, "se_bootstrap": bootstrapped}
    formula = clustered_se(pull, clusters)
    # np.maximum keeps a NaN: what is not known must not look small.
    se = float(np.maximum(formula, bootstrapped)) if few else formula
    return {"se": se, "se_formula": formula, "se_bootstrap": bootstrapped}
