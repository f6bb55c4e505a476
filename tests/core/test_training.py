from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from greenlight.core.model import Feature
from greenlight.core.training import Part, Trained, check_parameters, first_rounds, golden_sample, rounds_of, train
from greenlight.errors import ConfigError, GreenlightError

FEATURES = (Feature("kind", "c"), Feature("a", "q"), Feature("b", "q"))
BOOSTER = {"max_depth": 3, "eta": 0.3, "subsample": 0.7, "colsample_bytree": 0.7}


def part(n: int, seed: int) -> Part:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 3)).astype(np.float32)
    matrix[:, 0] = rng.integers(0, 4, n)
    matrix[rng.random((n, 3)) < 0.05] = np.nan
    chance = np.nan_to_num(matrix[:, 1]) + (matrix[:, 0] == 2) + rng.normal(scale=0.5, size=n)
    return Part(matrix, (chance > 0.5).astype(np.int8))


def fit(booster: dict[str, Any] = BOOSTER, **given: Any) -> Trained:
    settings = {"seed": 7, "max_rounds": 60, "early_stopping_rounds": 5, "threads": 1} | given
    return train(part(3000, 1), part(1000, 2), FEATURES, booster, **settings)


def test_the_model_is_the_same_bytes_whatever_the_threads() -> None:
    assert fit(threads=1).booster == fit(threads=2).booster == fit(threads=1).booster


def test_the_seed_changes_the_model() -> None:
    assert fit(seed=7).booster != fit(seed=8).booster


def test_a_twin_is_the_first_rounds_of_the_training_with_its_seed() -> None:
    """Not something like it: the same bytes as of a model that was trained with that seed."""
    found = fit(seed=7, twins=2)
    assert list(found.twins) == [8, 9]
    rounds = rounds_of(found.twins[8])
    assert rounds == max(5, found.trees // 16)
    assert first_rounds(fit(seed=8).booster, rounds) == first_rounds(found.twins[8], rounds)
    assert found.twins[8] != found.twins[9]
    assert found.booster == fit(seed=7).booster, "the candidate is what it is without them"


def test_first_rounds_of_a_booster_that_has_no_more_are_all_of_it() -> None:
    found = fit(max_rounds=3)
    assert rounds_of(first_rounds(found.booster, 50)) == found.trees
    with pytest.raises(GreenlightError, match="cannot be read"):
        first_rounds(b"rubbish", 5)


def test_training_stops_early_and_keeps_the_best_iteration() -> None:
    import xgboost as xgb

    found = fit(max_rounds=500)
    loaded = xgb.Booster(model_file=bytearray(found.booster))
    assert loaded.num_boosted_rounds() == found.trees < 500
    stop = part(1000, 2)
    chance = loaded.inplace_predict(stop.matrix, validate_features=False).astype(np.float64)
    loss = -np.mean(np.where(stop.label == 1, np.log(chance), np.log1p(-chance)))
    assert loss == pytest.approx(found.stop_log_loss, abs=1e-6)


def test_one_class_cannot_be_trained_on() -> None:
    rows = part(100, 1)
    with pytest.raises(GreenlightError, match="all 100 training rows have the label 0"):
        train(
            Part(rows.matrix, np.zeros(100, np.int8)), rows, FEATURES, {}, seed=1, max_rounds=5, early_stopping_rounds=2
        )


def test_no_stop_rows_are_an_error() -> None:
    rows = part(100, 1)
    empty = Part(np.empty((0, 3), np.float32), np.empty(0, np.int8))
    with pytest.raises(GreenlightError, match="stop periods have 0 labelled rows"):
        train(rows, empty, FEATURES, {}, seed=1, max_rounds=5, early_stopping_rounds=2)


def test_a_parameter_that_xgboost_refuses_is_named() -> None:
    with pytest.raises(ConfigError, match="max_depth"):
        fit({"max_depth": -3})


def test_golden_rows_are_a_seeded_sample_in_order_without_repeats() -> None:
    chosen = golden_sample(1000, 64, 7)
    assert np.array_equal(chosen, golden_sample(1000, 64, 7))
    assert len(chosen) == 64
    assert (np.diff(chosen) > 0).all()
    assert golden_sample(3, 64, 7).tolist() == [0, 1, 2]


def test_training_needs_neither_scikit_learn_nor_pandas_but_leaves_them_usable() -> None:
    code = (
        "import sys; from greenlight.core.booster import xgboost; xgboost(); "
        "assert not {'sklearn', 'pandas'} & set(sys.modules), 'imported'; "
        "import sklearn.metrics; assert sklearn.metrics.roc_auc_score([0, 1], [0, 1]) == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=sys.path[0] or ".", env=_with_package())


def _with_package() -> dict[str, str]:
    import os
    from pathlib import Path

    import greenlight

    return {**os.environ, "PYTHONPATH": str(Path(greenlight.__file__).parents[1])}


def test_a_parameter_that_xgboost_only_warns_of_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not know max_dpeth"):
        fit({"max_dpeth": 3})
    with pytest.raises(ConfigError, match="does not know max_dpeth"):
        check_parameters({"max_dpeth": 3})
    check_parameters(BOOSTER)
