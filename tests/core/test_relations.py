"""Relations that the earlier periods kept: what breaks each of them is told, and what they allow is not."""

from __future__ import annotations

import datetime as dt
from copy import deepcopy
from functools import cache

import numpy as np
import polars as pl
import pytest

from greenlight.core.contract import Table, Ties
from greenlight.core.relations import EARLIER, KINDS, Relations, sample

TABLE = Table(
    "t",
    {
        "year": "integer",
        "plane": "text",
        "firm": "text",
        "x": "number",
        "y": "number",
        "cause": "number",
        "effect": "number",
        "at": "instant",
    },
    key=("plane",),
    month=("year",),
    instant="at",
)
TIES = {"t": Ties("t", (("plane",),), ("firm",))}
FIRMS = np.array(["A", "B", "C"])


def month(seed: int, rows: int = 3000) -> pl.DataFrame:
    """Planes of three firms; an effect is empty where its cause is."""
    rng = np.random.default_rng(seed)
    plane = rng.integers(0, 90, rows)
    gone = rng.random(rows) < 0.05
    at = [dt.datetime(2013, 1, 1 + i * 28 // rows, tzinfo=dt.UTC) for i in range(rows)]
    frame = pl.DataFrame(
        {
            "year": np.full(rows, 2013),
            "plane": [f"N{n}" for n in plane],
            "firm": FIRMS[plane % 3],
            "x": rng.normal(10, 2, rows).round(1),
            "y": rng.normal(10, 2, rows).round(1),
            "cause": rng.normal(0, 1, rows),
            "effect": rng.normal(0, 1, rows),
            "at": at,
        }
    )
    return frame.with_columns(
        *(pl.when(pl.Series(~gone)).then(name).alias(name) for name in ("cause", "effect")),
        pl.col("at").cast(pl.Datetime("us", "UTC")),
    )


@cache
def known(earlier: int) -> Relations:
    found = Relations(TIES)
    for seed in range(earlier):
        found.add(f"2013-{seed + 1:02d}", TABLE, month(seed))
    return found


def rows_of(newest: pl.DataFrame, earlier: int = 5) -> list[dict[str, object]]:
    found = deepcopy(known(earlier))
    found.add("2013-12", TABLE, newest)
    return [row for row in found.rows() if row["period"] == "2013-12"]


def broken(newest: pl.DataFrame, earlier: int = 5) -> dict[str, list[str]]:
    """Kind and relation of what the newest month breaks."""
    rows = rows_of(newest, earlier)
    return {kind: of for kind in KINDS if (of := [str(row["of"]) for row in rows if row.get(kind)])}


def of(firm: str, then: pl.Expr, other: str) -> pl.Expr:
    return pl.when(pl.col("firm") == firm).then(then).otherwise(other).alias(other)


def test_months_like_the_earlier_ones_break_nothing():
    assert [broken(month(seed)) for seed in range(100, 120)] == [{}] * 20


@pytest.mark.parametrize(
    ("kind", "relation", "change"),
    [
        ("dependency", "t.plane -> firm", pl.col("firm").replace({"A": "B", "B": "A"})),
        ("implication", "t.cause empty -> effect empty", pl.col("effect").fill_null(0.0)),
        ("equality", "t.x = y", pl.col("x").alias("y")),
        ("group_shift", "t.x of firm A q0.5 above", of("A", pl.col("x") * 1.609, "x")),
        ("group_nulls", "t.x of firm A more", of("A", pl.lit(None, pl.Float64), "x")),
        ("collapse", "t.x", pl.when(pl.int_range(pl.len()) % 5 == 0).then("x").otherwise(10.0).alias("x")),
        ("still", "t.x by day", pl.when(pl.col("at").dt.day() == 7).then(10.0).otherwise("x").alias("x")),
    ],
)
def test_what_breaks_a_relation_is_told(kind, relation, change):
    found = broken(month(200).with_columns(change))
    assert relation in found.get(kind, []), found


def test_a_group_that_is_a_copy_of_another_is_told():
    rows = month(200)
    copied = rows.filter(firm="A").with_columns(firm=pl.lit("B"))
    assert "group_copy" in broken(pl.concat([rows.filter(pl.col("firm") != "B"), copied]))


def test_a_group_that_moves_with_all_others_is_a_season_and_no_fault():
    assert broken(month(200).with_columns(pl.col("x") + 20)) == {}


def test_a_relation_that_never_held_is_not_asked_for():
    found = Relations({"t": Ties("t", (("firm",),), ())})
    for seed in range(6):
        found.add(f"2013-{seed + 1:02d}", TABLE, month(seed))
    assert not [row for row in found.rows() if "->" in str(row["of"]) and "dependency" in row]


def test_too_few_earlier_months_know_no_relation():
    assert broken(month(200).with_columns(pl.lit(1.0).alias("x")), earlier=EARLIER - 1) == {}


def test_the_width_of_a_number_and_values_that_are_none_change_nothing():
    rows = month(200).with_columns(
        pl.col("x").cast(pl.Float32).round(1).cast(pl.Float64), pl.col("year").cast(pl.Int16)
    )
    assert broken(rows) == {}
    assert broken(rows.with_columns(pl.when(pl.int_range(pl.len()) == 5).then(np.nan).otherwise("x").alias("x"))) == {}


def test_an_example_says_what_was_and_what_is():
    rows = rows_of(month(9).with_columns(pl.lit("C").alias("firm")))
    (row,) = [row for row in rows if row.get("dependency")]
    assert "firm C, before " in str(row["example"])
    assert row["figure"] > row["limit"]  # type: ignore[operator]


def test_of_a_large_month_a_fixed_part_is_looked_at(monkeypatch):
    monkeypatch.setattr("greenlight.core.relations.SAMPLE", 500)
    rows = month(1)
    assert 350 < sample(TABLE, rows).height < 650
    assert sample(TABLE, rows).equals(sample(TABLE, rows))
