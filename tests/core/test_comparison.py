"""The comparison of failures: the textbook formula, whatever the batches, and its promise at every look."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from greenlight.core.comparison import GRID, Comparison, discordant
from greenlight.errors import UsageError

EVENTS = st.lists(st.tuples(st.booleans(), st.floats(0.01, 0.99)), min_size=1, max_size=60)


def plain(events: list[tuple[bool, float]], margin: float, sign: int) -> float:
    """The evidence as the reference states it, one product per alternative; `sign` -1 for the mirrored claim."""
    products = []
    for t in GRID:
        product = 1.0
        for mine, p in events:
            p0 = p * margin / (p * margin + 1 - p)
            q = p * margin * t**sign / (p * margin * t**sign + 1 - p)
            product *= q / p0 if mine else (1 - q) / (1 - p0)
        products.append(product)
    return sum(products) / len(products)


@settings(deadline=None)
@given(EVENTS, st.floats(0.5, 3))
def test_it_is_the_mean_of_the_likelihood_ratios(events: list[tuple[bool, float]], margin: float) -> None:
    mine, p = zip(*events, strict=True)
    its = Comparison(margin=margin).update(mine, p)
    assert its.evidence_worse == pytest.approx(plain(events, margin, 1), rel=1e-9)
    assert its.evidence_not_worse == pytest.approx(plain(events, margin, -1), rel=1e-9)
    apart = Comparison(margin=margin, not_worse_margin=2 * margin).update(mine, p)
    assert apart.evidence_worse == its.evidence_worse
    assert apart.evidence_not_worse == pytest.approx(plain(events, 2 * margin, -1), rel=1e-9)


@settings(deadline=None)
@given(EVENTS, st.integers(1, 59), st.booleans())
def test_how_failures_are_cut_into_calls_changes_nothing(
    events: list[tuple[bool, float]], cut: int, keep: bool
) -> None:
    """Also the peak, so that a decision does not depend on who looked when; and across a kill and a restart."""
    mine, p = zip(*events, strict=True)
    whole = Comparison().update(mine, p)
    parts = Comparison().update(mine[:cut], p[:cut])
    if keep:
        parts = Comparison.from_json(json.loads(json.dumps(parts.to_json())))
    parts.update(mine[cut:], p[cut:])
    for name in ("log_evidence_worse", "log_evidence_not_worse", "log_peak_worse"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), abs=1e-9), name
    assert (parts.failures, parts.candidate_failures) == (whole.failures, whole.candidate_failures)


@given(st.floats(0.01, 0.99), st.floats(0.3, 3))
@settings(max_examples=200, deadline=None)
def test_the_next_failure_is_never_expected_to_add_evidence(p: float, ratio: float) -> None:
    """The supermartingale itself, exactly: at the null and anywhere inside it, for both claims."""
    theta = p * ratio / (p * ratio + 1 - p)
    for margin, name, inside in ((1.0, "evidence_worse", ratio <= 1.0), (1.0, "evidence_not_worse", ratio >= 1.0)):
        after = [getattr(Comparison(margin=margin).update([mine], [p]), name) for mine in (True, False)]
        expected = theta * after[0] + (1 - theta) * after[1]
        if inside:
            assert expected <= 1 + 1e-12
        elif abs(ratio - 1) > 0.01:
            assert expected != pytest.approx(1, abs=1e-9), "outside the null it moves"


def test_a_broken_candidate_is_told_and_a_healthy_one_shown_alike() -> None:
    assert Comparison().decision == "undecided"
    assert Comparison().update([True] * 3, [0.1] * 3).decision == "worse"
    alike = Comparison(margin=1.25, not_worse_margin=2.0).update(np.arange(1000) % 2 == 0, np.full(1000, 0.5))
    assert alike.decision == "not_worse"
    assert alike.evidence_worse < 1e-3


def test_worse_is_kept_between_looks_and_not_worse_is_not() -> None:
    """Ten failures of the candidate crossed the line; what the stable version does after them does not undo it."""
    its = Comparison().update([True] * 10 + [False] * 400, [0.1] * 410)
    assert its.evidence_worse < 1
    assert its.decision == "worse"
    turned = Comparison(margin=1.5).update([False] * 200, [0.5] * 200)
    assert turned.decision == "not_worse"
    assert turned.update([True] * 300, [0.5] * 300).at(1e-300, 0.05) == "undecided"


def test_a_million_failures_neither_overflow_nor_take_long() -> None:
    """All of them the candidate's, at one in a thousand: the evidence is far beyond float64."""
    n = 1_000_000
    its = Comparison().update(np.ones(n, bool), np.full(n, 0.001))
    assert math.isfinite(its.evidence_worse)
    assert its.log_evidence_worse == pytest.approx(n * math.log(100 / (1 + 0.001 * 99)) - math.log(12), rel=1e-6)
    assert its.evidence_not_worse < 1e-300
    json.loads(json.dumps(its.to_json(), allow_nan=False))
    begun = time.process_time()
    Comparison().update(np.arange(100_000) % 7 == 0, np.full(100_000, 0.1))
    assert time.process_time() - begun < 5, "each event alone, not all before it again"


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_without_a_choice_a_failure_is_no_evidence(p: float) -> None:
    its = Comparison().update([True, False], [p, p])
    assert (its.evidence_worse, its.evidence_not_worse) == (1.0, 1.0)
    assert its.candidate_failures == 1


