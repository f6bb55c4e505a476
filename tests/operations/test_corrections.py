"""Months that were corrected since the champion learnt from them: noticed, counted, and no reason to stop by itself."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.config import Params
from greenlight.core.contract_report import ContractReport
from greenlight.operations.plan import plan
from greenlight.operations.workspace import create
from greenlight.stages import validate


def test_a_month_corrected_since_the_champion_is_a_warning_that_counts_the_rows(
    recorded: Recorded, tmp_path: Path
) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    march = kit.month("flights", "2013-03")
    row = pl.int_range(pl.len())
    corrected = march.filter(row >= 5).with_columns(
        pl.when(row < 40).then(pl.lit("N14228")).otherwise("tailnum").alias("tailnum")
    )
    kit.hand_in(root, "flights", "2013-03", corrected)

    done = kit.retrain(kit.open_at(root))

    assert done.outcome != "DataRejected"
    report: ContractReport = done.run.contract()
    (warning,) = [f for f in report.warnings if f.table == "corrections"]
    (row_shown,) = warning.examples or [{}]
    assert (warning.period, warning.file) == ("2013-03", "data/snapshot/flights/2013-03.parquet")
    assert (row_shown["removed"], row_shown["added"]) == (5, 0)
    assert 0 < row_shown["changed"] <= 40
    root = done.run.workspace.root
    assert (root / "data/champion/snapshot/flights/2013-03.parquet").is_file()
    assert "corrections.corrected_share" in (root / "reports/data_docs/report.html").read_text()
    reproducible(root, done.run.workspace.params)


def test_rows_of_the_champion_that_are_nowhere_any_more_are_a_warning_and_no_end(
    recorded: Recorded, tmp_path: Path
) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    project = kit.open_at(root)
    assert create(project, plan(project)).warnings == ()
    kit.lose_champions_rows(project)

    workspace = create(project, plan(project, as_of="2013-05"))

    (warning,) = workspace.warnings
    assert warning.startswith("corrections of earlier months are not looked for: the rows that champion v1 learnt from")
    assert "neither the cache nor the remote holds it" in warning
    assert "Next: dvc push where it was made" in warning
    assert "greenlight fsck" in warning
    assert (workspace.path("champion") / "model" / "model.ubj").is_file()
    assert not (workspace.path("champion") / "snapshot").exists()


def reproducible(root: Path, params: Params) -> None:
    """The stage once more, over what is there: the same bytes, whatever the engine writes to the disk meanwhile."""
    files = sorted(p for p in (root / "reports").rglob("*") if p.is_file() and "data_docs" in str(p))
    before = {path: path.read_bytes() for path in files}
    validate.run(params, root)
    assert {path: path.read_bytes() for path in files} == before
