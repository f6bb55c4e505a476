"""The contract of flight_delay accepts every month of 2013 and refuses what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pytest

from benchmarks import contract_in_polars as plain
from benchmarks.contract_in_polars import broken
from greenlight.adapters import expectations
from greenlight.core.contract_report import ContractReport, report_markdown
from greenlight.core.periods import plan
from greenlight.core.snapshot import SnapshotFile
from greenlight.datasets.flight_delay import facts, history, source
from greenlight.datasets.flight_delay.contract import CONTRACT

MONTHS = [f"2013-{month:02d}" for month in range(1, 13)]
WINDOW = ("2013-05", "2013-06", "2013-07")
Tables = Mapping[str, pl.DataFrame]


def snapshot(months: list[str] | tuple[str, ...], every: int = 1) -> dict[tuple[str, str], pl.DataFrame]:
    """Every `every`-th flight of the months, all of the weather, all planes."""
    tables = {("planes", ""): source.fetch_registers()["planes"]}
    for month in months:
        fetched = source.fetch(month)
        tables["flights", month] = fetched["flights"].gather_every(every)
        tables["weather", month] = fetched["weather"]
    return tables


def check(tables: Mapping[tuple[str, str], pl.DataFrame], **options: Any) -> ContractReport:
    files = [
        SnapshotFile(f"data/snapshot/{table}/{month or table}.parquet", table, month, frame)
        for (table, month), frame in tables.items()
    ]
    months = sorted({month for _, month in tables if month})
    return expectations.check(CONTRACT, files, months, **options).report


def derived(tables: Mapping[tuple[str, str], pl.DataFrame]) -> dict[str, pl.DataFrame]:
    return plain.tables(CONTRACT, tables)


@pytest.fixture(scope="module")
def year() -> dict[tuple[str, str], pl.DataFrame]:
    return snapshot(MONTHS)


@pytest.fixture(scope="module")
def summer() -> dict[tuple[str, str], pl.DataFrame]:
    return snapshot(WINDOW, every=10)


def test_every_expectation_has_a_reason_an_owner_and_a_name_of_its_own():
    names = [expectation.name for expectation in CONTRACT.every]
    assert len(names) == len(set(names))
    assert all(expectation.reason and expectation.owner for expectation in CONTRACT.every)
    assert {expectation.severity for expectation in CONTRACT.every} == {"stop", "warn"}


def test_all_of_2013_keeps_the_contract_without_a_warning(year):
    report = check(year)
    assert report.passed
    assert report.failures == report.warnings == ()
    assert report.count("held") == len(report.outcomes) == len(CONTRACT.every)


@pytest.mark.parametrize("window", [1, 5])
def test_no_window_of_2013_breaks_it(year, window):
    # in Polars, since it is twenty windows; that both answer alike is tested below
    for as_of in MONTHS[window + 1 :]:
        months = plan(as_of, window).all
        part = {key: frame for key, frame in year.items() if not key[1] or key[1] in months}
        assert broken(CONTRACT, derived(part)) == [], as_of


def test_a_sample_keeps_it(summer):
    assert check(summer).passed


def flights(change: Callable[[pl.DataFrame], pl.DataFrame]) -> tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]:
    return "flights", change


def weather(*exprs: pl.Expr) -> tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]:
    return "weather", lambda frame: frame.with_columns(*exprs)


def set_flights(*exprs: pl.Expr) -> tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]:
    return "flights", lambda frame: frame.with_columns(*exprs)


def with_dates_of(this: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """Rows of June as July: what a source does that delivers last month's file and rewrites its dates."""
    moved = old.with_columns(pl.lit(7).cast(pl.Int64).alias("month"), pl.col("time_hour").dt.offset_by("1mo"))
    return moved.select(this.columns)


