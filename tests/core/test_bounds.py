"""Bounds, spending and corrections, against SciPy and against what they promise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from greenlight.core.bounds import clusters_needed, detectable, holm, spent, t_quantile, t_tail


@pytest.mark.parametrize("freedom", [7, 12, 29, 30, 500])
@pytest.mark.parametrize("probability", [0.0001, 0.01, 0.05, 0.5, 0.8, 0.95, 0.975, 0.99, 0.9999])
def test_quantiles_are_students(freedom: int, probability: float) -> None:
    exact = stats.t.ppf(probability, freedom)
    found = t_quantile(probability, freedom)
    assert found == pytest.approx(exact, rel=0.002 if freedom >= 29 else 0.013, abs=1e-9)
    assert abs(found) >= 0.998 * abs(exact), "a bound that is off is off to the wide side"


@pytest.mark.parametrize("freedom", [1, 2])
@pytest.mark.parametrize("probability", [0.0001, 0.05, 0.5, 0.975, 0.9999])
def test_with_two_or_three_clusters_it_is_exact(freedom: int, probability: float) -> None:
    """The formula would be a third too far out with one degree of freedom, and nothing says so."""
    t = stats.t.ppf(probability, freedom)
    assert t_quantile(probability, freedom) == pytest.approx(t, rel=1e-9, abs=1e-9)
    assert t_tail(t, freedom) == pytest.approx(1 - probability, rel=1e-9)


@pytest.mark.parametrize("freedom", [7, 29, 500])
@pytest.mark.parametrize("t", [-6.0, -1.7, 0.0, 0.4, 2.0, 5.0])
def test_tails_are_students(freedom: int, t: float) -> None:
    assert t_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=0.05)


@given(st.floats(0.0005, 0.9995), st.integers(1, 2000))
def test_tail_and_quantile_are_inverse(probability: float, freedom: int) -> None:
    assert t_tail(t_quantile(probability, freedom), freedom) == pytest.approx(1 - probability, rel=1e-6)


def test_all_looks_together_spend_no_more_than_there_is() -> None:
    parts = [spent(0.10, look) for look in range(1, 10_000)]
    assert parts[0] == 0.05
    assert parts == sorted(parts, reverse=True)
    assert 0.0999 < sum(parts) < 0.10


def test_there_is_no_look_before_the_first() -> None:
    with pytest.raises(ValueError, match="look 0"):
        spent(0.1, 0)


def test_holm_on_the_textbook_case() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_a_correction_never_makes_a_chance_smaller(chances: list[float]) -> None:
    corrected = holm(chances)
    assert all(p <= q <= 1 for p, q in zip(chances, corrected, strict=True))
    assert min(corrected) == pytest.approx(min(1.0, len(chances) * min(chances)))


def test_four_times_the_days_for_half_the_distance() -> None:
    near, far = clusters_needed(30, 0.01, 0.005, 0.05), clusters_needed(30, 0.01, 0.010, 0.05)
    assert near is not None
    assert far is not None
    assert near == pytest.approx(4 * far, rel=0.05)
    assert clusters_needed(30, 0.01, 0.0, 0.05) is None


def test_what_is_detectable_is_told_with_the_power_that_is_promised() -> None:
    """Of 20,000 drawn estimates around a truth that far away, four in five are bounded off zero."""
    se, freedom = 0.01, 29
    truth = detectable(se, freedom, 0.05)
    drawn = stats.norm.rvs(truth, se, size=20_000, random_state=1)
    spread = se * (stats.chi2.rvs(freedom, size=20_000, random_state=2) / freedom) ** 0.5
    assert (drawn > t_quantile(0.95, freedom) * spread).mean() == pytest.approx(0.80, abs=0.02)
