"""Months that break the contract, handed in as files: each ends as DataRejected, says what, and changes nothing."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.core.contract_report import headline, report_text
from greenlight.errors import DataRejected
from greenlight.operations.runs import get_run, list_runs

MONTH = "2013-04"


def cut_short(rows: pl.DataFrame) -> bytes:
    whole = io.BytesIO()
    rows.write_parquet(whole)
    return whole.getvalue()[:-1000]


def in_celsius(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns((pl.col("temp") - 32) / 1.8, (pl.col("dewp") - 32) / 1.8)


CASES: dict[str, tuple[str, Callable[[pl.DataFrame], pl.DataFrame | bytes], tuple[str, ...]]] = {
    "missing column": ("flights", lambda rows: rows.drop("dest"), ("dest", "missing", f"flights/{MONTH}.parquet")),
    "wrong units": ("weather", in_celsius, ("temp",)),
    "empty": ("flights", lambda rows: rows.head(0), (f"flights/{MONTH}.parquet", "rows")),
    "truncated": ("flights", cut_short, (f"flights/{MONTH}.parquet", "unreadable")),
    "duplicate rows": ("flights", lambda rows: pl.concat([rows, rows.head(50)]), ("100", "flight")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_month_is_rejected_says_what_and_leaves_everything_as_it_was(
    recorded: Recorded, tmp_path: Path, case: str
) -> None:
    table, spoil, said = CASES[case]
    root = kit.copy(recorded, tmp_path / "repo").root
    kit.hand_in(root, table, MONTH, spoil(kit.month(table, MONTH)))
    project = kit.open_at(root)
    before = kit.memory(project)

    done = kit.retrain(project)

    assert done.outcome == "DataRejected"
    report = done.run.contract()
    text = report_text(report)
    assert all(part in text for part in said), text
    after = kit.memory(project)
    assert after.pop("runs") == before.pop("runs") | {done.name: done.commit}
    assert after == before
    shown = get_run(project, done.name)
    assert (shown["outcome"], shown["reason"]) == ("DataRejected", headline(report))
    assert shown["validation"]["passed"] is False
    assert list_runs(project)[0].name == done.name
    pages = (done.run.workspace.path("data_docs") / "index.html").read_text()
    assert "flight_delay" in pages


def test_no_later_stage_runs_on_a_bad_month_and_the_month_mended_is_taken(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    path = kit.hand_in(root, "flights", MONTH, kit.month("flights", MONTH).drop("dest"))
    run = kit.retrain(kit.open_at(root)).run
    with pytest.raises(DataRejected, match="the snapshot breaks its contract"):
        run.stage("featurize")
    path.unlink()

    assert kit.retrain(kit.open_at(root)).outcome == "Promoted"
