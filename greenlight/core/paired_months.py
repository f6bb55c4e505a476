"""How two models differ on the rows of a month, with what chance alone would do, rows of one day moving together.

Source: DeLong, DeLong, Clarke-Pearson (1988) for the influence of a row on a ROC AUC; summed by day before they are
squared (Liang and Zeger 1986), because rows of one day share their weather: on the flights an interval that takes
rows as independent is 3 to 6 times too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
TINY = 1e-7  # a float32 probability of exactly 0 or 1 has an infinite loss; XGBoost's own metric clips too


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
    one, ours = influence(label, left)
    two, theirs = influence(label, right)
    return Difference(one - two, clustered_error(ours - theirs, day))


def loss_difference(label: Array, left: Array, right: Array, day: Array) -> Difference:
    """Mean log loss of `left` minus that of `right` on the same rows; positive where `left` is worse."""
    if not label.size:
        return Difference(math.nan, math.nan)
    gap = log_losses(label, left) - log_losses(label, right)
    mean = float(gap.mean())
    return Difference(mean, clustered_error(gap - mean, day))


def log_losses(label: Array, probability: Array) -> Array:
    """The log loss of each row, in nats."""
    clipped = np.clip(probability.astype(np.float64), TINY, 1 - TINY)
    return -np.where(label == 1, np.log(clipped), np.log1p(-clipped))


def influence(label: Array, score: Array) -> tuple[float, Array]:
    """The ROC AUC, and how far each row moves it (times n); the mean of the second is 0."""
    positive = label == 1
    n, m = int(positive.sum()), int((~positive).sum())
    ranks = midranks(score)
    above = np.empty(label.size)  # share of the other class that the row is on the right side of
    above[positive] = (ranks[positive] - midranks(score[positive])) / m
    above[~positive] = 1 - (ranks[~positive] - midranks(score[~positive])) / n
    area = float(above[positive].mean())
    weight = np.where(positive, label.size / n, label.size / m)
    return area, (above - area) * weight


def midranks(score: Array) -> Array:
    """Ranks from 1; equal scores share their mean rank."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Array = (last - (counts - 1) / 2.0)[place]
    return middle


def clustered_error(influences: Array, day: Array) -> float:
    """Standard error of the mean of `influences` (their own mean is 0), summed by day before they are squared."""
    _, place = np.unique(day, return_inverse=True)
    sums = np.bincount(place, weights=influences)
    days = sums.size
    if days < 2:
        return math.nan
    return float(math.sqrt(float((sums**2).sum()) * days / (days - 1)) / influences.size)


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
    from scipy.special import stdtrit  # type: ignore[import-untyped,unused-ignore]

    values = np.array([d.value for d in differences])
    half = float(stdtrit(count - 1, 1 - (1 - confidence) / 2)) * float(values.std(ddof=1)) / math.sqrt(count)
    return float(values.mean()) - half, float(values.mean()) + half
