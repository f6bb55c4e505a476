"""A file checked before it is handed in: recognised, set beside the months before it, judged; and bad input, said once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from greenlight.cli.app import app
from greenlight.config import Settings
from greenlight.datasets.flight_delay import source
from greenlight.errors import NotFound, UsageError
from greenlight.operations.contract_file import FileAnswer, validate
from greenlight.wiring import Project, open_project
from tests.conftest import copy_checkout

MONTH = "2013-04"
ROW = pl.int_range(pl.len())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def project(root: Path) -> Project:
    return open_project(Settings(root=root))


@pytest.fixture(scope="module")
def good() -> pl.DataFrame:
    return source.fetch(MONTH)["flights"]


def names(found: FileAnswer) -> set[str]:
    return {failure.expectation for failure in found.report.failures}


def test_a_good_month_as_csv_is_recognised_and_passes(project, good, tmp_path):
    good.write_csv(tmp_path / "delivery.csv", null_value="NA")
    found = validate(project, tmp_path / "delivery.csv")
    assert (found.table, found.period, found.exit_code) == ("flights", MONTH, 0)
    assert found.beside == ("2013-01", "2013-02", "2013-03")
    assert found.report.passed
    assert found.report.failures == found.report.warnings == ()
    tables = {outcome.table for outcome in found.report.outcomes}
    assert {"flights", "months", "copies", "nulls", "freshness"} <= tables
    assert "weather" not in tables


def test_a_bad_month_is_refused_with_a_page_and_the_source_stays_as_it_was(project, good, tmp_path):
    spoilt = good.with_columns(
        pl.when(ROW % 500 == 1).then(9_999_999).otherwise("distance").alias("distance"),
        pl.when(ROW % 4 == 0).then(pl.lit("<b>")).otherwise("carrier").alias("carrier"),
    )
    march = source.fetch("2013-03")["flights"].gather_every(3)
    old = march.with_columns(pl.lit(4, dtype=pl.Int64).alias("month"), pl.col("time_hour").dt.offset_by("1mo"))
    path, page = tmp_path / "april.parquet", tmp_path / "new" / "page.html"
    pl.concat([spoilt, old.select(spoilt.columns)]).write_parquet(path)
    found = validate(project, path, page=page)
    again = validate(project, path, page=tmp_path / "again.html")
    assert found.exit_code == 3
    assert {
        "flights.distance between",
        "flights.carrier matches",
        "months.flights_carrier_shift between",
        "copies.copied_share between",
    } <= names(found)
    assert {failure.file for failure in found.report.failures} == {str(path)}
    html = page.read_text()
    assert html == (tmp_path / "again.html").read_text()
    assert html.count("<svg") >= 5
    assert "9,999,999" in html
    assert "&lt;b&gt;" in html
    assert not re.search(
        r"https?:|//[a-z]|<script|<img|@import|<b>",
        html.replace("http://www.w3.org", "")
        .replace("<b>flight data desk", "")
        .replace("<b>modelling", "")
        .replace("<b>data engineering", ""),
    )
    assert json.loads(json.dumps(again.to_json()))["passed"] is False


def test_a_register_is_checked_by_itself(project, tmp_path):
    planes = source.fetch_registers()["planes"]
    planes.head(300).write_csv(tmp_path / "planes.csv")
    found = validate(project, tmp_path / "planes.csv")
    assert (found.table, found.period, found.beside) == ("planes", "", ())
    assert names(found) == {"planes rows"}


def test_a_month_of_which_the_source_has_no_weather_says_what_was_not_checked(project, good, tmp_path):
    path = tmp_path / "2014-01.parquet"
    new = source.fetch("2013-01")["flights"].with_columns(year=pl.lit(2014, dtype=pl.Int64))
    new.with_columns(pl.col("time_hour").dt.offset_by("1y"), pl.col("flight") % 9000 + 1).write_parquet(path)
    found = validate(project, path)
    assert (found.period, found.beside[-1]) == ("2014-01", "2013-12")
    assert found.not_checked.endswith("since the source has no weather of 2014-01")
    assert not {o.state for o in found.report.outcomes} & {"skipped"}


def test_a_column_that_is_missing_or_holds_other_things_is_named(project, good, tmp_path):
    other = good.drop("dest").with_columns(pl.lit("many").alias("distance"))
    other.write_csv(tmp_path / f"flights-{MONTH}.csv")
    found = validate(project, tmp_path / f"flights-{MONTH}.csv")
    (failure,) = found.report.failures
    assert failure.observed == "distance String instead of integer; dest missing"
    assert found.exit_code == 3


BAD: dict[str, tuple[Callable[[Path], object], type[UsageError], str]] = {
    "no file": (lambda path: None, NotFound, "there is no file"),
    "a folder": (Path.mkdir, UsageError, "is a folder"),
    "nothing in it": (lambda path: path.write_bytes(b""), UsageError, "0 bytes"),
    "a Parquet cut short": (lambda path: path.write_bytes(b"PAR1" + bytes(40)), UsageError, "cannot be read as Parquet"),
    "a picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256))), UsageError, "cannot be read as CSV|fit no table"),
    "a spreadsheet's Unicode text": (lambda path: path.write_text("year,month\n2013,4\n", encoding="utf-16"), UsageError, "is text in UTF-16"),
    "semicolons": (lambda path: path.write_text("year;month\n2013;4\n"), UsageError, "separated by ';' and not by commas"),
    "another table": (lambda path: path.write_text("a,b\n1,2\n"), UsageError, "fit no table of flight_delay"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "error", "said"), BAD.values(), ids=BAD)
def test_what_is_no_table_is_one_clear_message(project, tmp_path, make, error, said):
    make(tmp_path / "input")
    with pytest.raises(error, match=said) as caught:
        validate(project, tmp_path / "input")
    assert caught.value.exit_code == 2
    assert caught.value.todo


def test_a_table_or_month_that_does_not_exist_is_said(project, good, tmp_path):
    good.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="no table 'trains'"):
        validate(project, tmp_path / "x.parquet", table="trains")
    with pytest.raises(UsageError, match="'2013-13' is not a month"):
        validate(project, tmp_path / "x.parquet", period="2013-13")


def test_the_command_answers_with_its_exit_status(root, good, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    good.head(0).write_parquet(tmp_path / f"{MONTH}.parquet")
    done = CliRunner().invoke(app, ["validate", str(tmp_path / f"{MONTH}.parquet"), "--json"])
    answer = json.loads(done.stdout)
    assert done.exit_code == 3
    assert (answer["table"], answer["period"], answer["passed"]) == ("flights", MONTH, False)
    assert answer["failures"][0]["observed"] == "0 rows"
    assert CliRunner().invoke(app, ["validate", str(tmp_path / "none.csv")]).exit_code == 2


def test_a_file_is_read_by_its_name_and_not_as_a_pattern(project: Project, good: pl.DataFrame, tmp_path: Path) -> None:
    for suffix, write in (("parquet", pl.DataFrame.write_parquet), ("csv", pl.DataFrame.write_csv)):
        write(good, tmp_path / f"a1-{MONTH}.{suffix}")
        write(good.with_columns(pl.col("distance") * 2), tmp_path / f"a[1]-{MONTH}.{suffix}")
        assert not validate(project, tmp_path / f"a[1]-{MONTH}.{suffix}").report.passed
