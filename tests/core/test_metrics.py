"""Metrics: scikit-learn's where it has them, ours where it has none, and NaN instead of flattery."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from greenlight.core.metrics import (
    NAMES,
    binary_metrics,
    calibration_bins,
    calibration_error,
    curves,
    json_text,
    plain,
)

RNG = np.random.default_rng(3)
PROBABILITY = RNG.random(4000).astype(np.float32)
LABEL = (RNG.random(4000) < PROBABILITY).astype(np.int8)


def test_metrics_are_scikit_learns() -> None:
    from sklearn import metrics as theirs

    ours, wide = binary_metrics(LABEL, PROBABILITY), PROBABILITY.astype(float)
    assert ours["roc_auc"] == theirs.roc_auc_score(LABEL, wide)
    assert ours["average_precision"] == theirs.average_precision_score(LABEL, wide)
    assert ours["log_loss"] == theirs.log_loss(LABEL, wide)
    assert ours["brier"] == theirs.brier_score_loss(LABEL, wide)


def test_always_answering_the_base_rate_has_a_log_loss_ratio_of_one_and_no_lift() -> None:
    label = np.tile(np.array([1, 0, 0, 0], dtype=np.int8), 100)
    found = binary_metrics(label, np.full(400, 0.25, dtype=np.float32))
    assert found["log_loss_ratio"] == pytest.approx(1)
    assert found["average_precision_lift"] == pytest.approx(1)
    assert found["roc_auc"] == 0.5
    assert found["calibration_gap"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("label", "probability"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3]),
        ([0, 0, 0], [0.1, 0.2, 0.3]),
        ([], []),
        ([0, 1, 0], [0.1, math.nan, 0.3]),
        ([0, 1, 0], [0.1, math.inf, 0.3]),
    ],
)
def test_what_is_not_defined_is_nan(label: list[int], probability: list[float]) -> None:
    found = binary_metrics(np.array(label, dtype=np.int8), np.array(probability, dtype=np.float32))
    assert tuple(found) == NAMES
    assert all(math.isnan(value) for value in found.values())
    assert curves(np.array(label, dtype=np.int8), np.array(probability, dtype=np.float32)) is None


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="3 labels for 2"):
        binary_metrics(np.zeros(3, dtype=np.int8), np.zeros(2, dtype=np.float32))


def test_calibration_error_of_a_known_example() -> None:
    """Two bins of two rows: |0.15 - 0.5| and |0.85 - 1| weigh half each."""
    label = np.array([0, 1, 1, 1], dtype=np.int8)
    assert calibration_error(label, np.array([0.1, 0.2, 0.8, 0.9]), bins=2) == pytest.approx((0.35 + 0.15) / 2)


def test_calibration_error_is_small_for_true_chances_and_the_shift_for_shifted_ones() -> None:
    assert calibration_error(LABEL, PROBABILITY) < 0.03
    assert calibration_error(LABEL, np.clip(PROBABILITY * 0.5, 0, 1)) == pytest.approx(LABEL.mean() / 2, abs=0.03)


@given(
    nps.arrays(np.float32, st.integers(1, 60), elements=st.floats(0, 1, width=32)),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_calibration_bins_hold_every_row_once_and_rise(probability: Any, bins: int, random: Any) -> None:
    label = np.array([random.randint(0, 1) for _ in probability], dtype=np.int8)
    found = calibration_bins(label, probability, bins)
    assert sum(found["rows"]) == probability.size
    assert max(found["rows"]) - min(found["rows"]) <= 1
    assert found["forecast"] == sorted(found["forecast"])
    assert 0 <= calibration_error(label, probability, bins) <= 1


def test_curves_are_thin_and_hold_what_the_whole_ones_do() -> None:
    found = curves(LABEL, PROBABILITY, points=100)
    assert found is not None
    roc, line = found["roc"], found["precision_recall"]
    assert len(roc["false_positive_rate"]) <= 100
    assert (roc["false_positive_rate"][0], roc["true_positive_rate"][0]) == (0, 0)
    assert (roc["false_positive_rate"][-1], roc["true_positive_rate"][-1]) == (1, 1)
    area = np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"])
    assert area == pytest.approx(binary_metrics(LABEL, PROBABILITY)["roc_auc"], abs=0.002)
    assert (line["recall"][-1], line["precision"][-1]) == (1, LABEL.mean(dtype=float))


def test_rows_of_equal_score_are_one_point_of_a_curve() -> None:
    found = curves(np.array([1, 0, 1, 0], dtype=np.int8), np.full(4, 0.5, dtype=np.float32))
    assert found is not None
    assert found["roc"] == {"false_positive_rate": [0.0, 1.0], "true_positive_rate": [0.0, 1.0]}


def test_json_has_no_nan_and_reads_back() -> None:
    text = json_text({"a": math.nan, "b": np.float32(0.1), "c": (1, True, None), "d": np.array([1.23456789])})
    assert json.loads(text) == {"a": None, "b": 0.1, "c": [1, True, None], "d": [1.234568]}


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        plain({"a": {1, 2}})
