"""Files handed in win over the source, byte by byte, and are part of the fingerprint."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from greenlight import datasets
from greenlight.datasets.supply import Supply
from greenlight.errors import ConfigError, NotFound, UsageError


@pytest.fixture
def supply(tmp_path: Path) -> Supply:
    return Supply(datasets.load("flight_delay").source, tmp_path / "incoming")


def hand_in(supply: Supply, name: str, content: bytes = b"anything") -> Path:
    path = supply.incoming / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_without_files_handed_in_the_source_answers(supply: Supply) -> None:
    assert supply.periods() == supply.source.periods()
    assert supply.fingerprint(["2013-01"]) == supply.source.fingerprint(["2013-01"])
    assert isinstance(supply.fetch("2013-01")["flights"], pl.DataFrame)


def test_a_new_month_counts_from_its_first_table_on(supply: Supply) -> None:
    hand_in(supply, "flights/2014-01.parquet")
    hand_in(supply, "flights/notes.parquet")
    assert supply.periods()[-2:] == ["2013-12", "2014-01"]


def test_a_file_handed_in_wins_and_is_not_looked_into(supply: Supply) -> None:
    path = hand_in(supply, "flights/2013-01.parquet", b"cut short")
    found = supply.fetch("2013-01")
    assert found["flights"] == path
    assert isinstance(found["weather"], pl.DataFrame)


def test_a_register_can_be_handed_in(supply: Supply) -> None:
    assert isinstance(supply.fetch_registers()["planes"], pl.DataFrame)
    assert supply.fetch_registers() == {"planes": path} if (path := hand_in(supply, "planes.parquet")) else False


def test_a_new_month_with_all_tables_needs_no_source(supply: Supply) -> None:
    paths = {t: hand_in(supply, f"{t}/2014-01.parquet") for t in ("flights", "weather")}
    assert supply.fetch("2014-01") == paths


def test_a_new_month_that_lacks_a_table_says_which_file_to_hand_in(supply: Supply) -> None:
    hand_in(supply, "flights/2014-01.parquet")
    with pytest.raises(NotFound, match=r"weather/2014-01\.parquet") as caught:
        supply.fetch("2014-01")
    assert "flights/2014-01.parquet" not in str(caught.value)


def test_the_fingerprint_sees_what_belongs_to_its_periods_only(supply: Supply) -> None:
    base = supply.fingerprint(["2013-01"])
    hand_in(supply, "flights/2013-02.parquet")
    assert supply.fingerprint(["2013-01"]) == base
    hand_in(supply, "weather/2013-01.parquet", b"one")
    changed = supply.fingerprint(["2013-01"])
    hand_in(supply, "weather/2013-01.parquet", b"two")
    assert len({base, changed, supply.fingerprint(["2013-01"])}) == 3


def test_an_unknown_dataset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no dataset 'flights'; known: .*flight_delay"):
        datasets.load("flights")


def test_features_and_request_load_without_polars() -> None:
    """A server loads these two; Polars would cost it memory and start time."""
    import subprocess
    import sys

    code = (
        f"import sys; sys.path.insert(0, {str(Path(datasets.__file__).parents[2])!r}); from greenlight import datasets; "
        "d = datasets.load('flight_delay'); d.features, d.request; "
        "assert not {'polars', 'xgboost', 'pandas'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_handed_in_as_a_link_is_one_reading_for_periods_fingerprint_and_fetch(
    supply: Supply, tmp_path: Path
) -> None:
    shared = tmp_path / "share"
    shared.mkdir()
    (shared / "2014-01.parquet").write_bytes(b"shared")
    supply.incoming.mkdir()
    (supply.incoming / "flights").symlink_to(shared)
    assert list(supply.handed()) == ["flights/2014-01.parquet"]
    assert supply.periods()[-1] == "2014-01"
    supply.require_understood()


@pytest.mark.parametrize(
    "name",
    [
        "flights/2013-9.parquet",
        "flights/2013-09.PARQUET",
        "flights/2013-09.csv",
        "flights/2013-13.parquet",
        "flight/2013-09.parquet",
        "2013-09.parquet",
        "flights.parquet",
        "flights/old/2013-09.parquet",
    ],
)
def test_what_would_not_be_used_is_named(supply: Supply, name: str) -> None:
    hand_in(supply, name)
    hand_in(supply, "weather/2013-09.parquet")
    hand_in(supply, "flights/.2013-09.parquet.swp")
    hand_in(supply, "README.md")
    shown = "flights/old" if "old" in name else name.removesuffix("/2013-09.parquet")
    with pytest.raises(UsageError) as caught:
        supply.require_understood()
    assert caught.value.what == f"not understood, so it would not be used: {shown}"


def test_a_link_to_nothing_is_named_and_counts_for_no_month(supply: Supply, tmp_path: Path) -> None:
    hand_in(supply, "weather/2014-01.parquet")
    (supply.incoming / "flights").mkdir()
    (supply.incoming / "flights/2014-01.parquet").symlink_to(tmp_path / "gone.parquet")
    assert supply.periods()[-1] == "2013-12"
    with pytest.raises(UsageError, match=r"flights/2014-01\.parquet \(a link to what is not there\)"):
        supply.require_understood()
