"""What the outside of the files says."""

from __future__ import annotations

import polars as pl

from greenlight.core.contract import Contract, Table
from greenlight.core.snapshot import SnapshotFile, column_facts, file_facts, gather

TABLE = Table("t", {"a": "integer", "b": "number", "c": "text", "at": "instant"}, key=("a",))
CONTRACT = Contract("d/v1", (TABLE,), (), derive=lambda tables, _: dict(tables))
AT = pl.Series([0], dtype=pl.Datetime("us", "UTC"))
GOOD = pl.DataFrame({"a": [1], "b": [0.5], "c": ["x"], "at": AT})


def file(frame: pl.DataFrame | None, period: str = "2013-01", problem: str = "") -> SnapshotFile:
    return SnapshotFile(f"t/{period}.parquet", "t", period, frame, problem)


def states(frame: pl.DataFrame) -> dict[str, str]:
    facts = column_facts(CONTRACT, [file(frame)])
    return dict(facts.select("column", "state").rows())


def test_a_file_as_declared_has_every_column_as_declared():
    assert set(states(GOOD).values()) == {"as declared"}


def test_integers_of_any_width_are_integers_and_numbers():
    assert set(states(GOOD.with_columns(pl.col("a").cast(pl.Int16), pl.col("b").cast(pl.Int32))).values()) == {
        "as declared"
    }


def test_missing_new_and_retyped_columns_are_named():
    found = states(GOOD.drop("a").with_columns(d=1, c=pl.lit(2), at=AT.dt.replace_time_zone(None)))
    assert found == {
        "a": "missing",
        "b": "as declared",
        "c": "Int32 instead of text",
        "at": "Datetime(time_unit='us', time_zone=None) instead of instant",
        "d": "unexpected",
    }


def test_a_file_that_could_not_be_read_has_no_row_count():
    facts = file_facts([file(GOOD), file(None, "2013-02", "missing")])
    assert facts.select("state", "rows").rows() == [("readable", 1), ("missing", None)]


def test_a_table_with_a_broken_file_is_left_out_and_a_sound_one_has_its_periods():
    files = [file(GOOD), file(GOOD, "2013-02")]
    assert gather(CONTRACT, files, set())["t"]["period"].to_list() == ["2013-01", "2013-02"]
    assert gather(CONTRACT, files, {"t/2013-02.parquet"}) == {}
    assert gather(CONTRACT, [*files, file(None, "2013-03", "missing")], set()) == {}
