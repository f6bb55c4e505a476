"""Simulated canaries: the e-process keeps its promise at every look, the rules beside it do what their tools say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from greenlight.core.comparison import Comparison
from greenlight.core.eprocess import Measure
from greenlight.proof.canary import (
    ALPHA,
    NEVER,
    PLAN,
    RULES,
    Traffic,
    e_process,
    guarded,
    share_error,
    traffic,
    windows,
    z_test,
)

MEASURES = (Measure("failures", margin=1.0, ceiling=0.02), Measure("slow", ceiling=0.02))


def of(candidate: list[bool], failed: list[bool]) -> Traffic:
    return Traffic(np.full(len(candidate), 0.5), np.array(candidate), np.array(failed))


def test_the_failure_that_told_is_the_first_one_that_does() -> None:
    """Found by halving in the benchmark; here one by one, as a controller would look."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        its = traffic(rng, 0.01, 0.2, 3000)
        live, told = Comparison(ALPHA), NEVER
        for at in np.flatnonzero(its.failed):
            if live.update(its.candidate[[at]], its.routing[[at]]).decision == "worse":
                told = int(at) + 1
                break
        assert e_process()(its) == told != NEVER


def test_windows_count_the_bad_ones_and_silence_as_bad() -> None:
    quiet = of([False] * 1000, [False] * 1000)
    assert windows(0.99, 5)(quiet) == 1000
    assert windows(0.99, 6)(quiet) == NEVER
    healthy = of([True] * 1000, [False] * 1000)
    assert windows(0.99, 1)(healthy) == NEVER
    third = of([True] * 1000, [i in (450, 451, 452) for i in range(1000)])
    assert windows(0.99, 1)(third) == 600
    assert windows(0.98, 1)(third) == NEVER


def test_the_z_test_is_the_pooled_one() -> None:
    rng = np.random.default_rng(2)
    its = traffic(rng, 0.02, 0.06, 5000)
    expected = NEVER
    for n in range(500, 5001, 100):
        mine, failed = its.candidate[:n], its.failed[:n]
        a, b = failed[mine], failed[~mine]
        pooled = failed.mean()
        se = math.sqrt(pooled * (1 - pooled) * (1 / a.size + 1 / b.size))
        if (a.mean() - b.mean()) / se > 1.645:
            expected = n
            break
    assert z_test(its) == expected != NEVER


def test_traffic_follows_its_plan() -> None:
    its = traffic(np.random.default_rng(1), 0.0, 1.0, 40_000, PLAN)
    assert its.routing.tolist() == np.repeat(PLAN, 10_000).tolist()
    assert (its.failed == its.candidate).all()
    for step, weight in zip(np.split(its.candidate, 4), PLAN, strict=True):
        assert step.mean() == pytest.approx(weight, abs=5 * share_error(weight, 10_000))


def rolled_back(rule: str, stable: float, candidate: float, runs: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [RULES[rule](traffic(rng, stable, candidate, 10_000)) for _ in range(runs)]


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.01, 0.001])
@pytest.mark.parametrize("weights", [(0.1,), PLAN])
def test_healthy_canaries_are_rolled_back_at_most_alpha_however_often_one_looks(
    rate: float, weights: tuple[float, ...]
) -> None:
    """Looked at after each of 20,000 requests, with one weight and with a plan's steps; 2,000 canaries."""
    rng, rule = np.random.default_rng(17), e_process(1.0)
    false = np.mean([rule(traffic(rng, rate, rate, 20_000, weights)) != NEVER for _ in range(2000)])
    assert 0 < false <= ALPHA, "and it does happen: a rule that never rolls back would prove nothing"


@pytest.mark.slow
def test_at_the_margin_itself_the_promise_holds_too() -> None:
    """Truly 1.25 times as often: the edge of what is tolerated, with three standard errors."""
    rng, rule, runs = np.random.default_rng(5), e_process(1.25), 1500
    false = np.mean([rule(traffic(rng, 0.02, 0.025, 20_000, PLAN)) != NEVER for _ in range(runs)])
    assert 0 < false <= ALPHA + 3 * share_error(ALPHA, runs)


@pytest.mark.slow
def test_delays_stand_beside_those_of_fixed_thresholds() -> None:
    """Each fixed threshold is either slower on a sick candidate or rolls back healthy ones far more often."""
    ours = "e-process, margin 1"
    others = [name for name in RULES if not name.startswith("e-process")]
    for stable, candidate, latest in ((0.01, 0.05, 1200), (0.01, 0.2, 160), (0.001, 0.05, 600), (0.001, 0.5, 60)):
        ends = rolled_back(ours, stable, candidate, 300, 1)
        assert NEVER not in ends
        assert np.median(ends) <= latest
        for name in others:
            theirs = rolled_back(name, stable, candidate, 60, 1)
            slower = np.median([end if end != NEVER else 10_000 for end in theirs]) > np.median(ends)
            healthy = np.mean([end != NEVER for end in rolled_back(name, 0.01, 0.01, 60, 2)])
            assert slower or healthy > 3 * ALPHA, name


@pytest.mark.slow
def test_whole_guards_end_as_they_should() -> None:
    """Over a plan's steps: the healthy promoted, the sick rolled back, and the mistakes rare."""
    rng = np.random.default_rng(23)

    def ends(stable: float, candidate: float, runs: int) -> list[str]:
        drawn = (traffic(rng, stable, candidate, 40_000, PLAN) for _ in range(runs))
        return [guarded(its, MEASURES, every=500, min_requests=100)[0] for its in drawn]

    assert ends(0.001, 0.001, 100).count("promote") >= 90
    assert ends(0.001, 0.05, 40).count("roll_back") == 40
    at_the_limit = ends(0.01, 0.02, 100)  # twice as often and at the ceiling: no "fine" is true
    assert at_the_limit.count("promote") <= 100 * (ALPHA + 3 * share_error(ALPHA, 100))
