"""evaluate and gate as dvc.yaml runs them: real data and real models in, verdict and report out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pipeline_kit import ROOT, content, lay, params, run_all
from sklearn.metrics import roc_auc_score

from greenlight.config import Params
from greenlight.core.verdict import Verdict
from greenlight.errors import ConfigError, StageFailed
from greenlight.stages import evaluate, featurize, gate, snapshot, train

OUTPUTS = ("reports/metrics.json", "reports/verdict.json", "reports/verdict.md", "reports/evaluation.html")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after training, April held out, without a champion. Read only."""
    root = run_all(lay(tmp_path_factory.mktemp("trained")))
    _crown(root)
    return root


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of an older run: trained on January, stopped on February. Read only."""
    root = lay(tmp_path_factory.mktemp("older"))
    for stage in (snapshot, featurize, train):
        stage.run(params(root, "2013-03", 1), root)
    return root / "data/model"


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """A workspace that a test may change."""
    return shutil.copytree(trained, tmp_path / "root")


def _crown(root: Path, model: Path | None = None, *, version: str = "") -> None:
    """Lay the champion's folder."""
    folder = root / "data/champion"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "champion.json").write_text(json.dumps({"version": version, "run": "some-run" if version else ""}))
    if model:
        shutil.copytree(model, folder / "model")


def _params(root: Path, version: str = "", **gates: Any) -> Params:
    found = params(root).model_dump()
    found["champion"] = {"version": version, "run": ""}
    found["gates"] |= gates
    return Params.model_validate(found)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _judge(root: Path, version: str = "", **gates: Any) -> Verdict:
    wanted = _params(root, version, **gates)
    evaluate.run(wanted, root)
    gate.run(wanted, root)
    return Verdict.from_json((root / "reports/verdict.json").read_text(encoding="utf-8"))


def test_a_first_candidate_is_judged_by_the_minimum_alone(root: Path) -> None:
    verdict = _judge(root)
    assert verdict.champion == ""
    assert verdict.period == "2013-04"
    assert verdict.check("champion_roc_auc").passed is True
    assert _json(root / "reports/metrics.json")["champion"] is None
    assert verdict.summary() in (root / "reports/verdict.md").read_text(encoding="utf-8")
    assert "<svg" in (root / "reports/evaluation.html").read_text(encoding="utf-8")


def test_the_metrics_are_those_of_the_scores_left_beside_them(root: Path, older: Path) -> None:
    _crown(root, older, version="v1")
    evaluate.run(_params(root, "v1"), root)
    scores = pl.read_parquet(root / "reports/evaluation/scores.parquet")
    metrics = _json(root / "reports/metrics.json")
    assert scores.columns == ["label", "day", "candidate", "champion", "carrier", "origin"]
    assert scores.height == metrics["holdout"]["rows"] > 20_000
    assert metrics["holdout"]["days"] == scores["day"].n_unique() == 30
    for model in ("candidate", "champion"):
        area = roc_auc_score(scores["label"].to_numpy(), scores[model].to_numpy())
        assert metrics[model]["roc_auc"] == pytest.approx(area, abs=1e-6)
    slices = _json(root / "reports/evaluation/evaluation.json")["slices"]
    promised = _json(root / "reports/evaluation/evaluation.json")["promised"]
    assert (promised["period"], promised["clusters"]) == ("2013-03", 31)
    for model in ("candidate", "champion"):
        assert 0.6 < promised[model]["roc_auc"] < 0.8
        assert 0.003 < promised[model]["se"] < 0.05
    ours = next(row for row in slices if row["value"] == "JFK")
    jfk = scores.filter(pl.col("origin") == "JFK")
    assert (ours["rows"], ours["positives"]) == (jfk.height, int(jfk["label"].sum()))
    assert ours["roc_auc"]["champion"] == pytest.approx(roc_auc_score(jfk["label"], jfk["champion"]), abs=1e-6)


def test_the_candidate_scores_as_its_golden_rows_say(root: Path) -> None:
    evaluate.run(_params(root), root)
    scores = pl.read_parquet(root / "reports/evaluation/scores.parquet")["candidate"].to_list()
    golden = _json(root / "data/model/golden.json")["rows"]
    assert {row["probability"] for row in golden} <= set(scores)


def test_the_champion_itself_as_candidate_is_nothing_new(root: Path) -> None:
    _crown(root, root / "data/model", version="v3")
    verdict = _judge(root, "v3")
    assert verdict.decision == "reject"
    assert [check.name for check in verdict.failed] == ["something_new"]
    metrics = _json(root / "reports/metrics.json")
    assert metrics["candidate"] == metrics["champion"]


def test_a_champion_of_other_code_is_scored_by_its_own(root: Path, older: Path) -> None:
    """The same champion twice: with today's code, and with code of its own whose features are all missing."""
    _crown(root, older, version="v1")
    evaluate.run(_params(root, "v1"), root)
    today = _json(root / "reports/metrics.json")
    assert today["champion"]["roc_auc"] > 0.55
    code = root / "data/champion/code/greenlight"
    shutil.copytree(ROOT / "greenlight", code, ignore=shutil.ignore_patterns("__pycache__"))
    features = code / "datasets/flight_delay/features.py"
    blind = "\n\n_seeing = row_features\n\n\ndef row_features(*given):\n    matrix, unseen = _seeing(*given)\n"
    features.write_text(features.read_text() + blind + "    return np.full_like(matrix, np.nan), unseen\n")
    manifest = root / "data/champion/model/model.json"
    manifest.write_text(json.dumps(_json(manifest) | {"code": "of another commit"}))
    evaluate.run(_params(root, "v1"), root)
    own = _json(root / "reports/metrics.json")
    assert own["champion"]["roc_auc"] == 0.5
    assert own["candidate"] == today["candidate"]


