"""snapshot, featurize, train and score as dvc.yaml runs them: real data, files in, files out, the same bytes again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pipeline_kit import ROOT, answer, content, lay, params, run_all

from greenlight import datasets
from greenlight.core.lookup import Vocabulary
from greenlight.core.model import Model, lookups_from_bytes
from greenlight.errors import ConfigError, DataRejected, NotFound, StageFailed
from greenlight.stages import featurize, score, snapshot, train

DATASET = datasets.load("flight_delay")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after training. Read only."""
    return run_all(lay(tmp_path_factory.mktemp("done")))


@pytest.fixture
def root(done: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(done, tmp_path / "root")


def test_a_snapshot_holds_the_periods_of_the_run_and_the_registers(done: Path) -> None:
    assert sorted(content(done / "data/snapshot")) == [
        *(f"flights/2013-{m}.parquet" for m in ("01", "02", "03", "04")),
        "planes.parquet",
        *(f"weather/2013-{m}.parquet" for m in ("01", "02", "03", "04")),
    ]


def test_every_output_is_the_same_bytes_in_another_folder(done: Path, tmp_path: Path) -> None:
    """In a process of its own per stage, as DVC runs them; another folder, another process, one thread."""
    lay(tmp_path)
    text = (tmp_path / "params.yaml").read_text()
    for old, new in (("as_of: next", "as_of: 2013-04"), ("window_months: 5", "window_months: 2")):
        assert old in text
        text = text.replace(old, new)
    text = text.replace("device: auto", "device: cpu").replace("max_rounds: 600", "max_rounds: 40")
    (tmp_path / "params.yaml").write_text(text)
    for stage in ("snapshot", "featurize", "train"):
        _python(
            ["-m", "greenlight.stages", stage],
            cwd=tmp_path,
            OMP_NUM_THREADS="1",
            POLARS_MAX_THREADS="1",
            PYTHONHASHSEED="7",
        )
    for folder in ("data/snapshot", "data/features", "data/model"):
        assert content(tmp_path / folder) == content(done / folder)


def test_a_file_from_an_earlier_run_does_not_stay(root: Path) -> None:
    for folder in ("snapshot", "features", "model"):
        (root / "data" / folder / "stale").write_text("old")
    for stage in (snapshot, featurize, train):
        stage.run(params(root), root)
    assert not list((root / "data").rglob("stale"))


def test_a_file_handed_in_is_copied_byte_by_byte(root: Path) -> None:
    handed = root / "data/incoming/flights/2013-04.parquet"
    handed.parent.mkdir(parents=True)
    handed.write_bytes(b"PAR1 cut sho")
    snapshot.run(params(root), root)
    assert (root / "data/snapshot/flights/2013-04.parquet").read_bytes() == b"PAR1 cut sho"


def test_a_month_that_is_not_there_stops_the_snapshot(root: Path) -> None:
    with pytest.raises(NotFound, match="no flights of 2014-01"):
        snapshot.run(params(root, as_of="2014-01"), root)


def test_an_as_of_that_is_still_next_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="'next' is not a month"):
        snapshot.run(params(root, as_of="next"), root)


def test_features_are_refused_when_the_contract_said_no(root: Path) -> None:
    answer(root, passed=False)
    with pytest.raises(DataRejected, match=r"validation\.json"):
        featurize.run(params(root), root)


@pytest.mark.parametrize("report", [None, "{", "{}", "[]", '{"passed": "yes"}'])
def test_without_a_clear_yes_of_the_contract_there_are_no_features(root: Path, report: str | None) -> None:
    path = root / "reports/validation.json"
    path.unlink() if report is None else path.write_text(report)
    with pytest.raises((StageFailed, DataRejected)):
        featurize.run(params(root), root)


def test_a_snapshot_file_that_is_missing_is_named(root: Path) -> None:
    (root / "data/snapshot/weather/2013-02.parquet").unlink()
    with pytest.raises(StageFailed, match=r"weather.2013-02\.parquet"):
        featurize.run(params(root), root)


def test_the_holdout_is_the_newest_month_only(done: Path) -> None:
    holdout = pl.read_parquet(done / "data/features/holdout.parquet")
    assert holdout["period"].unique().to_list() == ["2013-04"]
    assert set(holdout["label"].unique()) == {0, 1}
    assert (str(holdout["day"].min()), str(holdout["day"].max())) == ("2013-04-01", "2013-04-30")


def test_outcomes_of_a_month_reach_only_the_features_of_later_months(done: Path, root: Path) -> None:
    """The end of as-of: with every outcome of March (the stop month) turned round, only its labels and what comes
    after it may change; January's, February's and March's own features stay to the bit."""
    path = root / "data/snapshot/flights/2013-03.parquet"
    flights = pl.read_parquet(path, memory_map=False)
    turned = pl.when(pl.col("arr_delay") > 15).then(0).when(pl.col("arr_delay").is_not_null()).then(60)
    flights.with_columns(arr_delay=turned).write_parquet(path)
    featurize.run(params(root), root)
    before, after = content(done / "data/features"), content(root / "data/features")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"stop_label.npy", "stop.parquet", "lookups.json"}
    stop = [pl.read_parquet(root_ / "data/features/stop.parquet", glob=False) for root_ in (done, root)]
    assert stop[0].drop("label").equals(stop[1].drop("label"))