ROW = pl.int_range(pl.len())
DELAYS = pl.col("dep_delay", "arr_delay")
WRONG = {
    "distance in kilometres": (
        set_flights((pl.col("distance") * 1.609).round().cast(pl.Int64)),
        "months.median_speed_mph between",
    ),
    "distance in metres": (set_flights(pl.col("distance") * 1609), "flights.distance between"),
    "air time in seconds": (set_flights(pl.col("air_time") * 60), "flights.air_time between"),
    "air time in hours": (set_flights(pl.col("air_time") // 60), "flights.air_time between"),
    "delays in seconds": (set_flights(DELAYS * 60), "flights.arr_delay between"),
    "delays in hours": (set_flights(DELAYS // 60), "flights.arrival_gap_min between"),
    "early arrivals written as 0": (set_flights(pl.col("arr_delay").clip(0)), "flights.arrival_gap_min between"),
    "clock times in minutes": (
        set_flights(pl.col("dep_time") // 100 * 60 + pl.col("dep_time") % 100),
        "flights.departure_gap_min between",
    ),
    "time_hour in local time": (
        set_flights(pl.col("time_hour").dt.offset_by("-4h")),
        "flights.utc_gap between",
    ),
    "rows twice": (flights(lambda frame: pl.concat([frame, frame.head(50)])), "flights.year+month+day+carrier+flight+origin unique"),
    "everything twice": (flights(lambda frame: pl.concat([frame, frame])), "months.volume_vs_earlier between"),
    "half of the rows": (flights(lambda frame: frame.gather_every(2)), "months.volume_vs_earlier between"),
    "the last three days missing": (flights(lambda frame: frame.filter(pl.col("day") < 29)), "months.days_missing between"),
    "rows of another month": (set_flights(pl.when(ROW < 3).then(6).otherwise(pl.col("month")).alias("month")), "flights.date_gap_months between"),
    "no date": (set_flights(pl.when(ROW < 3).then(None).otherwise(pl.col("day")).alias("day")), "flights.day not_null"),
    "tail numbers lost": (
        set_flights(pl.when(ROW % 4 == 0).then(None).otherwise(pl.col("tailnum")).alias("tailnum")),
        "months.no_tailnum_share between",
    ),
    "tail numbers without their N": (set_flights(pl.col("tailnum").str.slice(1)), "months.plane_coverage between"),
    "labels lost": (
        set_flights(pl.when(ROW % 3 == 0).then(None).otherwise(pl.col("arr_delay")).alias("arr_delay")),
        "months.no_label_share between",
    ),
    "everybody late": (set_flights(pl.col("arr_time", "arr_delay") + 20), "months.late_share between"),
    "an unknown airport": (set_flights(pl.when(ROW == 7).then(pl.lit("PHL")).otherwise(pl.col("origin")).alias("origin")), "flights.origin one_of"),
    "names for codes": (set_flights(pl.lit("Chicago").alias("dest")), "flights.dest matches"),
    "carriers lost": (flights(lambda frame: frame.filter(pl.col("carrier").is_in(["UA", "B6", "EV", "DL", "AA"]))), "months.carriers between"),
    "temperatures in Celsius": (weather((pl.col("temp", "dewp") - 32) / 1.8), "months.humidity_gap between"),
    "only the dew point in Celsius": (weather((pl.col("dewp") - 32) / 1.8), "months.humidity_gap between"),
    "wind in km/h": (weather(pl.col("wind_speed", "wind_gust") * 1.609), "months.wind_off_grid_share between"),
    "wind in m/s": (weather(pl.col("wind_speed", "wind_gust") * 0.447), "months.wind_off_grid_share between"),
    "rain in millimetres": (weather(pl.col("precip") * 25.4), "months.precip_off_grid_share between"),
    "pressure in inches": (weather(pl.col("pressure") * 0.02953), "weather.pressure between"),
    "sight in kilometres": (weather(pl.col("visib") * 1.609), "weather.visib between"),
    "temperatures lost": (
        weather(pl.when(ROW % 5 == 0).then(None).otherwise(pl.col("temp")).alias("temp")),
        "months.no_temp_share between",
    ),
    "hours twice": (("weather", lambda frame: pl.concat([frame, frame.head(5)])), "weather.origin+time_hour unique"),
    "last month again with new dates": (
        flights(lambda frame: with_dates_of(frame, source.fetch("2013-06")["flights"].gather_every(10))),
        "copies.copied_share between",
    ),
    "a fifth of last month again": (
        flights(lambda frame: pl.concat([frame, with_dates_of(frame, source.fetch("2013-06")["flights"].gather_every(10).gather_every(5))])),
        "copies.copied_share between",
    ),
    "last month's weather with new dates": (
        ("weather", lambda frame: with_dates_of(frame, source.fetch("2013-06")["weather"])),
        "copies.copied_share between",
    ),
    "an hour's shift": (
        set_flights((pl.col("hour") + 1) % 24, (pl.col("sched_dep_time") + 100) % 2400, (pl.col("dep_time") + 100) % 2400),
        "months.flights_hour_shift between",
    ),
    "two airports mixed up": (
        set_flights(pl.when(pl.col("origin") == "JFK").then(pl.lit("LGA")).otherwise("origin").alias("origin")),
        "months.flights_origin_shift between",
    ),
    "a carrier renamed": (set_flights(pl.col("carrier").replace({"EV": "XJ"})), "months.flights_carrier_shift between"),
    "a null spike": (
        set_flights(pl.when(ROW % 3 == 0).then(None).otherwise("air_time").alias("air_time")),
        "nulls.rise between",
    ),
    "the last days of the month missing": (
        flights(lambda frame: frame.filter(pl.col("day") < 28)),
        "freshness.days_behind between",
    ),
    "half of the hours": (("weather", lambda frame: frame.gather_every(2)), "months.weather_coverage between"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_in_the_newest_month_is_refused(summer, damage, expected):
    table, change = damage
    damaged = {**summer, (table, "2013-07"): change(summer[table, "2013-07"])}
    assert expected in broken(CONTRACT, derived(damaged))


@pytest.mark.parametrize(
    "name",
    [
        "distance in kilometres",
        "rows twice",
        "tail numbers lost",
        "temperatures in Celsius",
        "no date",
        "names for codes",
    ],
)
def test_the_engine_and_plain_polars_answer_alike(summer, name):
    (table, change), expected = WRONG[name]
    damaged = {**summer, (table, "2013-07"): change(summer[table, "2013-07"])}
    report = check(damaged)
    found = [o.name for o in report.outcomes if o.state == "broken"]
    assert found == broken(CONTRACT, derived(damaged))
    own = [f for f in report.failures if f.expectation == expected]
    assert [(f.period, f.file) for f in own] == [("2013-07", f"data/snapshot/{table}/2013-07.parquet")]
    assert not report.passed


def spoilt(frame: pl.DataFrame) -> pl.DataFrame:
    """Wrong in every column: a third null, a third out of any range, a row twice; and the last days gone."""
    exprs = []
    for name, dtype in frame.schema.items():
        wrong = {pl.Int64: pl.lit(-5), pl.Float64: pl.lit(-999.5), pl.String: pl.lit("?!")}
        bad = wrong.get(dtype.base_type(), pl.col(name).dt.offset_by("5h"))
        exprs.append(pl.when(ROW % 3 == 0).then(None).when(ROW % 3 == 1).then(bad).otherwise(pl.col(name)).alias(name))
    if "day" in frame.columns:
        frame = frame.filter(pl.col("day") < 20)
    changed = frame.with_columns(exprs)
    return pl.concat([changed, changed.head(9)])


RELATIONS = {
    f"relations.{kind} between"
    for kind in (
        *("dependency", "implication", "equality", "group_shift", "group_nulls"),
        *("group_copy", "collapse", "still"),
    )
}


def test_both_engines_give_the_same_report_on_good_and_bad_data(summer):
    """Every expectation of the contract, held and broken: the same verdict, counts, places and example rows."""
    assert check(summer, engine="pandas") == check(summer, engine="duckdb")
    bad = {
        **summer,
        ("flights", "2013-07"): spoilt(summer["flights", "2013-07"]),
        ("weather", "2013-07"): spoilt(summer["weather", "2013-07"]),
        ("planes", ""): spoilt(summer["planes", ""]).head(900),
    }
    found = {engine: check(bad, engine=engine) for engine in ("pandas", "duckdb")}
    assert found["pandas"] == found["duckdb"]
    held = {o.name for o in found["pandas"].outcomes if o.state == "held"}
    # Two earlier months teach no relation: all eight hold. They have tests of their own.
    assert len(held & RELATIONS) == 8
    assert held - RELATIONS == {
        # true of any file that can be read, and without a champion nothing was corrected
        "files.state one_of", "files.rows between", "columns.state one_of",
        "corrections.corrected_share between", "corrections.corrected_share between (warn)",
        # the wrong values are right ones here, or leave no row to measure
        "flights.dep_delay between", "flights.arr_delay between", "flights.speed_mph between",
        "weather.dew_spread_f between", "months.carriers between", "months.late_share between",
        "months.late_share between (warn)", "months.precip_off_grid_share between",
        "months.wind_outlier_share between", "months.no_wind_gust_share between", "copies.copied_share between",
    }  # fmt: skip


def test_a_carrier_nobody_knew_is_a_warning_and_no_more(summer):
    table = summer["flights", "2013-07"].with_columns(
        pl.when(ROW < 3).then(pl.lit("ZZ")).otherwise(pl.col("carrier")).alias("carrier")
    )
    report = check({**summer, ("flights", "2013-07"): table})
    assert report.passed
    (warning,) = report.warnings
    assert (warning.observed, warning.unexpected, len(warning.examples)) == ("ZZ", 3, 3)


def test_rows_alike_in_two_months_are_found_although_no_month_shows_it(summer):
    row = summer["flights", "2013-06"].head(1)
    report = check({**summer, ("flights", "2013-07"): pl.concat([summer["flights", "2013-07"], row])})
    (twice,) = [f for f in report.failures if f.expectation.endswith("unique")]
    assert (twice.period, twice.unexpected, twice.rows) == ("", 2, sum(summer["flights", m].height for m in WINDOW) + 1)


FIRST = ROW < 3
EXTREME = {
    "instants at the end of time": ("flights", pl.lit(2**63 - 1).cast(pl.Datetime("us", "UTC")).alias("time_hour")),
    "instants at its beginning": ("weather", pl.lit(-(2**63) + 1).cast(pl.Datetime("us", "UTC")).alias("time_hour")),
    "distances of 64 bits": ("flights", pl.when(FIRST).then(2**63 - 1).otherwise("distance").alias("distance")),
    "no flight time": ("flights", pl.when(FIRST).then(0).otherwise("air_time").alias("air_time")),
    "infinite wind": ("weather", pl.when(FIRST).then(float("inf")).otherwise("wind_speed").alias("wind_speed")),
    "not a number for temperatures": ("weather", pl.lit(float("nan")).alias("temp")),
    "only null for labels": ("flights", pl.lit(None, dtype=pl.Int64).alias("arr_delay")),
    "text with markup, bars and dollars": ("flights", pl.lit("<b>$x|{{1}}").alias("dest")),
}


@pytest.mark.parametrize(("table", "change"), EXTREME.values(), ids=EXTREME)
def test_extreme_values_are_a_no_and_never_a_crash(summer, table, change):
    report = check({**summer, (table, "2013-07"): summer[table, "2013-07"].with_columns(change)})
    assert not report.passed
    json.dumps(report.to_json(), allow_nan=False)
    assert "2013-07" in report_markdown(report)


def test_a_register_that_was_cut_is_refused(summer):
    report = check({**summer, ("planes", ""): summer["planes", ""].head(500)})
    assert {"planes rows", "months.plane_coverage between"} <= {f.expectation for f in report.failures}


def test_volume_is_measured_against_the_earlier_months_only():
    months = pl.DataFrame({"flights_per_day": [10.0, 20.0, 40.0, 20.0]})
    assert months.select(facts._against_earlier("flights_per_day")).to_series().to_list() == [None, 2.0, 40 / 15, 1.0]


@pytest.mark.parametrize(
    ("scheduled", "actual", "delay", "gap"),
    [(2355, 5, 10, 0), (5, 2355, -10, 0), (900, 1015, 75, 0), (900, 1015, 60, 15), (2300, 2400, 60, 0)],
)
def test_clock_times_agree_around_midnight(scheduled, actual, delay, gap):
    frame = pl.DataFrame({"sched_dep_time": [scheduled], "dep_time": [actual], "dep_delay": [delay]})
    assert frame.select(facts._clock_gap("dep_time", "sched_dep_time", "dep_delay")).item() == gap


@pytest.mark.parametrize("minutes", [15, 0])
def test_the_label_that_is_measured_is_the_one_that_is_trained_on(minutes, monkeypatch):
    monkeypatch.setattr(history, "LATE_MINUTES", minutes)
    tables = source.fetch("2013-02")
    raw = {name: frame.with_columns(period=pl.lit("2013-02")) for name, frame in tables.items()}
    months = facts.derive({**raw, **source.fetch_registers()}, ["2013-02"])["months"]
    (share,) = months["late_share"].to_list()
    assert share == pytest.approx(history.assemble(tables, "2013-02")["label"].mean(), abs=1e-9)