def test_pairs_that_agree_say_nothing() -> None:
    mine, p = discordant([True, True, False, False], [True, False, True, False])
    assert mine.tolist() == [True, False]
    assert p.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("wrong", [(9, 1), (40, 20), (30, 30), (100, 60)])
def test_paired_labels_agree_with_mcnemar(wrong: tuple[int, int]) -> None:
    """Evidence never claims what the exact test at a fixed number of pairs would be far from."""
    mine = np.repeat([True, False], wrong)
    np.random.default_rng(5).shuffle(mine)
    its = Comparison().update(*discordant(mine, ~mine))
    exact = stats.binomtest(wrong[0], sum(wrong), 0.5, alternative="greater").pvalue
    assert its.evidence_worse <= 1 / exact
    # The grid's best alternative is a likelihood ratio: the mean of twelve keeps at least a twelfth of it.
    t = np.asarray(GRID)
    best = (special.xlogy(wrong[0], 2 * t / (1 + t)) + special.xlogy(wrong[1], 2 / (1 + t))).max()
    assert math.log(its.evidence_worse) >= best - math.log(12) - 1e-9


def test_healthy_canaries_are_rolled_back_at_most_alpha() -> None:
    """Healthy, 1 % and 1 %, 500 failures, looked at after each one: at most alpha (and three standard errors)."""
    rng = np.random.default_rng(11)
    runs, alpha = 400, 0.05
    worse = sum(
        Comparison(alpha).update(rng.random(500) < 0.1, np.full(500, 0.1)).decision == "worse" for _ in range(runs)
    )
    assert worse / runs <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"margin": 0.0}, "margin is 0.0"),
        ({"margin": 2.0, "not_worse_margin": 1.0}, "below the margin 2.0"),
        ({"grid": (1.0,)}, "grid"),
        ({"grid": ()}, "grid"),
    ],
)
def test_parameters_outside_their_range_are_refused(given_: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Comparison(**given_)  # type: ignore[arg-type]


@pytest.mark.parametrize("events", [([True], [1.5]), ([True], [math.nan]), ([True, False], [0.5]), ([True], 0.5)])
def test_events_that_are_none_are_refused_and_leave_no_trace(events: tuple[list[bool], list[float]]) -> None:
    its = Comparison()
    with pytest.raises(UsageError):
        its.update(*events)
    assert its.to_json() == Comparison().to_json()
    with pytest.raises(UsageError):
        discordant([True], [True, False])


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": None},
        {"log_worse": [0.0]},
        {"log_worse": None},
        {"log_peak_worse": math.nan},
        {"candidate_failures": 5},
        {"alpha": "x"},
        {"grid": 3},
    ],
)
def test_a_broken_state_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Comparison.from_json(Comparison().update([True], [0.1]).to_json() | change)