def test_every_output_is_the_same_bytes_in_another_process_and_folder(root: Path, older: Path) -> None:
    _crown(root, older, version="v1")
    other = shutil.copytree(root, root.parent / "other")
    _judge(root, "v1")
    code = "import sys; from pathlib import Path; from test_evaluate_and_gate import _judge; _judge(Path(sys.argv[1]), 'v1')"
    paths = os.pathsep.join(str(ROOT / name) for name in ("", "tests", "tests/stages"))
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": "11", "OMP_NUM_THREADS": "1", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(other)], check=True, env=environment, cwd=other)
    for name in OUTPUTS:
        assert (root / name).read_bytes() == (other / name).read_bytes(), name
    assert content(root / "reports/evaluation") == content(other / "reports/evaluation")


def test_a_leaking_column_is_found_in_the_matrix(root: Path) -> None:
    """A feature that holds the answer, in training and in the holdout, is worth everything alone."""
    import numpy as np

    from greenlight.core.importance import power_alone

    matrix, label = (np.load(root / "data/features" / name) for name in ("stop.npy", "stop_label.npy"))
    honest = power_alone((matrix, label), (matrix, label), ["q"] * matrix.shape[1])
    leaking = matrix.copy()
    leaking[:, 5] = label + np.random.default_rng(1).normal(0, 0.3, label.size)
    found = power_alone((leaking, label), (leaking, label), ["q"] * matrix.shape[1])
    assert max(honest) < 0.75
    assert found[5] > 0.95


def test_a_champion_that_stopped_on_the_holdout_leaves_the_verdict_open(root: Path, older: Path) -> None:
    _crown(root, older, version="v1")
    manifest = root / "data/champion/model/model.json"
    manifest.write_text(json.dumps(_json(manifest) | {"stop": "2013-04"}))
    verdict = _judge(root, "v1", min_rows=1)
    assert verdict.check("champion_roc_auc").passed is None
    assert verdict.decision != "promote"


# Bad input


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda root: shutil.rmtree(root / "data/champion"), "champion.json"),
        (lambda root: (root / "data/champion/champion.json").write_text("[]"), "no JSON object"),
        (lambda root: (root / "data/features/holdout.parquet").write_bytes(b"PAR1"), "holdout.parquet"),
        (lambda root: (root / "data/features/train.npy").unlink(), "features cannot be read"),
        (lambda root: _crown(root, version="v7"), "holds champion v7, params.yaml names (none)"),
    ],
)
def test_what_is_not_complete_is_named(root: Path, break_it: Any, says: str) -> None:
    break_it(root)
    with pytest.raises(StageFailed) as caught:
        evaluate.run(_params(root), root)
    assert says in str(caught.value)


def test_a_champion_without_its_model_is_named(root: Path) -> None:
    _crown(root, version="v1")
    with pytest.raises(StageFailed, match=r"model\.json cannot be read"):
        evaluate.run(_params(root, "v1"), root)


def test_a_champion_of_other_code_without_that_code_is_named(root: Path, older: Path) -> None:
    """An installed greenlight must not answer in its place."""
    _crown(root, older, version="v1")
    manifest = root / "data/champion/model/model.json"
    manifest.write_text(json.dumps(_json(manifest) | {"code": "of another commit"}))
    with pytest.raises(StageFailed, match="code is missing"):
        evaluate.run(_params(root, "v1"), root)


def test_champion_code_that_fails_is_told_with_its_last_words(root: Path, older: Path) -> None:
    _crown(root, older, version="v1")
    entry = root / "data/champion/code/greenlight/stages/score.py"
    entry.parent.mkdir(parents=True)
    for folder in (entry.parent, entry.parent.parent):
        (folder / "__init__.py").touch()
    entry.write_text("raise SystemExit('no such feature: wings')\n")
    manifest = root / "data/champion/model/model.json"
    manifest.write_text(json.dumps(_json(manifest) | {"code": "of another commit"}))
    with pytest.raises(StageFailed, match="ended with 1: no such feature: wings"):
        evaluate.run(_params(root, "v1"), root)


def test_slicing_by_a_column_that_is_not_there_names_those_that_are(root: Path) -> None:
    slices = _params(root).gates.slices.model_dump() | {"columns": ["carier"]}
    with pytest.raises(ConfigError, match=r"carier.*carrier"):
        evaluate.run(_params(root, slices=slices), root)


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_the_gate_without_an_evaluation_says_what_to_run(root: Path, text: str | None) -> None:
    evaluate.run(_params(root), root)
    path = root / "reports/metrics.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(StageFailed, match="run the stage evaluate"):
        gate.run(_params(root), root)
    assert not (root / "reports/verdict.json").exists()
