"""Intervals and a split that may be watched: what they promise at many looks, by simulation, and their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from greenlight.core.always_valid import (
    CONCENTRATIONS,
    Mean,
    bounded_mean,
    difference,
    difference_of_bounded,
    sample_ratio,
)
from greenlight.errors import UsageError

ALPHA, RUNS = 0.10, 300
ALLOWED = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
LOOKS = np.unique(np.geomspace(120, 6000, 40).astype(int))  # units of both arms


def watched(rng: np.random.Generator, shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Arms and outcomes of one A/B test in which both arms have the same mean."""
    n = int(LOOKS[-1])
    outcome = {
        "rare": lambda: rng.random(n) < 0.1,
        "even": lambda: rng.random(n) < 0.5,
        "skewed": lambda: rng.exponential(1.0, n),
    }[shape]()
    return rng.random(n) < 0.3, outcome.astype(np.float64)


def misses(shape: str, seed: int) -> tuple[float, float]:
    """Share of the tests in which zero is ever left out: by the interval, and by a 90 % one for a single look."""
    rng, ever, ever_fixed = np.random.default_rng(seed), 0, 0
    z = stats.norm.isf(ALPHA / 2)
    for _ in range(RUNS):
        arm, y = watched(rng, shape)
        missed = fixed = False
        for n in LOOKS:
            a, b = Mean.of(y[:n][arm[:n]]), Mean.of(y[:n][~arm[:n]])
            missed |= difference(a, b, alpha=ALPHA, tuned_for=2000, least=60).excludes_zero
            fixed |= min(a.n, b.n) > 1 and abs(a.mean - b.mean) > z * math.sqrt(a.variance / a.n + b.variance / b.n)
        ever, ever_fixed = ever + missed, ever_fixed + fixed
    return ever / RUNS, ever_fixed / RUNS


@pytest.mark.parametrize("shape", ["rare", "even", "skewed"])
def test_the_truth_is_kept_at_forty_looks_together(shape: str) -> None:
    """And an interval for a single look is not, on the same data."""
    ever, fixed = misses(shape, 6)
    assert ever <= ALLOWED
    assert fixed > 2 * ALPHA


def test_a_true_difference_is_found_and_the_interval_closes_on_it() -> None:
    rng = np.random.default_rng(1)
    a, b = (Mean.of(rng.random(20_000) < p) for p in (0.25, 0.20))
    found = difference(a, b)
    assert found.low > 0
    assert found.low < 0.05 < found.high
    once = 1.96 * math.sqrt(0.25 * 0.75 / 20_000 + 0.2 * 0.8 / 20_000)
    assert 1.2 < (found.high - found.low) / (2 * once) < 2.0, "the price of watching"


def test_with_one_arm_of_known_mean_it_is_the_papers_formula() -> None:
    """Equal arms, n units in all: mean +- s sqrt(2 (n rho^2 + 1) / (n rho)^2 log(sqrt(n rho^2 + 1) / alpha))."""
    a = Mean.of(np.tile([0.0, 1.0], 500))
    found = difference(a, a, alpha=0.05, tuned_for=2000)
    n, rho2 = 2000, (-2 * math.log(0.05) + math.log(1 - 2 * math.log(0.05))) / 2000
    radius = 2 * 0.5 * math.sqrt(2 * (n * rho2 + 1) / (n * n * rho2) * math.log(math.sqrt(n * rho2 + 1) / 0.05))
    assert (found.low, found.high) == (pytest.approx(-radius), pytest.approx(radius))


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100), max_size=30), st.integers(0, 30))
def test_sums_of_an_arm_add_up(values: list[float], cut: int) -> None:
    whole, parts = Mean.of(values), Mean.of(values[:cut]) + Mean.of(values[cut:])
    assert parts.n == whole.n
    assert parts.mean == pytest.approx(whole.mean, abs=1e-9)
    assert parts.squares == pytest.approx(whole.squares, abs=1e-6)


def test_too_little_is_no_certainty() -> None:
    for a, b in (
        (Mean(), Mean()),
        (Mean.of([1.0] * 50), Mean.of([0.0] * 5000)),
        (Mean.of([1.0] * 5000), Mean.of([1.0] * 5000)),
    ):
        found = difference(a, b)
        assert (found.low, found.high) == (-math.inf, math.inf)
        assert not found.excludes_zero


@pytest.mark.parametrize("p", [0.02, 0.5])
def test_the_exact_interval_keeps_the_mean_at_every_single_look(p: float) -> None:
    """Looked at after each of the first 40 values and then ever more rarely, to 3,000."""
    rng = np.random.default_rng(9)
    looks = np.unique(np.concatenate([np.arange(1, 41), np.geomspace(41, 3000, 25).astype(int)]))
    wrong = 0
    for _ in range(120):
        x = rng.random(3000) < p
        wrong += any(not i.low <= p <= i.high for i in (bounded_mean(x[:n], alpha=ALPHA) for n in looks))
    assert wrong / 120 <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 120)


