"""The engine's side: what is declared is what is asked, and what it cannot answer is an error."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import polars as pl
import pytest

from greenlight.adapters import contract_page, data_docs, expectation_engines, expectation_suite, expectations
from greenlight.adapters.expectation_engines import literal
from greenlight.core.contract import Contract, Table, between, matches, not_null, one_of, owned, rows, unique
from greenlight.core.snapshot import SnapshotFile
from greenlight.errors import AdapterError
from tests.conftest import ROOT

TABLE = Table("t", {"x": "integer", "y": "number", "s": "text"}, key=("x",))
FRAME = pl.DataFrame({"x": [1, 2, 3, 4], "y": [0.5, None, 2.5, 9.5], "s": ["a", None, "b", "b"]})


def check(*expected, frame=FRAME, second=None, engine="auto"):
    contract = Contract("d/v1", (TABLE,), expected, derive=lambda tables, _: dict(tables))
    files = [SnapshotFile("t/2013-01.parquet", "t", "2013-01", frame)]
    if second is not None:
        files.append(SnapshotFile("t/2013-02.parquet", "t", "2013-02", second))
    return expectations.check(contract, files, [file.period for file in files], engine=engine).report


@pytest.mark.parametrize(
    ("expectation", "held", "unexpected"),
    [
        (between("t", "y", 0, 10, why="w"), True, 0),
        (between("t", "y", 0, 9, why="w"), False, 1),
        (between("t", "y", 9.5, 9.5, why="w"), False, 2),
        (not_null("t", ["y"], why="w")[0], False, 1),
        (not_null("t", ["y"], why="w", share=0.7)[0], True, 1),
        (not_null("t", ["s"], why="w")[0], False, 1),
        (one_of("t", "s", ["a", "b"], why="w"), True, 0),
        (one_of("t", "s", ["a"], why="w"), False, 2),
        (matches("t", "s", "^[a-z]$", why="w"), True, 0),
        (matches("t", "s", "^[B-Z]$", why="w"), False, 3),
        (unique("t", ["x"], why="w"), True, 0),
        (unique("t", ["s"], why="w"), False, 2),
        (unique("t", ["s", "x"], why="w"), True, 0),
        (rows("t", 4, 4, why="w"), True, 0),
        (rows("t", 5, None, why="w"), False, 1),
    ],
)
@pytest.mark.parametrize("engine", ["pandas", "duckdb"])
def test_a_rule_counts_what_does_not_conform(expectation, held, unexpected, engine):
    outcome = check(expectation, engine=engine).outcomes[-1]
    assert (outcome.state, outcome.unexpected, outcome.rows) == ("held" if held else "broken", unexpected, 4)


def test_a_failure_is_placed_in_its_period_with_its_rows():
    bad = FRAME.with_columns(y=pl.Series([50.0, 60.0, None, 1.0]))
    (failure,) = check(between("t", "y", 0, 10, why="w", unit="m"), second=bad).failures
    assert (failure.period, failure.file, failure.observed) == ("2013-02", "t/2013-02.parquet", "1 to 60")
    assert failure.examples == ({"x": 1, "y": 50.0}, {"x": 2, "y": 60.0})
    assert (failure.unexpected, failure.rows, failure.share) == (2, 4, 0.5)


def test_where_it_fails_and_how_is_the_same_whatever_the_engine():
    bad = pl.DataFrame({"x": [3, 3, 9, 9], "y": [50.0, 60.0, None, 1.0], "s": ["zz", None, "b", "c"]})
    asked = (
        between("t", "y", 0, 10, why="w"),
        *not_null("t", ["y"], why="w", share=0.9),
        one_of("t", "s", ["a", "b"], why="w"),
        matches("t", "s", "^[a-z]$", why="w"),
        unique("t", ["x"], why="w"),
        unique("t", ["s", "x"], why="w"),
        rows("t", 9, None, why="w"),
    )
    found = {engine: check(*asked, second=bad, engine=engine) for engine in ("pandas", "duckdb")}
    assert found["pandas"] == found["duckdb"]
    assert {f.expectation for f in found["pandas"].failures} == {e.name for e in asked} - {"t.s+x unique"}


def test_both_engines_have_pages_that_say_what_failed():
    bad = FRAME.with_columns(y=pl.Series([50.0, 60.0, None, 1.0]), x=pl.Series([1, 1, 2, 3]))
    for engine in ("pandas", "duckdb"):
        contract = Contract(
            "d/v1",
            (TABLE,),
            (between("t", "y", 0, 10, why="w"), unique("t", ["s", "x"], why="w"), unique("t", ["x"], why="w")),
            derive=lambda tables, _: dict(tables),
        )
        files = [SnapshotFile(f"t/{m}.parquet", "t", m, f) for m, f in (("2013-01", FRAME), ("2013-02", bad))]
        checked = expectations.check(contract, files, ["2013-01", "2013-02"], engine=engine)
        pages = data_docs.render(checked)
        assert {"index.html", "files.html", "columns.html", "t.html"} == set(pages)
        assert "t.y in 2013-02" in pages["index.html"]
        assert "between 0 and 10" in pages["t.html"]
        assert contract_page.render(checked).count("<svg") >= 3
        assert contract_page.render(checked) == contract_page.render(checked)


def test_numbers_of_another_width_are_alike_all_the_same():
    """Two files with one key, Int64 in one of them and Int32 in the other."""
    second = FRAME.with_columns(pl.col("x").cast(pl.Int32))
    for engine in ("pandas", "duckdb"):
        (failure,) = check(unique("t", ["x"], why="w"), second=second, engine=engine).failures
        assert (failure.period, failure.unexpected, failure.rows) == ("", 8, 8)


def test_a_table_goes_to_files_when_it_is_large_and_leaves_none_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(expectation_engines, "LIMIT", 6)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []
    monkeypatch.setattr(expectation_engines.TableRows, "view", spy(expectation_engines.TableRows.view, seen))
    report = check(between("t", "y", 0, 9, why="w"), second=FRAME)
    assert [f.period for f in report.failures] == ["2013-01", "2013-02"]
    assert "t" in seen
    assert "files" not in seen
    assert list(tmp_path.glob("greenlight-contract-*")) == []


def spy(method, seen):
    def called(self):
        seen.append(self.name)
        return method(self)

    return called


def test_at_most_five_rows_are_kept():
    frame = pl.DataFrame({"x": list(range(100)), "y": [1.0] * 100, "s": ["a"] * 100})
    (failure,) = check(between("t", "y", 5, 10, why="w"), frame=frame).failures
    assert (len(failure.examples), failure.unexpected) == (5, 100)


def test_a_warning_does_not_reject():
    report = check(between("t", "y", 0, 9, why="w", severity="warn"))
    assert report.passed
    assert len(report.warnings) == 1


@pytest.mark.parametrize("engine", ["pandas", "duckdb"])
def test_what_the_engine_cannot_evaluate_is_an_error_and_never_passes(engine):
    with pytest.raises(AdapterError, match=r"could not evaluate 't\.s between'"):
        check(between("t", "s", 0, 9, why="w"), engine=engine)


def test_severity_reason_and_owner_reach_the_engine():
    declared = owned("desk", [between("t", "y", 0, 9, why="it matters", severity="warn")])
    suite = expectation_suite.build("t", declared)
    (compiled,) = suite.expectations
    assert compiled.severity == "warning"
    assert compiled.meta == {"name": "t.y between (warn)", "reason": "it matters", "owner": "desk"}
    assert compiled.description == "between 0 and 9: it matters"


def test_frames_need_no_pyarrow_and_keep_nulls():
    frame = expectation_suite.to_pandas(FRAME, [between("t", "y", 0, 9, why="w"), one_of("t", "s", ["a"], why="w")])
    assert list(frame.columns) == ["y", "s"]
    assert frame.isna().sum().to_dict() == {"y": 1, "s": 1}
    assert frame["s"].dtype == "category"


def test_importing_the_adapter_does_not_import_the_engine():
    code = "import sys, greenlight.adapters.data_docs, greenlight.stages.validate; print(sorted({m.split('.')[0] for m in sys.modules}))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "great_expectations" not in out
    assert "'pandas'" not in out
    assert "'polars'" in out


def test_duckdb_reads_a_path_literally(tmp_path: Path) -> None:
    folder = tmp_path / "[ml] team's *?"
    folder.mkdir()
    pl.DataFrame({"a": [1, 2]}).write_parquet(folder / "t.parquet")
    rows = duckdb.sql(f"SELECT count(*) FROM read_parquet([{literal(folder / 't.parquet')}])").fetchall()
    assert rows == [(2,)]
