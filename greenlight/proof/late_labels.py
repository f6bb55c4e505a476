"""Releases that never ran, judged by labels that come late: how often a candidate that is no worse is told to be.

Keys differ in how often they ask (a few ask very often) and in how hard their rows are, and labels come in an order of
their own. Interval and e-process are those that releases use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenlight.core.ab_readout import advantage
from greenlight.core.ab_test import AbTest
from greenlight.core.always_valid import Interval, Mean
from greenlight.core.comparison import Comparison

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Labels:
    """Labelled answers in the order in which their labels came.

    Attributes
    ----------
    key : (n,) int64
        0 to the number of keys - 1.
    mine : (n,) bool
        Whether the candidate answered.
    wrong : (n,) bool
    """

    key: Counts
    mine: NDArray[np.bool_]
    wrong: NDArray[np.bool_]


def labels(
    rng: np.random.Generator,
    keys: int,
    *,
    weight: float = 0.5,
    wrong: float = 0.25,
    worse: float = 1.0,
    sticky: bool = True,
) -> Labels:
    """Draw one release.

    Parameters
    ----------
    keys : int
        One in fifty asks a hundred times as often as the others, which ask about three times.
    wrong : float
        Of the stable version's decisions, on average over keys; a key's own share varies widely (beta, 2 : 6 at 0.25).
    worse : float
        How many times as often the candidate is wrong.
    sticky : bool
        Whether keys were drawn, and not requests.
    """
    asks = rng.geometric(1 / 3, keys) * np.where(rng.random(keys) < 0.02, 100, 1)
    hard = rng.beta(8 * wrong, 8 * (1 - wrong), keys)
    key = np.repeat(np.arange(keys), asks)
    mine = (rng.random(keys) < weight)[key] if sticky else rng.random(key.size) < weight
    failed = rng.random(key.size) < np.minimum(1, hard[key] * np.where(mine, worse, 1.0))
    # Keys come one after the other, and so do the labels of each, each late by a time of its own.
    came = np.repeat(rng.random(keys), asks) + rng.exponential(0.3, key.size)
    order = np.argsort(came, kind="stable")
    return Labels(key[order], mine[order], failed[order])


def looks(its: Labels, test: AbTest, every: int) -> list[Interval]:
    """The interval of the A/B test at each look, as its read-out has it: keys by the mean of what is known of them."""
    found = []
    for known in range(every, its.key.size + 1, every):
        key, correct = its.key[:known], ~its.wrong[:known]
        asked = np.bincount(key)
        mean = np.bincount(key, correct) / np.maximum(asked, 1)
        arm = np.bincount(key, its.mine[:known]) > 0
        there = asked > 0
        found.append(
            advantage(test, {test.candidate: Mean.of(mean[there & arm]), test.stable: Mean.of(mean[there & ~arm])})
        )
    return found


def told_worse(its: Labels, weight: float, *, first_of_key: bool, margin: float = 1.0, alpha: float = ALPHA) -> bool:
    """Whether wrong decisions ever show the candidate to be worse, asked after each label."""
    at = np.flatnonzero(its.wrong)
    if first_of_key:
        at = np.sort(at[np.unique(its.key[at], return_index=True)[1]])
    comparison = Comparison(alpha, margin).update(its.mine[at], np.full(at.size, weight))
    return comparison.decision == "worse"