def test_the_exact_interval_is_the_papers_step_by_step() -> None:
    """Written as a loop over the recursions of Waudby-Smith and Ramdas, theorem 2."""
    x = np.random.default_rng(0).beta(2, 5, 60)
    mean, spread, total, squares = 0.5, 0.25, 0.5, 0.25
    stakes, costs = [], []
    for t, value in enumerate(x, start=1):
        stake = min(0.5, math.sqrt(2 * math.log(2 / 0.05) / (spread * t * math.log(1 + t))))
        costs.append(4 * (value - mean) ** 2 * (-math.log(1 - stake) - stake) / 4)
        stakes.append(stake)
        total += value
        mean = total / (t + 1)
        squares += (value - mean) ** 2
        spread = squares / (t + 1)
    centre = sum(s * v for s, v in zip(stakes, x, strict=True)) / sum(stakes)
    radius = (math.log(2 / 0.05) + sum(costs)) / sum(stakes)
    found = bounded_mean(x)
    assert (found.low, found.high) == (pytest.approx(max(0, centre - radius)), pytest.approx(centre + radius))


def test_a_range_moves_the_exact_interval_with_it() -> None:
    x = np.random.default_rng(3).random(500)
    unit, wide = bounded_mean(x), bounded_mean(10 * x - 5, low=-5, high=5)
    assert (wide.low, wide.high) == (pytest.approx(10 * unit.low - 5), pytest.approx(10 * unit.high - 5))
    assert bounded_mean([]).low == 0.0
    both = difference_of_bounded(np.ones(2000), np.zeros(2000))
    assert both.estimate == 1.0
    assert both.low > 0.95
    assert difference_of_bounded([], []).excludes_zero is False


def test_a_planned_split_passes_and_a_lossy_one_does_not() -> None:
    planned = {"v2": 1000.0, "v1": 9000.0}
    assert sample_ratio({"v2": 0, "v1": 0}, planned).evidence == pytest.approx(1.0)
    good = sample_ratio({"v2": 5012, "v1": 44_988}, planned)
    assert not good.mismatch()
    assert good.expected == {"v2": pytest.approx(5000), "v1": pytest.approx(45_000)}
    assert sample_ratio({"v2": 4500, "v1": 45_000}, planned).mismatch()
    assert sample_ratio({"v2": 40, "v1": 0}, planned).mismatch(), "gross ones early"
    huge = sample_ratio({"v2": 10**9, "v1": 1}, planned)
    assert math.isfinite(huge.evidence)


def test_the_evidence_is_a_mean_of_dirichlet_multinomials() -> None:
    """Against the chain of predictive probabilities, key by key, for three arms."""
    shares, order = np.array([0.1, 0.3, 0.6]), [0, 2, 2, 1, 2, 0, 0, 1]
    products = []
    for k in CONCENTRATIONS:
        seen, product = k * shares, 1.0
        for arm in order:
            product *= seen[arm] / seen.sum() / shares[arm]
            seen = seen + np.eye(3)[arm]
        products.append(product)
    counts = {name: order.count(i) for i, name in enumerate("abc")}
    weights = dict(zip("abc", (1, 3, 6), strict=True))
    assert sample_ratio(counts, weights).evidence == pytest.approx(np.mean(products), rel=1e-9)


def test_the_split_is_ever_called_wrong_as_rarely_as_said() -> None:
    """Looked at after every twentieth key."""
    rng, wrong = np.random.default_rng(5), 0
    for _ in range(RUNS):
        newcomers = np.cumsum(rng.random(2000) < 0.1)[19::20]
        wrong += any(
            sample_ratio({"b": int(x), "a": 20 * i - int(x)}, {"b": 1, "a": 9}).mismatch(ALPHA)
            for i, x in enumerate(newcomers, start=1)
        )
    assert wrong / RUNS <= ALLOWED


@pytest.mark.parametrize(
    ("counts", "weights"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": 1, "c": 2}),
        ({"a": -1, "b": 0}, {"a": 1, "b": 1}),
        ({"a": 1, "b": 0}, {"a": 1, "b": 0}),
        ({"a": 1, "b": 0}, {"a": 1, "b": math.nan}),
    ],
)
def test_a_split_that_is_none_is_refused(counts: dict[str, int], weights: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        sample_ratio(counts, weights)


def test_outcomes_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="none of them missing"):
        Mean.of([1.0, math.nan])
    with pytest.raises(UsageError, match="outside the range"):
        bounded_mean([0.5, 1.2])
    with pytest.raises(UsageError, match="range is"):
        bounded_mean([0.5], low=1, high=0)
    with pytest.raises(UsageError, match="at least 1 and 2"):
        difference(Mean(), Mean(), least=1)
    with pytest.raises(UsageError, match="alpha"):
        difference(Mean(), Mean(), alpha=2)
