from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from serving_kit import small_model

from greenlight.core.booster import contributions, predictor
from greenlight.core.model import Model


class Foreign:
    """A booster whose C handle nobody knows: what another version of XGBoost may look like."""

    def __init__(self, booster: Any) -> None:
        self.inplace_predict = booster.inplace_predict


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_files(small_model(), threads=1)


def matrices(columns: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    found = []
    for rows in (1, 2, 3, 31, 64, 65, 1000):
        matrix = rng.normal(50, 40, (rows, columns)).astype(np.float32)
        matrix[:, :3] = rng.integers(0, 3, (rows, 3))
        matrix[rng.random(matrix.shape) < 0.2] = np.nan
        found += [matrix, np.asfortranarray(matrix), np.repeat(matrix, 2, axis=0)[::2]]
    return found


def test_the_direct_call_is_taken_and_is_inplace_predict_to_the_bit(model: Model) -> None:
    columns = len(model.manifest.features)
    fast = predictor(model._booster, columns)
    assert fast.__name__ == "fast"
    for matrix in matrices(columns):
        wanted = model._booster.inplace_predict(matrix, validate_features=False)
        assert fast(matrix).tobytes() == wanted.tobytes()
        assert fast(matrix).dtype == np.float32


def test_without_the_c_call_inplace_predict_is_what_scores(model: Model) -> None:
    columns = len(model.manifest.features)
    slow = predictor(Foreign(model._booster), columns)
    assert slow.__name__ == "slow"
    matrix = matrices(columns)[0]
    assert slow(matrix).tobytes() == predictor(model._booster, columns)(matrix).tobytes()


def test_an_answer_is_kept_when_the_next_one_is_asked_and_threads_do_not_mix(model: Model) -> None:
    fast = predictor(model._booster, len(model.manifest.features))
    many = matrices(len(model.manifest.features))
    wanted = [fast(matrix).copy() for matrix in many]
    held = [fast(matrix) for matrix in many]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(held, wanted, strict=True))
    wrong: list[int] = []

    def ask(i: int) -> None:
        if any(fast(many[i]).tobytes() != wanted[i].tobytes() for _ in range(200)):
            wrong.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in (0, 3, 9, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_contributions_add_up_to_the_log_odds(model: Model) -> None:
    matrix = matrices(len(model.manifest.features))[12]
    found = contributions(model._booster, matrix)
    assert found.shape == (matrix.shape[0], matrix.shape[1] + 1)
    probability = 1 / (1 + np.exp(-found.sum(axis=1, dtype=np.float64)))
    np.testing.assert_allclose(probability, model.score_matrix(matrix).probability, atol=1e-5)
