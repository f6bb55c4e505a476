"""How often does something fail at all? A bound on one version's own rate that may be looked at as often as one likes.

A comparison needs failures. A healthy candidate has none, so what speaks for it is how many requests it answered
without one: 0 failures in enough requests show that it fails less often than the service can bear.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from greenlight.core.comparison import GRID, LARGEST, check_alpha
from greenlight.errors import UsageError

STEPS = 60  # of the bisection: the bounds are exact to float64
MOST_CERTAIN = math.nextafter(1, 0)  # the largest rate below 1 that float64 has
MOST = 10**9  # requests that are counted ahead; a rate that needs more is not shown in anyone's lifetime


@dataclass(frozen=True)
class Rate:
    """Failures among trials.

    Attributes
    ----------
    trials : int
        Requests, pairs or labels that were judged.
    failures : float
        How many failed; a fraction where a trial is the share of a request's rows.

    Raises
    ------
    UsageError
        More failures than trials, or either below 0.

    Notes
    -----
    For a limit ``c`` and each ``q < c`` the product of ``(q / c) ** x * ((1 - q) / (1 - c)) ** (1 - x)`` over trials
    ``x`` is a supermartingale whenever every trial fails with probability at least ``c`` given the past. Its mean over
    ``q = c / t``, ``t`` over the grid and infinity, is the evidence for "below c"; the mean over ``q > c`` that for
    "above c". By convexity the same holds for any ``x`` between 0 and 1 whose expectation is at least (at most) ``c``.
    Both grow steadily with the distance of ``c`` from what was seen, so the limits at which they reach ``1 / alpha``
    are confidence bounds for all times at once. The alternative next to a limit lies 1.2 times away from it, so that
    the bounds stay a tenth off the truth however much is known: enough for a ceiling, and sharper where it matters.

    Source
    ------
    Robbins, Annals of Mathematical Statistics 41, 1970 (mixture of likelihood ratios, Bernoulli case); Howard, Ramdas,
    McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49,
    2021, with a grid in place of the beta mixture: one-sided, and sharper where nothing failed. Convexity as in
    Hoeffding, JASA 58, 1963.
    """

    trials: int = 0
    failures: float = 0.0

    def __post_init__(self) -> None:
        """Check the counts."""
        if not 0 <= self.failures <= self.trials:
            raise UsageError(f"{self.failures:g} failures among {self.trials} trials: more failed than were tried")

    def more(self, trials: int, failures: float) -> Rate:
        """With further trials."""
        return Rate(self.trials + trials, self.failures + failures)

    def log_evidence_below(self, limit: float) -> float:
        """Natural logarithm of the evidence against "fails at least `limit` of the time"; 0 to 1, both excluded."""
        _check_limit(limit)
        return self._log_evidence(limit, [*(limit / t for t in GRID), 0.0])

    def log_evidence_above(self, limit: float) -> float:
        """Natural logarithm of the evidence against "fails at most `limit` of the time"; 0 to 1, both excluded."""
        _check_limit(limit)
        odds = [limit / (1 - limit) * t for t in GRID]  # odds, so that every alternative stays below 1
        return self._log_evidence(limit, [min(o / (1 + o), MOST_CERTAIN) for o in odds])

    def evidence_below(self, limit: float) -> float:
        """The evidence itself, capped where float64 ends."""
        return math.exp(min(self.log_evidence_below(limit), LARGEST))

    def below(self, limit: float, alpha: float) -> bool:
        """Whether the rate is shown to be below `limit`, with a chance of at most `alpha` of being wrong, ever."""
        check_alpha(alpha)
        return self.log_evidence_below(limit) >= -math.log(alpha)

    def above(self, limit: float, alpha: float) -> bool:
        """Whether the rate is shown to be above `limit`, with a chance of at most `alpha` of being wrong, ever."""
        check_alpha(alpha)
        return self.log_evidence_above(limit) >= -math.log(alpha)

    def upper(self, alpha: float) -> float:
        """The least limit that the rate is shown to be below; 1 where none is."""
        check_alpha(alpha)
        return _edge(lambda limit: self.below(limit, alpha), holds_at_top=True)

    def lower(self, alpha: float) -> float:
        """The largest limit that the rate is shown to be above; 0 where none is."""
        check_alpha(alpha)
        return _edge(lambda limit: not self.above(limit, alpha), holds_at_top=False)

    def trials_to_go(self, limit: float, alpha: float) -> int | None:
        """How many further trials, none of them failing, show a rate below `limit`; None where more than a billion."""
        if self.below(limit, alpha):
            return 0
        low, high = 0, 1
        while not self.more(high, 0).below(limit, alpha):
            low, high = high, high * 2
            if high > MOST:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.more(middle, 0).below(limit, alpha) else (middle, high)
        return high

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values; they are the whole state."""
        return asdict(self)

    def _log_evidence(self, limit: float, alternatives: list[float]) -> float:
        # Plain floats: thirteen numbers are half done before NumPy has begun, and a bound asks for this sixty times.
        passed, base = self.trials - self.failures, math.log1p(-limit)
        logs = [passed * (math.log1p(-q) - base) + self._failing(q, limit) for q in alternatives]
        top = max(logs)
        return top + math.log(math.fsum(math.exp(x - top) for x in logs) / len(logs))

    def _failing(self, alternative: float, limit: float) -> float:
        if not self.failures:
            return 0.0
        # An alternative of 0 is ruled out by one failure.
        return self.failures * math.log(alternative / limit) if alternative else -math.inf


def _check_limit(limit: float) -> None:
    if not 0 < limit < 1:
        raise UsageError(f"the limit of a rate is {limit}, it lies between 0 and 1 (both excluded)")


def _edge(holds: Callable[[float], bool], *, holds_at_top: bool) -> float:
    """Where a statement that changes once between 0 and 1 does so, on the logit scale; the safe side of it."""
    low, high = -40.0, 36.0
    if not holds(_logistic(high)):
        return 1.0 if holds_at_top else _logistic(high)
    if holds(_logistic(low)):
        return _logistic(low) if holds_at_top else 0.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(_logistic(middle)) else (middle, high)
    return _logistic(high if holds_at_top else low)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
