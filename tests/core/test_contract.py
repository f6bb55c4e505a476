"""The words of a contract and of its report."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from greenlight.core.contract import between, matches, not_null, one_of, rows, show, unique
from greenlight.core.contract_report import (
    ContractReport,
    Failure,
    Outcome,
    headline,
    report_markdown,
    report_text,
)


@pytest.mark.parametrize(
    ("expectation", "limit"),
    [
        (between("t", "x", 10, 6000, why="", unit="miles"), "between 10 and 6,000 miles"),
        (between("t", "x", 0.75, None, why=""), "at least 0.75"),
        (between("t", "x", None, 2, why=""), "at most 2"),
        (between("t", "x", 0, 0, why="", unit="days"), "exactly 0 days"),
        (one_of("t", "x", ["EWR", "JFK"], why=""), "one of EWR, JFK"),
        (one_of("t", "x", ["readable"], why=""), "readable"),
        (matches("t", "x", "^[A-Z]{3}$", why=""), "matching ^[A-Z]{3}$"),
        (unique("t", ["a", "b"], why=""), "no two alike in a, b"),
        (rows("t", 1000, None, why=""), "row count at least 1,000"),
        (not_null("t", ["x"], why="")[0], "never null"),
        (not_null("t", ["x"], why="", share=0.9)[0], "never null in at least 90% of the rows"),
    ],
)
def test_a_limit_reads_as_words(expectation, limit):
    assert expectation.limit == limit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (29425, "29,425"),
        (29425.0, "29,425"),
        (0.226541, "0.2265"),
        (1046.45, "1,046.5"),
        (None, "null"),
        ("EWR", "EWR"),
    ],
)
def test_values_are_shown_without_noise(value, text):
    assert show(value) == text


def outcome(name: str, state: str = "held", severity: str = "stop") -> Outcome:
    return Outcome(name, "flights", ("distance",), "at most 6,000 miles", "why", severity, state, 29425, 0)


FAILURE = Failure(
    expectation="flights.distance between",
    table="flights",
    columns=("distance",),
    period="2013-07",
    file="data/snapshot/flights/2013-07.parquet",
    observed="27 to 8,018",
    limit="between 10 and 6,000 miles",
    unexpected=64,
    rows=29425,
    share=0.002175,
    examples=tuple({"carrier": "HA", "distance": 8018 + n} for n in range(5)),
    reason="17 to 4,983 miles in 2013",
    severity="stop",
)
BROKEN = ContractReport(
    contract="flight_delay/v1",
    periods=("2013-06", "2013-07"),
    outcomes=(outcome("a"), outcome("b", "broken")),
    failures=(FAILURE,),
    warnings=(),
    measures=({"period": "2013-06", "late_share": 0.3}, {"period": "2013-07", "late_share": None}),
)


def test_a_failure_says_what_value_limit_rows_and_file():
    text = report_text(BROKEN)
    for part in (
        "flights.distance in 2013-07",
        "27 to 8,018",
        "between 10 and 6,000 miles",
        "64 of 29,425 rows",
        "data/snapshot/flights/2013-07.parquet",
        "carrier=HA  distance=8018",
        "and 59 more",
    ):
        assert part in text


def test_texts_show_ten_failures_and_say_how_many_more():
    many = replace(BROKEN, failures=tuple(replace(FAILURE, period=f"20{n:02d}-01") for n in range(13)))
    for text in (report_text(many), report_markdown(many)):
        assert "2009-01" in text
        assert "2010-01" not in text
        assert "and 3 more" in text


def test_long_values_are_cut():
    long = replace(FAILURE, examples=({"tailnum": "N" * 500},))
    assert "N" * 41 not in report_text(replace(BROKEN, failures=(long,)))


def test_markdown_keeps_its_table_when_a_value_has_a_bar():
    bar = replace(FAILURE, examples=({"tailnum": "a|b"},))
    assert "| a\\|b |" in report_markdown(replace(BROKEN, failures=(bar,)))


def test_a_report_survives_json():
    assert ContractReport.from_json(json.loads(json.dumps(BROKEN.to_json()))) == BROKEN


@pytest.mark.parametrize("change", [{"passed": True}, {"outcomes": [{"name": "a"}]}, {"failures": None}])
def test_a_record_that_contradicts_itself_is_refused(change):
    with pytest.raises(ValueError, match="not a contract report"):
        ContractReport.from_json({**BROKEN.to_json(), **change})


@pytest.mark.parametrize(
    ("outcomes", "passed"),
    [
        ((outcome("a"),), True),
        ((outcome("a"), outcome("b", "broken")), False),
        ((outcome("a"), outcome("b", "broken", "warn")), True),
        ((outcome("a"), outcome("b", "skipped")), False),
        ((), False),
    ],
)
def test_only_a_report_whose_stops_were_all_checked_and_hold_passes(outcomes, passed):
    assert replace(BROKEN, outcomes=outcomes).passed is passed


def test_the_headline_counts_what_could_not_be_checked():
    report = replace(BROKEN, outcomes=(outcome("a", "broken"), outcome("b", "skipped")))
    assert headline(report) == (
        "The data breaks the contract flight_delay/v1: 1 of 2 expectations do not hold; "
        "1 could not be checked, since the files they need are broken"
    )
