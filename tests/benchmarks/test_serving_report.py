"""Figures, targets and verdicts of `make bench-serving`, from measurements written down here."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import serving_report as report


def _turn(per_second: float, p50: float = 1.0, p99: float = 2.0, cpu: float = 100.0) -> dict[str, float]:
    return {"per_second": per_second, "p50_ms": p50, "p99_ms": p99, "cpu_us": cpu}


def _found(**more: Any) -> dict[str, Any]:
    one = {
        report.STOCK: [_turn(100), _turn(90)],
        report.RAW: [_turn(2000), _turn(1000)],
        report.DIRECT: [_turn(1000), _turn(990)],
        report.EDGE: [_turn(900, 1.4, 4.9), _turn(890, 1.6, 4.0)],
    }
    return {
        "one_row": one,
        "many_rows": {report.DIRECT: [_turn(30), _turn(40)]},
        "one_connection": {report.DIRECT: [_turn(1), _turn(1)], report.EDGE: [_turn(1, 1.7), _turn(1, 1.5)]},
        "bare": [{"many": 60_000.0}, {"many": 50_000.0}],
        **more,
    }


def _by_name(found: dict[str, Any]) -> dict[str, report.Figure]:
    return {one.what: one for one in report.figures(found)}


def test_ratios_are_those_of_one_round_and_the_median_is_taken_of_them() -> None:
    figure = _by_name(_found())[f"one row, times {report.STOCK}"]

    assert (figure.low, figure.median, figure.high) == (10.0, 10.5, 11.0)
    assert figure.met is True


def test_a_thousand_rows_are_held_against_the_bare_loop_of_their_round() -> None:
    figure = _by_name(_found())["1,000 rows, rows/s as a share of the bare loop"]

    assert (figure.low, figure.median, figure.high) == pytest.approx((0.5, 0.65, 0.8))


def test_what_the_edge_costs_is_the_difference_of_medians() -> None:
    found = _by_name(_found())

    assert found["edge cost at the median, one connection, ms"].median == pytest.approx(0.6)
    assert found["edge cost at the median, one connection, ms"].met is False
    assert found["edge cost at the median, 8 connections, ms"].met is True


def test_a_peer_that_is_not_there_has_no_figure() -> None:
    assert f"one row, times {report.FASTAPI}" not in _by_name(_found())


def test_a_lost_request_is_a_missed_target() -> None:
    weights = {"last_old_ms": {"median": 9.0, "max": 60.0}, "lost": ["503"]}
    found = _by_name(_found(weights=weights))

    assert found["weight change effective, ms"].met is True
    assert found["requests lost by weight changes"].met is False


@pytest.mark.parametrize(
    ("limits", "median", "met", "target"),
    [
        ({"at_least": 0.6}, 0.6, True, ">= 0.6"),
        ({"at_least": 0.6}, 0.59, False, ">= 0.6"),
        ({"at_most": 3.0}, 3.0, True, "<= 3"),
        ({"at_most": 3.0}, 3.01, False, "<= 3"),
        ({}, 1.0, None, ""),
    ],
)
def test_a_target_is_met_at_its_limit(limits: dict[str, float], median: float, met: bool | None, target: str) -> None:
    figure = report.figure("x", [median], **limits)

    assert (figure.met, figure.target) == (met, target)


def test_the_table_says_met_or_missed_beside_each_target() -> None:
    lines = report.figures_table(
        [report.figure("good", [1.0], at_least=0.5), report.figure("bad", [1.0], at_most=0.5), report.figure("n", [1])]
    )

    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["met", "MISSED", ""]
    assert len({len(line) for line in lines}) == 1


def test_the_peers_are_listed_with_rows_a_second_and_how_many_times_as_fast_ours_is() -> None:
    lines = report.peers_table(_found()["one_row"], 1)

    (stock,) = [line for line in lines if report.STOCK in line]
    assert [cell.strip() for cell in stock.split("|")[2:3]] == ["95"]
    assert "10.50 x" in stock
    assert len({len(line) for line in lines}) == 1
