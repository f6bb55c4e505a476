"""How often something fails at all: bounds that hold at every look, and that a failure-free candidate can reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from greenlight.core.rate_bound import Rate
from greenlight.errors import UsageError


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    trials = draw(st.integers(0, 5000))
    return Rate(trials, draw(st.integers(0, trials)))


@settings(deadline=None)
@given(rates(), st.sampled_from([0.001, 0.025, 0.05, 0.2]))
def test_bounds_are_where_the_claims_begin(rate: Rate, alpha: float) -> None:
    upper, lower = rate.upper(alpha), rate.lower(alpha)
    assert 0 <= lower <= (rate.failures / rate.trials if rate.trials else 0.5) <= upper <= 1
    for limit in (0.001, 0.01, 0.1, 0.5, 0.9):
        if abs(limit - upper) > 1e-9:
            assert rate.below(limit, alpha) == (limit > upper)
        if abs(limit - lower) > 1e-9:
            assert rate.above(limit, alpha) == (limit < lower)


@settings(deadline=None)
@given(rates())
def test_looking_all_the_time_costs_something(rate: Rate) -> None:
    """Never narrower than the exact bound for one look (Clopper and Pearson): that one would be a mistake."""
    once = stats.beta.ppf(0.95, rate.failures + 1, rate.trials - rate.failures) if rate.failures < rate.trials else 1.0
    assert rate.upper(0.05) >= once - 1e-9


def test_nothing_failed_is_evidence_once_there_is_enough_of_it() -> None:
    """The rule of three says 299 requests for 1 % at a single look; at every look it takes 341."""
    assert Rate().evidence_below(0.01) == 1.0
    assert Rate().upper(0.05) == 1.0
    assert Rate().lower(0.05) == 0.0
    needed = Rate().trials_to_go(0.01, 0.05)
    assert needed == 341
    assert Rate(needed, 0).below(0.01, 0.05)
    assert not Rate(needed - 1, 0).below(0.01, 0.05)
    assert Rate(needed, 0).trials_to_go(0.01, 0.05) == 0
    assert Rate(10, 10).trials_to_go(1e-9, 0.001) is None


def expected_after_one(name: str, limit: float, rate: float) -> float:
    after = [math.exp(getattr(Rate(1, x), name)(limit)) for x in (1, 0)]
    return rate * after[0] + (1 - rate) * after[1]


@settings(deadline=None)
@given(st.floats(0.001, 0.9), st.floats(0, 1))
def test_the_next_trial_is_never_expected_to_add_evidence(limit: float, rate: float) -> None:
    if rate >= limit:
        assert expected_after_one("log_evidence_below", limit, rate) <= 1 + 1e-9
    if rate <= limit:
        assert expected_after_one("log_evidence_above", limit, rate) <= 1 + 1e-9


@settings(deadline=None)
@given(st.floats(0.001, 0.9), st.floats(0, 1))
def test_shares_of_a_request_count_as_fractions(limit: float, share: float) -> None:
    """A trial of fractions is worth no more than the same failures in whole ones (convexity)."""
    fraction = Rate(1, share).log_evidence_above(limit)
    whole = share * math.exp(Rate(1, 1).log_evidence_above(limit)) + (1 - share) * math.exp(
        Rate(1, 0).log_evidence_above(limit)
    )
    assert math.exp(fraction) <= whole + 1e-9


@pytest.mark.parametrize("rate", [0.002, 0.05, 0.5])
def test_the_truth_is_ever_missed_as_rarely_as_said(rate: float) -> None:
    """400 candidates, looked at 40 times from 10 to 4,000 requests; each side at most 10 %."""
    rng = np.random.default_rng(3)
    looks = np.unique(np.geomspace(10, 4000, 40).astype(int))
    paths = np.cumsum(rng.random((400, 4000)) < rate, axis=1)[:, looks - 1]
    alpha, allowed = 0.10, 0.10 + 3 * math.sqrt(0.09 / 400)
    counts = {
        (n, x): Rate(n, x) for n, x in {(int(n), int(x)) for row in paths for n, x in zip(looks, row, strict=True)}
    }
    below = {key: its.below(rate, alpha) for key, its in counts.items()}
    above = {key: its.above(rate, alpha) for key, its in counts.items()}
    for said in (below, above):
        ever = [any(said[int(n), int(x)] for n, x in zip(looks, row, strict=True)) for row in paths]
        assert np.mean(ever) <= allowed


def test_a_billion_trials_are_counted_with_care() -> None:
    rate = Rate(10**9, 10**6)
    assert rate.lower(0.05) < 0.001 < rate.upper(0.05)
    # The alternative next to the limit is 1.2 times away, so the bounds stay about a tenth off however much is known.
    assert 0.9 * 0.001 < rate.lower(0.05) < rate.upper(0.05) < 1.1 * 0.001
    assert math.isfinite(rate.evidence_below(0.9))
    assert Rate(5, 5).lower(0.05) > 0.4
    assert Rate(5, 5).upper(0.05) == 1.0


def test_what_is_no_rate_is_refused() -> None:
    for counts in ((1, 2), (5, -1), (-1, 0), (5, math.nan)):
        with pytest.raises(UsageError):
            Rate(*counts)
    for limit in (0.0, 1.0, math.nan):
        with pytest.raises(UsageError, match="limit of a rate"):
            Rate(5, 1).below(limit, 0.05)
    with pytest.raises(UsageError, match="alpha"):
        Rate(5, 1).upper(0.0)
