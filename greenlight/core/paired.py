"""Two models on the same rows: how far apart they are, and how sure that is when rows of a day move together.

Two ways to the same standard error. The first is a formula: a metric's influence function says how much each row pulls
at it; pulls are added up per cluster, and the spread of these sums is the error. The second is the bootstrap of whole
clusters, from counts of scores per cluster, so that its cost does not grow with the rows. The tests hold them against
each other and against simulated truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

BINS = 4096  # of scores, per model; a ROC AUC from these counts differs from the exact one in the sixth decimal
BLOCKS = 512  # clusters of a bootstrap where each row is its own: that many blocks of neighbouring rows
FEW = 20  # with fewer clusters the larger of the two standard errors counts
DECILES = 10


@dataclass(frozen=True)
class Clusters:
    """Which rows move together.

    Attributes
    ----------
    code : (n,) intp
        Cluster of each row, 0 to `count` - 1.
    count : int
        Number of clusters.
    """

    code: Codes
    count: int

    @classmethod
    def of(cls, values: NDArray[Any]) -> Clusters:
        """Rows of equal value are a cluster."""
        distinct, code = np.unique(values, return_inverse=True)
        return cls(code.astype(np.intp), int(distinct.size))

    @classmethod
    def rows(cls, n: int) -> Clusters:
        """Each row is a cluster of its own."""
        return cls(np.arange(n, dtype=np.intp), n)

    def blocks(self) -> Clusters:
        """At most `BLOCKS` clusters, of neighbours, for a resampling whose cost grows with their number."""
        if self.count <= BLOCKS:
            return self
        return Clusters(self.code * BLOCKS // self.count, BLOCKS)


def auc_influence(label: NDArray[Any], score: NDArray[Any]) -> tuple[float, Floats]:
    """ROC AUC, and how much each row pulls at it.

    Parameters
    ----------
    label : (n,)
        1 where the event happened, else 0.
    score : (n,)
        Higher means more likely.

    Returns
    -------
    float, (n,) float64
        The pulls have mean 0; the variance of the AUC is that of their mean. NaN and zeros where one class is missing.

    Source
    ------
    DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", Biometrics 44, 1988, by midranks as in Sun and Xu, IEEE Signal Processing Letters 21, 2014.
    Written per row: ``y (V10 - A) / pi + (1 - y) (V01 - A) / (1 - pi)``.
    """
    positive = label.astype(bool)
    m = int(positive.sum())
    n = label.size - m
    if not m or not n:
        return math.nan, np.zeros(label.size)
    rank = _midranks(score)
    placement = np.empty(label.size)
    placement[positive] = (rank[positive] - _midranks(score[positive])) / n
    placement[~positive] = 1.0 - (rank[~positive] - _midranks(score[~positive])) / m
    area = float(placement[positive].mean())
    share = m / label.size
    return area, (placement - area) / np.where(positive, share, 1 - share)


def clustered_se(pull: Floats, clusters: Clusters) -> float:
    """Standard error of the mean of `pull`, whose rows are independent between clusters only.

    Source
    ------
    Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53, 1997, for the AUC; Liang and Zeger,
    Biometrika 73, 1986, in general; with the factor G / (G - 1). NaN with fewer than two clusters.
    """
    if clusters.count < 2 or not pull.size:
        return math.nan
    sums = np.bincount(clusters.code, weights=pull - pull.mean(), minlength=clusters.count)
    return float(math.sqrt((sums @ sums) * clusters.count / (clusters.count - 1)) / pull.size)


def log_losses(label: NDArray[Any], probability: NDArray[Any]) -> Floats:
    """Log loss of each row, in nats; probabilities are kept off 0 and 1 by float32's resolution, as scikit-learn."""
    tiny = float(np.finfo(np.float32).eps)
    p = np.clip(probability.astype(np.float64), tiny, 1 - tiny)
    return -np.log(np.where(label.astype(bool), p, 1 - p))


