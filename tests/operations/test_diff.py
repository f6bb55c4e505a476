"""What changed between two runs, on real ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.cli.run_views import diff_views
from greenlight.core.changes import Change
from greenlight.errors import NotFound
from greenlight.operations.diff import FileChange, diff


def lines(found: dict[str, object]) -> str:
    return "\n".join(str(part) for part in diff_views(found))


def test_a_version_and_the_run_after_it(recorded: Recorded) -> None:
    found = diff(recorded.project, "v1", recorded.kept)

    assert (found.before["name"], found.before["version"]) == (recorded.promoted, "v1")
    assert found.commits == ()
    assert found.files == (FileChange("greenlight/cli/new.py", 1, 0),)
    params = {change.what: (change.before, change.after) for change in found.params}
    assert params["data.as_of"] == ("2013-03", "2013-04")
    assert params["gates.minimum.roc_auc"] == (0.4, 0.99)
    assert params["champion.version"] == ("", "v1")
    assert {(file.path, file.state) for file in found.snapshot} == {
        (f"{table}/{month}.parquet", state)
        for table in ("flights", "weather")
        for month, state in (("2013-01", "gone"), ("2013-04", "new"))
    }
    rows = {file.path: file.rows for file in found.snapshot}
    assert rows["flights/2013-01.parquet"] is not None
    assert (rows["flights/2013-01.parquet"].removed, rows["flights/2013-01.parquet"].added) == (27_004, 0)
    assert Change("outcome", "Promoted", "KeptChampion") in found.verdict
    assert Change("min_roc_auc", "passed", "failed") in found.verdict
    metrics = {row["name"]: row for row in found.metrics}
    auc = metrics["roc_auc"]
    assert auc["difference"] == auc["after"] - auc["before"] != 0
    text = lines(found.to_json())
    assert "data.as_of: 2013-03 -> 2013-04" in text
    assert "greenlight/cli/new.py  +1 -0" in text
    assert "flights/2013-01.parquet gone: 0 rows added, 27,004 removed" in text


def test_a_file_that_differs_is_compared_by_its_key_and_only_such_files_are_fetched(
    recorded: Recorded, tmp_path: Path
) -> None:
    """From a clone without a cache: what it has afterwards is what was fetched."""
    shutil.copytree(recorded.root / ".greenlight" / "remote", tmp_path / "remote")
    kit.git(tmp_path, "clone", "-q", str(recorded.root), str(tmp_path / "clone"))
    kit.remote(tmp_path / "clone", str(tmp_path / "remote"))

    found = diff(kit.open_at(tmp_path / "clone"), recorded.rejected, recorded.kept)

    (file,) = found.snapshot
    assert (file.path, file.state) == ("flights/2013-04.parquet", "changed")
    assert file.rows is not None
    assert file.rows.schema == ("carrier is new",)
    assert file.rows.key == ()  # the carrier is a part of it
    cache = [path for path in (tmp_path / "clone" / ".greenlight" / "cache" / "files").rglob("*") if path.is_file()]
    assert len(cache) == 4  # two lists of files, and the two contents of one
    assert Change("decision", None, "reject") in found.verdict
    assert Change("contract", "failed", "passed") in found.verdict


def test_a_corrected_month_and_committed_code(recorded: Recorded, tmp_path: Path) -> None:
    """Without retraining: only the snapshot's stage is needed to have rows."""
    import polars as pl

    root = kit.copy(recorded, tmp_path / "repo").root
    source = root / "greenlight" / "cli" / "app.py"
    source.write_text(source.read_text() + "# more\n")
    kit.git(root, "commit", "-q", "-a", "-m", "More of it")
    rows = kit.month("flights", "2013-04")
    corrected = rows.with_columns(
        pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("N00001")).otherwise("tailnum").alias("tailnum")
    ).slice(0, rows.height - 2)
    kit.hand_in(root, "flights", "2013-04", corrected.drop("dest"))
    other = kit.retrain(kit.open_at(root), as_of="2013-04")

    found = diff(kit.open_at(root), recorded.kept, other.name)

    assert [commit.split(" ", 1)[1] for commit in found.commits] == ["More of it"]
    assert FileChange("greenlight/cli/app.py", 1, 0) in found.files
    (file,) = found.snapshot
    assert file.rows is not None
    assert (file.rows.added, file.rows.removed, file.rows.changed) == (0, 2, 3)
    assert file.rows.columns == {"tailnum": 3}
    assert file.rows.key == ("year", "month", "day", "carrier", "flight", "origin")
    assert "3 changed (tailnum 3); dest is gone" in lines(found.to_json())


def test_a_run_and_itself_differ_in_nothing(recorded: Recorded) -> None:
    found = diff(recorded.project, "v1", recorded.promoted)

    changed = (found.commits, found.files, found.params, found.snapshot, found.environment, found.verdict)
    assert changed == ((),) * 6
    assert {row["difference"] for row in found.metrics} == {0}
    assert lines(found.to_json()).count(": the same") == 6


def test_a_run_that_is_not_there_is_named(recorded: Recorded) -> None:
    with pytest.raises(NotFound, match="no run 2012-01"):
        diff(recorded.project, "v1", "2012-01")
