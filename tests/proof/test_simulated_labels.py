"""Simulated late labels: what is watched all the time is wrong as rarely as it says, with keys as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from greenlight.core.ab_test import AbTest
from greenlight.proof.canary import share_error
from greenlight.proof.late_labels import ALPHA, Labels, labels, looks, told_worse

TEST = AbTest("v2", "v1", 5_000, "s", min_labels=500)


def test_the_simulated_keys_are_unlike_each_other_and_drawn_once() -> None:
    its = labels(np.random.default_rng(1), 2_000)
    assert its.wrong.mean() == pytest.approx(0.25, abs=0.06)
    asked = np.bincount(its.key)
    assert asked.max() > 100 * np.median(asked)
    arms = np.bincount(its.key, its.mine) / asked
    assert set(np.unique(arms)) == {0.0, 1.0}
    apart = labels(np.random.default_rng(1), 500, sticky=False)
    assert len(np.unique(np.bincount(apart.key, apart.mine) / np.bincount(apart.key))) > 10


def test_only_the_first_wrong_answer_of_a_key_counts() -> None:
    hammering = Labels(np.zeros(500, np.int64), np.ones(500, np.bool_), np.ones(500, np.bool_))
    assert told_worse(hammering, 0.5, first_of_key=False)
    assert not told_worse(hammering, 0.5, first_of_key=True)


@pytest.mark.slow
@pytest.mark.parametrize(("least", "weight"), [(50, 0.5), (500, 0.5), (50, 0.1)])
def test_the_interval_of_an_ab_test_ever_misses_as_rarely_as_it_says(least: int, weight: float) -> None:
    """400 tests of two versions that are alike, looked at after every 200th of some 10,000 labels."""
    rng, runs = np.random.default_rng(11), 400
    test = replace(TEST, min_labels=least, weight=round(10_000 * weight))
    missed = np.mean(
        [any(i.excludes_zero for i in looks(labels(rng, 1_500, weight=weight), test, 200)) for _ in range(runs)]
    )

    assert missed <= ALPHA + 2 * share_error(ALPHA, runs)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.05, 0.25, 0.5])
def test_a_candidate_that_is_no_more_often_wrong_is_rolled_back_at_most_as_often_as_promised(weight: float) -> None:
    """Asked after each label, with the margin at its strictest; by chance each request counts, sticky each key once."""
    rng, runs = np.random.default_rng(12), 500
    by_key = np.mean([told_worse(labels(rng, 1_000, weight=weight), weight, first_of_key=True) for _ in range(runs)])
    drawn = np.mean(
        [told_worse(labels(rng, 300, weight=weight, sticky=False), weight, first_of_key=False) for _ in range(runs)]
    )
    rows = np.mean([told_worse(labels(rng, 1_000, weight=weight), weight, first_of_key=False) for _ in range(200)])

    assert by_key <= ALPHA
    assert drawn <= ALPHA
    assert rows > 3 * ALPHA, "rows of a key as events of their own would break the promise"


@pytest.mark.slow
def test_one_that_is_worse_is_told() -> None:
    rng = np.random.default_rng(13)
    assert (
        np.mean([told_worse(labels(rng, 3_000, worse=2.0), 0.5, first_of_key=True, margin=1.1) for _ in range(100)])
        > 0.9
    )
    ends = [looks(labels(rng, 2_500, worse=1.6), TEST, 5_000)[-1] for _ in range(50)]
    assert np.mean([end.high < 0 for end in ends]) > 0.9
