from __future__ import annotations

import pytest

from greenlight.core.periods import first_full, plan, shift
from greenlight.errors import ConfigError


@pytest.mark.parametrize(
    ("period", "months", "expected"),
    [("2013-07", 0, "2013-07"), ("2013-12", 1, "2014-01"), ("2013-01", -1, "2012-12"), ("2013-05", -17, "2011-12")],
)
def test_a_shift_crosses_years(period: str, months: int, expected: str) -> None:
    assert shift(period, months) == expected


def test_a_plan_ends_with_the_stop_period_and_the_holdout() -> None:
    periods = plan("2013-07", 5)
    assert periods.train == ("2013-01", "2013-02", "2013-03", "2013-04", "2013-05")
    assert (periods.stop, periods.holdout) == ("2013-06", "2013-07")
    assert periods.all == (*periods.train, "2013-06", "2013-07")


def test_history_of_a_period_never_holds_the_period_itself() -> None:
    periods = plan("2013-07", 5)
    for period in periods.all:
        assert all(earlier < period for earlier in periods.before(period))
    assert periods.before("2013-01") == ()


@pytest.mark.parametrize("wrong", ["2013-13", "2013-7", "next", "2013-07-01", ""])
def test_what_is_no_month_is_refused_by_name(wrong: str) -> None:
    with pytest.raises(ConfigError, match=repr(wrong)):
        plan(wrong, 5)


def test_a_window_needs_a_month() -> None:
    with pytest.raises(ConfigError, match="window_months is 0"):
        plan("2013-07", 0)


def test_the_first_full_window_bridges_no_gap() -> None:
    assert first_full(["2013-01", "2013-02", "2013-03", "2013-04"], 2) == "2013-04"
    assert first_full(["2013-01", "2013-02", "2013-04", "2013-05"], 2) is None
