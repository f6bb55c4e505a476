"""How two models differ on the rows of a month, and over several months, with what chance alone would do.

By the same formulas as the gates (`greenlight.core.paired`): rows of one day move together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlight.core.bounds import t_quantile
from greenlight.core.paired import Clusters, auc_influence, clustered_se, log_losses

Array = NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """An estimate and its standard error; both NaN where nothing can be said."""

    value: float
    error: float

    def interval(self, confidence: float = 0.95, looks: int = 1) -> tuple[float, float]:
        """Two-sided normal interval; `looks` divides the error rate (Bonferroni)."""
        z = NormalDist().inv_cdf(1 - (1 - confidence) / 2 / looks)
        return self.value - z * self.error, self.value + z * self.error

    def certain(self, confidence: float = 0.95, looks: int = 1) -> bool:
        """Whether the interval leaves zero out."""
        low, high = self.interval(confidence, looks)
        return low > 0 or high < 0


def auc_difference(label: Array, left: Array, right: Array, day: Array) -> Difference:
    """ROC AUC of `left` minus that of `right` on the same rows.

    Parameters
    ----------
    label : (n,) 0 or 1
    left, right : (n,) scores
    day : (n,) of any sortable kind
        Rows of equal value move together.
    """
    if not 0 < label.sum() < label.size:
        return Difference(math.nan, math.nan)
    one, ours = auc_influence(label, left)
    two, theirs = auc_influence(label, right)
    return Difference(one - two, clustered_se(ours - theirs, Clusters.of(day)))


def loss_difference(label: Array, left: Array, right: Array, day: Array) -> Difference:
    """Mean log loss of `left` minus that of `right` on the same rows; positive where `left` is worse."""
    if not label.size:
        return Difference(math.nan, math.nan)
    gap = log_losses(label, left) - log_losses(label, right)
    return Difference(float(gap.mean()), clustered_se(gap, Clusters.of(day)))


def mean_of(differences: Sequence[Difference]) -> Difference:
    """The mean of independent differences, with the error that they have on these very months."""
    if not differences:
        return Difference(math.nan, math.nan)
    values, errors = [d.value for d in differences], [d.error for d in differences]
    return Difference(float(np.mean(values)), math.sqrt(sum(e * e for e in errors)) / len(errors))


def spread_of(differences: Sequence[Difference], confidence: float = 0.95) -> tuple[float, float]:
    """Student's interval for the mean over months as such, from how the months differ; NaN below two months."""
    count = len(differences)
    if count < 2:
        return math.nan, math.nan
    values = np.array([d.value for d in differences])
    half = t_quantile(1 - (1 - confidence) / 2, count - 1) * float(values.std(ddof=1)) / math.sqrt(count)
    return float(values.mean()) - half, float(values.mean()) + half
