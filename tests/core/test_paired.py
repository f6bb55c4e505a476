"""Two models on the same rows: the formula, the bootstrap and the truth agree, and the days count."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from greenlight.core.bounds import t_quantile
from greenlight.core.metrics import binary_metrics
from greenlight.core.paired import (
    BLOCKS,
    Clusters,
    Counts,
    auc_influence,
    bootstrap,
    clustered_se,
    jackknife_se,
    log_losses,
    without_each,
)
from greenlight.core.uncertainty import Design, measure


def holdout(seed: int, days: int = 30, a_day: int = 60, together: float = 0.8) -> tuple[Any, Any, Any, Clusters]:
    """Labels, two models' scores and days; each day moves all its labels and each model's scores together."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), a_day)
    weather = rng.normal(0, together, days)[day]
    odds = rng.normal(0, 1, day.size) - 1
    label = (rng.random(day.size) < 1 / (1 + np.exp(-odds - weather))).astype(np.int8)
    scores = []
    for _ in range(2):
        taste = rng.normal(0, together, days)[day]
        scores.append((1 / (1 + np.exp(-odds - taste * rng.random(day.size)))).astype(np.float32))
    return label, scores[0], scores[1], Clusters(day, days)


def test_the_area_is_scikit_learns_also_with_ties() -> None:
    rng = np.random.default_rng(3)
    label = (rng.random(4000) < 0.2).astype(np.int8)
    score = np.round(rng.random(4000) + 0.3 * label, 1).astype(np.float32)
    area, pull = auc_influence(label, score)
    assert area == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert pull.mean() == pytest.approx(0, abs=1e-12)


def test_rows_as_clusters_are_delongs_formula() -> None:
    """Against DeLong's own form: covariances of the structural components, counted pair by pair."""
    label, a, b, _ = holdout(1, days=10, a_day=40)
    positive = label.astype(bool)
    parts = []
    for score in (a, b):
        wins = (score[positive][:, None] > score[~positive][None]) + 0.5 * (
            score[positive][:, None] == score[~positive][None]
        )
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    v10, v01 = (np.stack([part[side] for part in parts]) for side in (0, 1))
    cov = np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]
    delong = math.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])
    pull = auc_influence(label, a)[1] - auc_influence(label, b)[1]
    assert clustered_se(pull, Clusters.rows(label.size)) == pytest.approx(delong, rel=0.01)


def test_one_class_has_no_area_and_one_cluster_no_error() -> None:
    assert math.isnan(auc_influence(np.zeros(5, np.int8), np.arange(5.0))[0])
    assert math.isnan(clustered_se(np.arange(5.0), Clusters(np.zeros(5, np.intp), 1)))


@pytest.mark.parametrize("seed", range(3))
def test_formula_and_bootstrap_agree(seed: int) -> None:
    label, a, b, days = holdout(seed)
    found = measure(label, {"candidate": a, "champion": b}, Design(days, "day"), resamples=2000, seed=1)
    for its in (found["difference"], found["models"]["candidate"]):
        for metric in ("roc_auc", "log_loss"):
            assert its[metric]["se_bootstrap"] == pytest.approx(its[metric]["se_formula"], rel=0.12), metric
    assert found["clustered_by"] == "day"


def test_the_bootstrap_of_counts_is_that_of_the_rows() -> None:
    """A drawing of days by weights gives scikit-learn's numbers on the rows laid out."""
    label, a, b, days = holdout(5, days=12)
    counts = {"candidate": Counts.of(label, a, days), "champion": Counts.of(label, b, days)}
    weight = np.random.default_rng(8).multinomial(12, np.full(12, 1 / 12), size=20).astype(float)
    found = counts["candidate"].metrics(weight)
    lifts = counts["candidate"].average_precision_lift(weight)
    for drawing in range(20):
        rows = np.concatenate(
            [np.flatnonzero(days.code == d) for d in range(12) for _ in range(int(weight[drawing, d]))]
        )
        exact = binary_metrics(label[rows], a[rows])
        for metric in ("roc_auc", "log_loss", "log_loss_ratio", "calibration_gap"):
            assert found[metric][drawing] == pytest.approx(exact[metric], abs=2e-4), metric
        assert lifts[drawing] == pytest.approx(exact["average_precision_lift"], rel=0.01)
    every = np.ones((1, 12))
    assert counts["candidate"].metrics(every)["calibration_error"][0] == pytest.approx(
        binary_metrics(label, a)["calibration_error"], abs=1e-6
    )


def test_the_same_seed_draws_the_same_and_another_another() -> None:
    label, a, _, days = holdout(2)
    counts = {"candidate": Counts.of(label, a, days)}
    first, again, other = (
        bootstrap(counts, days.count, resamples=50, seed=s)["candidate"]["roc_auc"] for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(size=40)
    left_out = without_each(40) @ values / 39
    assert jackknife_se(left_out) == pytest.approx(values.std(ddof=1) / math.sqrt(40))


@pytest.mark.parametrize("few", [True, False])
def test_with_few_days_the_larger_error_counts(few: bool) -> None:
    label, a, b, days = holdout(4, days=10 if few else 25)
    its = measure(label, {"candidate": a, "champion": b}, Design(days, "day"), resamples=300, seed=3)["difference"]
    for metric in its.values():
        expected = max(metric["se_formula"], metric["se_bootstrap"]) if few else metric["se_formula"]
        assert metric["se"] == expected


def test_without_a_cluster_each_row_is_one_and_the_bootstrap_takes_blocks() -> None:
    label, a, _, _ = holdout(6, together=0.0)
    rows = Clusters.rows(label.size)
    assert rows.blocks().count == BLOCKS
    assert np.bincount(rows.blocks().code).min() >= label.size // BLOCKS
    found = measure(label, {"candidate": a}, Design(rows, ""), resamples=500, seed=1)
    assert (found["clustered_by"], found["clusters"], found["difference"]) == ("", label.size, None)
    auc = found["models"]["candidate"]["roc_auc"]
    assert auc["se_bootstrap"] == pytest.approx(auc["se_formula"], rel=0.2)


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    assert np.isfinite(log_losses(np.array([1, 0]), np.array([0.0, 1.0], np.float32))).all()


def coverage(days: int, runs: int, confidence: float, *, by_day: bool) -> float:
    """Share of drawn holdouts whose one-sided bound holds the true difference, 0: both models are drawn alike."""
    held = 0
    for seed in range(runs):
        label, a, b, clusters = holdout(1000 + seed, days=days, a_day=40)
        (area, pull), (other, its) = auc_influence(label, a), auc_influence(label, b)
        used = clusters if by_day else Clusters.rows(label.size)
        reach = t_quantile(confidence, used.count - 1) * clustered_se(pull - its, used)
        held += area - other - reach <= 0
    return held / runs


@pytest.mark.parametrize("days", [10, 30])
def test_bounds_by_day_hold_as_often_as_they_say(days: int) -> None:
    """95 % in 1,000 drawings, give or take three standard errors of that count."""
    assert coverage(days, 1000, 0.95, by_day=True) == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 1000))


def test_bounds_that_take_rows_for_independent_do_not() -> None:
    assert coverage(30, 300, 0.95, by_day=False) < 0.90
