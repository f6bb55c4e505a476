"""The stage: files in, a report and pages out, and a clean "no" for whatever is wrong with the files."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from greenlight.config import Params
from greenlight.core.contract_report import ContractReport
from greenlight.datasets.flight_delay import source
from greenlight.stages import validate
from tests.conftest import ROOT

MONTHS = ("2013-05", "2013-06", "2013-07")
NEWEST = "data/snapshot/flights/2013-07.parquet"


@pytest.fixture(scope="module")
def params() -> Params:
    params = Params.load(ROOT / "params.yaml")
    data = params.data.model_copy(update={"as_of": "2013-07", "window_months": 1})
    return params.model_copy(update={"data": data})


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    for month in MONTHS:
        fetched = source.fetch(month)
        for table, frame in {**fetched, "flights": fetched["flights"].gather_every(10)}.items():
            (root / "data/snapshot" / table).mkdir(parents=True, exist_ok=True)
            frame.write_parquet(root / f"data/snapshot/{table}/{month}.parquet")
    source.fetch_registers()["planes"].write_parquet(root / "data/snapshot/planes.parquet")
    return root


@pytest.fixture
def workspace(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "workspace"))


def report(root: Path) -> ContractReport:
    return ContractReport.from_json(json.loads((root / "reports/validation.json").read_text()))


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in (root / "reports").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def edit(path: Path, *exprs: pl.Expr) -> None:
    pl.read_parquet(path).with_columns(*exprs).write_parquet(path)


def test_sound_files_pass_and_say_so(params, workspace):
    assert validate.run(params, workspace).startswith("The data keeps the contract flight_delay/v2")
    found = report(workspace)
    assert found.passed
    assert found.periods == MONTHS
    assert [row["period"] for row in found.measures] == list(MONTHS)
    assert "Data accepted" in (workspace / "reports/data_docs/index.html").read_text()


def test_a_month_that_the_champion_learnt_from_under_another_date_is_a_copy(params, workspace):
    learnt = workspace / "data/champion/snapshot/flights/2012-07.parquet"
    learnt.parent.mkdir(parents=True)
    pl.read_parquet(workspace / NEWEST).with_columns(year=pl.lit(2012, pl.Int64)).write_parquet(learnt)
    validate.run(params, workspace)
    assert report(workspace).passed is False
    (failure,) = [f for f in report(workspace).failures if f.columns == ("copied_share",)]
    assert failure.period == "2013-07"
    assert "2012-07" in str(failure.examples)


def test_two_folders_with_the_same_snapshot_give_the_same_bytes(params, workspace, tmp_path):
    edit(workspace / NEWEST, pl.col("distance") * 1609)
    other = Path(shutil.copytree(workspace, tmp_path / "elsewhere"))
    validate.run(params, workspace)
    validate.run(params, other)
    assert digests(workspace) == digests(other)
    assert len(digests(workspace)) == 14


def test_a_no_is_written_and_does_not_raise(params, workspace):
    edit(workspace / NEWEST, (pl.col("distance") * 1.609).cast(pl.Int64))
    assert "breaks the contract" in validate.run(params, workspace)
    found = report(workspace)
    assert not found.passed
    assert ("months.median_speed_mph between", "2013-07", NEWEST) in {
        (f.expectation, f.period, f.file) for f in found.failures
    }


def test_pages_say_what_failed_and_ask_no_other_host(params, workspace):
    edit(
        workspace / NEWEST,
        pl.col("distance") * 1609,
        pl.lit("<script>").alias("dest"),
        pl.lit("<img>").alias("carrier"),
    )
    validate.run(params, workspace)
    folder = workspace / "reports/data_docs"
    index = (folder / "index.html").read_text()
    for part in ("Data rejected", "flights.distance in 2013-07", "between 10 and 6,000 miles", NEWEST, "and "):
        assert part in index
    pages = {path.name: path.read_text() for path in folder.iterdir()}
    tables = {
        "files",
        "columns",
        "flights",
        "weather",
        "planes",
        "months",
        "nulls",
        "copies",
        "freshness",
        "relations",
        "corrections",
    }
    assert set(pages) == {f"{name}.html" for name in tables | {"index", "report"}}
    assert pages["report.html"].count("<svg") >= 4
    for name, html in pages.items():
        html = re.sub(
            r'xmlns(:xlink)?="[^"]*"|url\(#[a-z0-9-]+\)', "", html
        )  # a drawing's name space and its own parts
        assert not re.search(r"https?:|//[a-z]|<script|<img|@import|url\(", html), name
        assert set(re.findall(r'href="([^"#]+)', html)) <= {*pages, "data:,"}, name


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 400] = bytes(400)
    path.write_bytes(bytes(content))


BROKEN_FILES = {
    "cut short": (truncate, "unreadable"),
    "without its footer": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "unreadable"),
    "no Parquet at all": (lambda path: path.write_text("year,month\n2013,7\n"), "unreadable"),
    "zero bytes": (lambda path: path.write_bytes(b""), "unreadable"),
    "missing": (Path.unlink, "missing"),
    "without rows": (lambda path: pl.read_parquet(path).clear().write_parquet(path), "0 rows"),
    "without a column": (lambda path: pl.read_parquet(path).drop("distance").write_parquet(path), "distance missing"),
    "with a new column": (lambda path: edit(path, pl.lit(1).alias("delay_code")), "delay_code unexpected"),
    "of another type": (
        lambda path: edit(path, pl.col("distance").cast(pl.String)),
        "distance String instead of integer",
    ),
    "with a column of nothing": (lambda path: edit(path, pl.lit(None).alias("dest")), "dest Null instead of text"),
}


@pytest.mark.parametrize(("damage", "said"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_a_broken_file_is_a_clean_no_that_names_it(params, workspace, damage, said):
    damage(workspace / NEWEST)
    validate.run(params, workspace)
    found = report(workspace)
    (failure,) = found.failures
    assert failure.file == NEWEST
    assert said in failure.observed
    assert str(workspace) not in (workspace / "reports/validation.json").read_text()
    # the weather and the planes are looked at all the same, the flights and the months are not
    skipped = {outcome.table for outcome in found.outcomes if outcome.state == "skipped"}
    assert skipped == {"flights", "months"}


def test_a_file_overwritten_inside_never_passes(params, workspace):
    """Whether the reader notices or bad values come out: one file is to blame, and it is named."""
    flip(workspace / NEWEST)
    validate.run(params, workspace)
    found = report(workspace)
    assert not found.passed
    assert {failure.file for failure in found.failures} == {NEWEST}


def test_every_broken_file_is_named_not_only_the_first(params, workspace):
    truncate(workspace / NEWEST)
    (workspace / "data/snapshot/weather/2013-06.parquet").unlink()
    (workspace / "data/snapshot/planes.parquet").write_bytes(b"PAR1")
    validate.run(params, workspace)
    assert {failure.file for failure in report(workspace).failures} == {
        NEWEST,
        "data/snapshot/weather/2013-06.parquet",
        "data/snapshot/planes.parquet",
    }


def test_pages_of_an_earlier_run_do_not_stay(params, workspace):
    folder = workspace / "reports/data_docs"
    folder.mkdir(parents=True)
    (folder / "old.html").write_text("old")
    (workspace / NEWEST).unlink()
    validate.run(params, workspace)
    assert not (folder / "old.html").exists()
    assert not (folder / "flights.html").exists()