def test_the_holdouts_outcomes_reach_nothing_that_the_model_sees(done: Path, root: Path) -> None:
    path = root / "data/snapshot/flights/2013-04.parquet"
    flights = pl.read_parquet(path, memory_map=False)
    flights.with_columns(arr_delay=pl.col("arr_delay") * 0 + 60).write_parquet(path)
    featurize.run(params(root), root)
    train.run(params(root), root)
    assert content(root / "data/model") == content(done / "data/model")


def test_categories_come_from_the_months_trained_on(done: Path) -> None:
    about = json.loads((done / "data/features/features.json").read_bytes())
    trained = pl.concat(pl.read_parquet(done / f"data/snapshot/flights/2013-{m}.parquet") for m in ("01", "02"))
    for name, known in about["vocabulary"].items():
        labelled = trained.filter(pl.col("arr_delay").is_not_null())
        assert known == sorted(labelled[name].unique().to_list())
    assert about["unseen"]["holdout"]["dest"] > 0  # April flies to places that January and February did not


def test_training_matrices_are_what_the_row_function_gives(done: Path) -> None:
    """The last rows of the stop month, through the online path, with the history of the months before it."""
    folder = done / "data/features"
    about = json.loads((folder / "features.json").read_bytes())
    frames = {
        p: DATASET.history.assemble(
            {t: pl.read_parquet(done / f"data/snapshot/{t}/{p}.parquet") for t in DATASET.source.TABLES}, p
        )
        for p in ("2013-01", "2013-02", "2013-03")
    }
    registers = {"planes": pl.read_parquet(done / "data/snapshot/planes.parquet")}
    lookups = DATASET.history.lookups([frames["2013-01"], frames["2013-02"]], registers)
    rows = [DATASET.request.Row.model_validate(r) for r in DATASET.request.records(frames["2013-03"].tail(20))]
    vocabulary = Vocabulary.from_json(about["vocabulary"])
    matrix, _ = DATASET.features.row_features(DATASET.request.columns(rows), lookups, vocabulary)
    stop = np.load(folder / "stop.npy")
    assert matrix.tobytes() == stop[-20:].tobytes()
    assert len(stop) == about["rows"]["stop"] == len(np.load(folder / "stop_label.npy"))


def test_golden_rows_answer_online_exactly_as_offline(done: Path) -> None:
    model = score.read_model(done / "data/model")
    assert len(model.golden) == params(done).decision.golden_rows
    for golden in model.golden:
        columns = DATASET.request.columns([DATASET.request.Row.model_validate(golden.request)])
        scores = model.score(columns, DATASET.features.row_features)
        assert (scores.probability[0].item(), bool(scores.decision[0])) == (golden.probability, golden.decision)


def test_the_model_folder_says_what_it_is(done: Path) -> None:
    manifest = score.read_model(done / "data/model").manifest
    assert (manifest.dataset, manifest.as_of, manifest.train, manifest.stop) == (
        "flight_delay", "2013-04", ("2013-01", "2013-02"), "2013-03",
    )  # fmt: skip
    assert manifest.code == DATASET.code_hash()
    assert manifest.device == "cpu"
    assert lookups_from_bytes((done / "data/model/lookups.json").read_bytes()).keys() == {"planes", "flight"}


def test_the_model_ranks_the_holdout(done: Path) -> None:
    from sklearn.metrics import roc_auc_score

    rows = pl.read_parquet(done / "data/features/holdout.parquet")
    assert roc_auc_score(rows["label"], score.score(score.read_model(done / "data/model"), rows).probability) > 0.6


def test_scoring_in_a_process_of_its_own_gives_the_same_bits(done: Path, tmp_path: Path) -> None:
    """As the champion is scored: its own code in the working directory, three paths on the command line."""
    code = shutil.copytree(ROOT / "greenlight", tmp_path / "code/greenlight").parent
    rows, out = done / "data/features/holdout.parquet", tmp_path / "out.parquet"
    _python(["-m", "greenlight.stages.score", str(done / "data/model"), str(rows), str(out)], cwd=code, PYTHONPATH="")
    found, frame = pl.read_parquet(out), pl.read_parquet(rows)
    expected = score.score(score.read_model(done / "data/model"), frame)
    assert found.schema == {"probability": pl.Float32, "decision": pl.Boolean}
    assert found["probability"].to_numpy().tobytes() == expected.probability.tobytes()
    assert found["decision"].to_list() == expected.decision.tolist()


def test_scoring_says_what_is_missing(done: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "greenlight.stages.score",
        str(tmp_path),
        str(done / "data/features/holdout.parquet"),
        "out",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "lacks golden.json" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_model_that_was_cut_short_does_not_load(root: Path) -> None:
    path = root / "data/model/model.ubj"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(Exception, match=r"model\.ubj cannot be read"):
        score.read_model(root / "data/model")


def test_training_without_features_names_the_stage_to_run(root: Path) -> None:
    (root / "data/features/stop.npy").unlink()
    with pytest.raises(StageFailed, match="run featurize"):
        train.run(params(root), root)
    assert isinstance(score.read_model(root / "data/model"), Model)  # what was there is still there


def _python(args: list[str], *, cwd: Path, **env: str) -> None:
    import os

    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    ended = subprocess.run([sys.executable, *args], cwd=cwd, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
