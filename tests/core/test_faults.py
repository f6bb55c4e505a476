"""When a fault counts as caught."""

from __future__ import annotations

import pytest

from greenlight.core.faults import CONTROL, Caught, Fault

FAULT = Fault("label shuffle", "Labels lie against the wrong rows.", ("min_*", "champion_roc_auc"))


@pytest.mark.parametrize(
    ("by", "decision", "caught"),
    [
        (("min_roc_auc",), "reject", True),
        (("slices_floor", "champion_roc_auc"), "inconclusive", True),
        (("slices_floor",), "reject", False),  # stopped, but by the wrong one
        ((), "promote", False),
        (("min_roc_auc",), "promote", False),  # whatever it said, the candidate would serve
    ],
)
def test_a_fault_is_caught_when_the_right_check_stops_it(by: tuple[str, ...], decision: str, caught: bool) -> None:
    found = Caught(FAULT, by, "gate", decision, "")
    assert found.caught is caught
    assert found.to_json()["caught"] is caught
    assert found.to_json()["by"] == list(by)


def test_the_control_is_right_when_nothing_stops_it() -> None:
    control = Fault(CONTROL, "", ())
    assert Caught(control, (), "gate", "promote", "").caught
    assert not Caught(control, ("min_rows",), "gate", "inconclusive", "").caught
