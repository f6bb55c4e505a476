"""How sure a number is: bounds from a standard error with few clusters, and what a second look costs.

A standard error from G clusters (days) has about G - 1 degrees of freedom, so bounds are Student's, not the normal's.
Probability and quantile are one closed formula and its inverse, the same on every machine and without SciPy.
"""

from __future__ import annotations

import math
from statistics import NormalDist

NORMAL = NormalDist()
POWER = 0.80  # of the "how many more days" and of the smallest difference that can be told


def t_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's t.

    Parameters
    ----------
    probability : float
        0 to 1, both excluded.
    freedom : float
        Degrees of freedom, at least 1.

    Source
    ------
    Wallace, "Bounds on normal approximations to Student's and the chi-square distributions", Annals of Mathematical
    Statistics 30, 1959: the normal value of the same probability, solved for t. Against SciPy, for
    probabilities of 0.0001 to 0.9999, it is within 0.2 % of the exact quantile from 29 degrees of freedom on, and up to
    1.3 % too far out with 7 (tests/core/test_bounds.py).
    With one and two degrees of freedom, where it would be far too far out, the exact closed forms stand in its place.
    """
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        return (2 * probability - 1) / math.sqrt(2 * probability * (1 - probability))
    z = NORMAL.inv_cdf(probability)
    shrunk = z * (8 * freedom + 3) / (8 * freedom + 1)
    return math.copysign(math.sqrt(freedom * math.expm1(shrunk * shrunk / freedom)), z)


def t_tail(t: float, freedom: float) -> float:
    """Probability that Student's t is at least `t`; the inverse of `t_quantile`."""
    if freedom == 1:
        return math.atan2(1, t) / math.pi
    if freedom == 2:
        # Of two equal forms the one that loses no digits in its tail.
        root = math.sqrt(2 + t * t)
        return 1 / (root * (root + t)) if t > 0 else (1 - t / root) / 2
    z = math.sqrt(freedom * math.log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
    return NORMAL.cdf(-math.copysign(z, t))


def spent(error: float, look: int) -> float:
    """The part of `error` that look number `look` (1, 2, ...) at the same holdout may use.

    ``error / (look * (look + 1))``: a half, a sixth, a twelfth, ...; all looks there can ever be add up to `error`, so
    that retraining again and again against one month does not win by repetition.

    Source
    ------
    Alpha spending with the telescoping series (Foster and Stine, "Alpha-investing", JRSS B 70, 2008, section 3, give
    the family of such schedules). The union bound makes it valid whatever the dependence between the candidates.
    """
    if look < 1:
        raise ValueError(f"look {look}: the first is 1")
    return error / (look * (look + 1))


def holm(p: list[float], looks: int = 0) -> list[float]:
    """Chances (p values) after Holm's correction for looking at all of them, in the order given.

    Parameters
    ----------
    p : list of float
    looks : int
        How many were looked at in all, where `p` are only those worth showing. Each of these is corrected at least as
        strongly as it would be with all of them at hand.

    Source
    ------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979: keeps
    the chance of any false alarm, whatever the dependence between the looks.
    """
    found = [1.0] * len(p)
    reached, count = 0.0, max(looks, len(p))
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: (p[i], i))):
        reached = max(reached, min(1.0, (count - rank) * p[index]))
        found[index] = reached
    return found


def clusters_needed(clusters: int, se: float, distance: float, error: float) -> int | None:
    """How many clusters in all would tell, with a power of 80 %, that a true value is `distance` away from a limit.

    Parameters
    ----------
    clusters : int
        How many there are.
    se : float
        Standard error with these.
    distance : float
        From the limit; what is seen now is taken for the truth.
    error : float
        One-sided, 0 to 0.5.

    Returns
    -------
    int or None
        None where the value lies on the limit: no number of rows tells.
    """
    if distance <= 0 or not math.isfinite(distance):
        return None
    needed = clusters * ((NORMAL.inv_cdf(1 - error) + NORMAL.inv_cdf(POWER)) * se / distance) ** 2
    return math.ceil(needed) if needed < 1e9 else None


def detectable(se: float, freedom: float, error: float) -> float:
    """The smallest true distance from a limit that is told with a power of 80 %."""
    return (t_quantile(1 - error, freedom) + NORMAL.inv_cdf(POWER)) * se
