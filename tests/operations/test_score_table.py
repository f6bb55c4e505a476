"""``greenlight score``: a table's predictions by the code and the model of a version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import serving_kit as kit

from greenlight.adapters.bento import SOURCES
from greenlight.config import Settings
from greenlight.core.model import Model
from greenlight.errors import BentoError, NotFound, UsageError
from greenlight.operations.score_table import score_table
from greenlight.wiring import open_project

REQUEST = kit.DATASET.request
ROWS = kit.requests(150, seed=9)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return kit.project(tmp_path_factory.mktemp("score") / "project", 1)


@pytest.fixture(scope="module")
def wanted() -> Any:
    model = Model.from_files(kit.small_model(1))
    checked = [REQUEST.Row.model_validate(row) for row in ROWS]
    return model.score(REQUEST.columns(checked), kit.DATASET.features.row_features)


def table(rows: list[dict[str, Any]], path: Path) -> Path:
    if path.suffix == ".csv":
        pl.DataFrame(rows, infer_schema_length=None).write_csv(path)
    else:
        checked = [REQUEST.Row.model_validate(row).model_dump() for row in rows]
        pl.DataFrame(checked, infer_schema_length=None).write_parquet(path)
    return path


@pytest.mark.parametrize(("kind", "out"), [(".parquet", ".csv"), (".csv", ".parquet")])
def test_a_table_gets_the_scores_of_the_service_to_the_bit(
    made: Settings, wanted: Any, tmp_path: Path, kind: str, out: str
) -> None:
    target = tmp_path / f"scores{out}"
    report = score_table(open_project(made), table(ROWS, tmp_path / f"rows{kind}"), version="v1", out=target)
    found = (
        pl.read_csv(target, schema_overrides={"probability": pl.Float32}) if out == ".csv" else pl.read_parquet(target)
    )
    assert found["probability"].to_numpy().tobytes() == wanted.probability.tobytes()
    assert found["decision"].to_list() == wanted.decision.tolist()
    assert found["prediction_id"].to_list() == [f"{report.name}-{i}" for i in range(len(ROWS))]
    assert set(found["model_version"]) == {"v1"}
    assert (report.rows, report.version) == (len(ROWS), "v1")
    assert report.unseen == wanted.unseen
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == sorted([f"rows{kind}", f"scores{out}"])


def test_wrong_rows_are_named_and_what_was_there_stays(made: Settings, tmp_path: Path) -> None:
    rows = [dict(row) for row in ROWS]
    rows[70]["distance"], rows[80]["carrier"] = -5, "?"
    target = tmp_path / "scores.parquet"
    target.write_bytes(b"of yesterday")
    with pytest.raises(
        UsageError, match=r"(?s)row 70, field distance: should be greater than 0.*row 80, field carrier"
    ):
        score_table(open_project(made), table(rows, tmp_path / "rows.csv"), version="v1", out=target)
    assert target.read_bytes() == b"of yesterday"
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["rows.csv", "scores.parquet"]
    pl.DataFrame({"distance": [1.0]}).write_parquet(tmp_path / "few.parquet")
    with pytest.raises(UsageError, match="carrier: is required"):
        score_table(open_project(made), tmp_path / "few.parquet", version="v1", out=target)


def test_what_cannot_be_done_says_so_before_any_work(made: Settings, tmp_path: Path) -> None:
    project, good = open_project(made), table(ROWS[:2], tmp_path / "rows.parquet")
    for path, more, words in (
        (tmp_path / "none.parquet", {}, "no such file"),
        (good, {"out": tmp_path / "scores.xlsx"}, "neither .parquet nor .csv"),
        (good, {"out": good}, "would replace the table"),
        (good, {"out": tmp_path / "no" / "scores.csv"}, "no such folder"),
    ):
        with pytest.raises(UsageError, match=words):
            score_table(project, path, version="v1", **more)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="no version serves"):
        score_table(project, good)
    with pytest.raises(NotFound, match="v9"):
        score_table(project, good, version="v9")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 no more")
    with pytest.raises(UsageError, match="not a Parquet file"):
        score_table(project, broken, version="v1", out=tmp_path / "out.parquet")


def test_an_altered_bento_and_one_without_the_code_score_nothing(made: Settings, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(made.root, root)
    project = open_project(Settings(root=root))
    sources = root / ".greenlight" / "bentoml" / "bentos" / kit.DATASET.name / "v1" / SOURCES
    good, out = table(ROWS[:2], tmp_path / "rows.parquet"), tmp_path / "scores.parquet"
    manifest = sources / "data" / "model" / "model.json"
    before = manifest.read_text()
    manifest.write_text(before.replace('"threshold": 0.5', '"threshold": 0.1'))
    with pytest.raises(BentoError, match="altered after it was signed"):
        score_table(project, good, version="v1", out=out)
    assert not out.exists()
    manifest.write_text(before)
    (sources / "bentos" / "classifier" / "score_table.py").unlink()
    with pytest.raises(UsageError, match="cannot score tables"):
        score_table(project, good, version="v1", out=out)


def test_the_command_answers_in_json_and_ends_with_2_on_wrong_rows(made: Settings, tmp_path: Path) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "greenlight.cli", "score", *args]
        env = {**os.environ, "GREENLIGHT_ROOT": str(made.root)}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    table(ROWS, tmp_path / "rows.csv")
    done = run("rows.csv", "--version", "v1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["out"] == "rows-scores.csv"
    assert pl.read_csv(tmp_path / "rows-scores.csv").height == len(ROWS)
    table([{**ROWS[0], "distance": 0}], tmp_path / "wrong.csv")
    wrong = run("wrong.csv", "--version", "v1")
    assert (wrong.returncode, "row 0, field distance" in wrong.stderr) == (2, True)
    assert np.all([p.name != "wrong-scores.csv" for p in tmp_path.iterdir()])
