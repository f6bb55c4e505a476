"""The read-out of an A/B test that may be watched: an interval for the difference, and a check of the split itself.

A fixed-sample interval that is looked at every day misses the truth far more often than it says. The intervals here
hold at all looks together. The unit is what was assigned (a key), never one of its requests: what one user does moves
together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greenlight.core.comparison import LARGEST, check_alpha
from greenlight.errors import UsageError

Floats = NDArray[np.float64]

LEAST = 100  # values of each arm before an interval that is valid for many is shown
TUNED_FOR = 10_000  # units at which the interval is sharpest; it holds at any number
BET = 0.5  # the largest stake of the exact interval
CONCENTRATIONS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)  # of the alternatives to a planned split: anything to nearly it


@dataclass(frozen=True)
class Mean:
    """Mean and spread of an arm's outcomes, one per key; enough for `difference`, and sums add up in any order.

    Attributes
    ----------
    n : int
    mean : float
    squares : float
        Sum of squared distances from the mean.
    """

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: ArrayLike) -> Mean:
        """From (n,) finite values.

        Raises
        ------
        UsageError
            A value is not a number.
        """
        its = _finite(values)
        if not its.size:
            return cls()
        mean = float(its.mean())
        return cls(int(its.size), mean, float(((its - mean) ** 2).sum()))

    def __add__(self, other: Mean) -> Mean:
        """Both together (Chan, Golub and LeVeque, The American Statistician 37, 1983)."""
        n = self.n + other.n
        if not n:
            return Mean()
        apart = other.mean - self.mean
        squares = self.squares + other.squares + apart * apart * self.n * other.n / n
        return Mean(n, self.mean + apart * other.n / n, squares)

    @property
    def variance(self) -> float:
        """Of one outcome; NaN where nothing is known."""
        return self.squares / self.n if self.n else math.nan


@dataclass(frozen=True)
class Interval:
    """An estimate with bounds that hold at all times together.

    Attributes
    ----------
    estimate : float
        NaN where an arm is empty.
    low, high : float
        Infinite (or the ends of the range) where too little is known.
    """

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign of the difference is shown."""
        return self.low > 0 or self.high < 0


def difference(
    candidate: Mean, stable: Mean, *, alpha: float = 0.05, tuned_for: int = TUNED_FOR, least: int = LEAST
) -> Interval:
    """Confidence sequence for the difference of two arms' means, candidate minus stable.

    Parameters
    ----------
    candidate, stable : Mean
        Of independent units (keys) whose weights stayed as they were: where the weights changed, begin anew, or what
        differs between then and now is taken for a difference of the arms.
    alpha : float
        0 to 1, excluded: the chance of ever missing the truth at a look with at least `least` units in each arm.
    tuned_for : int
        At least 1: units of both arms at which the interval is sharpest. Fixed before the first look.
    least : int
        At least 2: with fewer in an arm nothing is said. Rare events need more: some ten of them in each arm.

    Notes
    -----
    With ``n`` units in all and ``v = n (s1^2 / n1 + s0^2 / n0)`` the radius is
    ``sqrt(v) * sqrt(2 (n rho^2 + 1) / (n rho)^2 * log(sqrt(n rho^2 + 1) / alpha))``. Asymptotic: the chance is `alpha`
    for outcomes of any distribution with more than two moments, as `least` grows. Bounded outcomes have an exact one,
    `difference_of_bounded`, at about twice the width.

    Source
    ------
    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
    sequences", Annals of Statistics 52, 2024 (arXiv 2103.06476), section 2, and its appendix on the choice of rho; the
    difference of means is asymptotically linear, which is what the theorem asks.
    """
    check_alpha(alpha)
    if tuned_for < 1 or least < 2:
        raise UsageError(f"tuned_for is {tuned_for} and least {least}; they are at least 1 and 2")
    estimate = candidate.mean - stable.mean if candidate.n and stable.n else math.nan
    spread = candidate.squares + stable.squares
    if min(candidate.n, stable.n) < least or spread <= 0:
        # Outcomes that are all alike have no spread yet; that is not certainty.
        return Interval(estimate, -math.inf, math.inf)
    n = candidate.n + stable.n
    variance = n * (candidate.variance / candidate.n + stable.variance / stable.n)
    wide = -2 * math.log(alpha)
    rho2 = (wide + math.log1p(wide)) / tuned_for
    inflated = n * rho2 + 1
    radius = math.sqrt(variance * 2 * inflated / (n * n * rho2) * math.log(math.sqrt(inflated) / alpha))
    return Interval(estimate, estimate - radius, estimate + radius)


