from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from serving_kit import requests, small_model

from greenlight import datasets
from greenlight.core.model import Model, code_hash
from greenlight.errors import GreenlightError

DATASET = datasets.load("flight_delay")


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return small_model()


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return DATASET.request.columns([DATASET.request.Row.model_validate(r) for r in rows])


def test_a_model_survives_its_files_byte_by_byte(files: dict[str, bytes]) -> None:
    once = Model.from_files(files).to_files()
    assert once == files
    assert Model.from_files(once).to_files() == files


def test_one_row_scores_as_many_rows_do(files: dict[str, bytes]) -> None:
    model, rows = Model.from_files(files, threads=1), requests(200, seed=5)
    together = model.score(columns(rows), DATASET.features.row_features)
    alone = [model.score(columns([row]), DATASET.features.row_features) for row in rows]
    assert together.probability.dtype == np.float32
    assert together.probability.tobytes() == np.concatenate([s.probability for s in alone]).tobytes()
    assert together.decision.tolist() == [bool(s.decision[0]) for s in alone]


def test_the_threads_that_score_change_nothing(files: dict[str, bytes]) -> None:
    rows = columns(requests(2000, seed=6))
    one, two = (Model.from_files(files, threads=n).score(rows, DATASET.features.row_features) for n in (1, 2))
    assert one.probability.tobytes() == two.probability.tobytes()


def test_golden_rows_answer_exactly_as_written(files: dict[str, bytes]) -> None:
    model = Model.from_files(files)
    scores = model.score(columns([g.request for g in model.golden]), DATASET.features.row_features)
    assert scores.probability.tolist() == [g.probability for g in model.golden]
    assert scores.decision.tolist() == [g.decision for g in model.golden]


def test_a_decision_is_positive_from_the_threshold_on(files: dict[str, bytes]) -> None:
    probability = Model.from_files(files).golden[0].probability
    raw = json.loads(files["model.json"])
    for threshold, expected in (
        (probability, True),
        (float(np.nextafter(np.float32(probability), np.float32(1))), False),
    ):
        changed = files | {"model.json": json.dumps(raw | {"threshold": threshold}).encode()}
        model = Model.from_files(changed)
        scores = model.score(columns([model.golden[0].request]), DATASET.features.row_features)
        assert scores.decision.tolist() == [expected]


def test_only_features_with_unseen_categories_are_reported(files: dict[str, bytes]) -> None:
    rows = requests(3)
    rows[0]["carrier"] = rows[2]["carrier"] = "ZZ"
    scores = Model.from_files(files).score(columns(rows), DATASET.features.row_features)
    assert scores.unseen == {"carrier": 2}
    assert np.isfinite(scores.probability).all()


def test_no_rows_have_no_answers(files: dict[str, bytes]) -> None:
    scores = Model.from_files(files).score(columns([]), DATASET.features.row_features)
    assert (len(scores.probability), len(scores.decision), scores.unseen) == (0, 0, {})


@pytest.mark.parametrize("name", ["golden.json", "lookups.json", "model.json", "model.ubj"])
def test_a_missing_or_cut_file_is_named(files: dict[str, bytes], name: str) -> None:
    with pytest.raises(GreenlightError, match=name):
        Model.from_files({k: v for k, v in files.items() if k != name})
    with pytest.raises(GreenlightError, match="cannot be read"):
        Model.from_files(files | {name: files[name][: len(files[name]) // 2]})


def test_a_manifest_of_another_format_is_refused(files: dict[str, bytes]) -> None:
    raw = json.loads(files["model.json"]) | {"format": 99}
    with pytest.raises(GreenlightError, match="format 99"):
        Model.from_files(files | {"model.json": json.dumps(raw).encode()})


def test_a_booster_of_other_features_is_refused(files: dict[str, bytes]) -> None:
    raw = json.loads(files["model.json"])
    raw["features"][0]["name"] = "other"
    with pytest.raises(GreenlightError, match="other"):
        Model.from_files(files | {"model.json": json.dumps(raw).encode()})


def test_a_booster_that_lacks_trees_is_refused(files: dict[str, bytes]) -> None:
    about = json.loads(files["model.json"])
    about["trees"] += 1
    with pytest.raises(GreenlightError, match=f"has {about['trees'] - 1} trees, model.json says {about['trees']}"):
        Model.from_files(files | {"model.json": json.dumps(about).encode()})


def test_no_file_is_a_pickle(files: dict[str, bytes]) -> None:
    assert sorted(files) == ["golden.json", "lookups.json", "model.json", "model.ubj"]
    assert not any(content.startswith(b"\x80") for content in files.values())


def test_the_code_hash_sees_names_and_bytes() -> None:
    base = code_hash({"a": b"1", "b": b"2"})
    assert base == code_hash({"b": b"2", "a": b"1"})
    assert len({base, code_hash({"a": b"2", "b": b"1"}), code_hash({"a": b"1", "c": b"2"})}) == 3
