"""The packaged source: complete, deterministic, and clear about files that are missing or cut short."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import polars as pl
import pytest

from greenlight.datasets.flight_delay import source
from greenlight.errors import GreenlightError, NotFound


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    """A copy of the package's files that a test may damage."""
    folder = tmp_path / "packaged"
    folder.mkdir()
    for name in source.FILES.values():
        shutil.copyfile(source.packaged_folder() / name, folder / name)
    return folder


def test_there_are_the_twelve_months_of_2013() -> None:
    assert source.periods() == [f"2013-{m:02d}" for m in range(1, 13)]


def test_all_months_together_are_the_whole_year() -> None:
    assert sum(source.fetch(p)["flights"].height for p in source.periods()) == 336_776


def test_a_month_holds_its_own_rows_only_and_every_raw_column() -> None:
    tables = source.fetch("2013-02")
    for table in tables.values():
        assert table.select("year", "month").unique().rows() == [(2013, 2)]
        assert table.schema["time_hour"] == pl.Datetime("us", "UTC")
    assert {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"} <= set(tables["flights"].columns)


def test_text_that_says_na_is_null() -> None:
    flights = source.fetch("2013-02")["flights"]
    assert flights["arr_delay"].null_count() == 1340
    assert "NA" not in set(flights["tailnum"].to_list())


def test_fetching_twice_gives_equal_bytes(packaged: Path) -> None:
    """The copy is parsed anew: nothing is shared with the first answer but the content."""
    for table in source.TABLES:
        first, second = io.BytesIO(), io.BytesIO()
        source.fetch("2013-03")[table].write_parquet(first)
        source.fetch("2013-03", packaged=packaged)[table].write_parquet(second)
        assert first.getvalue() == second.getvalue()


def test_a_month_outside_the_data_is_not_found() -> None:
    with pytest.raises(NotFound, match="no flights of 2014-01: the source holds 2013-01 to 2013-12"):
        source.fetch("2014-01")


@pytest.mark.parametrize("name", ["flights.csv.zip", "weather.csv"])
def test_a_file_that_is_missing_is_named(packaged: Path, name: str) -> None:
    (packaged / name).unlink()
    with pytest.raises(GreenlightError, match=f"cannot be read.*{name}"):
        source.fetch("2013-01", packaged=packaged)


def test_an_archive_that_is_cut_short_is_named_with_its_size(packaged: Path) -> None:
    path = packaged / "flights.csv.zip"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(GreenlightError, match=r"\(100,000 bytes\).*flights\.csv\.zip"):
        source.fetch("2013-01", packaged=packaged)


def test_an_empty_file_is_an_error_not_an_empty_month(packaged: Path) -> None:
    (packaged / "weather.csv").write_bytes(b"")
    with pytest.raises(GreenlightError, match=r"weather\.csv"):
        source.fetch("2013-01", packaged=packaged)


def test_the_fingerprint_follows_content_and_periods_and_nothing_else(packaged: Path) -> None:
    base = source.fingerprint(["2013-01", "2013-02"])
    assert source.fingerprint(["2013-02", "2013-01"], packaged=packaged) == base
    assert source.fingerprint(["2013-01"]) != base
    (packaged / "planes.csv").write_bytes((packaged / "planes.csv").read_bytes() + b"\n")
    assert source.fingerprint(["2013-01", "2013-02"], packaged=packaged) != base
