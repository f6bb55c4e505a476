"""What single features are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from greenlight.core.importance import _counted_auc, gain_shares, power_alone

RNG = np.random.default_rng(5)
N = 6000
LABEL = (RNG.random(N) < 0.3).astype(np.int8)
HALVES = (slice(None, N // 2), slice(N // 2, None))


def _power(column: np.ndarray, kind: str) -> float:
    matrix = column.astype(np.float32)[:, None]
    fit, holdout = ((matrix[half], LABEL[half]) for half in HALVES)
    return power_alone(fit, holdout, [kind])[0]


def test_noise_has_no_power() -> None:
    assert _power(RNG.standard_normal(N), "q") == pytest.approx(0.5, abs=0.03)
    assert _power(RNG.integers(0, 500, N), "c") == pytest.approx(0.5, abs=0.03)


def test_the_answer_itself_has_all_power() -> None:
    assert _power(LABEL, "q") == 1
    assert _power(LABEL * 3 + 4, "c") == 1


def test_a_leak_in_the_middle_of_a_scale_is_found() -> None:
    """Where |AUC - 0.5| of the raw values would see nothing."""
    side = np.where(RNG.random(N) < 0.5, -1, 1) * (2 + RNG.random(N))
    column = np.where(LABEL == 1, RNG.random(N) - 0.5, side)
    assert abs(roc_auc_score(LABEL, column) - 0.5) < 0.05
    assert _power(column, "q") > 0.98


def test_a_leak_in_what_is_missing_is_found() -> None:
    assert _power(np.where(LABEL == 1, np.nan, RNG.standard_normal(N)), "q") == 1


def test_codes_that_training_had_not_met_break_nothing() -> None:
    fit = (np.array([[0], [1], [np.nan], [1]], dtype=np.float32), np.array([0, 1, 0, 1]))
    holdout = (np.array([[0], [1], [7], [np.nan]], dtype=np.float32), np.array([0, 1, 0, 1]))
    assert 0 <= power_alone(fit, holdout, ["c"])[0] <= 1


def test_a_column_that_is_all_missing_has_no_power() -> None:
    assert _power(np.full(N, np.nan), "q") == 0.5
    assert _power(np.full(N, np.nan), "c") == 0.5


def test_one_class_only_is_not_a_number() -> None:
    matrix = np.ones((4, 1), dtype=np.float32)
    one, both = np.ones(4, dtype=np.int8), np.array([0, 1, 0, 1], dtype=np.int8)
    assert math.isnan(power_alone((matrix, one), (matrix, both), ["q"])[0])
    assert math.isnan(power_alone((matrix, both), (matrix, one), ["q"])[0])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=2, max_size=40))
def test_the_counted_area_is_scikit_learns(rows: list[tuple[int, int]]) -> None:
    score, label = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    counts = [np.bincount(score[label == side], minlength=6) for side in (1, 0)]
    if label.min() == label.max():
        assert math.isnan(_counted_auc(*counts))
    else:
        assert _counted_auc(*counts) == pytest.approx(roc_auc_score(label, score))


def test_gain_shares_add_up_to_one_and_know_idle_features() -> None:
    assert gain_shares({"a": 3.0, "c": 1.0}, ["a", "b", "c"]) == [0.75, 0, 0.25]
    assert gain_shares({}, ["a"]) == [0]
