"""The differences against other ways of getting them, and how often their intervals hold the truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from greenlight.core.paired_months import (
    Difference,
    auc_difference,
    loss_difference,
    mean_of,
    spread_of,
)


def scores(seed: int, days: int = 30, rows: int = 60, move: float = 0.0) -> tuple[Any, Any, Any, Any]:
    """Labels, two equal models' probabilities and days; each model knows one of two things that move a whole day."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), rows)
    odds = rng.normal(-1, 1, days * rows)
    together = [move * rng.normal(0, 1, days)[day] for _ in range(2)]
    label = (rng.random(odds.size) < 1 / (1 + np.exp(-odds - sum(together)))).astype(np.int8)
    left, right = (1 / (1 + np.exp(-(odds + t + rng.normal(0, 0.7, odds.size)))) for t in together)
    return label, left.astype(np.float32), right.astype(np.float32), day


def test_the_differences_are_scikit_learns() -> None:
    label, left, right, day = scores(1)
    left = np.round(left, 1)  # with ties
    found = auc_difference(label, left, right, day)
    assert found.value == pytest.approx(roc_auc_score(label, left) - roc_auc_score(label, right))
    left = left.clip(0.1, 0.9)
    assert loss_difference(label, left, right, day).value == pytest.approx(
        log_loss(label, left) - log_loss(label, right), rel=1e-4
    )


def test_without_days_in_common_the_error_is_delongs() -> None:
    """DeLong's covariance, written out."""
    label, left, right, _ = scores(2)
    positive, negative = label == 1, label == 0
    parts = []
    for score in (left, right):
        wins = (score[positive][:, None] > score[negative][None, :]).astype(float)
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    (v10, v01), (w10, w01) = parts
    expected = math.sqrt(np.var(v10 - w10, ddof=1) / positive.sum() + np.var(v01 - w01, ddof=1) / negative.sum())
    found = auc_difference(label, left, right, np.arange(label.size))
    assert found.error == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("measure", [auc_difference, loss_difference])
def test_the_error_is_what_drawing_whole_days_again_gives(measure: Any) -> None:
    label, left, right, day = scores(3, days=40, move=0.8)
    rng, drawn = np.random.default_rng(0), []
    rows = [np.flatnonzero(day == d) for d in range(40)]
    for _ in range(600):
        chosen = np.concatenate([rows[d] for d in rng.integers(0, 40, 40)])
        drawn.append(measure(label[chosen], left[chosen], right[chosen], np.arange(chosen.size)).value)
    assert measure(label, left, right, day).error == pytest.approx(np.std(drawn), rel=0.15)
    alone = measure(label, left, right, np.arange(label.size)).error
    assert alone < 0.8 * measure(label, left, right, day).error  # rows of a day do move together here


@pytest.mark.parametrize("measure", [auc_difference, loss_difference])
def test_equal_models_differ_by_chance_as_often_as_the_interval_says(measure: Any) -> None:
    found = [measure(*scores(seed, days=30, rows=40, move=0.8)).certain(0.90) for seed in range(300)]
    assert 0.06 <= np.mean(found) <= 0.16  # nominal 0.10; 300 draws move it by 0.017


def test_the_same_model_differs_by_nothing() -> None:
    label, left, _, day = scores(4)
    assert auc_difference(label, left, left, day).interval() == (0, 0)
    assert not auc_difference(label, left, left, day).certain()


def test_where_nothing_can_be_said_nothing_is() -> None:
    label, left, right, day = scores(5)
    assert math.isnan(auc_difference(np.zeros_like(label), left, right, day).value)
    assert math.isnan(loss_difference(label[:0], left[:0], right[:0], day[:0]).value)
    assert not auc_difference(np.zeros_like(label), left, right, day).certain()
    assert math.isnan(loss_difference(label, left, right, np.zeros(label.size)).error)  # one day: no spread known


def test_months_are_put_together() -> None:
    found = mean_of([Difference(0.1, 0.03), Difference(0.3, 0.04)])
    assert (found.value, found.error) == (pytest.approx(0.2), pytest.approx(0.025))
    low, high = spread_of([Difference(0.1, 0.03), Difference(0.3, 0.04)])
    assert (low, high) == (pytest.approx(0.2 - 12.706 * 0.1, abs=1e-3), pytest.approx(0.2 + 12.706 * 0.1, abs=1e-3))
    assert math.isnan(spread_of([Difference(0.1, 0.03)])[0])
    for count, exact in ((3, 4.30265), (4, 3.18245), (6, 2.57058), (12, 2.20099)):  # Student's t, tables
        low, high = spread_of([Difference(float(n), 1.0) for n in range(count)])
        assert (high - low) / 2 == pytest.approx(exact * np.arange(count).std(ddof=1) / math.sqrt(count), rel=0.02)
    assert Difference(0.1, 0.05).certain(0.95)
    assert not Difference(0.1, 0.05).certain(0.95, looks=4)