@dataclass(frozen=True, eq=False)
class Counts:
    """One model's scores on a holdout as sums per cluster: enough to resample clusters, whatever the number of rows.

    Attributes
    ----------
    positives, negatives : (G, BINS) float64
        Rows per cluster and score bin, by rising score.
    wins : (G, G) float64
        Pairs of a positive of the first cluster and a negative of the second, ties half, that are ranked right. A
        drawing of clusters only weights these: its ROC AUC costs G x G operations instead of a sort of all rows.
    sums : mapping of str to (G,) or (G, 10) float64
        Rows, positives, probability and log loss; ``bin_``: probability and positives per calibration bin.
    """

    positives: Floats
    negatives: Floats
    wins: Floats
    sums: Mapping[str, Floats]

    @classmethod
    def of(cls, label: NDArray[Any], probability: NDArray[Any], clusters: Clusters) -> Counts:
        """Add up the rows."""
        order = np.argsort(probability, kind="stable")
        at = clusters.code * BINS + _bins(probability, order, BINS)
        positive = label.astype(bool)
        decile = clusters.code * DECILES + _equal_counts(order, DECILES)
        wide = probability.astype(np.float64)

        def table(code: Codes, columns: int, weights: Floats | None = None) -> Floats:
            size = clusters.count * columns
            return np.bincount(code, weights, minlength=size).reshape(-1, columns).astype(np.float64)

        positives, negatives = table(at[positive], BINS), table(at[~positive], BINS)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        return cls(
            positives,
            negatives,
            positives @ below.T,
            {
                "rows": table(clusters.code, 1)[:, 0],
                "positives": table(clusters.code[positive], 1)[:, 0],
                "probability": table(clusters.code, 1, wide)[:, 0],
                "log_loss": table(clusters.code, 1, log_losses(label, probability))[:, 0],
                "bin_probability": table(decile, DECILES, wide),
                "bin_positives": table(decile[positive], DECILES),
            },
        )

    def metrics(self, weight: Floats) -> dict[str, Floats]:
        """Every metric of `RESAMPLED` where cluster g stands for ``weight[b, g]`` clusters; (B,) each."""
        sums = {name: weight @ value for name, value in self.sums.items()}
        rows, positives = sums["rows"], sums["positives"]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = positives / rows
            entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
            won = ((weight @ self.wins) * weight).sum(axis=1)
            gaps = np.abs(sums["bin_probability"] - sums["bin_positives"])
            return {
                "roc_auc": won / (positives * (rows - positives)),
                "log_loss": sums["log_loss"] / rows,
                "log_loss_ratio": sums["log_loss"] / rows / entropy,
                "calibration_gap": sums["probability"] / rows - share,
                "calibration_error": gaps.sum(axis=1) / rows,
            }

    def average_precision_lift(self, weight: Floats) -> Floats:
        """Average precision over the share of positives; the one metric that needs the whole histogram each time."""
        positives, negatives = weight @ self.positives, weight @ self.negatives
        true = np.cumsum(positives[:, ::-1], axis=1)
        taken = true + np.cumsum(negatives[:, ::-1], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(taken > 0, true / taken, 0.0)
            average: Floats = (positives[:, ::-1] * precision).sum(axis=1) / true[:, -1]
            return average * taken[:, -1] / true[:, -1]


RESAMPLED = ("roc_auc", "log_loss", "log_loss_ratio", "calibration_gap", "calibration_error")


def bootstrap(
    counts: Mapping[str, Counts], clusters: int, *, resamples: int, seed: int
) -> dict[str, dict[str, Floats]]:
    """Metrics of every model in `resamples` drawings of whole clusters with replacement.

    Parameters
    ----------
    counts : mapping of str to Counts
        By model, all with the same clusters; a drawing is the same for all of them, so that differences are paired.
    clusters : int
        How many there are.
    resamples : int
        At least 2.
    seed : int
        Of the drawings.

    Returns
    -------
    dict of dict of (resamples,) float64
        By model, then by metric of `RESAMPLED`.

    Source
    ------
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 8 (the unit that is drawn is the one that is
    independent); Field and Welsh, "Bootstrapping clustered data", JRSS B 69, 2007.
    """
    rng = np.random.default_rng(seed)
    weight = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(np.float64)
    return {name: its.metrics(weight) for name, its in counts.items()}


def jackknife_se(values: Floats) -> float:
    """Standard error of a statistic from its G values, each without one cluster (Efron and Stein, 1981)."""
    if values.size < 2:
        return math.nan
    apart = values - values.mean()
    return float(math.sqrt((values.size - 1) / values.size * (apart @ apart)))


def without_each(clusters: int) -> Floats:
    """(G, G) weights: row g leaves out cluster g."""
    return 1.0 - np.eye(clusters)


def _midranks(values: NDArray[Any]) -> Floats:
    """Rank of each value from 1 on; equal values share the mean of theirs."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    first = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    last = np.append(first[1:], values.size)
    found = np.empty(values.size)
    found[order] = np.repeat((first + last + 1) / 2, last - first)
    return found


def _bins(score: NDArray[Any], order: Codes, bins: int) -> Codes:
    """A bin of each score, by rising score, of equal count as far as ties allow; equal scores share one."""
    if not score.size:
        return np.empty(0, dtype=np.intp)
    ranked = score[order]
    edges = np.unique(ranked[(np.arange(1, bins) * ranked.size) // bins])
    found = np.empty(score.size, dtype=np.intp)
    found[order] = np.searchsorted(edges, ranked, side="right")
    return found


def _equal_counts(order: Codes, bins: int) -> Codes:
    """Bins of equal count by position, as `greenlight.core.metrics.calibration_bins` has them."""
    sizes = [part.size for part in np.array_split(np.empty(order.size, np.int8), bins)]
    found = np.empty(order.size, dtype=np.intp)
    found[order] = np.repeat(np.arange(bins), sizes)
    return found
