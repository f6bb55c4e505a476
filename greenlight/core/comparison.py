"""Does the candidate fail more often than the stable version? Asked of failures only, and as often as one likes.

Each failure is a draw: given that one happened, it came from the candidate with a probability that depends on the
routing at that moment and on how many times as often the candidate fails. So neither the traffic nor the base rate has
to be known, and the weights may change while one looks. It must not know what a failure is: a 5xx, a slow answer, an
invalid one, or a label that only one of two versions got right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greenlight.errors import UsageError

Floats = NDArray[np.float64]
Answer = Literal["worse", "not_worse", "undecided"]

SCHEMA = 1
# How many times beyond the margin the truth may lie: near the margin and far from it, evenly on the log scale.
GRID = tuple(float(t) for t in np.geomspace(1.2, 100.0, 12))
PAIRED = 0.5  # given that just one of a pair fails, it is either with even odds where both are alike
CHUNK = 65_536  # failures taken at once, so that a million do not need a gigabyte
LARGEST = 700.0  # log of the largest evidence shown as a number; exp(709) is where float64 ends


class Comparison:
    """Two e-processes over the failures of both versions: "the candidate is worse" and "it is not worse".

    Write ``r`` for how many times as often the candidate fails as the stable version. *Worse* tests ``r <= margin``
    and speaks for a roll back, *not worse* tests ``r >= not_worse_margin`` and speaks for promotion.

    Parameters
    ----------
    alpha : float
        0 to 1, excluded: the chance, over all looks together, of a claim that is false.
    margin : float
        Above 0. At 1 any true excess is a reason to roll back; at 1.25 a quarter more failures is tolerated.
    not_worse_margin : float, optional
        At least `margin`, which it is without. Larger where the versions are to be told alike in a reasonable time: a
        candidate that equals the stable version is shown to be below 2 long before it is shown to be below 1.25.
    grid : sequence of float
        Each above 1: the alternatives are ``margin * t`` and ``not_worse_margin / t``, with even weights.

    Raises
    ------
    UsageError
        A parameter lies outside its range.

    Notes
    -----
    With routing probability ``p`` a failure comes from the candidate with probability ``p r / (p r + 1 - p)``. Under
    ``r = m`` against ``r = m t`` its likelihood ratio is ``t ** x * (p m + 1 - p) / (p m t + 1 - p)``, ``x`` 1 where it
    was the candidate. The mean over the grid of the products is a supermartingale under the whole null hypothesis, for
    every ``p`` that was fixed before the request, and starts at 1; so it ever reaches ``1 / alpha`` with a chance of
    at most `alpha`.

    *Worse* is kept once it was reached, between two looks as well. *Not worse* is asked of the evidence as it stands:
    a candidate that turned bad loses what it had shown.

    Source
    ------
    Ville, "Étude critique de la notion de collectif", 1939 (the inequality); Robbins, "Statistical methods related to
    the law of the iterated logarithm", Annals of Mathematical Statistics 41, 1970 (mixtures); Lindon and Malek,
    "Anytime-valid inference for multinomial count data", NeurIPS 2022 (failures per arm alone, under traffic that
    varies); Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38, 2023.
    The grid and its weights are ours, chosen by simulation (benchmarks/canary.py).
    """

    def __init__(
        self,
        alpha: float = 0.05,
        margin: float = 1.0,
        *,
        not_worse_margin: float | None = None,
        grid: Sequence[float] = GRID,
    ) -> None:
        self.alpha = alpha
        self.margin = margin
        self.not_worse_margin = margin if not_worse_margin is None else not_worse_margin
        self.grid = tuple(float(t) for t in grid)
        self._check()
        self.failures = 0
        self.candidate_failures = 0
        self._log_grid = np.log(self.grid)
        self._worse = np.zeros(len(self.grid))
        self._not_worse = np.zeros(len(self.grid))
        self.log_peak_worse = 0.0

    def update(self, failures: ArrayLike, routing: ArrayLike) -> Comparison:
        """Add failures in the order in which they happened; how they are cut into calls changes nothing.

        Parameters
        ----------
        failures : (n,) bool
            True where the failure was the candidate's. One that a retry on the stable version hid from the user is
            the candidate's, too: the caller counts it here.
        routing : (n,) float
            0 to 1: the probability with which that request would go to the candidate, as it was when it came. At 0
            and 1 there is nothing to compare, and the failure counts as no evidence.

        Returns
        -------
        Comparison
            This one.

        Raises
        ------
        UsageError
            The two differ in length, or a probability is not one.
        """
        mine, p = _events(failures, routing)
        self.failures += mine.size
        self.candidate_failures += int(mine.sum())
        told = (p > 0) & (p < 1)
        if not told.any():
            return self
        mine, p = mine[told, None], p[told, None]
        for begin in range(0, p.size, CHUNK):
            self._add(mine[begin : begin + CHUNK], p[begin : begin + CHUNK])
        return self

    @property
    def setup(self) -> tuple[float, float, float, tuple[float, ...]]:
        """What was asked: alpha, both margins, the grid."""
        return self.alpha, self.margin, self.not_worse_margin, self.grid

    @property
    def log_evidence_worse(self) -> float:
        """Natural logarithm of the evidence against "fails at most `margin` times as often"."""
        return float(_log_mean(self._worse[None])[0])

    @property
    def log_evidence_not_worse(self) -> float:
        """Natural logarithm of the evidence against "fails at least `not_worse_margin` times as often"."""
        return float(_log_mean(self._not_worse[None])[0])

    @property
    def evidence_worse(self) -> float:
        """The evidence itself; 1 before anything is known, capped where float64 ends."""
        return math.exp(min(self.log_evidence_worse, LARGEST))

    @property
    def evidence_not_worse(self) -> float:
        """The evidence itself; 1 before anything is known, capped where float64 ends."""
        return math.exp(min(self.log_evidence_not_worse, LARGEST))

    @property
    def decision(self) -> Answer:
        """``worse`` where it was ever shown, else ``not_worse`` where that is shown now, else ``undecided``."""
        return self.at(self.alpha, self.alpha)

    def at(self, alpha_worse: float, alpha_not_worse: float) -> Answer:
        """The decision with an error chance of its own for each claim, for a caller that splits them."""
        if self.log_peak_worse >= -math.log(alpha_worse):
            return "worse"
        return "not_worse" if self.log_evidence_not_worse >= -math.log(alpha_not_worse) else "undecided"

    def to_json(self) -> dict[str, Any]:
        """The whole state as JSON values; `from_json` goes on with exactly the same numbers."""
        return {
            "schema": SCHEMA,
            "alpha": self.alpha,
            "margin": self.margin,
            "not_worse_margin": self.not_worse_margin,
            "grid": list(self.grid),
            "failures": self.failures,
            "candidate_failures": self.candidate_failures,
            "log_worse": self._worse.tolist(),
            "log_not_worse": self._not_worse.tolist(),
            "log_peak_worse": self.log_peak_worse,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Comparison:
        """Read the state back.

        Raises
        ------
        UsageError
            It is not such a state, or was written by a newer Greenlight.
        """
        try:
            if document["schema"] != SCHEMA:
                raise UsageError(f"the comparison has schema {document['schema']!r}, this code reads {SCHEMA}")
            found = cls(
                float(document["alpha"]),
                float(document["margin"]),
                not_worse_margin=float(document["not_worse_margin"]),
                grid=document["grid"],
            )
            found.failures = int(document["failures"])
            found.candidate_failures = int(document["candidate_failures"])
            found._worse = np.asarray(document["log_worse"], dtype=np.float64)
            found._not_worse = np.asarray(document["log_not_worse"], dtype=np.float64)
            found.log_peak_worse = float(document["log_peak_worse"])
        except (KeyError, TypeError, ValueError) as exc:
            raise UsageError(f"the state of a comparison cannot be read: {exc!r}") from exc
        sums = (found._worse, found._not_worse)
        sound = all(s.shape == (len(found.grid),) and np.isfinite(s).all() for s in sums)
        if not (sound and math.isfinite(found.log_peak_worse) and 0 <= found.candidate_failures <= found.failures):
            raise UsageError("the state of a comparison contradicts itself", todo="begin the comparison anew")
        return found

    def _add(self, mine: NDArray[np.bool_], p: Floats) -> None:
        t = np.asarray(self.grid)
        steps = mine * self._log_grid + _log_odds_step(p, self.margin, t)
        path = self._worse + np.cumsum(steps, axis=0)
        self.log_peak_worse = max(self.log_peak_worse, float(_log_mean(path).max()))
        self._worse = path[-1]
        mirrored = _log_odds_step(p, self.not_worse_margin, 1 / t) - mine * self._log_grid
        self._not_worse = self._not_worse + mirrored.sum(axis=0)

    def _check(self) -> None:
        check_alpha(self.alpha)
        if not (math.isfinite(self.margin) and self.margin > 0):
            raise UsageError(f"the margin is {self.margin}, it is a ratio of failure rates above 0")
        if not (math.isfinite(self.not_worse_margin) and self.not_worse_margin >= self.margin):
            raise UsageError(f"the margin for not worse is {self.not_worse_margin}, below the margin {self.margin}")
        if not self.grid or not all(math.isfinite(t) and t > 1 for t in self.grid):
            raise UsageError(f"the grid is {self.grid}, each of its ratios is above 1")


def discordant(candidate_wrong: ArrayLike, stable_wrong: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Failures and routing for `Comparison.update` where both versions answered the same request.

    Only pairs that one got right and the other wrong tell anything; where both are alike it is either with even odds.
    With late labels this is McNemar's test, asked as often as one likes.

    Parameters
    ----------
    candidate_wrong, stable_wrong : (n,) bool
        By pair, in the order in which the labels came.

    Returns
    -------
    (k,) bool, (k,) float64
        True where only the candidate was wrong; 1/2 each.

    Raises
    ------
    UsageError
        The two differ in length.

    Source
    ------
    McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12, 1947.
    """
    mine, its = np.asarray(candidate_wrong, dtype=bool), np.asarray(stable_wrong, dtype=bool)
    if mine.shape != its.shape or mine.ndim != 1:
        raise UsageError(f"pairs are needed: {mine.shape} answers of the candidate, {its.shape} of the stable version")
    apart = mine != its
    return mine[apart], np.full(int(apart.sum()), PAIRED)


def check_alpha(alpha: float) -> None:
    """Refuse what is no chance of an error.

    Raises
    ------
    UsageError
        `alpha` is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha}, a chance between 0 and 1 (both excluded)")


def _events(failures: ArrayLike, routing: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    mine, p = np.asarray(failures, dtype=bool), np.asarray(routing, dtype=np.float64)
    if mine.shape != p.shape or mine.ndim != 1:
        raise UsageError(f"each failure needs its routing probability: {mine.shape} failures, {p.shape} probabilities")
    wrong = p[~((p >= 0) & (p <= 1))]
    if wrong.size:
        raise UsageError(f"a routing probability is {wrong[0]}, it lies between 0 and 1")
    return mine, p


def _log_odds_step(p: Floats, margin: float, t: Floats) -> Floats:
    """What every failure adds, whoever's it was; (n, len(t))."""
    rest: Floats = np.log(p * margin + 1 - p) - np.log(p * margin * t + 1 - p)
    return rest


def _log_mean(logs: Floats) -> Floats:
    """Logarithm of the mean over the last axis of numbers given by their logarithms; (n,)."""
    top = logs.max(axis=-1)
    found: Floats = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return found
