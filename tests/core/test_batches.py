"""What one period says about those before it."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from greenlight.core import batches
from greenlight.core.batches import BATCH_TABLES, Batches, fingerprints
from greenlight.core.contract import Contract, Table

TABLE = Table(
    "t",
    {"year": "integer", "month": "integer", "at": "instant", "id": "integer", "x": "number"},
    key=("id",),
    month=("year", "month"),
    instant="at",
)
CONTRACT = Contract("d/v1", (TABLE,), (), derive=lambda tables, _: dict(tables))


def month(number: int, ids: range, x: float | None = 1.0, days: int = 28) -> pl.DataFrame:
    at = [dt.datetime(2013, number, 1 + i % days, tzinfo=dt.UTC) for i in range(len(ids))]
    frame = pl.DataFrame({"id": list(ids), "at": at}).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    return frame.with_columns(year=2013, month=number, x=pl.lit(x, pl.Float64))


def seen(*months: pl.DataFrame) -> dict[str, pl.DataFrame]:
    found = Batches(CONTRACT)
    for number, frame in enumerate(months, start=1):
        found.add(f"2013-{number:02d}", {"t": frame}, {"t": frame})
    return found.tables(["t"])


def test_rows_of_an_earlier_month_with_new_dates_are_copies_and_others_are_not():
    copied = pl.concat([month(3, range(100, 175)), month(3, range(900, 925))])
    rows = seen(month(1, range(100)), month(2, range(100, 200)), copied)["copies"]
    assert rows.select("copied_share", "most_from").rows() == [(0.0, ""), (0.0, ""), (0.75, "2013-02")]


def test_a_number_of_another_width_is_the_same_row():
    again = month(2, range(100)).with_columns(pl.col("id").cast(pl.Int16))
    assert seen(month(1, range(100)), again)["copies"]["copied_share"].to_list() == [0.0, 1.0]


def test_large_months_are_thinned_out_and_small_ones_are_found_in_them(monkeypatch):
    monkeypatch.setattr(batches, "SAMPLE", 500)
    large, small = month(1, range(8000)), month(2, range(4000, 4400))
    assert 300 < len(fingerprints(TABLE, large)) < 700
    assert seen(large, small)["copies"]["copied_share"].to_list() == [0.0, 1.0]


def test_a_rise_of_nulls_is_over_the_highest_of_the_earlier_months():
    third = pl.concat([month(3, range(50)), month(3, range(50, 100), x=None)])
    second = pl.concat([month(2, range(90)), month(2, range(90, 100), x=None)])
    rows = seen(month(1, range(100)), second, third)["nulls"].filter(of="t.x")
    assert rows.select("share", "rise").rows() == [(0.0, None), (0.1, 0.1), (0.5, 0.4)]


@pytest.mark.parametrize(("days", "behind"), [(28, 0), (20, 8), (1, 27)])
def test_freshness_is_days_from_the_newest_row_to_the_end_of_the_month(days, behind):
    rows = seen(month(1, range(100)), month(2, range(100), days=days))["freshness"]
    assert rows["days_behind"].to_list() == [3, behind]


def test_a_correction_counts_rows_added_removed_and_changed():
    found = Batches(CONTRACT)
    before = month(1, range(100))
    changed = pl.when(pl.col("id") >= 90).then(2.0).otherwise("x").alias("x")
    now = pl.concat([before.filter(pl.col("id") >= 5).with_columns(changed), month(1, range(200, 203))])
    found.correct("2013-01", TABLE, before, now)
    rows = found.tables(["t"])["corrections"].select("added", "removed", "changed", "corrected_share").rows()
    assert rows == [(3, 5, 10, 0.18)]


def test_the_order_of_rows_is_no_correction():
    found = Batches(CONTRACT)
    frame = month(2, range(100))
    found.correct("2013-02", TABLE, frame, frame.reverse())
    assert found.tables(["t"])["corrections"]["corrected_share"].to_list() == [0.0]


def test_without_a_champion_there_is_an_empty_table_and_nothing_is_skipped():
    assert set(seen(month(1, range(10)))) == set(BATCH_TABLES)


def test_rows_that_the_champion_learnt_from_are_copies_and_its_months_get_no_row_of_their_own():
    found = Batches(CONTRACT)
    found.learn("2012-01", TABLE, month(1, range(100)))
    found.add("2013-01", {"t": month(1, range(1000, 1100))}, {})
    found.add("2013-02", {"t": month(2, range(100))}, {})
    rows = found.tables(["t"])["copies"].select("period", "copied_share", "most_from").rows()
    assert rows == [("2013-01", 0.0, ""), ("2013-02", 1.0, "2012-01")]