def bounded_mean(values: ArrayLike, *, low: float = 0.0, high: float = 1.0, alpha: float = 0.05) -> Interval:
    """Exact confidence sequence for the mean of bounded values, as it stands after the last one.

    Parameters
    ----------
    values : (n,) float
        Each between `low` and `high`, in the order in which they came: a look at the first k is part of the sequence.
        Needs no independence, only that each has the same mean given those before it.
    alpha : float
        0 to 1, excluded: the chance that any of the intervals misses the mean.

    Raises
    ------
    UsageError
        A value lies outside the range.

    Source
    ------
    Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86, 2024 (arXiv
    2010.09686), theorem 2: the predictable plug-in empirical-Bernstein sequence, with its stakes
    ``min(1/2, sqrt(2 log(2 / alpha) / (s^2 t log(1 + t))))``.
    """
    check_alpha(alpha)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"the range is {low} to {high}, the first is below the second")
    raw = _finite(values)
    if raw.size and not low <= raw.min() <= raw.max() <= high:
        raise UsageError(f"values from {raw.min():g} to {raw.max():g} lie outside the range {low:g} to {high:g}")
    if not raw.size:
        return Interval(math.nan, low, high)
    x = (raw - low) / (high - low)
    t = np.arange(1, x.size + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    spread = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.append(0.5, mean[:-1])
    spread_before = np.append(0.25, spread[:-1])
    stake = np.minimum(BET, np.sqrt(2 * math.log(2 / alpha) / (spread_before * t * np.log1p(t))))
    cost = 4 * (x - before) ** 2 * (-np.log1p(-stake) - stake) / 4
    centre = float((stake * x).sum() / stake.sum())
    radius = float((math.log(2 / alpha) + cost.sum()) / stake.sum())
    bounds = (max(0.0, centre - radius), min(1.0, centre + radius))
    return Interval(float(raw.mean()), *(low + (high - low) * b for b in bounds))


def difference_of_bounded(
    candidate: ArrayLike, stable: ArrayLike, *, low: float = 0.0, high: float = 1.0, alpha: float = 0.05
) -> Interval:
    """Exact confidence sequence for the difference of two arms' means of bounded values, candidate minus stable.

    Each arm gets half of `alpha` (union bound). Parameters and errors as `bounded_mean`.
    """
    mine, its = (bounded_mean(v, low=low, high=high, alpha=alpha / 2) for v in (candidate, stable))
    return Interval(mine.estimate - its.estimate, mine.low - its.high, mine.high - its.low)


@dataclass(frozen=True)
class SampleRatio:
    """Whether the split is the planned one.

    Attributes
    ----------
    observed : mapping of str to int
    expected : mapping of str to float
        Of as many in all.
    log_evidence : float
        Natural logarithm of the evidence against the planned split.
    """

    observed: Mapping[str, int]
    expected: Mapping[str, float]
    log_evidence: float

    @property
    def evidence(self) -> float:
        """The evidence itself; 1 before anything is known, capped where float64 ends."""
        return math.exp(min(self.log_evidence, LARGEST))

    def mismatch(self, alpha: float = 0.001) -> bool:
        """Whether the split is shown to be another, with a chance of at most `alpha` of a false alarm, ever.

        A mismatch says that keys were lost or counted on the way, and that no read-out of this test can be trusted.
        """
        check_alpha(alpha)
        return self.log_evidence >= -math.log(alpha)


def sample_ratio(counts: Mapping[str, int], weights: Mapping[str, float]) -> SampleRatio:
    """Sequential check of the sample ratio: do the arms get what their weights say?

    Parameters
    ----------
    counts : mapping of str to int
        Distinct keys by arm so far; may be looked at as often as one likes. Requests would not do: a key's come
        together.
    weights : mapping of str to float
        By arm, above 0, constant since the counts began. The same arms as in `counts`.

    Raises
    ------
    UsageError
        The arms differ, a count is below 0 or a weight is not above 0.

    Notes
    -----
    The evidence is the mean, over concentrations ``k``, of the Dirichlet-multinomial likelihood with parameters
    ``k w`` (``w`` the planned shares) over the multinomial one at ``w``:
    ``Gamma(k) / Gamma(k + n) * prod(Gamma(k w_i + x_i) / Gamma(k w_i) / w_i ** x_i)``; at most ``1 / alpha`` at all
    times with a chance of at least ``1 - alpha`` where the split is as planned.

    Source
    ------
    Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022 (arXiv 2011.03567),
    where one concentration is used; the mean over five is ours, so that gross and slight deviations are seen early.
    """
    if set(counts) != set(weights) or len(weights) < 2:
        raise UsageError(
            f"counts of {', '.join(counts)} against weights of {', '.join(weights)}: two or more, the same"
        )
    if any(not (math.isfinite(w) and w > 0) for w in weights.values()) or any(x < 0 for x in counts.values()):
        raise UsageError(f"counts {dict(counts)}, weights {dict(weights)}: counts are at least 0, weights above 0")
    total, n = math.fsum(weights.values()), sum(counts.values())
    share = {arm: w / total for arm, w in weights.items()}
    logs = [
        math.lgamma(k)
        - math.lgamma(k + n)
        + sum(math.lgamma(k * w + counts[a]) - math.lgamma(k * w) - counts[a] * math.log(w) for a, w in share.items())
        for k in CONCENTRATIONS
    ]
    top = max(logs)
    found = top + math.log(math.fsum(math.exp(x - top) for x in logs) / len(logs))
    return SampleRatio(dict(counts), {arm: n * w for arm, w in share.items()}, found)


def _finite(values: ArrayLike) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise UsageError(f"outcomes of shape {found.shape}: a list of numbers is needed, none of them missing")
    return found
