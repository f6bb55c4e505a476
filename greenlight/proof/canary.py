"""Canaries that never ran: how often each rule rolls back a healthy one, and how soon a sick one.

Requests come one by one, go to the candidate with the probability of the moment, and fail by chance. The e-process and
the guard are those that releases use; the rules beside them are what canary tools ship with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenlight.core.eprocess import Comparison, Guard, Measure

Flags = NDArray[np.bool_]

ALPHA = 0.05
PLAN = (0.01, 0.05, 0.25, 0.50)  # weights of a canary in equal steps
WINDOW = 200  # requests of both versions in a window of the tools with fixed thresholds
LOOK = 100  # requests between two looks of the z test
FIRST_LOOK = 500  # requests; before that its normal approximation is not worth the name
NEVER = -1


@dataclass(frozen=True, eq=False)
class Traffic:
    """One simulated canary.

    Attributes
    ----------
    routing : (n,) float64
        Probability of the candidate, request by request.
    candidate : (n,) bool
        Whether the request went to it.
    failed : (n,) bool
    """

    routing: NDArray[np.float64]
    candidate: Flags
    failed: Flags


def traffic(
    rng: np.random.Generator, stable: float, candidate: float, requests: int, weights: tuple[float, ...] = (0.1,)
) -> Traffic:
    """Draw one canary; `stable` and `candidate` are the true rates of failure, `weights` its equal steps."""
    routing = np.repeat(weights, -(-requests // len(weights)))[:requests]
    mine = rng.random(requests) < routing
    return Traffic(routing, mine, rng.random(requests) < np.where(mine, candidate, stable))


def e_process(margin: float = 1.0, alpha: float = ALPHA) -> Callable[[Traffic], int]:
    """The rule of `greenlight.core.comparison`, looked at after every request."""

    def rule(its: Traffic) -> int:
        at = np.flatnonzero(its.failed)

        def told(count: int) -> bool:
            first = at[:count]
            return Comparison(alpha, margin).update(its.candidate[first], its.routing[first]).decision == "worse"

        if not told(at.size):
            return NEVER
        low, high = 0, at.size  # "worse" is kept, so the failure that told is found by halving
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if told(middle) else (middle, high)
        return int(at[high - 1]) + 1

    return rule


def z_test(its: Traffic) -> int:
    """Two proportions, pooled, one-sided at 5 %, on all requests so far, every 100 from the 500th on."""
    n = np.arange(1, its.failed.size + 1)
    mine, failed = np.cumsum(its.candidate), np.cumsum(its.failed)
    mine_failed = np.cumsum(its.candidate & its.failed)
    looks = np.arange(FIRST_LOOK, n.size + 1, LOOK) - 1
    a, x, y = mine[looks], mine_failed[looks], failed[looks]
    b, pooled = n[looks] - a, y / n[looks]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (x / a - (y - x) / b) / np.sqrt(pooled * (1 - pooled) * (1 / a + 1 / b))
    return _first(z > 1.645, looks + 1)


def windows(least_success: float, bad_windows: int) -> Callable[[Traffic], int]:
    """Roll back at the `bad_windows`-th window in which the candidate's success rate lies below `least_success`.

    Source
    ------
    Flagger (docs, "How it works": ``threshold`` failed checks in all, request-success-rate at least 99) and Argo
    Rollouts (docs, "Analysis": success rate at least 0.95, more than ``failureLimit`` 3 failed measurements). A window
    without a request of the candidate is a bad one, as in Flagger.
    """

    def rule(its: Traffic) -> int:
        whole = its.failed.size // WINDOW * WINDOW
        mine = its.candidate[:whole].reshape(-1, WINDOW)
        failed = (its.failed[:whole].reshape(-1, WINDOW) & mine).sum(axis=1)
        asked = mine.sum(axis=1)
        bad = (asked == 0) | (asked - failed < least_success * asked)
        return _first(np.cumsum(bad) >= bad_windows, (np.arange(bad.size) + 1) * WINDOW)

    return rule


RULES: Mapping[str, Callable[[Traffic], int]] = {
    "e-process, margin 1": e_process(1.0),
    "e-process, margin 1.25": e_process(1.25),
    "z test each 100 requests": z_test,
    "success >= 99 %, 5 bad windows (Flagger)": windows(0.99, 5),
    "success >= 95 %, > 3 bad windows (Argo example)": windows(0.95, 4),
}


def guarded(its: Traffic, measures: tuple[Measure, ...], *, every: int, min_requests: int) -> tuple[str, int]:
    """What a guard says of a canary that is looked at every so many requests, and after how many.

    The same failures count for the first measure; the others see none.
    """
    guard = Guard(measures, alpha=ALPHA, min_requests=min_requests)
    for begin in range(0, its.failed.size, every):
        part = slice(begin, begin + every)
        at = begin + np.flatnonzero(its.failed[part])
        guard.observe(int(its.candidate[part].sum()), float(every))
        verdict = guard.update(measures[0].name, its.candidate[at], its.routing[at]).verdict()
        if verdict.decision != "undecided":
            return verdict.decision, min(begin + every, its.failed.size)
    return "undecided", its.failed.size


def share_error(share: float, runs: int) -> float:
    """Standard error of a share of independent runs."""
    return math.sqrt(share * (1 - share) / runs)


def _first(holds: Flags, after: NDArray[np.intp]) -> int:
    """The number of requests at which a rule first held."""
    return int(after[int(holds.argmax())]) if holds.any() else NEVER
